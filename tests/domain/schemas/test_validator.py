"""A flat body under a schema is typed exactly, or rejected with every error."""

import contextlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.aggregates import decode_state, encode_state
from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.json_tokens import parse_object
from spawn.domain.money import Rounding
from spawn.domain.projects.project import (
    ExternalRef,
    Milestone,
    MilestoneKind,
    ProjectStatus,
    Sponsor,
    Spv,
    propose_project,
)
from spawn.domain.schema_version import Column, ColumnType, TypeName, Value
from spawn.domain.schemas.core_columns import CORE_COLUMNS
from spawn.domain.schemas.json_schema import SchemaUse
from spawn.domain.schemas.validator import MAX_ERRORS, ProjectInput, compile_schema
from spawn.domain.schemas.value_readers import column_predicate
from spawn.testing.builders import PROJECT_ID, a_schema
from spawn.testing.strategies import schemas, values

pytestmark = pytest.mark.core

FULL = compile_schema(
    a_schema(
        (
            Column(name="turbines", type=ColumnType(TypeName.INTEGER), minimum=1, maximum=500),
            Column(name="cells", type=ColumnType(TypeName.BIGINT)),
            Column(
                name="capacity_mw",
                type=ColumnType(TypeName.DECIMAL, precision=10, scale=3),
                minimum=Decimal(0),
                aliases=("power",),
            ),
            Column(name="albedo", type=ColumnType(TypeName.DOUBLE)),
            Column(name="green", type=ColumnType(TypeName.BOOLEAN), default=False),
            Column(name="licensed_on", type=ColumnType(TypeName.DATE)),
            Column(name="metered_at", type=ColumnType(TypeName.TIMESTAMP)),
            Column(name="grid", type=ColumnType(TypeName.STRING), enum=("NORTH", "SOUTH")),
            Column(name="permit", type=ColumnType(TypeName.STRING), pattern="^[A-Z]{2}-[0-9]+$"),
            Column(name="note", type=ColumnType(TypeName.STRING, max_length=5), deprecated=True),
        )
    )
)
NEEDY = compile_schema(
    a_schema(
        (
            Column(name="class_code", type=ColumnType(TypeName.STRING), required=True),
            Column(
                name="tier", type=ColumnType(TypeName.INTEGER), required=True, default=3, minimum=1
            ),
        )
    )
)


def read(body: str, **options: Any) -> ProjectInput:
    return FULL.read(parse_object(body.encode()), **options)


def whole(members: str, **options: Any) -> ProjectInput:
    """A body with the two required fields and more."""
    comma = ", " if members else ""
    return read(f'{{"project_name": "A", "total_amount": 1{comma}{members}}}', **options)


def errors_of(body: str, **options: Any) -> set[tuple[str, str]]:
    with pytest.raises(InvalidInput) as exception:
        read(body, **options)
    return {(error.pointer, error.code) for error in exception.value.errors}


def patch_errors(body: str) -> set[tuple[str, str]]:
    return errors_of(body, partial=True)


def test_the_payload_of_the_first_generation_is_understood() -> None:
    attributes = read(
        """{"project_name": "Wind", "total_amount": 1250000.5, "maturity_years": 15,
        "expected_tri": 9.5, "dscr": 1.35, "description": "d", "status": "ACTIVE",
        "currency_code": "EUR"}"""
    )
    assert attributes.core == {
        "project_name": "Wind",
        "total_amount": Decimal("1250000.5"),
        "maturity_years": Decimal(15),
        "expected_irr": Decimal("0.095"),
        "dscr": Decimal("1.35"),
        "description": "d",
        "status": ProjectStatus.OPERATION,
        "currency_code": "EUR",
    }


