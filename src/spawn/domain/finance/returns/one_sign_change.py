"""The only rate of flows whose sign changes once.

With E and L the discounted sums of the flows before and after the change of sign, ln(L/E) falls
strictly in the log rate x, at the distance between their mean times, and is so nearly a line that
Halley's iteration needs two or three steps. It ends when the cube of a step is below rounding.
"""

from collections.abc import Callable, Sequence
from math import exp, inf, log
from operator import mul
from typing import Final

MIN_ARRAY_FLOWS: Final = 48
"""From so many flows on, arrays cost less than lists."""

_MAX_STEPS: Final = 60
_MAX_EXPONENT: Final = 300.0
_LAST_STEP: Final = 3e-6
_MIN_BEND: Final = 0.5
_MAX_BEND: Final = 2.0
_TINY: Final = 1e-200

_Moments = Callable[[float], Sequence[float]]
"""Sums of c, c t and c t^2, c = amount exp(-x t), at a log rate x: early flows, then late ones."""


def solve_one_sign_change(
    times: Sequence[float], amounts: Sequence[float], split: int
) -> float | None:
    """Return the log rate a unit of time; None near overflow, and for a sum that is no number.

    `times` are in order, and count from any moment. The flows before `split` have one sign, those
    from it on the other sign or zero.
    """
    is_long = len(times) >= MIN_ARRAY_FLOWS
    moments = (_use_arrays if is_long else _use_lists)(times, amounts, split)
    span = times[-1] - times[0]
    max_x = _MAX_EXPONENT / max(span, 1.0)
    x = 0.0
    for _ in range(_MAX_STEPS):
        early, early_first, early_second, late, late_first, late_second = moments(x)
        if not (early and _TINY < -late / early < 1.0 / _TINY):
            return None
        early_mean, late_mean = early_first / early, late_first / late
        distance, level = late_mean - early_mean, log(-late / early)
        if not 0.0 < distance < inf:
            return None
        early_spread = early_second / early - early_mean * early_mean
        late_spread = late_second / late - late_mean * late_mean
        bend = 1.0 - 0.5 * level * (late_spread - early_spread) / (distance * distance)
        # Far from the root Halley may overshoot or turn back: there a plain Newton step is safe.
        step = level / distance / (bend if _MIN_BEND < bend < _MAX_BEND else 1.0)
        x += step
        if abs(x) > max_x:
            return None
        if abs(step) * span <= _LAST_STEP:
            return x
    return None


def _use_lists(times: Sequence[float], amounts: Sequence[float], split: int) -> _Moments:
    """Sum in the interpreter."""
    times = [time - times[0] for time in times]

    def sum_at(x: float) -> tuple[float, ...]:
        weights = [amount * exp(-x * time) for amount, time in zip(amounts, times, strict=True)]
        firsts = list(map(mul, weights, times))
        seconds = list(map(mul, firsts, times))
        early = (sum(terms[:split]) for terms in (weights, firsts, seconds))
        late = (sum(terms[split:]) for terms in (weights, firsts, seconds))
        return (*early, *late)

    return sum_at


def _use_arrays(times: Sequence[float], amounts: Sequence[float], split: int) -> _Moments:
    """Sum as a product of a matrix of the undiscounted terms and the discount factors."""
    import numpy as np  # 0.15 s of the start, and few services need a rate at once

    exponents = np.array(times, dtype=np.float64)
    exponents -= times[0]
    terms = np.zeros((6, len(times)))
    terms[0, :split] = amounts[:split]
    terms[3, split:] = amounts[split:]
    for row in (1, 2, 4, 5):
        np.multiply(terms[row - 1], exponents, out=terms[row])
    np.negative(exponents, out=exponents)

    def sum_at(x: float) -> Sequence[float]:
        sums: list[float] = (terms @ np.exp(exponents * x)).tolist()
        return sums

    return sum_at
