"""Uploads that are streamed from files, and lines and events of streamed responses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from spawn.client.records import FollowedEvent, ImportRecord, JobRecord, decode_json

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a file that are sent at once."""

MAX_EVENT_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one event of a stream, at most."""

ReportUpload = Callable[[int], None]
"""Function that gets the number of bytes sent so far."""

ReportJob = Callable[[JobRecord], None]
"""Function that gets each state of a job that was polled."""


class UploadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an import: mapping, media type, and functions that follow its progress."""

    mapping: str
    media_type: str = "text/csv"
    report_upload: ReportUpload | None = None
    report_job: ReportJob | None = None
    poll_interval_s: float = 0.5


class FinishedImport(msgspec.Struct, frozen=True):
    """A job that has ended, and the counts of its import."""

    job: JobRecord
    result: ImportRecord


def read_chunks(source: Path | bytes, report: ReportUpload | None) -> Iterator[bytes]:
    """Yield a file or bytes in chunks, and report how much was sent."""
    sent_bytes = 0
    if isinstance(source, bytes):
        for start in range(0, len(source), CHUNK_BYTES):
            yield (chunk := source[start : start + CHUNK_BYTES])
            sent_bytes += len(chunk)
            _report(report, sent_bytes)
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            sent_bytes += len(chunk)
            _report(report, sent_bytes)


async def read_chunks_async(
    source: Path | bytes, report: ReportUpload | None
) -> AsyncIterator[bytes]:
    """Yield as `read_chunks`, and read the file on another thread."""
    chunks = read_chunks(source, report)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


def _report(report: ReportUpload | None, sent_bytes: int) -> None:
    if report is not None:
        report(sent_bytes)


class EventParser:
    """Parser of server-sent events, line by line."""

    def __init__(self) -> None:
        self._data: list[str] = []
        self._size = 0
        self._position = ""

    def read_line(self, line: str) -> FollowedEvent | None:
        """Return the event that an empty line completes; None for every other line.

        Raises:
            ValueError: an event exceeds its maximum size.
        """
        if not line:
            data, self._data, self._size = self._data, [], 0
            return (
                FollowedEvent(self._position, decode_json("\n".join(data).encode()))
                if data
                else None
            )
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._position = value
        elif name == "data":
            self._size += len(value)
            if self._size > MAX_EVENT_BYTES:
                raise ValueError("an event of the stream is too large")
            self._data.append(value)
        return None


def read_row(line: str) -> dict[str, Any]:
    """Return one line of NDJSON."""
    return decode_json(line.encode())
