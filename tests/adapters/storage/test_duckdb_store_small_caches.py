"""Storage contract of the DuckDB store with almost no caches.

What may differ is what caches have a part in: commands and their groups, reads, the feed, states of
every kind and schema versions, which end a generation of the caches. Filters and sorts of each
column, its conversion and the proofs of a migration are SQL, and governance and a second governed
kind are rows of a table that no cache holds: a thorough run tries them too.
"""

import shutil
from pathlib import Path

import pytest

from spawn.adapters.embedded.options import StoreOptions
from spawn.testing.intensity import is_thorough
from spawn.testing.storage_contract.commands import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.feed import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.finding import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.harness import *  # noqa: F403 -- the suite runs as its users run it
from spawn.testing.storage_contract.kinds import TestEveryKind  # noqa: F401 -- as above
from spawn.testing.storage_contract.migrations import TestVersions  # noqa: F401 -- as above
from spawn.testing.storage_contract.reads import *  # noqa: F403 -- as above

if is_thorough():
    from spawn.testing.storage_contract.governance import *  # noqa: F403 -- as above
    from spawn.testing.storage_contract.kinds import *  # noqa: F403 -- as above
    from spawn.testing.storage_contract.migrations import *  # noqa: F403 -- as above
    from spawn.testing.storage_contract.two_kinds import *  # noqa: F403 -- as above

DURABLE = True
STORE_OPTIONS = StoreOptions(
    cached_entities=2,
    cached_heads=2,
    cached_pages=1,
    cached_receipts=1,
    group_cap=3,
    readers=1,
    checkpoint_bytes=1,
    recent_bytes=1,
)


@pytest.fixture
def store_url(new_store: Path, tmp_path: Path) -> str:
    shutil.copytree(new_store, tmp_path, dirs_exist_ok=True)
    return f"duckdb:///{tmp_path}/store.duckdb"
