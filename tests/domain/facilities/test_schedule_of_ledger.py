"""The schedule of a stored loan: what is left of it by its ledger, and the interest of both."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.facilities.exact_ledger import END, START, a_short_facility, random_ledger
from tests.domain.facilities.facility_terms import a_facility, some_lenders
from tests.domain.facilities.ledger_builder import LedgerBuilder

from spawn.domain.errors import InvalidInput
from spawn.domain.facilities.facility import Facility, FacilityRepayment, RateBasis
from spawn.domain.facilities.facility_timeline import build_timeline
from spawn.domain.facilities.ledger import EntryKind, RecordedEntry, WaivedPart, select_entries
from spawn.domain.facilities.ledger_fold import fold
from spawn.domain.facilities.principal_arrears import find_principal_dues
from spawn.domain.facilities.repayment_schedule import build_repayment_schedule
from spawn.domain.finance.loans.loan_results import LoanEvent
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

BEGIN = date(2024, 1, 31)


def a_loan(
    frequency: PaymentFrequency = PaymentFrequency.SEMI_ANNUAL,
    end: date = date(2034, 1, 31),
    **terms: Any,
) -> LedgerBuilder:
    """Return the empty ledger of 1,000,000 at 5 %, in equal instalments over ten years."""
    members: dict[str, Any] = {
        "availability_start": BEGIN,
        "availability_end": date(2025, 12, 31),
        "lenders": some_lenders("100"),
        "rate": RateBasis(fixed_rate=Decimal("0.05")),
        "payment_dates": PaymentDateTerms(start=BEGIN, end=end, frequency=frequency),
        "repayment": FacilityRepayment(profile="straight_line"),
        **terms,
    }
    return LedgerBuilder(a_facility(**members))


def list_events(ledger: LedgerBuilder, on: date) -> list[LoanEvent]:
    """Return the events of the schedule after a day."""
    entries = select_entries(ledger.recorded, on)
    schedule = build_repayment_schedule(ledger.facility, entries, on)
    events = () if schedule is None else schedule.events
    return [event for event in events if event.date is not None and event.date > on]


def list_flows(ledger: LedgerBuilder, on: date, kind: str) -> dict[date, float]:
    """Return the cash flows of a kind after a day, rounded to the cent."""
    return {
        event.date: round(event.cash_flow, 2)
        for event in list_events(ledger, on)
        if event.kind == kind and event.date is not None
    }


def measure_arrears(ledger: LedgerBuilder, on: date) -> Decimal | None:
    entries = select_entries(ledger.recorded, on)
    position = fold(ledger.facility, entries, on)
    dues = find_principal_dues(ledger.facility, entries, on)
    return dues.measure_arrears(on, position.repaid - position.prepaid, position.balance)


def test_principal_repaid_early_pays_the_next_instalments() -> None:
    ledger = a_loan()
    ledger.add(EntryKind.DRAW, BEGIN, "1000.00")
    ledger.add(EntryKind.PAYMENT, date(2024, 3, 1), "700.00")
    # 700 are 14 instalments of 50; six are left.
    left = list_flows(ledger, date(2024, 4, 1), "principal")
    assert left == {
        date(2031, 7, 31): 50.0,
        date(2032, 1, 31): 50.0,
        date(2032, 7, 31): 50.0,
        date(2033, 1, 31): 50.0,
        date(2033, 7, 31): 50.0,
        date(2034, 1, 31): 50.0,
    }
    interest = list_flows(ledger, date(2024, 4, 1), "interest")
    # 30 days on 1,000 and 152 days on 300; 184 days on 300.
    assert interest[date(2024, 7, 31)] == round(0.05 / 360 * (30 * 1000 + 152 * 300), 2)
    assert interest[date(2025, 1, 31)] == round(0.05 / 360 * 184 * 300, 2)


def test_an_instalment_paid_a_day_early_is_not_due_again() -> None:
    ledger = a_loan()
    ledger.add(EntryKind.DRAW, BEGIN, "1000.00")
    day_before = date(2024, 7, 30)
    ledger.add(EntryKind.PAYMENT, day_before, "50.00")
    assert date(2024, 7, 31) not in list_flows(ledger, day_before, "principal")
    assert sum(list_flows(ledger, day_before, "principal").values()) == pytest.approx(950)
    assert measure_arrears(ledger, date(2024, 7, 31)) == 0
    assert measure_arrears(ledger, date(2025, 1, 31)) == 50


def test_a_late_payment_leaves_its_interest_in_the_next_one() -> None:
    ledger = a_loan()
    ledger.add(EntryKind.DRAW, BEGIN, "1000.00")
    due = ledger.fold(date(2024, 7, 31)).interest_due
    paid_on = date(2024, 8, 30)
    ledger.add(EntryKind.PAYMENT, paid_on, str(due + 50))
    # 182 days and 30 days on 1,000, and 154 days on 950, less 25.28 that fell due before.
    expected = round(0.05 / 360 * (212 * 1000 + 154 * 950) - 25.28, 2)
    assert list_flows(ledger, paid_on, "interest")[date(2025, 1, 31)] == expected == 24.48
    assert ledger.fold(date(2025, 1, 31)).interest_due == Decimal("24.48")


def test_a_revolving_loan_levels_what_is_drawn_again() -> None:
    ledger = a_loan(is_revolving=True)
    ledger.add(EntryKind.DRAW, BEGIN, "1000000.00")
    ledger.add(EntryKind.PAYMENT, date(2024, 3, 1), "1000000.00")
    ledger.add(EntryKind.DRAW, date(2024, 4, 1), "1000000.00")
    on = date(2024, 7, 31)
    ledger.add(EntryKind.PAYMENT, on, str(ledger.fold(on).interest_due + 50_000))
    principal = list_flows(ledger, on, "principal")
    assert set(principal.values()) == {50_000.0}
    assert len(principal) == 19
    # Half of it is repaid, and drawn again: the instalments are those of the balance.
    ledger.add(EntryKind.PAYMENT, date(2024, 8, 15), "475000.00")
    assert set(list_flows(ledger, date(2024, 8, 15), "principal").values()) == {25_000.0}


def test_early_principal_of_an_annuity_leaves_the_principal_of_its_payments() -> None:
    ledger = a_loan(repayment=FacilityRepayment(profile="annuity"))
    ledger.add(EntryKind.DRAW, BEGIN, "1000.00")
    planned = list_flows(ledger, date(2024, 2, 1), "principal")
    first, second, third = list(planned)[:3]
    ledger.add(EntryKind.PAYMENT, date(2024, 3, 1), str(round(planned[first] + 10, 2)))
    left = list_flows(ledger, date(2024, 3, 1), "principal")
    assert first not in left
    assert left[second] == pytest.approx(planned[second] - 10, abs=0.02)
    assert {day: left[day] for day in list(planned)[2:]} == pytest.approx(
        {day: planned[day] for day in list(planned)[2:]}, abs=0.02
    )
    assert third in left


def test_recorded_capitalisation_bears_interest_and_falls_due() -> None:
    ledger = a_loan(
        PaymentFrequency.ANNUAL,
        date(2029, 1, 31),
        repayment=FacilityRepayment(profile="bullet"),
    )
    ledger.add(EntryKind.DRAW, BEGIN, "900000.00")
    at = date(2025, 1, 31)
    ledger.add(EntryKind.CAPITALISATION, at, "45750.00")
    assert list_flows(ledger, at, "principal") == {date(2029, 1, 31): 945_750.0}
    interest = list_flows(ledger, date(2026, 1, 31), "interest")
    assert interest[date(2027, 1, 31)] == 47_944.27
    # The interest of the day was capitalised, and is not paid beside it.
    entries = select_entries(ledger.recorded, at)
    schedule = build_repayment_schedule(ledger.facility, entries, at)
    assert schedule is not None
    assert [e.kind for e in schedule.events if e.date == at] == ["interest", "capitalisation"]
    assert [e.cash_flow for e in schedule.events if e.date == at] == [0, 0]


def test_after_the_maturity_the_whole_balance_is_in_arrears() -> None:
    end = date(2027, 1, 31)
    ledger = a_loan(PaymentFrequency.ANNUAL, end, day_count="30/360")
    ledger.add(EntryKind.DRAW, BEGIN, "900000.00")
    ledger.add(EntryKind.CAPITALISATION, date(2025, 1, 31), "45000.00")
    for day in (date(2025, 1, 31), date(2026, 1, 31), end):
        due = ledger.fold(day).interest_due
        ledger.add(EntryKind.PAYMENT, day, str(due + 300_000))
    assert ledger.fold(end).balance == 45_000
    assert measure_arrears(ledger, end) == 45_000
    assert measure_arrears(ledger, date(2030, 1, 1)) == 45_000


def test_interest_that_the_terms_capitalise_falls_due_with_the_loan_alone() -> None:
    repayment = FacilityRepayment(profile="straight_line", grace_periods=2, grace="capitalised")
    ledger = a_loan(day_count="30E/360", repayment=repayment)
    ledger.add(EntryKind.DRAW, BEGIN, "800000.00")
    due_on = date(2025, 7, 31)
    assert ledger.fold(due_on).interest_due == 20_000
    assert ledger.fold(due_on).accrued_interest == 40_000
    assert list_flows(ledger, date(2025, 2, 1), "interest")[due_on] == 20_000
    assert ledger.fold(date(2034, 1, 31)).accrued_interest == 0
    last = list_flows(ledger, date(2033, 7, 31), "interest")[date(2034, 1, 31)]
    assert last == 40_000 + round(800_000 / 18 * 0.025, 2)
    # Before the end of the grace the schedule capitalises by the terms.
    assert list_flows(ledger, BEGIN, "interest")[due_on] == 21_012.5


def test_deferred_interest_that_was_paid_or_forgiven_is_not_scheduled_again() -> None:
    repayment = FacilityRepayment(profile="straight_line", grace_periods=2, grace="capitalised")
    ledger = a_loan(day_count="30E/360", repayment=repayment)
    ledger.add(EntryKind.DRAW, BEGIN, "800000.00")
    paid_on, forgiven_on, end = date(2025, 2, 15), date(2025, 3, 15), date(2034, 1, 31)
    ledger.add(EntryKind.PAYMENT, paid_on, "15000.00")
    ledger.add(EntryKind.WAIVER, forgiven_on, "5000.00", waived=WaivedPart.INTEREST)
    assert ledger.fold(forgiven_on).balance == 800_000
    last_interest = round(800_000 / 18 * 0.025, 2)
    assert list_flows(ledger, paid_on, "interest")[end] == 25_000 + last_interest
    assert list_flows(ledger, forgiven_on, "interest")[end] == 20_000 + last_interest
    entries = select_entries(ledger.recorded, forgiven_on)
    schedule = build_repayment_schedule(ledger.facility, entries, forgiven_on)
    assert schedule is not None
    flows = [(event.date, event.cash_flow) for event in schedule.events if event.kind == "interest"]
    assert flows[0][0] == paid_on
    assert flows[0][1] == pytest.approx(15_000)
    assert sum(flow for _, flow in flows) == pytest.approx(schedule.total_interest - 5_000)


def test_interest_that_the_terms_capitalise_is_no_draw_of_the_commitment() -> None:
    repayment = FacilityRepayment(profile="straight_line", grace_periods=2, grace="capitalised")
    ledger = a_loan(repayment=repayment)
    ledger.add(EntryKind.DRAW, BEGIN, "1000000.00")
    at = date(2025, 1, 31)
    ledger.add(EntryKind.CAPITALISATION, at, str(ledger.fold(at).accrued_interest))
    assert ledger.fold(at).balance == Decimal("1050833.33")
    assert ledger.fold(at).undrawn == 0
    assert sum(list_flows(ledger, at, "principal").values()) == pytest.approx(1_050_833.33)
    # Interest that the terms do not capitalise is within the commitment.
    with pytest.raises(InvalidInput, match=r"the commitment then is 1000000\.00"):
        ledger.add(EntryKind.CAPITALISATION, date(2025, 3, 1), "100.00")


def test_a_day_of_the_terms_ends_the_capitalisation() -> None:
    repayment = FacilityRepayment(profile="bullet", capitalise_until=date(2024, 10, 31))
    ledger = a_loan(day_count="30E/360", repayment=repayment)
    ledger.add(EntryKind.DRAW, BEGIN, "800000.00")
    # Nine months are capitalised, and three fall due.
    assert ledger.fold(date(2025, 1, 31)).interest_due == 10_000
    assert ledger.fold(date(2025, 1, 31)).accrued_interest == 30_000
    assert list_flows(ledger, date(2024, 11, 1), "interest")[date(2025, 1, 31)] == 10_000


def test_a_prepaid_loan_owes_its_interest_on_the_next_payment_date() -> None:
    ledger = a_loan()
    ledger.add(EntryKind.DRAW, BEGIN, "1000.00")
    at = date(2024, 5, 15)
    ledger.add(EntryKind.PREPAYMENT, at, "1000.00")
    due_on = date(2024, 7, 31)
    assert list_flows(ledger, at, "interest") == {due_on: 14.58}
    assert ledger.fold(due_on).interest_due == Decimal("14.58")
    assert list_flows(ledger, at, "principal") == {}


def test_a_later_draw_does_not_change_what_was_due_of_a_share_as_balloon() -> None:
    repayment = FacilityRepayment(profile="straight_line", balloon_share=Decimal("0.3"))
    ledger = a_loan(repayment=repayment)
    ledger.add(EntryKind.DRAW, BEGIN, "500000.00")
    at = date(2024, 7, 31)
    assert measure_arrears(ledger, at) == 17_500
    ledger.add(EntryKind.DRAW, date(2025, 3, 31), "500000.00")
    entries = select_entries(ledger.recorded)
    dues = find_principal_dues(ledger.facility, entries, date(2025, 3, 31))
    assert dues.sum_due(at) == 17_500
    principal = list_flows(ledger, date(2025, 3, 31), "principal")
    # 1,000,000 less two instalments, to a balloon of 300,000.
    assert principal[date(2025, 7, 31)] == round((965_000 - 300_000) / 18, 2)
    assert principal[date(2034, 1, 31)] == round(300_000 + (965_000 - 300_000) / 18, 2)


TERMS: tuple[dict[str, Any], ...] = (
    {},
    {"is_revolving": True},
    {"repayment": FacilityRepayment(profile="annuity")},
    {"repayment": FacilityRepayment(profile="bullet")},
    {"repayment": FacilityRepayment(profile="straight_line", balloon=Decimal(300))},
    {"repayment": FacilityRepayment(profile="straight_line", balloon_share=Decimal("0.25"))},
    {"repayment": FacilityRepayment(profile="custom", custom_shares=(Decimal("0.0625"),) * 8
        + (Decimal("0.125"),) * 4)},
    {"repayment": FacilityRepayment(profile="annuity", grace_periods=3, grace="capitalised")},
    {"repayment": FacilityRepayment(profile="bullet", capitalise_until=date(2027, 5, 15))},
)  # fmt: skip
DAY_COUNTS = ("ACT/360", "30/360", "30E/360", "ACT/ACT ICMA", "ACT/ACT ISDA")


def check_schedule(facility: Facility, recorded: list[RecordedEntry], on: date) -> None:
    """Check the schedule after a day against the ledger."""
    entries = select_entries(recorded, on)
    position = fold(facility, entries, on)
    dues = find_principal_dues(facility, entries, on)
    arrears = dues.measure_arrears(on, position.repaid - position.prepaid, position.balance)
    due_dates = build_timeline(facility).due_dates
    if on >= due_dates[-1]:
        assert arrears == position.balance
        return
    if dues.schedule is None or arrears is None:
        return
    later = [one for one in dues.schedule.events if one.date is not None and one.date > on]
    repaid = sum(one.cash_flow for one in later if one.kind == "principal")
    capitalised = sum(
        after.balance - before.balance
        for before, after in pairwise(dues.schedule.events)
        if after.kind == "capitalisation" and after in later
    )
    assert repaid - capitalised == pytest.approx(float(position.balance - arrears), abs=0.02)
    next_date = next(day for day in due_dates if day > on)
    capitalising = build_timeline(facility).capitalising_dates
    if arrears or any(on < day <= next_date for day in capitalising):
        return
    there = fold(facility, entries, next_date)
    falls_due = there.interest_due - position.interest_due
    scheduled = sum(
        one.cash_flow for one in later if one.kind == "interest" and one.date == next_date
    )
    assert scheduled == pytest.approx(float(falls_due), abs=0.02)


@settings(max_examples=60, deadline=None)
@given(
    terms=st.sampled_from(TERMS),
    day_count=st.sampled_from(DAY_COUNTS),
    seed=st.integers(0, 10_000),
    days=st.lists(st.integers(0, 1_200), min_size=1, max_size=4),
)
def test_schedule_and_ledger_agree_on_every_day(
    terms: dict[str, Any], day_count: str, seed: int, days: list[int]
) -> None:
    """What is scheduled is what is owed, and the next interest is that of the ledger."""
    facility = a_short_facility(day_count, **terms)
    recorded = random_ledger(facility, seed, attempts=25)
    due_dates = build_timeline(facility).due_dates
    for day in [START + timedelta(days=number) for number in days] + [due_dates[seed % 12], END]:
        check_schedule(facility, recorded, day)
