"""The fold of a ledger: figures by hand, and equality with exact fractions on random ledgers."""

import random
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from tests.domain.facilities.exact_ledger import (
    END,
    NOON,
    START,
    a_short_facility,
    fold_by_day,
    random_ledger,
)
from tests.domain.facilities.facility_terms import a_facility
from tests.domain.facilities.ledger_builder import LedgerBuilder

from spawn.domain.errors import Infeasible
from spawn.domain.facilities.facility import (
    DatedMargin,
    FacilityFees,
    FacilityRepayment,
    RateBasis,
)
from spawn.domain.facilities.facility_timeline import build_timeline
from spawn.domain.facilities.ledger import EntryKind, WaivedPart, select_entries
from spawn.domain.facilities.ledger_fold import check_ledger, find_highest_debt, fold
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, BusinessDayRule
from spawn.domain.finance.time_base.day_count import DayCount
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency
from spawn.testing.intensity import rounds

pytestmark = pytest.mark.core

_NEGATIVE: dict[str, Any] = {
    "rate": RateBasis(
        curve="index",
        margin=Decimal("-0.03"),
        margin_steps=(DatedMargin(from_date=date(2027, 11, 30), margin=Decimal("-0.01")),),
    )
}
_TERMS: tuple[dict[str, Any], ...] = ({}, _NEGATIVE, {})
"""Terms of random ledgers: every third has a rate that is often negative."""


def compare_with_fractions(seeds: range, attempts: int) -> Counter[str]:
    """Compare folds of random ledgers with exact fractions; return the kinds that they had."""
    kinds: Counter[str] = Counter()
    for seed in seeds:
        facility = a_short_facility(("ACT/360", "ACT/365F")[seed % 2], **_TERMS[seed % 3])
        recorded = random_ledger(facility, seed, attempts)
        kinds.update(each.entry.kind for each in recorded)
        source = random.Random(seed)
        on = START + timedelta(days=source.randint(0, 1_200))
        as_of: datetime = NOON + timedelta(hours=source.randint(0, attempts))
        for day, instant in ((on, as_of), (END + timedelta(50), NOON + timedelta(days=9))):
            position = fold(facility, select_entries(recorded, day, instant), day)
            exact = fold_by_day(facility, recorded, day, instant)
            folded = {name: Fraction(getattr(position, name)) for name in exact}
            assert folded == exact, (seed, day, instant)
    return kinds


def test_random_ledgers_equal_exact_fractions() -> None:
    kinds = compare_with_fractions(range(24), 30)
    assert kinds.keys() == {*EntryKind} - {EntryKind.OPENING, EntryKind.CLOSING}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000, rounds(1_200, 2_000), 200))
def test_many_random_ledgers_equal_exact_fractions(first: int) -> None:
    kinds = compare_with_fractions(range(first, first + 200), 25)
    assert min(kinds.values()) > 20


def test_interest_due_is_the_rounded_total_less_what_was_due_before() -> None:
    ledger = LedgerBuilder(a_facility(day_count="ACT/365F"))
    ledger.add(EntryKind.DRAW, START, "100.00")
    position = ledger.fold(date(2027, 3, 31))
    # 100 x 4 % is 4.00 for the year: 2.0055 of 183 days and 1.9945 of 182.
    assert position.interest_due == Decimal("4.00")
    assert ledger.fold(date(2026, 9, 30)).interest_due == Decimal("2.01")
    assert ledger.fold(date(2026, 9, 29)).accrued_interest == Decimal("1.99")


def test_a_payment_pays_fees_then_overdue_interest_then_interest_then_principal() -> None:
    ledger = LedgerBuilder(a_facility(day_count="ACT/365F"))
    ledger.add(EntryKind.DRAW, START, "10000.00")
    ledger.add(EntryKind.FEE, date(2026, 4, 1), "25.00")
    for amount, rest in (
        ("20.00", ("5.00", "200.55", "400.00")),
        ("105.00", ("0.00", "100.55", "300.00")),
        ("150.00", ("0.00", "0.00", "150.00")),
        ("1150.00", ("0.00", "0.00", "0.00")),
    ):
        ledger.add(EntryKind.PAYMENT, date(2027, 3, 31), amount)
        position = ledger.fold(date(2027, 3, 31))
        due = (position.fees_due, position.interest_overdue, position.interest_due)
        assert tuple(map(str, due)) == rest
    assert position.balance == Decimal("9000.00")


