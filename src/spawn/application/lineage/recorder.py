"""Record and query lineage runs.

The run of a job begins and ends in the changes that begin and end the job, so that the two agree
after any crash. A standalone run (an export, a migration) begins before its work and ends after
it; one that a crash left running is ended at the next start.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

import msgspec

from spawn.application.commands import Decision, commit
from spawn.application.dependencies import Dependencies, require
from spawn.application.lineage.run_builder import (
    build_import_run,
    build_migration_run,
    complete_import_run,
)
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import NotFound, SpawnError, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.imports.import_state import IMPORT_KIND, FileFormat, ImportState
from spawn.domain.imports.mapping import MAPPING_KIND, ImportMapping
from spawn.domain.jobs import Job, JobStatus
from spawn.domain.lineage.run import (
    RUN_KIND,
    Activity,
    DataVolume,
    ParentRun,
    Run,
    RunState,
    build_domain_event,
    end_run,
    format_table_name,
    omit_columns,
)
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query, Sort
from spawn.domain.schema_version import Schema, Value
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.ports.schemas import SchemaStore

MAX_PAGES = 10
"""Pages of runs that one request scans for a dataset."""

MAX_GRAPH_RUNS = 200
"""Maximum runs of one graph, the newest ones."""

ABANDONED_AFTER = timedelta(hours=1)
"""Age from which a standalone run of another process is treated as abandoned."""

SERVICE_ACTOR = "service"
"""Actor that ends abandoned runs."""

_DISCONNECTED = "the client disconnected before the end"
_CRASHED = "the process ended before the run did"
_NEWEST_FIRST = (Sort("created_at", descending=True),)
_RUN_STATES = {
    JobStatus.SUCCEEDED: RunState.COMPLETE,
    JobStatus.FAILED: RunState.FAILED,
    JobStatus.CANCELLED: RunState.ABORTED,
}

_migration_locks: WeakKeyDictionary[SchemaStore, asyncio.Lock] = WeakKeyDictionary()

RunChange = tuple[tuple[Write, ...], tuple[DomainEvent, ...]]
"""Writes and events that begin or end a run; empty where there is no run."""

PageKeys = tuple[Value | None, ...]
"""Sort keys of the last run of a page."""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of runs; None matches any."""

    job: str | None = None
    dataset: str | None = None
    state: RunState | None = None
    activity: Activity | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, run: Run) -> bool:
        """Return whether the run has the dataset; the store filters by everything else."""
        if self.dataset is None:
            return True
        return format_table_name(self.dataset) in map(format_table_name, run.dataset_names)


class RunPage(msgspec.Struct, frozen=True):
    """Page of runs, newest first; `next` is None on the last page."""

    runs: tuple[StoredAggregate[Run], ...]
    next: PageKeys | None


async def begin_import_run(
    dependencies: Dependencies,
    import_state: ImportState,
    mapping: ImportMapping | None,
    parent: ParentRun | None = None,
) -> RunChange:
    """Return the writes and events that begin the run of an import."""
    schema = (await dependencies.active_schema()).schema
    run = build_import_run(import_state, mapping, schema, parent)
    return (Write(RUN_KIND, run.run_id, 0, run),), (build_domain_event(run),)


async def end_job_run(
    dependencies: Dependencies,
    job: Job,
    import_state: ImportState | None = None,
    mapping: ImportMapping | None = None,
) -> RunChange:
    """Return the writes and events that end the run of a job.

    They belong to the change that ends the job.

    `import_state` and `mapping` belong to the import; they are loaded if not passed.
    """
    state = _RUN_STATES.get(job.status)
    aggregate = await _find_run(dependencies, job.job_id) if state is not None else None
    if state is None or aggregate is None or aggregate.state.is_final:
        return (), ()
    if import_state is None:
        import_state = (await dependencies.reads.get(IMPORT_KIND, job.job_id)).state
        mapping = await _load_mapping(dependencies, import_state)
    run = complete_import_run(aggregate.state, import_state, mapping, state, _end_reason(job))
    return (Write(RUN_KIND, run.run_id, aggregate.version, run),), (build_domain_event(run),)


