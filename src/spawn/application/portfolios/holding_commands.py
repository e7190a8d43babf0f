"""Commands of holdings: add, amend, remove; each writes the allocation of its exposure too."""

from datetime import date
from typing import Any

import msgspec

from spawn.application.commands import Decision
from spawn.application.dependencies import Dependencies, require
from spawn.application.facilities.facility_commands import FinanceContext, check_expected
from spawn.application.portfolios.portfolio_commands import FinanceResult, execute_finance
from spawn.domain.change import Guard, StoredAggregate, VersionReference, Write
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.events.event import DomainEvent
from spawn.domain.facilities.facility import FACILITY_KIND, Facility, FacilityKind
from spawn.domain.portfolios.holding import (
    ALLOCATION_KIND,
    HOLDING_AMENDED_EVENT,
    HOLDING_CREATED_EVENT,
    HOLDING_KIND,
    HOLDING_REMOVED_EVENT,
    ExposureAllocation,
    ExposureKind,
    Holding,
    allocate_exposure,
    check_holding,
)
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND

HOLDING_TERMS = ("share", "since", "until")
"""Fields of a holding that may be amended; another exposure is another holding."""


class HoldingInput(msgspec.Struct, frozen=True, kw_only=True):
    """A holding to add: the share of a facility, or of the equity of a project."""

    share: str
    since: date
    until: date | None = None
    facility_id: str | None = None
    project_id: str | None = None


async def add_holding(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    holding_input: HoldingInput,
    context: FinanceContext,
) -> FinanceResult[Holding]:
    """Add a holding to a portfolio.

    Raises:
        NotFound: no such portfolio.
        InvalidInput: the holding names no exposure that exists, or breaks another rule.
        Conflict: on some day more than the whole exposure would be held.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> Decision:
        portfolio = await dependencies.reads.get(PORTFOLIO_KIND, portfolio_id)
        kind, exposure_id, project_id, guard = await _find_exposure(dependencies, holding_input)
        holding = check_holding(
            Holding(
                holding_id=dependencies.ids.new(),
                portfolio_id=portfolio_id,
                exposure_kind=kind,
                exposure_id=exposure_id,
                project_id=project_id,
                share=holding_input.share,
                since=holding_input.since,
                until=holding_input.until,
            )
        )
        changed = tuple(n for n in Holding.__struct_fields__ if getattr(holding, n) is not None)
        decision = await _decide(dependencies, holding, 0, HOLDING_CREATED_EVENT, changed)
        guards = (Guard(PORTFOLIO_KIND, portfolio_id, portfolio.version), guard)
        return msgspec.structs.replace(decision, guards=guards)

    exposure_id = holding_input.facility_id or holding_input.project_id or portfolio_id
    async with dependencies.command_queues.queue_for(exposure_id):
        return await execute_finance(dependencies, principal, decide, context)


async def amend_holding(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    holding_id: str,
    terms: dict[str, Any],
    context: FinanceContext,
) -> FinanceResult[Holding]:
    """Replace the share or the days of a holding; no change writes nothing.

    Raises:
        NotFound: the portfolio has no such holding.
        StaleVersion: it is not at the expected version.
        InvalidInput: a term breaks a rule.
        Conflict: on some day more than the whole exposure would be held.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> Decision:
        before = await load_holding(dependencies, portfolio_id, holding_id)
        check_expected(before.version, context.expected_version, "holding")
        after = check_holding(msgspec.structs.replace(before.state, **terms))
        changed = tuple(n for n in HOLDING_TERMS if getattr(after, n) != getattr(before.state, n))
        return await _decide(dependencies, after, before.version, HOLDING_AMENDED_EVENT, changed)

    return await execute_finance(dependencies, principal, decide, context)


async def remove_holding(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    holding_id: str,
    context: FinanceContext,
) -> FinanceResult[Holding]:
    """Remove a holding that was recorded in error; its history remains.

    Raises:
        NotFound: the portfolio has no such holding.
        StaleVersion: it is not at the expected version.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> Decision:
        before = await load_holding(dependencies, portfolio_id, holding_id)
        check_expected(before.version, context.expected_version, "holding")
        after = msgspec.structs.replace(before.state, is_active=False)
        return await _decide(
            dependencies, after, before.version, HOLDING_REMOVED_EVENT, ("is_active",)
        )

    return await execute_finance(dependencies, principal, decide, context)


async def load_holding(
    dependencies: Dependencies, portfolio_id: str, holding_id: str
) -> StoredAggregate[Holding]:
    """Load an active holding of a portfolio.

    Raises:
        NotFound: the portfolio has no such holding.
    """
    aggregate: StoredAggregate[Holding] = await dependencies.reads.get(HOLDING_KIND, holding_id)
    if aggregate.state.portfolio_id != portfolio_id or not aggregate.state.is_active:
        raise NotFound("The portfolio has no holding of this id.")
    return aggregate


async def _find_exposure(
    dependencies: Dependencies, holding_input: HoldingInput
) -> tuple[ExposureKind, str, str, Guard]:
    """Return kind and id of the exposure, its project, and the guard that it still exists."""
    facility_id, project_id = holding_input.facility_id, holding_input.project_id
    if (facility_id is None) == (project_id is None):
        detail = "give exactly one of facility_id and project_id"
        raise InvalidInput.at("/facility_id", "ambiguous", detail)
    if facility_id is None:
        project = await _load(dependencies, PROJECT_KIND, project_id or "", "/project_id")
        guard = Guard(PROJECT_KIND, project.id, project.version)
        return ExposureKind.EQUITY, project.id, project.id, guard
    aggregate: StoredAggregate[Facility] = await _load(
        dependencies, FACILITY_KIND, facility_id, "/facility_id"
    )
    facility = aggregate.state
    if facility.kind is FacilityKind.EQUITY:
        detail = "this facility is equity: hold a share of its project (project_id) instead"
        raise InvalidInput.at("/facility_id", "not_applicable", detail)
    guard = Guard(FACILITY_KIND, facility_id, aggregate.version)
    return ExposureKind.FACILITY, facility_id, facility.project_id, guard


async def _load(
    dependencies: Dependencies, kind: str, key: str, pointer: str
) -> StoredAggregate[Any]:
    try:
        return await dependencies.reads.get(kind, key)
    except NotFound:
        raise InvalidInput.at(
            pointer, "unknown_exposure", f"there is no {kind} of this id"
        ) from None


async def _decide(
    dependencies: Dependencies,
    holding: Holding,
    version: int,
    event_type: str,
    changed: tuple[str, ...],
) -> Decision:
    """Return the decision that writes a holding and the allocation of its exposure."""
    key = holding.holding_id
    subject = VersionReference(HOLDING_KIND, key, version + bool(changed))
    if not changed:
        return Decision(subject=subject)
    before = await _find_allocation(dependencies, holding.allocation_id)
    allocation = allocate_exposure(None if before is None else before.state, holding)
    allocation_version = 0 if before is None else before.version
    event = DomainEvent(type=event_type, kind=HOLDING_KIND, id=key, changed=changed)
    return Decision(
        writes=(
            Write(HOLDING_KIND, key, version, holding),
            Write(ALLOCATION_KIND, holding.allocation_id, allocation_version, allocation),
        ),
        events=(event,),
        subject=subject,
    )


async def _find_allocation(
    dependencies: Dependencies, allocation_id: str
) -> StoredAggregate[ExposureAllocation] | None:
    try:
        return await dependencies.reads.get(ALLOCATION_KIND, allocation_id)
    except NotFound:
        return None
