"""Debt sizing with several facilities: sizes, debt service by rank, and the funded cost of all.

The funded cost U is the uses, the fees on every commitment and the reserve; commitments and
reserve follow from U, so that U is a fixed point, which is affine unless a cap or a floor binds.
"""

from collections.abc import Sequence
from math import fsum
from operator import mul
from typing import Final, NamedTuple

from spawn.domain.errors import Infeasible
from spawn.domain.finance.coverage_ratios import (
    compute_dscrs,
    compute_life_cover_ratios,
    find_lowest,
    is_below,
    weighted_average_life,
)
from spawn.domain.finance.debt_sizing_case import (
    SizingCase,
    check_funding_uses,
    check_project_cash_flow,
)
from spawn.domain.finance.debt_sizing_warnings import (
    warn_of_project_cash,
    warn_of_reserve_interest,
)
from spawn.domain.finance.facilities.debt_stack import DebtStack, StackSizing
from spawn.domain.finance.facilities.facility_result import (
    build_facility_schedules,
)
from spawn.domain.finance.facilities.facility_terms import (
    check_facility_terms,
    check_list,
    resolve_annual_rates,
)
from spawn.domain.finance.facilities.fixed_point import find_fixed_point
from spawn.domain.finance.facilities.repayment_terms import (
    RepaidFacility,
    SizingFacility,
    check_repayment,
    check_size_rules,
    describe_sculpting,
    expand_targets,
    tenor_of,
)
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    ROUNDING_NOISE,
    FieldChecker,
    reject_overflow,
)
from spawn.domain.finance.period_lists import list_periods
from spawn.domain.finance.sizing.sizing_equity import add_equity
from spawn.domain.finance.sizing.sizing_result import SizingResult, SizingRow
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    resolve_schedule,
    shares_ahead,
)

_NOISE: Final = 1e-14
_KINDS: Final = frozenset({"senior", "mezzanine", "shareholder_loan"})
_ONE_DEBT_FIELDS: Final = (
    "annual_rates",
    "repayment",
    "target_dscr",
    "share_of_cost",
    "tenor_periods",
    "balloon",
    "grace_periods",
    "pre_estimated_cost",
    "allow_negative_amortisation",
    "sizing_scenarios",
    "min_llcr",
    "min_plcr",
    "max_average_life_years",
    "tax",
    "ebitda",
)


class _StackCase(NamedTuple):
    """The case with its facilities stacked on its time."""

    case: SizingCase
    facilities: tuple[SizingFacility, ...]
    schedule: PeriodSchedule
    stack: DebtStack
    cash: tuple[float, ...]
    reserve_months: tuple[float, ...]
    periods: int

    def reserve_after(self, service: Sequence[float], payment: int) -> float:
        """Return the DSRA after a payment: the debt service of the next months."""
        if not self.reserve_months or self.case.uses is None:
            return 0.0
        shares = shares_ahead(self.reserve_months, payment, self.case.uses.dsra_months)
        return fsum(map(mul, shares, service[payment : payment + len(shares)]))

    def sum_fees(self, sizing: StackSizing) -> float:
        """Return the fees on all commitments."""
        return sum(
            facility.upfront_fee * amount
            for facility, amount in zip(self.facilities, sizing.amounts, strict=True)
        )


def size_facilities(case: SizingCase, facilities: tuple[SizingFacility, ...]) -> SizingResult:
    """Size several facilities, with the schedule of each and of their sum.

    Raises:
        InvalidInput: names each field outside its limits or without a use; also CFADS that carry
            no debt, a growing balance that is not allowed, and debt above the gearing cap.
    """
    _check_case(case, facilities)
    schedule = resolve_schedule(case, len(case.cfads))
    rates = resolve_annual_rates(facilities, schedule.periods)
    has_reserve = case.uses is not None and case.uses.dsra_months > 0.0
    inputs = _StackCase(
        case=case,
        facilities=facilities,
        schedule=schedule,
        stack=DebtStack(facilities, schedule, rates, max_gearing=case.max_gearing),
        cash=case.cfads,
        reserve_months=schedule.period_months() if has_reserve else (),
        periods=max(tenor_of(facility, schedule.periods) for facility in facilities),
    )
    total = _solve_total_uses(inputs)
    sizing = inputs.stack.size(inputs.cash, total or 0.0)
    return _build_result(inputs, sizing, total)


