"""Two services that differ only in rows outside a row scope respond byte for byte alike.

The first has hidden projects, imports, jobs and events, written before and between the requests of
a caller with a row scope; the second has none of them. Every operation of the OpenAPI document is
requested: one without a case here fails.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from tests.http.access.conftest import METHODS, Headers, bearer

from spawn.application.access.api_clients import create_api_client
from spawn.application.events.event_streams import EventStreams
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
ROWS = RowScope.of({"country_code": ["ESP", "PRT"], "x_desk": ["iberia"]})
HIDDEN_REFERENCE = {"source": "erp", "id": "H-1"}
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

    def step(self) -> None:
        """Set the clock for the next action of both services."""
        SteppedClock.time += timedelta(seconds=10)

    async def hide(self, act: Callable[["World"], Any]) -> None:
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
        # The clock stands still during an action, and each commit takes the next µs. An import or a
        # job commits as often as there is time; the acts of others have seconds of their own.
        body = re.sub(rb"\.\d{6}Z", b"Z", body)
        if what.endswith("/monitoring/ready"):
            # A slow machine alone may make a service degraded, and load is no secret.
            body = body.replace(b'"degraded"', b'"ok"')
            fields = [(name, value) for name, value in fields if name != "content-length"]
        self.log.append((what, (response.status_code, fields, body)))

    async def as_others(self, method: str, address: str, **options: Any) -> httpx.Response:
        """Send a request of a caller who sees every row."""
        headers = {**self.all_rows, **options.pop("headers", {})}
        response = await self.client.request(method, address, headers=headers, **options)
        assert response.status_code < 300, response.text
        return response


@asynccontextmanager
async def open_world(
    storage_url: str, hidden: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    SteppedClock.time = datetime(2026, 3, 1, 12, tzinfo=UTC)
    LaneIds.counters, LaneIds.lane = {1: count(1), 2: count(1)}, 1
    monkeypatch.setattr("spawn.entrypoints.composition.SystemClock", SteppedClock)
    monkeypatch.setattr("spawn.entrypoints.composition.Uuid7Ids", LaneIds)
    settings = Settings(storage_url=storage_url, rate_limit=0.0, quality_interval_s=0.0)
    async with open_composition(settings) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # an ASGI application
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as client:
            mine: Headers = {}
            all_rows: Headers = {}
            for headers, name, scopes, rows in (
                (mine, "iberia", frozenset(Scope) - WHOLE_STORE_SCOPES, ROWS),
                (all_rows, "everything", frozenset(Scope), None),
            ):
                issued = await create_api_client(
                    composition.dependencies,
                    LOCAL_PRINCIPAL,
                    name,
                    scopes,
                    environment="test",
                    row_scope=rows,
                )
                headers.update(bearer(issued.text))
            # The day of a key's first use is recorded beside the request: before any that counts.
            reads = composition.dependencies.reads
            for headers in (mine, all_rows):
                position = await reads.position()
                await client.get("/monitoring/ready", headers=headers)
                assert await reads.wait_for_change(position, 60) != position
            yield World(composition, client, mine, all_rows, hidden is None, hidden or {})


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


def _has_sent_more(streams: EventStreams, count: int) -> bool:
    return streams.sent_count > count


async def write_hidden(world: World) -> None:
    """Write hidden rows of every kind that a caller might notice."""
    post, hidden = world.as_others, world.hidden
    fields = {"external_ref": HIDDEN_REFERENCE, "sector": "wind"}
    first = await post("POST", "/v1/ops/projects", json=project("Hidden", "FRA", **fields))
    hidden["hidden_id"] = first.json()["project_id"]
    hidden["hidden_etag"] = first.headers["etag"]
    # Of the country, but of another desk.
    odd: Json = {"x_size": {"of": ["a kind"]}, "x_rank": "no number", "dscr": 9.5}
    other = project("Other desk", "ESP", x_desk="nordics", amount="999999", **odd)
    await post("POST", "/v1/ops/projects", json=other)
    await amend_hidden(world)
    columns = [{"attribute": n, "column": n} for n in ("project_name", "total_amount")]
    await post("PUT", "/v1/ops/import-mappings/secret", json={"columns": columns})
    file = b'{"project_name":"Imported","total_amount":"1","country_code":"FRA"}\n{"bad":1}\n'
    kind = {"content-type": "application/x-ndjson"}
    started = await post("POST", "/v1/ops/imports", content=file, headers=kind)
    hidden["hidden_import"] = started.json()["job_id"]
    await end_job(world, hidden["hidden_import"], world.all_rows)
    await post("POST", "/v1/governance/quality/runs")
    await post("GET", "/v1/data/projects.ndjson")


async def amend_hidden(world: World) -> None:
    address = f"/v1/ops/projects/{world.hidden['hidden_id']}"
    for name in ("Hidden more", "Hidden again"):
        body, any_version = {"description": name}, {"if-match": "*"}
        await world.as_others("PATCH", address, json=body, headers=any_version)


async def create_hidden(world: World) -> None:
    """Create hidden projects between two requests of the caller."""
    for number in range(3):
        body = project(f"Hidden {number}", "FRA", amount=str(number))
        await world.as_others("POST", "/v1/ops/projects", json=body)


async def create_visible(world: World) -> None:
    """Create the caller's own projects, among hidden ones."""
    for number, (name, country) in enumerate(
        [("Alpha", "ESP"), ("Beta", "PRT"), ("Gamma", "ESP"), ("Delta", "PRT")]
    ):
        await world.hide(create_hidden)
        body = project(name, country, amount=str(50 + number), sector="wind")
        headers = {"idempotency-key": f"key-{number}"}
        created = await world.send("POST", "/v1/ops/projects", json=body, headers=headers)
        assert created.status_code == 201, created.text
        world.ids[name.lower()] = created.json()["project_id"]
        world.ids[f"{name.lower()}_etag"] = created.headers["etag"]


