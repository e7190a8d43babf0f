# ruff: noqa: D102 -- a test's name is its sentence
"""The storage contract, continued: the schema changes while data are there.

See `spawn.testing.storage_contract.commands` for how to run it against an adapter.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.domain import serialization
from spawn.domain.change import Encoded, Write
from spawn.domain.errors import InvalidInput
from spawn.domain.projects.project import Project
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.domain.schemas.model import Schema
from spawn.ports.schemas import (
    SAMPLE,
    Disproved,
    Migration,
    MigrationOutcome,
    SchemaRecord,
    SchemaState,
)
from spawn.testing.storage_contract.commands import SCHEMA_DOCUMENT, Desk, a_record, outcomes
from spawn.testing.storage_contract.reads import names

FIRST_COLUMNS: list[dict[str, Any]] = json.loads(SCHEMA_DOCUMENT)["columns"]
"""The columns of the schema that a desk begins with, as version 1."""


def a_document(version: int, columns: Sequence[dict[str, Any]]) -> bytes:
    """A registry's document of a version of the schema."""
    return json.dumps(
        {"id": "project_schema", "version": version, "name": "Projects", "columns": list(columns)}
    ).encode()


def revised(
    *added: dict[str, Any], without: Sequence[str] = (), **changed: Any
) -> list[dict[str, Any]]:
    """The first columns with members changed by column name, some left out and some added."""
    kept = [c for c in FIRST_COLUMNS if c["name"] not in without]
    return [*({**c, **changed.get(c["name"], {})} for c in kept), *added]


async def proposed(
    desk: Desk, columns: Sequence[dict[str, Any]], version: int = 2
) -> tuple[SchemaRecord, MigrationPlan]:
    """A version as a record, and the plan that leads to it from the active one."""
    record = a_record(a_document(version, columns), SchemaState.CANDIDATE)
    return record, plan_migration((await desk.store.lineage())[0], record.schema)


async def evolve(desk: Desk, columns: Sequence[dict[str, Any]], version: int = 2) -> Migration:
    """Migrate to a version with these columns."""
    record, plan = await proposed(desk, columns, version)
    return await desk.store.migrate(record, plan, actor="steward", reason="agreed")


async def ruling(desk: Desk) -> Schema:
    """The active schema."""
    active = await desk.store.active()
    assert active is not None
    return active.schema


async def attributes(desk: Desk, project: Project) -> dict[str, Any]:
    """The governed attributes of the project as it is read now."""
    return dict((await desk.get(project)).state.attributes)


async def found(desk: Desk, field: str, value: Any, operator: Operator = Operator.EQ) -> list[str]:
    """The names of the projects that a filter finds."""
    return await names(desk, Query(filters=(Filter(field, operator, (value,)),)))


