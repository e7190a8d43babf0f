"""A clock that leaves the course of steady time has jumped; one that is adjusted has not."""

from spawn.adapters.local.clock import SystemClock
from spawn.ports.runtime import MAX_CLOCK_JUMP_S


class Times:
    """Wall time and steady time, which a test sets."""

    def __init__(self) -> None:
        self.wall_s, self.steady_s = 1_000_000.0, 10.0

    def a_clock(self) -> SystemClock:
        return SystemClock(wall_time=lambda: self.wall_s, steady_time=lambda: self.steady_s)

    def pass_time(self, seconds: float, adjustment_s: float = 0.0) -> None:
        self.steady_s += seconds
        self.wall_s += seconds + adjustment_s


def test_a_clock_that_runs_with_steady_time_has_not_jumped() -> None:
    times = Times()
    clock = times.a_clock()
    times.pass_time(1_000_000)
    assert clock.jump_s() == 0


def test_small_adjustments_do_not_add_up() -> None:
    times = Times()
    clock = times.a_clock()
    for _ in range(100):
        times.pass_time(3_600, adjustment_s=MAX_CLOCK_JUMP_S)
        assert clock.jump_s() <= MAX_CLOCK_JUMP_S


def test_a_jump_ahead_lasts_until_the_clock_is_set_right() -> None:
    times = Times()
    clock = times.a_clock()
    times.pass_time(10, adjustment_s=MAX_CLOCK_JUMP_S + 1)
    for _ in range(3):
        times.pass_time(3_600)
        assert clock.jump_s() == MAX_CLOCK_JUMP_S + 1
    times.pass_time(10, adjustment_s=-MAX_CLOCK_JUMP_S - 1)
    assert clock.jump_s() == 0


def test_a_clock_that_was_set_back_may_be_set_right_again() -> None:
    times = Times()
    clock = times.a_clock()
    times.pass_time(10, adjustment_s=-86_400)
    assert clock.jump_s() == -86_400
    times.pass_time(10, adjustment_s=86_400)
    assert clock.jump_s() == 0


def test_the_clock_of_the_machine_has_not_jumped() -> None:
    assert abs(SystemClock().jump_s()) < 1
