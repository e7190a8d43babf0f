"""A streamed file ends with its client, also before its first byte."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from litestar.types import Message, Scope

from spawn.application.lineage.recorder import RunProgress
from spawn.entrypoints.http.datasets.streamed_file import DatasetFile, StreamResponse


class EndlessFile(DatasetFile):
    """A file whose first chunk never comes, as that of a workbook of many rows."""

    def __init__(self) -> None:
        self.has_begun, self.has_ended = asyncio.Event(), False

    @asynccontextmanager
    async def record(self) -> AsyncIterator[RunProgress]:
        yield cast("RunProgress", None)

    async def read(self, progress: RunProgress) -> AsyncGenerator[bytes]:  # noqa: ARG002 - as its base
        try:
            self.has_begun.set()
            await asyncio.Event().wait()
            yield b""
        finally:
            self.has_ended = True


async def test_a_client_that_leaves_before_the_first_byte_ends_the_work() -> None:
    file, sent = EndlessFile(), list[Message]()
    response = StreamResponse.__new__(StreamResponse)
    response._file, response._headers = file, []
    response._is_compressed = response._is_head = False

    async def receive() -> Any:
        await file.has_begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(20):
        await response(cast("Scope", {}), receive, send)
    assert file.has_ended
    assert sent == []
