# ruff: noqa: D102 -- a test's name is its sentence
"""Publisher contract suite: tests of any event publisher by URL.

A package that offers a publisher runs the suite in a module of its own tests:

    import pytest
    from spawn.testing.publisher_contract import *

    @pytest.fixture
    def consumer():
        ...  # a `Consumer`: the receiver of the events, for the test to inspect

    @pytest.fixture
    def publisher_url(consumer):
        return "mine://user:hunter2@127.0.0.1:7000/place"

The publisher is opened by that URL through `spawn.adapters.factory.open_publisher`: a third
party's scheme is found by its entry point. pytest-asyncio must be in `auto` mode. A module whose
consumer is part of the process sets `ALWAYS_THERE = True`; a fixture `publisher_options` replaces
the options.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.factory import open_publisher
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.ports.publishers import DeliveryFailure, EventPublisher

SOURCE = "https://spawn.example"
TIMEOUT_S = 30.0
STORE_ID = "9f86d081884c7d659a2feaa0c55ad015"
SECRET = "hunter2"  # noqa: S105 -- a test value that must never be published


class Consumer(Protocol):
    """The other end of a publisher under test."""

    async def events(self, number: int) -> list[dict[str, Any]]:
        """Wait for `number` events; return them in order, with id, subject and sequence."""
        ...

    async def go_away(self) -> None:
        """Stop receiving, as if the machine had been switched off."""
        ...

    async def come_back(self) -> None:
        """Receive again, at the same address and with the earlier events."""
        ...


def an_entry(number: int, key: str = "p1", version: int = 1, **more: Any) -> JournalEntry:
    """Build a journal entry; `number` is its position."""
    fields: dict[str, Any] = {
        "position": Position(1, number),
        "kind": "project",
        "id": key,
        "version": version,
        "type": "project.created" if version == 1 else "project.amended",
        "actor": "analyst",
        "recorded_at": datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number),
        "schema_version": 3,
        "changed": ("project_name",),
        "document": f'{{"project_id":"{key}","project_name":"Île 風力 {number}"}}'.encode(),
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    return JournalEntry(**fields | more)


def event_id(number: int) -> str:
    """Return the id of the event at position `number`."""
    return f"1.{number}@{STORE_ID}"


def some_entries(aggregates: int, versions: int) -> list[JournalEntry]:
    """Build entries of several aggregates with several versions each, interleaved."""
    keys = [f"p{number}" for number in range(aggregates)]
    pairs = [(key, version + 1) for version in range(versions) for key in keys]
    return [an_entry(n + 1, key, version) for n, (key, version) in enumerate(pairs)]


def event_keys(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return subject and sequence of each event."""
    return [(event["subject"], event["sequence"]) for event in events]


async def publish_all(
    publisher: EventPublisher, entries: list[JournalEntry]
) -> list[DeliveryFailure]:
    """Publish as the relay does: at most `batch` entries at a time."""
    size, failures = publisher.delivery_options.batch, list[DeliveryFailure]()
    for start in range(0, len(entries), size):
        failures += await publisher.publish(entries[start : start + size])
    return failures


@pytest.fixture
def publisher_options() -> PublisherOptions:
    """Provide the options of the publisher beside its URL."""
    envelope = EventEnvelope(SOURCE, "project_schema", STORE_ID)
    return PublisherOptions(envelope=envelope, timeout_s=2.0)


@pytest.fixture
async def publisher(
    publisher_url: str, publisher_options: PublisherOptions
) -> AsyncIterator[EventPublisher]:
    """Provide the publisher under test."""
    publisher = await open_publisher(publisher_url, options=publisher_options)
    yield publisher
    await publisher.close()


@pytest.fixture
def require_absence(request: pytest.FixtureRequest) -> None:
    """Skip tests of absence if the consumer is part of the process."""
    if getattr(request.module, "ALWAYS_THERE", False):
        pytest.skip("the consumer is part of the process")


