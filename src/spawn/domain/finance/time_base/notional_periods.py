"""Regular periods inferred from a list of dates: their length, their grid and the stubs.

A date off the grid by a few days counts as regular where business days may have moved it: one roll
day explains all dates, others of the schedule are off the grid too, or its regular date falls on a
weekend. Only the first
and the last period may be stubs.
"""

from calendar import monthrange
from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from itertools import pairwise, product, starmap
from typing import Final, NamedTuple

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.time_base.business_calendar import (
    BusinessCalendar,
    BusinessDayRule,
    adjust_to_business_day,
)
from spawn.domain.finance.time_base.day_count import (
    AccrualPeriod,
    DayCount,
    add_months,
    count_days,
)

_MONTH_DAYS: Final = 365.2425 / 12
_LENGTH_TOLERANCE_DAYS: Final = 8
_GRID_TOLERANCE_DAYS: Final = 5
_YEAR_MONTHS: Final = 12
_MAX_MONTHS: Final = 120
_SINGLE_PERIOD: Final = 2
_SATURDAY: Final = 5
_LAST_ROLL_DAY: Final = 31
_CALENDARS: Final = (BusinessCalendar(base="weekends"), BusinessCalendar(base="target"))
_RULES: Final = (
    BusinessDayRule.FOLLOWING,
    BusinessDayRule.MODIFIED_FOLLOWING,
    BusinessDayRule.PRECEDING,
    BusinessDayRule.MODIFIED_PRECEDING,
)


def infer_months_per_period(dates: Sequence[date]) -> int | None:
    """Return the months of a regular period: those of most periods, None without such a number."""
    counts = Counter(count_whole_months(start, end) for start, end in pairwise(dates))
    months, count = counts.most_common(1)[0]
    # Two periods of different length, or half of them odd, make nothing regular.
    if months is None or 2 * count <= len(dates) - 1:
        return None
    return months


def count_whole_months(start: date, end: date) -> int | None:
    """Return the months between two dates, None where the days are far from a whole number."""
    return _count_months_of_days((end - start).days)


@lru_cache(maxsize=4096)
def _count_months_of_days(days: int) -> int | None:
    months = round(days / _MONTH_DAYS)
    is_whole = abs(days - months * _MONTH_DAYS) <= _LENGTH_TOLERANCE_DAYS
    return months if is_whole and 1 <= months <= _MAX_MONTHS else None


def list_odd_periods(dates: Sequence[date], months: int | None) -> tuple[int, ...]:
    """Return the numbers of the periods that have not the regular length."""
    if months is None:
        return ()
    return tuple(
        number
        for number, (start, end) in enumerate(pairwise(dates), start=1)
        if count_whole_months(start, end) != months
    )


def list_moved_dates(dates: Sequence[date]) -> tuple[date, ...]:
    """Return the dates between the ends that are off the roll day, as business days move them.

    Of dates without a regular period there are none.
    """
    if len(dates) <= _SINGLE_PERIOD or infer_months_per_period(dates) is None:
        return ()
    roll_day = _find_roll_day(dates)
    return tuple(
        day for day in dates[1:-1] if day.day != min(roll_day, monthrange(day.year, day.month)[1])
    )


class IcmaPeriods(NamedTuple):
    """Periods under ACT/ACT ICMA: fractions, notional periods, and the numbers of the stubs."""

    fractions: tuple[float, ...]
    notional_periods: tuple[tuple[date, date], ...]
    stubs: tuple[int, ...]


def count_icma_periods(dates: Sequence[date], frequency: int) -> IcmaPeriods:
    """Count periods under ACT/ACT ICMA.

    A regular period counts 1/frequency, one of several whole notional periods as many of them, a
    stub its days over those of its notional period.

    Raises:
        InvalidInput: a date between the first and the last is off the grid of the frequency, or a
            single period is not a whole number of notional ones.
    """
    months = _YEAR_MONTHS // frequency
    anchor = 1 if len(dates) > _SINGLE_PERIOD else 0
    roll = _find_moved_roll(dates)
    if roll is not None:
        grid = _Grid(roll.find_regular(dates[anchor]) or dates[anchor], roll.day, months)
        grid.set_moved(dates)
    else:
        grid = _Grid(dates[anchor], _find_roll_day(dates), months)
        grid.set_moved(dates[1:-1])
    positions = [grid.position_of(day) for day in dates]
    for index in range(1, len(dates) - 1):
        if positions[index] is None:
            detail = f"is off the grid of {frequency} payments a year; only an end may be a stub"
            raise InvalidInput.at(f"/dates/{index}", "off_roll", detail)
    if len(dates) == _SINGLE_PERIOD and positions[1] is None:
        detail = "one period that is not a whole number of notional ones: give payment_dates"
        raise InvalidInput.at("/dates/1", "off_roll", detail)
    fractions: list[float] = []
    notional_periods: list[tuple[date, date]] = []
    stubs: list[int] = []
    for number, (start, end) in enumerate(pairwise(dates), start=1):
        first, last = positions[number - 1], positions[number]
        if first is not None and last is not None:
            fractions.append((last - first) / frequency)
            is_single = last - first == 1
            notional_periods.append((start if is_single else grid.date_at(last - 1), end))
            continue
        stubs.append(number)
        if last is not None:
            notional_periods.append((grid.date_at(last - 1), end))
        else:
            notional_periods.append((start, grid.date_at((first or 0) + 1)))
        fractions.append(_count_stub(start, end, notional_periods[-1], frequency))
    return IcmaPeriods(tuple(fractions), tuple(notional_periods), tuple(stubs))


