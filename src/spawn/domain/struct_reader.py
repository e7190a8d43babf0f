"""Strict conversion of JSON tokens to msgspec structs, with an error for every invalid field.

A reader is compiled once from a struct's own annotations, so that the fields of a request are
declared in one place. Numbers become float64 only here, where the annotation is float; a
`Decimal` takes its digits from the text, number or string, and never passes through a float.
"""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import inspect

from spawn.domain.dates import parse_date
from spawn.domain.errors import MAX_ERRORS, FieldError, InvalidInput
from spawn.domain.json_tokens import NumberToken, Token, describe_type

MAX_TEXT_LENGTH: Final = 200
"""Characters of a name or other free text, at most."""

MAX_ITEMS: Final = 20_000
"""Items of any series, at most: more than any calculator allows.

Converting millions of tokens to numbers is one step of the interpreter, during which no other
thread runs; longer series are rejected before it.
"""

Errors = list[FieldError]
TokenReader = Callable[[Token, str, Errors], Any]
"""A function of token and pointer; on an error it records it and returns `UNREADABLE`."""

UNREADABLE: Final = msgspec.UNSET
_DECIMAL: Final = re.compile(r"-?\d{1,18}(\.\d{1,40})?")
_MAX_DECIMALS: Final = 40
_EXACT_INTEGER: Final = 2.0**53


def compile_reader(annotation: Any) -> TokenReader:
    """Return the reader of a type: a struct, or the type of a field."""
    return _compile(inspect.type_info(annotation))


def record_error(pointer: str, code: str, detail: str, errors: Errors) -> Any:
    """Record one error, unless `MAX_ERRORS` are recorded, and return `UNREADABLE`."""
    if len(errors) < MAX_ERRORS:
        errors.append(FieldError(pointer, code, detail))
    return UNREADABLE


def escape_member_name(key: str) -> str:
    """Return a member's name as a token of a JSON Pointer (RFC 6901)."""
    return key[:MAX_TEXT_LENGTH].replace("~", "~0").replace("/", "~1")


def _compile(info: inspect.Type) -> TokenReader:
    if isinstance(info, inspect.StructType):
        return _compile_struct(info)
    if isinstance(info, inspect.UnionType):
        return _compile_union(info)
    if isinstance(info, inspect.VarTupleType):
        return _compile_series(_compile(info.item_type), tuple, is_float=_is_float(info.item_type))
    if isinstance(info, inspect.FrozenSetType):
        return _compile_series(_compile(info.item_type), frozenset)
    return _compile_leaf(info)


def _compile_leaf(info: inspect.Type) -> TokenReader:
    if isinstance(info, inspect.LiteralType):
        return _compile_choice({str(value): value for value in info.values})
    if isinstance(info, inspect.EnumType):
        return _compile_choice({str(member.value): member for member in info.cls})
    return _LEAVES[type(info)]


def _is_float(info: inspect.Type) -> bool:
    return isinstance(info, inspect.FloatType)


def _compile_struct(info: inspect.StructType) -> TokenReader:
    readers = {field.encode_name: _compile(field.type) for field in info.fields}
    names = {field.encode_name: field.name for field in info.fields}
    required = [field.encode_name for field in info.fields if field.required]

    def read(token: Token, pointer: str, errors: Errors) -> Any:
        if type(token) is not dict:
            return record_error(
                pointer, "wrong_type", f"must be an object, not {describe_type(token)}", errors
            )
        before = len(errors)
        values = _read_members(token, readers, pointer, errors)
        for name in required:
            if name not in token:
                record_error(f"{pointer}/{name}", "missing", "is required", errors)
        # Beyond the limit no error is recorded, so a full list never counts as clean.
        is_clean = len(errors) == before < MAX_ERRORS
        if not is_clean:
            return UNREADABLE
        return info.cls(**{names[name]: value for name, value in values.items()})

    return read


