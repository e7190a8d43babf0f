"""Every command of the business may need an approval, with a body or without."""

import threading
from typing import Any

import pytest
from tests.http.approvals.conftest import AGREED, APPROVALS, LARGE, OpenDesk, add_clients

from spawn.domain.approvals.approval_policy import write_exactly
from spawn.domain.principal import Scope
from spawn.entrypoints.http.app import ROUTES
from spawn.entrypoints.http.approvals import command_gate
from spawn.entrypoints.http.protocol.request import LARGE_DOCUMENT_BYTES

WITHOUT_APPROVAL = {
    "decideApproval": "decides about one",
    "startImport": "cannot wait; the policy forbids it where a rule covers its rows",
    "putImportMapping": "configuration of an import",
    "cancelJob": "stops work of the caller",
    "measureQuality": "writes a report of what is stored",
    "stressPortfolio": "writes nothing",
}
BUSINESS = {Scope.PROJECTS_WRITE, Scope.FINANCE_WRITE}


def test_every_command_of_the_business_may_need_an_approval() -> None:
    without = {
        route.operation.id
        for route in ROUTES
        if route.operation.method not in {"GET", "HEAD"}
        and not BUSINESS.isdisjoint(route.operation.scopes)
        and route.operation.approval is None
    }
    assert without == set(WITHOUT_APPROVAL)


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_command_without_a_body_waits(open_desk: OpenDesk, verdict: str) -> None:
    rules = [{"command": "removeHolding"}]
    async with open_desk({"rules": rules}) as desk:
        await desk.add("maker", Scope.FINANCE_READ, Scope.FINANCE_WRITE, Scope.PROJECTS_WRITE)
        await desk.add("checker", Scope.APPROVALS_DECIDE)
        project = await desk.create()
        terms = {"name": "Fund", "currency_code": "EUR", "fx_source": "ecb"}
        portfolio = (await desk.send("maker", "POST", "/v1/ops/portfolios", terms)).headers
        share = {"project_id": project.rpartition("/")[2], "share": "5", "since": "2026-01-01"}
        added = await desk.send("maker", "POST", f"{portfolio['location']}/holdings", share)
        assert added.status_code == 201, added.text
        holding, tag = added.headers["location"], added.headers["etag"]
        dry = await desk.send("maker", "DELETE", f"{holding}?dry_run=true", if_match=tag)
        assert (dry.status_code, dry.json()["needs_approval"]) == (200, True), dry.text
        keyed = {"if_match": tag, "idempotency_key": "remove-1"}
        responses = [await desk.send("maker", "DELETE", holding, **keyed) for _ in range(2)]
        assert [one.status_code for one in responses] == [202, 202], responses[0].text
        assert responses[0].content == responses[1].content
        approval = responses[0].json()
        assert (approval["command"], approval["body"]) == ("removeHolding", None)
        changes = {one["pointer"]: one["after"] for one in approval["changes"]}
        assert changes["/is_active"] is False
        assert (await desk.send("maker", "GET", holding)).status_code == 200

        path = responses[0].headers["location"]
        assert (await desk.decide("checker", path, {**AGREED, "decision": verdict})).is_success
        listed = (await desk.send("maker", "GET", f"{portfolio['location']}/holdings")).json()
        assert len(listed["items"]) == (0 if verdict == "approve" else 1)
        assert len((await desk.send("checker", "GET", APPROVALS)).json()["items"]) == 1


async def test_event_of_an_approval_has_nothing_that_the_command_contains(
    open_desk: OpenDesk,
) -> None:
    async with open_desk() as desk:
        await add_clients(desk)
        await desk.add("reader", Scope.EVENTS_READ)
        canary = "canary-of-the-body"
        project = await desk.create()
        changes = {"total_amount": "250000000.00", "description": canary}
        asked = await desk.amend(project, changes)
        approval = asked.headers["location"]
        assert canary in asked.text
        assert canary in (await desk.send("checker", "GET", approval)).text
        reason = {"decision": "reject", "reason": f"no {canary}"}
        assert (await desk.decide("checker", approval, reason)).status_code == 200

        feed = await desk.send("reader", "GET", "/v1/events")
        events = [e for e in feed.json()["events"] if e["subject"].startswith("approvals/")]
        assert [one["type"].split(".")[2] for one in events] == ["requested", "decided"]
        assert canary not in feed.text
        requested, decided = (one["data"]["after"] for one in events)
        assert requested == {
            "approval_id": approval.rpartition("/")[2],
            "command": "amendProject",
            "target": project,
            "kind": "",
            "amount": "250000000.00",
            "maker": "key:maker",
            "state": "pending",
            "expires_at": asked.json()["expires_at"],
            "decision": None,
        }
        assert (decided["state"], decided["decision"]["actor"]) == ("rejected", "key:checker")
        assert set(decided["decision"]) == {"verdict", "actor", "decided_at"}


async def test_the_text_of_a_command_is_written_if_it_needs_an_approval(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of small values took the event loop half a second before it was validated."""
    threads: list[threading.Thread] = []

    def write(tokens: Any) -> str:
        threads.append(threading.current_thread())
        return write_exactly(tokens)

    monkeypatch.setattr(command_gate, "write_exactly", write)
    async with open_desk() as desk:
        await add_clients(desk)
        project = await desk.create()
        assert (await desk.amend(project, {"total_amount": "1000000.00"})).status_code == 200
        assert threads == []
        assert (await desk.amend(project, LARGE)).status_code == 202
        assert threads == [threading.main_thread()]
        many = {**LARGE, "description": "x" * (LARGE_DOCUMENT_BYTES + 1)}
        await desk.amend(project, many)
        assert threads[1] is not threading.main_thread()
