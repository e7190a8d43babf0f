"""Cases of the desk, read where they lie beside the repository, and put as they were sent.

Each check states the expectation of its case; tests of the same kinds with data of their own are in
`tests/domain/finance`.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
from tests.application.analysis.formula_evaluator import evaluate
from tests.http.conftest import Service
from tests.shared_material import find_shared

from spawn.domain.finance.simulation.monte_carlo import simulate_portfolio
from spawn.domain.finance.simulation.monte_carlo_case import SimulationCase

Json = Any

FOLDER = find_shared("cases", "finance")
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="no cases beside the repository: none is put"
)


@pytest.fixture
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def put(desk: httpx.Client, name: str) -> httpx.Response:
    """Send the request of a case."""
    assert FOLDER is not None
    request = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["request"]
    return desk.post(request["path"], json=request["body"])


def answer(desk: httpx.Client, name: str) -> Json:
    response = put(desk, name)
    assert response.status_code == 200, response.text
    return response.json()


def errors(desk: httpx.Client, name: str) -> list[tuple[str, str]]:
    response = put(desk, name)
    assert response.status_code == 422, response.text
    return [(error["pointer"], error["code"]) for error in response.json()["errors"]]


def test_a_period_of_five_years_is_ten_half_years(desk: httpx.Client) -> None:
    (row,) = answer(desk, "02-icma-five-year-period")["rows"]
    assert (row["accrual_fraction"], row["interest"]) == (5.0, 40.0)


def test_a_stub_of_46_days_is_an_eighth_of_a_year(desk: httpx.Client) -> None:
    result = answer(desk, "04-icma-stub-debt-sizing")
    assert result["debt"] == pytest.approx(30.36606040361202, rel=1e-9)
    assert result["rows"][0]["accrual_fraction"] == pytest.approx(0.125, rel=1e-9)
    assert result["rows"][0]["interest"] == pytest.approx(0.2277454530270901, rel=1e-9)


def test_half_years_of_dates_give_the_equity_a_rate_a_year(desk: httpx.Client) -> None:
    rate = answer(desk, "14-equity-irr-half-years-as-years")["equity_irr"]
    assert rate["effective_pa"][0] == pytest.approx(0.41895, abs=1e-3)
    rate = answer(desk, "x05-semi-annual-irr-called-effective")["equity_irr"]
    assert rate["effective_pa"][0] == pytest.approx((1 + rate["rates"][0]) ** 2 - 1, abs=1e-9)
    assert rate["conventions"]["annualisation"].startswith("effective (1+i)^2 - 1")


def test_months_per_period_alone_make_periods_of_that_length(desk: httpx.Client) -> None:
    result = answer(desk, "x03-months-per-period-charges-full-year")
    assert result["debt"] == pytest.approx(37.61974208009807, rel=1e-9)
    assert result["rows"][0]["accrual_fraction"] == 0.5


def test_a_mortgage_has_one_instalment_and_interest_on_its_printed_balance(
    desk: httpx.Client,
) -> None:
    rows = answer(desk, "18-emi-30-years-level")["settled_rows"]
    assert {row["payment"] for row in rows[:359]} == {"1199.10"}
    for row in rows:
        exact = Decimal(row["opening_balance"]) * Decimal("0.005")
        assert Decimal(row["interest"]) == exact.quantize(Decimal("0.01"))
    assert rows[-1]["closing_balance"] == "0.00"


def test_a_missing_roll_day_may_move_to_the_next_month(desk: httpx.Client) -> None:
    assert FOLDER is not None
    text = (FOLDER / "20-roll-missing-day-to-next-month.json").read_text(encoding="utf-8")
    request = json.loads(text)["request"]
    request["body"]["payment_dates"]["missing_day"] = "next_month"
    result = desk.post(request["path"], json=request["body"]).json()
    assert result["dates"] == ["2025-01-31", "2025-03-01", "2025-03-31", "2025-05-01"]
    assert [row["interest"] for row in result["settled_rows"]] == ["95.34", "66.05", "34.29"]


def test_the_plain_day_of_a_month_end_roll_is_no_stub(desk: httpx.Client) -> None:
    result = answer(desk, "23-eom-maturity-28-feb-leap")
    assert (result["dates"][-1], result["stubs"]) == ("2024-02-28", [])


def test_business_days_over_252_need_their_calendar(desk: httpx.Client) -> None:
    assert errors(desk, "24-bus-252") == [("/calendar", "required")]
    assert FOLDER is not None
    request = json.loads((FOLDER / "24-bus-252.json").read_text(encoding="utf-8"))["request"]
    request["body"]["calendar"] = {"base": "weekends", "holidays": ["2026-04-03"]}
    (row,) = desk.post(request["path"], json=request["body"]).json()["rows"]
    assert (row["days"], row["year_fraction"]) == (127, 127 / 252)


def test_a_loan_is_drawn_in_tranches(desk: httpx.Client) -> None:
    rows = answer(desk, "42-loan-drawn-in-tranches")["rows"]
    assert [row["drawn"] for row in rows] == [0.0, 30.0, 30.0, 0.0, 0.0, 0.0]
    assert sum(row["principal"] for row in rows) == pytest.approx(100.0)


def test_a_settled_loan_never_owes_less_than_nothing(desk: httpx.Client) -> None:
    rows = answer(desk, "x11-settled-last-payment-negative-large-loan")["settled_rows"]
    assert all(Decimal(row["principal"]) >= 0 for row in rows)
    assert all(Decimal(row["closing_balance"]) >= 0 for row in rows)


def test_loan_fields_without_a_loan_are_rejected(desk: httpx.Client) -> None:
    assert errors(desk, "x19-loan-fields-without-principal") == [
        ("/balloon", "not_applicable"),
        ("/grace_periods", "not_applicable"),
        ("/profile", "not_applicable"),
    ]


def test_a_batch_names_each_bad_case(desk: httpx.Client) -> None:
    assert errors(desk, "x21-batch-names-not-every-bad-case") == [
        ("/cases/1/cash_flows", "empty"),
        ("/cases/2/cash_flow", "unknown_field"),
    ]


def test_an_infeasible_case_leaves_the_others_their_results(desk: httpx.Client) -> None:
    base, low = answer(desk, "46-one-infeasible-case-refuses-grid")["results"]
    assert base["debt"] == pytest.approx(32.4028, abs=0.001)
    (error,) = low["errors"]
    assert (error["pointer"], error["code"]) == ("/cases/1/cfads", "no_debt_capacity")


def test_three_roots_at_one_rate_are_exact(desk: httpx.Client) -> None:
    result = answer(desk, "x01-irr-triple-root")
    assert (result["status"], result["rates"]) == ("unique", pytest.approx([0.1], abs=1e-12))


def test_a_rate_a_year_discounts_half_years(desk: httpx.Client) -> None:
    result = answer(desk, "16-npv-rate-per-half-year")
    assert result["npv"] == pytest.approx(9.094634975461872, abs=0.01)


def test_flows_are_worth_less_at_an_earlier_date(desk: httpx.Client) -> None:
    result = answer(desk, "26-xnpv-valuation-date")
    assert result["npv"] == pytest.approx(189.87723550799825, rel=1e-9)


def test_lenders_pay_no_operating_costs(desk: httpx.Client) -> None:
    result = answer(desk, "11-negative-cfads-lenders-pay-opex")
    assert result["debt"] == pytest.approx(19.808532097580127, rel=1e-9)
    assert result["debt_service_floor"] == 0.0
    assert result["rows"][1]["debt_service"] == pytest.approx(0.0, abs=1e-12)


def test_a_debt_above_its_cost_is_warned_of(desk: httpx.Client) -> None:
    (warning,) = answer(desk, "x09-gearing-above-one-without-warning")["warnings"]
    assert "equity is negative" in warning


def test_a_warning_names_every_period(desk: httpx.Client) -> None:
    (warning,) = answer(desk, "x15-unpaid-warning-names-one-period")["warnings"]
    assert "periods 1, 2" in warning


def simulate(case_name: str) -> Json:
    assert FOLDER is not None
    text = (FOLDER / f"{case_name}.json").read_text(encoding="utf-8")
    case = msgspec.convert(json.loads(text)["request"]["body"], SimulationCase)
    return msgspec.to_builtins(simulate_portfolio(case))


def test_p99_is_the_low_end_of_a_simulated_ratio() -> None:
    ratio = simulate("50-p99-of-dscr")["portfolio"]["min_dscr"]
    assert ratio["p1"] < ratio["p5"] == pytest.approx(1.1541, abs=1e-4)
    assert ratio["p99"] > ratio["p95"]


def test_unlabelled_projects_do_not_move_as_one() -> None:
    worth = simulate("x17-simulation-blank-sector-is-one-sector")["portfolio"]["npv"]
    assert worth["p95"] - worth["p5"] == pytest.approx(39, rel=0.1)


def test_a_debt_with_a_grace_is_its_formula_over_its_inputs(desk: httpx.Client) -> None:
    debt = answer(desk, "x07-explain-grace-does-not-evaluate")["explain"]["debt"]
    assert debt["value"] == pytest.approx(54.464960587409564, rel=1e-9)
    assert evaluate(debt["formula"], debt["inputs"]) == pytest.approx(debt["value"], rel=1e-9)


def answer_with(desk: httpx.Client, name: str, **fields: Json) -> Json:
    """Send a case with the fields that it had no names for."""
    assert FOLDER is not None
    request = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["request"]
    response = desk.post(request["path"], json={**request["body"], **fields})
    assert response.status_code == 200, response.text
    return response.json()


def test_a_swept_loan_repays_what_is_owed(desk: httpx.Client) -> None:
    result = answer(desk, "06-half-sweep-repays-more-than-owed")
    repaid = sum(row["senior_principal_paid"] for row in result["rows"])
    assert repaid + result["total_sweep"] == pytest.approx(90.0, abs=1e-9)


def test_locked_up_cash_pays_before_the_reserve(desk: httpx.Client) -> None:
    row = answer(desk, "08-lockup-cash-before-dsra")["rows"][1]
    assert (row["dsra_draw"], row["trapped_close"], row["dsra_close"]) == (0.0, 5.0, 50.0)
    row = answer(desk, "x13-trapped-cash-beside-unpaid-senior")["rows"][1]
    assert (row["senior_unpaid"], row["trapped_close"]) == (2.0, 0.0)


def test_capitalised_interest_ranks_before_distributions(desk: httpx.Client) -> None:
    row = answer_with(desk, "09-mezz-pik-never-repaid", mezz_catch_up=True)["rows"][2]
    assert (row["mezz_close"], row["distribution"]) == pytest.approx((50.0, 27.28), abs=1e-9)


def test_a_lock_up_looks_at_twelve_months(desk: httpx.Client) -> None:
    name = "45-waterfall-lockup-on-12-months"
    rows = answer_with(desk, name, lockup_periods_back=2)["rows"]
    assert [row["locked_up"] for row in rows] == [False] * 4


def test_unpaid_senior_debt_is_warned_of_in_every_period(desk: httpx.Client) -> None:
    (warning,) = answer(desk, "x15-unpaid-warning-names-one-period")["warnings"]
    assert warning.endswith("in periods 1, 2")


def test_construction_is_funded_for_a_debt_sized_by_its_cash(desk: httpx.Client) -> None:
    assert FOLDER is not None
    name = "40-construction-for-a-dscr-sized-debt"
    case = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    result = answer(desk, name)
    for figure, expected in case["expected"].items():
        assert result[figure] == pytest.approx(expected, rel=1e-12)
    assert sum(row["debt_draw"] for row in result["rows"]) == pytest.approx(
        case["request"]["body"]["debt_commitment"], rel=1e-12
    )


def test_debt_service_is_the_lower_of_p50_and_p99(desk: httpx.Client) -> None:
    name = "38-p50-p99-two-case-sizing"
    assert FOLDER is not None
    case = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    p50, p99 = case["request"]["body"]["cases"]
    body = {
        "cfads": p50["cfads"],
        "annual_rates": p50["annual_rates"],
        "sizing_scenarios": [
            {"name": p50["name"], "target_dscr": p50["target_dscr"]},
            {name: p99[name] for name in ("name", "cfads", "target_dscr")},
        ],
    }
    result = desk.post(case["request"]["path"], json=body).json()
    assert result["debt"] == pytest.approx(case["expected"]["debt"], rel=1e-9)
    assert result["binding_scenarios"] == case["expected"]["binding"]
    both = answer(desk, name)["results"]
    assert [each["debt"] for each in both] == [
        case["spawn_answer"][f"results.{number}.debt"] for number in (0, 1)
    ]


def test_a_tariff_grows_with_its_index_from_its_base_year(desk: httpx.Client) -> None:
    body = {
        "dates": ["2023-01-01", "2024-01-01", "2025-01-01"],
        "indices": [{"name": "CPI", "annual_rate": 0.05, "base_date": "2021-01-01"}],
        "revenues": [{"name": "tariff", "volume": 1, "price": 100, "index": "CPI"}],
    }
    result = desk.post("/v1/analysis/cash-flow", json=body).json()
    assert result["lines"][0]["prices"][0] == pytest.approx(115.7625, rel=1e-12)
    assert result["cfads"][0] == pytest.approx(115.7625, rel=1e-12)
