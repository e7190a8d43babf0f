"""Portfolios, holdings and their reports as typed values."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, Required, TypedDict

from spawn.client import calls
from spawn.client.calls import Operation, Resource
from spawn.client.financing.financing_records import ClientRecord, Day, DecimalText, reader_of

PORTFOLIOS: Final = "/v1/ops/portfolios"
ReportKey = Literal["country", "currency", "kind", "name", "rating", "sector", "sponsor"]
"""Key of a drill-down."""

FlowPeriod = Literal["month", "quarter", "year"]
"""Length of the periods of a forecast."""


class LimitDocument(TypedDict, total=False):
    """A limit of one group or of every group of a key; shares are in per cent."""

    by: Required[ReportKey]
    value: str | None
    max_amount: DecimalText | None
    max_share: DecimalText | None


class PortfolioDocument(TypedDict, total=False):
    """A new portfolio."""

    name: Required[str]
    currency_code: Required[str]
    fx_source: str | None
    max_fx_age_days: int
    limits: Sequence[LimitDocument]


class HoldingDocument(TypedDict, total=False):
    """A share of a facility, or of the equity of a project, from a day on."""

    facility_id: str | None
    project_id: str | None
    share: Required[DecimalText]
    since: Required[Day]
    until: Day | None


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


class HoldingRecord(ClientRecord, frozen=True, kw_only=True):
    """A holding; `share` is in per cent, or a ratio such as `1/3`."""

    holding_id: str
    portfolio_id: str
    exposure_kind: str
    exposure_id: str
    project_id: str
    share: str
    since: date
    until: date | None
    is_active: bool
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


class KeyConcentrationRecord(ClientRecord, frozen=True, kw_only=True):
    """The concentration by a key; `hhi` is from 0 to 10000."""

    by: str
    groups: int
    hhi: Decimal
    largest: tuple[KeyGroupRecord, ...]
    largest_share: Decimal


class PortfolioConcentrationRecord(ClientRecord, frozen=True, kw_only=True):
    """The concentration of a portfolio on a day, as recorded at an instant."""

    portfolio_id: str
    name: str
    on: date
    as_of: datetime
    currency_code: str
    total: ExposureAmountsRecord
    fx: FxUseRecord | None
    concentration: tuple[KeyConcentrationRecord, ...]


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


def holdings_path(portfolio_id: str) -> str:
    """Return the path of the holdings of a portfolio."""
    return f"{portfolio_path(portfolio_id)}/holdings"


def holding_resource(portfolio_id: str, holding_id: str) -> Resource[HoldingRecord]:
    """Return a holding as a resource."""
    path = f"{holdings_path(portfolio_id)}/{calls.quote_segment(holding_id)}"
    return Resource(path, reader_of(HoldingRecord), has_text_decimals=True)


def remove_holding(holding: HoldingRecord, key: str | None) -> Operation[HoldingRecord]:
    """Remove a version of a holding."""
    resource = holding_resource(holding.portfolio_id, holding.holding_id)
    return (yield from calls.delete(resource, holding, key))


def portfolio_resource(portfolio_id: str) -> Resource[PortfolioRecord]:
    """Return a portfolio as a resource."""
    return Resource(
        portfolio_path(portfolio_id), reader_of(PortfolioRecord), has_text_decimals=True
    )


def join_keys(keys: ReportKey | Sequence[ReportKey]) -> str:
    """Return the text of one key, or of several ones."""
    return keys if isinstance(keys, str) else ",".join(keys)
