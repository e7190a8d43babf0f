"""Bounds of periods in years from the start, on which terms of years and dates are placed.

Indexation, contracts, depreciation and losses count in years. A regular period has its months, a
stub its exact length, so that two half-years are a year. Days are those of the roll before the
business-day rule: a holiday moves a payment, not the anniversary of a contract or a tax year.
"""

import math
from bisect import bisect_right
from datetime import date, timedelta
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from spawn.domain.finance.time_base.day_count import add_months, is_month_end
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule

_YEAR_MONTHS: Final = 12
_YEAR_DAYS: Final = 365.0
_MONTH_DAYS: Final = 365.2425 / 12
_NOISE_YEARS: Final = 1e-9
"""Rounding noise of a sum of months; a day is 0.0027 years."""


class PeriodBounds(NamedTuple):
    """The start and each period end, in years from the start and as days where dated."""

    years: tuple[float, ...]
    days: tuple[date, ...] | None = None

    def locate(self, day: date) -> float:
        """Return the years from the start to a day, by its share of the period that it is in.

        Raises:
            ValueError: the periods have no dates.
        """
        if self.days is None:
            raise ValueError("the periods have no dates")
        if day < self.days[0]:
            return -count_months(day, self.days[0]) / _YEAR_MONTHS
        if day >= self.days[-1]:
            return self.years[-1] + count_months(self.days[-1], day) / _YEAR_MONTHS
        index = bisect_right(self.days, day) - 1
        start, end = self.days[index], self.days[index + 1]
        share = (day - start).days / (end - start).days
        return self.years[index] + share * (self.years[index + 1] - self.years[index])

    def shares_between(self, first: float, last: float) -> tuple[float, ...]:
        """Return the share of each period between two points of time, in years."""
        return tuple(
            _clip_share(min(end, last) - max(start, first), end - start)
            for start, end in pairwise(self.years)
        )

    def period_days(self) -> tuple[float, ...]:
        """Return the days of each period: actual ones, or 365 a year."""
        if self.days is not None:
            return tuple(float((end - start).days) for start, end in pairwise(self.days))
        return tuple(_YEAR_DAYS * (end - start) for start, end in pairwise(self.years))


def _clip_share(part: float, length: float) -> float:
    """Return part / length between 0 and 1, without the rounding noise of sums of months."""
    if part <= _NOISE_YEARS:
        return 0.0
    return 1.0 if part >= length - _NOISE_YEARS else part / length


def find_period_bounds(schedule: PeriodSchedule) -> PeriodBounds:
    """Return the bounds of the periods of a schedule."""
    months = accumulate(schedule.period_months(), initial=0.0)
    years = tuple(total / _YEAR_MONTHS for total in months)
    return PeriodBounds(years, schedule.unadjusted_dates)


def extend_period_bounds(schedule: PeriodSchedule, periods: int) -> PeriodBounds:
    """Return the bounds of so many periods: beyond those of the schedule regular ones follow."""
    bounds = find_period_bounds(schedule)
    missing = periods - schedule.periods
    if missing <= 0:
        return PeriodBounds(bounds.years[: periods + 1], bounds.days and bounds.days[: periods + 1])
    years = tuple(schedule.flow_times_years(periods + 1))
    if bounds.days is None:
        return PeriodBounds(years)
    days = [*bounds.days, *schedule.later_unadjusted_dates[:missing]]
    months = schedule.months_per_period
    for year in years[len(days) :]:
        if months is not None:
            days.append(add_months(bounds.days[-1], months * (len(days) - schedule.periods)))
        else:
            days.append(days[0] + timedelta(days=round(_YEAR_MONTHS * _MONTH_DAYS * year)))
    return PeriodBounds(years, tuple(days))


def count_months(start: date, end: date) -> float:
    """Count months from day to day: whole ones, and the rest as a share of its month.

    Between two month ends the months are whole.
    """
    months = _YEAR_MONTHS * (end.year - start.year) + end.month - start.month
    if is_month_end(start) and is_month_end(end):
        return float(months)
    if add_months(start, months) > end:
        months -= 1
    before, after = add_months(start, months), add_months(start, months + 1)
    return months + (end - before).days / (after - before).days


def floor_years(years: float) -> int:
    """Return the whole years that have passed."""
    return math.floor(years + _NOISE_YEARS)


def ceil_years(years: float) -> int:
    """Return the whole years at the end of the current one."""
    return math.ceil(years - _NOISE_YEARS)
