"""The calculation pool: slots, deadlines, and the errors of several cases together."""

import asyncio
import threading
from collections.abc import Generator, Iterator

import pytest

from spawn.application.analysis.calculation import CalculationPool, Deadline, calculate
from spawn.domain.errors import DeadlineExceeded, InvalidInput, Overloaded
from spawn.domain.finance.debt_sizing_case import SizingCase
from spawn.testing.expected_errors import expect_invalid

VALID_CASE = SizingCase(cfads=(110.0, 120.0), annual_rates=0.05, target_dscr=1.3)


@pytest.fixture
def pool() -> Iterator[CalculationPool]:
    schedule = CalculationPool(workers=1, queue_limit=3, large_limit=1, deadline_s=0.05)
    yield schedule
    schedule.close()


async def test_work_beyond_its_deadline_is_abandoned_and_stops(pool: CalculationPool) -> None:
    """The thread stops at its next check, and is free for the next work."""
    stopped = threading.Event()

    def endless(deadline: Deadline) -> None:
        try:
            while True:
                deadline.raise_if_expired()
        finally:
            stopped.set()

    with pytest.raises(DeadlineExceeded) as caught:
        await pool.run(endless)
    assert caught.value.code == "deadline_exceeded"
    assert stopped.wait(10)
    assert await pool.run(lambda _deadline: 7) == 7


async def test_slots_are_limited_and_released(pool: CalculationPool) -> None:
    async with pool.slot(large=True), pool.slot(large=False):
        with pytest.raises(Overloaded):
            async with pool.slot(large=True):
                pass
        async with pool.slot(large=False):
            with pytest.raises(Overloaded):
                async with pool.slot(large=False):
                    pass
    async with pool.slot(large=True):
        pass


async def test_an_error_of_the_work_is_raised_to_its_caller(pool: CalculationPool) -> None:
    def fail(_deadline: Deadline) -> None:
        raise InvalidInput.at("/cfads", "empty", "has none")

    with expect_invalid(("/cfads", "empty")):
        await pool.run(fail)


def test_errors_of_all_cases_are_reported_below_their_pointers() -> None:
    invalid_case = SizingCase(cfads=(), annual_rates=0.05, target_dscr=1.3)
    pointers = ("/cases/0", "/cases/1", "/cases/2")
    with pytest.raises(InvalidInput) as caught:
        calculate(
            "debt-sizing",
            (invalid_case, VALID_CASE, invalid_case),
            explain=False,
            pointers=pointers,
            deadline=Deadline(),
        )
    reported = [error.pointer for error in caught.value.errors]
    assert reported[0] == "/cases/0/cfads"
    assert "/cases/2/cfads" in reported
    assert not any(pointer.startswith("/cases/1") for pointer in reported)


def test_an_expired_deadline_stops_before_the_next_case() -> None:
    deadline = Deadline()
    deadline.expire()
    with pytest.raises(DeadlineExceeded):
        calculate("debt-sizing", (VALID_CASE,), explain=False, pointers=("",), deadline=deadline)


async def test_work_in_turns_lets_short_work_through() -> None:
    pool = CalculationPool(workers=1, deadline_s=60)
    ends: list[str] = []

    def count(_deadline: Deadline) -> Generator[None, None, int]:
        while "short" not in ends:  # without turns the only thread would never be free
            yield
        ends.append("long")
        return 7

    try:
        long_work = asyncio.ensure_future(pool.run_in_turns(count))
        await pool.run(lambda _deadline: ends.append("short"))
        assert await long_work == 7
    finally:
        pool.close()
    assert ends == ["short", "long"]


async def test_work_in_turns_beyond_its_deadline_is_abandoned(pool: CalculationPool) -> None:
    def endless(deadline: Deadline) -> Generator[None, None, int]:
        while True:
            deadline.raise_if_expired()
            yield

    with pytest.raises(DeadlineExceeded):
        await pool.run_in_turns(endless)
    assert await pool.run(lambda _deadline: 7) == 7


async def test_few_works_in_turns_run_at_once() -> None:
    pool = CalculationPool(workers=2, turn_limit=2, deadline_s=60)
    running: set[int] = set()
    most = 0

    def work(deadline: Deadline) -> Generator[None, None, None]:
        nonlocal most
        running.add(id(deadline))
        most = max(most, len(running))
        for _ in range(50):
            yield
        running.discard(id(deadline))

    try:
        await asyncio.gather(*(pool.run_in_turns(work) for _ in range(6)))
    finally:
        pool.close()
    assert most <= 2


async def test_an_error_of_work_in_turns_is_raised_to_its_caller(pool: CalculationPool) -> None:
    def fail(_deadline: Deadline) -> Generator[None, None, None]:
        yield
        raise InvalidInput.at("/vary", "unknown_field", "is not a field")

    with expect_invalid(("/vary", "unknown_field")):
        await pool.run_in_turns(fail)
