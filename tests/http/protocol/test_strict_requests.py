"""Malformed, hostile and oversized requests are rejected by name and never harm the service."""

import asyncio
import contextlib
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service, Start

from spawn.adapters.memory.store import MemoryStore
from spawn.application.traffic.traffic_control import TrafficLimits
from spawn.domain.errors import SpawnError, StorageBusy, StorageDamaged
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.protocol.problems import retry_after_field

PROJECTS = "/v1/ops/projects"
JSON = {"content-type": "application/json"}


def body_with(member: bytes) -> bytes:
    return b'{"project_name":"x","total_amount":"1",' + member + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"project_name":"\xff\xfe","total_amount":"1"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"x_a":' * 100_000 + b"1" + b"}" * 100_000,
        body_with(b'"dscr":NaN'),
        body_with(b'"dscr":Infinity'),
        body_with(b'"project_name":"again"'),
        body_with(b'"x_deep":{"a":1,"a":2}'),
        body_with(b'"description":"a\\u0000b"'),
        body_with(b'"description":"\\ud800"'),
        body_with(b'"dscr":01'),
        b"{} {}",
        b"",
        b"nothing",
    ],
)
def test_malformed_body_is_400(client: httpx.Client, body: bytes) -> None:
    response = client.post(PROJECTS, content=body, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_body")


@pytest.mark.parametrize(
    ("member", "pointer"),
    [
        (b'"maturity_years":"5"', "/maturity_years"),
        (b'"maturity_years":5.125', "/maturity_years"),
        (b'"dscr":1e400', "/dscr"),
        (b'"dscr":true', "/dscr"),
        (b'"green_bond_eligible":"true"', "/green_bond_eligible"),
        (b'"cod_date":"2026-02-30"', "/cod_date"),
        (b'"currency_code":"XXX"', "/currency_code"),
        (b'"version":7', "/version"),
        (b'"created_at":"2026-01-01T00:00:00Z"', "/created_at"),
        (b'"sponsors":[{"name":"a","share":"60"}]', "/sponsors"),
        (b'"unknown":1', "/unknown"),
        (b'"x_' + b"y" * 200 + b'":1', "/x_"),
    ],
)
def test_wrong_value_is_422_at_its_pointer(
    client: httpx.Client, member: bytes, pointer: str
) -> None:
    response = client.post(PROJECTS, content=body_with(member), headers=JSON)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert any(e["pointer"].startswith(pointer) for e in response.json()["errors"]), response.text


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1E+400000", "-1", "1.005", "1e3", "", " 1"])
def test_amount_outside_its_grammar_is_rejected(client: httpx.Client, amount: str) -> None:
    response = client.post(PROJECTS, json={**WIND, "total_amount": amount})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/total_amount"


def test_array_for_an_object_is_rejected_at_the_root(client: httpx.Client) -> None:
    response = client.post(PROJECTS, content=b"[]", headers=JSON)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == ""


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json; charset=latin-1", "application/xml", None],
)
def test_other_content_type_is_415(client: httpx.Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = client.post(PROJECTS, content=json.dumps(WIND).encode(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_compressed_body_is_415(client: httpx.Client) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    response = client.post(PROJECTS, content=b"x", headers=headers)
    assert response.status_code == 415


@pytest.mark.parametrize("accept", ["text/csv", "application/json;q=0", "image/*"])
def test_accept_that_excludes_json_is_406(client: httpx.Client, accept: str) -> None:
    response = client.get(PROJECTS, headers={"accept": accept})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, */*;q=0.1"])
def test_accept_that_includes_json_is_served(client: httpx.Client, accept: str) -> None:
    assert client.get(PROJECTS, headers={"accept": accept}).status_code == 200


def test_unknown_path_and_method_are_problems(client: httpx.Client) -> None:
    unknown = client.get("/v1/nowhere")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    rejected = client.delete(PROJECTS)
    assert (rejected.status_code, rejected.json()["code"]) == (405, "method_not_allowed")
    assert rejected.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    ("header", "patch_error"),
    [
        ("{}", (400, "malformed_request")),
        ("1-0-0", (400, "malformed_request")),
        ('"a" "b"', (400, "malformed_request")),
        ("", (428, "precondition_required")),
    ],
)
def test_precondition_that_is_no_list_of_etags_is_rejected(
    client: httpx.Client, created: httpx.Response, header: str, patch_error: tuple[int, str]
) -> None:
    where = created.headers["location"]
    read = client.get(where, headers={"if-none-match": header})
    assert (read.status_code, read.json()["code"]) == (400, "malformed_request")
    patched = client.patch(where, json={"dscr": 2}, headers={"if-match": header})
    assert (patched.status_code, patched.json()["code"]) == patch_error


def test_invalid_body_is_reported_before_a_stale_etag(
    client: httpx.Client, created: httpx.Response
) -> None:
    where, stale = created.headers["location"], {"if-match": '"9-9-9"'}
    assert client.patch(where, json={"dscr": "high"}, headers=stale).status_code == 422
    for reason in ("x" * 1001, " \n"):
        step = {"to": "MANDATED", "reason": reason}
        response = client.post(f"{where}/transitions", json=step, headers=stale)
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/reason")


def test_weak_etag_never_allows_a_change(client: httpx.Client, created: httpx.Response) -> None:
    weak = f"W/{created.headers['etag']}"
    response = client.patch(
        created.headers["location"], json={"dscr": 2}, headers={"if-match": weak}
    )
    assert response.status_code == 412


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00e9"])
def test_idempotency_key_outside_its_grammar_is_rejected(client: httpx.Client, key: str) -> None:
    headers = {b"idempotency-key": key.encode("latin-1")}
    response = client.post(PROJECTS, json=WIND, headers=headers)
    assert response.status_code == 422


def test_query_string_that_is_not_utf8_is_400(client: httpx.Client) -> None:
    for query in ("project_name=%ff", "project_name=%00", "project_name"):
        response = client.get(f"{PROJECTS}?{query}")
        assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


def test_body_over_a_mebibyte_is_413(client: httpx.Client) -> None:
    body = {**WIND, "description": "x" * (1024 * 1024)}
    response = client.post(PROJECTS, json=body)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_chunked_body_over_a_mebibyte_is_413(client: httpx.Client) -> None:
    def chunks() -> Any:
        for _ in range(40):
            yield b" " * 32_768

    response = client.post(PROJECTS, content=chunks(), headers=JSON)
    assert response.status_code == 413


def request_head(*fields: str) -> bytes:
    return "\r\n".join(["GET /monitoring/live HTTP/1.1", *fields, "", ""]).encode()


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def test_70_kb_header_is_431(service: Service) -> None:
    fields = ("Host: localhost", "Connection: close", f"X-Large: {'x' * 70_000}")
    response = service.send_raw(request_head(*fields))
    assert status_of(response) == 431


@pytest.mark.parametrize("large", [{"x-large": "x" * 17_000}, {"x" * 17_000: "1"}])
def test_17_kb_header_is_a_431_problem(client: httpx.Client, large: dict[str, str]) -> None:
    response = client.get("/monitoring/live", headers=large)
    assert (response.status_code, response.json()["code"]) == (431, "headers_too_large")


def test_too_many_headers_are_431(client: httpx.Client) -> None:
    response = client.get("/monitoring/live", headers={f"x-{n}": "1" for n in range(100)})
    assert response.status_code == 431


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["Host: localhost"], 200),
        (["Host: LOCALHOST:1234"], 200),
        (["Host: [::1]:80"], 200),
        ([], 400),
        (["Host: localhost", "Host: localhost"], 400),
        (["Host: localhost", "Host: evil.example"], 400),
        (["Host: evil.example"], 421),
        (["Host: localhost.evil.example"], 421),
        (["Host: localhost:80x"], 400),
    ],
)
def test_host_must_be_allowed(service: Service, fields: list[str], status: int) -> None:
    head = request_head("Connection: close", *fields)
    response = service.send_raw(head.replace(b"/monitoring/live", b"/v1/ops/projects"))
    assert status_of(response) == status


def test_repeated_content_type_is_rejected(service: Service) -> None:
    head = b"\r\n".join(
        [
            b"POST /v1/ops/projects HTTP/1.1",
            b"Host: localhost",
            b"Content-Type: application/json",
            b"Content-Type: text/plain",
            b"Content-Length: 2",
            b"Connection: close",
            b"",
            b"{}",
        ]
    )
    assert status_of(service.send_raw(head)) == 400


def test_slow_body_is_408(start: Start) -> None:
    service = start(HttpLimits(idle_timeout_s=0.05))
    head = (
        b"POST /v1/ops/projects HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    response = service.send_raw(head, shut=False)
    assert status_of(response) == 408
    assert b"request_timeout" in response


def test_body_that_never_completes_is_408(start: Start) -> None:
    service = start(HttpLimits(idle_timeout_s=5.0, body_timeout_s=0.1))
    head = (
        b"POST /v1/ops/projects HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    assert status_of(service.send_raw(head, shut=False)) == 408


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 99999", b"Transfer-Encoding: chunked\r\n\r\nffff"]
)
@pytest.mark.parametrize("target", [b"GET /monitoring/live", b"POST /v1/none", b"POST /v1/imports"])
def test_slow_rest_of_a_body_ends_the_connection(
    start: Start, target: bytes, framing: bytes
) -> None:
    service = start(HttpLimits(header_timeout_s=0.2))
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(b"%b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (target, framing))
        assert connection.recv(65536).startswith(b"HTTP/1.1 ")
        connection.settimeout(0.05)
        assert is_closed_while_it_gets_bytes(connection)


def is_closed_while_it_gets_bytes(connection: socket.socket) -> bool:
    """Send a byte at each timeout of the connection, for 5 s at its 0.05 s."""
    for _ in range(100):
        try:
            connection.sendall(b"a")
            if not connection.recv(4096):
                return True
        except TimeoutError:
            continue
        except OSError:  # closed between the two
            return True
    return False


def test_connection_serves_on_behind_the_rest_of_a_body(start: Start) -> None:
    service = start(HttpLimits(header_timeout_s=0.1, traffic=TrafficLimits(body_bytes_s=10)))
    request = b"GET /monitoring/live HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=0.05) as connection:
        connection.sendall(request + b"Content-Length: 20\r\n\r\n")
        assert status_of(connection.recv(65536)) == 200
        for _ in range(20):  # a byte each 0.05 s, of which one in 0.1 s is enough
            with pytest.raises(TimeoutError):
                connection.recv(4096)
            connection.sendall(b"a")
        connection.settimeout(20)
        connection.sendall(request + b"\r\n")
        assert status_of(connection.recv(65536)) == 200


def problem_of(response: bytes) -> dict[str, Any]:
    """Return the problem in a raw response, after checks of its head."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json\r\n" in head
    assert b"connection: close" in head
    problem: dict[str, Any] = json.loads(body)
    assert problem["status"] == status_of(response)
    assert len(problem["trace_id"]) == 32
    return problem


def test_incomplete_head_times_out(start: Start) -> None:
    service = start(HttpLimits(header_timeout_s=0.05))
    response = service.send_raw(b"GET /monitoring/live HTTP/1.1\r\nHost: loc", shut=False)
    assert problem_of(response)["code"] == "request_timeout"


def test_incomplete_head_after_another_request_times_out_too(start: Start) -> None:
    service = start(HttpLimits(header_timeout_s=0.2))
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"GET /monitoring/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(connection.recv(65536)) == 200
        connection.sendall(b"GET /monitoring/live HTTP/1.1\r\nHost: loc")
        assert problem_of(connection.recv(65536))["code"] == "request_timeout"


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\nHost: localhost\n\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\r\n b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_bytes_that_are_no_http_get_a_problem(service: Service, request_: bytes) -> None:
    assert problem_of(service.send_raw(request_, shut=False))["code"] == "malformed_request"


def test_connections_beyond_the_limit_are_503_with_retry_after(start: Start) -> None:
    service = start(HttpLimits(connections=2))
    request = b"GET /v1/ops/projects HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            address = ("127.0.0.1", service.port)
            connection = stack.enter_context(socket.create_connection(address, timeout=20))
            connection.sendall(request)
            assert status_of(connection.recv(4096)) == 200  # the service has accepted it
        response = service.send_raw(request, shut=False)
    assert problem_of(response)["code"] == "overloaded"
    assert b"retry-after: 1\r\n" in response


def test_endless_trailer_fields_end_the_connection(start: Start) -> None:
    service = start()
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/ops/projects HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        )
        trailer = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 4096) for number in range(10_000))
        with pytest.raises(OSError, match=r"reset|pipe"):
            connection.sendall(trailer)


def test_silent_connection_is_closed(start: Start) -> None:
    service = start(HttpLimits(header_timeout_s=0.05))
    assert service.send_raw(b"", shut=False) == b""


def test_endless_head_ends_the_connection(start: Start) -> None:
    service = start()
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        try:
            for _ in range(64):
                connection.sendall(b"a" * 4096)
            response = connection.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            response = b"HTTP/1.1 431 "
        assert status_of(response) == 431


@pytest.mark.parametrize(
    ("seconds", "field"), [(-0.1, b"1"), (0.4, b"1"), (1.0, b"1"), (1.01, b"2"), (2.5, b"3")]
)
def test_retry_after_is_never_too_early(seconds: float, field: bytes) -> None:
    assert retry_after_field(seconds) == (b"retry-after", field)


def test_rate_limit_is_429_with_retry_after_except_for_monitoring(start: Start) -> None:
    service = start(rate_limit=1.0)
    with service.client() as client:
        statuses = [client.get("/v1/ops/projects").status_code for _ in range(4)]
        rejected = client.get("/v1/ops/projects")
        assert statuses[:2] == [200, 200]
        assert (rejected.status_code, rejected.json()["code"]) == (429, "rate_limited")
        assert int(rejected.headers["retry-after"]) >= 1
        assert client.get("/monitoring/live").status_code == 200


def test_requests_beyond_the_concurrency_are_503_with_retry_after(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_running, release = threading.Event(), threading.Event()
    commit = MemoryStore.commit

    async def commit_later(store: MemoryStore, change: Any) -> Any:
        is_running.set()
        await asyncio.to_thread(release.wait, 20)
        return await commit(store, change)

    service = start(HttpLimits(traffic=TrafficLimits(concurrency=1)))
    monkeypatch.setattr(MemoryStore, "commit", commit_later)
    with service.client() as client, service.client() as other, ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, PROJECTS, json=WIND)
        assert is_running.wait(20)
        rejected = other.get(PROJECTS)
        alive = other.get("/monitoring/live")
        health = other.get("/monitoring/health").json()["checks"]["traffic"]
        release.set()
        assert first.result().status_code == 201
    assert health["status"] == "degraded"
    assert health["requests"] == {"taken": 1, "places": 1, "rejected": 1}
    assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
    assert rejected.headers["retry-after"] == "1"
    assert alive.status_code == 200


def test_internal_error_is_500_without_leaks(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("select secret from /etc/passwd")

    monkeypatch.setattr("spawn.entrypoints.http.projects.list_route.read_list_parameters", fail)
    response = client.get(f"{PROJECTS}?limit=77")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    assert "RuntimeError" not in response.text
    assert response.json()["code"] == "internal"


@pytest.mark.parametrize("error", [StorageDamaged, StorageBusy])
def test_storage_errors_name_no_file_to_clients(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, error: type[SpawnError]
) -> None:
    def fail(*_args: object) -> None:
        raise error("restore /srv/data/spawn.duckdb from the last backup")

    monkeypatch.setattr("spawn.entrypoints.http.projects.list_route.read_list_parameters", fail)
    response = client.get(f"{PROJECTS}?limit=78")
    assert (response.status_code, response.json()["code"]) == (503, error.code)
    assert int(response.headers["retry-after"]) >= 1
    assert "/srv" not in response.text


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://evil.example/v1/ops/projects", "localhost", 421),
        ("HTTP://evil.example/v1/ops/projects", "localhost", 421),
        ("http://evil.example:8000?x=1", "localhost", 400),
        ("http://localhost/monitoring/live", "localhost", 200),
        ("http://localhost/monitoring/live", "evil.example", 200),
        ("http://localhost@evil.example/v1/ops/projects", "localhost", 400),
        ("http:///monitoring/live", "localhost", 400),
        ("ftp://localhost/monitoring/live", "localhost", 400),
    ],
)
def test_the_host_of_an_absolute_target_decides(
    service: Service, target: str, host: str, status: int
) -> None:
    # RFC 9112, 3.2.2: the Host field of such a request is ignored.
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert status_of(service.send_raw(request.encode())) == status


@pytest.mark.parametrize("version", ["2.0", "0.9"])
def test_another_http_version_is_rejected(service: Service, version: str) -> None:
    head = f"POST /v1/ops/projects HTTP/{version}\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
    response = service.send_raw(head.encode() + b"{}", shut=False)
    assert (status_of(response), problem_of(response)["code"]) == (
        505,
        "http_version_not_supported",
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/ops/projects"),
        ("POST", "/v1/ops/fx-rate-sets"),
        ("POST", "/v1/ops/portfolios"),
    ],
)
def test_a_body_of_more_values_than_the_loop_reads_at_once_is_413(
    client: httpx.Client, method: str, path: str
) -> None:
    largest, too_large = ('{"nothing":[' + "0," * values + "0]}" for values in (32_768, 32_769))
    assert client.request(method, path, content=largest, headers=JSON).status_code != 413
    response = client.request(method, path, content=too_large, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert "more than 32768 values" in response.json()["detail"]


@pytest.mark.parametrize("text", ["," * 100_000, '\\",' * 50_000, "\\\\,," * 40_000])
def test_commas_in_a_text_are_no_values(client: httpx.Client, text: str) -> None:
    body = '{"project_name": "' + text + '"}'
    response = client.post("/v1/ops/projects", content=body, headers=JSON)
    assert response.status_code == 422
    unended = client.post("/v1/ops/projects", content=body[:-2], headers=JSON)
    assert unended.status_code == 400


def test_named_texts_with_commas_count_once_each(client: httpx.Client) -> None:
    largest, too_large = (
        '{"nothing":[{' + '"a":"b,",' * values + '"a":"b"}]}' for values in (32_768, 32_769)
    )
    statuses = [
        client.post("/v1/ops/projects", content=body, headers=JSON).status_code
        for body in (largest, too_large)
    ]
    assert statuses == [400, 413]  # the first repeats a name
