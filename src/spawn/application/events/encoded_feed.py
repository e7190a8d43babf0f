"""Pages of the event feed, read and encoded once for all clients that follow it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.domain.errors import InvalidInput
from spawn.domain.events.cloudevents import parse_event_type, parse_subject
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.lineage.run import EVENT_TYPES
from spawn.ports.storage import ReadStore

PAGE_EVENTS: Final = 200
CACHE_BYTES: Final = 8 * 1024 * 1024
MAX_CACHED_PAGES: Final = 10_000
MAX_TYPES: Final = 20


Convert = Callable[[tuple[JournalEntry, ...]], Awaitable[tuple[JournalEntry, ...]]]
"""Function of journal entries that returns them in another form."""


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


def read_event_filter(parameters: Mapping[str, str]) -> EventFilter:
    """Read a filter from the texts of `type` and `subject`, if there are any.

    Raises:
        InvalidInput: a type is unknown, or the subject is malformed.
    """
    return EventFilter(
        types=_read_types(parameters["type"]) if "type" in parameters else None,
        subject=_read_subject(parameters["subject"]) if "subject" in parameters else None,
    )


def _read_types(text: str) -> frozenset[str]:
    """Read comma-separated CloudEvents types as journal types."""
    names = text.split(",")
    types = [name for name in map(parse_event_type, names) if name is not None]
    if len(types) != len(names) or len(names) > MAX_TYPES:
        raise InvalidInput.at(
            "/type", "invalid_type", "A type is unknown; types look like spawn.project.created.v1."
        )
    return frozenset(types)


def _read_subject(text: str) -> tuple[str, str]:
    subject = parse_subject(text)
    if subject is None:
        raise InvalidInput.at("/subject", "invalid_subject", "A subject looks like projects/{id}.")
    return subject


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


class EncodedFeed:
    """The event feed in one encoding; the newest pages are cached within `CACHE_BYTES`."""

    def __init__(
        self,
        reads: ReadStore,
        encode: Callable[[JournalEntry], bytes],
        *,
        convert: Convert | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Encode entries as they are, or as `convert` returns them."""
        self._reads = reads
        self._encode_entry = encode
        self._convert = convert
        self._cache: BoundedCache[EncodedEvents] = BoundedCache(
            MAX_CACHED_PAGES, cache_bytes, lambda page: len(page.all_messages)
        )
        self._reads_in_flight: dict[Position, asyncio.Task[EncodedEvents]] = {}

    async def read(self, after: Position, event_filter: EventFilter) -> EncodedEvents:
        """Return the events after a position, read and encoded once for all clients there."""
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
            return await self._encode(page.entries, page.next)
        encoded_page = self._cache.get(after)
        if encoded_page is not None:
            return encoded_page
        task = self._reads_in_flight.get(after)
        if task is None or task.done():
            task = self._reads_in_flight[after] = asyncio.create_task(self._read_page(after))
        return await asyncio.shield(task)

    async def _read_page(self, after: Position) -> EncodedEvents:
        try:
            page = await self._reads.feed(after=after, limit=PAGE_EVENTS)
            batch = await self._encode(page.entries, page.next)
        finally:
            # A callback of the task would be late: a stream that found its old, empty page read
            # it again and again after a commit, and kept the event loop to itself.
            self._reads_in_flight.pop(after, None)
        if batch.next != after:
            self._cache.put(after, batch)
        return batch

    async def _encode(self, entries: tuple[JournalEntry, ...], end: Position) -> EncodedEvents:
        if self._convert is not None and entries:
            entries = await self._convert(entries)
        events = tuple((entry, self._encode_entry(entry)) for entry in entries)
        return EncodedEvents(events, b"".join(message for _, message in events), end)
