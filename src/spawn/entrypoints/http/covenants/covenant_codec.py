"""Responses to commands of this noun, rendered the first time and again for a repeated request."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from spawn.application.covenants.state_saving import SavedState, page_of_project
from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import CommandContext
from spawn.domain.change import IdempotencyReceipt, ResponseRecipe, StoredAggregate
from spawn.domain.covenants.cfads_actuals import ACTUALS_KIND
from spawn.domain.covenants.cfads_case import CASE_KIND
from spawn.domain.covenants.covenant_record import COVENANT_TEST_KIND
from spawn.domain.covenants.covenant_set import COVENANT_KIND
from spawn.domain.covenants.project_reserve import RESERVE_KIND
from spawn.entrypoints.http.covenants.case_wire import CaseView, RecordedActualsView
from spawn.entrypoints.http.covenants.covenant_wire import CovenantView, RecordedTestView
from spawn.entrypoints.http.covenants.reserve_wire import ReserveAccountView
from spawn.entrypoints.http.projects.preconditions import read_expected_version
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.etags import version_etag
from spawn.entrypoints.http.protocol.idempotency import (
    read_idempotency_key,
    render_stored_response,
    run_once,
)
from spawn.entrypoints.http.protocol.query_params import read_after, read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest, read_document
from spawn.entrypoints.http.protocol.response import Response, encode_json
from spawn.entrypoints.http.protocol.route import Result, page_result

COVENANT_CODEC: Final = "covenants.v1"
"""Name of the codec in receipts; another way to render a kind needs another name."""

CASES: Final = "/v1/ops/cases"
COVENANTS: Final = "/v1/ops/covenants"
COVENANT_TESTS: Final = "/v1/ops/covenant-tests"
RESERVES: Final = "/v1/ops/reserve-accounts"
_CREATED: Final = 201

View = Callable[[StoredAggregate[Any]], object]
_VIEWS: Final[Mapping[str, View]] = {
    CASE_KIND: CaseView.of_case,
    ACTUALS_KIND: RecordedActualsView.of_actuals,
    COVENANT_KIND: CovenantView.of_covenant,
    COVENANT_TEST_KIND: RecordedTestView.of_test,
    RESERVE_KIND: ReserveAccountView.of_account,
}
_PATHS: Final[Mapping[str, str]] = {
    CASE_KIND: CASES,
    COVENANT_KIND: COVENANTS,
    COVENANT_TEST_KIND: COVENANT_TESTS,
    RESERVE_KIND: RESERVES,
}
"""Path of the aggregates of a kind, by which a new one is located."""

Command = Callable[[CommandContext], Awaitable[SavedState]]


def render_state(aggregate: StoredAggregate[Any], epoch: int, status: int = 200) -> Response:
    """Return the response that shows an aggregate, with its location if it is new."""
    headers = [(b"etag", version_etag(aggregate.version, epoch, 0).encode())]
    if status == _CREATED and aggregate.kind in _PATHS:
        location = f"{_PATHS[aggregate.kind]}/{aggregate.id}"
        headers.append((b"location", location.encode()))
    return Response(status, encode_json(_VIEWS[aggregate.kind](aggregate)), headers=headers)


async def render_covenant_recipe(dependencies: Dependencies, recipe: ResponseRecipe) -> Response:
    """Render the response to a command again, from the version that it showed."""
    subject = recipe.subject
    if subject is None:
        raise RuntimeError("the receipt of a command must refer to what it wrote")
    aggregate = await dependencies.reads.get(subject.kind, subject.id, version=subject.version)
    return render_state(aggregate, recipe.epoch, recipe.status)


async def run_command(
    request: StrictRequest,
    read_command: Callable[[bytes], Command],
    *,
    status: int = 200,
    precondition: tuple[str, str] | None = None,
    **path_parameters: str,
) -> Response:
    """Run a command once for its idempotency key, and respond with the aggregate.

    Args:
        request: the request.
        read_command: reads the body and returns the command for a context.
        status: of the response.
        precondition: kind and id of the aggregate whose version If-Match names; None without one.
        path_parameters: the parameters of the path, for the scope of the key.
    """
    body = await request.read_body()
    path = request.operation.path.format(**path_parameters)
    key = read_idempotency_key(request, path, body)

    async def carry_out() -> Response:
        command = await read_document(read_command, body)
        version = None
        if precondition is not None:
            version = await read_expected_version(request, *precondition)
        epoch = (await request.dependencies.reads.position()).epoch
        receipt = None
        if key is not None:
            recipe = ResponseRecipe(codec=COVENANT_CODEC, status=status, epoch=epoch)
            receipt = IdempotencyReceipt(key, recipe)
        traceparent = request.context.traceparent
        saved = await command(
            CommandContext(expected_version=version, receipt=receipt, traceparent=traceparent)
        )
        if saved.replayed_response is not None:
            return await render_stored_response(request, saved.replayed_response)
        if saved.aggregate is None:
            raise RuntimeError("a command that was not replayed must return an aggregate")
        return render_state(saved.aggregate, epoch, status)

    return await run_once(request, key, carry_out)


async def read_project_page(request: StrictRequest, project_id: str, kind: str) -> Result:
    """Return a page of the aggregates of a kind in a project, oldest first."""
    binding = cursor_binding(kind, project_id)
    page = await page_of_project(
        request.dependencies,
        request.principal,
        kind,
        project_id,
        read_limit(request.query.get("limit")),
        read_after(request.query, binding),
    )
    return page_result(request, map(_VIEWS[kind], page.items), page.next, binding)
