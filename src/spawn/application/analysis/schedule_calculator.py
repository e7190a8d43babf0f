"""The schedule calculator: payment dates of a term sheet and the loan repaid on them."""

from datetime import date
from itertools import pairwise
from typing import Final

import msgspec

from spawn.application.analysis.error_pointers import rewrite_pointers
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.day_count import AccrualPeriod, DayCount, count_days, parse_day_count
from spawn.domain.finance.limits import MAX_PERIODS, FieldChecker
from spawn.domain.finance.loan_schedule import (
    GraceInterest,
    LoanRow,
    LoanTerms,
    RepaymentProfile,
    build_loan_schedule,
    round_to_minor_units,
)
from spawn.domain.finance.payment_dates import (
    PaymentDateTerms,
    PaymentSchedule,
    build_payment_schedule,
    days_per_period,
)
from spawn.domain.money import get_currency

_MONTHS: Final = 12


class ScheduleCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payment dates, and with a `principal` the loan that is repaid on them.

    Time is one of `payment_dates` (rolled from the terms of a term sheet), `dates` (the start, then
    each payment date) and `accruals` (year fractions). A `currency_code` adds the schedule in
    whole minor units. The other fields are the loan's.
    """

    payment_dates: PaymentDateTerms | None = None
    dates: tuple[date, ...] | None = None
    accruals: tuple[float, ...] | None = None
    day_count: str = "ACT/360"
    frequency: int | None = None
    principal: float | None = None
    annual_rates: float | tuple[float, ...] | None = None
    profile: RepaymentProfile = "annuity"
    balloon: float = 0.0
    balloon_share: float = 0.0
    grace_periods: int = 0
    grace: GraceInterest = "interest_only"
    custom_shares: tuple[float, ...] | None = None
    cfads: tuple[float, ...] | None = None
    currency_code: str | None = None


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period and its loan figures, which are null without a loan."""

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


class ScheduleResult(msgspec.Struct, frozen=True, kw_only=True):
    """The periods; a loan adds sums and a level payment, a currency adds rows in minor units."""

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


def calculate_schedule(case: ScheduleCase) -> ScheduleResult:
    """Calculate the payment dates of a term sheet, and the loan on them.

    Raises:
        InvalidInput: no or several kinds of time, dates that do not increase, loan terms
            outside their limits, a currency without a minor unit.
    """
    checker = FieldChecker()
    timings = [case.payment_dates, case.dates, case.accruals]
    if sum(timing is not None for timing in timings) != 1:
        detail = "give exactly one of payment_dates, dates and accruals"
        checker.reject("/payment_dates", "ambiguous", detail)
    _check_loan_fields(checker, case)
    checker.raise_errors()
    payment_schedule: PaymentSchedule | None = None
    if case.payment_dates is not None:
        with rewrite_pointers(
            {f"/{name}": f"/payment_dates/{name}" for name in ("start", "end", "calendar")}
        ):
            payment_schedule = build_payment_schedule(case.payment_dates)
    dates = payment_schedule.dates if payment_schedule is not None else case.dates
    frequency = case.frequency
    if frequency is None and case.payment_dates is not None:
        frequency = _MONTHS // case.payment_dates.frequency.months
    if case.principal is None or case.annual_rates is None:
        return _build_without_loan(case, dates or (), frequency, payment_schedule)
    return _build_with_loan(case, dates, frequency, payment_schedule)


def _check_loan_fields(checker: FieldChecker, case: ScheduleCase) -> None:
    if case.principal is not None and case.annual_rates is None:
        checker.reject("/annual_rates", "required", "a loan needs its rate")
    if case.principal is None:
        if case.annual_rates is not None:
            checker.reject("/principal", "required", "a loan needs its principal")
        if case.accruals is not None:
            checker.reject(
                "/principal", "required", "accruals alone have no dates to list; give a loan"
            )
        for name in ("custom_shares", "cfads", "currency_code"):
            if getattr(case, name) is not None:
                checker.reject(f"/{name}", "not_applicable", "serves a loan; give a principal too")


