"""Port of backups, and the head of a journal that proves them."""

from datetime import datetime
from typing import Protocol

import msgspec

from spawn.domain.events.position import Position


class JournalHead(msgspec.Struct, frozen=True, kw_only=True):
    """Last row of a journal, with the hash over it and all rows before.

    A head that is stored elsewhere proves later that no row up to it was changed or lost.
    `signature` is the HMAC-SHA256 of the other members, in hexadecimal digits, with the key of
    `SPAWN_BACKUP_SIGNING_KEY_FILE`; empty without a key.
    """

    store_id: str
    epoch: int
    position: int
    hash: str
    signature: str = ""


class BackupPoint(msgspec.Struct, frozen=True, kw_only=True):
    """State of the journal that a backup can restore.

    `backup_set` is the number of the set of files; `recorded_at` is the time of the last change,
    None in an empty journal. `rows` and `size_bytes` are what this backup has added.
    """

    backup_set: int
    position: Position
    recorded_at: datetime | None
    taken_at: datetime
    rows: int
    size_bytes: int
    head: JournalHead


class BackupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of the backups, from memory only.

    `age_s` is the age of the newest good backup, None if there is none; `interval_s` the seconds
    between two, 0 if none is scheduled. `error` is why the last attempt failed.
    """

    target: str
    interval_s: float
    latest: BackupPoint | None
    age_s: float | None
    failures: int
    error: str


class Backups(Protocol):
    """Port that backs a store up while it is written."""

    async def take(self) -> BackupPoint:
        """Bring the backup level with the journal; concurrent calls share one backup.

        A backup counts when all of it is durable, and never in parts.

        Raises:
            StorageFull: the target has no space left; earlier backups are untouched.
            Unavailable: the target cannot be written now.
            Conflict: the target belongs to another store, or has changes that this one lacks.
            StorageDamaged: the journal is damaged, or the target is of a later epoch.
        """
        ...

    def status(self) -> BackupStatus:
        """Return a snapshot, without waiting."""
        ...
