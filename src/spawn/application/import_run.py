"""Running an import: read and validate a chunk of rows, commit it whole, go on with the next.

While the store commits one chunk a worker thread prepares the next. A chunk is one change: its
projects, their external references, the rows set aside, and the checkpoint. After a crash the file
is read again up to the checkpoint, without writing, so that what the rows before it established
(which keys have been seen) is known once more.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec

from spawn.application.imports import KIND, MAPPING_KIND, QUARANTINE_KIND, quarantined
from spawn.application.jobs import KIND as JOB_KIND
from spawn.application.jobs import SERVICE
from spawn.application.records import Record, csv_records, decoder, json_records, physical_lines
from spawn.application.services import Services
from spawn.domain import job as jobs
from spawn.domain.change import Change, Stored, Write
from spawn.domain.errors import (
    Conflict,
    Duplicate,
    InvalidInput,
    MalformedBody,
    NotFound,
    Stale,
    Unavailable,
)
from spawn.domain.events import DomainEvent
from spawn.domain.imports import (
    FileFormat,
    Import,
    KeySet,
    Note,
    Quarantine,
    Reason,
    Upload,
    add,
    chunk_id,
    upload_id,
)
from spawn.domain.job import Job
from spawn.domain.mapping import Duplicates, ImportMapping, OnExisting
from spawn.domain.project import (
    Project,
    Reservation,
    amend,
    changed_fields,
    reference_id,
)
from spawn.domain.rows import Draft, RowReader
from spawn.domain.schema.tokens import Token, read_object
from spawn.ports.runtime import Ids

CHUNK_ROWS = 1_000
CHUNK_BYTES = 1024 * 1024
"""A chunk ends at whichever comes first: it is one change, and one document of notes."""

MAX_ATTEMPTS = 5
MAX_PAUSE_S = 30.0
UPLOAD_KIND = "upload"

_ENVELOPE = frozenset({"line", "fields", "reasons", "raw_line"})
"""What a quarantined row is served in: posted back as it is, with its fields corrected."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A record with what it made."""

    record: Record
    draft: Draft


class Chunk(msgspec.Struct, frozen=True):
    """Rows to commit together; `end` is the byte offset after them."""

    rows: list[Row]
    end: int


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


class ChunkSource:
    """Rows of one file in chunks; to be used by one thread at a time, off the event loop."""

    def __init__(self, path: Path, order: Import, mapping: ImportMapping | None, ids: Ids) -> None:
        self._path = path
        self._order = order
        self._mapping = mapping
        self._ids = ids
        self._decode = decoder(mapping.encoding if mapping else ("utf-8",))
        self._file = path.open("rb")
        self._records = self._open_records()
        self._seen = KeySet()
        self._repeated: KeySet | None = None
        self.columns: tuple[str, ...] = ()

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._file.close()

    def open(self, reader: RowReader, offset: int) -> None:
        """Read the header, look ahead if the mapping's policy asks for it, go to a checkpoint.

        Raises:
            InvalidInput: the header cannot be read, or lacks columns.
        """
        if self._order.format is FileFormat.CSV:
            self.columns = self._read_header(reader)
        if self._mapping and self._mapping.duplicates is Duplicates.QUARANTINE:
            self._repeated = self._find_repeated(reader)

        end = 0
        while end < offset:
            # The rows before the checkpoint are read again for the keys that they claim.
            chunk = self.next(reader)
            end = chunk.end if chunk else offset

    def next(self, reader: RowReader) -> Chunk | None:
        """The next chunk, or None at the end."""
        rows: list[Row] = []
        size = end = 0
        for record in self._records:
            rows.append(Row(record, self._claimed(self._draft(record, reader))))
            end = record.end
            size += len(record.raw)
            if len(rows) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                break
        return Chunk(rows, end) if rows else None

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
        for record in self._records:
            source = self._source(record)
            key = None if isinstance(source, Reason) else reader.key(source)
            if key is not None:
                (repeated if key in once else once).add(key)
        self._records = self._open_records()
        if self._order.format is FileFormat.CSV:
            next(self._records)
        return repeated

    def _draft(self, record: Record, reader: RowReader) -> Draft:
        source = self._source(record)
        if isinstance(source, Reason):
            return Draft(None, reasons=(source,))
        return reader.read(source, self._ids.new())

    def _source(self, record: Record) -> Mapping[str, Token] | Reason:
        """The row as column → token, or why it cannot be read."""
        if record.fault is not None:
            return record.fault
        if self._order.format is FileFormat.CSV:
            if len(record.cells) != len(self.columns):
                detail = f"{len(record.cells)} cells, where the header has {len(self.columns)}"
                return Reason("", "wrong_cell_count", detail)
            return dict(zip(self.columns, record.cells, strict=True))
        text = record.raw
        if self._mapping is not None and self._mapping.encoding != ("utf-8",):
            text = (self._decode(record.raw) or "").encode()
        try:
            tokens = read_object(text)
        except MalformedBody as error:
            return Reason("", "malformed_line", error.detail)
        except InvalidInput as error:
            return Reason("", "malformed_line", error.errors[0].detail)
        inner = tokens.get("fields")
        return inner if isinstance(inner, dict) and tokens.keys() == _ENVELOPE else tokens

    def _claimed(self, draft: Draft) -> Draft:
        """The draft, refused if its key belongs to another row by the mapping's policy."""
        key = draft.key
        if key is None:
            return draft
        taken = key in (self._seen if self._repeated is None else self._repeated)
        first_wins = self._mapping and self._mapping.duplicates is Duplicates.FIRST_WINS
        if draft.project is not None or first_wins:
            self._seen.add(key)
        if not taken:
            return draft
        ident = key.partition("\n")[2]
        reason = Reason(self._key_field(), "duplicate_in_file", f"{ident[:60]!r} occurs repeatedly")
        return Draft(key, reasons=(*draft.reasons, reason), warnings=draft.warnings)

    def _key_field(self) -> str:
        key = self._mapping.key if self._mapping else None
        return key.column if key else "external_ref"


