"""What a schema promises of the data: read strictly, and measured as it is said."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from spawn.domain.errors import InvalidInput
from spawn.domain.quality.rules import Complete, Severity, SumEquals, rules_of
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Relation
from spawn.domain.schemas.evolution.diff import compare
from spawn.domain.schemas.model import Schema
from spawn.domain.schemas.validator import compile_schema

pytestmark = pytest.mark.core

SUM = {
    "id": "sources",
    "sum_of": ["debt_amount", "equity_amount"],
    "equals": "total_amount",
    "tolerance": 0.01,
    "threshold": 0.99,
    "severity": "warning",
}


def schema_of(*promises: Any) -> Schema:
    document = {
        "id": "project_schema",
        "version": 1,
        "name": "Projects",
        "columns": [
            {"name": "debt_amount", "type": "decimal(22,4)"},
            {"name": "equity_amount", "type": "decimal(22,4)"},
            {"name": "ratio", "type": "decimal(38,10)"},
        ],
        "quality": list(promises),
    }
    return read_schema(json.dumps(document).encode())


def refusals(*promises: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as refused:
        schema_of(*promises)
    return [(error.pointer, error.code) for error in refused.value.errors]


def test_what_a_schema_promises_becomes_a_rule() -> None:
    schema = schema_of({"complete": "country_code", "threshold": 0.95}, SUM)
    found = {
        declared.rule.rule_id: declared
        for declared in rules_of(compile_schema(schema).fields, schema.promises)
    }
    country = found["completeness.country_code"]
    assert (country.rule.threshold, country.rule.severity) == (Decimal("0.95"), Severity.ERROR)
    assert country.measure == Complete("country_code")
    sources = found["consistency.sources"]
    assert sources.measure == SumEquals(
        ("debt_amount", "equity_amount"), "total_amount", Decimal("0.01")
    )
    assert (sources.rule.threshold, sources.rule.severity) == (Decimal("0.99"), Severity.WARNING)
    assert sources.rule.description == "debt_amount + equity_amount = total_amount."


def test_a_promise_never_loosens_what_is_required_anyway() -> None:
    schema = schema_of({"complete": "total_amount", "threshold": 0.5})
    rules = rules_of(compile_schema(schema).fields, schema.promises)
    (total,) = [d.rule for d in rules if d.rule.rule_id == "completeness.total_amount"]
    assert total.threshold == 1


@pytest.mark.parametrize(
    ("promise", "pointer", "code"),
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
def test_a_malformed_promise_is_refused_by_its_path(promise: Any, pointer: str, code: str) -> None:
    assert (pointer, code) in refusals(promise)


def test_promises_are_few_and_each_is_made_once() -> None:
    assert refusals(SUM, SUM) == [("/quality/1", "duplicate")]
    assert refusals(*[{"complete": "sector"}] * 101) == [("/quality", "too_many")]


def test_other_promises_are_no_change_for_rows_writers_or_readers() -> None:
    found = compare(schema_of(), schema_of(SUM), on=date(2026, 3, 1))
    assert [(f.path, f.kind) for f in found.findings] == [("/quality", ChangeKind.TEXT_CHANGED)]
    assert {found.rows, found.writers, found.readers} == {Relation.YES}
