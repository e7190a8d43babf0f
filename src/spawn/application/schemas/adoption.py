"""How the schema evolves while the service serves: asked, judged, migrated or refused out loud.

A version of the registry is discovered, validated, compared with the versions whose data are here,
and then adopted with a migration, or quarantined with the reason while the old version goes on
serving. Someone who governs may approve or reject what was quarantined. There is no way down.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec

from spawn.application.dependencies import Services, require
from spawn.application.jobs import SERVICE
from spawn.application.lineage.recorder import migrating
from spawn.application.schemas.activation import (
    ADOPTED,
    MAX_WAITING,
    Refreshed,
    SchemaRules,
    Verdict,
    holds_projects,
    known_by,
    next_ordinal,
    numbered,
    record_of,
)
from spawn.domain.errors import (
    Conflict,
    InvalidInput,
    MalformedBody,
    NotFound,
    SpawnError,
    Stale,
)
from spawn.domain.json_tokens import Number, read_object
from spawn.domain.principal import Principal
from spawn.domain.schemas.document_parser import DocumentRefused, read_schema, recall_schema
from spawn.domain.schemas.evolution.adoption_policy import judge
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Judgement, Proof, Relation
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.domain.schemas.model import Schema
from spawn.ports.schemas import (
    Decision,
    Disproved,
    Failure,
    Provenance,
    SchemaRecord,
    SchemaState,
)

REFRESH_INTERVAL_S: Final = 60.0


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What adopting a schema would come to; nothing was changed to find out.

    `objection` says why it cannot even be compared, if it cannot. `steps` are what the store would
    do to its tables. `failures` are claims that its data do not bear out: proofs that the change
    asks for, and types that it changes to.
    """

    schema: Schema
    objection: str
    judgement: Judgement
    plan: MigrationPlan
    steps: tuple[str, ...]
    failures: tuple[Failure, ...]

    @property
    def adoptable(self) -> bool:
        """Whether it would be adopted as things are now."""
        return not self.objection and self.judgement.adoptable and not self.failures


# -- refreshing -----------------------------------------------------------------------------


async def refresh_schema(
    services: Services, rules: SchemaRules, *, actor: str = SERVICE.id, again: bool = True
) -> Refreshed:
    """Ask the registry itself, and adopt what is new or refuse it, with the reason recorded.

    `again` looks once more at a version that was quarantined before: the data, or the mode, may
    have changed. A document that breaks the rules is quarantined, not raised.

    Raises:
        NotFound, RegistryError: the registry has no such schema, or did not answer with sense.
    """
    try:
        if rules.pin is None:
            fetched = await services.registry.refresh(rules.schema_id)
        else:
            fetched = await services.registry.fetch(*rules.pin)
    except DocumentRefused as refusal:
        return await _quarantine_refused(services, rules.schema_id, refusal, actor)
    schema = numbered(fetched, await services.schemas.records())
    candidate = record_of(services, schema, fetched, SchemaState.CANDIDATE)
    return await _Case(services, rules, candidate, actor).settle(again=again)