def test_capitalised_interest_joins_the_balance_and_bears_interest() -> None:
    repayment = FacilityRepayment(profile="straight_line", grace_periods=2, grace="capitalised")
    ledger = LedgerBuilder(a_facility(day_count="ACT/365F", repayment=repayment))
    ledger.add(EntryKind.DRAW, START, "10000.00")
    at = date(2026, 9, 30)
    assert ledger.fold(at).interest_due == 0
    assert ledger.fold(at).accrued_interest == Decimal("200.55")
    ledger.add(EntryKind.CAPITALISATION, at, "200.55")
    assert ledger.fold(at).balance == Decimal("10200.55")
    # 10200.55 x 4 % x 182/365
    assert ledger.fold(date(2027, 3, 31)).accrued_interest == Decimal("203.45")
    # From the end of the grace on interest is due; what was not capitalised stays accrued.
    assert ledger.fold(date(2027, 9, 30)).interest_due == Decimal("204.57")
    assert ledger.fold(date(2027, 9, 30)).accrued_interest == Decimal("203.45")


@pytest.mark.parametrize("day_count", list(DayCount))
def test_each_day_count_accrues_as_the_engine_counts(day_count: DayCount) -> None:
    start = date(2027, 9, 30)
    dates = PaymentDateTerms(
        start=start,
        end=date(2032, 9, 30),
        frequency=PaymentFrequency.SEMI_ANNUAL,
        rule=BusinessDayRule.FOLLOWING,
        calendar=BusinessCalendar(base="weekends"),
    )
    facility = a_facility(
        day_count=day_count.value,
        payment_dates=dates,
        availability_start=start,
        availability_end=start,
    )
    ledger = LedgerBuilder(facility)
    ledger.add(EntryKind.DRAW, start, "1000000.00")
    schedule = build_timeline(facility).schedule
    assert schedule is not None
    assert schedule.accrual_dates is not None
    years = 0.0
    for number in range(1, 4):
        first, end = schedule.accrual_dates[number - 1 : number + 1]
        middle = date(end.year, end.month - 1, 28)
        exact = (years + schedule.count_part(number, first, middle)) * 40_000
        position = ledger.fold(middle)
        interest = position.accrued_interest + position.interest_due
        assert float(interest) == pytest.approx(exact, abs=0.0051)
        years += schedule.count_part(number, first, end)


def test_interest_accrues_to_the_end_of_the_calendar() -> None:
    ledger = LedgerBuilder(a_facility(day_count="ACT/ACT ICMA"))
    ledger.add(EntryKind.DRAW, START, "100.00")
    # 6,965 years from the maturity on 31 March 2036; 7,963.5 and 92 of 182 days of a half.
    assert ledger.fold(date(9001, 3, 31)).accrued_interest == Decimal("27860.00")
    assert ledger.fold(date(9999, 12, 31)).accrued_interest == Decimal("31855.01")


def test_interest_after_a_late_payment_accrues_to_the_end_of_the_calendar() -> None:
    ledger = LedgerBuilder(a_facility(day_count="ACT/ACT ICMA"))
    ledger.add(EntryKind.DRAW, START, "100.00")
    ledger.add(EntryKind.PREPAYMENT, date(9500, 3, 31), "50.00")
    accrued = ledger.fold(date(9500, 3, 31)).accrued_interest
    # A year of the 50.00 that are left, at 4 %.
    assert ledger.fold(date(9501, 3, 31)).accrued_interest - accrued == Decimal("2.00")


def test_interest_of_unadjusted_dates_stops_between_the_date_and_its_payment() -> None:
    # 31 May 2026 is a Sunday: paid on Monday, accrued through Sunday.
    dates: dict[str, Any] = {
        "start": date(2026, 2, 28),
        "end": date(2029, 2, 28),
        "frequency": PaymentFrequency.QUARTERLY,
        "roll_day": 31,
        "rule": BusinessDayRule.FOLLOWING,
        "accrual": "unadjusted",
    }
    facility = a_facility(
        day_count="ACT/360",
        availability_start=date(2026, 3, 2),
        payment_dates=PaymentDateTerms(**dates, calendar=BusinessCalendar(base="weekends")),
    )
    ledger = LedgerBuilder(facility)
    ledger.add(EntryKind.DRAW, date(2026, 3, 2), "360000.00")
    daily = Decimal("40.00")
    sunday, monday = date(2026, 5, 31), date(2026, 6, 1)
    accrued = ledger.fold(sunday).accrued_interest
    assert ledger.fold(sunday - timedelta(1)).accrued_interest == accrued - daily
    assert ledger.fold(monday).interest_due == accrued
    assert ledger.fold(monday + timedelta(1)).accrued_interest == 2 * daily


