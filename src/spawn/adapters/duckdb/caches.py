"""Bounded caches shared by the writer and the event loop."""

from collections.abc import Collection, Sequence
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar

from spawn.adapters.duckdb.journal_rows import AggregateLocation, CachedAggregate, JournalRow

V = TypeVar("V", CachedAggregate, AggregateLocation)


def _position_of(value: CachedAggregate | AggregateLocation) -> int:
    return value.location.position if isinstance(value, CachedAggregate) else value.position


class GenerationalCache(Generic[V]):
    """Cache of the newest values of recently used keys, about `capacity` of them.

    Two generations approximate least-recently-used order: a used key moves to the young one, and
    when that is full the old one is evicted. A hit in the young generation takes no lock. `put` is
    for the writer and always wins; `offer` is for readers and never replaces a newer value: it
    names the `generation` read before the query, and is ignored if there was an eviction since.
    """

    def __init__(self, capacity: int) -> None:
        self._generation_size = max(capacity // 2, 1)
        self._young: dict[str, V] = {}
        self._old: dict[str, V] = {}
        self._lock = Lock()
        self.generation = 0

    def get(self, key: str) -> V | None:
        """Return the cached value, or None."""
        value = self._young.get(key)
        if value is not None:
            return value
        if key not in self._old:
            return None
        with self._lock:
            value = self._young.get(key) or self._old.get(key)
            if value is not None:
                self._insert(key, value)
        return value

    def put(self, key: str, value: V) -> None:
        """Cache the newest value."""
        with self._lock:
            self._insert(key, value)

    def offer(self, key: str, value: V, generation: int) -> None:
        """Cache a value read at `generation`, unless a newer one is cached."""
        with self._lock:
            cached = self._young.get(key) or self._old.get(key)
            if generation == self.generation and (
                cached is None or _position_of(cached) < _position_of(value)
            ):
                self._insert(key, value)

    def clear(self) -> None:
        """Remove every value."""
        with self._lock:
            self._young, self._old = {}, {}
            self.generation += 1

    def _insert(self, key: str, value: V) -> None:
        self._young[key] = value
        if len(self._young) >= self._generation_size:
            self._before_eviction(self._old)
            self._old, self._young = self._young, {}
            self.generation += 1

    def _before_eviction(self, evicted: dict[str, V]) -> None:
        """Prepare for the eviction of a generation."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class LocationCache(GenerationalCache[AggregateLocation]):
    """Cached locations, and the certainty that some aggregates do not exist.

    Every aggregate whose key is greater than its kind's floor is cached. Ids are issued in
    increasing order, so a new one is above the floor and its absence needs no disk access.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._floors: dict[str, str] = {}
        self._is_complete = False

    def mark_complete_above(self, floors: dict[str, str]) -> None:
        """Mark the cache as complete above the greatest stored key of each kind."""
        with self._lock:
            for kind, floor in floors.items():
                self._raise_floor(kind, floor)
            self._is_complete = True

    def is_known_absent(self, key: str) -> bool:
        """Whether a key that is not cached cannot be on disk either."""
        return self._is_complete and key > self._floors.get(key.partition(":")[0], "")

    def mark_existing(self, keys: Collection[str]) -> None:
        """Record that keys exist without caching them, so that they evict nothing."""
        kinds = {key[: key.index(":")] for key in keys}
        with self._lock:
            for kind in kinds:
                prefix = f"{kind}:"
                self._raise_floor(kind, max(key for key in keys if key.startswith(prefix)))

    def clear(self) -> None:
        """Remove every location, and the certainty about absent keys."""
        super().clear()
        self._floors, self._is_complete = {}, False

    def _raise_floor(self, kind: str, floor: str) -> None:
        if floor > self._floors.get(kind, ""):
            self._floors[kind] = floor

    def _before_eviction(self, evicted: dict[str, AggregateLocation]) -> None:
        for key in evicted.keys() - self._young.keys():
            self._raise_floor(key.partition(":")[0], key)


_ROW_BYTES: Final = 500
"""Approximate bytes of a row beside its document."""


class _RowRange(NamedTuple):
    """Consecutive rows of the journal, without a gap."""

    first: int
    rows: list[JournalRow]


class RecentRows:
    """Cache of the newest journal rows, about `capacity_bytes`, for followers.

    Only the writer adds. There are two generations, each without a gap: when the young one has half
    the bytes it becomes the old one. A reader takes both at once and needs no lock, since rows are
    only appended behind those it reads.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._half_bytes = capacity_bytes // 2
        self._bytes = 0
        self._ranges: tuple[_RowRange, _RowRange] = (_RowRange(0, []), _RowRange(0, []))

    def put(self, rows: Sequence[JournalRow]) -> None:
        """Add durable rows: after those added last, or as a new start."""
        old, young = self._ranges
        if young.first + len(young.rows) != rows[0].position:
            old, young = _RowRange(0, []), _RowRange(rows[0].position, [])
            self._bytes = 0
        young.rows.extend(rows)
        self._bytes += sum(_ROW_BYTES + len(row.document or "") for row in rows)
        if self._bytes >= self._half_bytes:
            old, young = young, _RowRange(rows[-1].position + 1, [])
            self._bytes = 0
        self._ranges = (old, young)

    def clear(self) -> None:
        """Remove every row."""
        self._ranges = (_RowRange(0, []), _RowRange(0, []))
        self._bytes = 0

    def after(self, position: int, limit: int) -> Sequence[JournalRow]:
        """Return up to `limit` rows after a position; none if the next is not cached."""
        for first, rows in self._ranges:
            start = position + 1 - first
            if 0 <= start < len(rows):
                return rows[start : start + limit]
        return ()
