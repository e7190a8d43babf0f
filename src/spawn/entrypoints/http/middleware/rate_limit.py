"""A rate limit for each client, by token buckets."""

from time import monotonic


class RateLimiter:
    """A token bucket per client: `rate_per_s` requests per second, bursts of twice as many.

    At most `max_clients` buckets are stored and the oldest is evicted first. Eviction refills a
    bucket, which favours the client, and memory stays bounded.
    """

    def __init__(self, rate_per_s: float, *, max_clients: int = 10_000) -> None:
        self._rate_per_s = rate_per_s
        self._burst = max(1.0, rate_per_s * 2)
        self._max_clients = max_clients
        self._buckets: dict[str, list[float]] = {}

    def take(self, client: str, now: float | None = None) -> float:
        """Take a token for one request; return 0, or the seconds until the next token."""
        now = monotonic() if now is None else now
        bucket = self._buckets.get(client)
        if bucket is None:
            self._add_bucket(client, now)
            return 0.0
        tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate_per_s)
        bucket[1] = now
        if tokens < 1.0:
            bucket[0] = tokens
            return (1.0 - tokens) / self._rate_per_s
        bucket[0] = tokens - 1.0
        return 0.0

    def _add_bucket(self, client: str, now: float) -> None:
        if len(self._buckets) >= self._max_clients:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[client] = [self._burst - 1.0, now]
