"""Clients that read a stream slowly and steadily, and those that read nothing more."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import tenacity
from tests.loopback import free_port
from tests.virtual_time import run_in_virtual_time

from spawn.entrypoints.http.reading_watch import CONFIRMATION_S, ReadingWatch
from spawn.entrypoints.http.server import DrainingServer, Listener, build_server
from spawn.entrypoints.settings import Settings

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PART = b"x" * 65_536
SEND_BUFFER_BYTES = 512 * 1024


async def stream(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(64):
        await send({"type": "http.response.body", "body": PART, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def bind(family: str, folder: Path) -> socket.socket:
    if family == "tcp":
        return socket.create_server(("127.0.0.1", free_port()))
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(folder / "service"))
    bound.listen()
    return bound


@contextlib.asynccontextmanager
async def serve(bound: socket.socket) -> AsyncIterator[DrainingServer]:
    # A stream fills the whole buffer whenever a third of it is free.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    settings = Settings(storage_url="memory://")
    server = build_server(stream, settings, [Listener(sockets=(bound,))], lambda: None)
    task = asyncio.create_task(server.serve())
    async for attempt in tenacity.AsyncRetrying(wait=tenacity.wait_fixed(0.01)):
        with attempt:
            assert server.started
    try:
        yield server
    finally:
        server.should_exit = True
        await task


async def connect(bound: socket.socket) -> socket.socket:
    connection = socket.socket(bound.family)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(0)
    await asyncio.get_running_loop().sock_connect(connection, bound.getsockname())
    await asyncio.get_running_loop().sock_sendall(connection, GET)
    return connection


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_client_that_reads_a_stream_steadily_keeps_its_connection(
    family: str, tmp_path: Path
) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        bound = bind(family, tmp_path)
        async with serve(bound) as server:
            connection, begin_s, received = await connect(bound), loop.time(), 0
            while loop.time() - begin_s < 900:
                await asyncio.sleep(1)
                received += len(await loop.sock_recv(connection, 2048))
            assert received > 1_500_000
            assert len(server.server_state.connections) == 1
            connection.close()

    run_in_virtual_time(case(), delivery_s=0.001)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_client_that_reads_no_stream_is_disconnected_in_a_minute(
    family: str, tmp_path: Path
) -> None:
    async def case() -> None:
        bound = bind(family, tmp_path)
        async with serve(bound) as server:
            connection = await connect(bound)
            await asyncio.sleep(59)
            assert len(server.server_state.connections) == 1
            await asyncio.sleep(8)
            assert not server.server_state.connections
            connection.close()

    run_in_virtual_time(case(), delivery_s=0.001)


class IdleTls:
    """A TLS connection that is closed, with nothing to read; its client does not confirm it."""

    def __init__(self) -> None:
        self.aborted_s: list[float] = []

    def get_extra_info(self, name: str) -> object:
        return self if name == "sslcontext" else None

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None:
        self.aborted_s.append(asyncio.get_running_loop().time())


def test_an_idle_client_has_one_time_to_confirm_the_end() -> None:
    async def case() -> None:
        transport = IdleTls()
        ReadingWatch(transport, asyncio.get_running_loop(), 1024).start()
        await asyncio.sleep(60)
        assert transport.aborted_s == [CONFIRMATION_S]

    run_in_virtual_time(case())
