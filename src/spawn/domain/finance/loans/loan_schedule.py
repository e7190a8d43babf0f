"""Loan schedules: annuity, straight line, bullet, balloon, custom and sculpted, with grace.

A loan with one draw and one regular payment a period has a closed form; any other is replayed
event by event (`loan_events`). Source: the annuity formula over uneven periods; profiles as named
in facility agreements.
"""

from itertools import pairwise

from spawn.domain.errors import Infeasible, InvalidInput
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    ROUNDING_NOISE,
    expand_per_period,
    reject_overflow,
)
from spawn.domain.finance.loans.loan_events import replay_loan
from spawn.domain.finance.loans.loan_results import LoanRow, LoanSchedule
from spawn.domain.finance.loans.loan_terms import (
    LoanTerms,
    check_loan_terms,
    compute_period_rates,
    resolve_loan_time,
)
from spawn.domain.finance.period_lists import list_periods
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule


def build_loan_schedule(terms: LoanTerms) -> LoanSchedule:
    """Build the schedule of a loan.

    Annuity: level payments A with sum A DF_t = P - balloon DF_n, where DF_t is the product of
    1/(1 + rate tau); for equal periods this is P i/(1 - (1+i)^-n), and P/n at rate zero.

    Raises:
        InvalidInput: names each field outside its limits; also shares that do not sum to 1, a
            balloon above the principal, a grace as long as the loan, and CFADS that cannot carry
            a sculpted loan.
    """
    return build_loan_on_schedule(terms, resolve_loan_time(terms))


def build_loan_on_schedule(terms: LoanTerms, schedule: PeriodSchedule) -> LoanSchedule:
    """Build the schedule of a loan on periods that are resolved; its own time is not read.

    Raises:
        InvalidInput: as `build_loan_schedule`.
    """
    check_loan_terms(terms, schedule)
    if terms.has_events:
        return replay_loan(terms, schedule)
    accruals, periods = schedule.accrual_fractions, schedule.periods
    annual_rates = expand_per_period(terms.annual_rates, periods)
    rates = compute_period_rates(annual_rates, accruals)
    balloon = terms.balloon + terms.balloon_share * terms.first_draw
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


def _balance_after_grace(terms: LoanTerms, rates: tuple[float, ...]) -> float:
    """Return the balance when repayment begins."""
    balance = terms.first_draw
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
        raise Infeasible.at(
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
    balance = terms.first_draw
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
    return (f"principal is negative in {list_periods(negative)}",) if negative else ()
