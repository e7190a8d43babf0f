"""Data-quality reports: the results of rules, and the service levels that changed between two."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.quality.measures import MAX_SAMPLES, MeasureTally
from spawn.domain.quality.rules import (
    LAST_CHANGE,
    LAST_IMPORT,
    MeasureUnit,
    QualityRule,
    build_change_rule,
)

REPORT_KIND: Final = "quality_report"
RULE_KIND: Final = "quality_rule"
"""Kinds of the aggregates of this module."""

DATASET: Final = "projects"
"""Name of the measured dataset."""

BREACHED_EVENT: Final = "quality.breached"
RECOVERED_EVENT: Final = "quality.recovered"
"""Event types, emitted once when a service level fails and once when it is met again."""


class RuleResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of one rule.

    `value` is in the rule's unit, None if there was no data. `met` and `checked` are the counts
    behind a share. `passed` is None without a threshold; without data a rule passes.
    """

    rule: QualityRule
    value: float | None
    passed: bool | None
    met: int | None = None
    checked: int | None = None
    samples: tuple[str, ...] = ()
    measured_at: datetime
    position: str


class KindFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The states of a governed kind that a run measured, under a version of its schema.

    `changed_at` is the time of the last write to one, None if there is none.
    """

    kind: str
    schema_id: str
    schema_version: int
    position: str
    states: int
    changed_at: datetime | None


class QualityReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The results of all rules, of every governed kind; each version of the aggregate is one run.

    `changed_at` is the time of the last write to a project, `imported_at` the end of the last
    successful import. `kinds` has the figures of each kind, projects first; runs of earlier
    releases have none.
    """

    dataset: str
    schema_id: str
    schema_version: int
    position: str
    projects: int
    measured_at: datetime
    changed_at: datetime | None
    imported_at: datetime | None
    results: tuple[RuleResult, ...]
    kinds: tuple[KindFigures, ...] = ()

    def find_instants(self) -> dict[str, datetime | None]:
        """Return the instants from which the rules on ages count, by the id of each."""
        changes = {build_change_rule(one.kind).rule_id: one.changed_at for one in self.kinds}
        return {**changes, LAST_CHANGE: self.changed_at, LAST_IMPORT: self.imported_at}


class ServiceLevelStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The status of a rule's service level since its last change; one aggregate per rule."""

    rule_id: str
    is_met: bool = msgspec.field(name="kept")
    result: RuleResult


def evaluate_share(
    rule: QualityRule, tally: MeasureTally, *, measured_at: datetime, position: str
) -> RuleResult:
    """Return the result of a tally: the share as a float, the threshold compared exactly."""
    passed = None
    if rule.threshold is not None:
        passed = tally.met >= rule.threshold * tally.checked
    return RuleResult(
        rule=rule,
        value=tally.met / tally.checked if tally.checked else None,
        passed=passed,
        met=tally.met,
        checked=tally.checked,
        samples=tally.samples[:MAX_SAMPLES],
        measured_at=measured_at,
        position=position,
    )


def evaluate_age(
    rule: QualityRule, since: datetime | None, *, measured_at: datetime, position: str
) -> RuleResult:
    """Return the result of an age; an event that never happened has none, and passes."""
    age_s = None if since is None else max((measured_at - since).total_seconds(), 0.0)
    passed = None
    if rule.threshold is not None:
        passed = age_s is None or Decimal(str(age_s)) <= rule.threshold
    return RuleResult(
        rule=rule, value=age_s, passed=passed, measured_at=measured_at, position=position
    )


def refresh_ages(report: QualityReport, now: datetime) -> QualityReport:
    """Return the report at a later instant, for data that has not changed since."""
    since = report.find_instants()
    results = tuple(
        evaluate_age(
            result.rule, since[result.rule.rule_id], measured_at=now, position=result.position
        )
        if result.rule.rule_id in since
        else result
        for result in report.results
    )
    return msgspec.structs.replace(report, measured_at=now, results=results)


def find_level_changes(
    before: Sequence[RuleResult], after: Sequence[RuleResult]
) -> tuple[ServiceLevelStatus, ...]:
    """Return the service levels that changed between two reports, in the later one's order.

    A new rule that fails counts as a change. A failing rule that is no longer declared, or that
    has no threshold any more, counts as recovered.
    """
    failing_before = {result.rule.rule_id: result for result in filter_failed(before)}
    changes = [
        ServiceLevelStatus(
            rule_id=result.rule.rule_id, is_met=result.passed is not False, result=result
        )
        for result in after
        if (result.passed is False) != (result.rule.rule_id in failing_before)
    ]
    rules_after = {result.rule.rule_id for result in after}
    changes += [
        ServiceLevelStatus(rule_id=rule_id, is_met=True, result=result)
        for rule_id, result in failing_before.items()
        if rule_id not in rules_after
    ]
    return tuple(changes)


def describe_level_change(status: ServiceLevelStatus) -> str:
    """Return the rule, its threshold and the measured value as text."""
    rule, value = status.result.rule, status.result.value
    bound = "at least" if rule.unit is MeasureUnit.SHARE else "at most"
    unit = "" if rule.unit is MeasureUnit.SHARE else f" {rule.unit}"
    measurement = "there was no data" if value is None else f"{value:.6g}{unit} was measured"
    return f"{rule.description} The threshold is {bound} {rule.threshold}{unit}; {measurement}."


def filter_failed(results: Iterable[RuleResult]) -> tuple[RuleResult, ...]:
    """Return the results that miss their service level."""
    return tuple(result for result in results if result.passed is False)
