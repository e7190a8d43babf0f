"""Routes of the calculators."""

from functools import cache, partial
from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import Deadline, calculate, is_inline
from spawn.application.analysis.calculation_requests import read_request, request_schema
from spawn.application.analysis.calculation_results import ResultTable, response_schema
from spawn.application.analysis.calculators import CALCULATORS
from spawn.application.product.links import CSV, JSON
from spawn.domain.errors import InvalidInput
from spawn.domain.principal import Scope
from spawn.entrypoints.http.analysis.requests import parse_calculation_body
from spawn.entrypoints.http.analysis.responses import (
    ARROW,
    choose_media_type,
    create_table_response,
    encode_json,
)
from spawn.entrypoints.http.analysis.wire import EXAMPLES, FURTHER_EXAMPLES
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
    Body,
    Computed,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.ports.holidays import HolidaySource

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest body: the series of a thousand cases; a field error names what exceeds a limit inside."""

LARGE_BYTES: Final = 1024 * 1024
"""Larger bodies need one of the few `large` slots."""

TAG: Final = "analysis"
PROBLEMS: Final = (*BODY_PROBLEMS, "overloaded", "deadline_exceeded")
_EXPLAIN: Final = Parameter(
    "explain",
    {"type": "string", "enum": ["true", "false"]},
    "Formula and inputs of each headline figure, as `explain` in the body.",
)
_TABLE_SCHEMAS: Final = {
    CSV: {"type": "string", "description": "The rows of the schedule, one per line."},
    ARROW: {
        "type": "string",
        "format": "binary",
        "description": "The rows as an Arrow IPC stream, if the extra `arrow` is installed.",
    },
}
_SUMMARIES: Final = {
    "returns": "Calculate rates of return and present value",
    "cash-flow": "Build up the cash flow before debt service",
    "debt-sizing": "Size debt on CFADS, targets and gearing",
    "schedule": "Calculate payment dates and a loan schedule",
    "construction-funding": "Fund construction with debt and equity",
    "deal": "Model a deal from construction to the return of its sponsors",
    "waterfall": "Run a cash-flow waterfall",
    "covenants": "Test a covenant over a series of ratios",
    "day-count": "Calculate days and year fractions",
}
_SPREADSHEET_NAMES: Final = {
    "returns": " In a spreadsheet: IRR, XIRR, MIRR, NPV, XNPV.",
    "schedule": (
        " In a spreadsheet: PMT, IPMT, PPMT, CUMIPMT, CUMPRINC, EDATE, EOMONTH, COUPPCD, COUPNCD, "
        "COUPNUM, WORKDAY; RATE and PV by its goal seek."
    ),
    "day-count": " In a spreadsheet: YEARFRAC, DAYS360, NETWORKDAYS.",
}
"""Functions of spreadsheets that a calculator replaces, for the search of who knows those."""


class CalculationOptions(msgspec.Struct, frozen=True):
    """The calculator, response format and explanation flag of a request, apart from its body."""

    name: str
    media_type: str
    explain: bool
    holidays: HolidaySource | None = None


def compute_response(options: CalculationOptions, body: bytes, deadline: Deadline) -> Response:
    """Read a body, calculate its cases and encode the response."""
    calculation_request = read_request(options.name, parse_calculation_body(body))
    explain = options.explain or calculation_request.explain
    results = calculate(
        options.name,
        calculation_request.cases,
        explain=explain,
        pointers=calculation_request.pointers,
        deadline=deadline,
        errors=calculation_request.errors,
        holidays=options.holidays,
        separates_errors=options.media_type == JSON and not calculation_request.is_single,
    )
    if options.media_type == JSON:
        return Response(
            200,
            encode_json(
                calculation_request.names, results, is_single=calculation_request.is_single
            ),
        )
    row = CALCULATORS[options.name].row
    return create_table_response(
        options.media_type, ResultTable.from_calculations(row, calculation_request.names, results)
    )


def read_explain_parameter(request: StrictRequest) -> bool:
    """Read the `explain` query parameter; the body has a member of the same name.

    Raises:
        InvalidInput: it is neither true nor false.
    """
    text = request.query.get("explain", "false")
    if text not in {"true", "false"}:
        raise InvalidInput.at("/explain", "wrong_type", "must be true or false")
    return text == "true"


def is_large(request: StrictRequest) -> bool:
    """Return whether the announced body is large or its length is missing."""
    content_length = request.header(b"content-length") or ""
    return not content_length.isdigit() or int(content_length) > LARGE_BYTES


@cache
def _get_request_schema(name: str) -> Any:
    return request_schema(CALCULATORS[name].case)


@cache
def _get_response_schema(name: str) -> Any:
    return response_schema(CALCULATORS[name].result)


@cache
def _compute_example(name: str, further: str = "") -> Any:
    """Compute the response to an example with the code of the route."""
    body = msgspec.json.encode(FURTHER_EXAMPLES[name][further] if further else EXAMPLES[name])
    options = CalculationOptions(name, JSON, explain=False)
    return msgspec.json.decode(compute_response(options, body, Deadline()).payload)


def _create_route(name: str) -> Route:
    """Create the route of one calculator."""

    @route(
        "POST",
        f"/v1/analysis/{name}",
        f"calculate{name.title().replace('-', '')}",
        tag=TAG,
        scopes=(Scope.ANALYSIS,),
        is_calculation=True,
        serves_row_scopes=True,
        summary=_SUMMARIES[name],
        description=(
            "Stateless. Send one case, or several under `cases`; the response has the whole "
            "schedule, its conventions and warnings. Amounts and rates are float64, rates are "
            "fractions; `explain` adds to each headline figure its formula and inputs."
            f"{_SPREADSHEET_NAMES.get(name, '')}"
        ),
        parameters=(_EXPLAIN,),
        body=Body(
            Computed(partial(_get_request_schema, name)),
            example=EXAMPLES[name],
            further_examples=FURTHER_EXAMPLES.get(name, {}),
            max_bytes=MAX_BODY_BYTES,
        ),
        returns=Success(
            Computed(partial(_get_response_schema, name)),
            "Calculated.",
            example=Computed(partial(_compute_example, name)),
            further_examples={
                further: Computed(partial(_compute_example, name, further))
                for further in FURTHER_EXAMPLES.get(name, {})
            },
            alternatives=_TABLE_SCHEMAS,
        ),
        problems=PROBLEMS,
    )
    async def handler(request: StrictRequest) -> Response:
        pool = request.http_state.calculation_pool
        options = CalculationOptions(
            name, choose_media_type(request), read_explain_parameter(request), pool.holidays
        )
        async with pool.slot(large=is_large(request)):
            body = await request.read_body()
            if is_inline(name, body):
                return compute_response(options, body, Deadline())
            return await pool.run(lambda deadline: compute_response(options, body, deadline))

    return handler


ROUTES: Final[list[Route]] = [_create_route(name) for name in CALCULATORS]
