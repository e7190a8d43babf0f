"""Parser of one column of a schema document: whitelisted, bounded and consistent."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import Token
from spawn.domain.schema_version import Column, ColumnType, TypeName, Value
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX, RESERVED_NAMES
from spawn.domain.schemas.linear_regex import UnsupportedPattern, compile_pattern
from spawn.domain.schemas.value_readers import (
    MAX_STRING_LENGTH,
    check_value,
    type_reader,
)
from spawn.domain.struct_reader import (
    TokenReader,
    line_reader,
    prose_reader,
    read_boolean,
    read_date,
    read_members,
    read_string,
    series_reader,
)

IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Pattern of a whole schema id, column name or alias."""

MAX_ENUM: Final = 1_000
MAX_ALIASES: Final = 20
MAX_TEXT: Final = 4_000
MAX_UNIT: Final = 64
MAX_PRECISION: Final = 38
DEFAULT_DECIMAL: Final = ColumnType(TypeName.DECIMAL, precision=18, scale=6)
"""Type of `decimal` without parameters."""

_MAX_TYPE_CHARACTERS: Final = 80
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:[^\s<>\"{}|\\^`\x00-\x20]{1,500}")
_TYPE_PATTERN = re.compile(
    r"([a-z][a-z0-9_ ]{0,39})(?:\( ?([0-9]{1,5}) ?(?:, ?([0-9]{1,2}) ?)?\))?"
)
_TYPE_NAMES: Final[dict[str, TypeName]] = {
    **dict.fromkeys(("string", "varchar", "text", "char", "str"), TypeName.STRING),
    **dict.fromkeys(("integer", "int", "int4", "int32", "smallint"), TypeName.INTEGER),
    **dict.fromkeys(("bigint", "long", "int8", "int64"), TypeName.BIGINT),
    **dict.fromkeys(("decimal", "numeric"), TypeName.DECIMAL),
    **dict.fromkeys(("double", "float", "real", "number", "double precision"), TypeName.DOUBLE),
    **dict.fromkeys(("boolean", "bool"), TypeName.BOOLEAN),
    "date": TypeName.DATE,
    **dict.fromkeys(("timestamp", "timestamptz", "datetime"), TypeName.TIMESTAMP),
    "timestamp with time zone": TypeName.TIMESTAMP,
}
_TYPES_WITH_BOUNDS = frozenset(TypeName) - {TypeName.STRING, TypeName.BOOLEAN}
_TYPES_WITH_ENUM = frozenset(TypeName) - {TypeName.DOUBLE, TypeName.BOOLEAN}


def read_column(token: Token, pointer: str, value_type: ColumnType | None = None) -> Column:
    """Read a complete, consistent column; `value_type` overrides the type of its values.

    Raises:
        InvalidInput: one error for each invalid member.
    """
    identity = read_members(
        token, pointer, _IDENTITY_READERS, required=tuple(_IDENTITY_READERS), ignores_unknown=True
    )
    column_type = value_type or identity["type"]
    constraints = read_members(
        token, pointer, _constraint_readers(column_type), ignores_unknown=True
    )
    column = Column(name=identity["name"], type=column_type, **constraints)
    check_column(column, pointer)
    return column


def _constraint_readers(type_: ColumnType) -> dict[str, TokenReader]:
    """Return the readers of a column's members whose absence leaves the default."""
    read_value = type_reader(type_)
    return _CONSTRAINT_READERS | {
        "default": read_value,
        "enum": _enum_reader(read_value),
        "minimum": read_value,
        "maximum": read_value,
    }


def check_column(column: Column, pointer: str) -> None:
    """Reject constraints that do not fit the type or contradict each other.

    Raises:
        InvalidInput: one error for each invalid member.
    """
    errors: list[FieldError] = []

    def reject(member: str, code: str, detail: str) -> None:
        errors.append(FieldError(f"{pointer}/{member}", code, detail))

    has_bounds = column.minimum is not None or column.maximum is not None
    if has_bounds and column.type.name not in _TYPES_WITH_BOUNDS:
        reject("minimum", "not_applicable", f"a {column.type.name} has no bounds")
    elif _is_reversed(column.minimum, column.maximum):
        reject("maximum", "inconsistent", "is below the minimum")
    if column.pattern is not None and column.type.name is not TypeName.STRING:
        reject("pattern", "not_applicable", f"a {column.type.name} has no pattern")
    if column.enum is not None and column.type.name not in _TYPES_WITH_ENUM:
        reject("enum", "not_applicable", f"a {column.type.name} has no enumeration")
    if not errors:
        _check_values(column, reject)
    if errors:
        raise InvalidInput(errors)


def _check_values(column: Column, reject: Callable[[str, str, str], None]) -> None:
    """Reject a default or enumeration member that violates the column's constraints."""
    without_enum = msgspec.structs.replace(column, enum=None)
    for index, member in enumerate(column.enum or ()):
        if not _is_accepted(without_enum, member):
            reject(f"enum/{index}", "inconsistent", "violates another constraint of the column")
    if column.default is not None and not _is_accepted(column, column.default):
        reject("default", "inconsistent", "violates a constraint of the column")


