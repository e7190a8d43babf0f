"""Loan schedules: annuity, straight line, bullet, balloon, custom and sculpted, with grace.

Amounts are float64 through the calculation; `settle` quantises a schedule once, in Decimal minor
units, and leaves the remainder in the last payment so that the balance closes exactly. Source: the
annuity formula over uneven periods; profiles as named in facility agreements.
"""

from collections.abc import Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import pairwise
from typing import Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.day_count import (
    AccrualPeriod,
    DayCount,
    count_days,
    parse_day_count,
)
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    NOISE,
    Checker,
    check_per_period,
    per_period,
    refuse_overflow,
)

Profile = Literal["annuity", "straight_line", "bullet", "balloon", "custom", "sculpted"]
Grace = Literal["interest_only", "capitalised"]
_MAX_MINOR_UNITS = 6
_DECIMAL_DIGITS = 60
_LOWEST_RATE = -0.9


class LoanTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A loan and how it is repaid.

    Time is either `dates` (the start, then each payment date) with a `day_count`, or `accruals`
    (year fractions, one a period). `annual_rates` is one nominal rate or one a period; interest is
    rate times accrual fraction times opening balance. `balloon` (amount) or `balloon_share` is
    left for the last date, beside its regular payment; profile balloon is the straight line to
    one. `grace_periods` at the start pay no principal; their interest is paid or capitalised.
    `custom_shares` (profile custom) are shares of the principal, one a period, that sum to 1.
    `cfads` (profile sculpted) shapes debt service, so that the DSCR is the same in each period.
    """

    principal: float
    annual_rates: float | tuple[float, ...]
    profile: Profile
    dates: tuple[date, ...] | None = None
    day_count: str = "ACT/360"
    frequency: int | None = None
    accruals: tuple[float, ...] | None = None
    balloon: float = 0.0
    balloon_share: float = 0.0
    grace_periods: int = 0
    grace: Grace = "interest_only"
    custom_shares: tuple[float, ...] | None = None
    cfads: tuple[float, ...] | None = None


class LoanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: closing = opening + capitalised - principal; payment = interest paid + principal.

    `interest` is what accrues; in a capitalising grace it is added to the balance, not paid.
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
    """The rows and their sums; `level_payment` exists for an annuity alone."""

    rows: tuple[LoanRow, ...]
    total_interest: float
    total_principal: float
    total_capitalised: float
    level_payment: float | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


class SettledRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row in whole minor units."""

    period: int
    date: date | None
    opening_balance: Decimal
    interest: Decimal
    capitalised: Decimal
    principal: Decimal
    closing_balance: Decimal


def accrual_fractions(
    dates: Sequence[date], day_count: DayCount, frequency: int | None = None
) -> tuple[float, ...]:
    """The year fraction of each period; the last date is the maturity for 30E/360 ISDA."""
    return tuple(
        count_days(
            day_count,
            AccrualPeriod(start=start, end=end, frequency=frequency, maturity=dates[-1]),
        ).year_fraction
        for start, end in pairwise(dates)
    )


def period_rates(annual: Sequence[float], accruals: Sequence[float]) -> tuple[float, ...]:
    """Rates for whole periods, annual rate times accrual fraction.

    Raises:
        InvalidInput: a rate so negative that a period would destroy the balance.
    """
    rates = tuple(rate * tau for rate, tau in zip(annual, accruals, strict=True))
    check = Checker()
    for index, rate in enumerate(rates):
        if rate < _LOWEST_RATE:
            check.refuse(f"/annual_rates/{index}", "out_of_range", "is too negative for its period")
    check.done()
    return rates


def loan_schedule(terms: LoanTerms) -> LoanSchedule:
    """The schedule of a loan.

    Annuity: level payments A with sum A DF_t = P - balloon DF_n, where DF_t is the product of
    1/(1 + rate tau); for equal periods this is P i/(1 - (1+i)^-n), and P/n at rate zero.

    Raises:
        InvalidInput: each field that does not fit is named; also shares that do not sum to 1, a
            balloon above the principal, a grace as long as the loan, and CFADS that cannot carry
            a sculpted loan.
    """
    accruals, rule = _timing(terms)
    periods = len(accruals)
    _check_terms(terms, periods)
    annual = per_period(terms.annual_rates, periods)
    rates = period_rates(annual, accruals)
    balloon = terms.balloon + terms.balloon_share * terms.principal
    owed = _after_grace(terms, rates)
    principal = _principal(terms, rates, owed, balloon)
    rows = _rows(terms, accruals, annual, principal)
    refuse_overflow(
        "/principal", (row.interest for row in rows), (row.closing_balance for row in rows)
    )
    level = rows[terms.grace_periods].payment if terms.profile == "annuity" else None
    if level is not None and periods == terms.grace_periods + 1:
        level -= balloon
    return LoanSchedule(
        rows=tuple(rows),
        total_interest=sum(row.interest for row in rows),
        total_principal=sum(row.principal for row in rows),
        total_capitalised=sum(row.capitalised for row in rows),
        level_payment=level,
        conventions={
            "profile": terms.profile,
            "day_count": rule,
            "interest": "annual rate x accrual fraction x opening balance",
            "grace": terms.grace if terms.grace_periods else "none",
        },
        warnings=_warnings(rows),
    )


