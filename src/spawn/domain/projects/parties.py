"""The parties of a project: the borrowing vehicle (SPV) and its sponsors."""

from decimal import Decimal

import msgspec

from spawn.domain.errors import FieldError
from spawn.domain.iso.countries import COUNTRIES
from spawn.domain.money import DECIMAL_CONTEXT
from spawn.domain.text import check_line

MAX_NAME = 500
"""Characters of a party's name."""
MAX_REGISTRATION = 64
"""Characters of a registration number."""
MAX_SPONSORS = 100
"""Sponsors of one project."""

SHARE_TOLERANCE = Decimal("0.01")
"""Distance from 100 of the sum of shares, at most."""

_HUNDRED = Decimal(100)
_SHARE_QUANTUM = Decimal("1E-8")


class Sponsor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An equity sponsor; `share` is a percentage of the SPV, > 0 and ≤ 100, None if unknown."""

    name: str
    share: Decimal | None = None


class Spv(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The special-purpose vehicle that borrows."""

    name: str
    registration_number: str | None = None
    country_code: str | None = None


def check_country(code: str, pointer: str, errors: list[FieldError]) -> None:
    """Append an error unless the code is an alpha-3 country."""
    if code not in COUNTRIES:
        errors.append(
            FieldError(pointer, "unknown_country", "must be an ISO 3166-1 code such as ESP")
        )


def check_spv(spv: Spv, errors: list[FieldError]) -> None:
    """Append the errors of the vehicle."""
    check_line(spv.name, "/spv/name", MAX_NAME, errors)
    if spv.registration_number is not None:
        check_line(spv.registration_number, "/spv/registration_number", MAX_REGISTRATION, errors)
    if spv.country_code is not None:
        check_country(spv.country_code, "/spv/country_code", errors)


def check_sponsors(sponsors: tuple[Sponsor, ...], errors: list[FieldError]) -> None:
    """Append the errors of the sponsors: duplicate names, shares, their sum of 100.

    Shares that are rounded to two decimals (33.33 each) add up within the tolerance. Beside an
    unknown share the others only must not exceed 100.
    """
    if len(sponsors) > MAX_SPONSORS:
        errors.append(FieldError("/sponsors", "too_many", f"at most {MAX_SPONSORS} sponsors"))
        return
    total, names, error_count = Decimal(0), set[str](), len(errors)
    for index, sponsor in enumerate(sponsors):
        check_line(sponsor.name, f"/sponsors/{index}/name", MAX_NAME, errors)
        if sponsor.name.casefold() in names:
            detail = "names a sponsor twice"
            errors.append(FieldError(f"/sponsors/{index}/name", "duplicate", detail))
        names.add(sponsor.name.casefold())
        share = sponsor.share
        if share is not None and _check_share(share, f"/sponsors/{index}/share", errors):
            total = DECIMAL_CONTEXT.add(total, share)
    # With invalid shares, a wrong sum would only repeat their errors.
    has_unknown = any(sponsor.share is None for sponsor in sponsors)
    gap = DECIMAL_CONTEXT.subtract(total, _HUNDRED)
    is_whole = gap <= SHARE_TOLERANCE and (has_unknown or gap >= -SHARE_TOLERANCE)
    if not is_whole and len(errors) == error_count:
        detail = f"shares must add up to 100; they add up to {total:f}"
        errors.append(FieldError("/sponsors", "not_a_hundred", detail))


def _check_share(share: Decimal, pointer: str, errors: list[FieldError]) -> bool:
    if not share.is_finite():
        errors.append(FieldError(pointer, "not_finite", "must be a finite number"))
    elif not 0 < share <= _HUNDRED:
        errors.append(FieldError(pointer, "out_of_range", "must be above 0 and at most 100"))
    elif share.quantize(_SHARE_QUANTUM, None, DECIMAL_CONTEXT) != share:
        errors.append(FieldError(pointer, "too_precise", "must have at most 8 decimals"))
    else:
        return True
    return False
