"""The schema evolves under a running service: adopted, refused, decided on, never lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.application.conftest import services_over
from tests.application.shelf import ID, RULES, Shelf, pinned, rules

from spawn.adapters.factory import open_store
from spawn.adapters.local.runtime import SystemClock
from spawn.application.dependencies import Services
from spawn.application.imports.commands import get_import, put_mapping, start_import
from spawn.application.imports.runner import run_import
from spawn.application.projects.commands import (
    SchemaMoved,
    amend_project,
    create_project,
    get_project,
)
from spawn.application.projects.versioned_views import shown_under
from spawn.application.schemas.activation import (
    Verdict,
    schema_health,
    settle_schema,
)
from spawn.application.schemas.adoption import (
    approve_schema,
    check_schema,
    refresh_schema,
    reject_schema,
)
from spawn.domain.change import Answer, Change, Committed, Entry, Stored
from spawn.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, RegistryError
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping import read_mapping
from spawn.domain.json_tokens import read_object
from spawn.domain.principal import Principal
from spawn.domain.projects.project import Project
from spawn.domain.query import Query
from spawn.domain.schemas.evolution.compatibility import Mode, Relation
from spawn.domain.schemas.validator import Attributes
from spawn.ports.schemas import (
    Disproved,
    MigrationOutcome,
    SchemaRecord,
    SchemaState,
    SchemaStore,
)
from spawn.ports.storage import CommandStore

STEWARD = Principal(id="steward")
TEXT = {"name": "grade", "type": "string(20)", "unit": "1"}
WHOLE = {"name": "units", "type": "integer"}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(params=["memory", "duckdb"])
async def services(
    shelf: Shelf, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Services]:
    clock = SystemClock()
    url = "memory://" if request.param == "memory" else f"duckdb:///{tmp_path}/store.duckdb"
    store = await open_store(url, clock=clock)
    yield services_over(store, shelf, tmp_path)
    await store.close()


async def begin(services: Services, shelf: Shelf, *columns: Any, **attributes: Any) -> str:
    """Adopt version 1 with these columns and create a project; its id."""
    shelf.serve(1, *columns)
    await settle_schema(services, RULES)
    return await create(services, **attributes)


async def create(services: Services, version: int | None = None, **attributes: Any) -> str:
    """Create a project from attributes that were read under a schema version."""
    extensions = {k: attributes.pop(k) for k in list(attributes) if k.startswith("x_")}
    core = {"project_name": "One", "total_amount": Decimal(1)}
    given = Attributes(core, attributes, extensions, schema_version=version)
    outcome = await create_project(services, STEWARD, attributes=given)
    assert outcome.stored is not None
    return outcome.stored.id


async def attributes(services: Services, project_id: str) -> dict[str, Any]:
    return dict((await get_project(services, STEWARD, project_id)).state.attributes)


async def states(services: Services) -> dict[int, SchemaState]:
    return {r.schema.version: r.state for r in await services.schemas.records()}


async def told(services: Services) -> list[Entry]:
    page = await services.reads.feed(after=None, limit=100, subject=("schema", ID))
    return list(page.entries)


async def test_a_compatible_version_is_adopted_with_the_data(
    services: Services, shelf: Shelf
) -> None:
    project = await begin(services, shelf, TEXT, grade="A", x_units=msgspec.Raw(b"7"))
    shelf.serve(2, TEXT, WHOLE)
    outcome = await refresh_schema(services, RULES)
    assert outcome.verdict is Verdict.ADOPTED
    assert outcome.migration is not None
    assert (outcome.migration.rows, outcome.migration.actor) == (1, "service")
    assert await states(services) == {1: SchemaState.RETIRED, 2: SchemaState.ACTIVE}
    assert await attributes(services, project) == {"grade": "A", "units": 7}
    assert (await refresh_schema(services, RULES)).verdict is Verdict.UNCHANGED
    assert [e.type for e in await told(services)] == ["schema.adopted"]


async def test_versions_that_were_missed_are_skipped(services: Services, shelf: Shelf) -> None:
    project = await begin(services, shelf, TEXT, grade="A")
    shelf.serve(7, {**TEXT, "type": "string(40)"}, WHOLE)
    assert (await refresh_schema(services, RULES)).verdict is Verdict.ADOPTED
    assert [s.version for s in await services.schemas.lineage()] == [7, 1]
    assert await attributes(services, project) == {"grade": "A"}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([{**TEXT, "type": "string(5)"}], "/columns/grade"),
        ([{**TEXT, "type": "integer"}], "/columns/grade/type"),
        ([TEXT, {**WHOLE, "required": True}], "/columns/units"),
        ([{**TEXT, "unit": "kg"}], "/columns/grade"),
        ([{**TEXT, "required": True}], "/columns/grade/required"),
    ],
)
async def test_an_incompatible_version_is_quarantined_and_the_old_one_serves_on(
    services: Services, shelf: Shelf, columns: list[Any], said: str
) -> None:
    project = await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, *columns)
    outcome = await refresh_schema(services, RULES)
    assert outcome.verdict is Verdict.QUARANTINED
    assert said in outcome.detail
    assert await states(services) == {1: SchemaState.ACTIVE, 2: SchemaState.QUARANTINED}
    assert await attributes(services, project) == {"grade": "A"}
    health = await schema_health(services, RULES)
    assert health.problem.startswith("version 2 is quarantined: ")
    background = await refresh_schema(services, RULES, again=False)
    assert background.verdict is Verdict.UNCHANGED
    (event,) = await told(services)
    assert (event.type, event.reason) == ("schema.quarantined", outcome.detail)
    # The next version makes it a thing of the past.
    shelf.serve(3, TEXT, WHOLE)
    assert (await refresh_schema(services, RULES)).verdict is Verdict.ADOPTED
    assert (await schema_health(services, RULES)).problem == ""


async def test_data_that_do_not_fit_quarantine_a_version_until_they_do(
    services: Services, shelf: Shelf
) -> None:
    project = await begin(services, shelf, TEXT, x_units=msgspec.Raw(b'"many"'))
    shelf.serve(2, TEXT, WHOLE)
    outcome = await refresh_schema(services, RULES)
    assert outcome.verdict is Verdict.QUARANTINED
    assert f"x_units of 1 project, such as {project}, " in outcome.detail
    (attempt,) = await services.schemas.migrations()
    assert attempt.outcome is MigrationOutcome.REFUSED
    mended = Attributes({}, {}, {"x_units": msgspec.Raw(b"9")})
    await amend_project(services, STEWARD, project, attributes=mended)
    assert (await refresh_schema(services, RULES, again=False)).verdict is Verdict.UNCHANGED
    assert (await refresh_schema(services, RULES)).verdict is Verdict.ADOPTED
    assert await attributes(services, project) == {"units": 9}


@pytest.mark.parametrize(
    ("mode", "columns", "verdict"),
    [
        (Mode.NONE, [{**TEXT, "required": True}], Verdict.ADOPTED),
        (Mode.BACKWARD, [{**TEXT, "required": True}], Verdict.QUARANTINED),
        (Mode.FORWARD, [{**TEXT, "required": True}], Verdict.ADOPTED),
        (Mode.BACKWARD, [{**TEXT, "type": "string(40)"}], Verdict.ADOPTED),
        (Mode.FULL, [{**TEXT, "type": "string(40)"}], Verdict.QUARANTINED),
        (Mode.NONE, [{**TEXT, "type": "integer"}], Verdict.QUARANTINED),
    ],
)
async def test_the_mode_says_what_adoption_takes(
    services: Services, shelf: Shelf, mode: Mode, columns: list[Any], verdict: Verdict
) -> None:
    await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, *columns)
    assert (await refresh_schema(services, rules(mode=mode))).verdict is verdict


async def test_another_mode_looks_again_at_what_was_quarantined(
    services: Services, shelf: Shelf
) -> None:
    await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, {**TEXT, "required": True})
    assert (await refresh_schema(services, RULES)).verdict is Verdict.QUARANTINED
    assert (await refresh_schema(services, rules(mode=Mode.NONE))).verdict is Verdict.ADOPTED


async def test_of_racing_refreshes_one_migrates(services: Services, shelf: Shelf) -> None:
    project = await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, TEXT, {**WHOLE, "default": 3})
    outcomes = await asyncio.gather(*(refresh_schema(services, RULES) for _ in range(5)))
    assert [o.verdict for o in outcomes if o.migration is not None] == [Verdict.ADOPTED]
    assert {o.verdict for o in outcomes} <= {Verdict.ADOPTED, Verdict.UNCHANGED}
    assert await states(services) == {1: SchemaState.RETIRED, 2: SchemaState.ACTIVE}
    assert len(await services.schemas.migrations()) == 1
    assert [e.type for e in await told(services)] == ["schema.adopted"]
    assert await attributes(services, project) == {"grade": "A", "units": 3}


async def test_a_pin_is_migrated_to_and_held(services: Services, shelf: Shelf) -> None:
    await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, TEXT, WHOLE)
    shelf.serve(3, TEXT, WHOLE, "since")
    assert (await refresh_schema(services, pinned(2))).verdict is Verdict.ADOPTED
    assert (await refresh_schema(services, pinned(2))).verdict is Verdict.UNCHANGED
    assert await states(services) == {1: SchemaState.RETIRED, 2: SchemaState.ACTIVE}
    assert (await refresh_schema(services, RULES)).verdict is Verdict.ADOPTED
    # The way back is none.
    assert (await refresh_schema(services, pinned(2))).verdict is Verdict.UNCHANGED
    health = await schema_health(services, pinned(2))
    assert health.problem == "version 2 is pinned, but version 3 is active"


async def test_an_older_pin_that_was_never_here_is_refused(
    services: Services, shelf: Shelf
) -> None:
    shelf.serve(1, TEXT)
    shelf.serve(5, TEXT, WHOLE)
    await settle_schema(services, RULES)
    await create(services)
    outcome = await refresh_schema(services, pinned(1))
    assert outcome.verdict is Verdict.QUARANTINED
    assert "older" in outcome.detail


async def test_a_decision_adopts_what_the_mode_does_not(services: Services, shelf: Shelf) -> None:
    project = await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, {**TEXT, "required": True})
    await refresh_schema(services, RULES)
    with pytest.raises(Forbidden):
        await approve_schema(
            services,
            RULES,
            Principal(id="reader", scopes=frozenset({"read", "write"})),
            version=2,
            reason="agreed",
        )
    with pytest.raises(InvalidInput):
        await approve_schema(services, RULES, STEWARD, version=2, reason=" ")
    with pytest.raises(NotFound):
        await approve_schema(services, RULES, STEWARD, version=3, reason="agreed")
    outcome = await approve_schema(services, RULES, STEWARD, version=2, reason="agreed")
    assert outcome.verdict is Verdict.ADOPTED
    active = await services.active()
    assert active.decision is not None
    assert (active.decision.actor, active.decision.reason) == ("steward", "agreed")
    assert active.reason == ""
    (migration,) = await services.schemas.migrations()
    assert (migration.actor, migration.reason) == ("steward", "agreed")
    assert [e.type for e in await told(services)] == ["schema.quarantined", "schema.adopted"]
    assert await attributes(services, project) == {"grade": "A"}


class Slow:
    """Schemas whose first record is kept only when the test lets it be."""

    def __init__(self, schemas: SchemaStore) -> None:
        self._schemas = schemas
        self.asked = asyncio.Event()
        self.let = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schemas, name)

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        self.asked.set()
        await self.let.wait()
        await self._schemas.record(record, actor=actor)


async def test_a_decision_leads_not_back_from_what_was_adopted_meanwhile(
    services: Services, shelf: Shelf
) -> None:
    project = await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, {**TEXT, "required": True})
    assert (await refresh_schema(services, RULES)).verdict is Verdict.QUARANTINED
    slow = Slow(services.schemas)
    beside = msgspec.structs.replace(services, schemas=slow)
    deciding = asyncio.create_task(
        approve_schema(beside, RULES, STEWARD, version=2, reason="agreed")
    )
    await slow.asked.wait()
    shelf.serve(3, TEXT, {**WHOLE, "default": 3})
    assert (await refresh_schema(services, RULES)).verdict is Verdict.ADOPTED
    slow.let.set()
    with pytest.raises(Conflict, match="Version 3 of the schema is active, not 1"):
        await deciding
    assert (await services.active()).schema.version == 3
    assert await attributes(services, project) == {"grade": "A", "units": 3}


async def test_a_rejection_is_not_taken_back_by_a_look_that_began_before(
    services: Services, shelf: Shelf
) -> None:
    await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, {**TEXT, "type": "integer"})
    assert (await refresh_schema(services, RULES)).verdict is Verdict.QUARANTINED
    slow = Slow(services.schemas)
    beside = msgspec.structs.replace(services, schemas=slow)
    looking = asyncio.create_task(refresh_schema(beside, RULES))
    await slow.asked.wait()
    await reject_schema(services, RULES, STEWARD, version=2, reason="a mistake")
    slow.let.set()
    assert (await looking).verdict is Verdict.UNCHANGED
    assert (await states(services))[2] is SchemaState.REJECTED


async def test_no_decision_can_lose_data(services: Services, shelf: Shelf) -> None:
    project = await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, {**TEXT, "type": "integer"})
    await refresh_schema(services, RULES)
    with pytest.raises(Conflict, match=r"/columns/grade/type.*cannot all be read"):
        await approve_schema(services, RULES, STEWARD, version=2, reason="anyway")
    lacking = await create(services)
    shelf.serve(3, {**TEXT, "required": True})
    await refresh_schema(services, RULES)
    with pytest.raises(Disproved, match=lacking):
        await approve_schema(services, RULES, STEWARD, version=3, reason="anyway")
    assert (await states(services))[3] is SchemaState.QUARANTINED
    shelf.serve(4, 'x"; drop table journal; --')
    await refresh_schema(services, RULES)
    with pytest.raises(Conflict, match="refused"):
        await approve_schema(services, RULES, STEWARD, version=4, reason="anyway")
    shelf.serve(1, TEXT, WHOLE)
    await refresh_schema(services, RULES)
    with pytest.raises(Conflict, match="another content"):
        await approve_schema(services, RULES, STEWARD, version=1, reason="anyway")
    assert (await services.active()).schema.version == 1
    assert await attributes(services, project) == {"grade": "A"}


async def test_a_rejected_version_is_left_alone(services: Services, shelf: Shelf) -> None:
    await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, {**TEXT, "type": "integer"})
    await refresh_schema(services, RULES)
    outcome = await reject_schema(services, RULES, STEWARD, version=2, reason="a mistake")
    assert outcome.verdict is Verdict.REJECTED
    assert (await schema_health(services, RULES)).problem == ""
    assert (await refresh_schema(services, RULES)).verdict is Verdict.UNCHANGED
    events = await told(services)
    assert [(e.type, e.actor) for e in events] == [
        ("schema.quarantined", "service"),
        ("schema.rejected", "steward"),
    ]
    with pytest.raises(NotFound):
        await reject_schema(services, RULES, STEWARD, version=1, reason="no")
    with pytest.raises(Conflict, match="already"):
        await reject_schema(services, RULES, STEWARD, version=2, reason="once more")
    (_, rejected) = await services.schemas.records()
    assert rejected.decision is not None
    assert rejected.decision.reason == "a mistake"


async def test_what_a_proposal_comes_to_is_told_beforehand(
    services: Services, shelf: Shelf
) -> None:
    project = await begin(services, shelf, TEXT, grade="A", x_units=msgspec.Raw(b'"many"'))
    position = await services.reads.position()
    document = shelf.serve(2, {**TEXT, "type": "string(40)"}, WHOLE)
    proposal = await check_schema(services, RULES, STEWARD, document)
    assert not proposal.adoptable
    assert proposal.judgement.adoptable
    assert proposal.judgement.comparisons[0].writers is Relation.YES
    assert [(f.projects, f.sample) for f in proposal.failures] == [(1, (project,))]
    assert any("units" in step for step in proposal.steps)
    assert (await check_schema(services, RULES, STEWARD, shelf.serve(2, TEXT, "since"))).adoptable
    unnumbered = await check_schema(services, RULES, STEWARD, shelf.serve(None, "since"))
    assert unnumbered.schema.version == 2
    assert await states(services) == {1: SchemaState.ACTIVE}
    assert await services.reads.position() == position
    with pytest.raises(InvalidInput):
        await check_schema(services, RULES, STEWARD, b"{}")


async def test_what_was_migrating_when_the_process_ended_is_tried_again(
    services: Services, shelf: Shelf
) -> None:
    await begin(services, shelf, TEXT, grade="A")
    shelf.serve(2, TEXT, WHOLE)
    fetched = await shelf.fetch(ID, 2)
    from spawn.application.schemas.activation import record_of

    left = record_of(services, fetched.schema, fetched, SchemaState.MIGRATING)
    await services.schemas.record(left)
    shelf.error = RegistryError("away")
    await settle_schema(services, RULES)
    assert (await states(services))[2] is SchemaState.CANDIDATE
    shelf.error = None
    outcome = await refresh_schema(services, RULES, again=False)
    assert outcome.verdict is Verdict.ADOPTED


async def test_a_command_that_was_read_before_goes_on_or_is_read_again(
    services: Services, shelf: Shelf
) -> None:
    known = await begin(services, shelf, WHOLE, units=1)
    shelf.serve(2, {"name": "turbines", "type": "integer", "aliases": ["units"]})
    await refresh_schema(services, RULES)
    created = await create(services, 1, units=7)
    assert await attributes(services, created) == {"turbines": 7}
    stored = await get_project(services, STEWARD, created)
    before = await shown_under(services, stored, 1)
    assert (before.schema_version, dict(before.state.attributes)) == (1, {"units": 7})
    patch = Attributes({}, {"units": 9}, {}, schema_version=1)
    with pytest.raises(SchemaMoved):
        await amend_project(services, STEWARD, known, attributes=patch)
    with pytest.raises(SchemaMoved):
        await create(services, 9)
    with pytest.raises(NotFound):
        await shown_under(services, stored, 9)
    assert await attributes(services, known) == {"turbines": 1}


def rows(count: int, *, units: int) -> bytes:
    """Rows of a CSV file, large enough to be drafted in another process."""
    filler = "x" * 900
    lines = (f"P{n},Project {n},{n}.50,{units + n},{filler}\n" for n in range(count))
    return ("id,name,cost,units,about\n" + "".join(lines)).encode()


async def every(services: Services) -> list[Stored[Project]]:
    found: list[Stored[Project]] = []
    query: Query | None = Query(limit=500)
    while query:
        page = await services.reads.page(query)
        found += page.items
        query = Query(limit=500, after=page.next) if page.next else None
    return found


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


async def ordered(services: Services, data: bytes) -> str:
    async def sent() -> AsyncIterator[bytes]:
        yield data

    order = await start_import(
        services, STEWARD, sent(), file_format=FileFormat.CSV, mapping_name="desk"
    )
    assert order.job is not None
    return order.job.job_id


class Held:
    """Commands whose first commit is acknowledged only when the test lets it be."""

    def __init__(self, commands: CommandStore) -> None:
        self._commands = commands
        self.done = asyncio.Event()
        self.told = asyncio.Event()

    async def commit(self, change: Change) -> Committed:
        committed = await self._commands.commit(change)
        self.done.set()
        await self.told.wait()
        return committed

    async def receipt(self, scope: str, key: str, fingerprint: str) -> Answer | None:
        return await self._commands.receipt(scope, key, fingerprint)


async def import_across(services: Services, shelf: Shelf, data: bytes, *columns: Any) -> None:
    """Import a file and have the schema move on after its first chunk."""
    import_id = await ordered(services, data)
    held = Held(services.commands)
    beside = msgspec.structs.replace(services, commands=held)
    with ThreadPoolExecutor(1) as executor:
        running = asyncio.create_task(run_import(beside, import_id, executor))
        await held.done.wait()
        shelf.serve((await services.active()).schema.version + 1, *columns)
        outcome = await refresh_schema(services, RULES)
        assert outcome.verdict is Verdict.ADOPTED, outcome.detail
        held.told.set()
        await running
    counts = (await get_import(services, STEWARD, import_id)).state.counts
    assert (counts.rows, counts.accepted) == (4_000, 4_000)


@pytest.mark.slow
async def test_an_import_goes_on_across_migrations(services: Services, shelf: Shelf) -> None:
    shelf.serve(1, WHOLE)
    await settle_schema(services, RULES)
    mapping = read_mapping("desk", read_object(json.dumps(MAPPING).encode()))
    await put_mapping(services, STEWARD, mapping)
    renamed = {"name": "turbines", "type": "bigint", "aliases": ["units"]}
    hub = {"name": "hub", "type": "integer", "default": 5}
    await import_across(services, shelf, rows(4_000, units=0), renamed, hub)
    found = await every(services)
    assert [dict(s.state.attributes) for s in found] == [
        {"turbines": n, "hub": 5} for n in range(4_000)
    ]
    await import_across(services, shelf, rows(4_000, units=1), renamed, hub, "since")
    found = await every(services)
    assert {s.schema_version for s in found} == {3}
    assert sorted(s.state.attributes["turbines"] for s in found) == list(range(1, 4_001))
