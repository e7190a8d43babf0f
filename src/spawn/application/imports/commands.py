"""Submit imports, and create or replace their mappings."""

import codecs
import hashlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from spawn.application.commands import Decision, commit
from spawn.application.dependencies import Dependencies, require
from spawn.application.imports.queries import find_mapping
from spawn.application.jobs import SubmittedJob, submit_job
from spawn.application.lineage.recorder import begin_import_run
from spawn.domain.change import (
    IdempotencyReceipt,
    StoredAggregate,
    Write,
)
from spawn.domain.errors import Duplicate, InvalidInput, StaleVersion
from spawn.domain.imports.import_state import (
    IMPORT_KIND,
    FileFormat,
    ImportKind,
    ImportState,
)
from spawn.domain.imports.mapping import MAPPING_KIND, ImportMapping
from spawn.domain.imports.record_parser import list_encodings
from spawn.domain.imports.records.record_reader import RecordReader
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.jobs import Job, JobProgress
from spawn.domain.lineage.run import parse_parent_run
from spawn.domain.principal import Principal, Scope
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES
from spawn.domain.schemas.validator import SchemaValidator

IMPORT_JOB: Final = "import"
"""Kind of the jobs that run imports."""

WRITE_SCOPES: Final = {
    ImportKind.PROJECT: Scope.PROJECTS_WRITE,
    ImportKind.FACILITY: Scope.FINANCE_WRITE,
    ImportKind.ENTRY: Scope.FINANCE_WRITE,
}
"""Scopes that an import needs, by the kind of its rows."""

WORKBOOKS_NEED_EXTRA: Final = (
    "Workbooks need the extra excel, which is not installed: pip install 'duckdb-spawn[excel]', or "
    "save the sheet as CSV."
)

NO_XML_EXPORTS: Final = "The service exports no XML; send the CSV, the NDJSON or the workbook."

_SPOOL_BYTES = 1024 * 1024


class SubmissionContext(msgspec.Struct, frozen=True, kw_only=True):
    """Context of one submission.

    `receipt` is that of an idempotent request; its key needs the hash of the file. `parent` names
    the run of a pipeline that imports the file; see `parse_parent_run`.
    """

    receipt: IdempotencyReceipt | None = None
    parent: str | None = None


NO_CONTEXT: Final = SubmissionContext()