@pytest.mark.parametrize(
    ("token", "amount"),
    [
        ("0.1", "0.1"),
        ('"0.1"', "0.1"),
        ("100.10", "100.10"),
        ("123456789012345678.1234", "123456789012345678.1234"),
        ("1e6", "1000000"),
        ("1.5E+3", "1500"),
        ("25e-2", "0.25"),
        ("1.50000000", "1.5"),
        ("0e400", "0"),
        ("-0", "0"),
    ],
)
def test_an_amount_is_read_exactly_from_its_text(token: str, amount: str) -> None:
    found = read(f'{{"project_name": "A", "total_amount": {token}}}').core["total_amount"]
    assert found == Decimal(amount)
    assert str(found) == amount or "." in token


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("1e400", "out_of_range"),
        ("1e999999999999999999999", "out_of_range"),
        ("1234567890123456789", "out_of_range"),
        ('"1234567890123456789"', "out_of_range"),
        ("-0.01", "out_of_range"),
        ("0.00001", "too_precise"),
        ("1e-400", "too_precise"),
        ('"1.00000"', "too_precise"),
        ('"1e3"', "pattern_mismatch"),
        ('"01"', "pattern_mismatch"),
        ('"+1"', "pattern_mismatch"),
        ('" 1"', "pattern_mismatch"),
        ('"NaN"', "pattern_mismatch"),
        (r'"\u0661"', "pattern_mismatch"),  # an Arabic digit
        ('""', "pattern_mismatch"),
        ("true", "wrong_type"),
        ("[1]", "wrong_type"),
        ("null", "missing"),
    ],
)
def test_what_is_no_amount_is_rejected_by_name(token: str, code: str) -> None:
    body = f'{{"project_name": "A", "total_amount": {token}}}'
    assert errors_of(body) == {("/total_amount", code)}


@pytest.mark.parametrize(
    ("member", "name", "value"),
    [
        ('"turbines": 49', "turbines", 49),
        ('"turbines": 49.0', "turbines", 49),
        ('"turbines": 4.9e1', "turbines", 49),
        ('"cells": -9223372036854775808', "cells", -(2**63)),
        ('"capacity_mw": 12.345', "capacity_mw", Decimal("12.345")),
        ('"power": 7', "capacity_mw", Decimal(7)),
        ('"albedo": 1e-3', "albedo", 0.001),
        ('"green": true', "green", True),
        ('"licensed_on": "2024-02-29"', "licensed_on", date(2024, 2, 29)),
        (
            '"metered_at": "2026-01-31T23:30:00.5-02:00"',
            "metered_at",
            datetime(2026, 2, 1, 1, 30, 0, 500_000, UTC),
        ),
        ('"grid": "NORTH"', "grid", "NORTH"),
        ('"permit": "AB-12"', "permit", "AB-12"),
    ],
)
def test_a_governed_value_is_read_by_its_type(member: str, name: str, value: Value) -> None:
    found = whole(member).governed[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("member", "code"),
    [
        ('"turbines": "49"', "wrong_type"),
        ('"turbines": 49.5', "wrong_type"),
        ('"turbines": true', "wrong_type"),
        ('"turbines": 1e400', "out_of_range"),
        ('"turbines": 0', "out_of_range"),
        ('"turbines": 501', "out_of_range"),
        ('"cells": 9223372036854775808', "out_of_range"),
        ('"capacity_mw": "12.345"', "wrong_type"),
        ('"capacity_mw": 12.3456', "too_precise"),
        ('"capacity_mw": 12345678', "out_of_range"),
        ('"capacity_mw": -1', "out_of_range"),
        ('"power": -1', "out_of_range"),
        ('"albedo": 1e400', "out_of_range"),
        ('"albedo": "1"', "wrong_type"),
        ('"green": "true"', "wrong_type"),
        ('"green": 1', "wrong_type"),
        ('"licensed_on": "2023-02-29"', "out_of_range"),
        ('"licensed_on": "20240101"', "not_a_date"),
        ('"licensed_on": 2024', "wrong_type"),
        ('"metered_at": "2026-01-31T23:30:00"', "naive_time"),
        ('"grid": "EAST"', "not_in_enum"),
        ('"permit": "ab-12"', "pattern_mismatch"),
        ('"note": "sixsix"', "too_long"),
        ('"maturity_years": 100', "out_of_range"),
        ('"maturity_years": 0.4', "out_of_range"),
        ('"maturity_years": 17.125', "too_precise"),
        ('"maturity_years": 1e400', "out_of_range"),
        ('"maturity_years": "5"', "wrong_type"),
        ('"currency_code": "eur"', "unknown_currency"),
        ('"currency_code": "XAU"', "no_minor_unit"),
        ('"country_code": "ZZZ"', "unknown_country"),
        ('"subdivision_code": "es-ga"', "unknown_subdivision"),
        ('"subdivision_code": 5', "wrong_type"),
        ('"status": "LIVE"', "unknown_status"),
        ('"expected_irr": 0.12345678901', "too_precise"),
        ('"expected_tri": -100.5', "out_of_range"),
        ('"project_id": "x"', "read_only"),
        ('"version": 1', "read_only"),
        ('"created_at": null', "read_only"),
        ('"updated_at": "2026-01-01T00:00:00Z"', "read_only"),
        ('"suspended_from": null', "read_only"),
        ('"status_reason": "because"', "read_only"),
        ('"status_effective_on": "2026-01-01"', "read_only"),
    ],
)
def test_an_invalid_field_is_named_with_its_code(member: str, code: str) -> None:
    name = member.split('"')[1]
    assert errors_of(f'{{"project_name": "A", "total_amount": 1, {member}}}') == {
        (f"/{name}", code)
    }


