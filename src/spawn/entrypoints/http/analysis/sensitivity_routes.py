"""Routes of every calculator for a goal seek and for a data table."""

from collections.abc import Generator
from functools import cache, partial
from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import Deadline
from spawn.application.analysis.calculators import CALCULATORS
from spawn.application.analysis.sensitivity.data_tables import (
    TableCase,
    TableResult,
    build_table,
    encode_table_csv,
)
from spawn.application.analysis.sensitivity.goal_seek import GoalCase, GoalSeekResult, seek_goal
from spawn.application.analysis.sensitivity.sensitivity_requests import read_goal, read_table
from spawn.application.product.links import CSV, JSON
from spawn.domain.principal import Scope
from spawn.entrypoints.http.analysis.requests import parse_calculation_body
from spawn.entrypoints.http.analysis.responses import encode_values
from spawn.entrypoints.http.analysis.routes import LARGE_BYTES, PROBLEMS, TAG
from spawn.entrypoints.http.analysis.wire import GOAL_EXAMPLES, TABLE_EXAMPLES
from spawn.entrypoints.http.protocol.operation import Body, Computed, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.ports.holidays import HolidaySource

_CSV_SCHEMA: Final = {"type": "string", "description": "One line per cell, by row, then column."}


def _seek(
    name: str, body: bytes, deadline: Deadline, holidays: HolidaySource | None
) -> Generator[None, None, Response]:
    """Read the request, search in steps and encode the outcome."""
    request = read_goal(parse_calculation_body(body))
    result = yield from seek_goal(name, request, deadline=deadline, holidays=holidays)
    return Response(200, encode_values(result))


def _tabulate(
    name: str,
    body: bytes,
    deadline: Deadline,
    holidays: HolidaySource | None,
    media_type: str = JSON,
) -> Generator[None, None, Response]:
    """Read the request, calculate the cells in steps and encode the table."""
    request = read_table(parse_calculation_body(body))
    table = yield from build_table(name, request, deadline=deadline, holidays=holidays)
    if media_type == CSV:
        return Response(200, encode_table_csv(table), media_type=b"text/csv; charset=utf-8")
    return Response(200, encode_values(table))


def _run_to_end(steps: Generator[None, None, Response]) -> Any:
    """Compute the response to an example with the code of the route."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return msgspec.json.decode(end.value.payload)


@cache
def _compute_goal_example(name: str) -> Any:
    body = msgspec.json.encode(GOAL_EXAMPLES[name])
    return _run_to_end(_seek(name, body, Deadline(), None))


@cache
def _compute_table_example(name: str) -> Any:
    body = msgspec.json.encode(TABLE_EXAMPLES[name])
    return _run_to_end(_tabulate(name, body, Deadline(), None))


def _create_goal_route(name: str) -> Route:
    example = GOAL_EXAMPLES.get(name)

    @route(
        "POST",
        f"/v1/analysis/{name}/solve",
        f"solve{name.title().replace('-', '')}",
        tag=TAG,
        scopes=(Scope.ANALYSIS,),
        is_calculation=True,
        serves_row_scopes=True,
        summary=f"Solve {name.replace('-', ' ')} backwards for a target",
        description=(
            f"Goal seek over `case`, a request to `POST /v1/analysis/{name}`: vary a number of it "
            "between two bounds until an output of its result meets a target. The status is "
            "`unique`, `several`, `discontinuous` or `none`; each solution has its whole result."
        ),
        body=Body(GoalCase, example=example, max_bytes=LARGE_BYTES),
        returns=Success(
            GoalSeekResult,
            "Searched; the status says whether there is a solution.",
            example=Computed(partial(_compute_goal_example, name)) if example else None,
        ),
        problems=PROBLEMS,
    )
    async def handler(request: StrictRequest) -> Response:
        pool = request.http_state.calculation_pool
        async with pool.slot(large=False):
            body = await request.read_body()
            return await pool.run_in_turns(
                lambda deadline: _seek(name, body, deadline, pool.holidays)
            )

    return handler


def _create_table_route(name: str) -> Route:
    example = TABLE_EXAMPLES.get(name)

    @route(
        "POST",
        f"/v1/analysis/{name}/table",
        f"tabulate{name.title().replace('-', '')}",
        tag=TAG,
        scopes=(Scope.ANALYSIS,),
        is_calculation=True,
        serves_row_scopes=True,
        summary=f"Tabulate {name.replace('-', ' ')} over one input or two",
        description=(
            f"Data table over `case`, a request to `POST /v1/analysis/{name}`: outputs of its "
            "result for the values of one input, or of two. Each cell has its values or its own "
            "errors."
        ),
        body=Body(TableCase, example=example, max_bytes=LARGE_BYTES),
        returns=Success(
            TableResult,
            "Tabulated; a cell without values has its errors.",
            example=Computed(partial(_compute_table_example, name)) if example else None,
            alternatives={CSV: _CSV_SCHEMA},
        ),
        problems=PROBLEMS,
    )
    async def handler(request: StrictRequest) -> Response:
        pool = request.http_state.calculation_pool
        async with pool.slot(large=False):
            body = await request.read_body()
            return await pool.run_in_turns(
                lambda deadline: _tabulate(name, body, deadline, pool.holidays, request.media_type)
            )

    return handler


ROUTES: Final[list[Route]] = [
    *(_create_goal_route(name) for name in CALCULATORS),
    *(_create_table_route(name) for name in CALCULATORS),
]
