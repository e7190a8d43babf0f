"""Requests byte by byte: what no HTTP client sends by itself, and the response to each."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service, Start
from tests.log_lines import captured_lines

BODY = json.dumps(WIND).encode()
PROJECTS = "/v1/ops/projects"


def request_of(line: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1") + body


def get(target: str, *fields: str) -> bytes:
    return request_of(f"GET {target} HTTP/1.1", "Host: localhost", "Connection: close", *fields)


def post(*fields: str, body: bytes = BODY, target: str = PROJECTS) -> bytes:
    line = f"POST {target} HTTP/1.1"
    content = ("Host: localhost", "Content-Type: application/json", "Connection: close")
    return request_of(line, *content, *fields, body=body)


def chunked(*fields: str, chunks: bytes, trailer: bytes = b"") -> bytes:
    return post("Transfer-Encoding: chunked", *fields, body=chunks + trailer)


WHOLE = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)


class Reply:
    """The head and the body of a raw response."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        self.status = int(line.split(" ")[1]) if line else 0
        self.headers = dict(field.split(": ", 1) for field in fields)

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document


def send(service: Service, request: bytes, *, shut: bool = False) -> Reply:
    return Reply(service.send_raw(request, shut=shut))


# -- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "//v1/ops/projects",
        "/v1//ops/projects",
        "/v1/ops%2fprojects",
        "/v1%2Fops/projects",
        "/%76%31/ops/projects",
        "/v1/ops/./projects",
        "/v1/jobs/../ops/projects",
        "/v1/ops/projects/..",
        "/v1/ops/%2e%2e/ops/projects",
        "/v1/ops/projects%00",
        "/v1/ops/projects%0d%0aX-A:b",
        "/v1/ops/projects%5c",
        "/v1/ops/projects%",
        "/v1/ops/projects%2",
        "/v1/ops/projects%zz",
        "/v1/ops/projects%ff",
        "/v1/ops/projects#fragment",
        "ftp://localhost/v1/ops/projects",
    ],
)
def test_a_target_in_another_spelling_is_400(service: Service, target: str) -> None:
    assert send(service, get(target)).problem["code"] == "malformed_request"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/ops/projects", 200),
        ("/v1/ops/projects?", 200),
        ("/v1/ops/projects?limit=1", 200),
        ("/.well-known/api-catalog", 200),
        ("http://localhost/v1/ops/projects", 200),
        ("HTTP://LOCALHOST:81/v1/ops/projects", 200),
        ("/v1/ops/import-mappings/a%20b%C3%A9", 404),
        ("http://evil.example/v1/ops/projects", 421),
        ("http://evil.example//v1/ops/projects", 421),
        ("http://user@localhost/v1/ops/projects", 400),
    ],
)
def test_a_target_in_its_one_spelling_is_served(service: Service, target: str, status: int) -> None:
    assert send(service, get(target)).status == status


def test_other_forms_of_targets(service: Service) -> None:
    assert (
        send(
            service,
            request_of("OPTIONS * HTTP/1.1", "Host: localhost")[:-2]
            + (b"Connection: close\r\n\r\n"),
        ).status
        == 204
    )
    for line in ("CONNECT localhost:80 HTTP/1.1", "GET * HTTP/1.1", "GET v1 HTTP/1.1"):
        assert send(service, request_of(line, "Host: localhost", "Connection: close")).status in {
            400,
            404,
        }


# -- versions and hosts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fields", "status"),
    [
        ("GET /v1/ops/projects HTTP/1.0", ("Host: localhost",), 200),
        ("GET /v1/ops/projects HTTP/1.0", (), 400),
        ("GET /v1/ops/projects HTTP/2.0", ("Host: localhost",), 505),
        ("GET /v1/ops/projects HTTP/3", ("Host: localhost",), 400),
        ("GET /v1/ops/projects", ("Host: localhost",), 505),
        ("GET /v1/ops/projects HTTP/1.1 ", ("Host: localhost",), 400),
        ("GET /v1/ops/projects http/1.1", ("Host: localhost",), 400),
        ("GET /v1/ops/projects HTTP/1.1", ("Host: local host",), 400),
        ("GET /v1/ops/projects HTTP/1.1", ("Host: user@localhost",), 400),
        ("GET /v1/ops/projects HTTP/1.1", ("Host: localhost/v1",), 400),
        ("GET /v1/ops/projects HTTP/1.1", ("Host:",), 400),
        ("GET /v1/ops/projects HTTP/1.1", ("Host: 10.1.2.3:8000",), 421),
        ("GET /v1/ops/projects HTTP/1.1", ("Host: localhost.evil.example",), 421),
    ],
)
def test_versions_and_hosts_are_strict(
    service: Service, line: str, fields: tuple[str, ...], status: int
) -> None:
    assert send(service, request_of(line, "Connection: close", *fields)).status == status


