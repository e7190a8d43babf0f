"""Event publishers, and the results of delivery."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from spawn.domain.events.journal_entry import JournalEntry


class DeliveryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Delivery settings that a publisher declares.

    `name` is stable between starts and holds no secret: positions and dead letters are stored
    under it. A call delivers at most `batch` events, and at most `concurrency` calls run at a time;
    events of one aggregate are never in two of them. A `durable` publisher outlives this process:
    its position is saved and it receives the events it missed; the first start is at the oldest
    event if `from_oldest`, else at the next event. Other publishers start afresh at each start.
    `types` are the event types delivered; None: every type that the feed returns without a type
    filter.
    """

    name: str
    batch: int = 1
    concurrency: int = 1
    durable: bool = True
    from_oldest: bool = False
    types: frozenset[str] | None = None


class ConsumerGone(Exception):
    """The consumer wants no further event; the message is a sentence fit for publication."""


class DeliveryFailure(msgspec.Struct, frozen=True):
    """An event that was not delivered, and the reason as a sentence fit for publication.

    `is_rejected`: the consumer read this event and will never accept it.
    """

    entry: JournalEntry
    reason: str
    is_rejected: bool = False


class EventPublisher(Protocol):
    """Receives journal entries with events, at least once, in order for each aggregate."""

    @property
    def delivery_options(self) -> DeliveryOptions:
        """The delivery settings; constant."""
        ...

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Deliver the events; return the failed ones, which are delivered again later.

        After a failed event, later events of the same aggregate in the call MUST NOT be delivered;
        they are returned as well. The call MUST end within a bounded time.

        Raises:
            Unavailable: the consumer cannot be reached or asks for a delay (`retry_after_s`); all
                events are delivered again, even those that it may have accepted.
            ConsumerGone: the consumer wants no further event; delivery stops until a restart.
        """
        ...

    async def probe(self) -> str:
        """Check that the consumer is reachable, without an event; return its description.

        Raises:
            Unavailable: it cannot be reached, with the reason.
        """
        ...

    async def close(self) -> None:
        """Release all resources; idempotent."""
        ...
