"""The stress of a portfolio as typed values."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, Required, TypedDict

import msgspec

from spawn.client import calls
from spawn.client.calls import Changes, Operation
from spawn.client.financing.cases import CaseKind
from spawn.client.financing.financing_records import ClientRecord, build_report_call, reader_of
from spawn.client.financing.portfolios import FxUseRecord, portfolio_path

LoadingsDocument = TypedDict(
    "LoadingsDocument", {"global": float, "sector": float, "country": float}, total=False
)
"""Loadings on the common factors."""


class ShockDocument(TypedDict, total=False):
    """A distribution, with the parameters that it has."""

    distribution: Required[Literal["lognormal", "normal", "triangular", "uniform"]]
    mean: float | None
    standard_deviation: float | None
    median: float | None
    sigma: float | None
    low: float | None
    mode: float | None
    high: float | None
    loadings: LoadingsDocument


class StressShocksDocument(TypedDict, total=False):
    """Shocks of CFADS and of rates."""

    cfads: ShockDocument | None
    cfads_noise_sigma: float
    rates: ShockDocument | None


class StressTermsDocument(TypedDict, total=False):
    """Shocks, scenarios, seed, and the kind of the cases."""

    shocks: StressShocksDocument
    scenarios: int
    seed: int
    case_kind: CaseKind


class PercentileValueRecord(ClientRecord, frozen=True, kw_only=True):
    """A percentile with its value; `exceedance` is such as `P90`."""

    percentile: float
    exceedance: str
    value: float


class DistributionSummaryRecord(ClientRecord, frozen=True, kw_only=True):
    """Mean and percentiles of a figure."""

    mean: float
    p5: float
    p10: float
    p25: float
    p50: float
    p75: float
    p90: float
    p95: float
    p1: float | None = None
    p99: float | None = None
    percentiles: tuple[PercentileValueRecord, ...] = ()


class ShortfallRecord(ClientRecord, frozen=True, kw_only=True):
    """Debt service that is not covered: its mean, and what N % of scenarios keep to."""

    mean: Decimal
    p50: Decimal
    p75: Decimal
    p90: Decimal
    p95: Decimal
    p99: Decimal


class CoverFiguresRecord(ClientRecord, frozen=True, kw_only=True):
    """Cover of debt service over the scenarios; base figures are without shocks."""

    base_min_dscr: float
    base_shortfall: Decimal
    min_dscr: DistributionSummaryRecord
    uncovered_probability: float
    shortfall: ShortfallRecord


class ProjectStressRecord(ClientRecord, frozen=True, kw_only=True):
    """The stress of a project."""

    project_id: str
    name: str
    case_id: str
    case_version: int
    tested_from: date
    tested_to: date
    periods: int
    figures: CoverFiguresRecord


class LeftOutProjectRecord(ClientRecord, frozen=True, kw_only=True):
    """A project that cannot be tested, with the reason."""

    project_id: str
    name: str
    reason: str
    detail: str


class PortfolioStressRecord(ClientRecord, frozen=True, kw_only=True):
    """The stress of a portfolio on a day, as recorded at an instant."""

    portfolio_id: str
    on: date
    as_of: datetime
    currency_code: str
    fx: FxUseRecord | None
    scenarios: int
    seed: int
    total: CoverFiguresRecord | None
    projects: tuple[ProjectStressRecord, ...]
    left_out: tuple[LeftOutProjectRecord, ...]


def stress_portfolio(
    portfolio_id: str, terms: StressTermsDocument | Changes, options: Mapping[str, Any]
) -> Operation[PortfolioStressRecord]:
    """Stress a portfolio; nothing is stored, so it may be sent twice."""
    call = build_report_call(f"{portfolio_path(portfolio_id)}/stress", options)
    headers = {**call.headers, "Content-Type": "application/json"}
    call = msgspec.structs.replace(
        call, method="POST", body=calls.encode_document(terms), headers=headers
    )
    return reader_of(PortfolioStressRecord)((yield call))
