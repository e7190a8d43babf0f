"""The case of a deal: costs, CFADS, facilities, waterfall terms, sponsors, and its checks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.cash_flow.cash_flow_build_up import build_cash_flow
from spawn.domain.finance.cash_flow.cash_flow_case import CashFlowCase, resolve_cash_flow_inputs
from spawn.domain.finance.cash_flow.cash_flow_warnings import warn_of_idle_terms
from spawn.domain.finance.construction.construction_case import (
    ConstructionFacility,
    check_draw_order,
    check_draw_terms,
)
from spawn.domain.finance.construction.facility_draws import DrawInputs
from spawn.domain.finance.construction.facility_funding import build_draw_inputs
from spawn.domain.finance.facilities.debt_stack import DebtStack, prefix_errors
from spawn.domain.finance.facilities.facility_terms import (
    LENDER_KINDS,
    MAX_FACILITIES,
    resolve_annual_rates,
)
from spawn.domain.finance.facilities.repayment_terms import (
    MAX_RANK,
    RepaidFacility,
    check_repayment,
    check_size_rules,
)
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATIO,
    MIN_POSITIVE,
    FieldChecker,
)
from spawn.domain.finance.tax.tax_terms import (
    TaxBase,
    TaxTerms,
    check_tax_terms,
    resolve_tax_base,
)
from spawn.domain.finance.time_base.period_bounds import find_period_bounds
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
)
from spawn.domain.finance.waterfall.waterfall_case import SweepOrder

_MAX_SPONSORS: Final = 50
_MAX_NAME_LENGTH: Final = 200
_MAX_RESERVE_MONTHS: Final = 60.0
_SHARE_SUM_TOLERANCE: Final = 1e-9


class DealFacility(RepaidFacility, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A facility from its first draw to its last repayment.

    Draws have the terms of a construction facility, repayment begins after construction. Senior
    debt pays its interest in construction; a mezzanine may capitalise it. A shareholder loan is
    paid by distributions, an equity bridge by equity, a VAT facility by refunds.
    """

    commitment_fee: float = 0.0
    draw_order: int | None = None
    available_from: int | None = None
    available_until: int | None = None
    capitalises_interest: bool | None = None
    vat_rate: float | None = None
    refund_periods: int | None = None


class SponsorShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sponsor and its share of equity, shareholder loan and distributions."""

    name: str
    share: float


class DealCase(TimeTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project from financial close to its end, on one time of all periods.

    `construction_cost` has one amount per period of construction, `cfads` one per period of
    operation, which follows it at once; `cost_at_close` falls in period 0. In place of `cfads` a
    `cash_flow` builds them up, on `period_count` periods of the time of the deal. Rates of
    facilities have one value, or one per period of both.

    `max_gearing` limits senior and mezzanine debt over the funded cost, which it never exceeds.
    `dsra_months` of senior debt service are funded at the end of construction. Lock-up and sweep
    are those of a waterfall. `sponsors` share contributions and distributions.

    With `tax` the CFADS are before tax: the tax on `ebitda` (that of the `cash_flow`, or by default
    the CFADS), one per period of operation, less the interest that lenders are paid is subtracted.
    Without `tax` a `cash_flow` may state its `tax_paid`.
    """

    construction_cost: tuple[float, ...]
    facilities: tuple[DealFacility, ...]
    cfads: tuple[float, ...] | None = None
    cash_flow: CashFlowCase | None = None
    cost_at_close: float = 0.0
    equity_draw_order: int | None = None
    max_gearing: float | None = None
    dsra_months: float | None = None
    dsra_income_rate: float | None = None
    lockup_below: float | None = None
    lockup_release_at_or_above: float | None = None
    lockup_periods_back: int | None = None
    lockup_periods_ahead: int | None = None
    sweep_share: float | None = None
    sweep_if_dscr_below: float | None = None
    sweep_order: SweepOrder | None = None
    sponsors: tuple[SponsorShare, ...] = ()
    tax: TaxTerms | None = None
    ebitda: tuple[float, ...] | None = None


