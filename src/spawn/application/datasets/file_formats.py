"""Formats of a dataset's file: lines of JSON, a JSON array, CSV, and rows for columnar files."""

import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from spawn.application.datasets.dataset_columns import DatasetColumn, DatasetName
from spawn.application.datasets.dataset_query import DatasetQuery, DecimalForm, NestedForm
from spawn.application.datasets.dataset_rows import Row
from spawn.domain.errors import InvalidInput
from spawn.domain.imports.export_reader import EXTENSIONS_COLUMN
from spawn.domain.imports.formula_guard import escape_formula
from spawn.domain.schema_version import ColumnType
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX

_encode = msgspec.json.Encoder().encode
_QUOTED_CHARACTERS: Final = frozenset('",\r\n')
_EMPTY_JSON: Final = frozenset({"null", "[]", "{}"})


class DataFormat(StrEnum):
    """The format of a dataset's file; its value is the suffix of the file's name."""

    NDJSON = "ndjson"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"
    XLSX = "xlsx"

    @property
    def media_type(self) -> str:
        """Media type of the file."""
        return MEDIA_TYPES[self]

    @property
    def is_binary(self) -> bool:
        """Whether the file has a binary format of its own, with typed columns."""
        return self in {DataFormat.PARQUET, DataFormat.ARROW, DataFormat.XLSX}


