"""Pace of deliveries, so that many consumers leave the event loop time for requests."""

import asyncio

FREE_DELIVERIES = 8
"""Deliveries that may wait for their turn before pauses begin."""

PAUSE_S = 0.002
"""Pause before a turn, about the CPU time of one delivery over HTTP."""


class DeliveryPace:
    """Turns of deliveries: one starts at a time, with pauses between them while many wait.

    A delivery over HTTP costs about a millisecond of the event loop. Two hundred at once delay a
    request by all of it; in turns, by a few. A turn ends when the delivery starts, so a consumer
    that hangs holds up nobody.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._lock = asyncio.Lock()

    async def wait_for_turn(self) -> None:
        """Return when the delivery may start, in the order of the calls."""
        self._waiting += 1
        try:
            async with self._lock:
                # Without a pause the event loop still runs once, so that others can join the queue.
                await asyncio.sleep(PAUSE_S if self._waiting > FREE_DELIVERIES else 0)
        finally:
            self._waiting -= 1
