"""Run an import of facilities or of entries: each row is a command, each chunk a checkpoint.

A row is written whole or not at all. After a crash the rows since the last checkpoint come again,
and change nothing: they count as unchanged.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final

import msgspec

from spawn.application.commands import Decision, execute, retry_while_unavailable
from spawn.application.dependencies import Dependencies
from spawn.application.imports.commands import find_validator
from spawn.application.imports.files.record_source import open_in_thread
from spawn.application.imports.queries import get_pinned_mapping
from spawn.application.imports.records.record_commands import RecordCommands
from spawn.application.imports.records.record_rows import RecordRow, RecordRows
from spawn.application.jobs import JobEnded, load_running_job
from spawn.application.lineage.recorder import end_job_run
from spawn.domain import jobs
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound, SpawnError
from spawn.domain.imports.import_state import (
    IMPORT_KIND,
    QUARANTINE_KIND,
    SKIP_CODES,
    ImportState,
    QuarantineChunk,
    RowNote,
    add_chunk,
    build_chunk_id,
)
from spawn.domain.imports.mapping import ImportMapping, OnExisting
from spawn.domain.imports.records.exported_records import ExportedRecord
from spawn.domain.imports.records.record_kinds import EntryRecord, FacilityRecord
from spawn.domain.jobs import JOB_KIND
from spawn.domain.principal import Principal, Scope

CONCURRENT_GROUPS: Final = 16
"""Projects or ledgers whose rows are written at a time; those of one are in the file's order."""

_CONFLICT: Final = "Another runner has the import."
_ROW_ERRORS: Final = (InvalidInput, NotFound, Forbidden, Conflict)


class _ChunkCounts(msgspec.Struct):
    """Results of the rows of a chunk."""

    changes: int = 0
    repeats: int = 0
    skips: Counter[str] = msgspec.field(default_factory=Counter)
    notes: list[RowNote] = msgspec.field(default_factory=list)


async def run_record_import(
    dependencies: Dependencies, aggregate: StoredAggregate[ImportState], executor: Executor
) -> None:
    """Run an import from its checkpoint to its end; return early if the job is cancelled.

    Raises:
        InvalidInput: the header and the mapping, or the mapping and the schema, do not fit.
        NotFound: the uploaded file, or the mapping, is gone.
    """
    state = aggregate.state
    mapping = await get_pinned_mapping(dependencies, state)
    file = await asyncio.to_thread(dependencies.spool.find, state.import_id)
    validator = await find_validator(dependencies, state.kind)
    build_rows = partial(RecordRows, file, state, mapping, validator, dependencies.workers)
    loop = asyncio.get_running_loop()
    rows = await open_in_thread(build_rows, executor)
    try:
        await loop.run_in_executor(executor, rows.open)
        await _RecordImport(dependencies, executor, rows, aggregate, mapping).finish()
    finally:
        rows.close()


class RecordWriter:
    """Runs the commands of rows: many groups at a time, the rows of each one after the other."""

    def __init__(self, dependencies: Dependencies, rows: RecordRows, state: ImportState) -> None:
        self._rows = rows
        on_existing = (
            OnExisting.SKIP_IF_IDENTICAL if rows.mapping is None else rows.mapping.on_existing
        )
        self._commands = RecordCommands(dependencies, _build_principal(state), on_existing)
        self._slots = asyncio.Semaphore(CONCURRENT_GROUPS)

    async def write_chunk(self, chunk: list[RecordRow]) -> _ChunkCounts:
        """Run the commands of a chunk, and return what came of its rows."""
        counts = _ChunkCounts()
        groups: dict[object, list[RecordRow]] = {}
        for row in chunk:
            record = row.draft.record
            if record is not None:
                groups.setdefault(_group_of(record), []).append(row)
            elif row.draft.reasons[0].code in SKIP_CODES:
                counts.skips[row.draft.reasons[0].code] += 1
            else:
                counts.notes.append(self._rows.note(row, row.draft.reasons))
        await asyncio.gather(*(self._write_group(group, counts) for group in groups.values()))
        counts.notes.sort(key=lambda note: note.line)
        return counts

    async def _write_group(self, group: list[RecordRow], counts: _ChunkCounts) -> None:
        async with self._slots:
            for row in group:
                await self._write_row(row, counts)

    async def _write_row(self, row: RecordRow, counts: _ChunkCounts) -> None:
        record = row.draft.record
        assert record is not None, "rows without a record are in no group"  # noqa: S101 - an invariant
        try:
            is_new = await retry_while_unavailable(
                lambda: self._commands.run(record, row.draft.governed_input)
            )
        except _ROW_ERRORS as error:
            reasons = (self._rows.reader.to_reason(one, row.source) for one in _list_errors(error))
            counts.notes.append(self._rows.note(row, tuple(reasons)))
            return
        if is_new:
            counts.changes += 1
        else:
            counts.repeats += 1


