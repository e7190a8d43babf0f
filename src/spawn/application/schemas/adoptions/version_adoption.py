"""Adopt one version of a schema: check, adopt or quarantine it, migrate the data.

A version of the registry is validated, compared with the versions of the stored data, and then
adopted with a migration, or quarantined with the reason while the old version stays active. An
administrator may approve or reject a quarantined version. The number never goes down, unless a
decision takes back a jump. The module `refresh` finds the versions.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.lineage.recorder import record_migration
from spawn.application.schemas.activation import (
    MAX_VERSION_STEP,
    MAX_WAITING,
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    find_record,
    has_data,
    has_room,
    next_version,
)
from spawn.application.schemas.adoptions.violations import (
    Surroundings,
    describe_left_behind,
    find_surroundings,
    find_violation,
    judge_schema,
)
from spawn.application.schemas.consumers import (
    describe_affected,
    find_affected,
)
from spawn.application.schemas.schema_subject import find_foreign_subject
from spawn.domain.errors import (
    Conflict,
    InvalidInput,
    MalformedBody,
    SpawnError,
    StaleVersion,
)
from spawn.domain.json_tokens import NumberToken, parse_object
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import (
    InvalidSchemaDocument,
    read_schema,
    restore_schema,
)
from spawn.domain.schemas.evolution.compatibility import (
    Compatibility,
)
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.refresh_state import DecisionBasis
from spawn.ports.schemas import (
    MigrationRejected,
    Provenance,
    SchemaRecord,
    SchemaState,
)

_WITHDRAWABLE: Final = frozenset(
    {SchemaState.CANDIDATE, SchemaState.QUARANTINED, SchemaState.FAILED}
)


_GONE: Final = frozenset({SchemaState.WITHDRAWN, SchemaState.REPLACED})


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
        surroundings = find_surroundings(self._dependencies, records, active.schema)
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
        self, records: list[SchemaRecord], active: SchemaRecord, surroundings: Surroundings
    ) -> RefreshResult:
        is_empty = not await has_data(self._dependencies, self._policy.kind)
        violation = find_violation(
            self._record.schema, self._policy, records, active, is_empty=is_empty
        ) or find_foreign_subject(self._record.document, self._record.schema, active.schema)
        if not (violation or is_empty):
            violation = describe_left_behind(self._record.schema, surroundings)
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
        if violation := find_violation(
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
