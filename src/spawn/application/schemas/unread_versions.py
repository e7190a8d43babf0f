"""Versions that keep a refresh from going on: unread, unlisted, or behind a gap of the list.

A refresh must not pass over a version that it has not read: if that one renames a column, the
values of the old name would be lost to its successors. Such a version is recorded as failed, so
that health, candidates and every replica know why the refresh ended; it is read again each time.
An administrator goes on without it by rejecting it, or over a gap by approving what follows.

A registry may publish another content under a number, and later take it back. What later versions
are compared with is the last content of each number, though the number cannot be read now, and
after a restart: the records are the only memory of it that counts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

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
from spawn.domain.errors import SpawnError
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import (
    InvalidSchemaDocument,
    restore_schema,
)
from spawn.domain.schemas.evolution.column_mapping import PassedVersion
from spawn.domain.schemas.refresh_state import Content, RefreshState
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState

_GONE = frozenset({SchemaState.WITHDRAWN, SchemaState.REPLACED})


def is_version_document(invalid: InvalidSchemaDocument) -> bool:
    """Return whether an invalid document is a version of the schema, though a bad one."""
    return invalid.is_version


def find_unread_rejections(records: Iterable[SchemaRecord]) -> dict[int, SchemaRecord]:
    """Return the rejections without a document, by number; they stand for each document of it.

    An adoption of the number since then ends one.
    """
    rejections: dict[int, SchemaRecord] = {}
    adopted_at: dict[int, datetime] = {}
    for record in records:
        if record.state is SchemaState.REJECTED and is_unread(record):
            rejections[record.schema.version] = record
        elif record.state in ADOPTED:
            adopted_at[record.schema.version] = _find_instant(record)
    return {
        number: rejection
        for number, rejection in rejections.items()
        if number not in adopted_at or adopted_at[number] < _find_instant(rejection)
    }


def _find_instant(record: SchemaRecord) -> datetime:
    """Return the instant of the decision about a version, or of its record without one."""
    return record.recorded_at if record.decision is None else record.decision.decided_at


def find_rejected_numbers(records: Sequence[SchemaRecord]) -> frozenset[int]:
    """Return the numbers that need no document, since what waits under them was rejected."""
    return _find_rejected_documents(records) | find_unread_rejections(records).keys()


def _find_rejected_documents(records: Iterable[SchemaRecord]) -> frozenset[int]:
    """Return the numbers of which every document that waited was rejected.

    A rejection stands while the document is not read; another content would be read first.
    """
    states_by_number = defaultdict[int, set[SchemaState]](set)
    for record in records:
        if record.state not in _GONE and not is_unread(record):
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
    is_ended = record.schema.version not in find_rejected_numbers(records)
    failed_record = msgspec.structs.replace(
        record,
        state=SchemaState.FAILED,
        reason=reason,
        # A rejection that an adoption ended gives way to the failure of a later reading.
        decision=existing.decision if existing is not None and is_ended else None,
    )
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


# -- contents -------------------------------------------------------------------------------


def find_passed_versions(
    records: Iterable[SchemaRecord], active: Schema, state: RefreshState
) -> dict[Content, PassedVersion]:
    """Return the renames of the last content of each number, unless that one is adopted."""
    own_records = [record for record in records if record.schema.id == active.id]
    # What was published under an adopted number before the active version was adopted is settled.
    settled_numbers = {r.schema.version for r in own_records if r.state in ADOPTED}
    settled_numbers.discard(active.version)
    documents = {
        (record.schema.version, record.schema.fingerprint): record.document
        for record in _drop_settled(own_records, active.version)
        if record.state not in {*ADOPTED, SchemaState.REPLACED} and not is_unread(record)
    }
    return {
        content: passed_version
        for content, passed_version in state.passed_versions.select(documents).items()
        if content[0] not in settled_numbers and content != (active.version, active.fingerprint)
    }


def _drop_settled(records: Sequence[SchemaRecord], active_number: int) -> Iterator[SchemaRecord]:
    """Yield the records without those of the active number from before its adoption.

    Later ones follow it in the store, by any clock, or have a time that is not earlier.
    """
    adopted_at: datetime | None = None
    for record in reversed(records):
        if record.state is SchemaState.ACTIVE:
            adopted_at = record.recorded_at
        is_settled = adopted_at is not None and record.recorded_at < adopted_at
        if record.schema.version != active_number or not is_settled:
            yield record


def find_unread_numbers(
    records: Sequence[SchemaRecord], active: Schema, passed: Iterable[Content], state: RefreshState
) -> frozenset[int]:
    """Return the numbers whose content the last refresh could not read, though it goes on.

    They are the rejected ones, also those that were never read, and the active one.
    """
    known_numbers = {number for number, _ in passed}
    known_numbers |= {record.schema.version for record in records if record.state in ADOPTED}
    return frozenset(
        number
        for number in find_rejected_numbers(records)
        if number in state.failed_numbers or number not in known_numbers
    ) | (state.failed_numbers & {active.version})


async def record_content(
    dependencies: Dependencies, policy: SchemaPolicy, number: int, fingerprint: str
) -> None:
    """Record that a number has this content now: others that are not adopted are replaced."""
    records = await dependencies.schemas.records(policy.kind)
    active = await dependencies.active_schema(policy.kind)
    for record in records:
        if record.schema.version != number or record.state in ADOPTED or is_unread(record):
            continue
        is_current = record.schema.fingerprint == fingerprint
        state = find_next_state(record) if is_current else SchemaState.REPLACED
        # What the active number had before its adoption is settled, unless it has that again.
        is_back = is_current and number == active.schema.version
        recorded_at = max(record.recorded_at, active.recorded_at) if is_back else record.recorded_at
        if (state, recorded_at) != (record.state, record.recorded_at):
            changed_record = msgspec.structs.replace(record, state=state, recorded_at=recorded_at)
            with suppress(SpawnError):
                # It was adopted meanwhile, or the store cannot write: the next round finds out.
                await dependencies.schemas.record(changed_record)


def find_next_state(record: SchemaRecord) -> SchemaState:
    """Return the state of a content once it is published again: its rejection holds then."""
    is_rejected = record.decision is not None and not record.decision.approved
    is_back = record.state is SchemaState.REPLACED and is_rejected
    return SchemaState.REJECTED if is_back else record.state
