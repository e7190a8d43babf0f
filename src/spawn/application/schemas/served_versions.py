"""Adopted schema versions that are still served, and the way from each to another."""

import re
from collections.abc import Callable
from datetime import date, datetime
from functools import cached_property
from itertools import pairwise
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import find_record
from spawn.domain.errors import InvalidInput, NotFound, SchemaVersionExpired
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Query
from spawn.domain.schema_version import Column, Schema, Value
from spawn.domain.schemas.evolution.migration_plan import (
    MigrationPlan,
    may_migrate,
    plan_steps,
)
from spawn.domain.schemas.evolution.type_widening import is_widening
from spawn.domain.schemas.evolution.version_conversion import (
    G,
    VersionSteps,
    current_name,
    former_name,
    support_end_date,
)

_VERSION_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")
MAX_PLANS: Final = 1_024
"""Maximum migration plans cached."""

MAX_VALUE_SCHEMAS: Final = 256
"""Maximum versions whose value schemas are cached."""


class SchemaVersionView(msgspec.Struct, frozen=True, kw_only=True):
    """An adopted schema version that responses use, with its path to the active one.

    `plans` lead to the active version, oldest first; there are none if it is the active one.
    `superseded_at` is when the next version was adopted, `sunset_on` the first day on which the
    version is no longer served. `values` describes the values of its columns, which are those of
    newer versions too: as wide as their types became, with every enum value; None for `schema`.
    """

    schema: Schema
    values: Schema | None = None
    plans: tuple[MigrationPlan, ...] = ()
    superseded_at: datetime | None = None
    sunset_on: date | None = None

    @property
    def value_schema(self) -> Schema:
        """The names of this version with the types of the values that it returns."""
        return self.values or self.schema

    def translate_query(self, query: Query) -> Query:
        """Return a query by this version's names with the names of the store."""
        if not self.plans:
            return query
        return msgspec.structs.replace(
            query,
            filters=tuple(
                msgspec.structs.replace(condition, field=current_name(condition.field, self.plans))
                for condition in query.filters
            ),
            sort=tuple(
                msgspec.structs.replace(by, field=current_name(by.field, self.plans))
                for by in query.sort
            ),
        )


class VersionConversion(msgspec.Struct, frozen=True, dict=True):
    """Conversion of states from one adopted schema version to another.

    `plans` lead from the earlier of the two to the later one, oldest first.
    """

    plans: tuple[MigrationPlan, ...]
    is_upgrade: bool

    def convert(self, state: G) -> G:
        """Return the state under the other version."""
        steps = self._steps
        return steps.upgrade(state) if self.is_upgrade else steps.downgrade(state)

    @cached_property
    def _steps(self) -> VersionSteps:
        return VersionSteps(self.plans)

    def rename(self, name: str) -> str | None:
        """Return the name that a field has in the other version; None if it lacks the field."""
        if self.is_upgrade:
            return current_name(name, self.plans)
        return former_name(name, self.plans)


async def get_version_view(
    dependencies: Dependencies, version: int, kind: str = PROJECT_KIND
) -> SchemaVersionView:
    """Return the view of a version, while it is served.

    Raises:
        NotFound: the version never had data in this store.
        SchemaVersionExpired: the Sunset of one of its columns is over.
    """
    newer: Schema | None = None
    for schema in await dependencies.schemas.version_history(kind):
        if schema.version == version:
            return await _build_version_view(dependencies, schema, newer)
        newer = schema
    raise NotFound(f"Version {version} of the schema never had data here; use an adopted version.")


async def is_version_served(
    dependencies: Dependencies, version: int, kind: str = PROJECT_KIND
) -> bool:
    """Whether clients still get responses under a version."""
    try:
        await get_version_view(dependencies, version, kind)
    except (NotFound, SchemaVersionExpired):
        return False
    return True


