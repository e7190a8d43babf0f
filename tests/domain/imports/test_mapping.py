"""Import mappings are read strictly, and every error is reported."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.imports.mapping import (
    MAX_COLUMNS,
    DuplicatePolicy,
    ImportMapping,
    OnExisting,
    OnFailure,
    Whitespace,
    is_mapping_name,
)
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.json_tokens import NumberToken, parse_object
from spawn.domain.money import Rounding

pytestmark = pytest.mark.core

SMALL = {"columns": [{"attribute": "project_name", "column": "Name"}]}


def read(document: object, name: str = "desk") -> ImportMapping:
    return read_mapping(name, parse_object(json.dumps(document).encode()))


def error_pointers(document: object, name: str = "desk") -> set[str]:
    with pytest.raises(InvalidInput) as invalid:
        read(document, name)
    return {error.pointer for error in invalid.value.errors}


def test_omitted_members_of_a_mapping_have_defaults() -> None:
    mapping = read(SMALL)
    assert mapping.encoding == ("utf-8",)
    assert mapping.delimiter == ","
    assert mapping.null == ("",)
    assert mapping.duplicates is DuplicatePolicy.FIRST_WINS
    assert mapping.on_existing is OnExisting.SKIP_IF_IDENTICAL
    assert mapping.columns[0].whitespace is Whitespace.KEEP


def test_every_member_of_a_mapping_is_read() -> None:
    mapping = read(
        {
            "encoding": ["utf-8", "cp1252"],
            "delimiter": ";",
            "null": ["NA"],
            "columns": [
                {
                    "attribute": "total_amount",
                    "column": "Cost",
                    "unit_factor": 0.001,
                    "rounding": "half_up",
                    "null": ["-"],
                },
                {"attribute": "cod_date", "column": "COD", "date_format": "%d/%m/%Y"},
                {"attribute": "sector", "column": "Kind", "enum": {"S": "Solar"}},
                {"attribute": "currency_code", "constant": "EUR"},
            ],
            "checks": [
                {"sum_of": ["a", "b"], "equals": "Cost", "tolerance": 0.01, "on_failure": "warn"}
            ],
            "key": {"source": "desk", "column": "Id"},
            "duplicates": "first_valid_wins",
            "on_existing": "update",
        }
    )
    cost, cod, kind, constant = mapping.columns
    assert (cost.unit_factor, cost.rounding) == (Decimal("0.001"), Rounding.HALF_UP)
    assert cost.null == ("-",)
    assert cod.date_format == "%d/%m/%Y"
    assert kind.enum == {"S": "Solar"}
    assert constant.constant == "EUR"
    assert mapping.checks[0].tolerance == Decimal("0.01")
    assert mapping.checks[0].on_failure is OnFailure.WARN
    assert mapping.key is not None
    assert mapping.key.column == "Id"
    assert mapping.on_existing is OnExisting.UPDATE


def test_one_encoding_needs_no_list() -> None:
    assert read({**SMALL, "encoding": "cp1252"}).encoding == ("cp1252",)


def test_the_name_of_a_mapping_must_equal_the_addressed_one() -> None:
    assert read({**SMALL, "name": "desk"}).name == "desk"
    assert error_pointers({**SMALL, "name": "other"}) == {"/name"}


def test_all_errors_are_reported_at_once() -> None:
    assert error_pointers(
        {
            "columns": [
                {"attribute": "project_name"},
                {"attribute": "dscr", "column": "a", "unit_factor": "0"},
                {"attribute": "dscr", "column": "b", "date_format": "%Y %H"},
                {"attribute": "a b", "column": "n" * 201, "constant": "x"},
            ],
            "encoding": ["utf-7"],
            "delimiter": '"',
            "checks": [{"sum_of": [], "equals": "t", "tolerance": "1"}],
            "key": {"source": "", "column": "Id"},
        }
    ) == {
        "/encoding",
        "/delimiter",
        "/columns/0",
        "/columns/1/unit_factor",
        "/columns/2/date_format",
        "/columns/2/attribute",
        "/columns/3",
        "/columns/3/attribute",
        "/columns/3/column",
        "/checks/0/sum_of",
        "/checks/0/tolerance",
        "/key/source",
    }


def test_members_of_a_wrong_type_are_reported_with_their_pointers() -> None:
    assert error_pointers(
        {
            "columns": [{"attribute": 1, "column": "a"}, {"attribute": "b", "colum": "a"}],
            "null": "NA",
            "surprise": 1,
        }
    ) == {"/columns/0/attribute", "/columns/1", "/null", "/surprise"}


@pytest.mark.parametrize("columns", [None, [], {}, "x", 5])
def test_a_mapping_without_columns_is_rejected(columns: object) -> None:
    assert "/columns" in error_pointers({"columns": columns})


def test_a_mapping_is_bounded() -> None:
    many = [{"attribute": f"x_{i}", "column": "a"} for i in range(MAX_COLUMNS + 1)]
    assert error_pointers({"columns": many}) == {"/columns"}
    wide = dict.fromkeys(map(str, range(1001)), "v")
    assert error_pointers({"columns": [{"attribute": "a", "column": "b", "enum": wide}]}) == {
        "/columns/0/enum"
    }
    assert error_pointers({**SMALL, "null": ["x"] * 21}) == {"/null"}
    assert error_pointers({**SMALL, "null": ["x" * 201]}) == {"/null"}


@pytest.mark.parametrize("factor", ["NaN", "Infinity", "1E+400000", "1" * 31, "1e-31"])
def test_a_factor_too_large_for_exact_arithmetic_is_rejected(factor: str) -> None:
    column = {"attribute": "total_amount", "column": "a", "unit_factor": factor}
    assert error_pointers({"columns": [column]}) == {"/columns/0/unit_factor"}


@pytest.mark.parametrize(
    "date_format",
    [
        "%Y-%m-%d",
        "%d %b %Y",
        "%B %d, %Y",
        "%d.%m.%y",
        "year_end",
        "%d.%m.%Y %H:%M",
        "%m/%Y",
        "serial",
    ],
)
def test_a_date_format_has_a_year_and_a_month_or_a_name(date_format: str) -> None:
    column = {"attribute": "cod_date", "column": "a", "date_format": date_format}
    assert read({"columns": [column]}).columns[0].date_format == date_format


@pytest.mark.parametrize(
    "date_format",
    ["", "%Y", "%d/%m", "%Y-%m %H", "%Y-%m-%d %H %H", "%Y %Y-%m", "%%Y%m%d", "%Y%m%d%", "%c", "%s"],
)
def test_a_date_format_with_anything_else_is_rejected(date_format: str) -> None:
    column = {"attribute": "cod_date", "column": "a", "date_format": date_format}
    assert error_pointers({"columns": [column]}) == {"/columns/0/date_format"}


@pytest.mark.parametrize("name", ["", "A", "a/b", "../x", "a ", "x" * 65, "-a", "a\0"])
def test_a_name_that_is_not_a_path_segment_is_rejected(name: str) -> None:
    assert not is_mapping_name(name)
    assert error_pointers(SMALL, name) == {"/name"}


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers().map(NumberToken) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


MEMBERS = ("columns", "checks", "key", "null", "encoding", "delimiter", "duplicates")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, json_values)))
def test_any_document_is_a_mapping_or_rejected_with_pointers(document: dict[str, Any]) -> None:
    pointers = []
    try:
        mapping = read_mapping("desk", document)
    except InvalidInput as invalid:
        pointers = [error.pointer for error in invalid.errors]
        mapping = None
    assert mapping is None or mapping.columns
    assert (mapping is None) is bool(pointers)
    assert all(pointer.startswith("/") for pointer in pointers)


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"header_row": 0}, "/header_row"),
        ({"skip_rows": -1}, "/skip_rows"),
        ({"skip_rows": 1001}, "/skip_rows"),
        ({"skip_rows": 2, "header_row": 3}, "/skip_rows"),
        ({"decimal": ";"}, "/decimal"),
        ({"decimal": ",", "thousands": ","}, "/thousands"),
        ({"thousands": "x"}, "/thousands"),
        ({"ragged_rows": "drop"}, "/ragged_rows"),
    ],
)
def test_a_layout_that_no_file_can_have_is_rejected(members: dict[str, Any], pointer: str) -> None:
    assert error_pointers({**SMALL, **members}) == {pointer}


@pytest.mark.parametrize(
    ("column", "member"),
    [
        ({"otherwise": "keep"}, "otherwise"),
        ({"enum": {}}, "enum"),
        ({"as": "integer"}, "as"),
        ({"period": "end"}, "period"),
        ({"date_formats": ["%Y", "iso"]}, "date_formats/0"),
        ({"date_formats": ["iso"] * 11}, "date_formats"),
        ({"date_formats": ["iso"], "date_format": "iso"}, "date_formats"),
        ({"utc_offset": "1"}, "utc_offset"),
        ({"decimal": ",", "thousands": ","}, "thousands"),
    ],
)
def test_a_conversion_without_its_condition_is_rejected(
    column: dict[str, Any], member: str
) -> None:
    document = {"columns": [{"attribute": "cod_date", "column": "a", **column}]}
    assert error_pointers(document) == {f"/columns/0/{member}"}


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"where": [{"column": "a"}]}, "/where/0"),
        ({"where": [{"column": "a", "in": ["x"], "not_in": ["y"]}]}, "/where/0"),
        ({"where": [{"column": "a", "in": ["x" * 1001]}]}, "/where/0"),
        ({"where": [{"column": "a", "in": []}]}, "/where/0"),
        ({"where": {"column": "a", "not_in": []}}, "/where/0"),
        ({"group_by": []}, "/group_by"),
        ({"where": [{"column": "a", "is_null": True}] * 21}, "/where"),
        ({"choose": [{"element": "a", "highest": "b."}]}, "/choose/0/highest"),
        ({"choose": [{"element": "", "highest": "b", "same": ["c["]}]}, "/choose/0/same/0"),
        ({"group_by": ["a"] * 21}, "/group_by"),
        ({"record_element": ""}, "/record_element"),
        ({"vanished": "report"}, "/vanished"),
        ({"vanished": "report", "key": {"source_column": "s", "column": "i"}}, "/vanished"),
        ({"key": {"source": "s", "source_column": "c", "column": "i"}}, "/key"),
        ({"key": {"source": "s"}}, "/key"),
        ({"key": {"source": "s", "column": "a", "columns": ["b"]}}, "/key"),
        ({"key": {"source": "s", "columns": ["n" * 201]}}, "/key/columns/0"),
    ],
)
def test_a_selection_of_rows_that_means_nothing_is_rejected(
    members: dict[str, Any], pointer: str
) -> None:
    assert pointer in error_pointers({**SMALL, **members})


@pytest.mark.parametrize(
    ("column", "pointer"),
    [
        ({"column": "a", "columns": ["b"]}, "/columns/0"),
        ({}, "/columns/0"),
        ({"aggregate": "sum"}, "/columns/0"),
        ({"constant": "1", "aggregate": "count"}, "/columns/0"),
        ({"column": "a", "combine": "join"}, "/columns/0/combine"),
        ({"column": "a", "separator": ";"}, "/columns/0/separator"),
        ({"columns": ["a", "b"], "combine": "join", "separator": "-" * 11}, "/columns/0/separator"),
        ({"columns": [{"name": "a", "share": "b"}]}, "/columns/0/columns"),
        ({"columns": [{"name": "a", "part": "b"}]}, "/columns/0/columns/0"),
    ],
)
def test_sources_of_an_attribute_that_contradict_each_other_are_rejected(
    column: dict[str, Any], pointer: str
) -> None:
    assert error_pointers({"columns": [{"attribute": "x_a", **column}]}) == {pointer}
