"""Submit imports, and create or replace their mappings."""

import hashlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.application.imports.queries import find_mapping
from spawn.application.lineage.recorder import begin_import_run
from spawn.domain.change import (
    Change,
    CommitResult,
    IdempotencyReceipt,
    ResponseRecipe,
    StoredAggregate,
    StoredResponse,
    VersionReference,
    Write,
)
from spawn.domain.errors import Duplicate, InvalidInput, SpawnError, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.imports.import_state import (
    IMPORT_KIND,
    FileFormat,
    ImportState,
)
from spawn.domain.imports.mapping import MAPPING_KIND, ImportMapping
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.jobs import JOB_KIND, Job, JobProgress
from spawn.domain.principal import Principal

IMPORT_JOB: Final = "import"
"""Kind of the jobs that run imports."""

_SPOOL_BYTES = 1024 * 1024


class SavedMapping(msgspec.Struct, frozen=True):
    """A stored mapping after a put, and whether it was created."""

    aggregate: StoredAggregate[ImportMapping]
    is_new: bool


class JobIdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """Idempotency key of a request that submits a job; `recipe` acknowledges it."""

    scope: str
    key: str
    content_type: str
    recipe: ResponseRecipe


class SubmittedImport(msgspec.Struct, frozen=True):
    """Result of a submission: the job, or the stored response of the same earlier request."""

    job: Job | None
    replayed_response: StoredResponse | None = None


async def put_mapping(
    dependencies: Dependencies,
    principal: Principal,
    mapping: ImportMapping,
    *,
    expected_version: int | None = None,
) -> SavedMapping:
    """Create or replace a mapping; identical content writes nothing.

    `expected_version` 0 requires that it is new; None accepts only identical content.

    Raises:
        InvalidInput: the mapping does not fit the active schema.
        Duplicate: it exists with other content, and no expected version was passed.
        Stale: it is at another version.
    """
    require(principal, "write")
    RowReader(await dependencies.validator(), mapping)
    before = await find_mapping(dependencies, mapping.name)
    version = before.version if before else 0
    if expected_version is not None and expected_version != version:
        raise StaleVersion(f"The mapping is at version {version}.", current=version)
    if before is not None and before.state == mapping:
        return SavedMapping(before, is_new=False)
    if before is not None and expected_version is None:
        raise Duplicate(
            f"The mapping '{mapping.name}' exists with other content; name its version to replace."
        )
    write = Write(MAPPING_KIND, mapping.name, version, mapping)
    await _commit(dependencies, principal, (write,))
    aggregate = await dependencies.reads.get(MAPPING_KIND, mapping.name, version=version + 1)
    return SavedMapping(aggregate, is_new=before is None)


async def submit_import(
    dependencies: Dependencies,
    principal: Principal,
    chunks: AsyncIterator[bytes],
    *,
    file_format: FileFormat,
    mapping_name: str | None = None,
    key: JobIdempotencyKey | None = None,
) -> SubmittedImport:
    """Store an uploaded file and record its import as a queued job.

    Raises:
        InvalidInput: no such mapping, one that no longer fits the active schema, or CSV without
            one.
        IdempotencyMismatch: the key was used for another file.
        StorageFull, Overloaded, Unavailable: nothing was stored.
    """
    require(principal, "write")
    mapping = await _resolve_mapping(dependencies, mapping_name, file_format)
    import_id = dependencies.ids.new()
    digest = hashlib.sha256()
    size = await dependencies.spool.receive(import_id, _hash_chunks(chunks, digest))
    import_state = ImportState(
        import_id=import_id,
        format=file_format,
        size_bytes=size,
        sha256=digest.hexdigest(),
        requested_by=principal.id,
        mapping=mapping_name,
        mapping_version=None if mapping is None else mapping.version,
    )
    try:
        pinned_mapping = None if mapping is None else mapping.state
        submitted_import = await _submit(dependencies, principal, import_state, pinned_mapping, key)
    except SpawnError:
        await dependencies.spool.discard(import_id)
        raise
    if submitted_import.replayed_response is not None:
        await dependencies.spool.discard(import_id)
    return submitted_import


async def _resolve_mapping(
    dependencies: Dependencies, name: str | None, file_format: FileFormat
) -> StoredAggregate[ImportMapping] | None:
    """Return the mapping to use, checked against the active schema."""
    if name is None:
        if file_format is FileFormat.CSV:
            raise InvalidInput.at("/mapping", "required", "CSV needs a mapping; name one.")
        return None
    aggregate = await find_mapping(dependencies, name)
    if aggregate is None:
        raise InvalidInput.at(
            "/mapping", "unknown_mapping", f"There is no mapping {name[:64]!r}; create it first."
        )
    RowReader(await dependencies.validator(), aggregate.state)
    return aggregate


async def _hash_chunks(
    chunks: AsyncIterator[bytes], digest: "hashlib._Hash"
) -> AsyncIterator[bytes]:
    """Hash the bytes and yield them in larger pieces, for fewer calls of the spool's thread."""
    buffer = bytearray()
    async for chunk in chunks:
        digest.update(chunk)
        buffer += chunk
        if len(buffer) >= _SPOOL_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


async def _submit(
    dependencies: Dependencies,
    principal: Principal,
    import_state: ImportState,
    mapping: ImportMapping | None,
    key: JobIdempotencyKey | None,
) -> SubmittedImport:
    job = Job(
        job_id=import_state.import_id,
        kind=IMPORT_JOB,
        progress=JobProgress(0, import_state.size_bytes),
        result_url=f"/v1/ops/imports/{import_state.import_id}",
    )
    receipt = None
    if key is not None:
        schema_version = (await dependencies.active_schema()).schema.version
        content = f"{import_state.sha256} {key.content_type}".encode()
        receipt = IdempotencyReceipt(
            scope=key.scope,
            key=key.key,
            fingerprint=hashlib.sha256(content).hexdigest(),
            recipe=msgspec.structs.replace(
                key.recipe, subject=VersionReference(JOB_KIND, job.job_id, 1, schema_version)
            ),
        )
    run_writes, events = await begin_import_run(dependencies, import_state, mapping)
    writes = (
        Write(JOB_KIND, job.job_id, 0, job),
        Write(IMPORT_KIND, import_state.import_id, 0, import_state),
        *run_writes,
    )
    commit_result = await _commit(dependencies, principal, writes, receipt, events)
    return SubmittedImport(
        job if commit_result.replayed_response is None else None, commit_result.replayed_response
    )


async def _commit(
    dependencies: Dependencies,
    principal: Principal,
    writes: tuple[Write, ...],
    receipt: IdempotencyReceipt | None = None,
    events: tuple[DomainEvent, ...] = (),
) -> CommitResult:
    change = Change(
        writes=writes,
        events=events,
        receipt=receipt,
        actor=principal.id,
        schema_version=(await dependencies.active_schema()).schema.version,
    )
    return await dependencies.commands.commit(change)
