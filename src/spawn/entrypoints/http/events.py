"""The pull feed: journal entries as CloudEvents, continued by position."""

import re
from typing import Any, Final

import msgspec
from litestar import get

from spawn.application.feed import FEED_LIMIT, read_feed
from spawn.domain.change import Entry
from spawn.domain.errors import InvalidInput
from spawn.entrypoints.http.operation import Operation, Success, described
from spawn.entrypoints.http.queries import read_limit
from spawn.entrypoints.http.reply import Header, Reply, encode
from spawn.entrypoints.http.request import StrictRequest

PATH: Final = "/v1/events"
_TYPE: Final = re.compile(r"spawn\.([a-z_]+\.[a-z_]+)\.v1")
_SUBJECT: Final = re.compile(r"([a-z_]+)s/([\x21-\x7e]{1,256})")
MAX_TYPES: Final = 20
PLURALS: Final = {"project": "projects"}

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
    source = request.surface.public_url
    schema_id = (await request.services.active()).schema.id
    shown = [encode(cloud_event(entry, source, schema_id)) for entry in page.entries]
    body = b'{"events":[%b],"next":%b}' % (b",".join(shown), encode(page.next))
    after = f"{PATH}?after={page.next}"
    headers: list[Header] = [(b"link", f'<{after}>; rel="next"'.encode())]
    return Reply(200, body, headers=headers)


def cloud_event(entry: Entry, source: str, schema_id: str) -> dict[str, Any]:
    """A journal entry as a CloudEvent; the state is as it was encoded at commit."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": entry.position,
        "source": source,
        "type": f"spawn.{entry.type}.v1",
        "subject": f"{PLURALS.get(entry.kind, entry.kind + 's')}/{entry.id}",
        "time": entry.recorded_at,
        "datacontenttype": "application/json",
        "dataschema": f"{source}/v1/governance/schemas/{schema_id}/versions/{entry.schema_version}",
        "sequence": f"{entry.version:010d}",
    }
    if entry.traceparent is not None:
        event["traceparent"] = entry.traceparent
    event["data"] = {
        "before_version": entry.version - 1,
        "changed": entry.changed,
        "after": msgspec.Raw(entry.document),
    }
    return event


def _types(text: str) -> frozenset[str]:
    """Comma-separated CloudEvents types, as the journal names them."""
    names = text.split(",")
    found = [match[1] for name in names if (match := _TYPE.fullmatch(name))]
    if len(found) != len(names) or len(names) > MAX_TYPES:
        raise InvalidInput.at("/type", "invalid_type", "Types look like spawn.project.created.v1.")
    return frozenset(found)


def _subject(text: str) -> tuple[str, str]:
    match = _SUBJECT.fullmatch(text)
    if match is None:
        raise InvalidInput.at("/subject", "invalid_subject", "A subject looks like projects/{id}.")
    return match[1], match[2]


ROUTES: Final = [read]
