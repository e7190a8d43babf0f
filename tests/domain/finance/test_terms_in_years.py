"""Terms in years, contract ends and tax years keep their days, however holidays move payments."""

import random
from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import scale

from spawn.domain.finance.cash_flow.cash_flow_build_up import build_cash_flow
from spawn.domain.finance.cash_flow.cash_flow_case import CashFlowCase
from spawn.domain.finance.cash_flow.cash_flow_result import CashFlowResult
from spawn.domain.finance.deal.deal_case import DealCase
from spawn.domain.finance.deal.deal_result import DealResult
from spawn.domain.finance.deal.joined_deal import model_deal
from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import SizingCase
from spawn.domain.finance.sizing.sizing_result import SizingResult
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, roll_payment_dates

pytestmark = pytest.mark.core

Json = dict[str, Any]

TARGET: Json = {"rule": "modified_following", "calendar": {"base": "target"}}
ANNUAL: Json = {"start": "2021-01-01", "end": "2026-01-01", "frequency": "annual"}
HALF_YEARS: Json = {"start": "2027-01-01", "end": "2031-01-01", "frequency": "semi_annual"}
MARCH_ENDS: Json = {
    "start": "2028-03-31",
    "end": "2034-03-31",
    "frequency": "semi_annual",
    "end_of_month": True,
}
CPI: Json = {"name": "cpi", "annual_rate": 0.1, "base_date": "2027-01-01", "step": "year"}
SALE: Json = {"name": "power", "volume": 1.0, "price": 100.0}
TERM_LOAN: Json = {"name": "loan", "target_dscr": 1.3, "rate": {"base_rate": 0.05}}


def build(dates: Json, **fields: Any) -> CashFlowResult:
    """Build a cash flow up on dates that TARGET holidays move."""
    return build_cash_flow(
        msgspec.convert({"payment_dates": dates | TARGET, **fields}, CashFlowCase)
    )


def revenues(dates: Json, index: Json | None = None, **line: Any) -> list[float]:
    sale = SALE | line | ({"index": "cpi"} if index else {})
    result = build(dates, indices=[index] if index else [], revenues=[sale])
    return [row.revenue for row in result.rows]


def taxes(result: CashFlowResult | SizingResult | DealResult) -> list[float]:
    return [row.tax_paid for row in result.tax_rows or ()]


def join(dates: Json, **fields: Any) -> DealResult:
    case = {"payment_dates": dates, "construction_cost": [100.0, 100.0], "facilities": [TERM_LOAN]}
    return model_deal(msgspec.convert(case | fields, DealCase))


def test_an_index_steps_once_a_year_though_new_year_is_a_holiday() -> None:
    annual = CPI | {"annual_rate": 0.05, "base_date": "2021-01-01"}
    expected = [105.0, 110.25, 115.7625, 121.550625, 127.62815625]
    assert revenues(ANNUAL, annual) == pytest.approx(expected, abs=1e-9)
    years = [110.0, 110.0, 121.0, 121.0, 133.1, 133.1, 146.41, 146.41]
    assert revenues(HALF_YEARS, CPI) == pytest.approx(years, abs=1e-9)


def test_an_index_at_the_start_of_periods_steps_once_a_year_though_easter_moves_a_roll() -> None:
    index = CPI | {"base_date": "2028-03-31", "measured_at": "start"}
    years = [100.0 * 1.1**year for year in range(6) for _ in range(2)]
    assert revenues(MARCH_ENDS, index) == pytest.approx(years, abs=1e-9)


@pytest.mark.parametrize("step", ["year", "period"])
def test_published_levels_are_read_on_the_day_of_the_roll(step: str) -> None:
    levels = [{"date": f"{2021 + year}-01-01", "level": 100.0 * 1.1**year} for year in range(6)] + [
        {"date": "2026-01-02", "level": 999.0}
    ]
    index = {"name": "cpi", "base_date": "2021-01-01", "levels": levels, "step": step}
    expected = [100.0 * 1.1**year for year in range(1, 6)]
    assert revenues(ANNUAL, index) == pytest.approx(expected, abs=1e-9)


def test_a_contract_that_ends_on_a_roll_leaves_no_day_at_the_merchant_price() -> None:
    line: Json = {"contract_end": "2029-01-01", "merchant_price": 200.0}
    assert revenues(HALF_YEARS, **line) == [100.0] * 4 + [200.0] * 4


@pytest.mark.parametrize("last", ["2031-01-01", "2031-01-02"])
def test_a_concession_until_the_last_day_has_all_periods(last: str) -> None:
    result = build(HALF_YEARS, revenues=[SALE], concession_end=last)
    assert [row.revenue for row in result.rows] == [100.0] * 8


