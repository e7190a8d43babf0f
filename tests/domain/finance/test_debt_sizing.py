"""Debt sizing: targets, caps and consistent coverage ratios."""

import math
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.coverage_ratios import (
    CoverageCase,
    CoverageRatios,
    compute_coverage_ratios,
    compute_dscrs,
)
from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import FundingUses, SizingCase
from spawn.domain.finance.facilities.rate_terms import RateTerms
from spawn.domain.finance.facilities.repayment_terms import SizingFacility
from spawn.domain.finance.sizing.sizing_result import SizingResult

pytestmark = pytest.mark.core

CASE = SizingCase(
    cfads=tuple(10.0 + 0.1 * t for t in range(30)),
    annual_rates=0.06,
    target_dscr=1.3,
    tenor_periods=18,
)
USES = FundingUses(capex=150.0, closing_cost=1.0, upfront_fee_share=0.02, dsra_months=6.0)


def case(**changes: Any) -> SizingCase:
    return msgspec.structs.replace(CASE, **changes)


def assert_consistent(sizing: SizingResult) -> None:
    """Assert the identities of every schedule."""
    scale = max(abs(row.opening_balance) for row in sizing.rows)
    balance = sizing.debt
    for row in sizing.rows:
        assert row.opening_balance == pytest.approx(balance, abs=1e-9 * scale)
        regular = row.interest + row.principal - row.balloon
        assert row.debt_service == pytest.approx(regular, abs=1e-12 * scale)
        balance -= row.principal
    assert sum(row.principal for row in sizing.rows) == pytest.approx(sizing.debt, rel=1e-10)
    assert sizing.rows[-1].closing_balance == 0.0


periods = st.integers(2, 40)


@given(periods, st.data())
@settings(max_examples=scale(25))
def test_sculpted_debt_meets_its_target_in_every_period(count: int, data: st.DataObject) -> None:
    def series(low: float, high: float) -> tuple[float, ...]:
        return tuple(
            data.draw(st.lists(st.floats(low, high), min_size=count, max_size=count), label="s")
        )

    cfads, targets = series(1.0, 100.0), series(1.01, 3.0)
    sizing = size_debt(
        SizingCase(
            cfads=cfads,
            annual_rates=series(0.0, 0.25),
            target_dscr=targets,
            accruals=series(0.1, 1.0),
            allow_negative_amortisation=True,
        )
    )
    assert_consistent(sizing)
    assert [row.dscr for row in sizing.rows] == pytest.approx(targets, rel=1e-9)
    assert sizing.binding == "dscr"
    assert sizing.achieved_dscr == pytest.approx(targets, rel=1e-12)


@given(periods, st.floats(1.05, 2.5), st.floats(0.0, 0.2), st.data())
@settings(max_examples=scale(25))
def test_a_constant_target_makes_llcr_equal_dscr_at_every_date(
    count: int, target: float, rate: float, data: st.DataObject
) -> None:
    cfads = data.draw(st.lists(st.floats(1.0, 100.0), min_size=count, max_size=count))
    sizing = size_debt(
        SizingCase(
            cfads=tuple(cfads),
            annual_rates=rate,
            target_dscr=target,
            allow_negative_amortisation=True,
        )
    )
    assert [row.llcr for row in sizing.rows] == pytest.approx([target] * count, rel=1e-9)
    assert sizing.plcr == pytest.approx(target, rel=1e-9)


def test_a_balloon_is_repaid_last_and_adds_its_present_value() -> None:
    plain, with_balloon = size_debt(case()), size_debt(case(balloon=30.0))
    assert with_balloon.debt == pytest.approx(plain.debt + 30.0 / 1.06**18, rel=1e-12)
    assert_consistent(with_balloon)
    assert [row.balloon for row in with_balloon.rows] == [0.0] * 17 + [30.0]
    assert with_balloon.rows[-1].principal > 30.0
    for row, without in zip(with_balloon.rows, plain.rows, strict=True):
        assert row.debt_service == pytest.approx(without.debt_service, rel=1e-10)
    assert with_balloon.min_dscr == pytest.approx(1.3, rel=1e-12)
    assert with_balloon.warnings == ()


def test_grace_pays_interest_only_and_sculpts_after_it() -> None:
    sizing = size_debt(case(grace_periods=3))
    assert_consistent(sizing)
    assert [row.principal for row in sizing.rows[:3]] == [0.0] * 3
    assert [row.dscr for row in sizing.rows[3:]] == pytest.approx([1.3] * 15, rel=1e-10)


