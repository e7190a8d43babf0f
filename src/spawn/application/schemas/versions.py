"""Queries over the recorded versions of schemas and their migrations."""

from datetime import datetime

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.schemas.activation import ADOPTED, SchemaPolicies
from spawn.domain.aggregates import governed_kinds
from spawn.domain.errors import Conflict, NotFound
from spawn.domain.principal import Principal, Scope
from spawn.domain.schemas.evolution.compatibility import SchemaComparison
from spawn.domain.schemas.evolution.diff import compare_schemas
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.ports.schemas import MigrationRecord, PublishedSchema, SchemaRecord, SchemaState


async def list_schemas(dependencies: Dependencies, principal: Principal) -> list[SchemaRecord]:
    """Return one version of each known schema: the active one, or else the oldest."""
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    by_id: dict[str, SchemaRecord] = {}
    for record in await list_records(dependencies):
        if record.schema.id not in by_id or record.state is SchemaState.ACTIVE:
            by_id[record.schema.id] = record
    return list(by_id.values())


async def list_records(dependencies: Dependencies) -> list[SchemaRecord]:
    """Return the recorded versions of every governed kind, those of projects first."""
    records: list[SchemaRecord] = []
    for kind in governed_kinds():
        records += await dependencies.schemas.records(kind)
    return records


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
    dependencies: Dependencies, principal: Principal, policies: SchemaPolicies
) -> list[ListedSchema]:
    """Return the schemas that the registry lists now; those that are followed are among them.

    Raises:
        RegistryError: the registry failed or did not respond.
    """
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    registry = dependencies.registry
    listed = {schema.schema_id: schema for schema in await registry.list_schemas()}
    kinds = {policy.schema_id: policy.kind for policy in policies.followed}
    versions: dict[str, tuple[int, ...]] = {}
    for schema_id in kinds:
        versions[schema_id] = await registry.list_versions(schema_id) or ()
        latest = max(versions[schema_id], default=None)
        missing = PublishedSchema(schema_id=schema_id, title="", latest_version=latest)
        listed.setdefault(schema_id, missing)
    active = await _find_active_versions(dependencies)
    return [
        ListedSchema(
            schema_id=schema.schema_id,
            title=schema.title,
            latest_version=schema.latest_version,
            followed_by=kinds.get(schema.schema_id),
            active_version=active.get(schema.schema_id),
            versions=versions.get(schema.schema_id, ()),
        )
        for schema in sorted(listed.values(), key=lambda schema: schema.schema_id)
    ]


async def _find_active_versions(dependencies: Dependencies) -> dict[str, int]:
    """Return the active version of each schema that governs a kind, by its id."""
    records = [await dependencies.schemas.active(kind) for kind in governed_kinds()]
    return {record.schema.id: record.schema.version for record in records if record is not None}


async def get_active_version(
    dependencies: Dependencies, principal: Principal, schema_id: str
) -> SchemaRecord:
    """Return the active version of a schema.

    Raises:
        NotFound: no kind has this schema now.
    """
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    for kind in governed_kinds():
        record = await dependencies.schemas.active(kind)
        if record is not None and record.schema.id == schema_id:
            return record
    raise NotFound("There is no such schema.")


async def list_versions(
    dependencies: Dependencies, principal: Principal, schema_id: str
) -> list[SchemaRecord]:
    """Return every known version of a schema, oldest first.

    Raises:
        NotFound: there is no such schema.
    """
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    all_records = await list_records(dependencies)
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
    kind = after.schema.kind
    via = after if after.state in ADOPTED else await dependencies.active_schema(kind)
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
    """Return the record of a version: the adopted one, or the newest that was not replaced."""
    matching = [record for record in reversed(records) if record.schema.version == version]
    return min(matching, key=_rank, default=None)


def _rank(record: SchemaRecord) -> tuple[bool, bool]:
    return record.state not in ADOPTED, record.state is SchemaState.REPLACED


def _require_comparable(records: list[SchemaRecord], version: int) -> SchemaRecord:
    record = _find_version(records, version)
    if record is None:
        raise NotFound(f"There is no version {version}.")
    if not record.schema.columns and record.reason and record.state not in ADOPTED:
        raise Conflict(f"Version {version} cannot be compared: {record.reason[:500]}")
    return record
