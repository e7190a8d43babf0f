"""Bounded memory shared by the writer and the event loop."""

from collections.abc import Collection, Sequence
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar

from spawn.adapters.duckdb.journal_rows import Held, JournalRow, Place

V = TypeVar("V", Held, Place)


def _position(value: Held | Place) -> int:
    return value.place.position if isinstance(value, Held) else value.position


class Recent(Generic[V]):
    """The newest values of recently used keys, at most about `capacity` of them.

    Two generations stand for least-recently-used order: what is used moves to the young one, and
    when that is full the old one goes. A hit in the young generation takes no lock. `put` is the
    writer's word and final; `offer` is a reader's, and never replaces newer knowledge: it names the
    `turns` it saw before it read, and is ignored if a generation went since.
    """

    def __init__(self, capacity: int) -> None:
        self._half = max(capacity // 2, 1)
        self._young: dict[str, V] = {}
        self._old: dict[str, V] = {}
        self._lock = Lock()
        self.turns = 0

    def get(self, key: str) -> V | None:
        """The value, if it is still known."""
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
        """Know the newest value."""
        with self._lock:
            self._insert(key, value)

    def offer(self, key: str, value: V, turns: int) -> None:
        """Know a value that was read while `turns` stood as given, unless a newer is known."""
        with self._lock:
            known = self._young.get(key) or self._old.get(key)
            if turns == self.turns and (known is None or _position(known) < _position(value)):
                self._insert(key, value)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._young, self._old = {}, {}
            self.turns += 1

    def _insert(self, key: str, value: V) -> None:
        self._young[key] = value
        if len(self._young) >= self._half:
            self._drop(self._old)
            self._old, self._young = self._young, {}
            self.turns += 1

    def _drop(self, generation: dict[str, V]) -> None:
        """What is about to be forgotten."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Heads(Recent[Place]):
    """Places by heart, and the certainty that some aggregates do not exist.

    Every aggregate whose key is greater than its kind's floor is in memory. Ids are made in
    increasing order, so a new one lies above the floor and its absence needs no look at the disk.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._floors: dict[str, str] = {}
        self._certain = False

    def complete_above(self, floors: dict[str, str]) -> None:
        """From now on everything above these greatest stored keys by kind is known."""
        with self._lock:
            for kind, floor in floors.items():
                self._raise(kind, floor)
            self._certain = True

    def surely_absent(self, key: str) -> bool:
        """Whether a key that is not in memory cannot be on disk either."""
        return self._certain and key > self._floors.get(key.partition(":")[0], "")

    def pass_over(self, keys: Collection[str]) -> None:
        """These exist from now on and are not kept, lest many drive out what is used."""
        kinds = {key[: key.index(":")] for key in keys}
        with self._lock:
            for kind in kinds:
                prefix = f"{kind}:"
                self._raise(kind, max(key for key in keys if key.startswith(prefix)))

    def clear(self) -> None:
        """Forget everything, certainty too."""
        super().clear()
        self._floors, self._certain = {}, False

    def _raise(self, kind: str, floor: str) -> None:
        if floor > self._floors.get(kind, ""):
            self._floors[kind] = floor

    def _drop(self, generation: dict[str, Place]) -> None:
        for key in generation.keys() - self._young.keys():
            self._raise(key.partition(":")[0], key)


_ROW_BYTES: Final = 500
"""About what a row takes beside its document."""


class _Stretch(NamedTuple):
    """Rows of the journal that follow one another without a gap."""

    first: int
    rows: list[JournalRow]


class RecentRows:
    """The newest rows of the journal, about `capacity_bytes` of them, for those who follow it.

    Only the writer adds. Two generations, each without a gap: when the young one has half the
    bytes it becomes the old one. A reader takes both at once and needs no lock, since rows are only
    ever added behind those it looks at.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._half_bytes = capacity_bytes // 2
        self._bytes = 0
        self._stretches: tuple[_Stretch, _Stretch] = (_Stretch(0, []), _Stretch(0, []))

    def put(self, rows: Sequence[JournalRow]) -> None:
        """Add rows that are durable, following those that were added last or starting anew."""
        old, young = self._stretches
        if young.first + len(young.rows) != rows[0].position:
            old, young = _Stretch(0, []), _Stretch(rows[0].position, [])
            self._bytes = 0
        young.rows.extend(rows)
        self._bytes += sum(_ROW_BYTES + len(row.document or "") for row in rows)
        if self._bytes >= self._half_bytes:
            old, young = young, _Stretch(rows[-1].position + 1, [])
            self._bytes = 0
        self._stretches = (old, young)

    def clear(self) -> None:
        """Forget everything."""
        self._stretches = (_Stretch(0, []), _Stretch(0, []))
        self._bytes = 0

    def after(self, position: int, limit: int) -> Sequence[JournalRow]:
        """At most so many of the rows that follow a position; none if the next is not known."""
        for first, rows in self._stretches:
            start = position + 1 - first
            if 0 <= start < len(rows):
                return rows[start : start + limit]
        return ()
