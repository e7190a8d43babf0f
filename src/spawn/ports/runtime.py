"""Clock, id generator and upload spool, injected so that the core stays deterministic."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from datetime import datetime
from typing import BinaryIO, Final, Literal, Protocol

import msgspec

current_client: Final[ContextVar[str]] = ContextVar("spawn_client", default="")
"""Client that the current task serves; adapters share what is scarce between clients."""

MAX_CLOCK_JUMP_S: Final = 300.0
"""Seconds by which the clock may leave the course of steady time at once."""


class CertificateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of the certificate that the service shows.

    `left_s` are the seconds until it expires, negative afterwards. `error` is why the last attempt
    to load its files again failed; empty if it succeeded.
    """

    expires_at: datetime
    left_s: float
    error: str = ""
    reloads: int = 0
    failed_reloads: int = 0


GetCertificate = Callable[[], CertificateStatus]
"""A function that returns the state of the TLS certificate."""


class Clock(Protocol):
    """Source of the current time."""

    def now(self) -> datetime:
        """Return the current instant, aware and in UTC, with microseconds at best."""
        ...

    def jump_s(self) -> float:
        """Return the seconds by which the clock has left the course of steady time.

        Positive if it jumped ahead, negative if it was set back. A clock that is adjusted in small
        steps has not jumped: see `MAX_CLOCK_JUMP_S`.
        """
        ...


class IdGenerator(Protocol):
    """Source of new ids."""

    def new(self) -> str:
        """Return a new UUIDv7 in lower case; later ids sort after earlier ones."""
        ...


class ReadableFile(Protocol):
    """File whose content can be read at any position; a `Path` is one."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open the content for reading."""
        ...


class Spool(Protocol):
    """Uploads on disk, durable from `receive` until `discard`.

    Names are ids made by the service, never by a client. MUST raise `StorageFull` when the disk or
    its reserve is exhausted, and leave nothing behind.
    """

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> int:
        """Write all chunks under `name`, sync them to disk and return the bytes written."""
        ...

    def find(self, name: str) -> ReadableFile:
        """Return the file of an upload, to be read off the event loop.

        Raises:
            NotFound: no such upload.
        """
        ...

    def names(self) -> Iterator[str]:
        """Return the names of all uploads on disk, in any order."""
        ...

    async def discard(self, name: str) -> None:
        """Remove the upload if it exists."""
        ...


Lifespan = AbstractAsyncContextManager[None]
