"""Counts of quality measures in plain Python; the memory store uses them.

An engine that counts in its own language must agree with this module; the contract suite compares
them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from spawn.adapters.embedded.query_evaluation import field_value
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import DECIMAL_CONTEXT
from spawn.domain.projects.project import build_reservation_id
from spawn.domain.quality.measures import (
    EXTERNAL_REF,
    MAX_SAMPLES,
    CompletenessMeasure,
    ConformityMeasure,
    DateOrderMeasure,
    Measure,
    MeasureTally,
    ShareSumMeasure,
    SumMeasure,
    UniquenessMeasure,
)
from spawn.domain.schema_version import Schema, Value
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES
from spawn.domain.schemas.validator import compile_schema
from spawn.domain.schemas.value_readers import column_predicate

RuleCheck = Callable[[StoredAggregate[Any]], bool | None]
"""Function that returns whether a state meets a rule; None if the rule does not apply."""

_HUNDRED = Decimal(100)
_REFERENCES = UniquenessMeasure(EXTERNAL_REF)


def check_measures(measures: Sequence[Measure], schema: Schema) -> None:
    """Check that the schema and the core attributes of its kind have every measured field.

    Raises:
        InvalidInput: names each field that they do not have.
    """
    columns, nested_names = compile_schema(schema).fields, CORE_ATTRIBUTES[schema.kind].nested_names
    unknown = [
        name
        for measure in measures
        for name in _measured_names(measure)
        if name not in (nested_names if _is_nested(measure) else columns)
    ]
    if unknown:
        detail = "There is no such column to measure."
        raise InvalidInput([FieldError(f"/{name}", "unknown_field", detail) for name in unknown])


def _is_nested(measure: Measure) -> bool:
    return isinstance(measure, ShareSumMeasure) or measure == _REFERENCES


def _measured_names(measure: Measure) -> tuple[str, ...]:
    match measure:
        case CompletenessMeasure(column):
            return (column,)
        case ConformityMeasure(allowed):
            return (allowed.name,)
        case DateOrderMeasure(columns):
            return columns
        case SumMeasure(addends, total):
            return (*addends, total)
        case UniquenessMeasure(field) | ShareSumMeasure(field):
            return (field,)


def count_measures(
    measures: Sequence[Measure], aggregates: Sequence[StoredAggregate[Any]]
) -> tuple[MeasureTally, ...]:
    """Return the counts of several measures, in their order."""
    return tuple(count_measure(measure, aggregates) for measure in measures)


def count_measure(measure: Measure, aggregates: Sequence[StoredAggregate[Any]]) -> MeasureTally:
    """Return the count of one measure over states in order of creation."""
    check = (
        _uniqueness_check(measure, aggregates)
        if isinstance(measure, UniquenessMeasure)
        else _rule_check(measure)
    )
    results = [
        (aggregate.id, is_met)
        for aggregate in aggregates
        if (is_met := check(aggregate)) is not None
    ]
    violating_ids = [one for one, is_met in results if not is_met]
    return MeasureTally(
        len(results) - len(violating_ids), len(results), tuple(violating_ids[:MAX_SAMPLES])
    )


def _uniqueness_check(
    measure: UniquenessMeasure, aggregates: Sequence[StoredAggregate[Any]]
) -> RuleCheck:
    def key(aggregate: StoredAggregate[Any]) -> Value | None:
        if measure.field != EXTERNAL_REF:
            return field_value(aggregate, measure.field)
        reference = aggregate.state.external_ref
        return None if reference is None else build_reservation_id(reference)

    occurrences = Counter(key(aggregate) for aggregate in aggregates)

    def is_met(aggregate: StoredAggregate[Any]) -> bool | None:
        actual = key(aggregate)
        return None if actual is None else occurrences[actual] == 1

    return is_met


def _rule_check(measure: Measure) -> RuleCheck:
    match measure:
        case CompletenessMeasure(column):
            return lambda aggregate: field_value(aggregate, column) is not None
        case ConformityMeasure(allowed):
            conforms = column_predicate(allowed)
            return lambda aggregate: _if_present(field_value(aggregate, allowed.name), conforms)
        case DateOrderMeasure(columns):
            return lambda aggregate: _in_order([field_value(aggregate, name) for name in columns])
        case ShareSumMeasure():
            return lambda aggregate: _shares_whole(measure, aggregate)
        case SumMeasure():
            return lambda aggregate: _sum_equals(measure, aggregate)
    raise TypeError(f"a {type(measure).__name__} is not counted one state at a time")


def _if_present(value: Value | None, conforms: Callable[[Value], bool]) -> bool | None:
    return None if value is None else conforms(value)


def _in_order(values: Sequence[Any]) -> bool | None:
    present = [value for value in values if value is not None]
    return None if len(present) < 2 else present == sorted(present)  # noqa: PLR2004 - an order takes two


def _shares_whole(measure: ShareSumMeasure, aggregate: StoredAggregate[Any]) -> bool | None:
    shares = [party.share for party in getattr(aggregate.state, measure.field)]
    if not shares or any(share is None for share in shares):
        return None
    return bool(abs(sum(shares, Decimal(0)) - _HUNDRED) <= measure.tolerance)


def _sum_equals(measure: SumMeasure, aggregate: StoredAggregate[Any]) -> bool | None:
    values = [field_value(aggregate, name) for name in measure.addends]
    addends = [Decimal(value) for value in values if value is not None]  # type: ignore[arg-type]  # numbers only
    total = field_value(aggregate, measure.total)
    if not addends or total is None:
        return None
    actual = Decimal(0)
    for addend in addends:
        actual = DECIMAL_CONTEXT.add(actual, addend)
    expected = Decimal(total)  # type: ignore[arg-type]  # as above
    gap = abs(DECIMAL_CONTEXT.subtract(actual, expected))
    return not gap or float(gap) < float(measure.tolerance) * float(abs(expected))
