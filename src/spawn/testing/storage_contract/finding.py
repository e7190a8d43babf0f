# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: filters on document fields, counts, past states, parts of a history.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from spawn.domain.projects.project import ExternalRef, Project, Sponsor, Spv
from spawn.domain.query import Filter, HistoryBounds, Operator, Query, Sort
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.storage_contract.harness import StorageHarness
from spawn.testing.storage_contract.migrations import migrate_to, revise_columns
from spawn.testing.storage_contract.reads import project_names

EXTENSIONS: Mapping[str, str] = {
    "text": '"12.5"',
    "number": "12.50",
    "large": "12345678901234567890123",
    "exponent": "1.25e1",
    "meter": "9007199254740993",
    "true": "true",
    "object": '{"a": "12.5"}',
    "list": '["12.5"]',
    "name": '"Zürich, \\"Nord\\""',
}
"""JSON of the extension `x_note` by the name of the project that has it."""


TEXT_FILTERS: tuple[tuple[str, Operator, tuple[Any, ...], str], ...] = (
    ("external_ref", Operator.EQ, ("erp:P-1",), "a"),
    ("external_ref", Operator.EQ, ("erp:p-1",), ""),
    ("external_ref", Operator.EQ, ("P-1",), ""),
    ("external_ref", Operator.IN, ("erp:P-1", "gis:P-1"), "ab"),
    ("external_ref", Operator.NE, ("erp:P-1",), "bc"),
    ("external_ref", Operator.EXISTS, (True,), "ab"),
    ("external_ref", Operator.EXISTS, (False,), "c"),
    ("external_ref.source", Operator.EQ, ("gis",), "b"),
    ("external_ref.id", Operator.LIKE, ("p-",), "ab"),
    ("sponsors.name", Operator.EQ, ("Öko, Inc",), "ab"),
    ("sponsors.name", Operator.EQ, ("Öko",), ""),
    ("sponsors.name", Operator.LIKE, ("ÖKO",), "ab"),
    ("sponsors.name", Operator.IN, ("Hydro", "Solar's"), "bc"),
    ("sponsors.name", Operator.NE, ("Öko, Inc",), "c"),
    ("sponsors.name", Operator.EXISTS, (True,), "abc"),
    ("spv.name", Operator.EQ, ("Alpha SPV",), "a"),
    ("spv.name", Operator.EXISTS, (False,), "bc"),
)
"""Filters on texts of a document, with the names of the projects that they find."""

EXTENSION_FILTERS: tuple[tuple[Operator, tuple[Any, ...], set[str]], ...] = (
    (Operator.EQ, ("12.5",), {"text", "number", "exponent"}),
    (Operator.EQ, ("12.50",), {"number", "exponent"}),
    (Operator.EQ, ("true",), {"true"}),
    (Operator.EQ, ('Zürich, "Nord"',), {"name"}),
    (Operator.EQ, ("12345678901234567890123",), {"large"}),
    (Operator.EQ, ("9007199254740993",), {"meter"}),
    (Operator.EQ, ("9007199254740992",), set()),
    (Operator.IN, ("9007199254740994", "12.5"), {"text", "number", "exponent"}),
    (Operator.GT, ("9007199254740992",), {"meter", "large"}),
    (Operator.LT, ("9007199254740993",), {"number", "exponent"}),
    (Operator.IN, ("true", "12.5"), {"true", "text", "number", "exponent"}),
    (Operator.NE, ("12.5",), {*EXTENSIONS, "none"} - {"text", "number", "exponent"}),
    (Operator.LIKE, ("ZÜRICH",), {"name"}),
    (Operator.LIKE, ("2.5",), {"text"}),
    (Operator.GTE, ("12.5",), {"number", "exponent", "meter", "large"}),
    (Operator.GT, ("12.5",), {"meter", "large"}),
    (Operator.LT, ("99",), {"number", "exponent"}),
    (Operator.GT, ("A",), {"name"}),
    (Operator.LTE, ("A",), {"text"}),
    (Operator.EXISTS, (True,), set(EXTENSIONS)),
    (Operator.EXISTS, (False,), {"none"}),
)
"""Filters on the extension, with the names of the projects that they find."""


