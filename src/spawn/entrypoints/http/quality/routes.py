"""Routes of data quality: the latest run, earlier runs, and a run on demand."""

import re
from typing import Final

from spawn.application.quality.queries import get_latest_report, get_report, list_earlier_reports
from spawn.domain.errors import NotFound
from spawn.domain.principal import Scope
from spawn.domain.quality.report import REPORT_KIND
from spawn.entrypoints.http.protocol.cursors import cursor_binding, decode_cursor_key
from spawn.entrypoints.http.protocol.etags import content_etag
from spawn.entrypoints.http.protocol.operation import Cache, Success
from spawn.entrypoints.http.protocol.query_params import AFTER, LIMIT, read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response, encode_json
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.quality.wire import RUNS, QualityReportView, QualityRunView
from spawn.entrypoints.http.wire import PageView

PATH: Final = "/v1/governance/quality"
_BINDING: Final = cursor_binding(REPORT_KIND)
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)


@route(
    "GET",
    PATH,
    "getQuality",
    scopes=(Scope.PROJECTS_READ,),
    tag="governance",
    summary="Get the latest quality run",
    description="Every declared rule with its measured value, over all projects.",
    returns=Success(QualityReportView, "The latest run."),
    problems=("not_found",),
    cache=Cache.REVALIDATE,
)
async def get_latest_run(request: StrictRequest) -> QualityReportView:
    """Return the latest run."""
    aggregate = await get_latest_report(request.dependencies, request.principal)
    if aggregate is None:
        raise NotFound("The quality has not been measured yet; start a run.")
    return QualityReportView.of_run(aggregate)


@route(
    "GET",
    RUNS,
    "listQualityRuns",
    scopes=(Scope.PROJECTS_READ,),
    tag="governance",
    summary="List quality runs",
    parameters=(LIMIT, AFTER),
    returns=Success(PageView[QualityRunView], "Quality runs, newest first.", headers=("Link",)),
    problems=("cursor_invalid",),
)
async def list_runs(request: StrictRequest) -> Result:
    """Return a page of runs, newest first."""
    after = request.query.get("after")
    reports = await list_earlier_reports(
        request.dependencies,
        request.principal,
        before=None if after is None else decode_cursor_key(after, _BINDING, int),
        limit=read_limit(request.query.get("limit")),
    )
    oldest = reports[-1][0] if reports else 1
    items = [QualityRunView.of_report(run, report) for run, report in reports]
    return page_result(request, items, (oldest,) if oldest > 1 else None, _BINDING)


@route(
    "GET",
    RUNS + "/{number}",
    "getQualityRun",
    scopes=(Scope.PROJECTS_READ,),
    tag="governance",
    summary="Get a quality run",
    returns=Success(QualityReportView, "The run."),
    problems=("not_found",),
    cache=Cache.REVALIDATE,
)
async def get_run(request: StrictRequest, number: str) -> QualityReportView:
    """Return a run."""
    if _NUMBER.fullmatch(number) is None:
        raise NotFound("No quality run has this number.")
    return QualityReportView.of_run(
        await get_report(request.dependencies, request.principal, int(number))
    )


@route(
    "POST",
    RUNS,
    "measureQuality",
    scopes=(Scope.PROJECTS_WRITE,),
    tag="governance",
    summary="Measure the quality",
    description=(
        "Measure every declared rule of every kind over the current data and respond when this "
        "is done, after seconds for a million projects. Requests during a run share the next run."
    ),
    returns=Success(QualityReportView, "The run.", status=201, headers=("Location", "ETag")),
    problems=("conflict", "deadline_exceeded", "forbidden", "overloaded", "storage_full"),
)
async def start_run(request: StrictRequest) -> Response:
    """Measure the quality of the current data."""
    aggregate = await request.http_state.quality_monitor.measure(request.principal)
    body = encode_json(QualityReportView.of_run(aggregate))
    location = (b"location", f"{RUNS}/{aggregate.version}".encode())
    return Response(201, body, headers=(location, (b"etag", content_etag(body).encode())))


ROUTES: Final[list[Route]] = [get_latest_run, list_runs, get_run, start_run]
