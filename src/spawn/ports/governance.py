"""Schema governance: where schemas come from, and where the active one lives."""

from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from spawn.domain.schema.value import Schema


class Provenance(StrEnum):
    """How an answer of the registry came about; a fallback always says so."""

    LIVE = "live"  # fetched now
    REVALIDATED = "revalidated"  # unchanged by the server's word
    FRESH = "fresh"  # from memory, within its time to live
    STALE = "stale"  # from memory, past it
    DISK = "disk"  # the last known good, from disk
    BUNDLED = "bundled"  # the one shipped with the service


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A schema with where it came from; `verified_at` is the last time the registry vouched."""

    schema: Schema
    document: bytes
    provenance: Provenance
    verified_at: datetime | None
    detail: str = ""


class RegistryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry client knows of itself, without a request.

    `breaker` is `closed`, `open`, `half_open` or `none`; `age_s` counts from `verified_at`.
    """

    url: str
    provenance: Provenance | None
    breaker: str
    age_s: float | None
    last_error: str | None
    consecutive_failures: int


class SchemaRegistry(Protocol):
    """The ontology server, or what stands in for it."""

    async def fetch(self, schema_id: str, version: int | None = None) -> Fetched:
        """The latest, or one version, within the total deadline and by the whole ladder.

        Raises:
            NotFound: the registry (and every fallback) has no such schema or version.
            RegistryError: nothing on the ladder answered.
        """
        ...

    async def refresh(self, schema_id: str) -> Fetched:
        """Ask the registry itself again, whatever is cached; never falls back.

        Raises:
            NotFound, RegistryError: what the registry said, or that it did not.
        """
        ...

    def status(self) -> RegistryStatus:
        """A snapshot, without waiting."""
        ...

    async def close(self) -> None:
        """Let go of connections; idempotent."""
        ...


class SchemaState(StrEnum):
    """Where a schema version stands in this store."""

    ACTIVE = "active"
    CANDIDATE = "candidate"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


class SchemaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A schema version as this store knows it; `document` is the registry's own JSON."""

    schema: Schema
    document: bytes
    state: SchemaState
    provenance: Provenance
    recorded_at: datetime
    reason: str = ""


class SchemaStore(Protocol):
    """The schemas the store has met. The active one rules every write."""

    async def active(self) -> SchemaRecord | None:
        """The active schema; None only in a store that has never adopted one. Cheap."""
        ...

    async def records(self) -> list[SchemaRecord]:
        """Every recorded version, oldest first."""
        ...

    async def adopt(self, record: SchemaRecord) -> None:
        """Make it the active one of a store without projects, tables included, atomically.

        Raises:
            Conflict: the store holds projects, or the version is known with another fingerprint.
        """
        ...

    async def record(self, record: SchemaRecord) -> None:
        """Remember a candidate or quarantined version; the same version again replaces it.

        Raises:
            Conflict: the record claims to be active or retired.
        """
        ...
