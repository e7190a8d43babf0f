"""Response of the event feed as server-sent events."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from litestar.types import Receive, Scope, Send

from spawn.application.events.event_streams import EventStreams
from spawn.domain.errors import SpawnError
from spawn.entrypoints.http.protocol.response import (
    Header,
    SelfSentResponse,
    wait_for_disconnect,
)
from spawn.entrypoints.request_context import get_request_context

MEDIA_TYPE: Final = "text/event-stream"
RETRY_MS: Final = 2_000
_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class ServerSentEvents:
    """The messages of an event stream; the JSON of an event has no line breaks."""

    def encode_start(self, cursor: str) -> bytes:
        """Encode the pause before a reconnect, and the cursor of the stream."""
        return b"retry: %d\nid: %b\n\n" % (RETRY_MS, cursor.encode())

    def encode_heartbeat(self, cursor: str) -> bytes:
        """Encode a comment with the cursor."""
        return b": all is well\nid: %b\n\n" % cursor.encode()

    def encode_event(self, cursor: str, event: bytes) -> bytes:
        """Encode one event with its cursor as id."""
        return b"id: %b\ndata: %b\n\n" % (cursor.encode(), event)


Follow = Callable[[Callable[[bytes], Any]], Coroutine[Any, Any, None]]
"""Function that writes the events of a stream until it ends."""


class EventStreamResponse(SelfSentResponse):
    """A response that ends when the client disconnects, stalls, or the service stops."""

    __slots__ = ("_follow", "_streams")

    def __init__(self, streams: EventStreams, follow: Follow) -> None:  # replaces ASGIResponse's
        self._streams = streams
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then events until the stream ends."""
        context = get_request_context(scope)
        start: Any = {"type": "http.response.start", "status": 200, "headers": [*_HEADERS]}
        try:
            context.is_stream = not context.is_head
            await send(start)
            if context.is_stream:
                await self._send_events(scope, receive, send)
        finally:
            self._streams.places.release(context.client)
        finish: Any = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(finish)

    async def _send_events(self, scope: Any, receive: Receive, send: Send) -> None:
        """Send events until the client disconnects or the stream ends."""

        async def write(messages: bytes) -> None:
            body: Any = {"type": "http.response.body", "body": messages, "more_body": True}
            await send(body)

        follow_task = asyncio.create_task(self._follow(write))
        disconnect_task = asyncio.create_task(wait_for_disconnect(receive))
        # A client that sends no more has probably left: nothing is written that would show it.
        scope.get("spawn.when_left", _do_nothing)(disconnect_task.cancel)
        try:
            await asyncio.wait({follow_task, disconnect_task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnect_task.cancel()
            follow_task.cancel()
            tasks = (follow_task, disconnect_task)
            outcome = (await asyncio.gather(*tasks, return_exceptions=True))[0]
        if isinstance(outcome, TimeoutError):
            self._streams.disconnect_count += 1
            # The buffer of a connection that accepts nothing would stay for ever.
            scope.get("spawn.abort", _do_nothing)()
        elif isinstance(outcome, Exception) and not isinstance(outcome, SpawnError):
            raise outcome


def _do_nothing(*_: object) -> None:
    """Replace the functions of servers that have none."""
