"""The access log: one JSON line per request, gathered and written off the event loop."""

import asyncio
import os
from datetime import UTC, datetime
from typing import Final

import msgspec

_encoder: Final = msgspec.json.Encoder()


class Line(msgspec.Struct, frozen=True, gc=False):
    """One served request."""

    time: datetime
    method: str
    path: str
    route: str
    status: int
    duration_ms: float
    client: str
    request_id: str
    trace_id: str
    kind: str = "access"


Entry = tuple[float, str, str, str, int, float, str, str, str]
"""Epoch seconds, then the fields of `Line` from `method` on, durations in seconds."""


class AccessLog:
    """Lines wait in a bounded buffer and are written together, at most every `interval_s`.

    When the reader of the log stalls, lines are dropped and counted rather than requests held up.
    """

    def __init__(
        self, descriptor: int | None, *, interval_s: float = 0.25, capacity: int = 20_000
    ) -> None:
        self._descriptor = descriptor
        self._interval_s = interval_s
        self._capacity = capacity
        self._entries: list[Entry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self.dropped = 0

    def append(self, entry: Entry) -> None:
        """Take one line; it is written soon."""
        if self._descriptor is None:
            return
        if len(self._entries) >= self._capacity:
            self.dropped += 1
            return
        self._entries.append(entry)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._interval_s, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._writing is not None and not self._writing.done():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._interval_s, self._flush)
            return
        entries, self._entries = self._entries, []
        if entries and self._descriptor is not None:
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(None, _write, self._descriptor, entries)

    async def close(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        self._flush()
        if self._writing is not None:
            await self._writing


def _write(descriptor: int, entries: list[Entry]) -> None:
    """Encode and write; a log that is gone loses its lines, never the service."""
    lines = b"".join(_encoder.encode(_line(entry)) + b"\n" for entry in entries)
    view = memoryview(lines)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return


def _line(entry: Entry) -> Line:
    moment, method, path, route, status, duration_s, client, request_id, trace_id = entry
    return Line(
        datetime.fromtimestamp(moment, UTC),
        method,
        path,
        route,
        status,
        round(duration_s * 1000, 3),
        client,
        request_id,
        trace_id,
    )
