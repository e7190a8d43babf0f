"""Decisions of stewards about a version that waits: approve or reject it."""

from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.schemas.activation import (
    MAX_VERSION_STEP,
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    build_record,
)
from spawn.application.schemas.adoptions.version_adoption import Adoption
from spawn.application.schemas.adoptions.waiting_versions import find_waiting, list_waiting
from spawn.application.schemas.unread_versions import (
    is_unread,
)
from spawn.domain.approvals.approval import MAX_CHANGES, CommandPreview, FieldChange
from spawn.domain.change import Guard
from spawn.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
)
from spawn.domain.principal import Principal, Scope
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.domain.schemas.schema_status import SCHEMA_KIND
from spawn.ports.schemas import (
    AdoptionDecision,
    MigrationRejected,
    SchemaRecord,
    SchemaState,
)

FINGERPRINT_POINTER: Final = "/fingerprint"
"""Change of the preview of an approval that names the content which is adopted."""


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
    await find_waiting(dependencies, policy, version)
    records = await dependencies.schemas.records(policy.kind)
    undecided_records = [
        record
        for record in list_waiting(records, policy.schema_id, version)
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


async def _find_or_fetch(
    dependencies: Dependencies, policy: SchemaPolicy, version: int
) -> SchemaRecord:
    """Return a waiting version, or else the one that the registry publishes."""
    missing = NotFound(f"The registry does not publish version {version}.")
    try:
        record = await find_waiting(dependencies, policy, version)
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
