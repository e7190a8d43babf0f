"""The relay: the feed to every publisher, each at its own pace and from where it stood."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from spawn.application.dependencies import Services
from spawn.application.events.dead_letters import count_letters, letter_entry, record_letter
from spawn.application.events.delivery import BEGINNING, Line, Pages, Patience
from spawn.application.events.journal_watch import Pulse
from spawn.domain.change import Entry
from spawn.domain.errors import Conflict, DeliveryFailed, SpawnError, Unavailable
from spawn.domain.events.dead_letter import DeadLetter
from spawn.ports.publishers import EventPublisher

SAVE_S = 1.0
"""Positions are saved this often, if they moved: a crash repeats at most what was sent since."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the delivery to one publisher does.

    `backlog` counts rows of the journal that are not behind it yet, so it is at least the number
    of events that wait; `waiting` aggregates wait behind a failure. `lag_s` is the age of the
    oldest event known not to be taken. `error` is why it waits, if it does.
    """

    name: str
    position: str
    backlog: int
    waiting: int
    lag_s: float
    delivered: int
    failed: int
    given_up: int
    dead_letters: int
    error: str | None


class Relay:
    """Hands journal entries to each publisher, at least once, in order for each aggregate.

    A slow or failing publisher delays only itself, and a failing event only its own aggregate. The
    position of a durable publisher is kept in the store. The names of publishers are unique.
    """

    def __init__(
        self,
        services: Services,
        publishers: Sequence[EventPublisher],
        pulse: Pulse,
        *,
        patience: Patience | None = None,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._services = services
        self._letters: Counter[str] = Counter()
        self._saved: dict[str, str] = {}
        pages = {
            types: Pages(services.reads, types)
            for types in {publisher.terms.types for publisher in publishers}
        }
        self._lines = {
            publisher.terms.name: Line(
                publisher,
                pages[publisher.terms.types],
                pulse,
                partial(self._give_up, publisher.terms.name),
                patience or Patience(),
                on_error or (lambda _failure: None),
            )
            for publisher in publishers
        }

    # -- running ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Find where each publisher stands; who is new and durable is kept from now on.

        Comes first. Whatever is committed from here on is relayed.
        """
        self._saved = await self._services.bookmarks.load_bookmarks()
        newest = await self._services.reads.position()
        for name, line in self._lines.items():
            new = BEGINNING if line.terms.from_oldest else newest
            line.begin(self._saved.get(name, new) if line.terms.durable else newest)
        await self._save()
        self._letters = await count_letters(self._services.reads)

    async def run(self) -> None:
        """Relay until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for line in self._lines.values():
                tasks.create_task(line.run())
            tasks.create_task(self._keep_saving())

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            with suppress(SpawnError):
                await self._save()

    async def _save(self) -> None:
        """Save the positions that moved; what is not saved is sent again after a crash."""
        moved = {
            name: line.position
            for name, line in self._lines.items()
            if line.terms.durable and line.position != self._saved.get(name)
        }
        if moved:
            await self._services.bookmarks.save_bookmarks(moved)
            self._saved |= moved

    async def drain(self) -> None:
        """Wait until each publisher has what is there now, or fails; the relay is running."""
        await asyncio.gather(*(line.settle() for line in self._lines.values()))

    async def close(self) -> None:
        """Save where all stand and close every publisher; the relay runs no more."""
        with suppress(SpawnError):
            await self._save()
        for line in self._lines.values():
            await line.publisher.close()

    # -- what was given up ------------------------------------------------------------------

    async def _give_up(self, name: str, entry: Entry, tries: int, reason: str) -> None:
        if await record_letter(self._services, name, entry, tries, reason):
            self._letters[name] += 1

    async def redeliver(self, letter: DeadLetter) -> None:
        """Hand a given-up event to its publisher again, out of its turn.

        Raises:
            Conflict: that publisher is not configured any more.
            DeliveryFailed: it was not taken this time either.
        """
        line = self._lines.get(letter.publisher)
        if line is None:
            raise Conflict(f"No publisher is named {letter.publisher} any more.")
        entry = await letter_entry(self._services.reads, letter)
        try:
            undelivered = await line.publisher.publish([entry])
        except Unavailable as failure:
            raise DeliveryFailed(failure.detail) from failure
        if undelivered:
            raise DeliveryFailed(undelivered[0].reason)

    def letter_resolved(self, letter: DeadLetter) -> None:
        """One letter waits no longer."""
        self._letters[letter.publisher] -= 1

    # -- how it does ------------------------------------------------------------------------

    def lag_s(self) -> float:
        """The age of the oldest event that a publisher is known not to have taken; 0 if none."""
        return max((self._lag_s(line) for line in self._lines.values()), default=0.0)

    def _lag_s(self, line: Line) -> float:
        oldest = line.oldest()
        if oldest is None:
            return 0.0
        return max(0.0, (self._services.clock.now() - oldest).total_seconds())

    async def standings(self) -> list[Standing]:
        """How each delivery does, in the order of configuration."""
        return [await self._standing(name, line) for name, line in self._lines.items()]

    async def _standing(self, name: str, line: Line) -> Standing:
        return Standing(
            name=name,
            position=line.position,
            backlog=await line.backlog(),
            waiting=line.parked(),
            lag_s=self._lag_s(line),
            delivered=line.delivered,
            failed=line.failed,
            given_up=line.given_up,
            dead_letters=self._letters[name],
            error=line.error,
        )
