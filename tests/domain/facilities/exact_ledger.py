"""A ledger folded day by day in exact fractions, and random ledgers to compare with."""

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.domain.facilities.facility_terms import a_facility

from spawn.domain.errors import SpawnError
from spawn.domain.facilities.facility import (
    DatedMargin,
    Facility,
    FacilityFees,
    FacilityRepayment,
    RateBasis,
)
from spawn.domain.facilities.ledger import (
    EntryFacts,
    EntryKind,
    LedgerEntry,
    RecordedEntry,
    WaivedPart,
)
from spawn.domain.facilities.ledger_rules import build_entry, build_reversal
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

START = date(2026, 3, 31)
END = date(2029, 3, 31)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_DAY = timedelta(1)
_YEAR_DAYS = {"ACT/360": 360, "ACT/365F": 365}
_KIND_ORDER = [
    *("opening", "fee", "cancellation", "waiver", "capitalisation", "payment", "prepayment"),
    *("draw", "rate_fixing", "closing"),
]


def a_short_facility(day_count: str = "ACT/360", **terms: Any) -> Facility:
    """Return a loan of three years on a curve, with every fee."""
    members: dict[str, Any] = {
        "commitment": Decimal(5_000),
        "availability_start": START,
        "availability_end": date(2027, 6, 15),
        "day_count": day_count,
        "fees": FacilityFees(
            upfront_fee=Decimal("0.0125"),
            commitment_fee=Decimal("0.0035"),
            agency_fee=Decimal(3),
        ),
        "rate": RateBasis(
            curve="index",
            margin=Decimal("0.0175"),
            margin_steps=(DatedMargin(from_date=date(2027, 11, 30), margin=Decimal("0.02")),),
            floor=Decimal(0),
        ),
        "payment_dates": PaymentDateTerms(
            start=START, end=END, frequency=PaymentFrequency.QUARTERLY
        ),
        "repayment": FacilityRepayment(profile="straight_line", grace_periods=2),
        **terms,
    }
    return a_facility(**members)


def fold_by_day(
    facility: Facility, recorded: Sequence[RecordedEntry], on: date, as_of: datetime
) -> dict[str, Fraction]:
    """Return the state at the end of a day, in major units."""
    known = [each.entry for each in recorded if each.recorded_at <= as_of]
    gone = {entry.reverses for entry in known}
    in_effect = [e for e in known if e.reverses is None and e.number not in gone]
    return DailyLedger(facility, in_effect).run(on)


class NightlyTotal:
    """The sum of a nightly accrual; equal nights in a row are counted, and added as one product."""

    def __init__(self, year: int) -> None:
        self._year = year
        self._total = Fraction(0)
        self._night = (Fraction(0), Decimal(0), Decimal(0))
        self._nights = 0

    def add(self, amount: Fraction, rate: Decimal, margin: Decimal) -> None:
        night = (amount, rate, margin)
        if night != self._night:
            self._add_nights()
            self._night = night
        self._nights += 1

    def _add_nights(self) -> None:
        amount, rate, margin = self._night
        self._total += amount * (Fraction(rate) + Fraction(margin)) * self._nights / self._year
        self._nights = 0

    @property
    def cents(self) -> Fraction:
        self._add_nights()
        return _cents(self._total)


