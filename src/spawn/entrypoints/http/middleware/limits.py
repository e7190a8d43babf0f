"""Bounds of the HTTP surface: what one request, one client and all of them may take."""

from time import monotonic

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may cost before it is refused.

    A body must be whole within `body_timeout_s`, imports excepted: they may take long, but no
    pause between chunks may exceed `idle_timeout_s`. `concurrency` requests are served at once.
    Beside them `streams` may follow the events; each hears something every `heartbeat_s`, and is
    cut off when its connection takes nothing for `stream_stall_s`.
    Header fields beyond `header_bytes` are answered 431; beyond `head_bytes` the client is cut off.
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


class TokenBuckets:
    """A token bucket per client: `rate` requests per second, twice as many in one go.

    At most `clients` are remembered and the one first met is forgotten first: forgetting fills a
    bucket, which favours the client, and memory stays bounded.
    """

    def __init__(self, rate: float, *, clients: int = 10_000) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * 2)
        self._clients = clients
        self._buckets: dict[str, list[float]] = {}

    def take(self, client: str, now: float | None = None) -> float:
        """Take a token for one request; 0 if there was one, else seconds until there is."""
        now = monotonic() if now is None else now
        bucket = self._buckets.get(client)
        if bucket is None:
            self._remember(client, now)
            return 0.0
        tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
        bucket[1] = now
        if tokens < 1.0:
            bucket[0] = tokens
            return (1.0 - tokens) / self._rate
        bucket[0] = tokens - 1.0
        return 0.0

    def _remember(self, client: str, now: float) -> None:
        if len(self._buckets) >= self._clients:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[client] = [self._burst - 1.0, now]
