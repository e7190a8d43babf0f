"""Adopt schema versions of the registry: refresh, check, approve, reject, migrate.

A version of the registry is discovered, validated, compared with the versions of the stored data,
and then adopted with a migration, or quarantined with the reason while the old version stays
active. An administrator may approve or reject a quarantined version. Downgrades are impossible.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.lineage.recorder import record_migration
from spawn.application.schemas.activation import (
    ADOPTED,
    MAX_WAITING,
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    assign_version,
    build_record,
    find_record,
    has_projects,
    next_version,
)
from spawn.domain.errors import (
    Conflict,
    InvalidInput,
    MalformedBody,
    NotFound,
    SpawnError,
    StaleVersion,
)
from spawn.domain.json_tokens import NumberToken, parse_object
from spawn.domain.principal import SERVICE_PRINCIPAL, Principal, Scope
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import InvalidSchemaDocument, read_schema, restore_schema
from spawn.domain.schemas.evolution.adoption_policy import judge_adoption
from spawn.domain.schemas.evolution.compatibility import (
    AdoptionJudgement,
    ChangeKind,
    Compatibility,
    Proof,
)
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.ports.schemas import (
    AdoptionDecision,
    MigrationRejected,
    ProofViolation,
    Provenance,
    SchemaRecord,
    SchemaState,
)

REFRESH_INTERVAL_S: Final = 60.0


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Dry run of the adoption of a schema.

    `violation` is the reason why the schema cannot even be compared, or empty. `steps` are the
    changes to the tables. `failures` are the proofs that the stored data violate: those that the
    change requires, and those of changed types.
    """

    schema: Schema
    violation: str
    judgement: AdoptionJudgement
    plan: MigrationPlan
    steps: tuple[str, ...]
    failures: tuple[ProofViolation, ...]

    @property
    def is_adoptable(self) -> bool:
        """Return whether the schema would be adopted now."""
        return not self.violation and self.judgement.is_adoptable and not self.failures


# -- refreshing -----------------------------------------------------------------------------


async def refresh_schema(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    *,
    actor: str = SERVICE_PRINCIPAL.id,
    should_retry: bool = True,
) -> RefreshResult:
    """Fetch the schema from the registry, and adopt a new version or quarantine it.

    `should_retry` tries a quarantined version again, since the data or the mode may have changed.
    An invalid document is quarantined, not raised.

    Raises:
        NotFound, RegistryError: the registry has no such schema, or its response is unusable.
    """
    try:
        if policy.pin is None:
            fetched_schema = await dependencies.registry.refresh(policy.schema_id)
        else:
            fetched_schema = await dependencies.registry.fetch(*policy.pin)
    except InvalidSchemaDocument as invalid:
        return await _quarantine_invalid_document(dependencies, policy.schema_id, invalid, actor)
    schema = assign_version(fetched_schema, await dependencies.schemas.records())
    candidate = build_record(dependencies, schema, fetched_schema, SchemaState.CANDIDATE)
    return await _Adoption(dependencies, policy, candidate, actor).adopt_or_quarantine(
        should_retry=should_retry
    )