def test_every_error_of_a_body_is_reported_at_once() -> None:
    found = errors_of('{"turbines": "x", "a/b~c": 1, "total_amount": true, "dscr": "1"}')
    assert found == {
        ("/turbines", "wrong_type"),
        ("/a~1b~0c", "unknown_field"),
        ("/total_amount", "wrong_type"),
        ("/dscr", "wrong_type"),
        ("/project_name", "missing"),
    }


def test_the_number_of_errors_is_limited() -> None:
    with pytest.raises(InvalidInput) as exception:
        read(json.dumps({f"unknown_{i}": i for i in range(1_000)}))
    assert len(exception.value.errors) == MAX_ERRORS


def test_a_name_is_trimmed_and_an_alpha_2_country_becomes_alpha_3() -> None:
    attributes = read('{"project_name": "  Ría  ", "total_amount": 1, "country_code": "NA"}')
    assert attributes.core["project_name"] == "Ría"
    assert attributes.core["country_code"] == "NAM"


def test_a_name_and_its_alias_together_are_rejected() -> None:
    assert errors_of('{"expected_tri": 9, "expected_irr": 0.09}', partial=True) == {
        ("/expected_irr", "given_twice")
    }
    assert patch_errors('{"capacity_mw": 1, "power": 1}') == {("/power", "given_twice")}


def test_null_is_nothing_in_a_whole_body_and_removal_in_a_patch() -> None:
    nulls = '"description": null, "capacity_mw": null, "x_a": null, "currency_code": null'
    created = whole(nulls)
    assert "description" not in created.core
    assert "currency_code" not in created.core
    assert "capacity_mw" not in created.governed
    assert created.extensions == {}
    patched = read('{"description": null, "power": null, "x_a": null}', partial=True)
    assert patched.core == {"description": None}
    assert patched.governed == {"capacity_mw": None}
    assert patched.extensions == {"x_a": None}


@pytest.mark.parametrize("name", ["project_name", "total_amount", "currency_code", "status"])
def test_what_a_project_always_has_cannot_be_removed(name: str) -> None:
    assert patch_errors(f'{{"{name}": null}}') == {(f"/{name}", "not_nullable")}


def test_a_patch_needs_nothing_and_takes_no_defaults() -> None:
    attributes = read("{}", partial=True)
    assert attributes == ProjectInput({}, {}, {}, schema_version=1)


def test_defaults_fill_in_and_what_is_required_is_demanded() -> None:
    tokens = parse_object(b'{"project_name": "A", "total_amount": 1}')
    assert FULL.read(tokens).governed == {"green": False}
    with pytest.raises(InvalidInput) as exception:
        NEEDY.read(tokens)
    assert [(e.pointer, e.code) for e in exception.value.errors] == [("/class_code", "missing")]
    assert NEEDY.read({**tokens, "class_code": "B"}).governed == {"class_code": "B", "tier": 3}
    with pytest.raises(InvalidInput, match="cannot be removed"):
        NEEDY.read({"class_code": None}, partial=True)


def test_a_deprecated_field_is_taken_with_a_warning() -> None:
    attributes = whole('"note": "n"')
    assert attributes.governed["note"] == "n"
    assert [(w.pointer, w.code) for w in attributes.warnings] == [("/note", "deprecated")]


def test_extensions_are_kept_digit_for_digit() -> None:
    extensions = whole('"x_a": {"b": [1.50, 1E3, "é", null, true]}').extensions
    assert extensions == {"x_a": msgspec.Raw('{"b":[1.50,1E3,"é",null,true]}'.encode())}


@pytest.mark.parametrize(
    "members",
    [
        ", ".join(f'"x_{i}": 1' for i in range(33)),
        f'"x_big": "{"y" * 5000}"',
        '"x_deep": ' + "[" * 9 + "]" * 9,
        '"x_": 1',
        '"x_é": 1',
        '"x_far": 1e400',
    ],
)
def test_extensions_are_bounded(members: str) -> None:
    with pytest.raises(InvalidInput):
        whole(members)


