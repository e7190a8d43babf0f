"""The ports as a caller with a row scope has them: nothing shows or changes rows outside it.

A version of a project is visible if its state meets the scope. What is not visible does not exist:
reads leave it out and it is not found. A kind of aggregate that has no rule here is forbidden, so
that a use case of the future is closed until somebody decides about it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from spawn.application.access.held_rows import HeldRowLookup
from spawn.application.access.own_approvals import OwnApprovals
from spawn.application.access.project_versions import ProjectVersions
from spawn.application.access.scoped_events import ScopedEvents
from spawn.application.access.scoped_financing import (
    READABLE_KINDS,
    ScopedFinancing,
)
from spawn.application.access.scoped_rows import (
    ScopedEntries,
    VisibleRows,
    follow_renames,
    forbid_part,
)
from spawn.application.dependencies import Dependencies
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.approvals.approval import APPROVAL_KIND
from spawn.domain.change import (
    Change,
    CommitResult,
    Head,
    IdempotencyKey,
    RecordedResponse,
    StoredAggregate,
    StoredResponse,
    Write,
)
from spawn.domain.errors import Forbidden, NotFound
from spawn.domain.events.journal_entry import FeedPage, JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.finance.simulation.simulation_run import SIMULATION_KIND
from spawn.domain.jobs import JOB_KIND
from spawn.domain.lineage.run import RUN_KIND
from spawn.domain.principal import Principal, RowScope
from spawn.domain.projects.project import (
    PROJECT_KIND,
    RESERVATION_KIND,
    ExternalRefReservation,
    Project,
)
from spawn.domain.quality.measures import Measure, Measurement
from spawn.domain.query import (
    MAX_LIMIT,
    WHOLE_HISTORY,
    Filter,
    HistoryBounds,
    Page,
    Query,
    Sort,
)
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.ports.analytics import ColumnChunk, ColumnSelection, ColumnStore, QualityStore
from spawn.ports.schemas import (
    MigrationRecord,
    ProofViolation,
    SchemaRecord,
    SchemaState,
    SchemaStore,
)
from spawn.ports.storage import Bookmarks, CommandStore, Table

OUTSIDE: Final = (
    "The project would be outside the rows of your credentials: its {fields} must have one of"
    " their values."
)
NOT_HELD: Final = (
    "The project would be outside the rows of your credentials: a portfolio of theirs must hold it."
)
SOME_FACILITIES: Final = (
    "This adds up every facility of the project, and your credentials are limited to those that"
    " their portfolios hold."
)
REFERENCES: Final = (
    "External references are unique in the whole store, of which your credentials see a part: let"
    " a caller without a row scope set them."
)
MAX_SCANS: Final = 20
SCANNED_EVENTS: Final = 500
"""Pages of the feed that one read scans for visible events, and events of each.

