"""Parquet files of tables where pyarrow is not installed.

A private engine reads the tables as one Arrow stream, which nanoarrow decodes from a pipe, and
writes the file to another.
"""

import asyncio
import fcntl
import importlib
import io
import os
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager, suppress
from typing import Any, Final

import duckdb

from spawn.adapters.duckdb.columns.columnar_files import copy_to_parquet, transcode
from spawn.adapters.embedded.thread_work import settle
from spawn.ports.analytics import ArrowTable

_PIPE_BYTES: Final = 1024 * 1024
_THREADS: Final = 3


async def encode_parquet(tables: AsyncGenerator[ArrowTable]) -> AsyncGenerator[bytes]:
    """Yield the chunks of a Parquet file of at least one table; closing it stops the work.

    Raises:
        InvalidInput: the rows are too long for the memory of an engine.
    """
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="spawn-parquet")
    pipe = _TablePipe()
    try:
        async with aclosing(transcode(pool, pipe.copy, _feed(pool, tables, pipe))) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        pool.shutdown(wait=False)


class _TablePipe:
    """Pipe with an Arrow stream of tables; a thread writes while another one, the engine, reads."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        with suppress(OSError):  # beyond the limit of the user, the pipe stays small
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._reader, self._writer = os.fdopen(reader, "rb"), os.fdopen(writer, "wb", buffering=0)
        self._stack = ExitStack()
        self._stack.callback(self._writer.close)
        self._stream: Any = None

    def write(self, table: ArrowTable) -> None:
        """Write a table; wait until the engine has read most of it.

        Raises:
            BrokenPipeError: the engine reads no more.
        """
        with _unwrap_broken_pipe():
            if self._stream is None:
                ipc: Any = importlib.import_module("nanoarrow.ipc")
                stream = ipc.StreamWriter.from_writable(self._writer)
                self._stream = self._stack.enter_context(stream)
            self._stream.write_stream(table)

    def finish(self) -> None:
        """End the tables."""
        with suppress(BrokenPipeError), _unwrap_broken_pipe():
            self._stack.close()

    def copy(self, connection: duckdb.DuckDBPyConnection, file: int) -> None:
        """Write the tables to a pipe as a Parquet file."""
        with self._reader:
            connection.register("tables", _TableStream(self._reader))
            copy_to_parquet(connection, "from tables", file)


class _TableStream:
    """Arrow stream of a pipe; the engine asks for its schema first, and then for its rows once."""

    def __init__(self, reader: io.BufferedReader) -> None:
        nanoarrow: Any = importlib.import_module("nanoarrow")
        ipc: Any = importlib.import_module("nanoarrow.ipc")
        self._stream = nanoarrow.c_array_stream(ipc.InputStream.from_readable(reader))
        self._schema = self._stream.get_schema()

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._stream.__arrow_c_stream__(requested_schema)


@contextmanager
def _unwrap_broken_pipe() -> Iterator[None]:
    """Raise the error of the pipe where nanoarrow has made one of its own of it."""
    try:
        yield
    except RuntimeError as failure:
        if "BrokenPipeError" in str(failure):
            raise BrokenPipeError from failure
        raise


async def _feed(pool: Executor, tables: AsyncGenerator[ArrowTable], pipe: _TablePipe) -> None:
    """Write the tables to the pipe and end them; stop if nobody reads them any more."""
    loop = asyncio.get_running_loop()
    writing: asyncio.Future[None] | None = None
    try:
        async with aclosing(tables):
            async for table in tables:
                writing = loop.run_in_executor(pool, pipe.write, table)
                await asyncio.shield(writing)
    except BrokenPipeError:
        pass  # The engine failed; its own error says why.
    finally:
        # Another file could get the number of a pipe that is closed under the thread.
        await settle(writing)
        await settle(loop.run_in_executor(pool, pipe.finish))
