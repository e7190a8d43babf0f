"""Commands of CFADS cases and actuals: draw up, revise, record.

Figures are checked on threads: the largest case held the event loop for 0.1 s.
"""

import asyncio
from collections.abc import Callable, Sequence

from spawn import __version__
from spawn.application.covenants.state_saving import (
    SavedState,
    StateDecision,
    check_expected_version,
    decide_state,
    require_project,
    save_state,
)
from spawn.application.dependencies import Dependencies, require
from spawn.application.projects.commands import CommandContext
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cfads_actuals import (
    ACTUALS_KIND,
    ACTUALS_RECORDED_EVENT,
    ActualPeriod,
    CfadsActuals,
    record_actuals,
)
from spawn.domain.covenants.cfads_case import (
    CASE_CREATED_EVENT,
    CASE_KIND,
    CASE_REVISED_EVENT,
    CaseTerms,
    CfadsCase,
    draw_up_case,
    revise_case,
)
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.principal import Principal, Scope


async def create_case(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    terms: CaseTerms,
    context: CommandContext,
) -> SavedState:
    """Create a case of a project as a draft, under a new id.

    Raises:
        NotFound: no such project.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> StateDecision:
        await require_project(dependencies, project_id)
        key = dependencies.ids.new()
        case = await asyncio.to_thread(
            draw_up_case, terms, case_id=key, project_id=project_id, engine_version=__version__
        )
        return decide_state(CASE_KIND, key, None, case, CASE_CREATED_EVENT)

    return await save_state(dependencies, principal, decide, context)


async def change_case(
    dependencies: Dependencies,
    principal: Principal,
    case_id: str,
    change_terms: Callable[[CfadsCase], CaseTerms],
    reason: str | None,
    context: CommandContext,
) -> SavedState:
    """Change the figures of a case; of a used one this makes a revision, with its reason.

    Args:
        dependencies: the ports.
        principal: the caller.
        case_id: the case.
        change_terms: returns the new figures for the stored ones.
        reason: the reason of the change.
        context: of the command.

    Raises:
        NotFound: no such case.
        StaleVersion: the case is not at the expected version.
        InvalidInput: an invariant is violated, or a used case changes without a reason.
    """
    require(principal, Scope.FINANCE_WRITE)

    def revise(case: CfadsCase) -> CfadsCase:
        return revise_case(case, change_terms(case), reason=reason, engine_version=__version__)

    async def decide() -> StateDecision:
        before: StoredAggregate[CfadsCase] = await dependencies.reads.get(CASE_KIND, case_id)
        check_expected_version(before, context)
        after = await asyncio.to_thread(revise, before.state)
        return decide_state(CASE_KIND, case_id, before, after, CASE_REVISED_EVENT, reason=reason)

    return await save_state(dependencies, principal, decide, context)


async def record_actual_periods(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    currency_code: str,
    facts: Sequence[ActualPeriod],
    context: CommandContext,
) -> SavedState:
    """Record actual CFADS of periods; a fact of a known period corrects it, with its reason.

    Raises:
        NotFound: no such project.
        InvalidInput: another currency than that of the earlier facts, a correction without a
            reason, an overlap, or an invalid amount.
    """
    require(principal, Scope.FINANCE_WRITE)

    async def decide() -> StateDecision:
        await require_project(dependencies, project_id)
        before = await find_actuals(dependencies, project_id)
        actuals = CfadsActuals(project_id=project_id, currency_code=currency_code)
        if before is not None:
            check_expected_version(before, context)
            actuals = before.state
        if actuals.currency_code != currency_code:
            detail = f"the actuals of the project are in {actuals.currency_code}"
            raise InvalidInput.at("/currency_code", "currency_mismatch", detail)
        version = (before.version if before else 0) + 1
        after = await asyncio.to_thread(record_actuals, actuals, facts, version=version)
        reason = next((fact.reason for fact in facts if fact.reason), None)
        return decide_state(
            ACTUALS_KIND, project_id, before, after, ACTUALS_RECORDED_EVENT, reason=reason
        )

    return await save_state(dependencies, principal, decide, context)


async def find_actuals(
    dependencies: Dependencies, project_id: str
) -> StoredAggregate[CfadsActuals] | None:
    """Return the actuals of a project; None before the first fact."""
    try:
        actuals: StoredAggregate[CfadsActuals] = await dependencies.reads.get(
            ACTUALS_KIND, project_id
        )
    except NotFound:
        return None
    return actuals
