"""One client can neither use up the places of the others nor make them wait behind its own."""

import asyncio
from typing import Any

import pytest

from spawn.application.traffic import request_slots
from spawn.application.traffic.request_slots import (
    MIN_SLOTS,
    TARGET_LAG_S,
    TURNS,
    HeldPlace,
    RequestSlots,
)
from spawn.application.traffic.shared_places import SharedPlaces, is_of
from spawn.application.traffic.token_buckets import TokenBuckets
from spawn.application.traffic.traffic_control import TrafficControl, TrafficLimits
from spawn.domain.errors import DeadlineExceeded, Overloaded
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.middleware.arriving_body import ArrivingBody


class TestBuckets:
    def test_a_burst_of_two_seconds_is_followed_by_the_rate(self) -> None:
        buckets = TokenBuckets("reads", 10.0)
        assert [buckets.take("a", 0.0) for _ in range(20)] == [19.0 - n for n in range(20)]
        assert buckets.take("a", 0.0) == pytest.approx(-0.1)
        assert buckets.take("a", 0.1) == pytest.approx(0.0)
        assert buckets.take("b", 0.1) == 19.0

    def test_the_oldest_client_is_evicted_beyond_the_bound(self) -> None:
        buckets = TokenBuckets("reads", 1.0, max_clients=2)
        for client in ("a", "a", "b", "c"):
            assert buckets.take(client, 0.0) >= 0.0
        assert buckets.take("b", 0.0) == 0.0
        assert buckets.take("b", 0.0) < 0.0  # still stored: its burst is used up
        assert buckets.take("a", 0.0) == 1.0  # evicted, which favours it


class TestPlaces:
    def test_one_client_gets_three_quarters_and_others_the_rest(self) -> None:
        places = SharedPlaces(8)
        assert [places.take("hostile") for _ in range(8)] == [True] * 6 + [False] * 2
        assert [places.take("good") for _ in range(3)] == [True, True, False]
        places.release("hostile")
        assert places.take("good")
        assert (places.in_use, places.rejections) == (8, 3)

    def test_many_greedy_clients_leave_places_to_the_next_one(self) -> None:
        places = SharedPlaces(512)
        for _ in range(512):
            for number in range(10):
                places.take(f"hostile {number}")
        assert [places.take("good") for _ in range(17)] == [True] * 12 + [False] * 5
        assert places.in_use == 508

    def test_the_sites_of_a_network_share_its_places(self) -> None:
        places = SharedPlaces(2048)
        sites = [f"2001:db8:0:{number:x}::/64" for number in range(4096)]
        held = [site for site in sites if places.take(site)]
        assert len(held) == 1536
        assert places.take("2001:db8:1::/64")
        assert places.take("token:2001:db8::/64")
        for site in (*held, "2001:db8:1::/64", "token:2001:db8::/64"):
            places.release(site)
        assert (places.in_use, places._held, places._held_by_networks) == (0, {}, {})

    def test_a_client_that_released_all_leaves_no_trace(self) -> None:
        places = SharedPlaces(1)
        assert places.take("a")
        places.release("a")
        assert (places.in_use, places.held_by("a"), places._held) == (0, 0, {})