async def read_version_view(
    dependencies: Dependencies, text: str | None, kind: str = PROJECT_KIND
) -> SchemaVersionView:
    """Return the view of the version whose number a text is; None is the active version.

    Raises:
        InvalidInput: the text is no version number.
        NotFound: the version never had data in this store.
        SchemaVersionExpired: the Sunset of one of its columns is over.
    """
    if text is None:
        return SchemaVersionView(schema=(await dependencies.active_schema(kind)).schema)
    if not _VERSION_NUMBER.fullmatch(text):
        detail = "A schema version is a whole number."
        raise InvalidInput.at("/schema_version", "out_of_range", detail)
    return await get_version_view(dependencies, int(text), kind)


async def _build_version_view(
    dependencies: Dependencies, schema: Schema, newer: Schema | None
) -> SchemaVersionView:
    if newer is None:
        return SchemaVersionView(schema=schema)
    active = await dependencies.active_schema(schema.kind)
    plans = await plans_between(dependencies, schema.version, active.schema.version, schema.kind)
    sunset_on = support_end_date(plans)
    if sunset_on is not None and dependencies.clock.now().date() >= sunset_on:
        raise SchemaVersionExpired(f"Version {schema.version} was served until {sunset_on}.")
    records = await dependencies.schemas.records(schema.kind)
    successor = find_record(records, newer.fingerprint, newer.version)
    return SchemaVersionView(
        schema=schema,
        values=_get_value_schema(schema, active.schema, plans),
        plans=plans,
        superseded_at=None if successor is None else successor.recorded_at,
        sunset_on=sunset_on,
    )


_value_schemas: dict[tuple[str, int], tuple[Schema, Schema, Schema]] = {}


def _get_value_schema(schema: Schema, active: Schema, plans: tuple[MigrationPlan, ...]) -> Schema:
    """Return the value schema of a version, built once while the same version is active.

    With hundreds of columns it takes longer to build than most requests.
    """
    key = (schema.kind, schema.version)
    known_schema, known_active, values = _value_schemas.get(key, (None, None, schema))
    if known_schema is schema and known_active is active:
        return values
    if len(_value_schemas) >= MAX_VALUE_SCHEMAS:
        _value_schemas.clear()
    values = _build_value_schema(schema, active, plans)
    _value_schemas[key] = (schema, active, values)
    return values


def _build_value_schema(schema: Schema, active: Schema, plans: tuple[MigrationPlan, ...]) -> Schema:
    """Return a version with the rules of the values that it returns under the active one.

    Clients of the old version get new values as they are, so that a file needs the wider types,
    and a filter takes what a list returns.
    """
    current = {retired.name: retired.column for retired in active.retired}
    current |= {column.name: column for column in active.columns}

    def widen(column: Column) -> Column:
        return _widen_column(column, current.get(current_name(column.name, plans), column))

    columns = {column.name: widen(column) for column in schema.columns}
    if all(columns[column.name] == column for column in schema.columns):
        return schema
    return msgspec.structs.replace(
        schema,
        columns=tuple(columns[column.name] for column in schema.columns),
        governed=tuple(columns[column.name] for column in schema.governed),
        # Compiled schemas are cached by their fingerprint.
        fingerprint=f"{schema.fingerprint}+{active.version}:{active.fingerprint}",
    )


def _widen_column(before: Column, after: Column) -> Column:
    """Return a column that takes the values of itself and of its successor."""
    enum = None
    if before.enum is not None and after.enum is not None:
        enum = tuple(dict.fromkeys((*before.enum, *after.enum)))
    return msgspec.structs.replace(
        before,
        type=after.type if is_widening(before, after) else before.type,
        enum=enum,
        minimum=_select_bound(before.minimum, after.minimum, min),
        maximum=_select_bound(before.maximum, after.maximum, max),
        pattern=before.pattern if before.pattern == after.pattern else None,
    )


def _select_bound(
    before: Value | None, after: Value | None, select: Callable[..., Value]
) -> Value | None:
    """Return the looser one of two bounds; None if one of them is missing."""
    return None if before is None or after is None else select(before, after)


