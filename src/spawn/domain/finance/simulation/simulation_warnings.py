"""Warnings of a simulation: scenarios left out, labels that are missing, data without a use."""

from collections.abc import Sequence
from itertools import accumulate

from spawn.domain.finance.simulation.monte_carlo_case import (
    Shock,
    SimulatedProject,
    SimulationCase,
)

_LISTED_PROJECTS = 5
_HIGH_RATE = 1.0


def list_simulation_warnings(
    case: SimulationCase, left_out_shares: Sequence[float]
) -> tuple[str, ...]:
    """Return the warnings of a case; the shares are those of the portfolio, then of projects."""
    warnings = [
        *_warn_of_labels(case),
        *_warn_of_unused_data(case),
        *_warn_of_idle_shocks(case),
    ]
    if case.discount_rate > _HIGH_RATE:
        warnings.append("/discount_rate is above 100 %: rates are fractions, 0.05 is 5 %")
    portfolio, projects = left_out_shares[0], left_out_shares[1:]
    if portfolio > 0.0:
        warnings.append(
            f"{portfolio:.2%} of the scenarios have no rate of return of the portfolio, or "
            "several; its distribution leaves them out"
        )
    incomplete = [
        project for project, share in zip(case.projects, projects, strict=False) if share > 0.0
    ]
    if incomplete:
        warnings.append(
            f"scenarios without exactly one rate of return are left out of {_name(incomplete)}"
        )
    return tuple(warnings)


def _warn_of_labels(case: SimulationCase) -> list[str]:
    """Warn of projects without the label of a factor on which shocks load."""
    shocks: list[Shock | None] = [
        case.shocks.cfads,
        case.shocks.capex,
        case.shocks.delay,
        case.shocks.rates,
    ]
    loadings = [shock.loadings for shock in shocks if shock is not None]
    warnings: list[str] = []
    for label, is_loaded, names in (
        ("sector", any(each.sector for each in loadings), [p.sector for p in case.projects]),
        (
            "country",
            any(each.country for each in loadings),
            [p.country_code for p in case.projects],
        ),
    ):
        nameless = [p for p, name in zip(case.projects, names, strict=True) if not name.strip()]
        if is_loaded and nameless:
            warnings.append(f"no {label}, hence no common factor of one: {_name(nameless)}")
    return warnings


def _warn_of_idle_shocks(case: SimulationCase) -> list[str]:
    """Warn of shocks that change no project."""
    has_capex = any(any(project.capex) for project in case.projects)
    is_exposed = any(_has_debt(project) and project.hedged_share < 1.0 for project in case.projects)
    touches = {
        "cfads": any(any(project.cfads) for project in case.projects),
        "capex": has_capex,
        "delay": has_capex,
        "rates": is_exposed,
    }
    return [
        f"the shock to {name} changes nothing: no project has {_EXPOSURE_TO[name]}"
        for name, is_touching in touches.items()
        if getattr(case.shocks, name) is not None and not is_touching
    ]


def _has_debt(project: SimulatedProject) -> bool:
    """Return whether interest falls on a balance, which is the principal from its period on."""
    balances = [*accumulate(reversed(project.principal))][::-1]
    return any(
        interest > 0.0 and balance > 0.0
        for interest, balance in zip(project.interest, balances, strict=False)
    )


_EXPOSURE_TO = {
    "cfads": "CFADS",
    "capex": "capex",
    "delay": "capex",
    "rates": "unhedged interest on principal",
}


def _warn_of_unused_data(case: SimulationCase) -> list[str]:
    """Warn of data of projects that no shock uses."""
    warnings: list[str] = []
    hedged_projects = [project for project in case.projects if project.hedged_share]
    if hedged_projects and case.shocks.rates is None:
        warnings.append(
            f"hedged_share has no use without a shock to rates: {_name(hedged_projects)}"
        )
    projects_with_capex = [project for project in case.projects if any(project.capex)]
    if projects_with_capex and case.shocks.capex is None and case.shocks.delay is None:
        warnings.append(
            f"capex has no use without a shock to capex or delay: {_name(projects_with_capex)}"
        )
    return warnings


def _name(projects: Sequence[SimulatedProject]) -> str:
    names = ", ".join(project.name for project in projects[:_LISTED_PROJECTS])
    more = len(projects) - _LISTED_PROJECTS
    return f"{names} and {more} more" if more > 0 else names
