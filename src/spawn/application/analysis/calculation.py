"""Calculation of several cases per request, off the event loop, within a deadline.

A thread cannot be stopped from outside. The work therefore checks its deadline between cases, and
each case has limits of its own: periods, iterations and work of every solver.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import msgspec

from spawn.application.analysis.calculators import CALCULATORS
from spawn.application.analysis.explanation import Explanations
from spawn.application.analysis.explanations import EXPLAINERS
from spawn.application.analysis.holiday_calendars import resolve_calendars
from spawn.domain.errors import (
    MAX_ERRORS,
    DeadlineExceeded,
    FieldError,
    InvalidInput,
    Overloaded,
)
from spawn.ports.client_presence import waiting_for_client
from spawn.ports.holidays import HolidaySource

T = TypeVar("T")

MAX_CASES: Final = 500
"""Cases per request."""

TURN_S: Final = 0.02
"""Seconds that a calculation in turns holds a thread, before others of the queue have theirs."""

MAX_ROWS: Final = 100_000
"""Rows of all results per request: a response is encoded whole and in memory until it is sent."""

_LINEAR_CALCULATORS: Final = frozenset({"debt-sizing", "waterfall"})
_COSTLY_TERMS: Final = (
    b'"payment_dates"',
    b'"calendar"',
    b'"dsra_months"',
    b'"tax"',
    b'"lockup_periods_ahead"',
    b'"facilities"',
)
_MAX_INLINE_COMMAS: Final = 160
_MAX_INLINE_BYTES: Final = 6144


class CalculationResult(msgspec.Struct, frozen=True):
    """The result of one case: its figures, its table rows and, on request, its explanations.

    A case without a result has `errors` in place of the figures.
    """

    result: msgspec.Struct | None
    rows: tuple[Any, ...]
    explanations: Explanations | None
    errors: tuple[FieldError, ...] = ()


class Deadline:
    """A deadline that the event loop expires and the work on a thread checks."""

    def __init__(self) -> None:
        self._expired = threading.Event()

    def expire(self) -> None:
        """Stop the work at its next check."""
        self._expired.set()

    def raise_if_expired(self) -> None:
        """Raise an error when the deadline has expired.

        Raises:
            DeadlineExceeded: the deadline has expired.
        """
        if self._expired.is_set():
            raise DeadlineExceeded(
                "The calculation took too long and was stopped; send fewer cases."
            )


def calculate(
    name: str,
    cases: Sequence[msgspec.Struct],
    *,
    explain: bool,
    pointers: Sequence[str],
    deadline: Deadline,
    errors: Sequence[FieldError] = (),
    holidays: HolidaySource | None = None,
    separates_errors: bool = False,
) -> list[CalculationResult]:
    """Calculate every case with the calculator `name`; `pointers` are those of the cases.

    `errors` are those of cases that were unreadable; they join those of the others. `holidays`
    has the public holidays of the countries that calendars name. With `separates_errors` a
    readable case without a result has its own errors in its place, and the others their results.

    Raises:
        InvalidInput: the field errors of all cases, each below the pointer of its case: without
            `separates_errors`, where a case is unreadable, or where none has a result; or more
            than `MAX_ROWS` rows.
        DeadlineExceeded: the request was abandoned in the meantime.
    """
    calculator, explainer = CALCULATORS[name], EXPLAINERS[name]
    calculations: list[CalculationResult] = []
    case_errors: list[FieldError] = []
    remaining_rows = MAX_ROWS
    for case, pointer in zip(cases, pointers, strict=True):
        deadline.raise_if_expired()
        try:
            result = calculator.run(resolve_calendars(case, holidays))
        except InvalidInput as error:
            own_errors = _prefix_pointers(pointer, error.errors)
            calculations.append(CalculationResult(None, (), None, tuple(own_errors)))
            case_errors += own_errors
            if not separates_errors and len(case_errors) >= MAX_ERRORS:
                break
            continue
        explanations = explainer(case, result) if explain else None
        rows = calculator.rows(result)
        calculations.append(CalculationResult(result, rows, explanations))
        remaining_rows -= len(rows) * (1 + calculator.line_count(result))
        if remaining_rows < 0:
            detail = (
                f"the results have more than {MAX_ROWS} rows, those of lines included; "
                "send fewer cases, periods or lines per request"
            )
            raise InvalidInput.at("/cases", "too_many", detail)
    has_results = any(calculation.result is not None for calculation in calculations)
    if errors or (case_errors and not (separates_errors and has_results)):
        all_errors = sorted([*errors, *case_errors], key=_case_number)
        raise InvalidInput(all_errors[:MAX_ERRORS])
    return calculations


def _case_number(error: FieldError) -> int:
    """Return the index of the case that an error is in; the only case is the first."""
    parts = error.pointer.split("/")
    return int(parts[2]) if parts[1:2] == ["cases"] else 0


def _prefix_pointers(pointer: str, errors: Sequence[FieldError]) -> list[FieldError]:
    return [msgspec.structs.replace(error, pointer=pointer + error.pointer) for error in errors]


def is_inline(name: str, body: bytes) -> bool:
    """Return whether the work costs less than a thread: few numbers, in linear time.

    Dates that are rolled over a long term, holidays, debt service that is projected in every
    period and a tax that is solved with the debt cost more than their few numbers.
    """
    return (
        name in _LINEAR_CALCULATORS
        and len(body) <= _MAX_INLINE_BYTES
        and body.count(b",") <= _MAX_INLINE_COMMAS
        and not any(term in body for term in _COSTLY_TERMS)
    )


class CalculationPool:
    """A thread pool for calculations with a bounded queue and a deadline per calculation."""

    def __init__(
        self,
        *,
        workers: int = 2,
        queue_limit: int = 64,
        large_limit: int = 4,
        turn_limit: int = 4,
        deadline_s: float = 10.0,
        holidays: HolidaySource | None = None,
    ) -> None:
        self.holidays = holidays
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="spawn-analysis")
        self._queue_limit = queue_limit
        self._large_limit = large_limit
        self._deadline_s = deadline_s
        self._slots = 0
        self._large_slots = 0
        self._turns = asyncio.Semaphore(turn_limit)

    @asynccontextmanager
    async def slot(self, *, large: bool) -> AsyncIterator[None]:
        """Reserve a slot for one request before its body is read; large bodies have few slots.

        Raises:
            Overloaded: no slot is free.
        """
        if self._slots >= self._queue_limit or (large and self._large_slots >= self._large_limit):
            raise Overloaded("Too many calculations are queued; retry later.")
        self._slots += 1
        self._large_slots += large
        try:
            yield
        finally:
            self._slots -= 1
            self._large_slots -= large

    async def run(self, work: Callable[[Deadline], T]) -> T:
        """Run `work` on a thread and return its result.

        Raises:
            DeadlineExceeded: the work took too long; it stops at its next check.
            CancelledError: the client disconnected; it stops likewise.
        """
        deadline = Deadline()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, work, deadline)
        try:
            with waiting_for_client():
                async with asyncio.timeout(self._deadline_s):
                    return await asyncio.shield(future)
        except TimeoutError:
            raise DeadlineExceeded(
                f"The calculation took longer than {self._deadline_s:g} s; send fewer cases."
            ) from None
        finally:
            deadline.expire()
            future.add_done_callback(_consume_exception)

    async def run_in_turns(self, work: Callable[[Deadline], Generator[None, None, T]]) -> T:
        """Run long `work` on threads, a turn of `TURN_S` at a time, and return its result.

        Between two turns the queue moves on, so that long work delays short work by a turn of each
        of the few that run at once. The deadline includes the wait for the others.

        Raises:
            DeadlineExceeded: the work took too long; it stops at its next step.
        """
        deadline = Deadline()
        try:
            with waiting_for_client():
                async with asyncio.timeout(self._deadline_s), self._turns:
                    return await self._take_turns(work(deadline))
        except TimeoutError:
            raise DeadlineExceeded(
                f"The calculation took longer than {self._deadline_s:g} s; send less work."
            ) from None
        finally:
            deadline.expire()

    async def _take_turns(self, steps: Generator[None, None, T]) -> T:
        while True:
            turn = await self._take_turn(steps)
            if turn is not None:
                return turn.value

    async def _take_turn(self, steps: Generator[None, None, T]) -> "_LastTurn[T] | None":
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, _advance, steps)
        try:
            return await asyncio.shield(future)
        finally:
            future.add_done_callback(_consume_exception)

    def close(self) -> None:
        """Wait for the running work and accept no more."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class _LastTurn(msgspec.Struct, Generic[T], frozen=True):
    """The result of work that has come to its end."""

    value: T


def _advance(steps: Generator[None, None, T]) -> _LastTurn[T] | None:
    """Take steps for one turn; return the result once there is one."""
    end_s = time.perf_counter() + TURN_S
    while time.perf_counter() < end_s:
        try:
            next(steps)
        except StopIteration as end:
            return _LastTurn(end.value)
    return None


def _consume_exception(future: asyncio.Future[Any]) -> None:
    """Retrieve the exception of an abandoned calculation, or asyncio logs it as unretrieved."""
    if not future.cancelled():
        future.exception()
