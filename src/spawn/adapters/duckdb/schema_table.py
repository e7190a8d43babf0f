# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""The schemas of the file: their table, the log of migrations, and what the projects' table has."""

from collections.abc import Mapping
from typing import Any

import msgspec

from spawn.adapters.duckdb import tables
from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import instant, micros
from spawn.adapters.embedded.schema_history import SchemaBook
from spawn.domain.errors import Conflict
from spawn.domain.schemas.document_parser import recall_schema
from spawn.domain.schemas.model import Column
from spawn.ports.schemas import (
    MIGRATIONS_KEPT,
    Decision,
    Migration,
    MigrationOutcome,
    Provenance,
    SchemaRecord,
    SchemaState,
)


class SchemaShelf:
    """The book of schemas as stored; changed only inside the writer's transactions."""

    def __init__(self, cursor: Cursor) -> None:
        self.book = _read_book(cursor)
        names = cursor.execute("select table_name from duckdb_tables()").fetchall()
        if ("projects",) not in names:
            tables.create_projects(cursor, self.fields)

    @property
    def fields(self) -> Mapping[str, Column]:
        """Every column of the table of projects, those of retired columns included."""
        return self.book.stored_fields

    @property
    def retired(self) -> frozenset[str]:
        """The columns that are kept and not served."""
        return frozenset(retired.name for retired in self.book.ruling.retired)


def make_table(cursor: Cursor, book: SchemaBook) -> None:
    """Make the table of projects that a book wants, in a store that has no projects.

    Raises:
        Conflict: there are projects.
    """
    found = cursor.execute("select count(*) from aggregates where kind = 'project'").fetchone()
    if found and found[0]:
        raise Conflict("The store holds projects; its schema changes by migration only.")
    tables.create_projects(cursor, book.stored_fields)


def _read_book(cursor: Cursor) -> SchemaBook:
    rows = cursor.execute(
        "select schema_id, version, fingerprint, state, provenance, epoch_us(recorded_at), reason,"
        " document, decision, predecessor from schemas order by ordinal"
    ).fetchall()
    return SchemaBook.recalled(tuple(_record(*row) for row in rows))


def _record(  # noqa: PLR0913, PLR0917 -- the columns of a row
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
    schema = recall_schema(bytes(document), schema_id=schema_id, version=version)
    return SchemaRecord(
        schema=msgspec.structs.replace(schema, fingerprint=fingerprint),
        document=bytes(document),
        state=SchemaState(state),
        provenance=Provenance(provenance),
        recorded_at=instant(recorded_at),
        reason=reason,
        decision=None if decision is None else msgspec.json.decode(decision, type=Decision),
        predecessor=predecessor,
    )


def write_book(cursor: Cursor, book: SchemaBook) -> None:
    """Replace what the file has of schemas by what a book says."""
    cursor.execute("delete from schemas")
    for ordinal, record in enumerate(book.records):
        decision = record.decision
        cursor.execute(
            "insert into schemas values (?, ?, ?, ?, ?, ?, make_timestamp(?), ?, ?, ?, ?)",
            [
                ordinal,
                record.schema.id,
                record.schema.version,
                record.schema.fingerprint,
                record.state.value,
                record.provenance.value,
                micros(record.recorded_at),
                record.reason,
                record.document,
                None if decision is None else msgspec.json.encode(decision).decode(),
                record.predecessor,
            ],
        )


_LOGGED = Migration.__struct_fields__
_NO_EFFECT = f"outcome <> '{MigrationOutcome.ADOPTED}'"


def log_migration(cursor: Cursor, migration: Migration) -> None:
    """Add an attempt to the log; of too many without effect the oldest goes."""
    values = msgspec.structs.asdict(migration)
    values["started_at"] = micros(migration.started_at)
    values["steps"] = msgspec.json.encode(migration.steps).decode()
    places = {"started_at": "make_timestamp(?)"}
    cursor.execute(
        f"insert into schema_migrations (ordinal, {', '.join(_LOGGED)}) select"
        " coalesce(max(ordinal), 0) + 1,"
        f" {', '.join(places.get(name, '?') for name in _LOGGED)} from schema_migrations",
        [values[name] for name in _LOGGED],
    )
    cursor.execute(
        f"delete from schema_migrations where {_NO_EFFECT} and ordinal <="
        f" (select max(ordinal) - {MIGRATIONS_KEPT} from schema_migrations)"
    )


def logged_migrations(cursor: Cursor) -> list[Migration]:
    """The log of attempts, newest first."""
    select = ", ".join({"started_at": "epoch_us(started_at)"}.get(n, n) for n in _LOGGED)
    rows = cursor.execute(
        f"select {select} from schema_migrations order by ordinal desc"
    ).fetchall()
    return [_migration(dict(zip(_LOGGED, row, strict=True))) for row in rows]


def _migration(values: dict[str, Any]) -> Migration:
    values["started_at"] = instant(values["started_at"])
    values["steps"] = msgspec.json.decode(values["steps"], type=tuple[str, ...])
    values["outcome"] = MigrationOutcome(values["outcome"])
    return Migration(**values)
