"""Input of debt sizing: the case, its checks, and its series expanded over the tenor."""

from typing import Literal, NamedTuple

import msgspec

from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MAX_RATIO,
    MIN_POSITIVE,
    FieldChecker,
    check_per_period,
    expand_per_period,
)
from spawn.domain.finance.loans.loan_terms import compute_period_rates
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
)

CapBasis = Literal["fixed_point", "pre_estimate"]
RepaymentMethod = Literal["sculpted", "annuity", "straight_line"]
_MAX_RESERVE_MONTHS = 60.0


class FundingUses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Uses of funds before the fee and the reserve, which depend on the debt."""

    capex: float
    closing_cost: float = 0.0
    other_financing_cost: float = 0.0
    construction_financing_cost: float = 0.0
    upfront_fee_share: float = 0.0
    dsra_months: float = 0.0


class SizingCase(TimeTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A debt to size, on the time that `TimeTerms` states; without any its periods are years.

    `cfads` runs over the periods of the debt, or to the end of the project when `tenor_periods`
    sets the end of the debt. Sculpted debt needs
    `target_dscr` (one, or one per period); annuity and straight line need `share_of_cost`, the debt
    over funded cost. `max_gearing` caps either. `pre_estimated_cost` is the cost that a cap on the
    basis `pre_estimate` applies to; without it the uses give the estimate.
    `floor_debt_service` keeps sculpted debt service at zero where CFADS are negative, because a
    lender pays no operating cost; without it new debt covers the loss.
    `project_cash_flow` (to the end of the project, by default the CFADS) and `tax_cash_flow` (from
    date 0) serve PLCR and equity returns.
    """

    cfads: tuple[float, ...]
    annual_rates: float | tuple[float, ...]
    repayment: RepaymentMethod = "sculpted"
    target_dscr: float | tuple[float, ...] | None = None
    share_of_cost: float | None = None
    tenor_periods: int | None = None
    balloon: float = 0.0
    grace_periods: int = 0
    uses: FundingUses | None = None
    max_gearing: float | None = None
    cap_basis: CapBasis = "fixed_point"
    pre_estimated_cost: float | None = None
    allow_negative_amortisation: bool = False
    floor_debt_service: bool = True
    reserve_interest_rate: float = 0.0
    project_cash_flow: tuple[float, ...] | None = None
    tax_cash_flow: tuple[float, ...] | None = None


class SizingInputs(NamedTuple):
    """The case with scalars repeated over the tenor and its time resolved.

    `service_cash` are the CFADS that sculpting divides, at least zero with a floor.
    `reserve_months` are the months of each period where the case has a reserve, else empty.
    """

    case: SizingCase
    tenor: int
    schedule: PeriodSchedule
    cfads: tuple[float, ...]
    service_cash: tuple[float, ...]
    project_cash_flow: tuple[float, ...]
    annual_rates: tuple[float, ...]
    period_rates: tuple[float, ...]
    target_dscrs: tuple[float, ...]
    reserve_months: tuple[float, ...]


def resolve_sizing_inputs(case: SizingCase) -> SizingInputs:
    """Validate the case and repeat its scalars over the tenor.

    Raises:
        InvalidInput: names each field outside its limits.
    """
    tenor = case.tenor_periods if case.tenor_periods is not None else len(case.cfads)
    _check_series(case, tenor)
    schedule = resolve_schedule(case, tenor)
    _check_scalars(case, tenor)
    annual_rates = expand_per_period(case.annual_rates, tenor)
    rates = compute_period_rates(annual_rates, schedule.accrual_fractions)
    target_dscrs = expand_per_period(
        case.target_dscr if case.target_dscr is not None else 1.0, tenor
    )
    project_cash_flow = case.project_cash_flow if case.project_cash_flow is not None else case.cfads
    return SizingInputs(
        case=case,
        tenor=tenor,
        schedule=schedule,
        cfads=case.cfads[:tenor],
        service_cash=_service_cash(case, tenor),
        project_cash_flow=project_cash_flow,
        annual_rates=annual_rates,
        period_rates=rates,
        target_dscrs=target_dscrs,
        reserve_months=schedule.period_months() if case.uses and case.uses.dsra_months else (),
    )


def _service_cash(case: SizingCase, tenor: int) -> tuple[float, ...]:
    cfads = case.cfads[:tenor]
    if case.floor_debt_service and min(cfads) < 0.0:
        return tuple(max(cash, 0.0) for cash in cfads)
    return cfads


