"""The waterfall on balances: laws, exact fractions, and each claim of the order."""

import random
from datetime import date
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.domain.finance.exact_waterfall import Debt, Reserve, run_exactly
from tests.searches import scale

from spawn.domain.finance.waterfall.cash_waterfall import run_waterfall
from spawn.domain.finance.waterfall.waterfall_case import (
    ReserveTerms,
    SeniorTranche,
    WaterfallCase,
)
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult

pytestmark = pytest.mark.core

DATES = (date(2029, 3, 31), date(2029, 9, 30), date(2030, 3, 31))


def run(**fields: Any) -> WaterfallResult:
    return run_waterfall(WaterfallCase(**fields))


def draw_case(source: random.Random) -> dict[str, Any]:
    """Return the fields of a random waterfall with a sweep and pari passu tranches."""
    periods = source.randint(1, 10)

    def series(low: float, high: float) -> tuple[float, ...]:
        return tuple(round(source.uniform(low, high), 2) for _ in range(periods))

    def tranche(number: int) -> SeniorTranche:
        has_rate = source.random() < 0.5
        return SeniorTranche(
            name=f"tranche {number}",
            opening_balance=round(source.uniform(0.0, 40.0 * periods), 2),
            principal=series(0.0, 40.0),
            interest=None if has_rate else series(0.0, 12.0),
            annual_rates=round(source.uniform(0.0, 0.1), 4) if has_rate else None,
            rank=source.randint(1, 2),
        )

    lockup = source.uniform(0.9, 1.3)
    return {
        "cfads": series(-20.0, 150.0),
        "tranches": tuple(tranche(number) for number in range(source.randint(1, 4))),
        "dsra_target": round(source.uniform(0.0, 40.0), 2),
        "dsra_open": round(source.uniform(0.0, 40.0), 2),
        "mezz_open": round(source.uniform(0.0, 60.0), 2),
        "mezz_rate": round(source.uniform(0.0, 0.15), 4),
        "mezz_principal": series(0.0, 10.0),
        "sweep_share": round(source.uniform(0.0, 1.0), 3),
        "sweep_if_dscr_below": source.uniform(1.0, 3.0),
        "sweep_to_balance": round(source.uniform(0.0, 50.0), 2),
        "sweep_order": source.choice(["last_first", "next_first", "pro_rata"]),
        "lockup_below": lockup,
        "lockup_release_at_or_above": lockup + source.uniform(0.0, 0.2),
    }


def draw_reserves(source: random.Random, periods: int) -> tuple[ReserveTerms, ...]:
    """Return up to three reserves whose targets rise and fall."""

    def series(high: float) -> tuple[float, ...]:
        return tuple(
            source.choice([0.0, round(source.uniform(0.0, high), 2)]) for _ in "x" * periods
        )

    return tuple(
        ReserveTerms(
            name=f"reserve {number}",
            target=series(20.0),
            opening_balance=round(source.uniform(0.0, 20.0), 2),
            uses=series(8.0) if source.random() < 0.5 else None,
            is_ring_fenced=source.random() < 0.5,
            outlives_debt=source.random() < 0.5,
        )
        for number in range(source.randint(0, 3))
    )


def draw_reserved_case(source: random.Random) -> dict[str, Any]:
    """Return a random waterfall with reserves and balloons, and a letter of credit in some."""
    fields = draw_case(source)
    periods = len(fields["cfads"])
    fields["reserves"] = draw_reserves(source, periods)
    fields["tranches"] = tuple(
        msgspec.structs.replace(
            tranche,
            balloon=round(source.uniform(0.0, 60.0), 2),
            balloon_period=source.randint(1, periods),
        )
        if tranche.annual_rates is not None and source.random() < 0.6
        else tranche
        for tranche in fields["tranches"]
    )
    fields["months_per_period"] = 12
    if source.random() < 0.4:
        fields["dsra_form"] = "letter_of_credit"
        fields |= {"dsra_fee_rate": 0.02, "dsra_draw_rate": 0.07}
    elif not any(tranche.annual_rates is not None for tranche in fields["tranches"]):
        del fields["months_per_period"]
    return fields


