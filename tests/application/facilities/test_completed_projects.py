"""Completion of a project against entries of its ledgers, one between load and commit."""

import msgspec
import pytest
from tests.application.facilities.stored_projects import (
    create_stored_facility,
    create_stored_project,
    record,
)
from tests.application.facilities.test_ledger_commands import interrupt
from tests.domain.facilities.facility_terms import START

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.facilities.ledger_commands import reverse_entry
from spawn.application.projects.commands import transition_project
from spawn.application.projects.queries import get_project
from spawn.domain.errors import Conflict
from spawn.domain.facilities.ledger import EntryFacts, EntryKind
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal, Scope
from spawn.domain.projects.lifecycle import ProjectStatus


async def repay(dependencies: Dependencies) -> tuple[str, str, int]:
    """Repay the loan of a project; return project, facility and the number of the repayment."""
    project_id = await create_stored_project(dependencies, status=ProjectStatus.OPERATION)
    facility_id = await create_stored_facility(dependencies, project_id=project_id)
    await record(dependencies, facility_id, EntryKind.DRAW, START, "1000")
    repaid = await record(dependencies, facility_id, EntryKind.PREPAYMENT, START, "1000")
    return project_id, facility_id, repaid.entry.number


async def complete(
    dependencies: Dependencies, project_id: str, principal: Principal = LOCAL_PRINCIPAL
) -> None:
    await transition_project(
        dependencies,
        principal,
        project_id,
        to=ProjectStatus.COMPLETED,
        reason="repaid",
        effective_on=START,
    )


async def reverse(dependencies: Dependencies, facility_id: str, number: int) -> None:
    facts = EntryFacts(kind=EntryKind.REVERSAL, value_date=START, reason="mistaken")
    await reverse_entry(dependencies, LOCAL_PRINCIPAL, facility_id, number, facts, FinanceContext())


@pytest.mark.parametrize(
    ("scopes", "amount"),
    [
        ({Scope.PROJECTS_WRITE}, "some"),
        ({Scope.PROJECTS_WRITE, Scope.FINANCE_READ}, "1000.00 EUR"),
        ({Scope.PROJECTS_WRITE, Scope.FINANCE_WRITE}, "1000.00 EUR"),
    ],
)
async def test_the_debt_is_stated_to_those_who_may_read_it(
    dependencies: Dependencies, scopes: set[Scope], amount: str
) -> None:
    project_id, facility_id, number = await repay(dependencies)
    await reverse(dependencies, facility_id, number)
    caller = msgspec.structs.replace(LOCAL_PRINCIPAL, scopes=frozenset(scopes))
    with pytest.raises(Conflict) as error:
        await complete(dependencies, project_id, caller)
    assert error.value.detail == f"a project completes without debt; {amount} is outstanding"


async def test_completion_loses_against_the_reversal_of_a_repayment_before_its_commit(
    dependencies: Dependencies,
) -> None:
    project_id, facility_id, number = await repay(dependencies)

    async def act() -> None:
        await reverse(dependencies, facility_id, number)

    with pytest.raises(Conflict, match="EUR is outstanding"):
        await complete(interrupt(dependencies, act), project_id)
    project = await get_project(dependencies, LOCAL_PRINCIPAL, project_id)
    assert project.state.status is ProjectStatus.OPERATION


async def test_the_reversal_of_a_repayment_loses_against_completion_before_its_commit(
    dependencies: Dependencies,
) -> None:
    project_id, facility_id, number = await repay(dependencies)

    async def act() -> None:
        await complete(dependencies, project_id)

    with pytest.raises(Conflict, match="does not change any more"):
        await reverse(interrupt(dependencies, act), facility_id, number)