def _check_case(case: SizingCase, facilities: tuple[SizingFacility, ...]) -> None:
    checker = FieldChecker()
    periods = len(case.cfads)
    if checker.require_size("/cfads", periods, MAX_PERIODS):
        checker.require_each("/cfads", case.cfads, -MAX_AMOUNT, MAX_AMOUNT)
    for name in _ONE_DEBT_FIELDS:
        if getattr(case, name):
            detail = "serves one debt; remove it or the facilities"
            checker.reject(f"/{name}", "not_applicable", detail)
    if case.cap_basis != "fixed_point":
        detail = "facilities are sized at the fixed point of the funded cost"
        checker.reject("/cap_basis", "not_applicable", detail)
    if not case.floor_debt_service:
        detail = "the debt service of facilities is never below zero"
        checker.reject("/floor_debt_service", "not_applicable", detail)
    if check_list(checker, facilities, periods) and periods:
        _check_facilities(checker, case, facilities)
    check_funding_uses(checker, case)
    if case.project_cash_flow is not None:
        check_project_cash_flow(checker, case.project_cash_flow, periods)
    if case.uses is not None and case.uses.upfront_fee_share:
        detail = "each facility has its upfront_fee"
        checker.reject("/uses/upfront_fee_share", "not_applicable", detail)
    checker.raise_errors()


def _check_facilities(
    checker: FieldChecker, case: SizingCase, facilities: tuple[SizingFacility, ...]
) -> None:
    for index, facility in enumerate(facilities):
        pointer = f"/facilities/{index}"
        check_facility_terms(checker, pointer, facility, len(case.cfads))
        check_repayment(checker, pointer, facility, len(case.cfads))
        if facility.kind not in _KINDS:
            detail = f"must be one of {', '.join(sorted(_KINDS))}"
            checker.reject(f"{pointer}/kind", "not_in_enum", detail)
    reason = "a share is one of the funded cost; give the uses" if case.uses is None else None
    check_size_rules(checker, facilities, needs_cost=reason)


def _solve_total_uses(inputs: _StackCase) -> float | None:
    """Return the funded cost, at which fees and reserve are those of its own debt."""
    uses = inputs.case.uses
    if uses is None:
        return None
    fixed_cost = uses.fixed_cost

    def sum_uses(total: float) -> float:
        sizing = inputs.stack.size(inputs.cash, total, is_final=False)
        reserve = inputs.reserve_after(sizing.sum_payments(inputs.periods), 0)
        return fixed_cost + inputs.sum_fees(sizing) + reserve

    total = find_fixed_point(sum_uses, fixed_cost, MAX_AMOUNT, noise=_NOISE)
    if total is None:
        raise Infeasible.at(
            "/uses",
            "no_solution",
            "each unit of debt adds more cost than it funds; lower fee, reserve or share",
        )
    return total


