"""The schemas of the file: their table, and the typed table of projects under the active one."""

from collections.abc import Mapping
from datetime import timedelta

import msgspec

from spawn.adapters.duckdb import layout
from spawn.adapters.duckdb.engine import Cursor
from spawn.adapters.duckdb.rows import instant
from spawn.adapters.schemas import SchemaBook
from spawn.domain.errors import Conflict
from spawn.domain.schema.conformance import compile_schema
from spawn.domain.schema.reading import recall_schema
from spawn.domain.schema.value import Column
from spawn.ports.governance import Provenance, SchemaRecord, SchemaState

ZERO = timedelta()


class SchemaShelf:
    """The book of schemas as stored; changed only inside the writer's transactions."""

    def __init__(self, cursor: Cursor) -> None:
        self.book = _read_book(cursor)
        names = cursor.execute("select table_name from duckdb_tables()").fetchall()
        if ("projects",) not in names:
            layout.create_projects(cursor, self.fields)

    @property
    def fields(self) -> Mapping[str, Column]:
        """Every column of a project under the ruling schema."""
        return compile_schema(self.book.ruling).fields

    def adopt(self, cursor: Cursor, record: SchemaRecord) -> SchemaBook:
        """Put the record in force and make its table; the book that then holds.

        Raises:
            Conflict: there are projects, or the version is known with another content.
        """
        found = cursor.execute("select count(*) from aggregates where kind = 'project'").fetchone()
        if found and found[0]:
            raise Conflict("The store holds projects; its schema changes by migration only.")
        book = self.book.adopting(record)
        layout.create_projects(cursor, compile_schema(record.schema).fields)
        _write_book(cursor, book)
        return book

    def record(self, cursor: Cursor, record: SchemaRecord) -> SchemaBook:
        """Remember a candidate; the book that then holds.

        Raises:
            Conflict: it claims to be active, or was adopted before.
        """
        book = self.book.recording(record)
        _write_book(cursor, book)
        return book


def _read_book(cursor: Cursor) -> SchemaBook:
    rows = cursor.execute(
        "select schema_id, version, fingerprint, state, provenance, epoch_us(recorded_at), reason,"
        " document from schemas order by ordinal"
    ).fetchall()
    return SchemaBook(
        tuple(
            SchemaRecord(
                schema=msgspec.structs.replace(
                    recall_schema(bytes(document), schema_id=schema_id, version=version),
                    fingerprint=fingerprint,
                ),
                document=bytes(document),
                state=SchemaState(state),
                provenance=Provenance(provenance),
                recorded_at=instant(recorded_at),
                reason=reason,
            )
            for (
                schema_id,
                version,
                fingerprint,
                state,
                provenance,
                recorded_at,
                reason,
                document,
            ) in rows
        )
    )


def _write_book(cursor: Cursor, book: SchemaBook) -> None:
    cursor.execute("delete from schemas")
    for ordinal, record in enumerate(book.records):
        cursor.execute(
            "insert into schemas values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                ordinal,
                record.schema.id,
                record.schema.version,
                record.schema.fingerprint,
                record.state.value,
                record.provenance.value,
                record.recorded_at.replace(tzinfo=None) - (record.recorded_at.utcoffset() or ZERO),
                record.reason,
                record.document,
            ],
        )
