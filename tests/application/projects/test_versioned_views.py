"""Commands during a schema change: recorded as read, or read again, never mixed."""

import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.application.datasets.dataset_columns import DatasetName
from spawn.application.datasets.dataset_query import read_dataset_query
from spawn.application.datasets.dataset_rows import read_projects
from spawn.application.dependencies import Dependencies
from spawn.application.imports.commands import put_mapping, submit_import
from spawn.application.imports.runner import run_import
from spawn.application.projects.commands import (
    CommandContext,
    amend_project,
    create_project,
    transition_project,
)
from spawn.application.projects.queries import get_project, list_project_history
from spawn.application.schemas.served_versions import find_deprecation_instant, get_version_view
from spawn.domain.change import Change, CommitResult, IdempotencyKey, StoredResponse
from spawn.domain.errors import SchemaVersionChanged
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.json_tokens import NumberToken, Token, parse_object
from spawn.domain.principal import Principal
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.query import Query
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState

ANNA = Principal(id="anna")
MAPPING = {
    "key": {"source": "desk", "column": "id"},
    "on_existing": "update",
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost"},
        {"attribute": "capacity_mw", "column": "mw"},
    ],
}
BODY: dict[str, Token] = {
    "project_name": "Sierra",
    "total_amount": "1",
    "capacity_mw": NumberToken("120"),
}


async def rename_capacity(dependencies: Dependencies) -> Schema:
    """Activate a version in which the capacity has another name."""
    return await revise_capacity(dependencies, name="power_mw", aliases=["capacity_mw"])


async def revise_capacity(
    dependencies: Dependencies, recorded_at: datetime | None = None, **members: Any
) -> Schema:
    """Activate the next version, in which the capacity column has another meaning."""
    active = (await dependencies.active_schema()).schema
    described: dict[str, Any] = json.loads((await dependencies.active_schema()).document)
    for column in described["columns"]:
        if column["name"] == "capacity_mw":
            column.update(members)
    document = json.dumps({**described, "version": active.version + 1}).encode()
    record = SchemaRecord(
        schema=read_schema(document),
        document=document,
        state=SchemaState.CANDIDATE,
        provenance=Provenance.LIVE,
        recorded_at=recorded_at or datetime.now(UTC),
    )
    plan = plan_migration(active, record.schema)
    await dependencies.schemas.migrate(record, plan, actor="steward")
    return (await dependencies.active_schema()).schema


async def test_a_creation_is_recorded_as_it_was_read_and_seen_as_it_is_now(
    dependencies: Dependencies,
) -> None:
    attributes = (await dependencies.validator()).read(BODY)
    await create_project(
        dependencies, ANNA, attributes=attributes
    )  # Now there are data to migrate.
    await rename_capacity(dependencies)
    created_project = (await create_project(dependencies, ANNA, attributes=attributes)).aggregate
    assert created_project is not None
    assert (created_project.schema_version, dict(created_project.state.attributes)) == (
        0,
        {"capacity_mw": Decimal(120)},
    )
    read = await get_project(dependencies, ANNA, created_project.id)
    assert (read.schema_version, dict(read.state.attributes)) == (1, {"power_mw": Decimal(120)})
    (entry,) = await list_project_history(
        dependencies, ANNA, created_project.id, after_version=0, limit=9
    )
    assert entry.schema_version == 0


async def test_an_amendment_read_under_the_version_before_is_to_be_read_again(
    dependencies: Dependencies,
) -> None:
    before = await dependencies.validator()
    created_project = (
        await create_project(dependencies, ANNA, attributes=before.read(BODY))
    ).aggregate
    assert created_project is not None
    old = before.read({"capacity_mw": NumberToken("130")}, partial=True)
    await rename_capacity(dependencies)
    with pytest.raises(SchemaVersionChanged):
        await amend_project(dependencies, ANNA, created_project.id, attributes=old)
    with pytest.raises(SchemaVersionChanged):
        await transition_project(
            dependencies,
            ANNA,
            created_project.id,
            to=ProjectStatus.MANDATED,
            reason="signed",
            context=CommandContext(schema_version=0),
        )
    again = (await dependencies.validator()).read({"capacity_mw": NumberToken("130")}, partial=True)
    await amend_project(dependencies, ANNA, created_project.id, attributes=again)
    read = await get_project(dependencies, ANNA, created_project.id)
    assert dict(read.state.attributes) == {"power_mw": Decimal(130)}


