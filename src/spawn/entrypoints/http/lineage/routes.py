"""Lineage over HTTP: OpenLineage events for machines, a picture for people, a graph for tools."""

import re
from typing import Any, Final
from urllib.parse import urlencode

from litestar import get

from spawn import __version__
from spawn.application.lineage.recorder import Wanted, find_runs, get_run, newest_runs
from spawn.application.product.snapshot import Product
from spawn.domain.change import Stored
from spawn.domain.dates import parse_instant
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.lineage.graph import graph_of
from spawn.domain.lineage.openlineage import Emitter, run_events
from spawn.domain.lineage.run import KIND, Activity, RunState
from spawn.domain.schemas.model import Value
from spawn.entrypoints.http.html.components import page
from spawn.entrypoints.http.lineage.page import PATH, TITLE, detail, overview
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.query_params import read_cursor, read_limit, write_cursor
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, json_reply
from spawn.entrypoints.http.wire import view_digest

GRAPH: Final = PATH + "/graph"
JSON: Final = "application/json"
HTML: Final = "text/html"
_FORMATS: Final = {"json": JSON, "html": HTML}
_FILTERS: Final = ("job", "dataset", "state", "activity", "since", "until")
_RUN_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LONGEST: Final = 300
_NO_CACHE: Final[Header] = (b"cache-control", b"no-cache")

Json = dict[str, Any]


