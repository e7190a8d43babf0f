"""A set of an archive as a reader sees it, although backups go on meanwhile."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from spawn.adapters.duckdb.archive.backup_index import (
    BackupSet,
    list_set_numbers,
    name_in_set,
    read_set,
)
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.encryption.encryption_key import ArchiveKeys, EncryptionKey
from spawn.domain.errors import StorageDamaged, StorageFull, StorageIncompatible, Unavailable

_ATTEMPTS: Final = 5
_REMOVED: Final = frozenset({None, errno.ENOENT, errno.ESTALE})
"""Errors of reading a file that was removed; a bucket has none of the system."""


class PinnedSet(msgspec.Struct, frozen=True):
    """Set with the files that its index listed when it was read, and the key that opens them."""

    backup_set: BackupSet
    archive: Archive
    copies: Path
    key: EncryptionKey | None

    def path(self, name: str) -> Path:
        """Return a local path with the content of a file of the set.

        Raises:
            OSError: it is missing, or cannot be read.
        """
        copy = self.copies / name
        if copy.exists():
            return copy
        return self.archive.fetch(name_in_set(self.backup_set.number, name), self.copies)

    def read(self, name: str) -> bytes:
        """Return the content of a small file of the set.

        Raises:
            OSError: it is missing, or cannot be read.
        """
        return self.archive.read(name_in_set(self.backup_set.number, name))


@contextmanager
def pin_set(archive: Archive, number: int, keys: ArchiveKeys) -> Iterator[PinnedSet]:
    """Read the index of a set, and copy the one segment that the next backup may replace.

    Every other file stays until retention removes the set.

    Raises:
        StorageDamaged: see `read_set`.
        OSError: a file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="spawn-set-") as copies:
        yield _pin(archive, number, keys, Path(copies))


@contextmanager
def report_removal(archive: Archive, number: int) -> Iterator[None]:
    """Raise the removal of a set while it is read, in place of the errors that it causes.

    Any other error stays, such as that of a full disk, also if the set was removed as well.

    Raises:
        Unavailable: files were missing or incomplete, and the set is there no more.
    """
    try:
        yield
    except (OSError, StorageDamaged, Unavailable) as failure:
        numbers = _list_numbers(archive) if _may_be_removal(failure) else None
        if numbers is None or number in numbers:
            raise
        raise Unavailable(
            f"Set {number} of {archive} was removed while it was read, by the retention of the"
            f" service that writes there: read one of the sets {numbers}, and keep more"
            " (SPAWN_BACKUP_RETENTION) if reading takes so long."
        ) from failure


def _may_be_removal(failure: Exception) -> bool:
    """Whether the removal of files that are read can cause a failure."""
    if isinstance(failure, OSError):
        return failure.errno in _REMOVED
    return not isinstance(failure, StorageIncompatible | StorageFull)


def _list_numbers(archive: Archive) -> list[int] | None:
    """Return the numbers of the sets; None if the archive cannot be read now."""
    try:
        return list_set_numbers(archive)
    except OSError:
        return None


def _pin(archive: Archive, number: int, keys: ArchiveKeys, copies: Path) -> PinnedSet:
    for _ in range(_ATTEMPTS):
        backup_set = read_set(archive, number, keys)
        pinned = PinnedSet(
            backup_set, archive, copies, keys.encryption if backup_set.key_id else None
        )
        if not backup_set.segments:
            return pinned
        try:
            archive.copy(name_in_set(number, backup_set.segments[-1].name), copies)
        except FileNotFoundError:
            continue  # replaced since the index was read; or missing, which a verification finds
        return pinned
    return pinned
