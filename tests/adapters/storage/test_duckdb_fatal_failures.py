"""After a fatal failure the DuckDB store reopens its file, or says for good that it cannot."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
import tenacity
from tests.adapters.storage.failing_engine import FailingEngine
from tests.adapters.storage.tmpfs import small_disk
from tests.log_lines import captured_lines

from spawn.adapters.duckdb.connection import translate_error
from spawn.adapters.duckdb.journal import recovery
from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import InternalError, StorageDamaged, StorageFull, Unavailable
from spawn.domain.events.position import Position
from spawn.domain.projects.project import Project
from spawn.domain.query import Query
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

CHECKPOINT_FAILED = duckdb.FatalException(
    "FATAL Error: Failed to create checkpoint because of error: the disk went away"
)
SYNC_FAILED = duckdb.FatalException("FATAL Error: fsync failed!")
OPTIONS = StoreOptions(checkpoint_bytes=1, reserve_bytes=0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FailingEngine:
    engine = FailingEngine()
    engine.install(monkeypatch)
    return engine


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    with captured_lines() as lines:
        yield lines


@pytest.fixture
async def store(tmp_path: Path, engine: FailingEngine) -> AsyncIterator[DuckDbStore]:
    del engine  # installed before the store opens
    store = await open_duckdb(tmp_path / "s.duckdb", clock=SystemClock(), options=OPTIONS)
    await store.adopt(a_record())
    yield store
    with suppress(Unavailable):
        await store.close()


@pytest.fixture
def harness(store: DuckDbStore) -> StorageHarness:
    return StorageHarness(store, ManualClock())


async def eventually(condition: Callable[[], bool]) -> None:
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(20),
        reraise=True,
    ):
        with attempt:
            assert condition()


def operations(lines: list[dict[str, Any]]) -> list[str]:
    return [line["operation"] for line in lines if "operation" in line]


async def failure_of(store: DuckDbStore) -> str:
    async with asyncio.timeout(20):
        return await store.wait_until_failed()


# -- the store recovers -------------------------------------------------------------------------


async def test_a_failed_checkpoint_reopens_the_file_without_any_request(
    harness: StorageHarness, engine: FailingEngine, lines: list[dict[str, Any]]
) -> None:
    engine.failures["checkpoint"] = CHECKPOINT_FAILED
    first = await harness.create()
    await eventually(lambda: engine.connections == 2)
    engine.failures.clear()
    second = await harness.create()
    entries = (await harness.store.feed(after=None, limit=10)).entries
    assert [entry.id for entry in entries] == [first.project_id, second.project_id]
    assert harness.store.status().is_writable
    assert operations(lines) == ["sync the mark and checkpoint the log"]
    assert lines[0]["cause"].endswith("the disk went away")


async def test_a_checkpoint_that_the_engine_aborts_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    connections: list[Any] = []
    connect = duckdb.connect

    def connect_and_abort(path: str, config: dict[str, Any]) -> Any:
        if path.endswith(".new"):
            return connect(path, config=config)
        aborts = {} if connections else {"debug_checkpoint_abort": "before_header"}
        connections.append(connect(path, config={**config, **aborts}))
        return connections[-1]

    monkeypatch.setattr(duckdb, "connect", connect_and_abort)
    store = await open_duckdb(tmp_path / "s.duckdb", clock=SystemClock(), options=OPTIONS)
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    projects = [await harness.create() for _ in range(3)]
    await eventually(lambda: len(connections) == 2 and store.status().is_writable)
    projects.append(await harness.create())
    assert len((await store.page(Query())).items) == len(projects)
    assert "because of PRAGMA checkpoint_abort flag" in lines[0]["cause"]
    await store.close()


async def test_a_reader_that_meets_a_fatal_failure_has_the_file_reopened(
    tmp_path: Path, engine: FailingEngine
) -> None:
    # No log is large enough for a checkpoint, so the writer has no reason of its own to look.
    options = StoreOptions(reserve_bytes=0)
    store = await open_duckdb(tmp_path / "s.duckdb", clock=SystemClock(), options=options)
    await store.adopt(a_record())
    await StorageHarness(store, ManualClock()).create()
    engine.failures["from journal"] = duckdb.FatalException("FATAL Error: the engine broke")
    with pytest.raises(Unavailable) as raised:
        await store.page(Query(limit=7))
    assert raised.value.error_id is not None
    engine.failures.clear()
    await eventually(lambda: engine.connections == 2 and store.status().is_writable)
    assert len((await store.page(Query(limit=8))).items) == 1
    await store.close()


async def test_the_file_is_reopened_as_soon_as_the_system_allows(
    store: DuckDbStore, harness: StorageHarness, engine: FailingEngine, lines: list[dict[str, Any]]
) -> None:
    engine.failures["append_now"] = CHECKPOINT_FAILED
    engine.connect_failure = duckdb.IOException(
        f'IO Error: Cannot open file "/data/s.duckdb": {os.strerror(errno.EIO)}'
    )
    with pytest.raises(Unavailable):
        await harness.create()
    assert not store.status().is_writable
    with pytest.raises(Unavailable, match="Check its owner"):
        await store.probe()
    engine.failures.clear()
    engine.connect_failure = None
    await eventually(lambda: store.status().is_writable)
    await harness.create()
    assert "reopen the file" in operations(lines)


async def test_a_full_disk_is_waited_for_longer_than_other_failures(
    store: DuckDbStore,
    harness: StorageHarness,
    engine: FailingEngine,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[dict[str, Any]],
) -> None:
    monkeypatch.setattr(recovery, "RECOVERY_TIMEOUT_S", 0.0)
    engine.connect_failure = duckdb.IOException(
        f'IO Error: Could not write file "/data/s.duckdb": {os.strerror(errno.ENOSPC)}'
    )
    engine.failures["append_now"] = CHECKPOINT_FAILED
    with pytest.raises(Unavailable):
        await harness.create()
    for _ in range(3):
        with pytest.raises(StorageFull):
            await store.probe()
    engine.failures.clear()
    engine.connect_failure = None
    await eventually(lambda: store.status().is_writable)
    await harness.create()
    assert {line["error_id"] for line in lines if line["operation"] == "reopen the file"}


async def test_rows_that_were_written_before_a_fatal_failure_are_acknowledged_once_synced(
    harness: StorageHarness, engine: FailingEngine
) -> None:
    engine.late_failures["execute append_now"] = CHECKPOINT_FAILED
    project = await harness.create()
    assert (await harness.get(project)).state == project
    assert engine.statements[-1] == "update store set probed = probed + 1"
    assert len((await harness.store.feed(after=None, limit=10)).entries) == 1


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
async def test_a_disk_that_fills_up_in_a_checkpoint_is_waited_for(
    tmp_path: Path, engine: FailingEngine, lines: list[dict[str, Any]]
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=8 * 1024 * 1024) as disk:
        options = StoreOptions(reserve_bytes=0)
        store = await open_duckdb(disk / "s.duckdb", clock=SystemClock(), options=options)
        await store.adopt(a_record())
        harness = StorageHarness(store, ManualClock())
        text = os.urandom(4_000).hex()
        projects = [await harness.create(description=text) for _ in range(100)]
        await store.page(Query())  # which projects the rows
        ballast = disk / "ballast"
        await asyncio.to_thread(fill_up, ballast)

        def checkpoint() -> None:
            store._appender._cursor.execute("checkpoint")

        with pytest.raises(StorageFull):
            await store._writer.run(checkpoint, "checkpoint")
        assert lines[0]["cause"].startswith("FatalException: FATAL Error: Failed to create checkp")
        assert engine.connections == 2
        with pytest.raises(StorageFull):
            await commit_until_rejected(harness, projects)
        for project in projects:
            assert (await harness.get(project)).state == project
        await asyncio.to_thread(ballast.unlink)
        await eventually(lambda: store.status().is_writable)
        projects.append(await harness.create())
        assert len((await store.feed(after=None, limit=1000)).entries) == len(projects)
        await store.close()


async def commit_until_rejected(harness: StorageHarness, projects: list[Project]) -> None:
    """Commit as long as the log has room."""
    while True:
        projects.append(await harness.create(description=os.urandom(1_000).hex()))


def fill_up(ballast: Path) -> None:
    """Write until the disk is full."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


