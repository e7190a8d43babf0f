"""Readers from a JSON token or plain text to an exact typed column value."""

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from spawn.domain.dates import parse_instant
from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import NumberToken, Token
from spawn.domain.money import DECIMAL_CONTEXT, Rounding
from spawn.domain.projects.codes import CodeField
from spawn.domain.projects.lifecycle import ProjectStatus, parse_status
from spawn.domain.schema_version import Column, ColumnType, TypeName, Value
from spawn.domain.schemas.linear_regex import (
    MAX_MATCHED_LENGTH,
    compile_pattern,
    find_shortest_match,
)
from spawn.domain.struct_reader import read_boolean, read_date, read_string, wrong_type_error

ValueReader = Callable[[Token, str], Value]
"""Function of token and JSON Pointer; raises `InvalidInput` there. Never called with null."""

MAX_STRING_LENGTH = 10_000
"""Maximum characters of a string whose column declares no length."""

MAX_ROUNDED_DECIMALS = 30
"""Maximum decimals of a number when a rounding mode is set."""

INTEGER_RANGE: dict[TypeName, tuple[int, int]] = {
    TypeName.INTEGER: (-(2**31), 2**31 - 1),
    TypeName.BIGINT: (-(2**63), 2**63 - 1),
}

_MAX_LISTED_MEMBERS = 20
_ZERO = Decimal(0)
_PLAIN_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.([0-9]+))?").fullmatch
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})").fullmatch


def column_reader(column: Column, *, rounding: Rounding | None = None) -> ValueReader:
    """Return a reader of a column: type, then enum, bounds, length and pattern."""
    if column.is_amount:
        read = decimal_reader(column.type, rounding=rounding, accept_text=True)
    else:
        read = type_reader(column.type, rounding=rounding)
    return _with_checks(read, _build_all_checks(column))


def check_value(column: Column, value: Value, pointer: str) -> None:
    """Reject a typed value that violates a constraint of its column.

    Raises:
        InvalidInput: at `pointer`, for the first violation.
    """
    for check in _build_all_checks(column):
        check(value, pointer)


def with_constraints(read: ValueReader, column: Column) -> ValueReader:
    """Return `read` followed by checks of the column's enum, bounds and pattern."""
    return _with_checks(read, _build_constraint_checks(column))


def column_predicate(column: Column) -> Callable[[Value], bool]:
    """Return a predicate for the column's enum, bounds, length and pattern."""
    checks = _build_all_checks(column)

    def conforms(value: Value) -> bool:
        try:
            for check in checks:
                check(value, "")
        except InvalidInput:
            return False
        return True

    return conforms


def type_reader(type_: ColumnType, *, rounding: Rounding | None = None) -> ValueReader:
    """Return a reader of a type, without constraints of a column."""
    if type_.name is TypeName.DECIMAL:
        return decimal_reader(type_, rounding=rounding)
    if type_.name in INTEGER_RANGE:
        return _integer_reader(*INTEGER_RANGE[type_.name])
    return _TYPE_READERS[type_.name]


def token_from_text(type_: ColumnType, text: str) -> Token:
    """Return the JSON token for plain text (query parameter, CSV cell) by type."""
    if type_.name is TypeName.BOOLEAN:
        return {"true": True, "false": False}.get(text.lower(), text)
    if type_.name in _NUMERIC and _JSON_NUMBER(text) and len(text) <= MAX_ROUNDED_DECIMALS + 50:
        return NumberToken(text)
    # RFC 3339 allows a blank for the eyes of people; the format of JSON Schema does not.
    return text.replace(" ", "T", 1) if type_.name is TypeName.TIMESTAMP else text


def decimal_reader(
    type_: ColumnType, *, rounding: Rounding | None = None, accept_text: bool = False
) -> ValueReader:
    """Return a reader of exact decimals; `accept_text` admits strings in plain notation."""
    scale = type_.scale or 0
    integer_digits = (type_.precision or 0) - scale
    digits = rf"(?:0|[1-9][0-9]{{0,{integer_digits - 1}}})" if integer_digits else "0"
    match_plain = re.compile(
        rf"-?{digits}" + (rf"(?:\.[0-9]{{1,{scale}}})?" if scale else "")
    ).fullmatch
    read_exactly = _build_exact_reader(integer_digits, scale, rounding, accept_text=accept_text)

    def read(token: Token, pointer: str) -> Value:
        is_readable = type(token) is NumberToken or (accept_text and type(token) is str)
        if is_readable and match_plain(token):  # type: ignore[arg-type]  # checked by `is_readable`
            return Decimal(token) or _ZERO  # type: ignore[arg-type]  # as above; -0 becomes 0
        return read_exactly(token, pointer)

    return read


