"""One wait on the journal, shared by all followers."""

import asyncio
from contextlib import suppress

from spawn.domain.errors import SpawnError
from spawn.domain.events.position import Position
from spawn.ports.storage import ReadStore

COALESCE_S = 0.01
"""Pause after each notification, so that later commits are notified together."""

WAKE_AT_ONCE = 4
"""Waiters that are woken before the event loop does other work."""

_IDLE_S = 60.0
_RETRY_S = 1.0


class JournalWatch:
    """Notifier of journal growth: one wait on the store for all waiters."""

    def __init__(self, reads: ReadStore, *, coalesce_s: float = COALESCE_S) -> None:
        self._reads = reads
        self._gather_s = coalesce_s
        self._waiting: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Notify waiters of each change until cancelled."""
        position = await self._reads.position()
        while True:
            try:
                newest = await self._reads.wait_for_change(position, _IDLE_S)
            except SpawnError:
                # The store closes before its followers, or it recovers.
                await asyncio.sleep(_RETRY_S)
                continue
            if newest != position:
                position = newest
                await self._notify_in_turns()
                await asyncio.sleep(self._gather_s)

    async def _notify_in_turns(self) -> None:
        """Wake a few waiters at a time, so that requests run between them.

        Two hundred at once kept the event loop busy for 20 ms.
        """
        waiters = list(self._waiting)
        for first in range(0, len(waiters), WAKE_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            for waiter in waiters[first : first + WAKE_AT_ONCE]:
                if not waiter.done():
                    waiter.set_result(None)

    def notify(self) -> None:
        """Wake all waiters."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, after: Position | None, timeout_s: float) -> None:
        """Wait until the journal's end differs from a position, or until the timeout."""
        waiter = asyncio.get_running_loop().create_future()
        # Register before the check, so that a commit after the check is not missed.
        self._waiting.add(waiter)
        try:
            if await self._reads.position() == after:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await waiter
        finally:
            self._waiting.discard(waiter)
