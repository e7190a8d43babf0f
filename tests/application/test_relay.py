"""The relay: every event to every publisher, in order per aggregate, whatever one of them does."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic
from typing import Any

import pytest

from spawn.application.dependencies import Services
from spawn.application.events.dead_letters import (
    discard_letter,
    get_letter,
    list_letters,
    replay_letter,
)
from spawn.application.events.delivery import BEGINNING, PAGE_ENTRIES, Patience
from spawn.application.events.journal_watch import Pulse
from spawn.application.events.relay import Relay, Standing
from spawn.domain.change import Change, Entry, Write
from spawn.domain.errors import Conflict, DeliveryFailed, Unavailable
from spawn.domain.events.dead_letter import LetterState
from spawn.domain.events.event import DomainEvent
from spawn.domain.principal import Principal
from spawn.ports.publishers import Terms, Undelivered
from spawn.testing.builders import a_project

ANNA = Principal(id="anna")
QUICK = Patience(tries=3, first_s=0.001, longest_s=0.002, hold_s=0.002)
Verdict = Callable[[Entry], str | None]


class Consumer:
    """A publisher that takes what it is given, unless `verdict` names a reason against it."""

    def __init__(
        self, name: str = "consumer", verdict: Verdict | None = None, **terms: Any
    ) -> None:
        self.terms = Terms(name=name, **terms)
        self.verdict = verdict or (lambda _entry: None)
        self.refuses = False
        self.away = False
        self.asks_s = 0.0
        self.calls = 0
        self.taken: list[Entry] = []
        self.batches: list[int] = []
        self.closed = False
        self._pace = random.Random(1)
        self._changed = asyncio.Event()

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        # Now sooner, now later than what is under way beside it.
        for _ in range(self._pace.randrange(1, 8)):
            await asyncio.sleep(0)
        self.calls += 1
        if self.away:
            self._changed.set()
            raise Unavailable("nobody is there", retry_after_s=self.asks_s)
        self.batches.append(len(entries))
        failed: list[Undelivered] = []
        for entry in entries:
            behind = any(lost.entry.id == entry.id for lost in failed)
            reason = "an earlier event waits" if behind else self.verdict(entry)
            if reason:
                failed.append(Undelivered(entry, reason, refused=self.refuses))
            else:
                self.taken.append(entry)
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
        for entry in self.taken:
            found.setdefault(entry.id, []).append(entry.version)
        return found


class Silent(Consumer):
    """A publisher that breaks its contract twice."""

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        found = await super().publish(entries)
        return found if self.calls > 2 else None  # type: ignore[return-value]  # on purpose


class Desk:
    """Projects that change."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._versions: dict[str, int] = {}

    async def write(self, *names: str) -> None:
        """The next version of each project, in one change."""
        writes, events = [], []
        for name in names:
            version = self._versions.get(name, 0)
            self._versions[name] = version + 1
            state = a_project(project_id=name)
            writes.append(Write("project", name, version, state))
            type_ = "project.amended" if version else "project.created"
            events.append(DomainEvent(type=type_, kind="project", id=name, changed=("dscr",)))
        change = Change(writes=tuple(writes), events=tuple(events), actor="anna", schema_version=0)
        await self._services.commands.commit(change)


@pytest.fixture
def desk(services: Services) -> Desk:
    return Desk(services)


@asynccontextmanager
async def relaying(
    services: Services, *consumers: Consumer, patience: Patience = QUICK
) -> AsyncIterator[Relay]:
    """A running relay; it ends as by a crash: without a last word to the store."""
    pulse = Pulse(services.reads, gather_s=0.0)
    relay = Relay(services, consumers, pulse, patience=patience)
    await relay.start()
    async with AsyncExitStack() as stack:
        for work in (pulse.run(), relay.run()):
            task = asyncio.create_task(work)
            stack.push_async_callback(_ended, task)
        async with asyncio.timeout(60):
            yield relay


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def standing(relay: Relay, name: str = "consumer") -> Standing:
    return next(found for found in await relay.standings() if found.name == name)


async def letters(services: Services) -> list[Any]:
    page = await list_letters(services, ANNA, after=None, limit=100)
    return [stored.state for stored in page.items]


