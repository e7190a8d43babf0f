"""Rules look at what a command results in, however its body says it."""

from typing import Any

import pytest
from tests.http.approvals.conftest import AGREED, OpenDesk, add_clients
from tests.http.conftest import WIND
from tests.http.facilities.ledger_client import TERMS
from tests.http.registry_stub import serve_registry

from spawn.adapters.memory.store import MemoryStore
from spawn.domain.change import Change, CommitResult
from spawn.domain.principal import Scope

PROJECTS = "/v1/ops/projects"
FROM_200_M = {"rules": [{"command": "amendProject", "amount_from": "200000000"}]}


async def test_a_change_of_the_currency_is_one_of_the_amount(open_desk: OpenDesk) -> None:
    async with open_desk(FROM_200_M) as desk:
        await add_clients(desk)
        won = {**WIND, "total_amount": "400000000", "currency_code": "KRW"}
        project = (await desk.send("maker", "POST", PROJECTS, won)).headers["location"]
        asked = await desk.amend(project, {"currency_code": "EUR"})
        assert asked.status_code == 202, asked.text
        assert (await desk.read(project))["currency_code"] == "KRW"
        assert (await desk.decide("checker", asked.headers["location"])).status_code == 200
        assert (await desk.read(project))["currency_code"] == "EUR"
        # Other attributes of a large project need none, nor does the currency of a small one.
        assert (await desk.amend(project, {"description": "repowered"})).status_code == 200
        assert (await desk.amend(project, {"currency_code": "EUR"})).status_code == 200
        small = await desk.create()
        assert (await desk.amend(small, {"currency_code": "CHF"})).status_code == 200


async def test_an_alias_of_the_amount_is_the_amount(open_desk: OpenDesk) -> None:
    column = {"name": "total_amount", "type": "decimal(19,2)", "aliases": ["capex"]}
    with serve_registry(column) as registry:
        async with open_desk(FROM_200_M, ontology_url=registry.url) as desk:
            await add_clients(desk)
            project = await desk.create()
            assert (await desk.amend(project, {"capex": "199999999.99"})).status_code == 200
            assert (await desk.amend(project, {"capex": "200000000.00"})).status_code == 202


@pytest.mark.parametrize(
    ("kinds", "status", "expected"),
    [
        (["FINANCIAL_CLOSE"], "FINANCIAL_CLOSE", 202),
        (["FINANCIAL_CLOSE"], "MANDATED", 201),
        (["OPERATION"], "ACTIVE", 202),
        ([], "MANDATED", 202),
        ([], "PROPOSED", 201),
        ([], None, 201),
    ],
)
async def test_a_creation_in_another_status_is_a_transition(
    open_desk: OpenDesk, kinds: list[str], status: str | None, expected: int
) -> None:
    policy = {"rules": [{"command": "transitionProject", "kinds": kinds}]}
    async with open_desk(policy) as desk:
        await add_clients(desk)
        body: dict[str, Any] = WIND if status is None else {**WIND, "status": status}
        dry = await desk.send("maker", "POST", f"{PROJECTS}?dry_run=true", body)
        assert dry.json()["needs_approval"] is (expected == 202), dry.text
        created = await desk.send("maker", "POST", PROJECTS, body)
        assert created.status_code == expected, created.text
        if expected == 202:
            decided = await desk.decide("checker", created.headers["location"])
            assert decided.status_code == 200, decided.text
            items = (await desk.send("maker", "GET", PROJECTS)).json()["items"]
            assert [one["status"] for one in items] == [str(status).replace("ACTIVE", "OPERATION")]


async def test_facilities_are_ruled_by_what_they_become(open_desk: OpenDesk) -> None:
    rules = [
        {"command": "createFacility", "kinds": ["senior"]},
        {"command": "amendFacility", "amount_from": "5000000"},
    ]
    async with open_desk({"rules": rules}) as desk:
        await desk.add("maker", Scope.FINANCE_READ, Scope.FINANCE_WRITE, Scope.PROJECTS_WRITE)
        await desk.add("checker", Scope.APPROVALS_DECIDE)
        facilities = f"{await desk.create()}/facilities"
        won = {**TERMS, "kind": "mezzanine", "commitment": "9000000", "currency_code": "KRW"}
        created = await desk.send("maker", "POST", facilities, won)
        assert created.status_code == 201, created.text
        path, tag = created.headers["location"], created.headers["etag"]
        for patch in ({"currency_code": "EUR"}, {"kind": "senior"}):
            asked = await desk.send("maker", "PATCH", path, patch, if_match=tag)
            assert asked.status_code == 202, asked.text
            decision = {**AGREED, "decision": "reject"}
            assert (await desk.decide("checker", asked.headers["location"], decision)).is_success
        amended = await desk.send("maker", "PATCH", path, {"name": "Junior"}, if_match=tag)
        assert amended.status_code == 200, amended.text


@pytest.mark.parametrize("precondition", ["*", "current"])
async def test_what_was_judged_is_what_is_committed(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch, precondition: str
) -> None:
    """An amendment that is small alone is large behind an approved one that was first."""
    async with open_desk(FROM_200_M) as desk:
        await add_clients(desk)
        won = {**WIND, "total_amount": "100000000", "currency_code": "KRW"}
        created = await desk.send("maker", "POST", PROJECTS, won)
        project, tag = created.headers["location"], created.headers["etag"]
        approvals = [(await desk.amend(project, {"total_amount": "400000000"})).headers["location"]]
        commit = MemoryStore.commit

        async def commit_behind(store: MemoryStore, change: Change) -> CommitResult:
            if approvals:
                assert (await desk.decide("checker", approvals.pop())).status_code == 200
            return await commit(store, change)

        monkeypatch.setattr(MemoryStore, "commit", commit_behind)
        header = "*" if precondition == "*" else tag
        patch = {"currency_code": "EUR"}
        amended = await desk.send("maker", "PATCH", project, patch, if_match=header)
        assert amended.status_code == (202 if precondition == "*" else 412), amended.text
        current = await desk.read(project)
        assert (current["total_amount"], current["currency_code"]) == ("400000000", "KRW")
        if precondition == "*":
            pointers = [one["pointer"] for one in amended.json()["changes"]]
            assert "/currency_code" in pointers
            decided = await desk.decide("checker", amended.headers["location"])
            assert decided.status_code == 200, decided.text
            assert (await desk.read(project))["currency_code"] == "EUR"
