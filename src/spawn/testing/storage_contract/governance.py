# ruff: noqa: D102 -- a test's name is its sentence
"""The storage contract, continued: who governs the schema, and what a store remembers of it.

See `spawn.testing.storage_contract.commands` for how to run it against an adapter.
"""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from spawn.domain.change import Write
from spawn.domain.errors import Conflict, Stale
from spawn.domain.projects.project import Reservation
from spawn.domain.query import Query
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import Decision, Migration, SchemaState
from spawn.testing.storage_contract.commands import Desk, Opener, a_record, outcomes
from spawn.testing.storage_contract.migrations import (
    a_document,
    evolve,
    found,
    proposed,
    revised,
    ruling,
)


class TestGovernance:
    """One migration at a time, told on the feed, and kept in the log."""

    async def test_of_racing_migrations_one_is_carried_out(self, desk: Desk) -> None:
        await desk.create()
        record, plan = await proposed(desk, revised({"name": "hub", "type": "integer"}))
        racing = [desk.store.migrate(record, plan, actor=f"replica {n}") for n in range(4)]
        done = await outcomes(racing)
        assert sum(isinstance(outcome, Migration) for outcome in done) == 1
        assert sum(isinstance(outcome, Stale) for outcome in done) == 3
        assert len(await desk.store.migrations()) == 1
        assert [e.type for e in await told_of(desk)] == ["schema.adopted"]

    async def test_a_plan_from_another_version_is_stale(self, desk: Desk) -> None:
        record, plan = await proposed(desk, revised({"name": "hub", "type": "integer"}))
        await evolve(desk, revised({"name": "tip", "type": "integer"}))
        third = msgspec.structs.replace(record.schema, version=3)
        with pytest.raises(Stale):
            await desk.store.migrate(
                msgspec.structs.replace(record, schema=third), plan, actor="steward"
            )

    async def test_an_adopted_number_has_one_content(self, desk: Desk) -> None:
        columns = revised({"name": "hub", "type": "integer"})
        record = a_record(a_document(1, columns), SchemaState.CANDIDATE)
        plan = plan_migration(await ruling(desk), record.schema)
        with pytest.raises(Conflict):
            await desk.store.migrate(record, plan, actor="steward")

    async def test_a_refused_content_leaves_its_number_free(self, desk: Desk) -> None:
        await desk.create()
        refused = a_record(a_document(2, []), SchemaState.QUARANTINED)
        await desk.store.record(refused)
        await evolve(desk, revised({"name": "hub", "type": "integer"}))
        states = [(r.schema.version, r.state) for r in await desk.store.records()]
        assert states == [
            (1, SchemaState.RETIRED),
            (2, SchemaState.QUARANTINED),
            (2, SchemaState.ACTIVE),
        ]

    async def test_the_lineage_knows_whose_data_are_here(self, desk: Desk) -> None:
        assert [s.version for s in await desk.store.lineage()] == [1]
        await desk.store.adopt(a_record(a_document(2, revised(without=["units"]))))
        assert [s.version for s in await desk.store.lineage()] == [2]
        await desk.create()
        await evolve(desk, revised(without=["units", "load"]), 4)
        lineage = await desk.store.lineage()
        assert [s.version for s in lineage] == [4, 2]
        assert [retired.name for retired in lineage[0].retired] == ["load"]
        assert lineage[0] == await ruling(desk)

    async def test_an_adoption_is_told_in_its_place(self, desk: Desk) -> None:
        await desk.create(project_name="before")
        migration = await evolve(desk, revised({"name": "hub", "type": "integer"}))
        await desk.create(project_name="after")
        entries = (await desk.store.feed(after=None, limit=10)).entries
        assert [e.type for e in entries] == [
            "project.created",
            "schema.adopted",
            "project.created",
        ]
        told = entries[1]
        assert (told.kind, told.id, told.version) == ("schema", "project_schema", 1)
        assert (told.actor, told.schema_version) == ("steward", 2)
        state = json.loads(told.document)
        assert (state["version"], state["state"], state["changed"]) == (2, "active", ["hub"])
        assert (state["active_version"], state["previous_version"]) == (2, 1)
        assert (await desk.store.get("schema", "project_schema")).state.version == 2
        assert await desk.store.migrations() == [migration]
        assert (migration.actor, migration.reason) == ("steward", "agreed")
        assert (migration.old_version, migration.new_version) == (1, 2)
        assert migration.steps
        assert migration.duration_s >= 0

    async def test_quarantine_and_rejection_are_told_once(self, desk: Desk) -> None:
        candidate = a_record(a_document(2, []), SchemaState.CANDIDATE)
        quarantined = msgspec.structs.replace(
            candidate, state=SchemaState.QUARANTINED, reason="narrows a type"
        )
        decision = Decision(
            approved=False, actor="steward", reason="never", decided_at=candidate.recorded_at
        )
        rejected = msgspec.structs.replace(
            quarantined, state=SchemaState.REJECTED, decision=decision
        )
        for record in (candidate, quarantined, quarantined, rejected):
            await desk.store.record(record, actor="steward")
        assert await desk.store.records() == [a_record(), rejected]
        told = await told_of(desk)
        assert [e.type for e in told] == ["schema.quarantined", "schema.rejected"]
        assert [e.reason for e in told] == ["narrows a type", "never"]
        assert [json.loads(e.document)["active_version"] for e in told] == [1, 1]
        with pytest.raises(Conflict):
            await desk.store.record(
                msgspec.structs.replace(a_record(), state=SchemaState.QUARANTINED)
            )

    async def test_only_a_decision_goes_over_a_rejection(self, desk: Desk) -> None:
        candidate, plan = await proposed(desk, revised({"name": "hub", "type": "integer"}))
        no = Decision(
            approved=False, actor="steward", reason="no", decided_at=candidate.recorded_at
        )
        rejected = msgspec.structs.replace(candidate, state=SchemaState.REJECTED, decision=no)
        await desk.store.record(rejected, actor="steward")
        with pytest.raises(Conflict, match="rejected"):
            await desk.store.record(candidate)
        with pytest.raises(Conflict, match="rejected"):
            await desk.store.migrate(candidate, plan, actor="service")
        assert await desk.store.records() == [a_record(), rejected]
        yes = msgspec.structs.replace(no, approved=True, reason="yes")
        decided = msgspec.structs.replace(candidate, decision=yes)
        await desk.store.migrate(decided, plan, actor="steward", reason="yes")
        active = await desk.store.active()
        assert active is not None
        assert (active.schema.version, active.decision) == (2, yes)

    async def test_only_projects_are_read_in_another_shape(self, desk: Desk) -> None:
        project = await desk.create()
        write = Write("external_ref", "erp:1", 0, Reservation(project_id=project.project_id))
        await desk.store.commit(desk.change(writes=(write,), events=()))
        before = await desk.store.get("external_ref", "erp:1")
        await evolve(desk, revised({"name": "hub", "type": "integer"}))
        assert await desk.store.get("external_ref", "erp:1") == before
        listed = await desk.store.page(Query(kind="external_ref"))
        assert listed.items == (before,)


