"""The book of schema versions a store has met, as a value: every change of it is a new book."""

from functools import cached_property

from spawn.domain.errors import Conflict
from spawn.domain.schema.value import Schema
from spawn.ports.governance import SchemaRecord, SchemaState

NO_SCHEMA = Schema(id="none", version=0, name="No schema adopted")
"""What a store without an active schema encodes and reads under: core fields alone."""


class SchemaBook:
    """Records in the order they were first met; at most one is active."""

    def __init__(self, records: tuple[SchemaRecord, ...] = ()) -> None:
        self.records = records

    @cached_property
    def active(self) -> SchemaRecord | None:
        """The record in force."""
        return next((r for r in self.records if r.state is SchemaState.ACTIVE), None)

    @cached_property
    def ruling(self) -> Schema:
        """The schema in force, or the one without columns of its own."""
        return self.active.schema if self.active else NO_SCHEMA

    @cached_property
    def by_version(self) -> dict[int, Schema]:
        """Every schema documents were ever written under."""
        written = (SchemaState.ACTIVE, SchemaState.RETIRED)
        return {r.schema.version: r.schema for r in self.records if r.state in written}

    def written_under(self, version: int) -> Schema:
        """The schema of a document of this schema version; the ruling one if it is not known."""
        return self.by_version.get(version, self.ruling)

    def adopting(self, record: SchemaRecord) -> "SchemaBook":
        """The book with `record` in force and the one before it retired.

        Raises:
            Conflict: the version is known with another fingerprint.
        """
        for known in self.records:
            same_number = known.schema.version == record.schema.version
            if same_number and known.schema.fingerprint != record.schema.fingerprint:
                raise Conflict(
                    f"Version {record.schema.version} of the schema is known with another content."
                )
        retired = [_retired(known) for known in self.records if not _same(known, record)]
        return SchemaBook((*retired, _in_state(record, SchemaState.ACTIVE)))

    def recording(self, record: SchemaRecord) -> "SchemaBook":
        """The book that also remembers a candidate or quarantined version.

        Raises:
            Conflict: it claims to be active or retired, or is the one in force.
        """
        if record.state not in (SchemaState.CANDIDATE, SchemaState.QUARANTINED):
            raise Conflict("Only a candidate or quarantined schema version can be recorded.")
        for at, known in enumerate(self.records):
            if not _same(known, record):
                continue
            if known.state in (SchemaState.ACTIVE, SchemaState.RETIRED):
                raise Conflict(f"Version {record.schema.version} of the schema was adopted before.")
            return SchemaBook((*self.records[:at], record, *self.records[at + 1 :]))
        return SchemaBook((*self.records, record))


def _same(one: SchemaRecord, other: SchemaRecord) -> bool:
    return (one.schema.version, one.schema.fingerprint) == (
        other.schema.version,
        other.schema.fingerprint,
    )


def _in_state(record: SchemaRecord, state: SchemaState) -> SchemaRecord:
    return SchemaRecord(
        schema=record.schema,
        document=record.document,
        state=state,
        provenance=record.provenance,
        recorded_at=record.recorded_at,
        reason=record.reason,
    )


def _retired(record: SchemaRecord) -> SchemaRecord:
    if record.state is SchemaState.ACTIVE:
        return _in_state(record, SchemaState.RETIRED)
    return record