def test_an_asset_in_use_from_the_first_day_is_deducted_whole() -> None:
    asset = {"name": "plant", "cost": 400.0, "life_years": 4.0, "start_date": "2027-01-01"}
    tax = {"rate": 0.25, "assets": [asset]}
    rows = build(HALF_YEARS, revenues=[SALE], tax=tax).tax_rows or ()
    assert [row.depreciation for row in rows] == [50.0] * 8


def test_a_tax_year_ends_with_december_though_its_last_payment_falls_in_january() -> None:
    tax = {"rate": 0.25, "assessment": "year"}
    assert taxes(build(HALF_YEARS, revenues=[SALE], tax=tax)) == [0.0, 50.0] * 4
    swings = SALE | {"price": [-100.0, 200.0] * 4}
    assert taxes(build(HALF_YEARS, revenues=[swings], tax=tax)) == [0.0, 25.0] * 4


def test_debt_is_sized_on_tax_years_that_no_holiday_moves() -> None:
    tax = {
        "rate": 0.25,
        "assessment": "year",
        "assets": [{"name": "plant", "cost": 400.0, "life_years": 4.0}],
    }
    case = {
        "day_count": "30E/360",
        "cfads": [100.0] * 8,
        "annual_rates": 0.05,
        "target_dscr": 1.3,
        "tax": tax,
    }
    adjusted, unadjusted = (
        size_debt(
            msgspec.convert(case | {"payment_dates": HALF_YEARS | TARGET | accrual}, SizingCase)
        )
        for accrual in ({}, {"accrual": "unadjusted"})
    )
    # The interest of the two differs by the days that holidays move.
    assert (adjusted.debt, unadjusted.debt) == pytest.approx((493.354, 493.244), abs=5e-4)
    assert [tax > 0.0 for tax in taxes(adjusted)] == [False, True] * 4
    assert taxes(adjusted) == pytest.approx(taxes(unadjusted), rel=2e-3)


def test_tax_years_beyond_the_debt_follow_the_roll_too() -> None:
    case = {
        "payment_dates": HALF_YEARS | TARGET,
        "cfads": [100.0] * 4,
        "project_cash_flow": [100.0] * 8,
        "annual_rates": 0.05,
        "target_dscr": 1.3,
        "tax": {"rate": 0.25, "assessment": "year"},
    }
    result = size_debt(msgspec.convert(case, SizingCase))
    assert [tax > 0.0 for tax in taxes(result)] == [False, True] * 4


def test_a_deal_pays_tax_once_a_year() -> None:
    dates = HALF_YEARS | TARGET | {"start": "2026-01-01"}
    result = join(dates, cfads=[100.0] * 8, tax={"rate": 0.25, "assessment": "year"})
    assert [tax > 0.0 for tax in taxes(result)] == [False, True] * 4


@pytest.mark.parametrize("accrual", [{}, {"accrual": "unadjusted"}])
def test_the_cash_flow_of_a_deal_steps_as_the_one_of_the_operation_alone(accrual: Json) -> None:
    index = CPI | {"base_date": "2028-03-31", "measured_at": "start"}
    lines = {"indices": [index], "revenues": [SALE | {"index": "cpi"}]}
    dates = MARCH_ENDS | TARGET | accrual | {"start": "2027-03-31"}
    result = join(dates, cash_flow=lines | {"period_count": 12})
    years = [100.0 * 1.1**year for year in range(6) for _ in range(2)]
    assert result.cfads == pytest.approx(years, abs=1e-9)


MOVED: Json = {"dates": ["2021-01-01", "2022-01-03", "2023-01-02", "2024-01-02", "2025-01-02"]}
ON_ROLL: Json = {"dates": [f"{year}-01-01" for year in range(2021, 2026)]}
YEARLY_TAX: Json = {"rate": 0.25, "assessment": "year"}


@pytest.mark.parametrize(
    ("terms", "has_warning"),
    [
        ({**MOVED, "tax": YEARLY_TAX}, True),
        ({**MOVED, "concession_end": "2024-06-01"}, True),
        ({**MOVED, "tax": {"rate": 0.25}}, False),
        ({**ON_ROLL, "tax": YEARLY_TAX}, False),
    ],
)
def test_given_dates_off_their_roll_day_are_warned_of(terms: Json, has_warning: bool) -> None:  # noqa: FBT001  # a parameter of the test
    result = build_cash_flow(msgspec.convert({"revenues": [SALE], **terms}, CashFlowCase))
    assert [text.startswith("/dates has 2022-01-03 off") for text in result.warnings] == (
        [True] if has_warning else []
    )


