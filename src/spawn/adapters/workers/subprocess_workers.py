"""Workers as subprocesses of the service."""

import os
from datetime import date
from pathlib import Path
from typing import Final

from spawn.adapters.workers.import_worker import DraftingSubprocess
from spawn.adapters.workers.simulation_worker import SimulationSubprocess
from spawn.domain.imports.record_parser import FileLayout
from spawn.domain.schema_version import Schema

_MAX_THREADS: Final = 2


class SubprocessWorkers:
    """Workers as subprocesses; `threads` are those of a simulation, None for up to two."""

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads or max(1, min(_MAX_THREADS, os.cpu_count() or 1))

    def start_drafting(
        self, schema: Schema, layout: FileLayout, on_date: date | None
    ) -> DraftingSubprocess:
        """Start a drafting worker; see `Workers.start_drafting`."""
        return DraftingSubprocess(schema, layout, on_date)

    def start_simulation(self, path: Path) -> SimulationSubprocess:
        """Start a simulation worker; see `Workers.start_simulation`."""
        return SimulationSubprocess(path, self._threads)
