"""Two services that differ only in rows outside a row scope respond byte for byte alike.

The first has hidden projects, imports, jobs and events, written before and between the requests of
a caller with a row scope; the second has none of them. Every operation of the OpenAPI document is
requested: one without a case here fails.
"""

import asyncio
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.http.access.conftest import METHODS
from tests.http.access.financing_requests import (
    list_financing_operations,
    read_financing,
    send_financing,
)
from tests.http.access.worlds import (
    TRACEPARENT,
    Json,
    World,
    end_job,
    open_world,
    project,
    typical_body,
    until,
)

from spawn.application.events.event_streams import EventStreams
from spawn.domain.principal import WHOLE_STORE_SCOPES, RowScope

ROWS = RowScope.of({"country_code": ["ESP", "PRT"], "x_desk": ["iberia"]})
POLICY = {"rules": [{"command": "createFacility", "amount_from": "1000000000"}]}
FACILITIES = "/v1/ops/projects/{project_id}/facilities"
HIDDEN_REFERENCE = {"source": "erp", "id": "H-1"}


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
    hidden |= await send_financing(world, post, {"project_id": hidden["hidden_id"]})
    await hide_portfolio(world)
    await ask_hidden(world)
    await post("GET", "/v1/data/projects.ndjson")


async def hide_portfolio(world: World) -> None:
    """Create a portfolio that holds a hidden facility."""
    post, hidden = world.as_others, world.hidden
    portfolio = await post("POST", "/v1/ops/portfolios", json={"name": "P", "currency_code": "EUR"})
    hidden["portfolio_id"] = portfolio.json()["portfolio_id"]
    share = {"facility_id": hidden["facility_id"], "share": "50", "since": "2026-01-01"}
    address = f"/v1/ops/portfolios/{hidden['portfolio_id']}/holdings"
    hidden["holding_id"] = (await post("POST", address, json=share)).json()["holding_id"]


def large_facility(world: World) -> Json:
    """Return the body of a facility that needs an approval."""
    return {**typical_body(world.paths[FACILITIES]["post"]), "commitment": "2000000000.00"}


