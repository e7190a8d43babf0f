"""Debt sizing: the debt that the cash flow carries and the funded cost allows.

Sculpting runs backwards, B_{t-1} = (B_t + CFADS_t / DSCR_t) / (1 + r_t tau_t) with B_n the
balloon, so that D = sum of (CFADS_t / DSCR_t) DF_t + balloon DF_n. Fees and the initial DSRA are
uses that depend on the debt; uses are affine in it, so that the debt at a gearing cap solves
D = g (a + b D), D = g a / (1 - g b), exactly and without iteration.

`cap_basis` "pre_estimate" reproduces the NREL System Advisor Model, which tests its cap on a cost
estimated before the debt is known (source: `cmod_singleowner.cpp` of NREL/ssc): with the fee on
the cost before financing and no DSRA when sculpting, and with the fee on the debt before the fee
when the debt is a share of cost.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import mul
from typing import NamedTuple

import msgspec

from spawn.domain.errors import Infeasible, InvalidInput
from spawn.domain.finance.coverage_ratios import (
    compute_dscrs,
    compute_life_cover_ratios,
    compute_opening_balances,
    find_lowest,
    weighted_average_life,
)
from spawn.domain.finance.debt_sizing_case import (
    FundingUses,
    SizingCase,
    SizingInputs,
    resolve_sizing_inputs,
)
from spawn.domain.finance.debt_sizing_limits import (
    check_average_life,
    cut_service_to_average_life,
    limit_debt_by_cover,
)
from spawn.domain.finance.debt_sizing_scenarios import ScenarioCoverage, cover_scenario
from spawn.domain.finance.debt_sizing_tax import TaxSolution, solve_tax_circle
from spawn.domain.finance.debt_sizing_warnings import (
    warn_of_coverage,
    warn_of_scenarios,
    warn_of_unused_terms,
)
from spawn.domain.finance.facilities.debt_stack import SizeLimit
from spawn.domain.finance.limits import MAX_AMOUNT, MIN_POSITIVE, ROUNDING_NOISE, reject_overflow
from spawn.domain.finance.period_lists import list_periods
from spawn.domain.finance.sizing.facility_sizing import size_facilities
from spawn.domain.finance.sizing.sizing_equity import add_equity
from spawn.domain.finance.sizing.sizing_result import SizingResult, SizingRow
from spawn.domain.finance.time_base.period_schedule import shares_ahead


class _ServicePlan(NamedTuple):
    """Debt service as an affine function of debt: `service_per_unit` times (debt - `base`).

    `base` is the present value of the balloon, `shape_value` that of the shape before scaling,
    `capacity` the debt that the cash carries, where it sculpts the debt, and `capacity_limit` the
    limit that sets it.
    """

    service_per_unit: tuple[float, ...]
    base: float
    shape_value: float
    capacity: float | None
    capacity_limit: SizeLimit = "dscr"


class _SizedDebt(NamedTuple):
    """A debt with its limit and its principal by period."""

    plan: _ServicePlan
    debt: float
    binding: SizeLimit
    principal: list[float]


def size_debt(case: SizingCase) -> SizingResult:
    """Size the largest debt that meets the targets and the cap, with its schedule.

    Raises:
        InvalidInput: names each field outside its limits; also a balloon that alone exceeds the
            cap, CFADS that carry no debt, and negative amortisation unless the switch allows it.
    """
    if case.facilities is not None:
        return size_facilities(case, case.facilities)
    inputs = resolve_sizing_inputs(case)
    solution: TaxSolution | None = None
    if inputs.taxed_project is not None:
        solution = solve_tax_circle(inputs, inputs.taxed_project, _size_interest)
        inputs = solution.inputs
    sized = _limit_and_schedule(inputs)
    _check_balloon(inputs, sized.plan, sized.debt)
    warnings = _check_amortisation(inputs, sized.debt, sized.principal)
    sizing = _build_result(inputs, sized, warnings)
    if case.max_average_life_years is not None:
        check_average_life(sizing.wal_years, case.max_average_life_years)
    return sizing if solution is None else _add_tax(sizing, solution)


def _limit_and_schedule(inputs: SizingInputs) -> _SizedDebt:
    """Return the largest debt under every limit, with its principal."""
    plan = _plan_service(inputs)
    debt, binding = _limit_debt(inputs, plan)
    return _SizedDebt(plan, debt, binding, _schedule_principal(inputs, plan, debt))


def _size_interest(inputs: SizingInputs) -> list[float]:
    """Return the interest by period of the debt that the inputs carry."""
    sized = _limit_and_schedule(inputs)
    balances = compute_opening_balances(sized.debt, sized.principal)
    return [balance * rate for balance, rate in zip(balances, inputs.period_rates, strict=True)]


def _add_tax(sizing: SizingResult, solution: TaxSolution) -> SizingResult:
    return msgspec.structs.replace(
        sizing,
        tax_rows=solution.rows,
        total_tax=sum(row.tax_paid for row in solution.rows),
        tax_iterations=solution.iterations,
        tax_residual=solution.residual,
    )


def _sculpted_capacity(inputs: SizingInputs, service: Sequence[float]) -> float:
    """Return the sculpted debt: the present value of debt service and of the balloon."""
    balance, grace = inputs.case.balloon, inputs.case.grace_periods
    for t in range(inputs.tenor - 1, grace - 1, -1):
        balance = (balance + service[t - grace]) / (1.0 + inputs.period_rates[t])
    # During the grace only interest is paid, so that the balance does not change.
    if not MIN_POSITIVE <= balance <= MAX_AMOUNT:
        raise Infeasible.at(
            "/cfads", "no_debt_capacity", "carries no debt; lower the target DSCR or raise CFADS"
        )
    return balance


def _plan_service(inputs: SizingInputs) -> _ServicePlan:
    """Compute regular debt service per unit of debt: all profiles are affine in the debt.

    For the sculpted profile a smaller debt divides each regular payment by the same factor; the
    balloon and the interest of the grace are separate.
    """
    grace, tenor = inputs.case.grace_periods, inputs.tenor
    capacity: float | None = None
    capacity_limit: SizeLimit = "dscr"
    shape = [1.0] * (tenor - grace)
    if inputs.case.method == "sculpted":
        shape, capacity_limit = _shape_service(inputs)
        capacity = _sculpted_capacity(inputs, shape)
    discounts = list(accumulate((1.0 / (1.0 + rate) for rate in inputs.period_rates[grace:]), mul))
    shape_value = sum(map(mul, shape, discounts))
    if shape_value < MIN_POSITIVE:
        raise Infeasible.at(
            "/cfads", "no_debt_capacity", "carries no debt; lower the target DSCR or raise CFADS"
        )
    return _ServicePlan(
        tuple(part / shape_value for part in shape),
        inputs.case.balloon * discounts[-1],
        shape_value,
        capacity,
        capacity_limit,
    )


def _shape_service(inputs: SizingInputs) -> tuple[list[float], SizeLimit]:
    """Return the most debt service of each period after the grace, and the limit that sets it."""
    service = list(inputs.service_limits[inputs.case.grace_periods :])
    max_years = inputs.case.max_average_life_years
    if max_years is None:
        return service, "dscr"
    parts = cut_service_to_average_life(
        service,
        inputs.period_rates,
        inputs.schedule.payment_times_years(),
        balloon=inputs.case.balloon,
        max_average_life_years=max_years,
    )
    return parts, "dscr" if parts == service else "average_life"


def _schedule_principal(inputs: SizingInputs, plan: _ServicePlan, debt: float) -> list[float]:
    """Return the principal per period; the last one takes balloon and remainder."""
    grace, tenor = inputs.case.grace_periods, inputs.tenor
    if inputs.case.method == "straight_line":
        principal = [(debt - inputs.case.balloon) / (tenor - grace)] * (tenor - grace)
        principal[-1] = debt - sum(principal[:-1])
        return [0.0] * grace + principal
    # Backwards, each step divides an error by 1 + rate; forwards it would multiply it.
    balances = [inputs.case.balloon]
    for service, rate in zip(
        reversed(plan.service_per_unit), reversed(inputs.period_rates), strict=False
    ):
        balances.append((balances[-1] + service * (debt - plan.base)) / (1.0 + rate))
    balances[0], balances[-1] = 0.0, debt
    balances.reverse()
    return [0.0] * grace + [before - after for before, after in pairwise(balances)]


def _regular_service(inputs: SizingInputs, debt: float, principal: list[float]) -> list[float]:
    """Return debt service without the balloon, which refinancing pays and no reserve covers."""
    service, balance = [], debt
    for rate, repayment in zip(inputs.period_rates, principal, strict=True):
        service.append(balance * rate + repayment)
        balance -= repayment
    service[-1] -= inputs.case.balloon
    return service


def _reserve_after(inputs: SizingInputs, service: list[float], payment: int) -> float:
    """Return the DSRA after a payment: the next months of debt service, part periods pro rata."""
    if not inputs.reserve_months or inputs.case.uses is None:
        return 0.0
    shares = shares_ahead(inputs.reserve_months, payment, inputs.case.uses.dsra_months)
    return math.fsum(map(mul, shares, service[payment : payment + len(shares)]))


def _limit_debt(inputs: SizingInputs, plan: _ServicePlan) -> tuple[float, SizeLimit]:
    """Return the smaller of the debts that the cash and the funded cost allow, and its limit."""
    case, capacity = inputs.case, plan.capacity
    limits: list[tuple[float, SizeLimit]] = []
    if capacity is not None:
        limits.append((capacity, plan.capacity_limit))
    elif case.uses is None:
        raise InvalidInput.at("/uses", "required", "a share of cost needs the uses")
    if case.uses is not None:
        if case.share_of_cost is not None and capacity is None:
            debt = _debt_at_share(inputs, plan, case.uses, case.share_of_cost)
            if debt is None:
                raise _no_funded_cost_error()
            limits.append((debt, "share_of_cost"))
        if case.max_gearing is not None:
            cap = _debt_at_share(inputs, plan, case.uses, case.max_gearing)
            if cap is not None:
                limits.append((cap, "gearing"))
    limits += _limit_by_cover(inputs, plan, limits[0][0])
    return min(limits, key=lambda limit: limit[0])


def _limit_by_cover(
    inputs: SizingInputs, plan: _ServicePlan, debt: float
) -> list[tuple[float, SizeLimit]]:
    """Return the debts at which the life cover ratios are the least that the case allows."""
    case = inputs.case
    covers: list[tuple[float | None, SizeLimit, tuple[float, ...]]] = [
        (case.min_llcr, "llcr", inputs.cfads),
        (case.min_plcr, "plcr", inputs.project_cash_flow),
    ]
    limits: list[tuple[float, SizeLimit]] = []
    for min_ratio, name, cash in covers:
        if min_ratio is None:
            continue
        principal = _schedule_principal(inputs, plan, debt)
        limit = limit_debt_by_cover(
            cash,
            inputs.period_rates,
            principal,
            debt=debt,
            min_ratio=min_ratio,
            is_first_date_only=case.balloon > 0.0,
        )
        if limit < MIN_POSITIVE:
            detail = "no debt has this ratio; lower it or raise the cash"
            raise Infeasible.at(f"/min_{name}", "no_debt_capacity", detail)
        limits.append((limit, name))
    return limits


def _check_balloon(inputs: SizingInputs, plan: _ServicePlan, debt: float) -> None:
    """Reject a balloon that leaves nothing to repay before it, or that exceeds the debt."""
    case = inputs.case
    is_growing = debt < case.balloon * (1.0 - ROUNDING_NOISE)
    if case.balloon and (
        debt <= plan.base or (is_growing and not case.allow_negative_amortisation)
    ):
        raise Infeasible.at(
            "/balloon", "exceeds_debt", "exceeds the debt that can be sized; lower it"
        )


def _debt_at_share(
    inputs: SizingInputs, plan: _ServicePlan, uses: FundingUses, share: float
) -> float | None:
    """Return the debt that is `share` of the funded cost; uses are affine, so it is exact.

    None where each unit of debt adds a cost of which the share is a unit or more: any debt is then
    below its share of the cost, so that a cap never binds and a share is never reached.
    """
    fixed_cost = (
        uses.capex
        + uses.closing_cost
        + uses.other_financing_cost
        + uses.construction_financing_cost
    )
    fee = uses.upfront_fee_share
    if inputs.case.pre_estimated_cost is not None:
        return share * inputs.case.pre_estimated_cost
    if inputs.case.cap_basis == "pre_estimate" and plan.capacity is not None:
        return share * (fixed_cost + fee * uses.capex)
    # The reserve is affine in the debt: two points give intercept and slope.
    scale = share * fixed_cost
    reserve_at_scale, reserve_at_double = (
        _reserve_after(
            inputs, _regular_service(inputs, debt, _schedule_principal(inputs, plan, debt)), 0
        )
        for debt in (scale, 2.0 * scale)
    )
    slope = (reserve_at_double - reserve_at_scale) / scale
    intercept = reserve_at_scale - slope * scale
    if inputs.case.cap_basis == "pre_estimate":
        grossed_share = share * (1.0 + share * fee)
        return _divide_cost(grossed_share * (fixed_cost + intercept), grossed_share * slope)
    return _divide_cost(share * (fixed_cost + intercept), share * (fee + slope))


def _divide_cost(share_of_cost: float, share_of_unit: float) -> float | None:
    """Return D = a + b D, with the shares of the cost without debt and of that of a unit of it."""
    if share_of_unit < 1.0:
        return share_of_cost / (1.0 - share_of_unit)
    if share_of_cost > 0.0:
        return None
    raise _no_funded_cost_error()


def _no_funded_cost_error() -> Infeasible:
    return Infeasible.at(
        "/uses",
        "no_solution",
        "each unit of debt adds more cost than it funds; lower fee, reserve or share",
    )


def _check_amortisation(
    inputs: SizingInputs, debt: float, principal: list[float]
) -> tuple[str, ...]:
    """Reject a growing balance, or warn of it where the case allows it."""
    regular_principal = [*principal[:-1], principal[-1] - inputs.case.balloon]
    growing_periods = [
        t + 1 for t, repayment in enumerate(regular_principal) if repayment < -ROUNDING_NOISE * debt
    ]
    if not growing_periods:
        return ()
    periods = list_periods(growing_periods)
    if not inputs.case.allow_negative_amortisation:
        raise Infeasible.at(
            "/allow_negative_amortisation",
            "negative_amortisation",
            f"the balance would grow in {periods}; set this to true to allow it",
        )
    return (f"negative amortisation in {periods}",)


def _build_result(
    inputs: SizingInputs, sized: _SizedDebt, warnings: tuple[str, ...]
) -> SizingResult:
    case = inputs.case
    plan, debt, binding, principal = sized
    service = _regular_service(inputs, debt, principal)
    reserve = [_reserve_after(inputs, service, k) for k in range(inputs.tenor)] + [0.0]
    rows = _build_rows(inputs, debt, principal, reserve)
    reject_overflow(
        "/cfads",
        (row.interest for row in rows),
        (row.closing_balance for row in rows),
        *((row.dscr, row.llcr, row.plcr) for row in rows),
    )
    scenarios = _cover_scenarios(inputs, rows)
    tested_ratios = [row.dscr for row in rows if row.dscr is not None]
    uses = case.uses
    fee = uses.upfront_fee_share * debt if uses else 0.0
    total = _total_uses(uses, fee, reserve[0]) if uses else None
    life = len(inputs.project_cash_flow)
    reserve_to_life = tuple(reserve) + (0.0,) * (life - inputs.tenor)
    sizing = SizingResult(
        debt=debt,
        binding=binding,
        dscr_capacity=plan.capacity,
        achieved_dscr=_achieved_dscr(inputs, plan, debt),
        rows=rows,
        min_dscr=min(tested_ratios, default=None),
        min_dscr_period=find_lowest(row.dscr for row in rows),
        months_per_period=inputs.schedule.months_per_period,
        debt_service_floor=0.0 if inputs.case.floor_debt_service else None,
        avg_dscr=sum(tested_ratios) / len(tested_ratios) if tested_ratios else None,
        llcr=rows[0].llcr,
        plcr=rows[0].plcr,
        wal_years=weighted_average_life(inputs.schedule.payment_times_years(), principal),
        total_interest=sum(row.interest for row in rows),
        upfront_fee=fee,
        initial_dsra=reserve[0],
        dsra_balance=reserve_to_life,
        total_uses=total,
        equity=None if total is None else total - debt,
        gearing=None if total is None else debt / total,
        conventions=_conventions(inputs),
        warnings=(
            warnings
            + warn_of_coverage(inputs, rows)
            + warn_of_scenarios(scenarios)
            + warn_of_unused_terms(inputs)
        ),
        binding_scenarios=tuple(row.binding_scenario for row in rows) if scenarios else None,
        scenarios=scenarios or None,
    )
    if total is None:
        return sizing
    project, cash = inputs.taxed_project, inputs.project_cash_flow
    dues = [row.interest + row.principal for row in rows]
    if project is None:
        return add_equity(case, inputs.schedule, cash, dues, sizing)
    taxes = (0.0, *(-tax for tax in project.tax_paid))
    cash = project.project_cash_flow
    return add_equity(case, inputs.schedule, cash, dues, sizing, tax_flows=taxes)


def _build_rows(
    inputs: SizingInputs, debt: float, principal: list[float], reserve: list[float]
) -> tuple[SizingRow, ...]:
    balances = [debt]
    for repayment in principal:
        balances.append(balances[-1] - repayment)
    balances[-1] = 0.0
    interest = [b * rate for b, rate in zip(balances, inputs.period_rates, strict=False)]
    balloons = [0.0] * (inputs.tenor - 1) + [inputs.case.balloon]
    service = [i + p - b for i, p, b in zip(interest, principal, balloons, strict=True)]
    ratios = compute_dscrs(inputs.cfads, service, debt)
    llcr = compute_life_cover_ratios(inputs.cfads, inputs.period_rates, balances[:-1])
    plcr = compute_life_cover_ratios(inputs.project_cash_flow, inputs.period_rates, balances[:-1])
    dates, accruals = inputs.schedule.dates, inputs.schedule.accrual_fractions
    # With more than 15 keywords CPython builds a dictionary for each call (2 -> 6 us a row), so
    # scenarios and tax are added to the rows of the cases that have them.
    rows = tuple(
        SizingRow(
            period=t + 1,
            date=dates[t + 1] if dates else None,
            accrual_fraction=accruals[t],
            annual_rate=inputs.annual_rates[t],
            cfads=inputs.cfads[t],
            opening_balance=balances[t],
            interest=interest[t],
            principal=principal[t],
            balloon=balloons[t],
            debt_service=service[t],
            closing_balance=balances[t + 1],
            dscr=ratios[t],
            llcr=llcr[t],
            plcr=plcr[t],
            dsra_balance=reserve[t + 1],
        )
        for t in range(inputs.tenor)
    )
    if inputs.binding_scenarios or inputs.taxed_project:
        return _add_scenarios_and_tax(inputs, rows)
    return rows


def _add_scenarios_and_tax(
    inputs: SizingInputs, rows: tuple[SizingRow, ...]
) -> tuple[SizingRow, ...]:
    project, grace = inputs.taxed_project, inputs.case.grace_periods
    names = inputs.binding_scenarios or (None,) * inputs.tenor
    return tuple(
        msgspec.structs.replace(
            row,
            binding_scenario=names[t] if t >= grace else None,
            cfads_before_tax=project.cfads[t] if project else None,
            tax_paid=project.tax_paid[t] if project else None,
        )
        for t, row in enumerate(rows)
    )


def _cover_scenarios(
    inputs: SizingInputs, rows: tuple[SizingRow, ...]
) -> tuple[ScenarioCoverage, ...]:
    service = [row.debt_service for row in rows]
    balances = [row.opening_balance for row in rows]
    return tuple(
        cover_scenario(
            scenario,
            service,
            inputs.period_rates,
            balances,
            inputs.binding_scenarios,
            inputs.case.grace_periods,
        )
        for scenario in inputs.scenarios
    )


def _achieved_dscr(
    inputs: SizingInputs, plan: _ServicePlan, debt: float
) -> tuple[float, ...] | None:
    """Divide the targets by the factor that a smaller debt applies to each regular payment."""
    if plan.capacity is None or inputs.scenarios or plan.capacity_limit != "dscr":
        return None
    factor = 1.0 if debt == plan.capacity else (debt - plan.base) / plan.shape_value
    return tuple(target / factor for target in inputs.target_dscrs)


def _total_uses(uses: FundingUses, fee: float, reserve: float) -> float:
    return (
        uses.capex
        + uses.closing_cost
        + uses.other_financing_cost
        + uses.construction_financing_cost
        + fee
        + reserve
    )


_TAX_CONVENTION = (
    "on EBITDA less depreciation, deductible interest and losses; CFADS of ratios are after it, "
    "equity_cash_flow is before and equity_cash_flow_after_tax after it"
)


def _conventions(inputs: SizingInputs) -> dict[str, str]:
    case = inputs.case
    conventions = {"tax": _TAX_CONVENTION} if case.tax is not None else {}
    if case.sizing_scenarios:
        conventions["scenarios"] = (
            "debt service is the least of CFADS / target; P99 is exceeded in 99 % of the cases"
        )
    return conventions | {
        "repayment": case.method,
        "timing": "flows at period end; date 0 is the start of the first period",
        "day_count": inputs.schedule.day_count,
        "interest": "annual rate x accrual fraction x opening balance",
        "dscr": "CFADS / (interest + principal), the balloon apart",
        "llcr": "PV of CFADS over the tenor at the loan rates / opening balance",
        "plcr": "PV of project cash flow at the loan rates / opening balance",
        "wal": "sum(t * principal) / sum(principal), years",
        "cap_basis": case.cap_basis,
        "dsra": "months of the next regular debt service, funded at the start, released at the end",
    }
