"""From raw rows to projects: conversions from exact text, several reasons, warnings, keys."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.imports.import_state import KeySet
from spawn.domain.imports.mapping import read_mapping
from spawn.domain.imports.row_reader import Draft, RowReader
from spawn.domain.json_tokens import Token, read_object
from spawn.domain.projects.project import ExternalRef, Project
from spawn.domain.schemas.evolution.column_mapping import succeed
from spawn.domain.schemas.model import Column, ColumnType, Schema, TypeName
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
    mapping = read_mapping("m", read_object(json.dumps(document).encode()))
    return RowReader(compile_schema(SCHEMA), mapping)


def project_of(draft: Draft) -> Project:
    assert draft.project is not None, draft.reasons
    return draft.project


def draft(read: RowReader, /, **cells: Token) -> Draft:
    return read.read({"name": "Dam", "cost": "1", **cells}, PROJECT_ID)


def codes(found: Draft) -> set[tuple[str, str]]:
    return {(reason.field, reason.code) for reason in found.reasons}


def test_a_row_becomes_a_project() -> None:
    project = project_of(draft(reader(), name="Rio Verde", cost="104000000.50"))
    assert project.project_id == PROJECT_ID
    assert project.project_name == "Rio Verde"
    assert project.total_amount == Decimal("104000000.50")
    assert project.currency_code == "USD"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("314545359.129252", "314545359.13"),
        ("1.005", "1.00"),  # half to even; the nearest float lies below
        ("1.015", "1.02"),
        ("2.675", "2.68"),  # the nearest float would make it 2.67
        ("0.1250000001", "0.13"),
        ("3e8", "300000000.00"),
    ],
)
def test_an_amount_is_rounded_half_to_even_from_its_exact_text(text: str, kept: str) -> None:
    read = reader(NAME, {**COST, "rounding": "half_even"})
    assert str(project_of(draft(read, cost=text)).total_amount) == kept


def test_an_amount_is_rounded_to_the_scale_of_the_currency_of_its_row() -> None:
    read = reader(
        {**COST, "rounding": "half_even"}, NAME, {"attribute": "currency_code", "column": "ccy"}
    )
    for code, kept in (("JPY", "1235"), ("KWD", "1234.568"), ("EUR", "1234.57")):
        project = project_of(draft(read, cost="1234.5678", ccy=code))
        assert str(project.total_amount) == kept


def test_an_over_precise_amount_without_a_named_rounding_is_set_aside() -> None:
    assert codes(draft(reader(), cost="1.005")) == {("cost", "too_precise")}


def test_a_unit_factor_multiplies_exactly() -> None:
    read = reader(NAME, {**COST, "unit_factor": "1000000"})
    assert str(project_of(draft(read, cost="104.123456")).total_amount) == "104123456.00"
    small = reader(
        NAME,
        COST,
        {"attribute": "expected_irr", "column": "irr", "unit_factor": "0.01"},
    )
    assert project_of(draft(small, irr="9.5")).expected_irr == Decimal("0.095")


def test_a_governed_decimal_is_rounded_to_its_own_scale() -> None:
    read = reader(NAME, COST, {"attribute": "yield_mwh", "column": "mwh", "rounding": "half_even"})
    assert project_of(draft(read, mwh="1.23450")).attributes["yield_mwh"] == Decimal("1.234")


def test_typed_attributes_are_read_from_text() -> None:
    read = reader(
        NAME,
        COST,
        {"attribute": "green", "column": "green"},
        {"attribute": "lanes", "column": "lanes"},
        {"attribute": "maturity_years", "column": "tenor"},
    )
    project = project_of(draft(read, green="TRUE", lanes="6", tenor="18"))
    assert dict(project.attributes) == {"green": True, "lanes": 6}
    assert project.maturity_years == 18


def test_null_markers_make_a_value_absent() -> None:
    read = reader(NAME, COST, {"attribute": "country_code", "column": "cc"}, null=["", "NA"])
    assert project_of(draft(read, cc="NA")).country_code is None
    assert project_of(draft(read, cc="")).country_code is None
    assert codes(draft(read, cost="NA")) == {("cost", "missing")}


def test_a_column_may_have_null_markers_of_its_own() -> None:
    # NA is Namibia to a column of alpha-2 codes that writes "-" for nothing.
    column = {"attribute": "country_code", "column": "cc", "null": ["-"]}
    read = reader(NAME, COST, column, null=["", "NA"])
    assert project_of(draft(read, cc="NA")).country_code == "NAM"
    assert project_of(draft(read, cc="-")).country_code is None


def test_white_space_is_collapsed_where_asked_and_kept_elsewhere() -> None:
    read = reader(
        {**NAME, "whitespace": "collapse"},
        COST,
        {"attribute": "x_note", "column": "note"},
    )
    project = project_of(draft(read, name=" Rio\r\n\r\r Verde\t2 ", note=" a  b "))
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
    project = project_of(draft(read, close="28/02/2019", cod="2020", end="2040"))
    assert str(project.financial_close_date) == "2019-02-28"
    assert (str(project.cod_date), str(project.end_date)) == ("2020-01-01", "2040-12-31")
    wrong = draft(read, close="2019-02-28", cod="20", end="2040")
    assert codes(wrong) == {("close", "not_a_date"), ("cod", "not_a_date")}


def test_texts_are_translated_by_the_enum_and_others_refused() -> None:
    read = reader(NAME, COST, {"attribute": "sector", "column": "kind", "enum": {"PV": "Solar"}})
    assert project_of(draft(read, kind="PV")).sector == "Solar"
    assert codes(draft(read, kind="Wind")) == {("kind", "unmapped_value")}


def test_a_row_carries_every_reason_against_it() -> None:
    read = reader(
        NAME,
        COST,
        {"attribute": "lanes", "column": "lanes"},
        {"attribute": "country_code", "column": "cc"},
        key={"source": "desk", "column": "id"},
    )
    found = draft(read, name="", cost="abc", lanes="six", cc="ZZZ")
    assert {field for field, _ in codes(found)} == {"name", "cost", "lanes", "cc", "id"}
    assert ("id", "key_missing") in codes(found)


def test_the_key_becomes_the_external_reference() -> None:
    read = reader(key={"source": "desk", "column": "id"})
    found = draft(read, id="P1")
    assert project_of(found).external_ref == ExternalRef(source="desk", id="P1")
    assert found.key == draft(read, id="P1", cost="broken").key


SUMS = {"sum_of": ["a", "b"], "equals": "cost", "tolerance": "0.01"}


@pytest.mark.parametrize(
    ("cost", "a", "b", "differs"),
    [
        ("100", "60", "40", False),
        ("100", "60", "40.99", False),
        ("100", "60", "41", True),  # the tolerance itself is too much
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
    warned = draft(reader(checks=[{**SUMS, "on_failure": "warn"}]), cost=cost, a=a, b=b)
    assert project_of(warned).total_amount == 100
    assert bool(warned.warnings) is differs
    refused = draft(reader(checks=[{**SUMS, "on_failure": "quarantine"}]), cost=cost, a=a, b=b)
    assert (refused.project is None) is differs


def test_without_a_tolerance_any_difference_fails_a_check() -> None:
    read = reader(checks=[{"sum_of": ["a"], "equals": "cost"}])
    assert draft(read, cost="100.00", a="100").project is not None
    assert draft(read, cost="100.00", a="100.01").project is None


def test_json_values_are_read_like_cells_and_structure_passes_through() -> None:
    read = reader(NAME, COST, {"attribute": "sponsors", "column": "owners"})
    row = read_object(b'{"name": "A", "cost": 12.50, "owners": [{"name": "B", "share": "100"}]}')
    project = project_of(read.read(row, PROJECT_ID))
    assert str(project.total_amount) == "12.50"
    assert project.sponsors[0].name == "B"
    nested = read_object(b'{"name": {"first": "A"}, "cost": [1]}')
    assert codes(read.read(nested, PROJECT_ID)) >= {("name", "wrong_type"), ("cost", "wrong_type")}


def test_without_a_mapping_a_row_is_a_project_as_it_would_be_posted() -> None:
    read = RowReader(compile_schema(SCHEMA), None)
    row = read_object(
        b'{"project_name": "A", "total_amount": "1.00", "expected_tri": 9.5,'
        b' "external_ref": {"source": "s", "id": "1"}}'
    )
    found = read.read(row, PROJECT_ID)
    assert project_of(found).expected_irr == Decimal("0.095")
    assert found.key is not None
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
def test_a_mapping_that_the_schema_does_not_fit_is_refused(
    column: dict[str, Any], code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        reader(NAME, column)
    assert [error.code for error in refused.value.errors] == [code]
    assert refused.value.errors[0].pointer.startswith("/columns/1")


@given(st.decimals(min_value=0, max_value=10**12, places=12).filter(Decimal.is_finite))
def test_rounding_never_moves_an_amount_by_more_than_half_a_cent(amount: Decimal) -> None:
    read = reader(NAME, {**COST, "rounding": "half_even"})
    kept = project_of(draft(read, cost=format(amount, "f"))).total_amount
    assert abs(kept - amount) <= Decimal("0.005")
    assert kept.as_tuple().exponent == -2


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_in_any_cell_makes_a_project_or_reasons(name: str, cost: str) -> None:
    for rounding in ({}, {"rounding": "half_even", "unit_factor": "1e10"}):
        found = draft(reader(NAME, {**COST, **rounding}), name=name, cost=cost)
        assert (found.project is None) is bool(found.reasons)


@given(st.lists(st.text(max_size=8), max_size=200))
def test_a_key_set_holds_what_was_added(keys: list[str]) -> None:
    held = KeySet()
    for key in keys:
        held.add(key)
    assert len(held) == len(set(keys))
    assert all(key in held for key in keys)
    assert "never added, being longer than eight" not in held


def test_a_key_set_grows_with_its_keys() -> None:
    held = KeySet()
    for number in range(5_000):
        held.add(f"key {number}")
    assert len(held) == 5_000
    assert all(f"key {number}" in held for number in range(5_000))
    assert not any(f"other {number}" in held for number in range(5_000))


def test_a_mapped_column_that_went_is_ignored_until_its_sunset() -> None:
    capacity = Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=10, scale=3),
        deprecated=True,
        sunset=date(2030, 6, 15),
    )
    gone = succeed(a_schema((capacity,)), a_schema((), version=2))
    kilowatts = {"attribute": "capacity_mw", "column": "kw", "unit_factor": "0.001"}
    document = {"columns": [NAME, COST, kilowatts]}
    mapping = read_mapping("m", read_object(json.dumps(document).encode()))
    row = {"name": "Dam", "cost": "1", "kw": "500"}
    for day, accepted in ((date(2030, 6, 14), True), (date(2030, 6, 15), False)):
        made = RowReader(compile_schema(gone), mapping, day).read(row, PROJECT_ID)
        told = (*made.warnings, *made.reasons)
        assert [(reason.field, reason.code) for reason in told] == [("kw", "retired")]
        assert (made.project is not None) is accepted
