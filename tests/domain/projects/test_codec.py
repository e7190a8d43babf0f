"""A document holds a whole state in order with exact digits, and decodes to it."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.searches import scale

from spawn.domain.errors import StorageDamaged
from spawn.domain.projects.codec import decode_project, encode_project, render_project
from spawn.domain.projects.project import (
    CORE_FIELDS,
    ExternalRef,
    apply_amendment,
)
from spawn.domain.schema_version import Column, ColumnType, RetiredColumn, TypeName
from spawn.testing.builders import a_condition, a_project, a_schema, some_sponsors
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.strategies import projects, schemas

pytestmark = pytest.mark.core


@given(st.data())
# Projects are large to draw; on a busy machine slow data generation is not a failure.
@settings(max_examples=scale(40), suppress_health_check=[HealthCheck.too_slow])
def test_a_project_round_trips_through_its_document(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    project = data.draw(projects(schema))
    document = encode_project(project, schema)
    decoded = decode_project(document, schema)
    assert decoded == project
    assert encode_project(decoded, schema) == document
    members = list(msgspec.json.decode(document))
    governed = [column.name for column in schema.governed]
    assert members == [*CORE_FIELDS, *governed, *project.extensions]


def test_a_document_is_flat_exact_and_in_order() -> None:
    project = a_project(
        total_amount=Decimal("1E+3"),
        expected_irr=Decimal("0.0950"),
        dscr=Decimal("1E+1"),
        financial_close_date=date(2030, 1, 31),
        sponsors=some_sponsors("60.5", "39.5"),
        milestones=(a_condition(),),
        external_ref=ExternalRef(source="loans", id="7"),
        attributes={"capacity_mw": Decimal("120.5000"), "technology": "pv"},
        extensions={"x_note": msgspec.Raw(b'{"a": 1.50}')},
    )
    assert encode_project(project, a_schema()).decode() == (
        '{"project_id":"0190b5a0-0000-7000-8000-000000000001",'
        '"project_name":"Cala Blanca Solar","total_amount":"1000.00","currency_code":"EUR",'
        '"status":"PROPOSED","status_reason":null,"status_effective_on":null,'
        '"suspended_from":null,"description":null,"sector":"Solar","country_code":"ESP",'
        '"subdivision_code":null,'
        '"maturity_years":18,"expected_irr":0.0950,"dscr":10,'
        '"financial_close_date":"2030-01-31","cod_date":null,"end_date":null,"spv":null,'
        '"sponsors":[{"name":"Sponsor 1","share":"60.5"},{"name":"Sponsor 2","share":"39.5"}],'
        '"milestones":[{"milestone_id":"cp-1","title":"Grid connection agreement signed",'
        '"kind":"CONDITION_PRECEDENT","due_date":"2030-12-31","met_on":null,"waived_on":null,'
        '"draw_stop":false,"evidence":null}],"external_ref":{"source":"loans","id":"7"},'
        '"capacity_mw":120.5000,"technology":"pv","licensed_on":null,"x_note":{"a": 1.50}}'
    )


def test_digits_beyond_a_float_are_exact() -> None:
    column = Column(name="exact", type=ColumnType(TypeName.DECIMAL, precision=38, scale=18))
    schema = a_schema((column,))
    for digits in ("12345678901234567890.123456789012345678", "0.000000000000000001", "-0", "7E+3"):
        project = a_project(attributes={"exact": Decimal(digits)})
        document = encode_project(project, schema)
        assert f'"exact":{Decimal(digits):f}'.encode() in document
        assert decode_project(document, schema) == project


def test_an_instant_is_written_in_utc() -> None:
    schema = a_schema((Column(name="seen_at", type=ColumnType(TypeName.TIMESTAMP)),))
    tokyo = datetime(2030, 1, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    document = encode_project(a_project(attributes={"seen_at": tokyo}), schema)
    assert b'"seen_at":"2030-01-01T00:00:00Z"' in document
    seen_at = decode_project(document, schema).attributes["seen_at"]
    assert isinstance(seen_at, datetime)
    assert seen_at.tzinfo is UTC


def test_render_without_a_schema_leaves_absent_governed_columns_out() -> None:
    assert list(render_project(a_project())) == list(CORE_FIELDS)
    assert list(render_project(a_project(), a_schema()))[-1] == "licensed_on"


def test_the_values_of_a_removed_column_are_stored() -> None:
    project = a_project(
        attributes={
            "capacity_mw": Decimal("120.50"),
            "technology": "pv",
            "licensed_on": date(2030, 1, 1),
        },
        extensions={"x_note": msgspec.Raw(b"1")},
    )
    later = a_schema(())
    document = encode_project(project, a_schema())
    decoded = decode_project(document, later)
    assert decoded.attributes == {}
    assert decoded.hidden_attributes == {
        "capacity_mw": Decimal("120.50"),
        "technology": "pv",
        "licensed_on": "2030-01-01",
    }
    assert decoded.extensions == project.extensions
    assert "technology" not in render_project(decoded, later)
    assert decode_project(encode_project(decoded, later), a_schema()) == project


def test_a_retired_column_keeps_its_type_through_later_writes() -> None:
    retired = tuple(RetiredColumn(column=column, since=2) for column in a_schema().governed)
    later = a_schema((), version=2, retired=retired)
    values = {"capacity_mw": Decimal("120.50"), "licensed_on": date(2030, 1, 1)}
    document = encode_project(a_project(attributes=values), a_schema())
    decoded = decode_project(document, later)
    assert (decoded.attributes, decoded.hidden_attributes) == ({}, values)
    amended = apply_amendment(decoded, {"sector": "Wind"}, {}, {})
    assert decode_project(encode_project(amended, later), later) == amended


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"{}", b'{"project_id": 1}', b"\xff", b'{"project_id":"p","x_a":[}'],
    ids=repr,
)
def test_a_damaged_document_is_reported(document: bytes) -> None:
    with pytest.raises(StorageDamaged, match="a stored project cannot be read"):
        decode_project(document, a_schema())


def test_a_document_that_violates_an_invariant_is_rejected() -> None:
    document = encode_project(a_project(), a_schema()).replace(b'"ESP"', b'"???"')
    with expect_invalid(("/country_code", "unknown_country")):
        decode_project(document, a_schema())


def test_more_schemas_than_the_cache_size_can_be_decoded() -> None:
    project = a_project(attributes={"technology": "pv"})
    for _ in range(200):
        schema = a_schema()
        assert decode_project(encode_project(project, schema), schema) == project
