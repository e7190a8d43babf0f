"""Fields that filters name although no column has them: references, parties, extensions.

They are read from the project's document, in a store's own language or here; both must agree.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from spawn.domain.projects.extensions import EXTENSION_NAME
from spawn.domain.projects.project import Project

JsonScalar = str | bool | int | float
"""A value that a filter can compare with its operand."""

_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

_WHOLE_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})")


class DocumentField(msgspec.Struct, frozen=True):
    """A field by the paths of its members in the document.

    The texts of several paths are joined by a colon. A list has many values, of which one must
    match. An extension (`is_json`) may have any scalar: an operand that is a number is compared
    with numbers and, for equality, with texts; any other operand with texts alone. Numbers are
    compared as doubles, and whole ones of 64 bits exactly: they may be identifiers.
    """

    name: str
    paths: tuple[tuple[str, ...], ...]
    is_list: bool = False
    is_json: bool = False


DOCUMENT_FIELDS: Final[Mapping[str, DocumentField]] = {
    field.name: field
    for field in (
        DocumentField("external_ref", (("external_ref", "source"), ("external_ref", "id"))),
        DocumentField("external_ref.source", (("external_ref", "source"),)),
        DocumentField("external_ref.id", (("external_ref", "id"),)),
        DocumentField("sponsors.name", (("sponsors", "name"),), is_list=True),
        DocumentField("spv.name", (("spv", "name"),)),
    )
}
"""The fields other than extensions, by name."""


def find_document_field(name: str) -> DocumentField | None:
    """Return the field of a name, which may be that of an extension; None if there is none."""
    field = DOCUMENT_FIELDS.get(name)
    if field is None and EXTENSION_NAME.fullmatch(name):
        return DocumentField(name, ((name,),), is_json=True)
    return field


def read_document_values(project: Project, field: DocumentField) -> tuple[JsonScalar | None, ...]:
    """Return the values of a field; none if it is absent, None for an object or a list."""
    if field.is_json:
        return _read_extension_value(project.extensions.get(field.name))
    if field.is_list:
        (list_name, member), *_ = field.paths
        return tuple(getattr(item, member) for item in getattr(project, list_name))
    texts: list[str] = []
    for parent_name, member in field.paths:
        parent = getattr(project, parent_name)
        if parent is None:
            return ()
        texts.append(getattr(parent, member))
    return (":".join(texts),)


def _read_extension_value(raw: msgspec.Raw | None) -> tuple[JsonScalar | None, ...]:
    value = None if raw is None else msgspec.json.decode(raw)
    if value is None:
        return ()
    return (value if isinstance(value, JsonScalar) else None,)


def is_whole_number(value: JsonScalar | None) -> bool:
    """Whether the value is a whole number of 64 bits, with a sign or without."""
    return type(value) is int and -(2**63) <= value < 2**64


def parse_whole_number(text: str) -> int | None:
    """Return the whole number of 64 bits that a JSON number is; None for another text."""
    number = int(text) if _WHOLE_NUMBER.fullmatch(text) else None
    return number if is_whole_number(number) else None


def parse_number(text: str) -> float | None:
    """Return the double of a JSON number; None for another text, or outside a double's range."""
    if _NUMBER.fullmatch(text) is None:
        return None
    number = float(text)
    return number if abs(number) != float("inf") else None
