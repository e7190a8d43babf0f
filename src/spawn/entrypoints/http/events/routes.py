"""Routes of the event feed: pull CloudEvents after a position, or follow them as a stream."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from litestar import get

from spawn.application.events.feed import FEED_LIMIT, read_feed
from spawn.domain.errors import InvalidInput
from spawn.domain.events.cloudevents import BATCH_MEDIA_TYPE, parse_event_type, parse_subject
from spawn.domain.events.journal_entry import FeedPage
from spawn.domain.events.position import Position
from spawn.entrypoints.http.event_streams import EventFilter
from spawn.entrypoints.http.events.sse import MEDIA_TYPE, EventStreamResponse
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    SuccessResponse,
    operation_options,
)
from spawn.entrypoints.http.protocol.query_params import read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response, encode_json

PATH: Final = "/v1/events"
MAX_TYPES: Final = 20
EVENT_SCHEMA: Final = "#/components/schemas/Event"

READ: Final = HandlerOperation(
    id="readEvents",
    tag="events",
    summary="List events",
    description=(
        "CloudEvents 1.0 in the order of the journal, after a position; delivery is at least once. "
        "Store `next` and send it as `after` of the next request. An empty page whose `next` is "
        "your `after` means that there are no newer events."
    ),
    parameters=("FeedAfter", "Limit", "EventTypes", "EventSubject"),
    responses={
        200: SuccessResponse(
            description="A page of events.",
            schema="Feed",
            headers=("Link",),
            alternative_schemas={
                BATCH_MEDIA_TYPE: {"type": "array", "items": {"$ref": EVENT_SCHEMA}}
            },
        )
    },
    problems=("invalid_input", "cursor_invalid", "cursor_expired"),
)


STREAM: Final = HandlerOperation(
    id="followEvents",
    tag="events",
    summary="Stream events",
    description=(
        "Server-sent events: a CloudEvent as `data`, its position as `id`. Without a position the "
        "stream starts with the next event; a client that reconnects with `Last-Event-ID` misses "
        "nothing. A comment is sent while there are no events."
    ),
    parameters=("FeedAfter", "LastEventId", "EventTypes", "EventSubject"),
    responses={
        200: SuccessResponse(
            description="A stream of events without an end.",
            schema={"type": "string"},
            media_types=(MEDIA_TYPE,),
        )
    },
    problems=("invalid_input", "cursor_invalid", "cursor_expired", "overloaded"),
)


@get(PATH, opt=operation_options(READ))
async def list_events(request: StrictRequest) -> Response:
    """Return the events after a position."""
    media_type = request.negotiate_media_type("application/json", BATCH_MEDIA_TYPE)
    parameters = request.query_parameters("after", "limit", "type", "subject")
    limit = min(read_limit(parameters.get("limit")), FEED_LIMIT)
    event_filter = _read_filter(parameters)
    after = parameters.get("after")
    position = None if after is None else Position.parse(after)
    page = await _read_page(request, position, limit, event_filter)
    envelope = request.http_state.streams.envelope
    body = b"[%b]" % b",".join([envelope.encode_structured(entry) for entry in page.entries])
    if media_type != BATCH_MEDIA_TYPE:
        body = b'{"events":%b,"next":%b}' % (body, encode_json(str(page.next)))
    link = f'<{PATH}?{urlencode({**parameters, "after": str(page.next)})}>; rel="next"'
    return Response(
        200, body, media_type=media_type.encode(), headers=[(b"link", link.encode("ascii"))]
    )


@get(f"{PATH}/stream", opt=operation_options(STREAM))
async def stream_events(request: StrictRequest) -> EventStreamResponse:
    """Stream events as they are recorded."""
    request.negotiate_media_type(MEDIA_TYPE)
    parameters = request.query_parameters("after", "type", "subject")
    event_filter = _read_filter(parameters)
    streams = request.http_state.streams
    # A client that reconnects repeats its first address; Last-Event-ID is more recent.
    after = request.header(b"last-event-id") or parameters.get("after")
    if after is None:
        position = await request.dependencies.reads.position()
    else:
        position = Position.parse(after)
        await _read_page(request, position, 1, event_filter)  # raises if it was never issued
    # Checked last, so that no other stream opens while the position is validated.
    streams.check_capacity()
    return EventStreamResponse(streams, position, event_filter)


async def _read_page(
    request: StrictRequest, after: Position | None, limit: int, event_filter: EventFilter
) -> FeedPage:
    with request.http_state.span("read_feed"):
        return await read_feed(
            request.dependencies,
            request.principal,
            after=after,
            limit=limit,
            types=event_filter.types,
            subject=event_filter.subject,
            retention=request.http_state.streams.retention,
        )


def _read_filter(parameters: Mapping[str, str]) -> EventFilter:
    """Read the filter from `type` and `subject`."""
    return EventFilter(
        types=_read_types(parameters["type"]) if "type" in parameters else None,
        subject=_read_subject(parameters["subject"]) if "subject" in parameters else None,
    )


def _read_types(text: str) -> frozenset[str]:
    """Read comma-separated CloudEvents types as journal types."""
    names = text.split(",")
    types = [name for name in map(parse_event_type, names) if name is not None]
    if len(types) != len(names) or len(names) > MAX_TYPES:
        raise InvalidInput.at(
            "/type", "invalid_type", "A type is unknown; types look like spawn.project.created.v1."
        )
    return frozenset(types)


def _read_subject(text: str) -> tuple[str, str]:
    subject = parse_subject(text)
    if subject is None:
        raise InvalidInput.at("/subject", "invalid_subject", "A subject looks like projects/{id}.")
    return subject


ROUTES: Final = [list_events, stream_events]
