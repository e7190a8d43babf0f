"""Pages of portfolios: the list, and one with pipeline, exposure, limits and forecast."""

from decimal import Decimal
from typing import Final

import msgspec

from spawn.application.dependencies import require
from spawn.application.portfolios.exposure_reports import (
    ExposureReport,
    ReportQuery,
    report_concentration,
    report_exposure,
)
from spawn.application.portfolios.forecast_reports import report_forecast
from spawn.application.portfolios.pipeline_reports import (
    list_project_exposures,
    summarize_pipeline,
)
from spawn.application.portfolios.portfolio_queries import get_portfolio, list_portfolios
from spawn.domain.errors import InvalidInput
from spawn.domain.portfolios.cash_flows import FlowInterval
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.domain.principal import Scope
from spawn.domain.query import Query
from spawn.entrypoints.http.charts.bar_charts import BarChart, lay_out_bars
from spawn.entrypoints.http.charts.column_charts import ColumnChart, lay_out_columns
from spawn.entrypoints.http.charts.country_maps import CountryMap, lay_out_countries
from spawn.entrypoints.http.html.rendering import ABSENT, page_response
from spawn.entrypoints.http.portfolios.exposure_routes import REPORT_PARAMETERS, read_report_query
from spawn.entrypoints.http.portfolios.exposure_wire import (
    PortfolioConcentrationView,
    PortfolioExposureView,
    format_units,
)
from spawn.entrypoints.http.portfolios.forecast_routes import PortfolioForecastView
from spawn.entrypoints.http.portfolios.fx_routes import READERS
from spawn.entrypoints.http.protocol.cursors import cursor_binding, encode_cursor
from spawn.entrypoints.http.protocol.operation import HTML, Success
from spawn.entrypoints.http.protocol.query_params import AFTER, read_after
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response
from spawn.entrypoints.http.protocol.route import Route, route

LIST_PATH: Final = "/pages/portfolios"
PATH: Final = LIST_PATH + "/{portfolio_id}"
MAX_PAGE_ROWS: Final = 100
"""Projects, groups of a key or breaches of a limit that the page shows, the largest."""

_TOP: Final = 5
_PAGE_PORTFOLIOS: Final = 50
_UNREPORTABLE: Final = frozenset({"missing_rate", "missing_rates", "too_many"})
_GROUPED_BY: Final = ((ExposureKey.COUNTRY, "Country"), (ExposureKey.SECTOR, "Sector"))
_CONCENTRATION_KEYS: Final = (
    *(ExposureKey.NAME, ExposureKey.COUNTRY, ExposureKey.SECTOR),
    *(ExposureKey.SPONSOR, ExposureKey.RATING),
)


class GroupedExposure(msgspec.Struct, frozen=True, kw_only=True):
    """The exposure of a portfolio by one key, as a chart and as the view of the API."""

    key: ExposureKey
    title: str
    view: PortfolioExposureView
    chart: BarChart | None


class ShownForecast(msgspec.Struct, frozen=True, kw_only=True):
    """The forecast of a portfolio; without one `problem` says why."""

    problem: str | None = None
    view: PortfolioForecastView | None = None
    ladder: ColumnChart | None = None
    flows: ColumnChart | None = None


@route(
    "GET",
    LIST_PATH,
    "getPortfolioListPage",
    scopes=READERS,
    serves_row_scopes=True,
    tag="portfolios",
    summary="Get the page of all portfolios",
    description="Portfolios in order of creation, each with a link to its page.",
    parameters=(AFTER,),
    returns=Success(str, "The page.", media_types=(HTML,)),
    problems=("cursor_invalid",),
)
async def read_portfolio_list_page(request: StrictRequest) -> Response:
    """Return the page of the portfolios."""
    binding = cursor_binding(LIST_PATH)
    query = Query(limit=_PAGE_PORTFOLIOS, after=read_after(request.query, binding))
    page = await list_portfolios(request.dependencies, request.principal, query)
    next_cursor = None if page.next is None else encode_cursor(page.next, binding)
    context = {"portfolios": page.items, "next_cursor": next_cursor}
    return await page_response("portfolios.html", context, headers=(NO_CACHE,))