@given(
    st.floats(0.2, 0.95),
    st.floats(0.0, 0.05),
    st.floats(0.0, 12.0),
    st.floats(80.0, 300.0),
    st.floats(0.0, 20.0),
    st.sampled_from(["sculpted", "annuity", "straight_line"]),
)
@settings(max_examples=scale(25))
def test_a_binding_cap_is_solved_to_its_fixed_point(
    share: float, fee: float, months: float, capex: float, balloon: float, repayment: str
) -> None:
    uses = FundingUses(capex=capex, closing_cost=1.0, upfront_fee_share=fee, dsra_months=months)
    sculpted = repayment == "sculpted"
    sizing = size_debt(
        case(
            repayment=repayment,
            target_dscr=1.3 if sculpted else None,
            share_of_cost=None if sculpted else share,
            max_gearing=share,
            uses=uses,
            balloon=balloon,
            allow_negative_amortisation=True,
        )
    )
    assert_consistent(sizing)
    assert sizing.gearing is not None
    assert sizing.gearing <= share * (1 + 1e-12)
    assert sizing.total_uses == pytest.approx(
        capex + 1.0 + fee * sizing.debt + sizing.initial_dsra, rel=1e-12
    )
    assert sizing.equity == pytest.approx((sizing.total_uses or 0.0) - sizing.debt, rel=1e-9)
    if sizing.binding != "dscr":
        assert sizing.gearing == pytest.approx(share, rel=1e-11)
    if sculpted and sizing.achieved_dscr is not None:
        floor = [sizing.rows[k].dscr for k in range(17)]
        assert floor == pytest.approx(sizing.achieved_dscr[:17], rel=1e-9)
        assert min(sizing.achieved_dscr) >= 1.3 * (1 - 1e-12)


def test_the_cap_on_a_pre_estimate_differs_from_the_fixed_point_and_is_named() -> None:
    exact = size_debt(case(max_gearing=0.5, uses=USES))
    estimate = size_debt(case(max_gearing=0.5, uses=USES, cap_basis="pre_estimate"))
    assert (exact.binding, estimate.binding) == ("gearing", "gearing")
    assert exact.gearing == pytest.approx(0.5, rel=1e-12)
    assert estimate.debt == pytest.approx(0.5 * (150.0 + 1.0 + 0.02 * 150.0), rel=1e-14)
    assert estimate.gearing != pytest.approx(0.5, rel=1e-4)
    assert estimate.conventions["cap_basis"] == "pre_estimate"
    stated = case(max_gearing=0.5, uses=USES, cap_basis="pre_estimate", pre_estimated_cost=140.0)
    assert size_debt(stated).debt == pytest.approx(70.0, rel=1e-14)


def test_the_reserve_holds_the_months_ahead_and_is_released_at_the_end() -> None:
    sizing = size_debt(case(uses=msgspec.structs.replace(USES, dsra_months=18.0)))
    service = [row.debt_service for row in sizing.rows]
    assert sizing.initial_dsra == pytest.approx(service[0] + 0.5 * service[1], rel=1e-12)
    assert sizing.dsra_balance[17] == pytest.approx(service[17], rel=1e-10)
    assert set(sizing.dsra_balance[18:]) == {0.0}
    assert len(sizing.dsra_balance) == 31


def test_the_reserve_covers_no_balloon_and_earns_by_the_length_of_the_period() -> None:
    halves = case(
        accruals=(0.5,) * 18,
        months_per_period=6,
        balloon=30.0,
        uses=msgspec.structs.replace(USES, dsra_months=12.0),
        reserve_interest_rate=0.04,
    )
    sizing = size_debt(halves)
    service = [row.debt_service for row in sizing.rows]
    assert sizing.dsra_balance[16] == pytest.approx(service[16] + service[17], rel=1e-12)
    assert sizing.dsra_balance[17] == pytest.approx(service[17], rel=1e-12)
    received = CASE.cfads[17] - service[17] - 30.0 + sizing.dsra_balance[17] * (1.0 + 0.04 * 0.5)
    assert sizing.equity_cash_flow[18] == pytest.approx(received, rel=1e-12)


