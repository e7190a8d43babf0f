"""Adoption policy: the relations that a mode requires of a candidate schema."""

from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import (
    AdoptionJudgement,
    ChangeKind,
    Compatibility,
    CompatibilityMode,
    Finding,
    SchemaComparison,
)
from spawn.domain.schemas.evolution.diff import compare_schemas
from spawn.domain.schemas.evolution.notices import find_shortened_notices

_MAX_LISTED_VERSIONS: Final = 5
_MAX_SHAPES: Final = 20_000

_REQUIRED_RELATIONS: Final[dict[CompatibilityMode, tuple[str, ...]]] = {
    # Unreadable stored data would be lost: every mode requires the rows.
    CompatibilityMode.NONE: ("rows",),
    CompatibilityMode.BACKWARD: ("rows", "writers"),
    CompatibilityMode.BACKWARD_TRANSITIVE: ("rows", "writers"),
    CompatibilityMode.FORWARD: ("rows", "readers"),
    CompatibilityMode.FORWARD_TRANSITIVE: ("rows", "readers"),
    CompatibilityMode.FULL: ("rows", "writers", "readers"),
    CompatibilityMode.FULL_TRANSITIVE: ("rows", "writers", "readers"),
}
_TRANSITIVE: Final = frozenset(
    {
        CompatibilityMode.BACKWARD_TRANSITIVE,
        CompatibilityMode.FORWARD_TRANSITIVE,
        CompatibilityMode.FULL_TRANSITIVE,
    }
)


def judge_adoption(
    candidate: Schema,
    active: Schema,
    earlier: Sequence[Schema],
    mode: CompatibilityMode,
    on_date: date,
) -> AdoptionJudgement:
    """Judge a candidate against the active version and earlier ones, on a day.

    `earlier` may be in any order. A break with an earlier version that the active one has already
    was decided then and is not held against the candidate; every other break is. Only the
    comparison with the active version has proofs, since all stored data are read under it. Of
    earlier versions that differ in texts alone, the newest is compared.
    """
    relations = _REQUIRED_RELATIONS[mode]
    comparisons = [compare_schemas(active, candidate, on_date=on_date)]
    violations = _Violations()
    violations.add_breaks(comparisons[0], relations)
    if mode is not CompatibilityMode.NONE:
        violations.add_early_changes(comparisons[0])
    for version, *same_versions in _group_by_shape(earlier):
        if mode is not CompatibilityMode.NONE:
            violations.add_early_notices(version, candidate, active)
        if mode in _TRANSITIVE:
            comparison = compare_schemas(version, candidate, on_date=on_date, via=active)
            active_comparison = compare_schemas(version, active, on_date=on_date, via=active)
            comparisons.append(comparison)
            violations.add_breaks(
                comparison,
                relations,
                _find_breaks(active_comparison, relations),
                [schema.version for schema in (version, *same_versions)],
            )
    texts = violations.describe()
    return AdoptionJudgement(
        mode=mode,
        is_adoptable=not texts,
        comparisons=tuple(comparisons),
        violations=texts,
    )


class _Break(NamedTuple):
    """A relation that a change breaks: the same one in two comparisons has the same break."""

    path: str
    kind: ChangeKind
    relation: str


def _find_breaks(comparison: SchemaComparison, relations: Sequence[str]) -> frozenset[_Break]:
    return frozenset(
        _Break(finding.path, finding.kind, name)
        for finding in comparison.findings
        for name in relations
        if getattr(finding, name) is Compatibility.NO
    )


class _Violations:
    """Sentences against a candidate, each once, with the versions that it concerns."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], list[int]] = {}

    def _add(self, versions: Sequence[int], before: str, after: str) -> None:
        self._versions.setdefault((before, after), []).extend(versions)

    def add_breaks(
        self,
        comparison: SchemaComparison,
        relations: Sequence[str],
        known_breaks: frozenset[_Break] = frozenset(),
        versions: Sequence[int] = (),
    ) -> None:
        """Add the findings that break a relation, except for breaks that were decided before."""
        for finding in comparison.findings:
            broken_relations = [
                name
                for name in relations
                if getattr(finding, name) is Compatibility.NO
                and _Break(finding.path, finding.kind, name) not in known_breaks
            ]
            if broken_relations:
                self._add(
                    versions or [comparison.old_version],
                    f"{finding.path} breaks the {' and '.join(broken_relations)} of",
                    f"{finding.reason} {finding.consequence}",
                )

    def add_early_changes(self, comparison: SchemaComparison) -> None:
        """Add removals and notices before a Sunset that clients may rely on."""
        for finding in comparison.findings:
            if finding.is_early:
                verb = "gives too little notice" if _is_notice(finding) else "is removed too early"
                text = f"{finding.path} {verb}: {finding.reason} {finding.consequence}"
                self._add([], text, "")

    def add_early_notices(self, earlier: Schema, candidate: Schema, active: Schema) -> None:
        """Add Sunsets before announced ones, unless the active version has them already."""
        known_paths = find_shortened_notices(earlier, active)
        for path, reason in find_shortened_notices(earlier, candidate).items():
            if path not in known_paths:
                self._add([earlier.version], f"{path} gives too little notice by", reason)

    def describe(self) -> tuple[str, ...]:
        """Return a sentence for each violation."""
        return tuple(
            f"{before} {_list_versions(versions)}: {after}" if versions else before
            for (before, after), versions in self._versions.items()
        )


def _is_notice(finding: Finding) -> bool:
    return finding.kind is ChangeKind.DEPRECATED


def _list_versions(versions: Sequence[int]) -> str:
    """Return `version 3`, `versions 3 and 2`, or a range of many."""
    numbers = sorted(set(versions), reverse=True)
    if len(numbers) == 1:
        return f"version {numbers[0]}"
    if len(numbers) > _MAX_LISTED_VERSIONS:
        return f"{len(numbers)} versions from {numbers[-1]} to {numbers[0]}"
    return f"versions {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _group_by_shape(versions: Sequence[Schema]) -> list[list[Schema]]:
    """Group versions whose judgement is the same, newest first: they differ in texts alone."""
    groups: dict[bytes, list[Schema]] = {}
    for schema in sorted(versions, key=attrgetter("version"), reverse=True):
        groups.setdefault(_get_shape(schema), []).append(schema)
    return list(groups.values())


def _get_shape(schema: Schema) -> bytes:
    """Return a digest of all that judgements depend on; cached, since a document never changes."""
    # By kind first: a joined key of each of two thousand versions would be built and hashed anew.
    shapes = _shapes_by_kind.setdefault(schema.kind, {})
    shape = shapes.get(schema.fingerprint)
    if shape is None:
        columns = [msgspec.structs.replace(column, description="") for column in schema.columns]
        text = msgspec.json.encode([schema.id, bytes(schema.context or b""), columns])
        shape = sha256(text).digest()
        if schema.fingerprint:
            if len(shapes) >= _MAX_SHAPES:
                shapes.clear()
            shapes[schema.fingerprint] = shape
    return shape


_shapes_by_kind: dict[str, dict[str, bytes]] = {}
