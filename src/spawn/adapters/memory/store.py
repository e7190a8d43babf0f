"""Store in memory: a supported product for trials, and the fake that tests use.

It keeps every promise of the storage ports but durability, which lasts as long as the process. Each
operation runs in one step of the event loop, so it is atomic without a lock. Every start is an
epoch of its own: tags and cursors of an earlier process are never taken for this one's.
"""

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from time import perf_counter
from typing import Any
from uuid import uuid4

import msgspec

from spawn.adapters.embedded import journal, quality_counts, query_evaluation
from spawn.adapters.embedded.migration_checks import (
    ViolationCollector,
    changed_columns,
    count_filled,
    describe_step,
)
from spawn.adapters.embedded.schema_histories import SchemaHistories, resolve_query
from spawn.adapters.embedded.schema_history import (
    SchemaHistory,
    holds_data_error,
    is_first_of_core,
    reportable_record,
    status_change,
)
from spawn.domain.aggregates import AGGREGATE_TYPES, encode_write
from spawn.domain.change import (
    Change,
    CommitResult,
    Guard,
    Head,
    IdempotencyKey,
    StoredAggregate,
    StoredResponse,
    Write,
)
from spawn.domain.errors import (
    Duplicate,
    IdempotencyMismatch,
    NotFound,
    StaleVersion,
    Unavailable,
)
from spawn.domain.events.journal_entry import FeedPage, JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.portfolios import flow_columns
from spawn.domain.portfolios.flow_columns import FlowColumns
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.quality.measures import Measure, Measurement
from spawn.domain.query import WHOLE_HISTORY, HistoryBounds, Page, Query
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.domain.schemas.evolution.version_conversion import find_violation, upgrade_state
from spawn.domain.schemas.schema_status import SCHEMA_KIND
from spawn.ports.runtime import Clock
from spawn.ports.schemas import (
    MIN_LOGGED_MIGRATIONS,
    MigrationOutcome,
    MigrationRecord,
    MigrationRejected,
    ProofViolation,
    SchemaRecord,
)
from spawn.ports.storage import DerivedDocument, StoreActivity, StoreStatus, Table, TableColumn

Key = tuple[str, str]


class _AggregateVersions(msgspec.Struct):
    """Every version of one aggregate, oldest first, and the row that created it."""

    created_position: int
    versions: list[StoredAggregate[Any]]
    entries: list[JournalEntry]


class _StoredReceipt(msgspec.Struct, frozen=True):
    fingerprint: str
    response: StoredResponse
    recorded_at: datetime


