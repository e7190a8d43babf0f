"""Settlement of a loan in whole minor units, in Decimal.

`cumulative` rounds the closing balance of each row and the sum of the payments up to it, and takes
the movements as the differences, so that no drift grows and no balance turns negative; the interest
is what the payment leaves. `level` is an annuity as loan systems print it:
one rounded payment, interest on the printed balance, and a last payment that takes the rest.
"""

from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import ROUNDING_NOISE, FieldChecker
from spawn.domain.finance.loans.loan_results import LoanRow, LoanSchedule

Settlement = Literal["cumulative", "level"]

_MAX_MINOR_UNITS: Final = 6
_CONTEXT: Final = Context(prec=60)
_NOISE_DIGITS: Final = 9
_ZERO: Final = Decimal(0)


class MinorUnitLoanRow(msgspec.Struct, frozen=True, kw_only=True):
    """A loan row in whole minor units: closing = opening + drawn + capitalised - principal.

    `payment` = interest + accrued_interest - capitalised + principal + premium, where no interest
    is deferred.
    """

    period: int
    date: date | None
    opening_balance: Decimal
    interest: Decimal
    capitalised: Decimal
    principal: Decimal
    payment: Decimal
    closing_balance: Decimal
    drawn: Decimal
    accrued_interest: Decimal
    premium: Decimal


class _Parts(msgspec.Struct, frozen=True):
    """Rounded amounts that a row adds to its opening balance or takes from it."""

    interest: Decimal
    capitalised: Decimal
    principal: Decimal
    drawn: Decimal
    payment: Decimal
    accrued_interest: Decimal = _ZERO
    premium: Decimal = _ZERO


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


def _round_sum(value: float, minor_units: int) -> Decimal:
    """Round a sum of floats; the noise of its last digits decides no tie."""
    return _round(_round(value, _NOISE_DIGITS), minor_units)


class _RunningSum:
    """A sum of exact amounts, of which each part is settled as the difference of rounded sums."""

    def __init__(self, minor_units: int) -> None:
        self._minor_units = minor_units
        self._exact = 0.0
        self._settled = _round(0.0, minor_units)

    def add(self, amount: float) -> Decimal:
        """Settle an amount, with what rounding has left over of the earlier ones.

        Nothing settles as nothing; the next amount takes what is left over.
        """
        if not amount:
            return _round(0.0, self._minor_units)
        self._exact += amount
        part = _round_sum(self._exact, self._minor_units) - self._settled
        self._settled += part
        return part

    def settle_other(self, part: Decimal, other: Decimal) -> Decimal:
        """Settle `other` in the place of a part; the next one makes up for the difference."""
        self._settled += other - part
        return other


def _settle_cumulatively(loan: LoanSchedule, minor_units: int) -> tuple[MinorUnitLoanRow, ...]:
    rows: list[MinorUnitLoanRow] = []
    draws, capitalisations, payments = (_RunningSum(minor_units) for _ in range(3))
    accruals, premiums, deferrals = (_RunningSum(minor_units) for _ in range(3))
    balance = draws.add(loan.rows[0].opening_balance)
    for row in loan.rows:
        drawn = draws.add(row.drawn)
        closing = _round(row.closing_balance, minor_units)
        movement = balance + drawn - closing
        capitalised = capitalisations.add(row.capitalised)
        if row.capitalised and not row.principal:
            capitalised = capitalisations.settle_other(capitalised, -movement)
        elif row.drawn and not row.principal:  # what is drawn is all that moves the balance
            drawn, movement = draws.settle_other(drawn, drawn - movement), _ZERO.quantize(movement)
        principal = movement + capitalised
        payment = payments.add(row.payment)
        if not row.payment:
            payment = payments.settle_other(payment, _ZERO.quantize(payment))
        elif _has_no_margin(row, payment - principal):
            payment = payments.settle_other(payment, principal)
        accrued, premium = accruals.add(row.accrued_interest), premiums.add(row.premium)
        other = accrued + premium + deferrals.add(_exact_deferral(row))
        interest = payment - principal + capitalised - other
        if interest and float(interest) * row.interest <= 0.0:  # rounding alone has made it
            if row.premium:
                premium, interest = premiums.settle_other(premium, premium + interest), _ZERO
            elif row.accrued_interest:
                payment, interest = payments.settle_other(payment, payment - interest), _ZERO
            interest = interest.quantize(payment)
        parts = _Parts(interest, capitalised, principal, drawn, payment, accrued, premium)
        rows.append(_build_row(row, balance, parts, closing))
        balance = closing
    return tuple(rows)


def _exact_deferral(row: LoanRow) -> float:
    """Return the payment that is none of the columns: interest of a ledger paid later or before."""
    columns = row.interest + row.accrued_interest - row.capitalised + row.principal + row.premium
    return row.payment - columns


def _has_no_margin(row: LoanRow, margin: Decimal) -> bool:
    """Return whether a row pays no interest, or rounding alone would turn its sign."""
    exact = row.payment - row.principal
    return abs(exact) <= ROUNDING_NOISE * abs(row.payment) or exact * float(margin) < 0.0


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
        payment_made = interest - capitalised + principal
        parts = _Parts(interest, capitalised, principal, nothing, payment_made, nothing, nothing)
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
        payment=parts.payment,
        closing_balance=closing,
        drawn=parts.drawn,
        accrued_interest=parts.accrued_interest,
        premium=parts.premium,
    )


def _printed_interest(balance: Decimal, row: LoanRow, minor_units: int) -> Decimal:
    """Return the interest on a printed balance; float noise in the rate decides no tie."""
    exact = _CONTEXT.multiply(balance, Decimal(row.annual_rate * row.accrual_fraction))
    return _round(_round(exact, _NOISE_DIGITS), minor_units)