class MovingCommands:
    """A store in which another version becomes active after a decision, before its commit."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self.commits = 0

    async def commit(self, change: Change) -> CommitResult:
        self.commits += 1
        if self.commits == 1:
            await rename_capacity(self._dependencies)
        return await self._dependencies.commands.commit(change)

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        return await self._dependencies.commands.find_receipt(key)


async def test_a_decision_that_an_adoption_overtakes_is_made_again(
    dependencies: Dependencies,
) -> None:
    created_project = (
        await create_project(
            dependencies, ANNA, attributes=(await dependencies.validator()).read(BODY)
        )
    ).aggregate
    assert created_project is not None
    moving = MovingCommands(dependencies)
    result = await transition_project(
        msgspec.structs.replace(dependencies, commands=moving),
        ANNA,
        created_project.id,
        to=ProjectStatus.MANDATED,
        reason="signed",
    )
    assert moving.commits == 2
    assert result.aggregate is not None
    assert (result.aggregate.version, result.aggregate.schema_version) == (2, 1)
    assert dict(result.aggregate.state.attributes) == {"power_mw": Decimal(120)}
    entries = await list_project_history(
        dependencies, ANNA, created_project.id, after_version=0, limit=9
    )
    assert [entry.schema_version for entry in entries] == [0, 1]


async def test_a_request_that_an_adoption_overtakes_is_to_be_read_again(
    dependencies: Dependencies,
) -> None:
    validator = await dependencies.validator()
    attributes = validator.read(BODY)
    context = CommandContext(schema_version=0)
    await create_project(dependencies, ANNA, attributes=attributes, context=context)
    position = await dependencies.reads.position()
    moving = MovingCommands(dependencies)
    beside = msgspec.structs.replace(dependencies, commands=moving)
    with pytest.raises(SchemaVersionChanged):
        await create_project(beside, ANNA, attributes=attributes, context=context)
    assert moving.commits == 1
    assert await dependencies.reads.count_rows_after(position) == 1  # the adoption alone
    assert len((await dependencies.reads.page(Query())).items) == 1


async def test_a_version_that_never_had_data_is_not_recorded(dependencies: Dependencies) -> None:
    attributes = (await dependencies.validator()).read(BODY)
    active = await dependencies.active_schema()
    document = json.dumps({**json.loads(active.document), "version": 1, "columns": []}).encode()
    record = SchemaRecord(
        schema=read_schema(document),
        document=document,
        state=SchemaState.ACTIVE,
        provenance=Provenance.LIVE,
        recorded_at=datetime.now(UTC),
    )
    await dependencies.schemas.adopt(record)
    with pytest.raises(SchemaVersionChanged):
        await create_project(dependencies, ANNA, attributes=attributes)


async def test_an_export_ends_in_the_shape_that_it_began_with(dependencies: Dependencies) -> None:
    validator = await dependencies.validator()
    for _ in range(3):
        await create_project(dependencies, ANNA, attributes=validator.read(BODY))
    dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, {})
    pages_of_one = msgspec.structs.replace(dataset.query, limit=1)
    dataset = msgspec.structs.replace(dataset, query=pages_of_one)
    rows: list[dict[str, object]] = []
    async for row in read_projects(dependencies, ANNA, dataset):
        rows.append(row)
        if len(rows) == 1:
            await rename_capacity(dependencies)
    assert [msgspec.json.encode(row["capacity_mw"]) for row in rows] == [b"120"] * 3


class MovingReads:
    """A store in which another version becomes active before references are looked up."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self.moved = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dependencies.reads, name)

    async def get_many(self, kind: str, ids: Sequence[str]) -> Any:
        if not self.moved:
            self.moved = True
            await rename_capacity(self._dependencies)
        return await self._dependencies.reads.get_many(kind, ids)


