"""Time, identity and scratch space, passed in so that the core stays a function."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """The present."""

    def now(self) -> datetime:
        """The current instant, aware and in UTC, microseconds at best."""
        ...


class Ids(Protocol):
    """Identity."""

    def new(self) -> str:
        """A new UUIDv7 in its canonical lower-case form; later calls sort after earlier ones."""
        ...


class Spool(Protocol):
    """Uploads on disk: durable from `receive` on until `discard`.

    Names are ids the service made itself, never a client's. MUST refuse with `StorageFull` when
    the disk or its reserve is exhausted, leaving nothing behind.
    """

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> int:
        """Write all chunks under `name` and sync them to disk; the number of bytes written."""
        ...

    def path(self, name: str) -> Path:
        """The file of a received upload, to be read off the event loop; `NotFound` if absent."""
        ...

    def names(self) -> Iterator[str]:
        """Every upload that is still there, in any order."""
        ...

    async def discard(self, name: str) -> None:
        """Remove the upload; absent is fine."""
        ...


Lifespan = AbstractAsyncContextManager[None]
