"""Covenants over HTTP: tests on cases and actuals, re-tests, waivers, state and headroom."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import httpx
import pytest
from tests.http.covenants.conftest import Create, Json, case_body, period
from tests.http.covenants.test_case_routes import ANY, record

DATES = ["2027-12-31", "2028-06-30", "2028-12-31", "2029-06-30", "2029-12-31"]
TERMS: Json = {
    "name": "Historic DSCR",
    "metric": "DSCR",
    "lockup_level": "1.15",
    "release_level": "1.20",
    "default_level": 1.05,
    "window_months": 12,
    "test_dates": DATES,
}
Test = Callable[..., httpx.Response]


@pytest.fixture
def covenant(client: httpx.Client, project_id: str) -> Json:
    response = client.post(f"/v1/ops/projects/{project_id}/covenants", json=TERMS)
    assert response.status_code == 201, response.text
    body: Json = response.json()
    return body


@pytest.fixture
def run_test(client: httpx.Client, covenant: Json) -> Test:
    def run(tested_on: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        path = f"/v1/ops/covenants/{covenant['covenant_id']}/tests"
        return client.post(path, json={"tested_on": tested_on, **body}, headers=headers)

    return run


@pytest.fixture
def case_id(create_case: Create) -> str:
    key: str = create_case().json()["case_id"]
    return key


def state(client: httpx.Client, covenant: Json, **query: str) -> Json:
    response = client.get(f"/v1/ops/covenants/{covenant['covenant_id']}/state", params=query)
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


def pointers(response: httpx.Response) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["pointer"] for error in response.json()["errors"]]


def test_a_test_on_a_case_has_its_figures_and_uses_the_case(
    client: httpx.Client, covenant: Json, run_test: Test, case_id: str
) -> None:
    response = run_test("2028-12-31", figures="CASE", case_id=case_id)
    assert response.status_code == 201, response.text
    test = response.json()
    assert (test["ratio"], test["printed_ratio"]) == ("97/80", "1.212500")
    assert (test["band"], test["outcome"], test["is_waived"]) == ("CLEAR", "OK", False)
    assert (test["window_starts_on"], test["window_ends_on"]) == ("2028-01-01", "2028-12-31")
    assert test["formula"] == "(cfads + equity_cure) / (interest + principal)"
    inputs = {one["name"]: Fraction(one["fraction"]) for one in test["inputs"]}
    value = eval(test["formula"], {}, inputs)  # noqa: S307  # an explanation evaluates
    assert value == Fraction(test["ratio"])
    assert client.get(response.headers["location"]).json() == test
    used = client.get(f"/v1/ops/cases/{case_id}").json()
    assert (used["status"], used["version"], test["case_version"]) == ("USED", 2, 1)
    kinds = {one["kind"]: one for one in test["references"]}
    assert kinds["case"]["version"] == 1
    assert kinds["covenant"]["version"] == covenant["version"]
    feed = client.get("/v1/events", params={"subject": f"cases/{case_id}"}).json()["events"]
    assert feed[0]["id"].partition("@")[0] == kinds["case"]["position"]
    revise = client.patch(f"/v1/ops/cases/{case_id}", json={"name": "New"}, headers=ANY)
    assert pointers(revise) == ["/reason"]
    body = {"name": "New", "reason": "repriced"}
    revised = client.patch(f"/v1/ops/cases/{case_id}", json=body, headers=ANY).json()
    assert (revised["revision"], revised["status"]) == (2, "DRAFT")
    # The version that was tested can be tested again, on other dates too; a replaced draft cannot.
    for version in (1, 2):
        again = run_test("2029-06-30", figures="CASE", case_id=case_id, case_version=version)
        assert again.status_code == (201 if version == 1 else 422)
    client.patch(f"/v1/ops/cases/{case_id}", json={"name": "Newer"}, headers=ANY)
    replaced = run_test("2029-12-31", figures="CASE", case_id=case_id, case_version=3)
    assert pointers(replaced) == ["/case_version"]


def test_a_re_test_has_a_reason_and_leaves_the_first_test_as_it_was(
    client: httpx.Client, project_id: str, covenant: Json, run_test: Test
) -> None:
    record(client, project_id, period(0, "30"), period(1, "70"))
    first = run_test("2027-12-31", figures="ACTUALS")
    assert (first.json()["outcome"], first.json()["actuals_version"]) == ("OK", 1)
    record(client, project_id, period(1, "50", reason="audit"))
    assert pointers(run_test("2027-12-31", figures="ACTUALS")) == ["/reason"]
    second = run_test("2027-12-31", figures="ACTUALS", reason="audited accounts").json()
    assert (second["outcome"], second["follows"]) == ("DEFAULT", first.json()["test_id"])
    assert second["actuals_version"] == 2
    assert client.get(first.headers["location"]).json() == first.json()
    assert state(client, covenant, on="2027-12-31")["standing"] == "DEFAULT"
    known = first.json()["recorded_at"]
    assert state(client, covenant, on="2027-12-31", as_of=known)["standing"] == "OK"
    then = run_test(
        "2027-12-31", figures="ACTUALS", as_of=first.json()["actuals_as_of"], reason="as first told"
    ).json()
    assert (then["ratio"], then["actuals_version"]) == (first.json()["ratio"], 1)
    path = f"/v1/ops/projects/{project_id}/covenant-tests"
    items = client.get(path).json()["items"]
    assert [item["test_id"] for item in items] == [
        first.json()["test_id"],
        second["test_id"],
        then["test_id"],
    ]


def test_a_default_is_waived_with_a_reason_and_by_whom(
    client: httpx.Client, project_id: str, covenant: Json, run_test: Test
) -> None:
    record(client, project_id, period(0, "20"), period(1, "50"))
    assert run_test("2027-12-31", figures="ACTUALS").json()["outcome"] == "DEFAULT"
    address = f"/v1/ops/covenants/{covenant['covenant_id']}"
    body = {
        "starts_on": "2028-02-01",
        "ends_on": "2028-05-31",
        "reason": "outage",
        "granted_by": "Facility agent",
    }
    assert client.post(f"{address}/waivers", json=body).status_code == 428
    wrong = client.post(f"{address}/waivers", json={**body, "ends_on": "2028-01-01"}, headers=ANY)
    assert pointers(wrong) == ["/ends_on"]
    assert pointers(client.post(f"{address}/waivers", json={}, headers=ANY)) == [
        *("/starts_on", "/ends_on", "/reason", "/granted_by"),
    ]
    granted = client.post(f"{address}/waivers", json=body, headers=ANY)
    assert granted.status_code == 201, granted.text
    assert granted.json()["waivers"] == [{**body, "recorded_by": "local", "covers_lockup": False}]
    assert state(client, covenant, on="2028-01-31")["standing"] == "DEFAULT"
    during = state(client, covenant, on="2028-02-01")
    assert (during["standing"], len(during["waivers"])) == ("LOCKUP", 1)
    after = state(client, covenant, on="2028-06-01")
    assert (after["standing"], after["waivers"]) == ("LOCKUP", [])


def test_the_state_has_headroom_in_ratio_and_cash(
    client: httpx.Client, covenant: Json, run_test: Test, case_id: str
) -> None:
    empty = state(client, covenant, on="2027-06-01")
    assert (empty["standing"], empty["newest_test"], empty["headroom"]) == ("OK", None, None)
    assert (empty["next_test_on"], empty["overdue_since"]) == ("2027-12-31", None)
    run_test("2027-12-31", figures="CASE", case_id=case_id)
    now = state(client, covenant, on="2028-07-01")
    # 100 of CFADS on 80 of debt service: 8 more than 1.15, 16 more than 1.05.
    lockup, default = now["headroom"]["lockup"], now["headroom"]["default"]
    assert (lockup["ratio"], lockup["cfads_amount"]) == ("0.100000", "8.00")
    assert (default["ratio"], default["cfads_amount"]) == ("0.200000", "16.00")
    assert (now["next_test_on"], now["overdue_since"]) == ("2028-12-31", "2028-06-30")


def test_headroom_over_time_records_nothing(
    client: httpx.Client, covenant: Json, case_id: str
) -> None:
    address = f"/v1/ops/covenants/{covenant['covenant_id']}/headroom"
    outlook = client.get(address, params={"case_id": case_id}).json()
    ratios = [one["printed_ratio"] for one in outlook["dates"]]
    assert ratios == ["1.250000", "1.237500", "1.212500", "1.187500", "1.025000"]
    assert [one["band"] for one in outlook["dates"]] == [*["CLEAR"] * 3, "HOLD", "DEFAULT"]
    assert outlook["dates"][4]["headroom"]["default"]["cfads_amount"] == "-2.00"
    assert client.get(f"/v1/ops/cases/{case_id}").json()["status"] == "DRAFT"
    assert pointers(client.get(address)) == ["/case_id"]
    assert pointers(client.get(address, params={"case_id": "x"})) == ["/case_id"]
    other = client.get(address, params={"case_id": covenant["covenant_id"]})
    assert pointers(other) == ["/case_id"]


def test_no_debt_service_and_windows_that_are_not_full_are_not_tested(
    client: httpx.Client, project_id: str, covenant: Json, run_test: Test, create_case: Create
) -> None:
    free = [period(0, "30", interest="0", principal="0"), period(1, "1", interest=0, principal=0)]
    case_id = create_case(periods=free).json()["case_id"]
    test = run_test("2027-12-31", figures="CASE", case_id=case_id).json()
    assert (test["outcome"], test["untested_reason"]) == ("NOT_TESTED", "NO_DEBT_SERVICE")
    assert (test["ratio"], test["band"]) == (None, "NOT_TESTED")
    record(client, project_id, period(1, "70"))
    short = run_test("2027-12-31", figures="ACTUALS", reason="actuals").json()
    assert (short["outcome"], short["untested_reason"]) == ("NOT_TESTED", "WINDOW_NOT_FULL")
    assert state(client, covenant, on="2028-01-01")["standing"] == "OK"


def test_other_metrics_come_from_the_debt_of_a_case(
    client: httpx.Client, project_id: str, create_case: Create
) -> None:
    path = f"/v1/ops/projects/{project_id}/covenants"
    common = {"test_dates": ["2027-12-31"], "name": "Other"}
    llcr = client.post(path, json={**common, "metric": "LLCR", "default_level": "1.1"}).json()
    gearing = client.post(
        path, json={**common, "metric": "GEARING", "lockup_level": "0.7", "default_level": "0.8"}
    ).json()
    # Its ten repayments of 28 leave a rest of a debt of 320.10.
    partial = create_case().json()["case_id"]
    repaid = create_case(opening_debt="280").json()["case_id"]
    bare = create_case(opening_debt=None, equity=None).json()["case_id"]
    for covenant, case_id, ratio in ((llcr, repaid, None), (gearing, partial, "2641/3841")):
        address = f"/v1/ops/covenants/{covenant['covenant_id']}/tests"
        body = {"tested_on": "2027-12-31", "figures": "CASE", "case_id": case_id}
        test = client.post(address, json=body).json()
        assert ratio in {None, test["ratio"]}
        assert test["band"] in {"CLEAR", "DEFAULT"}
        if covenant is llcr:
            again = {**body, "case_id": partial, "reason": "another case"}
            untested = client.post(address, json=again).json()
            assert (untested["band"], untested["untested_reason"]) == (
                "NOT_TESTED",
                "CASE_TOO_SHORT",
            )
        assert pointers(client.post(address, json={**body, "case_id": bare})) == ["/case_id"]
        record(client, project_id, period(0, "1", reason="again"))
        actuals = client.post(address, json={"tested_on": "2027-12-31", "figures": "ACTUALS"})
        assert pointers(actuals) == ["/figures"]


def test_members_of_an_order_belong_together(
    client: httpx.Client, run_test: Test, case_id: str
) -> None:
    assert pointers(run_test("2027-12-31", figures="CASE")) == ["/case_id"]
    mixed = run_test("2027-12-31", figures="ACTUALS", case_id=case_id)
    assert pointers(mixed) == ["/case_id"]
    day = run_test("2027-12-30", figures="CASE", case_id=case_id)
    assert pointers(day) == ["/tested_on"]
    cured = run_test("2027-12-31", figures="CASE", case_id=case_id, equity_cure="5")
    assert pointers(cured) == ["/equity_cure"]
    none = run_test("2027-12-31", figures="ACTUALS")
    assert pointers(none) == ["/figures"]
    assert client.get(f"/v1/ops/cases/{case_id}").json()["status"] == "DRAFT"


def test_a_case_of_another_project_is_not_found(client: httpx.Client, run_test: Test) -> None:
    from tests.http.conftest import WIND

    other = client.post("/v1/ops/projects", json=WIND).json()["project_id"]
    made = client.post(f"/v1/ops/projects/{other}/cases", json=case_body()).json()
    response = run_test("2027-12-31", figures="CASE", case_id=made["case_id"])
    assert pointers(response) == ["/case_id"]


def test_of_sixteen_tests_of_a_date_one_is_the_first(
    client: httpx.Client, covenant: Json, run_test: Test, case_id: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        responses = list(
            pool.map(lambda _: run_test("2027-12-31", figures="CASE", case_id=case_id), range(16))
        )
    statuses = [response.status_code for response in responses]
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 409, 422}
    address = f"/v1/ops/covenants/{covenant['covenant_id']}"
    assert len(client.get(address).json()["tests"]) == 1
    items = client.get(f"/v1/ops/projects/{covenant['project_id']}/covenant-tests").json()["items"]
    assert len(items) == 1


def test_a_repeated_test_is_one_test(run_test: Test, case_id: str) -> None:
    key = {"idempotency-key": f"test-{case_id}"}
    first, second = (run_test("2027-12-31", key, figures="CASE", case_id=case_id) for _ in "12")
    assert first.status_code == second.status_code == 201
    assert first.content == second.content


def test_amended_levels_hold_for_later_tests_only(
    client: httpx.Client, covenant: Json, run_test: Test, case_id: str
) -> None:
    first = run_test("2029-06-30", figures="CASE", case_id=case_id)
    address = f"/v1/ops/covenants/{covenant['covenant_id']}"
    patch = {"lockup_level": "1.19", "reason": "amendment letter"}
    amended = client.patch(address, json=patch, headers=ANY)
    assert (amended.json()["lockup_level"], len(amended.json()["tests"])) == ("1.19", 1)
    assert client.get(first.headers["location"]).json()["lockup_level"] == "1.15"
    second = run_test("2029-06-30", figures="CASE", case_id=case_id, reason="amended").json()
    assert (first.json()["outcome"], second["outcome"]) == ("OK", "LOCKUP")
    wrong = client.patch(address, json={"metric": "LLCR", "window_months": None}, headers=ANY)
    assert pointers(wrong) == ["/metric"]
    assert pointers(client.patch(address, json={"default_level": "2"}, headers=ANY)) == [
        "/lockup_level"
    ]


def test_covenants_and_their_tests_are_datasets(
    client: httpx.Client, project_id: str, run_test: Test, case_id: str
) -> None:
    run_test("2029-12-31", figures="CASE", case_id=case_id)
    rows = client.get("/v1/data/covenants.json", params={"project_id": project_id}).json()
    assert [(row["metric"], row["lockup_level"]) for row in rows] == [("DSCR", "1.15")]
    query = {"project_id": project_id, "outcome": "DEFAULT", "tested_on[gt]": "2029-01-01"}
    tests = client.get("/v1/data/covenant_tests.json", params=query).json()
    assert [row["printed_ratio"] for row in tests] == ["1.025000"]


def test_events_tell_of_a_covenant_and_its_tests(
    client: httpx.Client, covenant: Json, run_test: Test, case_id: str
) -> None:
    test = run_test("2027-12-31", figures="CASE", case_id=case_id).json()
    for subject, types in (
        (f"covenants/{covenant['covenant_id']}", ["covenant.created", "covenant.tested"]),
        (f"covenant_tests/{test['test_id']}", ["covenant_test.recorded"]),
        (f"cases/{case_id}", ["case.created", "case.used"]),
    ):
        events = client.get("/v1/events", params={"subject": subject}).json()["events"]
        assert [event["type"] for event in events] == [f"spawn.{name}.v1" for name in types]
