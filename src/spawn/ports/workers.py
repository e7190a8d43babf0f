"""Workers: processes beside the service, for work that would occupy its interpreter.

A worker ends with the service, however that ends. Its methods block, so they are called on a
thread. Every method but `close` raises `WorkerEnded` if the process cannot start or has ended.
"""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

import msgspec

from spawn.domain.finance.simulation.monte_carlo_case import SimulationResult
from spawn.domain.imports.cells.sheet_cell import SheetRow
from spawn.domain.imports.record_parser import FileLayout, Record
from spawn.domain.imports.row_drafter import PackedDraft
from spawn.domain.schema_version import Schema
from spawn.ports.runtime import ReadableFile


class WorkerEnded(Exception):
    """The process of a worker has ended before its work was done."""


class DraftingWorker(Protocol):
    """Worker that drafts projects from records, one batch at a time."""

    def send(
        self, records: Sequence[Record], ids: Sequence[str], *, with_amendments: bool = False
    ) -> None:
        """Start on a batch; each record's project gets the id at the same index.

        With amendments, a valid row also has the values for a project that exists already.
        """
        ...

    def receive(self) -> list[PackedDraft]:
        """Wait for the drafts of the last batch."""
        ...

    def close(self) -> None:
        """End the process, whose remaining work is not needed; idempotent."""
        ...


class SimulationProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a simulation: the valued paths so far, at the end the result."""

    valued_paths: int = 0
    result: SimulationResult | None = None


class SimulationWorker(Protocol):
    """Worker that runs one simulation."""

    def read_progress(self) -> SimulationProgress:
        """Wait for the next progress; the first call starts the process.

        Raises:
            InvalidInput: the case or a path is outside the limits of the engine.
        """
        ...

    def close(self) -> None:
        """End the process; idempotent, and allowed while another thread waits."""
        ...


class WorkbookReader(Protocol):
    """Worker that reads one sheet of a workbook."""

    @property
    def sheets(self) -> tuple[str, ...]:
        """The names of the workbook's sheets, known after the first call of `read_rows`."""
        ...

    def read_rows(self) -> list[SheetRow]:
        """Wait for the next rows that have content; none at the end.

        Raises:
            InvalidInput: the file is no workbook, is too large, or lacks the sheet.
        """
        ...

    def close(self) -> None:
        """End the process; idempotent."""
        ...


class Workers(Protocol):
    """Port that starts workers."""

    @property
    def reads_workbooks(self) -> bool:
        """Whether the optional package that reads workbooks is installed."""
        ...

    def start_drafting(
        self, schema: Schema, layout: FileLayout, on_date: date | None
    ) -> DraftingWorker:
        """Start a worker for the records of one file under one schema.

        Rules about dates use `on_date`; without one they are not checked.
        """
        ...

    def start_simulation(self, file: ReadableFile) -> SimulationWorker:
        """Start a worker for the encoded simulation case in a file."""
        ...

    def open_workbook(self, file: ReadableFile, sheet: str | int | None) -> WorkbookReader:
        """Start a worker for a sheet: by its name, its number from 1, or the first visible one."""
        ...
