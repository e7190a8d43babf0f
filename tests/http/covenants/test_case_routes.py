"""Cases and actuals over HTTP: versions, preconditions, comparison, facts as of a time."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.http.covenants.conftest import Create, case_body, period

from spawn.application.covenants import case_commands
from spawn.entrypoints.http.covenants import case_routes
from spawn.entrypoints.http.covenants.case_wire import read_case_terms

ANY = {"if-match": "*"}


def test_a_case_is_created_read_and_listed(
    client: httpx.Client, project_id: str, create_case: Create
) -> None:
    created = create_case()
    assert created.status_code == 201, created.text
    case = created.json()
    assert (case["status"], case["revision"], case["version"]) == ("DRAFT", 1, 1)
    assert case["periods"][0]["cfads"] == "30.00"
    address = created.headers["location"]
    assert address == f"/v1/ops/cases/{case['case_id']}"
    found = client.get(address)
    assert found.json() == case
    assert found.headers["etag"] == created.headers["etag"]
    create_case(name="Second", kind="P90")
    path = f"/v1/ops/projects/{project_id}/cases"
    first = client.get(path, params={"limit": 1})
    assert [item["name"] for item in first.json()["items"]] == ["Wind base"]
    second = client.get(path, params={"limit": 1, "after": first.json()["next"]})
    assert [item["kind"] for item in second.json()["items"]] == ["P90"]


def test_a_gap_is_an_error_that_names_the_period(create_case: Create) -> None:
    periods = case_body()["periods"]
    del periods[4]
    response = create_case(periods=periods)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/periods/4/starts_on", "gap")
    assert "period 5 starts on 2029-07-01: a gap after period 4" in error["detail"]


def test_every_invalid_member_is_named(create_case: Create) -> None:
    periods = [period(0, "1.005"), period(1, "1", intrest="1"), period(2, "x")]
    pointers = [error["pointer"] for error in create_case(periods=periods).json()["errors"]]
    assert pointers == ["/periods/1/intrest", "/periods/2/cfads"]
    assert create_case(periods=[]).json()["errors"][0]["pointer"] == "/periods"
    assert create_case(currency_code="EURO").json()["errors"][0]["pointer"] == "/currency_code"
    assert create_case(name="P\u202e50").json()["errors"][0]["code"] == "invisible_character"


@pytest.mark.parametrize(("padding", "on_loop"), [(0, True), (64 * 1024, False)])
def test_a_large_case_is_read_on_a_thread(
    client: httpx.Client,
    project_id: str,
    monkeypatch: pytest.MonkeyPatch,
    padding: int,
    on_loop: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    has_loop: list[bool] = []

    def note_thread(document: bytes) -> Any:
        has_loop.append(asyncio._get_running_loop() is not None)
        return read_case_terms(document)

    monkeypatch.setattr(case_routes, "read_case_terms", note_thread)
    body = json.dumps(case_body()).encode() + b" " * padding
    path, headers = f"/v1/ops/projects/{project_id}/cases", {"content-type": "application/json"}
    created = client.post(path, content=body, headers=headers)
    assert created.status_code == 201, created.text
    assert has_loop == [on_loop]


@pytest.mark.parametrize("name", ["draw_up_case", "revise_case", "record_actuals"])
def test_figures_are_checked_on_a_thread(
    client: httpx.Client, project_id: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    has_loop: list[bool] = []
    check = getattr(case_commands, name)

    def note_thread(*arguments: Any, **options: Any) -> Any:
        has_loop.append(asyncio._get_running_loop() is not None)
        return check(*arguments, **options)

    monkeypatch.setattr(case_commands, name, note_thread)
    cases = f"/v1/ops/projects/{project_id}/cases"
    path = client.post(cases, json=case_body()).headers["location"]
    assert client.patch(path, json={"name": "P50"}, headers=ANY).json()["name"] == "P50"
    facts = {"currency_code": "EUR", "periods": [period(0, "30")]}
    recorded = client.post(f"/v1/ops/projects/{project_id}/actuals", json=facts)
    assert recorded.status_code == 201, recorded.text
    assert has_loop == [False]


def test_a_case_of_no_project_is_404_and_writes_nothing(client: httpx.Client) -> None:
    path = "/v1/ops/projects/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b/cases"
    assert client.post(path, json=case_body()).status_code == 404
    assert client.get(path).status_code == 404


def test_a_revision_needs_the_version_and_keeps_the_earlier_one(
    client: httpx.Client, create_case: Create
) -> None:
    created = create_case()
    address, tag = created.headers["location"], created.headers["etag"]
    assert client.patch(address, json={"name": "New"}).status_code == 428
    patched = client.patch(address, json={"name": "New"}, headers={"if-match": tag})
    assert (patched.status_code, patched.json()["version"]) == (200, 2)
    stale = client.patch(address, json={"name": "Newer"}, headers={"if-match": tag})
    assert stale.status_code == 412
    assert client.get(address, params={"version": 1}).json()["name"] == "Wind base"
    assert client.get(address, params={"version": 3}).status_code == 404
    recorded_at = created.json()["created_at"]
    assert client.get(address, params={"as_of": recorded_at}).json()["version"] == 1
    both = client.get(address, params={"as_of": recorded_at, "version": 1})
    assert both.json()["errors"][0]["pointer"] == "/as_of"
    same = client.patch(address, json={"name": "New"}, headers=ANY)
    assert same.json()["version"] == 2
    removed = client.patch(address, json={"equity": None}, headers=ANY)
    assert (removed.json()["version"], removed.json()["equity"]) == (3, None)
    wrong = client.patch(address, json={"name": None, "size": 1}, headers=ANY).json()["errors"]
    assert {error["pointer"] for error in wrong} == {"/name", "/size"}


def test_a_repeated_creation_makes_one_case(
    client: httpx.Client, project_id: str, create_case: Create
) -> None:
    key = {"idempotency-key": f"case-{project_id}"}
    first, second = create_case(key), create_case(key)
    assert second.content == first.content
    assert second.headers["location"] == first.headers["location"]
    assert create_case(key, name="Other").status_code == 422
    items = client.get(f"/v1/ops/projects/{project_id}/cases").json()["items"]
    assert len(items) == 1


def test_cases_are_compared_side_by_side(client: httpx.Client, create_case: Create) -> None:
    base = create_case().json()
    low = create_case(kind="P90", periods=[period(0, "20"), period(1, "50")]).json()
    keys = [{"case_id": case["case_id"]} for case in (base, low)]
    response = client.post("/v1/ops/cases/compare", json={"cases": keys})
    assert response.status_code == 200, response.text
    comparison = response.json()
    first = comparison["periods"][0]["cases"]
    assert [figures["dscr"] for figures in first] == ["0.750000", "0.500000"]
    assert first[1]["dscr_difference"] == "-0.250000"
    assert first[1]["cfads_difference"] == "-10.00"
    assert len(comparison["periods"]) == 10
    assert comparison["periods"][9]["cases"][1]["cfads"] is None
    missing: Any = [keys[0], {"case_id": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"}]
    error = client.post("/v1/ops/cases/compare", json={"cases": missing}).json()["errors"][0]
    assert (error["pointer"], error["code"]) == ("/cases/1/case_id", "not_found")
    dollars = create_case(currency_code="USD").json()["case_id"]
    body = {"cases": [keys[0], {"case_id": dollars}]}
    error = client.post("/v1/ops/cases/compare", json=body).json()["errors"][0]
    assert error["code"] == "currency_mismatch"


def record(client: httpx.Client, project_id: str, *periods: Any, **headers: str) -> httpx.Response:
    body = {"currency_code": "EUR", "periods": periods}
    return client.post(f"/v1/ops/projects/{project_id}/actuals", json=body, headers=headers)


def test_actuals_are_corrected_by_later_facts_and_read_as_of_a_time(
    client: httpx.Client, project_id: str, create_case: Create
) -> None:
    path = f"/v1/ops/projects/{project_id}/actuals"
    assert client.get(path).json()["version"] == 0
    first = record(client, project_id, period(0, "31", evidence="accounts"), period(1, "66"))
    assert first.status_code == 201, first.text
    assert len(first.json()["recorded_periods"]) == 2
    again = record(client, project_id, period(0, "32"))
    assert again.json()["errors"][0]["pointer"] == "/periods/0/reason"
    corrected = record(client, project_id, period(0, "32", reason="audit"))
    assert corrected.json()["version"] == 2
    now = client.get(path).json()
    assert [item["cfads"] for item in now["periods"]] == ["32.00", "66.00"]
    assert [item["recorded_version"] for item in now["periods"]] == [2, 1]
    assert now["periods"][0]["recorded_at"] == corrected.json()["recorded_at"]
    then = client.get(path, params={"as_of": first.json()["recorded_at"]}).json()
    assert [item["cfads"] for item in then["periods"]] == ["31.00", "66.00"]
    early = client.get(path, params={"on": "2027-11-30"}).json()
    assert [item["ends_on"] for item in early["periods"]] == ["2027-06-30"]
    case_id = create_case().json()["case_id"]
    variance = client.get(f"/v1/ops/cases/{case_id}/variance").json()
    assert variance["periods"][0]["cfads_difference"] == "2.00"
    assert variance["periods"][1]["cfads_difference"] == "-4.00"
    assert variance["periods"][2]["actual_cfads"] is None
    dollars = create_case(currency_code="USD").json()["case_id"]
    mismatch = client.get(f"/v1/ops/cases/{dollars}/variance")
    assert mismatch.json()["errors"][0]["code"] == "currency_mismatch"


def test_facts_that_overlap_are_recorded_neither_at_once_nor_later(
    client: httpx.Client, project_id: str
) -> None:
    month = period(0, "5", ends_on="2027-01-31")
    both = record(client, project_id, period(0, "31"), month)
    assert both.json()["errors"][0]["code"] == "overlap"
    assert record(client, project_id, month).status_code == 201
    later = record(client, project_id, period(0, "31"))
    assert later.json()["errors"][0]["code"] == "overlap"
    assert client.get(f"/v1/ops/projects/{project_id}/actuals").json()["version"] == 1


def test_of_sixteen_writers_one_records_a_period_first(
    client: httpx.Client, project_id: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        responses = list(
            pool.map(lambda n: record(client, project_id, period(0, str(n))), range(16))
        )
    statuses = sorted(response.status_code for response in responses)
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 409, 422}
    assert client.get(f"/v1/ops/projects/{project_id}/actuals").json()["version"] == 1


def test_cases_are_a_dataset_with_a_row_for_each_period(
    client: httpx.Client, project_id: str, create_case: Create
) -> None:
    create_case()
    query = {"project_id": project_id, "cfads[gt]": "60"}
    rows = client.get("/v1/data/cases.json", params=query).json()
    assert [row["cfads"] for row in rows] == ["70.00", "68.00", "70.00", "71.00"]
    text = client.get("/v1/data/cases.csv", params={**query, "fields": "ends_on,cfads"}).text
    assert text.splitlines()[:2] == ["ends_on,cfads", "2027-12-31,70.00"]


def test_each_change_of_a_case_is_an_event(client: httpx.Client, create_case: Create) -> None:
    created = create_case()
    address = created.headers["location"]
    client.patch(address, json={"name": "New", "reason": "typing error"}, headers=ANY)
    subject = f"cases/{created.json()['case_id']}"
    events = client.get("/v1/events", params={"subject": subject}).json()["events"]
    assert [event["type"] for event in events] == [
        "spawn.case.created.v1",
        "spawn.case.revised.v1",
    ]
    assert events[1]["data"]["changed"] == ["name", "revision_reason"]
    assert events[1]["data"]["after"]["name"] == "New"
