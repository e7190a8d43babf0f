"""The build-up of CFADS: exact fractions, sums that add up, and each term of a line."""

import random
from datetime import date
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.domain.finance.exact_cash_flow import ExactCashFlow
from tests.searches import scale

from spawn.domain.finance.cash_flow.cash_flow_build_up import build_cash_flow
from spawn.domain.finance.cash_flow.cash_flow_case import CashFlowCase
from spawn.domain.finance.cash_flow.cash_flow_result import CashFlowResult

pytestmark = pytest.mark.core

Json = dict[str, Any]


def build(**fields: Any) -> CashFlowResult:
    return build_cash_flow(msgspec.convert(fields, CashFlowCase))


def sale(**fields: Any) -> Json:
    return {"name": "power", "volume": 10.0, "price": 100.0, **fields}


class CaseSource:
    """A source of random cases whose every power has a whole exponent."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = self.random.randint(1, 14)

    def series(self, low: float, high: float) -> Any:
        if self.random.random() < 0.5:
            return round(self.random.uniform(low, high), 3)
        return tuple(round(self.random.uniform(low, high), 3) for _ in range(self.count))

    def period(self) -> int:
        return self.random.randint(1, self.count)

    def maybe(self, **fields: Any) -> Json:
        return fields if self.random.random() < 0.5 else {}

    def indexation(self, prefix: str = "") -> Json:
        name = self.random.choice(["CPI", "wages"])
        share = self.maybe(**{f"{prefix}indexed_share": round(self.random.random(), 3)})
        return self.maybe(**{f"{prefix}index": name, **share})

    def quantity(self, name: str, low: float, high: float) -> Json:
        return {self.random.choice([name, f"{name}_pa"]): self.series(low, high)}

    def revenue(self, name: str) -> Json:
        line = {
            "name": name,
            **self.quantity("volume", 0.0, 500.0),
            "price": self.series(-5.0, 90.0),
            "availability": self.series(0.5, 1.0),
            "degradation_pa": round(self.random.uniform(0.0, 0.1), 3),
            "first_period": self.period(),
            **self.indexation(),
        }
        if self.random.random() < 0.6:
            line |= {"contract_periods": self.period()}
            merchant = {"merchant_price": self.series(-9.0, 90.0), **self.indexation("merchant_")}
            line |= self.maybe(**merchant)
        return line

    def operating_cost(self, name: str) -> Json:
        first = self.period()
        line = {"name": name, "first_period": first}
        line |= self.maybe(last_period=self.random.randint(first, self.count))
        kind = self.random.choice(["amount", "unit_cost", "revenue_share"])
        if kind == "amount":
            return line | self.quantity("amount", -10.0, 900.0) | self.indexation()
        if kind == "unit_cost":
            volume_of = self.random.choice(["one", "two"])
            return line | {"unit_cost": self.series(0.0, 9.0), "volume_of": volume_of}
        return line | {"revenue_share": self.series(0.0, 0.4)}

    def draw(self) -> Json:
        uniform = self.random.uniform
        indices: list[Json] = [
            {
                "name": "CPI",
                "annual_rate": round(uniform(-0.02, 0.09), 4),
                "base_years": self.random.randint(-3, 5),
                "step": "year",
                "measured_at": self.random.choice(["start", "end"]),
            },
            {
                "name": "wages",
                "level_per_period": tuple(round(uniform(80, 180), 2) for _ in range(self.count)),
                "base_level": round(uniform(80, 120), 2),
            },
        ]
        payment = {
            "name": "service",
            **self.quantity("amount", 0.0, 900.0),
            **self.indexation(),
            "first_period": self.period(),
            "deduction_share": self.series(0.0, 0.2),
            "deduction_amount": self.series(0.001, 50.0),
            "deduction_cap": round(uniform(0.0, 0.3), 3),
        }
        capital = tuple(round(uniform(0, 90), 2) for _ in range(self.count))
        return {
            "period_count": self.count,
            "months_per_period": self.random.choice([1, 3, 6, 12]),
            "indices": indices,
            "revenues": [self.revenue("one"), self.revenue("two")],
            "availability_payments": [payment],
            "operating_costs": [self.operating_cost(name) for name in "abc"],
            "capital_costs": [
                {"name": "repair", "amounts": capital, "index": "CPI"},
                {"name": "tools", "amounts": capital, "index": "wages", "indexed_share": 0.25},
            ],
            "working_capital": {
                "receivable_days": round(uniform(0, 200), 1),
                "payable_days": round(uniform(0, 200), 1),
            },
            "tax_paid": tuple(round(uniform(0, 9), 2) for _ in range(self.count)),
            **self.maybe(concession_periods=self.period()),
        }


def test_three_hundred_random_cases_equal_exact_fractions() -> None:
    for seed in range(scale(300)):
        fields = CaseSource(seed).draw()
        rows = build(**fields).rows
        expected_rows = ExactCashFlow(fields).run()
        for row, expected in zip(rows, expected_rows, strict=True):
            for name, value in expected.items():
                tolerance = 1e-9 * max(1.0, abs(float(value)))
                assert abs(Fraction(getattr(row, name)) - value) <= tolerance, (seed, name)


@given(st.integers(0, 10**9))
@settings(max_examples=scale(40))
def test_the_lines_add_up_to_the_rows_and_working_capital_comes_back(seed: int) -> None:
    result = build(**CaseSource(seed).draw())
    by_kind: dict[str, list[float]] = {}
    for line in result.lines:
        total = by_kind.setdefault(line.kind, [0.0] * len(result.rows))
        by_kind[line.kind] = [a + b for a, b in zip(total, line.amounts, strict=True)]
    income = map(sum, zip(by_kind["revenue"], by_kind["availability_payment"], strict=True))
    assert [row.revenue for row in result.rows] == pytest.approx(list(income), abs=1e-6)
    costs = [row.operating_costs for row in result.rows]
    assert costs == pytest.approx(by_kind["operating_cost"], abs=1e-6)
    increases = [row.working_capital_increase for row in result.rows]
    assert sum(increases) == pytest.approx(0.0, abs=1e-6)
    for row in result.rows:
        assert row.deductions <= row.availability_payments


def test_a_tariff_of_2021_is_indexed_from_its_base_date() -> None:
    result = build(
        dates=[date(2023, 1, 1), date(2024, 1, 1), date(2025, 1, 1)],
        indices=[{"name": "CPI", "annual_rate": 0.05, "base_date": date(2021, 1, 1)}],
        revenues=[sale(index="CPI")],
    )
    assert result.lines[0].prices == pytest.approx((115.7625, 121.550625), rel=1e-12)
    assert result.rows[0].cfads == pytest.approx(1157.625, rel=1e-12)


def half_years(step: str, measured_at: str) -> tuple[float, ...] | None:
    index = {"name": "CPI", "annual_rate": 0.21, "base_years": 0, "step": step}
    result = build(
        period_count=4,
        months_per_period=6,
        indices=[{**index, "measured_at": measured_at}],
        revenues=[sale(index="CPI")],
    )
    return result.lines[0].index_factors


def test_an_index_steps_by_the_period_or_by_the_year() -> None:
    assert half_years("period", "end") == pytest.approx((1.1, 1.21, 1.331, 1.4641))
    assert half_years("period", "start") == pytest.approx((1.0, 1.1, 1.21, 1.331))
    assert half_years("year", "end") == pytest.approx((1.21, 1.21, 1.4641, 1.4641))
    assert half_years("year", "start") == pytest.approx((1.0, 1.0, 1.21, 1.21))


def published(**fields: Any) -> CashFlowResult:
    levels = [
        {"date": date(2025, 1, 1), "level": 100.0},
        {"date": date(2026, 1, 1), "level": 103.0},
        {"date": date(2027, 1, 1), "level": 106.0},
    ]
    index = {"name": "CPI", "levels": levels, "base_date": date(2025, 7, 1), **fields}
    return build(
        dates=[date(2025, 12, 31), date(2026, 12, 31), date(2027, 12, 31), date(2028, 12, 31)],
        indices=[index],
        revenues=[sale(index="CPI")],
    )


def test_a_published_index_holds_until_the_next_and_a_rate_forecasts() -> None:
    factors = published(annual_rate=0.1).lines[0].index_factors
    assert factors is not None
    months = 11 + 30 / 31
    expected = (1.03, 1.06 * 1.1 ** (months / 12), 1.06 * 1.1 ** (1 + months / 12))
    assert factors == pytest.approx(expected, rel=1e-12)
    lagged = published(annual_rate=0.1, lag_months=12, base_date=date(2026, 7, 1))
    assert lagged.lines[0].index_factors is not None
    assert lagged.lines[0].index_factors[:2] == pytest.approx((1.0, 1.03))
    assert error_codes(published) == {"/indices/0/levels": "too_short"}
    assert error_codes(lambda: published(annual_rate=0.1, lag_months=12)) == {
        "/indices/0/levels": "too_short"
    }


def test_a_yearly_step_reads_published_levels_on_anniversaries() -> None:
    result = published(step="year", annual_rate=0.0, measured_at="start")
    assert result.lines[0].index_factors == pytest.approx((1.0, 1.03, 1.06))


def test_only_the_indexed_share_of_a_price_grows() -> None:
    result = build(
        period_count=1,
        indices=[{"name": "CPI", "annual_rate": 0.10, "base_years": 0}],
        revenues=[sale(index="CPI", indexed_share=0.4)],
    )
    assert result.lines[0].prices == pytest.approx((104.0,))


def test_degradation_steps_with_each_year_of_the_line() -> None:
    result = build(
        period_count=6, months_per_period=6, revenues=[sale(degradation_pa=0.1, first_period=2)]
    )
    assert result.lines[0].volumes == pytest.approx((0.0, 10.0, 10.0, 9.0, 9.0, 8.1))


def test_a_contract_ends_inside_a_period_and_the_merchant_price_follows() -> None:
    dates = [date(2026, 1, 1), date(2027, 1, 1), date(2028, 1, 1)]
    result = build(
        dates=dates,
        revenues=[sale(contract_end=date(2027, 3, 15), merchant_price=40.0)],
        concession_end=date(2027, 9, 30),
    )
    contract, concession = 73 / 365, 272 / 365
    row = result.rows[1]
    assert row.contract_revenue == pytest.approx(1000.0 * contract)
    assert row.merchant_revenue == pytest.approx(400.0 * (concession - contract))
    assert row.operating_share == pytest.approx(concession)
    without_tail = build(dates=dates, revenues=[sale(contract_periods=1)])
    assert [row.revenue for row in without_tail.rows] == [1000.0, 0.0]


def test_deductions_take_at_most_their_cap() -> None:
    payment = {
        "name": "service",
        "amount_pa": 120.0,
        "deduction_share": (0.05, 0.05),
        "deduction_amount": (0.0, 9.0),
        "deduction_cap": 0.1,
    }
    result = build(period_count=2, months_per_period=6, availability_payments=[payment])
    assert [row.deductions for row in result.rows] == pytest.approx([3.0, 6.0])
    assert [row.revenue for row in result.rows] == pytest.approx([57.0, 54.0])


def test_receivables_of_more_days_than_a_period_reach_back() -> None:
    result = build(
        period_count=4,
        months_per_period=1,
        revenues=[sale(volume=(1.0, 2.0, 3.0, 4.0))],
        working_capital={"receivable_days": 365 / 8},
    )
    assert [row.receivables for row in result.rows] == pytest.approx([100.0, 250.0, 400.0, 0.0])
    assert sum(row.working_capital_increase for row in result.rows) == pytest.approx(0.0)


def test_costs_follow_the_volume_and_the_revenue() -> None:
    result = build(
        period_count=3,
        revenues=[sale(volume=(1.0, 2.0, 3.0))],
        operating_costs=[
            {"name": "balancing", "unit_cost": 5.0, "volume_of": "power", "last_period": 2},
            {"name": "lease", "revenue_share": 0.1, "first_period": 2},
            {"name": "staff", "amount": 7.0},
        ],
    )
    assert [row.variable_costs for row in result.rows] == pytest.approx([5.0, 30.0, 30.0])
    assert [row.fixed_costs for row in result.rows] == [7.0, 7.0, 7.0]


def test_a_tax_is_computed_on_ebitda_and_interest() -> None:
    plant = {"name": "plant", "cost": 1200.0, "life_years": 3}
    result = build(
        period_count=3,
        revenues=[sale()],
        working_capital={"receivable_days": 73},
        tax={"rate": 0.25, "assets": [plant], "opening_losses": 100.0},
        interest=[60.0, 40.0, 20.0],
    )
    assert result.tax_rows is not None
    assert [row.tax_paid for row in result.rows] == pytest.approx([110.0, 140.0, 145.0])
    assert [row.tax_due for row in result.tax_rows] == pytest.approx([110.0, 140.0, 145.0])
    assert [row.cfads for row in result.rows] == pytest.approx([690.0, 860.0, 1055.0])


def test_losses_are_warned_of() -> None:
    result = build(period_count=2, operating_costs=[{"name": "staff", "amount": (1.0, 2.0)}])
    assert result.warnings == ("CFADS are below zero in periods 1, 2",)


def codes(**fields: Any) -> dict[str, str]:
    return error_codes(lambda: build(**{"period_count": 3, "revenues": [sale()], **fields}))


def test_invalid_cases_name_each_field() -> None:
    assert codes(period_count=None) == {"/period_count": "required"}
    assert codes(accruals=[0.5, 0.5]) == {"/accruals": "wrong_length"}
    assert codes(dates=[date(2026, 1, 1), date(2027, 1, 1)]) == {"/period_count": "contradiction"}
    assert codes(day_count="ACT/360", months_per_period=6) == {"/day_count": "not_applicable"}
    assert codes(revenues=[]) == {"/revenues": "required"}
    assert codes(revenues=[sale(volume=None)]) == {"/revenues/0/volume": "required"}
    assert codes(revenues=[sale(volume_pa=3.0, price=(1.0,))]) == {
        "/revenues/0/volume_pa": "ambiguous",
        "/revenues/0/price": "wrong_length",
    }
    assert codes(revenues=[sale(), sale(index="CPI")]) == {
        "/revenues/1/name": "duplicate",
        "/revenues/1/index": "unknown_name",
    }
    assert codes(revenues=[sale(merchant_index="x", indexed_share=0.5)]) == {
        "/revenues/0/merchant_index": "not_applicable",
        "/revenues/0/indexed_share": "not_applicable",
    }
    assert codes(revenues=[sale(merchant_price=1.0, contract_end=None)]) == {
        "/revenues/0/merchant_price": "not_applicable"
    }
    assert codes(concession_end=date(2027, 1, 1)) == {"/concession_end": "not_applicable"}
    assert codes(concession_periods=9) == {"/concession_periods": "out_of_range"}
    cost = {"name": "a", "unit_cost": 1.0}
    assert codes(operating_costs=[cost]) == {"/operating_costs/0/volume_of": "required"}
    assert codes(operating_costs=[{**cost, "volume_of": "gas"}]) == {
        "/operating_costs/0/volume_of": "unknown_name"
    }
    assert codes(tax_paid=[1.0]) == {"/tax_paid": "wrong_length"}
    assert codes(interest=[1.0] * 3) == {"/interest": "not_applicable"}
    assert codes(tax={"rate": 2.0}, tax_paid=[1.0] * 3) == {
        "/tax/rate": "out_of_range",
        "/tax_paid": "ambiguous",
    }
    assert codes(working_capital={"receivable_days": 400}) == {
        "/working_capital/receivable_days": "out_of_range"
    }


def test_invalid_indices_name_each_field() -> None:
    def index_codes(**fields: Any) -> dict[str, str]:
        index = {"name": "CPI", **fields}
        return codes(indices=[index], revenues=[sale(index="CPI")])

    assert index_codes() == {
        "/indices/0/annual_rate": "required",
        "/indices/0/base_years": "required",
    }
    assert index_codes(annual_rate=0.02, base_date=date(2026, 1, 1)) == {
        "/indices/0/base_date": "not_applicable"
    }
    assert index_codes(annual_rate=0.02, base_years=0, lag_months=3, base_level=1.0) == {
        "/indices/0/base_level": "not_applicable",
        "/indices/0/lag_months": "not_applicable",
    }
    assert index_codes(level_per_period=[1.0, 2.0, 3.0], base_years=1.0) == {
        "/indices/0/base_level": "required",
        "/indices/0/base_years": "not_applicable",
    }
    unused = {"name": "CPI", "annual_rate": 0.02, "base_years": 0}
    assert codes(indices=[unused]) == {"/indices/0": "not_applicable"}


def test_amounts_beyond_float64_are_rejected() -> None:
    index = {"name": "CPI", "annual_rate": 100.0, "base_years": 190}
    assert codes(indices=[index], revenues=[sale(index="CPI")]) == {"/revenues": "overflow"}


LATE: Json = {"period_count": 4, "revenues": [sale(first_period=3, contract_periods=1)]}


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (LATE, "/revenues/0/contract_periods: the contract of power ends before its first_period"),
        (
            {**LATE, "revenues": [{**LATE["revenues"][0], "merchant_price": 5.0}]},
            "/revenues/0/contract_periods: the contract of power ends before its first_period",
        ),
        (
            {"period_count": 4, "concession_periods": 2, "revenues": [sale(first_period=3)]},
            "/revenues/0/first_period: power begins in period 3, after the concession",
        ),
        (
            {
                "period_count": 4,
                "concession_periods": 2,
                "revenues": [sale(contract_periods=3, merchant_price=5.0)],
            },
            "/revenues/0/merchant_price: power has no use for it",
        ),
        (
            {
                "period_count": 4,
                "concession_periods": 2,
                "revenues": [sale()],
                "operating_costs": [{"name": "repair", "amount": 1.0, "first_period": 4}],
            },
            "/operating_costs/0/first_period: repair begins in period 4, after the concession",
        ),
        (
            {
                "dates": ["2026-01-01", "2027-01-01", "2028-01-01", "2029-01-01"],
                "revenues": [sale(first_period=3, contract_end="2027-06-01")],
            },
            "/revenues/0/contract_end: the contract of power ends before its first_period 3",
        ),
        (
            {
                "period_count": 6,
                "revenues": [sale(contract_periods=3)],
                "operating_costs": [
                    {"name": "fuel", "unit_cost": 1, "volume_of": "power", "first_period": 4}
                ],
            },
            "/operating_costs/0/volume_of: power is not sold in the periods of fuel",
        ),
    ],
)
def test_a_line_or_price_without_a_period_is_warned_of(case: Json, text: str) -> None:
    (warning,) = build(**case).warnings
    assert warning.startswith(text)


def test_a_contract_within_the_concession_has_no_warning() -> None:
    case: Json = {"period_count": 4, "concession_periods": 3}
    lines = [sale(contract_periods=2, merchant_price=5.0, first_period=2)]
    assert build(**case, revenues=lines).warnings == ()


@pytest.mark.parametrize("end", [date(2020, 1, 1), date(2026, 12, 31), date(2036, 12, 31)])
@pytest.mark.parametrize("noun", ["contract", "concession"])
def test_an_end_outside_the_periods_is_named(noun: str, end: date) -> None:
    fields: Json = {"dates": [date(2026, 12, 31), date(2027, 12, 31)], "revenues": [sale()]}
    pointer = f"/{noun}_end"
    if noun == "contract":
        fields["revenues"], pointer = [sale(contract_end=end)], "/revenues/0/contract_end"
    else:
        fields["concession_end"] = end
    assert error_codes(lambda: build(**fields)) == {pointer: "out_of_range"}


@pytest.mark.parametrize(("life", "is_idle"), [(3.0, True), (7.0, True), (8.0, False)])
def test_an_asset_that_is_used_up_before_the_first_period_is_warned_of(
    life: float,
    is_idle: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    old = {"name": "old", "cost": 90.0, "life_years": life, "start_date": date(2019, 12, 31)}
    result = build(
        dates=[date(2026, 12, 31), date(2027, 12, 31)],
        revenues=[sale()],
        tax={"rate": 0.25, "assets": [{"name": "new", "cost": 1.0, "life_years": 5.0}, old]},
    )
    text = (
        "/tax/assets/1/start_date: the life of old ends before the first period, so that nothing "
        "of it is deducted"
    )
    assert (text in result.warnings) == is_idle
