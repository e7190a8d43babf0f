"""The circle of tax and debt: interest lowers tax, tax lowers CFADS, CFADS carry the debt.

The tax of a schedule gives CFADS, from which the debt is sized again, until its interest does not
change. More interest never raises any tax, because it is deducted once, at its date or later: with
sculpted debt the map is increasing, and starting from the debt without tax the interest falls to
the largest fixed point. Where interest is deducted at its date the map contracts by at most
rate / DSCR: a change x of every balance changes the later interest by r x, whose present value is
less than x. Iterations are bounded, and the change of the last one is reported.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from spawn.domain.errors import Infeasible
from spawn.domain.finance.debt_sizing_case import SizingInputs
from spawn.domain.finance.debt_sizing_scenarios import (
    ScenarioCash,
    TaxedProject,
    limit_service,
)
from spawn.domain.finance.limits import ROUNDING_NOISE
from spawn.domain.finance.tax.income_tax import TaxRow, compute_tax, compute_tax_payments

MAX_ITERATIONS = 500
"""Iterations of the circle, at most; a usual case takes about ten."""

MAX_PERIOD_TAXES = 1_500_000
"""Taxes of a period in all iterations and scenarios, at most: a few seconds."""


class TaxSolution(NamedTuple):
    """The inputs after tax, the tax by period, and the iterations.

    `residual` is the largest change of a tax payment in the last iteration.
    """

    inputs: SizingInputs
    rows: tuple[TaxRow, ...]
    iterations: int
    residual: float


def solve_tax_circle(
    inputs: SizingInputs,
    project: TaxedProject,
    size_interest: Callable[[SizingInputs], Sequence[float]],
) -> TaxSolution:
    """Find the tax that belongs to the interest of the debt that the cash after tax carries.

    `size_interest` sizes the debt on inputs after tax and returns its interest by period.

    Raises:
        Infeasible: the cash after tax carries no debt, or the iterations do not converge.
    """
    taxes_per_iteration = project.base.periods * (2 + len(inputs.scenarios))
    iterations = min(MAX_ITERATIONS, MAX_PERIOD_TAXES // taxes_per_iteration)
    life, tenor = project.base.periods, inputs.tenor
    after_life = [0.0] * (life - tenor)
    interest = [*size_interest(inputs), *after_life]
    taxes = compute_tax_payments(project.base, project.ebitda, interest)
    for iteration in range(1, iterations + 1):
        taxed_inputs = _subtract_taxes(inputs, project, taxes, interest)
        next_interest = [*size_interest(taxed_inputs), *after_life]
        next_taxes = compute_tax_payments(project.base, project.ebitda, next_interest)
        change = _largest_change(interest, next_interest)
        if change <= ROUNDING_NOISE / 10.0 * max(map(abs, next_interest)):
            rows = compute_tax(project.base, project.ebitda, interest)
            residual = _largest_change(taxes, next_taxes)
            return TaxSolution(taxed_inputs, rows, iteration, residual)
        interest, taxes = next_interest, next_taxes
    detail = (
        f"tax and debt depend on each other and do not agree after {iterations} iterations; "
        "lower the rate, or give fewer periods or scenarios"
    )
    raise Infeasible.at("/tax", "no_solution", detail)


def _largest_change(before: Sequence[float], after: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(before, after, strict=True))


def _subtract_taxes(
    inputs: SizingInputs,
    project: TaxedProject,
    taxes: Sequence[float],
    interest: Sequence[float],
) -> SizingInputs:
    """Return the inputs with the cash after the tax on the interest, in every scenario."""
    cfads = _subtract(project.cfads, taxes)
    scenarios = tuple(
        scenario._replace(
            cfads=_subtract(
                scenario.cfads, compute_tax_payments(project.base, scenario.ebitda, interest)
            )
        )
        for scenario in inputs.scenarios
    )
    base_case = ScenarioCash("", cfads, inputs.target_dscrs, ())
    limits, names = limit_service(
        scenarios or (base_case,), has_floor=inputs.case.floor_debt_service
    )
    return inputs._replace(
        cfads=cfads,
        project_cash_flow=_subtract(project.project_cash_flow, taxes),
        service_limits=limits,
        scenarios=scenarios,
        binding_scenarios=names if scenarios else (),
        taxed_project=project._replace(tax_paid=tuple(taxes)),
    )


def _subtract(cash: Sequence[float], taxes: Sequence[float]) -> tuple[float, ...]:
    return tuple(amount - tax for amount, tax in zip(cash, taxes, strict=False))
