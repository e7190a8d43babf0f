"""The live feed as server-sent events: each event encoded once, whoever follows.

A follower is a position and nothing more: what it has not taken is read again from the feed, so no
queue grows for it. While the connection takes nothing the follower waits, and after a while it is
cut off; it comes back with `Last-Event-ID` and misses nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Any, Final, NamedTuple

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from spawn.application.events.journal_watch import Pulse
from spawn.domain.change import Entry
from spawn.domain.errors import Overloaded, SpawnError
from spawn.domain.events.cloudevents import Envelope
from spawn.domain.lineage.run import EVENT_TYPES
from spawn.entrypoints.http.middleware.limits import Limits
from spawn.entrypoints.http.protocol.response import Header
from spawn.entrypoints.request_context import context_of
from spawn.ports.storage import ReadStore

MEDIA_TYPE: Final = "text/event-stream"
PAGE_EVENTS: Final = 200
RETRY_MS: Final = 2_000
RETRY_LATER_S: Final = 5.0
KEPT_BYTES: Final = 8 * 1024 * 1024
_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Choice(msgspec.Struct, frozen=True):
    """Which events a follower wants; None: all of them."""

    types: frozenset[str] | None = None
    subject: tuple[str, str] | None = None

    @property
    def takes_all(self) -> bool:
        """Whether nothing is left out."""
        return self.types is None and self.subject is None

    @property
    def asks_for_more(self) -> bool:
        """Whether it names events that the feed leaves out unless they are named."""
        return self.types is not None and not self.types.isdisjoint(EVENT_TYPES)

    def takes(self, entry: Entry) -> bool:
        """Whether an event is among them."""
        wanted = self.types is None or entry.type in self.types
        return wanted and (self.subject is None or self.subject == (entry.kind, entry.id))


class Batch(NamedTuple):
    """Events that follow a position, as they are sent, and where they end."""

    events: tuple[tuple[Entry, bytes], ...]
    whole: bytes
    next: str

    def chosen(self, choice: Choice) -> tuple[bytes, int]:
        """The messages of those that a follower wants, and their number."""
        if choice.takes_all:
            return self.whole, len(self.events)
        wanted = [message for entry, message in self.events if choice.takes(entry)]
        return b"".join(wanted), len(wanted)


class Streams:
    """Everyone who follows the feed live. `sent` counts messages, `cut_off` slow followers."""

    def __init__(
        self,
        reads: ReadStore,
        pulse: Pulse,
        envelope: Envelope,
        *,
        limits: Limits | None = None,
        retention: timedelta | None = None,
    ) -> None:
        self.open = self.sent = self.cut_off = 0
        self._reads = reads
        self._pulse = pulse
        self.envelope = envelope
        self.retention = retention
        self._limits = limits or Limits()
        self._kept: dict[str, Batch] = {}
        self._kept_bytes = 0
        self._flights: dict[str, asyncio.Task[Batch]] = {}
        self._ending = False

    def check_room(self) -> None:
        """Let one more in if there is room.

        Raises:
            Overloaded: as many as may follow do so already, or the service is ending.
        """
        if self.open >= self._limits.streams or self._ending:
            raise Overloaded(
                f"{self._limits.streams} clients follow the stream already.",
                retry_after_s=RETRY_LATER_S,
            )

    def end(self) -> None:
        """End every stream after the message under way; they come back to whoever serves next."""
        self._ending = True
        self._pulse.beat()

    async def follow(self, after: str, choice: Choice, write: Callable[[bytes], Any]) -> None:
        """Write what follows a position, and a heartbeat when there is nothing, until the end.

        Raises:
            TimeoutError: the follower takes nothing.
            SpawnError: the feed cannot be read on from here.
        """
        await self._write(write, b"retry: %d\nid: %b\n\n" % (RETRY_MS, after.encode()))
        spoke = monotonic()
        while not self._ending:
            batch = await self._batch(after, choice)
            messages, number = batch.chosen(choice)
            silence_s = monotonic() - spoke
            if number == 0 and silence_s >= self._limits.heartbeat_s:
                # The position moves on although nothing is told: a return begins here.
                messages = b": all is well\nid: %b\n\n" % batch.next.encode()
            if messages:
                await self._write(write, messages)
                self.sent += number
                spoke, silence_s = monotonic(), 0.0
            if batch.next == after:
                await self._pulse.wait(after, max(0.0, self._limits.heartbeat_s - silence_s))
            after = batch.next

    async def _write(self, write: Callable[[bytes], Any], messages: bytes) -> None:
        async with asyncio.timeout(self._limits.stream_stall_s):
            await write(messages)

    async def _batch(self, after: str, choice: Choice) -> Batch:
        """What follows a position, read and encoded once for all who stand there."""
        far = not choice.takes_all and await self._reads.rows_after(after) > PAGE_EVENTS
        if far or choice.asks_for_more:
            # Far behind, the store finds the few that are wanted better than everyone's pages do.
            page = await self._reads.feed(
                after=after, limit=PAGE_EVENTS, types=choice.types, subject=choice.subject
            )
            return self._encoded(page.entries, page.next)
        known = self._kept.get(after)
        if known is not None:
            return known
        flight = self._flights.get(after)
        if flight is None:
            flight = self._flights[after] = asyncio.create_task(self._read(after))
            flight.add_done_callback(lambda _: self._flights.pop(after, None))
        return await asyncio.shield(flight)

    async def _read(self, after: str) -> Batch:
        page = await self._reads.feed(after=after, limit=PAGE_EVENTS)
        batch = self._encoded(page.entries, page.next)
        if batch.next != after:
            self._keep(after, batch)
        return batch

    def _encoded(self, entries: tuple[Entry, ...], end: str) -> Batch:
        events = tuple((entry, self._message(entry)) for entry in entries)
        return Batch(events, b"".join(message for _, message in events), end)

    def _message(self, entry: Entry) -> bytes:
        """One event; its JSON has no line breaks."""
        return b"id: %b\ndata: %b\n\n" % (
            entry.position.encode(),
            self.envelope.structured(entry),
        )

    def _keep(self, after: str, batch: Batch) -> None:
        """Keep the newest batches, as far as their bytes allow."""
        self._kept[after] = batch
        self._kept_bytes += len(batch.whole)
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            oldest = next(iter(self._kept))
            self._kept_bytes -= len(self._kept.pop(oldest).whole)


class EventStream(ASGIResponse):
    """An answer that ends when the client goes, is cut off, or the service ends."""

    __slots__ = ("_after", "_choice", "_streams")

    def __init__(self, streams: Streams, after: str, choice: Choice) -> None:  # not ASGIResponse's
        self._streams = streams
        self._after = after
        self._choice = choice

    def to_asgi_response(self, *_args: object, **_kwargs: object) -> "EventStream":
        """Itself: what Litestar asks of an answer."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then events."""
        context = context_of(scope)
        start: Any = {"type": "http.response.start", "status": 200, "headers": [*_HEADERS]}
        if context.bodiless:
            await send(start)
        else:
            context.streams = True
            await send(start)
            self._streams.open += 1
            try:
                await self._serve(scope, receive, send)
            finally:
                self._streams.open -= 1
        finish: Any = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(finish)

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        """Send events until one side ends it."""

        async def write(messages: bytes) -> None:
            body: Any = {"type": "http.response.body", "body": messages, "more_body": True}
            await send(body)

        following = asyncio.create_task(self._streams.follow(self._after, self._choice, write))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            following.cancel()
            outcome = (await asyncio.gather(following, leaving, return_exceptions=True))[0]
        if isinstance(outcome, TimeoutError):
            self._streams.cut_off += 1
            # What the connection holds for a client that takes nothing would stay for ever.
            scope.get("spawn.abort", _nothing)()
        elif isinstance(outcome, Exception) and not isinstance(outcome, SpawnError):
            raise outcome


async def _left(receive: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _nothing() -> None:
    """What stands in where the server cannot cut a connection off."""
