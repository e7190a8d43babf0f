"""The access log: one line per request, buffered and written off the event loop."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from spawn.adapters.local.buffered_writer import BufferedWriter
from spawn.domain.dates import format_log_time
from spawn.domain.text import escape_unprintable, redact_keys

_encoder: Final = msgspec.json.Encoder()


class AccessLogLine(msgspec.Struct, frozen=True, gc=False):
    """The JSON line of one request."""

    time: str
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
    """The lines of all requests, as JSON or as text, buffered and written off the event loop."""

    def __init__(
        self, descriptor: int | None, *, capacity: int = 20_000, is_text: bool = False
    ) -> None:
        encode = _encode_text if is_text else _encode_line
        super().__init__(descriptor, encode, capacity=capacity)


def _encode_line(entry: AccessLogEntry) -> bytes:
    return _encoder.encode(_build_line(entry)) + b"\n"


def _encode_text(entry: AccessLogEntry) -> bytes:
    line = _build_line(entry)
    text = (
        f"{line.time} {line.status} {line.method} {line.path} {line.duration_ms:g} ms"
        f" {line.client} {line.request_id}"
    )
    return escape_unprintable(text).encode(errors="backslashreplace") + b"\n"


def _build_line(entry: AccessLogEntry) -> AccessLogLine:
    epoch_s, method, path, route, status, duration_s, client, request_id, trace_id = entry
    return AccessLogLine(
        format_log_time(datetime.fromtimestamp(epoch_s, UTC)),
        method,
        redact_keys(path),
        route,
        status,
        round(duration_s * 1000, 3),
        client,
        request_id,
        trace_id,
    )
