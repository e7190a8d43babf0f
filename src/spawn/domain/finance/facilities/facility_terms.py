"""Terms that a facility has in construction and in operation: name, kind, size, rate, fee."""

from typing import Final, Literal

import msgspec

from spawn.domain.finance.facilities.rate_terms import (
    RateTerms,
    check_rate_terms,
    expand_annual_rates,
    reject_negative_rates,
)
from spawn.domain.finance.limits import MIN_POSITIVE, FieldChecker

FacilityKind = Literal["senior", "mezzanine", "shareholder_loan", "equity_bridge", "vat", "grant"]

MAX_FACILITIES: Final = 20
"""Facilities of one case."""

MAX_FACILITY_PERIODS: Final = 12_000
"""Periods times facilities of one case: a deal with tax and sweep takes up to four seconds."""

LENDER_KINDS: Final = frozenset({"senior", "mezzanine"})
"""Kinds that count as debt in the gearing; the others are the sponsors' or are bridged."""

_MAX_NAME_LENGTH: Final = 200


class FacilityTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A facility by its size, its rate and its fee at close.

    The size is a `commitment` (amount) or a `share` of the funded cost. `upfront_fee` is a share
    of the commitment.
    """

    name: str
    kind: FacilityKind = "senior"
    commitment: float | None = None
    share: float | None = None
    rate: RateTerms | None = None
    upfront_fee: float = 0.0


def check_facility_terms(
    checker: FieldChecker, pointer: str, terms: FacilityTerms, periods: int
) -> None:
    """Reject a facility whose name, size, rate or fee is outside its limits."""
    if not terms.name.strip():
        checker.reject(f"{pointer}/name", "empty", "must not be empty")
    if len(terms.name) > _MAX_NAME_LENGTH:
        detail = f"must have at most {_MAX_NAME_LENGTH} characters"
        checker.reject(f"{pointer}/name", "too_long", detail)
    if terms.commitment is not None:
        checker.require_positive(f"{pointer}/commitment", terms.commitment)
    if terms.share is not None and not MIN_POSITIVE <= terms.share <= 1.0:
        checker.reject(f"{pointer}/share", "out_of_range", "must be above 0 and at most 1")
    checker.require_number(f"{pointer}/upfront_fee", terms.upfront_fee, 0.0, 1.0)
    if terms.rate is None:
        if terms.kind != "grant":
            checker.reject(f"{pointer}/rate", "required", "a loan needs its rate")
        return
    if terms.kind == "grant":
        checker.reject(f"{pointer}/rate", "not_applicable", "a grant bears no interest")
    check_rate_terms(checker, f"{pointer}/rate", terms.rate, periods)


def check_list(checker: FieldChecker, facilities: tuple[FacilityTerms, ...], periods: int) -> bool:
    """Return whether a case has facilities, and not too many; reject it or two of one name."""
    if not checker.require_size("/facilities", len(facilities), MAX_FACILITIES):
        return False
    if len(facilities) * periods > MAX_FACILITY_PERIODS:
        most = MAX_FACILITY_PERIODS // len(facilities)
        detail = f"{len(facilities)} facilities may have {most} periods, not {periods}"
        checker.reject("/facilities", "too_many", detail)
        return False
    _check_names(checker, facilities)
    return True


def _check_names(checker: FieldChecker, facilities: tuple[FacilityTerms, ...]) -> None:
    """Reject two facilities of one name."""
    names: set[str] = set()
    for index, facility in enumerate(facilities):
        if facility.name in names:
            detail = "is the name of an earlier facility; give each its own"
            checker.reject(f"/facilities/{index}/name", "duplicate", detail)
        names.add(facility.name)


def resolve_annual_rates(
    facilities: tuple[FacilityTerms, ...], periods: int
) -> tuple[tuple[float, ...], ...]:
    """Return the annual rates of each facility by period; zeros for a grant.

    Raises:
        InvalidInput: a rate is negative after floor, hedge and margin.
    """
    checker = FieldChecker()
    rates: list[tuple[float, ...]] = []
    for index, facility in enumerate(facilities):
        if facility.rate is None:
            rates.append((0.0,) * periods)
            continue
        annual_rates = expand_annual_rates(facility.rate, periods)
        reject_negative_rates(checker, f"/facilities/{index}/rate", annual_rates)
        rates.append(annual_rates)
    checker.raise_errors()
    return tuple(rates)
