# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Bulk projection: aggregates from journal rows to state tables inside the engine."""

import re
from typing import Final

from spawn.adapters.duckdb.tables import MAX_NARROW_DIGITS, quote_name, sql_type
from spawn.domain.schema_version import Column, ColumnType, TypeName

LONG_NUMBER: Final = ":-?[0-9][0-9.]{15}"
"""Pattern of a number in a document that the engine may read inexactly."""

_find_long_number = re.compile(LONG_NUMBER.encode()).search


def is_projectable(document: bytes) -> bool:
    """Whether the engine can read the values of a document itself, exactly.

    It reads a JSON number as a double: up to 15 digits that is exact, in either direction. The
    decimals of a document have no exponent.
    """
    return _find_long_number(document) is None


def new_rows_sql(first: int, last: int) -> str:
    """Return the relation of the journal rows of a range that create aggregates."""
    return (
        "(select *, position as created, recorded_at as created_at from journal"
        f" where position between {first:d} and {last:d})"
    )


def insert_aggregates_sql(source: str) -> str:
    """Return the insert of the aggregates of a relation of new rows."""
    return (
        "insert into aggregates select kind || ':' || id, kind, version, created, position,"
        f" created_at from {source}"
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
    if column_type.name is TypeName.DECIMAL and precision == scale:
        return f"({_without_exponent(field)})::{sql_type(column_type)}"
    if (
        column_type.name is not TypeName.DECIMAL
        or precision <= MAX_NARROW_DIGITS
        or scale > MAX_NARROW_DIGITS
    ):
        return cast
    # The engine casts text to a wide decimal about a hundred times slower than to a narrow one.
    return f"coalesce(try_cast({field} as decimal({MAX_NARROW_DIGITS},{scale})), {cast})"


def _without_exponent(text: str) -> str:
    """Return a text of a number below one without its exponent.

    The engine casts `1E-7` to decimal(8,7) and fails to cast it to decimal(7,7).
    """
    mantissa, exponent = f"split_part(lower({text}), 'e', 1)", f"split_part(lower({text}), 'e', 2)"
    sign = f"case when starts_with({text}, '-') then '-' else '' end"
    digits = f"replace(ltrim({mantissa}, '-'), '.', '')"
    plain = f"{sign} || '0.' || repeat('0', -1 - {exponent}::integer) || {digits}"
    return f"case when contains(lower({text}), 'e') then {plain} else {text} end"
