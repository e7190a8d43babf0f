"""Turns of clients at the event loop, for what arrives on their connections."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

CONTENTION_S: Final = 1.0
"""Time for which two clients count as concurrent after something of both arrived."""

ARRIVALS: Final = 4
"""Arrivals of one client that a round of the event loop serves while another client is active."""


class ArrivalTurns:
    """Turns of what arrives: `ARRIVALS` of each client in a round of the event loop.

    The loop serves all that has arrived before it looks for more. 256 connections whose requests
    arrive together, be they rejected, would delay the next request of another client by all of
    them. A client alone is served at once. Not thread-safe: for one event loop.
    """

    def __init__(self) -> None:
        self._last_client = ""
        self._contended_until_s = 0.0
        self._counts: dict[str, int] = {}
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._is_scheduled = False

    def take(self, client: str, serve_later: Callable[[], None]) -> bool:
        """Take a turn; return False if `serve_later` will be called in a later round."""
        if client != self._last_client:
            if self._last_client:
                self._contended_until_s = monotonic() + CONTENTION_S
            self._last_client = client
        if not self._contended_until_s:
            return True
        if monotonic() >= self._contended_until_s:
            self._contended_until_s = 0.0
            return True
        self._schedule()
        count = self._counts.get(client, 0)
        if count < ARRIVALS:
            self._counts[client] = count + 1
            return True
        self._waiting.setdefault(client, deque()).append(serve_later)
        return False

    def _schedule(self) -> None:
        """Begin a round after the event loop has looked for more arrivals."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_round)

    def _begin_round(self) -> None:
        self._is_scheduled = False
        self._counts.clear()
        for client, queue in list(self._waiting.items()):
            served = [queue.popleft() for _ in range(min(ARRIVALS, len(queue)))]
            self._counts[client] = len(served)
            if not queue:
                del self._waiting[client]
            for serve_later in served:
                serve_later()
        if self._counts:
            self._schedule()
