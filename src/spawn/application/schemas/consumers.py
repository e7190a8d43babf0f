"""Registered consumers of schema versions, and whom the Sunset of a column affects."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

import msgspec

from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.application.schemas.served_versions import (
    find_schema,
    get_version_view,
    plans_between,
)
from spawn.domain.access.api_client import API_CLIENT_KIND, ApiClient
from spawn.domain.aggregates import governed_kinds
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    SchemaVersionExpired,
)
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.evolution.schema_consumer import (
    CONSUMER_KIND,
    MAX_CONSUMERS,
    SchemaConsumer,
    VersionSunset,
    check_consumer_name,
    find_first_sunset,
)

WARNING_PERIOD: Final = timedelta(days=30)
"""Time before a Sunset from which health warns of the consumers that it affects."""

MAX_NAMED: Final = 10
"""Consumers that one sentence names; it counts the others."""

_KEY: Final = "key:"
_READERS: Final = (Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
_IS_ACTIVE: Final = Filter("is_active", Operator.EQ, (True,))


class SavedConsumer(msgspec.Struct, frozen=True):
    """A stored consumer; `is_new` unless a consumer of this name was registered before."""

    consumer: SchemaConsumer
    is_new: bool


class AffectedConsumer(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer whose version has a column with an announced Sunset, the first of them."""

    consumer: SchemaConsumer
    sunset: VersionSunset


class VersionReadership(msgspec.Struct, frozen=True, kw_only=True):
    """The consumers registered for a schema version, and the first Sunset that they meet."""

    consumers: tuple[SchemaConsumer, ...]
    sunset: VersionSunset | None


class _ConsumerDecision(Decision, frozen=True, kw_only=True):
    saved: SavedConsumer


async def register_consumer(
    dependencies: Dependencies,
    principal: Principal,
    *,
    name: str,
    contact: str,
    schema_version: int,
    schema_id: str | None = None,
) -> SavedConsumer:
    """Register a consumer, or change its contact or version; the same content writes nothing.

    Without a `schema_id` the version is one of the schema of projects.

    Raises:
        InvalidInput: the name is invalid, or the store serves no such version.
        Forbidden: another principal registered it, and the caller is no administrator.
        Conflict: too many consumers are registered.
    """
    require(principal, *_READERS)
    check_consumer_name(name)
    schema = await _find_served_schema(dependencies, schema_id, schema_version)

    async def decide() -> _ConsumerDecision:
        before = await _find_consumer(dependencies, name)
        if before is not None and before.state.is_active:
            _require_owner(principal, before.state)
            owner = before.state.owner
        else:
            await _check_room(dependencies)
            owner = principal.id
        consumer = SchemaConsumer(
            name=name,
            contact=contact,
            schema_id=schema.id,
            schema_version=schema_version,
            owner=owner,
        )
        is_new = before is None or not before.state.is_active
        write = Write(CONSUMER_KIND, name, before.version if before else 0, consumer)
        is_same = before is not None and before.state == consumer
        return _ConsumerDecision(
            writes=() if is_same else (write,), saved=SavedConsumer(consumer, is_new)
        )

    return (await execute(dependencies, principal.id, decide)).decision.saved


async def remove_consumer(
    dependencies: Dependencies, principal: Principal, name: str
) -> SchemaConsumer:
    """End a registration; the history of the consumer remains.

    Raises:
        NotFound: no such consumer is registered.
        Forbidden: another principal registered it, and the caller is no administrator.
    """
    require(principal, *_READERS)

    async def decide() -> _ConsumerDecision:
        before = await _load_consumer(dependencies, name)
        _require_owner(principal, before.state)
        consumer = msgspec.structs.replace(before.state, is_active=False)
        write = Write(CONSUMER_KIND, name, before.version, consumer)
        return _ConsumerDecision(writes=(write,), saved=SavedConsumer(consumer, is_new=False))

    return (await execute(dependencies, principal.id, decide)).decision.saved.consumer


