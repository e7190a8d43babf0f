"""The relay: every event to every publisher, in order per aggregate, despite failures."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from spawn.application.dependencies import Dependencies
from spawn.application.events.dead_letters import (
    discard_dead_letter,
    get_dead_letter,
    list_dead_letters,
    replay_dead_letter,
)
from spawn.application.events.delivery import PAGE_ENTRIES, RetryPolicy
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.events.relay import DeliveryStatus, Relay
from spawn.domain.change import Change, Write
from spawn.domain.errors import Conflict, DeliveryFailed, Unavailable
from spawn.domain.events.dead_letter import DeadLetterState
from spawn.domain.events.event import DomainEvent
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.principal import Principal
from spawn.ports.publishers import DeliveryFailure, DeliveryOptions
from spawn.testing.builders import a_project

ANNA = Principal(id="anna")
QUICK = RetryPolicy(max_attempts=3, initial_delay_s=0.001, max_delay_s=0.002, max_pause_s=0.002)
RejectionRule = Callable[[JournalEntry], str | None]


class Consumer:
    """A publisher that accepts every event, unless `verdict` returns a reason."""

    def __init__(
        self, name: str = "consumer", verdict: RejectionRule | None = None, **terms: Any
    ) -> None:
        self.delivery_options = DeliveryOptions(name=name, **terms)
        self.verdict = verdict or (lambda _entry: None)
        self.refuses = False
        self.away = False
        self.asks_s = 0.0
        self.calls = 0
        self.accepted_entries: list[JournalEntry] = []
        self.batches: list[int] = []
        self.closed = False
        self._pace = random.Random(1)
        self._changed = asyncio.Event()

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        # Now sooner, now later than what is under way beside it.
        for _ in range(self._pace.randrange(1, 8)):
            await asyncio.sleep(0)
        self.calls += 1
        if self.away:
            self._changed.set()
            raise Unavailable("nobody is there", retry_after_s=self.asks_s)
        self.batches.append(len(entries))
        failed: list[DeliveryFailure] = []
        for entry in entries:
            behind = any(lost.entry.id == entry.id for lost in failed)
            reason = "an earlier event waits" if behind else self.verdict(entry)
            if reason:
                failed.append(DeliveryFailure(entry, reason, is_rejected=self.refuses))
            else:
                self.accepted_entries.append(entry)
        self._changed.set()
        return failed

    async def probe(self) -> str:
        return "here"

    async def close(self) -> None:
        self.closed = True

    async def until(self, there: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not there():
                self._changed.clear()
                await self._changed.wait()

    def versions(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for entry in self.accepted_entries:
            found.setdefault(entry.id, []).append(entry.version)
        return found


class Silent(Consumer):
    """A publisher that violates its contract twice."""

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        found = await super().publish(entries)
        return found if self.calls > 2 else None  # type: ignore[return-value]  # on purpose


class ProjectWriter:
    """Writer of project versions."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._versions: dict[str, int] = {}

    async def write(self, *names: str) -> None:
        """Write the next version of each project in one change."""
        writes, events = [], []
        for name in names:
            version = self._versions.get(name, 0)
            self._versions[name] = version + 1
            state = a_project(project_id=name)
            writes.append(Write("project", name, version, state))
            type_ = "project.amended" if version else "project.created"
            events.append(DomainEvent(type=type_, kind="project", id=name, changed=("dscr",)))
        change = Change(writes=tuple(writes), events=tuple(events), actor="anna", schema_version=0)
        await self._dependencies.commands.commit(change)


@pytest.fixture
def writer(dependencies: Dependencies) -> ProjectWriter:
    return ProjectWriter(dependencies)


