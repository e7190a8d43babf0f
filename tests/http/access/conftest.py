"""The application in this process, with callers whose credential names their scopes."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.loopback import free_port

from spawn.domain.principal import Principal, PrincipalKind, Scope
from spawn.entrypoints import composition
from spawn.entrypoints.settings import Settings
from spawn.ports.access import UNAUTHENTICATED, Authentication

METHODS = ("get", "post", "put", "patch", "delete")


class NamedScopes:
    """An authenticator whose credentials are lists of scopes, such as `Bearer admin,analysis`."""

    async def authenticate(self, authorization: bytes | None) -> Authentication:
        if authorization is None:
            return UNAUTHENTICATED
        names = authorization.decode().removeprefix("Bearer ")
        if names == "wrong":
            rejection = "The credentials are not valid."
            return Authentication(principal=UNAUTHENTICATED.principal, rejection=rejection)
        scopes = frozenset(Scope(name) for name in names.split(","))
        principal = Principal(id=f"key:{names}", kind=PrincipalKind.KEY, scopes=scopes)
        return Authentication(principal=principal)


@pytest.fixture
async def guarded(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials of an application with access control."""
    monkeypatch.setattr(composition, "OpenAccess", NamedScopes)
    settings = Settings(port=free_port(), storage_url="memory://", rate_limit=0.0)
    async with composition.open_composition(settings) as opened:
        transport = httpx.ASGITransport(opened.app)  # type: ignore[arg-type]  # an ASGI application
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as client:
            yield client


Operation = tuple[str, str, frozenset[str]]


async def list_operations(client: httpx.AsyncClient) -> list[Operation]:
    """Return method, address (with ids of no resource) and scopes of every operation."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    return [
        (
            method,
            re.sub(r"\{[^}]+\}", "x", path),
            frozenset(scope for one in item[method]["security"] for scope in one["bearer"]),
        )
        for path, item in paths.items()
        for method in METHODS
        if method in item
    ]
