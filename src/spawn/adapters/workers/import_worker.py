"""Drafting of an import's rows in a subprocess.

Reading and validating a row takes several times as long as committing it, and holds the
interpreter lock meanwhile. In a second process the service stays responsive, and both cores work.
The process lives as long as its import; it ends when its input ends, even if the service is killed.
"""

import gc
import pickle
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from typing import BinaryIO, NamedTuple, cast

from spawn.adapters.workers.child_process import end_process
from spawn.domain.imports.import_state import RowReason
from spawn.domain.imports.record_parser import FileLayout, Record
from spawn.domain.imports.row_drafter import PackedDraft, RowDrafter
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.workers import WorkerEnded


class DraftingSubprocess:
    """The subprocess of one import; see `DraftingWorker`."""

    def __init__(self, schema: Schema, layout: FileLayout, on_date: date | None) -> None:
        self._has_cells = layout.file_format.has_cells
        self._process = _start_process()
        self._setup = pickle.dumps((schema, layout, on_date), pickle.HIGHEST_PROTOCOL)

    def send(
        self, records: Sequence[Record], ids: Sequence[str], *, with_amendments: bool = False
    ) -> None:
        """Send a batch; the process is idle and reads it at once."""
        if self._process is None:
            raise WorkerEnded
        # Send only the parts that the process needs.
        parts = [
            r.parse_error or (_Group(r.group) if r.group else r.cells if self._has_cells else r.raw)
            for r in records
        ]
        sink = cast("BinaryIO", self._process.stdin)
        try:
            sink.write(self._setup)
            pickle.dump((parts, list(ids), with_amendments), sink, pickle.HIGHEST_PROTOCOL)
            sink.flush()
        except OSError as error:
            self.close()
            raise WorkerEnded from error
        self._setup = b""

    def receive(self) -> list[PackedDraft]:
        """Wait for the drafts of the last batch."""
        if self._process is None:
            raise WorkerEnded
        source = cast("BinaryIO", self._process.stdout)
        try:
            # Only our own subprocess writes to this pipe.
            drafts: list[PackedDraft] = pickle.load(source)  # noqa: S301 - as the line above says
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            raise WorkerEnded from error
        return drafts

    def close(self) -> None:
        """Kill the process, whose remaining work is not needed."""
        process, self._process = self._process, None
        if process is None:
            return
        end_process(process)


def _start_process() -> "subprocess.Popen[bytes] | None":
    """Start the process; None if the system has no room for it."""
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "spawn.adapters.workers.import_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # An interrupt at the terminal must reach only the service, which ends this process.
            start_new_session=True,
        )
    except OSError:
        return None


class _Group(NamedTuple):
    """The records of a group, distinct from the cells of one record by its type."""

    records: tuple[Record, ...]


def _unpack_record(part: bytes | Sequence[str] | RowReason | _Group) -> Record:
    """Return a record with only its bytes, its cells, its error or its group."""
    if isinstance(part, _Group):
        return Record(0, 0, b"", (), None, part.records)
    if isinstance(part, RowReason):
        return Record(0, 0, b"", (), part)
    return Record(0, 0, part) if isinstance(part, bytes) else Record(0, 0, b"", part)


def serve_requests(source: BinaryIO, sink: BinaryIO) -> None:
    """Draft batches from `source` to `sink` until the input ends; run by the subprocess."""
    setup = pickle.load(source)  # noqa: S301 - written by the parent process
    schema, layout, on = cast("tuple[Schema, FileLayout, date | None]", setup)
    reader = RowReader(compile_schema(schema), layout.mapping, on, from_export=layout.from_export)
    drafter = RowDrafter(reader, layout)
    while True:
        try:
            parts, ids, with_amendments = pickle.load(source)  # noqa: S301 - as above
        except EOFError:
            return
        records = list(map(_unpack_record, parts))
        drafts = drafter.draft_packed(records, ids, with_amendments=with_amendments)
        pickle.dump(drafts, sink, pickle.HIGHEST_PROTOCOL)
        sink.flush()


if __name__ == "__main__":
    # Rows come in thousands and hold no cycles: early collections only cost time.
    gc.set_threshold(100_000, 50, 1_000)
    serve_requests(sys.stdin.buffer, sys.stdout.buffer)
