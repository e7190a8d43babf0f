"""Day-count conventions: days and year fractions, first day included, last excluded.

Source: ISDA 2006 Definitions section 4.16 (b), (d), (e), (f), (g), (h); ICMA rule 251 for
ACT/ACT ICMA and ACT/365L; the US (NASD) 30/360 rule with its end-of-February steps for 30U/360; the
definition of the Association Francaise des Banques for ACT/ACT AFB; ANBIMA's for BUS/252.
"""

from calendar import isleap
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import FIRST_YEAR, LAST_YEAR
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, count_business_days

_FEBRUARY: Final = 2
_LONGEST_MONTH: Final = 31
_COMMERCIAL_MONTH: Final = 30
_MONTHS: Final = 12
_LEAP_DAY: Final = 29
_SHORTEST_MONTH: Final = 28
_MOVED_DAYS: Final = 8
"""Two ends of a period that business days move, and the days of a shorter month."""
_MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class DayCount(StrEnum):
    """A day-count convention, spelt as on a term sheet."""

    ACT_360 = "ACT/360"
    ACT_365F = "ACT/365F"
    THIRTY_360 = "30/360"
    THIRTY_E_360 = "30E/360"
    THIRTY_E_360_ISDA = "30E/360 ISDA"
    THIRTY_U_360 = "30U/360"
    ACT_ACT_ISDA = "ACT/ACT ISDA"
    ACT_ACT_ICMA = "ACT/ACT ICMA"
    ACT_ACT_AFB = "ACT/ACT AFB"
    ACT_365L = "ACT/365L"
    NL_365 = "NL/365"
    BUS_252 = "BUS/252"

    @property
    def needs_frequency(self) -> bool:
        """Whether the count depends on the payments a year."""
        return self in {DayCount.ACT_ACT_ICMA, DayCount.ACT_365L}


_ALIASES: Final = {
    "ACT360": DayCount.ACT_360,
    "ACTUAL360": DayCount.ACT_360,
    "ACT365F": DayCount.ACT_365F,
    "ACT365": DayCount.ACT_365F,
    "ACT365FIXED": DayCount.ACT_365F,
    "ACTUAL365FIXED": DayCount.ACT_365F,
    "ACTUAL365F": DayCount.ACT_365F,
    "30360": DayCount.THIRTY_360,
    "30360BONDBASIS": DayCount.THIRTY_360,
    "30360ISDA": DayCount.THIRTY_360,
    "BONDBASIS": DayCount.THIRTY_360,
    "30E360": DayCount.THIRTY_E_360,
    "30E360EUROBOND": DayCount.THIRTY_E_360,
    "EUROBONDBASIS": DayCount.THIRTY_E_360,
    "30E360ISDA": DayCount.THIRTY_E_360_ISDA,
    "30U360": DayCount.THIRTY_U_360,
    "30360US": DayCount.THIRTY_U_360,
    "30360NASD": DayCount.THIRTY_U_360,
    "ACTACTISDA": DayCount.ACT_ACT_ISDA,
    "ACTACT": DayCount.ACT_ACT_ISDA,
    "ACTUALACTUALISDA": DayCount.ACT_ACT_ISDA,
    "ACTACTICMA": DayCount.ACT_ACT_ICMA,
    "ACTACTISMA": DayCount.ACT_ACT_ICMA,
    "ACTUALACTUALICMA": DayCount.ACT_ACT_ICMA,
    "ACTACTAFB": DayCount.ACT_ACT_AFB,
    "ACTUALACTUALAFB": DayCount.ACT_ACT_AFB,
    "ACTACTEURO": DayCount.ACT_ACT_AFB,
    "ACT365L": DayCount.ACT_365L,
    "ACTUAL365L": DayCount.ACT_365L,
    "ISMAYEAR": DayCount.ACT_365L,
    "NL365": DayCount.NL_365,
    "ACT365NL": DayCount.NL_365,
    "ACTUAL365NL": DayCount.NL_365,
    "NOLEAP365": DayCount.NL_365,
    "BUS252": DayCount.BUS_252,
    "BUSINESS252": DayCount.BUS_252,
}


