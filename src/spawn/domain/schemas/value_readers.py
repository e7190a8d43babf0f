"""One JSON token, or one plain text, to one typed value of a column, exactly or not at all."""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from spawn.domain.dates import parse_date, parse_instant
from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import Number, Token, kind
from spawn.domain.money import CONTEXT, Rounding
from spawn.domain.schemas.linear_regex import MAX_MATCHED_LENGTH, compile_pattern
from spawn.domain.schemas.model import Column, ColumnType, TypeName, Value

Reader = Callable[[Token, str], Value]
"""Token and JSON Pointer to value; raises `InvalidInput` at the pointer. Never sees null."""

MAX_STRING_LENGTH = 10_000
"""Characters of a string whose column names no maximum."""

MAX_ROUNDED_DECIMALS = 30
"""Decimals that a number may carry when its rounding is named."""

INTEGER_RANGE: dict[TypeName, tuple[int, int]] = {
    TypeName.INTEGER: (-(2**31), 2**31 - 1),
    TypeName.BIGINT: (-(2**63), 2**63 - 1),
}

_LISTED = 20
_ZERO = Decimal(0)
_PLAIN_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.([0-9]+))?").fullmatch
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})").fullmatch


def reader_for(column: Column, *, rounding: Rounding | None = None) -> Reader:
    """The reader of a column's values: its type first, then enum, bounds, length and pattern."""
    if column.is_amount:
        read = decimal_reader(column.type, rounding=rounding, text_too=True)
    else:
        read = type_reader(column.type, rounding=rounding)
    return _checked(read, _all_checks(column))


def check_value(column: Column, value: Value, pointer: str) -> None:
    """Refuse a typed value that breaks a constraint of its column.

    Raises:
        InvalidInput: at `pointer`, the first constraint it breaks.
    """
    for check in _all_checks(column):
        check(value, pointer)


def constrained(read: Reader, column: Column) -> Reader:
    """`read`, followed by the column's enum, bounds and pattern where it has them."""
    return _checked(read, _constraints(column))


def conforms_to(column: Column) -> Callable[[Value], bool]:
    """Whether a value of the column's type is within its enum, bounds, length and pattern."""
    checks = _all_checks(column)

    def conforms(value: Value) -> bool:
        try:
            for check in checks:
                check(value, "")
        except InvalidInput:
            return False
        return True

    return conforms


def type_reader(type_: ColumnType, *, rounding: Rounding | None = None) -> Reader:
    """The reader of a type alone, without the column's constraints."""
    if type_.name is TypeName.DECIMAL:
        return decimal_reader(type_, rounding=rounding)
    if type_.name in INTEGER_RANGE:
        return _integer_reader(*INTEGER_RANGE[type_.name])
    return _SIMPLE[type_.name]


def token_of(type_: ColumnType, text: str) -> Token:
    """The JSON token that a plain text (a query parameter, a CSV cell) stands for, by type."""
    if type_.name is TypeName.BOOLEAN:
        return {"true": True, "false": False}.get(text.lower(), text)
    if type_.name in _NUMERIC and _JSON_NUMBER(text) and len(text) <= MAX_ROUNDED_DECIMALS + 50:
        return Number(text)
    return text


def decimal_reader(
    type_: ColumnType, *, rounding: Rounding | None = None, text_too: bool = False
) -> Reader:
    """The reader of exact decimals; with `text_too` a JSON string in plain notation is as good."""
    scale = type_.scale or 0
    whole = (type_.precision or 0) - scale
    digits = rf"(?:0|[1-9][0-9]{{0,{whole - 1}}})" if whole else "0"
    plain = re.compile(rf"-?{digits}" + (rf"(?:\.[0-9]{{1,{scale}}})?" if scale else "")).fullmatch
    exact = _exact_decimal(whole, scale, rounding, text_too=text_too)

    def read(token: Token, pointer: str) -> Value:
        readable = type(token) is Number or (text_too and type(token) is str)
        if readable and plain(token):  # type: ignore[arg-type]  # `readable` says it is text
            return Decimal(token) or _ZERO  # type: ignore[arg-type]  # as above; -0 becomes 0
        return exact(token, pointer)

    return read


