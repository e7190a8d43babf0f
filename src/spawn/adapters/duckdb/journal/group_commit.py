"""Writer thread: it commits queued changes in groups, each as one insert."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import duckdb

from spawn.adapters.duckdb.journal.appender import JournalAppender
from spawn.adapters.duckdb.journal.prepared_change import PreparedChange
from spawn.domain.change import CommitResult
from spawn.domain.errors import Overloaded, SpawnError, Unavailable

_MAX_QUEUED_WRITES = 100_000
_MAX_BULK_SKIPS = 4
_PROJECT_AT_ROWS = 4_000
_PROJECT_STEP_ROWS = 1_000
_MAX_LAG_ROWS = 8_000
_PROJECT_AFTER_S = 1.0
_IDLE_S = 0.05
_MAINTAIN_AFTER_S = 1.0


W = TypeVar("W")


class QueuedWork(Generic[W]):
    """Queued change or call, with the future of its caller."""

    __slots__ = ("future", "loop", "operation", "work")

    def __init__(self, work: W, operation: str = "") -> None:
        self.operation = operation
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.work = work


_QueuedChange = QueuedWork[PreparedChange]
_QueuedCall = QueuedWork[Callable[[], Any]]


class GroupCommitWriter:
    """Queue of changes and calls, and the thread that runs them."""

    def __init__(self, appender: JournalAppender, *, queue_limit: int, group_cap: int) -> None:
        self._appender = appender
        self._queue_limit = queue_limit
        self._group_cap = group_cap
        self._condition = threading.Condition()
        self._calls: deque[_QueuedCall] = deque()
        self._small_changes: deque[_QueuedChange] = deque()
        self._bulk_changes: deque[_QueuedChange] = deque()
        self._waiters: set[QueuedWork[None]] = set()
        self._notifying_loop: asyncio.AbstractEventLoop | None = None
        self._queued_rows = 0
        self._bulk_skips = 0
        self._closing = False
        self._busy_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="spawn-writer", daemon=True)
        self._thread.start()

    # -- on the event loop ------------------------------------------------------------------

    def queue_length(self) -> int:
        """Return the number of queued changes."""
        return len(self._small_changes) + len(self._bulk_changes)

    def is_closing(self) -> bool:
        """Whether no more work is accepted."""
        return self._closing

    async def commit(self, prepared_change: PreparedChange) -> CommitResult:
        """Queue the change and wait; cancelling the wait does not withdraw it."""
        rows = len(prepared_change.rows)
        task = QueuedWork(prepared_change)
        with self._condition:
            self._check_open()
            if (
                self.queue_length() >= self._queue_limit
                or self._queued_rows + rows > _MAX_QUEUED_WRITES
            ):
                raise Overloaded("Too many changes wait to be written: retry later.")
            self._queued_rows += rows
            (self._bulk_changes if prepared_change.is_bulk() else self._small_changes).append(task)
        self._notify_soon(task.loop)
        committed: CommitResult = await task.future
        return committed

    def _notify_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notify the writer once the event loop has run its ready callbacks.

        Requests arrive in batches. Notified of the first, the writer would commit it alone while
        the others wait, and take the interpreter from the loop that is about to queue them.
        """
        if self._notifying_loop is not loop:
            self._notifying_loop = loop
            loop.call_soon(self._notify)

    def _notify(self) -> None:
        self._notifying_loop = None
        with self._condition:
            self._condition.notify()

    async def run(self, work: Callable[[], Any], operation: str) -> Any:
        """Run `work` on the writer thread between two groups; its errors are raised.

        `operation` names it in the log of failures: a verb and its object.
        """
        task = QueuedWork(work, operation)
        with self._condition:
            self._check_open()
            self._calls.append(task)
            self._condition.notify()
        return await task.future

    async def wait_for_change(self, after: str, timeout_s: float) -> None:
        """Wait until the journal ends at another position, or the timeout expires.

        Raises:
            Unavailable: the store is closing.
        """
        task: QueuedWork[None] = QueuedWork(None)
        with self._condition:
            self._check_open()
            if self._appender.feed_cursor() != after:
                return
            self._waiters.add(task)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await task.future
        finally:
            with self._condition:
                self._waiters.discard(task)

    def _check_open(self) -> None:
        if self._closing:
            raise Unavailable("The store is closing.")

    def close(self) -> None:
        """Accept no more work, finish the queue and end the thread; blocks, idempotent."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    # -- on the writer's thread -------------------------------------------------------------

    def _run(self) -> None:
        while True:
            calls, group = self._next_work()
            for call in calls:
                self._run_call(call)
            if group:
                self._commit(group)
                self._busy_at = time.monotonic()
            if self._closing and not calls and not group:
                _deliver(self._take_waiters(Unavailable("The store is closing.")))
                return
            self._maintain()

    def _next_work(self) -> tuple[list[_QueuedCall], list[_QueuedChange]]:
        """Wait for work; return none if it is time for maintenance."""
        with self._condition:
            if not (self._calls or self._small_changes or self._bulk_changes or self._closing):
                self._condition.wait(_IDLE_S if self._has_maintenance() else None)
            calls = list(self._calls)
            self._calls.clear()
            group = self._take_group()
            self._queued_rows -= sum(len(task.work.rows) for task in group)
            return calls, group

    def _has_maintenance(self) -> bool:
        """Whether maintenance is due once the queue is empty."""
        return bool(self._appender.lag_rows()) or self._appender.needs_maintenance()

    def _take_group(self) -> list[_QueuedChange]:
        if self._appender.lag_rows() >= _MAX_LAG_ROWS:
            return _take_compatible(self._small_changes, self._group_cap)
        is_starved = self._bulk_skips >= _MAX_BULK_SKIPS
        if self._bulk_changes and (is_starved or not self._small_changes):
            self._bulk_skips = 0
            group = [self._bulk_changes.popleft()]
        else:
            self._bulk_skips += bool(self._bulk_changes)
            group = _take_compatible(self._small_changes, self._group_cap)
        return group

    def _commit(self, group: list[_QueuedChange]) -> None:
        outcomes = self._outcome_of(
            "commit a group of changes",
            lambda: self._appender.commit([task.work for task in group]),
        )
        if not isinstance(outcomes, list):
            outcomes = [outcomes] * len(group)
        _deliver([*zip(group, outcomes, strict=True), *self._take_waiters()])

    def _run_call(self, call: _QueuedCall) -> None:
        previous_position = self._appender.position
        delivery = (call, self._outcome_of(call.operation, call.work))
        _deliver(
            [delivery]
            if self._appender.position == previous_position
            else [delivery, *self._take_waiters()]
        )

    def _take_waiters(self, outcome: SpawnError | None = None) -> list[tuple[QueuedWork[Any], Any]]:
        """Remove and return those who wait for a change, with their outcome."""
        with self._condition:
            waiters = [(task, outcome) for task in self._waiters]
            self._waiters.clear()
        return waiters

    def _outcome_of(self, operation: str, work: Callable[[], Any]) -> Any:
        """Return the result of `work`, or the error of its failure; never raise."""
        try:
            return work()
        except SpawnError as error:
            return error
        except duckdb.Error as failure:
            return self._appender.recover(operation, failure)
        except Exception as failure:  # noqa: BLE001 -- the edge of the thread: its death would hang everyone
            return self._appender.discard_state(operation, failure)

    def _maintain(self) -> None:
        """Project, sync and checkpoint, each when it is due."""
        lag_rows = self._appender.lag_rows()
        idle_s = time.monotonic() - self._busy_at
        is_idle = not self.queue_length() and idle_s >= _IDLE_S
        if lag_rows and (
            is_idle or lag_rows >= _PROJECT_AT_ROWS or self._appender.lag_s() >= _PROJECT_AFTER_S
        ):
            self._outcome_of(
                "project the state tables", lambda: self._appender.project(_PROJECT_STEP_ROWS)
            )
        elif is_idle and idle_s >= _MAINTAIN_AFTER_S and self._appender.needs_maintenance():
            self._busy_at = time.monotonic()
            self._outcome_of("checkpoint the log", self._appender.maintain)


def _take_compatible(queue: deque[_QueuedChange], cap: int) -> list[_QueuedChange]:
    """Take from the queue, in order, the changes that can be committed together.

    No two of a group touch one aggregate or one idempotency key unless both only guard it: the
    later one waits, and so does every change that touches the keys of a waiting one.
    """
    written_keys: set[str] = set()
    guarded_keys: set[str] = set()
    group: list[_QueuedChange] = []
    postponed_tasks: list[_QueuedChange] = []
    while queue and len(group) < cap and len(postponed_tasks) < cap:
        task = queue.popleft()
        task_writes, task_guards = task.work.written_keys, task.work.guarded_keys
        clashes = not (
            task_writes.isdisjoint(written_keys)
            and task_writes.isdisjoint(guarded_keys)
            and task_guards.isdisjoint(written_keys)
        )
        (postponed_tasks if clashes else group).append(task)
        written_keys |= task_writes
        guarded_keys |= task_guards
    queue.extendleft(reversed(postponed_tasks))
    return group


def _deliver(outcomes: Iterable[tuple[QueuedWork[Any], Any]]) -> None:
    """Resolve the futures with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for task, outcome in outcomes:
        by_loop.setdefault(task.loop, []).append((task.future, outcome))
    for loop, pairs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue  # its waiter gave up
        if isinstance(outcome, SpawnError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
