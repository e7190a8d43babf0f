"""Holdings under races: the portfolios never hold more than the whole of an exposure."""

import asyncio
from datetime import date
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from tests.application.portfolios.books import a_facility, a_portfolio, a_project

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.portfolios.holding_commands import (
    HoldingInput,
    add_holding,
    amend_holding,
    remove_holding,
)
from spawn.application.portfolios.portfolio_queries import list_holdings
from spawn.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, StaleVersion
from spawn.domain.facilities.facility import FacilityKind
from spawn.domain.portfolios.holding import parse_share
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal, Scope
from spawn.domain.query import Query

NO_CONTEXT = FinanceContext()
SINCE = date(2026, 4, 1)


async def test_sixteen_writers_never_hold_more_than_the_whole(dependencies: Dependencies) -> None:
    facility_id = await a_facility(dependencies, await a_project(dependencies))
    portfolios = [await a_portfolio(dependencies) for _ in range(4)]
    shares = ["1/7", "10", "12.5", "1/9"] * 4
    results = await asyncio.gather(
        *(
            add_holding(
                dependencies,
                LOCAL_PRINCIPAL,
                portfolios[number % 4],
                HoldingInput(facility_id=facility_id, share=share, since=SINCE),
                NO_CONTEXT,
            )
            for number, share in enumerate(shares)
        ),
        return_exceptions=True,
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(failure, Conflict) for failure in failures)
    total = Fraction(0)
    for portfolio in portfolios:
        page = await list_holdings(dependencies, LOCAL_PRINCIPAL, portfolio, Query(limit=100))
        total += sum((item.state.ratio for item in page.items), Fraction(0))
    assert len(results) - len(failures) >= 8
    # What is left is less than the smallest share that was rejected.
    rejected = [
        parse_share(s) for s, r in zip(shares, results, strict=True) if isinstance(r, Conflict)
    ]
    assert total <= 1
    assert total + min(rejected) > 1


async def test_racing_writers_of_different_days_all_fit(dependencies: Dependencies) -> None:
    project_id = await a_project(dependencies)
    portfolio_id = await a_portfolio(dependencies)
    await asyncio.gather(
        *(
            add_holding(
                dependencies,
                LOCAL_PRINCIPAL,
                portfolio_id,
                HoldingInput(
                    project_id=project_id,
                    share="100",
                    since=date(2026, month, 1),
                    until=date(2026, month + 1, 1),
                ),
                NO_CONTEXT,
            )
            for month in range(1, 9)
        )
    )


async def test_a_holding_is_amended_and_removed_at_the_version_that_was_read(
    dependencies: Dependencies,
) -> None:
    facility_id = await a_facility(dependencies, await a_project(dependencies))
    first, second = [await a_portfolio(dependencies) for _ in range(2)]
    holdings = [
        await add_holding(
            dependencies,
            LOCAL_PRINCIPAL,
            portfolio_id,
            HoldingInput(facility_id=facility_id, share="50", since=SINCE),
            NO_CONTEXT,
        )
        for portfolio_id in (first, second)
    ]
    one = holdings[0].aggregate
    assert one is not None
    at_first = FinanceContext(expected_version=1)

    async def amend(**terms: object) -> None:
        await amend_holding(dependencies, LOCAL_PRINCIPAL, first, one.id, terms, at_first)

    with pytest.raises(Conflict, match="from 2026-04-01"):
        await amend(share="50.000000000001")
    with pytest.raises(InvalidInput):
        await amend(until=SINCE)
    with pytest.raises(NotFound):
        await amend_holding(dependencies, LOCAL_PRINCIPAL, second, one.id, {}, at_first)
    await amend(share="50.0")  # the same share: nothing is written
    await amend(share="40")
    with pytest.raises(StaleVersion):
        await amend(share="30")
    at_second = FinanceContext(expected_version=2)
    await remove_holding(dependencies, LOCAL_PRINCIPAL, first, one.id, at_second)
    with pytest.raises(NotFound):
        await remove_holding(dependencies, LOCAL_PRINCIPAL, first, one.id, NO_CONTEXT)
    rest = HoldingInput(facility_id=facility_id, share="50", since=SINCE)
    await add_holding(dependencies, LOCAL_PRINCIPAL, second, rest, NO_CONTEXT)


async def test_a_holding_needs_an_exposure_and_the_scope(dependencies: Dependencies) -> None:
    project_id = await a_project(dependencies)
    portfolio_id = await a_portfolio(dependencies)
    equity_id = await a_facility(dependencies, project_id, kind=FacilityKind.EQUITY)
    unknown = dependencies.ids.new()
    for exposure, code in (
        ({}, "ambiguous"),
        ({"facility_id": unknown, "project_id": project_id}, "ambiguous"),
        ({"facility_id": unknown}, "unknown_exposure"),
        ({"project_id": unknown}, "unknown_exposure"),
        ({"facility_id": equity_id}, "not_applicable"),
    ):
        holding_input = msgspec.structs.replace(HoldingInput(share="1", since=SINCE), **exposure)
        with pytest.raises(InvalidInput) as failure:
            await add_holding(
                dependencies, LOCAL_PRINCIPAL, portfolio_id, holding_input, NO_CONTEXT
            )
        assert failure.value.errors[0].code == code
    holding_input = HoldingInput(share="1", since=SINCE, project_id=project_id)
    with pytest.raises(NotFound):
        await add_holding(dependencies, LOCAL_PRINCIPAL, unknown, holding_input, NO_CONTEXT)
    reader = Principal(id="reader", scopes=frozenset({Scope.FINANCE_READ}))
    with pytest.raises(Forbidden):
        await add_holding(dependencies, reader, portfolio_id, holding_input, NO_CONTEXT)


async def test_holdings_are_listed_as_they_were_recorded(dependencies: Dependencies) -> None:
    portfolio_id = await a_portfolio(dependencies)
    holding_input = HoldingInput(project_id=await a_project(dependencies), share="25", since=SINCE)
    result = await add_holding(
        dependencies, LOCAL_PRINCIPAL, portfolio_id, holding_input, NO_CONTEXT
    )
    holding = result.aggregate
    assert holding is not None
    await remove_holding(dependencies, LOCAL_PRINCIPAL, portfolio_id, holding.id, NO_CONTEXT)
    for as_of, shares in ((None, []), (holding.updated_at, ["25"])):
        query = Query(as_of=as_of)
        page = await list_holdings(dependencies, LOCAL_PRINCIPAL, portfolio_id, query)
        assert [item.state.share for item in page.items] == shares
    assert Decimal(holding.state.share) == 25
