"""Strict reading of an import mapping, with a pointer to each invalid member."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from msgspec import inspect
from msgspec.structs import fields

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.cells.date_text import is_date_format, parse_utc_offset
from spawn.domain.imports.cells.nested_path import is_path
from spawn.domain.imports.import_state import ImportKind
from spawn.domain.imports.mapping import (
    DECIMAL_MARKS,
    DELIMITERS,
    ENCODINGS,
    ESCAPES,
    MAX_ADDENDS,
    MAX_CHECKS,
    MAX_CHOICES,
    MAX_COLUMNS,
    MAX_CONDITIONS,
    MAX_DATE_FORMATS,
    MAX_ENUM_ENTRIES,
    MAX_FACTOR_DIGITS,
    MAX_NAME_LENGTH,
    MAX_NULL_MARKERS,
    MAX_SEPARATOR_LENGTH,
    MAX_SHEET_NAME_LENGTH,
    MAX_SHEET_NUMBER,
    MAX_SKIPPED_LINES,
    MAX_SOURCES,
    MAX_TEXT_LENGTH,
    MAX_UNITS,
    QUOTES,
    THOUSANDS_MARKS,
    Aggregation,
    Choice,
    ColumnMapping,
    Combination,
    ImportMapping,
    RowCondition,
    RowKey,
    SponsorColumns,
    SumCheck,
    VanishedPolicy,
    is_mapping_name,
)
from spawn.domain.json_tokens import NumberToken, Token
from spawn.domain.struct_reader import (
    TokenReader,
    compile_reader,
    read_string,
    series_reader,
    wrong_type_error,
)

_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(?:\.[A-Za-z0-9_]{1,63}){0,3}")
_SOURCE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._:/-]{0,62}[A-Za-z0-9])?")
_INTEGER = re.compile(r"-?\d{1,18}")
_MEMBERS_OF_EXPORTS: Final = frozenset(
    {
        *("name", "from_export", "encoding", "delimiter", "header_row", "skip_rows"),
        *("ragged_rows", "sheet", "duplicates", "on_existing"),
    }
)
"""Members that a mapping with `from_export` may have."""

_MEMBERS_OF_PROJECTS: Final = frozenset(
    {
        *("from_export", "group_by", "checks", "key", "duplicates", "vanished", "missing_amount"),
    }
)
"""Members that only a mapping of projects may have."""


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
    if not members["columns"] and members.get("from_export") is not True:
        errors.add("/columns", "required", "must name at least one column")
    errors.require(members.get("group_by") != [], "/group_by", f"1 to {MAX_SOURCES} columns")
    if type(members.get("encoding")) is str:
        members["encoding"] = [members["encoding"]]
    if type(members.get("where")) is dict:
        members["where"] = [members["where"]]
    key = members.get("key")
    if members.get("group_by") == "key" and isinstance(key, dict):
        members["group_by"] = key.get("columns") or [key.get("column")]
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


def _read_sheet(token: Token, pointer: str) -> str | int:
    """Read the name of a sheet, or its number from 1."""
    if isinstance(token, NumberToken):
        is_number = _INTEGER.fullmatch(token) and 1 <= int(token) <= MAX_SHEET_NUMBER
        if not is_number:
            detail = f"a whole number from 1 to {MAX_SHEET_NUMBER}, or a name"
            raise InvalidInput.at(pointer, "invalid_value", detail)
        return int(token)
    name = read_string(token, pointer)
    if not 0 < len(name) <= MAX_SHEET_NAME_LENGTH:
        detail = f"a name of at most {MAX_SHEET_NAME_LENGTH} characters, or a number from 1"
        raise InvalidInput.at(pointer, "invalid_value", detail)
    return name


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
_read_pair = compile_reader(SponsorColumns, types=_LEAF_READERS)


def _read_source(token: Token, pointer: str) -> str | SponsorColumns:
    """Read the name of a column, or the columns of a sponsor."""
    if isinstance(token, dict):
        pair: SponsorColumns = _read_pair(token, pointer)
        return pair
    return read_string(token, pointer)


_read_column = compile_reader(
    ColumnMapping,
    {"constant": _read_constant, "columns": series_reader(_read_source, MAX_SOURCES)},
    _LEAF_READERS,
)
_read_condition = compile_reader(RowCondition, types=_LEAF_READERS)
_read_choice = compile_reader(Choice, types=_LEAF_READERS)
_read_sum_check = compile_reader(SumCheck, types=_LEAF_READERS)
_read_struct = compile_reader(
    ImportMapping,
    {
        "columns": series_reader(_read_column, MAX_COLUMNS),
        "checks": series_reader(_read_sum_check, MAX_CHECKS),
        "where": series_reader(_read_condition, MAX_CONDITIONS),
        "choose": series_reader(_read_choice, MAX_CHOICES),
        "sheet": _read_sheet,
    },
    _LEAF_READERS,
)


def _check_mapping(mapping: ImportMapping, errors: _ErrorCollector) -> None:
    _check_layout(mapping, errors)
    if mapping.kind is not ImportKind.PROJECT:
        _check_record_mapping(mapping, errors)
    if mapping.from_export:
        _check_export(mapping, errors)
        return
    _check_markers(mapping.null, "/null", errors)
    _check_marks(mapping.decimal, mapping.thousands, "", errors)
    attributes: set[str] = set()
    for index, column in enumerate(mapping.columns):
        pointer = f"/columns/{index}"
        _check_column(column, mapping, pointer, errors)
        if column.attribute in attributes:
            errors.add(f"{pointer}/attribute", "repeated", "the attribute is mapped twice")
        attributes.add(column.attribute)
    for index, check in enumerate(mapping.checks):
        _check_sum_check(check, f"/checks/{index}", errors)
    _check_rows(mapping, errors)
    if mapping.key is not None:
        _check_key(mapping.key, errors)
        if "external_ref" in attributes:
            errors.add("/key", "repeated", "external_ref is mapped as a column too")
    errors.require(
        mapping.vanished is VanishedPolicy.IGNORE
        or (mapping.key is not None and mapping.key.source is not None),
        "/vanished",
        "report needs a key with one source for all rows",
    )


def _check_record_mapping(mapping: ImportMapping, errors: _ErrorCollector) -> None:
    """Check that a mapping of facilities or entries says nothing that serves projects alone."""
    for info in fields(mapping):
        if info.name in _MEMBERS_OF_PROJECTS and getattr(mapping, info.name) != info.default:
            detail = f"serves projects; rows of kind {mapping.kind} have their fields alone"
            errors.add(f"/{info.encode_name}", "not_applicable", detail)
    for index, column in enumerate(mapping.columns):
        if column.rounding is not None:
            detail = "serves projects; state amounts exactly"
            errors.add(f"/columns/{index}/rounding", "not_applicable", detail)


def _check_export(mapping: ImportMapping, errors: _ErrorCollector) -> None:
    """Check that a mapping of exports says nothing that the exports say themselves."""
    for info in fields(mapping):
        if info.name not in _MEMBERS_OF_EXPORTS and getattr(mapping, info.name) != info.default:
            detail = "does not belong to from_export: an export says it itself"
            errors.add(f"/{info.encode_name}", "invalid_value", detail)


def _check_rows(mapping: ImportMapping, errors: _ErrorCollector) -> None:
    """Check the members that say which rows are records."""
    for index, condition in enumerate(mapping.where):
        pointer = f"/where/{index}"
        _check_name(condition.column, f"{pointer}/column", errors)
        lists = [texts for texts in (condition.texts, condition.not_in) if texts is not None]
        tests = len(lists) + (condition.is_null is not None)
        errors.require(tests == 1, pointer, "exactly one of in, not_in and is_null")
        errors.require(
            all(0 < len(texts) <= MAX_ENUM_ENTRIES for texts in lists)
            and all(len(text) <= MAX_TEXT_LENGTH for texts in lists for text in texts),
            pointer,
            f"1 to {MAX_ENUM_ENTRIES} texts of at most {MAX_TEXT_LENGTH} characters",
        )
    for index, choice in enumerate(mapping.choose):
        pointer = f"/choose/{index}"
        paths = {f"{pointer}/element": choice.element, f"{pointer}/highest": choice.highest}
        paths |= {f"{pointer}/same/{i}": path for i, path in enumerate(choice.same[:MAX_SOURCES])}
        for place, path in paths.items():
            errors.require(is_path(path), place, "a path such as budget.value")
        errors.require(
            len(choice.same) <= MAX_SOURCES, f"{pointer}/same", f"at most {MAX_SOURCES} paths"
        )
    for member, names in (("group_by", mapping.group_by), ("fill_merged", mapping.fill_merged)):
        errors.require(len(names) <= MAX_SOURCES, f"/{member}", f"at most {MAX_SOURCES} columns")
        for index, name in enumerate(names[:MAX_SOURCES]):
            _check_name(name, f"/{member}/{index}", errors)


def _check_layout(mapping: ImportMapping, errors: _ErrorCollector) -> None:
    """Check the members that say where the records of a file are."""
    errors.require(
        0 < len(mapping.encoding) <= len(ENCODINGS) and ENCODINGS.issuperset(mapping.encoding),
        "/encoding",
        f"one or several of {', '.join(sorted(ENCODINGS))}",
    )
    errors.require(mapping.delimiter in DELIMITERS, "/delimiter", "one of comma, semicolon, tab, |")
    errors.require(mapping.quote in QUOTES, "/quote", "a double or single quotation mark, or empty")
    is_escape = mapping.escape is None or mapping.escape in ESCAPES
    errors.require(is_escape, "/escape", "a backslash, or left out")
    row, line_count = mapping.header_row, mapping.skip_rows
    errors.require(
        row is None or 1 <= row <= MAX_SKIPPED_LINES,
        "/header_row",
        f"the line of the header, from 1 to {MAX_SKIPPED_LINES}",
    )
    errors.require(
        line_count is None or 0 <= line_count <= MAX_SKIPPED_LINES,
        "/skip_rows",
        f"the number of lines before the header, at most {MAX_SKIPPED_LINES}",
    )
    errors.require(
        len(mapping.record_element or "x") <= MAX_NAME_LENGTH and mapping.record_element != "",
        "/record_element",
        f"the name of an element, of at most {MAX_NAME_LENGTH} characters",
    )
    errors.require(
        row is None or line_count is None, "/skip_rows", "only one of header_row and skip_rows"
    )


def _check_markers(markers: tuple[str, ...], pointer: str, errors: _ErrorCollector) -> None:
    is_bounded = len(markers) <= MAX_NULL_MARKERS and all(
        len(m) <= MAX_NAME_LENGTH for m in markers
    )
    errors.require(is_bounded, pointer, f"at most {MAX_NULL_MARKERS} short texts")


def _check_marks(
    decimal: str, thousands: str | None, pointer: str, errors: _ErrorCollector
) -> None:
    errors.require(decimal in DECIMAL_MARKS, f"{pointer}/decimal", "a point or a comma")
    errors.require(
        thousands is None or (thousands in THOUSANDS_MARKS and thousands != decimal),
        f"{pointer}/thousands",
        "one of point, comma, apostrophe, blank and underscore, and not the decimal mark",
    )


def _check_column(
    column: ColumnMapping, mapping: ImportMapping, pointer: str, errors: _ErrorCollector
) -> None:
    is_project = mapping.kind is ImportKind.PROJECT
    errors.require(
        (_ATTRIBUTE if is_project else _PATH).fullmatch(column.attribute) is not None,
        f"{pointer}/attribute",
        "the name of an attribute",
    )
    counts_rows = column.aggregate is Aggregation.COUNT and column.column is None
    sources = (column.column is not None, column.constant is not None, bool(column.columns))
    errors.require(
        sum(sources) == (0 if counts_rows else 1),
        pointer,
        "exactly one of column, columns and constant",
    )
    if column.column is not None:
        _check_name(column.column, f"{pointer}/column", errors)
    _check_sources(column, pointer, errors)
    errors.require(
        len(str(column.constant)) <= MAX_TEXT_LENGTH,
        f"{pointer}/constant",
        f"at most {MAX_TEXT_LENGTH} characters",
    )
    _check_markers(column.null or (), f"{pointer}/null", errors)
    if column.decimal is not None or column.thousands is not None:
        decimal = mapping.decimal if column.decimal is None else column.decimal
        _check_marks(decimal, column.thousands, pointer, errors)
    for part, condition, detail in (*_column_rules(column), *_date_rules(column)):
        errors.require(condition, f"{pointer}/{part}", detail)


def _check_sources(column: ColumnMapping, pointer: str, errors: _ErrorCollector) -> None:
    """Check several columns of one attribute, and how they are combined."""
    pairs = column.sponsor_columns
    for index, source in enumerate(column.columns):
        place = f"{pointer}/columns/{index}"
        names = (source,) if isinstance(source, str) else (source.name, source.share or "")
        for name in names:
            _check_name(name, place, errors)
    is_sponsors = column.attribute == "sponsors"
    errors.require(
        not pairs or (is_sponsors and len(pairs) == len(column.columns)),
        f"{pointer}/columns",
        "names of columns; for sponsors only, pairs of name and share",
    )
    errors.require(
        column.combine is None or len(column.columns) > 1,
        f"{pointer}/combine",
        "belongs to several columns",
    )
    has_texts = Combination.JOIN is column.combine or column.aggregate is Aggregation.JOIN
    divides = bool(pairs) and all(pair.share is None for pair in pairs)
    length = len((column.separator or "").strip() if divides else column.separator or "")
    errors.require(
        column.separator is None
        or ((has_texts or divides) and divides <= length <= MAX_SEPARATOR_LENGTH),
        f"{pointer}/separator",
        f"at most {MAX_SEPARATOR_LENGTH} characters, between texts that are joined or sponsors "
        "of one cell",
    )


def _column_rules(column: ColumnMapping) -> list[tuple[str, bool, str]]:
    entries = column.enum or {}
    is_short = all(max(len(k), len(v)) <= MAX_TEXT_LENGTH for k, v in entries.items())
    factor, units = column.unit_factor, column.units or {}
    is_extension = column.attribute.startswith("x_")
    return [
        (
            "enum",
            column.enum is None or (0 < len(entries) <= MAX_ENUM_ENTRIES and is_short),
            f"1 to {MAX_ENUM_ENTRIES} entries of at most {MAX_TEXT_LENGTH} characters",
        ),
        (
            "otherwise",
            column.otherwise is None or column.enum is not None,
            "belongs to an enum",
        ),
        (
            "as",
            column.extension_type is None or is_extension,
            "belongs to x_ fields; an attribute of the schema has its type there",
        ),
        (
            "unit_factor",
            factor is None or _is_bounded(factor, lambda value: value != 0),
            f"a finite number other than 0 with at most {MAX_FACTOR_DIGITS} digits",
        ),
        (
            "units",
            len(units) <= MAX_UNITS
            and all(0 < len(name.strip()) <= MAX_NAME_LENGTH for name in units)
            and all(_is_bounded(value, lambda worth: worth != 0) for value in units.values()),
            f"at most {MAX_UNITS} texts, each with a finite number other than 0",
        ),
        (
            "part",
            column.part is None or not (units or column.unit_factor or column.rounding),
            "is a text; it has no units, unit_factor or rounding",
        ),
    ]


def _date_rules(column: ColumnMapping) -> list[tuple[str, bool, str]]:
    formats = column.all_date_formats
    form = "directives with a year, such as %d/%m/%Y %H:%M or %m/%Y, or a named format"
    rules = [
        (f"date_formats/{index}", is_date_format(text), form)
        for index, text in enumerate(column.date_formats[:MAX_DATE_FORMATS])
    ]
    return [
        *rules,
        ("date_format", column.date_format is None or is_date_format(column.date_format), form),
        (
            "date_formats",
            len(column.date_formats) <= MAX_DATE_FORMATS
            and (column.date_format is None or not column.date_formats),
            f"at most {MAX_DATE_FORMATS} formats, and not with date_format",
        ),
        ("period", column.period is None or bool(formats), "belongs to date_formats"),
        (
            "utc_offset",
            column.utc_offset is None or parse_utc_offset(column.utc_offset) is not None,
            "an offset such as +01:00, or Z",
        ),
    ]


def _is_bounded(value: Decimal, condition: Callable[[Decimal], bool]) -> bool:
    """Return whether a value is finite and short enough for exact multiplication."""
    if not value.is_finite():
        return False
    _, digits, exponent = value.as_tuple()
    is_short = len(digits) <= MAX_FACTOR_DIGITS and abs(int(exponent)) <= MAX_FACTOR_DIGITS
    return is_short and condition(value)


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
    if key.source is not None:
        is_source = _SOURCE.fullmatch(key.source) is not None
        errors.require(is_source, "/key/source", "1-64 letters, digits and ' ._:/-'")
    errors.require(
        (key.source is None) != (key.source_column is None),
        "/key",
        "exactly one of source and source_column",
    )
    errors.require(
        (key.column is None) == bool(key.columns), "/key", "exactly one of column and columns"
    )
    errors.require(
        len(key.columns) <= MAX_SOURCES, "/key/columns", f"at most {MAX_SOURCES} columns"
    )
    _check_name(key.column or "", "/key/column", errors)
    _check_name(key.source_column or "", "/key/source_column", errors)
    for index, name in enumerate(key.columns[:MAX_SOURCES]):
        _check_name(name, f"/key/columns/{index}", errors)


def _check_name(name: str, pointer: str, errors: _ErrorCollector) -> None:
    # An empty name is that of a column without one, such as the index of a pandas file.
    errors.require(
        len(name) <= MAX_NAME_LENGTH, pointer, f"a name of at most {MAX_NAME_LENGTH} characters"
    )
