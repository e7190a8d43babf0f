"""Schema governance: where schemas come from, and where the active one lives."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from spawn.domain.errors import Conflict
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.domain.schemas.model import Schema


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

    ACTIVE = "active"  # rules every write
    CANDIDATE = "candidate"  # met, and not judged to its end yet
    MIGRATING = "migrating"  # judged adoptable: the data are looked at, then the tables change
    QUARANTINED = "quarantined"  # refused, with the reason; someone may approve or reject it
    REJECTED = "rejected"  # refused for good by someone who governs
    FAILED = "failed"  # adoptable, but the store could not; it is tried again
    RETIRED = "retired"  # ruled before


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What someone who governs made of a version, and why."""

    approved: bool
    actor: str
    reason: str
    decided_at: datetime


class SchemaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A schema version as this store knows it; `document` is the registry's own JSON.

    `reason` says why it was refused or could not be adopted. `predecessor` is the version whose
    data it took over by a migration; None if it was adopted into a store without projects.
    """

    schema: Schema
    document: bytes
    state: SchemaState
    provenance: Provenance
    recorded_at: datetime
    reason: str = ""
    decision: Decision | None = None
    predecessor: int | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A proof that the stored data do not bear out.

    `projects` says how many break it, `sample` names at most `SAMPLE` of them, and `detail` says
    what is wrong with one.
    """

    proof: Proof
    projects: int
    sample: tuple[str, ...]
    detail: str


SAMPLE = 5
"""Projects that a failed proof names."""


class Disproved(Conflict):
    """The stored data forbid a migration; `failures` says where and how often."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        super().__init__("; ".join(_said(failure) for failure in self.failures))


def _said(failure: Failure) -> str:
    many = "1 project" if failure.projects == 1 else f"{failure.projects} projects"
    return f"{failure.proof.stored} of {many}, such as {failure.sample[0]}, {failure.detail}"


class MigrationOutcome(StrEnum):
    """How an attempt to migrate ended."""

    ADOPTED = "adopted"
    REFUSED = "refused"  # by the data: a proof failed
    FAILED = "failed"  # the store could not


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to take the data from one version to the next, as the store's log keeps it.

    `duration_s` counts from the first look at the data to the commit. `steps` are what the store
    did to its tables, a statement each; `rows` is how many stored projects got a value by the step
    that gave most.
    """

    schema_id: str
    old_version: int
    new_version: int
    started_at: datetime
    duration_s: float
    steps: tuple[str, ...]
    rows: int
    outcome: MigrationOutcome
    actor: str
    reason: str = ""
    detail: str = ""


MIGRATIONS_KEPT = 1_000
"""Attempts that the log keeps at least: of those without effect the oldest go first."""


class SchemaStore(Protocol):
    """The schemas the store has met. The active one rules every write.

    Whatever becomes of a version is in the journal too, as an aggregate of kind `schema` whose id
    is the schema's: `schema.adopted`, `schema.quarantined`, `schema.rejected`, each recorded in the
    same transaction as its effect. The first adoption of a new store, which nobody can have
    observed, and states on the way are not told.

    A project that is read is in the shape of the active version (`Stored.schema_version`), whatever
    version it was written under: as `revision.upgrade` says. History and feed keep documents as
    they were encoded.
    """

    async def active(self) -> SchemaRecord | None:
        """The active schema; None only in a store that has never adopted one. Cheap."""
        ...

    async def records(self) -> list[SchemaRecord]:
        """Every recorded version, oldest first."""
        ...

    async def lineage(self) -> tuple[Schema, ...]:
        """The versions whose data are in the store, newest (the active one) first. Cheap.

        Each took over the data of the next by a migration; the last was adopted without any.
        """
        ...

    async def adopt(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Make it the active one of a store without projects, tables included, atomically.

        Raises:
            Conflict: the store holds projects, or the version is known with another fingerprint or
                was rejected.
        """
        ...

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Remember a version that does not rule; the same version again replaces it.

        A version that becomes quarantined or rejected is told on the feed.

        Raises:
            Conflict: the record claims to be active or retired, or is of an adopted version, or of
                a rejected one and comes without a decision.
        """
        ...

    def describe(self, plan: MigrationPlan) -> tuple[str, ...]:
        """What `migrate` would do to the tables by a plan, step by step; nothing is done."""
        ...

    async def examine(self, proofs: Sequence[Proof]) -> tuple[Failure, ...]:
        """Those of the proofs that the data, as they are now, do not bear out.

        Every project counts, in its newest version. Neither writes nor other reads wait.
        """
        ...

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, *, actor: str, reason: str = ""
    ) -> Migration:
        """Put the version in force over the data of the active one, by the plan.

        Proofs are held against every project, those written meanwhile included; then tables, book,
        log and journal change in one transaction, or nothing does. Reads go on throughout, writes
        wait for the transaction alone. A change that was decided under an older version commits
        all the same: it is recorded under its own version and read upgraded.

        Raises:
            Disproved: the data do not bear a proof out; the attempt is in the log.
            Stale: the active version is not the one that the plan starts from.
            Conflict: the version is known with another fingerprint, or was rejected and the record
                comes without a decision.
            Unavailable: the store cannot write now; nothing was changed.
        """
        ...

    async def migrations(self) -> list[Migration]:
        """The log of attempts, newest first."""
        ...
