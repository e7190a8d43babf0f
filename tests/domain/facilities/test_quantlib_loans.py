"""Loans that float and amortise, with a reset each period, against the bonds of QuantLib."""

from datetime import date
from decimal import Decimal

import pytest
import QuantLib as ql  # type: ignore[import-untyped]  # noqa: N813 - as its manual does
from tests.domain.facilities.facility_terms import a_facility
from tests.domain.facilities.ledger_builder import LedgerBuilder

from spawn.domain.facilities.facility import FacilityRepayment, RateBasis
from spawn.domain.facilities.ledger import EntryKind
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, BusinessDayRule
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

START, END = date(2021, 5, 17), date(2026, 5, 17)
RATES = ("-0.0052", "-0.0041", "0.0013", "0.0187", "0.0298", "0.0371", "0.0395", "0.0388")
PRINCIPAL = 8_000_000
SPREAD = "0.0215"
DAY_COUNTS = {
    "ACT/360": ql.Actual360(),
    "ACT/365F": ql.Actual365Fixed(),
    "30E/360": ql.Thirty360(ql.Thirty360.European),
    "ACT/ACT ISDA": ql.ActualActual(ql.ActualActual.ISDA),
}


def to_ql(day: date) -> ql.Date:
    return ql.Date(day.day, day.month, day.year)


def build_bond_flows(day_count: ql.DayCounter) -> list[tuple[date, float, float]]:
    """Return payment date, interest and notional of each period of the amortising bond."""
    calendar = ql.WeekendsOnly()
    ql.Settings.instance().evaluationDate = to_ql(date(2026, 6, 1))
    schedule = ql.Schedule(
        to_ql(START),
        to_ql(END),
        ql.Period(6, ql.Months),
        calendar,
        ql.ModifiedFollowing,
        ql.ModifiedFollowing,
        ql.DateGeneration.Forward,
        False,  # noqa: FBT003 - a position of QuantLib's
    )
    index = ql.IborIndex(
        "desk",
        ql.Period(6, ql.Months),
        0,
        ql.EURCurrency(),
        calendar,
        ql.Following,
        False,  # noqa: FBT003 - a position of QuantLib's
        day_count,
    )
    index.clearFixings()
    starts = list(schedule)[:-1]
    for start, rate in zip(starts, _rates(len(starts)), strict=True):
        index.addFixing(start, float(rate))
    notionals = [PRINCIPAL * (1 - number / len(starts)) for number in range(len(starts))]
    leg = ql.IborLeg(
        notionals, schedule, index, day_count, ql.ModifiedFollowing, [0], [1.0], [float(SPREAD)]
    )
    return [
        (flow.date().to_date(), flow.amount(), notional)
        for flow, notional in zip(leg, notionals, strict=True)
    ]


def _rates(count: int) -> list[str]:
    return [RATES[number % len(RATES)] for number in range(count)]


@pytest.mark.parametrize("name", DAY_COUNTS)
def test_an_amortising_floating_loan_has_the_interest_of_its_bond(name: str) -> None:
    flows = build_bond_flows(DAY_COUNTS[name])
    facility = a_facility(
        commitment=Decimal(PRINCIPAL),
        availability_start=START,
        availability_end=START,
        day_count=name,
        rate=RateBasis(curve="desk", margin=Decimal(SPREAD)),
        repayment=FacilityRepayment(profile="straight_line"),
        payment_dates=PaymentDateTerms(
            start=START,
            end=END,
            frequency=PaymentFrequency.SEMI_ANNUAL,
            rule=BusinessDayRule.MODIFIED_FOLLOWING,
            calendar=BusinessCalendar(base="weekends"),
        ),
    )
    ledger = LedgerBuilder(facility)
    resets = [START, *(day for day, _, _ in flows[:-1])]
    for day, rate in zip(resets, _rates(len(flows)), strict=True):
        ledger.add(EntryKind.RATE_FIXING, day, rate=Decimal(rate))
    ledger.add(EntryKind.DRAW, START, f"{PRINCIPAL}.00")
    instalment = Decimal(PRINCIPAL) / len(flows)
    exact = 0.0
    paid = Decimal(0)
    for day, interest, notional in flows:
        position = ledger.fold(day)
        assert float(position.balance) == pytest.approx(notional, abs=1e-6)
        exact += interest
        paid += position.interest_due
        assert float(paid) == pytest.approx(exact, abs=0.0051)
        assert position.interest_overdue == 0
        ledger.add(EntryKind.PAYMENT, day, str(position.interest_due + instalment))
    assert ledger.fold(flows[-1][0]).balance == 0
    assert len(flows) == 10
