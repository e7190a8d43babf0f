"""Lineage in the store: every data movement is recorded, with every outcome."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.application.fake_registry import POLICY, FakeRegistry
from tests.lineage.standard_client import validate_event

from spawn.application.dependencies import Dependencies
from spawn.application.exports import record_export
from spawn.application.imports import chunks
from spawn.application.imports.commands import IMPORT_JOB, put_mapping, submit_import
from spawn.application.imports.runner import run_import
from spawn.application.jobs import JobRunner, cancel_job
from spawn.application.lineage.recorder import (
    ClientDisconnected,
    RunFilter,
    RunProgress,
    end_abandoned_runs,
    find_newest_runs,
    find_runs,
    get_run,
    record_migration,
)
from spawn.application.projects.commands import create_project
from spawn.application.schemas.activation import RefreshVerdict
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.change import Change, CommitResult, StoredAggregate
from spawn.domain.errors import (
    CursorInvalid,
    Forbidden,
    NotFound,
    StaleVersion,
    StorageFull,
    Unavailable,
)
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.json_tokens import parse_object
from spawn.domain.lineage.graph import DatasetNode, RunNode, build_graph
from spawn.domain.lineage.openlineage import Emitter, build_run_events
from spawn.domain.lineage.run import EVENT_TYPES, Activity, Run, RunState
from spawn.domain.principal import Principal
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.validator import ProjectInput
from spawn.ports.schemas import (
    MigrationRejected,
    ProofViolation,
    SchemaRecord,
    SchemaState,
    SchemaStore,
)
from spawn.ports.storage import CommandStore, StoreStatus
from spawn.testing.expected_errors import expect_invalid

ANNA = Principal(id="anna")
EMITTER = Emitter(namespace="spawn-projects", producer="http://127.0.0.1:8000", version="0.1.0")
MAPPING = {
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost"},
    ],
    "checks": [{"sum_of": ["a1", "a2"], "equals": "cost", "on_failure": "warn"}],
    "key": {"source": "desk", "column": "id"},
}
ROWS = "id,name,cost,a1,a2\n1,Dam,10,4,6\n2,Road,10,4,5\n3,,10,5,5\n"


@pytest.fixture
async def mapped(dependencies: Dependencies) -> Dependencies:
    mapping = read_mapping("desk", parse_object(json.dumps(MAPPING).encode()))
    await put_mapping(dependencies, ANNA, mapping)
    return dependencies


async def upload_chunks(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


async def order(dependencies: Dependencies, text: str = ROWS) -> str:
    submission = await submit_import(
        dependencies, ANNA, upload_chunks(text), file_format=FileFormat.CSV, mapping_name="desk"
    )
    assert submission.job is not None
    return submission.job.job_id


async def do(dependencies: Dependencies, import_id: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        await run_import(dependencies, import_id, executor)


async def events(dependencies: Dependencies) -> list[tuple[str, str]]:
    entries = (await dependencies.reads.feed(after=None, limit=500, types=EVENT_TYPES)).entries
    return [(entry.type, entry.id) for entry in entries]


async def test_an_import_begins_with_its_order_and_ends_with_its_job(mapped: Dependencies) -> None:
    import_id = await order(mapped)
    first_run = await get_run(mapped, ANNA, import_id)
    assert (first_run.state.state, first_run.version) == (RunState.RUNNING, 1)
    await do(mapped, import_id)
    over = await get_run(mapped, ANNA, import_id)
    assert (over.state.state, over.version) == (RunState.COMPLETE, 2)
    assert (over.state.inputs[0].rows, over.state.outputs[0].rows) == (3, 2)
    assert over.state.inputs[0].size_bytes == len(ROWS)
    found = {one.name: one for one in over.state.assertions}
    assert found["sum_equals.cost"].actual == "1 of 3 rows differ"
    assert found["rows_accepted"].actual == "1 of 3 rows quarantined"
    assert {one.assertion: (one.success, one.warning) for one in over.state.assertions} == {
        "valid_rows": (False, True),
        "sum_equals": (False, True),
    }
    job = await mapped.reads.get("job", import_id)
    assert job.updated_at == over.updated_at  # one change ends both
    assert await events(mapped) == [
        ("lineage.started", import_id),
        ("lineage.completed", import_id),
    ]


@pytest.mark.parametrize(("file_format", "rows"), [(FileFormat.CSV, 2), (FileFormat.NDJSON, 3)])
async def test_the_header_of_a_csv_is_no_row_but_has_bytes(
    file_format: FileFormat, rows: int
) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for line in (b"a\n", b"bc\n", b"def\n"):
            yield line

    progress = RunProgress()
    passed = [line async for line in progress.count_lines(lines(), file_format)]
    assert passed == [b"a\n", b"bc\n", b"def\n"]
    assert (progress.rows, progress.size_bytes) == (rows, 9)


async def test_an_import_costs_no_change_more_for_its_lineage(mapped: Dependencies) -> None:
    counting = Counting(mapped.commands)
    dependencies = msgspec.structs.replace(mapped, commands=counting)
    await do(dependencies, await order(dependencies))
    assert counting.kinds == [
        {"job", "import", "lineage_run"},
        {"project", "external_ref", "import", "quarantine", "job"},
        {"job", "lineage_run"},
    ]


class Counting:
    """The command store, with the kinds that each change wrote."""

    def __init__(self, inner: CommandStore) -> None:
        self.inner = inner
        self.kinds: list[set[str]] = []

    async def commit(self, change: Change) -> CommitResult:
        committed = await self.inner.commit(change)
        self.kinds.append({write.kind for write in change.writes})
        return committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_a_job_that_fails_takes_its_run_along(mapped: Dependencies) -> None:
    runner = JobRunner(mapped, {IMPORT_JOB: run_import})
    await runner.start()
    import_id = await order(mapped, "id,name\n1,x\n")
    runner.submit(import_id)
    await runner.drain()
    await runner.close()
    run = (await get_run(mapped, ANNA, import_id)).state
    assert run.state is RunState.FAILED
    assert run.reason is not None
    assert "lacks a1, a2, cost" in run.reason
    assert (await mapped.reads.get("job", import_id)).state.error == run.reason


async def test_a_cancelled_job_aborts_its_run_and_keeps_the_moved_rows(
    mapped: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 1)
    import_id = await order(mapped)
    dependencies = msgspec.structs.replace(mapped, commands=CancelsAfter(mapped, import_id, 1))
    await do(dependencies, import_id)
    run = (await get_run(mapped, ANNA, import_id)).state
    assert (run.state, run.reason) == (RunState.ABORTED, "it was cancelled")
    assert (run.inputs[0].rows, run.outputs[0].rows) == (1, 1)


class CancelsAfter:
    """The command store; the job is cancelled after so many changes."""

    def __init__(self, dependencies: Dependencies, job_id: str, changes: int) -> None:
        self.dependencies, self.job_id, self.left = dependencies, job_id, changes

    async def commit(self, change: Change) -> CommitResult:
        committed = await self.dependencies.commands.commit(change)
        self.left -= 1
        if self.left == 0:
            await cancel_job(self.dependencies, ANNA, self.job_id)
        return committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dependencies.commands, name)


async def test_a_resumed_import_is_one_run(
    mapped: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 1)
    import_id = await order(mapped)
    dependencies = msgspec.structs.replace(mapped, commands=BreaksAfter(mapped.commands, 1))
    with pytest.raises(asyncio.CancelledError):
        await do(dependencies, import_id)
    assert await end_abandoned_runs(mapped, mapped.clock.now()) == 0  # its job goes on with it
    assert (await get_run(mapped, ANNA, import_id)).state.state is RunState.RUNNING
    await do(mapped, import_id)
    run = (await get_run(mapped, ANNA, import_id)).state
    assert (run.state, run.inputs[0].rows) == (RunState.COMPLETE, 3)
    assert [name for name, _ in await events(mapped)] == ["lineage.started", "lineage.completed"]


class BreaksAfter:
    """The command store of a process that ends after so many changes."""

    def __init__(self, inner: CommandStore, changes: int) -> None:
        self.inner, self.left = inner, changes

    async def commit(self, change: Change) -> CommitResult:
        if not self.left:
            raise asyncio.CancelledError
        self.left -= 1
        return await self.inner.commit(change)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_an_import_older_than_lineage_ends_without_a_run(mapped: Dependencies) -> None:
    dropping = Dropping(mapped.commands)
    import_id = await order(msgspec.structs.replace(mapped, commands=dropping))
    await do(mapped, import_id)
    assert (await mapped.reads.get("job", import_id)).state.status == "succeeded"
    with pytest.raises(NotFound):
        await get_run(mapped, ANNA, import_id)


class Dropping:
    """The command store of a release that knew no lineage."""

    def __init__(self, inner: CommandStore) -> None:
        self.inner = inner

    async def commit(self, change: Change) -> CommitResult:
        writes = tuple(write for write in change.writes if write.kind != "lineage_run")
        return await self.inner.commit(msgspec.structs.replace(change, writes=writes, events=()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_an_export_is_recorded_before_and_after(dependencies: Dependencies) -> None:
    async with record_export(dependencies, ANNA, FileFormat.CSV) as progress:
        ((_, run_id),) = await events(dependencies)
        assert (await get_run(dependencies, ANNA, run_id)).state.state is RunState.RUNNING
        lines = [line async for line in progress.count_lines(two_lines(), FileFormat.CSV)]
        assert lines == [b"a" * 100, b"b" * 50]
    run = (await get_run(dependencies, ANNA, run_id)).state
    assert (run.state, run.job) == (RunState.COMPLETE, "export.projects.csv")
    assert (run.inputs[0].rows, run.outputs[0].rows, run.outputs[0].size_bytes) == (1, 1, 150)


async def two_lines() -> AsyncIterator[bytes]:
    yield b"a" * 100
    yield b"b" * 50


@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        (Unavailable("the store is closing"), RunState.FAILED, "the store is closing"),
        (ZeroDivisionError("secret"), RunState.FAILED, "an internal error"),
        (asyncio.CancelledError(), RunState.ABORTED, "the client disconnected before the end"),
        (ClientDisconnected(), RunState.ABORTED, "the client disconnected before the end"),
        (GeneratorExit(), RunState.ABORTED, "the client disconnected before the end"),
    ],
)
async def test_an_unsuccessful_export_records_its_reason(
    dependencies: Dependencies, ending: BaseException, state: RunState, reason: str
) -> None:
    with pytest.raises(type(ending)):
        async with record_export(dependencies, ANNA, FileFormat.NDJSON):
            raise ending
    (run,) = await find_newest_runs(dependencies, ANNA, RunFilter())
    assert (run.state.state, run.state.reason) == (state, reason)


class Full:
    """The command store on a disk that is full after so many changes."""

    def __init__(self, inner: CommandStore, changes: int) -> None:
        self.inner, self.left = inner, changes

    async def commit(self, change: Change) -> CommitResult:
        if not self.left:
            raise StorageFull("no space")
        self.left -= 1
        return await self.inner.commit(change)


@pytest.mark.parametrize(("changes", "event_types"), [(0, []), (1, ["lineage.started"])])
async def test_a_full_disk_holds_no_export_up(
    dependencies: Dependencies, changes: int, event_types: list[str]
) -> None:
    full: Any = Full(dependencies.commands, changes)
    async with record_export(
        msgspec.structs.replace(dependencies, commands=full), ANNA, FileFormat.CSV
    ) as progress:
        assert [line async for line in progress.count_lines(two_lines(), FileFormat.CSV)]
    assert [name for name, _ in await events(dependencies)] == event_types


async def test_an_export_requires_the_read_scope(dependencies: Dependencies) -> None:
    with pytest.raises(Forbidden):
        async with record_export(
            dependencies, Principal(id="x", scopes=frozenset()), FileFormat.CSV
        ):
            pass
    assert await events(dependencies) == []


async def left_running(dependencies: Dependencies) -> str:
    """An export whose process ends at once."""
    export = record_export(dependencies, ANNA, FileFormat.CSV)
    await export.__aenter__()
    services_events = await events(dependencies)
    return services_events[-1][1]


async def test_runs_left_by_a_crash_are_ended_at_the_next_start(
    dependencies: Dependencies,
) -> None:
    run_id = await left_running(dependencies)
    async with record_export(dependencies, ANNA, FileFormat.CSV):
        pass
    started = dependencies.clock.now()
    own = await left_running(dependencies)  # as far as this process knows it is under way
    assert await end_abandoned_runs(dependencies, started) == 1
    run = (await get_run(dependencies, ANNA, run_id)).state
    assert (run.state, run.reason) == (RunState.ABORTED, "the process ended before the run did")
    assert await end_abandoned_runs(dependencies, started) == 0
    assert (await get_run(dependencies, ANNA, own)).state.state is RunState.RUNNING


class Shared:
    """A store that other processes may have open too."""

    def __init__(self, status: StoreStatus) -> None:
        self._status = msgspec.structs.replace(status, is_exclusive=False)

    def status(self) -> StoreStatus:
        return self._status


async def test_in_a_shared_store_a_run_has_an_hour(dependencies: Dependencies) -> None:
    run_id = await left_running(dependencies)
    shared: Any = Shared(dependencies.control.status())
    others = msgspec.structs.replace(dependencies, control=shared)
    now = dependencies.clock.now()
    assert await end_abandoned_runs(others, now + timedelta(minutes=59)) == 0
    assert await end_abandoned_runs(others, now + timedelta(minutes=61)) == 1
    assert (await get_run(dependencies, ANNA, run_id)).state.state is RunState.ABORTED


async def several(dependencies: Dependencies) -> list[str]:
    """Create three imports and two exports, one unfinished; return their ids, oldest first."""
    for number in range(3):
        await do(dependencies, await order(dependencies, ROWS.replace("Dam", f"Dam {number}")))
    async with record_export(dependencies, ANNA, FileFormat.CSV):
        pass
    await left_running(dependencies)
    found = [run_id for name, run_id in await events(dependencies) if name == "lineage.started"]
    assert len(found) == 5
    return found


async def ids_of(dependencies: Dependencies, run_filter: RunFilter, limit: int = 2) -> list[str]:
    """Return all matching runs, page by page."""
    found: list[str] = []
    after = None
    while True:
        page = await find_runs(dependencies, ANNA, run_filter, after=after, limit=limit)
        assert len(page.runs) <= limit
        found += [run.id for run in page.runs]
        after = page.next
        if after is None:
            return found


async def test_runs_are_listed_newest_first_and_filtered(mapped: Dependencies) -> None:
    ids = await several(mapped)
    newest = ids[::-1]
    assert await ids_of(mapped, RunFilter()) == newest
    assert await ids_of(mapped, RunFilter(job="import.desk")) == newest[2:]
    assert await ids_of(mapped, RunFilter(activity=Activity.EXPORT)) == newest[:2]
    assert await ids_of(mapped, RunFilter(state=RunState.RUNNING)) == newest[:1]
    assert await ids_of(mapped, RunFilter(dataset="projects")) == newest
    assert await ids_of(mapped, RunFilter(dataset="exports/projects.csv")) == newest[:2]
    upload = (await get_run(mapped, ANNA, ids[1])).state.inputs[0].name
    assert await ids_of(mapped, RunFilter(dataset=upload)) == newest[2:]
    qualified = "spawn-projects.exports.projects_csv"
    assert await ids_of(mapped, RunFilter(dataset=qualified)) == newest[:2]
    middle = (await get_run(mapped, ANNA, ids[2])).created_at
    assert await ids_of(mapped, RunFilter(since=middle)) == newest[:3]
    assert await ids_of(mapped, RunFilter(until=middle)) == newest[3:]
    assert await ids_of(mapped, RunFilter(job="nothing")) == []
    with pytest.raises(CursorInvalid):
        await find_runs(mapped, ANNA, RunFilter(), after=("x",), limit=2)
    with expect_invalid(("/limit", "out_of_range")):
        await find_runs(mapped, ANNA, RunFilter(), limit=0)


async def test_the_graph_joins_each_run_with_its_inputs_and_outputs(mapped: Dependencies) -> None:
    ids = await several(mapped)
    graph = build_graph(await find_newest_runs(mapped, ANNA, RunFilter()))
    datasets = {node.name for node in graph.nodes if isinstance(node, DatasetNode)}
    runs = {node.run_id: node for node in graph.nodes if isinstance(node, RunNode)}
    assert set(runs) == set(ids)
    assert datasets == {"projects", "exports/projects.csv", "uploads/desk"}
    nodes = {node.id for node in graph.nodes}
    assert len(nodes) == len(graph.nodes)
    for edge in graph.edges:
        assert {edge.source, edge.target} <= nodes
        assert edge.source.startswith("run:") != edge.target.startswith("run:")
    into = [edge for edge in graph.edges if edge.target == "dataset:projects"]
    assert {edge.source for edge in into} == {f"run:{run_id}" for run_id in ids[:3]}
    assert runs[ids[-1]].ended_at is None


async def test_a_run_is_read_back_as_it_was_written(mapped: Dependencies) -> None:
    import_id = await order(mapped)
    await do(mapped, import_id)
    aggregate: StoredAggregate[Run] = await get_run(mapped, ANNA, import_id)
    entry = (await mapped.reads.history("lineage_run", import_id, after_version=1, limit=1))[0]
    assert msgspec.json.decode(entry.document, type=Run) == aggregate.state


@pytest.fixture
def fake_registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
async def governed(dependencies: Dependencies, fake_registry: FakeRegistry) -> Dependencies:
    """A store with a project under version 1 of a schema; the registry has version 2."""
    registry: Any = fake_registry
    governed = msgspec.structs.replace(dependencies, registry=registry)
    fake_registry.serve(1, {"name": "mw", "type": "decimal(18,4)"})
    await refresh_schema(governed, POLICY)
    fields: dict[str, object] = {"project_name": "Dam", "total_amount": Decimal(1)}
    await create_project(governed, ANNA, attributes=ProjectInput(fields, {}, {}))
    fake_registry.serve(
        2, {"name": "capacity_mw", "type": "decimal(20,4)", "aliases": ["mw"]}, "grid_on"
    )
    return governed


async def test_a_migration_says_where_each_column_comes_from(governed: Dependencies) -> None:
    outcome = await refresh_schema(governed, POLICY)
    assert outcome.verdict is RefreshVerdict.ADOPTED
    (aggregate,) = await find_newest_runs(governed, ANNA, RunFilter(activity=Activity.MIGRATION))
    run = aggregate.state
    assert (run.state, run.job) == (RunState.COMPLETE, "migration.project_schema")
    assert (run.inputs[0].version, run.outputs[0].version) == (
        "project_schema@1",
        "project_schema@2",
    )
    assert run.inputs[0].name == run.outputs[0].name == "projects"
    origins = {name: (o.field, o.conversion) for name, (o,) in run.origins.items()}
    assert origins["capacity_mw"] == (
        "mw",
        "renamed, widened from decimal(18,4) to decimal(20,4)",
    )
    assert origins["grid_on"] == ("x_grid_on", "promoted")
    assert origins["project_name"] == ("project_name", "")
    for event in build_run_events(run, aggregate.created_at, aggregate.updated_at, EMITTER):
        validate_event(msgspec.json.decode(msgspec.json.encode(event)))


async def test_a_version_of_other_texts_adds_its_columns_to_the_journal_once(
    governed: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.documents.pop(2)
    described = {"name": "mw", "type": "decimal(18,4)", "description": "Power at the meter."}
    fake_registry.serve(2, described)
    assert (await refresh_schema(governed, POLICY)).verdict is RefreshVerdict.ADOPTED
    (aggregate,) = await find_newest_runs(governed, ANNA, RunFilter(activity=Activity.MIGRATION))
    run = aggregate.state
    described_field = next(field for field in run.outputs[0].fields if field.name == "mw")
    assert described_field.description == "Power at the meter."
    assert (run.inputs[0].fields, run.inputs[0].version) == ((), "project_schema@1")
    assert run.origins == {}
    begun, ended = await governed.reads.history(
        "lineage_run", aggregate.id, after_version=0, limit=2
    )
    assert b"mw" not in begun.document
    assert ended.document.count(b"Power at the meter.") == 1
    for event in build_run_events(run, aggregate.created_at, aggregate.updated_at, EMITTER):
        validate_event(msgspec.json.decode(msgspec.json.encode(event)))


async def test_a_migration_that_the_data_forbid_fails_with_the_reason(
    governed: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(2, {"name": "mw", "type": "decimal(18,4)", "required": True, "default": 1})
    schemas: Any = Disproving(governed.schemas)
    outcome = await refresh_schema(msgspec.structs.replace(governed, schemas=schemas), POLICY)
    assert outcome.verdict is RefreshVerdict.QUARANTINED
    (aggregate,) = await find_newest_runs(governed, ANNA, RunFilter(activity=Activity.MIGRATION))
    assert aggregate.state.state is RunState.FAILED
    assert aggregate.state.reason is not None
    assert "mw of 1 row" in aggregate.state.reason


class Disproving:
    """A schema store whose data violate every proof."""

    def __init__(self, inner: SchemaStore) -> None:
        self.inner = inner

    async def migrate(self, record: Any, _plan: object, **_more: object) -> None:
        column = record.schema.columns[0]
        raise MigrationRejected(
            [
                ProofViolation(
                    proof=Proof(stored_name="mw", column=column),
                    row_count=1,
                    sample_ids=("p",),
                    detail="x",
                )
            ]
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_the_loser_of_a_race_leaves_no_run(governed: Dependencies) -> None:
    outcomes = await asyncio.gather(*(refresh_schema(governed, POLICY) for _ in range(4)))
    assert RefreshVerdict.ADOPTED in {outcome.verdict for outcome in outcomes}
    runs = await find_newest_runs(governed, ANNA, RunFilter(activity=Activity.MIGRATION))
    assert [run.state.state for run in runs] == [RunState.COMPLETE]


async def test_a_migration_from_a_version_that_is_not_active_leaves_no_run(
    governed: Dependencies, fake_registry: FakeRegistry
) -> None:
    old = (await governed.active_schema()).schema
    await refresh_schema(governed, POLICY)
    new = (await fake_registry.fetch("project_schema", 2)).schema
    with pytest.raises(StaleVersion, match="Version 2 of the schema is active"):
        await record_migration(governed, "ann", old, new, plan_migration(old, new)).__aenter__()
    runs = await find_newest_runs(governed, ANNA, RunFilter(activity=Activity.MIGRATION))
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("committed", "state"), [(False, RunState.ABORTED), (True, RunState.COMPLETE)]
)
async def test_a_crash_in_a_migration_is_resolved_by_the_active_version(
    governed: Dependencies,
    fake_registry: FakeRegistry,
    committed: bool,  # noqa: FBT001 -- a parameter of the test
    state: RunState,
) -> None:
    old = (await governed.active_schema()).schema
    fetched = await fake_registry.fetch("project_schema", 2)
    plan = plan_migration(old, fetched.schema)
    await record_migration(governed, "service", old, fetched.schema, plan).__aenter__()
    if committed:
        record = SchemaRecord(
            schema=fetched.schema,
            document=fetched.document,
            state=SchemaState.CANDIDATE,
            provenance=fetched.provenance,
            recorded_at=governed.clock.now(),
        )
        await governed.schemas.migrate(record, plan, actor="service")
    assert await end_abandoned_runs(governed, governed.clock.now()) == 1
    (aggregate,) = await find_newest_runs(governed, ANNA, RunFilter(activity=Activity.MIGRATION))
    assert aggregate.state.state is state
