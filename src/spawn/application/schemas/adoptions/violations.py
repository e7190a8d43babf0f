"""Violations that keep a version from being adopted, by the records and the last reading."""

from collections.abc import Mapping
from datetime import date

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import (
    ADOPTED,
    MAX_RENAMING,
    MAX_VERSION_STEP,
    SchemaPolicy,
    count_waiting,
)
from spawn.application.schemas.unread_versions import (
    find_passed_versions,
    find_unread_numbers,
)
from spawn.domain.schema_version import MAX_VERSION, Schema
from spawn.domain.schemas.evolution.adoption_policy import judge_adoption
from spawn.domain.schemas.evolution.column_mapping import (
    PassedVersion,
    find_left_behind,
    find_unread_removal,
)
from spawn.domain.schemas.evolution.compatibility import (
    AdoptionJudgement,
)
from spawn.domain.schemas.refresh_state import Content, DecisionBasis
from spawn.domain.schemas.value_readers import find_contradiction
from spawn.ports.schemas import (
    SchemaRecord,
)


async def judge_schema(
    dependencies: Dependencies, policy: SchemaPolicy, schema: Schema
) -> AdoptionJudgement:
    """Judge a schema against the versions of the stored data, under the mode, today."""
    active, *earlier = await dependencies.schemas.version_history(policy.kind)
    return judge_adoption(
        schema, active, earlier, policy.mode, on_date=dependencies.clock.now().date()
    )


class Surroundings(msgspec.Struct, frozen=True):
    """The active version, and what is known of the versions that were not adopted."""

    active: Schema
    adopted_numbers: frozenset[int]
    passed_versions: Mapping[Content, PassedVersion]
    unread_numbers: frozenset[int]
    is_full: bool

    def build_basis(self, schema: Schema, on_date: date) -> DecisionBasis:
        """Return the basis of a decision about a version."""
        version = schema.version
        return DecisionBasis(
            schema.fingerprint,
            self.active.version,
            on_date,
            frozenset(content for content in self.passed_versions if content[0] < version),
            frozenset(number for number in self.unread_numbers if number < version),
        )


def find_surroundings(
    dependencies: Dependencies, records: list[SchemaRecord], active: Schema
) -> Surroundings:
    """Return what is known of the versions around the active one."""
    state = dependencies.refresh_states.of_kind(active.kind)
    passed_versions = find_passed_versions(records, active, state)
    unread_numbers = find_unread_numbers(records, active, passed_versions, state)
    is_full = count_waiting(records) >= MAX_RENAMING
    return Surroundings(
        active,
        frozenset(r.schema.version for r in records if r.state in ADOPTED),
        passed_versions,
        unread_numbers | {active.version} if is_full else unread_numbers,
        is_full,
    )


def find_violation(
    schema: Schema,
    policy: SchemaPolicy,
    records: list[SchemaRecord],
    active: SchemaRecord,
    *,
    is_empty: bool,
    is_decided: bool = False,
) -> str:
    """Return why a version cannot even be compared, or an empty text.

    A decision may adopt a version across a jump of the numbers, in either direction.
    """
    return _find_impossible_column(schema) or _find_number_violation(
        schema, policy, records, active, is_empty=is_empty, is_decided=is_decided
    )


def _find_impossible_column(schema: Schema) -> str:
    """Return which column no value can be valid in, and why; empty if there is none."""
    for column in schema.columns:
        if contradiction := find_contradiction(column):
            path = f"/columns/{column.name}/pattern"
            return f"{path} of version {schema.version} excludes every value: {contradiction}"
    return ""


def _find_number_violation(
    schema: Schema,
    policy: SchemaPolicy,
    records: list[SchemaRecord],
    active: SchemaRecord,
    *,
    is_empty: bool,
    is_decided: bool,
) -> str:
    if _has_other_content(schema, records):
        return f"version {schema.version} is known with another content"
    if schema.version > MAX_VERSION:
        return f"version {schema.version} has a number above {MAX_VERSION}, the highest in use"
    is_pinned = policy.pin is not None and schema.version == policy.pin[1]
    newest, step = active.schema.version, schema.version - active.schema.version
    if step < -MAX_VERSION_STEP and not (is_decided or is_pinned):
        return (
            f"version {schema.version} is older than version {newest}, whose number was a jump:"
            " approve it to go back"
        )
    if -MAX_VERSION_STEP <= step < 0 and not (is_pinned and is_empty):
        return f"version {schema.version} is older than version {newest}, which was adopted"
    # Nothing was agreed with the registry while the bundled schema is active.
    if step > MAX_VERSION_STEP and newest and not (is_decided or is_pinned):
        return (
            f"version {schema.version} comes {step} numbers after version {newest}, and at most"
            f" {MAX_VERSION_STEP} are taken without a decision: approve it if it is meant"
        )
    return ""


def describe_left_behind(schema: Schema, surroundings: Surroundings) -> str:
    """Return which values a version would hide since it follows one that was not adopted."""
    left_behind = find_left_behind(
        surroundings.active,
        surroundings.passed_versions.values(),
        schema,
        adopted_numbers=surroundings.adopted_numbers,
    )
    if left_behind is None:
        return _describe_unread_removal(schema, surroundings)
    name, passed, new_name = left_behind.name, left_behind.version, left_behind.new_name
    return (
        f"version {passed}, which is not adopted, renames {name} to {new_name}, and version"
        f" {schema.version} follows it: the values of {name} would be hidden. Publish it with the"
        f" alias {name}, or approve it if they may be"
    )


def _describe_unread_removal(schema: Schema, surroundings: Surroundings) -> str:
    """Return which column a version lacks that an unread one before it may have renamed."""
    removal = find_unread_removal(
        surroundings.active,
        surroundings.unread_numbers,
        schema,
        adopted_numbers=surroundings.adopted_numbers,
    )
    if removal is None:
        return ""
    name, unread_number = removal
    if surroundings.is_full:
        return (
            f"{MAX_RENAMING} versions wait, so that another one is not recorded, which may rename"
            f" {name}, and version {schema.version} has no {name}: reject some, or approve it"
        )
    status = "active" if unread_number == surroundings.active.version else "rejected"
    return (
        f"version {unread_number}, which is {status} and cannot be read now, may rename {name}, and"
        f" version {schema.version} has no {name}: its values would be hidden. Publish it with the"
        f" alias {name}, or approve it if they may be"
    )


def _has_other_content(schema: Schema, records: list[SchemaRecord]) -> bool:
    """Return whether an adopted version has the same number and other content."""
    return any(
        existing.schema.version == schema.version
        and existing.schema.fingerprint != schema.fingerprint
        and existing.state in ADOPTED
        for existing in records
    )
