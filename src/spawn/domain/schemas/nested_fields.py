"""The structural fields of a project body: objects with a shape of the domain's own."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.iso.countries import country
from spawn.domain.json_tokens import Token
from spawn.domain.projects.milestones import (
    MAX_EVIDENCE,
    MAX_ID,
    MAX_MILESTONES,
    MAX_TITLE,
    Milestone,
    MilestoneKind,
)
from spawn.domain.projects.parties import MAX_NAME, MAX_REGISTRATION, MAX_SPONSORS, Sponsor, Spv
from spawn.domain.projects.project import MAX_KEY, MAX_REF_ID, ExternalRef
from spawn.domain.schemas.model import ColumnType, TypeName
from spawn.domain.schemas.value_readers import decimal_reader, read_date, wrong_type
from spawn.domain.text import check_line, check_prose, pointer_token, trimmed

T = TypeVar("T")
StructureReader = Callable[[Token, str], object]

SHARE = ColumnType(TypeName.DECIMAL, precision=11, scale=8)
"""A sponsor's share: a percentage to eight decimals."""


class _Member(msgspec.Struct, frozen=True):
    read: StructureReader
    required: bool = False


def read_line(maximum: int) -> Callable[[Token, str], str]:
    """A reader of one trimmed line of text."""

    def read(token: Token, pointer: str) -> str:
        if type(token) is not str:
            raise wrong_type(pointer, "a string", token)
        # What is printable and neither begins nor ends blank is a line already: the usual case.
        if 0 < len(token) <= maximum and token.isprintable() and token[0] != " " != token[-1]:
            return token
        text = trimmed(token)
        faults: list[FieldError] = []
        check_line(text, pointer, maximum, faults)
        if faults:
            raise InvalidInput(faults)
        return text

    return read


def read_prose(maximum: int) -> Callable[[Token, str], str]:
    """A reader of free text, line breaks allowed."""

    def read(token: Token, pointer: str) -> str:
        if type(token) is not str:
            raise wrong_type(pointer, "a string", token)
        faults: list[FieldError] = []
        check_prose(token, pointer, maximum, faults)
        if faults:
            raise InvalidInput(faults)
        return token

    return read


def read_country(token: Token, pointer: str) -> str:
    """An ISO 3166-1 code, alpha-3 or alpha-2, as alpha-3."""
    if type(token) is not str:
        raise wrong_type(pointer, "a country code", token)
    return country(token, pointer=pointer)


def _read_flag(token: Token, pointer: str) -> bool:
    if type(token) is not bool:
        raise wrong_type(pointer, "true or false", token)
    return token


def _read_milestone_kind(token: Token, pointer: str) -> MilestoneKind:
    if type(token) is not str:
        raise wrong_type(pointer, "a string", token)
    if token not in MilestoneKind.__members__:
        listed = ", ".join(MilestoneKind)
        raise InvalidInput.at(pointer, "not_in_enum", f"must be one of: {listed}")
    return MilestoneKind(token)


def _members(token: Token, pointer: str, shape: Mapping[str, _Member]) -> dict[str, object]:
    """The members of one object by a shape; null counts as absent, all offences are named."""
    if type(token) is not dict:
        raise wrong_type(pointer, "an object", token)
    errors: list[FieldError] = []
    found: dict[str, object] = {}
    for name, value in token.items():
        place = f"{pointer}/{pointer_token(name)}"
        member = shape.get(name)
        if member is None:
            errors.append(FieldError(place, "unknown_field", "is not a field of this object"))
        elif value is not None:
            try:
                found[name] = member.read(value, place)
            except InvalidInput as error:
                errors.extend(error.errors)
    errors.extend(
        FieldError(f"{pointer}/{name}", "missing", "is required")
        for name, member in shape.items()
        if member.required and token.get(name) is None
    )
    if errors:
        raise InvalidInput(errors)
    return found


def read_spv(token: Token, pointer: str) -> Spv:
    """The special-purpose vehicle."""
    return _one(token, pointer, _SPV, Spv)


def read_external_ref(token: Token, pointer: str) -> ExternalRef:
    """The project's key in another system."""
    return _one(token, pointer, _EXTERNAL_REF, ExternalRef)


def read_sponsors(token: Token, pointer: str) -> tuple[Sponsor, ...]:
    """The sponsors, in the order given."""
    return tuple(_each(token, pointer, _SPONSOR, Sponsor, MAX_SPONSORS))


def read_milestones(token: Token, pointer: str) -> tuple[Milestone, ...]:
    """Milestones and conditions precedent, in the order given."""
    return tuple(_each(token, pointer, _MILESTONE, Milestone, MAX_MILESTONES))


def _one(token: Token, pointer: str, shape: Mapping[str, _Member], build: Callable[..., T]) -> T:
    return build(**_members(token, pointer, shape))


def _each(
    token: Token, pointer: str, shape: Mapping[str, _Member], build: Callable[..., T], maximum: int
) -> list[T]:
    if type(token) is not list:
        raise wrong_type(pointer, "an array", token)
    if len(token) > maximum:
        raise InvalidInput.at(pointer, "too_many", f"has more than {maximum} items")
    errors: list[FieldError] = []
    found: list[T] = []
    for index, item in enumerate(token):
        try:
            found.append(build(**_members(item, f"{pointer}/{index}", shape)))
        except InvalidInput as error:
            errors.extend(error.errors)
    if errors:
        raise InvalidInput(errors)
    return found


_SPV = {
    "name": _Member(read_line(MAX_NAME), required=True),
    "registration_number": _Member(read_line(MAX_REGISTRATION)),
    "country_code": _Member(read_country),
}
_EXTERNAL_REF = {
    "source": _Member(read_line(MAX_KEY), required=True),
    "id": _Member(read_line(MAX_REF_ID), required=True),
}
_SPONSOR = {
    "name": _Member(read_line(MAX_NAME), required=True),
    "share": _Member(decimal_reader(SHARE, text_too=True), required=True),
}
_MILESTONE = {
    "milestone_id": _Member(read_line(MAX_ID), required=True),
    "title": _Member(read_line(MAX_TITLE), required=True),
    "kind": _Member(_read_milestone_kind),
    "due_date": _Member(read_date),
    "met_on": _Member(read_date),
    "waived_on": _Member(read_date),
    "draw_stop": _Member(_read_flag),
    "evidence": _Member(read_prose(MAX_EVIDENCE)),
}
