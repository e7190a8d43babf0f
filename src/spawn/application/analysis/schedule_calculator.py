"""The schedule calculator: the payment dates of a term sheet, and the loan repaid on them."""

from datetime import date
from itertools import pairwise
from typing import Final

import msgspec

from spawn.application.analysis.error_pointers import renamed
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.day_count import AccrualPeriod, DayCount, count_days, parse_day_count
from spawn.domain.finance.limits import MAX_PERIODS, Checker
from spawn.domain.finance.loan_schedule import (
    Grace,
    LoanRow,
    LoanTerms,
    Profile,
    loan_schedule,
    settle,
)
from spawn.domain.finance.payment_dates import (
    PaymentSchedule,
    ScheduleTerms,
    payment_schedule,
    period_days,
)
from spawn.domain.money import currency

_MONTHS: Final = 12


class ScheduleCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payment dates, and with a `principal` the loan that is repaid on them.

    Time is one of `payment_dates` (rolled from a term sheet's words), `dates` (the start, then
    each payment date) and `accruals` (year fractions). A `currency_code` adds the schedule in
    whole minor units. The other fields are the loan's.
    """

    payment_dates: ScheduleTerms | None = None
    dates: tuple[date, ...] | None = None
    accruals: tuple[float, ...] | None = None
    day_count: str = "ACT/360"
    frequency: int | None = None
    principal: float | None = None
    annual_rates: float | tuple[float, ...] | None = None
    profile: Profile = "annuity"
    balloon: float = 0.0
    balloon_share: float = 0.0
    grace_periods: int = 0
    grace: Grace = "interest_only"
    custom_shares: tuple[float, ...] | None = None
    cfads: tuple[float, ...] | None = None
    currency_code: str | None = None


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period, and what the loan does in it; without a loan its columns are empty."""

    period: int
    start: date | None
    end: date | None
    unadjusted_end: date | None
    days: int | None
    accrual_fraction: float
    annual_rate: float | None = None
    opening_balance: float | None = None
    interest: float | None = None
    capitalised: float | None = None
    principal: float | None = None
    payment: float | None = None
    closing_balance: float | None = None


