"""Rules that hold for every operation of the OpenAPI document."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service

METHODS = {"get", "post", "put", "patch", "delete"}
VARYING_HEADERS = {"date", "x-request-id", "etag", "content-length"}
"""Headers that may differ between two responses; some responses contain the time."""

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def paths_of_document(service: Service) -> dict[str, Any]:
    with service.client() as client:
        paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
    return paths


def operations(paths_of_document: dict[str, Any], *methods: str) -> Iterator[Operation]:
    """Yield the address (with ids of no resource), the method and the operation."""
    for path, item in paths_of_document.items():
        if path.endswith("/stream"):
            continue  # it has no end
        for method in METHODS.intersection(item):
            if not methods or method in methods:
                yield re.sub(r"\{[^}]+\}", "x", path), method, item[method]


def content_type_of(operation: dict[str, Any]) -> dict[str, str]:
    """Return the content type that an operation reads, as a header."""
    content = operation.get("requestBody", {}).get("content", {})
    return {"content-type": next(iter(content))} if content else {}


def is_problem(response: httpx.Response, *statuses: int) -> bool:
    """Whether the response is a problem of one of the statuses, or 404 for an unknown id."""
    is_problem_type = response.headers["content-type"] == "application/problem+json"
    return is_problem_type and response.status_code in {*statuses, 404}


def test_allow_lists_the_methods_of_the_document(
    client: httpx.Client, paths_of_document: dict[str, Any]
) -> None:
    for path, item in paths_of_document.items():
        methods = {method.upper() for method in METHODS.intersection(item)}
        expected = methods | {"OPTIONS"} | ({"HEAD"} if "get" in item else set())
        address = re.sub(r"\{[^}]+\}", "x", path)
        rejected = client.request("TRACE", address)
        assert is_problem(rejected, 405), path
        for response in (client.options(address), rejected):
            assert set(response.headers["allow"].split(", ")) == expected, path


def test_head_is_get_without_its_body(
    client: httpx.Client, paths_of_document: dict[str, Any]
) -> None:
    for address, _, _ in operations(paths_of_document, "get"):
        if address == "/v1/admin/audit":
            continue  # each request adds an entry to the response to the next
        get, head = client.get(address), client.head(address)
        assert head.status_code == get.status_code, address
        assert head.content == b"", address
        names = [set(response.headers) - VARYING_HEADERS for response in (get, head)]
        assert names[0] == names[1], address


def test_unknown_parameter_is_rejected(
    client: httpx.Client, paths_of_document: dict[str, Any]
) -> None:
    for address, method, operation in operations(paths_of_document):
        for query in ("zzz=1", "zzz=1&zzz=2"):
            response = client.request(
                method, f"{address}?{query}", headers=content_type_of(operation), content=b"{}"
            )
            assert is_problem(response, 422), (method, address)


def test_unavailable_media_type_is_406(
    client: httpx.Client, paths_of_document: dict[str, Any]
) -> None:
    for address, _, _ in operations(paths_of_document, "get"):
        response = client.get(address, headers={"accept": "image/png"})
        assert is_problem(response, 406), address


def test_body_is_read_strictly(client: httpx.Client, paths_of_document: dict[str, Any]) -> None:
    for address, method, operation in operations(paths_of_document, "post", "put", "patch"):
        headers = content_type_of(operation)
        if not headers:
            continue
        other = client.request(
            method, address, content=b"PK", headers={"content-type": "application/zip"}
        )
        assert is_problem(other, 415), (method, address)
        if not headers["content-type"].endswith("json") or "ndjson" in headers["content-type"]:
            continue  # a file, whose rows are validated later
        for body, status in ((b"{", 400), (b'{"a":1,"a":1}', 400), (b'{"zzz":1}', 422)):
            response = client.request(method, address, content=body, headers=headers)
            assert is_problem(response, status, 428), (method, address, body)


def test_a_command_that_takes_no_body_rejects_one(
    client: httpx.Client, paths_of_document: dict[str, Any]
) -> None:
    """One that is ignored may be another request under the same idempotency key."""
    commands = [
        (address, method)
        for address, method, operation in operations(paths_of_document)
        if method != "get" and "requestBody" not in operation
    ]
    assert ("/v1/ops/portfolios/x/holdings/x", "delete") in commands
    assert len(commands) >= 10
    for address, method in commands:
        for body in (b"{}", iter([b"", b"x"])):
            response = client.request(method, address, content=body)
            assert response.status_code == 422, (method, address)
            errors = [(one["pointer"], one["code"]) for one in response.json()["errors"]]
            assert errors == [("", "unexpected_body")], (method, address)
        for empty in (b"", iter([b""])):
            response = client.request(method, address, content=empty)
            assert "unexpected_body" not in response.text, (method, address)


def test_no_operation_ignores_a_precondition(
    client: httpx.Client, paths_of_document: dict[str, Any]
) -> None:
    """A change never ignores one; a read honours If-Match, and may ignore what saves a body."""
    conditions = {
        "if-match": '"1-1-1"',
        "if-none-match": "*",
        "if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 GMT",
    }
    for address, method, operation in operations(paths_of_document):
        declared = {
            name.lower().replace("-", "")
            for one in operation.get("parameters", [])
            for name in (one.get("name") or one["$ref"].rpartition("/")[2],)
        }
        for name, value in conditions.items():
            if name.replace("-", "") in declared:
                continue
            headers = {**content_type_of(operation), name: value}
            response = client.request(method, address, headers=headers, content=b"{}")
            code = response.json()["code"] if response.status_code == 400 else ""
            is_rejected = code == "unsupported_precondition"
            is_ignorable = method == "get" and name != "if-match"
            assert is_rejected is not is_ignorable, (method, address, name)
            if is_rejected:
                assert is_problem(response, 400), (method, address, name)


def test_precondition_of_a_cached_read_is_rejected_alike(client: httpx.Client) -> None:
    created = client.post("/v1/ops/projects", json=WIND)
    address = created.headers["location"]
    assert client.get(address).status_code == client.get(address).status_code == 200
    response = client.get(address, headers={"if-match": '"9-1-1"'})
    assert response.json()["code"] == "unsupported_precondition"


def test_precondition_of_a_registration_is_rejected_and_nothing_written(
    client: httpx.Client,
) -> None:
    address = "/v1/governance/consumers/conditional"
    body = {"contact": "mailto:desk@bank.example", "schema_version": 0}
    response = client.put(address, json=body, headers={"if-none-match": "*"})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("This operation does not evaluate If-None-Match")
    assert client.get(address).status_code == 404