async def refresh_forever(
    services: Services,
    rules: SchemaRules,
    *,
    report: Callable[[Refreshed], None],
    interval_s: float = REFRESH_INTERVAL_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Refresh now and then again and again, until cancelled; `report` hears of each outcome.

    The pauses vary by a quarter either way, so that replicas do not ask all at once.
    """
    again = True
    while True:
        report(await _refresh_once(services, rules, again=again))
        again = False
        await sleep(interval_s * random.uniform(0.75, 1.25))  # noqa: S311  # spreads load


async def _refresh_once(services: Services, rules: SchemaRules, *, again: bool) -> Refreshed:
    try:
        return await refresh_schema(services, rules, again=again)
    except SpawnError as error:
        # Whatever refuses now, the next round asks again.
        return Refreshed(Verdict.FAILED, error.detail)


# -- decisions ------------------------------------------------------------------------------


async def approve_schema(
    services: Services, rules: SchemaRules, principal: Principal, *, version: int, reason: str
) -> Refreshed:
    """Adopt a version that was not adopted by itself, whatever the mode says.

    The rows relation must hold all the same: no one can approve that stored data be lost.

    Raises:
        NotFound: no such version waits.
        Disproved: the data do not bear out what it demands of them.
        Conflict: its rows relation does not hold, its document was refused, it is no way up, or
            another version came to rule meanwhile.
    """
    require(principal, "admin")
    record = await _waiting(services, rules, version)
    decision = _decision(services, principal, reason, approved=True)
    decided = msgspec.structs.replace(record, decision=decision, reason="")
    return await _Case(services, rules, decided, principal.id).approve()


async def reject_schema(
    services: Services, rules: SchemaRules, principal: Principal, *, version: int, reason: str
) -> Refreshed:
    """Refuse a version for good: no refresh considers it again, and health is at ease about it.

    Raises:
        NotFound: no such version waits.
        Conflict: it was rejected before; who did so and why stays on record.
    """
    require(principal, "admin")
    record = await _waiting(services, rules, version)
    if record.state is SchemaState.REJECTED:
        raise Conflict(f"Version {version} was rejected already.")
    rejected = msgspec.structs.replace(
        record,
        state=SchemaState.REJECTED,
        decision=_decision(services, principal, reason, approved=False),
    )
    await services.schemas.record(rejected, actor=principal.id)
    return Refreshed(Verdict.REJECTED, f"version {version} was rejected: {reason}", rejected)


async def _waiting(services: Services, rules: SchemaRules, version: int) -> SchemaRecord:
    """The newest record of the version that has not been adopted."""
    for record in reversed(await services.schemas.records()):
        schema, waits = record.schema, record.state not in ADOPTED
        if waits and (schema.id, schema.version) == (rules.schema_id, version):
            return record
    raise NotFound(f"No version {version} of {rules.schema_id} waits for a decision.")


def _decision(services: Services, principal: Principal, reason: str, *, approved: bool) -> Decision:
    if not reason.strip():
        raise InvalidInput.at("/reason", "empty", "a decision needs a reason")
    now = services.clock.now()
    return Decision(approved=approved, actor=principal.id, reason=reason, decided_at=now)


# -- judging --------------------------------------------------------------------------------


async def check_schema(
    services: Services, rules: SchemaRules, principal: Principal, document: bytes
) -> Proposal:
    """What adopting a document would come to: verdicts, steps, and projects that would fail.

    Raises:
        InvalidInput: the document breaks a rule; each path is named.
    """
    require(principal, "read")
    ordinal = next_ordinal(await services.schemas.records())
    schema = read_schema(document, ordinal=ordinal, schema_id=rules.schema_id)
    return await _proposal(services, rules, schema)


async def review_schema(
    services: Services, rules: SchemaRules, principal: Principal, *, version: int
) -> tuple[SchemaRecord, Proposal | None]:
    """A version that waits, and what adopting it would come to as things are now.

    There is no proposal for a document that breaks a rule: the record's reason says which.

    Raises:
        NotFound: no such version waits.
    """
    require(principal, "read")
    record = await _waiting(services, rules, version)
    try:
        schema = read_schema(record.document, ordinal=version, schema_id=rules.schema_id)
    except InvalidInput:
        return record, None
    return record, await _proposal(services, rules, schema)


async def _proposal(services: Services, rules: SchemaRules, schema: Schema) -> Proposal:
    active = await services.active()
    records = await services.schemas.records()
    empty = not await holds_projects(services)
    judgement = await judge_schema(services, rules, schema)
    plan = plan_migration(active.schema, schema)
    claims = (*plan.proofs, *_ruled_out(judgement, active.schema, schema))
    same = schema.fingerprint == active.schema.fingerprint
    return Proposal(
        schema=schema,
        objection="" if same else _objection(schema, rules, records, active, empty=empty),
        judgement=judgement,
        plan=plan,
        steps=services.schemas.describe(plan),
        failures=await services.schemas.examine(claims),
    )


def _ruled_out(judgement: Judgement, active: Schema, schema: Schema) -> Iterator[Proof]:
    """Claims that no migration makes, since the type is refused anyway: they count what is lost."""
    findings = judgement.comparisons[0].findings
    changed = {f.path for f in findings if f.kind is ChangeKind.TYPE_CHANGED}
    names = {column.name for column in active.governed}
    for column in schema.governed:
        if column.name in names and f"/columns/{column.name}/type" in changed:
            yield Proof(stored=column.name, column=column)


async def judge_schema(services: Services, rules: SchemaRules, schema: Schema) -> Judgement:
    """A schema beside the versions whose data are here, under the mode, today."""
    active, *earlier = await services.schemas.lineage()
    return judge(schema, active, earlier, rules.mode, on=services.clock.now().date())


class _Case:
    """One version on its way to be adopted or refused."""

    def __init__(
        self, services: Services, rules: SchemaRules, record: SchemaRecord, actor: str
    ) -> None:
        self._services = services
        self._rules = rules
        self._record = record
        self._actor = actor

    @property
    def _version(self) -> int:
        return self._record.schema.version

    async def settle(self, *, again: bool) -> Refreshed:
        """Adopt or quarantine, unless it is settled already."""
        records = await self._services.schemas.records()
        known = known_by(records, self._record.schema.fingerprint, self._version)
        active = await self._services.active()
        if known is not None and _is_settled(known, active, again=again):
            return Refreshed(Verdict.UNCHANGED, f"version {self._version} is {known.state} here")
        empty = not await holds_projects(self._services)
        if objection := _objection(self._record.schema, self._rules, records, active, empty=empty):
            return await self._refuse(objection)
        if empty:
            try:
                await self._services.schemas.adopt(self._record, actor=self._actor)
            except Conflict:
                # A project arrived meanwhile: what is there must be taken along.
                return await self._judged(active)
            return self._adopted("rules a store without projects")
        return await self._judged(active)

    async def approve(self) -> Refreshed:
        """Adopt by decision; see `approve_schema`."""
        records = await self._services.schemas.records()
        active = await self._services.active()
        if objection := _objection(self._record.schema, self._rules, records, active, empty=False):
            raise Conflict(objection)
        try:
            read_schema(self._record.document, ordinal=self._version)
        except InvalidInput as refusal:
            raise Conflict(f"The document is refused: {refusal.detail[:500]}") from None
        judgement = await judge_schema(self._services, self._rules, self._record.schema)
        lost = [f for f in judgement.comparisons[0].findings if f.rows is Relation.NO]
        if lost:
            said = "; ".join(f"{f.path}: {f.reason} {f.consequence}".strip() for f in lost)
            raise Conflict(f"Stored data could not be read under version {self._version}: {said}")
        try:
            return await self._migrate(active)
        except Disproved as refusal:
            await self._refuse(refusal.detail)
            raise
        except Stale as moved:
            raise Conflict(moved.detail) from None

    async def _judged(self, active: SchemaRecord) -> Refreshed:
        judgement = await judge_schema(self._services, self._rules, self._record.schema)
        if not judgement.adoptable:
            return await self._refuse("; ".join(judgement.objections))
        try:
            return await self._migrate(active)
        except Disproved as refusal:
            return await self._refuse(refusal.detail)
        except Stale as lost:
            # Another replica was quicker: with this version, or else the next round sees to it.
            return Refreshed(Verdict.UNCHANGED, lost.detail)
        except SpawnError as failure:
            return Refreshed(Verdict.FAILED, failure.detail, self._record)

    async def _migrate(self, active: SchemaRecord) -> Refreshed:
        """Take the data along from the version that was objected to and judged against.

        If another has come to rule meanwhile, perhaps a newer one, the store refuses: what was
        found out about the version holds no longer.

        Raises:
            Disproved, Stale, Unavailable: as `SchemaStore.migrate`.
        """
        schemas = self._services.schemas
        await self._note(SchemaState.MIGRATING)
        old, new = active.schema, self._record.schema
        plan = plan_migration(old, new)
        decision = self._record.decision
        reason = decision.reason if decision else ""
        try:
            async with migrating(self._services, self._actor, old, new, plan) as counted:
                migration = await schemas.migrate(
                    self._record, plan, actor=self._actor, reason=reason
                )
                counted.rows = migration.rows
        except Conflict:
            await self._note(SchemaState.CANDIDATE)
            raise
        except SpawnError as failure:
            await self._note(SchemaState.FAILED, failure.detail)
            raise
        outcome = self._adopted(f"took over the data of version {plan.old_version}")
        return Refreshed(outcome.verdict, outcome.detail, outcome.record, migration)

    def _adopted(self, how: str) -> Refreshed:
        record = msgspec.structs.replace(self._record, state=SchemaState.ACTIVE)
        return Refreshed(Verdict.ADOPTED, f"version {self._version} {how}", record)

    async def _refuse(self, reason: str) -> Refreshed:
        refused = msgspec.structs.replace(
            self._record, state=SchemaState.QUARANTINED, reason=reason, decision=None
        )
        return await _quarantine(self._services, refused, self._actor)

    async def _note(self, state: SchemaState, reason: str = "") -> None:
        """Show where the version is on its way; it goes on if that cannot be written."""
        noted = msgspec.structs.replace(self._record, state=state, reason=reason)
        records = await self._services.schemas.records()
        try:
            if _has_room(records, noted):
                await self._services.schemas.record(noted, actor=self._actor)
        except SpawnError:
            # Adopted by another replica, or the store cannot write: what follows will tell.
            return


def _is_settled(known: SchemaRecord, active: SchemaRecord, *, again: bool) -> bool:
    if known.state is SchemaState.QUARANTINED:
        return not again
    if known.state is SchemaState.RETIRED:
        # It ruled before there were projects, and is newer than what rules now.
        return known.schema.version < active.schema.version
    return known.state in {SchemaState.ACTIVE, SchemaState.REJECTED}


def _objection(
    schema: Schema,
    rules: SchemaRules,
    records: list[SchemaRecord],
    active: SchemaRecord,
    *,
    empty: bool,
) -> str:
    """Why a version cannot even be compared, or an empty text."""
    if _clashes(schema, records):
        return f"version {schema.version} is known with another content"
    pinned = rules.pin is not None and schema.version == rules.pin[1]
    if schema.version < active.schema.version and not (pinned and empty):
        newest = active.schema.version
        return f"version {schema.version} is older than version {newest}, which was adopted"
    return ""


def _clashes(schema: Schema, records: list[SchemaRecord]) -> bool:
    """Whether the number belongs to another content; only what was adopted holds one."""
    return any(
        known.schema.version == schema.version
        and known.schema.fingerprint != schema.fingerprint
        and known.state in ADOPTED
        for known in records
    )


async def _quarantine_refused(
    services: Services, schema_id: str, refusal: DocumentRefused, actor: str
) -> Refreshed:
    """Record a refused document by the version it claims; mere garbage raises the refusal again."""
    records = await services.schemas.records()
    try:
        claimed = read_object(refusal.document).get("version")
        version = int(str(claimed)) if _is_version(claimed) else next_ordinal(records)
        schema = recall_schema(refusal.document, schema_id=schema_id, version=version)
    except (MalformedBody, InvalidInput):
        raise refusal from None
    known = known_by(records, schema.fingerprint)
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
    return await _quarantine(services, record, actor)


def _is_version(token: object) -> bool:
    return isinstance(token, Number) and token.isdecimal() and len(token) < 10  # noqa: PLR2004  # as in a pin


async def _quarantine(services: Services, record: SchemaRecord, actor: str) -> Refreshed:
    if not _has_room(await services.schemas.records(), record):
        detail = f"{record.reason} (not recorded: {MAX_WAITING} versions wait already)"
        return Refreshed(Verdict.QUARANTINED, detail)
    try:
        await services.schemas.record(record, actor=actor)
    except Conflict as decided:
        # Someone rejected it, or another replica adopted it, while it was judged.
        return Refreshed(Verdict.UNCHANGED, decided.detail)
    return Refreshed(Verdict.QUARANTINED, record.reason, record)


def _has_room(records: list[SchemaRecord], record: SchemaRecord) -> bool:
    """Whether one more version may be remembered; what is known already may always change.

    What was refused before the ruling version came is history, and takes no room from what follows.
    """
    if known_by(records, record.schema.fingerprint, record.schema.version) is not None:
        return True
    since = max((r.recorded_at for r in records if r.state is SchemaState.ACTIVE), default=None)
    waiting = (r for r in records if r.state not in ADOPTED)
    return sum(since is None or r.recorded_at >= since for r in waiting) < MAX_WAITING
