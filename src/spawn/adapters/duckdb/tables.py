"""Tables of the file: format version, format migrations, and typed columns of a schema."""

import re
import string
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb

from spawn.adapters.duckdb.connection import Cursor
from spawn.domain.errors import InvalidInput, StorageDamaged, StorageIncompatible
from spawn.domain.schema_version import ColumnType, TypeName, Value

_JOURNAL = """
create table journal (
    position bigint not null, kind varchar not null, id varchar not null, version integer not null,
    type varchar not null, actor varchar not null, recorded_at timestamp not null,
    schema_version integer not null, changed varchar[], reason varchar, traceparent varchar,
    document varchar using compression uncompressed,
    receipt_scope varchar, receipt_key varchar, receipt_fingerprint varchar,
    receipt_status integer, receipt_headers varchar, receipt_body blob, hash blob not null)
"""
# Documents are not compressed: a page in any order but creation's reads fifty from all over the
# journal, and each would unpack a block of two thousand. The file is three times the size.
_AGGREGATES = """
create table aggregates (
    key varchar primary key, kind varchar not null, version integer not null,
    created bigint not null, position bigint not null, created_at timestamp not null)
"""
_SCHEMAS = """
create table schemas (
    ordinal integer not null, schema_id varchar not null, version integer not null,
    fingerprint varchar not null, state varchar not null, provenance varchar not null,
    recorded_at timestamp not null, reason varchar not null, document blob not null)
"""
_SCHEMA_MIGRATIONS = """
create table schema_migrations (
    ordinal bigint not null, schema_id varchar not null, old_version integer not null,
    new_version integer not null, started_at timestamp not null, duration_s double not null,
    steps varchar not null, rows bigint not null, outcome varchar not null,
    actor varchar not null, reason varchar not null, detail varchar not null)
"""
# With every commit the engine logs the lists of up to two thousand earlier rows again, 90 kB of
# field names on average. A text is logged with its own row alone. The table is rewritten: the
# engine cannot read its own log of a column whose type changed.
_CHANGED_AS_TEXT = (
    _JOURNAL.replace("table journal", "table renewed").replace("varchar[]", "varchar"),
    """
    insert into renewed
        select * replace (array_to_string(coalesce(changed, []), ',') as changed)
        from journal order by position
    """,
    "drop table journal",
    "alter table renewed rename to journal",
)
FORMAT_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        _JOURNAL,
        _AGGREGATES,
        _SCHEMAS,
        "create table store (epoch bigint not null, probed bigint not null)",
        "insert into store values (1, 0)",
        "create table formats (version integer not null, applied_at timestamp not null)",
    ),
    ("create table bookmarks (name varchar not null, position varchar not null)",),
    (
        "alter table schemas add column decision varchar",
        "alter table schemas add column predecessor integer",
        _SCHEMA_MIGRATIONS,
    ),
    _CHANGED_AS_TEXT,
    ("alter table journal add column receipt_recipe varchar",),
    (
        "create table store_identity (store_id varchar not null)",
        "insert into store_identity select replace(uuid()::varchar, '-', '')",
    ),
    ("alter table schemas add column kind varchar default 'project'",),
)
"""Statements that lead from format n to format n + 1; released ones are never edited."""

