"""Turns of long work on the event loop, a piece at a time."""

import asyncio


class WorkTurns:
    """Turns of work that takes many pieces, each a few milliseconds of the event loop.

    One piece begins at a time, and the event loop serves requests before the next one. If each
    of 24 downloads did a piece whenever the loop ran, a request would wait for 24 pieces.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait_for_turn(self) -> None:
        """Return when the next piece may begin, in the order of the calls."""
        async with self._lock:
            await asyncio.sleep(0)