def test_a_sizing_with_tax_years_on_moved_dates_is_warned_of() -> None:
    case = {**MOVED, "cfads": [100.0] * 4, "annual_rates": 0.05, "target_dscr": 1.3}
    assert size_debt(msgspec.convert(case, SizingCase)).warnings == ()
    (warning,) = size_debt(msgspec.convert(case | {"tax": YEARLY_TAX}, SizingCase)).warnings
    assert warning.startswith("/dates has 2022-01-03 off the roll day")


def draw_dates(source: random.Random, periods: int) -> Json:
    """Draw dates of so many periods, with a stub at the back or without."""
    months = source.choice([1, 3, 6, 12])
    start_month = 12 * source.randint(2020, 2029) + source.randint(0, 11)
    end_month = start_month + months * periods
    day, stub_days = source.choice([1, 2, 15, 25]), source.choice([0, 0, 3])
    return {
        "start": f"{start_month // 12}-{start_month % 12 + 1:02}-{day:02}",
        "end": f"{end_month // 12}-{end_month % 12 + 1:02}-{day + stub_days:02}",
        "interval_months": months,
        **({"stub": source.choice(["short_back", "long_back"])} if stub_days else {}),
    }


def draw_calendar(source: random.Random) -> Json:
    rule = source.choice(["following", "modified_following", "preceding"])
    accrual = source.choice([{}, {"accrual": "adjusted"}, {"accrual": "unadjusted"}])
    return {"rule": rule, "calendar": {"base": source.choice(["target", "weekends"])}, **accrual}


def draw_lines(source: random.Random, dates: Json, days: list[date]) -> Json:
    """Draw lines with each term that counts in years or ends on a day."""
    index = {
        "name": "cpi",
        "annual_rate": 0.07,
        "base_date": source.choice([dates["start"], "2019-12-31"]),
        "step": source.choice(["year", "period"]),
        "measured_at": source.choice(["start", "end"]),
    }
    sale = {
        "name": "power",
        "volume_pa": 100.0,
        "price": 2.0,
        "index": "cpi",
        "degradation_pa": 0.01,
        "contract_end": str(source.choice(days[1:])),
        "merchant_price": 1.0,
    }
    return {
        "indices": [index],
        "revenues": [sale],
        "operating_costs": [{"name": "staff", "amount_pa": 20.0, "index": "cpi"}],
        "working_capital": {"receivable_days": 20.0},
        "concession_end": str(source.choice(days[1:])),
    }


def draw_tax(source: random.Random, dates: Json) -> Json:
    asset = {"name": "plant", "cost": 300.0, "life_years": 3.0, "start_date": dates["start"]}
    assessment = source.choice(["period", "year"])
    return {"rate": 0.25, "assessment": assessment, "loss_expiry_years": 2.0, "assets": [asset]}


def list_figures(rows: Sequence[msgspec.Struct]) -> list[dict[str, Any]]:
    fields = [msgspec.structs.asdict(row) for row in rows]
    return [{k: v for k, v in row.items() if k not in {"start", "end"}} for row in fields]


@given(st.integers(0, 10**9))
@settings(max_examples=scale(60), deadline=None)
def test_no_calendar_changes_a_figure_of_a_cash_flow(seed: int) -> None:
    source = random.Random(seed)
    dates = draw_dates(source, source.randint(2, 12))
    days = list(roll_payment_dates(msgspec.convert(dates, PaymentDateTerms)).dates)
    case = draw_lines(source, dates, days) | {"tax": draw_tax(source, dates)}
    plain, moved = (
        build_cash_flow(msgspec.convert(case | {"payment_dates": dates | terms}, CashFlowCase))
        for terms in ({}, draw_calendar(source))
    )
    assert list_figures(moved.rows) == list_figures(plain.rows)
    assert list_figures(moved.tax_rows or ()) == list_figures(plain.tax_rows or ())


@given(st.integers(0, 10**9))
@settings(max_examples=scale(40), deadline=None)
def test_the_cash_flow_of_a_deal_is_that_of_its_operation_alone(seed: int) -> None:
    source = random.Random(seed)
    dates = draw_dates(source, source.randint(5, 14))
    days = roll_payment_dates(msgspec.convert(dates, PaymentDateTerms)).dates[2:]
    terms = draw_calendar(source)
    lines = draw_lines(source, dates, list(days))
    operation = dates | terms | {"start": str(days[0])}
    alone = build_cash_flow(
        msgspec.convert(lines | {"payment_dates": operation}, CashFlowCase)
    ).cfads
    lender = {"name": "loan", "commitment": 1.0, "profile": "straight_line"}
    result = join(
        dates | terms,
        cash_flow=lines | {"period_count": len(days) - 1},
        facilities=[lender | {"rate": {"base_rate": 0.05}}],
    )
    assert result.cfads == alone
