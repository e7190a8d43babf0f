"""Calculation responses as JSON, CSV or an Arrow stream; only Arrow imports pyarrow."""

import importlib
import importlib.util
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import inspect

from spawn.application.analysis.calculation import CalculationResult
from spawn.application.analysis.calculation_results import ResultTable, encode_csv
from spawn.application.product.links import CSV, JSON
from spawn.entrypoints.http.protocol.negotiation import select_media_type
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response

ARROW: Final = "application/vnd.apache.arrow.stream"

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def choose_media_type(request: StrictRequest) -> str:
    """Select the media type that the client accepts and this installation supports.

    Raises:
        RequestProblem: 406, there is none; the detail names a missing pyarrow.
    """
    if request.media_type != ARROW or has_arrow():
        return request.media_type
    fallback = select_media_type(request.header(b"accept") or "*/*", (JSON, CSV))
    if fallback is None:
        raise RequestProblem(
            "not_acceptable",
            f"Arrow streams need the extra arrow, which is not installed. Accept {JSON} or {CSV}, "
            "or ask the operator to install it.",
        )
    return fallback


def has_arrow() -> bool:
    """Return whether the optional extra is installed."""
    return importlib.util.find_spec("pyarrow") is not None


def create_table_response(media_type: str, table: ResultTable) -> Response:
    """Encode the rows as `media_type`."""
    if media_type == CSV:
        return Response(200, encode_csv(table), media_type=b"text/csv; charset=utf-8")
    return Response(200, encode_arrow(table), media_type=ARROW.encode())


def encode_values(value: msgspec.Struct) -> bytes:
    """Encode a result as JSON, its decimals as numbers with all their digits."""
    return _encoder.encode(value)


def encode_json(
    names: Sequence[str | None], calculations: Sequence[CalculationResult], *, is_single: bool
) -> bytes:
    """Encode one result, or all of them under `results`."""
    results = [
        _result_fields(name, calculation)
        for name, calculation in zip(names, calculations, strict=True)
    ]
    return _encoder.encode(results[0] if is_single else {"results": results})


def _result_fields(name: str | None, calculation: CalculationResult) -> dict[str, Any]:
    fields: dict[str, Any] = {} if name is None else {"name": name}
    if calculation.result is None:
        return fields | {"errors": calculation.errors}
    fields |= msgspec.structs.asdict(calculation.result)
    if calculation.explanations is not None:
        fields["explain"] = calculation.explanations
    return fields


def encode_arrow(table: ResultTable) -> bytes:
    """Encode the rows as an Arrow IPC stream; decimals become float64."""
    pyarrow: Any = importlib.import_module("pyarrow")
    arrow_types = {
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        date: pyarrow.date32(),
        Decimal: pyarrow.float64(),
    }
    types = [int, str, *(_column_type(field) for field in inspect.type_info(table.row).fields)]  # type: ignore[attr-defined]  # a struct has fields
    typed_columns = zip(table.columns, types, strict=True)
    schema = pyarrow.schema(
        [
            (name, arrow_types.get(python_type, pyarrow.utf8()))
            for name, python_type in typed_columns
        ]
    )
    rows = [[_to_number(value) for value in row] for row in table.iterate_rows()]
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    arrays = [
        pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)
    ]
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _to_number(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


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
