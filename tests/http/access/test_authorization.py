"""Every operation of the OpenAPI document needs one of its scopes, and names them."""

import httpx
from tests.http.access.conftest import list_operations

from spawn.domain.principal import Scope

PUBLIC_OPERATIONS = {
    "/.well-known/api-catalog",
    "/asyncapi.json",
    "/context.jsonld",
    "/docs",
    "/monitoring/live",
    "/monitoring/ready",
    "/openapi.json",
    "/problems",
    "/problems/x",
    "/product",
}


async def test_only_listed_operations_are_public(guarded: httpx.AsyncClient) -> None:
    operations = await list_operations(guarded)
    public = {address for _, address, scopes in operations if not scopes}
    assert public == PUBLIC_OPERATIONS
    used = {scope for *_, scopes in operations for scope in scopes}
    assert used == {scope.value for scope in Scope}


async def test_operation_needs_one_of_its_scopes(guarded: httpx.AsyncClient) -> None:
    for method, address, scopes in await list_operations(guarded):
        if not scopes:
            continue
        place = f"{method} {address}"
        without = await guarded.request(method, address)
        assert without.status_code == 401, place
        assert without.json()["code"] == "unauthenticated", place
        assert without.headers["www-authenticate"] == 'Bearer realm="spawn"', place
        wrong = await guarded.request(method, address, headers=bearer("wrong"))
        assert wrong.status_code == 401, place
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"], place
        others = ",".join(sorted({scope.value for scope in Scope} - scopes))
        forbidden = await guarded.request(method, address, headers=bearer(others))
        assert forbidden.status_code == 403, place
        assert forbidden.json()["code"] == "forbidden", place
        challenge = forbidden.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge, place
        assert any(f'scope="{scope}"' in challenge for scope in scopes), place
        assert any(scope in forbidden.json()["detail"] for scope in scopes), place


async def test_each_scope_of_an_operation_permits_it(guarded: httpx.AsyncClient) -> None:
    for method, address, scopes in await list_operations(guarded):
        if address.endswith("/stream"):
            continue  # it has no end
        for scope in scopes:
            permitted = await guarded.request(method, address, headers=bearer(scope))
            assert permitted.status_code not in {401, 403}, (method, address, permitted.text)


async def test_cached_project_needs_the_scope(guarded: httpx.AsyncClient) -> None:
    fields = {"project_name": "Sierra Wind", "total_amount": "1", "currency_code": "EUR"}
    writer, reader, other = (bearer(name) for name in ("projects:write", "projects:read", "admin"))
    created = await guarded.post("/v1/ops/projects", json=fields, headers=writer)
    for address in (created.headers["location"], "/v1/ops/projects", "/ops/projects"):
        for _ in range(2):  # the second response comes from a cache
            assert (await guarded.get(address, headers=reader)).status_code == 200
        assert (await guarded.get(address)).status_code == 401
        assert (await guarded.get(address, headers=other)).status_code == 403
        assert (await guarded.head(address)).status_code == 401


async def test_actor_of_the_history_is_the_principal(guarded: httpx.AsyncClient) -> None:
    fields = {"project_name": "Sierra Wind", "total_amount": "1", "currency_code": "EUR"}
    headers = bearer("projects:read,projects:write")
    created = await guarded.post("/v1/ops/projects", json=fields, headers=headers)
    history = await guarded.get(f"{created.headers['location']}/history", headers=headers)
    assert [item["actor"] for item in history.json()["items"]] == [
        "key:projects:read,projects:write"
    ]


def bearer(names: str) -> dict[str, str]:
    """Return the header of a caller with these scopes."""
    return {"Authorization": f"Bearer {names}"}
