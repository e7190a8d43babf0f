"""Routes of monitoring: live, ready, health, metrics."""

from typing import Final, Literal

from spawn import __version__
from spawn.application.health import MAX_STALL_S, HealthCheck, HealthStatus
from spawn.domain.principal import Scope
from spawn.entrypoints.http.metrics.service_metrics import MEDIA_TYPE
from spawn.entrypoints.http.protocol.operation import PUBLIC, Cache, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_STORE, Response, json_response
from spawn.entrypoints.http.protocol.route import Result, Route, route
from spawn.entrypoints.http.wire import WireStruct

_UNAVAILABLE: Final = 503


class LivenessView(WireStruct, frozen=True):
    """Whether the process can do without a restart."""

    status: Literal["ok", "unavailable"]


class HealthView(WireStruct, frozen=True):
    """The worst status of all checks, and every check by name."""

    status: HealthStatus
    version: str
    checks: dict[str, HealthCheck]


_LIVE_RESPONSE: Final = json_response(LivenessView("ok"), headers=(NO_STORE,))
_FAILED_RESPONSE: Final = json_response(
    LivenessView("unavailable"), status=_UNAVAILABLE, headers=(NO_STORE, (b"retry-after", b"5"))
)


def _serving(schema: type[WireStruct]) -> Success:
    return Success(schema, "The service can serve requests.")


def _not_serving(schema: type[WireStruct]) -> tuple[Success]:
    return (Success(schema, "The service cannot serve requests.", status=_UNAVAILABLE),)


@route(
    "GET",
    "/monitoring/live",
    "getLiveness",
    scopes=PUBLIC,
    tag="monitoring",
    summary="Get the liveness",
    description=(
        "200 while the process responds, 503 once its store has failed for good, or its writer has "
        f"not moved on for {MAX_STALL_S:g} s while work waits: restart it."
    ),
    returns=_serving(LivenessView),
    also=_not_serving(LivenessView),
)
async def get_liveness(request: StrictRequest) -> Response:
    """Return whether the process can do without a restart."""
    return _LIVE_RESPONSE if request.http_state.health.is_live() else _FAILED_RESPONSE


@route(
    "GET",
    "/monitoring/ready",
    "getReadiness",
    scopes=PUBLIC,
    tag="monitoring",
    summary="Get the readiness",
    description=(
        "200 also when degraded, 503 when the service is unavailable. The checks are listed for "
        "callers with the scope metrics:read."
    ),
    returns=_serving(HealthView),
    also=_not_serving(HealthView),
    cache=Cache.NO_STORE,
)
async def get_readiness(request: StrictRequest) -> Result:
    """Return whether the service can serve requests."""
    principal = request.principal
    has_details = Scope.METRICS_READ in principal.scopes and principal.row_scope is None
    return await _check_health(request, has_details=has_details)


@route(
    "GET",
    "/monitoring/health",
    "getHealth",
    scopes=(Scope.METRICS_READ,),
    tag="monitoring",
    summary="Get the health",
    description=(
        "Check the write path, disk, feed, projection, schema, circuit breaker and quality."
    ),
    returns=_serving(HealthView),
    also=_not_serving(HealthView),
    cache=Cache.NO_STORE,
)
async def get_health(request: StrictRequest) -> Result:
    """Return every check with its detail."""
    return await _check_health(request, has_details=True)


async def _check_health(request: StrictRequest, *, has_details: bool) -> Result:
    status, checks = await request.http_state.health.report()
    view = HealthView(status, __version__, checks if has_details else {})
    if status is HealthStatus.UNAVAILABLE:
        return Result(view, ((b"retry-after", b"1"),), status=_UNAVAILABLE)
    return Result(view)


@route(
    "GET",
    "/monitoring/metrics",
    "getMetrics",
    scopes=(Scope.METRICS_READ,),
    tag="monitoring",
    summary="Get the metrics",
    returns=Success(str, "Metrics in the Prometheus text format.", media_types=("text/plain",)),
    accept_types=("text/plain", "application/openmetrics-text"),
)
async def get_metrics(request: StrictRequest) -> Response:
    """Return the metrics for Prometheus."""
    text = await request.http_state.metrics.render()
    return Response(200, text, media_type=MEDIA_TYPE, headers=(NO_STORE,))


ROUTES: Final[list[Route]] = [get_liveness, get_readiness, get_health, get_metrics]
