"""A command that needs an approval takes effect by the decision of another person alone."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.http.approvals.conftest import (
    AGREED,
    APPROVALS,
    LARGE,
    Desk,
    OpenDesk,
    add_clients,
)
from tests.http.conftest import WIND
from tests.http.facilities.ledger_client import TERMS
from tests.http.registry_stub import serve_registry

from spawn.adapters.local.clock import SystemClock
from spawn.application.access.api_clients import revoke_api_client, revoke_key, rotate_key
from spawn.application.approvals.makers import check_independence
from spawn.application.approvals.previews import preview_command
from spawn.application.schemas.adoptions.steward_decisions import preview_schema_approval
from spawn.domain.approvals.approval import (
    APPROVAL_KIND,
    MAX_COMMAND_BYTES,
    MAX_PENDING,
    CommandPreview,
)
from spawn.domain.errors import Forbidden
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal, PrincipalKind, Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.entrypoints.http.schemas import candidate_routes
from spawn.entrypoints.settings import SettingsError


async def test_command_takes_effect_with_its_approval_in_one_change(desk: Desk) -> None:
    project = await desk.create()
    approval = await desk.request(project)
    assert (await desk.read(project))["total_amount"] == "125000000.00"
    document = (await desk.send("checker", "GET", approval)).json()
    project_id = project.rpartition("/")[2]
    change = {"kind": "project", "id": project_id, "pointer": "/total_amount"}
    assert document["changes"] == [{**change, "before": "125000000.00", "after": "250000000.00"}]
    assert document["rests_on"] == [{"kind": "project", "id": project_id, "version": 1}]
    assert (document["state"], document["maker"], document["moved_versions"]) == (
        "pending",
        "key:maker",
        [],
    )

    decided = await desk.decide("checker", approval)
    assert (decided.status_code, decided.json()["state"]) == (200, "approved")
    assert decided.json()["decision"]["actor"] == "key:checker"
    assert (await desk.read(project))["total_amount"] == "250000000.00"
    reads, approval_id = desk.dependencies.reads, approval.rpartition("/")[2]
    [change_entry] = await reads.history(PROJECT_KIND, project_id, after_version=1, limit=9)
    _, decision_entry = await reads.history(APPROVAL_KIND, approval_id, after_version=0, limit=9)
    assert change_entry.recorded_at == decision_entry.recorded_at
    assert (change_entry.actor, decision_entry.actor) == ("key:maker", "key:checker")
    assert decision_entry.type == "approval.decided"


async def test_command_below_the_threshold_needs_no_approval(desk: Desk) -> None:
    project = await desk.create()
    assert (await desk.amend(project, {"total_amount": "199999999.99"})).status_code == 200
    assert (await desk.amend(project, {"dscr": 1.5})).status_code == 200
    assert (await desk.amend(project, {"total_amount": "200000000.00"})).status_code == 202


async def test_change_without_an_effect_needs_no_approval(desk: Desk) -> None:
    project = await desk.create()
    await desk.decide("checker", await desk.request(project))
    assert (await desk.amend(project)).status_code == 200
    assert (await desk.read(project))["version"] == 2


async def test_change_that_gets_an_effect_meanwhile_still_needs_an_approval(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preview sees the amount that the command sets, and another change comes after it."""
    project = await desk.create()
    await desk.decide("checker", await desk.request(project))
    gate = "spawn.entrypoints.http.approvals.command_gate.preview_command"

    async def preview_and_race(*arguments: Any) -> CommandPreview:
        preview = await preview_command(*arguments)
        monkeypatch.setattr(gate, preview_command)
        assert (await desk.amend(project, {"total_amount": "1.00"})).status_code == 200
        return preview

    monkeypatch.setattr(gate, preview_and_race)
    late = await desk.send("maker", "PATCH", project, LARGE, if_match="*")
    assert late.status_code == 409
    assert (await desk.read(project))["total_amount"] == "1.00"


@pytest.mark.parametrize("value", ["1", "TRUE", "yes", ""])
async def test_dry_run_with_another_value_is_no_command(desk: Desk, value: str) -> None:
    project = await desk.create()
    path = f"{project}?dry_run={value}"
    response = await desk.send("maker", "PATCH", path, {"dscr": 2}, if_match="*")
    assert response.json()["errors"][0]["pointer"] == "/dry_run"
    assert (await desk.read(project))["version"] == 1


