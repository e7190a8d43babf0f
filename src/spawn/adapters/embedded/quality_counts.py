"""What a measure of quality counts, in plain Python: the memory store counts with it.

An engine that counts in its own language must agree with this module; the contract suite compares
them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from typing import Any

from spawn.adapters.embedded.query_evaluation import value_of
from spawn.domain.change import Stored
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import CONTEXT
from spawn.domain.projects.project import reference_id
from spawn.domain.quality.rules import (
    MAX_SAMPLES,
    REFERENCE,
    Complete,
    Conforming,
    InOrder,
    Measure,
    SharesWhole,
    SumEquals,
    Tally,
    Unique,
)
from spawn.domain.schemas.model import Value
from spawn.domain.schemas.value_readers import conforms_to

Holds = Callable[[Stored[Any]], bool | None]
"""Whether a project keeps a rule; None if the rule has nothing to look at in it."""

_HUNDRED = Decimal(100)


def check_measures(measures: Sequence[Measure], fields: Collection[str]) -> None:
    """Refuse measures of columns that the schema has not.

    Raises:
        InvalidInput: names each such column.
    """
    unknown = [name for measure in measures for name in _columns(measure) if name not in fields]
    if unknown:
        detail = "There is no such column to measure."
        raise InvalidInput([FieldError(f"/{name}", "unknown_field", detail) for name in unknown])


def _columns(measure: Measure) -> tuple[str, ...]:
    match measure:
        case Complete(column):
            return (column,)
        case Conforming(allowed):
            return (allowed.name,)
        case InOrder(columns):
            return columns
        case SumEquals(addends, total):
            return (*addends, total)
    return ()


def tallies(measures: Sequence[Measure], projects: Sequence[Stored[Any]]) -> tuple[Tally, ...]:
    """The counts of several measures, in their order."""
    return tuple(tally(measure, projects) for measure in measures)


def tally(measure: Measure, projects: Sequence[Stored[Any]]) -> Tally:
    """The count of one measure over projects in the order of their creation."""
    holds = _unique(measure, projects) if isinstance(measure, Unique) else _holds(measure)
    judged = [(stored.id, kept) for stored in projects if (kept := holds(stored)) is not None]
    offending = [name for name, kept in judged if not kept]
    return Tally(len(judged) - len(offending), len(judged), tuple(offending[:MAX_SAMPLES]))


def _unique(measure: Unique, projects: Sequence[Stored[Any]]) -> Holds:
    def key(stored: Stored[Any]) -> str | None:
        if measure.field != REFERENCE:
            return stored.id
        held = stored.state.external_ref
        return None if held is None else reference_id(held)

    times = Counter(key(stored) for stored in projects)

    def holds(stored: Stored[Any]) -> bool | None:
        found = key(stored)
        return None if found is None else times[found] == 1

    return holds


def _holds(measure: Measure) -> Holds:
    match measure:
        case Complete(column):
            return lambda stored: value_of(stored, column) is not None
        case Conforming(allowed):
            conforms = conforms_to(allowed)
            return lambda stored: _if_there(value_of(stored, allowed.name), conforms)
        case InOrder(columns):
            return lambda stored: _in_order([value_of(stored, name) for name in columns])
        case SharesWhole():
            return _shares_whole
        case SumEquals():
            return lambda stored: _sum_equals(measure, stored)
    raise TypeError(f"a {type(measure).__name__} is not counted one project at a time")


def _if_there(value: Value | None, conforms: Callable[[Value], bool]) -> bool | None:
    return None if value is None else conforms(value)


def _in_order(values: Sequence[Any]) -> bool | None:
    there = [value for value in values if value is not None]
    return None if len(there) < 2 else there == sorted(there)  # noqa: PLR2004 - an order takes two


def _shares_whole(stored: Stored[Any]) -> bool | None:
    shares = [sponsor.share for sponsor in stored.state.sponsors]
    return sum(shares, Decimal(0)) == _HUNDRED if shares else None


def _sum_equals(measure: SumEquals, stored: Stored[Any]) -> bool | None:
    given = [value_of(stored, name) for name in measure.addends]
    addends = [Decimal(value) for value in given if value is not None]  # type: ignore[arg-type]  # numbers only
    total = value_of(stored, measure.total)
    if not addends or total is None:
        return None
    found = Decimal(0)
    for addend in addends:
        found = CONTEXT.add(found, addend)
    wanted = Decimal(total)  # type: ignore[arg-type]  # as above
    gap = abs(CONTEXT.subtract(found, wanted))
    return not gap or float(gap) < float(measure.tolerance) * float(abs(wanted))
