"""Commands of projects: create, amend, transition.

Each command loads, decides (pure, in the domain) and commits, again after a lost race. If the
caller named the version that its decision rests on, a newer version raises `StaleVersion` instead.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import date, datetime

import msgspec

from spawn.application.commands import MAX_ATTEMPTS, Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.application.projects.completion import OutstandingDebt, read_outstanding_debt
from spawn.domain.change import (
    IdempotencyReceipt,
    StoredAggregate,
    StoredResponse,
    VersionReference,
    Write,
)
from spawn.domain.errors import (
    Duplicate,
    InvalidInput,
    NotFound,
    SchemaVersionChanged,
    SpawnError,
    StaleVersion,
)
from spawn.domain.events.event import DomainEvent
from spawn.domain.events.position import Position
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.codec import encode_project
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.milestones import (
    Milestone,
    MilestoneDecision,
    add_milestone,
    check_amended_milestones,
    decide_milestone,
)
from spawn.domain.projects.project import (
    AMENDED_EVENT,
    CREATED_EVENT,
    PROJECT_KIND,
    RESERVATION_KIND,
    TRANSITIONED_EVENT,
    ExternalRef,
    ExternalRefReservation,
    Project,
    apply_amendment,
    apply_transition,
    build_reservation_id,
    list_changed_fields,
    propose_project,
)
from spawn.domain.schemas.validator import ProjectInput

_CONFLICT = (
    f"Other requests changed the project {MAX_ATTEMPTS} times in a row; read it and try again."
)


class CommandContext(msgspec.Struct, frozen=True, kw_only=True):
    """Context of one command.

    `expected_version` is the project version that the caller decided on; None accepts any.
    `schema_version` is the schema version of the caller's responses; None uses the active one.
    `receipt` is that of an idempotent request, without its subject.
    """

    expected_version: int | None = None
    schema_version: int | None = None
    receipt: IdempotencyReceipt | None = None
    traceparent: str | None = None


class CommandResult(msgspec.Struct, frozen=True):
    """The project after the command, or the stored response of the same earlier request.

    `document` is the one that the journal now has, if the command wrote one.
    """

    aggregate: StoredAggregate[Project] | None
    position: Position | None = None
    replayed_response: StoredResponse | None = None
    document: bytes | None = None


class MilestoneOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A decision about a milestone: the day of it, evidence, and the reason for the history."""

    milestone_id: str
    decision: MilestoneDecision
    on: date | None = None
    evidence: str | None = None
    reason: str | None = None


class ProjectDecision(Decision, frozen=True, kw_only=True):
    """A decision: from `before` (None for a new project) to `after`.

    Both have the fields of the schema version under which the change is recorded.
    """

    before: StoredAggregate[Project] | None
    after: Project
    schema_version: int

    def to_stored(self, recorded_at: datetime) -> StoredAggregate[Project]:
        """Return the project as the store has it after the commit."""
        before = self.before
        if before is not None and not self.writes:
            return before
        return StoredAggregate(
            kind=PROJECT_KIND,
            id=self.after.project_id,
            version=(before.version if before else 0) + 1,
            state=self.after,
            created_at=before.created_at if before else recorded_at,
            updated_at=recorded_at,
            schema_version=self.schema_version,
        )


async def create_project(
    dependencies: Dependencies,
    principal: Principal,
    *,
    attributes: ProjectInput,
    context: CommandContext | None = None,
) -> CommandResult:
    """Create a project under a new id.

    It is recorded under the schema version that the attributes were read under.

    Raises:
        InvalidInput: an invariant of the project is violated; each field is named.
        Duplicate: the external reference belongs to another project.
        SchemaVersionChanged: the store never had data of that version, or the response needs
            another version than the active one.
    """
    require(principal, Scope.PROJECTS_WRITE)

    context = context or CommandContext()

    async def decide() -> ProjectDecision:
        version = attributes.schema_version
        if version is None:
            version = (await dependencies.active_schema()).schema.version
        project = propose_project(
            project_id=dependencies.ids.new(),
            fields=attributes.core,
            attributes=attributes.governed,
            extensions=attributes.extensions,
        )
        reason = project.status_reason
        decision = await _build_decision(
            dependencies, None, project, CREATED_EVENT, version, reason
        )
        return msgspec.structs.replace(decision, expected_schema_version=context.schema_version)

    is_read = attributes.schema_version is not None or context.schema_version is not None
    return await _execute(dependencies, principal, decide, context, is_read=is_read)


