"""Budgets of requests for each client, by token buckets."""

from time import monotonic
from typing import Final

BURST_S: Final = 2.0
"""Seconds of a budget that a client may use at once."""


class TokenBuckets:
    """A token bucket per client: `rate_per_s` requests per second, bursts of `BURST_S` seconds.

    At most `max_clients` buckets are stored and the oldest is evicted first. Eviction refills a
    bucket, which favours the client, and memory stays bounded.
    """

    def __init__(self, name: str, rate_per_s: float, *, max_clients: int = 10_000) -> None:
        self.name = name
        self.rate_per_s = rate_per_s
        self.burst = max(1.0, rate_per_s * BURST_S)
        self._max_clients = max_clients
        self._buckets: dict[str, list[float]] = {}

    def take(self, client: str, now: float | None = None) -> float:
        """Take a token for one request.

        Returns:
            The tokens that are left; if there was none, the negative seconds until the next one.
        """
        now = monotonic() if now is None else now
        bucket = self._buckets.get(client)
        if bucket is None:
            self._add_bucket(client, now)
            return self.burst - 1.0
        tokens = min(self.burst, bucket[0] + (now - bucket[1]) * self.rate_per_s)
        bucket[1] = now
        if tokens < 1.0:
            bucket[0] = tokens
            return (tokens - 1.0) / self.rate_per_s
        bucket[0] = tokens - 1.0
        return bucket[0]

    def _add_bucket(self, client: str, now: float) -> None:
        if len(self._buckets) >= self._max_clients:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[client] = [self.burst - 1.0, now]
