"""Read imports, their rows and mappings, and the newest run of each mapping."""

import asyncio
from collections.abc import AsyncIterator

from spawn.application.dependencies import Dependencies, require
from spawn.application.imports.reason_tally import ReasonCount, ReasonTally
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import NotFound
from spawn.domain.imports.import_state import (
    IMPORT_KIND,
    QUARANTINE_KIND,
    ImportState,
    QuarantineChunk,
    RowNote,
    VanishedProject,
    build_chunk_id,
)
from spawn.domain.imports.mapping import MAPPING_KIND, ImportMapping, is_mapping_name
from spawn.domain.jobs import JOB_KIND, JobStatus
from spawn.domain.lineage.run import RUN_KIND, Run
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import Page, Query, Sort

MAX_RECENT_IMPORTS = 200
"""Imports scanned for the newest one of each mapping."""

_CHUNKS_PER_READ = 8
_NEWEST_FIRST = (Sort("created_at", descending=True),)


async def get_mapping(
    dependencies: Dependencies, principal: Principal, name: str
) -> StoredAggregate[ImportMapping]:
    """Return the mapping of a name.

    Raises:
        NotFound: no such mapping.
    """
    require(principal, Scope.PROJECTS_READ)
    aggregate = await find_mapping(dependencies, name)
    if aggregate is None:
        raise NotFound("There is no mapping of this name.")
    return aggregate


async def list_mappings(
    dependencies: Dependencies, principal: Principal, query: Query
) -> Page[StoredAggregate[ImportMapping]]:
    """Return a page of mappings, in order of creation."""
    require(principal, Scope.PROJECTS_READ)
    return await dependencies.reads.page(query)


async def find_mapping(
    dependencies: Dependencies, name: str
) -> StoredAggregate[ImportMapping] | None:
    """Return the mapping of a name; None if there is none."""
    if not is_mapping_name(name):
        return None
    try:
        return await dependencies.reads.get(MAPPING_KIND, name)
    except NotFound:
        return None


async def list_imports(
    dependencies: Dependencies, principal: Principal, query: Query
) -> Page[StoredAggregate[ImportState]]:
    """Return a page of imports, in the order of the query."""
    require(principal, Scope.PROJECTS_READ)
    return await dependencies.reads.page(query)


async def count_reasons(
    dependencies: Dependencies, principal: Principal, import_state: ImportState
) -> tuple[list[ReasonCount], list[ReasonCount]]:
    """Return the reasons of an import's quarantined rows, and those of its warnings."""
    reasons, warnings = ReasonTally(), ReasonTally()
    async for chunk in _stream_note_chunks(dependencies, principal, import_state):
        await asyncio.to_thread(reasons.add, chunk.quarantined)
        await asyncio.to_thread(warnings.add, chunk.warnings)
    return reasons.list_counts(), warnings.list_counts()


async def get_import(
    dependencies: Dependencies, principal: Principal, import_id: str
) -> StoredAggregate[ImportState]:
    """Return an import with its current progress.

    Raises:
        NotFound: no such import.
    """
    require(principal, Scope.PROJECTS_READ)
    return await dependencies.reads.get(IMPORT_KIND, import_id)


async def get_pinned_mapping(
    dependencies: Dependencies, import_state: ImportState
) -> ImportMapping | None:
    """Return the mapping version that an import uses; None if it has no mapping."""
    if import_state.mapping is None:
        return None
    aggregate: StoredAggregate[ImportMapping] = await dependencies.reads.get(
        MAPPING_KIND, import_state.mapping, version=import_state.mapping_version
    )
    return aggregate.state


async def stream_quarantined_rows(
    dependencies: Dependencies, principal: Principal, import_state: ImportState
) -> AsyncIterator[RowNote]:
    """Yield each quarantined row of an import, in the order of the file."""
    async for chunk in _stream_note_chunks(dependencies, principal, import_state):
        for note in chunk.quarantined:
            yield note


async def stream_rows_with_warnings(
    dependencies: Dependencies, principal: Principal, import_state: ImportState
) -> AsyncIterator[RowNote]:
    """Yield each row accepted with a warning, in the order of the file."""
    async for chunk in _stream_note_chunks(dependencies, principal, import_state):
        for note in chunk.warnings:
            yield note


async def stream_vanished_projects(
    dependencies: Dependencies, principal: Principal, import_state: ImportState
) -> AsyncIterator[VanishedProject]:
    """Yield each project that the file of an import lacks, in the order of their keys."""
    async for chunk in _stream_note_chunks(dependencies, principal, import_state):
        for project in chunk.vanished:
            yield project


async def _stream_note_chunks(
    dependencies: Dependencies, principal: Principal, import_state: ImportState
) -> AsyncIterator[QuarantineChunk]:
    require(principal, Scope.PROJECTS_READ)
    for start in range(0, import_state.chunk_count, _CHUNKS_PER_READ):
        numbers = range(start, min(start + _CHUNKS_PER_READ, import_state.chunk_count))
        ids = [build_chunk_id(import_state.import_id, number) for number in numbers]
        chunks = await dependencies.reads.get_many(QUARANTINE_KIND, ids)
        for chunk_key in ids:
            yield chunks[chunk_key].state


async def find_latest_import_runs(dependencies: Dependencies) -> list[StoredAggregate[Run]]:
    """Return the run of the newest successful import of each mapping, among recent imports."""
    reads = dependencies.reads
    imports = await reads.page(
        Query(kind=IMPORT_KIND, sort=_NEWEST_FIRST, limit=MAX_RECENT_IMPORTS)
    )
    jobs = await reads.get_many(JOB_KIND, [aggregate.id for aggregate in imports.items])
    newest: dict[str, str] = {}
    for aggregate in imports.items:
        if aggregate.id in jobs and jobs[aggregate.id].state.status is JobStatus.SUCCEEDED:
            newest.setdefault(aggregate.state.mapping or aggregate.state.format, aggregate.id)
    runs = await reads.get_many(RUN_KIND, list(newest.values()))
    return [runs[run_id] for run_id in newest.values() if run_id in runs]
