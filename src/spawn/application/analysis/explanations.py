"""Explanations of headline figures: the formula of each and its inputs.

Inputs are the very numbers of the case or of its schedule, so that a machine can insert them into
the formula and obtain the value; the functions of a formula are those of `explanation`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from spawn.application.analysis.calculators import (
    CovenantCase,
    CovenantResult,
    DayCountCase,
    DayCountResult,
)
from spawn.application.analysis.explanation import Explanation, Explanations
from spawn.application.analysis.formulas.construction_formulas import explain_construction
from spawn.application.analysis.formulas.deal_formulas import explain_deal
from spawn.application.analysis.formulas.sizing_formulas import explain_sizing
from spawn.application.analysis.returns_calculator import (
    explain_returns,
)
from spawn.application.analysis.schedule_calculator import ScheduleCase, ScheduleResult
from spawn.domain.finance.cash_flow.cash_flow_case import CashFlowCase
from spawn.domain.finance.cash_flow.cash_flow_result import CashFlowResult, CashFlowRow
from spawn.domain.finance.coverage_ratios import CoverageCase, CoverageRatios
from spawn.domain.finance.waterfall.waterfall_case import WaterfallCase
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult


def explain_schedule(case: ScheduleCase, result: ScheduleResult) -> Explanations:
    """Explain the loan's level payment and sums; dates alone have no figure to explain."""
    if case.principal is None:
        return {}
    explanations = {
        "total_interest": Explanation(
            result.total_interest,
            "sum(interest)",
            {"interest": [row.interest for row in result.rows]},
            result.conventions["interest"],
        ),
        "total_principal": Explanation(
            result.total_principal,
            "sum(principal)",
            {"principal": [row.principal for row in result.rows]},
            "the amount lent and the interest capitalised",
        ),
    }
    if result.level_payment is not None and result.events is None:
        explanations["level_payment"] = _explain_level_payment(case, result)
    return explanations


def _explain_level_payment(case: ScheduleCase, result: ScheduleResult) -> Explanation:
    rows = result.rows[case.grace_periods :]
    principal = case.principal if isinstance(case.principal, float | int) else 0.0
    return Explanation(
        result.level_payment,
        "(balance - balloon * last(df(period_rates))) / sum(df(period_rates))",
        {
            "balance": rows[0].opening_balance,
            "balloon": case.balloon + case.balloon_share * principal,
            "period_rates": [(row.annual_rate or 0.0) * row.accrual_fraction for row in rows],
        },
        "from the end of the grace on",
    )


def explain_cash_flow(_case: CashFlowCase, result: CashFlowResult) -> Explanations:
    """Explain the totals by the columns of the rows."""
    rows = result.rows
    return {
        "total_revenue": Explanation(
            result.total_revenue,
            "sum(contract_revenue + merchant_revenue + availability_payments - deductions)",
            _columns(
                rows, "contract_revenue", "merchant_revenue", "availability_payments", "deductions"
            ),
        ),
        "total_operating_costs": Explanation(
            result.total_operating_costs,
            "sum(fixed_costs + variable_costs)",
            _columns(rows, "fixed_costs", "variable_costs"),
        ),
        "total_ebitda": Explanation(
            result.total_ebitda,
            "sum(revenue - operating_costs)",
            _columns(rows, "revenue", "operating_costs"),
        ),
        "total_cfads": Explanation(
            result.total_cfads,
            "sum(ebitda - working_capital_increase - capital_costs - tax_paid)",
            _columns(rows, "ebitda", "working_capital_increase", "capital_costs", "tax_paid"),
            "the increases of working capital sum to zero: the last period releases it",
        ),
    }


def _columns(rows: Sequence[CashFlowRow], *names: str) -> dict[str, list[float]]:
    return {name: [getattr(row, name) for row in rows] for name in names}


def explain_waterfall(case: WaterfallCase, result: WaterfallResult) -> Explanations:
    """Explain the distributions, the sweep and the unpaid amounts."""
    rows = result.rows
    tested_rows = [row for row in rows if row.dscr is not None]
    unpaid = {"senior_unpaid": [row.senior_unpaid for row in rows]}
    return {
        "total_distributions": Explanation(
            result.total_distributions,
            "sum(distribution)",
            {"distribution": [row.distribution for row in rows]},
            "cash left after every other claim, locked-up cash included, if not locked up",
        ),
        "total_sweep": Explanation(
            result.total_sweep,
            "sum(sweep)",
            {"sweep": [row.sweep for row in rows]},
            "sweep_share of the cash left, at most the senior balance above sweep_to_balance",
        ),
        "total_unpaid": Explanation(
            result.total_unpaid,
            "last(senior_unpaid)" if case.carry_arrears else "sum(senior_unpaid)",
            unpaid,
            "arrears are due again" if case.carry_arrears else "each period stands alone",
        ),
        "total_operating_shortfall": Explanation(
            result.total_operating_shortfall,
            "sum(operating_shortfall)",
            {"operating_shortfall": [row.operating_shortfall for row in rows]},
            "negative CFADS beyond locked-up cash and reserves",
        ),
        "min_dscr": Explanation(
            result.min_dscr,
            "min(cfads / senior_due)",
            {
                "cfads": [row.cfads for row in tested_rows],
                "senior_due": [row.senior_due for row in tested_rows],
            },
            "scheduled debt service, without arrears",
        ),
    }


