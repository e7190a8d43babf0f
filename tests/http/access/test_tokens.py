"""Requests with access tokens of an issuer."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
from tests.http.access.conftest import bearer
from tests.loopback import free_port

from spawn.entrypoints import composition
from spawn.entrypoints.settings import Settings

pytest.importorskip("joserfc", reason="the extra oidc is not installed")

from tests.adapters.oidc.test_token_verifier import AUDIENCE, ISSUER, RSA, Issuer, claims, sign


@pytest.fixture
def issuer(request: pytest.FixtureRequest) -> Issuer:
    """An issuer of one key; the parameter is its status, or its claims about rows."""
    issuer, parameter = Issuer([RSA]), getattr(request, "param", 200)
    if isinstance(parameter, int):
        issuer.status = parameter
    else:
        issuer.rules = msgspec.structs.replace(issuer.rules, row_claims=parameter)
    return issuer


@pytest.fixture
async def client(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that accepts tokens of an issuer."""
    monkeypatch.setattr(composition, "_open_token_verifier", lambda *_: issuer.open())
    settings = Settings(
        port=free_port(),
        storage_url="memory://",
        rate_limit=0.0,
        auth="oidc",
        oidc_issuer=ISSUER,
        oidc_audience=AUDIENCE,
        oidc_keys_url="https://issuer.example/jwks",
    )
    async with composition.open_composition(settings) as opened:
        transport = httpx.ASGITransport(opened.app)  # type: ignore[arg-type]  # an ASGI application
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as http:
            yield http


async def test_token_permits_what_its_scopes_do(client: httpx.AsyncClient) -> None:
    headers = bearer(sign(claims(scope="projects:read projects:write")))
    fields = {"project_name": "Sierra Wind", "total_amount": "1", "currency_code": "EUR"}
    created = await client.post("/v1/ops/projects", json=fields, headers=headers)
    assert created.status_code == 201
    for _ in range(2):  # the second token comes from the cache
        history = await client.get(f"{created.headers['location']}/history", headers=headers)
        assert history.json()["items"][0]["actor"] == "token:ana"
    assert (await client.get("/monitoring/metrics", headers=headers)).status_code == 403
    metadata = await client.get("/.well-known/oauth-protected-resource")
    assert metadata.json()["authorization_servers"] == [ISSUER]


@pytest.mark.parametrize("issuer", [(("country_code", "countries"),)], indirect=True)
async def test_claims_about_rows_limit_requests(client: httpx.AsyncClient) -> None:
    every = "projects:read projects:write admin metrics:read"
    all_rows = bearer(sign(claims(scope=every, countries="*")))
    for country in ("ESP", "FRA"):
        body = {"project_name": country, "total_amount": "1", "country_code": country}
        created = await client.post("/v1/ops/projects", json=body, headers=all_rows)
        assert created.status_code == 201, created.text
    for countries, names in ((["ES"], ["ESP"]), ("*", ["ESP", "FRA"]), (..., []), ([], [])):
        limited = bearer(sign(claims(scope=every, countries=countries)))
        page = (await client.get("/v1/ops/projects", headers=limited)).json()
        assert [item["project_name"] for item in page["items"]] == names
        status = (await client.get("/v1/admin/clients", headers=limited)).status_code
        assert status == (200 if countries == "*" else 403)


async def test_rejected_token_gets_its_reason(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/ops/projects", headers=bearer(sign(claims(aud="other"))))
    assert response.status_code == 401
    assert response.json()["detail"] == "The token is not accepted: it is for another audience."


@pytest.mark.parametrize("issuer", [500], indirect=True)
async def test_token_cannot_be_checked_without_the_keys_of_its_issuer(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/v1/ops/projects", headers=bearer(sign(claims())))
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response.headers["retry-after"]
    assert (await client.get("/monitoring/live")).status_code == 200
