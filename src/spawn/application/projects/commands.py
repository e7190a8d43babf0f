"""Commands of projects: create, amend, transition.

Each command loads, decides (pure, in the domain) and commits. After a lost race it loads and
decides again, at most `MAX_ATTEMPTS` times; if the caller named the version that its decision
rests on, a newer version raises `StaleVersion` instead.
"""

from collections.abc import Awaitable, Callable
from datetime import date, datetime

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.domain.change import (
    Change,
    CommitResult,
    IdempotencyReceipt,
    ResponseRecipe,
    StoredAggregate,
    StoredResponse,
    VersionReference,
    Write,
)
from spawn.domain.errors import Conflict, Duplicate, NotFound, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.principal import Principal
from spawn.domain.projects.lifecycle import ProjectStatus
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

MAX_ATTEMPTS = 5


class ProjectIdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """Idempotency key of a project command; `recipe` renders its success."""

    scope: str
    key: str
    fingerprint: str
    recipe: ResponseRecipe


class CommandContext(msgspec.Struct, frozen=True, kw_only=True):
    """Context of one command.

    `expected_version` is the project version that the caller decided on; None accepts any.
    `schema_version` is the schema version of the caller's responses; None uses the active one.
    """

    expected_version: int | None = None
    schema_version: int | None = None
    idempotency_key: ProjectIdempotencyKey | None = None
    traceparent: str | None = None


class CommandResult(msgspec.Struct, frozen=True):
    """The project after the command, or the stored response of the same earlier request."""

    aggregate: StoredAggregate[Project] | None
    position: str = ""
    replayed_response: StoredResponse | None = None


class SchemaVersionChanged(Conflict):
    """Another schema version became active meanwhile: read the request again under it."""


