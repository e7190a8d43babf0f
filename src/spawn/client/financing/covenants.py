"""Covenants with their tests and waivers, reserve accounts and milestones as typed values."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, Required, TypedDict

from spawn.client import calls
from spawn.client.calls import Operation, Resource
from spawn.client.financing.financing_records import ClientRecord, Day, DecimalText, reader_of
from spawn.client.records import ProjectRecord

COVENANTS: Final = "/v1/ops/covenants"
RESERVE_ACCOUNTS: Final = "/v1/ops/reserve-accounts"
COVENANT_TESTS: Final = "/v1/ops/covenant-tests"
CoverMetric = Literal["DSCR", "GEARING", "LLCR"]


class CureRightsDocument(TypedDict, total=False):
    """The number of tests that equity may cure."""

    max_cures: Required[int]
    max_consecutive: int


class CovenantDocument(TypedDict, total=False):
    """The terms of a new covenant; levels are ratios."""

    name: Required[str]
    metric: Required[CoverMetric]
    test_dates: Required[Sequence[Day]]
    definition_version: int
    lockup_level: DecimalText | None
    release_level: DecimalText | None
    default_level: DecimalText | None
    window_months: int | None
    window_direction: Literal["FORWARD", "TRAILING"]
    cure_rights: CureRightsDocument | None


class CovenantTestDocument(TypedDict, total=False):
    """A test to record: its date, and the figures that it rests on."""

    tested_on: Required[Day]
    figures: Required[Literal["ACTUALS", "CASE"]]
    case_id: str | None
    case_version: int | None
    as_of: datetime | str | None
    equity_cure: DecimalText | None
    reason: str | None


class WaiverDocument(TypedDict, total=False):
    """A waiver from one day to another."""

    starts_on: Required[Day]
    ends_on: Required[Day]
    reason: Required[str]
    granted_by: Required[str]
    covers_lockup: bool


class CureRightsRecord(ClientRecord, frozen=True, kw_only=True):
    """The number of tests that equity may cure."""

    max_cures: int
    max_consecutive: int = 0


class CovenantWaiverRecord(ClientRecord, frozen=True, kw_only=True):
    """A waiver of a covenant."""

    starts_on: date
    ends_on: date
    reason: str
    granted_by: str
    recorded_by: str
    covers_lockup: bool = False


class RegisteredTestRecord(ClientRecord, frozen=True, kw_only=True):
    """The newest test of a date in the register."""

    test_id: str
    tested_on: date
    band: str
    is_cured: bool = False


class CovenantRecord(ClientRecord, frozen=True, kw_only=True):
    """A covenant with its waivers and the register of its tests."""

    covenant_id: str
    project_id: str
    version: int
    name: str
    metric: str
    definition_version: int
    lockup_level: Decimal | None
    release_level: Decimal | None
    default_level: Decimal | None
    test_dates: tuple[date, ...]
    window_months: int | None
    window_direction: str
    cure_rights: CureRightsRecord | None
    waivers: tuple[CovenantWaiverRecord, ...]
    tests: tuple[RegisteredTestRecord, ...]
    created_at: datetime
    updated_at: datetime
    etag: str | None = None


class HeadroomRecord(ClientRecord, frozen=True, kw_only=True):
    """The distance from a level, positive while it is met."""

    level: Decimal
    ratio: str
    cfads_amount: Decimal | None


class LevelHeadroomRecord(ClientRecord, frozen=True, kw_only=True):
    """The headroom to each level."""

    lockup: HeadroomRecord | None
    default: HeadroomRecord | None


class RatioInputRecord(ClientRecord, frozen=True, kw_only=True):
    """An input of a ratio, as a fraction and printed."""

    name: str
    fraction: str
    printed: str


class InputReferenceRecord(ClientRecord, frozen=True, kw_only=True):
    """A version that a test rests on."""

    kind: str
    id: str
    version: int
    position: str


class RecordedTestRecord(ClientRecord, frozen=True, kw_only=True):
    """A test of a covenant, which nothing changes later."""

    test_id: str
    project_id: str
    covenant_id: str
    covenant_version: int
    metric: str
    definition_version: int
    tested_on: date
    figures: str
    currency_code: str
    case_id: str | None
    case_version: int | None
    actuals_version: int | None
    actuals_as_of: datetime | None
    window_starts_on: date | None
    window_ends_on: date | None
    formula: str
    inputs: tuple[RatioInputRecord, ...]
    ratio: str | None
    printed_ratio: str | None
    untested_reason: str | None
    lockup_level: Decimal | None
    release_level: Decimal | None
    default_level: Decimal | None
    band: str
    outcome: str
    is_waived: bool
    follows: str | None
    reason: str | None
    references: tuple[InputReferenceRecord, ...]
    recorded_at: datetime
    etag: str | None = None


class CovenantStateRecord(ClientRecord, frozen=True, kw_only=True):
    """A covenant on a day."""

    covenant_id: str
    on: date
    standing: str
    waivers: tuple[CovenantWaiverRecord, ...]
    newest_test: RecordedTestRecord | None
    headroom: LevelHeadroomRecord | None
    next_test_on: date | None
    overdue_since: date | None


class OutlookDateRecord(ClientRecord, frozen=True, kw_only=True):
    """A test date of a case to come."""

    tested_on: date
    band: str
    printed_ratio: str | None
    untested_reason: str | None
    headroom: LevelHeadroomRecord


class CovenantOutlookRecord(ClientRecord, frozen=True, kw_only=True):
    """The headroom of a covenant by a case."""

    covenant_id: str
    covenant_version: int
    case_id: str
    case_version: int
    currency_code: str
    dates: tuple[OutlookDateRecord, ...]


class CertifiedCovenantRecord(ClientRecord, frozen=True, kw_only=True):
    """A covenant of a certificate."""

    covenant: CovenantRecord
    test: RecordedTestRecord | None
    standing: str
    waivers: tuple[CovenantWaiverRecord, ...]
    headroom: LevelHeadroomRecord | None


class ComplianceCertificateRecord(ClientRecord, frozen=True, kw_only=True):
    """The covenants of a project on a day, as recorded at an instant."""

    project_id: str
    project_name: str
    project_version: int
    on: date
    as_of: datetime
    is_complete: bool
    allows_distributions: bool
    in_lockup: tuple[str, ...]
    in_default: tuple[str, ...]
    covenants: tuple[CertifiedCovenantRecord, ...]


class ReserveAccountDocument(TypedDict, total=False):
    """A new reserve account."""

    name: Required[str]
    kind: Required[Literal["DECOMMISSIONING", "DSRA", "MAINTENANCE", "OTHER"]]
    currency_code: Required[str]
    target_months: int | None
    target_amount: DecimalText | None


class ReserveBalanceDocument(TypedDict, total=False):
    """The balance of a reserve account on a day."""

    value_date: Required[Day]
    amount: Required[DecimalText]
    evidence: str | None
    reason: str | None


class ReserveBalanceRecord(ClientRecord, frozen=True, kw_only=True):
    """The balance of a reserve account on a day."""

    value_date: date
    amount: Decimal
    evidence: str | None = None
    reason: str | None = None


class ReserveAccountRecord(ClientRecord, frozen=True, kw_only=True):
    """A reserve account with its balances."""

    account_id: str
    project_id: str
    version: int
    name: str
    kind: str
    currency_code: str
    target_months: int | None
    target_amount: Decimal | None
    balances: tuple[ReserveBalanceRecord, ...]
    created_at: datetime
    updated_at: datetime
    etag: str | None = None


class ReserveOnDayRecord(ClientRecord, frozen=True, kw_only=True):
    """A reserve account on a day, with what it lacks."""

    account: ReserveAccountRecord
    on: date
    balance: ReserveBalanceRecord | None
    target: Decimal | None
    shortfall: Decimal | None
    case_id: str | None
    case_version: int | None


class MilestoneRecord(ClientRecord, frozen=True, kw_only=True):
    """A milestone or a condition precedent."""

    milestone_id: str
    title: str
    kind: str
    state: str
    draw_stop: bool
    due_date: date | None
    met_on: date | None
    waived_on: date | None
    evidence: str | None
    is_overdue: bool


class MilestoneListRecord(ClientRecord, frozen=True, kw_only=True):
    """The milestones of a project; `draw_stops` are those that stop draws."""

    project_id: str
    version: int
    milestones: tuple[MilestoneRecord, ...]
    open_conditions: tuple[str, ...]
    draw_stops: tuple[str, ...]


class MilestoneDocument(TypedDict, total=False):
    """A new milestone."""

    milestone_id: Required[str]
    title: Required[str]
    kind: Literal["CONDITION_PRECEDENT", "MILESTONE"]
    due_date: Day | None
    draw_stop: bool


class MilestoneDecisionDocument(TypedDict, total=False):
    """A decision about a milestone."""

    milestone_id: Required[str]
    decision: Required[Literal["MET", "REOPENED", "WAIVED"]]
    on: Day | None
    evidence: str | None
    reason: str | None


def covenant_resource(covenant_id: str) -> Resource[CovenantRecord]:
    """Return a covenant as a resource."""
    return Resource(
        f"{COVENANTS}/{calls.quote_segment(covenant_id)}",
        reader_of(CovenantRecord),
        has_text_decimals=True,
    )


def covenant_test_path(test_id: str) -> str:
    """Return the path of a test."""
    return f"{COVENANT_TESTS}/{calls.quote_segment(test_id)}"


def waive_covenant(
    covenant: CovenantRecord, waiver: WaiverDocument | calls.Changes, key: str | None
) -> Operation[CovenantRecord]:
    """Waive a version of a covenant."""
    resource = covenant_resource(covenant.covenant_id)
    target = ("POST", f"{resource.path}/waivers")
    return (yield from calls.change(resource, covenant, target, waiver, None, key))


def covenant_tests_path(covenant_id: str) -> str:
    """Return the path of the tests of a covenant."""
    return f"{covenant_resource(covenant_id).path}/tests"


def project_part_path(project_id: str, part: str) -> str:
    """Return the path of a part of a project, such as `covenants`."""
    return f"{calls.project_path(project_id)}/{part}"


def reserve_account_path(account_id: str) -> str:
    """Return the path of a reserve account."""
    return f"{RESERVE_ACCOUNTS}/{calls.quote_segment(account_id)}"


def change_milestones(
    project: ProjectRecord, part: str, document: calls.Changes, key: str | None
) -> Operation[ProjectRecord]:
    """Send a command on the milestones of a version of a project."""
    resource = calls.project_resource(project.project_id)
    target = ("POST", f"{resource.path}/{part}")
    return (yield from calls.change(resource, project, target, document, None, key))