class TestDocumentFields:
    """Filters on references, parties and extensions, which are no columns."""

    async def test_texts_of_a_document_are_compared_as_they_are(
        self, harness: StorageHarness
    ) -> None:
        await _create_parties(harness)
        for field, operator, operands, expected in TEXT_FILTERS:
            query = Query(filters=(Filter(field, operator, operands),))
            assert "".join(await project_names(harness, query)) == expected, query
            assert await harness.store.count(query) == len(expected)

    async def test_scalars_of_an_extension_are_compared_by_their_type(
        self, harness: StorageHarness
    ) -> None:
        for name, document in EXTENSIONS.items():
            extension = msgspec.Raw(document.encode())
            await harness.create(project_name=name, extensions={"x_note": extension})
        await harness.create(project_name="none")
        for operator, operands, expected in EXTENSION_FILTERS:
            query = Query(filters=(Filter("x_note", operator, operands),), limit=3)
            assert set(await project_names(harness, query)) == expected, query
            assert await harness.store.count(query) == len(expected)

    async def test_a_page_by_a_document_field_follows_every_change(
        self, harness: StorageHarness
    ) -> None:
        query = Query(filters=(Filter("sponsors.name", Operator.EQ, ("Öko, Inc",)),))
        assert await project_names(harness, query) == []
        project = await harness.create(sponsors=_sponsors("Öko, Inc"))
        assert await project_names(harness, query) == [project.project_name]
        without = msgspec.structs.replace(project, sponsors=())
        await harness.store.commit(harness.change((without, 1)))
        assert await project_names(harness, query) == []

    async def test_a_promoted_extension_is_a_column_only(self, harness: StorageHarness) -> None:
        extensions = {"x_hub": msgspec.Raw(b"5"), "x_note": msgspec.Raw(b"5")}
        project = await harness.create(project_name="a", extensions=extensions)
        instant = (await harness.get(project)).updated_at
        harness.clock.advance(timedelta(hours=1))
        await migrate_to(harness, revise_columns({"name": "hub", "type": "integer"}))
        for as_of in (None, instant):
            for field, value, names in (
                ("x_hub", "5", []),
                ("x_note", "5", ["a"]),
                ("hub", 5, ["a"]),
            ):
                query = Query(filters=(Filter(field, Operator.EQ, (value,)),), as_of=as_of)
                assert await project_names(harness, query) == names, query
        state = (await harness.get(project)).state
        renamed = msgspec.structs.replace(state, project_name="b")
        await harness.store.commit(harness.change((renamed, 1), schema_version=2))
        past = Query(filters=(Filter("hub", Operator.EQ, (5,)),), as_of=instant)
        assert await project_names(harness, past) == ["a"]

    async def test_a_document_field_has_no_order(self, harness: StorageHarness) -> None:
        with expect_invalid(("/spv.name", "operator_unsuitable")):
            await harness.store.page(Query(filters=(Filter("spv.name", Operator.LT, ("a",)),)))
        with expect_invalid(("/spv.name", "unknown_field")):
            await harness.store.page(Query(sort=(Sort("spv.name"),)))
        with expect_invalid(("/x_note", "wrong_type")):
            await harness.store.page(Query(filters=(Filter("x_note", Operator.EQ, (5,)),)))
        with expect_invalid(("/spv.name", "unknown_field")):
            condition = Filter("spv.name", Operator.EQ, ("a",))
            await harness.store.page(Query(kind="job", filters=(condition,)))


async def _create_parties(harness: StorageHarness) -> None:
    await harness.create(
        project_name="a",
        external_ref=ExternalRef(source="erp", id="P-1"),
        spv=Spv(name="Alpha SPV"),
        sponsors=_sponsors("Öko, Inc"),
    )
    await harness.create(
        project_name="b",
        external_ref=ExternalRef(source="gis", id="P-1"),
        sponsors=_sponsors("Öko, Inc", "Hydro"),
    )
    await harness.create(project_name="c", sponsors=_sponsors("Solar's"))


def _sponsors(*names: str) -> tuple[Sponsor, ...]:
    share = Decimal(100) / len(names)
    return tuple(Sponsor(name=name, share=share) for name in names)


