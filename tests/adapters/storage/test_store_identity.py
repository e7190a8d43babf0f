"""The identity of a DuckDB store: one for each file, drawn once."""

from pathlib import Path

import duckdb
import pytest

from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import StorageDamaged


async def read_store_id(path: Path) -> str:
    """Open the store, close it, and return its identity."""
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    store_id = store.status().store_id
    await store.close()
    return store_id


def delete_store(path: Path) -> None:
    """Delete the file of a store, with its mark."""
    for suffix in ("", ".mark"):
        path.with_name(path.name + suffix).unlink()


async def test_a_new_file_at_the_same_path_is_another_store(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    first = await read_store_id(path)
    delete_store(path)
    assert await read_store_id(path) != first


async def test_a_file_without_its_identity_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    await read_store_id(path)
    with duckdb.connect(str(path)) as database:
        database.execute("delete from store_identity")
    with pytest.raises(StorageDamaged):
        await read_store_id(path)
