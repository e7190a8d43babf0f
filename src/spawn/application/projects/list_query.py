"""Queries of project lists in texts: filters, sorts and fields of the governed schema."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.projects.codes import CODE_FIELDS, CodeField
from spawn.domain.query import Filter, Operator, Sort
from spawn.domain.schema_version import Column, TypeName
from spawn.domain.schemas.core_columns import NESTED_FIELDS
from spawn.domain.schemas.validator import SchemaValidator

Json = dict[str, Any]
T = TypeVar("T")

MAX_FILTERS: Final = 32
MAX_SORTS: Final = 8
MAX_OPERANDS: Final = 500
MAX_OPERAND_LENGTH: Final = 500
"""Characters of an operand at most; longer texts are descriptions, which `like` searches."""

MAX_FIELDS: Final = 200
_FILTER: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,127})(?:\[([a-z]+)\])?")
_EXTENSION: Final = re.compile(r"x_[A-Za-z0-9_]{1,126}")
_EQUALITY_OPERATORS: Final = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.EXISTS})
_ORDER_OPERATORS: Final = (Operator.LT, Operator.LTE, Operator.GT, Operator.GTE)


class ListSelection(msgspec.Struct, frozen=True):
    """Filters, order and fields of a list; without fields all."""

    filters: tuple[Filter, ...]
    sort: tuple[Sort, ...]
    fields: tuple[str, ...]


def read_selection(
    query: Mapping[str, str],
    fields: str | None,
    validator: SchemaValidator,
    errors: list[FieldError],
) -> ListSelection:
    """Read a query, and append an error for each of its parts that is invalid.

    Args:
        query: the texts of the filters by their name, and the order as `sort`.
        fields: the names of the fields, separated by commas; None for all.
        validator: the compiled schema.
        errors: the list to which errors are appended.
    """
    filters = [
        _collect(errors, partial(read_filter, name, text, validator))
        for name, text in query.items()
        if name != "sort"
    ]
    valid_filters = tuple(one for one in filters if one is not None)
    if len(valid_filters) > MAX_FILTERS:
        errors.append(FieldError("", "too_many", f"At most {MAX_FILTERS} filters."))
    sort = _collect(errors, lambda: read_sort(query.get("sort"), validator))
    names = _collect(errors, lambda: read_fields(fields, validator))
    return ListSelection(valid_filters, sort or (), names or ())


def _collect(errors: list[FieldError], read: Callable[[], T]) -> T | None:
    """Return the value, or None and add its errors."""
    try:
        return read()
    except InvalidInput as error:
        errors.extend(error.errors)
        return None


def read_filter(name: str, text: str, validator: SchemaValidator) -> Filter:
    """Read one filter: `field=value` or `field[operator]=value`.

    Raises:
        InvalidInput: the field or the operator is unknown, or the operand is not of its type.
    """
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


def read_sort(text: str | None, validator: SchemaValidator) -> tuple[Sort, ...]:
    """Read a sort such as `-total_amount,project_name`: descending, then ascending.

    Raises:
        InvalidInput: a field is unknown or repeated, or there are too many.
    """
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


def build_filter_properties(
    validator: SchemaValidator, reference_code: Callable[[CodeField], Json]
) -> Json:
    """Return the JSON Schema of each filter that `read_filter` reads, by its name.

    Args:
        validator: the compiled schema.
        reference_code: the function that refers to the schema of a code field's values.
    """
    properties: Json = {}
    for column in validator.fields.values():
        value_schema = _build_operand_schema(column, reference_code)
        properties[column.name] = value_schema
        properties[f"{column.name}[exists]"] = {"type": "string", "enum": ["true", "false"]}
        if column.type.name is TypeName.STRING:
            properties[f"{column.name}[like]"] = _SCHEMA_BY_TYPE[TypeName.STRING]
        for operator in _operators(column):
            properties[f"{column.name}[{operator}]"] = value_schema
        properties[f"{column.name}[in]"] = _VALUE_LIST
    return properties


def _operators(column: Column) -> tuple[Operator, ...]:
    """Return the operators with one operand of the column's type, beside equality."""
    return (
        (Operator.NE,) if column.type.name is TypeName.BOOLEAN else (Operator.NE, *_ORDER_OPERATORS)
    )


def _build_operand_schema(column: Column, reference_code: Callable[[CodeField], Json]) -> Json:
    """Return the schema of a filter's operand, by the column's type."""
    if column.enum is not None:
        return {"type": "string", "enum": [str(value) for value in column.enum]}
    if code := CODE_FIELDS.get(column.name):
        return reference_code(code)
    return _SCHEMA_BY_TYPE[column.type.name]


_VALUE_LIST: Final[Json] = {"type": "string", "description": "Values, separated by commas."}
_SCHEMA_BY_TYPE: Final[dict[TypeName, Json]] = {
    TypeName.STRING: {"type": "string", "maxLength": MAX_OPERAND_LENGTH},
    TypeName.INTEGER: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    TypeName.BIGINT: {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    TypeName.DECIMAL: {"type": "string", "pattern": r"^-?(0|[1-9][0-9]{0,6})(\.[0-9]{1,4})?$"},
    TypeName.DOUBLE: {"type": "string", "pattern": r"^-?(0|[1-9][0-9]{0,6})(\.[0-9]{1,4})?$"},
    TypeName.BOOLEAN: {"type": "string", "enum": ["true", "false"]},
    TypeName.DATE: {"type": "string", "format": "date"},
    TypeName.TIMESTAMP: {"type": "string", "format": "date-time"},
}
