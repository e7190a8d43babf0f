"""Results of calculations as rows and CSV, and their JSON Schema."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import inspect

from spawn.application.analysis.calculation import CalculationResult
from spawn.application.struct_schemas import Json, output_schema, reference
from spawn.domain.errors import FieldError

_EXPLANATION_SCHEMA: Final[Json] = {
    "type": "object",
    "description": "A figure: its value, its formula, the inputs of the formula, and a note.",
    "properties": {
        "value": {"description": "The figure, or the table of figures, as in the result."},
        "formula": {"type": "string"},
        "inputs": {"type": "object"},
        "note": {"type": "string"},
    },
    "required": ["value", "formula", "inputs", "note"],
}
_FAILURE_SCHEMA: Final[Json] = {
    "type": "object",
    "description": "A case that has no result, with the reasons.",
    "properties": {
        "name": {"type": "string"},
        "errors": {"type": "array", "minItems": 1, "items": reference("FieldError")},
    },
    "required": ["errors"],
}
_FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r")


class ResultTable(msgspec.Struct, frozen=True):
    """Rows of several cases, each with the number and the name of its case."""

    row: type[msgspec.Struct]
    rows: tuple[tuple[int, str | None, Any], ...]

    @classmethod
    def from_calculations(
        cls,
        row: type[msgspec.Struct],
        names: Sequence[str | None],
        calculations: Sequence[CalculationResult],
    ) -> "ResultTable":
        """Build the table of all calculations, in order."""
        numbered_cases = enumerate(zip(names, calculations, strict=True), start=1)
        return cls(
            row,
            tuple(
                (number, name, line)
                for number, (name, calculation) in numbered_cases
                for line in calculation.rows
            ),
        )

    def iterate_rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield one tuple per row, in the order of the columns."""
        for number, name, row in self.rows:
            yield (number, name, *msgspec.structs.astuple(row))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return ("case", "name", *self.row.__struct_fields__)

    @property
    def types(self) -> tuple[type, ...]:
        """The Python types of the columns."""
        row_info = inspect.type_info(self.row)
        return (int, str, *map(_column_type, row_info.fields))  # type: ignore[attr-defined]  # a struct has fields


def encode_csv(table: ResultTable) -> bytes:
    """Encode a header and one line per row; None is an empty cell, numbers have all digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(table.columns)
    for line in table.iterate_rows():
        writer.writerow([format_cell(value) for value in line])
    return text.getvalue().encode()


def format_cell(value: Any) -> str:
    """Return a value as the text of a CSV cell, never as a formula of a spreadsheet."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_PREFIXES) else value
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def response_schema(result: type[msgspec.Struct]) -> Json:
    """Return the schema of one result, or of `results` in the order of the cases.

    Among several cases one without a result has its errors in place of figures.
    """
    definitions = output_schema(result)["$defs"]
    calculation = result.__name__.removesuffix("Result")
    schema = definitions.pop(result.__name__)
    explanations = {"type": "object", "additionalProperties": reference("Explanation")}
    properties = {**schema["properties"], "name": {"type": "string"}, "explain": explanations}
    results = {
        "type": "array",
        "items": {"anyOf": [reference(f"{calculation}Response"), reference("FailedCase")]},
    }
    several = {
        "type": "object",
        "description": "The results of several cases, in their order.",
        "properties": {"results": results},
        "required": ["results"],
    }
    responses = {
        f"{calculation}Response": {**schema, "properties": properties},
        f"{calculation}BatchResponse": several,
    }
    return {
        "$defs": {
            **definitions,
            **output_schema(FieldError)["$defs"],
            "Explanation": _EXPLANATION_SCHEMA,
            "FailedCase": _FAILURE_SCHEMA,
            **responses,
        },
        "anyOf": [reference(name) for name in responses],
    }


def _column_type(field: inspect.Field) -> type:
    """Return the Python type of a column, nullable or not."""
    parts = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    for part in parts:
        column_type = _COLUMN_TYPES.get(type(part))
        if column_type is not None:
            return column_type
    return str


_COLUMN_TYPES: Final[dict[type[inspect.Type], type]] = {
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
    inspect.DateType: date,
    inspect.DecimalType: Decimal,
}
