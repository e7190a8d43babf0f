"""Isolation of every real root of the IRR polynomial f(x) = sum c_i exp(-x t_i).

Intervals are bisected until each is proved empty or holds one root. A wide interval is empty when
its end points, between which each term is monotone, keep f on one side of zero. On a narrow one
exp(x s) f(x) is a polynomial of degree 22 to the last digit of float64, and its Bernstein
coefficients count its roots (Descartes' rule of signs in the form of Vincent, Collins and Akritas):
no change of sign, no root; one change, one root. Coefficients below rounding count as either sign.
Where f as a whole is below rounding, there may be several roots that float64 cannot separate; such
a blurred interval counts as one root, with a warning when f does not change sign there.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from operator import mul
from typing import NamedTuple

from spawn.domain.finance.returns.irr_polynomial import IrrPolynomial

_MAX_TERMS = 12_000_000
_DEGREE = 22
_NARROW_WIDTH = 1.25
_MAX_EXPONENT = 300.0
_MIN_WIDTH = 1e-11
_SAME_ROOT_DISTANCE = 1e-8
_ROUNDING = 2.0
_TOUCHING_ROOT_WARNING = "a root touches zero without a change of sign, or two roots meet there"
_NO_ROOT, _ONE_ROOT, _UNDECIDED, _BLURRED = range(4)

# Row j turns power coefficients on [0, 1] into the Bernstein coefficient j.
_BERNSTEIN = tuple(
    tuple(math.comb(j, k) / math.comb(_DEGREE, k) for k in range(j + 1)) for j in range(_DEGREE + 1)
)


class WorkLimitExceeded(Exception):
    """The roots cannot be isolated within the limit on evaluated terms."""


class _NarrowInterval(NamedTuple):
    """A narrow interval with the Bernstein coefficients of the function on it."""

    low: float
    width: float
    bernstein: list[float]


def isolate_roots(polynomial: IrrPolynomial) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return all roots in ascending order, and warnings about roots that rounding blurs.

    Raises:
        WorkLimitExceeded: the work limit was reached first.
    """
    roots: list[float] = []
    blurred_intervals: list[tuple[float, float]] = []
    budget = _WorkBudget()
    for interval, noise in _narrow_intervals(polynomial, budget):
        for low, high, root_count in _count_roots(interval, noise, polynomial.span, budget):
            if root_count == _ONE_ROOT:
                roots.append(polynomial.refine_root(low, high))
            else:
                blurred_intervals.append((low, high))
    warnings: list[str] = []
    for root, only_touches in _merge_blurred(polynomial, blurred_intervals):
        roots.append(root)
        if only_touches:
            warnings.append(_TOUCHING_ROOT_WARNING)
    return _distinct_roots(roots, polynomial.span), tuple(warnings[:1])


class _WorkBudget:
    """A budget of evaluated terms."""

    def __init__(self) -> None:
        self._remaining_terms = _MAX_TERMS

    def spend(self, terms: int) -> None:
        """Subtract `terms`; raise `WorkLimitExceeded` when none remain."""
        self._remaining_terms -= terms
        if self._remaining_terms < 0:
            raise WorkLimitExceeded


def _narrow_intervals(
    polynomial: IrrPolynomial, budget: _WorkBudget
) -> Iterator[tuple[_NarrowInterval, float]]:
    """Bisect the root bounds into narrow intervals, without those proved empty."""
    intervals = [polynomial.root_bounds()]
    while intervals:
        low, high = intervals.pop()
        half, middle = 0.5 * (high - low), 0.5 * (low + high)
        if half * polynomial.span <= _MAX_EXPONENT:
            budget.spend(10 * len(polynomial.times))
            weights = polynomial.discounted_amounts(middle)
            sizes = list(map(abs, weights))
            centre = sum(map(mul, sizes, polynomial.times)) / sum(sizes)
            lags = [t - centre for t in polynomial.times]
            if _keeps_sign(weights, lags, half, polynomial.relative_noise):
                continue
            if 2.0 * half * max(lags[-1], -lags[0]) <= _NARROW_WIDTH:
                budget.spend(_DEGREE * len(lags))
                yield _expand(polynomial, low, high - low, lags)
                continue
        if not low < middle < high:
            raise WorkLimitExceeded
        intervals += [(low, middle), (middle, high)]


def _keeps_sign(weights: list[float], lags: list[float], half: float, noise: float) -> bool:
    """Return whether the end points of each monotone term exclude a zero in between."""
    tilt = [math.exp(half * lag) for lag in lags]
    left = list(map(mul, weights, tilt))
    right = [w / factor for w, factor in zip(weights, tilt, strict=True)]
    floor: float = noise * (sum(map(abs, left)) + sum(map(abs, right)))
    lowest, highest = float(sum(map(min, left, right))), float(sum(map(max, left, right)))
    return lowest > floor or highest < -floor


