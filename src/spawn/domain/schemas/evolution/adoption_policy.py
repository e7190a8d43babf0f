"""Whether a candidate may be adopted: what a mode demands, asked of the comparisons."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from spawn.domain.schemas.evolution.compatibility import Comparison, Judgement, Mode, Relation
from spawn.domain.schemas.evolution.diff import compare
from spawn.domain.schemas.model import Schema

_DEMANDS: Final[dict[Mode, tuple[str, ...]]] = {
    # Stored data that cannot be read are lost: no mode goes without the rows.
    Mode.NONE: ("rows",),
    Mode.BACKWARD: ("rows", "writers"),
    Mode.BACKWARD_TRANSITIVE: ("rows", "writers"),
    Mode.FORWARD: ("rows", "readers"),
    Mode.FORWARD_TRANSITIVE: ("rows", "readers"),
    Mode.FULL: ("rows", "writers", "readers"),
    Mode.FULL_TRANSITIVE: ("rows", "writers", "readers"),
}
_TRANSITIVE: Final = frozenset(
    {Mode.BACKWARD_TRANSITIVE, Mode.FORWARD_TRANSITIVE, Mode.FULL_TRANSITIVE}
)


def judge(
    candidate: Schema, active: Schema, earlier: Sequence[Schema], mode: Mode, on: date
) -> Judgement:
    """A candidate beside the active version and those that were active before, on a day.

    `earlier` may be in any order. A relation that the active version itself broke with an earlier
    one is not asked of the candidate again: that was decided then. Only the comparison with the
    active version has proofs to offer, since all stored data have its shape.
    """
    comparisons = [compare(active, candidate, on=on)]
    objections = [*_objections(comparisons[0], _DEMANDS[mode])]
    if mode is not Mode.NONE:
        objections += _too_early(comparisons[0])
    if mode in _TRANSITIVE:
        for version in sorted(earlier, key=lambda schema: schema.version, reverse=True):
            comparison = compare(version, candidate, on=on, via=active)
            before = compare(version, active, on=on, via=active)
            demands = [name for name in _DEMANDS[mode] if getattr(before, name) is not Relation.NO]
            comparisons.append(comparison)
            objections += _objections(comparison, demands)
    return Judgement(
        mode=mode,
        adoptable=not objections,
        comparisons=tuple(comparisons),
        objections=tuple(dict.fromkeys(objections)),
    )


def _objections(comparison: Comparison, demands: Sequence[str]) -> Iterator[str]:
    for finding in comparison.findings:
        broken = [name for name in demands if getattr(finding, name) is Relation.NO]
        if broken:
            relations = " and ".join(broken)
            yield (
                f"{finding.path} breaks the {relations} of version {comparison.old_version}:"
                f" {finding.reason} {finding.consequence}"
            )


def _too_early(comparison: Comparison) -> Iterator[str]:
    for finding in comparison.findings:
        if finding.early:
            yield f"{finding.path} goes too early: {finding.reason} {finding.consequence}"
