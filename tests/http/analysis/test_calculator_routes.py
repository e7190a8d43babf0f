"""The calculators over HTTP: figures, several cases, explanations and response formats."""

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
from tests.domain.finance.result_numbers import iterate_numbers
from tests.http.conftest import Service, Start

from spawn.application.product.links import CSV, JSON
from spawn.entrypoints.http.analysis import responses
from spawn.entrypoints.http.analysis.wire import EXAMPLES, FURTHER_EXAMPLES

Json = dict[str, Any]
FILES = sorted((Path(__file__).parents[3] / "examples" / "analysis").glob("*.json"))
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


FACILITY: Json = {"name": "bank", "commitment": 5, "rate": {"base_rate": 5}}
IN_PERCENT: list[tuple[str, Json]] = [
    ("schedule", {**LOAN, "annual_rates": 5}),
    ("debt-sizing", {**SIZING, "annual_rates": 5, "allow_negative_amortisation": True}),
    ("debt-sizing", {"cfads": [110.0, 120.0], "facilities": [FACILITY]}),
    ("construction-funding", {"construction_cost": [10, 10], "facilities": [FACILITY]}),
    ("deal", {"construction_cost": [10], "cfads": [60, 60], "facilities": [FACILITY]}),
]


@pytest.mark.parametrize(("name", "case"), IN_PERCENT)
def test_a_rate_in_percent_is_warned_of_by_every_calculator(
    desk: httpx.Client, name: str, case: Json
) -> None:
    response = post(desk, name, case)
    assert response.status_code == 200, response.text
    warnings = [text for text in response.json()["warnings"] if "above 100 %" in text]
    assert len(warnings) == 1
    assert warnings[0].endswith("rates are fractions, 0.05 is 5 %")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_returns_conventions(desk: httpx.Client, name: str) -> None:
    response = post(desk, name, EXAMPLES[name])
    assert response.status_code == 200, response.text
    assert response.json()["conventions"]
    assert isinstance(response.json()["warnings"], list)
    assert all(math.isfinite(number) for number in iterate_numbers(response.json()))


def test_several_cases_return_results_in_their_order(desk: httpx.Client) -> None:
    cases = [{**SIZING, "name": f"at {dscr}", "target_dscr": dscr} for dscr in (1.2, 1.3, 1.4)]
    results = post(desk, "debt-sizing", {"cases": cases}).json()["results"]
    assert [result["name"] for result in results] == ["at 1.2", "at 1.3", "at 1.4"]
    for result, case in zip(results, cases, strict=True):
        alone = post(desk, "debt-sizing", case).json()
        assert alone == result
        assert result["min_dscr"] == pytest.approx(case["target_dscr"], abs=1e-12)


def test_a_thread_and_the_event_loop_compute_the_same_figures(desk: httpx.Client) -> None:
    """A small sizing is calculated inline; among many cases the same one goes to a thread."""
    alone = post(desk, "debt-sizing", SIZING).json()
    many = post(desk, "debt-sizing", {"cases": [SIZING] * 100}).json()["results"]
    assert many == [alone] * 100


def test_explain_returns_the_formula_and_inputs_of_a_figure(desk: httpx.Client) -> None:
    result = post(desk, "debt-sizing", {**SIZING, "explain": True}).json()
    explanation = result["explain"]
    headline = {"debt", "min_dscr", "avg_dscr", "llcr", "plcr", "wal_years", "total_interest"}
    assert set(explanation) == headline
    debt = explanation["debt"]
    value, discount = 0.0, 1.0
    series = zip(debt["inputs"]["cfads"], debt["inputs"]["period_rates"], strict=True)
    for cash, rate in series:
        discount /= 1.0 + rate
        value += cash / debt["inputs"]["target_dscr"] * discount
    assert debt["value"] == result["debt"] == pytest.approx(value, rel=1e-12)
    assert debt["formula"] == "sum(pos(cfads) / target_dscr * df(period_rates))"
    assert "explain" not in post(desk, "debt-sizing", SIZING).json()
    by_query = desk.post("/v1/analysis/debt-sizing?explain=true", json=SIZING)
    assert by_query.json() == result
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
        result = post(desk, "debt-sizing", case).json()
        inputs = result["explain"]["debt"]["inputs"]
        assert inputs["share"] == case.get("max_gearing", case.get("share_of_cost"))
        assert result["debt"] == pytest.approx(inputs["share"] * inputs["total_uses"], rel=1e-12)
        months = result["explain"]["initial_dsra"]["inputs"]
        reserve = months["dsra_months"] / months["months_per_period"] * months["debt_service"][0]
        assert result["initial_dsra"] == pytest.approx(reserve, rel=1e-12)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_explain_repeats_the_headline_figures(desk: httpx.Client, name: str) -> None:
    result = post(desk, name, {**EXAMPLES[name], "explain": True}).json()
    assert result["explain"]
    for figure, explanation in result["explain"].items():
        assert explanation["formula"]
        assert explanation["inputs"]
        if "irr" in figure:
            assert [explanation["value"]] == result[figure]["rates"]
        else:
            assert explanation["value"] == result[figure]


