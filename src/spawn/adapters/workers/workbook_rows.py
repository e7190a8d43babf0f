"""Rows of an Excel workbook, read by the subprocess of a `WorkbookSubprocess`.

This module imports little, since each import of a workbook starts it anew.
"""

import pickle
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import python_calamine

from spawn.adapters.workers.sheet_scan import MEMORY_BYTES, TOO_LARGE, SheetScan, scan_sheet
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.cells.sheet_cell import CellKind, SheetCell, SheetRow, format_number

_BATCH_ROWS: Final = 500
_BATCH_CHARACTERS: Final = 1024 * 1024
"""A batch ends at the first of both limits."""
_MAX_ROW_CHARACTERS: Final = 2 * 1024 * 1024
"""Characters of a row that are sent; the service accepts half as many bytes."""


def serve_rows(path: Path, sheet: str | int | None, sink: BinaryIO) -> None:
    """Write the names of the sheets, batches of rows and an empty batch to `sink`."""

    def send(message: object) -> None:
        pickle.dump(message, sink, pickle.HIGHEST_PROTOCOL)
        sink.flush()

    try:
        for message in _read_messages(path, sheet):
            send(message)
    except InvalidInput as error:
        send(error.errors[0])
    except MemoryError:
        send(FieldError("", "too_large", TOO_LARGE))


def _read_messages(path: Path, sheet: str | int | None) -> Iterator[object]:
    scan = scan_sheet(path, sheet)
    yield scan.sheets
    try:
        workbook = python_calamine.CalamineWorkbook.from_path(path)
        content = workbook.get_sheet_by_name(scan.name)
    except python_calamine.CalamineError as error:
        raise InvalidInput.at("", "malformed", f"The workbook is damaged: {error}") from None
    rows: list[SheetRow] = []
    size = 0
    for row in _read_rows(content, scan):
        rows.append(row)
        size += _count_characters(row.cells)
        if len(rows) >= _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
    yield []


def _read_rows(content: Any, scan: SheetScan) -> Iterator[SheetRow]:
    """Yield the rows with content, with the errors of cells, which the reader leaves empty."""
    # The rows are those from the first of the sheet, the cells those from the first with a value.
    _, first_column = content.start or (0, 0)
    merged_cells = _MergedCells(scan.merged_ranges)
    for number, values in enumerate(content.iter_rows()):
        cells: list[str | SheetCell] = [
            value if type(value) is str else _CONVERSIONS[type(value)](value) for value in values
        ]
        for column, text in scan.errors.get(number, {}).items():
            cells[column - first_column] = text
        merged_cells.fill(number, first_column, cells)
        if any(cells):
            yield SheetRow(number + 1, _limit_texts(cells))


def _count_characters(cells: Sequence[str | SheetCell]) -> int:
    return sum(len(cell) for cell in cells if isinstance(cell, str))


def _limit_texts(cells: list[str | SheetCell]) -> list[str | SheetCell]:
    """Return the cells of a row, cut where they exceed what any record may have.

    The import rejects such a row. Its texts must not fill the memory of the service before.
    """
    if _count_characters(cells) <= _MAX_ROW_CHARACTERS:
        return cells
    room = _MAX_ROW_CHARACTERS
    limited_cells: list[str | SheetCell] = []
    for cell in cells:
        limited_cells.append(cell[:room] if isinstance(cell, str) else cell)
        room -= len(cell) if isinstance(cell, str) else 0
        room = max(room, 0)
    return limited_cells


class _MergedCells:
    """The merged cells of one row after the other: each has the value of the one above."""

    def __init__(self, ranges: Sequence[tuple[int, int, int]]) -> None:
        self._ranges = sorted(ranges, reverse=True)
        self._open: list[tuple[int, int, SheetCell]] = []

    def fill(self, row: int, first_column: int, cells: list[str | SheetCell]) -> None:
        """Fill the merged cells of a row, and begin the ranges of which it is the first."""
        self._open = [one for one in self._open if one[0] >= row]
        for _, column, cell in self._open:
            if not cells[column - first_column]:
                cells[column - first_column] = cell
        while self._ranges and self._ranges[-1][0] <= row:
            first, last, column = self._ranges.pop()
            index = column - first_column
            if first == row and 0 <= index < len(cells) and (value := cells[index]):
                copy = SheetCell(CellKind.TEXT, value) if isinstance(value, str) else value
                self._open.append((last, column, copy._replace(is_merged=True)))


def _convert_time(value: datetime) -> SheetCell:
    # Days are stored as binary fractions, so that a second may be a microsecond off.
    instant = value + timedelta(microseconds=500)
    text = instant.replace(microsecond=instant.microsecond // 1000 * 1000).isoformat()
    return SheetCell(CellKind.DATE, text)


def _convert_number(value: float) -> SheetCell:
    return SheetCell(CellKind.NUMBER, format_number(float(value)))


_CONVERSIONS: Final[dict[type, Callable[[Any], str | SheetCell]]] = {
    float: _convert_number,
    int: _convert_number,
    bool: lambda value: "true" if value else "false",
    date: lambda value: SheetCell(CellKind.DATE, value.isoformat()),
    datetime: _convert_time,
    time: lambda value: value.isoformat(),
    timedelta: str,
}


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    _limit_memory()
    serve_rows(
        Path(sys.argv[1]),
        pickle.load(sys.stdin.buffer),  # noqa: S301 - written by the parent process
        sys.stdout.buffer,
    )
