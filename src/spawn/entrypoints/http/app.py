"""The application: routes of every group, Litestar to dispatch them, the wrapper around both."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from litestar import Litestar
from litestar.datastructures.state import State

from spawn.application.analysis.calculation import Workbench
from spawn.application.dependencies import Services
from spawn.application.jobs import JobRunner
from spawn.application.quality.monitor import Inspector
from spawn.entrypoints.http import admin, datasets, quality
from spawn.entrypoints.http.analysis import routes as analysis
from spawn.entrypoints.http.analysis import simulation_routes
from spawn.entrypoints.http.events import dead_letter_routes
from spawn.entrypoints.http.events import routes as event_routes
from spawn.entrypoints.http.html import docs_pages
from spawn.entrypoints.http.imports import routes as import_routes
from spawn.entrypoints.http.lineage import routes as lineage_routes
from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog
from spawn.entrypoints.http.middleware.edge import Rules, Wrapper
from spawn.entrypoints.http.monitoring import routes as monitoring_routes
from spawn.entrypoints.http.product import routes as product
from spawn.entrypoints.http.projects import list_route
from spawn.entrypoints.http.projects import routes as project_routes
from spawn.entrypoints.http.projects.cached_reads import answer_at_hand
from spawn.entrypoints.http.protocol.problems import on_exception
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route_table import RouteTable
from spawn.entrypoints.http.schemas import candidate_routes
from spawn.entrypoints.http.schemas import routes as schema_routes
from spawn.entrypoints.http.state import Surface

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


def create_app(
    services: Services,
    surface: Surface,
    jobs: JobRunner,
    workbench: Workbench,
    inspector: Inspector,
    *,
    rules: Rules,
    metrics: RequestMetrics,
    log: AccessLog,
) -> Wrapper:
    """The ASGI application over some services."""
    limits = surface.limits
    state = State({"jobs": jobs, "workbench": workbench, "inspector": inspector})
    app = Litestar(
        list(HANDLERS),
        state=state,
        request_class=StrictRequest.of(services, surface),
        request_max_body_size=limits.body_bytes,
        exception_handlers={Exception: on_exception},  # type: ignore[dict-item]  # a Reply is one
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    routes = RouteTable.of(app)
    app.state.allowed = routes.allowed
    wrapper = Wrapper(
        app,
        routes=routes,
        rules=rules,
        limits=limits,
        metrics=metrics,
        log=log,
        at_hand=partial(answer_at_hand, services, surface),
        tracing=surface.tracing,
    )
    metrics.in_flight = lambda: wrapper.in_flight
    return wrapper
