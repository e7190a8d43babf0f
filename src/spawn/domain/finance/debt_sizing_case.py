"""What a debt sizing is asked: the case, its checks, and its series resolved over the tenor."""

from datetime import date
from typing import Literal, NamedTuple

import msgspec

from spawn.domain.finance.day_count import DayCount, parse_day_count
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MAX_RATIO,
    SMALLEST,
    Checker,
    check_per_period,
    per_period,
)
from spawn.domain.finance.loan_schedule import accrual_fractions, period_rates

CapBasis = Literal["fixed_point", "pre_estimate"]
Repayment = Literal["sculpted", "annuity", "straight_line"]
_YEAR_MONTHS = 12
_MAX_RESERVE_MONTHS = 60.0


class Uses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the money is for, before the fee and the reserve that depend on the debt."""

    capex: float
    closing_cost: float = 0.0
    other_financing_cost: float = 0.0
    construction_financing_cost: float = 0.0
    upfront_fee_share: float = 0.0
    dsra_months: float = 0.0


class SizingCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One debt to size.

    `cfads` runs over the periods of the debt, or to the end of the project when `tenor_periods`
    says where the debt ends. Time is annual unless `dates` (start, then each period end) with a
    `day_count`, or `accruals`, are given; `months_per_period` serves the DSRA. Sculpted debt needs
    `target_dscr` (one, or one a period); annuity and straight line need `share_of_cost`, the debt
    over funded cost. `max_gearing` caps either. `pre_estimated_cost` is what a cap on the basis
    `pre_estimate` is tested on; without it the estimate is made from the uses.
    `project_cash_flow` (to the end of the project, by default the CFADS) and `tax_cash_flow` (from
    date 0) serve PLCR and equity returns.
    """

    cfads: tuple[float, ...]
    annual_rates: float | tuple[float, ...]
    repayment: Repayment = "sculpted"
    target_dscr: float | tuple[float, ...] | None = None
    share_of_cost: float | None = None
    tenor_periods: int | None = None
    dates: tuple[date, ...] | None = None
    day_count: str = "ACT/360"
    accruals: tuple[float, ...] | None = None
    frequency: int | None = None
    months_per_period: int = 12
    balloon: float = 0.0
    grace_periods: int = 0
    uses: Uses | None = None
    max_gearing: float | None = None
    cap_basis: CapBasis = "fixed_point"
    pre_estimated_cost: float | None = None
    allow_negative_amortisation: bool = False
    reserve_interest_rate: float = 0.0
    project_cash_flow: tuple[float, ...] | None = None
    tax_cash_flow: tuple[float, ...] | None = None


class Frame(NamedTuple):
    """The case with scalars repeated and times resolved: everything runs over the tenor."""

    case: SizingCase
    tenor: int
    cfads: tuple[float, ...]
    project: tuple[float, ...]
    annual: tuple[float, ...]
    accruals: tuple[float, ...]
    rates: tuple[float, ...]
    targets: tuple[float, ...]
    rule: str


def resolve(case: SizingCase) -> Frame:
    """Check the case and repeat scalars over the tenor.

    Raises:
        InvalidInput: every field that does not fit is named.
    """
    tenor = case.tenor_periods if case.tenor_periods is not None else len(case.cfads)
    _check_series(case, tenor)
    accruals, rule = _timing(case, tenor)
    _check_figures(case, tenor)
    annual = per_period(case.annual_rates, tenor)
    rates = period_rates(annual, accruals)
    targets = per_period(case.target_dscr if case.target_dscr is not None else 1.0, tenor)
    project = case.project_cash_flow if case.project_cash_flow is not None else case.cfads
    return Frame(case, tenor, case.cfads[:tenor], project, annual, accruals, rates, targets, rule)


def _check_series(case: SizingCase, tenor: int) -> None:
    check = Checker()
    if check.size("/cfads", len(case.cfads), MAX_PERIODS):
        check.each("/cfads", case.cfads, -MAX_AMOUNT, MAX_AMOUNT)
        if not 1 <= tenor <= len(case.cfads):
            detail = f"must be from 1 to the {len(case.cfads)} periods of CFADS"
            check.refuse("/tenor_periods", "tenor_beyond_life", detail)
        if case.project_cash_flow is not None:
            _check_project(check, case.project_cash_flow, tenor)
    if case.dates is not None and case.accruals is not None:
        check.refuse("/accruals", "ambiguous", "give either dates or accruals")
    check.done()


