"""Shares of lenders that change on a date: a payment belongs to the lenders of its value date."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.domain.facilities.exact_ledger import END, START, a_short_facility, random_ledger
from tests.domain.facilities.facility_terms import a_facility, a_term_sheet, some_lenders
from tests.domain.facilities.ledger_builder import LedgerBuilder

from spawn.domain.errors import Conflict, InvalidInput
from spawn.domain.facilities.facility import DatedLenders, LenderShare, find_lenders
from spawn.domain.facilities.facility_rules import propose_facility
from spawn.domain.facilities.ledger import EntryKind, select_entries
from spawn.domain.facilities.ledger_rules import check_amendment
from spawn.domain.facilities.statement import build_statement

pytestmark = pytest.mark.core

TRANSFER = date(2027, 3, 31)
BUYER = LenderShare(lender="Pension Fund", share=Decimal("33.333333333333"))
SELLER = LenderShare(lender="Bank 1", share=Decimal("66.666666666667"))


def a_step(day: date, *lenders: LenderShare) -> DatedLenders:
    return DatedLenders(from_date=day, lenders=lenders or (SELLER, BUYER))


def test_a_payment_is_allocated_to_the_lenders_of_its_day() -> None:
    ledger = LedgerBuilder(a_facility(lender_steps=(a_step(TRANSFER),)))
    ledger.add(EntryKind.DRAW, START, "100000.00")
    ledger.add(EntryKind.PAYMENT, TRANSFER - timedelta(1), "1000.01")
    ledger.add(EntryKind.PAYMENT, TRANSFER, "1000.01")
    ledger.add(EntryKind.PREPAYMENT, date(2027, 4, 1), "0.01")
    statement = build_statement(ledger.facility, select_entries(ledger.recorded), START, END)
    parts = [[(p.lender, str(p.amount)) for p in line.lenders] for line in statement.lines]
    assert [one for one in parts if one] == [
        [("Bank 1", "600.01"), ("Bank 2", "400.00")],
        [("Bank 1", "666.67"), ("Pension Fund", "333.34")],
        [("Bank 1", "0.01"), ("Pension Fund", "0.00")],
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_parts_of_every_payment_sum_to_it_whatever_changes_hands(seed: int) -> None:
    steps = tuple(
        a_step(START + timedelta(days=40 * n), *some_lenders(*shares))
        for n, shares in enumerate((("0.1", "99.9"), ("0.3", "49.85", "49.85")) * 12, start=1)
    )
    facility = a_short_facility(lender_steps=steps)
    entries = select_entries(random_ledger(facility, seed, 60))
    statement = build_statement(facility, entries, START, END)
    payments = [line for line in statement.lines if line.lenders]
    assert payments
    for line in payments:
        assert sum(part.amount for part in line.lenders) == line.amount
        for name, total in (
            ("fees", line.fees),
            ("interest", line.overdue_interest + line.interest),
            ("principal", line.principal),
        ):
            assert sum(getattr(part, name) for part in line.lenders) == total
        expected = find_lenders(facility, line.value_date)
        assert [p.lender for p in line.lenders] == [one.lender for one in expected]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((a_step(START),), {("/lender_steps/0/from_date", "out_of_order")}),
        (
            (a_step(TRANSFER), a_step(TRANSFER)),
            {("/lender_steps/1/from_date", "out_of_order")},
        ),
        (
            (DatedLenders(from_date=TRANSFER, lenders=()),),
            {("/lender_steps/0/lenders", "wrong_length")},
        ),
        ((a_step(TRANSFER, BUYER),), {("/lender_steps/0/lenders", "not_a_hundred")}),
        (
            (a_step(TRANSFER, *some_lenders("60", "40"), BUYER),),
            {("/lender_steps/0/lenders", "not_a_hundred")},
        ),
        (
            (a_step(TRANSFER, *(LenderShare(lender="A", share=Decimal(50)),) * 2),),
            {("/lender_steps/0/lenders/1/lender", "duplicate")},
        ),
        (
            tuple(a_step(TRANSFER + timedelta(n)) for n in range(201)),
            {("/lender_steps", "too_many")},
        ),
    ],
)
def test_a_violation_of_a_step_is_named(
    steps: tuple[DatedLenders, ...], expected: set[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        propose_facility("f-1", "p-1", a_term_sheet(lender_steps=steps))
    assert {(error.pointer, error.code) for error in caught.value.errors} == expected


def a_closed_ledger() -> LedgerBuilder:
    """Return a ledger with a payment on the last day of its closed periods, 2026-09-30."""
    ledger = LedgerBuilder(a_facility())
    ledger.add(EntryKind.DRAW, START, "100000.00")
    ledger.add(EntryKind.PAYMENT, date(2026, 9, 30), "1000.00")
    ledger.add(EntryKind.CLOSING, date(2026, 9, 30))
    return ledger


def test_another_form_of_a_lender_name_is_the_same_lender() -> None:
    ledger = a_closed_ledger()
    nfc, nfd = (
        msgspec.structs.replace(
            ledger.facility, lenders=(LenderShare(lender=name, share=Decimal(100)),)
        )
        for name in ("Caf\u00e9", "Cafe\u0301")
    )
    check_amendment(nfd, nfc, ledger.recorded)


@pytest.mark.parametrize(
    "terms",
    [
        {"lender_steps": (a_step(date(2026, 9, 30)),)},
        {"lenders": some_lenders("50", "50")},
    ],
)
def test_the_allocation_of_closed_periods_stays(terms: dict[str, Any]) -> None:
    ledger = a_closed_ledger()
    with pytest.raises(Conflict, match="closed"):
        check_amendment(ledger.facility, a_facility(**terms), ledger.recorded)


def test_lenders_may_change_after_the_closed_periods() -> None:
    ledger = a_closed_ledger()
    later = a_facility(lender_steps=(a_step(date(2026, 10, 1)),))
    check_amendment(ledger.facility, later, ledger.recorded)
