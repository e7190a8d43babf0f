"""Copies of files on the disk: bounds, sharing, and room that is given back."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import tenacity

from spawn.adapters.local import file_copies
from spawn.adapters.local.file_copies import FileCopies, FileCopy
from spawn.domain.errors import Conflict, Overloaded, StorageFull
from spawn.domain.events.position import Position

HERE = Position(1, 7)


@pytest.fixture
async def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FileCopies]:
    monkeypatch.setattr(file_copies, "ACTIVE_S", 0.0)
    copies = FileCopies(tmp_path)
    yield copies
    await copies.close()


def list_names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def file_of(*chunks: bytes) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk


async def write(copies: FileCopies, *key: str, body: bytes = b"abc") -> FileCopy:
    return await copies.write(key, HERE, lambda: file_of(body))


async def read(copy: FileCopy) -> bytes:
    return b"".join([chunk async for chunk in copy.read(0, copy.size_bytes)])


async def test_a_copy_has_no_name_and_is_removed_with_its_last_reader(
    copies: FileCopies, tmp_path: Path
) -> None:
    copy = await write(copies, "a", "1", body=b"x" * 600_000)
    assert list_names(tmp_path) == []
    reading = copy.read(0, copy.size_bytes)
    first = await anext(reading)
    copy.remove()
    rest = b"".join([chunk async for chunk in reading])
    assert len(first + rest) == 600_000
    with pytest.raises(ValueError, match="closed"):
        await read(copy)


async def test_the_least_recently_used_copy_of_a_client_gives_way(copies: FileCopies) -> None:
    others = await write(copies, "b", "1")
    for number in range(file_copies.MAX_CLIENT_COPIES + 1):
        await write(copies, "a", str(number), body=b"%d" % number)
    assert copies.find(("a", "0")) == []
    assert [await read(copy) for copy in copies.find(("a", "1"))] == [b"1"]
    assert copies.find(("b", "1")) == [others]


async def test_all_copies_together_are_bounded(
    copies: FileCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copies, "MAX_COPY_BYTES", 10)

    await write(copies, "a", "1", body=b"1" * 6)
    await write(copies, "b", "2", body=b"2" * 6)
    assert (len(copies.find(("a", "1"))), len(copies.find(("b", "2")))) == (0, 1)
    with pytest.raises(Conflict, match="too large"):
        await write(copies, "c", "3", body=b"3" * 11)


async def test_a_client_that_writes_on_removes_no_copy_of_another(
    copies: FileCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copies, "MAX_COPY_BYTES", 10)
    other = await write(copies, "b", "1", body=b"1" * 3)
    for number in range(8):
        await write(copies, "a", str(number), body=b"%d" % number * 4)
        assert copies.find(("b", "1")) == [other]
    assert [len(copies.find(("a", str(number)))) for number in range(8)] == [0] * 7 + [1]


async def test_clients_that_fill_the_queue_leave_places_to_others(
    copies: FileCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copies, "WAIT_S", 0.0)
    may_end = asyncio.Event()

    async def slow_file() -> AsyncGenerator[bytes]:
        await may_end.wait()
        yield b"a"

    for client in ("a", "b", "c", "d", "e"):
        for number in range(file_copies.MAX_CLIENT_COPIES):
            with pytest.raises(Overloaded):
                await copies.write((client, str(number)), HERE, slow_file)
    with pytest.raises(Overloaded, match="still being written"):
        await copies.write(("good", "1"), HERE, slow_file)
    for number in range(file_copies.MAX_WAITING):
        with pytest.raises(Overloaded):
            await copies.write((f"client {number}", "1"), HERE, slow_file)
    assert len(copies._writings) == file_copies.MAX_WAITING
    may_end.set()


async def test_equal_bytes_are_one_copy_level_with_the_later_position(copies: FileCopies) -> None:
    first = await write(copies, "a", "1")
    later = await copies.write(("a", "1"), Position(1, 9), lambda: file_of(b"a", b"bc"))
    assert (later is first, later.position) == (True, Position(1, 9))
    assert await write(copies, "a", "1", body=b"other") is not first
    assert len(copies.find(("a", "1"))) == 2


async def test_clients_that_ask_at_once_share_one_writing_which_outlives_them(
    copies: FileCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copies, "WAIT_S", 0.01)

    may_end, openings = asyncio.Event(), 0

    async def slow_file() -> AsyncGenerator[bytes]:
        nonlocal openings
        openings += 1
        yield b"begin"
        await may_end.wait()
        yield b" end"

    for _ in range(2):
        with pytest.raises(Overloaded, match="still being written"):
            await copies.write(("a", "1"), HERE, slow_file)
    for number in range(2, file_copies.MAX_CLIENT_COPIES + 1):
        with pytest.raises(Overloaded, match="still"):
            await copies.write(("a", str(number)), HERE, slow_file)
    with pytest.raises(Overloaded, match="Other files"):
        await copies.write(("a", "another"), HERE, slow_file)
    assert openings == 1
    monkeypatch.setattr(file_copies, "WAIT_S", 20.0)
    waiting = [
        asyncio.create_task(copies.write(("a", number), HERE, slow_file)) for number in ("1", "4")
    ]
    asyncio.get_running_loop().call_soon(may_end.set)  # once both wait for what is being written
    assert [await read(copy) for copy in await asyncio.gather(*waiting)] == [b"begin end"] * 2
    assert openings == file_copies.MAX_CLIENT_COPIES


async def test_the_files_of_a_client_are_not_written_before_those_of_another(
    copies: FileCopies,
) -> None:
    may_end = asyncio.Event()

    async def slow_file() -> AsyncGenerator[bytes]:
        await may_end.wait()
        yield b"a"

    slow = [asyncio.create_task(copies.write(("a", str(n)), HERE, slow_file)) for n in range(4)]
    await asyncio.sleep(0)
    other = await copies.write(("b", "1"), HERE, lambda: file_of(b"b"))
    assert await read(other) == b"b"
    may_end.set()
    assert [await read(copy) for copy in await asyncio.gather(*slow)] == [b"a"] * 4


async def test_idle_copies_go_and_a_full_disk_is_reported(
    copies: FileCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = await write(copies, "a", "1")
    open_files = len(list_names(Path("/proc/self/fd")))
    monkeypatch.setattr(file_copies, "IDLE_S", 0.0)
    assert copies.find(copy.key) == []
    assert len(list_names(Path("/proc/self/fd"))) == open_files - 1
    monkeypatch.setattr(file_copies, "_RESERVE_BYTES", 2**62)
    with pytest.raises(StorageFull):
        await write(copies, "a", "1")
    assert len(list_names(Path("/proc/self/fd"))) == open_files - 1


async def test_an_idle_copy_gives_its_room_back_without_another_request(
    copies: FileCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copies, "IDLE_S", 0.02)
    copy = await write(copies, "a", "1")
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.01),
        stop=tenacity.stop_after_delay(10),
    ):
        with attempt:
            assert copy._file.closed
