"""Responses to commands of portfolios and holdings, rendered now and for a repeated request."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.portfolios.portfolio_commands import FinanceResult
from spawn.domain.change import ResponseRecipe, StoredAggregate
from spawn.domain.portfolios.holding import HOLDING_KIND
from spawn.domain.portfolios.portfolio import PORTFOLIO_KIND
from spawn.entrypoints.http.facilities.facility_responses import CommandAttempt
from spawn.entrypoints.http.portfolios.wire import HoldingView, PortfolioView
from spawn.entrypoints.http.projects.preconditions import read_expected_version
from spawn.entrypoints.http.protocol.etags import version_etag
from spawn.entrypoints.http.protocol.idempotency import render_stored_response
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response, encode_json

PORTFOLIOS: Final = "/v1/ops/portfolios"
PORTFOLIO_CODEC: Final = "portfolio.v1"
"""Name of the codec of portfolios and holdings in receipts."""

_CREATED: Final = 201
Command = Callable[[FinanceContext], Awaitable[FinanceResult[Any]]]


def render_aggregate(aggregate: StoredAggregate[Any], epoch: int, status: int = 200) -> Response:
    """Return the response that shows a portfolio or a holding, with its location if it is new."""
    headers = [(b"etag", version_etag(aggregate.version, epoch, 0).encode())]
    if aggregate.kind == PORTFOLIO_KIND:
        view: Any = PortfolioView.of_aggregate(aggregate)
        path = f"{PORTFOLIOS}/{aggregate.id}"
    else:
        view = HoldingView.of_aggregate(aggregate)
        path = f"{PORTFOLIOS}/{aggregate.state.portfolio_id}/holdings/{aggregate.id}"
    if status == _CREATED:
        headers.append((b"location", path.encode()))
    return Response(status, encode_json(view), headers=headers)


async def render_portfolio_recipe(dependencies: Dependencies, recipe: ResponseRecipe) -> Response:
    """Render the response to a command again, from the version that it showed."""
    subject = recipe.subject
    if subject is None or subject.kind not in {PORTFOLIO_KIND, HOLDING_KIND}:
        raise RuntimeError("the receipt must refer to a portfolio or a holding")
    aggregate = await dependencies.reads.get(subject.kind, subject.id, version=subject.version)
    return render_aggregate(aggregate, recipe.epoch, recipe.status)


async def carry_out(
    request: StrictRequest,
    body: bytes,
    path: str,
    command: Command,
    *,
    status: int = 200,
    expects: tuple[str, str] | None = None,
) -> Response:
    """Carry out a command once for an idempotency key, and render its response.

    Args:
        request: the request.
        body: its body.
        path: the canonical path.
        command: the command, which needs a context.
        status: of the response.
        expects: kind and id of the aggregate whose version `If-Match` names.
    """
    attempt = CommandAttempt(request, path, body, PORTFOLIO_CODEC)

    async def carry_out() -> Response:
        version = None if expects is None else await read_expected_version(request, *expects)
        epoch = (await request.dependencies.reads.position()).epoch
        result = await command(
            FinanceContext(
                expected_version=version,
                receipt=attempt.receipt(epoch, status),
                traceparent=request.context.traceparent,
            )
        )
        if result.replayed_response is not None:
            return await render_stored_response(request, result.replayed_response)
        if result.aggregate is None:
            raise RuntimeError("a command that was not replayed must return an aggregate")
        return render_aggregate(result.aggregate, epoch, status)

    return await attempt.run(carry_out)
