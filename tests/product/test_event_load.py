"""Ten thousand events under load, for consumers that disconnect at random."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.application.conftest import build_dependencies

from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.dependencies import Dependencies
from spawn.application.events.delivery import RetryPolicy
from spawn.application.events.encoded_feed import EventFilter
from spawn.application.events.event_streams import EventStreams
from spawn.application.events.feed import read_feed
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.events.relay import Relay
from spawn.domain.change import Change, Write
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.event import DomainEvent
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.principal import Principal
from spawn.entrypoints.http.events.sse import ServerSentEvents
from spawn.ports.publishers import DeliveryFailure, DeliveryOptions, EventPublisher
from spawn.testing.builders import a_project
from spawn.testing.storage_contract.harness import a_record

PROJECTS, VERSIONS, BULK = 2_500, 4, 125
EVENTS = PROJECTS * VERSIONS
ANNA = Principal(id="anna")
QUICK = RetryPolicy(max_attempts=1000, initial_delay_s=0.001, max_delay_s=0.01, max_pause_s=0.01)


class ReceivedEvents:
    """Event ids of one consumer, and the versions of each subject in order of arrival."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.versions: dict[str, list[int]] = {}
        self.complete = asyncio.Event()

    def record(self, position: str, subject: str, version: int) -> None:
        """Record an event, unless it was received before."""
        if position not in self.ids:
            self.ids.add(position)
            self.versions.setdefault(subject, []).append(version)
            if len(self.ids) >= EVENTS:
                self.complete.set()

    def check(self, positions: set[str]) -> None:
        assert self.ids == positions
        assert set(map(tuple, self.versions.values())) == {tuple(range(1, VERSIONS + 1))}
        assert len(self.versions) == PROJECTS


class FlakyPublisher:
    """Publisher that is unreachable, rejects or loses a response at random."""

    def __init__(
        self, name: str, received: ReceivedEvents, chance: random.Random, **options: Any
    ) -> None:
        self.delivery_options = DeliveryOptions(name=name, **options)
        self._received = received
        self._chance = chance

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        await asyncio.sleep(0)
        fate = self._chance.random()
        if fate < 0.05:
            raise Unavailable("away", retry_after_s=0)
        failures: list[DeliveryFailure] = []
        for entry in entries:
            is_blocked = any(failure.entry.id == entry.id for failure in failures)
            if is_blocked or self._chance.random() < 0.001:
                failures.append(
                    DeliveryFailure(entry, "not this one", is_rejected=self._chance.random() < 0.5)
                )
            else:
                self._received.record(str(entry.position), entry.id, entry.version)
        if fate < 0.1:
            raise Unavailable("accepted, but the response was lost", retry_after_s=0)
        return failures

    async def probe(self) -> str:
        return "here"

    async def close(self) -> None:
        return


class HangingPublisher:
    """Publisher that never returns from its first event."""

    delivery_options = DeliveryOptions(name="dead")

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        del entries
        await asyncio.Event().wait()
        return ()

    async def probe(self) -> str:
        return "here"

    async def close(self) -> None:
        return


class ConnectionDropped(Exception):
    """The connection broke."""


class Message(msgspec.Struct, frozen=True):
    id: str
    subject: str
    sequence: str


async def follow(
    streams: EventStreams, received: ReceivedEvents, chance: random.Random, start: Position
) -> None:
    """Follow the stream over a connection that breaks in the middle of a message."""
    decoder, position = msgspec.json.Decoder(Message), start

    async def write(messages: bytes) -> None:
        nonlocal position
        blocks = messages.split(b"\n\n")[:-1]
        is_broken = chance.random() < 0.05
        for block in blocks[: chance.randrange(len(blocks) + 1) if is_broken else None]:
            head, _, data = block.partition(b"\ndata: ")
            if data:
                event = decoder.decode(data)
                received.record(event.id.partition("@")[0], event.subject, int(event.sequence))
            position = Position.parse(head.rpartition(b"id: ")[2].decode())
        if is_broken:
            raise ConnectionDropped
        await asyncio.sleep(0)

    while not received.complete.is_set():
        with suppress(ConnectionDropped):
            await streams.follow(position, EventFilter(), write)


