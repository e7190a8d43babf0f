"""Debt sized after tax, on several scenarios, and under limits of cover and average life."""

import random
from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.domain.finance.exact_tax import iterate_circle, solve_without_carry
from tests.domain.finance.test_income_tax import draw_tax
from tests.searches import scale

from spawn.domain.finance.coverage_ratios import weighted_average_life
from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import (
    SizingCase,
    SizingInputs,
    resolve_sizing_inputs,
)
from spawn.domain.finance.debt_sizing_tax import solve_tax_circle
from spawn.domain.finance.sizing.sizing_result import SizingResult
from spawn.domain.finance.tax.tax_terms import TaxTerms

pytestmark = pytest.mark.core

P50_P99: list[dict[str, Any]] = [
    {"name": "P50", "target_dscr": 1.3},
    {"name": "P99", "target_dscr": 1.0, "cfads": [7.0, 7.4, 7.9, 8.0, 8.0]},
]
PLANT = {"name": "plant", "cost": 40.0, "life_years": 8.0}


def size(**fields: Any) -> SizingResult:
    case = {"cfads": [10.0] * 5, "annual_rates": 0.06, **fields}
    if "sizing_scenarios" not in fields:
        case.setdefault("target_dscr", 1.3)
    return size_debt(msgspec.convert(case, SizingCase))


def draw_circle(seed: int) -> dict[str, Any]:
    source = random.Random(seed)
    life, months = source.randint(2, 20), source.choice([3, 6, 12])
    return {
        "cfads": [round(source.uniform(5, 60), 2) for _ in range(life)],
        "tenor_periods": source.randint(1, life),
        "annual_rates": round(source.uniform(0.0, 0.15), 4),
        "target_dscr": round(source.uniform(1.0, 1.6), 3),
        "months": months,
        "tax": draw_tax(source, life),
    }


def size_circle(case: dict[str, Any]) -> SizingResult:
    fields = {name: value for name, value in case.items() if name != "months"}
    return size(**fields, months_per_period=case["months"], allow_negative_amortisation=True)


def test_three_hundred_tax_circles_equal_fifty_digit_iteration() -> None:
    for seed in range(scale(300)):
        case = draw_circle(seed)
        sizing = size_circle(case)
        debt, taxes = iterate_circle(case)
        assert sizing.debt == pytest.approx(debt, rel=1e-9), seed
        assert sizing.tax_rows is not None
        assert [row.tax_paid for row in sizing.tax_rows] == pytest.approx(taxes, abs=1e-8), seed


def test_three_hundred_tax_circles_without_carry_equal_their_closed_form() -> None:
    plain: dict[str, Any] = {"opening_losses": 0.0, "loss_expiry_years": 0, "loss_use_share": 1.0}
    plain |= {"interest_limit_share": None, "interest_allowance": 0.0, "other_deductions": 0.0}
    plain |= {"carries_interest_forward": True, "assessment": "period", "lag_periods": 0}
    for seed in range(scale(300)):
        case = draw_circle(seed)
        case["tax"] |= plain
        exact = solve_without_carry(case)
        assert abs(Fraction(size_circle(case).debt) - exact) <= 1e-9 * exact, seed


@given(st.integers(0, 10**9))
@settings(max_examples=scale(40))
def test_sculpted_debt_meets_its_target_after_tax(seed: int) -> None:
    sizing = size_circle(draw_circle(seed))
    target = draw_circle(seed)["target_dscr"]
    for row in sizing.rows:
        assert row.cfads_before_tax is not None
        assert row.tax_paid is not None
        assert row.cfads == row.cfads_before_tax - row.tax_paid
        if row.dscr is not None:
            assert row.dscr == pytest.approx(target, rel=1e-8)
    assert sizing.tax_iterations is not None
    assert sizing.tax_iterations <= 100
    assert sizing.tax_residual is not None
    assert sizing.tax_residual <= 1e-12 * max(map(abs, draw_circle(seed)["cfads"]))


