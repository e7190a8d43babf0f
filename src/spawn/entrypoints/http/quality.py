"""Routes of data quality: the latest run, earlier runs, and a run on demand."""

import re
from typing import Any, Final

import msgspec
from litestar import get, post

from spawn.application.quality.monitor import QualityMonitor
from spawn.application.quality.queries import (
    get_latest_report,
    get_report,
    list_earlier_reports,
)
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import CursorInvalid, NotFound
from spawn.domain.projects.codec import to_json_number
from spawn.domain.quality.report import REPORT_KIND, QualityReport, RuleResult, filter_failed
from spawn.domain.quality.rules import Dimension, MeasureUnit, Severity
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    SuccessResponse,
    operation_options,
)
from spawn.entrypoints.http.protocol.cursors import decode_cursor, encode_cursor
from spawn.entrypoints.http.protocol.etags import content_etag, fields_digest, is_not_modified
from spawn.entrypoints.http.protocol.query_params import read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json, json_response

PATH: Final = "/v1/governance/quality"
RUNS: Final = PATH + "/runs"
_BINDING: Final = bytes.fromhex(fields_digest((REPORT_KIND,)))
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)

Json = dict[str, Any]


def _object_schema(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _enum_schema(enum: type[Dimension | Severity | MeasureUnit]) -> Json:
    return {"type": "string", "enum": [member.value for member in enum]}


_TEXT: Final[Json] = {"type": "string"}
_TEXTS: Final[Json] = {"type": "array", "items": _TEXT}
_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL: Final[Json] = {"type": ["string", "null"], "format": "date-time"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL: Final[Json] = {"type": ["integer", "null"], "minimum": 0}
_NUMBER_OR_NULL: Final[Json] = {"type": ["number", "null"]}

_SUMMARY: Final[dict[str, Json]] = {
    "run": {"type": "integer", "minimum": 1},
    "dataset": _TEXT,
    "schema_id": _TEXT,
    "schema_version": _COUNT,
    "position": {"type": "string", "description": "The measured feed position."},
    "projects": _COUNT,
    "measured_at": _INSTANT,
    "changed_at": _INSTANT_OR_NULL,
    "imported_at": _INSTANT_OR_NULL,
    "rules": _COUNT,
    "broken": {**_TEXTS, "description": "Rules whose service level is missed."},
    "url": _TEXT,
}
_RESULT: Final = _object_schema(
    rule_id=_TEXT,
    dimension=_enum_schema(Dimension),
    columns=_TEXTS,
    description=_TEXT,
    unit={
        **_enum_schema(MeasureUnit),
        "description": "`share` of the checked values, or seconds of age.",
    },
    threshold={**_NUMBER_OR_NULL, "description": "The service level; null if there is none."},
    severity=_enum_schema(Severity),
    value=_NUMBER_OR_NULL,
    passed={"type": ["boolean", "null"]},
    met=_COUNT_OR_NULL,
    checked=_COUNT_OR_NULL,
    samples={**_TEXTS, "description": "Up to a few projects that violate the rule."},
    measured_at=_INSTANT,
    position=_TEXT,
)
_REPORT: Final = _object_schema(**_SUMMARY, results={"type": "array", "items": _RESULT})
_RUNS_PAGE: Final = _object_schema(
    items={"type": "array", "items": _object_schema(**_SUMMARY)},
    next={"type": ["string", "null"], "description": "Cursor of the next page."},
)


def _run_responses(description: str) -> dict[int, SuccessResponse]:
    return {
        200: SuccessResponse(description=description, schema=_REPORT, headers=("ETag",)),
        304: SuccessResponse(description="Not modified since that ETag.", headers=("ETag",)),
    }


LATEST: Final = HandlerOperation(
    id="getQuality",
    tag="governance",
    summary="Get the latest quality run",
    description="Every declared rule with its measured value, over all projects.",
    parameters=("IfNoneMatch",),
    responses=_run_responses("The latest run."),
    problems=("not_found",),
)
LIST: Final = HandlerOperation(
    id="listQualityRuns",
    tag="governance",
    summary="List quality runs",
    parameters=("Limit", "After"),
    responses={
        200: SuccessResponse(
            description="Quality runs, newest first.", schema=_RUNS_PAGE, headers=("Link",)
        )
    },
    problems=("cursor_invalid",),
)
READ: Final = HandlerOperation(
    id="getQualityRun",
    tag="governance",
    summary="Get a quality run",
    parameters=("IfNoneMatch",),
    responses=_run_responses("The run."),
    problems=("not_found",),
)
MEASURE: Final = HandlerOperation(
    id="measureQuality",
    tag="governance",
    summary="Measure the quality",
    description=(
        "Measure every declared rule over the current data and respond when this is done, after "
        "seconds for a million projects. Requests during a run share the next run."
    ),
    responses={
        201: SuccessResponse(description="The run.", schema=_REPORT, headers=("Location", "ETag"))
    },
    problems=("conflict", "deadline_exceeded", "forbidden", "overloaded", "storage_full"),
)


def render_report_summary(run: int, report: QualityReport) -> Json:
    """Return the wire fields of a run without its results."""
    return {
        "run": run,
        "dataset": report.dataset,
        "schema_id": report.schema_id,
        "schema_version": report.schema_version,
        "position": report.position,
        "projects": report.projects,
        "measured_at": report.measured_at,
        "changed_at": report.changed_at,
        "imported_at": report.imported_at,
        "rules": len(report.results),
        "broken": [result.rule.rule_id for result in filter_failed(report.results)],
        "url": f"{RUNS}/{run}",
    }


def result_fields(result: RuleResult) -> Json:
    """Return the wire fields of a result: its rule and the measured values."""
    threshold = result.rule.threshold
    return {
        **msgspec.structs.asdict(result.rule),
        "threshold": None if threshold is None else to_json_number(threshold),
        "value": result.value,
        "passed": result.passed,
        "met": result.met,
        "checked": result.checked,
        "samples": result.samples,
        "measured_at": result.measured_at,
        "position": result.position,
    }


def run_fields(run: int, report: QualityReport) -> Json:
    """Return the wire fields of a run with its results."""
    results = [result_fields(result) for result in report.results]
    return {**render_report_summary(run, report), "results": results}


@get(PATH, opt=operation_options(LATEST))
async def get_latest_run(request: StrictRequest) -> Response:
    """Return the latest run."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    aggregate = await get_latest_report(request.dependencies, request.principal)
    if aggregate is None:
        raise NotFound("The quality has not been measured yet; start a run.")
    return _run_response(request, aggregate)


@get(RUNS, opt=operation_options(LIST))
async def list_runs(request: StrictRequest) -> Response:
    """Return a page of runs, newest first."""
    request.negotiate_media_type("application/json")
    parameters = request.query_parameters("limit", "after")
    limit = read_limit(parameters.get("limit"))
    before = _read_run_number(parameters["after"]) if "after" in parameters else None
    reports = await list_earlier_reports(
        request.dependencies, request.principal, before=before, limit=limit
    )
    cursor = None
    if reports and reports[-1][0] > 1:
        cursor = encode_cursor((reports[-1][0],), _BINDING)
    headers: list[Header] = []
    if cursor is not None:
        headers.append((b"link", f'<{RUNS}?limit={limit}&after={cursor}>; rel="next"'.encode()))
    items = [render_report_summary(run, report) for run, report in reports]
    return json_response({"items": items, "next": cursor}, headers=headers)


@get(RUNS + "/{number:str}", opt=operation_options(READ))
async def get_run(request: StrictRequest) -> Response:
    """Return a run."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    text = str(request.scope["path_params"]["number"])
    if _NUMBER.fullmatch(text) is None:
        raise NotFound("No quality run has this number.")
    return _run_response(
        request, await get_report(request.dependencies, request.principal, int(text))
    )


@post(RUNS, status_code=201, opt=operation_options(MEASURE))
async def start_run(request: StrictRequest) -> Response:
    """Measure the quality of the current data."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    quality_monitor: QualityMonitor = request.http_state.quality_monitor
    with request.http_state.span("measure_quality"):
        aggregate = await quality_monitor.measure(request.principal)
    body = encode_json(run_fields(aggregate.version, aggregate.state))
    headers = (
        (b"location", f"{RUNS}/{aggregate.version}".encode()),
        (b"etag", content_etag(body).encode()),
    )
    return Response(201, body, headers=headers)


def _run_response(request: StrictRequest, aggregate: StoredAggregate[QualityReport]) -> Response:
    body = encode_json(run_fields(aggregate.version, aggregate.state))
    tag = content_etag(body)
    fields = ((b"etag", tag.encode()), (b"cache-control", b"no-cache"))
    if is_not_modified(request.header(b"if-none-match"), tag):
        return Response(304, headers=fields)
    return Response(200, body, headers=fields)


def _read_run_number(cursor: str) -> int:
    keys = decode_cursor(cursor, _BINDING)
    if len(keys) != 1 or not isinstance(keys[0], int):
        raise CursorInvalid("The cursor is not the next of a page of this query.")
    return keys[0]


ROUTES: Final = [get_latest_run, list_runs, get_run, start_run]
