"""Business calendars that name countries, resolved to the days of their public holidays."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final, TypeVar

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import FieldChecker
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, check_country_count
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms
from spawn.ports.holidays import HolidaySource

StructT = TypeVar("StructT", bound=msgspec.Struct)

_MAX_YEARS: Final = 200
"""Years of holidays per calendar; the source computes each year of each country."""


def resolve_calendars(case: StructT, source: HolidaySource | None) -> StructT:
    """Return the case with the holidays of the countries that its calendars name.

    Without a source the calendars stay as they are, and the engine rejects their countries.

    Raises:
        InvalidInput: an unknown country, or too many countries or years.
    """
    if source is None:
        return case
    changes: dict[str, msgspec.Struct] = {}
    terms = getattr(case, "payment_dates", None)
    if isinstance(terms, PaymentDateTerms) and terms.calendar.countries:
        calendar = _add_holidays(
            terms.calendar, "/payment_dates/calendar", (terms.start, terms.end), source
        )
        changes["payment_dates"] = msgspec.structs.replace(terms, calendar=calendar)
    own_calendar = getattr(case, "calendar", None)
    days = list(_list_days(case))
    if isinstance(own_calendar, BusinessCalendar) and own_calendar.countries and days:
        changes["calendar"] = _add_holidays(own_calendar, "/calendar", days, source)
    return msgspec.structs.replace(case, **changes) if changes else case


def _list_days(case: msgspec.Struct) -> Iterable[date]:
    """Yield the dates of a case beside which its calendar stands."""
    yield from getattr(case, "dates", None) or ()
    for period in getattr(case, "periods", None) or ():
        yield from (period.start, period.end)


def _add_holidays(
    calendar: BusinessCalendar, pointer: str, days: Sequence[date], source: HolidaySource
) -> BusinessCalendar:
    """Return the calendar with its countries' holidays, for a year longer at either end."""
    checker = FieldChecker()
    check_country_count(checker, pointer, calendar.countries)
    first_year, last_year = min(days).year - 1, max(days).year + 1
    if last_year - first_year > _MAX_YEARS:
        detail = f"public holidays are known for at most {_MAX_YEARS} years; list the days"
        checker.reject(f"{pointer}/countries", "too_many", detail)
    checker.raise_errors()
    holidays = set(calendar.holidays)
    for index, country in enumerate(calendar.countries):
        country_holidays = source.find_holidays(country, first_year, last_year)
        if country_holidays is None:
            detail = "is no country or subdivision whose public holidays are known"
            raise InvalidInput.at(f"{pointer}/countries/{index}", "unknown_country", detail)
        holidays |= country_holidays
    return msgspec.structs.replace(calendar, holidays=frozenset(holidays), countries=())
