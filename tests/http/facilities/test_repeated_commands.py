"""Attempts of one command that are under way at once have one effect and one response."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND
from tests.http.facilities.ledger_client import TERMS

from spawn.domain.change import IdempotencyKey
from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.http.protocol import idempotency
from spawn.entrypoints.http.protocol.idempotency import find_stored_response
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.settings import Settings

ATTEMPTS = 8
DRAW = {"kind": "draw", "value_date": "2020-06-30", "amount": "600000.00"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    # A commit to a file takes time, in which the other attempts begin.
    url = f"duckdb:///{tmp_path}/attempts.duckdb"
    settings = Settings(storage_url=url, rate_limit=0, auth="off")
    async with open_composition(settings) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # ours is ASGI
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000"
        ) as client:
            yield client


@pytest.fixture
async def facility(client: httpx.AsyncClient) -> str:
    project = (await client.post("/v1/ops/projects", json=WIND)).headers["location"]
    return str((await client.post(f"{project}/facilities", json=TERMS)).headers["location"])


async def send_at_once(
    client: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
) -> list[httpx.Response]:
    headers = {"if-match": "*", "idempotency-key": path}
    posts = (client.post(path, json=body, headers=headers) for _ in range(ATTEMPTS))
    return await asyncio.gather(*posts)


async def test_attempts_of_a_command_at_once_have_one_effect_and_one_response(
    client: httpx.AsyncClient, facility: str
) -> None:
    # A second draw would exceed the commitment, and its external key is taken.
    draw = {**DRAW, "external_key": "DR-1"}
    for path, body in (
        (f"{facility}/entries", draw),
        (f"{facility}/entries/1/reversal", {"reason": "mistaken"}),
    ):
        responses = await send_at_once(client, path, body)
        assert {one.status_code for one in responses} == {201}
        assert len({one.content for one in responses}) == 1
    entries = (await client.get(f"{facility}/entries")).json()["items"]
    assert [entry["kind"] for entry in entries] == ["draw", "reversal"]


async def test_an_amendment_that_meets_its_first_attempt_has_the_first_response(
    client: httpx.AsyncClient, facility: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await client.post("/v1/ops/portfolios", json={"name": "Core", "currency_code": "EUR"})
    for path, body in (
        (facility, {"commitment": "1500000.00"}),
        (created.headers["location"], {"name": "Core and more"}),
    ):
        etag = (await client.get(path)).headers["etag"]
        headers = {"if-match": etag, "idempotency-key": path}
        first = await client.patch(path, json=body, headers=headers)
        assert first.status_code == 200
        looks: list[str] = []

        async def look_too_early(
            request: StrictRequest, key: IdempotencyKey | None, looks: list[str] = looks
        ) -> Response | None:
            # As if the first attempt had committed between this one's two looks.
            looks.append(request.method)
            return None if len(looks) == 1 else await find_stored_response(request, key)

        with monkeypatch.context() as patched:
            patched.setattr(idempotency, "find_stored_response", look_too_early)
            again = await client.patch(path, json=body, headers=headers)
        assert (again.status_code, again.content) == (200, first.content)
        assert len(looks) == 2
