"""Columnar files of long rows: bounded row groups, the order of rows, and a clear error."""

import importlib
import io
import os
import re
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import pytest

from spawn.adapters.duckdb.columns import columnar_files, row_pipes
from spawn.adapters.duckdb.columns.columnar_files import ColumnarEncoder
from spawn.adapters.duckdb.columns.row_pipes import RowPipes
from spawn.domain.errors import InvalidInput
from spawn.domain.schema_version import ColumnType, TypeName

ipc: Any = importlib.import_module("pyarrow.ipc")
parquet: Any = importlib.import_module("pyarrow.parquet")  # its stubs do not export the names
COLUMNS = [("number", ColumnType(TypeName.INTEGER)), ("document", None)]


async def rows(count: int, length: int) -> AsyncGenerator[bytes]:
    for number in range(count):
        document = (f"{number:08d}" * (length // 8)).encode()
        yield b'{"number":%d,"document":"%b"}\n' % (number, document)


async def encode(count: int, length: int, *, is_arrow: bool = False) -> bytes:
    chunks = ColumnarEncoder().encode(rows(count, length), COLUMNS, is_arrow=is_arrow)
    return b"".join([chunk async for chunk in chunks])


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


async def test_long_rows_are_in_several_groups_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(columnar_files, "_ROW_GROUP_BYTES", 1024 * 1024)
    file = parquet.ParquetFile(io.BytesIO(await encode(6_000, 1_600)))
    assert file.metadata.num_row_groups > 1
    table = file.read()
    assert table["number"].to_pylist() == list(range(6_000))
    assert table["document"][4_321].as_py() == "00004321" * 200


@pytest.mark.parametrize("is_arrow", [False, True])
async def test_rows_beyond_the_memory_of_the_engine_are_an_error_of_the_request(
    monkeypatch: pytest.MonkeyPatch,
    is_arrow: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    monkeypatch.setattr(columnar_files, "MEMORY_LIMIT", "48MB")
    with pytest.raises(InvalidInput) as failure:
        await encode(2_000, 40_000, is_arrow=is_arrow)
    assert [(one.pointer, one.code) for one in failure.value.errors] == [("/format", "too_large")]
    assert "lines of JSON" in failure.value.detail


@pytest.mark.parametrize(
    ("text", "error"),
    [("Out of Memory Error: failed to allocate data", duckdb.OutOfMemoryException), ("?", OSError)],
)
def test_an_error_behind_the_first_batches_has_the_type_of_one_before_them(
    text: str, error: type[Exception]
) -> None:
    """pyarrow raises the errors of the engine that it reads as errors of the system."""

    def read() -> Iterator[int]:
        yield 1
        raise OSError(text)

    batches = columnar_files._read_batches(read())
    assert next(batches) == 1
    with pytest.raises(error, match=re.escape(text)):
        next(batches)


@pytest.mark.parametrize("format_name", ["parquet", "arrow", "arrow without pyarrow"])
async def test_rows_beyond_the_memory_of_the_engine_in_all_are_written_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, format_name: str
) -> None:
    monkeypatch.setattr(columnar_files, "MEMORY_LIMIT", "64MB")
    monkeypatch.setattr(columnar_files, "_MAX_ROW_BYTES", 64 * 1024)
    monkeypatch.setattr(columnar_files, "_ROW_GROUP_BYTES", 1024 * 1024)
    monkeypatch.setattr(row_pipes, "PIPE_BYTES", 1024 * 1024)
    if format_name == "arrow without pyarrow":
        monkeypatch.setattr(
            columnar_files, "_write_arrow", columnar_files._write_arrow_without_pyarrow
        )
    is_arrow = format_name != "parquet"
    count = 40_000
    chunks = ColumnarEncoder(tmp_path).encode(rows(count, 2_000), COLUMNS, is_arrow=is_arrow)
    file = io.BytesIO(b"".join([chunk async for chunk in chunks]))
    table = ipc.open_stream(file).read_all() if is_arrow else parquet.read_table(file)
    assert table["number"].to_pylist() == list(range(count))
    assert is_empty(tmp_path)


async def test_a_file_that_is_closed_early_leaves_no_pipe(tmp_path: Path) -> None:
    chunks = ColumnarEncoder(tmp_path).encode(rows(40_000, 800), COLUMNS, is_arrow=True)
    await anext(chunks)
    await chunks.aclose()
    assert is_empty(tmp_path)


def test_every_pipe_has_its_path_at_any_moment(tmp_path: Path) -> None:
    """The engine looks for all of them when it begins, which may be while the rows end."""
    missing = 0
    for _ in range(10):
        pipes, is_over = RowPipes(tmp_path, "pipes-"), Event()
        path = os.fspath(pipes.paths[1])

        def look(path: str = path, is_over: Event = is_over) -> int:
            count = 0
            while not is_over.is_set():
                count += not os.path.lexists(path)
            return count

        with ThreadPoolExecutor(2) as pool:
            looking = pool.submit(look)
            reading = pool.submit(pipes.paths[0].read_bytes)
            pipes.write(b"{}\n")
            pipes.finish()
            is_over.set()
            missing += looking.result()
            assert reading.result() == b"{}\n"
        pipes.release()
    assert missing == 0
