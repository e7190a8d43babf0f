"""Cache of the idempotency receipts of the last 24 hours."""

from collections import deque
from datetime import datetime
from threading import Lock
from typing import NamedTuple

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import to_microseconds
from spawn.adapters.embedded.journal import RECEIPT_LIFETIME
from spawn.domain.change import IdempotencyKey
from spawn.domain.errors import IdempotencyMismatch


class CachedReceipt(NamedTuple):
    """A request's fingerprint, and the journal row of its recorded response."""

    fingerprint: str
    position: int
    recorded_at: int


class ReceiptCache:
    """Cache of up to `capacity` receipts; older ones of the last 24 h are queried."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._receipts: dict[tuple[str, str], CachedReceipt] = {}
        self._order: deque[tuple[tuple[str, str], int]] = deque()
        self._newest_evicted: CachedReceipt | None = None
        self._lock = Lock()

    def load(self, cursor: Cursor, now: datetime) -> None:
        """Load the newest receipts from the journal."""
        rows = cursor.execute(
            "select receipt_scope, receipt_key, receipt_fingerprint, position,"
            " epoch_us(recorded_at) from journal where receipt_key is not null"
            " and recorded_at > make_timestamp(?) order by position desc limit ?",
            [to_microseconds(now - RECEIPT_LIFETIME), self._capacity + 1],
        ).fetchall()
        with self._lock:
            self._receipts.clear()
            self._order.clear()
            self._newest_evicted = None
        for scope, key, fingerprint, position, recorded_at in reversed(rows):
            idempotency_key = IdempotencyKey(scope=scope, key=key, fingerprint=fingerprint)
            self.put(idempotency_key, position, recorded_at)

    def put(self, key: IdempotencyKey, position: int, recorded_at: int) -> None:
        """Cache a receipt that has become durable."""
        name = (key.scope, key.key)
        with self._lock:
            self._receipts[name] = CachedReceipt(key.fingerprint, position, recorded_at)
            self._order.append((name, position))
            if len(self._order) > self._capacity:
                self._evict_oldest()

    def _evict_oldest(self) -> None:
        oldest, position = self._order.popleft()
        receipt = self._receipts.get(oldest)
        if receipt is not None and receipt.position == position:
            self._newest_evicted = self._receipts.pop(oldest)

    def from_cache(self, key: IdempotencyKey, now: datetime) -> CachedReceipt | None:
        """Return the receipt if it is cached and still valid.

        Raises:
            IdempotencyMismatch: it belongs to another request.
        """
        receipt = self._receipts.get((key.scope, key.key))
        return _check_receipt(receipt, key.fingerprint, _oldest_valid_at(now))

    def may_be_on_disk(self, now: datetime) -> bool:
        """Whether a receipt that is not cached could still be valid."""
        evicted = self._newest_evicted
        return evicted is not None and evicted.recorded_at > _oldest_valid_at(now)

    def find(self, cursor: Cursor, key: IdempotencyKey, now: datetime) -> CachedReceipt | None:
        """Return the receipt, from the cache or from the journal.

        Raises:
            IdempotencyMismatch: it belongs to another request.
        """
        receipt = self.from_cache(key, now)
        if receipt is not None or not self.may_be_on_disk(now):
            return receipt
        row = cursor.execute(
            "select receipt_fingerprint, position, epoch_us(recorded_at) from journal"
            " where recorded_at > make_timestamp(?) and receipt_key = ? and receipt_scope = ?"
            " order by position desc limit 1",
            [_oldest_valid_at(now), key.key, key.scope],
        ).fetchone()
        return _check_receipt(
            CachedReceipt(*row) if row else None, key.fingerprint, _oldest_valid_at(now)
        )


def _oldest_valid_at(now: datetime) -> int:
    return to_microseconds(now - RECEIPT_LIFETIME)


def _check_receipt(
    receipt: CachedReceipt | None, fingerprint: str, oldest: int
) -> CachedReceipt | None:
    if receipt is None or receipt.recorded_at <= oldest:
        return None
    if receipt.fingerprint != fingerprint:
        raise IdempotencyMismatch("The idempotency key was used for another request.")
    return receipt
