"""One read of the journal for all publishers: pages are shared, the end of it is not."""

from tests.application.events.test_relay import ProjectWriter

from spawn.application.dependencies import Dependencies
from spawn.application.events.delivery import FeedReader


async def test_followers_at_one_position_share_a_page(dependencies: Dependencies) -> None:
    await ProjectWriter(dependencies).write("a")
    reader = FeedReader(dependencies.reads)
    page = await reader.read_after(None)
    assert page.entries
    assert await reader.read_after(None) is page


async def test_the_end_of_the_journal_is_read_again(dependencies: Dependencies) -> None:
    reader = FeedReader(dependencies.reads)
    end = await dependencies.reads.position()
    assert (await reader.read_after(end)).entries == ()
    await ProjectWriter(dependencies).write("a")
    assert [entry.version for entry in (await reader.read_after(end)).entries] == [1]
