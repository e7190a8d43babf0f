"""Payment dates of a term sheet: roll day, stubs at either end, month ends, business days.

Dates roll from one anchor by whole months (or days), so that a 31st is clipped in short months and
returns in long ones. The anchor is the start for a stub at the back, the end for a stub at the
front, or a regular date that the terms name. Each period knows its notional period: the regular
period of the roll that a stub is a part of.
"""

from collections.abc import Callable
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_PERIODS, FieldChecker
from spawn.domain.finance.time_base.business_calendar import (
    BusinessCalendar,
    BusinessDayRule,
    adjust_to_business_day,
    check_calendar,
    is_last_business_day,
)
from spawn.domain.finance.time_base.day_count import add_months, count_month_days

_DAY: Final = timedelta(days=1)
_YEAR_MONTHS: Final = 12
_MAX_INTERVAL_MONTHS: Final = 120
_MAX_INTERVAL_DAYS: Final = 366
_LAST_ROLL_DAY: Final = 31


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
StubLength = Literal["short", "long"]
MissingDay = Literal["month_end", "next_month"]
AccrualDates = Literal["adjusted", "unadjusted"]
NotionalPeriod = tuple[date, date]


class PaymentDateTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payment-date terms of a term sheet.

    The interval is one of `frequency`, `interval_months` and `interval_days`. Without further
    terms the one `stub` (by default `short_back`) is where the interval does not divide the term.
    `roll_day` (1 to 31) rolls on that day of the month, counted from the month of the start, and
    `first_regular_date` and `last_regular_date` bound the regular periods; both leave a stub at
    either end, short or long by `front_stub` and `back_stub`. A month without the roll day pays on
    its last day, or by `missing_day` `next_month` on the first of the next.

    `end_of_month` keeps month ends when the anchor is one; by market practice the last business
    day of a month counts as its end. Payments fall on dates moved by `rule`; interest accrues
    between those dates too, or with `accrual` `unadjusted` between the dates before the move.
    """

    start: date
    end: date
    frequency: PaymentFrequency | None = None
    interval_months: int | None = None
    interval_days: int | None = None
    stub: StubKind | None = None
    roll_day: int | None = None
    missing_day: MissingDay | None = None
    first_regular_date: date | None = None
    last_regular_date: date | None = None
    front_stub: StubLength | None = None
    back_stub: StubLength | None = None
    end_of_month: bool = False
    rule: BusinessDayRule = BusinessDayRule.UNADJUSTED
    accrual: AccrualDates | None = None
    calendar: BusinessCalendar = BusinessCalendar()

    @property
    def months(self) -> int | None:
        """Months per period, None for an interval of days."""
        return self.frequency.months if self.frequency is not None else self.interval_months

    @property
    def has_own_grid(self) -> bool:
        """Whether the terms name a roll day or a regular date, so that both ends may be stubs."""
        return any((self.roll_day, self.first_regular_date, self.last_regular_date))


class PaymentDates(msgspec.Struct, frozen=True, kw_only=True):
    """The dates: `dates[0]` is the start, each other one ends a period and is a payment date.

    `unadjusted_dates` are the same dates before the business-day rule; `notional_periods` are the
    regular periods that the periods are, or are parts of; `stubs` are the indices of the odd
    periods, counted from 1. `roll_day` is the day of the month of the regular dates.
    """

    dates: tuple[date, ...]
    unadjusted_dates: tuple[date, ...]
    notional_periods: tuple[NotionalPeriod, ...]
    stubs: tuple[int, ...]
    accrual: AccrualDates
    conventions: dict[str, str]
    roll_day: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def accrual_dates(self) -> tuple[date, ...]:
        """The dates between which interest accrues."""
        return self.dates if self.accrual == "adjusted" else self.unadjusted_dates


class _Roll(NamedTuple):
    """The grid of regular dates: functions from a number of periods to the date that far away."""

    date_at: Callable[[int], date]
    clipped_date_at: Callable[[int], date]

    def is_regular(self, day: date, periods: int) -> bool:
        """Return whether `day` is the regular date; of a month end also the plain clipped day."""
        return day in {self.date_at(periods), self.clipped_date_at(periods)}


class _RolledPeriod(NamedTuple):
    """A period before adjustment, by its end."""

    end: date
    notional: NotionalPeriod
    is_stub: bool


def roll_payment_dates(terms: PaymentDateTerms) -> PaymentDates:
    """Roll the payment dates of `terms`, start included.

    Periods whose adjusted dates coincide are merged, with a warning each.

    Raises:
        InvalidInput: an end not after the start, too many periods, terms that contradict each
            other, or a calendar without business days.
    """
    _check_terms(terms)
    unadjusted_dates = [terms.start]
    dates = [adjust_to_business_day(terms.start, terms.rule, terms.calendar)]
    periods: list[_RolledPeriod] = []
    warnings: list[str] = []
    for period in _roll_periods(terms):
        adjusted_end = adjust_to_business_day(period.end, terms.rule, terms.calendar)
        if adjusted_end > dates[-1]:
            unadjusted_dates.append(period.end)
            dates.append(adjusted_end)
            periods.append(period)
        else:
            warnings.append(
                f"the period that ends on {period.end} has no business day and was merged"
            )
            if len(unadjusted_dates) > 1:  # drop the earlier date, so that the term keeps its end
                unadjusted_dates[-1] = period.end
    if len(dates) == 1:
        raise InvalidInput.at("/end", "empty", "no period remains after business-day adjustment")
    return PaymentDates(
        dates=tuple(dates),
        unadjusted_dates=tuple(unadjusted_dates),
        notional_periods=tuple(
            _accrual_notional(terms, period, start, pair)
            for period, start, pair in zip(
                periods, unadjusted_dates[:-1], pairwise(dates), strict=True
            )
        ),
        stubs=tuple(n for n, period in enumerate(periods, start=1) if period.is_stub),
        accrual=terms.accrual or "adjusted",
        conventions=_conventions(terms),
        roll_day=_find_roll_day(terms),
        warnings=tuple(warnings),
    )


def _accrual_notional(
    terms: PaymentDateTerms,
    period: _RolledPeriod,
    unadjusted_start: date,
    adjusted_pair: NotionalPeriod,
) -> NotionalPeriod:
    """Return the notional period between the kind of dates between which interest accrues.

    Of a stub between adjusted dates it is counted from the adjusted regular date, as in QuantLib.
    Where the roll day is clipped at one of its ends, it runs between the adjusted dates of the
    roll: a 31st is no month away from the 30th (ICMA rule 251).
    """
    if terms.accrual == "unadjusted" or terms.rule is BusinessDayRule.UNADJUSTED:
        return period.notional
    if not period.is_stub:
        return adjusted_pair
    start, end = period.notional
    if period.end == end and _step_interval(terms, end, -1) == start:
        return _move_by_interval(terms, adjusted_pair[1], -1), adjusted_pair[1]
    if unadjusted_start == start and _step_interval(terms, start, 1) == end:
        return adjusted_pair[0], _move_by_interval(terms, adjusted_pair[0], 1)
    first, last = (adjust_to_business_day(d, terms.rule, terms.calendar) for d in period.notional)
    return first, last


def _step_interval(terms: PaymentDateTerms, day: date, direction: int) -> date:
    """Return the date one interval away, before any move to a business day."""
    if terms.months is None:
        return day + timedelta(days=direction * (terms.interval_days or 1))
    regular_day = add_months(day, direction * terms.months)
    is_month_end = terms.end_of_month and is_last_business_day(day, terms.calendar)
    return last_of_month(regular_day) if is_month_end else regular_day


def _move_by_interval(terms: PaymentDateTerms, day: date, direction: int) -> date:
    """Return the business day one interval away; the end of a month stays one where asked."""
    regular_day = _step_interval(terms, day, direction)
    keeps_month_end = terms.end_of_month and is_last_business_day(day, terms.calendar)
    rule = BusinessDayRule.PRECEDING if keeps_month_end and terms.months else terms.rule
    return adjust_to_business_day(regular_day, rule, terms.calendar)


def _check_terms(terms: PaymentDateTerms) -> None:
    checker = FieldChecker()
    checker.require_day("/start", terms.start)
    checker.require_day("/end", terms.end)
    if terms.end <= terms.start:
        checker.reject("/end", "not_increasing", "must be after the start")
    _check_interval(checker, terms)
    _check_roll_fields(checker, terms)
    _check_calendar_use(checker, terms)
    checker.raise_errors()


def _check_interval(checker: FieldChecker, terms: PaymentDateTerms) -> None:
    intervals = (terms.frequency, terms.interval_months, terms.interval_days)
    names = "frequency, interval_months and interval_days"
    if sum(interval is not None for interval in intervals) != 1:
        code = "ambiguous" if any(interval is not None for interval in intervals) else "required"
        checker.reject("/frequency", code, f"give exactly one of {names}")
        return
    if terms.interval_months is not None:
        checker.require_number("/interval_months", terms.interval_months, 1, _MAX_INTERVAL_MONTHS)
    if terms.interval_days is not None:
        checker.require_number("/interval_days", terms.interval_days, 1, _MAX_INTERVAL_DAYS)
    if any(
        interval is not None and not interval >= 1
        for interval in (terms.months, terms.interval_days)
    ):
        return
    if _count_periods(terms) > MAX_PERIODS:
        checker.reject(
            "/end", "too_many_periods", f"the term may have at most {MAX_PERIODS} periods"
        )


def _count_periods(terms: PaymentDateTerms) -> int:
    if terms.months is None:
        return (terms.end - terms.start).days // (terms.interval_days or 1)
    months = _YEAR_MONTHS * (terms.end.year - terms.start.year)
    return (months + terms.end.month - terms.start.month) // terms.months


def _check_roll_fields(checker: FieldChecker, terms: PaymentDateTerms) -> None:
    if terms.roll_day is not None:
        checker.require_number("/roll_day", terms.roll_day, 1, _LAST_ROLL_DAY)
        if terms.end_of_month and terms.roll_day != _LAST_ROLL_DAY:
            checker.reject("/roll_day", "contradiction", "end_of_month rolls on the 31st")
    if terms.interval_days is not None:
        for name in ("roll_day", "missing_day"):
            if getattr(terms, name) is not None:
                checker.reject(f"/{name}", "not_applicable", "serves an interval of months")
        if terms.end_of_month:
            checker.reject("/end_of_month", "not_applicable", "serves an interval of months")
    if terms.missing_day == "next_month" and terms.end_of_month:
        checker.reject("/missing_day", "contradiction", "end_of_month rolls on the last day")
    _check_stub_fields(checker, terms)
    bounds = ("/start", terms.start), ("/end", terms.end)
    regular_dates = (
        ("/first_regular_date", terms.first_regular_date),
        ("/last_regular_date", terms.last_regular_date),
    )
    (_, low), (_, high) = bounds
    for pointer, day in regular_dates:
        if day is not None and not low <= day <= high:
            checker.reject(pointer, "out_of_order", f"must be from {low} to {high}")
        low = max(low, day or low)


def _check_stub_fields(checker: FieldChecker, terms: PaymentDateTerms) -> None:
    """Reject statements about stubs that the terms have no use for."""
    if terms.has_own_grid and terms.stub is not None:
        detail = "a roll day or regular date leaves both ends: use front_stub and back_stub"
        checker.reject("/stub", "not_applicable", detail)
    free_ends = {
        "front_stub": terms.has_own_grid and terms.first_regular_date is None,
        "back_stub": terms.has_own_grid and terms.last_regular_date is None,
    }
    for name, is_free in free_ends.items():
        if getattr(terms, name) is not None and not is_free:
            detail = "serves a roll day or regular date, at the end that no regular date fixes"
            checker.reject(f"/{name}", "not_applicable", detail)


def _check_calendar_use(checker: FieldChecker, terms: PaymentDateTerms) -> None:
    check_calendar(checker, "/calendar", terms.calendar)
    is_unadjusted = terms.rule is BusinessDayRule.UNADJUSTED
    if terms.accrual is not None and is_unadjusted:
        checker.reject("/accrual", "not_applicable", "serves a business-day rule; give one too")


def _roll_periods(terms: PaymentDateTerms) -> list[_RolledPeriod]:
    """Return the periods from start to end, regular ones and stubs."""
    if terms.first_regular_date is not None:
        return _roll_from_first_regular(terms, terms.first_regular_date)
    if terms.last_regular_date is not None:
        return _roll_from_last_regular(terms, terms.last_regular_date)
    if terms.roll_day is not None:
        return _roll_on_day(terms)
    if (terms.stub or "short_back").endswith("front"):
        roll = _anchor_roll(terms, terms.end, "/end")
        return _roll_backward(terms, roll, 0, is_long=terms.stub == "long_front")
    roll = _anchor_roll(terms, terms.start, "/start")
    return _roll_forward(terms, roll, 0, is_long=terms.stub == "long_back")


def _roll_from_first_regular(terms: PaymentDateTerms, first: date) -> list[_RolledPeriod]:
    roll = _anchor_roll(terms, first, "/first_regular_date")
    periods = _front_part(terms.start, roll.date_at(0), roll)
    if terms.last_regular_date is None:
        return periods + _roll_forward(terms, roll, 0, is_long=terms.back_stub == "long")
    count = _periods_to(roll, terms.last_regular_date)
    if not roll.is_regular(terms.last_regular_date, count):
        detail = "is not a whole number of periods after first_regular_date"
        raise InvalidInput.at("/last_regular_date", "off_roll", detail)
    periods += [_regular_period(roll, index) for index in range(1, count + 1)]
    return periods + _back_part(roll.date_at(count), terms.end, roll, count)


def _roll_from_last_regular(terms: PaymentDateTerms, last: date) -> list[_RolledPeriod]:
    roll = _anchor_roll(terms, last, "/last_regular_date")
    periods = _roll_backward(terms, roll, 0, is_long=terms.front_stub == "long")
    return periods + _back_part(roll.date_at(0), terms.end, roll, 0)


def _roll_on_day(terms: PaymentDateTerms) -> list[_RolledPeriod]:
    """Roll on a day of the month, counted from the month of the start."""
    roll = _make_roll(terms, terms.start.replace(day=1))
    first = 0
    while roll.date_at(first) < terms.start:
        first += 1
    if roll.date_at(first) >= terms.end:
        notional = (roll.date_at(first - 1), roll.date_at(first))
        is_stub = (terms.start, terms.end) != notional
        return [_RolledPeriod(terms.end, notional, is_stub)]
    is_stub = terms.start not in {roll.date_at(first - 1), roll.date_at(first)}
    if is_stub and terms.front_stub == "long" and roll.date_at(first + 1) <= terms.end:
        first += 1
    periods = _front_part(terms.start, roll.date_at(first), roll, first)
    return periods + _roll_forward(terms, roll, first, is_long=terms.back_stub == "long")


def _front_part(start: date, first: date, roll: _Roll, index: int = 0) -> list[_RolledPeriod]:
    """Return the period before the first regular date, if there is one."""
    if start == first:
        return []
    is_stub = not roll.is_regular(start, index - 1)
    notional = (roll.date_at(index - 1) if is_stub else start, first)
    return [_RolledPeriod(first, notional, is_stub)]


def _back_part(last: date, end: date, roll: _Roll, index: int) -> list[_RolledPeriod]:
    """Return the period after the last regular date, if there is one."""
    if last == end:
        return []
    is_stub = not roll.is_regular(end, index + 1)
    notional = (last, roll.date_at(index + 1) if is_stub else end)
    return [_RolledPeriod(end, notional, is_stub)]


def _regular_period(roll: _Roll, index: int) -> _RolledPeriod:
    return _RolledPeriod(
        roll.date_at(index), (roll.date_at(index - 1), roll.date_at(index)), is_stub=False
    )


def _roll_forward(
    terms: PaymentDateTerms, roll: _Roll, index: int, *, is_long: bool
) -> list[_RolledPeriod]:
    """Roll from the regular date `index` to the end, with the stub at the back."""
    periods: list[_RolledPeriod] = []
    while roll.date_at(index + 1) < terms.end:
        index += 1
        periods.append(_regular_period(roll, index))
    if is_long and periods and not roll.is_regular(terms.end, index + 1):
        periods.pop()
        index -= 1
    last = periods[-1].end if periods else roll.date_at(index)
    return periods + _back_part(last, terms.end, roll, index)


def _roll_backward(
    terms: PaymentDateTerms, roll: _Roll, index: int, *, is_long: bool
) -> list[_RolledPeriod]:
    """Roll from the regular date `index` back to the start, with the stub at the front."""
    periods: list[_RolledPeriod] = []
    while roll.date_at(index - 1) > terms.start:
        periods.append(_regular_period(roll, index))
        index -= 1
    is_regular = roll.is_regular(terms.start, index - 1)
    if is_long and periods and not is_regular:
        periods.pop()
        index += 1
    first = roll.date_at(index)
    if terms.start < first:
        notional = (terms.start if is_regular else roll.date_at(index - 1), first)
        periods.append(_RolledPeriod(first, notional, not is_regular))
    return periods[::-1]


def _periods_to(roll: _Roll, day: date) -> int:
    """Return the number of periods from the anchor to the first regular date not before `day`."""
    index = 0
    while roll.date_at(index) < day and roll.clipped_date_at(index) < day:
        index += 1
    return index


def _anchor_roll(terms: PaymentDateTerms, anchor: date, pointer: str) -> _Roll:
    """Return the grid through a date, which must lie on the roll day where the terms name one."""
    roll = _make_roll(terms, anchor)
    if terms.roll_day is not None and anchor not in {roll.date_at(0), roll.clipped_date_at(0)}:
        # The first of a month may stand for the missing day of the month before.
        roll = _make_roll(terms, anchor.replace(day=1) - _DAY)
        if roll.date_at(0) != anchor:
            detail = f"does not fall on the roll day {terms.roll_day}"
            raise InvalidInput.at(pointer, "off_roll", detail)
    if pointer in {"/first_regular_date", "/last_regular_date"}:
        return roll
    # Start and end stay as they are written, also where another day is the end of their month.
    regular_date_at = roll.date_at
    return roll._replace(date_at=lambda n: regular_date_at(n) if n else anchor)


def _make_roll(terms: PaymentDateTerms, anchor: date) -> _Roll:
    """Return the grid through the month of `anchor`, on the roll day or that of the anchor."""
    if terms.interval_days is not None:
        step = timedelta(days=terms.interval_days)
        return _Roll(lambda n: anchor + n * step, lambda n: anchor + n * step)
    months = terms.months or 1
    first_of_month = anchor.replace(day=1)
    roll_day = terms.roll_day or anchor.day
    skips_short_months = terms.missing_day == "next_month"

    @cache  # neighbouring periods ask for the same date
    def clipped_date_at(periods: int) -> date:
        month = add_months(first_of_month, periods * months)
        if roll_day > (days := count_month_days(month.year, month.month)):
            last = month.replace(day=days)
            return last + _DAY if skips_short_months else last
        return month.replace(day=roll_day)

    if not terms.end_of_month or not (
        terms.roll_day is not None or is_last_business_day(anchor, terms.calendar)
    ):
        return _Roll(clipped_date_at, clipped_date_at)
    return _Roll(lambda n: last_of_month(add_months(first_of_month, n * months)), clipped_date_at)


def last_of_month(day: date) -> date:
    """Return the last calendar day of the month of `day`."""
    return day.replace(day=count_month_days(day.year, day.month))


def _find_roll_day(terms: PaymentDateTerms) -> int | None:
    """Return the day of the month on which the terms roll, None for an interval of days."""
    if terms.months is None:
        return None
    anchor = terms.first_regular_date or terms.last_regular_date
    if anchor is None:
        anchor = terms.end if (terms.stub or "short_back").endswith("front") else terms.start
    if terms.end_of_month and is_last_business_day(anchor, terms.calendar):
        return _LAST_ROLL_DAY
    return terms.roll_day or anchor.day


def _conventions(terms: PaymentDateTerms) -> dict[str, str]:
    interval = f"{terms.months} months" if terms.months else f"{terms.interval_days} days"
    conventions = {
        "frequency": terms.frequency.value if terms.frequency else interval,
        "stub": _describe_stubs(terms),
        "end_of_month": "kept" if terms.end_of_month else "not kept",
        "business_day_rule": terms.rule.value,
        "calendar": terms.calendar.base,
        "anchor": _describe_anchor(terms),
    }
    if terms.rule is not BusinessDayRule.UNADJUSTED:
        conventions["accrual"] = f"between {terms.accrual or 'adjusted'} dates"
    if terms.missing_day is not None:
        conventions["missing_day"] = terms.missing_day
    return conventions


def _describe_stubs(terms: PaymentDateTerms) -> str:
    if not terms.has_own_grid:
        return terms.stub or "short_back"
    front = "fixed" if terms.first_regular_date else terms.front_stub or "short"
    back = "fixed" if terms.last_regular_date else terms.back_stub or "short"
    return f"{front} front, {back} back"


def _describe_anchor(terms: PaymentDateTerms) -> str:
    if terms.first_regular_date is not None:
        return "first_regular_date"
    if terms.last_regular_date is not None:
        return "last_regular_date"
    if terms.roll_day is not None:
        return "roll day, counted from the month of the start"
    return "end" if (terms.stub or "short_back").endswith("front") else "start"
