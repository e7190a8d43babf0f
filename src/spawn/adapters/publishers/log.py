"""Publisher of domain events to the service's own log."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from loguru import logger

from spawn.domain.events.journal_entry import JournalEntry
from spawn.ports.publishers import DeliveryFailure, DeliveryOptions

BATCH_SIZE: Final = 1_000


class LogPublisher:
    """One line per batch of events at level INFO, and one more per event at DEBUG.

    The log covers the time in which the service runs, so its position is not durable.
    """

    def __init__(self, delivery_options: DeliveryOptions) -> None:
        self.delivery_options = delivery_options

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Log the entries."""
        logger.info(
            "{} domain events",
            len(entries),
            types=dict(Counter(entry.type for entry in entries)),
            first=str(entries[0].position),
            last=str(entries[-1].position),
        )
        for entry in entries:
            logger.debug(
                "{} {} version {}",
                entry.type,
                entry.id,
                entry.version,
                actor=entry.actor,
                position=str(entry.position),
                changed=entry.changed,
            )
        return ()

    async def probe(self) -> str:
        """Return where the events are written."""
        return "written to the log"

    async def close(self) -> None:
        """Do nothing: there is no connection."""
