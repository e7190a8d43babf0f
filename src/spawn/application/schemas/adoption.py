"""Adopt one version of a schema: check, adopt or quarantine, approve, reject, migrate.

A version of the registry is validated, compared with the versions of the stored data, and then
adopted with a migration, or quarantined with the reason while the old version stays active. An
administrator may approve or reject a quarantined version. The number never goes down, unless a
decision takes back a jump. The module `refresh` finds the versions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.lineage.recorder import record_migration
from spawn.application.schemas.activation import (
    ADOPTED,
    MAX_RENAMING,
    MAX_VERSION_STEP,
    MAX_WAITING,
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    build_record,
    count_waiting,
    find_record,
    has_data,
    has_room,
    next_version,
)
from spawn.application.schemas.consumers import (
    AffectedConsumer,
    describe_affected,
    find_affected,
)
from spawn.application.schemas.schema_subject import find_foreign_subject
from spawn.application.schemas.unread_versions import (
    find_next_state,
    find_passed_versions,
    find_unread_numbers,
    find_unread_rejections,
    is_unread,
)
from spawn.domain.approvals.approval import MAX_CHANGES, CommandPreview, FieldChange
from spawn.domain.change import Guard
from spawn.domain.errors import (
    Conflict,
    InvalidInput,
    MalformedBody,
    NotFound,
    SpawnError,
    StaleVersion,
)
from spawn.domain.json_tokens import NumberToken, parse_object
from spawn.domain.principal import Principal, Scope
from spawn.domain.schema_version import MAX_VERSION, Schema
from spawn.domain.schemas.document_parser import (
    InvalidSchemaDocument,
    read_schema,
    restore_schema,
)
from spawn.domain.schemas.evolution.adoption_policy import judge_adoption
from spawn.domain.schemas.evolution.column_mapping import (
    PassedVersion,
    find_left_behind,
    find_unread_removal,
)
from spawn.domain.schemas.evolution.compatibility import (
    AdoptionJudgement,
    ChangeKind,
    Compatibility,
    Proof,
)
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.domain.schemas.refresh_state import Content, DecisionBasis
from spawn.domain.schemas.schema_status import SCHEMA_KIND
from spawn.domain.schemas.value_readers import find_contradiction
from spawn.ports.schemas import (
    AdoptionDecision,
    MigrationRejected,
    ProofViolation,
    Provenance,
    SchemaRecord,
    SchemaState,
)

_WITHDRAWABLE: Final = frozenset(
    {SchemaState.CANDIDATE, SchemaState.QUARANTINED, SchemaState.FAILED}
)


FINGERPRINT_POINTER: Final = "/fingerprint"
"""Change of the preview of an approval that names the content which is adopted."""

_GONE: Final = frozenset({SchemaState.WITHDRAWN, SchemaState.REPLACED})


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Dry run of the adoption of a schema.

    `violation` is the reason why the schema cannot even be compared, or empty. `steps` are the
    changes to the tables. `failures` are the proofs that the stored data violate: those that the
    change requires, and those of changed types. `affected` are the consumers whom a Sunset affects.
    """

    schema: Schema
    violation: str
    judgement: AdoptionJudgement
    plan: MigrationPlan
    steps: tuple[str, ...]
    failures: tuple[ProofViolation, ...]
    affected: tuple[AffectedConsumer, ...]

    @property
    def is_adoptable(self) -> bool:
        """Return whether the schema would be adopted now."""
        return not self.violation and self.judgement.is_adoptable and not self.failures


# -- decisions ------------------------------------------------------------------------------


