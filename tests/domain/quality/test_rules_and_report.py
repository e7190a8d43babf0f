"""Data-quality rules, their results, and the changes of service levels."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.aggregates import decode_state, encode_state
from spawn.domain.quality.measures import ConformityMeasure, MeasureTally
from spawn.domain.quality.report import (
    DATASET,
    QualityReport,
    RuleResult,
    evaluate_age,
    evaluate_share,
    filter_failed,
    find_level_changes,
    refresh_ages,
)
from spawn.domain.quality.rules import (
    Dimension,
    MeasurableRule,
    QualityRule,
    ServiceLevels,
    Severity,
    build_freshness_rules,
    derive_rules,
)
from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.testing.builders import a_schema

pytestmark = pytest.mark.core

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLANT = Column(
    name="plant_code",
    type=ColumnType(TypeName.STRING, max_length=8),
    required=True,
    pattern="[A-Z]{2}\\d+",
)


def rules(*columns: Column) -> dict[str, MeasurableRule]:
    measurable = derive_rules(a_schema(columns))
    return {item.rule.rule_id: item for item in measurable}


def a_rule(number: int, threshold: str | None = "1") -> QualityRule:
    return QualityRule(
        rule_id=f"completeness.c{number}",
        dimension=Dimension.COMPLETENESS,
        columns=(f"c{number}",),
        description="It is present.",
        threshold=None if threshold is None else Decimal(threshold),
        severity=Severity.ERROR,
    )


def result(rule: QualityRule, met: int, checked: int) -> RuleResult:
    return evaluate_share(rule, MeasureTally(met, checked), measured_at=NOW, position="1.7")


def test_required_columns_and_those_with_a_default_must_be_complete() -> None:
    by_id = rules(PLANT)
    for name in ("project_name", "currency_code", "status", "plant_code"):
        assert by_id[f"completeness.{name}"].rule.threshold == 1
        assert by_id[f"completeness.{name}"].rule.severity is Severity.ERROR
    # An imported project may have an unknown amount; the measure says how many do.
    amount = by_id["completeness.total_amount"].rule
    assert (amount.threshold, amount.severity) == (None, Severity.INFO)


def test_the_completeness_of_optional_columns_has_no_threshold() -> None:
    optional = rules()["completeness.country_code"]
    assert optional.rule.threshold is None
    assert result(optional.rule, 1, 9).passed is None


def test_the_constraints_of_a_column_are_its_validity_rule() -> None:
    by_id = rules(PLANT)
    description = by_id["validity.plant_code"].rule.description
    assert description == "plant_code has at most 8 characters and matches its pattern."
    assert "validity.cod_date" not in by_id
    country = by_id["validity.country_code"].measure
    assert isinstance(country, ConformityMeasure)
    assert country.column.enum is not None
    assert {"ESP", "NAM"} <= set(country.column.enum)
    assert len(country.column.enum) == 250  # ISO 3166-1, and Kosovo


def test_every_rule_id_is_unique_and_begins_with_its_dimension() -> None:
    measurable = derive_rules(a_schema((PLANT,)))
    ids = [item.rule.rule_id for item in measurable]
    assert len(set(ids)) == len(ids)
    assert all(d.rule.rule_id.startswith(f"{d.rule.dimension}.") for d in measurable)
    assert {d.rule.dimension for d in measurable} == set(Dimension) - {Dimension.FRESHNESS}


def test_a_threshold_is_compared_exactly() -> None:
    rule = a_rule(1, "0.7")
    assert result(rule, 7, 10).passed is True
    assert result(rule, 7 * 10**17 - 1, 10**18).passed is False


def test_a_rule_without_data_passes() -> None:
    empty = result(a_rule(1), 0, 0)
    assert (empty.value, empty.passed) == (None, True)
    _, level = build_freshness_rules(ServiceLevels(imported_s=60))
    assert evaluate_age(level, None, measured_at=NOW, position="1.0").passed is True


def test_an_age_in_seconds_passes_up_to_its_level() -> None:
    level, without_level = build_freshness_rules(ServiceLevels(changed_s=60))
    for age_s, passed in ((60, True), (60.001, False)):
        age = evaluate_age(level, NOW - timedelta(seconds=age_s), measured_at=NOW, position="1.0")
        assert (age.value, age.passed) == (age_s, passed)
        age = evaluate_age(without_level, NOW, measured_at=NOW, position="1.0")
        assert (age.value, age.passed) == (0.0, None)


@given(
    before=st.dictionaries(st.integers(0, 5), st.integers(0, 2)),
    after=st.dictionaries(st.integers(0, 5), st.integers(0, 2)),
)
def test_service_levels_change_only_at_transitions(
    before: dict[int, int], after: dict[int, int]
) -> None:
    earlier = [result(a_rule(n), met, 2) for n, met in before.items()]
    later = [result(a_rule(n), met, 2) for n, met in after.items()]
    failed_before = {r.rule.rule_id for r in filter_failed(earlier)}
    failed_after = {r.rule.rule_id for r in filter_failed(later)}
    changes = find_level_changes(earlier, later)
    assert {s.rule_id for s in changes if not s.is_met} == failed_after - failed_before
    assert {s.rule_id for s in changes if s.is_met} == failed_before - failed_after
    assert len({s.rule_id for s in changes}) == len(changes)
    assert find_level_changes(later, later) == ()


def a_report(*results: RuleResult) -> QualityReport:
    return QualityReport(
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


def test_time_alone_fails_freshness_and_nothing_else() -> None:
    level, _ = build_freshness_rules(ServiceLevels(changed_s=60))
    fresh = evaluate_age(level, NOW - timedelta(seconds=50), measured_at=NOW, position="1.7")
    complete = result(a_rule(1), 2, 2)
    later = refresh_ages(a_report(fresh, complete), NOW + timedelta(seconds=11))
    assert [r.passed for r in later.results] == [False, True]
    assert (later.results[0].value, later.results[1]) == (61.0, complete)


def test_a_report_round_trips_through_its_document() -> None:
    report = a_report(result(a_rule(1, "0.990"), 2, 3), result(a_rule(2, None), 0, 0))
    schema = a_schema()
    document = encode_state("quality_report", report, schema)
    assert decode_state("quality_report", document, schema) == report
    status = find_level_changes((), report.results)[0]
    assert msgspec.json.decode(encode_state("quality_rule", status, schema))["kept"] is False
