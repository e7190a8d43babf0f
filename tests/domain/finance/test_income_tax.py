"""Depreciation, losses, deductible interest, and the payment of a tax."""

import random
from datetime import date
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.exact_tax import ExactTax
from tests.searches import scale

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import FieldChecker
from spawn.domain.finance.tax.depreciation import DepreciableAsset, list_yearly_deductions
from spawn.domain.finance.tax.income_tax import TaxRow, compute_tax, compute_tax_payments
from spawn.domain.finance.tax.tax_terms import (
    TaxBase,
    TaxTerms,
    check_tax_terms,
    resolve_tax_base,
)
from spawn.domain.finance.time_base.period_bounds import PeriodBounds, find_period_bounds
from spawn.domain.finance.time_base.period_schedule import TimeTerms, resolve_schedule

pytestmark = pytest.mark.core


def years_of(periods: int, months: int = 12) -> PeriodBounds:
    return find_period_bounds(resolve_schedule(TimeTerms(months_per_period=months), periods))


def base_of(bounds: PeriodBounds, **terms: Any) -> TaxBase:
    tax = msgspec.convert({"rate": 0.25, **terms}, TaxTerms)
    checker = FieldChecker()
    check_tax_terms(checker, "/tax", tax, bounds)
    checker.raise_errors()
    return resolve_tax_base(tax, bounds)


def tax_rows(ebitda: list[float], interest: list[float], **terms: Any) -> tuple[TaxRow, ...]:
    months = terms.pop("months", 12)
    return compute_tax(base_of(years_of(len(ebitda), months), **terms), ebitda, interest)


def draw_asset(source: random.Random, periods: int) -> dict[str, Any]:
    method = source.choice(["straight_line", "declining_balance", "table"])
    asset: dict[str, Any] = {
        "name": "plant",
        "cost": round(source.uniform(0, 300), 2),
        "method": method,
        "first_period": source.randint(1, periods),
    }
    if method == "table":
        shares = [round(source.random(), 3) for _ in range(source.randint(1, 8))]
        return asset | {"shares_by_year": tuple(share / sum(shares) for share in shares)}
    life = source.choice([3, 4.5, 7.25, 10, 20])
    residual = round(source.uniform(0, asset["cost"]), 2)
    asset |= {"life_years": life, "residual_value": residual}
    if method == "declining_balance":
        asset |= {
            "declining_rate": round(source.uniform(0.05, 0.6), 3),
            "switches_to_straight_line": source.random() < 0.7,
        }
    return asset


def draw_tax(source: random.Random, periods: int) -> dict[str, Any]:
    """Return the plain terms of a random tax, without any default left out."""
    has_limit = source.random() < 0.5
    return {
        "rate": round(source.uniform(0.05, 0.5), 3),
        "assets": tuple(draw_asset(source, periods) for _ in range(source.randint(0, 3))),
        "other_deductions": round(source.uniform(0, 5), 2),
        "opening_losses": round(source.uniform(0, 60), 2),
        "loss_use_share": source.choice([0.0, 0.6, 0.75, 1.0]),
        "loss_expiry_years": source.choice([None, 0, 1, 3, 7]),
        "interest_limit_share": round(source.uniform(0, 0.6), 2) if has_limit else None,
        "interest_allowance": round(source.uniform(0, 8), 2) if has_limit else 0.0,
        "carries_interest_forward": source.random() < 0.5 if has_limit else True,
        "assessment": source.choice(["period", "year"]),
        "lag_periods": source.randint(0, 3),
    }


def test_three_hundred_random_taxes_equal_exact_fractions() -> None:
    for seed in range(scale(300)):
        source = random.Random(seed)
        periods, months = source.randint(1, 24), source.choice([3, 6, 12])
        tax = draw_tax(source, periods)
        ebitda = [round(source.uniform(-30, 90), 2) for _ in range(periods)]
        interest = [round(source.uniform(0, 30), 2) for _ in range(periods)]
        base = base_of(years_of(periods, months), **tax)
        taxes = compute_tax_payments(base, ebitda, interest)
        exact = ExactTax(tax, months, periods, Fraction)
        expected = exact.pay([Fraction(e) for e in ebitda], [Fraction(i) for i in interest])
        for paid, value in zip(taxes, expected, strict=True):
            assert paid == pytest.approx(float(value), rel=1e-9, abs=1e-9), seed
        rows = compute_tax(base, ebitda, interest)
        assert [row.tax_paid for row in rows] == taxes


