# ruff: noqa: D102 -- a test's name is its sentence
"""The storage contract, continued: single reads, pages, history, schemas.

See `spawn.testing.storage_contract.commands` for how to run it against an adapter.
"""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.domain.change import Entry, Stored, Write
from spawn.domain.errors import (
    Conflict,
    CursorInvalid,
    InvalidInput,
    NotFound,
)
from spawn.domain.projects.project import Reservation, Status
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Query, Sort
from spawn.ports.schemas import SchemaState
from spawn.testing.storage_contract.commands import Desk, a_record


async def scan(desk: Desk, query: Query) -> AsyncIterator[Stored[Any]]:
    """Every item of a query, page by page."""
    while True:
        page = await desk.store.page(query)
        for item in page.items:
            yield item
        if page.next is None:
            return
        query = msgspec.structs.replace(query, after=page.next)


async def names(desk: Desk, query: Query) -> list[str]:
    """The names of every item of a query, page by page."""
    return [item.state.project_name async for item in scan(desk, query)]


class TestSingleReads:
    """The newest state, earlier ones, and what does not exist."""

    async def test_what_does_not_exist_is_not_found(self, desk: Desk) -> None:
        with pytest.raises(NotFound):
            await desk.store.get("project", "nobody")
        with pytest.raises(NotFound):
            await desk.store.head("project", "nobody")
        with pytest.raises(NotFound):
            await desk.store.history("project", "nobody", after_version=0, limit=1)
        assert await desk.store.get_many("project", ["nobody"]) == {}

    async def test_kinds_do_not_see_each_other(self, desk: Desk) -> None:
        project = await desk.create()
        with pytest.raises(NotFound):
            await desk.store.get("external_ref", project.project_id)

    async def test_the_head_follows_every_write(self, desk: Desk) -> None:
        project = await desk.create()
        first = await desk.store.head("project", project.project_id)
        await desk.rename(project, 1, "Second")
        second = await desk.store.head("project", project.project_id)
        assert (first.version, second.version) == (1, 2)
        assert first.epoch == second.epoch == desk.store.status().epoch

    async def test_earlier_versions_stay_readable(self, desk: Desk) -> None:
        project = await desk.create()
        await desk.rename(project, 1, "Second")
        first = await desk.store.get("project", project.project_id, version=1)
        second = await desk.store.get("project", project.project_id, version=2)
        assert (first.state, first.version) == (project, 1)
        assert second == await desk.get(project)
        assert first.created_at == first.updated_at == second.created_at < second.updated_at
        with pytest.raises(NotFound):
            await desk.store.get("project", project.project_id, version=3)

    async def test_the_state_as_of_an_instant_includes_that_instant(self, desk: Desk) -> None:
        project = await desk.create()
        desk.clock.move(timedelta(hours=1))
        changed = await desk.rename(project, 1, "Second")
        tick = timedelta(microseconds=1)
        at = await desk.store.get("project", project.project_id, as_of=changed.recorded_at)
        before = await desk.store.get(
            "project", project.project_id, as_of=changed.recorded_at - tick
        )
        assert (at.version, before.version) == (2, 1)
        elsewhere = changed.recorded_at.astimezone(ELSEWHERE)
        assert await desk.store.get("project", project.project_id, as_of=elsewhere) == at
        with pytest.raises(NotFound):
            await desk.store.get("project", project.project_id, as_of=before.created_at - tick)

    async def test_many_are_read_at_once(self, desk: Desk) -> None:
        projects = [await desk.create(project_name=f"N{n}") for n in range(5)]
        await desk.rename(projects[0], 1, "Second")
        wanted = [p.project_id for p in projects]
        found = await desk.store.get_many("project", [*wanted, "nobody", wanted[0]])
        assert sorted(found) == sorted(wanted)
        assert found[wanted[0]] == await desk.get(projects[0])

    async def test_more_ids_than_the_cap_are_refused(self, desk: Desk) -> None:
        with pytest.raises(InvalidInput):
            await desk.store.get_many("project", ["x"] * 10_001)

    async def test_history_is_paged_oldest_first(self, desk: Desk) -> None:
        project = await desk.create()
        for version in range(1, 5):
            await desk.rename(project, version, f"N{version}")
        entries: list[Entry] = []
        while page := await desk.store.history(
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


ELSEWHERE = datetime.strptime("+0530", "%z").tzinfo
"""An offset that is not UTC."""


class TestPages:
    """Pages cover each item exactly once, in the order asked for."""

    async def test_creation_order_is_the_default(self, desk: Desk) -> None:
        for n in range(7):
            await desk.create(project_name=f"N{n}")
        assert await names(desk, Query(limit=3)) == [f"N{n}" for n in range(7)]

    async def test_a_full_last_page_has_no_next(self, desk: Desk) -> None:
        for n in range(4):
            await desk.create(project_name=f"N{n}")
        page = await desk.store.page(Query(limit=4))
        assert (len(page.items), page.next) == (4, None)

    async def test_an_empty_store_has_one_empty_page(self, desk: Desk) -> None:
        page = await desk.store.page(Query(sort=(Sort("project_name"),)))
        assert (page.items, page.next) == ((), None)

    async def test_a_page_shows_what_was_acknowledged_before_it(self, desk: Desk) -> None:
        query = Query(filters=(Filter("sector", Operator.EQ, ("Wind",)),))
        assert await names(desk, query) == []
        for n in range(5):
            project = await desk.create(project_name=f"N{n}", sector="Wind")
            assert (await names(desk, query))[-1] == f"N{n}"
            await desk.rename(project, 1, f"M{n}")
            assert (await names(desk, query))[-1] == f"M{n}"
        gone = msgspec.structs.replace(project, sector="Solar")
        await desk.store.commit(desk.change((gone, 2)))
        assert await names(desk, query) == [f"M{n}" for n in range(4)]

    async def test_a_scan_is_stable_while_others_write(self, desk: Desk) -> None:
        projects = [await desk.create(project_name=f"N{n:02}") for n in range(12)]
        query = Query(sort=(Sort("project_name", descending=True),), limit=3)
        seen: list[str] = []
        async for item in scan(desk, query):
            seen.append(item.state.project_name)
            await desk.create(project_name="zz later")
            other = projects[len(seen) % 12]
            version = (await desk.store.head("project", other.project_id)).version
            await desk.store.commit(
                desk.change((msgspec.structs.replace(other, sector=f"S{version}"), version))
            )
        assert seen == [f"N{n:02}" for n in reversed(range(12))]

    @pytest.mark.parametrize("descending", [False, True])
    async def test_absent_values_come_last_in_either_direction(
        self, desk: Desk, *, descending: bool
    ) -> None:
        for n, years in enumerate((7, None, 3, None, 7, 5)):
            await desk.create(project_name=f"N{n}", maturity_years=years)
        query = Query(sort=(Sort("maturity_years", descending),), limit=2)
        order = ["N0", "N4", "N5", "N2"] if descending else ["N2", "N5", "N0", "N4"]
        assert await names(desk, query) == [*order, "N1", "N3"]

    async def test_sorts_nest(self, desk: Desk) -> None:
        for sector, years in (("B", 2), ("A", None), ("B", 9), ("A", 4), (None, 4), ("A", 5)):
            await desk.create(project_name=f"{sector}{years}", sector=sector, maturity_years=years)
        query = Query(sort=(Sort("sector"), Sort("maturity_years", descending=True)), limit=1)
        assert await names(desk, query) == ["A5", "A4", "ANone", "B9", "B2", "None4"]

    @pytest.mark.parametrize(
        ("field", "operator", "values", "expected"),
        [
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
            ("metered_at", Operator.EQ, (datetime(2020, 2, 29, 23, 59, tzinfo=ELSEWHERE),), "a"),
            ("metered_at", Operator.NE, (datetime(2020, 2, 29, 18, 29, tzinfo=UTC),), "bc"),
            ("total_amount", Operator.EQ, (Decimal("999999999999999999.99"),), "b"),
            ("status", Operator.IN, (Status.OPERATION, "MANDATED"), "b"),
            ("version", Operator.GT, (1,), "c"),
            ("project_name", Operator.LIKE, ("B",), "b"),
        ],
    )
    async def test_filters_compare_by_type(
        self, desk: Desk, field: str, operator: Operator, values: tuple[Any, ...], expected: str
    ) -> None:
        await _three_projects(desk)
        query = Query(filters=(Filter(field, operator, values),))
        assert "".join(await names(desk, query)) == expected

    async def test_filters_are_all_to_hold(self, desk: Desk) -> None:
        await _three_projects(desk)
        both = (
            Filter("capacity_mw", Operator.EXISTS, (True,)),
            Filter("merchant", Operator.EQ, (True,)),
        )
        assert await names(desk, Query(filters=both)) == ["a"]

    async def test_projects_are_found_by_id(self, desk: Desk) -> None:
        projects = [await desk.create(project_name=f"N{n}") for n in range(4)]
        ids = tuple(p.project_id for p in projects)
        wanted = Filter("project_id", Operator.IN, (ids[3], ids[1], "nobody", ids[0]))
        assert await names(desk, Query(filters=(wanted,), limit=2)) == ["N0", "N1", "N3"]
        one = Filter("project_id", Operator.EQ, (ids[2],))
        assert await names(desk, Query(filters=(one,))) == ["N2"]

    async def test_times_can_be_selected_by(self, desk: Desk) -> None:
        project = await desk.create(project_name="old")
        desk.clock.move(timedelta(hours=1))
        await desk.create(project_name="new")
        created_at = (await desk.get(project)).created_at
        query = Query(filters=(Filter("created_at", Operator.GT, (created_at,)),))
        assert await names(desk, query) == ["new"]
        newest = Query(sort=(Sort("updated_at", descending=True),), limit=1)
        assert await names(desk, newest) == ["new", "old"]

    async def test_other_kinds_are_paged_in_creation_order(self, desk: Desk) -> None:
        for n in (3, 1, 2):
            reserve = Write("external_ref", f"erp:a:{n}", 0, Reservation(project_id=None))
            await desk.store.commit(desk.change((desk.project(), 0), writes=(reserve,), events=()))
        ids = [item.id async for item in scan(desk, Query(kind="external_ref", limit=2))]
        assert ids == ["erp:a:3", "erp:a:1", "erp:a:2"]

    async def test_other_kinds_are_sorted_and_filtered_by_their_creation(self, desk: Desk) -> None:
        for n in (3, 1, 2):
            # Two at a time are of one instant, and keep their order in either direction.
            pair = tuple(
                Write("external_ref", f"erp:{n}:{m}", 0, Reservation(project_id=None))
                for m in ("x", "y")
            )
            await desk.store.commit(desk.change((desk.project(), 0), writes=pair, events=()))
            desk.clock.move(timedelta(hours=1))
        newest = Query(kind="external_ref", sort=(Sort("created_at", descending=True),), limit=1)
        ids = [item.id async for item in scan(desk, newest)]
        assert ids == ["erp:2:x", "erp:2:y", "erp:1:x", "erp:1:y", "erp:3:x", "erp:3:y"]
        middle = (await desk.store.get("external_ref", "erp:1:x")).created_at
        since = Filter("created_at", Operator.GTE, (middle,))
        recent = Query(kind="external_ref", filters=(since,), limit=3)
        assert [item.id async for item in scan(desk, recent)] == [
            *("erp:1:x", "erp:1:y", "erp:2:x", "erp:2:y")
        ]
        with pytest.raises(InvalidInput):
            await desk.store.page(Query(kind="external_ref", sort=(Sort("version"),)))

    @pytest.mark.parametrize(
        "query",
        [
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
            Query(filters=(Filter("dscr", Operator.EQ, (Decimal("1e40"),)),)),
            Query(filters=(Filter("dscr", Operator.EQ, (Decimal("0.123456789"),)),)),
        ],
    )
    async def test_a_senseless_query_is_refused(self, desk: Desk, query: Query) -> None:
        with pytest.raises(InvalidInput):
            await desk.store.page(query)

    @pytest.mark.parametrize("after", [(), (1,), ("x", 1, 2), ("x", "y"), (7, 1), ("x", None)])
    async def test_keys_of_another_query_are_refused(
        self, desk: Desk, after: tuple[Any, ...]
    ) -> None:
        with pytest.raises(CursorInvalid):
            await desk.store.page(Query(sort=(Sort("project_name"),), after=after))


async def _three_projects(desk: Desk) -> None:
    await desk.create(
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
    await desk.create(
        project_name="b",
        total_amount=Decimal("999999999999999999.99"),
        status=Status.OPERATION,
        attributes={
            "capacity_mw": Decimal("20.0000"),
            "technology": "wind'; drop table projects; --",
            "licensed_on": date(9999, 12, 31),
            "merchant": False,
        },
    )
    project = await desk.create(project_name="c")
    await desk.rename(project, 1, "c")


class TestSchemas:
    """The active schema, candidates, and a filled store that keeps what it has."""

    async def test_a_new_store_has_adopted_nothing(self, opener: Any) -> None:
        store = await opener()
        assert await store.active() is None
        assert await store.records() == []

    async def test_a_store_without_projects_adopts_again(self, desk: Desk) -> None:
        await desk.store.adopt(a_record(SECOND_DOCUMENT))
        active = await desk.store.active()
        assert active is not None
        assert active.schema.version == 2
        states = [(r.schema.version, r.state) for r in await desk.store.records()]
        assert states == [(1, SchemaState.RETIRED), (2, SchemaState.ACTIVE)]
        await desk.create(project_name="new", attributes={"hub_height": 5})
        query = Query(filters=(Filter("hub_height", Operator.EQ, (5,)),))
        assert await names(desk, query) == ["new"]

    async def test_a_store_with_projects_keeps_its_schema(self, desk: Desk) -> None:
        await desk.create()
        with pytest.raises(Conflict):
            await desk.store.adopt(a_record(SECOND_DOCUMENT))
        active = await desk.store.active()
        assert active is not None
        assert active.schema.version == 1

    async def test_a_version_has_one_content(self, desk: Desk) -> None:
        other = SECOND_DOCUMENT.replace(b'"version": 2', b'"version": 1')
        with pytest.raises(Conflict):
            await desk.store.adopt(a_record(other))

    async def test_candidates_are_remembered_beside_the_active_one(self, desk: Desk) -> None:
        candidate = a_record(SECOND_DOCUMENT, SchemaState.CANDIDATE)
        await desk.store.record(candidate)
        refused = msgspec.structs.replace(
            candidate, state=SchemaState.QUARANTINED, reason="narrows a type"
        )
        await desk.store.record(refused)
        assert await desk.store.records() == [a_record(), refused]
        with pytest.raises(Conflict):
            await desk.store.record(a_record(SECOND_DOCUMENT))

    async def test_the_tables_can_be_looked_at(self, desk: Desk) -> None:
        await desk.create()
        await desk.store.page(Query())
        tables = await desk.store.tables()
        assert tables
        assert any(c.name == "capacity_mw" for table in tables for c in table.columns)


SECOND_DOCUMENT = b"""{"id": "project_schema", "version": 2, "name": "Projects", "columns": [
 {"name": "hub_height", "type": "integer"}]}"""
