"""The feed: journal entries as CloudEvents, pulled from a position or followed live."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from litestar import get

from spawn.application.events.feed import FEED_LIMIT, read_feed
from spawn.domain.change import FeedPage
from spawn.domain.errors import InvalidInput
from spawn.domain.events.cloudevents import BATCH_MEDIA_TYPE, read_subject, read_type
from spawn.entrypoints.http.events.sse import MEDIA_TYPE, Choice, EventStream
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.query_params import read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Reply, encode

PATH: Final = "/v1/events"
MAX_TYPES: Final = 20
EVENT_SCHEMA: Final = "#/components/schemas/Event"

READ: Final = Operation(
    id="readEvents",
    tag="events",
    summary="Pull events",
    description=(
        "CloudEvents 1.0 in the order of the journal, after a position; at least once. Keep "
        "`next` and ask again with it. An empty page whose `next` is the position you asked with "
        "means that you are level with the journal."
    ),
    parameters=("FeedAfter", "Limit", "EventTypes", "EventSubject"),
    answers={
        200: Success(
            description="Events.",
            schema="Feed",
            headers=("Link",),
            also={BATCH_MEDIA_TYPE: {"type": "array", "items": {"$ref": EVENT_SCHEMA}}},
        )
    },
    problems=("invalid_input", "cursor_invalid", "cursor_expired"),
)


STREAM: Final = Operation(
    id="followEvents",
    tag="events",
    summary="Follow events as they happen",
    description=(
        "Server-sent events: a CloudEvent as `data`, its position as `id`. Without a position the "
        "stream begins with what happens next; a client that comes back with `Last-Event-ID` "
        "misses nothing. A comment is sent when nothing happens for a while."
    ),
    parameters=("FeedAfter", "LastEventId", "EventTypes", "EventSubject"),
    answers={
        200: Success(
            description="A stream without an end.",
            schema={"type": "string"},
            media_types=(MEDIA_TYPE,),
        )
    },
    problems=("invalid_input", "cursor_invalid", "cursor_expired", "overloaded"),
)


@get(PATH, opt=described(READ))
async def read(request: StrictRequest) -> Reply:
    """Events after a position."""
    media_type = request.accepts("application/json", BATCH_MEDIA_TYPE)
    given = request.query("after", "limit", "type", "subject")
    limit = min(read_limit(given.get("limit")), FEED_LIMIT)
    choice = _choice(given)
    page = await _page(request, given.get("after"), limit, choice)
    envelope = request.surface.streams.envelope
    body = b"[%b]" % b",".join([envelope.structured(entry) for entry in page.entries])
    if media_type != BATCH_MEDIA_TYPE:
        body = b'{"events":%b,"next":%b}' % (body, encode(page.next))
    link = f'<{PATH}?{urlencode({**given, "after": page.next})}>; rel="next"'
    return Reply(
        200, body, media_type=media_type.encode(), headers=[(b"link", link.encode("ascii"))]
    )


@get(f"{PATH}/stream", opt=described(STREAM))
async def follow(request: StrictRequest) -> EventStream:
    """Events as they happen."""
    request.accepts(MEDIA_TYPE)
    given = request.query("after", "type", "subject")
    choice = _choice(given)
    streams = request.surface.streams
    # A client that comes back repeats its first address: where it stands now goes before.
    after = request.field(b"last-event-id") or given.get("after")
    if after is None:
        after = await request.services.reads.position()
    else:
        await _page(request, after, 1, choice)  # or the position is refused
    # Last, so that nobody else slips in while the position is looked at.
    streams.check_room()
    return EventStream(streams, after, choice)


async def _page(request: StrictRequest, after: str | None, limit: int, choice: Choice) -> FeedPage:
    with request.surface.span("read_feed"):
        return await read_feed(
            request.services,
            request.principal,
            after=after,
            limit=limit,
            types=choice.types,
            subject=choice.subject,
            retention=request.surface.streams.retention,
        )


def _choice(given: Mapping[str, str]) -> Choice:
    """The events that `type` and `subject` ask for."""
    return Choice(
        types=_types(given["type"]) if "type" in given else None,
        subject=_subject(given["subject"]) if "subject" in given else None,
    )


def _types(text: str) -> frozenset[str]:
    """Comma-separated CloudEvents types, as the journal names them."""
    names = text.split(",")
    found = [name for name in map(read_type, names) if name is not None]
    if len(found) != len(names) or len(names) > MAX_TYPES:
        raise InvalidInput.at("/type", "invalid_type", "Types look like spawn.project.created.v1.")
    return frozenset(found)


def _subject(text: str) -> tuple[str, str]:
    found = read_subject(text)
    if found is None:
        raise InvalidInput.at("/subject", "invalid_subject", "A subject looks like projects/{id}.")
    return found


ROUTES: Final = [read, follow]
