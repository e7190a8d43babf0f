"""Queries of project lists in texts: filters, sorts and fields of the governed schema."""

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from spawn.domain.dates import parse_moment
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.projects.codes import CODE_FIELDS, CodeField
from spawn.domain.projects.document_fields import (
    DOCUMENT_FIELDS,
    DocumentField,
    find_document_field,
)
from spawn.domain.query import Filter, Operator, Sort
from spawn.domain.schema_version import Column, TypeName, Value
from spawn.domain.schemas.core_columns import NESTED_FIELDS
from spawn.domain.schemas.validator import SchemaValidator
from spawn.domain.text import MAX_SUGGESTIONS, normalize, split_list, suggest_name

Json = dict[str, Any]
T = TypeVar("T")

MAX_FILTERS: Final = 32
MAX_SORTS: Final = 8
MAX_OPERANDS: Final = 500
MAX_OPERAND_LENGTH: Final = 500
"""Characters of an operand at most; longer texts are descriptions, which `like` searches."""

MAX_FIELDS: Final = 200
FILTER_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.]{0,127})(?:\[([a-z]+)\])?")
"""Name of a filter: a field, and an operator in brackets."""

_EXTENSION: Final = re.compile(r"x_[A-Za-z0-9_]{1,126}")
_EQUALITY_OPERATORS: Final = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.EXISTS})
_TEXT_OPERATORS: Final = _EQUALITY_OPERATORS | {Operator.LIKE}
ORDER_OPERATORS: Final = (Operator.LT, Operator.LTE, Operator.GT, Operator.GTE)
_FROM_START: Final = frozenset({Operator.GTE, Operator.LT})
"""Operators for which a day stands for its first instant; for others that compare, its last."""

_MOMENT: Final[Json] = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}


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
    other_names: Collection[str] = (),
) -> ListSelection:
    """Read a query, and append an error for each of its parts that is invalid.

    Args:
        query: the texts of the filters by their name, and the order as `sort`.
        fields: the names of the fields, separated by commas; None for all.
        validator: the compiled schema.
        errors: the list to which errors are appended.
        other_names: further parameters, one of which an unknown name may mean.
    """
    filter_texts = {name: text for name, text in query.items() if name != "sort"}
    filters = read_filters(filter_texts, validator, errors, (*other_names, "sort"))
    sort = _collect(errors, lambda: read_sort(query.get("sort"), validator))
    names = _collect(errors, lambda: read_fields(fields, validator))
    return ListSelection(filters, sort or (), names or ())


def read_filters(
    texts: Mapping[str, str],
    validator: SchemaValidator,
    errors: list[FieldError],
    other_names: Collection[str] = (),
) -> tuple[Filter, ...]:
    """Read filters by their names, and append an error for each that is invalid."""
    filters: list[Filter] = []
    for name, text in texts.items():
        hint_names = other_names if len(errors) < MAX_SUGGESTIONS else None
        condition = _collect(errors, partial(read_filter, name, text, validator, hint_names))
        if condition is not None:
            filters.append(condition)
    if len(filters) > MAX_FILTERS:
        errors.append(FieldError("", "too_many", f"At most {MAX_FILTERS} filters."))
    return tuple(filters)


def _collect(errors: list[FieldError], read: Callable[[], T]) -> T | None:
    """Return the value, or None and add its errors."""
    try:
        return read()
    except InvalidInput as error:
        errors.extend(error.errors)
        return None


def read_filter(
    name: str, text: str, validator: SchemaValidator, other_names: Collection[str] | None = None
) -> Filter:
    """Read one filter: `field=value` or `field[operator]=value`.

    An unknown name is reported with a similar one, unless `other_names` is None.

    Raises:
        InvalidInput: the field or the operator is unknown, or the operand is not of its type.
    """
    match = FILTER_NAME.fullmatch(name)
    pointer = f"/{name[:128]}"
    canonical = validator.canonical_name(match[1]) if match else None
    document_field = find_document_field(match[1]) if match and canonical is None else None
    if match is None or (canonical is None and document_field is None):
        hint = ""
        if other_names is not None:
            known_names = {*other_names, *validator.names, *DOCUMENT_FIELDS}
            hint = suggest_name(name.partition("[")[0], known_names)
        raise InvalidInput.at(pointer, "unknown_parameter", f"Unknown parameter or field.{hint}")
    operator = read_operator(pointer, match[2])
    if document_field is not None:
        return _read_document_filter(document_field, operator, text, pointer)
    return _read_column_filter(match[1], operator, text, pointer, validator)


