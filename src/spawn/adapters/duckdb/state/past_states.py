# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""States of all aggregates of a kind as of an instant of recorded time, as a relation.

An aggregate that was not written since is read from the state table. For the others, the newest
journal row up to then is found, and its document read by the engine, or decoded where it cannot.
"""

from datetime import datetime
from typing import Any, Final

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import to_microseconds
from spawn.adapters.duckdb.state.projection import STATE_ROW_LAYOUT, encode_state_rows
from spawn.adapters.duckdb.state.rebuild import decode_row, other_source, plain_sources
from spawn.adapters.duckdb.state.state_table import StateTable
from spawn.adapters.duckdb.tables import quote_name
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.domain.errors import InvalidInput

MAX_DECODED_STATES: Final = 20_000
"""Documents of a query that are decoded, at some 40 µs each."""


def find_position_at(cursor: Cursor, instant: datetime, through: int) -> int:
    """Return the last journal row recorded at or before an instant, at most `through`."""
    row = cursor.execute(
        "select coalesce(max(position), 0) from journal"
        " where recorded_at <= make_timestamp(?) and position <= ?",
        [to_microseconds(instant), through],
    ).fetchone()
    return int(row[0]) if row else 0


def select_past_states(
    cursor: Cursor, table: StateTable, history: SchemaHistories, position: int
) -> tuple[str, list[Any]]:
    """Return a relation with the columns of a state table, as of a position, and its parameters.

    Raises:
        InvalidInput: too many documents would have to be decoded.
    """
    names = ", ".join(map(quote_name, table.columns))
    past = _past_rows_sql(table, position)
    parts = [f"select _created, _position, {names} from {table.name} where _position <= {position}"]
    parts += [
        table.select_documents_sql(plain, members)
        for plain, members in plain_sources(table, history, "past")
    ]
    parameters: list[Any] = []
    payload = _decode_others(cursor, table, history, past)
    if payload is not None:
        parameters.append(payload)
        parts.append(table.select_staged_sql(STATE_ROW_LAYOUT, "(select $1::varchar as payload)"))
    return f"(with past as {past} {' union all by name '.join(parts)})", parameters


def _past_rows_sql(table: StateTable, position: int) -> str:
    """Return the journal rows that were the newest ones of aggregates that were written since."""
    return (
        "(select j.*, a.created, a.created_at from journal j join"
        " (select max(h.position) as position, any_value(t._created) as created,"
        f" any_value(t.created_at) as created_at from journal h join {table.name} t"
        f" on t.{quote_name(table.type.id_column)} = h.id where h.kind = '{table.kind}'"
        f" and h.position <= {position:d} and t._position > {position:d}"
        f" and t._created <= {position:d} group by h.id) a on a.position = j.position)"
    )


def _decode_others(
    cursor: Cursor, table: StateTable, history: SchemaHistories, past: str
) -> str | None:
    """Return the states that the engine cannot read as rows of JSON; None if there are none."""
    others = other_source(table, history, "past")
    if others is None:
        return None
    rows = cursor.execute(
        f"with past as {past} select id, version, created, position, epoch_us(created_at),"
        f" epoch_us(recorded_at), schema_version, document from {others}"
        f" limit {MAX_DECODED_STATES + 1}"
    ).fetchall()
    if len(rows) > MAX_DECODED_STATES:
        raise InvalidInput.at(
            "/as_of",
            "too_costly",
            f"More than {MAX_DECODED_STATES} items changed since under an older schema version:"
            " use a later instant.",
        )
    if not rows:
        return None
    return encode_state_rows(table, [decode_row(table.kind, history, row) for row in rows])