class TestDelivery:
    async def test_a_new_publisher_gets_what_happens_from_now_on(
        self, services: Services, desk: Desk
    ) -> None:
        await desk.write("a")
        consumer = Consumer()
        async with relaying(services, consumer) as relay:
            await desk.write("a", "b")
            await relay.drain()
        assert consumer.versions() == {"a": [2], "b": [1]}

    async def test_a_publisher_may_ask_for_everything(self, services: Services, desk: Desk) -> None:
        await desk.write("a")
        consumer = Consumer(from_oldest=True)
        async with relaying(services, consumer) as relay:
            await relay.drain()
        assert consumer.versions() == {"a": [1]}

    async def test_pages_follow_one_another_and_batches_are_bounded(
        self, services: Services, desk: Desk
    ) -> None:
        consumer = Consumer(batch=100, durable=False)
        async with relaying(services, consumer) as relay:
            names = [f"p{number}" for number in range(PAGE_ENTRIES + 50)]
            await desk.write(*names)
            await desk.write(*names)
            await relay.drain()
            assert (await standing(relay)).delivered == 2 * len(names)
        assert consumer.versions() == {name: [1, 2] for name in names}
        assert max(consumer.batches) == 100

    @pytest.mark.parametrize(("batch", "concurrency"), [(1, 1), (1, 8), (7, 3)])
    async def test_order_of_an_aggregate_is_kept_whatever_runs_beside_it(
        self, services: Services, desk: Desk, batch: int, concurrency: int
    ) -> None:
        consumer = Consumer(batch=batch, concurrency=concurrency)
        async with relaying(services, consumer) as relay:
            for _ in range(30):
                await desk.write("a", "b", "c", "d")
            await relay.drain()
        assert consumer.versions() == {name: list(range(1, 31)) for name in "abcd"}

    async def test_closing_saves_positions_and_closes_publishers(
        self, services: Services, desk: Desk
    ) -> None:
        consumer = Consumer()
        async with relaying(services, consumer) as relay:
            await desk.write("a")
            await relay.drain()
        await relay.close()
        assert consumer.closed
        saved = await services.bookmarks.load_bookmarks()
        assert saved == {"consumer": await services.reads.position()}


class TestRestart:
    async def test_a_durable_publisher_goes_on_where_it_stood(
        self, services: Services, desk: Desk
    ) -> None:
        first = Consumer()
        async with relaying(services, first) as relay:
            await desk.write("a")
            await relay.drain()
        await relay.close()
        await desk.write("a", "b")
        second = Consumer()
        async with relaying(services, second) as relay:
            await relay.drain()
        assert second.versions() == {"a": [2], "b": [1]}

    async def test_what_a_crash_leaves_undelivered_follows(
        self, services: Services, desk: Desk
    ) -> None:
        """The position that is kept stays before the oldest event that was not taken."""
        first = Consumer(verdict=lambda entry: "not this one" if entry.id == "a" else None)
        async with relaying(services, first, patience=Patience(first_s=30)) as relay:
            await desk.write("a", "b")
            await desk.write("b", "c")
            await first.until(lambda: len(first.taken) == 3)
            await relay.close()
        second = Consumer()
        async with relaying(services, second) as relay:
            await relay.drain()
        assert second.versions() == {"a": [1], "b": [1, 2], "c": [1]}

    async def test_a_publisher_of_this_process_alone_begins_anew(
        self, services: Services, desk: Desk
    ) -> None:
        async with relaying(services, Consumer(durable=False)) as relay:
            await relay.drain()
        await relay.close()
        await desk.write("a")
        second = Consumer(durable=False)
        async with relaying(services, second) as relay:
            await desk.write("b")
            await relay.drain()
        assert second.versions() == {"b": [1]}
        assert await services.bookmarks.load_bookmarks() == {}


