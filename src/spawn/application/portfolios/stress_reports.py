"""Stress of a portfolio: the debt service of its projects over scenarios of a simulation."""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from fractions import Fraction
from typing import Final

import msgspec

from spawn.application.analysis.calculation import CalculationPool, Deadline
from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.books.project_debt import (
    load_entries,
    load_project_cases,
    load_project_debt,
)
from spawn.application.portfolios.exposure_reports import (
    PortfolioSnapshot,
    ReportQuery,
    find_portfolio_rates,
    view_portfolio,
)
from spawn.application.portfolios.fx_rate_sets import FxUse
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cfads_case import CaseKind, CfadsCase
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.simulation.debt_cover_case import CoverDistributions, CoverMeasure
from spawn.domain.finance.simulation.monte_carlo_case import DistributionSummary, SimulationCase
from spawn.domain.money import get_exponent
from spawn.domain.portfolios.cash_flows import forecast_share
from spawn.domain.portfolios.debt_service_stress import (
    LeftOut,
    LeftOutReason,
    ScheduledFacility,
    StressedProject,
    StressTerms,
    build_stress_case,
    build_stressed_project,
    validate_stress_terms,
)
from spawn.domain.portfolios.exposure import allocate_units
from spawn.domain.portfolios.held_facility import HeldFacility
from spawn.domain.principal import Principal

MAX_STRESS_FACILITIES: Final = 10_000
"""Facilities of which one stress computes the schedules."""

_WHOLE: Final = Fraction(1)


class CoverFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The cover of the debt service; amounts in minor units of the report's currency.

    The base figures are those without shocks. The shortfall is the portfolio's part of the debt
    service that CFADS does not cover, summed over the periods of a scenario.
    """

    base_min_dscr: float
    base_shortfall: int
    min_dscr: DistributionSummary
    uncovered_probability: float
    mean_shortfall: int
    shortfall: DistributionSummary


class ProjectStress(msgspec.Struct, frozen=True, kw_only=True):
    """The stress of a project."""

    input: StressedProject
    figures: CoverFigures


class LeftOutProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project that is not tested, with the reason."""

    project_id: str
    name: str
    reason: LeftOutReason
    detail: str


class StressReport(msgspec.Struct, frozen=True, kw_only=True):
    """The stress of a portfolio; None without a project that can be tested.

    The mean shortfalls of the projects, and those without shocks, add up to those of the total.
    """

    snapshot: PortfolioSnapshot
    currency_code: str
    fx: FxUse | None
    total: CoverFigures | None
    projects: Sequence[ProjectStress]
    left_out: Sequence[LeftOutProject]


async def report_stress(
    dependencies: Dependencies,
    pool: CalculationPool,
    principal: Principal,
    portfolio_id: str,
    terms: StressTerms,
    query: ReportQuery,
) -> StressReport:
    """Return the stress of a portfolio from a day on, as recorded at an instant.

    Raises:
        NotFound: no such portfolio, or none yet at that instant.
        InvalidInput: a term outside its limits, an instant that is not in the past, or too much
            work.
        DeadlineExceeded: the simulation took too long.
    """
    validate_stress_terms(terms)
    snapshot = await view_portfolio(dependencies, principal, portfolio_id, query)
    code = query.currency_code or snapshot.portfolio.state.currency_code
    get_exponent(code, pointer="/currency")
    debt = await load_project_debt(dependencies, snapshot.book.facilities, snapshot.as_of)
    if len(debt) > MAX_STRESS_FACILITIES:
        detail = f"more than {MAX_STRESS_FACILITIES} facilities"
        raise InvalidInput.at("/portfolio_id", "too_many", detail)
    cases = await _load_cases(dependencies, snapshot, terms.case_kind)
    codes = {one.facility.currency_code for one in debt}
    codes |= {one.state.currency_code for one in cases.values()}
    fx = await _find_rates(dependencies, snapshot, codes - {code})
    units = _list_units(codes, code, fx)
    facilities = await _schedule(dependencies, snapshot, debt)
    inputs, left_out = await _build_projects(snapshot, cases, facilities, units)
    figures: list[CoverFigures] = []
    total = None
    if inputs:
        case = build_stress_case(terms, inputs)
        claims = [one.claims for one in inputs]
        async with pool.slot(large=False):
            cover = await pool.run_in_turns(lambda deadline: _measure(case, claims, deadline))
        total, figures = _round_figures(cover, code)
    return StressReport(
        snapshot=snapshot,
        currency_code=code,
        fx=fx,
        total=total,
        projects=[
            ProjectStress(input=one, figures=own) for one, own in zip(inputs, figures, strict=True)
        ],
        left_out=left_out,
    )