def test_structures_are_read_into_their_own_types() -> None:
    core = whole(
        """"spv": {"name": "SPV", "country_code": "PT"},
        "sponsors": [{"name": "A", "share": "60.5"}, {"name": "B", "share": 39.5}],
        "milestones": [{"milestone_id": "m", "title": "T", "kind": "CONDITION_PRECEDENT",
                        "due_date": "2030-01-01", "draw_stop": true, "evidence": null}],
        "external_ref": {"source": "erp", "id": "7"}"""
    ).core
    assert core["spv"] == Spv(name="SPV", country_code="PRT")
    assert core["sponsors"] == (
        Sponsor(name="A", share=Decimal("60.5")),
        Sponsor(name="B", share=Decimal("39.5")),
    )
    (milestone,) = msgspec.to_builtins(core["milestones"], builtin_types=(date,))
    assert milestone["kind"] == MilestoneKind.CONDITION_PRECEDENT
    assert milestone["due_date"] == date(2030, 1, 1)
    assert core["external_ref"] == ExternalRef(source="erp", id="7")


@pytest.mark.parametrize(
    ("member", "error"),
    [
        ('"spv": []', ("/spv", "wrong_type")),
        ('"spv": {}', ("/spv/name", "missing")),
        ('"spv": {"name": "A", "country_code": "ZZ"}', ("/spv/country_code", "unknown_country")),
        ('"sponsors": {}', ("/sponsors", "wrong_type")),
        ('"sponsors": [1]', ("/sponsors/0", "wrong_type")),
        ('"sponsors": [{"name": "A", "share": "x"}]', ("/sponsors/0/share", "pattern_mismatch")),
        ('"sponsors": [{"name": "A", "share": 1, "q/": 2}]', ("/sponsors/0/q~1", "unknown_field")),
        (
            '"milestones": [{"milestone_id": "m", "title": "T", "kind": "X"}]',
            ("/milestones/0/kind", "not_in_enum"),
        ),
        ('"external_ref": {"source": "a"}', ("/external_ref/id", "missing")),
        ('"external_ref": {"source": "a", "id": "\\t"}', ("/external_ref/id", "control_character")),
        (f'"sponsors": [{",".join(["{}"] * 101)}]', ("/sponsors", "too_many")),
    ],
)
def test_an_error_within_a_nested_field_has_its_pointer(
    member: str, error: tuple[str, str]
) -> None:
    assert errors_of(f'{{"project_name": "A", "total_amount": 1, {member}}}') == {error}


@pytest.mark.parametrize(
    ("currency", "rounding", "amount"),
    [
        ("EUR", Rounding.HALF_EVEN, "1.00"),
        ("EUR", Rounding.HALF_UP, "1.01"),
        ("EUR", Rounding.CEILING, "1.01"),
        ("JPY", Rounding.HALF_UP, "1"),
        ("TND", Rounding.DOWN, "1.005"),
    ],
)
def test_a_named_rounding_rounds_once_to_the_currency(
    currency: str, rounding: Rounding, amount: str
) -> None:
    body = f'{{"project_name": "A", "total_amount": 1.005, "currency_code": "{currency}"}}'
    assert str(read(body, rounding=rounding).core["total_amount"]) == amount


def test_rounding_does_not_round_twice() -> None:
    # By way of four decimals this would become 0.015 and then 0.02.
    body = '{"project_name": "A", "total_amount": 0.01499999, "capacity_mw": 1.23450001}'
    attributes = read(body, rounding=Rounding.HALF_UP)
    assert attributes.core["total_amount"] == Decimal("0.01")
    assert attributes.governed["capacity_mw"] == Decimal("1.235")