class TestCounts:
    """The number of items under filters."""

    async def test_the_count_is_that_of_the_pages(self, harness: StorageHarness) -> None:
        assert await harness.store.count(Query()) == 0
        for number in range(5):
            await harness.create(sector="Wind" if number % 2 else "Solar")
        wind = Query(filters=(Filter("sector", Operator.EQ, ("Wind",)),), limit=1)
        assert await harness.store.count(wind) == 2
        assert await harness.store.count(Query(limit=1)) == 5

    async def test_the_count_includes_every_earlier_change(self, harness: StorageHarness) -> None:
        for number in range(1, 4):
            await harness.create()
            assert await harness.store.count(Query()) == number

    async def test_other_kinds_are_counted_too(self, harness: StorageHarness) -> None:
        assert await harness.store.count(Query(kind="job")) == 0
        with expect_invalid(("/colour", "unknown_field")):
            condition = Filter("colour", Operator.EQ, ("red",))
            await harness.store.count(Query(filters=(condition,)))


class TestPastStates:
    """Pages and counts of the states as recorded at an instant."""

    async def test_each_instant_has_its_own_page(self, harness: StorageHarness) -> None:
        instants, expected = await _record_changes(harness)
        for instant, names in zip(instants, expected, strict=True):
            query = Query(as_of=instant, sort=(Sort("project_name"),), limit=1)
            assert await project_names(harness, query) == names
            assert await harness.store.count(query) == len(names)

    async def test_filters_apply_to_the_state_of_the_instant(self, harness: StorageHarness) -> None:
        project = await harness.create(sector="Wind", sponsors=_sponsors("Hydro"))
        first = (await harness.get(project)).updated_at
        harness.clock.advance(timedelta(hours=1))
        solar = msgspec.structs.replace(project, sector="Solar", sponsors=_sponsors("Nova"))
        await harness.store.commit(harness.change((solar, 1)))
        for condition in (
            Filter("sector", Operator.EQ, ("Wind",)),
            Filter("sponsors.name", Operator.EQ, ("Hydro",)),
            Filter("version", Operator.EQ, (1,)),
            Filter("updated_at", Operator.LTE, (first,)),
        ):
            for as_of, count in ((first, 1), (None, 0)):
                query = Query(filters=(condition,), as_of=as_of)
                assert await harness.store.count(query) == count, (condition, as_of)
                assert len((await harness.store.page(query)).items) == count
        by_id = Filter("project_id", Operator.EQ, (project.project_id,))
        (item,) = (await harness.store.page(Query(filters=(by_id,), as_of=first))).items
        assert (item.state, item.version) == (project, 1)
        assert item == await harness.store.get("project", project.project_id, as_of=first)
        assert (await harness.get(project)).state == solar

    async def test_later_changes_leave_a_past_scan_alone(self, harness: StorageHarness) -> None:
        projects = [await harness.create(project_name=f"N{n}") for n in range(5)]
        instant = (await harness.get(projects[-1])).updated_at
        harness.clock.advance(timedelta(hours=1))
        query: Query | None = Query(
            as_of=instant, sort=(Sort("project_name", descending=True),), limit=2
        )
        names: list[str] = []
        while query is not None:
            page = await harness.store.page(query)
            names += [item.state.project_name for item in page.items]
            for project in projects:
                head = await harness.store.head("project", project.project_id)
                await harness.rename(project, head.version, f"M{head.version}")
            await harness.create(project_name="zz later")
            query = msgspec.structs.replace(query, after=page.next) if page.next else None
        assert names == ["N4", "N3", "N2", "N1", "N0"]

    async def test_a_coming_instant_has_the_present_states(self, harness: StorageHarness) -> None:
        coming = harness.clock.now() + timedelta(days=400)
        assert await project_names(harness, Query(as_of=coming)) == []
        project = await harness.create(project_name="a")
        await harness.rename(project, 1, "b")
        assert await project_names(harness, Query(as_of=coming)) == ["b"]

    async def test_past_states_have_the_columns_of_the_active_schema(
        self, harness: StorageHarness
    ) -> None:
        number = Decimal("1234567890123456789012345678.0123456789")
        project = await harness.create(attributes={"ratio": number, "units": 7})
        instant = (await harness.get(project)).updated_at
        harness.clock.advance(timedelta(hours=1))
        changed = msgspec.structs.replace(project, attributes={"units": 8})
        await harness.store.commit(harness.change((changed, 1)))
        condition = Filter("ratio", Operator.EQ, (number,))
        query = Query(filters=(condition,), as_of=instant)
        assert await harness.store.count(query) == 1
        (item,) = (await harness.store.page(query)).items
        assert item.state == project

    async def test_a_kind_without_a_table_has_no_past_pages(self, harness: StorageHarness) -> None:
        with expect_invalid(("/as_of", "unsuitable")):
            await harness.store.page(Query(kind="external_ref", as_of=harness.clock.now()))


