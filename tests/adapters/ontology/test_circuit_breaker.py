"""Circuit breaker: it opens after failures in a window, admits one probe, and closes again."""

import asyncio

import pytest
from tests.adapters.ontology.conftest import ManualTime

from spawn.adapters.ontology.circuit_breaker import (
    CircuitBreaker,
    CircuitLimits,
    CircuitOpen,
    CircuitState,
)

LIMITS = CircuitLimits(failures=3, window_s=10.0, open_s=5.0)


class Failure(Exception):
    """An exception that counts as a failure."""


class OtherError(Exception):
    """An exception that does not count."""


@pytest.fixture
def breaker(time: ManualTime) -> CircuitBreaker:
    return CircuitBreaker(LIMITS, monotonic=time.monotonic)


def read_state(breaker: CircuitBreaker) -> CircuitState:
    """Return the state: a type checker takes a property for a constant."""
    return breaker.state


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Failure), breaker.guard(Failure):
            raise Failure


def succeed(breaker: CircuitBreaker) -> None:
    with breaker.guard(Failure):
        pass


def test_enough_failures_in_the_window_open_the_breaker(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert read_state(breaker) is CircuitState.CLOSED
    fail(breaker)
    assert read_state(breaker) is CircuitState.OPEN
    with pytest.raises(CircuitOpen), breaker.guard(Failure):
        pytest.fail("an open breaker ran the block")


def test_failures_beyond_the_window_do_not_open_the_breaker(
    breaker: CircuitBreaker, time: ManualTime
) -> None:
    for _ in range(10):
        fail(breaker)
        time.elapsed_s += 5.1
    assert read_state(breaker) is CircuitState.CLOSED


def test_other_errors_do_not_count(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        with pytest.raises(OtherError), breaker.guard(Failure):
            raise OtherError
    assert read_state(breaker) is CircuitState.CLOSED


def test_a_half_open_breaker_admits_exactly_one_probe(
    breaker: CircuitBreaker, time: ManualTime
) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    assert read_state(breaker) is CircuitState.HALF_OPEN
    with breaker.guard(Failure):
        for _ in range(3):
            with pytest.raises(CircuitOpen), breaker.guard(Failure):
                pytest.fail("a second probe ran")
    assert read_state(breaker) is CircuitState.CLOSED


def test_a_failed_probe_opens_the_breaker_for_the_full_time(
    breaker: CircuitBreaker, time: ManualTime
) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    fail(breaker)
    time.elapsed_s += 4.9
    assert read_state(breaker) is CircuitState.OPEN
    time.elapsed_s += 0.1
    succeed(breaker)
    assert read_state(breaker) is CircuitState.CLOSED


def test_closing_the_breaker_clears_the_failures(breaker: CircuitBreaker, time: ManualTime) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    succeed(breaker)
    fail(breaker, 2)
    assert read_state(breaker) is CircuitState.CLOSED


def test_a_probe_that_ends_with_another_error_closes_the_breaker(
    breaker: CircuitBreaker, time: ManualTime
) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    with pytest.raises(OtherError), breaker.guard(Failure):
        raise OtherError
    assert read_state(breaker) is CircuitState.CLOSED


def test_a_cancelled_probe_releases_the_next_one(breaker: CircuitBreaker, time: ManualTime) -> None:
    fail(breaker, 3)
    time.elapsed_s += 5.0
    with pytest.raises(asyncio.CancelledError), breaker.guard(Failure):
        raise asyncio.CancelledError
    assert read_state(breaker) is CircuitState.HALF_OPEN
    succeed(breaker)
    assert read_state(breaker) is CircuitState.CLOSED


def test_a_call_from_before_a_state_change_no_longer_counts(
    breaker: CircuitBreaker, time: ManualTime
) -> None:
    late_call = breaker.guard(Failure)
    late_call.__enter__()
    fail(breaker, 3)
    time.elapsed_s += 5.0
    with breaker.guard(Failure):
        # The old call fails while the probe runs: it must not decide for the probe.
        assert not late_call.__exit__(Failure, Failure(), None)
        assert read_state(breaker) is CircuitState.HALF_OPEN
    assert read_state(breaker) is CircuitState.CLOSED


def test_a_success_between_failures_does_not_forgive_them(breaker: CircuitBreaker) -> None:
    """The limit counts failures in a window, not in a row: half of all calls may fail."""
    for _ in range(2):
        fail(breaker)
        succeed(breaker)
    assert read_state(breaker) is CircuitState.CLOSED
    fail(breaker)
    assert read_state(breaker) is CircuitState.OPEN


def test_the_defaults_of_the_limits() -> None:
    assert CircuitLimits() == CircuitLimits(failures=5, window_s=60.0, open_s=15.0)
