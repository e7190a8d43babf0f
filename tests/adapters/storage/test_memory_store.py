"""Storage contract of the memory store."""

import pytest

from spawn.testing.storage_contract.commands import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.feed import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.finding import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.governance import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.harness import *  # noqa: F403 -- the suite runs as its users run it
from spawn.testing.storage_contract.kinds import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.migration_properties import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.migrations import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.properties import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.quality import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.reads import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.two_kinds import *  # noqa: F403 -- as above


@pytest.fixture
def store_url() -> str:
    return "memory://"
