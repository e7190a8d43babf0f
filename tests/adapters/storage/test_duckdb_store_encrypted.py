"""Storage contract of the DuckDB store with encrypted files.

What may differ is what is written to files and read from them: states and filters of every kind,
and everything that outlives a reopening. The rest works on what was read, with the statements of a
plain store; a thorough run tries it too.
"""

import asyncio
import shutil
from pathlib import Path

import pytest
from tests.adapters.storage.encryption_keys import KEY, needs_encryption

from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock
from spawn.testing.intensity import is_thorough
from spawn.testing.storage_contract.commands import TestReopening  # noqa: F401 -- as above
from spawn.testing.storage_contract.feed import (  # noqa: F401 -- as above
    TestBookmarks,
    TestDerivedDocuments,
    TestIdentity,
)
from spawn.testing.storage_contract.harness import *  # noqa: F403 -- the suite runs as its users run it
from spawn.testing.storage_contract.kinds import TestEveryKind  # noqa: F401 -- as above

if is_thorough():
    from spawn.testing.storage_contract.commands import *  # noqa: F403 -- as above
    from spawn.testing.storage_contract.feed import *  # noqa: F403 -- as above
    from spawn.testing.storage_contract.finding import *  # noqa: F403 -- as above
    from spawn.testing.storage_contract.kinds import *  # noqa: F403 -- as above
    from spawn.testing.storage_contract.reads import *  # noqa: F403 -- as above

pytestmark = needs_encryption

DURABLE = True
STORE_OPTIONS = StoreOptions(encryption_key=KEY)


@pytest.fixture(scope="session")
def new_encrypted_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an encrypted store that was created and closed."""
    folder = tmp_path_factory.mktemp("new_encrypted_store")

    async def create() -> None:
        url = f"duckdb:///{folder}/store.duckdb"
        store = await open_store(url, clock=SystemClock(), options=STORE_OPTIONS)
        await store.close()

    asyncio.run(create())
    return folder


@pytest.fixture
def store_url(new_encrypted_store: Path, tmp_path: Path) -> str:
    shutil.copytree(new_encrypted_store, tmp_path, dirs_exist_ok=True)
    return f"duckdb:///{tmp_path}/store.duckdb"
