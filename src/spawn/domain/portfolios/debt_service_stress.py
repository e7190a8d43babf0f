"""Stress of a portfolio: the debt service of stored facilities against the CFADS of stored cases.

The debt service of a project is that of all its debt facilities, ranked equally: a lender's part
of a shortfall is its part of the debt service of the period. Payments belong to the period of the
case that has their day, and the first tested period is the first that begins after the day of the
report, so that no period is tested in part.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from fractions import Fraction
from typing import Final

import msgspec

from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cash_periods import CashPeriod
from spawn.domain.covenants.cfads_case import CaseKind, CfadsCase
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import FieldChecker
from spawn.domain.finance.simulation.monte_carlo_case import (
    Shock,
    Shocks,
    SimulatedProject,
    SimulationCase,
    validate_simulation_case,
)
from spawn.domain.money import get_exponent
from spawn.domain.portfolios.cash_flows import FacilityForecast
from spawn.domain.projects.project import Project

MAX_STRESS_SCENARIOS: Final = 10_000
"""Scenarios of one stress."""

MAX_STRESS_CELLS: Final = 20_000_000
"""Periods of all projects times scenarios of one stress: 1.1 s of CPU, with noise and rates."""

MAX_STRESS_PATHS: Final = 2_000_000
"""Tested projects times scenarios of one stress, which take two numbers each."""

_DAYS_A_YEAR: Final = 365.25


class StressShocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shocks of a stress, as those of a simulation.

    `cfads` is a factor on CFADS (1 is the case), `cfads_noise_sigma` adds noise of mean one to
    each project and period, and `rates` shifts the annual rate of the floating part of the debt
    (0.01 is 100 basis points).
    """

    cfads: Shock | None = None
    cfads_noise_sigma: float = 0.0
    rates: Shock | None = None


class StressTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shocks, the scenarios to draw, and the kind of the cases that are stressed."""

    shocks: StressShocks = StressShocks()
    scenarios: int = 1_000
    seed: int = 0
    case_kind: CaseKind = CaseKind.BASE


class LeftOutReason(StrEnum):
    """The reason for which a project is not tested."""

    NO_CASE = "no_case"
    NO_FACILITY = "no_facility"
    NO_SCHEDULE = "no_schedule"
    CASE_TOO_LATE = "case_too_late"
    CASE_TOO_SHORT = "case_too_short"
    MISSING_RATE = "missing_rate"


class LeftOut(Exception):
    """A project cannot be tested."""

    def __init__(self, reason: LeftOutReason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class ScheduledFacility(msgspec.Struct, frozen=True, kw_only=True):
    """A whole facility with its flows after the day, and the share that the portfolio holds."""

    name: str
    currency_code: str
    forecast: FacilityForecast
    held_share: Fraction


class StressedProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project to test: its input to the simulation, in major units of the report's currency.

    `claims` is the portfolio's part of a shortfall in each period.
    """

    project: Project
    case: StoredAggregate[CfadsCase]
    tested_from: date
    tested_to: date
    input: SimulatedProject
    claims: tuple[float, ...]


def build_stressed_project(
    project: Project,
    case: StoredAggregate[CfadsCase] | None,
    facilities: Sequence[ScheduledFacility],
    on: date,
    units: Mapping[str, Fraction],
) -> StressedProject:
    """Return the input of a project to the simulation.

    Args:
        project: the project.
        case: the case whose CFADS is stressed; None without one.
        facilities: all debt facilities of the project.
        on: the day after which debt service is tested.
        units: the value of one major unit of each currency, in the report's currency.

    Raises:
        LeftOut: the project cannot be tested.
    """
    due = [one for one in facilities if one.forecast.outstanding]
    if not any(one.held_share for one in due):
        raise LeftOut(LeftOutReason.NO_FACILITY, "nothing is outstanding of the debt that is held")
    for one in due:
        if one.forecast.no_schedule_reason is not None:
            detail = f"{one.name}: {one.forecast.no_schedule_reason}"
            raise LeftOut(LeftOutReason.NO_SCHEDULE, detail)
    if case is None:
        raise LeftOut(LeftOutReason.NO_CASE, "the project has no case of this kind")
    codes = {case.state.currency_code, *(one.currency_code for one in due)}
    if missing := sorted(codes - units.keys()):
        detail = f"there is no exchange rate of {', '.join(missing)}"
        raise LeftOut(LeftOutReason.MISSING_RATE, detail)
    periods = _select_periods(case.state.periods, due, on)
    return _build(project, case, due, periods, units)


