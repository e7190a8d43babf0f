"""Measured data quality: the latest run, earlier ones, and a run on demand."""

import re
from typing import Any, Final

import msgspec
from litestar import get, post

from spawn.application.quality.monitor import Inspector
from spawn.application.quality.queries import (
    KIND,
    earlier_reports,
    latest_report,
    report_of,
)
from spawn.domain.change import Stored
from spawn.domain.errors import CursorInvalid, NotFound
from spawn.domain.quality.rules import Dimension, Report, Result, Severity, Unit, broken
from spawn.domain.serialization import number
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.query_params import read_cursor, read_limit, write_cursor
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, encode, json_reply
from spawn.entrypoints.http.wire import content_tag, none_match, view_digest

PATH: Final = "/v1/governance/quality"
RUNS: Final = PATH + "/runs"
_BINDING: Final = bytes.fromhex(view_digest((KIND,)))
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)

Json = dict[str, Any]


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _enum(of: type[Dimension | Severity | Unit]) -> Json:
    return {"type": "string", "enum": [member.value for member in of]}


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
    "position": {"type": "string", "description": "The feed position that was measured."},
    "projects": _COUNT,
    "measured_at": _INSTANT,
    "changed_at": _INSTANT_OR_NULL,
    "imported_at": _INSTANT_OR_NULL,
    "rules": _COUNT,
    "broken": {**_TEXTS, "description": "Rules whose service level is not kept."},
    "url": _TEXT,
}
_RESULT: Final = _object(
    rule_id=_TEXT,
    dimension=_enum(Dimension),
    columns=_TEXTS,
    description=_TEXT,
    unit={**_enum(Unit), "description": "`share` of what was looked at, or seconds of age."},
    threshold={**_NUMBER_OR_NULL, "description": "The service level; null promises nothing."},
    severity=_enum(Severity),
    value=_NUMBER_OR_NULL,
    passed={"type": ["boolean", "null"]},
    met=_COUNT_OR_NULL,
    checked=_COUNT_OR_NULL,
    samples={**_TEXTS, "description": "A few of the projects that break the rule."},
    measured_at=_INSTANT,
    position=_TEXT,
)
_REPORT: Final = _object(**_SUMMARY, results={"type": "array", "items": _RESULT})
_RUNS_PAGE: Final = _object(
    items={"type": "array", "items": _object(**_SUMMARY)},
    next={"type": ["string", "null"], "description": "Cursor of the next page."},
)


def _one(description: str) -> dict[int, Success]:
    return {
        200: Success(description=description, schema=_REPORT, headers=("ETag",)),
        304: Success(description="Unchanged since that ETag.", headers=("ETag",)),
    }


LATEST: Final = Operation(
    id="getQuality",
    tag="governance",
    summary="Read what the newest run measured",
    description="Every declared rule with what was measured, over all projects.",
    parameters=("IfNoneMatch",),
    answers=_one("The latest run."),
    problems=("not_found",),
)
LIST: Final = Operation(
    id="listQualityRuns",
    tag="governance",
    summary="List runs, newest first",
    parameters=("Limit", "After"),
    answers={200: Success(description="Runs.", schema=_RUNS_PAGE, headers=("Link",))},
    problems=("cursor_invalid",),
)
READ: Final = Operation(
    id="getQualityRun",
    tag="governance",
    summary="Read what one run measured",
    parameters=("IfNoneMatch",),
    answers=_one("The run."),
    problems=("not_found",),
)
MEASURE: Final = Operation(
    id="measureQuality",
    tag="governance",
    summary="Measure now",
    description=(
        "Counts every declared rule over the data as they are, and answers when that is done: "
        "seconds for a million projects. Who asks while a run is under way shares the next one."
    ),
    answers={201: Success(description="The run.", schema=_REPORT, headers=("Location", "ETag"))},
    problems=("conflict", "deadline_exceeded", "forbidden", "overloaded", "storage_full"),
)


def summary_of(run: int, report: Report) -> Json:
    """A run without its results."""
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
        "broken": [result.rule.rule_id for result in broken(report.results)],
        "url": f"{RUNS}/{run}",
    }


def result_fields(result: Result) -> Json:
    """A result on the wire: its rule and what was measured, side by side."""
    threshold = result.rule.threshold
    return {
        **msgspec.structs.asdict(result.rule),
        "threshold": None if threshold is None else number(threshold),
        "value": result.value,
        "passed": result.passed,
        "met": result.met,
        "checked": result.checked,
        "samples": result.samples,
        "measured_at": result.measured_at,
        "position": result.position,
    }


def full(run: int, report: Report) -> Json:
    """A run with its results."""
    results = [result_fields(result) for result in report.results]
    return {**summary_of(run, report), "results": results}


@get(PATH, opt=described(LATEST))
async def latest(request: StrictRequest) -> Reply:
    """The newest run."""
    request.query()
    request.accepts("application/json")
    stored = await latest_report(request.services, request.principal)
    if stored is None:
        raise NotFound("Quality has not been measured yet.")
    return _tagged(request, stored)


@get(RUNS, opt=described(LIST))
async def runs(request: StrictRequest) -> Reply:
    """One page of runs."""
    request.accepts("application/json")
    given = request.query("limit", "after")
    limit = read_limit(given.get("limit"))
    before = _before(given["after"]) if "after" in given else None
    found = await earlier_reports(request.services, request.principal, before=before, limit=limit)
    cursor = None
    if found and found[-1][0] > 1:
        cursor = write_cursor((found[-1][0],), _BINDING)
    headers: list[Header] = []
    if cursor is not None:
        headers.append((b"link", f'<{RUNS}?limit={limit}&after={cursor}>; rel="next"'.encode()))
    items = [summary_of(run, report) for run, report in found]
    return json_reply({"items": items, "next": cursor}, headers=headers)


@get(RUNS + "/{number:str}", opt=described(READ))
async def run(request: StrictRequest) -> Reply:
    """One run."""
    request.query()
    request.accepts("application/json")
    text = str(request.scope["path_params"]["number"])
    if _NUMBER.fullmatch(text) is None:
        raise NotFound("There is no such run.")
    return _tagged(request, await report_of(request.services, request.principal, int(text)))


@post(RUNS, status_code=201, opt=described(MEASURE))
async def measure(request: StrictRequest) -> Reply:
    """Measure now."""
    request.query()
    request.accepts("application/json")
    inspector: Inspector = request.app.state.inspector
    with request.surface.span("measure_quality"):
        stored = await inspector.measure(request.principal)
    body = encode(full(stored.version, stored.state))
    headers = (
        (b"location", f"{RUNS}/{stored.version}".encode()),
        (b"etag", content_tag(body).encode()),
    )
    return Reply(201, body, headers=headers)


def _tagged(request: StrictRequest, stored: Stored[Report]) -> Reply:
    body = encode(full(stored.version, stored.state))
    tag = content_tag(body)
    fields = ((b"etag", tag.encode()), (b"cache-control", b"no-cache"))
    if none_match(request.field(b"if-none-match"), tag):
        return Reply(304, headers=fields)
    return Reply(200, body, headers=fields)


def _before(cursor: str) -> int:
    keys = read_cursor(cursor, _BINDING)
    if len(keys) != 1 or not isinstance(keys[0], int):
        raise CursorInvalid("The cursor is not the next of a page of this query.")
    return keys[0]


ROUTES: Final = [latest, runs, run, measure]
