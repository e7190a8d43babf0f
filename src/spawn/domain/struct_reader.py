"""Typed values out of exact tokens: every field that does not fit is named, not the first alone.

A reader is compiled once from a struct's own annotations, so that what a calculator takes is
declared in one place. Numbers become float64 only here, where the annotation says float; a
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
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.limits import MAX_ERRORS
from spawn.domain.json_tokens import Number, Token, kind

MAX_TEXT: Final = 200
"""Characters of a name or another free text."""

MAX_ITEMS: Final = 20_000
"""Items of any series: more than any calculator takes. Turning millions of tokens into numbers is
one step of the interpreter, during which no other thread has its turn: they are refused before."""

Errors = list[FieldError]
Reader = Callable[[Token, str, Errors], Any]
"""Token and pointer to value; what does not fit is added to the errors and gives `UNREADABLE`."""

UNREADABLE: Final = msgspec.UNSET
_DECIMAL: Final = re.compile(r"-?\d{1,18}(\.\d{1,40})?")
_MAX_DECIMALS: Final = 40
_EXACT_INTEGER: Final = 2.0**53


def reader_of(annotation: Any) -> Reader:
    """The reader of a type: a struct, or whatever its fields are made of."""
    return _compile(inspect.type_info(annotation))


def refuse(pointer: str, code: str, detail: str, errors: Errors) -> Any:
    """Record one offence; what was to be read is unreadable."""
    if len(errors) < MAX_ERRORS:
        errors.append(FieldError(pointer, code, detail))
    return UNREADABLE


def escaped(key: str) -> str:
    """A member's name as a token of a JSON Pointer (RFC 6901)."""
    return key[:MAX_TEXT].replace("~", "~0").replace("/", "~1")


def _compile(info: inspect.Type) -> Reader:
    if isinstance(info, inspect.StructType):
        return _struct(info)
    if isinstance(info, inspect.UnionType):
        return _union(info)
    if isinstance(info, inspect.VarTupleType):
        return _series(_compile(info.item_type), tuple, floats=_is_float(info.item_type))
    if isinstance(info, inspect.FrozenSetType):
        return _series(_compile(info.item_type), frozenset)
    return _leaf(info)


def _leaf(info: inspect.Type) -> Reader:
    if isinstance(info, inspect.LiteralType):
        return _choice({str(value): value for value in info.values})
    if isinstance(info, inspect.EnumType):
        return _choice({str(member.value): member for member in info.cls})
    return _LEAVES[type(info)]


def _is_float(info: inspect.Type) -> bool:
    return isinstance(info, inspect.FloatType)


def _struct(info: inspect.StructType) -> Reader:
    readers = {field.encode_name: _compile(field.type) for field in info.fields}
    names = {field.encode_name: field.name for field in info.fields}
    required = [field.encode_name for field in info.fields if field.required]

    def read(token: Token, pointer: str, errors: Errors) -> Any:
        if type(token) is not dict:
            return refuse(pointer, "wrong_type", f"must be an object, not {kind(token)}", errors)
        before = len(errors)
        values = _members(token, readers, pointer, errors)
        for name in required:
            if name not in token:
                refuse(f"{pointer}/{name}", "missing", "is required", errors)
        # Beyond the bound nothing is recorded any more, so that a full list is no clean one.
        clean = len(errors) == before < MAX_ERRORS
        if not clean:
            return UNREADABLE
        return info.cls(**{names[name]: value for name, value in values.items()})

    return read


