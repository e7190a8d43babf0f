"""The access log: one JSON line per request, buffered and written off the event loop."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from spawn.adapters.local.buffered_writer import BufferedWriter

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


class AccessLog(BufferedWriter[AccessLogEntry]):
    """The lines of all requests, buffered and written off the event loop."""

    def __init__(self, descriptor: int | None, *, capacity: int = 20_000) -> None:
        super().__init__(descriptor, _encode_line, capacity=capacity)


def _encode_line(entry: AccessLogEntry) -> bytes:
    return _encoder.encode(_build_line(entry)) + b"\n"


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
