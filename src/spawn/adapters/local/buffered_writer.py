"""A bounded buffer of lines that are written to a file descriptor off the event loop."""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

E = TypeVar("E")


class BufferedWriter(Generic[E]):
    """A bounded buffer of entries whose lines are written at most every `interval_s`.

    When the reader of the descriptor stalls, entries are dropped and counted, so that nobody
    waits. Lines are encoded on the writing thread. Without a descriptor nothing is buffered.
    """

    def __init__(
        self,
        descriptor: int | None,
        encode: Callable[[E], bytes],
        *,
        interval_s: float = 0.25,
        capacity: int,
    ) -> None:
        self._descriptor = descriptor
        self._encode = encode
        self._interval_s = interval_s
        self._capacity = capacity
        self._entries: list[E] = []
        self._timer: asyncio.TimerHandle | None = None
        self._write_task: asyncio.Future[None] | None = None
        self.dropped = 0

    def append(self, entry: E) -> None:
        """Append one entry; its line is written at the next flush."""
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
            self._write_task = loop.run_in_executor(None, self._write, self._descriptor, entries)

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

    def _encode_all(self, entries: list[E]) -> Iterator[bytes]:
        """Yield the lines; one that cannot be encoded costs no other."""
        for entry in entries:
            try:
                yield self._encode(entry)
            except (TypeError, ValueError):
                self.dropped += 1

    def _write(self, descriptor: int, entries: list[E]) -> None:
        """Encode and write the lines; they are lost if the descriptor is closed."""
        view = memoryview(b"".join(self._encode_all(entries)))
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            return