def _build_result(inputs: _StackCase, sizing: StackSizing, total: float | None) -> SizingResult:
    case, schedule, cfads = inputs.case, inputs.schedule, inputs.case.cfads
    service = sizing.sum_payments(inputs.periods)
    reserve = [inputs.reserve_after(service, k) for k in range(inputs.periods)] + [0.0]
    schedules = build_facility_schedules(inputs.facilities, inputs.stack, sizing, schedule, cfads)
    rows = _build_rows(inputs, sizing, service, reserve)
    reject_overflow(
        "/cfads",
        (row.interest for row in rows),
        (row.closing_balance for row in rows),
        *((row.dscr, row.llcr, row.plcr) for row in rows),
    )
    ratios = [row.dscr for row in rows if row.dscr is not None]
    project_cash_flow = case.project_cash_flow or cfads
    debt = fsum(sizing.amounts)
    result = SizingResult(
        debt=debt,
        binding=sizing.binding,
        dscr_capacity=sizing.capacity,
        achieved_dscr=_achieved_dscr(inputs, sizing),
        rows=rows,
        min_dscr=min(ratios, default=None),
        min_dscr_period=find_lowest(row.dscr for row in rows),
        months_per_period=schedule.months_per_period,
        debt_service_floor=0.0,
        avg_dscr=sum(ratios) / len(ratios) if ratios else None,
        llcr=rows[0].llcr,
        plcr=rows[0].plcr,
        wal_years=weighted_average_life(
            schedule.payment_times_years()[: inputs.periods], [row.principal for row in rows]
        ),
        total_interest=fsum(row.interest for row in rows),
        upfront_fee=inputs.sum_fees(sizing),
        initial_dsra=reserve[0],
        dsra_balance=tuple(reserve) + (0.0,) * (len(project_cash_flow) - inputs.periods),
        total_uses=total,
        equity=None if total is None else total - debt,
        gearing=None if total is None else debt / total,
        conventions=_conventions(inputs),
        warnings=schedule.warnings + _warn_of_facilities(inputs, sizing, rows),
        facilities=schedules,
    )
    if total is None:
        return result
    dues = [row.debt_service + row.balloon + row.early_repayment for row in rows]
    return add_equity(case, schedule, project_cash_flow, dues, result)


def _sum_balloons(inputs: _StackCase, sizing: StackSizing) -> list[float]:
    balloons = [0.0] * inputs.periods
    for repayment in sizing.repayments:
        balloons[len(repayment.payments) - 1] += repayment.balloon
    return balloons


def _sum_series(series: Sequence[Sequence[float]], periods: int) -> list[float]:
    total = [0.0] * periods
    for values in series:
        for t, value in enumerate(values[:periods]):
            total[t] += value
    return total


def _build_rows(
    inputs: _StackCase, sizing: StackSizing, service: Sequence[float], reserve: Sequence[float]
) -> tuple[SizingRow, ...]:
    """Return the sums over the facilities; the rate is the average on the balance."""
    periods, schedule, repayments = inputs.periods, inputs.schedule, sizing.repayments
    balances = _sum_series([each.balances for each in repayments], periods + 1)
    interest = _sum_series([each.interest for each in repayments], periods)
    capitalised = _sum_series([each.capitalised for each in repayments], periods)
    principal = _sum_series([each.principal for each in repayments], periods)
    extras = [each.extras for each in repayments if each.extras is not None]
    accrued_interest = _sum_series([each.accrued_interest for each in extras], periods)
    premium = _sum_series([each.premium for each in extras], periods)
    early_repayment = _sum_series([each.early_repayment for each in extras], periods)
    fractions, cfads = schedule.accrual_fractions, inputs.case.cfads
    annual_rates = _average_annual_rates(inputs, balances, interest)
    rates = [rate * tau for rate, tau in zip(annual_rates, fractions, strict=False)]
    ratios = compute_dscrs(cfads[:periods], service, max(balances))
    llcr = compute_life_cover_ratios(cfads[:periods], rates, balances[:-1])
    project_cash_flow = inputs.case.project_cash_flow or cfads
    plcr = compute_life_cover_ratios(project_cash_flow, rates, balances[:-1])
    balloons = _sum_balloons(inputs, sizing)
    return tuple(
        SizingRow(
            period=t + 1,
            date=schedule.dates[t + 1] if schedule.dates else None,
            accrual_fraction=fractions[t],
            annual_rate=annual_rates[t],
            cfads=cfads[t],
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
            capitalised=capitalised[t],
            accrued_interest=accrued_interest[t],
            premium=premium[t],
            early_repayment=early_repayment[t],
        )
        for t in range(periods)
    )


