"""Storage: commands in, aggregates, pages, history and feed out.

An adapter promises, and `spawn.testing` checks:

- what is read back equals what was written (Decimal digits, aware UTC times, enums, extensions);
- a change is written whole or not at all, and acknowledged means durable;
- a read sees every change acknowledged before it began;
- of racing changes on one version exactly one wins;
- no engine exception or query text escapes, only the errors of `spawn.domain.errors`;
- every method is safe under concurrency, and cancelling a waiter never withdraws a queued change;
- order is promised, density never.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from spawn.domain.change import Answer, Change, Committed, Entry, FeedPage, Head, Stored
from spawn.domain.query import Page, Query


class CommandStore(Protocol):
    """Where commands commit."""

    async def commit(self, change: Change) -> Committed:
        """Write the change atomically and durably.

        `recorded_at` is max(last + 1 µs, clock). If the change carries a receipt whose scope and
        key are already recorded with the same fingerprint, nothing is written and the recorded
        answer is returned in `Committed.replayed`. The receipt is looked at before versions.
        A change without writes but with a receipt records the receipt alone.

        Raises:
            Duplicate: a write expecting version 0 met an existing aggregate.
            Stale: any other expected version, of a write or a guard, is not the current one.
            IdempotencyMismatch: the receipt's key is recorded with another fingerprint.
            Overloaded: the queue is full; nothing was queued.
            StorageFull: there is no space; nothing was written.
            Unavailable: the store cannot write now or is closing.
        """
        ...

    async def receipt(self, scope: str, key: str, fingerprint: str) -> Answer | None:
        """The recorded answer for this scope and key, or None; cheap. Receipts live 24 h.

        Raises:
            IdempotencyMismatch: recorded with another fingerprint.
        """
        ...


class ReadStore(Protocol):
    """Where queries read; every answer has a deadline and a cap."""

    async def get(
        self, kind: str, key: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> Stored[Any]:
        """The aggregate now, at a version, or as recorded at an instant (inclusive).

        Raises:
            NotFound: no such aggregate, version, or not yet at that instant.
        """
        ...

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, Stored[Any]]:
        """Those of the aggregates (at most 10,000 ids) that exist, by id."""
        ...

    async def head(self, kind: str, key: str) -> Head:
        """Version and epoch; linearizable and cheap.

        Raises:
            NotFound: no such aggregate.
        """
        ...

    async def page(self, query: Query) -> Page[Stored[Any]]:
        """One page of aggregates.

        A scan covers each item exactly once, for items whose sort keys and filter membership do
        not change meanwhile. Fields are names of core and governed columns, `project_id`,
        `version`, `created_at`, `updated_at`; aggregates of other kinds are filtered and sorted
        by `created_at` alone.

        Raises:
            InvalidInput: an unknown field or a limit above the cap.
            DeadlineExceeded: the query took too long.
        """
        ...

    async def history(self, kind: str, key: str, *, after_version: int, limit: int) -> list[Entry]:
        """Entries with version > `after_version`, oldest first; empty at the end.

        Raises:
            NotFound: no such aggregate.
        """
        ...

    async def feed(
        self,
        *,
        after: str | None,
        limit: int,
        types: frozenset[str] | None = None,
        subject: tuple[str, str] | None = None,
        floor: datetime | None = None,
    ) -> FeedPage:
        """Entries that carry an event, after a position (None: from the beginning), in order.

        Without `types` the events of lineage (`domain.lineage.EVENT_TYPES`) are left out: reading
        causes them, and whoever reads on each event would never come to an end.
        What was recorded before `floor` is not shown, though it is still there; a store may look
        up once a minute where that ends, and show a little more.

        Raises:
            CursorInvalid: the position was never issued.
            CursorExpired: the position is of an earlier epoch or below the retention floor.
        """
        ...

    async def position(self) -> str:
        """The position of the newest acknowledged change; cheap."""
        ...

    async def rows_after(self, position: str | None) -> int:
        """How many rows of the journal follow a position, those without an event too; cheap.

        Raises:
            CursorInvalid, CursorExpired: as for `feed`.
        """
        ...

    async def await_change(self, after: str, timeout_s: float) -> str:
        """The newest position as soon as it is another than `after`, or when the time is over.

        It answers at once if it is another already. Waiting costs nothing while nothing is
        committed, and giving up leaves nothing behind.

        Raises:
            Unavailable: the store is closing; nothing will change here any more.
        """
        ...

    async def tables(self) -> list["Table"]:
        """The tables behind the store, for introspection; names and types, no data."""
        ...


class Bookmarks(Protocol):
    """Where those who follow the feed stand, kept beside it."""

    async def load_bookmarks(self) -> dict[str, str]:
        """Every position that was saved last, by name; as durable as the journal."""
        ...

    async def save_bookmarks(self, positions: Mapping[str, str]) -> None:
        """Remember these positions, all or none, beside those of other names.

        Raises:
            Unavailable: the store cannot write now; those saved before stand.
        """
        ...


class TableColumn(msgspec.Struct, frozen=True):
    """A column as the engine has it."""

    name: str
    type: str
    nullable: bool


class Table(msgspec.Struct, frozen=True):
    """A table as the engine has it; `rows` may be an estimate."""

    name: str
    columns: tuple[TableColumn, ...]
    rows: int


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of itself; gathering it touches memory and the file system only.

    `lag_rows` and `lag_s` say how far the projection is behind the journal. `queued` of
    `queue_limit` changes wait. `free_bytes` is None where no disk is involved.
    """

    engine: str
    epoch: int
    position: str
    writable: bool
    detail: str
    queued: int
    queue_limit: int
    lag_rows: int
    lag_s: float
    exclusive: bool = False
    file_bytes: int | None = None
    wal_bytes: int | None = None
    free_bytes: int | None = None
    reserve_bytes: int | None = None


class StoreControl(Protocol):
    """The store as something to run and watch."""

    def status(self) -> StoreStatus:
        """A snapshot, without waiting."""
        ...

    async def probe(self) -> float:
        """Go once through the real write path durably, without leaving a trace; seconds it took.

        Raises:
            Unavailable: it could not, and why.
        """
        ...

    async def close(self) -> None:
        """Finish what is queued, project, checkpoint, close; idempotent."""
        ...
