"""Queues of commands that would only lose races to each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class CommandQueues:
    """One queue for each aggregate of commands that accept any version of it.

    Side by side they would use up their attempts on each other. The store alone decides who wins
    a race: with several processes there are more lost races, and no wrong result.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def queue_for(self, key: str) -> AsyncIterator[None]:
        """Hold the place of a command on this aggregate, once those before it have ended."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            yield