def to_exact(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the same case in fractions."""

    def exact(values: tuple[float, ...] | None) -> list[Fraction]:
        return [Fraction(value) for value in values or ()]

    debts = [
        Debt(
            rank=each.rank,
            balance=Fraction(each.opening_balance),
            instalments=exact(each.principal),
            rate=None if each.annual_rates is None else Fraction(each.annual_rates),
            interest=exact(each.interest),
            balloon=Fraction(each.balloon),
            balloon_period=each.balloon_period or 0,
        )
        for each in fields["tranches"]
    ]
    periods = len(fields["cfads"])
    reserves = [
        (
            Reserve(
                name=each.name,
                targets=exact(each.target),
                uses=exact(each.uses or (0.0,) * periods),
                is_ring_fenced=each.is_ring_fenced,
                outlives_debt=each.outlives_debt,
            ),
            Fraction(each.opening_balance),
        )
        for each in fields.get("reserves", ())
    ]
    return {
        "reserves": reserves,
        "is_credit": fields.get("dsra_form") == "letter_of_credit",
        "fee_rate": Fraction(fields.get("dsra_fee_rate", 0.0)),
        "draw_rate": Fraction(fields.get("dsra_draw_rate", 0.0)),
        "cfads": exact(fields["cfads"]),
        "debts": debts,
        "dsra": Fraction(fields["dsra_open"]),
        "dsra_target": Fraction(fields["dsra_target"]),
        "mezz": Fraction(fields["mezz_open"]),
        "mezz_rate": Fraction(fields["mezz_rate"]),
        "mezz_principal": exact(fields["mezz_principal"]),
        "sweep_share": Fraction(fields["sweep_share"]),
        "sweep_below": Fraction(fields["sweep_if_dscr_below"]),
        "floor": Fraction(fields["sweep_to_balance"]),
        "order": fields["sweep_order"],
        "lockup": Fraction(fields["lockup_below"]),
        "release": Fraction(fields["lockup_release_at_or_above"]),
    }


def test_three_hundred_random_cases_equal_exact_fractions() -> None:
    source = random.Random(20290331)
    differences = []
    sweeps = shortfalls = repaid = 0
    for number in range(scale(300)):
        fields = draw_case(source)
        result = run(**fields)
        for row, expected in zip(result.rows, run_exactly(to_exact(fields)), strict=True):
            sweeps += row.sweep > 0.0
            shortfalls += row.senior_unpaid > 0.0
            repaid += row.senior_close == 0.0
            for name, value in expected.items():
                if name != "balloons" and abs(float(value) - getattr(row, name)) > 1e-9:
                    differences.append((number, row.period, name, float(value), row))
    assert differences == []
    assert min(sweeps, shortfalls, repaid) > scale(300) / 3


def test_three_hundred_cases_with_reserves_and_balloons_equal_exact_fractions() -> None:
    """Reserves whose targets fall release cash to those that are short before any distribution."""
    source = random.Random(20260601)
    differences = []
    passed_on = owed_to_banks = swept_balloons = 0
    for number in range(scale(300)):
        fields = draw_reserved_case(source)
        result = run(**fields)
        for row, expected in zip(result.rows, run_exactly(to_exact(fields)), strict=True):
            passed_on += row.reserve_release > 0.0 < row.dsra_topup
            owed_to_banks += row.dsra_owed_close > 0.0
            balloons = [left[row.period - 1] for left in result.tranche_balloons]
            swept_balloons += 0.0 < sum(balloons) < sum(t.balloon for t in fields["tranches"])
            for name, value in expected.items():
                figure = sum(balloons) if name == "balloons" else getattr(row, name)
                if abs(float(value) - figure) > 1e-9:
                    differences.append((number, row.period, name, float(value), row))
            if row.distribution > 0.0 and "dsra_form" not in fields:
                assert row.dsra_close >= row.dsra_target - 1e-9
            assert row.distribution == 0.0 or row.dsra_owed_close == 0.0
    assert differences == []
    assert min(passed_on, owed_to_banks, swept_balloons) > scale(300) / 10


@pytest.mark.parametrize(
    ("fields", "closes", "distribution"),
    [
        # Each period lacks 1, which the DSRA pays: 2 of the 8 that are released refill it.
        ({"dsra_open": 5.0, "cfads": (10.0,) * 3}, [4.0, 5.0, 0.0], 6.0),
        ({"dsra_open": 0.0, "cfads": (11.0,) * 3}, [0.0, 5.0, 0.0], 3.0),
    ],
)
def test_a_released_reserve_fills_the_reserve_before_it(
    fields: dict[str, Any], closes: list[float], distribution: float
) -> None:
    terms = ReserveTerms(target=(8.0, 0.0, 0.0), opening_balance=8.0, is_ring_fenced=True)
    rows = run(
        **fields,
        dsra_target=5.0,
        senior_open=30.0,
        senior_principal=(10.0,) * 3,
        senior_interest=(1.0,) * 3,
        reserves=(terms,),
    ).rows
    assert [row.dsra_close for row in rows] == closes
    assert rows[1].distribution == distribution


def test_a_released_reserve_repays_the_bank_of_a_letter_of_credit() -> None:
    rows = run(
        cfads=(5.0, 11.0, 11.0),
        senior_open=30.0,
        senior_principal=(10.0,) * 3,
        senior_interest=(1.0,) * 3,
        dsra_form="letter_of_credit",
        dsra_target=6.0,
        dsra_draw_rate=0.1,
        months_per_period=12,
        reserves=(ReserveTerms(target=(7.0, 0.0, 0.0), opening_balance=7.0, is_ring_fenced=True),),
    ).rows
    assert [row.dsra_owed_close for row in rows] == pytest.approx([6.0, 0.0, 0.0])
    assert rows[1].dsra_topup == pytest.approx(6.6)
    assert rows[1].distribution == pytest.approx(0.4)


def test_a_sweep_reduces_balance_and_balloon_by_what_it_takes() -> None:
    """Before the balloon of period 2 lie 10, after it 10: the last is swept first, then it."""
    tranche = SeniorTranche(
        opening_balance=30.0,
        principal=(10.0, 10.0, 10.0),
        annual_rates=0.0,
        balloon=20.0,
        balloon_period=2,
    )
    result = run(
        cfads=(25.0, 10.0, 10.0),
        tranches=(tranche,),
        months_per_period=12,
        sweep_share=1.0,
        sweep_if_dscr_below=9.0,
    )
    assert [row.sweep for row in result.rows] == [15.0, 0.0, 0.0]
    assert [row.senior_close for row in result.rows] == [10.0, 0.0, 0.0]
    assert result.tranche_balloons == ((15.0, 15.0, 0.0),)


def test_a_second_reserve_fills_the_first_one() -> None:
    reserves = (
        ReserveTerms(target=5.0),
        ReserveTerms(target=0.0, opening_balance=8.0, is_ring_fenced=True),
    )
    row = run(
        cfads=(11.0,), senior_principal=(10.0,), senior_interest=(1.0,), reserves=reserves
    ).rows[0]
    assert (row.reserve_close, row.distribution) == (5.0, 3.0)


def test_a_ring_fenced_reserve_without_debt_pays_costs_before_it_is_released() -> None:
    row = run(
        cfads=(-5.0,),
        senior_open=0.0,
        senior_principal=(0.0,),
        senior_interest=(0.0,),
        reserves=(ReserveTerms(target=8.0, opening_balance=8.0, is_ring_fenced=True),),
    ).rows[0]
    assert (row.operating_shortfall, row.distribution) == (0.0, 3.0)


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(["cash", "letter_of_credit"]))
@settings(max_examples=scale(60))
def test_the_laws_of_balances_hold(
    seed: int,
    carry: bool,  # noqa: FBT001 - hypothesis passes by position
    form: str,
) -> None:
    fields = draw_case(random.Random(seed))
    fields["reserves"] = (
        ReserveTerms(
            target=7.0, opening_balance=5.0, uses=(3.0,) * len(fields["cfads"]), income_rate=0.02
        ),
        ReserveTerms(target=4.0, opening_balance=9.0, is_ring_fenced=True, outlives_debt=True),
    )
    fields |= {"carry_arrears": carry, "dsra_form": form}
    result = run(**fields)
    owed = sum(each.opening_balance for each in fields["tranches"])
    trapped, dsra, reserve, repaid = 0.0, fields["dsra_open"], 14.0, 0.0
    for row in result.rows:
        drawn = row.dsra_draw + row.dsra_release + row.reserve_draw + row.reserve_release
        cash_in = row.cfads + row.reserve_income + row.operating_shortfall + trapped + drawn
        senior = row.dsra_fee + row.reserve_uses + row.senior_paid + row.sweep
        filled = row.dsra_topup + row.reserve_topup
        junior = row.mezz_paid + row.mezz_catch_up + row.mezz_principal_paid + row.distribution
        assert cash_in == pytest.approx(senior + filled + junior + row.trapped_close, abs=1e-9)
        if form == "cash":
            dsra += row.dsra_topup - row.dsra_draw - row.dsra_release
            assert row.dsra_close == pytest.approx(dsra, abs=1e-9)
        reserve += row.reserve_topup - row.reserve_draw - row.reserve_release
        assert row.reserve_close == pytest.approx(reserve, abs=1e-9)
        repaid += row.senior_principal_paid + row.sweep
        assert row.senior_close == pytest.approx(owed - repaid, abs=1e-9)
        assert repaid <= owed + 1e-9
        assert min(row.dsra_close, row.mezz_close, row.trapped_close, row.reserve_close) >= 0.0
        assert min(row.senior_close or 0.0, row.distribution, row.sweep) >= 0.0
        assert row.senior_interest_paid + row.senior_principal_paid == pytest.approx(
            row.senior_paid, abs=1e-9
        )
        if row.senior_unpaid > 0.0 or row.operating_shortfall > 0.0:
            assert row.trapped_close == row.dsra_topup == row.mezz_paid == 0.0
            assert row.distribution == row.sweep == 0.0
            assert row.reserve_close <= 4.0 + 1e-9
            if form == "cash":
                assert row.dsra_close == 0.0
        trapped = row.trapped_close


def test_a_swept_loan_repays_no_more_than_is_owed_and_bears_less_interest() -> None:
    fields: dict[str, Any] = {
        "cfads": (70.0,) * 3,
        "senior_interest": (6.0, 4.0, 2.0),
        "senior_principal": (40.0,) * 3,
        "senior_open": 120.0,
        "sweep_share": 0.5,
        "sweep_if_dscr_below": 2.0,
    }
    rows = run(**fields).rows
    assert sum(row.senior_principal_paid + row.sweep for row in rows) == pytest.approx(120.0)
    assert rows[0].sweep == 12.0
    assert rows[1].senior_due == pytest.approx(40.0 + 4.0 * 68.0 / 80.0)
    assert [row.senior_close for row in rows][-1] == 0.0
    in_proportion = run(**fields, sweep_order="pro_rata").rows[1]
    assert in_proportion.senior_due == pytest.approx(34.0 + 3.4)
    next_first = run(**fields, sweep_order="next_first").rows[1]
    assert next_first.senior_due == pytest.approx(28.0 + 3.4)


def test_a_sweep_stops_at_its_balance() -> None:
    rows = run(
        cfads=(90.0, 90.0),
        senior_interest=(5.0, 4.0),
        senior_principal=(10.0, 10.0),
        senior_open=100.0,
        sweep_share=1.0,
        sweep_to_balance=(40.0, 35.0),
    ).rows
    assert [row.sweep for row in rows] == [50.0, 0.0]
    assert [row.senior_close for row in rows] == [40.0, 30.0]


def test_locked_up_cash_pays_before_the_reserve_and_before_a_shortfall() -> None:
    rows = run(
        cfads=(109.0, 93.0, 70.0),
        senior_interest=(40.0,) * 3,
        senior_principal=(60.0,) * 3,
        lockup_below=1.15,
        dsra_open=10.0,
        dsra_target=10.0,
    ).rows
    assert [row.trapped_draw for row in rows] == [0.0, 7.0, 2.0]
    assert [row.dsra_draw for row in rows] == [0.0, 0.0, 10.0]
    assert [row.senior_unpaid for row in rows] == [0.0, 0.0, 18.0]
    assert [row.trapped_close for row in rows] == [9.0, 2.0, 0.0]


def test_negative_cash_draws_on_cash_and_reserves_and_then_is_a_shortfall() -> None:
    result = run(
        cfads=(-4.0, -9.0),
        senior_interest=(1.0, 1.0),
        senior_principal=(2.0, 2.0),
        trapped_open=3.0,
        dsra_open=6.0,
        dsra_target=6.0,
    )
    first, second = result.rows
    assert (first.trapped_draw, first.dsra_draw, first.senior_unpaid) == (3.0, 4.0, 0.0)
    assert (second.dsra_draw, second.operating_shortfall, second.senior_unpaid) == (2.0, 7.0, 3.0)
    assert result.total_operating_shortfall == 7.0
    assert "costs exceed all cash and reserves in period 2" in result.warnings


def test_capitalised_interest_is_repaid_before_distributions() -> None:
    fields: dict[str, Any] = {
        "cfads": (90.0, 50.0, 95.0),
        "senior_interest": (15.0,) * 3,
        "senior_principal": (35.0,) * 3,
        "mezz_open": 40.0,
        "mezz_rate": 0.1,
    }
    plain = run(**fields)
    assert plain.rows[2].mezz_close == 44.0
    assert "capitalised mezzanine interest is open in period 3" in plain.warnings[0]
    last = run(**fields, mezz_catch_up=True).rows[2]
    assert (last.mezz_paid, last.mezz_catch_up) == pytest.approx((4.4, 4.0))
    assert (last.mezz_close, last.distribution) == pytest.approx((40.0, 36.6))
    repaid = run(**fields, mezz_principal=(10.0, 10.0, 30.0)).rows
    assert [row.mezz_principal_due for row in repaid] == pytest.approx([10.0, 10.0, 30.0])
    assert [row.mezz_principal_paid for row in repaid] == pytest.approx([10.0, 0.0, 30.0])


def test_pari_passu_tranches_share_and_ranks_follow_each_other() -> None:
    def tranche(rank: int, principal: float) -> SeniorTranche:
        return SeniorTranche(
            opening_balance=100.0, principal=(principal,), interest=(0.0,), rank=rank
        )

    result = run(cfads=(40.0,), tranches=(tranche(2, 50.0), tranche(1, 20.0), tranche(1, 10.0)))
    assert result.tranche_balances == ((90.0,), (80.0,), (90.0,))
    short = run(cfads=(15.0,), tranches=(tranche(2, 50.0), tranche(1, 20.0), tranche(1, 10.0)))
    assert short.tranche_balances == ((100.0,), (90.0,), (95.0,))


def test_a_reserve_of_months_follows_the_service_ahead_and_is_released_at_maturity() -> None:
    tranche = SeniorTranche(opening_balance=80.0, principal=(20.0,) * 4, annual_rates=0.1)
    rows = run(
        cfads=(40.0,) * 4,
        tranches=(tranche,),
        months_per_period=6,
        dsra_months=12,
        dsra_open=47.0,
        dsra_income_rate=0.04,
        lockup_below=9.0,
    ).rows
    assert [row.dsra_target for row in rows] == pytest.approx([45.0, 43.0, 21.0, 0.0])
    assert rows[0].reserve_income == pytest.approx(47.0 * 0.02)
    assert [row.locked_up for row in rows] == [True, True, True, False]
    assert (rows[-1].dsra_close, rows[-1].trapped_close) == (0.0, 0.0)


def test_a_letter_of_credit_costs_a_fee_and_is_repaid_before_junior_claims() -> None:
    rows = run(
        cfads=(30.0, 60.0, 60.0),
        senior_interest=(10.0,) * 3,
        senior_principal=(30.0,) * 3,
        dsra_form="letter_of_credit",
        dsra_target=40.0,
        dsra_fee_rate=0.02,
        mezz_open=10.0,
        mezz_rate=0.1,
    ).rows
    assert [row.dsra_fee for row in rows] == pytest.approx([0.8, 0.02 * 29.2, 0.8])
    assert rows[0].dsra_draw == pytest.approx(10.8)
    assert rows[1].dsra_topup == pytest.approx(10.8)
    assert [row.dsra_close for row in rows] == pytest.approx([29.2, 40.0, 40.0])
    assert rows[2].distribution == pytest.approx(60.0 - 40.0 - 0.8 - rows[2].mezz_paid)


def test_a_drawn_letter_of_credit_bears_interest_until_it_is_repaid() -> None:
    """10 are drawn; 10 % is owed after a year, and on that again until cash repays the bank."""
    rows = run(
        cfads=(30.0, 40.0, 47.0, 60.0),
        senior_interest=(10.0,) * 4,
        senior_principal=(30.0,) * 4,
        dsra_form="letter_of_credit",
        dsra_target=40.0,
        dsra_draw_rate=0.1,
    ).rows
    assert [row.dsra_interest for row in rows] == pytest.approx([0.0, 1.0, 1.1, 0.51])
    assert [row.dsra_topup for row in rows] == pytest.approx([0.0, 0.0, 7.0, 5.61])
    assert [row.dsra_owed_close for row in rows] == pytest.approx([10.0, 11.0, 5.1, 0.0])
    assert [row.dsra_close for row in rows] == pytest.approx([30.0, 30.0, 34.9, 40.0])
    assert rows[3].distribution == pytest.approx(60.0 - 40.0 - 5.61)


def test_reserves_pay_their_uses_and_a_ring_fenced_one_pays_no_debt() -> None:
    fields: dict[str, Any] = {
        "cfads": (40.0, 12.0),
        "senior_interest": (5.0, 5.0),
        "senior_principal": (15.0, 15.0),
    }
    terms: dict[str, Any] = {"target": 6.0, "opening_balance": 6.0, "uses": (8.0, 0.0)}
    first, second = run(**fields, reserves=(ReserveTerms(**terms),)).rows
    assert (first.reserve_uses, first.reserve_topup, first.distribution) == (8.0, 6.0, 12.0)
    assert (second.reserve_draw, second.senior_unpaid) == (6.0, 2.0)
    fenced = run(**fields, reserves=(ReserveTerms(**terms, is_ring_fenced=True),)).rows[1]
    assert (fenced.reserve_close, fenced.senior_unpaid) == (6.0, 8.0)
    with_balance: dict[str, Any] = {**fields, "senior_open": 30.0, "cfads": (40.0, 40.0)}
    released = run(**with_balance, reserves=(ReserveTerms(**terms),)).rows[1]
    assert (released.reserve_release, released.reserve_close) == (6.0, 0.0)
    kept = run(**with_balance, reserves=(ReserveTerms(**terms, outlives_debt=True),)).rows[1]
    assert kept.reserve_close == 6.0


def test_the_lock_up_tests_windows_or_given_ratios() -> None:
    fields: dict[str, Any] = {
        "cfads": (20.0, 60.0, 20.0, 60.0),
        "senior_interest": (12.0, 11.0, 10.0, 9.0),
        "senior_principal": (18.0, 19.0, 20.0, 21.0),
        "lockup_below": 1.2,
        "dsra_open": 10.0,
        "dsra_target": 10.0,
    }
    assert [row.locked_up for row in run(**fields).rows] == [True, False, True, False]
    back = run(**fields, lockup_periods_back=2).rows
    assert [row.locked_up for row in back] == [False] * 4
    assert [row.lockup_ratio for row in back] == [None, *[pytest.approx(80 / 60)] * 3]
    ahead = run(**fields, lockup_periods_ahead=1).rows
    assert [row.lockup_ratio for row in ahead[:3]] == pytest.approx([2.0, 2 / 3, 2.0])
    assert ahead[3].lockup_ratio is None
    both = run(**fields, lockup_periods_back=2, lockup_periods_ahead=1).rows
    assert [row.locked_up for row in both] == [False, True, False, False]
    outside = run(**fields, lockup_ratios=(1.3, None, 1.19, None)).rows
    assert [row.locked_up for row in outside] == [False, False, True, True]


def test_rows_have_the_dates_of_the_schedule() -> None:
    result = run_waterfall(
        WaterfallCase(
            cfads=(10.0, 10.0),
            senior_interest=(1.0, 1.0),
            senior_principal=(2.0, 2.0),
            dates=DATES,
        )
    )
    assert [row.date for row in result.rows] == list(DATES[1:])


def test_a_schedule_beyond_its_balance_is_reduced_with_a_warning() -> None:
    result = run(
        cfads=(50.0,) * 3,
        senior_interest=(5.0,) * 3,
        senior_principal=(30.0,) * 3,
        senior_open=50.0,
    )
    assert [row.senior_due for row in result.rows] == [35.0, 25.0, 0.0]
    assert result.warnings == (
        "senior: scheduled principal exceeds the balance and is reduced to it in periods 2, 3",
        "senior: interest is scheduled although nothing is owed, and is not charged in period 3",
    )


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"senior_interest": None}, "/senior_interest", "missing"),
        ({"tranches": "one"}, "/senior_interest", "ambiguous"),
        ({"dsra_target": 1.0, "dsra_months": 6}, "/dsra_months", "ambiguous"),
        ({"dsra_fee_rate": 0.01}, "/dsra_fee_rate", "not_applicable"),
        ({"dsra_income_rate": 0.01}, "/dsra_income_rate", "not_applicable"),
        ({"dsra_form": "letter_of_credit"}, "/dsra_form", "not_applicable"),
        ({"dsra_draw_rate": 0.05}, "/dsra_draw_rate", "not_applicable"),
        ({"mezz_rate": 0.1}, "/mezz_open", "required"),
        ({"mezz_catch_up": True}, "/mezz_open", "required"),
        ({"sweep_share": 0.5}, "/sweep_if_dscr_below", "required"),
        ({"sweep_if_dscr_below": 1.3}, "/sweep_share", "required"),
        ({"sweep_share": 1.0, "sweep_to_balance": 1.0}, "/sweep_to_balance", "not_applicable"),
        ({"lockup_periods_back": 1}, "/lockup_below", "required"),
        ({"lockup_release_at_or_above": 1.2}, "/lockup_below", "required"),
        ({"lockup_below": 1.1, "lockup_periods_back": 3}, "/lockup_periods_back", "out_of_range"),
        ({"months_per_period": 6}, "/months_per_period", "not_applicable"),
        ({"accruals": (0.5, 0.5)}, "/accruals", "not_applicable"),
        ({"dates": "three", "day_count": "ACT/360"}, "/day_count", "not_applicable"),
        (
            {"dsra_months": 6, "dates": "three", "months_per_period": 3},
            "/months_per_period",
            "contradiction",
        ),
        (
            {"reserves": (ReserveTerms(target=1.0, outlives_debt=True),)},
            "/reserves/0/outlives_debt",
            "not_applicable",
        ),
        (
            {"reserves": (ReserveTerms(target=1.0, uses=(1.0,)),)},
            "/reserves/0/uses",
            "wrong_length",
        ),
    ],
)
def test_fields_without_a_use_are_rejected(fields: dict[str, Any], pointer: str, code: str) -> None:
    stated: dict[str, Any] = {
        "cfads": (10.0, 10.0),
        "senior_interest": (1.0, 1.0),
        "senior_principal": (2.0, 2.0),
        **fields,
    }
    if "tranches" in stated:
        stated["tranches"] = (
            SeniorTranche(opening_balance=4.0, principal=(2.0, 2.0), annual_rates=0.1),
        )
    if "dates" in stated:
        stated["dates"] = DATES
    assert error_codes(lambda: run(**stated)).get(pointer) == code


def test_mezzanine_principal_is_no_more_than_is_owed() -> None:
    result = run(
        cfads=(10.0, 10.0),
        senior_interest=(0.0, 0.0),
        senior_principal=(2.0, 2.0),
        mezz_open=5.0,
        mezz_principal=(4.0, 4.0),
    )
    assert [row.mezz_principal_paid for row in result.rows] == [4.0, 1.0]
    assert result.warnings == (
        "mezzanine principal exceeds the balance and is reduced to it in period 2",
    )


def test_windows_ahead_have_a_limit_of_work() -> None:
    long: dict[str, Any] = {
        "cfads": (10.0,) * 2400,
        "senior_interest": (1.0,) * 2400,
        "senior_principal": (2.0,) * 2400,
    }
    ahead = {"lockup_below": 1.1, "lockup_periods_ahead": 1200}
    assert error_codes(lambda: run(**long, **ahead)) == {"/lockup_periods_ahead": "too_many"}
    months = {"dsra_months": 60, "accruals": (0.001,) * 2400}
    assert error_codes(lambda: run(**long, **months)) == {"/dsra_months": "too_many"}
    assert len(run(**long, dsra_months=60, months_per_period=1).rows) == 2400


@pytest.mark.parametrize("level", [None, 0.0])
def test_a_negative_ratio_locks_nothing_up_without_a_level(level: float | None) -> None:
    result = run(
        cfads=(-1.0, 10.0, 10.0),
        senior_interest=(1.0, 0.0, 0.0),
        senior_principal=(0.0, 0.0, 0.0),
        dsra_open=5.0,
        lockup_below=level,
    )
    assert [row.distribution for row in result.rows] == [3.0, 10.0, 10.0]
    assert not any(row.locked_up for row in result.rows)
    assert result.warnings == ()


def test_a_sweep_level_of_zero_is_off_below_zero_too() -> None:
    result = run(
        cfads=(-1.0, 10.0),
        senior_interest=(1.0, 0.0),
        senior_principal=(0.0, 4.0),
        senior_open=4.0,
        dsra_open=5.0,
        sweep_share=1.0,
        sweep_if_dscr_below=0.0,
    )
    assert [row.sweep for row in result.rows] == [0.0, 0.0]
    assert [row.distribution for row in result.rows] == [3.0, 6.0]


def test_what_is_owed_or_locked_up_at_the_end_is_warned_of() -> None:
    terms: dict[str, Any] = {"cfads": (10.0, 10.0), "senior_interest": (2.0, 2.0)}
    owing = run(**terms, senior_principal=(1.0, 1.0), senior_open=20.0)
    assert owing.rows[-1].senior_close == 18.0
    assert owing.warnings == ("at the end 18 of senior debt is left",)
    locked = run(**terms, senior_principal=(1.0, 1.0), lockup_below=5.0)
    assert locked.warnings == ("at the end 14 of locked-up cash is left",)
    junior = run(**terms, senior_principal=(8.0, 8.0), mezz_open=5.0, mezz_rate=0.1)
    assert "at the end 6.05 of the mezzanine is left" in junior.warnings
    reserved = run(
        **terms,
        senior_principal=(1.0, 1.0),
        dsra_target=3.0,
        reserves=(ReserveTerms(target=(2.0, 1.0)),),
    )
    assert reserved.warnings == (
        "at the end 3 of the DSRA is left",
        "at the end 1 of the reserves is left",
    )
    credit = run(
        **terms, senior_principal=(1.0, 1.0), dsra_target=3.0, dsra_form="letter_of_credit"
    )
    assert credit.warnings == ()
    repaid = run(**terms, senior_principal=(1.0, 1.0), senior_open=2.0)
    assert repaid.warnings == ()


def test_the_rounding_of_a_sum_is_not_unpaid() -> None:
    """0.1 + 0.2 is above 0.3 in float64: debt service of 0.3 is paid by CFADS of 0.3."""
    result = run(cfads=(0.3, 1.0), senior_interest=(0.1, 0.0), senior_principal=(0.2, 0.0))
    assert [row.senior_unpaid for row in result.rows] == [0.0, 0.0]
    assert [row.distribution for row in result.rows] == [0.0, 1.0]
    assert not any(row.locked_up for row in result.rows)
    assert result.warnings == ()
    uses = ReserveTerms(target=0.0, uses=(0.1, 0.0))
    more = ReserveTerms(target=0.0, uses=(0.2, 0.0))
    costs = run(
        cfads=(0.3, 1.0),
        senior_interest=(0.0, 0.0),
        senior_principal=(0.0, 0.0),
        reserves=(uses, more),
    )
    assert [row.operating_shortfall for row in costs.rows] == [0.0, 0.0]
    assert costs.total_distributions == pytest.approx(1.0)


def test_a_ratio_at_a_level_is_not_below_it() -> None:
    """0.33 / 0.3 is 1.1 but for rounding."""
    terms: dict[str, Any] = {"senior_interest": (0.3,), "senior_principal": (0.0,)}
    for cash in (0.33, 0.3 * 1.1):
        assert not run(cfads=(cash,), **terms, lockup_below=1.1).rows[0].locked_up
    assert run(cfads=(0.3299999,), **terms, lockup_below=1.1).rows[0].locked_up


def test_a_letter_of_credit_that_is_owed_at_the_end_is_warned_of() -> None:
    result = run(
        cfads=(5.0, 11.0),
        senior_open=20.0,
        senior_principal=(10.0, 10.0),
        senior_interest=(1.0, 1.0),
        dsra_form="letter_of_credit",
        dsra_target=6.0,
        dsra_draw_rate=0.1,
        months_per_period=12,
    )
    assert result.rows[-1].dsra_owed_close == pytest.approx(6.6)
    assert result.warnings == ("at the end 6.6 is owed to the bank of the letter of credit",)
