"""Ordered at-least-once delivery of the feed to one publisher.

The pattern is an outbox relay with a queue per aggregate, exponential backoff, a pause while the
publisher is away, and dead letters.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import count
from typing import NamedTuple

import msgspec

from spawn.application.events.delivery_pace import DeliveryPace
from spawn.application.events.journal_watch import COALESCE_S, JournalWatch
from spawn.domain.errors import CursorExpired, CursorInvalid, SpawnError, Unavailable
from spawn.domain.events.journal_entry import FeedPage, JournalEntry
from spawn.domain.events.position import Position
from spawn.ports.publishers import ConsumerGone, DeliveryFailure, EventPublisher
from spawn.ports.storage import ReadStore

PAGE_ENTRIES = 1_000
"""Entries read at once; larger pages cost less per entry."""

_IDLE_S = 60.0
_ENTRY_BYTES = 500
_NOW = 0.0

AggregateKey = tuple[str, str]
"""Kind and id of an aggregate."""

DeadLetterRecorder = Callable[[JournalEntry, int, str], Awaitable[None]]
"""Function that records a dead letter: the entry, its attempts and the last reason."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Policy for retrying a failing publisher.

    The events of an aggregate wait `initial_delay_s` after a failure, twice as long after each
    further one, at most `max_delay_s`. After `pause_after` failed batches in a row only one batch
    at a time is sent, after pauses that grow to `max_pause_s`; a publisher may ask for a pause of
    at most `max_retry_after_s`. An event becomes a dead letter after `max_attempts`; an attempt
    counts if the publisher rejected the event, or accepted others meanwhile, so that an outage
    creates no dead letters. About `max_blocked_bytes` of events may wait behind failures; beyond
    that nothing further is read.
    """

    max_attempts: int = 10
    initial_delay_s: float = 1.0
    max_delay_s: float = 300.0
    pause_after: int = 3
    max_pause_s: float = 30.0
    max_retry_after_s: float = 3600.0
    max_blocked_bytes: int = 32 * 1024 * 1024


class _PendingEvent(NamedTuple):
    """An undelivered event: the position before it, to read it again, and its time."""

    previous_position: Position | None
    recorded_at: datetime


class AggregateQueue:
    """Waiting events of one aggregate, oldest first, and the failures of the oldest."""

    __slots__ = (
        "attempts",
        "delivered_at_failure",
        "due_at",
        "entries",
        "failing_position",
        "failures",
        "reason",
    )

    def __init__(self) -> None:
        self.entries: deque[JournalEntry] = deque()
        self.reset(None)

    def reset(self, failing_position: Position | None) -> None:
        """Reset the retry counters for the event at a position; None for none yet."""
        self.failing_position = failing_position
        self.failures = 0
        self.attempts = 0
        self.delivered_at_failure = -1
        self.reason = ""
        self.due_at = _NOW


class FeedReader:
    """Reader of feed pages; publishers at the same position share the last page.

    `types` selects event types; None selects the default types of the feed.
    """

    def __init__(self, reads: ReadStore, types: frozenset[str] | None = None) -> None:
        self.reads = reads
        self._types = types
        self._lock = asyncio.Lock()
        self._after: Position | None = None
        self._page: FeedPage | None = None

    async def read_after(self, position: Position | None) -> FeedPage:
        """Return the page after a position; None is the beginning."""
        async with self._lock:
            # A page that leads nowhere is not cached: more entries may follow it by now.
            page = self._page if self._after == position else None
            if page is None or page.next == position:
                page = await self.reads.feed(after=position, limit=PAGE_ENTRIES, types=self._types)
                self._after, self._page = position, page
            return page


class PublisherDelivery:
    """Delivery to one publisher: its position, its batches and its waiting events.

    Its memory is bounded: one unsent page, the batches in flight, and the events blocked by
    failures. `delivered`, `failed` and `dead_lettered` count events. `is_stopped` once the consumer
    wants no further event.
    """

    def __init__(
        self,
        publisher: EventPublisher,
        reader: FeedReader,
        journal_watch: JournalWatch,
        record_dead_letter: DeadLetterRecorder,
        retry_policy: RetryPolicy,
        on_error: Callable[[BaseException], None],
        on_stop: Callable[[str], None] = lambda _reason: None,
        pace: DeliveryPace | None = None,
    ) -> None:
        self.publisher = publisher
        self.delivery_options = publisher.delivery_options
        self.delivered = self.failed = self.dead_lettered = 0
        self._read_error: str | None = None
        self._error: str | None = None
        self._reader = reader
        self._journal_watch = journal_watch
        self._record_dead_letter = record_dead_letter
        self._retry_policy = retry_policy
        self._on_error = on_error
        self._on_stop = on_stop
        self._pace = pace or DeliveryPace()
        self.is_stopped = False
        self._read_to: Position | None = None
        self._dequeued_to: Position | None = None
        self._next_read_from = 0.0
        self._ready: deque[JournalEntry] = deque()
        self._pending: dict[Position, _PendingEvent] = {}
        self._queues: dict[AggregateKey, AggregateQueue] = {}
        self._schedule: list[tuple[float, int, AggregateKey]] = []
        self._tie_breakers = count()
        self._blocked_bytes = 0
        self._keys_in_flight: set[AggregateKey] = set()
        self._failing_keys: set[AggregateKey] = set()
        self._publish_tasks: set[asyncio.Task[None]] = set()
        self._consecutive_failures = self._pauses = 0
        self._paused_until = self._retry_after_until = 0.0
        self._progress = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._broken: BaseException | None = None

    # -- position ---------------------------------------------------------------------------

    def start_after(self, position: Position | None) -> None:
        """Set the position to start after; None is the beginning.

        Events that were read or failed before are dropped; those after the position are read again.
        """
        self._read_to = self._dequeued_to = position
        self._ready.clear()
        self._pending.clear()
        self._queues.clear()
        self._schedule.clear()
        self._blocked_bytes = 0
        self._keys_in_flight.clear()
        self._failing_keys.clear()
        self._error = None

    @property
    def error(self) -> str | None:
        """The last delivery error, or None while nothing fails."""
        return self._read_error or self._error

    @property
    def position(self) -> Position | None:
        """Position up to which every event was delivered or became a dead letter."""
        for pending in self._pending.values():
            return pending.previous_position
        return self._dequeued_to if self._ready else self._read_to

    def oldest_recorded_at(self) -> datetime | None:
        """Return the time of the oldest event known to be undelivered."""
        for pending in self._pending.values():
            return pending.recorded_at
        return self._ready[0].recorded_at if self._ready else None

    async def count_backlog(self) -> int:
        """Return the number of journal rows after the position, with or without events."""
        try:
            return await self._reader.reads.count_rows_after(self.position)
        except (CursorExpired, CursorInvalid):
            return 0  # the next read finds out where this position leads

    def count_blocked(self) -> int:
        """Return the number of aggregates blocked by a failure."""
        return len(self._failing_keys)

    async def wait_until_delivered(self) -> None:
        """Wait until all current events are delivered, or a delivery fails."""
        newest = await self._reader.reads.position()
        while self.error is None and (self._ready or self._pending or self._read_to != newest):
            await self._progress.wait()

    # -- the loop ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled; batches in flight are then aborted and sent again later.

        A second call after a failure starts after the last position that was settled.
        """
        self.start_after(self.position)
        self._broken = None
        try:
            while True:
                # Cleared before the state is read, so that no change of it goes unnoticed.
                self._has_changed.clear()
                await self._read_page()
                while batch := self._next_batch():
                    task = asyncio.create_task(self._deliver(batch))
                    self._publish_tasks.add(task)
                    task.add_done_callback(self._end_task)
                await self._wait_for_work()
        finally:
            tasks = list(self._publish_tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._publish_tasks.clear()

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self._publish_tasks.discard(task)
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._broken = self._broken or failure
        self._has_changed.set()

    def _has_room(self) -> bool:
        if self.is_stopped:
            return False
        return not self._ready and self._blocked_bytes < self._retry_policy.max_blocked_bytes

    async def _read_page(self) -> None:
        """Read a page if the last one is sent, with a pause between two reads."""
        if not self._has_room() or self._read_to == await self._reader.reads.position():
            return
        await asyncio.sleep(self._next_read_from + COALESCE_S - _time_s())
        try:
            page = await self._reader.read_after(self._read_to)
        except CursorExpired as expired:
            # Position of an earlier epoch: deliver from the oldest event rather than skip any.
            self.start_after(Position.parse(expired.oldest))
            return
        except SpawnError as failure:
            self._read_error = failure.detail
            self._next_read_from = _time_s() + self._retry_policy.initial_delay_s
            return
        self._read_error = None
        self._next_read_from = _time_s()
        self._ready.extend(page.entries)
        self._dequeued_to = self._read_to
        self._read_to = page.next

    async def _wait_for_work(self) -> None:
        """Wait until a batch ends, a retry or pause is due, or the journal grows.

        One event stands for all of these: a wait for nine tasks, for each of eight batches under
        way, took a third of the time of a delivery.
        """
        self._progress.set()
        self._progress = asyncio.Event()
        if self._broken is not None:
            raise self._broken
        watch: asyncio.Task[None] | None = None
        if self._has_room():
            if self._read_to != await self._reader.reads.position():
                return
            watch = asyncio.create_task(self._watch_journal())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._max_wait_s()):
                    await self._has_changed.wait()
        finally:
            if watch is not None:
                watch.cancel()

    async def _watch_journal(self) -> None:
        await self._journal_watch.wait(self._read_to, _IDLE_S)
        self._has_changed.set()

    def _max_wait_s(self) -> float:
        """Return the longest time until there may be something to send."""
        # New events beyond the room for blocked ones wait until something else settles.
        has_work = (self._can_take_new() or self._schedule) and not self.is_stopped
        if len(self._publish_tasks) >= self._max_tasks() or not has_work:
            return _IDLE_S
        due_at = _NOW if self._can_take_new() else self._schedule[0][0]
        return max(due_at, self._paused_until, self._retry_after_until) - _time_s()

    # -- batches ----------------------------------------------------------------------------

    def _max_tasks(self) -> int:
        """Return how many batches may be in flight: one, while the publisher seems to be away."""
        return (
            1
            if self._consecutive_failures >= self._retry_policy.pause_after
            else self.delivery_options.concurrency
        )

    def _can_take_new(self) -> bool:
        return bool(self._ready) and self._blocked_bytes < self._retry_policy.max_blocked_bytes

    def _next_batch(self) -> list[JournalEntry]:
        """Return the next batch to send now; empty if none."""
        now = _time_s()
        is_paused = now < max(self._paused_until, self._retry_after_until)
        if self.is_stopped or is_paused or len(self._publish_tasks) >= self._max_tasks():
            return []
        # After a failure, try other events first: the failing event itself may be the cause.
        batch = self._next_new_batch() if self._consecutive_failures else self._next_due_batch(now)
        batch = batch or (
            self._next_due_batch(now) if self._consecutive_failures else self._next_new_batch()
        )
        if self.delivery_options.concurrency > 1:
            self._keys_in_flight.update((entry.kind, entry.id) for entry in batch)
        return batch

    def _next_new_batch(self) -> list[JournalEntry]:
        """Return new events; queue those whose aggregate has earlier ones waiting or in flight."""
        if self.delivery_options.concurrency == 1 and not self._queues:
            return self._next_unblocked_batch()
        batch: list[JournalEntry] = []
        while self._can_take_new() and len(batch) < self.delivery_options.batch:
            entry = self._ready.popleft()
            self._pending[entry.position] = _PendingEvent(self._dequeued_to, entry.recorded_at)
            self._dequeued_to = entry.position
            key = (entry.kind, entry.id)
            queue = self._queues.get(key)
            if queue is None and key not in self._keys_in_flight:
                batch.append(entry)
                continue
            if queue is None:
                queue = self._queues[key] = AggregateQueue()
            queue.entries.append(entry)
            self._blocked_bytes += _size(entry)
        return batch

    def _next_unblocked_batch(self) -> list[JournalEntry]:
        """Return new events while no earlier event is waiting or in flight.

        Only the first is tracked: that suffices while the whole batch succeeds, and keeps the
        events of an import cheap.
        """
        batch = [
            self._ready.popleft() for _ in range(min(len(self._ready), self.delivery_options.batch))
        ]
        if batch:
            self._pending[batch[0].position] = _PendingEvent(
                self._dequeued_to, batch[0].recorded_at
            )
            self._dequeued_to = batch[-1].position
        return batch

    def _track_each(self, batch: list[JournalEntry]) -> None:
        """Track each event of a failed batch; `_next_unblocked_batch` tracks only the first."""
        first = self._pending.get(batch[0].position)
        previous_position = first.previous_position if first else None
        for entry in batch:
            self._pending.setdefault(
                entry.position, _PendingEvent(previous_position, entry.recorded_at)
            )
            previous_position = entry.position

    def _next_due_batch(self, now: float) -> list[JournalEntry]:
        """Return the events whose retry is due."""
        batch: list[JournalEntry] = []
        while (
            self._schedule
            and self._schedule[0][0] <= now
            and len(batch) < self.delivery_options.batch
        ):
            _, _, key = heapq.heappop(self._schedule)
            entries = self._queues[key].entries
            for _ in range(min(len(entries), self.delivery_options.batch - len(batch))):
                entry = entries.popleft()
                self._blocked_bytes -= _size(entry)
                batch.append(entry)
        return batch

    # -- delivery ---------------------------------------------------------------------------

    async def _deliver(self, batch: list[JournalEntry]) -> None:
        failures = await self._publish(batch)
        for key in self._settle_batch(batch, failures):
            await self._dead_letter(key)
        if self._queues or self._keys_in_flight:
            for key in {(entry.kind, entry.id) for entry in batch}:
                self._release(key)
        if not self._failing_keys:
            self._error = None

    async def _publish(self, batch: list[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Publish a batch; an exception fails the whole batch."""
        try:
            await self._pace.wait_for_turn()
            return tuple(await self.publisher.publish(batch))
        except ConsumerGone as gone:
            reason = str(gone)
            self._stop(reason)
        except Unavailable as failure:
            retry_after_s = min(failure.retry_after_s, self._retry_policy.max_retry_after_s)
            self._retry_after_until = max(self._retry_after_until, _time_s() + retry_after_s)
            reason = failure.detail
        except Exception as failure:  # noqa: BLE001 -- a third party's code must not end the delivery
            self._on_error(failure)
            reason = f"The publisher failed: {type(failure).__name__}."
        return [DeliveryFailure(entry, reason) for entry in batch]

    def _stop(self, reason: str) -> None:
        """Send nothing further; the position stays, so that a restart continues there."""
        if not self.is_stopped:
            self.is_stopped = True
            self._on_stop(reason)

    def resume(self) -> bool:
        """Send again to a consumer that is back; return whether the delivery had stopped."""
        if not self.is_stopped:
            return False
        self.is_stopped = False
        self._error = None
        self._consecutive_failures = self._pauses = 0
        self._paused_until = self._retry_after_until = 0.0
        self._retry_all_now()
        self._has_changed.set()
        return True

    def _settle_batch(
        self, batch: list[JournalEntry], failures: Sequence[DeliveryFailure]
    ) -> list[AggregateKey]:
        """Remove delivered events, requeue the rest; return the aggregates out of attempts."""
        failed = {failure.entry.position: failure for failure in failures}
        if failed:
            self._track_each(batch)
        failures_by_key: dict[AggregateKey, list[DeliveryFailure]] = {}
        for entry in batch:
            failure = failed.get(entry.position)
            if failure is None:
                self._pending.pop(entry.position, None)
            else:
                failures_by_key.setdefault((entry.kind, entry.id), []).append(failure)
        delivered = len(batch) - len(failed)
        self.delivered += delivered
        self.failed += len(failed)
        self._record_outcome(delivered=delivered, reason=failures[0].reason if failures else None)
        if self._failing_keys:
            for key in {(entry.kind, entry.id) for entry in batch} - failures_by_key.keys():
                self._clear_failure(key)
        final_keys = [k for k, own in failures_by_key.items() if self._schedule_retry(k, own)]
        return [] if self.is_stopped else final_keys

    def _record_outcome(self, *, delivered: int, reason: str | None) -> None:
        """Update the failure streak and the pause from the outcome of one batch."""
        if delivered:
            if self._consecutive_failures >= self._retry_policy.pause_after:
                self._retry_all_now()
            self._consecutive_failures = self._pauses = 0
            self._paused_until = 0.0
            self._error = reason or self._error
            return
        self._consecutive_failures += 1
        self._error = reason
        now = _time_s()
        # Batches that were in flight together and fail together are one failure.
        if (
            self._consecutive_failures >= self._retry_policy.pause_after
            and now >= self._paused_until
        ):
            self._paused_until = now + self._backoff_s(self._pauses, self._retry_policy.max_pause_s)
            self._pauses += 1

    def _retry_all_now(self) -> None:
        """Make all delayed events due now, since the publisher is back."""
        self._schedule = [(_NOW, tie_breaker, key) for _, tie_breaker, key in self._schedule]
        heapq.heapify(self._schedule)

    def _schedule_retry(self, key: AggregateKey, failures: list[DeliveryFailure]) -> bool:
        """Requeue failed events in front; return whether the first is out of attempts."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = AggregateQueue()
        queue.entries.extendleft(failure.entry for failure in reversed(failures))
        self._blocked_bytes += sum(_size(failure.entry) for failure in failures)
        first = failures[0]
        if queue.failing_position != first.entry.position:
            queue.reset(first.entry.position)
        if first.is_rejected or queue.delivered_at_failure != self.delivered:
            queue.attempts += 1
        queue.delivered_at_failure = self.delivered
        queue.due_at = _time_s() + self._backoff_s(queue.failures, self._retry_policy.max_delay_s)
        queue.failures += 1
        queue.reason = first.reason
        self._failing_keys.add(key)
        return queue.attempts >= self._retry_policy.max_attempts

    def _backoff_s(self, failures: int, max_delay_s: float) -> float:
        """Return the exponential backoff with jitter, in seconds.

        Jitter takes off up to half, so that not all retries come at once.
        """
        delay_s = min(self._retry_policy.initial_delay_s * 2.0 ** min(failures, 32), max_delay_s)
        return delay_s * random.uniform(0.5, 1.0)  # noqa: S311 -- to spread load, not a secret

    async def _dead_letter(self, key: AggregateKey) -> None:
        """Record the first event of a queue as a dead letter and continue with the next."""
        queue = self._queues[key]
        entry = queue.entries[0]
        try:
            await self._record_dead_letter(entry, queue.attempts, queue.reason)
        except SpawnError as failure:
            # The store cannot write now: the event stays queued and is tried once more.
            self._error = failure.detail
            return
        self.dead_lettered += 1
        queue.entries.popleft()
        self._blocked_bytes -= _size(entry)
        del self._pending[entry.position]
        self._clear_failure(key)

    def _clear_failure(self, key: AggregateKey) -> None:
        """Reset the failure counters of an aggregate whose failing event is settled."""
        self._failing_keys.discard(key)
        queue = self._queues.get(key)
        if queue is not None:
            queue.reset(None)

    def _release(self, key: AggregateKey) -> None:
        """Schedule the waiting events of an aggregate, or delete its empty queue."""
        self._keys_in_flight.discard(key)
        queue = self._queues.get(key)
        if queue is not None and not queue.entries:
            del self._queues[key]
        elif queue is not None:
            heapq.heappush(self._schedule, (queue.due_at, next(self._tie_breakers), key))


def _time_s() -> float:
    """Return the time of the event loop, the one that its sleeps and timers follow."""
    return asyncio.get_running_loop().time()


def _size(entry: JournalEntry) -> int:
    return _ENTRY_BYTES + len(entry.document)
