"""Import mappings: a declarative conversion of the rows of a foreign file to projects.

A mapping is data from a client. It names columns, attributes and a closed set of conversions; it
contains no expression, pattern or code, and every list in it is bounded.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import inspect

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import NumberToken, Token
from spawn.domain.money import Rounding
from spawn.domain.struct_reader import (
    TokenReader,
    compile_reader,
    read_string,
    series_reader,
    wrong_type_error,
)

MAPPING_KIND: Final = "import_mapping"

MAX_COLUMNS = 200
MAX_CHECKS = 20
MAX_ADDENDS = 50
MAX_NULL_MARKERS = 20
MAX_ENUM_ENTRIES = 1_000
MAX_NAME_LENGTH = 200
MAX_TEXT_LENGTH = 1_000
MAX_FACTOR_DIGITS = 30

ENCODINGS = frozenset(
    {
        *("utf-8", "ascii", "cp437", "cp850", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254"),
        *("iso-8859-1", "iso-8859-2", "iso-8859-9", "iso-8859-15", "koi8-r", "mac-roman"),
    }
)
"""Encodings in which a line feed, a quote and a comma are single ASCII bytes."""

DELIMITERS = frozenset(",;|\t")

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SOURCE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._:/-]{0,62}[A-Za-z0-9])?")
_INTEGER = re.compile(r"-?\d{1,18}")
_DIRECTIVES = re.compile(r"%(.)", re.DOTALL)


class Whitespace(StrEnum):
    """The treatment of white space in a cell."""

    KEEP = "keep"  # the cell unchanged
    COLLAPSE = "collapse"  # trimmed; each run, line breaks included, becomes one space


class OnFailure(StrEnum):
    """The effect of a failed check on its row."""

    WARN = "warn"
    QUARANTINE = "quarantine"


class DuplicatePolicy(StrEnum):
    """The policy for several rows of one file with the same key."""

    FIRST_WINS = "first_wins"  # the first row, valid or not
    FIRST_VALID_WINS = "first_valid_wins"  # the first row that is a valid project
    QUARANTINE = "quarantine"  # none of them


class OnExisting(StrEnum):
    """The policy for a row whose key belongs to an existing project."""

    SKIP_IF_IDENTICAL = "skip_if_identical"  # unchanged if the values are equal, else quarantined
    UPDATE = "update"  # the project takes the row's values
    QUARANTINE = "quarantine"  # always


class ColumnMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One attribute, from a `column` or from the same `constant` for each row.

    The conversions apply in this order: `whitespace`, null markers (`null` replaces the mapping's
    own for this column), `enum` (text → text; a text without entry is rejected), `date_format`
    (`%d/%m/%Y` and the like, or `year` and `year_end`: the first or last day of that year),
    `unit_factor` (exact multiplication), `rounding` (to the attribute's scale, from exact digits).
    """

    attribute: str
    column: str | None = None
    constant: str | int | bool | None = None
    null: tuple[str, ...] | None = None
    enum: dict[str, str] | None = None
    date_format: str | None = None
    unit_factor: Decimal | None = None
    rounding: Rounding | None = None
    whitespace: Whitespace = Whitespace.KEEP


class SumCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check that the sum of the columns `sum_of` equals the column `equals`.

    It fails if the two differ by `tolerance` times |equals| or more. It is skipped if every addend
    is absent, or if `equals` is.
    """

    sum_of: tuple[str, ...]
    equals: str
    tolerance: Decimal = Decimal(0)
    on_failure: OnFailure = OnFailure.QUARANTINE


class RowKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key of a row: external reference `source` with the value of `column` as id."""

    source: str
    column: str


class ImportMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named mapping.

    `encoding` is tried in order for each physical line; the first that decodes it wins.
    `delimiter` applies to CSV only; in NDJSON a column is a top-level key of the row's object.
    """

    name: str
    columns: tuple[ColumnMapping, ...]
    encoding: tuple[str, ...] = ("utf-8",)
    delimiter: str = ","
    null: tuple[str, ...] = ("",)
    checks: tuple[SumCheck, ...] = ()
    key: RowKey | None = None
    duplicates: DuplicatePolicy = DuplicatePolicy.FIRST_WINS
    on_existing: OnExisting = OnExisting.SKIP_IF_IDENTICAL

    @property
    def source_columns(self) -> frozenset[str]:
        """The columns of a file that the mapping reads."""
        names = {column.column for column in self.columns if column.column is not None}
        for check in self.checks:
            names.update(check.sum_of, (check.equals,))
        if self.key:
            names.add(self.key.column)
        return frozenset(names)


def is_mapping_name(name: str) -> bool:
    """Return whether a mapping can have this name."""
    return _NAME.fullmatch(name) is not None


def read_mapping(name: str, tokens: Mapping[str, Token]) -> ImportMapping:
    """Read the mapping of a request body, under `name`.

    Raises:
        InvalidInput: every error that needs no schema to find, each with its pointer.
    """
    errors = _ErrorCollector()
    errors.require(is_mapping_name(name), "/name", "1-64 of a-z, 0-9, '.', '_', '-', unpadded")
    members = {"columns": [], **tokens}
    if members.setdefault("name", name) != name:
        errors.add("/name", "mismatch", f"must be the name in the address, {name!r}")
    if not members["columns"]:
        errors.add("/columns", "required", "must name at least one column")
    if type(members.get("encoding")) is str:
        members["encoding"] = [members["encoding"]]
    try:
        mapping: ImportMapping = _read_struct({**members, "name": name}, "")
    except InvalidInput as failure:
        errors.add_struct_errors(failure.errors)
    errors.raise_if_any()
    _check_mapping(mapping, errors)
    errors.raise_if_any()
    return mapping


class _ErrorCollector:
    """The errors of a mapping, collected so that all are reported at once."""

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def add(self, pointer: str, code: str, detail: str) -> None:
        self._errors.append(FieldError(pointer, code, detail))

    def require(self, condition: bool, pointer: str, detail: str) -> None:  # noqa: FBT001 - a condition
        if not condition:
            self.add(pointer, "invalid_value", detail)

    def add_struct_errors(self, errors: tuple[FieldError, ...]) -> None:
        """Add the struct reader's errors; a nested object's own members are its value."""
        for error in errors:
            parent, _, member = error.pointer.rpartition("/")
            if error.code not in {"unknown_field", "missing"}:
                self.add(error.pointer, "invalid_value", error.detail)
            elif parent:
                self.add(parent, "invalid_value", f"{member} {error.detail}")
            else:
                self._errors.append(error)

    def raise_if_any(self) -> None:
        if self._errors:
            raise InvalidInput(self._errors)


def _read_constant(token: Token, pointer: str) -> str | int | bool | None:
    if isinstance(token, NumberToken):
        if not _INTEGER.fullmatch(token):
            raise InvalidInput.at(pointer, "invalid_value", "must be text, an integer or a boolean")
        return int(token)
    if token is not None and not isinstance(token, str | bool):
        raise wrong_type_error(pointer, "text, an integer or a boolean", token)
    return token


def _read_decimal(token: Token, pointer: str) -> Decimal:
    """Read a decimal, number or text; its digits are bounded afterwards."""
    if not isinstance(token, str):
        raise wrong_type_error(pointer, "a decimal", token)
    try:
        return Decimal(token)
    except InvalidOperation:
        raise InvalidInput.at(pointer, "invalid_value", "must be a decimal") from None


_LEAF_READERS: dict[type[inspect.Type], TokenReader] = {
    inspect.StrType: read_string,
    inspect.DecimalType: _read_decimal,
}
_read_column = compile_reader(ColumnMapping, {"constant": _read_constant}, _LEAF_READERS)
_read_sum_check = compile_reader(SumCheck, types=_LEAF_READERS)
_read_struct = compile_reader(
    ImportMapping,
    {
        "columns": series_reader(_read_column, MAX_COLUMNS),
        "checks": series_reader(_read_sum_check, MAX_CHECKS),
    },
    _LEAF_READERS,
)


def _check_mapping(mapping: ImportMapping, errors: _ErrorCollector) -> None:
    errors.require(
        0 < len(mapping.encoding) <= len(ENCODINGS) and ENCODINGS.issuperset(mapping.encoding),
        "/encoding",
        f"one or several of {', '.join(sorted(ENCODINGS))}",
    )
    errors.require(mapping.delimiter in DELIMITERS, "/delimiter", "one of comma, semicolon, tab, |")
    _check_markers(mapping.null, "/null", errors)
    attributes: set[str] = set()
    for index, column in enumerate(mapping.columns):
        pointer = f"/columns/{index}"
        _check_column(column, pointer, errors)
        if column.attribute in attributes:
            errors.add(f"{pointer}/attribute", "repeated", "the attribute is mapped twice")
        attributes.add(column.attribute)
    for index, check in enumerate(mapping.checks):
        _check_sum_check(check, f"/checks/{index}", errors)
    if mapping.key is not None:
        _check_key(mapping.key, errors)
        if "external_ref" in attributes:
            errors.add("/key", "repeated", "external_ref is mapped as a column too")


def _check_markers(markers: tuple[str, ...], pointer: str, errors: _ErrorCollector) -> None:
    is_bounded = len(markers) <= MAX_NULL_MARKERS and all(
        len(m) <= MAX_NAME_LENGTH for m in markers
    )
    errors.require(is_bounded, pointer, f"at most {MAX_NULL_MARKERS} short texts")


def _check_column(column: ColumnMapping, pointer: str, errors: _ErrorCollector) -> None:
    errors.require(
        _ATTRIBUTE.fullmatch(column.attribute) is not None,
        f"{pointer}/attribute",
        "the name of an attribute",
    )
    errors.require(
        (column.column is None) != (column.constant is None),
        pointer,
        "exactly one of column and constant",
    )
    if column.column is not None:
        _check_name(column.column, f"{pointer}/column", errors)
    errors.require(
        len(str(column.constant)) <= MAX_TEXT_LENGTH,
        f"{pointer}/constant",
        f"at most {MAX_TEXT_LENGTH} characters",
    )
    _check_markers(column.null or (), f"{pointer}/null", errors)
    for part, condition, detail in _column_rules(column):
        errors.require(condition, f"{pointer}/{part}", detail)


def _column_rules(column: ColumnMapping) -> list[tuple[str, bool, str]]:
    entries = column.enum or {}
    is_short = all(max(len(k), len(v)) <= MAX_TEXT_LENGTH for k, v in entries.items())
    factor = column.unit_factor
    date_format = column.date_format
    return [
        (
            "enum",
            len(entries) <= MAX_ENUM_ENTRIES and is_short,
            f"at most {MAX_ENUM_ENTRIES} entries of at most {MAX_TEXT_LENGTH} characters",
        ),
        (
            "unit_factor",
            factor is None or _is_bounded(factor, lambda value: value != 0),
            f"a finite number other than 0 with at most {MAX_FACTOR_DIGITS} digits",
        ),
        (
            "date_format",
            date_format is None or _is_date_format(date_format),
            "year, year_end or %Y, %m, %d",
        ),
    ]


def _is_bounded(value: Decimal, condition: Callable[[Decimal], bool]) -> bool:
    """Return whether a value is finite and short enough for exact multiplication."""
    if not value.is_finite():
        return False
    _, digits, exponent = value.as_tuple()
    is_short = len(digits) <= MAX_FACTOR_DIGITS and abs(int(exponent)) <= MAX_FACTOR_DIGITS
    return is_short and condition(value)


def _is_date_format(text: str) -> bool:
    """Return whether a format has year, month and day once each, and nothing else."""
    if text in {"year", "year_end"}:
        return True
    # A lone percent sign would escape the pattern, so percent signs are counted too.
    directives = sorted(_DIRECTIVES.findall(text))
    is_complete = directives in (sorted(p) for p in ("Ymd", "Ybd", "YBd", "ymd", "ybd", "yBd"))
    return len(text) <= 32 and is_complete and text.count("%") == len(directives)  # noqa: PLR2004 - a limit


def _check_sum_check(check: SumCheck, pointer: str, errors: _ErrorCollector) -> None:
    errors.require(
        0 < len(check.sum_of) <= MAX_ADDENDS,
        f"{pointer}/sum_of",
        f"1 to {MAX_ADDENDS} columns",
    )
    for index, name in enumerate(check.sum_of[:MAX_ADDENDS]):
        _check_name(name, f"{pointer}/sum_of/{index}", errors)
    _check_name(check.equals, f"{pointer}/equals", errors)
    errors.require(
        _is_bounded(check.tolerance, lambda value: 0 <= value < 1),
        f"{pointer}/tolerance",
        "a fraction from 0 to below 1",
    )


def _check_key(key: RowKey, errors: _ErrorCollector) -> None:
    is_source = _SOURCE.fullmatch(key.source) is not None
    errors.require(is_source, "/key/source", "1-64 letters, digits and ' ._:/-'")
    _check_name(key.column, "/key/column", errors)


def _check_name(name: str, pointer: str, errors: _ErrorCollector) -> None:
    errors.require(
        0 < len(name) <= MAX_NAME_LENGTH, pointer, f"a name of 1 to {MAX_NAME_LENGTH} characters"
    )