class TestColumns:
    """Each step does the same to what is read and to what is found."""

    async def test_an_added_column_is_there_to_be_written_and_found(self, desk: Desk) -> None:
        old = await desk.create(project_name="old")
        migration = await evolve(desk, revised({"name": "hub", "type": "integer"}))
        assert (migration.outcome, migration.rows) == (MigrationOutcome.ADOPTED, 0)
        assert await attributes(desk, old) == {}
        new = desk.project(project_name="new", attributes={"hub": 7})
        await desk.store.commit(desk.change((new, 0), schema_version=2))
        assert await found(desk, "hub", 7) == ["new"]
        assert await found(desk, "hub", value=False, operator=Operator.EXISTS) == ["old"]
        assert (await desk.get(old)).schema_version == 2

    async def test_a_default_is_given_to_every_project(self, desk: Desk) -> None:
        old = await desk.create(project_name="old")
        grids = {"name": "grid", "type": "string", "required": True, "default": "it's ü; --"}
        ratios = {"name": "share", "type": "decimal(38,10)", "default": 0.1234567891}
        dated = {"name": "since", "type": "timestamp", "default": "2020-02-29T18:29:00.5+05:30"}
        migration = await evolve(desk, revised(grids, ratios, dated))
        assert migration.rows == 1
        since = datetime(2020, 2, 29, 12, 59, 0, 500_000, tzinfo=UTC)
        assert await attributes(desk, old) == {
            "grid": "it's ü; --",
            "share": Decimal("0.1234567891"),
            "since": since,
        }
        assert await found(desk, "grid", "it's ü; --") == ["old"]
        assert await found(desk, "share", Decimal("0.1234567891")) == ["old"]
        assert await found(desk, "since", since) == ["old"]

    async def test_a_column_takes_up_what_extensions_hold(self, desk: Desk) -> None:
        held = {"x_hub": msgspec.Raw(b"120.50"), "x_kept": msgspec.Raw(b"{}")}
        one = await desk.create(project_name="one", extensions=held)
        two = await desk.create(project_name="two", attributes={"units": 3})
        column = {"name": "hub", "type": "decimal(30,10)"}
        migration = await evolve(desk, revised(column))
        assert migration.rows == 1
        state = (await desk.get(one)).state
        assert dict(state.attributes) == {"hub": Decimal("120.5")}
        assert set(state.extensions) == {"x_kept"}
        assert await attributes(desk, two) == {"units": 3}
        assert await found(desk, "hub", Decimal("120.5")) == ["one"]
        assert await names(desk, Query(sort=(Sort("hub"),))) == ["one", "two"]

    async def test_a_promoted_value_outranks_the_default(self, desk: Desk) -> None:
        await desk.create(project_name="one", extensions={"x_hub": msgspec.Raw(b"7")})
        await desk.create(project_name="two")
        await evolve(desk, revised({"name": "hub", "type": "integer", "default": 1}))
        assert await found(desk, "hub", 7) == ["one"]
        assert await found(desk, "hub", 1) == ["two"]

    async def test_a_wider_type_keeps_every_value(self, desk: Desk) -> None:
        values = {"units": 7, "capacity_mw": Decimal("1.5"), "technology": "wind"}
        project = await desk.create(project_name="one", attributes=values)
        wider: dict[str, Any] = {
            "units": {"type": "bigint"},
            "capacity_mw": {"type": "decimal(38,10)"},
        }
        await evolve(desk, revised(**wider, technology={"type": "string(200)"}))
        assert await attributes(desk, project) == values
        large = {"units": 2**40, "capacity_mw": Decimal("9" * 25 + ".0000000001")}
        new = desk.project(project_name="two", attributes=large)
        await desk.store.commit(desk.change((new, 0), schema_version=2))
        assert await found(desk, "capacity_mw", large["capacity_mw"]) == ["two"]
        assert await names(desk, Query(sort=(Sort("units", descending=True),))) == ["two", "one"]

    async def test_an_integer_becomes_a_double_or_a_decimal(self, desk: Desk) -> None:
        project = await desk.create(attributes={"units": 7, "grid_id": 2**60})
        exact = revised(units={"type": "double"}, grid_id={"type": "decimal(20,1)"})
        await evolve(desk, exact)
        read = await attributes(desk, project)
        assert read == {"units": 7.0, "grid_id": Decimal(2**60)}
        assert [type(value) for value in read.values()] == [float, Decimal]
        assert len(await found(desk, "units", 7.0)) == 1
        assert len(await found(desk, "grid_id", Decimal(2**60))) == 1

    async def test_a_renamed_column_keeps_its_values(self, desk: Desk) -> None:
        project = await desk.create(project_name="one", attributes={"units": 7})
        other = await desk.create(project_name="two", attributes={"units": 3})
        turbines = {"name": "turbines", "type": "integer", "aliases": ["units"]}
        await evolve(desk, revised(turbines, without=["units"]))
        assert await attributes(desk, project) == {"turbines": 7}
        assert await found(desk, "turbines", 7) == ["one"]
        renamed = desk.project(project_id=other.project_id, attributes={"turbines": 9})
        await desk.store.commit(desk.change((renamed, 1), schema_version=2))
        assert await found(desk, "turbines", 9) == [renamed.project_name]

    async def test_a_query_of_the_version_before_is_understood(self, desk: Desk) -> None:
        await desk.create(project_name="one", attributes={"units": 7, "merchant": True})
        await desk.create(project_name="two", attributes={"units": 3, "merchant": False})
        await desk.create(project_name="three", attributes={"units": 5, "merchant": True})
        turbines = {"name": "turbines", "type": "integer", "aliases": ["units"]}
        await evolve(desk, revised(turbines, without=["units", "merchant"]))
        assert await found(desk, "units", 7) == ["one"]
        assert await found(desk, "merchant", value=False) == ["two"]
        query = Query(sort=(Sort("merchant"), Sort("units")), limit=1)
        assert await names(desk, query) == ["two", "three", "one"]
        with pytest.raises(InvalidInput):
            await desk.store.page(Query(sort=(Sort("never"),)))

    async def test_a_removed_column_keeps_its_values_and_may_return(self, desk: Desk) -> None:
        project = await desk.create(project_name="one", attributes={"units": 7, "merchant": True})
        await evolve(desk, revised(without=["units"]))
        assert await attributes(desk, project) == {"merchant": True}
        state = (await desk.get(project)).state
        await desk.store.commit(
            desk.change(
                (msgspec.structs.replace(state, attributes={"merchant": False}), 1),
                schema_version=2,
            )
        )
        fresh = desk.project(project_name="two", attributes={"merchant": True})
        await desk.store.commit(desk.change((fresh, 0), schema_version=2))
        returned = {"name": "units", "type": "bigint", "default": 1}
        await evolve(desk, revised(returned, without=["units"]), 3)
        assert await attributes(desk, project) == {"units": 7, "merchant": False}
        assert await attributes(desk, fresh) == {"units": 1, "merchant": True}
        assert await found(desk, "units", 7) == [state.project_name]
        assert await found(desk, "units", 1) == ["two"]

    async def test_what_becomes_required_is_filled_with_its_default(self, desk: Desk) -> None:
        with_units = await desk.create(project_name="one", attributes={"units": 7})
        without = await desk.create(project_name="two")
        migration = await evolve(desk, revised(units={"required": True, "default": 1}))
        assert migration.rows == 1
        assert await attributes(desk, with_units) == {"units": 7}
        assert await attributes(desk, without) == {"units": 1}
        assert await found(desk, "units", 1) == ["two"]

    async def test_every_step_at_once(self, desk: Desk) -> None:
        one = await desk.create(
            project_name="one",
            attributes={"units": 7, "technology": "wind", "load": 0.5},
            extensions={"x_hub": msgspec.Raw(b'"2021-05-06"')},
        )
        two = await desk.create(project_name="two", attributes={"grid_id": 4})
        columns = revised(
            {"name": "turbines", "type": "bigint", "aliases": ["units"], "default": 2},
            {"name": "hub", "type": "date"},
            without=["units", "load"],
            grid_id={"required": True, "default": 9},
            technology={"type": "string(80)"},
        )
        columns[-2]["required"] = True
        await evolve(desk, columns)
        day = date(2021, 5, 6)
        expected = {"turbines": 7, "technology": "wind", "hub": day, "grid_id": 9}
        assert await attributes(desk, one) == expected
        assert await attributes(desk, two) == {"turbines": 2, "grid_id": 4}
        assert await found(desk, "hub", day) == ["one"]
        assert await found(desk, "turbines", 2) == ["two"]
        assert await found(desk, "grid_id", 9) == ["one"]


