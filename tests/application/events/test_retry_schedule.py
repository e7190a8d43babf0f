"""The schedule of retries, in virtual time: growth, jitter, pauses and what may wait."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.application.conftest import open_test_dependencies
from tests.application.events.test_relay import ProjectWriter
from tests.virtual_time import run_in_virtual_time

from spawn.application.dependencies import Dependencies
from spawn.application.events.delivery import FeedReader, PublisherDelivery, RetryPolicy
from spawn.application.events.journal_watch import JournalWatch
from spawn.domain.errors import Unavailable
from spawn.domain.events.journal_entry import FeedPage, JournalEntry
from spawn.ports.publishers import DeliveryFailure, DeliveryOptions
from spawn.ports.storage import ReadStore

NEVER = 10**6
HOUR_S = 3600.0
ENTRY_BYTES = 500

Outcome = Callable[[JournalEntry], str | None]


class TimedPublisher:
    """A publisher that records when it is called; `outcome` returns a reason to fail an event."""

    def __init__(self, **options: Any) -> None:
        self.delivery_options = DeliveryOptions(name="consumer", **options)
        self.outcome: Outcome = lambda _entry: None
        self.is_rejecting = False
        self.retry_after_s: float | None = None
        self.latency_s = 0.0
        self.calls: list[tuple[float, list[str]]] = []
        self.accepted: list[tuple[float, str]] = []

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        loop = asyncio.get_running_loop()
        self.calls.append((loop.time(), [entry.id for entry in entries]))
        await asyncio.sleep(self.latency_s)
        if self.retry_after_s is not None:
            raise Unavailable("nobody is there", retry_after_s=self.retry_after_s)
        failures = [
            DeliveryFailure(entry, reason, is_rejected=self.is_rejecting)
            for entry in entries
            if (reason := self.outcome(entry))
        ]
        failed = {failure.entry.position for failure in failures}
        self.accepted += [(loop.time(), one.id) for one in entries if one.position not in failed]
        return failures

    async def probe(self) -> str:
        return "here"

    async def close(self) -> None:
        return

    def times(self, name: str | None = None) -> list[float]:
        """Return when it was called, or when it was given an event of an aggregate."""
        return [at for at, names in self.calls if name is None or name in names]

    def gaps(self, name: str | None = None) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.times(name))]


class Deliveries:
    """Deliveries over one store, and the dead letters that they record."""

    def __init__(self, dependencies: Dependencies, reads: ReadStore | None = None) -> None:
        self.writer = ProjectWriter(dependencies)
        self._reads = reads or dependencies.reads
        self.dead_letters: list[tuple[float, str, int, str]] = []
        self.is_store_full = False

    async def _record(self, entry: JournalEntry, attempts: int, reason: str) -> None:
        if self.is_store_full:
            raise Unavailable("the store is full")
        time_s = asyncio.get_running_loop().time()
        self.dead_letters.append((time_s, entry.id, attempts, reason))

    @asynccontextmanager
    async def run(
        self, publisher: TimedPublisher, policy: RetryPolicy
    ) -> AsyncIterator[PublisherDelivery]:
        """Deliver everything that is written, for the length of the block."""
        watch = JournalWatch(self._reads, coalesce_s=0.0)
        reader = FeedReader(self._reads)
        delivery = PublisherDelivery(publisher, reader, watch, self._record, policy, print)
        tasks = [asyncio.create_task(watch.run()), asyncio.create_task(delivery.run())]
        try:
            yield delivery
        finally:
            assert [task for task in tasks if task.done()] == []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


Scenario = Callable[[Deliveries], Any]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario in virtual time."""

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            async with open_test_dependencies(tmp_path) as dependencies:
                await scenario(Deliveries(dependencies))

        run_in_virtual_time(main())

    return run


def rejects(*names: str) -> Outcome:
    return lambda entry: "422" if entry.id in names else None


def test_the_defaults_of_the_policy() -> None:
    assert RetryPolicy() == RetryPolicy(
        max_attempts=10,
        initial_delay_s=1.0,
        max_delay_s=300.0,
        pause_after=3,
        max_pause_s=30.0,
        max_retry_after_s=3600.0,
        max_blocked_bytes=33_554_432,
    )


