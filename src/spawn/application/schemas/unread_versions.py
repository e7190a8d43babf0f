"""Versions that keep a refresh from going on: unread, unlisted, or behind a gap of the list.

A refresh must not pass over a version that it has not read: if that one renames a column, the
values of the old name would be lost to its successors. Such a version is recorded as failed, so
that health, candidates and every replica know why the refresh ended; it is read again each time.
An administrator goes on without it by rejecting it, or over a gap by approving what follows.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import (
    ADOPTED,
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    find_record,
    has_room,
    needs_attention,
)
from spawn.domain.errors import InvalidInput, MalformedBody, SpawnError
from spawn.domain.json_tokens import parse_object
from spawn.domain.schemas.document_parser import (
    InvalidSchemaDocument,
    compute_fingerprint,
    restore_schema,
)
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState

_OF_ANOTHER = frozenset({"other_version", "other_schema"})


def is_version_document(invalid: InvalidSchemaDocument) -> bool:
    """Return whether an invalid document is a version of the schema, though a bad one.

    A page of a proxy, an error as an object, and the document of another version or schema say
    nothing about the version that was requested. One without a fingerprint, such as with a number
    beyond a double, could not be recorded as passed over.
    """
    if _OF_ANOTHER & {error.code for error in invalid.errors}:
        return False
    try:
        compute_fingerprint(invalid.document)
        return "columns" in parse_object(invalid.document)
    except (MalformedBody, InvalidInput):
        return False


def find_unread_rejections(records: Iterable[SchemaRecord]) -> dict[int, SchemaRecord]:
    """Return the rejections without a document, by number; they stand for each document of it.

    An adoption of the number since then ends one: records are in the order of both.
    """
    rejections: dict[int, SchemaRecord] = {}
    for record in records:
        if record.state is SchemaState.REJECTED and is_unread(record):
            rejections[record.schema.version] = record
        elif record.state in ADOPTED:
            rejections.pop(record.schema.version, None)
    return rejections


def find_rejected_numbers(records: Sequence[SchemaRecord]) -> frozenset[int]:
    """Return the numbers that need no document, since what waits under them was rejected."""
    return _find_rejected_documents(records) | find_unread_rejections(records).keys()


def _find_rejected_documents(records: Iterable[SchemaRecord]) -> frozenset[int]:
    """Return the numbers of which every document that waited was rejected.

    A rejection stands while the document is not read; another content would be read first.
    """
    states_by_number = defaultdict[int, set[SchemaState]](set)
    for record in records:
        if record.state is not SchemaState.WITHDRAWN and not is_unread(record):
            states_by_number[record.schema.version].add(record.state)
    return frozenset(
        number for number, states in states_by_number.items() if states == {SchemaState.REJECTED}
    )


async def record_unread(
    dependencies: Dependencies,
    policy: SchemaPolicy,
    number: int,
    reason: str,
    actor: str,
    *,
    is_listed: bool = True,
) -> RefreshResult:
    """Record that a version, or what may be one between listed ones, was not read, and why."""
    place = "it is listed" if is_listed else "it may be missing between two versions of the list"
    detail = (
        f"{place}, but was not read: {reason}; it is read again, and later versions wait,"
        " unless it is rejected"
    )
    return await _record(dependencies, _build_unread(dependencies, policy, number), detail, actor)


async def record_gap(
    dependencies: Dependencies, policy: SchemaPolicy, first: int, active: int, actor: str
) -> RefreshResult:
    """Record that the list begins after the active version, so that others may be missing."""
    detail = (
        f"the registry's list begins with it, and version {active} is active: versions between"
        " them may be missing; approve it to go on without them"
    )
    return await _record(dependencies, _build_unread(dependencies, policy, first), detail, actor)


async def record_unlisted(
    dependencies: Dependencies, record: SchemaRecord, numbers: Sequence[int], actor: str
) -> RefreshResult:
    """Record that a version is served, but not listed: it waits until it is."""
    end = f"ends with {numbers[-1]}" if numbers else "is empty"
    detail = (
        f"the registry serves it, but its list {end}: it waits until it is listed, since others"
        " may come before it"
    )
    return await _record(dependencies, record, detail, actor)


async def record_unlisted_gap(
    dependencies: Dependencies, record: SchemaRecord, reason: str, actor: str
) -> RefreshResult:
    """Record that a version waits for one before it, which a registry without a list hides."""
    detail = (
        f"the registry has no list of versions, and {reason}; it is read again, and this version"
        " waits: approve it to go on without"
    )
    return await _record(dependencies, record, detail, actor)


async def record_rejected(
    dependencies: Dependencies, record: SchemaRecord, rejection: SchemaRecord, actor: str
) -> RefreshResult:
    """Record the document of a version that was rejected unread, so that its renames count."""
    records = await dependencies.schemas.records(record.schema.kind)
    existing = find_record(records, record.schema.fingerprint, record.schema.version)
    rejected_record = msgspec.structs.replace(
        record, state=SchemaState.REJECTED, reason=rejection.reason, decision=rejection.decision
    )
    is_known = existing is not None and existing.state in {*ADOPTED, SchemaState.REJECTED}
    if not is_known and has_room(records, rejected_record):
        with suppress(SpawnError):
            # It was adopted meanwhile, or the store cannot write: the next round finds out.
            await dependencies.schemas.record(rejected_record, actor=actor)
    detail = f"version {record.schema.version} is already rejected"
    return RefreshResult(RefreshVerdict.UNCHANGED, detail)


def is_unread(record: SchemaRecord) -> bool:
    """Return whether a record stands for a version whose document was not read."""
    return record.document == _build_document(record.schema.id, record.schema.version)


def _build_document(schema_id: str, number: int) -> bytes:
    """Return the document of a record that has none: the number alone, which is no schema."""
    return msgspec.json.encode({"id": schema_id, "version": number})


def _build_unread(dependencies: Dependencies, policy: SchemaPolicy, number: int) -> SchemaRecord:
    document = _build_document(policy.schema_id, number)
    return SchemaRecord(
        schema=restore_schema(
            document, schema_id=policy.schema_id, version=number, kind=policy.kind
        ),
        document=document,
        state=SchemaState.FAILED,
        provenance=Provenance.LIVE,
        recorded_at=dependencies.clock.now(),
    )


async def _record(
    dependencies: Dependencies, record: SchemaRecord, reason: str, actor: str
) -> RefreshResult:
    """Record a failed version, unless it is known with the same reason."""
    kind = record.schema.kind
    records = await dependencies.schemas.records(kind)
    active = await dependencies.active_schema(kind)
    existing = find_record(records, record.schema.fingerprint, record.schema.version)
    failed_record = msgspec.structs.replace(record, state=SchemaState.FAILED, reason=reason)
    is_known = (
        existing is not None
        and (existing.state, existing.reason) == (SchemaState.FAILED, reason)
        and needs_attention(existing, active)
    )
    if not is_known and has_room(records, failed_record):
        with suppress(SpawnError):
            # It was rejected or adopted meanwhile, or the store cannot write: the next round
            # finds out.
            await dependencies.schemas.record(failed_record, actor=actor)
    detail = f"version {record.schema.version}: {reason}"
    return RefreshResult(RefreshVerdict.FAILED, detail, failed_record)
