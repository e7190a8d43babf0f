"""Tables as Arrow IPC streams, if the optional extra with pyarrow is installed."""

import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any


def has_arrow() -> bool:
    """Return whether the optional extra is installed."""
    return importlib.util.find_spec("pyarrow") is not None


def has_arrow_stream() -> bool:
    """Return whether any package is installed that writes an Arrow stream of the engine."""
    return has_arrow() or importlib.util.find_spec("nanoarrow") is not None


def encode_arrow(
    names: Sequence[str], types: Sequence[type], rows: Iterable[Sequence[Any]]
) -> bytes:
    """Encode the rows of a table as an Arrow IPC stream; decimals become float64.

    Args:
        names: the names of the columns.
        types: their Python types; others than numbers, dates and booleans are texts.
        rows: the values of each row, in the order of the columns.
    """
    pyarrow: Any = importlib.import_module("pyarrow")
    arrow_types = {
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        date: pyarrow.date32(),
        Decimal: pyarrow.float64(),
    }
    schema = pyarrow.schema(
        [
            (name, arrow_types.get(python_type, pyarrow.utf8()))
            for name, python_type in zip(names, types, strict=True)
        ]
    )
    numbers = [[_to_number(value) for value in row] for row in rows]
    columns = list(zip(*numbers, strict=True)) or [()] * len(types)
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
