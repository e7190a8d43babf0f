"""Expectations of a schema are read strictly and become quality rules."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from spawn.domain.errors import InvalidInput
from spawn.domain.quality.measures import CompletenessMeasure, SumMeasure
from spawn.domain.quality.rules import Severity, derive_rules
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Compatibility
from spawn.domain.schemas.evolution.diff import compare_schemas

pytestmark = pytest.mark.core

SUM = {
    "id": "sources",
    "sum_of": ["debt_amount", "equity_amount"],
    "equals": "total_amount",
    "tolerance": 0.01,
    "threshold": 0.99,
    "severity": "warning",
}


def schema_of(*expectations: Any) -> Schema:
    document = {
        "id": "project_schema",
        "version": 1,
        "name": "Projects",
        "columns": [
            {"name": "debt_amount", "type": "decimal(22,4)"},
            {"name": "equity_amount", "type": "decimal(22,4)"},
            {"name": "ratio", "type": "decimal(38,10)"},
        ],
        "quality": list(expectations),
    }
    return read_schema(json.dumps(document).encode())


def errors_of(*expectations: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as exception:
        schema_of(*expectations)
    return [(error.pointer, error.code) for error in exception.value.errors]


def test_a_declared_expectation_becomes_a_rule() -> None:
    schema = schema_of({"complete": "country_code", "threshold": 0.95}, SUM)
    found = {declared.rule.rule_id: declared for declared in derive_rules(schema)}
    country = found["completeness.country_code"]
    assert (country.rule.threshold, country.rule.severity) == (Decimal("0.95"), Severity.ERROR)
    assert country.measure == CompletenessMeasure("country_code")
    sources = found["consistency.sources"]
    assert sources.measure == SumMeasure(
        ("debt_amount", "equity_amount"), "total_amount", Decimal("0.01")
    )
    assert (sources.rule.threshold, sources.rule.severity) == (Decimal("0.99"), Severity.WARNING)
    assert sources.rule.description == "debt_amount + equity_amount = total_amount."


def test_an_expectation_never_loosens_a_required_column() -> None:
    names = ("project_name", "total_amount")
    schema = schema_of(*({"complete": name, "threshold": 0.5} for name in names))
    rules = derive_rules(schema)
    found = {d.rule.rule_id: d.rule.threshold for d in rules}
    assert found["completeness.project_name"] == 1
    # An imported project may lack its amount, so a schema may say how many must have one.
    assert found["completeness.total_amount"] == Decimal("0.5")


@pytest.mark.parametrize(
    ("expectation", "pointer", "code"),
    [
        ({}, "/quality/0", "invalid_value"),
        ({"complete": "sector", **SUM}, "/quality/0", "invalid_value"),
        ({"complete": "colour"}, "/quality/0/complete", "unknown_field"),
        ({"complete": "Sector; drop"}, "/quality/0/complete", "invalid_identifier"),
        ({**SUM, "sum_of": ["debt_amount", "colour"]}, "/quality/0/sum_of/1", "unknown_field"),
        ({**SUM, "sum_of": ["ratio"]}, "/quality/0/sum_of/0", "wrong_type"),
        ({**SUM, "equals": "sector"}, "/quality/0/equals", "wrong_type"),
        ({**SUM, "id": "dates"}, "/quality/0/id", "duplicate"),
        ({k: v for k, v in SUM.items() if k != "id"}, "/quality/0/id", "missing"),
        ({**SUM, "threshold": 1.5}, "/quality/0/threshold", "out_of_range"),
        ({**SUM, "tolerance": "0.01"}, "/quality/0/tolerance", "wrong_type"),
        ({**SUM, "severity": "fatal"}, "/quality/0/severity", "not_in_enum"),
        ("complete", "/quality/0", "wrong_type"),
    ],
)
def test_a_malformed_expectation_is_rejected_by_its_path(
    expectation: Any, pointer: str, code: str
) -> None:
    assert (pointer, code) in errors_of(expectation)


def test_expectations_are_few_and_unique() -> None:
    assert errors_of(SUM, SUM) == [("/quality/1", "duplicate")]
    assert errors_of(*[{"complete": "sector"}] * 101) == [("/quality", "too_many")]


def test_other_expectations_do_not_change_rows_writers_or_readers() -> None:
    found = compare_schemas(schema_of(), schema_of(SUM), on_date=date(2026, 3, 1))
    assert [(f.path, f.kind) for f in found.findings] == [("/quality", ChangeKind.TEXT_CHANGED)]
    assert {found.rows, found.writers, found.readers} == {Compatibility.YES}