def _build_exact_reader(
    integer_digits: int, scale: int, rounding: Rounding | None, *, accept_text: bool
) -> Callable[[Token, str], Decimal]:
    """Return the slow path: exponents, excess decimals, out of range, wrong types."""
    max_decimals = MAX_ROUNDED_DECIMALS if rounding else scale

    def read(token: Token, pointer: str) -> Decimal:
        if type(token) is str and accept_text:
            match = _PLAIN_DECIMAL(token)
            if match is None:
                detail = "is not an amount: digits, with a point before the decimals"
                raise InvalidInput.at(pointer, "pattern_mismatch", detail)
            if len(match[1] or "") > max_decimals:
                raise _too_precise_error(pointer, max_decimals)
        elif type(token) is not NumberToken:
            expected_type = "a number or a decimal string" if accept_text else "a number"
            raise wrong_type_error(pointer, expected_type, token)
        value = _parse_finite(token, pointer)
        if not value:
            return _ZERO
        if value.adjusted() >= integer_digits:
            raise _too_large_error(pointer, integer_digits)
        if -_get_exponent(value) > max_decimals:
            raise _too_precise_error(pointer, max_decimals)
        if rounding is None:
            return value.quantize(
                Decimal(1).scaleb(max(-scale, _get_exponent(value))), context=DECIMAL_CONTEXT
            )
        return _round(value, integer_digits, scale, rounding, pointer)

    return read


