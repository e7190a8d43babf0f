"""Projects in the shape of the schema version that a request is about, whichever rules by now."""

from datetime import date, datetime
from itertools import pairwise
from typing import Final

import msgspec

from spawn.application.dependencies import Services
from spawn.application.schemas.activation import known_by
from spawn.domain.change import Stored
from spawn.domain.errors import NotFound, SchemaVersionExpired
from spawn.domain.projects.project import Project
from spawn.domain.query import Query
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.domain.schemas.evolution.version_conversion import (
    downgrade,
    stored_name,
    supported_until,
    upgrade,
)
from spawn.domain.schemas.model import Schema

MAX_PLANS: Final = 64
"""Plans between versions that are remembered."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of an adopted version that answers take: its schema, and what led on from it.

    `plans` lead to the version that rules, oldest first; there are none if it is that one.
    `superseded_at` is when the next version came, `until` the day from which the shape is refused.
    """

    schema: Schema
    plans: tuple[MigrationPlan, ...] = ()
    superseded_at: datetime | None = None
    until: date | None = None

    def asked(self, query: Query) -> Query:
        """A query by the names of this version, as the store understands it."""
        if not self.plans:
            return query
        return msgspec.structs.replace(
            query,
            filters=tuple(
                msgspec.structs.replace(wanted, field=stored_name(wanted.field, self.plans))
                for wanted in query.filters
            ),
            sort=tuple(
                msgspec.structs.replace(by, field=stored_name(by.field, self.plans))
                for by in query.sort
            ),
        )


async def shape_of(services: Services, version: int) -> Shape:
    """The shape of a version, as long as it is served.

    Raises:
        NotFound: the version never had data in this store.
        SchemaVersionExpired: the Sunset of a column that it had is over.
    """
    newer: Schema | None = None
    for schema in await services.schemas.lineage():
        if schema.version == version:
            return await _shape(services, schema, newer)
        newer = schema
    raise NotFound(f"Version {version} of the schema never had data here.")


async def _shape(services: Services, schema: Schema, newer: Schema | None) -> Shape:
    if newer is None:
        return Shape(schema=schema)
    active = await services.active()
    plans = await plans_between(services, schema.version, active.schema.version)
    until = supported_until(plans)
    if until is not None and services.clock.now().date() >= until:
        raise SchemaVersionExpired(f"Version {schema.version} was served until {until}.")
    records = await services.schemas.records()
    successor = known_by(records, newer.fingerprint, newer.version)
    return Shape(
        schema=schema,
        plans=plans,
        superseded_at=None if successor is None else successor.recorded_at,
        until=until,
    )


async def deprecated_since(services: Services) -> datetime | None:
    """When the first of the columns that are deprecated now was; None if none is."""
    lineage = await services.schemas.lineage()
    records = await services.schemas.records()
    names = {column.name for column in lineage[0].columns if column.deprecated}
    since: datetime | None = None
    for schema in lineage:
        names &= {column.name for column in schema.columns if column.deprecated}
        record = known_by(records, schema.fingerprint, schema.version)
        if not names or record is None:
            break
        since = record.recorded_at
    return since


async def plans_between(services: Services, old: int, new: int) -> tuple[MigrationPlan, ...]:
    """The plans that led from one version of the lineage to a later one, in order.

    Raises:
        NotFound: one of them never had data in this store.
    """
    lineage = [s for s in reversed(await services.schemas.lineage()) if old <= s.version <= new]
    if not lineage or (lineage[0].version, lineage[-1].version) != (old, new):
        raise NotFound(f"No data were ever migrated from version {old} to version {new}.")
    return tuple(_plan(before, after) for before, after in pairwise(lineage))


def _plan(old: Schema, new: Schema) -> MigrationPlan:
    """The plan, worked out once: every project that is shown in another shape asks for it."""
    # By identity, which is cheap: a store gives the same schemas until it adopts another. They are
    # kept with the plan, so that no others can take over their ids.
    kept = _plans.get((id(old), id(new)))
    if kept is None:
        while len(_plans) >= MAX_PLANS:
            _plans.pop(next(iter(_plans)))
        kept = _plans[id(old), id(new)] = (old, new, plan_migration(old, new))
    return kept[2]


_plans: dict[tuple[int, int], tuple[Schema, Schema, MigrationPlan]] = {}


async def shown_under(services: Services, stored: Stored[Project], version: int) -> Stored[Project]:
    """A project in the shape of a version of the lineage; itself if it has that shape.

    A request goes on under the version it began with, even if the schema moved on meanwhile, and
    clients may ask for an earlier shape.

    Raises:
        NotFound: the version never had data in this store.
    """
    if stored.schema_version == version:
        return stored
    if stored.schema_version > version:
        plans = await plans_between(services, version, stored.schema_version)
        state = downgrade(stored.state, plans)
    else:
        plans = await plans_between(services, stored.schema_version, version)
        state = upgrade(stored.state, plans)
    return msgspec.structs.replace(stored, state=state, schema_version=version)
