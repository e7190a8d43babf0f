"""Typed queries for pages of aggregates, free of any engine's language."""

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import msgspec

from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schema_version import Value

T = TypeVar("T")

MAX_LIMIT = 500
"""Items per page, at most."""


class Operator(StrEnum):
    """Filter operators; `like` finds a substring, in lower case character by character."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    LIKE = "like"
    EXISTS = "exists"


class Filter(msgspec.Struct, frozen=True):
    """`field operator values`: one value, several for `in`, one boolean for `exists`.

    Values have the field's type. An absent value matches only `exists=false`, and `ne`.
    """

    field: str
    operator: Operator
    values: tuple[Value, ...]


def meets(value: Any, condition: Filter) -> bool:
    """Whether a value, or None for an absent one, meets a condition."""
    operation, operand = condition.operator, condition.values[0]
    if operation is Operator.EXISTS:
        return (value is not None) is operand
    if value is None:
        return operation is Operator.NE
    if operation is Operator.IN:
        return value in condition.values
    return COMPARISONS[operation](value, operand)


def _lower(text: str) -> str:
    """Return a text in lower case character by character, as the engines do.

    Python alone makes two characters of `İ`, and another sigma at the end of a word.
    """
    return text.lower() if text.isascii() else "".join(c.lower()[0] for c in text)


COMPARISONS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LIKE: lambda value, part: _lower(part) in _lower(value),
}
"""Comparisons of a value with the operand of each operator that has one."""


class Sort(msgspec.Struct, frozen=True):
    """Order by one field; absent values come last in either direction."""

    field: str
    descending: bool = False


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A page of aggregates of one kind.

    All `filters` must match. `sort` is completed by the creation order, ascending, so that the
    order is total; empty means creation order (by `created_at`, then by id). `after` is the
    `next` of the previous page with the same filters and sort: the sort keys of its last item.
    `as_of` selects the states as recorded at an instant (inclusive), of a kind with a table.
    """

    kind: str = PROJECT_KIND
    filters: tuple[Filter, ...] = ()
    sort: tuple[Sort, ...] = ()
    limit: int = 50
    after: tuple[Value | None, ...] | None = None
    as_of: datetime | None = None


class HistoryBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Part and order of a history: before a version, within recorded times (both inclusive)."""

    before_version: int | None = None
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None
    is_descending: bool = False


WHOLE_HISTORY: Final = HistoryBounds()


class Page(msgspec.Struct, Generic[T], frozen=True, weakref=True):
    """A page of items; `next` holds the keys to continue after, None at the end."""

    items: tuple[T, ...]
    next: tuple[Value | None, ...] | None = None
