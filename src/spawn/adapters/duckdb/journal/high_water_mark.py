"""The high-water mark: how far the journal had come, kept outside the file that holds it.

DuckDB opens a database whose log was deleted or cut short without a word about what is missing.
The mark, beside the file, tells: a journal that ends below it has lost acknowledged changes.
It is written after each durable commit, so it can lag behind the journal and never leads it. Two
slots take turns, each with a checksum: a torn write leaves the other. The mark's lock also keeps a
second process, or a second store of this process, away from the file.
"""

import fcntl
import os
import time
import zlib
from pathlib import Path

import msgspec

from spawn.domain.errors import StorageBusy, StorageDamaged

_SLOT_BYTES = 256
_ZERO = "0" * 64


class Reached(msgspec.Struct, frozen=True):
    """The journal's last row in an epoch, with its hash (hex)."""

    epoch: int
    position: int
    hash: str = _ZERO


class Mark:
    """The open and locked mark of one database file."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".mark")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise StorageBusy(
                f"Another process serves {database.name}: stop it, or talk to it over HTTP"
                " (set SPAWN_URL)."
            ) from None
        self._turn = 0
        self._unsynced: float | None = None

    def read(self) -> Reached | None:
        """The newest intact slot; None for a new file.

        Raises:
            StorageDamaged: something is there, and no slot of it is intact.
        """
        content = os.pread(self._descriptor, 2 * _SLOT_BYTES, 0)
        slots = [_unpack(content[at : at + _SLOT_BYTES]) for at in (0, _SLOT_BYTES)]
        intact = [slot for slot in slots if slot is not None]
        if not intact:
            if content.strip(b"\0"):
                raise StorageDamaged(
                    f"The high-water mark {self.path.name} is unreadable: restore it from a backup"
                    " together with the database file."
                )
            return None
        newest = max(intact, key=lambda reached: (reached.epoch, reached.position))
        self._turn = 1 - slots.index(newest)
        return newest

    def demand(self, database: Path) -> None:
        """Refuse a database that is gone, before an empty one takes its place.

        Raises:
            StorageDamaged: the mark knows of changes and there is no file; or it is unreadable.
        """
        reached = self.read()
        if reached is not None and reached.position and not database.exists():
            raise fallen_short(database.name, 0, reached.position)

    def write(self, reached: Reached) -> None:
        """Note how far the durable journal has come; survives the process at once."""
        os.pwrite(self._descriptor, _pack(reached), self._turn * _SLOT_BYTES)
        self._turn = 1 - self._turn
        if self._unsynced is None:
            self._unsynced = time.monotonic()

    def unsynced_s(self) -> float:
        """How long a note has been waiting to survive the machine."""
        return 0.0 if self._unsynced is None else time.monotonic() - self._unsynced

    def sync(self) -> None:
        """Make the last note survive the machine too; nothing to do if it already does."""
        if self._unsynced is not None:
            os.fsync(self._descriptor)
            self._unsynced = None

    def close(self) -> None:
        """Sync, and let go of the lock."""
        self.sync()
        os.close(self._descriptor)


def fallen_short(name: str, position: int, marked: int) -> StorageDamaged:
    """The one sentence about a journal that ends below its mark."""
    return StorageDamaged(
        f"The database {name} ends at change {position} and its high-water mark says {marked}:"
        " acknowledged changes are missing, most likely because the file or its .wal was deleted"
        " or cut short; put that back, or restore a backup."
    )


def _pack(reached: Reached) -> bytes:
    body = msgspec.json.encode(reached)
    line = b"%08x %s" % (zlib.crc32(body), body)
    return line.ljust(_SLOT_BYTES - 1) + b"\n"


def _unpack(slot: bytes) -> Reached | None:
    checksum, _, body = slot.strip().partition(b" ")
    if not body or checksum != b"%08x" % zlib.crc32(body):
        return None
    return msgspec.json.decode(body, type=Reached)
