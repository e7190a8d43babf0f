"""Settlement of a loan in whole minor units, in Decimal.

`cumulative` rounds the closing balance of each row and takes the movement as the difference, so
that no drift grows and no balance turns negative. `level` is an annuity as loan systems print it:
one rounded payment, interest on the printed balance, and a last payment that takes the rest.
"""

from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import FieldChecker
from spawn.domain.finance.loans.loan_results import LoanRow, LoanSchedule

Settlement = Literal["cumulative", "level"]

_MAX_MINOR_UNITS: Final = 6
_CONTEXT: Final = Context(prec=60)
_NOISE_DIGITS: Final = 9
_ZERO: Final = Decimal(0)


class MinorUnitLoanRow(msgspec.Struct, frozen=True, kw_only=True):
    """A loan row in whole minor units: closing = opening + drawn + capitalised - principal."""

    period: int
    date: date | None
    opening_balance: Decimal
    interest: Decimal
    capitalised: Decimal
    principal: Decimal
    payment: Decimal
    closing_balance: Decimal
    drawn: Decimal


class _Parts(msgspec.Struct, frozen=True):
    """Rounded amounts that a row adds to its opening balance or takes from it."""

    interest: Decimal
    capitalised: Decimal
    principal: Decimal
    drawn: Decimal


def round_to_minor_units(
    loan: LoanSchedule, minor_units: int = 2, settlement: Settlement = "cumulative"
) -> tuple[MinorUnitLoanRow, ...]:
    """Settle a loan with `minor_units` decimals, half to even; the balance closes at 0.

    Raises:
        InvalidInput: `minor_units` is outside 0..6, or `level` is asked of a loan that is no
            annuity with one payment.
    """
    checker = FieldChecker()
    checker.require_number("/minor_units", minor_units, 0, _MAX_MINOR_UNITS)
    checker.raise_errors()
    if settlement == "cumulative":
        return _settle_cumulatively(loan, minor_units)
    if not has_one_level_payment(loan):
        detail = "level serves an annuity without events; ask for cumulative"
        raise InvalidInput.at("/settlement", "not_applicable", detail)
    return _settle_level(loan, minor_units)


def has_one_level_payment(loan: LoanSchedule) -> bool:
    """Return whether the loan is an annuity that pays one amount throughout."""
    return loan.level_payment is not None and not loan.events


def _round(value: float | Decimal, minor_units: int) -> Decimal:
    amount = Decimal(value).quantize(Decimal(1).scaleb(-minor_units), ROUND_HALF_EVEN, _CONTEXT)
    return amount + _ZERO  # no minus in front of a zero


def _settle_cumulatively(loan: LoanSchedule, minor_units: int) -> tuple[MinorUnitLoanRow, ...]:
    rows: list[MinorUnitLoanRow] = []
    balance = _round(loan.rows[0].opening_balance, minor_units)
    total_drawn, settled_draws = loan.rows[0].opening_balance, balance
    for row in loan.rows:
        total_drawn += row.drawn
        drawn = _round(total_drawn, minor_units) - settled_draws
        settled_draws += drawn
        closing = _round(row.closing_balance, minor_units)
        movement = balance + drawn - closing
        capitalised = _ZERO.quantize(closing)
        if row.capitalised:
            # The principal of such a row is its own, and the interest takes the difference.
            capitalised = _round(row.principal, minor_units) - movement
        principal = movement + capitalised
        interest = (
            capitalised if row.interest == row.capitalised else _round(row.interest, minor_units)
        )
        parts = _Parts(interest, capitalised, principal, drawn)
        rows.append(_build_row(row, balance, parts, closing))
        balance = closing
    return tuple(rows)


def _settle_level(loan: LoanSchedule, minor_units: int) -> tuple[MinorUnitLoanRow, ...]:
    payment = _round(loan.level_payment or 0.0, minor_units)
    rows: list[MinorUnitLoanRow] = []
    balance = _round(loan.rows[0].opening_balance, minor_units)
    nothing = _ZERO.quantize(balance)
    for row in loan.rows:
        interest = _printed_interest(balance, row, minor_units)
        capitalised = interest if row.capitalised else nothing
        if row is loan.rows[-1]:
            principal = balance
        elif row.principal:
            principal = min(payment - interest, balance)
        else:  # the grace
            principal = nothing
        closing = balance + capitalised - principal
        parts = _Parts(interest, capitalised, principal, nothing)
        rows.append(_build_row(row, balance, parts, closing))
        balance = closing
    return tuple(rows)


def _build_row(row: LoanRow, opening: Decimal, parts: _Parts, closing: Decimal) -> MinorUnitLoanRow:
    return MinorUnitLoanRow(
        period=row.period,
        date=row.date,
        opening_balance=opening,
        interest=parts.interest,
        capitalised=parts.capitalised,
        principal=parts.principal,
        payment=parts.interest - parts.capitalised + parts.principal,
        closing_balance=closing,
        drawn=parts.drawn,
    )


def _printed_interest(balance: Decimal, row: LoanRow, minor_units: int) -> Decimal:
    """Return the interest on a printed balance; float noise in the rate decides no tie."""
    exact = _CONTEXT.multiply(balance, Decimal(row.annual_rate * row.accrual_fraction))
    return _round(_round(exact, _NOISE_DIGITS), minor_units)
