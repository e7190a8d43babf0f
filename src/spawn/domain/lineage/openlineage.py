"""Runs in the terms of OpenLineage 2-0-2: RunEvents with facets, as values that encode to JSON.

Only what is known is stated: a member without a value is left out, and every facet names its own
schema. Nothing here depends on where the events go.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from spawn.domain.lineage.run import (
    Assertion,
    Dataset,
    NullCount,
    Origin,
    Run,
    RunState,
    as_begun,
)

PUBLISHER: Final = "openlineage"
"""The name of who sends them on."""

_SPEC: Final = "https://openlineage.io/spec"
RUN_EVENT_SCHEMA: Final = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS: Final[Mapping[str, str]] = {
    "columnLineage": "1-2-0/ColumnLineageDatasetFacet",
    "dataQualityAssertions": "1-1-0/DataQualityAssertionsDatasetFacet",
    "dataQualityMetrics": "1-0-3/DataQualityMetricsInputDatasetFacet",
    "documentation_dataset": "1-1-0/DocumentationDatasetFacet",
    "documentation_job": "1-1-0/DocumentationJobFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "schema": "1-2-0/SchemaDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
}
"""Each facet's schema by the facet's key; two keys serve jobs and datasets and are told apart."""

_EVENT_TYPES: Final[Mapping[RunState, str]] = {
    RunState.RUNNING: "START",
    RunState.COMPLETE: "COMPLETE",
    RunState.FAILED: "FAIL",
    RunState.ABORTED: "ABORT",
}

Facets = dict[str, dict[str, Any]]


class Emitter(msgspec.Struct, frozen=True, kw_only=True):
    """Who tells of the runs: the namespace of its jobs and datasets, its URI, its version."""

    namespace: str
    producer: str
    version: str


class _Named(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A job or a dataset, with what is known of it."""

    namespace: str
    name: str
    facets: Facets = {}
    input_facets: Facets = {}
    output_facets: Facets = {}


class _RunRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    run_id: str
    facets: Facets = {}


class RunEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OpenLineage RunEvent; its JSON has the standard's own names."""

    event_type: str = msgspec.field(name="eventType")
    event_time: datetime = msgspec.field(name="eventTime")
    run: _RunRef
    job: _Named
    inputs: list[_Named]
    outputs: list[_Named]
    producer: str
    schema_url: str = msgspec.field(name="schemaURL")


def run_event(run: Run, at: datetime, emitter: Emitter) -> RunEvent:
    """The event of the state that a run reached at an instant."""
    return _Rendering(run, emitter).event(at)


def run_events(
    run: Run, begun_at: datetime, ended_at: datetime, emitter: Emitter
) -> list[RunEvent]:
    """Every event of a run so far, in the order of time."""
    events = [run_event(as_begun(run), begun_at, emitter)]
    if run.is_final:
        events.append(run_event(run, ended_at, emitter))
    return events


class _Rendering:
    """One run on its way to an event."""

    def __init__(self, run: Run, emitter: Emitter) -> None:
        self._run = run
        self._emitter = emitter

    def event(self, at: datetime) -> RunEvent:
        run, emitter = self._run, self._emitter
        return RunEvent(
            event_type=_EVENT_TYPES[run.state],
            event_time=at,
            run=_RunRef(run_id=run.run_id, facets=self._run_facets()),
            job=self._named(run.job, facets=self._job_facets()),
            inputs=[self._input(dataset, first=not n) for n, dataset in enumerate(run.inputs)],
            outputs=[self._output(dataset) for dataset in run.outputs],
            producer=emitter.producer,
            schema_url=RUN_EVENT_SCHEMA,
        )

    def _named(self, name: str, **facets: Facets) -> _Named:
        return _Named(namespace=self._emitter.namespace, name=name, **facets)

    def _facet(self, key: str, members: Mapping[str, Any]) -> dict[str, Any]:
        path = _FACETS[key]
        return {
            "_producer": self._emitter.producer,
            "_schemaURL": f"{_SPEC}/facets/{path}.json#/$defs/{path.partition('/')[2]}",
            **{name: value for name, value in members.items() if value is not None},
        }

    def _run_facets(self) -> Facets:
        engine = {"name": "spawn", "version": self._emitter.version}
        facets = {"processing_engine": self._facet("processing_engine", engine)}
        if self._run.reason is not None:
            failure = {"message": self._run.reason, "programmingLanguage": "PYTHON"}
            facets["errorMessage"] = self._facet("errorMessage", failure)
        return facets

    def _job_facets(self) -> Facets:
        kind = {
            "processingType": "BATCH",
            "integration": "SPAWN",
            "jobType": self._run.activity.upper(),
        }
        said = {"description": self._run.description}
        return {
            "documentation": self._facet("documentation_job", said),
            "jobType": self._facet("jobType", kind),
        }

    def _dataset_facets(self, dataset: Dataset) -> Facets:
        said = {"description": dataset.description}
        facets = {"documentation": self._facet("documentation_dataset", said)}
        if dataset.fields:
            fields = [
                _stated(name=f.name, type=f.type, description=f.description or None)
                for f in dataset.fields
            ]
            facets["schema"] = self._facet("schema", {"fields": fields})
        if dataset.version is not None:
            facets["version"] = self._facet("version", {"datasetVersion": dataset.version})
        return facets

    def _input(self, dataset: Dataset, *, first: bool) -> _Named:
        run, found = self._run, Facets()
        counts = run.counts if first else {}
        if counts or dataset.rows is not None or dataset.size_bytes is not None:
            found["dataQualityMetrics"] = self._facet(
                "dataQualityMetrics",
                {
                    "rowCount": dataset.rows,
                    "bytes": dataset.size_bytes,
                    "columnMetrics": {n: _column_metrics(count) for n, count in counts.items()},
                },
            )
        if first and run.assertions:
            assertions = [_asserted(one) for one in run.assertions]
            found["dataQualityAssertions"] = self._facet(
                "dataQualityAssertions", {"assertions": assertions}
            )
        return self._named(dataset.name, facets=self._dataset_facets(dataset), input_facets=found)

    def _output(self, dataset: Dataset) -> _Named:
        facets, found = self._dataset_facets(dataset), Facets()
        if self._run.origins:
            fields = {
                column: {"inputFields": self._origins(origins)}
                for column, origins in self._run.origins.items()
            }
            facets["columnLineage"] = self._facet("columnLineage", {"fields": fields})
        if dataset.rows is not None or dataset.size_bytes is not None:
            moved = {"rowCount": dataset.rows, "size": dataset.size_bytes}
            found["outputStatistics"] = self._facet("outputStatistics", moved)
        return self._named(dataset.name, facets=facets, output_facets=found)

    def _origins(self, origins: Sequence[Origin]) -> list[dict[str, Any]]:
        return [
            {
                "namespace": self._emitter.namespace,
                "name": origin.dataset,
                "field": origin.field,
                "transformations": [
                    _stated(
                        type="DIRECT",
                        subtype="TRANSFORMATION" if origin.conversion else "IDENTITY",
                        description=origin.conversion or None,
                        masking=False,
                    )
                ],
            }
            for origin in origins
        ]


def _column_metrics(count: NullCount) -> dict[str, Any]:
    return {"nullCount": count.missing, "count": count.there}


def _asserted(one: Assertion) -> dict[str, Any]:
    return _stated(
        assertion=one.assertion,
        success=one.success,
        column=one.column,
        severity="warn" if one.warning else "error",
        name=one.name,
        description=one.description or None,
        expected=one.expected,
        actual=one.actual,
    )


def _stated(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
