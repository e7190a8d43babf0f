"""Changes on their way into the journal: what is worked out before their turn, and their rows."""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from spawn.adapters.duckdb.journal_rows import RECEIPT_KIND, JournalRow, Place, key_of
from spawn.adapters.duckdb.state.projection import Pending
from spawn.adapters.embedded import journal
from spawn.adapters.embedded.schema_history import SchemaBook
from spawn.domain import serialization
from spawn.domain.change import Change, Encoded, Guard, Write
from spawn.domain.errors import Duplicate, Stale
from spawn.domain.events.event import DomainEvent

BULK_WRITES = 16
"""A change with more writes gives way to smaller ones, and is a group of its own."""


class PreparedRow(NamedTuple):
    """One write with its key, its document and the event about it."""

    key: str
    write: Write
    document: str
    event: DomainEvent | None


class Prepared:
    """A change with all that can be worked out before its turn, so that little can fail in it."""

    __slots__ = ("change", "encoded", "guarded", "keys", "rows", "written")

    def __init__(self, change: Change, documents_: list[bytes]) -> None:
        events = journal.events_by_key(change)
        rows = [
            PreparedRow(
                f"{write.kind}:{write.id}",  # `key_of`, which a row of thousands need not call
                write,
                document.decode(),
                events.get((write.kind, write.id)),
            )
            for write, document in zip(change.writes, documents_, strict=True)
        ]
        encoded = [row for row in rows if type(row.write.state) is Encoded]
        if encoded:
            # What is projected at once comes first, so that what waits stands behind it: at a
            # start, everything behind the newest projected position is taken as waiting.
            rows = [*encoded, *(row for row in rows if type(row.write.state) is not Encoded)]
        self.change = change
        self.encoded = len(encoded)
        self.rows = rows
        self.keys = {row.key for row in self.rows}
        self.written = self.keys
        if change.receipt is not None:
            # A space is in no kind, so this can be no aggregate.
            receipt = f"receipt {change.receipt.scope} {change.receipt.key}"
            self.written = self.keys | {receipt}
        self.guarded = {key_of(guard.kind, guard.id) for guard in change.guards}

    def is_bulk(self) -> bool:
        """Whether it gives way to smaller changes, and is not worth knowing by heart."""
        return len(self.rows) > BULK_WRITES or self.encoded > 0


def spelled_out(prepared: Prepared, book: SchemaBook) -> Prepared:
    """A change whose encoded rows are of an older schema version as one with states.

    The engine projects encoded rows from their documents, under the names of today.
    """
    if not prepared.encoded:
        return prepared
    schema = book.written_under(prepared.change.schema_version)
    if schema is book.ruling:
        return prepared
    change = journal.spelled_out(prepared.change, schema)
    return Prepared(change, [serialization.encode(w.kind, w.state, schema) for w in change.writes])


class Placed(NamedTuple):
    """A change under way: its rows as they will stand in the journal."""

    turn: int
    prepared: Prepared
    rows: list[JournalRow]
    recorded_at: datetime


def pending_of(row: JournalRow, state: msgspec.Struct, known: Place | None, shape: int) -> Pending:
    """The aggregate that a row wrote, in the shape of a schema version, over what was before."""
    if known is None:
        place = Place(row.version, row.position, row.position, row.recorded_at)
    else:
        place = Place(row.version, known.created, row.position, known.created_at)
    return Pending(row.kind, row.id, state, place, row.recorded_at, shape, known is None)


def rows_of(
    prepared: Prepared, position: int, recorded_at: int, receipt: dict[str, Any]
) -> list[JournalRow]:
    """The journal rows of a change; the last one carries its receipt."""
    change, last = prepared.change, len(prepared.rows)
    if not prepared.rows:
        return [
            JournalRow(
                position=position + 1,
                kind=RECEIPT_KIND,
                id="",
                version=0,
                type="",
                actor=change.actor,
                recorded_at=recorded_at,
                schema_version=change.schema_version,
                traceparent=change.traceparent,
                **receipt,
            )
        ]
    return [
        JournalRow(
            position=position + number,
            kind=row.write.kind,
            id=row.write.id,
            version=row.write.expected_version + 1,
            type=row.event.type if row.event else "",
            actor=change.actor,
            recorded_at=recorded_at,
            schema_version=change.schema_version,
            changed=row.event.changed if row.event else (),
            reason=row.event.reason if row.event else None,
            traceparent=change.traceparent,
            document=row.document,
            **(receipt if number == last else {}),
        )
        for number, row in enumerate(prepared.rows, start=1)
    ]


def check_version(item: Write | Guard, place: Place | None) -> None:
    """Hold a write or guard to where its aggregate stands.

    Raises:
        Duplicate, Stale: it expects another version.
    """
    current = place.version if place else 0
    if current == item.expected_version:
        return
    if isinstance(item, Write) and item.expected_version == 0:
        raise Duplicate(f"The {item.kind} {item.id} exists already.")
    raise Stale(
        f"The {item.kind} {item.id} is at version {current}, not {item.expected_version}.",
        current=current,
    )
