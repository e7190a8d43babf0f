"""The rate of dated flows whose sign changes once, with few passes over them.

With E(x) and L(x) the discounted sums of the flows before and after the change of sign, the log
rate a day solves g(x) = ln(L/E) = 0, and x as a function of g is nearly a straight line. Values and
slopes at x = 0 and at the Newton step from there fix its Hermite interpolant; the value at the zero
of that is one more node. The term that the node adds tells the error: where it is not small, a
Newton step follows. Source of the divided differences: Stoer and Bulirsch, Introduction to
Numerical Analysis, section 2.1.
"""

from collections.abc import Sequence
from itertools import repeat
from math import exp, log
from operator import mul
from typing import Final, NamedTuple

from spawn.domain.finance.limits import MAX_AMOUNT

_MAX_EXPONENT: Final = 560.0
_MAX_STEP: Final = 0.05  # a rate of e^18 a year
_MIN_SUM: Final = 1e-12
_MAX_LEVEL: Final = 4.0
_MIN_LEVEL: Final = 1e-9
_SMALL_TERM: Final = 3e-12
_SHORT_RUN: Final = 32  # flows whose last step costs so little that it is always taken
_MAX_TERM: Final = 1e-5
_FAR_LEVEL: Final = 0.45
_MIN_BEND: Final = 0.5
_MAX_GROWTH: Final = 1.1
_LONG_CHORD: Final = 1e-8


def solve_one_sign_change(days: list[int], amounts: Sequence[float]) -> float | None:
    """Return the log rate a day of ordered days; None where the flows need the general method.

    The flows are an unbroken run of one sign, then one of the other sign or zero; sums within the
    limits of the engine bound each of them, and exclude a NaN.
    """
    split = _find_split(amounts)
    early, late = amounts[:split], amounts[split:]
    if not late or days[split - 1] >= days[split]:
        return None
    early_sum, late_sum = sum(early), sum(late)
    has_one_change = (max(late) <= 0.0) if amounts[0] > 0.0 else (min(late) >= 0.0)
    if not (has_one_change and _is_bounded(early_sum) and _is_bounded(late_sum)):
        return None
    level = log(-late_sum / early_sum)
    if not _MIN_LEVEL < abs(level) < _MAX_LEVEL:
        return None
    return _start(days, split, early, late, level)


def _start(
    days: list[int], split: int, early: Sequence[float], late: Sequence[float], level: float
) -> float | None:
    """Take the first step from x = 0 and interpolate from there."""
    early_days, late_days = days[:split], days[split:]
    late_sum = sum(late)
    late_moments = list(map(mul, late, late_days))
    late_mean = sum(late_moments) / late_sum
    distance = late_mean - sum(map(mul, early, early_days)) / sum(early)
    step = level / distance
    if abs(level) > _FAR_LEVEL:
        # Far from the root the curve counts: Halley's step. The spread of the early run is small.
        spread = sum(map(mul, late_moments, late_days)) / late_sum - late_mean * late_mean
        step /= max(1.0 - 0.5 * level * spread / (distance * distance), _MIN_BEND)
    if abs(step) > _MAX_STEP:
        return None
    if abs(step) * days[-1] > _MAX_EXPONENT:
        early_days = [day - days[0] for day in early_days]
        late_days = [day - days[0] for day in late_days]
        if abs(step) * late_days[-1] > _MAX_EXPONENT:
            return None
    return _interpolate_root(_Runs(early_days, late_days, early, late), level, -distance, step)


def _is_bounded(amount: float) -> bool:
    return _MIN_SUM < abs(amount) <= MAX_AMOUNT


def _find_split(amounts: Sequence[float]) -> int:
    """Return the number of flows of the first sign; a zero or a NaN ends the run."""
    is_loan = amounts[0] > 0.0
    split = 0
    for amount in amounts:
        if not (amount > 0.0 if is_loan else amount < 0.0):
            break
        split += 1
    return split


class _Runs(NamedTuple):
    """The flows before and after the change of sign.

    Values are those at the log rate of a float64 base, which may differ from the one that is asked
    for by rounding; days are counted from year 1, so that this rounding would show.
    """

    early_days: list[int]
    late_days: list[int]
    early: Sequence[float]
    late: Sequence[float]

    def level(self, x: float) -> tuple[float, float]:
        """Return a log rate a day next to `x`, and g there."""
        early_days, late_days, early, late = self
        base = exp(-x)
        late_sum = sum(map(mul, late, map(pow, repeat(base), late_days)))
        early_sum = sum(map(mul, early, map(pow, repeat(base), early_days)))
        return -log(base), log(-late_sum / early_sum)

    def level_and_slope(self, x: float) -> tuple[float, float, float]:
        """Return a log rate a day next to `x`, g and dg/dx there."""
        early_days, late_days, early, late = self
        base = exp(-x)
        late_values = list(map(mul, late, map(pow, repeat(base), late_days)))
        early_values = list(map(mul, early, map(pow, repeat(base), early_days)))
        late_sum, early_sum = sum(late_values), sum(early_values)
        late_mean = sum(map(mul, late_values, late_days)) / late_sum
        early_mean = sum(map(mul, early_values, early_days)) / early_sum
        return -log(base), log(-late_sum / early_sum), early_mean - late_mean


def _interpolate_root(runs: _Runs, g0: float, slope0: float, x1: float) -> float | None:
    """Return the zero of x(g) interpolated at two double nodes and a single one, or None."""
    x1, g1, slope1 = runs.level_and_slope(x1)
    # Divided differences of x(g) at g0, g0, g1, g1; x is 0 at g0, and dx/dg is 1 / (dg/dx).
    chord = x1 / (g1 - g0)
    bend0 = (chord - 1.0 / slope0) / (g1 - g0)
    bend1 = (1.0 / slope1 - chord) / (g1 - g0)
    third = (bend1 - bend0) / (g1 - g0)
    x2 = -g0 * (1.0 / slope0 - g0 * (bend0 - g1 * third))
    if not abs(x2) <= _MAX_GROWTH * abs(x1):
        return None
    x2, g2 = runs.level(x2)
    if g2 == 0.0:
        return x2
    if g2 == g1:
        return None
    last_bend = ((x2 - x1) / (g2 - g1) - 1.0 / slope1) / (g2 - g1)
    fourth = ((last_bend - bend1) / (g2 - g0) - third) / (g2 - g0)
    term = g0 * g0 * g1 * g1 * fourth
    if abs(term) > _MAX_TERM * abs(x2):
        return None
    if abs(term * g2) <= _SMALL_TERM * abs(x2) and len(runs.late) > _SHORT_RUN:
        return x2 + term
    x3, g3 = runs.level(x2 + term)
    is_chord_long = abs(g2) > _LONG_CHORD and g3 != g2
    return x3 - g3 * ((x3 - x2) / (g3 - g2) if is_chord_long else 1.0 / slope1)