def _is_accepted(column: Column, value: Value) -> bool:
    try:
        check_value(column, value, "")
    except InvalidInput:
        return False
    return True


def _is_reversed(minimum: Any, maximum: Any) -> bool:
    return minimum is not None and maximum is not None and maximum < minimum


def read_identifier(token: Token, pointer: str) -> str:
    """Read a name of lower-case letters, digits and underscores, safe in every language."""
    name = read_string(token, pointer)
    if IDENTIFIER.fullmatch(name) is None:
        detail = "must be lower-case letters, digits and _, begin with a letter, at most 63 long"
        raise InvalidInput.at(pointer, "invalid_identifier", detail)
    if name in RESERVED_NAMES:
        raise InvalidInput.at(pointer, "structural_name", f"{name} is reserved for the service")
    if name.startswith(EXTENSION_PREFIX):
        raise InvalidInput.at(pointer, "structural_name", "x_ is reserved for extension fields")
    return name


def read_type(token: Token, pointer: str) -> ColumnType:
    """Read a type of the closed set with its parameters; case does not matter."""
    text = read_string(token, pointer)
    match = len(text) <= _MAX_TYPE_CHARACTERS and _TYPE_PATTERN.fullmatch(
        " ".join(text.lower().replace(" (", "(").split())
    )
    name = _TYPE_NAMES.get(match[1]) if match else None
    if not match or name is None:
        type_names = ", ".join(sorted(TypeName))
        raise InvalidInput.at(pointer, "unknown_type", f"must be one of: {type_names}")
    parameters = [int(group) for group in match.groups()[1:] if group is not None]
    if name is TypeName.DECIMAL:
        return _decimal_type(parameters, pointer)
    if name is TypeName.STRING and len(parameters) <= 1:
        return _string_type(parameters, pointer)
    if parameters:
        raise InvalidInput.at(pointer, "unknown_type", f"{name} does not accept these parameters")
    return ColumnType(name)


def _decimal_type(parameters: list[int], pointer: str) -> ColumnType:
    if not parameters:
        return DEFAULT_DECIMAL
    precision, scale = (*parameters, 0)[:2]
    if not (1 <= precision <= MAX_PRECISION and scale <= precision):
        detail = f"precision is 1 to {MAX_PRECISION} and scale at most the precision"
        raise InvalidInput.at(pointer, "out_of_range", detail)
    return ColumnType(TypeName.DECIMAL, precision=precision, scale=scale)


def _string_type(parameters: list[int], pointer: str) -> ColumnType:
    if not parameters:
        return ColumnType(TypeName.STRING)
    if not 1 <= parameters[0] <= MAX_STRING_LENGTH:
        detail = f"a length is 1 to {MAX_STRING_LENGTH}"
        raise InvalidInput.at(pointer, "out_of_range", detail)
    return ColumnType(TypeName.STRING, max_length=parameters[0])


def _read_pattern(token: Token, pointer: str) -> str:
    pattern = read_string(token, pointer)
    try:
        compile_pattern(pattern)
    except UnsupportedPattern as error:
        raise InvalidInput.at(pointer, "unsafe_pattern", f"is not supported: {error}") from None
    return pattern


def _read_iri(token: Token, pointer: str) -> str:
    iri = read_string(token, pointer)
    if _IRI.fullmatch(iri) is None:
        raise InvalidInput.at(pointer, "not_an_iri", "must be an absolute IRI")
    return iri


def _enum_reader(read_value: TokenReader) -> TokenReader:
    read_values = series_reader(read_value, MAX_ENUM)

    def read(token: Token, pointer: str) -> tuple[Value, ...]:
        members: tuple[Value, ...] = read_values(token, pointer)
        if not members:
            raise InvalidInput.at(pointer, "too_many", f"must have 1 to {MAX_ENUM} members")
        if len(set(members)) != len(members):
            raise InvalidInput.at(pointer, "duplicate", "has the same member twice")
        return members

    return read


_IDENTITY_READERS: Final[dict[str, TokenReader]] = {"name": read_identifier, "type": read_type}
_CONSTRAINT_READERS: Final[dict[str, TokenReader]] = {
    "description": prose_reader(MAX_TEXT),
    "required": read_boolean,
    "pattern": _read_pattern,
    "semantic": _read_iri,
    "unit": line_reader(MAX_UNIT, trims=False),
    "aliases": series_reader(read_identifier, MAX_ALIASES),
    "deprecated": read_boolean,
    "sunset": read_date,
}
COLUMN_MEMBERS: Final = frozenset(
    {*_IDENTITY_READERS, *_CONSTRAINT_READERS, "default", "enum", "minimum", "maximum"}
)
"""Members of a column that are read; others have no effect."""
