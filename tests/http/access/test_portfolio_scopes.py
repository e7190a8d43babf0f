"""Keys that are limited to what portfolios hold: two services alike, and what each rule means."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.http.access.financing_requests import read_financing, send_financing
from tests.http.access.worlds import World, open_world, project, typical_body

from spawn.domain.principal import PORTFOLIO_RULE, RowScope

PROJECTS = "/v1/ops/projects"
PORTFOLIOS = "/v1/ops/portfolios"
_OF_DEBT = {"rate", "day_count", "payment_dates", "repayment", "fees"}
DATASETS = (
    *("projects", "history", "events", "facilities", "entries", "cases", "covenants"),
    *("covenant_tests", "reserve_accounts", "portfolios", "holdings", "fx_rates"),
)


async def _create(world: World, address: str, name: str, body: Any) -> str:
    response = await world.as_others("POST", address, json=body)
    return str(response.json()[name])


async def _create_facility(world: World, project_id: str, **fields: Any) -> str:
    operation = world.paths["/v1/ops/projects/{project_id}/facilities"]["post"]
    body = {**typical_body(operation), "rate": {"fixed_rate": "0.05"}, **fields}
    if body["kind"] == "equity":
        body = {name: body[name] for name in body if name not in _OF_DEBT}
    return await _create(world, f"{PROJECTS}/{project_id}/facilities", "facility_id", body)


async def _hold(world: World, portfolio: str, since: str = "2026-01-01", **exposure: str) -> str:
    body = {"share": "1", "since": since, **exposure}
    return await _create(world, f"{PORTFOLIOS}/{portfolio}/holdings", "holding_id", body)


async def create_book(world: World) -> None:
    """Create what both services have: a portfolio that holds a facility and an equity stake."""
    ids = world.ids
    rates = typical_body(world.paths["/v1/ops/fx-rate-sets"]["post"])
    await world.as_others("POST", "/v1/ops/fx-rate-sets", json={**rates, "on": "2026-02-27"})
    for name in ("held", "equity"):
        ids[name] = await _create(world, PROJECTS, "project_id", project(name, "ESP"))
    financing = await send_financing(world, world.as_others, {"project_id": ids["held"]})
    ids |= financing
    ids["shares"] = await _create_facility(world, ids["equity"], name="Shares", kind="equity")
    terms = typical_body(world.paths[PORTFOLIOS]["post"])
    ids["portfolio_id"] = await _create(world, PORTFOLIOS, "portfolio_id", terms)
    ids["holding_id"] = await _hold(world, ids["portfolio_id"], facility_id=ids["facility_id"])
    await _hold(world, ids["portfolio_id"], project_id=ids["equity"])


async def write_hidden(world: World) -> None:
    """Write what the portfolio does not hold, beside and around what it holds."""
    hidden, ids = world.hidden, world.ids
    hidden["project"] = await _create(world, PROJECTS, "project_id", project("Hidden", "ESP"))
    hidden |= {
        f"hidden_{name}": value
        for name, value in (
            await send_financing(world, world.as_others, {"project_id": hidden["project"]})
        ).items()
    }
    # Another facility of the project of which one is held, and another one beside the equity.
    hidden["beside"] = await _create_facility(world, ids["held"], name="Beside")
    hidden["loan"] = await _create_facility(world, ids["equity"], name="Loan")
    hidden["other"] = await _create(
        world, PORTFOLIOS, "portfolio_id", {"name": "Other", "currency_code": "EUR"}
    )
    hidden["other_holding"] = await _hold(world, hidden["other"], facility_id=ids["facility_id"])
    await _hold(world, hidden["other"], facility_id=hidden["hidden_facility_id"])


async def amend_hidden(world: World) -> None:
    """Change hidden rows between two requests of the caller."""
    address, any_version = f"{PROJECTS}/{world.hidden['project']}", {"if-match": "*"}
    body = {"description": world.time.isoformat()}
    await world.as_others("PATCH", address, json=body, headers=any_version)
    await _create_facility(world, world.ids["held"], name=f"At {world.time}")
    await _hold(world, world.hidden["other"], project_id=world.hidden["project"])


async def use_portfolio(world: World) -> None:
    send, ids, hidden = world.send, world.ids, world.hidden
    for name, status in (("portfolio_id", 200), ("other", 404)):
        key = ids.get(name) or hidden[name]
        base, holding = f"{PORTFOLIOS}/{key}", ids["holding_id"]
        if status == 404:
            holding = hidden["other_holding"]
        for rest in (
            *("", "/exposure?by=country", "/exposure?by=name&on=2026-06-30", "/forecast"),
            *("/concentration?by=sector", "/holdings?limit=1", f"/holdings/{holding}"),
        ):
            response = await send("GET", base + rest)
            assert response.status_code == status, (rest, response.text)
            await world.hide(amend_hidden)
        page = await send("GET", f"/pages/portfolios/{key}")
        assert page.status_code == status, page.text
    listed = await send("GET", "/pages/portfolios")
    assert (ids["portfolio_id"] in listed.text, hidden["other"] in listed.text) == (True, False)
    page = (await send("GET", PORTFOLIOS)).json()
    assert [one["portfolio_id"] for one in page["items"]] == [ids["portfolio_id"]]
    exposure = (await send("GET", f"{PORTFOLIOS}/{ids['portfolio_id']}/exposure?by=kind")).json()
    assert exposure["holdings"] == 2
    # Nobody extends a row scope from within it.
    share = {"facility_id": hidden["beside"], "share": "1", "since": "2026-01-01"}
    for method, address, body in (
        ("POST", f"{PORTFOLIOS}/{ids['portfolio_id']}/holdings", share),
        ("PATCH", f"{PORTFOLIOS}/{ids['portfolio_id']}", {"name": "Mine"}),
        ("POST", PORTFOLIOS, {"name": "Mine", "currency_code": "EUR"}),
        ("POST", PROJECTS, project("Mine", "ESP")),
    ):
        response = await send(method, address, json=body, headers={"if-match": "*"})
        assert response.status_code in {400, 403}, response.text


async def use_projects(world: World) -> None:
    send, ids, hidden = world.send, world.ids, world.hidden
    page = (await send("GET", f"{PROJECTS}?limit=1")).json()
    seen = [one["project_id"] for one in page["items"]]
    await world.hide(amend_hidden)
    page = (await send("GET", f"{PROJECTS}?limit=1&after={page['next']}")).json()
    seen += [one["project_id"] for one in page["items"]]
    assert seen == [ids["held"], ids["equity"]]
    assert (await send("GET", f"{PROJECTS}/count")).json() == {"count": 2}
    recorded_at = (await send("GET", f"{PROJECTS}/{ids['equity']}")).json()["created_at"]
    for key, status in ((ids["held"], 200), (ids["equity"], 200), (hidden["project"], 404)):
        for rest in ("", "/history", f"?as_of={recorded_at}"):
            response = await send("GET", f"{PROJECTS}/{key}{rest}")
            assert response.status_code == status
    # Of the facilities of a project those that are held: the loan, and the equity of a stake.
    for key, facility in (("held", ids["facility_id"]), ("equity", ids["shares"])):
        listed = (await send("GET", f"{PROJECTS}/{ids[key]}/facilities")).json()
        assert [one["facility_id"] for one in listed["items"]] == [facility]
    recorded_at = (await send("GET", f"{PROJECTS}/{ids['equity']}")).json()["created_at"]
    for key, status in ((ids["held"], 200), (ids["equity"], 200), (hidden["project"], 404)):
        page = await send("GET", f"/pages/projects/{key}")
        assert page.status_code == status, page.text
        assert "Beside" not in page.text
    for key in (hidden["beside"], hidden["loan"], hidden["hidden_facility_id"]):
        for rest in ("", "/entries", "/balance"):
            response = await send("GET", f"/v1/ops/facilities/{key}{rest}")
            assert response.status_code == 404
    completed = {"to": "COMPLETED", "reason": "repaid"}
    path, tag = f"{PROJECTS}/{ids['held']}/transitions", {"if-match": "*"}
    assert (await send("POST", path, json=completed, headers=tag)).status_code in {403, 409}


async def use_financing(world: World) -> None:
    mine = {name: value for name, value in world.ids.items() if name.endswith("_id")}
    mine |= {"project_id": world.ids["held"], "number": "1"}
    others = {
        name.removeprefix("hidden_"): value
        for name, value in world.hidden.items()
        if name.startswith("hidden_")
    }
    await read_financing(world, mine, others)
    await read_financing(world, others, mine, statuses={404})
    await send_financing(world, world.send, others, statuses={404})
    patch = {"name": "Renamed"}
    for key, status in ((mine["facility_id"], 200), (others["facility_id"], 404)):
        address, tag = f"/v1/ops/facilities/{key}", {"if-match": "*"}
        assert (await world.send("PATCH", address, json=patch, headers=tag)).status_code == status
    operation = world.paths["/v1/ops/projects/{project_id}/facilities"]["post"]
    body = {**typical_body(operation), "name": "Not held"}
    address = f"{PROJECTS}/{world.ids['held']}/facilities"
    response = await world.send("POST", address, json=body)
    assert (response.status_code, "portfolio" in response.text) == (403, True)


async def play(world: World) -> list[tuple[str, Any]]:
    """Send the requests of a caller who is limited to a portfolio, with others' acts between."""
    await create_book(world)
    await world.hide(write_hidden)
    rows = RowScope.of({PORTFOLIO_RULE: [world.ids["portfolio_id"]]})
    await world.issue_key("desk", rows)
    await use_portfolio(world)
    await use_projects(world)
    await use_financing(world)
    for name in DATASETS:
        response = await world.send("GET", f"/v1/data/{name}.ndjson")
        assert response.status_code == 200, (name, response.text)
        await world.hide(amend_hidden)
    after, subjects = "", set()
    page = {"events": [1]}
    while page["events"]:
        page = (await world.send("GET", f"/v1/events?limit=4{after}")).json()
        subjects |= {event["subject"] for event in page["events"]}
        await world.hide(amend_hidden)
        after = f"&after={page['next']}"
    ids = world.ids
    expected = {f"projects/{ids[name]}" for name in ("held", "equity")}
    expected |= {f"facilities/{ids[name]}" for name in ("facility_id", "shares")}
    expected |= {f"portfolios/{ids['portfolio_id']}", f"holdings/{ids['holding_id']}"}
    expected |= {f"covenants/{ids['covenant_id']}", f"cases/{ids['case_id']}"}
    assert expected <= subjects
    hidden = [key for key in world.hidden.values() if len(key) >= 36 and key not in ids.values()]
    assert not [one for one in subjects if any(key in one for key in hidden)]
    return world.log


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
async def test_rows_that_the_portfolio_does_not_hold_change_no_response(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def storage_url(name: str) -> str:
        return "memory://" if engine == "memory" else f"duckdb:///{tmp_path}/{name}/store.duckdb"

    async with open_world(storage_url("with"), None, monkeypatch) as world:
        with_hidden, hidden = await play(world), world.hidden
    async with open_world(storage_url("without"), hidden, monkeypatch) as world:
        without = await play(world)
    assert len(with_hidden) == len(without) > 100
    for (what, response), (_, other) in zip(with_hidden, without, strict=True):
        assert response == other, what
    assert "Hidden" not in json.dumps([str(entry) for entry in without])


async def test_access_follows_the_holdings_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_world("memory://", None, monkeypatch) as world:
        await create_book(world)
        ids = world.ids
        rows = RowScope.of({PORTFOLIO_RULE: [ids["portfolio_id"]]})
        await world.issue_key("desk", rows)
        held = f"{PROJECTS}/{ids['held']}"
        assert (await world.send("GET", held)).status_code == 200
        holding = f"{PORTFOLIOS}/{ids['portfolio_id']}/holdings/{ids['holding_id']}"
        for until, status in (("2026-03-01", 404), ("2026-03-02", 200)):
            body, any_version = {"until": until}, {"if-match": "*"}
            await world.as_others("PATCH", holding, json=body, headers=any_version)
            assert (await world.send("GET", held)).status_code == status, until
        later = await _create(world, PROJECTS, "project_id", project("Later", "ESP"))
        await _hold(world, ids["portfolio_id"], since="2026-03-02", project_id=later)
        assert (await world.send("GET", f"{PROJECTS}/{later}")).status_code == 404
        await world.as_others("DELETE", holding, headers={"if-match": "*"})
        assert (await world.send("GET", held)).status_code == 404
        # What the portfolio held then is in its report of then.
        on = f"{PORTFOLIOS}/{ids['portfolio_id']}/exposure?by=name"
        assert (await world.send("GET", on)).json()["holdings"] == 1


async def test_portfolio_and_field_must_both_match(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_world("memory://", None, monkeypatch) as world:
        await create_book(world)
        ids = world.ids
        rules = {PORTFOLIO_RULE: [ids["portfolio_id"]], "country_code": ["PRT"]}
        await world.issue_key("desk", RowScope.of(rules))
        assert (await world.send("GET", f"{PROJECTS}/{ids['held']}")).status_code == 404
        any_version = {"if-match": "*"}
        body = {"country_code": "PRT"}
        await world.as_others("PATCH", f"{PROJECTS}/{ids['held']}", json=body, headers=any_version)
        assert (await world.send("GET", f"{PROJECTS}/{ids['held']}")).status_code == 200
        response = await world.send("GET", f"{PORTFOLIOS}/{ids['portfolio_id']}")
        assert (response.status_code, "portfolios alone" in response.text) == (403, True)


async def test_portfolio_of_a_row_scope_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_world("memory://", None, monkeypatch) as world:
        body = {"name": "d", "scopes": ["projects:read"], "row_scope": {PORTFOLIO_RULE: ["none"]}}
        response = await world.client.post("/v1/admin/clients", json=body, headers=world.all_rows)
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == f"/row_scope/{PORTFOLIO_RULE}"
