"""The event feed that clients read.

A reader with a row scope has cursors that name an event (`VersionCursor`) where others have the
position in the journal: numbers, gaps and the end of the feed would tell of rows outside.
"""

from datetime import datetime, timedelta

import msgspec

from spawn.application.access.row_access import ScopedReads
from spawn.application.dependencies import Dependencies, require
from spawn.domain.errors import CursorExpired, CursorInvalid
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.journal_entry import FeedPage
from spawn.domain.events.position import InstantCursor, Position, VersionCursor
from spawn.domain.principal import Principal, Scope

NEWEST = "newest"
"""Cursor of the position now, after which only later events come."""

FEED_LIMIT = 500
"""Maximum entries of one feed page."""

MAX_EMPTY_PAGES = 20
"""Pages read within one request while they are empty but lead on."""


class FeedStart(msgspec.Struct, frozen=True):
    """A place in the feed, and its cursor; without a position the beginning."""

    position: Position | None
    cursor: str


def envelope_for(envelope: EventEnvelope, principal: Principal) -> EventEnvelope:
    """Return the envelope of the events that a principal reads."""
    if principal.row_scope is None:
        return envelope
    return msgspec.structs.replace(envelope, names_versions=True)


async def find_start(
    dependencies: Dependencies, envelope: EventEnvelope, cursor: str | None
) -> FeedStart:
    """Return the place that a cursor names; `NEWEST` names the one now, None the beginning.

    Raises:
        CursorInvalid: the cursor is malformed, or the id of another store's event.
        CursorExpired: it belongs to an earlier epoch.
    """
    reads = dependencies.reads
    if isinstance(reads, ScopedReads):
        return await _find_visible_start(reads, envelope, cursor)
    if cursor is None:
        return FeedStart(None, "")
    position = await reads.position() if cursor == NEWEST else envelope.parse_cursor(cursor)
    return FeedStart(position, str(position))


async def _find_visible_start(
    reads: ScopedReads, envelope: EventEnvelope, cursor: str | None
) -> FeedStart:
    """Return the place after a visible event; before the first one it has the cursor `epoch.0`."""
    epoch = (await reads.position()).epoch
    beginning = str(Position(epoch, 0))
    if cursor == NEWEST:
        # First the instant: what happens in between is delivered again, not left out.
        cursor = str(InstantCursor(epoch, await reads.final_instant()))
        return FeedStart(await reads.position(), cursor)
    if cursor is None:
        return FeedStart(None, beginning)
    text = envelope.split_cursor(cursor)
    if text == beginning:
        return FeedStart(None, beginning)
    place = InstantCursor.parse(text) or VersionCursor.parse(text)
    if place.epoch < epoch:
        detail = "The store was restored since: read the feed from the beginning."
        raise CursorExpired(detail, oldest=beginning)
    if isinstance(place, InstantCursor):
        position: Position | None = await reads.find_instant(place.instant)
    else:
        position = await reads.find_event(place.kind, place.id, place.version)
    if place.epoch > epoch or position is None:
        raise CursorInvalid("The cursor names no event that you have read here.")
    return FeedStart(position, text)


async def find_end(dependencies: Dependencies, envelope: EventEnvelope) -> tuple[Position, str]:
    """Return the position now, and the cursor of the events that follow it."""
    reads = dependencies.reads
    if isinstance(reads, ScopedReads):
        # First the cursor: what happens in between is delivered again, not left out.
        cursor = (await _find_visible_start(reads, envelope, NEWEST)).cursor
        return await reads.position(), cursor
    position = await reads.position()
    return position, str(position)


def format_end(
    dependencies: Dependencies, envelope: EventEnvelope, start: FeedStart, page: FeedPage
) -> str:
    """Return the cursor after a page: of a row scope, that of its last visible event."""
    if not isinstance(dependencies.reads, ScopedReads):
        return str(page.next)
    return envelope.format_cursor(page.entries[-1]) if page.entries else start.cursor


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
    if isinstance(dependencies.reads, ScopedReads):
        return await _read_visible(dependencies.reads, after, limit, types, subject, floor)
    for _ in range(MAX_EMPTY_PAGES):
        page = await dependencies.reads.feed(
            after=after, limit=limit, types=types, subject=subject, floor=floor
        )
        if page.entries or page.next == after:
            break
        after = page.next
    return page


async def _read_visible(
    reads: ScopedReads,
    after: Position | None,
    limit: int,
    types: frozenset[str] | None,
    subject: tuple[str, str] | None,
    floor: datetime | None,
) -> FeedPage:
    """Return visible entries; a cursor expires by the age of visible entries alone.

    Raises:
        CursorExpired: a visible entry after the position is older than the floor.
    """
    if floor is not None and after is None:
        return await _read_from_floor(reads, limit, types, subject, floor)
    page = await reads.feed(after=after, limit=limit, types=types, subject=subject)
    if floor is not None and page.entries and page.entries[0].recorded_at < floor:
        oldest = str(Position(page.next.epoch, 0))
        detail = "Events after the cursor are older than the feed covers."
        raise CursorExpired(detail, oldest=oldest)
    return page


async def _read_from_floor(
    reads: ScopedReads,
    limit: int,
    types: frozenset[str] | None,
    subject: tuple[str, str] | None,
    floor: datetime,
) -> FeedPage:
    """Return the first visible entries that are not older than the floor.

    A store may begin up to a minute before it. A page of such entries alone would be empty, and
    its reader would begin again, since only an entry moves its cursor.
    """
    page = await reads.feed(after=None, limit=limit, types=types, subject=subject, floor=floor)
    for _ in range(MAX_EMPTY_PAGES):
        if not page.entries or page.entries[-1].recorded_at >= floor:
            break
        page = await reads.feed(after=page.next, limit=FEED_LIMIT, types=types, subject=subject)
    entries = tuple(entry for entry in page.entries if entry.recorded_at >= floor)
    if len(entries) > limit:
        return FeedPage(entries[:limit], entries[limit - 1].position)
    return FeedPage(entries, page.next)
