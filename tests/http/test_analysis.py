"""The calculators over HTTP: bad input named field by field, several cases, forms of the answer."""

import contextlib
import csv
import io
import json
import math
import select
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.domain.finance.figures import numbers
from tests.http.conftest import Service, Start

from spawn.entrypoints.http.analysis import responses
from spawn.entrypoints.http.analysis.examples import EXAMPLES

Json = dict[str, Any]
FILES = sorted((Path(__file__).parents[2] / "examples" / "analysis").glob("*.json"))
SIZING: Json = {"cfads": [110.0, 120.0, 115.0], "annual_rates": 0.05, "target_dscr": 1.3}
DATED: Json = {
    **SIZING,
    "dates": ["2027-01-01", "2027-07-01", "2028-01-01", "2028-07-01"],
    "day_count": "ACT/360",
    "months_per_period": 6,
}
LOAN: Json = {
    "principal": 100.0,
    "annual_rates": 0.05,
    "profile": "straight_line",
    "dates": ["2027-01-01", "2028-01-01", "2029-01-01"],
}
COVERAGE: Json = {
    "debt": 100.0,
    "cfads": [70.0, 70.0],
    "interest": [5.0, 2.5],
    "principal": [50.0, 50.0],
    "period_rates": 0.05,
}


@pytest.fixture(scope="module")
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def post(client: httpx.Client, calculator: str, body: Any, **headers: str) -> httpx.Response:
    return client.post(f"/v1/analysis/{calculator}", json=body, headers=headers)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_answered_with_conventions(desk: httpx.Client, name: str) -> None:
    answer = post(desk, name, EXAMPLES[name])
    assert answer.status_code == 200, answer.text
    assert answer.json()["conventions"]
    assert isinstance(answer.json()["warnings"], list)
    assert all(math.isfinite(number) for number in numbers(answer.json()))


def test_several_cases_are_answered_in_their_order(desk: httpx.Client) -> None:
    cases = [{**SIZING, "name": f"at {dscr}", "target_dscr": dscr} for dscr in (1.2, 1.3, 1.4)]
    results = post(desk, "debt-sizing", {"cases": cases}).json()["results"]
    assert [result["name"] for result in results] == ["at 1.2", "at 1.3", "at 1.4"]
    for result, case in zip(results, cases, strict=True):
        alone = post(desk, "debt-sizing", case).json()
        assert alone == result
        assert result["min_dscr"] == pytest.approx(case["target_dscr"], abs=1e-12)


def test_the_same_figures_come_from_a_thread_and_from_the_loop(desk: httpx.Client) -> None:
    """A small sizing is worked off at once; among many the same case goes to a thread."""
    alone = post(desk, "debt-sizing", SIZING).json()
    many = post(desk, "debt-sizing", {"cases": [SIZING] * 100}).json()["results"]
    assert many == [alone] * 100


def test_explain_gives_formula_and_inputs_that_make_the_figure(desk: httpx.Client) -> None:
    found = post(desk, "debt-sizing", {**SIZING, "explain": True}).json()
    explained = found["explain"]
    headline = {"debt", "min_dscr", "avg_dscr", "llcr", "plcr", "wal_years", "total_interest"}
    assert set(explained) == headline
    debt = explained["debt"]
    value, discount = 0.0, 1.0
    series = zip(debt["inputs"]["cfads"], debt["inputs"]["period_rates"], strict=True)
    for cash, rate in series:
        discount /= 1.0 + rate
        value += cash / debt["inputs"]["target_dscr"] * discount
    assert debt["value"] == found["debt"] == pytest.approx(value, rel=1e-12)
    assert "DSCR" in debt["formula"]
    assert "explain" not in post(desk, "debt-sizing", SIZING).json()
    by_query = desk.post("/v1/analysis/debt-sizing?explain=true", json=SIZING)
    assert by_query.json() == found
    maybe = desk.post("/v1/analysis/debt-sizing?explain=maybe", json=SIZING)
    assert maybe.json()["errors"][0]["pointer"] == "/explain"
    other = desk.post("/v1/analysis/debt-sizing?verbose=true", json=SIZING)
    assert other.json()["errors"][0]["code"] == "unknown_parameter"


