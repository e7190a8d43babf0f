"""Writer of rows to an Excel workbook, run as a subprocess.

It reads lines of JSON: first the name and the columns of the table, then one object for each row. A
workbook is complete only at its end, so that its sheets are temporary files until then; memory is
bounded by one row. Beyond the last row of a sheet the table goes on in another.
"""

import re
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any, BinaryIO, Final

import msgspec
import xlsxwriter  # type: ignore[import-untyped]  # the package has no types
from xlsxwriter.exceptions import (  # type: ignore[import-untyped]  # the package has no types
    XlsxWriterException,
)

from spawn.adapters.workers.workbook_encoder import EXIT_DISK_FULL, FULL_DISK_ERRORS

MAX_SHEET_ROWS: Final = 1_048_576
"""Rows of a sheet, its header included."""
MAX_CELL_CHARACTERS: Final = 32_767
"""UTF-16 code units of a cell, at most; a longer text is cut, which its end says."""

_IMPORTED_TABLE: Final = "projects"
"""Table that imports read back, so that it must have the exact values."""
_ASSIGNED_COLUMNS: Final = frozenset({"created_at", "updated_at"})
"""Columns that an import assigns anew."""
_MAX_DIGITS: Final = 15
_FIRST_DAY: Final = date(1900, 3, 1)
"""Day from which on the calendar of spreadsheets is the common one."""
_DIGITS = re.compile(r"-?0*(\d*)\.?(\d*)")

Write = Callable[[int, int, Any], object]
"""Function of row, column and a JSON value that is not null."""


class TableHead(msgspec.Struct, frozen=True):
    """The first line: the name of the table, and the name and the kind of each column.

    Kinds are `text`, `number`, `boolean`, `date` and `timestamp`.
    """

    name: str
    columns: list[tuple[str, str]]


def write_workbook(source: BinaryIO, sink: BinaryIO) -> None:
    """Write the rows of `source` as a workbook to `sink`, which need not be seekable."""
    head = msgspec.json.decode(source.readline(), type=TableHead)
    names = [name for name, _ in head.columns]
    rows = _read_rows(source)
    # Closed only at the end of the rows: a part of a workbook is a workbook too.
    book = xlsxwriter.Workbook(sink, {"constant_memory": True})
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
    bold = book.add_format({"bold": True})
    row = next(rows, None)
    number = 0
    while number == 0 or row is not None:
        number += 1
        sheet = book.add_worksheet(head.name if number == 1 else f"{head.name} {number}")
        sheet.freeze_panes(1, 0)
        for column, name in enumerate(names):
            sheet.write_string(0, column, name, bold)
        select = _CellWriter(sheet, day, time).select
        is_exact = head.name == _IMPORTED_TABLE
        writers = [
            select(kind, is_exact=is_exact and column not in _ASSIGNED_COLUMNS)
            for column, kind in head.columns
        ]
        line = 1
        while row is not None and line < MAX_SHEET_ROWS:
            for column, name in enumerate(names):
                if (value := row.get(name)) is not None:
                    writers[column](line, column, value)
            row = next(rows, None)
            line += 1
    book.close()


def _read_rows(source: BinaryIO) -> Iterator[dict[str, Any]]:
    return map(msgspec.json.Decoder(dict[str, Any]).decode, source)


class _CellWriter:
    """Writer of the values of a sheet by the kind of their column."""

    def __init__(self, sheet: Any, day: Any, time: Any) -> None:
        self._sheet = sheet
        self._day = day
        self._time = time

    def select(self, kind: str, *, is_exact: bool = False) -> Write:
        """Return the function that writes the values of a kind.

        With `is_exact` a value that a sheet would round is a text.
        """
        if is_exact and kind == "number":
            return self._write_exact_number
        if is_exact and kind == "timestamp":
            return self._write_exact_time
        writers: dict[str, Write] = {
            "number": self._write_number,
            "boolean": self._sheet.write_boolean,
            "date": self._write_date,
            "timestamp": self._write_time,
        }
        return writers.get(kind, self._write_text)

    def _write_text(self, row: int, column: int, value: str) -> None:
        # A text is never a formula, a number or an address.
        self._sheet.write_string(row, column, _cut(value) if len(value) > _HALF_CELL else value)

    def _write_number(self, row: int, column: int, value: str | float) -> None:
        if isinstance(value, int | str) and _count_digits(str(value)) > _MAX_DIGITS:
            self._sheet.write_string(row, column, str(value))
        else:
            self._sheet.write_number(row, column, float(value))

    def _write_exact_number(self, row: int, column: int, value: str | float) -> None:
        if isinstance(value, float) and float(format(value, ".15g")) != value:
            self._sheet.write_string(row, column, repr(value))
        else:
            self._write_number(row, column, value)

    def _write_exact_time(self, row: int, column: int, value: str) -> None:
        if datetime.fromisoformat(value).microsecond % 1000:
            self._sheet.write_string(row, column, value)
        else:
            self._write_time(row, column, value)

    def _write_date(self, row: int, column: int, value: str) -> None:
        result = date.fromisoformat(value)
        if result < _FIRST_DAY:
            self._sheet.write_string(row, column, value)
        else:
            self._sheet.write_datetime(row, column, result, self._day)

    def _write_time(self, row: int, column: int, value: str) -> None:
        result = datetime.fromisoformat(value).replace(tzinfo=None)
        if result.date() < _FIRST_DAY:
            self._sheet.write_string(row, column, value)
        else:
            self._sheet.write_datetime(row, column, result, self._time)


_HALF_CELL: Final = MAX_CELL_CHARACTERS // 2
"""Characters that fit a cell even if each is two code units."""


def _cut(text: str) -> str:
    """Return a text that fits a cell, with the number of its characters if it was longer."""
    units = text.encode("utf-16-le")
    if len(units) <= 2 * MAX_CELL_CHARACTERS:
        return text
    note = f"… ({len(text)} characters)"
    return units[: 2 * (MAX_CELL_CHARACTERS - len(note))].decode("utf-16-le", "ignore") + note


def _count_digits(text: str) -> int:
    """Return the significant digits of a number without exponent."""
    match = _DIGITS.fullmatch(text)
    if match is None:
        return 0
    whole, decimals = match[1], match[2]
    if whole:
        return len(whole) + len(decimals.rstrip("0")) if decimals.rstrip("0") else len(whole)
    return len(decimals.strip("0"))


def _is_disk_full(failure: BaseException | None) -> bool:
    """Return whether a failure, or the one that it hides, is of a disk without room."""
    while failure is not None:
        number = failure.errno if isinstance(failure, OSError) else None
        if number in FULL_DISK_ERRORS:
            return True
        failure = failure.__cause__ or failure.__context__
    return False


def main() -> int:
    """Write the workbook; return the exit code."""
    try:
        write_workbook(sys.stdin.buffer, sys.stdout.buffer)
    except (OSError, XlsxWriterException) as failure:
        if _is_disk_full(failure):
            return EXIT_DISK_FULL
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