class RunProgress:
    """Rows and bytes that a run has moved so far."""

    def __init__(self) -> None:
        self.rows = 0
        self.size_bytes = 0

    async def count_lines(
        self, lines: AsyncIterator[bytes], file_format: FileFormat
    ) -> AsyncIterator[bytes]:
        """Yield the same lines and count them; the CSV header is no row."""
        header_lines = 1 if file_format is FileFormat.CSV else 0
        async for line in lines:
            self.rows, header_lines = (
                (self.rows, header_lines - 1) if header_lines else (self.rows + 1, 0)
            )
            self.size_bytes += len(line)
            yield line


class ClientDisconnected(Exception):
    """The client of an export disconnected before its end."""


@asynccontextmanager
async def record_migration(
    dependencies: Dependencies, actor: str, old: Schema, new: Schema, plan: MigrationPlan
) -> AsyncIterator[RunProgress]:
    """Record a migration's run: begin it before the body, end it by the body's outcome.

    Migrations of one store follow each other. One that lost the race finds the other version active
    and leaves no run, because it tries nothing.

    Raises:
        StaleVersion: another version than `old` is active by now.
        StorageFull, Overloaded, Unavailable: the run cannot be recorded, so the body must not run.
    """
    async with _migration_locks.setdefault(dependencies.schemas, asyncio.Lock()):
        active = (await dependencies.active_schema(old.kind)).schema
        if active.version != old.version:
            raise StaleVersion(f"Version {active.version} of the schema is active by now.")
        run = build_migration_run(dependencies.ids.new(), old, new, plan)
        await begin_run(dependencies, actor, run if plan.steps else omit_columns(run))
        async with end_with_body(dependencies, actor, run) as progress:
            yield progress


async def begin_run(dependencies: Dependencies, actor: str, run: Run) -> None:
    """Record the beginning of a standalone run.

    Raises:
        StorageFull, Overloaded, Unavailable: the store cannot write now.
    """
    await _commit(dependencies, actor, run, 0)


@asynccontextmanager
async def end_with_body(
    dependencies: Dependencies, actor: str, run: Run
) -> AsyncIterator[RunProgress]:
    """End a run by its body's outcome; after a failed write the next start ends it."""
    progress = RunProgress()
    try:
        yield progress
    except BaseException as failure:
        state, reason = _classify_failure(failure)
        # The client may have disconnected: shield the write, so that the run ends all the same.
        with suppress(SpawnError):
            await asyncio.shield(_end(dependencies, actor, run, progress, state, reason))
        raise
    with suppress(SpawnError):
        await _end(dependencies, actor, run, progress, RunState.COMPLETE)


def _classify_failure(failure: BaseException) -> tuple[RunState, str]:
    """Return the run state after a failure, and a reason that may be published."""
    if isinstance(failure, StaleVersion):
        return RunState.ABORTED, failure.detail
    if isinstance(failure, SpawnError):
        return RunState.FAILED, failure.detail
    if isinstance(failure, Exception) and not isinstance(failure, ClientDisconnected):
        return RunState.FAILED, "an internal error"
    return RunState.ABORTED, _DISCONNECTED


async def end_abandoned_runs(dependencies: Dependencies, before: datetime) -> int:
    """End the runs that a crash left running and no job resumes; return their number.

    In an exclusive store every run from `before` the process start is abandoned; otherwise another
    process may still work on it, and it gets `ABANDONED_AFTER`.
    """
    limit = before
    if not dependencies.control.status().is_exclusive:
        limit = before - ABANDONED_AFTER
    schema = (await dependencies.active_schema()).schema
    count = 0
    async for aggregate in _running_runs(dependencies, limit):
        if aggregate.state.activity is Activity.IMPORT:
            continue
        try:
            await _commit(
                dependencies,
                SERVICE_ACTOR,
                _end_abandoned_run(aggregate.state, schema),
                aggregate.version,
            )
        except StaleVersion:
            continue  # The run has ended meanwhile.
        count += 1
    return count


def _end_abandoned_run(run: Run, active: Schema) -> Run:
    """Return the final state of a run whose process is gone.

    A migration is one transaction: it is complete if its version is active.
    """
    target = f"{active.id}@{active.version}"
    if run.activity is Activity.MIGRATION and run.outputs[0].version == target:
        return end_run(run, RunState.COMPLETE, DataVolume())
    return end_run(run, RunState.ABORTED, DataVolume(), reason=_CRASHED)