def test_the_tax_of_each_period_is_on_the_interest_of_the_debt() -> None:
    sizing = size(cfads=[10.0] * 8, tenor_periods=5, tax={"rate": 0.25, "assets": [PLANT]})
    assert sizing.tax_rows is not None
    assert len(sizing.tax_rows) == 8
    for row in sizing.rows:
        tax = 0.25 * (10.0 - 5.0 - row.interest)
        assert row.tax_paid == pytest.approx(tax, rel=1e-12)
        assert row.cfads == pytest.approx(10.0 - tax, rel=1e-12)
    assert [row.tax_paid for row in sizing.tax_rows[5:]] == pytest.approx([1.25] * 3)
    assert sizing.total_tax == pytest.approx(sum(row.tax_paid for row in sizing.tax_rows))
    assert "tax" in sizing.conventions


def test_equity_flows_are_before_and_after_the_tax() -> None:
    sizing = size(
        cfads=[10.0] * 8, tenor_periods=5, uses={"capex": 45.0}, tax={"rate": 0.3, "lag_periods": 1}
    )
    assert sizing.tax_rows is not None
    taxes = [0.0] + [row.tax_paid for row in sizing.tax_rows]
    before, after = sizing.equity_cash_flow, sizing.equity_cash_flow_after_tax
    assert [a - b for a, b in zip(before, after, strict=True)] == pytest.approx(taxes)
    assert before[8] == pytest.approx(10.0)
    assert sizing.equity_irr is not None
    assert sizing.equity_irr_after_tax is not None
    assert (sizing.equity_irr_after_tax.rate or 0.0) < (sizing.equity_irr.rate or 0.0)


