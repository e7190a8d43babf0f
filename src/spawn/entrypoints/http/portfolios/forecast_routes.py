"""HTTP route of the forecast of a portfolio."""

from fractions import Fraction
from typing import Annotated, Final, Self

from msgspec import Meta

from spawn.application.portfolios.forecast_reports import (
    FORECAST_KEYS,
    ForecastGroup,
    ForecastReport,
    PeriodFlows,
    report_forecast,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.portfolios.cash_flows import FlowInterval
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.entrypoints.http.portfolios.exposure_routes import REPORT_PARAMETERS, read_report_query
from spawn.entrypoints.http.portfolios.exposure_wire import format_ratio, format_units
from spawn.entrypoints.http.portfolios.fx_routes import READERS, TAG
from spawn.entrypoints.http.portfolios.fx_wire import AmountText, CurrencyCode, FxUseView
from spawn.entrypoints.http.portfolios.routes import PORTFOLIO
from spawn.entrypoints.http.protocol.operation import Cache, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import read_choice
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import Day, Instant, ResourceId, WireStruct

_YEARS_DECIMALS: Final = 4
_RATE_DECIMALS: Final = 8
_DecimalText = Annotated[str, Meta(pattern=r"^-?[0-9]+\.[0-9]+$", examples=["5.2500"])]


class PeriodFlowsView(WireStruct, frozen=True, kw_only=True):
    """A calendar period: what is amortised in it, paid, and repriced.

    `amortisation` is the fall of the balances, below zero where interest is capitalised; `fixed`
    are balances that mature at a fixed rate, `floating` those whose rate is fixed next, in it.
    """

    start: Day
    end: Day
    amortisation: AmountText
    principal: AmountText
    interest: AmountText
    fixed: AmountText
    floating: AmountText

    @classmethod
    def of_period(cls, period: PeriodFlows, currency_code: str) -> Self:
        """Return the wire form of a period."""
        names = PeriodFlows.__struct_fields__[2:]
        amounts = {name: format_units(getattr(period, name), currency_code) for name in names}
        return cls(start=period.start, end=period.end, **amounts)


class ForecastGroupView(WireStruct, frozen=True, kw_only=True):
    """The forecast of the facilities with one value of the key; null where they have none."""

    value: str | None
    outstanding: AmountText
    overdue: AmountText
    unscheduled: AmountText
    periods: tuple[PeriodFlowsView, ...]

    @classmethod
    def of_group(cls, group: ForecastGroup, currency_code: str) -> Self:
        """Return the wire form of a group."""
        return cls(
            value=group.value,
            outstanding=format_units(group.outstanding, currency_code),
            overdue=format_units(group.overdue, currency_code),
            unscheduled=format_units(group.unscheduled, currency_code),
            periods=tuple(PeriodFlowsView.of_period(one, currency_code) for one in group.periods),
        )


class UnscheduledFacilityView(WireStruct, frozen=True, kw_only=True):
    """A facility whose terms give no schedule, with the reason."""

    facility_id: ResourceId
    name: str
    reason: str


class PortfolioForecastView(WireStruct, frozen=True, kw_only=True):
    """The forecast of a portfolio: outstanding = overdue + unscheduled + amortisation.

    The average life is in years (ACT/365) from the day, weighted by amortisation; rate and margin
    are fractions per annum, weighted by what is outstanding, the margin of floating rates alone.
    What is outstanding of facilities `without_schedule` is unscheduled, unless it is overdue. The
    `groups` by the values of a key, the largest balance first, add up to it in every amount.
    """

    portfolio_id: ResourceId
    on: Day
    as_of: Instant
    currency_code: CurrencyCode
    fx: FxUseView | None
    interval: FlowInterval
    outstanding: AmountText
    overdue: AmountText
    unscheduled: AmountText
    average_life_years: _DecimalText | None
    average_rate: _DecimalText | None
    average_margin: _DecimalText | None
    periods: tuple[PeriodFlowsView, ...]
    without_schedule: tuple[UnscheduledFacilityView, ...]
    by: ExposureKey | None
    groups: tuple[ForecastGroupView, ...]

    @classmethod
    def of_report(
        cls, report: ForecastReport, interval: FlowInterval, by: ExposureKey | None = None
    ) -> Self:
        """Return the wire form of a forecast."""
        code, snapshot = report.currency_code, report.snapshot
        return cls(
            portfolio_id=snapshot.portfolio.id,
            on=snapshot.on,
            as_of=snapshot.as_of,
            currency_code=code,
            fx=None if report.fx is None else FxUseView.of_use(report.fx),
            interval=interval,
            outstanding=format_units(report.outstanding, code),
            overdue=format_units(report.overdue, code),
            unscheduled=format_units(report.unscheduled, code),
            average_life_years=_format(report.average_life_years, _YEARS_DECIMALS),
            average_rate=_format(report.average_rate, _RATE_DECIMALS),
            average_margin=_format(report.average_margin, _RATE_DECIMALS),
            periods=tuple(PeriodFlowsView.of_period(one, code) for one in report.periods),
            without_schedule=tuple(map(UnscheduledFacilityView.of, report.without_schedule)),
            by=by,
            groups=tuple(ForecastGroupView.of_group(one, code) for one in report.groups),
        )


def _format(ratio: Fraction | None, decimals: int) -> str | None:
    return None if ratio is None else format_ratio(ratio, decimals)


@route(
    "GET",
    PORTFOLIO + "/forecast",
    "getPortfolioForecast",
    scopes=READERS,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the forecast of a portfolio",
    description=(
        "Maturity ladder, cash flows and repricing by calendar period after a day, with average "
        "life, rate and margin, by the schedules of the facilities. A floating rate is that of the "
        "last fixing, and what is undrawn is taken as not drawn. The amortisation of all periods, "
        "what is overdue and what has no schedule add up exactly to what is outstanding."
    ),
    parameters=(
        Parameter(
            "interval",
            {"type": "string", "enum": list(FlowInterval), "default": FlowInterval.YEAR.value},
            "Length of the periods.",
        ),
        Parameter(
            "by",
            {"type": "string", "enum": list(FORECAST_KEYS)},
            "Key of a drill-down, whose groups add up exactly to the forecast; default: none.",
            examples={"country": {"value": "country"}},
        ),
        *REPORT_PARAMETERS,
    ),
    returns=Success(PortfolioForecastView, "The forecast."),
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def read_forecast(request: StrictRequest, portfolio_id: str) -> PortfolioForecastView:
    """Return the forecast of a portfolio."""
    interval = read_choice(request.query, "interval", FlowInterval) or FlowInterval.YEAR
    by = read_choice(request.query, "by", ExposureKey)
    if by is not None and by not in FORECAST_KEYS:
        detail = f"must be one of {', '.join(FORECAST_KEYS)}"
        raise InvalidInput.at("/by", "not_in_enum", detail)
    report = await report_forecast(
        request.dependencies,
        request.principal,
        portfolio_id,
        interval,
        read_report_query(request.query),
        by,
    )
    return PortfolioForecastView.of_report(report, interval, by)


ROUTES: Final[list[Route]] = [read_forecast]
"""Routes of the forecast of a portfolio."""
