"""The ASGI application: every route, Litestar as router, the edge middleware around it."""

from collections.abc import Awaitable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, cast

from litestar import Litestar, Request
from litestar.plugins import PluginProtocol
from litestar.types import ASGIApp, Receive, Scope, Send

from spawn.entrypoints.http import admin, backup_routes, jobs, monitoring
from spawn.entrypoints.http.access import (
    audit_routes,
    client_routes,
    history_routes,
    metadata_routes,
)
from spawn.entrypoints.http.analysis import routes as analysis
from spawn.entrypoints.http.analysis import sensitivity_routes, simulation_routes
from spawn.entrypoints.http.approvals import command_gate
from spawn.entrypoints.http.approvals import routes as approval_routes
from spawn.entrypoints.http.approvals.command_gate import COMMANDS, list_facts, pass_gate
from spawn.entrypoints.http.covenants import (
    case_routes,
    certificate_routes,
    covenant_codec,
    covenant_routes,
    reserve_routes,
)
from spawn.entrypoints.http.datasets import routes as dataset_routes
from spawn.entrypoints.http.events import dead_letter_routes, publisher_routes
from spawn.entrypoints.http.events import routes as event_routes
from spawn.entrypoints.http.facilities import facility_responses, ledger_routes
from spawn.entrypoints.http.facilities import routes as facility_routes
from spawn.entrypoints.http.html import docs_pages
from spawn.entrypoints.http.html.problem_pages import ProblemPages
from spawn.entrypoints.http.imports import routes as import_routes
from spawn.entrypoints.http.lineage import routes as lineage_routes
from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog
from spawn.entrypoints.http.middleware.edge import AccessRules, EdgeMiddleware
from spawn.entrypoints.http.middleware.request_audit import RequestAudit
from spawn.entrypoints.http.middleware.request_spans import RequestTracer
from spawn.entrypoints.http.pages import approval_page, portfolio_page, project_page
from spawn.entrypoints.http.portfolios import (
    exposure_routes,
    forecast_routes,
    fx_routes,
    portfolio_responses,
    stress_routes,
)
from spawn.entrypoints.http.portfolios import routes as portfolio_routes
from spawn.entrypoints.http.product import routes as product_routes
from spawn.entrypoints.http.projects import list_route, milestone_routes, response_codec
from spawn.entrypoints.http.projects import routes as project_routes
from spawn.entrypoints.http.projects.cached_reads import CachedReads
from spawn.entrypoints.http.protocol.idempotency import RESPONSE_CODECS, ResponseCodec
from spawn.entrypoints.http.protocol.problems import handle_exception
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Route
from spawn.entrypoints.http.protocol.route_table import RouteTable
from spawn.entrypoints.http.quality import routes as quality_routes
from spawn.entrypoints.http.schemas import candidate_routes, consumer_routes, json_schema_route
from spawn.entrypoints.http.schemas import routes as schema_routes
from spawn.entrypoints.http.state import HTTP_STATE, HttpState

_RESOURCE_ROUTES: Final[Sequence[Route]] = (
    *project_routes.ROUTES,
    *approval_routes.ROUTES,
    *list_route.ROUTES,
    *milestone_routes.ROUTES,
    *facility_routes.ROUTES,
    *case_routes.ROUTES,
    *covenant_routes.ROUTES,
    *certificate_routes.ROUTES,
    *ledger_routes.ROUTES,
    *project_page.ROUTES,
    *portfolio_page.ROUTES,
    *approval_page.ROUTES,
    *reserve_routes.ROUTES,
    *import_routes.ROUTES,
    *jobs.ROUTES,
    *dataset_routes.ROUTES,
    *analysis.ROUTES,
    *sensitivity_routes.ROUTES,
    *simulation_routes.ROUTES,
    *event_routes.ROUTES,
    *dead_letter_routes.ROUTES,
    *publisher_routes.ROUTES,
    *schema_routes.ROUTES,
    *candidate_routes.ROUTES,
    *consumer_routes.ROUTES,
    *json_schema_route.ROUTES,
    *quality_routes.ROUTES,
    *lineage_routes.ROUTES,
    *portfolio_routes.ROUTES,
    *exposure_routes.ROUTES,
    *forecast_routes.ROUTES,
    *stress_routes.ROUTES,
    *fx_routes.ROUTES,
    *client_routes.ROUTES,
    *audit_routes.ROUTES,
    *history_routes.ROUTES,
    *metadata_routes.ROUTES,
    *admin.ROUTES,
    *backup_routes.ROUTES,
    *monitoring.ROUTES,
    *docs_pages.ROUTES,
)
OPENAPI_DOCUMENT: Final = product_routes.create_openapi_document(lambda: ROUTES)
ROUTES: Final[Sequence[Route]] = (
    *_RESOURCE_ROUTES,
    *product_routes.create_routes(OPENAPI_DOCUMENT),
)


