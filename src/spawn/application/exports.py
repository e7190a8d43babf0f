"""Runs of exports, and quarantined rows as NDJSON or CSV that is safe to open.

Text that a spreadsheet would treat as a formula is guarded in CSV, reversibly; numbers and NDJSON
stay unchanged.
"""

import codecs
import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.lineage.recorder import RunProgress, begin_run, end_with_body
from spawn.application.lineage.run_builder import build_export_run
from spawn.application.quality.queries import get_latest_report
from spawn.domain.errors import Unavailable
from spawn.domain.imports.export_reader import EMPTY_TEXT, mark_empty_texts
from spawn.domain.imports.formula_guard import escape_formula, unescape_formula
from spawn.domain.imports.header import QUARANTINE_COLUMNS, is_quarantine_header
from spawn.domain.imports.import_state import FileFormat, ImportState, RowNote
from spawn.domain.imports.mapping import CsvDialect, ImportMapping
from spawn.domain.imports.record_parser import (
    CellSelector,
    FileLayout,
    build_encoder,
    list_encodings,
)
from spawn.domain.principal import SERVICE_PRINCIPAL, Principal, Scope

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


@asynccontextmanager
async def record_export(
    dependencies: Dependencies, principal: Principal, file_format: StrEnum
) -> AsyncIterator[RunProgress]:
    """Record an export's run: begin it before the body, end it by the body's outcome.

    Where nothing can be written (a full disk) the export proceeds and leaves no run.

    Raises:
        Forbidden: the principal may not read.
    """
    require(principal, Scope.DATA_EXPORT)
    schema = (await dependencies.active_schema()).schema
    aggregate = await get_latest_report(dependencies, SERVICE_PRINCIPAL)
    report = None if aggregate is None else aggregate.state
    run = build_export_run(dependencies.ids.new(), file_format, schema, report)
    try:
        await begin_run(dependencies, principal.id, run)
    except Unavailable:
        yield RunProgress()
        return
    async with end_with_body(dependencies, principal.id, run) as progress:
        yield progress


class QuarantineFormatter:
    """Formatter of quarantined rows as lines to download, correct and post back.

    NDJSON has `{line, fields, reasons, raw_line}`; an import reads the `fields` of such an object.
    CSV has the file's own columns after `line`, `reasons` and `raw_line`, by which an import
    recognises it: it takes the guard against formulas off again. It uses the mapping's marks
    and the encodings of the file; UTF-8 that the mapping does not expect has a byte order mark.
    A row that could not be parsed has no fields, only its raw line.
    """

    def __init__(self, import_state: ImportState, mapping: ImportMapping | None) -> None:
        self._format = import_state.format
        self._dialect = mapping.dialect if mapping else CsvDialect()
        expected = list_encodings(import_state.format, mapping)
        encodings = import_state.encodings or expected
        self._encode = build_encoder(encodings)
        self.charset = encodings[0]
        has_mark = encodings[0] == "utf-8" != expected[0]
        self._mark = codecs.BOM_UTF8 if has_mark else b""
        self._cells = CellSelector(FileLayout(FileFormat.CSV, None, import_state.columns))
        self._has_groups = mapping is not None and bool(mapping.group_by)
        # Rows that were posted back have these columns already.
        is_returned = is_quarantine_header(import_state.columns)
        self._first = len(QUARANTINE_COLUMNS) if is_returned else 0
        self._from_export = import_state.from_export and self._format is FileFormat.CSV
        is_guarded = is_returned or self._from_export
        self._read_cell = unescape_formula if is_guarded else str
        self._columns = import_state.columns[self._first :]

    async def format_rows(
        self, rows: AsyncIterator[RowNote], file_format: FileFormat
    ) -> AsyncGenerator[bytes]:
        """Yield rows as the lines of a file; CSV begins with its header."""
        is_csv = file_format is FileFormat.CSV
        if is_csv:
            yield self.format_csv_header()
        async for row in rows:
            yield self.format_csv_row(row) if is_csv else self.format_ndjson_row(row)

    def format_ndjson_row(self, note: RowNote) -> bytes:
        """Return one row as a line of NDJSON."""
        document = {
            "line": note.line,
            "fields": self._fields(note),
            "reasons": note.reasons,
            "raw_line": note.raw_line,
        }
        return _encode(document) + b"\n"

    def format_csv_header(self) -> bytes:
        """Return the header of the CSV form."""
        return self._mark + self._encode_line((*self._leading_columns(), *self._columns))

    def format_csv_row(self, note: RowNote) -> bytes:
        """Return one row as a line of CSV."""
        reasons = "; ".join(
            f"{reason.field}: {reason.detail} ({reason.code})"
            if reason.field
            else f"{reason.detail} ({reason.code})"
            for reason in note.reasons
        )
        raw = note.raw_line or ""
        rows = self._split_rows(raw)
        if len(rows) < 2:  # noqa: PLR2004 - one row, or none that can be read
            cells = rows[0] if rows else []
            return self._encode_line((str(note.line), reasons, raw, *cells))
        # Each row of a group is a line of its own, so that they can be grouped again.
        lines = (self._encode_line((str(note.line), reasons, "", *cells)) for cells in rows)
        return b"".join(lines)

    def _encode_line(self, cells: Iterable[str]) -> bytes:
        line = self._dialect.format(map(escape_formula, cells))
        return self._encode(line.replace(EMPTY_TEXT, '""'))

    def _leading_columns(self) -> tuple[str, ...]:
        """Return `line`, `reasons`, `raw_line`, prefixed where the file has such columns."""
        return tuple(f"spawn_{n}" if n in self._columns else n for n in QUARANTINE_COLUMNS)

    def _fields(self, note: RowNote) -> Mapping[str, object] | None:
        raw = note.raw_line or ""
        rows: list[Mapping[str, object]]
        if self._format.has_cells:
            rows = [
                dict(zip(self._columns, map(self._read_null, cells), strict=True))
                for cells in self._split_rows(raw)
            ]
        else:
            try:
                rows = [
                    _members.decode(line) for line in raw.lstrip("\ufeff").encode().split(b"\n")
                ]
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                return None
        if len(rows) > 1:
            return {name: [row.get(name) for row in rows] for row in rows for name in row}
        return rows[0] if rows else None

    def _read_null(self, cell: str) -> str | None:
        """Return a cell; the CSV of an export tells an empty text from null."""
        if not self._from_export:
            return cell
        return ("" if cell == EMPTY_TEXT else cell) if cell else None

    def _split_rows(self, raw: str) -> list[list[str]]:
        """Return the cells of a raw record of CSV, which is one row or the rows of a group.

        There are none if they are not those of the header.
        """
        if not self._format.has_cells:
            return []
        try:
            rows = list(self._dialect.read(io.StringIO(raw, newline="")))
        except csv.Error:
            return []
        if len(rows) > 1 and not self._has_groups:
            return []
        fitted_rows = [cells for row in rows if (cells := self._cells.fit(row)) is not None]
        if self._from_export and len(fitted_rows) == 1:
            marked = mark_empty_texts(raw.encode(), fitted_rows[0], self._dialect.delimiter)
            fitted_rows = [marked]
        return [[self._read_cell(cell) for cell in row[self._first :]] for row in fitted_rows]
