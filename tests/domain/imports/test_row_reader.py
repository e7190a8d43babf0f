"""The row reader: conversions from exact text, reasons, warnings and keys."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.imports.cells.nested_path import MAX_VALUES
from spawn.domain.imports.export_reader import RowResult
from spawn.domain.imports.import_state import RowReason
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.imports.row_selector import join_parts
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
CURRENCY = {"attribute": "currency_code", "column": "currency"}


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
    project = project_of(read_row(read, green="TRUE", lanes="6", tenor="18.5"))
    assert dict(project.attributes) == {"green": True, "lanes": 6}
    assert project.maturity_years == Decimal("18.5")
    assert codes(read_row(read, tenor="18.125")) >= {("tenor", "too_precise")}


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


@pytest.mark.parametrize(
    ("column", "member", "code"),
    [
        ({"attribute": "currency_code", "constant": "euro"}, "constant", "unknown_currency"),
        ({"attribute": "country_code", "constant": "Atlantis"}, "constant", "unknown_country"),
        ({"attribute": "lanes", "constant": "two"}, "constant", "not_a_number"),
        ({"attribute": "expected_irr", "constant": "-2"}, "constant", "out_of_range"),
        (
            {"attribute": "status", "column": "s", "enum": {"on": "OPERATION", "a/b": "OFF"}},
            "enum/a~1b",
            "unknown_status",
        ),
        (
            {"attribute": "cod_date", "column": "y", "enum": {"?": "-"}, "date_format": "year"},
            "enum/?",
            "not_a_date",
        ),
    ],
)
def test_a_value_that_no_attribute_can_have_is_rejected_with_its_mapping(
    column: dict[str, Any], member: str, code: str
) -> None:
    read = reader(NAME, COST, column)
    with pytest.raises(InvalidInput) as invalid:
        read.check_stated_values()
    (error,) = invalid.value.errors
    assert (error.pointer, error.code) == (f"/columns/2/{member}", code)


def test_a_bad_entry_of_a_stored_mapping_quarantines_the_rows_that_use_it() -> None:
    status = {"attribute": "status", "column": "s", "enum": {"on": "OPERATION", "off": "OFF"}}
    read = reader(NAME, COST, status)
    assert project_of(read_row(read, s="on")).status == "OPERATION"
    assert codes(read_row(read, s="off")) == {("s", "unknown_status")}


def test_codes_are_read_in_any_case() -> None:
    country = {"attribute": "country_code", "column": "country"}
    region = {"attribute": "subdivision_code", "column": "region"}
    read = reader(NAME, COST, CURRENCY, country, region)
    project = project_of(read_row(read, currency=" eur ", country="de", region="de-by"))
    assert (str(project.currency_code), project.country_code) == ("EUR", "DEU")
    assert project.subdivision_code == "DE-BY"
    assert project_of(read_row(read, country="NA")).country_code == "NAM"
    assert codes(read_row(read, country="na")) == {("country", "unknown_country")}
    (reason,) = read_row(read, currency="Euro").reasons
    assert reason.detail == "'Euro' is not an ISO 4217 currency code"
    constant = reader(NAME, COST, {"attribute": "currency_code", "constant": "eur"})
    assert project_of(read_row(constant)).currency_code == "EUR"


def test_a_reason_names_the_column_of_the_share_or_the_addend() -> None:
    pairs = [{"name": f"owner {n}", "share": f"share {n}"} for n in (1, 2)]
    read = reader(NAME, COST, {"attribute": "sponsors", "columns": pairs})
    row: dict[str, Any] = {"owner 1": "", "share 1": "", "owner 2": "Beta"}
    assert codes(read_row(read, **row, **{"share 2": "60%"})) == {("share 2", "not_a_number")}
    (reason,) = read_row(read, **row, **{"share 2": "110"}).reasons
    assert (reason.field, reason.code) == ("share 2", "out_of_range")
    assert reason.detail.endswith("; the value is '110'")
    alone = read_row(read, **{"owner 1": "Alfa", "share 2": "5"})
    assert codes(alone) == {("share 2", "share_without_name")}
    amount = {"attribute": "total_amount", "columns": ["a", "b"]}
    for combine in ("sum", "first"):
        added = reader(NAME, {**amount, "combine": combine})
        assert codes(read_row(added, a="", b="x")) == {("b", "not_a_number")}


@given(st.decimals(min_value=0, max_value=10**12, places=12).filter(Decimal.is_finite))
def test_rounding_never_moves_an_amount_by_more_than_half_a_cent(amount: Decimal) -> None:
    read = reader(NAME, {**COST, "rounding": "half_even"})
    rounded = project_of(read_row(read, cost=format(amount, "f"))).total_amount
    assert rounded is not None
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


def test_marks_of_numbers_are_those_of_the_mapping_or_of_a_column() -> None:
    read = reader(
        NAME,
        COST,
        {"attribute": "lanes", "column": "lanes"},
        {"attribute": "yield_mwh", "column": "mwh", "decimal": ".", "thousands": ","},
        decimal=",",
        thousands=".",
    )
    project = project_of(read_row(read, cost="1.234,50", lanes="1.990", mwh="1,234.5 "))
    assert str(project.total_amount) == "1234.50"
    assert project.attributes == {"lanes": 1990, "yield_mwh": Decimal("1234.5")}
    assert codes(read_row(read, cost="1,234.50")) == {("cost", "not_a_number")}


def test_sums_are_compared_under_the_marks_of_the_mapping() -> None:
    check = {"sum_of": ["a", "b"], "equals": "cost"}
    read = reader(NAME, COST, decimal=",", checks=[check])
    assert read_row(read, cost="3,5", a="1,25", b="2,25").project is not None
    assert codes(read_row(read, cost="3,5", a="1,25", b="2,5")) == {("cost", "sum_differs")}


def test_a_text_without_an_entry_is_treated_as_the_mapping_says() -> None:
    column = {"attribute": "country_code", "column": "cc", "enum": {"UK": "GB"}}
    keep = reader(NAME, COST, {**column, "otherwise": "keep"})
    assert [project_of(read_row(keep, cc=cc)).country_code for cc in ("UK", "DE")] == ["GBR", "DEU"]
    null = reader(NAME, COST, {**column, "otherwise": "null"})
    assert project_of(read_row(null, cc="DE")).country_code is None
    quarantine = reader(NAME, COST, {**column, "otherwise": "quarantine"})
    assert codes(read_row(quarantine, cc="DE")) == {("cc", "unmapped_value")}


def test_whole_numbers_may_have_a_point_and_zeros() -> None:
    read = reader(
        NAME,
        COST,
        {"attribute": "maturity_years", "column": "tenor"},
        {"attribute": "cod_date", "column": "cod", "date_format": "year"},
        {"attribute": "x_units", "column": "units", "as": "integer"},
    )
    project = project_of(read_row(read, tenor="18.0", cod="1990.0", units="3.0"))
    assert (str(project.maturity_years), str(project.cod_date)) == ("18", "1990-01-01")
    assert bytes(project.extensions["x_units"]) == b"3"
    assert codes(read_row(read, units="3.5")) == {("units", "not_an_integer")}


def test_extensions_have_the_type_that_the_mapping_names() -> None:
    read = reader(
        NAME,
        COST,
        {"attribute": "x_n", "column": "n", "as": "number"},
        {"attribute": "x_b", "column": "b", "as": "boolean"},
        {"attribute": "x_d", "column": "d", "as": "date", "date_formats": ["%d/%m/%Y"]},
        {"attribute": "x_t", "column": "n", "as": "text"},
        thousands=",",
    )
    extensions = project_of(read_row(read, n="1,234.50", b="TRUE", d="01/02/2024")).extensions
    assert {name: bytes(value) for name, value in extensions.items()} == {
        "x_n": b"1234.50",
        "x_b": b"true",
        "x_d": b'"2024-02-01"',
        "x_t": b'"1,234.50"',
    }


def test_countries_are_read_by_name_and_user_assigned_code() -> None:
    read = reader(NAME, COST, {"attribute": "country_code", "column": "cc"})
    names = ("Kosovo", "XKX", "España", "Congo, Dem. Rep.", "gbr", "na")
    countries = [read_row(read, cc=name).project for name in names]
    assert [p and p.country_code for p in countries] == ["XKX", "XKX", "ESP", "COD", "GBR", None]
    (reason,) = read_row(read, cc="Atlantis").reasons
    assert reason.code == "unknown_country"
    assert "'Atlantis'" in reason.detail


def test_keys_and_names_are_compared_and_stored_in_form_c() -> None:
    read = reader(key={"source": "desk", "column": "id"})
    composed, decomposed = (read_row(read, id=f"S{a}O", name=f"S{a}o") for a in ("Ã", "A\u0303"))
    assert composed.key == decomposed.key
    assert project_of(decomposed).project_name == "SÃo"
    assert project_of(decomposed).external_ref == ExternalRef(source="desk", id="SÃO")
    plain = RowReader(compile_schema(SCHEMA), None)
    rows: list[dict[str, Token]] = [
        {"external_ref": {"source": "s", "id": f"{a} "}} for a in ("Ã", "A\u0303")
    ]
    assert plain.read_key(rows[0]) == plain.read_key(rows[1])


@pytest.mark.parametrize(
    ("char", "code", "name"),
    [
        ("\u200b", "invisible_character", "U+200B ZERO WIDTH SPACE"),
        ("\u2028", "invisible_character", "U+2028 LINE SEPARATOR"),
        ("\u202e", "invisible_character", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("\u00ad", "invisible_character", "U+00AD SOFT HYPHEN"),
        ("\u200d", "invisible_character", "U+200D ZERO WIDTH JOINER"),
        ("\u3164", "invisible_character", "U+3164 HANGUL FILLER"),
        ("\ufeff", "invisible_character", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("\x1b", "control_character", "U+001B ESCAPE"),
    ],
)
def test_what_shows_nothing_is_rejected_by_name_in_names_and_keys(
    char: str, code: str, name: str
) -> None:
    read = reader(key={"source": "desk", "column": "id"})
    row = read_row(read, id=f"P{char}1", name=f"Rio{char}Verde")
    assert codes(row) == {("id", code), ("name", code)}
    assert all(name in reason.detail for reason in row.reasons)


def test_joiners_are_parts_of_words_in_scripts_that_have_them() -> None:
    name = "\u0646\u06cc\u0631\u0648\u06af\u0627\u0647\u200c\u0647\u0627"
    assert project_of(read_row(reader(), name=name)).project_name == name


def test_a_reason_says_what_was_found() -> None:
    read = reader(NAME, COST, {"attribute": "maturity_years", "column": "tenor"})
    (reason,) = read_row(read, tenor="250").reasons
    assert reason.detail == "must be at most 99; the value is '250'"


def test_a_local_time_is_read_with_the_offset_of_its_place() -> None:
    seen = Column(name="seen_at", type=ColumnType(TypeName.TIMESTAMP))
    column = {
        "attribute": "seen_at",
        "column": "at",
        "date_formats": ["%d.%m.%Y %H:%M"],
        "utc_offset": "+01:00",
    }
    document = {"columns": [NAME, COST, column]}
    mapping = read_mapping("m", parse_object(json.dumps(document).encode()))
    read = RowReader(compile_schema(a_schema((seen,))), mapping)
    value = project_of(read_row(read, at="01.02.2024 00:30")).attributes["seen_at"]
    assert str(value) == "2024-01-31 23:30:00+00:00"
    assert codes(read_row(read, at="now")) == {("at", "not_a_timestamp")}


def test_a_project_name_has_up_to_500_characters() -> None:
    assert project_of(read_row(reader(), name="n" * 500)).project_name == "n" * 500
    assert codes(read_row(reader(), name="n" * 501)) == {("name", "too_long")}


def test_several_columns_are_joined_or_the_first_one_with_a_value_is_used() -> None:
    read = reader(
        {"attribute": "project_name", "columns": ["name", "part"], "combine": "join"},
        {"attribute": "total_amount", "columns": ["new", "cost"]},
        {"attribute": "x_ids", "columns": ["a", "b"], "combine": "join", "separator": "/"},
    )
    project = project_of(read_row(read, part="II", new="", a="1", b="2"))
    assert (project.project_name, str(project.total_amount)) == ("Dam II", "1.00")
    assert bytes(project.extensions["x_ids"]) == b'"1/2"'
    assert str(project_of(read_row(read, new="7")).total_amount) == "7.00"


@given(st.lists(st.text(alphabet="ab|\\", max_size=4), min_size=2, max_size=2, unique=True))
def test_different_parts_of_a_key_give_different_keys(parts: list[str]) -> None:
    one, other = parts
    assert join_parts([one, other]) != join_parts([other, one])
    assert join_parts([one, ""]) != join_parts([other, ""])
    assert join_parts([one]) == one


def test_a_key_of_several_columns_needs_all_of_them() -> None:
    read = reader(key={"source_column": "list", "columns": ["a", "b"]})
    row = read_row(read, list="fips", a="1|2", b="3")
    assert project_of(row).external_ref == ExternalRef(source="fips", id="1\\|2|3")
    assert codes(read_row(read, list="fips", a="1", b="")) == {("a", "key_missing")}
    assert codes(read_row(read, list="", a="1", b="2")) == {("a", "key_missing")}


def located(read: RowReader, **cells: Token) -> RowResult:
    row = read.locate({"name": "Dam", "cost": "1", **cells})
    return RowResult(None, reasons=(row,)) if isinstance(row, RowReason) else read_row(read, **row)


@pytest.mark.parametrize(
    ("condition", "imported"),
    [
        ({"in": ["F", "FA"]}, ["F"]),
        ({"not_in": ["C"]}, ["F", "", None]),
        ({"is_null": True}, ["", None]),
        ({"is_null": False}, ["F", "C"]),
    ],
)
def test_rows_that_do_not_meet_a_condition_are_skipped(
    condition: dict[str, Any], imported: list[Token]
) -> None:
    read = reader(where={"column": "type", **condition})
    kinds: list[Token] = ["F", "C", "", None]
    assert [kind for kind in kinds if located(read, type=kind).project] == imported


def test_several_values_are_aggregated_exactly() -> None:
    values: list[Token] = ["2.3", None, "2.3", "0.1", ""]
    ways = ("sum", "min", "max", "first", "last", "count")
    columns = [{"attribute": f"x_{way}", "column": "v", "aggregate": way} for way in ways]
    typed = [{**column, "as": "number"} for column in columns[1:3]]
    read = reader(NAME, COST, columns[0], *typed, *columns[3:])
    extensions = project_of(located(read, v=values)).extensions
    assert {name: bytes(value) for name, value in extensions.items()} == {
        "x_sum": b"4.7",
        "x_min": b"0.1",
        "x_max": b"2.3",
        "x_first": b'"2.3"',
        "x_last": b'"0.1"',
        "x_count": b"3",
    }
    undecided = reader(NAME, {"attribute": "total_amount", "column": "v"})
    assert codes(located(undecided, v=values)) == {("v", "several_values")}
    assert project_of(located(undecided, v=["5", "5"])).total_amount == 5
    nothing: list[Token] = [None, ""]
    assert codes(located(undecided, v=nothing)) == {("v", "missing")}


def test_sums_need_numbers() -> None:
    with pytest.raises(InvalidInput):
        reader(NAME, {"attribute": "sector", "column": "a", "aggregate": "sum"})
    read = reader(NAME, {"attribute": "total_amount", "column": "v", "aggregate": "sum"})
    bad: list[Token] = ["1", "x"]
    assert codes(located(read, v=bad)) == {("v", "not_a_number")}


@pytest.mark.parametrize(("code", "amount"), [("DEM", "5.00"), ("ITL", "5"), ("XEU", "5.00")])
def test_amounts_may_be_in_currencies_that_were_withdrawn(code: str, amount: str) -> None:
    read = reader(NAME, COST, {"attribute": "currency_code", "column": "ccy"})
    assert str(project_of(read_row(read, cost="5", ccy=code)).total_amount) == amount


def test_units_and_their_texts_are_read_from_one_cell() -> None:
    read = reader(
        NAME,
        {**COST, "units": {"m": "1000000", "\u20ac": 1}, "unit_factor": "2"},
        {
            "attribute": "currency_code",
            "column": "cost",
            "part": "unit",
            "enum": {"\u20ac m": "EUR"},
        },
        {"attribute": "x_share", "column": "share", "units": {"%": "0.01"}},
    )
    project = project_of(read_row(read, cost="\u20ac 1.25 m", share="12.50 %"))
    assert (str(project.total_amount), project.currency_code) == ("2500000.00", "EUR")
    assert bytes(project.extensions["x_share"]) == b"0.125"
    assert project_of(read_row(read, cost="5")).currency_code == "USD"
    (reason, *_) = read_row(read, cost="5 m\u00b3").reasons
    assert (reason.field, reason.code) == ("cost", "not_a_number")
    plain = read_row(reader(), cost="5 EUR").reasons
    assert plain[0].detail == "'5 EUR' is not a number; say in `units` what 'EUR' is worth"
    marks = read_row(reader(), cost="1 234,50").reasons[0].detail
    assert marks == "'1 234,50' is not a number; say its marks in `decimal` and `thousands`"
    assert read_row(reader(), cost="1e400").reasons[0].detail == "'1e400' is not a number"


def test_a_negative_amount_in_parentheses_is_out_of_range_and_yes_is_true() -> None:
    columns = (NAME, COST, {"attribute": "green", "column": "green"})
    assert codes(read_row(reader(*columns), cost="(1.5)")) == {("cost", "out_of_range")}
    for text, value in (("Yes", True), ("N", False), ("1", True), ("0.0", False)):
        assert project_of(read_row(reader(*columns), green=text)).attributes["green"] is value
    assert codes(read_row(reader(*columns), green="2")) == {("green", "not_a_boolean")}


def test_the_numbers_of_several_columns_are_added_exactly() -> None:
    amount = {"attribute": "total_amount", "columns": ["a", "b"], "combine": "sum"}
    read = reader(NAME, amount, decimal=",", missing_amount="unknown")
    assert str(project_of(read_row(read, a="0,1", b="0,2")).total_amount) == "0.30"
    assert str(project_of(read_row(read, a="", b="5")).total_amount) == "5.00"
    assert project_of(read_row(read, a="", b="")).total_amount is None
    assert codes(read_row(read, a="x", b="5")) == {("a", "not_a_number")}


def test_the_columns_of_each_row_of_a_group_are_combined_first() -> None:
    start = {
        "attribute": "cod_date",
        "columns": ["year", "month"],
        "combine": "join",
        "separator": "-",
        "date_formats": ["%Y-%m"],
        "aggregate": "min",
    }
    amount = {"attribute": "total_amount", "columns": ["a", "b"], "combine": "sum"}
    read = reader(NAME, start, {**amount, "aggregate": "sum"}, group_by=["name"])
    rows = [
        {"name": "Dam", "year": year, "month": month, "a": "1", "b": b}
        for year, month, b in (("2001", "3", "2"), ("2000", "10", ""), ("2000", "9", "4"))
    ]
    project = project_of(read.read(read.merge_rows(rows), PROJECT_ID))
    assert (str(project.cod_date), str(project.total_amount)) == ("2000-09-01", "9.00")


def warnings_of(row: RowResult) -> list[tuple[str, str, str]]:
    return [(one.field, one.code, one.detail.partition(";")[0]) for one in row.warnings]


def test_a_sum_of_rows_or_columns_says_how_many_of_its_values_are_unknown() -> None:
    read = reader(NAME, {**COST, "aggregate": "sum"}, group_by=["name"], null=["", "n/a"])
    rows: list[dict[str, Token]] = [{"name": "Dam", "cost": text} for text in ("5", "n/a", "", "2")]
    result = read.read(read.merge_rows(rows), PROJECT_ID)
    assert str(project_of(result).total_amount) == "7.00"
    assert warnings_of(result) == [("cost", "partial_sum", "2 of 4 values are unknown")]
    whole = read.read(read.merge_rows([rows[0], rows[3]]), PROJECT_ID)
    assert warnings_of(whole) == []
    amount = {"attribute": "total_amount", "columns": ["a", "b"], "combine": "sum"}
    read = reader(NAME, amount, missing_amount="unknown")
    result = read_row(read, a="", b="5")
    assert str(project_of(result).total_amount) == "5.00"
    assert [one[1:] for one in warnings_of(result)] == [
        ("partial_sum", "1 of 2 values are unknown")
    ]
    assert [one.code for one in read_row(read, a="", b="").warnings] == ["amount_unknown"]


def read_rows(read: RowReader, *rows: dict[str, Any]) -> RowResult:
    """Return the result of a group of rows, or of one record."""
    sources: list[Mapping[str, Token]] = []
    for row in rows:
        source = read.locate(parse_object(json.dumps({"name": "Dam", **row}).encode()))
        assert not isinstance(source, RowReason)
        sources.append(source)
    return read.read(sources[0] if len(sources) == 1 else read.merge_rows(sources), PROJECT_ID)


def amount_of(row: RowResult) -> tuple[str, str] | str:
    """Return the amount of a row with its currency, or the codes of the reasons against it."""
    if row.project is None:
        return ", ".join(reason.code for reason in row.reasons)
    return str(row.project.total_amount), str(row.project.currency_code)


@pytest.mark.parametrize("aggregate", ["sum", "max"])
def test_amounts_of_two_currencies_have_no_sum(aggregate: str) -> None:
    columns = (NAME, {**COST, "aggregate": aggregate}, CURRENCY)
    read = reader(*columns, group_by=["name"])
    rows: list[dict[str, Token]] = [
        {"cost": "5", "currency": text} for text in ("EUR", "USD", "", "EUR")
    ]
    assert codes(read_rows(read, *rows[:2])) == {("currency", "several_values")}
    # Alone the third row would be in the assumed currency.
    assert codes(read_rows(read, rows[0], rows[2])) == {("currency", "several_values")}
    assert read_rows(read, rows[2], rows[2]).has_currency is False
    total = "10.00" if aggregate == "sum" else "5.00"
    assert amount_of(read_rows(read, rows[0], rows[3])) == (total, "EUR")
    absent: dict[str, Token] = {"cost": "", "currency": "USD"}
    assert amount_of(read_rows(read, rows[0], absent)) == ("5.00", "EUR")
    chosen = reader(*columns[:2], {**CURRENCY, "aggregate": "last"}, group_by=["name"])
    assert amount_of(read_rows(chosen, *rows[:2])) == (total, "USD")


def test_a_group_that_was_posted_back_has_the_currencies_of_its_rows() -> None:
    read = reader(NAME, {**COST, "aggregate": "sum"}, CURRENCY, group_by=["name"])
    for texts, amount in (
        (["EUR", "EUR"], ("15.00", "EUR")),
        (["EUR", ""], "several_values"),
        ("EUR", ("15.00", "EUR")),
    ):
        row: dict[str, Any] = {"name": ["Dam", "Dam"], "cost": ["10", "5"], "currency": texts}
        assert amount_of(read_rows(read, row)) == amount


def test_the_first_amount_of_a_group_has_the_currency_of_its_own_row() -> None:
    columns = (NAME, COST, CURRENCY)
    rows: list[dict[str, Token]] = [
        {"cost": cost, "currency": text} for cost, text in (("", "EUR"), ("5", "USD"), ("7", "JPY"))
    ]
    assert amount_of(read_rows(reader(*columns, group_by=["name"]), *rows)) == ("5.00", "USD")
    last = reader(NAME, {**COST, "aggregate": "last"}, CURRENCY, group_by=["name"])
    assert amount_of(read_rows(last, *rows)) == ("7", "JPY")


@pytest.mark.parametrize(
    ("default", "items", "amount"),
    [
        ("EUR", [(10, "USD"), (5, None)], "several_values"),
        ("EUR", [(5, None), (10, "USD")], "several_values"),
        ("EUR", [(10, "EUR"), (5, None)], ("15.00", "EUR")),
        ("EUR", [(10, None), (5, None)], ("15.00", "EUR")),
        ("EUR", [(None, "USD"), (5, None)], ("5.00", "EUR")),
        ("EUR", [(10, "USD"), (5, "USD")], ("15.00", "USD")),
        (None, [(10, "USD"), (5, None)], "several_values"),
        (None, [(10, None), (5, None)], ("15.00", "USD")),
    ],
)
def test_an_item_without_a_currency_has_that_of_the_record(
    default: str | None, items: list[tuple[int | None, str | None]], amount: Any
) -> None:
    amounts = {"attribute": "total_amount", "column": "b.v", "aggregate": "sum"}
    currency = {"attribute": "currency_code", "columns": ["b.c", "d"]}
    record: dict[str, Any] = {"d": default, "b": [{"v": v, "c": c} for v, c in items]}
    assert amount_of(read_rows(reader(NAME, amounts, currency), record)) == amount


def test_each_amount_of_xml_has_its_own_currency_or_that_of_the_activity() -> None:
    paths = ["transaction[type=2].value", "budget.value"]
    amounts = {"attribute": "total_amount", "columns": paths, "aggregate": "sum"}
    columns = [*(f"{path}.@currency" for path in paths), "@default-currency"]
    read = reader(NAME, amounts, {"attribute": "currency_code", "columns": columns})
    ten: dict[str, Any] = {"value": {"@currency": "USD", "text": "10"}}
    five: dict[str, Any] = {"value": "5"}
    eur: dict[str, Any] = {"@default-currency": "EUR"}
    assert amount_of(read_rows(read, {**eur, "budget": [ten, five]})) == "several_values"
    assert amount_of(read_rows(read, {**eur, "budget": [ten, ten]})) == ("20.00", "USD")
    # Budgets are not used beside a commitment, nor is their currency.
    spent = {"type": "2", **five}
    record = {**eur, "budget": [ten], "transaction": [spent, {"type": "3", **ten}]}
    assert amount_of(read_rows(read, record)) == ("5.00", "EUR")
    grouped = reader(
        NAME, amounts, {"attribute": "currency_code", "columns": columns}, group_by=["name"]
    )
    rows: list[dict[str, Any]] = [{**eur, "budget": [five]}, {"budget": [ten]}]
    assert amount_of(read_rows(grouped, *rows)) == "several_values"
    assert amount_of(read_rows(grouped, rows[0], rows[0])) == ("10.00", "EUR")


def test_amounts_with_the_signs_of_two_currencies_have_no_sum() -> None:
    signs = {"\u20ac": 1, "$": 1}
    columns: dict[str, Any] = {"columns": ["a", "b"]}
    amounts = {"attribute": "total_amount", **columns, "units": signs}
    unit = {
        "attribute": "currency_code",
        **columns,
        "part": "unit",
        "enum": {"\u20ac": "EUR", "$": "USD"},
    }
    read = reader(NAME, {**amounts, "combine": "sum"}, unit)
    assert amount_of(read_rows(read, {"a": "\u20ac10", "b": "$5"})) == "several_values"
    assert amount_of(read_rows(read, {"a": "\u20ac10", "b": "5"})) == "several_values"
    assert amount_of(read_rows(read, {"a": "\u20ac10", "b": "\u20ac5"})) == ("15.00", "EUR")
    assert amount_of(read_rows(read, {"a": "\u20ac10", "b": ""})) == ("10.00", "EUR")
    # The second column is not used, nor is its sign.
    first = reader(NAME, amounts, unit)
    assert read_rows(first, {"a": "5", "b": "7"}).has_currency is False
    # No currency is assumed beside one that the row states.
    assert amount_of(read_rows(first, {"a": "5", "b": "\u20ac7"})) == ("5.00", "EUR")
    # The sign in one column is no currency of the other.
    alone = reader(NAME, {**amounts, "combine": "sum"}, {**unit, "columns": ["a"]})
    assert amount_of(read_rows(alone, {"a": "\u20ac10", "b": "$5"})) == "several_values"
    assert amount_of(read_rows(first, {"a": "", "b": "\u20ac7"})) == ("7.00", "EUR")


@pytest.mark.parametrize("aggregate", ["first", "sum"])
def test_amounts_without_a_currency_have_that_of_their_record(aggregate: str) -> None:
    read = reader(NAME, {**COST, "aggregate": aggregate}, CURRENCY, group_by=["name"])
    plain, eur, usd = (
        {"cost": cost, "currency": text} for cost, text in (("5", ""), ("", "EUR"), ("", "USD"))
    )
    assert amount_of(read_rows(read, plain, eur)) == ("5.00", "EUR")
    assert amount_of(read_rows(read, eur, plain, eur)) == ("5.00", "EUR")
    assert amount_of(read_rows(read, plain, eur, usd)) == "several_values"
    assert read_rows(read, plain).has_currency is False


def test_the_only_column_of_currencies_is_that_of_all_columns_of_amounts() -> None:
    nested: dict[str, Any] = {"attribute": "total_amount", "columns": ["p.value", "estimate"]}
    currency = {"attribute": "currency_code", "column": "p.cur"}
    record: dict[str, Any] = {"p": {"value": "", "cur": "EUR"}, "estimate": "6"}
    assert amount_of(read_rows(reader(NAME, nested, currency), record)) == ("6.00", "EUR")
    amounts = {"attribute": "total_amount", "columns": ["f.debt.v", "f.equity.v"], "combine": "sum"}
    read = reader(NAME, amounts, {"attribute": "currency_code", "column": "f.debt.cur"})
    debt, equity = {"v": "1", "cur": "EUR"}, {"v": "2"}
    shared: Any
    for shared in (debt, [debt]):
        assert amount_of(read_rows(read, {"f": {"debt": shared, "equity": equity}})) == (
            "3.00",
            "EUR",
        )
    # The currency of one of several items is not that of what is beside them.
    rows = {"f": {"debt": [debt, debt], "equity": equity}}
    assert amount_of(read_rows(read, rows)) == "several_values"
    items = [{"debt": debt, "equity": equity}, {"debt": {"v": "4"}, "equity": {"v": ""}}]
    aggregated = reader(
        NAME,
        {**amounts, "aggregate": "sum"},
        {"attribute": "currency_code", "column": "f.debt.cur"},
    )
    assert amount_of(read_rows(aggregated, {"f": items[:1]})) == ("3.00", "EUR")
    assert amount_of(read_rows(aggregated, {"f": items})) == "several_values"


def test_the_currency_of_some_elements_is_not_that_of_others_beside_them() -> None:
    amounts = {"attribute": "total_amount", "columns": ["f[t=1].v", "f[t=2].v"], "combine": "sum"}
    read = reader(NAME, amounts, {"attribute": "currency_code", "column": "f[t=1].cur"})
    items = [{"t": "1", "v": "1", "cur": "EUR"}, {"t": "2", "v": "2"}]
    assert amount_of(read_rows(read, {"f": items})) == "several_values"
    assert amount_of(read_rows(read, {"f": items[:1]})) == ("1.00", "EUR")


@pytest.mark.parametrize(
    ("items", "amount"),
    [
        ([("0", None), ("1", "EUR")], ("1.00", "EUR")),
        ([("1", "EUR"), ("0.00", None)], ("1.00", "EUR")),
        ([("0", "USD"), ("1", "EUR")], ("1.00", "EUR")),
        ([("0", None), ("0", "EUR")], ("0.00", "EUR")),
        ([("0", "USD"), ("0", "EUR")], "several_values"),
        ([("0", None), ("1", "EUR"), ("2", None)], "several_values"),
    ],
)
def test_zero_needs_no_currency_beside_other_amounts(
    items: list[tuple[str, str | None]], amount: Any
) -> None:
    amounts = {"attribute": "total_amount", "column": "b.v", "aggregate": "sum"}
    read = reader(NAME, amounts, {"attribute": "currency_code", "column": "b.c"})
    assert amount_of(read_rows(read, {"b": [{"v": v, "c": c} for v, c in items]})) == amount


@pytest.mark.parametrize("where", [[], [{"column": "b.t", "in": ["x"]}]])
def test_a_sum_of_more_values_than_a_path_selects_is_quarantined(where: list[Any]) -> None:
    amounts = {"attribute": "total_amount", "column": "b.v", "aggregate": "sum"}
    read = reader(NAME, amounts, where=where)
    items: list[dict[str, Any]] = [{"v": "1", "t": "x"}] * MAX_VALUES
    assert amount_of(read_rows(read, {"b": items})) == (f"{MAX_VALUES}.00", "USD")
    (reason,) = read_rows(read, {"b": [{"v": "1"}, *items]}).reasons
    assert (reason.field, reason.code) == ("b.v", "too_many")
    grouped = reader(NAME, amounts, group_by=["name"])
    rows: list[dict[str, Any]] = [{"b": {"v": "1"}}, {"b": [*items, *items]}]
    assert codes(read_rows(grouped, *rows)) == {("b.v", "too_many")}


def test_a_sign_on_both_sides_of_an_amount_is_one_currency() -> None:
    cost = {**COST, "units": {"$": 1}}
    unit = {"attribute": "currency_code", "column": "cost", "part": "unit", "enum": {"$": "CAD"}}
    assert amount_of(read_row(reader(NAME, cost, unit), cost="$ 5 $")) == ("5.00", "CAD")


def test_only_rows_of_a_group_with_chosen_elements_have_a_note() -> None:
    amounts = {"attribute": "total_amount", "column": "b.v", "aggregate": "sum"}
    choose = [{"element": "b", "highest": "t"}]
    read = reader(NAME, amounts, group_by=["name"], choose=choose)
    items = [{"v": "1", "t": "1"}, {"v": "2", "t": "2"}]
    row = read_rows(read, {"b": items}, {"b": {"v": "3"}})
    assert [warning.detail for warning in row.warnings] == ["1 of 2 b used, by 1, 2"]


def test_columns_that_are_added_are_in_all_currencies_of_the_row() -> None:
    amounts = {"attribute": "total_amount", "columns": ["a", "b"], "combine": "sum"}
    currency = {"attribute": "currency_code", "columns": ["c", "d"]}
    read = reader(NAME, amounts, currency)
    row: dict[str, Token] = {"a": "10", "b": "5", "c": "EUR"}
    assert amount_of(read_rows(read, {**row, "d": "USD"})) == "several_values"
    assert amount_of(read_rows(read, {**row, "d": "EUR"})) == ("15.00", "EUR")
    chosen = reader(NAME, amounts, {**currency, "aggregate": "first"})
    assert amount_of(read_rows(chosen, {**row, "d": "USD"})) == ("15.00", "EUR")


def test_each_row_of_a_group_has_the_first_of_its_columns_with_a_value() -> None:
    amounts = {"attribute": "total_amount", "columns": ["new", "old"], "aggregate": "sum"}
    read = reader(NAME, amounts, group_by=["name"])
    row = read_rows(read, {"new": "120", "old": "100"}, {"new": "", "old": "80"})
    assert str(project_of(row).total_amount) == "200.00"
    assert warnings_of(row) == []


def test_a_comma_divides_sponsors_outside_brackets_and_before_no_legal_form() -> None:
    pair = {"attribute": "sponsors", "columns": [{"name": "owners"}], "separator": ","}
    read = reader(NAME, COST, pair)
    text = "Alfa, Inc. (50% / Spain, Chile), Beta Co., Ltd. (30 / Peru),Costa [20%, see note]"
    assert [(one.name, one.share) for one in project_of(read_row(read, owners=text)).sponsors] == [
        ("Alfa, Inc.", Decimal(50)),
        ("Beta Co., Ltd.", Decimal(30)),
        ("Costa [20%, see note]", None),
    ]
    sponsors = project_of(read_row(read, owners="Alfa, Coral, Salt :), Beta")).sponsors
    assert [one.name for one in sponsors] == ["Alfa", "Coral", "Salt :)", "Beta"]


def test_one_cell_has_several_sponsors_with_their_shares_in_brackets() -> None:
    pair = {"attribute": "sponsors", "columns": [{"name": "owners"}], "separator": "; "}
    read = reader(NAME, COST, pair)
    text = "Alpha (UK) [60%]; Beta [ 40.0 % ];"
    sponsors = project_of(read_row(read, owners=text)).sponsors
    assert [one.name for one in sponsors] == ["Alpha (UK)", "Beta"]
    assert [one.share for one in sponsors] == [Decimal(60), Decimal(40)]
    text = "Gamma [unknown %];Delta (60 / France); Eps (3 Seas)"
    sponsors = project_of(read_row(read, owners=text)).sponsors
    shares = [None if one.share is None else str(one.share) for one in sponsors]
    assert [one.name for one in sponsors] == ["Gamma", "Delta", "Eps (3 Seas)"]
    assert shares == [None, "60", None]
    text = "Enel ( 50% / Italy ); Scatec (49,5%/Norway); GMR (Not Available / India)"
    row = read_row(reader(NAME, COST, pair, decimal=",", thousands="."), owners=text)
    assert [(one.name, one.share) for one in project_of(row).sponsors] == [
        ("Enel", Decimal(50)),
        ("Scatec", Decimal("49.5")),
        ("GMR", None),
    ]
    row = read_row(read, owners="60.5% para Rio; 39.5 % of 3 Ventos")
    assert [(one.name, one.share) for one in project_of(row).sponsors] == [
        ("Rio", Decimal("60.5")),
        ("3 Ventos", Decimal("39.5")),
    ]
    text = "Zeta 2 51 %; Eta: 24.5%; Theta - 24.5%; Fund 2030; 100% Wind; Iota (UK) 0%"
    row = read_row(read, owners=text.removesuffix("; Iota (UK) 0%"))
    assert [(one.name, one.share) for one in project_of(row).sponsors] == [
        ("Zeta 2", Decimal(51)),
        ("Eta", Decimal("24.5")),
        ("Theta", Decimal("24.5")),
        ("Fund 2030", None),
        ("100% Wind", None),
    ]
    assert [reason.code for reason in read_row(read, owners=text).reasons]
    with pytest.raises(InvalidInput) as failure:
        reader(NAME, COST, {**pair, "columns": [{"name": "owners", "share": "share"}]})
    assert failure.value.errors[0].pointer == "/columns/2/separator"


@pytest.mark.parametrize(
    ("column", "pointer"),
    [
        ({**COST, "units": {"%": 0}}, "/columns/1/units"),
        ({**COST, "units": {" ": 1}}, "/columns/1/units"),
        ({**COST, "part": "unit", "units": {"%": 1}}, "/columns/1/part"),
        ({"attribute": "sector", "column": "s", "units": {"%": 1}}, "/columns/1"),
        ({"attribute": "sector", "columns": ["s", "t"], "combine": "sum"}, "/columns/1"),
    ],
)
def test_units_and_sums_belong_to_numbers(column: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        reader(NAME, column)
    assert failure.value.errors[0].pointer == pointer


def test_null_markers_are_compared_without_the_blanks_around_a_cell() -> None:
    cells = {"attribute": "x_mw", "column": "mw", "as": "number"}
    read = reader(NAME, COST, cells, null=["", "--"])
    for text in (" ", "\u00a0", " -- ", "--"):
        assert "x_mw" not in project_of(read_row(read, mw=text)).extensions
    assert project_of(read_row(read, mw="7")).extensions["x_mw"] == msgspec.Raw(b"7")
    assert codes(read_row(reader(NAME, COST, cells, null=["--"]), mw=" ")) == {
        ("mw", "not_a_number")
    }


@pytest.mark.parametrize(
    "cells",
    [
        {"name": "Dam", "cost": "7", "green": "true"},
        {"name": "Dam", "cost": "7", "green": "", "sector": "", "currency": ""},
        {"name": "Dam", "cost": "7", "green": "false", "sector": "Hydro", "currency": "EUR"},
    ],
    ids=["without defaults", "with removals", "with all values"],
)
def test_a_row_read_once_has_the_amendment_that_reading_it_again_gives(
    cells: dict[str, Token],
) -> None:
    with_default = msgspec.structs.replace(
        SCHEMA,
        governed=(
            Column(name="green", type=ColumnType(TypeName.BOOLEAN)),
            Column(name="lanes", type=ColumnType(TypeName.INTEGER), required=True, default=2),
        ),
    )
    columns = [NAME, COST, {"attribute": "green", "column": "green"}]
    columns += [
        {"attribute": name, "column": column}
        for name, column in (("sector", "sector"), ("currency_code", "currency"))
        if column in cells
    ]
    columns.append({"attribute": "x_note", "column": "sector"} if "sector" in cells else NAME)
    document = {"columns": columns[: len(columns) - ("sector" not in cells)]}
    mapping = read_mapping("m", parse_object(json.dumps(document).encode()))
    read = RowReader(compile_schema(with_default), mapping)
    row = read.read(cells, PROJECT_ID, with_amendment=True)
    assert row.amendment is not None
    again = read.read_amendment(cells)
    assert (row.amendment.core, row.amendment.governed) == (again.core, again.governed)
    assert row.amendment.extensions == again.extensions
    assert "lanes" not in again.governed
    assert read.read(cells, PROJECT_ID).amendment is None
