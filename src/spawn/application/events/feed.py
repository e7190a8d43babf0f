"""The event feed that clients read."""

from datetime import timedelta

from spawn.application.dependencies import Dependencies, require
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.journal_entry import FeedPage
from spawn.domain.events.position import Position
from spawn.domain.principal import Principal, Scope

NEWEST = "newest"
"""Cursor of the position now, after which only later events come."""

FEED_LIMIT = 500
"""Maximum entries of one feed page."""

MAX_EMPTY_PAGES = 20
"""Pages read within one request while they are empty but lead on."""


async def find_position(
    dependencies: Dependencies, envelope: EventEnvelope, cursor: str
) -> Position:
    """Return the position that a cursor names; `NEWEST` names the one now.

    Raises:
        CursorInvalid: the cursor is malformed, or the id of another store's event.
    """
    if cursor == NEWEST:
        return await dependencies.reads.position()
    return envelope.parse_cursor(cursor)


async def read_feed(
    dependencies: Dependencies,
    principal: Principal,
    *,
    after: Position | None,
    limit: int,
    types: frozenset[str] | None = None,
    subject: tuple[str, str] | None = None,
    retention: timedelta | None = None,
) -> FeedPage:
    """Return entries with an event after a position, none older than `retention`.

    A store may scan a part of the journal at a time: an empty page that leads on is followed, so
    that a rare type or subject costs a client few requests.

    Raises:
        CursorInvalid: the position was never issued.
        CursorExpired: it belongs to an earlier epoch or fell below the retention floor.
    """
    require(principal, Scope.EVENTS_READ)
    floor = None if retention is None else dependencies.clock.now() - retention
    for _ in range(MAX_EMPTY_PAGES):
        page = await dependencies.reads.feed(
            after=after, limit=limit, types=types, subject=subject, floor=floor
        )
        if page.entries or page.next == after:
            break
        after = page.next
    return page
