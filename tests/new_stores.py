"""New stores to copy: a copy opens in half of the time in which a store is created."""

import asyncio
import tempfile
from functools import cache
from pathlib import Path

from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock

STORE_NAME = "store.duckdb"


def write_new_store(folder: Path) -> str:
    """Write the files of a store that was created and closed; return its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _create_store().items():
        (folder / name).write_bytes(content)
    return f"duckdb:///{folder}/{STORE_NAME}"


@cache
def _create_store() -> dict[str, bytes]:
    """Return the files of a store by name."""
    with tempfile.TemporaryDirectory() as folder:

        async def create() -> None:
            store = await open_store(f"duckdb:///{folder}/{STORE_NAME}", clock=SystemClock())
            await store.close()

        asyncio.run(create())
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}
