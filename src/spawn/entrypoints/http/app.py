"""The ASGI application: every route, Litestar as router, the edge middleware around it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from litestar import Litestar
from litestar.datastructures.state import State

from spawn.application.analysis.calculation import CalculationPool
from spawn.application.dependencies import Dependencies
from spawn.application.jobs import JobRunner
from spawn.application.quality.monitor import QualityMonitor
from spawn.entrypoints.http import admin, datasets, quality
from spawn.entrypoints.http import jobs as jobs_routes
from spawn.entrypoints.http.analysis import routes as analysis
from spawn.entrypoints.http.analysis import simulation_routes
from spawn.entrypoints.http.events import dead_letter_routes
from spawn.entrypoints.http.events import routes as event_routes
from spawn.entrypoints.http.html import docs_pages
from spawn.entrypoints.http.imports import routes as import_routes
from spawn.entrypoints.http.lineage import routes as lineage_routes
from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog
from spawn.entrypoints.http.middleware.edge import AccessRules, EdgeMiddleware
from spawn.entrypoints.http.monitoring import routes as monitoring_routes
from spawn.entrypoints.http.product import routes as product
from spawn.entrypoints.http.projects import list_route, response_codec
from spawn.entrypoints.http.projects import routes as project_routes
from spawn.entrypoints.http.projects.cached_reads import find_cached_response
from spawn.entrypoints.http.protocol.problems import handle_exception
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route_table import RouteTable
from spawn.entrypoints.http.schemas import candidate_routes
from spawn.entrypoints.http.schemas import routes as schema_routes
from spawn.entrypoints.http.state import HttpState, ResponseCodec

HANDLERS: Final[Sequence[Any]] = (
    *project_routes.ROUTES,
    *list_route.ROUTES,
    *import_routes.route_handlers,
    *datasets.ROUTES,
    *analysis.ROUTES,
    *simulation_routes.ROUTES,
    *event_routes.ROUTES,
    *dead_letter_routes.ROUTES,
    *schema_routes.ROUTES,
    *candidate_routes.ROUTES,
    *quality.ROUTES,
    *lineage_routes.ROUTES,
    *admin.ROUTES,
    *monitoring_routes.ROUTES,
    *docs_pages.ROUTES,
    *product.ROUTES,
)

RESPONSE_CODECS: Final[Mapping[str, ResponseCodec]] = {
    response_codec.CODEC: response_codec.render_recipe,
    jobs_routes.CODEC: jobs_routes.render_recipe,
}
"""Codecs of the responses that receipts store; a receipt of a day ago names one of them."""


def create_app(
    dependencies: Dependencies,
    http_state: HttpState,
    jobs: JobRunner,
    calculation_pool: CalculationPool,
    quality_monitor: QualityMonitor,
    *,
    rules: AccessRules,
    metrics: RequestMetrics,
    log: AccessLog,
) -> EdgeMiddleware:
    """Return the ASGI application over the dependencies and the shared state."""
    limits = http_state.limits
    http_state.response_codecs = RESPONSE_CODECS
    state = State(
        {"jobs": jobs, "calculation_pool": calculation_pool, "quality_monitor": quality_monitor}
    )
    app = Litestar(
        list(HANDLERS),
        state=state,
        request_class=StrictRequest.of(dependencies, http_state),
        request_max_body_size=limits.body_bytes,
        exception_handlers={Exception: handle_exception},  # type: ignore[dict-item]  # Response is an ASGIResponse
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    routes = RouteTable.of(app)
    app.state.allowed_methods = routes.allowed_methods
    middleware = EdgeMiddleware(
        app,
        routes=routes,
        rules=rules,
        limits=limits,
        metrics=metrics,
        log=log,
        cached_responder=partial(find_cached_response, dependencies, http_state),
        tracer=http_state.tracer,
    )
    metrics.in_flight = lambda: middleware.in_flight
    return middleware
