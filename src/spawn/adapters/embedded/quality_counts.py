"""Counts of quality measures in plain Python; the memory store uses them.

An engine that counts in its own language must agree with this module; the contract suite compares
them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from typing import Any

from spawn.adapters.embedded.query_evaluation import field_value
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import DECIMAL_CONTEXT
from spawn.domain.projects.parties import SHARE_TOLERANCE
from spawn.domain.projects.project import build_reservation_id
from spawn.domain.quality.measures import (
    EXTERNAL_REF,
    MAX_SAMPLES,
    CompletenessMeasure,
    ConformityMeasure,
    DateOrderMeasure,
    Measure,
    MeasureTally,
    SponsorShareMeasure,
    SumMeasure,
    UniquenessMeasure,
)
from spawn.domain.schema_version import Value
from spawn.domain.schemas.value_readers import column_predicate

RuleCheck = Callable[[StoredAggregate[Any]], bool | None]
"""Function that returns whether a project meets a rule; None if the rule does not apply."""

_HUNDRED = Decimal(100)


def check_measures(measures: Sequence[Measure], fields: Collection[str]) -> None:
    """Raise InvalidInput for measures of unknown columns.

    Raises:
        InvalidInput: names each such column.
    """
    unknown = [name for measure in measures for name in _columns(measure) if name not in fields]
    if unknown:
        detail = "There is no such column to measure."
        raise InvalidInput([FieldError(f"/{name}", "unknown_field", detail) for name in unknown])


def _columns(measure: Measure) -> tuple[str, ...]:
    match measure:
        case CompletenessMeasure(column):
            return (column,)
        case ConformityMeasure(allowed):
            return (allowed.name,)
        case DateOrderMeasure(columns):
            return columns
        case SumMeasure(addends, total):
            return (*addends, total)
    return ()


def count_measures(
    measures: Sequence[Measure], projects: Sequence[StoredAggregate[Any]]
) -> tuple[MeasureTally, ...]:
    """Return the counts of several measures, in their order."""
    return tuple(count_measure(measure, projects) for measure in measures)


def count_measure(measure: Measure, projects: Sequence[StoredAggregate[Any]]) -> MeasureTally:
    """Return the count of one measure over projects in order of creation."""
    check = (
        _uniqueness_check(measure, projects)
        if isinstance(measure, UniquenessMeasure)
        else _rule_check(measure)
    )
    results = [
        (project.id, is_met) for project in projects if (is_met := check(project)) is not None
    ]
    violating_ids = [project_id for project_id, is_met in results if not is_met]
    return MeasureTally(
        len(results) - len(violating_ids), len(results), tuple(violating_ids[:MAX_SAMPLES])
    )


def _uniqueness_check(
    measure: UniquenessMeasure, projects: Sequence[StoredAggregate[Any]]
) -> RuleCheck:
    def key(project: StoredAggregate[Any]) -> str | None:
        if measure.field != EXTERNAL_REF:
            return project.id
        reference = project.state.external_ref
        return None if reference is None else build_reservation_id(reference)

    occurrences = Counter(key(project) for project in projects)

    def is_met(project: StoredAggregate[Any]) -> bool | None:
        actual = key(project)
        return None if actual is None else occurrences[actual] == 1

    return is_met


def _rule_check(measure: Measure) -> RuleCheck:
    match measure:
        case CompletenessMeasure(column):
            return lambda project: field_value(project, column) is not None
        case ConformityMeasure(allowed):
            conforms = column_predicate(allowed)
            return lambda project: _if_present(field_value(project, allowed.name), conforms)
        case DateOrderMeasure(columns):
            return lambda project: _in_order([field_value(project, name) for name in columns])
        case SponsorShareMeasure():
            return _shares_whole
        case SumMeasure():
            return lambda project: _sum_equals(measure, project)
    raise TypeError(f"a {type(measure).__name__} is not counted one project at a time")


def _if_present(value: Value | None, conforms: Callable[[Value], bool]) -> bool | None:
    return None if value is None else conforms(value)


def _in_order(values: Sequence[Any]) -> bool | None:
    present = [value for value in values if value is not None]
    return None if len(present) < 2 else present == sorted(present)  # noqa: PLR2004 - an order takes two


def _shares_whole(project: StoredAggregate[Any]) -> bool | None:
    shares = [sponsor.share for sponsor in project.state.sponsors]
    if not shares or any(share is None for share in shares):
        return None
    return bool(abs(sum(shares, Decimal(0)) - _HUNDRED) <= SHARE_TOLERANCE)


def _sum_equals(measure: SumMeasure, project: StoredAggregate[Any]) -> bool | None:
    values = [field_value(project, name) for name in measure.addends]
    addends = [Decimal(value) for value in values if value is not None]  # type: ignore[arg-type]  # numbers only
    total = field_value(project, measure.total)
    if not addends or total is None:
        return None
    actual = Decimal(0)
    for addend in addends:
        actual = DECIMAL_CONTEXT.add(actual, addend)
    expected = Decimal(total)  # type: ignore[arg-type]  # as above
    gap = abs(DECIMAL_CONTEXT.subtract(actual, expected))
    return not gap or float(gap) < float(measure.tolerance) * float(abs(expected))
