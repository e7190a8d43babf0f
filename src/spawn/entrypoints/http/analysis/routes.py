"""Routes of the calculators."""

from typing import Any, Final

import msgspec
from litestar import post

from spawn.application.analysis.calculation import CalculationPool, Deadline, calculate
from spawn.application.analysis.calculators import CALCULATORS
from spawn.domain.errors import InvalidInput
from spawn.entrypoints.http.analysis import examples
from spawn.entrypoints.http.analysis.requests import read_request
from spawn.entrypoints.http.analysis.responses import (
    JSON,
    ResultTable,
    choose_media_type,
    create_table_response,
    encode_json,
)
from spawn.entrypoints.http.openapi.handler_operation import operation_options
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.ports.holidays import HolidaySource

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest body: the series of a thousand cases; a field error names what exceeds a limit inside."""

LARGE_BYTES: Final = 1024 * 1024
"""Larger bodies need one of the few `large` slots."""

_LINEAR_CALCULATORS: Final = frozenset({"debt-sizing", "waterfall"})
_COSTLY_TERMS: Final = (b'"payment_dates"', b'"calendar"')
_MAX_INLINE_COMMAS: Final = 160
_MAX_INLINE_BYTES: Final = 6144


class CalculationOptions(msgspec.Struct, frozen=True):
    """The calculator, response format and explanation flag of a request, apart from its body."""

    name: str
    media_type: str
    explain: bool
    holidays: HolidaySource | None = None


def compute_response(options: CalculationOptions, body: bytes, deadline: Deadline) -> Response:
    """Read a body, calculate its cases and encode the response."""
    calculation_request = read_request(options.name, body)
    explain = options.explain or calculation_request.explain
    results = calculate(
        options.name,
        calculation_request.cases,
        explain=explain,
        pointers=calculation_request.pointers,
        deadline=deadline,
        errors=calculation_request.errors,
        holidays=options.holidays,
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
        InvalidInput: an unknown parameter, or neither true nor false.
    """
    text = request.query_parameters("explain").get("explain", "false")
    if text not in {"true", "false"}:
        raise InvalidInput.at("/explain", "wrong_type", "must be true or false")
    return text == "true"


def is_inline(name: str, body: bytes) -> bool:
    """Return whether the work costs less than a thread: few numbers, in linear time.

    Dates that are rolled over a long term, and holidays, cost more than their few numbers.
    """
    return (
        name in _LINEAR_CALCULATORS
        and len(body) <= _MAX_INLINE_BYTES
        and body.count(b",") <= _MAX_INLINE_COMMAS
        and not any(term in body for term in _COSTLY_TERMS)
    )


def is_large(request: StrictRequest) -> bool:
    """Return whether the announced body is large or its length is missing."""
    content_length = request.header(b"content-length") or ""
    return not content_length.isdigit() or int(content_length) > LARGE_BYTES


def _create_route(name: str) -> Any:
    """Create the route of one calculator."""

    async def handler(request: StrictRequest) -> Response:
        pool: CalculationPool = request.http_state.calculation_pool
        options = CalculationOptions(
            name, choose_media_type(request), read_explain_parameter(request), pool.holidays
        )
        async with pool.slot(large=is_large(request)):
            body = await request.read_body(limit=MAX_BODY_BYTES)
            with request.http_state.span(f"calculate {name}"):
                if is_inline(name, body):
                    return compute_response(options, body, Deadline())
                return await pool.run(lambda deadline: compute_response(options, body, deadline))

    handler.__name__ = name.replace("-", "_")
    handler.__doc__ = f"Calculate {name}."
    return post(
        f"/v1/analysis/{name}",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
        opt=operation_options(examples.CALCULATOR_OPERATIONS[name]),
    )(handler)


ROUTES: Final = [_create_route(name) for name in CALCULATORS]
