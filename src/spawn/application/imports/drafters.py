"""Drafters of an import's records: in the calling thread, or by a worker process."""

from collections.abc import Callable, Sequence
from typing import Protocol

from spawn.domain.imports.record_parser import FileLayout, Record
from spawn.domain.imports.row_drafter import RowDraft, RowDrafter, unpack_drafts
from spawn.domain.imports.row_reader import RowReader
from spawn.ports.workers import WorkerEnded, Workers

RecordBatch = tuple[Sequence[Record], Sequence[str], bool]
"""Records, one id for each, and whether their amendments are needed."""


class Drafter(Protocol):
    """Drafter of records under one schema and one layout, one batch at a time."""

    def begin(
        self, records: Sequence[Record], ids: Sequence[str], *, with_amendments: bool
    ) -> None:
        """Start drafting a batch; each record's project gets the id at the same index."""
        ...

    def take_results(self) -> Callable[[], list[RowDraft]]:
        """Return a function that unpacks the last batch; the next may begin before the call."""
        ...

    def close(self) -> None:
        """Release all resources; idempotent."""
        ...


class InlineDrafter:
    """Drafter in the calling thread."""

    def __init__(self, reader: RowReader, layout: FileLayout) -> None:
        self._drafter = RowDrafter(reader, layout)
        self._batch: RecordBatch = ((), (), False)

    def begin(
        self, records: Sequence[Record], ids: Sequence[str], *, with_amendments: bool
    ) -> None:
        """Store a batch."""
        self._batch = (records, ids, with_amendments)

    def take_results(self) -> Callable[[], list[RowDraft]]:
        """Return a function that drafts the last batch when it is called."""
        records, ids, with_amendments = self._batch
        draft = self._drafter.draft_rows
        return lambda: draft(records, ids, with_amendments=with_amendments)

    def close(self) -> None:
        """Do nothing: there is no resource to release."""


class WorkerDrafter:
    """Drafter by a worker process; the calling thread drafts what an ended worker has not."""

    def __init__(self, workers: Workers, reader: RowReader, layout: FileLayout) -> None:
        self._fallback = InlineDrafter(reader, layout)
        self._worker = workers.start_drafting(reader.validator.schema, layout, reader.on_date)
        self._has_ended = False

    def begin(
        self, records: Sequence[Record], ids: Sequence[str], *, with_amendments: bool
    ) -> None:
        """Send a batch to the worker."""
        self._fallback.begin(records, ids, with_amendments=with_amendments)
        if not self._has_ended:
            try:
                self._worker.send(records, ids, with_amendments=with_amendments)
            except WorkerEnded:
                self._has_ended = True

    def take_results(self) -> Callable[[], list[RowDraft]]:
        """Wait for the results; without any, return a function that drafts the batch here."""
        if not self._has_ended:
            try:
                packed_drafts = self._worker.receive()
            except WorkerEnded:
                self._has_ended = True
            else:
                return lambda: unpack_drafts(packed_drafts)
        return self._fallback.take_results()

    def close(self) -> None:
        """End the worker."""
        self._worker.close()
