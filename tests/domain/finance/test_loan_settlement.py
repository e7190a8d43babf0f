"""Loans in whole minor units: cumulative, and level as loan systems print them."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_settlement import round_to_minor_units
from spawn.domain.finance.loans.loan_terms import LoanTerms, Prepayment

pytestmark = pytest.mark.core

CENT = Decimal("0.01")


def loan(**fields: Any) -> LoanSchedule:
    stated: dict[str, Any] = {"profile": "annuity", "annual_rates": 0.06}
    return build_loan_schedule(LoanTerms(**{**stated, **fields}))


def test_a_level_loan_has_one_payment_and_interest_on_the_printed_balance() -> None:
    rows = round_to_minor_units(loan(principal=200_000.0, accruals=(1 / 12,) * 360), 2, "level")
    assert {row.payment for row in rows[:-1]} == {Decimal("1199.10")}
    for row in rows:
        assert abs(row.interest - row.opening_balance * Decimal("0.005")) <= CENT / 2
        assert row.closing_balance == row.opening_balance - row.principal
    assert rows[-1].closing_balance == 0
    assert abs(rows[-1].payment - Decimal("1199.10")) < 6  # cents grow at the rate of the loan


def test_equal_parts_that_do_not_divide_overpay_nothing() -> None:
    shares = (1 / 60,) * 60 + (0.0,)
    rows = round_to_minor_units(
        loan(principal=1e6, profile="custom", custom_shares=shares, accruals=(1 / 12,) * 61)
    )
    assert min(row.principal for row in rows) >= 0
    assert min(row.closing_balance for row in rows) >= 0
    assert {row.principal for row in rows[:60]} == {Decimal("16666.66"), Decimal("16666.67")}
    assert rows[59].closing_balance == 0
    assert str(rows[-1].principal) == "0.00"


@given(
    st.integers(1, 80),
    st.floats(0.0, 0.3),
    st.floats(100.0, 1e12),
    st.integers(0, 3),
    st.sampled_from(["annuity", "straight_line", "bullet"]),
    st.integers(0, 3),
    st.sampled_from(["cumulative", "level"]),
)
@settings(max_examples=scale(60))
def test_settled_balances_never_turn_negative_and_close_at_zero(
    periods: int,
    rate: float,
    principal: float,
    minor_units: int,
    profile: str,
    grace: int,
    settlement: Any,
) -> None:
    grace = min(grace, periods - 1)
    schedule = loan(
        principal=principal,
        annual_rates=rate,
        accruals=(0.25,) * periods,
        profile=profile,
        grace_periods=grace,
        grace="capitalised" if grace else None,
    )
    if settlement == "level" and profile != "annuity":
        return
    rows = round_to_minor_units(schedule, minor_units, settlement)
    unit = Decimal(1).scaleb(-minor_units)
    for row, exact in zip(rows, schedule.rows, strict=True):
        assert row.closing_balance == row.opening_balance + row.capitalised - row.principal
        assert row.payment == row.interest - row.capitalised + row.principal
        assert row.closing_balance >= 0
        if settlement == "cumulative":
            assert abs(row.closing_balance - Decimal(exact.closing_balance)) <= unit / 2
    assert rows[-1].closing_balance == 0


def test_draws_and_prepayments_settle_too_but_not_level() -> None:
    dates = tuple(date(2026 + month // 12, month % 12 + 1, 1) for month in range(0, 39, 3))
    schedule = loan(
        principal=(333.335, 333.335, 333.33),
        dates=dates,
        prepayments=(Prepayment(date=date(2027, 8, 20), amount=111.111),),
    )
    rows = round_to_minor_units(schedule)
    assert sum(row.drawn for row in rows) + rows[0].opening_balance == Decimal("1000.00")
    for row in rows:
        assert row.closing_balance == row.opening_balance + row.drawn - row.principal
    assert rows[-1].closing_balance == 0
    assert error_codes(lambda: round_to_minor_units(schedule, 2, "level")) == {
        "/settlement": "not_applicable"
    }