def test_fees_of_the_terms_fall_due_on_their_dates() -> None:
    fees = FacilityFees(
        upfront_fee=Decimal("0.01"), commitment_fee=Decimal("0.005"), agency_fee=Decimal(1_000)
    )
    ledger = LedgerBuilder(a_facility(day_count="ACT/360", fees=fees))
    assert ledger.fold(START - timedelta(1)).fees_due == 0
    assert ledger.fold(START).fees_due == Decimal(11_000)
    # 1,000,000 x 0.5 % x 183/360 on the first payment date
    assert ledger.fold(date(2026, 9, 30)).fees_due == Decimal("13541.67")
    assert ledger.fold(date(2027, 12, 31)).accrued_fee == 0


@pytest.mark.parametrize("is_revolving", [False, True])
def test_nothing_can_be_drawn_after_the_availability_period(is_revolving: bool) -> None:  # noqa: FBT001 - a parameter of the test
    ledger = LedgerBuilder(a_facility(is_revolving=is_revolving))
    ledger.add(EntryKind.DRAW, START, "400000.00")
    last = ledger.facility.availability_end
    assert ledger.fold(last).undrawn == 600_000
    assert ledger.fold(last + timedelta(days=1)).undrawn == 0


def test_a_revolving_facility_can_be_drawn_again() -> None:
    ledger = LedgerBuilder(a_facility(is_revolving=True, commitment=Decimal(100)))
    ledger.add(EntryKind.DRAW, START, "100.00")
    ledger.add(EntryKind.PREPAYMENT, date(2026, 5, 1), "60.00")
    assert ledger.fold(date(2026, 5, 1)).undrawn == 60
    ledger.add(EntryKind.DRAW, date(2026, 5, 1), "60.00")
    assert ledger.fold(date(2026, 5, 2)).balance == 100


def test_a_waiver_forgives_the_part_that_it_names() -> None:
    ledger = LedgerBuilder(a_facility(day_count="ACT/365F"))
    ledger.add(EntryKind.DRAW, START, "10000.00")
    ledger.add(EntryKind.FEE, START, "25.00")
    on = date(2026, 10, 1)
    ledger.add(EntryKind.WAIVER, on, "25.00", waived=WaivedPart.FEES)
    ledger.add(EntryKind.WAIVER, on, "200.55", waived=WaivedPart.INTEREST)
    ledger.add(EntryKind.WAIVER, on, "1000.00", waived=WaivedPart.PRINCIPAL)
    position = ledger.fold(on)
    assert position.balance == 9_000
    assert position.fees_due == position.interest_due == 0
    assert position.repaid == 0


