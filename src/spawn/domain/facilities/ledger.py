"""Entries of a facility's ledger: facts with a value date, which nothing ever changes.

A ledger is the list of its entries. What they amount to on a date, as known at an instant, is
folded from them (`ledger_fold`) and never stored. An error is corrected by a reversal and a new
entry.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.finance.loans.loan_terms import PrepaymentEffect

ENTRY_KIND: Final = "entry"
LEDGER_KIND: Final = "ledger"
"""Kinds of the aggregates: one entry, and the ledger that numbers the entries of a facility."""

ENTRY_RECORDED_EVENT: Final = "entry.recorded"

MAX_ENTRIES: Final = 10_000
"""Entries of one ledger."""


class EntryKind(StrEnum):
    """The fact that an entry records.

    `opening` is the balance of a running loan that is taken over, with its accrued interest;
    `rate_fixing` the value of the curve from its date on; `cancellation` ends a part of the
    commitment; `closing` closes the periods up to its date; `reversal` undoes another entry.
    """

    OPENING = "opening"
    DRAW = "draw"
    PAYMENT = "payment"
    PREPAYMENT = "prepayment"
    RATE_FIXING = "rate_fixing"
    FEE = "fee"
    CAPITALISATION = "capitalisation"
    CANCELLATION = "cancellation"
    WAIVER = "waiver"
    CLOSING = "closing"
    REVERSAL = "reversal"


class WaivedPart(StrEnum):
    """The part of what is owed that a waiver forgives."""

    FEES = "fees"
    INTEREST = "interest"
    PRINCIPAL = "principal"


KINDS_WITHOUT_AMOUNT: Final = frozenset({EntryKind.RATE_FIXING, EntryKind.CLOSING})
"""Kinds that state no amount; the amount of a reversal follows from the entry that it undoes."""


class EntryFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fact as a client states it.

    `amount` is above zero, in the currency of the facility. `rate` is that of a fixing, a fraction
    per annum without the margin. `accrued_interest` is that of an opening position. `waived` names
    the part that a waiver forgives, `effect` what a prepayment does to later payments. An
    `external_key` is unique in its ledger. `evidence` says where the fact is documented. `reason`
    explains an entry in a closed period.
    """

    kind: EntryKind
    value_date: date
    amount: Decimal | None = None
    rate: Decimal | None = None
    accrued_interest: Decimal | None = None
    waived: WaivedPart | None = None
    effect: PrepaymentEffect | None = None
    external_key: str | None = None
    evidence: str | None = None
    reason: str | None = None


class LedgerEntry(EntryFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry; `number` counts the entries of its ledger from 1.

    A reversal has the value date of the entry that it `reverses`, and its amount with the opposite
    sign. `is_restatement` marks an entry that was valued in a period already closed.
    """

    entry_id: str
    facility_id: str
    project_id: str
    number: int
    currency_code: str
    reverses: int | None = None
    is_restatement: bool = False


class FacilityLedger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ledger of a facility, written with each entry; its version is the number of entries."""

    facility_id: str
    project_id: str
    entries: int


class RecordedEntry(msgspec.Struct, frozen=True):
    """An entry with the instant at which it was recorded."""

    entry: LedgerEntry
    recorded_at: datetime


class StoredLedger(msgspec.Struct, frozen=True):
    """The entries of a facility, oldest first, in an epoch of the store."""

    epoch: int
    entries: tuple[RecordedEntry, ...] = ()

    @property
    def version(self) -> int:
        """The version of the ledger, which is the number of its entries."""
        return len(self.entries)

    @property
    def recorded_at(self) -> datetime | None:
        """The instant of the newest entry; None if there is none."""
        return self.entries[-1].recorded_at if self.entries else None


def build_entry_id(facility_id: str, number: int) -> str:
    """Return the id of an entry."""
    return f"{facility_id}.{number}"


def find_facility_of_entry(entry_id: str) -> str:
    """Return the id of the facility that an entry belongs to."""
    return entry_id.rpartition(".")[0]


def select_entries(
    entries: Iterable[RecordedEntry], on: date | None = None, as_of: datetime | None = None
) -> list[LedgerEntry]:
    """Return the entries in effect on a date, as known at an instant, by value date.

    A reversed entry and its reversal are left out. Within a day charges come before payments, and
    payments before draws; entries of one kind come as they were recorded.
    """
    visible = [each.entry for each in entries if as_of is None or each.recorded_at <= as_of]
    in_effect = sort_in_effect(visible)
    return in_effect if on is None else [e for e in in_effect if e.value_date <= on]


def sort_in_effect(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Return the entries that are not reversed and no reversals, in the order of their effect."""
    reversed_numbers = {entry.reverses for entry in entries if entry.reverses is not None}
    in_effect = [
        entry
        for entry in entries
        if entry.reverses is None and entry.number not in reversed_numbers
    ]
    in_effect.sort(key=_day_order)
    return in_effect


def find_closed_date(entries: Iterable[LedgerEntry]) -> date | None:
    """Return the last date of the closed periods; None if none was closed."""
    return max(
        (entry.value_date for entry in entries if entry.kind is EntryKind.CLOSING), default=None
    )


_ORDER: Final[Mapping[EntryKind, int]] = {
    kind: rank
    for rank, kind in enumerate(
        (
            EntryKind.OPENING,
            EntryKind.FEE,
            EntryKind.CANCELLATION,
            EntryKind.WAIVER,
            EntryKind.CAPITALISATION,
            EntryKind.PAYMENT,
            EntryKind.PREPAYMENT,
            EntryKind.DRAW,
            EntryKind.RATE_FIXING,
            EntryKind.CLOSING,
            EntryKind.REVERSAL,
        )
    )
}


def _day_order(entry: LedgerEntry) -> tuple[date, int, int]:
    return entry.value_date, _ORDER[entry.kind], entry.number
