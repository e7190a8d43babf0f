"""Chunks of an uploaded file, and the writes that each chunk results in.

This runs in a worker thread. Nothing here waits or writes: the file is read, each row becomes a
project draft or reasons for its rejection, and a chunk is decided from the stored records.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Final

import msgspec

from spawn.application.imports.drafters import Drafter, InlineDrafter, WorkerDrafter
from spawn.application.imports.files.record_source import RecordSource
from spawn.application.projects.completion import OutstandingDebt
from spawn.domain.change import EncodedState, Guard, StoredAggregate, Write
from spawn.domain.errors import Conflict, FieldError, IllegalTransition, InvalidInput
from spawn.domain.events.event import DomainEvent
from spawn.domain.imports.header import is_quarantine_header
from spawn.domain.imports.import_state import (
    SKIP_CODES,
    FileFormat,
    ImportState,
    KeySet,
    RowNote,
    RowReason,
)
from spawn.domain.imports.mapping import (
    DuplicatePolicy,
    ImportMapping,
    OnExisting,
    VanishedPolicy,
)
from spawn.domain.imports.record_parser import (
    FileLayout,
    Record,
    RecordParser,
    build_decoder,
    is_envelope,
    list_encodings,
)
from spawn.domain.imports.row_drafter import ProjectDraft, RowDraft, read_source
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.json_tokens import Token
from spawn.domain.projects.project import (
    AMENDED_EVENT,
    CREATED_EVENT,
    PROJECT_KIND,
    RESERVATION_KIND,
    TRANSITIONED_EVENT,
    ExternalRefReservation,
    Project,
    ProjectStatus,
    apply_amendment,
    apply_transition,
    list_changed_fields,
)
from spawn.ports.runtime import IdGenerator, ReadableFile
from spawn.ports.workers import Workers

CHUNK_ROWS = 2_000
CHUNK_BYTES = 1024 * 1024
"""A chunk ends at the first of both limits: it is one change and one document of notes."""

MOVED_STATUS_REASON: Final = "another status in a newer edition of the file"
"""Reason of a transition that an import makes."""

WORKER_BYTES = 1024 * 1024
"""Size from which a file is drafted by a worker process."""

PACKED_SIZE_FACTOR = 8
"""Bytes of text for each byte of a workbook, about."""


class DraftedRow(msgspec.Struct, frozen=True, gc=False):
    """A record with its draft."""

    record: Record
    draft: RowDraft


class Chunk(msgspec.Struct, frozen=True):
    """Rows to commit together, in the layout of their file; `end` is the byte offset after them."""

    rows: list[DraftedRow]
    end: int
    layout: FileLayout


class ChunkResult(msgspec.Struct):
    """Writes, events, counts and notes of a chunk, without its checkpoint."""

    writes: list[Write] = msgspec.field(default_factory=list)
    guards: list[Guard] = msgspec.field(default_factory=list)
    events: list[DomainEvent] = msgspec.field(default_factory=list)
    accepted: int = 0
    unchanged: int = 0
    has_keyless_rows: bool = False
    skipped: Counter[str] = msgspec.field(default_factory=Counter)
    merged: int = 0
    currency_assumed: int = 0
    quarantined: list[RowNote] = msgspec.field(default_factory=list)
    warnings: list[RowNote] = msgspec.field(default_factory=list)


class ExistingRecords(msgspec.Struct, frozen=True):
    """Stored reservations and projects under the references of a chunk.

    `debts` are those of the projects that the rows complete, by id.
    """

    reservations: Mapping[str, StoredAggregate[ExternalRefReservation]]
    projects: Mapping[str, StoredAggregate[Project]]
    debts: Mapping[str, OutstandingDebt] = msgspec.field(default_factory=dict)


NO_EXISTING_RECORDS = ExistingRecords({}, {})


class ChunkContext(msgspec.Struct, frozen=True, dict=True):
    """Inputs of a chunk's decision: how to read its rows, and the stored records."""

    layout: FileLayout
    reader: RowReader
    existing: ExistingRecords

    @cached_property
    def _parser(self) -> RecordParser:
        return RecordParser(self.layout)

    @cached_property
    def _decode(self) -> Callable[[bytes], str | None]:
        return build_decoder(self.layout.list_encodings())

    def parse(self, record: Record) -> Mapping[str, Token]:
        """Parse a record again, whose draft is a project."""
        source = read_source(record, self._parser, self.reader)
        return {} if isinstance(source, RowReason) else source

    def decode(self, raw: bytes) -> str:
        """Return the text of a record without its line end, readable in any case."""
        text = self._decode(raw)
        if text is None:
            text = raw.decode("utf-8", "backslashreplace")
        return text.replace("\0", "\u2400").rstrip("\r\n")


