"""A maker with a row scope asks for approvals of its rows, and reads no others."""

import pytest
from tests.http.approvals.conftest import APPROVALS, LARGE, Desk
from tests.http.conftest import WIND

from spawn.application.access import own_approvals
from spawn.domain.principal import RowScope, Scope

PORTFOLIOS = "/v1/ops/portfolios"
SPAIN = RowScope.of({"country_code": ["ESP"]})
SCOPES = (Scope.PROJECTS_READ, Scope.PROJECTS_WRITE)
LEAVING = {"country_code": "FRA"}


@pytest.fixture
async def limited_desk(desk: Desk) -> Desk:
    await desk.add("limited", *SCOPES, row_scope=SPAIN)
    return desk


async def ask(desk: Desk, project: str, key: str = "one") -> str:
    """Ask for an approval of a large amount as the limited maker, and return its path."""
    tag = (await desk.send("limited", "GET", project)).headers["etag"]
    response = await desk.send(
        "limited", "PATCH", project, LARGE, if_match=tag, idempotency_key=key
    )
    assert response.status_code == 202, response.text
    return response.headers["location"]


async def test_command_on_a_visible_project_takes_effect_with_its_approval(
    limited_desk: Desk,
) -> None:
    desk = limited_desk
    project = await desk.create()
    approval = await ask(desk, project)
    own = await desk.send("limited", "GET", approval)
    assert own.json() == (await desk.send("checker", "GET", approval)).json()
    listed = (await desk.send("limited", "GET", APPROVALS)).json()["items"]
    assert [one["approval_id"] for one in listed] == [approval.rpartition("/")[2]]
    assert (await desk.decide("checker", approval)).json()["state"] == "approved"
    assert (await desk.read(project))["total_amount"] == "250000000.00"
    assert (await desk.send("limited", "GET", approval)).json()["state"] == "approved"


async def test_repeated_request_has_the_first_response_while_its_rows_are_visible(
    limited_desk: Desk,
) -> None:
    desk = limited_desk
    project = await desk.create()
    tag = (await desk.send("limited", "GET", project)).headers["etag"]
    send = ("limited", "PATCH", project, LARGE)
    responses = [await desk.send(*send, if_match=tag, idempotency_key="one") for _ in range(2)]
    assert responses[0].content == responses[1].content
    assert (await desk.amend(project, LEAVING)).status_code == 200
    assert (await desk.send(*send, if_match=tag, idempotency_key="one")).status_code == 404


async def test_command_that_leaves_the_scope_is_rejected_before_anybody_is_asked(
    limited_desk: Desk,
) -> None:
    desk = limited_desk
    project = await desk.create()
    body = {**LARGE, **LEAVING}
    for path in (project, f"{project}?dry_run=true"):
        response = await desk.send("limited", "PATCH", path, body, if_match="*")
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    french = (await desk.send("maker", "POST", "/v1/ops/projects", {**WIND, **LEAVING})).headers
    hidden = await desk.send("limited", "PATCH", french["location"], LARGE, if_match="*")
    assert hidden.status_code == 404
    assert (await desk.send("checker", "GET", APPROVALS)).json()["items"] == []


async def test_maker_reads_no_approval_of_a_row_that_it_has_lost(limited_desk: Desk) -> None:
    desk = limited_desk
    lost, kept = await desk.create(), await desk.create()
    old, current = await ask(desk, lost, "one"), await ask(desk, kept, "two")
    assert (await desk.amend(lost, LEAVING)).status_code == 200
    missing = await desk.send("limited", "GET", old)
    unknown = await desk.send("limited", "GET", f"{APPROVALS}/{lost.rpartition('/')[2]}")
    assert missing.status_code == unknown.status_code == 404
    assert missing.json()["detail"] == unknown.json()["detail"]
    withdrawal = {"decision": "withdraw", "reason": "no longer ours"}
    assert (await desk.decide("limited", old, withdrawal)).status_code == 404
    page = (await desk.send("limited", "GET", f"{APPROVALS}?limit=1")).json()
    assert [one["approval_id"] for one in page["items"]] == [current.rpartition("/")[2]]
    assert page["next"] is None
    assert (await desk.send("checker", "GET", old)).json()["state"] == "stale"


async def test_maker_withdraws_its_command(limited_desk: Desk) -> None:
    desk = limited_desk
    approval = await ask(desk, await desk.create())
    withdrawal = {"decision": "withdraw", "reason": "a mistake"}
    assert (await desk.decide("limited", approval, withdrawal)).json()["state"] == "withdrawn"


async def test_pages_of_own_approvals_have_each_once(limited_desk: Desk) -> None:
    desk = limited_desk
    projects = [await desk.create() for _ in range(5)]
    made = [await ask(desk, one, str(n)) for n, one in enumerate(projects)]
    assert (await desk.amend(projects[2], LEAVING)).status_code == 200
    found, path = [], f"{APPROVALS}?limit=2"
    while path:
        page = await desk.send("limited", "GET", path)
        found += [one["approval_id"] for one in page.json()["items"]]
        cursor = page.json()["next"]
        path = f"{APPROVALS}?limit=2&after={cursor}" if cursor else ""
    expected = [made[n].rpartition("/")[2] for n in (4, 3, 1, 0)]
    assert found == expected


async def test_scan_that_ends_early_continues_with_the_next_page(
    limited_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_approvals, "MAX_SCANS", 1)
    monkeypatch.setattr(own_approvals, "MAX_LIMIT", 2)
    desk = limited_desk
    projects = [await desk.create() for _ in range(5)]
    made = [await ask(desk, one, str(n)) for n, one in enumerate(projects)]
    for lost in projects[2:]:
        assert (await desk.amend(lost, LEAVING)).status_code == 200
    found: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        page = (await desk.send("limited", "GET", f"{APPROVALS}?limit=2{after}")).json()
        found.append([one["approval_id"] for one in page["items"]])
        after = f"&after={page['next']}" if page["next"] else None
    older, old = (made[n].rpartition("/")[2] for n in (0, 1))
    assert found == [[], [old], [older]]


async def test_command_on_a_row_that_the_maker_has_lost_is_no_longer_possible(desk: Desk) -> None:
    """A holding ends without another version of the project."""
    await desk.add("manager", Scope.FINANCE_READ, Scope.FINANCE_WRITE)
    project = await desk.create()
    terms = {"name": "Fund", "currency_code": "EUR", "fx_source": "ecb"}
    portfolio = (await desk.send("manager", "POST", PORTFOLIOS, terms)).headers["location"]
    share = {"project_id": project.rpartition("/")[2], "share": "5", "since": "2026-01-01"}
    added = (await desk.send("manager", "POST", f"{portfolio}/holdings", share)).headers
    rows = RowScope.of({"portfolio_id": [portfolio.rpartition("/")[2]]})
    await desk.add("limited", *SCOPES, row_scope=rows)
    approval = await ask(desk, project)
    await desk.send("manager", "DELETE", added["location"], if_match=added["etag"])
    assert (await desk.send("limited", "GET", approval)).status_code == 404
    decided = await desk.decide("checker", approval)
    assert (decided.status_code, "no longer" in decided.json()["detail"]) == (409, True)
    assert (await desk.read(project))["total_amount"] == "125000000.00"
