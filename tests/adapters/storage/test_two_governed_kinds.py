"""Two governed kinds in one store: each has versions, columns, migrations and data of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from tests.adapters.storage.second_kind import (
    TURBINE_KIND,
    Turbine,
    a_second_kind,
    turbine_record,
)

from spawn.adapters.duckdb.archive.restoration import RestoreRequest, restore
from spawn.adapters.embedded.options import BackupOptions, StoreOptions
from spawn.adapters.factory import Store, open_backups, open_store
from spawn.domain.change import Write
from spawn.domain.errors import Conflict, NotFound, SchemaVersionChanged
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import MigrationRecord, MigrationRejected, SchemaRecord
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import (
    FIRST_COLUMNS,
    migrate_to,
    propose_version,
    revise_columns,
)

HUB = {"name": "hub_height", "type": "integer"}
MAKER = {"name": "maker", "type": "string(50)"}


@pytest.fixture(autouse=True)
def second_kind() -> Iterator[None]:
    """Let stores know the second kind."""
    with a_second_kind():
        yield


@pytest.fixture(params=["memory", "duckdb"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Provide the URL of a store of each engine."""
    return "memory://" if request.param == "memory" else f"duckdb:///{tmp_path}/store.duckdb"


@pytest.fixture
async def harness(store_url: str) -> AsyncIterator[StorageHarness]:
    """Provide a store with a first schema of both kinds."""
    clock = ManualClock()
    store = await open_store(store_url, clock=clock, options=StoreOptions())
    await store.adopt(a_record())
    await store.adopt(turbine_record(1, HUB))
    yield StorageHarness(store, clock)
    await store.close()


def a_turbine(number: int = 1, **fields: Any) -> Turbine:
    """Build a turbine of a project."""
    values: dict[str, Any] = {
        "turbine_id": f"t{number}",
        "project_id": "p",
        "rated_mw": Decimal("4.5000"),
    }
    return Turbine(**values | fields)


def write(turbine: Turbine, expected_version: int = 0, schema_version: int = 1) -> Write:
    """Build the write of a turbine under a version of its schema."""
    return Write(
        TURBINE_KIND,
        turbine.turbine_id,
        expected_version,
        turbine,
        schema_version=schema_version,
    )


async def adopt_over_data(
    store: Store, record: SchemaRecord, old: SchemaRecord | None = None
) -> MigrationRecord:
    """Migrate turbines to a version, from the active one or from another."""
    before = old or await store.active(TURBINE_KIND)
    assert before is not None
    plan = plan_migration(before.schema, record.schema)
    return await store.migrate(record, plan, actor="steward")


async def find_ids(store: Store, *filters: Filter) -> list[str]:
    """Return the ids of the turbines that filters find, by hub height."""
    query = Query(kind=TURBINE_KIND, filters=filters, sort=(Sort("rated_mw"),), limit=50)
    return [item.id for item in (await store.page(query)).items]


async def test_one_change_writes_two_kinds_each_under_its_own_version(
    harness: StorageHarness,
) -> None:
    store = harness.store
    await adopt_over_data(store, turbine_record(7, HUB, MAKER))
    project = harness.project(attributes={"units": 3})
    turbine = a_turbine(attributes={"maker": "Nordex"}, blades=("a", "b"))
    change = harness.change((project, 0))
    both = msgspec.structs.replace(change, writes=(*change.writes, write(turbine, 0, 7)))
    await store.commit(both)
    stored = await store.get(TURBINE_KIND, "t1")
    assert (stored.state, stored.schema_version) == (turbine, 7)
    assert (await harness.get(project)).schema_version == 1
    (entry,) = await store.history(TURBINE_KIND, "t1", after_version=0, limit=5)
    assert entry.schema_version == 7
    assert msgspec.json.decode(entry.document) == {
        "turbine_id": "t1",
        "project_id": "p",
        "rated_mw": "4.5000",
        "built_on": None,
        "blades": ["a", "b"],
        "maker": "Nordex",
    }


