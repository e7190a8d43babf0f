"""The event feed as streams, whose events are encoded once for all clients.

A stream has a position and no queue: it reads from the feed what it has not sent yet. While its
connection accepts nothing the stream waits, and after a time limit it is disconnected. The client
reconnects with the last position and misses nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.application.events.encoded_feed import PAGE_EVENTS, EncodedFeed, EventFilter
from spawn.application.events.feed import FeedStart
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.events.versioned_events import ConvertEntries
from spawn.application.schemas.version_selection import VersionSelection
from spawn.application.traffic.shared_places import SharedPlaces
from spawn.domain.errors import Overloaded
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.ports.storage import ReadStore

RETRY_LATER_S: Final = 5.0
MAX_VERSION_FEEDS: Final = 4
"""Schema versions whose encoded events are cached, beside the events as they were stored."""

VERSION_FEED_BYTES: Final = 2 * 1024 * 1024


async def _permit() -> bool:
    return True


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of event streams.

    At most `streams` are open at once; each sends at least a comment every `heartbeat_s`, and is
    disconnected when its connection accepts nothing for `stream_stall_s`.
    """

    streams: int = 256
    heartbeat_s: float = 15.0
    stream_stall_s: float = 30.0


class StreamFormat(Protocol):
    """The messages of a transport."""

    def encode_start(self, cursor: str) -> bytes:
        """Encode the first message of a stream."""
        ...

    def encode_heartbeat(self, cursor: str) -> bytes:
        """Encode a message without an event, from whose cursor a client may reconnect."""
        ...

    def encode_event(self, cursor: str, event: bytes) -> bytes:
        """Encode the message of one event, a CloudEvent as JSON."""
        ...


class _Batch(NamedTuple):
    """Messages of events, their number, and the place and the cursor after them."""

    messages: bytes
    number: int
    next: Position
    cursor: str