def _expand(
    polynomial: IrrPolynomial, low: float, width: float, lags: list[float]
) -> tuple[_NarrowInterval, float]:
    """Return f on [low, low + width] in Bernstein form, and the size of its rounding.

    The remainder of the series is below 1.25^23 / 23! of the weights, less than rounding.
    """
    terms = polynomial.discounted_amounts(low)
    noise = _ROUNDING * polynomial.relative_noise * sum(map(abs, terms))
    steps = [-width * lag for lag in lags]
    powers = [sum(terms)]
    scale = 1.0
    for k in range(1, _DEGREE + 1):
        terms = list(map(mul, terms, steps))
        scale *= k
        powers.append(sum(terms) / scale)
    bernstein = [sum(map(mul, row, powers)) for row in _BERNSTEIN]
    return _NarrowInterval(low, width, bernstein), noise


def _count_roots(
    interval: _NarrowInterval, noise: float, span: float, budget: _WorkBudget
) -> Iterator[tuple[float, float, int]]:
    """Bisect an interval by de Casteljau into parts with one root and blurred parts."""
    stack = [interval]
    while stack:
        low, width, bernstein = stack.pop()
        budget.spend(_DEGREE)
        root_count = _classify(bernstein, noise)
        if root_count == _UNDECIDED and width * span <= _MIN_WIDTH:
            root_count = _BLURRED
        if root_count in {_ONE_ROOT, _BLURRED}:
            yield low, low + width, root_count
        elif root_count == _UNDECIDED:
            left, right = _halves(bernstein)
            half = 0.5 * width
            stack += [_NarrowInterval(low, half, left), _NarrowInterval(low + half, half, right)]


def _classify(bernstein: list[float], noise: float) -> int:
    """Classify an interval: changes of sign of its coefficients bound the number of roots."""
    signs = [value > 0.0 for value in bernstein if not -noise <= value <= noise]
    if not signs:
        return _BLURRED
    if len(signs) == len(bernstein) or _blur_is_harmless(bernstein, noise):
        changes = sum(a is not b for a, b in pairwise(signs))
        if changes <= 1:
            return _ONE_ROOT if changes else _NO_ROOT
    return _UNDECIDED


def _blur_is_harmless(bernstein: list[float], noise: float) -> bool:
    """Return whether either sign of the coefficients below rounding gives the same count."""
    if min(abs(bernstein[0]), abs(bernstein[-1])) <= noise:
        return False
    before, is_blurred = bernstein[0], False
    for value in bernstein[1:]:
        if -noise <= value <= noise:
            is_blurred = True
        else:
            if is_blurred and (value > 0.0) == (before > 0.0):
                return False
            before, is_blurred = value, False
    return True


def _halves(bernstein: list[float]) -> tuple[list[float], list[float]]:
    """Return the coefficients on each half, by de Casteljau at the middle."""
    left, right = [], []
    row = bernstein
    while row:
        left.append(row[0])
        right.append(row[-1])
        row = [0.5 * (a + b) for a, b in pairwise(row)]
    return left, right[::-1]


def _merge_blurred(
    polynomial: IrrPolynomial, intervals: list[tuple[float, float]]
) -> Iterator[tuple[float, bool]]:
    """Yield one root per run of adjacent intervals, and whether f only touches zero there."""
    margin = _MIN_WIDTH / polynomial.span
    runs: list[list[float]] = []
    for low, high in sorted(intervals):
        if runs and low - runs[-1][1] <= margin:
            runs[-1][1] = max(high, runs[-1][1])
        else:
            runs.append([low, high])
    for first, last in runs:
        low, high = first - margin, last + margin
        if (polynomial.value_and_slope(low)[0] > 0.0) != (
            polynomial.value_and_slope(high)[0] > 0.0
        ):
            yield polynomial.refine_root(low, high), False
            continue
        x = polynomial.find_turning_point(low, high)
        weights = polynomial.discounted_amounts(x)
        if abs(sum(weights)) <= _ROUNDING * polynomial.relative_noise * sum(map(abs, weights)):
            yield x, True


def _distinct_roots(roots: list[float], span: float) -> tuple[float, ...]:
    """Return roots in ascending order, once each where rounding cannot separate them."""
    distinct: list[float] = []
    for x in sorted(roots):
        if not distinct or x - distinct[-1] > _SAME_ROOT_DISTANCE / span:
            distinct.append(x)
    return tuple(distinct)