class SavedMapping(msgspec.Struct, frozen=True):
    """A stored mapping after a put, and whether it was created."""

    aggregate: StoredAggregate[ImportMapping]
    is_new: bool


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
        InvalidInput: the mapping does not fit the active schema, or states what no row can have.
        Duplicate: it exists with other content, and no expected version was passed.
        Stale: it is at another version.
    """
    require(principal, WRITE_SCOPES[mapping.kind])
    reader = await compile_mapping(dependencies, mapping)
    reader.check_stated_values()
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
    await commit(dependencies, principal.id, Decision(writes=(write,)))
    aggregate = await dependencies.reads.get(MAPPING_KIND, mapping.name, version=version + 1)
    return SavedMapping(aggregate, is_new=before is None)


async def submit_import(
    dependencies: Dependencies,
    principal: Principal,
    chunks: AsyncIterator[bytes],
    *,
    file_format: FileFormat,
    mapping_name: str | None = None,
    from_export: bool = False,
    kind: ImportKind = ImportKind.PROJECT,
    context: SubmissionContext = NO_CONTEXT,
) -> SubmittedJob:
    """Store an uploaded file and record its import as a queued job.

    `from_export` means a file that the service has exported, which needs no mapping. `kind` is
    that of the rows.

    Raises:
        InvalidInput: the parent is malformed, or the mapping is unknown, does not fit the active
            schema, or is missing for CSV.
        IdempotencyMismatch: the key was used for another file.
        StorageFull, Overloaded, Unavailable: nothing was stored.
    """
    require(principal, WRITE_SCOPES[kind])
    parent_run = None if context.parent is None else parse_parent_run(context.parent)
    mapping = await resolve_mapping(
        dependencies, mapping_name, file_format, from_export=from_export, kind=kind
    )
    import_id = dependencies.ids.new()
    digest = hashlib.sha256()
    size = await dependencies.spool.receive(import_id, hash_chunks(chunks, digest))
    import_state = ImportState(
        import_id=import_id,
        format=file_format,
        size_bytes=size,
        sha256=digest.hexdigest(),
        requested_by=principal.id,
        mapping=mapping_name,
        mapping_version=None if mapping is None else mapping.version,
        from_export=from_export or (mapping is not None and mapping.state.from_export),
        kind=kind,
        may_restate=Scope.RESTATE in principal.scopes,
    )

    async def decide() -> Decision:
        pinned_mapping = None if mapping is None else mapping.state
        run_writes, events = await begin_import_run(
            dependencies, import_state, pinned_mapping, parent_run
        )
        write = Write(IMPORT_KIND, import_id, 0, import_state)
        return Decision(writes=(write, *run_writes), events=events)

    job = Job(job_id=import_id, kind=IMPORT_JOB, progress=JobProgress(0, size))
    return await submit_job(
        dependencies,
        principal,
        job,
        decide,
        content_sha256=import_state.sha256,
        receipt=context.receipt,
    )


async def resolve_mapping(
    dependencies: Dependencies,
    name: str | None,
    file_format: FileFormat,
    *,
    from_export: bool = False,
    kind: ImportKind = ImportKind.PROJECT,
) -> StoredAggregate[ImportMapping] | None:
    """Return the mapping to use, checked against the active schema.

    Tables of facilities and entries need none: their columns have the names of the fields.

    Raises:
        InvalidInput: no such mapping, one of another kind or that does not fit the schema, none for
            a format that needs one, or a workbook without the package that reads it.
    """
    if file_format is FileFormat.XLSX and not dependencies.workers.reads_workbooks:
        raise InvalidInput.at("", "extra_missing", WORKBOOKS_NEED_EXTRA)
    if from_export and name is not None:
        detail = "A file that was exported needs no mapping; leave it out."
        raise InvalidInput.at("/mapping", "ambiguous", detail)
    if from_export:
        _check_export(file_format)
        return None
    if name is None:
        _check_needs_no_mapping(file_format, kind)
        return None
    aggregate = await find_mapping(dependencies, name)
    if aggregate is None:
        raise InvalidInput.at(
            "/mapping", "unknown_mapping", f"There is no mapping {name[:64]!r}; create it first."
        )
    if aggregate.state.kind is not kind:
        detail = f"The mapping is of kind {aggregate.state.kind}, the import of kind {kind}."
        raise InvalidInput.at("/mapping", "contradiction", detail)
    if aggregate.state.from_export and file_format is FileFormat.XML:
        raise InvalidInput.at("/mapping", "invalid_value", NO_XML_EXPORTS)
    await compile_mapping(dependencies, aggregate.state)
    return aggregate


def _check_export(file_format: FileFormat) -> None:
    if file_format is FileFormat.XML:
        raise InvalidInput.at("/from_export", "invalid_value", NO_XML_EXPORTS)


def _check_needs_no_mapping(file_format: FileFormat, kind: ImportKind) -> None:
    names_fields = file_format.has_cells and kind is not ImportKind.PROJECT
    if not (names_fields or file_format in {FileFormat.NDJSON, FileFormat.JSON}):
        detail = f"{file_format.upper()} needs a mapping; name one."
        raise InvalidInput.at("/mapping", "required", detail)


async def compile_mapping(
    dependencies: Dependencies, mapping: ImportMapping
) -> RowReader | RecordReader:
    """Return the reader of a mapping under the active schema of its kind.

    Raises:
        InvalidInput: it names an attribute that the kind does not have.
    """
    if mapping.kind is ImportKind.PROJECT:
        return RowReader(await dependencies.validator(), mapping)
    validator = await find_validator(dependencies, mapping.kind)
    return RecordReader(mapping.kind, mapping, validator=validator)


async def find_validator(dependencies: Dependencies, kind: ImportKind) -> SchemaValidator | None:
    """Return the validator of the governed attributes of a kind; None if it has none."""
    return await dependencies.validator(kind) if kind in CORE_ATTRIBUTES else None


async def check_charset(
    dependencies: Dependencies,
    charset: str | None,
    file_format: FileFormat,
    mapping_name: str | None,
) -> None:
    """Check that the encoding that a request states is one in which its text is read.

    Raises:
        InvalidInput: it is unknown, or the mapping reads the file in others.
    """
    if charset is None or file_format not in {FileFormat.CSV, FileFormat.NDJSON, FileFormat.JSON}:
        return
    mapping = None if mapping_name is None else await find_mapping(dependencies, mapping_name)
    encodings = list_encodings(file_format, mapping.state if mapping else None)
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        detail = f"The charset {charset[:40]!r} is unknown."
        raise InvalidInput.at("/Content-Type", "invalid_value", detail) from None
    # ASCII is a part of each encoding that is read without a conversion.
    if name != "ascii" and name not in {codecs.lookup(one).name for one in encodings}:
        detail = (
            f"The charset is {charset[:40]}, but the file is read as {', '.join(encodings)}. "
            "Correct it, or `encoding` of the mapping."
        )
        raise InvalidInput.at("/Content-Type", "contradiction", detail)


async def hash_chunks(
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
