"""What clients that hold connections do to others, on real sockets."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest
import tenacity
import uvloop
from tests.loopback import free_port
from tests.virtual_time import run_in_virtual_time

from spawn.application.traffic.shared_places import SharedPlaces
from spawn.entrypoints.http import reading_watch
from spawn.entrypoints.http import server as server_module
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.protocol.response import Response, wait_for_disconnect
from spawn.entrypoints.http.server import DrainingServer, Listener, build_server
from spawn.entrypoints.settings import Settings

SMALL = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"
EARLY = b"POST /small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
HELD = b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n"
PARTIAL = b"GET /small HTTP/1.1\r\n"
LARGE_BODY = b"x" * 16_000_000
RECEIVED_BYTES = 4096


class _Site:
    """A server with a small and a large response, and its clients."""

    def __init__(self, connections: int) -> None:
        self.places = SharedPlaces(connections)
        self.running = 0
        self.clients: list[Any] = []
        self.may_respond = asyncio.Event()
        self._port = free_port()
        self._clients: list[socket.socket] = []
        bound = socket.create_server(("127.0.0.1", self._port))
        self.server: DrainingServer = build_server(
            self,
            Settings(storage_url="memory://"),
            [Listener(sockets=(bound,))],
            lambda: None,
            limits=HttpLimits(connections=connections),
            places=self.places,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        self.clients.append(scope["client"])
        try:
            if scope["path"] == "/slow":
                await self.may_respond.wait()
            if scope["path"] == "/held":
                await wait_for_disconnect(receive)
            body = LARGE_BODY if scope["path"] == "/large" else b"ok"
            await Response(200, body)(scope, receive, send)
        finally:
            self.running -= 1

    async def connect(self, source: str, sent: bytes = b"") -> socket.socket:
        connection = socket.socket()
        self._clients.append(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        connection.bind((source, 0))
        connection.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", self._port))
        await loop.sock_sendall(connection, sent)
        return connection

    async def get(self, source: str, sent: bytes = SMALL) -> tuple[socket.socket, int]:
        connection = await self.connect(source, sent)
        return connection, await read_status(connection)

    def close_clients(self) -> None:
        for one in self._clients:
            one.close()

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


async def read(connection: socket.socket) -> bytes:
    """Return the next bytes; none if the connection has ended."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(3):
            return await asyncio.get_running_loop().sock_recv(connection, 1 << 20)
    return b""


async def read_status(connection: socket.socket) -> int:
    return int((await read(connection))[9:12] or 0)