class MemoryStore:
    """Commands, reads, schemas and control over dictionaries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch = int(clock.now().timestamp() * 1000)
        self._store_id = uuid4().hex
        self._aggregates: dict[Key, _AggregateVersions] = {}
        self._entries: list[JournalEntry] = []
        self._receipts: dict[Key, _StoredReceipt] = {}
        self._histories = SchemaHistories()
        self._migrations: deque[MigrationRecord] = deque(maxlen=MIN_LOGGED_MIGRATIONS)
        self._last_recorded_at: datetime | None = None
        self._final_instant: datetime | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._bookmarks: dict[str, Position | None] = {}
        self._derived_documents: dict[tuple[str, str], DerivedDocument] = {}
        self._is_closed = False
        self._closed_event = asyncio.Event()

    # -- commands ---------------------------------------------------------------------------

    async def commit(self, change: Change) -> CommitResult:
        """Commit the change; see `CommandStore.commit`."""
        self._check_open()
        journal.check_change(change)
        journal.check_clock(self._clock)
        replay = self._replay(change)
        if replay is not None:
            return replay
        self._histories.check_change(change)
        self._check_versions(change)
        schema_of_write = self._histories.schema_of_write
        change = journal.with_decoded_states(change, schema_of_write)
        documents = [encode_write(w, schema_of_write(change, w)) for w in change.writes]
        last_instant = journal.latest(self._last_recorded_at, self._final_instant)
        recorded_at = journal.next_recorded_at(last_instant, self._clock.now())
        if change.receipt is not None:
            receipt = change.receipt
            stored_receipt = _StoredReceipt(receipt.key.fingerprint, receipt.recipe, recorded_at)
            self._store_receipt(receipt.key.scope, receipt.key.key, stored_receipt)
        self._last_recorded_at = recorded_at
        events = journal.events_by_key(change)
        for write, document in zip(change.writes, documents, strict=True):
            event = events.get((write.kind, write.id))
            entry = JournalEntry(
                position=Position(self._epoch, len(self._entries) + 1),
                kind=write.kind,
                id=write.id,
                version=write.expected_version + 1,
                type=event.type if event else "",
                actor=write.actor or change.actor,
                recorded_at=recorded_at,
                schema_version=change.schema_version_of(write),
                changed=event.changed if event else (),
                document=document,
                reason=event.reason if event else None,
                traceparent=change.traceparent,
            )
            self._append(write.state, entry)
        self._notify()
        return CommitResult(recorded_at, self._position())

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _replay(self, change: Change) -> CommitResult | None:
        receipt = change.receipt
        if receipt is None:
            return None
        stored_receipt = self._find_receipt(receipt.key)
        if stored_receipt is None:
            return None
        return CommitResult(
            stored_receipt.recorded_at, self._position(), replayed_response=stored_receipt.response
        )

    def _find_receipt(self, key: IdempotencyKey) -> _StoredReceipt | None:
        stored_receipt = self._receipts.get((key.scope, key.key))
        if (
            stored_receipt is None
            or self._clock.now() - stored_receipt.recorded_at >= journal.RECEIPT_LIFETIME
        ):
            return None
        if stored_receipt.fingerprint != key.fingerprint:
            raise IdempotencyMismatch("The idempotency key was used for another request.")
        return stored_receipt

    def _store_receipt(self, scope: str, key: str, stored_receipt: _StoredReceipt) -> None:
        self._receipts.pop((scope, key), None)
        self._receipts[scope, key] = stored_receipt
        oldest = next(iter(self._receipts))
        if (
            stored_receipt.recorded_at - self._receipts[oldest].recorded_at
            >= journal.RECEIPT_LIFETIME
        ):
            del self._receipts[oldest]

    def _check_versions(self, change: Change) -> None:
        items: tuple[Write | Guard, ...] = (*change.writes, *change.guards)
        for item in items:
            current = self._current_version(item.kind, item.id)
            if current == item.expected_version:
                continue
            if isinstance(item, Write) and item.expected_version == 0:
                raise Duplicate(f"The {item.kind} {item.id} exists already.")
            raise StaleVersion(
                f"The {item.kind} {item.id} is at version {current}, not {item.expected_version}.",
                current=current,
            )

    def _current_version(self, kind: str, key: str) -> int:
        aggregate = self._aggregates.get((kind, key))
        return len(aggregate.versions) if aggregate else 0

    def _append(self, state: msgspec.Struct, entry: JournalEntry) -> None:
        self._entries.append(entry)
        aggregate = self._aggregates.setdefault(
            (entry.kind, entry.id), _AggregateVersions(len(self._entries), [], [])
        )
        first = aggregate.versions[0] if aggregate.versions else None
        stored_version = StoredAggregate(
            kind=entry.kind,
            id=entry.id,
            version=entry.version,
            state=self._histories.upgrade_state(entry.kind, state, entry.schema_version),
            created_at=first.created_at if first else entry.recorded_at,
            updated_at=entry.recorded_at,
            schema_version=self._histories.served_version(entry.kind, entry.schema_version),
        )
        aggregate.versions.append(stored_version)
        aggregate.entries.append(entry)

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        """Return the stored response; see `CommandStore.find_receipt`."""
        stored_receipt = self._find_receipt(key)
        return stored_receipt.response if stored_receipt else None

    # -- reads ------------------------------------------------------------------------------

    def _require(self, kind: str, key: str) -> _AggregateVersions:
        aggregate = self._aggregates.get((kind, key))
        if aggregate is None:
            raise NotFound(f"There is no {kind} {key}.")
        return aggregate

    async def get(
        self, kind: str, key: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> StoredAggregate[Any]:
        """Return the aggregate now, at a version or at an instant; see `ReadStore.get`."""
        versions: Iterable[StoredAggregate[Any]] = reversed(self._require(kind, key).versions)
        if version is not None:
            versions = (
                stored_version for stored_version in versions if stored_version.version == version
            )
        if as_of is not None:
            versions = (
                stored_version for stored_version in versions if stored_version.updated_at <= as_of
            )
        stored_version = next(iter(versions), None)
        if stored_version is None:
            raise NotFound(f"The {kind} {key} has no such version or was not there yet.")
        return stored_version

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, StoredAggregate[Any]]:
        """Return those that exist; see `ReadStore.get_many`."""
        query_evaluation.check_ids(ids)
        aggregates = ((key, self._aggregates.get((kind, key))) for key in ids)
        return {key: aggregate.versions[-1] for key, aggregate in aggregates if aggregate}

    async def head(self, kind: str, key: str) -> Head:
        """Return version and epoch; see `ReadStore.head`."""
        return Head(len(self._require(kind, key).versions), self._epoch)

    async def page(self, query: Query) -> Page[StoredAggregate[Any]]:
        """Return one page; see `ReadStore.page`."""
        query = resolve_query(query, self._histories)
        return query_evaluation.evaluate_page(self._select(query), query)

    async def count(self, query: Query) -> int:
        """Return the number of matching aggregates; see `ReadStore.count`."""
        query = resolve_query(query, self._histories)
        items = self._select(query)
        return sum(query_evaluation.matches(item, query.filters) for item, _ in items)

    def _select(self, query: Query) -> list[tuple[StoredAggregate[Any], int]]:
        """Return the aggregates of a query's kind with the positions of their creation."""
        aggregates = [a for (kind, _), a in self._aggregates.items() if kind == query.kind]
        if query.as_of is None:
            return [(a.versions[-1], a.created_position) for a in aggregates]
        counts = [bisect_right(a.versions, query.as_of, key=_updated_at) for a in aggregates]
        return [
            (aggregate.versions[count - 1], aggregate.created_position)
            for aggregate, count in zip(aggregates, counts, strict=True)
            if count
        ]

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
        entries = self._require(kind, key).entries[max(after_version, 0) :]
        selection = [e for e in entries if query_evaluation.is_within(e, bounds)]
        return (selection[::-1] if bounds.is_descending else selection)[:limit]

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
        hidden_rows = bisect_left(self._entries, floor, key=_recorded_at) if floor else 0
        number = journal.find_row(after, self._epoch, len(self._entries), hidden_rows)
        entries: list[JournalEntry] = []
        while number < len(self._entries) and len(entries) < limit:
            entry = self._entries[number]
            number += 1
            if journal.is_visible(entry, types, subject):
                entries.append(entry)
        return FeedPage(tuple(entries), Position(self._epoch, number))

    def _position(self) -> Position:
        return Position(self._epoch, len(self._entries))

    async def position(self) -> Position:
        """Return the newest position; see `ReadStore.position`."""
        return self._position()

    async def latest_recorded_at(self) -> datetime | None:
        """Return the time of the newest change; see `ReadStore.latest_recorded_at`."""
        return self._last_recorded_at

    async def final_instant(self) -> datetime:
        """Return the instant before now; see `ReadStore.final_instant`."""
        last_instant = journal.latest(self._last_recorded_at, self._final_instant)
        self._final_instant = journal.final_instant(self._clock, last_instant)
        return self._final_instant

    async def count_rows_after(self, position: Position | None) -> int:
        """Return the number of later rows; see `ReadStore.count_rows_after`."""
        end = len(self._entries)
        return end - journal.find_row(position, self._epoch, end)

    async def wait_for_change(self, after: Position, timeout_s: float) -> Position:
        """Return the newest position once it differs; see `ReadStore.wait_for_change`."""
        self._check_open()
        if self._position() == after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await waiter
            finally:
                self._waiters.discard(waiter)
            self._check_open()
        return self._position()

    async def tables(self) -> list[Table]:
        """Return the collections behind the store, by kind, as tables."""
        counts = {t.kind: 0 for t in AGGREGATE_TYPES.values() if t.is_governed}
        for kind, _ in self._aggregates:
            counts[kind] = counts.get(kind, 0) + 1
        columns = {kind: self._columns(kind) for kind in counts}
        state_tables = [
            Table(kind, columns[kind], rows, kind) for kind, rows in sorted(counts.items())
        ]
        entry = tuple(TableColumn(name, "object", nullable=False) for name in _ENTRY_FIELDS)
        return [Table("journal", entry, len(self._entries)), *state_tables]

    async def sum_flows(self, flows: FlowColumns) -> dict[int, int]:
        """Return the sums; see `FlowTotals.sum_flows`."""
        return await asyncio.to_thread(flow_columns.sum_flows, flows)

    async def measure(self, measures: Sequence[Measure], kind: str = PROJECT_KIND) -> Measurement:
        """Measure the states of this moment; see `QualityStore.measure`."""
        quality_counts.check_measures(measures, self._histories.of(kind).active_schema)
        position = self._position()
        newest = self._newest(kind)
        return Measurement(
            position=position,
            states=len(newest),
            changed_at=max((stored_version.updated_at for stored_version in newest), default=None),
            # Counts need no lock: the states are immutable, so requests need not wait.
            tallies=await asyncio.to_thread(quality_counts.count_measures, measures, newest),
        )

    def _columns(self, kind: str) -> tuple[TableColumn, ...]:
        core = AGGREGATE_TYPES[kind].core
        if core is not None:
            columns = self._histories.columns(kind).values()
            return tuple(
                TableColumn(c.name, str(c.type), not c.required or c.name in core.may_be_unknown)
                for c in columns
            )
        names = AGGREGATE_TYPES[kind].state_type.__struct_fields__
        return tuple(TableColumn(name, "object", nullable=True) for name in names)

    # -- bookmarks --------------------------------------------------------------------------

    async def load_bookmarks(self) -> dict[str, Position | None]:
        """Return every position by name; see `Bookmarks.load_bookmarks`."""
        return dict(self._bookmarks)

    async def save_bookmarks(self, positions: Mapping[str, Position | None]) -> None:
        """Save the positions; see `Bookmarks.save_bookmarks`."""
        self._check_open()
        self._bookmarks.update(positions)

    # -- derived documents ------------------------------------------------------------------

    async def load_derived(self, name: str, keys: Sequence[str]) -> dict[str, DerivedDocument]:
        """Return the existing documents; see `DerivedDocuments.load_derived`."""
        query_evaluation.check_ids(keys)
        return {
            key: self._derived_documents[name, key]
            for key in keys
            if (name, key) in self._derived_documents
        }

    async def save_derived(self, documents: Sequence[DerivedDocument]) -> None:
        """Save the documents; see `DerivedDocuments.save_derived`."""
        self._check_open()
        self._derived_documents |= {(one.name, one.key): one for one in documents}

    # -- schemas ----------------------------------------------------------------------------

    async def active(self, kind: str = PROJECT_KIND) -> SchemaRecord | None:
        """Return the active schema of a kind; see `SchemaStore.active`."""
        return self._histories.of(kind).active_record

    async def records(self, kind: str = PROJECT_KIND) -> list[SchemaRecord]:
        """Return every recorded version of a kind's schema, oldest first."""
        return list(self._histories.of(kind).records)

    async def version_history(self, kind: str = PROJECT_KIND) -> tuple[Schema, ...]:
        """Return the versions of the data; see `SchemaStore.version_history`."""
        return self._histories.of(kind).version_history

    async def adopt(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Make the version active; see `SchemaStore.adopt`."""
        self._check_open()
        before = self._histories.of(record.schema.kind)
        history = before.with_adoption(record)
        if self._newest(before.kind) and not is_first_of_core(before, history):
            raise holds_data_error(before.kind)
        await self._switch_schema(history, record, actor)

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Record a version that is not active; see `SchemaStore.record`."""
        self._check_open()
        history = self._histories.of(record.schema.kind).with_record(record)
        await self._switch_schema(history, record, actor)

    async def _switch_schema(
        self,
        schema_history: SchemaHistory,
        record: SchemaRecord,
        actor: str,
        changed: tuple[str, ...] = (),
    ) -> None:
        """Switch to another history, and commit an event if the change is reportable."""
        news = reportable_record(self._histories.of(schema_history.kind), schema_history, record)
        self._histories = self._histories.replace(schema_history)
        if news is not None:
            version = self._current_version(SCHEMA_KIND, record.schema.id)
            await self.commit(
                status_change(
                    news,
                    schema_history,
                    version=version,
                    actor=actor,
                    changed=changed,
                    schema_version=self._histories.of(PROJECT_KIND).active_schema.version,
                )
            )

    def describe_plan(self, plan: MigrationPlan) -> tuple[str, ...]:
        """Describe the steps; see `SchemaStore.describe_plan`."""
        return tuple(describe_step(step) for step in plan.steps)

    async def check_proofs(
        self, proofs: Sequence[Proof], kind: str = PROJECT_KIND
    ) -> tuple[ProofViolation, ...]:
        """Return the violated proofs; see `SchemaStore.check_proofs`."""
        violations = ViolationCollector(proofs)
        for stored_version in self._newest(kind):
            for number, proof in enumerate(proofs):
                violation = find_violation(stored_version.state, proof)
                if violation is not None:
                    violations.add(number, 1, [stored_version.id], violation.detail)
        return violations.failures()

    def _newest(self, kind: str) -> list[StoredAggregate[Any]]:
        """Return the newest version of every aggregate of a kind."""
        items = self._aggregates.items()
        return [aggregate.versions[-1] for (one, _), aggregate in items if one == kind]

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, *, actor: str, reason: str = ""
    ) -> MigrationRecord:
        """Activate the version over the present data; see `SchemaStore.migrate`."""
        self._check_open()
        started_at_s = perf_counter()
        schema_history = self._histories.of(plan.kind).with_migration(record, plan)
        failures = await self.check_proofs(plan.proofs, plan.kind)
        states = [stored_version.state for stored_version in self._newest(plan.kind)]
        migration = MigrationRecord(
            schema_id=plan.schema_id,
            old_version=plan.old_version,
            new_version=plan.new_version,
            started_at=self._clock.now(),
            duration_s=perf_counter() - started_at_s,
            steps=self.describe_plan(plan),
            rows=0 if failures else count_filled(states, plan),
            outcome=MigrationOutcome.REJECTED if failures else MigrationOutcome.ADOPTED,
            actor=actor,
            reason=reason,
            detail=str(MigrationRejected(failures)) if failures else "",
        )
        self._migrations.appendleft(migration)
        if failures:
            raise MigrationRejected(failures)
        for (kind, _), aggregate in self._aggregates.items():
            if kind == plan.kind:
                aggregate.versions = [_upgrade(s, plan) for s in aggregate.versions]
        await self._switch_schema(schema_history, record, actor, changed_columns(plan))
        return migration

    async def migration_log(self) -> list[MigrationRecord]:
        """Return the log of attempts, newest first."""
        return list(self._migrations)

    # -- control ----------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable("The store is closed.")

    def status(self) -> StoreStatus:
        """Return a snapshot; see `StoreControl.status`."""
        return StoreStatus(
            engine="memory",
            store_id=self._store_id,
            epoch=self._epoch,
            position=self._position(),
            is_writable=not self._is_closed,
            detail="closed" if self._is_closed else "in memory, lost when the process ends",
            queued=0,
            queue_limit=0,
            lag_rows=0,
            lag_s=0.0,
            is_exclusive=True,
        )

    async def activity(self) -> StoreActivity:
        """Return nothing: it has neither a writer nor an engine; see `StoreControl.activity`."""
        return StoreActivity()

    def stalled_s(self) -> float:
        """Return 0: nothing waits for a writer; see `StoreControl.stalled_s`."""
        return 0.0

    async def probe(self) -> float:
        """Return the seconds it took to check that the store is open."""
        started_at_s = perf_counter()
        self._check_open()
        return perf_counter() - started_at_s

    async def wait_until_failed(self) -> str:
        """Wait until the store is closed: it cannot fail; see `StoreControl.wait_until_failed`."""
        await self._closed_event.wait()
        raise Unavailable("The store is closed.")

    async def close(self) -> None:
        """Reject further commands; reads continue to work."""
        self._is_closed = True
        self._closed_event.set()
        self._notify()


def _upgrade(stored_version: StoredAggregate[Any], plan: MigrationPlan) -> StoredAggregate[Any]:
    state = upgrade_state(stored_version.state, (plan,))
    return msgspec.structs.replace(stored_version, state=state, schema_version=plan.new_version)


_ENTRY_FIELDS = JournalEntry.__struct_fields__


def _updated_at(stored_version: StoredAggregate[Any]) -> datetime:
    return stored_version.updated_at


def _recorded_at(entry: JournalEntry) -> datetime:
    return entry.recorded_at
