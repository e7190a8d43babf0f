"""Which schema rules the store, and what the registry has to offer beside it.

Only a store without projects takes a schema freely. Once projects are there the active schema
stays, and whatever else the registry serves is recorded: as a candidate, which a migration may
adopt, or as quarantined, with the reason.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

import msgspec

from spawn.application.services import Services
from spawn.domain.errors import (
    Conflict,
    InvalidInput,
    MalformedBody,
    NotFound,
    RegistryError,
    SpawnError,
)
from spawn.domain.query import Query
from spawn.domain.schema.reading import (
    DocumentRefused,
    is_schema_id,
    read_schema,
    recall_schema,
)
from spawn.domain.schema.tokens import Number, read_object
from spawn.domain.schema.value import Schema
from spawn.ports.governance import (
    Fetched,
    Provenance,
    RegistryStatus,
    SchemaRecord,
    SchemaState,
)

REFRESH_INTERVAL_S: Final = 60.0
MAX_WAITING: Final = 100
"""Candidates and quarantined versions that are remembered; what comes after is only reported."""

Pin = tuple[str, int]
"""Schema id and version, as `project_schema@3` states them."""

_WAITING = frozenset({SchemaState.CANDIDATE, SchemaState.QUARANTINED})
_VOUCHED = frozenset({Provenance.LIVE, Provenance.REVALIDATED, Provenance.FRESH, Provenance.STALE})


class Verdict(StrEnum):
    """What came of asking the registry."""

    UNCHANGED = "unchanged"
    ADOPTED = "adopted"
    CANDIDATE = "candidate"
    QUARANTINED = "quarantined"
    FAILED = "failed"


class Refreshed(msgspec.Struct, frozen=True):
    """The outcome of one refresh; `record` is what was newly recorded or adopted."""

    verdict: Verdict
    detail: str
    record: SchemaRecord | None = None


class SchemaHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What rules, where it came from, what waits, and how the registry does.

    `problem` is one sentence if governance is not as configured, else empty.
    """

    active: SchemaRecord | None
    waiting: tuple[SchemaRecord, ...]
    registry: RegistryStatus
    pin: Pin | None
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


async def settle_schema(services: Services, schema_id: str, pin: Pin | None = None) -> SchemaRecord:
    """Make sure that a schema rules: at the start, before the first request.

    A store that has one keeps it, without asking anyone. One that has none takes the pinned
    version, or else what the registry's ladder gives: live, disk, bundled.

    Raises:
        NotFound, RegistryError: no rung of the ladder has a schema of that id.
    """
    active = await services.schemas.active()
    if active is not None:
        return active
    fetched = await _chosen(services, schema_id, pin)
    return await _adopt(services, fetched)


async def refresh_schema(services: Services, schema_id: str, pin: Pin | None = None) -> Refreshed:
    """Ask the registry itself, and record what is new without adopting it.

    A document that breaks the rules is quarantined, not raised.

    Raises:
        NotFound, RegistryError: the registry has no such schema, or did not answer with sense.
    """
    try:
        if pin is None:
            fetched = await services.registry.refresh(schema_id)
        else:
            fetched = await services.registry.fetch(*pin)
    except DocumentRefused as refusal:
        return await _quarantine_refused(services, schema_id, refusal)
    return await _judge(services, fetched, pin)


async def adopt_if_empty(
    services: Services, schema_id: str, pin: Pin | None = None
) -> SchemaRecord | None:
    """Take the registry's newer schema into a store that has no projects yet, if there is one.

    None if the store holds projects or rules by the right schema already.

    Raises:
        NotFound, RegistryError: as `settle_schema`.
    """
    active = await services.schemas.active()
    if active is not None and await _holds_projects(services):
        return None
    fetched = await _chosen(services, schema_id, pin)
    records = await services.schemas.records()
    if active is not None and not _supersedes(fetched, active, records, pin):
        return None
    return await _adopt(services, fetched)


