"""Rules of data quality: what is declared, and when a service level counts as broken."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain import serialization
from spawn.domain.quality.rules import (
    DATASET,
    Conforming,
    Declared,
    Dimension,
    Levels,
    Report,
    Result,
    Rule,
    Severity,
    Tally,
    age_result,
    aged,
    broken,
    freshness_rules,
    rules_of,
    share_result,
    transitions,
)
from spawn.domain.schemas.model import Column, ColumnType, TypeName
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import a_schema

pytestmark = pytest.mark.core

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLANT = Column(
    name="plant_code",
    type=ColumnType(TypeName.STRING, max_length=8),
    required=True,
    pattern="[A-Z]{2}\\d+",
)


def rules(*columns: Column) -> dict[str, Declared]:
    found = rules_of(compile_schema(a_schema(columns)).fields)
    return {declared.rule.rule_id: declared for declared in found}


def a_rule(number: int, threshold: str | None = "1") -> Rule:
    return Rule(
        rule_id=f"completeness.c{number}",
        dimension=Dimension.COMPLETENESS,
        columns=(f"c{number}",),
        description="It is there.",
        threshold=None if threshold is None else Decimal(threshold),
        severity=Severity.ERROR,
    )


def result(rule: Rule, met: int, checked: int) -> Result:
    return share_result(rule, Tally(met, checked), measured_at=NOW, position="1.7")


def test_required_columns_and_those_with_a_default_are_promised_complete() -> None:
    found = rules(PLANT)
    for name in ("project_name", "total_amount", "currency_code", "status", "plant_code"):
        assert found[f"completeness.{name}"].rule.threshold == 1
        assert found[f"completeness.{name}"].rule.severity is Severity.ERROR


def test_the_completeness_of_optional_columns_is_measured_and_promises_nothing() -> None:
    declared = rules()["completeness.country_code"]
    assert declared.rule.threshold is None
    assert result(declared.rule, 1, 9).passed is None


def test_what_a_column_allows_is_its_validity() -> None:
    found = rules(PLANT)
    said = found["validity.plant_code"].rule.description
    assert said == "plant_code has at most 8 characters and matches its pattern."
    assert "validity.cod_date" not in found
    country = found["validity.country_code"].measure
    assert isinstance(country, Conforming)
    assert country.column.enum is not None
    assert {"ESP", "NAM"} <= set(country.column.enum)
    assert len(country.column.enum) == 249


def test_every_rule_has_an_id_of_its_own_that_begins_with_its_dimension() -> None:
    found = rules_of(compile_schema(a_schema((PLANT,))).fields)
    ids = [declared.rule.rule_id for declared in found]
    assert len(set(ids)) == len(ids)
    assert all(d.rule.rule_id.startswith(f"{d.rule.dimension}.") for d in found)
    assert {d.rule.dimension for d in found} == set(Dimension) - {Dimension.FRESHNESS}


def test_a_threshold_is_compared_exactly() -> None:
    rule = a_rule(1, "0.7")
    assert result(rule, 7, 10).passed is True
    assert result(rule, 7 * 10**17 - 1, 10**18).passed is False


def test_where_there_is_nothing_to_look_at_nothing_is_broken() -> None:
    found = result(a_rule(1), 0, 0)
    assert (found.value, found.passed) == (None, True)
    _, level = freshness_rules(Levels(imported_s=60))
    assert age_result(level, None, measured_at=NOW, position="1.0").passed is True


def test_age_is_measured_in_seconds_and_kept_up_to_its_level() -> None:
    level, promised_nothing = freshness_rules(Levels(changed_s=60))
    for age_s, passed in ((60, True), (60.001, False)):
        found = age_result(level, NOW - timedelta(seconds=age_s), measured_at=NOW, position="1.0")
        assert (found.value, found.passed) == (age_s, passed)
        found = age_result(promised_nothing, NOW, measured_at=NOW, position="1.0")
        assert (found.value, found.passed) == (0.0, None)


@given(
    before=st.dictionaries(st.integers(0, 5), st.integers(0, 2)),
    after=st.dictionaries(st.integers(0, 5), st.integers(0, 2)),
)
def test_levels_change_only_at_transitions(before: dict[int, int], after: dict[int, int]) -> None:
    earlier = [result(a_rule(n), met, 2) for n, met in before.items()]
    later = [result(a_rule(n), met, 2) for n, met in after.items()]
    was = {r.rule.rule_id for r in broken(earlier)}
    now = {r.rule.rule_id for r in broken(later)}
    found = transitions(earlier, later)
    assert {s.rule_id for s in found if not s.kept} == now - was
    assert {s.rule_id for s in found if s.kept} == was - now
    assert len({s.rule_id for s in found}) == len(found)
    assert transitions(later, later) == ()


def a_report(*results: Result) -> Report:
    return Report(
        dataset=DATASET,
        schema_id="project_schema",
        schema_version=1,
        position="1.7",
        projects=2,
        measured_at=NOW,
        changed_at=NOW - timedelta(seconds=50),
        imported_at=None,
        results=results,
    )


def test_time_alone_breaks_freshness_and_nothing_else() -> None:
    level, _ = freshness_rules(Levels(changed_s=60))
    fresh = age_result(level, NOW - timedelta(seconds=50), measured_at=NOW, position="1.7")
    complete = result(a_rule(1), 2, 2)
    later = aged(a_report(fresh, complete), NOW + timedelta(seconds=11))
    assert [r.passed for r in later.results] == [False, True]
    assert (later.results[0].value, later.results[1]) == (61.0, complete)


def test_a_report_is_read_back_as_it_was_written() -> None:
    report = a_report(result(a_rule(1, "0.990"), 2, 3), result(a_rule(2, None), 0, 0))
    schema = a_schema()
    document = serialization.encode("quality_report", report, schema)
    assert serialization.decode("quality_report", document, schema) == report
    standing = transitions((), report.results)[0]
    assert (
        msgspec.json.decode(serialization.encode("quality_rule", standing, schema))["kept"] is False
    )
