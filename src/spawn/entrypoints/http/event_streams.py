"""The event feed as server-sent events; each event is encoded once for all clients.

A stream has a position and no queue: it reads from the feed what it has not sent yet. While its
connection accepts nothing the stream waits, and after a time limit it is disconnected. The client
reconnects with `Last-Event-ID` and misses nothing.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any, Final, NamedTuple

import msgspec

from spawn.application.events.journal_watch import JournalWatch
from spawn.domain.errors import Overloaded
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.lineage.run import EVENT_TYPES
from spawn.entrypoints.http.limits import HttpLimits
from spawn.ports.storage import ReadStore

PAGE_EVENTS: Final = 200
RETRY_MS: Final = 2_000
RETRY_LATER_S: Final = 5.0
CACHE_BYTES: Final = 8 * 1024 * 1024


class EventFilter(msgspec.Struct, frozen=True):
    """A selection of events by type and subject; None selects all."""

    types: frozenset[str] | None = None
    subject: tuple[str, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the filter selects every event."""
        return self.types is None and self.subject is None

    @property
    def has_lineage_types(self) -> bool:
        """Whether it names lineage events, which the feed omits unless they are named."""
        return self.types is not None and not self.types.isdisjoint(EVENT_TYPES)

    def is_match(self, entry: JournalEntry) -> bool:
        """Whether the filter selects an event."""
        is_type_match = self.types is None or entry.type in self.types
        return is_type_match and (self.subject is None or self.subject == (entry.kind, entry.id))


class EncodedEvents(NamedTuple):
    """Encoded events after a position, and the position after them."""

    events: tuple[tuple[JournalEntry, bytes], ...]
    all_messages: bytes
    next: Position

    def select(self, event_filter: EventFilter) -> tuple[bytes, int]:
        """Return the messages of the events that the filter selects, and their number."""
        if event_filter.is_empty:
            return self.all_messages, len(self.events)
        messages = [message for entry, message in self.events if event_filter.is_match(entry)]
        return b"".join(messages), len(messages)


class EventStreams:
    """All open event streams.

    `open_count` counts open streams, `sent_count` their messages, and `disconnect_count` the
    streams disconnected because they accepted nothing.
    """

    def __init__(
        self,
        reads: ReadStore,
        journal_watch: JournalWatch,
        envelope: EventEnvelope,
        *,
        limits: HttpLimits | None = None,
        retention: timedelta | None = None,
    ) -> None:
        self.open_count = self.sent_count = self.disconnect_count = 0
        self._reads = reads
        self._journal_watch = journal_watch
        self.envelope = envelope
        self.retention = retention
        self._limits = limits or HttpLimits()
        self._cache: dict[Position, EncodedEvents] = {}
        self._cache_bytes = 0
        self._reads_in_flight: dict[Position, asyncio.Task[EncodedEvents]] = {}
        self._is_ending = False

    def check_capacity(self) -> None:
        """Raise unless one more stream may open.

        Raises:
            Overloaded: the limit of open streams is reached, or the service is stopping.
        """
        if self.open_count >= self._limits.streams or self._is_ending:
            raise Overloaded(
                f"{self._limits.streams} event streams are open already.",
                retry_after_s=RETRY_LATER_S,
            )

    def end(self) -> None:
        """End every stream after its current message, so that the server can stop."""
        self._is_ending = True
        self._journal_watch.notify()

    async def follow(
        self, after: Position, event_filter: EventFilter, write: Callable[[bytes], Any]
    ) -> None:
        """Write the events after a position, and heartbeats between them, until `end`.

        Raises:
            TimeoutError: the connection accepts nothing.
            SpawnError: the feed cannot be read after the position.
        """
        await self._write(write, b"retry: %d\nid: %b\n\n" % (RETRY_MS, str(after).encode()))
        last_write = monotonic()
        while not self._is_ending:
            batch = await self._get_batch(after, event_filter)
            messages, number = batch.select(event_filter)
            silence_s = monotonic() - last_write
            if number == 0 and silence_s >= self._limits.heartbeat_s:
                # The position advances without events, so a reconnect starts here.
                messages = b": all is well\nid: %b\n\n" % str(batch.next).encode()
            if messages:
                await self._write(write, messages)
                self.sent_count += number
                last_write, silence_s = monotonic(), 0.0
            if batch.next == after:
                wait_s = max(0.0, self._limits.heartbeat_s - silence_s)
                await self._journal_watch.wait(after, wait_s)
            after = batch.next

    async def _write(self, write: Callable[[bytes], Any], messages: bytes) -> None:
        async with asyncio.timeout(self._limits.stream_stall_s):
            await write(messages)

    async def _get_batch(self, after: Position, event_filter: EventFilter) -> EncodedEvents:
        """Return the events after a position, read and encoded once for all streams there."""
        is_far_behind = (
            not event_filter.is_empty and await self._reads.count_rows_after(after) > PAGE_EVENTS
        )
        if is_far_behind or event_filter.has_lineage_types:
            # Far behind, the store's filter costs less than encoding every page.
            page = await self._reads.feed(
                after=after,
                limit=PAGE_EVENTS,
                types=event_filter.types,
                subject=event_filter.subject,
            )
            return self._encode(page.entries, page.next)
        cached = self._cache.get(after)
        if cached is not None:
            return cached
        task = self._reads_in_flight.get(after)
        if task is None:
            task = self._reads_in_flight[after] = asyncio.create_task(self._read(after))
            task.add_done_callback(lambda _: self._reads_in_flight.pop(after, None))
        return await asyncio.shield(task)

    async def _read(self, after: Position) -> EncodedEvents:
        page = await self._reads.feed(after=after, limit=PAGE_EVENTS)
        batch = self._encode(page.entries, page.next)
        if batch.next != after:
            self._cache_batch(after, batch)
        return batch

    def _encode(self, entries: tuple[JournalEntry, ...], end: Position) -> EncodedEvents:
        events = tuple((entry, self._encode_message(entry)) for entry in entries)
        return EncodedEvents(events, b"".join(message for _, message in events), end)

    def _encode_message(self, entry: JournalEntry) -> bytes:
        """Encode one event; its JSON has no line breaks."""
        return b"id: %b\ndata: %b\n\n" % (
            str(entry.position).encode(),
            self.envelope.encode_structured(entry),
        )

    def _cache_batch(self, after: Position, batch: EncodedEvents) -> None:
        """Cache a batch, and evict the oldest ones beyond `CACHE_BYTES`."""
        self._cache[after] = batch
        self._cache_bytes += len(batch.all_messages)
        while self._cache_bytes > CACHE_BYTES and len(self._cache) > 1:
            oldest = next(iter(self._cache))
            self._cache_bytes -= len(self._cache.pop(oldest).all_messages)
