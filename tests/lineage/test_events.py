"""Runs as OpenLineage events: every part readable by the standard's own client."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tests.lineage.oracle import check

from spawn.application.lineage.run_builder import export_run, import_ended, import_run
from spawn.domain.errors import Conflict
from spawn.domain.imports.import_state import Counts, FileFormat, Import
from spawn.domain.imports.mapping import ImportMapping, read_mapping
from spawn.domain.json_tokens import read_object
from spawn.domain.lineage.openlineage import Emitter, run_event, run_events
from spawn.domain.lineage.run import MAX_REASON, Moved, Run, RunState, as_begun, ended, told
from spawn.domain.quality.rules import (
    DATASET,
    Levels,
    Report,
    Tally,
    age_result,
    freshness_rules,
    rules_of,
    share_result,
)
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import a_schema

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
    return read_mapping("desk", read_object(json.dumps(MAPPING).encode()))


def an_order(**more: Any) -> Import:
    fields: dict[str, Any] = {
        "import_id": IMPORT_ID,
        "format": FileFormat.CSV,
        "size_bytes": 4321,
        "sha256": "5f" * 32,
        "requested_by": "anna",
        "mapping": "desk",
        "mapping_version": 3,
    }
    return Import(**fields | more)


def a_report() -> Report:
    schema = a_schema()
    results = [
        share_result(d.rule, Tally(2, 3), measured_at=BEGUN, position="1.7")
        for d in rules_of(compile_schema(schema).fields)
    ]
    results += [
        age_result(rule, None, measured_at=BEGUN, position="1.7")
        for rule in freshness_rules(Levels(changed_s=60))
    ]
    return Report(
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
    rendered = msgspec.json.encode(run_events(run, BEGUN, ENDED, EMITTER))
    return [check(event) for event in msgspec.json.decode(rendered)]


def an_import(**counts: Any) -> Run:
    begun = import_run(an_order(), a_mapping(), a_schema())
    order = an_order(
        offset=4321, columns=("id", "name", "cost", "a1", "a2"), counts=Counts(**counts)
    )
    return import_ended(begun, order, a_mapping(), RunState.COMPLETE, None)


def test_an_import_is_a_start_and_a_complete_of_one_run() -> None:
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
    assert upload["name"] == "uploads/desk/5f5f5f5f5f5f5f5f"
    metrics = upload["inputFacets"]["dataQualityMetrics"]
    assert (metrics["rowCount"], metrics["bytes"]) == (9, 4321)
    assert projects["name"] == "projects"
    assert projects["facets"]["version"]["datasetVersion"] == "project_schema@1"
    assert projects["outputFacets"]["outputStatistics"]["rowCount"] == 7
    assert "inputFacets" not in start["inputs"][0]
    assert "outputFacets" not in start["outputs"][0]


def test_each_attribute_says_which_column_it_comes_from_and_what_was_done_to_it() -> None:
    _, complete = events_of(an_import(rows=1, accepted=1))
    lineage = complete["outputs"][0]["facets"]["columnLineage"]["fields"]
    found = {
        name: (origin["field"], step["subtype"], step.get("description"))
        for name, column in lineage.items()
        for origin in column["inputFields"]
        for step in origin["transformations"]
    }
    assert found == {
        "project_name": ("name", "TRANSFORMATION", "white space collapsed"),
        "total_amount": ("cost", "TRANSFORMATION", "multiplied by 1000, rounded down"),
        "country_code": ("land", "TRANSFORMATION", "1 texts translated"),
        "cod_date": ("cod", "TRANSFORMATION", "date read as year_end"),
        "external_ref": ("id", "TRANSFORMATION", "id of the source desk"),
    }
    fields = [field["name"] for field in complete["inputs"][0]["facets"]["schema"]["fields"]]
    assert fields == ["id", "name", "cost", "a1", "a2"]


def test_what_the_checks_of_an_import_found_is_asserted_of_its_file() -> None:
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
    asserted = good["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [one["success"] for one in asserted] == [True, True]


def test_a_failure_says_why_and_what_it_had_moved() -> None:
    begun = import_run(an_order(), a_mapping(), a_schema())
    order = an_order(offset=100, counts=Counts(rows=3, accepted=3))
    _, failed = events_of(import_ended(begun, order, a_mapping(), RunState.FAILED, "no header"))
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == "no header"
    assert failed["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3
    _, aborted = events_of(import_ended(begun, order, a_mapping(), RunState.ABORTED, "cancelled"))
    assert aborted["eventType"] == "ABORT"


def test_an_import_without_a_mapping_takes_each_field_as_it_is() -> None:
    order = an_order(format=FileFormat.NDJSON, mapping=None, mapping_version=None)
    run = import_run(order, None, a_schema())
    (start,) = events_of(run)
    assert (run.job, run.inputs[0].name) == ("import.ndjson", "uploads/ndjson/5f5f5f5f5f5f5f5f")
    lineage = start["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert {"project_name", "capacity_mw"} <= set(lineage)
    assert not {"project_id", "version", "created_at"} & set(lineage)
    (origin,) = lineage["capacity_mw"]["inputFields"]
    assert origin["transformations"] == [
        {"type": "DIRECT", "subtype": "IDENTITY", "masking": False}
    ]


def test_an_export_carries_what_was_measured_of_the_projects() -> None:
    begun = export_run(IMPORT_ID, FileFormat.NDJSON, a_schema(), a_report())
    run = ended(begun, RunState.COMPLETE, Moved(rows_in=3, rows_out=3, bytes_out=999))
    _, complete = events_of(run)
    (projects,), (target,) = complete["inputs"], complete["outputs"]
    assert (projects["name"], target["name"]) == ("projects", "exports/projects.ndjson")
    statistics = target["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (3, 999)
    facets = projects["inputFacets"]
    assert facets["dataQualityMetrics"]["columnMetrics"]["country_code"] == {
        "nullCount": 1,
        "count": 2,
    }
    asserted = {a["name"]: a for a in facets["dataQualityAssertions"]["assertions"]}
    assert "completeness.country_code" not in asserted  # nothing is promised of it
    name = asserted["completeness.project_name"]
    assert (name["success"], name["severity"]) == (False, "error")
    assert (name["expected"], name["actual"]) == ("at least 1", "0.666667 (2 of 3)")
    fresh = asserted["freshness.last_change"]
    assert (fresh["success"], fresh["actual"]) == (True, "nothing to measure")
    (bare,) = events_of(export_run(IMPORT_ID, FileFormat.CSV, a_schema(), None))
    assert "inputFacets" not in bare["inputs"][0]


def test_a_run_ends_once() -> None:
    run = an_import()
    for state in (RunState.COMPLETE, RunState.FAILED, RunState.ABORTED):
        with pytest.raises(Conflict):
            ended(run, state, Moved())


def test_a_run_that_ended_still_knows_how_it_began() -> None:
    begun = import_run(an_order(), a_mapping(), a_schema())
    over = ended(begun, RunState.FAILED, Moved(rows_in=1, bytes_out=2), reason="x" * 5000)
    assert as_begun(over) == begun
    assert over.reason == "x" * MAX_REASON
    assert (told(begun).type, told(over).type) == ("lineage.started", "lineage.failed")
    assert run_event(begun, BEGUN, EMITTER) == run_events(over, BEGUN, ENDED, EMITTER)[0]
