"""No other process opens a served file, under any of its names."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from tests.adapters.storage.encryption_keys import KEY, needs_encryption

from spawn.adapters.duckdb.store import DuckDbStore
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import StorageBusy
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, adopt_every_schema

OPEN = "import sys, duckdb; duckdb.connect(sys.argv[1]).execute('checkpoint')"


def open_elsewhere(path: Path) -> str:
    """Open a file with the engine in another process; return its error, or nothing."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=False
    )
    return done.stderr


@pytest.mark.parametrize(
    "is_encrypted", [False, pytest.param(True, marks=needs_encryption)], ids=["plain", "encrypted"]
)
async def test_the_engine_keeps_its_lock_as_long_as_the_store_is_open(
    tmp_path: Path, *, is_encrypted: bool
) -> None:
    path = tmp_path / "store.duckdb"
    options = StoreOptions(encryption_key=KEY if is_encrypted else None)
    for _ in range(2):  # a new file, and one that exists
        store = await open_store(f"duckdb:///{path}", clock=SystemClock(), options=options)
        assert isinstance(store, DuckDbStore)
        assert "Could not set lock" in open_elsewhere(path)
        store._engine.reopen()
        store._engine.sync_files()
        assert "Could not set lock" in open_elsewhere(path)
        await store.close()
    assert "Could not set lock" not in open_elsewhere(path)


async def test_a_link_to_a_served_file_is_the_file(tmp_path: Path) -> None:
    path, link = tmp_path / "store.duckdb", tmp_path / "elsewhere" / "link.duckdb"
    link.parent.mkdir()
    link.symlink_to(path)
    clock = ManualClock()
    store = await open_store(f"duckdb:///{link}", clock=clock)
    await adopt_every_schema(store)
    await StorageHarness(store, clock).create()
    for url in (f"duckdb:///{path}", f"duckdb:///{link}"):
        with pytest.raises(StorageBusy):
            await open_store(url, clock=SystemClock())
    await store.close()
    assert os.listdir(link.parent) == ["link.duckdb"]  # noqa: PTH208 -- the loop waits for nothing
    assert path.with_name("store.duckdb.mark").exists()
    with duckdb.connect(str(path)) as database:
        assert database.execute("select count(*) from journal").fetchone() != (0,)