class DealInputs(NamedTuple):
    """The case with its time resolved and its facilities prepared.

    `lenders` are the places of senior and mezzanine facilities in the case, in the order of the
    stack. `draw_terms` are the terms of construction of all facilities. `cfads` are before tax,
    `stated_taxes` those of a cash flow that states them, and `idle_terms` warn of its lines that
    no period has.
    """

    case: DealCase
    cfads: tuple[float, ...]
    schedule: PeriodSchedule
    operation: PeriodSchedule
    annual_rates: tuple[tuple[float, ...], ...]
    draw_terms: tuple[ConstructionFacility, ...]
    draws: DrawInputs
    lenders: tuple[int, ...]
    stack_facilities: tuple[RepaidFacility, ...]
    stack: DebtStack
    reserve_months: tuple[float, ...]
    ebitda: tuple[float, ...]
    tax_base: TaxBase | None
    stated_taxes: tuple[float, ...] | None
    idle_terms: tuple[str, ...]

    @property
    def construction_periods(self) -> int:
        """The number of periods before operation."""
        return len(self.case.construction_cost)

    @property
    def operating_periods(self) -> int:
        """The number of periods of operation."""
        return len(self.cfads)

    @property
    def mezzanine(self) -> int | None:
        """The place of the mezzanine in the stack."""
        kinds = [facility.kind for facility in self.stack_facilities]
        return kinds.index("mezzanine") if "mezzanine" in kinds else None


def resolve_deal_inputs(case: DealCase) -> DealInputs:
    """Validate the case, resolve its time and prepare its facilities.

    Raises:
        InvalidInput: names each field outside its limits or without a use.
    """
    construction, operation = len(case.construction_cost), _count_operation(case)
    _check_case(case, operation)
    schedule = resolve_schedule(case, construction + operation)
    operating_schedule = schedule.take_periods(construction, operation)
    rates = resolve_annual_rates(case.facilities, construction + operation)
    draw_terms = tuple(_draw_terms_of(facility) for facility in case.facilities)
    cfads, ebitda, idle_terms = _build_cfads(case, operating_schedule)
    stated_taxes = case.cash_flow.tax_paid if case.cash_flow is not None else None
    lenders = tuple(n for n, each in enumerate(case.facilities) if each.kind in LENDER_KINDS)
    stack_facilities = tuple(_rank_behind(case.facilities[index]) for index in lenders)
    return DealInputs(
        case=case,
        cfads=cfads,
        schedule=schedule,
        operation=operating_schedule,
        annual_rates=rates,
        draw_terms=draw_terms,
        draws=build_draw_inputs(
            (case.cost_at_close, *case.construction_cost),
            draw_terms,
            schedule.accrual_fractions,
            case.equity_draw_order,
        ),
        lenders=lenders,
        stack_facilities=stack_facilities,
        stack=DebtStack(
            stack_facilities,
            operating_schedule,
            [rates[index][construction:] for index in lenders],
            max_gearing=case.max_gearing,
            is_within_cost=True,
            places=lenders,
            periods_before=construction,
        ),
        reserve_months=operating_schedule.period_months() if case.dsra_months else (),
        ebitda=ebitda,
        tax_base=None if case.tax is None else _resolve_tax(case, case.tax, operating_schedule),
        stated_taxes=stated_taxes,
        idle_terms=idle_terms,
    )


@contextmanager
def point_at_cash(case: DealCase) -> Iterator[None]:
    """Point errors of CFADS that a cash flow builds up at the cash flow."""
    try:
        yield
    except InvalidInput as error:
        if case.cash_flow is None:
            raise
        errors = [
            msgspec.structs.replace(entry, pointer="/cash_flow")
            if entry.pointer == "/cfads"
            else entry
            for entry in error.errors
        ]
        raise type(error)(errors) from error


def _draw_terms_of(facility: DealFacility) -> ConstructionFacility:
    return ConstructionFacility(
        **{name: getattr(facility, name) for name in ConstructionFacility.__struct_fields__}
    )


def _rank_behind(facility: DealFacility) -> DealFacility:
    """Return a mezzanine with a rank behind every senior debt."""
    if facility.kind != "mezzanine":
        return facility
    return msgspec.structs.replace(facility, rank=facility.rank + MAX_RANK)