async def refresh_forever(
    services: Services,
    schema_id: str,
    pin: Pin | None = None,
    *,
    report: Callable[[Refreshed], None],
    interval_s: float = REFRESH_INTERVAL_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Refresh now and then again and again, until cancelled; `report` hears of each outcome.

    The pauses vary by a quarter either way, so that replicas do not ask all at once.
    """
    while True:
        report(await _refresh_once(services, schema_id, pin))
        await sleep(interval_s * random.uniform(0.75, 1.25))  # noqa: S311  # spreads load


async def schema_health(services: Services, pin: Pin | None = None) -> SchemaHealth:
    """A picture of governance; asks the store, never the registry."""
    active = await services.schemas.active()
    waiting = [r for r in await services.schemas.records() if r.state in _WAITING]
    registry = services.registry.status()
    return SchemaHealth(
        active=active,
        waiting=tuple(waiting),
        registry=registry,
        pin=pin,
        problem=_problem(active, registry, pin),
    )


def _problem(active: SchemaRecord | None, registry: RegistryStatus, pin: Pin | None) -> str:
    if active is None:
        return "no schema is active"
    if pin is not None and active.schema.version != pin[1]:
        return f"version {pin[1]} is pinned, but version {active.schema.version} is active"
    if registry.last_error is not None:
        return f"the registry does not vouch for the schema: {registry.last_error}"
    return ""


async def _refresh_once(services: Services, schema_id: str, pin: Pin | None) -> Refreshed:
    try:
        outcome = await refresh_schema(services, schema_id, pin)
        adopted = await adopt_if_empty(services, schema_id, pin)
    except SpawnError as error:
        # Whatever refuses now, the next round asks again.
        return Refreshed(Verdict.FAILED, error.detail)
    if adopted is None:
        return outcome
    detail = f"version {adopted.schema.version} rules a store without projects"
    return Refreshed(Verdict.ADOPTED, detail, adopted)


async def _chosen(services: Services, schema_id: str, pin: Pin | None) -> Fetched:
    """By the order pin > live > disk > bundled; the ladder behind the port knows the last three."""
    if pin is not None:
        try:
            return await services.registry.fetch(*pin)
        except (NotFound, RegistryError):
            # Health goes on saying that the pin is not in force.
            pass
    return await services.registry.fetch(schema_id)


async def _adopt(services: Services, fetched: Fetched) -> SchemaRecord:
    records = await services.schemas.records()
    record = _record(services, _numbered(fetched, records), fetched, SchemaState.ACTIVE)
    try:
        await services.schemas.adopt(record)
    except Conflict:
        # Another replica was first, or a project arrived: what rules now rules.
        active = await services.schemas.active()
        if active is None:
            raise
        return active
    return record


def _supersedes(
    fetched: Fetched, active: SchemaRecord, records: list[SchemaRecord], pin: Pin | None
) -> bool:
    """Whether an empty store should change over: to the pin, or up to a governed version."""
    schema = _numbered(fetched, records)
    known = _find(records, schema.fingerprint)
    if schema.fingerprint == active.schema.fingerprint or _clashes(schema, records):
        return False
    if known is not None and known.state is SchemaState.QUARANTINED:
        return False
    if pin is not None:
        return schema.version == pin[1]
    governs = fetched.provenance in _VOUCHED
    return governs and schema.version > active.schema.version


async def _holds_projects(services: Services) -> bool:
    return bool((await services.reads.page(Query(limit=1))).items)


async def _judge(services: Services, fetched: Fetched, pin: Pin | None) -> Refreshed:
    """Compare what the registry serves with what the store knows, and record what is new."""
    records = await services.schemas.records()
    schema = _numbered(fetched, records)
    known = _find(records, schema.fingerprint)
    if known is not None and known.schema.version == schema.version:
        return Refreshed(Verdict.UNCHANGED, f"version {schema.version} is {known.state} here")
    reason = _objection(schema, records, pin)
    state = SchemaState.QUARANTINED if reason else SchemaState.CANDIDATE
    record = _record(services, schema, fetched, state, reason)
    return await _remember(services, record, records)


def _objection(schema: Schema, records: list[SchemaRecord], pin: Pin | None) -> str:
    """Why this version cannot even be a candidate, or an empty text."""
    if _clashes(schema, records):
        return f"version {schema.version} is known with another content"
    if pin is not None and schema.version == pin[1]:
        return ""
    newest = max((r.schema.version for r in records if r.state not in _WAITING), default=-1)
    if schema.version < newest:
        return f"version {schema.version} is older than version {newest}, which was adopted"
    return ""


def _clashes(schema: Schema, records: list[SchemaRecord]) -> bool:
    """Whether the number belongs to another content; what was quarantined holds no number."""
    return any(
        known.schema.version == schema.version
        and known.schema.fingerprint != schema.fingerprint
        and known.state is not SchemaState.QUARANTINED
        for known in records
    )


async def _quarantine_refused(
    services: Services, schema_id: str, refusal: DocumentRefused
) -> Refreshed:
    """Record a refused document by the version it claims; mere garbage raises the refusal again."""
    records = await services.schemas.records()
    try:
        claimed = read_object(refusal.document).get("version")
        version = int(str(claimed)) if _is_version(claimed) else _next_ordinal(records)
        schema = recall_schema(refusal.document, schema_id=schema_id, version=version)
    except (MalformedBody, InvalidInput):
        raise refusal from None
    known = _find(records, schema.fingerprint)
    if known is not None:
        return Refreshed(Verdict.UNCHANGED, f"version {known.schema.version} is {known.state} here")
    record = SchemaRecord(
        schema=schema,
        document=refusal.document,
        state=SchemaState.QUARANTINED,
        provenance=Provenance.LIVE,
        recorded_at=services.clock.now(),
        reason=refusal.detail,
    )
    return await _remember(services, record, records)


def _is_version(token: object) -> bool:
    return isinstance(token, Number) and token.isdecimal() and len(token) < 10  # noqa: PLR2004  # as in a pin


async def _remember(
    services: Services, record: SchemaRecord, records: list[SchemaRecord]
) -> Refreshed:
    verdict = Verdict(record.state.value)
    detail = record.reason or f"version {record.schema.version} waits to be adopted"
    if sum(known.state in _WAITING for known in records) >= MAX_WAITING:
        return Refreshed(verdict, f"{detail} (not recorded: {MAX_WAITING} versions wait already)")
    await services.schemas.record(record)
    return Refreshed(verdict, detail, record)


def _numbered(fetched: Fetched, records: list[SchemaRecord]) -> Schema:
    """The schema under its own number, or one assigned by fingerprint if it states none."""
    known = _find(records, fetched.schema.fingerprint)
    ordinal = known.schema.version if known is not None else _next_ordinal(records)
    return read_schema(fetched.document, ordinal=ordinal, schema_id=fetched.schema.id)


def _next_ordinal(records: list[SchemaRecord]) -> int:
    return max((record.schema.version for record in records), default=0) + 1


def _find(records: list[SchemaRecord], mark: str) -> SchemaRecord | None:
    return next((record for record in records if record.schema.fingerprint == mark), None)


def _record(
    services: Services, schema: Schema, fetched: Fetched, state: SchemaState, reason: str = ""
) -> SchemaRecord:
    return SchemaRecord(
        schema=schema,
        document=fetched.document,
        state=state,
        provenance=fetched.provenance,
        recorded_at=services.clock.now(),
        reason=reason,
    )
