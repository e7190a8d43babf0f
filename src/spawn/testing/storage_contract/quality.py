# ruff: noqa: D102 -- a test's name is its sentence
"""The storage contract's part on quality: every engine counts what plain Python counts.

See `spawn.testing.storage_contract.commands` for how to run it against an adapter.
Needs hypothesis.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawn.adapters.embedded import quality_counts
from spawn.adapters.factory import open_store
from spawn.domain.errors import InvalidInput
from spawn.domain.projects.project import ExternalRef, Project
from spawn.domain.quality.rules import (
    MAX_SAMPLES,
    Complete,
    Conforming,
    InOrder,
    Measure,
    Measured,
    SharesWhole,
    SumEquals,
    Tally,
    Unique,
    rules_of,
)
from spawn.domain.query import Query
from spawn.domain.schemas.model import Column, ColumnType, TypeName
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import some_sponsors
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record
from spawn.testing.storage_contract.migrations import evolve, revised
from spawn.testing.storage_contract.properties import portfolios, suffix

_FIELDS = compile_schema(a_record().schema).fields
RULES = tuple(declared.measure for declared in rules_of(_FIELDS))


def allowing(name: str, **constraints: Any) -> Conforming:
    """A measure of a column under constraints that its schema does not have."""
    return Conforming(msgspec.structs.replace(_FIELDS[name], **constraints))


async def tally(desk: Desk, measure: Measure) -> Tally:
    """The store's count of one measure."""
    (found,) = (await desk.store.measure([measure])).tallies
    return found


