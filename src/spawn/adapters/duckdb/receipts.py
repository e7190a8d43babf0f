"""Which idempotency keys of the last 24 hours are recorded, and where their answers are."""

from collections import deque
from datetime import datetime
from threading import Lock
from typing import NamedTuple

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import micros
from spawn.adapters.embedded.journal import RECEIPT_LIFE
from spawn.domain.errors import IdempotencyMismatch


class Kept(NamedTuple):
    """A receipt by heart: its request's fingerprint, and the journal row that has the answer."""

    fingerprint: str
    position: int
    recorded_at: int


class Receipts:
    """At most `capacity` receipts by heart; the journal is asked for others of the last 24 h."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: dict[tuple[str, str], Kept] = {}
        self._order: deque[tuple[tuple[str, str], int]] = deque()
        self._forgotten: Kept | None = None
        self._lock = Lock()

    def load(self, cursor: Cursor, now: datetime) -> None:
        """Learn the newest receipts from the journal."""
        rows = cursor.execute(
            "select receipt_scope, receipt_key, receipt_fingerprint, position,"
            " epoch_us(recorded_at) from journal where receipt_key is not null"
            " and recorded_at > make_timestamp(?) order by position desc limit ?",
            [micros(now - RECEIPT_LIFE), self._capacity + 1],
        ).fetchall()
        with self._lock:
            self._kept.clear()
            self._order.clear()
            self._forgotten = None
        for scope, key, fingerprint, position, recorded_at in reversed(rows):
            self.put(scope, key, fingerprint, position, recorded_at)

    def put(self, scope: str, key: str, fingerprint: str, position: int, recorded_at: int) -> None:
        """Know a receipt that has become durable."""
        with self._lock:
            self._kept[scope, key] = Kept(fingerprint, position, recorded_at)
            self._order.append(((scope, key), position))
            if len(self._order) > self._capacity:
                self._forget()

    def _forget(self) -> None:
        oldest, position = self._order.popleft()
        kept = self._kept.get(oldest)
        if kept is not None and kept.position == position:
            self._forgotten = self._kept.pop(oldest)

    def by_heart(self, scope: str, key: str, fingerprint: str, now: datetime) -> Kept | None:
        """The receipt if it is in memory and not too old.

        Raises:
            IdempotencyMismatch: it is of another request.
        """
        return _valid(self._kept.get((scope, key)), fingerprint, _oldest(now))

    def may_be_elsewhere(self, now: datetime) -> bool:
        """Whether a receipt that is not in memory could still be valid."""
        forgotten = self._forgotten
        return forgotten is not None and forgotten.recorded_at > _oldest(now)

    def find(
        self, cursor: Cursor, scope: str, key: str, fingerprint: str, now: datetime
    ) -> Kept | None:
        """The receipt, from memory or from the journal.

        Raises:
            IdempotencyMismatch: it is of another request.
        """
        kept = self.by_heart(scope, key, fingerprint, now)
        if kept is not None or not self.may_be_elsewhere(now):
            return kept
        found = cursor.execute(
            "select receipt_fingerprint, position, epoch_us(recorded_at) from journal"
            " where recorded_at > make_timestamp(?) and receipt_key = ? and receipt_scope = ?"
            " order by position desc limit 1",
            [_oldest(now), key, scope],
        ).fetchone()
        return _valid(Kept(*found) if found else None, fingerprint, _oldest(now))


def _oldest(now: datetime) -> int:
    return micros(now - RECEIPT_LIFE)


def _valid(kept: Kept | None, fingerprint: str, oldest: int) -> Kept | None:
    if kept is None or kept.recorded_at <= oldest:
        return None
    if kept.fingerprint != fingerprint:
        raise IdempotencyMismatch("The idempotency key was used for another request.")
    return kept
