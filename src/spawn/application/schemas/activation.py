"""Choose the active schema at startup, and report schema health.

The module `version_adoption` adopts later versions of the registry.
"""

import re
from enum import StrEnum
from typing import Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.schema_subject import find_foreign_subject
from spawn.domain.aggregates import governed_kinds
from spawn.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    RegistryError,
)
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Query
from spawn.domain.schema_version import MAX_VERSION, Schema
from spawn.domain.schemas.document_parser import find_stated_id, is_schema_id, read_schema
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.schemas.refresh_state import build_passed_version
from spawn.ports.schemas import (
    FetchedSchema,
    MigrationRecord,
    Provenance,
    RegistryStatus,
    SchemaRecord,
    SchemaState,
)

MAX_WAITING: Final = 100
"""Maximum versions recorded as waiting since the active one; more are only reported."""

MAX_RENAMING: Final = 1_000
"""Maximum versions recorded as waiting if they rename a column; beyond it none is removed."""

MAX_VERSION_STEP: Final = 100_000
"""Largest step between two version numbers that needs no decision, above any numbering by day."""

Pin = tuple[str, int]
"""Schema id and version, written as `project_schema@3`."""

_SCHEMA_PIN: Final = re.compile(r"([^@]+)@([0-9]{1,9})")

_SCHEMA_POLICY: Final = re.compile(
    r"(?P<kind>[a-z_]+)=(?P<id>[^@:]+)(?:@(?P<version>[0-9]{1,9}))?(?::(?P<mode>[A-Za-z_]+))?"
)

ADOPTED: Final = frozenset({SchemaState.ACTIVE, SchemaState.RETIRED})
"""States of versions that are or were active; the others wait or were rejected."""


_WAITING: Final = frozenset(
    {
        SchemaState.CANDIDATE,
        SchemaState.MIGRATING,
        SchemaState.QUARANTINED,
        SchemaState.FAILED,
    }
)


class SchemaPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Policy of schema adoption: the schema id, a pinned version, and the compatibility mode.

    `kind` is the kind of aggregate that the schema governs. One that is not followed has its core
    attributes alone, or the version that was adopted while it was followed.
    """

    schema_id: str
    kind: str = PROJECT_KIND
    pin: Pin | None = None
    mode: CompatibilityMode = CompatibilityMode.BACKWARD_TRANSITIVE
    is_followed: bool = True


class SchemaPolicies(msgspec.Struct, frozen=True):
    """The policy of each governed kind, projects first."""

    policies: tuple[SchemaPolicy, ...]

    @property
    def followed(self) -> tuple[SchemaPolicy, ...]:
        """The policies of schemas that a registry governs."""
        return tuple(policy for policy in self.policies if policy.is_followed)

    def of_kind(self, kind: str) -> SchemaPolicy:
        """Return the policy of a governed kind."""
        return next(policy for policy in self.policies if policy.kind == kind)

    def of_schema(self, schema_id: str) -> SchemaPolicy:
        """Return the policy of a schema.

        Raises:
            NotFound: no kind has this schema.
        """
        for policy in self.policies:
            if policy.schema_id == schema_id:
                return policy
        raise NotFound("There is no such schema.")

    def of_document(self, document: bytes) -> SchemaPolicy:
        """Return the policy of the schema whose id a document states; else that of projects."""
        schema_id = find_stated_id(document)
        matches = (policy for policy in self.policies if policy.schema_id == schema_id)
        return next(matches, self.policies[0])


def build_policies(*policies: SchemaPolicy) -> SchemaPolicies:
    """Return the stated policies, with one of its core attributes for each other governed kind."""
    by_kind = {policy.kind: policy for policy in policies}
    return SchemaPolicies(
        tuple(
            by_kind.get(kind)
            or SchemaPolicy(schema_id=default_schema_id(kind), kind=kind, is_followed=False)
            for kind in governed_kinds()
        )
    )


def default_schema_id(kind: str) -> str:
    """Return the id of a kind's schema unless a setting names another."""
    return f"{kind}_schema"


class RefreshVerdict(StrEnum):
    """Verdict of a refresh or a decision."""

    UNCHANGED = "unchanged"
    ADOPTED = "adopted"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"
    FAILED = "failed"


