# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Stored schema versions, and the log of migrations."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import from_microseconds, to_microseconds
from spawn.adapters.duckdb.state.state_table import state_tables
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.adapters.embedded.schema_history import SchemaHistory, holds_data_error, is_first_of_core
from spawn.adapters.embedded.schema_restorer import SchemaRestorer
from spawn.domain.aggregates import governed_kinds
from spawn.domain.errors import (
    InvalidInput,
    MalformedBody,
    StorageDamaged,
    StorageIncompatible,
)
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.schemas import (
    MIN_LOGGED_MIGRATIONS,
    AdoptionDecision,
    MigrationOutcome,
    MigrationRecord,
    Provenance,
    SchemaRecord,
    SchemaState,
)

_ADOPTED: Final = frozenset({SchemaState.ACTIVE, SchemaState.RETIRED})
_MAX_REASON: Final = 500


class SchemaTable:
    """Schema history as stored; changed only inside the writer's transactions."""

    def __init__(self, cursor: Cursor) -> None:
        self.history = _read_histories(cursor)


def create_empty_table(cursor: Cursor, before: SchemaHistory, histories: SchemaHistories) -> None:
    """Create the table of a kind under a new history, in a store without data of the kind.

    Args:
        cursor: of the writer.
        before: the history of the kind.
        histories: the new ones.

    Raises:
        Conflict: there are data that have more than core attributes.
    """
    kind = before.kind
    row = cursor.execute("select count(*) from aggregates where kind = ?", [kind]).fetchone()
    if not (row and row[0]):
        state_tables(histories)[kind].create(cursor)
    elif not is_first_of_core(before, histories.of(kind)):
        raise holds_data_error(kind)


def _read_histories(cursor: Cursor) -> SchemaHistories:
    rows = cursor.execute(
        "select kind, schema_id, version, fingerprint, state, provenance, epoch_us(recorded_at),"
        " reason, document, decision, predecessor from schemas order by ordinal"
    ).fetchall()
    return SchemaHistories(_read_history(kind, rows) for kind in governed_kinds())


def _read_history(kind: str, rows: Sequence[Any]) -> SchemaHistory:
    restorer = SchemaRestorer(kind)
    records = tuple(_record(restorer, *row[1:]) for row in rows if row[0] == kind)
    return SchemaHistory.from_records(kind, records)


def _record(  # noqa: PLR0913, PLR0917 -- the columns of a row
    restorer: SchemaRestorer,
    schema_id: str,
    version: int,
    fingerprint: str,
    state: str,
    provenance: str,
    recorded_at: int,
    reason: str,
    document: bytes,
    decision: str | None,
    predecessor: int | None,
) -> SchemaRecord:
    try:
        schema = restorer.restore(bytes(document), schema_id=schema_id, version=version)
    except (MalformedBody, InvalidInput) as error:
        raise _altered_error(version) from error
    if schema.fingerprint != fingerprint:
        raise _altered_error(version)
    return SchemaRecord(
        schema=schema,
        document=bytes(document),
        state=SchemaState(state),
        provenance=Provenance(provenance),
        recorded_at=from_microseconds(recorded_at),
        reason=reason,
        decision=None if decision is None else msgspec.json.decode(decision, type=AdoptionDecision),
        predecessor=predecessor,
    )


def _altered_error(version: int) -> StorageDamaged:
    return StorageDamaged(
        f"The stored document of version {version} of the schema is not the one that was recorded:"
        " restore a backup."
    )


def check_versions(cursor: Cursor, histories: SchemaHistories) -> None:
    """Check that the histories have, readable, every version that aggregates were written under.

    Raises:
        StorageIncompatible: this release cannot read the document of an adopted version.
        StorageDamaged: one is missing, so that nothing says how to read what it wrote.
    """
    for record in histories.records:
        if record.state in _ADOPTED:
            _check_readable(record)
    kinds = ", ".join(f"'{kind}'" for kind in governed_kinds())
    rows = cursor.execute(
        f"select distinct kind, schema_version from journal where kind in ({kinds})"
    ).fetchall()
    for history in histories:
        versions = {version for kind, version in rows if kind == history.kind}
        known_versions = {history.active_schema.version, *history.schemas_by_version}
        if missing := sorted(versions - known_versions):
            raise StorageDamaged(
                f"The journal has states of the kind {history.kind} under the schema versions"
                f" {missing}, which the stored schemas lack: restore a backup."
            )


def _check_readable(record: SchemaRecord) -> None:
    """Raise StorageIncompatible for a document that was restored without its columns."""
    if record.schema.columns:
        return
    schema = record.schema
    try:
        read_schema(
            record.document,
            default_version=schema.version,
            schema_id=schema.id,
            kind=schema.kind,
        )
    except InvalidInput as error:
        raise StorageIncompatible(
            f"This release cannot read version {schema.version} of the schema {schema.id}, which"
            f" stored projects have ({error.detail[:_MAX_REASON]}): export the projects with the"
            " release that wrote the store, publish a schema without the cause, and import the"
            " file into a new store."
        ) from None


def write_history(cursor: Cursor, before: SchemaHistory, after: SchemaHistory) -> None:
    """Write the records that the stored history lacks or has otherwise, and delete the others.

    A record keeps its place, or goes to the end when its version becomes active.
    """
    stored_ids = {id(record) for record in before.records}
    for record in before.records:
        if after.find_place(record.schema) is None:
            _delete_record(cursor, record)
    for ordinal, record in enumerate(after.records):
        if id(record) in stored_ids:
            continue
        place = before.find_place(record.schema)
        is_moved = place is not None and ordinal + 1 == len(after.records) > place + 1
        if place is not None and not is_moved:
            _update_record(cursor, record)
        else:
            _delete_record(cursor, record)
            _insert_record(cursor, record)


def _identify(record: SchemaRecord) -> tuple[str, int, str]:
    return record.schema.kind, record.schema.version, record.schema.fingerprint


def _update_record(cursor: Cursor, record: SchemaRecord) -> None:
    cursor.execute(
        "update schemas set state = ?, provenance = ?, recorded_at = make_timestamp(?),"
        " reason = ?, decision = ?, predecessor = ?"
        " where kind = ? and version = ? and fingerprint = ?",
        [
            record.state.value,
            record.provenance.value,
            to_microseconds(record.recorded_at),
            record.reason,
            _encode_decision(record),
            record.predecessor,
            *_identify(record),
        ],
    )


def _delete_record(cursor: Cursor, record: SchemaRecord) -> None:
    cursor.execute(
        "delete from schemas where kind = ? and version = ? and fingerprint = ?",
        [*_identify(record)],
    )


def _insert_record(cursor: Cursor, record: SchemaRecord) -> None:
    cursor.execute(
        "insert into schemas (ordinal, schema_id, kind, version, fingerprint, state, provenance,"
        " recorded_at, reason, document, decision, predecessor) select coalesce(max(ordinal), -1)"
        " + 1, ?, ?, ?, ?, ?, ?, make_timestamp(?), ?, ?, ?, ? from schemas",
        [
            record.schema.id,
            *_identify(record),
            record.state.value,
            record.provenance.value,
            to_microseconds(record.recorded_at),
            record.reason,
            record.document,
            _encode_decision(record),
            record.predecessor,
        ],
    )


def _encode_decision(record: SchemaRecord) -> str | None:
    return None if record.decision is None else msgspec.json.encode(record.decision).decode()


_LOG_COLUMNS = MigrationRecord.__struct_fields__
_WITHOUT_EFFECT = f"outcome <> '{MigrationOutcome.ADOPTED}'"


def log_migration(cursor: Cursor, migration: MigrationRecord) -> None:
    """Log an attempt; of too many without effect, delete the oldest."""
    values = msgspec.structs.asdict(migration)
    values["started_at"] = to_microseconds(migration.started_at)
    values["steps"] = msgspec.json.encode(migration.steps).decode()
    placeholders = {"started_at": "make_timestamp(?)"}
    cursor.execute(
        f"insert into schema_migrations (ordinal, {', '.join(_LOG_COLUMNS)}) select"
        " coalesce(max(ordinal), 0) + 1,"
        f" {', '.join(placeholders.get(name, '?') for name in _LOG_COLUMNS)}"
        " from schema_migrations",
        [values[name] for name in _LOG_COLUMNS],
    )
    cursor.execute(
        f"delete from schema_migrations where {_WITHOUT_EFFECT} and ordinal <="
        f" (select max(ordinal) - {MIN_LOGGED_MIGRATIONS} from schema_migrations)"
    )


def read_migrations(cursor: Cursor) -> list[MigrationRecord]:
    """Return the log of attempts, newest first."""
    select = ", ".join({"started_at": "epoch_us(started_at)"}.get(n, n) for n in _LOG_COLUMNS)
    rows = cursor.execute(
        f"select {select} from schema_migrations order by ordinal desc"
    ).fetchall()
    return [_migration(dict(zip(_LOG_COLUMNS, row, strict=True))) for row in rows]


def _migration(values: dict[str, Any]) -> MigrationRecord:
    values["started_at"] = from_microseconds(values["started_at"])
    values["steps"] = msgspec.json.decode(values["steps"], type=tuple[str, ...])
    values["outcome"] = MigrationOutcome(values["outcome"])
    return MigrationRecord(**values)
