"""Compatibility of schema versions: modes, relations, findings and judgements.

Three relations are judged: rows (stored data read under the new schema), writers (requests written
for the old one) and readers (clients of the old one that read new responses). They and the mode
determine whether a candidate may be adopted.
"""

from enum import StrEnum

import msgspec

from spawn.domain.schema_version import Column


class Compatibility(StrEnum):
    """Verdict on a relation; `IF_PROVEN` depends on stored data."""

    YES = "yes"
    IF_PROVEN = "if_proven"
    NO = "no"


class CompatibilityMode(StrEnum):
    """Relations that adoption requires; transitive modes require them of every past version."""

    NONE = "none"
    BACKWARD = "backward"
    BACKWARD_TRANSITIVE = "backward_transitive"
    FORWARD = "forward"
    FORWARD_TRANSITIVE = "forward_transitive"
    FULL = "full"
    FULL_TRANSITIVE = "full_transitive"


class ChangeKind(StrEnum):
    """Kind of a change to a column or schema."""

    ADDED_OPTIONAL = "added_optional"
    ADDED_WITH_DEFAULT = "added_with_default"
    ADDED_REQUIRED = "added_required"
    DEPRECATED = "deprecated"
    UNDEPRECATED = "undeprecated"
    REMOVED_OPTIONAL = "removed_optional"
    REMOVED_REQUIRED = "removed_required"
    MADE_OPTIONAL = "made_optional"
    MADE_REQUIRED = "made_required"
    DEFAULT_CHANGED = "default_changed"
    TYPE_WIDENED = "type_widened"
    TYPE_CHANGED = "type_changed"
    ENUM_EXTENDED = "enum_extended"
    ENUM_REDUCED = "enum_reduced"
    CONSTRAINT_LOOSENED = "constraint_loosened"
    CONSTRAINT_TIGHTENED = "constraint_tightened"
    RENAMED = "renamed"
    ALIAS_ADDED = "alias_added"
    ALIAS_REMOVED = "alias_removed"
    TEXT_CHANGED = "text_changed"
    MEANING_CHANGED = "meaning_changed"
    REORDERED = "reordered"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A claim that a store can check: each stored value is valid under `column`.

    `stored_name` is the current name of the value: a column of the active schema, an `x_…`
    extension, or a retired column. Unless `allows_null`, an absent value violates the claim too.
    `version_conversion.find_violation` checks one project.
    """

    stored_name: str
    column: Column
    allows_null: bool = True


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One change with its three verdicts.

    `path` is a JSON Pointer by column name (`/columns/capacity_mw/type`); `reason` describes the
    change and `consequence` its effect on rows, writers or readers, a sentence each. `is_early`
    marks a removal before its announced Sunset.
    """

    path: str
    kind: ChangeKind
    rows: Compatibility
    writers: Compatibility
    readers: Compatibility
    reason: str
    consequence: str
    proofs: tuple[Proof, ...] = ()
    is_early: bool = False


class SchemaComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Every change between two versions, and the worst verdict of each relation."""

    old_version: int
    new_version: int
    findings: tuple[Finding, ...]
    rows: Compatibility
    writers: Compatibility
    readers: Compatibility

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """The proofs of all findings."""
        return tuple(proof for finding in self.findings for proof in finding.proofs)


class AdoptionJudgement(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate judged under a mode: adoptable if the proofs hold, else its violations."""

    mode: CompatibilityMode
    is_adoptable: bool
    comparisons: tuple[SchemaComparison, ...]
    """With the active version, then (transitive modes) with earlier ones, newest first."""
    violations: tuple[str, ...]

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """Proofs on the stored data, which are all read under the active version."""
        return self.comparisons[0].proofs
