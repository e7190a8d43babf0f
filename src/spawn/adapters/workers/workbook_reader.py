"""Reader of an Excel workbook in a subprocess.

A workbook is compressed, and a few bytes may stand for a sheet of any size. The process has a limit
of memory, ends when the service does, and does not hold the service's interpreter lock.
"""

import pickle
import subprocess
import sys
from contextlib import suppress
from typing import Any, BinaryIO, cast

from spawn.adapters.workers.child_process import end_process, pass_file
from spawn.adapters.workers.sheet_scan import TOO_LARGE
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.cells.sheet_cell import SheetRow
from spawn.ports.runtime import ReadableFile
from spawn.ports.workers import WorkerEnded


class WorkbookSubprocess:
    """The subprocess that reads one sheet; see `WorkbookReader`."""

    def __init__(self, file: ReadableFile, sheet: str | int | None) -> None:
        self.sheets: tuple[str, ...] = ()
        module = "spawn.adapters.workers.workbook_rows"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with pass_file(file) as child_file:
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", module, child_file.path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    pass_fds=child_file.descriptors,
                    # An interrupt at the terminal must reach only the service, which ends this.
                    start_new_session=True,
                )
        except OSError:
            return
        with suppress(OSError):
            sink = cast("BinaryIO", self._process.stdin)
            pickle.dump(sheet, sink)
            sink.flush()

    def read_rows(self) -> list[SheetRow]:
        """Wait for the next rows; none at the end."""
        if self._process is None:
            raise WorkerEnded
        source = cast("BinaryIO", self._process.stdout)
        if not self.sheets:
            self.sheets = self._receive(source)
        rows: list[SheetRow] = self._receive(source)
        return rows

    def _receive(self, source: BinaryIO) -> Any:
        # Only our own subprocess writes to this pipe.
        try:
            message = pickle.load(source)  # noqa: S301 - as the line above says
        except (OSError, EOFError, pickle.UnpicklingError):
            self.close()
            # The native reader ends the process if it gets no memory.
            raise InvalidInput.at("", "too_large", TOO_LARGE) from None
        if isinstance(message, FieldError):
            self.close()
            raise InvalidInput((message,))
        return message

    def close(self) -> None:
        """Kill the process; idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        end_process(process)
