"""The circle of tax and debt of a deal: interest lowers tax, tax lowers CFADS, CFADS carry debt.

It starts from the debt without tax and sizes the debt on the CFADS after the tax on its interest,
until neither the interest nor the funded cost change. Interest is that of senior debt and mezzanine
as scheduled, and of the VAT facility: `operation_tax` goes on from there where less is paid. A step
evaluates the funded cost once, because both circles contract; where that does not end, each step
solves the funded cost of its own.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from spawn.domain.errors import Infeasible
from spawn.domain.finance.deal.deal_case import DealInputs
from spawn.domain.finance.deal.deal_funding import schedule_interest, solve_total_uses
from spawn.domain.finance.limits import MAX_AMOUNT, ROUNDING_NOISE
from spawn.domain.finance.tax.income_tax import TaxRow, compute_tax, compute_tax_payments

_MAX_ITERATIONS: Final = 100


class DealTax(NamedTuple):
    """CFADS after tax, the tax by period of operation, and the iterations of the circle."""

    cfads: tuple[float, ...]
    rows: tuple[TaxRow, ...]
    iterations: int
    funded_cost: float | None


def solve_deal_tax(
    inputs: DealInputs, cfads: tuple[float, ...], vat_interest: Sequence[float]
) -> DealTax:
    """Return the CFADS after the tax on the interest of the debt that they carry.

    Args:
        inputs: the deal; without a tax the CFADS are returned as they are.
        cfads: by period of operation, before tax.
        vat_interest: the interest of the VAT facility by period.

    Raises:
        InvalidInput: no finite funded cost, or tax and debt do not converge.
    """
    if inputs.tax_base is None:
        return DealTax(cfads, (), 0, None)
    solution = _iterate(inputs, cfads, vat_interest, solves_cost=False) or _iterate(
        inputs, cfads, vat_interest, solves_cost=True
    )
    if solution is None:
        detail = "the tax and the debt that depend on each other do not converge; lower the rate"
        raise Infeasible.at("/tax", "no_solution", detail)
    return solution


def _iterate(
    inputs: DealInputs,
    cfads: tuple[float, ...],
    vat_interest: Sequence[float],
    *,
    solves_cost: bool,
) -> DealTax | None:
    """Repeat tax and debt until they agree; None where they do not."""
    base, ebitda = inputs.tax_base, inputs.ebitda
    if base is None:
        return None
    total = solve_total_uses(inputs, cfads, None)
    interest, _ = _schedule(inputs, cfads, total, vat_interest)
    for iteration in range(1, _MAX_ITERATIONS + 1):
        taxes = compute_tax_payments(base, ebitda, interest)
        taxed_cfads = tuple(cash - tax for cash, tax in zip(cfads, taxes, strict=True))
        if solves_cost:
            total = solve_total_uses(inputs, taxed_cfads, total)
        next_interest, next_total = _schedule(inputs, taxed_cfads, total, vat_interest)
        change = max(abs(a - b) for a, b in zip(interest, next_interest, strict=True))
        is_steady = abs(next_total - total) <= ROUNDING_NOISE * total
        if is_steady and change <= ROUNDING_NOISE * max(map(abs, next_interest)):
            rows = compute_tax(base, ebitda, interest)
            return DealTax(taxed_cfads, rows, iteration, next_total)
        if not next_total <= MAX_AMOUNT:
            return None
        interest, total = next_interest, next_total
    return None


def _schedule(
    inputs: DealInputs, cfads: Sequence[float], total: float, vat_interest: Sequence[float]
) -> tuple[list[float], float]:
    """Return the interest of lenders and VAT facility at a funded cost, and the uses there."""
    interest, uses = schedule_interest(inputs, cfads, total)
    return [paid + of_vat for paid, of_vat in zip(interest, vat_interest, strict=True)], uses
