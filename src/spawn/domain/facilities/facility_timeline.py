"""The calendar of a facility: its periods, due dates and fee dates, resolved from its terms once.

Interest accrues by exact fractions of a year, counted in whole units of which the denominators of
the convention are divisors. Their source is the day count of the engine: its float64 fraction names
one number of units, or, across notional periods of ACT/ACT ICMA, one rational of a small
denominator.
"""

from bisect import bisect_left, bisect_right
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Final

import msgspec

from spawn.domain.facilities.facility import Facility, RateBasis
from spawn.domain.facilities.loan_projection import resolve_facility_time
from spawn.domain.finance.limits import LAST_YEAR
from spawn.domain.finance.time_base.day_count import (
    THIRTY_360_RULES,
    DayCount,
    add_months,
    count_thirty_360_days,
)
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule

YEAR_UNITS: Final = 11_221_560
"""Parts of a year: the least common multiple of 252, 360 and 365 times 366."""

RATE_UNITS: Final = 10**12
"""Parts of a rate of 1: rates have at most twelve decimals."""

_MAX_ICMA_DENOMINATOR: Final = 200_000
_YEAR_DAYS: Final = {DayCount.ACT_360: 360, DayCount.ACT_365F: 365}
_COMMERCIAL_YEAR_DAYS: Final = 360
_RULES_OF_WHOLE_PERIODS: Final = frozenset(
    {DayCount.THIRTY_360, DayCount.THIRTY_U_360, DayCount.ACT_ACT_AFB, DayCount.ACT_365L}
)
"""Conventions by which the parts of a period may count more, or less, than the whole."""
_CALENDAR_YEARS: Final = 1_200
"""Three times the years after which the calendar repeats: from 9999 to before `LAST_YEAR`."""

_CACHED_TIMELINES: Final = 4_096
_YEAR_MONTHS: Final = 12
_MAX_AGENCY_YEARS: Final = 200


class FacilityTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """The dates of a facility; without a schedule (a grant, equity) it has no periods.

    `due_dates` are the payment dates after the start. The interest up to one of the
    `capitalising_dates` does not fall due, and stays accrued until an entry capitalises it. A day
    of ACT/360 and ACT/365F has `units_per_day`, and a day of the notional period of a number under
    ACT/ACT ICMA those of `period_units`, so that no fraction is computed for each entry.
    """

    facility: Facility
    schedule: PeriodSchedule | None = None
    year_units: int = YEAR_UNITS
    units_per_day: int | None = None
    thirty_360: DayCount | None = None
    period_units: tuple[int, ...] = ()
    moves_accrual: bool = False
    due_dates: tuple[date, ...] = ()
    due_days: frozenset[date] = frozenset()
    capitalising_dates: frozenset[date] = frozenset()
    margin_dates: frozenset[date] = frozenset()
    base_dates: frozenset[date] = frozenset()
    agency_fee_dates: frozenset[date] = frozenset()
    stops: tuple[date, ...] = ()

    def count_units(self, start: date, end: date) -> int | Fraction:
        """Return the part of a year between two days of one period, in `year_units`."""
        first, last = start, end
        if self.moves_accrual:
            first, last = self.to_accrual_day(start), self.to_accrual_day(end)
        elif self.units_per_day is not None:
            return (end - start).days * self.units_per_day
        schedule = self.schedule
        if schedule is None or last <= first:
            return 0
        if self.thirty_360 is not None and schedule.accrual_dates is not None:
            days = self._count_thirty_360_days(start, first, last)
            return days * (self.year_units // _COMMERCIAL_YEAR_DAYS)
        number = min(bisect_right(self.due_dates, start) + 1, len(self.due_dates))
        if schedule.convention is DayCount.ACT_ACT_ICMA:
            return self._count_icma_units(schedule, number, first, last)
        part = round(schedule.count_part(number, first, last) * YEAR_UNITS)
        if schedule.convention in _RULES_OF_WHOLE_PERIODS and schedule.accrual_dates is not None:
            begin = min(schedule.accrual_dates[number - 1], first)
            part = round(schedule.count_part(number, begin, last) * YEAR_UNITS)
            part -= round(schedule.count_part(number, begin, first) * YEAR_UNITS)
        return part * (self.year_units // YEAR_UNITS)

    def _count_thirty_360_days(self, start: date, first: date, last: date) -> int:
        """Count the days of a part so that the parts of a period add up to it.

        Under 30/360 and 30U/360 a 31st is a day of its own after a start before the 30th, and the
        30th as a start: the definitions mean the start of the period. A part is what it adds to
        the days since then: a cent that is prepaid on a 31st costs no day of interest.
        """
        rule, dates = self.thirty_360, self.schedule.accrual_dates if self.schedule else None
        assert rule is not None, "only called for a convention of 30-day months"  # noqa: S101 - an invariant
        assert dates is not None, "a facility has dates"  # noqa: S101 - likewise
        if rule not in _RULES_OF_WHOLE_PERIODS:
            return count_thirty_360_days(rule, first, last, dates[-1])
        number = min(bisect_right(self.due_dates, start), len(self.due_dates) - 1)
        begin = min(dates[number], first)
        whole = count_thirty_360_days(rule, begin, last, dates[-1])
        return whole - count_thirty_360_days(rule, begin, first, dates[-1])

    def _count_icma_units(
        self, schedule: PeriodSchedule, number: int, first: date, last: date
    ) -> int | Fraction:
        """Return days over frequency times the days of the notional period."""
        if self.period_units and schedule.notional_periods is not None:
            start, end = schedule.notional_periods[number - 1]
            if start <= first and last <= end:
                return (last - first).days * self.period_units[number - 1]
        if last.year > LAST_YEAR:
            return self._count_late_icma_units(schedule, number, first, last)
        part = Fraction(schedule.count_part(number, first, last))
        units = part.limit_denominator(_MAX_ICMA_DENOMINATOR) * self.year_units
        return units.numerator if units.denominator == 1 else units

    def _count_late_icma_units(
        self, schedule: PeriodSchedule, number: int, first: date, last: date
    ) -> int | Fraction:
        """Count to a day after the years of the engine, by the days of an earlier calendar.

        The loan has matured by then, so that both days are after its last notional period.
        """
        earlier = last.replace(year=last.year - _CALENDAR_YEARS)
        if first <= earlier:
            units = self._count_icma_units(schedule, number, first, earlier)
            return units + _CALENDAR_YEARS * self.year_units
        first = first.replace(year=first.year - _CALENDAR_YEARS)
        return self._count_icma_units(schedule, number, first, earlier)

    def to_accrual_day(self, day: date) -> date:
        """Return the day through which interest has accrued on a calendar day.

        Between unadjusted dates no interest accrues from such a date until it is paid.
        """
        schedule = self.schedule
        if schedule is None or schedule.dates is None or schedule.accrual_dates is None:
            return day
        if not self.moves_accrual:
            return day
        index = bisect_right(schedule.dates, day) - 1
        if index < 0:
            return schedule.accrual_dates[0]
        day = max(day, schedule.accrual_dates[index])
        if index + 1 < len(schedule.dates):
            day = min(day, schedule.accrual_dates[index + 1])
        if schedule.dates[index] == day:
            return schedule.accrual_dates[index]
        return day


@lru_cache(_CACHED_TIMELINES)
def build_timeline(facility: Facility) -> FacilityTimeline:
    """Resolve the dates of a facility whose terms have been checked."""
    agency_dates = _list_agency_fee_dates(facility)
    ends = (facility.availability_start, facility.availability_end)
    if not facility.kind.is_debt:
        return FacilityTimeline(
            facility=facility,
            agency_fee_dates=frozenset(agency_dates),
            stops=tuple(sorted({*agency_dates, *ends})),
        )
    schedule = resolve_facility_time(facility)
    denominators = _list_icma_denominators(schedule)
    units = lcm(YEAR_UNITS, *denominators)
    year_days = None if schedule.convention is None else _YEAR_DAYS.get(schedule.convention)
    due_dates = (schedule.dates or ())[1:]
    margins = tuple(step.from_date for step in _rate(facility).margin_steps)
    capitalising = _list_capitalising_dates(facility, due_dates)
    bases = frozenset(facility.repayment.interest_base_dates or () if facility.repayment else ())
    return FacilityTimeline(
        facility=facility,
        schedule=schedule,
        year_units=units,
        units_per_day=None if year_days is None else units // year_days,
        thirty_360=schedule.convention if schedule.convention in THIRTY_360_RULES else None,
        period_units=tuple(units // denominator for denominator in denominators),
        moves_accrual=schedule.dates != schedule.accrual_dates,
        due_dates=due_dates,
        due_days=frozenset(due_dates),
        capitalising_dates=capitalising,
        margin_dates=frozenset(margins),
        base_dates=bases,
        agency_fee_dates=frozenset(agency_dates),
        stops=tuple(sorted({*due_dates, *capitalising, *margins, *bases, *agency_dates, *ends})),
    )


def _list_icma_denominators(schedule: PeriodSchedule) -> list[int]:
    """Return the days of a year by the notional period of each number."""
    if schedule.convention is not DayCount.ACT_ACT_ICMA or schedule.frequency is None:
        return []
    periods = schedule.notional_periods or ()
    return [schedule.frequency * (end - start).days for start, end in periods]


def annual_rate_units(facility: Facility, fixing: Decimal | None, on: date) -> int:
    """Return the annual rate on a day in `RATE_UNITS`; 0 without a fixing of the curve."""
    rate = facility.rate
    if rate is None:
        return 0
    if rate.fixed_rate is not None:
        return int(rate.fixed_rate * RATE_UNITS)
    if fixing is None:
        return 0
    base = fixing if rate.floor is None else max(fixing, rate.floor)
    return int(base * RATE_UNITS) + int(_margin_on(rate, on) * RATE_UNITS)


def _margin_on(rate: RateBasis, on: date) -> Decimal:
    if not rate.margin_steps:
        return rate.margin
    index = bisect_right([step.from_date for step in rate.margin_steps], on)
    return rate.margin_steps[index - 1].margin if index else rate.margin


def _rate(facility: Facility) -> RateBasis:
    return RateBasis() if facility.rate is None else facility.rate


def _list_capitalising_dates(facility: Facility, due_dates: tuple[date, ...]) -> frozenset[date]:
    repayment = facility.repayment
    if repayment is None:
        return frozenset()
    if repayment.capitalise_until is not None:
        count = bisect_left(due_dates, repayment.capitalise_until)
        until = repayment.capitalise_until
        return frozenset({*due_dates[:count], until})
    if repayment.grace == "capitalised":
        return frozenset(due_dates[: repayment.grace_periods])
    return frozenset()


def _list_agency_fee_dates(facility: Facility) -> tuple[date, ...]:
    """Return the start of the availability period and its anniversaries before the maturity."""
    if not facility.fees.agency_fee:
        return ()
    start, end = facility.availability_start, facility.maturity_date or facility.availability_end
    days = (add_months(start, _YEAR_MONTHS * year) for year in range(_MAX_AGENCY_YEARS))
    return tuple(day for day in days if day == start or day < end)
