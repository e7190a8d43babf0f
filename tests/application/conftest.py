"""Dependencies over an in-memory store, a real spool and the bundled schema."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.new_stores import write_new_store

from spawn.adapters.factory import Store, open_store
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.local.ids import Uuid7Ids
from spawn.adapters.local.spool import DirectorySpool
from spawn.adapters.memory.store import MemoryStore
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.application.dependencies import Dependencies
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.analytics import FlowTotals
from spawn.ports.schemas import SchemaRecord, SchemaRegistry, SchemaState


@pytest.fixture
async def dependencies(tmp_path: Path) -> AsyncIterator[Dependencies]:
    async with open_test_dependencies(tmp_path) as dependencies:
        yield dependencies


@asynccontextmanager
async def open_test_dependencies(folder: Path) -> AsyncIterator[Dependencies]:
    """Open the dependencies, with their spool in a folder."""
    clock = SystemClock()
    store = MemoryStore(clock)
    registry = BundledRegistry()
    fetched = await registry.fetch("project_schema")
    core = b'{"id":"facility_schema","version":0,"name":"Core attributes","columns":[]}'
    schemas = (
        (fetched.schema, fetched.document),
        (read_schema(core, kind=FACILITY_KIND), core),
    )
    for schema, document in schemas:
        record = SchemaRecord(
            schema=schema,
            document=document,
            state=SchemaState.ACTIVE,
            provenance=fetched.provenance,
            recorded_at=clock.now(),
        )
        await store.adopt(record)
    yield build_dependencies(store, registry, folder)
    await store.close()


@asynccontextmanager
async def open_engine_dependencies(
    engine: str, registry: SchemaRegistry, folder: Path
) -> AsyncIterator[Dependencies]:
    """Open the dependencies over an empty store of an engine, "memory" or "duckdb"."""
    url = "memory://" if engine == "memory" else await asyncio.to_thread(write_new_store, folder)
    store = await open_store(url, clock=SystemClock())
    yield build_dependencies(store, registry, folder)
    await store.close()


def build_dependencies(store: Store, registry: SchemaRegistry, folder: Path) -> Dependencies:
    """Return the dependencies over a store, with their spool in a folder."""
    return Dependencies(
        commands=store,
        reads=store,
        bookmarks=store,
        derived_documents=store,
        control=store,
        schemas=store,
        quality=store,
        flow_totals=store if isinstance(store, FlowTotals) else None,
        registry=registry,
        spool=DirectorySpool(folder / "spool", reserve_bytes=0),
        workers=SubprocessWorkers(),
        clock=SystemClock(),
        ids=Uuid7Ids(),
    )
