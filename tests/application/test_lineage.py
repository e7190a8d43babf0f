"""Lineage in the store: what moved data says so, whatever becomes of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.application.shelf import RULES, Shelf
from tests.lineage.oracle import check

from spawn.application.dependencies import Services
from spawn.application.imports import chunks
from spawn.application.imports.commands import JOB_KIND, put_mapping, start_import
from spawn.application.imports.runner import run_import
from spawn.application.jobs import JobRunner, cancel_job
from spawn.application.lineage.recorder import (
    Abandoned,
    Wanted,
    exporting,
    find_runs,
    get_run,
    migrating,
    newest_runs,
    settle_runs,
)
from spawn.application.projects.commands import create_project
from spawn.application.schemas.activation import Verdict
from spawn.application.schemas.adoption import refresh_schema
from spawn.domain.change import Change, Committed, Stored
from spawn.domain.errors import (
    CursorInvalid,
    Forbidden,
    InvalidInput,
    NotFound,
    StorageFull,
    Unavailable,
)
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping import read_mapping
from spawn.domain.json_tokens import read_object
from spawn.domain.lineage.graph import DatasetNode, RunNode, graph_of
from spawn.domain.lineage.openlineage import Emitter, run_events
from spawn.domain.lineage.run import EVENT_TYPES, Activity, Run, RunState
from spawn.domain.principal import Principal
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.validator import Attributes
from spawn.ports.schemas import Disproved, Failure, SchemaRecord, SchemaState, SchemaStore
from spawn.ports.storage import CommandStore, StoreStatus

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
async def mapped(services: Services) -> Services:
    mapping = read_mapping("desk", read_object(json.dumps(MAPPING).encode()))
    await put_mapping(services, ANNA, mapping)
    return services


async def sent(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


async def order(services: Services, text: str = ROWS) -> str:
    ordered = await start_import(
        services, ANNA, sent(text), file_format=FileFormat.CSV, mapping_name="desk"
    )
    assert ordered.job is not None
    return ordered.job.job_id


async def do(services: Services, import_id: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        await run_import(services, import_id, executor)


async def events(services: Services) -> list[tuple[str, str]]:
    entries = (await services.reads.feed(after=None, limit=500, types=EVENT_TYPES)).entries
    return [(entry.type, entry.id) for entry in entries]


async def test_an_import_begins_with_its_order_and_ends_with_its_job(mapped: Services) -> None:
    import_id = await order(mapped)
    begun = await get_run(mapped, ANNA, import_id)
    assert (begun.state.state, begun.version) == (RunState.RUNNING, 1)
    await do(mapped, import_id)
    over = await get_run(mapped, ANNA, import_id)
    assert (over.state.state, over.version) == (RunState.COMPLETE, 2)
    assert (over.state.inputs[0].rows, over.state.outputs[0].rows) == (3, 2)
    assert over.state.inputs[0].size_bytes == len(ROWS)
    found = {one.name: one for one in over.state.assertions}
    assert found["sum_equals.cost"].actual == "1 of 3 rows differ"
    assert found["rows_accepted"].actual == "1 of 3 rows quarantined"
    job = await mapped.reads.get("job", import_id)
    assert job.updated_at == over.updated_at  # one change ends both
    assert await events(mapped) == [
        ("lineage.started", import_id),
        ("lineage.completed", import_id),
    ]


async def test_an_import_costs_no_change_more_for_its_lineage(mapped: Services) -> None:
    counting = Counting(mapped.commands)
    services = msgspec.structs.replace(mapped, commands=counting)
    await do(services, await order(services))
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

    async def commit(self, change: Change) -> Committed:
        committed = await self.inner.commit(change)
        self.kinds.append({write.kind for write in change.writes})
        return committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_a_job_that_fails_takes_its_run_along(mapped: Services) -> None:
    runner = JobRunner(mapped, {JOB_KIND: run_import})
    await runner.start()
    import_id = await order(mapped, "id,name\n1,x\n")
    await runner.submit(import_id)
    await runner.drain()
    await runner.close()
    run = (await get_run(mapped, ANNA, import_id)).state
    assert run.state is RunState.FAILED
    assert run.reason is not None
    assert "lacks a1, a2, cost" in run.reason
    assert (await mapped.reads.get("job", import_id)).state.error == run.reason


async def test_a_job_that_is_cancelled_aborts_its_run_and_keeps_what_was_moved(
    mapped: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 1)
    import_id = await order(mapped)
    services = msgspec.structs.replace(mapped, commands=CancelsAfter(mapped, import_id, 1))
    await do(services, import_id)
    run = (await get_run(mapped, ANNA, import_id)).state
    assert (run.state, run.reason) == (RunState.ABORTED, "it was cancelled")
    assert (run.inputs[0].rows, run.outputs[0].rows) == (1, 1)


class CancelsAfter:
    """The command store; the job is cancelled after so many changes."""

    def __init__(self, services: Services, job_id: str, changes: int) -> None:
        self.services, self.job_id, self.left = services, job_id, changes

    async def commit(self, change: Change) -> Committed:
        committed = await self.services.commands.commit(change)
        self.left -= 1
        if self.left == 0:
            await cancel_job(self.services, ANNA, self.job_id)
        return committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.services.commands, name)


async def test_a_resumed_import_is_one_run(
    mapped: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 1)
    import_id = await order(mapped)
    services = msgspec.structs.replace(mapped, commands=BreaksAfter(mapped.commands, 1))
    with pytest.raises(asyncio.CancelledError):
        await do(services, import_id)
    assert await settle_runs(mapped, mapped.clock.now()) == 0  # its job goes on with it
    assert (await get_run(mapped, ANNA, import_id)).state.state is RunState.RUNNING
    await do(mapped, import_id)
    run = (await get_run(mapped, ANNA, import_id)).state
    assert (run.state, run.inputs[0].rows) == (RunState.COMPLETE, 3)
    assert [name for name, _ in await events(mapped)] == ["lineage.started", "lineage.completed"]


class BreaksAfter:
    """The command store of a process that ends after so many changes."""

    def __init__(self, inner: CommandStore, changes: int) -> None:
        self.inner, self.left = inner, changes

    async def commit(self, change: Change) -> Committed:
        if not self.left:
            raise asyncio.CancelledError
        self.left -= 1
        return await self.inner.commit(change)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_an_import_older_than_lineage_ends_without_a_run(mapped: Services) -> None:
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

    async def commit(self, change: Change) -> Committed:
        writes = tuple(write for write in change.writes if write.kind != "lineage_run")
        return await self.inner.commit(msgspec.structs.replace(change, writes=writes, events=()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_an_export_is_recorded_before_and_after(services: Services) -> None:
    async with exporting(services, ANNA, FileFormat.CSV) as counted:
        ((_, run_id),) = await events(services)
        assert (await get_run(services, ANNA, run_id)).state.state is RunState.RUNNING
        taken = [line async for line in counted.through(two_lines(), FileFormat.CSV)]
        assert taken == [b"a" * 100, b"b" * 50]
    run = (await get_run(services, ANNA, run_id)).state
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
        (asyncio.CancelledError(), RunState.ABORTED, "who asked went away before the end"),
        (Abandoned(), RunState.ABORTED, "who asked went away before the end"),
        (GeneratorExit(), RunState.ABORTED, "who asked went away before the end"),
    ],
)
async def test_an_export_that_does_not_end_well_says_so(
    services: Services, ending: BaseException, state: RunState, reason: str
) -> None:
    with pytest.raises(type(ending)):
        async with exporting(services, ANNA, FileFormat.NDJSON):
            raise ending
    (run,) = await newest_runs(services, ANNA, Wanted())
    assert (run.state.state, run.state.reason) == (state, reason)


class Full:
    """The command store on a disk that is full after so many changes."""

    def __init__(self, inner: CommandStore, changes: int) -> None:
        self.inner, self.left = inner, changes

    async def commit(self, change: Change) -> Committed:
        if not self.left:
            raise StorageFull("no space")
        self.left -= 1
        return await self.inner.commit(change)


@pytest.mark.parametrize(("changes", "told"), [(0, []), (1, ["lineage.started"])])
async def test_a_full_disk_holds_no_export_up(
    services: Services, changes: int, told: list[str]
) -> None:
    full: Any = Full(services.commands, changes)
    async with exporting(
        msgspec.structs.replace(services, commands=full), ANNA, FileFormat.CSV
    ) as counted:
        assert [line async for line in counted.through(two_lines(), FileFormat.CSV)]
    assert [name for name, _ in await events(services)] == told


async def test_who_may_not_read_begins_no_export(services: Services) -> None:
    with pytest.raises(Forbidden):
        async with exporting(services, Principal(id="x", scopes=frozenset()), FileFormat.CSV):
            pass
    assert await events(services) == []


async def left_running(services: Services) -> str:
    """An export whose process ends at once."""
    export = exporting(services, ANNA, FileFormat.CSV)
    await export.__aenter__()
    services_events = await events(services)
    return services_events[-1][1]


async def test_what_a_crash_left_running_is_settled_at_the_next_start(services: Services) -> None:
    run_id = await left_running(services)
    async with exporting(services, ANNA, FileFormat.CSV):
        pass
    started = services.clock.now()
    own = await left_running(services)  # as far as this process knows it is under way
    assert await settle_runs(services, started) == 1
    run = (await get_run(services, ANNA, run_id)).state
    assert (run.state, run.reason) == (RunState.ABORTED, "the process ended before the run did")
    assert await settle_runs(services, started) == 0
    assert (await get_run(services, ANNA, own)).state.state is RunState.RUNNING


class Shared:
    """A store that other processes may have open too."""

    def __init__(self, status: StoreStatus) -> None:
        self._status = msgspec.structs.replace(status, exclusive=False)

    def status(self) -> StoreStatus:
        return self._status


async def test_in_a_shared_store_a_run_has_an_hour(services: Services) -> None:
    run_id = await left_running(services)
    shared: Any = Shared(services.control.status())
    others = msgspec.structs.replace(services, control=shared)
    now = services.clock.now()
    assert await settle_runs(others, now + timedelta(minutes=59)) == 0
    assert await settle_runs(others, now + timedelta(minutes=61)) == 1
    assert (await get_run(services, ANNA, run_id)).state.state is RunState.ABORTED


async def several(services: Services) -> list[str]:
    """Three imports and two exports, one of them unfinished; their ids, oldest first."""
    for number in range(3):
        await do(services, await order(services, ROWS.replace("Dam", f"Dam {number}")))
    async with exporting(services, ANNA, FileFormat.CSV):
        pass
    await left_running(services)
    found = [run_id for name, run_id in await events(services) if name == "lineage.started"]
    assert len(found) == 5
    return found


async def ids_of(services: Services, wanted: Wanted, limit: int = 2) -> list[str]:
    """All runs that are wanted, page by page."""
    found: list[str] = []
    after = None
    while True:
        page = await find_runs(services, ANNA, wanted, after=after, limit=limit)
        assert len(page.runs) <= limit
        found += [run.id for run in page.runs]
        after = page.next
        if after is None:
            return found


async def test_runs_are_found_newest_first_and_by_what_they_are(mapped: Services) -> None:
    ids = await several(mapped)
    newest = ids[::-1]
    assert await ids_of(mapped, Wanted()) == newest
    assert await ids_of(mapped, Wanted(job="import.desk")) == newest[2:]
    assert await ids_of(mapped, Wanted(activity=Activity.EXPORT)) == newest[:2]
    assert await ids_of(mapped, Wanted(state=RunState.RUNNING)) == newest[:1]
    assert await ids_of(mapped, Wanted(dataset="projects")) == newest
    assert await ids_of(mapped, Wanted(dataset="exports/projects.csv")) == newest[:2]
    upload = (await get_run(mapped, ANNA, ids[1])).state.inputs[0].name
    assert await ids_of(mapped, Wanted(dataset=upload)) == [ids[1]]
    middle = (await get_run(mapped, ANNA, ids[2])).created_at
    assert await ids_of(mapped, Wanted(since=middle)) == newest[:3]
    assert await ids_of(mapped, Wanted(until=middle)) == newest[3:]
    assert await ids_of(mapped, Wanted(job="nothing")) == []
    with pytest.raises(CursorInvalid):
        await find_runs(mapped, ANNA, Wanted(), after=("x",), limit=2)
    with pytest.raises(InvalidInput):
        await find_runs(mapped, ANNA, Wanted(), limit=0)


async def test_the_graph_joins_each_run_with_what_it_read_and_wrote(mapped: Services) -> None:
    ids = await several(mapped)
    graph = graph_of(await newest_runs(mapped, ANNA, Wanted()))
    datasets = {node.name for node in graph.nodes if isinstance(node, DatasetNode)}
    runs = {node.run_id: node for node in graph.nodes if isinstance(node, RunNode)}
    assert set(runs) == set(ids)
    assert {"projects", "exports/projects.csv"} < datasets
    assert len(datasets) == 5  # with three uploads
    nodes = {node.id for node in graph.nodes}
    assert len(nodes) == len(graph.nodes)
    for edge in graph.edges:
        assert {edge.source, edge.target} <= nodes
        assert edge.source.startswith("run:") != edge.target.startswith("run:")
    into = [edge for edge in graph.edges if edge.target == "dataset:projects"]
    assert {edge.source for edge in into} == {f"run:{run_id}" for run_id in ids[:3]}
    assert runs[ids[-1]].ended_at is None


async def test_a_run_is_read_back_as_it_was_written(mapped: Services) -> None:
    import_id = await order(mapped)
    await do(mapped, import_id)
    stored: Stored[Run] = await get_run(mapped, ANNA, import_id)
    entry = (await mapped.reads.history("lineage_run", import_id, after_version=1, limit=1))[0]
    assert msgspec.json.decode(entry.document, type=Run) == stored.state


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def governed(services: Services, shelf: Shelf) -> Services:
    """A store with a project under version 1 of a schema, and version 2 on the shelf."""
    registry: Any = shelf
    governed = msgspec.structs.replace(services, registry=registry)
    shelf.serve(1, {"name": "mw", "type": "decimal(18,4)"})
    await refresh_schema(governed, RULES)
    fields: dict[str, object] = {"project_name": "Dam", "total_amount": Decimal(1)}
    await create_project(governed, ANNA, attributes=Attributes(fields, {}, {}))
    shelf.serve(2, {"name": "capacity_mw", "type": "decimal(20,4)", "aliases": ["mw"]}, "grid_on")
    return governed


async def test_a_migration_says_where_each_column_comes_from(governed: Services) -> None:
    outcome = await refresh_schema(governed, RULES)
    assert outcome.verdict is Verdict.ADOPTED
    (stored,) = await newest_runs(governed, ANNA, Wanted(activity=Activity.MIGRATION))
    run = stored.state
    assert (run.state, run.job) == (RunState.COMPLETE, "migration.project_schema")
    assert (run.inputs[0].version, run.outputs[0].version) == (
        "project_schema@1",
        "project_schema@2",
    )
    assert run.inputs[0].name == run.outputs[0].name == "projects"
    said = {name: (o.field, o.conversion) for name, (o,) in run.origins.items()}
    assert said["capacity_mw"] == (
        "mw",
        "renamed, widened from decimal(18,4) to decimal(20,4)",
    )
    assert said["grid_on"] == ("x_grid_on", "promoted")
    assert said["project_name"] == ("project_name", "")
    for event in run_events(run, stored.created_at, stored.updated_at, EMITTER):
        check(msgspec.json.decode(msgspec.json.encode(event)))


async def test_a_migration_that_the_data_forbid_fails_with_the_reason(
    governed: Services, shelf: Shelf
) -> None:
    shelf.serve(2, {"name": "mw", "type": "decimal(18,4)", "required": True, "default": 1})
    schemas: Any = Disproving(governed.schemas)
    outcome = await refresh_schema(msgspec.structs.replace(governed, schemas=schemas), RULES)
    assert outcome.verdict is Verdict.QUARANTINED
    (stored,) = await newest_runs(governed, ANNA, Wanted(activity=Activity.MIGRATION))
    assert stored.state.state is RunState.FAILED
    assert stored.state.reason is not None
    assert "mw of 1 project" in stored.state.reason


class Disproving:
    """A schema store whose data bear no migration out."""

    def __init__(self, inner: SchemaStore) -> None:
        self.inner = inner

    async def migrate(self, record: Any, _plan: object, **_more: object) -> None:
        column = record.schema.columns[0]
        raise Disproved(
            [
                Failure(
                    proof=Proof(stored="mw", column=column), projects=1, sample=("p",), detail="x"
                )
            ]
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize(
    ("committed", "state"), [(False, RunState.ABORTED), (True, RunState.COMPLETE)]
)
async def test_a_crash_in_a_migration_is_settled_by_what_rules_afterwards(
    governed: Services,
    shelf: Shelf,
    committed: bool,  # noqa: FBT001 -- a parameter of the test
    state: RunState,
) -> None:
    old = (await governed.active()).schema
    fetched = await shelf.fetch("project_schema", 2)
    plan = plan_migration(old, fetched.schema)
    await migrating(governed, "service", old, fetched.schema, plan).__aenter__()
    if committed:
        record = SchemaRecord(
            schema=fetched.schema,
            document=fetched.document,
            state=SchemaState.CANDIDATE,
            provenance=fetched.provenance,
            recorded_at=governed.clock.now(),
        )
        await governed.schemas.migrate(record, plan, actor="service")
    assert await settle_runs(governed, governed.clock.now()) == 1
    (stored,) = await newest_runs(governed, ANNA, Wanted(activity=Activity.MIGRATION))
    assert stored.state.state is state
