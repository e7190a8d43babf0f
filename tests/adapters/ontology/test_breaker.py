"""The breaker: opens after failures in a window, lets one probe through, and closes again."""

import asyncio

import pytest
from tests.adapters.ontology.conftest import Time

from spawn.adapters.ontology.circuit_breaker import (
    Breaker,
    BreakerLimits,
    BreakerOpen,
    BreakerState,
)

LIMITS = BreakerLimits(failures=3, window_s=10.0, open_s=5.0)


class Failure(Exception):
    """What counts."""


class Answer(Exception):
    """What does not count."""


@pytest.fixture
def breaker(time: Time) -> Breaker:
    return Breaker(LIMITS, monotonic=time.monotonic)


def state_of(breaker: Breaker) -> BreakerState:
    """The state as a call: a type checker takes a property for a constant."""
    return breaker.state


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Failure), breaker.guard(Failure):
            raise Failure


def succeed(breaker: Breaker) -> None:
    with breaker.guard(Failure):
        pass


def test_enough_failures_in_the_window_open_it(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert state_of(breaker) is BreakerState.CLOSED
    fail(breaker)
    assert state_of(breaker) is BreakerState.OPEN
    with pytest.raises(BreakerOpen), breaker.guard(Failure):
        pytest.fail("an open breaker ran the block")


def test_failures_spread_beyond_the_window_do_not_open_it(breaker: Breaker, time: Time) -> None:
    for _ in range(10):
        fail(breaker)
        time.elapsed_s += 5.1
    assert state_of(breaker) is BreakerState.CLOSED


def test_other_errors_are_answers_and_do_not_count(breaker: Breaker) -> None:
    for _ in range(10):
        with pytest.raises(Answer), breaker.guard(Failure):
            raise Answer
    assert state_of(breaker) is BreakerState.CLOSED


def test_half_open_lets_exactly_one_probe_through(breaker: Breaker, time: Time) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    assert state_of(breaker) is BreakerState.HALF_OPEN
    with breaker.guard(Failure):
        for _ in range(3):
            with pytest.raises(BreakerOpen), breaker.guard(Failure):
                pytest.fail("a second probe ran")
    assert state_of(breaker) is BreakerState.CLOSED


def test_a_failed_probe_opens_it_for_the_whole_time_again(breaker: Breaker, time: Time) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    fail(breaker)
    time.elapsed_s += 4.9
    assert state_of(breaker) is BreakerState.OPEN
    time.elapsed_s += 0.1
    succeed(breaker)
    assert state_of(breaker) is BreakerState.CLOSED


def test_after_closing_the_old_failures_are_forgotten(breaker: Breaker, time: Time) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    succeed(breaker)
    fail(breaker, 2)
    assert state_of(breaker) is BreakerState.CLOSED


def test_a_probe_that_answers_with_another_error_closes_it(breaker: Breaker, time: Time) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    with pytest.raises(Answer), breaker.guard(Failure):
        raise Answer
    assert state_of(breaker) is BreakerState.CLOSED


def test_a_cancelled_probe_makes_way_for_the_next(breaker: Breaker, time: Time) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    with pytest.raises(asyncio.CancelledError), breaker.guard(Failure):
        raise asyncio.CancelledError
    assert state_of(breaker) is BreakerState.HALF_OPEN
    succeed(breaker)
    assert state_of(breaker) is BreakerState.CLOSED


def test_a_call_from_before_the_change_no_longer_counts(breaker: Breaker, time: Time) -> None:
    late = breaker.guard(Failure)
    late.__enter__()
    fail(breaker, 3)
    time.elapsed_s += 5.0
    with breaker.guard(Failure):
        # The old call fails while the probe is out: it must not decide over the probe.
        assert not late.__exit__(Failure, Failure(), None)
        assert state_of(breaker) is BreakerState.HALF_OPEN
    assert state_of(breaker) is BreakerState.CLOSED
