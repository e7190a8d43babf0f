"""Scenarios of a sculpted debt: each has its cash and its target, the least debt service holds.

Lenders size on a median yield with one ratio and on a low yield with another, such as P50 / 1.30
and P99 / 1.00. Debt service of a period is the least of CFADS / target over the scenarios.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from spawn.domain.finance.coverage_ratios import (
    compute_dscrs,
    compute_life_cover_ratios,
    find_lowest,
)
from spawn.domain.finance.tax.tax_terms import TaxBase

MAX_SCENARIOS = 20
"""Scenarios of a debt sizing, at most."""


class SizingScenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario by its `name`, such as P50 or P99, with its target and perhaps its own cash.

    P99 is exceeded with a probability of 99 %: the low case. Without `cfads` the scenario has those
    of the case. `ebitda` is the base of its tax, by default its CFADS.
    """

    name: str
    target_dscr: float | tuple[float, ...]
    cfads: tuple[float, ...] | None = None
    ebitda: tuple[float, ...] | None = None


class ScenarioCash(NamedTuple):
    """Cash and targets of a scenario over the tenor; `ebitda` runs to the end of the project."""

    name: str
    cfads: tuple[float, ...]
    target_dscrs: tuple[float, ...]
    ebitda: tuple[float, ...]


class TaxedProject(NamedTuple):
    """A project before tax: what of its tax is independent of the debt, and its cash."""

    base: TaxBase
    ebitda: tuple[float, ...]
    project_cash_flow: tuple[float, ...]
    cfads: tuple[float, ...]
    tax_paid: tuple[float, ...] = ()


class ScenarioCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """Ratios of the sized debt on the cash of a scenario, and the periods in which it binds."""

    name: str
    cfads: tuple[float, ...]
    target_dscr: tuple[float, ...]
    dscr: tuple[float | None, ...]
    min_dscr: float | None
    min_dscr_period: int | None
    avg_dscr: float | None
    llcr: float | None
    binding_periods: tuple[int, ...]


def limit_service(
    scenarios: Sequence[ScenarioCash], *, has_floor: bool
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return the most debt service of each period, and the name of the scenario that limits it.

    With a floor it is at least zero, because a lender pays no operating cost. Of equal scenarios
    the first one binds.
    """
    limits_by_scenario = [_divide_cash(scenario, has_floor=has_floor) for scenario in scenarios]
    if len(limits_by_scenario) == 1:
        limits = limits_by_scenario[0]
        return limits, (scenarios[0].name,) * len(limits)
    binding_limits = [
        min(zip(limits, range(len(scenarios)), strict=True))
        for limits in zip(*limits_by_scenario, strict=True)
    ]
    return (
        tuple(limit for limit, _ in binding_limits),
        tuple(scenarios[number].name for _, number in binding_limits),
    )


def _divide_cash(scenario: ScenarioCash, *, has_floor: bool) -> tuple[float, ...]:
    cfads = scenario.cfads
    if has_floor and min(cfads) < 0.0:
        cfads = tuple(max(cash, 0.0) for cash in cfads)
    return tuple(cash / target for cash, target in zip(cfads, scenario.target_dscrs, strict=True))


def cover_scenario(
    scenario: ScenarioCash,
    service: Sequence[float],
    period_rates: Sequence[float],
    balances: Sequence[float],
    binding_scenarios: Sequence[str],
    grace_periods: int,
) -> ScenarioCoverage:
    """Compute the ratios of a scenario over the debt service that was sized."""
    ratios = compute_dscrs(scenario.cfads, service, balances[0])
    tested_ratios = [ratio for ratio in ratios if ratio is not None]
    return ScenarioCoverage(
        name=scenario.name,
        cfads=scenario.cfads,
        target_dscr=scenario.target_dscrs,
        dscr=ratios,
        min_dscr=min(tested_ratios, default=None),
        min_dscr_period=find_lowest(ratios),
        avg_dscr=sum(tested_ratios) / len(tested_ratios) if tested_ratios else None,
        llcr=compute_life_cover_ratios(scenario.cfads, period_rates, balances)[0],
        binding_periods=tuple(
            number
            for number, name in enumerate(binding_scenarios, start=1)
            if name == scenario.name and number > grace_periods
        ),
    )
