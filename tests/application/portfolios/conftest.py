"""Dependencies over both stores, and a principal with the scopes of the financing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.application.conftest import open_engine_dependencies

from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import ensure_active_schemas
from spawn.entrypoints.settings import Settings


@pytest.fixture(params=["memory", "duckdb"])
async def dependencies(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Dependencies]:
    registry = BundledRegistry()
    async for opened in _open(request.param, registry, tmp_path):
        yield opened


async def _open(
    engine: str, registry: BundledRegistry, folder: Path
) -> AsyncIterator[Dependencies]:
    async with open_engine_dependencies(engine, registry, folder) as opened:
        await ensure_active_schemas(opened, Settings().schema_policies)
        yield opened