class TestProofs:
    """What the data forbid is not done, and says where."""

    async def test_values_that_do_not_fit_are_counted_and_named(self, desk: Desk) -> None:
        broken = [
            await desk.create(extensions={"x_hub": msgspec.Raw(b'"tall"')})
            for _ in range(SAMPLE + 2)
        ]
        fine = await desk.create(extensions={"x_hub": msgspec.Raw(b"120")})
        before = await desk.store.position()
        with pytest.raises(Disproved) as refused:
            await evolve(desk, revised({"name": "hub", "type": "integer"}))
        (failure,) = refused.value.failures
        assert (failure.proof.stored, failure.projects) == ("x_hub", SAMPLE + 2)
        assert len(failure.sample) == SAMPLE
        assert set(failure.sample) <= {project.project_id for project in broken}
        assert failure.detail
        assert failure.sample[0] in refused.value.detail
        assert (await ruling(desk)).version == 1
        assert (await desk.get(fine)).state == fine
        assert await desk.store.position() == before
        with pytest.raises(InvalidInput):
            await found(desk, "hub", 1)
        (logged,) = await desk.store.migrations()
        assert (logged.outcome, logged.detail) == (
            MigrationOutcome.REFUSED,
            refused.value.detail,
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
    async def test_a_tighter_column_asks_every_value(
        self, desk: Desk, column: str, member: dict[str, Any], good: Any, bad: Any
    ) -> None:
        await desk.create(attributes={column: good})
        await desk.create()
        tighter: dict[str, Any] = {column: member}
        record, plan = await proposed(desk, revised(**tighter))
        assert await desk.store.examine(plan.proofs) == ()
        broken = await desk.create(attributes={column: bad})
        (failure,) = await desk.store.examine(plan.proofs)
        assert (failure.proof.stored, failure.projects) == (column, 1)
        assert failure.sample == (broken.project_id,)
        with pytest.raises(Disproved):
            await desk.store.migrate(record, plan, actor="steward")
        mended = msgspec.structs.replace(broken, attributes={column: good})
        await desk.store.commit(desk.change((mended, 1)))
        assert await desk.store.examine(plan.proofs) == ()
        await desk.store.migrate(record, plan, actor="steward")
        assert (await ruling(desk)).version == 2

    async def test_absent_values_break_what_becomes_required(self, desk: Desk) -> None:
        lacking = await desk.create(attributes={"units": 1})
        _, plan = await proposed(desk, revised(technology={"required": True}))
        (failure,) = await desk.store.examine(plan.proofs)
        assert (failure.projects, failure.sample) == (1, (lacking.project_id,))

    async def test_core_columns_are_held_to_what_a_schema_tightens(self, desk: Desk) -> None:
        small = await desk.create(total_amount=Decimal("1.00"))
        await desk.create(total_amount=Decimal("1000.00"))
        core = {"name": "total_amount", "type": "decimal(18,2)", "minimum": 100}
        _, plan = await proposed(desk, revised(core))
        (failure,) = await desk.store.examine(plan.proofs)
        assert (failure.proof.stored, failure.sample) == ("total_amount", (small.project_id,))

    async def test_only_the_newest_version_of_a_project_counts(self, desk: Desk) -> None:
        project = await desk.create(attributes={"units": 1})
        better = msgspec.structs.replace(project, attributes={"units": 9})
        await desk.store.commit(desk.change((better, 1)))
        record, plan = await proposed(desk, revised(units={"minimum": 5}))
        await desk.store.migrate(record, plan, actor="steward")
        first = await desk.store.get("project", project.project_id, version=1)
        assert dict(first.state.attributes) == {"units": 1}

    async def test_describing_and_examining_change_nothing(self, desk: Desk) -> None:
        project = await desk.create(attributes={"units": 1})
        record, plan = await proposed(desk, revised({"name": "hub", "type": "date"}))
        before = ([t.columns for t in await desk.store.tables()], await desk.store.position())
        assert any("hub" in line for line in desk.store.describe(plan))
        assert await desk.store.examine(plan.proofs) == ()
        tables = [table.columns for table in await desk.store.tables()]
        assert (tables, await desk.store.position()) == before
        assert await desk.store.records() == [a_record()]
        assert (await desk.get(project)).schema_version == 1
        assert record.schema.version == 2


class TestVersions:
    """What was written stays as it was written, and is read as it is now."""

    async def test_history_keeps_documents_and_states_are_upgraded(self, desk: Desk) -> None:
        project = await desk.create(attributes={"units": 7})
        written = (
            await desk.store.history("project", project.project_id, after_version=0, limit=9)
        )[0]
        created_at = (await desk.get(project)).created_at
        turbines = {"name": "turbines", "type": "bigint", "aliases": ["units"]}
        second = revised(turbines, without=["units"])
        await evolve(desk, second)
        await evolve(desk, [*second, {"name": "hub", "type": "integer", "default": 3}], 3)
        after = desk.project(project_id=project.project_id, attributes={"turbines": 8, "hub": 4})
        await desk.store.commit(desk.change((after, 1), schema_version=3))
        entries = await desk.store.history("project", project.project_id, after_version=0, limit=9)
        assert entries[0] == written
        assert [entry.schema_version for entry in entries] == [1, 3]
        past = await desk.store.get("project", project.project_id, as_of=created_at)
        first = await desk.store.get("project", project.project_id, version=1)
        assert past == first
        assert (past.version, past.schema_version) == (1, 3)
        assert dict(past.state.attributes) == {"turbines": 7, "hub": 3}

    async def test_what_was_read_before_is_read_anew(self, desk: Desk) -> None:
        projects = [await desk.create(attributes={"units": n}) for n in range(3)]
        query = Query(sort=(Sort("units"),), limit=2)
        await desk.store.page(query)
        await desk.store.get_many("project", [p.project_id for p in projects])
        turbines = {"name": "turbines", "type": "integer", "aliases": ["units"]}
        await evolve(desk, revised(turbines, without=["units"]))
        page = await desk.store.page(query)
        assert [dict(i.state.attributes) for i in page.items] == [{"turbines": 0}, {"turbines": 1}]
        rest = await desk.store.page(msgspec.structs.replace(query, after=page.next))
        assert [dict(item.state.attributes) for item in rest.items] == [{"turbines": 2}]
        many = await desk.store.get_many("project", [p.project_id for p in projects])
        assert {stored.schema_version for stored in many.values()} == {2}

    async def test_a_change_decided_before_is_recorded_as_decided(self, desk: Desk) -> None:
        known = await desk.create(project_name="known", attributes={"units": 1})
        turbines = {"name": "turbines", "type": "integer", "aliases": ["units"]}
        hub = {"name": "hub", "type": "integer", "default": 3}
        await evolve(desk, revised(turbines, hub, without=["units"]))
        late = desk.project(project_name="late", attributes={"units": 7})
        amended = msgspec.structs.replace(known, attributes={"units": 5})
        encoded = desk.project(project_name="encoded", attributes={"units": 9})
        document = serialization.encode("project", encoded, a_record().schema)
        write = Write("project", encoded.project_id, 0, Encoded(document))
        await desk.store.commit(desk.change((late, 0), (amended, 1)))
        await desk.store.commit(desk.change(writes=(write,), events=()))
        for project, units in ((late, 7), (amended, 5), (encoded, 9)):
            assert await attributes(desk, project) == {"turbines": units, "hub": 3}
            history = await desk.store.history(
                "project", project.project_id, after_version=0, limit=9
            )
            assert history[-1].schema_version == 1
            assert json.loads(history[-1].document)["units"] == units
            assert await found(desk, "turbines", units) == [project.project_name]
        assert sorted(await found(desk, "hub", 3)) == ["encoded", "known", "late"]

    async def test_writes_go_on_around_a_migration(self, desk: Desk) -> None:
        projects = [await desk.create(project_name=f"N{n}") for n in range(20)]
        hub = {"name": "hub", "type": "integer", "default": 3}
        renaming = [desk.rename(project, 1, f"M{n}") for n, project in enumerate(projects)]
        adding = [desk.create(project_name=f"L{n}", attributes={"units": n}) for n in range(20)]
        done = await outcomes([*renaming[:10], *adding[:10], evolve(desk, revised(hub))])
        done += await outcomes([*renaming[10:], *adding[10:]])
        assert not [outcome for outcome in done if isinstance(outcome, BaseException)]
        listed = await found(desk, "hub", 3)
        assert sorted(listed) == sorted([f"{c}{n}" for c in "ML" for n in range(20)])
        assert await found(desk, "units", 7) == ["L7"]

    async def test_reads_under_way_are_answered_whatever_comes(self, desk: Desk) -> None:
        for n in range(30):
            await desk.create(project_name=f"N{n:02}", attributes={"units": n})
        wanted = [f"N{n:02}" for n in range(10, 30)]
        first = (await desk.store.page(Query(limit=1))).items[0]

        async def read(limit: int) -> None:
            query = Query(
                filters=(Filter("units", Operator.GTE, (10,)),), sort=(Sort("units"),), limit=limit
            )
            assert await names(desk, query) == wanted
            named = Filter("project_id", Operator.EQ, (first.id,))
            zero = Query(filters=(named, Filter("units", Operator.EQ, (0,))))
            assert await names(desk, zero) == ["N00"]
            assert 0 in (await desk.store.get("project", first.id)).state.attributes.values()

        columns, aliases = revised(without=["units"]), ["units"]
        for version in range(2, 8):
            kind = "integer" if version < 4 else "bigint"
            renamed = {"name": f"units_{version}", "type": kind, "aliases": list(aliases)}
            aliases.append(f"units_{version}")
            reading = [read(limit) for limit in range(version, version + 9)]
            await asyncio.gather(*reading, evolve(desk, [*columns, renamed], version))
