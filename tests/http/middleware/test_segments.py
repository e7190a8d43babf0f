"""Requests that arrive in segments of any size: each is served once, in order, in its own turn."""

import asyncio
import logging
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, cast

import pytest
from tests.virtual_time import run_in_virtual_time

from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.server import HALF_CLOSED_S, BoundedProtocol, Listener, build_server
from spawn.entrypoints.request_context import BODY_COMPLETE
from spawn.entrypoints.settings import Settings

UPGRADE = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"
REQUEST = ContextVar("request", default="")
SMALL = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def message(line: str, body: bytes = b"", fields: str = "X-A: b", *, chunks: int = 0) -> bytes:
    """Return a request; with `chunks`, its body is sent in chunks of that size."""
    framing = f"Content-Length: {len(body)}\r\n" if body else ""
    if chunks:
        framing = "Transfer-Encoding: chunked\r\n"
        parts = [body[at : at + chunks] for at in range(0, len(body), chunks)]
        body = (
            b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-T: t\r\n\r\n"
        )
    return f"{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{framing}\r\n".encode() + body


class Connection(asyncio.Transport):
    """A connection without a network; the application records requests and responds at once."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("127.0.0.1", 80)})
        self.received = b""
        self.served: list[tuple[str, str, bytes]] = []
        self.complete: list[bool] = []
        self.largest_part = 0
        self.pauses_s: list[float] = []
        self.may_respond = asyncio.Event()
        self.reads = True
        self.resumed_in: list[str] = []
        self._is_closing = False
        limits = Settings(storage_url="memory://")
        server = build_server(self, limits, cast("list[Listener]", []), lambda: None)
        self.tasks = server.server_state.tasks
        config: Any = server.config
        config.load()
        self.protocol: BoundedProtocol = config.http_protocol_class(
            config=config,
            server_state=server.server_state,
            app_state={},
            _loop=asyncio.get_running_loop(),
        )
        self.protocol.connection_made(self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        REQUEST.set(scope["path"])
        is_complete, body, has_more = BODY_COMPLETE in scope, b"", True
        while has_more:
            part = await receive()
            if part["type"] == "http.disconnect":
                return
            self.largest_part = max(self.largest_part, len(part["body"]))
            body += part["body"]
            has_more = part["more_body"]
        self.complete.append(is_complete)
        self.served.append((scope["method"], scope["path"], body))
        if scope["path"] == "/slow":
            await self.may_respond.wait()
        headers = ((b"connection", b"close"),) if scope["path"] == "/close" else ()
        await Response(200, b"ok", headers=headers)(scope, receive, send)
        if self.pauses_s:
            scope["spawn.pause"](self.pauses_s.pop())

    async def send(self, *segments: bytes) -> None:
        for segment in segments:
            assert self.reads
            self.protocol.data_received(segment)
            await rounds(4)

    def write(self, data: Any) -> None:
        self.received += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True
        self.resumed_in.append(REQUEST.get())

    def is_closing(self) -> bool:
        return self._is_closing

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    @property
    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.received.split(b"HTTP/1.1 ")[1:]]


async def rounds(count: int) -> None:
    """Let the event loop go round a number of times."""
    for _ in range(count):
        await asyncio.sleep(0)


BLANK = b"a\r\n\r\nGET /in-body HTTP/1.1\r\n\r\n"
REQUESTS = (
    (message("POST /sized", BLANK), ("POST", "/sized", BLANK)),
    (message("GET /plain"), ("GET", "/plain", b"")),
    (message("POST /chunked", BLANK, chunks=9), ("POST", "/chunked", BLANK)),
    (message("POST /large", BLANK * 999), ("POST", "/large", BLANK * 999)),
    (message("GET /upgrade", fields=UPGRADE), ("GET", "/upgrade", b"")),
    (message("POST /upgrade", BLANK, UPGRADE), ("POST", "/upgrade", BLANK)),
    (message("POST /chunked", BLANK, UPGRADE, chunks=9), ("POST", "/chunked", BLANK)),
    (message("CONNECT /tunnel", BLANK), ("CONNECT", "/tunnel", BLANK)),
    (message("POST /parts", BLANK * 999, chunks=4000), ("POST", "/parts", BLANK * 999)),
    (message("GET /last"), ("GET", "/last", b"")),
)
STREAM = b"".join(sent for sent, _ in REQUESTS)
SERVED = [served for _, served in REQUESTS]


def segments(size: int) -> Iterable[bytes]:
    return (STREAM[at : at + size] for at in range(0, len(STREAM), size))


@pytest.mark.parametrize("size", [7, 23, 64, 65, 100, 333, 1000, 5000, 40_000, len(STREAM)])
def test_requests_are_the_same_however_they_are_cut(size: int) -> None:
    async def case() -> None:
        connection = Connection()
        for segment in segments(size):
            await connection.send(segment)
            while not connection.reads:
                await rounds(1)
        await rounds(600)
        assert connection.served == SERVED
        assert connection.statuses == [200] * len(SERVED)

    run_in_virtual_time(case())


@pytest.mark.parametrize("request_", [one for one in REQUESTS if len(one[0]) < 1000])
def test_a_request_is_the_same_wherever_it_is_cut(request_: Any) -> None:
    sent, served = request_

    async def case() -> None:
        for at in range(1, len(sent)):
            connection = Connection()
            await connection.send(sent[:at], sent[at:] + message("POST /last", BLANK))
            await rounds(60)
            assert connection.served == [served, ("POST", "/last", BLANK)]
            connection.close()

    run_in_virtual_time(case())


def test_requests_behind_one_that_runs_are_not_parsed() -> None:
    async def case() -> None:
        connection = Connection()
        await connection.send(message("GET /slow"), SMALL, SMALL * 2000, SMALL * 2000)
        assert not connection.protocol.pipeline
        assert not connection.reads
        connection.may_respond.set()
        await rounds(20_000)
        assert len(connection.served) == 4002

    run_in_virtual_time(case())


def test_a_request_whose_body_has_arrived_is_complete_behind_others() -> None:
    async def case() -> None:
        connection = Connection()
        await connection.send((SMALL + message("POST /", b"{}")) * 3)
        await rounds(60)
        assert connection.complete == [True] * 6

    run_in_virtual_time(case())


def test_a_body_in_tiny_chunks_is_parsed_in_parts() -> None:
    async def case() -> None:
        connection = Connection()
        sent = message("POST /", b"a" * 40_000, chunks=1)
        await connection.send(sent[:-2])
        await rounds(200)
        await connection.send(sent[-2:])
        assert connection.served == [("POST", "/", b"a" * 40_000)]
        assert connection.largest_part < 2000

    run_in_virtual_time(case())


def test_a_body_in_chunks_with_blank_lines_is_parsed_in_large_parts() -> None:
    async def case() -> None:
        connection, body = Connection(), (b"a" * 68 + b"\r\n") * 1000
        await connection.send(message("POST /", body, chunks=70))
        await rounds(20)
        assert connection.served == [("POST", "/", body)]

    run_in_virtual_time(case())


def test_requests_behind_a_body_in_chunks_are_not_parsed() -> None:
    async def case() -> None:
        sent = message("POST /slow", b"\r\n\r\n0", chunks=5)
        for at in range(1, len(sent)):
            connection = Connection()
            await connection.send(sent[:at], sent[at:] + SMALL * 4)
            await rounds(20)
            assert len(connection.served) == 1
            assert not connection.protocol.pipeline
            connection.close()

    run_in_virtual_time(case())


def test_a_head_that_is_held_has_arrived_in_time() -> None:
    async def case() -> None:
        connection = Connection()
        await connection.send(message("GET /slow") + SMALL[:9], SMALL[9:])
        await asyncio.sleep(connection.protocol.limits.header_timeout_s + 1)
        connection.may_respond.set()
        await rounds(20)
        assert connection.statuses == [200] * 2

    run_in_virtual_time(case())


CLOSE_UPGRADE = message("POST /", b"{}", "Connection: close, Upgrade\r\nUpgrade: h2c", chunks=2)
CLOSED = message("GET /close")


@pytest.mark.parametrize(
    "parts", [(b"", CLOSE_UPGRADE), (CLOSE_UPGRADE[:-1], b"\n"), (CLOSED[:-1], b"\n")]
)
def test_no_request_behind_the_last_one_is_served(parts: tuple[bytes, bytes]) -> None:
    async def case() -> None:
        connection, behind = Connection(), message("POST /behind", b"{}")
        await connection.send(parts[0], parts[1] + behind + SMALL * 3000)
        await rounds(60)
        assert len(connection.served) == 1
        assert connection.statuses == [200]

    run_in_virtual_time(case())


def test_nothing_goes_on_in_the_context_of_a_request_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def case() -> None:
        connection, logged_in = Connection(), list[str]()
        logger = connection.protocol.logger
        monkeypatch.setattr(logger, "warning", lambda _: logged_in.append(REQUEST.get()))
        await connection.send(SMALL[:-1], SMALL[-1:] + SMALL)
        await connection.send(SMALL + b"no request\r\n\r\n")
        await rounds(20)
        assert len(connection.served) == 3
        assert connection.resumed_in == [""]
        assert logged_in == [""]

    run_in_virtual_time(case())


def test_a_pause_holds_the_requests_that_have_arrived() -> None:
    async def case() -> None:
        connection = Connection()
        connection.pauses_s = [1.0, 1.0]
        await connection.send(SMALL * 4)
        assert len(connection.served) == 1
        await asyncio.sleep(0.9)
        assert (len(connection.served), connection.reads) == (1, False)
        await asyncio.sleep(0.2)
        assert len(connection.served) == 2
        await asyncio.sleep(1)
        assert (len(connection.served), connection.reads) == (4, True)

    run_in_virtual_time(case())


def test_a_pause_holds_the_requests_behind_a_body_in_chunks() -> None:
    async def case() -> None:
        connection = Connection()
        connection.pauses_s = [1.0]
        await connection.send(message("POST /", b"{}", chunks=1) + SMALL * 4)
        await rounds(60)
        assert len(connection.served) == 1
        await asyncio.sleep(1.1)
        assert len(connection.served) == 5

    run_in_virtual_time(case())


def test_requests_before_the_end_of_a_half_are_served_and_the_rest_is_not() -> None:
    async def case() -> None:
        connection = Connection()
        command = message("POST /slow", b"{}")
        await connection.send(SMALL + command + SMALL + command[:-1])
        assert connection.protocol.eof_received()
        connection.may_respond.set()
        await rounds(60)
        assert [path for _, path, _ in connection.served] == ["/", "/slow", "/"]
        assert connection.statuses == [200] * 3
        assert connection.is_closing()

    run_in_virtual_time(case())


@pytest.mark.parametrize("line", ["GET /slow", "POST /slow"])
def test_a_wait_ends_some_time_after_the_half_of_its_client(line: str) -> None:
    async def case() -> None:
        connection, has_left = Connection(), asyncio.Event()
        await connection.send(message(line))
        connection.protocol.call_when_left(has_left.set)
        assert connection.protocol.eof_received()
        await asyncio.sleep(HALF_CLOSED_S - 0.1)
        assert not has_left.is_set()
        await asyncio.sleep(0.2)
        assert has_left.is_set()
        assert not connection.is_closing()

    run_in_virtual_time(case())


def test_a_wait_after_the_half_of_a_client_begins_with_the_end_of_its_body() -> None:
    async def case() -> None:
        connection, has_left = Connection(), asyncio.Event()
        connection.protocol.data_received(message("POST /slow", b"a" * 9000, chunks=1))
        await rounds(4)
        connection.protocol.call_when_left(has_left.set)
        connection.protocol.pause(HALF_CLOSED_S + 1)
        assert connection.protocol.eof_received()
        await asyncio.sleep(2 * HALF_CLOSED_S + 0.9)
        assert len(connection.served) == 1
        assert not has_left.is_set()
        await asyncio.sleep(0.2)
        assert has_left.is_set()

    run_in_virtual_time(case())


def test_a_rejection_comes_behind_the_requests_before_it() -> None:
    async def case() -> None:
        connection = Connection()
        await connection.send(SMALL * 3 + b"no request\r\n\r\n" + SMALL)
        await rounds(60)
        assert connection.statuses == [200] * 3 + [400]
        assert len(connection.served) == 3

    run_in_virtual_time(case())


@pytest.mark.parametrize("has_unread", [False, True])
def test_the_end_of_the_drain_cuts_a_request_with_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, has_unread: bool
) -> None:
    # Tests that ran in this process before may have set the logger up in another way.
    server_logger = logging.getLogger("uvicorn.error")
    monkeypatch.setattr(server_logger, "handlers", [caplog.handler])
    monkeypatch.setattr(server_logger, "propagate", False)
    monkeypatch.setattr(server_logger, "disabled", False)
    caplog.set_level(logging.INFO, logger=server_logger.name)

    async def case() -> None:
        connection = Connection()
        if has_unread:
            connection.protocol.pause_writing()
        await connection.send(message("POST /slow", b"{}"))
        assert len(connection.served) == (not has_unread)
        for task in connection.tasks:
            task.cancel()
        await rounds(4)
        assert (connection.received, connection.is_closing()) == (b"", True)

    run_in_virtual_time(case())
    lines = [(record.getMessage(), record.exc_info) for record in caplog.records]
    assert lines == [("The drain ended before a POST request did.", None)]
