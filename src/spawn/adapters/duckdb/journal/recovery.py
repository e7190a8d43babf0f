# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""The writer's state of the journal: loaded from the file, and reloaded after a failure."""

import contextlib
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import duckdb
from loguru import logger

from spawn.adapters.duckdb import tables
from spawn.adapters.duckdb.connection import (
    PROGRAM_ERRORS,
    Engine,
    FolderNotSynced,
    damaged_error,
    is_fatal,
    is_sync_failure,
    translate_error,
)
from spawn.adapters.duckdb.core_names import merge_core_names
from spawn.adapters.duckdb.journal.cache_update import Caches
from spawn.adapters.duckdb.journal.high_water_mark import HighWaterMark, MarkNotSynced
from spawn.adapters.duckdb.journal.prepared_change import pending_aggregate
from spawn.adapters.duckdb.journal.tail import (
    AppendStatements,
    check_mark,
    find_store_id,
    find_tail,
)
from spawn.adapters.duckdb.journal_rows import (
    RECEIPT_KIND,
    SELECT_ROW,
    AggregateLocation,
    JournalRow,
    aggregate_key,
    read_row,
)
from spawn.adapters.duckdb.schema_table import SchemaTable, check_versions
from spawn.adapters.duckdb.served_files import FileLost
from spawn.adapters.duckdb.state.projection import Projection
from spawn.adapters.duckdb.state.queries import read_locations
from spawn.adapters.duckdb.state.rebuild import Rebuild, empty_tables
from spawn.adapters.duckdb.state.row_comparison import RowComparison
from spawn.adapters.duckdb.state.state_proof import (
    AGGREGATES,
    Differences,
    find_differences,
    find_layout_differences,
    has_proofs,
    include_dependents,
    mark_complete,
    save_proofs,
)
from spawn.adapters.duckdb.state.state_table import StateTable, state_tables
from spawn.adapters.embedded.journal import latest
from spawn.adapters.embedded.options import RebuildProgress, ReportRebuild
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.domain.errors import (
    InternalError,
    SpawnError,
    StorageDamaged,
    StorageFull,
    Unavailable,
)
from spawn.ports.runtime import Clock

CATCH_UP_ROWS = 2_000
"""Rows per step while the state tables catch up with the journal."""

RECOVERY_TIMEOUT_S = 30.0
"""Time after which a file that cannot be reopened is given up."""

SAVE_TIMEOUT_S = 30.0
"""Time that running transactions have to end before a lost log is given up."""

_FIRST_PAUSE_S = 0.25
_MAX_PAUSE_S = 8.0
MAX_CATCH_UP_ROWS = 250_000
"""Rows that a crash may leave unprojected; more are rebuilt, which is faster."""

_COMPARED_AT_START_ROWS = 50_000
"""Rows whose values are compared before the store opens; those of a larger one afterwards."""

_SYNC_AFTER_S = 1.0
_NOT_CONFIRMED = (
    "The disk did not confirm a write, so no later read can be trusted: check the disk and the"
    " system's log, then start the service again."
)
_FILE_LOST = (
    "The database or its log was removed, replaced or written by another program while it was"
    " served."
)
_SAVED = " All changes are in the database now: start the service again."
_NOT_SAVED = (
    " Changes that only the log has may be missing: find out which program it was, put back the"
    " database and its log as it left them, or restore from the last backup."
)
_UNREADABLE = (
    "This release fails to read an intact file: start the release that wrote it, and report the"
    " cause in the log."
)


def load_error(engine: Engine, failure: duckdb.Error) -> SpawnError:
    """Return the error for a file that is open and cannot be loaded.

    A statement that the engine rejects means damage if the file lacks a table or a column of its
    format. Otherwise the service is at fault, and neither a retry nor a backup helps.
    """
    if is_sync_failure(failure):
        engine.note_failed_sync()
        return Unavailable(_NOT_CONFIRMED)
    error = translate_error(failure, engine.path.name)
    if not isinstance(error, InternalError):
        return error
    try:
        is_intact = tables.has_every_column(engine.cursor())
    except duckdb.Error as second_failure:
        return translate_error(second_failure, engine.path.name)
    return InternalError(_UNREADABLE) if is_intact else damaged_error(engine.path.name)


