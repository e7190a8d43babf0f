"""The relay: every event to every publisher, in order, at least once, whatever one of them does."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest

from spawn.application.feed import FEED_LIMIT, Relay, read_feed
from spawn.application.projects import create_project
from spawn.application.services import Services
from spawn.domain.change import Entry
from spawn.domain.errors import CursorInvalid, Unavailable
from spawn.domain.principal import Principal
from spawn.domain.schema.conformance import Attributes

ANNA = Principal(id="anna")


class Collecting:
    """A publisher that keeps what it is given, after failing as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.published = asyncio.Event()
        self.taken: list[Entry] = []
        self.closed = False

    async def publish(self, entries: Sequence[Entry]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("not now")
        self.taken.extend(entries)
        self.published.set()

    async def close(self) -> None:
        self.closed = True


async def create(services: Services, number: int = 1) -> list[str]:
    made = []
    for _ in range(number):
        core = {"project_name": "x", "total_amount": Decimal(1)}
        outcome = await create_project(services, ANNA, attributes=Attributes(core, {}, {}))
        assert outcome.stored is not None
        made.append(outcome.stored.id)
    return made


async def test_relay_begins_where_the_journal_stands(services: Services) -> None:
    await create(services)
    publisher = Collecting()
    relay = Relay(services.reads, [publisher])
    await relay.start()
    later = await create(services, 3)
    await relay.drain()
    assert [entry.id for entry in publisher.taken] == later


async def test_relay_goes_on_over_more_than_one_page(services: Services) -> None:
    publisher = Collecting()
    relay = Relay(services.reads, [publisher])
    await relay.start()
    made = await create(services, FEED_LIMIT + 20)
    await relay.drain()
    assert [entry.id for entry in publisher.taken] == made


async def test_failing_publisher_delays_itself_alone_and_loses_nothing(services: Services) -> None:
    failing, sound = Collecting(failures=2), Collecting()
    relay = Relay(services.reads, [failing, sound], backoff_s=0.001)
    await relay.start()
    made = await create(services, 2)
    await relay.drain()
    assert [entry.id for entry in sound.taken] == made
    assert failing.taken == []
    assert relay.last_error() == "not now"
    assert relay.lag_s() > 0
    task = asyncio.create_task(relay.run())
    async with asyncio.timeout(10):
        await failing.published.wait()
    task.cancel()
    await relay.drain()
    assert relay.lag_s() == 0
    assert [entry.id for entry in failing.taken] == made
    assert relay.last_error() is None


async def test_closing_the_relay_closes_its_publishers(services: Services) -> None:
    publisher = Collecting()
    relay = Relay(services.reads, [publisher])
    await relay.start()
    await relay.close()
    assert publisher.closed


async def test_feed_continues_after_a_position(services: Services) -> None:
    made = await create(services, 3)
    first = await read_feed(services, ANNA, after=None, limit=2)
    rest = await read_feed(services, ANNA, after=first.next, limit=2)
    assert [e.id for e in (*first.entries, *rest.entries)] == made
    with pytest.raises(CursorInvalid):
        await read_feed(services, ANNA, after="nonsense", limit=2)
