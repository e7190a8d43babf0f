"""Principal that is due and not repaid, by the schedule of a facility where it has one.

A balance is a fact of the ledger; what is due of it follows from a projection, which not every
ledger has: interest that a loan brought along may exceed its level payment. Arrears are then
unknown from the first payment date to the maturity. From the maturity on all of a balance is due.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import accumulate

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.facilities.facility import Facility
from spawn.domain.facilities.facility_timeline import build_timeline
from spawn.domain.facilities.ledger import EntryKind, LedgerEntry, WaivedPart
from spawn.domain.facilities.ledger_fold import LedgerFold
from spawn.domain.facilities.loan_projection import locate_loan_error
from spawn.domain.facilities.repayment_schedule import build_repayment_schedule, find_first_draw
from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.money import DECIMAL_CONTEXT, get_exponent


class PrincipalDues(msgspec.Struct, frozen=True, kw_only=True):
    """Principal that falls due, as far as it is known.

    `schedule` is None if nothing was drawn or the terms give none; `no_schedule_reason` says why
    they do not, and `known_before` is the first payment date then. `due_from` is the maturity, from
    which on the whole balance is due. `totals` are, from each of the `days` on, the scheduled
    principal with the prepayments, less those of the ledger and what it has forgiven.
    """

    currency_code: str
    schedule: LoanSchedule | None = None
    no_schedule_reason: str | None = None
    known_before: date = date.max
    due_from: date = date.max
    days: tuple[date, ...] = ()
    totals: tuple[float, ...] = ()

    def measure_arrears(self, on: date, repaid: Decimal, balance: Decimal) -> Decimal | None:
        """Return the principal that is due and not repaid; None if it is not known.

        Args:
            on: the day.
            repaid: principal that payments have repaid by then, without prepayments.
            balance: at the end of the day, which arrears never exceed.
        """
        nothing = balance * 0
        if on >= self.due_from or not balance:
            return balance
        if self.no_schedule_reason is None:
            return max(min(self.sum_due(on) - repaid, balance), nothing)
        return nothing if on < self.known_before else None

    def sum_due(self, on: date) -> Decimal:
        """Return the principal that has fallen due, rounded once to the minor unit.

        What a prepayment has repaid beyond the schedule was due, and is not any more.
        """
        index = bisect_right(self.days, on)
        total = self.totals[index - 1] if index else 0.0
        quantum = Decimal(1).scaleb(-get_exponent(self.currency_code))
        return Decimal(total).quantize(quantum, ROUND_HALF_EVEN, DECIMAL_CONTEXT) + 0


def find_principal_dues(
    facility: Facility, entries: Sequence[LedgerEntry], on: date | None = None
) -> PrincipalDues:
    """Return what the terms and the entries make due, as far as they can be projected.

    Args:
        facility: the terms.
        entries: those in effect on the day, from `select_entries`, by value date.
        on: the day up to which the entries are known; by default that of the last one.
    """
    due_dates = build_timeline(facility).due_dates
    due_from = due_dates[-1] if due_dates else date.max
    try:
        schedule = build_repayment_schedule(facility, entries, on)
    except InvalidInput as error:
        reason = "; ".join(map(_describe, map(locate_loan_error, error.errors)))
        start = find_first_draw(entries) or date.min
        return PrincipalDues(
            currency_code=facility.currency_code,
            no_schedule_reason=reason,
            known_before=due_dates[min(bisect_right(due_dates, start), len(due_dates) - 1)],
            due_from=due_from,
        )
    movements = sorted(_list_movements(schedule, entries))
    return PrincipalDues(
        currency_code=facility.currency_code,
        schedule=schedule,
        due_from=due_from,
        days=tuple(day for day, _amount in movements),
        totals=tuple(accumulate(amount for _day, amount in movements)),
    )


def _list_movements(
    schedule: LoanSchedule | None, entries: Sequence[LedgerEntry]
) -> Iterator[tuple[date, float]]:
    """Yield scheduled principal and prepayments, and below zero those that the ledger has.

    They differ by what a prepayment repaid of principal that had fallen due.
    """
    if schedule is None:
        return
    for event in schedule.events:
        if event.kind in {"principal", "prepayment"} and event.date is not None:
            yield event.date, event.cash_flow
    for entry in entries:
        forgives = entry.kind is EntryKind.WAIVER and entry.waived is WaivedPart.PRINCIPAL
        if entry.amount is not None and (forgives or entry.kind is EntryKind.PREPAYMENT):
            yield entry.value_date, -float(entry.amount)


def has_other_arrears(
    before: Facility, after: Facility, entries: Sequence[LedgerEntry], until: date
) -> bool:
    """Whether other terms give other arrears of principal on a day up to another one.

    Args:
        before: the terms that the figures rest on.
        after: the other terms.
        entries: those in effect, from `select_entries`, by value date.
        until: the last day.
    """
    entries = [entry for entry in entries if entry.value_date <= until]
    dues = [find_principal_dues(facility, entries, until) for facility in (before, after)]
    days = {until, *(entry.value_date for entry in entries)}
    for facility, one in zip((before, after), dues, strict=True):
        days.update(build_timeline(facility).due_dates)
        days.update(e.date for e in (one.schedule.events if one.schedule else ()) if e.date)
    ledger = LedgerFold(before, entries)
    for day in sorted(day for day in days if day <= until):
        state = ledger.run(day)
        repaid, balance = ledger.to_amount(state.repayments), ledger.to_amount(state.balance)
        first, second = (one.measure_arrears(day, repaid, balance) for one in dues)
        if first != second:
            return True
    return False


def _describe(error: FieldError) -> str:
    return f"{error.pointer}: {error.detail}"
