"""The Facility aggregate: the terms of a loan, a grant or equity that finances a project.

The terms are constant facts. Drawn amounts, balances, interest and arrears follow from them and
from the entries of the ledger, and are never stored. `propose_facility` and `amend_facility` are
the only ways to make a facility; both check every rule of `facility_rules`.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.finance.loans.loan_terms import (
    GraceInterest,
    InterestBase,
    RepaymentProfile,
    ResetEffect,
)
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms
from spawn.domain.schema_version import Value

FACILITY_KIND: Final = "facility"
"""Kind of the aggregate."""

FACILITY_CREATED_EVENT: Final = "facility.created"
FACILITY_AMENDED_EVENT: Final = "facility.amended"


class FacilityKind(StrEnum):
    """The kind of a facility; `grant` and `equity` bear no interest and are not repaid."""

    SENIOR = "senior"
    MEZZANINE = "mezzanine"
    SHAREHOLDER_LOAN = "shareholder_loan"
    VAT = "vat"
    EQUITY_BRIDGE = "equity_bridge"
    GRANT = "grant"
    EQUITY = "equity"

    @property
    def is_debt(self) -> bool:
        """Whether the facility is owed: it bears interest and is repaid."""
        return self not in {FacilityKind.GRANT, FacilityKind.EQUITY}


class DatedMargin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The margin from a date on, as a fraction per annum."""

    from_date: date
    margin: Decimal


class RateBasis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An annual rate: fixed, or a curve that the ledger fixes, with its floor and margins.

    With a `curve` the rate is max(fixing, floor) + margin; `margin_steps` replace the `margin` from
    their dates on. Rates are fractions per annum (0.045 is 4.5 %).
    """

    fixed_rate: Decimal | None = None
    curve: str | None = None
    margin: Decimal = Decimal(0)
    margin_steps: tuple[DatedMargin, ...] = ()
    floor: Decimal | None = None


class FacilityFees(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fees of a facility.

    `upfront_fee` is a share of the commitment, due at the start of the availability period.
    `commitment_fee` is a rate per annum on the undrawn commitment, due on the payment dates and at
    the end of the availability period. `agency_fee` is an amount, due at its start and each year.
    """

    upfront_fee: Decimal = Decimal(0)
    commitment_fee: Decimal = Decimal(0)
    agency_fee: Decimal = Decimal(0)


class LenderShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lender and its share of the commitment in per cent."""

    lender: str
    share: Decimal


class DatedLenders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lenders with their shares from a date on, as a transfer of a participation has them."""

    from_date: date
    lenders: tuple[LenderShare, ...]


class FacilityRepayment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The repayment of a facility; each term means what it means in a loan (`LoanOptions`).

    Profile `custom` repays `custom_shares` of what is drawn, one a period: a sculpted schedule in
    the form in which a facility agreement has it.
    """

    profile: RepaymentProfile
    balloon: Decimal | None = None
    balloon_share: Decimal | None = None
    grace_periods: int = 0
    grace: GraceInterest | None = None
    custom_shares: tuple[Decimal, ...] | None = None
    payment: Decimal | None = None
    instalment: Decimal | None = None
    allow_negative_amortisation: bool = False
    principal_dates: tuple[date, ...] | None = None
    capitalise_until: date | None = None
    interest_base: InterestBase | None = None
    interest_base_amount: Decimal | None = None
    interest_base_dates: tuple[date, ...] | None = None
    reset_effect: ResetEffect | None = None


class FacilityTermSheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of a facility, as a client states them.

    Amounts are in major units of `currency_code`, exact to its minor unit. A draw falls from
    `availability_start` to `availability_end`, both included. What a revolving facility has repaid
    can be drawn again. A lower `rank` is paid first. The `lenders` have 100 % together, exactly;
    `lender_steps` replace them from their dates on, those days included.

    A loan has a `rate`, a `repayment`, and its time: `payment_dates` (rolled from the terms of a
    term sheet) or `dates` (the start, then each payment date), counted by `day_count` (by default
    ACT/360). Interest accrues between adjusted or unadjusted dates by `payment_dates.accrual`. The
    `maturity_date` is the last payment date, and may be left out. A grant or equity has none of
    these.
    """

    name: str
    kind: FacilityKind
    currency_code: str
    commitment: Decimal
    availability_start: date
    availability_end: date
    lenders: tuple[LenderShare, ...]
    rank: int = 1
    is_revolving: bool = False
    rate: RateBasis | None = None
    fees: FacilityFees = FacilityFees()
    day_count: str | None = None
    payment_dates: PaymentDateTerms | None = None
    dates: tuple[date, ...] | None = None
    repayment: FacilityRepayment | None = None
    maturity_date: date | None = None
    lender_steps: tuple[DatedLenders, ...] = ()


class Facility(FacilityTermSheet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A facility of a project; version and times belong to the store, not to the aggregate.

    `attributes` holds governed values by column name, `extensions` the JSON of `x_…` fields, and
    `hidden_attributes` values of columns that the schema of facilities no longer has.
    """

    facility_id: str
    project_id: str
    attributes: Mapping[str, Value] = msgspec.field(default_factory=dict)
    extensions: Mapping[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    hidden_attributes: Mapping[str, Value] = msgspec.field(default_factory=dict)

    def __hash__(self) -> int:
        """Return a hash of what tells facilities apart; a mapping has none."""
        return hash((self.facility_id, self.commitment, self.rank, self.maturity_date))


def find_lenders(facility: FacilityTermSheet, on: date) -> tuple[LenderShare, ...]:
    """Return the lenders with their shares on a day."""
    lenders = facility.lenders
    for step in facility.lender_steps:
        if step.from_date > on:
            break
        lenders = step.lenders
    return lenders
