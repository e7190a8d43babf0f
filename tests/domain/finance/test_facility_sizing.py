"""Sizing of several facilities: sculpting after fixed service, floors, events and ranks."""

import random
from datetime import date
from fractions import Fraction
from itertools import accumulate
from operator import mul
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import FundingUses, SizingCase
from spawn.domain.finance.facilities.facility_result import FacilityRow
from spawn.domain.finance.facilities.rate_terms import MarginStep, RateTerms
from spawn.domain.finance.facilities.repayment_terms import SizingFacility
from spawn.domain.finance.facilities.sculpting import (
    SculptingTerms,
    carry_balances,
    find_service_factor,
    repay_debt,
)
from spawn.domain.finance.loans.loan_results import LoanRow
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_terms import LoanTerms, LoanTransfer, Prepayment, RateReset
from spawn.domain.finance.sizing.sizing_result import SizingResult, SizingRow

pytestmark = pytest.mark.core

RATE = RateTerms(base_rate=0.055)
CFADS = (9.8, 10.1, 10.3, 10.6, 9.9, 10.2)
DATES = tuple(date(2026 + n // 2, 1 if n % 2 == 0 else 7, 15) for n in range(7))
USES = FundingUses(capex=45.0, closing_cost=1.0, dsra_months=6.0)


def facility(name: str, **terms: Any) -> SizingFacility:
    return SizingFacility(**{"name": name, "rate": RATE, **terms})


def size(*facilities: SizingFacility, **changes: Any) -> SizingResult:
    case = SizingCase(**{"cfads": CFADS, "months_per_period": 6, **changes}, facilities=facilities)
    return size_debt(case)


def is_carried(
    debt: Fraction, services: list[Fraction], rates: list[Fraction], floor: Fraction
) -> bool:
    """Return whether paying all that the cash allows repays a debt, principal at its floor."""
    balance = debt
    for service, rate in zip(services, rates, strict=True):
        principal = service - balance * rate
        if principal < floor:
            return False
        balance -= principal
        if balance <= 0:
            return True
    return False


@given(st.integers(0, 10**9))
@settings(max_examples=scale(120), deadline=None)
def test_the_largest_debt_above_a_floor_is_the_one_found_by_bisection(seed: int) -> None:
    rng = random.Random(seed)
    periods = rng.randint(1, 12)
    services = [Fraction(rng.randint(20, 100), 10) for _ in range(periods)]
    rates = [Fraction(rng.randint(0, 80), 1000) for _ in range(periods)]
    floor = Fraction(rng.randint(0, 10), 10)
    low, high = Fraction(0), sum(services, Fraction(0))
    for _ in range(60):
        middle = Fraction(round((low + high) / 2 * 10**24), 10**24)
        if is_carried(middle, services, rates, floor):
            low = middle
        else:
            high = middle
    terms = SculptingTerms(
        [float(s) for s in services], [float(r) for r in rates], 0, 0.0, float(floor)
    )
    largest = carry_balances(terms)
    assert largest[0] == pytest.approx(float(low), rel=1e-9, abs=1e-9)
    assert_repaid(terms, largest, largest[0])
    assert_repaid(terms, largest, 0.7 * largest[0])


def assert_repaid(terms: SculptingTerms, largest: list[float], debt: float) -> None:
    """Assert that a debt is repaid within the cash, and never below its floor."""
    if debt <= 0.0:
        return
    factor = find_service_factor(terms, debt, largest[0])
    assert factor is not None
    balances, level = repay_debt(terms, largest, debt, factor)
    assert (balances[0], balances[-1]) == (debt, 0.0)
    for t, service in enumerate(terms.services):
        principal = balances[t] - balances[t + 1]
        assert principal + balances[t] * terms.period_rates[t] <= service * (1.0 + 1e-9) + 1e-12
        rest = balances[t] - (terms.floor or 0.0)
        assert principal >= min(terms.floor or 0.0, balances[t]) - 1e-9 or rest < 0.0
    assert 0.0 <= level <= 1.0 + 1e-12


def test_one_facility_equals_the_debt_of_the_case() -> None:
    one = size_debt(
        SizingCase(
            cfads=CFADS,
            months_per_period=6,
            annual_rates=0.055,
            target_dscr=1.3,
            uses=msgspec.structs.replace(USES, upfront_fee_share=0.02),
            max_gearing=0.85,
        )
    )
    several = size(facility("term", target_dscr=1.3, upfront_fee=0.02), uses=USES, max_gearing=0.85)
    names = ("debt", "binding", "total_uses", "equity", "gearing", "min_dscr", "llcr", "plcr")
    for name in (*names, "wal_years", "total_interest", "initial_dsra", "upfront_fee"):
        expected = getattr(one, name)
        value = getattr(several, name)
        assert value == (expected if isinstance(expected, str) else pytest.approx(expected)), name
    assert several.equity_cash_flow == pytest.approx(one.equity_cash_flow)
    assert several.achieved_dscr == pytest.approx(one.achieved_dscr)


def test_fixed_service_goes_ahead_of_the_sculpted_tranche() -> None:
    bank = facility("bank", commitment=12.0, tenor_periods=4)
    result = size(facility("bond", target_dscr=1.25), bank)
    bond, loan = result.facilities
    assert loan.level_payment == pytest.approx(12.0 * 0.0275 / (1.0 - 1.0275**-4))
    for row, cash in zip(bond.rows, CFADS, strict=True):
        ahead = loan.rows[row.period - 1].payment if row.period <= 4 else 0.0
        assert row.payment == pytest.approx((cash - ahead) / 1.25)
    value = sum(row.payment / 1.0275**row.period for row in bond.rows)
    assert bond.amount == pytest.approx(value, rel=1e-12)
    assert result.debt == pytest.approx(bond.amount + 12.0)
    for total in result.rows:
        assert total.dscr == pytest.approx(total.cfads / total.debt_service)


def carry_total_service(
    level: Fraction, cfads: list[Fraction], ahead: list[Fraction], rate: Fraction
) -> Fraction:
    """Return the present value of what `ahead` leaves of CFADS / `level`."""
    value, factor = Fraction(0), Fraction(1)
    for cash, other in zip(cfads, ahead, strict=True):
        factor /= 1 + rate
        value += factor * max(max(cash, Fraction(0)) / level - other, Fraction(0))
    return value


@given(st.integers(0, 10**9))
@settings(max_examples=scale(60), deadline=None)
def test_the_target_of_all_service_is_its_dscr(seed: int) -> None:
    rng = random.Random(seed)
    periods = rng.randint(2, 10)
    cfads = [Fraction(rng.randint(60, 140), 10) for _ in range(periods)]
    target, rate = Fraction(rng.randint(105, 180), 100), Fraction(rng.randint(0, 50), 1000)
    amount = Fraction(rng.randint(1, 2 * periods))
    line = [amount / periods + (amount - amount * t / periods) * rate for t in range(periods)]
    terms = {"rate": RateTerms(base_rate=float(rate)), "target_basis": "total_service"}
    bond = {**terms, "allow_negative_amortisation": True}
    bank = facility("bank", commitment=float(amount), profile="straight_line", rate=terms["rate"])
    cash = {"cfads": tuple(map(float, cfads)), "months_per_period": 12}
    result = size(facility("bond", target_dscr=float(target), **bond), bank, **cash)
    capacity = carry_total_service(target, cfads, line, rate)
    assert result.facilities[0].amount == pytest.approx(float(capacity), rel=1e-12)
    # a given amount, smaller or larger, keeps one DSCR of all service
    debt = capacity * Fraction(rng.randint(40, 130), 100)
    low, high = Fraction(1, 100), Fraction(100)
    for _ in range(60):
        middle = Fraction(round((low + high) / 2 * 10**20), 10**20)
        if carry_total_service(middle, cfads, line, rate) > debt:
            low = middle
        else:
            high = middle
    given_debt = size(
        facility("bond", profile="sculpted", commitment=float(debt), **bond), bank, **cash
    )
    assert given_debt.achieved_dscr == pytest.approx([float(low)] * periods, rel=1e-9)
    for t, row in enumerate(given_debt.rows):
        total = max(cfads[t] / low, line[t])
        assert row.debt_service == pytest.approx(float(total), rel=1e-9)


def test_either_basis_of_the_target_has_its_own_debt() -> None:
    bank = facility("bank", commitment=12.0, tenor_periods=4)
    payment = 12.0 * 0.0275 / (1.0 - 1.0275**-4)
    after = size(facility("bond", target_dscr=1.25), bank)
    stated = size(facility("bond", target_dscr=1.25, target_basis="cash_after_prior_service"), bank)
    total = size(facility("bond", target_dscr=1.25, target_basis="total_service"), bank)
    assert stated.debt == after.debt
    assert (after.min_dscr or 0.0) < 1.25
    assert [row.dscr for row in total.rows] == pytest.approx([1.25] * 6)
    value = sum(
        (cash / 1.25 - (payment if t <= 4 else 0.0)) / 1.0275**t
        for t, cash in enumerate(CFADS, start=1)
    )
    assert total.facilities[0].amount == pytest.approx(value, rel=1e-12)
    assert after.conventions["sculpting"].startswith("(CFADS - service")
    assert stated.conventions["sculpting"].startswith("cash_after_prior_service: (CFADS - ")
    assert total.conventions["sculpting"].startswith("total_service: CFADS / target DSCR - ")


def test_a_gearing_cap_keeps_one_dscr_of_all_service() -> None:
    bank = facility("bank", commitment=12.0, tenor_periods=4)
    bond = facility("bond", target_dscr=1.25, target_basis="total_service")
    result = size(bond, bank, uses=FundingUses(capex=45.0), max_gearing=0.8)
    assert result.binding == "gearing"
    assert result.debt == pytest.approx(36.0)
    assert result.achieved_dscr is not None
    assert [row.dscr for row in result.rows] == pytest.approx(list(result.achieved_dscr))
    assert result.achieved_dscr[0] > 1.25
    floored = msgspec.structs.replace(bond, principal_floor=0.5)
    assert size(floored, bank, uses=FundingUses(capex=45.0), max_gearing=0.8).debt == pytest.approx(
        36.0
    )


def test_service_ahead_above_the_target_leaves_nothing_and_is_named() -> None:
    bank = facility(
        "bank", commitment=12.0, profile="custom", custom_shares=(0.7, 0.3), tenor_periods=2
    )
    bond = facility(
        "bond", target_dscr=1.25, target_basis="total_service", allow_negative_amortisation=True
    )
    result = size(bond, bank)
    assert result.facilities[0].rows[0].payment == pytest.approx(0.0, abs=1e-12)
    assert result.rows[0].dscr == pytest.approx(9.8 / (0.7 * 12.0 + 12.0 * 0.0275))
    assert "bond: the service ahead exceeds CFADS / target DSCR in period 1" in result.warnings
    with_basis = facility("bank", commitment=12.0, target_basis="total_service")
    codes = error_codes(lambda: size(facility("bond", target_dscr=1.25), with_basis))
    assert codes == {"/facilities/1/target_basis": "not_applicable"}


def test_a_facility_of_a_later_rank_waits_for_the_sculpted_one() -> None:
    behind = facility("second lien", commitment=12.0, rank=2, kind="mezzanine")
    result = size(facility("bond", target_dscr=1.25), behind)
    alone = size(facility("bond", target_dscr=1.25))
    assert result.facilities[0].amount == alone.debt
    assert result.facilities[0].min_dscr == pytest.approx(1.25)
    assert result.facilities[1].min_dscr == result.min_dscr
    assert (result.min_dscr or 0.0) < 1.25


def test_every_profile_repays_its_amount_or_leaves_its_balloon() -> None:
    shares = (0.1, 0.1, 0.2, 0.2, 0.2, 0.2)
    result = size(
        facility("annuity", commitment=4.0, profile="annuity", grace_periods=1),
        facility("line", share=0.08, profile="straight_line"),
        facility("bullet", commitment=3.0, profile="bullet", tenor_periods=5),
        facility("balloon", commitment=5.0, profile="balloon", balloon_share=0.4),
        facility("custom", commitment=4.0, profile="custom", custom_shares=shares),
        facility("fixed", commitment=6.0, profile="annuity", payment=1.2),
        facility("sculpted", commitment=9.0, profile="sculpted"),
        facility("paid in kind", commitment=2.0, grace_periods=2, grace="capitalised"),
        uses=USES,
    )
    for each in result.facilities:
        capitalised = sum(row.capitalised for row in each.rows)
        repaid = sum(row.principal for row in each.rows)
        assert repaid == pytest.approx(each.amount + capitalised, rel=1e-12)
        assert each.rows[-1].closing_balance == pytest.approx(0.0, abs=1e-12)
        assert min(row.closing_balance for row in each.rows) >= -1e-12
    by_name = {each.name: each for each in result.facilities}
    assert [by_name[name].rows[-1].balloon for name in ("bullet", "balloon")] == [3.0, 2.0]
    assert {row.payment for row in by_name["fixed"].rows[:4]} == {1.2}
    assert result.total_uses is not None
    assert by_name["line"].amount == pytest.approx(0.08 * result.total_uses)
    ratios = [row.dscr for row in by_name["sculpted"].rows]
    ahead = result.facilities
    for row, cash in zip(by_name["sculpted"].rows, CFADS, strict=True):
        others = sum(
            each.rows[row.period - 1].payment
            for each in ahead
            if each.name != "sculpted" and row.period <= len(each.rows)
        )
        share = row.payment / (cash - others)
        assert share == pytest.approx(1.0 / (result.achieved_dscr or (0.0,))[0])
    assert ratios == [row.dscr for row in result.rows]


def test_events_of_a_dated_loan_are_those_of_the_loan() -> None:
    terms: dict[str, Any] = {
        "rate_resets": (RateReset(date=date(2026, 10, 1), annual_rate=0.07),),
        "reset_effect": "relevel",
        "prepayments": (Prepayment(date=date(2027, 3, 1), amount=2.0),),
        "accrued_interest": 0.4,
        "termination": LoanTransfer(date=date(2028, 2, 1)),
    }
    result = size(
        facility("bond", target_dscr=1.3, rank=2),
        facility("running", commitment=15.0, **terms),
        months_per_period=None,
        dates=DATES,
        day_count="ACT/365F",
    )
    loan = build_loan_schedule(
        LoanTerms(
            principal=15.0,
            annual_rates=0.055,
            profile="annuity",
            dates=DATES,
            day_count="ACT/365F",
            **terms,
        )
    )
    running = result.facilities[1]
    assert [row.payment + row.early_repayment for row in running.rows] == pytest.approx(
        [row.payment for row in loan.rows]
    )
    assert [row.early_repayment > 0.0 for row in running.rows] == [False, False, True, False, True]
    assert any(text.endswith("repay in periods 3, 5") for text in result.warnings)
    assert len(running.rows) == 5
    assert running.rows[0].payment > loan.rows[0].interest + loan.rows[0].principal
    bond = result.facilities[0]
    for row, cash in zip(bond.rows, CFADS, strict=True):
        ahead = running.rows[row.period - 1].payment if row.period <= 5 else 0.0
        assert row.payment == pytest.approx((cash - ahead) / 1.3)


def test_rows_of_a_facility_have_the_average_rate_of_a_period_with_a_reset() -> None:
    days = {"dates": DATES, "day_count": "ACT/365F", "months_per_period": None}
    reset = RateReset(date=date(2026, 10, 1), annual_rate=0.08)
    running = facility("running", commitment=100.0, profile="annuity", rate_resets=(reset,))
    result = size(running, cfads=(60.0,) * 6, **days)
    (row, later), case_row = result.facilities[0].rows[:2], result.rows[1]
    assert row.annual_rate == 0.055
    first_days = (date(2026, 10, 1) - DATES[1]).days
    average = (0.055 * first_days + 0.08 * ((DATES[2] - DATES[1]).days - first_days)) / (
        (DATES[2] - DATES[1]).days
    )
    assert later.annual_rate == pytest.approx(average)
    assert case_row.annual_rate == pytest.approx(average)
    assert result.facilities[0].rows[2].annual_rate == pytest.approx(0.08)


@given(st.integers(0, 10**9))
@settings(max_examples=scale(40), deadline=None)
def test_the_parts_of_each_row_add_up_to_its_payment(seed: int) -> None:
    source = random.Random(seed)
    terms: dict[str, Any] = {
        "profile": source.choice(["annuity", "straight_line", "bullet", "balloon"]),
        "accrued_interest": source.choice([None, round(source.uniform(0.0, 3.0), 2)]),
        "prepayments": source.choice([None, (Prepayment(date=date(2027, 3, 1), amount=2.0),)]),
    }
    if source.random() < 0.5:
        price = source.choice([None, round(source.uniform(1.0, 40.0), 2)])
        terms["termination"] = LoanTransfer(date=date(2028, 2, 1), price=price)
    if source.random() < 0.5:
        terms |= {"grace_periods": 1, "grace": source.choice(["capitalised", "interest_only"])}
    if terms["profile"] == "balloon":
        terms["balloon_share"] = 0.25
    days: dict[str, Any] = {"dates": DATES, "day_count": "ACT/365F"}
    loan = build_loan_schedule(LoanTerms(principal=30.0, annual_rates=0.055, **terms, **days))
    for loan_row in loan.rows:
        assert loan_row.payment == pytest.approx(add_parts(loan_row), abs=1e-9)
    plain = facility("plain", commitment=12.0, profile="straight_line")
    running = facility("running", commitment=30.0, **terms)
    result = size(running, plain, months_per_period=None, **days)
    for row in (row for each in result.facilities for row in each.rows):
        parts = add_parts(row) - row.balloon - row.early_repayment
        assert row.payment == pytest.approx(parts, abs=1e-9)
    for case_row in result.rows:
        parts = add_parts(case_row) - case_row.balloon - case_row.early_repayment
        assert case_row.debt_service == pytest.approx(parts, abs=1e-9)


def add_parts(row: LoanRow | FacilityRow | SizingRow) -> float:
    interest = row.interest + row.accrued_interest - row.capitalised
    return interest + row.principal + row.premium


def test_interest_accrued_before_the_start_has_a_column_of_its_own() -> None:
    days: dict[str, Any] = {"dates": DATES, "day_count": "ACT/365F", "months_per_period": None}
    terms: dict[str, Any] = {"profile": "annuity", "accrued_interest": 2.0}
    result = size(facility("running", commitment=100.0, **terms), cfads=(60.0,) * 6, **days)
    rows = result.facilities[0].rows
    assert [row.accrued_interest for row in rows] == [2.0] + [0.0] * 5
    assert [row.accrued_interest for row in result.rows] == [2.0] + [0.0] * 5
    assert sum(row.payment for row in rows) == pytest.approx(102.0 + result.total_interest)


def test_a_price_of_a_termination_above_the_balance_is_a_premium() -> None:
    days: dict[str, Any] = {"dates": DATES, "day_count": "ACT/365F", "months_per_period": None}
    end = LoanTransfer(date=DATES[2], price=101.5)
    terms: dict[str, Any] = {"profile": "bullet", "termination": end}
    result = size(facility("running", commitment=100.0, **terms), cfads=(60.0,) * 6, **days)
    last = result.facilities[0].rows[-1]
    assert (last.principal, last.premium) == pytest.approx((100.0, 1.5))
    assert result.rows[1].premium == pytest.approx(1.5)


@pytest.mark.parametrize("price", [None, 0.0, 80.0])
def test_what_is_repaid_early_is_no_debt_service(price: float | None) -> None:
    days: dict[str, Any] = {"dates": DATES, "day_count": "ACT/365F", "months_per_period": None}
    terms: dict[str, Any] = {"commitment": 100.0, "profile": "straight_line"}
    plain = size(facility("running", **terms), cfads=(60.0,) * 6, **days)
    end = LoanTransfer(date=DATES[2], price=price)
    ended = size(facility("running", **terms, termination=end), cfads=(60.0,) * 6, **days)
    kept = [row.dscr for row in plain.rows[:2]]
    assert [row.dscr for row in ended.rows[:2]] == pytest.approx(kept, rel=1e-12)
    assert [row.dscr for row in ended.rows[2:]] == [None] * 4
    balance = plain.rows[1].closing_balance
    assert ended.rows[1].early_repayment == pytest.approx(balance if price is None else price)
    prepayment = Prepayment(date=DATES[1], amount=30.0)
    prepaid = size(
        facility("running", **terms, prepayments=(prepayment,)), cfads=(60.0,) * 6, **days
    )
    assert prepaid.min_dscr == pytest.approx(plain.min_dscr)
    assert prepaid.rows[0].early_repayment == 30.0


@pytest.mark.parametrize("price", [None, 0.0, 20.0])
def test_a_termination_in_the_last_period_leaves_no_balloon(price: float | None) -> None:
    days: dict[str, Any] = {"dates": DATES, "day_count": "ACT/365F", "months_per_period": None}
    end = LoanTransfer(date=date(2028, 12, 1), price=price)
    for terms in ({"profile": "straight_line", "balloon_share": 0.1}, {"profile": "bullet"}):
        ended = size(facility("running", commitment=100.0, termination=end, **terms), **days)
        last = ended.rows[-1]
        repaid = last.opening_balance if price is None else price
        assert (last.balloon, last.early_repayment) == pytest.approx((0.0, repaid))
        assert last.debt_service == pytest.approx(last.interest)


def test_the_rate_after_the_debt_is_the_last_annual_rate_in_a_period_of_any_length() -> None:
    dates = (*DATES[:4], date(2027, 9, 15), date(2028, 9, 15))
    days: dict[str, Any] = {"dates": dates, "day_count": "30/360", "months_per_period": None}
    end = LoanTransfer(date=DATES[3])
    loan = facility("loan", commitment=20.0, profile="bullet", termination=end)
    result = size(loan, cfads=(9.0,) * 5, **days)
    rates = [row.annual_rate for row in result.rows]
    assert rates == pytest.approx([rates[0]] * 5)
    # The project cash flow is discounted at that rate a year, over two months and over a year.
    per_year, periods = rates[0], (0.5, 0.5, 0.5, 1 / 6, 1.0)
    factors = accumulate((1.0 / (1.0 + per_year * tau) for tau in periods), mul)
    assert result.plcr == pytest.approx(sum(9.0 * factor for factor in factors) / 20.0)


def test_a_period_without_a_day_has_no_interest() -> None:
    dates = (date(2026, 3, 30), date(2026, 3, 31), date(2026, 6, 30), date(2026, 9, 30))
    days: dict[str, Any] = {"dates": dates, "day_count": "30/360", "months_per_period": None}
    result = size(facility("loan", commitment=20.0, profile="annuity"), cfads=(9.0,) * 3, **days)
    rates = [row.annual_rate for row in result.rows]
    assert rates == pytest.approx([rates[1]] * 3)
    assert result.rows[0].interest == 0.0


def test_sponsors_pay_what_is_repaid_early() -> None:
    days: dict[str, Any] = {"dates": DATES, "day_count": "ACT/365F", "months_per_period": None}
    running = facility(
        "running",
        commitment=100.0,
        profile="bullet",
        prepayments=(Prepayment(date=date(2028, 9, 1), amount=30.0),),
    )
    result = size(running, cfads=(60.0,) * 6, uses=FundingUses(capex=150.0), **days)
    last = result.rows[-1]
    assert (last.balloon, last.early_repayment) == pytest.approx((70.0, 30.0))
    assert result.equity_cash_flow is not None
    due = last.debt_service + last.balloon + last.early_repayment
    assert result.equity_cash_flow[-1] == pytest.approx(60.0 - due)


def test_curve_margin_and_hedge_make_the_rate_of_each_period() -> None:
    rate = RateTerms(
        base_rate=(0.01, 0.02, 0.03, 0.03, 0.03, 0.03),
        floor=0.015,
        hedged_share=0.5,
        swap_rate=0.025,
        margin=0.02,
        margin_steps=(MarginStep(from_period=4, margin=0.025),),
    )
    (term,) = size(facility("term", target_dscr=1.3, rate=rate)).facilities
    rates = [row.annual_rate for row in term.rows]
    assert rates == pytest.approx([0.04, 0.0425, 0.0475, 0.0525, 0.0525, 0.0525])
    for row in term.rows:
        assert row.interest == pytest.approx(row.opening_balance * row.annual_rate / 2)


def test_a_floor_under_principal_replaces_a_growing_balance() -> None:
    cfads = (0.5, 10.0, 10.0, 10.0, 10.0, 10.0)
    assert error_codes(lambda: size(facility("t", target_dscr=1.3), cfads=cfads)) == {
        "/facilities/0/principal_floor": "negative_amortisation"
    }
    grown = size(facility("t", target_dscr=1.3, allow_negative_amortisation=True), cfads=cfads)
    assert grown.warnings == ("t: negative amortisation in period 1",)
    lower = size(facility("t", target_dscr=1.3, principal_floor=0.1), cfads=cfads)
    assert lower.debt < grown.debt
    assert lower.debt == pytest.approx((0.5 / 1.3 - 0.1) / 0.0275)
    assert lower.rows[0].principal == pytest.approx(0.1)
    later = {round(row.dscr or 0.0, 9) for row in lower.rows[1:]}
    assert len(later) == 1
    assert "t: the principal is at its floor in period 1" in lower.warnings


def test_a_balance_that_grows_in_the_last_period_before_its_balloon_is_rejected() -> None:
    cfads = (20.0,) * 5 + (0.2,)
    terms: dict[str, Any] = {"target_dscr": 1.25, "balloon": 20.0}
    assert error_codes(lambda: size(facility("t", **terms), cfads=cfads)) == {
        "/facilities/0/principal_floor": "negative_amortisation"
    }
    allowed = size(facility("t", **terms, allow_negative_amortisation=True), cfads=cfads)
    assert allowed.warnings == ("t: negative amortisation in period 6",)
    assert allowed.rows[-1].principal < 20.0


def test_a_cap_on_gearing_counts_every_lender() -> None:
    bank = facility("bank", commitment=10.0, upfront_fee=0.01)
    result = size(
        facility("bond", target_dscr=1.1, upfront_fee=0.03), bank, uses=USES, max_gearing=0.7
    )
    assert result.binding == "gearing"
    assert result.gearing == pytest.approx(0.7, rel=1e-12)
    assert result.upfront_fee == pytest.approx(0.1 + 0.03 * result.facilities[0].amount)
    assert result.total_uses == pytest.approx(46.0 + result.upfront_fee + result.initial_dsra)
    assert result.initial_dsra == pytest.approx(result.rows[0].debt_service)


def test_invalid_facilities_name_each_field() -> None:
    def codes(*facilities: SizingFacility, **changes: Any) -> dict[str, str]:
        return error_codes(lambda: size(*facilities, **changes))

    term = facility("t", target_dscr=1.3)
    assert codes() == {"/facilities": "empty"}
    assert codes(term, annual_rates=0.05, target_dscr=1.3) == {
        "/annual_rates": "not_applicable",
        "/target_dscr": "not_applicable",
    }
    assert codes(term, facility("u", share=0.1)) == {"/uses": "required"}
    assert codes(term, facility("u", target_dscr=1.1)) == {"/facilities/1/target_dscr": "duplicate"}
    assert codes(facility("u")) == {"/facilities/0/commitment": "ambiguous"}
    assert codes(facility("u", commitment=1.0, tenor_periods=9)) == {
        "/facilities/0/tenor_periods": "tenor_beyond_life"
    }
    assert codes(facility("u", commitment=1.0, profile="balloon")) == {
        "/facilities/0/balloon": "required"
    }
    falling = RateReset(date=date(2027, 3, 1), annual_rate=-0.01)
    assert codes(facility("u", commitment=1.0, rate_resets=(falling,))) == {
        "/facilities/0/rate_resets/0/annual_rate": "out_of_range"
    }
    assert codes(facility("u", commitment=1.0, payment=-1.0)) == {
        "/facilities/0/payment": "not_positive"
    }
    assert codes(facility("u", commitment=1.0, balloon=2.0)) == {
        "/facilities/0/balloon": "out_of_range"
    }
    assert codes(facility("v", kind="vat", commitment=1.0)) == {"/facilities/0/kind": "not_in_enum"}
    assert codes(facility("t", target_dscr=1.3, payment=2.0)) == {
        "/facilities/0/payment": "not_applicable"
    }
    assert codes(term, uses=msgspec.structs.replace(USES, upfront_fee_share=0.1)) == {
        "/uses/upfront_fee_share": "not_applicable"
    }
    assert codes(facility("u", commitment=80.0), term) == {"/cfads": "no_debt_capacity"}
    assert codes(facility("u", share=0.5), uses=USES, max_gearing=0.4) == {
        "/max_gearing": "exceeds_debt"
    }
    assert codes(facility("u", share=1.0, upfront_fee=1.0), uses=USES) == {"/uses": "no_solution"}


def test_terms_without_a_use_are_warned_of_as_in_a_sizing_of_one_debt() -> None:
    """The project has less cash than the debt is sized on, and no reserve bears the interest."""
    fields: dict[str, Any] = {
        "project_cash_flow": (9.8, 10.0, 10.3, 10.6, 9.0, 10.2),
        "reserve_interest_rate": 0.02,
        "uses": FundingUses(capex=45.0),
    }
    several = size(facility("t", target_dscr=1.3), **fields)
    one = size_debt(
        SizingCase(cfads=CFADS, months_per_period=6, annual_rates=0.055, target_dscr=1.3, **fields)
    )
    assert several.warnings == one.warnings
    assert [text.split(" ")[0] for text in one.warnings[:2]] == [
        "reserve_interest_rate",
        "project_cash_flow",
    ]
    assert "in periods 2, 5" in one.warnings[1]
