"""Storage ports: commands, reads, bookmarks, control.

Every adapter guarantees the following, and `spawn.testing` tests it:

- the state read back equals the state written (Decimal digits, aware UTC times, enums, extensions);
- a change is written whole or not at all, and acknowledged means durable;
- a read sees every change acknowledged before it began;
- of racing changes on one version exactly one wins;
- no engine exception or query text escapes, only the errors of `spawn.domain.errors`;
- every method is safe under concurrency, and cancelling a waiter never withdraws a queued change;
- positions and versions are ordered, but need not be consecutive.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from spawn.domain.change import (
    Change,
    CommitResult,
    Head,
    IdempotencyKey,
    StoredAggregate,
    StoredResponse,
)
from spawn.domain.events.journal_entry import FeedPage, JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.query import WHOLE_HISTORY, HistoryBounds, Page, Query


class CommandStore(Protocol):
    """Port that commits changes."""

    async def commit(self, change: Change) -> CommitResult:
        """Write the change atomically and durably.

        `recorded_at` is max(last + 1 µs, clock). If the change carries a receipt whose scope and
        key are already recorded with the same fingerprint, nothing is written and
        `CommitResult.replayed_response` is the stored response. The receipt is checked before
        versions. A change without writes but with a receipt records only the receipt.

        Raises:
            Duplicate: a write expecting version 0 met an existing aggregate.
            StaleVersion: any other expected version, of a write or a guard, is not the current one.
            SchemaVersionChanged: the expected schema version is not the active one, or a governed
                state has a version that the store never had data of.
            IdempotencyMismatch: the receipt's key is recorded with another fingerprint.
            Overloaded: the queue is full; nothing was queued.
            StorageFull: there is no space; nothing was written.
            Unavailable: the store cannot write now or is closing.
        """
        ...

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        """Return the stored response of a key, or None; cheap. Receipts live 24 h.

        Raises:
            IdempotencyMismatch: the key is recorded with another fingerprint.
        """
        ...


class ReadStore(Protocol):
    """Port for reads; every read has a deadline and a size limit."""

    async def get(
        self, kind: str, key: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> StoredAggregate[Any]:
        """Return the aggregate now, at a version, or as recorded at an instant (inclusive).

        Raises:
            NotFound: no such aggregate or version, or none yet at that instant.
        """
        ...

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, StoredAggregate[Any]]:
        """Return the existing aggregates among at most 10,000 ids, by id."""
        ...

    async def head(self, kind: str, key: str) -> Head:
        """Return version and epoch; linearizable and cheap.

        Raises:
            NotFound: no such aggregate.
        """
        ...

    async def page(self, query: Query) -> Page[StoredAggregate[Any]]:
        """Return one page of aggregates.

        A scan over all pages returns each item exactly once, if its sort keys and filter membership
        do not change meanwhile. Fields are names of core and governed columns, `project_id`,
        `version`, `created_at`, `updated_at`; aggregates of other kinds are filtered and sorted
        by `created_at` alone. Filters may also name the document fields of the kind
        (`AggregateType.find_document_field`).

        Raises:
            InvalidInput: an unknown field, a limit above the maximum, or `as_of` for a kind that
                has no table.
            DeadlineExceeded: the query took too long.
        """
        ...

    async def count(self, query: Query) -> int:
        """Return the number of aggregates that match the filters; limit and order have no part.

        Raises:
            InvalidInput: an unknown field.
            DeadlineExceeded: the query took too long.
        """
        ...

    async def history(
        self,
        kind: str,
        key: str,
        *,
        after_version: int,
        limit: int,
        bounds: HistoryBounds = WHOLE_HISTORY,
    ) -> list[JournalEntry]:
        """Return entries with version > `after_version` and within bounds; empty at the end.

        They come oldest first, or newest first if the bounds say so.

        Raises:
            NotFound: no such aggregate.
        """
        ...

    async def feed(
        self,
        *,
        after: Position | None,
        limit: int,
        types: frozenset[str] | None = None,
        subject: tuple[str, str] | None = None,
        floor: datetime | None = None,
    ) -> FeedPage:
        """Return entries with an event, after a position (None: from the beginning), in order.

        Without `types` lineage events (`domain.lineage.run.EVENT_TYPES`) are left out: reads cause
        them, so a client that reads on each event would never reach the end.
        Entries recorded before `floor` are stored but not returned; a store may determine their end
        only once a minute and return a few of them.

        Raises:
            CursorInvalid: the position was never issued.
            CursorExpired: the position is of an earlier epoch or below the retention floor.
        """
        ...

    async def position(self) -> Position:
        """Return the position of the newest acknowledged change; cheap."""
        ...

    async def latest_recorded_at(self) -> datetime | None:
        """Return the time of recording of the newest acknowledged change; cheap.

        None without a change. Every later change MUST be recorded after it, so that the states as
        of it never change again, even if the clock goes back or the store is closed meanwhile.
        """
        ...

    async def final_instant(self) -> datetime:
        """Return an instant of the present by which everything recorded is visible.

        Every later change MUST be recorded after it, even if the clock goes back or the store is
        closed meanwhile. It MUST NOT be before the newest acknowledged change. A change that has a
        time of recording already and is not acknowledged yet is awaited, so that the instant tells
        nothing about changes.

        Raises:
            Unavailable: the store does not know which changes became durable.
        """
        ...

    async def count_rows_after(self, position: Position | None) -> int:
        """Count the journal rows after a position, with or without event; cheap.

        Raises:
            CursorInvalid, CursorExpired: as for `feed`.
        """
        ...

    async def wait_for_change(self, after: Position, timeout_s: float) -> Position:
        """Return the newest position once it differs from `after`, or at the timeout.

        Returns at once if it differs already. Waiting costs nothing while nothing is committed, and
        cancellation leaves nothing behind.

        Raises:
            Unavailable: the store is closing; no further change will come.
        """
        ...

    async def tables(self) -> list["Table"]:
        """Return names and column types of the store's tables, without data."""
        ...