async def get_consumer(
    dependencies: Dependencies, principal: Principal, name: str
) -> SchemaConsumer:
    """Return a registered consumer.

    Raises:
        NotFound: no such consumer is registered.
    """
    require(principal, *_READERS)
    return (await _load_consumer(dependencies, name)).state


async def list_consumers(
    dependencies: Dependencies,
    principal: Principal,
    query: Query,
    *,
    schema_id: str | None = None,
    version: int | None = None,
) -> Page[StoredAggregate[SchemaConsumer]]:
    """Return one page of registered consumers, those of one schema or version if it is passed."""
    require(principal, *_READERS)
    filters = [_IS_ACTIVE]
    if schema_id is not None:
        filters.append(Filter("schema_id", Operator.EQ, (schema_id,)))
    if version is not None:
        filters.append(Filter("schema_version", Operator.EQ, (version,)))
    return await dependencies.reads.page(
        msgspec.structs.replace(query, kind=CONSUMER_KIND, filters=tuple(filters))
    )


async def get_readership(
    dependencies: Dependencies, principal: Principal, schema: Schema
) -> VersionReadership:
    """Return who registered for a schema version, and the Sunset that they meet.

    A principal with a row scope gets the Sunset, and none of the consumers.
    """
    consumers = await _list_active(dependencies) if principal.row_scope is None else []
    return VersionReadership(
        consumers=tuple(
            one
            for one in consumers
            if (one.schema_id, one.schema_version) == (schema.id, schema.version)
        ),
        sunset=await find_sunset(dependencies, schema.kind, schema.version),
    )


async def find_affected(
    dependencies: Dependencies, kind: str = PROJECT_KIND, candidate: Schema | None = None
) -> tuple[AffectedConsumer, ...]:
    """Return the consumers that an announced Sunset affects, the first Sunset first.

    Args:
        dependencies: the ports.
        kind: whose schema the consumers read.
        candidate: a version that would be adopted; None is the active version.
    """
    ids = {schema.id for schema in await dependencies.schemas.version_history(kind)}
    consumers = [one for one in await _list_active(dependencies) if one.schema_id in ids]
    # Once for a version: the way to the active one is as long as its history.
    sunsets = {
        version: await find_sunset(dependencies, kind, version, candidate)
        for version in {consumer.schema_version for consumer in consumers}
    }
    affected = [
        AffectedConsumer(consumer=consumer, sunset=sunset)
        for consumer in consumers
        if (sunset := sunsets[consumer.schema_version]) is not None
    ]
    return tuple(sorted(affected, key=lambda one: (one.sunset.sunset_on, one.consumer.name)))


async def find_sunsets(
    dependencies: Dependencies, consumers: Iterable[SchemaConsumer]
) -> dict[tuple[str, int], VersionSunset | None]:
    """Return the first Sunset of each version that consumers registered for, by schema id."""
    versions = {(consumer.schema_id, consumer.schema_version) for consumer in consumers}
    kinds = {schema_id: await find_kind(dependencies, schema_id) for schema_id, _ in versions}
    return {
        (schema_id, version): await find_sunset(dependencies, kinds[schema_id], version)
        for schema_id, version in versions
    }


async def find_kind(dependencies: Dependencies, schema_id: str) -> str:
    """Return the kind that a recorded schema governs; that of projects for an unknown one."""
    for kind in governed_kinds():
        if any(r.schema.id == schema_id for r in await dependencies.schemas.records(kind)):
            return kind
    return PROJECT_KIND


async def find_sunset(
    dependencies: Dependencies, kind: str, version: int, candidate: Schema | None = None
) -> VersionSunset | None:
    """Return the first Sunset of a version's columns; None if none is announced.

    A version that never had data in this store has none.
    """
    active = (await dependencies.active_schema(kind)).schema
    try:
        schema = await find_schema(dependencies, version, kind)
        plans = await plans_between(dependencies, version, active.version, kind)
    except NotFound:
        return None
    if candidate is not None and candidate.fingerprint != active.fingerprint:
        plans = (*plans, plan_migration(active, candidate))
    return find_first_sunset(schema, plans, candidate or active)


