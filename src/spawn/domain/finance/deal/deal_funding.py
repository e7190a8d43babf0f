"""The fixed point of a deal: the funded cost from which every size, draw and reserve follows.

At a funded cost U the facilities have their sizes (shares of U, the sculpted one within the cap
on U), their debt service the reserve, and both with the equity the draws, whose interest and fees
make the uses F(U). The deal is where F(U) = U. Nothing is drawn that is not repaid, and no fee is
counted twice, because construction and operation have the same commitments.
"""

from collections.abc import Sequence
from math import fsum
from operator import mul
from typing import Final, NamedTuple

from spawn.domain.errors import Infeasible
from spawn.domain.finance.construction.facility_draws import (
    FundingPlan,
    PeriodDraws,
    run_draws,
    solve_funded_cost,
)
from spawn.domain.finance.construction.facility_funding import (
    complete_plan,
    sum_term_commitments,
)
from spawn.domain.finance.deal.deal_case import DealInputs
from spawn.domain.finance.facilities.debt_stack import Repayment, StackSizing
from spawn.domain.finance.limits import ROUNDING_NOISE
from spawn.domain.finance.time_base.period_schedule import shares_ahead

_UNDRAWN_NOISE: Final = 1e-9


class DealFunding(NamedTuple):
    """A deal at its funded cost: sizes, plan, the periods of construction and the reserve."""

    total_uses: float
    sizing: StackSizing
    plan: FundingPlan
    periods: list[PeriodDraws]
    senior_service: list[float]


def solve_total_uses(inputs: DealInputs, cfads: Sequence[float], guess: float | None) -> float:
    """Return the funded cost at which uses are those of its own plan, before limits are checked.

    Raises:
        InvalidInput: no finite funded cost.
    """
    return solve_funded_cost(
        inputs.draws,
        lambda cost: _plan_at(inputs, cfads, cost, is_final=False)[1],
        pointer="/facilities",
        guess=guess,
    )


def try_funding(inputs: DealInputs, cfads: Sequence[float], total: float) -> DealFunding:
    """Return the funding at a funded cost that is still searched for; nothing is checked."""
    sizing, plan = _plan_at(inputs, cfads, total, is_final=False)
    periods = run_draws(inputs.draws, plan)
    uses = fsum(period.uses for period in periods)
    return DealFunding(uses, sizing, plan, periods, [])


def repay_mezzanine(inputs: DealInputs, funding: DealFunding) -> Repayment | None:
    """Return the repayment of what the mezzanine is owed after construction."""
    if inputs.mezzanine is None:
        return None
    balance = funding.periods[-1].closing[inputs.lenders[inputs.mezzanine]]
    return inputs.stack.repay(inputs.mezzanine, balance)


def schedule_interest(
    inputs: DealInputs, cfads: Sequence[float], total: float
) -> tuple[list[float], float]:
    """Return the interest of the lenders by period at a funded cost, and the uses there."""
    funding = try_funding(inputs, cfads, total)
    repayments = list(funding.sizing.repayments)
    mezzanine = repay_mezzanine(inputs, funding)
    if inputs.mezzanine is not None and mezzanine is not None:
        repayments[inputs.mezzanine] = mezzanine
    interest = [0.0] * inputs.operating_periods
    for repayment in repayments:
        for t, amount in enumerate(repayment.interest):
            interest[t] += amount
    return interest, funding.total_uses


def fund_deal(
    inputs: DealInputs,
    cfads: Sequence[float],
    guess: float | None = None,
) -> DealFunding:
    """Solve the funded cost on CFADS after tax and VAT interest, near a guess if there is one.

    Raises:
        InvalidInput: no finite funded cost, CFADS that carry no debt, debt above the cap,
            commitments above the cost, or a commitment that is not drawn.
    """
    total = solve_total_uses(inputs, cfads, guess)
    sizing, plan = _plan_at(inputs, cfads, total, is_final=True)
    commitments = sum_term_commitments(inputs.draws, plan)
    if commitments > total * (1.0 + ROUNDING_NOISE):
        detail = f"sum up to {commitments:.10g}, above the funded cost of {total:.10g}; lower them"
        raise Infeasible.at("/facilities", "exceeds_debt", detail)
    periods = run_draws(inputs.draws, plan)
    _check_drawn(inputs, plan, periods)
    return DealFunding(total, sizing, plan, periods, sum_senior_service(inputs, sizing))


def _plan_at(
    inputs: DealInputs, cfads: Sequence[float], total: float, *, is_final: bool
) -> tuple[StackSizing, FundingPlan]:
    """Return sizes and plan at a funded cost."""
    amounts = [
        facility.commitment or (facility.share or 0.0) * total
        for facility in inputs.case.facilities
    ]
    others = sum(
        amount
        for facility, amount in zip(inputs.case.facilities, amounts, strict=True)
        if facility.kind in {"shareholder_loan", "grant"}
    )
    sizing = inputs.stack.size(cfads, total, other_funding=others, is_final=is_final)
    for place, amount in zip(inputs.lenders, sizing.amounts, strict=True):
        amounts[place] = amount
    reserve = reserve_after(inputs, sum_senior_service(inputs, sizing), 0)
    return sizing, complete_plan(inputs.draws, inputs.draw_terms, amounts, total, reserve)


def sum_senior_service(inputs: DealInputs, sizing: StackSizing) -> list[float]:
    """Return the senior debt service by period of operation, the balloons apart."""
    total = [0.0] * inputs.operating_periods
    for index, repayment in enumerate(sizing.repayments):
        if index != inputs.mezzanine:
            for t, payment in enumerate(repayment.payments):
                total[t] += payment
    return total


def reserve_after(inputs: DealInputs, service: Sequence[float], payment: int) -> float:
    """Return the DSRA after a payment: the senior debt service of the next months."""
    if not inputs.reserve_months:
        return 0.0
    shares = shares_ahead(inputs.reserve_months, payment, inputs.case.dsra_months or 0.0)
    return fsum(map(mul, shares, service[payment : payment + len(shares)]))


def _check_drawn(inputs: DealInputs, plan: FundingPlan, periods: Sequence[PeriodDraws]) -> None:
    """Reject a commitment that its window leaves undrawn: its debt service would not be owed."""
    for index, commitment in enumerate(plan.commitments):
        undrawn = periods[-1].undrawn[index]
        if index in inputs.lenders and undrawn > _UNDRAWN_NOISE * commitment:
            detail = (
                f"{undrawn:.10g} of the commitment is not drawn; widen its window, draw it "
                "earlier or lower it"
            )
            raise Infeasible.at(f"/facilities/{index}", "no_solution", detail)
