"""Cache of pages of governed kinds, each kept until a write changes it."""

from collections import deque
from collections.abc import Iterable
from threading import Lock
from typing import Any, NamedTuple

from spawn.adapters.duckdb.journal_rows import CachedAggregate
from spawn.adapters.embedded import query_evaluation
from spawn.domain.change import StoredAggregate
from spawn.domain.query import Page, Query

_MAX_COMPARISONS = 256
"""Comparisons of writes with cached pages per group, at some 4 µs each."""
_MAX_RECENT_WRITES = 1024
"""Writes remembered for pages that were read meanwhile."""


class _PageEntry(NamedTuple):
    """Page with the data that decide whether a write changes it."""

    query: Query
    page: Page[StoredAggregate[Any]]
    last_keys: query_evaluation.SortKeys | None
    ids: frozenset[str]

    def is_affected_by(self, aggregate: CachedAggregate) -> bool:
        """Whether the item, in this state, is on the page or would move onto it."""
        query, item = self.query, aggregate.stored
        if item.kind != query.kind:
            return False
        if item.id in self.ids:
            return True
        if not query_evaluation.matches(item, query.filters):
            return False
        keys = query_evaluation.sort_keys(item, aggregate.location.created_position, query.sort)
        if query.after is not None and not query_evaluation.is_after(keys, query.after, query.sort):
            return False
        return self.last_keys is None or not query_evaluation.is_after(
            keys, self.last_keys, query.sort
        )


GovernedWrite = tuple[CachedAggregate | None, CachedAggregate]
"""A governed aggregate before a write, None if it is new, and after."""


class PageCache:
    """Cache of pages by query; every write drops the pages it changes before it is acknowledged.

    A page is read while others write, so it is offered with a position that it certainly includes,
    and compared with all later writes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pages: dict[Query, _PageEntry] = {}
        self._recent_writes: deque[GovernedWrite] = deque()
        self._floor = 0
        self._lock = Lock()

    def get(self, query: Query) -> Page[StoredAggregate[Any]] | None:
        """Return the current page: the same object as long as nothing changes it."""
        entry = self._pages.get(query)
        return entry.page if entry else None

    def offer(self, query: Query, page: Page[StoredAggregate[Any]], position: int) -> None:
        """Cache a page that includes every write of its kind up to `position`."""
        entry = _PageEntry(query, page, page.next, frozenset(item.id for item in page.items))
        with self._lock:
            if position < self._floor:
                return
            later_writes = (
                pair for pair in self._recent_writes if pair[1].location.position > position
            )
            if _is_affected(entry, later_writes):
                return
            while len(self._pages) >= self._capacity:
                del self._pages[next(iter(self._pages))]
            self._pages[query] = entry

    def drop_affected(self, writes: list[GovernedWrite]) -> None:
        """Drop the pages that the writes change, or all if comparing takes too long."""
        with self._lock:
            if len(writes) * len(self._pages) > _MAX_COMPARISONS:
                self._pages = {}
            else:
                affected = [
                    query for query, entry in self._pages.items() if _is_affected(entry, writes)
                ]
                for query in affected:
                    del self._pages[query]
            self._recent_writes.extend(writes[-_MAX_RECENT_WRITES:])
            if len(writes) > _MAX_RECENT_WRITES:
                self._floor = writes[-_MAX_RECENT_WRITES - 1][1].location.position
            while len(self._recent_writes) > _MAX_RECENT_WRITES:
                self._floor = self._recent_writes.popleft()[1].location.position

    def clear(self, position: int) -> None:
        """Drop every page, and reject later offers that are older than `position`."""
        with self._lock:
            self._pages = {}
            self._recent_writes.clear()
            self._floor = position


def _is_affected(entry: _PageEntry, writes: Iterable[GovernedWrite]) -> bool:
    return any(
        entry.is_affected_by(after) or (before is not None and entry.is_affected_by(before))
        for before, after in writes
    )
