"""Clients that leave at every point of an exchange, and what is left of them: nothing."""

import contextlib
import json
import re
import socket
import struct
from collections.abc import Iterator

import httpx
import pytest
import tenacity
from tests.http.conftest import WIND, Service

from spawn.entrypoints.http import server
from spawn.entrypoints.http.limits import HttpLimits

PROJECTS = "/v1/ops/projects"
BODY = json.dumps(WIND).encode()
HOST = "Host: localhost"
TYPE = "Content-Type: application/json"
POOLS = ("connections", "requests", "bodies", "uploads", "exports")


def message(line: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", HOST, *fields, "", ""]).encode() + body


def post(*fields: str, body: bytes = BODY, target: str = PROJECTS) -> bytes:
    return message(f"POST {target}", TYPE, *fields, body=body)


SIZED = post(f"Content-Length: {len(BODY)}")
CHUNKED = post(
    "Transfer-Encoding: chunked",
    body=b"%x\r\n%b\r\n0\r\nIdempotency-Key: k\r\nX-A: b\r\n\r\n" % (len(BODY), BODY),
)
LIST = message(f"GET {PROJECTS}")
FILE = message("GET /v1/data/projects.csv")
STREAM = message("GET /v1/events/stream")
CALCULATION = message("POST /v1/analysis/day-count", TYPE, "Content-Length: 2", body=b"{}")
UPLOAD = message(
    "POST /v1/ops/imports", "Content-Type: application/x-ndjson", "Content-Length: 100000"
)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Service]:
    service = Service(HttpLimits(header_timeout_s=1.0, idle_timeout_s=1.0)).start()
    yield service
    service.stop()


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), 20)