def _check_project(check: Checker, flows: tuple[float, ...], tenor: int) -> None:
    if len(flows) < tenor:
        detail = f"must cover the {tenor} periods of the debt"
        check.refuse("/project_cash_flow", "tenor_beyond_life", detail)
    elif check.size("/project_cash_flow", len(flows), MAX_PERIODS):
        check.each("/project_cash_flow", flows, -MAX_AMOUNT, MAX_AMOUNT)


def _timing(case: SizingCase, tenor: int) -> tuple[tuple[float, ...], str]:
    check = Checker()
    if case.dates is not None:
        rule = parse_day_count(case.day_count)
        if check.size("/dates", len(case.dates), MAX_PERIODS + 1, tenor + 1):
            check.increasing("/dates", case.dates)
        if rule is DayCount.ACT_ACT_ICMA and case.frequency is None:
            check.refuse("/frequency", "required", "ACT/ACT ICMA needs it")
        check.done()
        return accrual_fractions(case.dates[: tenor + 1], rule, case.frequency), rule.value
    if case.accruals is None:
        return (1.0,) * tenor, "none: the rate is per period of one year"
    if check.length("/accruals", case.accruals, tenor):
        for index, tau in enumerate(case.accruals):
            check.positive(f"/accruals/{index}", tau, MAX_RATE)
    check.done()
    return case.accruals, "as given"


def _check_figures(case: SizingCase, tenor: int) -> None:
    check = Checker()
    check_per_period(check, "/annual_rates", case.annual_rates, tenor, (-0.5, MAX_RATE))
    check.number("/grace_periods", case.grace_periods, 0, tenor - 1)
    check.number("/months_per_period", case.months_per_period, 1, _YEAR_MONTHS)
    check.amount("/balloon", case.balloon, low=0.0)
    check.rate("/reserve_interest_rate", case.reserve_interest_rate)
    if case.max_gearing is not None and not SMALLEST <= case.max_gearing <= 1.0:
        check.refuse("/max_gearing", "out_of_range", "must be above 0 and at most 1")
    if case.uses is not None:
        _check_uses(check, case.uses)
    else:
        _check_without_uses(check, case)
    if case.pre_estimated_cost is not None:
        check.positive("/pre_estimated_cost", case.pre_estimated_cost)
        if case.cap_basis != "pre_estimate":
            check.refuse("/pre_estimated_cost", "not_applicable", "only for that cap basis")
    if case.tax_cash_flow is not None:
        life = len(case.project_cash_flow or case.cfads)
        if check.length("/tax_cash_flow", case.tax_cash_flow, life + 1):
            check.each("/tax_cash_flow", case.tax_cash_flow, -MAX_AMOUNT, MAX_AMOUNT)
    _check_targets(check, case, tenor)
    check.done()


def _check_without_uses(check: Checker, case: SizingCase) -> None:
    if case.max_gearing is not None or case.repayment != "sculpted":
        check.refuse("/uses", "required", "a share of cost needs the uses")
    if case.tax_cash_flow is not None:
        check.refuse("/tax_cash_flow", "not_applicable", "serves the equity, which needs the uses")
    if case.reserve_interest_rate:
        detail = "serves the reserve, which is one of the uses"
        check.refuse("/reserve_interest_rate", "not_applicable", detail)


def _check_uses(check: Checker, uses: Uses) -> None:
    check.positive("/uses/capex", uses.capex)
    check.amount("/uses/closing_cost", uses.closing_cost, low=0.0)
    check.amount("/uses/other_financing_cost", uses.other_financing_cost, low=0.0)
    cost = uses.construction_financing_cost
    check.amount("/uses/construction_financing_cost", cost, low=0.0)
    check.number("/uses/upfront_fee_share", uses.upfront_fee_share, 0.0, 1.0)
    check.number("/uses/dsra_months", uses.dsra_months, 0.0, _MAX_RESERVE_MONTHS)


def _check_targets(check: Checker, case: SizingCase, tenor: int) -> None:
    if case.repayment == "sculpted":
        if case.share_of_cost is not None:
            check.refuse("/share_of_cost", "not_applicable", "sculpted debt is sized by its DSCR")
        if case.target_dscr is None:
            check.refuse("/target_dscr", "required", "sculpted debt needs a target")
        elif isinstance(case.target_dscr, tuple):
            if check.length("/target_dscr", case.target_dscr, tenor):
                for index, target in enumerate(case.target_dscr):
                    check.positive(f"/target_dscr/{index}", target, MAX_RATIO)
        else:
            check.positive("/target_dscr", case.target_dscr, MAX_RATIO)
    elif case.share_of_cost is None:
        check.refuse("/share_of_cost", "required", "gives the debt of this repayment profile")
    elif not SMALLEST <= case.share_of_cost <= 1.0:
        check.refuse("/share_of_cost", "out_of_range", "must be above 0 and at most 1")
