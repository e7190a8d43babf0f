"""Recording where data come from and go to, and answering who asks.

A run that is a job's begins and ends in the changes that begin and end the job: whatever crashes,
the two agree. A run of its own (an export, a migration) is begun before its work and ended after
it; one that a crash left running is settled at the next start.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import msgspec

from spawn.application.dependencies import Services, require
from spawn.application.lineage.run_builder import (
    export_run,
    import_ended,
    import_run,
    migration_run,
)
from spawn.application.quality.queries import latest_report
from spawn.domain.change import Change, Stored, Write
from spawn.domain.errors import NotFound, SpawnError, Stale, Unavailable
from spawn.domain.events.event import DomainEvent
from spawn.domain.imports.import_state import FileFormat, Import
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.jobs import Job, JobStatus
from spawn.domain.lineage.run import KIND, Activity, Moved, Run, RunState, ended, told
from spawn.domain.principal import Principal
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query, Sort
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.domain.schemas.model import Schema, Value

MAX_PAGES = 10
"""Pages of runs that one request looks through for those that its filter wants."""

MAX_SETTLED_PAGES = 10
"""Pages of runs that are looked through for leftovers at a start."""

MAX_RECENT_IMPORTS = 200
"""Imports that are looked through for the newest of each mapping."""

MAX_GRAPH_RUNS = 200
"""Runs that one picture shows, the newest ones."""

ABANDONED_AFTER = timedelta(hours=1)
"""A run of its own that has said nothing for so long belongs to no living process."""

SERVICE = "service"
"""Who ends a run that a crash left."""

_GONE = "who asked went away before the end"
_CRASHED = "the process ended before the run did"
_NEWEST_FIRST = (Sort("created_at", descending=True),)
_OUTCOMES = {
    JobStatus.SUCCEEDED: RunState.COMPLETE,
    JobStatus.FAILED: RunState.FAILED,
    JobStatus.CANCELLED: RunState.ABORTED,
}

Ending = tuple[tuple[Write, ...], tuple[DomainEvent, ...]]
"""What a change carries to begin or end a run: nothing, where there is no run."""

Keys = tuple[Value | None, ...]
"""Where a page of runs ended."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are asked for; None is any."""

    job: str | None = None
    dataset: str | None = None
    state: RunState | None = None
    activity: Activity | None = None
    since: datetime | None = None
    until: datetime | None = None

    def admits(self, run: Run) -> bool:
        """Whether the run is one of them; `since` and `until` are for the store to judge."""
        return (
            self.job in {None, run.job}
            and (self.dataset is None or self.dataset in run.dataset_names)
            and self.state in {None, run.state}
            and self.activity in {None, run.activity}
        )


class Found(msgspec.Struct, frozen=True):
    """Runs, newest first, and the keys to go on after; None at the end."""

    runs: tuple[Stored[Run], ...]
    next: Keys | None


async def import_begun(services: Services, order: Import, mapping: ImportMapping | None) -> Ending:
    """What begins the run of an import, for the change that orders it."""
    schema = (await services.active()).schema
    run = import_run(order, mapping, schema)
    return (Write(KIND, run.run_id, 0, run),), (told(run),)


async def job_ended(
    services: Services, job: Job, order: Import | None = None, mapping: ImportMapping | None = None
) -> Ending:
    """What ends the run of a job that is over, for the change that ends the job.

    `order` and `mapping` are the import's, if whoever asks has them at hand.
    """
    state = _OUTCOMES.get(job.status)
    stored = await _find(services, job.job_id) if state is not None else None
    if state is None or stored is None or stored.state.is_final:
        return (), ()
    if order is None:
        order = (await services.reads.get("import", job.job_id)).state
        mapping = await _mapping_of(services, order)
    run = import_ended(stored.state, order, mapping, state, _reason(job))
    return (Write(KIND, run.run_id, stored.version, run),), (told(run),)


