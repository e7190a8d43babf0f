"""Copies of streamed files on the disk, of which clients read ranges of bytes.

A stream has no length before its end. A reader that seeks, as those of Parquet do, needs one, and
must read the same bytes each time. A copy has no name in its folder, so a crash leaves nothing.
"""

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import IO, Final
from weakref import WeakValueDictionary

from spawn.adapters.embedded.thread_work import build_in_thread, finish_in_thread
from spawn.adapters.encryption.sealed_files import EphemeralCipher
from spawn.domain.errors import Conflict, Overloaded, StorageFull
from spawn.domain.events.position import Position

CopyKey = tuple[str, ...]
"""The client, and the address of a file in canonical form."""

IDLE_S: Final = 120.0
"""Time for which a copy remains after its last use."""

ACTIVE_S: Final = 5.0
"""Time after its last use for which somebody may still read parts of a copy.

No reader says which edition its parts are of, so that a new one waits for the readers of the last.
"""

READERS_S: Final = 12.0
"""Time for which a new edition waits for them."""

WAIT_S: Final = 20.0
"""Time for which a client waits for a copy; readers give up after 30 s, and try again."""

MAX_COPIES: Final = 16
MAX_CLIENT_COPIES: Final = 4
MAX_WRITINGS: Final = 2
"""Files that are written at a time, of different clients; others wait."""

MAX_WAITING: Final = 64
"""Files that are written or wait; beyond `MAX_COPIES` only the first one of a client does."""

MAX_COPY_BYTES: Final = 4 * 1024 * 1024 * 1024
"""Bytes of all copies together."""

_POLL_S: Final = 0.05
_CHUNK_BYTES: Final = 256 * 1024
_RESERVE_BYTES: Final = 64 * 1024 * 1024


class FileCopy:
    """A copy that is complete; `etag` is a digest of its bytes.

    `is_described` if a client has its length, and no part of it since. The file is encrypted with
    the `cipher` if there is one.
    """

    def __init__(
        self,
        key: CopyKey,
        position: Position,
        file: IO[bytes],
        etag: str,
        size_bytes: int,
        cipher: EphemeralCipher | None = None,
    ) -> None:
        self.key = key
        self.position = position
        self.etag = etag
        self.size_bytes = size_bytes
        self.used_at_s = monotonic()
        self.is_described = False
        self._file = file
        self._cipher = cipher
        self._readers = 0
        self._is_removed = False

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """Yield the bytes from `start` to before `stop`."""
        self._readers += 1
        try:
            while start < stop:
                self.used_at_s = monotonic()
                size = min(_CHUNK_BYTES, stop - start)
                chunk = await finish_in_thread(os.pread, self._file.fileno(), size, start)
                if not chunk:
                    raise OSError("the copy is shorter than it was")
                if self._cipher is not None:
                    chunk = self._cipher.apply(chunk, start)
                start += len(chunk)
                yield chunk
        finally:
            self._readers -= 1
            if self._is_removed and not self._readers:
                self._file.close()

    def is_unused_for(self, seconds: float) -> bool:
        """Whether nobody reads it, or has read it within that time."""
        return not self._readers and monotonic() - self.used_at_s >= seconds

    def touch(self) -> None:
        """Keep the copy for a client that has its length."""
        self.is_described = True
        self.used_at_s = monotonic()

    def remove(self) -> None:
        """Give its room back, once nobody reads it."""
        self._is_removed = True
        if not self._readers:
            self._file.close()


