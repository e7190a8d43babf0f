"""The feed of events, to be pulled."""

from datetime import timedelta

from spawn.application.dependencies import Services, require
from spawn.domain.change import FeedPage
from spawn.domain.principal import Principal

FEED_LIMIT = 500
"""The cap on one page of the feed, entries."""

MAX_LOOKS = 20
"""How often an empty page that leads on is followed within one request."""


async def read_feed(
    services: Services,
    principal: Principal,
    *,
    after: str | None,
    limit: int,
    types: frozenset[str] | None = None,
    subject: tuple[str, str] | None = None,
    retention: timedelta | None = None,
) -> FeedPage:
    """Entries that carry an event, after a position; none that is older than `retention`.

    A store may look at a part of the journal at a time: an empty answer that leads on is followed,
    so that a rare type or subject costs a client few requests.

    Raises:
        CursorInvalid: the position was never issued.
        CursorExpired: it belongs to an earlier epoch or fell below the retention floor.
    """
    require(principal, "read")
    floor = None if retention is None else services.clock.now() - retention
    for _ in range(MAX_LOOKS):
        page = await services.reads.feed(
            after=after, limit=limit, types=types, subject=subject, floor=floor
        )
        if page.entries or page.next == after:
            break
        after = page.next
    return page
