"""HTTP routes of lineage: OpenLineage events, HTML pages, and a graph."""

import re
from typing import Any, Final
from urllib.parse import urlencode

from litestar import get

from spawn import __version__
from spawn.application.lineage.recorder import RunFilter, find_newest_runs, find_runs, get_run
from spawn.application.product.snapshot import Product
from spawn.domain.change import StoredAggregate
from spawn.domain.dates import parse_instant
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.lineage.graph import build_graph
from spawn.domain.lineage.openlineage import Emitter, build_run_events
from spawn.domain.lineage.run import RUN_KIND, Activity, RunState
from spawn.domain.schema_version import Value
from spawn.entrypoints.http.html.rendering import page_response
from spawn.entrypoints.http.lineage.page import (
    PATH,
    RUN_TEMPLATE,
    RUNS_TEMPLATE,
    build_run_page,
    build_runs_page,
)
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    SuccessResponse,
    operation_options,
)
from spawn.entrypoints.http.protocol.cursors import decode_cursor, encode_cursor
from spawn.entrypoints.http.protocol.etags import fields_digest
from spawn.entrypoints.http.protocol.query_params import read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, json_response

GRAPH: Final = PATH + "/graph"
JSON: Final = "application/json"
HTML: Final = "text/html"
_FORMATS: Final = {"json": JSON, "html": HTML}
_FILTER_NAMES: Final = ("job", "dataset", "state", "activity", "since", "until")
_RUN_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_MAX_NAME_CHARACTERS: Final = 300
_NO_CACHE: Final[Header] = (b"cache-control", b"no-cache")

Json = dict[str, Any]


