"""The audit log over HTTP: what is in it, who may read it, and what is not in it."""

from typing import Any

import httpx
import pytest
from tests.http.access.conftest import Guarded, bearer, list_operations

from spawn.domain.access.key_text import format_key
from spawn.domain.principal import Scope
from spawn.domain.text import REDACTED

AUDIT = "/v1/admin/audit"
Json = dict[str, Any]


async def read(guarded: Guarded, query: str = "") -> list[Json]:
    admin = await guarded.key("admin")
    response = await guarded.client.get(f"{AUDIT}{query}", headers=admin)
    assert response.status_code == 200, response.text
    items: list[Json] = response.json()["items"]
    return items


async def test_acts_and_denials_name_who_and_what(guarded: Guarded) -> None:
    admin, reader = await guarded.key("admin"), await guarded.key("projects:read")
    exporter, client = await guarded.key("data:export"), guarded.client
    body = {"name": "desk", "scopes": ["projects:read"], "row_scope": {"sector": ["wind"]}}
    await client.post("/v1/admin/clients", json=body, headers=admin)
    await client.delete("/v1/admin/clients/desk/keys/1", headers=admin)
    await client.put("/v1/admin/log-level", json={"level": "INFO"}, headers=admin)
    await client.get("/v1/data/projects.ndjson?sector=wind", headers=exporter)
    await client.get("/v1/admin/clients", headers=reader)
    await client.get("/v1/ops/projects", headers={"x-request-id": "mine"})
    schema = await guarded.key("schema:admin")
    candidate = "/v1/governance/schemas/project_schema/candidates/9"
    await client.post(f"{candidate}/approve", json={"reason": "agreed"}, headers=schema)
    entries = [
        (e["kind"], e["actor"], e["operation"], e["status"], e["detail"])
        for e in (await read(guarded))[::-1]
    ]
    created = "client desk with projects:read of rows {'sector': ('wind',)}"
    assert entries == [
        (
            *("administration", "key:client-0", "createApiClient", 201),
            f"POST /v1/admin/clients {created}",
        ),
        (
            *("administration", "key:client-0", "revokeApiKey", 200),
            "DELETE /v1/admin/clients/desk/keys/1",
        ),
        (
            *("administration", "key:client-0", "setLogLevel", 200),
            "PUT /v1/admin/log-level level INFO",
        ),
        (
            *("export", "key:client-2", "readDataset", 200),
            "GET /v1/data/projects.ndjson?sector=wind",
        ),
        ("denial", "key:client-1", "listApiClients", 403, "GET /v1/admin/clients"),
        ("denial", "anonymous", "listProjects", 401, "GET /v1/ops/projects"),
        (
            *("administration", "key:client-3", "approveSchemaCandidate", 404),
            f"POST {candidate}/approve",
        ),
    ]
    (anonymous,) = await read(guarded, "?kind=denial&actor=anonymous")
    assert (anonymous["request_id"], anonymous["address"]) == ("mine", "127.0.0.1")
    assert anonymous["count"] == 1


async def test_every_operation_of_administration_and_export_is_audited(guarded: Guarded) -> None:
    everything = await guarded.key(*Scope)
    await guarded.key("admin")
    closed = {"admin", "schema:admin"}
    for method, address, scopes in await list_operations(guarded.client):
        if not scopes or address.endswith("/stream"):
            continue
        response = await guarded.client.request(method, address, headers=everything)
        entries = await read(guarded, "?limit=1")
        is_act = scopes <= closed or scopes == {"data:export"} or address.endswith("/decision")
        is_last = bool(entries) and entries[0]["detail"].startswith(f"{method.upper()} {address}")
        assert (is_last and entries[0]["status"] == response.status_code) == is_act, address


async def test_log_is_read_by_filters_and_pages(guarded: Guarded) -> None:
    admin, other = await guarded.key("admin"), await guarded.key("events:read")
    for address in ("/v1/ops/projects", "/v1/admin/tables", "/lineage"):
        await guarded.client.get(address, headers=other)
    assert len(await read(guarded, "?kind=denial&operation=listTables")) == 1
    assert await read(guarded, "?actor=key:nobody") == []
    assert await read(guarded, "?kind=denial&until=2020-01-01") == []
    assert len(await read(guarded, "?kind=denial&since=2020-01-01")) == 3
    details: list[str] = []
    address = f"{AUDIT}?kind=denial&limit=2"
    while address:
        response = await guarded.client.get(address, headers=admin)
        details += [item["detail"] for item in response.json()["items"]]
        link = response.links.get("next")
        address = link["url"] if link else ""
    assert details == ["GET /lineage", "GET /v1/admin/tables", "GET /v1/ops/projects"]
    for query in ("?kind=x", "?since=yesterday", "?limit=0", "?unknown=1"):
        response = await guarded.client.get(f"{AUDIT}{query}", headers=admin)
        assert response.status_code == 422, query
    cursor = (await guarded.client.get(f"{AUDIT}?limit=1", headers=admin)).json()["next"]
    mixed = await guarded.client.get(f"{AUDIT}?kind=export&after={cursor}", headers=admin)
    assert mixed.status_code == 400


async def test_credentials_in_an_address_are_not_recorded(guarded: Guarded) -> None:
    key = format_key("live", "desk", bytes(range(32)))
    parts = ("eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiJhbmEifQ", "c2lnbmF0dXJl")
    token = ".".join(parts)
    admin = await guarded.key("admin")
    for secret in (key, token, key[:60]):
        await guarded.client.get(f"/v1/admin/clients/{secret}", headers=admin)
        await guarded.client.get(f"/v1/ops/projects?key={secret}", headers=bearer(secret))
    text = str(await read(guarded))
    assert f"GET /v1/admin/clients/{REDACTED}" in text
    for secret in (key.split("_")[3], token.split(".")[1], key[:60]):
        assert secret not in text


@pytest.mark.parametrize("status", [401, 403])
async def test_flood_of_denials_is_counted(guarded: Guarded, status: int) -> None:
    headers = {} if status == 401 else await guarded.key("events:read")
    responses: list[httpx.Response] = [
        await guarded.client.get("/v1/ops/projects", headers=headers) for _ in range(50)
    ]
    assert {response.status_code for response in responses} == {status}
    assert len(await read(guarded, "?kind=denial")) == 1
