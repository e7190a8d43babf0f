"""Strict reading of JSON tokens, with an error for every invalid field.

A reader of a struct is compiled once from its annotations, so that the fields of a request are
declared in one place. Numbers become float64 only here, where the annotation is float; a
`Decimal` takes its digits from the text, number or string, and never passes through a float.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

from msgspec import inspect

from spawn.domain.dates import parse_date
from spawn.domain.errors import MAX_ERRORS, FieldError, InvalidInput
from spawn.domain.json_tokens import NumberToken, Token, describe_type
from spawn.domain.text import (
    MAX_SUGGESTIONS,
    check_line,
    check_prose,
    check_visible,
    escape_pointer_token,
    normalize,
    suggest_name,
    trim,
)

MAX_TEXT_LENGTH: Final = 200
"""Characters of a name or other free text, at most."""

MAX_ITEMS: Final = 20_000
"""Items of any series, at most: more than any calculator allows.

Converting millions of tokens to numbers is one step of the interpreter, during which no other
thread runs; longer series are rejected before it.
"""

TokenReader = Callable[[Token, str], Any]
"""Function of token and JSON Pointer; raises `InvalidInput` with every error at or below it."""

_DECIMAL: Final = re.compile(r"-?\d{1,18}(\.\d{1,40})?")
_MAX_DECIMALS: Final = 40
_EXACT_INTEGER: Final = 2.0**53
_NO_READERS: Final[Mapping[Any, TokenReader]] = {}


def compile_reader(
    annotation: Any,
    fields: Mapping[str, TokenReader] = _NO_READERS,
    types: Mapping[type[inspect.Type], TokenReader] = _NO_READERS,
    *,
    null_is_absent: bool = False,
) -> TokenReader:
    """Return the reader of a type: a struct, or the type of a field.

    `fields` replaces readers of the struct's own fields, `types` readers of a leaf type at any
    depth. With `null_is_absent`, null in a struct means that the member is left out.
    """
    return _Compiler(types, null_is_absent=null_is_absent).compile(
        inspect.type_info(annotation), fields
    )


def collect_members(
    token: Token,
    pointer: str,
    readers: Mapping[str, TokenReader],
    errors: list[FieldError],
    *,
    required: Sequence[str] = (),
    null_is_absent: bool = True,
    ignores_unknown: bool = False,
) -> dict[str, Any]:
    """Return the values of an object's valid members, and append the errors of the others.

    Raises:
        InvalidInput: the token is not an object.
    """
    if type(token) is not dict:
        raise wrong_type_error(pointer, "an object", token)
    values: dict[str, Any] = {}
    for name, value in token.items():
        reader = readers.get(name)
        if value is None and null_is_absent and reader is not None:
            continue
        member_pointer = f"{pointer}/{escape_pointer_token(name)}"
        if reader is not None:
            try:
                values[name] = reader(value, member_pointer)
            except InvalidInput as failure:
                errors.extend(failure.errors)
        elif not ignores_unknown:
            hint = suggest_name(name, readers) if len(errors) < MAX_SUGGESTIONS else ""
            detail = f"is not a field; the fields are: {', '.join(readers)}.{hint}"
            errors.append(FieldError(member_pointer, "unknown_field", detail))
        if len(errors) >= MAX_ERRORS:
            break
    errors.extend(
        FieldError(f"{pointer}/{name}", "missing", "is required")
        for name in required
        if name not in token or (null_is_absent and token[name] is None)
    )
    return values


def read_members(
    token: Token,
    pointer: str,
    readers: Mapping[str, TokenReader],
    *,
    required: Sequence[str] = (),
    null_is_absent: bool = True,
    ignores_unknown: bool = False,
) -> dict[str, Any]:
    """Return the values of an object's members.

    Raises:
        InvalidInput: the token is not an object, or a member is invalid, unknown or missing.
    """
    errors: list[FieldError] = []
    values = collect_members(
        token,
        pointer,
        readers,
        errors,
        required=required,
        null_is_absent=null_is_absent,
        ignores_unknown=ignores_unknown,
    )
    if errors:
        raise InvalidInput(errors[:MAX_ERRORS])
    return values


def wrong_type_error(pointer: str, expected_type: str, token: Token) -> InvalidInput:
    """Return the error for a token of another JSON type."""
    return InvalidInput.at(
        pointer, "wrong_type", f"must be {expected_type}, not {describe_type(token)}"
    )


class _Compiler:
    """Compiler of readers from annotations, under one set of rules."""

    def __init__(
        self, types: Mapping[type[inspect.Type], TokenReader], *, null_is_absent: bool
    ) -> None:
        self._leaves = {**_LEAVES, **types}
        self._null_is_absent = null_is_absent

    def compile(
        self, info: inspect.Type, fields: Mapping[str, TokenReader] = _NO_READERS
    ) -> TokenReader:
        if isinstance(info, inspect.Metadata):
            return self.compile(info.type, fields)  # descriptions and examples of a schema
        if isinstance(info, inspect.StructType):
            return self._compile_struct(info, fields)
        if isinstance(info, inspect.UnionType):
            return self._compile_union(info)
        if isinstance(info, inspect.VarTupleType | inspect.FrozenSetType):
            return self._compile_series(info)
        if isinstance(info, inspect.DictType):
            return self._compile_dict(info.value_type)
        return self._compile_leaf(info)

    def _compile_leaf(self, info: inspect.Type) -> TokenReader:
        if isinstance(info, inspect.LiteralType):
            return _choice_reader({str(value): value for value in info.values})
        if isinstance(info, inspect.EnumType):
            return _choice_reader({str(member.value): member for member in info.cls})
        return self._leaves[type(info)]

    def _compile_series(self, info: inspect.VarTupleType | inspect.FrozenSetType) -> TokenReader:
        is_float = isinstance(info.item_type, inspect.FloatType)
        read_items = series_reader(
            self.compile(info.item_type), MAX_ITEMS, code="wrong_length", is_float=is_float
        )
        if isinstance(info, inspect.VarTupleType):
            return read_items
        return lambda token, pointer: frozenset(read_items(token, pointer))

    def _compile_struct(
        self, info: inspect.StructType, fields: Mapping[str, TokenReader]
    ) -> TokenReader:
        readers = {
            field.encode_name: fields.get(field.encode_name) or self.compile(field.type)
            for field in info.fields
        }
        names = {field.encode_name: field.name for field in info.fields}
        required = [field.encode_name for field in info.fields if field.required]
        null_is_absent = self._null_is_absent

        def read(token: Token, pointer: str) -> Any:
            values = read_members(
                token, pointer, readers, required=required, null_is_absent=null_is_absent
            )
            return info.cls(**{names[name]: value for name, value in values.items()})

        return read

    def _compile_dict(self, value_type: inspect.Type) -> TokenReader:
        read_value = self.compile(value_type)

        def read(token: Token, pointer: str) -> Any:
            readers = dict.fromkeys(token, read_value) if type(token) is dict else {}
            return read_members(token, pointer, readers, null_is_absent=False)

        return read

    def _compile_union(self, info: inspect.UnionType) -> TokenReader:
        """Return a reader of null, at most one array type and one other type."""
        parts = [part for part in info.types if not isinstance(part, inspect.NoneType)]
        is_nullable = len(parts) < len(info.types)
        arrays = [self.compile(part) for part in parts if isinstance(part, inspect.VarTupleType)]
        others = [
            self.compile(part) for part in parts if not isinstance(part, inspect.VarTupleType)
        ]
        (read_array, *_), (read_other, *_) = arrays or others, others or arrays

        def read(token: Token, pointer: str) -> Any:
            if token is None and is_nullable:
                return None
            return (read_array if type(token) is list else read_other)(token, pointer)

        return read


def series_reader(
    read_item: TokenReader, maximum: int, *, code: str = "too_many", is_float: bool = False
) -> TokenReader:
    """Return a reader of an array as a tuple; `code` is the error of one too long."""

    def read(token: Token, pointer: str) -> tuple[Any, ...]:
        if type(token) is not list:
            raise wrong_type_error(pointer, "an array", token)
        if len(token) > maximum:
            detail = f"must have at most {maximum} items, has {len(token)}"
            raise InvalidInput.at(pointer, code, detail)
        if is_float and all(type(value) is NumberToken for value in token):
            numbers = tuple(map(float, token))  # type: ignore[arg-type]  # all of them are numbers
            if math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers)):
                return numbers
        values: list[Any] = []
        errors: list[FieldError] = []
        for index, value in enumerate(token):
            try:
                values.append(read_item(value, f"{pointer}/{index}"))
            except InvalidInput as failure:
                errors.extend(failure.errors)
                if len(errors) >= MAX_ERRORS:
                    break
        if errors:
            raise InvalidInput(errors[:MAX_ERRORS])
        return tuple(values)

    return read


def line_reader(maximum: int, *, trims: bool = True) -> Callable[[Token, str], str]:
    """Return a reader of one line of text in form C, trimmed or without blanks around it."""

    def read(token: Token, pointer: str) -> str:
        if type(token) is not str:
            raise wrong_type_error(pointer, "a string", token)
        # Printable ASCII without outer blanks is a valid line already: the usual case.
        if (
            token.isascii()
            and 0 < len(token) <= maximum
            and token.isprintable()
            and token[0] != " " != token[-1]
        ):
            return token
        text = normalize(trim(token) if trims else token)
        errors: list[FieldError] = []
        check_line(text, pointer, maximum, errors)
        if not errors:
            check_visible(text, pointer, errors)
        if errors:
            raise InvalidInput(errors)
        return text

    return read


def prose_reader(maximum: int, *, allows_blank: bool = True) -> Callable[[Token, str], str]:
    """Return a reader of free text, line breaks allowed."""

    def read(token: Token, pointer: str) -> str:
        text = read_string(token, pointer)
        if not allows_blank and not text.strip():
            raise InvalidInput.at(pointer, "empty", "must not be empty")
        errors: list[FieldError] = []
        check_prose(text, pointer, maximum, errors)
        if errors:
            raise InvalidInput(errors)
        return text

    return read


def _choice_reader(values: Mapping[str, Any]) -> TokenReader:
    choices = ", ".join(values)

    def read(token: Token, pointer: str) -> Any:
        text = read_string(token, pointer)
        if text not in values:
            raise InvalidInput.at(pointer, "not_in_enum", f"must be one of {choices}")
        return values[text]

    return read


def text_reader(parse: Callable[[str], Any]) -> TokenReader:
    """Return the reader of a text in a form of its own.

    Args:
        parse: the parser, which raises ValueError or InvalidInput for a malformed text.
    """

    def read(token: Token, pointer: str) -> Any:
        try:
            return parse(read_string(token, pointer))
        except InvalidInput as failure:
            raise InvalidInput.at(pointer, "malformed", failure.errors[0].detail) from failure
        except ValueError as failure:
            raise InvalidInput.at(pointer, "malformed", str(failure)) from failure

    return read


def number_text_reader(type_: inspect.IntType | inspect.FloatType) -> TokenReader:
    """Return the reader of a number in a text, within the bounds of its annotation."""
    low, high = type_.ge or 0, type_.le or 0
    pattern = r"\d{1,9}" if isinstance(type_, inspect.IntType) else r"\d{1,9}(\.\d{1,6})?"
    convert = int if isinstance(type_, inspect.IntType) else float

    def parse(text: str) -> float:
        if not re.fullmatch(pattern, text) or not low <= float(text) <= high:
            raise ValueError(f"a number {low:g} to {high:g} is expected")
        return convert(text)

    return text_reader(parse)


def folded_reader(annotation: Any, fold: Callable[[str], str]) -> TokenReader:
    """Return the reader of one of several texts, whose case does not matter."""
    read_choice = compile_reader(annotation)
    return lambda token, pointer: read_choice(fold(read_string(token, pointer)), pointer)


def read_string(token: Token, pointer: str) -> str:
    """Read a string of any length."""
    if type(token) is not str:
        raise wrong_type_error(pointer, "a string", token)
    return token


def read_boolean(token: Token, pointer: str) -> bool:
    """Read true or false."""
    if type(token) is not bool:
        raise wrong_type_error(pointer, "true or false", token)
    return token


def read_date(token: Token, pointer: str) -> date:
    """Read a calendar date, `YYYY-MM-DD` only."""
    if type(token) is not str:
        raise wrong_type_error(pointer, "a date string", token)
    return parse_date(token, pointer=pointer)


def _read_short_text(token: Token, pointer: str) -> str:
    text = read_string(token, pointer)
    if len(text) > MAX_TEXT_LENGTH:
        detail = f"must have at most {MAX_TEXT_LENGTH} characters"
        raise InvalidInput.at(pointer, "too_long", detail)
    return text


def _read_float(token: Token, pointer: str) -> float:
    if type(token) is not NumberToken:
        raise wrong_type_error(pointer, "a number", token)
    value = float(token)
    if not math.isfinite(value):
        raise InvalidInput.at(pointer, "out_of_range", "is beyond float64")
    return value


def _read_integer(token: Token, pointer: str) -> int:
    """Read an integer; 49.0 is one, as in JSON Schema."""
    if type(token) is not NumberToken:
        raise wrong_type_error(pointer, "an integer", token)
    value = float(token)
    if abs(value) > _EXACT_INTEGER:
        raise InvalidInput.at(pointer, "out_of_range", "is too large an integer")
    if not value.is_integer():
        raise InvalidInput.at(pointer, "wrong_type", "must be an integer")
    return int(value)


def _read_decimal(token: Token, pointer: str) -> Decimal:
    if not isinstance(token, str):
        raise wrong_type_error(pointer, "a number", token)
    if _DECIMAL.fullmatch(token):
        return Decimal(token)
    if type(token) is str:
        raise InvalidInput.at(pointer, "invalid_value", "must be a decimal such as 1.15")
    # A number with an exponent is valid JSON, and its digits are still exact.
    value = Decimal(token)
    exponent = value.as_tuple().exponent
    if (
        abs(value) >= Decimal(10) ** 18
        or not isinstance(exponent, int)
        or exponent < -_MAX_DECIMALS
    ):
        raise InvalidInput.at(pointer, "out_of_range", "has too many digits")
    return value


_LEAVES: Final[dict[type[inspect.Type], TokenReader]] = {
    inspect.FloatType: _read_float,
    inspect.IntType: _read_integer,
    inspect.StrType: _read_short_text,
    inspect.BoolType: read_boolean,
    inspect.DateType: read_date,
    inspect.DecimalType: _read_decimal,
}
