"""Loan schedules: annuity, straight line, bullet, balloon, custom and sculpted, with grace.

Amounts are float64 through the calculation; `round_to_minor_units` quantises a schedule once, in
Decimal, and leaves the remainder in the last payment so that the balance closes exactly. Source:
the annuity formula over uneven periods; profiles as named in facility agreements.
"""

from collections.abc import Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import pairwise
from typing import Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_RATE,
    ROUNDING_NOISE,
    FieldChecker,
    check_per_period,
    expand_per_period,
    reject_overflow,
)
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
)

RepaymentProfile = Literal["annuity", "straight_line", "bullet", "balloon", "custom", "sculpted"]
GraceInterest = Literal["interest_only", "capitalised"]
_MAX_MINOR_UNITS = 6
_DECIMAL_DIGITS = 60
_LOWEST_RATE = -0.9


class LoanTerms(TimeTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A loan and its repayment, on the time that `TimeTerms` states.

    `annual_rates` is one nominal rate or one a period; interest is rate times accrual fraction
    times opening balance. `balloon` (amount) or `balloon_share` falls due on the last date, beside
    its regular payment; profile balloon is the straight line to it. `grace_periods` at the start
    pay no principal; their interest is paid or capitalised. `custom_shares` (profile custom) are
    shares of the principal, one a period, that sum to 1. `cfads` (profile sculpted) shapes debt
    service, so that the DSCR is the same in each period.
    """

    principal: float
    annual_rates: float | tuple[float, ...]
    profile: RepaymentProfile
    balloon: float = 0.0
    balloon_share: float = 0.0
    grace_periods: int = 0
    grace: GraceInterest | None = None
    custom_shares: tuple[float, ...] | None = None
    cfads: tuple[float, ...] | None = None


class LoanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: closing = opening + capitalised - principal; payment = interest paid + principal.

    `interest` is the accrued amount; in a capitalising grace it is added to the balance, not paid.
    """

    period: int
    date: date | None
    accrual_fraction: float
    annual_rate: float
    opening_balance: float
    interest: float
    capitalised: float
    principal: float
    payment: float
    closing_balance: float


class LoanSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The rows on their schedule, and their sums; only an annuity has a `level_payment`."""

    schedule: PeriodSchedule
    rows: tuple[LoanRow, ...]
    total_interest: float
    total_principal: float
    total_capitalised: float
    level_payment: float | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


class MinorUnitLoanRow(msgspec.Struct, frozen=True, kw_only=True):
    """A loan row in whole minor units."""

    period: int
    date: date | None
    opening_balance: Decimal
    interest: Decimal
    capitalised: Decimal
    principal: Decimal
    closing_balance: Decimal


def compute_period_rates(annual: Sequence[float], accruals: Sequence[float]) -> tuple[float, ...]:
    """Return the rates for whole periods: annual rate times accrual fraction.

    Raises:
        InvalidInput: a rate so negative that a period would destroy the balance.
    """
    rates = tuple(rate * tau for rate, tau in zip(annual, accruals, strict=True))
    checker = FieldChecker()
    for index, rate in enumerate(rates):
        if rate < _LOWEST_RATE:
            checker.reject(
                f"/annual_rates/{index}", "out_of_range", "is too negative for its period"
            )
    checker.raise_errors()
    return rates


def resolve_loan_time(terms: LoanTerms) -> PeriodSchedule:
    """Resolve the time of a loan, which has no default number of periods.

    Raises:
        InvalidInput: as `resolve_schedule`, or no time at all.
    """
    if terms.payment_dates is None and terms.dates is None and terms.accruals is None:
        raise InvalidInput.at(
            "/dates", "ambiguous", "give exactly one of payment_dates, dates and accruals"
        )
    return resolve_schedule(terms)


def build_loan_schedule(terms: LoanTerms) -> LoanSchedule:
    """Build the schedule of a loan.

    Annuity: level payments A with sum A DF_t = P - balloon DF_n, where DF_t is the product of
    1/(1 + rate tau); for equal periods this is P i/(1 - (1+i)^-n), and P/n at rate zero.

    Raises:
        InvalidInput: names each field outside its limits; also shares that do not sum to 1, a
            balloon above the principal, a grace as long as the loan, and CFADS that cannot carry
            a sculpted loan.
    """
    schedule = resolve_loan_time(terms)
    accruals, periods = schedule.accrual_fractions, schedule.periods
    _check_terms(terms, periods)
    annual_rates = expand_per_period(terms.annual_rates, periods)
    rates = compute_period_rates(annual_rates, accruals)
    balloon = terms.balloon + terms.balloon_share * terms.principal
    balance = _balance_after_grace(terms, rates)
    principal = _schedule_principal(terms, rates, balance, balloon)
    rows = _build_rows(terms, schedule, annual_rates, principal)
    reject_overflow(
        "/principal", (row.interest for row in rows), (row.closing_balance for row in rows)
    )
    level_payment = rows[terms.grace_periods].payment if terms.profile == "annuity" else None
    if level_payment is not None and periods == terms.grace_periods + 1:
        level_payment -= balloon
    return LoanSchedule(
        schedule=schedule,
        rows=tuple(rows),
        total_interest=sum(row.interest for row in rows),
        total_principal=sum(row.principal for row in rows),
        total_capitalised=sum(row.capitalised for row in rows),
        level_payment=level_payment,
        conventions={
            "profile": terms.profile,
            "day_count": schedule.day_count,
            "interest": "annual rate x accrual fraction x opening balance",
            "grace": (terms.grace or "interest_only") if terms.grace_periods else "none",
        },
        warnings=_warnings(rows),
    )


def _check_terms(terms: LoanTerms, periods: int) -> None:
    checker = FieldChecker()
    checker.require_positive("/principal", terms.principal)
    check_per_period(checker, "/annual_rates", terms.annual_rates, periods, (-0.5, MAX_RATE))
    checker.require_number("/grace_periods", terms.grace_periods, 0, periods - 1)
    checker.require_amount("/balloon", terms.balloon, low=0.0)
    checker.require_number("/balloon_share", terms.balloon_share, 0.0, 1.0)
    if terms.balloon and terms.balloon_share:
        checker.reject(
            "/balloon_share", "ambiguous", "balloon is set too; give an amount or a share"
        )
    if terms.balloon > terms.principal:
        checker.reject("/balloon", "out_of_range", "must not exceed the principal")
    if terms.profile == "balloon" and not terms.balloon and not terms.balloon_share:
        checker.reject("/balloon", "required", "profile balloon needs one")
    if terms.profile == "bullet" and (terms.balloon or terms.balloon_share):
        checker.reject("/balloon", "not_applicable", "a bullet repays everything at the end")
    if terms.profile == "custom":
        _check_shares(checker, terms.custom_shares, periods)
    elif terms.custom_shares is not None:
        checker.reject("/custom_shares", "not_applicable", "only for profile custom")
    if terms.profile == "sculpted":
        cfads = terms.cfads or ()
        if checker.require_length("/cfads", cfads, periods):
            checker.require_each("/cfads", cfads, 0.0, MAX_AMOUNT)
    elif terms.cfads is not None:
        checker.reject("/cfads", "not_applicable", "only for profile sculpted")
    checker.raise_errors()


def _check_shares(checker: FieldChecker, shares: tuple[float, ...] | None, periods: int) -> None:
    values = shares or ()
    if not checker.require_length("/custom_shares", values, periods):
        return
    checker.require_each("/custom_shares", values, 0.0, 1.0)
    if not abs(sum(values) - 1.0) <= 1e-9:  # noqa: PLR2004 - shares printed with nine decimals pass
        checker.reject("/custom_shares", "wrong_sum", "must sum to 1")


def _balance_after_grace(terms: LoanTerms, rates: tuple[float, ...]) -> float:
    """Return the balance when repayment begins."""
    balance = terms.principal
    if terms.grace == "capitalised":
        for rate in rates[: terms.grace_periods]:
            balance *= 1.0 + rate
    if not balance <= MAX_AMOUNT:
        raise InvalidInput.at(
            "/grace_periods", "overflow", f"capitalises beyond {MAX_AMOUNT:g}; shorten the grace"
        )
    return balance


def _schedule_principal(
    terms: LoanTerms, rates: tuple[float, ...], balance: float, balloon: float
) -> list[float]:
    """Return the scheduled principal per period; the last one includes the balloon."""
    grace = terms.grace_periods
    repayment_rates = rates[grace:]
    if terms.profile == "bullet":
        principal = [0.0] * len(repayment_rates)
        balloon = balance
    elif terms.profile in {"straight_line", "balloon"}:
        principal = [(balance - balloon) / len(repayment_rates)] * len(repayment_rates)
    elif terms.profile == "custom":
        principal = _custom_principal(terms.custom_shares or (), grace, balance - balloon)
    elif terms.profile == "annuity":
        principal = _proportional_principal(
            [1.0] * len(repayment_rates), repayment_rates, balance, balloon
        )
    else:
        principal = _proportional_principal(
            list(terms.cfads or ())[grace:], repayment_rates, balance, balloon
        )
    # The last payment takes the remainder, so that rounding never leaves a balance.
    principal[-1] = balance - sum(principal[:-1])
    return [0.0] * grace + principal


def _custom_principal(shares: tuple[float, ...], grace: int, amount: float) -> list[float]:
    early_index = next((index for index, share in enumerate(shares[:grace]) if share), None)
    if early_index is not None:
        pointer = f"/custom_shares/{early_index}"
        raise InvalidInput.at(pointer, "in_grace", "must be 0: no principal falls in the grace")
    return [share * amount for share in shares[grace:]]


def _proportional_principal(
    weights: list[float], rates: tuple[float, ...], balance: float, balloon: float
) -> list[float]:
    """Return principal such that each payment, balloon aside, is proportional to `weights`."""
    discount, present_value = 1.0, 0.0
    for weight, rate in zip(weights, rates, strict=True):
        discount /= 1.0 + rate
        present_value += weight * discount
    if present_value <= 0.0:
        raise InvalidInput.at(
            "/cfads", "no_cash", "has no cash after the grace; give positive CFADS there"
        )
    factor = (balance - balloon * discount) / present_value
    # Backwards, each step divides an error by 1 + rate; forwards it would multiply it.
    balances = [balloon]
    for weight, rate in zip(reversed(weights), reversed(rates), strict=True):
        balances.append((balances[-1] + factor * weight) / (1.0 + rate))
    balances[0], balances[-1] = 0.0, balance
    balances.reverse()
    return [before - after for before, after in pairwise(balances)]


def _build_rows(
    terms: LoanTerms,
    schedule: PeriodSchedule,
    annual_rates: tuple[float, ...],
    principal: list[float],
) -> list[LoanRow]:
    rows: list[LoanRow] = []
    balance = terms.principal
    last = len(principal) - 1
    for index, (tau, rate, scheduled_principal) in enumerate(
        zip(schedule.accrual_fractions, annual_rates, principal, strict=True)
    ):
        interest = balance * rate * tau
        is_capitalised = terms.grace == "capitalised" and index < terms.grace_periods
        capitalised = interest if is_capitalised else 0.0
        repayment = balance if index == last else scheduled_principal
        closing = 0.0 if index == last else balance + capitalised - repayment
        rows.append(
            LoanRow(
                period=index + 1,
                date=schedule.dates[index + 1] if schedule.dates else None,
                accrual_fraction=tau,
                annual_rate=rate,
                opening_balance=balance,
                interest=interest,
                capitalised=capitalised,
                principal=repayment,
                payment=interest - capitalised + repayment,
                closing_balance=closing,
            )
        )
        balance = closing
    return rows


def _warnings(rows: list[LoanRow]) -> tuple[str, ...]:
    floor = -ROUNDING_NOISE * rows[0].opening_balance
    negative = [row.period for row in rows if row.principal < floor]
    if not negative:
        return ()
    return (f"principal is negative in period {negative[0]} and {len(negative) - 1} more",)


def round_to_minor_units(
    schedule: LoanSchedule, minor_units: int = 2
) -> tuple[MinorUnitLoanRow, ...]:
    """Round a schedule to `minor_units` decimals, half to even.

    Interest and principal are rounded separately; the last principal takes the remainder, so that
    principal sums to the rounded loan plus the capitalised interest, and the balance closes at 0.

    Raises:
        InvalidInput: `minor_units` is outside 0..6.
    """
    checker = FieldChecker()
    checker.require_number("/minor_units", minor_units, 0, _MAX_MINOR_UNITS)
    checker.raise_errors()
    unit = Decimal(1).scaleb(-minor_units)

    context = Context(prec=_DECIMAL_DIGITS)

    def round_amount(value: float) -> Decimal:
        return Decimal(value).quantize(unit, ROUND_HALF_EVEN, context)

    rows: list[MinorUnitLoanRow] = []
    balance = round_amount(schedule.rows[0].opening_balance)
    for row in schedule.rows:
        capitalised = round_amount(row.capitalised)
        is_last = row.period == len(schedule.rows)
        principal = balance if is_last else round_amount(row.principal)
        closing = context.subtract(context.add(balance, capitalised), principal)
        rows.append(
            MinorUnitLoanRow(
                period=row.period,
                date=row.date,
                opening_balance=balance,
                interest=round_amount(row.interest),
                capitalised=capitalised,
                principal=principal,
                closing_balance=closing,
            )
        )
        balance = closing
    return tuple(rows)
