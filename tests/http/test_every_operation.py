"""The rules that hold for every operation, asked of each that the service describes."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.http.conftest import Service

METHODS = {"get", "post", "put", "patch", "delete"}
CHANGING = {"date", "x-request-id", "etag", "content-length"}
"""Headers that may differ between two answers to one question; some answers tell the time."""

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def described(service: Service) -> dict[str, Any]:
    with service.client() as client:
        paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
    return paths


def operations(described: dict[str, Any], *methods: str) -> Iterator[Operation]:
    """Address (with ids that name nothing), method and description of each."""
    for path, item in described.items():
        if path.endswith("/stream"):
            continue  # it does not end
        for method in METHODS.intersection(item):
            if not methods or method in methods:
                yield re.sub(r"\{[^}]+\}", "x", path), method, item[method]


def body_of(operation: dict[str, Any]) -> dict[str, str]:
    """The content type that an operation reads, as a header."""
    content = operation.get("requestBody", {}).get("content", {})
    return {"content-type": next(iter(content))} if content else {}


def is_problem(answer: httpx.Response, *statuses: int) -> bool:
    """Whether the answer is a problem of one of these; an id that names nothing is 404."""
    told = answer.headers["content-type"] == "application/problem+json"
    return told and answer.status_code in {*statuses, 404}


def test_allow_lists_the_methods_that_are_described(
    client: httpx.Client, described: dict[str, Any]
) -> None:
    for path, item in described.items():
        methods = {method.upper() for method in METHODS.intersection(item)}
        expected = methods | {"OPTIONS"} | ({"HEAD"} if "get" in item else set())
        address = re.sub(r"\{[^}]+\}", "x", path)
        refused = client.request("TRACE", address)
        assert is_problem(refused, 405), path
        for answer in (client.options(address), refused):
            assert set(answer.headers["allow"].split(", ")) == expected, path


def test_head_is_get_without_its_body(client: httpx.Client, described: dict[str, Any]) -> None:
    for address, _, _ in operations(described, "get"):
        got, head = client.get(address), client.head(address)
        assert head.status_code == got.status_code, address
        assert head.content == b"", address
        kept = [set(answer.headers) - CHANGING for answer in (got, head)]
        assert kept[0] == kept[1], address


def test_parameter_that_nobody_knows_is_refused(
    client: httpx.Client, described: dict[str, Any]
) -> None:
    for address, method, operation in operations(described):
        for query in ("zzz=1", "zzz=1&zzz=2"):
            answer = client.request(
                method, f"{address}?{query}", headers=body_of(operation), content=b"{}"
            )
            assert is_problem(answer, 422), (method, address)


def test_media_type_that_is_not_there_is_406(
    client: httpx.Client, described: dict[str, Any]
) -> None:
    for address, _, _ in operations(described, "get"):
        answer = client.get(address, headers={"accept": "image/png"})
        assert is_problem(answer, 406), address


def test_body_is_read_strictly(client: httpx.Client, described: dict[str, Any]) -> None:
    for address, method, operation in operations(described, "post", "put", "patch"):
        kind = body_of(operation)
        if not kind:
            continue
        other = client.request(
            method, address, content=b"PK", headers={"content-type": "application/zip"}
        )
        assert is_problem(other, 415), (method, address)
        if not kind["content-type"].endswith("json") or "ndjson" in kind["content-type"]:
            continue  # a file, judged row by row later
        for body, status in ((b"{", 400), (b'{"a":1,"a":1}', 400), (b'{"zzz":1}', 422)):
            answer = client.request(method, address, content=body, headers=kind)
            assert is_problem(answer, status, 428), (method, address, body)