async def test_a_file_reopens_for_reads_although_the_disk_takes_no_proofs(
    store: DuckDbStore, harness: StorageHarness, engine: FailingEngine
) -> None:
    first = await harness.create()
    await store.page(Query())  # so that nothing is left to project when the file reopens
    engine.late_failures["probed = probed + 1"] = CHECKPOINT_FAILED
    engine.failures["commit"] = duckdb.TransactionException(
        'TransactionContext Error: Failed to commit: Could not write file "/data/s.duckdb.wal":'
        f" {os.strerror(errno.ENOSPC)}"
    )
    with pytest.raises(Unavailable):
        await store.probe()
    assert engine.connections == 2
    assert store.status().is_readable
    assert (await harness.get(first)).state == first
    engine.failures.clear()
    await harness.create()


async def test_lists_go_on_while_the_disk_takes_no_projection(
    store: DuckDbStore, harness: StorageHarness, engine: FailingEngine
) -> None:
    first = await harness.create()
    assert len((await store.page(Query())).items) == 1
    engine.failures["commit"] = duckdb.TransactionException(
        'TransactionContext Error: Failed to commit: Could not write file "/data/s.duckdb.wal":'
        f" {os.strerror(errno.ENOSPC)}"
    )
    second = await harness.create()
    await harness.rename(first, 1, "Renamed")
    for _ in range(2):
        items = (await store.page(Query(limit=10))).items
        assert [item.id for item in items] == [first.project_id, second.project_id]
        assert items[0].state.project_name == "Renamed"
        assert await store.count(Query()) == 2
        assert [i.id for i in (await store.page(Query(limit=1))).items] == [first.project_id]
    assert store.status().is_readable
    assert store.status().lag_rows == 2
    engine.failures.clear()
    assert len((await store.page(Query(limit=7))).items) == 2
    assert store.status().lag_rows == 0


