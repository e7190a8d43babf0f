"""Rules that hold for every operation of the OpenAPI document."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.http.conftest import Service

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
