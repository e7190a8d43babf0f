"""Parameters of lists: filters, sorts, fields and limits as a typed query."""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from spawn.domain.dates import parse_instant
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query, Sort
from spawn.domain.schema_version import TypeName, Value
from spawn.domain.schemas.core_columns import NESTED_FIELDS
from spawn.domain.schemas.validator import SchemaValidator
from spawn.entrypoints.http.protocol.cursors import MAX_CURSOR_LENGTH, decode_cursor
from spawn.entrypoints.http.protocol.operation import Parameter

T = TypeVar("T")
C = TypeVar("C", bound=StrEnum)
DEFAULT_LIMIT: Final = 50
LIMIT: Final = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "Maximum items of a page.",
    component="Limit",
)
AFTER: Final = Parameter(
    "after",
    {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{1,{MAX_CURSOR_LENGTH}}}$"},
    "The `next` of the previous page.",
    component="After",
)
MAX_SORTS: Final = 8
MAX_FILTERS: Final = 32
MAX_OPERANDS: Final = 500
MAX_OPERAND_LENGTH: Final = 500
"""Characters of an operand at most; longer texts are descriptions, which `like` searches."""

MAX_FIELDS: Final = 200
_FILTER: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,127})(?:\[([a-z]+)\])?")
_LIMIT: Final = re.compile(r"[0-9]{1,6}")
_EXTENSION: Final = re.compile(r"x_[A-Za-z0-9_]{1,126}")
_OTHER_PARAMETERS: Final = frozenset({"fields", "limit", "after", "schema_version"})
"""Parameters of a list that are neither filters nor order."""

_EQUALITY_OPERATORS: Final = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.EXISTS})


class ListParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a list: query, fields (empty: all) and the binding of its cursors."""

    query: Query
    fields: tuple[str, ...]
    binding: bytes


def read_list_parameters(
    parameters: Mapping[str, str], validator: SchemaValidator
) -> ListParameters:
    """Read the query of a list from its parameters.

    Raises:
        InvalidInput: naming each parameter that is unknown or not of its type.
        CursorInvalid: `after` is not the `next` of a page of this query.
    """
    errors: list[FieldError] = []
    filters: list[Filter] = []
    for name, text in parameters.items():
        if name == "sort" or name in _OTHER_PARAMETERS:
            continue
        try:
            filters.append(_read_filter(name, text, validator))
        except InvalidInput as error:
            errors.extend(error.errors)
    if len(filters) > MAX_FILTERS:
        errors.append(FieldError("", "too_many", f"At most {MAX_FILTERS} filters."))
    sort = _collect(errors, lambda: _read_sort(parameters.get("sort"), validator)) or ()
    fields = _collect(errors, lambda: read_fields(parameters.get("fields"), validator)) or ()
    limit = _collect(errors, lambda: read_limit(parameters.get("limit"))) or DEFAULT_LIMIT
    if errors:
        raise InvalidInput(errors)
    binding = _cursor_binding(parameters)
    after = parameters.get("after")
    return ListParameters(
        query=Query(
            filters=tuple(filters),
            sort=sort,
            limit=limit,
            after=None if after is None else decode_cursor(after, binding),
        ),
        fields=fields,
        binding=binding,
    )


def read_limit(text: str | None) -> int:
    """Return the limit of a page, at most the cap; the default when absent."""
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidInput.at(
            "/limit", "out_of_range", f"A limit is a number from 1 to {MAX_LIMIT}."
        )
    return int(text)


def read_after(parameters: Mapping[str, str], binding: bytes) -> tuple[Value | None, ...] | None:
    """Return the sort keys after which a page starts; None for the first page.

    Raises:
        CursorInvalid: `after` is not the `next` of a page of this list.
    """
    return decode_cursor(parameters["after"], binding) if "after" in parameters else None


def read_instant(parameters: Mapping[str, str], name: str) -> datetime | None:
    """Return the instant that a parameter names; None when absent."""
    return parse_instant(parameters[name], pointer=f"/{name}") if name in parameters else None


def read_choice(parameters: Mapping[str, str], name: str, choices: type[C]) -> C | None:
    """Return the member of an enumeration that a parameter names; None when absent.

    Raises:
        InvalidInput: the enumeration has no such member.
    """
    text = parameters.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        detail = f"The {name} must be one of: {', '.join(choices)}."
        raise InvalidInput.at(f"/{name}", "not_in_enum", detail) from None


def read_fields(text: str | None, validator: SchemaValidator) -> tuple[str, ...]:
    """Return the canonical names of the fields, each once; empty for all fields."""
    if text is None:
        return ()
    names: list[str] = []
    errors: list[FieldError] = []
    for name in text.split(",")[: MAX_FIELDS + 1]:
        canonical = validator.canonical_name(name)
        if canonical is None and (name in NESTED_FIELDS or _EXTENSION.fullmatch(name)):
            canonical = name
        if canonical is None:
            errors.append(FieldError("/fields", "unknown_field", f"Unknown field '{name[:64]}'."))
        elif canonical not in names:
            names.append(canonical)
    if len(names) > MAX_FIELDS:
        errors.append(FieldError("/fields", "too_many", f"At most {MAX_FIELDS} fields."))
    if errors:
        raise InvalidInput(errors)
    return tuple(names)


def _collect(errors: list[FieldError], read: Callable[[], T]) -> T | None:
    """Return the value, or None and add its errors."""
    try:
        return read()
    except InvalidInput as error:
        errors.extend(error.errors)
        return None


def _read_filter(name: str, text: str, validator: SchemaValidator) -> Filter:
    """Read one filter: `field=value` or `field[operator]=value`."""
    match = _FILTER.fullmatch(name)
    pointer = f"/{name[:128]}"
    canonical = validator.canonical_name(match[1]) if match else None
    if match is None or canonical is None:
        raise InvalidInput.at(pointer, "unknown_parameter", "Unknown parameter or field.")
    try:
        operator = Operator(match[2] or "eq")
    except ValueError as error:
        listed = ", ".join(Operator)
        raise InvalidInput.at(pointer, "unknown_operator", f"Operators are {listed}.") from error
    type_name = validator.fields[canonical].type.name
    if operator is Operator.EXISTS:
        return Filter(canonical, operator, (_read_boolean(pointer, text),))
    if operator is Operator.LIKE:
        if type_name is not TypeName.STRING:
            raise InvalidInput.at(
                pointer, "operator_unsuitable", "The operator like applies to texts only."
            )
        _require_short(pointer, [text])
        return Filter(canonical, operator, (text,))
    if type_name is TypeName.BOOLEAN and operator not in _EQUALITY_OPERATORS:
        raise InvalidInput.at(
            pointer, "operator_unsuitable", "Booleans are not ordered: use eq, ne, in or exists."
        )
    texts = text.split(",") if operator is Operator.IN else [text]
    _require_short(pointer, texts)
    if len(texts) > MAX_OPERANDS:
        raise InvalidInput.at(pointer, "too_many", f"At most {MAX_OPERANDS} values.")
    return Filter(
        canonical, operator, tuple(validator.read_value(match[1], item) for item in texts)
    )


def _require_short(pointer: str, texts: list[str]) -> None:
    if any(len(text) > MAX_OPERAND_LENGTH for text in texts):
        raise InvalidInput.at(pointer, "too_long", f"At most {MAX_OPERAND_LENGTH} characters.")


def _read_boolean(pointer: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise InvalidInput.at(pointer, "wrong_type", "The operand of exists is true or false.")
    return text == "true"


def _read_sort(text: str | None, validator: SchemaValidator) -> tuple[Sort, ...]:
    """Read a sort such as `-total_amount,project_name`: descending, then ascending."""
    if text is None:
        return ()
    sorts: list[Sort] = []
    errors: list[FieldError] = []
    for item in text.split(",")[: MAX_SORTS + 1]:
        canonical = validator.canonical_name(item.removeprefix("-"))
        if canonical is None:
            errors.append(FieldError("/sort", "unknown_field", f"Unknown field '{item[:64]}'."))
        elif canonical in {sort.field for sort in sorts}:
            errors.append(FieldError("/sort", "repeated_field", f"'{canonical}' is repeated."))
        else:
            sorts.append(Sort(canonical, descending=item.startswith("-")))
    if len(sorts) > MAX_SORTS:
        errors.append(FieldError("/sort", "too_many", f"At most {MAX_SORTS} fields."))
    if errors:
        raise InvalidInput(errors)
    return tuple(sorts)


def _cursor_binding(parameters: Mapping[str, str]) -> bytes:
    """Return a digest of filters and order, independent of limit and fields.

    It uses the texts of the request, so that a scan continues after a schema change renames or
    retypes a column.
    """
    query = sorted(
        (name, text) for name, text in parameters.items() if name not in _OTHER_PARAMETERS
    )
    return hashlib.blake2b(msgspec.json.encode(query), digest_size=8).digest()