async def send_commands(world: World) -> None:
    send, etag = world.send, {"if-match": world.ids["alpha_etag"]}
    alpha, hidden = "/v1/ops/projects/{alpha}", "/v1/ops/projects/{hidden_id}"
    # Repeated, with the key of another body, and outside the scope.
    body = project("Alpha", "ESP", amount="50", sector="wind")
    key = {"idempotency-key": "key-0"}
    assert (await send("POST", "/v1/ops/projects", json=body, headers=key)).status_code == 201
    await send("POST", "/v1/ops/projects", json={**body, "dscr": 1}, headers=key)
    for outside in (project("Out", "FRA"), project("Out", "ESP", x_desk="nordics")):
        assert (await send("POST", "/v1/ops/projects", json=outside)).status_code == 403
    # A reference that a hidden project has, and one that nobody has.
    changes: list[Json] = []
    for reference in (HIDDEN_REFERENCE, {"source": "erp", "id": "free"}):
        body = project("Referring", "ESP", external_ref=reference)
        assert (await send("POST", "/v1/ops/projects", json=body)).status_code == 403
        changes.append({"external_ref": reference})
    for change in (*changes, {"country_code": "FRA"}, {"x_desk": "nordics"}, {"x_desk": None}):
        assert (await send("PATCH", alpha, json=change, headers=etag)).status_code == 403
    amended = await send("PATCH", alpha, json={"country_code": "PRT"}, headers=etag)
    assert amended.status_code == 200, amended.text
    world.ids["alpha_etag"] = amended.headers["etag"]
    await world.hide(amend_hidden)
    # Of a hidden project: as of one that does not exist, whatever the precondition.
    transition = {"to": "MANDATED", "reason": "signed"}
    for tag in (world.hidden["hidden_etag"], '"9-9-9"', "*"):
        for method, address, change in (
            ("PATCH", hidden, {"description": "mine"}),
            ("POST", f"{hidden}/transitions", transition),
        ):
            response = await send(method, address, json=change, headers={"if-match": tag})
            assert response.status_code == 404, response.text
    await send("PATCH", hidden, json={"description": "mine"})
    await send("PATCH", hidden, json={"unknown": 1}, headers={"if-match": "*"})
    etag = {"if-match": world.ids["alpha_etag"]}
    moved = await send("POST", f"{alpha}/transitions", json=transition, headers=etag)
    assert moved.status_code == 200, moved.text
    await send("POST", f"{alpha}/transitions", json=transition, headers={"if-match": "*"})
    await send_milestones(world)


