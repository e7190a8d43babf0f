"""Payment dates: periods with stubs, end-of-month rolling and business-day rules.

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
from spawn.domain.finance.limits import MAX_PERIODS, FieldChecker

_DAY: Final = timedelta(days=1)
_WEEKDAYS: Final = 7
_MAX_ROLL_DAYS: Final = 60
_MAX_HOLIDAYS: Final = 20_000
_TARGET_START: Final = 2000
_TARGET_YEAR_ENDS: Final = (1998, 1999, 2001)


class BusinessDayRule(StrEnum):
    """A rule for dates that are not business days (ISDA 2006 section 4.12)."""

    UNADJUSTED = "unadjusted"
    FOLLOWING = "following"
    MODIFIED_FOLLOWING = "modified_following"
    PRECEDING = "preceding"
    MODIFIED_PRECEDING = "modified_preceding"


class PaymentFrequency(StrEnum):
    """The interval between payments."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    SEMI_ANNUAL = "semi_annual"
    ANNUAL = "annual"

    @property
    def months(self) -> int:
        """Months per period."""
        return _MONTHS_BY_FREQUENCY[self]


_MONTHS_BY_FREQUENCY: Final = {
    PaymentFrequency.MONTHLY: 1,
    PaymentFrequency.QUARTERLY: 3,
    PaymentFrequency.SEMI_ANNUAL: 6,
    PaymentFrequency.ANNUAL: 12,
}

StubKind = Literal["short_back", "long_back", "short_front", "long_front"]


class BusinessCalendar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The days without payments: a base, weekend days (Monday is 0) and further holidays.

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


class PaymentDateTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payment-date terms of a term sheet.

    `end_of_month` keeps month ends when the anchor is one; by market practice the last business
    day of a month counts as its end.
    """

    start: date
    end: date
    frequency: PaymentFrequency
    stub: StubKind = "short_back"
    end_of_month: bool = False
    rule: BusinessDayRule = BusinessDayRule.UNADJUSTED
    calendar: BusinessCalendar = BusinessCalendar()


class PaymentSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The dates: `dates[0]` is the start, each other one ends a period and is a payment date.

    `unadjusted_dates` are the same dates before the business-day rule; `stubs` are the indices of
    the odd periods, counted from 1.
    """

    dates: tuple[date, ...]
    unadjusted_dates: tuple[date, ...]
    stubs: tuple[int, ...]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def easter_sunday(year: int) -> date:
    """Return Gregorian Easter (the anonymous algorithm of Nature 1876, after Meeus)."""
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
    """Return whether TARGET is closed on `day`, weekends not considered."""
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


def adjust_to_business_day(day: date, rule: BusinessDayRule, calendar: BusinessCalendar) -> date:
    """Move `day` by the business-day rule.

    Raises:
        InvalidInput: the calendar has no business day within sixty days.
    """
    if rule is BusinessDayRule.UNADJUSTED or calendar.is_business_day(day):
        return day
    moves_forward = rule in {BusinessDayRule.FOLLOWING, BusinessDayRule.MODIFIED_FOLLOWING}
    step = _DAY if moves_forward else -_DAY
    business_day = _next_business_day(day, step, calendar)
    stays_in_month = rule in {
        BusinessDayRule.MODIFIED_FOLLOWING,
        BusinessDayRule.MODIFIED_PRECEDING,
    }
    if stays_in_month and business_day.month != day.month:
        return _next_business_day(day, -step, calendar)
    return business_day


def _next_business_day(day: date, step: timedelta, calendar: BusinessCalendar) -> date:
    for _ in range(_MAX_ROLL_DAYS):
        day += step
        if calendar.is_business_day(day):
            return day
    raise InvalidInput.at(
        "/calendar",
        "no_business_day",
        f"has no business day for {_MAX_ROLL_DAYS} days; remove holidays or weekend days",
    )


def build_payment_schedule(terms: PaymentDateTerms) -> PaymentSchedule:
    """Build the payment dates of `terms`, start included.

    Periods whose adjusted dates coincide are merged, with a warning each.

    Raises:
        InvalidInput: an end not after the start, too many periods, or a calendar without
            business days.
    """
    _check_terms(terms)
    rolled_dates, stubs = _roll_dates(terms)
    unadjusted_dates = [rolled_dates[0]]
    adjusted_dates = [adjust_to_business_day(rolled_dates[0], terms.rule, terms.calendar)]
    warnings: list[str] = []
    for day in rolled_dates[1:]:
        adjusted_date = adjust_to_business_day(day, terms.rule, terms.calendar)
        if adjusted_date > adjusted_dates[-1]:
            unadjusted_dates.append(day)
            adjusted_dates.append(adjusted_date)
        else:
            warnings.append(f"the period that ends on {day} has no business day and was merged")
            if len(unadjusted_dates) > 1:  # drop the earlier date, so that the term keeps its end
                unadjusted_dates[-1] = day
    if len(adjusted_dates) == 1:
        raise InvalidInput.at("/end", "empty", "no period remains after business-day adjustment")
    return PaymentSchedule(
        dates=tuple(adjusted_dates),
        unadjusted_dates=tuple(unadjusted_dates),
        stubs=stubs,
        conventions=_conventions(terms),
        warnings=tuple(warnings),
    )


