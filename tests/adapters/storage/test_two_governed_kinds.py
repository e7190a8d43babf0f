"""Rebuilds and backups of two governed kinds, the second of which no release knows.

The storage contract has the tests that every adapter passes, in `two_kinds`.
"""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.adapters.storage.second_kind import (
    TURBINE_KIND,
    Turbine,
    a_second_kind,
    turbine_record,
)

from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.duckdb.archive.restoration import RestoreRequest, restore
from spawn.adapters.embedded.options import BackupOptions, StoreOptions
from spawn.adapters.factory import Store, open_backups, open_store
from spawn.domain.change import Write
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import MigrationRecord, SchemaRecord
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import (
    FIRST_COLUMNS,
    migrate_to,
)

HUB = {"name": "hub_height", "type": "integer"}
MAKER = {"name": "maker", "type": "string(50)"}


@pytest.fixture(autouse=True)
def second_kind() -> Iterator[None]:
    """Let stores know the second kind."""
    with a_second_kind():
        yield


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
    backups = await open_backups(store, BackupOptions(archive=FolderArchive(tmp_path / "backups")))
    await backups.take()
    await store.close()
    restored_path = tmp_path / "restored.duckdb"
    request = RestoreRequest(
        archive=FolderArchive(tmp_path / "backups"),
        target=restored_path,
        position=position.number,
        is_copy=True,
    )
    await asyncio.to_thread(restore, request, clock)
    restored = await reopen(restored_path, clock)
    assert [s.version for s in await restored.version_history()] == [2, 1]
    assert [s.version for s in await restored.version_history(TURBINE_KIND)] == [1]
    assert (await restored.get(TURBINE_KIND, "t1")).state == turbine
    await restored.close()
