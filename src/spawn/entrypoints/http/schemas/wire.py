"""Schema versions, proposals and migrations on the wire, for the governance API and the CLI."""

from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta

from spawn.application.schemas.activation import RefreshResult, RefreshVerdict
from spawn.application.schemas.adoptions.proposals import Proposal
from spawn.application.schemas.consumers import VersionReadership
from spawn.domain.schema_version import Column
from spawn.domain.schemas.evolution.compatibility import (
    AdoptionJudgement,
    ChangeKind,
    Compatibility,
    CompatibilityMode,
)
from spawn.domain.schemas.evolution.migration_plan import describe_plan
from spawn.entrypoints.http.schemas.consumer_wire import ConsumerView, SunsetView
from spawn.entrypoints.http.wire import Count, Day, Instant, JsonObject, Reason, WireStruct
from spawn.entrypoints.request_context import public_path
from spawn.ports.schemas import (
    MigrationOutcome,
    MigrationRecord,
    ProofViolation,
    Provenance,
    SchemaRecord,
    SchemaState,
)

PATH: Final = "/v1/governance/schemas"
_PlanSteps = Annotated[
    tuple[str, ...], Meta(description="Steps of the migration, one sentence each.")
]
_Texts = tuple[str, ...]
_Ineffective = Annotated[
    _Texts, Meta(description="Statements of the document that change nothing, each with its path.")
]


class DecisionView(WireStruct, frozen=True):
    """The decision of a data steward."""

    approved: bool
    actor: str
    reason: str
    decided_at: Instant


class SchemaSummaryView(WireStruct, frozen=True, kw_only=True):
    """A schema version without its document."""

    schema_id: str
    version: Count
    name: str
    state: SchemaState
    provenance: Provenance
    recorded_at: Instant
    fingerprint: str
    reason: str | None
    decision: DecisionView | None
    url: str

    @classmethod
    def of_record(cls, record: SchemaRecord, **members: object) -> Self:
        """Return the wire form of a recorded version."""
        schema = record.schema
        return cls.of(
            record,
            schema,
            schema_id=schema.id,
            reason=record.reason or None,
            url=public_path(f"{PATH}/{schema.id}/versions/{schema.version}"),
            **members,
        )


class ColumnView(WireStruct, frozen=True, kw_only=True):
    """A column of a schema version."""

    name: str
    type: Annotated[str, Meta(examples=["decimal(18,4)", "string(200)"])]
    description: str
    required: bool
    governed: bool
    semantic: str | None
    unit: str | None
    aliases: _Texts
    deprecated: bool
    sunset: Day | None

    @classmethod
    def of_column(cls, column: Column, *, governed: bool) -> Self:
        """Return the wire form of a column."""
        return cls.of(column, type=str(column.type), governed=governed)


class SchemaView(SchemaSummaryView, frozen=True, kw_only=True):
    """A schema version with its columns, and with its document as received."""

    description: str
    columns: tuple[ColumnView, ...]
    ineffective: _Ineffective
    document: Annotated[JsonObject, Meta(description="As received from the registry.")]
    sunset: Annotated[
        SunsetView | None,
        Meta(description="The first Sunset that clients of this version meet, if any."),
    ]
    consumers: Annotated[
        tuple[ConsumerView, ...], Meta(description="The consumers registered for this version.")
    ]

    @classmethod
    def of_version(cls, record: SchemaRecord, readership: VersionReadership) -> Self:
        """Return the wire form of a recorded version, its consumers and its first Sunset."""
        schema = record.schema
        columns = tuple(
            ColumnView.of_column(column, governed=column in schema.governed)
            for column in schema.columns
        )
        document = msgspec.Raw(record.document)
        return cls.of_record(
            record,
            columns=columns,
            document=document,
            sunset=readership.sunset,
            consumers=tuple(
                ConsumerView.of_consumer(one, readership.sunset) for one in readership.consumers
            ),
        )


class PublishedSchemaView(WireStruct, frozen=True, kw_only=True):
    """A schema of the ontology server; `followed_by` is the kind of aggregate that it governs."""

    schema_id: str
    title: str
    latest_version: Count | None
    followed_by: Annotated[str | None, Meta(examples=["project"])]
    active_version: Annotated[
        Count | None, Meta(description="The version that is active here; null if none is.")
    ]
    versions: Annotated[
        tuple[Count, ...], Meta(description="Published versions of a schema that is followed.")
    ]


class RegistryView(WireStruct, frozen=True, kw_only=True):
    """The ontology server, and the schemas that it lists."""

    url: str
    breaker: str
    items: tuple[PublishedSchemaView, ...]
    next: None


class FindingView(WireStruct, frozen=True, kw_only=True):
    """One change between two versions, with its three verdicts."""

    path: Annotated[str, Meta(description="JSON Pointer to the change, by column name.")]
    kind: ChangeKind
    rows: Compatibility
    writers: Compatibility
    readers: Compatibility
    reason: str
    consequence: str
    is_early: Annotated[
        bool, Meta(description="Whether the column is removed before its announced sunset.")
    ] = msgspec.field(name="early")