def read_operator(pointer: str, name: str | None) -> Operator:
    """Return the operator of a name; equality without a name.

    Raises:
        InvalidInput: there is no such operator.
    """
    try:
        return Operator(name or "eq")
    except ValueError as error:
        listed = ", ".join(Operator)
        raise InvalidInput.at(pointer, "unknown_operator", f"Operators are {listed}.") from error


def _read_document_filter(
    field: DocumentField, operator: Operator, text: str, pointer: str
) -> Filter:
    """Read a filter on a field of the document; its operands are texts."""
    if operator is Operator.EXISTS:
        return Filter(field.name, operator, (_read_boolean(pointer, text),))
    if not field.is_json and operator not in _TEXT_OPERATORS:
        listed = ", ".join(sorted(_TEXT_OPERATORS))
        raise InvalidInput.at(
            pointer, "operator_unsuitable", f"The operators of this field are {listed}."
        )
    operands = _split_operands(pointer, operator, text)
    if field.name == "external_ref" and operator is not Operator.LIKE:
        _check_references(pointer, operands)
    if not field.is_json:
        operands = [normalize(operand) for operand in operands]
    return Filter(field.name, operator, tuple(operands))


def _check_references(pointer: str, operands: list[str]) -> None:
    """Raise unless each operand is the source and the id of a reference."""
    for operand in operands:
        source, _, reference_id = operand.partition(":")
        if not source or not reference_id:
            raise InvalidInput.at(
                pointer, "not_a_reference", "A reference is written source:id, such as erp:P-17."
            )


def _split_operands(pointer: str, operator: Operator, text: str) -> list[str]:
    """Return the operands of a filter: several for `in`."""
    texts = split_list(text, pointer) if operator is Operator.IN else [text]
    _require_short(pointer, texts)
    if len(texts) > MAX_OPERANDS:
        raise InvalidInput.at(pointer, "too_many", f"At most {MAX_OPERANDS} values.")
    return texts


def _read_column_filter(
    name: str, operator: Operator, text: str, pointer: str, validator: SchemaValidator
) -> Filter:
    """Read a filter on a column, which the name is one of."""
    canonical = validator.canonical_name(name) or name
    type_name = validator.fields[canonical].type.name
    read_value: Callable[[str], Value] = partial(
        read_operand, partial(validator.read_value, name), pointer
    )
    if type_name is TypeName.TIMESTAMP and operator in ORDER_OPERATORS:
        read_value = partial(read_bound, operator, pointer)
    return read_typed_filter(Filter(canonical, operator, (text,)), type_name, pointer, read_value)


def read_operand(read_value: Callable[[str], Value], pointer: str, text: str) -> Value:
    """Return the value of an operand; its errors are at the parameter, operator included.

    Raises:
        InvalidInput: the text is not of the type.
    """
    try:
        return read_value(text)
    except InvalidInput as error:
        # Each text of a query is a string, so that this says nothing of it.
        details = [one.detail.removesuffix(", not a string") for one in error.errors]
        errors = [
            msgspec.structs.replace(one, pointer=pointer, detail=detail)
            for one, detail in zip(error.errors, details, strict=True)
        ]
        raise InvalidInput(errors) from error


def read_bound(operator: Operator, pointer: str, text: str) -> Value:
    """Return the instant that bounds a time; a day is meant from its first one, or to its last.

    Raises:
        InvalidInput: the text is neither a date nor an instant.
    """
    return parse_moment(text, pointer=pointer, is_start=operator in _FROM_START)


