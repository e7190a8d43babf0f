"""Turns of long work on the event loop."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

from spawn.application.datasets.dataset_rows import Row, count_rows
from spawn.application.lineage.recorder import RunProgress
from spawn.application.traffic.work_turns import WorkTurns

ROWS = 96
DOWNLOADS = 24


async def test_downloads_format_a_piece_each_in_turn_and_requests_run_between_two() -> None:
    pieces: list[int] = []
    turns = WorkTurns()

    async def read() -> AsyncIterator[Row]:
        for number in range(ROWS):
            yield {"number": number}

    async def download(name: int) -> None:
        rows = count_rows(read(), RunProgress(), turns)
        async for row in rows:
            pieces.extend([name] if row["number"] in {32, 64} else [])

    downloads = asyncio.gather(*(download(name) for name in range(DOWNLOADS)))
    counts = []
    while not downloads.done():
        await asyncio.sleep(0)
        counts.append(len(pieces))
    await downloads
    in_order = list(range(DOWNLOADS))
    assert pieces == in_order * 2
    # What the event loop does between two of its rounds is at most one piece.
    assert max(later - earlier for earlier, later in pairwise(counts)) == 1


async def test_a_turn_that_is_not_taken_passes_to_the_next() -> None:
    turns = WorkTurns()
    waiting = [asyncio.create_task(turns.wait_for_turn()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        asyncio.CancelledError,
        type(None),
    ]