class ChunkSource:
    """Source of a file's rows in chunks; use it from one thread at a time."""

    def __init__(
        self,
        file: ReadableFile,
        import_state: ImportState,
        mapping: ImportMapping | None,
        ids: IdGenerator,
        workers: Workers,
    ) -> None:
        self._import = import_state
        self._mapping = mapping
        self._ids = ids
        self._workers = workers
        self._source = RecordSource(file, import_state, mapping, workers)
        self._records: Iterator[Record] = iter(())
        self._keys_seen = KeySet()
        self.present_keys: KeySet | None = None
        if mapping is not None and mapping.vanished is VanishedPolicy.REPORT:
            self.present_keys = KeySet()
        self._repeated_keys: KeySet | None = None
        # Rows still to come of each repeated key, for the policy that the last one wins.
        self._remaining: dict[str, int] = {}
        self._drafter: tuple[RowReader, Drafter] | None = None
        self._next_records: list[Record] | None = None
        self.is_correction = False
        """Whether the file has rows of a quarantine, which were posted back."""
        self.expects_existing = False
        """Whether the store has projects of this file, so that drafts need amendments."""

    @property
    def size_bytes(self) -> int:
        """The size of the uploaded file."""
        return self._import.size_bytes

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the header; none before `open`, or without a header."""
        return self._source.columns

    @property
    def encodings(self) -> tuple[str, ...]:
        """The encodings of the file, none if they are the mapping's."""
        layout = self._source.layout
        expected = list_encodings(layout.file_format, layout.mapping)
        return () if layout.encodings == expected else layout.encodings

    def close(self) -> None:
        """Close the file and the drafter; idempotent."""
        self._source.close()
        if self._drafter is not None:
            self._drafter[1].close()

    def open(self, reader: RowReader, offset: int) -> None:
        """Read the header, find repeated keys if required, and go to a checkpoint.

        Raises:
            InvalidInput: the header cannot be read, or lacks columns.
        """
        self._source.read_header()
        self.is_correction = is_quarantine_header(self._source.columns)
        self._records = self._source.read_records(reader)
        policy = self._mapping.duplicates if self._mapping else DuplicatePolicy.FIRST_WINS
        if policy in {DuplicatePolicy.QUARANTINE, DuplicatePolicy.LAST_WINS}:
            self._repeated_keys = self._find_repeated_keys(reader)
        end = 0
        while end < offset:
            # Read the rows before the checkpoint again for their keys.
            chunk = self.next_chunk(reader)
            end = chunk.end if chunk else offset

    def next_chunk(self, reader: RowReader) -> Chunk | None:
        """Return the next chunk, or None at the end."""
        drafter = self._ensure_drafter(reader)
        records = (
            self._next_records if self._next_records is not None else self._begin_batch(drafter)
        )
        if not records:
            return None
        unpack = drafter.take_results()
        # The next batch is drafted while this one is unpacked, decided and committed.
        self._next_records = self._begin_batch(drafter)
        rows = [
            DraftedRow(r, self._reject_repeated(d)) for r, d in zip(records, unpack(), strict=True)
        ]
        return Chunk(rows, records[-1].end, self._source.layout)

    def _begin_batch(self, drafter: Drafter) -> list[Record]:
        """Read the next records and start drafting them."""
        records: list[Record] = []
        size = 0
        for record in self._records:
            records.append(record)
            size += len(record.raw)
            if len(records) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                break
        if not self._import.format.has_cells and not self.is_correction:
            self.is_correction = any(is_envelope(record.raw) for record in records)
        if records:
            new_id = self._ids.new
            ids = [new_id() for _ in records]
            drafter.begin(records, ids, with_amendments=self.expects_existing)
        return records

    def _ensure_drafter(self, reader: RowReader) -> Drafter:
        """Return the drafter of this reader; a new reader means a new schema."""
        if self._drafter is not None and self._drafter[0] is reader:
            return self._drafter[1]
        if self._drafter is not None:
            self._drafter[1].close()
        records, self._next_records = self._next_records, None
        is_large = self._import.size_bytes >= WORKER_BYTES
        if self._import.format is FileFormat.XLSX:
            is_large = self._import.size_bytes * PACKED_SIZE_FACTOR >= WORKER_BYTES
        drafter: Drafter = (
            WorkerDrafter(self._workers, reader, self._source.layout)
            if is_large
            else InlineDrafter(reader, self._source.layout)
        )
        self._drafter = (reader, drafter)
        if records:
            # They were drafted under the previous schema.
            ids = [self._ids.new() for _ in records]
            drafter.begin(records, ids, with_amendments=self.expects_existing)
        self._next_records = records
        return drafter

    def _find_repeated_keys(self, reader: RowReader) -> KeySet:
        seen_keys, repeated_keys = KeySet(), KeySet()
        parser = RecordParser(self._source.layout)
        for record in self._records:
            source = read_source(record, parser, reader)
            key = None if isinstance(source, RowReason) else reader.read_key(source)
            if key is None:
                continue
            if key in seen_keys:
                repeated_keys.add(key)
                self._remaining[key] = self._remaining.get(key, 1) + 1
            else:
                seen_keys.add(key)
        self._records = self._source.read_records(reader)
        return repeated_keys

    def _reject_repeated(self, draft: RowDraft) -> RowDraft:
        """Return the draft, rejected if the mapping's policy gives its key to another row."""
        key = draft.key
        if key is None:
            return draft
        if self.present_keys is not None:
            self.present_keys.add(key)
        is_repeated = key in (
            self._keys_seen if self._repeated_keys is None else self._repeated_keys
        )
        if self._mapping and self._mapping.duplicates is DuplicatePolicy.LAST_WINS:
            self._remaining[key] = self._remaining.get(key, 1) - 1
            is_repeated = self._remaining[key] > 0
            if not is_repeated:
                del self._remaining[key]
        first_wins = self._mapping and self._mapping.duplicates is DuplicatePolicy.FIRST_WINS
        if draft.project_draft is not None or first_wins:
            self._keys_seen.add(key)
        if not is_repeated:
            return draft
        external_id = key.partition("\n")[2]
        reason = RowReason(
            self._key_field(), "duplicate_in_file", f"{external_id[:60]!r} occurs repeatedly"
        )
        return RowDraft(key, reasons=(*draft.reasons, reason), warnings=draft.warnings)

    def _key_field(self) -> str:
        key = self._mapping.key if self._mapping else None
        return key.label if key else "external_ref"


