"""Routes for those who watch: live, ready, health, metrics."""

from typing import Any, Final

from litestar import get

from spawn import __version__
from spawn.entrypoints.http.metrics.service_metrics import MEDIA_TYPE
from spawn.entrypoints.http.monitoring.health import Grade
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, json_reply

_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_LIVE: Final = json_reply({"status": "ok"}, headers=(_NO_STORE,))


def _operation(name: str, summary: str, description: str, schema: str = "Health") -> Operation:
    answers = {200: Success(description="So it is.", schema=schema)}
    if schema == "Health":
        answers[503] = Success(description="Not able to serve.", schema=schema)
    return Operation(
        id=name, tag="monitoring", summary=summary, description=description, answers=answers
    )


@get(
    "/monitoring/live",
    opt=described(
        _operation("getLiveness", "Is the process alive", "Touches nothing else.", "Liveness")
    ),
)
async def live(request: StrictRequest) -> Reply:
    """The process answers."""
    request.query()
    request.accepts("application/json")
    return _LIVE


@get(
    "/monitoring/ready",
    opt=described(
        _operation("getReadiness", "Can it serve", "200 also when degraded, 503 when it cannot.")
    ),
)
async def ready(request: StrictRequest) -> Reply:
    """Requests can be served."""
    return await _report(request)


@get(
    "/monitoring/health",
    opt=described(
        _operation(
            "getHealth",
            "How does it do",
            "Tests the write path, disk, feed, projection, schema source and breaker.",
        )
    ),
)
async def health(request: StrictRequest) -> Reply:
    """Every check with its detail."""
    return await _report(request)


async def _report(request: StrictRequest) -> Reply:
    request.query()
    request.accepts("application/json")
    grade, checks = await request.surface.health.report()
    body: dict[str, Any] = {"status": grade, "version": __version__, "checks": checks}
    status = 503 if grade is Grade.UNAVAILABLE else 200
    headers: list[Header] = [_NO_STORE]
    if status == 503:  # noqa: PLR2004 - the status of the line above
        headers.append((b"retry-after", b"1"))
    return json_reply(body, status=status, headers=headers)


METRICS: Final = Operation(
    id="getMetrics",
    tag="monitoring",
    summary="Metrics in the Prometheus text format",
    answers={
        200: Success(
            description="Metrics.",
            schema={"type": "string"},
            media_types=("text/plain",),
        )
    },
)


@get("/monitoring/metrics", opt=described(METRICS))
async def metrics(request: StrictRequest) -> Reply:
    """What Prometheus scrapes."""
    request.query()
    request.accepts("text/plain", "application/openmetrics-text")
    text = await request.surface.metrics.render()
    return Reply(200, text, media_type=MEDIA_TYPE, headers=(_NO_STORE,))


ROUTES: Final = [live, ready, health, metrics]
