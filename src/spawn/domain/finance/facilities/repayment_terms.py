"""Repayment of a facility: rank, tenor, profile and the rule that sizes sculpted debt."""

from collections.abc import Iterable
from typing import Final, Literal

from spawn.domain.finance.facilities.facility_terms import FacilityTerms
from spawn.domain.finance.limits import MAX_AMOUNT, MAX_RATIO, FieldChecker, expand_per_period
from spawn.domain.finance.loans.loan_terms import (
    GraceInterest,
    LoanTerms,
    LoanTransfer,
    Prepayment,
    RateReset,
    RepaymentProfile,
    ResetEffect,
)

MAX_RANK: Final = 20

TargetBasis = Literal["cash_after_prior_service", "total_service"]
"""What a target DSCR divides: the cash that prior service leaves, or all of the cash."""


class RepaidFacility(FacilityTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A facility with its repayment over `tenor_periods`, by default all periods.

    A lower `rank` is paid first. The `profile` is by default an annuity, or sculpted where a
    `target_dscr` (one, or one per period) sizes the debt. Sculpted debt service is the target's
    share of the CFADS after the service of facilities of the same or a lower rank, or with
    `target_basis` `total_service` what this service leaves of CFADS / target. Its principal is at
    least `principal_floor` in each period; without a floor a growing balance is rejected
    unless `allow_negative_amortisation`. The other terms are those of a loan.
    """

    rank: int = 1
    tenor_periods: int | None = None
    profile: RepaymentProfile | None = None
    target_dscr: float | tuple[float, ...] | None = None
    target_basis: TargetBasis | None = None
    principal_floor: float | None = None
    allow_negative_amortisation: bool = False
    grace_periods: int = 0
    balloon: float = 0.0
    balloon_share: float = 0.0
    custom_shares: tuple[float, ...] | None = None
    payment: float | None = None
    instalment: float | None = None

    @property
    def is_sculpted(self) -> bool:
        """Whether debt service follows the CFADS."""
        return self.profile == "sculpted" or (self.profile is None and self.target_dscr is not None)

    @property
    def sculpting_field(self) -> str:
        """The field that makes it a sculpted debt."""
        return "profile" if self.profile is not None else "target_dscr"


class SizingFacility(RepaidFacility, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A facility of a debt sizing, drawn at the start; a running loan has `accrued_interest`.

    On dated periods it takes events: `rate_resets` inside a period, after which an annuity is
    levelled anew or keeps its payment (`reset_effect`), `prepayments` and a `termination`, each
    with the interest accrued. `grace` says whether the interest of the grace is capitalised.
    """

    grace: GraceInterest | None = None
    accrued_interest: float | None = None
    rate_resets: tuple[RateReset, ...] | None = None
    reset_effect: ResetEffect | None = None
    prepayments: tuple[Prepayment, ...] | None = None
    termination: LoanTransfer | None = None


_LOAN_FIELDS: Final = tuple(
    name
    for name in SizingFacility.__struct_fields__
    if name in LoanTerms.__struct_fields__ and name != "profile"
)
"""Terms of a facility that are those of a loan."""

AFFINE_FIELDS: Final = (
    "payment",
    "instalment",
    "balloon",
    "accrued_interest",
    "prepayments",
    "termination",
)
"""Amounts of a loan that do not grow with its size."""

_SCULPTED_UNUSED: Final = (
    "balloon_share",
    "custom_shares",
    "payment",
    "instalment",
    "grace",
    "accrued_interest",
    "rate_resets",
    "reset_effect",
    "prepayments",
    "termination",
)


def tenor_of(facility: RepaidFacility, periods: int) -> int:
    """Return the number of periods of a facility."""
    return periods if facility.tenor_periods is None else facility.tenor_periods


def loan_fields_of(facility: RepaidFacility) -> dict[str, object]:
    """Return the terms of a facility that its loan has too."""
    return {
        name: getattr(facility, name) for name in _LOAN_FIELDS if name in facility.__struct_fields__
    }


def describe_sculpting(facilities: Iterable[RepaidFacility]) -> str:
    """Describe the debt service of the sculpted facility, which its basis defines."""
    bases = [each.target_basis for each in facilities if each.is_sculpted]
    if "total_service" in bases:
        return (
            "total_service: CFADS / target DSCR - service of facilities of this rank and before, "
            "never below zero"
        )
    text = "(CFADS - service of facilities of this rank and before) / target DSCR"
    return f"cash_after_prior_service: {text}" if any(bases) else text


def expand_targets(facility: RepaidFacility, periods: int) -> tuple[float, ...]:
    """Return the target DSCR of each period; 1 for a sculpted debt of a given amount."""
    target = 1.0 if facility.target_dscr is None else facility.target_dscr
    return expand_per_period(target, tenor_of(facility, periods))


def check_repayment(
    checker: FieldChecker, pointer: str, facility: RepaidFacility, periods: int
) -> None:
    """Reject repayment terms outside their limits, or without a use for the profile."""
    checker.require_number(f"{pointer}/rank", facility.rank, 1, MAX_RANK)
    tenor = tenor_of(facility, periods)
    if not 1 <= tenor <= periods:
        detail = f"must be from 1 to the {periods} periods of CFADS"
        checker.reject(f"{pointer}/tenor_periods", "tenor_beyond_life", detail)
        return
    if facility.is_sculpted:
        _check_sculpting(checker, pointer, facility, tenor)
        return
    if facility.target_dscr is not None:
        detail = "sizes sculpted debt; remove it or the profile"
        checker.reject(f"{pointer}/target_dscr", "not_applicable", detail)
    for name in ("principal_floor", "target_basis"):
        if getattr(facility, name) is not None:
            checker.reject(f"{pointer}/{name}", "not_applicable", "serves sculpted debt")
    for index, reset in enumerate(getattr(facility, "rate_resets", None) or ()):
        if reset.annual_rate < 0.0:  # as the rate before it
            place = f"{pointer}/rate_resets/{index}/annual_rate"
            checker.reject(place, "out_of_range", "must not be negative")
    checker.require_amount(f"{pointer}/balloon", facility.balloon, low=0.0)


def _check_sculpting(
    checker: FieldChecker, pointer: str, facility: RepaidFacility, tenor: int
) -> None:
    for name in _SCULPTED_UNUSED:
        if getattr(facility, name, None):
            detail = "has no use for sculpted debt"
            checker.reject(f"{pointer}/{name}", "not_applicable", detail)
    target = facility.target_dscr
    if isinstance(target, tuple):
        if checker.require_length(f"{pointer}/target_dscr", target, tenor):
            checker.require_each_positive(f"{pointer}/target_dscr", target, MAX_RATIO)
    elif target is not None:
        checker.require_positive(f"{pointer}/target_dscr", target, MAX_RATIO)
    checker.require_number(f"{pointer}/grace_periods", facility.grace_periods, 0, tenor - 1)
    checker.require_amount(f"{pointer}/balloon", facility.balloon, low=0.0)
    if facility.principal_floor is not None:
        checker.require_number(
            f"{pointer}/principal_floor", facility.principal_floor, 0.0, MAX_AMOUNT
        )
        if facility.allow_negative_amortisation:
            detail = "principal_floor says that the balance does not grow"
            checker.reject(f"{pointer}/allow_negative_amortisation", "ambiguous", detail)


def check_size_rules(
    checker: FieldChecker, facilities: tuple[RepaidFacility, ...], *, needs_cost: str | None
) -> None:
    """Require one size of each facility, and at most one sculpted debt.

    Args:
        checker: the errors so far.
        facilities: the facilities of the case.
        needs_cost: the reason why a share has no funded cost here, None where it has one.
    """
    sculpted = [index for index, facility in enumerate(facilities) if facility.is_sculpted]
    for index in sculpted[1:]:
        detail = "one facility of a case is sculpted; give the others another profile"
        name = facilities[index].sculpting_field
        checker.reject(f"/facilities/{index}/{name}", "duplicate", detail)
    for index, facility in enumerate(facilities):
        if facility.kind == "vat":
            continue
        sizes = [
            name
            for name in ("commitment", "share", "target_dscr")
            if getattr(facility, name) is not None
        ]
        if len(sizes) != 1:
            detail = "give exactly one of commitment, share and target_dscr"
            name = sizes[-1] if sizes else "commitment"
            checker.reject(f"/facilities/{index}/{name}", "ambiguous", detail)
        if facility.share is not None and needs_cost:
            checker.reject("/uses", "required", needs_cost)