def a_capitalising_ledger(
    repayment: FacilityRepayment | None = None, **terms: Any
) -> LedgerBuilder:
    """Return 1,000 at 6 %, half-yearly over five years, of which the first one is capitalised."""
    dates = tuple(date(2024 + n // 2, 1 + 6 * (n % 2), 1) for n in range(11))
    members: dict[str, Any] = {
        "commitment": Decimal(1_000),
        "availability_start": dates[0],
        "availability_end": date(2026, 12, 31),
        "rate": RateBasis(fixed_rate=Decimal("0.06")),
        "dates": dates,
        "payment_dates": None,
        "day_count": "ACT/360",
        "repayment": repayment
        or FacilityRepayment(profile="straight_line", grace_periods=2, grace="capitalised"),
        **terms,
    }
    return LedgerBuilder(a_facility(**members))


@pytest.mark.parametrize(
    ("amount", "balance", "paid_interest"),
    [("216.16", "875.01", "91.17"), ("1091.17", "0.00", "91.17"), ("50.00", "1000.00", "50.00")],
)
def test_a_payment_pays_deferred_interest_after_what_is_due(
    amount: str, balance: str, paid_interest: str
) -> None:
    ledger = a_capitalising_ledger()
    ledger.add(EntryKind.DRAW, date(2024, 1, 1), "1000.00")
    on = date(2025, 7, 1)
    assert ledger.fold(on).interest_due == Decimal("30.17")
    ledger.add(EntryKind.PAYMENT, on, amount)
    position = ledger.fold(on)
    assert (position.balance, position.interest_paid) == (Decimal(balance), Decimal(paid_interest))
    owed = position.balance + position.accrued_interest + position.interest_due
    assert owed == Decimal("1091.17") - Decimal(amount)
    check_ledger(ledger.facility, select_entries(ledger.recorded))


def test_a_waiver_forgives_deferred_interest_after_what_is_due() -> None:
    ledger = a_capitalising_ledger()
    ledger.add(EntryKind.DRAW, date(2024, 1, 1), "1000.00")
    ledger.add(EntryKind.WAIVER, date(2025, 2, 1), "30.00", waived=WaivedPart.INTEREST)
    assert ledger.fold(date(2025, 2, 1)).accrued_interest == Decimal("36.17")
    on = date(2025, 7, 1)
    assert ledger.fold(on).interest_due == Decimal("30.17")
    ledger.add(EntryKind.WAIVER, on, "61.17", waived=WaivedPart.INTEREST)
    assert ledger.fold(on).interest_due == ledger.fold(on).accrued_interest == 0
    with pytest.raises(Infeasible, match=r"the interest of 0\.00 owed"):
        ledger.add(EntryKind.WAIVER, on, "0.01", waived=WaivedPart.INTEREST)


def test_capitalised_interest_that_was_repaid_is_no_headroom() -> None:
    repayment = FacilityRepayment(profile="bullet", grace_periods=2, grace="capitalised")
    ledger = a_capitalising_ledger(repayment, is_revolving=True)
    ledger.add(EntryKind.DRAW, date(2024, 1, 1), "1000.00")
    ledger.add(EntryKind.CAPITALISATION, date(2024, 7, 1), "30.33")
    assert ledger.fold(date(2024, 7, 1)).undrawn == 0
    ledger.add(EntryKind.PAYMENT, date(2024, 8, 1), "1030.33")
    assert ledger.fold(date(2024, 8, 1)).balance == 0
    on = date(2024, 9, 1)
    ledger.add(EntryKind.DRAW, on, "1000.00")
    assert ledger.fold(on).undrawn == Decimal("0.00")
    with pytest.raises(Infeasible, match=r"the commitment then is 1000\.00"):
        ledger.add(EntryKind.DRAW, on, "0.01")


def test_a_capitalisation_offsets_a_credit_before_deferred_interest() -> None:
    """10 are deferred and 5 a credit: capitalising 5 leaves nothing of either."""
    repayment = FacilityRepayment(profile="bullet", grace_periods=1, grace="capitalised")
    ledger = a_capitalising_ledger(repayment, rate=RateBasis(curve="index"), day_count="30E/360")
    for day, rate in (("2024-01-01", "0.02"), ("2024-07-01", "-0.01"), ("2025-01-01", "0")):
        ledger.add(EntryKind.RATE_FIXING, date.fromisoformat(day), rate=Decimal(rate))
    ledger.add(EntryKind.DRAW, date(2024, 1, 1), "1000.00")
    on = date(2025, 2, 1)
    assert ledger.fold(on).interest_overdue == -5
    assert ledger.fold(on).accrued_interest == 10
    ledger.add(EntryKind.CAPITALISATION, on, "5.00")
    assert ledger.fold(on).balance == 1_005
    later = ledger.fold(date(2025, 7, 1))
    assert later.interest_due == later.accrued_interest == 0


if __name__ == "__main__":  # ten thousand ledgers, two minutes of processor time
    compare_with_fractions(range(1_000, 11_000), 25)


def a_ledger_at(rate: str, **terms: Any) -> LedgerBuilder:
    """Return a ledger with 100,000 drawn at the start, at a fixed rate, paid half-yearly."""
    ledger = LedgerBuilder(
        a_facility(rate=RateBasis(fixed_rate=Decimal(rate)), day_count="30E/360", **terms)
    )
    ledger.add(EntryKind.DRAW, date(2026, 3, 31), "100000.00")
    return ledger


def test_interest_of_a_negative_rate_is_offset_against_later_interest() -> None:
    """500 a half-year are owed by the lenders, then 1,500 by the borrower: a payment owes 1,000."""
    ledger = LedgerBuilder(a_facility(rate=RateBasis(curve="index"), day_count="30E/360"))
    ledger.add(EntryKind.RATE_FIXING, date(2026, 3, 31), rate=Decimal("-0.01"))
    ledger.add(EntryKind.RATE_FIXING, date(2026, 9, 30), rate=Decimal("0.03"))
    ledger.add(EntryKind.DRAW, date(2026, 3, 31), "100000.00")
    credit = ledger.fold(date(2026, 9, 30))
    assert (credit.interest_due, credit.interest_overdue) == (Decimal("-500.00"), Decimal(0))
    assert ledger.fold(date(2027, 3, 31)).interest_due == Decimal("1000.00")
    ledger.add(EntryKind.PAYMENT, date(2027, 3, 31), "1500.00")
    paid = ledger.fold(date(2027, 3, 31))
    assert (paid.interest_paid, paid.repaid) == (Decimal("1000.00"), Decimal("500.00"))
    assert (paid.interest_due, paid.balance) == (Decimal("0.00"), Decimal("99500.00"))


def test_interest_of_a_negative_rate_reduces_what_is_overdue() -> None:
    ledger = LedgerBuilder(a_facility(rate=RateBasis(curve="index"), day_count="30E/360"))
    ledger.add(EntryKind.RATE_FIXING, date(2026, 3, 31), rate=Decimal("0.03"))
    ledger.add(EntryKind.RATE_FIXING, date(2026, 9, 30), rate=Decimal("-0.01"))
    ledger.add(EntryKind.DRAW, date(2026, 3, 31), "100000.00")
    position = ledger.fold(date(2027, 3, 31))
    assert position.interest_due == position.interest_overdue == Decimal("1000.00")


def test_a_credit_repays_no_principal_and_is_no_debt() -> None:
    ledger = a_ledger_at("-0.01")
    ledger.add(EntryKind.PREPAYMENT, date(2026, 9, 30), "99500.00")
    entries = select_entries(ledger.recorded)
    # 500.00 are left, and the lenders owe as much.
    assert find_highest_debt(ledger.facility, entries, date(2026, 9, 30)) == Decimal("500.00")
    ledger.add(EntryKind.PREPAYMENT, date(2026, 9, 30), "500.00")
    entries = select_entries(ledger.recorded)
    assert find_highest_debt(ledger.facility, entries, date(2026, 9, 30)) == Decimal(0)


@pytest.mark.parametrize(
    ("fees", "debt"),
    [
        (FacilityFees(agency_fee=Decimal(25)), "225.00"),
        (FacilityFees(commitment_fee=Decimal("0.01")), "15750.00"),
        (FacilityFees(), "0.00"),
    ],
)
def test_fees_that_fall_due_later_are_debt(fees: FacilityFees, debt: str) -> None:
    """An agency fee ends with the maturity, a commitment fee with the availability period."""
    ledger = a_ledger_at("0", fees=fees)
    ledger.add(EntryKind.PREPAYMENT, date(2026, 3, 31), "100000.00")
    due = ledger.fold(date(2026, 3, 31)).fees_due
    if due:
        ledger.add(EntryKind.PAYMENT, date(2026, 3, 31), str(due))
    entries = select_entries(ledger.recorded)
    since = date(2026, 3, 31)
    assert str(find_highest_debt(ledger.facility, entries, since)) == debt
    last = ledger.fold(date(2060, 1, 1))
    assert str(last.fees_due) == debt
    assert last.accrued_fee == 0


@pytest.mark.parametrize("day_count", list(DayCount))
def test_the_parts_of_a_period_add_up_to_it(day_count: DayCount) -> None:
    """Small prepayments on any days, among them a 31st and a 29 February, add no day."""
    is_counted = day_count is DayCount.BUS_252
    calendar = BusinessCalendar(base="weekends") if is_counted else BusinessCalendar()
    dates = PaymentDateTerms(
        start=date(2027, 10, 15),
        end=date(2032, 10, 15),
        frequency=PaymentFrequency.SEMI_ANNUAL,
        calendar=calendar,
    )
    terms = {"payment_dates": dates, "availability_start": date(2027, 10, 15)}
    facility = a_facility(day_count=day_count.value, availability_end=date(2027, 12, 31), **terms)
    ledger = LedgerBuilder(facility)
    ledger.add(EntryKind.DRAW, date(2027, 10, 15), "1000000.00")
    end = date(2028, 4, 15)
    whole = ledger.fold(end).interest_due
    for day in ((2027, 10, 31), (2027, 12, 31), (2028, 1, 30), (2028, 1, 31), (2028, 2, 29)):
        ledger.add(EntryKind.PREPAYMENT, date(*day), "0.01")
    assert whole - ledger.fold(end).interest_due in {Decimal("0.00"), Decimal("0.01")}


def test_a_loan_that_is_taken_over_owes_no_earlier_fees() -> None:
    fees = FacilityFees(
        upfront_fee=Decimal("0.01"), commitment_fee=Decimal("0.01"), agency_fee=Decimal(25)
    )
    ledger = LedgerBuilder(a_facility(fees=fees, day_count="30E/360"))
    nothing = Decimal("0.00")
    ledger.add(EntryKind.OPENING, date(2026, 12, 31), "400000.00", accrued_interest=nothing)
    opened = ledger.fold(date(2026, 12, 31))
    assert (opened.fees_due, opened.accrued_fee) == (Decimal("0.00"), Decimal("0.00"))
    # 600,000 are undrawn for a quarter of a year, and the agency fee is due on the anniversary.
    assert ledger.fold(date(2027, 3, 31)).fees_due == Decimal("1525.00")
