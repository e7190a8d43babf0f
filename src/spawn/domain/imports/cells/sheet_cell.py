"""Typed cells of a sheet as the texts that a mapping reads.

A sheet has numbers and dates where other files have texts. Each becomes the text that the mapping
of its column expects, so that one dialect, and one correction of a quarantined row, serves both.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from spawn.domain.imports.cells.date_text import compile_date_parser
from spawn.domain.imports.header import find_columns
from spawn.domain.imports.mapping import (
    DATE_FORMAT_NAMES,
    ColumnMapping,
    DayOfPeriod,
    ImportMapping,
)

_MAX_EXACT_INTEGER: Final = 2**53
_SERIAL_EPOCH: Final = date(1899, 12, 30)

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
    date_formats: tuple[str, ...] = ()
    period: DayOfPeriod | None = None
    is_filled: bool = False


_PLAIN: Final = _ColumnForm(".")


class SheetCellFormatter:
    """Formatter of rows under one header; without a header every cell has its plain text."""

    def __init__(self, mapping: ImportMapping | None = None, header: Sequence[str] = ()) -> None:
        self._width = len(header)
        self._forms = [_PLAIN] * self._width
        if mapping is None:
            return
        columns = find_columns(header, mapping.source_columns).indexes
        plain = _ColumnForm(mapping.decimal)
        self._forms = [plain] * self._width
        for column in mapping.columns:
            for name in _list_sources(column):
                if self._forms[columns[name]] is plain:
                    decimal = column.decimal or mapping.decimal
                    form = _ColumnForm(decimal, column.all_date_formats, column.period)
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
        return _format_date(cell.text, form.date_formats, form.period)
    return cell.text


@lru_cache(4096)
def _format_date(text: str, formats: tuple[str, ...], period: DayOfPeriod | None) -> str:
    """Return a date in a form that the column reads as that very day; else as it is.

    Forms with a day come first, then those with a time if the cell has one. A day that no form
    says, such as one of a century that two digits do not mean, stays and is rejected.
    """
    if "iso" in formats:
        return text
    moment = datetime.fromisoformat(text)
    directives = [one for one in formats if one not in DATE_FORMAT_NAMES]
    directives.sort(key=lambda one: ("%d" not in one, ("%H" in one) != ("T" in text)))
    written = [moment.strftime(one) for one in directives]
    written += [str(moment.year), str((moment.date() - _SERIAL_EPOCH).days)]
    parse, day = _parser_of(formats, period), moment.date().isoformat()
    return next((one for one in written if parse(one) == day), text)


_parser_of = lru_cache(64)(compile_date_parser)


def format_number(value: float) -> str:
    """Return the digits of a number as a spreadsheet has them: 15, and all of a whole number."""
    if value.is_integer() and abs(value) <= _MAX_EXACT_INTEGER:
        return str(int(value))
    return format(Decimal(f"{value:.15g}"), "f")
