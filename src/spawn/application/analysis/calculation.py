"""The calculators as a use case: several cases in one request, off the event loop, in bounded time.

A thread cannot be stopped from outside. The work therefore asks between cases whether it may go
on, and each case is bounded by itself: periods, iterations and work of every solver.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec

from spawn.application.analysis.calculators import CALCULATORS
from spawn.application.analysis.explanations import EXPLAINERS, Explained
from spawn.domain.errors import DeadlineExceeded, FieldError, InvalidInput, Overloaded
from spawn.domain.finance.limits import MAX_ERRORS

T = TypeVar("T")

MAX_CASES: Final = 500
"""Cases in one request."""

MAX_ROWS: Final = 100_000
"""Rows of all results of one request: what is written in one piece, and held until it is sent."""


class Calculation(msgspec.Struct, frozen=True):
    """What came of one case: the figures, the rows of its table form, and why if asked."""

    result: msgspec.Struct
    rows: tuple[Any, ...]
    explained: Explained | None


class Deadline:
    """Told from the event loop, asked by the work: whether the answer is still awaited."""

    def __init__(self) -> None:
        self._passed = threading.Event()

    def pass_(self) -> None:
        """From now on the work stops where it next asks."""
        self._passed.set()

    def check(self) -> None:
        """Let the work go on while its answer is awaited.

        Raises:
            DeadlineExceeded: it is not any more.
        """
        if self._passed.is_set():
            raise DeadlineExceeded("The calculation took too long and was stopped.")


def calculate(
    name: str,
    cases: Sequence[msgspec.Struct],
    *,
    explain: bool,
    pointers: Sequence[str],
    deadline: Deadline,
) -> list[Calculation]:
    """Every case through the calculator of that name; `pointers` say where each case stands.

    Raises:
        InvalidInput: the offences of all cases, each below the pointer of its case; or more rows
            than one answer holds.
        DeadlineExceeded: the request was given up meanwhile.
    """
    calculator, explainer = CALCULATORS[name], EXPLAINERS[name]
    found: list[Calculation] = []
    errors: list[FieldError] = []
    room = MAX_ROWS
    for case, pointer in zip(cases, pointers, strict=True):
        deadline.check()
        try:
            result = calculator.run(case)
        except InvalidInput as failure:
            errors += _below(pointer, failure.errors)
            if len(errors) >= MAX_ERRORS:
                break
            continue
        explained = explainer(case, result) if explain else None
        found.append(Calculation(result, calculator.rows(result), explained))
        room -= len(found[-1].rows)
        if room < 0:
            detail = f"the results have more than {MAX_ROWS} rows; ask for fewer cases at once"
            raise InvalidInput.at("/cases", "too_many", detail)
    if errors:
        raise InvalidInput(errors[:MAX_ERRORS])
    return found


def _below(pointer: str, errors: Sequence[FieldError]) -> list[FieldError]:
    return [msgspec.structs.replace(error, pointer=pointer + error.pointer) for error in errors]


class Workbench:
    """A few threads for calculations, a bounded queue before them, a deadline for each."""

    def __init__(
        self,
        *,
        workers: int = 2,
        queue_limit: int = 64,
        large_limit: int = 4,
        deadline_s: float = 10.0,
    ) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="spawn-analysis")
        self._queue_limit = queue_limit
        self._large_limit = large_limit
        self._deadline_s = deadline_s
        self._admitted = 0
        self._large = 0

    @asynccontextmanager
    async def admitted(self, *, large: bool) -> AsyncIterator[None]:
        """Hold a place for one request, taken before its body is read; large bodies have few.

        Raises:
            Overloaded: there is none.
        """
        if self._admitted >= self._queue_limit or (large and self._large >= self._large_limit):
            raise Overloaded("Too many calculations wait already.")
        self._admitted += 1
        self._large += large
        try:
            yield
        finally:
            self._admitted -= 1
            self._large -= large

    async def run(self, work: Callable[[Deadline], T]) -> T:
        """What `work` gives, from a thread.

        Raises:
            DeadlineExceeded: it took too long; it stops where it next asks.
        """
        deadline = Deadline()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, work, deadline)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise DeadlineExceeded(
                f"The calculation took longer than {self._deadline_s:g} s; ask for fewer cases."
            ) from None
        finally:
            deadline.pass_()
            future.add_done_callback(_looked_at)

    def close(self) -> None:
        """Let the work under way end and take no more."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def _looked_at(future: asyncio.Future[Any]) -> None:
    """An abandoned calculation may end as it likes; asyncio wants its exception seen."""
    if not future.cancelled():
        future.exception()
