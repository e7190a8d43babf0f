"""A registry, and the application over each store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.application.conftest import open_engine_dependencies
from tests.application.fake_registry import FakeRegistry

from spawn.application.dependencies import Dependencies


@pytest.fixture
def fake_registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture(params=["memory", "duckdb"])
async def dependencies(
    fake_registry: FakeRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Dependencies]:
    async with open_engine_dependencies(request.param, fake_registry, tmp_path) as dependencies:
        yield dependencies
