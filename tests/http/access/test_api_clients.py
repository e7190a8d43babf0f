"""API clients over HTTP: creation, rotation, revocation, last use, secrets."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from tests.http.access.conftest import Guarded, bearer

from spawn.domain.access.key_text import parse_key

CLIENTS = "/v1/admin/clients"


async def test_created_client_may_do_what_its_scopes_permit(guarded: Guarded) -> None:
    admin = await guarded.key("admin")
    body = {"name": "pricing-desk", "scopes": ["projects:read", "analysis"]}
    created = await guarded.client.post(CLIENTS, json=body, headers=admin)
    assert created.status_code == 201
    assert created.headers["location"] == f"{CLIENTS}/pricing-desk"
    assert created.headers["cache-control"] == "no-store"
    assert created.json()["client"]["actor"] == "key:pricing-desk"
    key = created.json()["key"]
    assert key.startswith("spn_live_pricing-desk_")
    assert (await guarded.client.get("/v1/ops/projects", headers=bearer(key))).status_code == 200
    assert (await guarded.client.get(CLIENTS, headers=bearer(key))).status_code == 403
    again = await guarded.client.post(CLIENTS, json=body, headers=admin)
    assert (again.status_code, again.json()["code"]) == (409, "duplicate")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "Desk", "scopes": ["admin"]}, "/name"),
        ({"name": "", "scopes": ["admin"]}, "/name"),
        ({"scopes": ["admin"]}, "/name"),
        ({"name": "desk", "scopes": []}, "/scopes"),
        ({"name": "desk", "scopes": ["everything"]}, "/scopes/0"),
        (
            {"name": "desk", "scopes": ["admin"], "expires_at": "2020-01-01T00:00:00Z"},
            "/expires_at",
        ),
        ({"name": "desk", "scopes": ["admin"], "expires_at": "tomorrow"}, "/expires_at"),
        ({"name": "desk", "scopes": ["admin"], "secret": "mine"}, "/secret"),
    ],
)
async def test_invalid_client_is_rejected_by_field(
    guarded: Guarded, body: dict[str, object], pointer: str
) -> None:
    response = await guarded.client.post(CLIENTS, json=body, headers=await guarded.key("admin"))
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    listed = await guarded.client.get(CLIENTS, headers=await guarded.key("admin"))
    assert len(listed.json()["items"]) == 1


async def test_rotation_keeps_the_earlier_key_until_it_is_revoked(guarded: Guarded) -> None:
    admin, client = await guarded.key("admin"), guarded.client
    body = {"name": "desk", "scopes": ["projects:read"]}
    first = (await client.post(CLIENTS, json=body, headers=admin)).json()["key"]
    rotated = await client.post(f"{CLIENTS}/desk/keys", json={}, headers=admin)
    assert (rotated.status_code, rotated.json()["number"]) == (201, 2)
    second = rotated.json()["key"]
    third = await client.post(f"{CLIENTS}/desk/keys", json={}, headers=admin)
    assert (third.status_code, third.json()["code"]) == (409, "conflict")
    for key in (first, second):
        assert (await client.get("/v1/ops/projects", headers=bearer(key))).status_code == 200
    revoked = await client.delete(f"{CLIENTS}/desk/keys/1", headers=admin)
    assert [key["is_live"] for key in revoked.json()["keys"]] == [False, True]
    assert (await client.get("/v1/ops/projects", headers=bearer(first))).status_code == 401
    assert (await client.get("/v1/ops/projects", headers=bearer(second))).status_code == 200
    ended = await client.delete(f"{CLIENTS}/desk", headers=admin)
    assert not any(key["is_live"] for key in ended.json()["keys"])
    assert (await client.get("/v1/ops/projects", headers=bearer(second))).status_code == 401


@pytest.mark.parametrize("path", ["/desk", "/desk/keys/1", "/client-0/keys/9", "/client-0/keys/x"])
async def test_unknown_client_or_key_is_404(guarded: Guarded, path: str) -> None:
    response = await guarded.client.delete(CLIENTS + path, headers=await guarded.key("admin"))
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_last_use_is_recorded_once_a_day(guarded: Guarded) -> None:
    admin, reader = await guarded.key("admin"), await guarded.key("projects:read")
    before = await guarded.dependencies.reads.get("api_client", "client-1")
    assert before.state.keys[0].last_used_on is None
    for _ in range(5):
        await guarded.client.get("/v1/ops/projects", headers=reader)
        await asyncio.sleep(0)
    after = await guarded.dependencies.reads.get("api_client", "client-1")
    assert after.version == before.version + 1
    client = (await guarded.client.get(f"{CLIENTS}/client-1", headers=admin)).json()
    assert client["keys"][0]["last_used_on"] == datetime.now(UTC).date().isoformat()


async def test_no_response_and_no_state_has_a_secret(guarded: Guarded) -> None:
    admin = await guarded.key("admin")
    body = {"name": "desk", "scopes": ["projects:read"]}
    key = (await guarded.client.post(CLIENTS, json=body, headers=admin)).json()["key"]
    parsed = parse_key(key)
    assert parsed is not None
    secret = key.split("_")[3]
    for address in (CLIENTS, f"{CLIENTS}/desk", "/v1/admin/tables"):
        text = (await guarded.client.get(address, headers=admin)).text
        assert secret not in text
        assert parsed.secret_sha256 not in text
    stored = await guarded.dependencies.reads.get("api_client", "desk")
    assert secret not in json.dumps(str(stored))


async def test_clients_are_listed_page_by_page(guarded: Guarded) -> None:
    admin = await guarded.key("admin")
    await guarded.key("analysis")
    first = (await guarded.client.get(f"{CLIENTS}?limit=1", headers=admin)).json()
    assert [client["name"] for client in first["items"]] == ["client-0"]
    second = await guarded.client.get(
        CLIENTS, params={"limit": "1", "after": first["next"]}, headers=admin
    )
    assert [client["name"] for client in second.json()["items"]] == ["client-1"]
