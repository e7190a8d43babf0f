"""The row reader: conversions from exact text, reasons, warnings and keys."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.imports.mapping import read_mapping
from spawn.domain.imports.row_reader import RowReader, RowResult
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.projects.project import ExternalRef, Project
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.evolution.column_mapping import carry_retired_columns
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import a_schema

pytestmark = pytest.mark.core

PROJECT_ID = "01890000-0000-7000-8000-000000000001"
SCHEMA = Schema(
    id="project_schema",
    version=1,
    name="Projects",
    fingerprint="0" * 64,
    columns=(),
    governed=(
        Column(name="green", type=ColumnType(TypeName.BOOLEAN)),
        Column(name="lanes", type=ColumnType(TypeName.INTEGER)),
        Column(name="yield_mwh", type=ColumnType(TypeName.DECIMAL, precision=18, scale=3)),
    ),
)
NAME = {"attribute": "project_name", "column": "name"}
COST = {"attribute": "total_amount", "column": "cost"}


def reader(*columns: dict[str, Any], **more: Any) -> RowReader:
    document = {"columns": columns or (NAME, COST), **more}
    mapping = read_mapping("m", parse_object(json.dumps(document).encode()))
    return RowReader(compile_schema(SCHEMA), mapping)


def project_of(row: RowResult) -> Project:
    assert row.project is not None, row.reasons
    return row.project


def read_row(read: RowReader, /, **cells: Token) -> RowResult:
    return read.read({"name": "Dam", "cost": "1", **cells}, PROJECT_ID)


def codes(row: RowResult) -> set[tuple[str, str]]:
    return {(reason.field, reason.code) for reason in row.reasons}


def test_a_row_becomes_a_project() -> None:
    project = project_of(read_row(reader(), name="Rio Verde", cost="104000000.50"))
    assert project.project_id == PROJECT_ID
    assert project.project_name == "Rio Verde"
    assert project.total_amount == Decimal("104000000.50")
    assert project.currency_code == "USD"


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        ("314545359.129252", "314545359.13"),
        ("1.005", "1.00"),  # half to even; the nearest float lies below
        ("1.015", "1.02"),
        ("2.675", "2.68"),  # the nearest float would make it 2.67
        ("0.1250000001", "0.13"),
        ("3e8", "300000000.00"),
    ],
)
def test_an_amount_is_rounded_half_to_even_from_its_exact_text(text: str, rounded: str) -> None:
    read = reader(NAME, {**COST, "rounding": "half_even"})
    assert str(project_of(read_row(read, cost=text)).total_amount) == rounded


def test_an_amount_is_rounded_to_the_scale_of_the_currency_of_its_row() -> None:
    read = reader(
        {**COST, "rounding": "half_even"}, NAME, {"attribute": "currency_code", "column": "ccy"}
    )
    for code, rounded in (("JPY", "1235"), ("KWD", "1234.568"), ("EUR", "1234.57")):
        project = project_of(read_row(read, cost="1234.5678", ccy=code))
        assert str(project.total_amount) == rounded


def test_an_over_precise_amount_without_a_rounding_is_rejected() -> None:
    assert codes(read_row(reader(), cost="1.005")) == {("cost", "too_precise")}


def test_a_unit_factor_multiplies_exactly() -> None:
    read = reader(NAME, {**COST, "unit_factor": "1000000"})
    assert str(project_of(read_row(read, cost="104.123456")).total_amount) == "104123456.00"
    small = reader(
        NAME,
        COST,
        {"attribute": "expected_irr", "column": "irr", "unit_factor": "0.01"},
    )
    assert project_of(read_row(small, irr="9.5")).expected_irr == Decimal("0.095")


def test_a_governed_decimal_is_rounded_to_its_own_scale() -> None:
    read = reader(NAME, COST, {"attribute": "yield_mwh", "column": "mwh", "rounding": "half_even"})
    assert project_of(read_row(read, mwh="1.23450")).attributes["yield_mwh"] == Decimal("1.234")


def test_typed_attributes_are_read_from_text() -> None:
    read = reader(
        NAME,
        COST,
        {"attribute": "green", "column": "green"},
        {"attribute": "lanes", "column": "lanes"},
        {"attribute": "maturity_years", "column": "tenor"},
    )
    project = project_of(read_row(read, green="TRUE", lanes="6", tenor="18"))
    assert dict(project.attributes) == {"green": True, "lanes": 6}
    assert project.maturity_years == 18


def test_null_markers_make_a_value_absent() -> None:
    read = reader(NAME, COST, {"attribute": "country_code", "column": "cc"}, null=["", "NA"])
    assert project_of(read_row(read, cc="NA")).country_code is None
    assert project_of(read_row(read, cc="")).country_code is None
    assert codes(read_row(read, cost="NA")) == {("cost", "missing")}


def test_a_column_may_have_null_markers_of_its_own() -> None:
    # NA is Namibia in a column of alpha-2 codes with "-" for absent values.
    column = {"attribute": "country_code", "column": "cc", "null": ["-"]}
    read = reader(NAME, COST, column, null=["", "NA"])
    assert project_of(read_row(read, cc="NA")).country_code == "NAM"
    assert project_of(read_row(read, cc="-")).country_code is None


def test_white_space_is_collapsed_only_on_request() -> None:
    read = reader(
        {**NAME, "whitespace": "collapse"},
        COST,
        {"attribute": "x_note", "column": "note"},
    )
    project = project_of(read_row(read, name=" Rio\r\n\r\r Verde\t2 ", note=" a  b "))
    assert project.project_name == "Rio Verde 2"
    assert bytes(project.extensions["x_note"]) == b'" a  b "'


def test_dates_are_read_by_their_format_and_years_by_their_ends() -> None:
    read = reader(
        NAME,
        COST,
        {"attribute": "financial_close_date", "column": "close", "date_format": "%d/%m/%Y"},
        {"attribute": "cod_date", "column": "cod", "date_format": "year"},
        {"attribute": "end_date", "column": "end", "date_format": "year_end"},
    )
    project = project_of(read_row(read, close="28/02/2019", cod="2020", end="2040"))
    assert str(project.financial_close_date) == "2019-02-28"
    assert (str(project.cod_date), str(project.end_date)) == ("2020-01-01", "2040-12-31")
    wrong = read_row(read, close="2019-02-28", cod="20", end="2040")
    assert codes(wrong) == {("close", "not_a_date"), ("cod", "not_a_date")}


def test_texts_are_translated_by_the_enum_and_others_rejected() -> None:
    read = reader(NAME, COST, {"attribute": "sector", "column": "kind", "enum": {"PV": "Solar"}})
    assert project_of(read_row(read, kind="PV")).sector == "Solar"
    assert codes(read_row(read, kind="Wind")) == {("kind", "unmapped_value")}


def test_a_row_has_every_reason_against_it() -> None:
    read = reader(
        NAME,
        COST,
        {"attribute": "lanes", "column": "lanes"},
        {"attribute": "country_code", "column": "cc"},
        key={"source": "desk", "column": "id"},
    )
    row = read_row(read, name="", cost="abc", lanes="six", cc="ZZZ")
    assert {field for field, _ in codes(row)} == {"name", "cost", "lanes", "cc", "id"}
    assert ("id", "key_missing") in codes(row)


def test_the_key_becomes_the_external_reference() -> None:
    read = reader(key={"source": "desk", "column": "id"})
    row = read_row(read, id="P1")
    assert project_of(row).external_ref == ExternalRef(source="desk", id="P1")
    assert row.key == read_row(read, id="P1", cost="broken").key


SUMS = {"sum_of": ["a", "b"], "equals": "cost", "tolerance": "0.01"}


@pytest.mark.parametrize(
    ("cost", "a", "b", "differs"),
    [
        ("100", "60", "40", False),
        ("100", "60", "40.99", False),
        ("100", "60", "41", True),  # a gap equal to the tolerance fails
        ("100", "59", "", True),
        ("100", "", "", False),  # nothing to add up
        ("100", "60", "x", True),
    ],
)
def test_a_check_compares_a_sum_within_its_tolerance(
    cost: str,
    a: str,
    b: str,
    differs: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    with_warning = read_row(reader(checks=[{**SUMS, "on_failure": "warn"}]), cost=cost, a=a, b=b)
    assert project_of(with_warning).total_amount == 100
    assert bool(with_warning.warnings) is differs
    quarantined = read_row(
        reader(checks=[{**SUMS, "on_failure": "quarantine"}]), cost=cost, a=a, b=b
    )
    assert (quarantined.project is None) is differs


def test_without_a_tolerance_any_difference_fails_a_check() -> None:
    read = reader(checks=[{"sum_of": ["a"], "equals": "cost"}])
    assert read_row(read, cost="100.00", a="100").project is not None
    assert read_row(read, cost="100.00", a="100.01").project is None


def test_json_values_are_read_like_cells_and_structures_pass_through() -> None:
    read = reader(NAME, COST, {"attribute": "sponsors", "column": "owners"})
    source = parse_object(
        b'{"name": "A", "cost": 12.50, "owners": [{"name": "B", "share": "100"}]}'
    )
    project = project_of(read.read(source, PROJECT_ID))
    assert str(project.total_amount) == "12.50"
    assert project.sponsors[0].name == "B"
    nested = parse_object(b'{"name": {"first": "A"}, "cost": [1]}')
    assert codes(read.read(nested, PROJECT_ID)) >= {("name", "wrong_type"), ("cost", "wrong_type")}


def test_without_a_mapping_a_row_is_read_like_a_posted_project() -> None:
    read = RowReader(compile_schema(SCHEMA), None)
    source = parse_object(
        b'{"project_name": "A", "total_amount": "1.00", "expected_tri": 9.5,'
        b' "external_ref": {"source": "s", "id": "1"}}'
    )
    row = read.read(source, PROJECT_ID)
    assert project_of(row).expected_irr == Decimal("0.095")
    assert row.key is not None
    assert codes(read.read({"project_name": "A", "colour": "red"}, PROJECT_ID)) == {
        ("colour", "unknown_field"),
        ("total_amount", "missing"),
    }


@pytest.mark.parametrize(
    ("column", "code"),
    [
        ({"attribute": "colour", "column": "a"}, "unknown_attribute"),
        ({"attribute": "version", "column": "a"}, "read_only"),
        ({"attribute": "status_reason", "column": "a"}, "read_only"),
        ({"attribute": "sector", "column": "a", "rounding": "half_even"}, "not_convertible"),
        ({"attribute": "sector", "column": "a", "unit_factor": "2"}, "not_convertible"),
        ({"attribute": "dscr", "column": "a", "date_format": "year"}, "not_convertible"),
    ],
)
def test_a_mapping_that_does_not_match_the_schema_is_rejected(
    column: dict[str, Any], code: str
) -> None:
    with pytest.raises(InvalidInput) as invalid:
        reader(NAME, column)
    assert [error.code for error in invalid.value.errors] == [code]
    assert invalid.value.errors[0].pointer.startswith("/columns/1")


@given(st.decimals(min_value=0, max_value=10**12, places=12).filter(Decimal.is_finite))
def test_rounding_never_moves_an_amount_by_more_than_half_a_cent(amount: Decimal) -> None:
    read = reader(NAME, {**COST, "rounding": "half_even"})
    rounded = project_of(read_row(read, cost=format(amount, "f"))).total_amount
    assert abs(rounded - amount) <= Decimal("0.005")
    assert rounded.as_tuple().exponent == -2


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_in_any_cell_gives_a_project_or_reasons(name: str, cost: str) -> None:
    for rounding in ({}, {"rounding": "half_even", "unit_factor": "1e10"}):
        row = read_row(reader(NAME, {**COST, **rounding}), name=name, cost=cost)
        assert (row.project is None) is bool(row.reasons)


def test_a_mapped_retired_column_is_ignored_until_its_sunset() -> None:
    capacity = Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=10, scale=3),
        deprecated=True,
        sunset=date(2030, 6, 15),
    )
    schema = carry_retired_columns(a_schema((capacity,)), a_schema((), version=2))
    kilowatts = {"attribute": "capacity_mw", "column": "kw", "unit_factor": "0.001"}
    document = {"columns": [NAME, COST, kilowatts]}
    mapping = read_mapping("m", parse_object(json.dumps(document).encode()))
    row = {"name": "Dam", "cost": "1", "kw": "500"}
    for day, accepted in ((date(2030, 6, 14), True), (date(2030, 6, 15), False)):
        result = RowReader(compile_schema(schema), mapping, day).read(row, PROJECT_ID)
        remarks = (*result.warnings, *result.reasons)
        assert [(reason.field, reason.code) for reason in remarks] == [("kw", "retired")]
        assert (result.project is not None) is accepted
