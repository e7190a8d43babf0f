# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""What readers ask of the engine: each function runs on a reader's thread with its own cursor."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb
import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import (
    SELECT_ENTRY,
    Held,
    JournalRow,
    Place,
    entry_from,
    entry_of,
    instant,
    key_of,
    micros,
)
from spawn.adapters.duckdb.state.pages import Statement
from spawn.adapters.embedded import journal, query_evaluation
from spawn.adapters.embedded.schema_history import SchemaBook, understood
from spawn.domain.change import Entry, FeedPage, Stored
from spawn.domain.errors import NotFound, Unavailable
from spawn.domain.lineage.run import EVENT_TYPES
from spawn.domain.query import Query
from spawn.ports.storage import Table, TableColumn

_POINT_LOOKUPS = 100
_POINT_ROWS = 3
_DENSE_ROWS = 2_048
_FIRST_WINDOW = 2_048
_MAX_LOOKED_AT = 262_144
_BOOK_AWAITED = 200
_BOOK_PAUSE_S = 0.01
_STATE = "position, kind, id, version, epoch_us(recorded_at), schema_version, document"


def places_on_disk(cursor: Cursor, keys: list[str]) -> dict[str, Place]:
    """The places of those of the aggregates that the state tables know."""
    select = "select key, version, created, position, epoch_us(created_at) from aggregates where "
    found: list[Any] = []
    if len(keys) <= _POINT_LOOKUPS:
        # One look into the key's index each; a list of keys would not use the index.
        for key in keys:
            found += cursor.execute(select + "key = ?", [key]).fetchall()
    else:
        wanted = msgspec.json.encode(keys).decode()
        found = cursor.execute(
            select + "key in (select unnest(from_json(?, '[\"VARCHAR\"]')))", [wanted]
        ).fetchall()
    return {key: Place(*place) for key, *place in found}


