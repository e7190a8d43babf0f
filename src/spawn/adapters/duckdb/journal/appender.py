"""Append to the journal: version checks, receipts, hash chain and group transactions.

Everything here but `read_response` runs on the writer's thread.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import duckdb

from spawn.adapters.duckdb.connection import (
    Cursor,
    Engine,
    FolderNotSynced,
    damaged_error,
    is_sync_failure,
)
from spawn.adapters.duckdb.journal import bookmarks, derived_documents
from spawn.adapters.duckdb.journal.cache_update import Caches, Locations, apply_to_caches
from spawn.adapters.duckdb.journal.high_water_mark import HighWaterMark, MarkNotSynced
from spawn.adapters.duckdb.journal.prepared_change import (
    PositionedChange,
    PreparedChange,
    build_rows,
    check_version,
    with_decoded_states,
)
from spawn.adapters.duckdb.journal.recovery import RecoverableJournal
from spawn.adapters.duckdb.journal.tail import Tail
from spawn.adapters.duckdb.journal_rows import (
    SELECT_RESPONSE,
    ChainedRows,
    JournalRow,
    aggregate_key,
    chain_rows,
    from_microseconds,
    read_response,
    to_microseconds,
)
from spawn.adapters.duckdb.served_files import FileLost
from spawn.adapters.duckdb.state.state_table import state_tables
from spawn.adapters.embedded import journal
from spawn.adapters.embedded.options import ReportRebuild
from spawn.adapters.embedded.schema_histories import SchemaHistories
from spawn.domain.change import CommitResult, StoredResponse
from spawn.domain.errors import (
    SpawnError,
    StorageDamaged,
    StorageFull,
    Unavailable,
)
from spawn.domain.events.position import Position
from spawn.ports.runtime import Clock
from spawn.ports.storage import DerivedDocument

T = TypeVar("T")
_MAX_PENDING_ROWS = 200_000
_COMMIT = "commit a group of changes"


class JournalAppender(RecoverableJournal):
    """The journal as the writer commits to it."""

    def __init__(
        self,
        engine: Engine,
        mark: HighWaterMark,
        clock: Clock,
        caches: Caches,
        *,
        reserve_bytes: int,
        checkpoint_bytes: int,
        log_limit_bytes: int,
        report_rebuild: ReportRebuild | None,
    ) -> None:
        super().__init__(engine, mark, clock, caches, report_rebuild)
        self._reserve_bytes = reserve_bytes
        self._checkpoint_bytes = checkpoint_bytes
        self._log_limit_bytes = log_limit_bytes

    # -- committing -------------------------------------------------------------------------

    def commit(self, group: list[PreparedChange]) -> list[CommitResult | SpawnError]:
        """Commit a group in one transaction; return an outcome for each change."""
        outcomes: list[Any] = [None] * len(group)
        group = [
            with_decoded_states(prepared_change, self.schema_table.history)
            for prepared_change in group
        ]
        try:
            self._check_writable()
            journal.check_clock(self._clock)
            locations = self._locate_all(key for p in group for key in (*p.keys, *p.guarded_keys))
        except SpawnError as error:
            return [error] * len(group)
        except duckdb.Error as error:
            return [self.recover(_COMMIT, error)] * len(group)
        changes_to_write: list[tuple[int, PreparedChange]] = []
        for index, prepared_change in enumerate(group):
            try:
                outcomes[index] = self._replay_or_check(prepared_change, locations)
            except SpawnError as error:
                outcomes[index] = error
            except duckdb.Error as error:
                outcomes[index] = self.recover(_COMMIT, error)
            if outcomes[index] is None:
                changes_to_write.append((index, prepared_change))
        if changes_to_write:
            self._write_group(changes_to_write, locations, outcomes)
        return outcomes

    def _check_writable(self) -> None:
        if self.last_error is not None and self.final_error is None:
            self.try_reopen()
        if self.last_error is not None:
            raise self.last_error
        self._engine.files.check()
        if len(self.projection) > _MAX_PENDING_ROWS:
            raise Unavailable("The state tables lag too far behind the journal: retry later.")
        if self._engine.free_bytes() < self._reserve_bytes:
            raise StorageFull(
                f"Less than the reserve of {self._reserve_bytes} bytes is free: free disk space."
            )

    def _replay_or_check(
        self, prepared_change: PreparedChange, locations: Locations
    ) -> CommitResult | None:
        """Return the result of a repeated request, or None if the change may be committed.

        Raises:
            IdempotencyMismatch, SchemaVersionChanged, Duplicate, StaleVersion: it may not.
        """
        receipt = prepared_change.change.receipt
        if receipt is not None:
            receipt_row = self.receipts.find(self._cursor, receipt.key, self._clock.now())
            if receipt_row is not None:
                response = self.read_response(self._cursor, receipt_row.position)
                return CommitResult(
                    from_microseconds(receipt_row.recorded_at),
                    self.feed_position(),
                    replayed_response=response,
                )
        self.schema_table.history.check_change(prepared_change.change)
        for row in prepared_change.rows:
            check_version(row.write, locations.get(row.key))
        for guard in prepared_change.change.guards:
            check_version(guard, locations.get(aggregate_key(guard.kind, guard.id)))
        return None

    def read_response(self, cursor: Cursor, position: int) -> StoredResponse:
        """Read the response of the receipt at a position."""
        row = cursor.execute(SELECT_RESPONSE, [position]).fetchone()
        response = None if row is None else read_response(*row)
        if response is None:
            raise damaged_error(self._engine.path.name)
        return response

    def _write_group(
        self,
        changes_to_write: list[tuple[int, PreparedChange]],
        locations: Locations,
        outcomes: list[Any],
    ) -> None:
        changes = self._assign_positions(changes_to_write)
        rows = [row for item in changes for row in item.rows]
        chained_rows = chain_rows(rows, self._tail.hash)
        try:
            self._append_rows(
                chained_rows.payload, rows[: changes[0].prepared_change.encoded_count]
            )
        except duckdb.Error as failure:
            error = self.recover(_COMMIT, failure)
            if not self._is_durable(chained_rows):
                self._write_one_by_one(changes_to_write, locations, outcomes, error)
                return
        self._apply_commit(changes, chained_rows, locations)
        for item in changes:
            position = Position(self.epoch, item.rows[-1].position)
            outcomes[item.group_index] = CommitResult(item.recorded_at, position)

    def _is_durable(self, chained_rows: ChainedRows) -> bool:
        """Whether the rows of a failed transaction are in the reopened file, and on the disk."""
        if self._tail.hash != chained_rows.hash or self.last_error is not None:
            return False
        try:
            # The log may have been read from memory: a write of our own syncs what is before it.
            self._write_probe()
        except duckdb.Error as failure:
            self.recover("confirm a group of changes", failure)
            return False
        return True

    def _apply_commit(
        self, changes: list[PositionedChange], chained_rows: ChainedRows, locations: Locations
    ) -> None:
        """Update tail, mark and caches for rows that have become durable.

        Raises:
            FileLost: they are in no file that has a name.
            FolderNotSynced: the disk did not confirm the name of the log that has them.
        """
        self._engine.confirm_commit()
        rows = [row for item in changes for row in item.rows]
        self.recent_rows.put(rows)
        self._tail = Tail(self.epoch, rows[-1].position, chained_rows.hash, changes[-1].recorded_at)
        self._mark.write(self._tail.journal_position())
        newest_position = apply_to_caches(
            self._caches, self.projection, self.schema_table.history, changes, locations
        )
        self.governed_position = newest_position or self.governed_position

    def _write_one_by_one(
        self,
        changes_to_write: list[tuple[int, PreparedChange]],
        locations: Locations,
        outcomes: list[Any],
        error: SpawnError,
    ) -> None:
        """Write the changes of a failed group singly, unless that would fail as well."""
        is_hopeless = isinstance(error, StorageFull | StorageDamaged) or self.last_error is not None
        for index, prepared_change in changes_to_write:
            if outcomes[index] is not None:
                continue
            if is_hopeless or len(changes_to_write) == 1:
                outcomes[index] = error
            else:
                self._write_group([(index, prepared_change)], locations, outcomes)

    def _assign_positions(
        self, changes_to_write: list[tuple[int, PreparedChange]]
    ) -> list[PositionedChange]:
        changes: list[PositionedChange] = []
        position, recorded_at = self.position, self.last_instant
        for index, prepared_change in changes_to_write:
            recorded_at = journal.next_recorded_at(recorded_at, self._clock.now())
            rows = build_rows(prepared_change, position, to_microseconds(recorded_at))
            position += len(rows)
            changes.append(PositionedChange(index, prepared_change, rows, recorded_at))
        return changes

    def _append_rows(self, payload: str, encoded_rows: list[JournalRow]) -> None:
        """Append, and project encoded rows in the same transaction.

        A change with such rows is a group of its own, and nothing may be pending before it: see
        `PreparedChange`.
        """
        if not encoded_rows:
            self._statements.append(payload)
            return
        self.project_all()
        self._cursor.execute("begin")
        self._statements.append_in_transaction(payload)
        self.projection.project_encoded(
            encoded_rows[0].position,
            encoded_rows[-1].position,
            frozenset(row.kind for row in encoded_rows),
        )
        self._cursor.execute("commit")

    # -- the store --------------------------------------------------------------------------

    def feed_position(self) -> Position:
        """Return the position of the newest acknowledged change."""
        return Position(self.epoch, self.position)

    def hold_instant(self, instant: datetime) -> None:
        """Record every later change after an instant that a reader gets.

        The mark has it too, so that the next start follows it, even with a clock that is behind.

        Raises:
            Unavailable: the journal is not loaded, and its end may not be the one of the mark.
        """
        if self.last_error is not None:
            raise self.last_error
        last_instant = self.last_instant
        if last_instant is None or instant > last_instant:
            self._mark.hold_instant(self._tail.journal_position(), instant)

    def needs_maintenance(self) -> bool:
        """Whether the mark is unsynced, or the log is large enough to checkpoint."""
        log_bytes = self._engine.files.log_bytes()
        return self._mark.unsynced_s() > 0 or log_bytes > self._checkpoint_bytes

    def is_log_full(self) -> bool:
        """Whether the log is to be checkpointed under load as well."""
        return self._engine.files.checked_log_bytes > self._log_limit_bytes

    def maintain(self) -> None:
        """Sync the mark, and checkpoint a large log."""
        self._mark.sync()
        if self._engine.files.log_bytes() > self._checkpoint_bytes:
            self._engine.files.check()
            # A query that is running may need the rows that it began with: the next idle time is
            # soon enough.
            with suppress(duckdb.TransactionException):
                self._engine.checkpoint(self._cursor)

    def probe(self) -> None:
        """Write through the engine durably: one counter moves, no journal row is added."""
        self._check_writable()
        self._write_probe()

    def _write_probe(self) -> None:
        self._cursor.execute("update store set probed = probed + 1")

    def save_bookmarks(self, positions: Mapping[str, Position | None]) -> None:
        """Save the positions under their names."""
        self._check_writable()
        bookmarks.save(self._cursor, positions)

    def save_derived(self, documents: Sequence[DerivedDocument]) -> None:
        """Save derived documents in place of earlier ones."""
        self._check_writable()
        derived_documents.save(self._cursor, documents)

    def in_transaction(self, work: Callable[[Cursor], T]) -> T:
        """Run `work(cursor)` in one transaction, with the state tables caught up.

        This is the place for changes of the tables themselves, such as adopting a schema.
        """
        self._check_writable()
        self.project_all()
        self._cursor.execute("begin")
        try:
            result = work(self._cursor)
            self._cursor.execute("commit")
        except SpawnError:
            self._cursor.execute("rollback")
            raise
        return result

    def read_unprojected(self, query: Callable[[Cursor], T]) -> T:
        """Run a query that sees every change although no state table can be written.

        The pending changes are projected in a transaction that is rolled back, in memory.
        """
        self._cursor.execute("begin")
        try:
            self.projection.write_pending()
            return query(self._cursor)
        finally:
            self._cursor.execute("rollback")

    def commit_with(self, prepared_change: PreparedChange, work: Callable[[Cursor], T]) -> T:
        """Commit a change and run other work on the file, in one transaction.

        Raises:
            Duplicate, StaleVersion: of the change.
            SpawnError: any error of the work.
        """
        self._check_writable()
        journal.check_clock(self._clock)
        locations = self._locate_all(prepared_change.keys)
        self._replay_or_check(prepared_change, locations)
        changes = self._assign_positions([(0, prepared_change)])
        chained_rows = chain_rows(changes[0].rows, self._tail.hash)

        def work_and_append(cursor: Cursor) -> T:
            result = work(cursor)
            self._statements.append_in_transaction(chained_rows.payload)
            return result

        result = self.in_transaction(work_and_append)
        self._apply_commit(changes, chained_rows, locations)
        return result

    def switch_schema(self, schema_history: SchemaHistories) -> None:
        """Switch to a history that the file already has, and clear caches of the previous one.

        Readers that still have the previous history notice it by the changed tables.
        """
        self.schema_table.history = schema_history
        try:
            # A statement prepared before a change of tables is planned again at every execution.
            self._statements.prepare_anew()
            self.projection.prepare(state_tables(schema_history))
        except duckdb.Error as failure:
            self.discard_state("switch to a schema", failure)
        self.aggregates.clear()
        self.page_items.clear()
        self.governed_position = self.position
        self.pages.clear(self.position)

    def run_on_temporary_tables(self, statement: str, *parameters: Any) -> None:
        """Run a statement on temporary tables, which are not part of the file."""
        self._cursor.execute(statement, parameters)

    def close(self) -> None:
        """Project, checkpoint and sync the mark; the next start makes up for a failed checkpoint.

        Raises:
            Unavailable: the disk did not confirm the mark.
        """
        try:
            self._engine.files.check()
        except FileLost as failure:
            self.discard_state("look at the files at the end", failure)
        if self.final_error is not None:
            self._mark.release()
            return
        try:
            self.project_all()
            if not self.uncompared_rows():
                self.save_proofs()
            if self._engine.files.log_bytes():
                self._engine.checkpoint(self._cursor)
        except (duckdb.Error, SpawnError, FolderNotSynced) as failure:
            if is_sync_failure(failure):
                self._engine.note_failed_sync()
            error = Unavailable("The state tables catch up with the journal at the next start.")
            self._engine.failures.record_failure("checkpoint at the end", failure, error)
        try:
            self._mark.close()
        except MarkNotSynced as failure:
            raise self.discard_state("sync the high-water mark", failure) from failure