@given(st.integers(0, 10**9))
@settings(max_examples=scale(60))
def test_losses_and_taxes_are_neither_lost_nor_made(seed: int) -> None:
    source = random.Random(seed)
    periods = source.randint(1, 20)
    tax = draw_tax(source, periods)
    ebitda = [source.uniform(-30, 90) for _ in range(periods)]
    rows = tax_rows(ebitda, [source.uniform(0, 30) for _ in range(periods)], **tax)
    made = tax["opening_losses"] + sum(max(-row.income, 0.0) for row in rows)
    gone = sum(row.losses_used + row.losses_expired for row in rows) + rows[-1].loss_balance
    assert gone == pytest.approx(made, abs=1e-9)
    assert sum(row.tax_paid for row in rows) == pytest.approx(
        sum(row.tax_due for row in rows), abs=1e-9
    )
    for row in rows:
        assert row.taxable_income >= 0.0
        assert row.losses_used <= tax["loss_use_share"] * max(row.income, 0.0) + 1e-9


@given(st.integers(0, 10**9), st.integers(0, 19), st.floats(0.0, 50.0))
@settings(max_examples=scale(60))
def test_more_interest_never_raises_the_tax_of_any_period(
    seed: int, period: int, more: float
) -> None:
    source = random.Random(seed)
    tax = draw_tax(source, 20)
    ebitda = [source.uniform(-30, 90) for _ in range(20)]
    interest = [source.uniform(0, 30) for _ in range(20)]
    base = base_of(years_of(20), **tax)
    before = compute_tax_payments(base, ebitda, interest)
    interest[period] += more
    after = compute_tax_payments(base, ebitda, interest)
    assert all(new <= old + 1e-9 for old, new in zip(before, after, strict=True))


def test_a_declining_balance_becomes_a_straight_line() -> None:
    asset = DepreciableAsset(
        name="plant", cost=1000, method="declining_balance", life_years=5, declining_rate=0.4
    )
    assert list_yearly_deductions(asset) == pytest.approx([400, 240, 144, 108, 108])
    stubborn = msgspec.structs.replace(asset, switches_to_straight_line=False)
    assert list_yearly_deductions(stubborn) == pytest.approx([400, 240, 144, 86.4, 51.84])


def test_half_years_deduct_what_their_year_does() -> None:
    plant = {"name": "plant", "cost": 100, "method": "table", "shares_by_year": [0.2, 0.32, 0.48]}
    rows = tax_rows([50.0] * 6, [0.0] * 6, months=6, assets=[plant])
    assert [row.depreciation for row in rows] == pytest.approx([10, 10, 16, 16, 24, 24])
    later = tax_rows([50.0] * 6, [0.0] * 6, months=6, assets=[{**plant, "first_period": 2}])
    assert [row.depreciation for row in later] == pytest.approx([0, 10, 10, 16, 16, 24])


@pytest.mark.parametrize(
    ("life_years", "expected"),
    [(0.5, [100.0, 0.0]), (2.5, [20.0] * 5 + [0.0]), (12.5, [4.0] * 25 + [0.0])],
)
def test_a_broken_life_deducts_its_last_part_within_that_part(
    life_years: float, expected: list[float]
) -> None:
    plant = {"name": "plant", "cost": 100, "life_years": life_years}
    zeros = [0.0] * len(expected)
    rows = tax_rows(zeros, zeros, months=6, assets=[plant])
    assert [row.depreciation for row in rows] == pytest.approx(expected)


def test_a_declining_balance_ends_with_a_broken_life() -> None:
    plant = {"name": "plant", "cost": 100, "method": "declining_balance", "declining_rate": 0.4}
    rows = tax_rows([0.0] * 6, [0.0] * 6, months=6, assets=[{**plant, "life_years": 2.5}])
    assert [row.depreciation for row in rows] == pytest.approx([20, 20, 20, 20, 20, 0])