def test_the_circle_is_solved_under_a_gearing_cap_and_dates_beyond_the_debt() -> None:
    dates = [date(2026 + k // 2, 12 if k % 2 else 6, 30) for k in range(9)]
    sizing = size(
        cfads=[10.0] * 12,
        tenor_periods=8,
        dates=dates,
        uses={"capex": 60.0, "upfront_fee_share": 0.02, "dsra_months": 6.0},
        max_gearing=0.5,
        tax={"rate": 0.25, "assets": [{**PLANT, "life_years": 4.0}], "assessment": "year"},
    )
    assert sizing.binding == "gearing"
    assert sizing.gearing == pytest.approx(0.5, rel=1e-12)
    assert sizing.tax_rows is not None
    assert len(sizing.tax_rows) == 12
    interest = [row.interest for row in sizing.tax_rows]
    assert interest[:8] == pytest.approx([row.interest for row in sizing.rows], rel=1e-12)
    assert sum(row.depreciation for row in sizing.tax_rows) == pytest.approx(40.0)


def test_debt_service_is_the_least_of_the_scenarios() -> None:
    sizing = size(sizing_scenarios=P50_P99)
    assert sizing.debt == pytest.approx(31.489525081, rel=1e-9)
    assert sizing.binding_scenarios == ("P99", "P99", "P50", "P50", "P50")
    assert [row.binding_scenario for row in sizing.rows] == list(sizing.binding_scenarios)
    assert sizing.scenarios is not None
    p50, p99 = sizing.scenarios
    assert (p50.binding_periods, p99.binding_periods) == ((3, 4, 5), (1, 2))
    assert p50.min_dscr == pytest.approx(1.3)
    assert p99.min_dscr == pytest.approx(1.0)
    assert p50.dscr == pytest.approx((10 / 7, 10 / 7.4, 1.3, 1.3, 1.3))
    assert p99.llcr == pytest.approx(
        sum(c / 1.06**t for t, c in enumerate(p99.cfads, start=1)) / sizing.debt
    )
    assert sizing.warnings == ()


def test_a_high_case_with_the_name_of_a_low_one_is_warned_of() -> None:
    high = [
        {"name": "P50", "target_dscr": 1.3},
        {"name": "P90", "target_dscr": 1.5, "cfads": [11.0] * 5},
        {"name": "upside", "target_dscr": 1.6, "cfads": [13.0] * 5},
    ]
    (warning,) = size(sizing_scenarios=high).warnings
    assert warning.startswith("P90 has more CFADS than P50")
    assert "exceeded" in size(sizing_scenarios=high).conventions["scenarios"]


@given(st.integers(0, 10**9))
@settings(max_examples=scale(40))
def test_no_scenario_is_below_its_target_and_one_meets_it_in_each_period(seed: int) -> None:
    source = random.Random(seed)
    count = source.randint(1, 12)
    scenarios = [
        {
            "name": name,
            "target_dscr": round(source.uniform(1.0, 1.8), 3),
            "cfads": [round(source.uniform(4, 40), 2) for _ in range(count)],
        }
        for name in ("P50", "P90", "P99")
    ]
    tax = draw_tax(source, count) if source.random() < 0.5 else None
    sizing = size(
        cfads=[20.0] * count,
        sizing_scenarios=scenarios,
        tax=tax,
        allow_negative_amortisation=True,
    )
    assert sizing.scenarios is not None
    for t, row in enumerate(sizing.rows):
        excess = {
            each.name: ratio / each.target_dscr[t]
            for each in sizing.scenarios
            if (ratio := each.dscr[t]) is not None
        }
        if excess:
            assert min(excess.values()) == pytest.approx(1.0, rel=1e-8)
            assert excess[row.binding_scenario or ""] == pytest.approx(1.0, rel=1e-8)


def test_each_scenario_pays_its_own_tax() -> None:
    sizing = size(sizing_scenarios=P50_P99, tax={"rate": 0.2})
    assert sizing.scenarios is not None
    p99 = sizing.scenarios[1]
    interest = [row.interest for row in sizing.rows]
    expected = [c - 0.2 * (c - i) for c, i in zip([7.0, 7.4, 7.9, 8.0, 8.0], interest, strict=True)]
    assert p99.cfads == pytest.approx(expected, rel=1e-12)


def test_a_least_cover_ratio_limits_the_debt_at_every_date() -> None:
    falling = [1.3, 1.3, 1.2, 1.1, 1.05]
    free = size(target_dscr=falling)
    lowest = min(row.llcr for row in free.rows if row.llcr is not None)
    limited = size(target_dscr=falling, min_llcr=1.2)
    assert limited.binding == "llcr"
    assert limited.debt == pytest.approx(free.debt * lowest / 1.2, rel=1e-12)
    ratios = [row.llcr for row in limited.rows if row.llcr is not None]
    assert min(ratios) == pytest.approx(1.2, rel=1e-12)
    assert limited.debt < free.debt
    project = size(cfads=[10.0] * 7, tenor_periods=5, min_plcr=2.5)
    assert project.binding == "plcr"
    assert project.plcr == pytest.approx(2.5, rel=1e-12)
    assert size(min_llcr=1.1, min_plcr=1.2).binding == "dscr"


def test_a_balloon_is_left_to_its_refinancing_by_a_cover_ratio() -> None:
    sizing = size(balloon=10.0, min_llcr=1.25)
    assert sizing.binding == "llcr"
    assert sizing.llcr == pytest.approx(1.25, rel=1e-12)


def test_an_average_life_shortens_the_debt() -> None:
    sizing = size(max_average_life_years=2.5)
    assert sizing.binding == "average_life"
    assert sizing.wal_years == pytest.approx(2.5, rel=1e-12)
    ratios = [row.dscr for row in sizing.rows]
    assert ratios[:3] == pytest.approx([1.3] * 3)
    assert all(ratio is None or ratio >= 1.3 - 1e-12 for ratio in ratios)
    assert size(max_average_life_years=3.5).binding == "dscr"


@given(st.integers(0, 10**9))
@settings(max_examples=scale(40))
def test_no_other_schedule_carries_more_debt_at_the_average_life(seed: int) -> None:
    source = random.Random(seed)
    count, grace = source.randint(2, 10), source.randint(0, 1)
    cfads = [round(source.uniform(4, 40), 2) for _ in range(count)]
    limit = source.uniform(1.2 + grace, count)
    sizing = size(
        cfads=cfads,
        grace_periods=grace,
        max_average_life_years=limit,
        allow_negative_amortisation=True,
    )
    assert sizing.wal_years is not None
    assert sizing.wal_years <= limit * (1 + 1e-9)
    for _ in range(30):
        service = [cash / 1.3 * source.choice([0, source.random(), 1]) for cash in cfads[grace:]]
        balances = [0.0]
        for payment in reversed(service):
            balances.insert(0, (balances[0] + payment) / 1.06)
        principal = [before - after for before, after in pairwise(balances)]
        principal = [0.0] * grace + principal
        life = weighted_average_life(range(1, count + 1), principal)
        if life is not None and life <= limit:
            assert balances[0] <= sizing.debt * (1 + 1e-9)


def test_limits_that_no_debt_meets_are_reported() -> None:
    assert error_codes(lambda: size(max_average_life_years=0.5)) == {
        "/max_average_life_years": "no_debt_capacity"
    }
    level = {"repayment": "annuity", "target_dscr": None, "share_of_cost": 0.5}
    assert error_codes(lambda: size(**level, uses={"capex": 40.0}, max_average_life_years=2.0)) == {
        "/max_average_life_years": "average_life_exceeded"
    }
    assert size(**level, uses={"capex": 40.0}, min_llcr=4.0).binding == "llcr"
    assert error_codes(lambda: size(cfads=[-1.0] * 3 + [9.0], tenor_periods=3, min_llcr=1.0)) == {
        "/cfads": "no_debt_capacity"
    }


def test_invalid_fields_are_named() -> None:
    scenarios = [{"name": "P50", "target_dscr": 0.0}, {"name": "P50", "target_dscr": [1.0]}]
    assert error_codes(lambda: size(sizing_scenarios=scenarios, target_dscr=1.3)) == {
        "/target_dscr": "not_applicable",
        "/sizing_scenarios/0/target_dscr": "not_positive",
        "/sizing_scenarios/1/name": "duplicate",
        "/sizing_scenarios/1/target_dscr": "wrong_length",
    }
    short = [{"name": "P50", "target_dscr": 1.3, "cfads": [1.0], "ebitda": [1.0]}]
    assert error_codes(lambda: size(sizing_scenarios=short)) == {
        "/sizing_scenarios/0/cfads": "wrong_length",
        "/sizing_scenarios/0/ebitda": "not_applicable",
    }
    assert error_codes(lambda: size(ebitda=[1.0], min_llcr=0.0, max_average_life_years=-1.0)) == {
        "/ebitda": "not_applicable",
        "/min_llcr": "not_positive",
        "/max_average_life_years": "not_positive",
    }
    tax = {"rate": 0.25}
    assert error_codes(lambda: size(tax=tax, tax_cash_flow=[0.0] * 6, uses={"capex": 1.0})) == {
        "/tax_cash_flow": "ambiguous"
    }
    assert error_codes(lambda: size(tax={"rate": [0.2]}, ebitda=[1.0])) == {
        "/tax/rate": "wrong_length",
        "/ebitda": "wrong_length",
    }
    assert error_codes(
        lambda: size(tax=tax, sizing_scenarios=P50_P99, project_cash_flow=[10.0] * 6)
    ) == {"/sizing_scenarios/1/ebitda": "required"}


def test_a_circle_without_a_fixed_point_ends() -> None:
    inputs = resolve_sizing_inputs(
        SizingCase(cfads=(10.0,), annual_rates=0.05, target_dscr=1.3, tax=TaxTerms(rate=0.3))
    )
    assert inputs.taxed_project is not None
    project, calls = inputs.taxed_project, list[int]()

    def alternate(_inputs: SizingInputs) -> list[float]:
        calls.append(1)
        return [float(len(calls) % 2)]

    assert error_codes(lambda: solve_tax_circle(inputs, project, alternate)) == {
        "/tax": "no_solution"
    }
    assert len(calls) == 501


def test_a_tax_of_the_whole_cash_leaves_no_debt() -> None:
    assert error_codes(lambda: size(tax={"rate": 1.0, "is_interest_deductible": False})) == {
        "/cfads": "no_debt_capacity"
    }


def test_an_asset_that_is_used_up_before_the_first_period_is_warned_of() -> None:
    days = [date(2026 + year, 12, 31) for year in range(6)]
    old = {"name": "old", "cost": 90.0, "life_years": 3.0, "start_date": date(2020, 1, 1)}
    result = size(dates=days, tax={"rate": 0.25, "assets": [PLANT, old]})
    text = "the life of old ends before the first period, so that nothing of it is deducted"
    assert result.warnings == (f"/tax/assets/1/start_date: {text}",)
