"""The rules of a ledger: fields of each kind, limits on every day, reversals, closed periods."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.domain.facilities.facility_terms import END, START, a_facility, a_grant, a_term_sheet
from tests.domain.facilities.ledger_builder import LedgerBuilder

from spawn.domain.errors import Conflict, Duplicate, Infeasible, InvalidInput, NotFound
from spawn.domain.facilities.facility import (
    DatedMargin,
    FacilityFees,
    FacilityRepayment,
    RateBasis,
)
from spawn.domain.facilities.facility_rules import propose_facility
from spawn.domain.facilities.ledger import EntryKind, WaivedPart
from spawn.domain.facilities.ledger_rules import check_amendment
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

pytestmark = pytest.mark.core
MAY, JUNE, JULY = date(2026, 5, 4), date(2026, 6, 1), date(2026, 7, 1)


@pytest.fixture
def ledger() -> LedgerBuilder:
    """The ledger of a loan of 1,000,000 at 4 %, without entries."""
    return LedgerBuilder(a_facility())


def rejected(ledger: LedgerBuilder, *args: Any, **members: Any) -> tuple[str, str, str]:
    with pytest.raises(InvalidInput) as caught:
        ledger.add(*args, **members)
    error = caught.value.errors[0]
    return error.pointer, error.code, error.detail


FIELD_ERRORS: list[tuple[EntryKind, str | None, dict[str, Any], tuple[str, str]]] = [
    (EntryKind.DRAW, None, {}, ("/amount", "missing")),
    (EntryKind.DRAW, "0", {}, ("/amount", "not_positive")),
    (EntryKind.DRAW, "-5", {}, ("/amount", "not_positive")),
    (EntryKind.DRAW, "0.001", {}, ("/amount", "too_precise")),
    (EntryKind.DRAW, "NaN", {}, ("/amount", "not_finite")),
    (EntryKind.DRAW, "1", {"rate": Decimal(1)}, ("/rate", "not_applicable")),
    (EntryKind.DRAW, "1", {"waived": WaivedPart.FEES}, ("/waived", "not_applicable")),
    (EntryKind.DRAW, "1", {"effect": "shorten"}, ("/effect", "not_applicable")),
    (EntryKind.DRAW, "1", {"external_key": " "}, ("/external_key", "empty")),
    (EntryKind.DRAW, "1", {"reason": " "}, ("/reason", "empty")),
    (EntryKind.WAIVER, "1", {}, ("/waived", "missing")),
    (EntryKind.RATE_FIXING, None, {"rate": Decimal("0.01")}, ("/kind", "not_applicable")),
    (EntryKind.CLOSING, "1", {}, ("/amount", "not_applicable")),
    (EntryKind.REVERSAL, "1", {}, ("/kind", "not_applicable")),
    (
        EntryKind.OPENING,
        "1",
        {"accrued_interest": Decimal(-1)},
        ("/accrued_interest", "out_of_range"),
    ),
]


@pytest.mark.parametrize(("kind", "amount", "members", "error"), FIELD_ERRORS)
def test_each_kind_has_its_fields(
    ledger: LedgerBuilder,
    kind: EntryKind,
    amount: str | None,
    members: dict[str, Any],
    error: tuple[str, str],
) -> None:
    assert rejected(ledger, kind, MAY, amount, **members)[:2] == error


def test_a_draw_falls_in_the_availability_period(ledger: LedgerBuilder) -> None:
    for day in (date(2026, 3, 30), date(2028, 1, 1)):
        pointer, code, detail = rejected(ledger, EntryKind.DRAW, day, "1")
        assert (pointer, code) == ("/value_date", "outside_availability")
        assert "from 2026-03-31 to 2027-12-31" in detail
    ledger.add(EntryKind.DRAW, date(2027, 12, 31), "1")


def test_the_commitment_binds_on_every_day(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, JULY, "600000.00")
    pointer, code, detail = rejected(ledger, EntryKind.DRAW, MAY, "400000.01")
    assert (pointer, code) == ("/amount", "exceeds_commitment")
    assert "2026-07-01" in detail
    ledger.add(EntryKind.DRAW, MAY, "400000.00")
    # What is repaid cannot be drawn again, and a cancellation binds from its day on.
    ledger.add(EntryKind.PREPAYMENT, JULY, "500000.00")
    assert rejected(ledger, EntryKind.DRAW, JULY, "1")[1] == "exceeds_commitment"
    assert rejected(ledger, EntryKind.CANCELLATION, MAY, "0.01")[1] == "exceeds_commitment"


def test_a_payment_of_more_than_is_owed_names_the_day(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, MAY, "100.00")
    ledger.add(EntryKind.PREPAYMENT, JULY, "100.00")
    pointer, code, detail = rejected(ledger, EntryKind.PAYMENT, JUNE, "1.00")
    assert (pointer, code) == ("/amount", "negative_balance")
    assert "-1.00 on 2026-07-01" in detail


def test_a_waiver_or_capitalisation_is_of_what_is_owed(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, START, "100.00")
    for kind, members in (
        (EntryKind.CAPITALISATION, {}),
        (EntryKind.WAIVER, {"waived": WaivedPart.INTEREST}),
        (EntryKind.WAIVER, {"waived": WaivedPart.FEES}),
        (EntryKind.WAIVER, {"waived": WaivedPart.PRINCIPAL}),
    ):
        assert rejected(ledger, kind, JUNE, "100.01", **members)[1] == "exceeds_due"


def test_a_reversal_has_the_same_day_and_the_opposite_amount(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, MAY, "100.00")
    reversal = ledger.reverse(1)
    assert (reversal.value_date, reversal.amount) == (MAY, Decimal("-100.00"))
    assert (reversal.kind, reversal.reverses) == (EntryKind.REVERSAL, 1)
    assert ledger.fold(JULY).balance == 0
    assert ledger.fold(JULY, as_of=ledger.recorded[0].recorded_at).balance == 100


def test_an_entry_is_reversed_once_and_a_reversal_never(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, MAY, "100.00")
    ledger.reverse(1)
    with pytest.raises(Conflict, match="by entry 2"):
        ledger.reverse(1)
    with pytest.raises(Conflict, match="Entry 2 is a reversal"):
        ledger.reverse(2)
    for number in (0, 3):
        with pytest.raises(NotFound):
            ledger.reverse(number)


def test_a_reversal_that_breaks_a_later_day_is_rejected(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, MAY, "100.00")
    ledger.add(EntryKind.PREPAYMENT, JULY, "100.00")
    with pytest.raises(Infeasible, match="2026-07-01"):
        ledger.reverse(1)
    ledger.reverse(2)
    ledger.reverse(1)


def test_an_external_key_is_unique_in_its_ledger(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, MAY, "1", external_key="D-1")
    with pytest.raises(Duplicate):
        ledger.add(EntryKind.DRAW, MAY, "1", external_key="D-1")
    LedgerBuilder(ledger.facility).add(EntryKind.DRAW, MAY, "1", external_key="D-1")


def test_a_fee_falls_in_the_time_of_the_facility(ledger: LedgerBuilder) -> None:
    found = rejected(ledger, EntryKind.FEE, date(2026, 3, 30), "5.00")
    assert found[:2] == ("/value_date", "out_of_range")
    assert ledger.add(EntryKind.FEE, START, "5.00").number == 1
    assert ledger.add(EntryKind.FEE, date(2040, 1, 1), "5.00").number == 2  # the loan is overdue


def test_an_entry_in_a_closed_period_is_a_restatement_with_a_reason(
    ledger: LedgerBuilder,
) -> None:
    ledger.add(EntryKind.CLOSING, JUNE)
    assert rejected(ledger, EntryKind.DRAW, JUNE, "1")[:2] == ("/reason", "missing")
    assert ledger.add(EntryKind.DRAW, JUNE, "1", reason="late notice").is_restatement
    assert not ledger.add(EntryKind.DRAW, date(2026, 6, 2), "1").is_restatement
    assert rejected(ledger, EntryKind.CLOSING, MAY, reason="x")[:2] == (
        "/value_date",
        "out_of_order",
    )
    # Reversing the closing opens the periods again; it is a restatement itself.
    assert ledger.reverse(1).is_restatement
    assert not ledger.add(EntryKind.DRAW, JUNE, "1").is_restatement


def test_an_opening_position_comes_first_and_once(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.OPENING, JUNE, "500.00", accrued_interest=Decimal("3.21"))
    position = ledger.fold(JUNE)
    assert (position.balance, position.accrued_interest) == (Decimal(500), Decimal("3.21"))
    with pytest.raises(Conflict, match="entry 1"):
        ledger.add(EntryKind.OPENING, JUNE, "1", accrued_interest=Decimal(0))
    assert rejected(ledger, EntryKind.DRAW, MAY, "1")[:2] == ("/value_date", "out_of_order")
    other = LedgerBuilder(ledger.facility)
    other.add(EntryKind.DRAW, MAY, "1")
    interest = Decimal(0)
    late = rejected(other, EntryKind.OPENING, JUNE, "1", accrued_interest=interest)
    assert late[:2] == ("/value_date", "out_of_order")
    early = rejected(other, EntryKind.OPENING, date(2026, 3, 30), "1", accrued_interest=interest)
    assert early[1] == "out_of_range"


def test_an_opening_position_within_a_period_states_its_interest(ledger: LedgerBuilder) -> None:
    assert rejected(ledger, EntryKind.OPENING, JUNE, "1")[:2] == ("/accrued_interest", "missing")
    ledger.add(EntryKind.OPENING, JUNE, "1", accrued_interest=Decimal(0))
    for day in (START, date(2026, 9, 30)):
        LedgerBuilder(ledger.facility).add(EntryKind.OPENING, day, "1")
    without_interest = LedgerBuilder(a_facility(rate=RateBasis(fixed_rate=Decimal(0))))
    without_interest.add(EntryKind.OPENING, JUNE, "1")
    grant = LedgerBuilder(propose_facility("f-1", "p-1", a_grant()))
    error = rejected(grant, EntryKind.OPENING, JUNE, "1", accrued_interest=Decimal(5))
    assert error[:2] == ("/accrued_interest", "not_applicable")
    grant.add(EntryKind.OPENING, JUNE, "1")


def test_an_opening_position_does_not_tell_the_share_of_a_balloon() -> None:
    share = FacilityRepayment(profile="straight_line", balloon_share=Decimal("0.3"))
    assert rejected(LedgerBuilder(a_facility(repayment=share)), EntryKind.OPENING, START, "1")[
        :2
    ] == ("/kind", "ambiguous")
    amount = FacilityRepayment(profile="straight_line", balloon=Decimal(300_000))
    ledger = LedgerBuilder(a_facility(repayment=amount))
    ledger.add(EntryKind.OPENING, START, "650000.00")
    with pytest.raises(InvalidInput) as caught:
        check_amendment(ledger.facility, a_facility(repayment=share), ledger.recorded)
    assert [one.pointer for one in caught.value.errors] == ["/repayment/balloon_share"]


def test_new_dates_of_payment_do_not_put_an_opening_position_within_a_period() -> None:
    ledger = LedgerBuilder(a_facility())
    ledger.add(EntryKind.OPENING, date(2026, 9, 30), "1")
    yearly = PaymentDateTerms(start=START, end=END, frequency=PaymentFrequency.ANNUAL)
    after = a_facility(payment_dates=yearly, repayment=FacilityRepayment(profile="bullet"))
    with pytest.raises(InvalidInput) as caught:
        check_amendment(ledger.facility, after, ledger.recorded)
    assert [one.pointer for one in caught.value.errors] == ["/payment_dates"]


EARLY_KINDS = [
    (EntryKind.CANCELLATION, {"amount": "1"}),
    (EntryKind.CLOSING, {}),
    (EntryKind.FEE, {"amount": "1"}),
    (EntryKind.PAYMENT, {"amount": "1"}),
    (EntryKind.PREPAYMENT, {"amount": "1"}),
    (EntryKind.CAPITALISATION, {"amount": "1"}),
    (EntryKind.WAIVER, {"amount": "1", "waived": WaivedPart.FEES}),
]


@pytest.mark.parametrize(("kind", "members"), EARLY_KINDS, ids=[kind for kind, _ in EARLY_KINDS])
def test_an_entry_falls_in_the_life_of_its_facility(
    ledger: LedgerBuilder, kind: EntryKind, members: dict[str, Any]
) -> None:
    ledger.today = date(2026, 12, 1)
    early = rejected(ledger, kind, date(1990, 1, 1), **members)
    assert early[:2] == ("/value_date", "out_of_range")
    late = rejected(ledger, kind, date(2036, 4, 1), **members)
    is_closing = kind is EntryKind.CLOSING
    assert late[:2] == ("/value_date", "in_the_future" if is_closing else "out_of_range")


def test_a_payment_after_the_maturity_is_late_and_not_in_the_future(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, MAY, "100.00")
    ledger.today = date(2036, 4, 1)
    ledger.add(EntryKind.PAYMENT, date(2036, 4, 1), "1.00")
    assert rejected(ledger, EntryKind.PAYMENT, date(2036, 4, 2), "1")[1] == "out_of_range"


def test_a_period_is_closed_when_it_is_over(ledger: LedgerBuilder) -> None:
    ledger.today = JUNE
    assert rejected(ledger, EntryKind.CLOSING, JULY)[:2] == ("/value_date", "in_the_future")
    ledger.add(EntryKind.CLOSING, JUNE)


def test_a_floating_balance_needs_a_fixing_on_every_day() -> None:
    ledger = LedgerBuilder(a_facility(rate=RateBasis(curve="EURIBOR-6M", margin=Decimal("0.01"))))
    assert rejected(ledger, EntryKind.DRAW, MAY, "1")[:2] == ("/value_date", "no_rate")
    ledger.add(EntryKind.RATE_FIXING, MAY, rate=Decimal("0.02"))
    ledger.add(EntryKind.DRAW, MAY, "1")
    with pytest.raises(Conflict, match="Entry 1 fixes"):
        ledger.add(EntryKind.RATE_FIXING, MAY, rate=Decimal("0.03"))
    with pytest.raises(Infeasible, match="2026-05-04"):
        ledger.reverse(1)
    assert str(ledger.fold(MAY).annual_rate) == "0.03"
    too_precise = Decimal("0.0000000000001")
    assert rejected(ledger, EntryKind.RATE_FIXING, JUNE, rate=too_precise)[1] == "too_precise"


def test_a_grant_is_drawn_and_cancelled_and_bears_nothing() -> None:
    ledger = LedgerBuilder(propose_facility("f-1", "p-1", a_grant()))
    ledger.add(EntryKind.DRAW, MAY, "1000.00")
    ledger.add(EntryKind.CANCELLATION, JUNE, "999000.00")
    position = ledger.fold(date(2040, 1, 1))
    assert position.balance == 1_000
    assert position.undrawn == position.accrued_interest == 0
    assert rejected(ledger, EntryKind.PAYMENT, JULY, "1")[:2] == ("/kind", "not_applicable")


def test_amended_terms_keep_the_ledger_valid(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, MAY, "100.00")
    before = ledger.facility

    def amend(**terms: Any) -> None:
        after = propose_facility("f-1", "p-1", a_term_sheet(**terms))
        check_amendment(before, after, ledger.recorded)

    amend(commitment=Decimal(100), rank=2)
    with pytest.raises(Infeasible, match="2026-05-04"):
        amend(commitment=Decimal(99))
    with pytest.raises(InvalidInput, match="availability"):
        amend(availability_start=JUNE)
    with pytest.raises(InvalidInput, match="currency_code"):
        amend(currency_code="USD")


def test_an_amendment_names_the_term_that_the_ledger_contradicts(ledger: LedgerBuilder) -> None:
    ledger.add(EntryKind.DRAW, MAY, "100")

    def pointer_of(**terms: Any) -> str:
        with pytest.raises(InvalidInput) as caught:
            check_amendment(ledger.facility, a_facility(**terms), ledger.recorded)
        return caught.value.errors[0].pointer

    assert pointer_of(commitment=Decimal(99)) == "/commitment"
    assert pointer_of(rate=RateBasis(curve="EURIBOR-6M")) == "/rate/curve"
    assert pointer_of(availability_start=JUNE) == "/availability_start"


def test_terms_do_not_change_the_figures_of_closed_periods() -> None:
    steps = (DatedMargin(from_date=JULY, margin=Decimal("0.02")),)
    rate = RateBasis(curve="EURIBOR-6M", margin=Decimal("0.01"))
    ledger = LedgerBuilder(a_facility(rate=rate))
    ledger.add(EntryKind.RATE_FIXING, MAY, rate=Decimal("0.03"))
    ledger.add(EntryKind.DRAW, MAY, "100000")

    def amend(**terms: Any) -> None:
        check_amendment(ledger.facility, a_facility(**{"rate": rate, **terms}), ledger.recorded)

    amend(rate=RateBasis(curve="EURIBOR-6M", margin=Decimal("0.02")))
    ledger.add(EntryKind.CLOSING, date(2026, 6, 30))
    amend(name="Term loan B", commitment=Decimal(2_000_000))
    amend(rate=RateBasis(curve="EURIBOR-6M", margin=Decimal("0.01"), margin_steps=steps))
    with pytest.raises(Conflict, match="closed"):
        amend(rate=RateBasis(curve="EURIBOR-6M", margin=Decimal("0.02")))
    with pytest.raises(Conflict, match="2026-06-30"):
        amend(fees=FacilityFees(upfront_fee=Decimal("0.01")))
    ledger.reverse(3)
    amend(rate=RateBasis(curve="EURIBOR-6M", margin=Decimal("0.02")))


def test_terms_do_not_change_the_arrears_of_closed_periods() -> None:
    ledger = LedgerBuilder(a_facility(repayment=FacilityRepayment(profile="straight_line")))
    ledger.add(EntryKind.DRAW, START, "1000.00")

    def amend(**terms: Any) -> None:
        check_amendment(
            ledger.facility, a_facility(repayment=FacilityRepayment(**terms)), ledger.recorded
        )

    # The first instalment of 50 is not paid.
    ledger.add(EntryKind.CLOSING, date(2026, 12, 31))
    with pytest.raises(Conflict, match="2026-12-31"):
        amend(profile="bullet")
    with pytest.raises(Conflict, match="closed"):
        amend(profile="straight_line", grace_periods=1)
    # Terms that make the same principal due until then are a matter of later periods.
    shares = (Decimal("0.05"), Decimal("0.95"), *(Decimal(0),) * 18)
    amend(profile="custom", custom_shares=shares)
    ledger.reverse(2)
    amend(profile="bullet")


def test_the_state_known_at_an_instant_never_changes(ledger: LedgerBuilder) -> None:
    instants, figures = [], []
    for number in range(1, 12):
        if number % 4 == 0:
            ledger.reverse(number - 1)
        else:
            ledger.add(EntryKind.DRAW, date(2026, 3 + number % 3 + 1, 5), f"{number}.00")
        instants.append(ledger.recorded[-1].recorded_at)
        figures.append(ledger.fold(date(2027, 1, 1)))
    for instant, figure in zip(instants, figures, strict=True):
        assert ledger.fold(date(2027, 1, 1), as_of=instant) == figure
    assert ledger.fold(date(2027, 1, 1), as_of=datetime(2020, 1, 1, tzinfo=UTC)).drawn == 0


def test_a_name_is_amended_beside_entries_that_an_earlier_rule_admitted() -> None:
    ledger = LedgerBuilder(a_facility())
    ledger.add(EntryKind.DRAW, MAY, "600000.00")
    smaller = a_facility(commitment=Decimal(500_000))
    check_amendment(smaller, a_facility(commitment=smaller.commitment, name="B"), ledger.recorded)
    with pytest.raises(Infeasible, match="the commitment then is"):
        check_amendment(smaller, a_facility(commitment=Decimal(400_000)), ledger.recorded)
