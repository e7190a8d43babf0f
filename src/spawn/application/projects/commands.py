"""The use cases of projects: create, amend, transition, read, list, history.

Each command loads, decides (pure, in the domain) and commits. When a commit loses a race the
command loads and decides again, at most `MAX_ATTEMPTS` times; if the caller named the version its
decision rests on, a newer version is its defeat instead.
"""

from collections.abc import Awaitable, Callable
from datetime import date, datetime

import msgspec

from spawn.application.dependencies import Services, require
from spawn.domain.change import Answer, Change, Committed, Entry, Receipt, Stored, Write
from spawn.domain.errors import Conflict, Duplicate, NotFound, Stale
from spawn.domain.events.event import DomainEvent
from spawn.domain.principal import Principal
from spawn.domain.projects.lifecycle import Status
from spawn.domain.projects.project import (
    ExternalRef,
    Project,
    Reservation,
    amend,
    changed_fields,
    propose,
    reference_id,
    transition,
)
from spawn.domain.query import Page, Query
from spawn.domain.schemas.validator import Attributes

MAX_ATTEMPTS = 5
KIND = "project"


class Idempotency(msgspec.Struct, frozen=True, kw_only=True):
    """A client's idempotency key with what it was used for; `answer` renders the success."""

    scope: str
    key: str
    fingerprint: str
    answer: Callable[[Stored[Project]], Answer]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Circumstances of one command.

    `expected_version` is the version the caller decided on; None leaves it to the loop.
    `schema_version` is the version of the schema that the caller shows answers under; None takes
    whichever rules.
    """

    expected_version: int | None = None
    schema_version: int | None = None
    idempotency: Idempotency | None = None
    traceparent: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The project after the command, or the recorded answer of the same request before."""

    stored: Stored[Project] | None
    position: str = ""
    replayed: Answer | None = None


class SchemaMoved(Conflict):
    """Another schema version came to rule meanwhile: read the request again, under that one."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: from `before` (None: did not exist) to `after`, told as one event type.

    Both have the shape of the schema version under which the decision is recorded.
    """

    before: Stored[Project] | None
    after: Project
    event: str
    schema_version: int
    reason: str | None = None


async def create_project(
    services: Services, principal: Principal, *, attributes: Attributes, call: Call | None = None
) -> Outcome:
    """Propose a project under a new id.

    It is recorded under the schema version that the attributes were read under.

    Raises:
        InvalidInput: an invariant of the aggregate is broken; each field is named.
        Duplicate: the external reference belongs to another project.
        SchemaMoved: the store never had data of that version, and has another by now.
    """
    require(principal, "write")
    call = call or Call()
    version = await _known_version(services, attributes)
    project_id = services.ids.new()
    project = propose(
        project_id=project_id,
        fields=attributes.core,
        attributes=attributes.governed,
        extensions=attributes.extensions,
    )
    step = Step(
        before=None,
        after=project,
        event="project.created",
        schema_version=version,
        reason=project.status_reason,
    )
    return await _persist(lambda: _commit(services, principal, step, call))


async def _known_version(services: Services, attributes: Attributes) -> int:
    """The schema version to record attributes under: theirs, as long as the store can read it."""
    active = (await services.active()).schema.version
    version = attributes.schema_version
    if version is None or version == active:
        return active
    if version not in {schema.version for schema in await services.schemas.lineage()}:
        raise SchemaMoved(f"Version {active} of the schema rules now.")
    return version


async def amend_project(
    services: Services,
    principal: Principal,
    project_id: str,
    *,
    attributes: Attributes,
    call: Call | None = None,
) -> Outcome:
    """Merge attributes into a project; None removes one. What changes nothing writes nothing.

    Raises:
        NotFound, InvalidInput, Duplicate: as they say.
        Stale: the project is not at the expected version.
        SchemaMoved: the project has the shape of another schema version than the attributes.
        Conflict: the race was lost too often.
    """

    def decide(before: Stored[Project]) -> Step:
        if attributes.schema_version not in {None, before.schema_version}:
            raise _moved(before)
        after = amend(before.state, attributes.core, attributes.governed, attributes.extensions)
        return Step(
            before=before,
            after=after,
            event="project.amended",
            schema_version=before.schema_version,
        )

    return await _change(services, principal, project_id, decide, call or Call())


async def transition_project(
    services: Services,
    principal: Principal,
    project_id: str,
    *,
    to: Status,
    reason: str,
    effective_on: date | None = None,
    call: Call | None = None,
) -> Outcome:
    """Take a step of the status machine.

    Raises:
        NotFound: no such project.
        IllegalTransition, Conflict: the machine, or an open condition precedent, forbids it.
        Stale: the project is not at the expected version.
        SchemaMoved: the project has the shape of another schema version than answers are to have.
    """

    def decide(before: Stored[Project]) -> Step:
        after = transition(before.state, to, reason=reason, effective_on=effective_on)
        return Step(
            before=before,
            after=after,
            event="project.transitioned",
            schema_version=before.schema_version,
            reason=reason,
        )

    return await _change(services, principal, project_id, decide, call or Call())


async def get_project(
    services: Services, principal: Principal, project_id: str, *, as_of: datetime | None = None
) -> Stored[Project]:
    """The project now, or as it was recorded at an instant.

    Raises:
        NotFound: no such project, or not yet at that instant.
    """
    require(principal, "read")
    return await services.reads.get(KIND, project_id, as_of=as_of)