def test_an_event_waits_twice_as_long_after_each_failure_up_to_a_limit(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher()
        publisher.outcome = rejects("a")
        policy = RetryPolicy(
            max_attempts=NEVER, initial_delay_s=1.0, max_delay_s=300.0, pause_after=NEVER
        )
        async with deliveries.run(publisher, policy):
            await deliveries.writer.write("a")
            await asyncio.sleep(2 * HOUR_S)
        gaps = publisher.gaps("a")
        expected = [1, 2, 4, 8, 16, 32, 64, 128, 256] + [300] * (len(gaps) - 9)
        assert len(gaps) > 25
        for gap, longest in zip(gaps, expected, strict=True):
            assert longest / 2 <= gap <= longest + 0.1

    play(scenario)


def test_events_that_fail_together_are_not_retried_together(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher(batch=500)
        names = [f"p{number}" for number in range(200)]
        publisher.outcome = rejects(*names)
        policy = RetryPolicy(initial_delay_s=10.0, pause_after=NEVER)
        async with deliveries.run(publisher, policy):
            await deliveries.writer.write(*names)
            await asyncio.sleep(4.9)
            assert len(publisher.calls) == 1
            await asyncio.sleep(5.3)
        first = publisher.times("p0")[0]
        delays = [publisher.times(name)[1] - first for name in names]
        assert min(delays) >= 5.0
        assert max(delays) <= 10.1
        assert min(delays) < 6.0
        assert max(delays) > 9.0
        assert len({round(delay, 2) for delay in delays}) > 50

    play(scenario)


def test_a_publisher_that_is_away_is_asked_after_pauses_that_grow_to_a_limit(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher(concurrency=8)
        publisher.retry_after_s = 0.0
        policy = RetryPolicy(max_attempts=NEVER, initial_delay_s=1.0, max_delay_s=1.0)
        async with deliveries.run(publisher, policy):
            await deliveries.writer.write("a")
            await asyncio.sleep(HOUR_S)
        gaps = publisher.gaps()
        # Two retries of the event come before the third failure in a row, which begins a pause.
        expected = [1, 1, 1, 2, 4, 8, 16] + [30] * (len(gaps) - 7)
        assert len(gaps) > 110
        for gap, longest in zip(gaps, expected, strict=True):
            assert longest / 2 <= gap <= longest + 0.1

    play(scenario)


def test_while_a_publisher_is_away_one_batch_at_a_time_is_sent(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher(concurrency=8, batch=1)
        publisher.retry_after_s, publisher.latency_s = 0.0, 0.01
        policy = RetryPolicy(max_attempts=NEVER, max_delay_s=1.0, pause_after=3)
        async with deliveries.run(publisher, policy):
            await deliveries.writer.write(*(f"p{number}" for number in range(8)))
            await asyncio.sleep(HOUR_S)
        times = publisher.times()
        assert times[0] == times[7] < times[8]
        assert min(later - earlier for earlier, later in pairwise(times[8:])) >= 0.5
        # Eight failures at once are one outage: its first pause is that of one failure.
        assert times[8] - times[7] <= 1.2

    play(scenario)


def test_a_publisher_that_is_back_gets_everything_at_once(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher(batch=1, concurrency=4)
        publisher.retry_after_s = 0.0
        names = [f"p{number}" for number in range(20)]
        async with deliveries.run(publisher, RetryPolicy(max_attempts=NEVER)) as delivery:
            await deliveries.writer.write(*names)
            await asyncio.sleep(6 * HOUR_S)
            assert delivery.count_blocked() == 20
            publisher.retry_after_s = None
            await asyncio.sleep(HOUR_S)
            assert delivery.count_blocked() == 0
            times = [at for at, _ in publisher.accepted]
            assert len(times) == 20
            assert times[-1] - times[0] < 0.1
            # The next outage begins with the shortest pauses again.
            publisher.retry_after_s = 0.0
            known = len(publisher.calls)
            await deliveries.writer.write("p0")
            await asyncio.sleep(20)
        gaps = publisher.gaps()[known:]
        for gap, longest in zip(gaps[:2], [1, 2], strict=True):
            assert longest / 2 <= gap <= longest + 0.1

    play(scenario)


@pytest.mark.parametrize(
    ("requested_s", "granted_s"), [(100.0, 100.0), (3600.0, 3600.0), (7200.0, 3600.0)]
)
def test_a_publisher_gets_the_pause_that_it_asks_for_up_to_an_hour(
    play: Callable[[Scenario], None], requested_s: float, granted_s: float
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher()
        publisher.retry_after_s = requested_s
        async with deliveries.run(publisher, RetryPolicy()):
            await deliveries.writer.write("a")
            await asyncio.sleep(2.5 * granted_s)
        assert publisher.gaps() == pytest.approx([granted_s] * 2, abs=0.1)

    play(scenario)


def test_a_shorter_request_does_not_end_a_longer_pause(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher(concurrency=2, batch=1)
        publisher.retry_after_s, publisher.latency_s = 500.0, 1.0
        async with deliveries.run(publisher, RetryPolicy()):
            await deliveries.writer.write("a")
            await asyncio.sleep(0.5)
            await deliveries.writer.write("b")
            await asyncio.sleep(0.6)
            publisher.retry_after_s = 5.0
            await asyncio.sleep(400.0)
            assert len(publisher.calls) == 2
            await asyncio.sleep(110.0)
        assert publisher.times()[2] == pytest.approx(501.0, abs=0.1)

    play(scenario)


def test_a_rejected_event_becomes_a_dead_letter_after_ten_attempts(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher()
        publisher.outcome, publisher.is_rejecting = rejects("a"), True
        async with deliveries.run(publisher, RetryPolicy()) as delivery:
            await deliveries.writer.write("a", "b")
            await asyncio.sleep(HOUR_S)
            assert (delivery.dead_lettered, delivery.delivered, delivery.failed) == (1, 1, 10)
            assert delivery.error is None
        assert [letter[1:] for letter in deliveries.dead_letters] == [("a", 10, "422")]
        assert len(publisher.times("a")) == 10

    play(scenario)


def test_a_dead_letter_that_cannot_be_stored_is_tried_again_with_its_event(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher()
        publisher.outcome, publisher.is_rejecting = rejects("a"), True
        deliveries.is_store_full = True
        policy = RetryPolicy(max_attempts=2, max_delay_s=10.0)
        async with deliveries.run(publisher, policy) as delivery:
            await deliveries.writer.write("a")
            await asyncio.sleep(HOUR_S)
            assert (delivery.dead_lettered, delivery.error) == (0, "the store is full")
            assert len(publisher.calls) > 100
            deliveries.is_store_full = False
            await asyncio.sleep(40.0)
            assert (delivery.dead_lettered, delivery.error) == (1, None)
            known = len(publisher.calls)
            await asyncio.sleep(HOUR_S)
            assert len(publisher.calls) == known
        assert [letter[1] for letter in deliveries.dead_letters] == ["a"]

    play(scenario)


@pytest.mark.parametrize("room", [1, 3, 10])
def test_exactly_as_many_events_wait_as_fit_into_the_limit(
    play: Callable[[Scenario], None], room: int
) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        names = [f"p{number:02}" for number in range(40)]
        publisher = TimedPublisher(batch=1)
        publisher.outcome = rejects(*names)
        policy = RetryPolicy(
            max_attempts=NEVER,
            pause_after=NEVER,
            max_blocked_bytes=await _size_of(deliveries, room),
        )
        async with deliveries.run(publisher, policy) as delivery:
            await deliveries.writer.write(*names)
            await asyncio.sleep(HOUR_S)
            attempted = {name for _, batch in publisher.calls for name in batch}
            assert attempted - {"p99"} == set(names[:room])
            assert delivery.count_blocked() == room
            publisher.outcome = rejects()
            await asyncio.sleep(HOUR_S)
            assert delivery.count_blocked() == 0
        assert sorted(name for _, name in publisher.accepted) == [*names, "p99"]

    play(scenario)


async def _size_of(deliveries: Deliveries, number: int) -> int:
    """Return the memory of a number of events, as the delivery estimates it."""
    await deliveries.writer.write("p99")
    reads = deliveries._reads
    page = await reads.feed(after=None, limit=1, types=None)
    return number * (ENTRY_BYTES + len(page.entries[0].document))


def test_a_full_room_behind_a_slow_event_is_waited_for_without_rounds(
    play: Callable[[Scenario], None],
) -> None:
    """Rounds without a change would take the whole processor until the receiver responds."""

    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher(concurrency=8)
        publisher.latency_s = HOUR_S
        policy = RetryPolicy(max_blocked_bytes=await _size_of(deliveries, 3))
        async with deliveries.run(publisher, policy) as delivery:
            rounds, next_batch = 0, delivery._next_batch

            def count_round() -> list[JournalEntry]:
                nonlocal rounds
                rounds += 1
                assert rounds < 10_000, "the delivery spins"
                return next_batch()

            delivery._next_batch = count_round  # type: ignore[method-assign]
            for _ in range(9):
                await deliveries.writer.write("a")
            await asyncio.sleep(HOUR_S / 2)
            assert delivery._blocked_bytes >= policy.max_blocked_bytes
            assert len(delivery._ready) > 0
            before = rounds
            await asyncio.sleep(HOUR_S / 4)
            assert rounds - before <= HOUR_S / 4 / 60
            await asyncio.sleep(20 * HOUR_S)
        assert sorted(name for _, name in publisher.accepted) == [*["a"] * 9, "p99"]

    play(scenario)


def test_many_failures_and_successes_leak_no_room(play: Callable[[Scenario], None]) -> None:
    """Each way of an event through the queue gives back what it took."""

    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher(batch=2)
        room = await _size_of(deliveries, 3)
        policy = RetryPolicy(max_attempts=3, max_delay_s=1.0, max_blocked_bytes=room)
        async with deliveries.run(publisher, policy) as delivery:
            for number in range(60):
                bad = rejects("a") if number % 3 else rejects("a", "b")
                publisher.outcome, publisher.is_rejecting = bad, number % 2 == 0
                await deliveries.writer.write("a", "b")
                await deliveries.writer.write("a", "c")
                await asyncio.sleep(30.0)
            publisher.outcome = rejects()
            await asyncio.sleep(HOUR_S)
            assert await delivery.count_backlog() == 0
            assert delivery.delivered + delivery.dead_lettered == 241
            known = len(publisher.accepted)
            # All the room is free again: three events wait, and no fourth is tried.
            publisher.outcome, publisher.is_rejecting = lambda _entry: "500", False
            calls = len(publisher.calls)
            await deliveries.writer.write(*(f"q{number}" for number in range(9)))
            await asyncio.sleep(HOUR_S)
            attempted = {name for _, batch in publisher.calls[calls:] for name in batch}
            assert 3 <= len(attempted) <= 4
            assert len(publisher.accepted) == known

    play(scenario)


def test_reads_of_a_busy_journal_are_paced(play: Callable[[Scenario], None]) -> None:
    async def scenario(deliveries: Deliveries) -> None:
        publisher = TimedPublisher(batch=100)
        async with deliveries.run(publisher, RetryPolicy()):
            for number in range(100):
                await deliveries.writer.write(f"p{number}")
                await asyncio.sleep(0.001)
            await asyncio.sleep(1.0)
        assert len(publisher.accepted) == 100
        assert 5 <= len(publisher.calls) <= 12
        assert min(publisher.gaps()) >= 0.0099

    play(scenario)


class FailingReads:
    """A store whose feed cannot be read while it is down."""

    def __init__(self, reads: ReadStore) -> None:
        self._reads = reads
        self.is_down = False
        self.reads: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reads, name)

    async def feed(self, **query: Any) -> FeedPage:
        self.reads.append(asyncio.get_running_loop().time())
        if self.is_down:
            raise Unavailable("the store is reopening")
        return await self._reads.feed(**query)


def test_a_feed_that_cannot_be_read_is_read_again_after_a_pause(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_test_dependencies(tmp_path) as dependencies:
            reads: Any = FailingReads(dependencies.reads)
            deliveries = Deliveries(dependencies, reads)
            publisher = TimedPublisher()
            reads.is_down = True
            async with deliveries.run(publisher, RetryPolicy(initial_delay_s=10.0)) as delivery:
                await deliveries.writer.write("a")
                await asyncio.sleep(95.0)
                errors = [delivery.error]
                assert len(reads.reads) == 10
                reads.is_down = False
                await asyncio.sleep(20.0)
                errors.append(delivery.error)
                assert errors == ["the store is reopening", None]
                assert [name for _, name in publisher.accepted] == ["a"]

    run_in_virtual_time(main())
