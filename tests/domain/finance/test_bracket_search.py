"""The bracket search: every kind of outcome, its precision, and its bound on evaluations."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.finance.bracket_search import (
    MAX_EVALUATIONS,
    MAX_ZEROS,
    BracketSearch,
    Search,
    list_numbers,
    search_bracket,
    search_integers,
)

pytestmark = pytest.mark.core

Function = Callable[[float], float | None]


def run_search(function: Function, search: Search[BracketSearch]) -> BracketSearch:
    """Drive a search to its end."""
    number = next(search)
    while True:
        try:
            number = search.send(function(number))
        except StopIteration as end:
            result: BracketSearch = end.value
            return result


def search(
    function: Function, low: float, high: float, *, intervals: int = 32, size: float = 0.0
) -> BracketSearch:
    found = run_search(function, search_bracket(low, high, intervals=intervals, target_size=size))
    assert found.evaluations <= MAX_EVALUATIONS
    return found


def zeros(found: BracketSearch) -> list[float]:
    assert all(zero.until is None for zero in found.zeros)
    return [zero.number for zero in found.zeros]


def test_a_smooth_function_has_its_zeros_to_the_last_digits() -> None:
    found = search(math.cos, 0.0, 20.0)
    expected = [(index + 0.5) * math.pi for index in range(6)]
    assert zeros(found) == pytest.approx(expected, rel=4e-16)
    assert found.is_complete
    assert found.jumps == ()


@pytest.mark.parametrize(
    ("function", "low", "high", "evaluations"),
    [
        (lambda x: math.exp(x) - 5.0, 0.0, 4.0, 16),
        (lambda x: x**3 - 2.0, 0.0, 3.0, 15),
        (math.cos, 0.0, 3.0, 12),
        (lambda x: math.log(x) - 1.0, 1.0, 9.0, 14),
        (lambda x: 1.0 / x - 0.3, 1.0, 9.0, 15),
    ],
)
def test_interpolation_needs_a_quarter_of_the_evaluations_of_bisection(
    function: Function, low: float, high: float, evaluations: int
) -> None:
    assert search(function, low, high, intervals=1).evaluations <= evaluations


def test_zeros_at_the_ends_of_the_bracket_count() -> None:
    assert zeros(search(lambda x: x * (x - 10.0), 0.0, 10.0)) == [0.0, 10.0]


def test_two_zeros_inside_one_step_are_seen_where_the_function_turns() -> None:
    found = search(lambda x: (x - 3.0) * (x - 3.001), 0.1, 10.1)
    assert zeros(found) == pytest.approx([3.0, 3.001], abs=1e-12)


def test_a_function_that_touches_zero_has_one() -> None:
    (number,) = zeros(search(lambda x: (x - math.pi / 3) ** 2, 0.0, 10.0))
    assert number == pytest.approx(math.pi / 3, abs=1e-8)


def test_a_zero_of_three_orders_is_one_zero() -> None:
    (number,) = zeros(search(lambda x: (x - 1.1) ** 3, 0.0, 10.0))
    assert number == pytest.approx(1.1, abs=1e-5)


@pytest.mark.parametrize(
    ("function", "number"),
    [
        (lambda x: -1.0 if x < math.e else 1.0, math.e),
        (lambda x: 1.0 / (x - math.e), math.e),
        (lambda x: round(x, 2) - 3.145, 3.145),
    ],
)
def test_a_jump_over_zero_is_no_zero(function: Function, number: float) -> None:
    found = search(function, 0.0, 10.0, size=1.0)
    assert found.zeros == ()
    (jump,) = found.jumps
    assert jump.below.number == pytest.approx(number, rel=1e-15)
    assert jump.above.number == pytest.approx(number, rel=1e-15)
    assert jump.below.value * jump.above.value < 0.0


def test_a_part_at_zero_is_a_range() -> None:
    (zero,) = search(lambda x: max(0.0, x - 5.0), 0.0, 10.0, size=1.0).zeros
    assert zero.number == 0.0
    assert zero.until == pytest.approx(5.0, abs=1e-11)


def test_a_rounded_output_is_zero_over_its_step() -> None:
    (zero,) = search(lambda x: round(x, 2) - 3.14, 0.0, 10.0, size=3.14).zeros
    assert (zero.number, zero.until) == pytest.approx((3.135, 3.145), abs=1e-9)


def test_rounding_noise_is_no_change_of_sign() -> None:
    (zero,) = search(lambda x: 2e-16 * math.sin(1e9 * x), 0.0, 1.0, size=1.3).zeros
    assert (zero.number, zero.until) == (0.0, 1.0)


def test_a_zero_before_a_part_without_values_is_seen() -> None:
    found = search(lambda x: None if x > 4.9999 else x - 4.9998, 0.0, 10.0)
    assert zeros(found) == pytest.approx([4.9998], rel=1e-12)


def test_a_wide_bracket_is_scanned_by_ratios() -> None:
    assert zeros(search(lambda x: math.log(x) - 3.0, 1e-6, 1e9)) == pytest.approx([math.exp(3.0)])
    assert list_numbers(1.0, 1e4, 4) == pytest.approx([1.0, 10.0, 100.0, 1000.0, 1e4])


def test_no_zero_has_the_nearest_number() -> None:
    found = search(lambda x: x * x + 1.0, -3.0, 7.0)
    assert (found.zeros, found.jumps) == ((), ())
    assert found.nearest is not None
    assert found.nearest.number == pytest.approx(0.0, abs=1e-6)
    assert search(lambda _x: None, 0.0, 1.0).nearest is None


def test_more_zeros_than_the_limit_are_reported_as_incomplete() -> None:
    found = search(lambda x: math.sin(50.0 * x), 0.1, 10.0, intervals=256)
    assert len(found.zeros) == MAX_ZEROS
    assert not found.is_complete


def test_integers_are_tried_one_by_one() -> None:
    found = run_search(lambda n: n * n - 49.0, search_integers(1, 20))
    assert [zero.number for zero in found.zeros] == [7.0]
    found = run_search(lambda n: n * n - 50.0, search_integers(1, 20))
    (jump,) = found.jumps
    assert (found.zeros, jump.below.number, jump.above.number) == ((), 7.0, 8.0)


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=5, unique=True), st.floats(0.01, 100.0))
def test_every_zero_of_a_polynomial_is_found(numbers: list[int], scale: float) -> None:
    """Between two neighbours lies at least a step of the scan."""
    found = search(
        lambda x: scale * math.prod(x - number for number in numbers), -41.3, 41.7, intervals=166
    )
    assert zeros(found) == pytest.approx(sorted(map(float, numbers)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("absent", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("intervals", [1, 7, 256])
@pytest.mark.parametrize("seed", range(8))
def test_any_function_ends_the_search(seed: int, intervals: int, absent: float) -> None:
    rng = random.Random(seed)

    def erratic(_number: float) -> float | None:
        draw = rng.random()
        if draw < absent:
            return None
        return rng.choice([math.inf, math.nan, 0.0, 1e300, -1e300, draw, -draw])

    search(erratic, -1.0, 1.0, intervals=intervals)
