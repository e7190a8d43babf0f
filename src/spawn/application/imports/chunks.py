"""The rows of an uploaded file in chunks, and what each chunk comes to.

Runs in a worker thread. Nothing here waits or writes: the file is read, each row makes a draft of a
project or the reasons against it, and a chunk of drafts is decided on, given what the store holds.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from spawn.application.imports.file_records import (
    Record,
    csv_records,
    decoder,
    encodings_of,
    json_records,
    physical_lines,
)
from spawn.application.imports.row_drafts import (
    Drafting,
    DraftingHere,
    DraftingProcess,
    Made,
    Outcome,
    Shape,
    Sources,
)
from spawn.domain.change import Encoded, Stored, Write
from spawn.domain.errors import InvalidInput
from spawn.domain.events.event import DomainEvent
from spawn.domain.imports.import_state import FileFormat, Import, KeySet, Note, Reason
from spawn.domain.imports.mapping import Duplicates, ImportMapping, OnExisting
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.projects.project import Project, Reservation, amend, changed_fields
from spawn.domain.schemas.validator import Attributes
from spawn.ports.runtime import Ids

CHUNK_ROWS = 2_000
CHUNK_BYTES = 1024 * 1024
"""A chunk ends at whichever comes first: it is one change, and one document of notes."""

MAX_COLUMNS = 2_000
"""Columns of a CSV file; their names are part of the import's every checkpoint."""

PROCESS_BYTES = 1024 * 1024
"""From this size on a file is worth a process of its own."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A record with what it made."""

    record: Record
    draft: Outcome


class Chunk(msgspec.Struct, frozen=True):
    """Rows to commit together; `end` is the byte offset after them, `sources` reads them again."""

    rows: list[Row]
    end: int
    sources: Sources


class Decided(msgspec.Struct):
    """What a chunk comes to, before the checkpoint is added."""

    writes: list[Write] = msgspec.field(default_factory=list)
    events: list[DomainEvent] = msgspec.field(default_factory=list)
    accepted: int = 0
    unchanged: int = 0
    keyless: bool = False
    quarantined: list[Note] = msgspec.field(default_factory=list)
    warnings: list[Note] = msgspec.field(default_factory=list)


class Existing(msgspec.Struct, frozen=True):
    """What the store holds under the references of a chunk."""

    reservations: Mapping[str, Stored[Reservation]]
    projects: Mapping[str, Stored[Project]]


NOTHING = Existing({}, {})


class Basis(msgspec.Struct, frozen=True):
    """What a chunk is decided on: how its rows are read, and what the store holds."""

    sources: Sources
    reader: RowReader
    existing: Existing

    def said(self, record: Record) -> Attributes:
        """What the row says, read once more: only a row that meets its project is asked."""
        source = self.sources.of(record)
        return self.reader.amendment({} if isinstance(source, Reason) else source)