# -- the store gives up -------------------------------------------------------------------------


async def test_an_unconfirmed_mark_ends_the_store(
    store: DuckDbStore,
    harness: StorageHarness,
    engine: FailingEngine,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[dict[str, Any]],
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    waiting = asyncio.ensure_future(failure_of(store))
    await harness.create()  # which syncs the name of the new log
    with monkeypatch.context() as patch:
        patch.setattr("spawn.adapters.duckdb.journal.high_water_mark.os.fsync", fail)
        await harness.create()
        assert "did not confirm a write" in await waiting
    assert await failure_of(store) == waiting.result()
    status = store.status()
    assert (status.is_writable, status.is_readable) == (False, False)
    assert status.detail == waiting.result()
    for attempt in (harness.create, store.probe, lambda: store.wait_for_change(Position(1, 9), 1)):
        with pytest.raises(Unavailable, match="the service stops") as raised:
            await attempt()
        assert raised.value.error_id == lines[0]["error_id"]
    assert engine.connections == 1
    assert "Input/output error" in lines[0]["cause"]
    await store.close()
    again = await open_duckdb(store._engine.path, clock=SystemClock(), options=OPTIONS)
    assert len((await again.feed(after=None, limit=10)).entries) == 2
    await again.close()


async def test_an_unconfirmed_log_ends_the_store_and_acknowledges_nothing(
    store: DuckDbStore, harness: StorageHarness, engine: FailingEngine
) -> None:
    engine.late_failures["execute append_now"] = SYNC_FAILED
    results = await asyncio.gather(*(harness.create() for _ in range(5)), return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert "did not confirm a write" in await failure_of(store)
    assert engine.connections == 1


async def test_a_dead_writer_ends_the_store_and_leaves_nobody_waiting(
    store: DuckDbStore,
    harness: StorageHarness,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[dict[str, Any]],
) -> None:
    started, release = threading.Event(), threading.Event()

    def block() -> bool:
        started.set()
        return release.wait(10)

    blocking_call = asyncio.ensure_future(store._writer.run(block, "block"))
    watching = asyncio.ensure_future(store.wait_for_change(await store.position(), 20))
    assert await asyncio.to_thread(started.wait, 10)
    waiting = [asyncio.ensure_future(harness.create()) for _ in range(3)]
    while store._writer.queue_length() < 3:  # noqa: ASYNC110 -- a queue has no event
        await asyncio.sleep(0)

    def fail() -> None:
        raise SystemExit

    monkeypatch.setattr(store._writer, "_take_group", fail)
    release.set()
    assert await blocking_call
    assert await failure_of(store) == "The writer ended unexpectedly: see the log."
    results = await asyncio.gather(*waiting, watching, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert operations(lines) == ["keep the writer running"]


async def test_the_writer_is_stalled_only_while_work_waits_for_it(store: DuckDbStore) -> None:
    started, release = threading.Event(), threading.Event()

    def block() -> bool:
        started.set()
        return release.wait(10)

    await eventually(lambda: store.stalled_s() == 0)
    store._appender.progress_at_s -= 1_000
    assert store.stalled_s() == 0
    call = asyncio.ensure_future(store._writer.run(block, "block"))
    assert await asyncio.to_thread(started.wait, 10)
    assert 0 < store.stalled_s() < 100
    store._appender.progress_at_s -= 1_000
    store._writer._work_since_s -= 1_000
    assert store.stalled_s() > 900
    release.set()
    assert await call
    await store.probe()
    assert store.stalled_s() < 100


@pytest.mark.parametrize("name", ["_take_group", "_run_call", "_commit", "_maintain", "_wait_s"])
@pytest.mark.parametrize("error", [SystemExit, MemoryError, OSError])
async def test_a_writer_that_dies_anywhere_resolves_the_work_that_it_had_taken(
    store: DuckDbStore,
    harness: StorageHarness,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: type[BaseException],
) -> None:
    def fail(*_: object) -> None:
        raise error

    position = await store.position()
    monkeypatch.setattr(store._writer, name, fail)
    waiting = [
        asyncio.ensure_future(store.wait_for_change(position, 20)),
        asyncio.ensure_future(store._writer.run(lambda: None, "call")),
        *(asyncio.ensure_future(harness.create()) for _ in range(3)),
    ]
    async with asyncio.timeout(15):
        reason = await store.wait_until_failed()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert reason == "The writer ended unexpectedly: see the log."
    with pytest.raises(Unavailable, match="the service stops"):
        await harness.create()


async def test_a_writer_whose_log_fails_too_leaves_nobody_waiting(
    store: DuckDbStore, harness: StorageHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(store._engine.failures, "record_failure", fail)
    monkeypatch.setattr(store._writer, "_take_group", fail)
    with pytest.raises(Unavailable):
        await harness.create()
    assert await failure_of(store) == "The writer ended unexpectedly: see the log."


async def test_a_file_that_turns_out_damaged_ends_the_store(
    store: DuckDbStore, harness: StorageHarness, engine: FailingEngine
) -> None:
    engine.connect_failure = duckdb.IOException(
        "IO Error: The file exists, but it is not a valid DuckDB database file!"
    )
    engine.failures["append_now"] = CHECKPOINT_FAILED
    with pytest.raises(Unavailable):
        await harness.create()
    assert "restore all three from the last backup" in await failure_of(store)


@pytest.mark.parametrize("error", [duckdb.BinderException, duckdb.CatalogException, KeyError])
async def test_a_fault_of_the_service_while_it_reopens_an_intact_file_ends_the_store_at_once(
    store: DuckDbStore,
    harness: StorageHarness,
    engine: FailingEngine,
    error: type[Exception],
    lines: list[dict[str, Any]],
) -> None:
    await harness.create()
    engine.failures["append_now"] = CHECKPOINT_FAILED
    engine.failures["from schemas"] = error("no such column")  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        await harness.create()
    reason = await failure_of(store)
    assert "start the release that wrote it" in reason
    assert operations(lines) == ["commit a group of changes", "reopen the file"]
    assert "no such column" in lines[-1]["cause"]


async def test_a_file_that_lost_a_table_is_damaged_when_it_is_reopened(
    store: DuckDbStore, harness: StorageHarness, engine: FailingEngine
) -> None:
    store._engine.cursor().execute("drop table bookmarks")
    engine.failures["append_now"] = CHECKPOINT_FAILED
    engine.failures["from schemas"] = duckdb.CatalogException("no such table")
    with pytest.raises(Unavailable):
        await harness.create()
    assert "restore all three from the last backup" in await failure_of(store)


async def test_a_statement_that_the_engine_rejects_is_no_outage(
    store: DuckDbStore, engine: FailingEngine, lines: list[dict[str, Any]]
) -> None:
    engine.failures["from projects"] = duckdb.ConversionException("Could not convert")
    with pytest.raises(InternalError, match="report the error id") as raised:
        await store.page(Query(limit=9))
    assert raised.value.error_id == lines[-1]["error_id"]
    assert store.status().is_writable
    assert engine.connections == 1


async def test_a_file_that_cannot_be_reopened_in_time_ends_the_store(
    store: DuckDbStore,
    harness: StorageHarness,
    engine: FailingEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "RECOVERY_TIMEOUT_S", 0.5)
    engine.connect_failure = duckdb.IOException(
        f'IO Error: Cannot open file "/data/s.duckdb": {os.strerror(errno.EACCES)}'
    )
    engine.failures["append_now"] = CHECKPOINT_FAILED
    with pytest.raises(Unavailable):
        await harness.create()
    reason = await failure_of(store)
    assert reason.startswith("The file could not be reopened: The file s.duckdb cannot be opened")


async def test_a_mark_that_cannot_be_written_is_retried_and_then_ends_the_store(
    store: DuckDbStore,
    harness: StorageHarness,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[dict[str, Any]],
) -> None:
    monkeypatch.setattr(recovery, "RECOVERY_TIMEOUT_S", 0.5)

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("spawn.adapters.duckdb.journal.high_water_mark.os.pwrite", fail)
        with pytest.raises(Unavailable, match="unknown outcome"):
            await harness.create()
        assert "could not be reopened" in await failure_of(store)
    assert set(operations(lines)) == {"commit a group of changes", "reopen the file"}


async def test_waiting_for_a_failure_ends_when_the_store_closes(store: DuckDbStore) -> None:
    waiting = asyncio.ensure_future(store.wait_until_failed())
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(Unavailable, match="closing"):
        await waiting


# -- the translation of the engine's errors -----------------------------------------------------


def test_text_that_a_user_wrote_is_never_read_as_a_fault_of_the_system() -> None:
    for text in ("Corrupt Holdings", "No space left in the north", "fsync failed"):
        failure = duckdb.ConversionException(f"Could not convert string '{text}' to INT32")
        assert type(translate_error(failure, "s.duckdb")) is InternalError
    damage = duckdb.IOException("IO Error: Corrupt database file: computed checksum 1")
    assert type(translate_error(damage, "s.duckdb")) is StorageDamaged
