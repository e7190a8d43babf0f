"""The fold of a ledger: what the entries of a facility amount to on a date.

Amounts are whole minor units and interest is an exact fraction of one, so that no order of
operations matters and no rounding builds up: what is due on a payment date is the rounded total of
the interest so far, less what was due before. A payment is allocated to fees, overdue interest,
the interest of the day, deferred interest, and principal, in this order. Interest of a negative
rate is a credit of the borrower: it is offset against interest that is due or falls due later,
never against principal.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

from spawn.domain.errors import Infeasible
from spawn.domain.facilities.facility import Facility
from spawn.domain.facilities.facility_timeline import (
    RATE_UNITS,
    FacilityTimeline,
    annual_rate_units,
    build_timeline,
)
from spawn.domain.facilities.ledger import EntryKind, LedgerEntry, WaivedPart
from spawn.domain.money import get_exponent

_NEVER: Final = date.max


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of a ledger in minor units, with the balance after it.

    `number` is that of the entry, None for what falls due by the terms. `fees`, `overdue`
    interest, `interest` and `principal` are the parts of the amount: allocated, due or forgiven.
    `deferred_interest` and `accrued_interest` are the parts of `interest` that were not due.
    """

    day: date
    kind: str
    amount: int
    balance: int
    number: int | None = None
    fees: int = 0
    overdue: int = 0
    interest: int = 0
    principal: int = 0
    deferred_interest: int = 0
    accrued_interest: int = 0


class LedgerState(msgspec.Struct):
    """The state of a ledger at the end of a day, in minor units.

    Interest and commitment fee accrue in `parts` of a minor unit.
    `draws`, `cancellations`, `repayments` and the like are totals so far.
    `overdue_interest` fell due on an earlier day, `due_interest` on this one; below zero they are a
    credit. `deferred_interest` is the part of what has accrued that the terms capitalise, and
    `capitalised_by_terms` what was recorded of it and is still a part of the balance.
    """

    parts: int
    balance: int = 0
    draws: int = 0
    cancellations: int = 0
    repayments: int = 0
    prepayments: int = 0
    forgiven_principal: int = 0
    capitalisations: int = 0
    capitalised_by_terms: int = 0
    deferred_interest: int = 0
    paid_interest: int = 0
    paid_fees: int = 0
    fees_due: int = 0
    overdue_interest: int = 0
    due_interest: int = 0
    interest_parts: int | Fraction = 0
    settled_interest: int = 0
    fee_parts: int | Fraction = 0
    settled_fee: int = 0
    rate_units: int = 0
    fixing: Decimal | None = None
    interest_base: int | None = None

    @property
    def accrued_interest(self) -> int:
        """The interest that has accrued and is not due yet, rounded half to even."""
        return self.total_interest - self.settled_interest

    @property
    def total_interest(self) -> int:
        """The interest that has accrued so far, rounded half to even."""
        return _divide(self.interest_parts, self.parts)

    @property
    def accrued_fee(self) -> int:
        """The commitment fee that has accrued and is not due yet, rounded half to even."""
        return _divide(self.fee_parts, self.parts) - self.settled_fee

    @property
    def interest_due(self) -> int:
        """The interest that is due and not paid."""
        return self.overdue_interest + self.due_interest


def _divide(total: int | Fraction, parts: int) -> int:
    """Return total / parts, rounded half to even."""
    if not isinstance(total, int):
        return round(total / parts)
    quotient, remainder = divmod(total, parts)
    twice = 2 * remainder
    return quotient + (twice > parts or (twice == parts and quotient % 2 == 1))


