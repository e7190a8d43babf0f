"""The circle of tax and debt of a deal: interest lowers tax, tax lowers CFADS, CFADS carry debt.

It starts from the debt without tax and sizes the debt on the CFADS after the tax on its interest,
until the interest does not change. Interest is that of senior debt and mezzanine as scheduled, and
of the VAT facility. Each sizing is a whole deal with its own funded cost.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from spawn.domain.errors import Infeasible
from spawn.domain.finance.deal.deal_case import DealInputs
from spawn.domain.finance.limits import ROUNDING_NOISE
from spawn.domain.finance.tax.income_tax import TaxRow, compute_tax, compute_tax_payments

_MAX_ITERATIONS: Final = 100
_NOISE: Final = ROUNDING_NOISE


class DealTax(NamedTuple):
    """CFADS after tax, the tax by period of operation, and the iterations of the circle."""

    cfads: tuple[float, ...]
    rows: tuple[TaxRow, ...]
    iterations: int
    funded_cost: float | None


def solve_deal_tax(
    inputs: DealInputs,
    cfads: tuple[float, ...],
    interest_of: Callable[[Sequence[float], float | None], tuple[list[float], float]],
) -> DealTax:
    """Return the CFADS after the tax on the interest of the debt that they carry.

    `cfads` are before tax; `interest_of` is the interest by period of operation of the deal on
    CFADS after tax and its funded cost, which begins the next search.

    Raises:
        InvalidInput: the CFADS after tax carry no debt, or tax and debt do not converge.
    """
    base, ebitda = inputs.tax_base, inputs.ebitda
    if base is None:
        return DealTax(cfads, (), 0, None)
    interest, total = interest_of(cfads, None)
    for iteration in range(1, _MAX_ITERATIONS + 1):
        taxes = compute_tax_payments(base, ebitda, interest)
        taxed_cfads = tuple(cash - tax for cash, tax in zip(cfads, taxes, strict=True))
        next_interest, total = interest_of(taxed_cfads, total)
        change = max(abs(a - b) for a, b in zip(interest, next_interest, strict=True))
        if change <= _NOISE * max(map(abs, next_interest)):
            rows = compute_tax(base, ebitda, interest)
            return DealTax(taxed_cfads, rows, iteration, total)
        interest = next_interest
    detail = "the tax and the debt that depend on each other do not converge; lower the rate"
    raise Infeasible.at("/tax", "no_solution", detail)
