"""The rules of a facility's terms: each violation is named, and every valid term is kept."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.domain.facilities.facility_terms import (
    END,
    START,
    a_facility,
    a_grant,
    a_term_sheet,
    some_lenders,
)

from spawn.domain.errors import InvalidInput
from spawn.domain.facilities.facility import (
    DatedLenders,
    DatedMargin,
    Facility,
    FacilityFees,
    FacilityKind,
    FacilityRepayment,
    FacilityTermSheet,
    LenderShare,
    RateBasis,
)
from spawn.domain.facilities.facility_rules import (
    amend_facility,
    list_changed_terms,
    propose_facility,
)
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

pytestmark = pytest.mark.core


def list_errors(terms: FacilityTermSheet) -> set[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        propose_facility("f-1", "p-1", terms)
    return {(error.pointer, error.code) for error in caught.value.errors}


def test_a_loan_gets_its_maturity_and_amounts_at_their_scale() -> None:
    fees = FacilityFees(agency_fee=Decimal(25_000))
    facility = a_facility(commitment=Decimal("90000000.5"), fees=fees)
    assert facility.maturity_date == END
    assert str(facility.commitment) == "90000000.50"
    assert str(facility.fees.agency_fee) == "25000.00"


def test_the_maturity_is_the_last_payment_date_after_adjustment() -> None:
    dates = (START, date(2027, 3, 31), date(2028, 4, 3))
    facility = a_facility(payment_dates=None, dates=dates, repayment=a_bullet())
    assert facility.maturity_date == date(2028, 4, 3)


def a_bullet() -> FacilityRepayment:
    return FacilityRepayment(profile="bullet")


@pytest.mark.parametrize("kind", [FacilityKind.GRANT, FacilityKind.EQUITY])
def test_a_grant_or_equity_has_no_terms_of_debt(kind: FacilityKind) -> None:
    assert propose_facility("f-1", "p-1", a_grant(kind=kind)).maturity_date is None
    assert list_errors(a_term_sheet(kind=kind)) == {
        ("/rate", "not_applicable"),
        ("/payment_dates", "not_applicable"),
        ("/repayment", "not_applicable"),
    }


def lenders_named(*names: str) -> tuple[LenderShare, ...]:
    return tuple(LenderShare(lender=name, share=Decimal(100) / len(names)) for name in names)


def test_a_grant_has_no_fees_that_nobody_can_pay() -> None:
    fees = FacilityFees(
        upfront_fee=Decimal("0.01"), commitment_fee=Decimal("0.01"), agency_fee=Decimal(1)
    )
    assert list_errors(a_grant(fees=fees, is_revolving=True)) == {
        ("/fees/upfront_fee", "not_applicable"),
        ("/fees/commitment_fee", "not_applicable"),
        ("/fees/agency_fee", "not_applicable"),
        ("/is_revolving", "not_applicable"),
    }


def a_step(from_date: date) -> RateBasis:
    steps = (DatedMargin(from_date=from_date, margin=Decimal("0.02")),)
    return RateBasis(curve="EURIBOR-6M", margin_steps=steps)


def a_transfer(from_date: date) -> tuple[DatedLenders, ...]:
    return (DatedLenders(from_date=from_date, lenders=some_lenders("100")),)


def test_steps_within_the_life_of_a_loan_are_accepted() -> None:
    facility = a_facility(rate=a_step(date(2036, 3, 30)), lender_steps=a_transfer(END))
    assert facility.lender_steps[0].from_date == END
    capitalised = FacilityRepayment(profile="bullet", grace_periods=3, grace="capitalised")
    assert a_facility(repayment=capitalised).repayment == capitalised


STEPS = (
    DatedMargin(from_date=date(2030, 1, 1), margin=Decimal("0.02")),
    DatedMargin(from_date=date(2030, 1, 1), margin=Decimal("0.03")),
)
VIOLATIONS: list[tuple[dict[str, Any], set[tuple[str, str]]]] = [
    ({"commitment": Decimal(0)}, {("/commitment", "not_positive")}),
    ({"commitment": Decimal("0.001")}, {("/commitment", "too_precise")}),
    ({"commitment": Decimal("NaN")}, {("/commitment", "not_finite")}),
    ({"currency_code": "XXQ"}, {("/currency_code", "unknown_currency")}),
    ({"name": " "}, {("/name", "empty")}),
    ({"name": "Loan\u202eA"}, {("/name", "invisible_character")}),
    (
        {"lenders": lenders_named("A\u200bB", "AB")},
        {("/lenders/0/lender", "invisible_character")},
    ),
    # One name in two normalization forms.
    ({"lenders": lenders_named("Caf\u00e9", "Cafe\u0301")}, {("/lenders/1/lender", "duplicate")}),
    ({"rank": 0}, {("/rank", "out_of_range")}),
    ({"availability_end": date(2026, 3, 30)}, {("/availability_end", "out_of_order")}),
    ({"availability_end": END}, {("/availability_end", "out_of_order")}),
    ({"availability_start": date(2026, 3, 30)}, {("/availability_start", "out_of_order")}),
    ({"maturity_date": date(2036, 4, 1)}, {("/maturity_date", "contradiction")}),
    ({"lenders": ()}, {("/lenders", "wrong_length")}),
    ({"lenders": some_lenders("33.33", "33.33", "33.33")}, {("/lenders", "not_a_hundred")}),
    ({"lenders": some_lenders("100", "0")}, {("/lenders/1/share", "not_positive")}),
    ({"lenders": some_lenders("50.0000000000001", "50")}, {("/lenders/0/share", "too_precise")}),
    ({"rate": None}, {("/rate", "missing")}),
    ({"repayment": None}, {("/repayment", "missing")}),
    ({"payment_dates": None}, {("/payment_dates", "missing")}),
    ({"rate": RateBasis()}, {("/rate/fixed_rate", "ambiguous")}),
    (
        {"rate": RateBasis(fixed_rate=Decimal("0.05"), curve="EURIBOR-6M")},
        {("/rate/fixed_rate", "ambiguous")},
    ),
    (
        {"rate": RateBasis(fixed_rate=Decimal("0.05"), margin=Decimal("0.01"))},
        {("/rate/margin", "not_applicable")},
    ),
    (
        {"rate": RateBasis(curve="EURIBOR-6M", margin_steps=STEPS)},
        {("/rate/margin_steps/1/from_date", "out_of_order")},
    ),
    ({"rate": a_step(START)}, {("/rate/margin_steps/0/from_date", "out_of_range")}),
    ({"rate": a_step(END)}, {("/rate/margin_steps/0/from_date", "out_of_range")}),
    (
        {"lender_steps": a_transfer(date(2036, 4, 1))},
        {("/lender_steps/0/from_date", "out_of_range")},
    ),
    (
        {"repayment": FacilityRepayment(profile="bullet", grace_periods=3)},
        {("/repayment/grace_periods", "not_applicable")},
    ),
    (
        {
            "is_revolving": True,
            "repayment": FacilityRepayment(profile="straight_line", balloon_share=Decimal("0.3")),
        },
        {("/repayment/balloon_share", "not_applicable")},
    ),
    ({"fees": FacilityFees(upfront_fee=Decimal(2))}, {("/fees/upfront_fee", "out_of_range")}),
    ({"day_count": "ACT/361"}, {("/day_count", "unknown_day_count")}),
    (
        {"repayment": FacilityRepayment(profile="sculpted")},
        {("/repayment/profile", "not_applicable")},
    ),
    (
        {"repayment": FacilityRepayment(profile="straight_line", grace_periods=20)},
        {("/repayment/grace_periods", "out_of_range")},
    ),
    (
        {"repayment": FacilityRepayment(profile="bullet", custom_shares=(Decimal(1),))},
        {("/repayment/custom_shares", "not_applicable")},
    ),
]


@pytest.mark.parametrize(("terms", "errors"), VIOLATIONS, ids=[str(v[1]) for v in VIOLATIONS])
def test_each_violation_is_named(terms: dict[str, Any], errors: set[tuple[str, str]]) -> None:
    assert list_errors(a_term_sheet(**terms)) == errors


def test_every_violation_of_general_terms_is_named_at_once() -> None:
    terms = a_term_sheet(commitment=Decimal(-1), rank=99, lenders=some_lenders("99"))
    assert list_errors(terms) == {
        ("/commitment", "not_positive"),
        ("/rank", "out_of_range"),
        ("/lenders", "not_a_hundred"),
    }


def test_shares_of_lenders_add_up_exactly() -> None:
    shares = ("33.333333333333", "33.333333333333", "33.333333333334")
    assert len(a_facility(lenders=some_lenders(*shares)).lenders) == 3


def test_an_amendment_names_the_terms_that_it_changes() -> None:
    before = a_facility()
    after = amend_facility(before, a_term_sheet(rank=2, commitment=Decimal("1000000.00")))
    assert list_changed_terms(before, after) == ("rank",)
    assert after.facility_id == before.facility_id


def test_the_calculators_check_payment_dates() -> None:
    dates = PaymentDateTerms(start=END, end=START, frequency=PaymentFrequency.ANNUAL)
    assert ("/payment_dates/end", "not_increasing") in list_errors(
        a_term_sheet(payment_dates=dates)
    )


def a_stored_facility(terms: FacilityTermSheet) -> Facility:
    """Return a facility as an earlier release stored it, without the rules of today."""
    members = {name: getattr(terms, name) for name in FacilityTermSheet.__struct_fields__}
    return Facility(facility_id="f-1", project_id="p-1", **members)


@pytest.mark.parametrize(
    ("terms", "pointer"),
    [
        (a_grant(fees=FacilityFees(agency_fee=Decimal(10))), "/fees/agency_fee"),
        (
            a_term_sheet(repayment=FacilityRepayment(profile="bullet", grace_periods=2)),
            "/repayment/grace_periods",
        ),
        (
            a_term_sheet(
                is_revolving=True,
                repayment=FacilityRepayment(profile="straight_line", balloon_share=Decimal("0.3")),
            ),
            "/repayment/balloon_share",
        ),
        (a_term_sheet(rate=a_step(START)), "/rate/margin_steps/0/from_date"),
        (a_term_sheet(lender_steps=a_transfer(date(2040, 1, 1))), "/lender_steps/0/from_date"),
        (
            a_term_sheet(lenders=(LenderShare(lender="A\u200bB", share=Decimal(100)),)),
            "/lenders/0/lender",
        ),
        (a_term_sheet(lenders=lenders_named("Caf\u00e9", "Cafe\u0301")), "/lenders/1/lender"),
    ],
)
def test_terms_of_an_earlier_release_break_no_later_rule_while_they_stay(
    terms: FacilityTermSheet, pointer: str
) -> None:
    facility = a_stored_facility(terms)
    assert amend_facility(facility, terms) is facility
    amendment = amend_facility(facility, msgspec.structs.replace(terms, name="B"))
    assert "name" in list_changed_terms(facility, amendment)
    assert set(list_changed_terms(facility, amendment)) <= {"name", "maturity_date"}
    # Where the term itself changes, the rule holds.
    name = pointer.split("/")[1]
    other = {
        "fees": FacilityFees(agency_fee=Decimal(11)),
        "repayment": terms.repayment
        and msgspec.structs.replace(terms.repayment, allow_negative_amortisation=True),
        "rate": terms.rate and msgspec.structs.replace(terms.rate, margin=Decimal("0.03")),
        "lender_steps": a_transfer(date(2041, 1, 1)),
        "lenders": tuple(
            msgspec.structs.replace(one, lender=f"{one.lender}!") for one in terms.lenders
        ),
    }[name]
    with pytest.raises(InvalidInput) as caught:
        amend_facility(facility, msgspec.structs.replace(terms, **{name: other}))
    assert pointer in {error.pointer for error in caught.value.errors}


def test_a_term_that_stays_keeps_the_form_in_which_it_is_stored() -> None:
    terms = a_term_sheet(lenders=(LenderShare(lender="Cafe\u0301", share=Decimal(100)),))
    facility = a_stored_facility(terms)
    amendment = amend_facility(facility, msgspec.structs.replace(terms, name="B"))
    assert amendment.lenders == facility.lenders
