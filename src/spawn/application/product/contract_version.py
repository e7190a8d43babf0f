"""Version of the data contract, computed from what each adopted schema version changes.

A change that clients of the older version would notice in responses is a new major version: the
verdict on readers is not yes, a column is gone, or a quality level is lower. An addition or another
change of columns is a minor version, a change of texts or order a patch.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import IntEnum
from itertools import pairwise
from typing import Final

from spawn.domain.quality.rules import Severity, derive_rules
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Compatibility
from spawn.domain.schemas.evolution.diff import compare_schemas

MAX_JUDGED_CHANGES: Final = 4_096
"""Changes whose level is cached."""


class ChangeLevel(IntEnum):
    """Part of the contract's version that a schema version increases."""

    PATCH = 0
    MINOR = 1
    MAJOR = 2


_TAKES_AWAY: Final = frozenset(
    {ChangeKind.REMOVED_OPTIONAL, ChangeKind.REMOVED_REQUIRED, ChangeKind.RENAMED}
)
_CHANGES_TEXT: Final = frozenset(
    {ChangeKind.TEXT_CHANGED, ChangeKind.REORDERED, ChangeKind.UNDEPRECATED}
)
_levels: dict[tuple[str, int, str, int, str], ChangeLevel] = {}


def compute_contract_version(history: Sequence[Schema]) -> str:
    """Return the version `major.minor.patch` of the contract under the newest schema version.

    The first version with data is 1.0.0, so that the same history has the same versions.

    Args:
        history: the versions whose data the store holds, newest first.
    """
    parts = [1, 0, 0]
    for older, newer in pairwise(reversed(history)):
        level = _get_level(older, newer)
        index = ChangeLevel.MAJOR - level
        parts[index] += 1
        parts[index + 1 :] = [0] * (len(parts) - index - 1)
    return ".".join(map(str, parts))


def judge_change(older: Schema, newer: Schema) -> ChangeLevel:
    """Return the level of the change from one schema version to the next."""
    findings = compare_schemas(older, newer, on_date=date.max).findings
    is_break = any(f.readers is not Compatibility.YES or f.kind in _TAKES_AWAY for f in findings)
    if is_break or _lowers_quality(older, newer):
        return ChangeLevel.MAJOR
    is_text = all(finding.kind in _CHANGES_TEXT for finding in findings)
    return ChangeLevel.PATCH if is_text else ChangeLevel.MINOR


def _get_level(older: Schema, newer: Schema) -> ChangeLevel:
    """Return the level from the cache; the documents of a long history need all of them."""
    key = (older.id, older.version, older.fingerprint, newer.version, newer.fingerprint)
    level = _levels.get(key)
    if level is None or not (older.fingerprint and newer.fingerprint):
        if len(_levels) >= MAX_JUDGED_CHANGES:
            _levels.clear()
        level = _levels[key] = judge_change(older, newer)
    return level


def _lowers_quality(older: Schema, newer: Schema) -> bool:
    """Whether a promised share is lower, or no longer promised, for a column that remains."""
    before, after = _promised_shares(older), _promised_shares(newer)
    return any(after.get(rule_id, Decimal(0)) < share for rule_id, share in before.items())


def _promised_shares(schema: Schema) -> Mapping[str, Decimal]:
    rules = (one.rule for one in derive_rules(schema))
    return {
        rule.rule_id: rule.threshold
        for rule in rules
        if rule.threshold is not None and rule.severity is Severity.ERROR
    }