async def approve_schema(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    principal: Principal,
    *,
    version: int,
    reason: str,
    fingerprint: str | None = None,
) -> RefreshResult:
    """Adopt a version by decision in spite of its compatibility mode.

    The rows relation must hold all the same: a decision cannot permit the loss of stored data.
    A version that no refresh has met is fetched: after a jump of the numbers, approval goes back.
    `fingerprint` is that of the content which a checker has seen.

    Raises:
        NotFound: no such version waits, and the registry publishes none.
        RegistryError: the registry did not respond.
        MigrationRejected: the stored data violate a proof that the version requires.
        Conflict: the rows relation does not hold, the document is invalid, the version is no
            upgrade, its content is another, or another version became active meanwhile.
    """
    require(principal, Scope.SCHEMA_ADMIN)
    record = await _find_or_fetch(dependencies, policy, version)
    if fingerprint not in {None, record.schema.fingerprint}:
        raise Conflict(
            f"Version {version} has another content than the one that was checked: the approval is"
            " stale, and must be requested again."
        )
    if record.state is SchemaState.WITHDRAWN:
        raise Conflict(f"The registry no longer publishes version {version}.")
    decision = _build_decision(dependencies, principal, reason, approved=True)
    approved_record = msgspec.structs.replace(record, decision=decision, reason="")
    return await Adoption(dependencies, policy, approved_record, principal.id).approve()


async def preview_schema_approval(
    dependencies: Dependencies, policy: SchemaPolicy, principal: Principal, *, version: int
) -> CommandPreview:
    """Check the approval of a version without adopting it, and return what it would change.

    Raises:
        SpawnError: as `approve_schema`.
    """
    require(principal, Scope.SCHEMA_ADMIN)
    record = await _find_or_fetch(dependencies, policy, version)
    if record.state is SchemaState.WITHDRAWN:
        raise Conflict(f"The registry no longer publishes version {version}.")
    active = await dependencies.active_schema(policy.kind)
    await Adoption(dependencies, policy, record, principal.id).check_approval(active)
    plan = plan_migration(active.schema, record.schema)
    if violations := await dependencies.schemas.check_proofs(plan.proofs, policy.kind):
        raise MigrationRejected(violations)
    steps = dependencies.schemas.describe_plan(plan)
    values = {
        "/version": (active.schema.version, version),
        FINGERPRINT_POINTER: (active.schema.fingerprint, record.schema.fingerprint),
        **{f"/steps/{number}": (None, step) for number, step in enumerate(steps)},
    }
    changes = tuple(
        FieldChange(kind=SCHEMA_KIND, id=policy.schema_id, pointer=p, before=old, after=new)
        for p, (old, new) in values.items()
    )
    return CommandPreview(
        rests_on=(Guard(SCHEMA_KIND, policy.schema_id, active.schema.version),),
        results_in=(Guard(SCHEMA_KIND, policy.schema_id, version),),
        changes=changes[:MAX_CHANGES],
        has_more_changes=len(changes) > MAX_CHANGES,
    )


async def reject_schema(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    principal: Principal,
    *,
    version: int,
    reason: str,
) -> RefreshResult:
    """Reject a version permanently: no refresh tries it again, and health ignores it.

    Every record of its number is rejected, such as one of a document and one of its absence since;
    a content that was replaced keeps the decision for the time at which it is published again.

    Raises:
        NotFound: no such version waits.
        Conflict: the version was rejected before; that decision stays on record.
    """
    require(principal, Scope.SCHEMA_ADMIN)
    await _find_waiting(dependencies, policy, version)
    records = await dependencies.schemas.records(policy.kind)
    undecided_records = [
        record
        for record in _list_waiting(records, policy.schema_id, version)
        if record.state is not SchemaState.REJECTED
    ]
    if not undecided_records:
        raise Conflict(f"Version {version} was already rejected.")
    decision = _build_decision(dependencies, principal, reason, approved=False)
    rejected_records = [
        msgspec.structs.replace(record, state=SchemaState.REJECTED, decision=decision)
        for record in undecided_records
    ]
    replaced_records = [
        msgspec.structs.replace(record, decision=decision)
        for record in records
        if (record.schema.id, record.schema.version) == (policy.schema_id, version)
        and record.state is SchemaState.REPLACED
    ]
    for record in (*replaced_records, *rejected_records):
        await dependencies.schemas.record(record, actor=principal.id)
    return RefreshResult(
        RefreshVerdict.REJECTED, f"version {version} was rejected: {reason}", rejected_records[-1]
    )


async def _find_waiting(
    dependencies: Dependencies, policy: SchemaPolicy, version: int
) -> SchemaRecord:
    """Return the newest record of a version that is not adopted, and published if one is."""
    records = await dependencies.schemas.records(policy.kind)
    if waiting_records := _list_waiting(records, policy.schema_id, version):
        return waiting_records[-1]
    raise NotFound(f"No version {version} of {policy.schema_id} waits for a decision.")


