"""What publishers over HTTP share: their turn of events, whom they trust, when to come again."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import certifi

from spawn.domain.change import Entry
from spawn.ports.events import Undelivered


async def one_by_one(
    entries: Sequence[Entry], post: Callable[[Entry], Awaitable[tuple[str, bool]]]
) -> Sequence[Undelivered]:
    """Post the events one after another, up to the first that is not taken.

    `post` says why an event was not taken, if it was not, and whether it was refused as such.
    """
    for number, entry in enumerate(entries):
        reason, refused = await post(entry)
        if reason:
            first = Undelivered(entry, reason, refused)
            waiting = "It waits behind one that was not taken."
            return [first, *(Undelivered(later, waiting) for later in entries[number + 1 :])]
    return ()


def retry_after_s(value: str | None, now: datetime) -> float:
    """The seconds that a Retry-After header asks to wait; 0 if it is absent or senseless."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def trusted_authorities() -> ssl.SSLContext:
    """The machine's authorities, and those that come with the package where it has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