def _timing(terms: LoanTerms) -> tuple[tuple[float, ...], str]:
    """Accrual fractions and the name of their convention, from dates or as given."""
    check = Checker()
    if (terms.dates is None) == (terms.accruals is None):
        raise InvalidInput.at("/dates", "ambiguous", "give either dates or accruals")
    if terms.dates is not None:
        rule = parse_day_count(terms.day_count)
        if check.size("/dates", len(terms.dates), MAX_PERIODS + 1, 2):
            check.increasing("/dates", terms.dates)
        if rule is DayCount.ACT_ACT_ICMA and terms.frequency is None:
            check.refuse("/frequency", "required", "ACT/ACT ICMA needs it")
        check.done()
        return accrual_fractions(terms.dates, rule, terms.frequency), rule.value
    accruals = terms.accruals or ()
    if check.size("/accruals", len(accruals), MAX_PERIODS):
        for index, tau in enumerate(accruals):
            check.positive(f"/accruals/{index}", tau, MAX_RATE)
    check.done()
    return accruals, "as given"


def _check_terms(terms: LoanTerms, periods: int) -> None:
    check = Checker()
    check.positive("/principal", terms.principal)
    check_per_period(check, "/annual_rates", terms.annual_rates, periods, (-0.5, MAX_RATE))
    check.number("/grace_periods", terms.grace_periods, 0, periods - 1)
    check.amount("/balloon", terms.balloon, low=0.0)
    check.number("/balloon_share", terms.balloon_share, 0.0, 1.0)
    if terms.balloon and terms.balloon_share:
        check.refuse("/balloon_share", "ambiguous", "give the balloon as amount or as share")
    if terms.balloon > terms.principal:
        check.refuse("/balloon", "out_of_range", "must not exceed the principal")
    if terms.profile == "balloon" and not terms.balloon and not terms.balloon_share:
        check.refuse("/balloon", "required", "profile balloon needs one")
    if terms.profile == "bullet" and (terms.balloon or terms.balloon_share):
        check.refuse("/balloon", "not_applicable", "a bullet repays everything at the end")
    if terms.profile == "custom":
        _check_shares(check, terms.custom_shares, periods)
    elif terms.custom_shares is not None:
        check.refuse("/custom_shares", "not_applicable", "only for profile custom")
    if terms.profile == "sculpted":
        cfads = terms.cfads or ()
        if check.length("/cfads", cfads, periods):
            check.each("/cfads", cfads, 0.0, MAX_AMOUNT)
    elif terms.cfads is not None:
        check.refuse("/cfads", "not_applicable", "only for profile sculpted")
    check.done()


def _check_shares(check: Checker, shares: tuple[float, ...] | None, periods: int) -> None:
    given = shares or ()
    if not check.length("/custom_shares", given, periods):
        return
    check.each("/custom_shares", given, 0.0, 1.0)
    if not abs(sum(given) - 1.0) <= 1e-9:  # noqa: PLR2004 - shares printed with nine decimals pass
        check.refuse("/custom_shares", "wrong_sum", "must sum to 1")


def _after_grace(terms: LoanTerms, rates: tuple[float, ...]) -> float:
    """The balance when repayment begins."""
    owed = terms.principal
    if terms.grace == "capitalised":
        for rate in rates[: terms.grace_periods]:
            owed *= 1.0 + rate
    if not owed <= MAX_AMOUNT:
        raise InvalidInput.at("/grace_periods", "overflow", "capitalises beyond the bound")
    return owed


