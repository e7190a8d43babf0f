"""Encoder of rows to Excel workbooks in subprocesses, a few at a time."""

import asyncio
import importlib.util
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from typing import Final, cast

import msgspec

from spawn.domain.errors import InternalError, Overloaded
from spawn.domain.schema_version import ColumnType, TypeName

MAX_WORKBOOKS: Final = 2
"""Workbooks that one process writes at a time; each takes a processor and room for its sheets."""

_CHUNK_BYTES: Final = 256 * 1024
_KINDS: Final = {
    TypeName.INTEGER: "number",
    TypeName.BIGINT: "number",
    TypeName.DECIMAL: "number",
    TypeName.DOUBLE: "number",
    TypeName.BOOLEAN: "boolean",
    TypeName.DATE: "date",
    TypeName.TIMESTAMP: "timestamp",
}


def has_excel() -> bool:
    """Return whether the package that writes workbooks is installed."""
    return importlib.util.find_spec("xlsxwriter") is not None


class WorkbookEncoder:
    """Encoder of rows, as lines of JSON, to workbooks."""

    def __init__(self) -> None:
        self._running = 0

    async def encode(
        self,
        lines: AsyncIterator[bytes],
        columns: Sequence[tuple[str, ColumnType | None]],
        name: str,
    ) -> AsyncGenerator[bytes]:
        """Yield the chunks of a workbook, the first once all rows are read.

        Closing the iterator stops the work.

        Raises:
            Overloaded: as many workbooks as possible are written already.
            InternalError: the process failed, such as without room for its temporary files.
        """
        if self._running >= MAX_WORKBOOKS:
            raise Overloaded("Too many workbooks are written at a time: retry later.")
        self._running += 1
        process: Process | None = None
        feeding: asyncio.Task[None] | None = None
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "spawn.adapters.workers.workbook_writer"),
                stdin=PIPE,
                stdout=PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            source = cast("asyncio.StreamReader", process.stdout)
            feeding = asyncio.create_task(_feed(process, lines, columns, name))
            while chunk := await source.read(_CHUNK_BYTES):
                yield chunk
            await feeding
            if await process.wait():
                raise InternalError("The workbook could not be written: is there room for it?")
        finally:
            if feeding is not None:
                feeding.cancel()
            if process is not None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            self._running -= 1


async def _feed(
    process: Process,
    lines: AsyncIterator[bytes],
    columns: Sequence[tuple[str, ColumnType | None]],
    name: str,
) -> None:
    """Write the columns and the rows to the process; stop if it has ended."""
    sink = cast("asyncio.StreamWriter", process.stdin)
    kinds = [
        (column, _KINDS.get(kind.name, "text") if kind else "text") for column, kind in columns
    ]
    with suppress(BrokenPipeError, ConnectionResetError):
        sink.write(msgspec.json.encode({"name": name, "columns": kinds}) + b"\n")
        chunk = bytearray()
        async for line in lines:
            chunk += line
            if len(chunk) >= _CHUNK_BYTES:
                sink.write(bytes(chunk))
                await sink.drain()
                chunk.clear()
        sink.write(bytes(chunk))
        await sink.drain()
        sink.close()
