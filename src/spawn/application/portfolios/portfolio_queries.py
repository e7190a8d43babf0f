"""Queries of portfolios and their holdings: get one, list pages."""

from datetime import datetime
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies, require, require_past
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import NotFound
from spawn.domain.portfolios.holding import HOLDING_KIND, Holding
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND, Portfolio
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import Filter, Operator, Page, Query

MAX_PROJECT_HOLDINGS: Final = 100
"""Holdings of one project that a query returns."""

PORTFOLIO_READERS: Final = (Scope.FINANCE_READ, Scope.FINANCE_WRITE)
"""Scopes of which a reader of portfolios has one."""


class ProjectHolding(msgspec.Struct, frozen=True):
    """An active holding of a project or of its facility, with its portfolio."""

    holding: Holding
    portfolio: Portfolio


async def get_portfolio(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    *,
    as_of: datetime | None = None,
) -> StoredAggregate[Portfolio]:
    """Return a portfolio now, or as recorded at an instant.

    Raises:
        NotFound: no such portfolio, or none yet at that instant.
        InvalidInput: the instant is not in the past.
    """
    require(principal, *PORTFOLIO_READERS)
    await require_past(dependencies, as_of)
    return await dependencies.reads.get(PORTFOLIO_KIND, portfolio_id, as_of=as_of)


async def list_portfolios(
    dependencies: Dependencies, principal: Principal, query: Query
) -> Page[StoredAggregate[Portfolio]]:
    """Return one page of portfolios, in order of creation.

    Raises:
        InvalidInput: the instant is not in the past.
    """
    require(principal, *PORTFOLIO_READERS)
    await require_past(dependencies, query.as_of)
    return await dependencies.reads.page(msgspec.structs.replace(query, kind=PORTFOLIO_KIND))


async def get_holding(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    holding_id: str,
    *,
    as_of: datetime | None = None,
) -> StoredAggregate[Holding]:
    """Return an active holding of a portfolio now, or as recorded at an instant.

    Raises:
        NotFound: the portfolio has, or then had, no such holding.
        InvalidInput: the instant is not in the past.
    """
    require(principal, *PORTFOLIO_READERS)
    await require_past(dependencies, as_of)
    aggregate = await dependencies.reads.get(HOLDING_KIND, holding_id, as_of=as_of)
    if aggregate.state.portfolio_id != portfolio_id or not aggregate.state.is_active:
        raise NotFound("The portfolio has no holding of this id.")
    return aggregate


async def list_holdings(
    dependencies: Dependencies, principal: Principal, portfolio_id: str, query: Query
) -> Page[StoredAggregate[Holding]]:
    """Return one page of the active holdings of a portfolio, in order of creation.

    Raises:
        NotFound: no such portfolio, or none yet at the instant of the query.
        InvalidInput: the instant is not in the past.
    """
    require(principal, *PORTFOLIO_READERS)
    await require_past(dependencies, query.as_of)
    await dependencies.reads.get(PORTFOLIO_KIND, portfolio_id, as_of=query.as_of)
    filters = (
        Filter("portfolio_id", Operator.EQ, (portfolio_id,)),
        Filter("is_active", Operator.EQ, (True,)),
    )
    return await dependencies.reads.page(
        msgspec.structs.replace(query, kind=HOLDING_KIND, filters=filters)
    )


async def list_project_holdings(
    dependencies: Dependencies, principal: Principal, project_id: str
) -> list[ProjectHolding]:
    """Return the active holdings of a project in order of creation, `MAX_PROJECT_HOLDINGS` at most.

    A holding that has ended, or that begins later, is one of them. To a principal whose row scope
    shows no portfolios there is none.
    """
    require(principal, *PORTFOLIO_READERS)
    row_scope = principal.row_scope
    if row_scope is not None and not row_scope.is_by_portfolio_alone:
        return []  # it shows no portfolio
    filters = (
        Filter("project_id", Operator.EQ, (project_id,)),
        Filter("is_active", Operator.EQ, (True,)),
    )
    query = Query(kind=HOLDING_KIND, filters=filters, limit=MAX_PROJECT_HOLDINGS)
    page: Page[StoredAggregate[Holding]] = await dependencies.reads.page(query)
    portfolios: dict[str, Portfolio] = {}
    for aggregate in page.items:
        key = aggregate.state.portfolio_id
        if key not in portfolios:
            portfolios[key] = (await dependencies.reads.get(PORTFOLIO_KIND, key)).state
    return [ProjectHolding(one.state, portfolios[one.state.portfolio_id]) for one in page.items]
