"""The pull feed: journal entries as CloudEvents, continued by position."""

from typing import Final

from litestar import get

from spawn.application.feed import FEED_LIMIT, read_feed
from spawn.domain.cloud_event import Envelope, read_subject, read_type
from spawn.domain.errors import InvalidInput
from spawn.entrypoints.http.operation import Operation, Success, described
from spawn.entrypoints.http.queries import read_limit
from spawn.entrypoints.http.reply import Header, Reply, encode
from spawn.entrypoints.http.request import StrictRequest

PATH: Final = "/v1/events"
MAX_TYPES: Final = 20

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
    answers={200: Success(description="Events.", schema="Feed", headers=("Link",))},
    problems=("invalid_input", "cursor_invalid", "cursor_expired"),
)


@get(PATH, opt=described(READ))
async def read(request: StrictRequest) -> Reply:
    """Events after a position."""
    request.accepts("application/json")
    given = request.query("after", "limit", "type", "subject")
    limit = min(read_limit(given.get("limit")), FEED_LIMIT)
    types = _types(given["type"]) if "type" in given else None
    subject = _subject(given["subject"]) if "subject" in given else None
    with request.surface.span("read_feed"):
        page = await read_feed(
            request.services,
            request.principal,
            after=given.get("after"),
            limit=limit,
            types=types,
            subject=subject,
        )
    schema_id = (await request.services.active()).schema.id
    envelope = Envelope(request.surface.public_url, schema_id)
    shown = [envelope.structured(entry) for entry in page.entries]
    body = b'{"events":[%b],"next":%b}' % (b",".join(shown), encode(page.next))
    after = f"{PATH}?after={page.next}"
    headers: list[Header] = [(b"link", f'<{after}>; rel="next"'.encode())]
    return Reply(200, body, headers=headers)


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


ROUTES: Final = [read]