async def refresh_forever(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    *,
    report: Callable[[RefreshResult], None],
    interval_s: float = REFRESH_INTERVAL_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Refresh at an interval until cancelled, and pass each result to `report`.

    The pauses vary by a quarter either way, so that replicas do not all refresh at once.
    """
    should_retry = True
    while True:
        report(await _refresh_once(dependencies, policy, should_retry=should_retry))
        should_retry = False
        await sleep(interval_s * random.uniform(0.75, 1.25))  # noqa: S311  # spreads load


async def _refresh_once(
    dependencies: Dependencies, policy: SchemaPolicy, *, should_retry: bool
) -> RefreshResult:
    try:
        return await refresh_schema(dependencies, policy, should_retry=should_retry)
    except SpawnError as error:
        # The next round tries again.
        return RefreshResult(RefreshVerdict.FAILED, error.detail)


# -- decisions ------------------------------------------------------------------------------


async def approve_schema(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    principal: Principal,
    *,
    version: int,
    reason: str,
) -> RefreshResult:
    """Adopt a waiting version by decision in spite of its compatibility mode.

    The rows relation must hold all the same: a decision cannot permit the loss of stored data.

    Raises:
        NotFound: no such version waits.
        MigrationRejected: the stored data violate a proof that the version requires.
        Conflict: the rows relation does not hold, the document is invalid, the version is no
            upgrade, or another version became active meanwhile.
    """
    require(principal, Scope.SCHEMA_ADMIN)
    record = await _find_waiting(dependencies, policy, version)
    decision = _build_decision(dependencies, principal, reason, approved=True)
    approved_record = msgspec.structs.replace(record, decision=decision, reason="")
    return await _Adoption(dependencies, policy, approved_record, principal.id).approve()


async def reject_schema(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    principal: Principal,
    *,
    version: int,
    reason: str,
) -> RefreshResult:
    """Reject a version permanently: no refresh tries it again, and health ignores it.

    Raises:
        NotFound: no such version waits.
        Conflict: the version was rejected before; that decision stays on record.
    """
    require(principal, Scope.SCHEMA_ADMIN)
    record = await _find_waiting(dependencies, policy, version)
    if record.state is SchemaState.REJECTED:
        raise Conflict(f"Version {version} was already rejected.")
    rejected_record = msgspec.structs.replace(
        record,
        state=SchemaState.REJECTED,
        decision=_build_decision(dependencies, principal, reason, approved=False),
    )
    await dependencies.schemas.record(rejected_record, actor=principal.id)
    return RefreshResult(
        RefreshVerdict.REJECTED, f"version {version} was rejected: {reason}", rejected_record
    )


async def _find_waiting(
    dependencies: Dependencies, policy: SchemaPolicy, version: int
) -> SchemaRecord:
    """Return the newest record of a version that is not adopted."""
    for record in reversed(await dependencies.schemas.records()):
        schema, is_waiting = record.schema, record.state not in ADOPTED
        if is_waiting and (schema.id, schema.version) == (policy.schema_id, version):
            return record
    raise NotFound(f"No version {version} of {policy.schema_id} waits for a decision.")


def _build_decision(
    dependencies: Dependencies, principal: Principal, reason: str, *, approved: bool
) -> AdoptionDecision:
    if not reason.strip():
        raise InvalidInput.at("/reason", "empty", "a decision needs a reason")
    now = dependencies.clock.now()
    return AdoptionDecision(approved=approved, actor=principal.id, reason=reason, decided_at=now)


# -- evaluation -----------------------------------------------------------------------------


async def check_schema(
    dependencies: Dependencies, policy: SchemaPolicy, principal: Principal, document: bytes
) -> Proposal:
    """Return a dry run of the adoption of a document: verdicts, steps, failing projects.

    Raises:
        InvalidInput: the document violates a rule; each path is named.
    """
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    version = next_version(await dependencies.schemas.records())
    schema = read_schema(document, default_version=version, schema_id=policy.schema_id)
    return await _build_proposal(dependencies, policy, schema)


async def review_schema(
    dependencies: Dependencies, policy: SchemaPolicy, principal: Principal, *, version: int
) -> tuple[SchemaRecord, Proposal | None]:
    """Return a waiting version, and a dry run of its adoption now.

    There is no proposal for a document that violates a rule: the record's reason names the rule.

    Raises:
        NotFound: no such version waits.
    """
    require(principal, Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
    record = await _find_waiting(dependencies, policy, version)
    try:
        schema = read_schema(record.document, default_version=version, schema_id=policy.schema_id)
    except InvalidInput:
        return record, None
    return record, await _build_proposal(dependencies, policy, schema)


async def _build_proposal(
    dependencies: Dependencies, policy: SchemaPolicy, schema: Schema
) -> Proposal:
    active = await dependencies.active_schema()
    records = await dependencies.schemas.records()
    is_empty = not await has_projects(dependencies)
    judgement = await judge_schema(dependencies, policy, schema)
    plan = plan_migration(active.schema, schema)
    proofs = (*plan.proofs, *_rejected_type_proofs(judgement, active.schema, schema))
    is_active = schema.fingerprint == active.schema.fingerprint
    return Proposal(
        schema=schema,
        violation=""
        if is_active
        else _find_violation(schema, policy, records, active, is_empty=is_empty),
        judgement=judgement,
        plan=plan,
        steps=dependencies.schemas.describe_plan(plan),
        failures=await dependencies.schemas.check_proofs(proofs),
    )


def _rejected_type_proofs(
    judgement: AdoptionJudgement, active: Schema, schema: Schema
) -> Iterator[Proof]:
    """Yield proofs for rejected type changes, so that a dry run counts the values at risk."""
    findings = judgement.comparisons[0].findings
    changed_paths = {f.path for f in findings if f.kind is ChangeKind.TYPE_CHANGED}
    names = {column.name for column in active.governed}
    for column in schema.governed:
        if column.name in names and f"/columns/{column.name}/type" in changed_paths:
            yield Proof(stored_name=column.name, column=column)


async def judge_schema(
    dependencies: Dependencies, policy: SchemaPolicy, schema: Schema
) -> AdoptionJudgement:
    """Judge a schema against the versions of the stored data, under the mode, today."""
    active, *earlier = await dependencies.schemas.version_history()
    return judge_adoption(
        schema, active, earlier, policy.mode, on_date=dependencies.clock.now().date()
    )


class _Adoption:
    """Adoption or quarantine of one version."""

    def __init__(
        self, dependencies: Dependencies, policy: SchemaPolicy, record: SchemaRecord, actor: str
    ) -> None:
        self._dependencies = dependencies
        self._policy = policy
        self._record = record
        self._actor = actor

    @property
    def _version(self) -> int:
        return self._record.schema.version

    async def adopt_or_quarantine(self, *, should_retry: bool) -> RefreshResult:
        """Adopt or quarantine the version, unless it is already decided."""
        records = await self._dependencies.schemas.records()
        existing = find_record(records, self._record.schema.fingerprint, self._version)
        active = await self._dependencies.active_schema()
        if existing is not None and _is_decided(existing, active, should_retry=should_retry):
            return RefreshResult(
                RefreshVerdict.UNCHANGED, f"version {self._version} is already {existing.state}"
            )
        is_empty = not await has_projects(self._dependencies)
        if violation := _find_violation(
            self._record.schema, self._policy, records, active, is_empty=is_empty
        ):
            return await self._quarantine(violation)
        if is_empty:
            try:
                await self._dependencies.schemas.adopt(self._record, actor=self._actor)
            except Conflict:
                # A project arrived meanwhile: it must be migrated.
                return await self._adopt_if_allowed(active)
            return self._build_result("is active in a store without projects")
        return await self._adopt_if_allowed(active)

    async def approve(self) -> RefreshResult:
        """Adopt by decision; see `approve_schema`."""
        records = await self._dependencies.schemas.records()
        active = await self._dependencies.active_schema()
        if violation := _find_violation(
            self._record.schema, self._policy, records, active, is_empty=False
        ):
            raise Conflict(violation)
        try:
            read_schema(self._record.document, default_version=self._version)
        except InvalidInput as error:
            raise Conflict(f"The document is invalid: {error.detail[:500]}") from None
        judgement = await judge_schema(self._dependencies, self._policy, self._record.schema)
        losses = [f for f in judgement.comparisons[0].findings if f.rows is Compatibility.NO]
        if losses:
            reasons = "; ".join(f"{f.path}: {f.reason} {f.consequence}".strip() for f in losses)
            raise Conflict(
                f"Stored data could not be read under version {self._version}: {reasons}"
            )
        try:
            return await self._migrate(active)
        except MigrationRejected as rejection:
            await self._quarantine(rejection.detail)
            raise
        except StaleVersion as stale:
            raise Conflict(stale.detail) from None

    async def _adopt_if_allowed(self, active: SchemaRecord) -> RefreshResult:
        judgement = await judge_schema(self._dependencies, self._policy, self._record.schema)
        if not judgement.is_adoptable:
            return await self._quarantine("; ".join(judgement.violations))
        try:
            return await self._migrate(active)
        except MigrationRejected as rejection:
            return await self._quarantine(rejection.detail)
        except StaleVersion as stale:
            # Another replica adopted this version, or another one: the next round finds out.
            return RefreshResult(RefreshVerdict.UNCHANGED, stale.detail)
        except SpawnError as failure:
            return RefreshResult(RefreshVerdict.FAILED, failure.detail, self._record)

    async def _migrate(self, active: SchemaRecord) -> RefreshResult:
        """Migrate the data from the version that the judgement was based on.

        If another version became active meanwhile, perhaps a newer one, the store rejects the
        migration, since the judgement no longer holds.

        Raises:
            MigrationRejected, StaleVersion, Unavailable: as `SchemaStore.migrate`.
        """
        schemas = self._dependencies.schemas
        await self._record_progress(SchemaState.MIGRATING)
        old, new = active.schema, self._record.schema
        plan = plan_migration(old, new)
        decision = self._record.decision
        reason = decision.reason if decision else ""
        try:
            async with record_migration(
                self._dependencies, self._actor, old, new, plan
            ) as progress:
                migration = await schemas.migrate(
                    self._record, plan, actor=self._actor, reason=reason
                )
                progress.rows = migration.rows
        except Conflict:
            await self._record_progress(SchemaState.CANDIDATE)
            raise
        except SpawnError as failure:
            await self._record_progress(SchemaState.FAILED, failure.detail)
            raise
        result = self._build_result(f"took over the data of version {plan.old_version}")
        return RefreshResult(result.verdict, result.detail, result.record, migration)

    def _build_result(self, detail: str) -> RefreshResult:
        record = msgspec.structs.replace(self._record, state=SchemaState.ACTIVE)
        text = f"version {self._version} {detail}"
        if record.schema.ineffective:
            text += f"; without effect: {' '.join(record.schema.ineffective)}"
        return RefreshResult(RefreshVerdict.ADOPTED, text, record)

    async def _quarantine(self, reason: str) -> RefreshResult:
        quarantined_record = msgspec.structs.replace(
            self._record, state=SchemaState.QUARANTINED, reason=reason, decision=None
        )
        return await _record_quarantine(self._dependencies, quarantined_record, self._actor)

    async def _record_progress(self, state: SchemaState, reason: str = "") -> None:
        """Record the state of the version; continue if that cannot be written."""
        record = msgspec.structs.replace(self._record, state=state, reason=reason)
        records = await self._dependencies.schemas.records()
        try:
            if _has_room(records, record):
                await self._dependencies.schemas.record(record, actor=self._actor)
        except SpawnError:
            # Adopted by another replica, or the store cannot write: the next step finds out.
            return


def _is_decided(record: SchemaRecord, active: SchemaRecord, *, should_retry: bool) -> bool:
    if record.state is SchemaState.QUARANTINED:
        return not should_retry
    if record.state is SchemaState.RETIRED:
        # A newer version that was active before there were projects may be adopted again.
        return record.schema.version < active.schema.version
    return record.state in {SchemaState.ACTIVE, SchemaState.REJECTED}


def _find_violation(
    schema: Schema,
    policy: SchemaPolicy,
    records: list[SchemaRecord],
    active: SchemaRecord,
    *,
    is_empty: bool,
) -> str:
    """Return why a version cannot even be compared, or an empty text."""
    if _has_other_content(schema, records):
        return f"version {schema.version} is known with another content"
    is_pinned = policy.pin is not None and schema.version == policy.pin[1]
    if schema.version < active.schema.version and not (is_pinned and is_empty):
        newest = active.schema.version
        return f"version {schema.version} is older than version {newest}, which was adopted"
    return ""


def _has_other_content(schema: Schema, records: list[SchemaRecord]) -> bool:
    """Return whether an adopted version has the same number and other content."""
    return any(
        existing.schema.version == schema.version
        and existing.schema.fingerprint != schema.fingerprint
        and existing.state in ADOPTED
        for existing in records
    )


async def _quarantine_invalid_document(
    dependencies: Dependencies, schema_id: str, invalid: InvalidSchemaDocument, actor: str
) -> RefreshResult:
    """Record an invalid document under the version it claims; raise if it is not JSON."""
    records = await dependencies.schemas.records()
    try:
        claimed_version = parse_object(invalid.document).get("version")
        version = (
            int(str(claimed_version)) if _is_version(claimed_version) else next_version(records)
        )
        schema = restore_schema(invalid.document, schema_id=schema_id, version=version)
    except (MalformedBody, InvalidInput):
        raise invalid from None
    existing = find_record(records, schema.fingerprint)
    if existing is not None:
        return RefreshResult(
            RefreshVerdict.UNCHANGED,
            f"version {existing.schema.version} is already {existing.state}",
        )
    record = SchemaRecord(
        schema=schema,
        document=invalid.document,
        state=SchemaState.QUARANTINED,
        provenance=Provenance.LIVE,
        recorded_at=dependencies.clock.now(),
        reason=invalid.detail,
    )
    return await _record_quarantine(dependencies, record, actor)


def _is_version(token: object) -> bool:
    return isinstance(token, NumberToken) and token.isdecimal() and len(token) < 10  # noqa: PLR2004  # as in a pin


async def _record_quarantine(
    dependencies: Dependencies, record: SchemaRecord, actor: str
) -> RefreshResult:
    if not _has_room(await dependencies.schemas.records(), record):
        detail = f"{record.reason} (not recorded: {MAX_WAITING} versions wait already; reject some)"
        return RefreshResult(RefreshVerdict.QUARANTINED, detail)
    try:
        await dependencies.schemas.record(record, actor=actor)
    except Conflict as conflict:
        # It was rejected, or adopted by another replica, during the judgement.
        return RefreshResult(RefreshVerdict.UNCHANGED, conflict.detail)
    return RefreshResult(RefreshVerdict.QUARANTINED, record.reason, record)


def _has_room(records: list[SchemaRecord], record: SchemaRecord) -> bool:
    """Return whether the version may be recorded; existing records may always change.

    Versions quarantined before the active one was adopted do not count.
    """
    if find_record(records, record.schema.fingerprint, record.schema.version) is not None:
        return True
    since = max((r.recorded_at for r in records if r.state is SchemaState.ACTIVE), default=None)
    waiting = (r for r in records if r.state not in ADOPTED)
    return sum(since is None or r.recorded_at >= since for r in waiting) < MAX_WAITING