class _RecordImport:
    """One running import and its checkpoint."""

    def __init__(
        self,
        dependencies: Dependencies,
        executor: Executor,
        rows: RecordRows,
        aggregate: StoredAggregate[ImportState],
        mapping: ImportMapping | None,
    ) -> None:
        self._dependencies = dependencies
        self._executor = executor
        self._rows = rows
        self._import = aggregate
        self._mapping = mapping
        self._writer = RecordWriter(dependencies, rows, aggregate.state)

    async def finish(self) -> None:
        """Write all remaining rows, and the end of the job."""
        loop = asyncio.get_running_loop()
        try:
            while chunk := await loop.run_in_executor(self._executor, self._rows.next_chunk):
                await load_running_job(self._dependencies, self._import.id)
                counts = await self._writer.write_chunk(chunk)
                await self._save_checkpoint(counts, chunk[-1].record.end)
            await self._end()
        except JobEnded:
            return

    async def _save_checkpoint(self, counts: _ChunkCounts, end: int) -> None:
        before = self._import.state
        state = msgspec.structs.replace(
            before,
            columns=self._rows.columns,
            offset=end,
            chunk_count=before.chunk_count + bool(counts.notes),
            counts=add_chunk(
                before.counts,
                accepted=counts.changes,
                unchanged=counts.repeats,
                quarantined=counts.notes,
                warnings=(),
                skipped=counts.skips,
            ),
        )
        writes = [Write(IMPORT_KIND, self._import.id, self._import.version, state)]
        if counts.notes:
            notes = QuarantineChunk(import_id=state.import_id, quarantined=tuple(counts.notes))
            notes_id = build_chunk_id(state.import_id, before.chunk_count)
            writes.append(Write(QUARANTINE_KIND, notes_id, 0, notes))

        async def decide() -> Decision:
            job = await load_running_job(self._dependencies, self._import.id)
            after = jobs.advance(job.state, min(end, state.size_bytes))
            return Decision(writes=(*writes, Write(JOB_KIND, job.id, job.version, after)))

        await self._execute(decide)
        self._import = msgspec.structs.replace(
            self._import, version=self._import.version + 1, state=state
        )

    async def _end(self) -> None:
        async def decide() -> Decision:
            job = await load_running_job(self._dependencies, self._import.id)
            after = jobs.succeed(job.state, self._import.state.size_bytes)
            run_writes, events = await end_job_run(
                self._dependencies, after, self._import.state, self._mapping
            )
            write = Write(JOB_KIND, job.id, job.version, after)
            return Decision(writes=(*run_writes, write), events=events)

        await self._execute(decide)

    async def _execute(self, decide: Callable[[], Awaitable[Decision]]) -> None:
        await retry_while_unavailable(
            lambda: execute(
                self._dependencies,
                self._import.state.requested_by,
                decide,
                conflict=_CONFLICT,
            )
        )


def _build_principal(state: ImportState) -> Principal:
    """Return the caller of the import, with the scopes that its rows may use."""
    scopes = {Scope.FINANCE_READ, Scope.FINANCE_WRITE}
    if state.may_restate:
        scopes.add(Scope.RESTATE)
    return Principal(id=state.requested_by, scopes=frozenset(scopes))


def _group_of(record: FacilityRecord | EntryRecord | ExportedRecord) -> object:
    """Return what the rows share that are written one after the other."""
    if isinstance(record, ExportedRecord):
        return record.record_id
    reference = record.project_ref
    project = record.project_id if reference is None else (reference.source, reference.id)
    if isinstance(record, EntryRecord):
        return record.facility_id, record.facility_name, project
    return project


def _list_errors(error: SpawnError) -> tuple[FieldError, ...]:
    if isinstance(error, InvalidInput):
        return error.errors
    return (FieldError("", error.code, error.detail),)
