"""Adoption policy: the relations that a mode requires of a candidate schema."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import (
    AdoptionJudgement,
    Compatibility,
    CompatibilityMode,
    SchemaComparison,
)
from spawn.domain.schemas.evolution.diff import compare_schemas

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

    `earlier` may be in any order. A relation that the active version itself broke with an earlier
    one is not required of the candidate: that was decided then. Only the comparison with the active
    version has proofs, since all stored data are read under it.
    """
    comparisons = [compare_schemas(active, candidate, on_date=on_date)]
    violations = [*_find_violations(comparisons[0], _REQUIRED_RELATIONS[mode])]
    if mode is not CompatibilityMode.NONE:
        violations += _find_early_removals(comparisons[0])
    if mode in _TRANSITIVE:
        for version in sorted(earlier, key=lambda schema: schema.version, reverse=True):
            comparison = compare_schemas(version, candidate, on_date=on_date, via=active)
            active_comparison = compare_schemas(version, active, on_date=on_date, via=active)
            relations = [
                name
                for name in _REQUIRED_RELATIONS[mode]
                if getattr(active_comparison, name) is not Compatibility.NO
            ]
            comparisons.append(comparison)
            violations += _find_violations(comparison, relations)
    return AdoptionJudgement(
        mode=mode,
        is_adoptable=not violations,
        comparisons=tuple(comparisons),
        violations=tuple(dict.fromkeys(violations)),
    )


def _find_violations(comparison: SchemaComparison, relations: Sequence[str]) -> Iterator[str]:
    for finding in comparison.findings:
        broken_relations = [
            name for name in relations if getattr(finding, name) is Compatibility.NO
        ]
        if broken_relations:
            names = " and ".join(broken_relations)
            yield (
                f"{finding.path} breaks the {names} of version {comparison.old_version}:"
                f" {finding.reason} {finding.consequence}"
            )


def _find_early_removals(comparison: SchemaComparison) -> Iterator[str]:
    for finding in comparison.findings:
        if finding.is_early:
            yield f"{finding.path} is removed too early: {finding.reason} {finding.consequence}"
