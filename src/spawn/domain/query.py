"""Typed queries for pages of aggregates, free of any engine's language."""

from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, TypeVar

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


class Sort(msgspec.Struct, frozen=True):
    """Order by one field; absent values come last in either direction."""

    field: str
    descending: bool = False


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A page of aggregates of one kind.

    All `filters` must match. `sort` is completed by the creation order, ascending, so that the
    order is total; empty means creation order (by `created_at`, then by id). `after` is the
    `next` of the previous page with the same filters and sort: the sort keys of its last item.
    `as_of` selects the states as recorded at an instant (inclusive), of a governed kind only.
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
