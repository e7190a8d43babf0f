# ruff: noqa: ASYNC240 -- a test damages small local files; nothing else uses its event loop
"""Recovery of a DuckDB file after damage to the process, its log or its bytes."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import Store, open_store
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import (
    CursorExpired,
    InvalidInput,
    SpawnError,
    StorageBusy,
    StorageDamaged,
)
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.query import Query
from spawn.testing.intensity import rounds
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

SCRIPT = Path(__file__).with_name("crashing_writer.py")


def url_of(path: Path) -> str:
    return f"duckdb:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.duckdb"


@contextmanager
def writer(path: Path, stop_after: int = 0) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that writes to the store, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), url_of(path), str(stop_after)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged_before_kill(path: Path, lines: int) -> dict[str, int]:
    """Return the versions by project that were acknowledged before a kill under load."""
    acknowledged: dict[str, int] = {}
    with writer(path) as process:
        assert process.stdout is not None
        for _ in range(lines):
            project_id, version = process.stdout.readline().split()
            acknowledged[project_id] = int(version)
        process.send_signal(signal.SIGKILL)
        for line in process.stdout.read().splitlines():
            parts = line.split()
            if len(parts) == 2 and parts[1].isdigit():
                acknowledged[parts[0]] = int(parts[1])
    return acknowledged


def leave_log_behind(path: Path, changes: int = 40) -> None:
    """Kill the process of a store once it is idle, so that its log remains."""
    with writer(path, changes) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "waiting\n":
            pass
        process.send_signal(signal.SIGKILL)
    assert path.with_name(path.name + ".wal").stat().st_size


async def read_all_entries(store: Store) -> list[JournalEntry]:
    entries: list[JournalEntry] = []
    after = None
    while (page := await store.feed(after=after, limit=1000)).entries:
        entries += page.entries
        after = page.next
    return entries


async def check_whole(path: Path, acknowledged: dict[str, int]) -> None:
    """Check that acknowledged changes are complete and that the feed has each event once."""
    store = await open_store(url_of(path), clock=SystemClock())
    try:
        entries = await read_all_entries(store)
        numbers = [entry.position.number for entry in entries]
        assert numbers == sorted(set(numbers))
        versions: dict[str, int] = {}
        for entry in entries:
            assert entry.version == versions.get(entry.id, 0) + 1
            versions[entry.id] = entry.version
        for project_id, version in acknowledged.items():
            assert versions[project_id] >= version
        versions_on_pages: dict[str, int] = {}
        query = Query(limit=500)
        while True:
            page = await store.page(query)
            versions_on_pages |= {item.id: item.version for item in page.items}
            if page.next is None:
                break
            query = Query(limit=500, after=page.next)
        assert versions_on_pages == versions
        references = await store.get_many("external_ref", [f"erp:{name}" for name in versions])
        assert {aggregate.state.project_id for aggregate in references.values()} == set(versions)
    finally:
        await store.close()


@pytest.mark.real
@pytest.mark.slow
async def test_kills_in_mid_load_lose_nothing_acknowledged(path: Path) -> None:
    acknowledged: dict[str, int] = {}
    for round_ in range(rounds(3, 10)):  # later kills hit a store that was recovered before
        lines = random.Random(round_).randrange(20, 400)
        acknowledged |= await asyncio.to_thread(acknowledged_before_kill, path, lines)
        await check_whole(path, acknowledged)


@pytest.mark.real
@pytest.mark.parametrize("harm", ["deleted", "cut short", "emptied"])
async def test_an_incomplete_log_is_rejected_with_the_remedy(path: Path, harm: str) -> None:
    await asyncio.to_thread(leave_log_behind, path)
    wal = path.with_name(path.name + ".wal")
    if harm == "deleted":
        wal.unlink()
    else:
        os.truncate(wal, wal.stat().st_size // 2 if harm == "cut short" else 0)
    with pytest.raises(StorageDamaged, match=r"restore|put that back"):
        await open_store(url_of(path), clock=SystemClock())


async def a_closed_store(path: Path, projects: int = 300) -> None:
    store = await open_store(url_of(path), clock=SystemClock())
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    await store.commit(
        harness.change(*((harness.project(project_name=f"N{n}"), 0) for n in range(projects)))
    )
    await store.close()


async def test_flipped_bytes_are_never_served(path: Path) -> None:
    await a_closed_store(path)
    original = path.read_bytes()
    randomness = random.Random(7)
    rejections = 0
    for _ in range(12):
        offset = randomness.randrange(8192, len(original) - 64)
        path.write_bytes(
            original[:offset]
            + bytes(b ^ 0xFF for b in original[offset : offset + 64])
            + original[offset + 64 :]
        )
        rejections += await _is_rejected_or_served_whole(path)
    assert rejections


async def _is_rejected_or_served_whole(path: Path) -> bool:
    try:
        store = await open_store(url_of(path), clock=SystemClock())
    except StorageDamaged:
        return True
    try:
        names = [item.state.project_name for item in (await store.page(Query(limit=500))).items]
        assert names == [f"N{n}" for n in range(300)]
        entries = await read_all_entries(store)
        assert [entry.version for entry in entries] == [1] * 300
    except StorageDamaged:
        return True
    finally:
        await store.close()
    return False


async def test_a_killed_store_follows_the_instants_of_its_readers(
    path: Path, tmp_path: Path
) -> None:
    clock = ManualClock()
    store = await open_store(url_of(path), clock=clock)
    await store.adopt(a_record())
    for _ in range(3):  # each of the two slots of the mark is the newest at some time
        clock.advance(timedelta(hours=1))
        instant = await store.final_instant()
        copy = Path(shutil.copytree(path.parent, tmp_path / str(clock.now().hour))) / path.name
        with_clock_behind = ManualClock(instant - timedelta(seconds=30))
        killed = await open_store(url_of(copy), clock=with_clock_behind)
        project = await StorageHarness(killed, with_clock_behind).create()
        assert (await killed.get("project", project.project_id)).created_at > instant
        await killed.close()
    await store.close()


async def test_a_file_that_is_no_database_is_rejected(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database, but long enough to look at" * 500)
    with pytest.raises(StorageDamaged, match="restore"):
        await open_store(url_of(path), clock=SystemClock())


async def test_a_directory_is_rejected_as_such(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(InvalidInput, match="is a directory"):
        await open_store(url_of(path), clock=SystemClock())


async def test_another_programs_database_is_rejected_and_unchanged(path: Path) -> None:
    path.parent.mkdir()
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table accounts as select 1 as id")
    with pytest.raises(StorageDamaged, match="another path"):
        await open_store(url_of(path), clock=SystemClock())
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("show tables").fetchall() == [("accounts",)]


async def test_a_newer_format_is_rejected(path: Path) -> None:
    await a_closed_store(path, 1)
    with duckdb.connect(str(path)) as connection:
        connection.execute("insert into formats values (999, now()::timestamp)")
    with pytest.raises(StorageDamaged, match="newer release"):
        await open_store(url_of(path), clock=SystemClock())


async def test_a_forged_row_breaks_the_chain(path: Path) -> None:
    await a_closed_store(path, 5)
    with duckdb.connect(str(path)) as connection:
        connection.execute("update journal set actor = 'nobody' where position = 3")
    with pytest.raises(StorageDamaged):
        await open_store(url_of(path), clock=SystemClock())


async def test_the_mark_of_another_history_is_rejected(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    await a_closed_store(path, 5)
    await a_closed_store(other, 5)
    other.with_name("other.duckdb.mark").replace(path.with_name("store.duckdb.mark"))
    with pytest.raises(StorageDamaged, match="different histories"):
        await open_store(url_of(path), clock=SystemClock())


async def test_a_deleted_database_is_detected_by_its_mark(path: Path) -> None:
    await a_closed_store(path, 5)
    path.unlink()
    with pytest.raises(StorageDamaged, match="missing"):
        await open_store(url_of(path), clock=SystemClock())


async def test_a_torn_mark_leaves_the_previous_slot_valid(path: Path) -> None:
    await a_closed_store(path, 5)
    mark = path.with_name(path.name + ".mark")
    content = mark.read_bytes()
    mark.write_bytes(content[:40] + b"\0" * 40 + content[80:])
    store = await open_store(url_of(path), clock=SystemClock())
    assert (await store.page(Query())).items
    await store.close()
    mark.write_bytes(b"?" * len(content))
    with pytest.raises(StorageDamaged, match="unreadable"):
        await open_store(url_of(path), clock=SystemClock())


@pytest.mark.parametrize("harm", ["absent", "empty", "zeros"])
async def test_a_store_without_its_mark_is_rejected_until_the_mark_is_renewed(
    path: Path, harm: str
) -> None:
    await a_closed_store(path, 5)
    mark = path.with_name(path.name + ".mark")
    mark.unlink()
    if harm != "absent":
        mark.write_bytes(b"" if harm == "empty" else bytes(512))
    for _ in range(2):
        with pytest.raises(StorageDamaged, match="spawn doctor --renew-mark"):
            await open_store(url_of(path), clock=SystemClock())
    options = StoreOptions(renew_mark=True)
    store = await open_store(url_of(path), clock=SystemClock(), options=options)
    assert (await store.position()).epoch == 2
    with pytest.raises(CursorExpired):
        await store.feed(after=Position(1, 3), limit=10)
    await store.close()
    store = await open_store(url_of(path), clock=SystemClock())
    assert len((await store.page(Query())).items) == 5
    await store.close()


async def test_an_intact_mark_is_not_renewed(path: Path) -> None:
    await a_closed_store(path, 5)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)
    options = StoreOptions(renew_mark=True)
    store = await open_store(url_of(path), clock=SystemClock(), options=options)
    assert (await store.position()).epoch == 1
    await store.close()
    path.unlink()
    with pytest.raises(StorageDamaged, match="missing"):
        await open_store(url_of(path), clock=SystemClock(), options=options)


async def test_a_query_that_stops_early_does_not_keep_the_writer_from_a_checkpoint(
    path: Path,
) -> None:
    store: Any = await open_store(url_of(path), clock=SystemClock())
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    project = await harness.create()
    await store.page(Query())  # which projects the row
    await store.get("project", project.project_id, version=1)
    await harness.rename(project, 1, "New")
    await store.page(Query())

    def checkpoint() -> None:
        store._appender._cursor.execute("checkpoint")

    await store._writer.run(checkpoint, "checkpoint")
    await store.close()


@pytest.mark.real
async def test_a_second_process_is_rejected_while_the_file_is_served(path: Path) -> None:
    with writer(path, 1) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline)
        with pytest.raises(StorageBusy, match="stop it, or talk to it over HTTP"):
            await open_store(url_of(path), clock=SystemClock())


async def test_a_second_store_of_this_process_is_rejected_too(path: Path) -> None:
    store = await open_store(url_of(path), clock=SystemClock())
    with pytest.raises(StorageBusy):
        await open_store(url_of(path), clock=SystemClock())
    await store.close()
    await (await open_store(url_of(path), clock=SystemClock())).close()


async def test_the_data_directory_is_private(path: Path) -> None:
    await a_closed_store(path, 1)
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_rejected_store_releases_the_file(path: Path) -> None:
    await a_closed_store(path, 5)
    mark = path.with_name(path.name + ".mark")
    content = mark.read_bytes()
    path.rename(path.with_name("away"))
    for _ in range(2):
        with pytest.raises(SpawnError):
            await open_store(url_of(path), clock=SystemClock())
    assert not path.exists()
    path.with_name("away").rename(path)
    mark.write_bytes(content)
    await (await open_store(url_of(path), clock=SystemClock())).close()