async def ask_hidden(world: World) -> None:
    """Ask for an approval of a command on a hidden project."""
    address = FACILITIES.format(project_id=world.hidden["hidden_id"])
    asked = await world.as_others("POST", address, json=large_facility(world))
    assert asked.status_code == 202, asked.text
    world.hidden["hidden_approval"] = asked.json()["approval_id"]


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
    page: Json = {"events": [None]}
    while page["events"]:
        page = (await send("GET", f"/v1/events?limit=3{after}")).json()
        await world.hide(create_hidden)
        after = f"&after={page['next']}"
    newest = (await send("GET", "/v1/events?after=newest")).json()
    assert newest["events"] == []
    await world.hide(create_hidden)
    assert (await send("GET", f"/v1/events?after={newest['next']}")).json() == newest
    for query in (
        *("subject=projects/{hidden_id}", "subject=projects/{alpha}", "after=1.1", "after=nothing"),
        *("type=spawn.project.amended.v1", "type=spawn.schema.adopted.v1"),
        *("type=spawn.quality.breached.v1", "type=spawn.lineage.started.v1"),
        *("type=spawn.facility.created.v1", "type=spawn.entry.recorded.v1"),
        "subject=facilities/{facility_id}",
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


async def use_financing(world: World) -> None:
    """Use the financing of a project in scope, and of a hidden one as of one that is not there."""
    rates = {**typical_body(world.paths[FX_PATH]["post"]), "on": "2026-02-27"}
    await world.as_others("POST", FX_PATH, json=rates)
    mine = await send_financing(world, world.send, {"project_id": world.ids["beta"]})
    others = {**world.hidden, "project_id": world.hidden["hidden_id"], "number": "1"}
    await world.hide(amend_hidden)
    await send_financing(world, world.send, others, statuses={404})
    await read_financing(world, mine, others)
    await read_financing(world, others, mine, statuses={404})
    # A test on a case of a hidden project.
    address = f"/v1/ops/covenants/{mine['covenant_id']}/tests"
    body = {"tested_on": "2028-06-30", "figures": "CASE", "case_id": others["case_id"]}
    assert (await world.send("POST", address, json=body)).status_code == 422
    for path, query in READ_PORTFOLIOS.items():
        address = path.format(**world.hidden, name="2026-02-27.ecb")
        response = await world.send("GET", address + query)
        assert response.status_code == (200 if "fx-" in path else 403), response.text
    await world.send("GET", f"{FX_PATH}/2026-02-27.none")
    for key, status in ((world.ids["beta"], 200), (world.hidden["hidden_id"], 404)):
        response = await world.send("GET", f"/pages/projects/{key}")
        assert response.status_code == status, response.text
    await read_events(world)
    for name in FINANCE_DATASETS:
        response = await world.send("GET", f"/v1/data/{name}.ndjson")
        assert response.status_code == (403 if name in {"portfolios", "holdings"} else 200)
        await world.hide(create_hidden)


FX_PATH = "/v1/ops/fx-rate-sets"
READ_PORTFOLIOS = {
    "/v1/ops/portfolios": "",
    "/pages/portfolios": "",
    "/pages/portfolios/{portfolio_id}": "",
    "/v1/ops/portfolios/{portfolio_id}": "",
    "/v1/ops/portfolios/{portfolio_id}/exposure": "?by=country",
    "/v1/ops/portfolios/{portfolio_id}/concentration": "?by=country",
    "/v1/ops/portfolios/{portfolio_id}/forecast": "",
    "/v1/ops/portfolios/{portfolio_id}/holdings": "",
    "/v1/ops/portfolios/{portfolio_id}/holdings/{holding_id}": "",
    FX_PATH: "",
    f"{FX_PATH}/{{name}}": "",
    "/v1/ops/fx-conversion": "?amount=1&from=EUR&to=USD&source=ecb&on=2026-02-28",
}
"""Reads of portfolios and exchange rates, with their query strings."""

FINANCE_DATASETS = (
    *("facilities", "entries", "cases", "covenants", "covenant_tests", "reserve_accounts"),
    *("portfolios", "holdings", "fx_rates"),
)


def list_visited(world: World) -> set[str]:
    """Return the ids of the operations that the functions above request."""
    portfolios = {world.paths[path]["get"]["operationId"] for path in READ_PORTFOLIOS}
    return VISITED | portfolios | list_financing_operations(world)


async def use_approvals(world: World) -> None:
    """Ask for approvals of own commands, among those of others, and withdraw one."""
    send, path = world.send, "/v1/ops/approvals"
    asked = []
    for name in ("beta", "gamma"):
        await world.hide(ask_hidden)
        headers = {"idempotency-key": f"large-{name}"}
        for _ in range(2):
            address = FACILITIES.format(project_id=world.ids[name])
            response = await send("POST", address, json=large_facility(world), headers=headers)
            assert response.status_code == 202, response.text
        asked.append(response.json()["approval_id"])
    for query in ("", "?state=pending", "?maker=key:everything", "?limit=1", "?state=stale"):
        page = (await send("GET", path + query)).json()
        assert {one["approval_id"] for one in page["items"]} <= set(asked)
        while page["next"]:
            await world.hide(ask_hidden)
            page = (await send("GET", f"{path}{query}&after={page['next']}")).json()
    withdrawal = {"decision": "withdraw", "reason": "a mistake"}
    for key, status in ((asked[0], 200), ("{hidden_approval}", 404)):
        assert (await send("GET", f"{path}/{key}")).status_code == status
        response = await send("POST", f"{path}/{key}/decision", json=withdrawal)
        assert response.status_code == status, response.text
    agreed = {"decision": "approve", "reason": "mine"}
    assert (await send("POST", f"{path}/{asked[1]}/decision", json=agreed)).status_code == 403
    # The row of a command leaves the scope.
    world.step()
    address, headers = f"/v1/ops/projects/{world.ids['gamma']}", {"if-match": "*"}
    await world.as_others("PATCH", address, json={"x_desk": "nordics"}, headers=headers)
    assert (await send("GET", f"{path}/{asked[1]}")).status_code == 404
    assert len((await send("GET", path)).json()["items"]) == 1


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
    "getProjectPage",
    *("listMilestones", "addMilestone", "decideMilestone"),
    *("listApprovals", "getApproval", "decideApproval"),
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
    missing, visited = [], list_visited(world)
    for path, item in world.paths.items():
        for method in METHODS:
            operation = item.get(method)
            if operation is None or operation["operationId"] in visited:
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


async def play(world: World, *, has_calculators: bool) -> list[tuple[str, Any]]:
    """Send every request of the caller, with the acts of others in between."""
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
    await use_financing(world)
    await use_approvals(world)
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

    policy = tmp_path / "approvals.json"
    policy.write_text(json.dumps(POLICY))
    options: Json = {"approvals_file": str(policy)}
    async with open_world(storage_url("with"), None, monkeypatch, ROWS, **options) as world:
        with_hidden = await play(world, has_calculators=engine == "memory")
        hidden = world.hidden
    async with open_world(storage_url("without"), hidden, monkeypatch, ROWS, **options) as world:
        without = await play(world, has_calculators=engine == "memory")
    assert len(with_hidden) == len(without) > 200
    for (what, response), (_, other) in zip(with_hidden, without, strict=True):
        assert response == other, what
    text = json.dumps([str(entry) for entry in without])
    assert "Hidden" not in text
