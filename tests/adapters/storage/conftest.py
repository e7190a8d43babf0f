"""A new store to copy: a copy opens in less time than a store is created."""

import asyncio
from pathlib import Path

import pytest

from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store that was created and closed."""
    folder = tmp_path_factory.mktemp("new_store")

    async def create() -> None:
        store = await open_store(f"duckdb:///{folder}/store.duckdb", clock=SystemClock())
        await store.close()

    asyncio.run(create())
    return folder
