"""Dependencies over an in-memory store with the schemas of every governed kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.application.conftest import open_test_dependencies

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import ensure_active_schemas
from spawn.entrypoints.settings import Settings


@pytest.fixture
async def dependencies(tmp_path: Path) -> AsyncIterator[Dependencies]:
    async with open_test_dependencies(tmp_path) as dependencies:
        await ensure_active_schemas(dependencies, Settings().schema_policies)
        yield dependencies
