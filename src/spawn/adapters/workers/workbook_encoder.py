"""Encoder of rows to Excel workbooks in subprocesses, a few at a time."""

import asyncio
import errno
import importlib.util
import os
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final, cast

import msgspec

from spawn.adapters.embedded.thread_work import build_in_thread
from spawn.domain.errors import InternalError, Overloaded, StorageFull
from spawn.domain.schema_version import ColumnType, TypeName

MAX_WORKBOOKS: Final = 2
"""Workbooks that one process writes at a time; each takes a processor and room for its sheets."""

FOLDER_PREFIX: Final = "workbook-"
"""The beginning of the names of folders that are removed at a start; a process id follows."""

EXIT_DISK_FULL: Final = 75
"""Exit code of the process without room on the disk; that of a temporary failure in sysexits.h."""

FULL_DISK_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_ROOM: Final = "The disk has no room for the sheets of the workbook: take CSV, or retry later."
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
    """Encoder of rows, as lines of JSON, to workbooks.

    The sheets are temporary files, of a folder for each workbook: a process that is killed, as when
    its client leaves, cannot remove them. Those of a crash are removed at the next start.

    Args:
        folder: the folder of those folders; None for the system's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._running = 0
        for left_folder in () if folder is None else folder.glob(f"{FOLDER_PREFIX}*"):
            if not _is_in_use(left_folder.name):
                shutil.rmtree(left_folder, ignore_errors=True)

    async def encode(
        self,
        lines: AsyncGenerator[bytes],
        columns: Sequence[tuple[str, ColumnType | None]],
        name: str,
    ) -> AsyncGenerator[bytes]:
        """Yield the chunks of a workbook, the first once all rows are read.

        Closing the iterator stops the work.

        Raises:
            Overloaded: as many workbooks as possible are written already.
            StorageFull: there is no room for the temporary files.
            InternalError: the process failed.
        """
        if self._running >= MAX_WORKBOOKS:
            raise Overloaded("Too many workbooks are written at a time: retry later.")
        self._running += 1
        process: Process | None = None
        feeding: asyncio.Task[None] | None = None
        folder: str | None = None
        try:
            prefix = f"{FOLDER_PREFIX}{os.getpid()}-"
            folder = await build_in_thread(
                lambda: _make_folder(self._folder, prefix), close=shutil.rmtree
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "spawn.adapters.workers.workbook_writer"),
                stdin=PIPE,
                stdout=PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": folder},
                start_new_session=True,
            )
            source = cast("asyncio.StreamReader", process.stdout)
            feeding = asyncio.create_task(_feed(process, lines, columns, name))
            while chunk := await source.read(_CHUNK_BYTES):
                yield chunk
            await feeding
            if (code := await process.wait()) == EXIT_DISK_FULL:
                raise StorageFull(_NO_ROOM)
            if code:
                raise InternalError("The workbook could not be written.")
        finally:
            if feeding is not None:
                feeding.cancel()
            if process is not None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if feeding is not None:
                await asyncio.wait({feeding})
            self._running -= 1
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _make_folder(folder: Path | None, prefix: str) -> str:
    try:
        return mkdtemp(prefix=prefix, dir=folder)
    except OSError as failure:
        if failure.errno in FULL_DISK_ERRORS:
            raise StorageFull(_NO_ROOM) from failure
        raise


def _is_in_use(name: str) -> bool:
    """Whether the process that a folder is named for runs beside this one."""
    number = name.removeprefix(FOLDER_PREFIX).partition("-")[0]
    if not number.isdecimal() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


async def _feed(
    process: Process,
    lines: AsyncGenerator[bytes],
    columns: Sequence[tuple[str, ColumnType | None]],
    name: str,
) -> None:
    """Write the columns and the rows to the process; stop if it has ended.

    If the rows end with an error, so does the process, which would wait for more of them.
    """
    sink = cast("asyncio.StreamWriter", process.stdin)
    kinds = [
        (column, _KINDS.get(kind.name, "text") if kind else "text") for column, kind in columns
    ]
    try:
        async with aclosing(lines):
            await _write_rows(sink, lines, {"name": name, "columns": kinds})
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        raise


async def _write_rows(
    sink: asyncio.StreamWriter, lines: AsyncGenerator[bytes], layout: dict[str, Any]
) -> None:
    """Write the columns and the rows until the process reads no more."""
    with suppress(BrokenPipeError, ConnectionResetError):
        sink.write(msgspec.json.encode(layout) + b"\n")
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