MAX_NARROW_DIGITS = 18
"""Digits of the widest decimal that the engine stores in a machine word."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,127}", re.ASCII)
_PLAIN_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_ .,:-")
_MAX_LITERAL_CHARACTERS = 2_000
_SQL_TYPES = {
    TypeName.STRING: "VARCHAR",
    TypeName.INTEGER: "INTEGER",
    TypeName.BIGINT: "BIGINT",
    TypeName.DOUBLE: "DOUBLE",
    TypeName.BOOLEAN: "BOOLEAN",
    TypeName.DATE: "DATE",
    TypeName.TIMESTAMP: "TIMESTAMP",
}


def migrate_format(cursor: Cursor, now: object) -> None:
    """Bring the file to the newest format, one transaction per step; a new file in one alone.

    Raises:
        StorageIncompatible: the file is of a newer format.
        StorageDamaged: it is another program's database.
    """
    version = _format_version(cursor)
    steps = list(enumerate(FORMAT_MIGRATIONS, start=1))[version:]
    for transaction in [[step] for step in steps] if version else [steps]:
        cursor.execute("begin")
        for number, statements in transaction:
            for statement in statements:
                cursor.execute(statement)
            cursor.execute("insert into formats values (?, ?)", [number, now])
        cursor.execute("commit")


def _format_version(cursor: Cursor) -> int:
    names = {row[0] for row in cursor.execute("select table_name from duckdb_tables()").fetchall()}
    if "formats" not in names:
        if names:
            raise StorageDamaged(
                "The database belongs to another program: choose another path for the store."
            )
        return 0
    row = cursor.execute("select max(version) from formats").fetchone()
    version = int(row[0]) if row and row[0] is not None else 0
    if version > len(FORMAT_MIGRATIONS):
        raise StorageIncompatible(
            f"The database has format {version} and this release knows {len(FORMAT_MIGRATIONS)}:"
            " run the newer release that wrote it."
        )
    return version


def has_every_column(cursor: Cursor) -> bool:
    """Whether the file has every table and column of the newest format but the derived ones."""
    with closing(duckdb.connect()) as reference:
        migrate_format(reference, datetime.now(UTC).replace(tzinfo=None))
        return _read_columns(reference) <= _read_columns(cursor)


def _read_columns(cursor: Cursor) -> set[tuple[str, str, str]]:
    return set(
        cursor.execute(
            "select table_name, column_name, data_type from duckdb_columns()"
            " where database_name = current_database() and schema_name = 'main'"
            " and table_name <> 'aggregates'"
        ).fetchall()
    )


def drop_views(cursor: Cursor, names: Iterable[str]) -> None:
    """Drop the views that another program put in the place of tables of these names."""
    views = cursor.execute(
        "select lower(view_name) from duckdb_views() where not internal"
        " and database_name = current_database() and schema_name = 'main'"
    ).fetchall()
    for name in {name for (name,) in views}.intersection(names):
        cursor.execute(f"drop view {name}")


def quote_name(name: str) -> str:
    """Return a column name of a schema as a quoted identifier.

    Raises:
        InvalidInput: it is not a whitelisted identifier; nothing else ever reaches a statement.
    """
    if _IDENTIFIER.fullmatch(name) is None:
        raise InvalidInput.at("/columns", "bad_name", f"{name!r} cannot name a column.")
    return f'"{name}"'


def sql_type(column_type: ColumnType) -> str:
    """Return the engine's type for a column type."""
    if column_type.name is TypeName.DECIMAL:
        precision, scale = int(column_type.precision or 18), int(column_type.scale or 0)
        return f"DECIMAL({precision},{scale})"
    return _SQL_TYPES[column_type.name]


def sql_literal(value: Value, column_type: ColumnType) -> str | None:
    """Return a value as a constant of the engine's type, or None for a text without one.

    For statements that take no parameters. No constant calls a function, because the engine cannot
    read its log of such a statement.
    """
    if isinstance(value, str):
        return _text_literal(value)
    if isinstance(value, datetime):
        text = value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
    elif isinstance(value, Decimal):
        text = f"{value:f}"
    else:
        text = value.isoformat() if isinstance(value, date) else repr(value)
    return f"'{text}'::{sql_type(column_type)}"


def _text_literal(text: str) -> str | None:
    """Return a text as an escape string, or None for one that is long or has hidden characters.

    Letters of any script stand as they are, and ASCII punctuation by its code: so no quote and no
    backslash of a schema is ever in a statement. The engine has no codes for other characters.
    """
    if len(text) > _MAX_LITERAL_CHARACTERS or not all(map(_has_literal, text)):
        return None
    return "E'" + "".join(map(_escape_character, text)) + "'"


def _has_literal(character: str) -> bool:
    return character != "\0" if character.isascii() else character.isprintable()


def _escape_character(character: str) -> str:
    is_plain = character in _PLAIN_CHARACTERS or not character.isascii()
    return character if is_plain else f"\\x{ord(character):02x}"