class RefreshResult(msgspec.Struct, frozen=True):
    """Result of one refresh or decision.

    `record` is the version concerned, if it is recorded; `migration` is the log record of the
    adoption, if there were projects. `outcomes` has the outcome of each version that a refresh met
    after the active one, in their order.
    """

    verdict: RefreshVerdict
    detail: str
    record: SchemaRecord | None = None
    migration: MigrationRecord | None = None
    outcomes: tuple["VersionOutcome", ...] = ()


class VersionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of one version in a refresh."""

    version: int
    verdict: RefreshVerdict
    detail: str


class SchemaHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Health of the schemas: the active one, those waiting, and the registry.

    `problem` is one sentence if the state differs from the configuration, else empty.
    """

    active: SchemaRecord | None
    waiting: tuple[SchemaRecord, ...]
    registry: RegistryStatus
    policy: SchemaPolicy
    problem: str


def parse_pin(text: str) -> Pin:
    """Parse a pin from `id@version`.

    Raises:
        InvalidInput: the text has another form.
    """
    schema_id, _, version = text.partition("@")
    if is_schema_id(schema_id) and version.isdecimal() and version.isascii() and len(version) < 10:  # noqa: PLR2004  # fits the 32 bits of a version
        return schema_id, int(version)
    raise InvalidInput.at("", "invalid_pin", "a pin is id@version, such as project_schema@3")


async def ensure_active_schema(dependencies: Dependencies, policy: SchemaPolicy) -> SchemaRecord:
    """Ensure that a schema is active, at the start and before the first request.

    A store with an active schema keeps it, without a registry request. An empty one adopts the
    pinned version, or else the first version found: live, on disk, bundled. Kinds other than
    projects have version 0, of their core attributes alone, where no source has a schema.

    Raises:
        NotFound, RegistryError: no source has a schema of that id.
    """
    active = await dependencies.schemas.active(policy.kind)
    if active is not None:
        await _reset_interrupted_migrations(dependencies, policy.kind)
        return active
    fetched_schema = await _select_schema(dependencies, policy)
    if find_foreign_subject(fetched_schema.document, fetched_schema.schema, None):
        # A refresh quarantines it with the reason.
        fetched_schema = _build_core_schema(policy)
    records = await dependencies.schemas.records(policy.kind)
    schema = assign_version(fetched_schema, records, policy.kind)
    record = build_record(dependencies, schema, fetched_schema, SchemaState.ACTIVE)
    try:
        await dependencies.schemas.adopt(record)
    except Conflict:
        if await dependencies.schemas.active(policy.kind) is None:
            # The data were written under their core attributes: a refresh adopts over them.
            core = _build_core_schema(policy)
            await dependencies.schemas.adopt(
                build_record(dependencies, core.schema, core, SchemaState.ACTIVE)
            )
        # Or else another replica was first: its schema is active.
        return await dependencies.active_schema(policy.kind)
    return record


async def ensure_active_schemas(dependencies: Dependencies, policies: SchemaPolicies) -> None:
    """Ensure that every governed kind has an active schema; see `ensure_active_schema`."""
    for policy in policies.policies:
        await ensure_active_schema(dependencies, policy)


async def _reset_interrupted_migrations(dependencies: Dependencies, kind: str) -> None:
    """Set versions left MIGRATING by a crash back to CANDIDATE."""
    for record in await dependencies.schemas.records(kind):
        if record.state is SchemaState.MIGRATING:
            candidate = msgspec.structs.replace(record, state=SchemaState.CANDIDATE)
            await dependencies.schemas.record(candidate)


async def _select_schema(dependencies: Dependencies, policy: SchemaPolicy) -> FetchedSchema:
    """Fetch a schema in the order pin, live, disk, bundled; the registry handles the last three."""
    if not policy.is_followed:
        return _build_core_schema(policy)
    if policy.pin is not None:
        try:
            return await dependencies.registry.fetch(*policy.pin, kind=policy.kind)
        except (NotFound, RegistryError):
            # Health reports that the pinned version is not active.
            pass
    try:
        return await dependencies.registry.fetch(policy.schema_id, kind=policy.kind)
    except (NotFound, RegistryError):
        if policy.kind == PROJECT_KIND:
            raise
        return _build_core_schema(policy)


def _build_core_schema(policy: SchemaPolicy) -> FetchedSchema:
    """Return version 0 of a kind's schema: its core attributes alone."""
    title = f"Core attributes of a {policy.kind}"
    document = msgspec.json.encode(
        {"id": policy.schema_id, "version": 0, "name": title, "columns": []}
    )
    return FetchedSchema(
        schema=read_schema(document, kind=policy.kind),
        document=document,
        provenance=Provenance.BUNDLED,
        verified_at=None,
    )


