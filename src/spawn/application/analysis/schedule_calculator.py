"""The schedule calculator: payment dates of a term sheet and the loan repaid on them."""

from datetime import date
from typing import Any, Final

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import FieldChecker
from spawn.domain.finance.loans.loan_results import LoanEvent, LoanRow, LoanSchedule
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_settlement import (
    Settlement,
    has_one_level_payment,
    round_to_minor_units,
)
from spawn.domain.finance.loans.loan_terms import (
    NO_TIME,
    LoanOptions,
    LoanTerms,
    RepaymentProfile,
    resolve_loan_time,
)
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule, TimeTerms
from spawn.domain.money import get_currency


class ScheduleCase(LoanOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payment dates, and with a `principal` the loan that is repaid on them.

    Time is one of `payment_dates`, `dates` and `accruals`. A `currency_code` adds the schedule in
    whole minor units: an annuity is settled `level` (one payment, interest on the printed balance),
    any other loan `cumulative` (rounded balances), unless `settlement` says which. The other
    fields are the loan's.
    """

    principal: float | tuple[float, ...] | None = None
    annual_rates: float | tuple[float, ...] | None = None
    profile: RepaymentProfile | None = None
    currency_code: str | None = None
    settlement: Settlement | None = None


_LOAN_FIELDS: Final = tuple(
    name for name in LoanOptions.__struct_fields__ if name not in TimeTerms.__struct_fields__
)
_DEFAULTS: Final = ScheduleCase()


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period and its loan figures, which are null without a loan.

    `payment` = interest + accrued_interest - capitalised + principal + premium; `accrued_interest`
    is that before the start, `premium` the price of a termination above the balance,
    `early_repayment` the part of the payment that prepayments and a termination repay.
    """

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
    drawn: float | None = None
    accrued_interest: float | None = None
    premium: float | None = None
    early_repayment: float | None = None


class MinorUnitRow(msgspec.Struct, frozen=True, kw_only=True):
    """A period in whole minor units, as decimal strings at the scale of the currency."""

    period: int
    opening_balance: str
    interest: str
    capitalised: str
    principal: str
    closing_balance: str
    payment: str
    drawn: str
    accrued_interest: str
    premium: str


class ScheduleResult(msgspec.Struct, frozen=True, kw_only=True):
    """The periods; a loan adds sums, a level payment and events, a currency rows in minor units."""

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
    events: tuple[LoanEvent, ...] | None = None


def calculate_schedule(case: ScheduleCase) -> ScheduleResult:
    """Calculate the payment dates of a term sheet, and the loan on them.

    Raises:
        InvalidInput: no or several kinds of time, dates that do not increase, loan terms
            outside their limits, a currency without a minor unit.
    """
    _check_loan_fields(case)
    if case.principal is None:
        return _build_without_loan(resolve_loan_time(case))
    terms = _to_loan_terms(case, case.principal)
    loan = build_loan_schedule(terms)
    return _build_with_loan(case, loan)


def _check_loan_fields(case: ScheduleCase) -> None:
    checker = FieldChecker()
    if case.principal is not None and case.annual_rates is None:
        checker.reject("/annual_rates", "required", "a loan needs its rate")
    if case.payment_dates is None and case.dates is None and case.accruals is None:
        # With the other missing fields, so that one request names all of them.
        checker.reject("/payment_dates", "ambiguous", NO_TIME)
    if case.principal is None:
        if case.annual_rates is not None:
            checker.reject("/principal", "required", "a loan needs its principal")
        if case.accruals is not None:
            checker.reject(
                "/principal", "required", "accruals alone have no dates to list; give a loan"
            )
        for name in (*_LOAN_FIELDS, "profile", "currency_code", "settlement"):
            if getattr(case, name) != getattr(_DEFAULTS, name):
                checker.reject(f"/{name}", "not_applicable", "serves a loan; give a principal too")
    if case.settlement is not None and case.principal is not None and case.currency_code is None:
        checker.reject("/settlement", "not_applicable", "serves a currency; give its code too")
    checker.raise_errors()


def _to_loan_terms(case: ScheduleCase, principal: float | tuple[float, ...]) -> LoanTerms:
    """Return the loan of a case, by default an annuity."""
    return LoanTerms(
        principal=principal,
        annual_rates=case.annual_rates if case.annual_rates is not None else 0.0,
        profile=case.profile or "annuity",
        **{name: getattr(case, name) for name in LoanOptions.__struct_fields__},
    )


def _build_without_loan(schedule: PeriodSchedule) -> ScheduleResult:
    dates = schedule.dates or ()
    return ScheduleResult(
        dates=dates,
        stubs=schedule.stubs,
        rows=tuple(
            ScheduleRow(**_period_fields(schedule, number), accrual_fraction=tau)
            for number, tau in enumerate(schedule.accrual_fractions, start=1)
        ),
        level_payment=None,
        total_interest=None,
        total_principal=None,
        total_capitalised=None,
        settled_rows=None,
        conventions=schedule.conventions | {"day_count": schedule.day_count},
        warnings=schedule.warnings,
    )


def _build_with_loan(case: ScheduleCase, loan: LoanSchedule) -> ScheduleResult:
    schedule = loan.schedule
    return ScheduleResult(
        dates=schedule.dates or (),
        stubs=schedule.stubs if schedule.dates else (),
        rows=tuple(_build_row(row, schedule) for row in loan.rows),
        level_payment=loan.level_payment,
        total_interest=loan.total_interest,
        total_principal=loan.total_principal,
        total_capitalised=loan.total_capitalised,
        settled_rows=_build_minor_unit_rows(case, loan),
        conventions=schedule.conventions | loan.conventions | _settlement_convention(case, loan),
        warnings=schedule.warnings + loan.warnings,
        events=loan.events or None,
    )


def _build_row(row: LoanRow, schedule: PeriodSchedule) -> ScheduleRow:
    fields = msgspec.structs.asdict(row)
    del fields["date"], fields["period"]
    return ScheduleRow(**_period_fields(schedule, row.period), **fields)


def _period_fields(schedule: PeriodSchedule, number: int) -> dict[str, Any]:
    """Return the dates of a period, null where time is not dated."""
    if schedule.dates is None or schedule.unadjusted_dates is None:
        nothing = dict.fromkeys(("start", "end", "unadjusted_end", "days"))
        return {"period": number, **nothing}
    start, end = schedule.dates[number - 1], schedule.dates[number]
    return {
        "period": number,
        "start": start,
        "end": end,
        "unadjusted_end": schedule.unadjusted_dates[number],
        "days": (end - start).days,
    }


def _build_minor_unit_rows(
    case: ScheduleCase, loan: LoanSchedule
) -> tuple[MinorUnitRow, ...] | None:
    if case.currency_code is None:
        return None
    unit = get_currency(case.currency_code, pointer="/currency_code")
    if unit.exponent is None:
        detail = f"{unit.code} has no minor unit; omit it or give another currency"
        raise InvalidInput.at("/currency_code", "no_minor_unit", detail)
    names = MinorUnitRow.__struct_fields__[1:]
    return tuple(
        MinorUnitRow(period=row.period, **{name: f"{getattr(row, name):f}" for name in names})
        for row in round_to_minor_units(loan, unit.exponent, _choose_settlement(case, loan))
    )


def _choose_settlement(case: ScheduleCase, loan: LoanSchedule) -> Settlement:
    """Return the settlement that is asked for, else the one by which such loans are printed."""
    return case.settlement or ("level" if has_one_level_payment(loan) else "cumulative")


def _settlement_convention(case: ScheduleCase, loan: LoanSchedule) -> dict[str, str]:
    if case.currency_code is None:
        return {}
    return {"settlement": _choose_settlement(case, loan)}
