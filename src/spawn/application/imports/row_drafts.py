"""Draft projects from records, in the calling thread or in a subprocess.

Reading and validating a row takes several times as long as committing it, and holds the
interpreter lock meanwhile. Large files are drafted in a second process: the service stays
responsive, and both cores work. The process lives as long as its import; it ends when its input
ends, even if the service is killed.
"""

import gc
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import BinaryIO, Protocol, cast

import msgspec

from spawn.application.imports.file_records import Record, build_decoder, list_encodings
from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.imports.fast_row_reader import FastRowReader
from spawn.domain.imports.import_state import FileFormat, RowReason
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.row_reader import RowReader, RowResult
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.projects.codec import encode_project
from spawn.domain.projects.project import build_reservation_id, list_changed_fields
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.validator import compile_schema

QUARANTINE_ENVELOPE = frozenset({"line", "fields", "reasons", "raw_line"})
"""Members of a quarantined row as it is downloaded, and posted back with corrected fields."""

_EXIT_TIMEOUT_S = 5.0


class ProjectDraft(msgspec.Struct, frozen=True, gc=False):
    """A valid new project as its encoded document.

    `changed` and `reason` are for its event; `reference` is the id of its external reference.
    """

    project_id: str
    document: bytes
    changed: tuple[str, ...]
    reason: str | None
    reference: str | None


class RowDraft(msgspec.Struct, frozen=True):
    """Draft of one record: a `RowResult` with its project encoded."""

    key: str | None
    project_draft: ProjectDraft | None = None
    reasons: tuple[RowReason, ...] = ()
    warnings: tuple[RowReason, ...] = ()


_PackedDraft = tuple[
    str | None,
    tuple[str, bytes, tuple[str, ...], str | None, str | None] | None,
    tuple[RowReason, ...],
    tuple[RowReason, ...],
]


RecordBatch = tuple[Sequence[Record], Sequence[str]]
"""Records, and one id for each."""


class FileLayout(msgspec.Struct, frozen=True):
    """Layout of a file's records; `columns` are those of a CSV header."""

    file_format: FileFormat
    mapping: ImportMapping | None
    columns: tuple[str, ...] = ()


class Drafter(Protocol):
    """Drafter of records under one schema and one layout, one batch at a time."""

    def begin(self, records: Sequence[Record], ids: Sequence[str]) -> None:
        """Start drafting a batch; each record's project gets the id at the same index."""
        ...

    def take_results(self) -> Callable[[], list[RowDraft]]:
        """Return a function that unpacks the last batch; the next may begin before the call."""
        ...

    def close(self) -> None:
        """Release all resources; idempotent."""
        ...


class RecordParser:
    """Parser of records: column → token, or the reason why a record is unreadable."""

    def __init__(self, layout: FileLayout) -> None:
        self._columns = layout.columns
        self._csv = layout.file_format is FileFormat.CSV
        encodings = list_encodings(layout.file_format, layout.mapping)
        self._decode = None if encodings == ("utf-8",) else build_decoder(encodings)
        self._has_mapping = layout.mapping is not None

    def parse(self, record: Record) -> Mapping[str, Token] | RowReason:
        """Return the tokens of a record by column, or the reason why it is unreadable."""
        if record.parse_error is not None:
            return record.parse_error
        if self._csv:
            if len(record.cells) != len(self._columns):
                detail = f"{len(record.cells)} cells, where the header has {len(self._columns)}"
                return RowReason("", "wrong_cell_count", detail)
            return dict(zip(self._columns, record.cells, strict=True))
        return self._parse_json(record.raw)

    def _parse_json(self, raw: bytes) -> Mapping[str, Token] | RowReason:
        if self._decode is not None:
            raw = (self._decode(raw) or "").encode()
        try:
            tokens = parse_object(raw)
        except MalformedBody as error:
            return RowReason("", "malformed_line", error.detail)
        except InvalidInput as error:
            return RowReason("", "malformed_line", error.errors[0].detail)
        if self._has_mapping and tokens.keys() == QUARANTINE_ENVELOPE:
            fields = tokens["fields"]
            return fields if isinstance(fields, dict) else tokens
        return tokens


class InlineDrafter:
    """Drafter in the calling thread."""

    def __init__(self, reader: RowReader, layout: FileLayout) -> None:
        self._reader = reader
        self._parser = RecordParser(layout)
        is_plain = layout.file_format is FileFormat.NDJSON and layout.mapping is None
        self._fast_reader = FastRowReader(reader.validator) if is_plain else None
        self._batch: RecordBatch = ((), ())

    def begin(self, records: Sequence[Record], ids: Sequence[str]) -> None:
        """Store a batch."""
        self._batch = (records, ids)

    def take_results(self) -> Callable[[], list[RowDraft]]:
        """Return a function that drafts the last batch when it is called."""
        records, ids = self._batch
        return lambda: self.draft_rows(records, ids)

    def draft_rows(self, records: Sequence[Record], ids: Sequence[str]) -> list[RowDraft]:
        """Return the draft of each record."""
        return _unpack_drafts(self.draft_packed(records, ids))

    def draft_packed(self, records: Sequence[Record], ids: Sequence[str]) -> list[_PackedDraft]:
        """Return the drafts as plain tuples, which a pipe transfers quickly."""
        if self._fast_reader is None:
            return [self._draft_checked(r, i) for r, i in zip(records, ids, strict=True)]
        read = self._fast_reader.read
        return [
            self._draft_checked(record, project_id)
            if record.parse_error or (draft := read(record.raw, project_id)) is None
            else (
                draft.key,
                (project_id, draft.document, draft.changed, draft.reason, draft.reference),
                (),
                (),
            )
            for record, project_id in zip(records, ids, strict=True)
        ]

    def _draft_checked(self, record: Record, project_id: str) -> _PackedDraft:
        source = self._parser.parse(record)
        if isinstance(source, RowReason):
            return None, None, (source,), ()
        return _pack_result(self._reader.read(source, project_id), self._reader.validator.schema)

    def close(self) -> None:
        """Do nothing: there is no resource to release."""


