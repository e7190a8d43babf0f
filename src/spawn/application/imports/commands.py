"""The use cases of imports: mappings, the order to import a file, and what came of it."""

import hashlib
from collections.abc import AsyncIterator, Callable

import msgspec

from spawn.application.dependencies import Services, require
from spawn.application.lineage.recorder import import_begun
from spawn.domain.change import Answer, Change, Committed, Receipt, Stored, Write
from spawn.domain.errors import Duplicate, InvalidInput, NotFound, SpawnError, Stale
from spawn.domain.events.event import DomainEvent
from spawn.domain.imports.import_state import FileFormat, Import, Note, Quarantine, chunk_id
from spawn.domain.imports.mapping import ImportMapping, is_mapping_name
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.jobs import Job, Progress
from spawn.domain.principal import Principal
from spawn.domain.query import Page, Query

KIND = "import"
MAPPING_KIND = "import_mapping"
QUARANTINE_KIND = "quarantine"
JOB_KIND = "import"
"""What a job that runs an import says it is."""

_CHUNKS_AT_ONCE = 8
_SPOOL_BYTES = 1024 * 1024


class Saved(msgspec.Struct, frozen=True):
    """A mapping after a put: as stored, and whether it is new."""

    stored: Stored[ImportMapping]
    created: bool


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key; `answer` renders the acknowledgement of the job."""

    scope: str
    key: str
    content_type: str
    answer: Callable[[Job], Answer]


class Ordered(msgspec.Struct, frozen=True):
    """An import that was ordered: its job, or the recorded answer of the same request before."""

    job: Job | None
    replayed: Answer | None = None


async def put_mapping(
    services: Services,
    principal: Principal,
    mapping: ImportMapping,
    *,
    expected_version: int | None = None,
) -> Saved:
    """Create or replace a mapping; what says the same writes nothing.

    `expected_version` 0 asks for its creation; None replaces only what is identical.

    Raises:
        InvalidInput: the mapping does not fit the active schema.
        Duplicate: it exists, with other content, and no version of it was named.
        Stale: it is at another version.
    """
    require(principal, "write")
    RowReader(await services.conformance(), mapping)
    before = await _find_mapping(services, mapping.name)
    version = before.version if before else 0
    if expected_version is not None and expected_version != version:
        raise Stale(f"The mapping is at version {version}.", current=version)
    if before is not None and before.state == mapping:
        return Saved(before, created=False)
    if before is not None and expected_version is None:
        raise Duplicate(
            f"The mapping '{mapping.name}' exists with other content; name its version to replace."
        )
    write = Write(MAPPING_KIND, mapping.name, version, mapping)
    await _commit(services, principal, (write,))
    stored = await services.reads.get(MAPPING_KIND, mapping.name, version=version + 1)
    return Saved(stored, created=before is None)


async def get_mapping(services: Services, principal: Principal, name: str) -> Stored[ImportMapping]:
    """The mapping of a name.

    Raises:
        NotFound: there is none.
    """
    require(principal, "read")
    stored = await _find_mapping(services, name)
    if stored is None:
        raise NotFound("There is no mapping of this name.")
    return stored


async def list_mappings(
    services: Services, principal: Principal, query: Query
) -> Page[Stored[ImportMapping]]:
    """One page of mappings, in the order of their creation."""
    require(principal, "read")
    return await services.reads.page(query)


async def start_import(
    services: Services,
    principal: Principal,
    chunks: AsyncIterator[bytes],
    *,
    file_format: FileFormat,
    mapping_name: str | None = None,
    key: KeyUse | None = None,
) -> Ordered:
    """Take a file in: on disk and recorded as a queued job when this returns.

    Raises:
        InvalidInput: no such mapping, one that the active schema has outgrown, or CSV without one.
        IdempotencyMismatch: the key was used for another file.
        StorageFull, Overloaded, Unavailable: nothing was kept.
    """
    require(principal, "write")
    mapping = await _pin(services, mapping_name, file_format)
    import_id = services.ids.new()
    digest = hashlib.sha256()
    size = await services.spool.receive(import_id, _hashed(chunks, digest))
    order = Import(
        import_id=import_id,
        format=file_format,
        size_bytes=size,
        sha256=digest.hexdigest(),
        requested_by=principal.id,
        mapping=mapping_name,
        mapping_version=None if mapping is None else mapping.version,
    )
    try:
        pinned = None if mapping is None else mapping.state
        ordered = await _order(services, principal, order, pinned, key)
    except SpawnError:
        await services.spool.discard(import_id)
        raise
    if ordered.replayed is not None:
        await services.spool.discard(import_id)
    return ordered


async def get_import(services: Services, principal: Principal, import_id: str) -> Stored[Import]:
    """The import, with what came of it so far.

    Raises:
        NotFound: no such import.
    """
    require(principal, "read")
    return await services.reads.get(KIND, import_id)


async def pinned_mapping(services: Services, order: Import) -> ImportMapping | None:
    """The mapping of an import as it was when the import was asked for; None: it has none."""
    if order.mapping is None:
        return None
    stored: Stored[ImportMapping] = await services.reads.get(
        MAPPING_KIND, order.mapping, version=order.mapping_version
    )
    return stored.state


async def quarantined(
    services: Services, principal: Principal, order: Import
) -> AsyncIterator[Note]:
    """Each row that an import set aside, in the order of the file."""
    async for chunk in _chunks(services, principal, order):
        for note in chunk.quarantined:
            yield note


async def warned(services: Services, principal: Principal, order: Import) -> AsyncIterator[Note]:
    """Each row that an import took in with a warning, in the order of the file."""
    async for chunk in _chunks(services, principal, order):
        for note in chunk.warnings:
            yield note


async def _chunks(
    services: Services, principal: Principal, order: Import
) -> AsyncIterator[Quarantine]:
    require(principal, "read")
    for start in range(0, order.notes, _CHUNKS_AT_ONCE):
        numbers = range(start, min(start + _CHUNKS_AT_ONCE, order.notes))
        ids = [chunk_id(order.import_id, number) for number in numbers]
        found = await services.reads.get_many(QUARANTINE_KIND, ids)
        for ident in ids:
            yield found[ident].state


async def _find_mapping(services: Services, name: str) -> Stored[ImportMapping] | None:
    if not is_mapping_name(name):
        return None
    try:
        return await services.reads.get(MAPPING_KIND, name)
    except NotFound:
        return None


async def _pin(
    services: Services, name: str | None, file_format: FileFormat
) -> Stored[ImportMapping] | None:
    """The mapping to use, checked against the active schema; its version is pinned."""
    if name is None:
        if file_format is FileFormat.CSV:
            raise InvalidInput.at("/mapping", "required", "CSV needs a mapping.")
        return None
    stored = await _find_mapping(services, name)
    if stored is None:
        raise InvalidInput.at("/mapping", "unknown_mapping", f"There is no mapping {name[:64]!r}.")
    RowReader(await services.conformance(), stored.state)
    return stored


async def _hashed(chunks: AsyncIterator[bytes], digest: "hashlib._Hash") -> AsyncIterator[bytes]:
    """The same bytes in larger pieces, so that the spool's thread is called less often."""
    gathered = bytearray()
    async for chunk in chunks:
        digest.update(chunk)
        gathered += chunk
        if len(gathered) >= _SPOOL_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