class Counted:
    """What a run has moved so far."""

    def __init__(self) -> None:
        self.rows = 0
        self.size_bytes = 0

    async def through(
        self, lines: AsyncIterator[bytes], file_format: FileFormat
    ) -> AsyncIterator[bytes]:
        """The same lines, counted as they are taken; the header of CSV is no row."""
        heads = 1 if file_format is FileFormat.CSV else 0
        async for line in lines:
            self.rows, heads = (self.rows, heads - 1) if heads else (self.rows + 1, 0)
            self.size_bytes += len(line)
            yield line


class Abandoned(Exception):
    """Whoever asked for an export went away before its end."""


@asynccontextmanager
async def exporting(
    services: Services, principal: Principal, file_format: FileFormat
) -> AsyncIterator[Counted]:
    """Record an export: before the body runs, and after it by how the body ended.

    Reading goes on where nothing can be written (a full disk): such an export leaves no run.

    Raises:
        Forbidden: the principal may not read.
    """
    require(principal, "read")
    schema = (await services.active()).schema
    stored = await latest_report(services, principal)
    report = None if stored is None else stored.state
    run = export_run(services.ids.new(), file_format, schema, report)
    try:
        await _commit(services, principal.id, run, 0)
    except Unavailable:
        yield Counted()
        return
    async with _ending(services, principal.id, run) as counted:
        yield counted


@asynccontextmanager
async def migrating(
    services: Services, actor: str, old: Schema, new: Schema, plan: MigrationPlan
) -> AsyncIterator[Counted]:
    """Record a migration: before the body runs, and after it by how the body ended.

    Raises:
        StorageFull, Overloaded, Unavailable: it cannot be recorded, so it is not begun.
    """
    run = migration_run(services.ids.new(), old, new, plan)
    await _commit(services, actor, run, 0)
    async with _ending(services, actor, run) as counted:
        yield counted


@asynccontextmanager
async def _ending(services: Services, actor: str, run: Run) -> AsyncIterator[Counted]:
    """End a run by how the body ends; if that cannot be recorded, it is settled at a start."""
    counted = Counted()
    try:
        yield counted
    except BaseException as failure:
        state, reason = _why(failure)
        # Whoever asked may have gone; the store hears of it all the same.
        with suppress(SpawnError):
            await asyncio.shield(_end(services, actor, run, counted, state, reason))
        raise
    with suppress(SpawnError):
        await _end(services, actor, run, counted, RunState.COMPLETE)


def _why(failure: BaseException) -> tuple[RunState, str]:
    """What a failure makes of a run, and the reason that may be told."""
    if isinstance(failure, Stale):
        return RunState.ABORTED, failure.detail
    if isinstance(failure, SpawnError):
        return RunState.FAILED, failure.detail
    if isinstance(failure, Exception) and not isinstance(failure, Abandoned):
        return RunState.FAILED, "an internal error"
    return RunState.ABORTED, _GONE


async def settle_runs(services: Services, before: datetime) -> int:
    """End the runs that a crash left running and that no job resumes; how many there were.

    Where the store belongs to one process alone every run from `before` its start is a leftover;
    elsewhere another process may be at it, and it has an hour. Of old runs the newest are looked
    at, `MAX_SETTLED_PAGES` full.
    """
    limit = before
    if not services.control.status().exclusive:
        limit = before - ABANDONED_AFTER
    schema = (await services.active()).schema
    settled = 0
    async for stored in _running(services, limit):
        if stored.state.activity is Activity.IMPORT:
            continue
        try:
            await _commit(services, SERVICE, _settled(stored.state, schema), stored.version)
        except Stale:
            continue  # It ended by itself after all.
        settled += 1
    return settled


def _settled(run: Run, active: Schema) -> Run:
    """What became of a run whose process is gone.

    A migration is one transaction: if its version rules, it was done.
    """
    target = f"{active.id}@{active.version}"
    if run.activity is Activity.MIGRATION and run.outputs[0].version == target:
        return ended(run, RunState.COMPLETE, Moved())
    return ended(run, RunState.ABORTED, Moved(), reason=_CRASHED)


async def get_run(services: Services, principal: Principal, run_id: str) -> Stored[Run]:
    """One run.

    Raises:
        NotFound: there is none of this id.
    """
    require(principal, "read")
    return await services.reads.get(KIND, run_id)