class ChunkSource:
    """Rows of one file in chunks; to be used by one thread at a time, off the event loop."""

    def __init__(self, path: Path, order: Import, mapping: ImportMapping | None, ids: Ids) -> None:
        self._path = path
        self._order = order
        self._mapping = mapping
        self._ids = ids
        self._decode = decoder(encodings_of(order.format, mapping))
        self._file = path.open("rb")
        self._records = self._open_records()
        self.columns: tuple[str, ...] = ()
        self._seen = KeySet()
        self._repeated: KeySet | None = None
        self._drafting: tuple[RowReader, Drafting] | None = None
        self._sources = Sources(self._shape())
        self._begun: list[Record] | None = None

    def close(self) -> None:
        """Let go of the file and of the process; idempotent."""
        self._file.close()
        if self._drafting is not None:
            self._drafting[1].close()

    def open(self, reader: RowReader, offset: int) -> None:
        """Read the header, look ahead if the mapping's policy asks for it, go to a checkpoint.

        Raises:
            InvalidInput: the header cannot be read, or lacks columns.
        """
        if self._order.format is FileFormat.CSV:
            self.columns = self._read_header(reader)
            self._sources = Sources(self._shape())
        if self._mapping and self._mapping.duplicates is Duplicates.QUARANTINE:
            self._repeated = self._find_repeated(reader)
        end = 0
        while end < offset:
            # The rows before the checkpoint are read again for the keys that they claim.
            chunk = self.next(reader)
            end = chunk.end if chunk else offset

    def next(self, reader: RowReader) -> Chunk | None:
        """The next chunk, or None at the end."""
        drafting = self._draft_with(reader)
        records = self._begun if self._begun is not None else self._begin(drafting)
        if not records:
            return None
        unpack = drafting.take()
        # The next batch is worked on while this one is unpacked, decided on and committed.
        self._begun = self._begin(drafting)
        rows = [Row(r, self._claimed(d)) for r, d in zip(records, unpack(), strict=True)]
        return Chunk(rows, records[-1].end, self._sources)

    def _begin(self, drafting: Drafting) -> list[Record]:
        """Read the next records and have drafts made of them."""
        records: list[Record] = []
        size = 0
        for record in self._records:
            records.append(record)
            size += len(record.raw)
            if len(records) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                break
        if records:
            new_id = self._ids.new
            drafting.begin(records, [new_id() for _ in records])
        return records

    def _draft_with(self, reader: RowReader) -> Drafting:
        """Where drafts are made under this reader; another reader means another schema."""
        if self._drafting is not None and self._drafting[0] is reader:
            return self._drafting[1]
        if self._drafting is not None:
            self._drafting[1].close()
        begun, self._begun = self._begun, None
        large = self._order.size_bytes >= PROCESS_BYTES
        drafting = (DraftingProcess if large else DraftingHere)(reader, self._shape())
        self._drafting = (reader, drafting)
        if begun:
            # They were begun under the schema before.
            drafting.begin(begun, [self._ids.new() for _ in begun])
        self._begun = begun
        return drafting

    def _shape(self) -> Shape:
        return Shape(self._order.format, self._mapping, self.columns)

    def _open_records(self) -> Iterator[Record]:
        self._file.seek(0)
        lines = physical_lines(self._file)
        if self._order.format is FileFormat.NDJSON:
            return json_records(lines)
        delimiter = self._mapping.delimiter if self._mapping else ","
        return csv_records(lines, self._decode, delimiter)

    def _read_header(self, reader: RowReader) -> tuple[str, ...]:
        header = next(self._records, None)
        if header is None or header.fault is not None:
            detail = "the file is empty" if header is None else header.fault.detail  # type: ignore[union-attr] # one of the two
            raise InvalidInput.at("", "no_header", f"The header cannot be read: {detail}")
        first, *others = header.cells
        if len(others) >= MAX_COLUMNS:
            detail = f"The header has {1 + len(others)} columns, and {MAX_COLUMNS} are the most"
            raise InvalidInput.at("", "too_many", detail)
        columns = tuple(name.strip() for name in (first.lstrip("\ufeff"), *others))
        missing = sorted(reader.columns.difference(columns))
        twice = sorted(name for name in reader.columns if columns.count(name) > 1)
        if missing or twice:
            told = [f"lacks {', '.join(missing)}"] if missing else []
            told += [f"has more than one {', '.join(twice)}"] if twice else []
            raise InvalidInput.at("", "header_mismatch", f"The header {' and '.join(told)}")
        return columns

    def _find_repeated(self, reader: RowReader) -> KeySet:
        once, repeated = KeySet(), KeySet()
        source_of = self._sources.of
        for record in self._records:
            source = source_of(record)
            key = None if isinstance(source, Reason) else reader.key(source)
            if key is not None:
                (repeated if key in once else once).add(key)
        self._records = self._open_records()
        if self._order.format is FileFormat.CSV:
            next(self._records)
        return repeated

    def _claimed(self, draft: Outcome) -> Outcome:
        """The draft, refused if its key belongs to another row by the mapping's policy."""
        key = draft.key
        if key is None:
            return draft
        taken = key in (self._seen if self._repeated is None else self._repeated)
        first_wins = self._mapping and self._mapping.duplicates is Duplicates.FIRST_WINS
        if draft.made is not None or first_wins:
            self._seen.add(key)
        if not taken:
            return draft
        ident = key.partition("\n")[2]
        reason = Reason(self._key_field(), "duplicate_in_file", f"{ident[:60]!r} occurs repeatedly")
        return Outcome(key, reasons=(*draft.reasons, reason), warnings=draft.warnings)

    def _key_field(self) -> str:
        key = self._mapping.key if self._mapping else None
        return key.column if key else "external_ref"