def _count_operation(case: DealCase) -> int:
    """Return the number of periods of operation, from the CFADS or from their build-up.

    Raises:
        InvalidInput: neither or both of them, or a build-up without its number of periods.
    """
    if (case.cfads is None) == (case.cash_flow is None):
        detail = "give exactly one of cfads and cash_flow"
        raise InvalidInput.at("/cfads", "ambiguous", detail)
    if case.cash_flow is None:
        return len(case.cfads or ())
    checker = FieldChecker()
    for name in TimeTerms.__struct_fields__:
        if getattr(case.cash_flow, name) is not None:
            detail = "the time is that of the deal"
            checker.reject(f"/cash_flow/{name}", "not_applicable", detail)
    for name in ("tax", "interest"):
        if getattr(case.cash_flow, name) is not None:
            detail = "the tax is one of the deal, on the interest of its debt"
            checker.reject(f"/cash_flow/{name}", "not_applicable", detail)
    if case.cash_flow.tax_paid is not None and case.tax is not None:
        detail = "the tax of the deal computes it; give one of them"
        checker.reject("/cash_flow/tax_paid", "ambiguous", detail)
    if case.ebitda is not None:
        detail = "is that of the cash_flow; remove it, or give cfads in place of the cash_flow"
        checker.reject("/ebitda", "ambiguous", detail)
    if case.cash_flow.period_count is None:
        detail = "is the number of periods of operation"
        checker.reject("/cash_flow/period_count", "required", detail)
    checker.raise_errors()
    return case.cash_flow.period_count or 0


def _resolve_tax(case: DealCase, terms: TaxTerms, operation: PeriodSchedule) -> TaxBase:
    bounds = find_period_bounds(operation)
    checker = FieldChecker()
    check_tax_terms(checker, "/tax", terms, bounds)
    if case.ebitda is not None and checker.require_length(
        "/ebitda", case.ebitda, operation.periods
    ):
        checker.require_each("/ebitda", case.ebitda, -MAX_AMOUNT, MAX_AMOUNT)
    checker.raise_errors()
    return resolve_tax_base(terms, bounds)


