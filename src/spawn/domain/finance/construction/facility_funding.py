"""Construction funding by facilities: their plan at a funded cost, their draws and the sums."""

from collections.abc import Sequence
from math import fsum
from typing import Final

import msgspec

from spawn.domain.errors import Infeasible
from spawn.domain.finance.construction.construction_case import (
    DEFAULT_DRAW_ORDER,
    ConstructionCase,
    ConstructionFacility,
    check_sizes,
)
from spawn.domain.finance.construction.construction_result import (
    ConstructionFunding,
    ConstructionRow,
    FacilityDrawRow,
    FacilityDraws,
)
from spawn.domain.finance.construction.facility_draws import (
    DrawInputs,
    DrawSource,
    FundingPlan,
    PeriodDraws,
    run_draws,
    solve_funded_cost,
)
from spawn.domain.finance.facilities.facility_terms import LENDER_KINDS, resolve_annual_rates
from spawn.domain.finance.limits import (
    ROUNDING_NOISE,
    FieldChecker,
    expand_per_period,
    reject_overflow,
)
from spawn.domain.finance.loans.loan_terms import compute_period_rates
from spawn.domain.finance.time_base.period_schedule import resolve_schedule

_UNDRAWN_NOISE: Final = 1e-9


def fund_commitment(case: ConstructionCase, commitment: float) -> ConstructionFunding:
    """Fund the costs with a debt of a given amount; equity is the rest of the uses.

    Raises:
        InvalidInput: a commitment above the funded cost.
    """
    periods = len(case.construction_cost)
    rates = expand_per_period(case.rate_per_period or 0.0, periods)
    is_equity_first = case.funding == "equity_first"
    source = DrawSource(
        name="debt",
        kind="senior",
        annual_rates=rates,
        period_rates=rates,
        fee_rates=expand_per_period(case.commitment_fee_per_period, periods),
        upfront_fee=case.upfront_fee,
        order=2 if is_equity_first else 1,
        first=0,
        last=periods,
        capitalises=False,
    )
    inputs = DrawInputs.of_sources((case.cost_at_close, *case.construction_cost), (source,), 1)
    reserve = case.dsra_funding_at_end + case.dsra_share_of_debt * commitment
    total = solve_funded_cost(
        inputs,
        lambda total: FundingPlan((commitment,), max(total - commitment, 0.0), reserve),
        pointer="/rate_per_period",
    )
    _check_commitments(commitment, total, "/debt_commitment")
    plan = FundingPlan((commitment,), max(total - commitment, 0.0), reserve)
    funding = _build_result(inputs, plan)
    conventions = _build_conventions(case) | {"funding": case.funding or "pro_rata"}
    return msgspec.structs.replace(funding, facilities=(), conventions=conventions)


def _check_commitments(commitments: float, total: float, pointer: str) -> None:
    """Reject commitments above the funded cost, which leave a negative equity."""
    if commitments > total * (1.0 + ROUNDING_NOISE):
        detail = f"exceeds the funded cost of {total:.10g}; lower it"
        raise Infeasible.at(pointer, "exceeds_debt", detail)


def fund_facilities(
    case: ConstructionCase, facilities: tuple[ConstructionFacility, ...]
) -> ConstructionFunding:
    """Fund the costs with several facilities; equity is the rest of the uses.

    Raises:
        InvalidInput: sizes, rates or time outside their limits, and commitments above the cost.
    """
    checker = FieldChecker()
    check_sizes(checker, facilities)
    checker.raise_errors()
    schedule = resolve_schedule(case, len(case.construction_cost))
    inputs = build_draw_inputs(
        (case.cost_at_close, *case.construction_cost),
        facilities,
        schedule.accrual_fractions,
        case.equity_draw_order,
    )

    def plan_of(total: float) -> FundingPlan:
        amounts = [
            facility.commitment or (facility.share or 0.0) * total for facility in facilities
        ]
        debt = sum(
            amount
            for facility, amount in zip(facilities, amounts, strict=True)
            if facility.kind in LENDER_KINDS
        )
        reserve = case.dsra_funding_at_end + case.dsra_share_of_debt * debt
        return complete_plan(inputs, facilities, amounts, total, reserve)

    total = solve_funded_cost(inputs, plan_of, pointer="/facilities")
    plan = plan_of(total)
    _check_commitments(sum_term_commitments(inputs, plan), total, "/facilities")
    funding = _build_result(inputs, plan)
    return msgspec.structs.replace(
        funding,
        conventions=_build_conventions(case)
        | {"day_count": schedule.day_count, "funding": "by draw order, pro rata within one"},
        warnings=schedule.warnings + warn_of_undrawn(inputs, funding.facilities),
    )


