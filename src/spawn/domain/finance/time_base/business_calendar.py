"""Business days: calendars, rules for dates that are none, and counts of business days.

Business-day rules and the meaning of "modified": ISDA 2006 Definitions section 4.12. TARGET
closing days: the European Central Bank's calendar since 1999.
"""

from datetime import date, timedelta
from enum import StrEnum
from typing import Final, Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import FieldChecker

_DAY: Final = timedelta(days=1)
_WEEKDAYS: Final = 7
_MAX_ROLL_DAYS: Final = 60
_MAX_HOLIDAYS: Final = 20_000
_MAX_COUNTRIES: Final = 20
_TARGET_START: Final = 2000
_TARGET_YEAR_ENDS: Final = (1998, 1999, 2001)


class BusinessDayRule(StrEnum):
    """A rule for dates that are not business days (ISDA 2006 section 4.12)."""

    UNADJUSTED = "unadjusted"
    FOLLOWING = "following"
    MODIFIED_FOLLOWING = "modified_following"
    PRECEDING = "preceding"
    MODIFIED_PRECEDING = "modified_preceding"


class BusinessCalendar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The days without payments: a base, weekend days (Monday is 0) and further holidays.

    Base `none` has no closing days of its own, `weekends` closes the weekend days, `target`
    closes them and the TARGET holidays. `countries` (ISO 3166 codes, with a subdivision as in
    `DE-BY`) names public holidays that the service adds to `holidays` from its source of them.
    """

    base: Literal["none", "weekends", "target"] = "none"
    weekend: tuple[int, ...] = (5, 6)
    holidays: frozenset[date] = frozenset()
    countries: tuple[str, ...] = ()

    def is_business_day(self, day: date) -> bool:
        """Whether payments settle on `day`."""
        if day in self.holidays:
            return False
        if self.base == "none":
            return True
        if day.weekday() in self.weekend:
            return False
        return self.base != "target" or not is_target_holiday(day)

    @property
    def has_closing_days(self) -> bool:
        """Whether any day is not a business day."""
        return self.base != "none" or bool(self.holidays) or bool(self.countries)


NO_CALENDAR: Final = BusinessCalendar()
"""The calendar on which each day is a business day."""


def check_calendar(checker: FieldChecker, pointer: str, calendar: BusinessCalendar) -> None:
    """Reject a calendar without business days, or with countries that nobody has resolved."""
    weekend = set(calendar.weekend)
    if not weekend <= set(range(_WEEKDAYS)) or len(weekend) == _WEEKDAYS:
        checker.reject(
            f"{pointer}/weekend", "out_of_range", "must be days from 0 to 6, and not all seven"
        )
    elif calendar.base == "none" and calendar.weekend != NO_CALENDAR.weekend:
        checker.reject(
            f"{pointer}/weekend", "not_applicable", "base none has no weekend; name another base"
        )
    if len(calendar.holidays) > _MAX_HOLIDAYS:
        checker.reject(f"{pointer}/holidays", "too_many", f"must have at most {_MAX_HOLIDAYS} days")
    if calendar.countries:
        checker.reject(
            f"{pointer}/countries",
            "no_holiday_source",
            "no source of public holidays is installed; list the days under holidays",
        )


def check_country_count(checker: FieldChecker, pointer: str, countries: tuple[str, ...]) -> None:
    """Reject a longer list of countries than one calendar has."""
    checker.require_size(f"{pointer}/countries", len(countries), _MAX_COUNTRIES, 0)


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


def is_last_business_day(day: date, calendar: BusinessCalendar) -> bool:
    """Return whether no business day follows `day` in its month."""
    later = day + _DAY
    while later.month == day.month:
        if calendar.is_business_day(later):
            return False
        later += _DAY
    return True


def count_business_days(start: date, end: date, calendar: BusinessCalendar) -> int:
    """Count the business days from `start` to `end`, first day included, last day excluded.

    Whole weeks are counted at once, then the holidays on working days subtracted.
    """
    working_days = [day for day in range(_WEEKDAYS) if _works_on(day, calendar)]
    weeks, rest = divmod((end - start).days, _WEEKDAYS)
    count = weeks * len(working_days)
    count += sum((start.weekday() + offset) % _WEEKDAYS in working_days for offset in range(rest))
    return count - sum(
        start <= day < end and day.weekday() in working_days
        for day in _closing_days(start.year, end.year, calendar)
    )


def _works_on(weekday: int, calendar: BusinessCalendar) -> bool:
    return calendar.base == "none" or weekday not in calendar.weekend


def _closing_days(first_year: int, last_year: int, calendar: BusinessCalendar) -> set[date]:
    """Return the holidays of the years; weekend days may be among them."""
    days = set(calendar.holidays)
    if calendar.base == "target":
        for year in range(first_year, last_year + 1):
            easter = easter_sunday(year)
            candidates = (
                *(date(year, month, day) for month, day in ((1, 1), (5, 1), (12, 25), (12, 26))),
                date(year, 12, 31),
                easter - 2 * _DAY,
                easter + _DAY,
            )
            days.update(day for day in candidates if is_target_holiday(day))
    return days
