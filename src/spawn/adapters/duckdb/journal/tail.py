# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""The end of the journal: where the chain stands, whether it is whole, how it is appended to."""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from spawn.adapters.duckdb.connection import Cursor, damaged
from spawn.adapters.duckdb.journal.high_water_mark import Mark, Reached, fallen_short
from spawn.adapters.duckdb.journal_rows import ROW_COLUMNS, SELECT_ROW, instant, link, row_from
from spawn.domain.errors import StorageDamaged

_TAIL_ROWS = 1_000
_LITERAL_CHARS = 262_144
_NO_HASH = bytes(32)


class Tail(NamedTuple):
    """The last row of the journal: what the next one follows."""

    epoch: int = 1
    position: int = 0
    hash: bytes = _NO_HASH
    recorded_at: datetime | None = None

    def reached(self) -> Reached:
        """As the mark notes it."""
        return Reached(self.epoch, self.position, self.hash.hex())


def find_tail(cursor: Cursor, file: str) -> Tail:
    """The end of the journal, the last links of its chain computed anew.

    Raises:
        StorageDamaged: a row is not the one that was hashed.
    """
    found = cursor.execute("select epoch from store").fetchone()
    tail = Tail(epoch=int(found[0]) if found else 1)
    rows = cursor.execute(
        f"select hash, {SELECT_ROW} from journal"
        " where position > (select max(position) from journal) - ? order by position",
        [_TAIL_ROWS + 1],
    ).fetchall()
    for stored_hash, *values in rows:
        row, known = row_from(values), bytes(stored_hash)
        follows_known = tail.position > 0 or row.position == 1
        if follows_known and link(row, tail.hash) != known:
            raise damaged(file)
        tail = Tail(tail.epoch, row.position, known, instant(row.recorded_at))
    return tail


def check_mark(cursor: Cursor, tail: Tail, mark: Mark, file: str) -> None:
    """Compare the journal with its mark, and note in it how far the journal has come.

    Raises:
        StorageDamaged: acknowledged changes are missing, or they are others.
    """
    noted = mark.read()
    if noted is not None and noted.epoch >= tail.epoch:
        if (noted.epoch, noted.position) > (tail.epoch, tail.position):
            raise fallen_short(file, tail.position, noted.position)
        found = cursor.execute(
            "select hash from journal where position = ?", [noted.position]
        ).fetchone()
        if noted.position and (found is None or bytes(found[0]).hex() != noted.hash):
            raise StorageDamaged(
                f"The database {file} and its high-water mark {mark.path.name} belong to"
                " different histories: put the matching mark back, or restore a backup."
            )
    mark.write(tail.reached())


class Appender:
    """Appends rows, given as one JSON array, with one set-based insert planned once."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self.prepare()

    def prepare(self) -> None:
        """Plan the insert; to be repeated when tables were made or dropped."""
        types: dict[str, Any] = {
            row[0]: row[1] for row in self._cursor.execute("describe journal").fetchall()
        }
        types |= {"recorded_at": "BIGINT", "receipt_body": "VARCHAR", "hash": "VARCHAR"}
        types["changed"] = ["VARCHAR"]
        shape = msgspec.json.encode([{name: types[name] for name in (*ROW_COLUMNS, "hash")}])
        special = {
            "recorded_at": "make_timestamp(r.recorded_at)",
            "changed": "coalesce(array_to_string(r.changed, ','), '')",
            "receipt_body": "from_base64(r.receipt_body)",
        }
        values = ", ".join(special.get(name, f"r.{name}") for name in ROW_COLUMNS)
        sources = {"now": "(select $1::varchar as payload)", "staged": "stage_journal"}
        for name, source in sources.items():
            rows = f"select unnest(from_json(payload, '{shape.decode()}')) r from {source}"
            self._cursor.execute(
                f"prepare append_{name} as"
                f" insert into journal select {values}, unhex(r.hash) from ({rows})"
            )

    def append(self, payload: str) -> None:
        """Append in a transaction of its own."""
        if len(payload) < _LITERAL_CHARS:
            # A prepared statement takes constants only. In JSON a quote can always be escaped, so
            # none is left in the text to end the constant early. Alone, it is its transaction.
            constant = payload.replace("'", "\\u0027")
            self._cursor.execute(f"execute append_now('{constant}')")
            return
        self._cursor.execute("begin")
        self.append_within(payload)
        self._cursor.execute("commit")

    def append_within(self, payload: str) -> None:
        """Append in the transaction that is under way."""
        run = self._cursor.execute
        run("insert into stage_journal values (?)", [payload])
        run("execute append_staged")
        run("delete from stage_journal")