def reset(connection: socket.socket) -> None:
    """Close the connection with a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            received += part
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def assert_nothing_is_left(service: Service) -> None:
    """Wait until no connection, place or running request is left but those of this check."""
    for attempt in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.02), stop=tenacity.stop_after_delay(20), reraise=True
    ):
        with attempt, service.client() as client:
            traffic = client.get("/monitoring/health").json()["checks"]["traffic"]
            taken = {name: traffic[name]["taken"] for name in POOLS}
            assert taken == {**dict.fromkeys(POOLS, 0), "connections": 1}
            metrics = client.get("/monitoring/metrics").text
            active_requests = re.search(
                r"^http_server_active_requests.* (\d+)", metrics, re.MULTILINE
            )
            assert active_requests is not None
            assert int(active_requests[1]) == 1  # the one that reads it
            assert service._server is not None
            assert len(service._server.server_state.tasks) <= 1
    with service.client() as client:
        assert client.post(PROJECTS, json=WIND).status_code == 201


@pytest.mark.parametrize(
    "request_",
    [SIZED, CHUNKED, LIST, FILE, STREAM, CALCULATION, UPLOAD],
    ids=["sized", "chunked", "list", "file", "stream", "calculation", "upload"],
)
def test_a_reset_at_any_point_of_a_request_leaves_nothing(
    hostile: Service, request_: bytes
) -> None:
    for end in {*range(1, len(request_), max(1, len(request_) // 12)), len(request_)}:
        connection = connect(hostile)
        connection.sendall(request_[:end])
        reset(connection)
    assert_nothing_is_left(hostile)


@pytest.mark.parametrize("request_", [SIZED, LIST, FILE, STREAM], ids="psfe")
def test_a_client_that_closes_half_of_the_connection_leaves_nothing(
    hostile: Service, request_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HALF_CLOSED_S", 0.01)
    for end in (len(request_) // 2, len(request_)):
        with connect(hostile) as connection:
            connection.sendall(request_[:end])
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
    assert_nothing_is_left(hostile)


def test_pipelined_requests_of_a_client_that_leaves_leave_nothing(hostile: Service) -> None:
    for count in (1, 2, 30):
        connection = connect(hostile)
        connection.sendall((LIST + SIZED + FILE) * count + LIST[:20])
        connection.recv(10)
        reset(connection)
    assert_nothing_is_left(hostile)


def test_trailer_fields_and_pipelining_are_kept_apart(hostile: Service) -> None:
    with connect(hostile) as connection:
        last = message(f"GET {PROJECTS}", "Connection: close")
        connection.sendall(CHUNKED + CHUNKED + last)
        assert statuses(read_all(connection)) == [201, 201, 200]
    assert_nothing_is_left(hostile)


def test_a_client_that_waits_for_100_continue_and_leaves_leaves_nothing(hostile: Service) -> None:
    head = post(f"Content-Length: {len(BODY)}", "Expect: 100-continue", body=b"")
    for is_sent in (False, True):
        connection = connect(hostile)
        connection.sendall(head)
        assert statuses(connection.recv(100)) == [100]
        if is_sent:
            connection.sendall(BODY[:50])
        reset(connection)
    with connect(hostile) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(BODY)
        assert statuses(connection.recv(65536)) == [201]
    assert_nothing_is_left(hostile)


@pytest.mark.parametrize("path", ["/v1/data/projects.csv", "/v1/events/stream", PROJECTS])
def test_heads_of_streams_are_followed_by_the_next_response(hostile: Service, path: str) -> None:
    with connect(hostile) as connection:
        last = message("GET /monitoring/live", "Connection: close")
        connection.sendall(message(f"HEAD {path}") + last)
        received = read_all(connection)
        assert statuses(received) == [200, 200]
        _head, _, rest = received.partition(b"\r\n\r\n")
        assert rest.startswith(b"HTTP/1.1 200 ")
    assert_nothing_is_left(hostile)


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0"])
def test_an_upgrade_is_ignored(hostile: Service, protocol: str) -> None:
    fields = (f"Upgrade: {protocol}", "Connection: upgrade", "HTTP2-Settings: AAMAAABk")
    with connect(hostile) as connection:
        connection.sendall(message(f"GET {PROJECTS}", *fields))
        assert statuses(connection.recv(65536)) == [200]
        reset(connection)
    assert_nothing_is_left(hostile)


def test_heads_without_end_and_of_many_fields_are_431_or_408(hostile: Service) -> None:
    fields = [f"X-{number}: a" for number in range(65)]
    with connect(hostile) as connection:
        connection.sendall(message(f"GET {PROJECTS}", *fields, "Connection: close"))
        assert statuses(read_all(connection)) == [431]
    with connect(hostile) as connection:
        connection.sendall(LIST + message(f"GET {PROJECTS}", *fields * 20)[:-2])
        assert statuses(read_all(connection)) == [200, 408]
    with connect(hostile) as connection:
        connection.sendall(LIST + message(f"GET {PROJECTS}", *fields * 400)[:-2])
        assert statuses(read_all(connection))[0] == 200
    assert_nothing_is_left(hostile)


def test_a_slow_reader_of_many_files_that_leaves_leaves_nothing(hostile: Service) -> None:
    readers = [connect(hostile) for _ in range(20)]
    for reader in readers:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        reader.sendall(FILE * 3 + STREAM)
    for reader in readers:
        reader.recv(64)
    for number, reader in enumerate(readers):
        (reset if number % 2 else socket.socket.close)(reader)
    assert_nothing_is_left(hostile)


def test_a_crowd_that_leaves_its_queue_leaves_nothing(hostile: Service) -> None:
    with httpx.Client(
        base_url=hostile.url, transport=httpx.HTTPTransport(local_address="127.0.0.2")
    ) as other:
        crowd = [connect(hostile) for _ in range(100)]
        assert other.get(PROJECTS).status_code == 200
        for one in crowd:
            one.sendall(CALCULATION + LIST + SIZED)
        for one in crowd:
            reset(one)
        assert other.get(PROJECTS).status_code == 200
    assert_nothing_is_left(hostile)
