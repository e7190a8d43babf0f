"""Data-quality expectations that a schema declares: completeness and sums.

They are read from the member `quality` of a schema document:

    {"complete": "country_code", "threshold": 0.95, "severity": "warning"}
    {"id": "sources", "sum_of": ["debt_amount", "equity_amount"], "equals": "total_amount",
     "tolerance": 0.01, "threshold": 0.99, "severity": "error", "description": "Sources = uses."}

Rules that every schema implies need no declaration. No expectation ever rejects a write.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import Token
from spawn.domain.schema_version import Column, ColumnType, Expectation, TypeName
from spawn.domain.schemas.column_parser import MAX_TEXT, MemberReader, read_identifier, text_reader
from spawn.domain.schemas.value_readers import decimal_reader, wrong_type_error

MAX_EXPECTATIONS: Final = 100
MAX_ADDENDS: Final = 20
MAX_WHOLE_DIGITS: Final = 24
MAX_SCALE: Final = 10
"""Digit limits of a column in a sum: twenty such columns fit 38 digits in any engine."""

RESERVED_IDS: Final = frozenset({"dates", "sponsor_shares"})
"""Rule names that the product itself uses for every schema."""

_read_share_decimal: Final = decimal_reader(ColumnType(TypeName.DECIMAL, precision=13, scale=12))
_SEVERITIES: Final = ("error", "warning")
_ONE: Final = Decimal(1)


def read_expectations(
    token: Token, pointer: str, columns: Mapping[str, Column]
) -> tuple[Expectation, ...]:
    """Read the expectations of a schema with these columns, core ones included.

    Raises:
        InvalidInput: one error for each invalid member.
    """
    if type(token) is not list:
        raise wrong_type_error(pointer, "an array", token)
    if len(token) > MAX_EXPECTATIONS:
        raise InvalidInput.at(pointer, "too_many", f"has more than {MAX_EXPECTATIONS} expectations")
    members = MemberReader({}, pointer, [])
    expectations: list[Expectation] = []
    for index, item in enumerate(token):
        try:
            expectation = _read_expectation(item, f"{pointer}/{index}", columns)
        except InvalidInput as error:
            members.errors.extend(error.errors)
            continue
        if any(_is_duplicate(expectation, other) for other in expectations):
            members.reject(str(index), "duplicate", f"{expectation.subject} is declared twice")
        expectations.append(expectation)
    if members.errors:
        raise InvalidInput(members.errors)
    return tuple(expectations)


def _is_duplicate(one: Expectation, other: Expectation) -> bool:
    return one.subject == other.subject and bool(one.sum_of) == bool(other.sum_of)


def _read_expectation(token: Token, pointer: str, columns: Mapping[str, Column]) -> Expectation:
    if type(token) is not dict:
        raise wrong_type_error(pointer, "an object", token)
    members = MemberReader(token, pointer, [])
    complete = members.read("complete", read_identifier)
    subject = members.read("id", read_identifier, complete)
    sum_of = members.read("sum_of", _read_names, ())
    equals = members.read("equals", read_identifier)
    if (complete is None) == (not sum_of or equals is None):
        detail = "needs either complete, or sum_of with equals"
        members.errors.append(FieldError(pointer, "invalid_value", detail))
    elif complete is not None:
        _check_column("complete", complete, columns, members)
    else:
        _check_sum(subject, (*sum_of, str(equals)), columns, members)
    expectation = Expectation(
        subject=complete or subject or "",
        sum_of=sum_of,
        equals=equals,
        tolerance=members.read("tolerance", _read_share, Decimal(0)),
        threshold=members.read("threshold", _read_share, _ONE),
        severity=members.read("severity", _read_severity, "error"),
        description=members.read("description", text_reader(MAX_TEXT), ""),
    )
    if members.errors:
        raise InvalidInput(members.errors)
    return expectation


def _check_column(
    member: str, name: str, columns: Mapping[str, Column], members: MemberReader
) -> Column | None:
    column = columns.get(name)
    if column is None:
        members.reject(member, "unknown_field", f"the schema has no column {name}")
    return column


def _check_sum(
    subject: str | None,
    names: tuple[str, ...],
    columns: Mapping[str, Column],
    members: MemberReader,
) -> None:
    if subject is None:
        members.reject("id", "missing", "is required")
    elif subject in RESERVED_IDS:
        members.reject("id", "duplicate", f"{subject} is a rule of the product itself")
    for index, name in enumerate(names):
        member = "equals" if index == len(names) - 1 else f"sum_of/{index}"
        column = _check_column(member, name, columns, members)
        if column is not None and not _is_summable(column.type):
            members.reject(member, "wrong_type", f"{name} cannot be added up exactly")


def _is_summable(type_: ColumnType) -> bool:
    if type_.name is not TypeName.DECIMAL:
        return type_.name in {TypeName.INTEGER, TypeName.BIGINT}
    scale = type_.scale or 0
    return scale <= MAX_SCALE and (type_.precision or 0) - scale <= MAX_WHOLE_DIGITS


def _read_names(token: Token, pointer: str) -> tuple[str, ...]:
    if type(token) is not list:
        raise wrong_type_error(pointer, "an array", token)
    if not 0 < len(token) <= MAX_ADDENDS:
        raise InvalidInput.at(pointer, "too_many", f"1 to {MAX_ADDENDS} columns")
    return tuple(read_identifier(item, f"{pointer}/{index}") for index, item in enumerate(token))


def _read_share(token: Token, pointer: str) -> Decimal:
    value = _read_share_decimal(token, pointer)
    if not isinstance(value, Decimal) or not 0 <= value <= 1:
        raise InvalidInput.at(pointer, "out_of_range", "must be from 0 to 1")
    return value


def _read_severity(token: Token, pointer: str) -> str:
    if type(token) is not str or token not in _SEVERITIES:
        raise InvalidInput.at(pointer, "not_in_enum", f"must be one of: {', '.join(_SEVERITIES)}")
    return token