async def get_schema_health(dependencies: Dependencies, policy: SchemaPolicy) -> SchemaHealth:
    """Return the health of the schemas, from the store only, never from the registry."""
    active = await dependencies.schemas.active(policy.kind)
    records = await dependencies.schemas.records(policy.kind)
    waiting = [r for r in records if r.state not in {*ADOPTED, SchemaState.REPLACED}]
    registry = dependencies.registry.status(policy.schema_id)
    state = dependencies.refresh_states.of_kind(policy.kind)
    problems = (
        state.problem,
        _describe_problem(active, waiting, registry, policy),
        _describe_unpublished(active, state.unpublished_number),
    )
    return SchemaHealth(
        active=active,
        waiting=tuple(waiting),
        registry=registry,
        policy=policy,
        problem="; ".join(filter(None, problems)),
    )


def _describe_unpublished(active: SchemaRecord | None, number: int | None) -> str:
    """Return that the registry publishes the active version no more; empty if it does."""
    if active is None or active.schema.version != number:
        return ""
    return (
        f"version {number} is active, and the registry publishes it no more: publish it again, or"
        " a later version"
    )


def _describe_problem(
    active: SchemaRecord | None,
    waiting: list[SchemaRecord],
    registry: RegistryStatus,
    policy: SchemaPolicy,
) -> str:
    pin = policy.pin
    if active is None:
        return "no schema is active"
    if pin is not None and active.schema.version != pin[1]:
        problem = f"version {pin[1]} is pinned, but version {active.schema.version} is active"
        blocked = _describe_urgent(active, waiting, pin) or _describe_rejection(waiting, pin)
        return f"{problem}; {blocked}" if blocked else problem
    if urgent := _describe_urgent(active, waiting, pin):
        return urgent
    if registry.last_error is not None and policy.is_followed:
        return f"the registry could not confirm the schema: {registry.last_error}"
    return ""


def _describe_urgent(active: SchemaRecord, waiting: list[SchemaRecord], pin: Pin | None) -> str:
    """Return why the highest version that needs attention was not adopted; empty without one.

    A version above the pin is not to be adopted, however good it is.
    """
    by_version = sorted(waiting, key=lambda record: record.schema.version)
    for record in reversed(by_version):
        is_wanted = pin is None or record.schema.version <= pin[1]
        if is_wanted and needs_attention(record, active):
            return f"version {record.schema.version} is {record.state}: {record.reason}"
    return ""


def _describe_rejection(waiting: list[SchemaRecord], pin: Pin) -> str:
    """Return that the pinned version was rejected, and why; empty if it was not."""
    for record in reversed(waiting):
        is_pinned = (record.schema.id, record.schema.version) == pin
        if is_pinned and record.state is SchemaState.REJECTED and record.decision is not None:
            reason = record.decision.reason
            return f"version {pin[1]} was rejected ({reason}): approve it, or pin another"
    return ""


def needs_attention(record: SchemaRecord, active: SchemaRecord) -> bool:
    """Return whether a version failed or was quarantined after the active one, undecided.

    One with a higher number comes after it by any clock; clocks go back, and a decision dates a
    version from the time at which it began to wait.
    """
    is_undecided = record.state in {SchemaState.QUARANTINED, SchemaState.FAILED}
    is_later = record.schema.version > active.schema.version
    return is_undecided and (is_later or record.recorded_at >= active.recorded_at)


async def has_data(dependencies: Dependencies, kind: str) -> bool:
    """Return whether there are aggregates of a kind that a schema change must migrate."""
    return bool((await dependencies.reads.page(Query(kind=kind, limit=1))).items)


def assign_version(fetched_schema: FetchedSchema, records: list[SchemaRecord], kind: str) -> Schema:
    """Return the schema with its own version, or one assigned by fingerprint if it has none."""
    existing = find_record(records, fetched_schema.schema.fingerprint)
    version = existing.schema.version if existing is not None else next_version(records)
    return read_schema(
        fetched_schema.document,
        default_version=version,
        schema_id=fetched_schema.schema.id,
        kind=kind,
    )


