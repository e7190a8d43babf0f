"""Formulas of a debt sizing."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from spawn.application.analysis.explanation import Explanation, Explanations
from spawn.application.analysis.formulas.sculpting_formulas import (
    FacilitySeries,
    explain_sculpted_capacity,
)
from spawn.domain.finance.debt_sizing_case import FundingUses, SizingCase
from spawn.domain.finance.facilities.repayment_terms import RepaidFacility
from spawn.domain.finance.limits import expand_per_period
from spawn.domain.finance.returns.rates_of_return import RateOutcome
from spawn.domain.finance.sizing.sizing_result import SizingResult
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    resolve_schedule,
    shares_ahead,
)


def explain_sizing(case: SizingCase, result: SizingResult) -> Explanations:
    """Explain the debt, the ratios, and with uses the equity and its return."""
    rows = result.rows
    schedule = resolve_schedule(case, len(rows))
    tested_rows = [row for row in rows if row.dscr is not None]
    ratio_inputs = {
        "cfads": [row.cfads for row in tested_rows],
        "debt_service": [row.debt_service for row in tested_rows],
    }
    rates = [row.annual_rate * row.accrual_fraction for row in rows]
    project_cash = _project_cash(case, result)
    principal = [row.principal for row in rows]
    note = "the balloon apart; periods without debt service are not tested"
    explanations = {
        "debt": _explain_debt(case, result, rates),
        "min_dscr": Explanation(result.min_dscr, "min(cfads / debt_service)", ratio_inputs, note),
        "avg_dscr": Explanation(result.avg_dscr, "mean(cfads / debt_service)", ratio_inputs, note),
        "llcr": Explanation(
            result.llcr,
            "pv(cfads, period_rates) / debt",
            {"cfads": [row.cfads for row in rows], "period_rates": rates, "debt": result.debt},
        ),
        "plcr": Explanation(
            result.plcr,
            "pv(project_cash_flow, period_rates) / debt",
            {
                "project_cash_flow": project_cash,
                "period_rates": rates + [rates[-1]] * (len(project_cash) - len(rates)),
                "debt": result.debt,
            },
            "beyond the tenor the last rate applies",
        ),
        "wal_years": Explanation(
            result.wal_years,
            "sum(times_years * principal) / sum(principal)",
            {"times_years": schedule.payment_times_years(), "principal": principal},
        ),
        "total_interest": Explanation(
            result.total_interest,
            "sum(annual_rates * accrual_fractions * opening_balances)",
            {
                "annual_rates": [row.annual_rate for row in rows],
                "accrual_fractions": [row.accrual_fraction for row in rows],
                "opening_balances": [row.opening_balance for row in rows],
            },
        ),
    }
    if result.tax_rows is not None:
        explanations["total_tax"] = Explanation(
            result.total_tax,
            "sum(rates * taxable_income)",
            {
                "rates": expand_per_period(
                    case.tax.rate if case.tax else 0.0, len(result.tax_rows)
                ),
                "taxable_income": [row.taxable_income for row in result.tax_rows],
            },
            "taxable income is EBITDA less depreciation, interest and losses, never below zero",
        )
    if case.facilities is not None:
        explanations |= _explain_capacity_of_facilities(case.facilities, result)
    return explanations | _explain_equity(case, result, schedule)


def _explain_capacity_of_facilities(
    facilities: Sequence[RepaidFacility], result: SizingResult
) -> Explanations:
    series = [
        FacilitySeries(
            payments=[row.payment for row in each.rows],
            period_rates=[
                row.annual_rate * total.accrual_fraction
                for row, total in zip(each.rows, result.rows, strict=False)
            ],
        )
        for each in result.facilities
    ]
    cfads = [row.cfads for row in result.rows]
    return explain_sculpted_capacity(facilities, series, cfads, result.dscr_capacity)


def _project_cash(case: SizingCase, result: SizingResult) -> list[float]:
    """Return the project cash flow, after tax where the case has one."""
    cash = case.project_cash_flow or case.cfads
    if result.tax_rows is None:
        return list(cash)
    return [amount - row.tax_paid for amount, row in zip(cash, result.tax_rows, strict=True)]


def _explain_debt(case: SizingCase, result: SizingResult, rates: list[float]) -> Explanation:
    """Explain the debt by the limit that binds."""
    if case.facilities is not None:
        amounts = {"amounts": [each.amount for each in result.facilities]}
        note = "the rows of each facility have its balance, interest and principal"
        return Explanation(result.debt, "sum(amounts)", amounts, note)
    if result.binding == "average_life" or (result.binding == "dscr" and result.scenarios):
        return _explain_service(case, result, rates)
    if result.binding == "dscr":
        return _explain_capacity(case, result, rates)
    if result.binding in {"llcr", "plcr"}:
        return _explain_cover(case, result, rates)
    return _explain_share(case, result)


def _explain_share(case: SizingCase, result: SizingResult) -> Explanation:
    """Explain a debt that is a share of the cost."""
    share = case.max_gearing if result.binding == "gearing" else case.share_of_cost
    inputs: dict[str, Any] = {"share": share, "total_uses": result.total_uses}
    if case.cap_basis == "fixed_point":
        note = "exact and without iteration: total uses are affine in the debt"
        return Explanation(result.debt, "share * total_uses", inputs, note)
    if case.pre_estimated_cost is not None:
        inputs["pre_estimated_cost"] = case.pre_estimated_cost
        return Explanation(result.debt, "share * pre_estimated_cost", inputs)
    uses = case.uses or FundingUses(capex=0.0)
    inputs |= {"costs": _costs(uses), "upfront_fee_share": uses.upfront_fee_share}
    if case.method == "sculpted":
        inputs["capex"] = uses.capex
        formula = "share * (sum(costs) + upfront_fee_share * capex)"
        return Explanation(result.debt, formula, inputs)
    inputs["initial_dsra"] = result.initial_dsra
    formula = "share * (1 + share * upfront_fee_share) * (sum(costs) + initial_dsra)"
    return Explanation(result.debt, formula, inputs)


def _explain_capacity(case: SizingCase, result: SizingResult, rates: list[float]) -> Explanation:
    """Explain a sculpted debt; in the grace only interest is paid, so that nothing discounts."""
    grace = case.grace_periods
    target = case.target_dscr if case.target_dscr is not None else 1.0
    service_cash = "pos(cfads)" if case.floor_debt_service else "cfads"
    formula = f"sum({service_cash} / target_dscr * df(period_rates))"
    inputs: dict[str, Any] = {
        "cfads": [row.cfads for row in result.rows[grace:]],
        "target_dscr": target[grace:] if isinstance(target, tuple) else target,
        "period_rates": rates[grace:],
    }
    if case.balloon:
        formula += " + balloon * last(df(period_rates))"
        inputs["balloon"] = case.balloon
    note = f"periods after the {grace} of the grace" if grace else ""
    return Explanation(result.debt, formula, inputs, note)


def _explain_service(case: SizingCase, result: SizingResult, rates: list[float]) -> Explanation:
    """Explain a debt by its debt service, which scenarios or an average life shape."""
    grace = case.grace_periods
    formula = "sum(debt_service * df(period_rates))"
    inputs: dict[str, Any] = {
        "debt_service": [row.debt_service for row in result.rows[grace:]],
        "period_rates": rates[grace:],
    }
    if case.balloon:
        formula += " + balloon * last(df(period_rates))"
        inputs["balloon"] = case.balloon
    note = "debt service is the least of CFADS / target over the scenarios"
    if result.binding == "average_life":
        note = "debt service is at its limit until the average life is reached, and then zero"
    return Explanation(result.debt, formula, inputs, note)


def _explain_cover(case: SizingCase, result: SizingResult, rates: list[float]) -> Explanation:
    """Explain a debt by the date at which its life cover ratio is the least."""
    is_llcr = result.binding == "llcr"
    rows, limit = result.rows, case.min_llcr if is_llcr else case.min_plcr
    cash = [row.cfads for row in rows] if is_llcr else _project_cash(case, result)
    ratios = [row.llcr if is_llcr else row.plcr for row in rows]
    dates = 1 if case.balloon else len(rows)
    numbered_ratios = [(ratio, t) for t, ratio in enumerate(ratios[:dates]) if ratio is not None]
    _, first = min(numbered_ratios)
    return Explanation(
        result.debt,
        f"pv(cash, period_rates) / min_{result.binding} / balance_per_debt",
        {
            "cash": cash[first:],
            "period_rates": rates[first:] + [rates[-1]] * (len(cash) - len(rates)),
            f"min_{result.binding}": limit,
            "balance_per_debt": rows[first].opening_balance / result.debt,
        },
        f"from period {first + 1}, at whose beginning the ratio is the least",
    )


def _costs(uses: FundingUses) -> list[float]:
    return [
        uses.capex,
        uses.closing_cost,
        uses.other_financing_cost,
        uses.construction_financing_cost,
    ]


def _explain_equity(
    case: SizingCase, result: SizingResult, schedule: PeriodSchedule
) -> Explanations:
    before, after, uses = result.equity_irr, result.equity_irr_after_tax, case.uses
    if uses is None or before is None or after is None:
        return {}
    uses_and_debt = {"total_uses": result.total_uses, "debt": result.debt}
    shares = shares_ahead(schedule.period_months(), 0, uses.dsra_months)
    return {
        "upfront_fee": _explain_fee(case, result, uses),
        "initial_dsra": Explanation(
            result.initial_dsra,
            "sum(period_shares * debt_service)",
            {
                "period_shares": shares or [0.0],
                "debt_service": [row.debt_service for row in result.rows][: len(shares) or 1],
                "dsra_months": uses.dsra_months,
                "months_per_period": schedule.months_per_period,
                "period_months": schedule.period_months(),
            },
            "debt service of the next dsra_months, part periods pro rata",
        ),
        "total_uses": Explanation(
            result.total_uses,
            "sum(costs) + upfront_fee + initial_dsra",
            {
                "costs": _costs(uses),
                "upfront_fee": result.upfront_fee,
                "initial_dsra": result.initial_dsra,
            },
        ),
        "equity": Explanation(result.equity, "total_uses - debt", uses_and_debt),
        "gearing": Explanation(result.gearing, "debt / total_uses", uses_and_debt),
        "equity_irr": explain_rate("equity_irr", before, result.equity_cash_flow, schedule),
        "equity_irr_after_tax": explain_rate(
            "equity_irr_after_tax", after, result.equity_cash_flow_after_tax, schedule
        ),
    }


def _explain_fee(case: SizingCase, result: SizingResult, uses: FundingUses) -> Explanation:
    if case.facilities is None:
        inputs = {"upfront_fee_share": uses.upfront_fee_share, "debt": result.debt}
        return Explanation(result.upfront_fee, "upfront_fee_share * debt", inputs)
    fees = {
        "upfront_fees": [each.upfront_fee for each in case.facilities],
        "amounts": [each.amount for each in result.facilities],
    }
    return Explanation(result.upfront_fee, "sum(upfront_fees * amounts)", fees)


def explain_rate(
    name: str, outcome: RateOutcome, flows: tuple[float, ...], schedule: PeriodSchedule
) -> Explanation:
    """Explain a rate by the equation it solves, at the times at which it was found."""
    dates = schedule.all_dates()
    if len(dates) >= len(flows):
        times = [(day - dates[0]).days / 365.0 for day in dates[: len(flows)]]
    elif schedule.periods_per_year is not None:
        times = list(accumulate([0.0] + [1.0] * (len(flows) - 1)))
    else:
        times = schedule.flow_times_years(len(flows))
    formula = f"sum(cash_flow * (1 + {name}) ** -times) = 0"
    note = outcome.conventions["annualisation"]
    return Explanation(outcome.rate, formula, {"cash_flow": flows, "times": times}, note)
