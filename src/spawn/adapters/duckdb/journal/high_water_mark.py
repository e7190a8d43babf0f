"""High-water mark of the journal, stored outside the database file.

DuckDB opens a database whose log was deleted or truncated without reporting what is missing. The
mark, beside the file, reveals it: a journal that ends below the mark has lost acknowledged changes.
It is written after each durable commit, so it can lag behind the journal and never leads it. Two
slots alternate, each with a checksum: a torn write leaves the other intact. A new mark is synced,
with its folder, before the first change, so that a journal with rows and no mark is never what a
crash leaves. The lock on the mark also excludes a second process, or a second store of this
process, from the file.
"""

import fcntl
import os
import time
import zlib
from datetime import datetime
from pathlib import Path

import msgspec

from spawn.adapters.embedded.journal import latest
from spawn.adapters.embedded.synced_folders import sync_folder
from spawn.domain.errors import StorageBusy, StorageDamaged, Unavailable

_SLOT_BYTES = 256
_ZERO = "0" * 64


class MarkNotSynced(Exception):
    """The disk did not confirm the mark; what it holds is unknown until the next start."""


class JournalPosition(msgspec.Struct, frozen=True):
    """Last row of the journal in an epoch, with its hash (hex)."""

    epoch: int
    position: int
    hash: str = _ZERO


class _Slot(JournalPosition, frozen=True, omit_defaults=True):
    """A position as the file has it, with the instant that later changes follow."""

    held_instant: datetime | None = None


class HighWaterMark:
    """Open and locked mark of one database file."""

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
        self._next_slot = 0
        self.held_instant: datetime | None = None
        """The newest instant that a reader got, and that later changes follow."""
        self._unsynced_since: float | None = None

    def read(self) -> JournalPosition | None:
        """Read the newest intact slot; None if the file is new, empty or all zeros.

        Raises:
            StorageDamaged: the file has content, and no slot of it is intact.
        """
        content = os.pread(self._descriptor, 2 * _SLOT_BYTES, 0)
        slots = [_unpack(content[offset : offset + _SLOT_BYTES]) for offset in (0, _SLOT_BYTES)]
        intact_slots = [slot for slot in slots if slot is not None]
        if not intact_slots:
            if content.strip(b"\0"):
                raise StorageDamaged(
                    f"The high-water mark {self.path.name} is unreadable: restore it from a backup"
                    " together with the database file."
                )
            return None
        newest = max(intact_slots, key=_age)
        self._next_slot = 1 - slots.index(newest)
        self.held_instant = latest(self.held_instant, newest.held_instant)
        return JournalPosition(newest.epoch, newest.position, newest.hash)

    def require_database(self, database: Path) -> None:
        """Check that the database exists, before an empty one replaces it.

        Raises:
            StorageDamaged: the mark knows of changes and there is no file; or it is unreadable.
        """
        position_record = self.read()
        if position_record is not None and position_record.position and not database.exists():
            raise journal_truncated_error(database.name, 0, position_record.position)

    def create(self, position_record: JournalPosition) -> None:
        """Write both slots of a mark that has none, and sync the file and its folder.

        Raises:
            Unavailable: the disk did not confirm it.
        """
        self.write(position_record)
        self.confirm(position_record)

    def confirm(self, position_record: JournalPosition) -> None:
        """Write the position at a start, and sync the file and its folder.

        A process that was killed while it created the mark has left it in memory only.

        Raises:
            Unavailable: the disk did not confirm it.
        """
        self.write(position_record)
        try:
            self.sync()
            sync_folder(self.path.parent)
        except (MarkNotSynced, OSError) as failure:
            raise Unavailable(
                f"The disk did not confirm the high-water mark {self.path.name}: check the disk"
                " and the system's log, then start again."
            ) from failure

    def write(self, position_record: JournalPosition) -> None:
        """Write the position of the durable journal; it survives the process at once."""
        slot = _pack(position_record, self.held_instant)
        os.pwrite(self._descriptor, slot, self._next_slot * _SLOT_BYTES)
        self._next_slot = 1 - self._next_slot
        if self._unsynced_since is None:
            self._unsynced_since = time.monotonic()

    def hold_instant(self, position_record: JournalPosition, instant: datetime) -> None:
        """Write an instant that later changes follow; it survives the process at once."""
        self.held_instant = instant
        self.write(position_record)

    def unsynced_s(self) -> float:
        """Return the age of the oldest write that a machine crash would lose."""
        return 0.0 if self._unsynced_since is None else time.monotonic() - self._unsynced_since

    def sync(self) -> None:
        """Sync the last write to disk, if it is not synced yet.

        Raises:
            MarkNotSynced: the disk did not confirm it. A second try would succeed and prove
                nothing, because the system drops the pages that it could not write.
        """
        if self._unsynced_since is None:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise MarkNotSynced(str(error)) from error
        self._unsynced_since = None

    def close(self) -> None:
        """Sync, and release the lock.

        Raises:
            MarkNotSynced: as `sync`; the lock is released all the same.
        """
        try:
            self.sync()
        finally:
            self.release()

    def release(self) -> None:
        """Release the lock without a sync."""
        os.close(self._descriptor)


def mark_missing_error(name: str, position: int) -> StorageDamaged:
    """Build the error about a journal with rows and a mark that states nothing."""
    return StorageDamaged(
        f"The database {name} ends at change {position}, and its high-water mark {name}.mark is"
        " missing or empty, so that lost changes would go unnoticed: put the mark back, or restore"
        " the database, its .wal and its .mark together. If there is no mark any more, run `spawn"
        " doctor --renew-mark`: it keeps what the file has and expires every cursor of the feed."
    )


def journal_truncated_error(name: str, position: int, marked_position: int) -> StorageDamaged:
    """Build the error about a journal that ends below its mark."""
    return StorageDamaged(
        f"The database {name} ends at change {position}, below its high-water mark"
        f" {marked_position}: acknowledged changes are missing, most likely because the file or its"
        " .wal was deleted or truncated; put that back, or restore a backup."
    )


def _age(slot: _Slot) -> tuple[int, int, float]:
    instant = slot.held_instant
    return slot.epoch, slot.position, 0.0 if instant is None else instant.timestamp()


def _pack(position_record: JournalPosition, held_instant: datetime | None) -> bytes:
    epoch, position, row_hash = msgspec.structs.astuple(position_record)
    body = msgspec.json.encode(_Slot(epoch, position, row_hash, held_instant))
    line = b"%08x %s" % (zlib.crc32(body), body)
    return line.ljust(_SLOT_BYTES - 1) + b"\n"


def _unpack(slot: bytes) -> _Slot | None:
    checksum, _, body = slot.strip().partition(b" ")
    if not body or checksum != b"%08x" % zlib.crc32(body):
        return None
    return msgspec.json.decode(body, type=_Slot)