def _build_without_loan(
    case: ScheduleCase,
    dates: tuple[date, ...],
    frequency: int | None,
    payment_schedule: PaymentSchedule | None,
) -> ScheduleResult:
    convention = parse_day_count(case.day_count)
    checker = FieldChecker()
    if checker.require_size("/dates", len(dates), MAX_PERIODS + 1, 2):
        checker.require_increasing("/dates", dates)
    if convention is DayCount.ACT_ACT_ICMA and frequency is None:
        checker.reject("/frequency", "required", "ACT/ACT ICMA needs it")
    checker.raise_errors()
    days = days_per_period(dates)
    rows = []
    for index, (start, end) in enumerate(pairwise(dates)):
        period = AccrualPeriod(start=start, end=end, frequency=frequency, maturity=dates[-1])
        rows.append(
            ScheduleRow(
                period=index + 1,
                start=start,
                end=end,
                unadjusted_end=payment_schedule.unadjusted_dates[index + 1]
                if payment_schedule
                else end,
                days=days[index],
                accrual_fraction=count_days(convention, period).year_fraction,
            )
        )
    return ScheduleResult(
        dates=dates,
        stubs=payment_schedule.stubs if payment_schedule else (),
        rows=tuple(rows),
        level_payment=None,
        total_interest=None,
        total_principal=None,
        total_capitalised=None,
        settled_rows=None,
        conventions=(payment_schedule.conventions if payment_schedule else {})
        | {"day_count": convention.value},
        warnings=_date_warnings(payment_schedule, convention.value),
    )


def _build_with_loan(
    case: ScheduleCase,
    dates: tuple[date, ...] | None,
    frequency: int | None,
    payment_schedule: PaymentSchedule | None,
) -> ScheduleResult:
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
    loan = build_loan_schedule(terms)
    days = days_per_period(dates) if dates else ()
    rule = loan.conventions["day_count"]
    return ScheduleResult(
        dates=dates or (),
        stubs=payment_schedule.stubs if payment_schedule else (),
        rows=tuple(_build_row(row, dates, days, payment_schedule) for row in loan.rows),
        level_payment=loan.level_payment,
        total_interest=loan.total_interest,
        total_principal=loan.total_principal,
        total_capitalised=loan.total_capitalised,
        settled_rows=_build_minor_unit_rows(case, terms),
        conventions=(payment_schedule.conventions if payment_schedule else {}) | loan.conventions,
        warnings=_date_warnings(payment_schedule, rule) + loan.warnings,
    )


def _build_row(
    row: LoanRow,
    dates: tuple[date, ...] | None,
    days: tuple[int, ...],
    payment_schedule: PaymentSchedule | None,
) -> ScheduleRow:
    fields = msgspec.structs.asdict(row)
    end = fields.pop("date")
    return ScheduleRow(
        start=dates[row.period - 1] if dates else None,
        end=end,
        unadjusted_end=payment_schedule.unadjusted_dates[row.period] if payment_schedule else end,
        days=days[row.period - 1] if days else None,
        **fields,
    )


def _build_minor_unit_rows(case: ScheduleCase, terms: LoanTerms) -> tuple[MinorUnitRow, ...] | None:
    if case.currency_code is None:
        return None
    unit = get_currency(case.currency_code, pointer="/currency_code")
    if unit.exponent is None:
        detail = f"{unit.code} has no minor unit; omit it or give another currency"
        raise InvalidInput.at("/currency_code", "no_minor_unit", detail)
    names = MinorUnitRow.__struct_fields__[1:]
    return tuple(
        MinorUnitRow(period=row.period, **{name: f"{getattr(row, name):f}" for name in names})
        for row in round_to_minor_units(build_loan_schedule(terms), unit.exponent)
    )


def _date_warnings(payment_schedule: PaymentSchedule | None, rule: str) -> tuple[str, ...]:
    if payment_schedule is None:
        return ()
    if payment_schedule.stubs and rule == DayCount.ACT_ACT_ICMA.value:
        stub = payment_schedule.stubs[0]
        stub_warning = f"period {stub} is a stub, which ACT/ACT ICMA counts as a whole period"
        return (
            *payment_schedule.warnings,
            f"{stub_warning}; the day-count calculator takes its reference period",
        )
    return payment_schedule.warnings
