"""The workbench: places, deadlines, and refusals of several cases told together."""

import threading
from collections.abc import Iterator

import pytest

from spawn.application.analysis.calculation import Deadline, Workbench, calculate
from spawn.domain.errors import DeadlineExceeded, InvalidInput, Overloaded
from spawn.domain.finance.debt_sizing_case import SizingCase

SOUND = SizingCase(cfads=(110.0, 120.0), annual_rates=0.05, target_dscr=1.3)


@pytest.fixture
def bench() -> Iterator[Workbench]:
    made = Workbench(workers=1, queue_limit=3, large_limit=1, deadline_s=0.05)
    yield made
    made.close()


async def test_work_beyond_its_deadline_is_given_up_and_stops(bench: Workbench) -> None:
    """The thread stops where it next asks, and is free for the next piece of work."""
    stopped = threading.Event()

    def endless(deadline: Deadline) -> None:
        try:
            while True:
                deadline.check()
        finally:
            stopped.set()

    with pytest.raises(DeadlineExceeded) as caught:
        await bench.run(endless)
    assert caught.value.code == "deadline_exceeded"
    assert stopped.wait(10)
    assert await bench.run(lambda _deadline: 7) == 7


async def test_places_are_bounded_and_given_back(bench: Workbench) -> None:
    async with bench.admitted(large=True), bench.admitted(large=False):
        with pytest.raises(Overloaded):
            async with bench.admitted(large=True):
                pass
        async with bench.admitted(large=False):
            with pytest.raises(Overloaded):
                async with bench.admitted(large=False):
                    pass
    async with bench.admitted(large=True):
        pass


async def test_what_work_raises_is_raised_where_it_is_awaited(bench: Workbench) -> None:
    def refuse(_deadline: Deadline) -> None:
        raise InvalidInput.at("/cfads", "empty", "has none")

    with pytest.raises(InvalidInput):
        await bench.run(refuse)


def test_offences_of_all_cases_are_told_below_their_pointers() -> None:
    wrong = SizingCase(cfads=(), annual_rates=0.05, target_dscr=1.3)
    pointers = ("/cases/0", "/cases/1", "/cases/2")
    with pytest.raises(InvalidInput) as caught:
        calculate(
            "debt-sizing",
            (wrong, SOUND, wrong),
            explain=False,
            pointers=pointers,
            deadline=Deadline(),
        )
    told = [error.pointer for error in caught.value.errors]
    assert told[0] == "/cases/0/cfads"
    assert "/cases/2/cfads" in told
    assert not any(pointer.startswith("/cases/1") for pointer in told)


def test_a_passed_deadline_stops_before_the_next_case() -> None:
    deadline = Deadline()
    deadline.pass_()
    with pytest.raises(DeadlineExceeded):
        calculate("debt-sizing", (SOUND,), explain=False, pointers=("",), deadline=deadline)
