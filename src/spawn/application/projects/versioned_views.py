"""Governed states as an adopted schema version defines their fields."""

from typing import Any

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.served_versions import find_conversion, find_schema
from spawn.domain.aggregates import decode_state
from spawn.domain.change import StoredAggregate, VersionReference
from spawn.domain.errors import NotFound
from spawn.domain.schemas.evolution.version_conversion import G


async def convert_to_version(
    dependencies: Dependencies, aggregate: StoredAggregate[G], version: int
) -> StoredAggregate[G]:
    """Convert an aggregate to a version of its schema; return it unchanged if it has that version.

    A request keeps the version it began with, even if another becomes active meanwhile, and
    clients may request an earlier version.

    Raises:
        NotFound: the version never had data in this store.
    """
    if aggregate.schema_version == version:
        return aggregate
    conversion = await find_conversion(
        dependencies, aggregate.schema_version, version, aggregate.kind
    )
    state = conversion.convert(aggregate.state)
    return msgspec.structs.replace(aggregate, state=state, schema_version=version)


async def get_recorded_version(
    dependencies: Dependencies, subject: VersionReference
) -> StoredAggregate[Any]:
    """Return a version of a governed aggregate as the response to its commit showed it.

    The store itself returns states under the active schema version, which may lack a column.

    Raises:
        NotFound: the row scope of the reader does not have it any more.
    """
    reads = dependencies.reads
    entries = await reads.history(
        subject.kind, subject.id, after_version=subject.version - 1, limit=1
    )
    if not entries or entries[0].version != subject.version:
        raise NotFound(f"The {subject.kind} of the response is not there any more.")
    entry = entries[0]
    schema = await find_schema(dependencies, entry.schema_version, entry.kind)
    created_at = (await reads.get(subject.kind, subject.id)).created_at
    aggregate: StoredAggregate[Any] = StoredAggregate(
        kind=entry.kind,
        id=entry.id,
        version=entry.version,
        state=decode_state(entry.kind, entry.document, schema),
        created_at=created_at,
        updated_at=entry.recorded_at,
        schema_version=entry.schema_version,
    )
    version = subject.schema_version
    return await convert_to_version(
        dependencies, aggregate, entry.schema_version if version is None else version
    )