def test_a_debt_that_the_cost_limits_is_explained_by_its_share_of_the_cost(
    desk: httpx.Client,
) -> None:
    uses = {"capex": 300.0, "upfront_fee_share": 0.02, "dsra_months": 6}
    capped = {**SIZING, "uses": uses, "max_gearing": 0.5, "explain": True}
    level = {**SIZING, "repayment": "annuity", "target_dscr": None, "share_of_cost": 0.6}
    for case in (capped, {**level, "uses": uses, "explain": True}):
        found = post(desk, "debt-sizing", case).json()
        inputs = found["explain"]["debt"]["inputs"]
        assert inputs["share"] == case.get("max_gearing", case.get("share_of_cost"))
        assert found["debt"] == pytest.approx(inputs["share"] * inputs["total_uses"], rel=1e-12)
        months = found["explain"]["initial_dsra"]["inputs"]
        held = months["dsra_months"] / months["months_per_period"] * months["debt_service"][0]
        assert found["initial_dsra"] == pytest.approx(held, rel=1e-12)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_explain_repeats_the_headline_figures(desk: httpx.Client, name: str) -> None:
    found = post(desk, name, {**EXAMPLES[name], "explain": True}).json()
    assert found["explain"]
    for figure, explained in found["explain"].items():
        assert explained["formula"]
        assert explained["inputs"]
        if figure.startswith("equity_irr"):
            assert [explained["value"]] == found[figure]["rates"]
        else:
            assert explained["value"] == found[figure]


def test_covenants_are_tested_on_the_ratios_of_a_schedule(desk: httpx.Client) -> None:
    asked = {"lockup_below": 1.3, "coverage": COVERAGE}
    found = post(desk, "covenants", {**asked, "explain": True}).json()
    assert found["coverage"]["dscr"] == [70.0 / 55.0, 70.0 / 52.5]
    assert [test["state"] for test in found["tests"]] == ["LOCKUP", "OK"]
    assert found["explain"]["min_dscr"]["value"] == 70.0 / 55.0
    llcr = post(desk, "covenants", {**asked, "metric": "LLCR"}).json()
    assert llcr["tests"][0]["ratio"] == pytest.approx((70 / 1.05 + 70 / 1.05**2) / 100)


def test_ratios_are_compared_with_all_their_digits(desk: httpx.Client) -> None:
    body = '{"lockup_below":1.15,"ratios":[1.1499999999999999999,1.15,"1.15"]}'
    headers = {"content-type": "application/json"}
    answer = desk.post("/v1/analysis/covenants", content=body, headers=headers)
    assert [test["state"] for test in answer.json()["tests"]] == ["LOCKUP", "OK", "OK"]
    assert '"ratio":1.1499999999999999999' in answer.text


def test_returns_are_typed(desk: httpx.Client) -> None:
    several = post(desk, "returns", {"cash_flows": [-100, 230, -132]}).json()
    assert (several["status"], several["rate"]) == ("several", None)
    assert several["rates"] == [pytest.approx(0.1, abs=1e-9), pytest.approx(0.2, abs=1e-9)]
    none = post(desk, "returns", {"cash_flows": [1, 2]}).json()
    assert (none["status"], none["reason"], none["rates"]) == ("none", "single_sign", [])
    same_day = [{"date": "2027-01-01", "amount": amount} for amount in (-1.0, 2.0)]
    undefined = post(desk, "returns", {"flows": same_day}).json()
    assert (undefined["status"], undefined["reason"]) == ("undefined", "single_date")
    more = {"cash_flows": [-100, 60, 60], "discount_rate": 0.1}
    rich = post(desk, "returns", {**more, "finance_rate": 0.1, "reinvest_rate": 0.12}).json()
    assert rich["npv"] == pytest.approx(-100 + 60 / 1.1 + 60 / 1.21)
    assert rich["mirr"] == pytest.approx(math.sqrt((60 * 1.12 + 60) / 100) - 1)
    dated = [
        {"date": on, "amount": amount} for on, amount in (("2027-01-01", -100), ("2028-07-01", 120))
    ]
    worth = post(desk, "returns", {"flows": dated, "discount_rate": 0.1}).json()
    assert worth["npv"] == pytest.approx(-100 + 120 / 1.1 ** (547 / 365))


def test_a_currency_settles_the_schedule_to_the_cent(desk: httpx.Client) -> None:
    rows = post(desk, "schedule", {**LOAN, "principal": 100.01, "currency_code": "EUR"}).json()
    settled = rows["settled_rows"]
    assert [row["principal"] for row in settled] == ["50.01", "50.00"]
    assert settled[-1]["closing_balance"] == "0.00"
    yen = post(desk, "schedule", {**LOAN, "principal": 101.0, "currency_code": "JPY"}).json()
    assert [row["principal"] for row in yen["settled_rows"]] == ["50", "51"]
    assert post(desk, "schedule", LOAN).json()["settled_rows"] is None


