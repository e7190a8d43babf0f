"""Input of debt sizing: the case, its checks, and its series expanded over the tenor."""

from typing import Literal, NamedTuple

import msgspec

from spawn.domain.finance.debt_sizing_scenarios import (
    MAX_SCENARIOS,
    ScenarioCash,
    SizingScenario,
    TaxedProject,
    limit_service,
)
from spawn.domain.finance.facilities.repayment_terms import SizingFacility
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
from spawn.domain.finance.tax.tax_terms import TaxTerms, check_tax_terms, resolve_tax_base
from spawn.domain.finance.time_base.period_bounds import extend_period_bounds
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
)

CapBasis = Literal["fixed_point", "pre_estimate"]
RepaymentMethod = Literal["sculpted", "annuity", "straight_line"]
_MAX_RESERVE_MONTHS = 60.0
_SERVES_TAX = "is the base of a tax; give tax too"


class FundingUses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Uses of funds before the fee and the reserve, which depend on the debt."""

    capex: float
    closing_cost: float = 0.0
    other_financing_cost: float = 0.0
    construction_financing_cost: float = 0.0
    upfront_fee_share: float = 0.0
    dsra_months: float = 0.0

    @property
    def fixed_cost(self) -> float:
        """The uses that do not depend on the debt."""
        return (
            self.capex
            + self.closing_cost
            + self.other_financing_cost
            + self.construction_financing_cost
        )


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

    `sizing_scenarios` have a target each, and their own CFADS or those of the case: debt service is
    the least of CFADS / target in each period. `min_llcr`, `min_plcr` and `max_average_life_years`
    limit the debt further. With `tax` all CFADS and the project cash flow are before tax: the tax
    on `ebitda` (by default the project cash flow) less depreciation and the interest of this debt
    is subtracted, to the end of the project.

    Several `facilities` have their sizes, rates and repayments in place of those of the case; a
    period of the time is then one of `cfads`. `max_gearing` limits senior and mezzanine debt.
    """

    cfads: tuple[float, ...]
    annual_rates: float | tuple[float, ...] | None = None
    repayment: RepaymentMethod | None = None
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
    sizing_scenarios: tuple[SizingScenario, ...] = ()
    min_llcr: float | None = None
    min_plcr: float | None = None
    max_average_life_years: float | None = None
    tax: TaxTerms | None = None
    ebitda: tuple[float, ...] | None = None
    facilities: tuple[SizingFacility, ...] | None = None

    @property
    def method(self) -> RepaymentMethod:
        """The repayment of the one debt, by default sculpted."""
        return self.repayment or "sculpted"


class SizingInputs(NamedTuple):
    """The case with scalars repeated over the tenor and its time resolved.

    `service_limits` are the most debt service of each period: CFADS / target, with a floor at least
    zero, the least of the `scenarios`, which `binding_scenarios` name. `reserve_months` are the
    months of each period where the case has a reserve, else empty. `taxed_project` has what the tax
    of the case needs; without one CFADS are as given.
    """

    case: SizingCase
    tenor: int
    schedule: PeriodSchedule
    cfads: tuple[float, ...]
    service_limits: tuple[float, ...]
    project_cash_flow: tuple[float, ...]
    annual_rates: tuple[float, ...]
    period_rates: tuple[float, ...]
    target_dscrs: tuple[float, ...]
    reserve_months: tuple[float, ...]
    scenarios: tuple[ScenarioCash, ...] = ()
    binding_scenarios: tuple[str, ...] = ()
    taxed_project: TaxedProject | None = None


def resolve_sizing_inputs(case: SizingCase) -> SizingInputs:
    """Validate the case and repeat its scalars over the tenor.

    Raises:
        InvalidInput: names each field outside its limits.
    """
    tenor = case.tenor_periods if case.tenor_periods is not None else len(case.cfads)
    _check_series(case, tenor)
    schedule = resolve_schedule(case, tenor)
    _check_scalars(case, tenor)
    annual_rates = expand_per_period(case.annual_rates or 0.0, tenor)
    rates = compute_period_rates(annual_rates, schedule.accrual_fractions)
    target_dscrs = expand_per_period(
        case.target_dscr if case.target_dscr is not None else 1.0, tenor
    )
    project_cash_flow = case.project_cash_flow if case.project_cash_flow is not None else case.cfads
    scenarios = tuple(
        _resolve_scenario(case, scenario, tenor) for scenario in case.sizing_scenarios
    )
    cfads = case.cfads[:tenor]
    limits, binding_scenarios = limit_service(
        scenarios or (ScenarioCash("", cfads, target_dscrs, ()),), has_floor=case.floor_debt_service
    )
    return SizingInputs(
        case=case,
        tenor=tenor,
        schedule=schedule,
        cfads=cfads,
        service_limits=limits,
        project_cash_flow=project_cash_flow,
        annual_rates=annual_rates,
        period_rates=rates,
        target_dscrs=target_dscrs,
        reserve_months=schedule.period_months() if case.uses and case.uses.dsra_months else (),
        scenarios=scenarios,
        binding_scenarios=binding_scenarios if scenarios else (),
        taxed_project=_resolve_tax(case, case.tax, schedule) if case.tax is not None else None,
    )


