"""Events out of the journal, to whoever wants them."""

from collections.abc import Sequence
from typing import Protocol

from spawn.domain.change import Entry


class EventPublisher(Protocol):
    """Receives journal entries that carry events, in order, at least once."""

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Take all the entries or raise; after a raise the same entries come again.

        Raises:
            Unavailable: not now; the relay backs off and tries again.
        """
        ...

    async def close(self) -> None:
        """Let go of what is held; idempotent."""
        ...