@route(
    "GET",
    PATH,
    "getPortfolioPage",
    scopes=READERS,
    serves_row_scopes=True,
    tag="portfolios",
    summary="Get the page of a portfolio",
    description=(
        "Pipeline by status, exposure by country, as a map too, and by sector, limits with their "
        "breaches, concentration, maturity ladder and cash flows, with links to the pages of the "
        "projects. It needs `projects:read` too."
    ),
    parameters=REPORT_PARAMETERS,
    returns=Success(str, "The page.", media_types=(HTML,)),
    problems=("not_found", "forbidden"),
)
async def read_portfolio_page(request: StrictRequest, portfolio_id: str) -> Response:
    """Return the page of a portfolio."""
    dependencies, principal = request.dependencies, request.principal
    require(principal, Scope.PROJECTS_READ)
    query = read_report_query(request.query)
    portfolio = await get_portfolio(dependencies, principal, portfolio_id, as_of=query.as_of)
    context: dict[str, object] = {
        "portfolio": portfolio,
        "today": dependencies.clock.now().date(),
        "problem": None,
        "exposure": None,
        "limit": MAX_PAGE_ROWS,
    }
    try:
        report = await report_exposure(
            dependencies, principal, portfolio_id, (ExposureKey.COUNTRY,), query
        )
    except InvalidInput as error:
        context["problem"] = _describe_unreportable(error)
    else:
        # The parts of the page rest on one state of the store.
        fixed = msgspec.structs.replace(query, on=report.snapshot.on, as_of=report.snapshot.as_of)
        context |= await _describe_portfolio(request, portfolio_id, fixed, report)
    return await page_response("portfolio.html", context, headers=(NO_CACHE,))


async def _describe_portfolio(
    request: StrictRequest, portfolio_id: str, query: ReportQuery, report: ExposureReport
) -> dict[str, object]:
    """Return the parts of the page that need the exposure."""
    dependencies, principal = request.dependencies, request.principal
    concentration = await report_concentration(
        dependencies, principal, portfolio_id, _CONCENTRATION_KEYS, _TOP, query
    )
    projects = list_project_exposures(principal, report)
    groups = [_group_exposure(report, key, title) for key, title in _GROUPED_BY]
    return {
        "exposure": groups[0].view,
        "groups": groups,
        "country_map": _map_countries(groups[0].view),
        "concentration": PortfolioConcentrationView.of_report(concentration).concentration,
        "pipeline": summarize_pipeline(projects),
        "projects": projects[:MAX_PAGE_ROWS],
        "hidden_projects": max(0, len(projects) - MAX_PAGE_ROWS),
        "units": _UnitText(report.currency_code),
        "forecast": await _load_forecast(request, portfolio_id, query),
    }


class _UnitText(msgspec.Struct, frozen=True):
    """Function that formats minor units of a currency; equal ones compare equal."""

    currency_code: str

    def __call__(self, units: int) -> str:
        return format_units(units, self.currency_code)


def _group_exposure(report: ExposureReport, key: ExposureKey, title: str) -> GroupedExposure:
    by_key = msgspec.structs.replace(report, groups=report.exposure.drill_down((key,)))
    view = PortfolioExposureView.of_report(by_key, (key,))
    bars = [(one.keys[key] or ABSENT, Decimal(one.exposure)) for one in view.groups]
    return GroupedExposure(key=key, title=title, view=view, chart=lay_out_bars(bars))


def _map_countries(by_country: PortfolioExposureView) -> CountryMap:
    return lay_out_countries(
        {
            one.keys[ExposureKey.COUNTRY]: (Decimal(one.exposure), Decimal(one.share))
            for one in by_country.groups
        }
    )


async def _load_forecast(
    request: StrictRequest, portfolio_id: str, query: ReportQuery
) -> ShownForecast:
    interval = FlowInterval.YEAR
    try:
        report = await report_forecast(
            request.dependencies, request.principal, portfolio_id, interval, query
        )
    except InvalidInput as error:
        return ShownForecast(problem=error.detail)
    view = PortfolioForecastView.of_report(report, interval)
    years = [str(one.start.year) for one in view.periods]
    return ShownForecast(
        view=view,
        ladder=lay_out_columns(years, [_part_of(view, "Amortisation", "bar", "amortisation")]),
        flows=lay_out_columns(
            years,
            [
                _part_of(view, "Principal", "bar", "principal"),
                _part_of(view, "Interest", "second", "interest"),
            ],
        ),
    )


def _part_of(
    view: PortfolioForecastView, name: str, kind: str, field: str
) -> tuple[str, str, list[Decimal]]:
    return name, kind, [Decimal(getattr(one, field)) for one in view.periods]


def _describe_unreportable(error: InvalidInput) -> str:
    """Return why a portfolio has no report; an error of the request itself is raised again."""
    if not {one.code for one in error.errors} <= _UNREPORTABLE:
        raise error
    return "; ".join(one.detail for one in error.errors)


ROUTES: Final[list[Route]] = [read_portfolio_list_page, read_portfolio_page]
"""Routes of the pages of portfolios."""
