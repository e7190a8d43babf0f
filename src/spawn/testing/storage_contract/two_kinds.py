# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: two governed kinds, each with versions, columns and migrations of its own.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
"""

import asyncio
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.adapters.factory import Store
from spawn.domain.change import Write
from spawn.domain.errors import Conflict, NotFound, SchemaVersionChanged
from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import MigrationRecord, MigrationRejected, SchemaRecord, SchemaState
from spawn.testing.sample_states import a_state
from spawn.testing.storage_contract.harness import ReopenStore, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import (
    FIRST_COLUMNS,
    migrate_to,
    propose_version,
    revise_columns,
)

DESK = {"name": "desk", "type": "string(20)"}
SCORE = {"name": "score", "type": "integer"}


def facility_record(version: int, *columns: dict[str, Any]) -> SchemaRecord:
    """Build the record of a version of the schema of facilities."""
    document = {
        "id": "facility_schema",
        "version": version,
        "name": "Facilities",
        "columns": list(columns),
    }
    return a_record(json.dumps(document).encode(), SchemaState.CANDIDATE, FACILITY_KIND)


def a_facility(number: int = 1, **fields: Any) -> Facility:
    """Build a facility of a project."""
    values: dict[str, Any] = {
        "facility_id": f"f{number}",
        "commitment": Decimal("90.00"),
        "attributes": {},
        "extensions": {},
        "hidden_attributes": {},
    }
    state: Any = a_state(FACILITY_KIND, number)
    facility: Facility = msgspec.structs.replace(state, **values | fields)
    return facility


def build_facility_write(
    facility: Facility, expected_version: int = 0, schema_version: int = 1
) -> Write:
    """Build the write of a facility under a version of its schema."""
    return Write(
        FACILITY_KIND,
        facility.facility_id,
        expected_version,
        facility,
        schema_version=schema_version,
    )


async def migrate_facilities(store: Store, record: SchemaRecord) -> MigrationRecord:
    """Migrate facilities from the active version of their schema to another."""
    active = await store.active(FACILITY_KIND)
    assert active is not None
    return await store.migrate(record, plan_migration(active.schema, record.schema), actor="desk")


async def find_facilities(store: Store, *filters: Filter) -> list[str]:
    """Return the ids of the facilities that filters find."""
    query = Query(kind=FACILITY_KIND, filters=filters, sort=(Sort("facility_id"),), limit=50)
    return [item.id for item in (await store.page(query)).items]


class TestTwoGovernedKinds:
    """A change of one kind's schema leaves the other kind alone."""

    @pytest.fixture
    async def both_kinds(self, harness: StorageHarness) -> StorageHarness:
        """Provide a store with a first schema of both kinds."""
        await harness.store.adopt(facility_record(1, SCORE))
        return harness

    async def commit_facility(self, harness: StorageHarness, **fields: Any) -> Facility:
        facility = a_facility(**fields)
        await harness.store.commit(
            harness.change(writes=(build_facility_write(facility),), events=())
        )
        return facility

    async def test_one_change_writes_each_kind_under_its_own_version(
        self, both_kinds: StorageHarness
    ) -> None:
        store = both_kinds.store
        await self.commit_facility(both_kinds)
        await migrate_facilities(store, facility_record(7, SCORE, DESK))
        project = both_kinds.project(attributes={"units": 3})
        facility = a_facility(2, attributes={"desk": "Energy"})
        change = both_kinds.change((project, 0))
        both = msgspec.structs.replace(
            change, writes=(*change.writes, build_facility_write(facility, 0, 7))
        )
        await store.commit(both)
        aggregate = await store.get(FACILITY_KIND, "f2")
        assert (aggregate.state, aggregate.schema_version) == (facility, 7)
        assert (await both_kinds.get(project)).schema_version == 1
        (entry,) = await store.history(FACILITY_KIND, "f2", after_version=0, limit=5)
        assert entry.schema_version == 7
        assert msgspec.json.decode(entry.document)["desk"] == "Energy"

    async def test_a_migration_of_one_kind_leaves_the_other_alone(
        self, both_kinds: StorageHarness
    ) -> None:
        store = both_kinds.store
        project = await both_kinds.create(attributes={"units": 3})
        extensions = {"x_desk": msgspec.Raw(b'"Transport"')}
        await self.commit_facility(both_kinds, attributes={"score": 90}, extensions=extensions)
        points = {"name": "points", "type": "bigint", "aliases": ["score"]}
        migration = await migrate_facilities(store, facility_record(2, points, DESK))
        assert migration.schema_id == "facility_schema"
        state = (await store.get(FACILITY_KIND, "f1")).state
        assert state.attributes == {"points": 90, "desk": "Transport"}
        assert not state.extensions
        ids = await find_facilities(store, Filter("desk", Operator.EQ, ("Transport",)))
        assert ids == ["f1"]
        assert await find_facilities(store, Filter("points", Operator.GT, (90,))) == []
        active = await store.active()
        assert active is not None
        assert active.schema.version == 1
        assert (await both_kinds.get(project)).state == project
        assert [s.version for s in await store.version_history(FACILITY_KIND)] == [2, 1]
        assert [r.schema.version for r in await store.records()] == [1]

    async def test_data_that_violate_a_proof_stop_the_adoption_of_their_kind_alone(
        self, both_kinds: StorageHarness
    ) -> None:
        store = both_kinds.store
        await self.commit_facility(both_kinds, attributes={"score": 7})
        record = facility_record(2, {**SCORE, "maximum": 6})
        with pytest.raises(MigrationRejected, match="f1"):
            await migrate_facilities(store, record)
        await migrate_to(both_kinds, revise_columns(without=["units"]))
        assert [s.version for s in await store.version_history(FACILITY_KIND)] == [1]
        assert [s.version for s in await store.version_history()] == [2, 1]

    async def test_a_kind_is_adopted_while_the_other_is_written(
        self, both_kinds: StorageHarness
    ) -> None:
        store = both_kinds.store
        await self.commit_facility(both_kinds)

        async def write_projects() -> None:
            for number in range(20):
                await both_kinds.create(attributes={"units": number})

        writing = asyncio.create_task(write_projects())
        for version in range(2, 8):
            columns = [{**SCORE, "description": f"As of {version}"}, DESK][: 1 + version % 2]
            await migrate_facilities(store, facility_record(version, *columns))
        await writing
        assert await store.count(Query()) == 20
        assert (await store.get(FACILITY_KIND, "f1")).schema_version == 7

    async def test_two_kinds_adopt_at_the_same_moment(self, both_kinds: StorageHarness) -> None:
        store = both_kinds.store
        project = await both_kinds.create(attributes={"units": 3})
        await self.commit_facility(both_kinds)
        record, plan = await propose_version(both_kinds, [*FIRST_COLUMNS, DESK])
        await asyncio.gather(
            store.migrate(record, plan, actor="steward"),
            migrate_facilities(store, facility_record(2, SCORE, DESK)),
        )
        next_project = msgspec.structs.replace(project, attributes={"units": 4, "desk": "a"})
        facility = a_facility(attributes={"desk": "b"})
        change = both_kinds.change((next_project, 1), schema_version=2)
        await store.commit(
            msgspec.structs.replace(
                change, writes=(*change.writes, build_facility_write(facility, 1, 2))
            )
        )
        assert (await both_kinds.get(project)).state == next_project
        assert (await store.get(FACILITY_KIND, "f1")).state == facility

    async def test_a_guarded_write_loses_to_an_adoption_of_its_kind(
        self, both_kinds: StorageHarness
    ) -> None:
        store = both_kinds.store
        await self.commit_facility(both_kinds)
        await migrate_to(both_kinds, revise_columns(without=["units"]))
        await migrate_facilities(store, facility_record(2, SCORE, DESK))
        guarded_write = msgspec.structs.replace(
            build_facility_write(a_facility(2)), needs_active_schema=True
        )
        with pytest.raises(SchemaVersionChanged, match="Version 2"):
            await store.commit(both_kinds.change(writes=(guarded_write,), events=()))
        # Without the guard it is recorded under its own version, and upgraded when it is read.
        await store.commit(
            both_kinds.change(writes=(build_facility_write(a_facility(2)),), events=())
        )
        assert (await store.get(FACILITY_KIND, "f2")).schema_version == 2
        unknown = build_facility_write(a_facility(3), 0, 5)
        with pytest.raises(SchemaVersionChanged):
            await store.commit(both_kinds.change(writes=(unknown,), events=()))
        with pytest.raises(NotFound):
            await store.get(FACILITY_KIND, "f3")

    async def test_a_first_adoption_needs_a_store_without_data_of_the_kind(
        self, both_kinds: StorageHarness
    ) -> None:
        store = both_kinds.store
        await both_kinds.create()
        await store.adopt(facility_record(2, DESK))
        facility = build_facility_write(a_facility(), 0, 2)
        await store.commit(both_kinds.change(writes=(facility,), events=()))
        with pytest.raises(Conflict, match="facilit"):
            await store.adopt(facility_record(3, SCORE))

    async def test_a_reopened_store_has_the_versions_and_the_data_of_both(
        self,
        both_kinds: StorageHarness,
        reopen_store: ReopenStore,
        request: pytest.FixtureRequest,
    ) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store ends with its process")
        project = await both_kinds.create(attributes={"units": 3})
        await self.commit_facility(both_kinds, attributes={"score": 90})
        points = {"name": "points", "type": "bigint", "aliases": ["score"]}
        await migrate_facilities(both_kinds.store, facility_record(3, points))
        await migrate_to(both_kinds, [*FIRST_COLUMNS, DESK])
        await both_kinds.store.close()
        store = await reopen_store()
        assert [s.version for s in await store.version_history(FACILITY_KIND)] == [3, 1]
        assert [s.version for s in await store.version_history()] == [2, 1]
        assert (await store.get("project", project.project_id)).state.attributes == {"units": 3}
        assert await find_facilities(store, Filter("points", Operator.EQ, (90,))) == ["f1"]
