"""Results as JSON, CSV or an Arrow stream; pyarrow is asked for only when Arrow is."""

import csv
import importlib
import importlib.util
import io
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import inspect

from spawn.application.analysis.calculation import Calculation
from spawn.entrypoints.http.protocol.problems import Refusal
from spawn.entrypoints.http.protocol.request import StrictRequest, negotiate
from spawn.entrypoints.http.protocol.response import Reply

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
MEDIA_TYPES: Final = (JSON, CSV, ARROW)

_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")


def chosen_media_type(request: StrictRequest) -> str:
    """The form that the client wants and this installation has.

    Raises:
        Refusal: 406, there is none; it says so when only pyarrow is missing.
    """
    chosen = request.accepts(*MEDIA_TYPES)
    if chosen != ARROW or has_arrow():
        return chosen
    other = negotiate(request.field(b"accept") or "*/*", (JSON, CSV))
    if other is None:
        raise Refusal(
            "not_acceptable",
            "Arrow streams need the optional extra: install spawn[arrow]. "
            f"Without it this resource has: {JSON}, {CSV}.",
        )
    return other


def has_arrow() -> bool:
    """Whether the optional extra is installed."""
    return importlib.util.find_spec("pyarrow") is not None


class Table(msgspec.Struct, frozen=True):
    """Rows of several cases: each row is led by the number of its case and the case's name."""

    row: type[msgspec.Struct]
    rows: tuple[tuple[int, str | None, Any], ...]

    @classmethod
    def of(
        cls, row: type[msgspec.Struct], names: Sequence[str | None], found: Sequence[Calculation]
    ) -> "Table":
        """The rows of all calculations, in order."""
        numbered = enumerate(zip(names, found, strict=True), start=1)
        return cls(row, tuple((n, name, line) for n, (name, one) in numbered for line in one.rows))

    def lines(self) -> Iterator[tuple[Any, ...]]:
        """One tuple a row, in the order of the columns."""
        for number, name, row in self.rows:
            yield (number, name, *msgspec.structs.astuple(row))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return ("case", "name", *self.row.__struct_fields__)


def table_reply(media_type: str, table: Table) -> Reply:
    """The rows in the form that was chosen."""
    if media_type == CSV:
        return Reply(200, as_csv(table), media_type=b"text/csv; charset=utf-8")
    return Reply(200, as_arrow(table), media_type=ARROW.encode())


def as_json(names: Sequence[str | None], found: Sequence[Calculation], *, single: bool) -> bytes:
    """One result, or all of them under `results`."""
    results = [_shown(name, one) for name, one in zip(names, found, strict=True)]
    return _encoder.encode(results[0] if single else {"results": results})


def _shown(name: str | None, one: Calculation) -> dict[str, Any]:
    fields: dict[str, Any] = {} if name is None else {"name": name}
    fields |= msgspec.structs.asdict(one.result)
    if one.explained is not None:
        fields["explain"] = one.explained
    return fields


def as_csv(table: Table) -> bytes:
    """A header and one line a row; nothing is an empty cell, numbers have all their digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(table.columns)
    for line in table.lines():
        writer.writerow([_cell(value) for value in line])
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_SIGNS) else value
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def as_arrow(table: Table) -> bytes:
    """The rows as an Arrow IPC stream; decimals become float64."""
    pyarrow: Any = importlib.import_module("pyarrow")
    kinds = {
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        date: pyarrow.date32(),
        Decimal: pyarrow.float64(),
    }
    types = [int, str, *(_plain(field) for field in inspect.type_info(table.row).fields)]  # type: ignore[attr-defined]  # a struct has fields
    named = zip(table.columns, types, strict=True)
    schema = pyarrow.schema([(name, kinds.get(kind, pyarrow.utf8())) for name, kind in named])
    lines = [[_number(value) for value in line] for line in table.lines()]
    columns = list(zip(*lines, strict=True)) or [()] * len(types)
    arrays = [pyarrow.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
    whole: bytes = sink.getvalue().to_pybytes()
    return whole


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _plain(field: inspect.Field) -> type:
    """The Python type of a column, nullable or not."""
    parts = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    for part in parts:
        found = _COLUMN_TYPES.get(type(part))
        if found is not None:
            return found
    return str


_COLUMN_TYPES: Final[dict[type[inspect.Type], type]] = {
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
    inspect.DateType: date,
    inspect.DecimalType: Decimal,
}
