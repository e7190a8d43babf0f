"""Calculation responses as JSON, CSV or an Arrow stream; only Arrow imports pyarrow."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from spawn.adapters.local.arrow_stream import encode_arrow, has_arrow
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


def create_table_response(media_type: str, table: ResultTable) -> Response:
    """Encode the rows as `media_type`."""
    if media_type == CSV:
        return Response(200, encode_csv(table), media_type=b"text/csv; charset=utf-8")
    return Response(
        200,
        encode_arrow(table.columns, table.types, table.iterate_rows()),
        media_type=ARROW.encode(),
    )


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
