"""Drafts of projects from records: here, or in a process of their own.

Reading and checking a row takes several times as long as committing it, and holds the interpreter
all the while. For a file of some size a second process does it: the service stays quick, and both
cores work. The process lives as long as its import; it ends when its input does, even if the
service is killed.
"""

import gc
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import BinaryIO, Protocol, cast

import msgspec

from spawn.application.imports.file_records import Record, decoder, encodings_of
from spawn.domain import serialization
from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.imports.fast_row_reader import StraightThrough
from spawn.domain.imports.import_state import FileFormat, Reason
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.row_reader import Draft, RowReader
from spawn.domain.json_tokens import Token, read_object
from spawn.domain.projects.project import changed_fields, reference_id
from spawn.domain.schemas.model import Schema
from spawn.domain.schemas.validator import compile_schema

ENVELOPE = frozenset({"line", "fields", "reasons", "raw_line"})
"""What a quarantined row is served in: posted back as it is, with its fields corrected."""

_END_S = 5.0


class Made(msgspec.Struct, frozen=True, gc=False):
    """A valid new project, as much of it as an import needs: the rest is in its document.

    `changed` and `reason` are for its event; `reference` is the id of its external reference.
    """

    project_id: str
    document: bytes
    changed: tuple[str, ...]
    reason: str | None
    reference: str | None


class Outcome(msgspec.Struct, frozen=True):
    """What became of one record: see `Draft`, whose project is made into its document here."""

    key: str | None
    made: Made | None = None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()


_Packed = tuple[
    str | None,
    tuple[str, bytes, tuple[str, ...], str | None, str | None] | None,
    tuple[Reason, ...],
    tuple[Reason, ...],
]


Batch = tuple[Sequence[Record], Sequence[str]]
"""Records, and as many ids."""


class Shape(msgspec.Struct, frozen=True):
    """How the records of a file are to be understood; `columns` are a CSV header's."""

    file_format: FileFormat
    mapping: ImportMapping | None
    columns: tuple[str, ...] = ()


class Drafting(Protocol):
    """Makes drafts under one schema and one shape, one batch after the other."""

    def begin(self, records: Sequence[Record], ids: Sequence[str]) -> None:
        """Take on a batch: what each record makes of itself, each under its id."""
        ...

    def take(self) -> Callable[[], list[Outcome]]:
        """The batch begun last, to be unpacked; the next one may begin before that."""
        ...

    def close(self) -> None:
        """Let go of what is held; idempotent."""
        ...


class Sources:
    """Takes records apart: column → token, or the reason why that cannot be done."""

    def __init__(self, shape: Shape) -> None:
        self._columns = shape.columns
        self._csv = shape.file_format is FileFormat.CSV
        encodings = encodings_of(shape.file_format, shape.mapping)
        self._decode = None if encodings == ("utf-8",) else decoder(encodings)
        self._mapped = shape.mapping is not None

    def of(self, record: Record) -> Mapping[str, Token] | Reason:
        """One record, taken apart."""
        if record.fault is not None:
            return record.fault
        if self._csv:
            if len(record.cells) != len(self._columns):
                detail = f"{len(record.cells)} cells, where the header has {len(self._columns)}"
                return Reason("", "wrong_cell_count", detail)
            return dict(zip(self._columns, record.cells, strict=True))
        return self._of_json(record.raw)

    def _of_json(self, raw: bytes) -> Mapping[str, Token] | Reason:
        if self._decode is not None:
            raw = (self._decode(raw) or "").encode()
        try:
            tokens = read_object(raw)
        except MalformedBody as error:
            return Reason("", "malformed_line", error.detail)
        except InvalidInput as error:
            return Reason("", "malformed_line", error.errors[0].detail)
        if self._mapped and tokens.keys() == ENVELOPE:
            fields = tokens["fields"]
            return fields if isinstance(fields, dict) else tokens
        return tokens


