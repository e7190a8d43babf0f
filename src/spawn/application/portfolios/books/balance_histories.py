"""Balance histories of facilities: derived once for each version of terms and ledger, and stored.

A follower of the journal derives them a few seconds after each entry, so that the first report of a
process reads them. One that is missing, or of other versions, is derived by its reader.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.facilities.stored_ledgers import load_ledger
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import CursorExpired, CursorInvalid, SpawnError
from spawn.domain.events.position import Position
from spawn.domain.facilities.balance_history import (
    BALANCE_RULES,
    BalanceHistory,
    derive_balance_history,
)
from spawn.domain.facilities.facility import FACILITY_AMENDED_EVENT, FACILITY_KIND, Facility
from spawn.domain.facilities.ledger import (
    ENTRY_RECORDED_EVENT,
    LEDGER_KIND,
    RecordedEntry,
    find_facility_of_entry,
    select_entries,
)
from spawn.domain.portfolios.held_facility import HeldFacility
from spawn.ports.storage import DerivedDocument

FOLLOW_PAUSE_S: Final = 5.0
"""Seconds between two derivations of the follower, so that many entries of a ledger share one."""

_HISTORIES: Final = "balance_history"
_PROGRESS: Final = "balance_history_progress"
_EVENTS: Final = frozenset({ENTRY_RECORDED_EVENT, FACILITY_AMENDED_EVENT})
_FEED_ROWS: Final = 1_000
_READS: Final = 500
_LOADED: Final = 5_000
_IDLE_S: Final = 600.0
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(BalanceHistory).decode

Basis = tuple[int, ...]
"""The number of the rules, the epoch, and the versions of the facility and of its ledger."""


def build_basis(epoch: int, facility_version: int, entry_count: int) -> Basis:
    """Return the basis of a history."""
    return BALANCE_RULES, epoch, facility_version, entry_count


async def find_histories(
    dependencies: Dependencies, facilities: Iterable[HeldFacility], epoch: int
) -> tuple[dict[str, BalanceHistory], dict[str, HeldFacility]]:
    """Return the cached or stored histories of facilities by id, and the facilities without one."""
    cache = dependencies.balance_histories
    histories: dict[str, BalanceHistory] = {}
    missing: dict[str, HeldFacility] = {}
    for one in facilities:
        facility_id = one.facility.facility_id
        basis = build_basis(epoch, one.version, one.entry_count)
        history = cache.get((facility_id, basis)) if one.entry_count else BalanceHistory()
        if history is None:
            missing[facility_id] = one
        else:
            histories[facility_id] = history
    for batch in split_keys(list(missing), _LOADED):
        await asyncio.sleep(0)
        for key, document in (await _load(dependencies, batch)).items():
            one = missing[key]
            basis = build_basis(epoch, one.version, one.entry_count)
            if document.basis == basis:
                histories[key] = cache.put((key, basis), _decode(document.document))
                del missing[key]
    return histories, missing


async def keep_histories(
    dependencies: Dependencies, histories: Mapping[str, tuple[Basis, BalanceHistory]]
) -> None:
    """Cache and store histories, but none in place of one of later versions."""
    for key, (basis, history) in histories.items():
        dependencies.balance_histories.put((key, basis), history)
    documents_by_key = await _load(dependencies, list(histories))
    documents = [
        DerivedDocument(name=_HISTORIES, key=key, basis=basis, document=_encode(history))
        for key, (basis, history) in histories.items()
        if key not in documents_by_key or documents_by_key[key].basis < basis
    ]
    if documents:
        # A store that cannot be written, such as a full one, can be read all the same.
        with suppress(SpawnError):
            await dependencies.derived_documents.save_derived(documents)


async def _load(dependencies: Dependencies, keys: Sequence[str]) -> dict[str, DerivedDocument]:
    return await dependencies.derived_documents.load_derived(_HISTORIES, keys)


def derive_history(facility: Facility, entries: Sequence[RecordedEntry]) -> BalanceHistory:
    """Return the history of a facility with all the entries that were recorded."""
    return derive_balance_history(facility, select_entries(entries))


def split_keys(keys: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    """Yield keys some at a time."""
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


async def read_histories(
    dependencies: Dependencies, facilities: Mapping[str, StoredAggregate[Facility]]
) -> dict[str, BalanceHistory]:
    """Return the histories of the facilities with a ledger by id, as they are now.

    Those that are missing, or of earlier versions, are derived and stored.
    """
    ledgers = await dependencies.reads.get_many(LEDGER_KIND, list(facilities))
    documents_by_key = await _load(dependencies, list(ledgers))
    epoch = (await dependencies.reads.position()).epoch
    histories: dict[str, BalanceHistory] = {}
    new_histories: dict[str, tuple[Basis, BalanceHistory]] = {}
    for key, head in ledgers.items():
        facility, stored = facilities[key], documents_by_key.get(key)
        if stored and stored.basis == build_basis(epoch, facility.version, head.version):
            histories[key] = _decode(stored.document)
            continue
        ledger = await load_ledger(dependencies, key)
        histories[key] = derive_history(facility.state, ledger.entries)
        basis = build_basis(epoch, facility.version, ledger.version)
        new_histories[key] = basis, histories[key]
        await asyncio.sleep(0)
    if new_histories:
        await keep_histories(dependencies, new_histories)
    return histories


class BalanceFollower:
    """Follower of the journal that derives the histories of the ledgers that have changed.

    Its position is stored as a derived document, and is lost with the others: it then begins with
    the oldest entry.

    Args:
        dependencies: the ports.
        watch: of the journal.
        pause_s: seconds between two derivations.
    """

    def __init__(
        self, dependencies: Dependencies, watch: JournalWatch, *, pause_s: float = FOLLOW_PAUSE_S
    ) -> None:
        self._dependencies = dependencies
        self._watch = watch
        self._pause_s = pause_s

    async def run(self) -> None:
        """Follow until cancelled."""
        position = await self._load_position()
        while True:
            await asyncio.sleep(self._pause_s)
            position = await self.catch_up(position)
            await self._watch.wait(position, _IDLE_S)

    async def _load_position(self) -> Position | None:
        documents_by_key = await self._dependencies.derived_documents.load_derived(_PROGRESS, [""])
        return Position(*documents_by_key[""].basis) if documents_by_key else None

    async def catch_up(self, position: Position | None = None) -> Position:
        """Derive the histories of ledgers that have changed after a position; return the newest."""
        reads = self._dependencies.reads
        newest = await reads.position()
        while True:
            try:
                page = await reads.feed(after=position, limit=_FEED_ROWS, types=_EVENTS)
            except (CursorExpired, CursorInvalid):
                page = await reads.feed(after=None, limit=_FEED_ROWS, types=_EVENTS)
            ids = dict.fromkeys(
                entry.id if entry.kind == FACILITY_KIND else find_facility_of_entry(entry.id)
                for entry in page.entries
            )
            for batch in split_keys(list(ids), _READS):
                await self._derive(batch)
            has_moved = position is None or page.next.number - position.number > _FEED_ROWS
            if ids or has_moved:
                await self._save_position(page.next)
            position = page.next
            if not page.entries and position >= newest:
                return position

    async def _save_position(self, position: Position) -> None:
        basis = (position.epoch, position.number)
        document = DerivedDocument(name=_PROGRESS, key="", basis=basis, document=b"{}")
        with suppress(SpawnError):
            await self._dependencies.derived_documents.save_derived([document])

    async def _derive(self, facility_ids: Sequence[str]) -> None:
        dependencies = self._dependencies
        facilities = await dependencies.reads.get_many(FACILITY_KIND, facility_ids)
        await read_histories(dependencies, facilities)