class RecoverableJournal:
    """The end of the journal, its state tables and its caches, which a failure may reset.

    Everything but `cached_location` runs on the writer's thread.
    """

    def __init__(
        self,
        engine: Engine,
        mark: HighWaterMark,
        clock: Clock,
        caches: Caches,
        report_rebuild: ReportRebuild | None,
    ) -> None:
        self._engine = engine
        self._mark = mark
        self._clock = clock
        self._caches = caches
        self.locations = caches.locations
        self.aggregates = caches.aggregates
        self.page_items = caches.page_items
        self.pages = caches.pages
        self.receipts = caches.receipts
        self.recent_rows = caches.recent_rows
        self.governed_position = 0
        self.last_error: SpawnError | None = None
        self.damage: StorageDamaged | None = None
        self.final_error: Unavailable | None = None
        self.final_reason = ""
        self.differences: Differences = {}
        self._failing_since_s: float | None = None
        self._next_attempt_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self.is_loading = True
        self._report_rebuild = report_rebuild
        self.progress_at_s = time.monotonic()
        self._load()
        if engine.has_failed_sync():
            # The log was read from memory, and the disk may lack pages of it. A checkpoint writes
            # everything to new blocks, and begins another log.
            self._checkpoint()
            engine.forget_failed_sync()

    def note_progress(self, progress: RebuildProgress | None = None) -> None:
        """Note that the writer's thread moves on, and report the progress of a rebuild."""
        self.progress_at_s = time.monotonic()
        if progress is not None and self._report_rebuild is not None:
            self._report_rebuild(progress)

    @property
    def epoch(self) -> int:
        """The epoch that positions are issued in."""
        return self._tail.epoch

    @property
    def position(self) -> int:
        """The number of the last durable row."""
        return self._tail.position

    @property
    def recorded_at(self) -> datetime | None:
        """The recorded time of the last durable row; None in an empty journal."""
        return self._tail.recorded_at

    @property
    def last_instant(self) -> datetime | None:
        """The instant that the next change follows: of the last row, or of a reader after it."""
        return latest(self._tail.recorded_at, self._mark.held_instant)

    # -- loading ----------------------------------------------------------------------------

    def _load(self) -> None:
        self.is_loading = True
        self._cursor = self._engine.cursor()
        tables.migrate_format(self._cursor, self._clock.now().replace(tzinfo=None))
        self.schema_table = SchemaTable(self._cursor)
        tail = find_tail(self._cursor, self._engine.path.name)
        self.store_id = find_store_id(self._cursor, self._engine.path.name)
        self._sync_files()
        check_mark(self._cursor, tail, self._mark, self._engine.path.name)
        self._tail = tail
        merge_core_names(self._cursor, self.schema_table.history)
        check_versions(self._cursor, self.schema_table.history)
        self._restore_state()
        # Afterwards, because statements prepared before tables are created are planned each time.
        self._statements = AppendStatements(self._cursor)
        self.receipts.load(self._cursor, self._clock.now())
        self.governed_position = self.position
        self.is_loading = False

    def _sync_files(self) -> None:
        """Make the end of the journal durable before the mark, which must not lead it.

        Raises:
            Unavailable: the disk did not confirm it.
        """
        try:
            self._engine.sync_files()
        except OSError as failure:
            self._engine.note_failed_sync()
            raise Unavailable(_NOT_CONFIRMED) from failure

    def _restore_state(self) -> None:
        """Bring the state tables level with the journal; rebuild those that differ from it.

        Raises:
            StorageDamaged: a table differs after its rebuild too, or a document is unreadable.
        """
        history = self.schema_table.history
        state = state_tables(history)
        differences = include_dependents(
            find_layout_differences(self._cursor, state.values()), state
        )
        empty_tables(self._cursor, state, differences)
        self.projection = Projection(self._cursor, state)
        if AGGREGATES not in differences:
            new_differences = self._catch_up() or find_differences(
                self._cursor, state, history, self.position
            )
            differences = include_dependents(new_differences, state) | differences
            if new_differences or (differences and self.position):
                # Again, because the catch-up also fills the tables that were just created.
                empty_tables(self._cursor, state, differences)
                self.projection.prepare(state)
        self.differences = differences
        if differences:
            self._rebuild(state, differences)
        self._note_absent_keys()
        self._start_comparison(state, differences)

    def _start_comparison(self, state: dict[str, StateTable], differences: Differences) -> None:
        """Compare the rows of the tables that were neither proved nor rebuilt.

        Raises:
            StorageDamaged: see `RowComparison.compare_next`.
        """
        is_proved = has_proofs(self._cursor, state, self.position)
        self._proved_at = self._state_identity() if is_proved else None
        unproved = [t for t in state.values() if not is_proved and t.name not in differences]
        self._comparison = RowComparison(self._cursor, unproved)
        if self.uncompared_rows() > _COMPARED_AT_START_ROWS:
            logger.warning(
                "the store was not closed cleanly: {} rows are compared with the journal",
                self.uncompared_rows(),
            )
            return
        while self.uncompared_rows():
            self._comparison.compare_next(state, self.schema_table.history, self.projection)
        if unproved:
            self._save_proofs_if_space()

    def _state_identity(self) -> tuple[int, SchemaHistories]:
        """Return what the state tables follow from: they change with either alone."""
        return self.position, self.schema_table.history

    def save_proofs(self) -> None:
        """Record the checksums of the state tables, unless the file has those of this position."""
        if self._proved_at != (identity := self._state_identity()):
            save_proofs(self._cursor, state_tables(identity[1]).values(), self.position)
            self._proved_at = identity

    def _save_proofs_if_space(self) -> None:
        """Save the proofs of the tables; on a full disk the next opening compares them again."""
        try:
            self.save_proofs()
        except duckdb.Error as failure:
            is_full = isinstance(translate_error(failure, self._engine.path.name), StorageFull)
            if not is_full or is_fatal(failure):
                raise
            with contextlib.suppress(duckdb.TransactionException):  # a failed commit has ended it
                self._cursor.execute("rollback")

    def _catch_up(self) -> Differences:
        """Project the journal rows beyond the state tables; return why they cannot be."""
        row = self._cursor.execute("select coalesce(max(position), 0) from aggregates").fetchone()
        position = int(row[0]) if row else 0
        if self.position - position > MAX_CATCH_UP_ROWS:
            return {AGGREGATES: "it is too far behind the journal"}
        self._note_absent_keys()
        try:
            while position < self.position:
                rows = [read_row(v) for v in self._rows(position, position + CATCH_UP_ROWS)]
                position += CATCH_UP_ROWS
                self._add_pending(rows)
                while len(self.projection) > CATCH_UP_ROWS:
                    self.project(CATCH_UP_ROWS)
            self.project_all()
        except PROGRAM_ERRORS as failure:
            self._cursor.execute("rollback")
            return {AGGREGATES: f"it contradicts the journal ({type(failure).__name__})"}
        return {}

    def _note_absent_keys(self) -> None:
        """Note which keys are certainly not in the file; the tables are level with the journal."""
        floors = self._cursor.execute("select kind, max(key) from aggregates group by kind")
        self.locations.mark_complete_above(dict(floors.fetchall()))

    def _rebuild(self, state: dict[str, StateTable], differences: Differences) -> None:
        """Rebuild empty tables, and prove that they agree with the journal now."""
        history = self.schema_table.history
        if not self.position:
            mark_complete(self._cursor)
            return
        if AGGREGATES in differences:
            self.projection.clear()
            self.locations.clear()
        Rebuild(self._cursor, self.projection, state, history, differences, self.note_progress).run(
            self.position
        )
        mark_complete(self._cursor)
        if remaining := find_differences(self._cursor, state, history, self.position):
            raise StorageDamaged(
                f"The database {self._engine.path.name} has state tables that differ from the"
                f" journal even when rebuilt ({', '.join(remaining)}): restore a backup."
            )
        if differences.keys() >= {table.name for table in state.values()}:
            save_proofs(self._cursor, state.values(), self.position)
        self._checkpoint()

    def _checkpoint(self) -> None:
        """Write the log into the file.

        Raises:
            Unavailable: the disk did not confirm that the log is gone.
        """
        try:
            self._engine.checkpoint(self._cursor)
        except FolderNotSynced as failure:
            self._engine.note_failed_sync()
            raise Unavailable(_NOT_CONFIRMED) from failure

    def _add_pending(self, rows: list[JournalRow]) -> None:
        history = self.schema_table.history
        locations = self._locate_all(aggregate_key(row.kind, row.id) for row in rows)
        for row in rows:
            if row.kind == RECEIPT_KIND:
                continue
            key = aggregate_key(row.kind, row.id)
            document = (row.document or "").encode()
            state = history.decode_state(row.kind, document, row.schema_version)
            schema_version = history.served_version(row.kind, row.schema_version)
            location = locations.get(key)
            is_new = location is None
            if location is None and row.version > 1:
                location = self._created_location(row)
            pending = pending_aggregate(row, state, location, schema_version)._replace(
                is_new=is_new
            )
            self.projection.add(key, pending)
            self.locations.put(key, pending.location)
            locations[key] = pending.location

    def _created_location(self, row: JournalRow) -> AggregateLocation | None:
        """Return the location of an aggregate's first version.

        A crash may leave an aggregate out of the tables that were projected past its creation: it
        was written again since, so that it went to the end of the queue.
        """
        first = self._cursor.execute(
            "select position, epoch_us(recorded_at) from journal"
            " where position < ? and kind = ? and id = ? and version = 1",
            [row.position, row.kind, row.id],
        ).fetchone()
        return None if first is None else AggregateLocation(1, first[0], first[0], first[1])

    def _rows(self, after: int, through: int) -> list[Any]:
        return self._cursor.execute(
            f"select {SELECT_ROW} from journal where position > ? and position <= ?"
            " order by position",
            [after, through],
        ).fetchall()

    # -- locations --------------------------------------------------------------------------

    def cached_location(self, key: str) -> tuple[AggregateLocation | None, bool]:
        """Return an aggregate's location from memory, and whether the result is certain.

        Returns:
            The location and True; or None and whether the aggregate certainly does not exist.
        """
        location = self.locations.get(key)
        if location is None:
            pending = self.projection.get(key)
            if pending is None:
                return None, self.locations.is_known_absent(key)
            location = pending.location
        return location, True

    def location(self, key: str) -> AggregateLocation | None:
        """Return the location of an aggregate; None if it does not exist."""
        return self._locate_all([key])[key]

    def _locate_all(self, keys: Iterable[str]) -> dict[str, AggregateLocation | None]:
        locations: dict[str, AggregateLocation | None] = {}
        uncertain: list[str] = []
        for key in keys:
            locations[key], is_certain = self.cached_location(key)
            if not is_certain:
                uncertain.append(key)
        for key, location in read_locations(self._cursor, uncertain).items():
            locations[key] = location
            self.locations.put(key, location)
        return locations

    # -- the state tables -------------------------------------------------------------------

    def lag_rows(self) -> int:
        """Return the number of aggregates ahead of their projection."""
        return len(self.projection)

    def lag_s(self) -> float:
        """Return the age of the oldest pending aggregate."""
        return self.projection.age_s()

    def uncompared_rows(self) -> int:
        """Return the number of rows whose values are still to be compared."""
        return self._comparison.remaining_rows

    def repaired_rows(self) -> int:
        """Return the number of rows that differed from the journal and were written again."""
        return self._comparison.repaired_rows

    def compare_rows(self) -> None:
        """Compare the next rows of the state tables with the journal, and repair them.

        Rows that stay different make the store unreadable, because a restart would not help.
        """
        state = state_tables(self.schema_table.history)
        try:
            repaired_rows = self._comparison.compare_next(
                state, self.schema_table.history, self.projection
            )
        except StorageDamaged as damage:
            self._comparison = RowComparison(self._cursor, ())
            self.damage = damage
            self._engine.failures.record_failure("compare the state tables", damage, damage)
            return
        if repaired_rows:
            self.governed_position = self.position
            self.pages.clear(self.position)
        if not self.uncompared_rows():
            logger.info(
                "the state tables agree with the journal; {} rows were repaired",
                self._comparison.repaired_rows,
            )

    def project(self, rows: int) -> None:
        """Project up to `rows` pending aggregates."""
        self.projection.project_batch(rows)
        if self._mark.unsynced_s() >= _SYNC_AFTER_S:
            self._mark.sync()

    def project_all(self) -> None:
        """Project every pending aggregate."""
        while len(self.projection):
            self.projection.project_batch(CATCH_UP_ROWS)

    # -- recovery ---------------------------------------------------------------------------

    def recover(self, operation: str, failure: duckdb.Error) -> SpawnError:
        """Bring the writer back to a working state, if need be by reopening the file.

        Returns:
            The port error that the failure of the operation translates to.
        """
        if self.final_error is not None:
            return self.final_error
        error = self._engine.failures.record_failure(
            operation, failure, translate_error(failure, self._engine.path.name)
        )
        if is_sync_failure(failure):
            self._engine.note_failed_sync()
            return self.give_up(_NOT_CONFIRMED, error)
        with contextlib.suppress(duckdb.Error):
            self._cursor.execute("rollback")
        try:
            self.check_engine()
        except duckdb.Error:
            self.last_error = error
            self.try_reopen()
        except FileLost as lost:
            return self.discard_state("look at the files after a failure", lost)
        return error

    def check_engine(self) -> None:
        """Run a statement that only a broken engine fails.

        Raises:
            duckdb.Error: the database must be reopened.
            FileLost: it must not be.
        """
        self._cursor.execute("select count(*) from stage_journal").fetchone()
        self._engine.files.check()

    def discard_state(self, operation: str, failure: Exception) -> SpawnError:
        """Discard all in-memory state after an unexpected failure and reload it from the file."""
        if self.final_error is not None:
            return self.final_error
        error = self._engine.failures.record_failure(
            operation,
            failure,
            Unavailable("The write failed with unknown outcome: read the resource, then retry."),
        )
        if isinstance(failure, MarkNotSynced | FolderNotSynced):
            self._engine.note_failed_sync()
            return self.give_up(_NOT_CONFIRMED, error)
        if isinstance(failure, FileLost):
            remedy = _SAVED if self._save_changes() else _NOT_SAVED
            return self.give_up(_FILE_LOST + remedy, error)
        self.last_error = Unavailable("The writer failed and reopens the file: retry later.")
        self.try_reopen()
        return error

    def _save_changes(self) -> bool:
        """Write what a lost log had into the database; return whether that was possible."""
        if not self._engine.files.is_database_intact():
            return False
        with contextlib.suppress(duckdb.Error):
            # A transaction that the failure left open, with nothing that was acknowledged.
            self._cursor.execute("rollback")
        try:
            self._engine.checkpoint_without_queries(self._cursor, SAVE_TIMEOUT_S)
        except (duckdb.Error, FolderNotSynced, OSError) as failure:
            error = Unavailable("The changes of the lost log could not be written.")
            self._engine.failures.record_failure("save the lost log", failure, error)
            return False
        return True

    def try_reopen(self) -> None:
        """Reopen the file after a failure; give up if that is hopeless or takes too long.

        A full disk is waited for, because space is freed while the process runs.
        """
        now_s = time.monotonic()
        if self._failing_since_s is None:
            self._failing_since_s, self._pause_s = now_s, _FIRST_PAUSE_S
        try:
            self._reopen()
        except SpawnError as error:
            is_late = now_s - self._failing_since_s >= RECOVERY_TIMEOUT_S
            if isinstance(error, StorageDamaged | InternalError):
                self.give_up(error.detail, error)
            elif isinstance(error, StorageFull):
                self._failing_since_s = now_s
            elif is_late:
                self.give_up(f"The file could not be reopened: {error.detail}", error)
            self._next_attempt_s = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        else:
            self._failing_since_s = None

    def attempt_wait_s(self) -> float | None:
        """Return the time until the next attempt to reopen the file; None if it is open."""
        if self._failing_since_s is None:
            return None
        return max(0.0, self._next_attempt_s - time.monotonic())

    def give_up(self, reason: str, cause: SpawnError) -> Unavailable:
        """Accept nothing from now on: only a new process can serve the file.

        Args:
            reason: what happened and what to do, for the operator.
            cause: the error whose log line holds the cause.

        Returns:
            The error that every caller gets.
        """
        self.final_reason = reason
        self.final_error = self.last_error = Unavailable(
            "The store has failed and the service stops: retry later.", retry_after_s=5.0
        )
        self.final_error.error_id = cause.error_id
        return self.final_error

    def _record_reopening(self, cause: BaseException, error: SpawnError) -> SpawnError:
        return self._engine.failures.record_failure("reopen the file", cause, error)

    def _reopen(self) -> None:
        """Reopen the file and reload all state from it.

        Raises:
            SpawnError: it still cannot be opened.
        """
        try:
            self.locations.clear()
            self.recent_rows.clear()
            self._engine.reopen()
            self.aggregates.clear()
            self.page_items.clear()
            self._load()
        except SpawnError as error:
            self.last_error = self._record_reopening(error.__cause__ or error, error)
            raise
        except duckdb.Error as failure:
            self.last_error = self._record_reopening(failure, load_error(self._engine, failure))
            raise self.last_error from failure
        except OSError as failure:
            self.last_error = self._record_reopening(
                failure, Unavailable("The file cannot be reopened: check the disk and the log.")
            )
            raise self.last_error from failure
        except Exception as failure:
            self.last_error = self._record_reopening(failure, InternalError(_UNREADABLE))
            raise self.last_error from failure
        self.pages.clear(self.position)
        self.last_error = None
