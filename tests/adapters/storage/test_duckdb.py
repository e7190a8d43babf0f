"""The DuckDB store keeps the storage contract."""

from pathlib import Path

import pytest

from spawn.testing.storage import *  # noqa: F403 -- the suite is run as its users run it
from spawn.testing.storage_laws import *  # noqa: F403 -- as above
from spawn.testing.storage_reads import *  # noqa: F403 -- as above

DURABLE = True


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path}/store.duckdb"
