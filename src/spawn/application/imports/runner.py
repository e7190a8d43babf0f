"""Run an import: read and validate a chunk of rows, commit it, continue with the next.

While the store commits one chunk a worker thread prepares the next. A chunk is one change: its
projects, their external references, the quarantined rows and the checkpoint. After a crash the
file is read again up to the checkpoint, without writing, to restore the set of keys seen.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

import msgspec

from spawn.application.commands import Decision, execute, retry_while_unavailable
from spawn.application.dependencies import Dependencies
from spawn.application.imports.chunks import (
    NO_EXISTING_RECORDS,
    Chunk,
    ChunkDecider,
    ChunkResult,
    ChunkSource,
    EarlierImport,
)
from spawn.application.imports.existing_records import load_existing_records
from spawn.application.imports.files.record_source import open_in_thread
from spawn.application.imports.queries import (
    get_pinned_mapping,
    stream_quarantined_rows,
)
from spawn.application.imports.records.record_import import run_record_import
from spawn.application.imports.vanished_projects import VanishedBatch, find_vanished_projects
from spawn.application.jobs import JobEnded, load_running_job
from spawn.application.lineage.recorder import end_job_run
from spawn.domain import jobs
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import Duplicate, NotFound, StaleVersion
from spawn.domain.imports.import_state import (
    IMPORT_KIND,
    QUARANTINE_KIND,
    UPLOAD_KIND,
    ImportKind,
    ImportState,
    QuarantineChunk,
    UploadProgress,
    add_chunk,
    build_chunk_id,
    build_upload_id,
)
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.jobs import JOB_KIND, Job
from spawn.domain.principal import SERVICE_PRINCIPAL
from spawn.domain.schemas.validator import SchemaValidator

_CONFLICT = "Other writers kept changing the projects of this file; import it again."


class PreparedChunk(msgspec.Struct, frozen=True):
    """A chunk and its result, given the records that the store had when it was prepared.

    If none were looked up, the store was assumed to have none.
    """

    chunk: Chunk
    reader: RowReader
    result: ChunkResult
    is_looked_up: bool


class _StepDecision(Decision, frozen=True, kw_only=True):
    """A decision on one step: the import after it, and the id of the upload progress it writes."""

    import_state: ImportState | None = None
    upload_id: str | None = None


async def run_import(dependencies: Dependencies, job_id: str, executor: Executor) -> None:
    """Run an import from its checkpoint to its end; return early if the job is cancelled.

    Raises:
        InvalidInput: the header and the mapping, or the mapping and the schema, do not fit.
        NotFound: the uploaded file, or the mapping, is gone.
        Conflict: other writers kept changing the same projects.
    """
    import_state: StoredAggregate[ImportState] = await dependencies.reads.get(IMPORT_KIND, job_id)
    if import_state.state.kind is not ImportKind.PROJECT:
        await run_record_import(dependencies, import_state, executor)
        return
    mapping = await get_pinned_mapping(dependencies, import_state.state)
    file = await asyncio.to_thread(dependencies.spool.find, job_id)
    build_source = partial(
        ChunkSource, file, import_state.state, mapping, dependencies.ids, dependencies.workers
    )
    source = await open_in_thread(build_source)
    try:
        await _ImportRun(dependencies, executor, source, import_state, mapping).finish()
    finally:
        source.close()


class _ImportRun:
    """One running import: its checkpoint, and its knowledge of the store."""

    def __init__(
        self,
        dependencies: Dependencies,
        executor: Executor,
        source: ChunkSource,
        import_state: StoredAggregate[ImportState],
        mapping: ImportMapping | None,
    ) -> None:
        self._dependencies = dependencies
        self._executor = executor
        self._source = source
        self._import = import_state
        self._mapping = mapping
        self._on_date = dependencies.clock.now().date()
        self._upload: StoredAggregate[UploadProgress] | None = None
        self._decider = ChunkDecider(mapping)
        # References are assumed to be new until the store has one of them.
        self._must_look_up = False

    async def finish(self) -> None:
        """Commit all remaining chunks and the end of the job."""
        await self._load_earlier_import()
        reader = self._build_reader(await self._dependencies.validator())
        await self._in_thread(self._source.open, reader, self._import.state.offset)
        upcoming = asyncio.create_task(self._prepare(reader))
        try:
            while (work := await upcoming) is not None:
                reader = await self._current_reader(work.reader)
                upcoming = asyncio.create_task(self._prepare(reader))
                if not await self._persist(work):
                    return
            if await self._report_vanished():
                await self._persist(None)
        finally:
            upcoming.cancel()
            await asyncio.wait({upcoming})

    def _build_reader(self, validator: SchemaValidator) -> RowReader:
        """Return the row reader under a schema, on the day on which the import began to run."""
        from_export = self._import.state.from_export
        return RowReader(validator, self._mapping, self._on_date, from_export=from_export)

    async def _load_earlier_import(self) -> None:
        """Load the progress of an earlier import of the same bytes."""
        state = self._import.state
        if self._mapping is not None and self._mapping.key is not None:
            return
        try:
            upload: StoredAggregate[UploadProgress] = await self._dependencies.reads.get(
                UPLOAD_KIND, build_upload_id(state.sha256, state.mapping)
            )
        except NotFound:
            return
        import_state = await self._dependencies.reads.get(IMPORT_KIND, upload.state.import_id)
        lines = [
            note.line
            async for note in stream_quarantined_rows(
                self._dependencies, SERVICE_PRINCIPAL, import_state.state
            )
        ]
        self._upload = upload
        earlier = EarlierImport(upload.state.offset, frozenset(lines))
        self._decider = ChunkDecider(self._mapping, earlier)

    async def _current_reader(self, reader: RowReader) -> RowReader:
        """Return the row reader for the active schema."""
        validator = await self._dependencies.validator()
        if reader.validator is validator:
            return reader
        return self._build_reader(validator)

    async def _prepare(self, reader: RowReader) -> PreparedChunk | None:
        """Read and decide the next chunk while the store commits the one before.

        The chunks of a file share no references, so that neither result depends on the other.
        """
        if not self._must_look_up:
            work: PreparedChunk | None = await self._in_thread(self._prepare_in_thread, reader)
            return work
        chunk: Chunk | None = await self._in_thread(self._source.next_chunk, reader)
        if chunk is None:
            return None
        result = await self._look_up_and_decide(chunk, reader)
        return PreparedChunk(chunk, reader, result, is_looked_up=True)

    def _prepare_in_thread(self, reader: RowReader) -> PreparedChunk | None:
        chunk = self._source.next_chunk(reader)
        if chunk is None:
            return None
        result = self._decider.decide(chunk, reader, NO_EXISTING_RECORDS)
        return PreparedChunk(chunk, reader, result, is_looked_up=False)

    async def _look_up_and_decide(self, chunk: Chunk, reader: RowReader) -> ChunkResult:
        """Return the result of a chunk, given what the store has under its references."""
        version = reader.validator.schema.version
        existing = await load_existing_records(self._dependencies, chunk, version)
        self._must_look_up = bool(existing.reservations or existing.projects)
        self._source.expects_existing = self._must_look_up
        result: ChunkResult = await self._in_thread(self._decider.decide, chunk, reader, existing)
        return result

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, function, *arguments)

    async def _persist(self, work: PreparedChunk | VanishedBatch | None) -> bool:
        """Commit a chunk, a batch of vanished projects, or the end for None.

        Returns:
            False if the job has ended or another runner has it.
        """
        try:
            # A full queue or disk is temporary; the checkpoint stays where it is.
            step = await retry_while_unavailable(lambda: self._execute_step(work))
        except JobEnded:
            return False
        if step.import_state is not None:
            version = self._import.version + 1
            self._import = msgspec.structs.replace(
                self._import, version=version, state=step.import_state
            )
        if step.upload_id is not None:
            self._upload = await self._dependencies.reads.get(UPLOAD_KIND, step.upload_id)
        return True

    async def _report_vanished(self) -> bool:
        """Commit the projects that the file lacks, in batches; a correction lacks none.

        Returns:
            False if the job has ended or another runner has it.
        """
        keys, key = self._source.present_keys, self._mapping and self._mapping.key
        if keys is None or not key or key.source is None or self._source.is_correction:
            return True
        after = self._import.state.vanished_after
        async for batch in find_vanished_projects(self._dependencies, key.source, keys, after):
            if not await self._persist(batch):
                return False
        return True

    async def _execute_step(self, work: PreparedChunk | VanishedBatch | None) -> _StepDecision:
        has_lost_race = False

        async def decide() -> _StepDecision:
            nonlocal has_lost_race
            job = await load_running_job(self._dependencies, self._import.id)
            if has_lost_race:
                await self._reload_after_conflict()
            is_repeated, has_lost_race = has_lost_race, True
            if work is None:
                return await self._decide_end(job)
            if isinstance(work, VanishedBatch):
                return self._decide_vanished(work, job)
            result = work.result
            if is_repeated or (self._must_look_up and not work.is_looked_up):
                result = await self._look_up_and_decide(work.chunk, work.reader)
            return self._decide_chunk(work, result, job)

        outcome = await execute(
            self._dependencies,
            self._import.state.requested_by,
            decide,
            lost_races=(StaleVersion, Duplicate),
            conflict=_CONFLICT,
        )
        return outcome.decision

    async def _reload_after_conflict(self) -> None:
        """Prepare to look up references.

        Raises:
            JobEnded: another runner has the import.
        """
        self._must_look_up = True
        import_state: StoredAggregate[ImportState] = await self._dependencies.reads.get(
            IMPORT_KIND, self._import.id
        )
        if import_state.version != self._import.version:
            raise JobEnded
        await self._load_earlier_import()

    async def _decide_end(self, job: StoredAggregate[Job]) -> _StepDecision:
        """Return the decision that ends the job and its run."""
        after = jobs.succeed(job.state, self._import.state.size_bytes)
        run_writes, events = await end_job_run(
            self._dependencies, after, self._import.state, self._mapping
        )
        write = Write(JOB_KIND, job.id, job.version, after)
        return _StepDecision(writes=(*run_writes, write), events=events)

    def _decide_vanished(self, batch: VanishedBatch, job: StoredAggregate[Job]) -> _StepDecision:
        """Return the decision on a batch of projects that the file lacks."""
        before = self._import.state
        vanished = before.counts.vanished + len(batch.projects)
        state = msgspec.structs.replace(
            before,
            counts=msgspec.structs.replace(before.counts, vanished=vanished),
            chunk_count=before.chunk_count + 1,
            vanished_after=batch.last_id,
        )
        chunk = QuarantineChunk(import_id=state.import_id, vanished=batch.projects)
        chunk_id = build_chunk_id(state.import_id, before.chunk_count)
        after = jobs.advance(job.state, job.state.progress.done)
        return _StepDecision(
            writes=(
                Write(IMPORT_KIND, self._import.id, self._import.version, state),
                Write(QUARANTINE_KIND, chunk_id, 0, chunk),
                Write(JOB_KIND, job.id, job.version, after),
            ),
            import_state=state,
        )

    def _decide_chunk(
        self, work: PreparedChunk, result: ChunkResult, job: StoredAggregate[Job]
    ) -> _StepDecision:
        """Return the decision on a chunk, under the schema version that read its rows."""
        state = self._advance_import(result, work.chunk.end)
        writes = [*result.writes, Write(IMPORT_KIND, self._import.id, self._import.version, state)]
        if result.quarantined or result.warnings:
            notes = QuarantineChunk(
                import_id=state.import_id,
                quarantined=tuple(result.quarantined),
                warnings=tuple(result.warnings),
            )
            notes_id = build_chunk_id(state.import_id, self._import.state.chunk_count)
            writes.append(Write(QUARANTINE_KIND, notes_id, 0, notes))
        upload_id = None
        if result.has_keyless_rows and self._is_furthest(state):
            upload_id = build_upload_id(state.sha256, state.mapping)
            version = self._upload.version if self._upload else 0
            upload = UploadProgress(import_id=state.import_id, offset=state.offset)
            writes.append(Write(UPLOAD_KIND, upload_id, version, upload))
        # A converted file may have more bytes than the upload.
        after = jobs.advance(job.state, min(state.offset, state.size_bytes))
        return _StepDecision(
            writes=(*writes, Write(JOB_KIND, job.id, job.version, after)),
            guards=tuple(result.guards),
            events=tuple(result.events),
            schema_version=work.reader.validator.schema.version,
            import_state=state,
            upload_id=upload_id,
        )

    def _advance_import(self, result: ChunkResult, end: int) -> ImportState:
        """Return the import after this chunk."""
        before = self._import.state
        counts = add_chunk(
            before.counts,
            accepted=result.accepted,
            unchanged=result.unchanged,
            quarantined=result.quarantined,
            warnings=result.warnings,
            skipped=result.skipped,
            merged=result.merged,
            currency_assumed=result.currency_assumed,
        )
        has_notes = bool(result.quarantined or result.warnings)
        return msgspec.structs.replace(
            before,
            columns=self._source.columns,
            encodings=self._source.encodings,
            is_correction=self._source.is_correction,
            offset=end,
            chunk_count=before.chunk_count + has_notes,
            counts=counts,
        )

    def _is_furthest(self, state: ImportState) -> bool:
        """Return whether this import has read as far as any earlier one of the same content."""
        return self._upload is None or state.offset >= self._upload.state.offset