def _query_parameter(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _enum_parameter(name: str, enum_type: type[RunState | Activity], description: str) -> Json:
    return _query_parameter(
        name, description, type="string", enum=[member.value for member in enum_type]
    )


_TEXT: Final[Json] = {"type": "string", "minLength": 1, "maxLength": _MAX_NAME_CHARACTERS}
_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
_FILTER_PARAMETERS: Final[tuple[Json, ...]] = (
    _query_parameter("job", "Runs of one job, such as `import.desk`.", **_TEXT),
    _query_parameter("dataset", "Runs that read or wrote a dataset, such as `projects`.", **_TEXT),
    _enum_parameter("state", RunState, "Runs in this state."),
    _enum_parameter("activity", Activity, "Runs of this activity."),
    _query_parameter("since", "Runs that started at this instant or later (RFC 3339).", **_INSTANT),
    _query_parameter("until", "Runs that started before this instant.", **_INSTANT),
)


def _object(*required: str, **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


_STRING: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": ["integer", "null"], "minimum": 0}
_OPTIONAL_TEXT: Final[Json] = {"type": ["string", "null"]}
_EVENT: Final = _object(
    *("eventType", "eventTime", "run", "job", "inputs", "outputs", "producer", "schemaURL"),
    eventType={"type": "string", "enum": ["START", "COMPLETE", "FAIL", "ABORT"]},
    eventTime=_INSTANT,
    run={"type": "object"},
    job={"type": "object"},
    inputs={"type": "array", "items": {"type": "object"}},
    outputs={"type": "array", "items": {"type": "object"}},
    producer={"type": "string", "format": "uri"},
    schemaURL={"type": "string", "format": "uri"},
)
_NODE: Final = _object(
    *("type", "id"),
    type={"type": "string", "enum": ["dataset", "run"]},
    id=_STRING,
    name=_STRING,
    description=_STRING,
    run_id=_STRING,
    job=_STRING,
    activity={"type": "string", "enum": [activity.value for activity in Activity]},
    state={"type": "string", "enum": [state.value for state in RunState]},
    started_at=_INSTANT,
    ended_at={**_OPTIONAL_TEXT, "format": "date-time"},
    reason=_OPTIONAL_TEXT,
)
_EDGE: Final = _object("source", "target", "rows", source=_STRING, target=_STRING, rows=_COUNT)

LINEAGE_OPERATION: Final = HandlerOperation(
    id="readLineage",
    tag="product",
    summary="List lineage events",
    description=(
        "OpenLineage 2-0-2 RunEvents of every import, export and schema migration, newest run "
        "first: a START, and one more event once the run has ended. `limit` counts runs; a "
        "filtered page may have fewer and still have a next page. `text/html` is a diagram."
    ),
    parameters=(
        *_FILTER_PARAMETERS,
        _query_parameter("run", "One run, by its id.", type="string", format="uuid"),
        _query_parameter(
            "format",
            "Response format; takes precedence over the Accept header.",
            type="string",
            enum=["json", "html"],
        ),
        "Limit",
        "After",
    ),
    responses={
        200: SuccessResponse(
            description="One page of events.",
            schema=_object(
                *("items", "next"),
                items={"type": "array", "items": _EVENT},
                next={**_OPTIONAL_TEXT, "description": "Cursor of the next page."},
            ),
            headers=("Link",),
            alternative_schemas={HTML: {"type": "string"}},
        )
    },
    problems=("cursor_invalid", "deadline_exceeded"),
)
GRAPH_OPERATION: Final = HandlerOperation(
    id="readLineageGraph",
    tag="product",
    summary="Get the lineage graph",
    description=(
        "The newest matching runs, at most 200, as nodes, with the datasets that they read and "
        "wrote."
    ),
    parameters=_FILTER_PARAMETERS,
    responses={
        200: SuccessResponse(
            description="Nodes and edges.",
            schema=_object(
                *("nodes", "edges"),
                nodes={"type": "array", "items": _NODE},
                edges={"type": "array", "items": _EDGE},
            ),
        )
    },
    problems=("deadline_exceeded",),
)


def build_emitter(product: Product) -> Emitter:
    """Return the emitter of run events: the product's id and address."""
    return Emitter(namespace=product.id, producer=product.base_url, version=__version__)


@get(PATH, opt=operation_options(LINEAGE_OPERATION))
async def read_lineage(request: StrictRequest) -> Response:
    """List lineage events, or render the lineage page, by Accept."""
    parameters = request.query_parameters(*_FILTER_NAMES, "run", "limit", "after", "format")
    requested_format = parameters.get("format")
    if requested_format not in {None, *_FORMATS}:
        detail = f"The format must be one of: {', '.join(_FORMATS)}."
        raise InvalidInput.at("/format", "not_in_enum", detail)
    media_type = (
        _FORMATS[requested_format]
        if requested_format is not None
        else request.negotiate_media_type(JSON, HTML)
    )
    with request.http_state.span("read_lineage"):
        if media_type == HTML:
            return await _html_response(request, parameters)
        runs, cursor = await _find_run_page(request, parameters)
    emitter = build_emitter(request.http_state.product)
    items = [
        event
        for aggregate in runs
        for event in reversed(
            build_run_events(aggregate.state, aggregate.created_at, aggregate.updated_at, emitter)
        )
    ]
    headers = [_NO_CACHE]
    if cursor is not None:
        headers.append((b"link", f'<{_next_path(parameters, cursor)}>; rel="next"'.encode()))
    return json_response({"items": items, "next": cursor}, headers=headers)


@get(GRAPH, opt=operation_options(GRAPH_OPERATION))
async def read_lineage_graph(request: StrictRequest) -> Response:
    """Return the graph of datasets and runs."""
    request.negotiate_media_type(JSON)
    run_filter = _parse_filter(request.query_parameters(*_FILTER_NAMES))
    with request.http_state.span("read_lineage_graph"):
        runs = await find_newest_runs(request.dependencies, request.principal, run_filter)
    return json_response(build_graph(runs), headers=(_NO_CACHE,))


async def _html_response(request: StrictRequest, parameters: dict[str, str]) -> Response:
    """Return the HTML page of the requested run, else of the newest matching runs."""
    run_filter, _, _ = _parse_parameters(parameters)
    if "run" in parameters:
        run = await _find_run(request, parameters["run"])
        if run is None:
            raise NotFound("There is no such run.")
        return await page_response(RUN_TEMPLATE, build_run_page(run), headers=(_NO_CACHE,))
    runs = await find_newest_runs(request.dependencies, request.principal, run_filter)
    return await page_response(RUNS_TEMPLATE, build_runs_page(runs), headers=(_NO_CACHE,))


async def _find_run_page(
    request: StrictRequest, parameters: dict[str, str]
) -> tuple[tuple[StoredAggregate[Any], ...], str | None]:
    """Return a page of runs, and the cursor of the next page."""
    run_filter, limit, after = _parse_parameters(parameters)
    if "run" in parameters:
        run = await _find_run(request, parameters["run"])
        return (run,) if run is not None and run_filter.matches(run.state) else (), None
    run_page = await find_runs(
        request.dependencies, request.principal, run_filter, after=after, limit=limit
    )
    return run_page.runs, None if run_page.next is None else encode_cursor(
        run_page.next, _cursor_binding(parameters)
    )


def _parse_parameters(
    parameters: dict[str, str],
) -> tuple[RunFilter, int, tuple[Value | None, ...] | None]:
    """Parse the filter, the limit and the cursor's keys, whichever of them the response uses."""
    limit, run_filter = read_limit(parameters.get("limit")), _parse_filter(parameters)
    after = (
        decode_cursor(parameters["after"], _cursor_binding(parameters))
        if "after" in parameters
        else None
    )
    return run_filter, limit, after


def _cursor_binding(parameters: dict[str, str]) -> bytes:
    """Return the digest that binds a cursor to its filter."""
    return bytes.fromhex(
        fields_digest((RUN_KIND, *(parameters.get(name, "") for name in _FILTER_NAMES)))
    )


async def _find_run(request: StrictRequest, run_id: str) -> StoredAggregate[Any] | None:
    if _RUN_ID.fullmatch(run_id) is None:
        raise InvalidInput.at("/run", "invalid_value", "The run must be a UUIDv7.")
    try:
        return await get_run(request.dependencies, request.principal, run_id)
    except NotFound:
        return None


def _parse_filter(parameters: dict[str, str]) -> RunFilter:
    """Parse the run filter."""
    return RunFilter(
        job=_parse_name(parameters, "job"),
        dataset=_parse_name(parameters, "dataset"),
        state=_parse_enum(parameters, "state", RunState),
        activity=_parse_enum(parameters, "activity", Activity),
        since=parse_instant(parameters["since"], pointer="/since")
        if "since" in parameters
        else None,
        until=parse_instant(parameters["until"], pointer="/until")
        if "until" in parameters
        else None,
    )


def _parse_name(parameters: dict[str, str], parameter: str) -> str | None:
    text = parameters.get(parameter)
    if text is not None and not 0 < len(text) <= _MAX_NAME_CHARACTERS:
        raise InvalidInput.at(
            f"/{parameter}",
            "invalid_value",
            f"A name must have 1 to {_MAX_NAME_CHARACTERS} characters.",
        )
    return text


def _parse_enum(parameters: dict[str, str], parameter: str, enum_type: Any) -> Any:
    text = parameters.get(parameter)
    members = {member.value: member for member in enum_type}
    if text is not None and text not in members:
        detail = f"The {parameter} must be one of: {', '.join(members)}."
        raise InvalidInput.at(f"/{parameter}", "not_in_enum", detail)
    return None if text is None else members[text]


def _next_path(parameters: dict[str, str], cursor: str) -> str:
    """Return the path of the next page: this one's, with another cursor."""
    return f"{PATH}?{urlencode({**parameters, 'after': cursor})}"


ROUTES: Final = [read_lineage, read_lineage_graph]