async def find_runs(
    services: Services,
    principal: Principal,
    wanted: Wanted,
    *,
    after: Keys | None = None,
    limit: int,
) -> Found:
    """Runs, newest first. A page may be short, or empty, and still lead on.

    Raises:
        CursorInvalid: `after` was not a `next` of this.
    """
    require(principal, "read")
    found: list[Stored[Run]] = []
    for _ in range(MAX_PAGES):
        page = await services.reads.page(_query(wanted, after, limit - len(found)))
        found += [stored for stored in page.items if wanted.admits(stored.state)]
        after = page.next
        if after is None or len(found) >= limit:
            break
    return Found(tuple(found), after)


async def last_imports(services: Services) -> list[Stored[Run]]:
    """The run of the newest import through each mapping that ended well, of recent imports."""
    reads = services.reads
    imports = await reads.page(Query(kind="import", sort=_NEWEST_FIRST, limit=MAX_RECENT_IMPORTS))
    jobs = await reads.get_many("job", [stored.id for stored in imports.items])
    newest: dict[str, str] = {}
    for stored in imports.items:
        if stored.id in jobs and jobs[stored.id].state.status is JobStatus.SUCCEEDED:
            newest.setdefault(stored.state.mapping or stored.state.format, stored.id)
    runs = await reads.get_many(KIND, list(newest.values()))
    return [runs[run_id] for run_id in newest.values() if run_id in runs]


async def newest_runs(
    services: Services, principal: Principal, wanted: Wanted
) -> list[Stored[Run]]:
    """As many of the newest runs as one picture shows."""
    found = await find_runs(services, principal, wanted, limit=MAX_GRAPH_RUNS)
    return list(found.runs)


def _query(wanted: Wanted, after: Keys | None, limit: int) -> Query:
    bounds = ((Operator.GTE, wanted.since), (Operator.LT, wanted.until))
    filters = tuple(
        Filter("created_at", operator, (instant,)) for operator, instant in bounds if instant
    )
    return Query(
        kind=KIND,
        filters=filters,
        sort=_NEWEST_FIRST,
        limit=min(limit, MAX_LIMIT),
        after=after,
    )


async def _running(services: Services, before: datetime) -> AsyncIterator[Stored[Run]]:
    """The runs from before an instant that have not ended, as far back as is looked."""
    query = _query(Wanted(until=before), None, MAX_LIMIT)
    for _ in range(MAX_SETTLED_PAGES):
        page: Page[Stored[Run]] = await services.reads.page(query)
        for stored in page.items:
            if not stored.state.is_final:
                yield stored
        if page.next is None:
            return
        query = msgspec.structs.replace(query, after=page.next)


async def _end(
    services: Services,
    actor: str,
    run: Run,
    counted: Counted,
    state: RunState,
    reason: str | None = None,
) -> None:
    moved = Moved(rows_in=counted.rows, rows_out=counted.rows, bytes_out=counted.size_bytes or None)
    await _commit(services, actor, ended(run, state, moved, reason=reason), 1)


async def _commit(services: Services, actor: str, run: Run, version: int) -> None:
    schema = (await services.active()).schema
    change = Change(
        writes=(Write(KIND, run.run_id, version, run),),
        events=(told(run),),
        actor=actor,
        schema_version=schema.version,
    )
    await services.commands.commit(change)


async def _find(services: Services, run_id: str) -> Stored[Run] | None:
    try:
        return await services.reads.get(KIND, run_id)
    except NotFound:
        return None  # Its job is older than lineage, or of a kind that moves no data.


async def _mapping_of(services: Services, order: Import) -> ImportMapping | None:
    """The mapping of an import; a job must be able to end, so a lost one is as good as none."""
    if order.mapping is None:
        return None
    try:
        stored: Stored[ImportMapping] = await services.reads.get(
            "import_mapping", order.mapping, version=order.mapping_version
        )
    except NotFound:
        return None
    return stored.state


def _reason(job: Job) -> str | None:
    return "it was cancelled" if job.status is JobStatus.CANCELLED else job.error
