"""A document says all of a state, in order, with exact digits, and gives it back."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput, StorageDamaged
from spawn.domain.projects.project import FIELDS, ExternalRef, Reservation, amend
from spawn.domain.schemas.model import Column, ColumnType, RetiredColumn, TypeName
from spawn.domain.serialization import KINDS, decode, encode, render
from spawn.testing.builders import a_condition, a_project, a_schema, some_sponsors
from spawn.testing.strategies import projects, schemas

pytestmark = pytest.mark.core


@given(st.data())
# Projects are large to draw; on a busy machine that is no finding.
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_decoded_equals_what_was_encoded(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    project = data.draw(projects(schema))
    document = encode("project", project, schema)
    read = decode("project", document, schema)
    assert read == project
    assert encode("project", read, schema) == document
    members = list(msgspec.json.decode(document))
    governed = [column.name for column in schema.governed]
    assert members == [*FIELDS, *governed, *project.extensions]


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
    assert encode("project", project, a_schema()).decode() == (
        '{"project_id":"0190b5a0-0000-7000-8000-000000000001",'
        '"project_name":"Cala Blanca Solar","total_amount":"1000.00","currency_code":"EUR",'
        '"status":"PROPOSED","status_reason":null,"status_effective_on":null,'
        '"suspended_from":null,"description":null,"sector":"Solar","country_code":"ESP",'
        '"maturity_years":18,"expected_irr":0.0950,"dscr":10,'
        '"financial_close_date":"2030-01-31","cod_date":null,"end_date":null,"spv":null,'
        '"sponsors":[{"name":"Sponsor 1","share":"60.5"},{"name":"Sponsor 2","share":"39.5"}],'
        '"milestones":[{"milestone_id":"cp-1","title":"Grid connection agreement signed",'
        '"kind":"CONDITION_PRECEDENT","due_date":"2030-12-31","met_on":null,"waived_on":null,'
        '"draw_stop":false,"evidence":null}],"external_ref":{"source":"loans","id":"7"},'
        '"capacity_mw":120.5000,"technology":"pv","licensed_on":null,"x_note":{"a": 1.50}}'
    )


def test_digits_beyond_a_float_survive() -> None:
    column = Column(name="exact", type=ColumnType(TypeName.DECIMAL, precision=38, scale=18))
    schema = a_schema((column,))
    for digits in ("12345678901234567890.123456789012345678", "0.000000000000000001", "-0", "7E+3"):
        project = a_project(attributes={"exact": Decimal(digits)})
        document = encode("project", project, schema)
        assert f'"exact":{Decimal(digits):f}'.encode() in document
        assert decode("project", document, schema) == project


def test_an_instant_is_written_in_utc() -> None:
    schema = a_schema((Column(name="seen_at", type=ColumnType(TypeName.TIMESTAMP)),))
    tokyo = datetime(2030, 1, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    document = encode("project", a_project(attributes={"seen_at": tokyo}), schema)
    assert b'"seen_at":"2030-01-01T00:00:00Z"' in document
    read: Any = decode("project", document, schema)
    assert read.attributes["seen_at"].tzinfo is UTC


def test_render_without_a_schema_leaves_absent_governed_columns_out() -> None:
    assert list(render(a_project())) == list(FIELDS)
    assert list(render(a_project(), a_schema()))[-1] == "licensed_on"


def test_a_column_that_has_gone_keeps_its_data() -> None:
    project = a_project(
        attributes={
            "capacity_mw": Decimal("120.50"),
            "technology": "pv",
            "licensed_on": date(2030, 1, 1),
        },
        extensions={"x_note": msgspec.Raw(b"1")},
    )
    later = a_schema(())
    document = encode("project", project, a_schema())
    read: Any = decode("project", document, later)
    assert read.attributes == {}
    assert read.hidden_attributes == {
        "capacity_mw": Decimal("120.50"),
        "technology": "pv",
        "licensed_on": "2030-01-01",
    }
    assert read.extensions == project.extensions
    assert "technology" not in render(read, later)
    assert decode("project", encode("project", read, later), a_schema()) == project


def test_a_retired_column_keeps_its_type_through_later_writes() -> None:
    retired = tuple(RetiredColumn(column=column, since=2) for column in a_schema().governed)
    later = a_schema((), version=2, retired=retired)
    values = {"capacity_mw": Decimal("120.50"), "licensed_on": date(2030, 1, 1)}
    document = encode("project", a_project(attributes=values), a_schema())
    read: Any = decode("project", document, later)
    assert (read.attributes, read.hidden_attributes) == ({}, values)
    amended = amend(read, {"sector": "Wind"}, {}, {})
    assert decode("project", encode("project", amended, later), later) == amended


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"{}", b'{"project_id": 1}', b"\xff", b'{"project_id":"p","x_a":[}'],
    ids=repr,
)
def test_a_damaged_document_is_reported(document: bytes) -> None:
    with pytest.raises(StorageDamaged, match="a stored project cannot be read"):
        decode("project", document, a_schema())


def test_a_document_that_breaks_an_invariant_is_not_a_project() -> None:
    document = encode("project", a_project(), a_schema()).replace(b'"ESP"', b'"???"')
    with pytest.raises(InvalidInput):
        decode("project", document, a_schema())


def test_a_reservation_is_a_kind_of_its_own() -> None:
    schema = a_schema()
    for held_by in ("p-1", None):
        state = Reservation(project_id=held_by)
        assert decode("external_ref", encode("external_ref", state, schema), schema) == state
    assert {"project", "external_ref"} <= set(KINDS)


def test_a_state_of_another_kind_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        encode("external_ref", a_condition(), a_schema())


def test_more_schemas_than_the_cache_holds_are_served() -> None:
    project = a_project(attributes={"technology": "pv"})
    for _ in range(200):
        schema = a_schema()
        assert decode("project", encode("project", project, schema), schema) == project