async def send_milestones(world: World) -> None:
    """Add and decide milestones of a project in scope, and of a hidden one."""
    milestone = {"milestone_id": "permit", "title": "Permit", "draw_stop": True}
    decision = {"milestone_id": "permit", "decision": "MET", "on": "2026-02-01"}
    for name, status in (("{alpha}", 200), ("{hidden_id}", 404)):
        path = f"/v1/ops/projects/{name}/milestones"
        for address, body in ((path, milestone), (f"{path}/decisions", decision)):
            headers = {"if-match": "*"}
            response = await world.send("POST", address, json=body, headers=headers)
            assert response.status_code == status, response.text
        assert (await world.send("GET", path)).status_code == status


async def read_projects(world: World) -> None:
    send = world.send
    for query in (
        *("", "?limit=2", "?sort=-total_amount&limit=1", "?sort=project_name,-created_at&limit=3"),
        *(
            "?country_code=FRA",
            "?external_ref=erp:H-1",
            "?external_ref.id[like]=h",
            "?x_desk=nordics",
        ),
        *("?as_of=2026-03-01T12:05:00Z", "?project_name[like]=hid", "?sort=-updated_at&limit=2"),
        # Conditions that the value of a hidden row might not survive.
        *("?x_size[gt]=5", "?x_rank[gt]=5", "?x_rank[in]=1,no%20number", "?x_size[like]=kind"),
        *("?dscr[gte]=9", "?maturity_years[exists]=false&limit=1", "?sort=-dscr&limit=3"),
        *("?project_id={hidden_id}", "?x_desk[ne]=iberia&limit=1", "?unknown=1"),
    ):
        page = await send("GET", f"/v1/ops/projects{query}")
        tag = page.headers.get("etag", '"x"')
        await send("GET", f"/v1/ops/projects{query}", headers={"if-none-match": tag})
        for _ in range(5):
            cursor = page.json().get("next")
            if cursor is None:
                break
            await world.hide(create_hidden)
            mark = "&" if query else "?"
            page = await send("GET", f"/v1/ops/projects{query}{mark}after={cursor}")
            assert page.status_code == 200
        if "limit" not in query and "sort" not in query:
            counted = await send("GET", f"/v1/ops/projects/count{query}")
            tag = counted.headers.get("etag", '"x"')
            await send("GET", f"/v1/ops/projects/count{query}", headers={"if-none-match": tag})
    for name in ("{alpha}", "{hidden_id}", "019ca000-0000-7000-8000-00000000dead"):
        for rest in (
            *("", "?fields=project_name", "?as_of=2026-03-01T12:30:00Z", "?schema_version=0"),
            *("/history", "/history?sort=-version&limit=1", "/history?version[gte]=2"),
        ):
            await send("GET", f"/v1/ops/projects/{name}{rest}")
        for tag in ("*", world.hidden["hidden_etag"], world.ids["alpha_etag"]):
            await send("GET", f"/v1/ops/projects/{name}", headers={"if-none-match": tag})
            await send("HEAD", f"/v1/ops/projects/{name}", headers={"if-none-match": tag})