async def amend_project(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    *,
    attributes: ProjectInput,
    context: CommandContext | None = None,
) -> CommandResult:
    """Merge attributes into a project; None removes one, and no change writes nothing.

    Raises:
        NotFound: no such project.
        InvalidInput: an invariant of the project is violated, or a milestone changes that needs a
            decision (`use_decision`); each field is named.
        Duplicate: the external reference belongs to another project.
        StaleVersion: the project is not at the expected version.
        SchemaVersionChanged: the project and the attributes have different schema versions.
        Conflict: the command lost too many races.
    """
    require(principal, Scope.PROJECTS_WRITE)
    context = context or CommandContext()
    if context.schema_version is None:
        context = msgspec.structs.replace(context, schema_version=attributes.schema_version)

    async def decide() -> ProjectDecision:
        before = await _load(dependencies, project_id, context)
        after = apply_amendment(
            before.state, attributes.core, attributes.governed, attributes.extensions
        )
        today = dependencies.clock.now().date()
        check_amended_milestones(before.state.milestones, after.milestones, today)
        return await _build_decision(
            dependencies, before, after, AMENDED_EVENT, before.schema_version
        )

    is_read = context.schema_version is not None
    async with _queue_for(dependencies, project_id, context):
        return await _execute(dependencies, principal, decide, context, is_read=is_read)


async def transition_project(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    *,
    to: ProjectStatus,
    reason: str,
    effective_on: date | None = None,
    context: CommandContext | None = None,
) -> CommandResult:
    """Change the status of a project; it changes now, by a decision of a day up to today.

    Raises:
        NotFound: no such project.
        InvalidInput: the reason is invalid, or `effective_on` is still to come.
        IllegalTransition, Conflict: the status machine, an open condition precedent, or debt that
            is outstanding on the day of completion forbids it.
        StaleVersion: the project is not at the expected version.
        SchemaVersionChanged: the project and the response have different schema versions.
    """
    require(principal, Scope.PROJECTS_WRITE)
    context = context or CommandContext()

    async def decide() -> ProjectDecision:
        before = await _load(dependencies, project_id, context)
        debt, today = OutstandingDebt(), dependencies.clock.now().date()
        if effective_on is not None and effective_on > today:
            detail = f"is after today, {today}: a status changes when its day has come"
            raise InvalidInput.at("/effective_on", "in_the_future", detail)
        if to is ProjectStatus.COMPLETED:
            on = effective_on or today
            debt = await read_outstanding_debt(dependencies, principal, project_id, on)
        after = apply_transition(
            before.state,
            to,
            reason=reason,
            effective_on=effective_on,
            debt_outstanding=debt.by_currency,
            states_debt=debt.is_stated,
        )
        decision = await _build_decision(
            dependencies, before, after, TRANSITIONED_EVENT, before.schema_version, reason
        )
        return msgspec.structs.replace(decision, guards=debt.guards)

    is_read = context.schema_version is not None
    async with _queue_for(dependencies, project_id, context):
        return await _execute(dependencies, principal, decide, context, is_read=is_read)


async def add_project_milestone(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    milestone: Milestone,
    context: CommandContext,
) -> CommandResult:
    """Add a milestone or condition precedent to a project.

    Raises:
        NotFound: no such project.
        Duplicate: the project has a milestone of this id.
        InvalidInput: a text of the milestone is invalid, or there are too many.
    """
    return await _change_milestones(
        dependencies,
        principal,
        project_id,
        lambda milestones: add_milestone(milestones, milestone),
        context,
    )


async def decide_project_milestone(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    order: MilestoneOrder,
    context: CommandContext,
) -> CommandResult:
    """Record that a milestone is met, waived or open again.

    It is a new version of the project, so that each command that guards the project, as a
    draw and a transition do, rests on the milestones as they are.

    Raises:
        NotFound: no such project or milestone.
        InvalidInput: a member is missing or does not go with the decision.
        Conflict: the milestone is in this state already.
        StaleVersion: the project is not at the expected version.
    """

    def change(milestones: tuple[Milestone, ...]) -> tuple[Milestone, ...]:
        return decide_milestone(
            milestones,
            order.milestone_id,
            order.decision,
            on=order.on,
            evidence=order.evidence,
            reason=order.reason,
            today=dependencies.clock.now().date(),
        )

    return await _change_milestones(
        dependencies, principal, project_id, change, context, reason=order.reason
    )


async def _change_milestones(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    change: Callable[[tuple[Milestone, ...]], tuple[Milestone, ...]],
    context: CommandContext,
    reason: str | None = None,
) -> CommandResult:
    require(principal, Scope.PROJECTS_WRITE)

    async def decide() -> ProjectDecision:
        before = await _load(dependencies, project_id, context)
        milestones = change(before.state.milestones)
        after = apply_amendment(before.state, {"milestones": milestones}, {}, {})
        return await _build_decision(
            dependencies, before, after, AMENDED_EVENT, before.schema_version, reason
        )

    is_read = context.schema_version is not None
    async with _queue_for(dependencies, project_id, context):
        return await _execute(dependencies, principal, decide, context, is_read=is_read)