Pages as small as the caller's would end before it is full, as soon as hidden events are many.
"""

MAX_SKIPS: Final = 200
MAX_SKIPPED: Final = 500
"""Pages, and events of each, that the look-up of an instant reads."""

_MISSING: Final = "There is no project of this id, or none at that time."
_AFTER_EVERY_ROW: Final = 2**62
_ADOPTED: Final = frozenset({SchemaState.ACTIVE, SchemaState.RETIRED})
_OWN_KINDS: Final = frozenset({JOB_KIND, SIMULATION_KIND})
_WITH_OWNER: Final = _OWN_KINDS | {APPROVAL_KIND}


def limit_to_rows(dependencies: Dependencies, principal: Principal) -> Dependencies:
    """Return the ports with the row scope of a principal; the same ones if it has none."""
    row_scope = principal.row_scope
    if row_scope is None:
        return dependencies
    reads = ScopedReads(dependencies, row_scope, principal.id)
    commands: CommandStore = ScopedCommands(dependencies.commands, reads)
    schemas: SchemaStore = ScopedSchemas(dependencies.schemas)
    bookmarks: Bookmarks = _ForbiddenBookmarks()
    quality: QualityStore = _ForbiddenQuality()
    columns = dependencies.columns
    return msgspec.structs.replace(
        dependencies,
        reads=reads,
        portfolio_reads=dependencies.reads,
        commands=commands,
        schemas=schemas,
        bookmarks=bookmarks,
        quality=quality,
        backups=None,
        columns=None if columns is None else ScopedColumns(columns, reads),
    )


def require_all_rows(principal: Principal) -> None:
    """Check that the principal has no row scope.

    Raises:
        Forbidden: it has one.
    """
    if principal.row_scope is not None:
        forbid_part()


def require_all_facilities(principal: Principal) -> None:
    """Check that the principal sees every facility of a project that it sees.

    Raises:
        Forbidden: its row scope is one of portfolios.
    """
    if principal.row_scope is not None and principal.row_scope.portfolio_ids is not None:
        raise Forbidden(SOME_FACILITIES)


class ScopedReads:
    """Reads of the visible projects with their financing, and of the principal's simulations."""

    def __init__(self, dependencies: Dependencies, row_scope: RowScope, principal_id: str) -> None:
        self._dependencies = dependencies
        self._reads = dependencies.reads
        self._row_scope = row_scope
        self._principal_id = principal_id
        self._find_held = HeldRowLookup(dependencies, row_scope.portfolio_ids).find
        self._entries = ScopedEntries(dependencies, row_scope, self._find_held)
        self.financing = ScopedFinancing(
            dependencies.reads,
            row_scope,
            self._find_held,
            self._check_project,
            self._list_projects,
        )
        self._events = ScopedEvents(
            dependencies, row_scope, self._entries, self.financing, self.find_visible_rows
        )
        self._own_approvals = OwnApprovals(dependencies.reads, row_scope, principal_id, self.get)

    async def find_visible_rows(self) -> VisibleRows:
        """Return the rules by the names of the active schema, and what is held now."""
        rules = follow_renames(self._row_scope, await self._dependencies.validator())
        return VisibleRows(rules, await self._find_held())

    async def get(
        self, kind: str, key: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> StoredAggregate[Any]:
        """Return a visible aggregate; see `ReadStore.get`."""
        if kind == PROJECT_KIND:
            return await self._get_project(key, version, as_of)
        if kind == RESERVATION_KIND:
            return await self._get_own_reservation(key)
        if kind in _OWN_KINDS:
            await self._check_own_simulation(key)
            return await self._reads.get(kind, key, version=version, as_of=as_of)
        if kind == APPROVAL_KIND:
            return await self._own_approvals.get(key, version)
        if kind == RUN_KIND:
            raise NotFound("There is no such run.")  # simulations have none
        return await self.financing.get(kind, key, version, as_of)

    async def _get_project(
        self, key: str, version: int | None, as_of: datetime | None
    ) -> StoredAggregate[Any]:
        try:
            aggregate = await self._reads.get(PROJECT_KIND, key, version=version, as_of=as_of)
        except NotFound:
            aggregate = None
        rows = await self.find_visible_rows()
        if aggregate is None or not rows.has_project(aggregate.state):
            # One text for both, so that neither tells of the other.
            raise NotFound(_MISSING)
        return aggregate

    async def _check_project(self, key: str, as_of: datetime | None) -> None:
        await self._get_project(key, None, as_of)

    async def _list_projects(self, as_of: datetime | None, limit: int) -> list[str]:
        """Return the ids of the first visible projects."""
        ids: list[str] = []
        query: Query | None = Query(limit=min(limit, MAX_LIMIT), as_of=as_of)
        while query is not None and len(ids) < limit:
            page = await self.page(query)
            ids += [aggregate.id for aggregate in page.items]
            query = msgspec.structs.replace(query, after=page.next) if page.next else None
        return ids

    async def _get_own_reservation(self, key: str) -> StoredAggregate[Any]:
        """Return the reservation of a visible project; no other read may tell whether one exists.

        Raises:
            Forbidden: there is none, or another project has it.
        """
        try:
            reservation = await self._reads.get(RESERVATION_KIND, key)
            await self._get_project(reservation.state.project_id or "", None, None)
        except NotFound:
            raise Forbidden(REFERENCES) from None
        return reservation

    async def _check_own_simulation(self, key: str) -> None:
        try:
            run = await self._reads.get(SIMULATION_KIND, key)
        except NotFound:
            run = None
        if run is None or run.state.requested_by != self._principal_id:
            raise NotFound("There is no job or simulation of this id.")

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, StoredAggregate[Any]]:
        """Return the visible aggregates among the ids; see `ReadStore.get_many`."""
        if kind != PROJECT_KIND:
            return await self.financing.get_many(kind, ids)
        projects, rows = await self._reads.get_many(kind, ids), await self.find_visible_rows()
        return {k: one for k, one in projects.items() if rows.has_project(one.state)}

    async def head(self, kind: str, key: str) -> Head:
        """Return version and epoch of a visible aggregate; see `ReadStore.head`."""
        aggregate = await self.get(kind, key)
        # The version that was found visible: the project may have changed since.
        return Head(aggregate.version, (await self._reads.position()).epoch)

    async def page(self, query: Query) -> Page[StoredAggregate[Any]]:
        """Return a page of visible aggregates; see `ReadStore.page`."""
        if query.kind == APPROVAL_KIND:
            return await self._page_approvals(query)
        scoped_query = await self.limit_query(query)
        if scoped_query is None:
            return Page(())
        after = None if query.after is None else (*query.after, _AFTER_EVERY_ROW)
        page = await self.financing.page(msgspec.structs.replace(scoped_query, after=after))
        return Page(page.items, None if page.next is None else page.next[:-1])

    async def _page_approvals(self, query: Query) -> Page[StoredAggregate[Any]]:
        order = (*query.sort, Sort(AGGREGATE_TYPES[APPROVAL_KIND].id_column))
        after = None if query.after is None else (*query.after, _AFTER_EVERY_ROW)
        return await self._own_approvals.page(
            msgspec.structs.replace(query, sort=order, after=after)
        )

    async def limit_query(self, query: Query) -> Query | None:
        """Return the query for the visible aggregates; None if there are none."""
        filters = await self._list_filters(query)
        if filters is None:
            return None
        # The creation order itself counts hidden rows, so pages continue after a time and an id.
        identity = Sort(AGGREGATE_TYPES[query.kind].id_column)
        order = (*query.sort, Sort("created_at"), identity)
        return msgspec.structs.replace(query, filters=filters, sort=order)

    async def count(self, query: Query) -> int:
        """Return the number of visible aggregates; see `ReadStore.count`."""
        filters = await self._list_filters(query)
        if filters is None:
            return 0
        return await self._reads.count(msgspec.structs.replace(query, filters=filters))

    async def _list_filters(self, query: Query) -> tuple[Filter, ...] | None:
        if query.kind != PROJECT_KIND:
            return await self.financing.list_filters(query)
        schema = (await self._dependencies.active_schema()).schema
        filters = (await self.find_visible_rows()).build_filters(schema)
        return None if filters is None else (*filters, *query.filters)

    async def history(
        self,
        kind: str,
        key: str,
        *,
        after_version: int,
        limit: int,
        bounds: HistoryBounds = WHOLE_HISTORY,
    ) -> list[JournalEntry]:
        """Return the visible versions of a visible aggregate; see `ReadStore.history`.

        The financing of a visible project is visible in every version.
        """
        await self.get(kind, key)
        if kind in READABLE_KINDS:
            entries = await self._reads.history(
                kind, key, after_version=after_version, limit=limit, bounds=bounds
            )
            return [await self._events.mask(entry) for entry in entries]
        if kind != PROJECT_KIND:
            forbid_part()
        visible: list[JournalEntry] = []
        while True:
            entries = await self._reads.history(
                kind, key, after_version=after_version, limit=limit, bounds=bounds
            )
            visible += [entry for entry in entries if await self._entries.has(entry)]
            if len(entries) < limit or len(visible) >= limit:
                return visible[:limit]
            if bounds.is_descending:
                last = entries[-1].version
                bounds = msgspec.structs.replace(bounds, before_version=last)
            else:
                after_version = entries[-1].version

    async def feed(
        self,
        *,
        after: Position | None,
        limit: int,
        types: frozenset[str] | None = None,
        subject: tuple[str, str] | None = None,
        floor: datetime | None = None,
    ) -> FeedPage:
        """Return visible events; see `ReadStore.feed`.

        `next` is a place in the journal, which counts hidden rows: no response may show it.
        """
        types = self._events.types if types is None else types & self._events.types
        progress = self._dependencies.feed_progress
        held_rows = await self._find_held()
        place = (self._row_scope, held_rows, types, subject, after, (await self.position()).epoch)
        if floor is None:
            after = progress.get(place) or after
        visible: list[JournalEntry] = []
        versions = ProjectVersions(self._reads)
        for _ in range(MAX_SCANS):
            page = await self._reads.feed(
                after=after, limit=SCANNED_EVENTS, types=types, subject=subject, floor=floor
            )
            events = await self._events.read_page(page.entries, versions)
            for entry in page.entries:
                if await self._events.has(entry, events):
                    visible.append(await self._events.mask(entry))
                    if len(visible) == limit:
                        return FeedPage(tuple(visible), entry.position)
            if page.next == after:
                break
            after, floor = page.next, None
        if not visible:
            # The next request continues here: its cursor names an event before the hidden rows.
            progress.put(place, page.next)
        return FeedPage(tuple(visible), page.next)

    async def find_event(self, kind: str, key: str, version: int) -> Position | None:
        """Return the position of a visible event of a version; None if there is none."""
        if not self._events.can_show(kind):
            return None
        try:
            entries = await self._reads.history(kind, key, after_version=version - 1, limit=1)
        except NotFound:
            return None
        if not entries or entries[0].version != version:
            return None
        event = await self._events.read_page(entries, ProjectVersions(self._reads))
        return entries[0].position if await self._events.has(entries[0], event) else None

    async def find_instant(self, instant: datetime) -> Position:
        """Return a place in the journal, after which is every event since an instant.

        It skips a part of the journal at a time, as a store begins up to a minute before the
        instant; the last place of a skip that did not end is one that repeats some events.
        """
        after: Position | None = None
        floor: datetime | None = instant
        newest = await self.position()
        for _ in range(MAX_SKIPS):
            page = await self._reads.feed(
                after=after, limit=MAX_SKIPPED, types=self._events.types, floor=floor
            )
            start = after
            for entry in page.entries:
                if entry.recorded_at > instant:
                    return after or Position(newest.epoch, entry.position.number - 1)
                after = entry.position
            if page.next == start or page.next >= newest:
                return page.next
            after, floor = page.next, None
        return after or newest

    async def position(self) -> Position:
        """Return the newest position of the whole journal: no response may show its number."""
        return await self._reads.position()

    async def latest_recorded_at(self) -> datetime | None:
        """Return an instant of the present: the newest change may be one of a hidden row."""
        return await self.final_instant()

    async def final_instant(self) -> datetime:
        """Return a final instant of the present; see `ReadStore.final_instant`."""
        return await self._reads.final_instant()

    async def count_rows_after(self, position: Position | None) -> int:
        """Raise: the number counts hidden rows."""
        del position
        forbid_part()

    async def wait_for_change(self, after: Position, timeout_s: float) -> Position:
        """Return the newest position once it differs; see `ReadStore.wait_for_change`."""
        return await self._reads.wait_for_change(after, timeout_s)

    async def tables(self) -> list[Table]:
        """Return the tables with their columns; without the number of their rows."""
        return [msgspec.structs.replace(t, rows=0) for t in await self._reads.tables()]


