# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: schema migrations of stored data.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.domain.aggregates import encode_state
from spawn.domain.change import EncodedState, Write
from spawn.domain.errors import Conflict
from spawn.domain.projects.project import Project
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.ports.schemas import (
    MAX_SAMPLE_IDS,
    MigrationOutcome,
    MigrationRecord,
    MigrationRejected,
    SchemaRecord,
    SchemaState,
)
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.storage_contract.harness import (
    SCHEMA_DOCUMENT,
    StorageHarness,
    a_record,
    gather_outcomes,
)
from spawn.testing.storage_contract.reads import project_names

FIRST_COLUMNS: list[dict[str, Any]] = json.loads(SCHEMA_DOCUMENT)["columns"]
"""Columns of the harness's first schema version."""


def a_document(version: int, columns: Sequence[dict[str, Any]]) -> bytes:
    """Build a registry's document of a schema version."""
    return json.dumps(
        {"id": "project_schema", "version": version, "name": "Projects", "columns": list(columns)}
    ).encode()


def revise_columns(
    *added: dict[str, Any], without: Sequence[str] = (), **changed: Any
) -> list[dict[str, Any]]:
    """Return the first columns with changes by column name, omissions and additions."""
    columns = [c for c in FIRST_COLUMNS if c["name"] not in without]
    return [*({**c, **changed.get(c["name"], {})} for c in columns), *added]


async def propose_version(
    harness: StorageHarness, columns: Sequence[dict[str, Any]], version: int = 2
) -> tuple[SchemaRecord, MigrationPlan]:
    """Build the record of a version, and the plan from the active version to it."""
    record = a_record(a_document(version, columns), SchemaState.CANDIDATE)
    return record, plan_migration((await harness.store.version_history())[0], record.schema)


async def migrate_to(
    harness: StorageHarness, columns: Sequence[dict[str, Any]], version: int = 2
) -> MigrationRecord:
    """Migrate to a version with these columns."""
    record, plan = await propose_version(harness, columns, version)
    return await harness.store.migrate(record, plan, actor="steward", reason="agreed")


async def active_schema(harness: StorageHarness) -> Schema:
    """Return the active schema."""
    active = await harness.store.active()
    assert active is not None
    return active.schema


async def read_attributes(harness: StorageHarness, project: Project) -> dict[str, Any]:
    """Read the governed attributes of a stored project."""
    return dict((await harness.get(project)).state.attributes)


async def find_names(
    harness: StorageHarness, field: str, value: Any, operator: Operator = Operator.EQ
) -> list[str]:
    """Return the names of the projects that match a filter."""
    return await project_names(harness, Query(filters=(Filter(field, operator, (value,)),)))


