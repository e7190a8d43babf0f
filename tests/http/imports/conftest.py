"""A client of a service in memory, for the routes of imports."""

from collections.abc import AsyncIterator

import httpx
import pytest

from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(storage_url="memory://", rate_limit=0, auth="off")
    async with open_composition(settings) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # ours is ASGI
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000"
        ) as client:
            yield client


@pytest.fixture
async def other() -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a second service, with a store of its own."""
    settings = Settings(storage_url="memory://", rate_limit=0, auth="off")
    async with open_composition(settings) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # ours is ASGI
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000"
        ) as client:
            yield client