def _count_stub(start: date, end: date, notional: tuple[date, date], frequency: int) -> float:
    period = AccrualPeriod(
        start=start,
        end=end,
        reference_start=notional[0],
        reference_end=notional[1],
        frequency=frequency,
    )
    return count_days(DayCount.ACT_ACT_ICMA, period).year_fraction


class _Grid:
    """The dates of a roll day, whole notional periods from an anchor."""

    def __init__(self, anchor: date, roll_day: int, months: int) -> None:
        self._anchor = anchor
        self._roll_day = roll_day
        self._months = months
        self._is_moved = False

    def set_moved(self, days: Sequence[date]) -> None:
        """Note whether some of these regular dates have been moved off the grid."""
        self._is_moved = any(day != self._clip(day) for day in days)

    def date_at(self, position: int) -> date:
        """Return the regular date so many notional periods from the anchor."""
        return self._clip(add_months(self._anchor.replace(day=1), position * self._months))

    def position_of(self, day: date) -> int | None:
        """Return how many notional periods lie between anchor and date; None off the grid."""
        position = round((day - self._anchor).days / (_MONTH_DAYS * self._months))
        regular = self.date_at(position)
        distance = abs((day - regular).days)
        may_be_moved = self._is_moved or regular.weekday() >= _SATURDAY
        is_regular = distance == 0 or (may_be_moved and distance <= _GRID_TOLERANCE_DAYS)
        return position if is_regular else None

    def _clip(self, month: date) -> date:
        return _clip_day(month, self._roll_day)


class _MovedRoll(NamedTuple):
    """A day of the month and the way in which its dates move to business days."""

    day: int
    rule: BusinessDayRule
    calendar: BusinessCalendar

    def find_regular(self, day: date) -> date | None:
        """Return the date of the roll day that a date is, or that was moved to it."""
        month = day.replace(day=1)
        # A first of the month moves back into the month before, a last one into the next.
        for step in (0, -1, 1):
            unmoved = _clip_day(add_months(month, step), self.day)
            if day in {unmoved, adjust_to_business_day(unmoved, self.rule, self.calendar)}:
                return unmoved
        return None


def _find_moved_roll(dates: Sequence[date]) -> _MovedRoll | None:
    """Return the roll day, rule and calendar that explain every date, None without any.

    Of several the one that most dates are on. The calendars are weekends and TARGET.
    """
    # No date may be on the last day of the month, which business days move into the next one.
    candidates = [*_list_candidates(dates), _LAST_ROLL_DAY]
    explained = [
        roll
        for roll in starmap(_MovedRoll, product(candidates, _RULES, _CALENDARS))
        if all(roll.find_regular(day) for day in dates)
    ]
    return max(explained, key=lambda roll: _count_exact(dates, roll.day), default=None)


def _list_candidates(dates: Sequence[date]) -> list[int]:
    """Return the days of the month of the dates, the latest first."""
    return sorted({day.day for day in dates}, reverse=True)


def _count_exact(dates: Sequence[date], roll_day: int) -> int:
    return sum(day == _clip_day(day, roll_day) for day in dates)


def _clip_day(day: date, roll_day: int) -> date:
    return day.replace(day=min(roll_day, monthrange(day.year, day.month)[1]))


def _find_roll_day(dates: Sequence[date]) -> int:
    """Return the day of the month that explains most dates, a clipped month end included."""
    regular = dates[1:-1] or dates
    return max(_list_candidates(regular), key=lambda roll_day: _count_exact(regular, roll_day))
