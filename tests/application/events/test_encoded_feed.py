"""The feed of all streams, encoded once."""

import asyncio

from tests.application.events.test_relay import ProjectWriter

from spawn.application.dependencies import Dependencies
from spawn.application.events.encoded_feed import EncodedFeed, EventFilter

EVERY_EVENT = EventFilter()


async def test_a_read_that_has_ended_is_not_taken_again(dependencies: Dependencies) -> None:
    """Its empty page, taken again at once, kept a stream reading for ever without a pause."""
    feed = EncodedFeed(dependencies.reads, lambda entry: entry.id.encode())
    start = await dependencies.reads.position()
    following = asyncio.create_task(feed.read(start, EVERY_EVENT))
    await asyncio.sleep(0)
    # Now its read of the store has ended, and the event loop has not told anyone yet.
    await asyncio.sleep(0)
    await ProjectWriter(dependencies).write("a")
    assert (await feed.read(start, EVERY_EVENT)).all_messages == b"a"
    assert (await following).all_messages == b""
