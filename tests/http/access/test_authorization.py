"""Every operation of the OpenAPI document needs one of its scopes, and names them."""

from datetime import UTC, datetime, timedelta

from tests.http.access.conftest import Guarded, Headers, bearer, list_operations

from spawn.domain.access.key_text import format_key
from spawn.domain.principal import Scope

PUBLIC_OPERATIONS = {
    "/.well-known/api-catalog",
    "/.well-known/oauth-protected-resource",
    "/asyncapi.json",
    "/context.jsonld",
    "/contract",
    "/docs",
    "/monitoring/live",
    "/monitoring/ready",
    "/openapi.json",
    "/problems",
    "/problems/x",
    "/product",
}
PROJECT = {"project_name": "Sierra Wind", "total_amount": "1", "currency_code": "EUR"}


async def test_only_listed_operations_are_public(guarded: Guarded) -> None:
    operations = await list_operations(guarded.client)
    public = {address for _, address, scopes in operations if not scopes}
    assert public == PUBLIC_OPERATIONS
    used = {scope for *_, scopes in operations for scope in scopes}
    assert used == {scope.value for scope in Scope}


async def test_operation_needs_valid_credentials_with_one_of_its_scopes(guarded: Guarded) -> None:
    wrong = await _create_wrong_credentials(guarded)
    metadata_url = f"{guarded.client.base_url}/.well-known/oauth-protected-resource"
    challenge_start = f'Bearer realm="spawn", resource_metadata="{metadata_url}"'
    for method, address, scopes in await list_operations(guarded.client):
        if not scopes:
            continue
        place = f"{method} {address}"
        without = await guarded.client.request(method, address)
        assert without.status_code == 401, place
        assert without.json()["code"] == "unauthenticated", place
        assert without.headers["www-authenticate"] == challenge_start, place
        for name, headers in wrong.items():
            rejected = await guarded.client.request(method, address, headers=headers)
            assert rejected.status_code == 401, (place, name)
            assert 'error="invalid_token"' in rejected.headers["www-authenticate"], (place, name)
        others = await guarded.key(*({scope.value for scope in Scope} - scopes))
        forbidden = await guarded.client.request(method, address, headers=others)
        assert forbidden.status_code == 403, place
        assert forbidden.json()["code"] == "forbidden", place
        challenge = forbidden.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge, place
        assert any(f'scope="{scope}"' in challenge for scope in scopes), place
        assert all(scope in forbidden.json()["detail"] for scope in scopes), place


async def _create_wrong_credentials(guarded: Guarded) -> dict[str, Headers]:
    """Return a header of each kind that no operation accepts, though each once had every scope."""
    admin = await guarded.key(*Scope)
    soon = (datetime.now(UTC) + timedelta(milliseconds=80)).isoformat()
    scopes = [scope.value for scope in Scope]
    keys = {}
    for name, expiry in (("expired", {"expires_at": soon}), ("revoked", {})):
        body = {"name": name, "scopes": scopes, **expiry}
        created = await guarded.client.post("/v1/admin/clients", json=body, headers=admin)
        keys[name] = bearer(created.json()["key"])
    await guarded.client.delete("/v1/admin/clients/revoked", headers=admin)
    deadline = datetime.fromisoformat(soon)
    while datetime.now(UTC) <= deadline:
        await guarded.client.get("/monitoring/live")
    text = keys["revoked"]["Authorization"].removeprefix("Bearer ")
    return {
        **keys,
        "of another client": bearer(format_key("test", "client-0", bytes(32))),
        "of no client": bearer(format_key("test", "nobody", bytes(32))),
        "with wrong check digits": bearer(text[:-1] + ("0" if text[-1] != "0" else "1")),
        "that is no key": bearer("eyJhbGciOiJub25lIn0.e30."),
        "of another scheme": {"Authorization": "Basic OnBhc3N3b3Jk"},
    }


async def test_rejections_are_equal_for_all_wrong_keys(guarded: Guarded) -> None:
    bodies = set()
    for name, headers in (await _create_wrong_credentials(guarded)).items():
        if name != "of another scheme":
            rejected = await guarded.client.get("/v1/ops/projects", headers=headers)
            bodies.add((rejected.json()["detail"], rejected.headers["www-authenticate"]))
    assert len(bodies) == 1


async def test_each_scope_of_an_operation_permits_it(guarded: Guarded) -> None:
    for method, address, scopes in await list_operations(guarded.client):
        if address.endswith("/stream"):
            continue  # it has no end
        for scope in scopes:
            headers = await guarded.key(scope)
            permitted = await guarded.client.request(method, address, headers=headers)
            assert permitted.status_code not in {401, 403}, (method, address, permitted.text)


async def test_metadata_of_the_resource_lists_the_scopes(guarded: Guarded) -> None:
    metadata = (await guarded.client.get("/.well-known/oauth-protected-resource")).json()
    assert metadata["resource"] == str(guarded.client.base_url)
    assert metadata["scopes_supported"] == [scope.value for scope in Scope]
    assert "authorization_servers" not in metadata


async def test_cached_project_needs_the_scope(guarded: Guarded) -> None:
    client = guarded.client
    names = ("projects:write", "projects:read", "admin")
    writer, reader, other = [await guarded.key(name) for name in names]
    created = await client.post("/v1/ops/projects", json=PROJECT, headers=writer)
    for address in (created.headers["location"], "/v1/ops/projects", "/ops/projects"):
        for _ in range(2):  # the second response comes from a cache
            assert (await client.get(address, headers=reader)).status_code == 200
        assert (await client.get(address)).status_code == 401
        assert (await client.get(address, headers=other)).status_code == 403
        assert (await client.head(address)).status_code == 401


async def test_actor_of_the_history_is_the_principal(guarded: Guarded) -> None:
    headers = await guarded.key("projects:read", "projects:write")
    created = await guarded.client.post("/v1/ops/projects", json=PROJECT, headers=headers)
    history = await guarded.client.get(f"{created.headers['location']}/history", headers=headers)
    assert [item["actor"] for item in history.json()["items"]] == ["key:client-0"]


async def test_readiness_shows_its_checks_to_a_caller_with_the_scope(guarded: Guarded) -> None:
    everybody = (await guarded.client.get("/monitoring/ready")).json()
    assert everybody["checks"] == {}
    headers = await guarded.key("metrics:read")
    assert (await guarded.client.get("/monitoring/ready", headers=headers)).json()["checks"]
