"""Control of the traffic of all clients: one object that the edge asks and health reads."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from time import monotonic
from typing import Final

import msgspec

from spawn.application.traffic.request_slots import HeldPlace, RequestSlots
from spawn.application.traffic.shared_places import SharedPlaces
from spawn.application.traffic.token_buckets import TokenBuckets

LAG_INTERVAL_S: Final = 0.25
"""Interval at which the delay of the event loop is measured."""

SATURATED_SHARE: Final = 0.8
"""Share of the places of one kind above which the service counts as saturated."""


class Budget(StrEnum):
    """The budget that a request counts against."""

    READS = "reads"
    WRITES = "writes"
    ANALYSIS = "analysis"
    EXPORTS = "exports"


class HandshakeOutcome(StrEnum):
    """End of the attempt of a client to begin a TLS connection.

    `failed` are handshakes that were cut, took too long, or had no version or certificate in
    common; `rate_limited` and `no_place` were rejected before they began.
    """

    COMPLETED = "completed"
    FAILED = "failed"
    RATE_LIMITED = "rate_limited"
    NO_PLACE = "no_place"


class TrafficLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Places for all clients together; one client may hold three of a kind for each free one.

    `concurrency` requests run at once, beside `exports` downloads. The bodies of `bodies` requests
    may be arriving, and those of `uploads` imports. A body must arrive at `body_bytes_s` on
    average, and a request ends within `deadline_s` unless its response has begun or it uploads.
    """

    concurrency: int = 512
    bodies: int = 512
    uploads: int = 32
    exports: int = 32
    body_bytes_s: int = 1024
    deadline_s: float = 120.0


class TrafficControl:
    """The budgets and the places of all clients.

    A client is the address or, with credentials, the principal of a request. `rates_per_s` are the
    budgets; a budget that is absent is not limited. `handshakes` counts those of TLS by outcome.
    """

    def __init__(
        self,
        limits: TrafficLimits,
        rates_per_s: Mapping[Budget, float] | None = None,
        *,
        connections: int = 2048,
    ) -> None:
        rates = rates_per_s or {}
        self.limits = limits
        self.connections = SharedPlaces(connections)
        self.handshakes = Counter[HandshakeOutcome]()
        self.requests = RequestSlots(limits.concurrency)
        self.bodies = SharedPlaces(limits.bodies)
        self.uploads = SharedPlaces(limits.uploads)
        self.exports = SharedPlaces(limits.exports)
        self.buckets = {b.value: TokenBuckets(b.value, rate) for b, rate in rates.items()}
        self.deadline_count = self.rate_limited_count = 0
        self._running: dict[HeldPlace, float] = {}

    @property
    def pools(self) -> dict[str, SharedPlaces]:
        """The places by kind, for health and metrics."""
        return {
            "connections": self.connections,
            "requests": self.requests,
            "bodies": self.bodies,
            "uploads": self.uploads,
            "exports": self.exports,
        }

    def find_saturated_pools(self) -> list[str]:
        """Return the kinds of which few places are left, or fewer than at the start."""
        return [
            name for name, pool in self.pools.items() if pool.in_use > SATURATED_SHARE * pool.places
        ] + (["slots"] if self.requests.is_reduced else [])

    def begin(self, place: HeldPlace) -> None:
        """Start the deadline of a request, in the task that serves it."""
        place.begin()
        self._running[place] = monotonic()

    def end(self, place: HeldPlace) -> None:
        """End the deadline of a request."""
        self._running.pop(place, None)

    async def watch(self) -> None:
        """Measure the delay of the event loop, and end requests beyond their deadline."""
        while True:
            due_s = monotonic() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            now_s = monotonic()
            self.requests.adapt(now_s - due_s)
            self._expire(now_s)

    def _expire(self, now_s: float) -> None:
        for place, started_at_s in list(self._running.items()):
            if now_s - started_at_s < self.limits.deadline_s:
                break  # the others began later
            del self._running[place]
            if not place.has_response:
                self.deadline_count += 1
                place.expire()
