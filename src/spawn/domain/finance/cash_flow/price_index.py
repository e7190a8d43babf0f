"""Price indices: the factor by which the prices of a base date grow until each period.

An index grows at a constant rate, has a level per period, or has published levels by date with a
rate beyond the last of them. Partial indexation moves a share s of a price: the price is
base price x (1 - s + s x index / index at the base).
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Final, Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_AMOUNT, FieldChecker
from spawn.domain.finance.time_base.day_count import add_months
from spawn.domain.finance.time_base.period_bounds import (
    PeriodBounds,
    ceil_years,
    count_months,
    floor_years,
)
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule

IndexStep = Literal["period", "year"]
MeasuringPoint = Literal["start", "end"]

MAX_INDEX_POINTS = 2_400
"""Published levels of an index, at most."""

_YEAR_MONTHS: Final = 12
_MAX_BASE_YEARS: Final = 200.0
_MAX_LAG_MONTHS: Final = 120
_NO_RATE: Final = "needs annual_rate, level_per_period or levels"


class IndexLevel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published level of an index, valid from its date until the next one."""

    date: date
    level: float


class PriceIndex(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An index of prices under a `name`, by which lines refer to it.

    It has an `annual_rate`, or a `level_per_period` with its `base_level`, or published `levels`,
    beyond which `annual_rate` forecasts. Prices are those of the `base_date`, or of `base_years`
    before the first period where periods have no dates. The index is measured at the `start` or
    the `end` of a period, and steps with each `period` or with each whole `year` from the base.
    `lag_months` reads published levels of so many months earlier.
    """

    name: str
    annual_rate: float | None = None
    level_per_period: tuple[float, ...] | None = None
    base_level: float | None = None
    levels: tuple[IndexLevel, ...] | None = None
    lag_months: int = 0
    base_date: date | None = None
    base_years: float | None = None
    step: IndexStep = "period"
    measured_at: MeasuringPoint = "end"


def check_price_index(
    checker: FieldChecker, pointer: str, index: PriceIndex, schedule: PeriodSchedule
) -> None:
    """Reject an index without a growth, with two of them, or with terms that serve none."""
    if index.level_per_period is not None:
        _check_level_per_period(checker, pointer, index, schedule.periods)
        return
    if index.base_level is not None:
        detail = "serves level_per_period; levels have that of their base_date"
        checker.reject(f"{pointer}/base_level", "not_applicable", detail)
    if index.annual_rate is not None:
        checker.require_rate(f"{pointer}/annual_rate", index.annual_rate, -0.5)
    elif index.levels is None:
        checker.reject(f"{pointer}/annual_rate", "required", _NO_RATE)
    _check_base(checker, pointer, index, schedule)
    if index.levels is not None:
        _check_levels(checker, pointer, index)
    elif index.lag_months:
        checker.reject(f"{pointer}/lag_months", "not_applicable", "serves published levels")


def _check_level_per_period(
    checker: FieldChecker, pointer: str, index: PriceIndex, periods: int
) -> None:
    levels = index.level_per_period or ()
    if checker.require_length(f"{pointer}/level_per_period", levels, periods):
        checker.require_each_positive(f"{pointer}/level_per_period", levels, MAX_AMOUNT)
    if index.base_level is None:
        checker.reject(f"{pointer}/base_level", "required", "is the level at the base of prices")
    else:
        checker.require_positive(f"{pointer}/base_level", index.base_level)
    detail = "has no use beside level_per_period, which has a level for each period"
    terms = {
        "annual_rate": index.annual_rate is not None,
        "levels": index.levels is not None,
        "lag_months": index.lag_months != 0,
        "base_date": index.base_date is not None,
        "base_years": index.base_years is not None,
        "step": index.step != "period",
        "measured_at": index.measured_at != "end",
    }
    for name, is_set in terms.items():
        if is_set:
            checker.reject(f"{pointer}/{name}", "not_applicable", detail)


def _check_base(
    checker: FieldChecker, pointer: str, index: PriceIndex, schedule: PeriodSchedule
) -> None:
    has_dates = schedule.dates is not None
    if index.base_date is not None:
        checker.require_day(f"{pointer}/base_date", index.base_date)
        if not has_dates:
            detail = "needs periods with dates; give base_years instead"
            checker.reject(f"{pointer}/base_date", "not_applicable", detail)
    elif has_dates and index.base_years is None:
        checker.reject(f"{pointer}/base_date", "required", "is the date of the prices")
    if index.base_years is not None:
        years = index.base_years
        checker.require_number(f"{pointer}/base_years", years, -_MAX_BASE_YEARS, _MAX_BASE_YEARS)
        if has_dates:
            detail = "serves periods without dates; give base_date instead"
            checker.reject(f"{pointer}/base_years", "not_applicable", detail)
    elif not has_dates and index.base_date is None:
        detail = "is the time from the date of the prices to the first period; 0 if they are one"
        checker.reject(f"{pointer}/base_years", "required", detail)


def _check_levels(checker: FieldChecker, pointer: str, index: PriceIndex) -> None:
    levels = index.levels or ()
    checker.require_number(f"{pointer}/lag_months", index.lag_months, 0, _MAX_LAG_MONTHS)
    if not checker.require_size(f"{pointer}/levels", len(levels), MAX_INDEX_POINTS):
        return
    for number, (before, after) in enumerate(pairwise(levels), start=1):
        if after.date <= before.date:
            detail = "must be after the date before"
            checker.reject(f"{pointer}/levels/{number}/date", "not_increasing", detail)
    for number, point in enumerate(levels):
        checker.require_day(f"{pointer}/levels/{number}/date", point.date)
        checker.require_positive(f"{pointer}/levels/{number}/level", point.level)
    if index.base_date is None:
        checker.reject(f"{pointer}/levels", "not_applicable", "have dates; give dated periods")


def compute_index_factors(
    index: PriceIndex, bounds: PeriodBounds, pointer: str
) -> tuple[float, ...]:
    """Return the index of each period over that of the base of prices.

    A constant rate r gives (1 + r)^years, whole years where the index steps by the year.

    Raises:
        InvalidInput: published levels begin after the first day needed, or end before the last
            without a rate beyond.
    """
    if index.level_per_period is not None:
        base = index.base_level or 1.0
        return tuple(level / base for level in index.level_per_period)
    years = _measuring_years(index, bounds)
    if index.levels is None:
        growth = 1.0 + (index.annual_rate or 0.0)
        return tuple(_raise_to_power(growth, elapsed) for elapsed in years)
    days = _measuring_days(index, bounds, years)
    base_level = _read_level(index, _move_back(index.base_date or days[0], index), pointer)
    return tuple(_read_level(index, _move_back(day, index), pointer) / base_level for day in days)


def _measuring_years(index: PriceIndex, bounds: PeriodBounds) -> list[float]:
    """Return the years from the base of prices to the measuring point of each period."""
    points = bounds.years[1:] if index.measured_at == "end" else bounds.years[:-1]
    if index.base_date is not None:
        days = bounds.days or ()
        measuring_days = days[1:] if index.measured_at == "end" else days[:-1]
        years = [_count_years(index.base_date, day) for day in measuring_days]
    else:
        years = [(index.base_years or 0.0) + point for point in points]
    if index.step == "year":
        to_whole = ceil_years if index.measured_at == "end" else floor_years
        return [float(to_whole(elapsed)) for elapsed in years]
    return years


def _count_years(start: date, end: date) -> float:
    if end < start:
        return -count_months(end, start) / _YEAR_MONTHS
    return count_months(start, end) / _YEAR_MONTHS


def _measuring_days(
    index: PriceIndex, bounds: PeriodBounds, years: Sequence[float]
) -> Sequence[date]:
    """Return the day of each period on which its level is read: an anniversary by the year."""
    days = bounds.days or ()
    if index.step == "year" and index.base_date is not None:
        return [add_months(index.base_date, _YEAR_MONTHS * int(elapsed)) for elapsed in years]
    return days[1:] if index.measured_at == "end" else days[:-1]


def _move_back(day: date, index: PriceIndex) -> date:
    return add_months(day, -index.lag_months) if index.lag_months else day


def _read_level(index: PriceIndex, day: date, pointer: str) -> float:
    """Return the last level published by a day; the rate forecasts beyond the last level."""
    levels = index.levels or ()
    number = bisect_right(levels, day, key=lambda point: point.date)
    if number == 0:
        detail = f"begin on {levels[0].date}; the prices need the level of {day}"
        raise InvalidInput.at(f"{pointer}/levels", "too_short", detail)
    last = levels[number - 1]
    if number < len(levels) or day == last.date:
        return last.level
    if index.annual_rate is None:
        detail = (
            f"end on {last.date}; the prices need the level of {day}: give an annual_rate beyond"
        )
        raise InvalidInput.at(f"{pointer}/levels", "too_short", detail)
    return last.level * _raise_to_power(1.0 + index.annual_rate, _count_years(last.date, day))


def _raise_to_power(growth: float, years: float) -> float:
    """Return the power; beyond float64 infinity, which the result rejects as an overflow."""
    try:
        return float(growth**years)
    except OverflowError:
        return float("inf")


def apply_index(share: float, factor: float) -> float:
    """Return the factor of a price of which only a share is indexed."""
    return 1.0 - share + share * factor
