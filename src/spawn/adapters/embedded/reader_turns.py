"""Turns of clients at the threads that run queries: none keeps the others out."""

import asyncio
from collections import Counter, deque
from time import monotonic
from typing import Final

from spawn.domain.errors import Overloaded

SPARE_THREADS: Final = 1
"""Threads beyond those that one client may use, for the queries of another."""

CONTENTION_S: Final = 1.0
"""Time for which two clients count as concurrent after both had a query."""

FREE_MULTIPLE: Final = 3
"""Queries of one client that may wait for each free place of the queue, as for other places."""


class ReaderTurns:
    """Turns at `client_threads + SPARE_THREADS` threads, `client_threads` for one client at most.

    Queries may take seconds each. Were they served in the order of their arrival, a client that
    sends many costly ones would delay everybody by all of them. So clients that wait have turns
    after one another, and one thread is always out of reach of a client that uses the rest.
    While several clients have queries, each runs one at once: costly ones on every core would slow
    the event loop too. Not thread-safe: for one event loop.
    """

    def __init__(self, client_threads: int, max_waiting: int) -> None:
        self.threads = client_threads + SPARE_THREADS
        self._client_threads = client_threads
        self._max_waiting = max_waiting
        self._running: Counter[str] = Counter()
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._last_client = ""
        self._contended_until_s = 0.0
        self.waiting = 0

    @property
    def running(self) -> int:
        """Queries that have a turn."""
        return self._running.total()

    async def take(self, client: str) -> None:
        """Wait for a turn of the client; `release` ends it.

        Raises:
            Overloaded: too many queries wait, of this client or in all.
        """
        if client != self._last_client and client:  # the service's own queries slow nobody
            if self._last_client:
                self._contended_until_s = monotonic() + CONTENTION_S
            self._last_client = client
        if client not in self._queues and self._is_free(client):
            self._running[client] += 1
            return
        queue = self._queues.get(client, ())
        if len(queue) >= FREE_MULTIPLE * (self._max_waiting - self.waiting):
            raise Overloaded("Too many queries wait for the storage engine: retry later.")
        await self._wait(client)

    async def _wait(self, client: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(client, deque()).append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(client)  # the turn came at the same moment
            else:
                self._remove(client, turn)
            raise

    def release(self, client: str) -> None:
        """End a turn of the client, and give it to the client that waits longest for one."""
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]
        self._give_turns()

    def _is_free(self, client: str) -> bool:
        limit = self._client_threads
        if self._contended_until_s and monotonic() < self._contended_until_s:
            limit = 1
        return self.running < self.threads and self._running[client] < limit

    def _give_turns(self) -> None:
        while (client := next(filter(self._is_free, self._queues), None)) is not None:
            queue = self._queues.pop(client)
            turn = queue.popleft()
            if queue:
                self._queues[client] = queue  # behind the other clients
            self.waiting -= 1
            if not turn.cancelled():  # by a task that has not run since
                self._running[client] += 1
                turn.set_result(None)

    def _remove(self, client: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(client, deque())
        if turn not in queue:  # another query ended after the cancellation, and passed it over
            return
        queue.remove(turn)
        self.waiting -= 1
        if not queue:
            del self._queues[client]
