"""Actual CFADS: facts of periods that never share a day, corrected with a reason."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from spawn.domain.covenants.cfads_actuals import (
    ActualPeriod,
    CfadsActuals,
    record_actuals,
    select_known,
)
from spawn.domain.errors import InvalidInput

pytestmark = pytest.mark.core

EMPTY = CfadsActuals(project_id="p-1", currency_code="EUR")


def a_fact(start: str, end: str, **fields: Any) -> ActualPeriod:
    days = {"starts_on": date.fromisoformat(start), "ends_on": date.fromisoformat(end)}
    return ActualPeriod(**{**days, "cfads": Decimal(5), **fields})


JANUARY = a_fact("2027-01-01", "2027-01-31")


def errors_of(actuals: CfadsActuals, *facts: ActualPeriod) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        record_actuals(actuals, facts, version=2)
    return [(error.pointer, error.code) for error in caught.value.errors]


def test_facts_are_in_the_order_of_dates_and_may_leave_gaps() -> None:
    march = a_fact("2027-03-01", "2027-03-31")
    actuals = record_actuals(EMPTY, (march, JANUARY), version=1)
    assert [period.starts_on.month for period in actuals.periods] == [1, 3]
    assert {period.recorded_version for period in actuals.periods} == {1}
    assert str(actuals.periods[0].cfads) == "5.00"
    known = select_known(actuals, date(2027, 3, 30))
    assert [period.starts_on.month for period in known] == [1]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2027-01-31", "2027-02-27"),
        ("2026-12-02", "2027-01-01"),
        ("2027-01-10", "2027-01-10"),
        ("2026-12-01", "2027-02-28"),
    ],
)
def test_two_facts_share_no_day(start: str, end: str) -> None:
    actuals = record_actuals(EMPTY, (JANUARY,), version=1)
    overlap = [("/periods/0/starts_on", "overlap")]
    assert errors_of(actuals, a_fact(start, end)) == overlap
    beside = (a_fact("2027-02-01", "2027-02-28"), a_fact("2026-12-01", "2026-12-31"))
    assert len(record_actuals(actuals, beside, version=2).periods) == 3


def test_a_correction_has_a_reason_and_is_the_only_fact_of_its_days() -> None:
    actuals = record_actuals(EMPTY, (JANUARY,), version=1)
    assert errors_of(actuals, JANUARY) == [("/periods/0/reason", "required")]
    corrected = a_fact("2027-01-01", "2027-01-31", cfads=Decimal(6), reason="audit")
    after = record_actuals(actuals, (corrected,), version=2)
    assert [(str(p.cfads), p.recorded_version) for p in after.periods] == [("6.00", 2)]
    twice = errors_of(EMPTY, JANUARY, JANUARY)
    assert twice == [("/periods/1/starts_on", "duplicate")]


def test_every_invalid_fact_is_named() -> None:
    backwards = a_fact("2027-02-28", "2027-02-01")
    precise = a_fact("2027-03-01", "2027-03-31", cfads=Decimal("0.001"), evidence="")
    assert errors_of(EMPTY, backwards, precise) == [
        ("/periods/0/ends_on", "date_order"),
        ("/periods/1/cfads", "too_precise"),
        ("/periods/1/evidence", "empty"),
    ]
