"""Each request of the page on finding projects finds what the page states."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "finding.md").read_text(encoding="utf-8")
PROJECTS = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
ROWS = re.findall(r"^\| `GET ([^`]+)` \| ?(.*?) ?\|$", PAGE, re.MULTILINE)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_composition(
        Settings(storage_url="memory://", rate_limit=0, auth="off")
    ) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # ours is ASGI
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for project in PROJECTS:
                response = await client.post("/v1/ops/projects", json=project)
                assert response.status_code == 201, response.text
            yield client


async def test_every_request_of_the_page_finds_what_it_states(client: httpx.AsyncClient) -> None:
    assert len(ROWS) >= 17
    for address, outcome in ROWS:
        path, _, query = address.partition("?")
        parameters = [part.partition("=") for part in query.split("&")]
        response = await client.get(path, params=[(name, value) for name, _, value in parameters])
        if outcome.isdigit():
            assert response.status_code == int(outcome), (address, response.text)
        elif outcome.startswith("Did you mean"):
            assert response.json()["errors"][0]["detail"].endswith(outcome), address
        else:
            names = [item["project_name"] for item in response.json()["items"]]
            assert names == [name for name in outcome.split("; ") if name], address


async def test_the_counts_and_histories_of_the_page_exist(client: httpx.AsyncClient) -> None:
    count = await client.get("/v1/ops/projects/count?sector=wind")
    assert count.text == '{"count":1}'
    item = (await client.get("/v1/ops/projects")).json()["items"][0]
    history = f"/v1/ops/projects/{item['project_id']}/history"
    newest = await client.get(history, params={"sort": "-version", "limit": "1"})
    assert [entry["version"] for entry in newest.json()["items"]] == [1]
    years = {"recorded_at[gte]": "2026-01-01", "recorded_at[lte]": "2999-12-31"}
    assert len((await client.get(history, params=years)).json()["items"]) == 1