async def list_projects(
    services: Services, principal: Principal, query: Query
) -> Page[Stored[Project]]:
    """One page of projects."""
    require(principal, "read")
    return await services.reads.page(query)


async def project_history(
    services: Services, principal: Principal, project_id: str, *, after_version: int, limit: int
) -> list[Entry]:
    """The project's journal entries after a version, oldest first."""
    require(principal, "read")
    return await services.reads.history(KIND, project_id, after_version=after_version, limit=limit)


async def reservations(
    services: Services, before: Project | None, after: Project
) -> tuple[Write, ...]:
    """The writes that move the reservation of an external reference along with its project.

    Raises:
        Duplicate: another project holds the reference.
    """
    old = before.external_ref if before else None
    new = after.external_ref
    if old == new:
        return ()
    writes = []
    if old is not None:
        held = await services.reads.get("external_ref", reference_id(old))
        writes.append(Write("external_ref", held.id, held.version, Reservation(project_id=None)))
    if new is not None:
        writes.append(await _reserve(services, new, after.project_id))
    return tuple(writes)


async def _reserve(services: Services, reference: ExternalRef, project_id: str) -> Write:
    """The write that takes a reference nobody holds."""
    key = reference_id(reference)
    version = 0
    try:
        held = await services.reads.get("external_ref", key)
    except NotFound:
        pass  # Never reserved before: its first version is ours to write.
    else:
        version = held.version
        if held.state.project_id not in {None, project_id}:
            raise Duplicate(
                f"The external reference '{reference.source}:{reference.id}' belongs to "
                f"project {held.state.project_id}."
            )
    return Write("external_ref", key, version, Reservation(project_id=project_id))


async def _change(
    services: Services,
    principal: Principal,
    project_id: str,
    decide: Callable[[Stored[Project]], Step],
    call: Call,
) -> Outcome:
    """Load, decide, commit; again when a race is lost."""
    require(principal, "write")

    async def attempt() -> Outcome:
        before: Stored[Project] = await services.reads.get(KIND, project_id)
        if call.expected_version is not None and before.version != call.expected_version:
            raise Stale(
                f"The project is at version {before.version}, not {call.expected_version}.",
                current=before.version,
            )
        if call.schema_version not in {None, before.schema_version}:
            raise _moved(before)
        return await _commit(services, principal, decide(before), call)

    return await _persist(attempt)


def _moved(before: Stored[Project]) -> SchemaMoved:
    return SchemaMoved(f"Version {before.schema_version} of the schema rules now.")


async def _persist(attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Try at most `MAX_ATTEMPTS` times while races are lost."""
    for _ in range(MAX_ATTEMPTS):
        try:
            return await attempt()
        except _LostRace:
            continue
    raise Conflict(f"Others changed the same thing first, {MAX_ATTEMPTS} times in a row.")


class _LostRace(Exception):
    """Something changed between load and commit: load and decide again.

    With an expected version this ends well too: the next attempt sees whether the project itself
    moved on, which is the caller's defeat, or only the external reference did.
    """


async def _commit(services: Services, principal: Principal, step: Step, call: Call) -> Outcome:
    """Write the step with its reservation, event and receipt."""
    before = step.before
    version = before.version if before else 0
    changed = changed_fields(before.state if before else None, step.after)
    moved = await reservations(services, before.state if before else None, step.after)

    def stored(recorded_at: datetime) -> Stored[Project]:
        if before is not None and not changed:
            return before
        return Stored(
            kind=KIND,
            id=step.after.project_id,
            version=version + 1,
            state=step.after,
            created_at=before.created_at if before else recorded_at,
            updated_at=recorded_at,
            schema_version=step.schema_version,
        )

    if before is not None and not changed and call.idempotency is None:
        return Outcome(before)
    change = Change(
        writes=_writes(step, version, moved) if changed else (),
        events=_events(step, changed) if changed else (),
        receipt=_receipt(call.idempotency, stored),
        actor=principal.id,
        schema_version=step.schema_version,
        traceparent=call.traceparent,
    )
    committed = await _commit_or_race(services, change, moved)
    if committed.replayed is not None:
        return Outcome(None, committed.position, committed.replayed)
    return Outcome(stored(committed.recorded_at), committed.position)


async def _commit_or_race(
    services: Services, change: Change, moved: tuple[Write, ...]
) -> Committed:
    """Commit; a duplicate can be an external reference taken since it was looked up."""
    try:
        return await services.commands.commit(change)
    except Stale as lost:
        raise _LostRace from lost
    except Duplicate as lost:
        if moved:
            raise _LostRace from lost
        raise


def _writes(step: Step, version: int, moved: tuple[Write, ...]) -> tuple[Write, ...]:
    return (Write(KIND, step.after.project_id, version, step.after), *moved)


def _events(step: Step, changed: tuple[str, ...]) -> tuple[DomainEvent, ...]:
    return (
        DomainEvent(
            type=step.event,
            kind=KIND,
            id=step.after.project_id,
            changed=changed,
            reason=step.reason,
        ),
    )


def _receipt(
    idempotency: Idempotency | None, stored: Callable[[datetime], Stored[Project]]
) -> Receipt | None:
    """The receipt of a keyed command: the answer is rendered at the recorded time."""
    if idempotency is None:
        return None
    answer = idempotency.answer
    return Receipt(
        scope=idempotency.scope,
        key=idempotency.key,
        fingerprint=idempotency.fingerprint,
        answer=lambda recorded_at: answer(stored(recorded_at)),
    )
