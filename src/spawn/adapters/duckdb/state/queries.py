# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Read queries; each function runs on a reader thread with its own cursor."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb
import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import (
    SELECT_ENTRY,
    AggregateLocation,
    CachedAggregate,
    JournalRow,
    aggregate_key,
    entry_of_row,
    from_microseconds,
    read_entry,
    to_microseconds,
)
from spawn.adapters.duckdb.state.page_query import PageStatement
from spawn.adapters.duckdb.state.past_states import find_position_at, select_past_states
from spawn.adapters.duckdb.state.state_table import StateTable
from spawn.adapters.embedded import journal
from spawn.adapters.embedded.schema_histories import SchemaHistories, resolve_query
from spawn.domain.aggregates import AGGREGATE_TYPES, governed_kinds
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import NotFound, Unavailable
from spawn.domain.events.journal_entry import FeedPage, JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.lineage.run import EVENT_TYPES
from spawn.domain.query import HistoryBounds, Query
from spawn.ports.storage import Table, TableColumn

_POINT_LOOKUPS = 100
_POINT_ROWS = 3
_DENSE_ROWS = 2_048
_FIRST_WINDOW = 2_048
_MAX_SCANNED_ROWS = 262_144
_HISTORY_RETRIES = 200
_HISTORY_PAUSE_S = 0.01
_STATE_COLUMNS = "position, kind, id, version, epoch_us(recorded_at), schema_version, document"


def read_locations(cursor: Cursor, keys: list[str]) -> dict[str, AggregateLocation]:
    """Return the locations of the aggregates that the state tables contain."""
    select = "select key, version, created, position, epoch_us(created_at) from aggregates where "
    rows: list[Any] = []
    if len(keys) <= _POINT_LOOKUPS:
        # One index lookup per key; a list of keys would not use the index.
        for key in keys:
            rows += cursor.execute(select + "key = ?", [key]).fetchall()
    else:
        keys_json = msgspec.json.encode(keys).decode()
        rows = cursor.execute(
            select + "key in (select unnest(from_json(?, '[\"VARCHAR\"]')))", [keys_json]
        ).fetchall()
    return {key: AggregateLocation(*location) for key, *location in rows}


