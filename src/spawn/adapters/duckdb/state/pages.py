# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Pages of projects: the statement for a typed query, and pages kept until a write touches them."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock
from typing import Any, NamedTuple

from spawn.adapters.duckdb.journal_rows import Held
from spawn.adapters.duckdb.tables import quoted, sql_type
from spawn.adapters.embedded import query_evaluation
from spawn.domain.change import Stored
from spawn.domain.query import Filter, Operator, Page, Query, Sort
from spawn.domain.schemas.model import Column, Value

_MAX_JUDGED = 256
"""How many times one group of writes may be held against a kept page, at some 4 µs a time."""
_MAX_LOGGED = 1024
"""Writes remembered for pages that were being read meanwhile."""

_COMPARISONS = {
    Operator.EQ: "=",
    Operator.NE: "is distinct from",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
}


class Statement:
    """One select under construction: identifiers quoted from the schema, values as parameters."""

    def __init__(self, fields: Mapping[str, Column]) -> None:
        self._fields = fields
        self.parameters: list[Any] = []

    def page(self, query: Query) -> str:
        """Where the items of a page stand, and one more if there is a next page.

        Nothing else is selected: of every row that a filter lets through, what is selected has to
        be unpacked, though fifty are wanted in the end.
        """
        conditions = [self._filter(wanted) for wanted in query.filters]
        if query.after is not None:
            conditions.append(self._after(query.sort, query.after))
        where = " and ".join(conditions) or "true"
        source = "projects" if query.kind == "project" else self._aggregates(query.kind)
        order = "".join(
            f"{quoted(by.field)} {'desc' if by.descending else 'asc'} nulls last, "
            for by in query.sort
        )
        return (
            f"select _created, _position, epoch_us(created_at) from {source}"
            f" where {where} order by {order}_created limit {query.limit + 1:d}"
        )

    def _aggregates(self, kind: str) -> str:
        """The aggregates of a kind under the names that projects have."""
        return (
            "(select substr(key, length(kind) + 2) project_id, version, created _created,"
            f" position _position, created_at from aggregates where kind = {self._parameter(kind)})"
        )

    def _filter(self, wanted: Filter) -> str:
        name, operator = quoted(wanted.field), wanted.operator
        if operator is Operator.EXISTS:
            return f"{name} is {'not ' if wanted.values[0] else ''}null"
        if operator is Operator.LIKE:
            return f"contains(lower({name}), lower({self._value(wanted.field, wanted.values[0])}))"
        if operator is Operator.IN:
            values = ", ".join(self._value(wanted.field, value) for value in wanted.values)
            return f"{name} in ({values})"
        return f"{name} {_COMPARISONS[operator]} {self._value(wanted.field, wanted.values[0])}"

    def _after(self, sort: tuple[Sort, ...], after: tuple[Value | None, ...]) -> str:
        """Whether a row comes after the keys: later in the first of them that differs."""
        cases: list[str] = []
        equal = ""
        for by, key in zip(sort, after, strict=False):
            name = quoted(by.field)
            if key is None:
                equal += f"{name} is null and "
                continue
            value = self._value(by.field, key)
            later = f"{name} {'<' if by.descending else '>'} {value}"
            cases.append(f"{equal}({later} or {name} is null)")
            equal += f"{name} = {value} and "
        cases.append(f"{equal}_created > {self._parameter(after[-1])}")
        return "(" + " or ".join(f"({case})" for case in cases) + ")"

    def _value(self, field: str, value: Value) -> str:
        return f"{self._parameter(engine_value(value))}::{sql_type(self._fields[field].type)}"

    def _parameter(self, value: Any) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"


def engine_value(value: Value) -> Any:
    """A value as a parameter that loses nothing on its way into a cast to its column's type."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, str) else value


class _KeptPage(NamedTuple):
    """A page with what decides whether a write changes it."""

    query: Query
    page: Page[Stored[Any]]
    last: query_evaluation.Keys | None
    ids: frozenset[str]

    def touched_by(self, held: Held) -> bool:
        """Whether the item, in this state, is on the page or would come to stand on it."""
        query, stored = self.query, held.stored
        if stored.id in self.ids:
            return True
        if not query_evaluation.matches(stored, query.filters):
            return False
        keys = query_evaluation.keys_of(stored, held.place.created, query.sort)
        if query.after is not None and not query_evaluation.comes_after(
            keys, query.after, query.sort
        ):
            return False
        return self.last is None or not query_evaluation.comes_after(keys, self.last, query.sort)


Written = tuple[Held | None, Held]
"""A project's state before a write, None if it is new, and after."""


class PageCache:
    """Pages by query; every write drops those that it changes before it is acknowledged.

    A page is read while others write, so it is offered with the position that it surely shows, and
    judged by whatever was written since.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pages: dict[Query, _KeptPage] = {}
        self._log: deque[Written] = deque()
        self._floor = 0
        self._lock = Lock()

    def get(self, query: Query) -> Page[Stored[Any]] | None:
        """The page as it is now; the same object as long as nothing changes it."""
        kept = self._pages.get(query)
        return kept.page if kept else None

    def offer(self, query: Query, page: Page[Stored[Any]], shows: int) -> None:
        """Keep a page that shows every write of projects up to the position `shows`."""
        kept = _KeptPage(query, page, page.next, frozenset(item.id for item in page.items))
        with self._lock:
            if shows < self._floor:
                return
            since = (pair for pair in self._log if pair[1].place.position > shows)
            if _touched(kept, since):
                return
            while len(self._pages) >= self._capacity:
                del self._pages[next(iter(self._pages))]
            self._pages[query] = kept

    def written(self, writes: list[Written]) -> None:
        """Drop the pages that these writes change; all of them if judging would take too long."""
        with self._lock:
            if len(writes) * len(self._pages) > _MAX_JUDGED:
                self._pages = {}
            else:
                touched = [query for query, kept in self._pages.items() if _touched(kept, writes)]
                for query in touched:
                    del self._pages[query]
            self._log.extend(writes[-_MAX_LOGGED:])
            if len(writes) > _MAX_LOGGED:
                self._floor = writes[-_MAX_LOGGED - 1][1].place.position
            while len(self._log) > _MAX_LOGGED:
                self._floor = self._log.popleft()[1].place.position

    def clear(self, position: int) -> None:
        """Drop everything that shows less than the position, judged or not."""
        with self._lock:
            self._pages = {}
            self._log.clear()
            self._floor = position


def _touched(kept: _KeptPage, writes: Iterable[Written]) -> bool:
    return any(
        kept.touched_by(after) or (before is not None and kept.touched_by(before))
        for before, after in writes
    )
