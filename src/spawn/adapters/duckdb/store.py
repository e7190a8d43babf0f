"""The storage ports over one DuckDB file: from the caches where possible, else the engine."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar, cast

import duckdb
from opentelemetry import trace

from spawn.adapters.duckdb.archive.backup_writer import BackupWriter
from spawn.adapters.duckdb.archive.epoch_claims import require_store
from spawn.adapters.duckdb.caches import GenerationalCache, LocationCache, RecentRows
from spawn.adapters.duckdb.columns.column_chunks import (
    MIN_CHUNK_ROWS,
    ColumnReader,
    find_projects,
)
from spawn.adapters.duckdb.connection import (
    Cursor,
    Engine,
    ReaderThreads,
    is_out_of_memory,
    read_memory_bytes,
)
from spawn.adapters.duckdb.flow_sums import sum_columns
from spawn.adapters.duckdb.journal import bookmarks, derived_documents
from spawn.adapters.duckdb.journal.appender import JournalAppender
from spawn.adapters.duckdb.journal.cache_update import Caches
from spawn.adapters.duckdb.journal.group_commit import GroupCommitWriter
from spawn.adapters.duckdb.journal.high_water_mark import HighWaterMark
from spawn.adapters.duckdb.journal.prepared_change import BULK_WRITES, PreparedChange
from spawn.adapters.duckdb.journal.recovery import load_error
from spawn.adapters.duckdb.journal.tail import renew_mark
from spawn.adapters.duckdb.journal.torn_log import cut_torn_commit
from spawn.adapters.duckdb.journal_rows import (
    UNIX_EPOCH,
    AggregateLocation,
    CachedAggregate,
    aggregate_key,
    read_entry,
)
from spawn.adapters.duckdb.migration import schema_changes
from spawn.adapters.duckdb.migration.migrator import Migrator
from spawn.adapters.duckdb.receipts import ReceiptCache
from spawn.adapters.duckdb.schema_table import read_migrations
from spawn.adapters.duckdb.state import quality_sql, queries
from spawn.adapters.duckdb.state.bulk_projection import is_projectable
from spawn.adapters.duckdb.state.page_cache import PageCache
from spawn.adapters.embedded import journal, quality_counts, query_evaluation
from spawn.adapters.embedded.options import BackupOptions, StoreOptions
from spawn.adapters.embedded.schema_histories import SchemaHistories, resolve_query
from spawn.adapters.embedded.schema_history import rename_fields
from spawn.adapters.embedded.synced_folders import create_folder
from spawn.domain.aggregates import AGGREGATE_TYPES, encode_write
from spawn.domain.change import (
    Change,
    CommitResult,
    Head,
    IdempotencyKey,
    StoredAggregate,
    StoredResponse,
)
from spawn.domain.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    NotFound,
    SpawnError,
    StorageDamaged,
    StorageFull,
    Unavailable,
)
from spawn.domain.events.journal_entry import FeedPage, JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.portfolios.flow_columns import FlowColumns
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.quality.measures import Measure, Measurement
from spawn.domain.query import WHOLE_HISTORY, HistoryBounds, Operator, Page, Query
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.ports.analytics import ColumnChunk, ColumnSelection
from spawn.ports.runtime import Clock
from spawn.ports.schemas import MigrationRecord, ProofViolation, SchemaRecord
from spawn.ports.storage import DerivedDocument, StoreActivity, StoreStatus, Table

T = TypeVar("T")
_tracer = trace.get_tracer("spawn.adapters.duckdb")
_LOG_LIMIT_BYTES = 1024**3
_NO_LOG_LIMIT = 2**60
"""Threshold of the engine's own checkpoints, after which its log would vanish unannounced."""

_MAX_RECENT_ROWS = 2_000
_MEMORY_TIMEOUT_S = 1.0
_FLOOR_LIFETIME = timedelta(minutes=1)


