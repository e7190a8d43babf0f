"""A source that opens while its import is cancelled is closed."""

import asyncio
import threading

import pytest

from spawn.application.imports.files.record_source import open_in_thread


class OpenFile:
    """Something open, until it is closed."""

    def __init__(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


async def test_what_opens_while_the_caller_is_cancelled_is_closed() -> None:
    is_opening, may_open = threading.Event(), threading.Event()
    files: list[OpenFile] = []

    def build() -> OpenFile:
        is_opening.set()
        may_open.wait()
        files.append(OpenFile())
        return files[0]

    opening = asyncio.create_task(open_in_thread(build))
    await asyncio.to_thread(is_opening.wait)
    opening.cancel()
    asyncio.get_running_loop().call_soon(may_open.set)
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [file.is_open for file in files] == [False]