async def hold(slots: RequestSlots, client: str, count: int) -> list[asyncio.Task[HeldPlace]]:
    """Take slots in tasks, and return those once they run or wait for a turn."""

    async def take() -> HeldPlace:
        place = HeldPlace(client)
        try:
            await place.take_slot(slots)
        except asyncio.CancelledError:
            place.release()
            raise
        return place

    tasks = [asyncio.create_task(take()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def running(tasks: list[asyncio.Task[HeldPlace]]) -> int:
    return sum(task.done() for task in tasks)


class TestTurns:
    async def test_a_client_alone_runs_all_it_has(self) -> None:
        assert running(await hold(RequestSlots(64), "a", 40)) == 40

    async def test_beside_another_client_each_runs_in_turns(self) -> None:
        slots = RequestSlots(64)
        await hold(slots, "good", 1)
        hostile = await hold(slots, "hostile", 40)
        assert running(hostile) == TURNS
        assert running(await hold(slots, "good", 2)) == 2
        for number in range(10):
            hostile[number].result().release()
            await asyncio.sleep(0)
            assert running(hostile) == TURNS + number + 1
        for task in hostile[10:]:
            task.cancel()

    async def test_turns_end_with_the_contention(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slots = RequestSlots(64)
        good = await hold(slots, "good", 1)
        hostile = await hold(slots, "hostile", 40)
        monkeypatch.setattr(request_slots, "monotonic", lambda: float("inf"))
        hostile[0].result().release()
        await asyncio.sleep(0)
        assert running(hostile) == TURNS + 1  # the other client has a request still
        good[0].result().release()
        hostile[1].result().release()
        await asyncio.sleep(0)
        assert running(hostile) == 40

    async def test_a_cancelled_request_leaves_the_queue(self) -> None:
        slots = RequestSlots(64)
        await hold(slots, "good", 1)
        hostile = await hold(slots, "hostile", TURNS + 2)
        hostile[TURNS].cancel()
        await asyncio.sleep(0)
        hostile[0].result().release()
        await asyncio.sleep(0)
        assert hostile[TURNS + 1].done()

    async def test_a_request_without_a_slot_is_rejected(self) -> None:
        slots = RequestSlots(4)
        assert running(await hold(slots, "a", 3)) == 3
        with pytest.raises(Overloaded):
            await HeldPlace("a").take_slot(slots)
        assert running(await hold(slots, "b", 1)) == 1


class TestLargeBodies:
    SECOND = request_slots.LARGE_BYTES_S
    """Bytes of a body that books a second."""

    def contend(self) -> RequestSlots:
        slots = RequestSlots(64)
        for client in ("good", "hostile"):
            assert slots.take(client)
        return slots

    def test_those_of_one_client_follow_one_another_beside_another_client(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(request_slots, "monotonic", lambda: 100.0)
        slots = self.contend()
        delays_s = [slots.book_large_body("hostile", 2 * self.SECOND) for _ in range(3)]
        assert delays_s == [0.0, 2.0, 4.0]
        assert slots.book_large_body("good", self.SECOND) == 0.0
        assert slots.book_large_body("good", self.SECOND) == 1.0

    def test_one_that_would_wait_long_is_rejected_and_books_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(request_slots, "monotonic", lambda: 100.0)
        slots = self.contend()
        for _ in range(3):
            slots.book_large_body("hostile", 2 * self.SECOND)
        for _ in range(50):
            with pytest.raises(Overloaded) as raised:
                slots.book_large_body("hostile", 2 * self.SECOND)
            assert raised.value.retry_after_s == 6.0
        monkeypatch.setattr(request_slots, "monotonic", lambda: 106.0)
        assert slots.book_large_body("hostile", self.SECOND) == 0.0

    def test_a_client_alone_and_small_bodies_wait_for_nothing(self) -> None:
        slots = RequestSlots(64)
        assert [slots.book_large_body("a", 2**30) for _ in range(3)] == [0.0] * 3
        assert slots.take("b")
        for _ in range(1000):
            assert slots.book_large_body("a", request_slots.LARGE_BODY_BYTES) == 0.0
        assert slots._next_large_s == {}

    async def test_one_whose_client_leaves_gives_its_time_back_and_takes_no_slot(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(request_slots, "monotonic", lambda: 100.0)
        slots = self.contend()
        assert slots.book_large_body("hostile", 3 * self.SECOND) == 0.0
        for _ in range(20):
            messages = iter(
                (
                    {"type": "http.request", "body": bytes(2 * self.SECOND), "more_body": False},
                    {"type": "http.disconnect"},
                )
            )

            async def receive(messages: Any = messages) -> Any:
                return next(messages)

            place = HeldPlace("hostile")
            body = ArrivingBody("/v1/ops/projects", receive, HttpLimits(), place, slots)
            assert await body.receive() == {"type": "http.disconnect"}
        assert slots.book_large_body("hostile", self.SECOND) == 3.0
        assert slots.in_use == 2

    async def test_one_that_ends_halfway_books_no_time_and_takes_no_slot(self) -> None:
        slots = self.contend()
        taken = slots.in_use
        part = {"type": "http.request", "body": bytes(4 * self.SECOND), "more_body": True}
        messages: Any = iter((part, {"type": "http.disconnect"}))

        async def receive() -> Any:
            return next(messages)

        body = ArrivingBody("/v1/ops/projects", receive, HttpLimits(), HeldPlace("left"), slots)
        assert await body.receive() == part
        assert await body.receive() == {"type": "http.disconnect"}
        assert slots.in_use == taken
        assert slots.book_large_body("left", self.SECOND) <= 1.0

    async def test_one_that_is_cancelled_gives_its_time_back(self) -> None:
        slots = self.contend()
        slots.book_large_body("hostile", self.SECOND)
        is_whole = asyncio.Event()

        async def receive() -> Any:
            if is_whole.is_set():
                await asyncio.Event().wait()
            is_whole.set()
            return {"type": "http.request", "body": bytes(4 * self.SECOND), "more_body": False}

        body = ArrivingBody("/", receive, HttpLimits(), HeldPlace("hostile"), slots)
        waiting = asyncio.create_task(body.receive())
        await is_whole.wait()
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert slots.book_large_body("hostile", self.SECOND) <= 1.0


class TestAdmission:
    def test_a_late_event_loop_halves_the_slots_and_a_punctual_one_restores_them(self) -> None:
        slots = RequestSlots(512)
        slots.adapt(TARGET_LAG_S)
        sizes = [slots.places]
        for _ in range(6):
            slots.adapt(TARGET_LAG_S * 2)
            sizes.append(slots.places)
        assert sizes == [512, 256, 128, 64, 32, MIN_SLOTS, MIN_SLOTS]
        assert slots.is_reduced
        for _ in range(20):
            slots.adapt(0.0)
        assert (slots.places, slots.is_reduced) == (512, False)


class TestDeadline:
    async def run(self, *, has_response: bool) -> str:
        traffic = TrafficControl(TrafficLimits(deadline_s=0.0))

        async def serve() -> str:
            place = HeldPlace("a")
            place.has_response = has_response
            traffic.begin(place)
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                place.raise_if_expired()
                raise
            finally:
                traffic.end(place)
            return "served"

        task = asyncio.create_task(serve())
        await asyncio.sleep(0)
        traffic._expire(float("inf"))
        try:
            return await task
        except DeadlineExceeded:
            assert task.cancelling() == 0
            assert traffic.deadline_count == 1
            return "expired"

    async def test_a_request_ends_with_its_deadline_unless_its_response_has_begun(self) -> None:
        assert await self.run(has_response=False) == "expired"
        assert await self.run(has_response=True) == "served"

    async def test_a_cancellation_of_another_kind_stays_one(self) -> None:
        HeldPlace("a").raise_if_expired()


def test_the_sites_of_a_network_are_one_holder() -> None:
    places = SharedPlaces(16)
    sites = [f"2001:db8:1:{number:x}::/64" for number in range(8)]
    assert all(places.take(client) for client in [*sites, "10.0.0.9", "10.0.0.9", "key"])
    network = "2001:db8:1::/48"
    assert places.find_largest_holder() == (network, 8)
    assert [places.held_with_network(client) for client in (sites[0], "10.0.0.9")] == [8, 2]
    assert [is_of(client, network) for client in (sites[0], "10.0.0.9", "key")] == [
        True,
        False,
        False,
    ]
    assert is_of("10.0.0.9", "10.0.0.9")
    for site in sites:
        places.release(site)
    assert places.find_largest_holder() == ("10.0.0.9", 2)
    assert SharedPlaces(1).find_largest_holder() == ("", 0)


def test_a_client_may_follow_only_where_it_could_take_the_place() -> None:
    places = SharedPlaces(16)
    clients = ["a"] * 12 + ["b"] * 3 + ["2001:db8:1::/64"]
    assert all(places.take(client) for client in clients)
    assert [places.may_follow(client) for client in ("a", "b", "c")] == [False, False, True]
    assert places.may_follow("2001:db8:1:1::/64")
    places.release("a")
    assert [places.take(client) for client in ("b", "c")] == [False, True]
