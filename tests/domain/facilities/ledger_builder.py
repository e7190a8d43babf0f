"""A ledger in memory, to which tests add entries by the rules."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from spawn.domain.facilities.facility import Facility
from spawn.domain.facilities.ledger import (
    EntryFacts,
    EntryKind,
    LedgerEntry,
    RecordedEntry,
    select_entries,
)
from spawn.domain.facilities.ledger_fold import LedgerPosition, fold
from spawn.domain.facilities.ledger_rules import build_entry, build_reversal

_START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class LedgerBuilder:
    """The ledger of a facility; each entry is recorded an hour after the one before."""

    def __init__(self, facility: Facility) -> None:
        self.facility = facility
        self.today = date.max
        self.recorded: list[RecordedEntry] = []

    def add(
        self, kind: EntryKind, value_date: date, amount: str | None = None, **members: Any
    ) -> LedgerEntry:
        facts = EntryFacts(
            kind=kind,
            value_date=value_date,
            amount=None if amount is None else Decimal(amount),
            **members,
        )
        return self._append(build_entry(self.facility, self.recorded, facts, today=self.today))

    def reverse(self, number: int, reason: str | None = "mistaken") -> LedgerEntry:
        facts = EntryFacts(kind=EntryKind.REVERSAL, value_date=date.min, reason=reason)
        return self._append(build_reversal(self.facility, self.recorded, number, facts))

    def _append(self, entry: LedgerEntry) -> LedgerEntry:
        recorded_at = _START + timedelta(hours=len(self.recorded))
        self.recorded.append(RecordedEntry(entry, recorded_at))
        return entry

    def fold(self, on: date, as_of: datetime | None = None) -> LedgerPosition:
        return fold(self.facility, select_entries(self.recorded, on, as_of), on)
