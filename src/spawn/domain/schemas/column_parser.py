"""Reading one column of a schema document: whitelisted, bounded, and consistent in itself."""

import re
from collections.abc import Callable
from datetime import date
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import Token
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX, STRUCTURAL
from spawn.domain.schemas.linear_regex import PatternRefused, compile_pattern
from spawn.domain.schemas.model import Column, ColumnType, TypeName, Value
from spawn.domain.schemas.value_readers import (
    MAX_STRING_LENGTH,
    check_value,
    type_reader,
    wrong_type,
)
from spawn.domain.text import check_line, check_prose

IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""What the whole of a schema id, a column name or an alias looks like."""

MAX_ENUM: Final = 1_000
MAX_ALIASES: Final = 20
MAX_TEXT: Final = 4_000
MAX_UNIT: Final = 64
MAX_PRECISION: Final = 38
BARE_DECIMAL: Final = ColumnType(TypeName.DECIMAL, precision=18, scale=6)
"""What `decimal` means without parameters."""

_LONGEST_TYPE: Final = 80
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:[^\s<>\"{}|\\^`\x00-\x20]{1,500}")
_TYPE = re.compile(r"([a-z][a-z0-9_ ]{0,39})(?:\( ?([0-9]{1,5}) ?(?:, ?([0-9]{1,2}) ?)?\))?")
_TYPES: Final[dict[str, TypeName]] = {
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
_ORDERED = frozenset(TypeName) - {TypeName.STRING, TypeName.BOOLEAN}
_ENUMERABLE = frozenset(TypeName) - {TypeName.DOUBLE, TypeName.BOOLEAN}

Take = Callable[[Token, str], Any]


class Members:
    """The members of one object, taken one by one, with every offence collected."""

    def __init__(self, tokens: dict[str, Token], pointer: str, errors: list[FieldError]) -> None:
        self._tokens = tokens
        self._pointer = pointer
        self.errors = errors

    def take(self, name: str, read: Take, default: Any = None) -> Any:
        """The member read, or the default if it is absent, null or refused."""
        token = self._tokens.get(name)
        if token is None:
            return default
        try:
            return read(token, f"{self._pointer}/{name}")
        except InvalidInput as error:
            self.errors.extend(error.errors)
            return default

    def refuse(self, name: str, code: str, detail: str) -> None:
        """Collect an offence of the named member."""
        self.errors.append(FieldError(f"{self._pointer}/{name}", code, detail))


def read_column(token: Token, pointer: str, type_of: ColumnType | None = None) -> Column:
    """One column, complete and consistent; `type_of` replaces the type the values are read by.

    Raises:
        InvalidInput: naming each offending member.
    """
    if type(token) is not dict:
        raise wrong_type(pointer, "an object", token)
    members = Members(token, pointer, [])
    name = members.take("name", read_identifier)
    if token.get("name") is None:
        members.refuse("name", "missing", "is required")
    declared = members.take("type", read_type)
    if token.get("type") is None:
        members.refuse("type", "missing", "is required")
    if members.errors:
        raise InvalidInput(members.errors)
    column = _complete(members, Column(name=name, type=type_of or declared))
    if members.errors:
        raise InvalidInput(members.errors)
    check_column(column, pointer)
    return column


def _complete(members: Members, bare: Column) -> Column:
    value = type_reader(bare.type)
    return msgspec.structs.replace(
        bare,
        description=members.take("description", text_reader(MAX_TEXT), ""),
        required=members.take("required", _read_flag, False),  # noqa: FBT003  # a default, not a switch
        default=members.take("default", value),
        enum=members.take("enum", _enum_reader(value)),
        minimum=members.take("minimum", value),
        maximum=members.take("maximum", value),
        pattern=members.take("pattern", _read_pattern),
        semantic=members.take("semantic", _read_iri),
        unit=members.take("unit", _line_reader(MAX_UNIT)),
        aliases=members.take("aliases", _read_aliases, ()),
        deprecated=members.take("deprecated", _read_flag, False),  # noqa: FBT003  # as above
        sunset=members.take("sunset", _read_sunset),
    )


def check_column(column: Column, pointer: str) -> None:
    """Refuse constraints that do not fit the type or contradict each other.

    Raises:
        InvalidInput: naming each offending member.
    """
    errors: list[FieldError] = []

    def refuse(member: str, code: str, detail: str) -> None:
        errors.append(FieldError(f"{pointer}/{member}", code, detail))

    bounded = column.minimum is not None or column.maximum is not None
    if bounded and column.type.name not in _ORDERED:
        refuse("minimum", "not_applicable", f"a {column.type.name} has no bounds")
    elif _reversed(column.minimum, column.maximum):
        refuse("maximum", "inconsistent", "is below the minimum")
    if column.pattern is not None and column.type.name is not TypeName.STRING:
        refuse("pattern", "not_applicable", f"a {column.type.name} has no pattern")
    if column.enum is not None and column.type.name not in _ENUMERABLE:
        refuse("enum", "not_applicable", f"a {column.type.name} has no enumeration")
    if not errors:
        _check_values(column, refuse)
    if errors:
        raise InvalidInput(errors)


def _check_values(column: Column, refuse: Callable[[str, str, str], None]) -> None:
    """The default and every member of the enumeration must be values the column accepts."""
    others = msgspec.structs.replace(column, enum=None)
    for at, member in enumerate(column.enum or ()):
        if not _accepts(others, member):
            refuse(f"enum/{at}", "inconsistent", "breaks another constraint of the column")
    if column.default is not None and not _accepts(column, column.default):
        refuse("default", "inconsistent", "breaks a constraint of the column")


def _accepts(column: Column, value: Value) -> bool:
    try:
        check_value(column, value, "")
    except InvalidInput:
        return False
    return True


def _reversed(minimum: Any, maximum: Any) -> bool:
    return minimum is not None and maximum is not None and maximum < minimum


def read_identifier(token: Token, pointer: str) -> str:
    """A name that is safe in every language: lower-case letters, digits, underscores."""
    if type(token) is not str:
        raise wrong_type(pointer, "a string", token)
    if IDENTIFIER.fullmatch(token) is None:
        detail = "must be lower-case letters, digits and _, begin with a letter, at most 63 long"
        raise InvalidInput.at(pointer, "invalid_identifier", detail)
    if token in STRUCTURAL:
        raise InvalidInput.at(pointer, "structural_name", f"{token} belongs to the service")
    if token.startswith(EXTENSION_PREFIX):
        raise InvalidInput.at(pointer, "structural_name", "x_ is kept for clients' own fields")
    return token


def read_type(token: Token, pointer: str) -> ColumnType:
    """A type of the closed set, with its parameters; the spelling is anyone's case."""
    if type(token) is not str:
        raise wrong_type(pointer, "a type name", token)
    match = len(token) <= _LONGEST_TYPE and _TYPE.fullmatch(
        " ".join(token.lower().replace(" (", "(").split())
    )
    name = _TYPES.get(match[1]) if match else None
    if not match or name is None:
        known = ", ".join(sorted(TypeName))
        raise InvalidInput.at(pointer, "unknown_type", f"must be one of: {known}")
    parameters = [int(group) for group in match.groups()[1:] if group is not None]
    if name is TypeName.DECIMAL:
        return _decimal_type(parameters, pointer)
    if name is TypeName.STRING and len(parameters) <= 1:
        return _string_type(parameters, pointer)
    if parameters:
        raise InvalidInput.at(pointer, "unknown_type", f"{name} takes no such parameters")
    return ColumnType(name)


