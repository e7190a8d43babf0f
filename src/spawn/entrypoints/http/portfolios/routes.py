"""HTTP routes of portfolios and their holdings."""

from typing import Final

from spawn.application.portfolios.holding_commands import (
    add_holding,
    amend_holding,
    remove_holding,
)
from spawn.application.portfolios.portfolio_commands import amend_portfolio, create_portfolio
from spawn.application.portfolios.portfolio_queries import (
    get_holding,
    get_portfolio,
    list_holdings,
    list_portfolios,
)
from spawn.domain.portfolios.holding import HOLDING_KIND
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.domain.principal import Scope
from spawn.domain.query import Query
from spawn.entrypoints.http.portfolios.fx_routes import READERS, TAG
from spawn.entrypoints.http.portfolios.portfolio_responses import (
    PORTFOLIOS,
    carry_out,
    render_aggregate,
)
from spawn.entrypoints.http.portfolios.wire import (
    HoldingPatchView,
    HoldingRequestView,
    HoldingView,
    PortfolioPatchView,
    PortfolioRequestView,
    PortfolioView,
    read_holding,
    read_holding_patch,
    read_portfolio_terms,
)
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    JSON,
    Approvable,
    Body,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    KNOWN_AS_OF,
    LIMIT,
    read_after,
    read_limit,
    read_moment,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import PageView

PORTFOLIO: Final = PORTFOLIOS + "/{portfolio_id}"
HOLDINGS: Final = PORTFOLIO + "/holdings"
HOLDING: Final = HOLDINGS + "/{holding_id}"
_PATCH_TYPES: Final = ("application/merge-patch+json", JSON)
_WRITERS: Final = (Scope.FINANCE_WRITE,)
_COMMAND_PROBLEMS: Final = (
    *BODY_PROBLEMS,
    *("conflict", "overloaded", "storage_full", "idempotency_key_reused"),
)
_CHANGE_PROBLEMS: Final = (
    *_COMMAND_PROBLEMS,
    *("not_found", "stale_version", "precondition_required"),
)