class ProjectChange(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: from `before` (None for a new project) to `after`, as one event type.

    Both have the fields of the schema version under which the change is recorded.
    """

    before: StoredAggregate[Project] | None
    after: Project
    event_type: str
    schema_version: int
    reason: str | None = None


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
        SchemaVersionChanged: the store never had data of that version; another one is active.
    """
    require(principal, "write")
    context = context or CommandContext()
    version = await _resolve_schema_version(dependencies, attributes)
    project_id = dependencies.ids.new()
    project = propose_project(
        project_id=project_id,
        fields=attributes.core,
        attributes=attributes.governed,
        extensions=attributes.extensions,
    )
    project_change = ProjectChange(
        before=None,
        after=project,
        event_type=CREATED_EVENT,
        schema_version=version,
        reason=project.status_reason,
    )
    return await _retry_lost_races(
        lambda: _commit(dependencies, principal, project_change, context)
    )


async def _resolve_schema_version(dependencies: Dependencies, attributes: ProjectInput) -> int:
    """Return the attributes' own schema version, if the store can read it."""
    active = (await dependencies.active_schema()).schema.version
    version = attributes.schema_version
    if version is None or version == active:
        return active
    if version not in {schema.version for schema in await dependencies.schemas.version_history()}:
        raise SchemaVersionChanged(f"Version {active} of the schema is active now.")
    return version


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
        InvalidInput: an invariant of the project is violated; each field is named.
        Duplicate: the external reference belongs to another project.
        StaleVersion: the project is not at the expected version.
        SchemaVersionChanged: the project and the attributes have different schema versions.
        Conflict: the command lost too many races.
    """

    def decide(before: StoredAggregate[Project]) -> ProjectChange:
        if attributes.schema_version not in {None, before.schema_version}:
            raise _build_version_changed(before)
        after = apply_amendment(
            before.state, attributes.core, attributes.governed, attributes.extensions
        )
        return ProjectChange(
            before=before,
            after=after,
            event_type=AMENDED_EVENT,
            schema_version=before.schema_version,
        )

    return await _change(dependencies, principal, project_id, decide, context or CommandContext())


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
    """Change the status of a project.

    Raises:
        NotFound: no such project.
        IllegalTransition, Conflict: the status machine, or an open condition precedent, forbids it.
        StaleVersion: the project is not at the expected version.
        SchemaVersionChanged: the project and the response have different schema versions.
    """

    def decide(before: StoredAggregate[Project]) -> ProjectChange:
        after = apply_transition(before.state, to, reason=reason, effective_on=effective_on)
        return ProjectChange(
            before=before,
            after=after,
            event_type=TRANSITIONED_EVENT,
            schema_version=before.schema_version,
            reason=reason,
        )

    return await _change(dependencies, principal, project_id, decide, context or CommandContext())


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


async def _change(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    decide: Callable[[StoredAggregate[Project]], ProjectChange],
    context: CommandContext,
) -> CommandResult:
    """Load, decide and commit; repeat after a lost race."""
    require(principal, "write")

    async def attempt() -> CommandResult:
        before: StoredAggregate[Project] = await dependencies.reads.get(PROJECT_KIND, project_id)
        if context.expected_version is not None and before.version != context.expected_version:
            raise StaleVersion(
                f"The project is at version {before.version}, not {context.expected_version}.",
                current=before.version,
            )
        if context.schema_version not in {None, before.schema_version}:
            raise _build_version_changed(before)
        return await _commit(dependencies, principal, decide(before), context)

    return await _retry_lost_races(attempt)


def _build_version_changed(before: StoredAggregate[Project]) -> SchemaVersionChanged:
    return SchemaVersionChanged(f"Version {before.schema_version} of the schema is active now.")


async def _retry_lost_races(attempt: Callable[[], Awaitable[CommandResult]]) -> CommandResult:
    """Repeat an attempt after lost races, at most `MAX_ATTEMPTS` times."""
    for _ in range(MAX_ATTEMPTS):
        try:
            return await attempt()
        except _LostRace:
            continue
    raise Conflict(
        f"Other requests changed the project {MAX_ATTEMPTS} times in a row; read it and try again."
    )


class _LostRace(Exception):
    """Data changed between load and commit: load and decide again.

    With an expected version the next attempt finds out whether the project itself changed, which
    is stale for the caller, or only the external reference.
    """


async def _commit(
    dependencies: Dependencies,
    principal: Principal,
    project_change: ProjectChange,
    context: CommandContext,
) -> CommandResult:
    """Commit a change with its reservations, event and receipt."""
    before = project_change.before
    version = before.version if before else 0
    changed_fields = list_changed_fields(before.state if before else None, project_change.after)
    reservation_writes = await list_reservation_writes(
        dependencies, before.state if before else None, project_change.after
    )

    def build_stored(recorded_at: datetime) -> StoredAggregate[Project]:
        if before is not None and not changed_fields:
            return before
        return StoredAggregate(
            kind=PROJECT_KIND,
            id=project_change.after.project_id,
            version=version + 1,
            state=project_change.after,
            created_at=before.created_at if before else recorded_at,
            updated_at=recorded_at,
            schema_version=project_change.schema_version,
        )

    if before is not None and not changed_fields and context.idempotency_key is None:
        return CommandResult(before)
    change = Change(
        writes=_build_writes(project_change, version, reservation_writes) if changed_fields else (),
        events=_build_events(project_change, changed_fields) if changed_fields else (),
        receipt=_build_receipt(context.idempotency_key, project_change, changed_fields),
        actor=principal.id,
        schema_version=project_change.schema_version,
        traceparent=context.traceparent,
    )
    commit_result = await _commit_or_report_race(dependencies, change, reservation_writes)
    if commit_result.replayed_response is not None:
        return CommandResult(None, commit_result.position, commit_result.replayed_response)
    return CommandResult(build_stored(commit_result.recorded_at), commit_result.position)


async def _commit_or_report_race(
    dependencies: Dependencies, change: Change, reservation_writes: tuple[Write, ...]
) -> CommitResult:
    """Commit; a duplicate may be a reference that was reserved after its lookup."""
    try:
        return await dependencies.commands.commit(change)
    except StaleVersion as error:
        raise _LostRace from error
    except Duplicate as error:
        if reservation_writes:
            raise _LostRace from error
        raise


def _build_writes(
    project_change: ProjectChange, version: int, reservation_writes: tuple[Write, ...]
) -> tuple[Write, ...]:
    return (
        Write(PROJECT_KIND, project_change.after.project_id, version, project_change.after),
        *reservation_writes,
    )


def _build_events(
    project_change: ProjectChange, changed_fields: tuple[str, ...]
) -> tuple[DomainEvent, ...]:
    return (
        DomainEvent(
            type=project_change.event_type,
            kind=PROJECT_KIND,
            id=project_change.after.project_id,
            changed=changed_fields,
            reason=project_change.reason,
        ),
    )


def _build_receipt(
    idempotency_key: ProjectIdempotencyKey | None,
    project_change: ProjectChange,
    changed_fields: tuple[str, ...],
) -> IdempotencyReceipt | None:
    """Return the receipt of an idempotent command, which refers to the version it results in."""
    if idempotency_key is None:
        return None
    before = project_change.before
    subject = VersionReference(
        kind=PROJECT_KIND,
        id=project_change.after.project_id,
        version=(before.version if before else 0) + bool(changed_fields),
        schema_version=project_change.schema_version,
    )
    return IdempotencyReceipt(
        scope=idempotency_key.scope,
        key=idempotency_key.key,
        fingerprint=idempotency_key.fingerprint,
        recipe=msgspec.structs.replace(idempotency_key.recipe, subject=subject),
    )
