"""Versions that wait for a decision."""

from collections.abc import Iterable

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import (
    ADOPTED,
    SchemaPolicy,
)
from spawn.domain.errors import (
    NotFound,
)
from spawn.ports.schemas import (
    SchemaRecord,
    SchemaState,
)


async def find_waiting(
    dependencies: Dependencies, policy: SchemaPolicy, version: int
) -> SchemaRecord:
    """Return the newest record of a version that is not adopted, and published if one is."""
    records = await dependencies.schemas.records(policy.kind)
    if waiting_records := list_waiting(records, policy.schema_id, version):
        return waiting_records[-1]
    raise NotFound(f"No version {version} of {policy.schema_id} waits for a decision.")


def list_waiting(
    records: Iterable[SchemaRecord], schema_id: str, version: int
) -> list[SchemaRecord]:
    """Return the records of a number that are not adopted; withdrawn ones if all of them are.

    A content that was replaced waits for nothing.
    """
    waiting_records = [
        record
        for record in records
        if (record.schema.id, record.schema.version) == (schema_id, version)
        and record.state not in {*ADOPTED, SchemaState.REPLACED}
    ]
    published_records = [r for r in waiting_records if r.state is not SchemaState.WITHDRAWN]
    return published_records or waiting_records
