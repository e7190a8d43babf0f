"""Which type holds every value of another, and what a value is there.

A widening never changes a value, and a JSON number stays a JSON number:

| from | to |
|---|---|
| string(n) | string(m) with m ≥ n, string |
| integer | bigint, double, decimal(p,s) with p - s ≥ 10 |
| bigint | decimal(p,s) with p - s ≥ 19 |
| decimal(p,s) | decimal(q,t) with t ≥ s and q - t ≥ p - s |

Everything else is another type: a bigint or a decimal has digits that a double loses, a date is
no instant, and text says neither a number nor a day. A column whose name makes it an amount is a
string on the wire, so becoming one, or ceasing to be one, is a change of type too.
"""

from datetime import date, datetime
from decimal import Decimal

from spawn.domain.errors import InvalidInput
from spawn.domain.money import CONTEXT
from spawn.domain.schemas.model import Column, ColumnType, TypeName, Value
from spawn.domain.schemas.value_readers import INTEGER_RANGE, MAX_STRING_LENGTH

_INTEGER_DIGITS = {TypeName.INTEGER: 10, TypeName.BIGINT: 19}
_PYTHON: dict[TypeName, type] = {
    TypeName.STRING: str,
    TypeName.INTEGER: int,
    TypeName.BIGINT: int,
    TypeName.DECIMAL: Decimal,
    TypeName.DOUBLE: float,
    TypeName.BOOLEAN: bool,
    TypeName.DATE: date,
    TypeName.TIMESTAMP: datetime,
}


def same_type(before: Column, after: Column) -> bool:
    """Whether values are the same in both, on the wire too."""
    return before.type == after.type and before.is_amount == after.is_amount


def widens(before: Column, after: Column) -> bool:
    """Whether the second column's type holds every value of the first one's, by the table above."""
    if before.is_amount != after.is_amount:
        return False
    old, new = before.type, after.type
    if new.name is TypeName.STRING:
        return old.name is TypeName.STRING and _characters(old) <= _characters(new)
    if new.name is TypeName.DECIMAL:
        if old.name is TypeName.DECIMAL:
            return _whole(old) <= _whole(new) and (old.scale or 0) <= (new.scale or 0)
        return old.name in _INTEGER_DIGITS and _INTEGER_DIGITS[old.name] <= _whole(new)
    return old.name is TypeName.INTEGER and new.name in {TypeName.BIGINT, TypeName.DOUBLE}


def cast(value: Value, type_: ColumnType, pointer: str = "") -> Value:
    """The value as one of a type, exactly; also back from a wider type where it fits.

    Raises:
        InvalidInput: at `pointer`: the type has no such value.
    """
    found = _converted(value, type_)
    if found is None or not _fits(found, type_):
        raise InvalidInput.at(pointer, "wrong_type", f"is no {type_}")
    return found


def _converted(value: Value, type_: ColumnType) -> Value | None:
    wanted = _PYTHON[type_.name]
    if type(value) is wanted or (wanted is str and isinstance(value, str)):
        return value
    if not isinstance(value, int | Decimal | float) or isinstance(value, bool):
        return None
    if wanted is Decimal and not isinstance(value, float):
        return Decimal(value)
    if wanted is float and isinstance(value, int):
        return float(value) if int(float(value)) == value else None
    if wanted is int:
        return int(value) if value == int(value) else None
    return None


def _fits(value: Value, type_: ColumnType) -> bool:
    if isinstance(value, Decimal):
        parts = value.normalize(CONTEXT).as_tuple()
        exponent = int(parts.exponent)
        return not value or (
            -exponent <= (type_.scale or 0) and len(parts.digits) + exponent <= _whole(type_)
        )
    if type_.name in INTEGER_RANGE and isinstance(value, int):
        low, high = INTEGER_RANGE[type_.name]
        return low <= value <= high
    return not isinstance(value, str) or len(value) <= _characters(type_)


def _characters(type_: ColumnType) -> int:
    return type_.max_length or MAX_STRING_LENGTH


def _whole(type_: ColumnType) -> int:
    return (type_.precision or 0) - (type_.scale or 0)
