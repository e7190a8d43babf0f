"""A store for a trial: commands see what earlier ones have written, and nothing is stored."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.application.command_queues import CommandQueues
from spawn.application.dependencies import MAX_CACHED_LEDGERS, Dependencies
from spawn.domain.change import (
    Change,
    CommitResult,
    Head,
    IdempotencyKey,
    StoredAggregate,
    StoredResponse,
)
from spawn.domain.errors import Duplicate, NotFound, StaleVersion
from spawn.domain.events.journal_entry import FeedPage, JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.query import WHOLE_HISTORY, HistoryBounds, Page, Query, meets
from spawn.ports.storage import Table


def build_trial(dependencies: Dependencies) -> Dependencies:
    """Return the ports of a trial: commands write to memory, over what the store has."""
    trial = TrialStore(dependencies)
    return msgspec.structs.replace(
        dependencies,
        commands=trial,
        reads=trial,
        ledgers=BoundedCache(MAX_CACHED_LEDGERS),
        command_queues=CommandQueues(),
    )


class TrialStore:
    """Commands and reads over a store; writes replace its states in memory.

    Histories, the feed and earlier states are those of the store.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._reads = dependencies.reads
        self._clock = dependencies.clock
        self._written: dict[tuple[str, str], StoredAggregate[Any]] = {}
        self._created: dict[str, list[str]] = defaultdict(list)

    async def commit(self, change: Change) -> CommitResult:
        """Write a change to memory; see `CommandStore.commit`."""
        for guard in change.guards:
            await self._check_version(guard.kind, guard.id, guard.expected_version)
        before = {}
        for write in change.writes:
            await self._check_version(write.kind, write.id, write.expected_version)
            if write.expected_version:
                before[write.kind, write.id] = await self.get(write.kind, write.id)
        now = self._clock.now()
        for write in change.writes:
            earlier = before.get((write.kind, write.id))
            if earlier is None:
                self._created[write.kind].append(write.id)
            self._written[write.kind, write.id] = StoredAggregate(
                kind=write.kind,
                id=write.id,
                version=write.expected_version + 1,
                state=write.state,
                created_at=now if earlier is None else earlier.created_at,
                updated_at=now,
                schema_version=change.schema_version_of(write),
            )
        return CommitResult(now, await self._reads.position())

    async def _check_version(self, kind: str, key: str, expected_version: int) -> None:
        try:
            version = (await self.head(kind, key)).version
        except NotFound:
            version = 0
        if version != expected_version and not expected_version:
            raise Duplicate(f"There is a {kind} of this id already.")
        if version != expected_version:
            raise StaleVersion(f"The {kind} is at version {version}.", current=version)

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        """Return None: a trial has no receipts."""
        del key
        return None

    async def get(
        self, kind: str, key: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> StoredAggregate[Any]:
        """Return the aggregate; see `ReadStore.get`."""
        if version is None and as_of is None and (kind, key) in self._written:
            return self._written[kind, key]
        return await self._reads.get(kind, key, version=version, as_of=as_of)

    async def get_many(self, kind: str, ids: Sequence[str]) -> dict[str, StoredAggregate[Any]]:
        """Return those that exist; see `ReadStore.get_many`."""
        others = [key for key in ids if (kind, key) not in self._written]
        aggregates = await self._reads.get_many(kind, others) if others else {}
        written = {key: self._written[kind, key] for key in ids if (kind, key) in self._written}
        return aggregates | written

    async def head(self, kind: str, key: str) -> Head:
        """Return version and epoch; see `ReadStore.head`."""
        aggregate = self._written.get((kind, key))
        if aggregate is None:
            return await self._reads.head(kind, key)
        return Head(aggregate.version, (await self._reads.position()).epoch)

    async def page(self, query: Query) -> Page[StoredAggregate[Any]]:
        """Return one page; what the trial has created comes last; see `ReadStore.page`."""
        page: Page[StoredAggregate[Any]] = await self._reads.page(query)
        if query.as_of is not None:
            return page
        items = [self._written.get((one.kind, one.id), one) for one in page.items]
        if page.next is None:
            created = (self._written[query.kind, key] for key in self._created[query.kind])
            items += [one for one in created if _matches(one, query)]
        return Page(tuple(items), page.next)

    async def count(self, query: Query) -> int:
        """Return the number that the store has; see `ReadStore.count`."""
        return await self._reads.count(query)

    async def history(
        self,
        kind: str,
        key: str,
        *,
        after_version: int,
        limit: int,
        bounds: HistoryBounds = WHOLE_HISTORY,
    ) -> list[JournalEntry]:
        """Return entries of the store; see `ReadStore.history`."""
        return await self._reads.history(
            kind, key, after_version=after_version, limit=limit, bounds=bounds
        )

    async def feed(
        self,
        *,
        after: Position | None,
        limit: int,
        types: frozenset[str] | None = None,
        subject: tuple[str, str] | None = None,
        floor: datetime | None = None,
    ) -> FeedPage:
        """Return entries of the store; see `ReadStore.feed`."""
        return await self._reads.feed(
            after=after, limit=limit, types=types, subject=subject, floor=floor
        )

    async def position(self) -> Position:
        """Return the position of the store."""
        return await self._reads.position()

    async def latest_recorded_at(self) -> datetime | None:
        """Return the time of the newest change of the store."""
        return await self._reads.latest_recorded_at()

    async def final_instant(self) -> datetime:
        """Return a final instant of the store."""
        return await self._reads.final_instant()

    async def count_rows_after(self, position: Position | None) -> int:
        """Count rows of the store; see `ReadStore.count_rows_after`."""
        return await self._reads.count_rows_after(position)

    async def wait_for_change(self, after: Position, timeout_s: float) -> Position:
        """Wait for a change of the store; see `ReadStore.wait_for_change`."""
        return await self._reads.wait_for_change(after, timeout_s)

    async def tables(self) -> list[Table]:
        """Return the tables of the store."""
        return await self._reads.tables()


def _matches(aggregate: StoredAggregate[Any], query: Query) -> bool:
    return all(meets(getattr(aggregate.state, one.field, None), one) for one in query.filters)
