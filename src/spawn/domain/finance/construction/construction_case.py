"""The case of construction funding: costs, one debt or several facilities, and their checks."""

from typing import Final, Literal

from spawn.domain.finance.facilities.facility_terms import (
    LENDER_KINDS,
    FacilityTerms,
    check_facility_terms,
    check_list,
)
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MIN_POSITIVE,
    FieldChecker,
    check_per_period,
)
from spawn.domain.finance.time_base.period_schedule import TimeTerms

FundingOrder = Literal["pro_rata", "equity_first"]

DEFAULT_DRAW_ORDER: Final = 1
_MAX_DRAW_ORDER: Final = 100


class ConstructionFacility(FacilityTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source of funds in construction.

    Uses are paid by the sources of the lowest `draw_order` (1) first, those of one order in
    proportion to what each has undrawn. A facility is drawn in the periods `available_from` (0)
    to `available_until` (the last) and pays `commitment_fee`, annual, on what is undrawn until
    then. Its interest is a use, or `capitalises_interest`, as a shareholder loan does by default.

    An `equity_bridge` is drawn in place of equity (`share` is of the equity), which repays it at
    the end. A `vat` facility is drawn for `vat_rate` times the costs and repaid by the refund
    after `refund_periods`; its commitment is its largest balance. A `grant` bears no interest.
    """

    commitment_fee: float = 0.0
    draw_order: int | None = None
    available_from: int | None = None
    available_until: int | None = None
    capitalises_interest: bool | None = None
    vat_rate: float | None = None
    refund_periods: int | None = None


class ConstructionCase(TimeTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The costs of construction and the terms of their funding.

    `construction_cost` has one amount per period, due at its end; `cost_at_close` falls in period
    0. One debt has either a `gearing` or a `debt_commitment`, with its rate and commitment fee
    per period: one value, or one for each period. `upfront_fee` is a share of the commitment.
    Several `facilities` have these terms of their own, at annual rates on the time of
    `TimeTerms`; `equity_draw_order` (1) is the place of the equity among them.
    `dsra_funding_at_end` is an amount and `dsra_share_of_debt` a share of the debt commitment,
    both funded in the last period.
    """

    construction_cost: tuple[float, ...]
    gearing: float | None = None
    debt_commitment: float | None = None
    rate_per_period: float | tuple[float, ...] | None = None
    commitment_fee_per_period: float | tuple[float, ...] = 0.0
    upfront_fee: float = 0.0
    dsra_funding_at_end: float = 0.0
    dsra_share_of_debt: float = 0.0
    cost_at_close: float = 0.0
    funding: FundingOrder | None = None
    facilities: tuple[ConstructionFacility, ...] | None = None
    equity_draw_order: int | None = None


def check_construction_case(case: ConstructionCase) -> None:
    """Reject a case outside its limits, or with terms that its kind of funding does not use.

    Raises:
        InvalidInput: names each field.
    """
    checker = FieldChecker()
    periods = len(case.construction_cost)
    has_size = checker.require_size("/construction_cost", periods, MAX_PERIODS)
    if has_size:
        checker.require_each("/construction_cost", case.construction_cost, 0.0, MAX_AMOUNT)
    _check_kind(checker, case)
    if case.facilities is None:
        _check_one_debt(checker, case, periods if has_size else 0)
    elif has_size:
        check_draw_terms(checker, case.facilities, periods, periods)
        check_draw_order(checker, "/equity_draw_order", case.equity_draw_order)
        has_debt = any(facility.kind in LENDER_KINDS for facility in case.facilities)
        if case.dsra_share_of_debt and not has_debt:
            detail = "there is no senior or mezzanine debt"
            checker.reject("/dsra_share_of_debt", "not_applicable", detail)
    checker.require_amount("/dsra_funding_at_end", case.dsra_funding_at_end, low=0.0)
    checker.require_number("/dsra_share_of_debt", case.dsra_share_of_debt, 0.0, 1.0)
    checker.require_amount("/cost_at_close", case.cost_at_close, low=0.0)
    if has_size and max(case.cost_at_close, *case.construction_cost) < MIN_POSITIVE:
        checker.reject("/construction_cost", "all_zero", "all costs are zero; give a cost to fund")
    checker.raise_errors()


_FACILITY_FIELDS: Final = (*TimeTerms.__struct_fields__, "equity_draw_order")
_ONE_DEBT_FIELDS: Final = (
    "rate_per_period",
    "commitment_fee_per_period",
    "upfront_fee",
    "funding",
)


def _check_kind(checker: FieldChecker, case: ConstructionCase) -> None:
    """Require exactly one way to state the debt, and reject terms that another way uses."""
    kinds = ("gearing", "debt_commitment", "facilities")
    names = [name for name in kinds if getattr(case, name) is not None]
    if not names:
        checker.reject("/gearing", "required", "give one of gearing, debt_commitment, facilities")
    for name in names[1:]:
        checker.reject(f"/{name}", "ambiguous", f"{names[0]} is set too; give one of them")
    if case.facilities is None:
        for name in _FACILITY_FIELDS:
            if getattr(case, name) is not None:
                checker.reject(f"/{name}", "not_applicable", "serves facilities; give them too")
        return
    for name in _ONE_DEBT_FIELDS:
        if getattr(case, name):
            checker.reject(f"/{name}", "not_applicable", "each facility has its own")


def _check_one_debt(checker: FieldChecker, case: ConstructionCase, periods: int) -> None:
    if case.rate_per_period is None:
        checker.reject("/rate_per_period", "required", "the debt needs its rate")
    elif periods:
        limits = (0.0, MAX_RATE)
        check_per_period(checker, "/rate_per_period", case.rate_per_period, periods, limits)
    if periods:
        limits = (0.0, MAX_RATE)
        fee = case.commitment_fee_per_period
        check_per_period(checker, "/commitment_fee_per_period", fee, periods, limits)
    if case.gearing is not None and not MIN_POSITIVE <= case.gearing <= 1.0:
        checker.reject("/gearing", "out_of_range", "must be above 0 and at most 1")
    if case.debt_commitment is not None:
        checker.require_positive("/debt_commitment", case.debt_commitment)
    checker.require_number("/upfront_fee", case.upfront_fee, 0.0, 1.0)


def check_draw_order(checker: FieldChecker, pointer: str, order: int | None) -> None:
    """Reject a place in the order of draws that is not a small positive number."""
    if order is not None:
        checker.require_number(pointer, order, 1, _MAX_DRAW_ORDER)


def check_draw_terms(
    checker: FieldChecker,
    facilities: tuple[ConstructionFacility, ...],
    construction_periods: int,
    rate_periods: int,
) -> None:
    """Reject facilities outside their limits, and terms that their kind does not use."""
    if not check_list(checker, facilities, rate_periods):
        return
    for kind in ("equity_bridge", "vat"):
        places = [index for index, facility in enumerate(facilities) if facility.kind == kind]
        for index in places[1:]:
            detail = f"a case has one facility of kind {kind}"
            checker.reject(f"/facilities/{index}/kind", "duplicate", detail)
    for index, facility in enumerate(facilities):
        pointer = f"/facilities/{index}"
        check_facility_terms(checker, pointer, facility, rate_periods)
        checker.require_number(f"{pointer}/commitment_fee", facility.commitment_fee, 0.0, MAX_RATE)
        check_draw_order(checker, f"{pointer}/draw_order", facility.draw_order)
        _check_window(checker, pointer, facility, construction_periods)
        _check_terms_of_kind(checker, pointer, facility)


def _check_window(
    checker: FieldChecker, pointer: str, facility: ConstructionFacility, periods: int
) -> None:
    first, last = facility.available_from, facility.available_until
    if first is not None:
        checker.require_number(f"{pointer}/available_from", first, 0, periods)
    if last is not None:
        checker.require_number(f"{pointer}/available_until", last, 0, periods)
        if last < (first or 0):
            detail = "must not be before available_from"
            checker.reject(f"{pointer}/available_until", "out_of_order", detail)


_UNUSED_BY_KIND: Final[dict[str, tuple[str, ...]]] = {
    "vat": (
        "commitment",
        "share",
        "draw_order",
        "available_from",
        "available_until",
        "capitalises_interest",
    ),
    "equity_bridge": ("draw_order", "capitalises_interest"),
    "grant": ("capitalises_interest", "commitment_fee", "upfront_fee"),
}
"""Terms that a kind of facility does not use."""


def _check_terms_of_kind(
    checker: FieldChecker, pointer: str, facility: ConstructionFacility
) -> None:
    kind = facility.kind
    for name in _UNUSED_BY_KIND.get(kind, ()):
        if getattr(facility, name) not in {None, 0.0}:
            detail = f"has no use for a facility of kind {kind}"
            checker.reject(f"{pointer}/{name}", "not_applicable", detail)
    if kind != "vat":
        for name in ("vat_rate", "refund_periods"):
            if getattr(facility, name) is not None:
                checker.reject(f"{pointer}/{name}", "not_applicable", "only for kind vat")
        return
    if facility.vat_rate is None:
        checker.reject(f"{pointer}/vat_rate", "required", "the facility is drawn for the VAT")
    else:
        checker.require_positive(f"{pointer}/vat_rate", facility.vat_rate, 1.0)
    if facility.refund_periods is None:
        detail = "the refund repays the facility"
        checker.reject(f"{pointer}/refund_periods", "required", detail)
    else:
        checker.require_number(f"{pointer}/refund_periods", facility.refund_periods, 1, MAX_PERIODS)


def check_sizes(checker: FieldChecker, facilities: tuple[ConstructionFacility, ...]) -> None:
    """Require exactly one of commitment and share of each facility but the VAT facility."""
    for index, facility in enumerate(facilities):
        if facility.kind == "vat":
            continue
        if (facility.commitment is None) == (facility.share is None):
            detail = "give exactly one of commitment and share"
            name = "commitment" if facility.share is None else "share"
            checker.reject(f"/facilities/{index}/{name}", "ambiguous", detail)
