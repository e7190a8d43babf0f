"""The one thread that writes: it takes what is queued as a group and commits it as one insert."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import duckdb

from spawn.adapters.duckdb.journal.appender import Ledger
from spawn.adapters.duckdb.journal.prepared_change import Prepared
from spawn.domain.change import Committed
from spawn.domain.errors import Overloaded, SpawnError, Unavailable

_MAX_QUEUED_WRITES = 100_000
_MAX_PASSED_OVER = 4
_PROJECT_AT_ROWS = 4_000
_PROJECT_STEP_ROWS = 1_000
_MAX_LAG_ROWS = 8_000
_PROJECT_AFTER_S = 1.0
_IDLE_S = 0.05
_TIDY_AFTER_S = 1.0


W = TypeVar("W")


class Task(Generic[W]):
    """A change on its way, or an errand for the writer, and who waits for it."""

    __slots__ = ("future", "loop", "work")

    def __init__(self, work: W) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.work = work


_Commit = Task[Prepared]
_Errand = Task[Callable[[], Any]]


class Writer:
    """The queue before the ledger, and the thread that empties it."""

    def __init__(self, ledger: Ledger, *, queue_limit: int, group_cap: int) -> None:
        self._ledger = ledger
        self._queue_limit = queue_limit
        self._group_cap = group_cap
        self._changed = threading.Condition()
        self._errands: deque[_Errand] = deque()
        self._small: deque[_Commit] = deque()
        self._bulk: deque[_Commit] = deque()
        self._waiting: set[Task[None]] = set()
        self._waking: asyncio.AbstractEventLoop | None = None
        self._writes = 0
        self._passed_over = 0
        self._closing = False
        self._busy_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="spawn-writer", daemon=True)
        self._thread.start()

    # -- on the event loop ------------------------------------------------------------------

    def queued(self) -> int:
        """How many changes wait."""
        return len(self._small) + len(self._bulk)

    def closing(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closing

    async def commit(self, prepared: Prepared) -> Committed:
        """Queue the change and wait; giving up waiting does not withdraw it."""
        count = len(prepared.rows)
        task = Task(prepared)
        with self._changed:
            self._refuse_when_closing()
            if self.queued() >= self._queue_limit or self._writes + count > _MAX_QUEUED_WRITES:
                raise Overloaded("Too many changes wait to be written.")
            self._writes += count
            (self._bulk if prepared.is_bulk() else self._small).append(task)
        self._wake_soon(task.loop)
        committed: Committed = await task.future
        return committed

    def _wake_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell the writer once the loop has gone through what is ready.

        Requests arrive in handfuls. Told of the first of them, the writer would commit that alone
        while the others wait, and take the interpreter from the loop that is about to queue them.
        """
        if self._waking is not loop:
            self._waking = loop
            loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._waking = None
        with self._changed:
            self._changed.notify()

    async def run(self, work: Callable[[], Any]) -> Any:
        """Have the writer do something between two groups; errors are the work's own."""
        task = Task(work)
        with self._changed:
            self._refuse_when_closing()
            self._errands.append(task)
            self._changed.notify()
        return await task.future

    async def await_change(self, after: str, timeout_s: float) -> None:
        """Wait until the journal ends elsewhere than at a position; at most so long.

        Raises:
            Unavailable: the store is closing.
        """
        task: Task[None] = Task(None)
        with self._changed:
            self._refuse_when_closing()
            if self._ledger.cursor() != after:
                return
            self._waiting.add(task)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await task.future
        finally:
            with self._changed:
                self._waiting.discard(task)

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise Unavailable("The store is closing.")

    def close(self) -> None:
        """Take nothing more, finish what is queued and end the thread; blocks, idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    # -- on the writer's thread -------------------------------------------------------------

    def _run(self) -> None:
        while True:
            errands, group = self._next()
            for errand in errands:
                self._do(errand)
            if group:
                self._commit(group)
                self._busy_at = time.monotonic()
            if self._closing and not errands and not group:
                _deliver(self._awakened(Unavailable("The store is closing.")))
                return
            self._keep_up()

    def _next(self) -> tuple[list[_Errand], list[_Commit]]:
        """What to do now; empty when nothing came within the time to look after the tables."""
        with self._changed:
            if not (self._errands or self._small or self._bulk or self._closing):
                self._changed.wait(_IDLE_S if self._restless() else None)
            errands = list(self._errands)
            self._errands.clear()
            group = self._take()
            self._writes -= sum(len(task.work.rows) for task in group)
            return errands, group

    def _restless(self) -> bool:
        """Whether something is left to do once nothing more comes."""
        return bool(self._ledger.lag_rows()) or self._ledger.untidy()

    def _take(self) -> list[_Commit]:
        if self._ledger.lag_rows() >= _MAX_LAG_ROWS:
            return _compatible(self._small, self._group_cap)
        starved = self._passed_over >= _MAX_PASSED_OVER
        if self._bulk and (starved or not self._small):
            self._passed_over = 0
            group = [self._bulk.popleft()]
        else:
            self._passed_over += bool(self._bulk)
            group = _compatible(self._small, self._group_cap)
        return group

    def _commit(self, group: list[_Commit]) -> None:
        outcomes = self._surviving(lambda: self._ledger.commit([task.work for task in group]))
        if not isinstance(outcomes, list):
            outcomes = [outcomes] * len(group)
        _deliver([*zip(group, outcomes, strict=True), *self._awakened()])

    def _do(self, errand: _Errand) -> None:
        before = self._ledger.position
        done = (errand, self._surviving(errand.work))
        _deliver([done] if self._ledger.position == before else [done, *self._awakened()])

    def _awakened(self, outcome: SpawnError | None = None) -> list[tuple[Task[Any], Any]]:
        """Those who wait for a change, taken from the list, with what they are told."""
        with self._changed:
            waiting = [(task, outcome) for task in self._waiting]
            self._waiting.clear()
        return waiting

    def _surviving(self, work: Callable[[], Any]) -> Any:
        """What the work returns, or the error that its failure means; the thread goes on."""
        try:
            return work()
        except SpawnError as error:
            return error
        except duckdb.Error as failure:
            return self._ledger.heal(failure)
        except Exception:  # noqa: BLE001 -- the edge of the thread: its death would hang everyone
            return self._ledger.doubt()

    def _keep_up(self) -> None:
        """Project, sync and fold the log, each in its time."""
        lag = self._ledger.lag_rows()
        idle_s = time.monotonic() - self._busy_at
        idle = not self.queued() and idle_s >= _IDLE_S
        if lag and (idle or lag >= _PROJECT_AT_ROWS or self._ledger.lag_s() >= _PROJECT_AFTER_S):
            self._surviving(lambda: self._ledger.project(_PROJECT_STEP_ROWS))
        elif idle and idle_s >= _TIDY_AFTER_S and self._ledger.untidy():
            self._busy_at = time.monotonic()
            self._surviving(self._ledger.tidy)


def _compatible(queue: deque[_Commit], cap: int) -> list[_Commit]:
    """Take from the queue, in order, what can be committed together.

    No two of a group touch one aggregate or one idempotency key unless both only guard it: of
    them the later waits, and so does whatever touches what a waiting one touches.
    """
    written: set[str] = set()
    guarded: set[str] = set()
    group: list[_Commit] = []
    passed: list[_Commit] = []
    while queue and len(group) < cap and len(passed) < cap:
        task = queue.popleft()
        writes, guards = task.work.written, task.work.guarded
        clash = not (
            writes.isdisjoint(written) and writes.isdisjoint(guarded) and guards.isdisjoint(written)
        )
        (passed if clash else group).append(task)
        written |= writes
        guarded |= guards
    queue.extendleft(reversed(passed))
    return group


def _deliver(outcomes: Iterable[tuple[Task[Any], Any]]) -> None:
    """Hand the outcomes over with one call into each event loop."""
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