class TestFailures:
    async def test_a_failing_publisher_delays_itself_alone(
        self, services: Services, desk: Desk
    ) -> None:
        failing, sound = Consumer("failing"), Consumer("sound")
        failing.away = True
        async with relaying(services, failing, sound) as relay:
            await desk.write("a", "b")
            await sound.until(lambda: len(sound.taken) == 2)
            await relay.drain()
            assert (await standing(relay, "failing")).error == "nobody is there"
            assert (await standing(relay, "failing")).backlog == 2
            assert relay.lag_s() > 0
            failing.away = False
            await failing.until(lambda: len(failing.taken) == 2)
            await relay.drain()
            found = await standing(relay, "failing")
            assert (found.error, found.backlog, found.waiting, found.lag_s) == (None, 0, 0, 0)
        assert failing.versions() == {"a": [1], "b": [1]}

    async def test_an_outage_of_any_length_gives_nothing_up(
        self, services: Services, desk: Desk
    ) -> None:
        consumer = Consumer(batch=4)
        consumer.away = True
        calls = 0

        async def failing_publish(entries: Sequence[Entry]) -> Sequence[Undelivered]:
            nonlocal calls
            calls += 1
            consumer.away = calls < 100
            return await Consumer.publish(consumer, entries)

        consumer.publish = failing_publish  # type: ignore[method-assign]
        async with relaying(services, consumer) as relay:
            for _ in range(5):
                await desk.write("a", "b", "c", "d", "e")
            await consumer.until(lambda: len(consumer.taken) == 25)
            await relay.drain()
            assert (await standing(relay)).given_up == 0
        assert consumer.versions() == {name: [1, 2, 3, 4, 5] for name in "abcde"}

    async def test_a_consumer_that_is_away_is_asked_less_and_less_often(
        self, services: Services, desk: Desk
    ) -> None:
        """What fails together counts once, so a wide publisher is held no longer than others."""
        consumer = Consumer(concurrency=8)
        consumer.away = True
        patience = Patience(first_s=1.0, hold_s=30.0)
        async with relaying(services, consumer, patience=patience) as relay:
            await desk.write(*(f"p{number}" for number in range(8)))
            await consumer.until(lambda: consumer.calls == 8)
            await relay.drain()
            line = relay._lines["consumer"]
            assert 0.0 < line._held_until - monotonic() <= 1.0
            consumer.away = False
            await consumer.until(lambda: len(consumer.taken) == 8)

    async def test_a_consumer_is_given_the_time_that_it_asks_for(
        self, services: Services, desk: Desk
    ) -> None:
        consumer = Consumer()
        consumer.away, consumer.asks_s = True, 7200.0
        async with relaying(services, consumer) as relay:
            await desk.write("a")
            await consumer.until(lambda: consumer.calls == 1)
            await relay.drain()
            asked = relay._lines["consumer"]._asked_until - monotonic()
            assert 3590.0 < asked <= QUICK.longest_asked_s == 3600.0

    async def test_a_poison_event_holds_up_its_own_aggregate_alone_and_is_given_up(
        self, services: Services, desk: Desk
    ) -> None:
        def verdict(entry: Entry) -> str | None:
            return "422 Unprocessable" if (entry.id, entry.version) == ("a", 2) else None

        consumer = Consumer(verdict=verdict, concurrency=2)
        consumer.refuses = True
        async with relaying(services, consumer) as relay:
            for _ in range(4):
                await desk.write("a", "b")
            await consumer.until(lambda: len(consumer.taken) == 7)
            await relay.drain()
            found = await standing(relay)
            assert (found.given_up, found.dead_letters, found.failed) == (1, 1, QUICK.tries)
            assert (found.error, found.backlog) == (None, 0)
        assert consumer.versions() == {"a": [1, 3, 4], "b": [1, 2, 3, 4]}
        letter = (await letters(services))[0]
        assert (letter.publisher, letter.kind, letter.key, letter.version) == (
            *("consumer", "project", "a", 2),
        )
        assert (letter.reason, letter.tries) == ("422 Unprocessable", QUICK.tries)

    async def test_a_failure_that_is_not_a_refusal_counts_only_beside_successes(
        self, services: Services, desk: Desk
    ) -> None:
        consumer = Consumer(verdict=lambda entry: "500" if entry.id == "a" else None)
        async with relaying(services, consumer) as relay:
            await desk.write("a")
            await consumer.until(lambda: len(consumer.batches) > 20)
            assert await letters(services) == []
            while not await letters(services):
                await desk.write("b")
                await relay.drain()
            await relay.drain()
        assert consumer.versions().keys() == {"b"}

    async def test_a_fault_in_a_publisher_is_a_failure_like_others(
        self, services: Services, desk: Desk
    ) -> None:
        consumer, faults = Consumer(), list[BaseException]()

        def verdict(entry: Entry) -> str | None:
            if entry.id == "a" and len(faults) < 2:
                raise ZeroDivisionError
            return None

        consumer.verdict = verdict
        pulse = Pulse(services.reads, gather_s=0.0)
        relay = Relay(services, [consumer], pulse, patience=QUICK, on_error=faults.append)
        await relay.start()
        task = asyncio.create_task(relay.run())
        await desk.write("a", "b")
        await consumer.until(lambda: len(consumer.taken) == 2)
        await _ended(task)
        assert [type(fault) for fault in faults] == [ZeroDivisionError] * 2

    async def test_a_publisher_that_answers_nothing_does_not_end_the_others(
        self, services: Services, desk: Desk
    ) -> None:
        silent, sound = Silent("silent"), Consumer("sound")
        async with relaying(services, silent, sound):
            await desk.write("a")
            await silent.until(lambda: silent.calls == 3)
            await desk.write("b")
            await sound.until(lambda: len(sound.taken) == 2)

    async def test_memory_is_bounded_behind_failures(self, services: Services, desk: Desk) -> None:
        """What waits fills its bound, then nothing is read until it is taken."""
        patience = Patience(first_s=0.001, longest_s=0.002, hold_after=10**6, parked_bytes=50_000)
        consumer = Consumer(verdict=lambda _entry: "not now", batch=10)
        async with relaying(services, consumer, patience=patience) as relay:
            names = [f"p{number}" for number in range(3 * PAGE_ENTRIES)]
            await desk.write(*names)
            await consumer.until(lambda: len(consumer.batches) > 100)
            line = relay._lines["consumer"]
            assert line._parked_bytes < 60_000
            assert len(line._ready) + len(line._started) <= PAGE_ENTRIES
            consumer.verdict = lambda _entry: None
            await consumer.until(lambda: len(consumer.taken) == len(names))
        assert consumer.versions() == {name: [1] for name in names}


