"""The page of a project: facts, sponsors, history, loans, cash against debt service, covenants."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from spawn.application.covenants.covenant_queries import (
    CovenantOutlook,
    StandingOnDay,
    read_covenant_state,
    read_outlook,
)
from spawn.application.covenants.state_saving import page_of_project
from spawn.application.facilities.facility_queries import list_facilities, query_facilities
from spawn.application.facilities.ledger_queries import (
    Balance,
    LedgerView,
    compute_balance,
    compute_schedule,
    compute_statement,
    view_ledger,
)
from spawn.application.portfolios.portfolio_queries import list_project_holdings
from spawn.application.projects.queries import get_project, list_project_history
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cfads_case import CASE_KIND, CfadsCase
from spawn.domain.covenants.covenant_set import COVENANT_KIND, CovenantSet
from spawn.domain.errors import Infeasible, InvalidInput
from spawn.domain.facilities.facility import Facility
from spawn.domain.finance.loans.loan_settlement import round_to_minor_units
from spawn.domain.iso.countries import COUNTRIES
from spawn.domain.money import get_exponent
from spawn.domain.principal import Scope
from spawn.entrypoints.http.charts.bar_charts import BarChart, Span, lay_out_spans
from spawn.entrypoints.http.charts.facility_charts import lay_out_facility
from spawn.entrypoints.http.charts.line_charts import DatedValue, LineChart, Series, lay_out_lines
from spawn.entrypoints.http.html.rendering import page_response
from spawn.entrypoints.http.protocol.operation import HTML, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response
from spawn.entrypoints.http.protocol.route import Route, route

PATH: Final = "/pages/projects/{project_id}"
TEMPLATE: Final = "project.html"
MAX_PAGE_ITEMS: Final = 20
"""Facilities, covenants or versions that the page shows."""

MAX_PAGE_CHARTS: Final = 5
"""Facilities whose balance the page draws."""

_GRADES: Final = {"DEFAULTED": "unavailable", "CANCELLED": "unavailable", "SUSPENDED": "degraded"}
_MARKS: Final = {"OK": "ok", "LOCKUP": "warn", "DEFAULT": "bad", "NOT_TESTED": "warn"}


class StatusOfVersion(msgspec.Struct, frozen=True):
    """The status that the document of a version has."""

    status: str
    status_effective_on: date | None = None


_read_status: Final = msgspec.json.Decoder(StatusOfVersion).decode


class ShownFacility(msgspec.Struct, frozen=True):
    """A facility with its figures today; `first` is the day that its balance begins on."""

    facility: Facility
    balance: Balance
    first: date
    chart: LineChart | None


class ShownFacilities(msgspec.Struct, frozen=True):
    """Facilities of a project, and whether it has more of them."""

    items: Sequence[ShownFacility]
    has_more: bool


class ShownCovenant(msgspec.Struct, frozen=True):
    """A covenant with its state today, and its ratios on the first case of the project."""

    covenant: CovenantSet
    state: StandingOnDay
    outlook: CovenantOutlook | None
    chart: LineChart | None


@route(
    "GET",
    PATH,
    "getProjectPage",
    scopes=(Scope.FINANCE_READ,),
    serves_row_scopes=True,
    tag="operations",
    summary="Get the page of a project",
    description=(
        "Facts, sponsors, history, facilities with their balance today, the portfolios that hold "
        "them, cash against debt service and the state of the covenants. It needs `projects:read` "
        "too."
    ),
    returns=Success(str, "The page.", media_types=(HTML,)),
    problems=("not_found", "forbidden"),
)
async def read_project_page(request: StrictRequest, project_id: str) -> Response:
    """Return the page of a project."""
    dependencies, principal = request.dependencies, request.principal
    facilities = await _load_facilities(request, project_id)
    project = await get_project(dependencies, principal, project_id)
    after = max(0, project.version - MAX_PAGE_ITEMS)
    entries = await list_project_history(
        dependencies, principal, project_id, after_version=after, limit=MAX_PAGE_ITEMS
    )
    statuses = [_read_status(one.document) for one in entries]
    today = dependencies.clock.now().date()
    cases = await page_of_project(dependencies, principal, CASE_KIND, project_id, 1)
    case = cases.items[0] if cases.items else None
    context = {
        "project": project,
        "country": COUNTRIES.get(project.state.country_code or "", ("", None))[1],
        "grade": _GRADES.get(project.state.status, "ok"),
        "history": list(zip(reversed(entries), reversed(statuses), strict=True)),
        "timeline": _draw_timeline(statuses, today),
        "facilities": facilities.items,
        "has_more_facilities": facilities.has_more,
        "holdings": await list_project_holdings(dependencies, principal, project_id),
        "case": case,
        "cash_chart": None if case is None else _draw_cash(case.state),
        "covenants": await _load_covenants(request, project_id, case),
        "today": today,
        "marks": _MARKS,
        "limit": MAX_PAGE_ITEMS,
    }
    return await page_response(TEMPLATE, context, headers=(NO_CACHE,))


async def _load_facilities(request: StrictRequest, project_id: str) -> ShownFacilities:
    dependencies, principal = request.dependencies, request.principal
    page = await list_facilities(
        dependencies, principal, project_id, query_facilities(project_id, MAX_PAGE_ITEMS)
    )
    facilities = []
    for number, one in enumerate(page.items):
        view = await view_ledger(dependencies, principal, one.id)
        first = min([view.facility.availability_start, *(e.value_date for e in view.entries)])
        chart = _draw_facility(view, first) if number < MAX_PAGE_CHARTS else None
        facilities.append(ShownFacility(one.state, compute_balance(view), first, chart))
    return ShownFacilities(facilities, page.next is not None)


def _draw_facility(view: LedgerView, first: date) -> LineChart | None:
    """Draw balance, draws and schedule; None before anything is recorded."""
    if not view.entries:
        return None
    try:
        statement = compute_statement(view, first)
    except InvalidInput:  # more than a century
        return None
    facility = view.facility
    return lay_out_facility(statement, (first, view.on), facility.commitment, _schedule_of(view))


def _schedule_of(view: LedgerView) -> list[tuple[date, Decimal]]:
    try:
        schedule = compute_schedule(view)
    except Infeasible:
        return []
    if schedule is None:
        return []
    rows = round_to_minor_units(schedule, get_exponent(view.facility.currency_code))
    return [(row.date, row.closing_balance) for row in rows if row.date is not None]


def _draw_timeline(statuses: Sequence[StatusOfVersion], today: date) -> BarChart | None:
    """Draw when each status began and ended, oldest first; one without a date is left out."""
    dated = [
        (one.status, one.status_effective_on)
        for number, one in enumerate(statuses)
        if one.status_effective_on is not None and (number == 0 or one != statuses[number - 1])
    ]
    ends = [*(since for _, since in dated[1:]), None]
    spans = [
        Span(name=status, since=since, until=until)
        for (status, since), until in zip(dated, ends[: len(dated)], strict=True)
    ]
    return lay_out_spans(spans, today)


async def _load_covenants(
    request: StrictRequest, project_id: str, case: StoredAggregate[CfadsCase] | None
) -> list[ShownCovenant]:
    dependencies, principal = request.dependencies, request.principal
    page = await page_of_project(dependencies, principal, COVENANT_KIND, project_id, MAX_PAGE_ITEMS)
    covenants = []
    for stored in page.items:
        state = await read_covenant_state(dependencies, principal, stored.id)
        outlook = None if case is None else await _find_outlook(request, stored.id, case.id)
        chart = None if outlook is None else _draw_ratios(stored.state, outlook)
        covenants.append(ShownCovenant(stored.state, state, outlook, chart))
    return covenants


async def _find_outlook(
    request: StrictRequest, covenant_id: str, case_id: str
) -> CovenantOutlook | None:
    """Return the ratios of a covenant on a case; None if the case lacks what the metric needs."""
    try:
        return await read_outlook(
            request.dependencies, request.principal, covenant_id, case_id, None
        )
    except InvalidInput:
        return None


def _draw_cash(case: CfadsCase) -> LineChart | None:
    def values(name: str) -> list[DatedValue]:
        return [(period.ends_on, getattr(period, name)) for period in case.periods]

    return lay_out_lines(
        (
            Series(name="CFADS", kind="curve", values=values("cfads")),
            Series(name="Debt service", kind="second", values=values("debt_service")),
        ),
        from_zero=True,
    )


def _draw_ratios(covenant: CovenantSet, outlook: CovenantOutlook) -> LineChart | None:
    ratios = [
        (one.tested_on, None if one.printed_ratio is None else Decimal(one.printed_ratio))
        for one in outlook.dates
    ]
    stated: tuple[tuple[str, str, Any], ...] = (
        (f"Lock-up below {covenant.lockup_level}", "lockup", covenant.lockup_level),
        (f"Default below {covenant.default_level}", "default", covenant.default_level),
    )
    levels = [level for level in stated if level[2] is not None]
    series = Series(name=str(covenant.metric), kind="curve", values=ratios)
    return lay_out_lines((series,), levels=levels)


ROUTES: Final[list[Route]] = [read_project_page]
