"""Storage contract harness: the store under test, its clock, and shorthand for changes.

A package that offers an adapter runs the whole suite in one module of its own tests:

    import pytest
    from spawn.testing.storage_contract.harness import *  # fixtures
    from spawn.testing.storage_contract.commands import *  # commands and receipts
    from spawn.testing.storage_contract.reads import *  # pages, history, schemas
    from spawn.testing.storage_contract.finding import *  # document fields, counts, past states
    from spawn.testing.storage_contract.kinds import *  # filters and sorts of every kind
    from spawn.testing.storage_contract.feed import *  # feed and bookmarks
    from spawn.testing.storage_contract.quality import *  # quality measures
    from spawn.testing.storage_contract.migrations import *  # schema migrations
    from spawn.testing.storage_contract.governance import *  # schema governance
    from spawn.testing.storage_contract.two_kinds import *  # two governed kinds in one store
    from spawn.testing.storage_contract.migration_properties import *  # migration properties
    from spawn.testing.storage_contract.properties import *  # round-trip properties

    @pytest.fixture
    def store_url(tmp_path):
        return f"duckdb:///{tmp_path}/store.duckdb"

Each test gets its own store by that URL, through `spawn.adapters.factory.open_store`, which finds a
third party's scheme by its entry point. It needs pytest 9, and pytest-asyncio in `auto` mode. Two
names in the module configure the suite: `DURABLE = True` states that the store outlives its process
and adds the tests of reopening it; `STORE_OPTIONS` opens it with other limits. Properties try a
part of their examples, and all with the environment variable `THOROUGH_TESTS`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import Store, open_store
from spawn.adapters.local.ids import Uuid7Ids
from spawn.domain.aggregates import AggregateType
from spawn.domain.change import (
    Change,
    CommitResult,
    IdempotencyKey,
    IdempotencyReceipt,
    ResponseRecipe,
    StoredAggregate,
    VersionReference,
    Write,
)
from spawn.domain.events.event import DomainEvent
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.schemas import Provenance, SchemaRecord, SchemaState
from spawn.testing.builders import a_project

SCHEMA_DOCUMENT = b"""{"id": "project_schema", "version": 1, "name": "Projects", "columns": [
 {"name": "capacity_mw", "type": "decimal(18,4)"}, {"name": "ratio", "type": "decimal(38,10)"},
 {"name": "technology", "type": "string(50)"}, {"name": "licensed_on", "type": "date"},
 {"name": "units", "type": "integer"}, {"name": "grid_id", "type": "bigint"},
 {"name": "load", "type": "double"}, {"name": "merchant", "type": "boolean"},
 {"name": "metered_at", "type": "timestamp"}]}"""


FACILITY_SCHEMA_DOCUMENT = b"""{"id": "facility_schema", "version": 1, "name": "Facilities",
 "columns": [{"name": "green_label", "type": "string(50)"}]}"""


class ManualClock:
    """A clock that changes only when a test advances it.

    `ahead_s` is what `jump_s` returns: the seconds that a test pretends it jumped ahead.
    """

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self._now = now
        self.ahead_s = 0.0

    def now(self) -> datetime:
        """Return the current setting."""
        return self._now

    def jump_s(self) -> float:
        """Return `ahead_s`."""
        return self.ahead_s

    def advance(self, duration: timedelta) -> None:
        """Move the clock forwards, or backwards by a negative duration."""
        self._now += duration


def a_record(
    document: bytes = SCHEMA_DOCUMENT,
    state: SchemaState = SchemaState.ACTIVE,
    kind: str = PROJECT_KIND,
) -> SchemaRecord:
    """Build a schema record as the application does from a registry's document."""
    return SchemaRecord(
        schema=read_schema(document, kind=kind),
        document=document,
        state=state,
        provenance=Provenance.LIVE,
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


SCHEMA_RECORDS = {
    PROJECT_KIND: a_record(),
    FACILITY_KIND: a_record(FACILITY_SCHEMA_DOCUMENT, kind=FACILITY_KIND),
}
"""The schema that the samples of each governed kind are written under."""


def schema_of(aggregate_type: AggregateType) -> Schema:
    """Return the schema of the samples of a kind."""
    return SCHEMA_RECORDS.get(aggregate_type.kind, SCHEMA_RECORDS[PROJECT_KIND]).schema


async def adopt_every_schema(store: Store) -> None:
    """Adopt the schema of the samples of each governed kind."""
    for record in SCHEMA_RECORDS.values():
        await store.adopt(record)


class StorageHarness:
    """A store with shorthand for the changes that tests commit."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self._ids = Uuid7Ids()

    def project(self, **fields: Any) -> Project:
        """Build a project with its own id."""
        return a_project(**{"project_id": self._ids.new()} | fields)

    def change(self, *states: tuple[Project, int], **more: Any) -> Change:
        """Build a change that writes each state over its expected version, with an event each."""
        fields: dict[str, Any] = {
            "writes": tuple(Write("project", p.project_id, version, p) for p, version in states),
            "events": tuple(build_event(p, version) for p, version in states),
            "actor": "analyst",
            "schema_version": 1,
        }
        return Change(**fields | more)

    async def create(self, **fields: Any) -> Project:
        """Create one project."""
        project = self.project(**fields)
        await self.store.commit(self.change((project, 0)))
        return project

    async def rename(self, project: Project, version: int, name: str) -> CommitResult:
        """Write the next version of a project with another name."""
        next_state = msgspec.structs.replace(project, project_name=name)
        return await self.store.commit(self.change((next_state, version)))

    async def get(self, project: Project) -> StoredAggregate[Any]:
        """Read the stored project."""
        return await self.store.get("project", project.project_id)

    def receipt(
        self, key: str = "k1", fingerprint: str = "f1", etag: str = '"1"'
    ) -> IdempotencyReceipt:
        """Build a receipt with every field of a recipe."""
        recipe = ResponseRecipe(
            codec="test.v1",
            status=201,
            headers=(("location", "/é"), ("etag", etag)),
            epoch=7,
            subject=VersionReference("project", "a:b 'c'", 3, 2),
        )
        idempotency_key = IdempotencyKey(
            scope="analyst POST /v1/ops/projects", key=key, fingerprint=fingerprint
        )
        return IdempotencyReceipt(idempotency_key, recipe)


def build_event(project: Project, version: int) -> DomainEvent:
    """Build the event of a write over an expected version."""
    verb = "amended" if version else "created"
    return DomainEvent(
        type=f"project.{verb}",
        kind="project",
        id=project.project_id,
        changed=("project_name",),
        reason="because" if version else None,
    )


async def gather_outcomes(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """Run calls concurrently; return their results or exceptions in order."""
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.fixture
def clock() -> ManualClock:
    """Provide the clock of the store."""
    return ManualClock()


ReopenStore = Callable[[], Awaitable[Store]]
"""Function that opens the store under test once more."""


@pytest.fixture
async def reopen_store(
    store_url: str, clock: ManualClock, request: pytest.FixtureRequest
) -> AsyncIterator[ReopenStore]:
    """Provide a function that opens the store, repeatedly; all are closed at the end."""
    stores: list[Store] = []
    options = getattr(request.module, "STORE_OPTIONS", StoreOptions())

    async def open_next() -> Store:
        store = await open_store(store_url, clock=clock, options=options)
        stores.append(store)
        return store

    yield open_next
    for store in stores:
        await store.close()


@pytest.fixture
async def harness(reopen_store: ReopenStore, clock: ManualClock) -> StorageHarness:
    """Provide a new store with an adopted schema."""
    store = await reopen_store()
    await store.adopt(a_record())
    return StorageHarness(store, clock)
