"""What a schema promises of the data beyond single values: how complete, which sums agree.

Read from the member `quality` of a schema document:

    {"complete": "country_code", "threshold": 0.95, "severity": "warning"}
    {"id": "sources", "sum_of": ["debt_amount", "equity_amount"], "equals": "total_amount",
     "tolerance": 0.01, "threshold": 0.99, "severity": "error", "description": "Sources = uses."}

The rules that every schema implies need not be said. A write is never refused by a promise.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import Token
from spawn.domain.schemas.column_parser import MAX_TEXT, Members, read_identifier, text_reader
from spawn.domain.schemas.model import Column, ColumnType, Promise, TypeName
from spawn.domain.schemas.value_readers import decimal_reader, wrong_type

MAX_PROMISES: Final = 100
MAX_ADDENDS: Final = 20
MAX_WHOLE_DIGITS: Final = 24
MAX_SCALE: Final = 10
"""Digits of a column that may be added up: twenty of them fit 38 digits in any engine."""

RESERVED: Final = frozenset({"dates", "sponsor_shares"})
"""What the product promises of every schema's data, by the same names."""

_SHARE: Final = decimal_reader(ColumnType(TypeName.DECIMAL, precision=13, scale=12))
_SEVERITIES: Final = ("error", "warning")
_WHOLE: Final = Decimal(1)


def read_promises(token: Token, pointer: str, columns: Mapping[str, Column]) -> tuple[Promise, ...]:
    """The promises of a schema with these columns, core ones included.

    Raises:
        InvalidInput: naming each member that breaks a rule.
    """
    if type(token) is not list:
        raise wrong_type(pointer, "an array", token)
    if len(token) > MAX_PROMISES:
        raise InvalidInput.at(pointer, "too_many", f"has more than {MAX_PROMISES} promises")
    members = Members({}, pointer, [])
    found: list[Promise] = []
    for at, item in enumerate(token):
        try:
            promise = _read_one(item, f"{pointer}/{at}", columns)
        except InvalidInput as error:
            members.errors.extend(error.errors)
            continue
        if any((p.about, bool(p.sum_of)) == (promise.about, bool(promise.sum_of)) for p in found):
            members.refuse(str(at), "duplicate", f"promises {promise.about} twice")
        found.append(promise)
    if members.errors:
        raise InvalidInput(members.errors)
    return tuple(found)


def _read_one(token: Token, pointer: str, columns: Mapping[str, Column]) -> Promise:
    if type(token) is not dict:
        raise wrong_type(pointer, "an object", token)
    members = Members(token, pointer, [])
    complete = members.take("complete", read_identifier)
    about = members.take("id", read_identifier, complete)
    sum_of = members.take("sum_of", _read_names, ())
    equals = members.take("equals", read_identifier)
    if (complete is None) == (not sum_of or equals is None):
        detail = "promises either complete, or sum_of with equals"
        members.errors.append(FieldError(pointer, "invalid_value", detail))
    elif complete is not None:
        _check_column("complete", complete, columns, members)
    else:
        _check_sum(about, (*sum_of, str(equals)), columns, members)
    promise = Promise(
        about=complete or about or "",
        sum_of=sum_of,
        equals=equals,
        tolerance=members.take("tolerance", _read_share, Decimal(0)),
        threshold=members.take("threshold", _read_share, _WHOLE),
        severity=members.take("severity", _read_severity, "error"),
        description=members.take("description", text_reader(MAX_TEXT), ""),
    )
    if members.errors:
        raise InvalidInput(members.errors)
    return promise


def _check_column(
    member: str, name: str, columns: Mapping[str, Column], members: Members
) -> Column | None:
    column = columns.get(name)
    if column is None:
        members.refuse(member, "unknown_field", f"the schema has no column {name}")
    return column


def _check_sum(
    about: str | None, names: tuple[str, ...], columns: Mapping[str, Column], members: Members
) -> None:
    if about is None:
        members.refuse("id", "missing", "is required")
    elif about in RESERVED:
        members.refuse("id", "duplicate", f"{about} is promised by the product itself")
    for at, name in enumerate(names):
        member = "equals" if at == len(names) - 1 else f"sum_of/{at}"
        column = _check_column(member, name, columns, members)
        if column is not None and not _adds_up(column.type):
            members.refuse(member, "wrong_type", f"{name} is no number that adds up exactly")


def _adds_up(of: ColumnType) -> bool:
    if of.name is not TypeName.DECIMAL:
        return of.name in {TypeName.INTEGER, TypeName.BIGINT}
    scale = of.scale or 0
    return scale <= MAX_SCALE and (of.precision or 0) - scale <= MAX_WHOLE_DIGITS


def _read_names(token: Token, pointer: str) -> tuple[str, ...]:
    if type(token) is not list:
        raise wrong_type(pointer, "an array", token)
    if not 0 < len(token) <= MAX_ADDENDS:
        raise InvalidInput.at(pointer, "too_many", f"1 to {MAX_ADDENDS} columns")
    return tuple(read_identifier(item, f"{pointer}/{at}") for at, item in enumerate(token))


def _read_share(token: Token, pointer: str) -> Decimal:
    value = _SHARE(token, pointer)
    if not isinstance(value, Decimal) or not 0 <= value <= 1:
        raise InvalidInput.at(pointer, "out_of_range", "must be from 0 to 1")
    return value


def _read_severity(token: Token, pointer: str) -> str:
    if type(token) is not str or token not in _SEVERITIES:
        raise InvalidInput.at(pointer, "not_in_enum", f"must be one of: {', '.join(_SEVERITIES)}")
    return token
