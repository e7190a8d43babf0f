"""Explanations of headline figures: the formula of each and its inputs.

Inputs are the very numbers of the case or of its schedule, so that a machine can insert them into
the formula and obtain the value; the functions of a formula are those of `explanation`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from spawn.application.analysis.calculators import (
    CovenantCase,
    CovenantResult,
    DayCountCase,
    DayCountResult,
)
from spawn.application.analysis.explanation import Explanation, Explanations
from spawn.application.analysis.returns_calculator import (
    explain_returns,
)
from spawn.application.analysis.schedule_calculator import ScheduleCase, ScheduleResult
from spawn.application.analysis.sizing_explanations import explain_sizing
from spawn.domain.finance.cash_flow.cash_flow_case import CashFlowCase
from spawn.domain.finance.cash_flow.cash_flow_result import CashFlowResult, CashFlowRow
from spawn.domain.finance.construction.construction_case import ConstructionCase
from spawn.domain.finance.construction.construction_result import (
    ConstructionFunding,
    FacilityDrawRow,
    FacilityDraws,
)
from spawn.domain.finance.coverage_ratios import CoverageCase, CoverageRatios
from spawn.domain.finance.facilities.facility_terms import LENDER_KINDS
from spawn.domain.finance.limits import expand_per_period
from spawn.domain.finance.time_base.period_schedule import resolve_schedule
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


def explain_construction(case: ConstructionCase, result: ConstructionFunding) -> Explanations:
    """Explain the commitment, the equity, and the cost of financing."""
    explanations = {
        "equity": _explain_equity(result),
        "total_uses": Explanation(
            result.total_uses,
            "sum(costs) + sum(interest) + fees_total + sum(dsra_funding)",
            {
                "costs": [row.cost for row in result.rows],
                "interest": [row.interest for row in result.rows],
                "fees_total": result.fees_total,
                "dsra_funding": [row.dsra_funding for row in result.rows],
            },
            "also the debt, grants and the equity; capitalised interest is none of them",
        ),
        "gearing": _explain_gearing(result),
    }
    if case.facilities is not None:
        return explanations | explain_facility_costs(case, result)
    return explanations | _explain_one_debt(case, result)


def _explain_gearing(result: ConstructionFunding) -> Explanation:
    lenders = [each.drawn_total for each in result.facilities if each.kind in LENDER_KINDS]
    inputs = {"debt": lenders or [result.debt_commitment], "total_uses": result.total_uses}
    return Explanation(result.gearing, "sum(debt) / total_uses", inputs)


def _explain_equity(result: ConstructionFunding) -> Explanation:
    names = ("uses", "vat", "repaid", "debt_draw", "grant_draw", "vat_refund")
    return Explanation(
        result.equity,
        "sum(uses + vat + repaid - debt_draw - grant_draw - vat_refund)",
        {name: [getattr(row, name) for row in result.rows] for name in names},
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
    "waterfall": explain_waterfall,
    "covenants": explain_covenants,
    "day-count": explain_day_counts,
}
"""Explanation functions by calculator name."""
