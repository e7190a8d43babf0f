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
from spawn.domain.finance.loans.loan_terms import (
    LoanDraw,
    LoanTerms,
    LoanTransfer,
    Prepayment,
    RateReset,
)
from spawn.domain.finance.time_base.day_count import add_months

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


QUARTERS = tuple(date(2026 + month // 12, month % 12 + 1, 15) for month in range(0, 15, 3))


@pytest.mark.parametrize(
    ("fields", "payments"),
    [
        ({"profile": "straight_line", "accrued_interest": 12.0}, ["282.00", "265.00", "260.00"]),
        ({"profile": "bullet", "accrued_interest": 12.0}, ["32.00", "20.00", "20.00"]),
        ({"profile": "bullet", "accrued_interest": -5.0}, ["15.00", "20.00", "20.00"]),
        (
            {"grace_periods": 1, "grace": "capitalised", "accrued_interest": 12.0},
            ["0.00", "357.85", "357.85"],
        ),
        (
            {
                "profile": "straight_line",
                "capitalise_until": QUARTERS[2],
                "accrued_interest": 12.0,
            },
            ["250.00", "260.67", "279.22"],
        ),
        (
            {"termination": LoanTransfer(date=date(2026, 8, 15), price=450.0)},
            ["262.62", "262.63", "453.40"],
        ),
        (
            {
                "profile": "straight_line",
                "termination": LoanTransfer(date=date(2026, 8, 15), price=1_200.0),
            },
            ["270.00", "265.00", "1203.33"],
        ),
        (
            {
                "profile": "straight_line",
                "termination": LoanTransfer(date=date(2026, 8, 15), price=0.0),
            },
            ["270.00", "265.00", "3.33"],
        ),
    ],
)
def test_accrued_interest_and_the_price_of_a_termination_are_settled(
    fields: dict[str, Any], payments: list[str]
) -> None:
    schedule = loan(
        **{"principal": 1_000.0, "annual_rates": 0.08, "dates": QUARTERS, "day_count": "30E/360"}
        | fields
    )
    assert [str(row.payment) for row in round_to_minor_units(schedule)[:3]] == payments


def test_nothing_is_settled_as_nothing() -> None:
    starts = (date(2025, 9, 25), date(2025, 12, 14))
    ended = loan(
        principal=100.0,
        annual_rates=0.5,
        profile="straight_line",
        dates=(*starts, *(add_months(starts[1], 3 * number) for number in range(1, 7))),
        day_count="ACT/365F",
        rate_resets=(RateReset(date=date(2026, 2, 4), annual_rate=0.0),),
        termination=LoanTransfer(date=date(2026, 12, 14), price=0.0),
    )
    assert {row.interest for row in round_to_minor_units(ended)[2:]} == {Decimal()}
    # The balance of 104.025 is settled as 104.02 or 104.03, and the capitalised 4.025 as well.
    capitalised = loan(
        principal=100.0,
        annual_rates=0.5,
        profile="bullet",
        dates=(date(2024, 10, 27), *(add_months(date(2025, 4, 18), 6 * n) for n in range(6))),
        day_count="30U/360",
        rate_resets=(RateReset(date=date(2024, 12, 3), annual_rate=0.09),),
        capitalise_until=date(2025, 4, 5),
        interest_base="fixed",
        interest_base_amount=50.0,
    )
    assert {row.capitalised for row in round_to_minor_units(capitalised)[1:]} == {Decimal()}


@st.composite
def dated_loans(draw: st.DrawFn) -> dict[str, Any]:
    profile = draw(st.sampled_from(["annuity", "straight_line", "bullet"]))
    fields: dict[str, Any] = {
        "principal": draw(st.integers(10**4, 10**7)) / 100,
        "annual_rates": draw(st.sampled_from([0.0, 0.001, 0.05, 0.2])),
        "profile": profile,
        "dates": QUARTERS,
        "day_count": draw(st.sampled_from(["30E/360", "ACT/360"])),
        "accrued_interest": draw(st.sampled_from([None, 0.0, 3.33, 12.0])),
    }
    days = st.dates(QUARTERS[0], QUARTERS[-1]).filter(lambda day: QUARTERS[0] < day < QUARTERS[-1])
    if draw(st.booleans()):
        grace = draw(st.sampled_from(["interest_only", "capitalised"]))
        fields |= {"grace_periods": draw(st.integers(1, 3)), "grace": grace}
    elif profile == "straight_line" and draw(st.booleans()):
        fields["capitalise_until"] = draw(days)
    if draw(st.booleans()):
        price = draw(st.one_of(st.none(), st.floats(0.0, 2 * fields["principal"])))
        fields["termination"] = LoanTransfer(date=draw(days), price=price)
    return fields


@given(dated_loans())
@settings(max_examples=scale(100))
def test_each_column_is_settled_as_the_rounded_sum_of_its_exact_rows(
    fields: dict[str, Any],
) -> None:
    schedule = loan(**fields)
    rows = round_to_minor_units(schedule)
    settled_total = exact_total = 0.0
    for row, exact in zip(rows, schedule.rows, strict=True):
        interest = row.interest + row.accrued_interest - row.capitalised
        assert row.payment == interest + row.principal + row.premium
        assert abs(float(row.accrued_interest) - exact.accrued_interest) <= 0.00501
        assert abs(float(row.premium) - exact.premium) <= 0.01001
        settled_total += float(row.payment)
        exact_total += exact.payment
        # Halves round apart where balances decide the payments, without interest.
        assert abs(settled_total - exact_total) < (0.01001 if fields["annual_rates"] else 0.02), row
        for name in ("payment", "interest", "capitalised", "premium"):
            assert getattr(exact, name) or not getattr(row, name), name
        assert row.interest >= 0 or exact.interest < 0.02
    for name in ("payment", "interest", "principal", "capitalised"):
        settled = sum(float(getattr(row, name)) for row in rows)
        # Without interest a payment is the movement of the balance, which may round apart; where
        # a loan ends early, the interest of a day and the rest of the balance round apart.
        is_whole = fields["annual_rates"] and "termination" not in fields
        tolerance = 0.00501 if is_whole else 0.01501
        assert abs(settled - sum(getattr(row, name) for row in schedule.rows)) < tolerance, name


def test_a_draw_settles_as_no_principal_where_balances_round_apart() -> None:
    schedule = loan(
        principal=90_833.95,
        annual_rates=0.09,
        profile="bullet",
        day_count="30E/360",
        dates=tuple(date(2026, month, 15) for month in (1, 4, 7, 10)),
        grace_periods=1,
        grace="capitalised",
        draws=(LoanDraw(date=date(2026, 5, 10), amount=154.434),),
    )
    row = round_to_minor_units(schedule)[1]
    assert (row.principal, row.drawn) == (Decimal("0.00"), Decimal("154.44"))
    assert row.closing_balance == row.opening_balance + row.drawn
    assert row.payment == row.interest
