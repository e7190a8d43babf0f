"""Runs as OpenLineage events that the standard's own client can read."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tests.lineage.standard_client import validate_event

from spawn.application.lineage.run_builder import (
    build_export_run,
    build_import_run,
    complete_import_run,
)
from spawn.domain.errors import Conflict
from spawn.domain.imports.import_state import FileFormat, ImportState, RowCounts
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.json_tokens import parse_object
from spawn.domain.lineage.openlineage import Emitter, build_run_event, build_run_events
from spawn.domain.lineage.run import (
    MAX_REASON,
    DataVolume,
    Run,
    RunState,
    build_domain_event,
    end_run,
    format_table_name,
    parse_parent_run,
    rewind_to_start,
)
from spawn.domain.quality.measures import MeasureTally
from spawn.domain.quality.report import DATASET, QualityReport, evaluate_age, evaluate_share
from spawn.domain.quality.rules import ServiceLevels, build_freshness_rules, derive_rules
from spawn.testing.builders import a_schema
from spawn.testing.expected_errors import expect_invalid

BEGUN = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDED = datetime(2026, 3, 1, 12, 0, 7, tzinfo=UTC)
EMITTER = Emitter(namespace="spawn-projects", producer="http://127.0.0.1:8000", version="0.1.0")
IMPORT_ID = "0190b5a0-0000-7000-8000-00000000000a"
MAPPING = {
    "columns": [
        {"attribute": "project_name", "column": "name", "whitespace": "collapse"},
        {"attribute": "total_amount", "column": "cost", "unit_factor": 1000, "rounding": "down"},
        {"attribute": "country_code", "column": "land", "enum": {"Spain": "ESP"}},
        {"attribute": "currency_code", "constant": "EUR"},
        {"attribute": "cod_date", "column": "cod", "date_format": "year_end"},
    ],
    "checks": [
        {"sum_of": ["a1", "a2"], "equals": "cost", "tolerance": "0.01", "on_failure": "warn"}
    ],
    "key": {"source": "desk", "column": "id"},
}


def a_mapping() -> ImportMapping:
    return read_mapping("desk", parse_object(json.dumps(MAPPING).encode()))


def an_import_state(**more: Any) -> ImportState:
    fields: dict[str, Any] = {
        "import_id": IMPORT_ID,
        "format": FileFormat.CSV,
        "size_bytes": 4321,
        "sha256": "5f" * 32,
        "requested_by": "anna",
        "mapping": "desk",
        "mapping_version": 3,
    }
    return ImportState(**fields | more)


def a_report() -> QualityReport:
    schema = a_schema()
    results = [
        evaluate_share(d.rule, MeasureTally(2, 3), measured_at=BEGUN, position="1.7")
        for d in derive_rules(schema)
    ]
    results += [
        evaluate_age(rule, None, measured_at=BEGUN, position="1.7")
        for rule in build_freshness_rules(ServiceLevels(changed_s=60))
    ]
    return QualityReport(
        dataset=DATASET,
        schema_id=schema.id,
        schema_version=1,
        position="1.7",
        projects=3,
        measured_at=BEGUN,
        changed_at=BEGUN,
        imported_at=None,
        results=tuple(results),
    )


def events_of(run: Run) -> list[Any]:
    rendered = msgspec.json.encode(build_run_events(run, BEGUN, ENDED, EMITTER))
    return [validate_event(event) for event in msgspec.json.decode(rendered)]


def an_import(**counts: Any) -> Run:
    started = build_import_run(an_import_state(), a_mapping(), a_schema())
    state = an_import_state(
        offset=4321, columns=("id", "name", "cost", "a1", "a2"), counts=RowCounts(**counts)
    )
    return complete_import_run(started, state, a_mapping(), RunState.COMPLETE, None)


def test_an_import_has_a_start_and_a_complete_event_of_one_run() -> None:
    start, complete = events_of(an_import(rows=9, accepted=7, quarantined=2))
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert (start["eventTime"], complete["eventTime"]) == (
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:07Z",
    )
    assert start["run"]["runId"] == complete["run"]["runId"] == IMPORT_ID
    assert start["job"]["name"] == "import.desk"
    assert start["job"]["namespace"] == "spawn-projects"
    assert start["producer"] == "http://127.0.0.1:8000"
    (upload,), (projects,) = complete["inputs"], complete["outputs"]
    assert upload["namespace"] == projects["namespace"] == "http://127.0.0.1:8000"
    assert upload["name"] == "spawn-projects.uploads.desk"
    assert upload["facets"]["version"]["datasetVersion"] == "5f" * 32
    metrics = upload["inputFacets"]["dataQualityMetrics"]
    assert (metrics["rowCount"], metrics["bytes"]) == (9, 4321)
    assert projects["name"] == "spawn-projects.main.projects"
    assert projects["facets"]["version"]["datasetVersion"] == "project_schema@1"
    assert projects["outputFacets"]["outputStatistics"]["rowCount"] == 7
    assert "inputFacets" not in start["inputs"][0]
    assert "outputFacets" not in start["outputs"][0]


def test_each_attribute_has_its_source_column_and_conversion() -> None:
    _, complete = events_of(an_import(rows=1, accepted=1))
    lineage = complete["outputs"][0]["facets"]["columnLineage"]["fields"]
    origins = {
        name: (origin["field"], step["subtype"], step.get("description"))
        for name, column in lineage.items()
        for origin in column["inputFields"]
        for step in origin["transformations"]
    }
    assert origins == {
        "project_name": ("name", "TRANSFORMATION", "white space collapsed"),
        "total_amount": ("cost", "TRANSFORMATION", "multiplied by 1000, rounded down"),
        "country_code": ("land", "TRANSFORMATION", "1 texts translated"),
        "cod_date": ("cod", "TRANSFORMATION", "date read as year_end"),
        "external_ref": ("id", "TRANSFORMATION", "id of the source desk"),
    }
    fields = [field["name"] for field in complete["inputs"][0]["facets"]["schema"]["fields"]]
    assert fields == ["id", "name", "cost", "a1", "a2"]


def find_table(dataset: dict[str, Any]) -> tuple[str, str]:
    """Return schema and table as the parser of OpenMetadata finds them."""
    name = dataset["facets"]["symlinks"]["identifiers"][0]["name"]
    _, schema, table = name.split(".")
    return schema, table


@pytest.mark.parametrize("product", ["spawn-projects", "iberia.projects"])
def test_every_dataset_is_a_table_for_a_catalogue(product: str) -> None:
    emitter = Emitter(namespace=product, producer="https://desk.example/api", version="1")
    mapping = read_mapping("desk.v1", parse_object(json.dumps(MAPPING).encode()))
    state = an_import_state(mapping="desk.v1")
    runs = [
        build_import_run(state, mapping, a_schema()),
        build_export_run(IMPORT_ID, FileFormat.CSV, a_schema(), None),
    ]
    tables = []
    for run in runs:
        event = msgspec.json.decode(msgspec.json.encode(build_run_event(run, BEGUN, emitter)))
        for dataset in (*event["inputs"], *event["outputs"]):
            assert dataset["namespace"] == "https://desk.example"
            first = dataset["facets"]["symlinks"]["identifiers"][0]
            assert (first["namespace"], first["name"]) == (dataset["namespace"], dataset["name"])
            tables.append(find_table(dataset))
        names = {(d["namespace"], d["name"]) for d in event["inputs"]}
        for column in event["outputs"][0]["facets"]["columnLineage"]["fields"].values():
            assert {(o["namespace"], o["name"]) for o in column["inputFields"]} <= names
    assert tables == [
        ("uploads", "desk_v1"),
        *[("main", "projects")] * 2,
        ("exports", "projects_csv"),
    ]


def test_a_dataset_names_its_former_name_its_address_and_its_owner() -> None:
    emitter = msgspec.structs.replace(EMITTER, owner="Iberia desk")
    run = build_export_run(IMPORT_ID, FileFormat.CSV, a_schema(), None)
    rendered = msgspec.json.encode(build_run_event(run, BEGUN, emitter))
    event = validate_event(msgspec.json.decode(rendered))
    facets = event["inputs"][0]["facets"]
    former = facets["symlinks"]["identifiers"][1]
    assert former == {"namespace": "spawn-projects", "name": "projects", "type": "TABLE"}
    assert facets["dataSource"]["uri"] == "http://127.0.0.1:8000/v1/data/projects"
    owners = [{"name": "team:Iberia desk", "type": "OWNER"}]
    assert facets["ownership"]["owners"] == event["job"]["facets"]["ownership"]["owners"] == owners
    target = event["outputs"][0]["facets"]["dataSource"]
    assert target["uri"] == "http://127.0.0.1:8000/v1/data/projects.csv"
    (bare,) = events_of(run)
    assert "ownership" not in bare["inputs"][0]["facets"]


def test_the_uploads_of_earlier_releases_are_the_same_dataset() -> None:
    run = build_import_run(an_import_state(), a_mapping(), a_schema())
    (upload,) = run.inputs
    earlier = msgspec.structs.replace(upload, name=f"{upload.name}/5f5f5f5f5f5f5f5f")
    (event,) = events_of(msgspec.structs.replace(run, inputs=(earlier,)))
    assert event["inputs"][0]["name"] == "spawn-projects.uploads.desk"


@pytest.mark.parametrize(
    "text",
    [
        "airflow/nightly.load/019A2B3C-4d5e-7f60-8a9b-0c1d2e3f4a5b",
        "https://dags.example/prod/nightly.load/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
    ],
)
def test_the_run_of_a_pipeline_is_the_parent(text: str) -> None:
    parent = parse_parent_run(text)
    run = build_import_run(an_import_state(), a_mapping(), a_schema(), parent)
    (event,) = events_of(run)
    facet = event["run"]["facets"]["parent"]
    assert facet["run"] == {"runId": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"}
    assert facet["job"] == {
        "namespace": text.partition("/nightly.load/")[0],
        "name": "nightly.load",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nightly/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
        "/nightly/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
        "airflow/nightly/run-7",
        "airflow//019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
        "air flow/nightly/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
        f"{'a' * 500}/nightly/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
    ],
)
def test_a_malformed_parent_is_rejected(text: str) -> None:
    with expect_invalid(("/OpenLineage-Parent-Id", "invalid_value")):
        parse_parent_run(text)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("projects", "main.projects"),
        ("spawn-projects.main.projects", "main.projects"),
        ("uploads/desk", "uploads.desk"),
        ("uploads/desk/0123456789abcdef", "uploads.desk"),
        ("exports/projects.csv", "exports.projects_csv"),
        ("a.b.exports.projects_csv", "exports.projects_csv"),
    ],
)
def test_a_dataset_has_one_table_name_however_it_is_named(name: str, table: str) -> None:
    assert format_table_name(name) == table


def test_the_checks_of_an_import_are_assertions_on_its_file() -> None:
    run = an_import(
        rows=1873,
        accepted=1796,
        quarantined=77,
        warnings=111,
        by_reason={"missing": 77},
        failed_checks={"cost": 111},
    )
    _, complete = events_of(run)
    accepted, sums = complete["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (accepted["success"], accepted["actual"]) == (False, "77 of 1873 rows quarantined")
    assert accepted["description"].endswith("Reasons: missing 77.")
    assert sums == {
        "assertion": "sum_equals",
        "success": False,
        "column": "cost",
        "severity": "warn",
        "name": "sum_equals.cost",
        "description": "a1 + a2 = cost, within 0.01 of it",
        "expected": "0 rows differ",
        "actual": "111 of 1873 rows differ",
    }
    _, good = events_of(an_import(rows=2, accepted=2))
    assertions = good["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [assertion["success"] for assertion in assertions] == [True, True]


def test_a_failure_reports_its_reason_and_volume() -> None:
    started = build_import_run(an_import_state(), a_mapping(), a_schema())
    state = an_import_state(offset=100, counts=RowCounts(rows=3, accepted=3))
    _, failed = events_of(
        complete_import_run(started, state, a_mapping(), RunState.FAILED, "no header")
    )
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == "no header"
    assert failed["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3
    _, aborted = events_of(
        complete_import_run(started, state, a_mapping(), RunState.ABORTED, "cancelled")
    )
    assert aborted["eventType"] == "ABORT"


def test_an_import_without_a_mapping_copies_each_field() -> None:
    state = an_import_state(format=FileFormat.NDJSON, mapping=None, mapping_version=None)
    run = build_import_run(state, None, a_schema())
    (start,) = events_of(run)
    assert (run.job, run.inputs[0].name) == ("import.ndjson", "uploads/ndjson")
    lineage = start["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert {"project_name", "capacity_mw"} <= set(lineage)
    assert not {"project_id", "version", "created_at"} & set(lineage)
    (origin,) = lineage["capacity_mw"]["inputFields"]
    assert origin["transformations"] == [
        {"type": "DIRECT", "subtype": "IDENTITY", "masking": False}
    ]


def test_an_export_includes_the_quality_report_of_the_projects() -> None:
    started = build_export_run(IMPORT_ID, FileFormat.NDJSON, a_schema(), a_report())
    run = end_run(started, RunState.COMPLETE, DataVolume(rows_in=3, rows_out=3, bytes_out=999))
    _, complete = events_of(run)
    (projects,), (target,) = complete["inputs"], complete["outputs"]
    assert projects["name"] == "spawn-projects.main.projects"
    assert target["name"] == "spawn-projects.exports.projects_ndjson"
    statistics = target["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (3, 999)
    facets = projects["inputFacets"]
    assert facets["dataQualityMetrics"]["columnMetrics"]["country_code"] == {
        "nullCount": 1,
        "count": 2,
    }
    assertions = {a["name"]: a for a in facets["dataQualityAssertions"]["assertions"]}
    assert "completeness.country_code" not in assertions  # without a threshold
    name = assertions["completeness.project_name"]
    assert (name["success"], name["severity"]) == (False, "error")
    assert (name["expected"], name["actual"]) == ("at least 1", "0.666667 (2 of 3)")
    fresh = assertions["freshness.last_change"]
    assert (fresh["success"], fresh["actual"]) == (True, "nothing to measure")
    (bare,) = events_of(build_export_run(IMPORT_ID, FileFormat.CSV, a_schema(), None))
    assert "inputFacets" not in bare["inputs"][0]


def test_a_run_ends_once() -> None:
    run = an_import()
    for state in (RunState.COMPLETE, RunState.FAILED, RunState.ABORTED):
        with pytest.raises(Conflict):
            end_run(run, state, DataVolume())


def test_an_ended_run_can_be_rewound_to_its_start() -> None:
    started = build_import_run(an_import_state(), a_mapping(), a_schema())
    failed = end_run(
        started, RunState.FAILED, DataVolume(rows_in=1, bytes_out=2), reason="x" * 5000
    )
    assert rewind_to_start(failed) == started
    assert failed.reason == "x" * MAX_REASON
    assert (build_domain_event(started).type, build_domain_event(failed).type) == (
        "lineage.started",
        "lineage.failed",
    )
    assert (
        build_run_event(started, BEGUN, EMITTER)
        == build_run_events(failed, BEGUN, ENDED, EMITTER)[0]
    )