def _members(
    token: Mapping[str, Token], readers: Mapping[str, Reader], pointer: str, errors: Errors
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in token.items():
        reader = readers.get(name)
        if reader is None:
            known = ", ".join(readers)
            place = f"{pointer}/{escaped(name)}"
            refuse(place, "unknown_field", f"There is no such field; there are: {known}.", errors)
        else:
            values[name] = reader(value, f"{pointer}/{name}", errors)
    return values


def _union(info: inspect.UnionType) -> Reader:
    """At most one reader for arrays and one for other values, besides null."""
    many = one = None
    nullable = False
    for part in info.types:
        if isinstance(part, inspect.NoneType):
            nullable = True
        elif isinstance(part, inspect.VarTupleType):
            many = _compile(part)
        else:
            one = _compile(part)

    def read(token: Token, pointer: str, errors: Errors) -> Any:
        if token is None and nullable:
            return None
        chosen = (many or one) if type(token) is list else (one or many)
        if chosen is None:
            raise TypeError(f"{info} has no part to read")
        return chosen(token, pointer, errors)

    return read


def _series(
    item: Reader, make: type[tuple[Any, ...] | frozenset[Any]], *, floats: bool = False
) -> Reader:
    def read(token: Token, pointer: str, errors: Errors) -> Any:
        if type(token) is not list:
            return refuse(pointer, "wrong_type", f"must be an array, not {kind(token)}", errors)
        if len(token) > MAX_ITEMS:
            detail = f"must have at most {MAX_ITEMS} items, has {len(token)}"
            return refuse(pointer, "wrong_length", detail, errors)
        if floats and all(type(value) is Number for value in token):
            numbers = tuple(map(float, token))  # type: ignore[arg-type]  # all of them are numbers
            if math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers)):
                return numbers
        values = []
        for index, value in enumerate(token):
            values.append(item(value, f"{pointer}/{index}", errors))
            if len(errors) >= MAX_ERRORS:
                return UNREADABLE
        return make(values)

    return read


def _choice(values: Mapping[str, Any]) -> Reader:
    listed = ", ".join(values)

    def read(token: Token, pointer: str, errors: Errors) -> Any:
        if type(token) is not str:
            return refuse(pointer, "wrong_type", f"must be a string, not {kind(token)}", errors)
        if token not in values:
            return refuse(pointer, "not_in_enum", f"must be one of {listed}", errors)
        return values[token]

    return read


def _float(token: Token, pointer: str, errors: Errors) -> Any:
    if type(token) is not Number:
        return refuse(pointer, "wrong_type", f"must be a number, not {kind(token)}", errors)
    value = float(token)
    if not math.isfinite(value):
        return refuse(pointer, "out_of_range", "is beyond float64", errors)
    return value


def _integer(token: Token, pointer: str, errors: Errors) -> Any:
    """JSON Schema counts 49.0 among the integers, and so does this."""
    if type(token) is not Number:
        return refuse(pointer, "wrong_type", f"must be an integer, not {kind(token)}", errors)
    value = float(token)
    if abs(value) > _EXACT_INTEGER:
        return refuse(pointer, "out_of_range", "is too large an integer", errors)
    if not value.is_integer():
        return refuse(pointer, "wrong_type", "must be an integer", errors)
    return int(value)


def _text(token: Token, pointer: str, errors: Errors) -> Any:
    if type(token) is not str:
        return refuse(pointer, "wrong_type", f"must be a string, not {kind(token)}", errors)
    if len(token) > MAX_TEXT:
        return refuse(pointer, "too_long", f"has at most {MAX_TEXT} characters", errors)
    return token


def _flag(token: Token, pointer: str, errors: Errors) -> Any:
    if type(token) is not bool:
        return refuse(pointer, "wrong_type", f"must be a boolean, not {kind(token)}", errors)
    return token


def _day(token: Token, pointer: str, errors: Errors) -> Any:
    if type(token) is not str:
        return refuse(pointer, "wrong_type", f"must be a string, not {kind(token)}", errors)
    try:
        return parse_date(token, pointer=pointer)
    except InvalidInput as failure:
        (error,) = failure.errors
        return refuse(error.pointer, error.code, error.detail, errors)


def _decimal(token: Token, pointer: str, errors: Errors) -> Any:
    if not isinstance(token, str):
        return refuse(pointer, "wrong_type", f"must be a number, not {kind(token)}", errors)
    if _DECIMAL.fullmatch(token):
        return Decimal(token)
    if type(token) is str:
        return refuse(pointer, "invalid_value", "must be a decimal such as 1.15", errors)
    # A number with an exponent: JSON allows it, and its digits are still exact.
    value = Decimal(token)
    exponent = value.as_tuple().exponent
    if (
        abs(value) >= Decimal(10) ** 18
        or not isinstance(exponent, int)
        or exponent < -_MAX_DECIMALS
    ):
        return refuse(pointer, "out_of_range", "has too many digits", errors)
    return value


_LEAVES: Final[dict[type[inspect.Type], Reader]] = {
    inspect.FloatType: _float,
    inspect.IntType: _integer,
    inspect.StrType: _text,
    inspect.BoolType: _flag,
    inspect.DateType: _day,
    inspect.DecimalType: _decimal,
}
