"""The ports that every use case depends on."""

import asyncio
from collections import defaultdict
from datetime import datetime
from typing import Final

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.application.command_queues import CommandQueues
from spawn.application.traffic.work_turns import WorkTurns
from spawn.domain.errors import Forbidden, InvalidInput, Unavailable
from spawn.domain.events.position import Position
from spawn.domain.facilities.balance_history import BalanceHistory
from spawn.domain.facilities.ledger import StoredLedger
from spawn.domain.portfolios.held_facility import PortfolioBook, RecordedBook
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schemas.refresh_state import RefreshStates
from spawn.domain.schemas.validator import SchemaValidator, compile_schema
from spawn.ports.analytics import ColumnStore, FlowTotals, QualityStore
from spawn.ports.backups import Backups
from spawn.ports.runtime import Clock, IdGenerator, Spool
from spawn.ports.schemas import SchemaRecord, SchemaRegistry, SchemaStore
from spawn.ports.storage import (
    Bookmarks,
    CommandStore,
    DerivedDocuments,
    ReadStore,
    StoreControl,
)
from spawn.ports.workers import Workers

MAX_FEED_PLACES: Final = 10_000
"""Places in the feed behind which a reader with a row scope has found nothing."""


MAX_CACHED_LEDGERS: Final = 4_096
MAX_CACHED_LEDGER_BYTES: Final = 64 * 1024 * 1024
"""Ledgers of facilities in memory, by their number and their size."""

_ENTRY_BYTES: Final = 700


def _create_ledger_cache() -> BoundedCache[StoredLedger]:
    return BoundedCache(
        MAX_CACHED_LEDGERS,
        MAX_CACHED_LEDGER_BYTES,
        lambda ledger: _ENTRY_BYTES * (1 + len(ledger.entries)),
    )


def _create_locks() -> defaultdict[str, asyncio.Lock]:
    """Return the locks of the refreshes, of which one runs at a time for each kind."""
    return defaultdict(asyncio.Lock)


def _create_feed_progress() -> BoundedCache[Position]:
    return BoundedCache(MAX_FEED_PLACES)


MAX_CACHED_BOOKS: Final = 16
MAX_CACHED_BOOK_BYTES: Final = 64 * 1024 * 1024
"""Books of portfolios in memory, by their number and their size."""

_HELD_FACILITY_BYTES: Final = 2_000
_HELD_EXPOSURE_BYTES: Final = 800

MAX_RECORDED_BOOKS: Final = 16
"""Newest books of portfolios in memory; they take bytes as the others do."""

MAX_CACHED_HISTORIES: Final = 50_000
MAX_CACHED_HISTORY_BYTES: Final = 64 * 1024 * 1024
"""Balance histories of facilities in memory, by their number and their size."""

_HISTORY_BYTES: Final = 400
_HISTORY_DAY_BYTES: Final = 120


def _create_book_cache() -> BoundedCache[PortfolioBook]:
    return BoundedCache(
        MAX_CACHED_BOOKS,
        MAX_CACHED_BOOK_BYTES,
        lambda book: _HELD_EXPOSURE_BYTES * len(book.facilities),
    )


def _create_recorded_book_cache() -> BoundedCache[RecordedBook]:
    return BoundedCache(
        MAX_RECORDED_BOOKS,
        MAX_CACHED_BOOK_BYTES,
        lambda book: _HELD_FACILITY_BYTES * len(book.parts),
    )


def _create_history_cache() -> BoundedCache[BalanceHistory]:
    return BoundedCache(
        MAX_CACHED_HISTORIES,
        MAX_CACHED_HISTORY_BYTES,
        lambda history: _HISTORY_BYTES + _HISTORY_DAY_BYTES * len(history.days),
    )


class Dependencies(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of a use case; built by the composition root, never at import.

    `portfolio_reads` reads what a portfolio holds for a caller who sees the whole portfolio and a
    part of the store; None if `reads` does.
    """

    commands: CommandStore
    reads: ReadStore
    bookmarks: Bookmarks
    derived_documents: DerivedDocuments
    control: StoreControl
    schemas: SchemaStore
    quality: QualityStore
    registry: SchemaRegistry
    spool: Spool
    workers: Workers
    clock: Clock
    ids: IdGenerator
    backups: Backups | None = None
    columns: ColumnStore | None = None
    flow_totals: FlowTotals | None = None
    portfolio_reads: ReadStore | None = None
    command_queues: CommandQueues = msgspec.field(default_factory=CommandQueues)
    work_turns: WorkTurns = msgspec.field(default_factory=WorkTurns)
    ledgers: BoundedCache[StoredLedger] = msgspec.field(default_factory=_create_ledger_cache)
    portfolio_books: BoundedCache[PortfolioBook] = msgspec.field(default_factory=_create_book_cache)
    recorded_books: BoundedCache[RecordedBook] = msgspec.field(
        default_factory=_create_recorded_book_cache
    )
    balance_histories: BoundedCache[BalanceHistory] = msgspec.field(
        default_factory=_create_history_cache
    )
    refresh_states: RefreshStates = msgspec.field(default_factory=RefreshStates)
    refresh_locks: defaultdict[str, asyncio.Lock] = msgspec.field(default_factory=_create_locks)
    feed_progress: BoundedCache[Position] = msgspec.field(default_factory=_create_feed_progress)

    async def active_schema(self, kind: str = PROJECT_KIND) -> SchemaRecord:
        """Return the active schema of a governed kind as the store has it now.

        It is read each time, since another replica may have adopted a newer version.

        Raises:
            Unavailable: the store has not adopted a schema yet.
        """
        record = await self.schemas.active(kind)
        if record is None:
            raise Unavailable("No schema is active yet; the service is still starting.")
        return record

    async def validator(self, kind: str = PROJECT_KIND) -> SchemaValidator:
        """Return the active schema of a kind, compiled; it is cached by fingerprint."""
        return compile_schema((await self.active_schema(kind)).schema)


def require(principal: Principal, *scopes: Scope) -> None:
    """Check that the principal has one of the scopes.

    Raises:
        Forbidden: it has none of them.
    """
    if principal.scopes.isdisjoint(scopes):
        names = tuple(scope.value for scope in scopes)
        raise Forbidden(f"This needs the scope {' or '.join(names)}.", scopes=names)


async def require_past(dependencies: Dependencies, as_of: datetime | None) -> None:
    """Check that what was recorded by an instant is final: the instant has passed.

    A replica whose clock is ahead may have recorded a change at a time that is yet to come here;
    up to the newest change everything is final too. After it, changes that have a time of
    recording are awaited. None, for the present, passes.

    Raises:
        InvalidInput: the instant is neither in the past nor that of the newest change.
    """
    if as_of is None:
        return
    latest = await dependencies.reads.latest_recorded_at()
    if latest is not None and as_of <= latest:
        return
    if as_of > await dependencies.reads.final_instant():
        detail = "must be in the past: what will be known then may still change"
        raise InvalidInput.at("/as_of", "in_the_future", detail)
