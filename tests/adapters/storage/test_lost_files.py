"""Nothing is acknowledged into a database or a log that another program removed or replaced."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from spawn.adapters.duckdb import store as store_module
from spawn.adapters.duckdb.connection import Engine
from spawn.adapters.duckdb.journal import recovery
from spawn.adapters.duckdb.served_files import FileLost
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import DeadlineExceeded, StorageDamaged, Unavailable
from spawn.domain.projects.project import Project
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record


async def open_store_at(path: Path, checkpoint_bytes: int = 2**30) -> DuckDbStore:
    options = StoreOptions(reserve_bytes=0, checkpoint_bytes=checkpoint_bytes)
    return await open_duckdb(path, clock=SystemClock(), options=options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.duckdb"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[DuckDbStore]:
    store = await open_store_at(path)
    await store.adopt(a_record())
    yield store
    with suppress(Unavailable):
        await store.close()


@pytest.fixture
def harness(store: DuckDbStore) -> StorageHarness:
    return StorageHarness(store, ManualClock())


def replace(file: Path) -> None:
    """Put a copy of a file in its place, as an editor or a program that copies folders does."""
    copy = file.with_name("copy")
    shutil.copyfile(file, copy)
    copy.replace(file)


def move_away(file: Path) -> None:
    file.rename(file.with_name("moved"))


def empty(file: Path) -> None:
    os.truncate(file, 0)


def overwrite_header(file: Path) -> bytes:
    """Write to the file in its place, as a second engine does; return what it has then."""
    with file.open("r+b") as database:
        database.seek(4096 + 100)
        database.write(b"written by another engine")
    return file.read_bytes()


def read(file: Path) -> bytes:
    return file.read_bytes()


async def reason_of_failure(store: DuckDbStore) -> str:
    return await asyncio.wait_for(store.wait_until_failed(), 10)


async def read_back(path: Path, projects: list[Project]) -> None:
    """Open the file again and compare everything that was acknowledged."""
    again = await open_store_at(path)
    harness = StorageHarness(again, ManualClock())
    for project in projects:
        assert (await harness.get(project)).state == project
    await harness.create()
    await again.close()


@pytest.mark.parametrize("lose", [Path.unlink, move_away, replace, empty])
async def test_a_lost_log_ends_the_store_with_every_acknowledged_change_in_the_database(
    store: DuckDbStore, harness: StorageHarness, path: Path, lose: Callable[[Path], None]
) -> None:
    projects = [await harness.create() for _ in range(2)]
    lose(path.with_name("s.duckdb.wal"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="the service stops"):
            await harness.create()
    assert "removed, replaced or written by another program" in await reason_of_failure(store)
    assert "in the database now: start the service again" in store.status().detail
    assert not store.status().is_readable
    await store.close()
    await read_back(path, projects)


async def test_a_lost_log_is_saved_although_a_query_reads_rows_that_were_updated_since(
    store: DuckDbStore, harness: StorageHarness, path: Path
) -> None:
    loop, has_begun = asyncio.get_running_loop(), asyncio.Event()

    def read_for_long(cursor: duckdb.DuckDBPyConnection) -> None:
        cursor.execute("begin")
        try:
            cursor.execute("select * from store").fetchall()
            loop.call_soon_threadsafe(has_begun.set)
            cursor.execute("select sum(a.i * b.i) from range(9000000) a(i), range(9000000) b(i)")
        finally:
            with suppress(duckdb.Error):
                cursor.execute("rollback")

    projects = [await harness.create()]
    reading = asyncio.create_task(store._scan_readers.run(read_for_long))
    await has_begun.wait()
    await store.probe()  # which updates a row that the query may still read
    path.with_name("s.duckdb.wal").unlink()
    with pytest.raises(Unavailable, match="the service stops"):
        await harness.create()
    assert "in the database now" in await reason_of_failure(store)
    with pytest.raises(DeadlineExceeded):
        await reading
    await store.close()
    await read_back(path, projects)


async def test_a_lost_log_that_a_transaction_keeps_from_being_saved_is_reported_as_missing(
    store: DuckDbStore, harness: StorageHarness, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "SAVE_TIMEOUT_S", 0.0)
    await harness.create()
    cursor = store._engine.cursor()
    cursor.execute("begin")
    cursor.execute("select * from store").fetchall()
    await store.probe()
    path.with_name("s.duckdb.wal").unlink()
    with pytest.raises(Unavailable, match="the service stops"):
        await harness.create()
    reason = await reason_of_failure(store)
    assert "Changes that only the log has may be missing" in reason
    assert "in the database now" not in reason


async def test_a_lost_log_is_saved_without_a_transaction_that_the_writer_left_open(
    store: DuckDbStore, harness: StorageHarness, path: Path
) -> None:
    projects = [await harness.create()]

    def fail_in_a_transaction() -> None:
        store._appender._cursor.execute("begin")
        store._appender._cursor.execute("update store set probed = 1000")
        path.with_name("s.duckdb.wal").unlink()
        raise FileLost

    with pytest.raises(Unavailable):
        await store._writer.run(fail_in_a_transaction, "fail in a transaction")
    assert "in the database now" in await reason_of_failure(store)
    await store.close()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("select probed from store").fetchone() == (0,)
    await read_back(path, projects)


async def test_a_log_that_is_lost_before_its_first_change_acknowledges_nothing(
    store: DuckDbStore, harness: StorageHarness, path: Path
) -> None:
    projects = [await harness.create()]
    await store._writer.run(lambda: store._engine.checkpoint(store._appender._cursor), "checkpoint")
    await store.probe()  # which begins a log
    replace(path.with_name("s.duckdb.wal"))
    with pytest.raises(Unavailable, match="the service stops"):
        await harness.create()
    await store.close()
    await read_back(path, projects)


async def test_a_look_at_the_health_finds_a_log_that_an_idle_store_has_lost(
    store: DuckDbStore, harness: StorageHarness, path: Path
) -> None:
    projects = [await harness.create()]
    path.with_name("s.duckdb.wal").unlink()
    store.status()
    await reason_of_failure(store)
    await store.close()
    await read_back(path, projects)


async def test_a_store_that_is_closed_saves_a_lost_log(
    store: DuckDbStore, harness: StorageHarness, path: Path
) -> None:
    projects = [await harness.create()]
    path.with_name("s.duckdb.wal").unlink()
    await store.close()
    await read_back(path, projects)


async def test_a_moved_database_ends_the_store_and_is_complete_where_it_is(
    store: DuckDbStore, harness: StorageHarness, path: Path
) -> None:
    projects = [await harness.create()]
    move_away(path)
    with pytest.raises(Unavailable, match="the service stops"):
        await harness.create()
    assert "put back the database and its log" in await reason_of_failure(store)
    assert store.status().file_bytes == 0
    await store.close()
    with pytest.raises(StorageDamaged):
        await open_store_at(path)
    path.with_name("moved").rename(path)
    await read_back(path, projects)


async def test_nothing_is_written_to_a_database_that_another_engine_has_written(
    store: DuckDbStore, harness: StorageHarness, path: Path
) -> None:
    await harness.create()
    content = overwrite_header(path)
    path.with_name("s.duckdb.wal").unlink()
    with pytest.raises(Unavailable, match="the service stops"):
        await harness.create()
    assert "put back the database" in await reason_of_failure(store)
    await store.close()
    assert read(path) == content


async def test_readers_of_a_file_that_cannot_be_loaded_leave_its_mark(
    store: DuckDbStore, harness: StorageHarness, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.create()
    await store._writer.run(lambda: store._engine.checkpoint(store._appender._cursor), "checkpoint")
    await harness.create()
    mark = path.with_name("s.duckdb.mark")

    def fail_to_sync() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def lose_log() -> None:
        path.with_name("s.duckdb.wal").unlink()
        store._appender.discard_state("fail for this test", duckdb.FatalException("failed"))

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "sync_files", lambda _: fail_to_sync())
        content = read(mark)
        await store._writer.run(lose_log, "lose the log")
        for _ in range(4):
            with pytest.raises(Unavailable):
                await store.final_instant()
    assert read(mark) == content
    assert "below its high-water mark" in await reason_of_failure(store)


async def test_a_full_log_is_written_into_the_database_under_load(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOG_LIMIT_BYTES", 100_000)
    store = await open_store_at(path, checkpoint_bytes=1)
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    sizes: list[int] = []
    for _ in range(120):
        await harness.create(description="x" * 5_000)
        sizes.append(store.status().wal_bytes or 0)
    assert any(after < before for before, after in pairwise(sizes))
    assert store._appender.final_error is None
    await store.close()
