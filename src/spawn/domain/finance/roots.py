"""All real roots of f(x) = sum c_i exp(-x t_i): the rates of return of a series, in log form.

With x = ln(1 + r) the equation of the rate of return is a Dirichlet polynomial, and three facts
bound its roots without guessing:

* Descartes: there are at most as many roots as sign changes of c, with the same parity.
* Laguerre (1883): the roots right of x are at most the sign changes of the partial sums
  S_k = sum_{i<=k} c_i exp(-x t_i), and the roots left of x at most those of the tail sums.
  At a root all S_k of one sign therefore prove that it is the only one. (For periodic flows S_k
  is the outstanding balance of Teichroew, Robichek and Montalbano, 1965.)
* On an interval each term is monotone, so that its end points bound f and its derivative; an
  interval in which f keeps its sign has no root, and one in which the derivative of
  exp(x s) f(x) keeps its sign has at most one.

The common case is one Newton iteration on ln(inflows / outflows), which is nearly a straight line
in x. Everything else is isolated by bisection with the third fact, within a bound on the work.
"""

import math
from collections.abc import Iterator
from itertools import accumulate, pairwise
from operator import is_not, mul
from typing import NamedTuple

_MAX_NEWTON = 60
_MAX_REFINE = 200
_MAX_DOUBLINGS = 70
_MAX_TERMS = 2_000_000
_EPSILON = 2.3e-16
_SAFE_EXPONENT = 300.0
_WIDE = 30.0
_FINEST = 4e-9
_SAME_ROOT = 1e-8
_EDGE = 1e-5
_SETTLED = 1e-13
_ROUGH = 1e-9
_LAST_STEP = 3e-6
_LEAST_BEND = 0.5
_MOST_BEND = 2.0
_TINY = 1e-200


class WorkBound(Exception):
    """Isolating the roots would exceed the bound on evaluated terms."""


class Found(NamedTuple):
    """The roots in ascending order, in log form, and the sign changes of the coefficients."""

    log_rates: tuple[float, ...]
    sign_changes: int
    warnings: tuple[str, ...] = ()


def find_roots(times: list[float], amounts: list[float]) -> Found:
    """All real roots for increasing `times` and non-zero `amounts` of the same number.

    Raises:
        WorkBound: the bound on work was reached before all roots were isolated.
    """
    positive = [amount > 0.0 for amount in amounts]
    changes = sum(map(is_not, positive, positive[1:]))
    if changes == 0:
        return Found((), 0)
    if changes == 1:
        split = positive.index(not positive[0])
        if (root := _one_change(times, amounts, split)) is not None:
            return Found((root,), 1)
    largest = max(map(abs, amounts))
    origin = times[0]
    series = _Series([t - origin for t in times], [a / largest for a in amounts])
    if (root := series.newton()) is not None and (changes == 1 or series.is_only_root(root)):
        return Found((root,), changes)
    if changes == 1:
        low, high = series.outer_bounds()
        return Found((series.refine(low, high),), changes)
    return series.isolate(changes)


def _one_change(times: list[float], amounts: list[float], split: int) -> float | None:
    """The only root when the sign changes once, at `split`; None when float64 might overflow.

    With E and L the discounted sums of the early and the late flows, ln(L/E) falls strictly in x,
    at the distance between their mean times, and is so nearly a line that Halley's iteration
    needs two or three steps. It ends when the cube of a step could not be seen.
    """
    early, late = amounts[:split], amounts[split:]
    early_times, late_times = times[:split], times[split:]
    limit = _SAFE_EXPONENT / times[-1]
    early_now, late_now = early, late
    x = 0.0
    for _ in range(_MAX_NEWTON):
        early_sum, early_mean, early_spread = _moments(early_now, early_times)
        late_sum, late_mean, late_spread = _moments(late_now, late_times)
        ratio = -late_sum / early_sum
        if not _TINY < ratio < 1.0 / _TINY:
            return None
        distance, level = late_mean - early_mean, math.log(ratio)
        bend = 1.0 - 0.5 * level * (late_spread - early_spread) / (distance * distance)
        # Far from the root Halley may overshoot or turn back: there a plain Newton step is safe.
        step = level / distance / (bend if _LEAST_BEND < bend < _MOST_BEND else 1.0)
        x += step
        if abs(x) > limit:
            return None
        if abs(step) * times[-1] <= _LAST_STEP:
            return x
        shrink = (-x).__mul__
        early_now = list(map(mul, early, map(math.exp, map(shrink, early_times))))
        late_now = list(map(mul, late, map(math.exp, map(shrink, late_times))))
    return None


