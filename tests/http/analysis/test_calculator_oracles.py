"""Every oracle case sent over HTTP alone, and reproduced inside its stated tolerance.

The mapping from a case's inputs to a request is that of the domain's own oracle tests, written as
JSON. The comparison is of the figures on the wire.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from tests.domain.finance.oracle_cases import (
    CASES,
    Case,
    accrual_periods,
    annual_sizing,
    covenant_ratios,
    covenant_terms,
    dated_sizing,
    loan_terms,
    of_kind,
    payment_date_terms,
)
from tests.http.conftest import Service

Json = dict[str, Any]

REQUESTED_KINDS = {
    "cash_waterfall",
    "constant_payment_debt",
    "construction_funding_circularity",
    "covenant",
    "day_count",
    "irr_periodic",
    "loan_schedule",
    "payment_schedule",
    "sculpted_debt",
    "sculpted_debt_dated",
    "straight_line_debt",
    "xirr",
}


@pytest.fixture(scope="module")
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def calculate(client: httpx.Client, calculator: str, case: Any) -> Json:
    """Return the result of one case, which may be a struct of the domain."""
    body = json.dumps(msgspec.to_builtins(case))
    headers = {"content-type": "application/json"}
    response = client.post(f"/v1/analysis/{calculator}", content=body, headers=headers)
    assert response.status_code == 200, response.text
    result: Json = response.json()
    return result


def test_all_kinds_but_domain_functions_are_requested() -> None:
    assert {case["kind"] for case in CASES} - REQUESTED_KINDS == {"published_examples"}


def assert_rates(result: Json, case: Case) -> None:
    expected = case["expected"]["all_real_roots_above_minus_1"]
    tolerance = case["tolerance"]
    assert (result["status"] == "unique") == case["expected"]["unique_root"]
    assert len(result["rates"]) == len(expected)
    assert result["rate"] == (result["rates"][0] if result["status"] == "unique" else None)
    for rate, expected_row in zip(result["rates"], expected, strict=True):
        absolute = abs(rate - expected_row) <= tolerance["rate_abs"]
        assert absolute or abs(rate - expected_row) <= tolerance.get("rate_rel", 0.0) * abs(
            expected_row
        )


@of_kind("xirr")
def test_xirr(desk: httpx.Client, case: Case) -> None:
    flows = [{"date": on, "amount": amount} for on, amount in case["inputs"]["flows"]]
    assert_rates(calculate(desk, "returns", {"flows": flows}), case)


@of_kind("irr_periodic")
def test_irr(desk: httpx.Client, case: Case) -> None:
    names = ("cash_flows", "periods_per_year")
    result = calculate(desk, "returns", {name: case["inputs"][name] for name in names})
    assert_rates(result, case)
    assert result["effective_pa"] == pytest.approx(
        case["expected"]["effective_annual"], rel=1e-9, abs=1e-9
    )


@of_kind("day_count")
def test_day_counts(desk: httpx.Client, case: Case) -> None:
    request = {"day_count": case["inputs"]["convention"], "periods": accrual_periods(case)}
    rows = calculate(desk, "day-count", request)["rows"]
    for row, expected_row in zip(rows, case["expected"], strict=True):
        assert abs(row["year_fraction"] - expected_row["year_fraction"]) <= case["tolerance"]["abs"]
        assert row["days"] == expected_row.get("days", row["days"])


@of_kind("payment_schedule")
def test_payment_schedules(desk: httpx.Client, case: Case) -> None:
    result = calculate(desk, "schedule", {"payment_dates": payment_date_terms(case)})
    assert result["dates"] == case["expected"]["dates"]
    assert [row["end"] for row in result["rows"]] == case["expected"]["dates"][1:]


@of_kind("loan_schedule")
def test_loan_schedules(desk: httpx.Client, case: Case) -> None:
    result, expected = calculate(desk, "schedule", loan_terms(case)), case["expected"]
    money = case["tolerance"]["money_abs_per_100m"] * case["inputs"]["principal"] / 1e8
    for row, expected_row in zip(result["rows"], expected["rows"], strict=True):
        assert row["end"] == expected_row["date"]
        assert abs(row["accrual_fraction"] - expected_row["accrual_fraction"]) <= 1e-12
        for name in ("interest", "principal", "opening_balance"):
            assert abs(row[name] - expected_row[name]) <= money, name
    assert abs(result["total_interest"] - expected["total_interest"]) <= money
    assert result["rows"][-1]["closing_balance"] == 0.0
    if "level_payment_numpy_financial" in expected:
        assert abs(result["level_payment"] - expected["level_payment_numpy_financial"]) <= money


@of_kind("sculpted_debt_dated")
def test_dated_sculpting(desk: httpx.Client, case: Case) -> None:
    result, expected = calculate(desk, "debt-sizing", dated_sizing(case)), case["expected"]
    money = case["tolerance"]["money_abs_per_100m"] * expected["debt_size"] / 1e8
    assert abs(result["debt"] - expected["debt_size"]) <= money
    for row, expected_row in zip(result["rows"], expected["rows"], strict=True):
        assert row["date"] == expected_row["date"]
        assert abs(row["accrual_fraction"] - expected_row["accrual_fraction"]) <= 1e-12
        for name in ("interest", "principal", "opening_balance"):
            assert abs(row[name] - expected_row[name]) <= money, name
    service = [row["debt_service"] for row in result["rows"]]
    assert service == pytest.approx(expected["debt_service"], rel=0, abs=money)
    assert abs(result["total_interest"] - expected["total_interest"]) <= money
    assert result["llcr"] == pytest.approx(expected["llcr_t0"], abs=1e-12)
    assert result["wal_years"] == pytest.approx(expected["wal_years_act365"], abs=1e-12)


SERIES = {
    "closing_balance": "closing_balance",
    "interest": "interest",
    "principal": "principal",
    "debt_service": "debt_service",
}
FIGURES = {
    "debt_size": "debt",
    "total_cost_funded": "total_uses",
    "equity": "equity",
    "upfront_fee": "upfront_fee",
    "dsra_balance_t0_onward": "dsra_balance",
    "equity_cash_flow_pretax": "equity_cash_flow",
    "equity_cash_flow_aftertax": "equity_cash_flow_after_tax",
}
RATIOS = {
    "gearing": "gearing",
    "min_dscr": "min_dscr",
    "avg_dscr": "avg_dscr",
    "llcr_t0": "llcr",
    "plcr_t0": "plcr",
    "wal_years": "wal_years",
}


@of_kind("sculpted_debt", "constant_payment_debt", "straight_line_debt")
def test_annual_debt_sizing(desk: httpx.Client, case: Case) -> None:
    result, expected = calculate(desk, "debt-sizing", annual_sizing(case)), case["expected"]
    money = case["tolerance"]["money_rel"] * expected["total_cost_funded"]
    ratio, rate = case["tolerance"]["ratio_abs"], case["tolerance"]["irr_abs"]
    for theirs, ours in SERIES.items():
        values = [row[ours] for row in result["rows"]]
        assert values == pytest.approx(expected[theirs], rel=0, abs=money), theirs
    for theirs, ours in FIGURES.items():
        assert result[ours] == pytest.approx(expected[theirs], rel=0, abs=money), theirs
    for theirs, ours in RATIOS.items():
        assert result[ours] == pytest.approx(expected[theirs], rel=0, abs=ratio), theirs
    ratios = [row["dscr"] for row in result["rows"]]
    assert ratios == pytest.approx(expected["dscr"], rel=0, abs=ratio)
    before, after = result["equity_irr"]["rates"], result["equity_irr_after_tax"]["rates"]
    assert before == [pytest.approx(expected["equity_irr_pretax"], rel=0, abs=rate)]
    assert after == [pytest.approx(expected["equity_irr_aftertax"], rel=0, abs=rate)]


@of_kind("construction_funding_circularity")
def test_construction_funding(desk: httpx.Client, case: Case) -> None:
    result, expected = calculate(desk, "construction-funding", case["inputs"]), case["expected"]
    money = case["tolerance"]["money_rel"] * expected["total_uses"]
    for name in ("debt_commitment", "total_uses", "equity", "idc_total", "fees_total"):
        assert abs(result[name] - expected[name]) <= money, name
    for row, expected_row in zip(result["rows"], expected["rows"], strict=True):
        for name, value in expected_row.items():
            assert abs(row[name] - value) <= money, name


@of_kind("cash_waterfall")
def test_waterfalls(desk: httpx.Client, case: Case) -> None:
    rows = calculate(desk, "waterfall", case["inputs"])["rows"]
    for row, expected_row in zip(rows, case["expected"]["rows"], strict=True):
        for name, value in expected_row.items():
            assert abs(row[name] - value) <= case["tolerance"]["amount_abs"], name


@of_kind("covenant")
def test_covenants(desk: httpx.Client, case: Case) -> None:
    terms = msgspec.structs.asdict(covenant_terms(case))
    request = {name: level for name, level in terms.items() if level is not None}
    request["ratios"] = covenant_ratios(case)
    tests = calculate(desk, "covenants", request)["tests"]
    assert [test["state"] for test in tests] == case["expected"]["state"]
