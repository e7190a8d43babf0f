"""HEAD, OPTIONS, CORS, compression and request ids: features of the edge middleware."""

from typing import Any, cast

import httpx
import pytest
from tests.http.conftest import Start

from spawn.entrypoints.http.middleware.edge import _without_body

PROJECTS = "/v1/ops/projects"


@pytest.mark.parametrize(
    "path", ["/", PROJECTS, "/monitoring/live", "/openapi.json", "/contract", "/v1/events", "/docs"]
)
def test_head_gives_the_headers_of_get_without_the_body(client: httpx.Client, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_no_message_of_head_has_a_body() -> None:
    """The server drops what a body of HEAD has; in other servers it would reach the client."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    start = {"type": "http.response.start", "status": 200, "headers": []}
    send_head = _without_body(send)
    for message in (start, {"type": "http.response.body", "body": b"{}", "more_body": False}):
        await send_head(cast("Any", message))
    assert sent == [start, {"type": "http.response.body", "body": b"", "more_body": False}]


def test_a_foreign_page_may_send_what_changes_nothing(client: httpx.Client) -> None:
    for method, status in (("GET", 200), ("HEAD", 200), ("OPTIONS", 204), ("POST", 403)):
        response = client.request(method, PROJECTS, headers={"origin": "https://evil.example"})
        assert response.status_code == status, method


def test_options_lists_every_method_of_a_shared_path(
    client: httpx.Client, created: httpx.Response
) -> None:
    response = client.options(PROJECTS)
    assert response.status_code == 204
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    one = client.options(created.headers["location"])
    assert one.headers["allow"] == "GET, HEAD, OPTIONS, PATCH"
    assert client.options("/v1/nowhere").status_code == 404


def test_request_id_is_the_clients_if_valid_else_new(client: httpx.Client) -> None:
    response = client.get("/monitoring/live", headers={"x-request-id": "abc-1.2_3"})
    assert response.headers["x-request-id"] == "abc-1.2_3"
    for invalid in ("a b", "x" * 65, '"><script>'):
        response = client.get("/monitoring/live", headers={"x-request-id": invalid})
        assert response.headers["x-request-id"] != invalid
    first, second = (client.get("/monitoring/live").headers["x-request-id"] for _ in range(2))
    assert first != second


def test_problem_has_the_trace_id_of_the_client(client: httpx.Client) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    response = client.get("/v1/nowhere", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert response.json()["trace_id"] == trace


@pytest.mark.parametrize(
    "parent",
    [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ],
)
def test_traceparent_outside_its_grammar_is_ignored(client: httpx.Client, parent: str) -> None:
    trace_id = client.get("/v1/nowhere", headers={"traceparent": parent}).json()["trace_id"]
    assert int(trace_id, 16)
    assert trace_id != parent.split("-")[1].lower()


def test_traceparent_of_a_command_is_on_its_event(client: httpx.Client) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01"
    body = {"project_name": "traced", "total_amount": "1"}
    created = client.post(PROJECTS, json=body, headers={"traceparent": parent})
    subject = f"projects/{created.json()['project_id']}"
    events = client.get("/v1/events", params={"subject": subject}).json()["events"]
    assert events[0]["traceparent"] == parent


def test_gzip_is_used_for_clients_that_accept_it(client: httpx.Client) -> None:
    for accept_encoding, is_gzip in (
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("gzip;q=0.5, identity", False),
        ("gzip, identity;q=0.5", True),
    ):
        response = client.get("/openapi.json", headers={"accept-encoding": accept_encoding})
        assert (response.headers.get("content-encoding") == "gzip") is is_gzip, accept_encoding
        assert "accept-encoding" in response.headers["vary"]
        assert response.json()["openapi"] == "3.1.0"


def test_resources_with_an_etag_are_304_for_clients_that_have_it(start: Start) -> None:
    # Measured only once, so that the documents that include measurements do not change.
    with start(quality_interval_s=0.0).client() as client:
        assert client.post("/v1/governance/quality/runs").status_code == 201
        paths = ["/docs/docs.js", "/docs/style.css"]
        for path, item in client.get("/openapi.json").json()["paths"].items():
            operation = item.get("get", {}).get("responses", {}).get("200", {})
            if "ETag" in operation.get("headers", {}) and "{" not in path:
                paths.append(path)
        assert len(paths) > 4
        for path in paths:
            response = client.get(path)
            repeated = client.get(path, headers={"if-none-match": response.headers["etag"]})
            assert (response.status_code, repeated.status_code, repeated.content) == (
                200,
                304,
                b"",
            ), path
            assert repeated.headers["etag"] == response.headers["etag"]


def test_cors_headers_are_sent_to_configured_origins_only(start: Start) -> None:
    service = start(cors_origins=("https://desk.example",))
    with service.client() as client:
        allowed = client.get(PROJECTS, headers={"origin": "https://desk.example"})
        assert allowed.headers["access-control-allow-origin"] == "https://desk.example"
        assert "etag" in allowed.headers["access-control-expose-headers"]
        other = client.get(PROJECTS, headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        # A cache must not reuse the response to one origin, or to none, for another.
        for response in (allowed, other, client.get(PROJECTS)):
            assert "origin" in response.headers["vary"].split(", ")
        headers = {"origin": "https://desk.example", "access-control-request-method": "POST"}
        preflight = client.options(PROJECTS, headers=headers)
        assert preflight.status_code == 204
        assert "POST" in preflight.headers["access-control-allow-methods"]


def test_public_host_is_allowed_and_others_are_not(start: Start) -> None:
    service = start(public_url="https://spawn.example", allowed_hosts=("other.example",))
    with service.client() as client:
        for host, status in (("spawn.example", 200), ("other.example:8", 200), ("evil", 421)):
            response = client.get(PROJECTS, headers={"host": host})
            assert response.status_code == status