def test_equity_receives_exactly_the_remaining_project_cash_and_reserve() -> None:
    sizing = size_debt(case(uses=USES, reserve_interest_rate=0.02, max_gearing=0.45))
    earned = sum(0.02 * reserve for reserve in sizing.dsra_balance[:18])
    paid = sum(row.debt_service for row in sizing.rows)
    received = sum(sizing.equity_cash_flow[1:])
    assert received == pytest.approx(
        sum(CASE.cfads) - paid + earned + sizing.initial_dsra, rel=1e-12
    )
    assert sizing.equity_irr is not None
    assert sizing.equity_irr.status == "unique"
    assert sizing.equity_cash_flow == sizing.equity_cash_flow_after_tax


def test_dated_equity_flows_get_a_dated_rate() -> None:
    dates = tuple(date(2026 + k, 6, 30) for k in range(31))
    dated = size_debt(case(dates=dates, day_count="30/360", uses=USES))
    plain = size_debt(case(uses=USES))
    assert dated.debt == pytest.approx(plain.debt, rel=1e-12)
    assert dated.equity_irr is not None
    assert "ACT/365F" in dated.equity_irr.conventions["day_count"]
    assert dated.rows[0].date == dates[1]


def test_growing_balances_are_rejected_unless_allowed() -> None:
    cfads = (1.0, 1.0, 1.0, *[20.0] * 15)
    code = {"/allow_negative_amortisation": "negative_amortisation"}
    growing = case(cfads=cfads, tenor_periods=None)
    assert error_codes(lambda: size_debt(growing)) == code
    allowed = size_debt(msgspec.structs.replace(growing, allow_negative_amortisation=True))
    assert allowed.rows[0].principal < 0.0
    assert "periods 1, 2, 3" in allowed.warnings[0]
    assert_consistent(allowed)


@pytest.mark.parametrize("last", [0.0, 0.2, 1.4])
def test_a_balance_that_grows_in_the_last_period_before_its_balloon_is_rejected(
    last: float,
) -> None:
    """Interest of the last period is 20 x 6 % at least, above what its CFADS carry."""
    growing = SizingCase(
        cfads=(20.0,) * 9 + (last,), annual_rates=0.06, target_dscr=1.25, balloon=20.0
    )
    code = {"/allow_negative_amortisation": "negative_amortisation"}
    assert error_codes(lambda: size_debt(growing)) == code
    allowed = size_debt(msgspec.structs.replace(growing, allow_negative_amortisation=True))
    assert "negative amortisation in period 10" in allowed.warnings
    assert allowed.rows[-1].principal < 20.0
    enough = msgspec.structs.replace(growing, cfads=(20.0,) * 9 + (1.5,))
    assert size_debt(enough).rows[-1].principal == pytest.approx(20.0)


def test_a_loss_is_lent_against_only_where_the_floor_is_lifted() -> None:
    fields: dict[str, Any] = {
        "cfads": (10.0, -2.0, 10.0),
        "tenor_periods": None,
        "annual_rates": 0.05,
        "target_dscr": 1.25,
        "allow_negative_amortisation": True,
    }
    floored = size_debt(case(**fields))
    assert floored.debt == pytest.approx(8.0 / 1.05 + 8.0 / 1.05**3)
    assert floored.rows[1].debt_service == pytest.approx(0.0, abs=1e-12)
    assert floored.rows[1].principal == pytest.approx(-floored.rows[1].interest)
    lifted = size_debt(case(**fields, floor_debt_service=False))
    assert lifted.debt == pytest.approx(floored.debt - 1.6 / 1.05**2)
    assert lifted.debt_service_floor is None


def test_the_lowest_ratio_has_its_period_and_odd_figures_their_warnings() -> None:
    uses = FundingUses(capex=5.0)
    sizing = size_debt(
        case(cfads=(10.0, 8.0, 9.0), tenor_periods=None, target_dscr=(1.5, 1.2, 1.2), uses=uses)
    )
    assert sizing.min_dscr_period == 2
    assert "times the funded cost" in sizing.warnings[-1]
    slow = size_debt(
        case(cfads=(10.0, 10.0), tenor_periods=None, target_dscr=1.2, uses=FundingUses(capex=40.0))
    )
    assert slow.warnings == ("the equity IRR is below zero",)


