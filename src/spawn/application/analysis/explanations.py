"""Explanations of headline figures: the formula of each and its inputs.

Inputs are the very numbers of the case or of its schedule, so that a reader can insert them into
the formula and obtain the value.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from spawn.application.analysis.calculators import (
    CovenantCase,
    CovenantResult,
    DayCountCase,
    DayCountResult,
)
from spawn.application.analysis.returns_calculator import ReturnsCase, ReturnsResult
from spawn.application.analysis.schedule_calculator import ScheduleCase, ScheduleResult
from spawn.domain.finance.construction_funding import ConstructionCase, ConstructionFunding
from spawn.domain.finance.debt_sizing import SizingResult
from spawn.domain.finance.debt_sizing_case import SizingCase
from spawn.domain.finance.time_base.period_schedule import resolve_schedule
from spawn.domain.finance.waterfall import WaterfallCase, WaterfallResult


class Explanation(msgspec.Struct, frozen=True):
    """A figure: its value, its formula in words and signs, and the inputs of the formula."""

    value: Any
    formula: str
    inputs: dict[str, Any]


Explanations = dict[str, Explanation]


def explain_returns(case: ReturnsCase, result: ReturnsResult) -> Explanations:
    """Explain the rate, the NPV and the modified rate."""
    flows: Any = case.cash_flows if case.flows is None else case.flows
    flow_inputs = {"flows": flows}
    explanations = {
        "rate": Explanation(
            result.rate if result.status == "unique" else result.rates,
            result.conventions["formula"],
            flow_inputs | {"sign_changes": result.sign_changes, "status": result.status},
        )
    }
    if result.npv is not None:
        power = "t" if case.flows is None else "((d - d_0)/365)"
        inputs = flow_inputs | {"discount_rate": case.discount_rate}
        explanations["npv"] = Explanation(result.npv, f"sum c (1 + rate)^-{power}", inputs)
    if result.mirr is not None:
        rates = {"finance_rate": case.finance_rate, "reinvest_rate": case.reinvest_rate}
        formula = "(FV of receipts at reinvest_rate / -PV of outlays at finance_rate)^(1/n) - 1"
        explanations["mirr"] = Explanation(result.mirr, formula, flow_inputs | rates)
    return explanations


def explain_sizing(case: SizingCase, result: SizingResult) -> Explanations:
    """Explain the debt, the ratios, and with uses the equity and its return."""
    rows = result.rows
    cfads = [row.cfads for row in rows]
    service = [row.debt_service for row in rows]
    rates = [row.annual_rate * row.accrual_fraction for row in rows]
    at_loan_rates: dict[str, Any] = {"period_rates": rates, "debt": result.debt}
    principal = [row.principal for row in rows]
    explanations = {
        "debt": _explain_debt(case, result, {"cfads": cfads, "period_rates": rates}),
        "min_dscr": Explanation(
            result.min_dscr,
            "min over t of CFADS_t / (interest_t + principal_t), the balloon apart",
            {"cfads": cfads, "debt_service": service},
        ),
        "avg_dscr": Explanation(
            result.avg_dscr,
            "mean over t of CFADS_t / (interest_t + principal_t), the balloon apart",
            {"cfads": cfads, "debt_service": service},
        ),
        "llcr": Explanation(
            result.llcr,
            "PV of CFADS over the tenor at the loan rates / debt",
            at_loan_rates | {"cfads": cfads},
        ),
        "plcr": Explanation(
            result.plcr,
            "PV of project cash flow at the loan rates / debt; beyond the tenor the last rate",
            at_loan_rates | {"project_cash_flow": case.project_cash_flow or case.cfads},
        ),
        "wal_years": Explanation(
            result.wal_years, "sum t_k P_k / sum P_k", {"principal": principal, "dates": case.dates}
        ),
        "total_interest": Explanation(
            result.total_interest,
            "sum of annual rate x accrual fraction x opening balance",
            {"interest": [row.interest for row in rows]},
        ),
    }
    return explanations | _explain_equity(case, result)


def _explain_debt(case: SizingCase, result: SizingResult, series: dict[str, Any]) -> Explanation:
    if result.binding == "dscr":
        formula = "sum (CFADS_t / DSCR_t) DF_t + balloon DF_n, DF_t = product of 1/(1 + rate)"
        inputs = series | {"target_dscr": case.target_dscr, "balloon": case.balloon}
        return Explanation(result.debt, formula, inputs)
    share = case.max_gearing if result.binding == "gearing" else case.share_of_cost
    inputs = {"share": share, "cap_basis": case.cap_basis, "uses": case.uses}
    if case.cap_basis == "pre_estimate":
        formula = "share x cost estimated before the debt is known"
        return Explanation(result.debt, formula, inputs)
    formula = "D = g (a + b D), so that D = g a / (1 - g b); a + b D is the funded cost"
    funded = {"total_uses": result.total_uses, "dscr_capacity": result.dscr_capacity}
    return Explanation(result.debt, formula, inputs | funded)


def _explain_equity(case: SizingCase, result: SizingResult) -> Explanations:
    before, after, uses = result.equity_irr, result.equity_irr_after_tax, case.uses
    if uses is None or before is None or after is None:
        return {}
    uses_inputs = {"uses": uses, "upfront_fee": result.upfront_fee, "dsra": result.initial_dsra}
    uses_and_debt = {"total_uses": result.total_uses, "debt": result.debt}
    schedule = resolve_schedule(case, len(result.rows))
    months = {
        "dsra_months": uses.dsra_months,
        "months_per_period": schedule.months_per_period,
        "period_months": schedule.period_months(),
    }
    service = {"debt_service": [row.debt_service for row in result.rows]}
    fee = {"upfront_fee_share": uses.upfront_fee_share, "debt": result.debt}
    return {
        "upfront_fee": Explanation(result.upfront_fee, "upfront_fee_share x debt", fee),
        "initial_dsra": Explanation(
            result.initial_dsra,
            "debt service of the next dsra_months, part periods pro rata",
            months | service,
        ),
        "total_uses": Explanation(
            result.total_uses, "costs + upfront fee + initial DSRA", uses_inputs
        ),
        "equity": Explanation(result.equity, "total uses - debt", uses_and_debt),
        "gearing": Explanation(result.gearing, "debt / total uses", uses_and_debt),
        "equity_irr": Explanation(
            before.rate, before.conventions["formula"], {"cash_flow": result.equity_cash_flow}
        ),
        "equity_irr_after_tax": Explanation(
            after.rate,
            after.conventions["formula"],
            {"cash_flow": result.equity_cash_flow_after_tax},
        ),
    }


def explain_schedule(case: ScheduleCase, result: ScheduleResult) -> Explanations:
    """Explain the dates, or the loan's level payment and sums."""
    if case.principal is None:
        formula = "rolled from the anchor by whole months, then moved by the business-day rule"
        return {"dates": Explanation(result.dates, formula, {"payment_dates": case.payment_dates})}
    interest = [row.interest for row in result.rows]
    principal = [row.principal for row in result.rows]
    explanations = {
        "total_interest": Explanation(
            result.total_interest, result.conventions["interest"], {"interest": interest}
        ),
        "total_principal": Explanation(
            result.total_principal, "principal + capitalised interest", {"principal": principal}
        ),
    }
    if result.level_payment is not None:
        inputs = {
            "principal": case.principal,
            "annual_rates": case.annual_rates,
            "accrual_fractions": [row.accrual_fraction for row in result.rows],
            "balloon": case.balloon,
            "balloon_share": case.balloon_share,
            "grace_periods": case.grace_periods,
        }
        formula = "A with sum A DF_t = balance after grace - balloon DF_n"
        explanations["level_payment"] = Explanation(result.level_payment, formula, inputs)
    return explanations


