"""Commands of facilities: create one in a project, and amend its terms."""

from collections.abc import Awaitable, Callable

import msgspec

from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.application.facilities.stored_ledgers import load_ledger
from spawn.domain.change import (
    Guard,
    IdempotencyReceipt,
    StoredAggregate,
    StoredResponse,
    VersionReference,
    Write,
)
from spawn.domain.errors import Conflict, SchemaVersionChanged, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.facilities.facility import (
    FACILITY_AMENDED_EVENT,
    FACILITY_CREATED_EVENT,
    FACILITY_KIND,
    Facility,
    FacilityTermSheet,
)
from spawn.domain.facilities.facility_rules import (
    amend_facility,
    list_changed_terms,
    propose_facility,
    set_governed_attributes,
)
from spawn.domain.facilities.ledger import LEDGER_KIND
from spawn.domain.facilities.ledger_rules import check_amendment
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.domain.schemas.validator import ProjectInput

CLOSED_STATUSES = frozenset({ProjectStatus.CANCELLED, ProjectStatus.COMPLETED})
"""Statuses of a project whose financing does not change any more."""


class FinanceContext(msgspec.Struct, frozen=True, kw_only=True):
    """Context of one command.

    `expected_version` is the version that the caller decided on; None accepts any. `receipt` is
    that of an idempotent request, without its subject.
    """

    expected_version: int | None = None
    receipt: IdempotencyReceipt | None = None
    traceparent: str | None = None


class FacilityResult(msgspec.Struct, frozen=True):
    """The facility after the command, or the stored response of the same earlier request."""

    aggregate: StoredAggregate[Facility] | None
    replayed_response: StoredResponse | None = None


class _FacilityDecision(Decision, frozen=True, kw_only=True):
    before: StoredAggregate[Facility] | None
    after: Facility


async def create_facility(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    terms: FacilityTermSheet,
    context: FinanceContext,
    governed_input: ProjectInput | None = None,
) -> FacilityResult:
    """Create a facility of a project under a new id.

    Args:
        dependencies: the ports.
        principal: the caller.
        project_id: the project.
        terms: of the facility.
        context: of the command.
        governed_input: the governed attributes and extensions, read under a version of the schema.

    Raises:
        NotFound: no such project.
        Conflict: the project is cancelled or completed.
        InvalidInput: a rule of the terms is violated; each term is named.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> _FacilityDecision:
        project: StoredAggregate[Project] = await dependencies.reads.get(PROJECT_KIND, project_id)
        check_is_open(project.state)
        facility = propose_facility(dependencies.ids.new(), project_id, terms)
        if governed_input is not None:
            facility = set_governed_attributes(
                facility, governed_input.governed, governed_input.extensions
            )
        version = None if governed_input is None else governed_input.schema_version
        if version is None:
            version = (await dependencies.active_schema(FACILITY_KIND)).schema.version
        guards = (Guard(PROJECT_KIND, project_id, project.version),)
        return _decide(None, facility, FACILITY_CREATED_EVENT, version, guards)

    return await _execute(dependencies, principal, decide, context)


async def amend_facility_terms(
    dependencies: Dependencies,
    principal: Principal,
    facility_id: str,
    change_terms: Callable[[Facility], FacilityTermSheet],
    context: FinanceContext,
    governed_input: ProjectInput | None = None,
) -> FacilityResult:
    """Replace the terms of a facility; no change writes nothing.

    Args:
        dependencies: the ports.
        principal: the caller.
        facility_id: the facility.
        change_terms: returns the new terms for the stored ones.
        context: of the command.
        governed_input: a merge patch of the governed attributes and extensions.

    Raises:
        NotFound: no such facility.
        SchemaVersionChanged: the patch was read under a version that is no longer active.
        StaleVersion: the facility is not at the expected version.
        Conflict: the project is cancelled or completed, so that its terms do not change.
        InvalidInput: a rule of the terms is violated; each term is named.
        Infeasible: the entries of the ledger break a rule under the new terms.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> _FacilityDecision:
        before: StoredAggregate[Facility] = await dependencies.reads.get(FACILITY_KIND, facility_id)
        check_expected(before.version, context.expected_version, "facility")
        after = amend_facility(before.state, change_terms(before.state))
        guards: tuple[Guard, ...] = ()
        if list_changed_terms(before.state, after):
            guards = (await _guard_open_project(dependencies, after.project_id),)
        if governed_input is not None:
            _check_schema_version(governed_input, before)
            after = set_governed_attributes(
                after, governed_input.governed, governed_input.extensions
            )
        ledger = await load_ledger(dependencies, facility_id)
        check_amendment(before.state, after, ledger.entries)
        guards = (*guards, Guard(LEDGER_KIND, facility_id, ledger.version))
        return _decide(before, after, FACILITY_AMENDED_EVENT, before.schema_version, guards)

    return await _execute(dependencies, principal, decide, context)