async def test_dry_run_rejects_a_key_that_the_command_would_reject(desk: Desk) -> None:
    path = f"{await desk.create()}?dry_run=true"
    response = await desk.send(
        "maker", "PATCH", path, {"dscr": 2}, if_match="*", idempotency_key="two words"
    )
    assert response.json()["errors"][0]["pointer"] == "/Idempotency-Key"


async def test_invalid_command_is_rejected_before_anybody_is_asked(desk: Desk) -> None:
    project = await desk.create()
    invalid = await desk.amend(project, {"total_amount": "250000000.001"})
    assert (invalid.status_code, invalid.json()["code"]) == (422, "invalid_input")
    stale = await desk.send("maker", "PATCH", project, LARGE, if_match='"9-1-0"')
    assert stale.status_code == 412
    assert (await desk.send("maker", "PATCH", project, LARGE)).status_code == 428
    assert (await desk.send("maker", "GET", APPROVALS)).json()["items"] == []


async def test_dry_run_writes_nothing_and_fails_as_the_command(desk: Desk) -> None:
    project = await desk.create()
    position = await desk.dependencies.reads.position()
    tag = (await desk.send("maker", "GET", project)).headers["etag"]
    path = f"{project}?dry_run=true"
    dry = await desk.send("maker", "PATCH", path, {"dscr": 1.5}, if_match=tag)
    assert (dry.status_code, dry.json()["needs_approval"]) == (200, False)
    assert [change["pointer"] for change in dry.json()["changes"]] == ["/dscr"]
    large = await desk.send("maker", "PATCH", path, LARGE, if_match=tag)
    assert large.json()["needs_approval"] is True
    invalid = await desk.send("maker", "PATCH", path, {"zzz": 1}, if_match=tag)
    assert invalid.status_code == 422
    move = {"to": "OPERATION", "reason": "early"}
    illegal = await desk.send(
        "maker", "POST", f"{project}/transitions?dry_run=true", move, if_match=tag
    )
    assert illegal.status_code == 409
    assert await desk.dependencies.reads.position() == position


@pytest.mark.parametrize("has_second_key", [False, True])
async def test_nobody_decides_about_a_command_of_its_own(
    desk: Desk, *, has_second_key: bool
) -> None:
    await desk.add("maker2", Scope.PROJECTS_READ, Scope.PROJECTS_WRITE, Scope.APPROVALS_DECIDE)
    desk.headers["maker"] = desk.headers["maker2"]
    approval = await desk.request(await desk.create())
    if has_second_key:
        second = await rotate_key(desk.dependencies, LOCAL_PRINCIPAL, "maker2", environment="test")
        desk.headers["maker"] = {"Authorization": f"Bearer {second.text}"}
    for verdict in ("approve", "reject"):
        own = await desk.decide("maker", approval, {**AGREED, "decision": verdict})
        assert (own.status_code, own.json()["code"]) == (403, "forbidden")
    assert (await desk.send("maker", "GET", approval)).json()["state"] == "pending"


@pytest.mark.parametrize("chain", [["accomplice"], ["between", "accomplice"]])
async def test_key_that_the_maker_has_issued_does_not_decide(desk: Desk, chain: list[str]) -> None:
    approval = await desk.request(await desk.create())
    issuer = "maker"
    for name in chain:
        await desk.add(name, Scope.APPROVALS_DECIDE)
        principal = Principal(id=f"key:{issuer}", scopes=frozenset({Scope.ADMIN}))
        issued = await rotate_key(desk.dependencies, principal, name, environment="test")
        issuer = name
    desk.headers["accomplice"] = {"Authorization": f"Bearer {issued.text}"}
    response = await desk.decide("accomplice", approval)
    assert response.status_code == 403
    assert "has issued your key" in response.json()["detail"]