def _moments(weights: list[float], times: list[float]) -> tuple[float, float, float]:
    """Sum, mean time and variance of time of weights of one sign."""
    total = sum(weights)
    firsts = list(map(mul, weights, times))
    mean = sum(firsts) / total
    return total, mean, sum(map(mul, firsts, times)) / total - mean * mean


def count_sign_changes(values: list[float]) -> int:
    """Changes of sign along `values`, zeros left out."""
    positive = [value > 0.0 for value in values if value]
    return sum(before is not after for before, after in pairwise(positive))


class _Series:
    """The flows, scaled to a largest amount of 1 and to start at time 0."""

    def __init__(self, times: list[float], amounts: list[float]) -> None:
        self._times = times
        self._amounts = amounts
        self._span = times[-1]
        self._noise = 4.0 * len(times) * _EPSILON
        self._budget = _MAX_TERMS

    def _weights(self, x: float) -> list[float]:
        """c_i exp(-x (t_i - t_ref)), the reference such that no factor exceeds 1."""
        if x >= 0.0:
            factors = [math.exp(-x * t) for t in self._times]
        else:
            last = self._span
            factors = [math.exp(x * (last - t)) for t in self._times]
        return list(map(mul, self._amounts, factors))

    def newton(self) -> float | None:
        """Newton on ln(inflows / outflows); None when it does not settle on a simple root."""
        times = self._times
        x: float = 0.0
        best = math.inf
        for _ in range(_MAX_NEWTON):
            weights = self._weights(x)
            inflow = sum(w for w in weights if w > 0.0)
            net = sum(weights)
            outflow = inflow - net
            if not (inflow > 0.0 and outflow > 0.0):
                return None
            moment = sum(map(mul, weights, times))
            moment_in = sum(w * t for w, t in zip(weights, times, strict=True) if w > 0.0)
            slope = moment_in / inflow - (moment_in - moment) / outflow
            if slope == 0.0:
                return None
            step = math.log(inflow / outflow) / slope
            x += step
            size = abs(step) * self._span
            if size <= _SETTLED * max(1.0, abs(x) * self._span):
                return x
            if best <= size <= _ROUGH:  # the steps are down to rounding
                return x
            best = size
            if abs(x) * self._span > _SAFE_EXPONENT:
                return None
        return None

    def is_only_root(self, x: float) -> bool:
        """Laguerre's test at a root: all partial sums of one sign, beyond rounding."""
        weights = self._weights(x)
        noise = self._noise * sum(map(abs, weights))
        sums = list(accumulate(weights))[:-1]
        return min(sums) > noise or max(sums) < -noise

    def outer_bounds(self) -> tuple[float, float]:
        """An interval that holds every root: beyond it the sums of Laguerre keep their sign."""
        step = 1.0 / self._span
        high = low = 0.0
        for _ in range(_MAX_DOUBLINGS):
            if count_sign_changes(list(accumulate(self._weights(high)))) == 0:
                break
            high = 2.0 * (high or 0.5 * step)
        for _ in range(_MAX_DOUBLINGS):
            tail = list(accumulate(reversed(self._weights(low))))
            if count_sign_changes(tail) == 0:
                break
            low = 2.0 * (low or -0.5 * step)
        # A root on the edge itself must not be lost to rounding.
        return low - _EDGE / self._span, high + _EDGE / self._span

    def isolate(self, changes: int) -> Found:
        """Bisect the outer bounds until each piece has no root or is monotone."""
        roots: list[float] = []
        specks: list[float] = []
        pieces = [self.outer_bounds()]
        while pieces:
            self._budget -= len(self._times)
            if self._budget < 0:
                raise WorkBound
            low, high = pieces.pop()
            verdict = self._judge(low, high)
            if verdict == "one":
                roots.append(self.refine(low, high))
            elif verdict == "split":
                middle = 0.5 * (low + high)
                if (high - low) * self._span <= _FINEST or not low < middle < high:
                    specks.append(middle)
                else:
                    pieces += [(low, middle), (middle, high)]
        fine = list(self._specks(specks))
        merged = self._distinct(roots + [x for x, _ in fine])
        touches = any(touching for _, touching in fine)
        warnings = ("a root touches zero without a change of sign",) if touches else ()
        return Found(merged, changes, warnings)

    def _judge(self, low: float, high: float) -> str:
        """`none`, `one` or `split`: what the end points prove about the roots inside."""
        half, middle = 0.5 * (high - low), 0.5 * (low + high)
        if half * self._span > _WIDE:
            return "split"
        base = self._weights(middle)
        sizes = list(map(abs, base))
        total = sum(sizes)
        centre = sum(map(mul, sizes, self._times)) / total
        lags = [t - centre for t in self._times]
        tilt = [math.exp(half * lag) for lag in lags]
        left = list(map(mul, base, tilt))
        right = [w / factor for w, factor in zip(base, tilt, strict=True)]
        noise = self._noise * (sum(map(abs, left)) + sum(map(abs, right)))
        if sum(map(min, left, right)) > noise or sum(map(max, left, right)) < -noise:
            return "none"
        left_slope, right_slope = list(map(mul, left, lags)), list(map(mul, right, lags))
        falls = sum(map(min, left_slope, right_slope)) > 0.0
        rises = sum(map(max, left_slope, right_slope)) < 0.0
        if not falls and not rises:
            return "split"
        at_left, at_right = sum(left), sum(right)
        if min(abs(at_left), abs(at_right)) <= noise:
            return "split"  # rounding decides the sign here: look closer
        return "one" if (at_left > 0.0) is not (at_right > 0.0) else "none"

    def refine(self, low: float, high: float) -> float:
        """The root inside a bracket: Newton on the tilted function, bisection when it strays."""
        at_low, at_high = self._value(low)[0], self._value(high)[0]
        if at_low == 0.0 or at_high == 0.0:
            return low if at_low == 0.0 else high
        x = 0.5 * (low + high)
        for _ in range(_MAX_REFINE):
            value, slope = self._value(x)
            if value == 0.0:
                return x
            if (value > 0.0) == (at_low > 0.0):
                low = x
            else:
                high = x
            following = x - value / slope if slope else math.inf
            if not low < following < high:
                following = 0.5 * (low + high)
            if abs(following - x) <= _EPSILON * max(abs(x), 1.0 / self._span):
                return following
            x = following
        return x

    def _value(self, x: float) -> tuple[float, float]:
        """The value of f and the slope of exp(x s) f, with s the centre of the terms at x.

        The tilt by s removes the common trend of the terms, so that Newton steps are long. Both
        numbers carry the same positive factor, which their ratio loses.
        """
        weights = self._weights(x)
        sizes = list(map(abs, weights))
        centre = sum(map(mul, sizes, self._times)) / sum(sizes)
        value = sum(weights)
        return value, centre * value - sum(map(mul, weights, self._times))

    def _specks(self, specks: list[float]) -> Iterator[tuple[float, bool]]:
        """The roots among pieces too fine to judge: (root, whether it only touches zero)."""
        reach = _FINEST / self._span
        groups: list[list[float]] = []
        for x in sorted(specks):
            if groups and x - groups[-1][1] <= 4.0 * reach:
                groups[-1][1] = x
            else:
                groups.append([x, x])
        for first, last in groups:
            low, high = first - reach, last + reach
            if (self._value(low)[0] > 0.0) != (self._value(high)[0] > 0.0):
                yield self.refine(low, high), False
                continue
            x = self._turning_point(low, high)
            weights = self._weights(x)
            if abs(sum(weights)) <= self._noise * sum(map(abs, weights)):
                yield x, True

    def _turning_point(self, low: float, high: float) -> float:
        """Where the slope changes sign inside [low, high], by bisection; the middle if nowhere."""
        rising = self._value(low)[1] > 0.0
        if rising == (self._value(high)[1] > 0.0):
            return 0.5 * (low + high)
        for _ in range(_MAX_REFINE):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            if (self._value(middle)[1] > 0.0) == rising:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)

    def _distinct(self, roots: list[float]) -> tuple[float, ...]:
        """Roots in ascending order, those that rounding cannot tell apart listed once."""
        kept: list[float] = []
        for x in sorted(roots):
            if not kept or x - kept[-1] > _SAME_ROOT / self._span:
                kept.append(x)
        return tuple(kept)