async def get_run(
    dependencies: Dependencies, principal: Principal, run_id: str
) -> StoredAggregate[Run]:
    """Return one run.

    Raises:
        NotFound: no such run.
    """
    require(principal, Scope.PROJECTS_READ)
    return await dependencies.reads.get(RUN_KIND, run_id)


async def find_runs(
    dependencies: Dependencies,
    principal: Principal,
    run_filter: RunFilter,
    *,
    after: PageKeys | None = None,
    limit: int,
) -> RunPage:
    """Return a page of runs, newest first; a short or empty page may still lead on.

    Raises:
        CursorInvalid: `after` is not the `next` of an earlier page.
    """
    require(principal, Scope.PROJECTS_READ)
    runs: list[StoredAggregate[Run]] = []
    for _ in range(MAX_PAGES):
        page = await dependencies.reads.page(_run_query(run_filter, after, limit - len(runs)))
        runs += [aggregate for aggregate in page.items if run_filter.matches(aggregate.state)]
        after = page.next
        if after is None or len(runs) >= limit:
            break
    return RunPage(tuple(runs), after)


async def find_newest_runs(
    dependencies: Dependencies, principal: Principal, run_filter: RunFilter
) -> list[StoredAggregate[Run]]:
    """Return the newest runs, as many as one graph shows."""
    page = await find_runs(dependencies, principal, run_filter, limit=MAX_GRAPH_RUNS)
    return list(page.runs)


def _run_query(run_filter: RunFilter, after: PageKeys | None, limit: int) -> Query:
    conditions = (
        ("created_at", Operator.GTE, run_filter.since),
        ("created_at", Operator.LT, run_filter.until),
        ("job", Operator.EQ, run_filter.job),
        ("state", Operator.EQ, run_filter.state),
        ("activity", Operator.EQ, run_filter.activity),
    )
    return Query(
        kind=RUN_KIND,
        filters=tuple(
            Filter(name, by, (value,)) for name, by, value in conditions if value is not None
        ),
        sort=_NEWEST_FIRST,
        limit=min(limit, MAX_LIMIT),
        after=after,
    )


async def _running_runs(
    dependencies: Dependencies, before: datetime
) -> AsyncIterator[StoredAggregate[Run]]:
    """Yield the unfinished runs from before an instant, newest first."""
    run_filter = RunFilter(until=before, state=RunState.RUNNING)
    query: Query | None = _run_query(run_filter, None, MAX_LIMIT)
    while query is not None:
        page: Page[StoredAggregate[Run]] = await dependencies.reads.page(query)
        for aggregate in page.items:
            yield aggregate
        query = msgspec.structs.replace(query, after=page.next) if page.next else None


async def _end(
    dependencies: Dependencies,
    actor: str,
    run: Run,
    progress: RunProgress,
    state: RunState,
    reason: str | None = None,
) -> None:
    volume = DataVolume(
        rows_in=progress.rows, rows_out=progress.rows, bytes_out=progress.size_bytes or None
    )
    await _commit(dependencies, actor, end_run(run, state, volume, reason=reason), 1)


async def _commit(dependencies: Dependencies, actor: str, run: Run, version: int) -> None:
    write = Write(RUN_KIND, run.run_id, version, run)
    await commit(dependencies, actor, Decision(writes=(write,), events=(build_domain_event(run),)))


async def _find_run(dependencies: Dependencies, run_id: str) -> StoredAggregate[Run] | None:
    try:
        return await dependencies.reads.get(RUN_KIND, run_id)
    except NotFound:
        return None  # The job predates lineage, or its kind moves no data.


async def _load_mapping(
    dependencies: Dependencies, import_state: ImportState
) -> ImportMapping | None:
    """Return an import's mapping, or None if it is lost, so that the job can end."""
    if import_state.mapping is None:
        return None
    try:
        aggregate: StoredAggregate[ImportMapping] = await dependencies.reads.get(
            MAPPING_KIND, import_state.mapping, version=import_state.mapping_version
        )
    except NotFound:
        return None
    return aggregate.state


def _end_reason(job: Job) -> str | None:
    return "it was cancelled" if job.status is JobStatus.CANCELLED else job.error
