"""Presence of the client of a request: who left waits for nothing, and is in nobody's way."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from spawn.domain.errors import ClientLeft


class ClientPresence:
    """The client of the current task, which is there until it disconnects.

    Only waits of that task end with it: tasks that it starts, such as jobs, serve others too.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._is_waiting = self._is_ended = self.has_left = False

    def leave(self) -> None:
        """End the wait of the task, now or as soon as it begins one."""
        self.has_left = True
        if self._is_waiting and not self._is_ended and self._task is not None:
            self._is_ended = True
            self._task.cancel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait inside, for as long as the client is there.

        Raises:
            ClientLeft: it has left.
        """
        task = asyncio.current_task()
        if task is None or task is not self._task:
            yield
            return
        if self.has_left:
            raise ClientLeft
        self._is_waiting = True
        try:
            yield
        except asyncio.CancelledError:
            if self._is_ended and not task.uncancel():
                raise ClientLeft from None
            raise
        finally:
            self._is_waiting = False


current_presence: Final[ContextVar[ClientPresence | None]] = ContextVar(
    "spawn_presence", default=None
)
"""Presence of the client that the current task serves; None for the service's own work."""


@contextmanager
def waiting_for_client() -> Iterator[None]:
    """Wait inside, for as long as the client of the current task is there, if it has one.

    Raises:
        ClientLeft: it has left.
    """
    presence = current_presence.get()
    if presence is None:
        yield
        return
    with presence.waiting():
        yield