def _list_waiting(
    records: Iterable[SchemaRecord], schema_id: str, version: int
) -> list[SchemaRecord]:
    """Return the records of a number that are not adopted; withdrawn ones if all of them are.

    A content that was replaced waits for nothing.
    """
    waiting_records = [
        record
        for record in records
        if (record.schema.id, record.schema.version) == (schema_id, version)
        and record.state not in {*ADOPTED, SchemaState.REPLACED}
    ]
    published_records = [r for r in waiting_records if r.state is not SchemaState.WITHDRAWN]
    return published_records or waiting_records


async def _find_or_fetch(
    dependencies: Dependencies, policy: SchemaPolicy, version: int
) -> SchemaRecord:
    """Return a waiting version, or else the one that the registry publishes."""
    missing = NotFound(f"The registry does not publish version {version}.")
    try:
        record = await _find_waiting(dependencies, policy, version)
    except NotFound as error:
        missing = error
        active = await dependencies.active_schema(policy.kind)
        if -MAX_VERSION_STEP <= version - active.schema.version <= 0:
            raise
    else:
        if not is_unread(record):
            return record
    try:
        fetched_schema = await dependencies.registry.refresh(
            policy.schema_id, version, kind=policy.kind
        )
    except NotFound:
        raise missing from None
    return build_record(dependencies, fetched_schema.schema, fetched_schema, SchemaState.CANDIDATE)


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
    records = await dependencies.schemas.records(policy.kind)
    schema = await asyncio.to_thread(
        read_schema,
        document,
        default_version=next_version(records),
        schema_id=policy.schema_id,
        kind=policy.kind,
    )
    proposal = await _build_proposal(dependencies, policy, schema, document)
    violation = proposal.violation or _describe_rejection(records, schema)
    return msgspec.structs.replace(proposal, violation=violation)


def _describe_rejection(records: list[SchemaRecord], schema: Schema) -> str:
    """Return that a person has rejected the version, as a refresh respects; empty if nobody has."""
    rejection = find_unread_rejections(records).get(schema.version)
    rejection = rejection or find_record(records, schema.fingerprint, schema.version)
    is_rejected = rejection is not None and find_next_state(rejection) is SchemaState.REJECTED
    return f"version {schema.version} was rejected: approve it" if is_rejected else ""


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
        schema = read_schema(
            record.document,
            default_version=version,
            schema_id=policy.schema_id,
            kind=policy.kind,
        )
    except InvalidInput:
        return record, None
    return record, await _build_proposal(dependencies, policy, schema, record.document)


