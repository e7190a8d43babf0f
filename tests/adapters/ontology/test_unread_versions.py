"""A version that the registry does not give is not passed over, whatever its server responds."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.adapters.ontology.conftest import ManualTime, ScriptedServer, stream_body
from tests.adapters.ontology.test_caching_registry import create_registry
from tests.application.conftest import open_engine_dependencies
from tests.application.fake_registry import POLICY
from tests.application.schemas.test_refresh import (
    AA,
    BB,
    CC,
    STEWARD,
    active,
    attributes,
    begin_again,
)

from spawn.application.schemas.activation import RefreshVerdict
from spawn.application.schemas.adoptions.steward_decisions import reject_schema
from spawn.application.schemas.refresh import refresh_schema

ID = "project_schema"
COLUMNS = {1: [AA], 2: [BB], 3: [CC]}


def respond(path: str, published: int) -> bytes:
    """Return the list or a document of a registry with so many versions."""
    *_, last = path.split("/")
    if last == "versions":
        return json.dumps({"versions": [{"version": n + 1} for n in range(published)]}).encode()
    number = int(last) if last.isdecimal() else published
    return json.dumps({"id": ID, "version": number, "columns": COLUMNS[number]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "location"),
    [
        (401, b"", None),
        (403, b"no", None),
        (404, b"{}", None),
        (408, b"", None),
        (410, b"", None),
        (429, b"", None),
        (302, b"", "https://login.test/"),
        (302, b"", "http://ontology.test:99999/"),
        (200, b"<!doctype html>", None),
        (200, b"", None),
        (200, b'{"message": "maintenance"}', None),
        (200, b" " * (1 << 20) + b"{}", None),
        (204, b"", None),
        (500, b"", None),
    ],
)
async def test_no_response_makes_a_rename_be_passed_over(
    server: ScriptedServer,
    time: ManualTime,
    tmp_path: Path,
    status: int,
    body: bytes,
    location: str | None,
) -> None:
    registry = create_registry(server, time, None)
    published, is_faulty = 1, False

    def serve(request: httpx.Request) -> httpx.Response:
        if is_faulty and request.url.path.endswith("/versions/2"):
            headers = {} if location is None else {"Location": location}
            return httpx.Response(status, content=stream_body(body), headers=headers)
        content = respond(request.url.path, published)
        return httpx.Response(200, content=stream_body(content))

    server.respond = serve
    async with open_engine_dependencies("memory", registry, tmp_path) as dependencies:
        project = await begin_again(dependencies, aa="PRECIOUS")
        published, is_faulty = 3, True
        result = await refresh_schema(dependencies, POLICY)
        assert (result.verdict, await active(dependencies)) == (RefreshVerdict.FAILED, 1)
        assert result.detail.startswith("version 2: it is listed, but was not read: ")
        is_faulty = False
        time.elapsed_s += 60
        await refresh_schema(dependencies, POLICY)
        assert await active(dependencies) == 2
        assert await attributes(dependencies, project) == {"bb": "PRECIOUS"}
    await registry.close()


async def test_rejected_versions_that_fail_keep_no_other_version_back(
    server: ScriptedServer, time: ManualTime, tmp_path: Path
) -> None:
    """One request each in a refresh, which the circuit breaker does not count."""
    registry = create_registry(server, time, None)
    columns = {n: [AA, {"name": f"c{n}", "type": "date"}][:n] for n in range(1, 5)}
    published, failing_numbers = 1, {2, 3}

    def serve(request: httpx.Request) -> httpx.Response:
        *_, last = request.url.path.split("/")
        if last.isdecimal() and int(last) in failing_numbers:
            return httpx.Response(503)
        number = int(last) if last.isdecimal() else published
        document: dict[str, Any] = {"id": ID, "version": number, "columns": columns[number]}
        if last == "versions":
            document = {"versions": [*range(1, published + 1)]}
        return httpx.Response(200, content=stream_body(json.dumps(document).encode()))

    server.respond = serve
    async with open_engine_dependencies("memory", registry, tmp_path) as dependencies:
        await begin_again(dependencies, aa="A")
        for published in (2, 3):
            await refresh_schema(dependencies, POLICY)
            await reject_schema(dependencies, POLICY, STEWARD, version=published, reason="no")
            time.elapsed_s += 60
        published = 4
        await refresh_schema(dependencies, POLICY, should_retry=False)
        assert await active(dependencies) == 4
        published = 3
        failing_numbers = {2, 3, 4}  # the list has the active version no more
        for _ in range(4):
            server.requests.clear()
            await refresh_schema(dependencies, POLICY, should_retry=False)
            paths = [request.url.path for request in server.requests]
            assert sum(path.endswith("/4") for path in paths) == 1
        status = registry.status()
        assert (status.breaker, status.consecutive_failures, status.last_error) == (
            "closed",
            0,
            None,
        )
    await registry.close()
