"""Facts of a run: what an export says about the quality of its data."""

from tests.application.product.conftest import SnapshotFactory, a_report

from spawn.application.lineage.run_builder import build_export_run
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.lineage.run import NullCount

RULES = ("completeness.project_name", "validity.status", "uniqueness.external_ref")


def test_an_export_counts_nulls_where_completeness_was_measured_and_nowhere_else() -> None:
    snapshot = SnapshotFactory().build()
    rules = [rule for rule in snapshot.rules if rule.rule_id in RULES]
    report = a_report(rules, met=3, checked=4)
    run = build_export_run("run-1", FileFormat.CSV, snapshot.schema, report)
    assert run.counts == {"project_name": NullCount(3, 1)}
    assert {one.name: (one.assertion, one.actual) for one in run.assertions} == {
        "completeness.project_name": ("not_null", "0.75 (3 of 4)"),
        "validity.status": ("accepted_values", "0.75 (3 of 4)"),
        "uniqueness.external_ref": ("unique", "0.75 (3 of 4)"),
    }


def test_an_export_before_the_first_measurement_has_no_counts() -> None:
    snapshot = SnapshotFactory().build()
    run = build_export_run("run-1", FileFormat.NDJSON, snapshot.schema, None)
    assert (run.counts, run.assertions) == ({}, ())
