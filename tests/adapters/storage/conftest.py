"""A new store to copy: a copy opens in less time than a store is created."""

from pathlib import Path

import pytest
from tests.new_stores import write_new_store


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store that was created and closed."""
    folder = tmp_path_factory.mktemp("new_store")
    write_new_store(folder)
    return folder
