"""Delivery to a consumer that is gone stops, keeps its place, and is reported."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.application.conftest import open_test_dependencies
from tests.application.events.test_relay import ProjectWriter

from spawn.application.events.delivery_pace import (
    FREE_DELIVERIES,
    MAX_PAUSE_S,
    PAUSE_S,
    TURNS_BETWEEN_PAUSES,
    DeliveryPace,
)
from spawn.application.events.journal_watch import WAKE_AT_ONCE, JournalWatch
from spawn.application.events.publisher_status import list_publishers, resume_publisher
from spawn.application.events.relay import Relay
from spawn.domain.errors import Conflict, Forbidden, NotFound
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.principal import Principal, Scope
from spawn.ports.publishers import ConsumerGone, DeliveryFailure, DeliveryOptions

ADMIN = Principal(id="admin", scopes=frozenset({Scope.ADMIN}))


class LeavingPublisher:
    """Publisher whose consumer takes one event and is gone."""

    delivery_options = DeliveryOptions(name="leaving", concurrency=2)

    def __init__(self) -> None:
        self.calls = 0
        self.asked = asyncio.Event()

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        del entries
        self.calls += 1
        if self.calls > 1:
            self.asked.set()
            raise ConsumerGone("The receiver responded with 410 Gone.")
        return ()

    async def probe(self) -> str:
        return "here"

    async def close(self) -> None:
        return


async def test_a_consumer_that_is_gone_is_reported_and_asked_no_more(tmp_path: Path) -> None:
    stops: list[tuple[str, str]] = []
    async with open_test_dependencies(tmp_path) as dependencies:
        publisher, watch = LeavingPublisher(), JournalWatch(dependencies.reads, coalesce_s=0)
        relay = Relay(
            dependencies,
            [publisher],
            watch,
            on_stop=lambda name, reason: stops.append((name, reason)),
        )
        await relay.start()
        tasks = [asyncio.create_task(watch.run()), asyncio.create_task(relay.run())]
        writer = ProjectWriter(dependencies)
        for name in ("a", "b", "c", "d"):
            await writer.write(name)
        async with asyncio.timeout(30):
            await publisher.asked.wait()
            await relay.drain()
        (status,) = await relay.delivery_statuses()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert stops == [("leaving", "The receiver responded with 410 Gone.")]
    assert (status.is_stopped, status.error) == (True, "The receiver responded with 410 Gone.")
    assert (status.delivered, status.dead_letters) == (1, 0)
    assert status.backlog == 3
    assert publisher.calls <= 3  # two deliveries may be in flight at once


class ReturningPublisher(LeavingPublisher):
    """Publisher whose consumer is gone until it is opened again."""

    delivery_options = DeliveryOptions(name="returning")

    def __init__(self) -> None:
        super().__init__()
        self.is_gone = True
        self.received: list[str] = []
        self.has_all = asyncio.Event()

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        self.calls += 1
        if self.is_gone:
            self.asked.set()
            raise ConsumerGone("The receiver responded with 410 Gone.")
        self.received += [entry.id for entry in entries]
        if len(self.received) >= 4:
            self.has_all.set()
        return ()


async def test_a_stopped_delivery_resumes_where_it_stopped(tmp_path: Path) -> None:
    async with open_test_dependencies(tmp_path) as dependencies:
        publisher, watch = ReturningPublisher(), JournalWatch(dependencies.reads, coalesce_s=0)
        relay = Relay(dependencies, [publisher], watch)
        await relay.start()
        tasks = [asyncio.create_task(watch.run()), asyncio.create_task(relay.run())]
        writer = ProjectWriter(dependencies)
        for name in ("a", "b", "c"):
            await writer.write(name)
        reader = Principal(id="reader", scopes=frozenset({Scope.EVENTS_READ}))
        async with asyncio.timeout(30):
            await publisher.asked.wait()
            await relay.drain()
            with pytest.raises(Forbidden):
                await resume_publisher(relay, reader, "returning")
            with pytest.raises(NotFound):
                await resume_publisher(relay, ADMIN, "another")
            calls, publisher.is_gone = publisher.calls, False
            await writer.write("d")
            assert publisher.calls == calls
            status = await resume_publisher(relay, ADMIN, "returning")
            assert (status.is_stopped, status.error) == (False, None)
            with pytest.raises(Conflict):
                await resume_publisher(relay, ADMIN, "returning")
            await publisher.has_all.wait()
            await relay.drain()
        (status,) = await list_publishers(relay, ADMIN)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(publisher.received) == len(set(publisher.received)) == 4
    assert (status.delivered, status.dead_letters, status.backlog) == (4, 0, 0)


async def test_many_deliveries_start_one_by_one_with_pauses() -> None:
    pace, loop = DeliveryPace(), asyncio.get_running_loop()
    starts: list[tuple[int, float]] = []
    number = FREE_DELIVERIES + 4 * TURNS_BETWEEN_PAUSES

    async def start(number: int) -> None:
        await pace.wait_for_turn()
        starts.append((number, loop.time()))

    await asyncio.gather(*(start(each) for each in range(number)))
    assert [each for each, _ in starts] == list(range(number))
    assert starts[-1][1] - starts[0][1] >= 4 * PAUSE_S * 0.9


async def test_a_pause_lasts_as_long_as_the_event_loop_was_late() -> None:
    """On a busy machine each delivery takes many times the shortest pause."""
    pace, loop = DeliveryPace(), asyncio.get_running_loop()
    starts: list[float] = []

    async def start() -> None:
        await pace.wait_for_turn()
        starts.append(loop.time())

    def occupy_loop(until_s: float) -> None:
        while loop.time() < until_s:
            pass

    loop.call_later(PAUSE_S / 2, occupy_loop, loop.time() + 6 * PAUSE_S)
    await asyncio.gather(*(start() for _ in range(FREE_DELIVERIES + 3 * TURNS_BETWEEN_PAUSES)))
    first, second = TURNS_BETWEEN_PAUSES - 1, 2 * TURNS_BETWEEN_PAUSES - 1
    assert starts[second] - starts[first] >= min(4 * PAUSE_S, MAX_PAUSE_S)


async def test_few_deliveries_start_at_once() -> None:
    pace = DeliveryPace()
    tasks = [asyncio.create_task(pace.wait_for_turn()) for _ in range(FREE_DELIVERIES)]
    for _ in range(4 * FREE_DELIVERIES):
        await asyncio.sleep(0)
    assert all(task.done() for task in tasks)


async def test_waiters_are_woken_a_few_at_a_time(tmp_path: Path) -> None:
    """Between the first and the last of them the event loop does other work."""
    async with open_test_dependencies(tmp_path) as dependencies:
        watch = JournalWatch(dependencies.reads, coalesce_s=0)
        runner = asyncio.create_task(watch.run())
        position = await dependencies.reads.position()
        woken: list[int] = []

        async def wait(number: int) -> None:
            await watch.wait(position, 30)
            woken.append(number)

        waiters = [asyncio.create_task(wait(n)) for n in range(5 * WAKE_AT_ONCE)]
        await asyncio.sleep(0)
        await ProjectWriter(dependencies).write("a")
        sizes = set()
        while len(woken) < len(waiters):
            sizes.add(len(woken))
            await asyncio.sleep(0)
        runner.cancel()
        await asyncio.gather(*waiters, runner, return_exceptions=True)
    assert len(sizes) >= 4
