"""The end of the journal, watched once for all who follow it."""

import asyncio
from contextlib import suppress

from spawn.domain.errors import SpawnError
from spawn.ports.storage import ReadStore

GATHER_S = 0.01
"""After a change the next is told so much later: what is committed meanwhile goes together."""

_IDLE_S = 60.0
_RETRY_S = 1.0


class Pulse:
    """Tells everyone who waits when the journal has grown, with one wait on the store."""

    def __init__(self, reads: ReadStore, *, gather_s: float = GATHER_S) -> None:
        self._reads = reads
        self._gather_s = gather_s
        self._waiting: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Watch until cancelled."""
        at = await self._reads.position()
        while True:
            try:
                newest = await self._reads.await_change(at, _IDLE_S)
            except SpawnError:
                # The store ends before those who follow it, or it mends itself.
                await asyncio.sleep(_RETRY_S)
                continue
            if newest != at:
                at = newest
                self.beat()
                await asyncio.sleep(self._gather_s)

    def beat(self) -> None:
        """Let everyone who waits look again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, after: str, timeout_s: float) -> None:
        """Wait until the journal ends elsewhere than at a position, or until the time is over."""
        waiter = asyncio.get_running_loop().create_future()
        # Listening comes first: what is committed after the look is heard.
        self._waiting.add(waiter)
        try:
            if await self._reads.position() == after:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await waiter
        finally:
            self._waiting.discard(waiter)
