"""Limits on requests, connections and event streams."""

import msgspec


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one request, and of all requests and streams together.

    A whole body must arrive within `body_timeout_s`, imports excepted: they may take long, but no
    pause between chunks may exceed `idle_timeout_s`. At most `concurrency` requests are served at
    once, and beside them `streams` event streams; each sends at least a comment every
    `heartbeat_s`, and is disconnected when its connection accepts nothing for `stream_stall_s`.
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
    concurrency: int = 512
    connections: int = 2048
    streams: int = 256
    heartbeat_s: float = 15.0
    stream_stall_s: float = 30.0
    gzip_bytes: int = 1024
