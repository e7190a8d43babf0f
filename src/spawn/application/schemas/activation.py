"""Which schema rules the store, and what stands beside it: settling, health, the rules themselves.

How a version of the registry comes to rule is the matter of `evolution`.
"""

from enum import StrEnum
from typing import Final

import msgspec

from spawn.application.dependencies import Services
from spawn.domain.errors import Conflict, InvalidInput, NotFound, RegistryError
from spawn.domain.query import Query
from spawn.domain.schemas.document_parser import is_schema_id, read_schema
from spawn.domain.schemas.evolution.compatibility import Mode
from spawn.domain.schemas.model import Schema
from spawn.ports.schemas import (
    Fetched,
    Migration,
    RegistryStatus,
    SchemaRecord,
    SchemaState,
)

MAX_WAITING: Final = 100
"""Versions not adopted that are remembered since the active one; more are only reported."""

Pin = tuple[str, int]
"""Schema id and version, as `project_schema@3` states them."""

ADOPTED: Final = frozenset({SchemaState.ACTIVE, SchemaState.RETIRED})
"""States of versions that rule or have ruled; the others wait or were refused."""


class SchemaRules(msgspec.Struct, frozen=True, kw_only=True):
    """What governs the service: which schema, if one version is pinned, and what adoption takes."""

    schema_id: str
    pin: Pin | None = None
    mode: Mode = Mode.BACKWARD_TRANSITIVE


class Verdict(StrEnum):
    """What came of asking the registry, or of a decision."""

    UNCHANGED = "unchanged"
    ADOPTED = "adopted"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"
    FAILED = "failed"


class Refreshed(msgspec.Struct, frozen=True):
    """The outcome of one refresh or decision.

    `record` is the version it was about, if it is recorded; `migration` what the adoption took, if
    there were projects.
    """

    verdict: Verdict
    detail: str
    record: SchemaRecord | None = None
    migration: Migration | None = None


class SchemaHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What rules, where it came from, what waits, and how the registry does.

    `problem` is one sentence if governance is not as configured, else empty.
    """

    active: SchemaRecord | None
    waiting: tuple[SchemaRecord, ...]
    registry: RegistryStatus
    rules: SchemaRules
    problem: str


def parse_pin(text: str) -> Pin:
    """A pin from `id@version`.

    Raises:
        InvalidInput: another form.
    """
    schema_id, _, version = text.partition("@")
    if is_schema_id(schema_id) and version.isdecimal() and version.isascii() and len(version) < 10:  # noqa: PLR2004  # fits the 32 bits of a version
        return schema_id, int(version)
    raise InvalidInput.at("", "invalid_pin", "a pin is id@version, such as project_schema@3")


async def settle_schema(services: Services, rules: SchemaRules) -> SchemaRecord:
    """Make sure that a schema rules: at the start, before the first request.

    A store that has one keeps it, without asking anyone. One that has none takes the pinned
    version, or else what the registry's ladder gives: live, disk, bundled.

    Raises:
        NotFound, RegistryError: no rung of the ladder has a schema of that id.
    """
    active = await services.schemas.active()
    if active is not None:
        await _calm(services)
        return active
    fetched = await _chosen(services, rules)
    schema = numbered(fetched, await services.schemas.records())
    record = record_of(services, schema, fetched, SchemaState.ACTIVE)
    try:
        await services.schemas.adopt(record)
    except Conflict:
        # Another replica was first: what rules now rules.
        return await services.active()
    return record


async def _calm(services: Services) -> None:
    """What was migrating when the process ended is a candidate again."""
    for record in await services.schemas.records():
        if record.state is SchemaState.MIGRATING:
            left = msgspec.structs.replace(record, state=SchemaState.CANDIDATE)
            await services.schemas.record(left)


async def _chosen(services: Services, rules: SchemaRules) -> Fetched:
    """By the order pin > live > disk > bundled; the ladder behind the port knows the last three."""
    if rules.pin is not None:
        try:
            return await services.registry.fetch(*rules.pin)
        except (NotFound, RegistryError):
            # Health goes on saying that the pin is not in force.
            pass
    return await services.registry.fetch(rules.schema_id)


async def schema_health(services: Services, rules: SchemaRules) -> SchemaHealth:
    """A picture of governance; asks the store, never the registry."""
    active = await services.schemas.active()
    waiting = [r for r in await services.schemas.records() if r.state not in ADOPTED]
    registry = services.registry.status()
    return SchemaHealth(
        active=active,
        waiting=tuple(waiting),
        registry=registry,
        rules=rules,
        problem=_problem(active, waiting, registry, rules.pin),
    )


def _problem(
    active: SchemaRecord | None,
    waiting: list[SchemaRecord],
    registry: RegistryStatus,
    pin: Pin | None,
) -> str:
    if active is None:
        return "no schema is active"
    if pin is not None and active.schema.version != pin[1]:
        return f"version {pin[1]} is pinned, but version {active.schema.version} is active"
    pressing = [r for r in waiting if is_pressing(r, active)]
    if pressing:
        newest = pressing[-1]
        return f"version {newest.schema.version} is {newest.state}: {newest.reason}"
    if registry.last_error is not None:
        return f"the registry does not vouch for the schema: {registry.last_error}"
    return ""


def is_pressing(record: SchemaRecord, active: SchemaRecord) -> bool:
    """Whether a version was refused, or failed, since the active one came, and nobody decided."""
    refused = record.state in {SchemaState.QUARANTINED, SchemaState.FAILED}
    return refused and record.recorded_at >= active.recorded_at


async def holds_projects(services: Services) -> bool:
    """Whether there are data that a schema change would have to take along."""
    return bool((await services.reads.page(Query(limit=1))).items)


def numbered(fetched: Fetched, records: list[SchemaRecord]) -> Schema:
    """The schema under its own number, or one assigned by fingerprint if it states none."""
    known = known_by(records, fetched.schema.fingerprint)
    ordinal = known.schema.version if known is not None else next_ordinal(records)
    return read_schema(fetched.document, ordinal=ordinal, schema_id=fetched.schema.id)


def next_ordinal(records: list[SchemaRecord]) -> int:
    """The number after all that are known."""
    return max((record.schema.version for record in records), default=0) + 1


def known_by(
    records: list[SchemaRecord], mark: str, version: int | None = None
) -> SchemaRecord | None:
    """The record of a fingerprint, and of a version if one is named."""
    for record in records:
        schema = record.schema
        if schema.fingerprint == mark and version in {None, schema.version}:
            return record
    return None


def record_of(
    services: Services, schema: Schema, fetched: Fetched, state: SchemaState, reason: str = ""
) -> SchemaRecord:
    """A version as it was fetched, recorded now."""
    return SchemaRecord(
        schema=schema,
        document=fetched.document,
        state=state,
        provenance=fetched.provenance,
        recorded_at=services.clock.now(),
        reason=reason,
    )