class AccrualPeriod(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A period to count under a day-count convention.

    `reference_start`, `reference_end` and `frequency` (payments a year) serve ACT/ACT ICMA and
    ACT/365L: without a reference the period is its own, so that under ICMA it counts 1/frequency
    and has to be as long. Under ACT/365L they are the coupon period of a part. `maturity` serves
    30E/360 ISDA: a period that ends on it keeps the last day of February.
    """

    start: date
    end: date
    reference_start: date | None = None
    reference_end: date | None = None
    frequency: int | None = None
    maturity: date | None = None


class PeriodLength(msgspec.Struct, frozen=True):
    """The days in the numerator (in 30-day months for a 30/360 rule) and the fraction."""

    days: int
    year_fraction: float


def parse_day_count(text: str, pointer: str = "/day_count") -> DayCount:
    """Return the convention that `text` names, ignoring punctuation and case.

    Raises:
        InvalidInput: the name is unknown; the detail lists the valid ones.
    """
    key = "".join(ch for ch in text.upper() if ch.isalnum())
    convention = _ALIASES.get(key)
    if convention is None:
        names = ", ".join(DayCount)
        raise InvalidInput.at(pointer, "unknown_day_count", f"must be one of {names}")
    return convention


def count_days(
    convention: DayCount | str,
    period: AccrualPeriod,
    pointer: str = "",
    calendar: BusinessCalendar | None = None,
    roll_day: int | None = None,
) -> PeriodLength:
    """Count the days and the year fraction of `period` under `convention`.

    `calendar` has the business days of BUS/252. `roll_day` is the day of the month of the notional
    periods of ACT/ACT ICMA, by default that of the reference.

    Raises:
        InvalidInput: an unknown convention, an end before the start, an ICMA reference that
            lacks one date, is empty or has no frequency, or BUS/252 without a calendar.
    """
    rule = convention if isinstance(convention, DayCount) else parse_day_count(convention)
    start, end = period.start, period.end
    if end < start:
        raise InvalidInput.at(f"{pointer}/end", "before_start", "must not be before the start")
    if rule in THIRTY_360_RULES:
        days = count_thirty_360_days(rule, start, end, period.maturity)
        return PeriodLength(days, days / 360.0)
    if rule is DayCount.BUS_252:
        if calendar is None:
            raise InvalidInput.at("/calendar", "required", "BUS/252 counts its business days")
        days = count_business_days(start, end, calendar)
        return PeriodLength(days, days / 252.0)
    if rule is DayCount.ACT_ACT_ICMA:
        return PeriodLength((end - start).days, _act_act_icma(period, pointer, roll_day))
    if rule is DayCount.ACT_365L:
        return PeriodLength((end - start).days, _act_365l(period, pointer))
    if rule is DayCount.NL_365:
        days = (end - start).days - _leap_days_after(start, end)
        return PeriodLength(days, days / 365.0)
    return PeriodLength((end - start).days, _ACTUAL_FRACTIONS[rule](start, end))


def compute_year_fraction(convention: DayCount, start: date, end: date) -> float:
    """Return the year fraction of a plain period; ACT/ACT ICMA needs `count_days`."""
    return count_days(convention, AccrualPeriod(start=start, end=end)).year_fraction


def is_month_end(day: date) -> bool:
    """Whether `day` is the last calendar day of its month."""
    return day.day == count_month_days(day.year, day.month)


def add_months(day: date, months: int) -> date:
    """Move `day` by whole months, clipped to the end of a shorter month."""
    index = day.year * _MONTHS + day.month - 1 + months
    year, month = divmod(index, _MONTHS)
    number = day.day
    if number > _SHORTEST_MONTH:
        number = min(number, count_month_days(year, month + 1))
    return date(year, month + 1, number)


def count_month_days(year: int, month: int) -> int:
    """Return the days of a month; the library's function finds the weekday of its first too."""
    return _MONTH_DAYS[month - 1] + (month == _FEBRUARY and isleap(year))


def _is_february_end(day: date) -> bool:
    return day.month == _FEBRUARY and is_month_end(day)


def count_thirty_360_days(rule: DayCount, start: date, end: date, maturity: date | None) -> int:
    """Count days of 30-day months: the four conventions differ only in the two day numbers.

    The `maturity` serves 30E/360 ISDA (`AccrualPeriod`).
    """
    if rule is DayCount.THIRTY_E_360:
        first, last = _eurobond_days(start, end)
    elif rule is DayCount.THIRTY_E_360_ISDA:
        first, last = _eurobond_isda_days(start, end, maturity)
    elif rule is DayCount.THIRTY_U_360:
        first, last = _us_days(start, end)
    else:
        first, last = _bond_basis_days(start.day, end.day)
    years, months = end.year - start.year, end.month - start.month
    return 360 * years + 30 * months + last - first


def _eurobond_days(start: date, end: date) -> tuple[int, int]:
    """Apply section 4.16 (g): a 31st becomes the 30th, at the start and at the end."""
    return min(start.day, _COMMERCIAL_MONTH), min(end.day, _COMMERCIAL_MONTH)


def _eurobond_isda_days(start: date, end: date, maturity: date | None) -> tuple[int, int]:
    """Apply section 4.16 (h): the last of February is the 30th, except at maturity."""
    first, last = _eurobond_days(start, end)
    if _is_february_end(start):
        first = _COMMERCIAL_MONTH
    if _is_february_end(end) and end != maturity:
        last = _COMMERCIAL_MONTH
    return first, last


def _bond_basis_days(first: int, last: int) -> tuple[int, int]:
    """Apply section 4.16 (f): an end on the 31st is the 30th after a start on the 30th or 31st."""
    first = min(first, _COMMERCIAL_MONTH)
    if last == _LONGEST_MONTH and first == _COMMERCIAL_MONTH:
        last = _COMMERCIAL_MONTH
    return first, last


def _us_days(start: date, end: date) -> tuple[int, int]:
    """Apply the two end-of-February steps, then the bond basis."""
    first, last = start.day, end.day
    if _is_february_end(start):
        first = _COMMERCIAL_MONTH
        if _is_february_end(end):
            last = _COMMERCIAL_MONTH
    return _bond_basis_days(first, last)


def _act_act_isda(start: date, end: date) -> float:
    """Apply section 4.16 (b): days in leap years over 366 plus the others over 365."""
    if start.year == end.year:
        return (end - start).days / _days_in_year(start.year)
    head = (date(start.year + 1, 1, 1) - start).days / _days_in_year(start.year)
    tail = (end - date(end.year, 1, 1)).days / _days_in_year(end.year)
    return head + (end.year - start.year - 1) + tail


def _act_act_afb(start: date, end: date) -> float:
    """Count whole years back from the end, then days over 366 with a 29 February, else 365."""
    years, stub_end = 0, end
    while stub_end.year > start.year and (day := _year_before(stub_end)) >= start:
        years += 1
        stub_end = day
    year_days = 366 if _leap_days_from(start, stub_end) else 365
    return years + (stub_end - start).days / year_days


def _year_before(day: date) -> date:
    """Return the date one year before; the end of February stays the end of February."""
    earlier = add_months(day, -_MONTHS)
    if _is_february_end(day) and isleap(earlier.year):
        return earlier.replace(day=29)
    return earlier


def _act_365l(period: AccrualPeriod, pointer: str) -> float:
    """Apply rule 251.1 (i): over 366 where a leap day decides, else over 365.

    With annual payments it is a 29 February after the start up to the end that decides, with
    more payments a year whether the period ends in a leap year. The period is the reference: a
    part of a coupon period counts over the days of the whole.
    """
    if period.frequency is None:
        raise InvalidInput.at(f"{pointer}/frequency", "required", "ACT/365L needs it")
    _check_frequency(period.frequency, pointer)
    has_start, has_end = period.reference_start is not None, period.reference_end is not None
    if (has_start and not has_end) or (has_end and not has_start and period.frequency == 1):
        detail = "one date is missing; give both or neither"
        raise InvalidInput.at(f"{pointer}/reference_end", "incomplete", detail)
    if period.frequency == 1:
        start, end = period.reference_start or period.start, period.reference_end or period.end
        is_leap = bool(_leap_days_after(start, end))
    else:
        is_leap = isleap((period.reference_end or period.end).year)
    return (period.end - period.start).days / (366.0 if is_leap else 365.0)


def _leap_days_after(start: date, end: date) -> int:
    """Count the 29ths of February after `start`, up to and with `end`."""
    return _leap_days_through(end) - _leap_days_through(start)


def _leap_days_from(start: date, end: date) -> int:
    """Count the 29ths of February from `start` on, without `end`."""
    return _leap_days_after(start, end) + _is_leap_day(start) - _is_leap_day(end)


def _leap_days_through(day: date) -> int:
    year = day.year - 1
    count = year // 4 - year // 100 + year // 400
    return count + (isleap(day.year) and (day.month, day.day) >= (_FEBRUARY, _LEAP_DAY))


def _is_leap_day(day: date) -> bool:
    return (day.month, day.day) == (_FEBRUARY, _LEAP_DAY)


def _days_in_year(year: int) -> int:
    return 366 if isleap(year) else 365


THIRTY_360_RULES: Final = frozenset(
    {
        DayCount.THIRTY_360,
        DayCount.THIRTY_E_360,
        DayCount.THIRTY_E_360_ISDA,
        DayCount.THIRTY_U_360,
    }
)
_ACTUAL_FRACTIONS: Final[dict[DayCount, Callable[[date, date], float]]] = {
    DayCount.ACT_360: lambda start, end: (end - start).days / 360.0,
    DayCount.ACT_365F: lambda start, end: (end - start).days / 365.0,
    DayCount.ACT_ACT_ISDA: _act_act_isda,
    DayCount.ACT_ACT_AFB: _act_act_afb,
}


def _act_act_icma(period: AccrualPeriod, pointer: str, roll_day: int | None) -> float:
    """Apply rule 251: days over (frequency x days of the notional period), summed over them.

    Each whole notional period in between counts 1/frequency, so that only the two at the ends are
    computed, however long the period is.
    """
    frequency, reference = _resolve_icma_reference(period, pointer)
    if reference == (period.start, period.end):
        return 1.0 / frequency
    grid = _NotionalGrid(reference, _MONTHS // frequency, roll_day or _roll_day_of(reference))
    first_index = grid.index_of(period.start)
    last_index = grid.index_of(period.end)
    notional_start, notional_end = grid.period_at(first_index)
    if first_index == last_index:
        return (period.end - period.start).days / (frequency * (notional_end - notional_start).days)
    head = (notional_end - period.start).days / (frequency * (notional_end - notional_start).days)
    notional_start, notional_end = grid.period_at(last_index)
    tail = (period.end - notional_start).days / (frequency * (notional_end - notional_start).days)
    return head + (last_index - first_index - 1) / frequency + tail


def _resolve_icma_reference(period: AccrualPeriod, pointer: str) -> tuple[int, tuple[date, date]]:
    """Return frequency and reference period; an absent frequency follows from the reference."""
    start, end = period.reference_start, period.reference_end
    if (start is None) != (end is None):
        raise InvalidInput.at(
            f"{pointer}/reference_end", "incomplete", "one date is missing; give both or neither"
        )
    if start is None or end is None:
        if period.frequency is None:
            raise InvalidInput.at(
                f"{pointer}/frequency", "required", "ACT/ACT ICMA needs it without a reference"
            )
        start, end = period.start, period.end
    elif end <= start:
        raise InvalidInput.at(f"{pointer}/reference_end", "not_increasing", "must be after start")
    years = (period.start.year, period.end.year, start.year, end.year)
    if min(years) < FIRST_YEAR or max(years) > LAST_YEAR:
        raise InvalidInput.at(
            f"{pointer}/start", "out_of_range", f"years run from {FIRST_YEAR} to {LAST_YEAR}"
        )
    frequency = period.frequency
    if frequency is None:
        frequency = _MONTHS // max(round(_MONTHS * (end - start).days / 365), 1)
    _check_frequency(frequency, pointer)
    if period.reference_start is None and not is_notional_period(start, end, frequency):
        detail = (
            f"is {frequency} a year, but the period has {(end - start).days} days; correct it, or "
            "give the reference period"
        )
        raise InvalidInput.at(f"{pointer}/frequency", "contradiction", detail)
    return frequency, (start, end)


def is_notional_period(start: date, end: date, frequency: int) -> bool:
    """Return whether a period has the length of the frequency, as far as business days move it."""
    return abs((end - add_months(start, _MONTHS // frequency)).days) <= _MOVED_DAYS


def _check_frequency(frequency: int, pointer: str) -> None:
    if frequency < 1 or _MONTHS % frequency:
        raise InvalidInput.at(f"{pointer}/frequency", "out_of_range", "must divide 12")


def _roll_day_of(reference: tuple[date, date]) -> int | None:
    """Return the day of the month that both dates are on, clipped in a shorter month."""
    roll_day = max(day.day for day in reference)
    return roll_day if all(_is_on_roll_day(day, roll_day) for day in reference) else None


def _is_on_roll_day(day: date, roll_day: int) -> bool:
    return day.day == min(roll_day, count_month_days(day.year, day.month))


class _NotionalGrid(NamedTuple):
    """Notional periods on either side of a reference period, which has index 0.

    Dates of the roll day return to it after a shorter month; others step by their own day.
    """

    reference: tuple[date, date]
    months: int
    roll_day: int | None

    def index_of(self, day: date) -> int:
        """Return the index of the notional period that contains a day."""
        start, end = self.reference
        if start <= day < end:
            return 0
        anchor, index = (end, 1) if day >= end else (start, 0)
        month_distance = _MONTHS * (day.year - anchor.year) + day.month - anchor.month
        index += month_distance // self.months
        # Within a month the day decides: the estimate is at most one period off.
        while self.period_at(index)[0] > day:
            index -= 1
        while self.period_at(index)[1] <= day:
            index += 1
        return index

    def period_at(self, index: int) -> tuple[date, date]:
        """Return the notional period `index` steps after the reference period, or before it."""
        start, end = self.reference
        if index == 0:
            return start, end
        anchor, step = (end, index - 1) if index > 0 else (start, index)
        return self._move(anchor, step), self._move(anchor, step + 1)

    def _move(self, day: date, periods: int) -> date:
        target = add_months(day, self.months * periods)
        if periods and self.roll_day is not None and _is_on_roll_day(day, self.roll_day):
            last = count_month_days(target.year, target.month)
            return target.replace(day=min(self.roll_day, last))
        return target
