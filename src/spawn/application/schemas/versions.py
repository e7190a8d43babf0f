"""Queries over the recorded versions of schemas and their migrations."""

from datetime import datetime

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.schemas.activation import ADOPTED, SchemaPolicy
from spawn.domain.errors import Conflict, NotFound
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schemas.evolution.compatibility import SchemaComparison
from spawn.domain.schemas.evolution.diff import compare_schemas
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.ports.schemas import MigrationRecord, PublishedSchema, SchemaRecord, SchemaState


async def list_schemas(dependencies: Dependencies, principal: Principal) -> list[SchemaRecord]:
    """Return one version of each known schema: the active one, or else the oldest."""
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    by_id: dict[str, SchemaRecord] = {}
    for record in await dependencies.schemas.records():
        if record.schema.id not in by_id or record.state is SchemaState.ACTIVE:
            by_id[record.schema.id] = record
    return list(by_id.values())


class ListedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """A schema in the registry's list, and what follows it here.

    `followed_by` is the kind of aggregate that it governs, `active_version` the version of it that
    is active, and `versions` what the registry publishes of a schema that is followed.
    """

    schema_id: str
    title: str
    latest_version: int | None
    followed_by: str | None
    active_version: int | None
    versions: tuple[int, ...]


async def list_registry(
    dependencies: Dependencies, principal: Principal, policy: SchemaPolicy
) -> list[ListedSchema]:
    """Return the schemas that the registry lists now; one that is followed is always among them.

    Raises:
        RegistryError: the registry failed or did not respond.
    """
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    registry, followed = dependencies.registry, policy.schema_id
    listed = {schema.schema_id: schema for schema in await registry.list_schemas()}
    versions = await registry.list_versions(followed) or ()
    latest = max(versions, default=None)
    listed.setdefault(
        followed, PublishedSchema(schema_id=followed, title="", latest_version=latest)
    )
    active = (await dependencies.active_schema()).schema
    return [
        ListedSchema(
            schema_id=schema.schema_id,
            title=schema.title,
            latest_version=schema.latest_version,
            followed_by=PROJECT_KIND if schema.schema_id == followed else None,
            active_version=active.version if schema.schema_id == active.id else None,
            versions=versions if schema.schema_id == followed else (),
        )
        for schema in sorted(listed.values(), key=lambda schema: schema.schema_id)
    ]


async def list_versions(
    dependencies: Dependencies, principal: Principal, schema_id: str
) -> list[SchemaRecord]:
    """Return every known version of a schema, oldest first.

    Raises:
        NotFound: there is no such schema.
    """
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    all_records = await dependencies.schemas.records()
    records = [record for record in all_records if record.schema.id == schema_id]
    if not records:
        raise NotFound("There is no such schema.")
    return records


async def list_candidates(
    dependencies: Dependencies, principal: Principal, schema_id: str
) -> list[SchemaRecord]:
    """Return the versions of a schema that were never adopted, oldest first.

    Raises:
        NotFound: there is no such schema.
    """
    records = await list_versions(dependencies, principal, schema_id)
    return [record for record in records if record.state not in ADOPTED]


async def get_version(
    dependencies: Dependencies, principal: Principal, schema_id: str, version: int
) -> SchemaRecord:
    """Return one version of a schema, the adopted one if several have the number.

    Raises:
        NotFound: there is no such schema, or no such version of it.
    """
    record = _find_version(await list_versions(dependencies, principal, schema_id), version)
    if record is None:
        raise NotFound("There is no such version.")
    return record


async def diff_versions(
    dependencies: Dependencies, principal: Principal, schema_id: str, *, old: int, new: int
) -> tuple[SchemaComparison, MigrationPlan]:
    """Compare two versions of a schema, and plan the migration between them.

    Raises:
        NotFound: there is no such schema, or no such version of it.
        Conflict: a version that was not adopted has no columns that could be compared.
    """
    records = await list_versions(dependencies, principal, schema_id)
    before, after = (_require_comparable(records, number) for number in (old, new))
    # An adopted version has its retired columns already; another would succeed the active one.
    via = after if after.state in ADOPTED else await dependencies.active_schema()
    today = dependencies.clock.now().date()
    comparison = compare_schemas(before.schema, after.schema, on_date=today, via=via.schema)
    return comparison, plan_migration(before.schema, after.schema)


async def list_migrations(
    dependencies: Dependencies,
    principal: Principal,
    schema_id: str,
    *,
    before: datetime | None,
    limit: int,
) -> tuple[list[MigrationRecord], bool]:
    """Return attempted migrations, newest first, and whether there are older ones.

    Args:
        dependencies: the ports.
        principal: the caller.
        schema_id: the schema.
        before: the start of the last migration of the previous page; None for the first page.
        limit: the most migrations to return.
    """
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    migrations = [
        migration
        for migration in await dependencies.schemas.migration_log()
        if migration.schema_id == schema_id and (before is None or migration.started_at < before)
    ]
    return migrations[:limit], len(migrations) > limit


def _find_version(records: list[SchemaRecord], version: int) -> SchemaRecord | None:
    """Return the record of a version; a rejected one may have the number of an adopted one."""
    matching = [record for record in records if record.schema.version == version]
    return min(matching, key=lambda record: record.state not in ADOPTED, default=None)


def _require_comparable(records: list[SchemaRecord], version: int) -> SchemaRecord:
    record = _find_version(records, version)
    if record is None:
        raise NotFound(f"There is no version {version}.")
    if not record.schema.columns and record.reason and record.state not in ADOPTED:
        raise Conflict(f"Version {version} cannot be compared: {record.reason[:500]}")
    return record
