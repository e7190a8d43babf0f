"""A store in memory: a supported product for trials, and the fake that tests use.

It keeps every promise of the storage ports but durability, which lasts as long as the process.
Each operation runs in one step of the event loop, so it is atomic without a lock. Every start is
an epoch of its own: tags and cursors of an earlier process are never taken for this one's.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from time import perf_counter
from typing import Any

import msgspec

from spawn.adapters.embedded import journal, quality_counts, query_evaluation
from spawn.adapters.embedded.migration_checks import Breaches, columns_of, in_words, most_given
from spawn.adapters.embedded.schema_history import KIND, SchemaBook, standing, told, understood
from spawn.domain import serialization
from spawn.domain.change import (
    Answer,
    Change,
    Committed,
    Entry,
    FeedPage,
    Guard,
    Head,
    Stored,
    Write,
)
from spawn.domain.errors import (
    Conflict,
    Duplicate,
    IdempotencyMismatch,
    NotFound,
    Stale,
    Unavailable,
)
from spawn.domain.projects.project import Project
from spawn.domain.quality.rules import Measure, Measured
from spawn.domain.query import Page, Query
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.domain.schemas.evolution.version_conversion import broken_by, upgrade
from spawn.domain.schemas.model import Schema
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.runtime import Clock
from spawn.ports.schemas import (
    MIGRATIONS_KEPT,
    Disproved,
    Failure,
    Migration,
    MigrationOutcome,
    SchemaRecord,
)
from spawn.ports.storage import StoreStatus, Table, TableColumn

Key = tuple[str, str]


class _Aggregate(msgspec.Struct):
    """Every version of one aggregate, oldest first, and the row that created it."""

    created: int
    versions: list[Stored[Any]]
    entries: list[Entry]


class _KeptReceipt(msgspec.Struct, frozen=True):
    fingerprint: str
    answer: Answer
    recorded_at: datetime


class MemoryStore:
    """Commands, reads, schemas and control over dictionaries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch = int(clock.now().timestamp() * 1000)
        self._aggregates: dict[Key, _Aggregate] = {}
        self._entries: list[Entry] = []
        self._receipts: dict[Key, _KeptReceipt] = {}
        self._schemas = SchemaBook()
        self._migrations: deque[Migration] = deque(maxlen=MIGRATIONS_KEPT)
        self._last: datetime | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._bookmarks: dict[str, str] = {}
        self._closed = False

    # -- commands ---------------------------------------------------------------------------

    async def commit(self, change: Change) -> Committed:
        """Write the change; see `CommandStore.commit`."""
        self._open()
        journal.check_change(change)
        replayed = self._recorded(change)
        if replayed is not None:
            return replayed
        self._check_versions(change)
        schema = self._schemas.written_under(change.schema_version)
        change = journal.spelled_out(change, schema)
        documents_ = [serialization.encode(w.kind, w.state, schema) for w in change.writes]
        recorded_at = journal.next_instant(self._last, self._clock.now())
        if change.receipt is not None:
            answer = change.receipt.answer(recorded_at)
            kept = _KeptReceipt(change.receipt.fingerprint, answer, recorded_at)
            self._keep(change.receipt.scope, change.receipt.key, kept)
        self._last = recorded_at
        events = journal.events_by_key(change)
        for write, document in zip(change.writes, documents_, strict=True):
            event = events.get((write.kind, write.id))
            entry = Entry(
                position=journal.cursor(self._epoch, len(self._entries) + 1),
                kind=write.kind,
                id=write.id,
                version=write.expected_version + 1,
                type=event.type if event else "",
                actor=change.actor,
                recorded_at=recorded_at,
                schema_version=change.schema_version,
                changed=event.changed if event else (),
                document=document,
                reason=event.reason if event else None,
                traceparent=change.traceparent,
            )
            self._put(write.state, entry, schema)
        self._wake()
        return Committed(recorded_at, self._position())

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _recorded(self, change: Change) -> Committed | None:
        receipt = change.receipt
        if receipt is None:
            return None
        kept = self._receipt(receipt.scope, receipt.key, receipt.fingerprint)
        if kept is None:
            return None
        return Committed(kept.recorded_at, self._position(), replayed=kept.answer)

    def _receipt(self, scope: str, key: str, fingerprint: str) -> _KeptReceipt | None:
        kept = self._receipts.get((scope, key))
        if kept is None or self._clock.now() - kept.recorded_at >= journal.RECEIPT_LIFE:
            return None
        if kept.fingerprint != fingerprint:
            raise IdempotencyMismatch("The idempotency key was used for another request.")
        return kept

    def _keep(self, scope: str, key: str, kept: _KeptReceipt) -> None:
        self._receipts.pop((scope, key), None)
        self._receipts[scope, key] = kept
        oldest = next(iter(self._receipts))
        if kept.recorded_at - self._receipts[oldest].recorded_at >= journal.RECEIPT_LIFE:
            del self._receipts[oldest]

    def _check_versions(self, change: Change) -> None:
        items: tuple[Write | Guard, ...] = (*change.writes, *change.guards)
        for item in items:
            current = self._version(item.kind, item.id)
            if current == item.expected_version:
                continue
            if isinstance(item, Write) and item.expected_version == 0:
                raise Duplicate(f"The {item.kind} {item.id} exists already.")
            raise Stale(
                f"The {item.kind} {item.id} is at version {current}, not {item.expected_version}.",
                current=current,
            )

    def _version(self, kind: str, key: str) -> int:
        aggregate = self._aggregates.get((kind, key))
        return len(aggregate.versions) if aggregate else 0

    def _put(self, state: msgspec.Struct, entry: Entry, schema: Schema) -> None:
        self._entries.append(entry)
        aggregate = self._aggregates.setdefault(
            (entry.kind, entry.id), _Aggregate(len(self._entries), [], [])
        )
        first = aggregate.versions[0] if aggregate.versions else None
        stored = Stored(
            kind=entry.kind,
            id=entry.id,
            version=entry.version,
            state=self._schemas.current(state, schema),
            created_at=first.created_at if first else entry.recorded_at,
            updated_at=entry.recorded_at,
            schema_version=self._schemas.shape(entry.kind, entry.schema_version),
        )
        aggregate.versions.append(stored)
        aggregate.entries.append(entry)

    async def receipt(self, scope: str, key: str, fingerprint: str) -> Answer | None:
        """The recorded answer; see `CommandStore.receipt`."""
        kept = self._receipt(scope, key, fingerprint)
        return kept.answer if kept else None

    # -- reads ------------------------------------------------------------------------------

    def _found(self, kind: str, key: str) -> _Aggregate:
        aggregate = self._aggregates.get((kind, key))
        if aggregate is None:
            raise NotFound(f"There is no {kind} {key}.")
        return aggregate

    async def get(
        self, kind: str, key: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> Stored[Any]:
        """The aggregate now, at a version or at an instant; see `ReadStore.get`."""
        wanted: Iterable[Stored[Any]] = reversed(self._found(kind, key).versions)
        if version is not None:
            wanted = (stored for stored in wanted if stored.version == version)
        if as_of is not None:
            wanted = (stored for stored in wanted if stored.updated_at <= as_of)
        stored = next(iter(wanted), None)
        if stored is None:
            raise NotFound(f"The {kind} {key} has no such version or was not there yet.")
        return stored

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, Stored[Any]]:
        """Those that exist; see `ReadStore.get_many`."""
        query_evaluation.check_ids(ids)
        found = ((key, self._aggregates.get((kind, key))) for key in ids)
        return {key: aggregate.versions[-1] for key, aggregate in found if aggregate}

    async def head(self, kind: str, key: str) -> Head:
        """Version and epoch; see `ReadStore.head`."""
        return Head(len(self._found(kind, key).versions), self._epoch)

    async def page(self, query: Query) -> Page[Stored[Any]]:
        """One page; see `ReadStore.page`."""
        query = understood(query, self._schemas)
        held = [
            (aggregate.versions[-1], aggregate.created)
            for (kind, _), aggregate in self._aggregates.items()
            if kind == query.kind
        ]
        return query_evaluation.page_of(held, query)

    async def history(self, kind: str, key: str, *, after_version: int, limit: int) -> list[Entry]:
        """Entries of one aggregate; see `ReadStore.history`."""
        query_evaluation.check_limit(limit)
        return self._found(kind, key).entries[max(after_version, 0) :][:limit]

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
        hidden = bisect_left(self._entries, floor, key=_recorded) if floor else 0
        at = journal.read_cursor(after, self._epoch, len(self._entries), hidden)
        shown: list[Entry] = []
        while at < len(self._entries) and len(shown) < limit:
            entry = self._entries[at]
            at += 1
            if journal.entry_shown(entry, types, subject):
                shown.append(entry)
        return FeedPage(tuple(shown), journal.cursor(self._epoch, at))

    def _position(self) -> str:
        return journal.cursor(self._epoch, len(self._entries))

    async def position(self) -> str:
        """The newest position; see `ReadStore.position`."""
        return self._position()

    async def rows_after(self, position: str | None) -> int:
        """How many rows follow; see `ReadStore.rows_after`."""
        end = len(self._entries)
        return end - journal.read_cursor(position, self._epoch, end)

    async def await_change(self, after: str, timeout_s: float) -> str:
        """The newest position once it is another; see `ReadStore.await_change`."""
        self._open()
        if self._position() == after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await waiter
            finally:
                self._waiting.discard(waiter)
            self._open()
        return self._position()

    async def tables(self) -> list[Table]:
        """The collections behind the store, by kind, as if they were tables."""
        counts: dict[str, int] = {"project": 0}
        for kind, _ in self._aggregates:
            counts[kind] = counts.get(kind, 0) + 1
        columns = {kind: self._columns(kind) for kind in counts}
        found = [Table(kind, columns[kind], rows) for kind, rows in sorted(counts.items())]
        entry = tuple(TableColumn(name, "object", nullable=False) for name in _ENTRY_FIELDS)
        return [Table("journal", entry, len(self._entries)), *found]

    async def measure(self, measures: Sequence[Measure]) -> Measured:
        """Tallies over the projects of this moment; see `QualityStore.measure`."""
        quality_counts.check_measures(measures, compile_schema(self._schemas.ruling).fields)
        position = self._position()
        newest = [a.versions[-1] for (kind, _), a in self._aggregates.items() if kind == "project"]
        return Measured(
            position=position,
            projects=len(newest),
            changed_at=max((stored.updated_at for stored in newest), default=None),
            # What is counted never changes, so requests need not wait for it.
            tallies=await asyncio.to_thread(quality_counts.tallies, measures, newest),
        )

    def _columns(self, kind: str) -> tuple[TableColumn, ...]:
        if kind == "project":
            fields = compile_schema(self._schemas.ruling).fields.values()
            return tuple(TableColumn(c.name, str(c.type), not c.required) for c in fields)
        names = serialization.KINDS[kind].__struct_fields__
        return tuple(TableColumn(name, "object", nullable=True) for name in names)

    # -- bookmarks --------------------------------------------------------------------------

    async def load_bookmarks(self) -> dict[str, str]:
        """Every position by name; see `Bookmarks.load_bookmarks`."""
        return dict(self._bookmarks)

    async def save_bookmarks(self, positions: Mapping[str, str]) -> None:
        """Remember them; see `Bookmarks.save_bookmarks`."""
        self._open()
        self._bookmarks.update(positions)

    # -- schemas ----------------------------------------------------------------------------

    async def active(self) -> SchemaRecord | None:
        """The active schema; see `SchemaStore.active`."""
        return self._schemas.active

    async def records(self) -> list[SchemaRecord]:
        """Every recorded version, oldest first."""
        return list(self._schemas.records)

    async def lineage(self) -> tuple[Schema, ...]:
        """The versions whose data are here; see `SchemaStore.lineage`."""
        return self._schemas.lineage

    async def adopt(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Make it active; see `SchemaStore.adopt`."""
        self._open()
        if any(kind == "project" for kind, _ in self._aggregates):
            raise Conflict("The store holds projects; its schema changes by migration only.")
        await self._turn_to(self._schemas.adopting(record), record, actor)

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Remember a version that does not rule; see `SchemaStore.record`."""
        self._open()
        await self._turn_to(self._schemas.recording(record), record, actor)

    async def _turn_to(
        self, book: SchemaBook, record: SchemaRecord, actor: str, changed: tuple[str, ...] = ()
    ) -> None:
        """Go by another book from now on, and tell of the record that made the difference."""
        shown = told(self._schemas, book, record)
        self._schemas = book
        if shown is not None:
            version = self._version(KIND, record.schema.id)
            await self.commit(standing(shown, book, version=version, actor=actor, changed=changed))

    def describe(self, plan: MigrationPlan) -> tuple[str, ...]:
        """The steps in words; see `SchemaStore.describe`."""
        return tuple(in_words(step) for step in plan.steps)

    async def examine(self, proofs: Sequence[Proof]) -> tuple[Failure, ...]:
        """The proofs that do not hold; see `SchemaStore.examine`."""
        breaches = Breaches(proofs)
        for stored in self._projects():
            for number, proof in enumerate(proofs):
                broken = broken_by(stored.state, proof)
                if broken is not None:
                    breaches.add(number, 1, [stored.id], broken.detail)
        return breaches.failures()

    def _projects(self) -> list[Stored[Project]]:
        """The newest version of every project."""
        held = self._aggregates.items()
        return [aggregate.versions[-1] for (kind, _), aggregate in held if kind == "project"]

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, *, actor: str, reason: str = ""
    ) -> Migration:
        """Put the version in force over what is here; see `SchemaStore.migrate`."""
        self._open()
        book, began = self._schemas.migrating(record, plan), perf_counter()
        failures = await self.examine(plan.proofs)
        before = [stored.state for stored in self._projects()]
        migration = Migration(
            schema_id=plan.schema_id,
            old_version=plan.old_version,
            new_version=plan.new_version,
            started_at=self._clock.now(),
            duration_s=perf_counter() - began,
            steps=self.describe(plan),
            rows=0 if failures else most_given(before, plan),
            outcome=MigrationOutcome.REFUSED if failures else MigrationOutcome.ADOPTED,
            actor=actor,
            reason=reason,
            detail=str(Disproved(failures)) if failures else "",
        )
        self._migrations.appendleft(migration)
        if failures:
            raise Disproved(failures)
        for (kind, _), aggregate in self._aggregates.items():
            if kind == "project":
                aggregate.versions = [_upgraded(s, plan) for s in aggregate.versions]
        await self._turn_to(book, record, actor, columns_of(plan))
        return migration

    async def migrations(self) -> list[Migration]:
        """The log of attempts, newest first."""
        return list(self._migrations)

    # -- control ----------------------------------------------------------------------------

    def _open(self) -> None:
        if self._closed:
            raise Unavailable("The store is closed.")

    def status(self) -> StoreStatus:
        """A snapshot; see `StoreControl.status`."""
        return StoreStatus(
            engine="memory",
            epoch=self._epoch,
            position=self._position(),
            writable=not self._closed,
            detail="closed" if self._closed else "in memory, lost when the process ends",
            queued=0,
            queue_limit=0,
            lag_rows=0,
            lag_s=0.0,
            exclusive=True,
        )

    async def probe(self) -> float:
        """Nothing can be slow or full here; the time it took to say so."""
        began = perf_counter()
        self._open()
        return perf_counter() - began

    async def close(self) -> None:
        """Refuse further commands; reads still answer."""
        self._closed = True
        self._wake()


def _upgraded(stored: Stored[Project], plan: MigrationPlan) -> Stored[Project]:
    state = upgrade(stored.state, (plan,))
    return msgspec.structs.replace(stored, state=state, schema_version=plan.new_version)


_ENTRY_FIELDS = Entry.__struct_fields__


def _recorded(entry: Entry) -> datetime:
    return entry.recorded_at
