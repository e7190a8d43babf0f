"""Rows that form groups are bounded in memory: a larger file is rejected, and says why."""

import json

import msgspec
import pytest

from spawn.application.imports.files import row_groups
from spawn.domain.errors import InvalidInput
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.imports.record_parser import FileLayout, Record
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.json_tokens import parse_object
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import a_schema

MAPPING = read_mapping(
    "m",
    parse_object(
        json.dumps(
            {
                "group_by": ["name"],
                "columns": [
                    {"attribute": "project_name", "column": "name"},
                    {"attribute": "total_amount", "column": "cost", "aggregate": "sum"},
                ],
            }
        ).encode()
    ),
)


def group(*rows: str) -> list[Record]:
    lines = [f"{row}\n".encode() for row in rows]
    records = [
        Record(number, 0, line, row.split(","))
        for number, (line, row) in enumerate(zip(lines, rows, strict=True), 2)
    ]
    layout = FileLayout(FileFormat.CSV, MAPPING, ("name", "cost"))
    reader = RowReader(compile_schema(a_schema()), MAPPING)
    return list(row_groups.group_records(records, layout, reader))


def test_the_rows_of_a_group_have_the_marks_of_the_mapping() -> None:
    mapping = msgspec.structs.replace(MAPPING, quote="'")
    reader = RowReader(compile_schema(a_schema()), mapping)
    layout = FileLayout(FileFormat.CSV, mapping, ("name", "cost"))
    rows = [Record(n, 0, b"'Dam, \"A\"',1\n", ('Dam, "A"', "1")) for n in (2, 3)]
    (record,) = row_groups.group_records(rows, layout, reader)
    assert [list(row.cells) for row in record.group] == [['Dam, "A"', "1"]] * 2


def test_a_file_beyond_the_bound_is_rejected_before_a_group_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = ("Dam,1", "Mesa,2", "Dam,3")
    monkeypatch.setattr(row_groups, "MAX_GROUPED_BYTES", sum(len(row) + 1 for row in rows))
    assert [(one.line, len(one.group)) for one in group(*rows)] == [(2, 2), (3, 1)]
    with pytest.raises(InvalidInput) as failure:
        group(*rows, "Mesa,4")
    assert failure.value.errors[0].code == "too_large"
    assert "divide it" in failure.value.errors[0].detail


def test_a_group_longer_than_a_record_may_be_is_quarantined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_groups, "MAX_LINE_BYTES", 8)
    long_group, short_group = group("Dam,1", "Mesa,2", "Dam,3")
    assert long_group.parse_error is not None
    assert (long_group.parse_error.code, short_group.parse_error) == ("line_too_long", None)
