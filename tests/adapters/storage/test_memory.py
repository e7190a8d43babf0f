"""The store in memory keeps the storage contract."""

import pytest

from spawn.testing.storage import *  # noqa: F403 -- the suite is run as its users run it
from spawn.testing.storage_evolution import *  # noqa: F403 -- as above
from spawn.testing.storage_evolution_laws import *  # noqa: F403 -- as above
from spawn.testing.storage_feed import *  # noqa: F403 -- as above
from spawn.testing.storage_governance import *  # noqa: F403 -- as above
from spawn.testing.storage_laws import *  # noqa: F403 -- as above
from spawn.testing.storage_quality import *  # noqa: F403 -- as above
from spawn.testing.storage_reads import *  # noqa: F403 -- as above


@pytest.fixture
def store_url() -> str:
    return "memory://"
