"""Requests whose client leaves: what changes nothing ends, and a command runs to its end."""

import asyncio
import json
import re
import socket
import struct
import threading
from collections.abc import AsyncGenerator
from typing import Any, cast

import httpx
import pytest
import tenacity
from litestar.types import Receive
from tests.http.conftest import WIND, Service, Start

from spawn.adapters.memory.store import MemoryStore
from spawn.application.analysis.calculation import Deadline
from spawn.application.traffic import request_slots
from spawn.application.traffic.request_slots import TURNS, HeldPlace, RequestSlots
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import DeadlineExceeded
from spawn.domain.projects.project import PROJECT_KIND
from spawn.entrypoints.http import server
from spawn.entrypoints.http.analysis import routes as analysis_routes
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.middleware.arriving_body import ArrivingBody
from spawn.entrypoints.http.protocol.response import LineStreamResponse
from spawn.ports.client_presence import ClientPresence, current_presence, waiting_for_client

PROJECTS = "/v1/ops/projects"


class SlowReads:
    """Reads of projects that wait as those of an engine do, until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_begun, self.has_ended = threading.Event(), threading.Event()
        self._may_end = threading.Event()
        get = MemoryStore.get

        async def get_later(
            store: MemoryStore, kind: str, key: str, **more: Any
        ) -> StoredAggregate[Any]:
            if kind == PROJECT_KIND and not self._may_end.is_set():
                self.has_begun.set()
                try:
                    with waiting_for_client():
                        await asyncio.to_thread(self._may_end.wait, 20)
                finally:
                    self.has_ended.set()
            return await get(store, kind, key, **more)

        monkeypatch.setattr(MemoryStore, "get", get_later)

    def release(self) -> None:
        self._may_end.set()


def send(service: Service, line: str, body: object = None, fields: str = "") -> socket.socket:
    content = b"" if body is None else json.dumps(body).encode()
    length = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\n{fields}{length if content else ''}\r\n"
    connection = socket.create_connection(("127.0.0.1", service.port), 20)
    connection.sendall(head.encode() + content)
    return connection


def reset(connection: socket.socket) -> None:
    """Close the connection with a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def wait_until_left(client: httpx.Client) -> None:
    """Wait until the connection of this client is the only one."""
    for attempt in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.01), stop=tenacity.stop_after_delay(20), reraise=True
    ):
        with attempt:
            traffic = client.get("/monitoring/health").json()["checks"]["traffic"]
            assert traffic["connections"]["taken"] == 1


def test_a_command_whose_client_leaves_runs_to_its_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    with service.client() as client:
        path = client.post(PROJECTS, json=WIND).headers["location"]
        reads = SlowReads(monkeypatch)
        fields = "If-Match: *\r\n"
        connection = send(service, f"PATCH {path}", {"project_name": "Sierra"}, fields)
        assert reads.has_begun.wait(20)
        reset(connection)
        wait_until_left(client)
        assert not reads.has_ended.is_set()
        reads.release()
        for attempt in tenacity.Retrying(
            wait=tenacity.wait_fixed(0.01), stop=tenacity.stop_after_delay(20), reraise=True
        ):
            with attempt:
                assert client.get(path).json()["project_name"] == "Sierra"


