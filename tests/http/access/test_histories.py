"""Who did what is in the history of everything that the store has."""

from typing import Any

from tests.http.access.conftest import Guarded, Headers

from spawn.domain.aggregates import AGGREGATE_TYPES

HISTORY = "/v1/admin/history"
MAPPING = {"columns": [{"attribute": "project_name", "column": "name"}]}


async def read_actors(guarded: Guarded, headers: Headers, kind: str, key: str) -> list[str]:
    query = {"kind": kind, "id": key}
    response = await guarded.client.get(HISTORY, params=query, headers=headers)
    items: list[dict[str, Any]] = response.json()["items"]
    return [item["actor"] for item in items]


async def test_history_names_actors_of_mappings_measurements_and_jobs(guarded: Guarded) -> None:
    admin = await guarded.key("admin")
    writer = await guarded.key("projects:read", "projects:write", "analysis")
    client = guarded.client
    put = await client.put("/v1/ops/import-mappings/plants", json=MAPPING, headers=writer)
    assert put.status_code == 201, put.text
    assert await read_actors(guarded, admin, "import_mapping", "plants") == ["key:client-1"]
    run = await client.post("/v1/governance/quality/runs", headers=writer)
    assert run.status_code < 300, run.text
    assert "key:client-1" in await read_actors(guarded, admin, "quality_report", "projects")
    started = await client.post(
        "/v1/ops/imports?mapping=plants",
        content=b"name\nA\n",
        headers={**writer, "Content-Type": "text/csv"},
    )
    job_id = started.json()["job_id"]
    await client.delete(f"/v1/jobs/{job_id}", headers=writer)
    assert (await read_actors(guarded, admin, "job", job_id))[0] == "key:client-1"


async def test_history_is_paged_and_shows_no_document(guarded: Guarded) -> None:
    admin = await guarded.key("admin")
    client = guarded.client
    body = {"name": "desk", "scopes": ["analysis"]}
    await client.post("/v1/admin/clients", json=body, headers=admin)
    await client.delete("/v1/admin/clients/desk", headers=admin)
    versions, address = [], f"{HISTORY}?kind=api_client&id=desk&limit=1"
    while address:
        response = await client.get(address, headers=admin)
        versions += response.json()["items"]
        assert b"sha256" not in response.content
        link = response.links.get("next")
        address = link["url"] if link else ""
    assert [one["version"] for one in versions] == [1, 2]
    fields = {"version", "type", "actor", "recorded_at", "changed", "reason"}
    assert set(versions[0]) == fields


async def test_history_of_nothing_is_an_error_that_names_the_parameter(guarded: Guarded) -> None:
    admin = await guarded.key("admin")
    for kind in AGGREGATE_TYPES:
        query = {"kind": kind, "id": "nothing"}
        response = await guarded.client.get(HISTORY, params=query, headers=admin)
        assert response.status_code == 404, kind
    for query, pointer in (({"kind": "job"}, "/id"), ({"kind": "x", "id": "y"}, "/kind")):
        response = await guarded.client.get(HISTORY, params=query, headers=admin)
        assert response.json()["errors"][0]["pointer"] == pointer
