"""The function whose roots are rates of return: f(x) = sum c_i exp(-x t_i), with x = ln(1 + r)."""

import math
from itertools import accumulate, pairwise
from operator import mul

_MAX_NEWTON = 60
_MAX_REFINE = 200
_MAX_DOUBLINGS = 70
_EPSILON = 2.3e-16
_SAFE_EXPONENT = 300.0
_EDGE = 1e-5
_SETTLED = 1e-13
_ROUGH = 1e-9


def count_sign_changes(values: list[float]) -> int:
    """Changes of sign along `values`, zeros left out."""
    positive = [value > 0.0 for value in values if value]
    return sum(before is not after for before, after in pairwise(positive))


class Series:
    """The flows, scaled to a largest amount of 1 and to start at time 0."""

    def __init__(self, times: list[float], amounts: list[float]) -> None:
        self.times = times
        self.amounts = amounts
        self.span = times[-1]
        self.noise = 4.0 * len(times) * _EPSILON

    def weights(self, x: float) -> list[float]:
        """c_i exp(-x (t_i - t_ref)), the reference such that no factor exceeds 1."""
        if x >= 0.0:
            factors = [math.exp(-x * t) for t in self.times]
        else:
            last = self.span
            factors = [math.exp(x * (last - t)) for t in self.times]
        return list(map(mul, self.amounts, factors))

    def newton(self) -> float | None:
        """Newton on ln(inflows / outflows); None when it does not settle on a simple root."""
        times = self.times
        x: float = 0.0
        best = math.inf
        for _ in range(_MAX_NEWTON):
            weights = self.weights(x)
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
            size = abs(step) * self.span
            if size <= _SETTLED * max(1.0, abs(x) * self.span):
                return x
            if best <= size <= _ROUGH:  # the steps are down to rounding
                return x
            best = size
            if abs(x) * self.span > _SAFE_EXPONENT:
                return None
        return None

    def is_only_root(self, x: float) -> bool:
        """Laguerre's test at a root: all partial sums of one sign, beyond rounding."""
        weights = self.weights(x)
        noise = self.noise * sum(map(abs, weights))
        sums = list(accumulate(weights))[:-1]
        return min(sums) > noise or max(sums) < -noise

    def outer_bounds(self) -> tuple[float, float]:
        """An interval that holds every root: beyond it the sums of Laguerre keep their sign."""
        step = 1.0 / self.span
        high = low = 0.0
        for _ in range(_MAX_DOUBLINGS):
            if count_sign_changes(list(accumulate(self.weights(high)))) == 0:
                break
            high = 2.0 * (high or 0.5 * step)
        for _ in range(_MAX_DOUBLINGS):
            tail = list(accumulate(reversed(self.weights(low))))
            if count_sign_changes(tail) == 0:
                break
            low = 2.0 * (low or -0.5 * step)
        # A root on the edge itself must not be lost to rounding.
        return low - _EDGE / self.span, high + _EDGE / self.span

    def refine(self, low: float, high: float) -> float:
        """The root inside a bracket: Newton on the tilted function, bisection when it strays."""
        at_low, at_high = self.value(low)[0], self.value(high)[0]
        if at_low == 0.0 or at_high == 0.0:
            return low if at_low == 0.0 else high
        x = 0.5 * (low + high)
        for _ in range(_MAX_REFINE):
            value, slope = self.value(x)
            if value == 0.0:
                return x
            if (value > 0.0) == (at_low > 0.0):
                low = x
            else:
                high = x
            following = x - value / slope if slope else math.inf
            if not low < following < high:
                following = 0.5 * (low + high)
            if abs(following - x) <= _EPSILON * max(abs(x), 1.0 / self.span):
                return following
            x = following
        return x

    def value(self, x: float) -> tuple[float, float]:
        """The value of f and the slope of exp(x s) f, with s the centre of the terms at x.

        The tilt by s removes the common trend of the terms, so that Newton steps are long. Both
        numbers carry the same positive factor, which their ratio loses.
        """
        weights = self.weights(x)
        sizes = list(map(abs, weights))
        centre = sum(map(mul, sizes, self.times)) / sum(sizes)
        value = sum(weights)
        return value, centre * value - sum(map(mul, weights, self.times))

    def turning_point(self, low: float, high: float) -> float:
        """Where the slope changes sign inside [low, high], by bisection; the middle if nowhere."""
        rising = self.value(low)[1] > 0.0
        if rising == (self.value(high)[1] > 0.0):
            return 0.5 * (low + high)
        for _ in range(_MAX_REFINE):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            if (self.value(middle)[1] > 0.0) == rising:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)