def _principal(
    terms: LoanTerms, rates: tuple[float, ...], owed: float, balloon: float
) -> list[float]:
    """Scheduled principal of each period; the last one also carries the balloon."""
    grace = terms.grace_periods
    live = rates[grace:]
    if terms.profile == "bullet":
        paid = [0.0] * len(live)
        balloon = owed
    elif terms.profile in {"straight_line", "balloon"}:
        paid = [(owed - balloon) / len(live)] * len(live)
    elif terms.profile == "custom":
        paid = _custom(terms.custom_shares or (), grace, owed - balloon)
    elif terms.profile == "annuity":
        paid = _shaped([1.0] * len(live), live, owed, balloon)
    else:
        paid = _shaped(list(terms.cfads or ())[grace:], live, owed, balloon)
    # The last payment takes the remainder, so that rounding never leaves a balance.
    paid[-1] = owed - sum(paid[:-1])
    return [0.0] * grace + paid


def _custom(shares: tuple[float, ...], grace: int, amount: float) -> list[float]:
    early = next((index for index, share in enumerate(shares[:grace]) if share), None)
    if early is not None:
        pointer = f"/custom_shares/{early}"
        raise InvalidInput.at(pointer, "in_grace", "no principal falls in the grace")
    return [share * amount for share in shares[grace:]]


def _shaped(
    shape: list[float], rates: tuple[float, ...], owed: float, balloon: float
) -> list[float]:
    """Principal such that each payment, balloon aside, is proportional to `shape`."""
    discount, worth = 1.0, 0.0
    for part, rate in zip(shape, rates, strict=True):
        discount /= 1.0 + rate
        worth += part * discount
    if worth <= 0.0:
        raise InvalidInput.at("/cfads", "no_cash", "has no cash after the grace")
    factor = (owed - balloon * discount) / worth
    # Backwards, each step divides an error by 1 + rate; forwards it would multiply it.
    balances = [balloon]
    for part, rate in zip(reversed(shape), reversed(rates), strict=True):
        balances.append((balances[-1] + factor * part) / (1.0 + rate))
    balances[0], balances[-1] = 0.0, owed
    balances.reverse()
    return [before - after for before, after in pairwise(balances)]


def _rows(
    terms: LoanTerms,
    accruals: tuple[float, ...],
    annual: tuple[float, ...],
    principal: list[float],
) -> list[LoanRow]:
    rows: list[LoanRow] = []
    balance = terms.principal
    last = len(principal) - 1
    for index, (tau, rate, paid) in enumerate(zip(accruals, annual, principal, strict=True)):
        interest = balance * rate * tau
        added = terms.grace == "capitalised" and index < terms.grace_periods
        capitalised = interest if added else 0.0
        due = balance if index == last else paid
        closing = 0.0 if index == last else balance + capitalised - due
        rows.append(
            LoanRow(
                period=index + 1,
                date=terms.dates[index + 1] if terms.dates else None,
                accrual_fraction=tau,
                annual_rate=rate,
                opening_balance=balance,
                interest=interest,
                capitalised=capitalised,
                principal=due,
                payment=interest - capitalised + due,
                closing_balance=closing,
            )
        )
        balance = closing
    return rows


def _warnings(rows: list[LoanRow]) -> tuple[str, ...]:
    floor = -NOISE * rows[0].opening_balance
    negative = [row.period for row in rows if row.principal < floor]
    if not negative:
        return ()
    return (f"principal is negative in period {negative[0]} and {len(negative) - 1} more",)


def settle(schedule: LoanSchedule, minor_units: int = 2) -> tuple[SettledRow, ...]:
    """The schedule in Decimal with `minor_units` decimals, rounded half to even.

    Interest and principal are rounded each; the last principal takes the remainder, so that
    principal sums to the rounded loan plus what was capitalised, and the balance closes at 0.

    Raises:
        InvalidInput: minor units outside 0..6.
    """
    check = Checker()
    check.number("/minor_units", minor_units, 0, _MAX_MINOR_UNITS)
    check.done()
    unit = Decimal(1).scaleb(-minor_units)

    wide = Context(prec=_DECIMAL_DIGITS)

    def rounded(value: float) -> Decimal:
        return Decimal(value).quantize(unit, ROUND_HALF_EVEN, wide)

    settled: list[SettledRow] = []
    balance = rounded(schedule.rows[0].opening_balance)
    for row in schedule.rows:
        capitalised = rounded(row.capitalised)
        last = row.period == len(schedule.rows)
        principal = balance if last else rounded(row.principal)
        closing = wide.subtract(wide.add(balance, capitalised), principal)
        settled.append(
            SettledRow(
                period=row.period,
                date=row.date,
                opening_balance=balance,
                interest=rounded(row.interest),
                capitalised=capitalised,
                principal=principal,
                closing_balance=closing,
            )
        )
        balance = closing
    return tuple(settled)