def _build_cfads(
    case: DealCase, operation: PeriodSchedule
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Return CFADS before tax, EBITDA, and the warnings of lines that no period has.

    CFADS and EBITDA are as given, or built up on the periods of operation.
    """
    if case.cash_flow is None:
        cfads = case.cfads or ()
        return cfads, case.ebitda or cfads, ()
    with prefix_errors("/cash_flow", {}):
        result = build_cash_flow(case.cash_flow, operation)
        inputs = resolve_cash_flow_inputs(case.cash_flow, operation)
    cfads, ebitda = result.cfads_before_tax, tuple(row.ebitda for row in result.rows)
    if max(map(abs, (*cfads, *ebitda))) > MAX_AMOUNT:
        detail = f"builds up CFADS or EBITDA beyond {MAX_AMOUNT:g}; give smaller amounts"
        raise InvalidInput.at("/cash_flow", "overflow", detail)
    return cfads, ebitda, tuple(warn_of_idle_terms(inputs, case.dates, "/cash_flow"))


def _check_case(case: DealCase, operation: int) -> None:
    checker = FieldChecker()
    construction = len(case.construction_cost)
    if checker.require_size("/construction_cost", construction, MAX_PERIODS):
        checker.require_each("/construction_cost", case.construction_cost, 0.0, MAX_AMOUNT)
        if max(case.cost_at_close, *case.construction_cost) < MIN_POSITIVE:
            detail = "all costs are zero; give a cost to fund"
            checker.reject("/construction_cost", "all_zero", detail)
    pointer = "/cfads" if case.cash_flow is None else "/cash_flow/period_count"
    if checker.require_size(pointer, operation, MAX_PERIODS):
        checker.require_each("/cfads", case.cfads or (), -MAX_AMOUNT, MAX_AMOUNT)
    checker.require_amount("/cost_at_close", case.cost_at_close, low=0.0)
    check_draw_order(checker, "/equity_draw_order", case.equity_draw_order)
    if case.max_gearing is not None and not MIN_POSITIVE <= case.max_gearing <= 1.0:
        checker.reject("/max_gearing", "out_of_range", "must be above 0 and at most 1")
    if case.dsra_months is not None:
        checker.require_number("/dsra_months", case.dsra_months, 0.0, _MAX_RESERVE_MONTHS)
    if not case.facilities or (construction and operation):
        _check_facilities(checker, case, construction, operation)
    _check_waterfall_terms(checker, case)
    _check_sponsors(checker, case.sponsors)
    if case.ebitda is not None and case.tax is None:
        checker.reject("/ebitda", "not_applicable", "is the base of a tax; give tax too")
    checker.raise_errors()
    if construction + operation > MAX_PERIODS:
        detail = f"must have with construction at most {MAX_PERIODS} periods"
        raise InvalidInput.at(pointer, "wrong_length", detail)


def _check_facilities(
    checker: FieldChecker, case: DealCase, construction: int, operation: int
) -> None:
    draw_terms = tuple(_draw_terms_of(facility) for facility in case.facilities)
    check_draw_terms(checker, draw_terms, construction, construction + operation)
    if not 1 <= len(case.facilities) <= MAX_FACILITIES:
        return
    lenders = [each for each in case.facilities if each.kind in LENDER_KINDS]
    mezzanines = 0
    for index, facility in enumerate(case.facilities):
        pointer = f"/facilities/{index}"
        if facility.kind not in LENDER_KINDS:
            _check_unused_repayment(checker, pointer, facility)
            continue
        check_repayment(checker, pointer, facility, operation)
        _check_lender(checker, pointer, facility)
        mezzanines += facility.kind == "mezzanine"
        if facility.kind == "mezzanine" and mezzanines > 1:
            checker.reject(f"{pointer}/kind", "duplicate", "a deal has one mezzanine")
    if not any(each.kind == "senior" for each in lenders):
        checker.reject("/facilities", "required", "a deal needs a facility of kind senior")
    check_size_rules(checker, case.facilities, needs_cost=None)
    for index, facility in enumerate(case.facilities):
        if facility.kind == "vat" and (facility.refund_periods or 0) > operation:
            detail = f"must be at most the {operation} periods of operation"
            checker.reject(f"/facilities/{index}/refund_periods", "out_of_range", detail)


_REPAYMENT_DEFAULTS: Final = RepaidFacility(name="", kind="grant")


def _check_unused_repayment(checker: FieldChecker, pointer: str, facility: DealFacility) -> None:
    """Reject repayment terms of a facility that others repay."""
    for name in RepaidFacility.__struct_fields__:
        is_own = name in ConstructionFacility.__struct_fields__
        if not is_own and getattr(facility, name) != getattr(_REPAYMENT_DEFAULTS, name):
            detail = f"has no use for a facility of kind {facility.kind}"
            checker.reject(f"{pointer}/{name}", "not_applicable", detail)


def _check_lender(checker: FieldChecker, pointer: str, facility: DealFacility) -> None:
    if facility.kind == "senior" and facility.capitalises_interest:
        detail = "senior debt pays its interest in construction, as a use of funds"
        checker.reject(f"{pointer}/capitalises_interest", "not_applicable", detail)
    if facility.allow_negative_amortisation:
        detail = "a deal draws no debt in operation; give a principal_floor of 0"
        checker.reject(f"{pointer}/allow_negative_amortisation", "not_applicable", detail)
    if facility.kind == "mezzanine" and facility.is_sculpted:
        detail = "senior debt is sculpted; give another profile"
        checker.reject(f"{pointer}/{facility.sculpting_field}", "not_applicable", detail)


def _check_waterfall_terms(checker: FieldChecker, case: DealCase) -> None:
    """Reject terms of the waterfall without each other; the waterfall checks their limits."""
    if case.dsra_income_rate and not case.dsra_months:
        checker.reject("/dsra_income_rate", "not_applicable", "serves the DSRA; give dsra_months")
    if case.sweep_share is not None and case.sweep_if_dscr_below is None:
        detail = "a share needs the level of the sweep"
        checker.reject("/sweep_if_dscr_below", "required", detail)
    if case.sweep_order is not None and case.sweep_share is None:
        detail = "serves a sweep; give sweep_share and sweep_if_dscr_below, or remove it"
        checker.reject("/sweep_order", "not_applicable", detail)
    if case.lockup_below is not None:
        checker.require_number("/lockup_below", case.lockup_below, 0.0, MAX_RATIO)


def _check_sponsors(checker: FieldChecker, sponsors: tuple[SponsorShare, ...]) -> None:
    if not checker.require_size("/sponsors", len(sponsors), _MAX_SPONSORS, 0):
        return
    names: set[str] = set()
    for index, sponsor in enumerate(sponsors):
        if not sponsor.name.strip():
            checker.reject(f"/sponsors/{index}/name", "empty", "must not be empty")
        if len(sponsor.name) > _MAX_NAME_LENGTH:
            detail = f"must have at most {_MAX_NAME_LENGTH} characters"
            checker.reject(f"/sponsors/{index}/name", "too_long", detail)
        if sponsor.name in names:
            detail = "is the name of an earlier sponsor; give each its own"
            checker.reject(f"/sponsors/{index}/name", "duplicate", detail)
        names.add(sponsor.name)
        checker.require_positive(f"/sponsors/{index}/share", sponsor.share, 1.0)
    total = sum(sponsor.share for sponsor in sponsors)
    if sponsors and not abs(total - 1.0) <= _SHARE_SUM_TOLERANCE:
        checker.reject("/sponsors", "wrong_sum", "the shares must sum to 1")
