"""The schedule of periods: the one statement of time that each calculator works on.

Time is given once, as payment-date terms, as dates, as accrual fractions, or as the months of a
period. Everything else follows from it: accrual fractions, the notional period of a stub, the
payments a year, the months of a reserve or of a look-back window, the times of an internal rate
of return. A second statement of the same fact is compared and, where it differs, rejected.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_PERIODS, MAX_RATE, FieldChecker
from spawn.domain.finance.time_base.business_calendar import (
    BusinessCalendar,
    BusinessDayRule,
    check_calendar,
)
from spawn.domain.finance.time_base.day_count import (
    AccrualPeriod,
    DayCount,
    count_days,
    parse_day_count,
)
from spawn.domain.finance.time_base.notional_periods import (
    count_icma_periods,
    infer_months_per_period,
    list_odd_periods,
)
from spawn.domain.finance.time_base.payment_dates import (
    NotionalPeriod,
    PaymentDateTerms,
    roll_payment_dates,
)

_YEAR_MONTHS: Final = 12
_YEAR_DAYS: Final = 365.0
_DEFAULT_DAY_COUNT: Final = DayCount.ACT_360
_MONTH_DAYS: Final = 365.2425 / 12
_ACCRUAL_TOLERANCE: Final = 0.05
_WINDOW_TOLERANCE: Final = 0.5
_RULES_OF_WHOLE_PERIODS: Final = frozenset(
    {DayCount.THIRTY_360, DayCount.THIRTY_U_360, DayCount.ACT_ACT_AFB}
)
"""Conventions by which the parts of a period may count more, or less, than the whole."""
_YEAR_DAYS_OF: Final = {DayCount.ACT_360: 360.0, DayCount.ACT_365F: 365.0}


class TimeTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The time of a case, stated once.

    It is one of `payment_dates` (rolled from the terms of a term sheet), `dates` (the start, then
    each payment date) and `accruals` (year fractions, one a period); without any, periods of
    `months_per_period`, by default a year. `day_count` (by default ACT/360) counts the days
    between dates, BUS/252 by the `calendar`. `frequency`, payments a year, and
    `months_per_period` are compared with the dates or accruals beside them.
    """

    payment_dates: PaymentDateTerms | None = None
    dates: tuple[date, ...] | None = None
    accruals: tuple[float, ...] | None = None
    day_count: str | None = None
    frequency: int | None = None
    months_per_period: int | None = None
    calendar: BusinessCalendar | None = None


class PeriodSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Periods 1 to n with their accrual fractions, and with their dates where time is dated.

    `dates` are the start and each payment date, `accrual_dates` the dates between which interest
    accrues, `unadjusted_dates` those of the roll before any business-day rule. Years, months and
    days of a contract or a tax year count on the last, so that no holiday moves them. `later_dates`
    and `later_unadjusted_dates` are those beyond the last period. `months_per_period` is the length
    of a regular period, None where no whole number of months is regular. `convention`, `frequency`,
    `notional_periods`, `roll_day` and `calendar` count parts of dated periods.
    """

    accrual_fractions: tuple[float, ...]
    day_count: str
    months_per_period: int | None = None
    dates: tuple[date, ...] | None = None
    accrual_dates: tuple[date, ...] | None = None
    unadjusted_dates: tuple[date, ...] | None = None
    later_dates: tuple[date, ...] = ()
    later_unadjusted_dates: tuple[date, ...] = ()
    stubs: tuple[int, ...] = ()
    convention: DayCount | None = None
    frequency: int | None = None
    notional_periods: tuple[NotionalPeriod, ...] | None = None
    roll_day: int | None = None
    calendar: BusinessCalendar | None = None
    conventions: dict[str, str] = msgspec.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def periods(self) -> int:
        """The number of periods."""
        return len(self.accrual_fractions)

    @property
    def periods_per_year(self) -> float | None:
        """Periods a year where the periods are regular."""
        if self.months_per_period is not None and not self.stubs:
            return _YEAR_MONTHS / self.months_per_period
        first = self.accrual_fractions[0]
        is_level = all(
            abs(tau - first) <= _ACCRUAL_TOLERANCE * first for tau in self.accrual_fractions
        )
        return 1.0 / first if self.dates is None and is_level else None

    def period_months(self) -> tuple[float, ...]:
        """Return the months of each period: the regular number, or the exact length of a stub."""
        regular = self.months_per_period
        if self.unadjusted_dates is not None:
            lengths: Iterable[float] = (
                (end - start).days / _MONTH_DAYS for start, end in pairwise(self.unadjusted_dates)
            )
        else:
            lengths = (_YEAR_MONTHS * tau for tau in self.accrual_fractions)
        stubs = frozenset(self.stubs)
        return tuple(
            float(regular) if regular is not None and number not in stubs else months
            for number, months in enumerate(lengths, start=1)
        )

    def count_part(self, number: int, start: date, end: date) -> float:
        """Return the year fraction of a part of period `number`, from accrual day to accrual day.

        The parts of a period add up to it. Where a rule counts them apart from the whole, a part
        is what it adds to the time since the start of the period.

        Raises:
            InvalidInput: the periods have no dates.
        """
        if self.accrual_dates is None or self.convention is None:
            raise InvalidInput.at("/dates", "required", "parts of periods need dates")
        if (start, end) == (self.accrual_dates[number - 1], self.accrual_dates[number]):
            return self.accrual_fractions[number - 1]
        reference = (self.accrual_dates[number - 1], self.accrual_dates[number])
        if self.convention in _RULES_OF_WHOLE_PERIODS and start > reference[0]:
            before = self.count_part(number, reference[0], start)
            return self.count_part(number, reference[0], end) - before
        if self.convention is DayCount.ACT_ACT_ICMA and self.notional_periods is not None:
            reference = self.notional_periods[number - 1]
        period = AccrualPeriod(
            start=start,
            end=end,
            reference_start=reference[0],
            reference_end=reference[1],
            frequency=self.frequency,
            maturity=self.accrual_dates[-1],
        )
        length = count_days(self.convention, period, calendar=self.calendar, roll_day=self.roll_day)
        return length.year_fraction

    def payment_times_years(self) -> list[float]:
        """Return years from the start to each payment: Act/365 of dates, or sums of accruals."""
        if self.dates is not None:
            return [(day - self.dates[0]).days / _YEAR_DAYS for day in self.dates[1:]]
        return list(accumulate(self.accrual_fractions))

    def flow_times_years(self, flows: int) -> list[float]:
        """Return the years to `flows` flows from the start; beyond the last period regular ones."""
        months = list(self.period_months())
        regular = float(self.months_per_period or months[-1])
        months += [regular] * (flows - 1 - len(months))
        return [0.0, *(total / _YEAR_MONTHS for total in accumulate(months[: flows - 1]))]

    def take_periods(self, first: int, count: int) -> "PeriodSchedule":
        """Return `count` periods from index `first` as a schedule of their own, numbered from 1."""
        last = first + count
        ends = slice(first, last + 1)
        return msgspec.structs.replace(
            self,
            accrual_fractions=self.accrual_fractions[first:last],
            dates=self.dates and self.dates[ends],
            accrual_dates=self.accrual_dates and self.accrual_dates[ends],
            unadjusted_dates=self.unadjusted_dates and self.unadjusted_dates[ends],
            later_dates=(),
            later_unadjusted_dates=(),
            stubs=tuple(number - first for number in self.stubs if first < number <= last),
            notional_periods=self.notional_periods and self.notional_periods[first:last],
        )

    def all_dates(self) -> tuple[date, ...]:
        """Return every date that was given, the start and those beyond the last period too."""
        return (*(self.dates or ()), *self.later_dates)


def shares_ahead(months_by_period: Sequence[float], first: int, months: float) -> list[float]:
    """Return the share of each period from index `first` within the next `months`.

    The last share is the part of its period that the months reach into.
    """
    shares: list[float] = []
    for index in range(first, len(months_by_period)):
        if months <= 0.0:
            break
        length = months_by_period[index]
        shares.append(min(months / length, 1.0))
        months -= length
    return shares


def trailing_periods(months_by_period: Sequence[float], last: int, months: float) -> int | None:
    """Return how many periods up to index `last` make up `months`; None if they are too few.

    Half a month of tolerance keeps a year of periods whole that business days have moved.
    """
    total = 0.0
    for count, length in enumerate(reversed(months_by_period[: last + 1]), start=1):
        total += length
        if total >= months - _WINDOW_TOLERANCE:
            return count
    return None


def resolve_schedule(terms: TimeTerms, periods: int | None = None) -> PeriodSchedule:
    """Resolve the statements of time of a request into one schedule.

    `periods` is the number of periods that the rest of the request has; without it the time
    decides. Without any time a period is a year.

    Raises:
        InvalidInput: no or several kinds of time, statements that contradict each other or have
            no use, dates that do not increase, or too few of them.
    """
    _check_kinds(terms)
    if terms.payment_dates is not None:
        return _from_payment_dates(terms, terms.payment_dates, periods)
    if terms.dates is not None:
        return _from_dates(terms, terms.dates, periods)
    if terms.accruals is not None:
        return _from_accruals(terms, terms.accruals, periods)
    months = terms.months_per_period or _YEAR_MONTHS // (terms.frequency or 1)
    _check_months(terms, months)
    return PeriodSchedule(
        accrual_fractions=(months / _YEAR_MONTHS,) * (periods or 1),
        day_count="none: the rate is per period of one year"
        if months == _YEAR_MONTHS
        else f"none: periods of {months} months at an annual rate",
        months_per_period=months,
    )


def _check_kinds(terms: TimeTerms) -> None:
    """Reject several kinds of time, and statements that serve a kind that is not there."""
    checker = FieldChecker()
    kinds = {
        "payment_dates": terms.payment_dates,
        "dates": terms.dates,
        "accruals": terms.accruals,
    }
    kinds_in_use = [name for name, value in kinds.items() if value is not None]
    for name in kinds_in_use[1:]:
        checker.reject(f"/{name}", "ambiguous", f"{kinds_in_use[0]} is set too; give one of them")
    if terms.payment_dates is None and terms.dates is None:
        serves_dates = "counts days between dates; give dates or payment_dates, or remove it"
        if terms.day_count is not None:
            checker.reject("/day_count", "not_applicable", serves_dates)
        if terms.calendar is not None:
            checker.reject("/calendar", "not_applicable", serves_dates)
    if terms.frequency is not None and not (
        terms.frequency >= 1 and _YEAR_MONTHS % terms.frequency == 0
    ):
        checker.reject("/frequency", "out_of_range", "must divide 12")
    if terms.months_per_period is not None:
        checker.require_number("/months_per_period", terms.months_per_period, 1, _YEAR_MONTHS)
    checker.raise_errors()


def _check_months(terms: TimeTerms, months: int | None, source: str = "periods") -> None:
    """Compare the other statements of the length of a period with that of a regular one."""
    checker = FieldChecker()
    length = "have no length in whole months" if months is None else f"are of {months} months"
    if terms.frequency is not None and months != _YEAR_MONTHS // terms.frequency:
        detail = f"is {terms.frequency} a year, but the {source} {length}; correct or remove it"
        checker.reject("/frequency", "contradiction", detail)
    if terms.months_per_period is not None and terms.months_per_period != months:
        detail = f"is {terms.months_per_period}, but the {source} {length}; correct or remove it"
        checker.reject("/months_per_period", "contradiction", detail)
    checker.raise_errors()


def _from_payment_dates(
    terms: TimeTerms, date_terms: PaymentDateTerms, periods: int | None
) -> PeriodSchedule:
    convention = _parse_day_count(terms)
    _check_calendar_use(terms, date_terms, convention)
    try:
        date_roll = roll_payment_dates(date_terms)
    except InvalidInput as error:
        raise InvalidInput(
            [
                msgspec.structs.replace(entry, pointer=f"/payment_dates{entry.pointer}")
                for entry in error.errors
            ]
        ) from error
    _check_months(terms, date_terms.months, "payment dates")
    count = len(date_roll.notional_periods) if periods is None else periods
    if count > len(date_roll.notional_periods):
        detail = f"gives {len(date_roll.notional_periods)} periods, but there are {count}"
        raise InvalidInput.at("/payment_dates/end", "wrong_length", detail)
    frequency = _frequency_of(date_terms.months, convention)
    fractions = count_fractions(
        convention,
        date_roll.accrual_dates[: count + 1],
        frequency=frequency,
        # Under ACT/365L the leap days of the period itself decide, in a stub too.
        notional_periods=date_roll.notional_periods[:count]
        if convention is DayCount.ACT_ACT_ICMA
        else None,
        roll_day=date_roll.roll_day,
        calendar=date_terms.calendar,
    )
    return PeriodSchedule(
        accrual_fractions=fractions,
        convention=convention,
        frequency=frequency,
        notional_periods=date_roll.notional_periods[:count],
        roll_day=date_roll.roll_day,
        calendar=date_terms.calendar,
        day_count=convention.value,
        months_per_period=date_terms.months,
        dates=date_roll.dates[: count + 1],
        accrual_dates=date_roll.accrual_dates[: count + 1],
        unadjusted_dates=date_roll.unadjusted_dates[: count + 1],
        later_dates=date_roll.dates[count + 1 :],
        later_unadjusted_dates=date_roll.unadjusted_dates[count + 1 :],
        stubs=tuple(stub for stub in date_roll.stubs if stub <= count),
        conventions=date_roll.conventions,
        warnings=date_roll.warnings,
    )


def _check_calendar_use(
    terms: TimeTerms, date_terms: PaymentDateTerms, convention: DayCount
) -> None:
    """Reject a calendar without a use, and a use without a calendar."""
    checker = FieldChecker()
    if terms.calendar is not None:
        detail = "payment_dates has its calendar"
        checker.reject("/calendar", "ambiguous", detail)
    is_moving = date_terms.rule is not BusinessDayRule.UNADJUSTED
    has_calendar = date_terms.calendar.has_closing_days
    if has_calendar and not (
        is_moving or date_terms.end_of_month or convention is DayCount.BUS_252
    ):
        detail = "serves a business-day rule; give a rule too, or remove it"
        checker.reject("/payment_dates/calendar", "not_applicable", detail)
    if not has_calendar and is_moving:
        detail = "moves no date without a calendar; give one, or remove the rule"
        checker.reject("/payment_dates/calendar", "required", detail)
    if not has_calendar and convention is DayCount.BUS_252:
        detail = "BUS/252 counts the business days of a calendar"
        checker.reject("/payment_dates/calendar", "required", detail)
    checker.raise_errors()


def _from_dates(terms: TimeTerms, dates: tuple[date, ...], periods: int | None) -> PeriodSchedule:
    convention = _parse_day_count(terms)
    checker = FieldChecker()
    low = 2 if periods is None else periods + 1
    if checker.require_size("/dates", len(dates), MAX_PERIODS + 1, low):
        checker.require_increasing("/dates", dates)
    _check_given_calendar(checker, terms, convention)
    checker.raise_errors()
    period_dates = dates if periods is None else dates[: periods + 1]
    months = infer_months_per_period(dates)
    frequency, notional_periods, roll_day = None, None, None
    if convention.needs_frequency:
        frequency = _frequency_on_dates(terms, months, len(dates) - 1)
        months = _YEAR_MONTHS // frequency
    else:
        _check_months(terms, months, "dates")
    if convention is DayCount.ACT_ACT_ICMA and frequency is not None:
        fractions, notional_periods, stubs, roll_day = count_icma_periods(period_dates, frequency)
    else:
        stubs = list_odd_periods(period_dates, months)
        fractions = count_fractions(
            convention, period_dates, frequency=frequency, calendar=terms.calendar
        )
    return PeriodSchedule(
        accrual_fractions=fractions,
        convention=convention,
        frequency=frequency,
        notional_periods=notional_periods,
        roll_day=roll_day,
        calendar=terms.calendar,
        day_count=convention.value,
        months_per_period=months,
        dates=period_dates,
        accrual_dates=period_dates,
        unadjusted_dates=period_dates,
        later_dates=dates[len(period_dates) :],
        later_unadjusted_dates=dates[len(period_dates) :],
        stubs=stubs,
    )


def _check_given_calendar(checker: FieldChecker, terms: TimeTerms, convention: DayCount) -> None:
    """Accept a calendar beside dates for BUS/252 alone, which needs it."""
    if convention is DayCount.BUS_252:
        if terms.calendar is None:
            checker.reject("/calendar", "required", "BUS/252 counts its business days")
        else:
            check_calendar(checker, "/calendar", terms.calendar)
    elif terms.calendar is not None:
        detail = "serves BUS/252 here: the dates are as they are"
        checker.reject("/calendar", "not_applicable", detail)


def _frequency_on_dates(terms: TimeTerms, months: int | None, periods: int) -> int:
    """Return the frequency that is given or that the dates have; both must agree.

    A single period may be several notional periods long.
    """
    if terms.frequency is not None:
        stated_months = _YEAR_MONTHS // terms.frequency
        is_multiple = periods == 1 and months is not None and months % stated_months == 0
        if months is not None and not is_multiple:
            _check_months(terms, months, "dates")
        elif terms.months_per_period is not None:
            _check_months(terms, stated_months, "notional periods")
        return terms.frequency
    _check_months(terms, months, "dates")
    if months is None or _YEAR_MONTHS % months:
        detail = "the day count needs it, and the dates have no regular period that divides a year"
        raise InvalidInput.at("/frequency", "required", detail)
    return _YEAR_MONTHS // months


def _from_accruals(
    terms: TimeTerms, accruals: tuple[float, ...], periods: int | None
) -> PeriodSchedule:
    checker = FieldChecker()
    is_long_enough = (
        checker.require_size("/accruals", len(accruals), MAX_PERIODS)
        if periods is None
        else checker.require_length("/accruals", accruals, periods)
    )
    if is_long_enough:
        checker.require_each_positive("/accruals", accruals, MAX_RATE)
    checker.raise_errors()
    months = _infer_months_of_accruals(accruals)
    _check_months(terms, months, "accruals")
    return PeriodSchedule(
        accrual_fractions=accruals,
        day_count="as given",
        months_per_period=months,
        stubs=() if months is None else _list_odd_accruals(accruals, months),
    )


def _infer_months_of_accruals(accruals: tuple[float, ...]) -> int | None:
    """Return the whole number of months that most accrual fractions are near."""
    middle = sorted(accruals)[len(accruals) // 2]
    months = round(_YEAR_MONTHS * middle)
    if months < 1:
        return None
    odd = len(_list_odd_accruals(accruals, months))
    return months if 2 * odd < len(accruals) else None


def _list_odd_accruals(accruals: tuple[float, ...], months: int) -> tuple[int, ...]:
    """Return the numbers of the fractions that no day count gives to a number of months."""
    tolerance = _ACCRUAL_TOLERANCE * months
    low, high = (months - tolerance) / _YEAR_MONTHS, (months + tolerance) / _YEAR_MONTHS
    if low <= min(accruals) and max(accruals) <= high:
        return ()
    return tuple(n for n, tau in enumerate(accruals, start=1) if not low <= tau <= high)


def _parse_day_count(terms: TimeTerms) -> DayCount:
    return _DEFAULT_DAY_COUNT if terms.day_count is None else parse_day_count(terms.day_count)


def _frequency_of(months: int | None, convention: DayCount) -> int | None:
    if not convention.needs_frequency:
        return None
    if months is None or _YEAR_MONTHS % months:
        detail = f"{convention.value} needs an interval of months that divides a year"
        raise InvalidInput.at("/payment_dates/interval_months", "required", detail)
    return _YEAR_MONTHS // months


def count_fractions(
    convention: DayCount,
    dates: Sequence[date],
    *,
    frequency: int | None = None,
    notional_periods: Sequence[NotionalPeriod] | None = None,
    roll_day: int | None = None,
    calendar: BusinessCalendar | None = None,
) -> tuple[float, ...]:
    """Return the year fraction of each period; the last date is the maturity for 30E/360 ISDA."""
    year_days = _YEAR_DAYS_OF.get(convention)
    if year_days is not None:
        ordinals = [day.toordinal() for day in dates]
        return tuple((end - start) / year_days for start, end in pairwise(ordinals))
    references: Sequence[tuple[date | None, date | None]] = notional_periods or ((None, None),) * (
        len(dates) - 1
    )
    return tuple(
        count_days(
            convention,
            AccrualPeriod(
                start=start,
                end=end,
                reference_start=reference_start,
                reference_end=reference_end,
                frequency=frequency,
                maturity=dates[-1],
            ),
            calendar=calendar,
            roll_day=roll_day,
        ).year_fraction
        for (start, end), (reference_start, reference_end) in zip(
            pairwise(dates), references, strict=True
        )
    )