class ScopedColumns:
    """Columns of the visible projects."""

    def __init__(self, columns: ColumnStore, reads: ScopedReads) -> None:
        self._columns = columns
        self._reads = reads

    async def read_columns(
        self, query: Query, selection: ColumnSelection, through: Position
    ) -> AsyncGenerator[ColumnChunk] | None:
        """Return the columns of visible projects; see `ColumnStore.read_columns`."""
        scoped_query = await self._reads.limit_query(query)
        if scoped_query is None:
            return None
        return await self._columns.read_columns(scoped_query, selection, through)


class ScopedCommands:
    """Commits of changes whose projects are in the scope, before and after."""

    def __init__(self, commands: CommandStore, reads: ScopedReads) -> None:
        self._commands = commands
        self._reads = reads

    async def commit(self, change: Change) -> CommitResult:
        """Commit a change within the scope; see `CommandStore.commit`.

        Raises:
            NotFound: a project is outside before the change.
            Forbidden: a project would be outside after it, or the change writes something else.
        """
        for write in change.writes:
            await self._check(write)
        return await self._commands.commit(change)

    async def _check(self, write: Write) -> None:
        state = write.state
        if write.kind == PROJECT_KIND and isinstance(state, Project):
            if write.expected_version:
                await self._reads.get(PROJECT_KIND, write.id)
            rows = await self._reads.find_visible_rows()
            if not rows.has_project(state):
                raise Forbidden(_explain_outside(rows))
        elif write.kind == RESERVATION_KIND and isinstance(state, ExternalRefReservation):
            if state.project_id is not None:
                raise Forbidden(REFERENCES)
        elif write.kind in _WITH_OWNER:
            if write.expected_version:
                await self._reads.get(write.kind, write.id)
        else:
            await self._reads.financing.check_write(write)

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        """Return the recipe of an earlier response; what it shows is read with the scope.

        Raises:
            Forbidden: the receipt has a whole response, whose rows nobody can check.
        """
        stored_response = await self._commands.find_receipt(key)
        if isinstance(stored_response, RecordedResponse):
            forbid_part()
        return stored_response


