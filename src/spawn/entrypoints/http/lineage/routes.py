"""HTTP routes of lineage: OpenLineage events, HTML pages, and a graph."""

from collections.abc import Mapping
from typing import Any, Final

from spawn import __version__
from spawn.application.lineage.recorder import RunFilter, find_newest_runs, find_runs, get_run
from spawn.application.product.snapshot import Product
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.lineage.graph import LineageGraph, build_graph
from spawn.domain.lineage.openlineage import Emitter, RunEvent, build_run_events
from spawn.domain.lineage.run import RUN_KIND, Activity, RunState
from spawn.domain.principal import Scope
from spawn.domain.schema_version import Value
from spawn.entrypoints.http.html.rendering import page_response
from spawn.entrypoints.http.lineage.page import (
    PATH,
    RUN_TEMPLATE,
    RUNS_TEMPLATE,
    build_run_page,
    build_runs_page,
)
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.operation import HTML, JSON, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    LIMIT,
    read_after,
    read_choice,
    read_instant,
    read_limit,
)
from spawn.entrypoints.http.protocol.request import StrictRequest, is_canonical_id
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import PageView

GRAPH: Final = PATH + "/graph"
_MAX_NAME_CHARACTERS: Final = 300
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": _MAX_NAME_CHARACTERS}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_FILTERS: Final = (
    Parameter("job", _NAME, "Runs of one job, such as `import.desk`."),
    Parameter("dataset", _NAME, "Runs that read or wrote a dataset, such as `projects`."),
    Parameter("state", RunState, "Runs in this state."),
    Parameter("activity", Activity, "Runs of this activity."),
    Parameter("since", _INSTANT, "Runs that started at this instant or later (RFC 3339)."),
    Parameter("until", _INSTANT, "Runs that started before this instant."),
)


def build_emitter(product: Product) -> Emitter:
    """Return the emitter of run events: the product's id and address."""
    return Emitter(
        namespace=product.id,
        producer=product.base_url,
        version=__version__,
        owner=product.owner,
    )


@route(
    "GET",
    PATH,
    "readLineage",
    scopes=(Scope.PROJECTS_READ,),
    tag="product",
    summary="List lineage events",
    description=(
        "OpenLineage 2-0-2 RunEvents of every import, export and schema migration, newest run "
        "first: a START, and one more event once the run has ended. `limit` counts runs; a "
        "filtered page may have fewer and still have a next page. `text/html` is a diagram."
    ),
    parameters=(
        *_FILTERS,
        Parameter("run", {"type": "string", "format": "uuid"}, "One run, by its id."),
        LIMIT,
        AFTER,
    ),
    returns=Success(
        PageView[RunEvent], "One page of events.", headers=("Link",), alternatives={HTML: str}
    ),
    problems=("not_found", "cursor_invalid", "deadline_exceeded"),
    formats={"json": JSON, "html": HTML},
)
async def read_lineage(request: StrictRequest) -> Response | Result:
    """List lineage events, or render the lineage page, by Accept."""
    if request.media_type == HTML:
        return await _html_response(request, request.query)
    runs, next_keys = await _find_run_page(request, request.query)
    emitter = build_emitter(request.http_state.product)
    items = [
        event
        for aggregate in runs
        for event in reversed(
            build_run_events(aggregate.state, aggregate.created_at, aggregate.updated_at, emitter)
        )
    ]
    binding = _cursor_binding(request.query)
    return page_result(request, items, next_keys, binding, headers=(NO_CACHE,))


@route(
    "GET",
    GRAPH,
    "readLineageGraph",
    scopes=(Scope.PROJECTS_READ,),
    tag="product",
    summary="Get the lineage graph",
    description=(
        "The newest matching runs, at most 200, as nodes, with the datasets that they read and "
        "wrote."
    ),
    parameters=_FILTERS,
    returns=Success(LineageGraph, "Nodes and edges."),
    problems=("deadline_exceeded",),
)
async def read_lineage_graph(request: StrictRequest) -> Result:
    """Return the graph of datasets and runs."""
    run_filter = _parse_filter(request.query)
    runs = await find_newest_runs(request.dependencies, request.principal, run_filter)
    return Result(build_graph(runs), (NO_CACHE,))


async def _html_response(request: StrictRequest, parameters: Mapping[str, str]) -> Response:
    """Return the HTML page of the requested run, else of the newest matching runs."""
    run_filter, _, _ = _parse_parameters(parameters)
    if "run" in parameters:
        run = await _find_run(request, parameters["run"])
        if run is None:
            raise NotFound("There is no such run.")
        return await page_response(RUN_TEMPLATE, build_run_page(run), headers=(NO_CACHE,))
    runs = await find_newest_runs(request.dependencies, request.principal, run_filter)
    return await page_response(RUNS_TEMPLATE, build_runs_page(runs), headers=(NO_CACHE,))


async def _find_run_page(
    request: StrictRequest, parameters: Mapping[str, str]
) -> tuple[tuple[StoredAggregate[Any], ...], tuple[Value | None, ...] | None]:
    """Return a page of runs, and the sort keys that the next page follows."""
    run_filter, limit, after = _parse_parameters(parameters)
    if "run" in parameters:
        run = await _find_run(request, parameters["run"])
        return (run,) if run is not None and run_filter.matches(run.state) else (), None
    run_page = await find_runs(
        request.dependencies, request.principal, run_filter, after=after, limit=limit
    )
    return run_page.runs, run_page.next


def _parse_parameters(
    parameters: Mapping[str, str],
) -> tuple[RunFilter, int, tuple[Value | None, ...] | None]:
    """Parse the filter, the limit and the cursor's keys, whichever of them the response uses."""
    limit, run_filter = read_limit(parameters.get("limit")), _parse_filter(parameters)
    return run_filter, limit, read_after(parameters, _cursor_binding(parameters))


def _cursor_binding(parameters: Mapping[str, str]) -> bytes:
    """Return the digest that binds a cursor to its filter."""
    return cursor_binding(RUN_KIND, *(parameters.get(one.name, "") for one in _FILTERS))


async def _find_run(request: StrictRequest, run_id: str) -> StoredAggregate[Any] | None:
    if not is_canonical_id(run_id):
        raise InvalidInput.at("/run", "invalid_value", "The run must be a UUIDv7.")
    try:
        return await get_run(request.dependencies, request.principal, run_id)
    except NotFound:
        return None


def _parse_filter(parameters: Mapping[str, str]) -> RunFilter:
    """Parse the run filter."""
    return RunFilter(
        job=_parse_name(parameters, "job"),
        dataset=_parse_name(parameters, "dataset"),
        state=read_choice(parameters, "state", RunState),
        activity=read_choice(parameters, "activity", Activity),
        since=read_instant(parameters, "since"),
        until=read_instant(parameters, "until"),
    )


def _parse_name(parameters: Mapping[str, str], parameter: str) -> str | None:
    text = parameters.get(parameter)
    if text is not None and not 0 < len(text) <= _MAX_NAME_CHARACTERS:
        raise InvalidInput.at(
            f"/{parameter}",
            "invalid_value",
            f"A name must have 1 to {_MAX_NAME_CHARACTERS} characters.",
        )
    return text


ROUTES: Final[list[Route]] = [read_lineage, read_lineage_graph]