def _states(cursor: Cursor, positions: list[int]) -> list[Any]:
    """The states written at these positions, in any order, and perhaps some neighbours."""
    first, last = min(positions), max(positions)
    select = f"select {_STATE} from journal where "
    if len(positions) <= _POINT_ROWS:
        rows: list[Any] = []
        for position in positions:
            rows += cursor.execute(select + "position = ?", [position]).fetchall()
        return rows
    if last - first < max(4 * len(positions), _DENSE_ROWS // 8):
        return cursor.execute(select + "position between ? and ?", [first, last]).fetchall()
    # Spread wide: by row numbers, which the engine goes straight to. No row ever leaves the
    # journal, so they are the positions less one; should a file be otherwise, they are asked for.
    found = _at_rows(cursor, [position - 1 for position in positions])
    if {row[0] for row in found} != set(positions):
        wanted = msgspec.json.encode(positions).decode()
        numbers = cursor.execute(
            "select rowid from journal where position in"
            " (select unnest(from_json(?, '[\"BIGINT\"]')))",
            [wanted],
        ).fetchall()
        found = _at_rows(cursor, [number for (number,) in numbers])
    return found


def _at_rows(cursor: Cursor, numbers: list[int]) -> list[Any]:
    wanted = msgspec.json.encode(numbers).decode()
    return cursor.execute(
        f"select {_STATE} from journal where rowid in"
        " (select unnest(from_json(?, '[\"BIGINT\"]')))",
        [wanted],
    ).fetchall()


Newest = Callable[[], SchemaBook]
"""Asks for the book of schemas; asked after rows were read, it knows every version they are of."""


def _stored(state: Any, created_at: int, book: SchemaBook) -> Stored[Any]:
    _, kind, name, version, recorded_at, schema_version, document = state
    return Stored(
        kind=kind,
        id=name,
        version=version,
        state=book.read(kind, document.encode(), schema_version),
        created_at=instant(created_at),
        updated_at=instant(recorded_at),
        schema_version=book.shape(kind, schema_version),
    )


def held_at(cursor: Cursor, places: Mapping[int, Place], newest: Newest) -> dict[int, Held]:
    """The aggregates whose newest versions were written at these positions."""
    if not places:
        return {}
    found = [(row[0], row) for row in _states(cursor, list(places)) if row[0] in places]
    book = newest()
    return {
        position: Held(_stored(row, places[position].created_at, book), places[position])
        for position, row in found
    }


def many(cursor: Cursor, wanted: Mapping[str, Place | None], newest: Newest) -> dict[str, Held]:
    """The aggregates of these keys that exist; a place that is known already may be given."""
    places = {key: place for key, place in wanted.items() if place is not None}
    places |= places_on_disk(cursor, [key for key, place in wanted.items() if place is None])
    by_position = {place.position: place for place in places.values()}
    held = held_at(cursor, by_position, newest).values()
    return {key_of(h.stored.kind, h.stored.id): h for h in held}


def one_before(
    cursor: Cursor,
    kind: str,
    name: str,
    place: Place,
    newest: Newest,
    version: int | None,
    as_of: datetime | None,
) -> Stored[Any]:
    """The newest state at most that of `version` exactly, or of the instant.

    Raises:
        NotFound: there is none.
    """
    condition, parameters = "", [place.created, place.position, kind, name]
    if version is not None:
        condition += " and version = ?"
        parameters.append(version)
    if as_of is not None:
        condition += " and recorded_at <= make_timestamp(?)"
        parameters.append(micros(as_of))
    row = cursor.execute(
        f"select {_STATE} from journal where position between ? and ? and kind = ? and id = ?"
        f"{condition} order by position desc limit 1",
        parameters,
    ).fetchone()
    if row is None:
        raise NotFound(f"The {kind} {name} has no such version or was not there yet.")
    return _stored(row, place.created_at, newest())


def history(
    cursor: Cursor, kind: str, name: str, place: Place, after: int, limit: int, epoch: int
) -> list[Entry]:
    """The journal of one aggregate after a version, oldest first."""
    if after >= place.version:
        return []
    rows = cursor.execute(
        f"select {SELECT_ENTRY} from journal where position between ? and ? and kind = ? and id = ?"
        " and version > ? order by position limit ?",
        [place.created, place.position, kind, name, max(after, 0), limit],
    ).fetchall()
    return [entry_from(values, epoch) for values in rows]


def page(
    cursor: Cursor, query: Query, newest: Newest, recent: Callable[[int], Held | None]
) -> tuple[list[Held], bool]:
    """The aggregates of a page in their order, and whether there are more.

    `recent` gives those that it knows by the position at which they were written.
    """
    if query.kind == "project":
        rows = _placed_projects(cursor, query, newest)
    else:
        statement = Statement(query_evaluation.RECORDED)
        rows = cursor.execute(statement.page(query), statement.parameters).fetchall()
    wanted = rows[: query.limit]
    held = {p: known for _, p, _ in wanted if (known := recent(p)) is not None}
    missing = {row[1]: row for row in wanted if row[1] not in held}
    if missing:
        states = [state for state in _states(cursor, list(missing)) if state[0] in missing]
        book = newest()
        for state in states:
            created, position, created_at = missing[state[0]]
            place = Place(state[3], created, position, created_at)
            held[position] = Held(_stored(state, created_at, book), place)
    return [held[position] for _, position, _ in wanted], len(rows) > query.limit


def _placed_projects(cursor: Cursor, query: Query, newest: Newest) -> list[Any]:
    """Where the projects of a page stand.

    Between a migration's commit and the word of it the tables are ahead of the book, and a column
    can have another name or type than the book says: then the book is waited for.
    """
    for _ in range(_BOOK_AWAITED):
        book = newest()
        statement = Statement(book.stored_fields)
        sql = statement.page(understood(query, book))
        try:
            return cursor.execute(sql, statement.parameters).fetchall()
        except (duckdb.BinderException, duckdb.CatalogException):
            if newest() is book:
                time.sleep(_BOOK_PAUSE_S)
    raise Unavailable("The tables are being migrated; try again.")


def feed(
    cursor: Cursor,
    at: int,
    last: int,
    limit: int,
    types: frozenset[str] | None,
    subject: tuple[str, str] | None,
    epoch: int,
) -> FeedPage:
    """Entries that carry an event, after row `at` and through `last`.

    The journal is looked at in windows that grow, each found by its positions alone, and at most
    so many rows a call: an empty page with a later position is an answer.
    """
    condition, parameters = _shown(types, subject)
    shown: list[Entry] = []
    window, end = max(2 * limit, _FIRST_WINDOW), min(last, at + _MAX_LOOKED_AT)
    while at < end and len(shown) < limit:
        through = min(at + window, end)
        rows = cursor.execute(
            f"select {SELECT_ENTRY} from journal where position > ? and position <= ?"
            f" and {condition} order by position limit ?",
            [at, through, *parameters, limit - len(shown)],
        ).fetchall()
        shown += [entry_from(values, epoch) for values in rows]
        at = rows[-1][0] if len(shown) == limit else through
        window *= 4
    return FeedPage(tuple(shown), journal.cursor(epoch, at))


def last_before(cursor: Cursor, moment: datetime) -> int:
    """The last row of the journal that was recorded before an instant; 0 if none was."""
    found = cursor.execute(
        "select coalesce(max(position), 0) from journal where recorded_at < make_timestamp(?)",
        [micros(moment)],
    ).fetchone()
    return int(found[0]) if found else 0


def recent_feed(
    rows: Sequence[JournalRow],
    limit: int,
    types: frozenset[str] | None,
    subject: tuple[str, str] | None,
    epoch: int,
) -> FeedPage:
    """As `feed`, of rows that are known by heart; at least one."""
    shown: list[Entry] = []
    at = 0
    for row in rows:
        at = row.position
        if journal.entry_shown(row, types, subject):
            shown.append(entry_of(row, epoch))
            if len(shown) == limit:
                break
    return FeedPage(tuple(shown), journal.cursor(epoch, at))


def _shown(types: frozenset[str] | None, subject: tuple[str, str] | None) -> tuple[str, list[Any]]:
    named, negation = (EVENT_TYPES, "not ") if types is None else (types, "")
    condition, parameters = "type <> ''", list[Any](sorted(named))
    condition += (
        f" and type {negation}in ({', '.join('?' * len(named))})" if named else " and false"
    )
    if subject is not None:
        condition += " and kind = ? and id = ?"
        parameters += subject
    return condition, parameters


def tables(cursor: Cursor) -> list[Table]:
    """The tables of the file with their columns; rows are the engine's estimate."""
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
    return [Table(name, tuple(columns[name]), int(count)) for name, count in sorted(rows)]
