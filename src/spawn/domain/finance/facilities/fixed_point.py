"""Fixed points and roots of one number, inside a bracket and with bounded steps."""

from collections.abc import Callable
from typing import Final

_MAX_DOUBLINGS: Final = 200
_MAX_ROOT_STEPS: Final = 200
_RESOLUTION: Final = 4e-16


def find_fixed_point(
    function: Callable[[float], float], start: float, limit: float, *, noise: float = 0.0
) -> float | None:
    """Find x of at least `start` with function(x) = x, by regula falsi (Illinois).

    The function is at least `start` there, as uses are at least the costs. A function that is
    affine is solved by the first step. `noise` is the relative size of a difference that counts
    as none.

    Returns:
        The fixed point, or None where there is none up to `limit`.
    """
    low, at_low = start, function(start) - start
    if abs(at_low) <= noise * abs(low):
        return low
    high = low + at_low
    at_high = at_low
    for _ in range(_MAX_DOUBLINGS):
        at_high = function(high) - high
        if at_high <= 0.0:
            break
        low, at_low = high, at_high
        high *= 2.0
        if not high <= limit:
            return None
    return find_root(lambda x: function(x) - x, (low, at_low), (high, at_high), noise=noise)


def refine_fixed_point(
    function: Callable[[float], float], guess: float, *, noise: float
) -> float | None:
    """Find the fixed point near a guess, from the guess and a point beyond the root.

    Returns:
        The fixed point, or None where these two points do not enclose it.
    """

    def excess(number: float) -> float:
        return function(number) - number

    at_guess = excess(guess)
    if abs(at_guess) <= noise * abs(guess):
        return guess
    other = guess + 2.0 * at_guess
    at_other = excess(other)
    if at_guess > 0.0 >= at_other:
        return find_root(excess, (guess, at_guess), (other, at_other), noise=noise)
    if at_other > 0.0 >= at_guess:
        return find_root(excess, (other, at_other), (guess, at_guess), noise=noise)
    return None


def find_root(
    excess: Callable[[float], float],
    lower: tuple[float, float],
    upper: tuple[float, float],
    *,
    noise: float = 0.0,
) -> float:
    """Find where a function falls to zero between two points at which its values are known.

    Args:
        excess: positive at the lower point, not positive at the upper one.
        lower: the point and its value.
        upper: the point and its value.
        noise: a value of this size, relative to the point, counts as zero.
    """
    (low, at_low), (high, at_high) = lower, upper
    side = 0
    for _ in range(_MAX_ROOT_STEPS):
        if high - low <= _RESOLUTION * high or at_low == at_high:
            break
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        at_middle = excess(middle)
        if abs(at_middle) <= noise * middle or not low < middle < high:
            return min(max(middle, low), high)
        if at_middle > 0.0:
            low, at_low = middle, at_middle
            at_high = 0.5 * at_high if side == 1 else at_high
            side = 1
        else:
            high, at_high = middle, at_middle
            at_low = 0.5 * at_low if side == -1 else at_low
            side = -1
    return 0.5 * (low + high)
