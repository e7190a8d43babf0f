# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""End of the journal: its hash chain, its check, and the append statements."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from spawn.adapters.duckdb.connection import Cursor, damaged_error
from spawn.adapters.duckdb.journal.high_water_mark import (
    HighWaterMark,
    JournalPosition,
    journal_truncated_error,
    mark_missing_error,
)
from spawn.adapters.duckdb.journal_rows import (
    ROW_COLUMNS,
    SELECT_ROW,
    from_microseconds,
    hash_row,
    read_row,
)
from spawn.domain.errors import StorageDamaged

_TAIL_ROWS = 1_000
_LITERAL_CHARS = 262_144
_NO_HASH = bytes(32)


class Tail(NamedTuple):
    """Last row of the journal, which the next one follows."""

    epoch: int = 1
    position: int = 0
    hash: bytes = _NO_HASH
    recorded_at: datetime | None = None

    def journal_position(self) -> JournalPosition:
        """Return the position as the high-water mark stores it."""
        return JournalPosition(self.epoch, self.position, self.hash.hex())


def find_tail(cursor: Cursor, file: str) -> Tail:
    """Find the end of the journal and verify the last links of its chain.

    Raises:
        StorageDamaged: a row is not the one that was hashed, or nothing states the epoch.
    """
    store = cursor.execute("select epoch from store").fetchone()
    if store is None:
        raise damaged_error(file)
    tail = Tail(epoch=int(store[0]))
    rows = cursor.execute(
        f"select hash, {SELECT_ROW} from journal"
        " where position > (select max(position) from journal) - ? order by position",
        [_TAIL_ROWS + 1],
    ).fetchall()
    for stored_hash, *values in rows:
        row, chain_hash = read_row(values), bytes(stored_hash)
        has_predecessor = tail.position > 0 or row.position == 1
        if has_predecessor and hash_row(row, tail.hash) != chain_hash:
            raise damaged_error(file)
        tail = Tail(tail.epoch, row.position, chain_hash, from_microseconds(row.recorded_at))
    return tail


def find_store_id(cursor: Cursor, file: str) -> str:
    """Return the identity that the store got when its file was made.

    Raises:
        StorageDamaged: the file has none.
    """
    identity = cursor.execute("select store_id from store_identity").fetchone()
    if identity is None:
        raise damaged_error(file)
    return str(identity[0])


def check_mark(cursor: Cursor, tail: Tail, mark: HighWaterMark, file: str) -> None:
    """Compare the journal with its high-water mark, then update the mark, or create it.

    Raises:
        StorageDamaged: acknowledged changes are missing, or they are others, or no mark proves
            that there are none.
        Unavailable: the disk did not confirm the mark.
    """
    marked_position = mark.read()
    if marked_position is None:
        if tail.position:
            raise mark_missing_error(file, tail.position)
        mark.create(tail.journal_position())
        return
    if marked_position.epoch >= tail.epoch:
        if (marked_position.epoch, marked_position.position) > (tail.epoch, tail.position):
            raise journal_truncated_error(file, tail.position, marked_position.position)
        row = cursor.execute(
            "select hash from journal where position = ?", [marked_position.position]
        ).fetchone()
        if marked_position.position and (
            row is None or bytes(row[0]).hex() != marked_position.hash
        ):
            raise StorageDamaged(
                f"The database {file} and its high-water mark {mark.path.name} belong to"
                " different histories: put the matching mark back, or restore a backup."
            )
    mark.confirm(tail.journal_position())


def renew_mark(cursor: Cursor, mark: HighWaterMark, file: str) -> None:
    """Create the mark of a journal that lost it, in a new epoch.

    Changes may be missing behind the end of the journal. Positions of the old epoch may name them,
    so that no cursor of it is valid any more.
    """
    if mark.read() is None:
        cursor.execute("update store set epoch = epoch + 1")
        mark.create(find_tail(cursor, file).journal_position())


_SOURCES: Final = {"now": "(select $1::varchar as payload)", "staged": "stage_journal"}


class AppendStatements:
    """Append of rows, passed as one JSON array, by a set-based insert planned once."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._types = {
            row[0]: row[1] for row in self._cursor.execute("describe journal").fetchall()
        }
        self._prepared: set[str] = set()

    def prepare_anew(self) -> None:
        """Plan each insert again before its next use; call this after tables have changed.

        Changes wait for an adoption, so nothing is planned then that may not be used.
        """
        self._prepared.clear()

    def _prepare(self, name: str) -> None:
        """Plan the insert of rows from a source, once."""
        if name in self._prepared:
            return
        types: dict[str, Any] = dict(self._types)
        types |= {"recorded_at": "BIGINT", "receipt_body": "VARCHAR", "hash": "VARCHAR"}
        types["changed"] = ["VARCHAR"]
        layout = msgspec.json.encode([{name: types[name] for name in (*ROW_COLUMNS, "hash")}])
        expressions = {
            "recorded_at": "make_timestamp(r.recorded_at)",
            "changed": "coalesce(array_to_string(r.changed, ','), '')",
            "receipt_body": "from_base64(r.receipt_body)",
        }
        columns = ", ".join((*ROW_COLUMNS, "hash"))
        values = ", ".join(expressions.get(name, f"r.{name}") for name in ROW_COLUMNS)
        rows = f"select unnest(from_json(payload, '{layout.decode()}')) r from {_SOURCES[name]}"
        self._cursor.execute(
            f"prepare append_{name} as"
            f" insert into journal ({columns}) select {values}, unhex(r.hash) from ({rows})"
        )
        self._prepared.add(name)

    def append(self, payload: str) -> None:
        """Append rows in a transaction of their own."""
        if len(payload) < _LITERAL_CHARS:
            # A prepared statement takes constants only. JSON can escape every quote, so none is
            # left to end the constant early. A single statement is its own transaction.
            constant = payload.replace("'", "\\u0027")
            self._prepare("now")
            self._cursor.execute(f"execute append_now('{constant}')")
            return
        self._cursor.execute("begin")
        self.append_in_transaction(payload)
        self._cursor.execute("commit")

    def append_in_transaction(self, payload: str) -> None:
        """Append rows in the current transaction."""
        self._prepare("staged")
        execute = self._cursor.execute
        execute("insert into stage_journal values (?)", [payload])
        execute("execute append_staged")
        execute("delete from stage_journal")