COMMAND_FACTS: Final = list_facts(ROUTES)
"""The commands that may need an approval, by the id of their operation."""

_CODECS: Final[Mapping[str, ResponseCodec]] = {
    response_codec.CODEC: response_codec.render_recipe,
    jobs.CODEC: jobs.render_recipe,
    facility_responses.FACILITY_CODEC: facility_responses.render_facility_recipe,
    covenant_codec.COVENANT_CODEC: covenant_codec.render_covenant_recipe,
    command_gate.CODEC: command_gate.render_recipe,
    portfolio_responses.PORTFOLIO_CODEC: portfolio_responses.render_portfolio_recipe,
    facility_responses.ENTRY_CODEC: facility_responses.render_entry_recipe,
}
"""Codecs of the responses that receipts store; a receipt of a day ago names one of them."""


class _Router(Litestar):
    """Litestar without its plugins for pydantic and attrs, which no route uses.

    Where pydantic is installed, importing it for its plugin is an eighth of the start.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return plugins


class _Routing(NamedTuple):
    """The router of every route, and what is known of its paths; without state of a service."""

    router: ASGIApp
    table: RouteTable
    problem_pages: ProblemPages


@cache
def _build_routing() -> _Routing:
    """Return the routing, built once for all services of a process: it takes 80 ms."""
    table = RouteTable((one.operation.method, one.operation.path) for one in ROUTES)
    problem_pages = ProblemPages(one.operation for one in ROUTES)
    firsts = {one.operation.path: one for one in reversed(ROUTES)}
    handlers = [
        pass_gate(one).create_handler(takes_options=firsts[one.operation.path] is one)
        for one in ROUTES
    ]

    def handle_on_page(request: Request[Any, Any, Any], exception: Exception) -> Response:
        problem = handle_exception(table.allowed_methods, request, exception)
        return problem_pages.present(request.scope, problem)

    router = _Router(
        handlers,
        request_class=StrictRequest,
        exception_handlers={Exception: handle_on_page},  # type: ignore[dict-item]  # Response is an ASGIResponse
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return _Routing(router, table, problem_pages)


def create_app(
    http_state: HttpState, *, rules: AccessRules, metrics: RequestMetrics, log: AccessLog
) -> EdgeMiddleware:
    """Return the ASGI application over the shared state."""
    router, table, problem_pages = _build_routing()

    def route(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        cast("Any", scope)[HTTP_STATE] = http_state
        return router(scope, receive, send)

    http_state[COMMANDS].update(
        {one.operation.id: one for one in ROUTES if one.operation.approval is not None}
    )
    http_state[RESPONSE_CODECS].update(_CODECS)
    middleware = EdgeMiddleware(
        route,
        routes=table,
        rules=rules,
        limits=http_state.limits,
        traffic=http_state.traffic,
        metrics=metrics,
        log=log,
        cached_responder=CachedReads(http_state).find_response,
        problem_presenter=problem_pages.present,
        audit=RequestAudit(http_state.audit, (one.operation for one in ROUTES)),
        tracer=None if http_state.tracer is None else RequestTracer(http_state.tracer),
    )
    metrics.in_flight = lambda: middleware.in_flight
    return middleware
