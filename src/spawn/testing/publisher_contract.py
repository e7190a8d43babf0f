# ruff: noqa: D102 -- a test's name is its sentence
"""The publisher contract: what every publisher of events promises, as tests for any by URL.

A package that offers a publisher runs the suite in a module of its own tests:

    import pytest
    from spawn.testing.publisher_contract import *

    @pytest.fixture
    def consumer():
        ...  # a `Consumer`: whatever receives what is published, for the test to look at

    @pytest.fixture
    def publisher_url(consumer):
        return "mine://user:hunter2@127.0.0.1:7000/place"

The publisher is opened by that URL through `spawn.adapters.factory.open_publisher`: a third
party's scheme is found by its entry point. pytest-asyncio must be in `auto` mode. A module whose
consumer is part of the process says `ALWAYS_THERE = True`; a fixture `publisher_options` replaces
the options.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.factory import open_publisher
from spawn.domain.change import Entry
from spawn.domain.errors import Unavailable
from spawn.domain.events.cloudevents import Envelope
from spawn.ports.publishers import EventPublisher, Undelivered

SOURCE = "https://spawn.example"
BOUND_S = 30.0
SECRET = "hunter2"  # noqa: S105 -- what must not show is given on purpose


class Consumer(Protocol):
    """The other end of a publisher under test."""

    async def events(self, number: int) -> list[dict[str, Any]]:
        """What was received, in order, once there are so many: `id`, `subject` and `sequence`."""
        ...

    async def go_away(self) -> None:
        """Take nothing more, as if the machine had been switched off."""
        ...

    async def come_back(self) -> None:
        """Be there again, at the same address and with what was received."""
        ...


def an_entry(number: int, key: str = "p1", version: int = 1, **more: Any) -> Entry:
    """An entry of the journal; `number` is its place in it."""
    fields: dict[str, Any] = {
        "position": f"1.{number}",
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
    return Entry(**fields | more)


def some_entries(aggregates: int, versions: int) -> list[Entry]:
    """Entries of several aggregates, each with several versions, all mixed."""
    keys = [f"p{number}" for number in range(aggregates)]
    pairs = [(key, version + 1) for version in range(versions) for key in keys]
    return [an_entry(n + 1, key, version) for n, (key, version) in enumerate(pairs)]


def keys_of(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Subject and sequence of each event."""
    return [(event["subject"], event["sequence"]) for event in events]


async def publish_all(publisher: EventPublisher, entries: list[Entry]) -> list[Undelivered]:
    """Publish as the relay does: at most `batch` at a time."""
    size, undelivered = publisher.terms.batch, list[Undelivered]()
    for start in range(0, len(entries), size):
        undelivered += await publisher.publish(entries[start : start + size])
    return undelivered


@pytest.fixture
def publisher_options() -> PublisherOptions:
    """What the publisher is given beside its URL."""
    return PublisherOptions(envelope=Envelope(SOURCE, "project_schema"), timeout_s=2.0)


@pytest.fixture
async def publisher(
    publisher_url: str, publisher_options: PublisherOptions
) -> AsyncIterator[EventPublisher]:
    """The publisher under test."""
    publisher = await open_publisher(publisher_url, options=publisher_options)
    yield publisher
    await publisher.close()


@pytest.fixture
def absent_at_times(request: pytest.FixtureRequest) -> None:
    """Skips tests of absence where the consumer is part of the process."""
    if getattr(request.module, "ALWAYS_THERE", False):
        pytest.skip("the consumer is part of the process")


