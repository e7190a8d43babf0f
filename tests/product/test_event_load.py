"""A hundred thousand events under load, told to consumers that come and go as they please."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.application.conftest import services_over

from spawn.adapters.factory import open_store
from spawn.adapters.local.runtime import SystemClock
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.dependencies import Services
from spawn.application.events.delivery import Patience
from spawn.application.events.feed import read_feed
from spawn.application.events.journal_watch import Pulse
from spawn.application.events.relay import Relay
from spawn.domain.change import Change, Entry, Write
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import Envelope
from spawn.domain.events.event import DomainEvent
from spawn.domain.principal import Principal
from spawn.entrypoints.http.events.sse import Choice, Streams
from spawn.ports.publishers import EventPublisher, Terms, Undelivered
from spawn.testing.builders import a_project
from spawn.testing.storage_contract.commands import a_record

PROJECTS, VERSIONS, BULK = 25_000, 4, 500
EVENTS = PROJECTS * VERSIONS
ANNA = Principal(id="anna")
QUICK = Patience(tries=1000, first_s=0.001, longest_s=0.01, hold_s=0.01)


class Told:
    """What one consumer was told: the ids, and for each subject the versions as they came."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.versions: dict[str, list[int]] = {}
        self.complete = asyncio.Event()

    def note(self, position: str, subject: str, version: int) -> None:
        """An event; one that was told before is no news."""
        if position not in self.ids:
            self.ids.add(position)
            self.versions.setdefault(subject, []).append(version)
            if len(self.ids) >= EVENTS:
                self.complete.set()

    def check(self, positions: set[str]) -> None:
        assert self.ids == positions
        assert set(map(tuple, self.versions.values())) == {tuple(range(1, VERSIONS + 1))}
        assert len(self.versions) == PROJECTS


class Flaky:
    """A publisher that is away, refuses or forgets its answer, each now and then."""

    def __init__(self, name: str, told: Told, chance: random.Random, **terms: Any) -> None:
        self.terms = Terms(name=name, **terms)
        self._told = told
        self._chance = chance

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        await asyncio.sleep(0)
        fate = self._chance.random()
        if fate < 0.05:
            raise Unavailable("away", retry_after_s=0)
        failed: list[Undelivered] = []
        for entry in entries:
            behind = any(lost.entry.id == entry.id for lost in failed)
            if behind or self._chance.random() < 0.001:
                failed.append(
                    Undelivered(entry, "not this one", refused=self._chance.random() < 0.5)
                )
            else:
                self._told.note(entry.position, entry.id, entry.version)
        if fate < 0.1:
            raise Unavailable("taken, but the answer was lost", retry_after_s=0)
        return failed

    async def probe(self) -> str:
        return "here"

    async def close(self) -> None:
        return


class Dead:
    """A publisher that never comes back from its first event."""

    terms = Terms(name="dead")

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        del entries
        await asyncio.Event().wait()
        return ()

    async def probe(self) -> str:
        return "here"

    async def close(self) -> None:
        return


class Dropped(Exception):
    """The connection broke."""


class Message(msgspec.Struct, frozen=True):
    id: str
    subject: str
    sequence: str


async def follow(streams: Streams, told: Told, chance: random.Random, start: str) -> None:
    """Follow the stream over a connection that breaks in the middle of what it carries."""
    decoder, position = msgspec.json.Decoder(Message), start

    async def write(messages: bytes) -> None:
        nonlocal position
        blocks = messages.split(b"\n\n")[:-1]
        breaks = chance.random() < 0.05
        for block in blocks[: chance.randrange(len(blocks) + 1) if breaks else None]:
            place, _, data = block.partition(b"\ndata: ")
            if data:
                event = decoder.decode(data)
                told.note(event.id, event.subject, int(event.sequence))
            position = place.rpartition(b"id: ")[2].decode()
        if breaks:
            raise Dropped
        await asyncio.sleep(0)

    while not told.complete.is_set():
        with suppress(Dropped):
            await streams.follow(position, Choice(), write)


async def pull(services: Services, told: Told, chance: random.Random, start: str) -> None:
    """Pull pages, and lose one now and then."""
    position = start
    while not told.complete.is_set():
        page = await read_feed(services, ANNA, after=position, limit=chance.randrange(1, 500))
        if chance.random() < 0.05:
            continue
        for entry in page.entries:
            told.note(entry.position, entry.id, entry.version)
        if page.next == position:
            await services.reads.await_change(position, 1)
        position = page.next


async def write_everything(services: Services) -> None:
    """Each project's versions, in bulk, with single changes between them."""
    keys = [f"p{number:05d}" for number in range(PROJECTS)]
    state = a_project()
    for version in range(VERSIONS):
        for start in range(0, PROJECTS, BULK):
            for chosen in (keys[start : start + BULK - 1], keys[start + BULK - 1 : start + BULK]):
                writes = tuple(
                    Write("project", key, version, msgspec.structs.replace(state, project_id=key))
                    for key in chosen
                )
                type_ = "project.amended" if version else "project.created"
                events = tuple(
                    DomainEvent(type=type_, kind="project", id=key, changed=("dscr",))
                    for key in chosen
                )
                change = Change(writes=writes, events=events, actor="anna", schema_version=1)
                await services.commands.commit(change)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Services]:
    store = await open_store(f"duckdb:///{folder}/spawn.duckdb", clock=SystemClock())
    await store.adopt(a_record())
    yield services_over(store, BundledRegistry(), folder)
    await store.close()


@pytest.mark.slow
async def test_every_consumer_is_told_everything_in_order(tmp_path: Path) -> None:
    chance = random.Random(20260301)
    told = {name: Told() for name in ("batched", "lanes", "stream", "other stream", "puller")}
    async with AsyncExitStack() as stack, asyncio.timeout(240):
        services = await stack.enter_async_context(running(tmp_path))
        start = await services.reads.position()
        pulse = Pulse(services.reads)
        publishers: list[EventPublisher] = [
            Dead(),
            Flaky("batched", told["batched"], chance, batch=250),
            Flaky("lanes", told["lanes"], chance, batch=20, concurrency=6),
        ]
        relay = Relay(services, publishers, pulse, patience=QUICK)
        await relay.start()
        streams = Streams(services.reads, pulse, Envelope("https://spawn.example", "s"))
        for work in (pulse.run(), relay.run()):
            stack.push_async_callback(_ended, asyncio.create_task(work))
        consumers = [
            asyncio.create_task(work)
            for work in (
                follow(streams, told["stream"], chance, start),
                follow(streams, told["other stream"], chance, start),
                pull(services, told["puller"], chance, start),
            )
        ]
        stack.push_async_callback(asyncio.wait, consumers)
        stack.callback(streams.end)
        await write_everything(services)
        positions = await _positions(services, start)
        assert len(positions) == EVENTS
        await asyncio.gather(*(one.complete.wait() for one in told.values()))
        for one in told.values():
            one.check(positions)
        standings = {standing.name: standing for standing in await relay.standings()}
        assert standings["dead"].delivered == 0
        assert Counter(standing.given_up for standing in standings.values()) == {0: 3}
        await relay.close()
        assert (await services.bookmarks.load_bookmarks())["dead"] == start


async def _positions(services: Services, start: str) -> set[str]:
    found: set[str] = set()
    page = await services.reads.feed(after=start, limit=500)
    while page.entries:
        found |= {entry.position for entry in page.entries}
        page = await services.reads.feed(after=page.next, limit=500)
    return found


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