async def pull(
    dependencies: Dependencies, received: ReceivedEvents, chance: random.Random, start: Position
) -> None:
    """Pull pages, and lose one at random."""
    position = start
    while not received.complete.is_set():
        page = await read_feed(dependencies, ANNA, after=position, limit=chance.randrange(1, 500))
        if chance.random() < 0.05:
            continue
        for entry in page.entries:
            received.record(str(entry.position), entry.id, entry.version)
        if page.next == position:
            await dependencies.reads.wait_for_change(position, 1)
        position = page.next


async def write_everything(dependencies: Dependencies) -> None:
    """Write all versions of each project in bulk, with single changes between."""
    keys = [f"p{number:04d}" for number in range(PROJECTS)]
    state = a_project()
    for version in range(VERSIONS):
        for start in range(0, PROJECTS, BULK):
            for chunk in (keys[start : start + BULK - 1], keys[start + BULK - 1 : start + BULK]):
                writes = tuple(
                    Write("project", key, version, msgspec.structs.replace(state, project_id=key))
                    for key in chunk
                )
                type_ = "project.amended" if version else "project.created"
                events = tuple(
                    DomainEvent(type=type_, kind="project", id=key, changed=("dscr",))
                    for key in chunk
                )
                change = Change(writes=writes, events=events, actor="anna", schema_version=1)
                await dependencies.commands.commit(change)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Dependencies]:
    store = await open_store(f"duckdb:///{folder}/spawn.duckdb", clock=SystemClock())
    await store.adopt(a_record())
    yield build_dependencies(store, BundledRegistry(), folder)
    await store.close()


@pytest.mark.slow
async def test_every_consumer_receives_all_events_in_order(tmp_path: Path) -> None:
    chance = random.Random(20260301)
    received = {
        name: ReceivedEvents() for name in ("batched", "lanes", "stream", "other stream", "puller")
    }
    async with AsyncExitStack() as stack, asyncio.timeout(240):
        dependencies = await stack.enter_async_context(running(tmp_path))
        start = await dependencies.reads.position()
        journal_watch = JournalWatch(dependencies.reads)
        publishers: list[EventPublisher] = [
            HangingPublisher(),
            FlakyPublisher("batched", received["batched"], chance, batch=60),
            FlakyPublisher("lanes", received["lanes"], chance, batch=20, concurrency=6),
        ]
        relay = Relay(dependencies, publishers, journal_watch, retry_policy=QUICK)
        await relay.start()
        streams = EventStreams(
            dependencies.reads,
            journal_watch,
            EventEnvelope("https://spawn.example", "s", "0" * 32),
            ServerSentEvents(),
        )
        for coroutine in (journal_watch.run(), relay.run()):
            stack.push_async_callback(_cancel, asyncio.create_task(coroutine))
        consumers = [
            asyncio.create_task(coroutine)
            for coroutine in (
                follow(streams, received["stream"], chance, start),
                follow(streams, received["other stream"], chance, start),
                pull(dependencies, received["puller"], chance, start),
            )
        ]
        stack.push_async_callback(asyncio.wait, consumers)
        stack.callback(streams.end)
        await write_everything(dependencies)
        positions = await _positions(dependencies, start)
        assert len(positions) == EVENTS
        await asyncio.gather(*(one.complete.wait() for one in received.values()))
        for one in received.values():
            one.check(positions)
        delivery_statuses = {status.name: status for status in await relay.delivery_statuses()}
        assert delivery_statuses["dead"].delivered == 0
        assert Counter(status.dead_lettered for status in delivery_statuses.values()) == {0: 3}
        await relay.close()
        assert (await dependencies.bookmarks.load_bookmarks())["dead"] == start


async def _positions(dependencies: Dependencies, start: Position) -> set[str]:
    positions: set[str] = set()
    page = await dependencies.reads.feed(after=start, limit=500)
    while page.entries:
        positions |= {str(entry.position) for entry in page.entries}
        page = await dependencies.reads.feed(after=page.next, limit=500)
    return positions


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