class Decider:
    """Turns a chunk into writes: pure, given what the store holds."""

    def __init__(
        self,
        mapping: ImportMapping | None,
        earlier: "Earlier | None",
    ) -> None:
        self._policy = mapping.on_existing if mapping else OnExisting.SKIP_IF_IDENTICAL
        self._key_field = mapping.key.column if mapping and mapping.key else "external_ref"
        self._earlier = earlier
        self._decode = decoder(mapping.encoding if mapping else ("utf-8",))

    def decide(self, chunk: Chunk, reader: RowReader, existing: Existing) -> Decided:
        """The writes, counts and notes that a chunk comes to."""
        decided = Decided()
        for row in chunk.rows:
            draft = row.draft
            if draft.project is None:
                self._set_aside(decided, row, draft.reasons)
                continue
            before = decided.accepted + decided.unchanged
            self._take_in(decided, row, draft.project, reader, existing)
            if draft.warnings and decided.accepted + decided.unchanged > before:
                self._warn(decided, row)
        return decided

    def _take_in(
        self,
        decided: Decided,
        row: Row,
        project: Project,
        reader: RowReader,
        existing: Existing,
    ) -> None:
        reference = project.external_ref
        if reference is None:
            decided.keyless = True
            if self._earlier is not None and self._earlier.took_in(row.record):
                decided.unchanged += 1
            else:
                _create(decided, project)
            return
        key = reference_id(reference)
        held = existing.reservations.get(key)
        if held is None or held.state.project_id is None:
            _create(decided, project)
            version = held.version if held else 0
            reserved = Reservation(project_id=project.project_id)
            decided.writes.append(Write("external_ref", key, version, reserved))
        else:
            self._meet(decided, row, existing.projects[held.state.project_id], reader)

    def _meet(self, decided: Decided, row: Row, held: Stored[Project], reader: RowReader) -> None:
        """A row whose key belongs to a project already."""
        if self._policy is OnExisting.QUARANTINE:
            detail = f"project {held.id} has this key"
            self._set_aside(decided, row, (Reason(self._key_field, "already_exists", detail),))
            return
        try:
            said = reader.amendment(row.draft)
            after = amend(held.state, said.core, said.governed, said.extensions)
        except InvalidInput as refused:
            reasons = tuple(reader.reason(error) for error in refused.errors)
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
        project = row.draft.project
        decided.warnings.append(
            Note(
                line=row.record.line,
                reasons=row.draft.warnings,
                project_id=project.project_id if project else None,
            )
        )

    def _text(self, raw: bytes) -> str:
        text = self._decode(raw)
        if text is None:
            text = raw.decode("utf-8", "backslashreplace")
        return text.replace("\0", "\u2400").rstrip("\r\n")


