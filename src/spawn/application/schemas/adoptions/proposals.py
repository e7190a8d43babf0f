"""Dry runs of the adoption of a version: verdicts, steps, and failing data."""

import asyncio
from collections.abc import Iterator

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.schemas.activation import (
    SchemaPolicy,
    find_record,
    has_data,
    next_version,
)
from spawn.application.schemas.adoptions.violations import (
    describe_left_behind,
    find_surroundings,
    find_violation,
    judge_schema,
)
from spawn.application.schemas.adoptions.waiting_versions import find_waiting
from spawn.application.schemas.consumers import (
    AffectedConsumer,
    find_affected,
)
from spawn.application.schemas.schema_subject import find_foreign_subject
from spawn.application.schemas.unread_versions import (
    find_next_state,
    find_unread_rejections,
)
from spawn.domain.errors import (
    InvalidInput,
)
from spawn.domain.principal import Principal, Scope
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import (
    read_schema,
)
from spawn.domain.schemas.evolution.compatibility import (
    AdoptionJudgement,
    ChangeKind,
    Proof,
)
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.ports.schemas import (
    ProofViolation,
    SchemaRecord,
    SchemaState,
)


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
    record = await find_waiting(dependencies, policy, version)
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
    surroundings = find_surroundings(dependencies, records, active.schema)
    left_behind = describe_left_behind(schema, surroundings)
    plan = plan_migration(active.schema, schema)
    proofs = (*plan.proofs, *_rejected_type_proofs(judgement, active.schema, schema))
    is_active = schema.fingerprint == active.schema.fingerprint
    return Proposal(
        schema=schema,
        violation=""
        if is_active
        else find_violation(schema, policy, records, active, is_empty=is_empty)
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
