# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""State tables: one row for each aggregate of a kind, with its indexed columns."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.state.bulk_projection import cast_expression, json_type
from spawn.adapters.duckdb.tables import MAX_NARROW_DIGITS, quote_name, sql_type
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.domain.aggregates import AGGREGATE_TYPES, AggregateType
from spawn.domain.errors import InvalidInput
from spawn.domain.schema_version import Column, ColumnType, TypeName

STAGE = "stage_states"
"""Temporary table with one JSON array of rows, from which a table is filled."""


class StateTable:
    """Table of the aggregates of one kind: its columns, and the statements that fill it.

    `_created` and `_position` are the journal rows that created and last wrote the aggregate.
    """

    def __init__(self, aggregate_type: AggregateType, history: SchemaHistories) -> None:
        self.kind = aggregate_type.kind
        self.name = aggregate_type.table or ""
        self.type = aggregate_type
        self.columns: Mapping[str, Column] = history.columns(self.kind)
        self._retired = {retired.name for retired in history.of(self.kind).active_schema.retired}
        self._members = _encode_names(aggregate_type.state_type)
        self.system_columns = {
            "_created": "created",
            "_position": "position",
            aggregate_type.id_column: "id",
            "version": "version",
            "created_at": "created_at",
            "updated_at": "updated_at",
        }
        self._values = [c for n, c in self.columns.items() if n not in self.system_columns]
        self.value_names = tuple(column.name for column in self._values)

    def create(self, cursor: Cursor) -> None:
        """Create, or replace, the empty table; a view in its place is to be dropped first.

        It has no key and no index: the writer knows which rows exist, updates are a delete and an
        insert, and an index would prevent both that and later migrations. Wide decimals are not
        compressed: unpacking them takes four times as long as scanning them.
        """
        columns = ", ".join(
            f"{quote_name(name)} {_storage_type(column.type)}"
            for name, column in self.columns.items()
        )
        cursor.execute(
            f"create or replace table {self.name} (_created bigint not null,"
            f" _position bigint not null, {columns})"
        )

    def layout(self) -> dict[str, str]:
        """Return the engine's type of every column, in order."""
        positions = {"_created": "BIGINT", "_position": "BIGINT"}
        return positions | {name: sql_type(column.type) for name, column in self.columns.items()}

    def row_of_state(self, state: Any) -> Any:
        """Return what a staged row says of a state: a governed one is staged whole."""
        if self.type.is_governed:
            return state
        return {column.name: self.type.read_column(state, column.name) for column in self._values}

    def has_retired_values(self, state: Any) -> bool:
        """Whether a state has values of columns that the active schema has no longer."""
        return bool(self.type.is_governed and self._retired and state.hidden_attributes)

    def insert_staged_sql(self, row_layout: Mapping[str, str], *, has_retired: bool) -> str:
        """Return the insert of the staged rows, whose own members have the given types.

        Without values of retired columns it leaves these out, which are empty then: fifty of them
        doubled the time of a projection, for which every list beside a write waits.
        """
        return self._insert_sql(self.select_staged_sql(row_layout, STAGE, has_retired=has_retired))

    def select_staged_sql(
        self, row_layout: Mapping[str, str], stage: str, *, has_retired: bool = True
    ) -> str:
        """Return the query for the rows in the JSON `payload` of a relation."""
        state_layout: dict[str, Any] = {}
        raw_values: dict[str, str] = {}
        for column in self._values:
            if column.name in self._retired and not has_retired:
                continue
            path = self._staged_path(column.name)
            member = state_layout
            for name in path[:-1]:
                member = member.setdefault(name, {})
            member[path[-1]] = json_type(column.type)
            raw_values[column.name] = ".".join(["r.state", *map(quote_name, path)])
        layout = msgspec.json.encode([{**row_layout, "state": state_layout or "JSON"}]).decode()
        system_values = {
            name: f"make_timestamp(r.{source})" if source.endswith("_at") else f"r.{source}"
            for name, source in self.system_columns.items()
        }
        source = f"(select unnest(from_json(payload, '{layout}')) r from {stage})"
        return self._select_sql(raw_values, system_values, source)

    def _staged_path(self, name: str) -> tuple[str, ...]:
        if not self.type.is_governed or name in self._members:
            return (name,)
        return ("hidden_attributes" if name in self._retired else "attributes", name)

    def insert_documents_sql(self, source: str, names: Mapping[str, str] | None = None) -> str:
        """Return the insert of rows whose values are in their documents.

        For the arguments see `select_documents_sql`.
        """
        return self._insert_sql(self.select_documents_sql(source, names))

    def select_documents_sql(self, source: str, names: Mapping[str, str] | None = None) -> str:
        """Return the query for the rows that documents give, with the table's column names.

        Args:
            source: a relation of position, created, created_at and the journal's columns.
            names: members of the documents by column, where they differ.
        """
        members = {
            column.name: (names or self._members).get(column.name, column.name)
            for column in self._values
        }
        layout = {members[c.name]: json_type(c.type) for c in self._values} or {"_": "VARCHAR"}
        layout_json = msgspec.json.encode(layout).decode()
        system_values = {
            name: "recorded_at" if source == "updated_at" else source
            for name, source in self.system_columns.items()
        }
        raw_values = {name: f"r.{quote_name(member)}" for name, member in members.items()}
        rows = f"(select *, from_json(document, '{layout_json}') r from {source})"
        return self._select_sql(raw_values, system_values, rows)

    def _insert_sql(self, select: str) -> str:
        """Return the insert of the rows of a query that names its columns."""
        return f"insert into {self.name} by name {select}"

    def _select_sql(
        self, raw_values: Mapping[str, str], system_values: Mapping[str, str], source: str
    ) -> str:
        """Return the query of a source with an expression for each raw value.

        The raw values are selected first and cast afterwards: over a member of a struct the engine
        evaluates every branch of an expression, including the slow one that is rarely needed.
        """
        raw_columns = ", ".join(
            [f"{value} as {name}" for name, value in system_values.items()]
            + [f"{value} as {quote_name(name)}" for name, value in raw_values.items()]
        )
        values = ", ".join(
            (
                *system_values,
                *(f"{cast_expression(self.columns[n])} as {quote_name(n)}" for n in raw_values),
            )
        )
        return f"select {values} from (select {raw_columns} from {source})"


