"""Runs as OpenLineage 2-0-2 RunEvents with facets, as values that encode to JSON.

A member without a value is left out, and every facet names its own schema. Nothing here depends
on the destination of the events.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from spawn.domain.lineage.run import (
    Assertion,
    Dataset,
    NullCount,
    Origin,
    Run,
    RunState,
    find_channel,
    format_table_name,
    rewind_to_start,
)

PUBLISHER_NAME: Final = "openlineage"
"""The name of the publisher that sends these events."""

_SPEC: Final = "https://openlineage.io/spec"
RUN_EVENT_SCHEMA: Final = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS: Final[Mapping[str, str]] = {
    "dataSource": "1-0-1/DatasourceDatasetFacet",
    "ownership_dataset": "1-0-1/OwnershipDatasetFacet",
    "ownership_job": "1-0-1/OwnershipJobFacet",
    "parent": "1-2-0/ParentRunFacet",
    "symlinks": "1-0-1/SymlinksDatasetFacet",
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
"""Each facet's schema by key; the suffix tells the documentation of jobs and datasets apart."""

EventType = Literal["START", "COMPLETE", "FAIL", "ABORT"]
_Uri = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
_EVENT_TYPES: Final[Mapping[RunState, EventType]] = {
    RunState.RUNNING: "START",
    RunState.COMPLETE: "COMPLETE",
    RunState.FAILED: "FAIL",
    RunState.ABORTED: "ABORT",
}

Facets = dict[str, dict[str, Any]]


class Emitter(msgspec.Struct, frozen=True, kw_only=True):
    """The producer of the events: namespace of its jobs, URI and version, and the owner, if known.

    Datasets are named as the standard says: the namespace is scheme and authority of the URI, the
    name `database.schema.table`, the database being the namespace of jobs.
    """

    namespace: str
    producer: str
    version: str
    owner: str = ""

    @property
    def dataset_namespace(self) -> str:
        """Scheme and authority of the producer."""
        parts = urlsplit(self.producer)
        return f"{parts.scheme}://{parts.netloc}"

    def format_dataset_name(self, name: str) -> str:
        """Return the qualified name of a dataset, such as `spawn-projects.main.projects`."""
        return f"{self.namespace.replace('.', '_')}.{format_table_name(name)}"


class LineageEntity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A job or a dataset with its facets."""

    namespace: str
    name: str
    facets: Facets = {}
    input_facets: Facets = {}
    output_facets: Facets = {}


class RunReference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A run with its facets."""

    run_id: str
    facets: Facets = {}


class RunEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OpenLineage RunEvent; its JSON has the standard's own names."""

    event_type: EventType = msgspec.field(name="eventType")
    event_time: Annotated[datetime, Meta(tz=True)] = msgspec.field(name="eventTime")
    run: RunReference
    job: LineageEntity
    inputs: list[LineageEntity]
    outputs: list[LineageEntity]
    producer: _Uri
    schema_url: _Uri = msgspec.field(name="schemaURL")


def build_run_event(run: Run, at: datetime, emitter: Emitter) -> RunEvent:
    """Return the event of the state that a run reached at an instant."""
    return _RunEventBuilder(run, emitter).build(at)


def build_run_events(
    run: Run, begun_at: datetime, ended_at: datetime, emitter: Emitter
) -> list[RunEvent]:
    """Return all events of a run so far, in order of time."""
    events = [build_run_event(rewind_to_start(run), begun_at, emitter)]
    if run.is_final:
        events.append(build_run_event(run, ended_at, emitter))
    return events