def test_a_patch_that_rounds_an_amount_must_name_its_currency() -> None:
    found = errors_of('{"total_amount": 1.005}', partial=True, rounding=Rounding.HALF_EVEN)
    assert found == {("/currency_code", "missing")}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("status", "ACTIVE", ProjectStatus.OPERATION),
        ("total_amount", "1000000", Decimal(1_000_000)),
        ("total_amount", "-5", Decimal(-5)),
        ("expected_tri", "9.5", Decimal("0.095")),
        ("country_code", "PT", "PRT"),
        ("subdivision_code", "PT-13", "PT-13"),
        ("power", "1.5", Decimal("1.5")),
        ("turbines", "9999", 9999),
        ("green", "true", True),
        ("permit", "anything", "anything"),
        ("version", "3", 3),
        ("created_at", "2026-01-01T01:00:00+01:00", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_text_is_read_by_the_type_of_its_column(name: str, text: str, value: Value) -> None:
    assert FULL.read_value(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("nothing", "1", "unknown_field"),
        ("sponsors", "1", "unknown_field"),
        ("turbines", "many", "wrong_type"),
        ("green", "yes", "wrong_type"),
        ("grid", "EAST", "not_in_enum"),
        ("total_amount", "1,5", "wrong_type"),
        ("status", "X", "unknown_status"),
    ],
)
def test_a_text_that_is_no_value_is_rejected(name: str, text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as exception:
        FULL.read_value(name, text)
    assert [(e.pointer, e.code) for e in exception.value.errors] == [(f"/{name}", code)]


def test_a_cell_becomes_the_token_its_column_expects() -> None:
    tokens = {
        "turbines": FULL.to_token("turbines", "12"),
        "permit": FULL.to_token("permit", "AB-1"),
    }
    tokens |= {
        "green": FULL.to_token("green", "TRUE"),
        "project_name": FULL.to_token("project_name", "7"),
    }
    tokens["total_amount"] = FULL.to_token("total_amount", "1.50")
    attributes = FULL.read(tokens)
    assert attributes.governed == {"turbines": 12, "permit": "AB-1", "green": True}
    assert attributes.core == {"project_name": "7", "total_amount": Decimal("1.50")}


def test_fields_are_everything_one_can_filter_by() -> None:
    names = list(FULL.fields)
    assert names[:4] == ["project_id", "version", "created_at", "updated_at"]
    first_governed = 4 + len(CORE_COLUMNS)
    assert names[4:first_governed] == [column.name for column in CORE_COLUMNS]
    assert names[first_governed:] == [column.name for column in FULL.schema.governed]
    assert FULL.canonical_name("power") == "capacity_mw"
    assert FULL.canonical_name("expected_tri") == "expected_irr"
    assert FULL.canonical_name("sponsors") is None


def test_the_same_fingerprint_is_compiled_once() -> None:
    assert compile_schema(a_schema()) is compile_schema(a_schema())
    assert compile_schema(a_schema()) is not compile_schema(a_schema(version=2))


def test_what_is_compiled_and_forgotten_does_not_pile_up() -> None:
    first = compile_schema(a_schema(version=1_000))
    for version in range(1_001, 1_100):
        compile_schema(a_schema(version=version))
    assert compile_schema(a_schema(version=1_000)) is not first


def test_the_json_schema_of_input_closes_the_object_but_for_extensions() -> None:
    schema = FULL.json_schema(SchemaUse.INPUT)
    assert schema["additionalProperties"] is False
    assert list(schema["patternProperties"]) == ["^x_[A-Za-z0-9_]{1,62}$"]
    assert schema["required"] == ["project_name", "total_amount"]
    properties = schema["properties"]
    assert {"expected_tri", "power", "sponsors"} <= properties.keys()
    assert not {"version", "status_reason", "created_at"} & properties.keys()
    assert properties["turbines"]["maximum"] == 500
    assert properties["grid"]["enum"] == ["NORTH", "SOUTH", None]
    assert properties["note"]["deprecated"] is True


def test_the_json_schema_of_output_shows_what_the_service_adds() -> None:
    schema = FULL.json_schema(SchemaUse.OUTPUT)
    assert "additionalProperties" not in schema
    assert list(schema["properties"])[:3] == ["project_id", "version", "project_name"]
    assert "expected_tri" not in schema["properties"]
    assert schema["properties"]["total_amount"]["type"] == ["string", "null"]


def as_json(value: Any) -> Any:
    """A typed value as a JSON token's text, as a careful client would send it."""
    if isinstance(value, Decimal):
        return msgspec.Raw(format(value, "f").encode())
    return value


@given(st.data())
def test_every_value_of_a_type_survives_its_own_json(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    wanted = {column.name: data.draw(values(column.type)) for column in schema.governed}
    body = {"project_name": "A", "total_amount": "1", **{k: as_json(v) for k, v in wanted.items()}}
    found = compile_schema(schema).read(parse_object(msgspec.json.encode(body)))
    assert found.governed == wanted


@given(
    st.dictionaries(
        st.sampled_from([*FULL.fields, "power", "expected_tri", "spv", "sponsors", "x_a", "zzz"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=8), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    ),
    st.booleans(),
)
def test_no_body_causes_any_other_error_than_invalid_input(
    body: dict[str, Any],
    partial: bool,  # noqa: FBT001  # drawn, not switched
) -> None:
    with contextlib.suppress(MalformedBody, InvalidInput):
        attributes = FULL.read(parse_object(json.dumps(body).encode()), partial=partial)
        assert set(attributes.governed) <= {column.name for column in FULL.schema.governed}


def test_what_is_read_can_be_proposed_and_encoded() -> None:
    attributes = whole('"capacity_mw": 1.500, "x_a": 1.0')
    project = propose_project(
        project_id=PROJECT_ID,
        fields=attributes.core,
        attributes=attributes.governed,
        extensions=attributes.extensions,
    )
    assert b'"capacity_mw":1.5' in encode_state("project", project, FULL.schema)


@pytest.mark.parametrize("token", ['"1234567890123456.10"', "1234567890123456.10"])
def test_a_governed_amount_is_a_decimal_string_on_the_wire(token: str) -> None:
    grant = Column(name="grant_amount", type=ColumnType(TypeName.DECIMAL, precision=22, scale=4))
    validator = compile_schema(a_schema((grant,)))
    body = f'{{"project_name":"A","total_amount":1,"grant_amount":{token}}}'.encode()
    read = validator.read(parse_object(body))
    assert read.governed["grant_amount"] == Decimal("1234567890123456.10")
    project = propose_project(
        project_id=PROJECT_ID,
        fields=read.core,
        attributes=read.governed,
        extensions=read.extensions,
    )
    document = encode_state("project", project, validator.schema)
    assert b'"grant_amount":"1234567890123456.1' in document
    assert decode_state("project", document, validator.schema) == project
    served = validator.json_schema(SchemaUse.OUTPUT)["properties"]["grant_amount"]
    assert served["type"] == ["string", "null"]


def test_a_null_in_a_nested_field_counts_as_absent() -> None:
    attributes = whole(
        """"spv": {"name": "SPV", "registration_number": null, "country_code": null},
        "sponsors": [{"name": "A", "share": 100}],
        "milestones": [{"milestone_id": "m", "title": "T", "kind": null, "due_date": null,
                        "met_on": null, "waived_on": null, "draw_stop": null, "evidence": null}]"""
    )
    assert attributes.core["spv"] == Spv(name="SPV")
    assert attributes.core["milestones"] == (Milestone(milestone_id="m", title="T"),)
    for body, pointer in (
        ('"spv": {"name": null}', "/spv/name"),
        ('"external_ref": {"source": null, "id": "1"}', "/external_ref/source"),
        ('"sponsors": [{"name": null, "share": 100}]', "/sponsors/0/name"),
    ):
        members = f'{{"project_name": "A", "total_amount": 1, {body}}}'
        assert errors_of(members) == {(pointer, "missing")}


@pytest.mark.parametrize(
    ("column", "conforming", "other"),
    [
        (Column(name="a", type=ColumnType(TypeName.STRING), enum=("A",)), "A", "B"),
        (Column(name="a", type=ColumnType(TypeName.STRING, max_length=2)), "AB", "ABC"),
        (Column(name="a", type=ColumnType(TypeName.STRING), pattern="[A-Z]"), "A", "a"),
        (Column(name="a", type=ColumnType(TypeName.INTEGER), minimum=1), 1, 0),
        (Column(name="a", type=ColumnType(TypeName.INTEGER), maximum=9), 9, 10),
    ],
)
def test_stored_values_conform_to_a_column_or_not(
    column: Column, conforming: Value, other: Value
) -> None:
    conforms = column_predicate(column)
    assert conforms(conforming) is True
    assert conforms(other) is False


def test_reading_ends_with_the_last_error_that_is_reported() -> None:
    class CountedBody(dict[str, Any]):
        read_members = 0

        def items(self) -> Any:
            for item in super().items():
                self.read_members += 1
                yield item

    body = CountedBody({f"unknown_{number}": "0" for number in range(30_000)})
    with pytest.raises(InvalidInput) as caught:
        FULL.read(body)
    assert len(caught.value.errors) == MAX_ERRORS
    assert body.read_members == MAX_ERRORS