class TestColumns:
    """Each step has the same effect on reads and on filters."""

    async def test_an_added_column_can_be_written_and_filtered(
        self, harness: StorageHarness
    ) -> None:
        old = await harness.create(project_name="old")
        migration = await migrate_to(harness, revise_columns({"name": "hub", "type": "integer"}))
        assert (migration.outcome, migration.rows) == (MigrationOutcome.ADOPTED, 0)
        assert await read_attributes(harness, old) == {}
        new = harness.project(project_name="new", attributes={"hub": 7})
        await harness.store.commit(harness.change((new, 0), schema_version=2))
        assert await find_names(harness, "hub", 7) == ["new"]
        assert await find_names(harness, "hub", value=False, operator=Operator.EXISTS) == ["old"]
        assert (await harness.get(old)).schema_version == 2

    async def test_every_project_gets_the_default(self, harness: StorageHarness) -> None:
        old = await harness.create(project_name="old")
        grids = {"name": "grid", "type": "string", "required": True, "default": "it's ü; --"}
        ratios = {"name": "share", "type": "decimal(38,10)", "default": 0.1234567891}
        since_column = {
            "name": "since",
            "type": "timestamp",
            "default": "2020-02-29T18:29:00.5+05:30",
        }
        migration = await migrate_to(harness, revise_columns(grids, ratios, since_column))
        assert migration.rows == 1
        since = datetime(2020, 2, 29, 12, 59, 0, 500_000, tzinfo=UTC)
        assert await read_attributes(harness, old) == {
            "grid": "it's ü; --",
            "share": Decimal("0.1234567891"),
            "since": since,
        }
        assert await find_names(harness, "grid", "it's ü; --") == ["old"]
        assert await find_names(harness, "share", Decimal("0.1234567891")) == ["old"]
        assert await find_names(harness, "since", since) == ["old"]

    async def test_a_new_column_takes_extension_values(self, harness: StorageHarness) -> None:
        extensions = {"x_hub": msgspec.Raw(b"120.50"), "x_kept": msgspec.Raw(b"{}")}
        one = await harness.create(project_name="one", extensions=extensions)
        two = await harness.create(project_name="two", attributes={"units": 3})
        column = {"name": "hub", "type": "decimal(30,10)"}
        migration = await migrate_to(harness, revise_columns(column))
        assert migration.rows == 1
        state = (await harness.get(one)).state
        assert dict(state.attributes) == {"hub": Decimal("120.5")}
        assert set(state.extensions) == {"x_kept"}
        assert await read_attributes(harness, two) == {"units": 3}
        assert await find_names(harness, "hub", Decimal("120.5")) == ["one"]
        assert await project_names(harness, Query(sort=(Sort("hub"),))) == ["one", "two"]

    async def test_a_new_column_takes_extension_values_of_any_version(
        self, harness: StorageHarness
    ) -> None:
        hub, grid = {"name": "hub", "type": "integer"}, {"name": "grid", "type": "string"}
        nested = {"x_kept": msgspec.Raw(b'{"x_hub":1}')}
        one = await harness.create(
            project_name="one",
            extensions={"x_hub": msgspec.Raw(b"7"), "x_grid": msgspec.Raw(b'"a"')},
        )
        two = await harness.create(project_name="two", extensions=nested)
        await migrate_to(harness, revise_columns(grid))
        three = harness.project(
            project_name="three", attributes={"grid": "b"}, extensions={"x_hub": msgspec.Raw(b"9")}
        )
        await harness.store.commit(harness.change((three, 0), schema_version=2))
        migration = await migrate_to(harness, revise_columns(grid, hub), version=3)
        assert migration.rows == 2
        for number, name in ((7, "one"), (9, "three")):
            assert await find_names(harness, "hub", number) == [name]
        assert await read_attributes(harness, one) == {"grid": "a", "hub": 7}
        assert await read_attributes(harness, three) == {"grid": "b", "hub": 9}
        assert dict((await harness.get(two)).state.extensions) == nested
        assert await find_names(harness, "hub", value=False, operator=Operator.EXISTS) == ["two"]

    async def test_an_extension_value_overrides_the_default(self, harness: StorageHarness) -> None:
        await harness.create(project_name="one", extensions={"x_hub": msgspec.Raw(b"7")})
        await harness.create(project_name="two")
        await migrate_to(harness, revise_columns({"name": "hub", "type": "integer", "default": 1}))
        assert await find_names(harness, "hub", 7) == ["one"]
        assert await find_names(harness, "hub", 1) == ["two"]

    async def test_a_wider_type_keeps_every_value(self, harness: StorageHarness) -> None:
        values = {"units": 7, "capacity_mw": Decimal("1.5"), "technology": "wind"}
        project = await harness.create(project_name="one", attributes=values)
        wider: dict[str, Any] = {
            "units": {"type": "bigint"},
            "capacity_mw": {"type": "decimal(38,10)"},
        }
        await migrate_to(harness, revise_columns(**wider, technology={"type": "string(200)"}))
        assert await read_attributes(harness, project) == values
        large = {"units": 2**40, "capacity_mw": Decimal("9" * 25 + ".0000000001")}
        new = harness.project(project_name="two", attributes=large)
        await harness.store.commit(harness.change((new, 0), schema_version=2))
        assert await find_names(harness, "capacity_mw", large["capacity_mw"]) == ["two"]
        assert await project_names(harness, Query(sort=(Sort("units", descending=True),))) == [
            "two",
            "one",
        ]

    async def test_an_integer_becomes_a_double_or_a_decimal(self, harness: StorageHarness) -> None:
        project = await harness.create(attributes={"units": 7, "grid_id": 2**60})
        exact = revise_columns(units={"type": "double"}, grid_id={"type": "decimal(20,1)"})
        await migrate_to(harness, exact)
        read = await read_attributes(harness, project)
        assert read == {"units": 7.0, "grid_id": Decimal(2**60)}
        assert [type(value) for value in read.values()] == [float, Decimal]
        assert len(await find_names(harness, "units", 7.0)) == 1
        assert len(await find_names(harness, "grid_id", Decimal(2**60))) == 1

    async def test_a_renamed_column_keeps_its_values(self, harness: StorageHarness) -> None:
        project = await harness.create(project_name="one", attributes={"units": 7})
        other = await harness.create(project_name="two", attributes={"units": 3})
        turbines = {"name": "turbines", "type": "integer", "aliases": ["units"]}
        await migrate_to(harness, revise_columns(turbines, without=["units"]))
        assert await read_attributes(harness, project) == {"turbines": 7}
        assert await find_names(harness, "turbines", 7) == ["one"]
        next_state = harness.project(project_id=other.project_id, attributes={"turbines": 9})
        await harness.store.commit(harness.change((next_state, 1), schema_version=2))
        assert await find_names(harness, "turbines", 9) == [next_state.project_name]

    async def test_a_query_with_former_names_is_accepted(self, harness: StorageHarness) -> None:
        await harness.create(project_name="one", attributes={"units": 7, "merchant": True})
        await harness.create(project_name="two", attributes={"units": 3, "merchant": False})
        await harness.create(project_name="three", attributes={"units": 5, "merchant": True})
        turbines = {"name": "turbines", "type": "integer", "aliases": ["units"]}
        await migrate_to(harness, revise_columns(turbines, without=["units", "merchant"]))
        assert await find_names(harness, "units", 7) == ["one"]
        assert await find_names(harness, "merchant", value=False) == ["two"]
        query = Query(sort=(Sort("merchant"), Sort("units")), limit=1)
        assert await project_names(harness, query) == ["two", "three", "one"]
        with expect_invalid(("/never", "unknown_field")):
            await harness.store.page(Query(sort=(Sort("never"),)))

    async def test_a_removed_column_keeps_its_values_and_may_return(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create(
            project_name="one", attributes={"units": 7, "merchant": True}
        )
        await migrate_to(harness, revise_columns(without=["units"]))
        assert await read_attributes(harness, project) == {"merchant": True}
        state = (await harness.get(project)).state
        await harness.store.commit(
            harness.change(
                (msgspec.structs.replace(state, attributes={"merchant": False}), 1),
                schema_version=2,
            )
        )
        fresh = harness.project(project_name="two", attributes={"merchant": True})
        await harness.store.commit(harness.change((fresh, 0), schema_version=2))
        units_column = {"name": "units", "type": "bigint", "default": 1}
        await migrate_to(harness, revise_columns(units_column, without=["units"]), 3)
        assert await read_attributes(harness, project) == {"units": 7, "merchant": False}
        assert await read_attributes(harness, fresh) == {"units": 1, "merchant": True}
        assert await find_names(harness, "units", 7) == [state.project_name]
        assert await find_names(harness, "units", 1) == ["two"]

    async def test_a_column_that_becomes_required_is_filled_with_its_default(
        self, harness: StorageHarness
    ) -> None:
        with_units = await harness.create(project_name="one", attributes={"units": 7})
        without = await harness.create(project_name="two")
        migration = await migrate_to(
            harness, revise_columns(units={"required": True, "default": 1})
        )
        assert migration.rows == 1
        assert await read_attributes(harness, with_units) == {"units": 7}
        assert await read_attributes(harness, without) == {"units": 1}
        assert await find_names(harness, "units", 1) == ["two"]

    async def test_all_steps_run_together(self, harness: StorageHarness) -> None:
        one = await harness.create(
            project_name="one",
            attributes={"units": 7, "technology": "wind", "load": 0.5},
            extensions={"x_hub": msgspec.Raw(b'"2021-05-06"')},
        )
        two = await harness.create(project_name="two", attributes={"grid_id": 4})
        columns = revise_columns(
            {"name": "turbines", "type": "bigint", "aliases": ["units"], "default": 2},
            {"name": "hub", "type": "date"},
            without=["units", "load"],
            grid_id={"required": True, "default": 9},
            technology={"type": "string(80)"},
        )
        columns[-2]["required"] = True
        await migrate_to(harness, columns)
        day = date(2021, 5, 6)
        expected_attributes = {"turbines": 7, "technology": "wind", "hub": day, "grid_id": 9}
        assert await read_attributes(harness, one) == expected_attributes
        assert await read_attributes(harness, two) == {"turbines": 2, "grid_id": 4}
        assert await find_names(harness, "hub", day) == ["one"]
        assert await find_names(harness, "turbines", 2) == ["two"]
        assert await find_names(harness, "grid_id", 9) == ["one"]


class TestProofs:
    """Violated proofs prevent a migration and report their projects."""

    async def test_invalid_values_are_counted_and_sampled(self, harness: StorageHarness) -> None:
        violating_projects = [
            await harness.create(extensions={"x_hub": msgspec.Raw(b'"tall"')})
            for _ in range(MAX_SAMPLE_IDS + 2)
        ]
        fine = await harness.create(extensions={"x_hub": msgspec.Raw(b"120")})
        before = await harness.store.position()
        with pytest.raises(MigrationRejected) as error:
            await migrate_to(harness, revise_columns({"name": "hub", "type": "integer"}))
        (violation,) = error.value.violations
        assert (violation.proof.stored_name, violation.row_count) == (
            "x_hub",
            MAX_SAMPLE_IDS + 2,
        )
        assert len(violation.sample_ids) == MAX_SAMPLE_IDS
        assert set(violation.sample_ids) <= {project.project_id for project in violating_projects}
        assert violation.detail
        assert violation.sample_ids[0] in error.value.detail
        assert (await active_schema(harness)).version == 1
        assert (await harness.get(fine)).state == fine
        assert await harness.store.position() == before
        with expect_invalid(("/hub", "unknown_field")):
            await find_names(harness, "hub", 1)
        (attempt,) = await harness.store.migration_log()
        assert (attempt.outcome, attempt.detail) == (
            MigrationOutcome.REJECTED,
            error.value.detail,
        )

    @pytest.mark.parametrize(
        ("column", "member", "good", "bad"),
        [
            ("units", {"minimum": 5}, 5, 4),
            ("units", {"maximum": 5}, 5, 6),
            ("technology", {"enum": ["wind", "sölar"]}, "sölar", "solar"),
            ("technology", {"type": "string(50)", "pattern": "[a-z]+"}, "wind", "Wind"),
            ("load", {"maximum": 0.1}, 0.1, 0.10000000000000002),
            ("ratio", {"minimum": 0.1}, Decimal("0.1000000000"), Decimal("0.0999999999")),
            ("licensed_on", {"minimum": "2020-02-29"}, date(2020, 2, 29), date(2020, 2, 28)),
            (
                "metered_at",
                {"maximum": "2020-02-29T18:29:00+05:30"},
                datetime(2020, 2, 29, 12, 59, tzinfo=UTC),
                datetime(2020, 2, 29, 12, 59, 0, 1, tzinfo=UTC),
            ),
        ],
    )
    async def test_a_tighter_column_is_checked_on_every_value(
        self, harness: StorageHarness, column: str, member: dict[str, Any], good: Any, bad: Any
    ) -> None:
        await harness.create(attributes={column: good})
        await harness.create()
        tighter: dict[str, Any] = {column: member}
        record, plan = await propose_version(harness, revise_columns(**tighter))
        assert await harness.store.check_proofs(plan.proofs) == ()
        violating_project = await harness.create(attributes={column: bad})
        (violation,) = await harness.store.check_proofs(plan.proofs)
        assert (violation.proof.stored_name, violation.row_count) == (column, 1)
        assert violation.sample_ids == (violating_project.project_id,)
        with pytest.raises(MigrationRejected):
            await harness.store.migrate(record, plan, actor="steward")
        valid_project = msgspec.structs.replace(violating_project, attributes={column: good})
        await harness.store.commit(harness.change((valid_project, 1)))
        assert await harness.store.check_proofs(plan.proofs) == ()
        await harness.store.migrate(record, plan, actor="steward")
        assert (await active_schema(harness)).version == 2

    async def test_absent_values_violate_a_required_column(self, harness: StorageHarness) -> None:
        incomplete = await harness.create(attributes={"units": 1})
        _, plan = await propose_version(harness, revise_columns(technology={"required": True}))
        (violation,) = await harness.store.check_proofs(plan.proofs)
        assert (violation.row_count, violation.sample_ids) == (1, (incomplete.project_id,))

    async def test_core_columns_are_checked_against_tighter_limits(
        self, harness: StorageHarness
    ) -> None:
        small = await harness.create(total_amount=Decimal("1.00"))
        await harness.create(total_amount=Decimal("1000.00"))
        core = {"name": "total_amount", "type": "decimal(18,2)", "minimum": 100}
        _, plan = await propose_version(harness, revise_columns(core))
        (violation,) = await harness.store.check_proofs(plan.proofs)
        assert (violation.proof.stored_name, violation.sample_ids) == (
            "total_amount",
            (small.project_id,),
        )

    async def test_only_the_newest_version_of_a_project_counts(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create(attributes={"units": 1})
        better = msgspec.structs.replace(project, attributes={"units": 9})
        await harness.store.commit(harness.change((better, 1)))
        record, plan = await propose_version(harness, revise_columns(units={"minimum": 5}))
        await harness.store.migrate(record, plan, actor="steward")
        first = await harness.store.get("project", project.project_id, version=1)
        assert dict(first.state.attributes) == {"units": 1}

    async def test_describing_a_plan_and_checking_proofs_change_nothing(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create(attributes={"units": 1})
        record, plan = await propose_version(
            harness, revise_columns({"name": "hub", "type": "date"})
        )
        before = ([t.columns for t in await harness.store.tables()], await harness.store.position())
        assert any("hub" in step for step in harness.store.describe_plan(plan))
        assert await harness.store.check_proofs(plan.proofs) == ()
        tables = [table.columns for table in await harness.store.tables()]
        assert (tables, await harness.store.position()) == before
        assert await harness.store.records() == [a_record()]
        assert (await harness.get(project)).schema_version == 1
        assert record.schema.version == 2


class TestVersions:
    """Stored documents stay unchanged and are read under the active version."""

    async def test_data_never_return_to_a_version_that_they_had(
        self, harness: StorageHarness
    ) -> None:
        await migrate_to(harness, revise_columns(without=["units"]))
        with pytest.raises(Conflict, match="adopted before"):
            await migrate_to(harness, FIRST_COLUMNS, 1)
        assert [s.version for s in await harness.store.version_history()] == [2, 1]

    async def test_history_keeps_documents_and_states_are_upgraded(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create(attributes={"units": 7})
        first_entry = (
            await harness.store.history("project", project.project_id, after_version=0, limit=9)
        )[0]
        created_at = (await harness.get(project)).created_at
        turbines = {"name": "turbines", "type": "bigint", "aliases": ["units"]}
        second = revise_columns(turbines, without=["units"])
        await migrate_to(harness, second)
        await migrate_to(harness, [*second, {"name": "hub", "type": "integer", "default": 3}], 3)
        after = harness.project(project_id=project.project_id, attributes={"turbines": 8, "hub": 4})
        await harness.store.commit(harness.change((after, 1), schema_version=3))
        entries = await harness.store.history(
            "project", project.project_id, after_version=0, limit=9
        )
        assert entries[0] == first_entry
        assert [entry.schema_version for entry in entries] == [1, 3]
        past = await harness.store.get("project", project.project_id, as_of=created_at)
        first = await harness.store.get("project", project.project_id, version=1)
        assert past == first
        assert (past.version, past.schema_version) == (1, 3)
        assert dict(past.state.attributes) == {"turbines": 7, "hub": 3}

    async def test_cached_reads_are_upgraded(self, harness: StorageHarness) -> None:
        projects = [await harness.create(attributes={"units": n}) for n in range(3)]
        query = Query(sort=(Sort("units"),), limit=2)
        await harness.store.page(query)
        await harness.store.get_many("project", [p.project_id for p in projects])
        turbines = {"name": "turbines", "type": "integer", "aliases": ["units"]}
        await migrate_to(harness, revise_columns(turbines, without=["units"]))
        page = await harness.store.page(query)
        assert [dict(i.state.attributes) for i in page.items] == [{"turbines": 0}, {"turbines": 1}]
        rest = await harness.store.page(msgspec.structs.replace(query, after=page.next))
        assert [dict(item.state.attributes) for item in rest.items] == [{"turbines": 2}]
        many = await harness.store.get_many("project", [p.project_id for p in projects])
        assert {aggregate.schema_version for aggregate in many.values()} == {2}

    async def test_a_change_keeps_the_version_it_was_decided_under(
        self, harness: StorageHarness
    ) -> None:
        existing = await harness.create(project_name="known", attributes={"units": 1})
        turbines = {"name": "turbines", "type": "integer", "aliases": ["units"]}
        hub = {"name": "hub", "type": "integer", "default": 3}
        await migrate_to(harness, revise_columns(turbines, hub, without=["units"]))
        late = harness.project(project_name="late", attributes={"units": 7})
        amended_project = msgspec.structs.replace(existing, attributes={"units": 5})
        encoded_project = harness.project(project_name="encoded", attributes={"units": 9})
        document = encode_state("project", encoded_project, a_record().schema)
        write = Write("project", encoded_project.project_id, 0, EncodedState(document))
        await harness.store.commit(harness.change((late, 0), (amended_project, 1)))
        await harness.store.commit(harness.change(writes=(write,), events=()))
        for project, units in ((late, 7), (amended_project, 5), (encoded_project, 9)):
            assert await read_attributes(harness, project) == {"turbines": units, "hub": 3}
            history = await harness.store.history(
                "project", project.project_id, after_version=0, limit=9
            )
            assert history[-1].schema_version == 1
            assert json.loads(history[-1].document)["units"] == units
            assert await find_names(harness, "turbines", units) == [project.project_name]
        assert sorted(await find_names(harness, "hub", 3)) == ["encoded", "known", "late"]

    async def test_writes_continue_around_a_migration(self, harness: StorageHarness) -> None:
        projects = [await harness.create(project_name=f"N{n}") for n in range(20)]
        hub = {"name": "hub", "type": "integer", "default": 3}
        renaming = [harness.rename(project, 1, f"M{n}") for n, project in enumerate(projects)]
        adding = [harness.create(project_name=f"L{n}", attributes={"units": n}) for n in range(20)]
        outcomes = await gather_outcomes(
            [*renaming[:10], *adding[:10], migrate_to(harness, revise_columns(hub))]
        )
        outcomes += await gather_outcomes([*renaming[10:], *adding[10:]])
        assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        names = await find_names(harness, "hub", 3)
        assert sorted(names) == sorted([f"{c}{n}" for c in "ML" for n in range(20)])
        assert await find_names(harness, "units", 7) == ["L7"]

    async def test_reads_succeed_during_migrations(self, harness: StorageHarness) -> None:
        for n in range(30):
            await harness.create(project_name=f"N{n:02}", attributes={"units": n})
        expected_names = [f"N{n:02}" for n in range(10, 30)]
        first = (await harness.store.page(Query(limit=1))).items[0]

        async def read(limit: int) -> None:
            query = Query(
                filters=(Filter("units", Operator.GTE, (10,)),), sort=(Sort("units"),), limit=limit
            )
            assert await project_names(harness, query) == expected_names
            by_id = Filter("project_id", Operator.EQ, (first.id,))
            zero = Query(filters=(by_id, Filter("units", Operator.EQ, (0,))))
            assert await project_names(harness, zero) == ["N00"]
            assert 0 in (await harness.store.get("project", first.id)).state.attributes.values()

        columns, aliases = revise_columns(without=["units"]), ["units"]
        for version in range(2, 8):
            kind = "integer" if version < 4 else "bigint"
            renamed_column = {"name": f"units_{version}", "type": kind, "aliases": list(aliases)}
            aliases.append(f"units_{version}")
            reading = [read(limit) for limit in range(version, version + 9)]
            await asyncio.gather(*reading, migrate_to(harness, [*columns, renamed_column], version))
