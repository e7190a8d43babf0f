"""Rows of an uploaded file as drafted records, in chunks; for one thread at a time."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from spawn.application.imports.files.record_source import RecordSource
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.imports.import_state import ImportState, RowNote, RowReason
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.record_parser import Record, RecordParser, build_decoder
from spawn.domain.imports.records.exported_records import ExportedRecordReader
from spawn.domain.imports.records.record_reader import DraftedRecord, RecordReader
from spawn.domain.imports.row_drafter import read_source
from spawn.domain.schemas.validator import SchemaValidator
from spawn.ports.runtime import ReadableFile
from spawn.ports.workers import Workers

CHUNK_RECORDS: Final = 500
"""Rows between two checkpoints."""


class RecordRow(msgspec.Struct, frozen=True):
    """A record of the file with its draft; `source` are its values by column."""

    record: Record
    draft: DraftedRecord
    source: Mapping[str, Any]


class RecordRows:
    """Rows of one file after a checkpoint."""

    def __init__(
        self,
        file: ReadableFile,
        state: ImportState,
        mapping: ImportMapping | None,
        validator: SchemaValidator | None,
        workers: Workers,
    ) -> None:
        self._state = state
        self.mapping = mapping
        self._validator = validator
        self._source = RecordSource(file, state, mapping, workers)
        self._exports = _build_export_reader(state, validator)
        self.reader = RecordReader(state.kind, mapping, validator=validator, exports=self._exports)
        self._records: Iterator[Record] = iter(())
        self._parser = RecordParser(self._source.layout)
        self._decode = build_decoder(self._source.layout.list_encodings())

    def open(self) -> None:
        """Read the header, and go to the checkpoint.

        Raises:
            InvalidInput: the header cannot be read, lacks columns, or names unknown fields.
        """
        self._source.read_header()
        self._parser = RecordParser(self._source.layout)
        self.reader = RecordReader(
            self._state.kind, self.mapping, self._source.columns, self._validator, self._exports
        )
        records = self._source.read_records()
        self._records = (one for one in records if one.end > self._state.offset)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the header; none of a file without one."""
        return self._source.columns

    def close(self) -> None:
        """Close the file; idempotent."""
        self._source.close()

    def next_chunk(self) -> list[RecordRow]:
        """Return the next rows; none at the end."""
        return [self._draft(record) for record in islice(self._records, CHUNK_RECORDS)]

    def note(self, row: RecordRow, reasons: tuple[RowReason, ...]) -> RowNote:
        """Return a row with the reasons for its quarantine."""
        raw = row.record.raw
        text = self._decode(raw)
        if text is None:
            text = raw.decode("utf-8", "backslashreplace")
        raw_line = text.replace("\0", "\u2400").rstrip("\r\n")
        return RowNote(line=row.record.line, reasons=reasons, raw_line=raw_line)

    def _draft(self, record: Record) -> RecordRow:
        source = read_source(record, self._parser, self.reader)
        if isinstance(source, RowReason):
            return RecordRow(record, DraftedRecord(None, reasons=(source,)), {})
        return RecordRow(record, self.reader.read(source), source)


def _build_export_reader(
    state: ImportState, validator: SchemaValidator | None
) -> ExportedRecordReader | None:
    """Return the reader of the kind's dataset; None if the file is no export."""
    if not state.from_export:
        return None
    governed = () if validator is None else validator.schema.governed
    columns = (*AGGREGATE_TYPES[state.kind].columns, *governed)
    return ExportedRecordReader(state.kind, columns)