class _RunEventBuilder:
    """A builder of one run's event."""

    def __init__(self, run: Run, emitter: Emitter) -> None:
        self._run = run
        self._emitter = emitter

    def build(self, at: datetime) -> RunEvent:
        run, emitter = self._run, self._emitter
        return RunEvent(
            event_type=_EVENT_TYPES[run.state],
            event_time=at,
            run=RunReference(run_id=run.run_id, facets=self._run_facets()),
            job=LineageEntity(namespace=emitter.namespace, name=run.job, facets=self._job_facets()),
            inputs=[self._input(dataset, first=not n) for n, dataset in enumerate(run.inputs)],
            outputs=[self._output(dataset) for dataset in run.outputs],
            producer=emitter.producer,
            schema_url=RUN_EVENT_SCHEMA,
        )

    def _dataset(self, name: str, **facets: Facets) -> LineageEntity:
        emitter = self._emitter
        return LineageEntity(
            namespace=emitter.dataset_namespace, name=emitter.format_dataset_name(name), **facets
        )

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
        if self._run.parent is not None:
            parent = self._run.parent
            job = {"namespace": parent.namespace, "name": parent.job}
            facets["parent"] = self._facet("parent", {"run": {"runId": parent.run_id}, "job": job})
        return facets

    def _job_facets(self) -> Facets:
        kind = {
            "processingType": "BATCH",
            "integration": "SPAWN",
            "jobType": self._run.activity.upper(),
        }
        documentation = {"description": self._run.description}
        return {
            "documentation": self._facet("documentation_job", documentation),
            "jobType": self._facet("jobType", kind),
            **self._ownership("job"),
        }

    def _ownership(self, holder: str) -> Facets:
        """Return the facet of the owner; no facet where none is known."""
        if not self._emitter.owner:
            return {}
        owners = [{"name": f"team:{self._emitter.owner}", "type": "OWNER"}]
        return {"ownership": self._facet(f"ownership_{holder}", {"owners": owners})}

    def _source(self, name: str) -> str:
        """Return the address at which a dataset is read or written."""
        kind, _, rest = name.partition("/")
        paths = {"uploads": "/v1/ops/imports", "exports": f"/v1/data/{rest}"}
        return self._emitter.producer + paths.get(kind, f"/v1/data/{name}")

    def _dataset_facets(self, dataset: Dataset) -> Facets:
        documentation = {"description": dataset.description}
        emitter, channel = self._emitter, find_channel(dataset.name)
        source = {"name": emitter.namespace, "uri": self._source(channel)}
        # The first is for catalogues that look for tables here alone; the second is the name that
        # earlier releases gave the dataset.
        identifiers = [
            {
                "namespace": emitter.dataset_namespace,
                "name": emitter.format_dataset_name(dataset.name),
                "type": "TABLE",
            },
            {"namespace": emitter.namespace, "name": channel, "type": "TABLE"},
        ]
        facets = {
            "documentation": self._facet("documentation_dataset", documentation),
            "dataSource": self._facet("dataSource", source),
            "symlinks": self._facet("symlinks", {"identifiers": identifiers}),
            **self._ownership("dataset"),
        }
        if dataset.fields:
            fields = [
                _omit_none(name=f.name, type=f.type, description=f.description or None)
                for f in dataset.fields
            ]
            facets["schema"] = self._facet("schema", {"fields": fields})
        if dataset.version is not None:
            facets["version"] = self._facet("version", {"datasetVersion": dataset.version})
        return facets

    def _input(self, dataset: Dataset, *, first: bool) -> LineageEntity:
        run, input_facets = self._run, Facets()
        counts = run.counts if first else {}
        if counts or dataset.rows is not None or dataset.size_bytes is not None:
            input_facets["dataQualityMetrics"] = self._facet(
                "dataQualityMetrics",
                {
                    "rowCount": dataset.rows,
                    "bytes": dataset.size_bytes,
                    "columnMetrics": {n: _column_metrics(count) for n, count in counts.items()},
                },
            )
        if first and run.assertions:
            assertions = [_render_assertion(assertion) for assertion in run.assertions]
            input_facets["dataQualityAssertions"] = self._facet(
                "dataQualityAssertions", {"assertions": assertions}
            )
        return self._dataset(
            dataset.name, facets=self._dataset_facets(dataset), input_facets=input_facets
        )

    def _output(self, dataset: Dataset) -> LineageEntity:
        facets, output_facets = self._dataset_facets(dataset), Facets()
        if self._run.origins:
            fields = {
                column: {"inputFields": self._origins(origins)}
                for column, origins in self._run.origins.items()
            }
            facets["columnLineage"] = self._facet("columnLineage", {"fields": fields})
        if dataset.rows is not None or dataset.size_bytes is not None:
            volume = {"rowCount": dataset.rows, "size": dataset.size_bytes}
            output_facets["outputStatistics"] = self._facet("outputStatistics", volume)
        return self._dataset(dataset.name, facets=facets, output_facets=output_facets)

    def _origins(self, origins: Sequence[Origin]) -> list[dict[str, Any]]:
        return [
            {
                "namespace": self._emitter.dataset_namespace,
                "name": self._emitter.format_dataset_name(origin.dataset),
                "field": origin.field,
                "transformations": [
                    _omit_none(
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
    return {"nullCount": count.missing, "count": count.present}


def _render_assertion(assertion: Assertion) -> dict[str, Any]:
    return _omit_none(
        assertion=assertion.assertion,
        success=assertion.success,
        column=assertion.column,
        severity="warn" if assertion.warning else "error",
        name=assertion.name,
        description=assertion.description or None,
        expected=assertion.expected,
        actual=assertion.actual,
    )


def _omit_none(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
