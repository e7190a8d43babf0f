"""What the writer knows by heart, and how what has become durable enters it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from spawn.adapters.duckdb.caches import Heads, Recent, RecentRows
from spawn.adapters.duckdb.journal.prepared_change import Placed, pending_of
from spawn.adapters.duckdb.journal_rows import Held, Place
from spawn.adapters.duckdb.receipts import Receipts
from spawn.adapters.duckdb.state.pages import PageCache, Written
from spawn.adapters.duckdb.state.projection import Pending, Projection
from spawn.adapters.embedded.schema_history import SchemaBook


class Memory(NamedTuple):
    """What is known by heart, each part bounded.

    `entities` are by key, and what pages showed of them (`shown`) is by the position of its state.
    """

    heads: Heads
    entities: Recent[Held]
    shown: Recent[Held]
    pages: PageCache
    receipts: Receipts
    recent: RecentRows


Places = Mapping[str, Place | None]


def settle(
    memory: Memory,
    projection: Projection,
    book: SchemaBook,
    placed: Iterable[Placed],
    places: Places,
) -> int | None:
    """Make what is durable visible, before anyone is told; where a project was written last."""
    newest: int | None = None
    seen: list[Written] = []
    for item in placed:
        encoded = item.prepared.encoded
        pending = _pending(book, item, places)
        if encoded:
            # Readers find these in the state tables at once.
            newest = item.rows[encoded - 1].position
            memory.heads.pass_over([row.key for row in item.prepared.rows[:encoded]])
            memory.pages.clear(newest)
        if item.prepared.is_bulk():
            newest = _settle_bulk(memory, projection, pending) or newest
        else:
            newest = _settle_few(memory, projection, pending, seen) or newest
        receipt = item.prepared.change.receipt
        if receipt is not None:
            last = item.rows[-1]
            memory.receipts.put(
                receipt.scope, receipt.key, receipt.fingerprint, last.position, last.recorded_at
            )
    if seen:
        memory.pages.written(seen)
    return newest


def _pending(book: SchemaBook, item: Placed, places: Places) -> list[tuple[str, Pending]]:
    """The aggregates that a change wrote as states, in the shape of today."""
    version = item.prepared.change.schema_version
    schema = book.written_under(version)
    pairs = zip(item.prepared.rows, item.rows, strict=False)
    return [
        (
            row.key,
            pending_of(
                stored,
                book.current(row.write.state, schema),
                places.get(row.key),
                book.shape(stored.kind, version),
            ),
        )
        for row, stored in list(pairs)[item.prepared.encoded :]
    ]


def _settle_few(
    memory: Memory,
    projection: Projection,
    pending: list[tuple[str, Pending]],
    seen: list[Written],
) -> int | None:
    newest: int | None = None
    for key, written in pending:
        before, after = memory.entities.get(key), written.held()
        projection.note(key, written)
        memory.heads.put(key, written.place)
        memory.entities.put(key, after)
        if written.kind == "project":
            newest = written.place.position
            seen.append((before, after))
            if before is None and after.stored.version > 1:
                memory.pages.clear(newest)
    return newest


def _settle_bulk(
    memory: Memory, projection: Projection, pending: list[tuple[str, Pending]]
) -> int | None:
    """Readers find these on their way to the state tables, and in them later."""
    for key, written in pending:
        projection.note(key, written)
        memory.heads.put(key, written.place)
        if written.place.version > 1:
            memory.entities.put(key, written.held())
    if not pending:
        return None
    newest = pending[-1][1].place.position
    memory.pages.clear(newest)
    return newest
