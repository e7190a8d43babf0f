# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Rebuild of the state tables from the journal."""

import time
from collections.abc import Mapping
from typing import Any, Final

from loguru import logger

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import AggregateLocation
from spawn.adapters.duckdb.state.bulk_projection import LONG_NUMBER
from spawn.adapters.duckdb.state.projection import PendingAggregate, Projection
from spawn.adapters.duckdb.state.state_proof import (
    AGGREGATES,
    AGGREGATES_SQL,
    Differences,
    mark_incomplete,
)
from spawn.adapters.duckdb.state.state_table import StateTable
from spawn.adapters.duckdb.tables import drop_views
from spawn.adapters.embedded.options import RebuildProgress, ReportRebuild
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.adapters.embedded.schema_history import SchemaHistory
from spawn.domain.errors import InvalidInput, StorageIncompatible
from spawn.domain.schemas.evolution.migration_plan import AddColumn, HideColumn, RenameColumn

ROWS_PER_STEP: Final = 50_000
"""Journal rows read per transaction."""

_FETCH_ROWS: Final = 1_000
_IS_PLAIN: Final = f"not regexp_matches(document, '{LONG_NUMBER}')"
_REPORT_AFTER_S: Final = 1.0


def empty_tables(
    cursor: Cursor, tables: Mapping[str, StateTable], differences: Differences
) -> None:
    """Replace differing tables by empty ones, marked as incomplete until they are filled."""
    if not differences:
        return
    cursor.execute("begin")
    mark_incomplete(cursor, differences)
    drop_views(cursor, differences)
    if AGGREGATES in differences:
        cursor.execute(AGGREGATES_SQL)
    for table in tables.values():
        if table.name in differences:
            table.create(cursor)
    cursor.execute("commit")


class Rebuild:
    """One rebuild of tables that are empty and marked as incomplete.

    A rebuild that is killed starts again at the next opening of the file.
    """

    def __init__(
        self,
        cursor: Cursor,
        projection: Projection,
        tables: Mapping[str, StateTable],
        history: SchemaHistories,
        differences: Differences,
        report: ReportRebuild | None,
    ) -> None:
        self._cursor = cursor
        self._projection = projection
        self._tables = [table for table in tables.values() if table.name in differences]
        self._history = history
        self._differences = differences
        self._report = report
        self._started_at_s = self._reported_at_s = time.monotonic()

    def run(self, position: int) -> None:
        """Fill the tables from the journal rows up to a position.

        Raises:
            StorageDamaged: a document cannot be read.
        """
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self._differences.items())
        logger.warning("rebuilding state tables from {} journal rows: {}", position, reasons)
        self._publish(0, position)
        if AGGREGATES in self._differences:
            self._locate_aggregates()
        for start in range(0, position, ROWS_PER_STEP):
            end = min(start + ROWS_PER_STEP, position)
            self._cursor.execute("begin")
            for table in self._tables:
                self._fill(table, start, end)
            self._cursor.execute("commit")
            self._publish(end, position)
        duration_s = time.monotonic() - self._started_at_s
        logger.info("rebuilt state tables from {} rows in {:.1f} s", position, duration_s)

    def _publish(self, rows: int, total: int) -> None:
        now_s = time.monotonic()
        progress = RebuildProgress(rows, total, now_s - self._started_at_s)
        if self._report is not None:
            self._report(progress)
        if now_s - self._reported_at_s >= _REPORT_AFTER_S:
            self._reported_at_s = now_s
            logger.info(str(progress))

    def _locate_aggregates(self) -> None:
        self._cursor.execute(
            f"insert into {AGGREGATES} select kind || ':' || id, kind, max(version), min(position),"
            " max(position), min(recorded_at) from journal where version > 0"
            " group by kind, id order by 4"
        )

    def _fill(self, table: StateTable, start: int, end: int) -> None:
        """Insert the aggregates of a kind whose newest row is in the range (start, end]."""
        source = (
            "(select j.*, a.created, a.created_at from journal j"
            " join aggregates a on a.position = j.position"
            f" where j.position > {start:d} and j.position <= {end:d} and j.kind = '{table.kind}'"
            f" and a.position > {start:d} and a.position <= {end:d})"
        )
        insert_documents(self._cursor, self._projection, table, self._history, source)