def _resolve_scenario(case: SizingCase, scenario: SizingScenario, tenor: int) -> ScenarioCash:
    """Return the cash and the targets of a scenario over the tenor."""
    cfads = scenario.cfads if scenario.cfads is not None else case.cfads
    base_ebitda = case.ebitda or case.project_cash_flow if scenario.cfads is None else None
    return ScenarioCash(
        name=scenario.name,
        cfads=cfads[:tenor],
        target_dscrs=expand_per_period(scenario.target_dscr, tenor),
        ebitda=scenario.ebitda or base_ebitda or cfads,
    )


def _resolve_tax(case: SizingCase, terms: TaxTerms, schedule: PeriodSchedule) -> TaxedProject:
    """Validate the tax against the life of the project, and compute its fixed part.

    Raises:
        InvalidInput: names each field outside its limits.
    """
    project_cash_flow = case.project_cash_flow or case.cfads
    life = len(project_cash_flow)
    bounds = extend_period_bounds(schedule, life)
    checker = FieldChecker()
    check_tax_terms(checker, "/tax", terms, bounds)
    if case.ebitda is not None and checker.require_length("/ebitda", case.ebitda, life):
        checker.require_each("/ebitda", case.ebitda, -MAX_AMOUNT, MAX_AMOUNT)
    for number, scenario in enumerate(case.sizing_scenarios):
        pointer = f"/sizing_scenarios/{number}/ebitda"
        if scenario.ebitda is not None:
            if checker.require_length(pointer, scenario.ebitda, life):
                checker.require_each(pointer, scenario.ebitda, -MAX_AMOUNT, MAX_AMOUNT)
        elif scenario.cfads is not None and len(scenario.cfads) != life:
            detail = f"is taxed in each of the {life} periods of the project cash flow"
            checker.reject(pointer, "required", detail)
    checker.raise_errors()
    return TaxedProject(
        base=resolve_tax_base(terms, bounds),
        ebitda=case.ebitda or project_cash_flow,
        project_cash_flow=project_cash_flow,
        cfads=case.cfads[: schedule.periods],
    )


def _check_series(case: SizingCase, tenor: int) -> None:
    checker = FieldChecker()
    if checker.require_size("/cfads", len(case.cfads), MAX_PERIODS):
        checker.require_each("/cfads", case.cfads, -MAX_AMOUNT, MAX_AMOUNT)
        if not 1 <= tenor <= len(case.cfads):
            detail = f"must be from 1 to the {len(case.cfads)} periods of CFADS"
            checker.reject("/tenor_periods", "tenor_beyond_life", detail)
        if case.project_cash_flow is not None:
            check_project_cash_flow(checker, case.project_cash_flow, tenor)
    checker.raise_errors()


def check_project_cash_flow(checker: FieldChecker, flows: tuple[float, ...], tenor: int) -> None:
    """Reject a project cash flow that ends before the debt, or is outside its limits."""
    if len(flows) < tenor:
        detail = f"must cover the {tenor} periods of the debt"
        checker.reject("/project_cash_flow", "tenor_beyond_life", detail)
    elif checker.require_size("/project_cash_flow", len(flows), MAX_PERIODS):
        checker.require_each("/project_cash_flow", flows, -MAX_AMOUNT, MAX_AMOUNT)


def _check_scalars(case: SizingCase, tenor: int) -> None:
    checker = FieldChecker()
    if case.annual_rates is None:
        checker.reject("/annual_rates", "required", "the debt needs its rate")
    else:
        check_per_period(checker, "/annual_rates", case.annual_rates, tenor, (-0.5, MAX_RATE))
    checker.require_number("/grace_periods", case.grace_periods, 0, tenor - 1)
    checker.require_amount("/balloon", case.balloon, low=0.0)
    check_funding_uses(checker, case)
    if case.pre_estimated_cost is not None:
        checker.require_positive("/pre_estimated_cost", case.pre_estimated_cost)
        if case.cap_basis != "pre_estimate":
            checker.reject(
                "/pre_estimated_cost", "not_applicable", "only for cap_basis pre_estimate"
            )
    _check_targets(checker, case, tenor)
    _check_scenarios(checker, case, tenor)
    _check_limits(checker, case)
    _check_tax_fields(checker, case)
    checker.raise_errors()


