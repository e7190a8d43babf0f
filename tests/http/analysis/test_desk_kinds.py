"""Further cases of the kinds that the desk met, over HTTP, beside figures computed here.

The expectations are closed forms or sums written out, never figures that the engine gave.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import accumulate
from typing import Any

import httpx
import pytest
from tests.http.conftest import Service

Json = dict[str, Any]


@pytest.fixture(scope="module")
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def calculate(desk: httpx.Client, name: str, body: Json) -> Any:
    response = desk.post(f"/v1/analysis/{name}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def annuity_factor(rate: float, periods: int) -> float:
    return (1.0 - (1.0 + rate) ** -periods) / rate


@pytest.mark.parametrize(
    ("end", "frequency", "years"), [("2036-01-31", 1, 10.0), ("2029-07-31", 2, 3.5)]
)
def test_one_long_period_counts_its_notional_periods(
    desk: httpx.Client, end: str, frequency: int, years: float
) -> None:
    loan: Json = {"dates": ["2026-01-31", end], "day_count": "ACT/ACT ICMA", "frequency": frequency}
    loan |= {"principal": 80, "annual_rates": 0.05, "profile": "bullet"}
    (row,) = calculate(desk, "schedule", loan)["rows"]
    assert row["interest"] == pytest.approx(80 * 0.05 * years, rel=1e-12)


def test_a_quarterly_stub_is_its_days_over_the_notional_quarter(desk: httpx.Client) -> None:
    dates = ["2026-02-20", "2026-03-31", "2026-06-30", "2026-09-30"]
    body: Json = {"cfads": [5, 13, 13], "annual_rates": 0.08, "target_dscr": 1.25, "dates": dates}
    result = calculate(desk, "debt-sizing", {**body, "day_count": "ACT/ACT ICMA", "frequency": 4})
    days = (date(2026, 3, 31) - date(2026, 2, 20)).days
    stub = days / (4 * (date(2026, 3, 31) - date(2025, 12, 31)).days)
    debt = 0.0
    for cash, fraction in zip((13, 13, 5), (0.25, 0.25, stub), strict=True):
        debt = (debt + cash / 1.25) / (1.0 + 0.08 * fraction)
    assert result["debt"] == pytest.approx(debt, rel=1e-12)


def test_a_full_sweep_ends_the_loan_early(desk: httpx.Client) -> None:
    body: Json = {"cfads": [50, 50, 50, 50], "senior_interest": [4, 3, 2, 1]}
    body |= {"senior_principal": [20] * 4, "senior_open": 80, "sweep_share": 1}
    rows = calculate(desk, "waterfall", {**body, "sweep_if_dscr_below": 9})["rows"]
    repaid = sum(row["senior_principal_paid"] + row["sweep"] for row in rows)
    assert rows[-1]["senior_close"] == 0.0
    swept = sum(row["sweep"] for row in rows)
    principal = sum(row["senior_principal_paid"] for row in rows)
    assert principal + swept == pytest.approx(80.0) == pytest.approx(repaid)


def test_locked_up_cash_of_two_periods_pays_before_the_reserve(desk: httpx.Client) -> None:
    body: Json = {"cfads": [22, 21, 14], "senior_interest": [8] * 3, "senior_principal": [12] * 3}
    body |= {"lockup_below": 1.2, "dsra_open": 9, "dsra_target": 9}
    rows = calculate(desk, "waterfall", body)["rows"]
    # 2 and 1 are locked up; the gap of 6 takes both, then 3 of the reserve.
    assert rows[1]["trapped_close"] == 3.0
    assert (rows[2]["dsra_draw"], rows[2]["trapped_close"], rows[2]["senior_unpaid"]) == (3, 0, 0)


def test_capitalised_mezzanine_interest_is_caught_up_first(desk: httpx.Client) -> None:
    body: Json = {"cfads": [30, 50], "senior_interest": [10] * 2, "senior_principal": [20] * 2}
    body |= {"mezz_open": 40, "mezz_rate": 0.1, "mezz_catch_up": True}
    last = calculate(desk, "waterfall", body)["rows"][1]
    assert last["mezz_close"] == pytest.approx(40.0)
    assert last["distribution"] == pytest.approx(50 - 30 - 4.4 - 4.0)


def test_a_loss_of_one_period_lends_nothing(desk: httpx.Client) -> None:
    body: Json = {"cfads": [20, 20, -9, 20], "annual_rates": 0.07, "target_dscr": 1.4}
    result = calculate(desk, "debt-sizing", {**body, "allow_negative_amortisation": True})
    worth = sum(max(c, 0) / 1.4 / 1.07**t for t, c in enumerate(body["cfads"], start=1))
    assert result["debt"] == pytest.approx(worth, rel=1e-12)


def test_quarters_have_an_effective_return_a_year(desk: httpx.Client) -> None:
    flows = [-100, *[28] * 4]
    result = calculate(desk, "returns", {"cash_flows": flows, "periods_per_year": 4})
    assert sum(c / (1 + result["rate"]) ** t for t, c in enumerate(flows)) == pytest.approx(0)
    assert result["effective_pa"] == [pytest.approx((1 + result["rate"]) ** 4 - 1)]
    npv = calculate(
        desk, "returns", {"cash_flows": flows, "periods_per_year": 4, "discount_rate": 0.1}
    )["npv"]
    assert npv == pytest.approx(sum(c * 1.1 ** (-t / 4) for t, c in enumerate(flows)))


def test_a_car_loan_has_one_instalment(desk: httpx.Client) -> None:
    body: Json = {"principal": 18500, "annual_rates": 0.0499, "accruals": [1 / 12] * 60}
    rows = calculate(desk, "schedule", {**body, "profile": "annuity", "currency_code": "EUR"})
    payments = [Decimal(row["payment"]) for row in rows["settled_rows"]]
    exact = 18500 / annuity_factor(0.0499 / 12, 60)
    assert set(payments[:-1]) == {Decimal(f"{exact:.2f}")}
    assert abs(payments[-1] - payments[0]) < Decimal("0.60")


def test_a_roll_on_the_30th_has_the_end_of_february(desk: httpx.Client) -> None:
    dates = {"start": "2027-11-30", "end": "2028-05-30", "frequency": "quarterly"}
    result = calculate(desk, "schedule", {"payment_dates": dates})
    assert result["dates"] == ["2027-11-30", "2028-02-29", "2028-05-30"]


def test_business_days_of_two_weeks(desk: httpx.Client) -> None:
    body: Json = {
        "day_count": "BUS/252",
        "calendar": {"base": "weekends", "holidays": ["2026-12-25"]},
    }
    period = {"start": "2026-12-14", "end": "2026-12-28"}
    (row,) = calculate(desk, "day-count", {**body, "periods": [period]})["rows"]
    assert (row["days"], row["year_fraction"]) == (9, pytest.approx(9 / 252))


def test_a_valuation_two_years_before_the_first_flow(desk: httpx.Client) -> None:
    flows = [{"date": "2028-01-01", "amount": 50}, {"date": "2030-01-01", "amount": 60}]
    body: Json = {"flows": flows, "discount_rate": 0.06, "base_date": "2026-01-01"}
    days = [(date(year, 1, 1) - date(2026, 1, 1)).days for year in (2028, 2030)]
    expected = 50 * 1.06 ** (-days[0] / 365) + 60 * 1.06 ** (-days[1] / 365)
    assert calculate(desk, "returns", body)["npv"] == pytest.approx(expected, rel=1e-12)


def test_the_lower_of_two_scenarios_sizes_each_period(desk: httpx.Client) -> None:
    low = [8.0, 5.0, 9.0]
    scenarios: list[Json] = [
        {"name": "base", "target_dscr": 1.5},
        {"name": "low", "target_dscr": 1.1},
    ]
    body: Json = {"cfads": [12, 12, 12], "annual_rates": 0.05}
    scenarios[1]["cfads"] = low
    result = calculate(desk, "debt-sizing", {**body, "sizing_scenarios": scenarios})
    service = [min(12 / 1.5, cash / 1.1) for cash in low]
    worth = sum(due / 1.05**t for t, due in enumerate(service, start=1))
    assert result["debt"] == pytest.approx(worth, rel=1e-12)
    assert result["binding_scenarios"] == ["low", "low", "base"]


def test_draws_at_later_periods_bear_interest_from_then(desk: httpx.Client) -> None:
    body: Json = {"accruals": [1.0] * 3, "principal": [60, 40, 0], "annual_rates": 0.05}
    rows = calculate(desk, "schedule", {**body, "profile": "bullet"})["rows"]
    assert [row["interest"] for row in rows] == pytest.approx([3.0, 5.0, 5.0])


def test_construction_funds_a_commitment_of_the_desk(desk: httpx.Client) -> None:
    body: Json = {"construction_cost": [30, 50], "debt_commitment": 60, "rate_per_period": 0.0}
    result = calculate(desk, "construction-funding", body)
    assert (result["gearing"], result["equity"]) == (pytest.approx(0.75), pytest.approx(20.0))


def test_a_lock_up_looks_at_four_quarters(desk: httpx.Client) -> None:
    body: Json = {
        "cfads": [5, 20, 5, 20, 5],
        "senior_interest": [2] * 5,
        "senior_principal": [8] * 5,
    }
    body |= {"lockup_below": 1.1, "lockup_periods_back": 4, "dsra_open": 30, "dsra_target": 30}
    rows = calculate(desk, "waterfall", body)["rows"]
    assert [row["lockup_ratio"] for row in rows] == [None, None, None, 1.25, 1.25]


def test_a_grid_keeps_its_good_cells(desk: httpx.Client) -> None:
    cases: list[Json] = [
        {"cfads": [9, 9], "annual_rates": 0.05, "target_dscr": 1.2 + k} for k in (-2, 0, 1)
    ]
    bad, *good = calculate(desk, "debt-sizing", {"cases": cases})["results"]
    assert [error["pointer"] for error in bad["errors"]] == ["/cases/0/target_dscr"]
    for case, result in zip(cases[1:], good, strict=True):
        expected = 9 / case["target_dscr"] * annuity_factor(0.05, 2)
        assert result["debt"] == pytest.approx(expected)


def test_a_double_rate_of_return_is_one_rate(desk: httpx.Client) -> None:
    result = calculate(desk, "returns", {"cash_flows": [-400, 880, -484]})
    assert (result["status"], result["rates"]) == ("unique", [pytest.approx(0.1, abs=1e-12)])


def test_months_per_period_charge_their_share_of_a_year(desk: httpx.Client) -> None:
    body: Json = {
        "cfads": [7] * 8,
        "annual_rates": 0.08,
        "target_dscr": 1.4,
        "months_per_period": 3,
    }
    debt = calculate(desk, "debt-sizing", body)["debt"]
    assert debt == pytest.approx(5.0 * annuity_factor(0.02, 8), rel=1e-12)


def test_an_index_with_half_of_the_inflation(desk: httpx.Client) -> None:
    body: Json = {
        "dates": ["2025-12-31", "2026-12-31", "2027-12-31"],
        "indices": [{"name": "CPI", "annual_rate": 0.03, "base_date": "2025-12-31"}],
        "revenues": [
            {"name": "fee", "volume_pa": 10, "price": 7, "index": "CPI", "indexed_share": 0.5}
        ],
    }
    body["indices"][0]["step"] = "year"
    revenues = [row["revenue"] for row in calculate(desk, "cash-flow", body)["rows"]]
    growth = list(accumulate([1.03, 1.03], lambda level, rate: level * rate))
    assert revenues == pytest.approx([70 * (0.5 + 0.5 * level) for level in growth], rel=1e-12)


def test_a_coverage_ahead_of_each_date(desk: httpx.Client) -> None:
    coverage: Json = {
        "debt": 60,
        "cfads": [30, 24, 36],
        "interest": [6, 4, 2],
        "principal": [20] * 3,
    }
    coverage |= {"period_rates": 0.1, "months_per_period": 12, "look_ahead_months": 12}
    result = calculate(desk, "covenants", {"lockup_below": 1.1, "coverage": coverage})
    assert result["coverage"]["window_dscr"] == [1.0, pytest.approx(36 / 22), None]
    assert [test["state"] for test in result["tests"]] == ["LOCKUP", "OK", "NOT_TESTED"]
