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
from spawn.domain.schemas.column_parser import MAX_TEXT, read_identifier
from spawn.domain.schemas.value_readers import decimal_reader
from spawn.domain.struct_reader import (
    TokenReader,
    collect_members,
    prose_reader,
    series_reader,
    wrong_type_error,
)

MAX_EXPECTATIONS: Final = 100
MAX_ADDENDS: Final = 20
MAX_WHOLE_DIGITS: Final = 24
MAX_SCALE: Final = 10
"""Digit limits of a column in a sum: twenty such columns fit 38 digits in any engine."""

RESERVED_IDS: Final = frozenset({"dates", "sponsor_shares"})
"""Rule names that the product itself uses for every schema."""

_read_share_decimal: Final = decimal_reader(ColumnType(TypeName.DECIMAL, precision=13, scale=12))
_SEVERITIES: Final = ("error", "warning")
_read_identifiers: Final = series_reader(read_identifier, MAX_ADDENDS)


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
    errors: list[FieldError] = []
    expectations: list[Expectation] = []
    for index, item in enumerate(token):
        try:
            expectation = _read_expectation(item, f"{pointer}/{index}", columns)
        except InvalidInput as error:
            errors.extend(error.errors)
            continue
        if any(_is_duplicate(expectation, other) for other in expectations):
            detail = f"{expectation.subject} is declared twice"
            errors.append(FieldError(f"{pointer}/{index}", "duplicate", detail))
        expectations.append(expectation)
    if errors:
        raise InvalidInput(errors)
    return tuple(expectations)


def _is_duplicate(one: Expectation, other: Expectation) -> bool:
    return one.subject == other.subject and bool(one.sum_of) == bool(other.sum_of)


def _read_expectation(token: Token, pointer: str, columns: Mapping[str, Column]) -> Expectation:
    errors: list[FieldError] = []
    members = collect_members(token, pointer, _MEMBER_READERS, errors, ignores_unknown=True)
    complete, equals = members.pop("complete", None), members.get("equals")
    subject = members.pop("id", complete)
    sum_of = members.get("sum_of", ())
    if (complete is None) == (not sum_of or equals is None):
        detail = "needs either complete, or sum_of with equals"
        errors.append(FieldError(pointer, "invalid_value", detail))
    elif complete is not None:
        _find_column(f"{pointer}/complete", complete, columns, errors)
    else:
        _check_sum(pointer, subject, (*sum_of, str(equals)), columns, errors)
    if errors:
        raise InvalidInput(errors)
    return Expectation(subject=complete or subject or "", **members)


def _find_column(
    pointer: str, name: str, columns: Mapping[str, Column], errors: list[FieldError]
) -> Column | None:
    column = columns.get(name)
    if column is None:
        errors.append(FieldError(pointer, "unknown_field", f"the schema has no column {name}"))
    return column


def _check_sum(
    pointer: str,
    subject: str | None,
    names: tuple[str, ...],
    columns: Mapping[str, Column],
    errors: list[FieldError],
) -> None:
    if subject is None:
        errors.append(FieldError(f"{pointer}/id", "missing", "is required"))
    elif subject in RESERVED_IDS:
        detail = f"{subject} is a rule of the product itself"
        errors.append(FieldError(f"{pointer}/id", "duplicate", detail))
    for index, name in enumerate(names):
        member = "equals" if index == len(names) - 1 else f"sum_of/{index}"
        column = _find_column(f"{pointer}/{member}", name, columns, errors)
        if column is not None and not _is_summable(column.type):
            detail = f"{name} cannot be added up exactly"
            errors.append(FieldError(f"{pointer}/{member}", "wrong_type", detail))


def _is_summable(type_: ColumnType) -> bool:
    if type_.name is not TypeName.DECIMAL:
        return type_.name in {TypeName.INTEGER, TypeName.BIGINT}
    scale = type_.scale or 0
    return scale <= MAX_SCALE and (type_.precision or 0) - scale <= MAX_WHOLE_DIGITS


def _read_names(token: Token, pointer: str) -> tuple[str, ...]:
    names: tuple[str, ...] = _read_identifiers(token, pointer)
    if not names:
        raise InvalidInput.at(pointer, "too_many", f"1 to {MAX_ADDENDS} columns")
    return names


def _read_share(token: Token, pointer: str) -> Decimal:
    value = _read_share_decimal(token, pointer)
    if not isinstance(value, Decimal) or not 0 <= value <= 1:
        raise InvalidInput.at(pointer, "out_of_range", "must be from 0 to 1")
    return value


def _read_severity(token: Token, pointer: str) -> str:
    if type(token) is not str or token not in _SEVERITIES:
        raise InvalidInput.at(pointer, "not_in_enum", f"must be one of: {', '.join(_SEVERITIES)}")
    return token


_MEMBER_READERS: Final[dict[str, TokenReader]] = {
    "complete": read_identifier,
    "id": read_identifier,
    "sum_of": _read_names,
    "equals": read_identifier,
    "tolerance": _read_share,
    "threshold": _read_share,
    "severity": _read_severity,
    "description": prose_reader(MAX_TEXT),
}