@pytest.mark.parametrize("chain", [["bot"], ["between", "bot"]])
async def test_who_issued_the_key_of_the_maker_does_not_decide(
    desk: Desk, chain: list[str]
) -> None:
    issuer = "checker"
    for name in chain:
        await desk.add(name, Scope.PROJECTS_READ, Scope.PROJECTS_WRITE)
        principal = Principal(id=f"key:{issuer}", scopes=frozenset({Scope.ADMIN}))
        issued = await rotate_key(desk.dependencies, principal, name, environment="test")
        issuer = name
    desk.headers["maker"] = {"Authorization": f"Bearer {issued.text}"}
    approval = await desk.request(await desk.create())
    response = await desk.decide("checker", approval)
    assert response.status_code == 403
    assert "You have issued the key of the command's maker" in response.json()["detail"]
    await desk.add("other", Scope.APPROVALS_DECIDE)
    assert (await desk.decide("other", approval)).status_code == 200


async def test_holder_of_a_token_does_not_decide_about_a_key_that_it_issued(desk: Desk) -> None:
    boss = Principal(
        id="token:boss", kind=PrincipalKind.TOKEN, scopes=frozenset({Scope.APPROVALS_DECIDE})
    )
    await check_independence(desk.dependencies, boss, "key:maker")
    issuer = msgspec.structs.replace(boss, scopes=frozenset({Scope.ADMIN}))
    await rotate_key(desk.dependencies, issuer, "maker", environment="test")
    with pytest.raises(Forbidden, match="You have issued"):
        await check_independence(desk.dependencies, boss, "key:maker")


async def test_who_only_revokes_keys_has_issued_none(desk: Desk) -> None:
    approval = await desk.request(await desk.create())
    await rotate_key(desk.dependencies, LOCAL_PRINCIPAL, "checker", environment="test")
    maker = Principal(id="key:maker", scopes=frozenset({Scope.ADMIN}))
    await revoke_key(desk.dependencies, maker, "checker", 2)
    assert (await desk.decide("checker", approval)).status_code == 200


async def test_one_of_sixteen_decisions_counts(desk: Desk) -> None:
    project = await desk.create()
    approval = await desk.request(project)
    for number in range(16):
        await desk.add(f"checker-{number}", Scope.APPROVALS_DECIDE)
    bodies = [{**AGREED, "decision": ("approve", "reject")[n % 2]} for n in range(16)]
    decisions = (desk.decide(f"checker-{n}", approval, bodies[n]) for n in range(16))
    responses = await asyncio.gather(*decisions)
    assert Counter(one.status_code for one in responses) == {200: 1, 409: 15}
    winner = next(one.json() for one in responses if one.status_code == 200)
    assert (await desk.send("checker", "GET", approval)).json() == winner
    assert (await desk.read(project))["version"] == (2 if winner["state"] == "approved" else 1)


async def test_decision_cannot_be_repeated(desk: Desk) -> None:
    project = await desk.create()
    approval = await desk.request(project)
    first = await desk.decide("checker", approval, idempotency_key="one")
    assert first.content == (await desk.decide("checker", approval, idempotency_key="one")).content
    again = await desk.decide("checker", approval)
    assert (again.status_code, "approved" in again.json()["detail"]) == (409, True)
    assert (await desk.read(project))["version"] == 2


async def test_repeated_request_gets_the_first_approval_again(desk: Desk) -> None:
    project = await desk.create()
    tag = (await desk.send("maker", "GET", project)).headers["etag"]
    send = ("maker", "PATCH", project)
    first = await desk.send(*send, LARGE, if_match=tag, idempotency_key="one")
    await desk.decide("checker", first.headers["location"])
    again = await desk.send(*send, LARGE, if_match=tag, idempotency_key="one")
    assert (again.status_code, again.content) == (202, first.content)
    other = await desk.send(*send, {"dscr": 2}, if_match=tag, idempotency_key="one")
    assert other.json()["code"] == "idempotency_key_reused"
    assert len((await desk.send("maker", "GET", APPROVALS)).json()["items"]) == 1


