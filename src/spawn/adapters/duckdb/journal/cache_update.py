"""The writer's caches, and how a durable commit updates them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from spawn.adapters.duckdb.caches import GenerationalCache, LocationCache, RecentRows
from spawn.adapters.duckdb.journal.prepared_change import PositionedChange, pending_aggregate
from spawn.adapters.duckdb.journal_rows import AggregateLocation, CachedAggregate
from spawn.adapters.duckdb.receipts import ReceiptCache
from spawn.adapters.duckdb.state.page_cache import GovernedWrite, PageCache
from spawn.adapters.duckdb.state.projection import PendingAggregate, Projection
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.domain.aggregates import AGGREGATE_TYPES


class Caches(NamedTuple):
    """The bounded caches of the writer.

    `aggregates` are by key; `page_items`, which pages returned, are by the position of their state.
    """

    locations: LocationCache
    aggregates: GenerationalCache[CachedAggregate]
    page_items: GenerationalCache[CachedAggregate]
    pages: PageCache
    receipts: ReceiptCache
    recent_rows: RecentRows

    def count_entries(self) -> dict[str, int]:
        """Return the entries of the caches of states, by name."""
        return {
            "locations": len(self.locations),
            "aggregates": len(self.aggregates),
            "page_items": len(self.page_items),
        }


Locations = Mapping[str, AggregateLocation | None]


def apply_to_caches(
    caches: Caches,
    projection: Projection,
    schema_history: SchemaHistories,
    changes: Iterable[PositionedChange],
    locations: Locations,
) -> int | None:
    """Make durable changes visible to readers, before they are acknowledged.

    Returns:
        The position at which a governed aggregate was last written, if any was.
    """
    newest_position: int | None = None
    governed_writes: list[GovernedWrite] = []
    for change in changes:
        encoded_count = change.prepared_change.encoded_count
        pending = _pending(schema_history, change, locations)
        if encoded_count:
            # Readers see these in the state tables immediately.
            newest_position = change.rows[encoded_count - 1].position
            caches.locations.mark_existing(
                [row.key for row in change.prepared_change.rows[:encoded_count]]
            )
            caches.pages.clear(newest_position)
        if change.prepared_change.is_bulk():
            newest_position = _apply_bulk(caches, projection, pending) or newest_position
        else:
            newest_position = (
                _apply_small(caches, projection, pending, governed_writes) or newest_position
            )
        receipt = change.prepared_change.change.receipt
        if receipt is not None:
            last = change.rows[-1]
            caches.receipts.put(receipt.key, last.position, last.recorded_at)
    if governed_writes:
        caches.pages.drop_affected(governed_writes)
    return newest_position


def _pending(
    schema_history: SchemaHistories, change: PositionedChange, locations: Locations
) -> list[tuple[str, PendingAggregate]]:
    """Return the aggregates that a change wrote as states, in the active version."""
    pairs = zip(change.prepared_change.rows, change.rows, strict=False)
    return [
        (
            row.key,
            pending_aggregate(
                journal_row,
                schema_history.upgrade_state(
                    journal_row.kind, row.write.state, journal_row.schema_version
                ),
                locations.get(row.key),
                schema_history.served_version(journal_row.kind, journal_row.schema_version),
            ),
        )
        for row, journal_row in list(pairs)[change.prepared_change.encoded_count :]
    ]


def _apply_small(
    caches: Caches,
    projection: Projection,
    pending: list[tuple[str, PendingAggregate]],
    governed_writes: list[GovernedWrite],
) -> int | None:
    newest_position: int | None = None
    for key, aggregate in pending:
        before, after = caches.aggregates.get(key), aggregate.to_cached()
        projection.add(key, aggregate)
        caches.locations.put(key, aggregate.location)
        caches.aggregates.put(key, after)
        if AGGREGATE_TYPES[aggregate.kind].is_governed:
            newest_position = aggregate.location.position
            governed_writes.append((before, after))
            if before is None and after.stored.version > 1:
                caches.pages.clear(newest_position)
    return newest_position


def _apply_bulk(
    caches: Caches, projection: Projection, pending: list[tuple[str, PendingAggregate]]
) -> int | None:
    """Add the aggregates to the projection alone, where readers find them until it is written."""
    for key, aggregate in pending:
        projection.add(key, aggregate)
        caches.locations.put(key, aggregate.location)
        if aggregate.location.version > 1:
            caches.aggregates.put(key, aggregate.to_cached())
    if not pending:
        return None
    newest_position = pending[-1][1].location.position
    caches.pages.clear(newest_position)
    return newest_position