class ChunkDecider:
    """Decider of a chunk's writes; pure, given the stored records."""

    def __init__(
        self, mapping: ImportMapping | None, earlier: "EarlierImport | None" = None
    ) -> None:
        self._on_existing = mapping.on_existing if mapping else OnExisting.SKIP_IF_IDENTICAL
        self._key_field = mapping.key.label if mapping and mapping.key else "external_ref"
        self._earlier = earlier

    def decide(self, chunk: Chunk, reader: RowReader, existing: ExistingRecords) -> ChunkResult:
        """Return the writes, events, counts and notes of a chunk."""
        result = ChunkResult()
        context = ChunkContext(chunk.layout, reader, existing)
        for row in chunk.rows:
            draft = row.draft
            result.merged += max(len(row.record.group) - 1, 0)
            if draft.project_draft is None:
                if draft.reasons[0].code in SKIP_CODES:
                    result.skipped[draft.reasons[0].code] += 1
                else:
                    self._quarantine(result, row, draft.reasons, context)
                continue
            count_before = result.accepted + result.unchanged
            self._decide_row(result, row, draft.project_draft, context)
            if draft.warnings and result.accepted + result.unchanged > count_before:
                self._record_warnings(result, row)
        return result

    def _decide_row(
        self,
        result: ChunkResult,
        row: DraftedRow,
        project_draft: ProjectDraft,
        context: ChunkContext,
    ) -> None:
        key = project_draft.reference
        if key is None:
            result.has_keyless_rows = True
            stored = context.existing.projects.get(project_draft.project_id)
            if stored is not None:
                self._decide_existing(result, row, stored, context)
            elif self._earlier is not None and self._earlier.has_imported(row.record):
                result.unchanged += 1
            else:
                _add_creation(result, project_draft)
            return
        reservation = context.existing.reservations.get(key)
        if reservation is None or reservation.state.project_id is None:
            _add_creation(result, project_draft)
            version = reservation.version if reservation else 0
            new_reservation = ExternalRefReservation(project_id=project_draft.project_id)
            result.writes.append(Write(RESERVATION_KIND, key, version, new_reservation))
        else:
            project = context.existing.projects[reservation.state.project_id]
            self._decide_existing(result, row, project, context)

    def _decide_existing(
        self,
        result: ChunkResult,
        row: DraftedRow,
        existing_project: StoredAggregate[Project],
        context: ChunkContext,
    ) -> None:
        """Decide a row whose key belongs to an existing project."""
        if self._on_existing is OnExisting.QUARANTINE:
            detail = f"project {existing_project.id} has this key"
            reason = RowReason(self._key_field, "already_exists", detail)
            self._quarantine(result, row, (reason,), context)
            return
        before = existing_project.state
        try:
            amendment = row.draft.amendment
            if amendment is None:
                amendment = context.reader.read_amendment(context.parse(row.record))
            core, status = amendment.core, None
            if self._on_existing is OnExisting.UPDATE:
                status = _find_moved_status(before, core)
                core = core if status is None else {**core, "status": before.status}
            after = apply_amendment(before, core, amendment.governed, amendment.extensions)
        except InvalidInput as invalid:
            source = context.parse(row.record)
            reasons = tuple(context.reader.to_reason(error, source) for error in invalid.errors)
            self._quarantine(result, row, reasons, context)
            return
        is_moved = False
        if status is not None:
            after, is_moved = self._move_status(result, row, after, status, context)
        changed_fields = list_changed_fields(before, after)
        if not changed_fields:
            result.unchanged += 1
        elif self._on_existing is OnExisting.UPDATE:
            _add_update(result, existing_project, after, changed_fields, is_moved=is_moved)
        else:
            detail = (
                f"project {existing_project.id} has other values of {', '.join(changed_fields)}"
            )
            reason = RowReason(self._key_field, "differs_from_existing", detail[:500])
            self._quarantine(result, row, (reason,), context)

    def _move_status(
        self,
        result: ChunkResult,
        row: DraftedRow,
        project: Project,
        status: ProjectStatus,
        context: ChunkContext,
    ) -> tuple[Project, bool]:
        """Return the project in another status; a status out of reach is only warned of."""
        debt = OutstandingDebt()
        if status is ProjectStatus.COMPLETED:
            debt = context.existing.debts.get(project.project_id, debt)
        try:
            after = apply_transition(
                project,
                status,
                reason=MOVED_STATUS_REASON,
                debt_outstanding=debt.by_currency,
                states_debt=False,  # readers of an import need no scope of finance
            )
        except (IllegalTransition, Conflict) as error:
            field = context.reader.to_reason(FieldError("/status", "", "")).field
            reason = RowReason(field, "status_out_of_reach", f"the status stays: {error.detail}")
            note = RowNote(line=row.record.line, reasons=(reason,), project_id=project.project_id)
            result.warnings.append(note)
            return project, False
        result.guards += debt.guards
        return after, True

    def _quarantine(
        self,
        result: ChunkResult,
        row: DraftedRow,
        reasons: tuple[RowReason, ...],
        context: ChunkContext,
    ) -> None:
        raw_line = context.decode(row.record.raw)
        result.quarantined.append(RowNote(line=row.record.line, reasons=reasons, raw_line=raw_line))

    def _record_warnings(self, result: ChunkResult, row: DraftedRow) -> None:
        project_draft = row.draft.project_draft
        result.warnings.append(
            RowNote(
                line=row.record.line,
                reasons=row.draft.warnings,
                project_id=project_draft.project_id if project_draft else None,
            )
        )