class MinorUnitRow(msgspec.Struct, frozen=True, kw_only=True):
    """A period in whole minor units, as decimal strings at the scale of the currency."""

    period: int
    opening_balance: str
    interest: str
    capitalised: str
    principal: str
    closing_balance: str


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The periods; sums and the level payment exist for a loan, settled rows for a currency."""

    dates: tuple[date, ...]
    stubs: tuple[int, ...]
    rows: tuple[ScheduleRow, ...]
    level_payment: float | None
    total_interest: float | None
    total_principal: float | None
    total_capitalised: float | None
    settled_rows: tuple[MinorUnitRow, ...] | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def calculate_schedule(case: ScheduleCase) -> Schedule:
    """The payment dates of a term sheet, and the loan on them.

    Raises:
        InvalidInput: no or several kinds of time, dates that do not increase, loan terms that do
            not fit, a currency without a minor unit.
    """
    check = Checker()
    given = [case.payment_dates, case.dates, case.accruals]
    if sum(one is not None for one in given) != 1:
        detail = "give one of payment_dates, dates and accruals"
        check.refuse("/payment_dates", "ambiguous", detail)
    _check_loan_fields(check, case)
    check.done()
    rolled: PaymentSchedule | None = None
    if case.payment_dates is not None:
        with renamed(
            {f"/{name}": f"/payment_dates/{name}" for name in ("start", "end", "calendar")}
        ):
            rolled = payment_schedule(case.payment_dates)
    dates = rolled.dates if rolled is not None else case.dates
    frequency = case.frequency
    if frequency is None and case.payment_dates is not None:
        frequency = _MONTHS // case.payment_dates.frequency.months
    if case.principal is None or case.annual_rates is None:
        return _without_loan(case, dates or (), frequency, rolled)
    return _with_loan(case, dates, frequency, rolled)


def _check_loan_fields(check: Checker, case: ScheduleCase) -> None:
    if case.principal is not None and case.annual_rates is None:
        check.refuse("/annual_rates", "required", "a loan needs its rate")
    if case.principal is None:
        if case.annual_rates is not None:
            check.refuse("/principal", "required", "a loan needs its principal")
        if case.accruals is not None:
            check.refuse("/principal", "required", "accruals alone have no dates to list")
        for name in ("custom_shares", "cfads", "currency_code"):
            if getattr(case, name) is not None:
                check.refuse(f"/{name}", "not_applicable", "serves a loan, which has a principal")


def _without_loan(
    case: ScheduleCase,
    dates: tuple[date, ...],
    frequency: int | None,
    rolled: PaymentSchedule | None,
) -> Schedule:
    rule = parse_day_count(case.day_count)
    check = Checker()
    if check.size("/dates", len(dates), MAX_PERIODS + 1, 2):
        check.increasing("/dates", dates)
    if rule is DayCount.ACT_ACT_ICMA and frequency is None:
        check.refuse("/frequency", "required", "ACT/ACT ICMA needs it")
    check.done()
    days = period_days(dates)
    rows = []
    for index, (start, end) in enumerate(pairwise(dates)):
        period = AccrualPeriod(start=start, end=end, frequency=frequency, maturity=dates[-1])
        rows.append(
            ScheduleRow(
                period=index + 1,
                start=start,
                end=end,
                unadjusted_end=rolled.unadjusted[index + 1] if rolled else end,
                days=days[index],
                accrual_fraction=count_days(rule, period).year_fraction,
            )
        )
    return Schedule(
        dates=dates,
        stubs=rolled.stubs if rolled else (),
        rows=tuple(rows),
        level_payment=None,
        total_interest=None,
        total_principal=None,
        total_capitalised=None,
        settled_rows=None,
        conventions=(rolled.conventions if rolled else {}) | {"day_count": rule.value},
        warnings=_date_warnings(rolled, rule.value),
    )


def _with_loan(
    case: ScheduleCase,
    dates: tuple[date, ...] | None,
    frequency: int | None,
    rolled: PaymentSchedule | None,
) -> Schedule:
    terms = LoanTerms(
        principal=case.principal or 0.0,
        annual_rates=case.annual_rates if case.annual_rates is not None else 0.0,
        profile=case.profile,
        dates=dates,
        day_count=case.day_count,
        frequency=frequency,
        accruals=case.accruals,
        balloon=case.balloon,
        balloon_share=case.balloon_share,
        grace_periods=case.grace_periods,
        grace=case.grace,
        custom_shares=case.custom_shares,
        cfads=case.cfads,
    )
    loan = loan_schedule(terms)
    days = period_days(dates) if dates else ()
    rule = loan.conventions["day_count"]
    return Schedule(
        dates=dates or (),
        stubs=rolled.stubs if rolled else (),
        rows=tuple(_loan_row(row, dates, days, rolled) for row in loan.rows),
        level_payment=loan.level_payment,
        total_interest=loan.total_interest,
        total_principal=loan.total_principal,
        total_capitalised=loan.total_capitalised,
        settled_rows=_in_minor_units(case, terms),
        conventions=(rolled.conventions if rolled else {}) | loan.conventions,
        warnings=_date_warnings(rolled, rule) + loan.warnings,
    )


def _loan_row(
    row: LoanRow,
    dates: tuple[date, ...] | None,
    days: tuple[int, ...],
    rolled: PaymentSchedule | None,
) -> ScheduleRow:
    fields = msgspec.structs.asdict(row)
    end = fields.pop("date")
    return ScheduleRow(
        start=dates[row.period - 1] if dates else None,
        end=end,
        unadjusted_end=rolled.unadjusted[row.period] if rolled else end,
        days=days[row.period - 1] if days else None,
        **fields,
    )


def _in_minor_units(case: ScheduleCase, terms: LoanTerms) -> tuple[MinorUnitRow, ...] | None:
    if case.currency_code is None:
        return None
    unit = currency(case.currency_code, pointer="/currency_code")
    if unit.exponent is None:
        detail = f"{unit.code} has no minor unit to settle in"
        raise InvalidInput.at("/currency_code", "no_minor_unit", detail)
    names = MinorUnitRow.__struct_fields__[1:]
    return tuple(
        MinorUnitRow(period=row.period, **{name: f"{getattr(row, name):f}" for name in names})
        for row in settle(loan_schedule(terms), unit.exponent)
    )


def _date_warnings(rolled: PaymentSchedule | None, rule: str) -> tuple[str, ...]:
    if rolled is None:
        return ()
    if rolled.stubs and rule == DayCount.ACT_ACT_ICMA.value:
        odd = f"period {rolled.stubs[0]} is a stub, which ACT/ACT ICMA counts as a whole period"
        return (*rolled.warnings, f"{odd}; the day-count calculator takes its reference period")
    return rolled.warnings