@pytest.mark.parametrize(
    ("follower", "status"), [("", 0), ("GET {path} HTTP/1.1", 200), ("no request", 400)]
)
def test_a_command_whose_client_ends_its_half_has_its_response(
    start: Start, monkeypatch: pytest.MonkeyPatch, follower: str, status: int
) -> None:
    service = start()
    with service.client() as client:
        path = client.post(PROJECTS, json=WIND).headers["location"]
        reads = SlowReads(monkeypatch)
        fields = "If-Match: *\r\n"
        with send(service, f"PATCH {path}", {"project_name": "Sierra"}, fields) as connection:
            if follower:
                line = follower.format(path=path)
                connection.sendall(f"{line}\r\nHost: localhost\r\n\r\n".encode())
            assert reads.has_begun.wait(20)
            connection.shutdown(socket.SHUT_WR)
            reads.release()
            received = b"".join(iter(lambda: connection.recv(65_536), b""))
        statuses = [int(text) for text in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
        assert statuses == ([200, status] if follower else [200])
        assert client.get(path).json()["project_name"] == "Sierra"
        wait_until_left(client)


def test_half_a_request_whose_client_ends_its_half_has_no_response(start: Start) -> None:
    service = start()
    with service.client() as client:
        fields = "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
        with send(service, f"POST {PROJECTS}", fields=fields) as connection:
            connection.sendall(b"2\r\n{}\r\n")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(65_536) == b""
        wait_until_left(client)


def test_a_read_whose_client_leaves_ends(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HALF_CLOSED_S", 0.01)
    service = start()
    with service.client() as client:
        created = client.post(PROJECTS, json=WIND)
        path, created_at = created.headers["location"], created.json()["created_at"]
        reads = SlowReads(monkeypatch)
        connection = send(service, f"GET {path}?as_of={created_at}")
        assert reads.has_begun.wait(20)
        connection.close()
        assert reads.has_ended.wait(10)
        reads.release()
        assert client.get(path).status_code == 200


def test_a_calculation_whose_client_leaves_ends(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, has_ended = threading.Event(), threading.Event()

    def calculate(_options: Any, _body: bytes, deadline: Deadline) -> None:
        has_begun.set()
        try:
            while not has_ended.wait(0.001):
                deadline.raise_if_expired()
        except DeadlineExceeded:
            has_ended.set()

    monkeypatch.setattr(analysis_routes, "compute_response", calculate)
    monkeypatch.setattr(server, "HALF_CLOSED_S", 0.01)
    service = start()
    case = {"start": "2024-01-01", "end": "2024-07-01", "convention": "act/360"}
    connection = send(service, "POST /v1/analysis/day-count", case)
    assert has_begun.wait(20)
    connection.close()
    assert has_ended.wait(10)


async def test_lines_end_when_their_client_leaves_between_two_parts() -> None:
    """Quarantined rows, warnings and vanished projects are such responses."""
    read_count, is_closed, sizes = 0, False, list[int]()
    has_left = asyncio.Event()

    async def read_lines() -> AsyncGenerator[bytes]:
        nonlocal read_count, is_closed
        try:
            for _ in range(40):
                read_count += 1
                yield b"x" * 70_000
        finally:
            is_closed = True

    async def receive() -> Any:
        await has_left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sizes.append(len(message.get("body", b"")))
        has_left.set()

    async def is_permitted() -> bool:
        return True

    response = LineStreamResponse(read_lines(), "application/x-ndjson", is_permitted)
    await response(cast("Any", {}), receive, send)
    assert (read_count, is_closed) == (1, True)
    assert sizes == [0]


async def leave_while_body_waits(slots: RequestSlots, receive: Receive) -> None:
    """Let the client of a command leave while its body waits, and see that the wait ends."""
    presences: list[ClientPresence] = []

    async def serve() -> None:
        presences.append(presence := ClientPresence())
        current_presence.set(presence)
        body = ArrivingBody(PROJECTS, receive, HttpLimits(), HeldPlace("a"), slots)
        current_presence.set(None)  # the command begins, and reads its body
        with pytest.raises(asyncio.CancelledError):
            await body.receive()
        assert presence.take_cancellation()

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0)
    presences[0].leave()
    await asyncio.wait_for(serving, 10)


async def test_a_command_whose_body_has_arrived_waits_for_no_turn_of_a_client_that_left() -> None:
    slots = RequestSlots(64)
    assert slots.take("other")
    for _ in range(TURNS):
        await HeldPlace("a").take_slot(slots)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    await leave_while_body_waits(slots, receive)


async def test_a_large_body_whose_client_leaves_gives_its_time_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that ends its half is seen by its presence alone: its connection stays."""
    monkeypatch.setattr(request_slots, "monotonic", lambda: 100.0)
    slots, size = RequestSlots(64), request_slots.LARGE_BYTES_S
    assert slots.take("other")
    assert slots.take("a")
    assert slots.book_large_body("a", size) == 0.0
    messages = [{"type": "http.request", "body": bytes(size), "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.Event().wait()

    await leave_while_body_waits(slots, receive)
    assert slots.book_large_body("a", size) == 1.0  # behind the first one alone