def _check_scenarios(checker: FieldChecker, case: SizingCase, tenor: int) -> None:
    scenarios, pointer = case.sizing_scenarios, "/sizing_scenarios"
    if scenarios and case.method != "sculpted":
        detail = "sculpt debt; share_of_cost sizes this profile"
        checker.reject(pointer, "not_applicable", detail)
    checker.require_size(pointer, len(scenarios), MAX_SCENARIOS, 0)
    names: set[str] = set()
    for number, scenario in enumerate(scenarios[:MAX_SCENARIOS]):
        if not scenario.name.strip():
            checker.reject(f"{pointer}/{number}/name", "empty", "must not be empty")
        elif scenario.name in names:
            detail = "another scenario has this name; give each its own"
            checker.reject(f"{pointer}/{number}/name", "duplicate", detail)
        names.add(scenario.name)
        _check_target(checker, f"{pointer}/{number}/target_dscr", scenario.target_dscr, tenor)
        if scenario.cfads is not None and checker.require_length(
            f"{pointer}/{number}/cfads", scenario.cfads, len(case.cfads)
        ):
            flows = scenario.cfads
            checker.require_each(f"{pointer}/{number}/cfads", flows, -MAX_AMOUNT, MAX_AMOUNT)
        if scenario.ebitda is not None and case.tax is None:
            checker.reject(f"{pointer}/{number}/ebitda", "not_applicable", _SERVES_TAX)


def _check_limits(checker: FieldChecker, case: SizingCase) -> None:
    for name in ("min_llcr", "min_plcr"):
        if getattr(case, name) is not None:
            checker.require_positive(f"/{name}", getattr(case, name), MAX_RATIO)
    if case.max_average_life_years is not None:
        checker.require_positive(
            "/max_average_life_years", case.max_average_life_years, MAX_PERIODS
        )


def _check_tax_fields(checker: FieldChecker, case: SizingCase) -> None:
    if case.tax is None:
        if case.ebitda is not None:
            checker.reject("/ebitda", "not_applicable", _SERVES_TAX)
    elif case.tax_cash_flow is not None:
        detail = "tax computes it; give one of them"
        checker.reject("/tax_cash_flow", "ambiguous", detail)


def check_funding_uses(checker: FieldChecker, case: SizingCase) -> None:
    """Reject uses, cap, reserve and tax outside their limits, or without each other."""
    checker.require_rate("/reserve_interest_rate", case.reserve_interest_rate)
    if case.max_gearing is not None and not MIN_POSITIVE <= case.max_gearing <= 1.0:
        checker.reject("/max_gearing", "out_of_range", "must be above 0 and at most 1")
    if case.uses is not None:
        _check_uses(checker, case.uses)
    else:
        _check_without_uses(checker, case)
    if case.tax_cash_flow is not None:
        life = len(case.project_cash_flow or case.cfads)
        if checker.require_length("/tax_cash_flow", case.tax_cash_flow, life + 1):
            checker.require_each("/tax_cash_flow", case.tax_cash_flow, -MAX_AMOUNT, MAX_AMOUNT)


def _check_without_uses(checker: FieldChecker, case: SizingCase) -> None:
    if case.max_gearing is not None or case.method != "sculpted":
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
    if case.method == "sculpted":
        if case.share_of_cost is not None:
            checker.reject(
                "/share_of_cost",
                "not_applicable",
                "target_dscr sizes sculpted debt; remove the share",
            )
        if case.sizing_scenarios:
            if case.target_dscr is not None:
                detail = "each scenario has its own; remove it"
                checker.reject("/target_dscr", "not_applicable", detail)
        elif case.target_dscr is None:
            checker.reject("/target_dscr", "required", "sculpted debt needs a target")
        else:
            _check_target(checker, "/target_dscr", case.target_dscr, tenor)
    elif case.target_dscr is not None:
        detail = "sculpts debt; share_of_cost sizes this profile"
        checker.reject("/target_dscr", "not_applicable", detail)
    elif case.share_of_cost is None:
        checker.reject("/share_of_cost", "required", "sizes the debt of this repayment profile")
    elif not MIN_POSITIVE <= case.share_of_cost <= 1.0:
        checker.reject("/share_of_cost", "out_of_range", "must be above 0 and at most 1")


def _check_target(
    checker: FieldChecker, pointer: str, target: float | tuple[float, ...], tenor: int
) -> None:
    if not isinstance(target, tuple):
        checker.require_positive(pointer, target, MAX_RATIO)
    elif checker.require_length(pointer, target, tenor):
        checker.require_each_positive(pointer, target, MAX_RATIO)
