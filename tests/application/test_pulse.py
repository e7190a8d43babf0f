"""One watch over the journal for all who follow it."""

import asyncio

from tests.application.test_relay import Desk

from spawn.application.dependencies import Services
from spawn.application.events.journal_watch import Pulse


async def test_what_changed_already_is_not_waited_for(services: Services) -> None:
    pulse = Pulse(services.reads)
    before = await services.reads.position()
    await Desk(services).write("a")
    async with asyncio.timeout(5):
        await pulse.wait(before, 3600)


async def test_everyone_who_waits_hears_of_a_change_together(services: Services) -> None:
    pulse = Pulse(services.reads)
    watching = asyncio.create_task(pulse.run())
    before = await services.reads.position()
    waiting = [asyncio.create_task(pulse.wait(before, 3600)) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    await Desk(services).write("a")
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
    assert pulse._waiting == set()
    watching.cancel()


async def test_waiting_ends_in_time_and_leaves_nothing_behind(services: Services) -> None:
    pulse = Pulse(services.reads)
    await pulse.wait(await services.reads.position(), 0.01)
    given_up = asyncio.create_task(pulse.wait(await services.reads.position(), 3600))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait({given_up})
    assert pulse._waiting == set()