def _query(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _choice(name: str, of: type[RunState | Activity], description: str) -> Json:
    return _query(name, description, type="string", enum=[member.value for member in of])


_TEXT: Final[Json] = {"type": "string", "minLength": 1, "maxLength": _LONGEST}
_INSTANT: Final[Json] = {"type": "string", "format": "date-time"}
_WANTED: Final[tuple[Json, ...]] = (
    _query("job", "Runs of one job, such as `import.desk`.", **_TEXT),
    _query("dataset", "Runs that read or wrote a dataset, such as `projects`.", **_TEXT),
    _choice("state", RunState, "Runs that stand so."),
    _choice("activity", Activity, "Runs that did this."),
    _query("since", "Runs that began at this instant or later (RFC 3339).", **_INSTANT),
    _query("until", "Runs that began before this instant.", **_INSTANT),
)


def _object(*required: str, **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


_PLAIN: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": ["integer", "null"], "minimum": 0}
_MAYBE: Final[Json] = {"type": ["string", "null"]}
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
    id=_PLAIN,
    name=_PLAIN,
    description=_PLAIN,
    run_id=_PLAIN,
    job=_PLAIN,
    activity={"type": "string", "enum": [activity.value for activity in Activity]},
    state={"type": "string", "enum": [state.value for state in RunState]},
    started_at=_INSTANT,
    ended_at={**_MAYBE, "format": "date-time"},
    reason=_MAYBE,
)
_EDGE: Final = _object("source", "target", "rows", source=_PLAIN, target=_PLAIN, rows=_COUNT)

READ: Final = Operation(
    id="readLineage",
    tag="product",
    summary="Lineage: where data came from and went",
    description=(
        "OpenLineage 2-0-2 RunEvents of every import, export and migration of the schema, newest "
        "run first: a START, and one more event once the run has ended. `limit` counts runs; a "
        "page of a filter may be short and still lead on. `text/html` is a picture."
    ),
    parameters=(
        *_WANTED,
        _query("run", "One run, by its id.", type="string", format="uuid"),
        _query(
            "format",
            "The form, where Accept cannot be set: it wins over Accept.",
            type="string",
            enum=["json", "html"],
        ),
        "Limit",
        "After",
    ),
    answers={
        200: Success(
            description="Events.",
            schema=_object(
                *("items", "next"),
                items={"type": "array", "items": _EVENT},
                next={**_MAYBE, "description": "Cursor of the next page."},
            ),
            headers=("Link",),
            also={HTML: {"type": "string"}},
        )
    },
    problems=("cursor_invalid", "deadline_exceeded"),
)
READ_GRAPH: Final = Operation(
    id="readLineageGraph",
    tag="product",
    summary="Lineage as a graph of datasets and runs",
    description="The newest runs that are wanted, at most 200, with what they read and wrote.",
    parameters=_WANTED,
    answers={
        200: Success(
            description="The graph.",
            schema=_object(
                *("nodes", "edges"),
                nodes={"type": "array", "items": _NODE},
                edges={"type": "array", "items": _EDGE},
            ),
        )
    },
    problems=("deadline_exceeded",),
)


def emitter_of(product: Product) -> Emitter:
    """Who tells of the runs: the product by its id, from where it is served."""
    return Emitter(namespace=product.id, producer=product.base_url, version=__version__)


@get(PATH, opt=described(READ))
async def lineage(request: StrictRequest) -> Reply:
    """Events of runs, or a picture of them."""
    given = request.query(*_FILTERS, "run", "limit", "after", "format")
    chosen = given.get("format")
    if chosen not in {None, *_FORMATS}:
        raise InvalidInput.at("/format", "not_in_enum", f"There are: {', '.join(_FORMATS)}.")
    media_type = _FORMATS[chosen] if chosen is not None else request.accepts(JSON, HTML)
    with request.surface.span("read_lineage"):
        if media_type == HTML:
            return await _shown(request, given)
        runs, cursor = await _runs(request, given)
    emitter = emitter_of(request.surface.product)
    items = [
        event
        for stored in runs
        for event in reversed(
            run_events(stored.state, stored.created_at, stored.updated_at, emitter)
        )
    ]
    headers = [_NO_CACHE]
    if cursor is not None:
        headers.append((b"link", f'<{_next(given, cursor)}>; rel="next"'.encode()))
    return json_reply({"items": items, "next": cursor}, headers=headers)


@get(GRAPH, opt=described(READ_GRAPH))
async def graph(request: StrictRequest) -> Reply:
    """Datasets and runs."""
    request.accepts(JSON)
    wanted = _wanted(request.query(*_FILTERS))
    with request.surface.span("read_lineage_graph"):
        runs = await newest_runs(request.services, request.principal, wanted)
    return json_reply(graph_of(runs), headers=(_NO_CACHE,))


async def _shown(request: StrictRequest, given: dict[str, str]) -> Reply:
    """The page: of one run if one is named, else of the newest that are wanted."""
    wanted, _, _ = _asked(given)
    if "run" in given:
        run = await _one(request, given["run"])
        if run is None:
            raise NotFound("There is no such run.")
        return page(f"{TITLE}: {run.state.job}", detail(run), headers=(_NO_CACHE,))
    runs = await newest_runs(request.services, request.principal, wanted)
    return page(TITLE, overview(runs), headers=(_NO_CACHE,))


async def _runs(
    request: StrictRequest, given: dict[str, str]
) -> tuple[tuple[Stored[Any], ...], str | None]:
    """A page of runs, and the cursor of the next."""
    wanted, limit, after = _asked(given)
    if "run" in given:
        run = await _one(request, given["run"])
        return (run,) if run is not None and wanted.admits(run.state) else (), None
    found = await find_runs(request.services, request.principal, wanted, after=after, limit=limit)
    return found.runs, None if found.next is None else write_cursor(found.next, _binding(given))


def _asked(given: dict[str, str]) -> tuple[Wanted, int, tuple[Value | None, ...] | None]:
    """The filter, the limit and the keys to go on after: each understood, whatever is shown."""
    limit, wanted = read_limit(given.get("limit")), _wanted(given)
    after = read_cursor(given["after"], _binding(given)) if "after" in given else None
    return wanted, limit, after


def _binding(given: dict[str, str]) -> bytes:
    """What ties a cursor to its filter."""
    return bytes.fromhex(view_digest((KIND, *(given.get(name, "") for name in _FILTERS))))


async def _one(request: StrictRequest, run_id: str) -> Stored[Any] | None:
    if _RUN_ID.fullmatch(run_id) is None:
        raise InvalidInput.at("/run", "invalid_value", "A run is named by its UUIDv7.")
    try:
        return await get_run(request.services, request.principal, run_id)
    except NotFound:
        return None


def _wanted(given: dict[str, str]) -> Wanted:
    """The filter that the query states."""
    return Wanted(
        job=_name(given, "job"),
        dataset=_name(given, "dataset"),
        state=_member(given, "state", RunState),
        activity=_member(given, "activity", Activity),
        since=parse_instant(given["since"], pointer="/since") if "since" in given else None,
        until=parse_instant(given["until"], pointer="/until") if "until" in given else None,
    )


def _name(given: dict[str, str], parameter: str) -> str | None:
    text = given.get(parameter)
    if text is not None and not 0 < len(text) <= _LONGEST:
        raise InvalidInput.at(
            f"/{parameter}", "invalid_value", f"A name has 1 to {_LONGEST} characters."
        )
    return text


def _member(given: dict[str, str], parameter: str, of: Any) -> Any:
    text = given.get(parameter)
    members = {member.value: member for member in of}
    if text is not None and text not in members:
        detail_ = f"One of {', '.join(members)}."
        raise InvalidInput.at(f"/{parameter}", "not_in_enum", detail_)
    return None if text is None else members[text]


def _next(given: dict[str, str], cursor: str) -> str:
    """The address of the next page: this one's, with another cursor."""
    return f"{PATH}?{urlencode({**given, 'after': cursor})}"


ROUTES: Final = [lineage, graph]