async def list_reservation_writes(
    dependencies: Dependencies, before: Project | None, after: Project
) -> tuple[Write, ...]:
    """Return the writes that move a reservation of an external reference with its project.

    Raises:
        Duplicate: the reference belongs to another project.
    """
    old = before.external_ref if before else None
    new = after.external_ref
    if old == new:
        return ()
    writes = []
    if old is not None:
        reservation = await dependencies.reads.get(RESERVATION_KIND, build_reservation_id(old))
        writes.append(
            Write(
                RESERVATION_KIND,
                reservation.id,
                reservation.version,
                ExternalRefReservation(project_id=None),
            )
        )
    if new is not None:
        writes.append(await _reserve(dependencies, new, after.project_id))
    return tuple(writes)


async def _reserve(dependencies: Dependencies, reference: ExternalRef, project_id: str) -> Write:
    """Return the write that reserves a free reference."""
    key = build_reservation_id(reference)
    version = 0
    try:
        reservation = await dependencies.reads.get(RESERVATION_KIND, key)
    except NotFound:
        pass  # Never reserved before: write its first version.
    else:
        version = reservation.version
        if reservation.state.project_id not in {None, project_id}:
            raise Duplicate(
                f"The external reference '{reference.source}:{reference.id}' belongs to "
                f"project {reservation.state.project_id}."
            )
    return Write(RESERVATION_KIND, key, version, ExternalRefReservation(project_id=project_id))


async def _load(
    dependencies: Dependencies, project_id: str, context: CommandContext
) -> StoredAggregate[Project]:
    """Load the project of a command, at the version that the caller expects."""
    before: StoredAggregate[Project] = await dependencies.reads.get(PROJECT_KIND, project_id)
    if context.expected_version is not None and before.version != context.expected_version:
        raise StaleVersion(
            f"The project is at version {before.version}, not {context.expected_version}.",
            current=before.version,
        )
    if context.schema_version not in {None, before.schema_version}:
        raise SchemaVersionChanged(f"Version {before.schema_version} of the schema is active now.")
    return before


async def _build_decision(
    dependencies: Dependencies,
    before: StoredAggregate[Project] | None,
    after: Project,
    event_type: str,
    schema_version: int,
    reason: str | None = None,
) -> ProjectDecision:
    """Return the decision with its reservations and its event; no change writes nothing."""
    version = before.version if before else 0
    state_before = before.state if before else None
    changed_fields = list_changed_fields(state_before, after)
    subject = VersionReference(
        PROJECT_KIND, after.project_id, version + bool(changed_fields), schema_version
    )
    if not changed_fields:
        return ProjectDecision(
            before=before,
            after=after,
            schema_version=schema_version,
            expected_schema_version=schema_version,
            subject=subject,
        )
    reservations = await list_reservation_writes(dependencies, state_before, after)
    active = (await dependencies.active_schema()).schema
    document = encode_project(after, active) if active.version == schema_version else None
    event = DomainEvent(
        type=event_type,
        kind=PROJECT_KIND,
        id=after.project_id,
        changed=changed_fields,
        reason=reason,
    )
    return ProjectDecision(
        before=before,
        after=after,
        writes=(Write(PROJECT_KIND, after.project_id, version, after, document), *reservations),
        events=(event,),
        schema_version=schema_version,
        expected_schema_version=schema_version,
        subject=subject,
    )


def _queue_for(
    dependencies: Dependencies, project_id: str, context: CommandContext
) -> AbstractAsyncContextManager[None]:
    """Return the queue of a command that accepts any version; the others become stale at once."""
    if context.expected_version is not None:
        return nullcontext()
    return dependencies.command_queues.queue_for(project_id)


async def _execute(
    dependencies: Dependencies,
    principal: Principal,
    decide: Callable[[], Awaitable[ProjectDecision]],
    context: CommandContext,
    *,
    is_read: bool,
) -> CommandResult:
    """Execute a command; a duplicate may be a reference that was reserved after its lookup.

    With an expected version the next attempt finds out whether the project itself changed, which
    is stale for the caller, or only the external reference. A request that is read under a schema
    version has to be read again under the next one; any other is only decided again.
    """
    lost_races: tuple[type[SpawnError], ...] = (StaleVersion, Duplicate)
    if not is_read:
        lost_races += (SchemaVersionChanged,)
    outcome = await execute(
        dependencies,
        principal.id,
        decide,
        receipt=context.receipt,
        traceparent=context.traceparent,
        lost_races=lost_races,
        conflict=_CONFLICT,
    )
    result = outcome.result
    if result is None:
        return CommandResult(outcome.decision.before)
    if result.replayed_response is not None:
        return CommandResult(None, result.position, result.replayed_response)
    decision = outcome.decision
    document = decision.writes[0].document if decision.writes else None
    aggregate = decision.to_stored(result.recorded_at)
    return CommandResult(aggregate, result.position, document=document)