async def _build_projects(
    snapshot: PortfolioSnapshot,
    cases: Mapping[str, StoredAggregate[CfadsCase]],
    facilities: Mapping[str, Sequence[ScheduledFacility]],
    units: Mapping[str, Fraction],
) -> tuple[list[StressedProject], list[LeftOutProject]]:
    inputs: list[StressedProject] = []
    left_out: list[LeftOutProject] = []
    projects = {one.project.project_id: one.project for one in snapshot.book.facilities}
    for key, project in projects.items():
        await asyncio.sleep(0)
        try:
            one = build_stressed_project(
                project, cases.get(key), facilities.get(key, ()), snapshot.on, units
            )
        except LeftOut as gap:
            name = project.project_name
            left_out.append(
                LeftOutProject(project_id=key, name=name, reason=gap.reason, detail=gap.detail)
            )
        else:
            inputs.append(one)
    return inputs, left_out


def _measure(
    case: SimulationCase, claims: Sequence[Sequence[float]], deadline: Deadline
) -> Generator[None, None, CoverMeasure]:
    # NumPy takes a tenth of a second to import, and a service may never need it.
    from spawn.domain.finance.simulation.debt_cover import measure_cover

    steps = measure_cover(case, claims)
    while True:
        deadline.raise_if_expired()
        try:
            next(steps)
        except StopIteration as end:
            cover: CoverMeasure = end.value
            return cover
        yield


async def _load_cases(
    dependencies: Dependencies, snapshot: PortfolioSnapshot, kind: CaseKind
) -> dict[str, StoredAggregate[CfadsCase]]:
    """Return the newest case of a kind of each project."""
    ids = {one.project.project_id for one in snapshot.book.facilities}
    cases: dict[str, StoredAggregate[CfadsCase]] = {}
    async for one in load_project_cases(dependencies, ids, snapshot.as_of):
        if one.state.kind is not kind:
            continue
        other = cases.get(one.state.project_id)
        if other is None or (other.created_at, other.id) < (one.created_at, one.id):
            cases[one.state.project_id] = one
    return cases


async def _find_rates(
    dependencies: Dependencies, snapshot: PortfolioSnapshot, foreign_codes: set[str]
) -> FxUse | None:
    """Return the rates; None without any, and then projects in other currencies are left out."""
    try:
        return await find_portfolio_rates(dependencies, snapshot, foreign_codes)
    except InvalidInput:
        return None


def _list_units(codes: set[str], target: str, fx: FxUse | None) -> dict[str, Fraction]:
    """Return the value of a unit of each currency that has a rate."""
    units = {target: _WHOLE}
    if fx is None:
        return units
    rate_set = fx.rate_set.state
    for code in codes - {target}:
        if all(rate_set.find_rate(one) is not None for one in (code, target)):
            units[code] = rate_set.cross_rate(code, target)
    return units


async def _schedule(
    dependencies: Dependencies, snapshot: PortfolioSnapshot, debt: Sequence[HeldFacility]
) -> dict[str, list[ScheduledFacility]]:
    """Return the facilities of each project with their flows and the shares that are held."""
    shares: dict[str, Fraction] = {}
    for part in snapshot.book.facilities:
        key = part.facility.facility_id
        shares[key] = shares.get(key, Fraction(0)) + part.holding.ratio
    facilities: dict[str, list[ScheduledFacility]] = {}
    async for one, entries in load_entries(dependencies, debt):
        await asyncio.sleep(0)  # a schedule takes a millisecond or more
        facility = one.facility
        facilities.setdefault(facility.project_id, []).append(
            ScheduledFacility(
                name=facility.name,
                currency_code=facility.currency_code,
                forecast=forecast_share(facility, _WHOLE, entries, snapshot.on),
                held_share=shares.get(facility.facility_id, Fraction(0)),
            )
        )
    return facilities


def _round_figures(
    cover: CoverMeasure, currency_code: str
) -> tuple[CoverFigures, list[CoverFigures]]:
    """Return the figures of all and of each project; the amounts of these add up to those."""
    scale = 10 ** get_exponent(currency_code)
    means, mean = _round_parts([one.shortfall.mean for one in cover.projects], scale)
    bases, base = _round_parts([one.base_shortfall for one in cover.projects], scale)
    projects = [_build_figures(*row) for row in zip(cover.projects, means, bases, strict=True)]
    return _build_figures(cover.portfolio, mean, base), projects


def _round_parts(amounts: Sequence[float], scale: int) -> tuple[list[int], int]:
    exact_amounts = [Fraction(one) * scale for one in amounts]
    common = max(one.denominator for one in exact_amounts)  # powers of two
    total = round(sum(exact_amounts, Fraction(0)))
    numerators = [one.numerator * (common // one.denominator) for one in exact_amounts]
    return allocate_units(numerators, common, total), total


def _build_figures(cover: CoverDistributions, mean: int, base: int) -> CoverFigures:
    return CoverFigures(
        base_min_dscr=cover.base_min_dscr,
        base_shortfall=base,
        min_dscr=cover.min_dscr,
        uncovered_probability=cover.uncovered_probability,
        mean_shortfall=mean,
        shortfall=cover.shortfall,
    )
