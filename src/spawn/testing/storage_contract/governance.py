# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: schema governance.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
"""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from spawn.domain.aggregates import encode_state
from spawn.domain.change import CommitResult, EncodedState, Write
from spawn.domain.errors import Conflict, Duplicate, SchemaVersionChanged, StaleVersion
from spawn.domain.jobs import JOB_KIND, Job
from spawn.domain.projects.project import PROJECT_KIND, ExternalRefReservation
from spawn.domain.query import Query
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import AdoptionDecision, MigrationRecord, SchemaState
from spawn.testing.storage_contract.harness import (
    ReopenStore,
    StorageHarness,
    a_record,
    gather_outcomes,
)
from spawn.testing.storage_contract.migrations import (
    a_document,
    active_schema,
    find_names,
    migrate_to,
    propose_version,
    revise_columns,
)


class TestGovernance:
    """One migration at a time, reported on the feed and in the log."""

    async def test_only_one_of_racing_migrations_succeeds(self, harness: StorageHarness) -> None:
        await harness.create()
        record, plan = await propose_version(
            harness, revise_columns({"name": "hub", "type": "integer"})
        )
        migrations = [harness.store.migrate(record, plan, actor=f"replica {n}") for n in range(4)]
        outcomes = await gather_outcomes(migrations)
        assert sum(isinstance(outcome, MigrationRecord) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, StaleVersion) for outcome in outcomes) == 3
        assert len(await harness.store.migration_log()) == 1
        assert [e.type for e in await schema_events(harness)] == ["schema.adopted"]

    async def test_a_plan_from_another_version_is_stale(self, harness: StorageHarness) -> None:
        record, plan = await propose_version(
            harness, revise_columns({"name": "hub", "type": "integer"})
        )
        await migrate_to(harness, revise_columns({"name": "tip", "type": "integer"}))
        third = msgspec.structs.replace(record.schema, version=3)
        with pytest.raises(StaleVersion):
            await harness.store.migrate(
                msgspec.structs.replace(record, schema=third), plan, actor="steward"
            )

    async def test_an_adopted_number_has_one_content(self, harness: StorageHarness) -> None:
        columns = revise_columns({"name": "hub", "type": "integer"})
        record = a_record(a_document(1, columns), SchemaState.CANDIDATE)
        plan = plan_migration(await active_schema(harness), record.schema)
        with pytest.raises(Conflict):
            await harness.store.migrate(record, plan, actor="steward")

    async def test_quarantined_content_leaves_its_number_free(
        self, harness: StorageHarness
    ) -> None:
        await harness.create()
        quarantined_record = a_record(a_document(2, []), SchemaState.QUARANTINED)
        await harness.store.record(quarantined_record)
        await migrate_to(harness, revise_columns({"name": "hub", "type": "integer"}))
        states = [(r.schema.version, r.state) for r in await harness.store.records()]
        assert states == [
            (1, SchemaState.RETIRED),
            (2, SchemaState.QUARANTINED),
            (2, SchemaState.ACTIVE),
        ]

    async def test_the_version_history_lists_versions_with_data(
        self, harness: StorageHarness
    ) -> None:
        assert [s.version for s in await harness.store.version_history()] == [1]
        await harness.store.adopt(a_record(a_document(2, revise_columns(without=["units"]))))
        assert [s.version for s in await harness.store.version_history()] == [2]
        await harness.store.commit(harness.change((harness.project(), 0), schema_version=2))
        await migrate_to(harness, revise_columns(without=["units", "load"]), 4)
        history = await harness.store.version_history()
        assert [s.version for s in history] == [4, 2]
        assert [column.name for column in history[0].retired] == ["load"]
        assert history[0] == await active_schema(harness)

    async def test_a_change_that_needs_a_former_active_version_is_rejected(
        self, harness: StorageHarness
    ) -> None:
        project, receipt = await harness.create(project_name="before"), harness.receipt()
        await migrate_to(harness, revise_columns({"name": "hub", "type": "integer"}))
        position = await harness.store.position()
        late, renamed = harness.project(), msgspec.structs.replace(project, project_name="late")
        encoded_state = EncodedState(encode_state(PROJECT_KIND, late, a_record().schema))
        encoded_write = Write(PROJECT_KIND, late.project_id, 0, encoded_state)
        job_write = Write(JOB_KIND, "j", 0, Job(job_id="j", kind="import"))
        for change in (
            harness.change((late, 0), expected_schema_version=1),
            harness.change((renamed, 1), expected_schema_version=1, receipt=receipt),
            harness.change((renamed, 1), schema_version=2, expected_schema_version=3),
            harness.change(writes=(encoded_write,), events=(), expected_schema_version=1),
            harness.change(writes=(job_write,), events=(), expected_schema_version=1),
            harness.change(receipt=receipt, expected_schema_version=1),
        ):
            with pytest.raises(SchemaVersionChanged):
                await harness.store.commit(change)
        assert await harness.store.position() == position
        assert await harness.store.find_receipt(receipt.key) is None
        fitting = harness.change((renamed, 1), schema_version=2, expected_schema_version=2)
        await harness.store.commit(fitting)
        assert (await harness.get(project)).version == 2

    async def test_a_change_under_a_version_without_data_is_rejected(
        self, harness: StorageHarness
    ) -> None:
        await harness.store.adopt(a_record(a_document(2, revise_columns(without=["units"]))))
        for version in (0, 1, 3):
            with pytest.raises(SchemaVersionChanged):
                await harness.store.commit(
                    harness.change((harness.project(), 0), schema_version=version)
                )
        # A kind without governed fields only names the version of its time.
        write = Write(JOB_KIND, "j", 0, Job(job_id="j", kind="import"))
        await harness.store.commit(harness.change(writes=(write,), events=(), schema_version=1))

    async def test_a_receipt_is_replayed_under_any_active_version(
        self, harness: StorageHarness
    ) -> None:
        change = harness.change(
            (harness.project(), 0), receipt=harness.receipt(), expected_schema_version=1
        )
        await harness.store.commit(change)
        await migrate_to(harness, revise_columns({"name": "hub", "type": "integer"}))
        assert (await harness.store.commit(change)).replayed_response == harness.receipt().recipe

    async def test_no_guarded_change_follows_the_adoption_of_another_version(
        self, harness: StorageHarness
    ) -> None:
        await harness.create()
        changes = [
            harness.change((harness.project(), 0), expected_schema_version=1) for _ in range(40)
        ]
        outcomes = await gather_outcomes(
            [
                *(harness.store.commit(change) for change in changes[:10]),
                migrate_to(harness, revise_columns({"name": "hub", "type": "integer"})),
                *(harness.store.commit(change) for change in changes[10:]),
            ]
        )
        late = await gather_outcomes([harness.store.commit(changes[-1])])
        results = [o for o in outcomes if isinstance(o, CommitResult)]
        rejections = [o for o in outcomes if isinstance(o, SchemaVersionChanged)]
        assert len(results) + len(rejections) == len(changes)
        assert isinstance(late[0], SchemaVersionChanged | Duplicate)
        entries = (await harness.store.feed(after=None, limit=100)).entries
        types = [entry.type for entry in entries]
        assert types == ["project.created"] * (1 + len(results)) + ["schema.adopted"]

    async def test_an_adoption_is_on_the_feed_in_order(self, harness: StorageHarness) -> None:
        await harness.create(project_name="before")
        migration = await migrate_to(harness, revise_columns({"name": "hub", "type": "integer"}))
        await harness.create(project_name="after")
        entries = (await harness.store.feed(after=None, limit=10)).entries
        assert [e.type for e in entries] == [
            "project.created",
            "schema.adopted",
            "project.created",
        ]
        events = entries[1]
        assert (events.kind, events.id, events.version) == ("schema", "project_schema", 1)
        assert (events.actor, events.schema_version) == ("steward", 2)
        state = json.loads(events.document)
        assert (state["version"], state["state"], state["changed"]) == (2, "active", ["hub"])
        assert (state["active_version"], state["previous_version"]) == (2, 1)
        assert (await harness.store.get("schema", "project_schema")).state.version == 2
        assert await harness.store.migration_log() == [migration]
        assert (migration.actor, migration.reason) == ("steward", "agreed")
        assert (migration.old_version, migration.new_version) == (1, 2)
        assert migration.steps
        assert migration.duration_s >= 0

    async def test_quarantine_and_rejection_are_on_the_feed_once(
        self, harness: StorageHarness
    ) -> None:
        candidate = a_record(a_document(2, []), SchemaState.CANDIDATE)
        quarantined_record = msgspec.structs.replace(
            candidate, state=SchemaState.QUARANTINED, reason="narrows a type"
        )
        decision = AdoptionDecision(
            approved=False, actor="steward", reason="never", decided_at=candidate.recorded_at
        )
        rejected_record = msgspec.structs.replace(
            quarantined_record, state=SchemaState.REJECTED, decision=decision
        )
        for record in (candidate, quarantined_record, quarantined_record, rejected_record):
            await harness.store.record(record, actor="steward")
        assert await harness.store.records() == [a_record(), rejected_record]
        events = await schema_events(harness)
        assert [e.type for e in events] == ["schema.quarantined", "schema.rejected"]
        assert [e.reason for e in events] == ["narrows a type", "never"]
        assert [json.loads(e.document)["active_version"] for e in events] == [1, 1]
        with pytest.raises(Conflict):
            await harness.store.record(
                msgspec.structs.replace(a_record(), state=SchemaState.QUARANTINED)
            )

    async def test_only_a_decision_overrides_a_rejection(self, harness: StorageHarness) -> None:
        candidate, plan = await propose_version(
            harness, revise_columns({"name": "hub", "type": "integer"})
        )
        no = AdoptionDecision(
            approved=False, actor="steward", reason="no", decided_at=candidate.recorded_at
        )
        rejected_record = msgspec.structs.replace(
            candidate, state=SchemaState.REJECTED, decision=no
        )
        await harness.store.record(rejected_record, actor="steward")
        with pytest.raises(Conflict, match="rejected"):
            await harness.store.record(candidate)
        with pytest.raises(Conflict, match="rejected"):
            await harness.store.migrate(candidate, plan, actor="service")
        assert await harness.store.records() == [a_record(), rejected_record]
        yes = msgspec.structs.replace(no, approved=True, reason="yes")
        candidate_with_decision = msgspec.structs.replace(candidate, decision=yes)
        await harness.store.migrate(candidate_with_decision, plan, actor="steward", reason="yes")
        active = await harness.store.active()
        assert active is not None
        assert (active.schema.version, active.decision) == (2, yes)

    async def test_only_projects_are_upgraded(self, harness: StorageHarness) -> None:
        project = await harness.create()
        write = Write(
            "external_ref", "erp:1", 0, ExternalRefReservation(project_id=project.project_id)
        )
        await harness.store.commit(harness.change(writes=(write,), events=()))
        before = await harness.store.get("external_ref", "erp:1")
        await migrate_to(harness, revise_columns({"name": "hub", "type": "integer"}))
        assert await harness.store.get("external_ref", "erp:1") == before
        page = await harness.store.page(Query(kind="external_ref"))
        assert page.items == (before,)


async def schema_events(harness: StorageHarness) -> list[Any]:
    """Return the schema events of the feed."""
    page = await harness.store.feed(after=None, limit=100, subject=("schema", "project_schema"))
    return list(page.entries)


class TestReopenedVersions:
    """Schemas of a durable store after it is reopened."""

    @pytest.fixture(autouse=True)
    def _only_durable(self, request: pytest.FixtureRequest) -> None:
        if not getattr(request.module, "DURABLE", False):
            pytest.skip("the store lives as long as its process")

    async def test_versions_data_and_log_are_read_back(
        self, harness: StorageHarness, reopen_store: ReopenStore
    ) -> None:
        one = await harness.create(
            project_name="one",
            attributes={"units": 7, "load": 0.5},
            extensions={"x_hub": msgspec.Raw(b"3")},
        )
        turbines = {"name": "turbines", "type": "bigint", "aliases": ["units"]}
        await migrate_to(harness, revise_columns(turbines, without=["units", "load"]))
        late = harness.project(project_name="late", attributes={"units": 5, "load": 0.25})
        await harness.store.commit(harness.change((late, 0)))
        hub = {"name": "hub", "type": "integer", "default": 9}
        await migrate_to(harness, revise_columns(turbines, hub, without=["units", "load"]), 3)
        before = [await harness.get(project) for project in (one, late)]
        history_before = (
            await harness.store.records(),
            await harness.store.version_history(),
            await harness.store.migration_log(),
            await harness.store.feed(after=None, limit=100),
        )
        await harness.store.close()
        again = StorageHarness(await reopen_store(), harness.clock)
        assert [await again.get(project) for project in (one, late)] == before
        assert history_before == (
            await again.store.records(),
            await again.store.version_history(),
            await again.store.migration_log(),
            await again.store.feed(after=None, limit=100),
        )
        assert await find_names(again, "hub", 3) == ["one"]
        load_column = {"name": "load", "type": "double"}
        await migrate_to(
            again, revise_columns(turbines, hub, load_column, without=["units", "load"]), 4
        )
        assert await find_names(again, "load", 0.25) == ["late"]
        assert dict((await again.get(one)).state.attributes) == {
            "turbines": 7,
            "hub": 3,
            "load": 0.5,
        }

    async def test_unprojected_changes_are_read_upgraded(
        self, harness: StorageHarness, reopen_store: ReopenStore
    ) -> None:
        late = harness.project(project_name="late", attributes={"units": 5})
        await migrate_to(harness, revise_columns(without=["units"]))
        await asyncio.gather(
            harness.store.commit(harness.change((late, 0))), *(harness.create() for _ in range(5))
        )
        before = await harness.get(late)
        await harness.store.close()
        again = StorageHarness(await reopen_store(), harness.clock)
        assert await again.get(late) == before
        assert dict(before.state.hidden_attributes) == {"units": 5}
