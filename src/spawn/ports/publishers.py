"""Events out of the journal, to whoever wants them."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from spawn.domain.change import Entry


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a publisher wants to be given events.

    `name` is the same from start to start and holds no secret: positions and dead letters are
    kept under it. At most `batch` events come at once and `concurrency` batches at a time; events
    of one aggregate are never in two of them. What is published to a `durable` publisher outlives
    this process: its position is kept, and what it missed follows; it begins at the oldest event
    there is if `from_oldest`, else at what comes next. Others begin anew at each start. `types` are
    the events it wants; None: all that the feed shows without being asked for types.
    """

    name: str
    batch: int = 1
    concurrency: int = 1
    durable: bool = True
    from_oldest: bool = False
    types: frozenset[str] | None = None


class Undelivered(msgspec.Struct, frozen=True):
    """An event that was not taken, and why, in a sentence that may be shown.

    `refused`: the consumer read this very event and will not have it, now or later.
    """

    entry: Entry
    reason: str
    refused: bool = False


class EventPublisher(Protocol):
    """Receives journal entries that carry events, at least once, in order for each aggregate."""

    @property
    def terms(self) -> Terms:
        """How it wants to be given events; always the same."""
        ...

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        """Hand the events over; those that the consumer did not take are returned, and come again.

        An event MUST NOT be delivered after one of the same aggregate in the same call was not;
        it is then among those returned. It MUST end within a bounded time.

        Raises:
            Unavailable: the consumer cannot be reached or asks for patience (`retry_after_s`);
                all come again, also those that it may have taken.
        """
        ...

    async def probe(self) -> str:
        """A sentence on where events go, once the consumer was found there; no event is sent.

        Raises:
            Unavailable: it was not found, and why.
        """
        ...

    async def close(self) -> None:
        """Let go of what is held; idempotent."""
        ...