@pytest.mark.parametrize("path", ["/monitoring/live", "/monitoring/ready", "/monitoring/metrics"])
@pytest.mark.parametrize(
    ("version", "fields", "status"),
    [
        ("1.0", (), 200),  # HAProxy's option httpchk
        ("1.0", ("Host: 10.1.2.3",), 200),
        ("1.1", ("Host: 10.1.2.3:8000",), 200),  # a kubelet names the address of the pod
        ("1.1", ("Host: health.cloud.example",), 200),
        ("1.1", (), 400),
        ("1.1", ("Host: a b",), 400),
    ],
)
def test_probes_may_name_any_host(
    service: Service, path: str, version: str, fields: tuple[str, ...], status: int
) -> None:
    line = f"GET {path} HTTP/{version}"
    assert send(service, request_of(line, "Connection: close", *fields)).status == status


def test_a_host_that_is_not_served_names_its_settings(service: Service) -> None:
    reply = send(service, get("http://pod.example:81/"))
    assert (reply.status, reply.problem["code"]) == (421, "misdirected_request")
    for words in ("pod.example:81", "SPAWN_ALLOWED_HOSTS", "SPAWN_PUBLIC_URL"):
        assert words in reply.problem["detail"]


# -- bodies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["Idempotency-Key: k1", "If-Match: *", "Content-Type: text/csv"])
def test_trailer_fields_are_no_headers(service: Service, field: str) -> None:
    created = send(service, chunked(chunks=WHOLE, trailer=f"{field}\r\n\r\n".encode()))
    again = send(service, chunked(chunks=WHOLE, trailer=f"{field}\r\n\r\n".encode()))
    assert (created.status, again.status) == (201, 201)
    assert created.headers["location"] != again.headers["location"]


def test_a_precondition_in_a_trailer_is_not_one(service: Service) -> None:
    location = send(service, chunked(chunks=WHOLE, trailer=b"\r\n")).headers["location"]
    request = request_of(
        f"PATCH {location} HTTP/1.1",
        *("Host: localhost", "Content-Type: application/merge-patch+json", "Connection: close"),
        "Transfer-Encoding: chunked",
        body=b"2\r\n{}\r\n0\r\nIf-Match: *\r\n\r\n",
    )
    assert send(service, request).problem["code"] == "precondition_required"


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}zz\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
        b"fffffffffffffffff\r\n{}",
    ],
)
def test_a_malformed_chunk_is_a_400_problem(service: Service, chunks: bytes) -> None:
    reply = send(service, chunked(chunks=chunks))
    assert (reply.status, reply.problem["code"]) == (400, "malformed_request")
    assert reply.headers["connection"] == "close"


def test_a_malformed_chunk_behind_a_pause_is_a_400_problem(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(chunked(chunks=b"2\r\n{}\r\n"))
        connection.sendall(get("/monitoring/live"))  # no chunk either
        reply = Reply(connection.recv(65536))
    assert (reply.status, reply.problem["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Transfer-Encoding: gzip, chunked",), 501),
        (("Transfer-Encoding: identity", "Content-Length: 2"), 400),
        (("Transfer-Encoding: chunked", "Content-Length: 2"), 400),
        (("Content-Length: 2", "Content-Length: 3"), 400),
        (("Content-Length: +2",), 400),
        (("Content-Length: 2, 2",), 400),
        (("Transfer-Encoding: chunked, chunked",), 400),
        (("Transfer-Encoding: \x0bchunked",), 400),
    ],
)
def test_ambiguous_framing_is_rejected(
    service: Service, fields: tuple[str, ...], status: int
) -> None:
    reply = send(service, post(*fields, body=b"2\r\n{}\r\n0\r\n\r\n"))
    assert reply.status in {status, 501} if status == 501 else reply.status == status


def test_transfer_codings_of_http_1_0_are_rejected(service: Service) -> None:
    line = f"POST {PROJECTS} HTTP/1.0"
    fields = ("Host: localhost", "Transfer-Encoding: chunked")
    assert send(service, request_of(line, *fields, body=WHOLE + b"\r\n")).status == 400


@pytest.mark.parametrize("fields", [(), ("Expect: 100-continue",), ("Transfer-Encoding: chunked",)])
def test_a_client_may_send_the_rest_of_a_rejected_body(
    service: Service, fields: tuple[str, ...]
) -> None:
    """A proxy that gets a reset while it sends reports a failure instead of the problem."""
    chunks = b"zz\r\n" if "Transfer-Encoding: chunked" in fields else b""
    framing = () if chunks else ("Content-Length: 4000000",)
    head = post(*framing, *fields, body=chunks).replace(b"Connection: close\r\n", b"")
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head)
        response = b""
        while chunk := connection.recv(65536):
            response += chunk
        for _ in range(40):
            connection.sendall(b"x" * 100_000)
        connection.shutdown(socket.SHUT_WR)
    assert Reply(response).status in {400, 413}


def test_requests_in_one_segment_are_served_in_order(service: Service) -> None:
    first = request_of("GET /monitoring/live HTTP/1.1", "Host: localhost")
    raw = service.send_raw(first + post(f"Content-Length: {len(BODY)}"), shut=False)
    statuses = [part[:3] for part in raw.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"201"]


