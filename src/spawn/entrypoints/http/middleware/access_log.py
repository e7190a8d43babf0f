"""The access log: one JSON line per request, buffered and written off the event loop."""

import asyncio
import os
from datetime import UTC, datetime
from typing import Final

import msgspec

_encoder: Final = msgspec.json.Encoder()


class AccessLogLine(msgspec.Struct, frozen=True, gc=False):
    """The JSON line of one request."""

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


AccessLogEntry = tuple[float, str, str, str, int, float, str, str, str]
"""Epoch seconds, then the fields of `AccessLogLine` from `method` on, the duration in seconds."""


class AccessLog:
    """A bounded buffer of lines that is written at most every `interval_s`.

    When the reader of the log stalls, lines are dropped and counted, so that requests never wait.
    """

    def __init__(
        self, descriptor: int | None, *, interval_s: float = 0.25, capacity: int = 20_000
    ) -> None:
        self._descriptor = descriptor
        self._interval_s = interval_s
        self._capacity = capacity
        self._entries: list[AccessLogEntry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._write_task: asyncio.Future[None] | None = None
        self.dropped = 0

    def append(self, entry: AccessLogEntry) -> None:
        """Append one line; it is written at the next flush."""
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
        if self._write_task is not None and not self._write_task.done():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._interval_s, self._flush)
            return
        entries, self._entries = self._entries, []
        if entries and self._descriptor is not None:
            loop = asyncio.get_running_loop()
            self._write_task = loop.run_in_executor(None, _write, self._descriptor, entries)

    async def close(self) -> None:
        """Write the remaining lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._write_task is not None:
            await self._write_task
        self._flush()
        if self._write_task is not None:
            await self._write_task


def _write(descriptor: int, entries: list[AccessLogEntry]) -> None:
    """Encode and write the lines; if the log is closed they are lost without an error."""
    lines = b"".join(_encoder.encode(_build_line(entry)) + b"\n" for entry in entries)
    view = memoryview(lines)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return


def _build_line(entry: AccessLogEntry) -> AccessLogLine:
    epoch_s, method, path, route, status, duration_s, client, request_id, trace_id = entry
    return AccessLogLine(
        datetime.fromtimestamp(epoch_s, UTC),
        method,
        path,
        route,
        status,
        round(duration_s * 1000, 3),
        client,
        request_id,
        trace_id,
    )
