"""Delivery to a consumer that is gone stops, keeps its place, and is reported."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.application.conftest import open_test_dependencies
from tests.application.events.test_relay import ProjectWriter

from spawn.application.events.delivery_pace import FREE_DELIVERIES, PAUSE_S, DeliveryPace
from spawn.application.events.journal_watch import WAKE_AT_ONCE, JournalWatch
from spawn.application.events.relay import Relay
from spawn.domain.events.journal_entry import JournalEntry
from spawn.ports.publishers import ConsumerGone, DeliveryFailure, DeliveryOptions


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


async def test_many_deliveries_start_one_by_one_with_pauses() -> None:
    pace, loop = DeliveryPace(), asyncio.get_running_loop()
    starts: list[tuple[int, float]] = []

    async def start(number: int) -> None:
        await pace.wait_for_turn()
        starts.append((number, loop.time()))

    await asyncio.gather(*(start(number) for number in range(FREE_DELIVERIES + 5)))
    assert [number for number, _ in starts] == list(range(FREE_DELIVERIES + 5))
    assert starts[-1][1] - starts[0][1] >= 4 * PAUSE_S * 0.9


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
