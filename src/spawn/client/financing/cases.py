"""CFADS cases and actuals as typed values."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, Required, TypedDict

import msgspec

from spawn.client import calls
from spawn.client.calls import Call, Operation, Resource
from spawn.client.financing.financing_records import ClientRecord, Day, DecimalText, reader_of

CASES: Final = "/v1/ops/cases"
CaseKind = Literal["BASE", "DOWNSIDE", "OTHER", "P50", "P75", "P90", "P99", "UPSIDE"]


class CashPeriodDocument(TypedDict, total=False):
    """The cash of the days of a period, both ends included, in major units."""

    starts_on: Required[Day]
    ends_on: Required[Day]
    cfads: Required[DecimalText]
    interest: DecimalText | None
    principal: DecimalText | None
    lines: Mapping[str, DecimalText]


class CaseDocument(TypedDict, total=False):
    """A new case; `opening_debt` is owed before the first period."""

    name: Required[str]
    kind: Required[CaseKind]
    currency_code: Required[str]
    periods: Required[Sequence[CashPeriodDocument]]
    opening_debt: DecimalText | None
    equity: DecimalText | None


class CaseReferenceDocument(TypedDict, total=False):
    """A case, and its version if it is not the newest."""

    case_id: Required[str]
    version: int | None


class CashPeriodRecord(ClientRecord, frozen=True, kw_only=True):
    """The cash of a period."""

    starts_on: date
    ends_on: date
    cfads: Decimal
    interest: Decimal | None = None
    principal: Decimal | None = None
    lines: dict[str, Decimal] = msgspec.field(default_factory=dict)


class CaseRecord(ClientRecord, frozen=True, kw_only=True):
    """A version of a case."""

    case_id: str
    project_id: str
    version: int
    name: str
    kind: str
    currency_code: str
    status: str
    revision: int
    revision_reason: str | None
    engine_version: str
    opening_debt: Decimal | None
    equity: Decimal | None
    periods: tuple[CashPeriodRecord, ...]
    created_at: datetime
    updated_at: datetime
    etag: str | None = None


class ComparedCaseRecord(ClientRecord, frozen=True, kw_only=True):
    """A case that was compared."""

    case_id: str
    version: int
    name: str
    kind: str
    status: str
    engine_version: str


class CaseFiguresRecord(ClientRecord, frozen=True, kw_only=True):
    """The figures of a case, and their difference from the first case."""

    cfads: Decimal | None = None
    debt_service: Decimal | None = None
    dscr: str | None = None
    llcr: str | None = None
    cfads_difference: Decimal | None = None
    dscr_difference: str | None = None
    llcr_difference: str | None = None


class ComparedPeriodRecord(ClientRecord, frozen=True, kw_only=True):
    """The figures of cases in a period."""

    ends_on: date
    cases: tuple[CaseFiguresRecord, ...]


class CaseComparisonRecord(ClientRecord, frozen=True, kw_only=True):
    """Cases beside each other."""

    currency_code: str
    cases: tuple[ComparedCaseRecord, ...]
    periods: tuple[ComparedPeriodRecord, ...]


class PeriodVarianceRecord(ClientRecord, frozen=True, kw_only=True):
    """A period of a case beside what was paid."""

    starts_on: date
    ends_on: date
    case_cfads: Decimal
    actual_cfads: Decimal | None = None
    cfads_difference: Decimal | None = None
    cfads_share: str | None = None
    case_debt_service: Decimal
    actual_debt_service: Decimal | None = None
    debt_service_difference: Decimal | None = None
    case_dscr: str | None = None
    actual_dscr: str | None = None


class CaseVarianceRecord(ClientRecord, frozen=True, kw_only=True):
    """A case beside the actuals."""

    case_id: str
    case_version: int
    actuals_version: int
    currency_code: str
    periods: tuple[PeriodVarianceRecord, ...]


class ActualFactDocument(TypedDict, total=False):
    """The cash of a period that was paid; a reason is needed to replace a recorded one."""

    starts_on: Required[Day]
    ends_on: Required[Day]
    cfads: Required[DecimalText]
    interest: DecimalText | None
    principal: DecimalText | None
    lines: Mapping[str, DecimalText]
    evidence: str | None
    reason: str | None


class ActualsDocument(TypedDict):
    """Actuals to record, in one currency."""

    currency_code: str
    periods: Sequence[ActualFactDocument]


class ActualPeriodRecord(ClientRecord, frozen=True, kw_only=True):
    """The cash of a period that was paid, with the version that recorded it."""

    starts_on: date
    ends_on: date
    cfads: Decimal
    interest: Decimal | None = None
    principal: Decimal | None = None
    lines: dict[str, Decimal] = msgspec.field(default_factory=dict)
    evidence: str | None = None
    reason: str | None = None
    recorded_version: int
    recorded_at: datetime


class ActualsRecord(ClientRecord, frozen=True, kw_only=True):
    """The actuals of a project."""

    project_id: str
    version: int
    currency_code: str | None
    periods: tuple[ActualPeriodRecord, ...]


class RecordedActualsRecord(ClientRecord, frozen=True, kw_only=True):
    """Actuals that were just recorded."""

    project_id: str
    version: int
    currency_code: str
    recorded_at: datetime
    recorded_periods: tuple[ActualPeriodRecord, ...]


def case_resource(case_id: str) -> Resource[CaseRecord]:
    """Return a case as a resource."""
    return Resource(
        f"{CASES}/{calls.quote_segment(case_id)}", reader_of(CaseRecord), has_text_decimals=True
    )


def project_cases_path(project_id: str) -> str:
    """Return the path of the cases of a project."""
    return f"{calls.project_path(project_id)}/cases"


def actuals_path(project_id: str) -> str:
    """Return the path of the actuals of a project."""
    return f"{calls.project_path(project_id)}/actuals"


def compare_cases(
    references: Sequence[CaseReferenceDocument | str],
) -> Operation[CaseComparisonRecord]:
    """Compare cases; nothing is stored, so it may be sent twice."""
    chosen = [{"case_id": one} if isinstance(one, str) else one for one in references]
    response = yield Call(
        method="POST",
        path=f"{CASES}/compare",
        body=calls.encode_document({"cases": chosen}),
        headers={"Content-Type": "application/json"},
    )
    return reader_of(CaseComparisonRecord)(response)
