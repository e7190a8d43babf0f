"""Checker of the history of one ledger: draws, reversals, and a milestone that stops draws.

The numbers of entries fix the order of writes, and the feed the order of entries and of changes of
the project. What the clients learned and what the service shows must explain each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from tests.histories.operations import Outcome

ENTRY_EVENT = "spawn.entry.recorded.v1"
MILESTONE = "permit"


@dataclass(kw_only=True)
class LedgerWrite:
    """A draw, or the reversal of one; a retry with the same key is part of it."""

    key: str
    amount: Decimal = Decimal(0)
    reverses: int | None = None
    outcome: Outcome = Outcome.UNKNOWN
    code: str = ""
    numbers: list[int] = field(default_factory=list)
    """Number of the entry in each response."""


class LedgerAccount(NamedTuple):
    """The service's own account of the ledger, once it is quiet."""

    entries: list[dict[str, Any]]
    version: int
    balance: Decimal
    events: list[dict[str, Any]]


class LedgerHistory(NamedTuple):
    """Everything that the clients of a ledger did, and the account of the service."""

    commitment: Decimal
    project_id: str
    writes: list[LedgerWrite]
    account: LedgerAccount


def check_ledger_history(history: LedgerHistory) -> list[str]:
    """Return a sentence for each violation."""
    return [
        *_check_numbers(history.account),
        *_check_writes(history),
        *_check_commitment(history),
        *_check_draw_stops(history),
    ]


def _check_numbers(account: LedgerAccount) -> Iterator[str]:
    """Check that an entry is whole: numbered, counted by the ledger, and in the feed."""
    numbers = [entry["number"] for entry in account.entries]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the entries are numbered {numbers}"
    if account.version != len(numbers):
        yield f"the ledger counts {account.version} entries and has {len(numbers)}"
    published = [e["data"]["after"]["number"] for e in account.events if e["type"] == ENTRY_EVENT]
    if published != numbers:
        yield f"the feed has the entries {published}"


def _check_writes(history: LedgerHistory) -> Iterator[str]:
    """Check each write against the entries with its key."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for entry in history.account.entries:
        by_key.setdefault(entry["external_key"], []).append(entry)
    for write in history.writes:
        entries = by_key.pop(write.key, [])
        if len(entries) > 1:
            yield f"{write.key} was recorded {len(entries)} times"
        if write.outcome is Outcome.DONE and not entries:
            yield f"the acknowledged write {write.key} is lost"
        if write.outcome is Outcome.REJECTED and entries:
            yield f"the rejected write {write.key} ({write.code}) was recorded"
        for entry in entries:
            if any(number != entry["number"] for number in write.numbers):
                yield f"{write.key} is entry {entry['number']}; a response had another number"
            yield from _compare(write, entry)
    if by_key:
        yield f"nobody wrote {sorted(by_key)}"


def _compare(write: LedgerWrite, entry: dict[str, Any]) -> Iterator[str]:
    if write.reverses is None and Decimal(entry["amount"]) != write.amount:
        yield f"{write.key} was recorded with {entry['amount']}, not {write.amount}"
    if entry["reverses"] != write.reverses:
        yield f"{write.key} reverses {entry['reverses']}, not {write.reverses}"


def _check_commitment(history: LedgerHistory) -> Iterator[str]:
    """Check what is drawn after each entry, by the order of the ledger."""
    drawn, reversed_numbers = Decimal(0), set[int]()
    for entry in history.account.entries:
        drawn += Decimal(entry["amount"])
        if drawn > history.commitment:
            yield f"entry {entry['number']} brings what is drawn to {drawn}"
        if entry["reverses"] is not None:
            if entry["reverses"] in reversed_numbers:
                yield f"entry {entry['reverses']} was reversed twice"
            reversed_numbers.add(entry["reverses"])
    if history.account.balance != drawn:
        yield f"the balance is {history.account.balance}, the entries make {drawn}"


def _check_draw_stops(history: LedgerHistory) -> Iterator[str]:
    """Check that no draw follows the reopening of the milestone in the feed."""
    is_open = True
    for event in history.account.events:
        after = event["data"]["after"]
        if event["type"] != ENTRY_EVENT:
            if after.get("project_id") == history.project_id and "milestones" in after:
                (milestone,) = after["milestones"]
                is_open = milestone.get("met_on") is None
        elif is_open and after["kind"] == "draw":
            yield f"entry {after['number']} was drawn while the milestone was open"
