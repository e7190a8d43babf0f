"""Regular periods inferred from a list of dates: their length, their grid and the stubs.

A date off the roll day is regular where one business-day rule on weekends or TARGET explains it and
the dates between the ends. Where none explains those, holidays of another calendar may have moved
them by a few days; an end is regular where a rule explains it. Only the first and the last period
may be stubs.
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
    NO_CALENDAR,
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
    """Periods under ACT/ACT ICMA: fractions, notional periods, stubs and the roll day."""

    fractions: tuple[float, ...]
    notional_periods: tuple[tuple[date, date], ...]
    stubs: tuple[int, ...]
    roll_day: int


def count_icma_periods(dates: Sequence[date], frequency: int) -> IcmaPeriods:
    """Count periods under ACT/ACT ICMA.

    A regular period counts 1/frequency, one of several whole notional periods as many of them, a
    stub its days over those of its notional period.

    Raises:
        InvalidInput: a date between the first and the last is off the grid of the frequency, or a
            single period is not a whole number of notional ones.
    """
    months = _YEAR_MONTHS // frequency
    grid = _find_grid(dates, months)
    positions = grid.place(dates)
    for index in range(1, len(dates) - 1):
        if positions[index] is None:
            detail = f"is off the grid of {frequency} payments a year; only an end may be a stub"
            raise InvalidInput.at(f"/dates/{index}", "off_roll", detail)
    if len(dates) == _SINGLE_PERIOD and None in positions:
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
        fractions.append(_count_stub(start, end, notional_periods[-1], frequency, grid.roll_day))
    return IcmaPeriods(tuple(fractions), tuple(notional_periods), tuple(stubs), grid.roll_day)


def _count_stub(
    start: date, end: date, notional: tuple[date, date], frequency: int, roll_day: int
) -> float:
    period = AccrualPeriod(
        start=start,
        end=end,
        reference_start=notional[0],
        reference_end=notional[1],
        frequency=frequency,
    )
    return count_days(DayCount.ACT_ACT_ICMA, period, roll_day=roll_day).year_fraction


class _MovedRoll(NamedTuple):
    """A day of the month and the way in which its dates move to business days."""

    day: int
    rule: BusinessDayRule
    calendar: BusinessCalendar

    def list_regular(self, day: date, *, is_unmoved_too: bool) -> list[date]:
        """Return the dates of the roll day that business days move to a date.

        With `is_unmoved_too` also the date itself where it is on the roll day.
        """
        return [
            unmoved
            for unmoved in _list_near_dates(day, self.day)
            if adjust_to_business_day(unmoved, self.rule, self.calendar) == day
            or (is_unmoved_too and unmoved == day)
        ]


def _list_near_dates(day: date, roll_day: int) -> list[date]:
    """Return the dates of the roll day in the month of a date and in those beside it.

    A first of the month moves back into the month before, a last one into the next.
    """
    month = day.replace(day=1)
    return [_clip_day(add_months(month, step), roll_day) for step in (0, -1, 1)]


class _Grid:
    """The dates of a roll day, whole notional periods from a regular date.

    The rolls are the ways in which business days may have moved them.
    """

    def __init__(
        self, anchor: date, months: int, rolls: Sequence[_MovedRoll], *, is_tolerant: bool
    ) -> None:
        self.roll_day = rolls[0].day
        self._anchor = anchor
        self._months = months
        self._rolls = rolls
        self._is_tolerant = is_tolerant

    def date_at(self, position: int) -> date:
        """Return the regular date so many notional periods from the anchor."""
        month = add_months(self._anchor.replace(day=1), position * self._months)
        return _clip_day(month, self.roll_day)

    def place(self, dates: Sequence[date]) -> list[int | None]:
        """Return how many notional periods lie between anchor and date, None off the grid.

        No two dates have one position: an end beside a regular date bounds a stub.
        """
        inner = range(1, len(dates) - 1)
        positions = [
            self._find_near(day) if self._is_tolerant and index in inner else self._find(day)
            for index, day in enumerate(dates)
        ]
        for index in inner[1:]:
            before, here = positions[index - 1], positions[index]
            if before is not None and here is not None and here <= before:
                positions[index] = None
        if len(dates) > _SINGLE_PERIOD and positions[0] is not None:
            positions[0] = positions[0] if positions[0] < (positions[1] or 0) else None
        if positions[-1] is not None and positions[-1] <= (positions[-2] or 0):
            positions[-1] = None
        return positions

    def _find(self, day: date) -> int | None:
        """Return the position of a date that a roll explains."""
        for roll in self._rolls:
            for regular in roll.list_regular(day, is_unmoved_too=True):
                position, rest = divmod(_count_months(self._anchor, regular), self._months)
                if not rest:
                    return position
        return None

    def _find_near(self, day: date) -> int | None:
        """Return the position of a date that a holiday of another calendar may have moved."""
        position = round((day - self._anchor).days / (_MONTH_DAYS * self._months))
        distance = abs((day - self.date_at(position)).days)
        return position if distance <= _GRID_TOLERANCE_DAYS else None


def _count_months(start: date, end: date) -> int:
    return _YEAR_MONTHS * (end.year - start.year) + end.month - start.month


def _find_grid(dates: Sequence[date], months: int) -> _Grid:
    """Return the grid of the dates between the ends, or of a single period.

    One roll day, rule and calendar explain them, if any does. Of several it is the one that places
    most ends, then the one that most dates are on. A schedule with a date on a closed day is not
    moved at that date, so that such a rule comes second. The calendars are weekends and TARGET.
    """
    inner = dates[1:-1] or dates[:1]
    # No date may be on the last day of the month, which business days move into the next one.
    candidates = [*_list_candidates(dates), _LAST_ROLL_DAY]
    unmoved = [_MovedRoll(day, BusinessDayRule.UNADJUSTED, NO_CALENDAR) for day in candidates]
    rolls = [*unmoved, *starmap(_MovedRoll, product(candidates, _RULES, _CALENDARS))]
    for is_unmoved_too in (False, True):
        grids = [
            _Grid(anchors[0], months, (roll,), is_tolerant=False)
            for roll in rolls
            if (anchors := roll.list_regular(inner[0], is_unmoved_too=is_unmoved_too))
            and all(roll.list_regular(day, is_unmoved_too=is_unmoved_too) for day in inner[1:])
        ]
        if grids:
            return max(grids, key=lambda grid: _rate_grid(grid, dates))
    roll_day = _find_roll_day(dates)
    nearest = min(_list_near_dates(inner[0], roll_day), key=lambda day: abs(day - inner[0]))
    any_rule = tuple(starmap(_MovedRoll, product((roll_day,), _RULES, _CALENDARS)))
    return _Grid(nearest, months, any_rule, is_tolerant=True)


def _rate_grid(grid: _Grid, dates: Sequence[date]) -> tuple[int, int]:
    places = sum(position is not None for position in grid.place(dates))
    return places, _count_exact(dates, grid.roll_day)


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
