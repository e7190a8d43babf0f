"""Returns: conventions of discounting, multiples, payback and the cost of energy."""

from datetime import date
from typing import Any

import pytest

from spawn.application.analysis.returns_calculator import (
    CashFlowInput,
    ReturnsCase,
    ReturnsResult,
    calculate_returns,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.returns.discounting import CurvePoint


def returns(**fields: Any) -> ReturnsResult:
    return calculate_returns(ReturnsCase(**fields))


def codes(**fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        returns(**fields)
    return {error.pointer: error.code for error in caught.value.errors}


def flows(*pairs: tuple[str, float]) -> tuple[CashFlowInput, ...]:
    return tuple(
        CashFlowInput(date=date.fromisoformat(day), amount=amount) for day, amount in pairs
    )


LOAN = flows(("2025-01-31", -100.0), ("2025-07-31", 30.0), ("2026-01-31", 85.0))


def test_a_discount_rate_is_effective_a_year_for_any_period() -> None:
    fields: dict[str, Any] = {"cash_flows": (-100.0, 55.0, 55.0), "discount_rate": 0.1}
    assert returns(**fields).npv == pytest.approx(-100 + 55 / 1.1 + 55 / 1.21)
    half = returns(**fields, periods_per_year=2)
    assert half.npv == pytest.approx(-100 + 55 / 1.1**0.5 + 55 / 1.1)
    assert "effective a year" in half.conventions["npv"]


def test_flows_are_discounted_to_the_base_date() -> None:
    worth = returns(flows=LOAN, discount_rate=0.1, base_date=date(2024, 1, 31)).npv
    expected = sum(
        flow.amount * 1.1 ** (-(flow.date - date(2024, 1, 31)).days / 365) for flow in LOAN
    )
    assert worth == pytest.approx(expected)
    later = returns(flows=LOAN, discount_rate=0.1, base_date=date(2026, 1, 31)).npv
    assert later == pytest.approx(expected * 1.1 ** (731 / 365))


def test_a_curve_is_log_linear_in_between_and_flat_beyond() -> None:
    curve = (CurvePoint(years=1.0, rate=0.04), CurvePoint(years=3.0, rate=0.06))
    result = returns(cash_flows=(0.0, 1.0, 1.0, 1.0, 1.0), discount_curve=curve)
    one, three = 1.04**-1, 1.06**-3
    assert result.npv == pytest.approx(one + (one * three) ** 0.5 + three + 1.06**-4)
    flat = returns(cash_flows=(-1.0, 1.2), discount_curve=(CurvePoint(years=9.0, rate=0.05),))
    assert flat.npv == pytest.approx(-1 + 1.2 / 1.05)


def test_years_are_counted_by_the_day_count() -> None:
    result = returns(flows=LOAN, day_count="30E/360", discount_rate=0.1)
    assert result.npv == pytest.approx(-100 + 30 / 1.1**0.5 + 85 / 1.1)
    rate = result.rate
    assert rate is not None
    assert -100 + 30 * (1 + rate) ** -0.5 + 85 / (1 + rate) == pytest.approx(0.0, abs=1e-12)
    assert codes(flows=LOAN, day_count="BUS/252") == {"/day_count": "not_applicable"}


def test_one_of_several_rates_is_picked_on_request() -> None:
    pump = (-100.0, 230.0, -132.0)
    assert returns(cash_flows=pump).nearest_rate is None
    assert returns(cash_flows=pump, nearest_to=0.0).nearest_rate == pytest.approx(0.1)
    assert returns(cash_flows=pump, nearest_to=0.19).nearest_rate == pytest.approx(0.2)
    assert returns(cash_flows=(1.0, 1.0), nearest_to=0.1).nearest_rate is None


def test_multiples_count_the_residual_value_once() -> None:
    result = returns(cash_flows=(-50.0, -50.0, 30.0, 40.0), residual_value=60.0)
    assert result.moic == pytest.approx(1.3)
    assert result.dpi == pytest.approx(0.7)
    same = returns(cash_flows=(-50.0, -50.0, 30.0, 100.0))
    assert result.rates == same.rates
    assert returns(cash_flows=(1.0, 2.0)).moic is None


def test_payback_is_where_the_sum_stays_above_zero() -> None:
    assert returns(cash_flows=(-100.0, 40.0, 40.0, 40.0)).payback_years == pytest.approx(2.5)
    half = returns(cash_flows=(-100.0, 40.0, 40.0, 40.0), periods_per_year=2)
    assert half.payback_years == pytest.approx(1.25)
    repaired = returns(cash_flows=(-100.0, 110.0, -20.0, 30.0))
    assert repaired.payback_years == pytest.approx(2 + 10 / 30)
    assert returns(cash_flows=(-100.0, 40.0)).payback_years is None
    discounted = returns(cash_flows=(-100.0, 0.0, 121.0), discount_rate=0.1)
    assert discounted.discounted_payback_years == pytest.approx(2.0)


def test_energy_costs_what_its_present_value_has_to_bear() -> None:
    result = returns(
        cash_flows=(-100.0, 60.0, 60.0),
        costs=(100.0, 5.0, 5.0),
        energy=(0.0, 50.0, 50.0),
        discount_rate=0.08,
    )
    factors = 1 / 1.08 + 1 / 1.08**2
    assert result.lcoe == pytest.approx((100 + 5 * factors) / (50 * factors))


def test_multiples_beyond_float64_are_left_out() -> None:
    result = returns(cash_flows=(-5e-324, 100.0))
    assert (result.moic, result.dpi) == (None, None)


def test_dated_costs_follow_their_flows_in_any_order() -> None:
    mixed = (LOAN[2], LOAN[0], LOAN[1])
    fields: dict[str, Any] = {"discount_rate": 0.08}
    ordered = returns(flows=LOAN, costs=(9.0, 1.0, 1.0), energy=(0.0, 4.0, 5.0), **fields)
    shuffled = returns(flows=mixed, costs=(1.0, 9.0, 1.0), energy=(5.0, 0.0, 4.0), **fields)
    assert shuffled.lcoe == pytest.approx(ordered.lcoe)
    assert shuffled.payback_years == pytest.approx(ordered.payback_years)


@pytest.mark.parametrize(
    ("cash_flows", "fields", "text"),
    [
        ((-100.0, -5.0), {}, "total loss"),
        ((-100.0, 50.0), {}, "below zero"),
        ((-100.0, 350.0), {}, "rate of return is above 100 %"),
        ((-100.0, 150.0), {"nearest_to": 8.0}, "rates are fractions"),
    ],
)
def test_odd_rates_are_warned_of(
    cash_flows: tuple[float, ...], fields: dict[str, Any], text: str
) -> None:
    (warning,) = returns(cash_flows=cash_flows, **fields).warnings
    assert text in warning


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"day_count": "ACT/360"}, {"/day_count": "not_applicable"}),
        ({"base_date": date(2026, 1, 1)}, {"/base_date": "not_applicable"}),
        ({"costs": (1.0, 1.0)}, {"/energy": "incomplete", "/costs": "not_applicable"}),
        ({"periods_per_year": 0}, {"/periods_per_year": "out_of_range"}),
        (
            {"discount_rate": 0.1, "discount_curve": (CurvePoint(years=1.0, rate=0.1),)},
            {"/discount_curve": "ambiguous"},
        ),
        ({"discount_curve": ()}, {"/discount_curve": "empty"}),
        (
            {"discount_curve": (CurvePoint(years=2.0, rate=0.1), CurvePoint(years=1.0, rate=-1.0))},
            {"/discount_curve/1/rate": "out_of_range", "/discount_curve/1/years": "not_increasing"},
        ),
        (
            {"discount_rate": 0.1, "costs": (1.0, 1.0), "energy": (0.0, 0.0)},
            {"/energy": "all_zero"},
        ),
        (
            {"discount_rate": 0.1, "costs": (1.0, 1.0), "energy": (0.0, 5e-324)},
            {"/energy": "overflow"},
        ),
        ({"residual_value": -1.0}, {"/residual_value": "out_of_range"}),
    ],
)
def test_fields_without_a_use_are_rejected_by_name(
    fields: dict[str, Any], error: dict[str, str]
) -> None:
    assert codes(cash_flows=(-100.0, 150.0), **fields) == error
