"""The ports over one DuckDB file: answers from memory when it knows, from the engine when not."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import duckdb
from opentelemetry import trace

from spawn.adapters.duckdb.caches import Heads, Recent, RecentRows
from spawn.adapters.duckdb.connection import Cursor, Engine, Readers, translate
from spawn.adapters.duckdb.journal import bookmarks
from spawn.adapters.duckdb.journal.appender import Ledger
from spawn.adapters.duckdb.journal.cache_update import Memory
from spawn.adapters.duckdb.journal.group_commit import Writer
from spawn.adapters.duckdb.journal.high_water_mark import Mark
from spawn.adapters.duckdb.journal.prepared_change import BULK_WRITES, Prepared
from spawn.adapters.duckdb.journal_rows import EPOCH, Held, Place, key_of
from spawn.adapters.duckdb.migration import schema_changes
from spawn.adapters.duckdb.migration.migrator import Evolution
from spawn.adapters.duckdb.receipts import Receipts
from spawn.adapters.duckdb.schema_table import logged_migrations
from spawn.adapters.duckdb.state import quality_sql, queries
from spawn.adapters.duckdb.state.bulk_projection import projectable
from spawn.adapters.duckdb.state.pages import PageCache
from spawn.adapters.embedded import journal, quality_counts, query_evaluation
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.embedded.schema_history import SchemaBook, renamed, understood
from spawn.domain import serialization
from spawn.domain.change import Answer, Change, Committed, Encoded, Entry, FeedPage, Head, Stored
from spawn.domain.errors import InvalidInput, NotFound, SpawnError, StorageDamaged
from spawn.domain.quality.rules import Measure, Measured
from spawn.domain.query import Operator, Page, Query
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.domain.schemas.model import Schema
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.runtime import Clock
from spawn.ports.schemas import Failure, Migration, SchemaRecord
from spawn.ports.storage import StoreStatus, Table

T = TypeVar("T")
_tracer = trace.get_tracer("spawn.adapters.duckdb")
_LOG_LIMIT_BYTES = 1024**3
_RECENT_LOOKED_AT = 2_000
_FLOOR_HOLDS = timedelta(minutes=1)


async def open_duckdb(path: Path, *, clock: Clock, options: StoreOptions) -> "DuckDbStore":
    """Open the file, or make it; see `registry.open_store`."""
    return await asyncio.to_thread(DuckDbStore, path, clock, options)


class DuckDbStore:
    """Commands, reads, schemas and control over one file. Made by `open_duckdb`."""

    def __init__(self, path: Path, clock: Clock, options: StoreOptions) -> None:
        self._clock = clock
        self._options = options
        if path.is_dir():
            raise InvalidInput.at("", "url_malformed", f"{path.name} is a directory, not a file.")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as undone:
            mark = Mark(path)
            undone.callback(mark.close)
            mark.demand(path)
            self._engine = Engine(path, options.memory_limit, _LOG_LIMIT_BYTES)
            undone.callback(self._engine.close)
            self._ledger = self._open_ledger(mark)
            undone.pop_all()
        self._readers = Readers(self._engine, options.readers, options.query_timeout_s)
        self._surveyors = Readers(self._engine, 1, options.survey_timeout_s)
        self._writer = Writer(
            self._ledger, queue_limit=options.queue_limit, group_cap=options.group_cap
        )
        self._evolution = Evolution(self._ledger, self._writer, self._surveyors, clock)
        self._flights: dict[tuple[Query, int], asyncio.Task[Page[Stored[Any]]]] = {}
        self._floor = (EPOCH, 0)
        self._closed: asyncio.Task[None] | None = None
        self._damage: SpawnError | None = None

    def _open_ledger(self, mark: Mark) -> Ledger:
        options = self._options
        memory = Memory(
            Heads(options.cached_heads),
            Recent[Held](options.cached_entities),
            Recent[Held](options.cached_entities),
            PageCache(options.cached_pages),
            Receipts(options.cached_receipts),
            RecentRows(options.recent_bytes),
        )
        try:
            return Ledger(
                self._engine,
                mark,
                self._clock,
                memory,
                reserve_bytes=options.reserve_bytes,
                tidy_bytes=options.checkpoint_bytes,
            )
        except duckdb.Error as failure:
            raise translate(failure, self._engine.path.name) from failure

    @property
    def _book(self) -> SchemaBook:
        return self._ledger.shelf.book

    def _newest(self) -> SchemaBook:
        return self._ledger.shelf.book

    # -- commands ---------------------------------------------------------------------------

    async def commit(self, change: Change) -> Committed:
        """Write the change; see `CommandStore.commit`."""
        journal.check_change(change)
        if len(change.writes) > BULK_WRITES:
            prepared = await asyncio.to_thread(self._prepare, change)
        else:
            prepared = self._prepare(change)
        # Not made the current span: nothing is opened below it, and this costs a tenth.
        with _tracer.start_span("storage.commit"):
            return await self._writer.commit(prepared)

    def _prepare(self, change: Change) -> Prepared:
        schema = self._book.written_under(change.schema_version)
        change = journal.spelled_out(change, schema, projectable)
        encoded = [
            w.state.document
            if isinstance(w.state, Encoded)
            else serialization.encode(w.kind, w.state, schema)
            for w in change.writes
        ]
        return Prepared(change, encoded)

    async def receipt(self, scope: str, key: str, fingerprint: str) -> Answer | None:
        """The recorded answer; see `CommandStore.receipt`."""
        now = self._clock.now()
        receipts = self._ledger.receipts
        kept = receipts.by_heart(scope, key, fingerprint, now)
        if kept is None and receipts.may_be_elsewhere(now):
            kept = await self._read(lambda c: receipts.find(c, scope, key, fingerprint, now))
        if kept is None:
            return None
        position = kept.position
        return await self._read(lambda c: self._ledger.answer(c, position))

    # -- single aggregates ------------------------------------------------------------------

    async def get(
        self, kind: str, key: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> Stored[Any]:
        """The aggregate now, at a version or at an instant; see `ReadStore.get`."""
        if version is None and as_of is None:
            held = self._held(key_of(kind, key)) or await self._read_one(kind, key)
            return held.stored
        place = await self._place(kind, key)
        return await self._read(
            lambda c: queries.one_before(c, kind, key, place, self._newest, version, as_of)
        )

    def _held(self, key: str) -> Held | None:
        """The aggregate by heart: recently used, or not projected yet."""
        held = self._recent(key)
        if held is None:
            pending = self._ledger.projection.get(key)
            held = pending.held() if pending else None
        return held

    def _recent(self, key: str) -> Held | None:
        """The aggregate, if it was used recently and has the shape of today."""
        return self._of_today(self._ledger.entities.get(key))

    def _shown(self, position: int) -> Held | None:
        """The aggregate written there, if a page showed it recently and it has today's shape."""
        return self._of_today(self._ledger.shown.get(str(position)))

    def _of_today(self, held: Held | None) -> Held | None:
        if held is None or held.stored.schema_version == self._book.ruling.version:
            return held
        return None if held.stored.kind == "project" else held

    async def _read_one(self, kind: str, key: str) -> Held:
        full, turns = key_of(kind, key), self._ledger.entities.turns
        place = await self._place(kind, key)
        found = await self._read(
            lambda c: queries.held_at(c, {place.position: place}, self._newest)
        )
        held = next(iter(found.values()), None)
        if held is None:
            raise NotFound(f"There is no {kind} {key}.")
        self._ledger.entities.offer(full, held, turns)
        return held

    async def _place(self, kind: str, key: str) -> Place:
        """Where the aggregate stands.

        Raises:
            NotFound: nowhere.
        """
        full, turns = key_of(kind, key), self._ledger.heads.turns
        place, sure = self._ledger.known(full)
        if place is None and not sure:
            found = await self._read(lambda c: queries.places_on_disk(c, [full]))
            place = found.get(full)
            if place is not None:
                self._ledger.heads.offer(full, place, turns)
        if place is None:
            raise NotFound(f"There is no {kind} {key}.")
        return place

    async def _read(self, query: Callable[[Cursor], T]) -> T:
        try:
            with _tracer.start_span("storage.read"):
                return await self._readers.run(query)
        except StorageDamaged as damage:
            self._damage = damage
            raise

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, Stored[Any]]:
        """Those that exist; see `ReadStore.get_many`."""
        query_evaluation.check_ids(ids)
        return {name: held.stored for name, held in (await self._many(kind, ids)).items()}

    async def _many(self, kind: str, ids: Sequence[str]) -> dict[str, Held]:
        by_heart = {name: self._held(key_of(kind, name)) for name in ids}
        missing: dict[str, Place | None] = {}
        for name, held in by_heart.items():
            full = key_of(kind, name)
            place, sure = self._ledger.known(full)
            if held is None and not (place is None and sure):
                missing[full] = place
        found: dict[str, Held] = {}
        if missing:
            found = await self._read(lambda c: queries.many(c, missing, self._newest))
        chosen = {name: held or found.get(key_of(kind, name)) for name, held in by_heart.items()}
        return {name: held for name, held in chosen.items() if held is not None}

    async def head(self, kind: str, key: str) -> Head:
        """Version and epoch; see `ReadStore.head`."""
        place = self._ledger.heads.get(key_of(kind, key))
        if place is None:
            place = await self._place(kind, key)
        return Head(place.version, self._ledger.epoch)

    async def history(self, kind: str, key: str, *, after_version: int, limit: int) -> list[Entry]:
        """Entries of one aggregate; see `ReadStore.history`."""
        query_evaluation.check_limit(limit)
        place, epoch = await self._place(kind, key), self._ledger.epoch
        return await self._read(
            lambda c: queries.history(c, kind, key, place, after_version, limit, epoch)
        )

    # -- pages ------------------------------------------------------------------------------

    async def page(self, query: Query) -> Page[Stored[Any]]:
        """One page; see `ReadStore.page`. An unchanged page is the same object again."""
        page = self._ledger.pages.get(query)
        if page is not None:
            return page
        query = understood(query, self._book)
        named = next((f for f in query.filters if f.field == "project_id"), None)
        if named is not None and named.operator in (Operator.EQ, Operator.IN):
            return await self._page_of_named(query, [str(value) for value in named.values])
        return await self._shared_page(query)

    async def _page_of_named(self, query: Query, ids: list[str]) -> Page[Stored[Any]]:
        held = await self._many(query.kind, list(dict.fromkeys(ids)))
        book = self._book
        items = sorted(held.values(), key=lambda h: h.place.created)
        levelled = [(book.levelled(h.stored), h.place.created) for h in items]
        return query_evaluation.page_of(levelled, understood(query, book))

    async def _shared_page(self, query: Query) -> Page[Stored[Any]]:
        """Read the page once for all who want it at the same position."""
        shows = self._ledger.projects_position if query.kind == "project" else self._ledger.position
        flight = self._flights.get((query, shows))
        if flight is None:
            flight = asyncio.create_task(self._read_page(query, shows))
            self._flights[query, shows] = flight
            flight.add_done_callback(lambda _: self._flights.pop((query, shows), None))
        return await asyncio.shield(flight)

    async def _read_page(self, query: Query, shows: int) -> Page[Stored[Any]]:
        if self._ledger.lag_rows():
            await self._writer.run(self._ledger.project_all)
        found, more = await self._read(lambda c: self._looked_up(c, query))
        next_keys = None
        if more:
            last = found[-1]
            # The schema may have moved on under the page: an item has the names of its shape.
            shape = self._book.written_under(last.stored.schema_version)
            sort = renamed(query, shape).sort if query.sort else ()
            next_keys = query_evaluation.keys_of(last.stored, last.place.created, sort)
        page = Page(tuple(held.stored for held in found), next_keys)
        if query.kind == "project":
            self._ledger.pages.offer(query, page, shows)
        return page

    def _looked_up(self, cursor: Cursor, query: Query) -> tuple[list[Held], bool]:
        """The items of a page, known by heart from now on; on a reader's thread."""
        entities, shown = self._ledger.entities, self._ledger.shown
        turns, turns_shown = entities.turns, shown.turns
        found, more = queries.page(cursor, query, self._newest, self._shown)
        for held in found:
            stored, position = held.stored, str(held.place.position)
            if shown.get(position) is not held:
                entities.offer(key_of(stored.kind, stored.id), held, turns)
                shown.offer(position, held, turns_shown)
        return found, more

    # -- the feed ---------------------------------------------------------------------------

    async def feed(
        self,
        *,
        after: str | None,
        limit: int,
        types: frozenset[str] | None = None,
        subject: tuple[str, str] | None = None,
        floor: datetime | None = None,
    ) -> FeedPage:
        """Entries with events in journal order; see `ReadStore.feed`."""
        query_evaluation.check_limit(limit)
        hidden = 0 if floor is None else await self._last_before(floor)
        epoch, last = self._ledger.epoch, self._ledger.position
        at = journal.read_cursor(after, epoch, last, hidden)
        if at == last:
            return FeedPage((), journal.cursor(epoch, at))
        recent = self._ledger.recent.after(at, min(last - at, _RECENT_LOOKED_AT))
        if recent:
            return queries.recent_feed(recent, limit, types, subject, epoch)
        return await self._read(lambda c: queries.feed(c, at, last, limit, types, subject, epoch))

    async def _last_before(self, floor: datetime) -> int:
        """The last row that was recorded before an instant, as it was within a minute."""
        known, number = self._floor
        if not known <= floor < known + _FLOOR_HOLDS:
            number = await self._read(lambda c: queries.last_before(c, floor))
            self._floor = (floor, number)
        return number

    async def position(self) -> str:
        """The newest position; see `ReadStore.position`."""
        return self._ledger.cursor()

    async def rows_after(self, position: str | None) -> int:
        """How many rows follow; see `ReadStore.rows_after`."""
        end = self._ledger.position
        return end - journal.read_cursor(position, self._ledger.epoch, end)

    async def await_change(self, after: str, timeout_s: float) -> str:
        """The newest position once it is another; see `ReadStore.await_change`."""
        await self._writer.await_change(after, timeout_s)
        return self._ledger.cursor()

    async def tables(self) -> list[Table]:
        """The tables of the file; see `ReadStore.tables`."""
        return await self._read(queries.tables)

    async def measure(self, measures: Sequence[Measure]) -> Measured:
        """Tallies over one snapshot; see `QualityStore.measure`."""
        quality_counts.check_measures(measures, compile_schema(self._book.ruling).fields)
        position = self._ledger.cursor()
        if self._ledger.lag_rows():
            await self._writer.run(self._ledger.project_all)
        projects, changed_at, tallies = await self._surveyors.run(
            lambda c: quality_sql.measure(c, measures)
        )
        return Measured(
            position=position, projects=projects, changed_at=changed_at, tallies=tallies
        )

    # -- bookmarks --------------------------------------------------------------------------

    async def load_bookmarks(self) -> dict[str, str]:
        """Every position by name; see `Bookmarks.load_bookmarks`."""
        return await self._read(bookmarks.load)

    async def save_bookmarks(self, positions: Mapping[str, str]) -> None:
        """Remember them; see `Bookmarks.save_bookmarks`."""
        kept = dict(positions)
        await self._writer.run(lambda: self._ledger.keep_bookmarks(kept))

    # -- schemas ----------------------------------------------------------------------------

    async def active(self) -> SchemaRecord | None:
        """The active schema; see `SchemaStore.active`."""
        return self._book.active

    async def records(self) -> list[SchemaRecord]:
        """Every recorded version, oldest first."""
        return list(self._book.records)

    async def lineage(self) -> tuple[Schema, ...]:
        """The versions whose data are here; see `SchemaStore.lineage`."""
        return self._book.lineage

    async def adopt(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Make it active; see `SchemaStore.adopt`."""
        await self._writer.run(lambda: schema_changes.adopt(self._ledger, record, actor))

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Remember a version that does not rule; see `SchemaStore.record`."""
        await self._writer.run(lambda: schema_changes.remember(self._ledger, record, actor))

    def describe(self, plan: MigrationPlan) -> tuple[str, ...]:
        """The statements of a plan; see `SchemaStore.describe`."""
        return self._evolution.describe(plan)

    async def examine(self, proofs: Sequence[Proof]) -> tuple[Failure, ...]:
        """The proofs that do not hold; see `SchemaStore.examine`."""
        return await self._evolution.examine(proofs)

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, *, actor: str, reason: str = ""
    ) -> Migration:
        """Put the version in force over what is here; see `SchemaStore.migrate`."""
        return await self._evolution.migrate(record, plan, actor, reason)

    async def migrations(self) -> list[Migration]:
        """The log of attempts, newest first."""
        return await self._read(logged_migrations)

    # -- control ----------------------------------------------------------------------------

    def status(self) -> StoreStatus:
        """A snapshot; see `StoreControl.status`."""
        ledger, path = self._ledger, self._engine.path
        free = self._engine.free_bytes()
        trouble = ledger.trouble or self._damage
        full = free < self._options.reserve_bytes
        detail = "the disk's reserve is used up" if full else "ready"
        if self._writer.closing():
            detail = "closed"
        return StoreStatus(
            engine="duckdb",
            epoch=ledger.epoch,
            position=ledger.cursor(),
            writable=ledger.trouble is None and not full and not self._writer.closing(),
            detail=trouble.detail if trouble else detail,
            queued=self._writer.queued(),
            queue_limit=self._options.queue_limit,
            lag_rows=ledger.lag_rows(),
            lag_s=ledger.lag_s(),
            exclusive=True,
            file_bytes=path.stat().st_size,
            wal_bytes=self._engine.log_bytes(),
            free_bytes=free,
            reserve_bytes=self._options.reserve_bytes,
        )

    async def probe(self) -> float:
        """Once through the writer to the disk; see `StoreControl.probe`."""
        began = perf_counter()
        await self._writer.run(self._ledger.probe)
        return perf_counter() - began

    async def close(self) -> None:
        """Finish what is queued, project, fold the log, close; idempotent."""
        if self._closed is None:
            self._closed = asyncio.create_task(asyncio.to_thread(self._close))
        await asyncio.shield(self._closed)

    def _close(self) -> None:
        self._writer.close()
        self._readers.close()
        self._surveyors.close()
        self._ledger.close()
        self._engine.close()