async def open_duckdb(path: Path, *, clock: Clock, options: StoreOptions) -> "DuckDbStore":
    """Open the file, or create it; see `factory.open_store`."""
    return await asyncio.to_thread(DuckDbStore, path, clock, options)


def _open_engine(path: Path, mark: HighWaterMark, options: StoreOptions) -> Engine:
    """Open the file; if a power loss tore the last commit of its log, without that commit.

    Raises:
        StorageDamaged: the file or its log is damaged in another way.
    """
    limit, key = options.memory_limit, options.encryption_key
    try:
        return Engine(path, limit, _NO_LOG_LIMIT, key)
    except StorageDamaged as damage:
        if not cut_torn_commit(path, mark.read(), damage.__cause__, key):
            raise
    return Engine(path, limit, _NO_LOG_LIMIT, key)


class DuckDbStore:
    """Commands, reads, schemas and control over one file. Built by `open_duckdb`."""

    def __init__(self, path: Path, clock: Clock, options: StoreOptions) -> None:
        self._clock = clock
        self._options = options
        if path.is_dir():
            raise InvalidInput.at("", "url_malformed", f"{path.name} is a directory, not a file.")
        require_store(path)
        create_folder(path.parent)
        with ExitStack() as cleanup:
            mark = HighWaterMark(path)
            cleanup.callback(mark.release)
            mark.require_database(path)
            is_renewed = options.renew_mark and path.exists()
            self._engine = _open_engine(path, mark, options)
            cleanup.callback(self._engine.close)
            self._appender = self._open_journal(mark, is_renewed=is_renewed)
            cleanup.pop_all()
        self._writer = GroupCommitWriter(
            self._appender,
            self._engine.failures,
            queue_limit=options.queue_limit,
            group_cap=options.group_cap,
        )
        on_fatal = self._writer.check_engine_soon
        self._readers = ReaderThreads(
            self._engine,
            options.readers,
            options.query_timeout_s,
            operation="read",
            on_fatal=on_fatal,
        )
        self._scan_readers = ReaderThreads(
            self._engine, 1, options.survey_timeout_s, operation="scan", on_fatal=on_fatal
        )
        self._migrator = Migrator(self._appender, self._writer, self._scan_readers, clock)
        self._page_reads: dict[tuple[Query, int], asyncio.Task[Page[StoredAggregate[Any]]]] = {}
        self._floor = (UNIX_EPOCH, 0)
        self._close_task: asyncio.Task[None] | None = None
        self._backups: BackupWriter | None = None
        self._damage: SpawnError | None = None

    def _open_journal(self, mark: HighWaterMark, *, is_renewed: bool) -> JournalAppender:
        options = self._options
        self._caches = caches = Caches(
            LocationCache(options.cached_heads),
            GenerationalCache[CachedAggregate](options.cached_entities),
            GenerationalCache[CachedAggregate](options.cached_entities),
            PageCache(options.cached_pages),
            ReceiptCache(options.cached_receipts),
            RecentRows(options.recent_bytes),
        )
        try:
            if is_renewed:
                renew_mark(self._engine.cursor(), mark, self._engine.path.name)
            return JournalAppender(
                self._engine,
                mark,
                self._clock,
                caches,
                reserve_bytes=options.reserve_bytes,
                checkpoint_bytes=options.checkpoint_bytes,
                log_limit_bytes=_LOG_LIMIT_BYTES,
                report_rebuild=options.report_rebuild,
            )
        except duckdb.Error as failure:
            raise load_error(self._engine, failure) from failure

    @property
    def _schema_history(self) -> SchemaHistories:
        return self._appender.schema_table.history

    def _read_history(self) -> SchemaHistories:
        return self._appender.schema_table.history

    # -- commands ---------------------------------------------------------------------------

    async def commit(self, change: Change) -> CommitResult:
        """Commit the change; see `CommandStore.commit`."""
        journal.check_change(change)
        if len(change.writes) > BULK_WRITES:
            prepared_change = await asyncio.to_thread(self._prepare, change)
        else:
            prepared_change = self._prepare(change)
        if not trace.get_current_span().is_recording():
            return await self._writer.commit(prepared_change)
        # Not the current span: no span opens below it, and this costs a tenth.
        with _tracer.start_span("storage.commit"):
            return await self._writer.commit(prepared_change)

    def _prepare(self, change: Change) -> PreparedChange:
        schema_of_write = self._schema_history.schema_of_write
        change = journal.with_decoded_states(change, schema_of_write, is_projectable)
        documents = [encode_write(w, schema_of_write(change, w)) for w in change.writes]
        return PreparedChange(change, documents)

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        """Return the stored response; see `CommandStore.find_receipt`."""
        now = self._clock.now()
        receipts = self._appender.receipts
        receipt = receipts.from_cache(key, now)
        if receipt is None and receipts.may_be_on_disk(now):
            receipt = await self._read(lambda c: receipts.find(c, key, now))
        if receipt is None:
            return None
        position = receipt.position
        return await self._read(lambda c: self._appender.read_response(c, position))

    # -- single aggregates ------------------------------------------------------------------

    async def get(
        self, kind: str, key: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> StoredAggregate[Any]:
        """Return the aggregate now, at a version or at an instant; see `ReadStore.get`."""
        if version is None and as_of is None:
            aggregate = self._find_cached(aggregate_key(kind, key)) or await self._read_aggregate(
                kind, key
            )
            return aggregate.stored
        location = await self._locate(kind, key)
        return await self._read(
            lambda c: queries.read_version(
                c, kind, key, location, self._read_history, version, as_of
            )
        )

    def _find_cached(self, key: str) -> CachedAggregate | None:
        """Return the aggregate from memory: recently used, or not projected yet."""
        aggregate = self._find_recent(key)
        if aggregate is None:
            pending = self._appender.projection.get(key)
            aggregate = pending.to_cached() if pending else None
        return aggregate

    def _find_recent(self, key: str) -> CachedAggregate | None:
        """Return the aggregate, if it is cached in the active version."""
        return self._if_current(self._appender.aggregates.get(key))

    def _find_on_page(self, position: int) -> CachedAggregate | None:
        """Return the aggregate written there, if a page cached it in the active version."""
        return self._if_current(self._appender.page_items.get(str(position)))

    def _if_current(self, aggregate: CachedAggregate | None) -> CachedAggregate | None:
        if (
            aggregate is None
            or aggregate.stored.schema_version
            == self._schema_history.served_version(
                aggregate.stored.kind, aggregate.stored.schema_version
            )
        ):
            return aggregate
        return None

    async def _read_aggregate(self, kind: str, key: str) -> CachedAggregate:
        full_key, generation = aggregate_key(kind, key), self._appender.aggregates.generation
        location = await self._locate(kind, key)
        aggregates = await self._read(
            lambda c: queries.read_at(c, {location.position: location}, self._read_history)
        )
        aggregate = next(iter(aggregates.values()), None)
        if aggregate is None:
            raise NotFound(f"There is no {kind} {key}.")
        self._appender.aggregates.offer(full_key, aggregate, generation)
        return aggregate

    async def _locate(self, kind: str, key: str) -> AggregateLocation:
        """Return the location of the aggregate.

        Raises:
            NotFound: it does not exist.
        """
        full_key, generation = aggregate_key(kind, key), self._appender.locations.generation
        location, is_certain = self._appender.cached_location(full_key)
        if location is None and not is_certain:
            locations = await self._read(lambda c: queries.read_locations(c, [full_key]))
            location = locations.get(full_key)
            if location is not None:
                self._appender.locations.offer(full_key, location, generation)
        if location is None:
            raise NotFound(f"There is no {kind} {key}.")
        return location

    async def _read(self, query: Callable[[Cursor], T]) -> T:
        if self._appender.is_loading:
            # State tables may be incomplete, so that a page would miss what is not rebuilt yet.
            raise Unavailable("The store reopens its file: retry later.", retry_after_s=1.0)
        try:
            if not trace.get_current_span().is_recording():
                return await self._readers.run(query)
            with _tracer.start_span("storage.read"):
                return await self._readers.run(query)
        except StorageDamaged as damage:
            self._damage = damage
            raise

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, StoredAggregate[Any]]:
        """Return those that exist; see `ReadStore.get_many`."""
        query_evaluation.check_ids(ids)
        return {
            name: aggregate.stored for name, aggregate in (await self._read_many(kind, ids)).items()
        }

    async def _read_many(self, kind: str, ids: Sequence[str]) -> dict[str, CachedAggregate]:
        keys = {name: aggregate_key(kind, name) for name in ids}
        aggregates: dict[str, CachedAggregate] = {}
        missing: dict[str, AggregateLocation | None] = {}
        for full_key in keys.values():
            aggregate = self._find_cached(full_key)
            if aggregate is not None:
                aggregates[full_key] = aggregate
                continue
            location, is_certain = self._appender.cached_location(full_key)
            if not (location is None and is_certain):
                missing[full_key] = location
        if missing:
            aggregates |= await self._read(
                lambda c: queries.read_many(c, missing, self._read_history)
            )
        return {name: aggregates[key] for name, key in keys.items() if key in aggregates}

    async def head(self, kind: str, key: str) -> Head:
        """Return version and epoch; see `ReadStore.head`."""
        location = self._appender.locations.get(aggregate_key(kind, key))
        if location is None:
            location = await self._locate(kind, key)
        return Head(location.version, self._appender.epoch)

    async def history(
        self,
        kind: str,
        key: str,
        *,
        after_version: int,
        limit: int,
        bounds: HistoryBounds = WHOLE_HISTORY,
    ) -> list[JournalEntry]:
        """Return entries of one aggregate; see `ReadStore.history`."""
        query_evaluation.check_limit(limit)
        location, epoch = await self._locate(kind, key), self._appender.epoch
        after = max(after_version, 0)

        def read(cursor: Cursor) -> list[JournalEntry]:
            rows = queries.read_entries(cursor, kind, key, location, after, limit, bounds)
            return [read_entry(values, epoch) for values in rows]

        return await self._read(read)

    # -- pages ------------------------------------------------------------------------------

    async def page(self, query: Query) -> Page[StoredAggregate[Any]]:
        """Return one page; see `ReadStore.page`. An unchanged page is the same object."""
        page = self._appender.pages.get(query)
        if page is not None:
            return page
        query = resolve_query(query, self._schema_history)
        id_column = AGGREGATE_TYPES[query.kind].id_column
        id_filter = next((f for f in query.filters if f.field == id_column), None)
        is_by_id = id_filter is not None and id_filter.operator in (Operator.EQ, Operator.IN)
        if id_filter is not None and is_by_id and query.as_of is None:
            return await self._page_of_ids(query, [str(value) for value in id_filter.values])
        return await self._shared_page(query)

    async def _page_of_ids(self, query: Query, ids: list[str]) -> Page[StoredAggregate[Any]]:
        aggregates = await self._read_many(query.kind, list(dict.fromkeys(ids)))
        schema_history = self._schema_history
        items = sorted(aggregates.values(), key=lambda a: a.location.created_position)
        upgraded = [
            (schema_history.to_active_version(a.stored), a.location.created_position) for a in items
        ]
        return query_evaluation.evaluate_page(upgraded, resolve_query(query, schema_history))

    async def _shared_page(self, query: Query) -> Page[StoredAggregate[Any]]:
        """Read the page once for all concurrent callers at the same position."""
        is_governed = AGGREGATE_TYPES[query.kind].is_governed and query.as_of is None
        position = self._appender.governed_position if is_governed else self._appender.position
        task = self._page_reads.get((query, position))
        if task is None:
            task = asyncio.create_task(self._read_page(query, position))
            self._page_reads[query, position] = task
            task.add_done_callback(lambda _: self._page_reads.pop((query, position), None))
        return await asyncio.shield(task)

    async def _read_page(self, query: Query, position: int) -> Page[StoredAggregate[Any]]:
        aggregates, has_more = await self._read_projected(
            lambda c: self._read_items(c, query, position)
        )
        next_keys = None
        if has_more:
            last = aggregates[-1]
            # The active schema may have changed meanwhile: items have the names of their version.
            schema = self._schema_history.schema_for(query.kind, last.stored.schema_version)
            is_governed = AGGREGATE_TYPES[query.kind].is_governed
            sort = rename_fields(query, schema).sort if query.sort and is_governed else query.sort
            next_keys = query_evaluation.sort_keys(
                last.stored, last.location.created_position, sort
            )
        page = Page(tuple(aggregate.stored for aggregate in aggregates), next_keys)
        if AGGREGATE_TYPES[query.kind].is_governed and query.as_of is None:
            self._appender.pages.offer(query, page, position)
        return page

    async def count(self, query: Query) -> int:
        """Return the number of matching aggregates; see `ReadStore.count`."""
        query, through = resolve_query(query, self._schema_history), self._appender.position
        return await self._read_projected(
            lambda c: queries.count_items(c, query, through, self._read_history)
        )

    async def _read_projected(self, query: Callable[[Cursor], T]) -> T:
        """Run a query that sees every change, on a full disk too."""
        try:
            await self._project_all()
        except StorageFull:
            return cast(
                "T",
                await self._writer.run(
                    lambda: self._appender.read_unprojected(query), "read beside a full disk"
                ),
            )
        return await self._read(query)

    async def _project_all(self) -> None:
        """Bring the state tables up to the journal, so that a query sees every change."""
        if self._appender.lag_rows():
            await self._writer.run(self._appender.project_all, "project the state tables")

    def _read_items(
        self, cursor: Cursor, query: Query, through: int
    ) -> tuple[list[CachedAggregate], bool]:
        """Read and cache the items of a page; runs on a reader thread."""
        aggregate_cache, page_items = self._appender.aggregates, self._appender.page_items
        generation, items_generation = aggregate_cache.generation, page_items.generation
        aggregates, has_more = queries.read_page(
            cursor, query, through, self._read_history, self._find_on_page
        )
        if query.as_of is not None:
            return aggregates, has_more
        for aggregate in aggregates:
            stored_aggregate, position = aggregate.stored, str(aggregate.location.position)
            if page_items.get(position) is not aggregate:
                aggregate_cache.offer(
                    aggregate_key(stored_aggregate.kind, stored_aggregate.id), aggregate, generation
                )
                page_items.offer(position, aggregate, items_generation)
        return aggregates, has_more

    # -- columns ----------------------------------------------------------------------------

    async def read_columns(
        self, query: Query, selection: ColumnSelection, through: Position
    ) -> AsyncGenerator[ColumnChunk] | None:
        """Return the columns of projects; see `ColumnStore.read_columns`."""
        try:
            await self._project_all()
        except StorageFull:
            return None
        positions, history = await self._read(
            lambda c: find_projects(c, query, through.number, self._read_history)
        )
        if history.of(query.kind).active_schema.version != selection.schema_version:
            return None
        is_sorted = bool(query.sort)
        return self._read_chunks(
            ColumnReader(query.kind, history, selection, positions, is_sorted=is_sorted)
        )

    async def _read_chunks(self, reader: ColumnReader) -> AsyncGenerator[ColumnChunk]:
        start, rows, most_rows = 0, reader.chunk_rows, reader.chunk_rows
        while True:
            try:
                is_proven = not self._appender.uncompared_rows()
                chunk = await self._read(
                    partial(reader.read, start=start, rows=rows, is_table_proven=is_proven)
                )
            except (DeadlineExceeded, Unavailable) as failure:
                # On a busy machine: a file that has begun has no other way than to go on.
                is_too_large = is_out_of_memory(failure)
                is_retried = is_too_large or isinstance(failure, DeadlineExceeded)
                if rows <= MIN_CHUNK_ROWS or not is_retried:
                    raise
                rows = max(rows // 4, MIN_CHUNK_ROWS)
                most_rows = rows if is_too_large else most_rows
                continue
            yield chunk
            start, rows = start + chunk.rows, min(rows * 2, most_rows)
            if start >= len(reader):
                return

    # -- the feed ---------------------------------------------------------------------------

    async def feed(
        self,
        *,
        after: Position | None,
        limit: int,
        types: frozenset[str] | None = None,
        subject: tuple[str, str] | None = None,
        floor: datetime | None = None,
    ) -> FeedPage:
        """Return entries with events in journal order; see `ReadStore.feed`."""
        query_evaluation.check_limit(limit)
        floor_position = 0 if floor is None else await self._last_position_before(floor)
        epoch, last = self._appender.epoch, self._appender.position
        position = journal.find_row(after, epoch, last, floor_position)
        if position == last:
            return FeedPage((), Position(epoch, position))
        rows = self._appender.recent_rows.after(position, min(last - position, _MAX_RECENT_ROWS))
        if rows:
            return queries.feed_of_rows(rows, limit, types, subject, epoch)
        return await self._read(
            lambda c: queries.read_feed(c, position, last, limit, types, subject, epoch)
        )

    async def _last_position_before(self, floor: datetime) -> int:
        """Return the last row recorded before an instant, at most a minute out of date."""
        cached_floor, position = self._floor
        if not cached_floor <= floor < cached_floor + _FLOOR_LIFETIME:
            position = await self._read(lambda c: queries.last_position_before(c, floor))
            self._floor = (floor, position)
        return position

    async def position(self) -> Position:
        """Return the newest position; see `ReadStore.position`."""
        return self._appender.feed_position()

    async def latest_recorded_at(self) -> datetime | None:
        """Return the time of the newest change; see `ReadStore.latest_recorded_at`."""
        return self._appender.recorded_at

    async def final_instant(self) -> datetime:
        """Return the instant before now, once it is final; see `ReadStore.final_instant`."""
        # First the instant: a change that is queued meanwhile is recorded after it, and it tells
        # nothing of that change.
        instant = journal.final_instant(self._clock, self._appender.last_instant)
        await self._writer.settle(instant)
        return instant

    async def count_rows_after(self, position: Position | None) -> int:
        """Return the number of later rows; see `ReadStore.count_rows_after`."""
        end = self._appender.position
        return end - journal.find_row(position, self._appender.epoch, end)

    async def wait_for_change(self, after: Position, timeout_s: float) -> Position:
        """Return the newest position once it differs; see `ReadStore.wait_for_change`."""
        await self._writer.wait_for_change(after, timeout_s)
        return self._appender.feed_position()

    async def tables(self) -> list[Table]:
        """Return the tables of the file; see `ReadStore.tables`."""
        return await self._read(queries.read_tables)

    async def sum_flows(self, flows: FlowColumns) -> dict[int, int]:
        """Return the sums; see `FlowTotals.sum_flows`."""
        sums = await self._scan_readers.run(lambda c: sum_columns(c, flows))
        for cell, units in flows.wide.items():
            sums[cell] = sums.get(cell, 0) + units
        return sums

    async def measure(self, measures: Sequence[Measure], kind: str = PROJECT_KIND) -> Measurement:
        """Measure one snapshot; see `QualityStore.measure`."""
        quality_counts.check_measures(measures, self._schema_history.of(kind).active_schema)
        position = self._appender.feed_position()
        await self._project_all()
        schema_history = self._schema_history
        try:
            states, changed_at, tallies = await self._scan_readers.run(
                lambda c: quality_sql.count_measures(c, measures, AGGREGATE_TYPES[kind])
            )
        except InternalError:
            # A migration in progress ends first: it may have renamed a measured column.
            await self._writer.run(lambda: None, "wait for a migration")
            if self._schema_history is schema_history:
                raise
            raise Unavailable("The tables were migrated meanwhile: retry.") from None
        return Measurement(position=position, states=states, changed_at=changed_at, tallies=tallies)

    # -- bookmarks --------------------------------------------------------------------------

    async def load_bookmarks(self) -> dict[str, Position | None]:
        """Return every position by name; see `Bookmarks.load_bookmarks`."""
        return await self._read(bookmarks.load)

    async def save_bookmarks(self, positions: Mapping[str, Position | None]) -> None:
        """Save the positions; see `Bookmarks.save_bookmarks`."""
        snapshot = dict(positions)
        await self._writer.run(lambda: self._appender.save_bookmarks(snapshot), "save bookmarks")

    # -- derived documents ------------------------------------------------------------------

    async def load_derived(self, name: str, keys: Sequence[str]) -> dict[str, DerivedDocument]:
        """Return the existing documents; see `DerivedDocuments.load_derived`."""
        query_evaluation.check_ids(keys)
        return await self._read(lambda cursor: derived_documents.load(cursor, name, keys))

    async def save_derived(self, documents: Sequence[DerivedDocument]) -> None:
        """Save the documents; see `DerivedDocuments.save_derived`."""
        await self._writer.run(
            lambda: self._appender.save_derived(documents), "save derived documents"
        )

    # -- schemas ----------------------------------------------------------------------------

    async def active(self, kind: str = PROJECT_KIND) -> SchemaRecord | None:
        """Return the active schema of a kind; see `SchemaStore.active`."""
        return self._schema_history.of(kind).active_record

    async def records(self, kind: str = PROJECT_KIND) -> list[SchemaRecord]:
        """Return every recorded version of a kind's schema, oldest first."""
        return list(self._schema_history.of(kind).records)

    async def version_history(self, kind: str = PROJECT_KIND) -> tuple[Schema, ...]:
        """Return the versions of the data; see `SchemaStore.version_history`."""
        return self._schema_history.of(kind).version_history

    async def adopt(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Make the version active; see `SchemaStore.adopt`."""
        await self._writer.run(
            lambda: schema_changes.adopt(self._appender, record, actor), "adopt a schema"
        )

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Record a version that is not active; see `SchemaStore.record`."""
        await self._writer.run(
            lambda: schema_changes.record_version(self._appender, record, actor),
            "record a schema",
        )

    def describe_plan(self, plan: MigrationPlan) -> tuple[str, ...]:
        """Return the statements of a plan; see `SchemaStore.describe_plan`."""
        return self._migrator.describe_plan(plan)

    async def check_proofs(
        self, proofs: Sequence[Proof], kind: str = PROJECT_KIND
    ) -> tuple[ProofViolation, ...]:
        """Return the violated proofs; see `SchemaStore.check_proofs`."""
        return await self._migrator.check_proofs(proofs, kind)

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, *, actor: str, reason: str = ""
    ) -> MigrationRecord:
        """Activate the version over the present data; see `SchemaStore.migrate`."""
        return await self._migrator.migrate(record, plan, actor, reason)

    async def migration_log(self) -> list[MigrationRecord]:
        """Return the log of attempts, newest first."""
        return await self._read(read_migrations)

    # -- backups ----------------------------------------------------------------------------

    async def open_backups(self, options: BackupOptions) -> BackupWriter:
        """Return the backups of this store, which end with it.

        Raises:
            StorageIncompatible: another store has superseded this one.
            Conflict: the folder has backups of another store.
        """
        self._backups = BackupWriter(
            self._engine,
            store_id=self._appender.store_id,
            epoch=self._appender.epoch,
            clock=self._clock,
            options=options,
            on_superseded=self._stop_superseded,
            on_fatal=self._writer.check_engine_soon,
        )
        await asyncio.to_thread(self._backups.load)
        return self._backups

    def _stop_superseded(self, reason: str) -> None:
        """Accept no more changes, from any thread: another store has taken the place of this."""
        self._appender.give_up(reason, Unavailable(reason))
        self._writer.check_engine_soon()

    # -- control ----------------------------------------------------------------------------

    def status(self) -> StoreStatus:
        """Return a snapshot; see `StoreControl.status`."""
        if self._engine.files.are_lost():
            self._writer.check_engine_soon()
        appender = self._appender
        free_bytes = self._engine.free_bytes()
        damage = self._damage or appender.damage
        error = appender.last_error or damage
        is_full = free_bytes < self._options.reserve_bytes
        detail = "the disk reserve is used up: free disk space" if is_full else "ready"
        if self._writer.is_closing():
            detail = "closed"
        return StoreStatus(
            engine="duckdb",
            store_id=appender.store_id,
            epoch=appender.epoch,
            position=appender.feed_position(),
            is_writable=appender.last_error is None
            and not is_full
            and not self._writer.is_closing(),
            is_readable=damage is None and appender.final_error is None,
            detail=appender.final_reason or (error.detail if error else detail),
            queued=self._writer.queue_length(),
            queue_limit=self._options.queue_limit,
            lag_rows=appender.lag_rows(),
            lag_s=appender.lag_s(),
            uncompared_rows=appender.uncompared_rows(),
            is_exclusive=True,
            file_bytes=self._engine.files.database_bytes(),
            wal_bytes=self._engine.files.log_bytes(),
            free_bytes=free_bytes,
            reserve_bytes=self._options.reserve_bytes,
            recorded_ahead_s=journal.seconds_ahead(appender.recorded_at, self._clock.now()),
        )

    async def activity(self) -> StoreActivity:
        """Return what the store has done; see `StoreControl.activity`."""
        counts, turns = self._writer.counts, self._readers.turns
        memory_bytes: int | None = None
        with suppress(SpawnError, TimeoutError):
            async with asyncio.timeout(_MEMORY_TIMEOUT_S):
                memory_bytes = await self._readers.run(read_memory_bytes)
        return StoreActivity(
            commit_seconds=counts.seconds.snapshot(),
            group_changes=counts.changes.snapshot(),
            queries_running=turns.running,
            queries_waiting=turns.waiting,
            cache_entries=self._caches.count_entries(),
            memory_bytes=memory_bytes,
        )

    def stalled_s(self) -> float:
        """Return for how long the writer has been stuck; see `StoreControl.stalled_s`."""
        return self._writer.stalled_s()

    async def probe(self) -> float:
        """Write once through to the disk; see `StoreControl.probe`."""
        started_at_s = perf_counter()
        await self._writer.run(self._appender.probe, "probe the write path")
        return perf_counter() - started_at_s

    async def wait_until_failed(self) -> str:
        """Return the reason once only a restart helps; see `StoreControl.wait_until_failed`."""
        return await self._writer.wait_until_failed()

    async def close(self) -> None:
        """Finish the queue, project, checkpoint and close; idempotent."""
        if self._close_task is None:
            self._close_task = asyncio.create_task(asyncio.to_thread(self._close))
        await asyncio.shield(self._close_task)

    def _close(self) -> None:
        if self._backups is not None:
            self._backups.close()
        self._writer.close()
        self._readers.close()
        self._scan_readers.close()
        try:
            self._appender.close()
        finally:
            self._engine.close()
