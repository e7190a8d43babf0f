"""Payment schedules: dates of periods with stubs, end of month, and business-day rules.

Dates roll from one anchor (the start for a stub at the back, the end for a stub at the front) by
whole months, so that a 31st is clipped in short months and returns in long ones. Business-day
rules and the meaning of "modified": ISDA 2006 Definitions section 4.12. TARGET closing days: the
European Central Bank's calendar since 1999.
"""

from collections.abc import Callable
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final, Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.day_count import add_months
from spawn.domain.finance.limits import MAX_PERIODS, Checker

_DAY: Final = timedelta(days=1)
_WEEKDAYS: Final = 7
_MAX_ROLL_DAYS: Final = 60
_MAX_HOLIDAYS: Final = 20_000
_TARGET_START: Final = 2000
_TARGET_YEAR_ENDS: Final = (1998, 1999, 2001)


class BusinessDayRule(StrEnum):
    """What becomes of a date that is not a business day (ISDA 2006 section 4.12)."""

    UNADJUSTED = "unadjusted"
    FOLLOWING = "following"
    MODIFIED_FOLLOWING = "modified_following"
    PRECEDING = "preceding"
    MODIFIED_PRECEDING = "modified_preceding"


class Frequency(StrEnum):
    """How often a schedule pays."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    SEMI_ANNUAL = "semi_annual"
    ANNUAL = "annual"

    @property
    def months(self) -> int:
        """Months in one period."""
        return _MONTHS_BY_FREQUENCY[self]


_MONTHS_BY_FREQUENCY: Final = {
    Frequency.MONTHLY: 1,
    Frequency.QUARTERLY: 3,
    Frequency.SEMI_ANNUAL: 6,
    Frequency.ANNUAL: 12,
}

Stub = Literal["short_back", "long_back", "short_front", "long_front"]


class BusinessCalendar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days on which nobody pays: a base, weekend days (Monday is 0) and further holidays.

    Base `none` has no closing days of its own, `weekends` closes the weekend days, `target`
    closes them and the TARGET holidays.
    """

    base: Literal["none", "weekends", "target"] = "none"
    weekend: tuple[int, ...] = (5, 6)
    holidays: frozenset[date] = frozenset()

    def is_business_day(self, day: date) -> bool:
        """Whether payments settle on `day`."""
        if day in self.holidays:
            return False
        if self.base == "none":
            return True
        if day.weekday() in self.weekend:
            return False
        return self.base != "target" or not is_target_holiday(day)


class ScheduleTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a term sheet says about payment dates.

    `end_of_month` keeps month ends when the anchor is one; the last business day of its month
    counts as one, as the market has it.
    """

    start: date
    end: date
    frequency: Frequency
    stub: Stub = "short_back"
    end_of_month: bool = False
    rule: BusinessDayRule = BusinessDayRule.UNADJUSTED
    calendar: BusinessCalendar = BusinessCalendar()


class PaymentSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The dates: `dates[0]` is the start, each other one ends a period and is a payment date.

    `unadjusted` are the same dates before the business-day rule; `stubs` names the odd periods
    by index from 1.
    """

    dates: tuple[date, ...]
    unadjusted: tuple[date, ...]
    stubs: tuple[int, ...]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def easter_sunday(year: int) -> date:
    """Gregorian Easter (the anonymous algorithm, Nature 1876, as given by Meeus)."""
    golden = year % 19
    century, rest = divmod(year, 100)
    leap, skip = divmod(century, 4)
    shift = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap - shift + 15) % 30
    weekday = (32 + 2 * skip + 2 * (rest // 4) - epact - rest % 4) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def is_target_holiday(day: date) -> bool:
    """Whether TARGET is closed on `day`, weekends apart."""
    key = (day.month, day.day)
    if key in {(1, 1), (12, 25)}:
        return True
    if key == (12, 31):
        return day.year in _TARGET_YEAR_ENDS
    if day.year < _TARGET_START:
        return False
    if key in {(5, 1), (12, 26)}:
        return True
    easter = easter_sunday(day.year)
    return day in {easter - 2 * _DAY, easter + _DAY}


def adjust(day: date, rule: BusinessDayRule, calendar: BusinessCalendar) -> date:
    """`day` moved by the business-day rule.

    Raises:
        InvalidInput: the calendar has no business day within sixty days.
    """
    if rule is BusinessDayRule.UNADJUSTED or calendar.is_business_day(day):
        return day
    forwards = rule in {BusinessDayRule.FOLLOWING, BusinessDayRule.MODIFIED_FOLLOWING}
    step = _DAY if forwards else -_DAY
    moved = _roll(day, step, calendar)
    modified = rule in {BusinessDayRule.MODIFIED_FOLLOWING, BusinessDayRule.MODIFIED_PRECEDING}
    if modified and moved.month != day.month:
        return _roll(day, -step, calendar)
    return moved


def _roll(day: date, step: timedelta, calendar: BusinessCalendar) -> date:
    for _ in range(_MAX_ROLL_DAYS):
        day += step
        if calendar.is_business_day(day):
            return day
    raise InvalidInput.at(
        "/calendar", "no_business_day", f"has no business day for {_MAX_ROLL_DAYS} days"
    )


def payment_schedule(terms: ScheduleTerms) -> PaymentSchedule:
    """The payment dates of `terms`, start included.

    Adjusted dates that fall together merge into one period, which a warning names.

    Raises:
        InvalidInput: an end not after the start, too many periods, or a calendar without
            business days.
    """
    _check(terms)
    raw, stubs = _unadjusted(terms)
    kept, adjusted = [raw[0]], [adjust(raw[0], terms.rule, terms.calendar)]
    merged: list[str] = []
    for day in raw[1:]:
        moved = adjust(day, terms.rule, terms.calendar)
        if moved > adjusted[-1]:
            kept.append(day)
            adjusted.append(moved)
        else:
            merged.append(f"the period that ends on {day} has no business day and was merged")
            if len(kept) > 1:  # the earlier date gives way, so that the term keeps its end
                kept[-1] = day
    if len(adjusted) == 1:
        raise InvalidInput.at("/end", "empty", "no period remains after business-day adjustment")
    return PaymentSchedule(
        dates=tuple(adjusted),
        unadjusted=tuple(kept),
        stubs=stubs,
        conventions=_conventions(terms),
        warnings=tuple(merged),
    )


def _check(terms: ScheduleTerms) -> None:
    check = Checker()
    check.day("/start", terms.start)
    check.day("/end", terms.end)
    if terms.end <= terms.start:
        check.refuse("/end", "not_increasing", "must be after the start")
    months = 12 * (terms.end.year - terms.start.year) + terms.end.month - terms.start.month
    if months // terms.frequency.months > MAX_PERIODS:
        check.refuse("/end", "too_many_periods", f"at most {MAX_PERIODS} periods")
    weekend = set(terms.calendar.weekend)
    if not weekend <= set(range(_WEEKDAYS)) or len(weekend) == _WEEKDAYS:
        check.refuse("/calendar/weekend", "out_of_range", "days from 0 to 6, not all seven")
    if len(terms.calendar.holidays) > _MAX_HOLIDAYS:
        check.refuse("/calendar/holidays", "too_many", f"at most {_MAX_HOLIDAYS} days")
    check.done()


def _unadjusted(terms: ScheduleTerms) -> tuple[list[date], tuple[int, ...]]:
    """Rolled dates from start to end, and the indices of the odd periods."""
    front = terms.stub.endswith("front")
    dates = _backwards(terms) if front else _forwards(terms)
    roll = _roller(terms, terms.end if front else terms.start)
    regular = _is_regular(dates, roll, front=front)
    if not regular and terms.stub.startswith("long") and len(dates) > 2:  # noqa: PLR2004 - a
        # long stub swallows its neighbour, for which two periods, three dates, are needed
        del dates[1 if front else -2]
    if regular:
        return dates, ()
    return dates, (1 if front else len(dates) - 1,)


def _roller(terms: ScheduleTerms, anchor: date) -> Callable[[int], date]:
    """The function from a number of periods to the date that many periods from the anchor."""
    keep_month_end = terms.end_of_month and _closes_month(anchor, terms.calendar)

    def roll(periods: int) -> date:
        day = add_months(anchor, periods * terms.frequency.months)
        return _month_end(day) if keep_month_end else day

    return roll


def _closes_month(day: date, calendar: BusinessCalendar) -> bool:
    """Whether no business day follows `day` in its month."""
    later = day + _DAY
    while later.month == day.month:
        if calendar.is_business_day(later):
            return False
        later += _DAY
    return True


def _month_end(day: date) -> date:
    return add_months(day.replace(day=1), 1) - _DAY


def _forwards(terms: ScheduleTerms) -> list[date]:
    roll = _roller(terms, terms.start)
    dates = [terms.start]
    while (day := roll(len(dates))) < terms.end:
        dates.append(day)
    return [*dates, terms.end]


def _backwards(terms: ScheduleTerms) -> list[date]:
    roll = _roller(terms, terms.end)
    dates = [terms.end]
    while (day := roll(-len(dates))) > terms.start:
        dates.append(day)
    return [terms.start, *reversed(dates)]


def _is_regular(dates: list[date], roll: Callable[[int], date], *, front: bool) -> bool:
    """Whether the last rolled period fits exactly, so that there is no stub."""
    periods = len(dates) - 1
    return roll(-periods) == dates[0] if front else roll(periods) == dates[-1]


def _conventions(terms: ScheduleTerms) -> dict[str, str]:
    return {
        "frequency": terms.frequency.value,
        "stub": terms.stub,
        "end_of_month": "kept" if terms.end_of_month else "not kept",
        "business_day_rule": terms.rule.value,
        "calendar": terms.calendar.base,
        "anchor": "end" if terms.stub.endswith("front") else "start",
    }


def period_days(dates: tuple[date, ...]) -> tuple[int, ...]:
    """Calendar days of each period."""
    return tuple((after - before).days for before, after in pairwise(dates))
