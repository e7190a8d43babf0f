"""Each mapping of the page on registers reads the file below it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.http.imports.case_player import run_import

from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "imports.md"
MEDIA_TYPES = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "json": "application/json",
    "xml": "application/xml",
}
EXAMPLES = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?```json\n(.*?)```\n+```(\w+)\n(.*?)```",
    PAGE.read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)
QUARANTINED = {"Title lines, decimal commas, dates with a time": {"missing": 1}}
"""The reasons of the rows that the page says are quarantined."""


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_composition(
        Settings(storage_url="memory://", rate_limit=0, auth="off")
    ) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # ours is ASGI
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client


@pytest.mark.parametrize(
    ("title", "mapping", "kind", "content"), EXAMPLES, ids=[title for title, *_ in EXAMPLES]
)
async def test_the_example_of_a_register_is_imported(
    client: httpx.AsyncClient, title: str, mapping: str, kind: str, content: str
) -> None:
    response = await client.put(
        "/v1/ops/import-mappings/page",
        content=mapping.encode(),
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 201, response.text
    result = await run_import(client, content.encode(), MEDIA_TYPES[kind], mapping="page")
    assert result["error"] is None
    assert result["accepted"] > 0
    assert result["by_reason"] == QUARANTINED.get(title, {})
