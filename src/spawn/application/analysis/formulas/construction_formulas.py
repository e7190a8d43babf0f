"""Formulas of construction funding."""

from collections.abc import Callable, Iterable, Sequence
from math import fsum
from typing import Any

from spawn.application.analysis.explanation import Explanation, Explanations
from spawn.domain.finance.construction.construction_case import ConstructionCase
from spawn.domain.finance.construction.construction_result import (
    ConstructionFunding,
    ConstructionRow,
    FacilityDrawRow,
    FacilityDraws,
)
from spawn.domain.finance.facilities.facility_terms import LENDER_KINDS
from spawn.domain.finance.limits import expand_per_period
from spawn.domain.finance.time_base.period_schedule import resolve_schedule


def explain_construction(case: ConstructionCase, result: ConstructionFunding) -> Explanations:
    """Explain the commitment, the equity, and the cost of financing."""
    explanations = {
        "equity": explain_equity_draws(result.rows),
        "total_uses": explain_funded_cost(result.total_uses, result.fees_total, result.rows),
        "gearing": _explain_gearing(result),
    }
    if case.facilities is not None:
        return explanations | explain_facility_costs(case, result)
    return explanations | _explain_one_debt(case, result)


def explain_funded_cost(
    total: float, fees_total: float, rows: Sequence[ConstructionRow]
) -> Explanation:
    """Explain the funded cost as the sum of its uses."""
    return Explanation(
        total,
        "sum(costs) + sum(interest) + fees_total + sum(dsra_funding)",
        {
            "costs": [row.cost for row in rows],
            "interest": [row.interest for row in rows],
            "fees_total": fees_total,
            "dsra_funding": [row.dsra_funding for row in rows],
        },
        "also the debt, grants and the equity; capitalised interest is none of them",
    )


def _explain_gearing(result: ConstructionFunding) -> Explanation:
    lenders = [each.drawn_total for each in result.facilities if each.kind in LENDER_KINDS]
    inputs = {"debt": lenders or [result.debt_commitment], "total_uses": result.total_uses}
    return Explanation(result.gearing, "sum(debt) / total_uses", inputs)


def explain_equity_draws(rows: Sequence[ConstructionRow]) -> Explanation:
    """Explain the equity as what no other source pays."""
    names = ("uses", "vat", "repaid", "debt_draw", "grant_draw", "vat_refund")
    return Explanation(
        fsum(row.equity_draw for row in rows),
        "sum(uses + vat + repaid - debt_draw - grant_draw - vat_refund)",
        {name: [getattr(row, name) for row in rows] for name in names},
    )


def _explain_one_debt(case: ConstructionCase, result: ConstructionFunding) -> Explanations:
    periods = len(case.construction_cost)
    opening = [row.opening_balance for row in result.rows[1:]]
    rates = expand_per_period(case.rate_per_period or 0.0, periods)
    fees = expand_per_period(case.commitment_fee_per_period, periods)
    return {
        "debt_commitment": _explain_commitment(case, result),
        "idc_total": Explanation(
            result.idc_total,
            "sum(rate_per_period * opening_balance)",
            {"rate_per_period": rates, "opening_balance": opening},
        ),
        "fees_total": Explanation(
            result.fees_total,
            "upfront_fee * debt_commitment"
            " + sum(commitment_fee_per_period * (debt_commitment - opening_balance))",
            {
                "upfront_fee": case.upfront_fee,
                "debt_commitment": result.debt_commitment,
                "commitment_fee_per_period": fees,
                "opening_balance": opening,
            },
        ),
    }


def _explain_commitment(case: ConstructionCase, result: ConstructionFunding) -> Explanation:
    if case.debt_commitment is not None:
        draws = [row.debt_draw for row in result.rows]
        note = "as given; the draws sum up to it, and equity is the rest of the uses"
        return Explanation(result.debt_commitment, "sum(debt_draw)", {"debt_draw": draws}, note)
    solution = (
        "the fixed point of the debt drawn after equity D (1 - g) / g is spent"
        if case.funding == "equity_first"
        else "D = a / (1 - b): a the debt drawn at D = 0, b the debt drawn at D = 1 without costs"
    )
    inputs = {"gearing": case.gearing, "total_uses": result.total_uses}
    return Explanation(result.debt_commitment, "gearing * total_uses", inputs, solution)


def explain_facility_costs(case: ConstructionCase, result: ConstructionFunding) -> Explanations:
    """Explain debt, interest and fees of several facilities, period by period."""
    schedule = resolve_schedule(case, len(case.construction_cost))
    fractions = schedule.accrual_fractions
    facilities = result.facilities
    lenders = [each.commitment for each in facilities if each.kind in LENDER_KINDS]

    def list_all(value: Callable[[FacilityDraws, FacilityDrawRow], float]) -> list[float]:
        """Return a value of each facility and period, one facility after another."""
        return [value(each, row) for each in facilities for row in each.rows[1:]]

    inputs: dict[str, Any] = {
        "annual_rate": list_all(lambda _, row: row.annual_rate),
        "accrual_fraction": list(fractions) * len(facilities),
        "opening_balance": list_all(lambda _, row: row.opening_balance),
    }
    return {
        "debt_commitment": Explanation(
            result.debt_commitment,
            "sum(commitments)",
            {"commitments": lenders or [0.0]},
            "senior and mezzanine; a share is one of the total uses, their fixed point",
        ),
        "idc_total": Explanation(
            result.idc_total,
            "sum(annual_rate * accrual_fraction * opening_balance)",
            inputs,
            "over all facilities, capitalised interest included",
        ),
        "fees_total": Explanation(
            result.fees_total,
            "sum(upfront_fees) + sum(commitment_fees)",
            {
                "upfront_fees": list(_list_upfront_fees(facilities)),
                "commitment_fees": list_all(lambda _, row: row.commitment_fee),
            },
        ),
    }


def _list_upfront_fees(facilities: Iterable[FacilityDraws]) -> Iterable[float]:
    return (each.rows[0].upfront_fee for each in facilities)