def _exact_decimal(
    whole: int, scale: int, rounding: Rounding | None, *, text_too: bool
) -> Callable[[Token, str], Decimal]:
    """What the fast path left over: exponents, over-precise, out of range, no number at all."""
    allowed = MAX_ROUNDED_DECIMALS if rounding else scale

    def read(token: Token, pointer: str) -> Decimal:
        if type(token) is str and text_too:
            match = _PLAIN_DECIMAL(token)
            if match is None:
                detail = "is not an amount: digits, with a point before the decimals"
                raise InvalidInput.at(pointer, "pattern_mismatch", detail)
            if len(match[1] or "") > allowed:
                raise _too_precise(pointer, allowed)
        elif type(token) is not Number:
            wanted = "a number or a decimal string" if text_too else "a number"
            raise wrong_type(pointer, wanted, token)
        value = _finite(token, pointer)
        if not value:
            return _ZERO
        if value.adjusted() >= whole:
            raise _too_large(pointer, whole)
        if -_exponent(value) > allowed:
            raise _too_precise(pointer, allowed)
        if rounding is None:
            return value.quantize(Decimal(1).scaleb(max(-scale, _exponent(value))), context=CONTEXT)
        return _rounded(value, whole, scale, rounding, pointer)

    return read


def _finite(text: str, pointer: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise InvalidInput.at(pointer, "out_of_range", "is beyond any decimal") from None
    # Trailing zeros carry no information: 1.500000 has one decimal.
    return value.normalize(CONTEXT) if abs(value.adjusted()) < CONTEXT.prec else value


def _rounded(value: Decimal, whole: int, scale: int, rounding: Rounding, pointer: str) -> Decimal:
    rule = f"ROUND_{rounding.value.upper()}"
    result = value.quantize(Decimal(1).scaleb(-scale), rounding=rule, context=CONTEXT)
    if result and result.adjusted() >= whole:
        raise _too_large(pointer, whole)
    return result or _ZERO


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    # Finite by construction, so the exponent is a number; a positive one is just zeros.
    return min(exponent, 0) if isinstance(exponent, int) else 0


def _too_precise(pointer: str, scale: int) -> InvalidInput:
    return InvalidInput.at(pointer, "too_precise", f"has more than {scale} decimals")


def _too_large(pointer: str, whole: int) -> InvalidInput:
    return InvalidInput.at(
        pointer, "out_of_range", f"has more than {whole} digits before the point"
    )


def wrong_type(pointer: str, wanted: str, token: Token) -> InvalidInput:
    """The refusal of a token of another JSON type."""
    return InvalidInput.at(pointer, "wrong_type", f"must be {wanted}, not {kind(token)}")


def _integer_reader(low: int, high: int) -> Reader:
    def read(token: Token, pointer: str) -> Value:
        if type(token) is not Number:
            raise wrong_type(pointer, "an integer", token)
        value = int(token) if _INTEGER(token) else _integral(token, pointer, low, high)
        if not low <= value <= high:
            raise InvalidInput.at(pointer, "out_of_range", f"must be between {low} and {high}")
        return value

    return read


def _integral(token: str, pointer: str, low: int, high: int) -> int:
    """JSON Schema's integers include 49.0 and 4.9e1; what is huge is refused before it is built."""
    value = _finite(token, pointer)
    if value and value.adjusted() > len(str(high)):
        raise InvalidInput.at(pointer, "out_of_range", f"must be between {low} and {high}")
    if _exponent(value) < 0:
        raise InvalidInput.at(pointer, "wrong_type", "must be an integer, without a fraction")
    return int(value)


def _double(token: Token, pointer: str) -> Value:
    if type(token) is not Number:
        raise wrong_type(pointer, "a number", token)
    value = float(token)
    if value in {float("inf"), float("-inf")}:
        raise InvalidInput.at(pointer, "out_of_range", "is beyond a double-precision number")
    return value or 0.0


def _boolean(token: Token, pointer: str) -> Value:
    if type(token) is not bool:
        raise wrong_type(pointer, "true or false", token)
    return token


def _string(token: Token, pointer: str) -> Value:
    if type(token) is not str:
        raise wrong_type(pointer, "a string", token)
    return token


def read_date(token: Token, pointer: str) -> date:
    """A calendar date, `YYYY-MM-DD` and nothing else."""
    if type(token) is not str:
        raise wrong_type(pointer, "a date string", token)
    return parse_date(token, pointer=pointer)


def read_instant(token: Token, pointer: str) -> datetime:
    """An RFC 3339 instant with its offset, in UTC."""
    if type(token) is not str:
        raise wrong_type(pointer, "a timestamp string", token)
    return parse_instant(token, pointer=pointer)


_NUMERIC = frozenset({TypeName.DECIMAL, TypeName.INTEGER, TypeName.BIGINT, TypeName.DOUBLE})
_SIMPLE: dict[TypeName, Reader] = {
    TypeName.DOUBLE: _double,
    TypeName.BOOLEAN: _boolean,
    TypeName.STRING: _string,
    TypeName.DATE: read_date,
    TypeName.TIMESTAMP: read_instant,
}

_Check = Callable[[Value, str], None]


def _checked(read: Reader, checks: list[_Check]) -> Reader:
    """`read` followed by the checks, with as few calls as there are checks."""
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


def _all_checks(column: Column) -> list[_Check]:
    constraints = _constraints(column)
    if column.type.name is TypeName.STRING and column.enum is None:
        return [_length(column), *constraints]
    return constraints


def _constraints(column: Column) -> list[_Check]:
    checks: list[_Check] = []
    if column.enum is not None:
        checks.append(_membership(column.enum))
    if column.minimum is not None or column.maximum is not None:
        checks.append(_bounds(column.minimum, column.maximum))
    if column.pattern is not None:
        checks.append(_match(column.pattern))
    return checks


def longest(column: Column) -> int:
    """Characters that a value of a string column may have."""
    limit = column.type.max_length or MAX_STRING_LENGTH
    return min(limit, MAX_MATCHED_LENGTH) if column.pattern else limit


def _length(column: Column) -> _Check:
    limit = longest(column)

    def check(value: Value, pointer: str) -> None:
        if len(value) > limit:  # type: ignore[arg-type]  # only string columns have this check
            raise InvalidInput.at(pointer, "too_long", f"is longer than {limit} characters")

    return check


def _membership(enum: tuple[Value, ...]) -> _Check:
    members = frozenset(enum)
    listed = ", ".join(str(member) for member in enum[:_LISTED]) + (
        ", …" if len(enum) > _LISTED else ""
    )

    def check(value: Value, pointer: str) -> None:
        if value not in members:
            raise InvalidInput.at(pointer, "not_in_enum", f"must be one of: {listed}")

    return check


def _bounds(minimum: Value | None, maximum: Value | None) -> _Check:
    def check(value: Value, pointer: str) -> None:
        # A column's bounds have its own type, so the comparison is always one of like with like.
        if minimum is not None and value < minimum:  # type: ignore[operator]
            raise InvalidInput.at(pointer, "out_of_range", f"must be at least {minimum}")
        if maximum is not None and value > maximum:  # type: ignore[operator]
            raise InvalidInput.at(pointer, "out_of_range", f"must be at most {maximum}")

    return check


def _match(pattern: str) -> _Check:
    matches = compile_pattern(pattern)

    def check(value: Value, pointer: str) -> None:
        if not matches(value):  # type: ignore[arg-type]  # only string columns have patterns
            raise InvalidInput.at(pointer, "pattern_mismatch", f"must match the pattern {pattern}")

    return check