async def read_events(world: World) -> None:
    send, after = world.send, ""
    for _ in range(12):
        page = (await send("GET", f"/v1/events?limit=3{after}")).json()
        await world.hide(create_hidden)
        after = f"&after={page['next']}"
    assert page["events"] == []
    newest = (await send("GET", "/v1/events?after=newest")).json()
    assert newest["events"] == []
    await world.hide(create_hidden)
    assert (await send("GET", f"/v1/events?after={newest['next']}")).json() == newest
    for query in (
        *("subject=projects/{hidden_id}", "subject=projects/{alpha}", "after=1.1", "after=nothing"),
        *("type=spawn.project.amended.v1", "type=spawn.schema.adopted.v1"),
        *("type=spawn.quality.breached.v1", "type=spawn.lineage.started.v1"),
        "after={epoch}.1.{hidden_id}",
        "after={epoch}.9.{alpha}",
        "after={epoch}.0",
        "after={epoch}.3",
    ):
        await send("GET", f"/v1/events?{query}")
    batch = {"accept": "application/cloudevents-batch+json"}
    await send("GET", "/v1/events", headers=batch)


async def follow_events(world: World) -> None:
    """Follow the stream while others write, until the key of the caller is revoked."""
    streams = world.composition.streams
    task = asyncio.create_task(
        world.client.get("/v1/events/stream", headers={**TRACEPARENT, **world.mine})
    )
    await until(lambda: streams.open_count == 1)
    sent = streams.sent_count
    for number in range(3):
        await world.hide(create_hidden)
        body = project(f"Streamed {number}", "ESP")
        await world.send("POST", "/v1/ops/projects", json=body)
        await until(partial(_has_sent_more, streams, sent))
        sent = streams.sent_count
        await world.hide(amend_hidden)
    world.step()
    await world.as_others("DELETE", "/v1/admin/clients/iberia")
    response = await task
    assert response.content.count(b"data:") == 3
    world.record("GET /v1/events/stream", response)


async def read_datasets(world: World) -> None:
    for name in ("projects", "history", "events", "quality", "imports"):
        for suffix in ("ndjson", "csv", "json"):
            await world.send("GET", f"/v1/data/{name}.{suffix}")
        await world.hide(create_hidden)
    for query in ("?sort=-total_amount", "?country_code=FRA", "?as_of=2026-03-01T12:30:00Z"):
        await world.send("GET", f"/v1/data/projects.ndjson{query}")
    await world.send("GET", "/v1/data/events.ndjson?subject=projects/{hidden_id}")
    await world.send("HEAD", "/v1/data/projects.csv")
    for dataset in ("projects.csv", "history.ndjson"):
        await world.hide(create_hidden)
        await world.send("GET", f"/v1/data/{dataset}", headers={"range": "bytes=0-99"})
        await world.hide(amend_hidden)
        await world.send("GET", f"/v1/data/{dataset}", headers={"range": "bytes=100-"})
        await world.send("HEAD", f"/v1/data/{dataset}")


async def read_schemas(world: World) -> None:
    schema = "/v1/governance/schemas/project_schema"
    for address in (
        *("/v1/governance/schemas", schema, f"{schema}/versions", f"{schema}/versions/0"),
        *(f"{schema}/versions/0/json-schema", f"{schema}/diff?from=0&to=0"),
    ):
        await world.send("GET", address)


async def run_simulation(world: World) -> None:
    body = typical_body(world.paths["/v1/analysis/simulation"]["post"])
    started = await world.send("POST", "/v1/analysis/simulation", json=body)
    job = started.json()["job_id"]
    world.record("GET job", await end_job(world, job, world.mine))
    await world.send("GET", f"/v1/analysis/simulations/{job}")
    await world.send("DELETE", f"/v1/jobs/{job}")
    for method, address in (
        ("GET", "/v1/jobs/{hidden_import}"),
        ("DELETE", "/v1/jobs/{hidden_import}"),
        ("GET", "/v1/analysis/simulations/{hidden_import}"),
    ):
        response = await world.send(method, address)
        assert response.status_code == 404


VISITED = {
    *("createProject", "amendProject", "transitionProject", "getProject", "getProjectHistory"),
    *("listProjects", "countProjects", "readEvents", "followEvents", "readDataset"),
    *("listSchemas", "getSchema", "listSchemaVersions", "getSchemaVersion"),
    *("getSchemaVersionJsonSchema", "diffSchemaVersions"),
    *("startSimulation", "getSimulation", "getJob", "cancelJob"),
    *("listMilestones", "addMilestone", "decideMilestone"),
}
"""Operations that the functions above request."""

