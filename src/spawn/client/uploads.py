"""Uploads that are streamed from files, and lines and events of streamed responses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from spawn.client.calls import new_key, reading_response
from spawn.client.problems import UnreadableResponse
from spawn.client.records import FollowedEvent, ImportRecord, JobRecord, decode_json

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a file that are sent at once."""

DEFAULT_POLL_S: Final = 0.5
"""Seconds between two reads of a job for which the service advises none."""

MAX_EVENT_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one event of a stream, at most."""

UploadSource = Path | str | bytes
"""Path of a file, or its content."""

ReportUpload = Callable[[int], None]
"""Function that gets the number of bytes sent so far."""

ReportJob = Callable[[JobRecord], None]
"""Function that gets each state of a job that was polled."""


ImportKind = Literal["project", "facility", "entry"]
"""Kind of the rows of a file."""


class UploadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an import: kind, mapping, media type, and functions that follow its progress.

    Lines of projects need no mapping, nor do exports of the service (`from_export`). Without
    `poll_interval_s` the job is read when the service advises, with its Retry-After.
    """

    kind: ImportKind = "project"
    mapping: str | None = None
    media_type: str = "text/csv"
    from_export: bool = False
    report_upload: ReportUpload | None = None
    report_job: ReportJob | None = None
    poll_interval_s: float | None = None

    def to_params(self, *, dry_run: bool) -> dict[str, str]:
        """Return the query parameters of the upload."""
        params = {} if self.mapping is None else {"mapping": self.mapping}
        if self.kind != "project":
            params["kind"] = self.kind
        switches = {"from_export": self.from_export, "dry_run": dry_run}
        return params | {name: "true" for name, is_on in switches.items() if is_on}

    def wait_s(self, job: JobRecord) -> float:
        """Return the seconds before the job is read again."""
        if self.poll_interval_s is not None:
            return self.poll_interval_s
        return DEFAULT_POLL_S if job.retry_after_s is None else job.retry_after_s


class FinishedImport(msgspec.Struct, frozen=True):
    """A job that has ended, and the counts of its import."""

    job: JobRecord
    result: ImportRecord


def read_chunks(source: UploadSource, report: ReportUpload | None) -> Iterator[bytes]:
    """Yield a file or bytes in chunks, and report how much was sent."""
    sent_bytes = 0
    if isinstance(source, bytes):
        for start in range(0, len(source), CHUNK_BYTES):
            yield (chunk := source[start : start + CHUNK_BYTES])
            sent_bytes += len(chunk)
            _report(report, sent_bytes)
        return
    with Path(source).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            sent_bytes += len(chunk)
            _report(report, sent_bytes)


async def read_chunks_async(
    source: UploadSource, report: ReportUpload | None
) -> AsyncIterator[bytes]:
    """Yield as `read_chunks`, and read the file on another thread."""
    chunks = read_chunks(source, report)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


def _report(report: ReportUpload | None, sent_bytes: int) -> None:
    if report is not None:
        report(sent_bytes)


class EventParser:
    """Parser of server-sent events, line by line.

    `position` is that of the last complete message. Messages without an event have one too, as at
    the start of a stream, so that a reconnect misses nothing that came before the first event.
    """

    def __init__(self, position: str | None = None) -> None:
        self.position = position
        self._data: list[str] = []
        self._size = 0
        self._id = position

    def read_line(self, line: str) -> FollowedEvent | None:
        """Return the event that an empty line completes; None for every other line.

        Raises:
            UnreadableResponse: an event exceeds its maximum size.
        """
        if not line:
            data, self._data, self._size = self._data, [], 0
            self.position = self._id
            if not data:
                return None
            return FollowedEvent(self._id or "", decode_json("\n".join(data).encode()))
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._id = value
        elif name == "data":
            self._size += len(value)
            if self._size > MAX_EVENT_BYTES:
                raise UnreadableResponse("An event of the stream is too large.")
            self._data.append(value)
        return None


def read_row(line: str) -> dict[str, Any]:
    """Return one line of NDJSON."""
    with reading_response():
        return decode_json(line.encode())


def part_path(path: Path) -> Path:
    """Return the path of a file while it is written; a broken download leaves no half file."""
    return path.with_name(f".{path.name}.{new_key()[:8]}.part")
