"""The tax of a deal in operation, on the interest that is paid.

A sweep lowers later interest, cash that is short pays less of it, and interest that a mezzanine
capitalises is paid when it is repaid: the tax then deducts less than the scheduled interest, leaves
less cash, and changes the sweep. From the tax on scheduled interest the waterfall is run again on
the CFADS after the tax on the interest that it paid, until that does not change. Interest of a
period follows from the cash of earlier ones, so that each run settles one period more at least,
unless the CFADS size debt too.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from spawn.domain.errors import Infeasible
from spawn.domain.finance.deal.deal_case import DealInputs
from spawn.domain.finance.deal.deal_funding import (
    DealFunding,
    fund_deal,
    repay_mezzanine,
    try_funding,
)
from spawn.domain.finance.deal.deal_operation import VatOperation, run_deal_waterfall
from spawn.domain.finance.deal.deal_tax import DealTax, solve_deal_tax
from spawn.domain.finance.facilities.debt_stack import Repayment
from spawn.domain.finance.limits import ROUNDING_NOISE
from spawn.domain.finance.tax.income_tax import compute_tax, compute_tax_payments
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult

_MAX_RUNS: Final = 200
_MAX_PAID_PERIODS: Final = 240_000
"""Periods times runs times lenders: twenty runs of the largest deal."""


class DealOperation(NamedTuple):
    """A deal with its funding and its waterfall, on the CFADS after tax and VAT interest."""

    tax: DealTax
    funding: DealFunding
    mezzanine: Repayment | None
    waterfall: WaterfallResult


def operate_deal(inputs: DealInputs, vat: VatOperation) -> DealOperation:
    """Fund a deal and pay its debt, with the tax on the interest that is paid.

    Raises:
        InvalidInput: no finite funded cost, debt outside its limits, terms of the waterfall, or a
            tax and an interest that do not converge.
    """
    stated_taxes = inputs.stated_taxes or (0.0,) * inputs.operating_periods
    cfads = tuple(
        cash - interest - tax
        for cash, interest, tax in zip(inputs.cfads, vat.interest, stated_taxes, strict=True)
    )
    tax = solve_deal_tax(inputs, cfads, vat.interest)
    operation = _run(inputs, tax, fund_deal(inputs, tax.cfads, tax.funded_cost))
    base = inputs.tax_base
    if base is None or not base.terms.is_interest_deductible:
        return operation
    deducted = [row.interest for row in tax.rows]
    if _is_equal(deducted, _sum_interest(operation, vat)):
        return operation
    return _settle(inputs, vat, cfads, operation)


def _settle(
    inputs: DealInputs, vat: VatOperation, cfads: Sequence[float], operation: DealOperation
) -> DealOperation:
    """Run the deal on the tax of the interest that the run before paid, until both agree.

    CFADS size the debt only where it is sculpted; else the funding stays as it is.
    """
    base, first_runs = inputs.tax_base, operation.tax.iterations
    is_sculpted = inputs.stack.sculpted_index is not None
    runs = min(_MAX_RUNS, _MAX_PAID_PERIODS // (len(cfads) * len(inputs.lenders)))
    interest = _sum_interest(operation, vat)
    for run in range(1, runs + 1):
        if base is None:
            break
        taxes = compute_tax_payments(base, inputs.ebitda, interest)
        taxed_cfads = tuple(cash - tax for cash, tax in zip(cfads, taxes, strict=True))
        funding, total = operation.funding, operation.funding.total_uses
        if is_sculpted:
            funding = try_funding(inputs, taxed_cfads, total)
        if not all(repayment.payments for repayment in funding.sizing.repayments):
            break  # the CFADS of the trial carry no debt
        tax = DealTax(taxed_cfads, (), first_runs + run, funding.total_uses)
        operation = _run(inputs, tax, funding)
        paid_interest = _sum_interest(operation, vat)
        is_steady = abs(funding.total_uses - total) <= ROUNDING_NOISE * total
        if is_steady and _is_equal(interest, paid_interest):
            rows = compute_tax(base, inputs.ebitda, interest)
            if is_sculpted:
                funding = fund_deal(inputs, taxed_cfads, funding.total_uses)
            return operation._replace(tax=tax._replace(rows=rows), funding=funding)
        interest = paid_interest
    detail = (
        "the tax and the interest that is paid depend on each other and do not agree; lower the "
        "rate or the sweep, or move the level of the sweep"
    )
    raise Infeasible.at("/tax", "no_solution", detail)


def _run(inputs: DealInputs, tax: DealTax, funding: DealFunding) -> DealOperation:
    mezzanine = repay_mezzanine(inputs, funding)
    waterfall = run_deal_waterfall(inputs, funding, tax.cfads, mezzanine)
    return DealOperation(tax, funding, mezzanine, waterfall)


def _sum_interest(operation: DealOperation, vat: VatOperation) -> list[float]:
    """Return the interest paid by period, with that which was capitalised before."""
    return [
        row.senior_interest_paid + row.mezz_paid + row.mezz_catch_up + of_vat
        for row, of_vat in zip(operation.waterfall.rows, vat.interest, strict=True)
    ]


def _is_equal(interest: Sequence[float], other: Sequence[float]) -> bool:
    noise = ROUNDING_NOISE * max(map(abs, other))
    return all(abs(a - b) <= noise for a, b in zip(interest, other, strict=True))