async def _record_changes(
    harness: StorageHarness,
) -> tuple[list[datetime], list[list[str]]]:
    """Record changes an hour apart; return instants, and the names at each in order."""
    instants, expected = [harness.clock.now() - timedelta(hours=1)], [list[str]()]
    projects: dict[str, Project] = {}
    for step, (key, name) in enumerate(
        [("p", "a"), ("q", "b"), ("p", "c"), ("r", "d"), ("p", "e"), ("q", "f")]
    ):
        if key in projects:
            head = await harness.store.head("project", projects[key].project_id)
            result = await harness.rename(projects[key], head.version, name)
            instant = result.recorded_at
        else:
            projects[key] = await harness.create(project_name=name)
            instant = (await harness.get(projects[key])).updated_at
        projects[key] = msgspec.structs.replace(projects[key], project_name=name)
        instants.append(instant + (timedelta(minutes=1) if step % 2 else timedelta(0)))
        expected.append(sorted(project.project_name for project in projects.values()))
        harness.clock.advance(timedelta(hours=1))
    return instants, expected


class TestPartsOfAHistory:
    """Histories newest first, and within bounds."""

    async def test_the_newest_entries_come_first(self, harness: StorageHarness) -> None:
        project = await _create_with_versions(harness, 6)
        newest = HistoryBounds(is_descending=True)
        assert await _versions(harness, project, limit=2, bounds=newest) == [6, 5]
        before = HistoryBounds(is_descending=True, before_version=5)
        assert await _versions(harness, project, limit=9, bounds=before) == [4, 3, 2, 1]
        assert await _versions(harness, project, after=2, limit=9, bounds=before) == [4, 3]

    async def test_bounds_of_recorded_time_are_inclusive(self, harness: StorageHarness) -> None:
        project = await _create_with_versions(harness, 6)
        entries = await harness.store.history(
            "project", project.project_id, after_version=0, limit=9
        )
        bounds = HistoryBounds(
            recorded_from=entries[1].recorded_at, recorded_to=entries[3].recorded_at
        )
        assert await _versions(harness, project, limit=9, bounds=bounds) == [2, 3, 4]
        backwards = msgspec.structs.replace(bounds, is_descending=True)
        assert await _versions(harness, project, limit=2, bounds=backwards) == [4, 3]
        empty = HistoryBounds(recorded_to=entries[0].recorded_at - timedelta(microseconds=1))
        assert await _versions(harness, project, limit=9, bounds=empty) == []

    async def test_the_entries_are_those_of_the_forward_history(
        self, harness: StorageHarness
    ) -> None:
        project = await _create_with_versions(harness, 3)
        forward = await harness.store.history(
            "project", project.project_id, after_version=0, limit=9
        )
        backward = await harness.store.history(
            "project",
            project.project_id,
            after_version=0,
            limit=9,
            bounds=HistoryBounds(is_descending=True),
        )
        assert backward == forward[::-1]


async def _create_with_versions(harness: StorageHarness, count: int) -> Project:
    project = await harness.create()
    for version in range(1, count):
        harness.clock.advance(timedelta(minutes=1))
        await harness.rename(project, version, f"N{version}")
    return project


async def _versions(
    harness: StorageHarness,
    project: Project,
    *,
    after: int = 0,
    limit: int,
    bounds: HistoryBounds,
) -> list[int]:
    entries = await harness.store.history(
        "project", project.project_id, after_version=after, limit=limit, bounds=bounds
    )
    return [entry.version for entry in entries]