class DraftingHere:
    """Makes drafts in the calling thread."""

    def __init__(self, reader: RowReader, shape: Shape) -> None:
        self._reader = reader
        self._sources = Sources(shape)
        plain = shape.file_format is FileFormat.NDJSON and shape.mapping is None
        self._straight = StraightThrough(reader.conformance) if plain else None
        self._batch: Batch = ((), ())

    def begin(self, records: Sequence[Record], ids: Sequence[str]) -> None:
        """Take on a batch."""
        self._batch = (records, ids)

    def take(self) -> Callable[[], list[Outcome]]:
        """The batch begun last; it is worked on when it is unpacked."""
        records, ids = self._batch
        return lambda: self.drafts(records, ids)

    def drafts(self, records: Sequence[Record], ids: Sequence[str]) -> list[Outcome]:
        """What each record makes of itself, each under its id."""
        return _outcomes(self.packed(records, ids))

    def packed(self, records: Sequence[Record], ids: Sequence[str]) -> list[_Packed]:
        """The same as plain tuples, which go through a pipe quickly."""
        if self._straight is None:
            return [self._closely(r, i) for r, i in zip(records, ids, strict=True)]
        read = self._straight.read
        return [
            self._closely(record, project_id)
            if record.fault or (found := read(record.raw, project_id)) is None
            else (
                found.key,
                (project_id, found.document, found.changed, found.reason, found.reference),
                (),
                (),
            )
            for record, project_id in zip(records, ids, strict=True)
        ]

    def _closely(self, record: Record, project_id: str) -> _Packed:
        source = self._sources.of(record)
        if isinstance(source, Reason):
            return None, None, (source,), ()
        return _packed(self._reader.read(source, project_id), self._reader.conformance.schema)

    def close(self) -> None:
        """Nothing is held."""


class DraftingProcess:
    """Makes drafts in another process; if that dies, in the calling thread."""

    def __init__(self, reader: RowReader, shape: Shape) -> None:
        self._here = DraftingHere(reader, shape)
        self._schema = reader.conformance.schema
        self._csv = shape.file_format is FileFormat.CSV
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-m", "spawn.application.imports.row_drafts"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # An interrupt at the terminal is for the service, which ends this process in turn.
            start_new_session=True,
        )
        self._start = pickle.dumps((self._schema, shape, reader.on), pickle.HIGHEST_PROTOCOL)
        self._batch: Batch = ((), ())

    def begin(self, records: Sequence[Record], ids: Sequence[str]) -> None:
        """Send a batch over; the process reads it at once, having answered the one before."""
        self._batch = (records, ids)
        if self._process is None:
            return
        # What is not needed over there stays here.
        sent = [r.fault or (r.cells if self._csv else r.raw) for r in records]
        sink = cast("BinaryIO", self._process.stdin)
        try:
            sink.write(self._start)
            pickle.dump((sent, list(ids)), sink, pickle.HIGHEST_PROTOCOL)
            sink.flush()
        except OSError:
            self.close()
        self._start = b""

    def take(self) -> Callable[[], list[Outcome]]:
        """Wait for the answer; if none comes, the batch is worked on here."""
        records, ids = self._batch
        if self._process is not None:
            source = cast("BinaryIO", self._process.stdout)
            try:
                # Our own process wrote it, into a pipe that nobody else has.
                packed: list[_Packed] = pickle.load(source)  # noqa: S301 - as the line above says
            except (OSError, EOFError, pickle.UnpicklingError):
                self.close()
            else:
                return lambda: _outcomes(packed)
        return lambda: self._here.drafts(records, ids)

    def close(self) -> None:
        """End the process; it is done with anything that matters."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close_quietly(pipe)
        process.wait(_END_S)


def _close_quietly(pipe: object) -> None:
    try:
        cast("BinaryIO", pipe).close()
    except BrokenPipeError:
        return  # What was still to be flushed into it is of no use to a dead process.


def _packed(draft: Draft, schema: Schema) -> _Packed:
    """A draft with its project as a document."""
    project, made = draft.project, None
    if project is not None:
        reference = project.external_ref
        made = (
            project.project_id,
            serialization.encode("project", project, schema),
            changed_fields(None, project),
            project.status_reason,
            None if reference is None else reference_id(reference),
        )
    return draft.key, made, draft.reasons, draft.warnings


def _outcomes(packed: list[_Packed]) -> list[Outcome]:
    return [
        Outcome(key, None if made is None else Made(*made), reasons, warnings)
        for key, made, reasons, warnings in packed
    ]


def _received(sent: bytes | Sequence[str] | Reason) -> Record:
    """A record as it is needed here: its bytes, its cells, or why there are none."""
    if isinstance(sent, Reason):
        return Record(0, 0, b"", (), sent)
    return Record(0, 0, sent) if isinstance(sent, bytes) else Record(0, 0, b"", sent)


def work(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer questions until there are no more: what the process does."""
    start = pickle.load(source)  # noqa: S301 - the parent's
    schema, shape, on = cast("tuple[Schema, Shape, date | None]", start)
    here = DraftingHere(RowReader(compile_schema(schema), shape.mapping, on), shape)
    while True:
        try:
            sent, ids = pickle.load(source)  # noqa: S301 - as above
        except EOFError:
            return
        pickle.dump(here.packed(list(map(_received, sent)), ids), sink, pickle.HIGHEST_PROTOCOL)
        sink.flush()


if __name__ == "__main__":
    # Rows come and go in thousands and hold no cycles: collecting them early only costs time.
    gc.set_threshold(100_000, 50, 1_000)
    work(sys.stdin.buffer, sys.stdout.buffer)