async def test_a_chunk_of_an_import_is_recorded_under_the_version_that_read_it(
    dependencies: Dependencies,
) -> None:
    """One row creates a project, and one updates the project of its key."""
    reference: dict[str, Token] = {"source": "desk", "id": "7"}
    body = {**BODY, "external_ref": reference}
    attributes = (await dependencies.validator()).read(body)
    await create_project(dependencies, ANNA, attributes=attributes)
    mapping = read_mapping("desk", parse_object(json.dumps(MAPPING).encode()))
    await put_mapping(dependencies, ANNA, mapping)
    reads = MovingReads(dependencies)
    moving = msgspec.structs.replace(dependencies, reads=reads)
    await imported(moving, b"id,name,cost,mw\n7,Sierra,1,150\n8,Dam,1,60\n")
    assert reads.moved
    page = await dependencies.reads.page(Query())
    assert {aggregate.schema_version for aggregate in page.items} == {1}
    values = {s.state.project_name: dict(s.state.attributes) for s in page.items}
    assert values == {"Sierra": {"power_mw": Decimal(150)}, "Dam": {"power_mw": Decimal(60)}}
    assert not any(aggregate.state.hidden_attributes for aggregate in page.items)


async def imported(dependencies: Dependencies, data: bytes) -> None:
    async def upload_chunks() -> AsyncIterator[bytes]:
        yield data

    form = FileFormat.CSV
    submission = await submit_import(
        dependencies, ANNA, upload_chunks(), file_format=form, mapping_name="desk"
    )
    assert submission.job is not None
    with ThreadPoolExecutor(1) as executor:
        await run_import(dependencies, submission.job.job_id, executor)


async def test_a_notice_counts_from_the_version_that_gave_it(dependencies: Dependencies) -> None:
    attributes = (await dependencies.validator()).read(BODY)
    await create_project(dependencies, ANNA, attributes=attributes)
    days = [datetime(2030, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
    assert await find_deprecation_instant(dependencies) is None
    await revise_capacity(dependencies, days[0], deprecated=True)
    await revise_capacity(dependencies, days[1], deprecated=False)
    assert await find_deprecation_instant(dependencies) is None
    await revise_capacity(dependencies, days[2], deprecated=True)
    await revise_capacity(dependencies, days[3], description="Rated.")
    assert await find_deprecation_instant(dependencies) == days[2]


async def test_the_active_version_has_a_view_without_successor(dependencies: Dependencies) -> None:
    active = (await dependencies.active_schema()).schema
    view = await get_version_view(dependencies, active.version)
    assert (view.schema, view.superseded_at, view.sunset_on) == (active, None, None)
    newer = await rename_capacity(dependencies)
    older = await get_version_view(dependencies, active.version)
    assert older.schema == active
    assert older.superseded_at is not None
    assert (await get_version_view(dependencies, newer.version)).schema == newer


async def test_the_values_of_a_version_are_described_once_for_each_active_one(
    dependencies: Dependencies,
) -> None:
    first = (await dependencies.active_schema()).schema
    day = datetime(2030, 1, 1, tzinfo=UTC)
    await revise_capacity(dependencies, day, type="decimal(14,3)")
    values = (await get_version_view(dependencies, first.version)).value_schema
    assert [c.type.precision for c in values.columns if c.name == "capacity_mw"] == [14]
    again = await get_version_view(dependencies, first.version)
    assert again.value_schema is values
    await revise_capacity(dependencies, day, description="Rated.")
    assert (await get_version_view(dependencies, first.version)).value_schema is not values