def test_invalid_cases_name_each_field() -> None:
    assert error_codes(lambda: size_debt(case(cfads=()))) == {
        "/cfads": "empty",
    }
    assert error_codes(lambda: size_debt(case(tenor_periods=31))) == {
        "/tenor_periods": "tenor_beyond_life"
    }
    assert error_codes(lambda: size_debt(case(project_cash_flow=(1.0,)))) == {
        "/project_cash_flow": "tenor_beyond_life"
    }
    assert error_codes(lambda: size_debt(case(cfads=(1e308, math.nan), tenor_periods=None))) == {
        "/cfads/0": "out_of_range",
        "/cfads/1": "out_of_range",
    }
    assert error_codes(lambda: size_debt(case(target_dscr=None))) == {"/target_dscr": "required"}
    assert error_codes(lambda: size_debt(case(target_dscr=0.0, max_gearing=1.2))) == {
        "/target_dscr": "not_positive",
        "/max_gearing": "out_of_range",
        "/uses": "required",
    }
    assert error_codes(lambda: size_debt(case(target_dscr=(1.3, -1.0), annual_rates=(0.05,)))) == {
        "/target_dscr": "wrong_length",
        "/annual_rates": "wrong_length",
    }
    assert error_codes(lambda: size_debt(case(share_of_cost=0.5))) == {
        "/share_of_cost": "not_applicable"
    }
    assert error_codes(lambda: size_debt(case(repayment="annuity", target_dscr=None))) == {
        "/uses": "required",
        "/share_of_cost": "required",
    }
    assert error_codes(lambda: size_debt(case(repayment="annuity"))) == {
        "/uses": "required",
        "/target_dscr": "not_applicable",
    }
    assert error_codes(lambda: size_debt(case(dates=(date(2026, 1, 1),) * 19))) == {
        f"/dates/{k}": "not_increasing" for k in range(1, 19)
    }
    assert error_codes(lambda: size_debt(case(day_count="ACT/1", dates=()))) == {
        "/day_count": "unknown_day_count"
    }
    losing = case(cfads=(-5.0, 1.0), tenor_periods=None, floor_debt_service=False)
    assert error_codes(lambda: size_debt(losing)) == {"/cfads": "no_debt_capacity"}
    worthless = case(cfads=(-5.0, -1.0), tenor_periods=None)
    assert error_codes(lambda: size_debt(worthless)) == {"/cfads": "no_debt_capacity"}
    assert error_codes(lambda: size_debt(case(balloon=500.0, max_gearing=0.5, uses=USES))) == {
        "/balloon": "exceeds_debt"
    }
    assert error_codes(lambda: size_debt(case(pre_estimated_cost=1.0))) == {
        "/pre_estimated_cost": "not_applicable"
    }
    assert error_codes(lambda: size_debt(case(tax_cash_flow=(0.0,)))) == {
        "/tax_cash_flow": "wrong_length"
    }


def test_coverage_ratios_of_a_schedule() -> None:
    result = compute_coverage_ratios(
        CoverageCase(
            debt=100.0,
            cfads=(60.0, 66.0, 20.0),
            interest=(10.0, 5.0),
            principal=(50.0, 50.0),
            period_rates=0.1,
            funded_cost=160.0,
        )
    )
    assert result.dscr == pytest.approx((1.0, 1.2))
    assert (result.min_dscr, result.avg_dscr) == pytest.approx((1.0, 1.1))
    assert result.llcr[0] == pytest.approx((60 / 1.1 + 66 / 1.21) / 100)
    assert result.plcr[1] == pytest.approx((66 / 1.1 + 20 / 1.21) / 50)
    assert result.wal_years == pytest.approx(1.5)
    assert result.gearing == 0.625


def test_a_coverage_that_contradicts_itself_is_rejected_or_warned_of() -> None:
    stated: dict[str, Any] = {
        "debt": 50.0,
        "cfads": (40.0, 40.0),
        "interest": (5.0, 2.5),
        "principal": (25.0, 25.0),
        "period_rates": 0.1,
    }

    def cover(**fields: Any) -> CoverageRatios:
        return compute_coverage_ratios(CoverageCase(**{**stated, **fields}))

    assert cover(funded_cost=50.0, times_years=(1.0, 1.0)).warnings == ()
    assert error_codes(lambda: cover(principal=(28.0, 29.0))) == {"/principal/1": "exceeds_debt"}
    assert error_codes(lambda: cover(times_years=(1.0, 0.5))) == {"/times_years/1": "out_of_order"}
    assert cover(interest=(5.0, 4.0)).warnings == (
        "the interest is not the period rate x balance in period 2",
    )
    assert cover(interest=(5.04, 2.46)).warnings == ()  # rounded figures
    assert cover(principal=(25.01, 25.01)).warnings == ()
    assert cover(principal=(25.0, 5.0)).warnings == ("at the end 20 of the debt is left",)
    assert cover(funded_cost=40.0).warnings == ("the gearing of 1.25 is above 100 %",)


