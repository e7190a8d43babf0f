"""The application with access control and a policy of approvals, and clients with keys."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.http.conftest import WIND
from tests.loopback import free_port

from spawn.application.access.api_clients import create_api_client
from spawn.application.dependencies import Dependencies
from spawn.domain.principal import LOCAL_PRINCIPAL, RowScope, Scope
from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings

POLICY: dict[str, Any] = {
    "rules": [
        {"command": "amendProject", "amount_from": "200000000"},
        {"command": "transitionProject", "kinds": ["MANDATED"]},
        {"command": "approveSchemaCandidate"},
    ]
}
APPROVALS = "/v1/ops/approvals"
AGREED = {"decision": "approve", "reason": "agreed in the committee"}
LARGE = {"total_amount": "250000000.00"}


class Desk(msgspec.Struct):
    """An application, its ports, and a maker and a checker."""

    client: httpx.AsyncClient
    dependencies: Dependencies
    headers: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)

    async def add(self, name: str, *scopes: Scope, row_scope: RowScope | None = None) -> None:
        """Create a client with scopes."""
        issued = await create_api_client(
            self.dependencies,
            LOCAL_PRINCIPAL,
            name,
            frozenset(scopes),
            environment="test",
            row_scope=row_scope,
        )
        self.headers[name] = {"Authorization": f"Bearer {issued.text}"}

    async def send(
        self, who: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(
            method, path, json=body, headers={**self.headers[who], **fields}
        )

    async def create(self) -> str:
        """Create a project and return its path."""
        created = await self.send("maker", "POST", "/v1/ops/projects", WIND)
        return created.headers["location"]

    async def read(self, path: str) -> dict[str, Any]:
        response = await self.send("maker", "GET", path)
        document: dict[str, Any] = response.json()
        return document

    async def amend(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Amend a project at its version."""
        tag = (await self.send("maker", "GET", path)).headers["etag"]
        return await self.send("maker", "PATCH", path, body or LARGE, if_match=tag, **headers)

    async def request(self, path: str) -> str:
        """Request an approval of a large amount, and return its path."""
        response = await self.amend(path)
        assert response.status_code == 202, response.text
        return response.headers["location"]

    async def decide(
        self, who: str, approval: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        return await self.send(who, "POST", f"{approval}/decision", body or AGREED, **headers)


OpenDesk = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_desk(tmp_path: Path) -> OpenDesk:
    """Open applications with given settings and a policy; None is none."""

    @asynccontextmanager
    async def open_it(
        policy: dict[str, Any] | None = POLICY, **settings: Any
    ) -> AsyncIterator[Desk]:
        if policy is not None:
            file = tmp_path / "approvals.json"
            file.write_text(json.dumps(policy))
            settings["approvals_file"] = str(file)
        options = {"storage_url": "memory://", "rate_limit": 0.0, **settings}
        opened_settings = Settings(port=free_port(), **options)
        async with open_composition(opened_settings) as opened:
            transport = httpx.ASGITransport(opened.app)  # type: ignore[arg-type]
            base_url = opened_settings.base_url
            async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
                yield Desk(client, opened.dependencies)

    return open_it


@pytest.fixture
async def desk(open_desk: OpenDesk) -> AsyncIterator[Desk]:
    async with open_desk() as opened:
        await add_clients(opened)
        yield opened


async def add_clients(desk: Desk) -> None:
    """Add the maker and the checker."""
    await desk.add("maker", Scope.PROJECTS_READ, Scope.PROJECTS_WRITE)
    await desk.add("checker", Scope.APPROVALS_DECIDE)