class TestPublishing:
    """Every published event is received, in order per aggregate, with a unique id."""

    async def test_every_event_is_received_in_order_per_aggregate(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        entries = some_entries(aggregates=5, versions=8)
        assert await publish_all(publisher, entries) == []
        events = await consumer.events(len(entries))
        assert len(events) == len(entries)
        for subject in {event["subject"] for event in events}:
            sequences = [event["sequence"] for event in events if event["subject"] == subject]
            assert sequences == [f"{version:010d}" for version in range(1, 9)]

    async def test_a_redelivered_event_has_the_same_id(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        await publish_all(publisher, [an_entry(1), an_entry(2, "p2")])
        await publish_all(publisher, [an_entry(1)])
        events = await consumer.events(2)
        assert {event["id"] for event in events} == {event_id(1), event_id(2)}

    async def test_concurrent_batches_are_all_received(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        batches = [[an_entry(10 * n + m, f"p{n}", m) for m in range(1, 4)] for n in range(6)]
        semaphore = asyncio.Semaphore(publisher.delivery_options.concurrency)

        async def publish(batch: list[JournalEntry]) -> list[DeliveryFailure]:
            async with semaphore:
                return await publish_all(publisher, batch)

        assert await asyncio.gather(*map(publish, batches)) == [[]] * 6
        assert len(set(event_keys(await consumer.events(18)))) == 18

    async def test_delivery_options_are_stable_and_contain_no_secret(
        self, publisher: EventPublisher, publisher_url: str, publisher_options: PublisherOptions
    ) -> None:
        delivery_options = publisher.delivery_options
        second_publisher = await open_publisher(publisher_url, options=publisher_options)
        assert second_publisher.delivery_options == delivery_options
        await second_publisher.close()
        assert delivery_options.name
        assert SECRET not in delivery_options.name
        assert delivery_options.batch >= 1
        assert delivery_options.concurrency >= 1

    async def test_the_url_may_set_name_and_start(
        self, publisher_url: str, publisher_options: PublisherOptions
    ) -> None:
        separator = "&" if "#" in publisher_url else "#"
        url = f"{publisher_url}{separator}name=risk%20desk&start=oldest"
        publisher_by_name = await open_publisher(url, options=publisher_options)
        assert (
            publisher_by_name.delivery_options.name,
            publisher_by_name.delivery_options.from_oldest,
        ) == (
            "risk desk",
            True,
        )
        await publisher_by_name.close()

    async def test_probing_sends_nothing(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        assert SECRET not in await publisher.probe()
        await publish_all(publisher, [an_entry(1)])
        assert event_keys(await consumer.events(1)) == [("projects/p1", "0000000001")]

    async def test_closing_is_idempotent(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        await publish_all(publisher, [an_entry(1)])
        await consumer.events(1)
        await publisher.close()
        await publisher.close()


@pytest.mark.usefixtures("require_absence")
class TestAbsence:
    """An absent consumer is reported within a bounded time, and found when it returns."""

    async def test_events_to_an_absent_consumer_are_not_delivered(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        await publish_all(publisher, [an_entry(1)])
        await consumer.go_away()
        for _ in range(2):
            assert await self.publish_failures(publisher, an_entry(2)) == {"1.2"}
        await consumer.come_back()
        assert await publish_all(publisher, [an_entry(2), an_entry(3)]) == []
        ids = {event["id"] for event in await consumer.events(3)}
        assert ids == {event_id(1), event_id(2), event_id(3)}

    async def test_a_publisher_can_be_opened_before_its_consumer(
        self, publisher_url: str, publisher_options: PublisherOptions, consumer: Consumer
    ) -> None:
        await consumer.go_away()
        publisher = await open_publisher(publisher_url, options=publisher_options)
        assert await self.publish_failures(publisher, an_entry(1)) == {"1.1"}
        with pytest.raises(Unavailable) as absent:
            await publisher.probe()
        assert SECRET not in absent.value.detail
        await consumer.come_back()
        assert await publish_all(publisher, [an_entry(1)]) == []
        await publisher.close()

    async def publish_failures(self, publisher: EventPublisher, *entries: JournalEntry) -> set[str]:
        """Publish entries; return the positions of those that were not delivered."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                failures = await publisher.publish(entries)
            except Unavailable:
                return {str(entry.position) for entry in entries}
            return {str(failure.entry.position) for failure in failures}
