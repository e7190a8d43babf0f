"""The reference of schema documents has every member and type that the service reads."""

import json
import re
from pathlib import Path

import pytest

from spawn.domain.schema_version import Column, TypeName
from spawn.domain.schemas import column_parser, document_parser
from spawn.domain.schemas.document_parser import read_schema

PAGE = (Path(__file__).parents[2] / "docs" / "schema-documents.md").read_text()


def names_of_table(heading: str) -> set[str]:
    """Return the names in the first cells of the table below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_member_of_a_column_is_documented() -> None:
    assert names_of_table("Members of a column") == set(Column.__struct_fields__)


def test_every_member_of_a_document_is_documented() -> None:
    known = {*document_parser._MEMBER_READERS, "columns", "quality"}
    assert names_of_table("Members of the document") == known


def test_every_type_and_spelling_is_documented() -> None:
    documented = {name.partition("(")[0] for name in names_of_table("Types")}
    assert documented == set(TypeName)
    section = PAGE.partition("## Types\n")[2].partition("\n## ")[0]
    for spelling in column_parser._TYPE_NAMES:
        assert f"`{spelling}" in section, spelling


@pytest.mark.parametrize(
    "limit",
    [
        column_parser.MAX_ENUM,
        column_parser.MAX_ALIASES,
        column_parser.MAX_TEXT,
        column_parser.MAX_UNIT,
        column_parser.MAX_PRECISION,
        document_parser.MAX_COLUMNS,
        document_parser.MAX_CONTEXT_BYTES,
    ],
)
def test_every_limit_is_documented(limit: int) -> None:
    assert re.search(rf"\b{limit:,}\b", PAGE), limit


def test_the_example_is_valid() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    schema = read_schema(example.encode())
    members = {name for column in json.loads(example)["columns"] for name in column}
    assert members == set(Column.__struct_fields__)
    assert [column.name for column in schema.governed][:2] == ["capacity_mw", "permit_on"]