def insert_documents(
    cursor: Cursor, projection: Projection, table: StateTable, history: SchemaHistories, source: str
) -> None:
    """Insert the rows of journal rows into a table, in the caller's transaction.

    Args:
        cursor: of the writer.
        projection: that inserts decoded states.
        table: of the rows.
        history: of the schema, with which documents are read.
        source: a relation of the journal's columns, `created` and `created_at`.

    Raises:
        StorageDamaged: a document cannot be read.
    """
    for plain, names in plain_sources(table, history, source):
        cursor.execute(table.insert_documents_sql(plain, names))
    others = other_source(table, history, source)
    if others is None:
        return
    cursor.execute(
        "select id, version, created, position, epoch_us(created_at), epoch_us(recorded_at),"
        f" schema_version, document from {others}"
    )
    rows = cursor.fetchall()
    for start in range(0, len(rows), _FETCH_ROWS):
        batch = rows[start : start + _FETCH_ROWS]
        projection.insert_states(table, [decode_row(table.kind, history, row) for row in batch])


def plain_sources(
    table: StateTable, history: SchemaHistories, source: str
) -> list[tuple[str, Mapping[str, str] | None]]:
    """Return the parts of a relation whose documents the engine reads, with other names."""
    if not table.type.is_governed:
        return [(source, None)]
    return [
        (f"(select * from {source} where schema_version = {version:d} and {_IS_PLAIN})", names)
        for version, names in _plain_versions(history.of(table.kind)).items()
    ]


def other_source(table: StateTable, history: SchemaHistories, source: str) -> str | None:
    """Return the part of a relation whose documents are to be decoded; None if it has none."""
    if not table.type.is_governed:
        return None
    versions = ", ".join(map(str, _plain_versions(history.of(table.kind)))) or "null"
    # A comparison with null is no match, so that its negation would lose every row.
    is_plain = f"coalesce(schema_version in ({versions}), false) and {_IS_PLAIN}"
    return f"(select * from {source} where not ({is_plain}))"


def _plain_versions(history: SchemaHistory) -> dict[int, Mapping[str, str]]:
    """Return the schema versions whose documents the engine can read, with other names."""
    versions = history.schemas_by_version.keys() or {history.active_schema.version}
    candidates = {version: plain_names(history, version) for version in versions}
    return {version: names for version, names in candidates.items() if names is not None}


def decode_row(kind: str, history: SchemaHistories, row: Any) -> PendingAggregate:
    """Decode a journal row with the creation of its aggregate, under the active version.

    Raises:
        StorageIncompatible: the state breaks a rule of this release.
        StorageDamaged: the document cannot be read.
    """
    aggregate_id, version, created, position, created_at, updated_at, schema, document = row
    try:
        state = history.decode_state(kind, document.encode(), schema)
    except InvalidInput as error:
        raise StorageIncompatible(
            f"The {kind} {aggregate_id} as written at change {position} breaks a rule of this"
            f" release ({error.detail}): correct it with the release that wrote the store, then"
            " start this one."
        ) from None
    location = AggregateLocation(version, created, position, created_at)
    return PendingAggregate(kind, aggregate_id, state, location, updated_at, schema, is_new=True)


def plain_names(history: SchemaHistory, version: int) -> Mapping[str, str] | None:
    """Return the document members of a version by column, where names differ.

    None if the values of its documents differ from those of the active version, so that each state
    is to be converted.
    """
    names: dict[str, str] = {}
    for plan in history.plans_since(version):
        for step in plan.steps:
            if isinstance(step, RenameColumn):
                names[step.after] = names.pop(step.before, step.before)
            elif isinstance(step, AddColumn) and step.default is None and not step.source_name:
                # A former column may have had the name: no document has a member like this.
                names[step.column.name] = f"-{step.column.name}"
            elif not isinstance(step, HideColumn):
                return None
    return names
