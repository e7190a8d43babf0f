"""Two services beside each other, of which one has rows that a caller must not notice."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from tests.http.access.conftest import Headers, bearer

from spawn.application.access.api_clients import create_api_client
from spawn.domain.principal import LOCAL_PRINCIPAL, WHOLE_STORE_SCOPES, RowScope, Scope
from spawn.entrypoints.composition import Composition, open_composition
from spawn.entrypoints.settings import Settings

Json = dict[str, Any]
VARYING_HEADERS = {"date", "x-request-id"}
"""Headers that differ between any two responses; the ids of requests are in bodies too."""

TRACEPARENT = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "accept-encoding": "identity",
}
_EPOCH = r"\b\d{13}\b"


class SteppedClock:
    """A clock that a test sets, so that commits of others do not shift the times of a caller."""

    time = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def jump_s(self) -> float:
        return 0.0


class LaneIds:
    """Ids in two sequences, so that ids of others do not shift those of a caller."""

    lane = 1
    counters: dict[int, "count[int]"]

    def new(self) -> str:
        number = next(self.counters[self.lane])
        value = (0x019CA_0000000 << 80) | (7 << 76) | (self.lane << 64) | (2 << 62) | number
        return str(UUID(int=value))


class World(msgspec.Struct):
    """One of the two services, and what the caller with the row scope received from it."""

    composition: Composition
    client: httpx.AsyncClient
    mine: Headers
    all_rows: Headers
    has_hidden: bool
    hidden: dict[str, str]
    ids: dict[str, str] = msgspec.field(default_factory=dict)
    log: list[tuple[str, Any]] = msgspec.field(default_factory=list)
    paths: Json = {}

    @property
    def time(self) -> datetime:
        """The time of the next request, before its step."""
        return SteppedClock.time

    def step(self) -> None:
        """Set the clock for the next action of both services."""
        SteppedClock.time += timedelta(seconds=10)

    async def hide(self, act: Callable[["World"], Awaitable[object]]) -> None:
        """Let others act, where there are others."""
        self.step()
        if self.has_hidden:
            LaneIds.lane = 2
            await act(self)
            LaneIds.lane = 1
        self.step()

    async def send(self, method: str, address: str, **options: Any) -> httpx.Response:
        """Send a request of the caller, and record its response."""
        self.step()
        address = address.format_map({**self.ids, **self.hidden})
        headers = {**TRACEPARENT, **self.mine, **options.pop("headers", {})}
        response = await self.client.request(method, address, headers=headers, **options)
        self.record(f"{method} {address}", response)
        return response

    def record(self, what: str, response: httpx.Response) -> None:
        identity = self.composition.dependencies.control.status().store_id
        fields = sorted(
            (name, re.sub(_EPOCH, "EPOCH", value))
            for name, value in response.headers.items()
            if name not in VARYING_HEADERS
        )
        body = response.content
        if response.headers.get("content-type", "").startswith("application/vnd.apache.parquet"):
            body = b""
        body = body.replace(identity.encode(), b"STORE")
        body = re.sub(_EPOCH.encode(), b"EPOCH", body)
        # The clock stands still during an action, and each commit takes the next µs. An import or a
        # job commits as often as there is time; the acts of others have seconds of their own.
        body = re.sub(rb"\.\d{6}Z", b"Z", body)
        if what.endswith("/monitoring/ready"):
            # A slow machine alone may make a service degraded, and load is no secret.
            body = body.replace(b'"degraded"', b'"ok"')
            fields = [(name, value) for name, value in fields if name != "content-length"]
        self.log.append((what, (response.status_code, fields, body)))

    async def issue_key(self, name: str, rows: RowScope | None) -> None:
        """Give the caller a key with a row scope, or the others one of all rows."""
        headers, scopes = self.all_rows, frozenset(Scope)
        if rows is not None:
            headers, scopes = self.mine, scopes - WHOLE_STORE_SCOPES
        dependencies = self.composition.dependencies
        issued = await create_api_client(
            dependencies, LOCAL_PRINCIPAL, name, scopes, environment="test", row_scope=rows
        )
        headers.update(bearer(issued.text))
        # The day of a key's first use is recorded beside the request: before any that counts.
        position = await dependencies.reads.position()
        await self.client.get("/monitoring/ready", headers=headers)
        assert await dependencies.reads.wait_for_change(position, 60) != position

    async def as_others(self, method: str, address: str, **options: Any) -> httpx.Response:
        """Send a request of a caller who sees every row."""
        headers = {**self.all_rows, **options.pop("headers", {})}
        response = await self.client.request(method, address, headers=headers, **options)
        assert response.status_code < 300, response.text
        return response


@asynccontextmanager
async def open_world(
    storage_url: str,
    hidden: dict[str, str] | None,
    monkeypatch: pytest.MonkeyPatch,
    rows: RowScope | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """Open a service; without the ids of hidden rows it is the one that has them."""
    SteppedClock.time = datetime(2026, 3, 1, 12, tzinfo=UTC)
    LaneIds.counters, LaneIds.lane = {1: count(1), 2: count(1)}, 1
    monkeypatch.setattr("spawn.entrypoints.composition.SystemClock", SteppedClock)
    monkeypatch.setattr("spawn.entrypoints.composition.Uuid7Ids", LaneIds)
    settings = Settings(storage_url=storage_url, rate_limit=0.0, quality_interval_s=0.0, **options)
    async with open_composition(settings) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # an ASGI application
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as client:
            world = World(composition, client, {}, {}, hidden is None, hidden or {})
            world.paths = (await client.get("/openapi.json")).json()["paths"]
            await world.issue_key("everything", None)
            if rows is not None:
                await world.issue_key("iberia", rows)
            yield world


def project(name: str, country: str, **fields: Any) -> Json:
    amount = fields.pop("amount", "100")
    return {
        "project_name": name,
        "total_amount": amount,
        "currency_code": "EUR",
        "country_code": country,
        "x_desk": "iberia",
        **fields,
    }


async def until(is_true: Callable[[], bool]) -> None:
    """Let other tasks run until something is true."""
    for _ in range(1_000_000):
        if is_true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not become true")


async def end_job(world: World, job_id: str, headers: Headers) -> httpx.Response:
    """Return the response to a read of a job that has ended."""
    for _ in range(10_000):
        response = await world.client.get(f"/v1/jobs/{job_id}", headers={**TRACEPARENT, **headers})
        if response.json()["status"] not in {"queued", "running"}:
            return response
        await asyncio.sleep(0.002)
    raise AssertionError("the job did not end")


def typical_body(operation: Json) -> Any:
    content = operation.get("requestBody", {}).get("content", {})
    examples = content.get("application/json", {}).get("examples", {})
    return next(iter(examples.values()))["value"] if examples else None