def explain_covenants(case: CovenantCase, result: CovenantResult) -> Explanations:
    """Explain the final state and the first breaches."""
    inputs: dict[str, Any] = {
        "states": [test.in_force for test in result.tests],
        "ratios": [test.ratio for test in result.tests],
        "default_below": case.default_below,
        "lockup_below": case.lockup_below,
        "release_at_or_above": case.lockup_release_at_or_above or case.lockup_below,
    }
    note = (
        "default: ratio below default_below, until waived; lock-up: ratio below lockup_below, "
        "until the release level"
    )
    explanations = {
        "final_state": Explanation(result.final_state, "last(states)", inputs, note),
        "first_lockup": Explanation(result.first_lockup, "first(states, 'LOCKUP')", inputs, note),
        "first_default": Explanation(
            result.first_default, "first(states, 'DEFAULT')", inputs, note
        ),
    }
    if case.coverage is not None and result.coverage is not None:
        explanations |= _explain_coverage(case.coverage, result.coverage)
    return explanations


def _explain_coverage(case: CoverageCase, coverage: CoverageRatios) -> Explanations:
    periods = len(case.principal)
    service = [i + p for i, p in zip(case.interest, case.principal, strict=True)]
    tested_periods = [index for index, ratio in enumerate(coverage.dscr) if ratio is not None]
    ratios = {
        "cfads": [case.cfads[index] for index in tested_periods],
        "debt_service": [service[index] for index in tested_periods],
    }
    months = case.months_per_period or 12
    times = case.times_years or [t * months / 12 for t in range(1, periods + 1)]
    return {
        "min_dscr": Explanation(coverage.min_dscr, "min(cfads / debt_service)", ratios),
        "avg_dscr": Explanation(coverage.avg_dscr, "mean(cfads / debt_service)", ratios),
        "min_llcr": Explanation(
            coverage.min_llcr,
            "min(llcr)",
            {"llcr": [ratio for ratio in coverage.llcr if ratio is not None]},
            "llcr: the present value of the CFADS to maturity at the loan rates / balance",
        ),
        "wal_years": Explanation(
            coverage.wal_years,
            "sum(times_years * principal) / sum(principal)",
            {"times_years": times, "principal": case.principal},
        ),
        "gearing": Explanation(
            coverage.gearing,
            "debt / funded_cost",
            {"debt": case.debt, "funded_cost": case.funded_cost},
        ),
    }


def explain_day_counts(case: DayCountCase, result: DayCountResult) -> Explanations:
    """Explain the sum of the year fractions."""
    convention = result.conventions["day_count"]
    note = f"{convention}: {_DAY_COUNT_NOTES[convention]}"
    year_days = _YEAR_DAYS.get(convention)
    if year_days is None:
        inputs: dict[str, Any] = {
            "year_fractions": [row.year_fraction for row in result.rows],
            "periods": case.periods,
        }
        formula = "sum(year_fractions)"
    else:
        inputs = {"days": [row.days for row in result.rows], "periods": case.periods}
        formula = f"sum(days / {year_days})"
    return {"total_year_fraction": Explanation(result.total_year_fraction, formula, inputs, note)}


_YEAR_DAYS: Final = {
    "ACT/360": 360,
    "ACT/365F": 365,
    "30/360": 360,
    "30E/360": 360,
    "30E/360 ISDA": 360,
    "30U/360": 360,
    "NL/365": 365,
    "BUS/252": 252,
}
_THIRTY_360_DAYS: Final = "days are 360 years + 30 months + days"
_DAY_COUNT_NOTES: Final = {
    "ACT/360": "calendar days",
    "ACT/365F": "calendar days",
    "30/360": f"{_THIRTY_360_DAYS}, a last 31st becomes the 30th behind a first 30th or 31st",
    "30E/360": f"{_THIRTY_360_DAYS}, each 31st becomes the 30th",
    "30E/360 ISDA": f"{_THIRTY_360_DAYS}, each 31st and end of February becomes the 30th, "
    "not at maturity",
    "30U/360": f"{_THIRTY_360_DAYS}, with the US rule for the end of February",
    "ACT/ACT ISDA": "days in leap years / 366 + other days / 365",
    "ACT/ACT ICMA": "days / (frequency x days of the notional period), over notional periods",
    "ACT/ACT AFB": "whole years back from the end, then days / 366 with a 29 February, else / 365",
    "ACT/365L": "days / 366 where a leap day decides, else / 365",
    "NL/365": "calendar days without the 29ths of February",
    "BUS/252": "business days",
}

EXPLAINERS: Final[dict[str, Callable[[Any, Any], Explanations]]] = {
    "returns": explain_returns,
    "cash-flow": explain_cash_flow,
    "debt-sizing": explain_sizing,
    "schedule": explain_schedule,
    "construction-funding": explain_construction,
    "deal": explain_deal,
    "waterfall": explain_waterfall,
    "covenants": explain_covenants,
    "day-count": explain_day_counts,
}
"""Explanation functions by calculator name."""
