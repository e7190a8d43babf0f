"""Presence of the client of a request: who left waits for nothing, and is in nobody's way."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final


class ClientPresence:
    """The client of the current task, which is there until it disconnects.

    Only waits of that task end with it: tasks that it starts, such as jobs, serve others too. A
    wait ends as a cancelled task does, so that no use case takes it for an error and records it.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._is_waiting = self._is_cancelled = self._has_ended = self.has_left = False

    def leave(self) -> None:
        """End the wait of the task, now or as soon as it begins one."""
        self.has_left = True
        if self._is_waiting and not self._has_ended and self._task is not None:
            self._is_cancelled = self._has_ended = True
            self._task.cancel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait inside, for as long as the client is there.

        Raises:
            CancelledError: it has left.
        """
        if asyncio.current_task() is not self._task:
            yield
            return
        if self.has_left:
            self._has_ended = True
            raise asyncio.CancelledError
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    def take_cancellation(self) -> bool:
        """Whether a cancellation of the task ended a wait of the client, and nothing else.

        It is the task's no more afterwards.
        """
        if self._is_cancelled and self._task is not None:
            self._is_cancelled = False
            return not self._task.uncancel()
        return self._has_ended


current_presence: Final[ContextVar[ClientPresence | None]] = ContextVar(
    "spawn_presence", default=None
)
"""Presence of the client of a task that changes nothing; None for commands and the service."""


@contextmanager
def waiting_for_client() -> Iterator[None]:
    """Wait inside, for as long as the client of the current task is there, if it has one.

    Raises:
        CancelledError: it has left.
    """
    presence = current_presence.get()
    if presence is None:
        yield
        return
    with presence.waiting():
        yield
