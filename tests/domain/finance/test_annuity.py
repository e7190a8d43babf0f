"""Annuity functions of a spreadsheet."""

import math
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.loans.annuity import PaymentTiming, cumipmt, cumprinc, ipmt, pmt, ppmt

pytestmark = pytest.mark.core

rates = st.floats(-0.02, 0.3).filter(lambda rate: rate == 0.0 or abs(rate) > 1e-6)


ends: PaymentTiming = 0
begins: PaymentTiming = 1


@given(rates, st.integers(1, 60), st.floats(1.0, 1e9), st.sampled_from([ends, begins]))
@settings(max_examples=scale(25))
def test_payments_repay_the_loan_and_split_into_interest_and_principal(
    rate: float, periods: int, loan: float, due: PaymentTiming
) -> None:
    payment = pmt(rate, periods, loan, 0.0, due)
    parts = [ppmt(rate, k, periods, loan, 0.0, due) for k in range(1, periods + 1)]
    interest = [ipmt(rate, k, periods, loan, 0.0, due) for k in range(1, periods + 1)]
    assert math.fsum(parts) == pytest.approx(-loan, rel=1e-8)
    assert [i + p for i, p in zip(interest, parts, strict=True)] == pytest.approx(
        [payment] * periods, rel=1e-12
    )
    assert cumipmt(rate, periods, loan, 1, periods, due) == pytest.approx(
        math.fsum(interest), rel=1e-9, abs=1e-9 * loan
    )
    assert cumprinc(rate, periods, loan, 1, periods, due) == pytest.approx(-loan, rel=1e-8)


def exact_parts(
    rate: Decimal, periods: int, pv: Decimal, fv: Decimal, due: PaymentTiming
) -> list[tuple[Decimal, Decimal]]:
    """Compute interest and principal of each payment with 150 digits, from the account."""
    growth = (1 + rate) ** periods
    payment = -(pv + fv) / periods
    if rate:
        payment = -rate * (pv * growth + fv) / ((growth - 1) * (1 + rate * due))
    parts, owed = [], pv
    for number in range(periods):
        # A payment at the beginning of its period pays the interest of the period before.
        interest = -rate * owed if due == 0 or number else Decimal(0)
        parts.append((interest, payment - interest))
        owed -= interest - payment
    return parts


@given(
    st.sampled_from([0.0, 0.0075, 0.05, 0.3, 1.5, -0.01, -0.3]),
    st.integers(1, 200),
    st.floats(-1e6, 1e6),
    st.just(0.0) | st.floats(-1e6, 1e6),
    st.sampled_from([ends, begins]),
)
@settings(max_examples=scale(30))
def test_each_part_is_exact_however_far_the_balance_would_compound(
    rate: float, periods: int, pv: float, fv: float, due: PaymentTiming
) -> None:
    scale = 1e-12 * (1.0 + abs(pv) + abs(fv))
    with localcontext() as context:
        context.prec = 150
        exact = exact_parts(Decimal(rate), periods, Decimal(pv), Decimal(fv), due)
    for number, (interest, principal) in enumerate(exact, start=1):
        near = scale + 1e-12 * (abs(float(interest)) + abs(float(principal)))
        assert abs(ipmt(rate, number, periods, pv, fv, due) - float(interest)) <= near
        assert abs(ppmt(rate, number, periods, pv, fv, due) - float(principal)) <= near


def test_a_rate_of_zero_divides_the_loan_evenly() -> None:
    assert pmt(0.0, 10, 1000.0) == -100.0
    assert pmt(1e-12, 10, 1000.0) == pytest.approx(-100.0, rel=1e-10)
    assert ipmt(0.0, 3, 10, 1000.0) == 0.0


def test_a_balloon_is_a_future_value() -> None:
    payment = pmt(0.05, 4, 1000.0, -400.0)
    balance = 1000.0
    for _ in range(4):
        balance = balance * 1.05 + payment
    assert balance == pytest.approx(400.0, rel=1e-12)


def test_a_very_long_loan_pays_little_more_than_interest_and_does_not_overflow() -> None:
    assert pmt(0.2, 2400, 1000.0) == pytest.approx(-200.0, rel=1e-12)


def test_invalid_input_is_rejected() -> None:
    assert error_codes(lambda: pmt(-1.0, 0, math.nan)) == {
        "/rate_per_period": "out_of_range",
        "/periods": "out_of_range",
        "/pv": "out_of_range",
    }
    assert error_codes(lambda: ipmt(0.1, 11, 10, 1.0)) == {"/period": "out_of_range"}
    assert error_codes(lambda: cumipmt(0.1, 10, 1.0, 5, 4)) == {"/last": "out_of_range"}
    assert error_codes(lambda: pmt(9.0, 2400, 1.0)) == {"/rate_per_period": "overflow"}
