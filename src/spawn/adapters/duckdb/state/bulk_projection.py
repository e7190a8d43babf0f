# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Bulk projection: new projects from journal rows to state tables inside the engine."""

import re
from collections.abc import Mapping

import msgspec

from spawn.adapters.duckdb.tables import MAX_NARROW_DIGITS, quote_name, sql_type
from spawn.domain.schema_version import Column, ColumnType, TypeName

_SYSTEM = {
    "_created": "position",
    "_position": "position",
    "version": "version",
    "created_at": "recorded_at",
    "updated_at": "recorded_at",
}
_LONG_NUMBER = re.compile(rb":-?[0-9][0-9.]{15}").search


def is_projectable(document: bytes) -> bool:
    """Whether the engine can read the values of a document itself, exactly.

    It reads a JSON number as a double: up to 15 digits that is exact, in either direction. The
    decimals of a document have no exponent.
    """
    return _LONG_NUMBER(document) is None


def insert_projects_sql(
    fields: Mapping[str, Column],
    raw_values: Mapping[str, str],
    system_values: Mapping[str, str],
    source: str,
) -> str:
    """Return the insert of projects from a source with an expression per raw value.

    The raw values are extracted first and cast afterwards: over a member of a struct the engine
    evaluates every branch of an expression, including the slow one that is rarely needed.
    """
    raw_columns = ", ".join(f"{value} as {quote_name(name)}" for name, value in raw_values.items())
    system_columns = ", ".join(f"{value} as {name}" for name, value in system_values.items())
    names = ", ".join((*system_values, *map(quote_name, raw_values)))
    values = ", ".join((*system_values, *(cast_expression(fields[name]) for name in raw_values)))
    return (
        f"insert into projects ({names}) select {values}"
        f" from (select {system_columns}, {raw_columns} from {source})"
    )


def insert_journal_projects_sql(fields: Mapping[str, Column], condition: str) -> str:
    """Return the insert of the projects of the journal rows that meet a condition."""
    columns = [column for column in fields.values() if column.name not in _SYSTEM]
    structure = msgspec.json.encode({c.name: json_type(c.type) for c in columns}).decode()
    raw_values = {column.name: f"r.{quote_name(column.name)}" for column in columns}
    source = (
        f"(select position, version, recorded_at, from_json(document, '{structure}') r"
        f" from journal where {condition} and kind = 'project')"
    )
    return insert_projects_sql(fields, raw_values, _SYSTEM, source)


def insert_aggregates_sql(condition: str) -> str:
    """Return the insert of the aggregates of the journal rows that meet a condition."""
    return (
        "insert into aggregates select kind || ':' || id, kind, version, position, position,"
        f" recorded_at from journal where {condition}"
    )


def json_type(column_type: ColumnType) -> str:
    """Return the type that a value is read as from JSON before it is cast."""
    return (
        "VARCHAR"
        if column_type.name in {TypeName.DECIMAL, TypeName.TIMESTAMP}
        else sql_type(column_type)
    )


def cast_expression(column: Column) -> str:
    """Return the cast of a raw JSON value, named like its column, to the column type."""
    field, column_type = quote_name(column.name), column.type
    if column_type.name is TypeName.TIMESTAMP:
        # A cast to a plain timestamp would drop the offset.
        return f"make_timestamp(epoch_us({field}::timestamptz))"
    cast = f"{field}::{sql_type(column_type)}"
    precision, scale = column_type.precision or MAX_NARROW_DIGITS, column_type.scale or 0
    if (
        column_type.name is not TypeName.DECIMAL
        or precision <= MAX_NARROW_DIGITS
        or scale > MAX_NARROW_DIGITS
    ):
        return cast
    # The engine casts text to a wide decimal about a hundred times slower than to a narrow one.
    return f"coalesce(try_cast({field} as decimal({MAX_NARROW_DIGITS},{scale})), {cast})"
