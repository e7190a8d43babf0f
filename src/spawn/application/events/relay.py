"""Outbox relay: delivers the event feed to every publisher, each at its own position."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.events.dead_letters import (
    count_dead_letters,
    load_dead_letter_entry,
    record_dead_letter,
)
from spawn.application.events.delivery import FeedReader, PublisherDelivery, RetryPolicy
from spawn.application.events.delivery_pace import DeliveryPace
from spawn.application.events.journal_watch import JournalWatch
from spawn.domain.errors import Conflict, DeliveryFailed, NotFound, SpawnError, Unavailable
from spawn.domain.events.dead_letter import DeadLetter
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.ports.publishers import ConsumerGone, EventPublisher

SAVE_S = 1.0
"""Interval between saves of positions; a crash repeats at most the events sent since."""


class DeliveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of the delivery to one publisher.

    `backlog` counts the journal rows after its position, which is at least the number of waiting
    events; `waiting` counts the aggregates blocked by a failure. `lag_s` is the age of the oldest
    event known to be undelivered. `error` is the reason of the wait, if any. `is_stopped` once the
    consumer wants no further event; delivery continues after a restart or `resume`.
    """

    name: str
    position: Position | None
    backlog: int
    waiting: int
    lag_s: float
    delivered: int
    failed: int
    dead_lettered: int
    dead_letters: int
    error: str | None
    is_stopped: bool


class Relay:
    """Relay of journal entries to each publisher, at least once, in order per aggregate.

    A slow or failing publisher delays only itself, and a failing event only its own aggregate. The
    position of a durable publisher is stored. The names of publishers are unique.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        publishers: Sequence[EventPublisher],
        journal_watch: JournalWatch,
        *,
        retry_policy: RetryPolicy | None = None,
        on_error: Callable[[BaseException], None] | None = None,
        on_stop: Callable[[str, str], None] | None = None,
    ) -> None:
        self._dependencies = dependencies
        self._waiting_letters: Counter[str] = Counter()
        self._saved_positions: dict[str, Position | None] = {}
        readers = {
            types: FeedReader(dependencies.reads, types)
            for types in {publisher.delivery_options.types for publisher in publishers}
        }
        pace = DeliveryPace()
        self._deliveries = {
            publisher.delivery_options.name: PublisherDelivery(
                publisher,
                readers[publisher.delivery_options.types],
                journal_watch,
                partial(self._record_dead_letter, publisher.delivery_options.name),
                retry_policy or RetryPolicy(),
                on_error or (lambda _failure: None),
                partial(on_stop or _ignore_stop, publisher.delivery_options.name),
                pace,
            )
            for publisher in publishers
        }

    # -- running ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the position of each publisher; register new durable publishers.

        Call this before `run`. Everything committed from now on is relayed.
        """
        self._saved_positions = await self._dependencies.bookmarks.load_bookmarks()
        newest = await self._dependencies.reads.position()
        for name, delivery in self._deliveries.items():
            new = None if delivery.delivery_options.from_oldest else newest
            delivery.start_after(
                self._saved_positions.get(name, new)
                if delivery.delivery_options.durable
                else newest
            )
        await self._save()
        self._waiting_letters = await count_dead_letters(self._dependencies.reads)

    def tasks(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Return the endless tasks of the relay by name; each may be started again."""
        deliveries = {f"delivery to {n}": delivery.run for n, delivery in self._deliveries.items()}
        return {**deliveries, "bookmarks": self._save_periodically}

    async def run(self) -> None:
        """Relay until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in self.tasks().values():
                group.create_task(work())

    async def _save_periodically(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            with suppress(SpawnError):
                await self._save()

    async def _save(self) -> None:
        """Save the positions that moved; unsaved events are sent again after a crash."""
        positions = {
            name: delivery.position
            for name, delivery in self._deliveries.items()
            if delivery.delivery_options.durable
            and not (
                name in self._saved_positions and delivery.position == self._saved_positions[name]
            )
        }
        if positions:
            await self._dependencies.bookmarks.save_bookmarks(positions)
            self._saved_positions |= positions

    async def drain(self) -> None:
        """Wait until each publisher has all current events, or fails; the relay must be running."""
        await asyncio.gather(
            *(delivery.wait_until_delivered() for delivery in self._deliveries.values())
        )

    async def close(self) -> None:
        """Save all positions and close every publisher; the relay must have stopped."""
        with suppress(SpawnError):
            await self._save()
        for delivery in self._deliveries.values():
            await delivery.publisher.close()

    async def resume(self, name: str) -> DeliveryStatus:
        """Continue the delivery to a publisher that stopped because its consumer was gone.

        Raises:
            NotFound: no publisher has the name.
            Conflict: its delivery has not stopped.
        """
        delivery = self._deliveries.get(name)
        if delivery is None:
            raise NotFound(f"There is no publisher {name}.")
        if not delivery.resume():
            raise Conflict(f"The delivery to the publisher {name} has not stopped.")
        return await self._delivery_status(name, delivery)

    # -- dead letters -----------------------------------------------------------------------

    async def _record_dead_letter(
        self, name: str, entry: JournalEntry, tries: int, reason: str
    ) -> None:
        if await record_dead_letter(self._dependencies, name, entry, tries, reason):
            self._waiting_letters[name] += 1

    async def redeliver(self, letter: DeadLetter) -> None:
        """Publish the event of a dead letter again, outside of the queue.

        Raises:
            Conflict: the publisher is no longer configured.
            DeliveryFailed: the publisher did not accept the event this time either.
        """
        delivery = self._deliveries.get(letter.publisher)
        if delivery is None:
            raise Conflict(
                f"The publisher {letter.publisher} is not configured; configure it, then replay."
            )
        entry = await load_dead_letter_entry(self._dependencies.reads, letter)
        try:
            failures = await delivery.publisher.publish([entry])
        except Unavailable as failure:
            raise DeliveryFailed(failure.detail) from failure
        except ConsumerGone as gone:
            raise DeliveryFailed(str(gone)) from gone
        if failures:
            raise DeliveryFailed(failures[0].reason)

    def mark_resolved(self, letter: DeadLetter) -> None:
        """Count one waiting dead letter less."""
        self._waiting_letters[letter.publisher] -= 1

    # -- status -----------------------------------------------------------------------------

    def lag_s(self) -> float:
        """Return the age of the oldest event known to be undelivered; 0 if none."""
        return max((self._lag_s(delivery) for delivery in self._deliveries.values()), default=0.0)

    def _lag_s(self, delivery: PublisherDelivery) -> float:
        recorded_at = delivery.oldest_recorded_at()
        if recorded_at is None:
            return 0.0
        return max(0.0, (self._dependencies.clock.now() - recorded_at).total_seconds())

    async def delivery_statuses(self) -> list[DeliveryStatus]:
        """Return the status of each delivery, in the order of configuration."""
        return [
            await self._delivery_status(name, delivery)
            for name, delivery in self._deliveries.items()
        ]

    async def _delivery_status(self, name: str, delivery: PublisherDelivery) -> DeliveryStatus:
        return DeliveryStatus(
            name=name,
            position=delivery.position,
            backlog=await delivery.count_backlog(),
            waiting=delivery.count_blocked(),
            lag_s=self._lag_s(delivery),
            delivered=delivery.delivered,
            failed=delivery.failed,
            dead_lettered=delivery.dead_lettered,
            dead_letters=self._waiting_letters[name],
            error=delivery.error,
            is_stopped=delivery.is_stopped,
        )


def _ignore_stop(_name: str, _reason: str) -> None:
    """Replace the callback of a relay without one."""
