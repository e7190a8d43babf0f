# ruff: noqa: D102 -- a test's name is its sentence
"""Storage contract: quality measures; every engine counts like plain Python.

See `spawn.testing.storage_contract.harness` for how to run it against an adapter.
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
from spawn.domain.facilities.facility import FACILITY_KIND, LenderShare
from spawn.domain.projects.parties import SHARE_TOLERANCE
from spawn.domain.projects.project import ExternalRef, Project
from spawn.domain.quality.measures import (
    MAX_SAMPLES,
    CompletenessMeasure,
    ConformityMeasure,
    DateOrderMeasure,
    Measure,
    Measurement,
    MeasureTally,
    ShareSumMeasure,
    SumMeasure,
    UniquenessMeasure,
)
from spawn.domain.quality.rules import derive_rules
from spawn.domain.query import Query
from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import some_sponsors
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.intensity import rounds
from spawn.testing.storage_contract.harness import (
    SCHEMA_RECORDS,
    ManualClock,
    StorageHarness,
    a_record,
)
from spawn.testing.storage_contract.migrations import migrate_to, revise_columns
from spawn.testing.storage_contract.properties import project_lists, url_suffix
from spawn.testing.storage_contract.two_kinds import a_facility, build_facility_write

_FIELDS = compile_schema(a_record().schema).fields
RULES = tuple(rule_and_measure.measure for rule_and_measure in derive_rules(a_record().schema))


def measure_with_constraints(name: str, **constraints: Any) -> ConformityMeasure:
    """Build a measure of a column under constraints that its schema does not have."""
    return ConformityMeasure(msgspec.structs.replace(_FIELDS[name], **constraints))


async def count_measure(harness: StorageHarness, measure: Measure) -> MeasureTally:
    """Return the store's tally of one measure."""
    (result,) = (await harness.store.measure([measure])).tallies
    return result