async def _order(
    services: Services,
    principal: Principal,
    order: Import,
    mapping: ImportMapping | None,
    key: KeyUse | None,
) -> Ordered:
    job = Job(
        job_id=order.import_id,
        kind=JOB_KIND,
        progress=Progress(0, order.size_bytes),
        result_url=f"/v1/ops/imports/{order.import_id}",
    )
    receipt = None
    if key is not None:
        content = f"{order.sha256} {key.content_type}".encode()
        receipt = Receipt(
            scope=key.scope,
            key=key.key,
            fingerprint=hashlib.sha256(content).hexdigest(),
            answer=lambda _recorded_at: key.answer(job),
        )
    begun, events = await import_begun(services, order, mapping)
    writes = (Write("job", job.job_id, 0, job), Write(KIND, order.import_id, 0, order), *begun)
    committed = await _commit(services, principal, writes, receipt, events)
    return Ordered(job if committed.replayed is None else None, committed.replayed)


async def _commit(
    services: Services,
    principal: Principal,
    writes: tuple[Write, ...],
    receipt: Receipt | None = None,
    events: tuple[DomainEvent, ...] = (),
) -> Committed:
    change = Change(
        writes=writes,
        events=events,
        receipt=receipt,
        actor=principal.id,
        schema_version=(await services.active()).schema.version,
    )
    return await services.commands.commit(change)
