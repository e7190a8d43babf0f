"""What opens while its import is cancelled is closed, and what is closed opens no more."""

import asyncio
import threading
from pathlib import Path

import pytest

from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.application.imports.files.record_source import RecordSource, open_in_thread
from spawn.domain.imports.import_state import FileFormat, ImportState


class OpenFile:
    """Something open, until it is closed."""

    def __init__(self) -> None:
        self.is_closed = threading.Event()

    def close(self) -> None:
        self.is_closed.set()


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_what_opens_while_the_caller_is_cancelled_is_closed(cancellations: int) -> None:
    is_opening, may_open = threading.Event(), threading.Event()
    file = OpenFile()

    def build() -> OpenFile:
        is_opening.set()
        may_open.wait()
        return file

    opening = asyncio.create_task(open_in_thread(build))
    await asyncio.to_thread(is_opening.wait)
    for _ in range(cancellations):
        opening.cancel()
        await asyncio.sleep(0)
    may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await asyncio.to_thread(file.is_closed.wait, 20)


async def test_what_is_open_when_the_caller_is_cancelled_is_closed() -> None:
    file, has_opened = OpenFile(), threading.Event()

    def build() -> OpenFile:
        has_opened.set()
        return file

    opening = asyncio.create_task(open_in_thread(build))
    await asyncio.sleep(0)
    has_opened.wait()  # without the loop, so that the task does not have the file yet
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await asyncio.to_thread(file.is_closed.wait, 20)


def test_a_source_that_is_closed_opens_no_more(tmp_path: Path) -> None:
    """A thread that reads goes on for a while after its import is cancelled."""
    file = tmp_path / "rows.ndjson"
    file.write_text('{"project_name": "Rio Verde"}\n')
    state = ImportState(
        import_id="i", format=FileFormat.NDJSON, size_bytes=30, sha256="", requested_by="a"
    )
    source = RecordSource(file, state, None, SubprocessWorkers())
    source.close()
    with pytest.raises(ValueError, match="closed"):
        list(source.read_records())