async def read_statuses(connection: socket.socket) -> list[int]:
    """Return the statuses of all responses, once the connection has ended."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := await asyncio.get_running_loop().sock_recv(connection, 1 << 16):
            received += part
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


async def read_at_intervals(connection: socket.socket, pause_s: float) -> None:
    while True:
        await asyncio.sleep(pause_s)
        await asyncio.get_running_loop().sock_recv(connection, 4096)


async def until(condition: Callable[[], bool]) -> None:
    async for attempt in tenacity.AsyncRetrying(
        wait=tenacity.wait_fixed(0.01), stop=tenacity.stop_after_delay(3), reraise=True
    ):
        with attempt:
            assert condition()


@contextlib.asynccontextmanager
async def serve(
    connections: int, visit: Callable[[_Site], Coroutine[Any, Any, None]] | None = None
) -> AsyncIterator[_Site]:
    """Serve a site; `visit` is run when clients can connect, and none is accepted yet."""
    site = _Site(connections)
    if visit is not None:
        await visit(site)
    task = asyncio.create_task(site.server.serve())
    await until(lambda: site.server.started)
    try:
        yield site
    finally:
        site.close_clients()
        site.server.should_exit = True
        await task


def run(case: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(case)


async def fill(site: _Site, sent: bytes) -> list[socket.socket]:
    """Take 16 places, 12 for one client, and return its connections."""
    greedy = [await site.connect("127.0.0.2", sent) for _ in range(12)]
    await until(lambda: site.places.in_use == 12)
    for source in ("127.0.0.3",) * 3 + ("127.0.0.4",):
        taken = site.places.in_use
        await site.connect(source, sent)
        await until(partial(lambda count: site.places.in_use > count, taken))
    assert site.places.in_use == 16
    return greedy


def test_newcomers_have_the_places_of_idle_connections() -> None:
    async def case() -> None:
        async with serve(16) as site:
            await fill(site, b"")
            statuses = [(await site.get(f"127.0.0.{last}"))[1] for last in range(10, 20)]
            assert statuses == [200] * 10
            assert site.places.in_use == 16
            site.close_clients()
            await until(lambda: (site.places.in_use, site.connections) == (0, 0))

    run(case())


def test_no_connection_is_closed_for_a_client_that_may_not_follow() -> None:
    async def case() -> None:
        async with serve(16) as site:
            greedy = await fill(site, SMALL)
            assert [await read_status(one) for one in greedy] == [200] * 12
            assert [(await site.get("127.0.0.3"))[1] for _ in range(4)] == [503] * 4
            for one in greedy:
                await asyncio.get_running_loop().sock_sendall(one, SMALL)
            assert [await read_status(one) for one in greedy] == [200] * 12

    run(case())


def test_a_client_that_has_reset_its_connection_is_not_served() -> None:
    """The kernel does not know its address any more, and has what it sent."""

    async def visit(site: _Site) -> None:
        connection = await site.connect("127.0.0.2", SMALL * 3)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    async def case() -> None:
        async with serve(16, visit) as site:
            assert (await site.get("127.0.0.3"))[1] == 200
            await until(lambda: (site.places.in_use, site.connections) == (1, 1))
            assert [address for address, _port in site.clients] == ["127.0.0.3"]

    run(case())


def test_a_head_that_has_begun_keeps_its_place() -> None:
    async def case() -> None:
        async with serve(16) as site:
            greedy = await fill(site, SMALL + PARTIAL)
            assert [await read_status(one) for one in greedy] == [200] * 12
            statuses = [(await site.get(f"127.0.0.{last}"))[1] for last in range(10, 20)]
            assert statuses == [503] * 10
            for one in greedy:
                await asyncio.get_running_loop().sock_sendall(one, b"Host: localhost\r\n\r\n")
            assert [await read_status(one) for one in greedy] == [200] * 12
            site.close_clients()
            await until(lambda: (site.places.in_use, site.connections) == (0, 0))

    run(case())


def test_a_response_on_its_way_is_not_cut() -> None:
    async def case() -> None:
        async with serve(16) as site:
            greedy = await fill(site, LARGE)
            await until(lambda: not site.running)
            assert (await site.get("127.0.0.5"))[1] == 503
            received = 0
            while received < len(LARGE_BODY) and (part := await read(greedy[0])):
                received += len(part)
            assert received > len(LARGE_BODY)

    run(case())


@pytest.mark.parametrize(
    ("sent", "served"), [(LARGE * 60, (0, 1)), (SMALL + HELD + SMALL * 9, (1, 1))]
)
def test_requests_end_when_their_client_leaves_without_reading(
    sent: bytes, served: tuple[int, int]
) -> None:
    async def case() -> None:
        async with serve(16) as site:
            connection = await site.connect("127.0.0.2", sent)
            state = site.server.server_state
            await until(lambda: (site.running, state.total_requests) == served)
            connection.close()
            await until(lambda: (site.running, site.places.in_use, site.connections) == (0, 0, 0))

    run(case())


@pytest.mark.parametrize("sent", [LARGE, LARGE * 60], ids=["one", "pipelined"])
def test_a_client_that_reads_nothing_is_disconnected(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_watch, "STALLED_S", 0.1)

    async def case() -> None:
        async with serve(16) as site:
            await site.connect("127.0.0.2", sent)
            await until(lambda: site.server.server_state.total_requests == 1)
            await until(lambda: (site.running, site.places.in_use, site.connections) == (0, 0, 0))

    run(case())


def test_a_connection_closes_after_the_rest_of_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "KEEP_ALIVE_S", 0.1)

    async def case() -> None:
        async with serve(16) as site:
            connection, status = await site.get("127.0.0.2", EARLY)
            assert status == 200
            await asyncio.get_running_loop().sock_sendall(connection, b"hello")
            assert await read(connection) == b""
            await until(lambda: (site.places.in_use, site.connections) == (0, 0))

    run(case())


def test_a_request_behind_the_rest_of_a_body_is_served() -> None:
    async def case() -> None:
        async with serve(16) as site:
            connection, status = await site.get("127.0.0.2", EARLY)
            assert status == 200
            await asyncio.get_running_loop().sock_sendall(connection, b"hello" + SMALL)
            assert await read_status(connection) == 200

    run(case())


@pytest.mark.parametrize(
    "sent", [PARTIAL, SMALL + PARTIAL, SMALL * 3 + PARTIAL, EARLY + b"hello" + PARTIAL]
)
def test_a_head_that_has_begun_has_its_time_and_then_408(sent: bytes) -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        async with serve(16) as site:
            connection, begin_s = await site.connect("127.0.0.2", sent), loop.time()
            statuses = await read_statuses(connection)
            assert statuses == [200] * sent.count(b"Host") + [408]
            assert 10 <= loop.time() - begin_s < 10 + server_module.LINGER_S + 1

    run_in_virtual_time(case(), delivery_s=0.001)


def test_a_head_in_parts_has_its_time_from_its_first_byte() -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        async with serve(16) as site:
            connection = await site.connect("127.0.0.2")
            for _ in range(3):
                await asyncio.sleep(9)
                await loop.sock_sendall(connection, PARTIAL)
                await asyncio.sleep(9)
                await loop.sock_sendall(connection, b"Host: localhost\r\n\r\n")
                assert await read_status(connection) == 200

    run_in_virtual_time(case(), delivery_s=0.001)


def test_a_head_has_no_less_time_because_the_service_reads_nothing() -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        async with serve(16) as site:
            connection = await site.connect("127.0.0.2", SLOW + SMALL + PARTIAL)
            await asyncio.sleep(30)
            await loop.sock_sendall(connection, b"Host: localhost\r\n\r\n")
            await asyncio.sleep(30)
            site.may_respond.set()
            received = b""
            while received.count(b"HTTP/1.1 200 ") < 3:
                received += (part := await read(connection))
                assert part, received

    run_in_virtual_time(case(), delivery_s=0.001)


def test_an_idle_connection_is_closed_without_a_response() -> None:
    async def case() -> None:
        async with serve(16) as site:
            connection, status = await site.get("127.0.0.2")
            assert status == 200
            assert await read_statuses(connection) == []

    run_in_virtual_time(case(), delivery_s=0.001)


def test_a_client_that_reads_slowly_and_steadily_gets_the_whole_response() -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        async with serve(16) as site:
            connection, begin_s = await site.connect("127.0.0.2", LARGE), loop.time()
            received = 0
            while loop.time() - begin_s < 300:
                await asyncio.sleep(1)
                received += len(await loop.sock_recv(connection, 4096))
            assert site.connections == 1
            while received < len(LARGE_BODY) and (part := await read(connection)):
                received += len(part)
            assert received > len(LARGE_BODY)

    run_in_virtual_time(case(), delivery_s=0.001)


@pytest.mark.parametrize("pause_s", [10, 1000])
def test_a_client_that_reads_next_to_nothing_is_disconnected_in_a_minute(pause_s: int) -> None:
    async def case() -> None:
        async with serve(16) as site:
            connection = await site.connect("127.0.0.2", LARGE)
            reading = asyncio.create_task(read_at_intervals(connection, pause_s))
            await asyncio.sleep(59)
            assert site.connections == 1
            await asyncio.sleep(8)
            assert site.connections == 0
            reading.cancel()

    run_in_virtual_time(case(), delivery_s=0.001)


def test_a_connection_is_kept_while_its_client_reads_the_response() -> None:
    async def case() -> None:
        loop = asyncio.get_running_loop()
        async with serve(16) as site:
            connection = await site.connect("127.0.0.2", LARGE)
            for _ in range(40):
                await asyncio.sleep(1)
                await loop.sock_recv(connection, 4096)
            received = 0
            while received < len(LARGE_BODY) - 40 * 4096:
                received += len(await read(connection))
            await loop.sock_sendall(connection, SMALL)
            assert await read_status(connection) == 200

    run_in_virtual_time(case(), delivery_s=0.001)


def test_a_request_runs_once_earlier_responses_were_read() -> None:
    async def case() -> None:
        async with serve(16) as site:
            connection = await site.connect("127.0.0.2", LARGE * 2)
            await until(lambda: site.server.server_state.total_requests == 1)
            await asyncio.sleep(20)
            assert site.running == 0
            received = 0
            while received < 2 * len(LARGE_BODY):
                received += len(part := await read(connection))
                assert part

    run_in_virtual_time(case(), delivery_s=0.001)