def _check_terms(terms: PaymentDateTerms) -> None:
    checker = FieldChecker()
    checker.require_day("/start", terms.start)
    checker.require_day("/end", terms.end)
    if terms.end <= terms.start:
        checker.reject("/end", "not_increasing", "must be after the start")
    months = 12 * (terms.end.year - terms.start.year) + terms.end.month - terms.start.month
    if months // terms.frequency.months > MAX_PERIODS:
        checker.reject(
            "/end", "too_many_periods", f"the term may have at most {MAX_PERIODS} periods"
        )
    weekend = set(terms.calendar.weekend)
    if not weekend <= set(range(_WEEKDAYS)) or len(weekend) == _WEEKDAYS:
        checker.reject(
            "/calendar/weekend", "out_of_range", "must be days from 0 to 6, and not all seven"
        )
    if len(terms.calendar.holidays) > _MAX_HOLIDAYS:
        checker.reject("/calendar/holidays", "too_many", f"must have at most {_MAX_HOLIDAYS} days")
    checker.raise_errors()


def _roll_dates(terms: PaymentDateTerms) -> tuple[list[date], tuple[int, ...]]:
    """Return the rolled dates from start to end, and the indices of the odd periods."""
    has_front_stub = terms.stub.endswith("front")
    dates = _roll_backwards(terms) if has_front_stub else _roll_forwards(terms)
    roll = _make_roll(terms, terms.end if has_front_stub else terms.start)
    is_regular = _is_regular(dates, roll, has_front_stub=has_front_stub)
    if not is_regular and terms.stub.startswith("long") and len(dates) > 2:  # noqa: PLR2004 - a
        # long stub absorbs its neighbour, which takes two periods, hence three dates
        del dates[1 if has_front_stub else -2]
    if is_regular:
        return dates, ()
    return dates, (1 if has_front_stub else len(dates) - 1,)


def _make_roll(terms: PaymentDateTerms, anchor: date) -> Callable[[int], date]:
    """Return a function from a number of periods to the date that far from the anchor."""
    keeps_month_end = terms.end_of_month and _is_last_business_day(anchor, terms.calendar)

    def roll(periods: int) -> date:
        day = add_months(anchor, periods * terms.frequency.months)
        return _last_of_month(day) if keeps_month_end else day

    return roll


def _is_last_business_day(day: date, calendar: BusinessCalendar) -> bool:
    """Return whether no business day follows `day` in its month."""
    later = day + _DAY
    while later.month == day.month:
        if calendar.is_business_day(later):
            return False
        later += _DAY
    return True


def _last_of_month(day: date) -> date:
    return add_months(day.replace(day=1), 1) - _DAY


def _roll_forwards(terms: PaymentDateTerms) -> list[date]:
    roll = _make_roll(terms, terms.start)
    dates = [terms.start]
    while (day := roll(len(dates))) < terms.end:
        dates.append(day)
    return [*dates, terms.end]


def _roll_backwards(terms: PaymentDateTerms) -> list[date]:
    roll = _make_roll(terms, terms.end)
    dates = [terms.end]
    while (day := roll(-len(dates))) > terms.start:
        dates.append(day)
    return [terms.start, *reversed(dates)]


def _is_regular(dates: list[date], roll: Callable[[int], date], *, has_front_stub: bool) -> bool:
    """Return whether the rolled dates meet the other end exactly, so that there is no stub."""
    periods = len(dates) - 1
    return roll(-periods) == dates[0] if has_front_stub else roll(periods) == dates[-1]


def _conventions(terms: PaymentDateTerms) -> dict[str, str]:
    return {
        "frequency": terms.frequency.value,
        "stub": terms.stub,
        "end_of_month": "kept" if terms.end_of_month else "not kept",
        "business_day_rule": terms.rule.value,
        "calendar": terms.calendar.base,
        "anchor": "end" if terms.stub.endswith("front") else "start",
    }


def days_per_period(dates: tuple[date, ...]) -> tuple[int, ...]:
    """Return the calendar days of each period."""
    return tuple((after - before).days for before, after in pairwise(dates))
