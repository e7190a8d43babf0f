"""Loan schedules: the balance closes for every profile."""

import math
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.loans.annuity import pmt
from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_settlement import round_to_minor_units
from spawn.domain.finance.loans.loan_terms import LoanTerms

pytestmark = pytest.mark.core

HALF_YEARS = LoanTerms(
    principal=1_000_000.0,
    annual_rates=0.06,
    profile="annuity",
    accruals=(0.5,) * 10,
)


def terms(**changes: object) -> LoanTerms:
    return msgspec.structs.replace(HALF_YEARS, **changes)


def assert_closes(schedule: LoanSchedule) -> None:
    first = schedule.rows[0]
    for row in schedule.rows:
        closing = row.opening_balance + row.capitalised - row.principal
        assert row.closing_balance == pytest.approx(closing, abs=1e-9 * first.opening_balance)
        assert row.interest == pytest.approx(
            row.opening_balance * row.annual_rate * row.accrual_fraction, rel=1e-12
        )
        assert row.payment == pytest.approx(
            row.interest - row.capitalised + row.principal, rel=1e-12, abs=1e-9
        )
    lent = first.opening_balance + schedule.total_capitalised
    assert schedule.total_principal == pytest.approx(lent, rel=1e-12)
    assert schedule.rows[-1].closing_balance == 0.0


@given(
    st.sampled_from(["annuity", "straight_line", "bullet", "balloon", "custom", "sculpted"]),
    st.integers(2, 40),
    st.floats(0.0, 0.3),
    st.floats(0.05, 0.6),
    st.sampled_from(["interest_only", "capitalised"]),
    st.data(),
)
@settings(max_examples=scale(25))
def test_principal_repays_what_was_lent_and_capitalised(
    profile: str, periods: int, rate: float, balloon: float, grace: str, data: st.DataObject
) -> None:
    wait = data.draw(st.integers(0, periods - 1))
    shares = [0.0] * wait + [1.0 / (periods - wait)] * (periods - wait)
    schedule = build_loan_schedule(
        terms(
            profile=profile,
            annual_rates=tuple(rate * (1 + k / 50) for k in range(periods)),
            accruals=tuple(0.5 + 0.01 * (k % 3) for k in range(periods)),
            balloon_share=balloon if profile in {"balloon", "annuity"} else 0.0,
            grace_periods=wait,
            grace=grace if wait else None,
            custom_shares=tuple(shares) if profile == "custom" else None,
            cfads=tuple(2.0 + k % 4 for k in range(periods)) if profile == "sculpted" else None,
        )
    )
    assert_closes(schedule)
    reserve = [row.principal for row in schedule.rows[:wait]]
    assert reserve == [0.0] * wait


def test_an_annuity_with_equal_periods_is_the_spreadsheet_payment() -> None:
    schedule = build_loan_schedule(HALF_YEARS)
    assert schedule.level_payment == pytest.approx(-pmt(0.03, 10, 1_000_000.0), rel=1e-13)
    assert [row.payment for row in schedule.rows] == pytest.approx(
        [schedule.level_payment] * 10, rel=1e-12
    )


