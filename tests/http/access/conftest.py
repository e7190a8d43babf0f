"""The application in this process with access control, and keys with given scopes."""

import re
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
from tests.loopback import free_port

from spawn.application.access.api_clients import create_api_client
from spawn.application.dependencies import Dependencies
from spawn.domain.principal import LOCAL_PRINCIPAL, Scope
from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings

METHODS = ("get", "post", "put", "patch", "delete")
Headers = dict[str, str]


class Guarded(msgspec.Struct):
    """A client without credentials of an application with access control."""

    client: httpx.AsyncClient
    dependencies: Dependencies
    headers: dict[frozenset[Scope], Headers] = msgspec.field(default_factory=dict)

    async def key(self, *scopes: str) -> Headers:
        """Return the header with the key of a client with these scopes."""
        wanted = frozenset(map(Scope, scopes))
        if wanted not in self.headers:
            issued = await create_api_client(
                self.dependencies,
                LOCAL_PRINCIPAL,
                f"client-{len(self.headers)}",
                wanted,
                environment="test",
            )
            self.headers[wanted] = bearer(issued.text)
        return self.headers[wanted]


def bearer(text: str) -> Headers:
    """Return the header with a credential."""
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    """An application with access control over a memory store."""
    settings = Settings(port=free_port(), storage_url="memory://", rate_limit=0.0)
    async with open_composition(settings) as opened:
        transport = httpx.ASGITransport(opened.app)  # type: ignore[arg-type]  # an ASGI application
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as client:
            yield Guarded(client, opened.dependencies)


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