class TestPublishing:
    """What is published is received: all of it, in order per aggregate, with ids to tell it by."""

    async def test_every_event_is_received_in_order_per_aggregate(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        entries = some_entries(aggregates=5, versions=8)
        assert await publish_all(publisher, entries) == []
        received = await consumer.events(len(entries))
        assert len(received) == len(entries)
        for subject in {event["subject"] for event in received}:
            mine = [event["sequence"] for event in received if event["subject"] == subject]
            assert mine == [f"{version:010d}" for version in range(1, 9)]

    async def test_an_event_that_comes_again_can_be_told_by_its_id(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        await publish_all(publisher, [an_entry(1), an_entry(2, "p2")])
        await publish_all(publisher, [an_entry(1)])
        received = await consumer.events(2)
        assert {event["id"] for event in received} == {"1.1", "1.2"}

    async def test_batches_side_by_side_are_all_received(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        lanes = [[an_entry(10 * n + m, f"p{n}", m) for m in range(1, 4)] for n in range(6)]
        width = asyncio.Semaphore(publisher.terms.concurrency)

        async def publish(lane: list[Entry]) -> list[Undelivered]:
            async with width:
                return await publish_all(publisher, lane)

        assert await asyncio.gather(*map(publish, lanes)) == [[]] * 6
        assert len(set(keys_of(await consumer.events(18)))) == 18

    async def test_its_terms_are_sound_and_tell_no_secret(
        self, publisher: EventPublisher, publisher_url: str, publisher_options: PublisherOptions
    ) -> None:
        terms = publisher.terms
        again = await open_publisher(publisher_url, options=publisher_options)
        assert again.terms == terms
        await again.close()
        assert terms.name
        assert SECRET not in terms.name
        assert terms.batch >= 1
        assert terms.concurrency >= 1

    async def test_the_url_may_name_it_and_say_where_it_begins(
        self, publisher_url: str, publisher_options: PublisherOptions
    ) -> None:
        joint = "&" if "#" in publisher_url else "#"
        url = f"{publisher_url}{joint}name=risk%20desk&start=oldest"
        named = await open_publisher(url, options=publisher_options)
        assert (named.terms.name, named.terms.from_oldest) == ("risk desk", True)
        await named.close()

    async def test_probing_sends_nothing(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        assert SECRET not in await publisher.probe()
        await publish_all(publisher, [an_entry(1)])
        assert keys_of(await consumer.events(1)) == [("projects/p1", "0000000001")]

    async def test_closing_twice_is_closing_once(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        await publish_all(publisher, [an_entry(1)])
        await consumer.events(1)
        await publisher.close()
        await publisher.close()


@pytest.mark.usefixtures("absent_at_times")
class TestAbsence:
    """A consumer that is away is told as such, within a bounded time, and is found again."""

    async def test_nothing_is_taken_for_delivered_while_the_consumer_is_away(
        self, publisher: EventPublisher, consumer: Consumer
    ) -> None:
        await publish_all(publisher, [an_entry(1)])
        await consumer.go_away()
        for _ in range(2):
            assert await self.lost(publisher, an_entry(2)) == {"1.2"}
        await consumer.come_back()
        assert await publish_all(publisher, [an_entry(2), an_entry(3)]) == []
        ids = {event["id"] for event in await consumer.events(3)}
        assert ids == {"1.1", "1.2", "1.3"}

    async def test_a_publisher_may_be_opened_before_its_consumer_is_there(
        self, publisher_url: str, publisher_options: PublisherOptions, consumer: Consumer
    ) -> None:
        await consumer.go_away()
        publisher = await open_publisher(publisher_url, options=publisher_options)
        assert await self.lost(publisher, an_entry(1)) == {"1.1"}
        with pytest.raises(Unavailable) as absent:
            await publisher.probe()
        assert SECRET not in absent.value.detail
        await consumer.come_back()
        assert await publish_all(publisher, [an_entry(1)]) == []
        await publisher.close()

    async def lost(self, publisher: EventPublisher, *entries: Entry) -> set[str]:
        """The positions of those that were not taken."""
        async with asyncio.timeout(BOUND_S):
            try:
                undelivered = await publisher.publish(entries)
            except Unavailable:
                return {entry.position for entry in entries}
            return {failure.entry.position for failure in undelivered}
