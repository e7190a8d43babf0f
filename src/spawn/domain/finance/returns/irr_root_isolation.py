"""Isolation of every real root of the IRR polynomial f(x) = sum c_i exp(-x t_i).

Intervals are bisected until each is proved empty or holds one root. A wide interval is empty when
its end points, between which each term is monotone, keep f on one side of zero. On a narrow one
exp(x s) f(x) is a polynomial of degree 22 to the last digit of float64, and its Bernstein
coefficients count its roots (Descartes' rule of signs in the form of Vincent, Collins and Akritas):
no change of sign, no root; one change, one root. Coefficients below rounding count as either sign.
Where f as a whole is below rounding, there may be several roots that float64 cannot separate; they
are separated in many digits (`precise_roots`), with a warning of a multiple root.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import mul
from typing import NamedTuple

from spawn.domain.finance.returns.irr_polynomial import IrrPolynomial
from spawn.domain.finance.returns.precise_roots import (
    ExactSeries,
    PreciseRoot,
    WorkLimitExceeded,
    isolate_precisely,
)

_MAX_TERMS = 12_000_000
_DEGREE = 22
_NARROW_WIDTH = 1.25
_MAX_EXPONENT = 300.0
_MIN_WIDTH = 1e-11
_SAME_ROOT_DISTANCE = 1e-8
_SAME_DIGITS_DISTANCE = 1e-14
_ROUNDING = 2.0
_PRECISE_WIDTH = 2e-2
_TERMS_PER_PIECE = 500_000
_TERMS_PER_PRECISE_TERM = 3_000
_MULTIPLE_ROOT_WARNING = (
    "a root touches zero without a change of sign, or several roots meet there: "
    "the smallest change of a flow moves them far"
)
_NO_ROOT, _ONE_ROOT, _UNDECIDED, _BLURRED = range(4)

# Row j turns power coefficients on [0, 1] into the Bernstein coefficient j.
_BERNSTEIN = tuple(
    tuple(math.comb(j, k) / math.comb(_DEGREE, k) for k in range(j + 1)) for j in range(_DEGREE + 1)
)


class _NarrowInterval(NamedTuple):
    """A narrow interval with the Bernstein coefficients of the function on it."""

    low: float
    width: float
    bernstein: list[float]


def isolate_roots(
    polynomial: IrrPolynomial, build_exact: Callable[[], ExactSeries] | None = None
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return all roots in ascending order, and warnings about multiple roots.

    Roots that rounding blurs are separated in many digits by the exact series, if there is one.

    Raises:
        WorkLimitExceeded: the work limit was reached first.
    """
    roots: list[float] = []
    blurred_intervals: list[tuple[float, float]] = []
    budget = WorkBudget()
    for interval, noise in _narrow_intervals(polynomial, budget):
        for low, high, root_count in _count_roots(interval, noise, polynomial.span, budget):
            if root_count != _ONE_ROOT:
                blurred_intervals.append((low, high))
                continue
            root = polynomial.refine_root(low, high)
            if build_exact is None or polynomial.is_well_conditioned(root):
                roots.append(root)
            else:
                # Rounding may have blurred several roots into one crossing: look closely there.
                reach = _PRECISE_WIDTH / polynomial.span
                blurred_intervals.append((max(low, root - reach), min(high, root + reach)))
    warnings: list[str] = []
    exact = build_exact() if build_exact is not None and blurred_intervals else None
    for root, warning in _resolve_blurred(polynomial, blurred_intervals, exact, budget):
        roots.append(root)
        warnings += [warning] if warning else []
    distance = _SAME_ROOT_DISTANCE if build_exact is None else _SAME_DIGITS_DISTANCE
    return _distinct_roots(roots, distance / polynomial.span), tuple(dict.fromkeys(warnings))


class WorkBudget:
    """A budget of evaluated terms."""

    def __init__(self) -> None:
        self._remaining_terms = _MAX_TERMS

    def spend(self, terms: int) -> None:
        """Subtract `terms`; raise `WorkLimitExceeded` when none remain."""
        self._remaining_terms -= terms
        if self._remaining_terms < 0:
            raise WorkLimitExceeded

    def can_spend(self, terms: int) -> bool:
        """Subtract `terms` if that many remain."""
        if terms > self._remaining_terms:
            return False
        self._remaining_terms -= terms
        return True


def _narrow_intervals(
    polynomial: IrrPolynomial, budget: WorkBudget
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
    interval: _NarrowInterval, noise: float, span: float, budget: WorkBudget
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


def _resolve_blurred(
    polynomial: IrrPolynomial,
    intervals: list[tuple[float, float]],
    exact: ExactSeries | None,
    budget: WorkBudget,
) -> Iterator[tuple[float, str]]:
    """Yield the roots of each run of adjacent intervals, with a warning where one is multiple."""
    margin = _MIN_WIDTH / polynomial.span
    for first, last in _merge_runs(intervals, margin):
        low, high = first - margin, last + margin
        pieces = math.ceil((high - low) * polynomial.span / _PRECISE_WIDTH)
        precise_roots: list[PreciseRoot] = []
        if exact is not None and budget.can_spend(pieces * _precise_terms(exact)):
            precise_roots = _isolate_in_pieces(exact, low, high, pieces)
        for root in precise_roots:
            yield root.log_rate, _MULTIPLE_ROOT_WARNING if root.is_multiple else ""
        if not precise_roots:
            yield from _resolve_in_float(polynomial, low, high)


def _precise_terms(exact: ExactSeries) -> int:
    """Return the work of one piece in many digits, in terms of float64."""
    return _TERMS_PER_PIECE + _TERMS_PER_PRECISE_TERM * len(exact.times)


def _isolate_in_pieces(
    exact: ExactSeries, low: float, high: float, pieces: int
) -> list[PreciseRoot]:
    """Return the roots of a blurred run in many digits, piece by piece."""
    width = (high - low) / pieces
    roots: list[PreciseRoot] = []
    for piece in range(pieces):
        start = low + piece * width
        for root in isolate_precisely(exact, start, start + width):
            # A root on the edge of two pieces counts once.
            if not roots or root.log_rate - roots[-1].log_rate > _MIN_WIDTH * width:
                roots.append(root)
    return roots


def _merge_runs(intervals: list[tuple[float, float]], margin: float) -> list[list[float]]:
    runs: list[list[float]] = []
    for low, high in sorted(intervals):
        if runs and low - runs[-1][1] <= margin:
            runs[-1][1] = max(high, runs[-1][1])
        else:
            runs.append([low, high])
    return runs


def _resolve_in_float(
    polynomial: IrrPolynomial, low: float, high: float
) -> Iterator[tuple[float, str]]:
    """Yield the one root that float64 can tell in a blurred run, if f reaches zero there."""
    if (polynomial.value_and_slope(low)[0] > 0.0) != (polynomial.value_and_slope(high)[0] > 0.0):
        yield polynomial.refine_root(low, high), ""
        return
    x = polynomial.find_turning_point(low, high)
    weights = polynomial.discounted_amounts(x)
    if abs(sum(weights)) <= _ROUNDING * polynomial.relative_noise * sum(map(abs, weights)):
        yield x, _MULTIPLE_ROOT_WARNING


def _distinct_roots(roots: list[float], distance: float) -> tuple[float, ...]:
    """Return roots in ascending order, once each where rounding cannot separate them."""
    distinct: list[float] = []
    for x in sorted(roots):
        if not distinct or x - distinct[-1] > distance:
            distinct.append(x)
    return tuple(distinct)
