"""The high-water mark reveals a database file that lacks acknowledged changes."""

import shutil
from pathlib import Path

import pytest

from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import StorageDamaged
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record


async def open_at(path: Path) -> DuckDbStore:
    return await open_duckdb(path, clock=SystemClock(), options=StoreOptions(reserve_bytes=0))


async def add_projects(path: Path, count: int) -> int:
    """Create projects in a store and close it; return its last position."""
    store = await open_at(path)
    if not (await store.position()).number:
        await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    for _ in range(count):
        await harness.create()
    position = await store.position()
    await store.close()
    return position.number


async def test_an_older_file_under_the_mark_of_the_same_epoch_is_rejected(tmp_path: Path) -> None:
    path, older = tmp_path / "s.duckdb", tmp_path / "older"
    first = await add_projects(path, 2)
    shutil.copyfile(path, older)
    last = await add_projects(path, 3)
    assert last == first + 3
    newest = path.read_bytes()
    shutil.copyfile(older, path)
    message = f"ends at change {first}, below its high-water mark {last}"
    with pytest.raises(StorageDamaged, match=message):
        await open_at(path)
    path.write_bytes(newest)
    assert await add_projects(path, 0) == last


async def test_another_file_of_the_same_length_under_a_mark_is_rejected(tmp_path: Path) -> None:
    path, other = tmp_path / "s.duckdb", tmp_path / "other.duckdb"
    assert await add_projects(path, 2) == await add_projects(other, 2)
    shutil.copyfile(other, path)
    with pytest.raises(StorageDamaged, match="belong to different histories"):
        await open_at(path)
