"""Parser of one column of a schema document: whitelisted, bounded and consistent."""

import re
from collections.abc import Callable
from datetime import date
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
    wrong_type_error,
)
from spawn.domain.text import check_line, check_prose

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

TokenReader = Callable[[Token, str], Any]


class MemberReader:
    """Reader of one object's members that collects every error."""

    def __init__(self, tokens: dict[str, Token], pointer: str, errors: list[FieldError]) -> None:
        self._tokens = tokens
        self._pointer = pointer
        self.errors = errors

    def read(self, name: str, reader: TokenReader, default: Any = None) -> Any:
        """Read a member; return the default if it is absent, null or invalid."""
        token = self._tokens.get(name)
        if token is None:
            return default
        try:
            return reader(token, f"{self._pointer}/{name}")
        except InvalidInput as error:
            self.errors.extend(error.errors)
            return default

    def reject(self, name: str, code: str, detail: str) -> None:
        """Add an error at the named member."""
        self.errors.append(FieldError(f"{self._pointer}/{name}", code, detail))


def read_column(token: Token, pointer: str, value_type: ColumnType | None = None) -> Column:
    """Read a complete, consistent column; `value_type` overrides the type of its values.

    Raises:
        InvalidInput: one error for each invalid member.
    """
    if type(token) is not dict:
        raise wrong_type_error(pointer, "an object", token)
    members = MemberReader(token, pointer, [])
    name = members.read("name", read_identifier)
    if token.get("name") is None:
        members.reject("name", "missing", "is required")
    declared_type = members.read("type", read_type)
    if token.get("type") is None:
        members.reject("type", "missing", "is required")
    if members.errors:
        raise InvalidInput(members.errors)
    column = _read_constraints(members, Column(name=name, type=value_type or declared_type))
    if members.errors:
        raise InvalidInput(members.errors)
    check_column(column, pointer)
    return column


def _read_constraints(members: MemberReader, bare: Column) -> Column:
    value = type_reader(bare.type)
    return msgspec.structs.replace(
        bare,
        description=members.read("description", text_reader(MAX_TEXT), ""),
        required=members.read("required", _read_flag, False),  # noqa: FBT003  # a default, not a switch
        default=members.read("default", value),
        enum=members.read("enum", _enum_reader(value)),
        minimum=members.read("minimum", value),
        maximum=members.read("maximum", value),
        pattern=members.read("pattern", _read_pattern),
        semantic=members.read("semantic", _read_iri),
        unit=members.read("unit", _line_reader(MAX_UNIT)),
        aliases=members.read("aliases", _read_aliases, ()),
        deprecated=members.read("deprecated", _read_flag, False),  # noqa: FBT003  # as above
        sunset=members.read("sunset", _read_sunset),
    )


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
    if type(token) is not str:
        raise wrong_type_error(pointer, "a string", token)
    if IDENTIFIER.fullmatch(token) is None:
        detail = "must be lower-case letters, digits and _, begin with a letter, at most 63 long"
        raise InvalidInput.at(pointer, "invalid_identifier", detail)
    if token in RESERVED_NAMES:
        raise InvalidInput.at(pointer, "structural_name", f"{token} is reserved for the service")
    if token.startswith(EXTENSION_PREFIX):
        raise InvalidInput.at(pointer, "structural_name", "x_ is reserved for extension fields")
    return token


def read_type(token: Token, pointer: str) -> ColumnType:
    """Read a type of the closed set with its parameters; case does not matter."""
    if type(token) is not str:
        raise wrong_type_error(pointer, "a type name", token)
    match = len(token) <= _MAX_TYPE_CHARACTERS and _TYPE_PATTERN.fullmatch(
        " ".join(token.lower().replace(" (", "(").split())
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


def _read_flag(token: Token, pointer: str) -> bool:
    if type(token) is not bool:
        raise wrong_type_error(pointer, "true or false", token)
    return token


def _read_sunset(token: Token, pointer: str) -> date:
    value = type_reader(ColumnType(TypeName.DATE))(token, pointer)
    assert isinstance(value, date)  # noqa: S101  # narrows the type; a date reader reads dates
    return value


def text_reader(maximum: int) -> TokenReader:
    """Return a reader of text up to a length, line breaks allowed."""
    return _build_text_reader(check_prose, maximum)


def _line_reader(maximum: int) -> TokenReader:
    return _build_text_reader(check_line, maximum)


def _build_text_reader(
    check: Callable[[str, str, int, list[FieldError]], None], maximum: int
) -> TokenReader:
    def read(token: Token, pointer: str) -> str:
        if type(token) is not str:
            raise wrong_type_error(pointer, "a string", token)
        text_errors: list[FieldError] = []
        check(token, pointer, maximum, text_errors)
        if text_errors:
            raise InvalidInput(text_errors)
        return token

    return read


def _read_pattern(token: Token, pointer: str) -> str:
    if type(token) is not str:
        raise wrong_type_error(pointer, "a pattern", token)
    try:
        compile_pattern(token)
    except UnsupportedPattern as error:
        raise InvalidInput.at(pointer, "unsafe_pattern", f"is not supported: {error}") from None
    return token


def _read_iri(token: Token, pointer: str) -> str:
    if type(token) is not str:
        raise wrong_type_error(pointer, "an IRI", token)
    if _IRI.fullmatch(token) is None:
        raise InvalidInput.at(pointer, "not_an_iri", "must be an absolute IRI")
    return token


def _read_aliases(token: Token, pointer: str) -> tuple[str, ...]:
    if type(token) is not list:
        raise wrong_type_error(pointer, "an array", token)
    if len(token) > MAX_ALIASES:
        raise InvalidInput.at(pointer, "too_many", f"has more than {MAX_ALIASES} aliases")
    return tuple(read_identifier(item, f"{pointer}/{index}") for index, item in enumerate(token))


def _enum_reader(value: TokenReader) -> TokenReader:
    def read(token: Token, pointer: str) -> tuple[Value, ...]:
        if type(token) is not list:
            raise wrong_type_error(pointer, "an array", token)
        if not 0 < len(token) <= MAX_ENUM:
            raise InvalidInput.at(pointer, "too_many", f"must have 1 to {MAX_ENUM} members")
        members = tuple(
            _read_present_value(value, item, f"{pointer}/{index}")
            for index, item in enumerate(token)
        )
        if len(set(members)) != len(members):
            raise InvalidInput.at(pointer, "duplicate", "has the same member twice")
        return members

    return read


def _read_present_value(value: TokenReader, item: Token, pointer: str) -> Value:
    if item is None:
        raise wrong_type_error(pointer, "a value", item)
    return value(item, pointer)  # type: ignore[no-any-return]  # a type's reader gives values
