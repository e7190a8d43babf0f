"""A machine that records, reverses and asks: what was known at an instant never changes."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.domain.facilities.exact_ledger import START, a_short_facility
from tests.domain.facilities.ledger_builder import LedgerBuilder

from spawn.domain.errors import SpawnError
from spawn.domain.facilities.ledger import EntryKind, select_entries
from spawn.domain.facilities.repayment_schedule import build_repayment_schedule
from spawn.domain.facilities.statement import build_statement

DAYS = st.integers(0, 1_150).map(lambda days: START + timedelta(days=days))
AMOUNTS = st.integers(1, 150_000).map(lambda cents: str(Decimal(cents).scaleb(-2)))
KINDS = st.sampled_from(
    [EntryKind.DRAW, EntryKind.PAYMENT, EntryKind.PREPAYMENT, EntryKind.FEE, EntryKind.CANCELLATION]
)


class BitemporalLedger(RuleBasedStateMachine):
    """A ledger, and every figure that was asked of it with its dates."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = LedgerBuilder(a_short_facility())
        self.ledger.add(EntryKind.RATE_FIXING, START, rate=Decimal("0.02415"))
        self.figures: dict[tuple[date, datetime], bytes] = {}

    def compute(self, on: date, as_of: datetime) -> bytes:
        facility = self.ledger.facility
        entries = select_entries(self.ledger.recorded, on, as_of)
        parts: list[Any] = [self.ledger.fold(on, as_of)]
        if on > START:
            parts.append(build_statement(facility, entries, START, on))
            schedule = build_repayment_schedule(facility, entries)
            parts.append(None if schedule is None else schedule.rows)
        return msgspec.json.encode(parts)

    @rule(kind=KINDS, day=DAYS, amount=AMOUNTS)
    def record(self, kind: EntryKind, day: date, amount: str) -> None:
        before = list(self.ledger.recorded)
        try:
            self.ledger.add(kind, day, amount)
        except SpawnError:
            assert self.ledger.recorded == before

    @rule(day=DAYS, rate=st.integers(-9_000, 90_000))
    def fix(self, day: date, rate: int) -> None:
        try:
            self.ledger.add(EntryKind.RATE_FIXING, day, rate=Decimal(rate).scaleb(-6))
        except SpawnError:
            return

    @rule(number=st.integers(1, 30))
    def reverse(self, number: int) -> None:
        try:
            reversal = self.ledger.reverse(number)
        except SpawnError:
            return
        reversed_entry = self.ledger.recorded[number - 1].entry
        assert reversal.value_date == reversed_entry.value_date

    @rule(day=DAYS, back=st.integers(0, 30))
    def ask(self, day: date, back: int) -> None:
        recorded = self.ledger.recorded
        as_of = recorded[max(len(recorded) - 1 - back, 0)].recorded_at
        figures = self.compute(day, as_of)
        assert self.figures.setdefault((day, as_of), figures) == figures

    @invariant()
    def balances_stay_within_the_commitment_on_every_day(self) -> None:
        days = {each.entry.value_date for each in self.ledger.recorded}
        for day in days:
            position = self.ledger.fold(day)
            assert 0 <= position.balance <= position.commitment
            assert position.undrawn >= 0

    def teardown(self) -> None:
        for (day, as_of), figures in self.figures.items():
            assert self.compute(day, as_of) == figures


TestBitemporalLedger = BitemporalLedger.TestCase
TestBitemporalLedger.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)