@pytest.mark.parametrize("earlier", [1, 2])
@pytest.mark.parametrize(
    "rejected",
    [
        b"broken\r\n\r\n",
        post("Transfer-Encoding: chunked", body=b"zz\r\n"),
        request_of("GET /monitoring/live HTTP/9.9", "Host: localhost"),
    ],
    ids=["head", "body", "version"],
)
def test_a_rejected_request_behind_others_leaves_their_responses(
    service: Service, earlier: int, rejected: bytes
) -> None:
    first = post(f"Content-Length: {len(BODY)}").replace(b"Connection: close\r\n", b"")
    with captured_lines() as lines:
        raw = service.send_raw(first * earlier + rejected, shut=False)
    statuses = [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:]]
    assert statuses[:-1] == [201] * earlier
    assert statuses[-1] in {400, 505}
    assert [line for line in lines if line["level"] == "ERROR"] == []


def test_the_head_of_a_streamed_response_states_no_length(service: Service) -> None:
    line = "HEAD /v1/data/projects.csv HTTP/1.1"
    fields = ("Host: localhost", "Accept-Encoding: gzip", "Connection: close")
    reply = send(service, request_of(line, *fields))
    assert reply.status == 200
    assert "content-length" not in reply.headers
    assert reply.body == b""


# -- pages of other origins ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 201),
        (("Origin: http://localhost",), 201),
        (("Origin: https://localhost",), 201),
        (("Sec-Fetch-Site: same-origin", "Origin: http://localhost"), 201),
        (("Sec-Fetch-Site: none",), 201),
        (("Origin: https://evil.example",), 403),
        (("Origin: null",), 403),
        (("Origin: http://localhost:1",), 403),
        (("Sec-Fetch-Site: cross-site",), 403),
        (("Sec-Fetch-Site: same-site",), 403),
        (("Sec-Fetch-Site: cross-site", "Origin: http://localhost"), 403),
    ],
)
def test_commands_of_foreign_pages_are_rejected(
    service: Service, fields: tuple[str, ...], status: int
) -> None:
    reply = send(service, post(f"Content-Length: {len(BODY)}", *fields))
    assert reply.status == status
    if status == 403:
        assert reply.problem["code"] == "cross_origin_request"
        assert "SPAWN_CORS_ORIGINS" in reply.problem["detail"]


def test_foreign_pages_may_read(service: Service) -> None:
    reply = send(service, get(PROJECTS, "Origin: https://evil.example"))
    assert reply.status == 200
    assert "access-control-allow-origin" not in reply.headers


@pytest.fixture(scope="module")
def published() -> Iterator[Service]:
    """A service behind a trusted proxy, with a public URL and an allowed origin."""
    service = Service(
        public_url="https://data.example/hub",
        cors_origins=("https://desk.example",),
        trusted_proxies=("127.0.0.0/8",),
        rate_limit=1.0,
    ).start()
    yield service
    service.stop()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://desk.example", 201),
        ("https://data.example", 201),
        ("https://desk.example.evil.example", 403),
    ],
)
def test_allowed_origins_and_the_own_one_may_send_commands(
    published: Service, origin: str, status: int
) -> None:
    fields = [f"Origin: {origin}"]
    if "data" not in origin:
        fields.append("Sec-Fetch-Site: cross-site")
    forwarded = f"X-Forwarded-For: 192.0.2.{len(origin)}"
    reply = send(published, post(f"Content-Length: {len(BODY)}", *fields, forwarded))
    assert reply.status == status


def statuses_of(service: Service, *forwarded: str) -> list[int]:
    return [send(service, get(PROJECTS, f"X-Forwarded-For: {value}")).status for value in forwarded]


def test_a_trusted_proxy_names_the_client_that_a_limit_counts(published: Service) -> None:
    assert statuses_of(published, *["198.51.100.1"] * 3) == [200, 200, 429]
    assert statuses_of(published, "198.51.100.2") == [200]
    # What the client wrote before the proxies is not believed.
    assert statuses_of(published, "203.0.113.9, 198.51.100.1") == [429]
    # Trusted proxies behind each other each append an address.
    assert statuses_of(published, "198.51.100.1, 127.0.0.2") == [429]
    assert statuses_of(published, "[2001:db8::1]", "2001:db8::1", "2001:db8::1") == [200, 200, 429]


def test_other_senders_cannot_name_a_client(start: Start) -> None:
    service = start(rate_limit=1.0)
    assert statuses_of(service, "192.0.2.1", "192.0.2.2", "192.0.2.3") == [200, 200, 429]


# -- headers of every response ------------------------------------------------------------------


def test_pages_and_documents_have_security_headers(client: httpx.Client) -> None:
    page = client.get("/", headers={"accept": "text/html"})
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"
    for path in ("/", PROJECTS, "/nothing", "/monitoring/live"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