class Bookmarks(Protocol):
    """Port for the feed positions of followers, stored beside the feed."""

    async def load_bookmarks(self) -> dict[str, Position | None]:
        """Return the last saved position of each name; as durable as the journal.

        None is the beginning of the feed.
        """
        ...

    async def save_bookmarks(self, positions: Mapping[str, Position | None]) -> None:
        """Save these positions, all or none; positions of other names stay.

        Raises:
            Unavailable: the store cannot write now; earlier positions stay.
        """
        ...


class DerivedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document that a use case has derived from stored states, to read it instead.

    `basis` are the versions that it follows from, in an order in which a later derivation has the
    greater ones: who reads it compares them with those that it needs.
    """

    name: str
    key: str
    basis: tuple[int, ...]
    document: bytes


class DerivedDocuments(Protocol):
    """Port for derived documents, which the journal does not have and no backup contains.

    They may be lost at any time, and are then derived again.
    """

    async def load_derived(self, name: str, keys: Sequence[str]) -> dict[str, DerivedDocument]:
        """Return the existing documents of a name among at most 10,000 keys, by key.

        A document that differs from the saved one MUST be left out.
        """
        ...

    async def save_derived(self, documents: Sequence[DerivedDocument]) -> None:
        """Save documents in place of those of their names and keys, all or none.

        Raises:
            Unavailable: the store cannot write now; earlier documents stay.
        """
        ...


class TableColumn(msgspec.Struct, frozen=True):
    """A column of a stored table."""

    name: str
    type: str
    nullable: bool


class Table(msgspec.Struct, frozen=True):
    """A stored table; `rows` may be an estimate.

    If the columns are the fields of a kind of aggregate, each by its own name, `kind` is that kind.
    """

    name: str
    columns: tuple[TableColumn, ...]
    rows: int
    kind: str | None = None


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of a store, from memory and the file system only.

    `store_id` is the identity of the store: 32 hexadecimal digits, drawn at random when the store
    is made, and the same for as long as its data live. No two stores MUST share one.
    `lag_rows` and `lag_s` measure how far the projection is behind the journal. `uncompared_rows`
    of it may have wrong values, until they are compared after an unclean stop. `queued` is the
    number of waiting changes, of at most `queue_limit`. `free_bytes` is None without a disk.
    `recorded_ahead_s` is the time by which the newest change is dated ahead of the clock.
    `detail` says what to do if the store is not writable or not readable.
    """

    engine: str
    store_id: str
    epoch: int
    position: Position
    is_writable: bool
    detail: str
    queued: int
    queue_limit: int
    lag_rows: int
    lag_s: float
    uncompared_rows: int = 0
    is_readable: bool = True
    is_exclusive: bool = False
    file_bytes: int | None = None
    wal_bytes: int | None = None
    free_bytes: int | None = None
    reserve_bytes: int | None = None
    recorded_ahead_s: float = 0.0


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a measure by bucket: `counts` has one more than `bounds`, for the rest."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class StoreActivity(msgspec.Struct, frozen=True, kw_only=True):
    """Work of a store since its process started, and the memory that it uses.

    `commit_seconds` and `group_changes` describe the commits of the writer, each of a group of
    changes. `queries_running` and `queries_waiting` are those of readers. `cache_entries` are by
    the name of the cache, from a fixed set. `memory_bytes` is the engine's, None if it does not
    respond.
    """

    commit_seconds: Distribution | None = None
    group_changes: Distribution | None = None
    queries_running: int = 0
    queries_waiting: int = 0
    cache_entries: Mapping[str, int] = msgspec.field(default_factory=dict)
    memory_bytes: int | None = None


class StoreControl(Protocol):
    """Port that operates and monitors a store."""

    async def activity(self) -> StoreActivity:
        """Return what the store has done; it neither fails nor waits for the writer."""
        ...

    def status(self) -> StoreStatus:
        """Return a snapshot, without waiting."""
        ...

    def stalled_s(self) -> float:
        """Return for how long the writer has not moved on while work waits; 0 if it does.

        From memory only: a disk that does not respond cannot delay it.
        """
        ...

    async def probe(self) -> float:
        """Exercise the write path durably without a trace; return the seconds it took.

        Raises:
            Unavailable: the write failed, with the reason.
        """
        ...

    async def wait_until_failed(self) -> str:
        """Return the reason once the store has failed for good; until then, wait.

        Nothing is read or written from then on, and only a new process can serve the store. A store
        that recovers by itself, or waits for its surroundings to recover, has not failed.

        Raises:
            Unavailable: the store is closing.
        """
        ...

    async def close(self) -> None:
        """Commit queued changes, project, checkpoint, close; idempotent."""
        ...