class TestQuality:
    """Measures over the data as they are, without holding anything up."""

    async def test_of_nothing_there_is_nothing_to_count(self, desk: Desk) -> None:
        found = await desk.store.measure(RULES)
        assert (found.projects, found.changed_at) == (0, None)
        assert found.tallies == (Tally(0, 0),) * len(RULES)
        assert (await desk.store.measure([])).tallies == ()

    async def test_values_that_are_there_are_counted_and_the_others_named(self, desk: Desk) -> None:
        await desk.create(country_code="ESP")
        bare = await desk.create(country_code=None)
        found = await tally(desk, Complete("country_code"))
        assert found == Tally(1, 2, (bare.project_id,))

    async def test_governed_values_are_measured_as_core_ones(self, desk: Desk) -> None:
        small = await desk.create(attributes={"capacity_mw": Decimal("0.5000")})
        await desk.create(attributes={"capacity_mw": Decimal("1.0000"), "technology": "wind"})
        await desk.create()
        found = await tally(desk, allowing("capacity_mw", minimum=Decimal(1)))
        assert found == Tally(1, 2, (small.project_id,))

    async def test_codes_in_force_and_enums_are_measured(self, desk: Desk) -> None:
        spain = await desk.create(country_code="ESP")
        other = await desk.create(country_code="PRT")
        await desk.create(country_code=None)
        found = await tally(desk, allowing("country_code", enum=("ESP", "FRA")))
        assert found == Tally(1, 2, (other.project_id,))
        found = await tally(desk, allowing("country_code", enum=()))
        assert found == Tally(0, 2, (spain.project_id, other.project_id))

    @pytest.mark.parametrize(
        ("pattern", "met"),
        [
            ("\\w+", 1),  # ASCII letters alone, in every engine
            (".*", 4),  # no line breaks
            ("([a-z]|\\d){9}", 0),
            ("[^a-z]+", 3),
            ("wind", 1),
            ("win", 0),  # the whole value
            ("[\\s\\S]{0,4}", 5),
        ],
    )
    async def test_patterns_mean_the_same_in_every_engine(
        self, desk: Desk, pattern: str, met: int
    ) -> None:
        for technology in ("wind", "風力", "a\nb", "🌬", "\v"):
            await desk.create(attributes={"technology": technology})
        found = await tally(desk, allowing("technology", pattern=pattern))
        assert (found.met, found.checked) == (met, 5)

    async def test_lengths_count_characters(self, desk: Desk) -> None:
        await desk.create(attributes={"technology": "風力🌬e\u0301"})
        for limit, met in ((5, 1), (4, 0)):
            column = _FIELDS["technology"]
            shorter = msgspec.structs.replace(
                column, type=msgspec.structs.replace(column.type, max_length=limit)
            )
            assert (await tally(desk, Conforming(shorter))).met == met

    async def test_instants_are_compared_as_instants(self, desk: Desk) -> None:
        at = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
        await desk.create(attributes={"metered_at": at})
        assert (await tally(desk, allowing("metered_at", minimum=at))).met == 1
        later = at + timedelta(microseconds=1)
        assert (await tally(desk, allowing("metered_at", minimum=later))).met == 0

    async def test_what_two_projects_share_is_not_unique(self, desk: Desk) -> None:
        first = await desk.create(external_ref=ExternalRef(source="desk", id="7"))
        await desk.create(external_ref=ExternalRef(source="erp", id="7"))
        again = await desk.create(external_ref=ExternalRef(source="desk", id="7"))
        await desk.create()
        found = await tally(desk, Unique("external_ref"))
        assert found == Tally(1, 3, (first.project_id, again.project_id))
        assert await tally(desk, Unique("project_id")) == Tally(4, 4)

    async def test_dates_are_in_order_where_there_are_two(self, desk: Desk) -> None:
        dates = {"financial_close_date": date(2026, 1, 1), "cod_date": date(2028, 1, 1)}
        await desk.create(**dates)
        await desk.create(**dates, end_date=date(2028, 1, 1))
        await desk.create(cod_date=date(2028, 1, 1))
        names = ("financial_close_date", "cod_date", "end_date")
        assert await tally(desk, InOrder(names)) == Tally(2, 2)
        assert (await tally(desk, InOrder(names[::-1]))).met == 0

    async def test_shares_are_added_up_exactly(self, desk: Desk) -> None:
        await desk.create(sponsors=some_sponsors("33.33333333", "33.33333333", "33.33333334"))
        await desk.create()
        assert await tally(desk, SharesWhole()) == Tally(1, 1)

    async def test_sums_are_compared_within_their_tolerance(self, desk: Desk) -> None:
        for amount, ratio in (("100.00", "99.50"), ("100.00", "99.00"), ("100.00", "100.00")):
            await desk.create(
                total_amount=Decimal(amount),
                attributes={"capacity_mw": Decimal("0.0000"), "ratio": Decimal(ratio)},
            )
        await desk.create(total_amount=Decimal("100.00"))
        sums = SumEquals(("capacity_mw", "ratio"), "total_amount", Decimal("0.01"))
        assert (await tally(desk, sums)).met == 2
        exact = msgspec.structs.replace(sums, tolerance=Decimal(0))
        found = await tally(desk, exact)
        assert (found.met, found.checked, len(found.samples)) == (1, 3, 2)

    async def test_the_newest_state_of_each_project_is_measured(self, desk: Desk) -> None:
        project = await desk.create(country_code=None)
        await desk.create()
        desk.clock.move(timedelta(hours=1))
        before = await desk.store.measure([Complete("country_code")])
        named = msgspec.structs.replace(project, country_code="ESP")
        committed = await desk.store.commit(desk.change((named, 1)))
        after = await desk.store.measure([Complete("country_code")])
        assert [t.met for t in (*before.tallies, *after.tallies)] == [1, 2]
        assert after == Measured(
            position=committed.position,
            projects=2,
            changed_at=committed.recorded_at,
            tallies=after.tallies,
        )

    async def test_after_a_migration_the_new_columns_are_measured(self, desk: Desk) -> None:
        old = await desk.create(attributes={"technology": "wind", "units": 7})
        renamed = {"name": "plant", "aliases": ["technology"]}
        grid = {"name": "grid", "type": "string", "default": "west"}
        await evolve(desk, revised(grid, technology=renamed, units={"type": "bigint"}))
        assert await tally(desk, Complete("plant")) == Tally(1, 1)
        west = Column(name="grid", type=ColumnType(TypeName.STRING), enum=("west",))
        assert await tally(desk, Conforming(west)) == Tally(1, 1)
        eight = Column(name="units", type=ColumnType(TypeName.BIGINT), minimum=8)
        assert await tally(desk, Conforming(eight)) == Tally(0, 1, (old.project_id,))
        with pytest.raises(InvalidInput):
            await desk.store.measure([Complete("technology")])

    async def test_few_of_many_offenders_are_named_in_the_order_of_creation(
        self, desk: Desk
    ) -> None:
        ids = [(await desk.create(country_code=None)).project_id for _ in range(MAX_SAMPLES + 2)]
        found = await tally(desk, Complete("country_code"))
        assert found == Tally(0, len(ids), tuple(ids[:MAX_SAMPLES]))

    async def test_an_unknown_column_is_refused_by_name(self, desk: Desk) -> None:
        unknown = Conforming(Column(name="colour", type=_FIELDS["technology"].type))
        for measure in (Complete("colour"), unknown, InOrder(("colour", "cod_date"))):
            with pytest.raises(InvalidInput) as refused:
                await desk.store.measure([measure])
            assert [error.pointer for error in refused.value.errors] == ["/colour"]

    async def test_what_a_schema_promises_holds_of_what_was_let_in(self, desk: Desk) -> None:
        await desk.create(sponsors=some_sponsors("60", "40"))
        for declared, found in zip(
            rules_of(_FIELDS), (await desk.store.measure(RULES)).tallies, strict=True
        ):
            if declared.rule.threshold is not None:
                assert found.met == found.checked, declared.rule.rule_id

    @given(portfolio=portfolios(), data=st.data())
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.differing_executors,
        ],
    )
    def test_every_engine_counts_what_plain_python_counts(
        self, store_url: str, portfolio: list[Project], data: st.DataObject
    ) -> None:
        measures = [*RULES, *(_stricter(project, data) for project in portfolio)]
        asyncio.run(_compare(f"{store_url}{suffix(store_url)}", portfolio, measures))


def _stricter(project: Project, data: st.DataObject) -> Measure:
    """A measure whose bound is a value that some project has."""
    given_ = dict(project.attributes)
    given_["total_amount"] = project.total_amount
    given_["project_name"] = project.project_name
    name = data.draw(st.sampled_from(sorted(given_)))
    value = given_[name]
    constraint = data.draw(st.sampled_from(("minimum", "maximum", "enum")))
    if isinstance(value, bool | str) or constraint == "enum":
        return allowing(name, enum=(value,))
    return allowing(name, **{constraint: value})


async def _compare(url: str, portfolio: list[Project], measures: list[Measure]) -> None:
    store = await open_store(url, clock=ManualClock())
    try:
        await store.adopt(a_record())
        desk = Desk(store, ManualClock())
        for project in portfolio:
            await store.commit(desk.change((project, 0)))
        items = (await store.page(Query(limit=100))).items
        found = await store.measure(measures)
        assert found.tallies == quality_counts.tallies(measures, items)
    finally:
        await store.close()
