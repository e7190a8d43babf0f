"""Changes prepared before they reach the writer, and their journal rows."""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from spawn.adapters.duckdb.journal_rows import (
    RECEIPT_KIND,
    AggregateLocation,
    JournalRow,
    aggregate_key,
    receipt_columns,
)
from spawn.adapters.duckdb.state.projection import PendingAggregate
from spawn.adapters.embedded import journal
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.domain.aggregates import encode_write
from spawn.domain.change import Change, EncodedState, Guard, Write
from spawn.domain.errors import Duplicate, StaleVersion
from spawn.domain.events.event import DomainEvent

BULK_WRITES = 16
"""Largest small change, writes; a larger one has low priority and a group of its own."""


class PreparedRow(NamedTuple):
    """One write with its key, its document and its event."""

    key: str
    write: Write
    document: str
    event: DomainEvent | None


class PreparedChange:
    """Change with everything computed that can be before the writer commits it."""

    __slots__ = (
        "change",
        "encoded_count",
        "guarded_keys",
        "keys",
        "receipt_columns",
        "rows",
        "written_keys",
    )

    def __init__(self, change: Change, documents: list[bytes]) -> None:
        events = journal.events_by_key(change)
        rows = [
            PreparedRow(
                f"{write.kind}:{write.id}",  # `aggregate_key`, inline for speed
                write,
                document.decode(),
                events.get((write.kind, write.id)),
            )
            for write, document in zip(change.writes, documents, strict=True)
        ]
        encoded_rows = [row for row in rows if type(row.write.state) is EncodedState]
        if encoded_rows:
            # Rows projected at once come first, so that pending rows stand behind them: on
            # opening, everything behind the newest projected position is taken as pending.
            rows = [
                *encoded_rows,
                *(row for row in rows if type(row.write.state) is not EncodedState),
            ]
        self.change = change
        self.encoded_count = len(encoded_rows)
        self.rows = rows
        self.keys = {row.key for row in self.rows}
        self.written_keys = self.keys
        self.receipt_columns: dict[str, Any] = {}
        if change.receipt is not None:
            self.receipt_columns = receipt_columns(change.receipt)
            # No kind contains a space, so this cannot be the key of an aggregate.
            receipt = f"receipt {change.receipt.key.scope} {change.receipt.key.key}"
            self.written_keys = self.keys | {receipt}
        self.guarded_keys = {aggregate_key(guard.kind, guard.id) for guard in change.guards}

    def is_bulk(self) -> bool:
        """Whether the change is low priority and bypasses the caches."""
        return len(self.rows) > BULK_WRITES or self.encoded_count > 0


def with_decoded_states(
    prepared_change: PreparedChange, schema_history: SchemaHistories
) -> PreparedChange:
    """Decode the states of a change whose encoded rows have an older schema version.

    The engine projects encoded rows from their documents, under the current column names.
    """
    if not prepared_change.encoded_count:
        return prepared_change
    change = prepared_change.change
    if all(
        schema_history.schema_of_write(change, row.write)
        is schema_history.of(row.write.kind).active_schema
        for row in prepared_change.rows[: prepared_change.encoded_count]
    ):
        return prepared_change
    change = journal.with_decoded_states(change, schema_history.schema_of_write)
    documents = [encode_write(w, schema_history.schema_of_write(change, w)) for w in change.writes]
    return PreparedChange(change, documents)


class PositionedChange(NamedTuple):
    """Change in a commit, with its final journal rows."""

    group_index: int
    prepared_change: PreparedChange
    rows: list[JournalRow]
    recorded_at: datetime


def pending_aggregate(
    row: JournalRow, state: msgspec.Struct, previous: AggregateLocation | None, schema_version: int
) -> PendingAggregate:
    """Build the pending aggregate of a row, over its previous location."""
    if previous is None:
        location = AggregateLocation(row.version, row.position, row.position, row.recorded_at)
    else:
        location = AggregateLocation(
            row.version, previous.created_position, row.position, previous.created_at
        )
    return PendingAggregate(
        row.kind, row.id, state, location, row.recorded_at, schema_version, previous is None
    )


def build_rows(
    prepared_change: PreparedChange, position: int, recorded_at: int
) -> list[JournalRow]:
    """Build the journal rows of a change; the last one carries its receipt."""
    change, last = prepared_change.change, len(prepared_change.rows)
    receipt = prepared_change.receipt_columns
    if not prepared_change.rows:
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
            actor=row.write.actor or change.actor,
            recorded_at=recorded_at,
            schema_version=change.schema_version_of(row.write),
            changed=row.event.changed if row.event else (),
            reason=row.event.reason if row.event else None,
            traceparent=change.traceparent,
            document=row.document,
            **(receipt if number == last else {}),
        )
        for number, row in enumerate(prepared_change.rows, start=1)
    ]


def check_version(item: Write | Guard, location: AggregateLocation | None) -> None:
    """Check the expected version of a write or guard against its aggregate.

    Raises:
        Duplicate, StaleVersion: the aggregate has another version.
    """
    current = location.version if location else 0
    if current == item.expected_version:
        return
    if isinstance(item, Write) and item.expected_version == 0:
        raise Duplicate(f"The {item.kind} {item.id} exists already.")
    raise StaleVersion(
        f"The {item.kind} {item.id} is at version {current}, not {item.expected_version}.",
        current=current,
    )
