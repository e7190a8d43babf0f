# ruff: noqa: ASYNC240 -- a test harms small local files; nobody waits for its event loop
"""What the file looks like after the process, its log or its bytes were harmed."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from spawn.adapters.factory import Store, open_store
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.change import Entry
from spawn.domain.errors import InvalidInput, SpawnError, StorageBusy, StorageDamaged
from spawn.domain.query import Query
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record

SCRIPT = Path(__file__).with_name("crashing_writer.py")


def url_of(path: Path) -> str:
    return f"duckdb:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.duckdb"


@contextmanager
def writer(path: Path, stop_after: int = 0) -> Iterator["subprocess.Popen[str]"]:
    """A process that writes to the store; killed at the end if it still lives."""
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
    """Versions by project that were acknowledged before a kill in mid-load."""
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


def left_unfolded(path: Path, changes: int = 40) -> None:
    """A store whose process was killed once it had nothing to do: its log is still there."""
    with writer(path, changes) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "waiting\n":
            pass
        process.send_signal(signal.SIGKILL)
    assert path.with_name(path.name + ".wal").stat().st_size


async def everything(store: Store) -> list[Entry]:
    entries: list[Entry] = []
    after = None
    while (page := await store.feed(after=after, limit=1000)).entries:
        entries += page.entries
        after = page.next
    return entries


async def check_whole(path: Path, acknowledged: dict[str, int]) -> None:
    """Everything acknowledged is there, nothing is there by half, the feed has every event once."""
    store = await open_store(url_of(path), clock=SystemClock())
    try:
        entries = await everything(store)
        numbers = [int(entry.position.split(".")[1]) for entry in entries]
        assert numbers == sorted(set(numbers))
        versions: dict[str, int] = {}
        for entry in entries:
            assert entry.version == versions.get(entry.id, 0) + 1
            versions[entry.id] = entry.version
        for project_id, version in acknowledged.items():
            assert versions[project_id] >= version
        listed: dict[str, int] = {}
        query = Query(limit=500)
        while True:
            page = await store.page(query)
            listed |= {item.id: item.version for item in page.items}
            if page.next is None:
                break
            query = Query(limit=500, after=page.next)
        assert listed == versions
        references = await store.get_many("external_ref", [f"erp:{name}" for name in versions])
        assert {stored.state.project_id for stored in references.values()} == set(versions)
    finally:
        await store.close()


@pytest.mark.real
@pytest.mark.parametrize("round_", range(2))
async def test_a_kill_in_mid_load_loses_nothing_acknowledged(path: Path, round_: int) -> None:
    acknowledged: dict[str, int] = {}
    for _ in range(2):  # the second kill hits a store that has already been recovered once
        lines = random.Random(round_).randrange(50, 400)
        acknowledged |= await asyncio.to_thread(acknowledged_before_kill, path, lines)
        await check_whole(path, acknowledged)


@pytest.mark.real
@pytest.mark.slow
async def test_twenty_kills_in_mid_load_lose_nothing_acknowledged(path: Path) -> None:
    acknowledged: dict[str, int] = {}
    for round_ in range(20):
        lines = random.Random(round_).randrange(20, 2_000)
        acknowledged |= await asyncio.to_thread(acknowledged_before_kill, path, lines)
        await check_whole(path, acknowledged)


@pytest.mark.real
@pytest.mark.parametrize("harm", ["deleted", "cut short", "emptied"])
async def test_a_log_that_is_not_whole_is_refused_with_the_remedy(path: Path, harm: str) -> None:
    await asyncio.to_thread(left_unfolded, path)
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
    desk = Desk(store, ManualClock())
    await store.commit(
        desk.change(*((desk.project(project_name=f"N{n}"), 0) for n in range(projects)))
    )
    await store.close()


async def test_flipped_bytes_are_never_served(path: Path) -> None:
    await a_closed_store(path)
    whole = path.read_bytes()
    chance = random.Random(7)
    refused = 0
    for _ in range(12):
        at = chance.randrange(8192, len(whole) - 64)
        path.write_bytes(
            whole[:at] + bytes(b ^ 0xFF for b in whole[at : at + 64]) + whole[at + 64 :]
        )
        refused += await _refuses_or_serves_whole(path)
    assert refused


async def _refuses_or_serves_whole(path: Path) -> bool:
    try:
        store = await open_store(url_of(path), clock=SystemClock())
    except StorageDamaged:
        return True
    try:
        names = [item.state.project_name for item in (await store.page(Query(limit=500))).items]
        assert names == [f"N{n}" for n in range(300)]
        entries = await everything(store)
        assert [entry.version for entry in entries] == [1] * 300
    except StorageDamaged:
        return True
    finally:
        await store.close()
    return False


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database, but long enough to look at" * 500)
    with pytest.raises(StorageDamaged, match="restore"):
        await open_store(url_of(path), clock=SystemClock())


async def test_a_directory_is_refused_as_such(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(InvalidInput, match="is a directory"):
        await open_store(url_of(path), clock=SystemClock())


async def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table accounts as select 1 as id")
    with pytest.raises(StorageDamaged, match="another path"):
        await open_store(url_of(path), clock=SystemClock())
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("show tables").fetchall() == [("accounts",)]


async def test_a_newer_format_is_refused(path: Path) -> None:
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


async def test_the_mark_of_another_history_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    await a_closed_store(path, 5)
    await a_closed_store(other, 5)
    other.with_name("other.duckdb.mark").replace(path.with_name("store.duckdb.mark"))
    with pytest.raises(StorageDamaged, match="different histories"):
        await open_store(url_of(path), clock=SystemClock())


async def test_a_deleted_database_is_missed_by_its_mark(path: Path) -> None:
    await a_closed_store(path, 5)
    path.unlink()
    with pytest.raises(StorageDamaged, match="missing"):
        await open_store(url_of(path), clock=SystemClock())


async def test_a_torn_mark_leaves_the_note_before_it(path: Path) -> None:
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


@pytest.mark.real
async def test_a_second_process_is_told_that_the_file_is_served(path: Path) -> None:
    with writer(path, 1) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline)
        with pytest.raises(StorageBusy, match="stop it, or talk to it over HTTP"):
            await open_store(url_of(path), clock=SystemClock())


async def test_a_second_store_of_this_process_is_refused_too(path: Path) -> None:
    store = await open_store(url_of(path), clock=SystemClock())
    with pytest.raises(StorageBusy):
        await open_store(url_of(path), clock=SystemClock())
    await store.close()
    await (await open_store(url_of(path), clock=SystemClock())).close()


async def test_the_data_directory_is_private(path: Path) -> None:
    await a_closed_store(path, 1)
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_refused_store_lets_go_of_the_file(path: Path) -> None:
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