def _explain_outside(rows: VisibleRows) -> str:
    if not rows.rules:
        return NOT_HELD
    return OUTSIDE.format(fields=" and ".join(rule.field for rule in rows.rules))


class ScopedSchemas:
    """The adopted schema versions; reasons of decisions may name projects and are left out."""

    def __init__(self, schemas: SchemaStore) -> None:
        self._schemas = schemas

    async def active(self, kind: str = PROJECT_KIND) -> SchemaRecord | None:
        """Return the active schema; see `SchemaStore.active`."""
        record = await self._schemas.active(kind)
        return None if record is None else _hide_reason(record)

    async def records(self, kind: str = PROJECT_KIND) -> list[SchemaRecord]:
        """Return the versions that are or were active; whether others fit depends on every row."""
        records = await self._schemas.records(kind)
        return [_hide_reason(record) for record in records if record.state in _ADOPTED]

    async def version_history(self, kind: str = PROJECT_KIND) -> tuple[Schema, ...]:
        """Return the versions of the data; see `SchemaStore.version_history`."""
        return await self._schemas.version_history(kind)

    def describe_plan(self, plan: MigrationPlan) -> tuple[str, ...]:
        """Describe the steps of a plan; see `SchemaStore.describe_plan`."""
        return self._schemas.describe_plan(plan)

    async def adopt(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Raise: a schema is that of every row."""
        del record, actor
        forbid_part()

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Raise: a schema is that of every row."""
        del record, actor
        forbid_part()

    async def check_proofs(
        self, proofs: Sequence[Proof], kind: str = PROJECT_KIND
    ) -> tuple[ProofViolation, ...]:
        """Raise: the violations are those of every row."""
        del proofs, kind
        forbid_part()

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, *, actor: str, reason: str = ""
    ) -> MigrationRecord:
        """Raise: a migration changes every row."""
        del record, plan, actor, reason
        forbid_part()

    async def migration_log(self) -> list[MigrationRecord]:
        """Raise: the log counts every row."""
        forbid_part()


def _hide_reason(record: SchemaRecord) -> SchemaRecord:
    return msgspec.structs.replace(record, reason="", decision=None)


class _ForbiddenBookmarks:
    async def load_bookmarks(self) -> dict[str, Position | None]:
        forbid_part()

    async def save_bookmarks(self, positions: Mapping[str, Position | None]) -> None:
        del positions
        forbid_part()


class _ForbiddenQuality:
    async def measure(self, measures: Sequence[Measure], kind: str = PROJECT_KIND) -> Measurement:
        del measures, kind
        forbid_part()