async def find_deprecation_instant(
    dependencies: Dependencies, kind: str = PROJECT_KIND
) -> datetime | None:
    """Return when the first currently deprecated column became deprecated; None if none is."""
    history = await dependencies.schemas.version_history(kind)
    # Found by key: a search of the records for each version is quadratic in the versions.
    instants = {
        (record.schema.fingerprint, record.schema.version): record.recorded_at
        for record in await dependencies.schemas.records(kind)
    }
    names = {column.name for column in history[0].columns if column.deprecated}
    since: datetime | None = None
    for schema in history:
        names &= {column.name for column in schema.columns if column.deprecated}
        recorded_at = instants.get((schema.fingerprint, schema.version))
        if not names or recorded_at is None:
            break
        since = recorded_at
    return since


async def find_deprecation(
    dependencies: Dependencies, schema: Schema
) -> tuple[datetime, date | None] | None:
    """Return since when the active schema has deprecated columns, and the first sunset of these."""
    deprecated = [column for column in schema.columns if column.deprecated]
    since = await find_deprecation_instant(dependencies, schema.kind) if deprecated else None
    if since is None:
        return None
    sunsets = [c.announced_sunset for c in deprecated if c.announced_sunset is not None]
    return since, min(sunsets, default=None)


async def plans_between(
    dependencies: Dependencies, old: int, new: int, kind: str = PROJECT_KIND
) -> tuple[MigrationPlan, ...]:
    """Return the plans from one adopted version to a later one, in order.

    Plans between versions that differ in texts and rules alone are left out.

    Raises:
        NotFound: one of the versions never had data in this store.
    """
    history = (await dependencies.schemas.version_history(kind))[::-1]
    # The order is that of the adoptions: a jump of the numbers may have been taken back.
    ages = {schema.version: age for age, schema in enumerate(history)}
    if old not in ages or new not in ages or ages[old] > ages[new]:
        raise NotFound(f"No data were ever migrated from version {old} to version {new}.")
    pairs = pairwise(history[ages[old] : ages[new] + 1])
    return tuple(_load_plan(before, after) for before, after in pairs if may_migrate(before, after))


def _load_plan(old: Schema, new: Schema) -> MigrationPlan:
    """Return the plan from the cache; every converted project needs it."""
    # The key is the identity, which is cheap: a store returns the same schemas until it adopts
    # another. The schemas are cached with the plan, so that no other object can reuse their ids.
    entry = _plans.get((id(old), id(new)))
    if entry is None:
        while len(_plans) >= MAX_PLANS:
            _plans.pop(next(iter(_plans)))
        entry = _plans[id(old), id(new)] = (old, new, plan_steps(old, new))
    return entry[2]


_plans: dict[tuple[int, int], tuple[Schema, Schema, MigrationPlan]] = {}


async def find_conversion(
    dependencies: Dependencies, old: int, new: int, kind: str = PROJECT_KIND
) -> VersionConversion:
    """Return how states of one adopted version become states of another one.

    Raises:
        NotFound: one of the versions never had data in this store.
    """
    history = [schema.version for schema in await dependencies.schemas.version_history(kind)]
    if new in history[: _find_place(history, old)]:
        plans = await plans_between(dependencies, old, new, kind)
        return VersionConversion(plans, is_upgrade=True)
    plans = await plans_between(dependencies, new, old, kind)
    return VersionConversion(plans, is_upgrade=False)


def _find_place(history: list[int], version: int) -> int:
    """Return the place of a version among those of the data, newest first; 0 if it has none."""
    return history.index(version) if version in history else 0


async def find_schema(dependencies: Dependencies, version: int, kind: str = PROJECT_KIND) -> Schema:
    """Return the schema of a version that the store has data of.

    Raises:
        NotFound: the version never had data in this store.
    """
    for schema in await dependencies.schemas.version_history(kind):
        if schema.version == version:
            return schema
    raise NotFound(f"Version {version} of the schema never had data here; use an adopted version.")
