"""Dry runs of imports: the counts, reasons and first projects of a file, with nothing written.

A dry run reads and decides the rows as the import would, against what is stored, within the
request; it ends with what it has after a time. The file is in the spool meanwhile.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.imports.chunks import Chunk, ChunkDecider, ChunkResult, ChunkSource
from spawn.application.imports.commands import WRITE_SCOPES, hash_chunks, resolve_mapping
from spawn.application.imports.existing_records import load_existing_records
from spawn.application.imports.reason_tally import ReasonCount, ReasonTally
from spawn.application.imports.records.record_trial import try_records
from spawn.domain.change import EncodedState, Write
from spawn.domain.errors import Overloaded
from spawn.domain.imports.import_state import (
    FileFormat,
    ImportKind,
    ImportState,
    RowCounts,
    add_chunk,
)
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND

MAX_DRY_RUNS: Final = 2
"""Dry runs at a time."""
DRY_RUN_TIMEOUT: Final = timedelta(seconds=60)
"""Time after which a dry run ends with the rows so far."""
MAX_SAMPLE_PROJECTS: Final = 5


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a dry run; `is_complete` is false if it ended before the file did.

    `projects` are the documents of the first projects that the import would create.
    """

    counts: RowCounts
    is_complete: bool
    reasons: list[ReasonCount]
    warnings: list[ReasonCount]
    projects: list[bytes]


class DryRunSlots:
    """Slots of the dry runs that may proceed at a time."""

    def __init__(self) -> None:
        self._running = 0

    async def run(
        self,
        dependencies: Dependencies,
        principal: Principal,
        chunks: AsyncIterator[bytes],
        *,
        file_format: FileFormat,
        mapping_name: str | None,
        from_export: bool = False,
        kind: ImportKind = ImportKind.PROJECT,
    ) -> DryRun:
        """Read a file as an import would, and return what would come of it.

        Raises:
            InvalidInput: no such mapping, or the header lacks its columns.
            Overloaded: as many dry runs are proceeding as may.
        """
        require(principal, WRITE_SCOPES[kind])
        if self._running >= MAX_DRY_RUNS:
            raise Overloaded(
                f"{MAX_DRY_RUNS} dry runs are proceeding already; try again later.",
                retry_after_s=10.0,
            )
        self._running += 1
        try:
            mapping = await resolve_mapping(
                dependencies, mapping_name, file_format, from_export=from_export, kind=kind
            )
            import_id = dependencies.ids.new()
            size = await dependencies.spool.receive(
                import_id, hash_chunks(chunks, hashlib.sha256())
            )
            state = ImportState(
                import_id=import_id,
                format=file_format,
                size_bytes=size,
                sha256="",
                requested_by=principal.id,
                mapping=mapping_name,
                from_export=from_export or (mapping is not None and mapping.state.from_export),
                kind=kind,
                may_restate=Scope.RESTATE in principal.scopes,
            )
            pinned_mapping = mapping.state if mapping else None
            try:
                if kind is not ImportKind.PROJECT:
                    return await _try_records(dependencies, state, pinned_mapping)
                return await _read_file(dependencies, state, pinned_mapping)
            finally:
                await dependencies.spool.discard(import_id)
        finally:
            self._running -= 1


async def _try_records(
    dependencies: Dependencies, state: ImportState, mapping: ImportMapping | None
) -> DryRun:
    end = dependencies.clock.now() + DRY_RUN_TIMEOUT
    trial = await try_records(dependencies, state, mapping, end)
    return DryRun(
        counts=trial.counts,
        is_complete=trial.is_complete,
        reasons=trial.reasons.list_counts(),
        warnings=[],
        projects=[],
    )


async def _read_file(
    dependencies: Dependencies, state: ImportState, mapping: ImportMapping | None
) -> DryRun:
    today = dependencies.clock.now().date()
    validator = await dependencies.validator()
    reader = RowReader(validator, mapping, today, from_export=state.from_export)
    file = await asyncio.to_thread(dependencies.spool.find, state.import_id)
    source = ChunkSource(file, state, mapping, dependencies.ids, dependencies.workers)
    try:
        await asyncio.to_thread(source.open, reader, 0)
        return await _read_chunks(dependencies, source, reader, ChunkDecider(mapping))
    finally:
        await asyncio.to_thread(source.close)


async def _read_chunks(
    dependencies: Dependencies, source: ChunkSource, reader: RowReader, decider: ChunkDecider
) -> DryRun:
    """Decide chunk after chunk until the end of the file or of the time."""
    version = reader.validator.schema.version
    end = dependencies.clock.now() + DRY_RUN_TIMEOUT
    counts, reasons, warnings = RowCounts(), ReasonTally(), ReasonTally()
    projects: list[bytes] = []
    is_complete = True
    while (chunk := await asyncio.to_thread(source.next_chunk, reader)) is not None:
        existing = await load_existing_records(dependencies, chunk, version)
        source.expects_existing = bool(existing.projects)
        result = await asyncio.to_thread(decider.decide, chunk, reader, existing)
        counts = _count(counts, result)
        reasons.add(result.quarantined)
        warnings.add(result.warnings)
        projects += _list_documents(result)[: MAX_SAMPLE_PROJECTS - len(projects)]
        if dependencies.clock.now() >= end and not _is_last(chunk, source):
            is_complete = False
            break
    return DryRun(
        counts=counts,
        is_complete=is_complete,
        reasons=reasons.list_counts(),
        warnings=warnings.list_counts(),
        projects=projects,
    )


def _is_last(chunk: Chunk, source: ChunkSource) -> bool:
    return chunk.end >= source.size_bytes


def _count(counts: RowCounts, result: ChunkResult) -> RowCounts:
    return add_chunk(
        counts,
        accepted=result.accepted,
        unchanged=result.unchanged,
        quarantined=result.quarantined,
        warnings=result.warnings,
        skipped=result.skipped,
        merged=result.merged,
        currency_assumed=result.currency_assumed,
    )


def _list_documents(result: ChunkResult) -> list[bytes]:
    """Return the documents of the new projects of a chunk."""
    states = (write.state for write in result.writes if _is_creation(write))
    return [state.document for state in states if isinstance(state, EncodedState)]


def _is_creation(write: Write) -> bool:
    return write.kind == PROJECT_KIND and write.expected_version == 0
