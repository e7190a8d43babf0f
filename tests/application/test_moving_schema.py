"""Commands while the schema moves on: recorded as they were read, or read again; never mixed."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from spawn.application.projects import (
    Call,
    SchemaMoved,
    amend_project,
    create_project,
    get_project,
    project_history,
    transition_project,
)
from spawn.application.services import Services
from spawn.domain.lifecycle import Status
from spawn.domain.principal import Principal
from spawn.domain.schema.migration import plan_migration
from spawn.domain.schema.reading import read_schema
from spawn.domain.schema.tokens import Number, Token
from spawn.domain.schema.value import Schema
from spawn.ports.governance import Provenance, SchemaRecord, SchemaState

ANNA = Principal(id="anna")
BODY: dict[str, Token] = {
    "project_name": "Sierra",
    "total_amount": "1",
    "capacity_mw": Number("120"),
}


async def rename_capacity(services: Services) -> Schema:
    """Bring version 1 to rule, in which the capacity has another name."""
    active = (await services.active()).schema
    described: dict[str, Any] = json.loads((await services.active()).document)
    for column in described["columns"]:
        if column["name"] == "capacity_mw":
            column |= {"name": "power_mw", "aliases": ["capacity_mw"]}
    document = json.dumps({**described, "version": 1}).encode()
    record = SchemaRecord(
        schema=read_schema(document),
        document=document,
        state=SchemaState.CANDIDATE,
        provenance=Provenance.LIVE,
        recorded_at=datetime.now(UTC),
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
