"""Request bodies that are still arriving: their deadline, their least rate and their place."""

import asyncio
from time import perf_counter
from typing import Any, Final

from litestar.types import Receive

from spawn.application.traffic.request_slots import HeldPlace, RequestSlots
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.ports.client_presence import current_presence, waiting_for_client

UNBOUNDED_PATHS: Final = ("/v1/ops/imports",)
"""Paths whose bodies are bounded in their rate only, not in size or time."""

GRACE_S: Final = 10.0
"""Time before the rate of a body is measured."""


class ArrivingBody:
    """A body whose `receive` raises when it arrives too slowly.

    The request takes its slot once the whole body is there, so that slow bodies keep nobody out; an
    upload keeps its own place to its end. The wait for a slot ends when the client leaves.
    """

    def __init__(
        self,
        path: str,
        receive: Receive,
        limits: HttpLimits,
        place: HeldPlace,
        slots: RequestSlots | None,
    ) -> None:
        self._receive = receive
        self._limits = limits
        self._place = place
        self._slots = slots
        self._presence = current_presence.get()
        self._bytes = 0
        self._begin_s = perf_counter()
        is_bounded = not path.startswith(UNBOUNDED_PATHS)
        self._deadline_s = self._begin_s + limits.body_timeout_s if is_bounded else None

    async def receive(self) -> Any:
        """Receive the next part of the body.

        Raises:
            RequestProblem: 408, the body is too slow.
            Overloaded: it is complete, and there is no slot, or no time for its size.
            CancelledError: it is complete, and the client left while it waited for time or a slot.
        """
        try:
            async with asyncio.timeout(self._remaining_s()):
                message: Any = await self._receive()
        except TimeoutError as error:
            raise _too_slow("The body did not arrive in time.") from error
        if message["type"] == "http.disconnect":
            return message  # what has arrived of the body is not the whole
        self._bytes += len(message.get("body", b""))
        if message.get("more_body", False):
            self._check_rate()
        elif self._slots is not None:
            slots, self._slots = self._slots, None
            presence = current_presence.set(self._presence)
            try:
                if await self._has_left(slots):
                    return {"type": "http.disconnect"}
                await self._place.take_slot(slots)
            finally:
                current_presence.reset(presence)
        return message

    async def _has_left(self, slots: RequestSlots) -> bool:
        """Wait until a whole body of this size may begin; return whether its client left before.

        A client that left gives its time back: else what it sends and abandons would keep it out.
        """
        client = self._place.client
        delay_s = slots.book_large_body(client, self._bytes)
        if delay_s <= 0:
            return False
        has_begun = False
        try:
            # Behind a whole body it returns when the client resets its connection. One that closes
            # its half, as each that leaves does, may still read: its presence ends the wait.
            with waiting_for_client():
                async with asyncio.timeout(delay_s):
                    await self._receive()
        except TimeoutError:
            has_begun = True
        finally:
            if not has_begun:
                slots.cancel_large_body(client, self._bytes)
        return not has_begun

    def _remaining_s(self) -> float:
        idle_s = self._limits.idle_timeout_s
        if self._deadline_s is None:
            return idle_s
        return min(idle_s, self._deadline_s - perf_counter())

    def _check_rate(self) -> None:
        """Reject a body that would take for ever, a byte at a time."""
        age_s, rate = perf_counter() - self._begin_s, self._limits.traffic.body_bytes_s
        if age_s > GRACE_S and self._bytes < rate * age_s:
            raise _too_slow(f"The body arrived at less than {rate} bytes per second.")


def _too_slow(detail: str) -> RequestProblem:
    return RequestProblem("request_timeout", detail, headers=((b"connection", b"close"),))