class Decider:
    """Turns a chunk into writes: pure, given what the store holds."""

    def __init__(
        self,
        file_format: FileFormat,
        mapping: ImportMapping | None,
        earlier: "Earlier | None" = None,
    ) -> None:
        self._policy = mapping.on_existing if mapping else OnExisting.SKIP_IF_IDENTICAL
        self._key_field = mapping.key.column if mapping and mapping.key else "external_ref"
        self._earlier = earlier
        self._decode = decoder(encodings_of(file_format, mapping))

    def decide(self, chunk: Chunk, reader: RowReader, existing: Existing) -> Decided:
        """The writes, counts and notes that a chunk comes to."""
        decided = Decided()
        basis = Basis(chunk.sources, reader, existing)
        for row in chunk.rows:
            draft = row.draft
            if draft.made is None:
                self._set_aside(decided, row, draft.reasons)
                continue
            before = decided.accepted + decided.unchanged
            self._take_in(decided, row, draft.made, basis)
            if draft.warnings and decided.accepted + decided.unchanged > before:
                self._warn(decided, row)
        return decided

    def _take_in(self, decided: Decided, row: Row, made: Made, basis: Basis) -> None:
        key = made.reference
        if key is None:
            decided.keyless = True
            if self._earlier is not None and self._earlier.took_in(row.record):
                decided.unchanged += 1
            else:
                _create(decided, made)
            return
        held = basis.existing.reservations.get(key)
        if held is None or held.state.project_id is None:
            _create(decided, made)
            version = held.version if held else 0
            reserved = Reservation(project_id=made.project_id)
            decided.writes.append(Write("external_ref", key, version, reserved))
        else:
            self._meet(decided, row, basis.existing.projects[held.state.project_id], basis)

    def _meet(self, decided: Decided, row: Row, held: Stored[Project], basis: Basis) -> None:
        """A row whose key belongs to a project already."""
        if self._policy is OnExisting.QUARANTINE:
            detail = f"project {held.id} has this key"
            self._set_aside(decided, row, (Reason(self._key_field, "already_exists", detail),))
            return
        try:
            said = basis.said(row.record)
            after = amend(held.state, said.core, said.governed, said.extensions)
        except InvalidInput as refused:
            reasons = tuple(basis.reader.reason(error) for error in refused.errors)
            self._set_aside(decided, row, reasons)
            return
        changed = changed_fields(held.state, after)
        if not changed:
            decided.unchanged += 1
        elif self._policy is OnExisting.UPDATE:
            decided.writes.append(Write("project", held.id, held.version, after))
            decided.events.append(
                DomainEvent(type="project.amended", kind="project", id=held.id, changed=changed)
            )
            decided.accepted += 1
        else:
            detail = f"project {held.id} has other values of {', '.join(changed)}"
            reason = Reason(self._key_field, "differs_from_existing", detail[:500])
            self._set_aside(decided, row, (reason,))

    def _set_aside(self, decided: Decided, row: Row, reasons: tuple[Reason, ...]) -> None:
        decided.quarantined.append(
            Note(line=row.record.line, reasons=reasons, raw_line=self._text(row.record.raw))
        )

    def _warn(self, decided: Decided, row: Row) -> None:
        made = row.draft.made
        decided.warnings.append(
            Note(
                line=row.record.line,
                reasons=row.draft.warnings,
                project_id=made.project_id if made else None,
            )
        )

    def _text(self, raw: bytes) -> str:
        text = self._decode(raw)
        if text is None:
            text = raw.decode("utf-8", "backslashreplace")
        return text.replace("\0", "\u2400").rstrip("\r\n")


def _create(decided: Decided, made: Made) -> None:
    decided.writes.append(Write("project", made.project_id, 0, Encoded(made.document)))
    decided.events.append(
        DomainEvent(
            type="project.created",
            kind="project",
            id=made.project_id,
            changed=made.changed,
            reason=made.reason,
        )
    )
    decided.accepted += 1


class Earlier(msgspec.Struct, frozen=True):
    """What an earlier import made of the same bytes, for rows that have no key of their own."""

    offset: int
    set_aside: frozenset[int]

    def took_in(self, record: Record) -> bool:
        """Whether that import made a project of this record."""
        return record.end <= self.offset and record.line not in self.set_aside