def _select_periods(
    periods: Sequence[CashPeriod], facilities: Sequence[ScheduledFacility], on: date
) -> Sequence[CashPeriod]:
    """Return the periods to test: from the first after the day to that of the last payment."""
    days = [flow.day for one in facilities for flow in one.forecast.flows]
    if not days:
        detail = "no payment falls due after the day: what is outstanding is overdue"
        raise LeftOut(LeftOutReason.NO_FACILITY, detail)
    last = max(days)
    if periods[-1].ends_on < last:
        detail = f"the case ends on {periods[-1].ends_on}, and debt is due until {last}"
        raise LeftOut(LeftOutReason.CASE_TOO_SHORT, detail)
    first = min(days)
    if first < periods[0].starts_on:
        detail = f"the case starts on {periods[0].starts_on}, and debt is due from {first}"
        raise LeftOut(LeftOutReason.CASE_TOO_LATE, detail)
    tested_periods = [one for one in periods if on < one.starts_on <= last]
    if not tested_periods:
        detail = f"no period of the case begins after {on} and before the last payment"
        raise LeftOut(LeftOutReason.CASE_TOO_SHORT, detail)
    return tested_periods


def _build(
    project: Project,
    case: StoredAggregate[CfadsCase],
    facilities: Sequence[ScheduledFacility],
    periods: Sequence[CashPeriod],
    units: Mapping[str, Fraction],
) -> StressedProject:
    count = len(periods)
    interest, principal, held_service = ([Fraction(0)] * count for _ in range(3))
    floating = Fraction(0)
    for one in facilities:
        unit = units[one.currency_code] / 10 ** get_exponent(one.currency_code)
        for flow in one.forecast.flows:
            number = _find_period(periods, flow.day)
            if number is None:
                continue
            parts = (max(flow.interest, 0) * unit, flow.principal * unit)
            interest[number] += parts[0]
            principal[number] += parts[1]
            held_service[number] += sum(parts) * one.held_share
            floating += parts[1] * one.forecast.is_floating
    service = [sum(pair) for pair in zip(interest, principal, strict=True)]
    cash_unit = units[case.state.currency_code]
    total_principal = sum(principal)
    # One number of periods a year is for all projects of a simulation; their cases differ.
    days = (periods[-1].ends_on - periods[0].starts_on).days + 1
    years = min(days / count / _DAYS_A_YEAR, 1.0)
    rate_exposure = float(floating / total_principal) * years if total_principal else 0.0
    return StressedProject(
        project=project,
        case=case,
        tested_from=periods[0].starts_on,
        tested_to=periods[-1].ends_on,
        input=SimulatedProject(
            name=project.project_id,
            sector=project.sector or "",
            country_code=project.country_code or "",
            equity=(0.0,),
            cfads=tuple(float(Fraction(one.cfads) * cash_unit) for one in periods),
            interest=tuple(map(float, interest)),
            principal=tuple(map(float, principal)),
            hedged_share=1.0 - rate_exposure,
        ),
        claims=tuple(
            float(part / due) if due else 0.0
            for part, due in zip(held_service, service, strict=True)
        ),
    )


def _find_period(periods: Sequence[CashPeriod], day: date) -> int | None:
    for number, period in enumerate(periods):
        if period.starts_on <= day <= period.ends_on:
            return number
    return None


def build_stress_case(terms: StressTerms, projects: Sequence[StressedProject]) -> SimulationCase:
    """Return the simulation of the projects.

    Raises:
        InvalidInput: the work exceeds its bounds.
    """
    paths = len(projects) * terms.scenarios
    cells = sum(len(one.claims) for one in projects) * terms.scenarios
    for amount, limit, name in (
        (paths, MAX_STRESS_PATHS, "projects"),
        (cells, MAX_STRESS_CELLS, "periods of all projects"),
    ):
        if amount > limit:
            detail = f"{name} times scenarios is {amount}; use at most {limit}"
            raise InvalidInput.at("/scenarios", "too_many", detail)
    return _build_case(terms, [one.input for one in projects])


def validate_stress_terms(terms: StressTerms) -> None:
    """Validate the terms of a stress by the rules of the simulation.

    Raises:
        InvalidInput: names each field outside its limits.
    """
    checker = FieldChecker()
    checker.require_number("/scenarios", terms.scenarios, 1, MAX_STRESS_SCENARIOS)
    checker.raise_errors()
    neutral = SimulatedProject(name="", equity=(0.0,), cfads=(0.0,))
    validate_simulation_case(_build_case(terms, [neutral]))


def _build_case(terms: StressTerms, projects: Sequence[SimulatedProject]) -> SimulationCase:
    shocks = terms.shocks
    return SimulationCase(
        projects=tuple(projects),
        shocks=Shocks(
            cfads=shocks.cfads, cfads_noise_sigma=shocks.cfads_noise_sigma, rates=shocks.rates
        ),
        scenarios=terms.scenarios,
        seed=terms.seed,
        by_project=False,
    )