def test_a_loan_is_repaid_on_rolled_dates(desk: httpx.Client) -> None:
    dates = {"start": "2027-01-31", "end": "2029-01-31", "frequency": "semi_annual"}
    asked = {"payment_dates": dates, "day_count": "ACT/ACT ICMA", "principal": 100.0}
    found = post(desk, "schedule", {**asked, "annual_rates": 0.06}).json()
    assert [row["accrual_fraction"] for row in found["rows"]] == [0.5] * 4
    assert found["level_payment"] == pytest.approx(100 * 0.03 / (1 - 1.03**-4))
    stub = {**asked, "payment_dates": {**dates, "end": "2029-03-15"}, "annual_rates": 0.06}
    assert "stub" in post(desk, "schedule", stub).json()["warnings"][0]


def test_schedule_rows_come_as_csv(desk: httpx.Client) -> None:
    cases = [{**SIZING, "name": "=base"}, DATED]
    answer = post(desk, "debt-sizing", {"cases": cases}, accept="text/csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["case"] for row in rows] == ["1"] * 3 + ["2"] * 3
    assert rows[0]["name"] == "'=base"
    wanted = post(desk, "debt-sizing", {"cases": cases}).json()["results"]
    for row, result in zip(rows, wanted[0]["rows"] + wanted[1]["rows"], strict=True):
        assert float(row["closing_balance"]) == result["closing_balance"]
        assert row["date"] == (result["date"] or "")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_rows_come_as_an_arrow_stream(desk: httpx.Client, name: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    answer = post(desk, name, EXAMPLES[name], accept=responses.ARROW)
    assert answer.headers["content-type"] == responses.ARROW
    table = arrow.ipc.open_stream(answer.content).read_all()
    text = post(desk, name, EXAMPLES[name], accept="text/csv").text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert table.column_names == list(rows[0])
    assert table.num_rows == len(rows)
    assert table.column("case").to_pylist() == [1] * len(rows)


def test_arrow_without_its_extra_is_refused_by_saying_so(
    desk: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "has_arrow", lambda: False)
    answer = post(desk, "debt-sizing", SIZING, accept=responses.ARROW)
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert "spawn[arrow]" in answer.json()["detail"]
    either = post(desk, "debt-sizing", SIZING, accept=f"{responses.ARROW}, text/csv;q=0.5")
    assert either.headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "text/plain"}, b"{}", 415),
        ({"content-type": "application/json", "accept": "image/png"}, b"{}", 406),
        ({"content-type": "application/json"}, b"{", 400),
        ({"content-type": "application/json"}, b"[]", 422),
        ({"content-type": "application/json"}, b"{" + b" " * 17_000_000 + b"}", 413),
    ],
)
def test_other_requests_are_refused_by_status(
    desk: httpx.Client, headers: dict[str, str], content: bytes, status: int
) -> None:
    answer = desk.post("/v1/analysis/waterfall", content=content, headers=headers)
    assert answer.status_code == status


def test_a_hundred_heavy_cases_do_not_hold_the_event_loop(start: Start) -> None:
    """What is asked after the heavy request is answered before it, one answer after another."""
    service = start()
    flows = [(-1.0) ** k * (1.0 + (k * k) % 7) for k in range(150)]
    body = json.dumps({"cases": [{"cash_flows": flows}] * 100})
    heavy = HTTPConnection("127.0.0.1", service.port, timeout=60)
    with contextlib.closing(heavy), service.client() as client:
        heavy.request("POST", "/v1/analysis/returns", body, {"content-type": "application/json"})
        for _ in range(30):
            assert client.get("/monitoring/live").status_code == 200
        answered, _, _ = select.select([heavy.sock], [], [], 0)
        assert answered == []
        assert heavy.getresponse().status == 200


def test_openapi_describes_every_calculator_with_examples(desk: httpx.Client) -> None:
    paths = desk.get("/openapi.json").json()["paths"]
    for name in EXAMPLES:
        operation = paths[f"/v1/analysis/{name}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]
        assert body["examples"]["typical"]["value"] == json.loads(json.dumps(EXAMPLES[name]))
        success = operation["responses"]["200"]["content"]
        assert set(success) == set(responses.MEDIA_TYPES)
        shown = success["application/json"]["examples"]["typical"]["value"]
        assert shown == post(desk, name, EXAMPLES[name]).json()
        assert {"400", "406", "413", "415", "422", "503"} <= set(operation["responses"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_every_request_in_the_examples_is_taken(desk: httpx.Client, path: Path) -> None:
    headers = {"content-type": "application/json"}
    answer = desk.post(f"/v1/analysis/{path.stem}", content=path.read_bytes(), headers=headers)
    assert answer.status_code == (202 if path.stem == "simulation" else 200), answer.text


def test_there_is_an_example_of_every_path() -> None:
    assert {path.stem for path in FILES} == {*EXAMPLES, "simulation"}
