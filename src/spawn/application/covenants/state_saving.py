"""Commands that write one aggregate of a project's covenants, and the lists of these aggregates."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.application.projects.commands import CommandContext
from spawn.domain.change import Guard, StoredAggregate, StoredResponse, VersionReference, Write
from spawn.domain.errors import Duplicate, SpawnError, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query

S = TypeVar("S", bound=msgspec.Struct)

LOST_RACES: Final[tuple[type[SpawnError], ...]] = (StaleVersion, Duplicate)
"""Errors of a commit after which to decide again; an id made of a key can be taken meanwhile."""


class SavedState(msgspec.Struct, frozen=True):
    """The aggregate after a command, or the stored response of the same earlier request."""

    aggregate: StoredAggregate[Any] | None
    replayed_response: StoredResponse | None = None


class StateDecision(Decision, frozen=True, kw_only=True):
    """A decision whose response shows one aggregate: `before` (None if new) and `after`."""

    reference: VersionReference
    before: StoredAggregate[Any] | None
    after: msgspec.Struct


def list_changes(before: msgspec.Struct | None, after: msgspec.Struct) -> tuple[str, ...]:
    """Return the fields that differ; of a new state those that it has, but for its ids."""
    if before is None:
        names = (n for n in after.__struct_fields__ if not n.endswith("_id"))
        return tuple(name for name in names if getattr(after, name) not in (None, ()))
    return tuple(
        name for name in after.__struct_fields__ if getattr(before, name) != getattr(after, name)
    )


def decide_state(
    kind: str,
    key: str,
    before: StoredAggregate[Any] | None,
    after: msgspec.Struct,
    event_type: str,
    *,
    reason: str | None = None,
    guards: tuple[Guard, ...] = (),
    beside: Decision | None = None,
) -> StateDecision:
    """Return the decision to write a state with its event; no change writes nothing.

    Args:
        kind: the kind of the aggregate.
        key: its id.
        before: the stored one; None for a new one.
        after: the new state.
        event_type: the type of its event.
        reason: the reason of the change, for the history.
        guards: versions that the decision rests on.
        beside: writes of other aggregates in the same change, with their events.
    """
    version = before.version if before else 0
    changed = list_changes(before.state if before else None, after)
    reference = VersionReference(kind, key, version + bool(changed))
    if not changed:
        return StateDecision(reference=reference, subject=reference, before=before, after=after)
    event = DomainEvent(type=event_type, kind=kind, id=key, changed=changed, reason=reason)
    further = beside or Decision()
    return StateDecision(
        reference=reference,
        subject=reference,
        before=before,
        after=after,
        writes=(Write(kind, key, version, after), *further.writes),
        events=(event, *further.events),
        guards=(*guards, *further.guards),
    )


async def save_state(
    dependencies: Dependencies,
    principal: Principal,
    decide: Callable[[], Awaitable[StateDecision]],
    context: CommandContext,
) -> SavedState:
    """Decide and commit, again after a lost race; return the aggregate as the store has it.

    Raises:
        Conflict: the command lost too many races.
        SpawnError: as the decision.
    """
    outcome = await execute(
        dependencies,
        principal.id,
        decide,
        receipt=context.receipt,
        traceparent=context.traceparent,
        lost_races=LOST_RACES,
    )
    decision, result = outcome.decision, outcome.result
    if result is not None and result.replayed_response is not None:
        return SavedState(None, result.replayed_response)
    before = decision.before
    if result is None or not decision.writes:
        return SavedState(before)
    if principal.row_scope is not None:
        written = decision.reference
        return SavedState(
            await dependencies.reads.get(written.kind, written.id, version=written.version)
        )
    aggregate: StoredAggregate[Any] = StoredAggregate(
        kind=decision.reference.kind,
        id=decision.reference.id,
        version=decision.reference.version,
        state=decision.after,
        created_at=before.created_at if before else result.recorded_at,
        updated_at=result.recorded_at,
        schema_version=0,
    )
    return SavedState(aggregate)


def check_expected_version(aggregate: StoredAggregate[Any], context: CommandContext) -> None:
    """Check that an aggregate is at the version that the caller expects.

    Raises:
        StaleVersion: it is at another one.
    """
    expected_version = context.expected_version
    if expected_version is not None and aggregate.version != expected_version:
        detail = f"It is at version {aggregate.version}, not {expected_version}."
        raise StaleVersion(detail, current=aggregate.version)


async def require_project(dependencies: Dependencies, project_id: str) -> None:
    """Check that a project exists.

    Raises:
        NotFound: there is none.
    """
    await dependencies.reads.head(PROJECT_KIND, project_id)


def query_of_project(
    kind: str, project_id: str, limit: int, after: tuple[Any, ...] | None = None
) -> Query:
    """Return the query of the aggregates of a kind in a project, oldest first."""
    condition = Filter("project_id", Operator.EQ, (project_id,))
    return Query(kind=kind, filters=(condition,), limit=limit, after=after)


async def page_of_project(
    dependencies: Dependencies,
    principal: Principal,
    kind: str,
    project_id: str,
    limit: int,
    after: tuple[Any, ...] | None = None,
) -> Page[StoredAggregate[Any]]:
    """Return a page of the aggregates of a kind in a project, oldest first.

    Raises:
        NotFound: no such project.
        Forbidden: the principal may not read the financing.
    """
    require(principal, Scope.FINANCE_READ)
    await require_project(dependencies, project_id)
    query = query_of_project(kind, project_id, limit, after)
    page: Page[StoredAggregate[Any]] = await dependencies.reads.page(query)
    return page


async def list_of_project(
    dependencies: Dependencies, kind: str, project_id: str
) -> list[StoredAggregate[Any]]:
    """Return all aggregates of a kind in a project, oldest first."""
    aggregates: list[StoredAggregate[Any]] = []
    query: Query | None = query_of_project(kind, project_id, MAX_LIMIT)
    while query is not None:
        page: Page[StoredAggregate[Any]] = await dependencies.reads.page(query)
        aggregates += page.items
        query = msgspec.structs.replace(query, after=page.next) if page.next else None
    return aggregates