MEDIA_TYPES: Final[Mapping[DataFormat, str]] = {
    DataFormat.NDJSON: "application/x-ndjson",
    DataFormat.CSV: "text/csv",
    DataFormat.JSON: "application/json",
    DataFormat.PARQUET: "application/vnd.apache.parquet",
    DataFormat.ARROW: "application/vnd.apache.arrow.stream",
    DataFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

MAX_WORKBOOK_ROWS: Final = 250_000
"""Rows of a workbook that a request gets: it is complete before its first byte is sent, and has
120 seconds until then."""


def check_workbook_rows(count: int) -> None:
    """Check the number of rows of a workbook.

    Raises:
        InvalidInput: they are too many for a request.
    """
    if count > MAX_WORKBOOK_ROWS:
        detail = (
            f"A workbook has at most {MAX_WORKBOOK_ROWS} rows: filter them, or take CSV or Parquet."
        )
        raise InvalidInput.at("/format", "too_large", detail)


class EncodeFile(Protocol):
    """Function that encodes lines of JSON as a file of a binary format, by its suffix."""

    def __call__(
        self,
        lines: AsyncGenerator[bytes],
        columns: Sequence[tuple[str, ColumnType | None]],
        *,
        name: str,
        suffix: str,
    ) -> AsyncGenerator[bytes]:
        """Yield the chunks of the file; a column without a type has texts."""
        ...


def format_file(
    rows: AsyncIterator[Row],
    dataset: DatasetQuery,
    file_format: DataFormat,
    encode_file: EncodeFile,
) -> AsyncGenerator[bytes]:
    """Return the chunks of a file with the rows of a dataset."""
    columns = dataset.columns
    if file_format.is_binary:
        is_text = dataset.decimals is DecimalForm.STRING
        types = [(one.name, None if is_text and one.is_decimal else one.type) for one in columns]
        lines = format_table_rows(rows, columns)
        return encode_file(lines, types, name=dataset.name, suffix=file_format)
    if file_format is DataFormat.CSV:
        return format_csv(rows, columns, has_mark=dataset.has_mark)
    if find_nested_form(dataset, file_format) is NestedForm.TEXT:
        rows = _add_fractions(_read_cells(rows, columns), columns, dataset.decimals)
    if file_format is DataFormat.JSON:
        return format_json(rows, columns, dataset.decimals)
    return format_ndjson(rows, columns, dataset.decimals)


def find_nested_form(dataset: DatasetQuery, file_format: DataFormat) -> NestedForm:
    """Return the form of objects and arrays in a file of JSON.

    Lines are read as a table unless the query selects a form (ADR 0039). Those of events are
    CloudEvents, whose data is an object.
    """
    if dataset.nested is not None:
        return dataset.nested
    is_table = file_format is DataFormat.NDJSON and dataset.name is not DatasetName.EVENTS
    return NestedForm.TEXT if is_table else NestedForm.JSON


async def format_ndjson(
    rows: AsyncIterator[Row], columns: Sequence[DatasetColumn], form: DecimalForm | None
) -> AsyncGenerator[bytes]:
    """Yield rows as lines of JSON."""
    names = [column.name for column in columns if column.is_decimal]
    async for row in rows:
        yield _encode(row if form is None else _convert_decimals(row, names, form)) + b"\n"


async def format_json(
    rows: AsyncIterator[Row], columns: Sequence[DatasetColumn], form: DecimalForm | None
) -> AsyncGenerator[bytes]:
    """Yield rows as one JSON array, a row in each line."""
    separator = b"[\n"
    async for line in format_ndjson(rows, columns, form):
        yield separator + line[:-1]
        separator = b",\n"
    yield b"[]\n" if separator == b"[\n" else b"\n]\n"


async def format_table_rows(
    rows: AsyncIterator[Row], columns: Sequence[DatasetColumn]
) -> AsyncGenerator[bytes]:
    """Yield rows as lines of JSON with the columns of a table; decimals are exact texts."""
    names = [column.name for column in columns if column.is_decimal]
    async for row in _read_cells(rows, columns):
        yield _encode(_convert_decimals(row, names, DecimalForm.STRING)) + b"\n"


async def _read_cells(
    rows: AsyncIterator[Row], columns: Sequence[DatasetColumn]
) -> AsyncGenerator[Row]:
    """Yield rows with each column of the table; objects and arrays are JSON texts.

    Readers that infer columns from the first rows lose a member that begins after them.
    """
    names = [column.name for column in columns]
    json_names = [column.name for column in columns if column.type is None]
    others = _other_names(columns)
    async for row in rows:
        whole = _collect_extensions(row, others)
        cells = {name: whole.get(name) for name in names}
        for name in json_names:
            cells[name] = _json_text(cells[name]) or None
        yield cells


async def _add_fractions(
    rows: AsyncIterator[Row], columns: Sequence[DatasetColumn], form: DecimalForm | None
) -> AsyncGenerator[Row]:
    """Yield rows whose decimals are numbers with a fraction, unless they are strings.

    Polars takes a column for one of integers if the first hundred rows are whole, and then fails
    at the first fraction.
    """
    names = [column.name for column in columns if column.is_decimal]
    async for row in rows:
        for name in names:
            value = row[name]
            if value is None or form is DecimalForm.STRING:
                continue
            if form is DecimalForm.NUMBER or isinstance(value, msgspec.Raw | int):
                text = _decimal_text(value)
                row[name] = msgspec.Raw((text if "." in text else f"{text}.0").encode())
        yield row


async def format_csv(
    rows: AsyncIterator[Row], columns: Sequence[DatasetColumn], *, has_mark: bool = False
) -> AsyncGenerator[bytes]:
    """Yield rows as lines of CSV (RFC 4180), after a header.

    Null is an empty cell, and an empty text is quoted. Formulas are escaped; objects and arrays
    are JSON. With `has_mark` a byte order mark precedes the header, by which Excel finds UTF-8.
    """
    names = [column.name for column in columns]
    others = _other_names(columns)
    header = ",".join(map(_quote_cell, names)) + "\r\n"
    yield (codecs.BOM_UTF8 if has_mark else b"") + header.encode()
    async for row in rows:
        table_row = _collect_extensions(row, others)
        yield (",".join([_cell(table_row.get(name)) for name in names]) + "\r\n").encode()


def _other_names(columns: Sequence[DatasetColumn]) -> frozenset[str]:
    """Return the names of columns that are no `x_` fields."""
    names = (column.name for column in columns)
    return frozenset(name for name in names if not name.startswith(EXTENSION_PREFIX))


def _collect_extensions(row: Row, others: frozenset[str]) -> Row:
    """Return the row with its `x_` fields in one column."""
    if row.keys() <= others:  # a look at each name would take a fifth of the row's time
        return row
    extensions = {k: v for k, v in row.items() if k.startswith(EXTENSION_PREFIX)}
    columns = {k: v for k, v in row.items() if k not in extensions}
    return columns | {EXTENSIONS_COLUMN: extensions}


def _convert_decimals(row: Row, names: Sequence[str], form: DecimalForm) -> Row:
    """Return the row with its decimals as JSON numbers or strings, with the same digits."""
    converted = dict(row)
    for name in names:
        value = row.get(name)
        if value is not None:
            text = _decimal_text(value)
            converted[name] = text if form is DecimalForm.STRING else msgspec.Raw(text.encode())
    return converted


def _decimal_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):  # of a column that was widened since to one of decimals
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return bytes(value).decode()


def _json_text(value: Any) -> str:
    """Return a value as JSON; empty for null and for an empty object or array."""
    text = _encode(value).decode()
    return "" if text in _EMPTY_JSON else text


def _cell(value: Any) -> str:
    """Return a value as the text of a cell; numbers keep their digits."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _quote_cell(escape_formula(str(value))) if value else '""'
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date | datetime):
        return value.isoformat().replace("+00:00", "Z")
    return _quote_cell(_json_text(value))


def _quote_cell(text: str) -> str:
    if _QUOTED_CHARACTERS.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'
