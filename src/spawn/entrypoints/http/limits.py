"""Limits on requests, connections and event streams."""

from spawn.application.events.event_streams import StreamLimits
from spawn.application.traffic.traffic_control import TrafficLimits


class HttpLimits(StreamLimits, frozen=True, kw_only=True):
    """Limits of one request, and of all requests and streams together.

    A whole body must arrive within `body_timeout_s`, imports excepted: they may take long, but no
    pause between chunks may exceed `idle_timeout_s`.
    An address begins at most `handshakes_per_s` TLS handshakes, unless nothing is limited.
    Header fields beyond `header_bytes` get status 431; beyond `head_bytes` the connection closes.
    """

    body_bytes: int = 1024 * 1024
    header_bytes: int = 16 * 1024
    header_count: int = 64
    head_bytes: int = 128 * 1024
    path_bytes: int = 2048
    body_timeout_s: float = 20.0
    idle_timeout_s: float = 10.0
    header_timeout_s: float = 10.0
    connections: int = 2048
    handshakes_per_s: float = 100.0
    gzip_bytes: int = 1024
    traffic: TrafficLimits = TrafficLimits()
