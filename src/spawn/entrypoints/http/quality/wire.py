"""Quality runs on the wire."""

from typing import Annotated, Final, Self

from msgspec import Meta

from spawn.domain.change import StoredAggregate
from spawn.domain.projects.codec import to_json_number
from spawn.domain.quality.report import QualityReport, RuleResult, filter_failed
from spawn.domain.quality.rules import Dimension, MeasureUnit, Severity
from spawn.entrypoints.http.wire import Count, Instant, OptionalNumber, Version, WireStruct
from spawn.entrypoints.request_context import public_path

RUNS: Final = "/v1/governance/quality/runs"


class RuleResultView(WireStruct, frozen=True):
    """The result of a rule; met and checked are the counts behind a share."""

    rule_id: str
    kind: Annotated[str, Meta(description="Kind of the states that the rule is about.")]
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
        tuple[str, ...], Meta(description="Ids of up to a few states that violate the rule.")
    ]
    measured_at: Instant
    position: str

    @classmethod
    def of_result(cls, result: RuleResult) -> Self:
        """Return the wire form of a result, with its rule."""
        threshold = result.rule.threshold
        number = None if threshold is None else to_json_number(threshold)
        return cls.of(result.rule, result, threshold=number)


class KindFiguresView(WireStruct, frozen=True):
    """The states of one kind that a run measured."""

    kind: Annotated[str, Meta(description="Kind of the states.")]
    schema_id: str
    schema_version: Count
    position: Annotated[str, Meta(description="The measured feed position.")]
    states: Annotated[Count, Meta(description="Number of the states.")]
    changed_at: Annotated[
        Instant | None, Meta(description="Time of the last write to one; null without any.")
    ]


class QualityRunView(WireStruct, frozen=True):
    """A quality run without its results."""

    run: Version
    dataset: str
    schema_id: str
    schema_version: Count
    position: Annotated[str, Meta(description="The measured feed position.")]
    projects: Annotated[
        Count, Meta(description="Number of projects; `kinds` has that of every kind.")
    ]
    measured_at: Instant
    changed_at: Instant | None
    imported_at: Instant | None
    rules: Count
    broken: Annotated[tuple[str, ...], Meta(description="Rules whose service level is missed.")]
    kinds: Annotated[
        tuple[KindFiguresView, ...],
        Meta(description="Figures of each kind, projects first; none in runs of older releases."),
    ]
    url: str

    @classmethod
    def of_report(cls, run: int, report: QualityReport, **members: object) -> Self:
        """Return the wire form of a run."""
        return cls.of(
            report,
            run=run,
            rules=len(report.results),
            broken=tuple(result.rule.rule_id for result in filter_failed(report.results)),
            url=public_path(f"{RUNS}/{run}"),
            kinds=tuple(map(KindFiguresView.of, report.kinds)),
            **members,
        )


class QualityReportView(QualityRunView, frozen=True):
    """A quality run with the result of every rule."""

    results: tuple[RuleResultView, ...]

    @classmethod
    def of_run(cls, aggregate: StoredAggregate[QualityReport]) -> Self:
        """Return the wire form of a stored run."""
        report = aggregate.state
        results = tuple(map(RuleResultView.of_result, report.results))
        return cls.of_report(aggregate.version, report, results=results)
