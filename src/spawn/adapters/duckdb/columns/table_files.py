"""Parquet files and Arrow streams of tables, a row group or a batch for each table."""

import asyncio
import importlib
import importlib.util
import io
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, ExitStack, aclosing
from typing import Any, Final

from spawn.adapters.duckdb.columns.parquet_tables import encode_parquet
from spawn.domain.errors import Overloaded
from spawn.ports.analytics import ArrowTable

MAX_TABLE_FILES: Final = 4
"""Files of tables that one process writes at a time; each has a table in memory, and its bytes."""

_CHUNK_BYTES: Final = 256 * 1024


def can_write(suffix: str) -> bool:
    """Return whether a package is installed that writes tables to files of a suffix."""
    return suffix in _WRITERS and (_has("pyarrow") or _has("nanoarrow"))


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


class TableEncoder:
    """Encoder of tables of one layout to a file; a few files at a time."""

    def __init__(self) -> None:
        self._running = 0

    async def encode(
        self, tables: AsyncGenerator[ArrowTable], suffix: str
    ) -> AsyncGenerator[bytes]:
        """Yield the chunks of a file of at least one table.

        Raises:
            Overloaded: as many files as possible are written already.
        """
        if self._running >= MAX_TABLE_FILES:
            raise Overloaded("Too many columnar files are written at a time: retry later.")
        self._running += 1
        is_private = suffix == "parquet" and not _has("pyarrow")
        file = encode_parquet(tables) if is_private else _write_tables(tables, suffix)
        try:
            async with aclosing(file) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._running -= 1


async def _write_tables(tables: AsyncGenerator[ArrowTable], suffix: str) -> AsyncGenerator[bytes]:
    file = _TableFile(suffix)
    async with aclosing(tables):
        async for table in tables:
            for chunk in await asyncio.to_thread(file.write, table):
                yield chunk
    for chunk in await asyncio.to_thread(file.end):
        yield chunk


class _TableFile:
    """A file as it grows: each call returns the bytes that it adds."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._sink = _Sink()
        self._stack = ExitStack()
        self._write: Callable[[ArrowTable], object] | None = None

    def write(self, table: ArrowTable) -> list[bytes]:
        if self._write is None:
            if _has("pyarrow"):
                self._write = _WRITERS[self._suffix](self._sink, table, self._stack)
            else:
                self._write = _open_nanoarrow(self._sink, self._stack)
        self._write(table)
        return self._sink.take()

    def end(self) -> list[bytes]:
        self._stack.close()
        return self._sink.take()


class _Sink(io.RawIOBase):
    """A file whose bytes are taken out of memory as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._bytes += data
        return len(data)

    def take(self) -> list[bytes]:
        """Return what was written since the last call, in pieces."""
        data, self._bytes = self._bytes, bytearray()
        view = memoryview(data)
        return [bytes(view[at : at + _CHUNK_BYTES]) for at in range(0, len(view), _CHUNK_BYTES)]


def _open_parquet(sink: _Sink, table: Any, stack: ExitStack) -> Callable[[ArrowTable], object]:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    file: AbstractContextManager[Any] = parquet.ParquetWriter(
        sink, table.schema, compression="zstd"
    )
    return stack.enter_context(file).write_table  # type: ignore[no-any-return]


def _open_arrow(sink: _Sink, table: Any, stack: ExitStack) -> Callable[[ArrowTable], object]:
    ipc: Any = importlib.import_module("pyarrow.ipc")
    file: AbstractContextManager[Any] = ipc.new_stream(sink, table.schema)
    return stack.enter_context(file).write_table  # type: ignore[no-any-return]


def _open_nanoarrow(sink: _Sink, stack: ExitStack) -> Callable[[ArrowTable], object]:
    ipc: Any = importlib.import_module("nanoarrow.ipc")
    file: AbstractContextManager[Any] = ipc.StreamWriter.from_writable(sink)
    return stack.enter_context(file).write_stream  # type: ignore[no-any-return]


_WRITERS: Final = {"parquet": _open_parquet, "arrow": _open_arrow}
