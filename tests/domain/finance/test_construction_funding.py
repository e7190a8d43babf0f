"""Construction funding: sources equal uses, and the circularity is solved exactly."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.construction.construction_case import ConstructionCase
from spawn.domain.finance.construction.construction_funding import fund_construction
from spawn.domain.finance.construction.construction_result import ConstructionFunding

pytestmark = pytest.mark.core

CASE = ConstructionCase(
    construction_cost=(8.0, 12.0, 18.0, 22.0, 20.0, 14.0, 9.0, 5.0),
    gearing=0.75,
    rate_per_period=0.0125,
    commitment_fee_per_period=0.001,
    upfront_fee=0.02,
)


def case(**changes: Any) -> ConstructionCase:
    return msgspec.structs.replace(CASE, **changes)


def assert_funded(terms: ConstructionCase, funding_result: ConstructionFunding) -> None:
    scale = funding_result.total_uses
    balance = 0.0
    for row in funding_result.rows:
        costs = row.cost + row.upfront_fee + row.interest + row.commitment_fee + row.dsra_funding
        assert row.debt_draw + row.equity_draw == pytest.approx(row.uses, abs=1e-12 * scale)
        assert costs == pytest.approx(row.uses, abs=1e-12 * scale)
        assert min(row.debt_draw, row.equity_draw) >= -1e-12 * scale
        balance += row.debt_draw
        assert row.closing_balance == pytest.approx(balance, abs=1e-9 * scale)
    assert balance == pytest.approx(funding_result.debt_commitment, rel=1e-10)
    assert funding_result.debt_commitment + funding_result.equity == pytest.approx(scale, rel=1e-10)
    assert funding_result.gearing == pytest.approx(terms.gearing, rel=1e-10)


@given(
    st.lists(st.just(0.0) | st.floats(0.01, 1e8), min_size=1, max_size=30).filter(any),
    st.floats(0.05, 1.0),
    st.floats(0.0, 0.04),
    st.floats(0.0, 0.005),
    st.floats(0.0, 0.05),
    st.floats(0.0, 1e7),
    st.floats(0.0, 0.05),
    st.sampled_from(["pro_rata", "equity_first"]),
)
@settings(max_examples=scale(25))
def test_sources_equal_uses_in_each_period_and_debt_is_the_stated_share(
    costs: list[float],
    gearing: float,
    rate: float,
    commitment_fee: float,
    upfront: float,
    reserve: float,
    reserve_share: float,
    funding: str,
) -> None:
    terms = case(
        construction_cost=tuple(costs),
        gearing=gearing,
        rate_per_period=rate,
        commitment_fee_per_period=commitment_fee,
        upfront_fee=upfront,
        dsra_funding_at_end=reserve,
        dsra_share_of_debt=reserve_share,
        funding=funding,
    )
    funding_result = fund_construction(terms)
    assert_funded(terms, funding_result)
    assert funding_result.idc_total + funding_result.fees_total <= funding_result.total_uses


def test_a_project_without_cost_of_money_needs_only_its_cost() -> None:
    funding_result = fund_construction(
        case(rate_per_period=0.0, commitment_fee_per_period=0.0, upfront_fee=0.0)
    )
    assert funding_result.debt_commitment == pytest.approx(0.75 * 108.0, rel=1e-14)
    assert funding_result.idc_total == funding_result.fees_total == 0.0


def test_equity_first_spends_equity_before_debt_and_saves_interest() -> None:
    terms = case(funding="equity_first")
    first, level = fund_construction(terms), fund_construction(CASE)
    assert_funded(terms, first)
    drawn = [row.debt_draw > 0.0 for row in first.rows]
    spent = [row.equity_draw > 0.0 for row in first.rows]
    assert drawn == sorted(drawn)
    assert spent == sorted(spent, reverse=True)
    assert first.idc_total < level.idc_total
    assert first.total_uses < level.total_uses


def test_all_debt_is_the_same_either_way() -> None:
    level = fund_construction(case(gearing=1.0))
    first = fund_construction(case(gearing=1.0, funding="equity_first"))
    assert first.debt_commitment == pytest.approx(level.debt_commitment, rel=1e-13)
    assert level.equity == pytest.approx(0.0, abs=1e-9)


def test_rates_by_period_and_costs_at_close_apply_in_their_periods() -> None:
    terms = case(
        construction_cost=(0.0, 0.0),
        cost_at_close=100.0,
        rate_per_period=(0.01, 0.03),
        commitment_fee_per_period=(0.0, 0.0),
        upfront_fee=0.0,
        gearing=1.0,
    )
    funding_result = fund_construction(terms)
    assert [row.interest for row in funding_result.rows] == pytest.approx([0.0, 1.0, 3.03])
    assert funding_result.debt_commitment == pytest.approx(100 * 1.01 * 1.03, rel=1e-14)


def test_invalid_cases_name_each_field() -> None:
    assert error_codes(lambda: fund_construction(case(construction_cost=()))) == {
        "/construction_cost": "empty"
    }
    assert error_codes(lambda: fund_construction(case(construction_cost=(0.0, 0.0)))) == {
        "/construction_cost": "all_zero"
    }
    assert error_codes(
        lambda: fund_construction(
            case(
                construction_cost=(1.0, -1.0, 1e308),
                gearing=0.0,
                rate_per_period=(0.1,),
                upfront_fee=math.nan,
                dsra_funding_at_end=-1.0,
            )
        )
    ) == {
        "/construction_cost/1": "out_of_range",
        "/construction_cost/2": "out_of_range",
        "/gearing": "out_of_range",
        "/rate_per_period": "wrong_length",
        "/upfront_fee": "out_of_range",
        "/dsra_funding_at_end": "out_of_range",
    }


def test_the_smallest_gearing_and_cost_are_a_millionth_of_a_millionth() -> None:
    assert fund_construction(case(gearing=1e-12)).debt_commitment > 1e-10
    assert error_codes(lambda: fund_construction(case(gearing=0.99e-12))) == {
        "/gearing": "out_of_range"
    }
    assert error_codes(lambda: fund_construction(case(gearing=1.0 + 1e-15))) == {
        "/gearing": "out_of_range"
    }
    least = case(construction_cost=(0.0, 1e-12), upfront_fee=0.0, rate_per_period=0.0)
    assert fund_construction(least).rows[2].cost == 1e-12
    less = case(construction_cost=(0.0, 0.99e-12))
    assert error_codes(lambda: fund_construction(less)) == {"/construction_cost": "all_zero"}


@pytest.mark.parametrize("funding", ["pro_rata", "equity_first"])
def test_money_that_costs_more_than_it_funds_has_no_solution(funding: str) -> None:
    ruinous = case(gearing=1.0, upfront_fee=0.99, rate_per_period=0.5, funding=funding)
    assert error_codes(lambda: fund_construction(ruinous)) == {"/rate_per_period": "no_solution"}
