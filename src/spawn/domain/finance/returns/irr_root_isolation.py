"""Separating every real root of f(x) = sum c_i exp(-x t_i).

Intervals are bisected until each is proved empty or holds one root. A wide interval is empty when
its end points, between which each term is monotone, keep f on one side of zero. On a narrow one
exp(x s) f(x) is a polynomial of degree 22 to the last digit of float64, and its Bernstein
coefficients count its roots (Descartes' rule of signs in the form of Vincent, Collins and Akritas):
no change of sign, no root; one change, one root. Coefficients below rounding count as either sign.
Where f as a whole is below rounding, several roots may hide that float64 cannot tell apart; such a
speck is listed as one root, with a warning when f does not change sign there.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from operator import mul
from typing import NamedTuple

from spawn.domain.finance.returns.irr_polynomial import Series

_MAX_TERMS = 12_000_000
_DEGREE = 22
_NARROW = 1.25
_WIDE = 300.0
_FINEST = 1e-11
_SAME_ROOT = 1e-8
_ROUNDING = 2.0
_TOUCHES = "a root touches zero without a change of sign, or two roots meet there"
_EMPTY, _ONE, _UNCLEAR, _SPECK = range(4)

# Row j turns power coefficients on [0, 1] into the Bernstein coefficient j.
_BERNSTEIN = tuple(
    tuple(math.comb(j, k) / math.comb(_DEGREE, k) for k in range(j + 1)) for j in range(_DEGREE + 1)
)


class WorkBound(Exception):
    """Isolating the roots would exceed the bound on evaluated terms."""


class _Piece(NamedTuple):
    """A narrow interval with the Bernstein coefficients of the function on it."""

    low: float
    width: float
    bernstein: list[float]


def isolate(series: Series) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """All roots in ascending order, and warnings about roots that rounding blurs.

    Raises:
        WorkBound: the bound on work was reached first.
    """
    roots: list[float] = []
    specks: list[tuple[float, float]] = []
    work = _Work()
    for piece, noise in _narrow_pieces(series, work):
        for low, high, verdict in _judged(piece, noise, series.span, work):
            if verdict == _ONE:
                roots.append(series.refine(low, high))
            else:
                specks.append((low, high))
    warnings: list[str] = []
    for root, touches in _specks(series, specks):
        roots.append(root)
        if touches:
            warnings.append(_TOUCHES)
    return _distinct(roots, series.span), tuple(warnings[:1])


class _Work:
    """Counts evaluated terms and stops at the bound."""

    def __init__(self) -> None:
        self._left = _MAX_TERMS

    def spend(self, terms: int) -> None:
        """Take `terms` off the budget."""
        self._left -= terms
        if self._left < 0:
            raise WorkBound


def _narrow_pieces(series: Series, work: _Work) -> Iterator[tuple[_Piece, float]]:
    """Bisect the outer bounds down to narrow pieces, leaving out those proved empty."""
    pieces = [series.outer_bounds()]
    while pieces:
        low, high = pieces.pop()
        half, middle = 0.5 * (high - low), 0.5 * (low + high)
        if half * series.span <= _WIDE:
            work.spend(10 * len(series.times))
            weights = series.weights(middle)
            sizes = list(map(abs, weights))
            centre = sum(map(mul, sizes, series.times)) / sum(sizes)
            lags = [t - centre for t in series.times]
            if _keeps_sign(weights, lags, half, series.noise):
                continue
            if 2.0 * half * max(lags[-1], -lags[0]) <= _NARROW:
                work.spend(_DEGREE * len(lags))
                yield _expand(series, low, high - low, lags)
                continue
        if not low < middle < high:
            raise WorkBound
        pieces += [(low, middle), (middle, high)]


def _keeps_sign(weights: list[float], lags: list[float], half: float, noise: float) -> bool:
    """Whether the end points of each monotone term leave no room for a zero in between."""
    tilt = [math.exp(half * lag) for lag in lags]
    left = list(map(mul, weights, tilt))
    right = [w / factor for w, factor in zip(weights, tilt, strict=True)]
    floor: float = noise * (sum(map(abs, left)) + sum(map(abs, right)))
    lowest, highest = float(sum(map(min, left, right))), float(sum(map(max, left, right)))
    return lowest > floor or highest < -floor


def _expand(series: Series, low: float, width: float, lags: list[float]) -> tuple[_Piece, float]:
    """The function on [low, low + width] in Bernstein form, and the size of its rounding.

    The remainder of the series is below 1.25^23 / 23! of the weights, less than rounding.
    """
    terms = series.weights(low)
    noise = _ROUNDING * series.noise * sum(map(abs, terms))
    steps = [-width * lag for lag in lags]
    powers = [sum(terms)]
    scale = 1.0
    for k in range(1, _DEGREE + 1):
        terms = list(map(mul, terms, steps))
        scale *= k
        powers.append(sum(terms) / scale)
    bernstein = [sum(map(mul, row, powers)) for row in _BERNSTEIN]
    return _Piece(low, width, bernstein), noise


def _judged(
    piece: _Piece, noise: float, span: float, work: _Work
) -> Iterator[tuple[float, float, int]]:
    """Bisect a piece by de Casteljau: intervals with one root, and specks."""
    stack = [piece]
    while stack:
        low, width, bernstein = stack.pop()
        work.spend(_DEGREE)
        verdict = _verdict(bernstein, noise)
        if verdict == _UNCLEAR and width * span <= _FINEST:
            verdict = _SPECK
        if verdict in {_ONE, _SPECK}:
            yield low, low + width, verdict
        elif verdict == _UNCLEAR:
            left, right = _halves(bernstein)
            half = 0.5 * width
            stack += [_Piece(low, half, left), _Piece(low + half, half, right)]


def _verdict(bernstein: list[float], noise: float) -> int:
    """What the coefficients prove: their changes of sign bound the number of roots."""
    clear = [value > 0.0 for value in bernstein if not -noise <= value <= noise]
    if not clear:
        return _SPECK
    if len(clear) == len(bernstein) or _blur_is_harmless(bernstein, noise):
        changes = sum(a is not b for a, b in pairwise(clear))
        if changes <= 1:
            return _ONE if changes else _EMPTY
    return _UNCLEAR


def _blur_is_harmless(bernstein: list[float], noise: float) -> bool:
    """Whether coefficients below rounding lie only where either sign changes nothing."""
    if min(abs(bernstein[0]), abs(bernstein[-1])) <= noise:
        return False
    before, blurred = bernstein[0], False
    for value in bernstein[1:]:
        if -noise <= value <= noise:
            blurred = True
        else:
            if blurred and (value > 0.0) == (before > 0.0):
                return False
            before, blurred = value, False
    return True


def _halves(bernstein: list[float]) -> tuple[list[float], list[float]]:
    """De Casteljau at the middle: the coefficients on each half."""
    left, right = [], []
    row = bernstein
    while row:
        left.append(row[0])
        right.append(row[-1])
        row = [0.5 * (a + b) for a, b in pairwise(row)]
    return left, right[::-1]


def _specks(series: Series, specks: list[tuple[float, float]]) -> Iterator[tuple[float, bool]]:
    """One root for each run of neighbouring specks: (root, whether f only touches zero there)."""
    reach = _FINEST / series.span
    runs: list[list[float]] = []
    for low, high in sorted(specks):
        if runs and low - runs[-1][1] <= reach:
            runs[-1][1] = max(high, runs[-1][1])
        else:
            runs.append([low, high])
    for first, last in runs:
        low, high = first - reach, last + reach
        if (series.value(low)[0] > 0.0) != (series.value(high)[0] > 0.0):
            yield series.refine(low, high), False
            continue
        x = series.turning_point(low, high)
        weights = series.weights(x)
        if abs(sum(weights)) <= _ROUNDING * series.noise * sum(map(abs, weights)):
            yield x, True


def _distinct(roots: list[float], span: float) -> tuple[float, ...]:
    """Roots in ascending order, those that rounding cannot tell apart listed once."""
    kept: list[float] = []
    for x in sorted(roots):
        if not kept or x - kept[-1] > _SAME_ROOT / span:
            kept.append(x)
    return tuple(kept)
