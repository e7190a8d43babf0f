"""Time, identity and scratch space as they really are."""

import asyncio
import errno
import os
import re
import secrets
import shutil
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

from spawn.domain.errors import NotFound, StorageFull

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_PARTIAL = ".part"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_WORDS = struct.Struct("<256Q")
_STEP = (1 << 40) - 1
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant, UTC."""
        return datetime.now(UTC)


class Uuid7Ids:
    """UUIDv7 (RFC 9562) that strictly increase within the process.

    The millisecond is followed by a counter of 74 bits that begins at random in its lower half
    and grows by random steps: ids of one millisecond stay ordered and cannot be guessed. A clock
    that stands still or goes back keeps the last millisecond.
    """

    _TOP = 1 << 74

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond = 0
        self._counter = 0
        self._words = _random_words()

    def new(self) -> str:
        """A new id in canonical lower-case form."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._millisecond:
                self._millisecond = now
                self._counter = self._start()
            else:
                self._counter += 1 + (next(self._words) & _STEP)
                if self._counter >= self._TOP:
                    self._millisecond += 1
                    self._counter = self._start()
            millisecond, counter = self._millisecond, self._counter
        high, low = counter >> 62, counter & ((1 << 62) - 1)
        text = f"{millisecond << 16 | 0x7000 | high:016x}{1 << 63 | low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _start(self) -> int:
        return next(self._words) << 9 | next(self._words) >> 55


def _random_words() -> Iterator[int]:
    """Numbers of 64 random bits without end.

    The system is asked for many at a time: to ask is to let go of the interpreter, and on the event
    loop, beside a busy thread, to wait for it.
    """
    while True:
        yield from _WORDS.unpack(secrets.token_bytes(_WORDS.size))


class DirectorySpool:
    """Uploads as files of one private directory, complete or absent.

    A file under way has another name; it is synced and renamed once whole, and removed if the
    upload breaks off. What a crash leaves half done is removed at the next start.
    """

    def __init__(self, path: Path, reserve_bytes: int = 64 * 1024 * 1024) -> None:
        self._path = path
        self._reserve_bytes = reserve_bytes
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in path.glob(f"*{_PARTIAL}"):
            left.unlink()

    def _file(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None or name.endswith(_PARTIAL):
            raise NotFound(f"There is no upload {name!r}.")
        return self._path / name

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> int:
        """Write and sync all chunks under `name`; the number of bytes.

        Raises:
            StorageFull: the disk or its reserve is exhausted; nothing is left behind.
        """
        final = self._file(name)
        partial = final.with_name(final.name + _PARTIAL)
        try:
            size = await self._write(partial, chunks)
            await asyncio.to_thread(self._publish, partial, final)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise StorageFull("The disk has no space for the upload.") from error
            raise
        finally:
            partial.unlink(missing_ok=True)
        return size

    async def _write(self, partial: Path, chunks: AsyncIterator[bytes]) -> int:
        size = 0
        descriptor = await asyncio.to_thread(os.open, partial, _CREATE, 0o600)
        try:
            async for chunk in chunks:
                await asyncio.to_thread(self._append, descriptor, chunk)
                size += len(chunk)
            await asyncio.to_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        return size

    def _append(self, descriptor: int, chunk: bytes) -> None:
        if shutil.disk_usage(self._path).free - len(chunk) < self._reserve_bytes:
            raise StorageFull("The upload would use up the disk's reserve.")
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]

    def _publish(self, partial: Path, final: Path) -> None:
        partial.rename(final)
        sync_directory(self._path)

    def path(self, name: str) -> Path:
        """The file of a received upload.

        Raises:
            NotFound: there is none.
        """
        file = self._file(name)
        if not file.is_file():
            raise NotFound(f"There is no upload {name!r}.")
        return file

    def names(self) -> Iterator[str]:
        """Every upload that is still there."""
        for file in self._path.iterdir():
            if not file.name.endswith(_PARTIAL):
                yield file.name

    async def discard(self, name: str) -> None:
        """Remove the upload; absent is fine."""
        await asyncio.to_thread(self._file(name).unlink, missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make a rename or creation in the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
