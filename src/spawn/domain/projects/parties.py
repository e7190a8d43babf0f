"""Who stands behind a project: the vehicle that borrows and the sponsors that own it."""

from decimal import Decimal

import msgspec

from spawn.domain.errors import FieldError
from spawn.domain.iso.countries import COUNTRIES
from spawn.domain.money import CONTEXT
from spawn.domain.text import check_line

MAX_NAME = 200
"""Characters of a party's name."""
MAX_REGISTRATION = 64
"""Characters of a registration number."""
MAX_SPONSORS = 100
"""Sponsors of one project."""

_HUNDRED = Decimal(100)
_SHARE_QUANTUM = Decimal("1E-8")


class Sponsor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An equity sponsor; `share` is a percentage of the SPV, > 0 and ≤ 100."""

    name: str
    share: Decimal


class Spv(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The special-purpose vehicle that borrows."""

    name: str
    registration_number: str | None = None
    country_code: str | None = None


def check_country(code: str, pointer: str, faults: list[FieldError]) -> None:
    """Append a fault unless the code is an alpha-3 country."""
    if code not in COUNTRIES:
        faults.append(
            FieldError(pointer, "unknown_country", "must be an ISO 3166-1 code such as ESP")
        )


def check_spv(spv: Spv, faults: list[FieldError]) -> None:
    """Append what is wrong with the vehicle."""
    check_line(spv.name, "/spv/name", MAX_NAME, faults)
    if spv.registration_number is not None:
        check_line(spv.registration_number, "/spv/registration_number", MAX_REGISTRATION, faults)
    if spv.country_code is not None:
        check_country(spv.country_code, "/spv/country_code", faults)


def check_sponsors(sponsors: tuple[Sponsor, ...], faults: list[FieldError]) -> None:
    """Append what is wrong with the sponsors: each of them, their names, their sum of 100."""
    if len(sponsors) > MAX_SPONSORS:
        faults.append(FieldError("/sponsors", "too_many", f"at most {MAX_SPONSORS} sponsors"))
        return
    total, names, before = Decimal(0), set[str](), len(faults)
    for index, sponsor in enumerate(sponsors):
        check_line(sponsor.name, f"/sponsors/{index}/name", MAX_NAME, faults)
        if sponsor.name.casefold() in names:
            detail = "names a sponsor twice"
            faults.append(FieldError(f"/sponsors/{index}/name", "duplicate", detail))
        names.add(sponsor.name.casefold())
        if _check_share(sponsor.share, f"/sponsors/{index}/share", faults):
            total = CONTEXT.add(total, sponsor.share)
    # A sum over refused shares would only repeat what was said of them.
    if total != _HUNDRED and len(faults) == before:
        detail = f"shares must add up to 100; they add up to {total:f}"
        faults.append(FieldError("/sponsors", "not_a_hundred", detail))


def _check_share(share: Decimal, pointer: str, faults: list[FieldError]) -> bool:
    if not share.is_finite():
        faults.append(FieldError(pointer, "not_finite", "must be a finite number"))
    elif not 0 < share <= _HUNDRED:
        faults.append(FieldError(pointer, "out_of_range", "must be above 0 and at most 100"))
    elif share.quantize(_SHARE_QUANTUM, None, CONTEXT) != share:
        faults.append(FieldError(pointer, "too_precise", "must have at most 8 decimals"))
    else:
        return True
    return False