@cache
def _encode_names(state_type: type[msgspec.Struct]) -> Mapping[str, str]:
    """Return the members of a state's document by field."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(state_type)}


def state_tables(history: SchemaHistories) -> dict[str, StateTable]:
    """Return the table of each kind that has one, with the columns of a history."""
    return {
        aggregate_type.kind: StateTable(aggregate_type, history)
        for aggregate_type in AGGREGATE_TYPES.values()
        if aggregate_type.table is not None
    }


def is_row_equal(
    table: StateTable, history: SchemaHistories, entry: Iterable[Any], values: dict[str, Any]
) -> bool:
    """Whether the values of a row are those of its decoded document.

    Args:
        table: of the row.
        history: of the schema, with which the document is read.
        entry: schema version, time of recording and document of the journal row.
        values: of the row, by column.
    """
    schema_version, recorded_at, document = entry
    try:
        state = history.decode_state(table.kind, document.encode(), schema_version)
    except InvalidInput:
        return True  # written as it is, so there is nothing to compare it with
    expected = {n: _stored_value(table.type.read_column(state, n)) for n in table.value_names}
    expected["updated_at"] = recorded_at
    return all(values[name] == value for name, value in expected.items())


def _stored_value(value: Any) -> Any:
    """Return a value as the engine returns it: instants are naive and in UTC."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def _storage_type(column_type: ColumnType) -> str:
    is_wide = (
        column_type.name is TypeName.DECIMAL and (column_type.precision or 0) > MAX_NARROW_DIGITS
    )
    return sql_type(column_type) + (" using compression uncompressed" if is_wide else "")
