"""Statements of a facility: periods, allocation of payments, arrears, shares of lenders."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.facilities.facility import Facility, LenderShare, find_lenders
from spawn.domain.facilities.facility_timeline import build_timeline
from spawn.domain.facilities.ledger import EntryKind, LedgerEntry
from spawn.domain.facilities.ledger_fold import LedgerFold, LedgerLine, LedgerState
from spawn.domain.facilities.principal_arrears import PrincipalDues, find_principal_dues
from spawn.domain.money import Money

_DAY: Final = timedelta(days=1)
MAX_STATEMENT_YEARS: Final = 100
_YEAR_DAYS: Final = 366
PAID_KINDS: Final = frozenset({EntryKind.PAYMENT, EntryKind.PREPAYMENT})
"""Kinds of entries that are allocated to the lenders."""


class LenderPart(msgspec.Struct, frozen=True, kw_only=True):
    """A lender's part of a payment; the parts of all lenders sum to the payment exactly.

    The lenders and their shares are those of the value date.
    """

    lender: str
    fees: Decimal
    interest: Decimal
    principal: Decimal
    amount: Decimal


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """A movement, with what it is allocated to and the balance after it.

    `entry` is the number of the entry, None for what falls due by the terms. A payment pays `fees`,
    `overdue_interest`, `interest` of the day and `principal`, in this order.
    """

    value_date: date
    kind: str
    entry: int | None
    amount: Decimal
    fees: Decimal
    overdue_interest: Decimal
    interest: Decimal
    principal: Decimal
    balance: Decimal
    lenders: tuple[LenderPart, ...] = ()


class StatementPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a period: closing = opening + drawn + capitalised - repaid - forgiven.

    Both days are in the period. `interest` has accrued in it, whether or not it fell due. Arrears
    are what is due and not paid at its end; those of principal are None where no schedule tells.
    """

    start: date
    end: date
    opening_balance: Decimal
    drawn: Decimal
    capitalised: Decimal
    repaid: Decimal
    forgiven: Decimal
    closing_balance: Decimal
    interest: Decimal
    interest_paid: Decimal
    fees_paid: Decimal
    interest_arrears: Decimal
    principal_arrears: Decimal | None
    fee_arrears: Decimal


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """The statement of a facility from a day to another one, both included.

    `no_schedule_reason` says why the terms give no schedule; None if they do.
    """

    currency_code: str
    opening_balance: Decimal
    closing_balance: Decimal
    periods: tuple[StatementPeriod, ...]
    lines: tuple[StatementLine, ...]
    no_schedule_reason: str | None = None


def build_statement(
    facility: Facility, entries: Sequence[LedgerEntry], start: date, end: date
) -> Statement:
    """Build the statement of a facility over a range of days, period by period.

    Args:
        facility: the terms.
        entries: those in effect on the last day, by value date.
        start: the first day.
        end: the last day.

    Raises:
        InvalidInput: the last day is before the first, or a century after it.
    """
    if not 0 <= (end - start).days <= MAX_STATEMENT_YEARS * _YEAR_DAYS:
        detail = f"must be from {start} to {MAX_STATEMENT_YEARS} years later"
        raise InvalidInput.at("/to", "out_of_range", detail)
    if start == date.min:
        detail = f"must be after {start}: a statement opens with the balance of the day before"
        raise InvalidInput.at("/from", "out_of_range", detail)
    ledger = LedgerFold(facility, entries, traces=True)
    dues = find_principal_dues(facility, entries, end)
    before = ledger.run(start - _DAY)
    first_line = len(ledger.lines)
    opening, periods = before, list[StatementPeriod]()
    for first, last in _split_periods(facility, start, end):
        after = ledger.run(last)
        periods.append(_total(ledger, (first, last), (before, after), dues))
        before = after
    return Statement(
        currency_code=facility.currency_code,
        opening_balance=ledger.to_amount(opening.balance),
        closing_balance=ledger.to_amount(before.balance),
        periods=tuple(periods),
        lines=tuple(_show(facility, ledger, line) for line in ledger.lines[first_line:]),
        no_schedule_reason=dues.no_schedule_reason,
    )


def _split_periods(facility: Facility, start: date, end: date) -> list[tuple[date, date]]:
    """Return the periods of the range: each ends on a payment date, or on its last day."""
    due_dates = build_timeline(facility).due_dates
    ends = [day for day in due_dates[bisect_left(due_dates, start) :] if day < end]
    firsts = [start, *(day + _DAY for day in ends)]
    return list(zip(firsts, [*ends, end], strict=True))


def _total(
    ledger: LedgerFold,
    days: tuple[date, date],
    states: tuple[LedgerState, LedgerState],
    dues: PrincipalDues,
) -> StatementPeriod:
    before, after = states
    amount = ledger.to_amount
    closing = amount(after.balance)
    return StatementPeriod(
        start=days[0],
        end=days[1],
        opening_balance=amount(before.balance),
        drawn=amount(after.draws - before.draws),
        capitalised=amount(after.capitalisations - before.capitalisations),
        repaid=amount(
            after.repayments + after.prepayments - before.repayments - before.prepayments
        ),
        forgiven=amount(after.forgiven_principal - before.forgiven_principal),
        closing_balance=closing,
        interest=amount(after.total_interest - before.total_interest),
        interest_paid=amount(after.paid_interest - before.paid_interest),
        fees_paid=amount(after.paid_fees - before.paid_fees),
        interest_arrears=amount(after.interest_due),
        principal_arrears=dues.measure_arrears(days[1], amount(after.repayments), closing),
        fee_arrears=amount(after.fees_due),
    )


def _show(facility: Facility, ledger: LedgerFold, line: LedgerLine) -> StatementLine:
    amount = ledger.to_amount
    fees, overdue = amount(line.fees), amount(line.overdue)
    interest, principal = amount(line.interest), amount(line.principal)
    is_paid = line.number is not None and line.kind in PAID_KINDS
    lenders = find_lenders(facility, line.day) if is_paid else ()
    return StatementLine(
        value_date=line.day,
        kind=line.kind,
        entry=line.number,
        amount=amount(line.amount),
        fees=fees,
        overdue_interest=overdue,
        interest=interest,
        principal=principal,
        balance=amount(line.balance),
        lenders=_allocate(lenders, facility.currency_code, (fees, overdue + interest, principal)),
    )


def _allocate(
    lenders: Sequence[LenderShare], currency_code: str, amounts: tuple[Decimal, Decimal, Decimal]
) -> tuple[LenderPart, ...]:
    """Allocate fees, interest and principal to the lenders by their shares, each exactly."""
    if not lenders:
        return ()
    shares = [lender.share for lender in lenders]
    parts = [
        [one.amount for one in Money(amount, currency_code).allocate(shares)] for amount in amounts
    ]
    return tuple(
        LenderPart(
            lender=lender.lender,
            fees=fees,
            interest=interest,
            principal=principal,
            amount=fees + interest + principal,
        )
        for lender, fees, interest, principal in zip(lenders, *parts, strict=True)
    )
