"""Typed cells of a sheet as the texts that a mapping reads.

A sheet has numbers and dates where other files have texts. Each becomes the text that the mapping
of its column expects, so that one dialect, and one correction of a quarantined row, serves both.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from spawn.domain.imports.header import find_columns
from spawn.domain.imports.mapping import DATE_FORMAT_NAMES, ColumnMapping, ImportMapping

_MAX_EXACT_INTEGER: Final = 2**53

ERROR_VALUES: Final = frozenset(
    {
        *("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA"),
        *("#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#UNKNOWN!", "#BUSY!"),
    }
)
"""Texts of the errors of a spreadsheet's formulas."""


class CellKind(StrEnum):
    """The kind of a cell's value."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"


class SheetCell(NamedTuple):
    """A cell whose text depends on its column.

    `text` is the value with a point before its decimals, or as an ISO date. `is_merged` means a
    cell that has the value only because it is merged with one above.
    """

    kind: CellKind
    text: str
    is_merged: bool = False


class SheetRow(NamedTuple):
    """A row of a sheet: its number from 1, and its cells; a text is a cell of that text."""

    number: int
    cells: Sequence[str | SheetCell]


class _ColumnForm(NamedTuple):
    """The form of the texts of a column."""

    decimal: str
    date_formats: tuple[str, ...]
    is_filled: bool


_PLAIN: Final = _ColumnForm(".", (), is_filled=False)


class SheetCellFormatter:
    """Formatter of rows under one header; without a header every cell has its plain text."""

    def __init__(self, mapping: ImportMapping | None = None, header: Sequence[str] = ()) -> None:
        self._width = len(header)
        self._forms = [_PLAIN] * self._width
        if mapping is None:
            return
        columns = find_columns(header, mapping.source_columns).indexes
        plain = _ColumnForm(mapping.decimal, (), is_filled=False)
        self._forms = [plain] * self._width
        for column in mapping.columns:
            for name in _list_sources(column):
                if self._forms[columns[name]] is plain:
                    decimal = column.decimal or mapping.decimal
                    form = _ColumnForm(decimal, column.all_date_formats, is_filled=False)
                    self._forms[columns[name]] = form
        for name in mapping.fill_merged:
            index = columns[name]
            self._forms[index] = self._forms[index]._replace(is_filled=True)

    def format(self, cells: Sequence[str | SheetCell]) -> list[str]:
        """Return the texts of a row in the number of the header's names, if there is a header."""
        if not self._width:
            return [cell if isinstance(cell, str) else cell.text for cell in cells]
        texts = [
            cell if isinstance(cell, str) else _format_cell(cell, form)
            for cell, form in zip(cells, self._forms, strict=False)
        ]
        return texts + [""] * (self._width - len(texts))


def _list_sources(column: ColumnMapping) -> tuple[str, ...]:
    pairs = column.sponsor_columns
    return (*column.sources, *(pair.share for pair in pairs if pair.share is not None))


def _format_cell(cell: SheetCell, form: _ColumnForm) -> str:
    if cell.is_merged and not form.is_filled:
        return ""
    if cell.kind is CellKind.NUMBER:
        return cell.text if form.decimal == "." else cell.text.replace(".", form.decimal)
    if cell.kind is CellKind.DATE and form.date_formats:
        return _format_date(cell.text, form.date_formats)
    return cell.text


def _format_date(text: str, formats: tuple[str, ...]) -> str:
    """Return a date by the first format with a day; one with a time if the cell has a time."""
    directives = [one for one in formats if one not in DATE_FORMAT_NAMES and "%d" in one]
    if not directives or "iso" in formats:
        return text
    has_time = "T" in text
    best = next((one for one in directives if ("%H" in one) == has_time), directives[0])
    return datetime.fromisoformat(text).strftime(best)


def format_number(value: float) -> str:
    """Return the digits of a number as a spreadsheet has them: 15, and all of a whole number."""
    if value.is_integer() and abs(value) <= _MAX_EXACT_INTEGER:
        return str(int(value))
    return format(Decimal(f"{value:.15g}"), "f")
