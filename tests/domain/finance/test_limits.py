"""At the edge of every limit a calculator returns finite figures or names a field."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.result_numbers import iterate_numbers
from tests.searches import scale

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.construction.construction_case import ConstructionCase
from spawn.domain.finance.construction.construction_funding import fund_construction
from spawn.domain.finance.coverage_ratios import CoverageCase, compute_coverage_ratios
from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import FundingUses, SizingCase
from spawn.domain.finance.loans.annuity import cumipmt, ipmt, pmt
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_terms import LoanTerms
from spawn.domain.finance.returns.rates_of_return import irr, mirr, npv
from spawn.domain.finance.waterfall.cash_waterfall import run_waterfall
from spawn.domain.finance.waterfall.waterfall_case import (
    ReserveTerms,
    SeniorTranche,
    WaterfallCase,
)

pytestmark = [pytest.mark.core, pytest.mark.slow]

edges = st.sampled_from([0.0, 5e-324, 1e-300, 1e-12, 1e-3, 1.0, 7.5, 1e9, 1e24])
signed = edges | edges.map(lambda x: -x)
shares = st.sampled_from([0.0, 5e-324, 1e-12, 0.3, 1.0])
rates = st.sampled_from([-0.5, -1e-12, 0.0, 1e-300, 1e-9, 0.05, 1.0, 100.0])
spans = st.sampled_from([5e-324, 1e-12, 0.5, 1.0, 2.0, 100.0])
counts = st.sampled_from([1, 2, 3, 9, 400])


def assert_finite_or_rejected(call: Callable[[], object]) -> None:
    try:
        result = call()
    except InvalidInput:
        return
    assert all(math.isfinite(number) for number in iterate_numbers(msgspec.to_builtins(result)))


def draw_series(data: st.DataObject, of: st.SearchStrategy[float], count: int) -> tuple[float, ...]:
    """Draw a few values and repeat them to a series of length `count`."""
    values = data.draw(st.lists(of, min_size=1, max_size=4))
    return tuple(values[k % len(values)] for k in range(count))


@given(st.data(), counts)
@settings(max_examples=scale(60))
def test_returns(data: st.DataObject, count: int) -> None:
    flows, rate = draw_series(data, signed, count), data.draw(rates)
    assert_finite_or_rejected(lambda: irr(flows, 12))
    assert_finite_or_rejected(lambda: npv(rate, flows))
    assert_finite_or_rejected(lambda: mirr(flows, rate, data.draw(rates)))


@given(st.data(), counts, signed, signed)
@settings(max_examples=scale(40))
def test_annuities(data: st.DataObject, count: int, pv: float, fv: float) -> None:
    rate = data.draw(rates)
    assert_finite_or_rejected(lambda: pmt(rate, count, pv, fv))
    assert_finite_or_rejected(lambda: ipmt(rate, count, count, pv, fv))
    assert_finite_or_rejected(lambda: cumipmt(rate, count, pv, 1, count))


@given(st.data(), counts)
@settings(max_examples=scale(60))
def test_loans(data: st.DataObject, count: int) -> None:
    profiles: Any = st.sampled_from(["annuity", "straight_line", "bullet", "balloon", "sculpted"])
    profile = data.draw(profiles)
    terms = LoanTerms(
        principal=data.draw(edges),
        annual_rates=draw_series(data, rates, count),
        profile=profile,
        accruals=draw_series(data, spans, count),
        balloon=0.0 if profile == "bullet" else data.draw(edges),
        grace_periods=data.draw(st.integers(0, count - 1)),
        grace=data.draw(st.sampled_from(["interest_only", "capitalised"])),
        cfads=draw_series(data, edges, count) if profile == "sculpted" else None,
    )
    assert_finite_or_rejected(lambda: build_loan_schedule(terms))


@given(st.data(), counts)
@settings(max_examples=scale(80))
def test_sizings(data: st.DataObject, count: int) -> None:
    repayments: Any = st.sampled_from(["sculpted", "annuity", "straight_line"])
    repayment = data.draw(repayments)
    sculpted = repayment == "sculpted"
    uses = FundingUses(
        capex=data.draw(edges),
        closing_cost=data.draw(edges),
        upfront_fee_share=data.draw(shares),
        dsra_months=data.draw(st.sampled_from([0.0, 6.0, 60.0])),
    )
    case = SizingCase(
        cfads=draw_series(data, signed, count),
        annual_rates=draw_series(data, rates, count),
        repayment=repayment,
        target_dscr=draw_series(data, edges, count) if sculpted else None,
        share_of_cost=None if sculpted else data.draw(shares),
        accruals=draw_series(data, spans, count),
        balloon=data.draw(edges),
        grace_periods=data.draw(st.integers(0, count - 1)),
        uses=data.draw(st.none() | st.just(uses)),
        max_gearing=data.draw(st.none() | shares),
        allow_negative_amortisation=True,
        reserve_interest_rate=data.draw(rates),
    )
    assert_finite_or_rejected(lambda: size_debt(case))


@given(st.data(), counts)
@settings(max_examples=scale(60))
def test_constructions(data: st.DataObject, count: int) -> None:
    fundings: Any = st.sampled_from(["pro_rata", "equity_first"])
    case = ConstructionCase(
        construction_cost=draw_series(data, edges, count),
        gearing=data.draw(shares),
        rate_per_period=draw_series(data, rates, count),
        commitment_fee_per_period=draw_series(data, rates, count),
        upfront_fee=data.draw(shares),
        dsra_funding_at_end=data.draw(edges),
        dsra_share_of_debt=data.draw(shares),
        cost_at_close=data.draw(edges),
        funding=data.draw(fundings),
    )
    assert_finite_or_rejected(lambda: fund_construction(case))


@given(st.data(), counts)
@settings(max_examples=scale(40))
def test_waterfalls(data: st.DataObject, count: int) -> None:
    case = WaterfallCase(
        cfads=draw_series(data, edges, count),
        senior_interest=draw_series(data, edges, count),
        senior_principal=draw_series(data, edges, count),
        dsra_target=draw_series(data, edges, count),
        dsra_open=data.draw(edges),
        mezz_open=data.draw(edges),
        mezz_rate=data.draw(rates),
        sweep_share=data.draw(shares),
        sweep_if_dscr_below=1.3,
        lockup_below=1.1,
    )
    assert_finite_or_rejected(lambda: run_waterfall(case))


@given(st.data(), counts)
@settings(max_examples=scale(40))
def test_waterfalls_on_balances(data: st.DataObject, count: int) -> None:
    tranche = SeniorTranche(
        opening_balance=data.draw(edges),
        principal=draw_series(data, edges, count),
        annual_rates=data.draw(rates),
    )
    reserve = ReserveTerms(
        target=data.draw(edges), uses=draw_series(data, edges, count), income_rate=data.draw(shares)
    )
    case = WaterfallCase(
        cfads=draw_series(data, signed, count),
        tranches=(tranche, msgspec.structs.replace(tranche, rank=2)),
        accruals=(data.draw(spans),) * count,
        dsra_months=data.draw(spans),
        dsra_form=data.draw(st.sampled_from(["cash", "letter_of_credit"])),
        reserves=(reserve,),
        mezz_open=data.draw(edges),
        mezz_principal=draw_series(data, edges, count),
        sweep_share=data.draw(shares),
        sweep_to_balance=data.draw(edges),
        sweep_order=data.draw(st.sampled_from(["last_first", "next_first", "pro_rata"])),
        lockup_below=1.1,
        lockup_periods_back=1,
        lockup_periods_ahead=1,
    )
    assert_finite_or_rejected(lambda: run_waterfall(case))


@given(st.data(), counts)
@settings(max_examples=scale(40))
def test_cover_ratios(data: st.DataObject, count: int) -> None:
    case = CoverageCase(
        debt=data.draw(edges),
        cfads=draw_series(data, signed, count),
        interest=draw_series(data, signed, count),
        principal=draw_series(data, signed, count),
        period_rates=draw_series(data, rates, count),
        funded_cost=data.draw(st.none() | edges),
    )
    assert_finite_or_rejected(lambda: compute_coverage_ratios(case))