async def _build_proposal(
    dependencies: Dependencies, policy: SchemaPolicy, schema: Schema, document: bytes
) -> Proposal:
    active = await dependencies.active_schema(policy.kind)
    records = await dependencies.schemas.records(policy.kind)
    is_empty = not await has_data(dependencies, policy.kind)
    judgement = await judge_schema(dependencies, policy, schema)
    surroundings = _find_surroundings(dependencies, records, active.schema)
    left_behind = _describe_left_behind(schema, surroundings)
    plan = plan_migration(active.schema, schema)
    proofs = (*plan.proofs, *_rejected_type_proofs(judgement, active.schema, schema))
    is_active = schema.fingerprint == active.schema.fingerprint
    return Proposal(
        schema=schema,
        violation=""
        if is_active
        else _find_violation(schema, policy, records, active, is_empty=is_empty)
        or find_foreign_subject(document, schema, active.schema)
        or ("" if is_empty else left_behind),
        judgement=judgement,
        plan=plan,
        steps=dependencies.schemas.describe_plan(plan),
        failures=await dependencies.schemas.check_proofs(proofs, policy.kind),
        affected=await find_affected(dependencies, policy.kind, schema),
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
    active, *earlier = await dependencies.schemas.version_history(policy.kind)
    return judge_adoption(
        schema, active, earlier, policy.mode, on_date=dependencies.clock.now().date()
    )


class _Surroundings(msgspec.Struct, frozen=True):
    """The active version, and what is known of the versions that were not adopted."""

    active: Schema
    adopted_numbers: frozenset[int]
    passed_versions: Mapping[Content, PassedVersion]
    unread_numbers: frozenset[int]
    is_full: bool

    def build_basis(self, schema: Schema, on_date: date) -> DecisionBasis:
        """Return the basis of a decision about a version."""
        version = schema.version
        return DecisionBasis(
            schema.fingerprint,
            self.active.version,
            on_date,
            frozenset(content for content in self.passed_versions if content[0] < version),
            frozenset(number for number in self.unread_numbers if number < version),
        )


def _find_surroundings(
    dependencies: Dependencies, records: list[SchemaRecord], active: Schema
) -> _Surroundings:
    state = dependencies.refresh_states.of_kind(active.kind)
    passed_versions = find_passed_versions(records, active, state)
    unread_numbers = find_unread_numbers(records, active, passed_versions, state)
    is_full = count_waiting(records) >= MAX_RENAMING
    return _Surroundings(
        active,
        frozenset(r.schema.version for r in records if r.state in ADOPTED),
        passed_versions,
        unread_numbers | {active.version} if is_full else unread_numbers,
        is_full,
    )


class Adoption:
    """Adoption or quarantine of one version; `confirm` raises if its decision rests on no more."""

    def __init__(
        self,
        dependencies: Dependencies,
        policy: SchemaPolicy,
        record: SchemaRecord,
        actor: str,
        confirm: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._confirm = confirm
        self._dependencies = dependencies
        self._policy = policy
        self._record = record
        self._actor = actor
        self._known: SchemaRecord | None = None
        self._is_decided_again = False
        self._has_violated_proofs = False
        self._is_quarantined = False

    @property
    def _version(self) -> int:
        return self._record.schema.version

    async def adopt_or_quarantine(self, *, should_retry: bool) -> RefreshResult:
        """Adopt or quarantine the version, unless it is already decided.

        A quarantined one is decided again if anything has changed that the decision depends on; one
        that should be retried in any case.
        """
        records = await self._dependencies.schemas.records(self._policy.kind)
        existing = find_record(records, self._record.schema.fingerprint, self._version)
        active = await self._dependencies.active_schema(self._policy.kind)
        if existing is not None and _is_decided(existing, active):
            return self._build_unchanged(existing)
        surroundings = _find_surroundings(self._dependencies, records, active.schema)
        basis = surroundings.build_basis(self._record.schema, self._dependencies.clock.now().date())
        if existing is not None and existing.state is SchemaState.QUARANTINED and not should_retry:
            if self._is_based_on(basis):
                return self._build_unchanged(existing)
            # The same reason is not recorded again, unless another version is active since.
            self._known = existing if existing.recorded_at >= active.recorded_at else None
            self._is_decided_again = True
        position = self._dependencies.control.status().position
        self._decisions.pop(self._version, None)
        result = await self._decide(records, active, surroundings)
        if self._has_violated_proofs:
            basis = msgspec.structs.replace(basis, position=position)
        if self._is_quarantined:
            self._decisions[self._version] = basis
        return result

    @property
    def _decisions(self) -> dict[int, DecisionBasis]:
        return self._dependencies.refresh_states.of_kind(self._policy.kind).decisions

    def _is_based_on(self, basis: DecisionBasis) -> bool:
        """Return whether the last decision about the version had this basis."""
        known = self._decisions.get(self._version)
        if known is None:
            return False
        if known.position is not None:
            position = self._dependencies.control.status().position
            basis = msgspec.structs.replace(basis, position=position)
        return known == basis

    def _build_unchanged(self, existing: SchemaRecord) -> RefreshResult:
        detail = f"version {self._version} is already {existing.state}"
        return RefreshResult(RefreshVerdict.UNCHANGED, detail)

    async def _decide(
        self, records: list[SchemaRecord], active: SchemaRecord, surroundings: _Surroundings
    ) -> RefreshResult:
        is_empty = not await has_data(self._dependencies, self._policy.kind)
        violation = _find_violation(
            self._record.schema, self._policy, records, active, is_empty=is_empty
        ) or find_foreign_subject(self._record.document, self._record.schema, active.schema)
        if not (violation or is_empty):
            violation = _describe_left_behind(self._record.schema, surroundings)
        if violation:
            return await self._quarantine(violation)
        if is_empty:
            await self._check_reading()
            return await self._adopt_without_data()
        return await self._adopt_if_allowed(active)

    async def _adopt_without_data(self) -> RefreshResult:
        try:
            await self._dependencies.schemas.adopt(self._record, actor=self._actor)
        except Conflict as conflict:
            # Data arrived meanwhile: they must be migrated, by every version in order.
            return RefreshResult(RefreshVerdict.UNCHANGED, conflict.detail)
        return self._build_result(f"is active in a store without any {self._policy.kind}")

    async def approve(self) -> RefreshResult:
        """Adopt by decision; see `approve_schema`."""
        active = await self._dependencies.active_schema(self._policy.kind)
        await self.check_approval(active)
        if not await has_data(self._dependencies, self._policy.kind):
            return await self._adopt_without_data()
        try:
            return await self._migrate(active)
        except MigrationRejected as rejection:
            await self._quarantine(rejection.detail)
            raise
        except StaleVersion as stale:
            raise Conflict(stale.detail) from None

    async def check_approval(self, active: SchemaRecord) -> None:
        """Check that a decision may adopt the version after the active one.

        Raises:
            Conflict: it may not; see `approve_schema`.
        """
        records = await self._dependencies.schemas.records(self._policy.kind)
        if violation := _find_violation(
            self._record.schema, self._policy, records, active, is_empty=False, is_decided=True
        ):
            raise Conflict(violation)
        try:
            read_schema(
                self._record.document,
                default_version=self._version,
                schema_id=self._policy.schema_id,
                kind=self._policy.kind,
            )
        except InvalidInput as error:
            raise Conflict(f"The document is invalid: {error.detail[:500]}") from None
        judgement = await judge_schema(self._dependencies, self._policy, self._record.schema)
        losses = [f for f in judgement.comparisons[0].findings if f.rows is Compatibility.NO]
        if losses:
            reasons = "; ".join(f"{f.path}: {f.reason} {f.consequence}".strip() for f in losses)
            raise Conflict(
                f"Stored data could not be read under version {self._version}: {reasons}"
            )

    async def _adopt_if_allowed(self, active: SchemaRecord) -> RefreshResult:
        judgement = await judge_schema(self._dependencies, self._policy, self._record.schema)
        if not judgement.is_adoptable:
            return await self._quarantine("; ".join(judgement.violations))
        await self._check_reading()
        try:
            if self._is_decided_again:
                await self._check_proofs(active)
            return await self._migrate(active)
        except MigrationRejected as rejection:
            self._has_violated_proofs = True
            return await self._quarantine(rejection.detail)
        except StaleVersion as stale:
            # Another replica adopted this version, or another one: the next round finds out.
            return RefreshResult(RefreshVerdict.UNCHANGED, stale.detail)
        except SpawnError as failure:
            return RefreshResult(RefreshVerdict.FAILED, failure.detail, self._record)

    async def _check_reading(self) -> None:
        if self._confirm is not None:
            await self._confirm()

    async def _check_proofs(self, active: SchemaRecord) -> None:
        """Check that the stored data have been mended, before a migration is logged again.

        Raises:
            MigrationRejected: they have not.
        """
        plan = plan_migration(active.schema, self._record.schema)
        if violations := await self._dependencies.schemas.check_proofs(plan.proofs, plan.kind):
            raise MigrationRejected(violations)

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
        detail = f"took over the data of version {plan.old_version}"
        notice = describe_affected(await find_affected(self._dependencies, self._policy.kind))
        result = self._build_result(f"{detail}; {notice}" if notice else detail)
        return RefreshResult(result.verdict, result.detail, result.record, migration)

    def _build_result(self, detail: str) -> RefreshResult:
        record = msgspec.structs.replace(self._record, state=SchemaState.ACTIVE)
        text = f"version {self._version} {detail}"
        if record.schema.ineffective:
            text += f"; without effect: {' '.join(record.schema.ineffective)}"
        return RefreshResult(RefreshVerdict.ADOPTED, text, record)

    async def _quarantine(self, reason: str) -> RefreshResult:
        if self._known is not None and self._known.reason == reason:
            self._is_quarantined = True
            return self._build_unchanged(self._known)
        quarantined_record = msgspec.structs.replace(
            self._record, state=SchemaState.QUARANTINED, reason=reason, decision=None
        )
        result = await _record_quarantine(self._dependencies, quarantined_record, self._actor)
        self._is_quarantined = result.verdict is RefreshVerdict.QUARANTINED
        return result

    async def _record_progress(self, state: SchemaState, reason: str = "") -> None:
        """Record the state of the version; continue if that cannot be written."""
        record = msgspec.structs.replace(self._record, state=state, reason=reason)
        records = await self._dependencies.schemas.records(self._policy.kind)
        try:
            if has_room(records, record):
                await self._dependencies.schemas.record(record, actor=self._actor)
        except SpawnError:
            # Adopted by another replica, or the store cannot write: the next step finds out.
            return


def _is_decided(record: SchemaRecord, active: SchemaRecord) -> bool:
    if record.state is SchemaState.RETIRED:
        # A newer version that was active before there were projects may be adopted again, unless
        # its number was a jump that a decision took back.
        step = record.schema.version - active.schema.version
        return not 0 < step <= MAX_VERSION_STEP
    return record.state in {SchemaState.ACTIVE, SchemaState.REJECTED}


def _find_violation(
    schema: Schema,
    policy: SchemaPolicy,
    records: list[SchemaRecord],
    active: SchemaRecord,
    *,
    is_empty: bool,
    is_decided: bool = False,
) -> str:
    """Return why a version cannot even be compared, or an empty text.

    A decision may adopt a version across a jump of the numbers, in either direction.
    """
    return _find_impossible_column(schema) or _find_number_violation(
        schema, policy, records, active, is_empty=is_empty, is_decided=is_decided
    )


def _find_impossible_column(schema: Schema) -> str:
    """Return which column no value can be valid in, and why; empty if there is none."""
    for column in schema.columns:
        if contradiction := find_contradiction(column):
            path = f"/columns/{column.name}/pattern"
            return f"{path} of version {schema.version} excludes every value: {contradiction}"
    return ""


def _find_number_violation(
    schema: Schema,
    policy: SchemaPolicy,
    records: list[SchemaRecord],
    active: SchemaRecord,
    *,
    is_empty: bool,
    is_decided: bool,
) -> str:
    if _has_other_content(schema, records):
        return f"version {schema.version} is known with another content"
    if schema.version > MAX_VERSION:
        return f"version {schema.version} has a number above {MAX_VERSION}, the highest in use"
    is_pinned = policy.pin is not None and schema.version == policy.pin[1]
    newest, step = active.schema.version, schema.version - active.schema.version
    if step < -MAX_VERSION_STEP and not (is_decided or is_pinned):
        return (
            f"version {schema.version} is older than version {newest}, whose number was a jump:"
            " approve it to go back"
        )
    if -MAX_VERSION_STEP <= step < 0 and not (is_pinned and is_empty):
        return f"version {schema.version} is older than version {newest}, which was adopted"
    # Nothing was agreed with the registry while the bundled schema is active.
    if step > MAX_VERSION_STEP and newest and not (is_decided or is_pinned):
        return (
            f"version {schema.version} comes {step} numbers after version {newest}, and at most"
            f" {MAX_VERSION_STEP} are taken without a decision: approve it if it is meant"
        )
    return ""


def _describe_left_behind(schema: Schema, surroundings: _Surroundings) -> str:
    """Return which values a version would hide since it follows one that was not adopted."""
    left_behind = find_left_behind(
        surroundings.active,
        surroundings.passed_versions.values(),
        schema,
        adopted_numbers=surroundings.adopted_numbers,
    )
    if left_behind is None:
        return _describe_unread_removal(schema, surroundings)
    name, passed, new_name = left_behind.name, left_behind.version, left_behind.new_name
    return (
        f"version {passed}, which is not adopted, renames {name} to {new_name}, and version"
        f" {schema.version} follows it: the values of {name} would be hidden. Publish it with the"
        f" alias {name}, or approve it if they may be"
    )


def _describe_unread_removal(schema: Schema, surroundings: _Surroundings) -> str:
    """Return which column a version lacks that an unread one before it may have renamed."""
    removal = find_unread_removal(
        surroundings.active,
        surroundings.unread_numbers,
        schema,
        adopted_numbers=surroundings.adopted_numbers,
    )
    if removal is None:
        return ""
    name, unread_number = removal
    if surroundings.is_full:
        return (
            f"{MAX_RENAMING} versions wait, so that another one is not recorded, which may rename"
            f" {name}, and version {schema.version} has no {name}: reject some, or approve it"
        )
    status = "active" if unread_number == surroundings.active.version else "rejected"
    return (
        f"version {unread_number}, which is {status} and cannot be read now, may rename {name}, and"
        f" version {schema.version} has no {name}: its values would be hidden. Publish it with the"
        f" alias {name}, or approve it if they may be"
    )


def _has_other_content(schema: Schema, records: list[SchemaRecord]) -> bool:
    """Return whether an adopted version has the same number and other content."""
    return any(
        existing.schema.version == schema.version
        and existing.schema.fingerprint != schema.fingerprint
        and existing.state in ADOPTED
        for existing in records
    )


async def quarantine_invalid_document(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    invalid: InvalidSchemaDocument,
    actor: str,
    number: int | None = None,
) -> RefreshResult:
    """Record an invalid document under its number, or the version that it claims.

    Raises:
        InvalidSchemaDocument: it is no JSON.
    """
    records = await dependencies.schemas.records(policy.kind)
    fingerprint = invalid.fingerprint
    if number is not None and fingerprint and (known := _find_known(records, fingerprint, number)):
        # A large document is not read again at each refresh.
        return known
    try:
        claimed_version = parse_object(invalid.document).get("version")
        version = next_version(records) if number is None else number
        if number is None and _is_version(claimed_version):
            version = int(str(claimed_version))
        schema = restore_schema(
            invalid.document, schema_id=policy.schema_id, version=version, kind=policy.kind
        )
    except (MalformedBody, InvalidInput):
        raise invalid from None
    if number is None and (known := _find_known(records, schema.fingerprint, None)):
        return known
    record = SchemaRecord(
        schema=schema,
        document=invalid.document,
        state=SchemaState.QUARANTINED,
        provenance=Provenance.LIVE,
        recorded_at=dependencies.clock.now(),
        reason=invalid.detail,
    )
    return await _record_quarantine(dependencies, record, actor)


def _find_known(
    records: list[SchemaRecord], fingerprint: str, number: int | None
) -> RefreshResult | None:
    """Return that a published content is recorded already; None if it is not."""
    existing = find_record(records, fingerprint, number)
    if existing is None or existing.state in _GONE:
        return None
    detail = f"version {existing.schema.version} is already {existing.state}"
    return RefreshResult(RefreshVerdict.UNCHANGED, detail)


def _is_version(token: object) -> bool:
    return isinstance(token, NumberToken) and token.isdecimal() and len(token) < 10  # noqa: PLR2004  # as in a pin


async def withdraw_unpublished(
    dependencies: Dependencies, policy: SchemaPolicy, is_published: Callable[[Schema], bool]
) -> None:
    """Record that the registry no longer publishes versions that were not adopted."""
    for record in await dependencies.schemas.records(policy.kind):
        if (
            record.schema.id == policy.schema_id
            and record.state in _WITHDRAWABLE
            and not is_published(record.schema)
        ):
            withdrawn_record = msgspec.structs.replace(record, state=SchemaState.WITHDRAWN)
            with suppress(SpawnError):
                # It was decided or adopted meanwhile, or the store cannot write: the next round
                # finds out.
                await dependencies.schemas.record(withdrawn_record)


async def _record_quarantine(
    dependencies: Dependencies, record: SchemaRecord, actor: str
) -> RefreshResult:
    if not has_room(await dependencies.schemas.records(record.schema.kind), record):
        detail = f"{record.reason} (not recorded: {MAX_WAITING} versions wait already; reject some)"
        return RefreshResult(RefreshVerdict.QUARANTINED, detail)
    try:
        await dependencies.schemas.record(record, actor=actor)
    except Conflict as conflict:
        # It was rejected, or adopted by another replica, during the judgement.
        return RefreshResult(RefreshVerdict.UNCHANGED, conflict.detail)
    return RefreshResult(RefreshVerdict.QUARANTINED, record.reason, record)
