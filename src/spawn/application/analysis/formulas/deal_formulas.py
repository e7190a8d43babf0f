"""Formulas of a deal, from its uses to the return of its sponsors."""

from typing import Any

from spawn.application.analysis.explanation import Explanation, Explanations
from spawn.application.analysis.formulas.construction_formulas import (
    explain_equity_draws,
    explain_funded_cost,
)
from spawn.application.analysis.formulas.sculpting_formulas import (
    FacilitySeries,
    explain_sculpted_capacity,
)
from spawn.application.analysis.formulas.sizing_formulas import explain_rate
from spawn.domain.finance.deal.deal_case import DealCase, DealFacility
from spawn.domain.finance.deal.deal_result import DealResult, DealRow
from spawn.domain.finance.facilities.facility_terms import LENDER_KINDS
from spawn.domain.finance.facilities.repayment_terms import tenor_of
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    resolve_schedule,
    shares_ahead,
)


def explain_deal(case: DealCase, result: DealResult) -> Explanations:
    """Explain debt, cost, ratios and returns by the rows of the deal."""
    schedule = resolve_schedule(case, len(result.rows) - 1)
    first = len(case.construction_cost)
    operation = schedule.take_periods(first, schedule.periods - first)
    lenders = [each for each in result.facilities if each.kind in LENDER_KINDS]
    costs = [-row.cost for row in result.construction]
    project_flows = (*costs, *result.cfads)
    return {
        "debt": Explanation(
            result.debt,
            "sum(commitments)",
            {"commitments": [each.commitment for each in lenders]},
            "senior and mezzanine: given amounts, shares of the funded cost, and what the CFADS "
            "carry at the target",
        ),
        "total_uses": explain_funded_cost(
            result.total_uses, result.fees_total, result.construction
        ),
        "equity": explain_equity_draws(result.construction),
        "gearing": Explanation(
            result.gearing,
            "debt / total_uses",
            {"debt": result.debt, "total_uses": result.total_uses},
        ),
        "equity_irr": explain_rate(
            "equity_irr", result.equity_irr, result.sponsor_cash_flow, schedule
        ),
        "project_irr": explain_rate("project_irr", result.project_irr, project_flows, schedule),
        **_explain_costs(case, result, operation),
        **_explain_ratios(result, operation),
        **_explain_capacity(case, result, operation),
    }


def _explain_capacity(
    case: DealCase, result: DealResult, operation: PeriodSchedule
) -> Explanations:
    """Explain what the CFADS carry of the sculpted facility, on the periods of operation."""
    first = len(case.construction_cost)
    facilities, series = list[DealFacility](), list[FacilitySeries]()
    for facility, repaid in zip(case.facilities, result.facilities, strict=True):
        if facility.kind != "senior":
            continue
        tenor = tenor_of(facility, operation.periods)
        rows = repaid.rows[first + 1 : first + 1 + tenor]
        payments = [
            (row.scheduled_interest or 0.0) + (row.scheduled_principal or 0.0) for row in rows
        ]
        payments[-1] -= repaid.scheduled_balloon
        rates = [row.annual_rate for row in rows]
        fractions = operation.accrual_fractions
        facilities.append(facility)
        series.append(
            FacilitySeries(payments, [r * f for r, f in zip(rates, fractions, strict=False)])
        )
    cfads = [row.cfads for row in result.rows[first + 1 :]]
    return explain_sculpted_capacity(facilities, series, cfads, result.dscr_capacity)


def _explain_costs(case: DealCase, result: DealResult, operation: PeriodSchedule) -> Explanations:
    """Explain interest and fees of construction, and the reserve at its end."""
    last = len(case.construction_cost)
    rows = [row for each in result.facilities for row in each.rows if row.period <= last]
    service = [row.scheduled_debt_service for row in result.rows[last + 1 :]]
    shares = shares_ahead(operation.period_months(), 0, case.dsra_months or 0.0)
    return {
        "idc_total": Explanation(
            result.idc_total,
            "sum(interest)",
            {"interest": [row.interest for row in rows]},
            "of all facilities in construction, capitalised interest included",
        ),
        "fees_total": Explanation(
            result.fees_total, "sum(fees)", {"fees": [row.fees for row in rows]}
        ),
        "initial_dsra": Explanation(
            result.initial_dsra,
            "sum(period_shares * debt_service)",
            {
                "period_shares": shares or [0.0],
                "debt_service": service[: len(shares) or 1],
                "dsra_months": case.dsra_months,
            },
            "senior debt service of the next dsra_months, part periods pro rata",
        ),
    }


def _explain_ratios(result: DealResult, operation: PeriodSchedule) -> Explanations:
    """Explain the ratios on the senior debt as scheduled."""
    rows = [row for row in result.rows if row.phase == "operation"]
    tested_rows = [row for row in rows if row.dscr is not None]
    ratio_inputs = {
        "cfads": [row.cfads for row in tested_rows],
        "debt_service": [row.scheduled_debt_service for row in tested_rows],
    }
    rates, debt = _average_rates(rows)
    tenor = sum(row.llcr is not None for row in rows)
    cash = [row.cfads for row in rows]
    principal = [row.scheduled_principal for row in rows]
    inputs: dict[str, Any] = {"senior_debt": debt}
    return {
        "min_dscr": Explanation(result.min_dscr, "min(cfads / debt_service)", ratio_inputs),
        "avg_dscr": Explanation(result.avg_dscr, "mean(cfads / debt_service)", ratio_inputs),
        "llcr": Explanation(
            result.llcr,
            "pv(cfads, period_rates) / senior_debt",
            inputs | {"cfads": cash[:tenor], "period_rates": rates[:tenor]},
        ),
        "plcr": Explanation(
            result.plcr,
            "pv(cfads, period_rates) / senior_debt",
            inputs | {"cfads": cash, "period_rates": rates},
            "beyond the tenor the last rate applies",
        ),
        "wal_years": Explanation(
            result.wal_years,
            "sum(times_years * principal) / sum(principal)",
            {"times_years": operation.payment_times_years(), "principal": principal},
            "years from the end of construction",
        ),
    }


def _average_rates(rows: list[DealRow]) -> tuple[list[float], float]:
    """Return the average senior rate of each period of operation, and the debt at its start."""
    debt = sum(row.scheduled_principal for row in rows)
    balance, rates = debt, list[float]()
    for row in rows:
        is_owed = row.llcr is not None
        rates.append(row.scheduled_interest / balance if is_owed else rates[-1])
        balance = row.scheduled_senior_balance
    return rates, debt
