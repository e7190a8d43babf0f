"""The IRR polynomial f(x) = sum c_i exp(-x t_i), x = ln(1 + r), whose roots are the rates."""

import math
from itertools import accumulate, pairwise
from operator import mul

_MAX_NEWTON_STEPS = 60
_MAX_REFINE_STEPS = 200
_MAX_DOUBLINGS = 70
_EPSILON = 2.3e-16
_SAFE_EXPONENT = 300.0
_EDGE_MARGIN = 1e-5
_CONVERGED_STEP = 1e-13
_ROUNDING_STEP = 1e-9
_ROOT_DIGITS = 1e-10


def count_sign_changes(values: list[float]) -> int:
    """Count changes of sign along `values`, zeros left out."""
    positive = [value > 0.0 for value in values if value]
    return sum(before is not after for before, after in pairwise(positive))


class IrrPolynomial:
    """The function f of flows that start at time 0 and have a largest amount of 1."""

    def __init__(self, times: list[float], amounts: list[float]) -> None:
        self.times = times
        self.amounts = amounts
        self.span = times[-1]
        self.relative_noise = 4.0 * len(times) * _EPSILON

    def discounted_amounts(self, x: float) -> list[float]:
        """Return c_i exp(-x (t_i - t_ref)), with t_ref such that no factor exceeds 1."""
        if x >= 0.0:
            factors = [math.exp(-x * t) for t in self.times]
        else:
            last = self.span
            factors = [math.exp(x * (last - t)) for t in self.times]
        return list(map(mul, self.amounts, factors))

    def solve_newton(self) -> float | None:
        """Run Newton on ln(inflows / outflows); None when it does not converge to a simple root."""
        times = self.times
        x: float = 0.0
        smallest_step = math.inf
        for _ in range(_MAX_NEWTON_STEPS):
            weights = self.discounted_amounts(x)
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
            step_size = abs(step) * self.span
            if step_size <= _CONVERGED_STEP * max(1.0, abs(x) * self.span):
                return x
            if smallest_step <= step_size <= _ROUNDING_STEP:  # the steps are down to rounding
                return x
            smallest_step = step_size
            if abs(x) * self.span > _SAFE_EXPONENT:
                return None
        return None

    def is_only_root(self, x: float) -> bool:
        """Apply Laguerre's test at a root: all partial sums have one sign, beyond rounding."""
        weights = self.discounted_amounts(x)
        noise = self.relative_noise * sum(map(abs, weights))
        sums = list(accumulate(weights))[:-1]
        return min(sums) > noise or max(sums) < -noise

    def is_well_conditioned(self, x: float) -> bool:
        """Return whether rounding leaves a root its digits, as near a multiple root it does not."""
        weights = self.discounted_amounts(x)
        slope = self.value_and_slope(x)[1]
        error = self.relative_noise * sum(map(abs, weights))
        return error <= _ROOT_DIGITS * abs(slope) / self.span

    def root_bounds(self) -> tuple[float, float]:
        """Return an interval with every root: beyond it Laguerre's sums keep their sign."""
        step = 1.0 / self.span
        high = low = 0.0
        for _ in range(_MAX_DOUBLINGS):
            if count_sign_changes(list(accumulate(self.discounted_amounts(high)))) == 0:
                break
            high = 2.0 * (high or 0.5 * step)
        for _ in range(_MAX_DOUBLINGS):
            tail = list(accumulate(reversed(self.discounted_amounts(low))))
            if count_sign_changes(tail) == 0:
                break
            low = 2.0 * (low or -0.5 * step)
        # The margin keeps a root on the edge from being lost to rounding.
        return low - _EDGE_MARGIN / self.span, high + _EDGE_MARGIN / self.span

    def refine_root(self, low: float, high: float) -> float:
        """Refine the root in a bracket: Newton on the tilted function, else bisection."""
        at_low, at_high = self.value_and_slope(low)[0], self.value_and_slope(high)[0]
        if at_low == 0.0 or at_high == 0.0:
            return low if at_low == 0.0 else high
        x = 0.5 * (low + high)
        for _ in range(_MAX_REFINE_STEPS):
            value, slope = self.value_and_slope(x)
            if value == 0.0:
                return x
            if (value > 0.0) == (at_low > 0.0):
                low = x
            else:
                high = x
            next_x = x - value / slope if slope else math.inf
            if not low < next_x < high:
                next_x = 0.5 * (low + high)
            if abs(next_x - x) <= _EPSILON * max(abs(x), 1.0 / self.span):
                return next_x
            x = next_x
        return x

    def value_and_slope(self, x: float) -> tuple[float, float]:
        """Return the value of f and the slope of exp(x s) f, with s the centre of the terms at x.

        The tilt by s removes the common trend of the terms, so that Newton steps are long. Both
        numbers share a positive factor, which cancels in their ratio.
        """
        weights = self.discounted_amounts(x)
        sizes = list(map(abs, weights))
        centre = sum(map(mul, sizes, self.times)) / sum(sizes)
        value = sum(weights)
        return value, centre * value - sum(map(mul, weights, self.times))

    def find_turning_point(self, low: float, high: float) -> float:
        """Bisect for a change of sign of the slope in [low, high]; the middle if there is none."""
        is_rising = self.value_and_slope(low)[1] > 0.0
        if is_rising == (self.value_and_slope(high)[1] > 0.0):
            return 0.5 * (low + high)
        for _ in range(_MAX_REFINE_STEPS):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            if (self.value_and_slope(middle)[1] > 0.0) == is_rising:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)
