# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: single reads, pages, history, schemas.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
"""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import (
    Conflict,
    CursorInvalid,
    InvalidInput,
    NotFound,
)
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.projects.project import ExternalRefReservation, ProjectStatus
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query, Sort
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import SchemaState
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.storage_contract.harness import StorageHarness, a_record


async def iterate_items(
    harness: StorageHarness, query: Query
) -> AsyncIterator[StoredAggregate[Any]]:
    """Yield every item of a query, page by page."""
    while True:
        page = await harness.store.page(query)
        for item in page.items:
            yield item
        if page.next is None:
            return
        query = msgspec.structs.replace(query, after=page.next)


async def project_names(harness: StorageHarness, query: Query) -> list[str]:
    """Return the project names of a query, page by page."""
    return [item.state.project_name async for item in iterate_items(harness, query)]


class TestSingleReads:
    """The newest state, earlier states, and missing aggregates."""

    async def test_missing_aggregates_are_not_found(self, harness: StorageHarness) -> None:
        with pytest.raises(NotFound):
            await harness.store.get("project", "nobody")
        with pytest.raises(NotFound):
            await harness.store.head("project", "nobody")
        with pytest.raises(NotFound):
            await harness.store.history("project", "nobody", after_version=0, limit=1)
        assert await harness.store.get_many("project", ["nobody"]) == {}

    async def test_kinds_do_not_see_each_other(self, harness: StorageHarness) -> None:
        project = await harness.create()
        with pytest.raises(NotFound):
            await harness.store.get("external_ref", project.project_id)

    async def test_the_head_follows_every_write(self, harness: StorageHarness) -> None:
        project = await harness.create()
        first = await harness.store.head("project", project.project_id)
        await harness.rename(project, 1, "Second")
        second = await harness.store.head("project", project.project_id)
        assert (first.version, second.version) == (1, 2)
        assert first.epoch == second.epoch == harness.store.status().epoch

    async def test_earlier_versions_stay_readable(self, harness: StorageHarness) -> None:
        project = await harness.create()
        await harness.rename(project, 1, "Second")
        first = await harness.store.get("project", project.project_id, version=1)
        second = await harness.store.get("project", project.project_id, version=2)
        assert (first.state, first.version) == (project, 1)
        assert second == await harness.get(project)
        assert first.created_at == first.updated_at == second.created_at < second.updated_at
        with pytest.raises(NotFound):
            await harness.store.get("project", project.project_id, version=3)

    async def test_every_change_is_recorded_after_the_newest_one(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        created_at = (await harness.get(project)).updated_at
        assert await harness.store.latest_recorded_at() == created_at
        result = await harness.rename(project, 1, "b")
        assert result.recorded_at > created_at
        assert await harness.store.latest_recorded_at() == result.recorded_at

    async def test_every_change_is_recorded_after_a_final_instant(
        self, harness: StorageHarness
    ) -> None:
        before = harness.clock.now()
        instant = await harness.store.final_instant()
        assert instant < before
        project = await harness.create()
        assert (await harness.get(project)).updated_at > instant
        harness.clock.advance(timedelta(hours=1))
        later = await harness.store.final_instant()
        assert (await harness.get(project)).updated_at <= later
        assert (await harness.rename(project, 1, "b")).recorded_at > later

    async def test_a_clock_that_goes_back_passes_no_instant_of_a_reader(
        self, harness: StorageHarness
    ) -> None:
        instant = await harness.store.final_instant()
        harness.clock.advance(timedelta(seconds=-30))
        assert await harness.store.final_instant() == instant
        project = await harness.create()
        created_at = (await harness.get(project)).updated_at
        assert created_at > instant
        assert await harness.store.final_instant() == created_at
        assert (await harness.rename(project, 1, "b")).recorded_at > created_at

    async def test_a_clock_that_jumped_ahead_gives_no_instant(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        harness.clock.advance(timedelta(days=700))
        harness.clock.ahead_s = 700 * 86_400.0
        assert await harness.store.final_instant() == (await harness.get(project)).updated_at

    async def test_the_state_as_of_an_instant_includes_that_instant(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create()
        harness.clock.advance(timedelta(hours=1))
        result = await harness.rename(project, 1, "Second")
        tick = timedelta(microseconds=1)
        at = await harness.store.get("project", project.project_id, as_of=result.recorded_at)
        before = await harness.store.get(
            "project", project.project_id, as_of=result.recorded_at - tick
        )
        assert (at.version, before.version) == (2, 1)
        local_time = result.recorded_at.astimezone(INDIAN_OFFSET)
        assert await harness.store.get("project", project.project_id, as_of=local_time) == at
        with pytest.raises(NotFound):
            await harness.store.get("project", project.project_id, as_of=before.created_at - tick)

    async def test_many_are_read_at_once(self, harness: StorageHarness) -> None:
        projects = [await harness.create(project_name=f"N{n}") for n in range(5)]
        await harness.rename(projects[0], 1, "Second")
        ids = [p.project_id for p in projects]
        aggregates = await harness.store.get_many("project", [*ids, "nobody", ids[0]])
        assert sorted(aggregates) == sorted(ids)
        assert aggregates[ids[0]] == await harness.get(projects[0])

    async def test_too_many_ids_are_rejected(self, harness: StorageHarness) -> None:
        with expect_invalid(("/ids", "too_many")):
            await harness.store.get_many("project", ["x"] * 10_001)

    async def test_history_is_paged_oldest_first(self, harness: StorageHarness) -> None:
        project = await harness.create()
        for version in range(1, 5):
            await harness.rename(project, version, f"N{version}")
        entries: list[JournalEntry] = []
        while page := await harness.store.history(
            "project",
            project.project_id,
            after_version=entries[-1].version if entries else 0,
            limit=2,
        ):
            entries += page
        assert [entry.version for entry in entries] == [1, 2, 3, 4, 5]
        assert entries[0].type == "project.created"
        assert (entries[1].reason, entries[1].changed) == ("because", ("project_name",))
        documents = [msgspec.json.decode(entry.document)["project_name"] for entry in entries]
        assert documents == [project.project_name, "N1", "N2", "N3", "N4"]
        assert {(entry.actor, entry.schema_version) for entry in entries} == {("analyst", 1)}
        times = [entry.recorded_at for entry in entries]
        assert times == sorted(set(times))


INDIAN_OFFSET = datetime.strptime("+0530", "%z").tzinfo
"""An offset that is not UTC."""


FILTERS_OF_THREE: tuple[tuple[str, Operator, tuple[Any, ...], str], ...] = (
    ("capacity_mw", Operator.EQ, (Decimal("1.50"),), "a"),
    ("capacity_mw", Operator.NE, (Decimal("1.5"),), "bc"),
    ("capacity_mw", Operator.LT, (Decimal("1.5001"),), "a"),
    ("capacity_mw", Operator.GTE, (Decimal("1.5"),), "ab"),
    ("ratio", Operator.EQ, (Decimal("1234567890123456789012345678.0123456789"),), "a"),
    ("ratio", Operator.GT, (Decimal("1234567890123456789012345678.0123456788"),), "a"),
    ("technology", Operator.LIKE, ("ÖÖ%",), "a"),
    ("technology", Operator.LIKE, ("_",), ""),
    ("technology", Operator.IN, ("zöö%x", "wind'; drop table projects; --"), "ab"),
    ("technology", Operator.EXISTS, (False,), "c"),
    ("technology", Operator.EXISTS, (True,), "ab"),
    ("licensed_on", Operator.LTE, (date(1, 1, 1),), "a"),
    ("licensed_on", Operator.GT, (date(9999, 12, 30),), "b"),
    ("units", Operator.EQ, (-(2**31),), "a"),
    ("grid_id", Operator.IN, (2**63 - 1, 7), "a"),
    ("load", Operator.LT, (1e-300,), "a"),
    ("merchant", Operator.EQ, (False,), "b"),
    (
        "metered_at",
        Operator.EQ,
        (datetime(2020, 2, 29, 23, 59, tzinfo=INDIAN_OFFSET),),
        "a",
    ),
    ("metered_at", Operator.NE, (datetime(2020, 2, 29, 18, 29, tzinfo=UTC),), "bc"),
    ("total_amount", Operator.EQ, (Decimal("999999999999999999.99"),), "b"),
    ("status", Operator.IN, (ProjectStatus.OPERATION, "MANDATED"), "b"),
    ("version", Operator.GT, (1,), "c"),
    ("project_name", Operator.LIKE, ("B",), "b"),
)
"""Filters, and the names of the projects of `_create_three_projects` that they find."""

INVALID_QUERIES = (
    Query(limit=0),
    Query(limit=MAX_LIMIT + 1),
    Query(sort=(Sort("nothing"),)),
    Query(filters=(Filter("nothing", Operator.EQ, ("x",)),)),
    Query(filters=(Filter('x" or 1=1 --', Operator.EQ, ("x",)),)),
    Query(filters=(Filter("maturity_years", Operator.EQ, ("x",)),)),
    Query(filters=(Filter("maturity_years", Operator.EQ, (True,)),)),
    Query(filters=(Filter("maturity_years", Operator.LIKE, (1,)),)),
    Query(filters=(Filter("maturity_years", Operator.EQ, (1, 2)),)),
    Query(filters=(Filter("maturity_years", Operator.IN, ()),)),
    Query(filters=(Filter("maturity_years", Operator.EQ, (2**70,)),)),
    Query(filters=(Filter("maturity_years", Operator.EQ, (Decimal("17.555"),)),)),
    Query(filters=(Filter("dscr", Operator.EQ, (Decimal("1e40"),)),)),
    Query(filters=(Filter("dscr", Operator.EQ, (Decimal("0.123456789"),)),)),
)


class TestPages:
    """Pages contain each item exactly once, in the requested order."""

    async def test_creation_order_is_the_default(self, harness: StorageHarness) -> None:
        for n in range(7):
            await harness.create(project_name=f"N{n}")
        assert await project_names(harness, Query(limit=3)) == [f"N{n}" for n in range(7)]

    async def test_a_full_last_page_has_no_next(self, harness: StorageHarness) -> None:
        for n in range(4):
            await harness.create(project_name=f"N{n}")
        page = await harness.store.page(Query(limit=4))
        assert (len(page.items), page.next) == (4, None)

    async def test_an_empty_store_has_one_empty_page(self, harness: StorageHarness) -> None:
        page = await harness.store.page(Query(sort=(Sort("project_name"),)))
        assert (page.items, page.next) == ((), None)

    async def test_a_page_includes_every_earlier_change(self, harness: StorageHarness) -> None:
        query = Query(filters=(Filter("sector", Operator.EQ, ("Wind",)),))
        assert await project_names(harness, query) == []
        for n in range(5):
            project = await harness.create(project_name=f"N{n}", sector="Wind")
            assert (await project_names(harness, query))[-1] == f"N{n}"
            await harness.rename(project, 1, f"M{n}")
            assert (await project_names(harness, query))[-1] == f"M{n}"
        solar_project = msgspec.structs.replace(project, sector="Solar")
        await harness.store.commit(harness.change((solar_project, 2)))
        assert await project_names(harness, query) == [f"M{n}" for n in range(4)]

    async def test_a_scan_is_stable_while_others_write(self, harness: StorageHarness) -> None:
        projects = [await harness.create(project_name=f"N{n:02}") for n in range(12)]
        query = Query(sort=(Sort("project_name", descending=True),), limit=3)
        names: list[str] = []
        async for item in iterate_items(harness, query):
            names.append(item.state.project_name)
            await harness.create(project_name="zz later")
            other = projects[len(names) % 12]
            version = (await harness.store.head("project", other.project_id)).version
            await harness.store.commit(
                harness.change((msgspec.structs.replace(other, sector=f"S{version}"), version))
            )
        assert names == [f"N{n:02}" for n in reversed(range(12))]

    @pytest.mark.parametrize("descending", [False, True])
    async def test_absent_values_come_last_in_either_direction(
        self, harness: StorageHarness, *, descending: bool
    ) -> None:
        for n, years in enumerate((7, None, 3, None, 7, 5)):
            maturity = None if years is None else Decimal(years)
            await harness.create(project_name=f"N{n}", maturity_years=maturity)
        query = Query(sort=(Sort("maturity_years", descending),), limit=2)
        order = ["N0", "N4", "N5", "N2"] if descending else ["N2", "N5", "N0", "N4"]
        assert await project_names(harness, query) == [*order, "N1", "N3"]

    async def test_half_years_are_read_filtered_and_sorted_exactly(
        self, harness: StorageHarness
    ) -> None:
        for years in ("18.50", "18", "0.5", "99", "17.75"):
            project = await harness.create(project_name=years, maturity_years=Decimal(years))
            stored = await harness.get(project)
            assert str(stored.state.maturity_years) == years.removesuffix("0")
        by_years = Query(sort=(Sort("maturity_years"),), limit=2)
        order = ["0.5", "17.75", "18", "18.50", "99"]
        assert await project_names(harness, by_years) == order
        above = Filter("maturity_years", Operator.GT, (18,))
        assert await project_names(harness, Query(filters=(above,))) == ["18.50", "99"]
        equal = Filter("maturity_years", Operator.EQ, (Decimal("18.5"),))
        assert await project_names(harness, Query(filters=(equal,))) == ["18.50"]

    async def test_sorts_nest(self, harness: StorageHarness) -> None:
        for sector, years in (("B", 2), ("A", None), ("B", 9), ("A", 4), (None, 4), ("A", 5)):
            maturity = None if years is None else Decimal(years)
            await harness.create(
                project_name=f"{sector}{years}", sector=sector, maturity_years=maturity
            )
        query = Query(sort=(Sort("sector"), Sort("maturity_years", descending=True)), limit=1)
        assert await project_names(harness, query) == ["A5", "A4", "ANone", "B9", "B2", "None4"]

    async def test_filters_compare_by_type(
        self, harness: StorageHarness, subtests: pytest.Subtests
    ) -> None:
        await _create_three_projects(harness)
        for field, operator, values, expected in FILTERS_OF_THREE:
            with subtests.test(field=field, operator=operator, values=values):
                query = Query(filters=(Filter(field, operator, values),))
                assert "".join(await project_names(harness, query)) == expected

    @pytest.mark.parametrize("ids", [False, True], ids=["every project", "projects by id"])
    async def test_like_compares_lower_case_letter_by_letter(
        self, harness: StorageHarness, *, ids: bool
    ) -> None:
        names = ("İX", "ix", "ΟΔΟΣ", "οδοσ", "οδος")
        projects = [await harness.create(project_name=name) for name in names]
        operands = tuple(project.project_id for project in projects)
        more = (Filter("project_id", Operator.IN, operands),) if ids else ()
        for part, expected in (
            ("i", ["İX", "ix"]),
            ("İX", ["İX", "ix"]),
            ("Σ", ["ΟΔΟΣ", "οδοσ"]),
        ):
            query = Query(filters=(Filter("project_name", Operator.LIKE, (part,)), *more))
            assert await project_names(harness, query) == expected, part

    async def test_all_filters_must_match(self, harness: StorageHarness) -> None:
        await _create_three_projects(harness)
        both = (
            Filter("capacity_mw", Operator.EXISTS, (True,)),
            Filter("merchant", Operator.EQ, (True,)),
        )
        assert await project_names(harness, Query(filters=both)) == ["a"]

    async def test_projects_are_filtered_by_id(self, harness: StorageHarness) -> None:
        projects = [await harness.create(project_name=f"N{n}") for n in range(4)]
        ids = tuple(p.project_id for p in projects)
        by_ids = Filter("project_id", Operator.IN, (ids[3], ids[1], "nobody", ids[0]))
        assert await project_names(harness, Query(filters=(by_ids,), limit=2)) == ["N0", "N1", "N3"]
        by_id = Filter("project_id", Operator.EQ, (ids[2],))
        assert await project_names(harness, Query(filters=(by_id,))) == ["N2"]

    async def test_projects_are_filtered_and_sorted_by_time(self, harness: StorageHarness) -> None:
        project = await harness.create(project_name="old")
        harness.clock.advance(timedelta(hours=1))
        await harness.create(project_name="new")
        created_at = (await harness.get(project)).created_at
        query = Query(filters=(Filter("created_at", Operator.GT, (created_at,)),))
        assert await project_names(harness, query) == ["new"]
        newest = Query(sort=(Sort("updated_at", descending=True),), limit=1)
        assert await project_names(harness, newest) == ["new", "old"]

    async def test_other_kinds_are_paged_in_creation_order(self, harness: StorageHarness) -> None:
        for n in (3, 1, 2):
            reserve = Write(
                "external_ref", f"erp:a:{n}", 0, ExternalRefReservation(project_id=None)
            )
            await harness.store.commit(
                harness.change((harness.project(), 0), writes=(reserve,), events=())
            )
        ids = [
            item.id async for item in iterate_items(harness, Query(kind="external_ref", limit=2))
        ]
        assert ids == ["erp:a:3", "erp:a:1", "erp:a:2"]

    async def test_other_kinds_are_sorted_and_filtered_by_their_creation(
        self, harness: StorageHarness
    ) -> None:
        for n in (3, 1, 2):
            # Two items of one instant keep their order in either direction.
            pair = tuple(
                Write("external_ref", f"erp:{n}:{m}", 0, ExternalRefReservation(project_id=None))
                for m in ("x", "y")
            )
            await harness.store.commit(
                harness.change((harness.project(), 0), writes=pair, events=())
            )
            harness.clock.advance(timedelta(hours=1))
        newest = Query(kind="external_ref", sort=(Sort("created_at", descending=True),), limit=1)
        ids = [item.id async for item in iterate_items(harness, newest)]
        assert ids == ["erp:2:x", "erp:2:y", "erp:1:x", "erp:1:y", "erp:3:x", "erp:3:y"]
        middle = (await harness.store.get("external_ref", "erp:1:x")).created_at
        since = Filter("created_at", Operator.GTE, (middle,))
        recent = Query(kind="external_ref", filters=(since,), limit=3)
        assert [item.id async for item in iterate_items(harness, recent)] == [
            *("erp:1:x", "erp:1:y", "erp:2:x", "erp:2:y")
        ]
        with expect_invalid(("/project_id", "unknown_field")):
            await harness.store.page(Query(kind="external_ref", sort=(Sort("project_id"),)))

    async def test_an_invalid_query_is_rejected(
        self, harness: StorageHarness, subtests: pytest.Subtests
    ) -> None:
        for query in INVALID_QUERIES:
            with subtests.test(query=str(query)), pytest.raises(InvalidInput):
                await harness.store.page(query)

    async def test_keys_of_another_query_are_rejected(
        self, harness: StorageHarness, subtests: pytest.Subtests
    ) -> None:
        for after in ((), (1,), ("x", 1, 2), ("x", "y"), (7, 1), ("x", None)):
            with subtests.test(after=after), pytest.raises(CursorInvalid):
                await harness.store.page(Query(sort=(Sort("project_name"),), after=after))


async def _create_three_projects(harness: StorageHarness) -> None:
    await harness.create(
        project_name="a",
        attributes={
            "capacity_mw": Decimal("1.5"),
            "ratio": Decimal("1234567890123456789012345678.0123456789"),
            "technology": "Zöö%x",
            "licensed_on": date(1, 1, 1),
            "units": -(2**31),
            "grid_id": 2**63 - 1,
            "load": 5e-324,
            "merchant": True,
            "metered_at": datetime(2020, 2, 29, 18, 29, tzinfo=UTC),
        }
        | {"technology": "zöö%x"},
    )
    await harness.create(
        project_name="b",
        total_amount=Decimal("999999999999999999.99"),
        status=ProjectStatus.OPERATION,
        attributes={
            "capacity_mw": Decimal("20.0000"),
            "technology": "wind'; drop table projects; --",
            "licensed_on": date(9999, 12, 31),
            "merchant": False,
        },
    )
    project = await harness.create(project_name="c")
    await harness.rename(project, 1, "c")


class TestSchemas:
    """The active schema, candidates, and a store with projects that keeps its schema."""

    async def test_a_new_store_has_no_active_schema(self, reopen_store: Any) -> None:
        store = await reopen_store()
        assert await store.active() is None
        assert await store.records() == []

    async def test_a_store_without_projects_adopts_again(self, harness: StorageHarness) -> None:
        await harness.store.adopt(a_record(SECOND_DOCUMENT))
        active = await harness.store.active()
        assert active is not None
        assert active.schema.version == 2
        states = [(r.schema.version, r.state) for r in await harness.store.records()]
        assert states == [(1, SchemaState.RETIRED), (2, SchemaState.ACTIVE)]
        project = harness.project(project_name="new", attributes={"hub_height": 5})
        await harness.store.commit(harness.change((project, 0), schema_version=2))
        query = Query(filters=(Filter("hub_height", Operator.EQ, (5,)),))
        assert await project_names(harness, query) == ["new"]

    async def test_a_store_with_projects_keeps_its_schema(self, harness: StorageHarness) -> None:
        await harness.create()
        with pytest.raises(Conflict):
            await harness.store.adopt(a_record(SECOND_DOCUMENT))
        active = await harness.store.active()
        assert active is not None
        assert active.schema.version == 1

    async def test_a_version_has_one_content(self, harness: StorageHarness) -> None:
        other = SECOND_DOCUMENT.replace(b'"version": 2', b'"version": 1')
        with pytest.raises(Conflict):
            await harness.store.adopt(a_record(other))

    async def test_candidates_are_recorded_beside_the_active_version(
        self, harness: StorageHarness
    ) -> None:
        candidate = a_record(SECOND_DOCUMENT, SchemaState.CANDIDATE)
        await harness.store.record(candidate)
        quarantined_record = msgspec.structs.replace(
            candidate, state=SchemaState.QUARANTINED, reason="narrows a type"
        )
        await harness.store.record(quarantined_record)
        assert await harness.store.records() == [a_record(), quarantined_record]
        with pytest.raises(Conflict):
            await harness.store.record(a_record(SECOND_DOCUMENT))

    async def test_the_tables_are_described(self, harness: StorageHarness) -> None:
        await harness.create()
        await harness.store.page(Query())
        tables = await harness.store.tables()
        assert tables
        (of_projects,) = [table for table in tables if table.kind == "project"]
        fields = compile_schema((await harness.store.version_history())[0]).fields
        assert fields.keys() <= {column.name for column in of_projects.columns}
        assert all(column.type for column in of_projects.columns)


SECOND_DOCUMENT = b"""{"id": "project_schema", "version": 2, "name": "Projects", "columns": [
 {"name": "hub_height", "type": "integer"}]}"""