def test_a_cap_that_no_debt_reaches_does_not_bind() -> None:
    """Share x reserve per unit of debt >= 1: any debt is below its share of the cost."""
    uses = FundingUses(capex=50.0, dsra_months=48.0)
    fields: dict[str, Any] = {"cfads": (20.0, 22.0, 18.0, 25.0), "uses": uses, "max_gearing": 0.95}
    one = SizingCase(annual_rates=0.05, target_dscr=1.3, **fields)
    loan = SizingFacility(name="loan", target_dscr=1.3, rate=RateTerms(base_rate=0.05))
    for stated in (one, SizingCase(facilities=(loan,), **fields)):
        sizing = size_debt(stated)
        assert sizing.binding == "dscr"
        assert sizing.debt == pytest.approx(57.78377401312288, rel=1e-12)
        assert sizing.gearing == pytest.approx(0.5007927081137317, rel=1e-12)
    share = msgspec.structs.replace(
        one, repayment="annuity", target_dscr=None, share_of_cost=0.95, max_gearing=None
    )
    estimated = msgspec.structs.replace(share, cap_basis="pre_estimate")
    assert error_codes(lambda: size_debt(share)) == {"/uses": "no_solution"}
    assert error_codes(lambda: size_debt(estimated)) == {"/uses": "no_solution"}


def test_debt_service_of_rounding_noise_is_not_tested() -> None:
    assert compute_dscrs([5.0, 5.0], [1e-5, 2e-3], 1e9) == (None, 2500.0)


def test_a_period_without_debt_service_is_not_tested() -> None:
    result = compute_coverage_ratios(
        CoverageCase(
            debt=100.0,
            cfads=(60.0, 66.0),
            interest=(0.0, 5.0),
            principal=(0.0, 100.0),
            period_rates=(0.0, 0.05),
            times_years=(0.5, 1.0),
        )
    )
    assert result.dscr[0] is None
    assert result.min_dscr == result.avg_dscr == pytest.approx(66 / 105)
    assert result.gearing is None
    nothing = compute_coverage_ratios(
        CoverageCase(debt=1.0, cfads=(1.0,), interest=(0.0,), principal=(0.0,), period_rates=0.0)
    )
    assert (nothing.min_dscr, nothing.avg_dscr, nothing.wal_years) == (None, None, None)


def test_invalid_coverage_cases_name_each_field() -> None:
    bad = CoverageCase(
        debt=0.0,
        cfads=(1.0,),
        interest=(1.0,),
        principal=(1.0, 2.0),
        period_rates=(0.1,),
        times_years=(1.0,),
        funded_cost=-1.0,
    )
    assert error_codes(lambda: compute_coverage_ratios(bad)) == {
        "/debt": "not_positive",
        "/interest": "wrong_length",
        "/cfads": "wrong_length",
        "/period_rates": "wrong_length",
        "/times_years": "wrong_length",
        "/funded_cost": "not_positive",
    }


def test_debt_that_adds_more_cost_than_it_funds_has_no_solution() -> None:
    """Share x (fee + reserve per unit of debt) >= 1: no debt covers its own cost."""
    uses = FundingUses(capex=150.0, dsra_months=60.0)
    costly = case(
        repayment="annuity", target_dscr=None, share_of_cost=0.95, uses=uses, annual_rates=0.6
    )
    assert error_codes(lambda: size_debt(costly)) == {"/uses": "no_solution"}


def test_a_target_that_no_cap_changes_is_achieved_as_it_was_asked() -> None:
    sizing = size_debt(case())
    assert sizing.achieved_dscr == (1.3,) * 18


def test_a_debt_that_only_a_cap_sizes_has_no_achieved_ratio() -> None:
    sizing = size_debt(case(repayment="annuity", target_dscr=None, share_of_cost=0.5, uses=USES))
    assert sizing.achieved_dscr is None


def test_a_project_with_less_cash_than_its_debt_is_sized_on_is_warned_of() -> None:
    case = SizingCase(
        cfads=(20.0, 20.0),
        annual_rates=0.05,
        target_dscr=1.3,
        uses=FundingUses(capex=60.0),
        project_cash_flow=(20.0, 19.0, 5.0),
    )
    assert size_debt(case).warnings[0] == (
        "project_cash_flow is below the CFADS in period 2: equity receives less than the debt is "
        "sized on"
    )
    more = msgspec.structs.replace(case, project_cash_flow=(20.0, 21.0, 5.0))
    assert not [text for text in size_debt(more).warnings if "project_cash_flow" in text]