def _check_schema_version(governed_input: ProjectInput, before: StoredAggregate[Facility]) -> None:
    """Raise SchemaVersionChanged if a patch was read under another version than the state."""
    if governed_input.schema_version not in {None, before.schema_version}:
        raise SchemaVersionChanged(f"Version {before.schema_version} of the schema is active now.")


async def _guard_open_project(dependencies: Dependencies, project_id: str) -> Guard:
    """Return the guard of a project that is open; raise Conflict if it is closed."""
    project: StoredAggregate[Project] = await dependencies.reads.get(PROJECT_KIND, project_id)
    check_is_open(project.state)
    return Guard(PROJECT_KIND, project_id, project.version)


def check_is_open(project: Project) -> None:
    """Check that the financing of a project may change.

    Raises:
        Conflict: the project is cancelled or completed.
    """
    if project.status in CLOSED_STATUSES:
        raise Conflict(f"The project is {project.status}: its financing does not change any more.")


def check_expected(version: int, expected_version: int | None, noun: str) -> None:
    """Check that an aggregate is at the version that the caller expects.

    Raises:
        StaleVersion: it is at another one.
    """
    if expected_version is not None and version != expected_version:
        detail = f"The {noun} is at version {version}, not {expected_version}."
        raise StaleVersion(detail, current=version)


def _decide(
    before: StoredAggregate[Facility] | None,
    after: Facility,
    event_type: str,
    schema_version: int,
    guards: tuple[Guard, ...] = (),
) -> _FacilityDecision:
    """Return the decision with its event; no change writes nothing."""
    version = before.version if before else 0
    names = list_changed_terms(before.state if before else None, after)
    subject = VersionReference(
        FACILITY_KIND, after.facility_id, version + bool(names), schema_version
    )
    if not names:
        return _FacilityDecision(before=before, after=after, subject=subject)
    event = DomainEvent(type=event_type, kind=FACILITY_KIND, id=after.facility_id, changed=names)
    return _FacilityDecision(
        before=before,
        after=after,
        writes=(
            Write(
                FACILITY_KIND,
                after.facility_id,
                version,
                after,
                schema_version=schema_version,
                needs_active_schema=before is not None,
            ),
        ),
        guards=guards,
        events=(event,),
        subject=subject,
    )


async def _execute(
    dependencies: Dependencies,
    principal: Principal,
    decide: Callable[[], Awaitable[_FacilityDecision]],
    context: FinanceContext,
) -> FacilityResult:
    outcome = await execute(
        dependencies,
        principal.id,
        decide,
        receipt=context.receipt,
        traceparent=context.traceparent,
    )
    decision, result = outcome.decision, outcome.result
    if result is not None and result.replayed_response is not None:
        return FacilityResult(None, result.replayed_response)
    before = decision.before
    if result is None or not decision.writes:
        return FacilityResult(before)
    return FacilityResult(
        StoredAggregate(
            kind=FACILITY_KIND,
            id=decision.after.facility_id,
            version=(before.version if before else 0) + 1,
            state=decision.after,
            created_at=before.created_at if before else result.recorded_at,
            updated_at=result.recorded_at,
            schema_version=decision.writes[0].schema_version or 0,
        )
    )
