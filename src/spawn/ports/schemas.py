"""Schema registry and schema store: fetched schemas, versions, migrations."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from spawn.domain.errors import Conflict
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan


class Provenance(StrEnum):
    """Origin of a fetched schema; a fallback is always marked."""

    LIVE = "live"  # fetched now
    REVALIDATED = "revalidated"  # unchanged, as the server confirmed
    FRESH = "fresh"  # cached in memory, within its time to live
    STALE = "stale"  # cached in memory, expired
    DISK = "disk"  # last known good, cached on disk
    BUNDLED = "bundled"  # shipped with the service


class FetchedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """A schema and its origin; `verified_at` is the last confirmation by the registry."""

    schema: Schema
    document: bytes
    provenance: Provenance
    verified_at: datetime | None
    detail: str = ""


class RegistryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of the registry client, without a request.

    `breaker` is `closed`, `open`, `half_open` or `none`; `age_s` counts from `verified_at`.
    """

    url: str
    provenance: Provenance | None
    breaker: str
    age_s: float | None
    last_error: str | None
    consecutive_failures: int


class PublishedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """An entry in the registry's list of schemas; `latest_version` is None if it has no number."""

    schema_id: str
    title: str
    latest_version: int | None


class SchemaRegistry(Protocol):
    """The ontology server, or a substitute."""

    async def fetch(
        self, schema_id: str, version: int | None = None, *, kind: str = PROJECT_KIND
    ) -> FetchedSchema:
        """Return the latest or one version, from the registry or a fallback, by a deadline.

        `kind` is the kind of aggregate that the schema governs, which its document does not say.

        Raises:
            NotFound: the registry (and every fallback) has no such schema or version.
            RegistryError: neither the registry nor any fallback responded.
        """
        ...

    async def refresh(
        self,
        schema_id: str,
        version: int | None = None,
        *,
        kind: str = PROJECT_KIND,
        is_secondary: bool = False,
    ) -> FetchedSchema:
        """Fetch the latest or one version from the registry, without cache or fallback.

        A version that `is_secondary` is requested once, and its failure keeps no other request
        back, nor does the status show it.

        Raises:
            NotFound: the registry has no such schema or version.
            RegistryError: the registry failed or did not respond.
        """
        ...

    async def list_versions(self, schema_id: str) -> tuple[int, ...] | None:
        """Return the numbers of the published versions, ascending; None without such a list.

        Numbers beyond `MAX_VERSION` are left out.

        Raises:
            RegistryError: the registry failed or did not respond.
        """
        ...

    async def list_schemas(self) -> tuple[PublishedSchema, ...]:
        """Return the schemas that the registry lists, by id; none if it has no list.

        Raises:
            RegistryError: the registry failed or did not respond.
        """
        ...

    def status(self, schema_id: str | None = None) -> RegistryStatus:
        """Return a snapshot, without waiting: of one schema, or of all that were requested.

        An error of one schema is not ended by a response about another.
        """
        ...

    async def close(self) -> None:
        """Close all connections; idempotent."""
        ...


MAX_REPLACED: Final = 100
"""Replaced contents of a number without a decision that a store keeps, the newest ones."""


class SchemaState(StrEnum):
    """State of a schema version in this store."""

    ACTIVE = "active"  # validates every write
    CANDIDATE = "candidate"  # recorded, evaluation not finished
    MIGRATING = "migrating"  # adoptable: the data are checked, then the tables change
    QUARANTINED = "quarantined"  # blocked, with the reason; a steward may approve or reject it
    REJECTED = "rejected"  # rejected for good by a steward
    FAILED = "failed"  # adoptable, but the store could not adopt it; it is retried
    WITHDRAWN = "withdrawn"  # was quarantined or failed, and the registry publishes it no more
    REPLACED = "replaced"  # not adopted, and its number has another content since
    RETIRED = "retired"  # formerly active


class AdoptionDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A steward's decision about a version, with the reason."""

    approved: bool
    actor: str
    reason: str
    decided_at: datetime


class SchemaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A schema version in this store; `document` is the JSON from the registry.

    `reason` is why it was blocked or could not be adopted. `predecessor` is the version whose data
    it migrated; None if it was adopted into a store without data of its kind.
    """

    schema: Schema
    document: bytes
    state: SchemaState
    provenance: Provenance
    recorded_at: datetime
    reason: str = ""
    decision: AdoptionDecision | None = None
    predecessor: int | None = None


class ProofViolation(msgspec.Struct, frozen=True, kw_only=True):
    """A proof that stored states violate.

    `row_count` is the number of states that violate it, `sample_ids` at most `MAX_SAMPLE_IDS` of
    their ids, and `detail` the violation of one of them.
    """

    proof: Proof
    row_count: int
    sample_ids: tuple[str, ...]
    detail: str


MAX_SAMPLE_IDS = 5
"""Ids listed per violated proof."""


class MigrationRejected(Conflict):
    """Stored data prevent a migration; `violations` lists the violated proofs."""

    def __init__(self, violations: Sequence[ProofViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(_describe(violation) for violation in self.violations))


def _describe(violation: ProofViolation) -> str:
    count = violation.row_count
    rows = "1 row" if count == 1 else f"{count} rows"
    name, example = violation.proof.stored_name, violation.sample_ids[0]
    return f"{name} of {rows}, such as {example}, {violation.detail}"


class MigrationOutcome(StrEnum):
    """Outcome of a migration attempt."""

    ADOPTED = "adopted"
    REJECTED = "refused"  # stored data violate a proof; the value is the stored word
    FAILED = "failed"  # the store could not run it


class MigrationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One migration attempt in the store's log.

    `duration_s` is the time from the first scan of the data to the commit. `steps` are the changes
    to the tables, one statement each; `rows` is the largest number of stored states that one step
    gave a value.
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


MIN_LOGGED_MIGRATIONS = 1_000
"""Minimum log length in attempts; the oldest without effect are removed first."""


class SchemaStore(Protocol):
    """Store of all recorded schema versions of each governed kind, independent of one another.

    The active version of a kind validates every write of it.

    The journal records each decision about a version too, in an aggregate of kind `schema` whose id
    is the schema's: `schema.adopted`, `schema.quarantined`, `schema.rejected`, each in the same
    transaction as its effect. Not recorded are the first adoption of a new store, which nobody can
    have observed, and intermediate states.

    A governed state is read under the active version (`StoredAggregate.schema_version`), also one
    written under another version: see `version_conversion.upgrade_state`. History and feed return
    documents as they were encoded.
    """

    async def active(self, kind: str = PROJECT_KIND) -> SchemaRecord | None:
        """Return the active schema of a kind; None only before the first adoption. Cheap."""
        ...

    async def records(self, kind: str = PROJECT_KIND) -> list[SchemaRecord]:
        """Return every recorded version of a kind's schema, oldest first."""
        ...

    async def version_history(self, kind: str = PROJECT_KIND) -> tuple[Schema, ...]:
        """Return the versions whose data the store holds, active version first. Cheap.

        Each version migrated the data of the next in the list; the last was adopted without data.
        """
        ...

    async def adopt(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Activate a version and create its table, in a store without data of its kind, atomically.

        Raises:
            Conflict: the store holds such data, or the version is recorded with another fingerprint
                or was rejected.
        """
        ...

    async def record(self, record: SchemaRecord, *, actor: str = "service") -> None:
        """Record a version that is not active; replace an earlier record of it.

        A new content drops the oldest undecided replaced ones of its number beyond `MAX_REPLACED`.

        The feed reports a version that becomes quarantined or rejected.

        Raises:
            Conflict: the record's state is active or retired, or its version is adopted, or is
                rejected and the record has no decision.
        """
        ...

    def describe_plan(self, plan: MigrationPlan) -> tuple[str, ...]:
        """Describe each step that `migrate` would take by a plan, without taking it."""
        ...

    async def check_proofs(
        self, proofs: Sequence[Proof], kind: str = PROJECT_KIND
    ) -> tuple[ProofViolation, ...]:
        """Return a violation for each proof that the current data of a kind violate.

        Every aggregate counts, in its newest version. Neither writes nor other reads are blocked.
        """
        ...

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, *, actor: str, reason: str = ""
    ) -> MigrationRecord:
        """Activate a version and migrate the data of the active one to it, by the plan.

        Proofs are checked on every aggregate of the kind, including those written meanwhile; then
        table, schema records, log and journal change in one transaction, or not at all. Reads go on
        throughout; writes wait only for the transaction. A change decided under an older version
        still commits: it is recorded under its own version and upgraded on read.

        Raises:
            MigrationRejected: stored data violate a proof; the attempt is in the log.
            StaleVersion: the active version is not the one that the plan starts from.
            Conflict: the version is recorded with another fingerprint, or was rejected and the
                record has no decision.
            Unavailable: the store cannot write now; nothing was changed.
        """
        ...

    async def migration_log(self) -> list[MigrationRecord]:
        """Return the log of attempts, newest first."""
        ...
