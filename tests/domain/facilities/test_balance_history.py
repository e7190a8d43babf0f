"""A balance history: on every day, and as known at any instant, what the fold gives."""

import hashlib
from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest
from tests.domain.facilities.exact_ledger import END, NOON, START, a_short_facility, random_ledger

from spawn.domain.facilities.balance_history import (
    BALANCE_RULES,
    BalanceHistory,
    derive_balance_history,
)
from spawn.domain.facilities.facility import Facility, FacilityRepayment
from spawn.domain.facilities.ledger import EntryKind, LedgerEntry, select_entries
from spawn.domain.facilities.ledger_fold import fold
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

FACILITIES = (
    a_short_facility(),
    a_short_facility(
        "30E/360",
        is_revolving=True,
        payment_dates=PaymentDateTerms(
            start=START, end=END, frequency=PaymentFrequency.SEMI_ANNUAL
        ),
    ),
    a_short_facility(
        repayment=FacilityRepayment(
            profile="straight_line",
            interest_base="fixed",
            interest_base_dates=(date(2027, 3, 31),),
        )
    ),
)


@pytest.mark.parametrize("facility", FACILITIES, ids=["term", "revolving", "fixed base"])
@pytest.mark.parametrize("seed", range(6))
def test_a_history_equals_the_fold_on_every_day_and_at_every_instant(
    facility: Facility, seed: int
) -> None:
    recorded = random_ledger(facility, seed, 40)
    assert any(each.entry.reverses is not None for each in recorded) or seed
    for hours in (0, 7, 19, 40):
        as_of = NOON + timedelta(hours=hours)
        history = derive_balance_history(facility, select_entries(recorded, None, as_of))
        days = {START - timedelta(1), END + timedelta(400), facility.availability_end}
        days |= {each.entry.value_date + timedelta(n) for each in recorded for n in (-1, 0, 1)}
        for day in days:
            position = fold(facility, select_entries(recorded, day, as_of), day)
            amounts = (int(position.balance * 100), int(position.undrawn * 100))
            assert history.measure(facility, day) == amounts


def test_a_history_without_entries_has_the_commitment_until_the_availability_ends() -> None:
    facility = a_short_facility()
    assert BalanceHistory().measure(facility, START) == (0, 500_000)
    late = facility.availability_end + timedelta(1)
    assert BalanceHistory().measure(facility, late) == (0, 0)


def test_a_stored_history_keeps_amounts_of_any_size() -> None:
    largest = Decimal("9999999999999999.99")
    facility = msgspec.structs.replace(a_short_facility(), commitment=largest)
    entry = LedgerEntry(
        kind=EntryKind.DRAW,
        value_date=START,
        amount=largest,
        entry_id="f.1",
        facility_id="f",
        project_id="p",
        number=1,
        currency_code="EUR",
    )
    history = derive_balance_history(facility, [entry])
    stored = msgspec.json.decode(msgspec.json.encode(history), type=BalanceHistory)
    assert stored.measure(facility, START) == (999_999_999_999_999_999, 0)


def test_another_result_of_the_fold_has_other_rules() -> None:
    """Stored histories are derived again only if `BALANCE_RULES` is another number."""
    digest = hashlib.sha256()
    for facility in FACILITIES:
        recorded = random_ledger(facility, 1, 40)
        history = derive_balance_history(facility, select_entries(recorded))
        digest.update(msgspec.json.encode(history))
    assert (BALANCE_RULES, digest.hexdigest()[:16]) == (5, "b2f3ccad095f9bad")