def explain_construction(case: ConstructionCase, result: ConstructionFunding) -> Explanations:
    """Explain the commitment, the equity, and the cost of financing."""
    rows = result.rows
    pro_rata = case.funding == "pro_rata"
    return {
        "debt_commitment": Explanation(
            result.debt_commitment,
            "D = a / (1 - b): a the debt drawn at D = 0, b the debt drawn at D = 1 without costs"
            if pro_rata
            else "the fixed point of the debt drawn after equity D (1 - g)/g is spent",
            {
                "construction_cost": case.construction_cost,
                "cost_at_close": case.cost_at_close,
                "gearing": case.gearing,
                "rate_per_period": case.rate_per_period,
                "commitment_fee_per_period": case.commitment_fee_per_period,
                "upfront_fee": case.upfront_fee,
                "dsra_funding_at_end": case.dsra_funding_at_end,
                "dsra_share_of_debt": case.dsra_share_of_debt,
            },
        ),
        "equity": Explanation(
            result.equity,
            "sum of (uses - debt draw)",
            {"uses": [row.uses for row in rows], "debt_draw": [row.debt_draw for row in rows]},
        ),
        "idc_total": Explanation(
            result.idc_total,
            "sum of rate per period x opening balance",
            {"opening_balance": [row.opening_balance for row in rows]},
        ),
        "fees_total": Explanation(
            result.fees_total,
            "upfront fee x D + sum of fee per period x (D - opening balance)",
            {"debt_commitment": result.debt_commitment, "upfront_fee": case.upfront_fee},
        ),
        "total_uses": Explanation(
            result.total_uses,
            "costs + interest + fees + reserves = debt + equity",
            {"debt": result.debt_commitment, "equity": result.equity},
        ),
    }