def _find_moved_status(project: Project, core: Mapping[str, object]) -> ProjectStatus | None:
    """Return the status of a row if the project has another one."""
    status = core.get("status")
    return status if isinstance(status, ProjectStatus) and status != project.status else None


def _add_update(
    result: ChunkResult,
    before: StoredAggregate[Project],
    after: Project,
    changed_fields: tuple[str, ...],
    *,
    is_moved: bool,
) -> None:
    result.writes.append(Write(PROJECT_KIND, before.id, before.version, after))
    result.events.append(
        DomainEvent(
            type=TRANSITIONED_EVENT if is_moved else AMENDED_EVENT,
            kind=PROJECT_KIND,
            id=before.id,
            changed=changed_fields,
            reason=MOVED_STATUS_REASON if is_moved else None,
        )
    )
    result.accepted += 1


def _add_creation(result: ChunkResult, project_draft: ProjectDraft) -> None:
    result.writes.append(
        Write(PROJECT_KIND, project_draft.project_id, 0, EncodedState(project_draft.document))
    )
    result.events.append(
        DomainEvent(
            type=CREATED_EVENT,
            kind=PROJECT_KIND,
            id=project_draft.project_id,
            changed=project_draft.changed,
            reason=project_draft.reason,
        )
    )
    result.accepted += 1
    result.currency_assumed += not project_draft.has_currency


class EarlierImport(msgspec.Struct, frozen=True):
    """Progress of an earlier import of the same bytes, for rows without a key."""

    offset: int
    quarantined_lines: frozenset[int]

    def has_imported(self, record: Record) -> bool:
        """Return whether that import accepted this record."""
        return record.end <= self.offset and record.line not in self.quarantined_lines
