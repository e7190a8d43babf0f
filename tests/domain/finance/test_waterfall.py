"""The waterfall: cash in equals cash out, and claims are paid in order."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.waterfall.cash_waterfall import run_waterfall
from spawn.domain.finance.waterfall.waterfall_case import WaterfallCase

pytestmark = pytest.mark.core

CASE = WaterfallCase(
    cfads=(150.0, 60.0, 160.0, 150.0),
    senior_interest=(40.0, 37.0, 34.0, 31.0),
    senior_principal=(60.0, 63.0, 66.0, 69.0),
    dsra_target=(20.0, 20.0, 20.0, 0.0),
    dsra_open=20.0,
    mezz_open=100.0,
    mezz_rate=0.05,
    lockup_below=1.15,
)


def case(**changes: Any) -> WaterfallCase:
    return msgspec.structs.replace(CASE, **changes)


money = st.floats(0.0, 500.0)


@given(
    st.integers(1, 12),
    st.data(),
    st.floats(0.0, 1.0),
    st.floats(0.0, 2.0),
    st.floats(0.0, 1.5),
    st.booleans(),
)
@settings(max_examples=scale(25))
def test_cash_in_is_cash_out_and_the_order_is_kept(
    periods: int,
    data: st.DataObject,
    share: float,
    sweep_below: float,
    lockup: float,
    carry: bool,  # noqa: FBT001 - hypothesis passes by position
) -> None:
    def series() -> tuple[float, ...]:
        return tuple(data.draw(st.lists(money, min_size=periods, max_size=periods)))

    terms = WaterfallCase(
        cfads=series(),
        senior_interest=series(),
        senior_principal=series(),
        dsra_target=series(),
        dsra_open=data.draw(money),
        mezz_open=data.draw(money),
        mezz_rate=0.04,
        sweep_share=share,
        sweep_if_dscr_below=sweep_below,
        lockup_below=lockup,
        trapped_open=data.draw(money),
        carry_arrears=carry,
    )
    reserve, trapped, mezz = terms.dsra_open or 0.0, terms.trapped_open, terms.mezz_open or 0.0
    for row in run_waterfall(terms).rows:
        cash_in = row.cfads + row.dsra_draw + row.dsra_release + trapped
        cash_out = row.senior_paid + row.dsra_topup + row.mezz_paid + row.sweep
        assert cash_in == pytest.approx(
            cash_out + row.distribution + row.trapped_close, abs=1e-9 * (1 + cash_in)
        )
        assert row.senior_paid + row.senior_unpaid == pytest.approx(row.senior_due + row.arrears)
        reserve += row.dsra_topup - row.dsra_draw - row.dsra_release
        assert row.dsra_close == pytest.approx(reserve, abs=1e-9)
        mezz += row.mezz_pik
        assert row.mezz_close == pytest.approx(mezz)
        assert row.mezz_paid + row.mezz_pik == pytest.approx(row.mezz_interest_due)
        assert min(row.dsra_close, row.distribution, row.trapped_close, row.sweep) >= -1e-9
        if row.senior_unpaid > 0.0:
            assert row.mezz_paid == row.sweep == row.dsra_topup == row.distribution == 0.0
            assert row.dsra_close == pytest.approx(0.0, abs=1e-9)
        if row.dscr is not None and row.dscr < lockup:
            assert row.distribution == 0.0
        trapped = row.trapped_close


def test_a_shortfall_empties_the_reserve_and_is_owed_before_anything_junior() -> None:
    result = run_waterfall(CASE)
    short, after = result.rows[1], result.rows[2]
    assert (short.dsra_draw, short.senior_unpaid, short.dsra_close) == (20.0, 20.0, 0.0)
    assert short.mezz_pik == 5.0
    assert after.arrears == 20.0
    assert after.senior_paid == 120.0
    assert after.dsra_topup == 20.0
    assert after.mezz_interest_due == pytest.approx(0.05 * 105.0)
    assert after.distribution == pytest.approx(160 - 120 - 20 - 5.25)
    assert result.total_unpaid == 0.0
    assert "period 2" in result.warnings[0]


def test_periods_stand_alone_when_arrears_are_not_carried() -> None:
    result = run_waterfall(case(carry_arrears=False))
    assert result.rows[2].arrears == 0.0
    assert result.rows[2].distribution == pytest.approx(160 - 100 - 20 - 5.25)
    assert result.total_unpaid == 20.0


def test_cash_trapped_in_lock_up_is_paid_out_once_the_ratio_is_cured() -> None:
    result = run_waterfall(case(cfads=(110.0, 112.0, 150.0, 150.0), mezz_open=0.0))
    assert [row.locked_up for row in result.rows] == [True, True, False, False]
    assert [row.trapped_close for row in result.rows] == [10.0, 22.0, 0.0, 0.0]
    assert result.rows[2].distribution == 72.0


def test_locked_up_cash_pays_an_unpaid_senior_amount() -> None:
    terms = WaterfallCase(
        cfads=(50.0, 150.0),
        senior_interest=(40.0, 40.0),
        senior_principal=(60.0, 60.0),
        trapped_open=10.0,
    )
    short, cured = run_waterfall(terms).rows
    assert (short.senior_unpaid, short.distribution, short.trapped_close) == (40.0, 0.0, 0.0)
    assert short.trapped_draw == 10.0
    assert (cured.senior_paid, cured.distribution) == (140.0, 10.0)


def test_a_lock_up_holds_until_the_release_level_is_reached() -> None:
    cfads = (117.0, 114.0, 117.0, 120.0, 117.0)
    terms = WaterfallCase(
        cfads=cfads,
        senior_interest=(40.0,) * 5,
        senior_principal=(60.0,) * 5,
        lockup_below=1.15,
        lockup_release_at_or_above=1.20,
    )
    rows = run_waterfall(terms).rows
    assert [row.locked_up for row in rows] == [False, True, True, False, False]
    assert [row.distribution for row in rows] == [17.0, 0.0, 0.0, 51.0, 17.0]
    plain = run_waterfall(msgspec.structs.replace(terms, lockup_release_at_or_above=None)).rows
    assert [row.locked_up for row in plain] == [False, True, False, False, False]
    low = msgspec.structs.replace(terms, lockup_release_at_or_above=1.1)
    assert error_codes(lambda: run_waterfall(low)) == {
        "/lockup_release_at_or_above": "out_of_order"
    }


def test_without_senior_debt_service_a_lock_up_neither_begins_nor_ends() -> None:
    free = case(
        cfads=(110.0, 50.0, 150.0, 5.0),
        senior_interest=(40.0, 0.0, 34.0, 0.0),
        senior_principal=(60.0, 0.0, 66.0, 0.0),
        mezz_open=0.0,
    )
    rows = run_waterfall(free).rows
    assert [row.dscr is None for row in rows] == [False, True, False, True]
    assert [row.locked_up for row in rows] == [True, True, False, False]


def test_a_sweep_never_exceeds_a_stated_senior_balance() -> None:
    swept = case(sweep_share=1.0, sweep_if_dscr_below=9.0, mezz_open=0.0, cfads=(150.0,) * 4)
    free = run_waterfall(swept)
    reserve = run_waterfall(msgspec.structs.replace(swept, senior_open=339.0))
    assert [row.sweep for row in free.rows] == [50.0, 50.0, 50.0, 70.0]
    assert "last period sweeps" in free.warnings[0]
    later_sweep = 150.0 - 63.0 - 37.0 * 229.0 / 279.0
    rest = 339.0 - 60.0 - 50.0 - 63.0 - later_sweep - 66.0
    assert [row.sweep for row in reserve.rows] == pytest.approx([50.0, later_sweep, rest, 0.0])
    assert reserve.rows[-1].senior_due == 0.0
    assert reserve.warnings == ()


def test_invalid_cases_name_each_field() -> None:
    assert error_codes(lambda: run_waterfall(case(cfads=()))) == {"/cfads": "empty"}
    assert error_codes(
        lambda: run_waterfall(
            case(
                cfads=(1.0, -1e25, math.nan, 1e308),
                senior_interest=(1.0,),
                dsra_target=(1.0, 2.0),
                mezz_rate=-0.1,
                sweep_share=1.5,
                sweep_if_dscr_below=1.3,
                lockup_below=math.inf,
                dsra_open=-5.0,
                senior_open=-1.0,
            )
        )
    ) == {
        "/cfads/1": "out_of_range",
        "/cfads/2": "out_of_range",
        "/cfads/3": "out_of_range",
        "/senior_interest": "wrong_length",
        "/dsra_target": "wrong_length",
        "/mezz_rate": "out_of_range",
        "/sweep_share": "out_of_range",
        "/lockup_below": "out_of_range",
        "/dsra_open": "out_of_range",
        "/senior_open": "out_of_range",
    }


@pytest.mark.parametrize(
    ("carries", "last", "total", "unpaid"), [(True, 60.0, 140.0, 0.0), (False, 70.0, 150.0, 10.0)]
)
def test_totals_sum_the_periods_and_the_lowest_ratio_skips_periods_without_service(
    carries: bool,  # noqa: FBT001 - parametrised
    last: float,
    total: float,
    unpaid: float,
) -> None:
    result = run_waterfall(
        WaterfallCase(
            cfads=(150.0, 130.0, 90.0, 70.0),
            senior_interest=(50.0, 50.0, 50.0, 0.0),
            senior_principal=(50.0, 50.0, 50.0, 0.0),
            dsra_target=(0.0, 0.0, 0.0, 0.0),
            carry_arrears=carries,
        )
    )
    assert [row.distribution for row in result.rows] == [50.0, 30.0, 0.0, last]
    assert (result.total_distributions, result.total_unpaid) == (total, unpaid)
    assert [row.dscr for row in result.rows] == [1.5, 1.3, 0.9, None]
    assert result.min_dscr == 0.9


def test_a_waterfall_without_debt_has_no_ratio() -> None:
    result = run_waterfall(
        WaterfallCase(
            cfads=(1.0,), senior_interest=(0.0,), senior_principal=(0.0,), dsra_target=(0.0,)
        )
    )
    assert result.min_dscr is None
