"""Source of the records of an uploaded file: its text, its header, its lines."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import Final, Protocol, TypeVar

from spawn.application.imports.files.file_records import (
    PhysicalLine,
    distinguish_null,
    read_csv_records,
    read_json_records,
    read_physical_lines,
)
from spawn.application.imports.files.json_document import read_json_items
from spawn.application.imports.files.row_groups import group_records
from spawn.application.imports.files.sheet_records import SheetRecords
from spawn.application.imports.files.text_stream import TextStream, open_text
from spawn.application.imports.files.xml_records import read_xml_records
from spawn.domain.errors import InvalidInput
from spawn.domain.imports.export_reader import EXPORT_COLUMNS
from spawn.domain.imports.formula_guard import unescape_formula
from spawn.domain.imports.header import (
    count_named_columns,
    describe_mismatch,
    find_columns,
    is_quarantine_header,
)
from spawn.domain.imports.import_state import FileFormat, ImportKind, ImportState
from spawn.domain.imports.mapping import CsvDialect, ImportMapping
from spawn.domain.imports.record_parser import (
    FileLayout,
    Record,
    build_decoder,
    list_encodings,
)
from spawn.domain.imports.records.exported_records import ID_COLUMNS
from spawn.domain.imports.row_reader import RowReader
from spawn.ports.runtime import ReadableFile
from spawn.ports.workers import Workers

MAX_COLUMNS = 2_000
"""Maximum columns of a CSV file, since each checkpoint stores their names."""

_FURTHER_SHEET: Final = re.compile(r"projects \d+")
"""Names of the sheets in which a large export goes on."""

MAX_TITLE_RECORDS: Final = 50
"""Records among which the header is looked for if the mapping does not say where it is."""


class Closable(Protocol):
    """Owner of open files, until it is closed."""

    def close(self) -> None:
        """Close the files; idempotent."""
        ...


Source = TypeVar("Source", bound=Closable)


async def open_in_thread(build: Callable[[], Source], executor: Executor | None = None) -> Source:
    """Build an owner of open files in a thread; close it if the caller is cancelled meanwhile."""
    lock, is_abandoned, built = threading.Lock(), False, list[Source]()

    def build_or_close() -> Source:
        source = build()
        with lock:
            built.append(source)
            if is_abandoned:
                source.close()
        return source

    try:
        return await asyncio.get_running_loop().run_in_executor(executor, build_or_close)
    except asyncio.CancelledError:
        # The thread goes on, and nobody else would have what it opens. To wait for it could be
        # cancelled once more.
        with lock:
            is_abandoned = True
            for source in built:
                source.close()
        raise


def _list_export_columns(kind: ImportKind) -> frozenset[str]:
    """Return the columns by which the header of an export is recognised."""
    return EXPORT_COLUMNS if kind is ImportKind.PROJECT else frozenset({ID_COLUMNS[kind]})


class RecordSource:
    """Records of one file, read from its beginning as often as needed; for one thread."""

    def __init__(
        self,
        file: ReadableFile,
        import_state: ImportState,
        mapping: ImportMapping | None,
        workers: Workers,
    ) -> None:
        self._file = file
        self._format = import_state.format
        self._mapping = mapping
        self._dialect = mapping.dialect if mapping else CsvDialect()
        self._from_export = import_state.from_export
        self._required_columns = mapping.source_columns if mapping else frozenset[str]()
        if self._from_export:
            self._required_columns = _list_export_columns(import_state.kind)
        self._lock, self._is_closed = threading.Lock(), False
        self._stream: TextStream | None = None
        self._sheet: SheetRecords | None = None
        if self._format is FileFormat.XLSX:
            self._sheet = SheetRecords(file, mapping, workers)
        self._title_lines = 0
        self._title_records = 0
        self._open_stream()
        self.columns: tuple[str, ...] = ()

    @property
    def layout(self) -> FileLayout:
        """The layout of the records."""
        encodings = self._get_stream().encodings
        return FileLayout(self._format, self._mapping, self.columns, encodings, self._from_export)

    def close(self) -> None:
        """Close the file; idempotent, and from any thread: one that reads opens it no more."""
        with self._lock:
            self._is_closed = True
            if self._stream is not None:
                self._stream.file.close()
        if self._sheet is not None:
            self._sheet.close()

    def read_header(self) -> None:
        """Find the header of a file with cells; other files have none.

        Raises:
            InvalidInput: the header cannot be read, or lacks columns.
        """
        if not self._format.has_cells:
            return
        self.columns = self._find_header()
        if self._sheet is not None:
            # A sheet may have notes beside its table.
            self.columns = self.columns[: count_named_columns(self.columns)]
            self._sheet.set_header(self.columns)
            self._check_sheets(self._sheet.sheets)

    def _check_sheets(self, sheets: Sequence[str]) -> None:
        """Reject an export that goes on in another sheet, unless the mapping names one.

        Raises:
            InvalidInput: the rows of the other sheet would be left out.
        """
        is_chosen = self._mapping is not None and self._mapping.sheet is not None
        others = [name for name in sheets if _FURTHER_SHEET.fullmatch(name)]
        if self._from_export and not is_chosen and others:
            detail = f"The table goes on in {', '.join(others)}: import each with `sheet`, or CSV"
            raise InvalidInput.at("", "several_sheets", detail)

    def read_records(self, reader: RowReader | None = None) -> Iterator[Record]:
        """Return the records after the header; `reader` combines those of a group."""
        records = self._read_rows()
        if reader is None or self._mapping is None or not self._mapping.group_by:
            return records
        return group_records(records, self.layout, reader)

    def _read_rows(self) -> Iterator[Record]:
        if self._sheet is None:
            self._open_stream()
        element = self._mapping.record_element if self._mapping else None
        if self._format is FileFormat.XML:
            return read_xml_records(self._get_stream().file, element)
        if self._format is FileFormat.JSON:
            return read_json_items(self._get_stream().file, element)
        if self._format is FileFormat.NDJSON:
            return read_json_records(self._read_lines())
        records = self._read_cells(self._title_lines)
        rows = islice(records, self._title_records + 1, None)
        if not self._from_export or self._sheet is not None:
            return rows
        return (distinguish_null(row, self._dialect.delimiter) for row in rows)

    def _open_stream(self) -> None:
        with self._lock:
            if self._is_closed:
                raise ValueError("The source of the records is closed.")
            if self._stream is not None:
                self._stream.file.close()
            if self._format in {FileFormat.XML, FileFormat.XLSX}:
                # The document declares its encoding itself.
                self._stream = TextStream(self._file.open("rb"), ("utf-8",), 0)
            else:
                encodings = list_encodings(self._format, self._mapping)
                self._stream = open_text(self._file, encodings)

    def _get_stream(self) -> TextStream:
        assert self._stream is not None, "the stream is open from the construction on"  # noqa: S101 - an invariant
        return self._stream

    def _read_lines(self) -> Iterator[PhysicalLine]:
        stream = self._get_stream()
        return read_physical_lines(stream.file, stream.start)

    def _read_cells(self, title_lines: int) -> Iterator[Record]:
        """Return the records after a number of lines, of a stream that is at its beginning."""
        if self._sheet is not None:
            return self._sheet.read(title_lines)
        lines = islice(self._read_lines(), title_lines, None)
        decode = build_decoder(self._get_stream().encodings)
        return read_csv_records(lines, decode, self._dialect)

    def _find_header(self) -> tuple[str, ...]:
        """Return the names of the header, and set the number of lines and records before it."""
        self._title_lines = self._title_records = 0
        records = list(islice(self._read_cells(0), MAX_TITLE_RECORDS))
        if records and is_quarantine_header(records[0].cells):
            return self._check_header(records[0])
        title_lines = self._mapping.title_lines if self._mapping else None
        if title_lines is not None:
            self._title_lines = title_lines
            self._open_stream()
            return self._check_header(next(self._read_cells(title_lines), None))
        for index, record in enumerate(records):
            columns = find_columns(record.cells, self._required_columns)
            if not record.parse_error and columns.is_complete:
                self._title_records = index
                return self._check_header(record)
        return self._check_header(records[0] if records else None)

    def _check_header(self, header: Record | None) -> tuple[str, ...]:
        if header is None or header.parse_error is not None:
            detail = "the file is empty" if header is None else header.parse_error.detail  # type: ignore[union-attr] # one of the two
            raise InvalidInput.at("", "no_header", f"The header cannot be read: {detail}")
        if len(header.cells) > MAX_COLUMNS:
            detail = f"The header has {len(header.cells)} columns; the maximum is {MAX_COLUMNS}"
            raise InvalidInput.at("", "too_many", detail)
        names = [*header.cells]
        if is_quarantine_header(names):
            names = list(map(unescape_formula, names))
        columns = find_columns(names, self._required_columns)
        if not columns.is_complete:
            detail = describe_mismatch(names, columns)
            if self._sheet is not None:
                detail += f"; the sheets are: {', '.join(self._sheet.sheets)}"
            raise InvalidInput.at("", "header_mismatch", detail)
        return tuple(names)
