"""Routes of the calculators. `app.state.workbench` holds the threads they work on."""

from typing import Any, Final

import msgspec
from litestar import post

from spawn.application.analysis.calculation import Deadline, Workbench, calculate
from spawn.application.analysis.calculators import CALCULATORS
from spawn.domain.errors import InvalidInput
from spawn.entrypoints.http.analysis import examples
from spawn.entrypoints.http.analysis.requests import read_request
from spawn.entrypoints.http.analysis.responses import (
    JSON,
    Table,
    as_json,
    chosen_media_type,
    table_reply,
)
from spawn.entrypoints.http.openapi.operation import described
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Reply

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Room for a thousand cases' series; what exceeds a bound inside is refused by name."""

LARGE_BYTES: Final = 1024 * 1024
"""From this size on a body is one of the few that are held at once."""

_QUICK: Final = frozenset({"debt-sizing", "waterfall"})
_QUICK_COMMAS: Final = 160
_QUICK_BYTES: Final = 6144


class Order(msgspec.Struct, frozen=True):
    """What a request to a calculator says beside its body."""

    name: str
    media_type: str
    explain: bool


def answer(order: Order, body: bytes, deadline: Deadline) -> Reply:
    """Read, calculate, encode: all that a request costs beside its transport."""
    asked = read_request(order.name, body)
    explain = order.explain or asked.explain
    found = calculate(
        order.name, asked.cases, explain=explain, pointers=asked.pointers, deadline=deadline
    )
    if order.media_type == JSON:
        return Reply(200, as_json(asked.names, found, single=asked.single))
    row = CALCULATORS[order.name].row
    return table_reply(order.media_type, Table.of(row, asked.names, found))


def explains(request: StrictRequest) -> bool:
    """Whether the query asks for explanations, which the body may do too.

    Raises:
        InvalidInput: an unknown parameter, or neither true nor false.
    """
    text = request.query("explain").get("explain", "false")
    if text not in {"true", "false"}:
        raise InvalidInput.at("/explain", "wrong_type", "explain is true or false.")
    return text == "true"


def is_quick(name: str, body: bytes) -> bool:
    """Whether a thread would cost more than the work: few numbers, and time linear in them."""
    return name in _QUICK and len(body) <= _QUICK_BYTES and body.count(b",") <= _QUICK_COMMAS


def is_large(request: StrictRequest) -> bool:
    """Whether the body is announced as large, or not announced at all."""
    announced = request.field(b"content-length") or ""
    return not announced.isdigit() or int(announced) > LARGE_BYTES


def _route(name: str) -> Any:
    """The route of one calculator."""

    async def handler(request: StrictRequest) -> Reply:
        order = Order(name, chosen_media_type(request), explains(request))
        bench: Workbench = request.app.state.workbench
        async with bench.admitted(large=is_large(request)):
            body = await request.bytes_of(limit=MAX_BODY_BYTES)
            with request.surface.span(f"calculate {name}"):
                if is_quick(name, body):
                    return answer(order, body, Deadline())
                return await bench.run(lambda deadline: answer(order, body, deadline))

    handler.__name__ = name.replace("-", "_")
    handler.__doc__ = f"Calculate {name}."
    return post(
        f"/v1/analysis/{name}",
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
        opt=described(examples.CALCULATIONS[name]),
    )(handler)


ROUTES: Final = [_route(name) for name in CALCULATORS]