class TestQuality:
    """Measures of the current data."""

    async def test_an_empty_store_has_empty_tallies(self, harness: StorageHarness) -> None:
        result = await harness.store.measure(RULES)
        assert (result.states, result.changed_at) == (0, None)
        assert result.tallies == (MeasureTally(0, 0),) * len(RULES)
        assert (await harness.store.measure([])).tallies == ()

    async def test_present_values_are_counted_and_missing_ones_sampled(
        self, harness: StorageHarness
    ) -> None:
        await harness.create(country_code="ESP")
        bare = await harness.create(country_code=None)
        result = await count_measure(harness, CompletenessMeasure("country_code"))
        assert result == MeasureTally(1, 2, (bare.project_id,))

    async def test_governed_values_are_measured_as_core_ones(self, harness: StorageHarness) -> None:
        small = await harness.create(attributes={"capacity_mw": Decimal("0.5000")})
        await harness.create(attributes={"capacity_mw": Decimal("1.0000"), "technology": "wind"})
        await harness.create()
        result = await count_measure(
            harness, measure_with_constraints("capacity_mw", minimum=Decimal(1))
        )
        assert result == MeasureTally(1, 2, (small.project_id,))

    async def test_codes_in_force_and_enums_are_measured(self, harness: StorageHarness) -> None:
        spain = await harness.create(country_code="ESP")
        other = await harness.create(country_code="PRT")
        await harness.create(country_code=None)
        result = await count_measure(
            harness, measure_with_constraints("country_code", enum=("ESP", "FRA"))
        )
        assert result == MeasureTally(1, 2, (other.project_id,))
        result = await count_measure(harness, measure_with_constraints("country_code", enum=()))
        assert result == MeasureTally(0, 2, (spain.project_id, other.project_id))

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
        self, harness: StorageHarness, pattern: str, met: int
    ) -> None:
        for technology in ("wind", "風力", "a\nb", "🌬", "\v"):
            await harness.create(attributes={"technology": technology})
        result = await count_measure(
            harness, measure_with_constraints("technology", pattern=pattern)
        )
        assert (result.met, result.checked) == (met, 5)

    async def test_lengths_count_characters(self, harness: StorageHarness) -> None:
        await harness.create(attributes={"technology": "風力🌬e\u0301"})
        for limit, met in ((5, 1), (4, 0)):
            column = _FIELDS["technology"]
            shorter = msgspec.structs.replace(
                column, type=msgspec.structs.replace(column.type, max_length=limit)
            )
            assert (await count_measure(harness, ConformityMeasure(shorter))).met == met

    async def test_instants_are_compared_as_instants(self, harness: StorageHarness) -> None:
        at = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
        await harness.create(attributes={"metered_at": at})
        assert (
            await count_measure(harness, measure_with_constraints("metered_at", minimum=at))
        ).met == 1
        later = at + timedelta(microseconds=1)
        assert (
            await count_measure(harness, measure_with_constraints("metered_at", minimum=later))
        ).met == 0

    async def test_values_of_two_projects_are_not_unique(self, harness: StorageHarness) -> None:
        first = await harness.create(external_ref=ExternalRef(source="desk", id="7"))
        await harness.create(external_ref=ExternalRef(source="erp", id="7"))
        again = await harness.create(external_ref=ExternalRef(source="desk", id="7"))
        await harness.create()
        result = await count_measure(harness, UniquenessMeasure("external_ref"))
        assert result == MeasureTally(1, 3, (first.project_id, again.project_id))
        assert await count_measure(harness, UniquenessMeasure("project_id")) == MeasureTally(4, 4)

    async def test_dates_are_in_order_where_there_are_two(self, harness: StorageHarness) -> None:
        dates = {"financial_close_date": date(2026, 1, 1), "cod_date": date(2028, 1, 1)}
        await harness.create(**dates)
        await harness.create(**dates, end_date=date(2028, 1, 1))
        await harness.create(cod_date=date(2028, 1, 1))
        names = ("financial_close_date", "cod_date", "end_date")
        assert await count_measure(harness, DateOrderMeasure(names)) == MeasureTally(2, 2)
        assert (await count_measure(harness, DateOrderMeasure(names[::-1]))).met == 0

    async def test_shares_are_added_up_exactly(self, harness: StorageHarness) -> None:
        await harness.create(sponsors=some_sponsors("33.33333333", "33.33333333", "33.33333334"))
        await harness.create()
        assert await count_measure(
            harness, ShareSumMeasure("sponsors", SHARE_TOLERANCE)
        ) == MeasureTally(1, 1)

    async def test_sums_are_compared_within_their_tolerance(self, harness: StorageHarness) -> None:
        for amount, ratio in (("100.00", "99.50"), ("100.00", "99.00"), ("100.00", "100.00")):
            await harness.create(
                total_amount=Decimal(amount),
                attributes={"capacity_mw": Decimal("0.0000"), "ratio": Decimal(ratio)},
            )
        await harness.create(total_amount=Decimal("100.00"))
        sums = SumMeasure(("capacity_mw", "ratio"), "total_amount", Decimal("0.01"))
        assert (await count_measure(harness, sums)).met == 2
        exact = msgspec.structs.replace(sums, tolerance=Decimal(0))
        result = await count_measure(harness, exact)
        assert (result.met, result.checked, len(result.samples)) == (1, 3, 2)

    async def test_the_newest_state_of_each_project_is_measured(
        self, harness: StorageHarness
    ) -> None:
        project = await harness.create(country_code=None)
        await harness.create()
        harness.clock.advance(timedelta(hours=1))
        before = await harness.store.measure([CompletenessMeasure("country_code")])
        next_state = msgspec.structs.replace(project, country_code="ESP")
        result = await harness.store.commit(harness.change((next_state, 1)))
        after = await harness.store.measure([CompletenessMeasure("country_code")])
        assert [t.met for t in (*before.tallies, *after.tallies)] == [1, 2]
        assert after == Measurement(
            position=result.position,
            states=2,
            changed_at=result.recorded_at,
            tallies=after.tallies,
        )

    async def test_after_a_migration_the_new_columns_are_measured(
        self, harness: StorageHarness
    ) -> None:
        old = await harness.create(attributes={"technology": "wind", "units": 7})
        plant_column = {"name": "plant", "aliases": ["technology"]}
        grid = {"name": "grid", "type": "string", "default": "west"}
        await migrate_to(
            harness, revise_columns(grid, technology=plant_column, units={"type": "bigint"})
        )
        assert await count_measure(harness, CompletenessMeasure("plant")) == MeasureTally(1, 1)
        west = Column(name="grid", type=ColumnType(TypeName.STRING), enum=("west",))
        assert await count_measure(harness, ConformityMeasure(west)) == MeasureTally(1, 1)
        eight = Column(name="units", type=ColumnType(TypeName.BIGINT), minimum=8)
        assert await count_measure(harness, ConformityMeasure(eight)) == MeasureTally(
            0, 1, (old.project_id,)
        )
        with expect_invalid(("/technology", "unknown_field")):
            await harness.store.measure([CompletenessMeasure("technology")])

    async def test_violating_ids_are_sampled_in_creation_order(
        self, harness: StorageHarness
    ) -> None:
        ids = [(await harness.create(country_code=None)).project_id for _ in range(MAX_SAMPLES + 2)]
        result = await count_measure(harness, CompletenessMeasure("country_code"))
        assert result == MeasureTally(0, len(ids), tuple(ids[:MAX_SAMPLES]))

    async def test_an_unknown_column_is_rejected_by_name(self, harness: StorageHarness) -> None:
        unknown = ConformityMeasure(Column(name="colour", type=_FIELDS["technology"].type))
        for measure in (
            CompletenessMeasure("colour"),
            unknown,
            DateOrderMeasure(("colour", "cod_date")),
            UniquenessMeasure("colour"),
            ShareSumMeasure("colour"),
        ):
            with pytest.raises(InvalidInput) as error:
                await harness.store.measure([measure])
            assert [error.pointer for error in error.value.errors] == ["/colour"]

    async def test_the_states_of_each_governed_kind_are_measured_by_their_own_rules(
        self, harness: StorageHarness
    ) -> None:
        record = SCHEMA_RECORDS[FACILITY_KIND]
        await harness.store.adopt(record)
        project = await harness.create(country_code=None)
        lenders = (
            LenderShare(lender="A", share=Decimal("66.666666666667")),
            LenderShare(lender="B", share=Decimal("33.333333333333")),
        )
        short = (*lenders[:1], LenderShare(lender="B", share=Decimal("33.333333333332")))
        labelled = a_facility(1, lenders=lenders, attributes={"green_label": "dark"})
        bare = a_facility(
            2,
            lenders=short,
            commitment=Decimal("-1.00"),
            availability_start=date(2026, 2, 1),
            availability_end=date(2026, 1, 1),
        )
        harness.clock.advance(timedelta(hours=1))
        writes = (build_facility_write(labelled), build_facility_write(bare))
        result = await harness.store.commit(harness.change(writes=writes, events=()))
        rules = derive_rules(record.schema)
        measured = await harness.store.measure([one.measure for one in rules], FACILITY_KIND)
        assert (measured.position, measured.states) == (result.position, 2)
        assert measured.changed_at == result.recorded_at
        violated = {
            one.rule.rule_id: tally
            for one, tally in zip(rules, measured.tallies, strict=True)
            if tally.met < tally.checked
        }
        one_of_two = MeasureTally(1, 2, ("f2",))
        assert violated["completeness.facility.green_label"] == one_of_two
        assert {name for name in violated if not name.startswith("completeness.")} >= {
            "validity.facility.commitment",
            "consistency.facility.lender_shares",
            "consistency.facility.availability",
        }
        assert violated["validity.facility.commitment"] == one_of_two
        assert violated["consistency.facility.lender_shares"] == one_of_two
        assert "uniqueness.facility.facility_id" not in violated
        items = (await harness.store.page(Query(kind=FACILITY_KIND, limit=10))).items
        assert measured.tallies == quality_counts.count_measures(
            [one.measure for one in rules], items
        )
        assert await count_measure(harness, CompletenessMeasure("country_code")) == MeasureTally(
            0, 1, (project.project_id,)
        )
        with expect_invalid(("/country_code", "unknown_field")):
            await harness.store.measure([CompletenessMeasure("country_code")], FACILITY_KIND)
        with expect_invalid(("/sponsors", "unknown_field")):
            await harness.store.measure([ShareSumMeasure("sponsors")], FACILITY_KIND)

    async def test_accepted_projects_satisfy_the_rules_of_the_schema(
        self, harness: StorageHarness
    ) -> None:
        await harness.create(sponsors=some_sponsors("60", "40"))
        for rule_and_measure, result in zip(
            derive_rules(a_record().schema),
            (await harness.store.measure(RULES)).tallies,
            strict=True,
        ):
            if rule_and_measure.rule.threshold is not None:
                assert result.met == result.checked, rule_and_measure.rule.rule_id

    @given(portfolio=project_lists(), data=st.data())
    @settings(
        max_examples=rounds(5, 15),
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
        asyncio.run(_compare(f"{store_url}{url_suffix(store_url)}", portfolio, measures))


def _stricter(project: Project, data: st.DataObject) -> Measure:
    """Draw a measure whose limit is a value of the project."""
    values = dict(project.attributes)
    if project.total_amount is not None:
        values["total_amount"] = project.total_amount
    values["project_name"] = project.project_name
    name = data.draw(st.sampled_from(sorted(values)))
    value = values[name]
    constraint = data.draw(st.sampled_from(("minimum", "maximum", "enum")))
    if isinstance(value, bool | str) or constraint == "enum":
        return measure_with_constraints(name, enum=(value,))
    return measure_with_constraints(name, **{constraint: value})


async def _compare(url: str, portfolio: list[Project], measures: list[Measure]) -> None:
    store = await open_store(url, clock=ManualClock())
    try:
        await store.adopt(a_record())
        harness = StorageHarness(store, ManualClock())
        for project in portfolio:
            await store.commit(harness.change((project, 0)))
        items = (await store.page(Query(limit=100))).items
        result = await store.measure(measures)
        assert result.tallies == quality_counts.count_measures(measures, items)
    finally:
        await store.close()