class EventStreams:
    """All open event streams.

    `places` are those of open streams, `sent_count` counts their messages, and `disconnect_count`
    the streams disconnected because they accepted nothing.
    """

    def __init__(
        self,
        reads: ReadStore,
        journal_watch: JournalWatch,
        envelope: EventEnvelope,
        stream_format: StreamFormat,
        *,
        limits: StreamLimits | None = None,
        retention: timedelta | None = None,
        convert: ConvertEntries | None = None,
    ) -> None:
        """Open no stream yet; `convert` gives events in the fields of a schema version."""
        self.sent_count = self.disconnect_count = 0
        self._reads = reads
        self._convert = convert
        self._feed = EncodedFeed(reads, self._encode_entry)
        self._version_feeds: BoundedCache[EncodedFeed] = BoundedCache(MAX_VERSION_FEEDS)
        self._journal_watch = journal_watch
        self.envelope = envelope
        self._format = stream_format
        self.retention = retention
        self._limits = limits or StreamLimits()
        self.places = SharedPlaces(self._limits.streams)
        self._is_ending = False

    @property
    def open_count(self) -> int:
        """The number of open streams."""
        return self.places.in_use

    def open(self, client: str) -> None:
        """Take a place for one more stream of a client, who releases it.

        Raises:
            Overloaded: too many streams are open, in all or of the client, or the service stops.
        """
        if self._is_ending or not self.places.take(client):
            raise Overloaded(
                f"{self.places.held_by(client)} event streams of this client are open already, and"
                f" {self.places.in_use} in all.",
                retry_after_s=RETRY_LATER_S,
            )

    def end(self) -> None:
        """End every stream after its current message, so that the server can stop."""
        self._is_ending = True
        self._journal_watch.notify()

    async def follow(
        self,
        after: Position,
        event_filter: EventFilter,
        write: Callable[[bytes], Any],
        *,
        schema_versions: VersionSelection = (),
        is_permitted: Callable[[], Awaitable[bool]] = _permit,
    ) -> None:
        """Write the events after a position, and heartbeats between them, until `end`.

        With schema versions, states of their kinds have their fields, as long as they are served.

        It also ends once the credentials of its client are not valid any more: `is_permitted` is
        asked before each write, so at least once a heartbeat.

        Raises:
            TimeoutError: the connection accepts nothing.
            SpawnError: the feed cannot be read after the position.
        """
        feed = self._get_feed(schema_versions)

        async def read(place: Position) -> _Batch:
            page = await feed.read(place, event_filter)
            return _Batch(*page.select(event_filter), page.next, str(page.next))

        await self._follow(read, FeedStart(after, str(after)), after, write, is_permitted)

    async def follow_visible(
        self,
        start: FeedStart,
        event_filter: EventFilter,
        write: Callable[[bytes], Any],
        *,
        reads: ReadStore,
        schema_versions: VersionSelection = (),
        is_permitted: Callable[[], Awaitable[bool]] = _permit,
    ) -> None:
        """Write the events that a reader with a row scope may see; see `follow`.

        Args:
            start: the place to begin after.
            event_filter: the selection of events.
            write: sends messages.
            reads: the reads of the row scope.
            schema_versions: the versions whose fields states have; none for those stored.
            is_permitted: whether the credentials are valid and have the same row scope.
        """
        envelope = msgspec.structs.replace(self.envelope, names_versions=True)
        cursor = start.cursor

        async def read(place: Position) -> _Batch:
            nonlocal cursor
            page = await reads.feed(
                after=place if place.number else None,
                limit=PAGE_EVENTS,
                types=event_filter.types,
                subject=event_filter.subject,
            )
            messages = b""
            entries = page.entries
            if schema_versions and self._convert is not None:
                entries = await self._convert(entries, schema_versions)
            for entry in entries:
                cursor = envelope.format_cursor(entry)
                event = envelope.encode_structured(entry)
                messages += self._format.encode_event(cursor, event)
            return _Batch(messages, len(page.entries), page.next, cursor)

        beginning = Position((await reads.position()).epoch, 0)
        await self._follow(read, start, start.position or beginning, write, is_permitted)

    async def _follow(
        self,
        read: Callable[[Position], Awaitable[_Batch]],
        start: FeedStart,
        after: Position,
        write: Callable[[bytes], Any],
        is_permitted: Callable[[], Awaitable[bool]],
    ) -> None:
        await self._write(write, self._format.encode_start(start.cursor))
        last_write = monotonic()
        while not self._is_ending:
            batch = await read(after)
            if not await is_permitted():
                return
            messages = batch.messages
            silence_s = monotonic() - last_write
            if not messages and silence_s >= self._limits.heartbeat_s:
                # The position advances without events, so a reconnect starts here.
                messages = self._format.encode_heartbeat(batch.cursor)
            if messages:
                await self._write(write, messages)
                self.sent_count += batch.number
                last_write, silence_s = monotonic(), 0.0
            if batch.next == after:
                wait_s = max(0.0, self._limits.heartbeat_s - silence_s)
                await self._journal_watch.wait(after, wait_s)
            after = batch.next

    def _get_feed(self, schema_versions: VersionSelection) -> EncodedFeed:
        """Return the feed that all streams of the same schema versions share."""
        convert = self._convert
        if not schema_versions or convert is None:
            return self._feed
        feed = self._version_feeds.get(schema_versions)
        if feed is None:
            feed = EncodedFeed(
                self._reads,
                self._encode_entry,
                convert=lambda entries: convert(entries, schema_versions),
                cache_bytes=VERSION_FEED_BYTES,
            )
            self._version_feeds.put(schema_versions, feed)
        return feed

    async def _write(self, write: Callable[[bytes], Any], messages: bytes) -> None:
        async with asyncio.timeout(self._limits.stream_stall_s):
            await write(messages)

    def _encode_entry(self, entry: JournalEntry) -> bytes:
        cursor = self.envelope.format_cursor(entry)
        return self._format.encode_event(cursor, self.envelope.encode_structured(entry))