class LedgerFold:
    """A ledger on its way from day to day."""

    def __init__(
        self, facility: Facility, entries: Sequence[LedgerEntry], *, traces: bool = False
    ) -> None:
        self._facility = facility
        self._timeline: FacilityTimeline = build_timeline(facility)
        self._entries = entries
        self._units_per_day = None if self._timeline.moves_accrual else self._timeline.units_per_day
        self._exponent = get_exponent(facility.currency_code)
        self._units = 10**self._exponent
        self._commitment = self.to_units(facility.commitment)
        self._fee_rate_units = int(facility.fees.commitment_fee * RATE_UNITS)
        self._fixes_base = (
            facility.repayment is not None and facility.repayment.interest_base == "fixed"
        )
        rate = facility.rate
        is_plain = rate is not None and not rate.margin_steps and rate.floor is None
        self._margin_units = (
            int(rate.margin * RATE_UNITS) if rate is not None and rate.curve and is_plain else None
        )
        self._traces = traces
        self._checks = False
        self._functions: Mapping[EntryKind, Callable[[LedgerEntry, int], None]] = {
            EntryKind.OPENING: self._open,
            EntryKind.DRAW: self._draw,
            EntryKind.PAYMENT: self._allocate,
            EntryKind.PREPAYMENT: self._prepay,
            EntryKind.RATE_FIXING: self._fix_rate,
            EntryKind.FEE: self._charge_fee,
            EntryKind.CAPITALISATION: self._capitalise,
            EntryKind.CANCELLATION: self._cancel,
            EntryKind.WAIVER: self._forgive,
        }
        self._day = self._interest_from = self._fee_from = date.min
        self._next_entry = self._next_stop = 0
        self.state = LedgerState(self._timeline.year_units * RATE_UNITS)
        self.lines: list[LedgerLine] = []
        self._reset_rate(facility.availability_start)

    def to_units(self, amount: Decimal) -> int:
        """Return an amount in minor units."""
        return int(amount * self._units)

    def to_amount(self, units: int) -> Decimal:
        """Return minor units as an amount of the currency."""
        return Decimal(units).scaleb(-self._exponent)

    @property
    def undrawn(self) -> int:
        """The part of the commitment that may still be drawn.

        Interest that the terms capitalise is no use of it.
        """
        state = self.state
        used = state.draws
        if self._facility.is_revolving:
            used = max(state.balance - state.capitalised_by_terms, 0)
        return self._commitment - state.cancellations - used

    def run(self, on: date, *, checks: bool = False) -> LedgerState:
        """Fold the entries and due dates after the last run through a day; return its state.

        Args:
            on: the last day.
            checks: whether to reject a day that breaks a rule of the ledger.

        Raises:
            Infeasible: a day ends with a balance outside its limits, or an entry exceeds what it
                pays, forgives or capitalises; the detail names the day.
        """
        self._checks = checks
        entries, stops = self._entries, self._timeline.stops
        functions, units, state = self._functions, self._units, self.state
        index, stop = self._next_entry, self._next_stop
        count, stop_count = len(entries), len(stops)
        next_stop = stops[stop] if stop < stop_count else _NEVER
        while True:
            day = entries[index].value_date if index < count else _NEVER
            if next_stop < day:  # noqa: PLR1730 -- a call takes twice as long
                day = next_stop
            if day > on or day is _NEVER:
                break
            if state.due_interest and day > self._day:
                state.overdue_interest += state.due_interest
                state.due_interest = 0
            self._day = day
            if next_stop == day and stop < stop_count:
                self._fall_due(day)
                stop += 1
                next_stop = stops[stop] if stop < stop_count else _NEVER
            first = index
            while index < count and (entry := entries[index]).value_date == day:
                apply = functions.get(entry.kind)
                if apply is not None:
                    amount = entry.amount
                    apply(entry, 0 if amount is None else int(amount * units))
                index += 1
            if checks and index > first:
                self._check_day(day)
            if self._fixes_base:
                self._renew_base(day)
        self._next_entry, self._next_stop = index, stop
        return self._end_day(on)

    def _end_day(self, on: date) -> LedgerState:
        """Return the state with what has accrued since the last change of balance or rate."""
        state = msgspec.structs.replace(self.state)
        state.interest_parts += self._pending_interest(on)
        state.fee_parts += self._pending_fee(on)
        if on > self._day:
            state.overdue_interest += state.due_interest
            state.due_interest = 0
        return state

    def _pending_interest(self, day: date) -> int | Fraction:
        """Return the interest since the balance, the rate or the base changed.

        Days are counted from change to change, and from payment date to payment date; the parts
        of a period add up to it (`FacilityTimeline.count_units`).
        """
        state, start = self.state, self._interest_from
        if not (state.balance and state.rate_units) or day <= start:
            return 0
        base = state.balance if state.interest_base is None else state.interest_base
        per_day = self._units_per_day
        if per_day is not None:
            return base * state.rate_units * ((day - start).days * per_day)
        return base * state.rate_units * self._timeline.count_units(start, day)

    def _pending_fee(self, day: date) -> int | Fraction:
        """Return the commitment fee since the undrawn commitment changed."""
        facility = self._facility
        start = max(self._fee_from, facility.availability_start)
        end = min(day, facility.availability_end)
        if not self._fee_rate_units or end <= start:
            return 0
        return self.undrawn * self._fee_rate_units * self._timeline.count_units(start, end)

    def _settle_accruals(self, day: date) -> None:
        """Accrue through a day on which the balance, the rate or the commitment changes."""
        if day > self._interest_from:
            self.state.interest_parts += self._pending_interest(day)
            self._interest_from = day
        if self._fee_rate_units:
            self.state.fee_parts += self._pending_fee(day)
            self._fee_from = day

    def _fall_due(self, day: date) -> None:
        """Make due what falls due on a day by the terms: interest and fees."""
        timeline, facility, state = self._timeline, self._facility, self.state
        is_payment_date = day in timeline.due_days
        defers = day in timeline.capitalising_dates
        is_change = day == facility.availability_end or day in timeline.margin_dates
        if is_payment_date or defers or is_change:
            self._settle_accruals(day)
        if defers:
            state.deferred_interest = state.accrued_interest
        elif is_payment_date:
            self._make_interest_due(day)
        if day in timeline.margin_dates:
            self._reset_rate(day)
        fees = 0
        if is_payment_date or day == facility.availability_end:
            fees += state.accrued_fee
            state.settled_fee += fees
        if day == facility.availability_start and facility.fees.upfront_fee:
            fees += round(Fraction(facility.fees.upfront_fee) * self._commitment)
        if day in timeline.agency_fee_dates:
            fees += self.to_units(facility.fees.agency_fee)
        if fees:
            state.fees_due += fees
            self._trace(day, "fees_due", fees, fees=fees)

    def _make_interest_due(self, day: date) -> None:
        """Make due what has accrued and is not deferred; on the last payment date all of it."""
        state = self.state
        if day == self._timeline.due_dates[-1]:
            state.deferred_interest = 0
        interest = state.accrued_interest - state.deferred_interest
        state.due_interest += interest
        state.settled_interest += interest
        self._offset_credit()
        if interest:
            self._trace(day, "interest_due", interest, interest=interest)

    def _offset_credit(self) -> None:
        """Offset interest below zero, which lenders owe at a negative rate, against other interest.

        Otherwise a payment would pay the interest of the day in full beside a credit.
        """
        state = self.state
        overdue, due = state.overdue_interest, state.due_interest
        if overdue < 0 < due:
            offset = min(-overdue, due)
        elif due < 0 < overdue:
            offset = -min(overdue, -due)
        else:
            return
        state.overdue_interest += offset
        state.due_interest -= offset

    def _fix_rate(self, entry: LedgerEntry, _amount: int) -> None:
        self._settle_accruals(entry.value_date)
        self.state.fixing = entry.rate
        self._reset_rate(entry.value_date)

    def _draw(self, entry: LedgerEntry, amount: int) -> None:
        self._settle_accruals(entry.value_date)
        self.state.balance += amount
        self.state.draws += amount
        if self._fixes_base:
            self._set_first_base()
        if self._traces:
            self._trace_entry(entry, amount, principal=amount)

    def _open(self, entry: LedgerEntry, amount: int) -> None:
        """Take over a running loan: the fees of the terms until then are not of this ledger."""
        self._draw(entry, amount)
        self.state.fees_due = 0
        self.state.settled_fee += self.state.accrued_fee
        if entry.accrued_interest is not None:
            accrued = self.to_units(entry.accrued_interest)
            self.state.interest_parts += accrued * self.state.parts

    def _prepay(self, entry: LedgerEntry, amount: int) -> None:
        self._settle_accruals(entry.value_date)
        self._reduce_balance(amount)
        self.state.prepayments += amount
        if self._traces:
            self._trace_entry(entry, amount, principal=amount)

    def _charge_fee(self, entry: LedgerEntry, amount: int) -> None:
        self.state.fees_due += amount
        if self._traces:
            self._trace_entry(entry, amount, fees=amount)

    def _cancel(self, entry: LedgerEntry, amount: int) -> None:
        self._settle_accruals(entry.value_date)
        self.state.cancellations += amount
        self._trace_entry(entry, amount)

    def _reduce_balance(self, amount: int) -> None:
        """Take principal off the balance; interest that was capitalised is no more than it."""
        state = self.state
        state.balance -= amount
        state.capitalised_by_terms = min(state.capitalised_by_terms, max(state.balance, 0))

    def _allocate(self, entry: LedgerEntry, amount: int) -> None:
        """Allocate a payment: fees, overdue interest, that of the day, deferred, principal."""
        state = self.state
        fees = min(amount, max(state.fees_due, 0))
        overdue = min(amount - fees, max(state.overdue_interest, 0))
        interest = min(amount - fees - overdue, max(state.due_interest, 0))
        deferral = min(amount - fees - overdue - interest, max(state.deferred_interest, 0))
        principal = amount - fees - overdue - interest - deferral
        if principal:
            self._settle_accruals(entry.value_date)
        state.fees_due -= fees
        state.overdue_interest -= overdue
        state.due_interest -= interest
        self._settle_deferred(deferral)
        self._reduce_balance(principal)
        state.paid_fees += fees
        state.paid_interest += overdue + interest + deferral
        state.repayments += principal
        if self._traces:
            self._trace_entry(
                entry,
                amount,
                fees=fees,
                overdue=overdue,
                interest=interest + deferral,
                principal=principal,
                deferred_interest=deferral,
            )

    def _settle_deferred(self, amount: int) -> None:
        """Settle deferred interest: it is paid, forgiven or capitalised."""
        self.state.deferred_interest -= amount
        self.state.settled_interest += amount

    def _capitalise(self, entry: LedgerEntry, amount: int) -> None:
        """Add interest to the balance: what the terms capitalise, what is due, what has accrued.

        A credit of the borrower is offset before all of it.
        """
        state = self.state
        self._settle_accruals(entry.value_date)
        if self._checks and amount > state.interest_due + state.accrued_interest:
            owed = self.to_amount(state.interest_due + state.accrued_interest)
            raise _exceeds(f"the interest of {owed} on {entry.value_date}")
        credit = min(state.overdue_interest, 0) + min(state.due_interest, 0)
        rest = amount - credit
        deferral = min(rest, max(state.deferred_interest, 0))
        rest -= deferral
        overdue = min(rest, max(state.overdue_interest, 0))
        due = min(rest - overdue, max(state.due_interest, 0))
        accrual = rest - overdue - due
        state.overdue_interest = max(state.overdue_interest, 0) - overdue
        state.due_interest = max(state.due_interest, 0) - due
        self._settle_deferred(deferral)
        state.settled_interest += accrual
        state.balance += amount
        state.capitalisations += amount
        state.capitalised_by_terms += min(deferral, amount)
        self._trace_entry(
            entry, amount, interest=amount, deferred_interest=deferral, accrued_interest=accrual
        )

    def _forgive(self, entry: LedgerEntry, amount: int) -> None:
        """Forgive a part of what is owed."""
        self._settle_accruals(entry.value_date)
        state, part = self.state, entry.waived
        deferral = max(state.deferred_interest, 0)
        owed = {
            WaivedPart.FEES: state.fees_due,
            WaivedPart.INTEREST: max(state.interest_due, 0) + deferral,
            WaivedPart.PRINCIPAL: state.balance,
        }[part or WaivedPart.PRINCIPAL]
        if self._checks and amount > owed:
            raise _exceeds(f"the {part} of {self.to_amount(owed)} owed on {entry.value_date}")
        if part is WaivedPart.FEES:
            state.fees_due -= amount
            self._trace_entry(entry, amount, fees=amount)
        elif part is WaivedPart.INTEREST:
            self._forgive_interest(entry, amount)
        else:
            self._reduce_balance(amount)
            state.forgiven_principal += amount
            self._trace_entry(entry, amount, principal=amount)

    def _forgive_interest(self, entry: LedgerEntry, amount: int) -> None:
        """Forgive interest that is due, and deferred interest after it."""
        state = self.state
        overdue = min(amount, max(state.overdue_interest, 0))
        due = min(amount - overdue, max(state.due_interest, 0))
        deferral = min(amount - overdue - due, max(state.deferred_interest, 0))
        state.overdue_interest -= overdue
        state.due_interest -= amount - overdue - deferral
        self._settle_deferred(deferral)
        self._trace_entry(entry, amount, interest=amount, deferred_interest=deferral)

    def _set_first_base(self) -> None:
        """Set the fixed base of interest when the loan is first drawn."""
        repayment = self._facility.repayment
        if self.state.interest_base is None and repayment is not None:
            amount = repayment.interest_base_amount
            self.state.interest_base = (
                self.state.balance if amount is None else self.to_units(amount)
            )

    def _renew_base(self, day: date) -> None:
        if day in self._timeline.base_dates:
            self._settle_accruals(day)
            self.state.interest_base = self.state.balance

    def _reset_rate(self, day: date) -> None:
        state = self.state
        if self._margin_units is None or state.fixing is None:
            state.rate_units = annual_rate_units(self._facility, state.fixing, day)
        else:
            state.rate_units = int(state.fixing * RATE_UNITS) + self._margin_units

    def _trace_entry(self, entry: LedgerEntry, amount: int, **parts: int) -> None:
        if self._traces:
            self._trace(entry.value_date, entry.kind, amount, number=entry.number, **parts)

    def _trace(self, day: date, kind: str, amount: int, **members: int) -> None:
        if self._traces:
            line = LedgerLine(
                day=day, kind=kind, amount=amount, balance=self.state.balance, **members
            )
            self.lines.append(line)

    def _check_day(self, day: date) -> None:
        state, rate = self.state, self._facility.rate
        limit = self._commitment - state.cancellations
        highest = limit + state.capitalised_by_terms
        if state.balance < 0:
            detail = f"leaves a balance of {self.to_amount(state.balance)} on {day}"
            raise Infeasible.at("/amount", "negative_balance", detail)
        if self.undrawn < 0 or state.balance > highest:
            detail = (
                f"brings what is drawn to {self.to_amount(state.draws)} and the balance to "
                f"{self.to_amount(state.balance)} on {day}; the commitment then is "
                f"{self.to_amount(limit)}"
            )
            raise Infeasible.at("/amount", "exceeds_commitment", detail)
        if state.balance and rate is not None and rate.curve and state.fixing is None:
            detail = f"leaves {rate.curve} without a fixing on {day}; record it first"
            raise Infeasible.at("/value_date", "no_rate", detail)