class TestDeadLetters:
    @pytest.fixture
    async def given_up(
        self, services: Services, desk: Desk
    ) -> AsyncIterator[tuple[Consumer, Relay, str]]:
        consumer = Consumer(verdict=lambda entry: "no" if entry.id == "a" else None)
        consumer.refuses = True
        async with relaying(services, consumer) as relay:
            await desk.write("a")
            await services.reads.await_change(await services.reads.position(), 20)
            yield consumer, relay, (await letters(services))[0].dead_letter_id

    async def test_a_letter_is_replayed_once(
        self, services: Services, given_up: tuple[Consumer, Relay, str]
    ) -> None:
        consumer, relay, letter = given_up
        with pytest.raises(DeliveryFailed, match="no"):
            await replay_letter(services, ANNA, relay, letter)
        consumer.away = True
        with pytest.raises(DeliveryFailed, match="nobody is there"):
            await replay_letter(services, ANNA, relay, letter)
        consumer.away, consumer.verdict = False, lambda _entry: None
        stored = await replay_letter(services, ANNA, relay, letter)
        assert stored.state.state is LetterState.REPLAYED
        assert consumer.versions() == {"a": [1]}
        assert (await standing(relay)).dead_letters == 0
        for again in (replay_letter, discard_letter):
            with pytest.raises(Conflict):
                await again(services, ANNA, relay, letter)

    async def test_a_letter_is_discarded(
        self, services: Services, given_up: tuple[Consumer, Relay, str]
    ) -> None:
        consumer, relay, letter = given_up
        stored = await discard_letter(services, ANNA, relay, letter)
        assert stored.state.state is LetterState.DISCARDED
        assert (await get_letter(services, ANNA, letter)).state.state is LetterState.DISCARDED
        assert (consumer.taken, (await standing(relay)).dead_letters) == ([], 0)

    async def test_letters_are_counted_at_the_start_and_never_written_twice(
        self, services: Services, given_up: tuple[Consumer, Relay, str]
    ) -> None:
        """As after a crash between the letter and the position."""
        del given_up
        consumer = Consumer(verdict=lambda _entry: "no")
        consumer.refuses = True
        await services.bookmarks.save_bookmarks({"consumer": BEGINNING})
        async with relaying(services, consumer) as relay:
            assert (await standing(relay)).dead_letters == 1
            while not (await standing(relay)).given_up:
                await relay._lines["consumer"]._moved.wait()
            assert (await standing(relay)).dead_letters == 1
        assert len(await letters(services)) == 1

    async def test_a_letter_of_a_publisher_that_is_gone_stays(
        self, services: Services, given_up: tuple[Consumer, Relay, str]
    ) -> None:
        _, _, letter = given_up
        other = Relay(services, [Consumer("other")], Pulse(services.reads))
        with pytest.raises(Conflict, match="consumer"):
            await replay_letter(services, ANNA, other, letter)


async def test_events_of_a_lost_epoch_are_told_from_the_beginning(
    services: Services, desk: Desk
) -> None:
    await services.bookmarks.save_bookmarks({"consumer": "1.7"})
    await desk.write("a")
    consumer = Consumer()
    async with relaying(services, consumer) as relay:
        await relay.drain()
    assert consumer.versions() == {"a": [1]}
