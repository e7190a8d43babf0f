"""Routes of monitoring: live, ready, health, metrics."""

from typing import Any, Final

from litestar import get

from spawn import __version__
from spawn.entrypoints.http.health import HealthStatus
from spawn.entrypoints.http.metrics.service_metrics import MEDIA_TYPE
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    SuccessResponse,
    operation_options,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, json_response

_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_LIVE_RESPONSE: Final = json_response({"status": "ok"}, headers=(_NO_STORE,))
_FAILED_RESPONSE: Final = json_response(
    {"status": "unavailable"}, status=503, headers=(_NO_STORE, (b"retry-after", b"5"))
)


def _health_operation(
    operation_id: str, summary: str, description: str, schema: str = "Health"
) -> HandlerOperation:
    responses = {200: SuccessResponse(description="The service can serve requests.", schema=schema)}
    responses[503] = SuccessResponse(
        description="The service cannot serve requests.", schema=schema
    )
    return HandlerOperation(
        id=operation_id,
        tag="monitoring",
        summary=summary,
        description=description,
        responses=responses,
    )


@get(
    "/monitoring/live",
    opt=operation_options(
        _health_operation(
            "getLiveness",
            "Get the liveness",
            "200 while the process responds, 503 once its store has failed for good: restart it.",
            "Liveness",
        )
    ),
)
async def get_liveness(request: StrictRequest) -> Response:
    """Return whether the process can do without a restart."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    return _FAILED_RESPONSE if request.http_state.health.failure_reason else _LIVE_RESPONSE


@get(
    "/monitoring/ready",
    opt=operation_options(
        _health_operation(
            "getReadiness",
            "Get the readiness",
            "200 also when degraded, 503 when the service is unavailable.",
        )
    ),
)
async def get_readiness(request: StrictRequest) -> Response:
    """Return whether the service can serve requests."""
    return await _health_response(request)


@get(
    "/monitoring/health",
    opt=operation_options(
        _health_operation(
            "getHealth",
            "Get the health",
            "Check the write path, disk, feed, projection, schema, circuit breaker and quality.",
        )
    ),
)
async def get_health(request: StrictRequest) -> Response:
    """Return every check with its detail."""
    return await _health_response(request)


async def _health_response(request: StrictRequest) -> Response:
    request.query_parameters()
    request.negotiate_media_type("application/json")
    health_status, checks = await request.http_state.health.report()
    body: dict[str, Any] = {"status": health_status, "version": __version__, "checks": checks}
    status = 503 if health_status is HealthStatus.UNAVAILABLE else 200
    headers: list[Header] = [_NO_STORE]
    if status == 503:  # noqa: PLR2004 - the status of the line above
        headers.append((b"retry-after", b"1"))
    return json_response(body, status=status, headers=headers)


METRICS: Final = HandlerOperation(
    id="getMetrics",
    tag="monitoring",
    summary="Get the metrics",
    responses={
        200: SuccessResponse(
            description="Metrics in the Prometheus text format.",
            schema={"type": "string"},
            media_types=("text/plain",),
        )
    },
)


@get("/monitoring/metrics", opt=operation_options(METRICS))
async def get_metrics(request: StrictRequest) -> Response:
    """Return the metrics for Prometheus."""
    request.query_parameters()
    request.negotiate_media_type("text/plain", "application/openmetrics-text")
    text = await request.http_state.metrics.render()
    return Response(200, text, media_type=MEDIA_TYPE, headers=(_NO_STORE,))


ROUTES: Final = [get_liveness, get_readiness, get_health, get_metrics]