def _state_rows(cursor: Cursor, positions: list[int]) -> list[Any]:
    """Return the states written at these positions, in any order, perhaps with neighbours."""
    first, last = min(positions), max(positions)
    select = f"select {_STATE_COLUMNS} from journal where "
    if len(positions) <= _POINT_ROWS:
        rows: list[Any] = []
        for position in positions:
            rows += cursor.execute(select + "position = ?", [position]).fetchall()
        return rows
    if last - first < max(4 * len(positions), _DENSE_ROWS // 8):
        return cursor.execute(select + "position between ? and ?", [first, last]).fetchall()
    # Spread wide: by row number, which the engine reads directly. No row ever leaves the journal,
    # so row numbers are positions less one; if a file differs, they are queried.
    rows = _state_rows_by_rowid(cursor, [position - 1 for position in positions])
    if {row[0] for row in rows} != set(positions):
        positions_json = msgspec.json.encode(positions).decode()
        rowids = cursor.execute(
            "select rowid from journal where position in"
            " (select unnest(from_json(?, '[\"BIGINT\"]')))",
            [positions_json],
        ).fetchall()
        rows = _state_rows_by_rowid(cursor, [rowid for (rowid,) in rowids])
    return rows


def _state_rows_by_rowid(cursor: Cursor, rowids: list[int]) -> list[Any]:
    rowids_json = msgspec.json.encode(rowids).decode()
    return cursor.execute(
        f"select {_STATE_COLUMNS} from journal where rowid in"
        " (select unnest(from_json(?, '[\"BIGINT\"]')))",
        [rowids_json],
    ).fetchall()


HistorySource = Callable[[], SchemaHistories]
"""Source of the schema history; called after rows are read, it knows their versions."""


def _build_stored(
    state: Any, created_at: int, schema_history: SchemaHistories
) -> StoredAggregate[Any]:
    _, kind, aggregate_id, version, recorded_at, schema_version, document = state
    return StoredAggregate(
        kind=kind,
        id=aggregate_id,
        version=version,
        state=schema_history.decode_state(kind, document.encode(), schema_version),
        created_at=from_microseconds(created_at),
        updated_at=from_microseconds(recorded_at),
        schema_version=schema_history.served_version(kind, schema_version),
    )


def read_at(
    cursor: Cursor, locations: Mapping[int, AggregateLocation], read_history: HistorySource
) -> dict[int, CachedAggregate]:
    """Return the aggregates whose newest versions were written at these positions."""
    if not locations:
        return {}
    rows = [(row[0], row) for row in _state_rows(cursor, list(locations)) if row[0] in locations]
    schema_history = read_history()
    return {
        position: CachedAggregate(
            _build_stored(row, locations[position].created_at, schema_history), locations[position]
        )
        for position, row in rows
    }


def read_many(
    cursor: Cursor,
    known_locations: Mapping[str, AggregateLocation | None],
    read_history: HistorySource,
) -> dict[str, CachedAggregate]:
    """Return the existing aggregates of these keys, by key; known locations save a query."""
    locations = {key: location for key, location in known_locations.items() if location is not None}
    locations |= read_locations(
        cursor, [key for key, location in known_locations.items() if location is None]
    )
    by_position = {location.position: location for location in locations.values()}
    aggregates = read_at(cursor, by_position, read_history).values()
    return {aggregate_key(a.stored.kind, a.stored.id): a for a in aggregates}


def read_version(
    cursor: Cursor,
    kind: str,
    aggregate_id: str,
    location: AggregateLocation,
    read_history: HistorySource,
    version: int | None,
    as_of: datetime | None,
) -> StoredAggregate[Any]:
    """Return the state at `version`, or the newest one recorded at or before `as_of`.

    Raises:
        NotFound: there is none.
    """
    condition, parameters = "", [location.created_position, location.position, kind, aggregate_id]
    if version is not None:
        condition += " and version = ?"
        parameters.append(version)
    if as_of is not None:
        condition += " and recorded_at <= make_timestamp(?)"
        parameters.append(to_microseconds(as_of))
    row = cursor.execute(
        f"select {_STATE_COLUMNS} from journal where position between ? and ?"
        f" and kind = ? and id = ?{condition} order by position desc limit 1",
        parameters,
    ).fetchone()
    if row is None:
        raise NotFound(f"The {kind} {aggregate_id} has no such version or was not there yet.")
    return _build_stored(row, location.created_at, read_history())


def read_entries(
    cursor: Cursor,
    kind: str,
    aggregate_id: str,
    location: AggregateLocation,
    after: int,
    limit: int,
    bounds: HistoryBounds,
) -> list[Any]:
    """Return rows of an aggregate after a version and within bounds, for `read_entry`."""
    if after >= location.version:
        return []
    condition, parameters = "kind = ? and id = ? and version > ?", [kind, aggregate_id, after]
    if bounds.before_version is not None:
        condition += " and version < ?"
        parameters.append(bounds.before_version)
    for comparison, instant in ((">=", bounds.recorded_from), ("<=", bounds.recorded_to)):
        if instant is not None:
            condition += f" and recorded_at {comparison} make_timestamp(?)"
            parameters.append(to_microseconds(instant))
    select = f"select {SELECT_ENTRY} from journal where position between ? and ? and {condition}"
    first, last = location.created_position, location.position
    if not bounds.is_descending:
        values = [first, last, *parameters, limit]
        return cursor.execute(f"{select} order by position limit ?", values).fetchall()
    # Backwards in growing windows: the newest rows are read without those of years before.
    rows: list[Any] = []
    window_rows = _FIRST_WINDOW
    while last >= first and len(rows) < limit:
        start = max(first, last - window_rows + 1)
        values = [start, last, *parameters, limit - len(rows)]
        rows += cursor.execute(f"{select} order by position desc limit ?", values).fetchall()
        last, window_rows = start - 1, window_rows * 4
    return rows


def read_page(
    cursor: Cursor,
    query: Query,
    through: int,
    read_history: HistorySource,
    find_cached: Callable[[int], CachedAggregate | None],
) -> tuple[list[CachedAggregate], bool]:
    """Return the aggregates of a page in order, and whether a page follows.

    `find_cached` returns the cached aggregate that was written at a position, if any. The state
    tables include the journal up to `through` at least, which is the end of it for `as_of`.
    """
    rows = _select(cursor, query, through, read_history, PageStatement.select)
    page_rows = rows[: query.limit]
    aggregates = {p: cached for _, p, _ in page_rows if (cached := find_cached(p)) is not None}
    missing = {row[1]: row for row in page_rows if row[1] not in aggregates}
    if missing:
        states = [state for state in _state_rows(cursor, list(missing)) if state[0] in missing]
        schema_history = read_history()
        for state in states:
            created_position, position, created_at = missing[state[0]]
            location = AggregateLocation(state[3], created_position, position, created_at)
            aggregates[position] = CachedAggregate(
                _build_stored(state, created_at, schema_history), location
            )
    return [aggregates[position] for _, position, _ in page_rows], len(rows) > query.limit


def count_items(cursor: Cursor, query: Query, through: int, read_history: HistorySource) -> int:
    """Return the number of aggregates that match the filters of a query; see `read_page`."""
    ((count,),) = _select(cursor, query, through, read_history, PageStatement.count)
    return int(count)


def _select(
    cursor: Cursor,
    query: Query,
    through: int,
    read_history: HistorySource,
    write: Callable[[PageStatement, Query], str],
) -> list[Any]:
    """Return the rows of a statement on a state table.

    Between the commit of a migration and the switch to its history, the tables are ahead of the
    history and a column can have another name or type: then this waits for the new history.
    """
    aggregate_type = AGGREGATE_TYPES[query.kind]
    for _ in range(_HISTORY_RETRIES):
        schema_history = read_history()
        try:
            past_states = None
            if query.as_of is not None:
                position = find_position_at(cursor, query.as_of, through)
                table = StateTable(aggregate_type, schema_history)
                past_states = select_past_states(cursor, table, schema_history, position)
            columns = schema_history.columns(query.kind)
            promoted = schema_history.of(query.kind).find_promoted
            statement = PageStatement(aggregate_type, columns, promoted, past_states)
            sql = write(statement, resolve_query(query, schema_history))
            return cursor.execute(sql, statement.parameters).fetchall()
        except (duckdb.BinderException, duckdb.CatalogException):
            if read_history() is schema_history:
                time.sleep(_HISTORY_PAUSE_S)
    raise Unavailable("The tables are being migrated: retry.")


def read_feed(
    cursor: Cursor,
    position: int,
    last: int,
    limit: int,
    types: frozenset[str] | None,
    subject: tuple[str, str] | None,
    epoch: int,
) -> FeedPage:
    """Return entries that carry an event, after row `position` and through `last`.

    The journal is read in growing windows, each selected by position alone, and a call reads a
    bounded number of rows: an empty page with a later position is a valid result.
    """
    condition, parameters = _feed_condition(types, subject)
    entries: list[JournalEntry] = []
    window_rows, end = max(2 * limit, _FIRST_WINDOW), min(last, position + _MAX_SCANNED_ROWS)
    while position < end and len(entries) < limit:
        through = min(position + window_rows, end)
        rows = cursor.execute(
            f"select {SELECT_ENTRY} from journal where position > ? and position <= ?"
            f" and {condition} order by position limit ?",
            [position, through, *parameters, limit - len(entries)],
        ).fetchall()
        entries += [read_entry(values, epoch) for values in rows]
        position = rows[-1][0] if len(entries) == limit else through
        window_rows *= 4
    return FeedPage(tuple(entries), Position(epoch, position))


def last_position_before(cursor: Cursor, moment: datetime) -> int:
    """Return the last journal row recorded before an instant; 0 if there is none."""
    row = cursor.execute(
        "select coalesce(max(position), 0) from journal where recorded_at < make_timestamp(?)",
        [to_microseconds(moment)],
    ).fetchone()
    return int(row[0]) if row else 0


def feed_of_rows(
    rows: Sequence[JournalRow],
    limit: int,
    types: frozenset[str] | None,
    subject: tuple[str, str] | None,
    epoch: int,
) -> FeedPage:
    """Return the feed page, as `read_feed` does, of at least one cached row."""
    entries: list[JournalEntry] = []
    position = 0
    for row in rows:
        position = row.position
        if journal.is_visible(row, types, subject):
            entries.append(entry_of_row(row, epoch))
            if len(entries) == limit:
                break
    return FeedPage(tuple(entries), Position(epoch, position))


def _feed_condition(
    types: frozenset[str] | None, subject: tuple[str, str] | None
) -> tuple[str, list[Any]]:
    type_names, negation = (EVENT_TYPES, "not ") if types is None else (types, "")
    condition, parameters = "type <> ''", list[Any](sorted(type_names))
    condition += (
        f" and type {negation}in ({', '.join('?' * len(type_names))})"
        if type_names
        else " and false"
    )
    if subject is not None:
        condition += " and kind = ? and id = ?"
        parameters += subject
    return condition, parameters


def read_tables(cursor: Cursor) -> list[Table]:
    """Return the tables of the file with columns; rows are the engine's estimate."""
    columns: dict[str, list[TableColumn]] = {}
    for table, name, kind, nullable in cursor.execute(
        "select table_name, column_name, data_type, is_nullable from duckdb_columns()"
        " where database_name = current_database() and not internal"
        " order by table_name, column_index"
    ).fetchall():
        columns.setdefault(table, []).append(TableColumn(name, kind, bool(nullable)))
    rows = cursor.execute(
        "select table_name, estimated_size from duckdb_tables()"
        " where database_name = current_database()"
    ).fetchall()
    kinds = {AGGREGATE_TYPES[kind].table: kind for kind in governed_kinds()}
    return [
        Table(name, tuple(columns[name]), int(count), kinds.get(name))
        for name, count in sorted(rows)
        if name in columns  # the second look may find a table that was created after the first
    ]