class DailyLedger:
    """A ledger that passes every night of its life, in major units."""

    def __init__(self, facility: Facility, in_effect: list[LedgerEntry]) -> None:
        self._facility = facility
        self._by_day: dict[date, list[LedgerEntry]] = defaultdict(list)
        for entry in sorted(in_effect, key=lambda e: (_KIND_ORDER.index(e.kind), e.number)):
            self._by_day[entry.value_date].append(entry)
        self._year = _YEAR_DAYS[facility.day_count or ""]
        self._due_dates = {_add_months(START, 3 * n) for n in range(1, 13)}
        self.fixing: Decimal | None = None
        self.undrawn = Fraction(facility.commitment)
        self.drawn = self.balance = self.paid_interest = Fraction(0)
        self.settled = self.overdue = self.today = Fraction(0)
        self.fee_settled = self.fees_due = Fraction(0)
        self.interest, self.fee_total = NightlyTotal(self._year), NightlyTotal(self._year)

    def run(self, on: date) -> dict[str, Fraction]:
        day = START - _DAY
        while day < on:
            self._pass_night(day)
            day += _DAY
            self._fall_due(day)
            for entry in self._by_day.get(day, ()):
                getattr(self, f"_{entry.kind}")(entry, Fraction(entry.amount or 0))
        return {
            "drawn": self.drawn,
            "balance": self.balance,
            "accrued_interest": self.interest.cents - self.settled,
            "interest_due": self.overdue + self.today,
            "interest_overdue": self.overdue,
            "interest_paid": self.paid_interest,
            "accrued_fee": self.fee_total.cents - self.fee_settled,
            "fees_due": self.fees_due,
            "undrawn": self.undrawn if on <= self._facility.availability_end else Fraction(0),
        }

    def _pass_night(self, day: date) -> None:
        facility, rate = self._facility, self._facility.rate
        assert rate is not None
        if self.fixing is not None and self.balance:
            step = rate.margin_steps[0]
            margin = step.margin if day >= step.from_date else rate.margin
            base = self.fixing if rate.floor is None else max(self.fixing, rate.floor)
            self.interest.add(self.balance, base, margin)
        if facility.availability_start <= day < facility.availability_end:
            self.fee_total.add(self.undrawn, facility.fees.commitment_fee, Decimal(0))
        if self.today:
            self.overdue, self.today = self.overdue + self.today, Fraction(0)

    def _fall_due(self, day: date) -> None:
        facility, fees = self._facility, self._facility.fees
        if day in self._due_dates:
            self.today = self.interest.cents - self.settled
            self.settled += self.today
            if self.overdue * self.today < 0:  # a credit is offset first
                overdue, both = self.overdue, self.overdue + self.today
                stays_overdue = (both > 0) == (overdue > 0)
                self.overdue = both if stays_overdue else Fraction(0)
                self.today = both - self.overdue
        if day in self._due_dates or day == facility.availability_end:
            self.fees_due += self.fee_total.cents - self.fee_settled
            self.fee_settled = self.fee_total.cents
        if day == facility.availability_start:
            self.fees_due += _cents(Fraction(fees.upfront_fee) * Fraction(facility.commitment))
        if (day.month, day.day) == (START.month, START.day) and day < END:
            self.fees_due += Fraction(fees.agency_fee)

    def _draw(self, _entry: LedgerEntry, amount: Fraction) -> None:
        self.drawn += amount
        self.undrawn -= amount
        self.balance += amount

    def _rate_fixing(self, entry: LedgerEntry, _amount: Fraction) -> None:
        self.fixing = entry.rate

    def _fee(self, _entry: LedgerEntry, amount: Fraction) -> None:
        self.fees_due += amount

    def _cancellation(self, _entry: LedgerEntry, amount: Fraction) -> None:
        self.undrawn -= amount

    def _prepayment(self, _entry: LedgerEntry, amount: Fraction) -> None:
        self.balance -= amount

    def _take_interest(self, amount: Fraction) -> Fraction:
        """Take from the interest that is due, the overdue part first; return the rest."""
        from_overdue = min(amount, self.overdue)
        from_today = min(amount - from_overdue, self.today)
        self.overdue -= from_overdue
        self.today -= from_today
        return amount - from_overdue - from_today

    def _capitalisation(self, _entry: LedgerEntry, amount: Fraction) -> None:
        self.settled += self._take_interest(amount)
        self.balance += amount

    def _waiver(self, entry: LedgerEntry, amount: Fraction) -> None:
        if entry.waived == "fees":
            self.fees_due -= amount
        elif entry.waived == "interest":
            assert self._take_interest(amount) == 0
        else:
            self.balance -= amount

    def _payment(self, _entry: LedgerEntry, amount: Fraction) -> None:
        for_fees = min(amount, max(self.fees_due, Fraction(0)))
        self.fees_due -= for_fees
        is_owed = self.overdue + self.today > 0
        principal = self._take_interest(amount - for_fees) if is_owed else amount - for_fees
        self.paid_interest += amount - for_fees - principal
        self.balance -= principal


def _cents(amount: Fraction) -> Fraction:
    return Fraction(round(amount * 100), 100)


def _add_months(day: date, months: int) -> date:
    first = date(day.year + (day.month - 1 + months) // 12, (day.month - 1 + months) % 12 + 1, 1)
    last = (first + timedelta(31)).replace(day=1) - _DAY
    return first.replace(day=min(day.day, last.day))


def random_ledger(facility: Facility, seed: int, attempts: int) -> list[RecordedEntry]:
    """Record random facts and reversals, in an order unlike that of their value dates.

    What the ledger rejects is left out.
    """
    draw_facts = random.Random(seed)
    recorded: list[RecordedEntry] = []
    for attempt in range(attempts):
        recorded_at = NOON + timedelta(hours=attempt)
        try:
            if recorded and draw_facts.random() < 0.15:
                number = draw_facts.randint(1, len(recorded))
                facts = EntryFacts(kind=EntryKind.REVERSAL, value_date=START, reason="mistaken")
                entry = build_reversal(facility, recorded, number, facts)
            else:
                facts = _random_facts(draw_facts, attempt)
                entry = build_entry(facility, recorded, facts, today=date(2050, 1, 1))
        except SpawnError:
            continue
        recorded.append(RecordedEntry(entry, recorded_at))
    return recorded


_KINDS = (
    *(EntryKind.DRAW,) * 5,
    *(EntryKind.PAYMENT,) * 4,
    *(EntryKind.RATE_FIXING,) * 2,
    *(EntryKind.PREPAYMENT, EntryKind.FEE, EntryKind.CAPITALISATION),
    *(EntryKind.CANCELLATION, EntryKind.WAIVER),
)


def _random_facts(source: random.Random, attempt: int) -> EntryFacts:
    if attempt == 0:
        return EntryFacts(kind=EntryKind.RATE_FIXING, value_date=START, rate=Decimal("0.02415"))
    kind = source.choice(_KINDS)
    last = 440 if kind is EntryKind.DRAW else 1_150
    day = START + timedelta(days=source.randint(0, last))
    if source.random() < 0.3:
        day = _add_months(START, 3 * source.randint(0, 12))
    if kind is EntryKind.RATE_FIXING:
        rate = Decimal(source.randint(-20_000, 90_000)).scaleb(-6)
        return EntryFacts(kind=kind, value_date=day, rate=rate)
    largest = 160_000 if kind is EntryKind.DRAW else 40_000
    if kind in {EntryKind.CAPITALISATION, EntryKind.WAIVER, EntryKind.FEE}:
        largest = 2_500
    return EntryFacts(
        kind=kind,
        value_date=day,
        amount=Decimal(source.randint(1, largest)).scaleb(-2),
        waived=source.choice(list(WaivedPart)) if kind is EntryKind.WAIVER else None,
    )
