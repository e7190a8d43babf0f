"""Responses that last longer than the credentials of their request."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.http.access.conftest import Headers, bearer

from spawn.application.access.api_clients import create_api_client, revoke_api_client
from spawn.application.projects.sample_data import seed_sample_projects
from spawn.domain.principal import LOCAL_PRINCIPAL, Scope
from spawn.entrypoints.composition import Composition, open_composition
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.protocol.response import LineStreamResponse
from spawn.entrypoints.settings import Settings


class SteppedClock:
    """A clock that a test sets."""

    time = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def jump_s(self) -> float:
        return 0.0


@pytest.fixture
async def composition(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Composition]:
    SteppedClock.time = datetime(2026, 3, 1, 12, tzinfo=UTC)
    monkeypatch.setattr("spawn.entrypoints.composition.SystemClock", SteppedClock)
    settings = Settings(storage_url="memory://", rate_limit=0.0, quality_interval_s=0.0)
    async with open_composition(settings) as opened:
        yield opened


async def create_key(composition: Composition, name: str, *scopes: Scope) -> Headers:
    issued = await create_api_client(
        composition.dependencies,
        LOCAL_PRINCIPAL,
        name,
        frozenset(scopes),
        environment="test",
        expires_at=SteppedClock.time + timedelta(hours=1),
    )
    return bearer(issued.text)


@pytest.mark.parametrize("ending", ["revoked", "expired", "valid"])
async def test_export_breaks_off_when_its_key_ends(composition: Composition, ending: str) -> None:
    dependencies = composition.dependencies
    await seed_sample_projects(dependencies, LOCAL_PRINCIPAL, projects=400, seed=1)
    headers = await create_key(composition, "exporter", Scope.DATA_EXPORT)
    authorization = headers["Authorization"].encode()
    aborts: list[bool] = []
    messages: list[Any] = []
    scope: Any = {
        "type": "http",
        "method": "GET",
        "path": "/v1/data/projects.ndjson",
        "raw_path": b"/v1/data/projects.ndjson",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", authorization)],
        "client": ("127.0.0.1", 1),
        "http_version": "1.1",
        "scheme": "http",
        "spawn.abort": lambda: aborts.append(True),
    }

    async def receive() -> Any:
        return await asyncio.Future()

    async def send(message: Any) -> None:
        messages.append(message)
        if message["type"] == "http.response.body" and len(messages) == 2:
            if ending == "revoked":
                await revoke_api_client(dependencies, LOCAL_PRINCIPAL, "exporter")
            elif ending == "expired":
                SteppedClock.time += timedelta(hours=2)

    await composition.app(scope, receive, send)
    is_whole = not messages[-1].get("more_body", False)
    assert is_whole == (ending == "valid")
    assert aborts == ([] if ending == "valid" else [True])
    assert (len(messages) > 3) == (ending == "valid")


async def test_idle_stream_ends_with_its_schema_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends within a heartbeat, although no event comes."""
    is_served = True

    async def is_version_served(*_: object) -> bool:
        return is_served

    selection = "spawn.application.schemas.version_selection"
    monkeypatch.setattr(f"{selection}.is_version_served", is_version_served)
    settings = Settings(storage_url="memory://", rate_limit=0.0, auth="off")
    async with open_composition(settings, limits=HttpLimits(heartbeat_s=0.01)) as opened:
        transport = httpx.ASGITransport(opened.app)  # type: ignore[arg-type]  # an ASGI application
        url = opened.settings.base_url
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            address = "/v1/events/stream?schema_version=0"
            task = asyncio.create_task(client.get(address))
            for _ in range(10_000):
                if opened.streams.open_count:
                    break
                await asyncio.sleep(0)
            assert not task.done()
            is_served = False
            response = await asyncio.wait_for(task, 20)
        assert response.status_code == 200
        assert opened.streams.open_count == 0


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_lines_break_off_when_the_key_ends(*, is_revoked: bool) -> None:
    """Quarantined rows, warnings and vanished projects are such responses."""
    is_valid, aborts, sent = True, list[bool](), list[Any]()

    async def is_permitted() -> bool:
        return is_valid

    async def read_lines() -> AsyncGenerator[bytes]:
        nonlocal is_valid
        for number in range(4):
            is_valid = not (is_revoked and number)
            yield b"x" * 70_000

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return await asyncio.Future()

    response = LineStreamResponse(read_lines(), "application/x-ndjson", is_permitted)
    scope: Any = {"spawn.abort": lambda: aborts.append(True)}
    await response(scope, receive, send)
    assert aborts == ([True] if is_revoked else [])
    size = sum(len(message.get("body", b"")) for message in sent)
    assert size == (70_000 if is_revoked else 280_000)
    assert sent[-1].get("more_body", False) is is_revoked


@pytest.mark.parametrize("ending", ["revoked", "expired"])
async def test_stream_ends_before_its_next_event(composition: Composition, ending: str) -> None:
    reader = await create_key(composition, "reader", Scope.EVENTS_READ)
    dependencies, streams = composition.dependencies, composition.streams
    transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # an ASGI application
    url = composition.settings.base_url
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        task = asyncio.create_task(client.get("/v1/events/stream", headers=reader))
        for _ in range(10_000):
            if streams.open_count:
                break
            await asyncio.sleep(0)
        if ending == "revoked":
            await revoke_api_client(dependencies, LOCAL_PRINCIPAL, "reader")
        else:
            SteppedClock.time += timedelta(hours=2)
        await seed_sample_projects(dependencies, LOCAL_PRINCIPAL, projects=1, seed=1)
        response = await task
    assert response.status_code == 200
    assert response.content.startswith(b"retry:")
    assert b"data:" not in response.content
    assert streams.open_count == 0
