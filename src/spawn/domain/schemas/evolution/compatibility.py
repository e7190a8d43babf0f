"""What one schema version means to the data and clients of another, as values.

Three relations are judged (rows: stored data read under the new schema; writers: requests written
for the old one; readers: clients of the old one reading new answers). Whether a candidate may be
adopted follows from them and from the mode.
"""

from enum import StrEnum

import msgspec

from spawn.domain.schemas.model import Column


class Relation(StrEnum):
    """Whether a relation holds; `IF_PROVEN` asks the data first."""

    YES = "yes"
    IF_PROVEN = "if_proven"
    NO = "no"


class Mode(StrEnum):
    """Which relations adoption demands; the transitive forms demand them of every past version."""

    NONE = "none"
    BACKWARD = "backward"
    BACKWARD_TRANSITIVE = "backward_transitive"
    FORWARD = "forward"
    FORWARD_TRANSITIVE = "forward_transitive"
    FULL = "full"
    FULL_TRANSITIVE = "full_transitive"


class ChangeKind(StrEnum):
    """What happened to a column, one fact each."""

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
    """A claim about stored data that a store can check: each value reads under `column`.

    `stored` is the name the value has now: a column of the active schema, an `x_…` extension, or
    a retired column whose values are kept. With `nulls` False an absent value breaks the claim too.
    `revision.broken_by` judges one project.
    """

    stored: str
    column: Column
    nulls: bool = True


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One change with its three verdicts.

    `path` is a JSON Pointer by column name (`/columns/capacity_mw/type`); `reason` says what
    changed and `consequence` what follows for rows, writers or readers, a sentence each. `early`
    marks a removal before the notice that was given for it has run out.
    """

    path: str
    kind: ChangeKind
    rows: Relation
    writers: Relation
    readers: Relation
    reason: str
    consequence: str
    proofs: tuple[Proof, ...] = ()
    early: bool = False


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Every change from one version to another, and the worst of each relation."""

    old_version: int
    new_version: int
    findings: tuple[Finding, ...]
    rows: Relation
    writers: Relation
    readers: Relation

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """What the data have to show."""
        return tuple(proof for finding in self.findings for proof in finding.proofs)


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate under a mode: `adoptable` once the proofs hold; else `objections` say why not."""

    mode: Mode
    adoptable: bool
    comparisons: tuple[Comparison, ...]
    """Against the active version first, then (transitive modes) each earlier one, newest first."""
    objections: tuple[str, ...]

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """What the stored data, which are all in the active version's shape, have to show."""
        return self.comparisons[0].proofs