async def test_command_whose_versions_have_moved_is_stale_for_good(desk: Desk) -> None:
    project = await desk.create()
    approval = await desk.request(project)
    await desk.amend(project, {"dscr": 1.5})
    for document in (
        (await desk.send("checker", "GET", approval)).json(),
        (await desk.send("checker", "GET", f"{APPROVALS}?state=pending")).json()["items"][0],
    ):
        assert document["state"] == "stale"
        assert [one["version"] for one in document["moved_versions"]] == [2]
    for _ in range(2):
        assert (await desk.decide("checker", approval)).status_code == 409
    stored = (await desk.send("checker", "GET", f"{APPROVALS}?state=stale")).json()["items"]
    assert [one["state"] for one in stored] == ["stale"]
    assert (await desk.read(project))["total_amount"] == "125000000.00"


async def test_wildcard_of_the_maker_is_no_wildcard_of_the_decision(desk: Desk) -> None:
    project = await desk.create()
    response = await desk.send("maker", "PATCH", project, LARGE, if_match="*")
    await desk.amend(project, {"dscr": 1.5})
    assert (await desk.decide("checker", response.headers["location"])).status_code == 409
    assert (await desk.read(project))["total_amount"] == "125000000.00"


async def test_maker_without_a_valid_key_has_no_command(desk: Desk) -> None:
    project = await desk.create()
    approval = await desk.request(project)
    await revoke_api_client(desk.dependencies, LOCAL_PRINCIPAL, "maker")
    response = await desk.decide("checker", approval)
    assert (response.status_code, "no longer" in response.json()["detail"]) == (409, True)
    rejected = await desk.decide("checker", approval, {**AGREED, "decision": "reject"})
    assert rejected.json()["state"] == "rejected"


async def test_maker_withdraws_its_command_and_nobody_else_does(desk: Desk) -> None:
    approval = await desk.request(await desk.create())
    body = {"decision": "withdraw", "reason": "typing error"}
    assert (await desk.decide("checker", approval, body)).status_code == 403
    await desk.add("stranger", Scope.PROJECTS_WRITE)
    assert (await desk.decide("stranger", approval, body)).status_code == 404
    assert (await desk.send("stranger", "GET", approval)).status_code == 404
    assert (await desk.send("stranger", "GET", APPROVALS)).json()["items"] == []
    assert (await desk.decide("maker", approval, body)).json()["state"] == "withdrawn"
    assert (await desk.decide("checker", approval)).status_code == 409


