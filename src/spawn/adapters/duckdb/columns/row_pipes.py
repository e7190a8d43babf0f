"""Named pipes with the rows of one file, read by an engine one after another.

The engine keeps in memory what it read of a pipe until the end of the pipe, so that one pipe of all
rows is not bounded memory. A list of pipes is one input to it, and it forgets each at its end.
"""

import os
import shutil
from collections import deque
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import Final

PIPE_BYTES: Final = 32 * 1024 * 1024
"""Bytes of rows in one pipe; more than a pipe holds unread, so that the engine has opened it."""

MAX_PIPES: Final = 256
"""Pipes of one file. The last takes all that is left, in memory that the engine bounds."""


class RowPipes:
    """Pipes of rows; what is behind the last row is an empty file.

    A thread writes while another one, of the engine, reads. The current pipe and the next one are
    open at both ends, so that opening one never waits.

    Args:
        folder: the folder of their folder; None for the system's.
        prefix: the beginning of its name.
    """

    def __init__(self, folder: Path | None, prefix: str) -> None:
        self._folder = Path(mkdtemp(prefix=prefix, dir=folder))
        self._new = self._folder / "new"
        self.paths = [self._folder / f"{number:03d}" for number in range(MAX_PIPES)]
        for path in self.paths:
            path.touch()
        self._lock = Lock()
        self._is_released = False
        self._number, self._size_bytes = -1, 0
        self._readers: deque[int] = deque()
        self._writers: deque[int] = deque()
        self._open(0)
        self._advance()

    def _open(self, number: int) -> None:
        path = self.paths[number]
        os.mkfifo(self._new, 0o600)
        self._new.replace(path)  # at once: the engine looks for every path when it begins
        self._readers.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        self._writers.append(os.open(path, os.O_WRONLY))

    def _advance(self) -> None:
        """Go to the next pipe, and open the one behind it."""
        with self._lock:
            if self._is_released:
                raise BrokenPipeError
            if self._number + 2 < MAX_PIPES:
                self._open(self._number + 2)
            if self._number >= 0:
                os.close(self._writers.popleft())
                os.close(self._readers.popleft())
            self._number, self._size_bytes = self._number + 1, 0

    def write(self, lines: bytes) -> None:
        """Write whole lines; wait until the engine has read most of them.

        Raises:
            BrokenPipeError: the engine reads no more.
        """
        if self._size_bytes >= PIPE_BYTES and self._number + 1 < MAX_PIPES:
            self._advance()
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._writers[0], rest) :]
        self._size_bytes += len(lines)

    def finish(self) -> None:
        """End the rows, once the engine has opened the current pipe.

        A reader that opens a pipe without a writer would wait for ever.
        """
        with self._lock:
            if not self._is_released and self._number + 1 < MAX_PIPES:
                self._new.touch()
                self._new.replace(self.paths[self._number + 1])
            self._close(self._readers)
        with suppress(FileNotFoundError):
            os.close(os.open(self.paths[self._number], os.O_WRONLY))
        self._close(self._writers)

    def release(self) -> None:
        """Remove the pipes: the engine reads no more."""
        with self._lock:
            self._is_released = True
            self._close(self._readers)
            # The end of the rows may wait for a reader.
            os.close(os.open(self.paths[self._number], os.O_RDONLY | os.O_NONBLOCK))
            shutil.rmtree(self._folder, ignore_errors=True)

    @staticmethod
    def _close(ends: deque[int]) -> None:
        while ends:
            os.close(ends.popleft())
