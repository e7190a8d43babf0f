"""Clients of TLS listeners that read slowly, or nothing."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import tenacity
import uvloop
from tests.http.listeners.conftest import Authority

from spawn.entrypoints.http import reading_watch
from spawn.entrypoints.http import server as server_module
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.server import DrainingServer, Listener, build_server
from spawn.entrypoints.settings import Settings

BODY = b"x" * 8_000_000
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def respond(scope: Any, receive: Any, send: Any) -> None:
    await Response(200, BODY)(scope, receive, send)


@contextlib.asynccontextmanager
async def serve(folder: Path, authority: Authority) -> AsyncIterator[tuple[DrainingServer, int]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue(folder, "service"))
    bound = socket.create_server(("127.0.0.1", 0))
    listener = Listener(sockets=(bound,), get_context=lambda: context)
    settings = Settings(storage_url="memory://")
    server = build_server(respond, settings, [listener], lambda: None)
    task = asyncio.create_task(server.serve())
    try:
        yield server, bound.getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def connect(port: int, authority: Authority, request: bytes) -> ssl.SSLSocket:
    def shake_hands() -> ssl.SSLSocket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        context = authority.client_context()
        secure = context.wrap_socket(connection, server_hostname="127.0.0.1")
        secure.sendall(request)
        return secure

    return await asyncio.to_thread(shake_hands)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "KEEP_ALIVE_S", 0.1)
    monkeypatch.setattr(reading_watch, "CONFIRMATION_S", 0.1)
    monkeypatch.setattr(reading_watch, "STALLED_S", 1.2)


@pytest.mark.parametrize("request_", [GET, CLOSING], ids=["kept", "closed"])
def test_a_client_that_reads_slowly_gets_the_whole_response(
    authority: Authority, tmp_path: Path, request_: bytes
) -> None:
    async def case() -> None:
        async with serve(tmp_path, authority) as (server, port):
            connection = await connect(port, authority, request_)
            received = 0
            while received < len(BODY):
                part = await asyncio.to_thread(connection.recv, 65_536)
                assert part, received
                received += len(part)
                if received < 1_000_000:
                    await asyncio.sleep(0.02)  # longer than the times of both ends together
            connection.close()
            await until_ended(server)

    run(case())


@pytest.mark.parametrize("request_", [GET, CLOSING], ids=["kept", "closed"])
def test_a_client_that_reads_nothing_is_disconnected(
    authority: Authority, tmp_path: Path, request_: bytes
) -> None:
    async def case() -> None:
        async with serve(tmp_path, authority) as (server, port):
            connection = await connect(port, authority, request_)
            await until_ended(server)
            connection.close()

    run(case())


async def until_ended(server: DrainingServer) -> None:
    async for attempt in tenacity.AsyncRetrying(
        wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(10), reraise=True
    ):
        with attempt:
            assert server.server_state.total_requests == 1
            assert not server.server_state.connections


def run(case: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(case)
