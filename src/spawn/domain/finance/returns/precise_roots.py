"""Roots in many digits, where float64 cannot tell a multiple root from several close ones.

The method is that of `irr_root_isolation`: Bernstein coefficients of f on a narrow interval and
Descartes' rule, here in decimal arithmetic and from the decimals in which the flows are written. A
root that is still blurred at the last width is a multiple one, and its digits are those of float64
with many to spare.
"""

from decimal import Context, Decimal, localcontext
from functools import lru_cache
from itertools import pairwise
from math import comb
from typing import Final, NamedTuple

EXACT_DIGITS: Final = 130
"""Significant digits of the arithmetic."""

_NOISE: Final = Decimal("1e-120")
_LAST_WIDTH: Final = Decimal("1e-24")
_FLAT: Final = Decimal("1e-12")
_DEGREE: Final = 40
_MAX_SPLITS: Final = 4_000
MAX_PRECISE_FLOWS: Final = 2_500
"""Flows whose roots are computed in many digits: each takes some microseconds."""


_MAX_CACHED_RESULTS: Final = 32
"""Results that are remembered: a search over another input has the same flows at every step."""


class PreciseRoot(NamedTuple):
    """A root; `is_multiple` where it has not one simple crossing."""

    log_rate: float
    is_multiple: bool


class _Interval(NamedTuple):
    """An interval with the Bernstein coefficients of f on it."""

    low: Decimal
    width: Decimal
    bernstein: list[Decimal]


class ExactSeries(NamedTuple):
    """Times in years from zero, and amounts, as the decimals in which they are written."""

    times: tuple[Decimal, ...]
    amounts: tuple[Decimal, ...]


class WorkLimitExceeded(Exception):
    """The roots cannot be isolated within the limit on work."""


@lru_cache(maxsize=_MAX_CACHED_RESULTS)
def isolate_precisely(series: ExactSeries, low: float, high: float) -> tuple[PreciseRoot, ...]:
    """Return the roots between two close log rates, in ascending order.

    Times the distance of the rates is far below one, so that the series of each term ends below
    the noise.

    Raises:
        WorkLimitExceeded: more roots lie closer together than many digits can tell.
    """
    with localcontext(Context(prec=EXACT_DIGITS)):
        interval, noise = _expand(series, Decimal(low), Decimal(high) - Decimal(low))
        simple, blurred = _split(interval, noise, series.times[-1])
        roots = simple + [(first + last) / 2 for first, last in _merge(blurred)]
        return tuple(
            PreciseRoot(_to_float(root), _is_multiple(series, root)) for root in sorted(roots)
        )


def _to_float(root: Decimal) -> float:
    return 0.0 if abs(root) < _LAST_WIDTH else float(root)


def _is_multiple(series: ExactSeries, root: Decimal) -> bool:
    """Return whether the slope of f vanishes at a root, beyond its last digits."""
    moments = [t * a * (-root * t).exp() for t, a in zip(series.times, series.amounts, strict=True)]
    return abs(sum(moments, Decimal(0))) <= _FLAT * sum(map(abs, moments), Decimal(0))


def _merge(parts: list[tuple[Decimal, Decimal]]) -> list[tuple[Decimal, Decimal]]:
    """Return runs of adjacent parts, each around one root."""
    runs: list[tuple[Decimal, Decimal]] = []
    for low, high in sorted(parts):
        if runs and low - runs[-1][1] <= _LAST_WIDTH:
            runs[-1] = (runs[-1][0], high)
        else:
            runs.append((low, high))
    return runs


def _expand(series: ExactSeries, low: Decimal, width: Decimal) -> tuple[_Interval, Decimal]:
    """Return f, tilted by the middle time, in Bernstein form; and the size of its rounding."""
    lags = [time - series.times[-1] / 2 for time in series.times]
    terms = [a * (-low * lag).exp() for a, lag in zip(series.amounts, lags, strict=True)]
    noise = _NOISE * sum(map(abs, terms), Decimal(0))
    powers = [sum(terms, Decimal(0))]
    scale = Decimal(1)
    for k in range(1, _DEGREE + 1):
        terms = [-term * width * lag for term, lag in zip(terms, lags, strict=True)]
        scale *= k
        powers.append(sum(terms, Decimal(0)) / scale)
    bernstein = [
        sum((Decimal(comb(j, k)) / comb(_DEGREE, k) * powers[k] for k in range(j + 1)), Decimal(0))
        for j in range(_DEGREE + 1)
    ]
    return _Interval(low, width, bernstein), noise


def _split(
    interval: _Interval, noise: Decimal, span: Decimal
) -> tuple[list[Decimal], list[tuple[Decimal, Decimal]]]:
    """Return the simple roots, and the parts in which f does not differ from zero."""
    roots: list[Decimal] = []
    blurred: list[tuple[Decimal, Decimal]] = []
    stack = [interval]
    for _ in range(_MAX_SPLITS):
        if not stack:
            return roots, blurred
        part = stack.pop()
        signs = [value > 0 for value in part.bernstein if abs(value) > noise]
        changes = sum(before is not after for before, after in pairwise(signs))
        is_clear = len(signs) == len(part.bernstein)
        if is_clear and changes == 1:
            roots.append(_bisect(part, noise))
        elif not signs or (not is_clear and part.width * span <= _LAST_WIDTH):
            blurred.append((part.low, part.low + part.width))
        elif not is_clear or changes:
            stack += _halves(part)
    raise WorkLimitExceeded


def _bisect(part: _Interval, noise: Decimal) -> Decimal:
    """Return the only root of a part, by halving it."""
    while part.width > _LAST_WIDTH * max(abs(part.low), _LAST_WIDTH):
        left, right = _halves(part)
        if abs(left.bernstein[-1]) <= noise:
            return left.low + left.width
        part = left if (left.bernstein[0] > 0) is not (left.bernstein[-1] > 0) else right
    return part.low + part.width / 2


def _halves(part: _Interval) -> tuple[_Interval, _Interval]:
    """Return both halves, by de Casteljau at the middle; the left one first."""
    left, right = [], []
    row = part.bernstein
    while row:
        left.append(row[0])
        right.append(row[-1])
        row = [(a + b) / 2 for a, b in pairwise(row)]
    half = part.width / 2
    return (
        _Interval(part.low, half, left),
        _Interval(part.low + half, half, right[::-1]),
    )
