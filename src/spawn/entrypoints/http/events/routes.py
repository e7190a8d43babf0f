"""Routes of the event feed: pull CloudEvents after a position, or follow them as a stream."""

from collections.abc import Callable
from typing import Any, Final

from spawn.application.events.encoded_feed import EventFilter, read_event_filter
from spawn.application.events.feed import (
    FEED_LIMIT,
    NEWEST,
    FeedStart,
    envelope_for,
    find_start,
    format_end,
    read_feed,
)
from spawn.application.events.versioned_events import convert_entries
from spawn.application.schemas.version_selection import (
    VersionSelection,
    is_selection_served,
    read_version_selection,
)
from spawn.domain.events.cloudevents import (
    BATCH_MEDIA_TYPE,
    CloudEvent,
)
from spawn.domain.events.journal_entry import FeedPage
from spawn.domain.principal import Scope
from spawn.entrypoints.http.events.sse import MEDIA_TYPE, EventStreamResponse
from spawn.entrypoints.http.events.wire import FeedView
from spawn.entrypoints.http.protocol.cursors import next_link
from spawn.entrypoints.http.protocol.operation import Parameter, Success
from spawn.entrypoints.http.protocol.query_params import LIMIT, SCHEMA_VERSIONS, read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response, encode_json
from spawn.entrypoints.http.protocol.route import Result, Route, route

PATH: Final = "/v1/events"
_FORM: Final = r"[0-9]{1,18}\.[0-9]{1,18}(\.[0-9a-f-]{36})?(@[0-9a-f]{32})?"
_CURSOR: Final = {"type": "string", "pattern": f"^{_FORM}$"}
_START: Final = {"type": "string", "pattern": f"^(newest|{_FORM})$"}
_AFTER: Final = Parameter(
    "after",
    _START,
    "The `next` of the previous page, or the `id` of an event; `newest` for the next new event. "
    "Absent for the start of the feed.",
    component="FeedAfter",
)
_LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID",
    _CURSOR,
    "The id of the last received event; takes precedence over `after`.",
    "header",
)
TYPES: Final = Parameter(
    "type",
    {"type": "string", "pattern": r"^spawn\.project\.(created|amended|transitioned)\.v1$"},
    "Comma-separated event types.",
    component="EventTypes",
)
SUBJECT: Final = Parameter(
    "subject",
    {"type": "string", "pattern": r"^projects/[0-9a-f-]{36}$"},
    "Only events of one aggregate.",
    component="EventSubject",
)


@route(
    "GET",
    PATH,
    "readEvents",
    scopes=(Scope.EVENTS_READ,),
    serves_row_scopes=True,
    tag="events",
    summary="List events",
    description=(
        "CloudEvents 1.0 in the order of the journal, after a position; delivery is at least once. "
        "Store `next` and send it as `after` of the next request. An empty page whose `next` is "
        "your `after` means that there are no newer events. `after=newest` returns the current "
        "position in `next`. The state in `data` is as it was stored; `schema_version` gives "
        "every state of a governed kind in the fields of one version instead."
    ),
    parameters=(_AFTER, LIMIT, TYPES, SUBJECT, SCHEMA_VERSIONS),
    returns=Success(
        FeedView,
        "A page of events.",
        headers=("Link",),
        alternatives={BATCH_MEDIA_TYPE: tuple[CloudEvent, ...]},
    ),
    problems=("cursor_invalid", "cursor_expired", "not_found", "schema_version_expired"),
)
async def list_events(request: StrictRequest) -> Response | Result:
    """Return the events after a position."""
    limit = min(read_limit(request.query.get("limit")), FEED_LIMIT)
    event_filter = read_event_filter(request.query)
    versions = await _read_versions(request)
    dependencies = request.dependencies
    envelope = envelope_for(request.http_state.streams.envelope, request.principal)
    start = await find_start(dependencies, envelope, request.query.get("after"))
    page = await _read_page(request, start, limit, event_filter)
    end = format_end(dependencies, envelope, start, page)
    headers = (next_link(PATH, request.query, end),)
    entries = page.entries
    if versions:
        entries = await convert_entries(dependencies, entries, versions)
    events = tuple(map(envelope.to_cloudevent, entries))
    if request.media_type == BATCH_MEDIA_TYPE:
        media_type = BATCH_MEDIA_TYPE.encode()
        return Response(200, encode_json(events), media_type=media_type, headers=headers)
    return Result(FeedView(events, end), headers)


@route(
    "GET",
    f"{PATH}/stream",
    "followEvents",
    scopes=(Scope.EVENTS_READ,),
    serves_row_scopes=True,
    tag="events",
    summary="Stream events",
    description=(
        "Server-sent events: a CloudEvent as `data`, its position as `id`. Without a position the "
        "stream starts with the next event; a client that reconnects with `Last-Event-ID` misses "
        "nothing. A comment is sent while there are no events."
    ),
    parameters=(_AFTER, _LAST_EVENT_ID, TYPES, SUBJECT, SCHEMA_VERSIONS),
    returns=Success(str, "A stream of events without an end.", media_types=(MEDIA_TYPE,)),
    problems=(
        *("cursor_invalid", "cursor_expired", "not_found", "schema_version_expired"),
        "overloaded",
    ),
)
async def stream_events(request: StrictRequest) -> EventStreamResponse:
    """Stream events as they are recorded."""
    event_filter = read_event_filter(request.query)
    versions = await _read_versions(request)
    streams = request.http_state.streams
    # A client that reconnects repeats its first address; Last-Event-ID is more recent.
    after = request.header(b"last-event-id") or request.query.get("after") or NEWEST
    dependencies, principal = request.dependencies, request.principal
    start = await find_start(dependencies, streams.envelope, after)
    if after != NEWEST:
        await _read_page(request, start, 1, event_filter)  # raises if it was never issued
    # Checked last, so that no other stream opens while the position is validated.
    streams.open(request.context.client)

    async def is_permitted() -> bool:
        """Whether credentials and schema versions are valid yet, also while there are no events."""
        is_served = await is_selection_served(dependencies, versions)
        return is_served and await request.is_still_permitted()

    async def follow(write: Callable[[bytes], Any]) -> None:
        if principal.row_scope is None and start.position is not None:
            await streams.follow(
                start.position,
                event_filter,
                write,
                schema_versions=versions,
                is_permitted=is_permitted,
            )
            return
        await streams.follow_visible(
            start,
            event_filter,
            write,
            reads=dependencies.reads,
            schema_versions=versions,
            is_permitted=is_permitted,
        )

    return EventStreamResponse(streams, follow)


async def _read_versions(request: StrictRequest) -> VersionSelection:
    """Return the schema versions whose fields the client wants; none for events as stored.

    Raises:
        InvalidInput, NotFound, SchemaVersionExpired: one is no version that is served.
    """
    text = request.query.get("schema_version")
    return await read_version_selection(request.dependencies, text)


async def _read_page(
    request: StrictRequest, start: FeedStart, limit: int, event_filter: EventFilter
) -> FeedPage:
    return await read_feed(
        request.dependencies,
        request.principal,
        after=start.position,
        limit=limit,
        types=event_filter.types,
        subject=event_filter.subject,
        retention=request.http_state.streams.retention,
    )


ROUTES: Final[list[Route]] = [list_events, stream_events]
