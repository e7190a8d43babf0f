"""Routes of dead letters, events that a publisher could not deliver: get, replay, discard."""

from typing import Final

from spawn.application.events.dead_letters import (
    discard_dead_letter,
    get_dead_letter,
    list_dead_letters,
    replay_dead_letter,
)
from spawn.domain.change import StoredAggregate
from spawn.domain.events.dead_letter import DEAD_LETTER_KIND, DeadLetter, DeadLetterState
from spawn.domain.principal import Scope
from spawn.entrypoints.http.events.wire import DeadLetterView
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.operation import Cache, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    LIMIT,
    read_after,
    read_choice,
    read_limit,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import PageView

PATH: Final = "/v1/events/dead-letters"
_LETTER_PATH: Final = PATH + "/{dead_letter_id}"
_LETTER: Final = Success(DeadLetterView, "The dead letter.")
_BINDING: Final = cursor_binding(DEAD_LETTER_KIND)


@route(
    "GET",
    PATH,
    "listDeadLetters",
    scopes=(Scope.EVENTS_READ,),
    tag="events",
    summary="List dead letters",
    description=(
        "Dead letters in the order in which they were recorded. With `state` a page may be short "
        "although more follow: page until `next` is null."
    ),
    parameters=(
        AFTER,
        LIMIT,
        Parameter("state", DeadLetterState, "Only dead letters in this state."),
    ),
    returns=Success(PageView[DeadLetterView], "Dead letters.", headers=("Link",)),
    problems=("cursor_invalid",),
    cache=Cache.NO_STORE,
)
async def list_route(request: StrictRequest) -> Result:
    """Return a page of dead letters."""
    page = await list_dead_letters(
        request.dependencies,
        request.principal,
        after=read_after(request.query, _BINDING),
        limit=read_limit(request.query.get("limit")),
        state=read_choice(request.query, "state", DeadLetterState),
    )
    items = [_view_letter(request, aggregate) for aggregate in page.items]
    return page_result(request, items, page.next, _BINDING)


@route(
    "GET",
    _LETTER_PATH,
    "getDeadLetter",
    scopes=(Scope.EVENTS_READ,),
    tag="events",
    summary="Get a dead letter",
    returns=_LETTER,
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def get_route(request: StrictRequest, dead_letter_id: str) -> DeadLetterView:
    """Return a dead letter."""
    letter = await get_dead_letter(request.dependencies, request.principal, dead_letter_id)
    return _view_letter(request, letter)


@route(
    "POST",
    _LETTER_PATH + "/replay",
    "replayDeadLetter",
    scopes=(Scope.ADMIN,),
    tag="events",
    summary="Replay a dead letter",
    description=(
        "The publisher sends the event at once, out of order: it may have delivered later events "
        "of the same project already. If the consumer accepts the event, the dead letter becomes "
        "replayed; otherwise its state stays."
    ),
    returns=_LETTER,
    problems=("not_found", "conflict", "delivery_failed"),
    cache=Cache.NO_STORE,
)
async def replay_route(request: StrictRequest, dead_letter_id: str) -> DeadLetterView:
    """Send the event of a dead letter again."""
    relay = request.http_state.relay
    letter = await replay_dead_letter(
        request.dependencies, request.principal, relay, dead_letter_id
    )
    return _view_letter(request, letter)


@route(
    "POST",
    _LETTER_PATH + "/discard",
    "discardDeadLetter",
    scopes=(Scope.ADMIN,),
    tag="events",
    summary="Discard a dead letter",
    description="The event stays in the feed, and the dead letter can still be read.",
    returns=_LETTER,
    problems=("not_found", "conflict"),
    cache=Cache.NO_STORE,
)
async def discard_route(request: StrictRequest, dead_letter_id: str) -> DeadLetterView:
    """Discard a dead letter."""
    relay = request.http_state.relay
    letter = await discard_dead_letter(
        request.dependencies, request.principal, relay, dead_letter_id
    )
    return _view_letter(request, letter)


def _view_letter(request: StrictRequest, aggregate: StoredAggregate[DeadLetter]) -> DeadLetterView:
    return DeadLetterView.of_letter(aggregate, request.http_state.streams.envelope)


ROUTES: Final[list[Route]] = [list_route, get_route, replay_route, discard_route]