async def test_a_migration_of_one_kind_leaves_the_other_alone(harness: StorageHarness) -> None:
    store = harness.store
    project = await harness.create(attributes={"units": 3})
    raw = {"x_maker": msgspec.Raw(b'"Enercon"')}
    turbine = a_turbine(attributes={"hub_height": 90}, extensions=raw)
    await store.commit(harness.change(writes=(write(turbine),), events=()))
    renamed = {"name": "height", "type": "bigint", "aliases": ["hub_height"]}
    migration = await adopt_over_data(store, turbine_record(2, renamed, MAKER))
    assert migration.schema_id == "turbine_schema"
    state = (await store.get(TURBINE_KIND, "t1")).state
    assert state.attributes == {"height": 90, "maker": "Enercon"}
    assert not state.extensions
    assert await find_ids(store, Filter("maker", Operator.EQ, ("Enercon",))) == ["t1"]
    assert await find_ids(store, Filter("height", Operator.GT, (90,))) == []
    active = await store.active()
    assert active is not None
    assert active.schema.version == 1
    assert (await harness.get(project)).state == project
    assert [s.version for s in await store.version_history(TURBINE_KIND)] == [2, 1]
    assert [r.schema.version for r in await store.records()] == [1]


async def test_data_that_violate_a_proof_stop_the_adoption_of_their_kind_alone(
    harness: StorageHarness,
) -> None:
    store = harness.store
    await store.commit(harness.change(writes=(write(a_turbine()),), events=()))
    record = turbine_record(2, HUB, rated_mw={"maximum": 4})
    with pytest.raises(MigrationRejected, match="t1"):
        await adopt_over_data(store, record)
    await migrate_to(harness, revise_columns(without=["units"]))
    assert [s.version for s in await store.version_history(TURBINE_KIND)] == [1]
    assert [s.version for s in await store.version_history()] == [2, 1]


async def test_a_kind_is_adopted_while_the_other_is_written(harness: StorageHarness) -> None:
    store = harness.store
    await store.commit(harness.change(writes=(write(a_turbine()),), events=()))

    async def write_projects() -> None:
        for number in range(20):
            await harness.create(attributes={"units": number})

    writing = asyncio.create_task(write_projects())
    for version in range(2, 8):
        columns = [{**HUB, "description": f"As of {version}"}, MAKER][: 1 + version % 2]
        await adopt_over_data(store, turbine_record(version, *columns))
    await writing
    assert await store.count(Query()) == 20
    assert (await store.get(TURBINE_KIND, "t1")).schema_version == 7


async def test_two_kinds_adopt_at_the_same_moment(harness: StorageHarness) -> None:
    store = harness.store
    project = await harness.create(attributes={"units": 3})
    await store.commit(harness.change(writes=(write(a_turbine()),), events=()))
    record, plan = await propose_version(harness, [*FIRST_COLUMNS, MAKER])
    await asyncio.gather(
        store.migrate(record, plan, actor="steward"),
        adopt_over_data(store, turbine_record(2, HUB, MAKER)),
    )
    changed = msgspec.structs.replace(project, attributes={"units": 4, "maker": "a"})
    turbine = a_turbine(attributes={"maker": "b"})
    change = harness.change((changed, 1), schema_version=2)
    await store.commit(
        msgspec.structs.replace(change, writes=(*change.writes, write(turbine, 1, 2)))
    )
    assert (await harness.get(project)).state == changed
    assert (await store.get(TURBINE_KIND, "t1")).state == turbine


