"""Queues of commands that would only lose races to each other."""

import asyncio
from weakref import WeakValueDictionary


class CommandQueues:
    """One queue for each aggregate of commands that accept any version of it.

    Side by side they would use up their attempts on each other. The store alone decides who wins
    a race: with several processes there are more lost races, and no wrong result.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def queue_for(self, key: str) -> asyncio.Lock:
        """Return the lock that a command on this aggregate holds while it runs."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock
