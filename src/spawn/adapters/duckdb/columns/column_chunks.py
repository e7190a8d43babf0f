# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Chunks of columns of one state of the projects, without a transaction that lasts.

A state is the list of its journal rows, found at once. The journal never changes, so that chunks of
the list can be read at any later time, each in a transaction of milliseconds: a client that reads
slowly keeps the writer from nothing. The values of a chunk come from the state table. Where it has
another version of a project by then, they are decoded from the documents of the journal.
"""

import importlib
import importlib.util
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import duckdb
import msgspec

from spawn.adapters.duckdb.columns import document_members
from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.state.page_query import PageStatement
from spawn.adapters.duckdb.state.past_states import find_position_at, select_past_states
from spawn.adapters.duckdb.state.projection import STATE_ROW_LAYOUT, encode_state_rows
from spawn.adapters.duckdb.state.rebuild import decode_row
from spawn.adapters.duckdb.state.state_table import StateTable
from spawn.adapters.duckdb.tables import quote_name, sql_type
from spawn.adapters.embedded.schema_histories import SchemaHistories, resolve_query
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.errors import StorageDamaged, Unavailable
from spawn.domain.imports.export_reader import EXTENSIONS_COLUMN
from spawn.domain.query import Query
from spawn.domain.schema_version import Column, TypeName
from spawn.ports.analytics import ColumnChunk, ColumnSelection

CHUNK_ROWS: Final = 20_480
"""Projects of a chunk, at most."""

SORTED_CHUNK_ROWS: Final = 61_440
"""Projects of a chunk that is not in order of creation; each chunk scans the whole table."""

MIN_CHUNK_ROWS: Final = 320
"""Projects of a chunk that is read again after it took too long, at least."""

MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""Bytes of the documents of a chunk, at most; a chunk has one project at least."""

_FETCH_ROWS: Final = 10_000
_RETRIES: Final = 200
_PAUSE_S: Final = 0.01
_NAMES: Final = (*document_members.NESTED_NAMES, EXTENSIONS_COLUMN)
_TEXTS: Final = msgspec.json.encode([{"_p": "BIGINT"} | dict.fromkeys(_NAMES, "VARCHAR")]).decode()
_WANTED: Final = (
    "(select unnest(l) _p, generate_subscripts(l, 1) _o"
    " from (select from_json($1, '[\"BIGINT\"]') l))"
)
_encode = msgspec.json.Encoder().encode


@contextmanager
def _begin_snapshot(cursor: Cursor) -> Iterator[None]:
    """Run statements over one state of the file, and end without a trace."""
    cursor.execute("begin")
    try:
        yield
    finally:
        with suppress(duckdb.Error):
            cursor.execute("rollback")


def _is_current(cursor: Cursor, kind: str, history: SchemaHistories) -> bool:
    """Whether the table of a kind is that of the history; a migration changes it before."""
    rows = cursor.execute(
        "select schema_id, version, fingerprint from schemas where kind = ? and state = 'active'",
        [kind],
    ).fetchall()
    record = history.of(kind).active_record
    schema = None if record is None else record.schema
    return rows == ([] if schema is None else [(schema.id, schema.version, schema.fingerprint)])


def find_projects(
    cursor: Cursor, query: Query, through: int, read_history: Callable[[], SchemaHistories]
) -> tuple["array[int]", SchemaHistories]:
    """Return the journal rows of the projects that match a query, in order, as of a journal row.

    Raises:
        Unavailable: a migration does not end.
    """
    for _ in range(_RETRIES):
        history = read_history()
        with _begin_snapshot(cursor):
            if _is_current(cursor, query.kind, history):
                return _find_positions(cursor, query, through, history), history
        time.sleep(_PAUSE_S)
    raise Unavailable("The tables are being migrated: retry.")


def _find_positions(
    cursor: Cursor, query: Query, through: int, history: SchemaHistories
) -> "array[int]":
    aggregate_type, past_states = AGGREGATE_TYPES[query.kind], None
    table = StateTable(aggregate_type, history)
    if query.as_of is not None:
        through = find_position_at(cursor, query.as_of, through)
    if query.as_of is not None or _has_later(cursor, table, through):
        past_states = select_past_states(cursor, table, history, through)
    promoted = history.of(query.kind).find_promoted
    statement = PageStatement(aggregate_type, table.columns, promoted, past_states)
    sql = statement.positions(resolve_query(query, history))
    cursor.execute(sql, statement.parameters)
    positions = array("q")
    while rows := cursor.fetchmany(_FETCH_ROWS):
        positions.extend([position for (position,) in rows])
    return positions


def _has_later(cursor: Cursor, table: StateTable, through: int) -> bool:
    row = cursor.execute(f"select max(_position) > ? from {table.name}", [through]).fetchone()
    return bool(row and row[0])


class ColumnReader:
    """Reader of the columns of projects at journal rows, a chunk at a time.

    Args:
        kind: the kind of the aggregates.
        history: the schema history under which the rows were found.
        selection: the columns.
        positions: the journal rows, in the order of the file.
        is_sorted: whether the order is another than that of creation.
    """

    def __init__(
        self,
        kind: str,
        history: SchemaHistories,
        selection: ColumnSelection,
        positions: "array[int]",
        *,
        is_sorted: bool,
    ) -> None:
        self._table = StateTable(AGGREGATE_TYPES[kind], history)
        self._history = history
        self._selection = selection
        self._positions = positions
        self.chunk_rows = SORTED_CHUNK_ROWS if is_sorted else CHUNK_ROWS
        names = selection.names
        self._has_members = any(name in _NAMES for name in names)
        self._columns = ", ".join(map(quote_name, names))
        self._values = ", ".join(
            f"{_value_sql(self._table.columns[name])} as {quote_name(name)}"
            for name in names
            if name not in _NAMES
        )
        self._members = [name for name in names if name in _NAMES]

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, cursor: Cursor, *, start: int, rows: int, is_table_proven: bool) -> ColumnChunk:
        """Return the chunk of `rows` rows at most that begins with a row of the file.

        After an unclean stop the table may have wrong values: until it is proven, those of the
        documents are read.

        Raises:
            StorageDamaged: the journal lacks a row of a project.
        """
        with _begin_snapshot(cursor):
            positions = self._fit(cursor, self._positions[start : start + rows])
            positions_json = _encode(positions.tolist()).decode()
            chunk: ColumnChunk | None = None
            is_usable = is_table_proven and _is_current(cursor, self._table.kind, self._history)
            native = self._native_sql() if is_usable else None
            if native is not None:
                chunk = self._materialize(cursor, native, [positions_json])
            if chunk is None or chunk.rows < len(positions):
                chunk = self._read_decoded(cursor, native, positions_json)
            if chunk.rows != len(positions):
                raise StorageDamaged("The journal lacks a row of a project: restore a backup.")
            return chunk

    def _fit(self, cursor: Cursor, positions: "array[int]") -> "array[int]":
        """Return as many of the rows, from the first one on, as their documents allow."""
        while len(positions) > 1:
            row = cursor.execute(
                f"select sum(strlen(j.document)) from {_WANTED} i"
                " join journal j on j.position = i._p",
                [_encode(positions.tolist()).decode()],
            ).fetchone()
            size_bytes = int(row[0] or 0) if row else 0
            if size_bytes <= MAX_DOCUMENT_BYTES:
                break
            positions = positions[: max(len(positions) * MAX_DOCUMENT_BYTES // size_bytes // 2, 1)]
        return positions

    def _native_sql(self) -> str:
        """Return the query for the rows whose values the engine has."""
        source = f"{_WANTED} i join {self._table.name} s on s._position = i._p"
        if not self._has_members:
            return f"select _o, _p, {self._values} from {source}"
        members = document_members.members_sql("j.document")
        inner = (
            f"select i.*, s.*, j.document _d, {members} _m from {source}"
            " join journal j on j.position = i._p"
        )
        texts = ", ".join(
            f"{document_members.member_sql('_m', name)} as {name}" for name in self._members
        )
        exact = document_members.is_exact_sql("_m", "_d")
        return f"select _o, _p, {self._values}, {texts} from ({inner}) where {exact}"

    def _read_decoded(self, cursor: Cursor, native: str | None, positions_json: str) -> ColumnChunk:
        """Return the chunk with the rows that the engine lacks decoded from their documents."""
        condition = f" where _p not in (select _p from ({native}))" if native else ""
        rows = cursor.execute(
            "select j.id, j.version, a.created, j.position, epoch_us(a.created_at),"
            " epoch_us(j.recorded_at), j.schema_version, j.document"
            f" from (select * from {_WANTED}{condition}) i join journal j on j.position = i._p"
            " join aggregates a on a.key = j.kind || ':' || j.id",
            [positions_json],
        ).fetchall()
        pending = [decode_row(self._table.kind, self._history, row) for row in rows]
        texts = [{"_p": one.location.position} | self._member_texts(one.state) for one in pending]
        staged_sql = self._table.select_staged_sql(
            STATE_ROW_LAYOUT, "(select $2::varchar as payload)"
        )
        member_columns = "".join(f", {name}" for name in self._members)
        decoded_sql = (
            f"select _o, i._p, {self._values}{member_columns} from {_WANTED} i"
            f" join ({staged_sql}) s on s._position = i._p"
            f" join (select unnest(from_json($3, '{_TEXTS}'), max_depth := 2)) t on t._p = i._p"
        )
        sql = decoded_sql if native is None else f"{native} union all by name {decoded_sql}"
        payloads = [encode_state_rows(self._table, pending), _encode(texts).decode()]
        return self._materialize(cursor, sql, [positions_json, *payloads])

    def _member_texts(self, project: Any) -> dict[str, str | None]:
        names = self._selection.extension_names
        extensions = {
            name: raw for name, raw in project.extensions.items() if names is None or name in names
        }
        texts = document_members.encode_members(project)
        texts[EXTENSIONS_COLUMN] = _encode(extensions).decode() if extensions else None
        return texts

    def _materialize(self, cursor: Cursor, sql: str, parameters: Sequence[str]) -> ColumnChunk:
        """Return the result in memory of its own, so that the transaction can end."""
        select = f"select {self._columns} from ({sql}) order by _o"
        if importlib.util.find_spec("pyarrow") is not None:
            table: Any = cursor.execute(select, parameters).to_arrow_table()
            return ColumnChunk(table.num_rows, table)
        # nanoarrow holds the interpreter while the engine computes: let it find a finished table.
        nanoarrow: Any = importlib.import_module("nanoarrow")
        cursor.execute(f"create or replace temp table chunk as {select}", parameters)
        chunk = nanoarrow.Array(cursor.table("chunk"))
        return ColumnChunk(len(chunk), chunk)


def _value_sql(column: Column) -> str:
    """Return the expression for a value of its own type; a staged version has a wider one."""
    name = quote_name(column.name)
    if column.type.name is TypeName.TIMESTAMP:
        # A cast would take it as one of the time zone of the session.
        return f"make_timestamptz(epoch_us({name}))"
    return f"{name}::{sql_type(column.type)}"