async def find_last_uses(
    dependencies: Dependencies, consumers: Iterable[SchemaConsumer]
) -> dict[str, date]:
    """Return the last day on which each owner used a key, by owner; tokens leave no trace."""
    names = {one.owner.removeprefix(_KEY) for one in consumers if one.owner.startswith(_KEY)}
    clients = await dependencies.reads.get_many(API_CLIENT_KIND, sorted(names))
    days = {}
    for name, aggregate in clients.items():
        client: ApiClient = aggregate.state
        uses = [key.last_used_on for key in client.keys if key.last_used_on is not None]
        if uses:
            days[f"{_KEY}{name}"] = max(uses)
    return days


async def find_warnings(dependencies: Dependencies) -> tuple[AffectedConsumer, ...]:
    """Return the consumers whose Sunset comes within `WARNING_PERIOD`, or has come."""
    until = dependencies.clock.now().date() + WARNING_PERIOD
    affected = [one for kind in governed_kinds() for one in await find_affected(dependencies, kind)]
    return tuple(one for one in affected if one.sunset.sunset_on <= until)


def describe_affected(affected: tuple[AffectedConsumer, ...]) -> str:
    """Describe in one clause whom Sunsets affect; empty if nobody."""
    if not affected:
        return ""
    texts = [
        f"{one.consumer.name} (version {one.consumer.schema_version}: {one.sunset.column},"
        f" {one.sunset.sunset_on})"
        for one in affected[:MAX_NAMED]
    ]
    others = len(affected) - len(texts)
    more = f" and {others} others" if others else ""
    return f"a Sunset affects the registered consumers {', '.join(texts)}{more}"


async def _list_active(dependencies: Dependencies) -> list[SchemaConsumer]:
    query = Query(kind=CONSUMER_KIND, filters=(_IS_ACTIVE,), limit=MAX_LIMIT)
    return [aggregate.state for aggregate in (await dependencies.reads.page(query)).items]


async def _find_consumer(
    dependencies: Dependencies, name: str
) -> StoredAggregate[SchemaConsumer] | None:
    try:
        return await dependencies.reads.get(CONSUMER_KIND, name)
    except NotFound:
        return None


async def _load_consumer(dependencies: Dependencies, name: str) -> StoredAggregate[SchemaConsumer]:
    stored = await _find_consumer(dependencies, name)
    if stored is None or not stored.state.is_active:
        raise NotFound("No consumer of this name is registered.")
    return stored


async def _find_served_schema(
    dependencies: Dependencies, schema_id: str | None, version: int
) -> Schema:
    kind = PROJECT_KIND if schema_id is None else await find_kind(dependencies, schema_id)
    if schema_id not in {None, (await dependencies.active_schema(kind)).schema.id}:
        raise InvalidInput.at("/schema_id", "unknown_version", "There is no such schema.")
    try:
        return (await get_version_view(dependencies, version, kind)).schema
    except (NotFound, SchemaVersionExpired) as error:
        raise InvalidInput.at("/schema_version", "unknown_version", error.detail) from None


async def _check_room(dependencies: Dependencies) -> None:
    if len(await _list_active(dependencies)) >= MAX_CONSUMERS:
        detail = f"{MAX_CONSUMERS} consumers are registered already; remove those that left."
        raise Conflict(detail)


def _require_owner(principal: Principal, consumer: SchemaConsumer) -> None:
    if consumer.owner != principal.id and Scope.SCHEMA_ADMIN not in principal.scopes:
        detail = f"The consumer {consumer.name} was registered by another client."
        raise Forbidden(detail, scopes=(Scope.SCHEMA_ADMIN.value,))
