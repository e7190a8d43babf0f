"""Warnings of a debt sizing: figures that are possible and hardly ever meant."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, Protocol

from spawn.domain.finance.coverage_ratios import is_below
from spawn.domain.finance.debt_sizing_case import SizingCase, SizingInputs
from spawn.domain.finance.debt_sizing_scenarios import ScenarioCoverage
from spawn.domain.finance.limits import ROUNDING_NOISE
from spawn.domain.finance.period_lists import list_periods, warn_of_moved_dates
from spawn.domain.finance.returns.rates_of_return import RateOutcome
from spawn.domain.finance.tax.tax_terms import warn_of_idle_assets

_EXCEEDANCE_NAME: Final = re.compile(r"[Pp]([0-9]{1,2}(?:\.[0-9]{1,4})?)")


class CoveredPeriod(Protocol):
    """A period with its ratio."""

    @property
    def period(self) -> int:
        """The number of the period."""
        ...

    @property
    def dscr(self) -> float | None:
        """The ratio, None where no debt service is due."""
        ...


def warn_of_coverage(inputs: SizingInputs, rows: Sequence[CoveredPeriod]) -> tuple[str, ...]:
    """Warn where the schedule misses its target or exceeds its cash, as in the grace."""
    warnings: list[str] = []
    if inputs.case.method == "sculpted" and not inputs.scenarios:
        missed_targets = [
            row.period
            for row, target in zip(rows, inputs.target_dscrs, strict=True)
            if row.dscr is not None and is_below(row.dscr, target)
        ]
        if missed_targets:
            warnings.append(f"the DSCR is below its target in {list_periods(missed_targets)}")
    uncovered_periods = [
        row.period for row in rows if row.dscr is not None and is_below(row.dscr, 1.0)
    ]
    if uncovered_periods:
        periods = list_periods(uncovered_periods)
        warnings.append(f"the DSCR is below 1: CFADS do not cover debt service in {periods}")
    tax = inputs.case.tax
    if tax is not None and tax.assessment == "year":
        warnings += warn_of_moved_dates(inputs.case.dates)
    if inputs.taxed_project is not None:
        warnings += warn_of_idle_assets(inputs.taxed_project.base)
    return tuple(warnings)


def warn_of_scenarios(scenarios: Sequence[ScenarioCoverage]) -> tuple[str, ...]:
    """Warn where the schedule misses the target of a scenario, as in the grace."""
    warnings: list[str] = []
    for scenario in scenarios:
        missed_targets = [
            number
            for number, (ratio, target) in enumerate(
                zip(scenario.dscr, scenario.target_dscr, strict=True), start=1
            )
            if ratio is not None and is_below(ratio, target)
        ]
        if missed_targets:
            periods = list_periods(missed_targets)
            warnings.append(f"the DSCR of {scenario.name} is below its target in {periods}")
    return (*warnings, *_warn_of_exceedance(scenarios))


def _warn_of_exceedance(scenarios: Sequence[ScenarioCoverage]) -> Iterator[str]:
    """Warn where P90 has more cash than P50: names of yields count exceedance."""
    cash_by_level = sorted(
        (float(level[1]), sum(scenario.cfads), scenario.name)
        for scenario in scenarios
        if (level := _EXCEEDANCE_NAME.fullmatch(scenario.name))
    )
    for (_, cash, name), (_, low_cash, low_name) in pairwise(cash_by_level):
        if low_cash > cash * (1.0 + ROUNDING_NOISE):
            yield (
                f"{low_name} has more CFADS than {name}: the name is of a probability of "
                "exceedance, so that the larger number is the lower case"
            )


def warn_of_unused_terms(inputs: SizingInputs) -> tuple[str, ...]:
    """Warn of terms that have no use beside the others."""
    case = inputs.case
    warnings: list[str] = []
    if case.cap_basis != "fixed_point" and case.max_gearing is None and case.share_of_cost is None:
        warnings.append("cap_basis has no use without max_gearing")
    warnings += warn_of_reserve_interest(case, inputs.reserve_months)
    warnings += warn_of_project_cash(inputs.cfads, inputs.project_cash_flow)
    return tuple(warnings)


def warn_of_reserve_interest(case: SizingCase, reserve_months: Sequence[float]) -> Iterator[str]:
    """Warn of an interest on a reserve that the case does not have."""
    if case.reserve_interest_rate and not reserve_months:
        yield "reserve_interest_rate has no use without dsra_months"


def warn_of_project_cash(
    cfads: Sequence[float], project_cash_flow: Sequence[float]
) -> Iterator[str]:
    """Warn of periods in which the project has less cash than the debt is sized on."""
    low_periods = [
        number
        for number, (cash, project_cash) in enumerate(
            zip(cfads, project_cash_flow, strict=False), start=1
        )
        if project_cash < cash - ROUNDING_NOISE * abs(cash)
    ]
    if low_periods:
        text = f"project_cash_flow is below the CFADS in {list_periods(low_periods)}"
        yield f"{text}: equity receives less than the debt is sized on"


def warn_of_funding(debt: float, total_uses: float) -> tuple[str, ...]:
    """Warn of a debt above the funded cost, which leaves a negative equity."""
    if debt <= total_uses * (1.0 + ROUNDING_NOISE):
        return ()
    times = f"the debt is {debt / total_uses:.4g} times the funded cost"
    return (f"{times}, so that the equity is negative; set max_gearing to cap it",)


def warn_of_equity_rate(outcome: RateOutcome) -> tuple[str, ...]:
    """Warn of an equity return below zero."""
    if any(rate < 0.0 for rate in outcome.effective_pa):
        return ("the equity IRR is below zero",)
    return ()