def test_covenants_are_tested_on_the_ratios_of_a_schedule(desk: httpx.Client) -> None:
    request = {"lockup_below": 1.3, "coverage": COVERAGE}
    result = post(desk, "covenants", {**request, "explain": True}).json()
    assert result["coverage"]["dscr"] == [70.0 / 55.0, 70.0 / 52.5]
    assert [test["state"] for test in result["tests"]] == ["LOCKUP", "OK"]
    assert result["explain"]["min_dscr"]["value"] == 70.0 / 55.0
    llcr = post(desk, "covenants", {**request, "metric": "LLCR"}).json()
    assert llcr["tests"][0]["ratio"] == pytest.approx((70 / 1.05 + 70 / 1.05**2) / 100)


def test_ratios_are_compared_with_all_their_digits(desk: httpx.Client) -> None:
    body = '{"lockup_below":1.15,"ratios":[1.1499999999999999999,1.15,"1.15"]}'
    headers = {"content-type": "application/json"}
    response = desk.post("/v1/analysis/covenants", content=body, headers=headers)
    assert [test["state"] for test in response.json()["tests"]] == ["LOCKUP", "OK", "OK"]
    assert '"ratio":1.1499999999999999999' in response.text


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


def test_a_currency_rounds_the_schedule_to_its_minor_unit(desk: httpx.Client) -> None:
    rows = post(desk, "schedule", {**LOAN, "principal": 100.01, "currency_code": "EUR"}).json()
    rounded_rows = rows["settled_rows"]
    # The balance is rounded, half to even as float64 has it, and the movement is the difference.
    assert [row["closing_balance"] for row in rounded_rows] == ["50.01", "0.00"]
    assert [row["principal"] for row in rounded_rows] == ["50.00", "50.01"]
    assert rounded_rows[-1]["closing_balance"] == "0.00"
    yen = post(desk, "schedule", {**LOAN, "principal": 101.0, "currency_code": "JPY"}).json()
    assert [row["closing_balance"] for row in yen["settled_rows"]] == ["50", "0"]
    assert [row["principal"] for row in yen["settled_rows"]] == ["51", "50"]
    assert post(desk, "schedule", LOAN).json()["settled_rows"] is None


def test_a_loan_is_repaid_on_rolled_dates(desk: httpx.Client) -> None:
    dates = {"start": "2027-01-31", "end": "2029-01-31", "frequency": "semi_annual"}
    request = {"payment_dates": dates, "day_count": "ACT/ACT ICMA", "principal": 100.0}
    result = post(desk, "schedule", {**request, "annual_rates": 0.06}).json()
    assert [row["accrual_fraction"] for row in result["rows"]] == [0.5] * 4
    assert result["level_payment"] == pytest.approx(100 * 0.03 / (1 - 1.03**-4))
    stub = {**request, "payment_dates": {**dates, "end": "2029-03-15"}, "annual_rates": 0.06}
    last = post(desk, "schedule", stub).json()["rows"][-1]
    # 43 days of the notional half year from 31 January to 31 July, which has 181.
    assert last["accrual_fraction"] == pytest.approx(43 / (2 * 181), abs=1e-15)


