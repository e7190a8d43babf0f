"""Background tasks of the service: each is started again after a failure, with a pause."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec

FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0

STABLE_S: Final = 60.0
"""Time that a restarted task must run before it counts as recovered."""

UNSUPERVISED: Final = "unsupervised work"
"""Name in health and metrics of all tasks and threads that are not supervised."""

Work = Callable[[], Coroutine[Any, Any, None]]
"""Function that returns the coroutine of a task; it is called again after a failure."""


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of one background task.

    `failures` counts those since the start of the service. `is_failing` is true from a failure
    until the task has run for `STABLE_S`, or has ended. `error` names the last failure.
    """

    name: str
    failures: int
    is_failing: bool
    error: str


class _BackgroundTask:
    """One task: its work, and what happened to it so far."""

    def __init__(self, name: str, work: Work, *, is_endless: bool) -> None:
        self.name = name
        self.work = work
        self.is_endless = is_endless
        self.failures = 0
        self.error = ""
        self.started_at_s: float | None = None
        self.is_unstable = False


class BackgroundTasks:
    """Supervisor of the background tasks.

    Args:
        on_failure: called with the name of a task, its failure (None if it ended early) and the
            seconds until it starts again, for the log.
        sleep: waits between a failure and the next start.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        *,
        on_failure: Callable[[str, BaseException | None, float], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_failure = on_failure or (lambda _name, _failure, _pause_s: None)
        self._sleep = sleep
        self._clock = clock
        self._tasks: list[_BackgroundTask] = []

    def start(self, name: str, work: Work, *, is_endless: bool = True) -> asyncio.Task[None]:
        """Start a task and supervise it until it is cancelled.

        Args:
            name: of the task, for log, health and metrics.
            work: see `Work`.
            is_endless: whether an end without an error is a failure too.
        """
        task = _BackgroundTask(name, work, is_endless=is_endless)
        self._tasks.append(task)
        return asyncio.create_task(self._supervise(task), name=name)

    @asynccontextmanager
    async def run(self, name: str, work: Work, *, is_endless: bool = True) -> AsyncIterator[None]:
        """Run a task concurrently with the block and cancel it at the end; see `start`."""
        supervisor = self.start(name, work, is_endless=is_endless)
        try:
            yield
        finally:
            supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await supervisor

    def record_failure(self, failure: BaseException | None) -> None:
        """Record a failure of a task or thread that is not supervised, for health and metrics."""
        task = next((task for task in self._tasks if task.name == UNSUPERVISED), None)
        if task is None:
            task = _BackgroundTask(UNSUPERVISED, _do_nothing, is_endless=False)
            self._tasks.append(task)
        task.failures += 1
        task.error = "" if failure is None else type(failure).__name__
        task.is_unstable, task.started_at_s = True, self._clock()

    def statuses(self) -> list[TaskStatus]:
        """Return the status of every task, in the order of their start."""
        return [
            TaskStatus(
                name=task.name,
                failures=task.failures,
                is_failing=self._is_failing(task),
                error=task.error,
            )
            for task in self._tasks
        ]

    def _is_failing(self, task: _BackgroundTask) -> bool:
        if not task.is_unstable:
            return False
        return task.started_at_s is None or self._clock() - task.started_at_s < STABLE_S

    async def _supervise(self, task: _BackgroundTask) -> None:
        """Run the work until it ends well; after a failure wait twice as long as before."""
        pause_s = FIRST_PAUSE_S
        while True:
            started_at_s = task.started_at_s = self._clock()
            failure = await _run_to_end(task.work)
            if failure is None and not task.is_endless:
                task.is_unstable = False
                return
            if self._clock() - started_at_s >= STABLE_S:
                pause_s = FIRST_PAUSE_S
            task.started_at_s = None
            task.failures += 1
            task.is_unstable = True
            task.error = "ended early" if failure is None else type(failure).__name__
            self._on_failure(task.name, failure, pause_s)
            await self._sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)


async def _do_nothing() -> None:
    """Return at once."""


async def _run_to_end(work: Work) -> BaseException | None:
    """Run the work and return its failure; None if it ended well.

    Raises:
        CancelledError: the caller is cancelled, not the work.
    """
    task = asyncio.ensure_future(work())
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    return asyncio.CancelledError() if task.cancelled() else task.exception()