def read_typed_filter(
    text_filter: Filter, type_name: TypeName, pointer: str, read_value: Callable[[str], Value]
) -> Filter:
    """Return a filter, whose operand is still a text, with operands of a column's type.

    Raises:
        InvalidInput: the operator does not suit the type, or an operand is not of it.
    """
    operator, text = text_filter.operator, str(text_filter.values[0])
    if operator is Operator.EXISTS:
        operands: tuple[Value, ...] = (_read_boolean(pointer, text),)
    elif operator is Operator.LIKE:
        if type_name is not TypeName.STRING:
            raise InvalidInput.at(
                pointer, "operator_unsuitable", "The operator like applies to texts only."
            )
        _require_short(pointer, [text])
        operands = (text,)
    else:
        if type_name is TypeName.BOOLEAN and operator not in _EQUALITY_OPERATORS:
            raise InvalidInput.at(
                pointer,
                "operator_unsuitable",
                "Booleans are not ordered: use eq, ne, in or exists.",
            )
        texts = _split_operands(pointer, operator, text)
        operands = tuple(read_value(item) for item in texts)
    return Filter(text_filter.field, operator, operands)


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
            name = item.removeprefix("-")
            errors.append(_unknown_field("/sort", name, errors, validator.names))
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
            known_names = {*validator.names, *NESTED_FIELDS}
            errors.append(_unknown_field("/fields", name, errors, known_names))
        elif canonical not in names:
            names.append(canonical)
    if len(names) > MAX_FIELDS:
        errors.append(FieldError("/fields", "too_many", f"At most {MAX_FIELDS} fields."))
    if errors:
        raise InvalidInput(errors)
    return tuple(names)


def _unknown_field(
    pointer: str, name: str, errors: list[FieldError], names: Collection[str]
) -> FieldError:
    """Return the error of an unknown field, with a similar one among the first few errors."""
    hint = suggest_name(name, names) if len(errors) < MAX_SUGGESTIONS else ""
    return FieldError(pointer, "unknown_field", f"Unknown field '{name[:64]}'.{hint}")


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
        properties |= build_column_filters(column.name, column.type.name, value_schema)
    for field in DOCUMENT_FIELDS.values():
        value_schema = _REFERENCE if field.name == "external_ref" else _SCHEMA_BY_TYPE[_TEXT]
        properties |= {field.name: value_schema, f"{field.name}[ne]": value_schema}
        properties[f"{field.name}[like]"] = _SCHEMA_BY_TYPE[_TEXT]
        properties[f"{field.name}[exists]"] = {"type": "string", "enum": ["true", "false"]}
        properties[f"{field.name}[in]"] = _VALUE_LIST
    return properties


def build_column_filters(name: str, type_name: TypeName, value_schema: Json | None = None) -> Json:
    """Return the JSON Schema of each filter on a column, by its name.

    Args:
        name: the column.
        type_name: the column's type.
        value_schema: the schema of an operand; None for any of the type.
    """
    value_schema = value_schema or _SCHEMA_BY_TYPE[type_name]
    properties: Json = {name: value_schema, f"{name}[exists]": _SCHEMA_BY_TYPE[TypeName.BOOLEAN]}
    if type_name is TypeName.STRING:
        properties[f"{name}[like]"] = _SCHEMA_BY_TYPE[TypeName.STRING]
    properties[f"{name}[{Operator.NE}]"] = value_schema
    bound_schema = _MOMENT if type_name is TypeName.TIMESTAMP else value_schema
    for operator in () if type_name is TypeName.BOOLEAN else ORDER_OPERATORS:
        properties[f"{name}[{operator}]"] = bound_schema
    properties[f"{name}[in]"] = _VALUE_LIST
    return properties


def _build_operand_schema(column: Column, reference_code: Callable[[CodeField], Json]) -> Json:
    """Return the schema of a filter's operand, by the column's type."""
    if column.enum is not None:
        return {"type": "string", "enum": [str(value) for value in column.enum]}
    if code := CODE_FIELDS.get(column.name):
        return reference_code(code)
    return _SCHEMA_BY_TYPE[column.type.name]


_VALUE_LIST: Final[Json] = {"type": "string", "description": "Values, separated by commas."}
_TEXT: Final = TypeName.STRING
_REFERENCE: Final[Json] = {
    "type": "string",
    "pattern": "^[^:\\u0000]+:[^\\u0000]+$",
    "maxLength": MAX_OPERAND_LENGTH,
    "description": "Source and id of a reference, separated by a colon.",
}
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
_COMPARING: Final = "|".join(operator for operator in Operator if operator != Operator.EXISTS)
EXTENSION_FILTERS: Final[Json] = {
    rf"^x_[A-Za-z0-9_]{{1,62}}(\[({_COMPARING})\])?$": _SCHEMA_BY_TYPE[_TEXT],
    r"^x_[A-Za-z0-9_]{1,62}\[exists\]$": {"type": "string", "enum": ["true", "false"]},
}
"""JSON Schemas of the filters on clients' own fields, by the pattern of their names."""