def _decimal_type(parameters: list[int], pointer: str) -> ColumnType:
    if not parameters:
        return BARE_DECIMAL
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
        raise wrong_type(pointer, "true or false", token)
    return token


def _read_sunset(token: Token, pointer: str) -> date:
    value = type_reader(ColumnType(TypeName.DATE))(token, pointer)
    assert isinstance(value, date)  # noqa: S101  # narrows the type; a date reader reads dates
    return value


def text_reader(maximum: int) -> Take:
    """A reader of prose."""
    return _checked_text(check_prose, maximum)


def _line_reader(maximum: int) -> Take:
    return _checked_text(check_line, maximum)


def _checked_text(check: Callable[[str, str, int, list[FieldError]], None], maximum: int) -> Take:
    def read(token: Token, pointer: str) -> str:
        if type(token) is not str:
            raise wrong_type(pointer, "a string", token)
        faults: list[FieldError] = []
        check(token, pointer, maximum, faults)
        if faults:
            raise InvalidInput(faults)
        return token

    return read


def _read_pattern(token: Token, pointer: str) -> str:
    if type(token) is not str:
        raise wrong_type(pointer, "a pattern", token)
    try:
        compile_pattern(token)
    except PatternRefused as refusal:
        raise InvalidInput.at(pointer, "unsafe_pattern", f"is refused: {refusal}") from None
    return token


def _read_iri(token: Token, pointer: str) -> str:
    if type(token) is not str:
        raise wrong_type(pointer, "an IRI", token)
    if _IRI.fullmatch(token) is None:
        raise InvalidInput.at(pointer, "not_an_iri", "must be an absolute IRI")
    return token


def _read_aliases(token: Token, pointer: str) -> tuple[str, ...]:
    if type(token) is not list:
        raise wrong_type(pointer, "an array", token)
    if len(token) > MAX_ALIASES:
        raise InvalidInput.at(pointer, "too_many", f"has more than {MAX_ALIASES} aliases")
    return tuple(read_identifier(item, f"{pointer}/{at}") for at, item in enumerate(token))


def _enum_reader(value: Take) -> Take:
    def read(token: Token, pointer: str) -> tuple[Value, ...]:
        if type(token) is not list:
            raise wrong_type(pointer, "an array", token)
        if not 0 < len(token) <= MAX_ENUM:
            raise InvalidInput.at(pointer, "too_many", f"must have 1 to {MAX_ENUM} members")
        members = tuple(_present(value, item, f"{pointer}/{at}") for at, item in enumerate(token))
        if len(set(members)) != len(members):
            raise InvalidInput.at(pointer, "duplicate", "has the same member twice")
        return members

    return read


def _present(value: Take, item: Token, pointer: str) -> Value:
    if item is None:
        raise wrong_type(pointer, "a value", item)
    return value(item, pointer)  # type: ignore[no-any-return]  # a type's reader gives values