async def told_of(desk: Desk) -> list[Any]:
    """What the feed has of schemas."""
    page = await desk.store.feed(after=None, limit=100, subject=("schema", "project_schema"))
    return list(page.entries)


class TestMemoryOfVersions:
    """What a durable store knows of schemas when it is opened again."""

    @pytest.fixture(autouse=True)
    def _only_durable(self, request: pytest.FixtureRequest) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store lives as long as its process")

    async def test_versions_data_and_log_are_there_again(self, desk: Desk, opener: Opener) -> None:
        one = await desk.create(
            project_name="one",
            attributes={"units": 7, "load": 0.5},
            extensions={"x_hub": msgspec.Raw(b"3")},
        )
        turbines = {"name": "turbines", "type": "bigint", "aliases": ["units"]}
        await evolve(desk, revised(turbines, without=["units", "load"]))
        late = desk.project(project_name="late", attributes={"units": 5, "load": 0.25})
        await desk.store.commit(desk.change((late, 0)))
        hub = {"name": "hub", "type": "integer", "default": 9}
        await evolve(desk, revised(turbines, hub, without=["units", "load"]), 3)
        before = [await desk.get(project) for project in (one, late)]
        kept = (
            await desk.store.records(),
            await desk.store.lineage(),
            await desk.store.migrations(),
            await desk.store.feed(after=None, limit=100),
        )
        await desk.store.close()
        again = Desk(await opener(), desk.clock)
        assert [await again.get(project) for project in (one, late)] == before
        assert kept == (
            await again.store.records(),
            await again.store.lineage(),
            await again.store.migrations(),
            await again.store.feed(after=None, limit=100),
        )
        assert await found(again, "hub", 3) == ["one"]
        returned = {"name": "load", "type": "double"}
        await evolve(again, revised(turbines, hub, returned, without=["units", "load"]), 4)
        assert await found(again, "load", 0.25) == ["late"]
        assert dict((await again.get(one)).state.attributes) == {
            "turbines": 7,
            "hub": 3,
            "load": 0.5,
        }

    async def test_what_was_not_projected_yet_is_read_upgraded(
        self, desk: Desk, opener: Opener
    ) -> None:
        late = desk.project(project_name="late", attributes={"units": 5})
        await evolve(desk, revised(without=["units"]))
        await asyncio.gather(
            desk.store.commit(desk.change((late, 0))), *(desk.create() for _ in range(5))
        )
        before = await desk.get(late)
        await desk.store.close()
        again = Desk(await opener(), desk.clock)
        assert await again.get(late) == before
        assert dict(before.state.hidden_attributes) == {"units": 5}
