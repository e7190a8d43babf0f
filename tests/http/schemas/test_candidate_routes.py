"""HTTP routes of schema candidates: verdicts, dry runs, diffs, migrations, decisions."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service, Start
from tests.http.registry_stub import RegistryStub, build_schema_document, serve_registry

PROJECTS = "/v1/ops/projects"
SCHEMA = "/v1/governance/schemas/project_schema"
UNITS = {"name": "units", "type": "integer"}
GRADE = {"name": "grade", "type": "string(20)", "enum": ["A", "B"]}


@pytest.fixture
def registry() -> Iterator[RegistryStub]:
    with serve_registry(UNITS, GRADE) as served:
        yield served


@pytest.fixture
def service(start: Start, registry: RegistryStub) -> Service:
    """A service under version 2 with two projects, which refreshes only on request."""
    running = start(ontology_url=registry.url, schema_refresh_s=86_400.0)
    with running.client() as client:
        for units in (7, 70_000):
            assert client.post(PROJECTS, json={**WIND, "units": units}).status_code == 201
        # Its first look by itself, at the start, is over when a look that began later is.
        client.post(f"{SCHEMA}/refresh").raise_for_status()
    return running


@pytest.fixture
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def refreshed(desk: httpx.Client) -> dict[int, dict[str, Any]]:
    """What waits after another look at the registry, by version."""
    items = desk.post(f"{SCHEMA}/refresh").json()["items"]
    return {item["version"]: item for item in items}


def test_dry_run_returns_verdicts_plan_and_violating_projects(desk: httpx.Client) -> None:
    proposed = build_schema_document(
        3, {**UNITS, "maximum": 100}, {"name": "hub", "type": "string"}
    )
    result = desk.post(f"{SCHEMA}/check", json=proposed).json()
    assert (result["version"], result["adoptable"], result["mode"]) == (
        3,
        False,
        "backward_transitive",
    )
    kinds = {f["path"]: f for f in result["comparisons"][0]["findings"]}
    tightened = kinds["/columns/units/maximum"]
    assert (tightened["rows"], tightened["writers"], tightened["readers"]) == (
        "if_proven",
        "no",
        "yes",
    )
    assert result["plan"] == [
        "Add hub, a string, filled from x_hub.",
        "Hide grade; its values stay stored.",
    ]
    assert result["statements"]
    (failure,) = result["failures"]
    assert (failure["stored"], failure["projects"]) == ("units", 1)
    assert desk.get(f"{PROJECTS}/{failure['sample'][0]}").json()["units"] == 70_000
    assert "breaks the writers of version 2" in result["objections"][0]
    assert desk.get(f"{SCHEMA}/candidates").json()["items"] == []


def test_dry_run_counts_values_that_another_type_would_lose(desk: httpx.Client) -> None:
    result = desk.post(
        f"{SCHEMA}/check", json=build_schema_document(3, {**UNITS, "type": "date"}, GRADE)
    ).json()
    assert result["adoptable"] is False
    assert [(f["stored"], f["projects"]) for f in result["failures"]] == [("units", 2)]


def test_dry_run_under_another_mode_has_another_result(desk: httpx.Client) -> None:
    proposed = build_schema_document(3, UNITS, {**GRADE, "enum": ["A", "B", "C"]})
    for mode, adoptable in (("backward", True), ("full", False)):
        result = desk.post(f"{SCHEMA}/check", params={"mode": mode}, json=proposed).json()
        assert (result["mode"], result["adoptable"]) == (mode, adoptable)
    problem = desk.post(f"{SCHEMA}/check", params={"mode": "loud"}, json=proposed)
    assert problem.json()["errors"][0]["pointer"] == "/mode"


def test_dry_run_of_a_used_version_number_or_invalid_schema_is_rejected(desk: httpx.Client) -> None:
    result = desk.post(f"{SCHEMA}/check", json=build_schema_document(2, UNITS)).json()
    assert result["adoptable"] is False
    assert result["objections"][0] == "version 2 is known with another content"
    bad = desk.post(
        f"{SCHEMA}/check", json=build_schema_document(3, {"name": "sponsors", "type": "strnig"})
    )
    assert bad.status_code == 422
    pointers = {error["pointer"] for error in bad.json()["errors"]}
    assert pointers == {"/columns/0/name", "/columns/0/type"}
    assert desk.post(f"{SCHEMA}/check", content=b"[]").status_code == 415
    assert (
        desk.post("/v1/governance/schemas/other/check", json=build_schema_document(3)).status_code
        == 404
    )


def test_adoption_is_in_the_migration_log(desk: httpx.Client, registry: RegistryStub) -> None:
    registry.publish(3, {**UNITS, "type": "bigint"}, GRADE, {"name": "hub", "type": "string"})
    outcome = desk.post(f"{SCHEMA}/refresh").json()
    assert (outcome["verdict"], outcome["items"]) == ("adopted", [])
    assert outcome["detail"] == "version 3 took over the data of version 2"
    assert (outcome["version"]["version"], outcome["version"]["state"]) == (3, "active")
    assert desk.post(f"{SCHEMA}/refresh").json()["verdict"] == "unchanged"
    assert desk.get(SCHEMA).json()["version"] == 3
    registry.publish(4, {**UNITS, "type": "bigint"}, GRADE)
    refreshed(desk)
    newest, before = desk.get(f"{SCHEMA}/migrations").json()["items"]
    assert (newest["old_version"], newest["new_version"]) == (3, 4)
    assert (before["old_version"], before["new_version"]) == (2, 3)
    assert (before["outcome"], before["reason"]) == ("adopted", None)
    assert before["statements"]
    assert before["actor"]
    first = desk.get(f"{SCHEMA}/migrations", params={"limit": 1})
    assert first.json()["items"] == [newest]
    rest = desk.get(first.links["next"]["url"]).json()
    assert rest == {"items": [before], "next": None}
    assert desk.get(f"{SCHEMA}/migrations", params={"after": "x"}).status_code == 400


def test_diff_compares_two_versions(desk: httpx.Client, registry: RegistryStub) -> None:
    registry.publish(3, {**UNITS, "type": "bigint"}, GRADE)
    refreshed(desk)
    result = desk.get(f"{SCHEMA}/diff", params={"from": 2, "to": 3}).json()
    assert (result["rows"], result["writers"], result["readers"]) == ("yes", "yes", "no")
    assert [f["path"] for f in result["findings"]] == ["/columns/units/type"]
    assert result["plan"] == ["Widen units from integer to bigint."]
    assert result["findings"][0]["reason"] == "units is a bigint where it was an integer."
    back = desk.get(f"{SCHEMA}/diff", params={"from": 3, "to": 2}).json()
    assert (back["rows"], back["plan"]) == ("no", [])


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 422),
        ({"from": "2"}, 422),
        ({"from": "2", "to": "x"}, 422),
        ({"from": "2", "to": "²"}, 422),
        ({"from": "2", "to": "99"}, 404),
        ({"from": "2", "to": "2", "via": "3"}, 422),
    ],
)
def test_diff_of_invalid_versions_is_rejected(
    desk: httpx.Client, asked: dict[str, str], status: int
) -> None:
    assert desk.get(f"{SCHEMA}/diff", params=asked).status_code == status


def test_quarantined_version_has_current_verdicts(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    registry.publish(3, {**UNITS, "maximum": 100}, GRADE)
    waiting = refreshed(desk)[3]
    assert waiting["state"] == "quarantined"
    result = desk.get(f"{SCHEMA}/candidates/3").json()
    assert result["reason"] == waiting["reason"]
    proposal = result["proposal"]
    assert proposal["adoptable"] is False
    assert [f["path"] for f in proposal["comparisons"][0]["findings"]] == ["/columns/units/maximum"]
    assert [f["projects"] for f in proposal["failures"]] == [1]
    for number in ("9", "2", "x", "03"):
        assert desk.get(f"{SCHEMA}/candidates/{number}").status_code == 404


def test_invalid_document_has_a_reason_and_no_verdicts(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    registry.publish(3, {"name": "units; drop table projects", "type": "integer"})
    assert refreshed(desk)[3]["state"] == "quarantined"
    result = desk.get(f"{SCHEMA}/candidates/3").json()
    assert result["proposal"] is None
    assert "/columns/0/name" in result["reason"]
    assert desk.get(f"{SCHEMA}/diff", params={"from": 2, "to": 3}).status_code == 409
    approved = desk.post(f"{SCHEMA}/candidates/3/approve", json={"reason": "please"})
    assert (approved.status_code, approved.json()["code"]) == (409, "conflict")


def test_approved_version_is_active_with_actor_and_reason(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    registry.publish(3, {**UNITS, "maximum": 100_000}, GRADE)
    assert refreshed(desk)[3]["state"] == "quarantined"
    reason = {"reason": "no client sends more"}
    result = desk.post(f"{SCHEMA}/candidates/3/approve", json=reason).json()
    assert (result["verdict"], result["version"]["state"]) == ("adopted", "active")
    active = desk.get(SCHEMA).json()
    assert active["version"] == 3
    assert active["decision"]["approved"] is True
    assert active["decision"]["reason"] == reason["reason"]
    (migration,) = desk.get(f"{SCHEMA}/migrations").json()["items"]
    assert (migration["actor"], migration["reason"]) == ("local", reason["reason"])


def test_version_that_stored_data_violate_cannot_be_approved(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    registry.publish(3, {**UNITS, "maximum": 100}, GRADE)
    refreshed(desk)
    problem = desk.post(f"{SCHEMA}/candidates/3/approve", json={"reason": "never mind"})
    assert (problem.status_code, problem.json()["code"]) == (409, "conflict")
    assert "units of 1 row" in problem.json()["detail"]
    assert desk.get(SCHEMA).json()["version"] == 2


def test_rejected_version_is_not_considered_again(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    registry.publish(3, {**UNITS, "unit": "MW"}, {**GRADE, "enum": ["A"]})
    refreshed(desk)
    result = desk.post(f"{SCHEMA}/candidates/3/reject", json={"reason": "wrong unit"}).json()
    assert (result["verdict"], result["version"]["state"]) == ("rejected", "rejected")
    assert refreshed(desk)[3]["decision"]["reason"] == "wrong unit"
    assert desk.get("/monitoring/health").json()["checks"]["schema"]["status"] == "ok"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/reason"),
        ({"reason": " "}, "/reason"),
        ({"reason": 3}, "/reason"),
        ({"reason": "x" * 1001}, "/reason"),
        ({"reason": "x", "force": True}, "/force"),
    ],
)
def test_a_decision_needs_a_reason_and_nothing_else(
    desk: httpx.Client, registry: RegistryStub, body: dict[str, Any], pointer: str
) -> None:
    registry.publish(3, {**UNITS, "maximum": 100}, GRADE)
    refreshed(desk)
    for what in ("approve", "reject"):
        problem = desk.post(f"{SCHEMA}/candidates/3/{what}", json=body)
        assert problem.status_code == 422
        assert [error["pointer"] for error in problem.json()["errors"]] == [pointer]