def test_schedule_rows_come_as_csv(desk: httpx.Client) -> None:
    cases = [{**SIZING, "name": "=base"}, DATED]
    response = post(desk, "debt-sizing", {"cases": cases}, accept="text/csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [row["case"] for row in rows] == ["1"] * 3 + ["2"] * 3
    assert rows[0]["name"] == "'=base"
    expected = post(desk, "debt-sizing", {"cases": cases}).json()["results"]
    for row, result in zip(rows, expected[0]["rows"] + expected[1]["rows"], strict=True):
        assert float(row["closing_balance"]) == result["closing_balance"]
        assert row["date"] == (result["date"] or "")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_rows_come_as_an_arrow_stream(desk: httpx.Client, name: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    response = post(desk, name, EXAMPLES[name], accept=responses.ARROW)
    assert response.headers["content-type"] == responses.ARROW
    table = arrow.ipc.open_stream(response.content).read_all()
    text = post(desk, name, EXAMPLES[name], accept="text/csv").text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert table.column_names == list(rows[0])
    assert table.num_rows == len(rows)
    assert table.column("case").to_pylist() == [1] * len(rows)


def test_arrow_without_its_extra_is_rejected_with_the_reason(
    desk: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "has_arrow", lambda: False)
    response = post(desk, "debt-sizing", SIZING, accept=responses.ARROW)
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")
    assert "the extra arrow" in response.json()["detail"]
    fallback = post(desk, "debt-sizing", SIZING, accept=f"{responses.ARROW}, text/csv;q=0.5")
    assert fallback.headers["content-type"].startswith("text/csv")


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
def test_invalid_requests_are_rejected_by_status(
    desk: httpx.Client, headers: dict[str, str], content: bytes, status: int
) -> None:
    response = desk.post("/v1/analysis/waterfall", content=content, headers=headers)
    assert response.status_code == status


def test_a_hundred_heavy_cases_do_not_block_the_event_loop(start: Start) -> None:
    """Requests sent after the heavy one get their responses first, one after another."""
    service = start()
    flows = [(-1.0) ** k * (1.0 + (k * k) % 7) for k in range(150)]
    body = json.dumps({"cases": [{"cash_flows": flows}] * 100})
    heavy = HTTPConnection("127.0.0.1", service.port, timeout=60)
    with contextlib.closing(heavy), service.client() as client:
        heavy.request("POST", "/v1/analysis/returns", body, {"content-type": "application/json"})
        for _ in range(30):
            assert client.get("/monitoring/live").status_code == 200
        readable_sockets, _, _ = select.select([heavy.sock], [], [], 0)
        assert readable_sockets == []
        assert heavy.getresponse().status == 200


def test_openapi_describes_every_calculator_with_examples(desk: httpx.Client) -> None:
    paths = desk.get("/openapi.json").json()["paths"]
    for name in EXAMPLES:
        operation = paths[f"/v1/analysis/{name}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]
        assert body["examples"]["typical"]["value"] == json.loads(json.dumps(EXAMPLES[name]))
        success = operation["responses"]["200"]["content"]
        for further, request in FURTHER_EXAMPLES.get(name, {}).items():
            response = post(desk, name, request)
            assert response.status_code == 200, response.text
            assert body["examples"][further]["value"] == request
            shown = success["application/json"]["examples"][further]["value"]
            assert shown == response.json()
        assert set(success) == {JSON, CSV, responses.ARROW}
        example = success["application/json"]["examples"]["typical"]["value"]
        assert example == post(desk, name, EXAMPLES[name]).json()
        assert {"400", "406", "413", "415", "422", "503"} <= set(operation["responses"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_every_request_in_the_examples_is_accepted(desk: httpx.Client, path: Path) -> None:
    headers = {"content-type": "application/json"}
    response = desk.post(f"/v1/analysis/{path.stem}", content=path.read_bytes(), headers=headers)
    assert response.status_code == (202 if path.stem == "simulation" else 200), response.text


def test_there_is_an_example_of_every_path() -> None:
    assert {path.stem for path in FILES} == {*EXAMPLES, "simulation"}
