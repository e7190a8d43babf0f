"""One wait on the journal for all followers."""

import asyncio

from tests.application.events.test_relay import ProjectWriter

from spawn.application.dependencies import Dependencies
from spawn.application.events.journal_watch import JournalWatch


async def test_an_earlier_change_needs_no_wait(dependencies: Dependencies) -> None:
    journal_watch = JournalWatch(dependencies.reads)
    before = await dependencies.reads.position()
    await ProjectWriter(dependencies).write("a")
    async with asyncio.timeout(5):
        await journal_watch.wait(before, 3600)


async def test_all_waiters_are_notified_of_a_change_together(dependencies: Dependencies) -> None:
    journal_watch = JournalWatch(dependencies.reads)
    watching = asyncio.create_task(journal_watch.run())
    before = await dependencies.reads.position()
    waiting = [asyncio.create_task(journal_watch.wait(before, 3600)) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    await ProjectWriter(dependencies).write("a")
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
    assert journal_watch._waiting == set()
    watching.cancel()


async def test_a_wait_ends_at_its_timeout_and_leaves_no_waiter(dependencies: Dependencies) -> None:
    journal_watch = JournalWatch(dependencies.reads)
    await journal_watch.wait(await dependencies.reads.position(), 0.01)
    cancelled_wait = asyncio.create_task(
        journal_watch.wait(await dependencies.reads.position(), 3600)
    )
    await asyncio.sleep(0)
    cancelled_wait.cancel()
    await asyncio.wait({cancelled_wait})
    assert journal_watch._waiting == set()
