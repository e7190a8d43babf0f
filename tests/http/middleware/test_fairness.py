"""What one client does to the service, and what another one notices of it."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import tenacity
from tests.http.conftest import WIND, Service, Start

from spawn.adapters.memory.store import MemoryStore
from spawn.application.jobs import JobRunner
from spawn.application.traffic import request_slots
from spawn.application.traffic.arrival_turns import ArrivalTurns
from spawn.application.traffic.traffic_control import TrafficLimits
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import Overloaded
from spawn.domain.query import Page, Query
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.middleware import arriving_body, edge
from spawn.ports.runtime import current_client

PROJECTS = "/v1/ops/projects"
LIST = f"GET {PROJECTS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
LIVE = b"GET /monitoring/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def connections() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def connect(
    service: Service, stack: contextlib.ExitStack, source: str = "127.0.0.1"
) -> socket.socket:
    return stack.enter_context(
        socket.create_connection(("127.0.0.1", service.port), 20, source_address=(source, 0))
    )


def read_status(connection: socket.socket) -> int:
    return int(connection.recv(65536)[9:12])


def other_client(service: Service) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    return httpx.Client(base_url=service.url, transport=transport, timeout=20)


def test_connections_of_one_address_leave_some_to_others(
    start: Start, connections: contextlib.ExitStack
) -> None:
    service = start(HttpLimits(connections=4))
    statuses = []
    for _ in range(4):
        connection = connect(service, connections)
        connection.sendall(LIST)
        statuses.append(read_status(connection))
    assert statuses == [200, 200, 200, 503]
    with other_client(service) as client:
        assert client.get(PROJECTS).status_code == 200


def test_idle_connections_of_the_largest_holder_give_way_to_others(
    start: Start, connections: contextlib.ExitStack
) -> None:
    service = start(HttpLimits(connections=4))

    def get(source: str, request: bytes = LIST) -> tuple[socket.socket, int]:
        connection = connect(service, connections, source)
        connection.sendall(request)
        return connection, read_status(connection)

    greedy = [get("127.0.0.1") for _ in range(3)]
    others = [get(f"127.0.0.{number}") for number in (2, 3, 4)]
    assert {status for _, status in greedy + others} == {200}
    # Each has one now, and nobody gives way; a probe is served beyond the limit.
    assert get("127.0.0.5")[1] == 503
    assert get("127.0.0.5", LIVE)[1] == 200
    for connection, _ in others:
        connection.sendall(LIST)
        assert read_status(connection) == 200
    closed = 0
    for connection, _ in greedy:
        with contextlib.suppress(OSError):
            connection.sendall(LIST)
        try:
            closed += not connection.recv(65536)
        except ConnectionError:
            closed += 1
    assert closed == 2


def test_connections_that_end_make_room(start: Start) -> None:
    service = start(HttpLimits(connections=1))
    for _ in range(5):
        with contextlib.ExitStack() as stack:
            connection = connect(service, stack)
            connection.sendall(LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert read_status(connection) == 200
            while connection.recv(65536):
                pass  # its end closes the connection


def test_bodies_that_never_come_take_no_slot(
    start: Start, connections: contextlib.ExitStack
) -> None:
    service = start(HttpLimits(traffic=TrafficLimits(concurrency=1, bodies=4)))
    head = f"POST {PROJECTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    slow = [connect(service, connections) for _ in range(4)]
    for connection in slow:
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    # The fourth is one too many of this client, and the first to get a response.
    assert read_status(slow[3]) == 503
    with service.client() as client, other_client(service) as other:
        assert client.get(PROJECTS).status_code == 200
        assert other.get(PROJECTS).status_code == 200
        assert other.post(PROJECTS, json=WIND).status_code == 201


def post_large(connection: socket.socket, size: int = 20_000) -> None:
    body = json.dumps(WIND).encode().ljust(size)
    connection.sendall(
        f"POST {PROJECTS}?dry_run=true HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode()
    )
    connection.sendall(body)


def test_large_bodies_beyond_some_seconds_are_503_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(request_slots, "LARGE_BYTES_S", 1)
    monkeypatch.setattr(request_slots, "CONTENTION_S", 3600.0)
    service = start()
    with other_client(service) as other:
        assert other.get(PROJECTS).status_code == 200
        first = connect(service, connections)
        post_large(first)
        assert read_status(first) == 200
        for _ in range(3):
            second = connect(service, connections)
            post_large(second)
            response = second.recv(65536)
            assert response.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"overloaded"' in response
            assert b"\r\nretry-after: 20000\r\n" in response
        with service.client() as client:
            assert client.post(PROJECTS, json=WIND).status_code == 201
        assert other.get(PROJECTS).status_code == 200


def test_a_large_body_whose_client_leaves_while_it_waits_holds_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(request_slots, "LARGE_BYTES_S", 1)
    monkeypatch.setattr(request_slots, "MAX_LARGE_WAIT_S", 30_000.0)
    monkeypatch.setattr(request_slots, "CONTENTION_S", 3600.0)
    service = start()
    with other_client(service) as other:

        def wait_for_bodies(count: int) -> None:
            for attempt in tenacity.Retrying(
                wait=tenacity.wait_fixed(0.01), stop=tenacity.stop_after_delay(20), reraise=True
            ):
                with attempt:
                    traffic = other.get("/monitoring/health").json()["checks"]["traffic"]
                    assert (traffic["bodies"]["taken"], traffic["requests"]["taken"]) == (count, 0)

        assert other.get(PROJECTS).status_code == 200
        first = connect(service, connections)
        post_large(first)
        assert read_status(first) == 200
        for _ in range(3):  # each one that is abandoned leaves the time to the next one
            second = connect(service, connections)
            post_large(second)
            wait_for_bodies(1)
            second.close()
            wait_for_bodies(0)


def test_a_length_without_a_body_books_no_time(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(request_slots, "CONTENTION_S", 3600.0)
    service = start()
    with other_client(service) as other:
        assert other.get(PROJECTS).status_code == 200
        for method in ("GET", "HEAD", "POST", "DELETE"):
            connection = connect(service, connections)
            connection.sendall(
                f"{method} {PROJECTS}/x HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Length: 1000000000000\r\n\r\n".encode()
            )
            assert 400 <= read_status(connection) < 500
        last = connect(service, connections)
        post_large(last)
        assert read_status(last) == 200


def test_an_upload_of_a_byte_at_a_time_is_408(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(arriving_body, "GRACE_S", 0.0)
    service = start(HttpLimits(traffic=TrafficLimits(body_bytes_s=10**9)))
    connection = connect(service, connections)
    connection.sendall(
        b"POST /v1/ops/imports HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/x-ndjson\r\nContent-Length: 100000\r\n\r\n{"
    )
    response = b""
    with contextlib.suppress(ConnectionResetError):  # once the server has closed it
        while chunk := connection.recv(65536):
            response += chunk
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"bytes per second" in response
    with service.client() as client:
        traffic = client.get("/monitoring/health").json()["checks"]["traffic"]
        assert traffic["uploads"]["taken"] == 0


def test_budgets_are_apart_and_name_what_is_left(start: Start) -> None:
    service = start(rate_limit=4.0, rate_limit_writes=1.0)
    with service.client() as client:
        writes = [client.post(PROJECTS, json=WIND) for _ in range(3)]
        assert [response.status_code for response in writes] == [201, 201, 429]
        assert "ratelimit" not in writes[0].headers
        assert writes[1].headers["ratelimit-policy"] == '"writes";q=2;w=2'
        assert writes[1].headers["ratelimit"] == '"writes";r=0;t=1'
        assert writes[2].json()["code"] == "rate_limited"
        assert int(writes[2].headers["retry-after"]) >= 1
    with service.client() as client:
        reads = [client.get(PROJECTS) for _ in range(6)]
        assert {response.status_code for response in reads} == {200}
        assert reads[-1].headers["ratelimit"].startswith('"reads";r=')
        export = client.get("/v1/data/projects.csv")
        assert export.status_code == 200
        assert client.get("/v1/data/projects.csv").status_code == 429


def test_the_connection_of_a_rejected_client_pauses(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(edge, "REJECTED_PAUSE_S", 3600.0)
    service = start(rate_limit=0.5)
    request = f"GET {PROJECTS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    connection = connect(service, connections)
    statuses = []
    for _ in range(2):
        connection.sendall(request)
        statuses.append(read_status(connection))
    assert statuses == [200, 429]
    connection.sendall(request)
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    with other_client(service) as client:
        assert client.get(PROJECTS).status_code == 200


def test_a_connection_without_room_for_its_job_pauses(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(edge, "REJECTED_PAUSE_S", 3600.0)
    monkeypatch.setattr(JobRunner, "reserve", reserve_nothing)
    service = start()
    connection = connect(service, connections)
    head = b"Host: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 3\r\n\r\n{}\n"
    connection.sendall(b"POST /v1/ops/imports HTTP/1.1\r\n" + head)
    assert read_status(connection) == 503
    connection.sendall(LIST)
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    with service.client() as client:
        assert client.get(PROJECTS).status_code == 200


def reserve_nothing(_runner: JobRunner, _client: str) -> contextlib.AbstractContextManager[None]:
    raise Overloaded("No place is left.")


def test_the_connection_of_a_proxy_serves_other_clients_after_a_rejection(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(edge, "REJECTED_PAUSE_S", 3600.0)
    service = start(rate_limit=0.5, trusted_proxies=("127.0.0.0/8",))
    connection = connect(service, connections)
    statuses = []
    for client in (b"192.0.2.1", b"192.0.2.1", b"192.0.2.2"):
        fields = b"Host: localhost\r\nX-Forwarded-For: %b\r\n\r\n" % client
        connection.sendall(f"GET {PROJECTS} HTTP/1.1\r\n".encode() + fields)
        statuses.append(read_status(connection))
    assert statuses == [200, 429, 200]


def test_a_request_whose_client_leaves_gives_up_its_wait_for_a_turn(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(request_slots, "CONTENTION_S", 3600.0)
    page, may_read = MemoryStore.page, threading.Event()

    async def read_later(store: MemoryStore, query: Query) -> Page[StoredAggregate[Any]]:
        if current_client.get() == "127.0.0.1":
            await asyncio.to_thread(may_read.wait, 20)
        return await page(store, query)

    service = start()
    with other_client(service) as other, service.client() as client:

        def wait_for_requests(count: int) -> None:
            for attempt in tenacity.Retrying(
                wait=tenacity.wait_fixed(0.01), stop=tenacity.stop_after_delay(20), reraise=True
            ):
                with attempt:
                    traffic = other.get("/monitoring/health").json()["checks"]["traffic"]
                    assert traffic["requests"]["taken"] == count

        assert other.get(PROJECTS).status_code == client.get(PROJECTS).status_code == 200
        monkeypatch.setattr(MemoryStore, "page", read_later)
        held = [connect(service, connections) for _ in range(request_slots.TURNS + 3)]
        for number, connection in enumerate(held, 1):
            connection.sendall(LIST.replace(b"projects ", b"projects?limit=%d " % number))
            wait_for_requests(number)
        for connection in held[request_slots.TURNS :]:
            connection.close()
        wait_for_requests(request_slots.TURNS)
        may_read.set()
        assert [read_status(one) for one in held[: request_slots.TURNS]] == [200] * 4
        wait_for_requests(0)
        assert client.get(PROJECTS).status_code == 200


def test_what_waits_for_its_turn_is_served_whole_and_in_order(
    start: Start, monkeypatch: pytest.MonkeyPatch, connections: contextlib.ExitStack
) -> None:
    monkeypatch.setattr(ArrivalTurns, "take", serve_in_next_round)
    service = start()
    rows = (json.dumps(WIND) + "\n").encode() * 2_000
    head = b"Host: localhost\r\nContent-Type: application/x-ndjson\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(rows)
    connection = connect(service, connections)
    last = LIST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    connection.sendall(b"POST /v1/ops/imports HTTP/1.1\r\n" + head + length + rows + LIVE + last)
    with connection.makefile("rb") as responses:
        lines = [line for line in responses if b"HTTP/1.1 " in line]
    assert [line[line.index(b"HTTP/1.1 ") + 9 :][:3] for line in lines] == [b"202", b"200", b"200"]
    with service.client() as client:
        imports = client.get("/v1/data/imports.ndjson")
    assert json.loads(imports.text)["size_bytes"] == len(rows)


def serve_in_next_round(_turns: ArrivalTurns, _client: str, serve: Callable[[], None]) -> bool:
    asyncio.get_running_loop().call_soon(serve)
    return False


def test_a_connection_closed_before_its_turn_ends_no_other(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Callable[[], None]] = []
    is_held = threading.Event()
    take = ArrivalTurns.take

    def hold_first(turns: ArrivalTurns, client: str, serve: Callable[[], None]) -> bool:
        if not held:
            held.append(serve)
            is_held.set()
            return False
        if len(held) == 1:
            held.append(serve)
            held[0]()
        return take(turns, client, serve)

    monkeypatch.setattr(ArrivalTurns, "take", hold_first)
    service = start()
    with contextlib.ExitStack() as first:
        connect(service, first).sendall(LIST)
        assert is_held.wait(20)
    with service.client() as client:
        assert client.get(PROJECTS).status_code == 200
        assert len(held) == 2


def test_the_store_knows_the_client_of_each_read(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, clients = MemoryStore.page, []

    async def note_client(store: MemoryStore, query: Query) -> Page[StoredAggregate[Any]]:
        clients.append(current_client.get())
        return await page(store, query)

    monkeypatch.setattr(MemoryStore, "page", note_client)
    service = start()
    with service.client() as client, other_client(service) as other:
        client.get(PROJECTS, params={"limit": 3})
        other.get(PROJECTS, params={"limit": 4})
    # Tasks of the service itself read for no client.
    assert [client for client in clients if client] == ["127.0.0.1", "127.0.0.2"]


def test_streams_of_one_client_leave_some_to_others(
    start: Start, connections: contextlib.ExitStack
) -> None:
    service = start(HttpLimits(streams=4))
    request = b"GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
    statuses = []
    for _ in range(4):
        connection = connect(service, connections)
        connection.sendall(request)
        statuses.append(read_status(connection))
    assert statuses == [200, 200, 200, 503]
    connection = connect(service, connections, source="127.0.0.2")
    connection.sendall(request)
    assert read_status(connection) == 200
