"""Workers as subprocesses of the service."""

import importlib.util
import os
from datetime import date
from typing import Final

from spawn.adapters.workers.import_worker import DraftingSubprocess
from spawn.adapters.workers.simulation_worker import SimulationSubprocess
from spawn.adapters.workers.workbook_reader import WorkbookSubprocess
from spawn.domain.imports.record_parser import FileLayout
from spawn.domain.schema_version import Schema
from spawn.ports.runtime import ReadableFile

_MAX_THREADS: Final = 2


class SubprocessWorkers:
    """Workers as subprocesses; `threads` are those of a simulation, None for up to two."""

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads or max(1, min(_MAX_THREADS, os.cpu_count() or 1))

    @property
    def reads_workbooks(self) -> bool:
        """Whether the package of the extra `excel` is installed."""
        return importlib.util.find_spec("python_calamine") is not None

    def start_drafting(
        self, schema: Schema, layout: FileLayout, on_date: date | None
    ) -> DraftingSubprocess:
        """Start a drafting worker; see `Workers.start_drafting`."""
        return DraftingSubprocess(schema, layout, on_date)

    def start_simulation(self, file: ReadableFile) -> SimulationSubprocess:
        """Start a simulation worker; see `Workers.start_simulation`."""
        return SimulationSubprocess(file, self._threads)

    def open_workbook(self, file: ReadableFile, sheet: str | int | None) -> WorkbookSubprocess:
        """Start a reader of a sheet; see `Workers.open_workbook`."""
        return WorkbookSubprocess(file, sheet)