def build_draw_inputs(
    costs: tuple[float, ...],
    facilities: Sequence[ConstructionFacility],
    accrual_fractions: Sequence[float],
    equity_order: int | None,
) -> DrawInputs:
    """Return the sources with their rates and fees per period of construction.

    The rates may run beyond construction.

    Raises:
        InvalidInput: a rate is negative after floor, hedge and margin.
    """
    periods = len(costs) - 1
    fractions = tuple(accrual_fractions)
    annual_rates = resolve_annual_rates(tuple(facilities), len(fractions))
    sources = tuple(
        DrawSource(
            name=facility.name,
            kind=facility.kind,
            annual_rates=rates,
            period_rates=compute_period_rates(rates[:periods], fractions[:periods]),
            fee_rates=tuple(facility.commitment_fee * tau for tau in fractions[:periods]),
            upfront_fee=facility.upfront_fee,
            order=facility.draw_order or DEFAULT_DRAW_ORDER,
            first=facility.available_from or 0,
            last=periods if facility.available_until is None else facility.available_until,
            capitalises=_capitalises(facility),
            vat_rate=facility.vat_rate or 0.0,
            refund_periods=facility.refund_periods or 0,
        )
        for facility, rates in zip(facilities, annual_rates, strict=True)
    )
    return DrawInputs.of_sources(costs, sources, equity_order or DEFAULT_DRAW_ORDER)


def _capitalises(facility: ConstructionFacility) -> bool:
    if facility.capitalises_interest is None:
        return facility.kind == "shareholder_loan"
    return facility.capitalises_interest


def complete_plan(
    inputs: DrawInputs,
    facilities: Sequence[ConstructionFacility],
    amounts: Sequence[float],
    total: float,
    reserve: float,
) -> FundingPlan:
    """Return the plan at a funded cost: equity is the rest, the VAT facility its largest balance.

    `amounts` are the commitments; the share of an equity bridge is one of the equity.
    """
    commitments = list(amounts)
    for index in (inputs.bridge, inputs.vat):
        if index is not None:
            commitments[index] = 0.0
    equity = max(total - sum(commitments), 0.0)
    if inputs.vat is not None:
        commitments[inputs.vat] = inputs.largest_vat()
    if inputs.bridge is not None:
        bridge = facilities[inputs.bridge]
        commitments[inputs.bridge] = bridge.commitment or (bridge.share or 0.0) * equity
    return FundingPlan(commitments, equity, reserve)


def sum_term_commitments(inputs: DrawInputs, plan: FundingPlan) -> float:
    """Return the commitments of the sources that fund costs, without bridges."""
    return sum(
        commitment
        for index, commitment in enumerate(plan.commitments)
        if index not in {inputs.bridge, inputs.vat}
    )


def _build_result(inputs: DrawInputs, plan: FundingPlan) -> ConstructionFunding:
    periods = run_draws(inputs, plan)
    facilities = build_facility_draws(inputs, plan, periods)
    rows = build_construction_rows(inputs, periods)
    reject_overflow(
        "/construction_cost", (row.uses for row in rows), (row.closing_balance for row in rows)
    )
    lenders = [facility for facility in facilities if facility.kind in LENDER_KINDS]
    total = fsum(row.uses for row in rows)
    return ConstructionFunding(
        debt_commitment=fsum(facility.commitment for facility in lenders),
        equity=fsum(row.equity_draw for row in rows),
        total_uses=total,
        idc_total=fsum(facility.interest_total for facility in facilities),
        fees_total=fsum(facility.fees_total for facility in facilities),
        gearing=fsum(facility.drawn_total for facility in lenders) / total,
        rows=rows,
        conventions={},
        facilities=facilities,
    )