def _read_members(
    token: Mapping[str, Token], readers: Mapping[str, TokenReader], pointer: str, errors: Errors
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in token.items():
        reader = readers.get(name)
        if reader is None:
            names = ", ".join(readers)
            member_pointer = f"{pointer}/{escape_member_name(name)}"
            record_error(
                member_pointer, "unknown_field", f"is not a field; the fields are: {names}.", errors
            )
        else:
            values[name] = reader(value, f"{pointer}/{name}", errors)
    return values


def _compile_union(info: inspect.UnionType) -> TokenReader:
    """Return a reader of null, at most one array type and one other type."""
    array_reader = value_reader = None
    is_nullable = False
    for part in info.types:
        if isinstance(part, inspect.NoneType):
            is_nullable = True
        elif isinstance(part, inspect.VarTupleType):
            array_reader = _compile(part)
        else:
            value_reader = _compile(part)

    def read(token: Token, pointer: str, errors: Errors) -> Any:
        if token is None and is_nullable:
            return None
        if type(token) is list:
            reader = array_reader or value_reader
        else:
            reader = value_reader or array_reader
        if reader is None:
            raise TypeError(f"{info} has no part to read")
        return reader(token, pointer, errors)

    return read


def _compile_series(
    item_reader: TokenReader,
    container: type[tuple[Any, ...] | frozenset[Any]],
    *,
    is_float: bool = False,
) -> TokenReader:
    def read(token: Token, pointer: str, errors: Errors) -> Any:
        if type(token) is not list:
            return record_error(
                pointer, "wrong_type", f"must be an array, not {describe_type(token)}", errors
            )
        if len(token) > MAX_ITEMS:
            detail = f"must have at most {MAX_ITEMS} items, has {len(token)}"
            return record_error(pointer, "wrong_length", detail, errors)
        if is_float and all(type(value) is NumberToken for value in token):
            numbers = tuple(map(float, token))  # type: ignore[arg-type]  # all of them are numbers
            if math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers)):
                return numbers
        values = []
        for index, value in enumerate(token):
            values.append(item_reader(value, f"{pointer}/{index}", errors))
            if len(errors) >= MAX_ERRORS:
                return UNREADABLE
        return container(values)

    return read


def _compile_choice(values: Mapping[str, Any]) -> TokenReader:
    choices = ", ".join(values)

    def read(token: Token, pointer: str, errors: Errors) -> Any:
        if type(token) is not str:
            return record_error(
                pointer, "wrong_type", f"must be a string, not {describe_type(token)}", errors
            )
        if token not in values:
            return record_error(pointer, "not_in_enum", f"must be one of {choices}", errors)
        return values[token]

    return read


def _read_float(token: Token, pointer: str, errors: Errors) -> Any:
    if type(token) is not NumberToken:
        return record_error(
            pointer, "wrong_type", f"must be a number, not {describe_type(token)}", errors
        )
    value = float(token)
    if not math.isfinite(value):
        return record_error(pointer, "out_of_range", "is beyond float64", errors)
    return value


def _read_integer(token: Token, pointer: str, errors: Errors) -> Any:
    """Read an integer; 49.0 is one, as in JSON Schema."""
    if type(token) is not NumberToken:
        return record_error(
            pointer, "wrong_type", f"must be an integer, not {describe_type(token)}", errors
        )
    value = float(token)
    if abs(value) > _EXACT_INTEGER:
        return record_error(pointer, "out_of_range", "is too large an integer", errors)
    if not value.is_integer():
        return record_error(pointer, "wrong_type", "must be an integer", errors)
    return int(value)


def _read_text(token: Token, pointer: str, errors: Errors) -> Any:
    if type(token) is not str:
        return record_error(
            pointer, "wrong_type", f"must be a string, not {describe_type(token)}", errors
        )
    if len(token) > MAX_TEXT_LENGTH:
        return record_error(
            pointer, "too_long", f"must have at most {MAX_TEXT_LENGTH} characters", errors
        )
    return token


def _read_boolean(token: Token, pointer: str, errors: Errors) -> Any:
    if type(token) is not bool:
        return record_error(
            pointer, "wrong_type", f"must be a boolean, not {describe_type(token)}", errors
        )
    return token


def _read_date(token: Token, pointer: str, errors: Errors) -> Any:
    if type(token) is not str:
        return record_error(
            pointer, "wrong_type", f"must be a string, not {describe_type(token)}", errors
        )
    try:
        return parse_date(token, pointer=pointer)
    except InvalidInput as failure:
        (error,) = failure.errors
        return record_error(error.pointer, error.code, error.detail, errors)


def _read_decimal(token: Token, pointer: str, errors: Errors) -> Any:
    if not isinstance(token, str):
        return record_error(
            pointer, "wrong_type", f"must be a number, not {describe_type(token)}", errors
        )
    if _DECIMAL.fullmatch(token):
        return Decimal(token)
    if type(token) is str:
        return record_error(pointer, "invalid_value", "must be a decimal such as 1.15", errors)
    # A number with an exponent is valid JSON, and its digits are still exact.
    value = Decimal(token)
    exponent = value.as_tuple().exponent
    if (
        abs(value) >= Decimal(10) ** 18
        or not isinstance(exponent, int)
        or exponent < -_MAX_DECIMALS
    ):
        return record_error(pointer, "out_of_range", "has too many digits", errors)
    return value


_LEAVES: Final[dict[type[inspect.Type], TokenReader]] = {
    inspect.FloatType: _read_float,
    inspect.IntType: _read_integer,
    inspect.StrType: _read_text,
    inspect.BoolType: _read_boolean,
    inspect.DateType: _read_date,
    inspect.DecimalType: _read_decimal,
}