def _check_series(case: SizingCase, tenor: int) -> None:
    checker = FieldChecker()
    if checker.require_size("/cfads", len(case.cfads), MAX_PERIODS):
        checker.require_each("/cfads", case.cfads, -MAX_AMOUNT, MAX_AMOUNT)
        if not 1 <= tenor <= len(case.cfads):
            detail = f"must be from 1 to the {len(case.cfads)} periods of CFADS"
            checker.reject("/tenor_periods", "tenor_beyond_life", detail)
        if case.project_cash_flow is not None:
            _check_project_cash_flow(checker, case.project_cash_flow, tenor)
    checker.raise_errors()


def _check_project_cash_flow(checker: FieldChecker, flows: tuple[float, ...], tenor: int) -> None:
    if len(flows) < tenor:
        detail = f"must cover the {tenor} periods of the debt"
        checker.reject("/project_cash_flow", "tenor_beyond_life", detail)
    elif checker.require_size("/project_cash_flow", len(flows), MAX_PERIODS):
        checker.require_each("/project_cash_flow", flows, -MAX_AMOUNT, MAX_AMOUNT)


def _check_scalars(case: SizingCase, tenor: int) -> None:
    checker = FieldChecker()
    check_per_period(checker, "/annual_rates", case.annual_rates, tenor, (-0.5, MAX_RATE))
    checker.require_number("/grace_periods", case.grace_periods, 0, tenor - 1)
    checker.require_amount("/balloon", case.balloon, low=0.0)
    checker.require_rate("/reserve_interest_rate", case.reserve_interest_rate)
    if case.max_gearing is not None and not MIN_POSITIVE <= case.max_gearing <= 1.0:
        checker.reject("/max_gearing", "out_of_range", "must be above 0 and at most 1")
    if case.uses is not None:
        _check_uses(checker, case.uses)
    else:
        _check_without_uses(checker, case)
    if case.pre_estimated_cost is not None:
        checker.require_positive("/pre_estimated_cost", case.pre_estimated_cost)
        if case.cap_basis != "pre_estimate":
            checker.reject(
                "/pre_estimated_cost", "not_applicable", "only for cap_basis pre_estimate"
            )
    if case.tax_cash_flow is not None:
        life = len(case.project_cash_flow or case.cfads)
        if checker.require_length("/tax_cash_flow", case.tax_cash_flow, life + 1):
            checker.require_each("/tax_cash_flow", case.tax_cash_flow, -MAX_AMOUNT, MAX_AMOUNT)
    _check_targets(checker, case, tenor)
    checker.raise_errors()


def _check_without_uses(checker: FieldChecker, case: SizingCase) -> None:
    if case.max_gearing is not None or case.repayment != "sculpted":
        checker.reject("/uses", "required", "a share of cost needs the uses")
    if case.tax_cash_flow is not None:
        checker.reject("/tax_cash_flow", "not_applicable", "serves the equity; give the uses too")
    if case.reserve_interest_rate:
        detail = "serves the reserve, one of the uses; give the uses too"
        checker.reject("/reserve_interest_rate", "not_applicable", detail)


def _check_uses(checker: FieldChecker, uses: FundingUses) -> None:
    checker.require_positive("/uses/capex", uses.capex)
    checker.require_amount("/uses/closing_cost", uses.closing_cost, low=0.0)
    checker.require_amount("/uses/other_financing_cost", uses.other_financing_cost, low=0.0)
    cost = uses.construction_financing_cost
    checker.require_amount("/uses/construction_financing_cost", cost, low=0.0)
    checker.require_number("/uses/upfront_fee_share", uses.upfront_fee_share, 0.0, 1.0)
    checker.require_number("/uses/dsra_months", uses.dsra_months, 0.0, _MAX_RESERVE_MONTHS)


def _check_targets(checker: FieldChecker, case: SizingCase, tenor: int) -> None:
    if case.repayment == "sculpted":
        if case.share_of_cost is not None:
            checker.reject(
                "/share_of_cost",
                "not_applicable",
                "target_dscr sizes sculpted debt; remove the share",
            )
        if case.target_dscr is None:
            checker.reject("/target_dscr", "required", "sculpted debt needs a target")
        elif isinstance(case.target_dscr, tuple):
            if checker.require_length("/target_dscr", case.target_dscr, tenor):
                for index, target in enumerate(case.target_dscr):
                    checker.require_positive(f"/target_dscr/{index}", target, MAX_RATIO)
        else:
            checker.require_positive("/target_dscr", case.target_dscr, MAX_RATIO)
    elif case.target_dscr is not None:
        detail = "sculpts debt; share_of_cost sizes this profile"
        checker.reject("/target_dscr", "not_applicable", detail)
    elif case.share_of_cost is None:
        checker.reject("/share_of_cost", "required", "sizes the debt of this repayment profile")
    elif not MIN_POSITIVE <= case.share_of_cost <= 1.0:
        checker.reject("/share_of_cost", "out_of_range", "must be above 0 and at most 1")
