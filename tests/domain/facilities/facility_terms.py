"""Terms of facilities for tests."""

from datetime import date
from decimal import Decimal
from typing import Any

from spawn.domain.facilities.facility import (
    Facility,
    FacilityKind,
    FacilityRepayment,
    FacilityTermSheet,
    LenderShare,
    RateBasis,
)
from spawn.domain.facilities.facility_rules import propose_facility
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

START, END = date(2026, 3, 31), date(2036, 3, 31)


def some_lenders(*shares: str) -> tuple[LenderShare, ...]:
    return tuple(
        LenderShare(lender=f"Bank {number}", share=Decimal(share))
        for number, share in enumerate(shares, start=1)
    )


def a_term_sheet(**terms: Any) -> FacilityTermSheet:
    """Return the terms of a loan of ten years in euros at 4 %, with other terms in their place."""
    members: dict[str, Any] = {
        "name": "Term loan A",
        "kind": FacilityKind.SENIOR,
        "currency_code": "EUR",
        "commitment": Decimal(1_000_000),
        "availability_start": START,
        "availability_end": date(2027, 12, 31),
        "lenders": some_lenders("60", "40"),
        "rate": RateBasis(fixed_rate=Decimal("0.04")),
        "payment_dates": PaymentDateTerms(
            start=START, end=END, frequency=PaymentFrequency.SEMI_ANNUAL
        ),
        "repayment": FacilityRepayment(profile="straight_line", grace_periods=4),
        **terms,
    }
    return FacilityTermSheet(**members)


def a_grant(**terms: Any) -> FacilityTermSheet:
    """Return the terms of a grant, with other terms in their place."""
    debt = dict.fromkeys(("rate", "payment_dates", "repayment"))
    return a_term_sheet(**{"kind": FacilityKind.GRANT, **debt, **terms})


def a_facility(**terms: Any) -> Facility:
    return propose_facility("f-1", "p-1", a_term_sheet(**terms))
