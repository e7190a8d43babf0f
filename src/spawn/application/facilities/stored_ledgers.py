"""Stored ledgers, read once: entries never change, so that only newer ones are loaded."""

from spawn.application.dependencies import Dependencies
from spawn.domain.errors import NotFound
from spawn.domain.facilities.ledger import (
    ENTRY_KIND,
    LEDGER_KIND,
    MAX_ENTRIES,
    RecordedEntry,
    StoredLedger,
    build_entry_id,
)


async def load_ledger(dependencies: Dependencies, facility_id: str) -> StoredLedger:
    """Return the ledger of a facility at its newest version."""
    cache = dependencies.ledgers
    try:
        head = await dependencies.reads.head(LEDGER_KIND, facility_id)
    except NotFound:
        return StoredLedger((await dependencies.reads.position()).epoch)
    ledger = cache.get(facility_id)
    if ledger is None or ledger.epoch != head.epoch or ledger.version > head.version:
        ledger = StoredLedger(head.epoch)
    if ledger.version == head.version:
        return ledger
    numbers = range(ledger.version + 1, min(head.version, MAX_ENTRIES) + 1)
    ids = [build_entry_id(facility_id, number) for number in numbers]
    aggregates = await dependencies.reads.get_many(ENTRY_KIND, ids)
    newer = (RecordedEntry(aggregates[key].state, aggregates[key].created_at) for key in ids)
    return cache.put(facility_id, StoredLedger(head.epoch, (*ledger.entries, *newer)))
