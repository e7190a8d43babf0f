"""Routes of dead letters: what a publisher gave up, to look at, replay or discard."""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import get, post

from spawn.application.dependencies import Services
from spawn.application.events.dead_letters import (
    Redelivery,
    discard_letter,
    get_letter,
    list_letters,
    replay_letter,
)
from spawn.domain.change import Stored
from spawn.domain.errors import InvalidInput
from spawn.domain.events.cloudevents import subject_of, type_of
from spawn.domain.events.dead_letter import KIND, DeadLetter, LetterState
from spawn.domain.principal import Principal
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.query_params import read_cursor, read_limit, write_cursor
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, json_reply
from spawn.entrypoints.http.wire import view_digest

PATH: Final = "/v1/events/dead-letters"
_ONE: Final = PATH + "/{dead_letter_id:str}"
_BINDING: Final = bytes.fromhex(view_digest((KIND,)))
_NEVER_STORED: Final[tuple[Header, ...]] = ((b"cache-control", b"no-store"),)
_LETTER: Final = Success(description="The dead letter.", schema="DeadLetter")

LIST: Final = Operation(
    id="listDeadLetters",
    tag="events",
    summary="List what publishers gave up",
    description=(
        "Dead letters in the order in which they were recorded. With `state` a page may be short "
        "although more follow: `next` tells."
    ),
    parameters=("After", "Limit", "LetterState"),
    answers={200: Success(description="Dead letters.", schema="DeadLetterPage", headers=("Link",))},
    problems=("cursor_invalid",),
)
GET: Final = Operation(
    id="getDeadLetter",
    tag="events",
    summary="Look at a dead letter",
    answers={200: _LETTER},
    problems=("not_found",),
)
REPLAY: Final = Operation(
    id="replayDeadLetter",
    tag="events",
    summary="Send a dead letter's event again",
    description=(
        "The event goes to its publisher at once, out of its turn: later events of the same "
        "project may have been taken before. The letter is replayed when it was taken, and waits "
        "on when not."
    ),
    answers={200: _LETTER},
    problems=("not_found", "conflict", "delivery_failed"),
)
DISCARD: Final = Operation(
    id="discardDeadLetter",
    tag="events",
    summary="Let a dead letter's event go",
    description="The event stays in the feed, and the letter stays to be looked at.",
    answers={200: _LETTER},
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


def shown(stored: Stored[DeadLetter]) -> LetterShown:
    """A dead letter as it is served."""
    letter = stored.state
    return LetterShown(
        dead_letter_id=letter.dead_letter_id,
        publisher=letter.publisher,
        state=letter.state.value,
        event_id=letter.event_id,
        event_type=type_of(letter.type),
        subject=subject_of(letter.kind, letter.key),
        sequence=f"{letter.version:010d}",
        event_time=letter.event_time,
        tries=letter.tries,
        reason=letter.reason,
        recorded_at=stored.created_at,
        updated_at=stored.updated_at,
    )


@get(PATH, opt=described(LIST))
async def list_all(request: StrictRequest) -> Reply:
    """A page of dead letters."""
    request.accepts("application/json")
    given = request.query("after", "limit", "state")
    with request.surface.span("list_dead_letters"):
        page = await list_letters(
            request.services,
            request.principal,
            after=read_cursor(given["after"], _BINDING) if "after" in given else None,
            limit=read_limit(given.get("limit")),
            state=_state(given.get("state")),
        )
    cursor = None if page.next is None else write_cursor(page.next, _BINDING)
    headers = [*_NEVER_STORED]
    if cursor is not None:
        following = urlencode({**given, "after": cursor})
        headers.append((b"link", f'<{PATH}?{following}>; rel="next"'.encode()))
    body = {"items": [shown(stored) for stored in page.items], "next": cursor}
    return json_reply(body, headers=headers)


@get(_ONE, opt=described(GET))
async def read(request: StrictRequest) -> Reply:
    """One dead letter."""
    key = _prepared(request)
    with request.surface.span("get_dead_letter"):
        stored = await get_letter(request.services, request.principal, key)
    return json_reply(shown(stored), headers=_NEVER_STORED)


@post(f"{_ONE}/replay", status_code=200, opt=described(REPLAY))
async def replay(request: StrictRequest) -> Reply:
    """Send the event again."""
    return await _ended(request, "replay_dead_letter", replay_letter)


@post(f"{_ONE}/discard", status_code=200, opt=described(DISCARD))
async def discard(request: StrictRequest) -> Reply:
    """Let the event go."""
    return await _ended(request, "discard_dead_letter", discard_letter)


Ending = Callable[[Services, Principal, Redelivery, str], Awaitable[Stored[DeadLetter]]]


async def _ended(request: StrictRequest, span: str, end: Ending) -> Reply:
    key, relay = _prepared(request), request.surface.relay
    with request.surface.span(span):
        stored = await end(request.services, request.principal, relay, key)
    return json_reply(shown(stored), headers=_NEVER_STORED)


def _prepared(request: StrictRequest) -> str:
    """The letter's id, of a request that asks for nothing else."""
    request.query()
    request.accepts("application/json")
    return request.path_id("dead_letter_id")


def _state(text: str | None) -> LetterState | None:
    if text is None:
        return None
    try:
        return LetterState(text)
    except ValueError:
        states = ", ".join(LetterState)
        detail = f"A dead letter's state is one of {states}."
        raise InvalidInput.at("/state", "not_in_enum", detail) from None


ROUTES: Final = [list_all, read, replay, discard]