def _exceeds(what: str) -> Infeasible:
    return Infeasible.at("/amount", "exceeds_due", f"exceeds {what}")


class LedgerPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a facility at the end of a day; amounts are exact to the minor unit.

    `commitment` is less what was cancelled. `undrawn` may still be drawn: nothing after the
    availability period. `accrued_interest` and `accrued_fee` are not due yet;
    `interest_due` and `fees_due` are due and not paid, `interest_overdue` since before this day.
    `repaid` is the principal that payments and prepayments have repaid, `prepaid` the latter part.
    """

    on: date
    currency_code: str
    commitment: Decimal
    drawn: Decimal
    undrawn: Decimal
    balance: Decimal
    repaid: Decimal
    prepaid: Decimal
    capitalised: Decimal
    annual_rate: Decimal
    accrued_interest: Decimal
    interest_due: Decimal
    interest_overdue: Decimal
    interest_paid: Decimal
    accrued_fee: Decimal
    fees_due: Decimal
    fees_paid: Decimal


def fold(facility: Facility, entries: Sequence[LedgerEntry], on: date) -> LedgerPosition:
    """Return what a facility amounts to at the end of a day.

    Args:
        facility: the terms.
        entries: those in effect on the day, from `select_entries`.
        on: the day.
    """
    ledger = LedgerFold(facility, entries)
    state = ledger.run(on)
    amount = ledger.to_amount
    return LedgerPosition(
        on=on,
        currency_code=facility.currency_code,
        commitment=facility.commitment - amount(state.cancellations),
        drawn=amount(state.draws),
        undrawn=amount(ledger.undrawn if on <= facility.availability_end else 0),
        balance=amount(state.balance),
        repaid=amount(state.repayments + state.prepayments),
        prepaid=amount(state.prepayments),
        capitalised=amount(state.capitalisations),
        annual_rate=(Decimal(state.rate_units) / RATE_UNITS).normalize() + Decimal(0),
        accrued_interest=amount(state.accrued_interest),
        interest_due=amount(state.interest_due),
        interest_overdue=amount(state.overdue_interest),
        interest_paid=amount(state.paid_interest),
        accrued_fee=amount(state.accrued_fee),
        fees_due=amount(state.fees_due),
        fees_paid=amount(state.paid_fees),
    )


def check_ledger(facility: Facility, entries: Sequence[LedgerEntry]) -> None:
    """Check a ledger at every value date, from the first to the last.

    Raises:
        Infeasible: a day breaks a rule; the detail names it.
    """
    if entries:
        LedgerFold(facility, entries).run(entries[-1].value_date, checks=True)


def find_highest_debt(facility: Facility, entries: Sequence[LedgerEntry], since: date) -> Decimal:
    """Return the highest debt at the end of a day and of the later days that have entries.

    Debt is the balance with its interest and its fees, accrued or due. Interest that lenders owe
    at a negative rate repays nothing, and is no debt. If there is none, it is the fees that fall
    due later by the terms.

    Args:
        facility: the terms.
        entries: all in effect, from `select_entries`.
        since: the first day.
    """
    ledger = LedgerFold(facility, entries)
    days = sorted({since, *(e.value_date for e in entries if e.value_date > since)})
    debt = max(_measure_debt(ledger.run(day)) for day in days)
    if not debt:
        last = build_timeline(facility).stops[-1]
        debt = ledger.run(max(last, days[-1])).fees_due
    return ledger.to_amount(debt)


def _measure_debt(state: LedgerState) -> int:
    interest = max(state.interest_due + state.accrued_interest, 0)
    return state.balance + interest + state.accrued_fee + state.fees_due


def has_other_figures(
    before: Facility, after: Facility, entries: Sequence[LedgerEntry], until: date
) -> bool:
    """Whether other terms give other movements, interest or fees up to a day.

    Args:
        before: the terms that the figures rest on.
        after: the other terms.
        entries: those in effect, from `select_entries`.
        until: the last day.
    """
    figures = []
    for facility in (before, after):
        ledger = LedgerFold(facility, entries, traces=True)
        state = ledger.run(until)
        figures.append((ledger.lines, state.accrued_interest, state.accrued_fee))
    return figures[0] != figures[1]
