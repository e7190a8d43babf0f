"""Files of threads whose task is cancelled: none is lost, and none is closed under its thread."""

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from io import IOBase
from pathlib import Path

import pytest

from spawn.adapters.embedded.thread_work import build_in_thread, finish_in_thread
from spawn.adapters.local.file_copies import FileCopies
from spawn.adapters.local.spool import DirectorySpool
from spawn.domain.events.position import Position


class HeldCall:
    """A call in a thread of the event loop, which waits until the test lets it go on."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.results: list[object] = []

    def __call__(self, *arguments: object, **options: object) -> object:
        if not threading.current_thread().name.startswith("asyncio_"):
            return self._function(*arguments, **options)  # The test runner writes, too.
        self.has_begun.set()
        self.may_go_on.wait()
        result = self._function(*arguments, **options)
        self.results.append(result)
        return result


async def cancel_during(
    call: HeldCall, awaitable: Awaitable[object], *, cancellations: int = 1
) -> None:
    """Cancel a task while its thread is in the call, which then ends."""
    task = asyncio.ensure_future(awaitable)
    await asyncio.to_thread(call.has_begun.wait)
    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    is_done = task.done()
    call.may_go_on.set()
    assert not is_done
    with pytest.raises(asyncio.CancelledError):
        await task


def list_names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def two_chunks() -> AsyncGenerator[bytes]:
    yield b"a" * 10
    yield b"b" * 10


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_what_is_built_meanwhile_is_closed(cancellations: int) -> None:
    closed: list[object] = []
    call = HeldCall(lambda: "file")
    await cancel_during(call, build_in_thread(call, closed.append), cancellations=cancellations)
    assert closed == ["file"]


async def test_a_failed_build_has_nothing_to_close() -> None:
    closed: list[object] = []
    call = HeldCall(lambda: Path("/does/not/exist").stat())
    await cancel_during(call, build_in_thread(call, closed.append))
    assert closed == []
    with pytest.raises(FileNotFoundError):
        await build_in_thread(call, closed.append)


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_work_ends_before_its_cancelled_task(cancellations: int) -> None:
    call = HeldCall(len)
    await cancel_during(call, finish_in_thread(call, "abc"), cancellations=cancellations)
    assert call.results == [3]


@pytest.mark.parametrize("function", ["open", "write", "fsync"])
async def test_a_cancelled_upload_writes_to_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """A descriptor that is closed under its thread may be that of another file."""
    spool, call = DirectorySpool(tmp_path, 0), HeldCall(getattr(os, function))
    with monkeypatch.context() as patch:
        patch.setattr(os, function, call)
        await cancel_during(call, spool.receive("upload", two_chunks()))
    assert len(call.results) == 1
    assert list_names(tmp_path) == []
    if function == "open":
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(int(str(call.results[0])))


async def test_a_cancelled_copy_closes_the_file_that_opens_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = FileCopies(tmp_path)
    call = HeldCall(tempfile.TemporaryFile)
    monkeypatch.setattr(tempfile, "TemporaryFile", call)
    writing = asyncio.create_task(copies.write(("a", "1"), Position(1, 7), two_chunks))
    await asyncio.to_thread(call.has_begun.wait)
    closing = asyncio.create_task(copies.close())
    await asyncio.sleep(0)
    call.may_go_on.set()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await writing
    [file] = call.results
    assert isinstance(file, IOBase)
    assert file.closed
