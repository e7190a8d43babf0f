# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Proof that the state tables agree with the journal, given whenever a file is opened.

A cleanly closed file has the row count and checksum of each table at the last position, and is
compared with them. After a crash there is none for that position: then each row is compared with
the journal row that it names, and a sample of rows with the documents. The values of all rows are
compared later (`row_comparison`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import duckdb

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.state.state_table import StateTable, is_row_equal
from spawn.adapters.duckdb.tables import drop_views, quote_name
from spawn.adapters.embedded.schema_histories import SchemaHistories

AGGREGATES: Final = "aggregates"
"""Name of the table that locates every aggregate."""

AGGREGATES_SQL: Final = """
create or replace table aggregates (
    key varchar primary key, kind varchar not null, version integer not null,
    created bigint not null, position bigint not null, created_at timestamp not null)
"""

Differences = dict[str, str]
"""Reasons why tables are not what the journal says, by the tables' names."""

_AGGREGATES_LAYOUT: Final = {
    "key": "VARCHAR",
    "kind": "VARCHAR",
    "version": "INTEGER",
    "created": "BIGINT",
    "position": "BIGINT",
    "created_at": "TIMESTAMP",
}
_PROOFS: Final = "state_proofs"
_PROOFS_SQL: Final = """
create or replace table state_proofs (
    name varchar not null, position bigint not null, engine varchar not null, rows bigint not null,
    checksum varchar not null)
"""
_PROOFS_LAYOUT: Final = {
    "name": "VARCHAR",
    "position": "BIGINT",
    "engine": "VARCHAR",
    "rows": "BIGINT",
    "checksum": "VARCHAR",
}
_INCOMPLETE: Final = -1
_SAMPLE_ROWS: Final = 50
_SAMPLE_STRIDE: Final = 7_919
_ENGINE: Final[str] = duckdb.__version__


class _Sum(NamedTuple):
    """Rows of a table, and the sum of their hashes."""

    rows: int
    checksum: str


def find_layout_differences(cursor: Cursor, tables: Iterable[StateTable]) -> Differences:
    """Return the tables that are missing, have other columns, or were not rebuilt to the end."""
    layout_by_name = {AGGREGATES: _AGGREGATES_LAYOUT} | {t.name: t.layout() for t in tables}
    layouts = _read_layouts(cursor, {_PROOFS, *layout_by_name})
    if layouts.get(_PROOFS) != _PROOFS_LAYOUT:
        drop_views(cursor, [_PROOFS])
        cursor.execute(_PROOFS_SQL)
    constrained, has_key = _find_constrained(cursor)
    incomplete = {
        name
        for (name,) in cursor.execute(
            "select name from state_proofs where position = ?", [_INCOMPLETE]
        ).fetchall()
    }
    differences: Differences = {}
    for name, layout in layout_by_name.items():
        if name not in layouts:
            differences[name] = "it is missing"
        elif layouts[name] != layout:
            differences[name] = "its columns differ"
        elif name in constrained:
            differences[name] = "it has an index or a constraint of another program"
        elif name in incomplete:
            differences[name] = "it was not rebuilt to the end"
    if AGGREGATES not in differences and not has_key:
        differences[AGGREGATES] = "its key is missing"
    return differences


def _read_layouts(cursor: Cursor, wanted: set[str]) -> dict[str, dict[str, str]]:
    """Return the columns of the tables that exist, with their types; a view is no table.

    The engine's list of all columns also describes its own views, which takes six times as long.
    """
    tables = cursor.execute(
        "select table_name from duckdb_tables()"
        " where database_name = current_database() and schema_name = 'main'"
    ).fetchall()
    names = sorted(wanted.intersection(name for (name,) in tables))
    layouts: dict[str, dict[str, str]] = {}
    for table, column, type_ in _query_each(
        cursor, names, "select '{name}', name, type from pragma_table_info('main.{name}')"
    ):
        layouts.setdefault(table, {})[column] = type_
    return layouts


def _query_each(cursor: Cursor, names: Iterable[str], query: str) -> list[Any]:
    """Run a query for each table, as one statement; `{name}` in it stands for the table."""
    statement = " union all ".join(query.format(name=name) for name in names)
    return cursor.execute(statement).fetchall() if statement else []


def _find_constrained(cursor: Cursor) -> tuple[set[str], bool]:
    """Return the tables that another program constrains, and whether aggregates have their key."""
    main = "database_name = current_database() and schema_name = 'main'"
    rows = cursor.execute(
        f"select table_name, null from duckdb_indexes() where {main}"
        " union all select table_name, constraint_type || constraint_column_names::varchar"
        f" from duckdb_constraints() where {main} and constraint_type <> 'NOT NULL'"
    ).fetchall()
    key = (AGGREGATES, "PRIMARY KEY[key]")
    return {row[0] for row in rows if row != key}, key in rows


def include_dependents(differences: Differences, tables: Mapping[str, StateTable]) -> Differences:
    """Return the differences with all that follow: every table is built from `aggregates`."""
    if AGGREGATES not in differences:
        return differences
    dependents = dict.fromkeys((t.name for t in tables.values()), f"{AGGREGATES} is rebuilt")
    return dependents | differences


def mark_incomplete(cursor: Cursor, names: Iterable[str]) -> None:
    """Record that tables are being rebuilt, in the caller's transaction."""
    incomplete = list(names)
    cursor.execute("delete from state_proofs where name in (select unnest(?))", [incomplete])
    cursor.execute(
        "insert into state_proofs select unnest(?), ?, ?, 0, ''",
        [incomplete, _INCOMPLETE, _ENGINE],
    )


def mark_complete(cursor: Cursor) -> None:
    """Record that every table has been filled."""
    cursor.execute("delete from state_proofs where position = ?", [_INCOMPLETE])


def save_proofs(cursor: Cursor, tables: Iterable[StateTable], position: int) -> None:
    """Record rows and checksum of each table, level with the journal at a position."""
    sums = _sum_tables(cursor, tables)
    cursor.execute("begin")
    cursor.execute("delete from state_proofs")
    cursor.execute(
        "insert into state_proofs select unnest(?), ?, ?, unnest(?), unnest(?)",
        [list(sums), position, _ENGINE, *map(list, zip(*sums.values(), strict=True))],
    )
    cursor.execute("commit")


def find_differences(
    cursor: Cursor, tables: Mapping[str, StateTable], history: SchemaHistories, position: int
) -> Differences:
    """Compare tables that are level with the journal at a position with it."""
    differences = _compare_counts(cursor, tables)
    if differences or not position:
        return differences
    proofs = _read_proofs(cursor, position)
    if _is_complete(proofs, tables):
        sums = _sum_tables(cursor, tables.values())
        other_names = [name for name, proof in proofs.items() if sums[name] != proof]
        return dict.fromkeys(other_names, "it was changed since the store was closed")
    return _compare_rows(cursor, tables) or _compare_samples(cursor, tables, history, position)


def has_proofs(cursor: Cursor, tables: Mapping[str, StateTable], position: int) -> bool:
    """Whether the last close recorded the checksum of every table at this position."""
    return not position or _is_complete(_read_proofs(cursor, position), tables)


def _read_proofs(cursor: Cursor, position: int) -> dict[str, _Sum]:
    rows = cursor.execute(
        "select name, rows, checksum from state_proofs where position = ? and engine = ?",
        [position, _ENGINE],
    ).fetchall()
    return {name: _Sum(count, checksum) for name, count, checksum in rows}


def _is_complete(proofs: Mapping[str, _Sum], tables: Mapping[str, StateTable]) -> bool:
    return proofs.keys() == {AGGREGATES, *(table.name for table in tables.values())}


def _sum_tables(cursor: Cursor, tables: Iterable[StateTable]) -> dict[str, _Sum]:
    layouts = {AGGREGATES: list(_AGGREGATES_LAYOUT)}
    layouts |= {table.name: list(table.layout()) for table in tables}
    statement = " union all ".join(
        _sum_sql(name, sorted(columns), name) for name, columns in layouts.items()
    )
    rows = cursor.execute(statement).fetchall()
    return {name: _Sum(count, checksum) for name, count, checksum in rows}


def _sum(cursor: Cursor, source: str, columns: Iterable[str]) -> _Sum:
    _, rows, checksum = cursor.execute(_sum_sql(source, columns)).fetchall()[0]
    return _Sum(rows, checksum)


def _sum_sql(source: str, columns: Iterable[str], name: str = "") -> str:
    # Every name is of a layout, so it is a constant of ours or has passed the whitelist.
    names = ", ".join(f'"{name}"' for name in columns)
    return f"select '{name}', count(*), coalesce(sum(hash({names})), 0)::varchar from {source}"


def _compare_counts(cursor: Cursor, tables: Mapping[str, StateTable]) -> Differences:
    """Compare the number of aggregates and versions of each kind with the journal."""
    journal = cursor.execute(
        "select kind, count(*) filter (version = 1), count(*) from journal where version > 0"
        " group by kind"
    ).fetchall()
    locations = cursor.execute(
        "select kind, count(*), sum(version)::bigint from aggregates group by kind"
    ).fetchall()
    if sorted(journal) != sorted(locations):
        return {AGGREGATES: "it has other aggregates or versions than the journal"}
    counts = {kind: count for kind, count, _ in journal}
    names = [table.name for table in tables.values()]
    rows = dict(_query_each(cursor, names, "select '{name}', count(*) from {name}"))
    return {
        table.name: "it has another number of rows than the journal"
        for kind, table in tables.items()
        if rows[table.name] != counts.get(kind, 0)
    }


def _compare_rows(cursor: Cursor, tables: Mapping[str, StateTable]) -> Differences:
    """Compare each row with the journal rows that created and last wrote its aggregate.

    The counts agree already: every version of a key is in the journal once, so if each row names a
    version of its own key, and the versions add up, each names the newest.
    """
    row = cursor.execute(
        "select (select count(*) from aggregates) - count(*) from aggregates a"
        " join journal j on j.position = a.position and j.version = a.version and j.kind = a.kind"
        " where a.key = j.kind || ':' || j.id"
    ).fetchone()
    creations = _sum(
        cursor,
        "(select kind || ':' || id as key, position, recorded_at from journal where version = 1)",
        ("key", "position", "recorded_at"),
    )
    if row != (0,) or creations != _sum(cursor, AGGREGATES, ("key", "created", "created_at")):
        return {AGGREGATES: "it names other rows than the journal has"}
    rows = cursor.execute(
        "select kind, count(*), sum(hash(substr(key, length(kind) + 2), created, position, version,"
        f" created_at))::varchar from {AGGREGATES} group by kind"
    ).fetchall()
    location_sums = {kind: _Sum(count, checksum) for kind, count, checksum in rows}
    statement = " union all ".join(
        _sum_sql(
            table.name,
            (table.type.id_column, "_created", "_position", "version", "created_at"),
            table.kind,
        )
        for table in tables.values()
    )
    row_sums = cursor.execute(statement).fetchall() if statement else []
    return {
        tables[kind].name: "it has other versions than the journal"
        for kind, *row_sum in row_sums
        if _Sum(*row_sum) != location_sums.get(kind, _Sum(0, "0"))
    }


def _compare_samples(
    cursor: Cursor, tables: Mapping[str, StateTable], history: SchemaHistories, position: int
) -> Differences:
    """Compare some rows of each table, others at every position, with their documents."""
    names = [table.name for table in tables.values()]
    sizes = dict(_query_each(cursor, names, "select '{name}', max(rowid) + 1 from {name}"))
    samples = {
        table.name: _read_sample(cursor, table, sizes[table.name] or 0, position)
        for table in tables.values()
    }
    # One statement for all: each takes a millisecond to plan, and there are up to 50 rows a table.
    entries = _read_entries(cursor, {row[0] for rows in samples.values() for row in rows})
    return {
        table.name: "it has other values than the journal"
        for table in tables.values()
        if not _is_sample_equal(table, history, samples[table.name], entries)
    }


def _read_sample(
    cursor: Cursor, table: StateTable, size: int, position: int
) -> list[tuple[Any, ...]]:
    """Return rows of a table, each with the position that wrote it and the values of a state."""
    rowids = {(position + n * _SAMPLE_STRIDE) % size for n in range(min(_SAMPLE_ROWS, size))}
    if not rowids:
        return []
    columns = ", ".join(map(quote_name, _value_columns(table)))
    return cursor.execute(
        f"select _position, {columns} from {table.name}"
        f" where rowid in ({', '.join(map(str, sorted(rowids)))})"
    ).fetchall()


def _value_columns(table: StateTable) -> list[str]:
    return [name for name in table.layout() if not name.startswith("_")]


def _read_entries(cursor: Cursor, positions: set[int]) -> dict[int, tuple[Any, ...]]:
    """Return schema version, time of recording and document of journal rows by position."""
    # With constants the engine skips the groups of rows that have none of them.
    constants = ", ".join(map(str, sorted(positions))) or "null"
    rows = cursor.execute(
        "select position, schema_version, recorded_at, document from journal"
        f" where position in ({constants})"
    ).fetchall()
    return {position: tuple(entry) for position, *entry in rows}


def _is_sample_equal(
    table: StateTable,
    history: SchemaHistories,
    rows: Iterable[tuple[Any, ...]],
    entries: Mapping[int, tuple[Any, ...]],
) -> bool:
    names = _value_columns(table)
    for written_at, *values in rows:
        entry = entries.get(written_at)
        if entry is None or not is_row_equal(
            table, history, entry, dict(zip(names, values, strict=True))
        ):
            return False
    return True
