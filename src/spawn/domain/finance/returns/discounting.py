"""Discounting at one rate or on a curve of zero rates, at times in years."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_AMOUNT, MAX_PERIODS, FieldChecker


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A zero rate, effective a year, for a time in years from the date of valuation."""

    years: float
    rate: float


class DiscountCurve(msgspec.Struct, frozen=True):
    """Zero rates by time; the logarithm of the discount factor is a straight line in between.

    Before the first point and beyond the last its zero rate applies. One point is a flat curve.
    """

    points: tuple[CurvePoint, ...]

    def exponent(self, years: float) -> float:
        """Return the negative logarithm of the discount factor."""
        first, last = self.points[0], self.points[-1]
        if years <= first.years:
            return years * math.log1p(first.rate)
        if years >= last.years:
            return years * math.log1p(last.rate)
        index = next(i for i, point in enumerate(self.points) if point.years >= years)
        before, after = self.points[index - 1], self.points[index]
        low, high = before.years * math.log1p(before.rate), after.years * math.log1p(after.rate)
        share = (years - before.years) / (after.years - before.years)
        return low + share * (high - low)


def build_flat_curve(rate: float) -> DiscountCurve:
    """Return the curve of one rate, effective a year."""
    return DiscountCurve((CurvePoint(years=1.0, rate=rate),))


_POINTER: Final = "/discount_curve"


def check_curve(points: Sequence[CurvePoint]) -> None:
    """Check the points of a curve.

    Raises:
        InvalidInput: no points, a rate not above -1, or times that do not increase.
    """
    checker = FieldChecker()
    checker.require_size(_POINTER, len(points), MAX_PERIODS)
    years_before = 0.0
    for index, point in enumerate(points[:MAX_PERIODS]):
        if not -1.0 < point.rate <= MAX_AMOUNT:
            pointer = f"{_POINTER}/{index}/rate"
            checker.reject(pointer, "out_of_range", "must be a finite rate above -1")
        if not years_before < point.years <= MAX_PERIODS:
            detail = f"must be after the point before and at most {MAX_PERIODS}"
            checker.reject(f"{_POINTER}/{index}/years", "not_increasing", detail)
        years_before = point.years
    checker.raise_errors()


def compute_present_value(
    curve: DiscountCurve, times_years: Sequence[float], amounts: Sequence[float]
) -> float:
    """Return the sum of amounts times their discount factors; times may be negative.

    Raises:
        InvalidInput: a value beyond float64.
    """
    try:
        value = math.fsum(
            amount * math.exp(-curve.exponent(years))
            for years, amount in zip(times_years, amounts, strict=True)
            if amount
        )
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise InvalidInput.at(
            "/discount_rate", "overflow", "the present value is beyond float64; raise the rate"
        )
    return value