def _average_annual_rates(
    inputs: _StackCase, balances: Sequence[float], interest: Sequence[float]
) -> list[float]:
    """Return the average annual rates on the balance; where nothing is owed the last one holds.

    It holds too where a day count leaves a period without a day.
    """
    scale = ROUNDING_NOISE * max(balances)
    rates: list[float] = []
    for t, tau in enumerate(inputs.schedule.accrual_fractions[: inputs.periods]):
        if balances[t] > scale and tau:
            rates.append(interest[t] / balances[t] / tau)
        else:
            rates.append(rates[-1] if rates else inputs.stack.annual_rates[0][0])
    return rates


def _achieved_dscr(inputs: _StackCase, sizing: StackSizing) -> tuple[float, ...] | None:
    """Return the DSCR at which the sculpted debt repays, per period of its tenor."""
    index = inputs.stack.sculpted_index
    if index is None or not sizing.factor:
        return None
    targets = expand_targets(inputs.facilities[index], inputs.schedule.periods)
    return tuple(target / sizing.factor for target in targets)


def _warn_of_facilities(
    inputs: _StackCase,
    sizing: StackSizing,
    rows: Sequence[SizingRow],
) -> tuple[str, ...]:
    warnings = [text for repayment in sizing.repayments for text in repayment.warnings]
    warnings += warn_of_sculpting(inputs.facilities, inputs.stack, sizing)
    repaid_early = [row.period for row in rows if row.early_repayment]
    if repaid_early:
        text = "the DSCR leaves out what prepayments and a termination repay in"
        warnings.append(f"{text} {list_periods(repaid_early)}")
    uncovered = [row.period for row in rows if row.dscr is not None and is_below(row.dscr, 1.0)]
    if uncovered:
        periods = list_periods(uncovered)
        warnings.append(f"the DSCR is below 1: CFADS do not cover debt service in {periods}")
    warnings += warn_of_reserve_interest(inputs.case, inputs.reserve_months)
    warnings += warn_of_project_cash(
        inputs.case.cfads, inputs.case.project_cash_flow or inputs.case.cfads
    )
    return tuple(warnings)


def warn_of_sculpting(
    facilities: Sequence[RepaidFacility], stack: DebtStack, sizing: StackSizing
) -> list[str]:
    """Warn where a floor under principal or a growing balance departs from the target."""
    index = stack.sculpted_index
    if index is None:
        return []
    name, first = facilities[index].name, stack.periods_before
    warnings: list[str] = []
    if sizing.floor_periods:
        periods = list_periods([first + number for number in sizing.floor_periods])
        warnings.append(f"{name}: the principal is at its floor in {periods}")
    if sizing.exceeded_periods:
        periods = list_periods([first + number for number in sizing.exceeded_periods])
        warnings.append(f"{name}: the service ahead exceeds CFADS / target DSCR in {periods}")
    growing = sizing.repayments[index].growing_periods
    if growing:
        periods = list_periods([first + t for t in growing])
        warnings.append(f"{name}: negative amortisation in {periods}")
    return warnings


def _conventions(inputs: _StackCase) -> dict[str, str]:
    return {
        "timing": "flows at period end; date 0 is the start of the first period",
        "day_count": inputs.schedule.day_count,
        "interest": "annual rate x accrual fraction x opening balance",
        "rate": "(1 - hedged share) x max(base, floor) + hedged share x swap rate + margin",
        "sculpting": describe_sculpting(inputs.facilities),
        "dscr": "CFADS / debt service of all facilities, balloons and early repayments apart; by "
        "facility, that of its rank and those before it",
        "llcr": "PV of CFADS over the tenor at the average rates / opening balance",
        "plcr": "PV of project cash flow at the average rates / opening balance",
        "wal": "sum(t * principal) / sum(principal), years",
        "dsra": "months of the next debt service, funded at the start, released at the end",
    }