async def test_approval_expires_at_its_instant(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    project = await desk.create()
    approval = await desk.request(project)
    expires_at = datetime.fromisoformat((await desk.read(approval))["expires_at"])
    moment = expires_at - timedelta(microseconds=1)
    monkeypatch.setattr(SystemClock, "now", lambda _: moment)
    desk.headers["checker"], desk.headers["maker"] = desk.headers["maker"], desk.headers["checker"]
    assert (await desk.send("maker", "GET", f"{APPROVALS}?state=pending")).json()["items"]
    moment = expires_at
    assert (await desk.send("maker", "GET", f"{APPROVALS}?state=pending")).json()["items"] == []
    [item] = (await desk.send("maker", "GET", f"{APPROVALS}?state=expired")).json()["items"]
    assert item["state"] == "expired"
    late = await desk.decide("maker", approval)
    assert (late.status_code, "expired" in late.json()["detail"]) == (409, True)


async def test_body_that_a_journal_must_not_have_is_rejected(desk: Desk) -> None:
    project = await desk.create()
    key = desk.headers["maker"]["Authorization"].removeprefix("Bearer ")
    secret = await desk.amend(project, {**LARGE, "description": f"my key is {key}"})
    assert secret.json()["errors"][0]["code"] == "credential"
    huge = await desk.amend(project, {**LARGE, "x_note": "x" * MAX_COMMAND_BYTES})
    assert huge.json()["errors"][0]["code"] == "too_long"
    assert (await desk.send("maker", "GET", APPROVALS)).json()["items"] == []


async def test_undecided_commands_of_a_maker_are_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_PENDING == 100
    monkeypatch.setattr("spawn.application.approvals.requests.MAX_PENDING", 2)
    project = await desk.create()
    statuses = [(await desk.amend(project)).status_code for _ in range(3)]
    assert statuses == [202, 202, 409]


async def test_transition_of_a_kind_needs_an_approval(desk: Desk) -> None:
    project = await desk.create()
    tag = (await desk.send("maker", "GET", project)).headers["etag"]
    move = {"to": "MANDATED", "reason": "mandate letter signed"}
    asked = await desk.send("maker", "POST", f"{project}/transitions", move, if_match=tag)
    assert asked.status_code == 202
    pointers = {change["pointer"] for change in asked.json()["changes"]}
    assert "/status" in pointers
    assert (await desk.decide("checker", asked.headers["location"])).status_code == 200
    assert (await desk.read(project))["status"] == "MANDATED"


async def test_approvals_are_filtered_and_paged(desk: Desk) -> None:
    projects = [await desk.create() for _ in range(3)]
    approvals = [await desk.request(project) for project in projects]
    await desk.decide("checker", approvals[0], {**AGREED, "decision": "reject"})
    first = (await desk.send("checker", "GET", f"{APPROVALS}?state=pending&limit=1")).json()
    path = f"{APPROVALS}?state=pending&limit=1&after={first['next']}"
    second = (await desk.send("checker", "GET", path)).json()
    ids = [page["items"][0]["approval_id"] for page in (first, second)]
    assert ids == [one.rpartition("/")[2] for one in (approvals[2], approvals[1])]
    for query, count in (
        ("maker=key:maker", 3),
        ("maker=key:other", 0),
        ("command=amendProject&state=rejected", 1),
        ("command=transitionProject", 0),
    ):
        page = (await desk.send("checker", "GET", f"{APPROVALS}?{query}")).json()
        assert len(page["items"]) == count, query


async def test_dataset_of_approvals_needs_a_scope_of_its_own(desk: Desk) -> None:
    approval = await desk.request(await desk.create())
    await desk.add("analyst", Scope.DATA_EXPORT)
    await desk.add("auditor", Scope.DATA_EXPORT, Scope.APPROVALS_DECIDE)
    path = "/v1/data/approvals.json?state=pending"
    assert (await desk.send("analyst", "GET", path)).status_code == 403
    [row] = (await desk.send("auditor", "GET", path)).json()
    assert row["id"] == approval.rpartition("/")[2]
    assert (row["maker"], row["command"]) == ("key:maker", "amendProject")


async def test_requests_and_decisions_are_in_the_audit_log(desk: Desk) -> None:
    approval = await desk.request(await desk.create())
    await desk.decide("checker", approval)
    await desk.add("auditor", Scope.ADMIN)
    entries = (await desk.send("auditor", "GET", "/v1/admin/audit")).json()["items"]
    acts = {(one["operation"], one["actor"], one["status"]): one["detail"] for one in entries}
    assert approval.rpartition("/")[2] in acts["amendProject", "key:maker", 202]
    decision = acts["decideApproval", "key:checker", 200]
    assert decision.endswith("approve: agreed in the committee")


async def test_approval_outlives_a_restart_with_another_policy(
    open_desk: OpenDesk, tmp_path: Path
) -> None:
    url = f"duckdb:///{tmp_path}/store.duckdb"
    async with open_desk(storage_url=url) as desk:
        await add_clients(desk)
        project = await desk.create()
        approval = await desk.request(project)
        headers = desk.headers
    async with open_desk(None, storage_url=url) as desk:
        desk.headers = headers
        assert (await desk.decide("checker", approval)).json()["state"] == "approved"
        assert (await desk.read(project))["total_amount"] == "250000000.00"


async def test_schema_version_is_adopted_by_its_approval_as_it_was_checked(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = {"name": "units", "type": "integer", "maximum": 1_000_000}
    with serve_registry(units) as registry:
        async with open_desk(ontology_url=registry.url, schema_refresh_s=86_400) as desk:
            await add_clients(desk)
            await desk.add("steward", Scope.SCHEMA_ADMIN, Scope.PROJECTS_READ)
            path = "/v1/governance/schemas/project_schema"
            await desk.create()
            registry.publish(3, {**units, "maximum": 1_000})
            await desk.send("steward", "POST", f"{path}/refresh")
            reason = {"reason": "agreed with the owners of the reports"}
            dry = await desk.send(
                "steward", "POST", f"{path}/candidates/3/approve?dry_run=true", reason
            )
            assert dry.status_code == 200, dry.text
            asked = await desk.send("steward", "POST", f"{path}/candidates/3/approve", reason)
            assert asked.status_code == 202, asked.text
            changes = {one["pointer"]: one["after"] for one in asked.json()["changes"]}
            assert changes["/version"] == 3

            async def preview_and_replace(*arguments: Any, version: int) -> CommandPreview:
                preview = await preview_schema_approval(*arguments, version=version)
                registry.publish(3, {**units, "maximum": 500})
                await desk.send("steward", "POST", f"{path}/refresh")
                return preview

            with monkeypatch.context() as patch:
                patch.setattr(candidate_routes, "preview_schema_approval", preview_and_replace)
                stale = await desk.decide("checker", asked.headers["location"])
            assert (stale.status_code, stale.json()["code"]) == (409, "conflict"), stale.text
            assert (await desk.send("steward", "GET", path)).json()["version"] == 2
            registry.publish(3, {**units, "maximum": 1_000})
            await desk.send("steward", "POST", f"{path}/refresh")
            asked = await desk.send("steward", "POST", f"{path}/candidates/3/approve", reason)
            decided = await desk.decide("checker", asked.headers["location"])
            assert decided.json()["state"] == "approved", decided.text
            active = (await desk.send("steward", "GET", path)).json()
            assert active["version"] == 3
            assert active["decision"]["actor"] == "key:steward"


@pytest.mark.parametrize(
    ("policy", "place"),
    [
        ({"rules": [{"command": "amend"}]}, "/rules/0/command: must be one of: addHolding"),
        (
            {"rules": [{"command": "approveSchemaCandidate", "amount_from": "1"}]},
            "/rules/0/amount_from: approveSchemaCandidate has no amount",
        ),
        ({"rules": [{"command": "amendProject", "kinds": ["x"]}]}, "/rules/0/kinds"),
        ({"rules": [{"command": "amendProject", "amount_from": "NaN"}]}, "amount_from"),
        ({"rules": [], "expires_after_h": 0}, "/expires_after_h"),
        ({"rulez": []}, "/rulez"),
    ],
)
async def test_policy_that_could_not_apply_stops_the_start(
    open_desk: OpenDesk, policy: dict[str, Any], place: str
) -> None:
    with pytest.raises(SettingsError, match="SPAWN_APPROVALS_FILE names") as failure:
        async with open_desk(policy):
            pass
    assert place in str(failure.value)


async def _import(desk: Desk, who: str, *, dry_run: bool = False) -> httpx.Response:
    path = f"/v1/ops/imports?dry_run={str(dry_run).lower()}"
    headers = {**desk.headers[who], "content-type": "application/x-ndjson"}
    row = b'{"project_name": "Imported", "total_amount": "300000000"}\n'
    return await desk.client.post(path, content=row, headers=headers)


async def test_import_does_not_bypass_a_rule(open_desk: OpenDesk) -> None:
    rules = [{"command": "createProject", "amount_from": "200", "except_scopes": ["admin"]}]
    async with open_desk({"rules": rules}) as desk:
        await add_clients(desk)
        await desk.add("migration", Scope.PROJECTS_WRITE, Scope.ADMIN)
        rejected = await _import(desk, "maker")
        assert (rejected.status_code, rejected.json()["code"]) == (403, "forbidden")
        assert "Rule 0 of the approval policy" in rejected.json()["detail"]
        assert "createProject from 200" in rejected.json()["detail"]
        assert (await _import(desk, "maker", dry_run=True)).status_code == 200
        assert (await _import(desk, "migration")).status_code == 202


async def test_rule_of_other_commands_leaves_imports_alone(open_desk: OpenDesk) -> None:
    rules = [{"command": "createFacility", "amount_from": "200"}]
    async with open_desk({"rules": rules}) as desk:
        await add_clients(desk)
        assert (await _import(desk, "maker")).status_code == 202


async def test_commands_of_portfolios_cases_and_rates_wait(open_desk: OpenDesk) -> None:
    commands = ("createPortfolio", "amendPortfolio", "addHolding", "createCase", "publishFxRateSet")
    async with open_desk({"rules": [{"command": name} for name in commands]}) as desk:
        await desk.add("maker", Scope.FINANCE_READ, Scope.FINANCE_WRITE, Scope.PROJECTS_WRITE)
        await desk.add("checker", Scope.APPROVALS_DECIDE)
        project = await desk.create()
        document = (await desk.client.get("/openapi.json")).json()["paths"]
        portfolios = "/v1/ops/portfolios"
        for path, target in (
            (portfolios, portfolios),
            ("/v1/ops/projects/{project_id}/cases", f"{project}/cases"),
            ("/v1/ops/fx-rate-sets", "/v1/ops/fx-rate-sets"),
        ):
            content = document[path]["post"]["requestBody"]["content"]["application/json"]
            body = next(iter(content["examples"].values()))["value"]
            if "rates" in body:
                body["on"] = "2026-01-05"
            asked = await desk.send("maker", "POST", target, body)
            assert asked.status_code == 202, asked.text
            decided = await desk.decide("checker", asked.headers["location"])
            assert (decided.status_code, decided.json()["state"]) == (200, "approved")
        page = (await desk.send("maker", "GET", portfolios)).json()
        key = page["items"][0]["portfolio_id"]
        share = {"project_id": project.rpartition("/")[2], "share": "5", "since": "2026-01-01"}
        asked = await desk.send("maker", "POST", f"{portfolios}/{key}/holdings", share)
        assert asked.status_code == 202
        cases = (await desk.send("maker", "GET", f"{project}/cases")).json()["items"]
        assert len(cases) == 1


async def test_no_command_of_administration_waits(desk: Desk) -> None:
    """An approval and its events have the body of the command, and these bodies have secrets."""
    paths = (await desk.client.get("/openapi.json")).json()["paths"]
    scopes = {
        operation["operationId"]: {one for each in operation["security"] for one in each["bearer"]}
        for item in paths.values()
        for operation in item.values()
        if "dry_run" in str(operation.get("parameters", "")).replace("dryRun", "dry_run")
    }
    assert "amendProject" in scopes
    assert all("admin" not in each for each in scopes.values())


async def test_command_on_a_ledger_gets_a_dry_run_and_takes_effect_with_its_approval(
    open_desk: OpenDesk,
) -> None:
    rules = [{"command": "recordEntry", "kinds": ["draw"]}, {"command": "reverseEntry"}]
    async with open_desk({"rules": rules}) as desk:
        finance = (Scope.FINANCE_READ, Scope.FINANCE_WRITE)
        await desk.add("maker", Scope.PROJECTS_READ, Scope.PROJECTS_WRITE, *finance)
        await desk.add("checker", Scope.APPROVALS_DECIDE)
        project = (await desk.send("maker", "POST", "/v1/ops/projects", WIND)).headers["location"]
        created = await desk.send("maker", "POST", f"{project}/facilities", TERMS)
        entries = f"{created.headers['location']}/entries"
        draw = {"kind": "draw", "value_date": "2020-04-15", "amount": "250000.10"}
        commands = (("draw-1", entries, draw), ("back-1", f"{entries}/1/reversal", {"reason": "x"}))
        for key, path, body in commands:
            keyed = {"if_match": "*", "idempotency_key": key}
            dry = await desk.send("maker", "POST", f"{path}?dry_run=true", body, **keyed)
            assert (dry.status_code, dry.json()["needs_approval"]) == (200, True), dry.text
            responses = [await desk.send("maker", "POST", path, body, **keyed) for _ in range(2)]
            assert [one.status_code for one in responses] == [202, 202]
            assert responses[0].content == responses[1].content
            decided = await desk.decide("checker", responses[0].headers["location"])
            assert decided.json()["state"] == "approved", decided.text
            repeated = await desk.send("maker", "POST", path, body, **keyed)
            assert repeated.content == responses[0].content
        listed = (await desk.send("maker", "GET", entries)).json()["items"]
        assert [one["amount"] for one in listed] == ["250000.10", "-250000.10"]
        # A request for an approval must be safe to repeat, as the command is.
        for path in (entries, f"{entries}?dry_run=true"):
            unkeyed = await desk.send("maker", "POST", path, draw, if_match="*")
            assert unkeyed.json()["errors"][0]["pointer"] == "/Idempotency-Key"
        found = (await desk.send("checker", "GET", APPROVALS)).json()["items"]
        assert [one["state"] for one in found] == ["approved", "approved"]
