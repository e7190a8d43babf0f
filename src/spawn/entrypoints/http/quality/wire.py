"""Quality runs on the wire."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from spawn.domain.change import StoredAggregate
from spawn.domain.projects.codec import to_json_number
from spawn.domain.quality.report import QualityReport, RuleResult, filter_failed
from spawn.domain.quality.rules import Dimension, MeasureUnit, Severity
from spawn.entrypoints.http.wire import Count, Instant, OptionalNumber

RUNS: Final = "/v1/governance/quality/runs"


class RuleResultView(msgspec.Struct, frozen=True):
    """The result of a rule; met and checked are the counts behind a share."""

    rule_id: str
    dimension: Dimension
    columns: tuple[str, ...]
    description: str
    unit: Annotated[
        MeasureUnit, Meta(description="`share` of the checked values, or seconds of age.")
    ]
    threshold: Annotated[
        OptionalNumber, Meta(description="The service level; null if there is none.")
    ]
    severity: Severity
    value: float | None
    passed: bool | None
    met: Count | None
    checked: Count | None
    samples: Annotated[
        tuple[str, ...], Meta(description="Up to a few projects that violate the rule.")
    ]
    measured_at: Instant
    position: str

    @classmethod
    def of(cls, result: RuleResult) -> "RuleResultView":
        """Return the wire form of a result."""
        rule = result.rule
        return cls(
            rule_id=rule.rule_id,
            dimension=rule.dimension,
            columns=rule.columns,
            description=rule.description,
            unit=rule.unit,
            threshold=None if rule.threshold is None else to_json_number(rule.threshold),
            severity=rule.severity,
            value=result.value,
            passed=result.passed,
            met=result.met,
            checked=result.checked,
            samples=result.samples,
            measured_at=result.measured_at,
            position=result.position,
        )


class QualityRunView(msgspec.Struct, frozen=True):
    """A quality run without its results."""

    run: Annotated[int, Meta(ge=1)]
    dataset: str
    schema_id: str
    schema_version: Count
    position: Annotated[str, Meta(description="The measured feed position.")]
    projects: Count
    measured_at: Instant
    changed_at: Instant | None
    imported_at: Instant | None
    rules: Count
    broken: Annotated[tuple[str, ...], Meta(description="Rules whose service level is missed.")]
    url: str

    @classmethod
    def of(cls, run: int, report: QualityReport) -> "QualityRunView":
        """Return the wire form of a run."""
        return cls(
            run=run,
            dataset=report.dataset,
            schema_id=report.schema_id,
            schema_version=report.schema_version,
            position=report.position,
            projects=report.projects,
            measured_at=report.measured_at,
            changed_at=report.changed_at,
            imported_at=report.imported_at,
            rules=len(report.results),
            broken=tuple(result.rule.rule_id for result in filter_failed(report.results)),
            url=f"{RUNS}/{run}",
        )


class QualityReportView(QualityRunView, frozen=True):
    """A quality run with the result of every rule."""

    results: tuple[RuleResultView, ...]

    @classmethod
    def with_results(cls, aggregate: StoredAggregate[QualityReport]) -> "QualityReportView":
        """Return the wire form of a stored run."""
        run = QualityRunView.of(aggregate.version, aggregate.state)
        results = tuple(map(RuleResultView.of, aggregate.state.results))
        return cls(**msgspec.structs.asdict(run), results=results)
