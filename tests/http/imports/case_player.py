"""Cases of the field, played over HTTP: their mappings, their files, what came of them."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from tests.shared_material import find_shared

MAPPINGS = "/v1/ops/import-mappings"
IMPORTS = "/v1/ops/imports"
POLL_S = 0.002
"""Pause between two reads of a job: with none, reading takes more of the processor than the job."""


def load_case(kind: str, prefix: str) -> dict[str, Any]:
    """Return a case; skip the test without the material."""
    folder = find_shared("cases", kind)
    if folder is None:
        pytest.skip("needs the shared material: set SPAWN_SHARED")
    (path,) = folder.glob(f"{prefix}-*.json")
    case: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return case


def read_shape(name: str) -> bytes:
    """Return a file in the shape of a register; skip the test without the material."""
    path = find_shared("cases", "shapes", name)
    if path is None:
        pytest.skip("needs the shared material: set SPAWN_SHARED")
    return path.read_bytes()


async def put_mapping(client: httpx.AsyncClient, name: str, document: dict[str, Any]) -> None:
    """Create a mapping."""
    response = await client.put(f"{MAPPINGS}/{name}", json=document)
    assert response.status_code in {200, 201}, response.text


async def run_import(
    client: httpx.AsyncClient,
    content: bytes | str,
    media_type: str = "text/csv",
    **query: str,
) -> dict[str, Any]:
    """Import a file and return the result, with the error of its job if that failed."""
    headers = {"Content-Type": media_type}
    response = await client.post(IMPORTS, params=query, content=content, headers=headers)
    assert response.status_code == 202, response.text
    while True:
        job = (await client.get(response.headers["Location"])).json()
        if job["status"] not in {"queued", "running"}:
            break
        await asyncio.sleep(POLL_S)  # The job runs on this very loop.
    result: dict[str, Any] = (await client.get(job["result_url"])).json()
    return {**result, "error": job["error"]}


async def play(
    client: httpx.AsyncClient, case: dict[str, Any], **changes: Any
) -> list[dict[str, Any]]:
    """Put the mappings of a case, with `changes`, import its files, and return the results."""
    results = []
    for step in case["steps"]:
        path = step["path"]
        if step["method"] == "PUT":
            await put_mapping(client, path.rpartition("/")[2], {**step["body"], **changes})
        elif step["method"] == "POST" and path.startswith(IMPORTS):
            body = step.get("body", "")
            content = base64.b64decode(step["body_base64"]) if "body_base64" in step else body
            media_type = step["headers"]["Content-Type"]
            query = dict(part.split("=") for part in path.partition("?")[2].split("&") if part)
            results.append(await run_import(client, content, media_type, **query))
    return results


async def list_projects(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Return all projects, in order of their creation."""
    items: list[dict[str, Any]] = (await client.get("/v1/ops/projects")).json()["items"]
    return items


async def list_quarantine(
    client: httpx.AsyncClient, result: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the quarantined rows of an import."""
    response = await client.get(result["quarantine_url"])
    return [json.loads(line) for line in response.text.splitlines()]
