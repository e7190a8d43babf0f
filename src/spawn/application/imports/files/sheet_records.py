"""Records of a sheet of a workbook, as those of a CSV file with the mapping's delimiter.

The number of a row is its line, and the text of a quarantined row is CSV, to be corrected there.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final

from spawn.application.imports.files.file_records import (
    MAX_LINE_BYTES,
    RAW_PREFIX_BYTES,
    TOO_LONG,
)
from spawn.domain.imports.cells.sheet_cell import SheetCellFormatter, SheetRow
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.record_parser import Record
from spawn.ports.runtime import ReadableFile
from spawn.ports.workers import WorkbookReader, Workers

_HEAD_ROWS: Final = 100


class SheetRecords:
    """Records of one sheet, read from its beginning as often as needed; for one thread.

    The first rows are kept, so that reading goes on after the header has been found among them.
    """

    def __init__(self, file: ReadableFile, mapping: ImportMapping | None, workers: Workers) -> None:
        self._file = file
        self._mapping = mapping
        self._workers = workers
        self._reader: WorkbookReader | None = None
        self._head: list[SheetRow] = []
        self._rest: Iterator[SheetRow] = iter(())
        self._is_at_head = False
        self._formatter = SheetCellFormatter()
        self._delimiter = mapping.delimiter if mapping else ","

    @property
    def sheets(self) -> tuple[str, ...]:
        """The names of the workbook's sheets; none before a row was read."""
        return self._reader.sheets if self._reader is not None else ()

    def set_header(self, header: Sequence[str]) -> None:
        """Format the records that are read from now on under a header."""
        self._formatter = SheetCellFormatter(self._mapping, header)

    def read(self, start: int = 0) -> Iterator[Record]:
        """Yield the records of the rows with content after row `start`.

        Raises:
            InvalidInput: the file is no workbook, is too large, or lacks the sheet.
        """
        end = 0
        for number, cells in self._read_rows():
            texts = self._formatter.format(cells)
            raw = _format_row(texts, self._delimiter)
            end += len(raw)
            if number <= start:
                continue
            if len(raw) > MAX_LINE_BYTES:
                yield Record(number, end, raw[:RAW_PREFIX_BYTES], (), TOO_LONG)
            else:
                yield Record(number, end, raw, texts)

    def close(self) -> None:
        """End the reader; idempotent."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _read_rows(self) -> Iterator[SheetRow]:
        if self._reader is None or not self._is_at_head:
            self.close()
            self._reader = self._workers.open_workbook(
                self._file, self._mapping.sheet if self._mapping else None
            )
            self._rest, self._head = _unpack_rows(self._reader), []
        self._is_at_head = True
        yield from [*self._head]
        for row in self._rest:
            self._is_at_head = len(self._head) < _HEAD_ROWS
            if self._is_at_head:
                self._head.append(row)
            yield row


def _unpack_rows(reader: WorkbookReader) -> Iterator[SheetRow]:
    while rows := reader.read_rows():
        yield from rows


def _format_row(texts: Sequence[str], delimiter: str) -> bytes:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(texts)
    return line.getvalue().encode("utf-8", "backslashreplace")