def build_facility_draws(
    inputs: DrawInputs, plan: FundingPlan, periods: Sequence[PeriodDraws]
) -> tuple[FacilityDraws, ...]:
    """Return the rows and sums of each facility."""
    return tuple(
        FacilityDraws(
            name=source.name,
            kind=source.kind,
            commitment=plan.commitments[index],
            drawn_total=fsum(period.draws[index] for period in periods),
            interest_total=fsum(period.interest[index] for period in periods),
            fees_total=fsum(period.upfront[index] + period.fees[index] for period in periods),
            closing_balance=periods[-1].closing[index],
            rows=tuple(
                FacilityDrawRow(
                    period=t,
                    annual_rate=source.annual_rates[t - 1] if t else 0.0,
                    upfront_fee=period.upfront[index],
                    interest=period.interest[index],
                    commitment_fee=period.fees[index],
                    opening_balance=period.opening[index],
                    draw=period.draws[index],
                    capitalised=period.capitalised[index],
                    repaid=period.repaid[index],
                    closing_balance=period.closing[index],
                    undrawn=period.undrawn[index],
                )
                for t, period in enumerate(periods)
            ),
        )
        for index, source in enumerate(inputs.sources)
    )


def build_construction_rows(
    inputs: DrawInputs, periods: Sequence[PeriodDraws]
) -> tuple[ConstructionRow, ...]:
    """Return the sources and uses of each period, summed over the facilities."""
    loans = [index for index, source in enumerate(inputs.sources) if source.kind != "grant"]

    def sum_loans(values: Sequence[float]) -> float:
        return sum(values[index] for index in loans)

    return tuple(
        ConstructionRow(
            period=t,
            cost=period.cost,
            upfront_fee=sum(period.upfront),
            interest=sum(period.interest) - sum(period.capitalised),
            commitment_fee=sum(period.fees),
            dsra_funding=period.reserve,
            uses=period.uses,
            debt_draw=sum_loans(period.draws),
            equity_draw=period.equity_draw,
            opening_balance=sum_loans(period.opening),
            closing_balance=sum_loans(period.closing),
            undrawn=sum_loans(period.undrawn),
            grant_draw=sum(period.draws) - sum_loans(period.draws),
            vat=period.vat,
            vat_refund=period.refund,
            capitalised=sum(period.capitalised),
            repaid=sum(period.repaid),
        )
        for t, period in enumerate(periods)
    )


def warn_of_undrawn(inputs: DrawInputs, facilities: Sequence[FacilityDraws]) -> tuple[str, ...]:
    """Warn of commitments that stay undrawn, and of VAT refunded after construction."""
    warnings: list[str] = []
    for index, facility in enumerate(facilities):
        last = facility.rows[-1]
        if index != inputs.vat and last.undrawn > _UNDRAWN_NOISE * facility.commitment:
            amount = f"{last.undrawn:.10g} of the commitment is not drawn"
            warnings.append(f"{facility.name}: {amount}, and equity pays in its place")
        if index == inputs.vat and last.closing_balance > _UNDRAWN_NOISE * facility.commitment:
            amount = f"{last.closing_balance:.10g} is refunded and repaid after construction"
            warnings.append(f"{facility.name}: {amount}")
    return tuple(warnings)


def _build_conventions(case: ConstructionCase) -> dict[str, str]:
    conventions = {
        "timing": "costs and draws at period end; period 0 is financial close",
        "interest": "rate per period x opening balance",
        "commitment_fee": "rate per period x undrawn commitment, while it is available",
        "upfront_fee": "share of the commitment at period 0",
    }
    if case.facilities is not None:
        conventions["interest"] = "annual rate x accrual fraction x opening balance"
        conventions["equity"] = "funded cost less the commitments; pays what no facility can"
        conventions["gearing"] = "senior and mezzanine debt drawn / funded cost"
    return conventions