def next_version(records: list[SchemaRecord]) -> int:
    """Return the version number after the highest recorded one, or the highest possible one.

    One that waits with a number far above the adopted ones, perhaps by a slip, does not count:
    those after it would be as far away.
    """
    adopted = max((r.schema.version for r in records if r.state in ADOPTED), default=0)
    end = adopted + MAX_VERSION_STEP if adopted else MAX_VERSION
    highest = max((r.schema.version for r in records if r.schema.version < end), default=adopted)
    return min(max(highest, adopted) + 1, MAX_VERSION)


def find_record(
    records: list[SchemaRecord], fingerprint: str, version: int | None = None
) -> SchemaRecord | None:
    """Return the record of a fingerprint, and of a version if passed; None without one."""
    for record in records:
        schema = record.schema
        if schema.fingerprint == fingerprint and version in {None, schema.version}:
            return record
    return None


def has_room(records: list[SchemaRecord], record: SchemaRecord) -> bool:
    """Return whether the version may be recorded; existing records may always change.

    One that renames a column has room among more: the values are lost if it is forgotten.
    """
    if find_record(records, record.schema.fingerprint, record.schema.version) is not None:
        return True
    count = 0 if record.state not in _WAITING else count_waiting(records)
    if count < MAX_WAITING:
        return True
    renames = build_passed_version(record.schema.version, record.document).successors
    return bool(renames) and count < MAX_RENAMING


def count_waiting(records: list[SchemaRecord]) -> int:
    """Return the number of versions that wait for a decision, since the active one was adopted."""
    waiting = [r for r in records if r.state in _WAITING]
    if len(waiting) < MAX_WAITING:
        return len(waiting)
    since = max((r.recorded_at for r in records if r.state is SchemaState.ACTIVE), default=None)
    return sum(since is None or r.recorded_at >= since for r in waiting)


def build_record(
    dependencies: Dependencies,
    schema: Schema,
    fetched_schema: FetchedSchema,
    state: SchemaState,
    reason: str = "",
) -> SchemaRecord:
    """Return the record of a version fetched now."""
    return SchemaRecord(
        schema=schema,
        document=fetched_schema.document,
        state=state,
        provenance=fetched_schema.provenance,
        recorded_at=dependencies.clock.now(),
        reason=reason,
    )


def parse_schema_id(text: str) -> str:
    """Return the id of a schema.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    if not is_schema_id(text):
        raise ValueError(
            "a schema id is up to 63 lower-case letters, digits and _, and begins with a letter"
        )
    return text


def parse_schema_pin(text: str) -> Pin:
    """Return the schema id and version of a pin, such as `project_schema@3`.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    match = _SCHEMA_PIN.fullmatch(text)
    if match is None or not is_schema_id(match[1]):
        raise ValueError("a pin is id@version, such as project_schema@3")
    return match[1], int(match[2])


def parse_schema_policies(text: str) -> tuple[SchemaPolicy, ...]:
    """Return the policies of a list such as `facility=facility_schema@3:full`.

    Each names a governed kind and the id of its schema, then a pinned version after `@` and a
    compatibility mode after `:`, both optional.

    Raises:
        ValueError: the text is no such list; the message names the rule.
    """
    policies = tuple(_parse_policy(item.strip()) for item in text.split(",") if item.strip())
    if len({policy.kind for policy in policies}) != len(policies):
        raise ValueError("a kind is named twice")
    return policies


def _parse_policy(text: str) -> SchemaPolicy:
    match = _SCHEMA_POLICY.fullmatch(text)
    kinds = [kind for kind in governed_kinds() if kind != PROJECT_KIND]
    if match is None or match["kind"] not in kinds:
        raise ValueError(
            "a list of kind=schema_id, kind=schema_id@version or either with :mode is expected,"
            f" of the kinds {', '.join(kinds) or 'that have a schema'}; that of projects is"
            " SPAWN_SCHEMA_ID"
        )
    mode = (match["mode"] or CompatibilityMode.BACKWARD_TRANSITIVE).lower()
    if mode not in set(CompatibilityMode):
        raise ValueError(f"a mode is one of {', '.join(CompatibilityMode)}")
    schema_id = parse_schema_id(match["id"])
    pin = None if match["version"] is None else (schema_id, int(match["version"]))
    return SchemaPolicy(
        schema_id=schema_id, kind=match["kind"], pin=pin, mode=CompatibilityMode(mode)
    )