async def test_a_guarded_write_loses_to_an_adoption_of_its_kind(harness: StorageHarness) -> None:
    store = harness.store
    guarded = msgspec.structs.replace(write(a_turbine()), needs_active_schema=True)
    await migrate_to(harness, revise_columns(without=["units"]))
    await adopt_over_data(store, turbine_record(2, HUB, MAKER))
    with pytest.raises(SchemaVersionChanged, match="Version 2"):
        await store.commit(harness.change(writes=(guarded,), events=()))
    # Without the guard it is recorded under its own version, and upgraded when it is read.
    await store.commit(harness.change(writes=(write(a_turbine()),), events=()))
    assert (await store.get(TURBINE_KIND, "t1")).schema_version == 2
    unknown = write(a_turbine(2), 0, 5)
    with pytest.raises(SchemaVersionChanged):
        await store.commit(harness.change(writes=(unknown,), events=()))
    with pytest.raises(NotFound):
        await store.get(TURBINE_KIND, "t2")


async def test_a_first_adoption_needs_a_store_without_data_of_the_kind(
    harness: StorageHarness,
) -> None:
    store = harness.store
    await harness.create()
    await store.adopt(turbine_record(2, MAKER))
    await store.commit(harness.change(writes=(write(a_turbine(), 0, 2),), events=()))
    with pytest.raises(Conflict, match="holds turbines"):
        await store.adopt(turbine_record(3, HUB))


async def reopen(path: Path, clock: ManualClock) -> Store:
    """Open the store of a path again."""
    return await open_store(f"duckdb:///{path}", clock=clock, options=StoreOptions())


async def test_both_kinds_are_rebuilt_from_the_journal(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.duckdb", ManualClock()
    harness = StorageHarness(await reopen(path, clock), clock)
    await harness.store.adopt(a_record())
    await harness.store.adopt(turbine_record(1, HUB))
    project = await harness.create(attributes={"units": 3})
    for number, height in ((1, 80), (2, 120)):
        turbine = a_turbine(number, attributes={"hub_height": height})
        await harness.store.commit(harness.change(writes=(write(turbine),), events=()))
    await adopt_over_data(
        harness.store,
        turbine_record(3, {"name": "height", "type": "bigint", "aliases": ["hub_height"]}),
    )
    await migrate_to(harness, [*FIRST_COLUMNS, MAKER])
    await harness.store.close()
    await damage_tables(path)
    store = await reopen(path, clock)
    assert (await store.get("project", project.project_id)).state.attributes == {"units": 3}
    assert await find_ids(store, Filter("height", Operator.GT, (100,))) == ["t2"]
    assert [s.version for s in await store.version_history(TURBINE_KIND)] == [3, 1]
    tables = {table.name: table.kind for table in await store.tables()}
    assert tables["turbines"] == TURBINE_KIND
    await store.close()


async def damage_tables(path: Path) -> None:
    """Drop the state tables of both kinds, as a newer release that lays them out anew."""
    with duckdb.connect(path) as connection:
        connection.execute("drop table turbines; alter table projects drop column technology")


async def test_a_backup_restores_both_kinds_between_two_adoptions(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.duckdb", ManualClock()
    store = await reopen(path, clock)
    harness = StorageHarness(store, clock)
    await store.adopt(a_record())
    await store.adopt(turbine_record(1, HUB))
    turbine = a_turbine(attributes={"hub_height": 80})
    await store.commit(harness.change(writes=(write(turbine),), events=()))
    await migrate_to(harness, [*FIRST_COLUMNS, MAKER])
    position = await store.position()
    await adopt_over_data(store, turbine_record(2, HUB, MAKER))
    backups = await open_backups(store, BackupOptions(folder=tmp_path / "backups"))
    await backups.take()
    await store.close()
    restored_path = tmp_path / "restored.duckdb"
    request = RestoreRequest(
        archive=tmp_path / "backups", target=restored_path, position=position.number, is_copy=True
    )
    await asyncio.to_thread(restore, request, clock)
    restored = await reopen(restored_path, clock)
    assert [s.version for s in await restored.version_history()] == [2, 1]
    assert [s.version for s in await restored.version_history(TURBINE_KIND)] == [1]
    assert (await restored.get(TURBINE_KIND, "t1")).state == turbine
    await restored.close()