class ComparisonView(WireStruct, frozen=True, kw_only=True):
    """Every change between two versions, and the worst verdict of each relation."""

    old_version: Count
    new_version: Count
    rows: Compatibility
    writers: Compatibility
    readers: Compatibility
    findings: tuple[FindingView, ...]


class DiffView(WireStruct, frozen=True, kw_only=True):
    """A comparison of two versions of one schema, with the migration between them."""

    schema_id: str
    old_version: Count
    new_version: Count
    rows: Compatibility
    writers: Compatibility
    readers: Compatibility
    findings: tuple[FindingView, ...]
    plan: _PlanSteps


class ViolationView(WireStruct, frozen=True, kw_only=True):
    """Stored values that a proposed version would not accept."""

    stored: Annotated[str, Meta(description="Column or extension field that holds the values.")]
    projects: Annotated[Count, Meta(description="Number of rows whose value does not fit.")]
    sample: Annotated[_Texts, Meta(description="Ids of a few of these.")]
    detail: str

    @classmethod
    def of_violation(cls, violation: ProofViolation) -> Self:
        """Return the wire form of a violated proof."""
        return cls(
            stored=violation.proof.stored_name,
            projects=violation.row_count,
            sample=violation.sample_ids,
            detail=violation.detail,
        )


class ProposalView(WireStruct, frozen=True, kw_only=True):
    """A dry run of the adoption of a schema version."""

    schema_id: str
    version: Count
    mode: CompatibilityMode
    adoptable: Annotated[bool, Meta(description="Whether the version could be adopted now.")]
    violations: Annotated[
        _Texts, Meta(description="Reasons against the adoption; empty if there are none.")
    ] = msgspec.field(name="objections")
    comparisons: tuple[ComparisonView, ...]
    plan: _PlanSteps
    statements: Annotated[
        _Texts, Meta(description="The migration's statements in the store's own language.")
    ]
    failures: tuple[ViolationView, ...]
    ineffective: _Ineffective
    consumers: Annotated[
        tuple[ConsumerView, ...],
        Meta(description="Registered consumers whom a Sunset would affect under this version."),
    ]

    @classmethod
    def of_proposal(cls, proposal: Proposal) -> Self:
        """Return the wire form of a proposal."""
        judgement: AdoptionJudgement = proposal.judgement
        violation = (proposal.violation,) if proposal.violation else ()
        return cls.of(
            judgement,
            schema_id=proposal.schema.id,
            version=proposal.schema.version,
            adoptable=proposal.is_adoptable,
            violations=(*violation, *judgement.violations),
            plan=describe_plan(proposal.plan),
            statements=proposal.steps,
            failures=tuple(map(ViolationView.of_violation, proposal.failures)),
            ineffective=proposal.schema.ineffective,
            consumers=tuple(map(ConsumerView.of_affected, proposal.affected)),
        )


class CandidateView(SchemaSummaryView, frozen=True, kw_only=True):
    """A version that was not adopted, with the proposal to adopt it."""

    proposal: Annotated[
        ProposalView | None,
        Meta(description="Null if the document is invalid; the reason names the error."),
    ]


class RefreshResultView(WireStruct, frozen=True, kw_only=True):
    """The result of a refresh or of a decision, and the version that it concerns."""

    verdict: RefreshVerdict
    detail: str
    version: SchemaSummaryView | None

    @classmethod
    def of_result(cls, result: RefreshResult, **members: object) -> Self:
        """Return the wire form of a result."""
        record = result.record
        version = None if record is None else SchemaSummaryView.of_record(record)
        return cls.of(result, version=version, **members)


class VersionOutcomeView(WireStruct, frozen=True, kw_only=True):
    """Outcome of one version in a refresh."""

    version: Count
    verdict: RefreshVerdict
    detail: str


class RefreshView(RefreshResultView, frozen=True, kw_only=True):
    """The result of a refresh, and every version that was not adopted."""

    outcomes: Annotated[
        tuple[VersionOutcomeView, ...],
        Meta(description="Published versions after the active one, in the order they were met."),
    ]
    items: tuple[SchemaSummaryView, ...]
    next: None


class DecisionRequestView(WireStruct, frozen=True, forbid_unknown_fields=True):
    """A decision about a candidate, as a client sends it."""

    reason: Reason


class MigrationView(WireStruct, frozen=True, kw_only=True):
    """One attempt to migrate the data from one version to another."""

    schema_id: str
    old_version: Count
    new_version: Count
    outcome: MigrationOutcome
    started_at: Instant
    duration_s: Annotated[float, Meta(extra_json_schema={"minimum": 0})]
    statements: _Texts
    rows: Annotated[Count, Meta(description="Largest number of projects that one step filled.")]
    actor: str
    reason: str | None
    detail: Annotated[str | None, Meta(description="Why the migration failed; null if it did not.")]

    @classmethod
    def of_migration(cls, migration: MigrationRecord) -> Self:
        """Return the wire form of a logged attempt."""
        return cls.of(
            migration,
            duration_s=round(migration.duration_s, 6),
            statements=migration.steps,
            reason=migration.reason or None,
            detail=migration.detail or None,
        )
