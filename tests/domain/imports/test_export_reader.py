"""Exported rows under a schema that has changed since, and cells of workbooks."""

from datetime import date
from typing import Any

import pytest

from spawn.domain.imports.export_reader import mark_empty_texts
from spawn.domain.imports.import_state import RowReason
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.json_tokens import Token
from spawn.domain.projects.project import Project
from spawn.domain.schema_version import Column, ColumnType, RetiredColumn, Schema, TypeName
from spawn.domain.schemas.validator import SchemaValidator

TEXT = ColumnType(TypeName.STRING)
SCHEMA = Schema(
    id="s",
    version=3,
    name="s",
    governed=(
        Column(name="seen_at", type=ColumnType(TypeName.TIMESTAMP)),
        Column(name="opened_on", type=ColumnType(TypeName.DATE)),
        Column(name="grade", type=TEXT, required=True, default="A"),
        Column(name="site", type=TEXT, aliases=("place",)),
    ),
    retired=(
        RetiredColumn(
            column=Column(name="colour", type=TEXT, deprecated=True, sunset=date(2020, 1, 1)),
            since=2,
        ),
    ),
)
ROW: dict[str, Token] = {"project_name": "A", "total_amount": "1"}


def read(row: dict[str, Token]) -> Any:
    """Return the result of a row of an export, read after every Sunset."""
    reader = RowReader(SchemaValidator(SCHEMA), None, date(2026, 1, 1), from_export=True)
    located = reader.locate({**ROW, **row})
    return located if isinstance(located, RowReason) else reader.read(located, "p")


def read_project(row: dict[str, Token]) -> Project:
    result = read(row)
    assert result.project is not None, result
    project: Project = result.project
    return project


def test_a_column_that_the_schema_has_no_more_is_ignored_with_a_warning() -> None:
    result = read({"colour": "red"})
    assert result.project is not None
    assert [(w.field, w.code) for w in result.warnings] == [("colour", "retired")]
    assert read({"colour": None}).warnings == ()
    assert read({"never": None}).reasons == ()
    assert [r.code for r in read({"never": "x"}).reasons] == ["unknown_field"]


def test_an_older_name_is_an_alias_and_null_takes_no_required_value_away() -> None:
    assert read_project({"place": "Quay"}).attributes["site"] == "Quay"
    reader = RowReader(SchemaValidator(SCHEMA), None, from_export=True)
    amendment = reader.read_amendment({**ROW, "grade": None, "site": None, "colour": None})
    assert amendment.governed == {"site": None}


def test_times_and_days_of_a_workbook_have_the_offset_and_the_form_of_exports() -> None:
    attributes = read_project(
        {"seen_at": "2026-01-31T10:20:30.250000", "opened_on": "2026-01-31T00:00:00"}
    ).attributes
    assert str(attributes["seen_at"]) == "2026-01-31 10:20:30.250000+00:00"
    assert attributes["opened_on"] == date(2026, 1, 31)


def test_a_text_that_a_workbook_has_cut_is_quarantined() -> None:
    note = "… (40000 characters)"
    reason = read({"site": "x" * (32_767 - len(note)) + note})
    assert (reason.field, reason.code) == ("site", "cell_cut")
    assert read_project({"site": note}).attributes["site"] == note


@pytest.mark.parametrize(
    ("raw", "cells", "expected"),
    [
        (b'a,"",""\r\n', ["a", "", ""], ["a", "\0", "\0"]),
        (b'a,,"x""y"\r\n', ["a", "", 'x"y'], ["a", "", 'x"y']),
        (b'"b,c","",d\n', ["b,c", "", "d"], ["b,c", "\0", "d"]),
    ],
)
def test_an_empty_text_is_marked(raw: bytes, cells: list[str], expected: list[str]) -> None:
    assert mark_empty_texts(raw, cells, ",") == expected
    other = raw.replace(b'"b,c"', b"bc").replace(b",", b";")
    cells = ["bc" if cell == "b,c" else cell for cell in cells]
    expected = ["bc" if cell == "b,c" else cell for cell in expected]
    assert mark_empty_texts(other, cells, ";") == expected
