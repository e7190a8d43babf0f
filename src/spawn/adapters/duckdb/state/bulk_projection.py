# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""New projects by the thousand: from their journal rows to the state tables, inside the engine."""

import re
from collections.abc import Mapping

import msgspec

from spawn.adapters.duckdb.tables import MAX_NARROW, quoted, sql_type
from spawn.domain.schemas.model import Column, ColumnType, TypeName

_SYSTEM = {
    "_created": "position",
    "_position": "position",
    "version": "version",
    "created_at": "recorded_at",
    "updated_at": "recorded_at",
}
_LONG_NUMBER = re.compile(rb":-?[0-9][0-9.]{15}").search


def projectable(document: bytes) -> bool:
    """Whether the engine can read a document's values itself, exactly.

    It reads a JSON number as a double: up to 15 digits that is exact, in either direction. The
    decimals of a document have no exponent.
    """
    return _LONG_NUMBER(document) is None


def insert_projects(
    fields: Mapping[str, Column], raw: Mapping[str, str], system: Mapping[str, str], source: str
) -> str:
    """What inserts projects out of a source, given where in it the raw value of each field is.

    The raw values are taken out first and cast afterwards: over a member of a struct the engine
    evaluates every branch of an expression, the slow one that is hardly ever needed included.
    """
    taken = ", ".join(f"{value} as {quoted(name)}" for name, value in raw.items())
    given = ", ".join(f"{value} as {name}" for name, value in system.items())
    names = ", ".join((*system, *map(quoted, raw)))
    values = ", ".join((*system, *(typed(fields[name]) for name in raw)))
    return (
        f"insert into projects ({names}) select {values}"
        f" from (select {given}, {taken} from {source})"
    )


def projects_of_journal(fields: Mapping[str, Column], condition: str) -> str:
    """What inserts the projects of the journal rows that a condition names."""
    columns = [column for column in fields.values() if column.name not in _SYSTEM]
    structure = msgspec.json.encode({c.name: json_type(c.type) for c in columns}).decode()
    raw = {column.name: f"r.{quoted(column.name)}" for column in columns}
    source = (
        f"(select position, version, recorded_at, from_json(document, '{structure}') r"
        f" from journal where {condition} and kind = 'project')"
    )
    return insert_projects(fields, raw, _SYSTEM, source)


def insert_aggregates(condition: str) -> str:
    """What inserts the aggregates of the journal rows that a condition names."""
    return (
        "insert into aggregates select kind || ':' || id, kind, version, position, position,"
        f" recorded_at from journal where {condition}"
    )


def json_type(of: ColumnType) -> str:
    """As what a value of the type is read from JSON before it is cast."""
    return "VARCHAR" if of.name in {TypeName.DECIMAL, TypeName.TIMESTAMP} else sql_type(of)


def typed(column: Column) -> str:
    """The raw JSON value of a column, as it is under the column's name, cast to its type."""
    field, of = quoted(column.name), column.type
    if of.name is TypeName.TIMESTAMP:
        # A cast to a plain timestamp would drop the offset.
        return f"make_timestamp(epoch_us({field}::timestamptz))"
    cast = f"{field}::{sql_type(of)}"
    precision, scale = of.precision or MAX_NARROW, of.scale or 0
    if of.name is not TypeName.DECIMAL or precision <= MAX_NARROW or scale > MAX_NARROW:
        return cast
    # The engine reads text into a wide decimal some hundred times slower than into a narrow one.
    return f"coalesce(try_cast({field} as decimal({MAX_NARROW},{scale})), {cast})"