class FileCopies:
    """Copies of files, bounded in number and bytes; those of who has most give way.

    They are encrypted on the disk if `is_encrypted`.
    """

    def __init__(self, folder: Path | None = None, *, is_encrypted: bool = False) -> None:
        self._folder = folder
        self._is_encrypted = is_encrypted
        self._copies: list[FileCopy] = []
        self._writings: dict[CopyKey, asyncio.Task[FileCopy]] = {}
        self._slots = asyncio.Semaphore(MAX_WRITINGS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._removal: asyncio.TimerHandle | None = None

    def find(self, key: CopyKey) -> list[FileCopy]:
        """Return the editions of a file, the newest last."""
        self._remove_idle()
        return [copy for copy in self._copies if copy.key == key]

    async def write(
        self, key: CopyKey, position: Position, read_file: Callable[[], AsyncGenerator[bytes]]
    ) -> FileCopy:
        """Return a new copy of a file; a client that asks while it is written gets the same.

        Writing continues after its client has left, so that the next attempt finds the copy.

        Args:
            key: the client and the address.
            position: the position of the feed that the file is level with.
            read_file: the function that opens the stream of the file.

        Raises:
            Overloaded: others are being written, or this one takes longer than a client waits.
            Conflict: it is larger than all copies together may be.
            StorageFull: the disk has no room for it.
        """
        task = self._writings.get(key)
        if task is None:
            self._check_queue(key)
            task = asyncio.create_task(self._write(key, position, read_file))
            self._writings[key] = task
            task.add_done_callback(lambda done: self._end_writing(key, done))
        await asyncio.wait([task], timeout=WAIT_S)
        if not task.done():
            raise Overloaded("The file is still being written: try again.", retry_after_s=5)
        return task.result()

    def _check_queue(self, key: CopyKey) -> None:
        """Raise unless one more file may wait to be written.

        Raises:
            Overloaded: too many of the client, or of all, wait already.
        """
        own_count = sum(other[0] == key[0] for other in self._writings)
        most_own = MAX_CLIENT_COPIES if len(self._writings) < MAX_COPIES else 1
        if own_count >= most_own or len(self._writings) >= MAX_WAITING:
            raise Overloaded("Other files are being written: try again later.")

    async def close(self) -> None:
        """Stop what is being written and remove every copy."""
        if self._removal is not None:
            self._removal.cancel()
        tasks = list(self._writings.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._copies:
            self._remove(self._copies[-1])

    def _end_writing(self, key: CopyKey, task: "asyncio.Task[FileCopy]") -> None:
        del self._writings[key]
        if not task.cancelled():
            task.exception()  # Its client may have left.

    async def _write(
        self, key: CopyKey, position: Position, read_file: Callable[[], AsyncGenerator[bytes]]
    ) -> FileCopy:
        # One at a time for each client: the large ones of one would delay those of all others.
        turn = self._turns.setdefault(key[0], asyncio.Lock())
        async with turn, self._slots:
            cipher = EphemeralCipher() if self._is_encrypted else None
            file, digest, size = await self._write_file(key, read_file, cipher)
        copy = FileCopy(key, position, file, f'"{digest[:32]}"', size, cipher)
        for earlier in self.find(key):
            if earlier.etag == copy.etag:
                copy.remove()
                earlier.position, earlier.used_at_s = position, copy.used_at_s
                return earlier
        try:
            await self._wait_for_readers(key)
        except BaseException:
            copy.remove()
            raise
        self._copies.append(copy)
        if self._removal is None:
            self._schedule_removal()
        return copy

    async def _write_file(
        self,
        key: CopyKey,
        read_file: Callable[[], AsyncGenerator[bytes]],
        cipher: EphemeralCipher | None,
    ) -> tuple[IO[bytes], str, int]:
        """Write a file; return it, its digest and its size."""
        file: IO[bytes] = await build_in_thread(
            lambda: tempfile.TemporaryFile(dir=self._folder),  # noqa: SIM115 - the copy closes it
            close=lambda file: file.close(),
        )
        digest, size = hashlib.sha256(), 0
        try:
            async with aclosing(_join_chunks(read_file())) as chunks:
                async for chunk in chunks:
                    position, size = size, size + len(chunk)
                    self._make_room(key, size)
                    content = chunk if cipher is None else cipher.apply(chunk, position)
                    await finish_in_thread(self._append, file, content)
                    digest.update(chunk)
            await finish_in_thread(file.flush)
        except BaseException:
            file.close()
            raise
        return file, digest.hexdigest(), size

    async def _wait_for_readers(self, key: CopyKey) -> None:
        """Wait until nobody reads the last edition of a file.

        Raises:
            Overloaded: somebody reads it for too long.
        """
        end_s = monotonic() + READERS_S
        while any(not one.is_unused_for(ACTIVE_S) for one in self.find(key)[-1:]):
            if monotonic() >= end_s:
                raise Overloaded("The last edition of the file is being read: try again later.")
            await asyncio.sleep(_POLL_S)

    def _append(self, file: IO[bytes], chunk: bytes) -> None:
        if shutil.disk_usage(file.fileno()).free - len(chunk) < _RESERVE_BYTES:
            raise StorageFull("The disk has no room for a copy of the file: read it as a stream.")
        file.write(chunk)

    def _make_room(self, key: CopyKey, size: int) -> None:
        """Remove copies until one more of this size is within the bounds.

        Raises:
            Conflict: the file alone is beyond them.
        """
        if size > MAX_COPY_BYTES:
            raise Conflict("The file is too large to be read in ranges: read it as a stream.")
        own = [copy for copy in self._copies if copy.key[0] == key[0]]
        if len(own) >= MAX_CLIENT_COPIES:
            self._remove(min(own, key=lambda copy: copy.used_at_s))
        while self._copies and (
            len(self._copies) >= MAX_COPIES
            or size + sum(copy.size_bytes for copy in self._copies) > MAX_COPY_BYTES
        ):
            self._remove(self._choose_superfluous(key[0], size))

    def _choose_superfluous(self, client: str, size: int) -> FileCopy:
        """Return the least recently used copy of who has most bytes, with one more of a client.

        If the oldest of all gave way, a client that writes on would remove what others read.
        """
        held_bytes = Counter({client: size})
        for copy in self._copies:
            held_bytes[copy.key[0]] += copy.size_bytes
        return max(self._copies, key=lambda copy: (held_bytes[copy.key[0]], -copy.used_at_s))

    def _remove(self, copy: FileCopy) -> None:
        self._copies.remove(copy)
        copy.remove()

    def _remove_idle(self) -> None:
        for copy in [one for one in self._copies if one.is_unused_for(IDLE_S)]:
            self._remove(copy)

    def _schedule_removal(self) -> None:
        self._remove_idle()
        self._removal = None
        if self._copies:
            loop = asyncio.get_running_loop()
            self._removal = loop.call_later(IDLE_S, self._schedule_removal)


async def _join_chunks(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield larger chunks; a file of lines comes line by line, and each write takes a thread."""
    joined = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            joined += chunk
            if len(joined) >= _CHUNK_BYTES:
                yield bytes(joined)
                joined.clear()
    yield bytes(joined)