class SubprocessDrafter:
    """Drafter in a subprocess; falls back to the calling thread if it dies."""

    def __init__(self, reader: RowReader, layout: FileLayout) -> None:
        self._fallback = InlineDrafter(reader, layout)
        self._schema = reader.validator.schema
        self._csv = layout.file_format is FileFormat.CSV
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-m", "spawn.application.imports.row_drafts"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # An interrupt at the terminal must reach only the service, which ends this process.
            start_new_session=True,
        )
        self._setup = pickle.dumps((self._schema, layout, reader.on_date), pickle.HIGHEST_PROTOCOL)
        self._batch: RecordBatch = ((), ())

    def begin(self, records: Sequence[Record], ids: Sequence[str]) -> None:
        """Send a batch; the process is idle and reads it at once."""
        self._batch = (records, ids)
        if self._process is None:
            return
        # Send only the parts that the process needs.
        parts = [r.parse_error or (r.cells if self._csv else r.raw) for r in records]
        sink = cast("BinaryIO", self._process.stdin)
        try:
            sink.write(self._setup)
            pickle.dump((parts, list(ids)), sink, pickle.HIGHEST_PROTOCOL)
            sink.flush()
        except OSError:
            self.close()
        self._setup = b""

    def take_results(self) -> Callable[[], list[RowDraft]]:
        """Wait for the results; without any, return a function that drafts the batch here."""
        records, ids = self._batch
        if self._process is not None:
            source = cast("BinaryIO", self._process.stdout)
            try:
                # Only our own subprocess writes to this pipe.
                packed_drafts: list[_PackedDraft] = pickle.load(source)  # noqa: S301 - as the line above says
            except (OSError, EOFError, pickle.UnpicklingError):
                self.close()
            else:
                return lambda: _unpack_drafts(packed_drafts)
        return lambda: self._fallback.draft_rows(records, ids)

    def close(self) -> None:
        """Kill the process, whose remaining work is not needed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close_quietly(pipe)
        process.wait(_EXIT_TIMEOUT_S)


def _close_quietly(pipe: object) -> None:
    try:
        cast("BinaryIO", pipe).close()
    except BrokenPipeError:
        return  # The process is dead: unflushed data is not needed.


def _pack_result(row_result: RowResult, schema: Schema) -> _PackedDraft:
    """Return a row's result with its project encoded."""
    project, project_draft = row_result.project, None
    if project is not None:
        reference = project.external_ref
        project_draft = (
            project.project_id,
            encode_project(project, schema),
            list_changed_fields(None, project),
            project.status_reason,
            None if reference is None else build_reservation_id(reference),
        )
    return row_result.key, project_draft, row_result.reasons, row_result.warnings


def _unpack_drafts(packed_drafts: list[_PackedDraft]) -> list[RowDraft]:
    return [
        RowDraft(
            key, None if project_draft is None else ProjectDraft(*project_draft), reasons, warnings
        )
        for key, project_draft, reasons, warnings in packed_drafts
    ]


def _unpack_record(part: bytes | Sequence[str] | RowReason) -> Record:
    """Return a record with only its bytes, its cells or its error."""
    if isinstance(part, RowReason):
        return Record(0, 0, b"", (), part)
    return Record(0, 0, part) if isinstance(part, bytes) else Record(0, 0, b"", part)


def serve_requests(source: BinaryIO, sink: BinaryIO) -> None:
    """Draft batches from `source` to `sink` until the input ends; run by the subprocess."""
    setup = pickle.load(source)  # noqa: S301 - written by the parent process
    schema, layout, on = cast("tuple[Schema, FileLayout, date | None]", setup)
    drafter = InlineDrafter(RowReader(compile_schema(schema), layout.mapping, on), layout)
    while True:
        try:
            parts, ids = pickle.load(source)  # noqa: S301 - as above
        except EOFError:
            return
        drafts = drafter.draft_packed(list(map(_unpack_record, parts)), ids)
        pickle.dump(drafts, sink, pickle.HIGHEST_PROTOCOL)
        sink.flush()


if __name__ == "__main__":
    # Rows come in thousands and hold no cycles: early collections only cost time.
    gc.set_threshold(100_000, 50, 1_000)
    serve_requests(sys.stdin.buffer, sys.stdout.buffer)
