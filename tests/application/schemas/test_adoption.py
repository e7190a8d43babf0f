"""Schema adoption in a running service: adopt, quarantine, decide, never lose data."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.application.fake_registry import ID, POLICY, FakeRegistry, pinned_policy, schema_policy

from spawn.application.dependencies import Dependencies
from spawn.application.imports.commands import put_mapping, submit_import
from spawn.application.imports.queries import get_import
from spawn.application.imports.runner import run_import
from spawn.application.projects.commands import amend_project, create_project
from spawn.application.projects.queries import get_project
from spawn.application.projects.versioned_views import convert_to_version
from spawn.application.schemas.activation import (
    RefreshVerdict,
    ensure_active_schema,
    get_schema_health,
)
from spawn.application.schemas.adoptions.proposals import check_schema
from spawn.application.schemas.adoptions.steward_decisions import (
    approve_schema,
    reject_schema,
)
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.change import (
    Change,
    CommitResult,
    IdempotencyKey,
    StoredAggregate,
    StoredResponse,
)
from spawn.domain.errors import (
    Conflict,
    Forbidden,
    NotFound,
    RegistryError,
    SchemaVersionChanged,
)
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import Project
from spawn.domain.query import Query
from spawn.domain.schemas.evolution.compatibility import Compatibility, CompatibilityMode
from spawn.domain.schemas.validator import ProjectInput
from spawn.ports.schemas import (
    MigrationOutcome,
    MigrationRejected,
    SchemaRecord,
    SchemaState,
    SchemaStore,
)
from spawn.ports.storage import CommandStore
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.intensity import rounds

STEWARD = Principal(id="steward")
TEXT = {"name": "grade", "type": "string(20)", "unit": "1"}
WHOLE = {"name": "units", "type": "integer"}


async def begin(
    dependencies: Dependencies, fake_registry: FakeRegistry, *columns: Any, **attributes: Any
) -> str:
    """Adopt version 1 with these columns, create a project and return its id."""
    fake_registry.serve(1, *columns)
    await ensure_active_schema(dependencies, POLICY)
    return await create(dependencies, **attributes)


async def create(dependencies: Dependencies, version: int | None = None, **attributes: Any) -> str:
    """Create a project from attributes that were read under a schema version."""
    extensions = {k: attributes.pop(k) for k in list(attributes) if k.startswith("x_")}
    core = {"project_name": "One", "total_amount": Decimal(1)}
    project_input = ProjectInput(core, attributes, extensions, schema_version=version)
    outcome = await create_project(dependencies, STEWARD, attributes=project_input)
    assert outcome.aggregate is not None
    return outcome.aggregate.id


async def attributes(dependencies: Dependencies, project_id: str) -> dict[str, Any]:
    return dict((await get_project(dependencies, STEWARD, project_id)).state.attributes)


async def states(dependencies: Dependencies) -> dict[int, SchemaState]:
    return {r.schema.version: r.state for r in await dependencies.schemas.records()}


async def schema_events(dependencies: Dependencies) -> list[JournalEntry]:
    page = await dependencies.reads.feed(after=None, limit=100, subject=("schema", ID))
    return list(page.entries)


async def test_a_compatible_version_is_adopted_with_the_data(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, TEXT, grade="A", x_units=msgspec.Raw(b"7"))
    fake_registry.serve(2, TEXT, WHOLE)
    outcome = await refresh_schema(dependencies, POLICY)
    assert outcome.verdict is RefreshVerdict.ADOPTED
    assert outcome.migration is not None
    assert (outcome.migration.rows, outcome.migration.actor) == (1, "service")
    assert await states(dependencies) == {1: SchemaState.RETIRED, 2: SchemaState.ACTIVE}
    assert await attributes(dependencies, project) == {"grade": "A", "units": 7}
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.UNCHANGED
    assert [e.type for e in await schema_events(dependencies)] == ["schema.adopted"]


async def test_versions_that_were_missed_are_skipped(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(7, {**TEXT, "type": "string(40)"}, WHOLE)
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.ADOPTED
    assert [s.version for s in await dependencies.schemas.version_history()] == [7, 1]
    assert await attributes(dependencies, project) == {"grade": "A"}


@pytest.mark.parametrize(
    ("columns", "detail"),
    [
        ([{**TEXT, "type": "string(5)"}], "/columns/grade"),
        ([{**TEXT, "type": "integer"}], "/columns/grade/type"),
        ([TEXT, {**WHOLE, "required": True}], "/columns/units"),
        ([{**TEXT, "unit": "kg"}], "/columns/grade"),
        ([{**TEXT, "required": True}], "/columns/grade/required"),
    ],
)
async def test_an_incompatible_version_is_quarantined_and_the_old_one_serves_on(
    dependencies: Dependencies, fake_registry: FakeRegistry, columns: list[Any], detail: str
) -> None:
    project = await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, *columns)
    outcome = await refresh_schema(dependencies, POLICY)
    assert outcome.verdict is RefreshVerdict.QUARANTINED
    assert detail in outcome.detail
    assert await states(dependencies) == {1: SchemaState.ACTIVE, 2: SchemaState.QUARANTINED}
    assert await attributes(dependencies, project) == {"grade": "A"}
    health = await get_schema_health(dependencies, POLICY)
    assert health.problem.startswith("version 2 is quarantined: ")
    background = await refresh_schema(dependencies, POLICY, should_retry=False)
    assert background.verdict is RefreshVerdict.UNCHANGED
    (event,) = await schema_events(dependencies)
    assert (event.type, event.reason) == ("schema.quarantined", outcome.detail)
    # The next version makes it a thing of the past.
    fake_registry.serve(3, TEXT, WHOLE)
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.ADOPTED
    assert (await get_schema_health(dependencies, POLICY)).problem == ""


async def test_data_that_do_not_fit_quarantine_a_version_until_they_do(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, TEXT, x_units=msgspec.Raw(b'"many"'))
    fake_registry.serve(2, TEXT, WHOLE)
    outcome = await refresh_schema(dependencies, POLICY)
    assert outcome.verdict is RefreshVerdict.QUARANTINED
    assert f"x_units of 1 row, such as {project}, " in outcome.detail
    (attempt,) = await dependencies.schemas.migration_log()
    assert attempt.outcome is MigrationOutcome.REJECTED
    for note in (b'"less"', b'"none"'):  # other data, and the same reason
        still_bad = ProjectInput({}, {}, {"x_note": msgspec.Raw(note)})
        await amend_project(dependencies, STEWARD, project, attributes=still_bad)
        unchanged = await refresh_schema(dependencies, POLICY, should_retry=False)
        assert unchanged.verdict is RefreshVerdict.UNCHANGED
    assert await dependencies.schemas.migration_log() == [attempt]
    corrected_input = ProjectInput({}, {}, {"x_units": msgspec.Raw(b"9")})
    await amend_project(dependencies, STEWARD, project, attributes=corrected_input)
    adopted = await refresh_schema(dependencies, POLICY, should_retry=False)
    assert adopted.verdict is RefreshVerdict.ADOPTED
    assert await attributes(dependencies, project) == {"units": 9}


@pytest.mark.parametrize(
    ("mode", "columns", "verdict"),
    [
        (CompatibilityMode.NONE, [{**TEXT, "required": True}], RefreshVerdict.ADOPTED),
        (CompatibilityMode.BACKWARD, [{**TEXT, "required": True}], RefreshVerdict.QUARANTINED),
        (CompatibilityMode.FORWARD, [{**TEXT, "required": True}], RefreshVerdict.ADOPTED),
        (CompatibilityMode.BACKWARD, [{**TEXT, "type": "string(40)"}], RefreshVerdict.ADOPTED),
        (CompatibilityMode.FULL, [{**TEXT, "type": "string(40)"}], RefreshVerdict.QUARANTINED),
        (CompatibilityMode.NONE, [{**TEXT, "type": "integer"}], RefreshVerdict.QUARANTINED),
    ],
)
async def test_the_mode_decides_which_versions_are_adopted(
    dependencies: Dependencies,
    fake_registry: FakeRegistry,
    mode: CompatibilityMode,
    columns: list[Any],
    verdict: RefreshVerdict,
) -> None:
    await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, *columns)
    assert (await refresh_schema(dependencies, schema_policy(mode=mode))).verdict is verdict


async def test_another_mode_tries_a_quarantined_version_again(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, {**TEXT, "required": True})
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.QUARANTINED
    assert (
        await refresh_schema(dependencies, schema_policy(mode=CompatibilityMode.NONE))
    ).verdict is RefreshVerdict.ADOPTED


async def test_of_racing_refreshes_one_migrates(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, TEXT, {**WHOLE, "default": 3})
    outcomes = await asyncio.gather(*(refresh_schema(dependencies, POLICY) for _ in range(5)))
    assert [o.verdict for o in outcomes if o.migration is not None] == [RefreshVerdict.ADOPTED]
    assert {o.verdict for o in outcomes} <= {RefreshVerdict.ADOPTED, RefreshVerdict.UNCHANGED}
    assert await states(dependencies) == {1: SchemaState.RETIRED, 2: SchemaState.ACTIVE}
    assert len(await dependencies.schemas.migration_log()) == 1
    assert [e.type for e in await schema_events(dependencies)] == ["schema.adopted"]
    assert await attributes(dependencies, project) == {"grade": "A", "units": 3}


async def test_a_pin_is_migrated_to_and_held(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, TEXT, WHOLE)
    fake_registry.serve(3, TEXT, WHOLE, "since")
    assert (await refresh_schema(dependencies, pinned_policy(2))).verdict is RefreshVerdict.ADOPTED
    assert (
        await refresh_schema(dependencies, pinned_policy(2))
    ).verdict is RefreshVerdict.UNCHANGED
    assert await states(dependencies) == {1: SchemaState.RETIRED, 2: SchemaState.ACTIVE}
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.ADOPTED
    # The way back is none.
    assert (
        await refresh_schema(dependencies, pinned_policy(2))
    ).verdict is RefreshVerdict.UNCHANGED
    health = await get_schema_health(dependencies, pinned_policy(2))
    assert health.problem == "version 2 is pinned, but version 3 is active"


async def test_an_older_pinned_version_without_data_is_rejected(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(1, TEXT)
    fake_registry.serve(5, TEXT, WHOLE)
    await ensure_active_schema(dependencies, POLICY)
    await create(dependencies)
    outcome = await refresh_schema(dependencies, pinned_policy(1))
    assert outcome.verdict is RefreshVerdict.QUARANTINED
    assert "older" in outcome.detail


async def test_a_decision_adopts_a_version_that_the_mode_rejects(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, {**TEXT, "required": True})
    await refresh_schema(dependencies, POLICY)
    with pytest.raises(Forbidden):
        await approve_schema(
            dependencies,
            POLICY,
            Principal(id="reader", scopes=frozenset({Scope.PROJECTS_READ, Scope.PROJECTS_WRITE})),
            version=2,
            reason="agreed",
        )
    with expect_invalid(("/reason", "empty")):
        await approve_schema(dependencies, POLICY, STEWARD, version=2, reason=" ")
    with pytest.raises(NotFound):
        await approve_schema(dependencies, POLICY, STEWARD, version=3, reason="agreed")
    outcome = await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="agreed")
    assert outcome.verdict is RefreshVerdict.ADOPTED
    active = await dependencies.active_schema()
    assert active.decision is not None
    assert (active.decision.actor, active.decision.reason) == ("steward", "agreed")
    assert active.reason == ""
    (migration,) = await dependencies.schemas.migration_log()
    assert (migration.actor, migration.reason) == ("steward", "agreed")
    assert [e.type for e in await schema_events(dependencies)] == [
        "schema.quarantined",
        "schema.adopted",
    ]
    assert await attributes(dependencies, project) == {"grade": "A"}


class Slow:
    """A schema store whose first record waits for the test."""

    def __init__(self, schemas: SchemaStore) -> None:
        self._schemas = schemas
        self.requested_event = asyncio.Event()
        self.let = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schemas, name)

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        self.requested_event.set()
        await self.let.wait()
        await self._schemas.record(record, actor=actor)


async def test_a_decision_does_not_downgrade_a_version_adopted_meanwhile(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, {**TEXT, "required": True})
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.QUARANTINED
    slow = Slow(dependencies.schemas)
    beside = msgspec.structs.replace(dependencies, schemas=slow)
    deciding = asyncio.create_task(
        approve_schema(beside, POLICY, STEWARD, version=2, reason="agreed")
    )
    await slow.requested_event.wait()
    fake_registry.serve(3, TEXT, {**WHOLE, "default": 3})
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.ADOPTED
    slow.let.set()
    with pytest.raises(Conflict, match="Version 3 of the schema is active by now"):
        await deciding
    assert (await dependencies.active_schema()).schema.version == 3
    assert await attributes(dependencies, project) == {"grade": "A", "units": 3}


async def test_a_rejection_is_not_undone_by_an_earlier_refresh(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, {**TEXT, "type": "integer"})
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.QUARANTINED
    slow = Slow(dependencies.schemas)
    beside = msgspec.structs.replace(dependencies, schemas=slow)
    looking = asyncio.create_task(refresh_schema(beside, POLICY))
    await slow.requested_event.wait()
    await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="a mistake")
    slow.let.set()
    assert (await looking).verdict is RefreshVerdict.UNCHANGED
    assert (await states(dependencies))[2] is SchemaState.REJECTED


async def test_no_decision_can_lose_data(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, {**TEXT, "type": "integer"})
    await refresh_schema(dependencies, POLICY)
    with pytest.raises(Conflict, match=r"/columns/grade/type.*cannot all be read"):
        await approve_schema(dependencies, POLICY, STEWARD, version=2, reason="anyway")
    lacking = await create(dependencies)
    fake_registry.serve(3, {**TEXT, "required": True})
    await refresh_schema(dependencies, POLICY)
    with pytest.raises(MigrationRejected, match=lacking):
        await approve_schema(dependencies, POLICY, STEWARD, version=3, reason="anyway")
    assert (await states(dependencies))[3] is SchemaState.QUARANTINED
    fake_registry.serve(4, 'x"; drop table journal; --')
    await refresh_schema(dependencies, POLICY)
    with pytest.raises(Conflict, match="invalid"):
        await approve_schema(dependencies, POLICY, STEWARD, version=4, reason="anyway")
    fake_registry.serve(1, TEXT, WHOLE)
    await refresh_schema(dependencies, POLICY)
    with pytest.raises(Conflict, match="another content"):
        await approve_schema(dependencies, POLICY, STEWARD, version=1, reason="anyway")
    assert (await dependencies.active_schema()).schema.version == 1
    assert await attributes(dependencies, project) == {"grade": "A"}


async def test_a_rejected_version_is_left_alone(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, {**TEXT, "type": "integer"})
    await refresh_schema(dependencies, POLICY)
    outcome = await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="a mistake")
    assert outcome.verdict is RefreshVerdict.REJECTED
    assert (await get_schema_health(dependencies, POLICY)).problem == ""
    assert (await refresh_schema(dependencies, POLICY)).verdict is RefreshVerdict.UNCHANGED
    events = await schema_events(dependencies)
    assert [(e.type, e.actor) for e in events] == [
        ("schema.quarantined", "service"),
        ("schema.rejected", "steward"),
    ]
    with pytest.raises(NotFound):
        await reject_schema(dependencies, POLICY, STEWARD, version=1, reason="no")
    with pytest.raises(Conflict, match="already"):
        await reject_schema(dependencies, POLICY, STEWARD, version=2, reason="once more")
    (_, rejected) = await dependencies.schemas.records()
    assert rejected.decision is not None
    assert rejected.decision.reason == "a mistake"


async def test_a_proposal_describes_the_adoption_in_advance(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    project = await begin(
        dependencies, fake_registry, TEXT, grade="A", x_units=msgspec.Raw(b'"many"')
    )
    position = await dependencies.reads.position()
    document = fake_registry.serve(2, {**TEXT, "type": "string(40)"}, WHOLE)
    proposal = await check_schema(dependencies, POLICY, STEWARD, document)
    assert not proposal.is_adoptable
    assert proposal.judgement.is_adoptable
    assert proposal.judgement.comparisons[0].writers is Compatibility.YES
    assert [(f.row_count, f.sample_ids) for f in proposal.failures] == [(1, (project,))]
    assert any("units" in step for step in proposal.steps)
    assert (
        await check_schema(dependencies, POLICY, STEWARD, fake_registry.serve(2, TEXT, "since"))
    ).is_adoptable
    unnumbered = await check_schema(
        dependencies, POLICY, STEWARD, fake_registry.serve(None, "since")
    )
    assert unnumbered.schema.version == 2
    assert await states(dependencies) == {1: SchemaState.ACTIVE}
    assert await dependencies.reads.position() == position
    with expect_invalid(("/columns", "missing")):
        await check_schema(dependencies, POLICY, STEWARD, b"{}")


async def test_an_interrupted_migration_is_tried_again(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    await begin(dependencies, fake_registry, TEXT, grade="A")
    fake_registry.serve(2, TEXT, WHOLE)
    fetched = await fake_registry.fetch(ID, 2)
    from spawn.application.schemas.activation import build_record

    interrupted = build_record(dependencies, fetched.schema, fetched, SchemaState.MIGRATING)
    await dependencies.schemas.record(interrupted)
    fake_registry.error = RegistryError("away")
    await ensure_active_schema(dependencies, POLICY)
    assert (await states(dependencies))[2] is SchemaState.CANDIDATE
    fake_registry.error = None
    outcome = await refresh_schema(dependencies, POLICY, should_retry=False)
    assert outcome.verdict is RefreshVerdict.ADOPTED


async def test_a_command_that_was_read_before_goes_on_or_is_read_again(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    known = await begin(dependencies, fake_registry, WHOLE, units=1)
    fake_registry.serve(2, {"name": "turbines", "type": "integer", "aliases": ["units"]})
    await refresh_schema(dependencies, POLICY)
    created = await create(dependencies, 1, units=7)
    assert await attributes(dependencies, created) == {"turbines": 7}
    aggregate = await get_project(dependencies, STEWARD, created)
    before = await convert_to_version(dependencies, aggregate, 1)
    assert (before.schema_version, dict(before.state.attributes)) == (1, {"units": 7})
    patch = ProjectInput({}, {"units": 9}, {}, schema_version=1)
    with pytest.raises(SchemaVersionChanged):
        await amend_project(dependencies, STEWARD, known, attributes=patch)
    with pytest.raises(SchemaVersionChanged):
        await create(dependencies, 9)
    with pytest.raises(NotFound):
        await convert_to_version(dependencies, aggregate, 9)
    assert await attributes(dependencies, known) == {"turbines": 1}


ROWS = rounds(2_000, 4_000)
"""Rows of an import: the file is larger than what one chunk, and this process, take."""


def rows(count: int, *, units: int) -> bytes:
    """Rows of a CSV file, large enough to be drafted in another process."""
    filler = "x" * 900
    lines = (f"P{n},Project {n},{n}.50,{units + n},{filler}\n" for n in range(count))
    return ("id,name,cost,units,about\n" + "".join(lines)).encode()


async def every(dependencies: Dependencies) -> list[StoredAggregate[Project]]:
    projects: list[StoredAggregate[Project]] = []
    query: Query | None = Query(limit=500)
    while query:
        page = await dependencies.reads.page(query)
        projects += page.items
        query = Query(limit=500, after=page.next) if page.next else None
    return projects


MAPPING = {
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost"},
        {"attribute": "units", "column": "units"},
        {"attribute": "description", "column": "about"},
    ],
    "key": {"source": "desk", "column": "id"},
    "on_existing": "update",
}


async def submit(dependencies: Dependencies, data: bytes) -> str:
    async def upload_chunks() -> AsyncIterator[bytes]:
        yield data

    order = await submit_import(
        dependencies, STEWARD, upload_chunks(), file_format=FileFormat.CSV, mapping_name="desk"
    )
    assert order.job is not None
    return order.job.job_id


class BlockedCommandStore:
    """A command store whose first acknowledgement waits for the test."""

    def __init__(self, commands: CommandStore) -> None:
        self._commands = commands
        self.committed_event = asyncio.Event()
        self.release_event = asyncio.Event()

    async def commit(self, change: Change) -> CommitResult:
        committed = await self._commands.commit(change)
        self.committed_event.set()
        await self.release_event.wait()
        return committed

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        return await self._commands.find_receipt(key)


async def import_across(
    dependencies: Dependencies, fake_registry: FakeRegistry, data: bytes, *columns: Any
) -> None:
    """Import a file and change the schema after its first chunk."""
    import_id = await submit(dependencies, data)
    blocked_store = BlockedCommandStore(dependencies.commands)
    beside = msgspec.structs.replace(dependencies, commands=blocked_store)
    with ThreadPoolExecutor(1) as executor:
        running = asyncio.create_task(run_import(beside, import_id, executor))
        await blocked_store.committed_event.wait()
        fake_registry.serve((await dependencies.active_schema()).schema.version + 1, *columns)
        outcome = await refresh_schema(dependencies, POLICY)
        assert outcome.verdict is RefreshVerdict.ADOPTED, outcome.detail
        blocked_store.release_event.set()
        await running
    counts = (await get_import(dependencies, STEWARD, import_id)).state.counts
    assert (counts.rows, counts.accepted) == (ROWS, ROWS)


@pytest.mark.slow
async def test_an_import_goes_on_across_migrations(
    dependencies: Dependencies, fake_registry: FakeRegistry
) -> None:
    fake_registry.serve(1, WHOLE)
    await ensure_active_schema(dependencies, POLICY)
    mapping = read_mapping("desk", parse_object(json.dumps(MAPPING).encode()))
    await put_mapping(dependencies, STEWARD, mapping)
    renamed = {"name": "turbines", "type": "bigint", "aliases": ["units"]}
    hub = {"name": "hub", "type": "integer", "default": 5}
    await import_across(dependencies, fake_registry, rows(ROWS, units=0), renamed, hub)
    projects = await every(dependencies)
    assert [dict(s.state.attributes) for s in projects] == [
        {"turbines": n, "hub": 5} for n in range(ROWS)
    ]
    await import_across(dependencies, fake_registry, rows(ROWS, units=1), renamed, hub, "since")
    projects = await every(dependencies)
    assert {s.schema_version for s in projects} == {3}
    assert sorted(s.state.attributes["turbines"] for s in projects) == list(range(1, ROWS + 1))
