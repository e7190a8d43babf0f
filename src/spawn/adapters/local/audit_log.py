"""The audit log: in files beside the store, or in memory for a store without files.

Acts and denials have files of their own, so that a flood of denials drops no act. A file is only
appended to; at its size it is renamed, and the oldest one is deleted.
"""

import asyncio
import base64
import contextlib
import heapq
import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.adapters.local.buffered_writer import BufferedWriter
from spawn.domain.errors import StorageDamaged
from spawn.ports.audit import AuditEntry, AuditKind, AuditQuery

FILE_BYTES: Final = 16 * 1024 * 1024
ACT_FILES: Final = 8
DENIAL_FILES: Final = 4
"""Files of each series, the current one included: 192 MiB in all at most."""

MAX_ENTRIES_IN_MEMORY: Final = 10_000
_CAPACITY: Final = 20_000
_NO_DESCRIPTOR: Final = -1
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(AuditEntry).decode


def _next_number(last: int, entry: AuditEntry) -> int:
    """Return a number above the last one: the time in µs, as long as the clock goes on."""
    return max(last + 1, int(entry.time.timestamp() * 1_000_000))


def _select(entries: Iterable[AuditEntry], query: AuditQuery) -> list[AuditEntry]:
    return list(islice(filter(query.selects, entries), query.limit))


class MemoryAuditLog:
    """An audit log that is lost when the process ends."""

    failed_count = 0

    def __init__(self) -> None:
        self._series: dict[bool, deque[AuditEntry]] = {
            is_denial: deque(maxlen=MAX_ENTRIES_IN_MEMORY) for is_denial in (False, True)
        }
        self._last = 0

    def append(self, entry: AuditEntry) -> None:
        """Append an entry; see `AuditLog.append`."""
        self._last = _next_number(self._last, entry)
        series = self._series[entry.kind is AuditKind.DENIAL]
        series.append(msgspec.structs.replace(entry, number=self._last))

    async def read(self, query: AuditQuery) -> list[AuditEntry]:
        """Return a page; see `AuditLog.read`."""
        series = [reversed(entries) for entries in self._series.values()]
        return _select(_merge(series), query)

    async def close(self) -> None:
        """Do nothing."""


class FileAuditLog:
    """An audit log in a folder that only the user of the service can read.

    With a key each line is encrypted; one that is not, or with another key, is no entry.
    """

    def __init__(
        self,
        folder: Path,
        *,
        file_bytes: int = FILE_BYTES,
        encryption_key: EncryptionKey | None = None,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = _Lines(encryption_key)
        acts, denials = folder / "acts.jsonl", folder / "denials.jsonl"
        self._acts = _Series(acts, file_bytes, ACT_FILES, lines, is_synced=True)
        self._denials = _Series(denials, file_bytes, DENIAL_FILES, lines)
        newest = (next(series.read_newest_first(), None) for series in self._all)
        self._last = max((entry.number for entry in newest if entry is not None), default=0)

    @property
    def _all(self) -> "tuple[_Series, ...]":
        return (self._acts, self._denials)

    @property
    def failed_count(self) -> int:
        """The number of entries that could not be written; see `AuditLog.failed_count`."""
        return sum(series.dropped for series in self._all)

    def append(self, entry: AuditEntry) -> None:
        """Append an entry; see `AuditLog.append`."""
        self._last = _next_number(self._last, entry)
        series = self._denials if entry.kind is AuditKind.DENIAL else self._acts
        series.append(msgspec.structs.replace(entry, number=self._last))

    async def read(self, query: AuditQuery) -> list[AuditEntry]:
        """Return a page; see `AuditLog.read`."""
        await self.close()

        def select() -> list[AuditEntry]:
            return _select(_merge([s.read_newest_first() for s in self._all]), query)

        return await asyncio.to_thread(select)

    async def close(self) -> None:
        """Write what is left; the log stays usable."""
        for series in self._all:
            await series.close()


def _merge(series: Iterable[Iterator[AuditEntry]]) -> Iterator[AuditEntry]:
    return heapq.merge(*series, key=lambda entry: -entry.number)


class _Series(BufferedWriter[AuditEntry]):
    """A file of entries and its predecessors, `acts.jsonl.1` being the newest of them."""

    def __init__(
        self,
        path: Path,
        file_bytes: int,
        file_count: int,
        lines: "_Lines",
        *,
        is_synced: bool = False,
    ) -> None:
        super().__init__(_NO_DESCRIPTOR, lines.encode, capacity=_CAPACITY)
        self._lines = lines
        self._path = path
        self._file_bytes = file_bytes
        self._paths = [path, *(Path(f"{path}.{number}") for number in range(1, file_count))]
        self._is_synced = is_synced
        # A line that a crash or a full disk cut off must not take the next one with it.
        self._is_torn = path.exists() and not path.read_bytes().endswith(b"\n")

    def read_newest_first(self) -> Iterator[AuditEntry]:
        """Yield the entries of all files; a line that a crash cut off is left out."""
        for path in self._paths:
            try:
                lines = path.read_bytes().splitlines()
            except OSError:
                continue
            for line in reversed(lines):
                with contextlib.suppress(msgspec.DecodeError, ValueError, StorageDamaged):
                    yield self._lines.decode(line)

    def _write(self, descriptor: int, entries: list[AuditEntry]) -> None:
        """Append the lines to the file; entries that a full disk rejects are counted."""
        del descriptor
        try:
            for entry in entries:
                self._append_lines(self._lines.encode(entry))
        except OSError:
            self.dropped += len(entries)
            self._is_torn = True

    def _append_lines(self, lines: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size + len(lines) > self._file_bytes:
            for older, newer in zip(self._paths[:0:-1], self._paths[-2::-1], strict=True):
                if newer.exists():
                    newer.replace(older)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self._path, flags, 0o600)
        try:
            rest = memoryview(b"\n" + lines if self._is_torn else lines)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if self._is_synced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._is_torn = False


class _Lines:
    """Entries as lines: JSON, or with a key JSON that is encrypted, in base64."""

    _PURPOSE: Final = b"audit log"

    def __init__(self, key: EncryptionKey | None) -> None:
        self._key = key

    def encode(self, entry: AuditEntry) -> bytes:
        """Return the line of an entry, with its end."""
        line = _encode(entry)
        if self._key is not None:
            line = base64.b64encode(self._key.seal(line, self._PURPOSE))
        return line + b"\n"

    def decode(self, line: bytes) -> AuditEntry:
        """Return the entry of a line.

        Raises:
            ValueError, StorageDamaged: it is cut off, or not encrypted with the key.
        """
        if self._key is not None:
            ciphertext = base64.b64decode(line, validate=True)
            line = self._key.unseal(ciphertext, self._PURPOSE, "The audit log")
        return _decode(line)
