"""Portfolios and their reports as typed values."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal

import httpx
import msgspec

from spawn.client import calls
from spawn.client.calls import Resource
from spawn.client.facilities import ClientRecord
from spawn.client.records import Json, decode_json

PORTFOLIOS: Final = "/v1/ops/portfolios"
ReportKey = Literal["country", "currency", "kind", "name", "rating", "sector", "sponsor"]
"""Key of a drill-down."""

FlowPeriod = Literal["month", "quarter", "year"]
"""Length of the periods of a forecast."""


class LimitRecord(ClientRecord, frozen=True, kw_only=True):
    """A limit: an amount, or a share in per cent, of one group or of every group of a key."""

    by: str
    value: str | None = None
    max_amount: Decimal | None = None
    max_share: Decimal | None = None


class PortfolioRecord(ClientRecord, frozen=True, kw_only=True):
    """A portfolio; `etag` is known after a read of the single one, not from a list."""

    portfolio_id: str
    name: str
    currency_code: str
    fx_source: str | None
    max_fx_age_days: int
    limits: tuple[LimitRecord, ...]
    version: int
    created_at: datetime
    updated_at: datetime
    etag: str | None = None


class ExposureAmountsRecord(ClientRecord, frozen=True, kw_only=True):
    """Amounts that are outstanding, that can still be drawn, and both together."""

    outstanding: Decimal
    undrawn: Decimal
    exposure: Decimal


class FxUseRecord(ClientRecord, frozen=True, kw_only=True):
    """The set of exchange rates of a report."""

    set_id: str
    on: date
    source: str
    revision: int
    base_currency: str
    age_days: int
    max_age_days: int


class ExposureGroupRecord(ExposureAmountsRecord, frozen=True, kw_only=True):
    """A group: `keys` has the values of the first `level` keys; `share` is in per cent."""

    level: int
    keys: dict[str, str | None]
    share: Decimal


class KeyGroupRecord(ClientRecord, frozen=True, kw_only=True):
    """A group of one key."""

    value: str | None
    exposure: Decimal
    share: Decimal


class LimitStatusRecord(ClientRecord, frozen=True, kw_only=True):
    """A limit with the largest group under it, its headroom and every breach."""

    limit: LimitRecord
    is_breached: bool
    largest: KeyGroupRecord | None
    headroom: Decimal | None
    breaches: tuple[KeyGroupRecord, ...]


class PortfolioExposureRecord(ClientRecord, frozen=True, kw_only=True):
    """The exposure of a portfolio on a day, as recorded at an instant."""

    portfolio_id: str
    name: str
    on: date
    as_of: datetime
    currency_code: str
    by: tuple[str, ...]
    holdings: int
    total: ExposureAmountsRecord
    fx: FxUseRecord | None
    groups: tuple[ExposureGroupRecord, ...]
    limits_currency: str
    limits: tuple[LimitStatusRecord, ...]


class PeriodFlowsRecord(ClientRecord, frozen=True, kw_only=True):
    """Flows of a calendar period.

    `amortisation` is the fall of the balances. `fixed` balances mature in the period at a fixed
    rate, and the rate of `floating` ones is fixed next in it.
    """

    start: date
    end: date
    amortisation: Decimal
    principal: Decimal
    interest: Decimal
    fixed: Decimal
    floating: Decimal


class UnscheduledFacilityRecord(ClientRecord, frozen=True, kw_only=True):
    """A facility whose terms give no schedule, with the reason."""

    facility_id: str
    name: str
    reason: str


class ForecastGroupRecord(ClientRecord, frozen=True, kw_only=True):
    """A group of a forecast."""

    value: str | None
    outstanding: Decimal
    overdue: Decimal
    unscheduled: Decimal
    periods: tuple[PeriodFlowsRecord, ...]


class MaturityStep(ClientRecord, frozen=True, kw_only=True):
    """A step of a maturity ladder: what is repaid in a period, and outstanding at its end."""

    start: date
    end: date
    amortisation: Decimal
    outstanding: Decimal


class PortfolioForecastRecord(ClientRecord, frozen=True, kw_only=True):
    """Maturity ladder, cash flows and repricing of a portfolio by period after a day."""

    portfolio_id: str
    on: date
    as_of: datetime
    currency_code: str
    fx: FxUseRecord | None
    interval: str
    outstanding: Decimal
    overdue: Decimal
    unscheduled: Decimal
    average_life_years: Decimal | None
    average_rate: Decimal | None
    average_margin: Decimal | None
    periods: tuple[PeriodFlowsRecord, ...]
    without_schedule: tuple[UnscheduledFacilityRecord, ...]
    by: str | None
    groups: tuple[ForecastGroupRecord, ...]

    def build_maturity_ladder(self) -> tuple[MaturityStep, ...]:
        """Return the steps of the ladder; what is overdue or unscheduled stays outstanding."""
        outstanding, steps = self.outstanding, []
        for period in self.periods:
            outstanding -= period.amortisation
            steps.append(
                MaturityStep(
                    start=period.start,
                    end=period.end,
                    amortisation=period.amortisation,
                    outstanding=outstanding,
                )
            )
        return tuple(steps)


def portfolio_path(portfolio_id: str) -> str:
    """Return the path of a portfolio."""
    return f"{PORTFOLIOS}/{calls.quote_segment(portfolio_id)}"


def portfolio_resource(portfolio_id: str) -> Resource[PortfolioRecord]:
    """Return a portfolio as a resource."""
    return Resource(portfolio_path(portfolio_id), _portfolio_of)


def read_portfolio(document: Mapping[str, Json], etag: str | None = None) -> PortfolioRecord:
    """Return a portfolio of its document."""
    return msgspec.structs.replace(msgspec.convert(document, PortfolioRecord), etag=etag)


def join_keys(keys: ReportKey | Sequence[ReportKey]) -> str:
    """Return the text of one key, or of several ones."""
    return keys if isinstance(keys, str) else ",".join(keys)


def _portfolio_of(response: httpx.Response) -> PortfolioRecord:
    return read_portfolio(decode_json(response.content), response.headers.get("etag"))
