"""The application: routes of every group, Litestar to dispatch them, the wrapper around both."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from litestar import Litestar
from litestar.datastructures.state import State

from spawn.application.analysis import Workbench
from spawn.application.inspection import Inspector
from spawn.application.jobs import JobRunner
from spawn.application.services import Services
from spawn.entrypoints.http import (
    admin,
    data,
    dead_letters,
    events,
    evolution,
    governance,
    imports,
    lineage,
    monitoring,
    pages,
    project_pages,
    projects,
    quality,
)
from spawn.entrypoints.http.access_log import AccessLog
from spawn.entrypoints.http.analysis import routes as analysis
from spawn.entrypoints.http.analysis import simulations
from spawn.entrypoints.http.at_hand import answer_at_hand
from spawn.entrypoints.http.problems import on_exception
from spawn.entrypoints.http.product import routes as product
from spawn.entrypoints.http.request import StrictRequest
from spawn.entrypoints.http.request_metrics import RequestMetrics
from spawn.entrypoints.http.routing import RouteTable
from spawn.entrypoints.http.surface import Surface
from spawn.entrypoints.http.wrapper import Rules, Wrapper

HANDLERS: Final[Sequence[Any]] = (
    *projects.ROUTES,
    *project_pages.ROUTES,
    *imports.route_handlers,
    *data.ROUTES,
    *analysis.ROUTES,
    *simulations.ROUTES,
    *events.ROUTES,
    *dead_letters.ROUTES,
    *governance.ROUTES,
    *evolution.ROUTES,
    *quality.ROUTES,
    *lineage.ROUTES,
    *admin.ROUTES,
    *monitoring.ROUTES,
    *pages.ROUTES,
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
