"""An import mapping: how the rows of a foreign file become projects, as a declarative value.

A mapping is data from a client. It names columns, attributes and a closed set of conversions; it
holds no expression, pattern or code, and every list in it is bounded.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import Number, Token
from spawn.domain.money import Rounding

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
_DIRECTIVES = re.compile(r"%(.)", re.DOTALL)


class Whitespace(StrEnum):
    """What becomes of white space in a cell."""

    KEEP = "keep"  # the cell as it is
    COLLAPSE = "collapse"  # trimmed; each run, line breaks included, becomes one space


class OnFailure(StrEnum):
    """What a failed check does to its row."""

    WARN = "warn"
    QUARANTINE = "quarantine"


class Duplicates(StrEnum):
    """Which rows of one file may claim a key that several rows carry."""

    FIRST_WINS = "first_wins"  # the first row, valid or not
    FIRST_VALID_WINS = "first_valid_wins"  # the first row that makes a project
    QUARANTINE = "quarantine"  # none of them


class OnExisting(StrEnum):
    """What becomes of a row whose key belongs to a project already."""

    SKIP_IF_IDENTICAL = "skip_if_identical"  # unchanged if it says the same, else quarantined
    UPDATE = "update"  # the project takes the row's values
    QUARANTINE = "quarantine"  # always


class ColumnMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One attribute: from a `column`, or the same `constant` for each row.

    The conversions apply in this order: `whitespace`, null markers (`null` replaces the mapping's
    own for this column), `enum` (text → text; a text without entry is refused), `date_format`
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


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `sum_of` columns is to equal the column `equals`.

    It fails if the two differ, by `tolerance` times |equals| or more. It is skipped where every
    addend is absent, and where `equals` is.
    """

    sum_of: tuple[str, ...]
    equals: str
    tolerance: Decimal = Decimal(0)
    on_failure: OnFailure = OnFailure.QUARANTINE


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The row's identity: external reference `source` with the value of `column` as id."""

    source: str
    column: str


class ImportMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named mapping.

    `encoding` is tried in order for each physical line; the first that decodes it wins.
    `delimiter` concerns CSV alone; in NDJSON a column is a top-level key of the row's object.
    """

    name: str
    columns: tuple[ColumnMapping, ...]
    encoding: tuple[str, ...] = ("utf-8",)
    delimiter: str = ","
    null: tuple[str, ...] = ("",)
    checks: tuple[Check, ...] = ()
    key: Key | None = None
    duplicates: Duplicates = Duplicates.FIRST_WINS
    on_existing: OnExisting = OnExisting.SKIP_IF_IDENTICAL

    @property
    def needed(self) -> frozenset[str]:
        """The columns of a file that the mapping reads."""
        names = {column.column for column in self.columns if column.column is not None}
        for check in self.checks:
            names.update(check.sum_of, (check.equals,))
        if self.key:
            names.add(self.key.column)
        return frozenset(names)


def is_mapping_name(name: str) -> bool:
    """Whether a mapping can have this name."""
    return _NAME.fullmatch(name) is not None


def read_mapping(name: str, tokens: Mapping[str, Token]) -> ImportMapping:
    """The mapping that a request's body describes, under `name`.

    Raises:
        InvalidInput: every offence that can be seen without a schema, each with its pointer.
    """
    reading = _Reading()
    reading.require(is_mapping_name(name), "/name", "1-64 of a-z, 0-9, '.', '_', '-', unpadded")
    plain = {key: _plain(value) for key, value in tokens.items()}
    if plain.pop("name", name) != name:
        reading.fault("/name", "mismatch", f"the mapping is addressed as {name!r}")
    found: dict[str, Any] = {}
    for field, value in plain.items():
        if field == "columns":
            found[field] = reading.items(field, value, ColumnMapping, MAX_COLUMNS)
        elif field == "checks":
            found[field] = reading.items(field, value, Check, MAX_CHECKS)
        elif field in _SIMPLE:
            found[field] = reading.convert(value, _SIMPLE[field], f"/{field}")
        else:
            reading.fault(f"/{field[:64]}", "unknown_field", "a mapping has no such member")
    if not plain.get("columns"):
        reading.fault("/columns", "required", "name at least one column")
    reading.finish()
    if isinstance(found.get("encoding"), str):
        found["encoding"] = (found["encoding"],)
    mapping = ImportMapping(name=name, **found)
    _inspect(mapping, reading)
    reading.finish()
    return mapping


_SIMPLE: dict[str, Any] = {
    "encoding": str | tuple[str, ...],
    "delimiter": str,
    "null": tuple[str, ...],
    "key": Key | None,
    "duplicates": Duplicates,
    "on_existing": OnExisting,
}

T = TypeVar("T")


class _Reading:
    """Offences gathered while a mapping is read, so that all are told at once."""

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def fault(self, pointer: str, code: str, detail: str) -> None:
        self._errors.append(FieldError(pointer, code, detail))

    def require(self, holds: bool, pointer: str, detail: str) -> None:  # noqa: FBT001 - a condition
        if not holds:
            self.fault(pointer, "invalid_value", detail)

    def convert(self, value: object, wanted: Any, pointer: str) -> Any:
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            sentence, _, path = str(error).partition(" - at `$")
            inner = re.sub(r"[.\[]", "/", path.rstrip("`").replace("]", ""))
            self.fault(pointer + inner, "invalid_value", sentence)
            return None

    def items(self, field: str, value: object, wanted: type[T], cap: int) -> tuple[T, ...]:
        if not isinstance(value, list) or len(value) > cap:
            self.fault(f"/{field}", "invalid_value", f"an array of at most {cap} objects")
            return ()
        return tuple(self.convert(v, wanted, f"/{field}/{i}") for i, v in enumerate(value))

    def finish(self) -> None:
        if self._errors:
            raise InvalidInput(self._errors)


def _plain(token: Token) -> Any:
    """A token as `msgspec.convert` likes it: numbers as int or Decimal, never as float."""
    if isinstance(token, Number):
        return int(token) if re.fullmatch(r"-?\d{1,18}", token) else Decimal(token)
    if isinstance(token, list):
        return [_plain(item) for item in token]
    if isinstance(token, dict):
        return {key: _plain(value) for key, value in token.items()}
    return token


def _inspect(mapping: ImportMapping, reading: _Reading) -> None:
    reading.require(
        0 < len(mapping.encoding) <= len(ENCODINGS) and ENCODINGS.issuperset(mapping.encoding),
        "/encoding",
        f"one or several of {', '.join(sorted(ENCODINGS))}",
    )
    reading.require(
        mapping.delimiter in DELIMITERS, "/delimiter", "one of comma, semicolon, tab, |"
    )
    _inspect_markers(mapping.null, "/null", reading)
    attributes: set[str] = set()
    for index, column in enumerate(mapping.columns):
        pointer = f"/columns/{index}"
        _inspect_column(column, pointer, reading)
        if column.attribute in attributes:
            reading.fault(f"{pointer}/attribute", "repeated", "the attribute is mapped twice")
        attributes.add(column.attribute)
    for index, check in enumerate(mapping.checks):
        _inspect_check(check, f"/checks/{index}", reading)
    if mapping.key is not None:
        _inspect_key(mapping.key, reading)
        if "external_ref" in attributes:
            reading.fault("/key", "repeated", "external_ref is mapped as a column too")


def _inspect_markers(markers: tuple[str, ...], pointer: str, reading: _Reading) -> None:
    fits = len(markers) <= MAX_NULL_MARKERS and all(len(m) <= MAX_NAME_LENGTH for m in markers)
    reading.require(fits, pointer, f"at most {MAX_NULL_MARKERS} short texts")


def _inspect_column(column: ColumnMapping, pointer: str, reading: _Reading) -> None:
    reading.require(
        _ATTRIBUTE.fullmatch(column.attribute) is not None,
        f"{pointer}/attribute",
        "the name of an attribute",
    )
    reading.require(
        (column.column is None) != (column.constant is None),
        pointer,
        "exactly one of column and constant",
    )
    if column.column is not None:
        _inspect_name(column.column, f"{pointer}/column", reading)
    reading.require(
        len(str(column.constant)) <= MAX_TEXT_LENGTH,
        f"{pointer}/constant",
        f"at most {MAX_TEXT_LENGTH} characters",
    )
    _inspect_markers(column.null or (), f"{pointer}/null", reading)
    for part, holds, detail in _column_rules(column):
        reading.require(holds, f"{pointer}/{part}", detail)


def _column_rules(column: ColumnMapping) -> list[tuple[str, bool, str]]:
    table = column.enum or {}
    short = all(max(len(k), len(v)) <= MAX_TEXT_LENGTH for k, v in table.items())
    factor = column.unit_factor
    form = column.date_format
    return [
        (
            "enum",
            len(table) <= MAX_ENUM_ENTRIES and short,
            f"at most {MAX_ENUM_ENTRIES} entries of at most {MAX_TEXT_LENGTH} characters",
        ),
        (
            "unit_factor",
            factor is None or _bounded(factor, lambda value: value != 0),
            f"a finite number other than 0 with at most {MAX_FACTOR_DIGITS} digits",
        ),
        ("date_format", form is None or _is_date_format(form), "year, year_end or %Y, %m, %d"),
    ]


def _bounded(value: Decimal, holds: Callable[[Decimal], bool]) -> bool:
    """Finite, few digits, small exponent: safe to multiply with exactly."""
    if not value.is_finite():
        return False
    _, digits, exponent = value.as_tuple()
    few = len(digits) <= MAX_FACTOR_DIGITS and abs(int(exponent)) <= MAX_FACTOR_DIGITS
    return few and holds(value)


def _is_date_format(form: str) -> bool:
    """Whether a format names a whole day: year once, month once, day once, nothing else."""
    if form in {"year", "year_end"}:
        return True
    # `%-` would escape the scan below if a lone percent sign were left over.
    found = sorted(_DIRECTIVES.findall(form))
    whole = found in (sorted(p) for p in ("Ymd", "Ybd", "YBd", "ymd", "ybd", "yBd"))
    return len(form) <= 32 and whole and form.count("%") == len(found)  # noqa: PLR2004 - a bound


def _inspect_check(check: Check, pointer: str, reading: _Reading) -> None:
    reading.require(
        0 < len(check.sum_of) <= MAX_ADDENDS,
        f"{pointer}/sum_of",
        f"1 to {MAX_ADDENDS} columns",
    )
    for index, name in enumerate(check.sum_of[:MAX_ADDENDS]):
        _inspect_name(name, f"{pointer}/sum_of/{index}", reading)
    _inspect_name(check.equals, f"{pointer}/equals", reading)
    reading.require(
        _bounded(check.tolerance, lambda value: 0 <= value < 1),
        f"{pointer}/tolerance",
        "a fraction from 0 to below 1",
    )


def _inspect_key(key: Key, reading: _Reading) -> None:
    fits = _SOURCE.fullmatch(key.source) is not None
    reading.require(fits, "/key/source", "1-64 letters, digits and ' ._:/-'")
    _inspect_name(key.column, "/key/column", reading)


def _inspect_name(name: str, pointer: str, reading: _Reading) -> None:
    reading.require(
        0 < len(name) <= MAX_NAME_LENGTH, pointer, f"a name of 1 to {MAX_NAME_LENGTH} characters"
    )
