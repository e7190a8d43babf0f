"""The use cases of ledgers: races with milestones and terms, scopes, cached entries."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.application.facilities.stored_projects import (
    create_stored_facility,
    create_stored_project,
    record,
)
from tests.domain.facilities.facility_terms import START, a_term_sheet

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext, amend_facility_terms
from spawn.application.facilities.ledger_queries import (
    compute_balance,
    sum_outstanding_debt,
    view_ledger,
)
from spawn.application.projects.commands import (
    CommandContext,
    MilestoneOrder,
    decide_project_milestone,
)
from spawn.domain.change import Change, CommitResult
from spawn.domain.errors import Conflict, Forbidden, Infeasible, StaleVersion
from spawn.domain.facilities.facility import FacilityKind
from spawn.domain.facilities.ledger import EntryKind
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal, Scope
from spawn.domain.projects.milestones import Milestone, MilestoneDecision

MET = Milestone(milestone_id="permit", title="Permit", draw_stop=True, met_on=date(2026, 1, 1))


class Interloper:
    """A command store before whose first commit somebody else acts."""

    def __init__(self, dependencies: Dependencies, act: Any) -> None:
        self._commands = dependencies.commands
        self._act = act

    async def commit(self, change: Change) -> CommitResult:
        act, self._act = self._act, None
        if act is not None:
            await act()
        return await self._commands.commit(change)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._commands, name)


def interrupt(dependencies: Dependencies, act: Any) -> Dependencies:
    commands = Interloper(dependencies, act)
    return msgspec.structs.replace(dependencies, commands=commands)


async def test_a_draw_against_a_milestone_that_is_reopened_loses(
    dependencies: Dependencies,
) -> None:
    project_id = await create_stored_project(dependencies, milestones=(MET,))
    facility_id = await create_stored_facility(dependencies, project_id=project_id)

    async def reopen() -> None:
        order = MilestoneOrder(
            milestone_id=MET.milestone_id, decision=MilestoneDecision.REOPENED, reason="appeal"
        )
        await decide_project_milestone(
            dependencies, LOCAL_PRINCIPAL, project_id, order, CommandContext()
        )

    with pytest.raises(Conflict, match="'permit'"):
        await record(interrupt(dependencies, reopen), facility_id, EntryKind.DRAW, START, "1")
    view = await view_ledger(dependencies, LOCAL_PRINCIPAL, facility_id)
    assert view.ledger.version == 0


async def test_a_draw_against_a_commitment_that_is_reduced_loses(
    dependencies: Dependencies,
) -> None:
    facility_id = await create_stored_facility(dependencies)

    async def reduce() -> None:
        terms = a_term_sheet(commitment=Decimal(50))
        await amend_facility_terms(
            dependencies, LOCAL_PRINCIPAL, facility_id, lambda _: terms, FinanceContext()
        )

    with pytest.raises(Infeasible, match="the commitment then is 50"):
        await record(interrupt(dependencies, reduce), facility_id, EntryKind.DRAW, START, "51")


async def test_a_commitment_that_is_reduced_against_a_draw_loses(
    dependencies: Dependencies,
) -> None:
    facility_id = await create_stored_facility(dependencies)

    async def draw() -> None:
        await record(dependencies, facility_id, EntryKind.DRAW, START, "51")

    terms = a_term_sheet(commitment=Decimal(50))
    with pytest.raises(Infeasible, match="2026-03-31"):
        await amend_facility_terms(
            interrupt(dependencies, draw),
            LOCAL_PRINCIPAL,
            facility_id,
            lambda _: terms,
            FinanceContext(),
        )


async def test_with_an_expected_version_a_lost_race_is_stale(dependencies: Dependencies) -> None:
    facility_id = await create_stored_facility(dependencies)

    async def draw() -> None:
        await record(dependencies, facility_id, EntryKind.DRAW, START, "1")

    with pytest.raises(StaleVersion):
        await record(
            interrupt(dependencies, draw),
            facility_id,
            EntryKind.DRAW,
            START,
            "2",
            context=FinanceContext(expected_version=0),
        )
    view = await view_ledger(dependencies, LOCAL_PRINCIPAL, facility_id, on=START)
    assert compute_balance(view).position.balance == 1


async def test_each_scope_permits_its_own_part(dependencies: Dependencies) -> None:
    facility_id = await create_stored_facility(dependencies)
    reader = Principal(id="reader", scopes=frozenset({Scope.FINANCE_READ}))
    restater = Principal(id="restater", scopes=frozenset({Scope.RESTATE}))
    for principal in (reader, restater):
        with pytest.raises(Forbidden):
            await record(dependencies, facility_id, EntryKind.DRAW, START, "1", principal=principal)
    await record(dependencies, facility_id, EntryKind.CLOSING, START)
    await record(
        dependencies, facility_id, EntryKind.DRAW, START, "1", principal=restater, reason="late"
    )
    with pytest.raises(Forbidden):
        await view_ledger(dependencies, restater, facility_id)


async def test_the_debt_of_a_project_is_summed_over_its_loans(dependencies: Dependencies) -> None:
    project_id = await create_stored_project(dependencies)
    on = date(2026, 9, 30)
    loan = await create_stored_facility(
        dependencies, a_term_sheet(day_count="ACT/365F"), project_id
    )
    dollars = await create_stored_facility(
        dependencies, a_term_sheet(currency_code="USD", rank=2), project_id
    )
    equity_terms = a_term_sheet(
        kind=FacilityKind.EQUITY, rate=None, payment_dates=None, repayment=None
    )
    equity = await create_stored_facility(dependencies, equity_terms, project_id)
    assert await sum_outstanding_debt(dependencies, LOCAL_PRINCIPAL, project_id, on=on) == {}
    for facility_id, amount in ((loan, "10000.00"), (equity, "77.00"), (dollars, "1.00")):
        await record(dependencies, facility_id, EntryKind.DRAW, START, amount)
    debt = await sum_outstanding_debt(dependencies, LOCAL_PRINCIPAL, project_id, on=on)
    assert debt == {"EUR": Decimal("10200.55"), "USD": Decimal("1.02")}
    await record(dependencies, loan, EntryKind.PAYMENT, on, "10200.55")
    debt = await sum_outstanding_debt(dependencies, LOCAL_PRINCIPAL, project_id, on=on)
    assert debt == {"USD": Decimal("1.02")}


async def test_cached_entries_are_those_of_the_store(dependencies: Dependencies) -> None:
    facility_id = await create_stored_facility(dependencies)
    for number in range(1, 6):
        await record(dependencies, facility_id, EntryKind.DRAW, START, f"{number}")
        cached = await view_ledger(dependencies, LOCAL_PRINCIPAL, facility_id)
        dependencies.ledgers.put(facility_id, cached.ledger)
        if number == 3:
            fresh = msgspec.structs.replace(
                dependencies, ledgers=type(dependencies.ledgers)(capacity=1)
            )
            loaded = await view_ledger(fresh, LOCAL_PRINCIPAL, facility_id)
            assert loaded.ledger == cached.ledger
    assert [e.entry.number for e in cached.ledger.entries] == [1, 2, 3, 4, 5]
