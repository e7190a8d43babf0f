"""JSON Schemas of a project have the recorded members: clients validate and generate code by them.

`python -m tests.domain.schemas.test_recorded_json_schemas` writes the record anew.
"""

import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from tests.domain.schemas.json_schema_laws import ENCODER, read_exactly

from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.domain.schemas.json_schema import SchemaUse
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import a_schema

pytestmark = pytest.mark.core

RECORD: Final = Path(__file__).with_name("recorded_json_schemas.json")
COLUMNS: Final = (
    Column(
        name="rating",
        type=ColumnType(TypeName.STRING),
        enum=("A", "B"),
        required=True,
        default="B",
        semantic="https://example.org/rating",
        aliases=("grade",),
        deprecated=True,
        sunset=date(2027, 1, 31),
    ),
    Column(name="code", type=ColumnType(TypeName.STRING, max_length=9), pattern="[A-Z]{3}"),
    Column(name="units", type=ColumnType(TypeName.INTEGER), minimum=1, maximum=9, unit="pieces"),
    Column(name="long", type=ColumnType(TypeName.BIGINT), enum=(1, 2**40)),
    Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=12, scale=3),
        minimum=Decimal("0.5"),
        maximum=Decimal(4000),
        default=Decimal("1.50"),
        required=True,
    ),
    Column(name="budget_amount", type=ColumnType(TypeName.DECIMAL, precision=22, scale=4)),
    Column(name="load_factor", type=ColumnType(TypeName.DOUBLE), minimum=0, maximum=1),
    Column(name="is_listed", type=ColumnType(TypeName.BOOLEAN), default=False, required=True),
    Column(name="permit_until", type=ColumnType(TypeName.DATE), minimum=date(2000, 1, 1)),
    Column(
        name="inspected_at",
        type=ColumnType(TypeName.TIMESTAMP),
        maximum=datetime(2100, 1, 1, tzinfo=UTC),
    ),
)


def drop_texts(node: Any) -> Any:
    """Remove the descriptions, which are for people."""
    if isinstance(node, list):
        return [drop_texts(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        name: drop_texts(value)
        for name, value in node.items()
        if name != "description" or not isinstance(value, str)
    }


def build_record() -> dict[str, Any]:
    """Return the schema of a request and that of a response."""
    validator = compile_schema(a_schema(COLUMNS))
    return {
        "input": drop_texts(validator.json_schema(SchemaUse.INPUT)),
        "output": drop_texts(validator.json_schema(SchemaUse.OUTPUT)),
    }


@pytest.mark.parametrize("direction", ["input", "output"])
def test_the_schema_of_a_project_is_the_recorded_one(direction: str) -> None:
    recorded = read_exactly(RECORD.read_bytes())
    assert read_exactly(ENCODER.encode(build_record()[direction])) == recorded[direction]


if __name__ == "__main__":
    RECORD.write_bytes(msgspec.json.format(ENCODER.encode(build_record())) + b"\n")
    sys.stdout.write("Review the difference: clients of the API see it.\n")
