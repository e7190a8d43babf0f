"""The table of aggregate types: codecs by kind, indexed columns, event types."""

import msgspec
import pytest

from spawn.application.product.event_messages import EVENTS_BY_MESSAGE
from spawn.domain.aggregates import AGGREGATE_TYPES, AggregateType, decode_state, encode_state
from spawn.domain.jobs import JOB_KIND, Job, JobProgress, JobStatus
from spawn.domain.projects.project import PROJECT_KIND, RESERVATION_KIND, ExternalRefReservation
from spawn.domain.schema_version import RetiredColumn, TypeName
from spawn.testing.builders import a_condition, a_project, a_schema

pytestmark = pytest.mark.core


def test_journals_hold_the_names_of_kinds_so_none_ever_changes() -> None:
    assert sorted(AGGREGATE_TYPES) == [
        "api_client",
        "approval",
        "case",
        "cfads_actual",
        "covenant",
        "covenant_test",
        "dead_letter",
        "entry",
        "exposure_allocation",
        "external_ref",
        "facility",
        "fx_rate_set",
        "holding",
        "import",
        "import_mapping",
        "job",
        "ledger",
        "lineage_run",
        "portfolio",
        "project",
        "quality_report",
        "quality_rule",
        "quarantine",
        "reserve_account",
        "schema",
        "schema_consumer",
        "simulation",
        "upload",
    ]


def test_a_reservation_has_its_own_kind() -> None:
    schema = a_schema()
    for owner in ("p-1", None):
        state = ExternalRefReservation(project_id=owner)
        assert (
            decode_state(RESERVATION_KIND, encode_state(RESERVATION_KIND, state, schema), schema)
            == state
        )


def test_a_state_of_another_kind_raises_type_error() -> None:
    with pytest.raises(TypeError):
        encode_state(RESERVATION_KIND, a_condition(), a_schema())


def test_every_event_type_belongs_to_one_kind_and_is_documented() -> None:
    event_types = [name for t in AGGREGATE_TYPES.values() for name in t.event_types]
    assert sorted(event_types) == sorted(event.name for event in EVENTS_BY_MESSAGE.values())


def test_each_kind_with_columns_has_a_table_of_its_own() -> None:
    tables = [t.table for t in AGGREGATE_TYPES.values() if t.table]
    assert len(tables) == len(set(tables))
    assert all(t.table for t in AGGREGATE_TYPES.values() if t.columns or t.is_governed)


@pytest.mark.parametrize("aggregate_type", AGGREGATE_TYPES.values(), ids=lambda t: t.kind)
def test_indexed_columns_are_scalar_fields_with_the_type_of_their_annotation(
    aggregate_type: AggregateType,
) -> None:
    assert all(
        column.name in aggregate_type.state_type.__struct_fields__
        for column in aggregate_type.columns
    )
    schema = a_schema()
    if aggregate_type.is_governed:
        schema = msgspec.structs.replace(schema, kind=aggregate_type.kind)
    columns = aggregate_type.indexed_columns(schema)
    assert {aggregate_type.id_column, "version", "created_at"} <= columns.keys()
    assert ("updated_at" in columns) is (aggregate_type.table is not None)


def test_the_types_of_indexed_columns_come_from_the_state() -> None:
    columns = AGGREGATE_TYPES["dead_letter"].indexed_columns(a_schema())
    assert {name: column.type.name for name, column in columns.items()} == {
        "id": TypeName.STRING,
        "version": TypeName.INTEGER,
        "created_at": TypeName.TIMESTAMP,
        "updated_at": TypeName.TIMESTAMP,
        "publisher": TypeName.STRING,
        "state": TypeName.STRING,
        "type": TypeName.STRING,
        "event_time": TypeName.TIMESTAMP,
    }
    assert AGGREGATE_TYPES["quality_rule"].columns[0].type.name is TypeName.BOOLEAN
    assert AGGREGATE_TYPES["import"].columns[0].type.name is TypeName.STRING


def test_a_project_has_the_columns_of_the_schema_and_of_earlier_ones() -> None:
    project_type = AGGREGATE_TYPES[PROJECT_KIND]
    governed = a_schema().governed
    retired = tuple(RetiredColumn(column=column, since=2) for column in governed)
    later = a_schema((), version=2, retired=retired)
    for schema in (a_schema(), later):
        assert {c.name for c in governed} <= project_type.indexed_columns(schema).keys()
    hidden = a_project(hidden_attributes={"technology": "pv"})
    served = a_project(attributes={"technology": "pv"})
    for project in (hidden, served):
        assert project_type.read_column(project, "technology") == "pv"
    assert project_type.read_column(served, "sector") == "Solar"
    assert project_type.read_column(served, "licensed_on") is None


def test_a_job_of_an_earlier_release_is_read_without_the_address_of_its_result() -> None:
    document = (
        b'{"job_id":"j","kind":"import","status":"running","progress":{"done":3,"total":9},'
        b'"result_url":"/v1/ops/imports/j","error":null}'
    )
    job = Job(job_id="j", kind="import", status=JobStatus.RUNNING, progress=JobProgress(3, 9))
    assert decode_state(JOB_KIND, document, a_schema()) == job
    assert b"result_url" not in encode_state(JOB_KIND, job, a_schema())
