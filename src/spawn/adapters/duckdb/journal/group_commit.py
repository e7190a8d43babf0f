"""Writer thread: it commits queued changes in groups, each as one insert."""

import asyncio
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from math import inf
from typing import Any, Generic, TypeVar

import duckdb

from spawn.adapters.duckdb.failure_log import FailureLog
from spawn.adapters.duckdb.journal.appender import JournalAppender
from spawn.adapters.duckdb.journal.prepared_change import PreparedChange
from spawn.domain.change import CommitResult
from spawn.domain.errors import Overloaded, SpawnError, Unavailable
from spawn.domain.events.position import Position
from spawn.ports.storage import Distribution

_MAX_QUEUED_WRITES = 100_000
_MAX_BULK_SKIPS = 4
_PROJECT_AT_ROWS = 4_000
_PROJECT_STEP_ROWS = 1_000
_MAX_LAG_ROWS = 8_000
_PROJECT_AFTER_S = 1.0
_COMPARE_AFTER_S = 1.0
_IDLE_S = 0.05
_MAINTAIN_AFTER_S = 1.0
_MAX_MAINTENANCE_PAUSE_S = 60.0


_COMMIT_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0)
_GROUP_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128)


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


class Histogram:
    """Counts of a measure by bucket; one thread adds, others read."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def snapshot(self) -> Distribution:
        """Return the counts so far."""
        return Distribution(bounds=self._bounds, counts=tuple(self._counts), total=self._total)


class CommitCounts:
    """Durations of the commits of groups, and the changes of each group."""

    def __init__(self) -> None:
        self.seconds = Histogram(_COMMIT_BOUNDS_S)
        self.changes = Histogram(_GROUP_BOUNDS)


class GroupCommitWriter:
    """Queue of changes and calls, and the thread that runs them."""

    def __init__(
        self,
        appender: JournalAppender,
        failures: FailureLog,
        *,
        queue_limit: int,
        group_cap: int,
    ) -> None:
        self.counts = CommitCounts()
        self._appender = appender
        self._failures = failures
        self._queue_limit = queue_limit
        self._group_cap = group_cap
        self._condition = threading.Condition()
        self._calls: deque[_QueuedCall] = deque()
        self._small_changes: deque[_QueuedChange] = deque()
        self._bulk_changes: deque[_QueuedChange] = deque()
        self._unresolved: set[QueuedWork[Any]] = set()
        self._waiters: set[QueuedWork[None]] = set()
        self._failure_waiters: set[QueuedWork[None]] = set()
        self._is_engine_suspect = False
        self._maintenance_pause_s = _MAINTAIN_AFTER_S
        self._maintenance_due_s = 0.0
        self._comparison_due_s = 0.0
        self._notifying_loop: asyncio.AbstractEventLoop | None = None
        self._queued_rows = 0
        self._bulk_skips = 0
        self._closing = False
        self._busy_at = self._work_since_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="spawn-writer", daemon=True)
        self._thread.start()

    # -- on the event loop ------------------------------------------------------------------

    def queue_length(self) -> int:
        """Return the number of queued changes."""
        return len(self._small_changes) + len(self._bulk_changes)

    def is_closing(self) -> bool:
        """Whether no more work is accepted."""
        return self._closing

    def stalled_s(self) -> float:
        """Return for how long the writer has not moved on while work waits; 0 if it does.

        A thread that ended without notice never moves on.
        """
        if not (self._closing or self._thread.is_alive()):
            return inf
        if not self._unresolved:
            return 0.0
        moved_at_s = max(self._work_since_s, self._appender.progress_at_s)
        return max(0.0, time.monotonic() - moved_at_s)

    def _add_unresolved(self, task: QueuedWork[Any]) -> None:
        if not self._unresolved:
            self._work_since_s = time.monotonic()
        self._unresolved.add(task)

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
            self._add_unresolved(task)
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
            self._add_unresolved(task)
            self._condition.notify()
        return await task.future

    async def settle(self, instant: datetime) -> None:
        """Wait until every change that has a time of recording is acknowledged or has failed.

        Changes that come afterwards are recorded after the instant.

        Raises:
            Unavailable: a change may have become durable without acknowledgement.
        """
        await self.run(lambda: self._appender.hold_instant(instant), "hold an instant of a reader")

    async def wait_for_change(self, after: Position, timeout_s: float) -> None:
        """Wait until the journal ends at another position, or the timeout expires.

        Raises:
            Unavailable: the store is closing.
        """
        task: QueuedWork[None] = QueuedWork(None)
        with self._condition:
            self._check_open()
            if self._appender.feed_position() != after:
                return
            self._waiters.add(task)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await task.future
        finally:
            with self._condition:
                self._waiters.discard(task)

    async def wait_until_failed(self) -> str:
        """Return the reason once the writer has given up; until then, wait.

        Raises:
            Unavailable: the store is closing.
        """
        task: QueuedWork[None] = QueuedWork(None)
        with self._condition:
            if self._appender.final_error is None:
                self._check_open()
                self._failure_waiters.add(task)
            else:
                return self._appender.final_reason
        try:
            reason: str = await task.future
        finally:
            with self._condition:
                self._failure_waiters.discard(task)
        return reason

    def _check_open(self) -> None:
        if self._appender.final_error is not None:
            raise self._appender.final_error
        if self._closing:
            raise Unavailable("The store is closing.")

    def close(self) -> None:
        """Accept no more work, finish the queue and end the thread; blocks, idempotent."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def check_engine_soon(self) -> None:
        """Have the writer check the engine, which failed on another thread."""
        with self._condition:
            self._is_engine_suspect = True
            self._condition.notify()

    # -- on the writer's thread -------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._appender.final_error is None and self._run_once():
                pass
        except BaseException as failure:  # noqa: BLE001 -- the thread ends here, and with it all writes
            cause = Unavailable("The writer ended unexpectedly.")
            error = self._appender.give_up("The writer ended unexpectedly: see the log.", cause)
            self._failures.record_failure("keep the writer running", failure, error)
        finally:
            self._end()

    def _run_once(self) -> bool:
        """Run the work that is queued; return whether there may be more."""
        self._appender.note_progress()
        calls, group = self._next_work()
        for call in calls:
            self._run_call(call)
        if group:
            self._commit(group)
            self._busy_at = time.monotonic()
        if self._closing and not calls and not group:
            return False
        self._maintain()
        return True

    def _end(self) -> None:
        """Accept no more work, and resolve every future that is left."""
        final_error = self._appender.final_error
        error = final_error or Unavailable("The store is closing.")
        with self._condition:
            self._closing = True
            # Not what is queued: work that was taken when the thread died is in no queue any more.
            work = list(self._unresolved)
            self._calls.clear()
            self._small_changes.clear()
            self._bulk_changes.clear()
            failure_waiters = list(self._failure_waiters)
        reason = error if final_error is None else self._appender.final_reason
        _deliver([(task, error) for task in work])
        _deliver(self._take_waiters(error))
        _deliver([(task, reason) for task in failure_waiters])

    def _next_work(self) -> tuple[list[_QueuedCall], list[_QueuedChange]]:
        """Wait for work; return none if it is time for maintenance."""
        with self._condition:
            if not (self._calls or self._small_changes or self._bulk_changes or self._closing):
                self._condition.wait(self._wait_s())
            calls = list(self._calls)
            self._calls.clear()
            group = self._take_group()
            self._queued_rows -= sum(len(task.work.rows) for task in group)
            return calls, group

    def _wait_s(self) -> float | None:
        """Return the longest wait for work; None if nothing else is to be done."""
        if self._is_engine_suspect:
            return 0.0
        if (attempt_wait_s := self._appender.attempt_wait_s()) is not None:
            return attempt_wait_s
        if self._appender.uncompared_rows():
            now_s = time.monotonic()
            return max(0.0, self._busy_at + _IDLE_S - now_s, self._maintenance_due_s - now_s)
        if self._appender.lag_rows() or self._appender.needs_maintenance():
            return max(_IDLE_S, self._maintenance_due_s - time.monotonic())
        return None

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
        started_at_s = time.monotonic()
        outcomes = self._outcome_of(
            "commit a group of changes",
            lambda: self._appender.commit([task.work for task in group]),
        )
        if not isinstance(outcomes, list):
            outcomes = [outcomes] * len(group)
        self.counts.seconds.add(time.monotonic() - started_at_s)
        self.counts.changes.add(len(group))
        _deliver([*zip(group, outcomes, strict=True), *self._take_waiters()])
        self._unresolved.difference_update(group)

    def _run_call(self, call: _QueuedCall) -> None:
        previous_position = self._appender.position
        delivery = (call, self._outcome_of(call.operation, call.work))
        _deliver(
            [delivery]
            if self._appender.position == previous_position
            else [delivery, *self._take_waiters()]
        )
        self._unresolved.discard(call)

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
        """Reopen a failed file; project, compare, sync and checkpoint, each when it is due."""
        if self._is_engine_suspect:
            self._is_engine_suspect = False
            self._outcome_of("check the engine", self._appender.check_engine)
        if (attempt_wait_s := self._appender.attempt_wait_s()) is not None:
            if not attempt_wait_s:
                self._appender.try_reopen()
            return
        now_s = time.monotonic()
        if now_s < self._maintenance_due_s:
            return
        lag_rows = self._appender.lag_rows()
        idle_s = now_s - self._busy_at
        is_idle = not self.queue_length() and idle_s >= _IDLE_S
        if lag_rows and (
            is_idle or lag_rows >= _PROJECT_AT_ROWS or self._appender.lag_s() >= _PROJECT_AFTER_S
        ):
            self._run_maintenance(
                "project the state tables", lambda: self._appender.project(_PROJECT_STEP_ROWS)
            )
        elif self._appender.is_log_full():
            self._run_maintenance("checkpoint the full log", self._appender.maintain)
        elif self._appender.uncompared_rows() and (is_idle or now_s >= self._comparison_due_s):
            self._comparison_due_s = now_s + _COMPARE_AFTER_S
            self._run_maintenance(
                "compare the state tables with the journal", self._appender.compare_rows
            )
        elif is_idle and idle_s >= _MAINTAIN_AFTER_S and self._appender.needs_maintenance():
            self._busy_at = now_s
            self._run_maintenance("sync the mark and checkpoint the log", self._appender.maintain)

    def _run_maintenance(self, operation: str, work: Callable[[], Any]) -> None:
        """Run the work; after a failure wait twice as long for the next time."""
        if isinstance(self._outcome_of(operation, work), SpawnError):
            self._maintenance_due_s = time.monotonic() + self._maintenance_pause_s
            self._maintenance_pause_s = min(2 * self._maintenance_pause_s, _MAX_MAINTENANCE_PAUSE_S)
        else:
            self._maintenance_due_s, self._maintenance_pause_s = 0.0, _MAINTAIN_AFTER_S


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
        # A loop may close at any moment, and its callers with it.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue  # its waiter gave up
        if isinstance(outcome, SpawnError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