def test_an_asset_in_use_before_the_first_period_has_deducted_a_part() -> None:
    dates = (date(2026, 1, 1), date(2027, 1, 1), date(2028, 1, 1))
    bounds = find_period_bounds(resolve_schedule(TimeTerms(dates=dates)))
    plant = {"name": "plant", "cost": 90, "life_years": 3, "start_date": date(2024, 7, 1)}
    base = base_of(bounds, assets=[plant])
    assert base.depreciation == pytest.approx((30, 15))


def test_a_loss_is_used_up_to_its_share_and_expires() -> None:
    rows = tax_rows([-100.0, 50.0, 50.0, 50.0], [0.0] * 4, loss_use_share=0.6, loss_expiry_years=2)
    assert [row.losses_used for row in rows] == pytest.approx([0, 30, 30, 0])
    assert [row.losses_expired for row in rows] == pytest.approx([0, 0, 0, 40])
    assert [row.tax_due for row in rows] == pytest.approx([0, 5, 5, 12.5])
    assert [row.loss_balance for row in rows] == pytest.approx([100, 70, 40, 0])


def test_interest_beyond_its_limit_is_deducted_later() -> None:
    rows = tax_rows([100.0, 100.0], [50.0, 10.0], interest_limit_share=0.3)
    assert [row.interest_deducted for row in rows] == pytest.approx([30, 30])
    assert [row.interest_carried for row in rows] == pytest.approx([20, 0])
    allowed = tax_rows([20.0], [50.0], interest_limit_share=0.3, interest_allowance=15.0)
    assert allowed[0].interest_deducted == pytest.approx(15)
    lost = tax_rows(
        [100.0, 100.0], [50.0, 10.0], interest_limit_share=0.3, carries_interest_forward=False
    )
    assert [row.interest_deducted for row in lost] == pytest.approx([30, 10])
    assert tax_rows([10.0], [9.0], is_interest_deductible=False)[0].tax_due == pytest.approx(2.5)


def test_a_tax_year_joins_its_periods_and_the_tax_is_paid_later() -> None:
    dates = (date(2026, 7, 1), date(2027, 1, 1), date(2027, 7, 1), date(2028, 1, 1))
    bounds = find_period_bounds(resolve_schedule(TimeTerms(dates=dates)))
    base = base_of(bounds, assessment="year", lag_periods=1)
    rows = compute_tax(base, [40.0, -20.0, 60.0], [0.0] * 3)
    assert [row.tax_due for row in rows] == pytest.approx([10, 0, 10])
    assert [row.tax_paid for row in rows] == pytest.approx([0, 10, 10])


def codes(**terms: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        base_of(years_of(3), **terms)
    return {error.pointer: error.code for error in caught.value.errors}


def asset_codes(**fields: Any) -> dict[str, str]:
    return codes(assets=[{"name": "plant", "cost": 10.0, **fields}])


def test_invalid_terms_name_each_field() -> None:
    assert codes(rate=1.2, loss_use_share=-1.0, opening_losses=-1.0) == {
        "/tax/rate": "out_of_range",
        "/tax/loss_use_share": "out_of_range",
        "/tax/opening_losses": "out_of_range",
    }
    assert codes(interest_allowance=3.0, carries_interest_forward=False) == {
        "/tax/interest_allowance": "not_applicable",
        "/tax/carries_interest_forward": "not_applicable",
    }
    assert codes(interest_limit_share=0.3, is_interest_deductible=False) == {
        "/tax/interest_limit_share": "not_applicable"
    }
    pointer = "/tax/assets/0"
    assert asset_codes() == {f"{pointer}/life_years": "required"}
    assert asset_codes(life_years=5, residual_value=11.0, declining_rate=0.1) == {
        f"{pointer}/residual_value": "out_of_range",
        f"{pointer}/declining_rate": "not_applicable",
    }
    assert asset_codes(method="declining_balance", life_years=5) == {
        f"{pointer}/declining_rate": "required"
    }
    assert asset_codes(method="table", shares_by_year=[0.7, 0.4]) == {
        f"{pointer}/shares_by_year": "out_of_range"
    }
    assert asset_codes(life_years=5, start_date=date(2026, 1, 1), first_period=4) == {
        f"{pointer}/first_period": "out_of_range",
        f"{pointer}/start_date": "ambiguous",
    }
