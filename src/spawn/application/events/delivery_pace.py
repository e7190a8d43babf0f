"""Pace of deliveries, so that many consumers leave the event loop time for requests."""

import asyncio

FREE_DELIVERIES = 8
"""Deliveries that may wait for their turn before pauses begin."""

TURNS_BETWEEN_PAUSES = 4
"""Deliveries that start between two pauses, one after another."""

PAUSE_S = 0.002
"""Shortest pause, several times the CPU time of the deliveries before it."""

MAX_PAUSE_S = 0.02
"""Longest pause; two hundred deliveries a second go on however busy the machine is."""


class DeliveryPace:
    """Turns of deliveries: one starts at a time, with pauses between them while many wait.

    A delivery over HTTP costs a fraction of a millisecond of the event loop. Two hundred at once
    delay a request by all of it; in turns, by a few. A turn ends when the delivery starts, so a
    consumer that hangs holds up nobody. On a busy machine a delivery takes many times as long, so a
    pause lasts as long as the event loop was late after the one before: else the deliveries under
    way would pile up all the same.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._turns = 0
        self._pause_s = PAUSE_S
        self._lock = asyncio.Lock()

    async def wait_for_turn(self) -> None:
        """Return when the delivery may start, in the order of the calls."""
        self._waiting += 1
        try:
            async with self._lock:
                self._turns += 1
                if self._waiting > FREE_DELIVERIES and self._turns >= TURNS_BETWEEN_PAUSES:
                    await self._pause()
                    self._turns = 0
                else:
                    # The event loop runs once, so that others can join the queue.
                    await asyncio.sleep(0)
        finally:
            self._waiting -= 1

    async def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._pause_s
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(max(loop.time() - due_s, PAUSE_S), MAX_PAUSE_S)
