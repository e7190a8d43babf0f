"""Arrears of principal, with a schedule and without one."""

from datetime import date
from decimal import Decimal

import pytest
from tests.domain.facilities.facility_terms import END, START, a_facility
from tests.domain.facilities.ledger_builder import LedgerBuilder

from spawn.domain.errors import Infeasible
from spawn.domain.facilities.facility import FacilityRepayment, RateBasis
from spawn.domain.facilities.ledger import EntryKind, select_entries
from spawn.domain.facilities.principal_arrears import PrincipalDues, find_principal_dues
from spawn.domain.facilities.repayment_schedule import build_repayment_schedule
from spawn.domain.facilities.statement import build_statement

TAKEN_OVER = date(2026, 6, 30)
FIRST_PAYMENT = date(2026, 9, 30)


def a_taken_over_annuity() -> LedgerBuilder:
    """Return a loan that brings more interest along than its level payment."""
    ledger = LedgerBuilder(a_facility(repayment=FacilityRepayment(profile="annuity")))
    ledger.add(EntryKind.OPENING, TAKEN_OVER, "900000.00", accrued_interest=Decimal("80000.00"))
    return ledger


def find_dues(ledger: LedgerBuilder, on: date) -> PrincipalDues:
    return find_principal_dues(ledger.facility, select_entries(ledger.recorded, on))


def measure(ledger: LedgerBuilder, on: date) -> Decimal | None:
    position = ledger.fold(on)
    repaid = position.repaid - position.prepaid
    return find_dues(ledger, on).measure_arrears(on, repaid, position.balance)


def test_arrears_without_a_schedule_are_known_before_the_first_date_and_from_the_maturity() -> None:
    ledger = a_taken_over_annuity()
    with pytest.raises(Infeasible):
        build_repayment_schedule(ledger.facility, select_entries(ledger.recorded))
    assert measure(ledger, date(2026, 9, 29)) == 0
    assert measure(ledger, FIRST_PAYMENT) is None
    assert measure(ledger, date(2036, 3, 30)) is None
    assert measure(ledger, END) == 900_000
    ledger.add(EntryKind.PREPAYMENT, END, "900000.00")
    assert measure(ledger, END) == 0


def test_the_reason_names_the_term_of_the_facility() -> None:
    reason = find_dues(a_taken_over_annuity(), END).no_schedule_reason
    assert reason is not None
    assert reason.startswith("/repayment/allow_negative_amortisation: the payment of period 1 does")


def test_a_statement_without_a_schedule_has_every_other_figure() -> None:
    ledger = a_taken_over_annuity()
    statement = build_statement(
        ledger.facility, select_entries(ledger.recorded, END), TAKEN_OVER, END
    )
    arrears = [one.principal_arrears for one in statement.periods]
    assert arrears == [*[None] * 19, Decimal("900000.00")]
    assert statement.no_schedule_reason == find_dues(ledger, END).no_schedule_reason
    assert statement.closing_balance == Decimal("900000.00")
    # 80,000 brought along and 92 days at 4 % on 900,000 (ACT/360).
    assert statement.periods[0].interest_arrears == Decimal("89200.00")


def test_arrears_with_a_schedule_are_what_is_due_and_not_repaid() -> None:
    ledger = LedgerBuilder(a_facility())
    ledger.add(EntryKind.DRAW, START, "160000.00")
    dues = find_dues(ledger, END)
    assert dues.no_schedule_reason is None
    # 16 instalments of 10,000 after a grace of four periods.
    days = (date(2028, 9, 29), date(2028, 9, 30), date(2029, 3, 31), END)
    assert [measure(ledger, day) for day in days] == [0, 10_000, 20_000, 160_000]


def test_nothing_drawn_is_nothing_in_arrears() -> None:
    assert measure(LedgerBuilder(a_facility()), END) == 0


@pytest.mark.parametrize(
    ("periods", "draw", "prepayment", "prepaid_on", "drawn_again", "drawn_on", "arrears"),
    [
        (8, "800", "400", date(2026, 8, 1), "100", date(2026, 9, 1), 400),
        (10, "500", "480", date(2024, 9, 1), "200", date(2024, 10, 1), 20),
    ],
)
def test_a_prepayment_beyond_the_schedule_repays_what_is_in_arrears(
    periods: int,
    draw: str,
    prepayment: str,
    prepaid_on: date,
    drawn_again: str,
    drawn_on: date,
    arrears: int,
) -> None:
    dates = tuple(date(2024 + n // 2, 1 + 6 * (n % 2), 1) for n in range(periods + 1))
    ledger = LedgerBuilder(
        a_facility(
            commitment=Decimal(1_000),
            availability_start=dates[0],
            availability_end=date(2026, 12, 31),
            rate=RateBasis(fixed_rate=Decimal("0.06")),
            payment_dates=None,
            dates=dates,
            repayment=FacilityRepayment(profile="straight_line"),
        )
    )
    ledger.add(EntryKind.DRAW, dates[0], draw)
    ledger.add(EntryKind.PREPAYMENT, prepaid_on, prepayment)
    assert measure(ledger, prepaid_on) == arrears
    ledger.add(EntryKind.DRAW, drawn_on, drawn_again)
    assert measure(ledger, drawn_on) == arrears
    schedule = find_dues(ledger, drawn_on).schedule
    assert schedule is not None
    total = sum(
        event.cash_flow
        for event in schedule.events
        if event.kind == "principal" and event.date is not None and event.date > drawn_on
    )
    assert total == pytest.approx(float(drawn_again))
