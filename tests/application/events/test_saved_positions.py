"""When the relay saves the position of each publisher, in virtual time."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.application.conftest import open_test_dependencies
from tests.application.events.test_relay import Consumer, ProjectWriter, relaying
from tests.virtual_time import run_in_virtual_time

from spawn.domain.errors import Unavailable
from spawn.domain.events.position import Position

Scenario = Callable[[ProjectWriter, Consumer, "RecordingBookmarks"], Any]


class RecordingBookmarks:
    """The store's bookmarks, with the time of each save; they fail while the disk is full."""

    def __init__(self, bookmarks: Any) -> None:
        self._bookmarks = bookmarks
        self.is_full = False
        self.saves: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bookmarks, name)

    async def save_bookmarks(self, positions: Mapping[str, Position | None]) -> None:
        self.saves.append(asyncio.get_running_loop().time())
        if self.is_full:
            raise Unavailable("the disk is full")
        await self._bookmarks.save_bookmarks(positions)


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario with a running relay."""

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            async with open_test_dependencies(tmp_path) as dependencies:
                bookmarks: Any = RecordingBookmarks(dependencies.bookmarks)
                recorded = msgspec.structs.replace(dependencies, bookmarks=bookmarks)
                consumer = Consumer()
                async with relaying(recorded, consumer):
                    await scenario(ProjectWriter(dependencies), consumer, bookmarks)

        run_in_virtual_time(main())

    return run


def test_a_position_that_moved_is_saved_every_second_and_no_other(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(
        writer: ProjectWriter, consumer: Consumer, bookmarks: RecordingBookmarks
    ) -> None:
        first = await bookmarks.load_bookmarks()
        for _ in range(3):
            await writer.write("a")
            await asyncio.sleep(1.0)
        await asyncio.sleep(20.0)
        # The start registers the publisher; each second moved it once; then nothing moves it.
        assert bookmarks.saves == pytest.approx([0.0, 1.0, 2.0, 3.0], abs=0.1)
        last = await bookmarks.load_bookmarks()
        assert last["consumer"] > first["consumer"]
        assert consumer.versions() == {"a": [1, 2, 3]}

    play(scenario)


def test_a_position_that_could_not_be_saved_is_saved_a_second_later(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(
        writer: ProjectWriter, consumer: Consumer, bookmarks: RecordingBookmarks
    ) -> None:
        before = await bookmarks.load_bookmarks()
        bookmarks.is_full = True
        await writer.write("a")
        await asyncio.sleep(2.5)
        assert await bookmarks.load_bookmarks() == before
        bookmarks.is_full = False
        await asyncio.sleep(10.0)
        assert consumer.versions() == {"a": [1]}
        assert await bookmarks.load_bookmarks() != before
        assert bookmarks.saves == pytest.approx([0.0, 1.0, 2.0, 3.0], abs=0.1)

    play(scenario)
