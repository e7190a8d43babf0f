"""A set of an archive as a reader sees it, although backups go on meanwhile."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from spawn.adapters.duckdb.archive.backup_index import BackupSet, read_set, set_folder
from spawn.adapters.encryption.encryption_key import ArchiveKeys, EncryptionKey

_ATTEMPTS: Final = 5


class PinnedSet(msgspec.Struct, frozen=True):
    """Set with the files that its index listed when it was read, and the key that opens them."""

    backup_set: BackupSet
    folder: Path
    copies: dict[str, Path]
    key: EncryptionKey | None

    def path(self, name: str) -> Path:
        """Return the path of a file of the set."""
        return self.copies.get(name, self.folder / name)


@contextmanager
def pin_set(archive: Path, number: int, keys: ArchiveKeys) -> Iterator[PinnedSet]:
    """Read the index of a set, and copy the one segment that the next backup may replace.

    Every other file stays until retention removes the set.

    Raises:
        StorageDamaged: see `read_set`.
        OSError: a file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="spawn-set-") as copies:
        yield _pin(archive, number, keys, Path(copies))


def _pin(archive: Path, number: int, keys: ArchiveKeys, copies: Path) -> PinnedSet:
    folder = set_folder(archive, number)
    for _ in range(_ATTEMPTS):
        backup_set = read_set(archive, number, keys)
        key = keys.encryption if backup_set.key_id else None
        if not backup_set.segments:
            return PinnedSet(backup_set, folder, {}, key)
        name = backup_set.segments[-1].name
        try:
            shutil.copyfile(folder / name, copies / name)
        except FileNotFoundError:
            continue  # replaced since the index was read; or missing, which a verification finds
        return PinnedSet(backup_set, folder, {name: copies / name}, key)
    return PinnedSet(backup_set, folder, {}, key)