@route(
    "POST",
    PORTFOLIOS,
    "createPortfolio",
    scopes=_WRITERS,
    tag=TAG,
    summary="Create a portfolio",
    description=(
        "A portfolio is reported in its currency, by the exchange rates of its source. A limit is "
        "an amount or a share in per cent, of one group or of every group of a key; a breach is "
        "reported with the exposure and never prevents a holding."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(
        PortfolioRequestView,
        example={
            "name": "Infrastructure debt",
            "currency_code": "EUR",
            "fx_source": "ecb",
            "limits": [
                {"by": "country", "value": "ESP", "max_amount": "250000000.00"},
                {"by": "name", "max_share": "10"},
            ],
        },
    ),
    returns=Success(PortfolioView, "Created.", status=201, headers=("Location", "ETag")),
    problems=_COMMAND_PROBLEMS,
    approval=Approvable(),
)
async def post_portfolio(request: StrictRequest) -> Response:
    """Create a portfolio under a new id."""
    body = await request.read_body()
    terms = read_portfolio_terms(body)
    return await carry_out(
        request,
        body,
        PORTFOLIOS,
        lambda context: create_portfolio(request.dependencies, request.principal, terms, context),
        status=201,
    )


@route(
    "GET",
    PORTFOLIOS,
    "listPortfolios",
    scopes=READERS,
    serves_row_scopes=True,
    tag=TAG,
    summary="List portfolios",
    parameters=(KNOWN_AS_OF, LIMIT, AFTER),
    returns=Success(PageView[PortfolioView], "One page, in order of creation.", headers=("Link",)),
    problems=("cursor_invalid",),
)
async def read_portfolio_page(request: StrictRequest) -> Result:
    """List portfolios."""
    query, binding = _read_list_query(request, PORTFOLIOS)
    page = await list_portfolios(request.dependencies, request.principal, query)
    return page_result(request, map(PortfolioView.of_aggregate, page.items), page.next, binding)


@route(
    "GET",
    PORTFOLIO,
    "getPortfolio",
    scopes=READERS,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a portfolio",
    parameters=(KNOWN_AS_OF,),
    returns=Success(PortfolioView, "The portfolio.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_portfolio(request: StrictRequest, portfolio_id: str) -> Response:
    """Return a portfolio, now or as recorded at an instant."""
    as_of = read_moment(request.query, "as_of")
    aggregate = await get_portfolio(
        request.dependencies, request.principal, portfolio_id, as_of=as_of
    )
    return render_aggregate(aggregate, (await request.dependencies.reads.position()).epoch)


@route(
    "PATCH",
    PORTFOLIO,
    "amendPortfolio",
    scopes=_WRITERS,
    tag=TAG,
    summary="Amend a portfolio",
    description="Replaces the terms in the body, `limits` as a whole; null removes `fx_source`.",
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(PortfolioPatchView, media_types=_PATCH_TYPES, example={"max_fx_age_days": 3}),
    returns=Success(PortfolioView, "Amended.", headers=("ETag",)),
    problems=_CHANGE_PROBLEMS,
    approval=Approvable(),
)
async def patch_portfolio(request: StrictRequest, portfolio_id: str) -> Response:
    """Amend the terms and limits of a portfolio."""
    body = await request.read_body()
    terms = read_portfolio_terms(body, partial=True)
    return await carry_out(
        request,
        body,
        PORTFOLIO.format(portfolio_id=portfolio_id),
        lambda context: amend_portfolio(
            request.dependencies, request.principal, portfolio_id, terms, context
        ),
        expects=(PORTFOLIO_KIND, portfolio_id),
    )


@route(
    "POST",
    HOLDINGS,
    "addHolding",
    scopes=_WRITERS,
    tag=TAG,
    summary="Add a holding to a portfolio",
    description=(
        "A share of a facility (`facility_id`), or of the equity of a project (`project_id`). Over "
        "all portfolios at most 100 % of an exposure can be held on any day: more is a conflict "
        "that names the day."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(
        HoldingRequestView,
        example={
            "facility_id": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
            "share": "33.5",
            "since": "2026-03-31",
        },
    ),
    returns=Success(HoldingView, "Added.", status=201, headers=("Location", "ETag")),
    problems=(*_COMMAND_PROBLEMS, "not_found"),
    approval=Approvable(),
)
async def post_holding(request: StrictRequest, portfolio_id: str) -> Response:
    """Add a holding to a portfolio."""
    body = await request.read_body()
    holding_input = read_holding(body)
    return await carry_out(
        request,
        body,
        HOLDINGS.format(portfolio_id=portfolio_id),
        lambda context: add_holding(
            request.dependencies, request.principal, portfolio_id, holding_input, context
        ),
        status=201,
    )


@route(
    "GET",
    HOLDINGS,
    "listHoldings",
    scopes=READERS,
    serves_row_scopes=True,
    tag=TAG,
    summary="List the holdings of a portfolio",
    parameters=(KNOWN_AS_OF, LIMIT, AFTER),
    returns=Success(PageView[HoldingView], "One page, in order of creation.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
)
async def read_holding_page(request: StrictRequest, portfolio_id: str) -> Result:
    """List the holdings of a portfolio."""
    query, binding = _read_list_query(request, HOLDINGS.format(portfolio_id=portfolio_id))
    page = await list_holdings(request.dependencies, request.principal, portfolio_id, query)
    return page_result(request, map(HoldingView.of_aggregate, page.items), page.next, binding)


@route(
    "GET",
    HOLDING,
    "getHolding",
    scopes=READERS,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a holding",
    parameters=(KNOWN_AS_OF,),
    returns=Success(HoldingView, "The holding.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_one_holding(request: StrictRequest, portfolio_id: str, holding_id: str) -> Response:
    """Return a holding of a portfolio, now or as recorded at an instant."""
    as_of = read_moment(request.query, "as_of")
    aggregate = await get_holding(
        request.dependencies, request.principal, portfolio_id, holding_id, as_of=as_of
    )
    return render_aggregate(aggregate, (await request.dependencies.reads.position()).epoch)


@route(
    "PATCH",
    HOLDING,
    "amendHolding",
    scopes=_WRITERS,
    tag=TAG,
    summary="Amend a holding",
    description="Replaces its share or its days; a sale sets `until`, null removes it.",
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    body=Body(HoldingPatchView, media_types=_PATCH_TYPES, example={"until": "2027-06-30"}),
    returns=Success(HoldingView, "Amended.", headers=("ETag",)),
    problems=_CHANGE_PROBLEMS,
    approval=Approvable(),
)
async def patch_holding(request: StrictRequest, portfolio_id: str, holding_id: str) -> Response:
    """Amend the share or the days of a holding."""
    body = await request.read_body()
    terms = read_holding_patch(body)
    return await carry_out(
        request,
        body,
        HOLDING.format(portfolio_id=portfolio_id, holding_id=holding_id),
        lambda context: amend_holding(
            request.dependencies, request.principal, portfolio_id, holding_id, terms, context
        ),
        expects=(HOLDING_KIND, holding_id),
    )


@route(
    "DELETE",
    HOLDING,
    "removeHolding",
    scopes=_WRITERS,
    tag=TAG,
    summary="Remove a holding that was recorded in error",
    description="The history keeps it. A holding that was sold has an end (`until`) instead.",
    parameters=(IF_MATCH, IDEMPOTENCY_KEY),
    returns=Success(HoldingView, "Removed.", headers=("ETag",)),
    problems=(
        *("not_found", "conflict", "stale_version", "precondition_required", "overloaded"),
        *("storage_full", "idempotency_key_reused"),
    ),
    approval=Approvable(),
)
async def delete_holding(request: StrictRequest, portfolio_id: str, holding_id: str) -> Response:
    """Remove a holding that was recorded in error."""
    return await carry_out(
        request,
        b"",
        HOLDING.format(portfolio_id=portfolio_id, holding_id=holding_id),
        lambda context: remove_holding(
            request.dependencies, request.principal, portfolio_id, holding_id, context
        ),
        expects=(HOLDING_KIND, holding_id),
    )


def _read_list_query(request: StrictRequest, path: str) -> tuple[Query, bytes]:
    """Return the query of a list, and the binding of its cursors."""
    parameters = request.query
    binding = cursor_binding(path, parameters.get("as_of", ""))
    query = Query(
        limit=read_limit(parameters.get("limit")),
        as_of=read_moment(parameters, "as_of"),
        after=read_after(parameters, binding),
    )
    return query, binding


ROUTES: Final[list[Route]] = [
    post_portfolio,
    read_portfolio_page,
    read_portfolio,
    patch_portfolio,
    post_holding,
    read_holding_page,
    read_one_holding,
    patch_holding,
    delete_holding,
]
"""Routes of portfolios and their holdings."""
