"""Facilities and their ledgers: what a client sends, what it gets, and the operations."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal, Required, TypedDict

import httpx
import msgspec

from spawn.client import calls
from spawn.client.calls import Call, Changes, Operation, Resource
from spawn.client.financing.financing_records import ClientRecord, Day, ExactNumber, get_report
from spawn.client.records import Json, decode_json

FACILITIES: Final = "/v1/ops/facilities"
BusinessDayRule = Literal[
    "following", "modified_following", "modified_preceding", "preceding", "unadjusted"
]


class LenderShareDocument(TypedDict):
    """A lender with its share in per cent; all lenders have 100 together."""

    lender: str
    share: ExactNumber


class DatedLendersDocument(TypedDict):
    """The lenders from a day on, after a transfer of a participation."""

    from_date: Day
    lenders: Sequence[LenderShareDocument]


class DatedMarginDocument(TypedDict):
    """A margin from a day on."""

    from_date: Day
    margin: ExactNumber


class RateBasisDocument(TypedDict, total=False):
    """A fixed rate, or a curve with its margin; rates are fractions a year."""

    fixed_rate: ExactNumber | None
    curve: str | None
    margin: ExactNumber
    margin_steps: Sequence[DatedMarginDocument]
    floor: ExactNumber | None


class FacilityFeesDocument(TypedDict, total=False):
    """Upfront and commitment fee as fractions, and the agency fee as an amount a year."""

    upfront_fee: ExactNumber
    commitment_fee: ExactNumber
    agency_fee: ExactNumber


class BusinessCalendarDocument(TypedDict, total=False):
    """Days on which no payment falls."""

    base: Literal["none", "target", "weekends"]
    weekend: Sequence[int]
    holidays: Sequence[Day]
    countries: Sequence[str]


class PaymentDateTermsDocument(TypedDict, total=False):
    """Terms from which payment dates are rolled."""

    start: Required[Day]
    end: Required[Day]
    frequency: Literal["annual", "monthly", "quarterly", "semi_annual"] | None
    interval_months: int | None
    interval_days: int | None
    stub: Literal["long_back", "long_front", "short_back", "short_front"] | None
    roll_day: int | None
    missing_day: Literal["month_end", "next_month"] | None
    first_regular_date: Day | None
    last_regular_date: Day | None
    front_stub: Literal["long", "short"] | None
    back_stub: Literal["long", "short"] | None
    end_of_month: bool
    rule: BusinessDayRule
    accrual: Literal["adjusted", "unadjusted"] | None
    calendar: BusinessCalendarDocument


class FacilityRepaymentDocument(TypedDict, total=False):
    """A repayment profile with its terms."""

    profile: Required[
        Literal["annuity", "balloon", "bullet", "custom", "sculpted", "straight_line"]
    ]
    balloon: ExactNumber | None
    balloon_share: ExactNumber | None
    grace_periods: int
    grace: Literal["capitalised", "interest_only"] | None
    custom_shares: Sequence[ExactNumber] | None
    payment: ExactNumber | None
    instalment: ExactNumber | None
    allow_negative_amortisation: bool
    principal_dates: Sequence[Day] | None
    capitalise_until: Day | None
    interest_base: Literal["balance", "fixed"] | None
    interest_base_amount: ExactNumber | None
    interest_base_dates: Sequence[Day] | None
    reset_effect: Literal["keep_payment", "relevel"] | None


class FacilityDocument(TypedDict, total=False):
    """The terms of a new facility; a plain mapping may have attributes of the schema too."""

    name: Required[str]
    kind: Required[
        Literal[
            "equity",
            "equity_bridge",
            "grant",
            "mezzanine",
            "senior",
            "shareholder_loan",
            "vat",
        ]
    ]
    currency_code: Required[str]
    commitment: Required[ExactNumber]
    availability_start: Required[Day]
    availability_end: Required[Day]
    lenders: Required[Sequence[LenderShareDocument]]
    rank: int | None
    is_revolving: bool | None
    rate: RateBasisDocument | None
    fees: FacilityFeesDocument | None
    day_count: str | None
    payment_dates: PaymentDateTermsDocument | None
    dates: Sequence[Day] | None
    repayment: FacilityRepaymentDocument | None
    maturity_date: Day | None
    lender_steps: Sequence[DatedLendersDocument]


class EntryFactsDocument(TypedDict, total=False):
    """A fact to record, with its value date."""

    kind: Required[
        Literal[
            "cancellation",
            "capitalisation",
            "closing",
            "draw",
            "fee",
            "opening",
            "payment",
            "prepayment",
            "rate_fixing",
            "reversal",
            "waiver",
        ]
    ]
    value_date: Required[Day]
    amount: ExactNumber | None
    rate: ExactNumber | None
    accrued_interest: ExactNumber | None
    waived: Literal["fees", "interest", "principal"] | None
    effect: Literal["relevel", "shorten"] | None
    external_key: str | None
    evidence: str | None
    reason: str | None


class ReversalRequestDocument(TypedDict, total=False):
    """The reversal of an entry; its amount and value date are those of the entry."""

    reason: Required[str]
    external_key: str | None
    evidence: str | None


class LenderShareRecord(ClientRecord, frozen=True, kw_only=True):
    """A lender with its share in per cent."""

    lender: str
    share: Decimal


class DatedLendersRecord(ClientRecord, frozen=True, kw_only=True):
    """The lenders with their shares from a day on."""

    from_date: date
    lenders: tuple[LenderShareRecord, ...]


class ProjectFacilityRecord(ClientRecord, frozen=True, kw_only=True):
    """A facility as the service returned it.

    `document` has every term and attribute; `record[name]` reads one. `etag` is known after a read
    or a change of the single facility, not from a list.
    """

    facility_id: str
    project_id: str
    version: int
    name: str
    kind: str
    currency_code: str
    commitment: Decimal
    availability_start: date
    availability_end: date
    lenders: tuple[LenderShareRecord, ...]
    created_at: datetime
    updated_at: datetime
    rank: int | None = None
    maturity_date: date | None = None
    lender_steps: tuple[DatedLendersRecord, ...] = ()
    document: Mapping[str, Json] = msgspec.field(default_factory=dict)
    etag: str | None = None

    def __getitem__(self, name: str) -> Json:
        return self.document[name]


class LedgerEntryRecord(ClientRecord, frozen=True, kw_only=True):
    """An entry of a ledger; `etag` is that of the ledger with it, and None in a list."""

    entry_id: str
    facility_id: str
    project_id: str
    number: int
    kind: str
    value_date: date
    currency_code: str
    recorded_at: datetime
    amount: Decimal | None = None
    rate: Decimal | None = None
    accrued_interest: Decimal | None = None
    waived: str | None = None
    effect: str | None = None
    external_key: str | None = None
    evidence: str | None = None
    reason: str | None = None
    reverses: int | None = None
    is_restatement: bool = False
    etag: str | None = None


class BalanceRecord(ClientRecord, frozen=True, kw_only=True):
    """Figures of a facility on a day, as known at `as_of`; `etag` is that of the ledger."""

    facility_id: str
    on: date
    as_of: datetime
    currency_code: str
    commitment: Decimal
    drawn: Decimal
    undrawn: Decimal
    balance: Decimal
    repaid: Decimal
    prepaid: Decimal
    capitalised: Decimal
    annual_rate: Decimal
    accrued_interest: Decimal
    interest_due: Decimal
    interest_overdue: Decimal
    interest_paid: Decimal
    accrued_fee: Decimal
    fees_due: Decimal
    fees_paid: Decimal
    principal_arrears: Decimal | None
    no_schedule_reason: str | None
    etag: str | None = None


class RepaymentEventRecord(ClientRecord, frozen=True, kw_only=True):
    """An event of a schedule and the state after it, unrounded."""

    date: date
    kind: str
    cash_flow: float
    balance: float
    annual_rate: float
    accrued_interest: float


class RepaymentRowRecord(ClientRecord, frozen=True, kw_only=True):
    """A period of a schedule, rounded to the minor unit."""

    period: int
    date: date
    opening_balance: Decimal
    drawn: Decimal
    interest: Decimal
    capitalised: Decimal
    principal: Decimal
    payment: Decimal
    closing_balance: Decimal
    accrued_interest: Decimal


class RepaymentScheduleRecord(ClientRecord, frozen=True, kw_only=True):
    """The schedule of a facility by its terms and entries; empty before the first draw."""

    facility_id: str
    currency_code: str
    on: date
    as_of: datetime
    events: tuple[RepaymentEventRecord, ...]
    rows: tuple[RepaymentRowRecord, ...]
    warnings: tuple[str, ...]


class LenderPartRecord(ClientRecord, frozen=True, kw_only=True):
    """The part of a lender in a payment."""

    lender: str
    fees: Decimal
    interest: Decimal
    principal: Decimal
    amount: Decimal


class StatementLineRecord(ClientRecord, frozen=True, kw_only=True):
    """A movement, its allocation, and the balance after it."""

    value_date: date
    kind: str
    entry: int | None
    amount: Decimal
    fees: Decimal
    overdue_interest: Decimal
    interest: Decimal
    principal: Decimal
    balance: Decimal
    lenders: tuple[LenderPartRecord, ...] = ()


class StatementPeriodRecord(ClientRecord, frozen=True, kw_only=True):
    """Totals of a period, and the arrears at its end."""

    start: date
    end: date
    opening_balance: Decimal
    drawn: Decimal
    capitalised: Decimal
    repaid: Decimal
    forgiven: Decimal
    closing_balance: Decimal
    interest: Decimal
    interest_paid: Decimal
    fees_paid: Decimal
    interest_arrears: Decimal
    principal_arrears: Decimal | None
    fee_arrears: Decimal


class StatementRecord(ClientRecord, frozen=True, kw_only=True):
    """The statement of a facility from one day to another, both included."""

    facility_id: str
    currency_code: str
    start: date
    end: date
    as_of: datetime
    opening_balance: Decimal
    closing_balance: Decimal
    periods: tuple[StatementPeriodRecord, ...]
    lines: tuple[StatementLineRecord, ...]
    no_schedule_reason: str | None = None


LedgerState = BalanceRecord | LedgerEntryRecord
"""The state on which a command on a ledger was decided: its balance, or its last entry."""

ResolveFacility = Callable[[ProjectFacilityRecord], Changes | None]


def project_facilities_path(project_id: str) -> str:
    """Return the path of the facilities of a project."""
    return f"{calls.project_path(project_id)}/facilities"


def entries_path(facility_id: str) -> str:
    """Return the path of the entries of a ledger."""
    return f"{facility_path(facility_id)}/entries"


def facility_path(facility_id: str) -> str:
    """Return the path of a facility."""
    return f"{FACILITIES}/{calls.quote_segment(facility_id)}"


def read_facility(document: Mapping[str, Json], etag: str | None = None) -> ProjectFacilityRecord:
    """Return a facility of its document."""
    record = msgspec.convert(document, ProjectFacilityRecord)
    return msgspec.structs.replace(record, document=document, etag=etag)


def read_entry(document: Mapping[str, Json], etag: str | None = None) -> LedgerEntryRecord:
    """Return an entry of its document."""
    return msgspec.structs.replace(msgspec.convert(document, LedgerEntryRecord), etag=etag)


def get_facility(facility_id: str, options: Mapping[str, Any]) -> Operation[ProjectFacilityRecord]:
    """Read one facility."""
    resource = Resource(facility_path(facility_id), _facility_of)
    return (yield from calls.get_resource(resource, calls.to_params(options)))


def create_facility(
    project_id: str, terms: FacilityDocument | Changes, key: str | None
) -> Operation[ProjectFacilityRecord]:
    """Create a facility of a project."""
    call = calls.build_change("POST", project_facilities_path(project_id), terms, {}, key)
    return _facility_of((yield call))


def amend_facility(
    facility: ProjectFacilityRecord,
    changes: Changes,
    resolve: ResolveFacility | None,
    key: str | None,
) -> Operation[ProjectFacilityRecord]:
    """Amend the version of a facility; after another change, what `resolve` returns."""
    resource = Resource(facility_path(facility.facility_id), _facility_of)
    return (yield from calls.amend(resource, facility, changes, resolve, key))


def add_entry(
    facility_id: str,
    facts: EntryFactsDocument | Changes,
    based_on: LedgerState | None,
    key: str | None,
) -> Operation[LedgerEntryRecord]:
    """Record an entry of a ledger, which is in the state that it is based on."""
    path = entries_path(facility_id)
    return (yield from _record(path, facility_id, facts, based_on, key))


def reverse_entry(
    entry: LedgerEntryRecord,
    reversal: ReversalRequestDocument | Changes,
    based_on: LedgerState | None,
    key: str | None,
) -> Operation[LedgerEntryRecord]:
    """Reverse an entry of a ledger."""
    path = f"{entries_path(entry.facility_id)}/{entry.number}/reversal"
    return (yield from _record(path, entry.facility_id, reversal, based_on, key))


def _record(
    path: str,
    facility_id: str,
    document: object,
    based_on: LedgerState | None,
    key: str | None,
) -> Operation[LedgerEntryRecord]:
    """Send a command on a ledger.

    Raises:
        ValueError: the state is that of another ledger.
    """
    etag = "*"
    if based_on is not None:
        if based_on.facility_id != facility_id:
            raise ValueError(f"based_on is of the facility {based_on.facility_id}")
        etag = based_on.etag or (yield from _read_entry_etag(based_on))
    response = yield calls.build_change("POST", path, document, {"If-Match": etag}, key)
    document = decode_json(calls.raise_pending(response).content)
    return read_entry(document, response.headers.get("etag"))


def _read_entry_etag(state: LedgerState) -> Operation[str]:
    """Read an entry of a list again for its tag; a balance without a tag is one that was built."""
    if not isinstance(state, LedgerEntryRecord):
        raise ValueError("based_on has no tag: read the balance from the service")  # noqa: TRY004
    response = yield Call(method="GET", path=f"{entries_path(state.facility_id)}/{state.number}")
    return response.headers["etag"]


def get_entry(facility_id: str, number: int) -> Operation[LedgerEntryRecord]:
    """Read one entry with the tag of its ledger."""
    response = yield Call(method="GET", path=f"{entries_path(facility_id)}/{number:d}")
    return read_entry(decode_json(response.content), response.headers.get("etag"))


def get_balance(facility_id: str, options: Mapping[str, Any]) -> Operation[BalanceRecord]:
    """Read a balance with the tag of its ledger."""
    path = f"{facility_path(facility_id)}/balance"
    return (yield from get_report(path, BalanceRecord, options))


def _facility_of(response: httpx.Response) -> ProjectFacilityRecord:
    document = decode_json(calls.raise_pending(response).content)
    return read_facility(document, response.headers.get("etag"))
