"""Running an import: read and validate a chunk of rows, commit it whole, go on with the next.

While the store commits one chunk a worker thread prepares the next. A chunk is one change: its
projects, their external references, the rows set aside, and the checkpoint. After a crash the file
is read again up to the checkpoint, without writing, so that what the rows before it established
(which keys have been seen) is known once more.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import msgspec

from spawn.application.dependencies import Services
from spawn.application.imports.chunks import (
    NOTHING,
    Chunk,
    ChunkSource,
    Decided,
    Decider,
    Earlier,
    Existing,
)
from spawn.application.imports.commands import KIND, QUARANTINE_KIND, pinned_mapping, quarantined
from spawn.application.jobs import KIND as JOB_KIND
from spawn.application.jobs import SERVICE
from spawn.application.lineage.recorder import job_ended
from spawn.application.projects.versioned_views import shown_under
from spawn.domain import jobs
from spawn.domain.change import Change, Stored, Write
from spawn.domain.errors import Conflict, Duplicate, NotFound, Stale, Unavailable
from spawn.domain.events.event import DomainEvent
from spawn.domain.imports.import_state import Import, Quarantine, Upload, add, chunk_id, upload_id
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.jobs import Job
from spawn.domain.projects.project import Project

MAX_ATTEMPTS = 5
FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 30.0
UPLOAD_KIND = "upload"


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
    mapping = await pinned_mapping(services, order.state)
    path = await asyncio.to_thread(services.spool.path, job_id)
    source = await asyncio.to_thread(ChunkSource, path, order.state, mapping, services.ids)
    try:
        await _Run(services, executor, source, order, mapping).finish()
    finally:
        source.close()


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
        self._decider = Decider(order.state.format, mapping)
        # References are taken to be new until the store says otherwise.
        self._look_up = False

    async def finish(self) -> None:
        """All remaining chunks and the end of the job."""
        await self._recall()
        today = self._services.clock.now().date()
        reader = RowReader(await self._services.conformance(), self._mapping, today)
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
        earlier = Earlier(upload.state.offset, frozenset(lines))
        self._decider = Decider(state.format, self._mapping, earlier)

    async def _current(self, reader: RowReader) -> RowReader:
        """The reader for the schema that is active now."""
        conformance = await self._services.conformance()
        if reader.conformance is conformance:
            return reader
        return RowReader(conformance, self._mapping, reader.on)

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
        pause_s = FIRST_PAUSE_S
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
            after = jobs.succeed(job.state, self._order.state.size_bytes)
            ending = await job_ended(self._services, after, self._order.state, self._mapping)
            generation = (await self._services.active()).schema.version
            await self._commit(job, after, *ending, schema_version=generation)
            return
        decided, generation = prepared.decided, prepared.reader.conformance.schema.version
        if decided is None or self._look_up:
            existing = await self._existing(prepared.chunk, generation)
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
        after = jobs.advance(job.state, state.offset)
        await self._commit(job, after, writes, decided.events, schema_version=generation)
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
        *,
        schema_version: int,
    ) -> None:
        """Commit under the version that the rows were read under, whichever rules by now."""
        change = Change(
            writes=(*writes, Write(JOB_KIND, job.id, job.version, after)),
            events=tuple(events),
            actor=self._order.state.requested_by,
            schema_version=schema_version,
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
            warnings=decided.warnings,
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

    async def _existing(self, chunk: Chunk, schema_version: int) -> Existing:
        """What the store holds under the references of a chunk, in the shape of its rows."""
        references = [
            row.draft.made.reference
            for row in chunk.rows
            if row.draft.made is not None and row.draft.made.reference is not None
        ]
        reads = self._services.reads
        held = await reads.get_many("external_ref", references)
        ids = [stored.state.project_id for stored in held.values() if stored.state.project_id]
        found: Mapping[str, Stored[Project]] = await reads.get_many("project", ids)
        projects = {
            key: await shown_under(self._services, stored, schema_version)
            for key, stored in found.items()
        }
        return Existing(held, projects)
