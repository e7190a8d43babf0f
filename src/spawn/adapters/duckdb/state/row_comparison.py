# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Comparison of every row of the state tables with its document, and repair of those that differ.

A file that was not closed cleanly has no checksum of its tables (ADR 0020). Versions and positions
are compared when it opens; the values of a large store are compared afterwards, in short steps.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from loguru import logger

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.state.projection import Projection
from spawn.adapters.duckdb.state.rebuild import insert_documents, other_source, plain_sources
from spawn.adapters.duckdb.state.state_table import StateTable, is_row_equal
from spawn.adapters.duckdb.tables import quote_name
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.domain.errors import StorageDamaged

ROWS_PER_STEP: Final = 4_000
"""Journal rows per step, during which the writer commits nothing (ADR 0020: 50 ms)."""


class RowComparison:
    """The rows that are still to be compared. Everything but `remaining_rows` is the writer's.

    A row names the journal row that wrote it, so that rows may change between two steps: what the
    writer has written since is right. `remaining_rows` counts journal rows, once for each table.
    """

    def __init__(self, cursor: Cursor, tables: Iterable[StateTable]) -> None:
        self._cursor = cursor
        self._ranges = deque[tuple[str, int, int]]()
        self.repaired_rows = 0
        for table in tables:
            first, last = _find_positions(cursor, table)
            if last:
                self._ranges.append((table.kind, first - 1, last))
        self.remaining_rows = sum(last - after for _, after, last in self._ranges)

    def compare_next(
        self, tables: dict[str, StateTable], history: SchemaHistories, projection: Projection
    ) -> int:
        """Compare the rows of the next step and repair them; return how many differed.

        Raises:
            StorageDamaged: a row differs even when written again, or a document is unreadable.
        """
        if not self._ranges:
            return 0
        kind, after, last = self._ranges[0]
        table = tables[kind]
        # Most of a journal may be rows that no row names any more.
        first = _find_positions(self._cursor, table, after)[0] or last
        through = min(max(first - 1, after) + ROWS_PER_STEP, last)
        positions = _find_differing(self._cursor, table, history, after, through)
        if positions:
            self._repair(table, history, projection, positions)
            if _find_differing(self._cursor, table, history, after, through):
                raise StorageDamaged(
                    f"The state table {table.name} differs from the journal even when written"
                    " again: restore a backup."
                )
        if through == last:
            self._ranges.popleft()
        else:
            self._ranges[0] = (kind, through, last)
        self.remaining_rows -= through - after
        self.repaired_rows += len(positions)
        return len(positions)

    def _repair(
        self,
        table: StateTable,
        history: SchemaHistories,
        projection: Projection,
        positions: list[int],
    ) -> None:
        """Write rows again from their documents, in one transaction."""
        logger.warning(
            "{} rows of the state table {} differed from the journal and are written again",
            len(positions),
            table.name,
        )
        listed = ", ".join(map(str, positions))
        source = (
            "(select j.*, a.created, a.created_at from journal j"
            " join aggregates a on a.position = j.position"
            f" where j.position in ({listed}) and a.position in ({listed}))"
        )
        self._cursor.execute("begin")
        self._cursor.execute(f"delete from {table.name} where _position in ({listed})")
        insert_documents(self._cursor, projection, table, history, source)
        self._cursor.execute("commit")


def _find_positions(cursor: Cursor, table: StateTable, after: int = 0) -> tuple[int, int]:
    """Return the first and last journal row beyond a position that rows name; zeros for none."""
    row = cursor.execute(
        f"select coalesce(min(_position), 0), coalesce(max(_position), 0) from {table.name}"
        f" where _position > {after:d}"
    ).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def _find_differing(
    cursor: Cursor, table: StateTable, history: SchemaHistories, after: int, through: int
) -> list[int]:
    """Return the positions in a range whose rows have other values than their documents."""
    names = [*table.value_names, "updated_at"]
    in_range = f"_position > {after:d} and _position <= {through:d}"
    source = (
        "(select j.*, t._created as created, t.created_at from journal j"
        f" join (select _position, _created, created_at from {table.name} where {in_range}) t"
        " on t._position = j.position"
        f" where j.position > {after:d} and j.position <= {through:d})"
    )
    differs = " or ".join(
        f"t.{quote_name(name)} is distinct from e.{quote_name(name)}" for name in names
    )
    positions: list[int] = []
    for rows, members in plain_sources(table, history, source):
        expected = table.select_documents_sql(rows, members)
        positions += (
            position
            for (position,) in cursor.execute(
                f"select t._position from (select * from {table.name} where {in_range}) t"
                f" join ({expected}) e on e._position = t._position where {differs}"
            ).fetchall()
        )
    others = other_source(table, history, source)
    if others is not None:
        listed = ", ".join(f"t.{quote_name(name)}" for name in names)
        rows_and_entries = cursor.execute(
            f"select t._position, j.schema_version, j.recorded_at, j.document, {listed}"
            f" from (select * from {table.name} where {in_range}) t"
            f" join {others} j on j.position = t._position"
        ).fetchall()
        positions += (
            position
            for position, *entry, in_rows in ((r[0], *r[1:4], r[4:]) for r in rows_and_entries)
            if not is_row_equal(table, history, entry, dict(zip(names, in_rows, strict=True)))
        )
    return positions
