"""Forecast of a portfolio: maturity ladder, cash flows, repricing, average life and margin."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from fractions import Fraction

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.books.project_debt import load_entries
from spawn.application.portfolios.exposure_reports import (
    PortfolioSnapshot,
    ReportQuery,
    find_portfolio_rates,
    view_portfolio,
)
from spawn.application.portfolios.fx_rate_sets import FxUse
from spawn.domain.errors import InvalidInput
from spawn.domain.money import get_exponent
from spawn.domain.portfolios.cash_flows import (
    FacilityForecast,
    FlowInterval,
    forecast_facility,
    measure_average,
    measure_average_life,
)
from spawn.domain.portfolios.exposure import convert_units
from spawn.domain.portfolios.flow_columns import FlowColumns, sum_flows
from spawn.domain.portfolios.held_facility import HeldFacility
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.domain.principal import Principal

MAX_FORECAST_FACILITIES = 10_000
"""Facilities of which one forecast computes the schedules."""

MAX_FORECAST_ROWS = 20_000
"""Periods of all groups of one forecast."""

FORECAST_KEYS = tuple(key for key in ExposureKey if key is not ExposureKey.SPONSOR)
"""Keys by which a forecast is drilled down: a facility has one value of each."""


class FlowPart(StrEnum):
    """A part of a forecast that is summed on its own."""

    AMORTISATION = "amortisation"
    PRINCIPAL = "principal"
    INTEREST = "interest"
    FIXED = "fixed"
    FLOATING = "floating"
    OVERDUE = "overdue"
    UNSCHEDULED = "unscheduled"


class PeriodFlows(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts of a calendar period after the day, in minor units of the report's currency.

    `fixed` and `floating` are the balances whose rates end or are fixed next in the period.
    """

    start: date
    end: date
    amortisation: int = 0
    principal: int = 0
    interest: int = 0
    fixed: int = 0
    floating: int = 0


class ForecastGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a forecast of the facilities that have one value of a key; None is no value."""

    value: str | None
    outstanding: int
    overdue: int
    unscheduled: int
    periods: Sequence[PeriodFlows]


class UnscheduledFacility(msgspec.Struct, frozen=True, kw_only=True):
    """A facility whose terms give no schedule, with the reason."""

    facility_id: str
    name: str
    reason: str


class ForecastReport(msgspec.Struct, frozen=True, kw_only=True):
    """The forecast of a portfolio in one currency.

    outstanding = overdue + unscheduled + the amortisation of all periods. The averages are
    weighted by what is outstanding; None without any. What is outstanding of the facilities
    `without_schedule` is unscheduled.
    """

    snapshot: PortfolioSnapshot
    currency_code: str
    fx: FxUse | None
    outstanding: int
    overdue: int
    unscheduled: int
    periods: Sequence[PeriodFlows]
    average_life_years: Fraction | None
    average_rate: Fraction | None
    average_margin: Fraction | None
    without_schedule: Sequence[UnscheduledFacility] = ()
    groups: Sequence[ForecastGroup] = ()


WholeCell = tuple[FlowPart, str, int | None]
"""Part, currency and period of flows; None for no period."""

Cell = tuple[FlowPart, str, int | None, str | None]
"""Part, currency and period of the flows that are summed together, and the value of their key."""


async def report_forecast(
    dependencies: Dependencies,
    principal: Principal,
    portfolio_id: str,
    interval: FlowInterval,
    query: ReportQuery,
    by: ExposureKey | None = None,
) -> ForecastReport:
    """Return the forecast of a portfolio from a day on, as recorded at an instant.

    Args:
        dependencies: the ports.
        principal: the caller.
        portfolio_id: the portfolio.
        interval: the length of the periods.
        query: the day, the instant and the currency.
        by: a key that is one of `FORECAST_KEYS`, by whose values the forecast is drilled down.

    Raises:
        NotFound: no such portfolio, or none yet at that instant.
        InvalidInput: an instant that is not in the past, a missing exchange rate, or too many
            facilities, groups or periods.
    """
    snapshot = await view_portfolio(dependencies, principal, portfolio_id, query)
    code = query.currency_code or snapshot.portfolio.state.currency_code
    get_exponent(code, pointer="/currency")
    facilities = snapshot.book.facilities
    if len(facilities) > MAX_FORECAST_FACILITIES:
        detail = f"more than {MAX_FORECAST_FACILITIES} facilities"
        raise InvalidInput.at("/portfolio_id", "too_many", detail)
    currencies = {position.facility.currency_code for position in facilities}
    fx = await find_portfolio_rates(dependencies, snapshot, currencies - {code})
    rates = {
        one: Fraction(1)
        if fx is None
        else fx.rate_set.state.cross_rate(one, code, pointer="/currency")
        for one in currencies
    }
    forecasts = []
    async for position, entries in load_entries(dependencies, facilities):
        await asyncio.sleep(0)  # a schedule takes a millisecond or more
        forecasts.append(
            (position.facility.currency_code, forecast_facility(position, entries, snapshot.on))
        )
    values = [None if by is None else one.keys[by] for one in snapshot.book.exposures]
    cells, flows = _collect_flows(forecasts, values, interval)
    totals = dependencies.flow_totals
    sums = sum_flows(flows) if totals is None else await totals.sum_flows(flows)
    amounts = _convert_cells(cells, sums, code, rates)
    units = {c: rates[c] * Fraction(10) ** (get_exponent(code) - get_exponent(c)) for c in rates}
    total = _sum_group(None, amounts, interval)
    weights = [(one, one.outstanding * units[c]) for c, one in forecasts]
    days = ((f.day, f.amortisation * units[c]) for c, one in forecasts for f in one.flows)
    return ForecastReport(
        snapshot=snapshot,
        currency_code=code,
        fx=fx,
        outstanding=total.outstanding,
        overdue=total.overdue,
        unscheduled=total.unscheduled,
        periods=total.periods,
        average_life_years=measure_average_life(days, snapshot.on),
        average_rate=measure_average([(one.annual_rate, weight) for one, weight in weights]),
        average_margin=measure_average(
            [(one.margin, weight) for one, weight in weights if one.is_floating]
        ),
        without_schedule=_list_unscheduled(facilities, [one for _, one in forecasts]),
        groups=() if by is None else _list_groups(amounts, interval),
    )


def _list_groups(amounts: Mapping[Cell, int], interval: FlowInterval) -> list[ForecastGroup]:
    """Return the groups, the largest balance first.

    Raises:
        InvalidInput: they have more than `MAX_FORECAST_ROWS` periods together.
    """
    by_value: dict[str | None, dict[Cell, int]] = {}
    for cell, units in amounts.items():
        by_value.setdefault(cell[3], {})[cell] = units
    rows = len({(value, period) for _, _, period, value in amounts if period is not None})
    if rows > MAX_FORECAST_ROWS:
        detail = f"gives more than {MAX_FORECAST_ROWS} periods of groups; choose longer periods"
        raise InvalidInput.at("/by", "too_many", detail)
    groups = [_sum_group(value, part, interval) for value, part in by_value.items()]
    return sorted(groups, key=lambda one: (-one.outstanding, one.value is None, one.value or ""))


def _sum_group(
    value: str | None, amounts: Mapping[Cell, int], interval: FlowInterval
) -> ForecastGroup:
    by_part = {part: _sum_part(amounts, part) for part in FlowPart}
    overdue = sum(by_part[FlowPart.OVERDUE].values())
    unscheduled = sum(by_part[FlowPart.UNSCHEDULED].values())
    return ForecastGroup(
        value=value,
        outstanding=sum(by_part[FlowPart.AMORTISATION].values()) + overdue + unscheduled,
        overdue=overdue,
        unscheduled=unscheduled,
        periods=_list_periods(by_part, interval),
    )


def _list_unscheduled(
    facilities: Sequence[HeldFacility], forecasts: Sequence[FacilityForecast]
) -> list[UnscheduledFacility]:
    """Return each facility without a schedule once, however many holdings it has."""
    by_facility: dict[str, UnscheduledFacility] = {}
    for held, forecast in zip(facilities, forecasts, strict=True):
        facility, reason = held.facility, forecast.no_schedule_reason
        if reason is not None:
            by_facility[facility.facility_id] = UnscheduledFacility(
                facility_id=facility.facility_id, name=facility.name, reason=reason
            )
    return list(by_facility.values())


def _collect_flows(
    forecasts: Sequence[tuple[str, FacilityForecast]],
    values: Sequence[str | None],
    interval: FlowInterval,
) -> tuple[list[Cell], FlowColumns]:
    """Return the flows of all facilities in columns, and the meaning of each cell.

    The values are those of the key of each forecast.
    """
    numbers: dict[Cell, int] = {}
    flows = FlowColumns()

    def add(part: FlowPart, key: tuple[str, str | None], day: date | None, units: int) -> None:
        if not units:
            return
        code, value = key
        cell = (part, code, None if day is None else interval.period_of(day), value)
        flows.add(numbers.setdefault(cell, len(numbers)), units)

    for (code, one), value in zip(forecasts, values, strict=True):
        key = code, value
        add(FlowPart.OVERDUE, key, None, one.overdue)
        add(FlowPart.UNSCHEDULED, key, None, one.unscheduled)
        part = FlowPart.FLOATING if one.is_floating else FlowPart.FIXED
        if one.repricing_on is not None:
            add(part, key, one.repricing_on, one.outstanding)
        for flow in one.flows:
            add(FlowPart.AMORTISATION, key, flow.day, flow.amortisation)
            add(FlowPart.PRINCIPAL, key, flow.day, flow.principal)
            add(FlowPart.INTEREST, key, flow.day, flow.interest)
    return list(numbers), flows


_BALANCES = frozenset({FlowPart.AMORTISATION, FlowPart.OVERDUE, FlowPart.UNSCHEDULED})
"""Parts that add up to what is outstanding, which is rounded once."""

_REPRICING = frozenset({FlowPart.FIXED, FlowPart.FLOATING})
"""Parts that add up to the same balance, of all facilities with a later payment date."""


def _convert_cells(
    cells: Sequence[Cell],
    sums: Mapping[int, int],
    currency_code: str,
    rates: Mapping[str, Fraction],
) -> dict[Cell, int]:
    """Convert the sums of cells; those of each group of parts add up to its rounded exact sum.

    The amounts of a part and period are converted first, and then split by the values of the key,
    so that the total is the same by any key.
    """
    by_whole: dict[WholeCell, list[int]] = {}
    for number, (part, code, period, _) in enumerate(cells):
        by_whole.setdefault((part, code, period), []).append(number)
    wholes = {cell: sum(sums.get(n, 0) for n in numbers) for cell, numbers in by_whole.items()}
    amounts: dict[Cell, int] = {}
    for whole, units in _convert_wholes(wholes, currency_code, rates).items():
        numbers = by_whole[whole]
        natives = [(sums.get(n, 0), whole[1]) for n in numbers]
        converted_units = convert_units(natives, currency_code, rates, total=units)
        amounts |= dict(zip((cells[n] for n in numbers), converted_units, strict=True))
    return amounts


def _convert_wholes(
    wholes: Mapping[WholeCell, int], currency_code: str, rates: Mapping[str, Fraction]
) -> dict[WholeCell, int]:
    alone = (part for part in FlowPart if part not in _BALANCES | _REPRICING)
    groups = [_BALANCES, _REPRICING, *({part} for part in alone)]
    amounts: dict[WholeCell, int] = {}
    for parts in groups:
        cells = [cell for cell in wholes if cell[0] in parts]
        natives = [(wholes[cell], cell[1]) for cell in cells]
        amounts |= dict(zip(cells, convert_units(natives, currency_code, rates), strict=True))
    return amounts


def _sum_part(amounts: Mapping[Cell, int], part: FlowPart) -> dict[int | None, int]:
    """Return the amounts of a part by period."""
    by_period: dict[int | None, int] = {}
    for (one, _, period, _), units in amounts.items():
        if one is part:
            by_period[period] = by_period.get(period, 0) + units
    return by_period


def _list_periods(
    by_part: Mapping[FlowPart, Mapping[int | None, int]], interval: FlowInterval
) -> list[PeriodFlows]:
    numbers = {n for by_period in by_part.values() for n in by_period if n is not None}
    names = PeriodFlows.__struct_fields__[2:]
    return [
        PeriodFlows(
            start=interval.start_of(number),
            end=interval.end_of(number),
            **{name: by_part[FlowPart(name)].get(number, 0) for name in names},
        )
        for number in sorted(numbers)
    ]