def _create(decided: Decided, project: Project) -> None:
    decided.writes.append(Write("project", project.project_id, 0, project))
    decided.events.append(
        DomainEvent(
            type="project.created",
            kind="project",
            id=project.project_id,
            changed=changed_fields(None, project),
            reason=project.status_reason,
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


class Prepared(msgspec.Struct, frozen=True):
    """A chunk, and what to do with it if the store knows none of its references."""

    chunk: Chunk
    reader: RowReader
    decided: Decided | None


async def run_import(services: Services, job_id: str, executor: Executor) -> None:
    """Do an import from its checkpoint to its end; returns early if the job is cancelled.

    Raises:
        InvalidInput: the header and the mapping, or the mapping and the schema, do not fit.
        NotFound: the uploaded file, or the mapping, is gone.
        Conflict: others kept changing the same projects.
    """
    order: Stored[Import] = await services.reads.get(KIND, job_id)
    mapping = None
    if order.state.mapping is not None:
        pinned: Stored[ImportMapping] = await services.reads.get(
            MAPPING_KIND, order.state.mapping, version=order.state.mapping_version
        )
        mapping = pinned.state
    path = await asyncio.to_thread(services.spool.path, job_id)
    source = await asyncio.to_thread(ChunkSource, path, order.state, mapping, services.ids)
    try:
        await _Run(services, executor, source, order, mapping).finish()
    finally:
        await asyncio.get_running_loop().run_in_executor(executor, source.close)


class _Run:
    """One import under way: where it is, and what it has learnt about the store."""

    def __init__(
        self,
        services: Services,
        executor: Executor,
        source: ChunkSource,
        order: Stored[Import],
        mapping: ImportMapping | None,
    ) -> None:
        self._services = services
        self._executor = executor
        self._source = source
        self._order = order
        self._mapping = mapping
        self._upload: Stored[Upload] | None = None
        self._decider = Decider(mapping, None)
        # References are taken to be new until the store says otherwise.
        self._look_up = False

    async def finish(self) -> None:
        """All remaining chunks and the end of the job."""
        await self._recall()
        reader = RowReader(await self._services.conformance(), self._mapping)
        await self._in_thread(self._source.open, reader, self._order.state.offset)
        upcoming = asyncio.create_task(self._prepare(reader))
        try:
            while (prepared := await upcoming) is not None:
                reader = await self._current(prepared.reader)
                upcoming = asyncio.create_task(self._prepare(reader))
                if not await self._persist(prepared):
                    return
            await self._persist(None)
        finally:
            upcoming.cancel()
            await asyncio.wait({upcoming})

    async def _recall(self) -> None:
        """Find out what an earlier import made of the same bytes."""
        state = self._order.state
        if self._mapping is not None and self._mapping.key is not None:
            return
        try:
            upload: Stored[Upload] = await self._services.reads.get(
                UPLOAD_KIND, upload_id(state.sha256, state.mapping)
            )
        except NotFound:
            return
        order = await self._services.reads.get(KIND, upload.state.import_id)
        lines = [note.line async for note in quarantined(self._services, SERVICE, order.state)]
        self._upload = upload
        self._decider = Decider(self._mapping, Earlier(upload.state.offset, frozenset(lines)))

    async def _current(self, reader: RowReader) -> RowReader:
        """The reader for the schema that is active now."""
        conformance = await self._services.conformance()
        if reader.conformance is conformance:
            return reader
        return RowReader(conformance, self._mapping)

    async def _prepare(self, reader: RowReader) -> Prepared | None:
        prepared: Prepared | None = await self._in_thread(self._prepare_now, reader)
        return prepared

    def _prepare_now(self, reader: RowReader) -> Prepared | None:
        chunk = self._source.next(reader)
        if chunk is None:
            return None
        decided = None if self._look_up else self._decider.decide(chunk, reader, NOTHING)
        return Prepared(chunk, reader, decided)

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, function, *arguments)

    async def _persist(self, prepared: Prepared | None) -> bool:
        """Commit a chunk, or (None) the end; False if the job has ended or gone to another."""
        lost = 0
        pause_s = 0.25
        while True:
            job: Stored[Job] = await self._services.reads.get(JOB_KIND, self._order.id)
            if job.state.is_final:
                return False
            try:
                await self._attempt(prepared, job)
            except Unavailable as error:
                # A full queue or disk passes; the checkpoint stays where it is meanwhile.
                await asyncio.sleep(max(pause_s, min(error.retry_after_s, MAX_PAUSE_S)))
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
            except (Stale, Duplicate) as error:
                lost += 1
                if lost == MAX_ATTEMPTS:
                    raise Conflict("others keep changing the projects of this file") from error
                if not await self._take_stock():
                    return False
            else:
                return True

    async def _take_stock(self) -> bool:
        """After a lost race: look the references up, unless another runner has the import."""
        self._look_up = True
        order: Stored[Import] = await self._services.reads.get(KIND, self._order.id)
        if order.version != self._order.version:
            return False
        await self._recall()
        return True

    async def _attempt(self, prepared: Prepared | None, job: Stored[Job]) -> None:
        if prepared is None:
            await self._commit(job, jobs.succeed(job.state, self._order.state.size_bytes), ())
            return
        decided = prepared.decided
        if decided is None or self._look_up:
            existing = await self._existing(prepared.chunk)
            self._look_up = bool(existing.reservations)
            decided = await asyncio.to_thread(
                self._decider.decide, prepared.chunk, prepared.reader, existing
            )
        state = self._advanced(decided, prepared.chunk.end)
        writes = [*decided.writes, Write(KIND, self._order.id, self._order.version, state)]
        if decided.quarantined or decided.warnings:
            notes = Quarantine(
                import_id=state.import_id,
                quarantined=tuple(decided.quarantined),
                warnings=tuple(decided.warnings),
            )
            number = chunk_id(state.import_id, self._order.state.notes)
            writes.append(Write(QUARANTINE_KIND, number, 0, notes))
        if decided.keyless and self._leads(state):
            writes.append(self._remember(state))
        await self._commit(job, jobs.advance(job.state, state.offset), writes, decided.events)
        self._order = msgspec.structs.replace(
            self._order, version=self._order.version + 1, state=state
        )
        if decided.keyless and self._leads(state):
            self._upload = await self._services.reads.get(
                UPLOAD_KIND, upload_id(state.sha256, state.mapping)
            )

    async def _commit(
        self,
        job: Stored[Job],
        after: Job,
        writes: Sequence[Write],
        events: Sequence[DomainEvent] = (),
    ) -> None:
        record = await self._services.active()
        change = Change(
            writes=(*writes, Write(JOB_KIND, job.id, job.version, after)),
            events=tuple(events),
            actor=self._order.state.requested_by,
            schema_version=record.schema.version,
        )
        await self._services.commands.commit(change)

    def _advanced(self, decided: Decided, end: int) -> Import:
        """The import with this chunk behind it."""
        before = self._order.state
        counts = add(
            before.counts,
            accepted=decided.accepted,
            unchanged=decided.unchanged,
            quarantined=decided.quarantined,
            warnings=len(decided.warnings),
        )
        noted = bool(decided.quarantined or decided.warnings)
        return msgspec.structs.replace(
            before,
            columns=self._source.columns,
            offset=end,
            notes=before.notes + noted,
            counts=counts,
        )

    def _leads(self, state: Import) -> bool:
        """Whether this import has gone through the content as far as any before it."""
        return self._upload is None or state.offset >= self._upload.state.offset

    def _remember(self, state: Import) -> Write:
        version = self._upload.version if self._upload else 0
        upload = Upload(import_id=state.import_id, offset=state.offset)
        return Write(UPLOAD_KIND, upload_id(state.sha256, state.mapping), version, upload)

    async def _existing(self, chunk: Chunk) -> Existing:
        """What the store holds under the references of a chunk."""
        references = [
            reference_id(row.draft.project.external_ref)
            for row in chunk.rows
            if row.draft.project is not None and row.draft.project.external_ref is not None
        ]
        reads = self._services.reads
        held = await reads.get_many("external_ref", references)
        ids = [stored.state.project_id for stored in held.values() if stored.state.project_id]
        return Existing(held, await reads.get_many("project", ids))
