"""Services over a store in memory, a real spool and the bundled schema."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from spawn.adapters.factory import Store
from spawn.adapters.local.runtime import DirectorySpool, SystemClock, Uuid7Ids
from spawn.adapters.memory.store import MemoryStore
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.dependencies import Services
from spawn.ports.schemas import SchemaRecord, SchemaRegistry, SchemaState


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with services_in(tmp_path) as services:
        yield services


@asynccontextmanager
async def services_in(folder: Path) -> AsyncIterator[Services]:
    """The services, their spool in a folder."""
    clock = SystemClock()
    store = MemoryStore(clock)
    registry = BundledRegistry()
    fetched = await registry.fetch("project_schema")
    record = SchemaRecord(
        schema=fetched.schema,
        document=fetched.document,
        state=SchemaState.ACTIVE,
        provenance=fetched.provenance,
        recorded_at=clock.now(),
    )
    await store.adopt(record)
    yield services_over(store, registry, folder)
    await store.close()


def services_over(store: Store, registry: SchemaRegistry, folder: Path) -> Services:
    """The services over a store, their spool in a folder."""
    return Services(
        commands=store,
        reads=store,
        bookmarks=store,
        control=store,
        schemas=store,
        quality=store,
        registry=registry,
        spool=DirectorySpool(folder / "spool", reserve_bytes=0),
        clock=SystemClock(),
        ids=Uuid7Ids(),
    )
