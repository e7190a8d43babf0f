"""Routes of dead letters, events that a publisher could not deliver: get, replay, discard."""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import get, post

from spawn.application.dependencies import Dependencies
from spawn.application.events.dead_letters import (
    DeadLetterPublisher,
    discard_dead_letter,
    get_dead_letter,
    list_dead_letters,
    replay_dead_letter,
)
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import InvalidInput
from spawn.domain.events.cloudevents import format_event_type, format_subject
from spawn.domain.events.dead_letter import DEAD_LETTER_KIND, DeadLetter, DeadLetterState
from spawn.domain.principal import Principal
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

PATH: Final = "/v1/events/dead-letters"
_LETTER_PATH: Final = PATH + "/{dead_letter_id:str}"
_BINDING: Final = bytes.fromhex(fields_digest((DEAD_LETTER_KIND,)))
_NO_STORE: Final[tuple[Header, ...]] = ((b"cache-control", b"no-store"),)
_LETTER: Final = SuccessResponse(description="The dead letter.", schema="DeadLetter")

LIST: Final = HandlerOperation(
    id="listDeadLetters",
    tag="events",
    summary="List dead letters",
    description=(
        "Dead letters in the order in which they were recorded. With `state` a page may be short "
        "although more follow: page until `next` is null."
    ),
    parameters=("After", "Limit", "LetterState"),
    responses={
        200: SuccessResponse(
            description="Dead letters.", schema="DeadLetterPage", headers=("Link",)
        )
    },
    problems=("cursor_invalid",),
)
GET: Final = HandlerOperation(
    id="getDeadLetter",
    tag="events",
    summary="Get a dead letter",
    responses={200: _LETTER},
    problems=("not_found",),
)
REPLAY: Final = HandlerOperation(
    id="replayDeadLetter",
    tag="events",
    summary="Replay a dead letter",
    description=(
        "The publisher sends the event at once, out of order: it may have delivered later events "
        "of the same project already. If the consumer accepts the event, the dead letter becomes "
        "replayed; otherwise its state stays."
    ),
    responses={200: _LETTER},
    problems=("not_found", "conflict", "delivery_failed"),
)
DISCARD: Final = HandlerOperation(
    id="discardDeadLetter",
    tag="events",
    summary="Discard a dead letter",
    description="The event stays in the feed, and the dead letter can still be read.",
    responses={200: _LETTER},
    problems=("not_found", "conflict"),
)


class LetterShown(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter on the wire."""

    dead_letter_id: str
    publisher: str
    state: str
    event_id: str
    event_type: str
    subject: str
    sequence: str
    event_time: Any
    tries: int
    reason: str
    recorded_at: Any
    updated_at: Any


def dead_letter_view(aggregate: StoredAggregate[DeadLetter]) -> LetterShown:
    """Return a dead letter as it is sent."""
    letter = aggregate.state
    return LetterShown(
        dead_letter_id=letter.dead_letter_id,
        publisher=letter.publisher,
        state=letter.state.value,
        event_id=letter.event_id,
        event_type=format_event_type(letter.type),
        subject=format_subject(letter.kind, letter.key),
        sequence=f"{letter.version:010d}",
        event_time=letter.event_time,
        tries=letter.tries,
        reason=letter.reason,
        recorded_at=aggregate.created_at,
        updated_at=aggregate.updated_at,
    )


@get(PATH, opt=operation_options(LIST))
async def list_route(request: StrictRequest) -> Response:
    """Return a page of dead letters."""
    request.negotiate_media_type("application/json")
    parameters = request.query_parameters("after", "limit", "state")
    with request.http_state.span("list_dead_letters"):
        page = await list_dead_letters(
            request.dependencies,
            request.principal,
            after=decode_cursor(parameters["after"], _BINDING) if "after" in parameters else None,
            limit=read_limit(parameters.get("limit")),
            state=_read_state(parameters.get("state")),
        )
    cursor = None if page.next is None else encode_cursor(page.next, _BINDING)
    headers = [*_NO_STORE]
    if cursor is not None:
        query = urlencode({**parameters, "after": cursor})
        headers.append((b"link", f'<{PATH}?{query}>; rel="next"'.encode()))
    body = {"items": [dead_letter_view(aggregate) for aggregate in page.items], "next": cursor}
    return json_response(body, headers=headers)


@get(_LETTER_PATH, opt=operation_options(GET))
async def get_route(request: StrictRequest) -> Response:
    """Return a dead letter."""
    key = _read_letter_id(request)
    with request.http_state.span("get_dead_letter"):
        aggregate = await get_dead_letter(request.dependencies, request.principal, key)
    return json_response(dead_letter_view(aggregate), headers=_NO_STORE)


@post(f"{_LETTER_PATH}/replay", status_code=200, opt=operation_options(REPLAY))
async def replay_route(request: StrictRequest) -> Response:
    """Send the event of a dead letter again."""
    return await _resolve(request, "replay_dead_letter", replay_dead_letter)


@post(f"{_LETTER_PATH}/discard", status_code=200, opt=operation_options(DISCARD))
async def discard_route(request: StrictRequest) -> Response:
    """Discard a dead letter."""
    return await _resolve(request, "discard_dead_letter", discard_dead_letter)


Resolution = Callable[
    [Dependencies, Principal, DeadLetterPublisher, str], Awaitable[StoredAggregate[DeadLetter]]
]


async def _resolve(request: StrictRequest, span: str, resolve: Resolution) -> Response:
    key, relay = _read_letter_id(request), request.http_state.relay
    with request.http_state.span(span):
        aggregate = await resolve(request.dependencies, request.principal, relay, key)
    return json_response(dead_letter_view(aggregate), headers=_NO_STORE)


def _read_letter_id(request: StrictRequest) -> str:
    """Return the id of the dead letter, from a request without parameters."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    return request.path_id("dead_letter_id")


def _read_state(text: str | None) -> DeadLetterState | None:
    if text is None:
        return None
    try:
        return DeadLetterState(text)
    except ValueError:
        states = ", ".join(DeadLetterState)
        detail = f"The state of a dead letter is one of {states}."
        raise InvalidInput.at("/state", "not_in_enum", detail) from None


ROUTES: Final = [list_route, get_route, replay_route, discard_route]