PUBLIC = {
    *("getResourceMetadata", "getLiveness", "getReadiness", "listProblems", "getProblem"),
    *("getDocs", "getApiCatalog", "getAsyncApi", "getContext", "getContract", "getDataProduct"),
    *("getOpenApi", "getCatalog"),
}
"""Operations without rows, which are requested without parameters."""


async def request_other_operations(world: World, *, has_calculators: bool) -> None:
    """Request each operation that no function requests, with its typical body.

    One that no caller with a row scope may call is 403; calculators see no rows.
    """
    missing = []
    for path, item in world.paths.items():
        for method in METHODS:
            operation = item.get(method)
            if operation is None or operation["operationId"] in VISITED:
                continue
            is_closed = operation.get("x-row-scope") is False
            is_calculator = path.startswith("/v1/analysis/") or path == "/openapi.json"
            if is_calculator and not has_calculators:
                continue  # it takes a second, and reads nothing of the store
            if not (is_closed or is_calculator or operation["operationId"] in PUBLIC):
                missing.append(operation["operationId"])
                continue
            address = fill_ids(path)
            options: Json = {}
            body = typical_body(operation)
            if body is not None:
                options["json"] = body
            response = await world.send(method.upper(), address, **options)
            if is_closed:
                scopes = {scope for one in operation["security"] for scope in one["bearer"]}
                reason = "needs the scope" if scopes <= WHOLE_STORE_SCOPES else "whole store"
                assert response.status_code == 403, (path, response.text)
                assert reason in response.json()["detail"], (path, response.text)
            else:
                assert response.status_code in {200, 404}, (path, response.text)
    assert missing == [], "say here how a caller with a row scope requests these"


def fill_ids(path: str) -> str:
    """Return the address of something that exists in the service with hidden rows alone."""
    values = {"import_id": "{hidden_import}", "code": "not-found", "number": "1"}
    values |= {"name": "secret", "schema_id": "project_schema"}
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], "{hidden_id}"), path)


def typical_body(operation: Json) -> Any:
    content = operation.get("requestBody", {}).get("content", {})
    examples = content.get("application/json", {}).get("examples", {})
    return next(iter(examples.values()))["value"] if examples else None


async def play(world: World, *, has_calculators: bool) -> list[tuple[str, Any]]:
    """Send every request of the caller, with the acts of others in between."""
    if not world.paths:
        world.paths = (await world.client.get("/openapi.json")).json()["paths"]
    await world.hide(write_hidden)
    epoch = (await world.composition.dependencies.reads.position()).epoch
    world.ids["epoch"] = str(epoch)
    await world.send("GET", "/v1/events?after=newest")
    await world.send("GET", "/v1/data/history.ndjson")
    await create_visible(world)
    await send_commands(world)
    await read_projects(world)
    await read_events(world)
    await read_datasets(world)
    await read_schemas(world)
    await run_simulation(world)
    await request_other_operations(world, has_calculators=has_calculators)
    await follow_events(world)
    return world.log


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
async def test_rows_outside_the_scope_change_no_response(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def storage_url(name: str) -> str:
        return "memory://" if engine == "memory" else f"duckdb:///{tmp_path}/{name}/store.duckdb"

    async with open_world(storage_url("with"), None, monkeypatch) as world:
        with_hidden = await play(world, has_calculators=engine == "memory")
        hidden, paths = world.hidden, world.paths
    async with open_world(storage_url("without"), hidden, monkeypatch) as world:
        world.paths = paths
        without = await play(world, has_calculators=engine == "memory")
    assert len(with_hidden) == len(without) > 200
    for (what, response), (_, other) in zip(with_hidden, without, strict=True):
        assert response == other, what
    text = json.dumps([str(entry) for entry in without])
    assert "Hidden" not in text
