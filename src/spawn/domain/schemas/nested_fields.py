"""Readers of the nested fields of a project body: spv, sponsors, milestones, external_ref."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.iso.countries import parse_country
from spawn.domain.json_tokens import Token
from spawn.domain.projects.milestones import (
    MAX_EVIDENCE_LENGTH,
    MAX_ID_LENGTH,
    MAX_MILESTONES,
    MAX_TITLE_LENGTH,
    Milestone,
    MilestoneKind,
)
from spawn.domain.projects.parties import MAX_NAME, MAX_REGISTRATION, MAX_SPONSORS, Sponsor, Spv
from spawn.domain.projects.project import MAX_KEY, MAX_REF_ID, ExternalRef
from spawn.domain.schema_version import ColumnType, TypeName
from spawn.domain.schemas.value_readers import decimal_reader, read_date, wrong_type_error
from spawn.domain.text import check_line, check_prose, escape_pointer_token, trim

T = TypeVar("T")
NestedReader = Callable[[Token, str], object]

SHARE_TYPE = ColumnType(TypeName.DECIMAL, precision=11, scale=8)
"""Type of a sponsor's share: a percentage with eight decimals."""


class _Member(msgspec.Struct, frozen=True):
    read: NestedReader
    required: bool = False


def line_reader(maximum: int) -> Callable[[Token, str], str]:
    """Return a reader of one trimmed line of text."""

    def read(token: Token, pointer: str) -> str:
        if type(token) is not str:
            raise wrong_type_error(pointer, "a string", token)
        # Printable text without outer blanks is a valid line already: the usual case.
        if 0 < len(token) <= maximum and token.isprintable() and token[0] != " " != token[-1]:
            return token
        text = trim(token)
        errors: list[FieldError] = []
        check_line(text, pointer, maximum, errors)
        if errors:
            raise InvalidInput(errors)
        return text

    return read


def prose_reader(maximum: int) -> Callable[[Token, str], str]:
    """Return a reader of free text, line breaks allowed."""

    def read(token: Token, pointer: str) -> str:
        if type(token) is not str:
            raise wrong_type_error(pointer, "a string", token)
        errors: list[FieldError] = []
        check_prose(token, pointer, maximum, errors)
        if errors:
            raise InvalidInput(errors)
        return token

    return read


def read_country(token: Token, pointer: str) -> str:
    """Read an ISO 3166-1 code, alpha-3 or alpha-2, as alpha-3."""
    if type(token) is not str:
        raise wrong_type_error(pointer, "a country code", token)
    return parse_country(token, pointer=pointer)


def _read_flag(token: Token, pointer: str) -> bool:
    if type(token) is not bool:
        raise wrong_type_error(pointer, "true or false", token)
    return token


def _read_milestone_kind(token: Token, pointer: str) -> MilestoneKind:
    if type(token) is not str:
        raise wrong_type_error(pointer, "a string", token)
    if token not in MilestoneKind.__members__:
        kinds = ", ".join(MilestoneKind)
        raise InvalidInput.at(pointer, "not_in_enum", f"must be one of: {kinds}")
    return MilestoneKind(token)


def _read_members(
    token: Token, pointer: str, members_by_name: Mapping[str, _Member]
) -> dict[str, object]:
    """Read the members of one object; null counts as absent, all errors are collected."""
    if type(token) is not dict:
        raise wrong_type_error(pointer, "an object", token)
    errors: list[FieldError] = []
    values: dict[str, object] = {}
    for name, value in token.items():
        member_pointer = f"{pointer}/{escape_pointer_token(name)}"
        member = members_by_name.get(name)
        if member is None:
            errors.append(
                FieldError(member_pointer, "unknown_field", "is not a field of this object")
            )
        elif value is not None:
            try:
                values[name] = member.read(value, member_pointer)
            except InvalidInput as error:
                errors.extend(error.errors)
    errors.extend(
        FieldError(f"{pointer}/{name}", "missing", "is required")
        for name, member in members_by_name.items()
        if member.required and token.get(name) is None
    )
    if errors:
        raise InvalidInput(errors)
    return values


def read_spv(token: Token, pointer: str) -> Spv:
    """Read the special-purpose vehicle."""
    return _read_object(token, pointer, _SPV, Spv)


def read_external_ref(token: Token, pointer: str) -> ExternalRef:
    """Read the project's key in another system."""
    return _read_object(token, pointer, _EXTERNAL_REF, ExternalRef)


def read_sponsors(token: Token, pointer: str) -> tuple[Sponsor, ...]:
    """Read the sponsors in their order."""
    return tuple(_read_list(token, pointer, _SPONSOR, Sponsor, MAX_SPONSORS))


def read_milestones(token: Token, pointer: str) -> tuple[Milestone, ...]:
    """Read milestones and conditions precedent in their order."""
    return tuple(_read_list(token, pointer, _MILESTONE, Milestone, MAX_MILESTONES))


def _read_object(
    token: Token, pointer: str, members_by_name: Mapping[str, _Member], build: Callable[..., T]
) -> T:
    return build(**_read_members(token, pointer, members_by_name))


def _read_list(
    token: Token,
    pointer: str,
    members_by_name: Mapping[str, _Member],
    build: Callable[..., T],
    maximum: int,
) -> list[T]:
    if type(token) is not list:
        raise wrong_type_error(pointer, "an array", token)
    if len(token) > maximum:
        raise InvalidInput.at(pointer, "too_many", f"has more than {maximum} items")
    errors: list[FieldError] = []
    values: list[T] = []
    for index, item in enumerate(token):
        try:
            values.append(build(**_read_members(item, f"{pointer}/{index}", members_by_name)))
        except InvalidInput as error:
            errors.extend(error.errors)
    if errors:
        raise InvalidInput(errors)
    return values


_SPV = {
    "name": _Member(line_reader(MAX_NAME), required=True),
    "registration_number": _Member(line_reader(MAX_REGISTRATION)),
    "country_code": _Member(read_country),
}
_EXTERNAL_REF = {
    "source": _Member(line_reader(MAX_KEY), required=True),
    "id": _Member(line_reader(MAX_REF_ID), required=True),
}
_SPONSOR = {
    "name": _Member(line_reader(MAX_NAME), required=True),
    "share": _Member(decimal_reader(SHARE_TYPE, accept_text=True), required=True),
}
_MILESTONE = {
    "milestone_id": _Member(line_reader(MAX_ID_LENGTH), required=True),
    "title": _Member(line_reader(MAX_TITLE_LENGTH), required=True),
    "kind": _Member(_read_milestone_kind),
    "due_date": _Member(read_date),
    "met_on": _Member(read_date),
    "waived_on": _Member(read_date),
    "draw_stop": _Member(_read_flag),
    "evidence": _Member(prose_reader(MAX_EVIDENCE_LENGTH)),
}
