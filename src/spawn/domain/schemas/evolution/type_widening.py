"""Type widening: types that hold every value of another, and exact value conversion.

A widening never changes a value, and a JSON number stays a JSON number:

| from | to |
|---|---|
| string(n) | string(m) with m ≥ n, string |
| integer | bigint, double, decimal(p,s) with p - s ≥ 10 |
| bigint | decimal(p,s) with p - s ≥ 19 |
| decimal(p,s) | decimal(q,t) with t ≥ s and q - t ≥ p - s |

Everything else changes the type: a bigint or a decimal has digits that a double loses, a date is
no instant, and text is neither a number nor a date. A column whose name makes it an amount is a
string on the wire, so becoming an amount, or ceasing to be one, changes the type too.
"""

from datetime import date, datetime
from decimal import Decimal

from spawn.domain.errors import InvalidInput
from spawn.domain.money import DECIMAL_CONTEXT
from spawn.domain.schema_version import Column, ColumnType, TypeName, Value
from spawn.domain.schemas.value_readers import INTEGER_RANGE, MAX_STRING_LENGTH

_INTEGER_DIGITS = {TypeName.INTEGER: 10, TypeName.BIGINT: 19}
_PYTHON_TYPES: dict[TypeName, type] = {
    TypeName.STRING: str,
    TypeName.INTEGER: int,
    TypeName.BIGINT: int,
    TypeName.DECIMAL: Decimal,
    TypeName.DOUBLE: float,
    TypeName.BOOLEAN: bool,
    TypeName.DATE: date,
    TypeName.TIMESTAMP: datetime,
}


def has_same_type(before: Column, after: Column) -> bool:
    """Whether both columns have the same values, also on the wire."""
    return before.type == after.type and before.is_amount == after.is_amount


def is_widening(before: Column, after: Column) -> bool:
    """Whether the second type holds every value of the first, by the table above."""
    return before.is_amount == after.is_amount and is_wider_type(before.type, after.type)


def is_wider_type(old: ColumnType, new: ColumnType) -> bool:
    """Whether the second type holds every value of the first; the wire may differ."""
    if new.name is TypeName.STRING:
        return old.name is TypeName.STRING and _max_characters(old) <= _max_characters(new)
    if new.name is TypeName.DECIMAL:
        if old.name is TypeName.DECIMAL:
            return _integer_digits(old) <= _integer_digits(new) and (old.scale or 0) <= (
                new.scale or 0
            )
        return old.name in _INTEGER_DIGITS and _INTEGER_DIGITS[old.name] <= _integer_digits(new)
    return old.name is TypeName.INTEGER and new.name in {TypeName.BIGINT, TypeName.DOUBLE}


def cast_value(value: Value, type_: ColumnType, pointer: str = "") -> Value:
    """Convert a value to a type exactly, also from a wider type if it fits.

    Raises:
        InvalidInput: at `pointer`, if the type has no such value.
    """
    result = _convert(value, type_)
    if result is None or not _fits(result, type_):
        raise InvalidInput.at(pointer, "wrong_type", f"is no {type_}")
    return result


def _convert(value: Value, type_: ColumnType) -> Value | None:
    python_type = _PYTHON_TYPES[type_.name]
    if type(value) is python_type or (python_type is str and isinstance(value, str)):
        return value
    if not isinstance(value, int | Decimal | float) or isinstance(value, bool):
        return None
    if python_type is Decimal and not isinstance(value, float):
        return Decimal(value)
    if python_type is float and isinstance(value, int):
        return float(value) if int(float(value)) == value else None
    if python_type is int:
        return int(value) if value == int(value) else None
    return None


def _fits(value: Value, type_: ColumnType) -> bool:
    if isinstance(value, Decimal):
        decimal_tuple = value.normalize(DECIMAL_CONTEXT).as_tuple()
        exponent = int(decimal_tuple.exponent)
        return not value or (
            -exponent <= (type_.scale or 0)
            and len(decimal_tuple.digits) + exponent <= _integer_digits(type_)
        )
    if type_.name in INTEGER_RANGE and isinstance(value, int):
        low, high = INTEGER_RANGE[type_.name]
        return low <= value <= high
    return not isinstance(value, str) or len(value) <= _max_characters(type_)


def _max_characters(type_: ColumnType) -> int:
    return type_.max_length or MAX_STRING_LENGTH


def _integer_digits(type_: ColumnType) -> int:
    return (type_.precision or 0) - (type_.scale or 0)