def test_an_annuity_over_uneven_periods_is_still_level() -> None:
    dates = tuple(date(2026 + k // 2, 6 if k % 2 else 12, 30) for k in range(1, 12))
    schedule = build_loan_schedule(
        terms(accruals=None, dates=tuple(sorted(dates)), day_count="ACT/360", balloon=200_000.0)
    )
    payments = [row.payment for row in schedule.rows]
    assert payments[:-1] == pytest.approx([schedule.level_payment] * (len(payments) - 1))
    assert payments[-1] == pytest.approx((schedule.level_payment or 0.0) + 200_000.0)


def test_the_level_of_a_single_payment_leaves_the_balloon_out() -> None:
    schedule = build_loan_schedule(terms(accruals=(0.5,), balloon=400_000.0))
    assert schedule.rows[0].payment == pytest.approx(1_030_000.0)
    assert schedule.level_payment == pytest.approx(630_000.0)


def test_sculpted_payments_follow_the_cash() -> None:
    cash = (3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0)
    schedule = build_loan_schedule(terms(profile="sculpted", cfads=cash))
    ratios = [row.payment / c for row, c in zip(schedule.rows, cash, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * 10, rel=1e-9)


def test_capitalised_grace_grows_the_balance_at_the_loan_rate() -> None:
    schedule = build_loan_schedule(terms(grace_periods=2, grace="capitalised"))
    assert schedule.rows[2].opening_balance == pytest.approx(1_000_000 * 1.03**2, rel=1e-14)
    assert schedule.rows[0].payment == 0.0


def test_payments_that_do_not_cover_interest_are_reported() -> None:
    cash = (0.1, 0.1, 0.1, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0)
    schedule = build_loan_schedule(terms(profile="sculpted", cfads=cash))
    assert schedule.rows[0].principal < 0.0
    assert "negative" in schedule.warnings[0]


@given(st.integers(2, 60), st.floats(0.0, 0.2), st.floats(1_000.0, 1e12), st.integers(0, 3))
@settings(max_examples=scale(25))
def test_rounded_amounts_are_whole_minor_units_and_close_at_zero(
    periods: int, rate: float, principal: float, minor_units: int
) -> None:
    schedule = build_loan_schedule(
        terms(principal=principal, annual_rates=rate, accruals=(0.25,) * periods)
    )
    rows = round_to_minor_units(schedule, minor_units)
    unit = Decimal(1).scaleb(-minor_units)
    assert rows[-1].closing_balance == 0
    assert sum(row.principal for row in rows) == rows[0].opening_balance
    for row, exact in zip(rows, schedule.rows, strict=True):
        assert row.principal == row.principal.quantize(unit)
        # The sums of payments and balances are rounded, each by half a unit at most.
        assert abs(row.interest - Decimal(str(exact.interest))) <= 2 * unit
        assert row.closing_balance == row.opening_balance + row.capitalised - row.principal


def test_invalid_terms_name_each_field() -> None:
    day = date(2026, 1, 1)
    assert error_codes(lambda: build_loan_schedule(terms(accruals=None))) == {
        "/payment_dates": "ambiguous"
    }
    assert error_codes(lambda: build_loan_schedule(terms(accruals=()))) == {"/accruals": "empty"}
    assert error_codes(lambda: build_loan_schedule(terms(accruals=(0.5,) * 1_000_000))) == {
        "/accruals": "wrong_length"
    }
    assert error_codes(
        lambda: build_loan_schedule(terms(accruals=None, dates=(day, day, date(2025, 1, 1))))
    ) == {"/dates/1": "not_increasing", "/dates/2": "not_increasing"}
    assert error_codes(
        lambda: build_loan_schedule(
            terms(principal=math.inf, annual_rates=(0.05, math.nan), balloon_share=2.0)
        )
    ) == {
        "/principal": "not_positive",
        "/annual_rates": "wrong_length",
        "/balloon_share": "out_of_range",
    }
    assert error_codes(
        lambda: build_loan_schedule(terms(principal=(0.0, -1.0, 5.0, -2.0, *[0.0] * 6)))
    ) == {
        "/principal/0": "not_positive",
        "/principal/1": "out_of_range",
        "/principal/3": "out_of_range",
    }
    assert error_codes(lambda: build_loan_schedule(terms(grace_periods=10, balloon=2e6))) == {
        "/grace_periods": "out_of_range",
        "/balloon": "out_of_range",
    }
    assert error_codes(lambda: build_loan_schedule(terms(balloon=1.0, balloon_share=0.1))) == {
        "/balloon_share": "ambiguous"
    }
    assert error_codes(lambda: build_loan_schedule(terms(profile="balloon"))) == {
        "/balloon": "required"
    }
    assert error_codes(
        lambda: build_loan_schedule(terms(profile="custom", custom_shares=(0.2,) * 10))
    ) == {"/custom_shares": "wrong_sum"}
    early = (0.5, 0.5, *[0.0] * 8)
    assert error_codes(
        lambda: build_loan_schedule(terms(profile="custom", custom_shares=early, grace_periods=1))
    ) == {"/custom_shares/0": "in_grace"}
    late = (0.0, 0.5, 0.5, *[0.0] * 7)
    assert error_codes(
        lambda: build_loan_schedule(terms(profile="custom", custom_shares=late, grace_periods=2))
    ) == {"/custom_shares/1": "in_grace"}
    assert error_codes(
        lambda: build_loan_schedule(
            terms(profile="bullet", balloon=5.0, custom_shares=early, cfads=(1.0,) * 10)
        )
    ) == dict.fromkeys(["/balloon", "/custom_shares", "/cfads"], "not_applicable")
    assert error_codes(lambda: build_loan_schedule(terms(profile="sculpted"))) == {
        "/cfads": "wrong_length"
    }
    assert error_codes(
        lambda: build_loan_schedule(terms(profile="sculpted", cfads=(0.0,) * 10))
    ) == {"/cfads": "no_cash"}
    assert error_codes(lambda: round_to_minor_units(build_loan_schedule(HALF_YEARS), 9)) == {
        "/minor_units": "out_of_range"
    }
