"""A response that is not read to its end is closed with the call that read it."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from spawn.adapters.service_client import ServiceClient
from spawn.application.datasets.file_formats import DataFormat
from spawn.client.async_client import AsyncSpawnClient


class LongBody(httpx.AsyncByteStream):
    """Body without an end, which notes that it was closed."""

    def __init__(self) -> None:
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000

    async def aclose(self) -> None:
        self.is_closed = True


def serve(body: LongBody) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(200, stream=body))


async def test_an_export_that_is_closed_closes_its_response() -> None:
    body = LongBody()
    async with httpx.AsyncClient(base_url="http://service", transport=serve(body)) as http:
        client = ServiceClient(http, http)
        async with aclosing(client.export_projects(DataFormat.CSV, {})) as chunks:
            assert await anext(chunks)
            assert not body.is_closed
        assert body.is_closed


async def test_a_download_that_no_disk_takes_closes_its_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = LongBody()

    async def fail_to_write(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("spawn.client.async_client.asyncio.to_thread", fail_to_write)
    async with AsyncSpawnClient("http://service", transport=serve(body)) as client:
        with pytest.raises(OSError, match="No space left"):
            await client.save_dataset(tmp_path / "projects.csv")
        assert body.is_closed
