"""Waits of requests end when their client leaves, and those of nobody else."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from spawn.adapters.embedded.reader_turns import ReaderTurns
from spawn.application.analysis.calculation import CalculationPool, Deadline
from spawn.application.traffic.request_slots import TURNS, HeldPlace, RequestSlots
from spawn.ports.client_presence import ClientPresence, current_presence, waiting_for_client


async def leave_during(work: Callable[[], Awaitable[object]]) -> None:
    """Run work for a client that leaves while it waits; its wait must end."""
    presences: list[ClientPresence] = []

    async def serve() -> None:
        presences.append(ClientPresence())
        current_presence.set(presences[0])
        with pytest.raises(asyncio.CancelledError):
            await work()
        assert presences[0].take_cancellation()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0)
    presences[0].leave()
    presences[0].leave()
    await serving


async def test_a_turn_of_a_client_that_left_goes_to_its_next_request() -> None:
    slots = RequestSlots(64)
    assert slots.take("other")
    running = [HeldPlace("a") for _ in range(TURNS)]
    for place in running:
        await place.take_slot(slots)
    place = HeldPlace("a")
    await leave_during(lambda: place.take_slot(slots))
    place.release()
    waiting = asyncio.create_task(HeldPlace("a").take_slot(slots))
    await asyncio.sleep(0)
    assert not waiting.done()
    running[0].release()
    await waiting
    assert slots.in_use == 1 + TURNS


async def test_a_query_of_a_client_that_left_leaves_its_queue() -> None:
    turns = ReaderTurns(1, 8)

    async def take() -> None:
        with waiting_for_client():
            await turns.take("a")

    await turns.take("a")
    await leave_during(take)
    assert (turns.running, turns.waiting) == (1, 0)


async def test_a_calculation_of_a_client_that_left_stops_at_its_next_check() -> None:
    pool, is_stopped = CalculationPool(workers=1), threading.Event()

    def calculate(deadline: Deadline) -> None:
        try:
            while True:
                deadline.raise_if_expired()
        finally:
            is_stopped.set()

    async def run() -> None:
        async with pool.slot(large=True):
            await pool.run(calculate)

    await leave_during(run)
    assert await asyncio.to_thread(is_stopped.wait, 10)
    assert await pool.run(lambda _: "next") == "next"
    pool.close()


async def test_work_that_a_request_starts_for_others_goes_on() -> None:
    is_free = asyncio.Event()

    async def wait() -> str:
        with waiting_for_client():
            await is_free.wait()
        return "done"

    async def order() -> asyncio.Task[str]:
        presence = ClientPresence()
        current_presence.set(presence)
        job = asyncio.create_task(wait())
        await asyncio.sleep(0)
        presence.leave()
        return job

    job = await asyncio.create_task(order())
    await asyncio.sleep(0)
    is_free.set()
    assert await job == "done"


async def test_a_wait_that_begins_after_the_client_left_ends_at_once() -> None:
    presence = ClientPresence()
    presence.leave()
    with pytest.raises(asyncio.CancelledError), presence.waiting():
        await asyncio.Event().wait()
    assert presence.take_cancellation()


async def test_the_cancellation_of_another_is_not_that_of_the_client() -> None:
    presences: list[ClientPresence] = []

    async def serve() -> None:
        presences.append(presence := ClientPresence())
        try:
            with presence.waiting():
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert not presence.take_cancellation()
            raise

    for has_left in (False, True):
        serving = asyncio.create_task(serve())
        await asyncio.sleep(0)
        if has_left:
            presences[-1].leave()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