@asynccontextmanager
async def relaying(
    dependencies: Dependencies, *consumers: Consumer, retry_policy: RetryPolicy = QUICK
) -> AsyncIterator[Relay]:
    """Run a relay that ends as by a crash, without a last save."""
    journal_watch = JournalWatch(dependencies.reads, coalesce_s=0.0)
    relay = Relay(dependencies, consumers, journal_watch, retry_policy=retry_policy)
    await relay.start()
    async with AsyncExitStack() as stack:
        for work in (journal_watch.run(), relay.run()):
            task = asyncio.create_task(work)
            stack.push_async_callback(_ended, task)
        async with asyncio.timeout(60):
            yield relay


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def delivery_status(relay: Relay, name: str = "consumer") -> DeliveryStatus:
    return next(found for found in await relay.delivery_statuses() if found.name == name)


async def dead_letters(dependencies: Dependencies) -> list[Any]:
    page = await list_dead_letters(dependencies, ANNA, after=None, limit=100)
    return [aggregate.state for aggregate in page.items]


class TestDelivery:
    async def test_a_new_publisher_gets_the_events_from_now_on(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        await writer.write("a")
        consumer = Consumer()
        async with relaying(dependencies, consumer) as relay:
            await writer.write("a", "b")
            await relay.drain()
        assert consumer.versions() == {"a": [2], "b": [1]}

    async def test_a_publisher_may_ask_for_everything(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        await writer.write("a")
        consumer = Consumer(from_oldest=True)
        async with relaying(dependencies, consumer) as relay:
            await relay.drain()
        assert consumer.versions() == {"a": [1]}

    async def test_pages_follow_one_another_and_batches_are_bounded(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        consumer = Consumer(batch=100, durable=False)
        async with relaying(dependencies, consumer) as relay:
            names = [f"p{number}" for number in range(PAGE_ENTRIES + 50)]
            await writer.write(*names)
            await writer.write(*names)
            await relay.drain()
            assert (await delivery_status(relay)).delivered == 2 * len(names)
        assert consumer.versions() == {name: [1, 2] for name in names}
        assert max(consumer.batches) == 100

    @pytest.mark.parametrize(("batch", "concurrency"), [(1, 1), (1, 8), (7, 3)])
    async def test_the_order_of_an_aggregate_is_preserved_under_concurrency(
        self, dependencies: Dependencies, writer: ProjectWriter, batch: int, concurrency: int
    ) -> None:
        consumer = Consumer(batch=batch, concurrency=concurrency)
        async with relaying(dependencies, consumer) as relay:
            for _ in range(30):
                await writer.write("a", "b", "c", "d")
            await relay.drain()
        assert consumer.versions() == {name: list(range(1, 31)) for name in "abcd"}

    async def test_closing_saves_positions_and_closes_publishers(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        consumer = Consumer()
        async with relaying(dependencies, consumer) as relay:
            await writer.write("a")
            await relay.drain()
        await relay.close()
        assert consumer.closed
        saved = await dependencies.bookmarks.load_bookmarks()
        assert saved == {"consumer": await dependencies.reads.position()}


class TestRestart:
    async def test_a_durable_publisher_goes_on_where_it_stood(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        first = Consumer()
        async with relaying(dependencies, first) as relay:
            await writer.write("a")
            await relay.drain()
        await relay.close()
        await writer.write("a", "b")
        second = Consumer()
        async with relaying(dependencies, second) as relay:
            await relay.drain()
        assert second.versions() == {"a": [2], "b": [1]}

    async def test_events_undelivered_at_a_crash_are_delivered_later(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        """The stored position stays before the oldest undelivered event."""
        first = Consumer(verdict=lambda entry: "not this one" if entry.id == "a" else None)
        async with relaying(
            dependencies, first, retry_policy=RetryPolicy(initial_delay_s=30)
        ) as relay:
            await writer.write("a", "b")
            await writer.write("b", "c")
            await first.until(lambda: len(first.accepted_entries) == 3)
            await relay.close()
        second = Consumer()
        async with relaying(dependencies, second) as relay:
            await relay.drain()
        assert second.versions() == {"a": [1], "b": [1, 2], "c": [1]}

    async def test_a_publisher_of_this_process_alone_begins_anew(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        async with relaying(dependencies, Consumer(durable=False)) as relay:
            await relay.drain()
        await relay.close()
        await writer.write("a")
        second = Consumer(durable=False)
        async with relaying(dependencies, second) as relay:
            await writer.write("b")
            await relay.drain()
        assert second.versions() == {"b": [1]}
        assert await dependencies.bookmarks.load_bookmarks() == {}


class TestFailures:
    async def test_a_failing_publisher_delays_itself_alone(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        failing, sound = Consumer("failing"), Consumer("sound")
        failing.away = True
        async with relaying(dependencies, failing, sound) as relay:
            await writer.write("a", "b")
            await sound.until(lambda: len(sound.accepted_entries) == 2)
            await relay.drain()
            assert (await delivery_status(relay, "failing")).error == "nobody is there"
            assert (await delivery_status(relay, "failing")).backlog == 2
            assert relay.lag_s() > 0
            failing.away = False
            await failing.until(lambda: len(failing.accepted_entries) == 2)
            await relay.drain()
            found = await delivery_status(relay, "failing")
            assert (found.error, found.backlog, found.waiting, found.lag_s) == (None, 0, 0, 0)
        assert failing.versions() == {"a": [1], "b": [1]}

    async def test_an_outage_of_any_length_gives_nothing_up(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        consumer = Consumer(batch=4)
        consumer.away = True
        calls = 0

        async def failing_publish(entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
            nonlocal calls
            calls += 1
            consumer.away = calls < 100
            return await Consumer.publish(consumer, entries)

        consumer.publish = failing_publish  # type: ignore[method-assign]
        async with relaying(dependencies, consumer) as relay:
            for _ in range(5):
                await writer.write("a", "b", "c", "d", "e")
            await consumer.until(lambda: len(consumer.accepted_entries) == 25)
            await relay.drain()
            assert (await delivery_status(relay)).dead_lettered == 0
        assert consumer.versions() == {name: [1, 2, 3, 4, 5] for name in "abcde"}

    async def test_a_consumer_that_is_away_is_asked_less_and_less_often(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        """Concurrent failures count once, so a wide publisher waits no longer than others."""
        consumer = Consumer(concurrency=8)
        consumer.away = True
        retry_policy = RetryPolicy(initial_delay_s=1.0, max_pause_s=30.0)
        async with relaying(dependencies, consumer, retry_policy=retry_policy) as relay:
            await writer.write(*(f"p{number}" for number in range(8)))
            await consumer.until(lambda: consumer.calls == 8)
            await relay.drain()
            delivery = relay._deliveries["consumer"]
            assert 0.0 < delivery._paused_until - asyncio.get_running_loop().time() <= 1.0
            consumer.away = False
            await consumer.until(lambda: len(consumer.accepted_entries) == 8)

    async def test_a_consumer_gets_the_pause_that_it_requests(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        consumer = Consumer()
        consumer.away, consumer.asks_s = True, 7200.0
        async with relaying(dependencies, consumer) as relay:
            await writer.write("a")
            await consumer.until(lambda: consumer.calls == 1)
            await relay.drain()
            retry_after_until = relay._deliveries["consumer"]._retry_after_until
            pause_s = retry_after_until - asyncio.get_running_loop().time()
            assert 3590.0 < pause_s <= QUICK.max_retry_after_s == 3600.0

    async def test_a_poison_event_blocks_only_its_aggregate_and_becomes_a_dead_letter(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        def verdict(entry: JournalEntry) -> str | None:
            return "422 Unprocessable" if (entry.id, entry.version) == ("a", 2) else None

        consumer = Consumer(verdict=verdict, concurrency=2)
        consumer.refuses = True
        async with relaying(dependencies, consumer) as relay:
            for _ in range(4):
                await writer.write("a", "b")
            await consumer.until(lambda: len(consumer.accepted_entries) == 7)
            await relay.drain()
            found = await delivery_status(relay)
            assert (found.dead_lettered, found.dead_letters, found.failed) == (
                1,
                1,
                QUICK.max_attempts,
            )
            assert (found.error, found.backlog) == (None, 0)
        assert consumer.versions() == {"a": [1, 3, 4], "b": [1, 2, 3, 4]}
        letter = (await dead_letters(dependencies))[0]
        assert (letter.publisher, letter.kind, letter.key, letter.version) == (
            *("consumer", "project", "a", 2),
        )
        assert (letter.reason, letter.tries) == ("422 Unprocessable", QUICK.max_attempts)

    async def test_a_failure_without_rejection_counts_only_beside_successes(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        consumer = Consumer(verdict=lambda entry: "500" if entry.id == "a" else None)
        async with relaying(dependencies, consumer) as relay:
            await writer.write("a")
            await consumer.until(lambda: len(consumer.batches) > 20)
            assert await dead_letters(dependencies) == []
            while not await dead_letters(dependencies):
                await writer.write("b")
                await relay.drain()
            await relay.drain()
        assert consumer.versions().keys() == {"b"}

    async def test_a_fault_in_a_publisher_is_a_failure_like_others(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        consumer, faults = Consumer(), list[BaseException]()

        def verdict(entry: JournalEntry) -> str | None:
            if entry.id == "a" and len(faults) < 2:
                raise ZeroDivisionError
            return None

        consumer.verdict = verdict
        journal_watch = JournalWatch(dependencies.reads, coalesce_s=0.0)
        relay = Relay(
            dependencies, [consumer], journal_watch, retry_policy=QUICK, on_error=faults.append
        )
        await relay.start()
        task = asyncio.create_task(relay.run())
        await writer.write("a", "b")
        await consumer.until(lambda: len(consumer.accepted_entries) == 2)
        await _ended(task)
        assert [type(fault) for fault in faults] == [ZeroDivisionError] * 2

    async def test_a_publisher_without_a_result_does_not_end_the_others(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        silent, sound = Silent("silent"), Consumer("sound")
        async with relaying(dependencies, silent, sound):
            await writer.write("a")
            await silent.until(lambda: silent.calls == 3)
            await writer.write("b")
            await sound.until(lambda: len(sound.accepted_entries) == 2)

    async def test_memory_is_bounded_behind_failures(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> None:
        """Waiting events fill their limit, then nothing is read until they are delivered."""
        retry_policy = RetryPolicy(
            initial_delay_s=0.001, max_delay_s=0.002, pause_after=10**6, max_blocked_bytes=50_000
        )
        consumer = Consumer(verdict=lambda _entry: "not now", batch=10)
        async with relaying(dependencies, consumer, retry_policy=retry_policy) as relay:
            names = [f"p{number}" for number in range(3 * PAGE_ENTRIES)]
            await writer.write(*names)
            await consumer.until(lambda: len(consumer.batches) > 100)
            delivery = relay._deliveries["consumer"]
            assert delivery._blocked_bytes < 60_000
            assert len(delivery._ready) + len(delivery._pending) <= PAGE_ENTRIES
            consumer.verdict = lambda _entry: None
            await consumer.until(lambda: len(consumer.accepted_entries) == len(names))
        assert consumer.versions() == {name: [1] for name in names}


class TestDeadLetters:
    @pytest.fixture
    async def dead_letter_relay(
        self, dependencies: Dependencies, writer: ProjectWriter
    ) -> AsyncIterator[tuple[Consumer, Relay, str]]:
        consumer = Consumer(verdict=lambda entry: "no" if entry.id == "a" else None)
        consumer.refuses = True
        async with relaying(dependencies, consumer) as relay:
            await writer.write("a")
            await dependencies.reads.wait_for_change(await dependencies.reads.position(), 20)
            yield consumer, relay, (await dead_letters(dependencies))[0].dead_letter_id

    async def test_a_letter_is_replayed_once(
        self, dependencies: Dependencies, dead_letter_relay: tuple[Consumer, Relay, str]
    ) -> None:
        consumer, relay, letter = dead_letter_relay
        with pytest.raises(DeliveryFailed, match="no"):
            await replay_dead_letter(dependencies, ANNA, relay, letter)
        consumer.away = True
        with pytest.raises(DeliveryFailed, match="nobody is there"):
            await replay_dead_letter(dependencies, ANNA, relay, letter)
        consumer.away, consumer.verdict = False, lambda _entry: None
        aggregate = await replay_dead_letter(dependencies, ANNA, relay, letter)
        assert aggregate.state.state is DeadLetterState.REPLAYED
        assert consumer.versions() == {"a": [1]}
        assert (await delivery_status(relay)).dead_letters == 0
        for again in (replay_dead_letter, discard_dead_letter):
            with pytest.raises(Conflict):
                await again(dependencies, ANNA, relay, letter)

    async def test_a_letter_is_discarded(
        self, dependencies: Dependencies, dead_letter_relay: tuple[Consumer, Relay, str]
    ) -> None:
        consumer, relay, letter = dead_letter_relay
        aggregate = await discard_dead_letter(dependencies, ANNA, relay, letter)
        assert aggregate.state.state is DeadLetterState.DISCARDED
        assert (
            await get_dead_letter(dependencies, ANNA, letter)
        ).state.state is DeadLetterState.DISCARDED
        assert (consumer.accepted_entries, (await delivery_status(relay)).dead_letters) == ([], 0)

    async def test_letters_are_counted_at_the_start_and_never_written_twice(
        self, dependencies: Dependencies, dead_letter_relay: tuple[Consumer, Relay, str]
    ) -> None:
        """State after a crash between the dead letter and the position."""
        del dead_letter_relay
        consumer = Consumer(verdict=lambda _entry: "no")
        consumer.refuses = True
        await dependencies.bookmarks.save_bookmarks({"consumer": None})
        async with relaying(dependencies, consumer) as relay:
            assert (await delivery_status(relay)).dead_letters == 1
            while not (await delivery_status(relay)).dead_lettered:
                await relay._deliveries["consumer"]._progress.wait()
            assert (await delivery_status(relay)).dead_letters == 1
        assert len(await dead_letters(dependencies)) == 1

    async def test_a_letter_of_a_publisher_that_is_gone_stays(
        self, dependencies: Dependencies, dead_letter_relay: tuple[Consumer, Relay, str]
    ) -> None:
        _, _, letter = dead_letter_relay
        other = Relay(dependencies, [Consumer("other")], JournalWatch(dependencies.reads))
        with pytest.raises(Conflict, match="consumer"):
            await replay_dead_letter(dependencies, ANNA, other, letter)


async def test_a_delivery_that_died_delivers_what_was_in_flight_when_started_again(
    dependencies: Dependencies, writer: ProjectWriter
) -> None:
    class Dying(Consumer):
        """A publisher whose first call ends the delivery instead of the batch."""

        async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
            if not self.calls:
                self.calls = 1
                raise asyncio.CancelledError
            return await super().publish(entries)

    consumer = Dying()
    journal_watch = JournalWatch(dependencies.reads)
    relay = Relay(dependencies, [consumer], journal_watch, retry_policy=QUICK)
    await relay.start()
    await writer.write("a", "b")
    await writer.write("a")
    run = relay.tasks()["delivery to consumer"]
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await run()
    assert consumer.accepted_entries == []
    task = asyncio.create_task(run())
    await consumer.until(lambda: len(consumer.accepted_entries) == 3)
    assert consumer.versions() == {"a": [1, 2], "b": [1]}
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await relay.close()
    assert (await dependencies.bookmarks.load_bookmarks())[
        "consumer"
    ] == await dependencies.reads.position()


async def test_events_of_a_lost_epoch_are_delivered_from_the_beginning(
    dependencies: Dependencies, writer: ProjectWriter
) -> None:
    await dependencies.bookmarks.save_bookmarks({"consumer": Position(1, 7)})
    await writer.write("a")
    consumer = Consumer()
    async with relaying(dependencies, consumer) as relay:
        await relay.drain()
    assert consumer.versions() == {"a": [1]}
