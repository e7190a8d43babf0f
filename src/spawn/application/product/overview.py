"""Overview of the data product for people: its service levels, freshness and columns."""

from collections.abc import Iterator
from datetime import date
from typing import Final

import msgspec

from spawn.application.product.odcs_properties import is_never_null
from spawn.application.product.snapshot import ProductSnapshot
from spawn.domain.quality.report import RuleResult
from spawn.domain.quality.rules import Dimension, MeasureUnit, QualityRule
from spawn.domain.schemas.json_schema import to_json_literal

_UNIT_LABELS: Final = {"a": "years", "1": ""}
"""Readable labels of UCUM unit codes."""


class DimensionSummary(msgspec.Struct, frozen=True):
    """Share rules of one dimension: their number, the results and those met, the lowest."""

    name: str
    rules: int
    met: int
    results: int
    lowest: float | None


class FreshnessSummary(msgspec.Struct, frozen=True):
    """A freshness rule: its limit and the measured age, in seconds, if there are any."""

    description: str
    limit_s: float | None
    age_s: float | None
    is_met: bool | None


class BrokenLevel(msgspec.Struct, frozen=True):
    """A service level that is not met; `met` of so many `projects` follow it."""

    description: str
    met: int | None
    projects: int | None
    required_percent: str | None


class ColumnSummary(msgspec.Struct, frozen=True):
    """A column of a project; `share` is that of the projects with a value, if measured."""

    name: str
    marks: tuple[str, ...]
    type: str
    unit: str
    description: str
    sunset: date | None
    share: float | None
    is_system: bool


def summarize_dimensions(snapshot: ProductSnapshot) -> Iterator[DimensionSummary]:
    """Yield each dimension that has share rules with a threshold."""
    for dimension in Dimension:
        pairs = [
            (rule, result)
            for rule, result in snapshot.rules_with_results()
            if rule.dimension is dimension
            and rule.unit is MeasureUnit.SHARE
            and rule.threshold is not None
        ]
        if not pairs:
            continue
        results = [result for _, result in pairs if result and result.passed is not None]
        values = [result.value for result in results if result.value is not None]
        yield DimensionSummary(
            name=dimension.value.capitalize(),
            rules=len(pairs),
            met=sum(bool(result.passed) for result in results),
            results=len(results),
            lowest=min(values, default=None),
        )


def summarize_freshness(snapshot: ProductSnapshot) -> Iterator[FreshnessSummary]:
    """Yield each rule on ages."""
    for rule, result in snapshot.rules_with_results():
        if rule.unit is MeasureUnit.SECONDS:
            yield FreshnessSummary(
                description=rule.description,
                limit_s=None if rule.threshold is None else float(rule.threshold),
                age_s=None if result is None else result.value,
                is_met=None if result is None else result.passed,
            )


def describe_level(result: RuleResult) -> BrokenLevel:
    """Describe a service level that is not met."""
    threshold = result.rule.threshold
    return BrokenLevel(
        description=result.rule.description,
        met=result.met,
        projects=None if result.met is None else result.checked,
        required_percent=None if threshold is None else f"{to_json_literal(threshold * 100):g}",
    )


def summarize_columns(snapshot: ProductSnapshot) -> Iterator[ColumnSummary]:
    """Yield each column of a served project, with the share of projects that have a value."""
    results = {
        rule.columns[0]: result
        for rule, result in snapshot.rules_with_results()
        if _is_column_completeness(rule)
    }
    for column in snapshot.columns:
        attributes, result = snapshot.attributes, results.get(column.name)
        is_system = column.name in attributes.system_names
        marks = {
            "governed": column.name not in attributes.by_name and not is_system,
            "required": is_never_null(column, attributes),
            "deprecated": column.deprecated,
        }
        yield ColumnSummary(
            name=column.name,
            marks=tuple(name for name, is_set in marks.items() if is_set),
            type=str(column.type),
            unit=_UNIT_LABELS.get(column.unit or "", column.unit or ""),
            description=column.description,
            sunset=column.announced_sunset,
            share=None if result is None else result.value,
            is_system=is_system,
        )


def _is_column_completeness(rule: QualityRule) -> bool:
    return rule.dimension is Dimension.COMPLETENESS and len(rule.columns) == 1
