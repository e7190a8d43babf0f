"""Commands while the schema moves on: recorded as they were read, or read again; never mixed."""

import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.application.dependencies import Services
from spawn.application.exports import every_project
from spawn.application.imports.commands import put_mapping, start_import
from spawn.application.imports.runner import run_import
from spawn.application.projects.commands import (
    Call,
    SchemaMoved,
    amend_project,
    create_project,
    get_project,
    project_history,
    transition_project,
)
from spawn.application.projects.versioned_views import deprecated_since
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping import read_mapping
from spawn.domain.json_tokens import Number, Token, read_object
from spawn.domain.principal import Principal
from spawn.domain.projects.lifecycle import Status
from spawn.domain.query import Query
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.model import Schema
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
    "capacity_mw": Number("120"),
}


async def rename_capacity(services: Services) -> Schema:
    """Bring a version to rule in which the capacity has another name."""
    return await revise_capacity(services, name="power_mw", aliases=["capacity_mw"])


async def revise_capacity(
    services: Services, recorded_at: datetime | None = None, **members: Any
) -> Schema:
    """Bring the next version to rule, in which the column of the capacity says other things."""
    active = (await services.active()).schema
    described: dict[str, Any] = json.loads((await services.active()).document)
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
    await services.schemas.migrate(record, plan, actor="steward")
    return (await services.active()).schema


async def test_a_creation_is_recorded_as_it_was_read_and_seen_as_it_is_now(
    services: Services,
) -> None:
    attributes = (await services.conformance()).read(BODY)
    await create_project(services, ANNA, attributes=attributes)  # Now there are data to migrate.
    await rename_capacity(services)
    made = (await create_project(services, ANNA, attributes=attributes)).stored
    assert made is not None
    assert (made.schema_version, dict(made.state.attributes)) == (0, {"capacity_mw": Decimal(120)})
    read = await get_project(services, ANNA, made.id)
    assert (read.schema_version, dict(read.state.attributes)) == (1, {"power_mw": Decimal(120)})
    (entry,) = await project_history(services, ANNA, made.id, after_version=0, limit=9)
    assert entry.schema_version == 0


async def test_an_amendment_read_under_the_version_before_is_to_be_read_again(
    services: Services,
) -> None:
    before = await services.conformance()
    made = (await create_project(services, ANNA, attributes=before.read(BODY))).stored
    assert made is not None
    old = before.read({"capacity_mw": Number("130")}, partial=True)
    await rename_capacity(services)
    with pytest.raises(SchemaMoved):
        await amend_project(services, ANNA, made.id, attributes=old)
    with pytest.raises(SchemaMoved):
        await transition_project(
            services,
            ANNA,
            made.id,
            to=Status.MANDATED,
            reason="signed",
            call=Call(schema_version=0),
        )
    again = (await services.conformance()).read({"capacity_mw": Number("130")}, partial=True)
    await amend_project(services, ANNA, made.id, attributes=again)
    read = await get_project(services, ANNA, made.id)
    assert dict(read.state.attributes) == {"power_mw": Decimal(130)}


async def test_a_version_that_never_had_data_is_not_recorded(services: Services) -> None:
    attributes = (await services.conformance()).read(BODY)
    active = await services.active()
    document = json.dumps({**json.loads(active.document), "version": 1, "columns": []}).encode()
    record = SchemaRecord(
        schema=read_schema(document),
        document=document,
        state=SchemaState.ACTIVE,
        provenance=Provenance.LIVE,
        recorded_at=datetime.now(UTC),
    )
    await services.schemas.adopt(record)
    with pytest.raises(SchemaMoved):
        await create_project(services, ANNA, attributes=attributes)


async def test_an_export_ends_in_the_shape_that_it_began_with(services: Services) -> None:
    conformance = await services.conformance()
    for _ in range(3):
        await create_project(services, ANNA, attributes=conformance.read(BODY))
    shown: list[dict[str, object]] = []
    async for stored in every_project(services, ANNA, conformance.schema, page_size=1):
        shown.append(dict(stored.state.attributes))
        if len(shown) == 1:
            await rename_capacity(services)
    assert shown == [{"capacity_mw": Decimal(120)}] * 3


class MovingReads:
    """The real store; before references are looked up another version comes to rule."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.moved = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._services.reads, name)

    async def get_many(self, kind: str, ids: Sequence[str]) -> Any:
        if not self.moved:
            self.moved = True
            await rename_capacity(self._services)
        return await self._services.reads.get_many(kind, ids)


async def test_a_chunk_of_an_import_is_recorded_under_the_version_that_read_it(
    services: Services,
) -> None:
    """One row makes a project and one updates the project that has its key."""
    reference: dict[str, Token] = {"source": "desk", "id": "7"}
    body = {**BODY, "external_ref": reference}
    attributes = (await services.conformance()).read(body)
    await create_project(services, ANNA, attributes=attributes)
    mapping = read_mapping("desk", read_object(json.dumps(MAPPING).encode()))
    await put_mapping(services, ANNA, mapping)
    reads = MovingReads(services)
    moving = msgspec.structs.replace(services, reads=reads)
    await imported(moving, b"id,name,cost,mw\n7,Sierra,1,150\n8,Dam,1,60\n")
    assert reads.moved
    page = await services.reads.page(Query())
    assert {stored.schema_version for stored in page.items} == {1}
    values = {s.state.project_name: dict(s.state.attributes) for s in page.items}
    assert values == {"Sierra": {"power_mw": Decimal(150)}, "Dam": {"power_mw": Decimal(60)}}
    assert not any(stored.state.hidden_attributes for stored in page.items)


async def imported(services: Services, data: bytes) -> None:
    async def sent() -> AsyncIterator[bytes]:
        yield data

    form = FileFormat.CSV
    ordered = await start_import(services, ANNA, sent(), file_format=form, mapping_name="desk")
    assert ordered.job is not None
    with ThreadPoolExecutor(1) as executor:
        await run_import(services, ordered.job.job_id, executor)


async def test_a_notice_counts_from_the_version_that_gave_it(services: Services) -> None:
    attributes = (await services.conformance()).read(BODY)
    await create_project(services, ANNA, attributes=attributes)
    days = [datetime(2030, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
    assert await deprecated_since(services) is None
    await revise_capacity(services, days[0], deprecated=True)
    await revise_capacity(services, days[1], deprecated=False)
    assert await deprecated_since(services) is None
    await revise_capacity(services, days[2], deprecated=True)
    await revise_capacity(services, days[3], description="Rated.")
    assert await deprecated_since(services) == days[2]
