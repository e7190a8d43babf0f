"""A cache that is bounded by entries and by bytes."""

import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """A mapping that evicts the entries that were put first; they are immutable.

    Args:
        capacity: entries at most.
        capacity_bytes: bytes at most, all entries together.
        size_of: the size of an entry, in bytes.
    """

    def __init__(
        self,
        capacity: int,
        capacity_bytes: int = sys.maxsize,
        size_of: Callable[[V], int] = lambda _: 0,
    ) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._size_of = size_of
        self._entries: OrderedDict[Any, V] = OrderedDict()
        self._bytes = 0

    def get(self, key: Any) -> V | None:
        """Return the entry, or None if it was evicted or never cached."""
        return self._entries.get(key)

    def put(self, key: Any, value: V) -> V:
        """Cache and return an entry; evict the oldest ones beyond the bounds."""
        entries = self._entries
        previous = entries.pop(key, None)
        previous_bytes = 0 if previous is None else self._size_of(previous)
        self._bytes += self._size_of(value) - previous_bytes
        entries[key] = value
        while len(entries) > self._capacity or self._bytes > self._capacity_bytes:
            self._bytes -= self._size_of(entries.popitem(last=False)[1])
        return value