def explain_waterfall(case: WaterfallCase, result: WaterfallResult) -> Explanations:
    """Explain the distributions, the sweep and the unpaid amounts."""
    rows = result.rows
    due = [row.senior_due for row in rows]
    return {
        "total_distributions": Explanation(
            result.total_distributions,
            "sum of the cash left after senior, DSRA, mezzanine interest and sweep, if not locked",
            {"distribution": [row.distribution for row in rows]},
        ),
        "total_sweep": Explanation(
            result.total_sweep,
            "sum of sweep_share x cash left while DSCR < sweep_if_dscr_below",
            {
                "sweep_share": case.sweep_share,
                "sweep_if_dscr_below": case.sweep_if_dscr_below,
                "sweep": [row.sweep for row in rows],
            },
        ),
        "total_unpaid": Explanation(
            result.total_unpaid,
            "senior debt service that cash and DSRA do not cover",
            {"senior_unpaid": [row.senior_unpaid for row in rows]},
        ),
        "min_dscr": Explanation(
            result.min_dscr,
            "min over t of CFADS_t / scheduled senior debt service_t",
            {"cfads": case.cfads, "senior_due": due},
        ),
    }


def explain_covenants(case: CovenantCase, result: CovenantResult) -> Explanations:
    """Explain the final state and the first breaches."""
    levels = {
        "default_below": case.default_below,
        "lockup_below": case.lockup_below,
        "release_at_or_above": case.lockup_release_at_or_above or case.lockup_below,
    }
    ratios = {"ratios": [test.ratio for test in result.tests]}
    formula = "default: ratio < default_below, sticky until waived; lock-up: ratio < lockup_below"
    explanations = {
        "final_state": Explanation(
            result.final_state,
            f"{formula}, until a ratio reaches the release level",
            levels | ratios,
        ),
        "first_lockup": Explanation(
            result.first_lockup, "the first test after which the state is LOCKUP", levels | ratios
        ),
        "first_default": Explanation(
            result.first_default, "the first test after which the state is DEFAULT", levels | ratios
        ),
    }
    if case.coverage is not None and result.coverage is not None:
        inputs = {
            "cfads": case.coverage.cfads,
            "interest": case.coverage.interest,
            "principal": case.coverage.principal,
            "period_rates": case.coverage.period_rates,
            "debt": case.coverage.debt,
        }
        for name, formula in _COVERAGE_FORMULAS.items():
            explanations[name] = Explanation(getattr(result.coverage, name), formula, inputs)
    return explanations


_COVERAGE_FORMULAS: Final = {
    "min_dscr": "min over t of CFADS_t / (interest_t + principal_t)",
    "avg_dscr": "mean over t of CFADS_t / (interest_t + principal_t)",
    "min_llcr": "min over t of PV of CFADS to maturity at the loan rates / balance",
    "wal_years": "sum t_k P_k / sum P_k",
    "gearing": "debt / funded cost",
}


def explain_day_counts(case: DayCountCase, result: DayCountResult) -> Explanations:
    """Explain the sum of the year fractions."""
    convention = result.conventions["day_count"]
    return {
        "total_year_fraction": Explanation(
            result.total_year_fraction,
            f"sum of the year fractions under {convention}: {_DAY_COUNT_FORMULAS[convention]}",
            {"periods": case.periods, "frequency": case.frequency},
        )
    }


_THIRTY_360_FORMULA: Final = "(360 years + 30 months + days) / 360"
_DAY_COUNT_FORMULAS: Final = {
    "ACT/360": "days / 360",
    "ACT/365F": "days / 365",
    "30/360": f"{_THIRTY_360_FORMULA}, a last 31st becomes the 30th behind a first 30th or 31st",
    "30E/360": f"{_THIRTY_360_FORMULA}, each 31st becomes the 30th",
    "30E/360 ISDA": f"{_THIRTY_360_FORMULA}, each 31st and end of February becomes the 30th, "
    "not at maturity",
    "30U/360": f"{_THIRTY_360_FORMULA}, with the US rule for the end of February",
    "ACT/ACT ISDA": "days in leap years / 366 + other days / 365",
    "ACT/ACT ICMA": "days / (frequency x days of the notional period), over notional periods",
}

EXPLAINERS: Final[dict[str, Callable[[Any, Any], Explanations]]] = {
    "returns": explain_returns,
    "debt-sizing": explain_sizing,
    "schedule": explain_schedule,
    "construction-funding": explain_construction,
    "waterfall": explain_waterfall,
    "covenants": explain_covenants,
    "day-count": explain_day_counts,
}
"""Explanation functions by calculator name."""
