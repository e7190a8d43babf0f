# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Parquet files and Arrow streams of rows, in bounded memory and without a copy on the disk.

A private engine reads lines of JSON from pipes and writes the file to another, so that rows
of any store become columns of exact types. Arrow streams need pyarrow or nanoarrow.
"""

import asyncio
import importlib
import importlib.util
import os
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

import duckdb

from spawn.adapters.duckdb.columns.row_pipes import RowPipes
from spawn.adapters.duckdb.tables import quote_name, sql_type
from spawn.adapters.embedded.thread_work import settle
from spawn.domain.errors import InternalError, InvalidInput, Overloaded
from spawn.domain.schema_version import ColumnType, TypeName

Columns = Sequence[tuple[str, ColumnType | None]]
"""Names and types of columns; None is JSON as a text."""

MAX_ENCODINGS: Final = 4
"""Files that one process writes at a time; each takes three threads and an engine."""

MEMORY_LIMIT: Final = "512MB"
"""Memory of an engine at most. It reads 2,048 rows at a time, whose size it takes several times."""

_CHUNK_BYTES: Final = 256 * 1024
_MAX_ROW_BYTES: Final = 16 * 1024 * 1024
_ROW_GROUP_ROWS: Final = 20_000
_ROW_GROUP_BYTES: Final = 16 * 1024 * 1024
_BATCH_ROWS: Final = 2_048
_THREADS: Final = 3
_OUT_OF_MEMORY: Final = "Out of Memory Error"
_TOO_LONG_ROWS: Final = (
    "The rows are too long for this format: select fields, or use lines of JSON or CSV."
)


class ColumnarEncoder:
    """Encoder of rows, as lines of JSON, to columnar files; a few at a time.

    Args:
        folder: the folder of the pipes; None for the system's.
        prefix: the beginning of the name of a folder of pipes in it.
    """

    def __init__(self, folder: Path | None = None, prefix: str = "rows-") -> None:
        self._folder, self._prefix = folder, prefix
        self._running = 0

    async def encode(
        self, lines: AsyncGenerator[bytes], columns: Columns, *, is_arrow: bool
    ) -> AsyncGenerator[bytes]:
        """Yield the chunks of a Parquet file, or of an Arrow stream.

        Closing the iterator stops the work.

        Raises:
            InvalidInput: the rows are too long for the memory of an engine.
            Overloaded: as many files as possible are written already.
        """
        if self._running >= MAX_ENCODINGS:
            raise Overloaded("Too many columnar files are written at a time: retry later.")
        self._running += 1
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="spawn-columnar")
        try:
            pipes = RowPipes(self._folder, self._prefix)
            write = _write_arrow if is_arrow else _write_parquet

            def run(connection: duckdb.DuckDBPyConnection, file: int) -> None:
                try:
                    write(connection, pipes.paths, columns, file)
                finally:
                    pipes.release()  # ends the writer of rows if this fails

            async with aclosing(transcode(pool, run, _feed(pool, lines, pipes))) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            pool.shutdown(wait=False)
            self._running -= 1


async def transcode(
    pool: Executor,
    write: Callable[[duckdb.DuckDBPyConnection, int], None],
    feed: Coroutine[Any, Any, None],
) -> AsyncGenerator[bytes]:
    """Yield the file that a private engine writes to a pipe, while it is fed with rows.

    Args:
        pool: three threads at least.
        write: the work of the engine; it gets the pipe, and ends if nobody reads it.
        feed: the work that feeds it; a cancelled one ends the rows.

    Raises:
        InvalidInput: the rows are too long for the memory of an engine.
        InternalError: a row does not fit the columns.
    """
    loop = asyncio.get_running_loop()
    connection = _connect()
    file_out, file_in = os.pipe()

    def run() -> None:
        try:
            write(connection, file_in)
        finally:
            os.close(file_in)  # ends the reader of the file

    writing = loop.run_in_executor(pool, run)
    feeding = asyncio.create_task(feed)
    reading: asyncio.Future[bytes] | None = None
    try:
        while True:
            reading = loop.run_in_executor(pool, os.read, file_out, _CHUNK_BYTES)
            if not (chunk := await asyncio.shield(reading)):
                break
            yield chunk
        await feeding
        await writing
    except duckdb.OutOfMemoryException as failure:
        raise InvalidInput.at("/format", "too_large", _TOO_LONG_ROWS) from failure
    except duckdb.Error as failure:
        raise InternalError(
            "A row does not fit the columns of the file: report the error id to the operator."
        ) from failure
    finally:
        # In this order no thread waits for ever, and none uses a pipe that is closed already: the
        # engine ends at the end of its rows, or because nobody reads its file.
        connection.interrupt()
        feeding.cancel()
        await settle(reading)
        os.close(file_out)
        await settle(feeding)
        await settle(writing)
        connection.close()


async def _feed(pool: Executor, lines: AsyncGenerator[bytes], pipes: RowPipes) -> None:
    """Write the lines to the pipes and end them; stop if nobody reads them any more."""
    loop, chunk = asyncio.get_running_loop(), bytearray()
    writing: asyncio.Future[None] | None = None
    try:
        async with aclosing(lines):
            async for line in lines:
                chunk += line
                if len(chunk) >= _CHUNK_BYTES:
                    writing = loop.run_in_executor(pool, pipes.write, bytes(chunk))
                    await asyncio.shield(writing)
                    chunk.clear()
        writing = loop.run_in_executor(pool, pipes.write, bytes(chunk))
        await asyncio.shield(writing)
    except BrokenPipeError:
        pass  # The engine failed; its own error says why.
    finally:
        # Another file could get the number of a pipe that is closed under the thread.
        await settle(writing)
        await settle(loop.run_in_executor(pool, pipes.finish))


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "threads": 1,
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            # Row groups have a size in bytes only without it; a single thread keeps the order.
            "preserve_insertion_order": False,
        }
    )
    connection.execute("set timezone = 'UTC'")
    return connection


def _select_sql(paths: Sequence[Path], columns: Columns) -> str:
    files = ", ".join("'{}'".format(str(path).replace("'", "''")) for path in paths)
    layout = ", ".join(f"{quote_name(name)}: '{_engine_type(kind)}'" for name, kind in columns)
    names = ", ".join(quote_name(name) for name, _ in columns)
    return (
        f"select {names} from read_json([{files}], format = 'newline_delimited',"
        f" maximum_object_size = {_MAX_ROW_BYTES:d}, columns = {{{layout}}})"
    )


def _engine_type(column_type: ColumnType | None) -> str:
    if column_type is None:
        return "VARCHAR"
    return "TIMESTAMPTZ" if column_type.name is TypeName.TIMESTAMP else sql_type(column_type)


def _write_parquet(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[Path], columns: Columns, pipe: int
) -> None:
    copy_to_parquet(connection, _select_sql(paths, columns), pipe)


def copy_to_parquet(connection: duckdb.DuckDBPyConnection, select: str, pipe: int) -> None:
    """Write the rows of a query to a pipe as a Parquet file."""
    connection.execute(
        f"copy ({select}) to '/dev/fd/{pipe}'"
        f" (format parquet, compression zstd, row_group_size {_ROW_GROUP_ROWS:d},"
        f" row_group_size_bytes {_ROW_GROUP_BYTES:d})"
    )


def _write_arrow(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[Path], columns: Columns, pipe: int
) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        _write_arrow_without_pyarrow(connection, paths, columns, pipe)
        return
    pyarrow: Any = importlib.import_module("pyarrow")
    batches = connection.execute(_select_sql(paths, columns)).to_arrow_reader(_BATCH_ROWS)
    with (
        suppress(BrokenPipeError),
        os.fdopen(os.dup(pipe), "wb") as file,
        pyarrow.ipc.new_stream(file, batches.schema) as writer,
    ):
        for batch in _read_batches(batches):
            writer.write_batch(batch)


def _read_batches(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches; an error of the engine after the first has its own type again."""
    try:
        yield from batches
    except OSError as failure:
        if str(failure).startswith(_OUT_OF_MEMORY):
            raise duckdb.OutOfMemoryException(str(failure)) from failure
        raise


def _write_arrow_without_pyarrow(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[Path], columns: Columns, pipe: int
) -> None:
    """Write the rows of one pipe after another, each from a table.

    nanoarrow holds the interpreter while the engine computes a batch, so rows that are still to be
    written to a pipe would never arrive.
    """
    ipc: Any = importlib.import_module("nanoarrow.ipc")
    with (
        suppress(BrokenPipeError),
        os.fdopen(os.dup(pipe), "wb") as file,
        ipc.StreamWriter.from_writable(file) as writer,
    ):
        for path in paths:
            select = _select_sql([path], columns)
            connection.execute(f"create or replace temp table part as {select}")
            writer.write_stream(connection.table("part"))
            if not path.is_fifo():
                return