def _parse_finite(text: str, pointer: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise InvalidInput.at(pointer, "out_of_range", "is beyond any decimal") from None
    # Trailing zeros carry no information: 1.500000 has one decimal.
    return (
        value.normalize(DECIMAL_CONTEXT) if abs(value.adjusted()) < DECIMAL_CONTEXT.prec else value
    )


def _round(
    value: Decimal, integer_digits: int, scale: int, rounding: Rounding, pointer: str
) -> Decimal:
    rule = f"ROUND_{rounding.value.upper()}"
    result = value.quantize(Decimal(1).scaleb(-scale), rounding=rule, context=DECIMAL_CONTEXT)
    if result and result.adjusted() >= integer_digits:
        raise _too_large_error(pointer, integer_digits)
    return result or _ZERO


def _get_exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    # Finite by construction, so the exponent is a number; a positive one adds only zeros.
    return min(exponent, 0) if isinstance(exponent, int) else 0


def _too_precise_error(pointer: str, scale: int) -> InvalidInput:
    return InvalidInput.at(pointer, "too_precise", f"has more than {scale} decimals")


def _too_large_error(pointer: str, integer_digits: int) -> InvalidInput:
    return InvalidInput.at(
        pointer, "out_of_range", f"has more than {integer_digits} digits before the point"
    )


def _integer_reader(low: int, high: int) -> ValueReader:
    def read(token: Token, pointer: str) -> Value:
        if type(token) is not NumberToken:
            raise wrong_type_error(pointer, "an integer", token)
        value = int(token) if _INTEGER(token) else _integral(token, pointer, low, high)
        if not low <= value <= high:
            raise InvalidInput.at(pointer, "out_of_range", f"must be between {low} and {high}")
        return value

    return read


def _integral(token: str, pointer: str, low: int, high: int) -> int:
    """Read integers such as 49.0 and 4.9e1; reject huge ones before building them."""
    value = _parse_finite(token, pointer)
    if value and value.adjusted() > len(str(high)):
        raise InvalidInput.at(pointer, "out_of_range", f"must be between {low} and {high}")
    if _get_exponent(value) < 0:
        raise InvalidInput.at(pointer, "wrong_type", "must be an integer, without a fraction")
    return int(value)


_NONZERO_DIGIT: Final = re.compile(r"-?[0.]*[1-9]")


def _read_double(token: Token, pointer: str) -> Value:
    if type(token) is not NumberToken:
        raise wrong_type_error(pointer, "a number", token)
    value = float(token)
    if value in {float("inf"), float("-inf")}:
        raise InvalidInput.at(pointer, "out_of_range", "is beyond a double-precision number")
    if not value and _NONZERO_DIGIT.match(token):
        detail = "is nearer to zero than a double-precision number can be"
        raise InvalidInput.at(pointer, "out_of_range", detail)
    return value or 0.0


def read_instant(token: Token, pointer: str) -> datetime:
    """Read an RFC 3339 instant with offset, in UTC."""
    if type(token) is not str:
        raise wrong_type_error(pointer, "a timestamp string", token)
    if " " in token:
        raise InvalidInput.at(pointer, "not_an_instant", "has T between the date and the time")
    return parse_instant(token, pointer=pointer)


def code_reader(field: CodeField) -> Callable[[Token, str], str]:
    """Return the reader of a code of a closed list."""
    parse = field.parse
    return lambda token, pointer: parse(read_string(token, pointer), pointer=pointer)


def read_status(token: Token, pointer: str) -> ProjectStatus:
    """Read a status; `ACTIVE` is an alias of OPERATION."""
    return parse_status(read_string(token, pointer), pointer=pointer)


_NUMERIC = frozenset({TypeName.DECIMAL, TypeName.INTEGER, TypeName.BIGINT, TypeName.DOUBLE})
_TYPE_READERS: dict[TypeName, ValueReader] = {
    TypeName.DOUBLE: _read_double,
    TypeName.BOOLEAN: read_boolean,
    TypeName.STRING: read_string,
    TypeName.DATE: read_date,
    TypeName.TIMESTAMP: read_instant,
}

_Check = Callable[[Value, str], None]


def _with_checks(read: ValueReader, checks: list[_Check]) -> ValueReader:
    """Return `read` followed by the checks; one check needs no loop."""
    if not checks:
        return read
    if len(checks) == 1:
        only = checks[0]

        def read_checked(token: Token, pointer: str) -> Value:
            value = read(token, pointer)
            only(value, pointer)
            return value

        return read_checked

    def read_all_checked(token: Token, pointer: str) -> Value:
        value = read(token, pointer)
        for check in checks:
            check(value, pointer)
        return value

    return read_all_checked


def _build_all_checks(column: Column) -> list[_Check]:
    constraints = _build_constraint_checks(column)
    if column.type.name is TypeName.STRING and column.enum is None:
        return [_build_length_check(column), *constraints]
    return constraints


def _build_constraint_checks(column: Column) -> list[_Check]:
    checks: list[_Check] = []
    if column.enum is not None:
        checks.append(_build_enum_check(column.enum))
    if column.minimum is not None or column.maximum is not None:
        checks.append(_build_bounds_check(column.minimum, column.maximum))
    if column.pattern is not None:
        checks.append(_build_pattern_check(column.pattern))
    return checks


def max_characters(column: Column) -> int:
    """Return the maximum length of a string column in characters."""
    limit = column.type.max_length or MAX_STRING_LENGTH
    return min(limit, MAX_MATCHED_LENGTH) if column.pattern else limit


def find_contradiction(column: Column) -> str:
    """Return why no text is valid in a string column; empty if one may be."""
    if column.pattern is None or column.type.name is not TypeName.STRING:
        return ""
    fewest, limit = find_shortest_match(column.pattern), max_characters(column)
    if fewest is None:
        return "no text matches its pattern"
    if fewest > limit:
        return f"its pattern needs {fewest} characters, and it has at most {limit}"
    return ""


def _build_length_check(column: Column) -> _Check:
    limit = max_characters(column)

    def check(value: Value, pointer: str) -> None:
        if len(value) > limit:  # type: ignore[arg-type]  # only string columns have this check
            raise InvalidInput.at(pointer, "too_long", f"is longer than {limit} characters")

    return check


def _build_enum_check(enum: tuple[Value, ...]) -> _Check:
    members = frozenset(enum)
    member_list = ", ".join(str(member) for member in enum[:_MAX_LISTED_MEMBERS]) + (
        ", …" if len(enum) > _MAX_LISTED_MEMBERS else ""
    )

    def check(value: Value, pointer: str) -> None:
        if value not in members:
            raise InvalidInput.at(pointer, "not_in_enum", f"must be one of: {member_list}")

    return check


def _build_bounds_check(minimum: Value | None, maximum: Value | None) -> _Check:
    def check(value: Value, pointer: str) -> None:
        # A column's bounds have its own type, so the comparison is always one of like with like.
        if minimum is not None and value < minimum:  # type: ignore[operator]
            raise InvalidInput.at(pointer, "out_of_range", f"must be at least {minimum}")
        if maximum is not None and value > maximum:  # type: ignore[operator]
            raise InvalidInput.at(pointer, "out_of_range", f"must be at most {maximum}")

    return check


def _build_pattern_check(pattern: str) -> _Check:
    matches = compile_pattern(pattern)

    def check(value: Value, pointer: str) -> None:
        if not matches(value):  # type: ignore[arg-type]  # only string columns have patterns
            raise InvalidInput.at(pointer, "pattern_mismatch", f"must match the pattern {pattern}")

    return check
