"""Milestones over HTTP: added, met, waived, open again; what they stop, and races."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND

ANY = {"if-match": "*"}
PERMIT = {
    "milestone_id": "cp-permit",
    "title": "Building permit",
    "kind": "CONDITION_PRECEDENT",
    "due_date": "2026-09-30",
    "draw_stop": True,
}


@pytest.fixture
def path(client: httpx.Client) -> str:
    project = client.post("/v1/ops/projects", json=WIND).json()
    address = f"/v1/ops/projects/{project['project_id']}/milestones"
    added = client.post(address, json=PERMIT, headers=ANY)
    assert added.status_code == 200, added.text
    return address


def decide(client: httpx.Client, path: str, decision: str, **members: Any) -> httpx.Response:
    body = {"milestone_id": "cp-permit", "decision": decision, **members}
    return client.post(f"{path}/decisions", json=body, headers=ANY)


def test_a_milestone_is_open_until_it_is_met(client: httpx.Client, path: str) -> None:
    before = client.get(path, params={"on": "2026-10-01"}).json()
    (milestone,) = before["milestones"]
    assert (milestone["state"], milestone["is_overdue"]) == ("OPEN", True)
    assert before["open_conditions"] == before["draw_stops"] == ["cp-permit"]
    assert not client.get(path, params={"on": "2026-09-30"}).json()["milestones"][0]["is_overdue"]
    met = decide(client, path, "MET", on="2026-09-12", evidence="permit of 12 September")
    assert met.status_code == 200, met.text
    after = client.get(path).json()
    assert after["version"] == before["version"] + 1
    assert after["open_conditions"] == after["draw_stops"] == []
    assert after["milestones"][0]["evidence"] == "permit of 12 September"
    assert decide(client, path, "WAIVED", on="2026-09-12", reason="late").status_code == 409


def test_a_milestone_opens_again_for_a_reason_that_the_history_keeps(
    client: httpx.Client, path: str
) -> None:
    waived = decide(client, path, "WAIVED", on="2026-09-12", reason="not needed")
    assert waived.json()["milestones"][0]["waived_on"] == "2026-09-12"
    assert decide(client, path, "REOPENED").json()["errors"][0]["pointer"] == "/reason"
    again = decide(client, path, "REOPENED", reason="appeal")
    (milestone,) = client.get(path).json()["milestones"]
    assert (milestone["state"], milestone["waived_on"]) == ("OPEN", None)
    assert decide(client, path, "REOPENED", reason="appeal").status_code == 409
    history = client.get(f"{path.removesuffix('/milestones')}/history").json()["items"]
    assert [entry.get("reason") for entry in history] == [None, None, "not needed", "appeal"]
    created_at = history[-2]["recorded_at"]
    then = client.get(path, params={"as_of": created_at}).json()
    assert then["milestones"][0]["state"] == "WAIVED"
    assert again.headers["etag"].startswith('"4-')


@pytest.mark.parametrize(
    ("decision", "members", "pointers"),
    [
        ("MET", {}, ["/on"]),
        ("WAIVED", {}, ["/on", "/reason"]),
        ("WAIVED", {"on": "2026-01-01", "reason": " "}, ["/reason"]),
        ("REOPENED", {"on": "2026-01-01", "reason": "x"}, ["/on"]),
        ("DONE", {}, ["/decision"]),
        ("MET", {"on": "2026-02-30", "size": 1}, ["/on", "/size"]),
        ("MET", {"on": "2999-01-01"}, ["/on"]),
        ("WAIVED", {"on": "2999-01-01", "reason": "early"}, ["/on"]),
    ],
)
def test_a_decision_names_what_it_lacks(
    client: httpx.Client, path: str, decision: str, members: dict[str, Any], pointers: list[str]
) -> None:
    response = decide(client, path, decision, **members)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == pointers


def test_ids_are_unique_and_unknown_ones_are_404(client: httpx.Client, path: str) -> None:
    assert client.post(path, json=PERMIT, headers=ANY).status_code == 409
    assert client.post(path, json=PERMIT).status_code == 428
    body = {"milestone_id": "other", "decision": "MET", "on": "2026-01-01"}
    assert client.post(f"{path}/decisions", json=body, headers=ANY).status_code == 404


def test_financial_close_waits_for_the_conditions(client: httpx.Client, path: str) -> None:
    transitions = path.replace("/milestones", "/transitions")
    client.post(transitions, json={"to": "MANDATED", "reason": "signed"}, headers=ANY)
    close = {"to": "FINANCIAL_CLOSE", "reason": "closed"}
    stopped = client.post(transitions, json=close, headers=ANY)
    assert stopped.status_code == 409
    assert "cp-permit" in stopped.json()["detail"]
    decide(client, path, "WAIVED", on="2026-09-12", reason="consent")
    assert client.post(transitions, json=close, headers=ANY).status_code == 200


def test_no_close_wins_against_a_condition_that_opens_again(
    client: httpx.Client, path: str
) -> None:
    transitions = path.replace("/milestones", "/transitions")
    client.post(transitions, json={"to": "MANDATED", "reason": "signed"}, headers=ANY)
    decide(client, path, "MET", on="2026-09-12")
    close = {"to": "FINANCIAL_CLOSE", "reason": "closed"}

    def act(number: int) -> int:
        if number % 2:
            return client.post(transitions, json=close, headers=ANY).status_code
        return decide(client, path, "REOPENED", reason="appeal").status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(act, range(16)))
    assert statuses.count(200) in {1, 2}
    entries = client.get(path.replace("/milestones", "/history")).json()["items"]
    for entry in entries:
        if entry["type"] == "project.transitioned" and entry["document"]["status"] != "MANDATED":
            assert entry["document"]["milestones"][0]["met_on"] == "2026-09-12"


@pytest.mark.parametrize(
    ("milestones", "pointers"),
    [
        ([], ["/milestones"]),
        ([{**PERMIT, "met_on": "2026-09-12"}], ["/milestones/0/met_on"]),
        ([{**PERMIT, "waived_on": "2026-09-12"}], ["/milestones/0/waived_on"]),
        ([{**PERMIT, "draw_stop": False}], ["/milestones/0/draw_stop"]),
        ([{**PERMIT, "kind": "MILESTONE"}], ["/milestones/0/kind"]),
        ([{**PERMIT, "milestone_id": "cp-2"}], ["/milestones"]),
    ],
)
def test_a_patch_does_not_decide_about_a_milestone(
    client: httpx.Client, path: str, milestones: list[dict[str, Any]], pointers: list[str]
) -> None:
    project = path.removesuffix("/milestones")
    patched = client.patch(project, json={"milestones": milestones}, headers=ANY)
    errors = patched.json()["errors"]
    assert [error["pointer"] for error in errors] == pointers
    assert {error["code"] for error in errors} == {"use_decision"}
    assert client.get(path).json()["draw_stops"] == ["cp-permit"]


def test_a_patch_changes_what_needs_no_decision(client: httpx.Client, path: str) -> None:
    project = path.removesuffix("/milestones")
    opening = {"milestone_id": "m-1", "title": "Opening"}
    changed = [{**PERMIT, "title": "Permit of the district", "due_date": "2026-10-31"}, opening]
    assert client.patch(project, json={"milestones": changed}, headers=ANY).status_code == 200
    assert decide(client, path, "MET", on="2026-09-12").status_code == 200
    reopened = client.patch(project, json={"milestones": changed}, headers=ANY)
    assert [one["pointer"] for one in reopened.json()["errors"]] == ["/milestones/0/met_on"]
    new = {"milestone_id": "m-2", "title": "Handover", "waived_on": "2999-01-01"}
    met = {**PERMIT, "title": "Permit of the district", "met_on": "2026-09-12"}
    response = client.patch(project, json={"milestones": [met, new]}, headers=ANY)
    assert [(one["pointer"], one["code"]) for one in response.json()["errors"]] == [
        ("/milestones/1/waived_on", "in_the_future")
    ]
    removed = client.patch(project, json={"milestones": [opening]}, headers=ANY)
    assert removed.status_code == 200, removed.text


def test_no_milestone_is_met_on_a_day_that_is_still_to_come(client: httpx.Client) -> None:
    body = {**WIND, "milestones": [{**PERMIT, "met_on": "2999-01-01"}]}
    (error,) = client.post("/v1/ops/projects", json=body).json()["errors"]
    assert (error["pointer"], error["code"]) == ("/milestones/0/met_on", "in_the_future")


def test_no_status_is_effective_on_a_day_that_is_still_to_come(
    client: httpx.Client, path: str
) -> None:
    body = {"to": "MANDATED", "reason": "signed", "effective_on": "2999-01-01"}
    response = client.post(path.replace("/milestones", "/transitions"), json=body, headers=ANY)
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/effective_on", "in_the_future")
