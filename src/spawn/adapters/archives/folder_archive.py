"""Backups in a folder."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from spawn.adapters.archives.durable_files import (
    PARTIAL_SUFFIX,
    create_file,
    hash_file,
    lock_folder,
    publish_file,
    remove_partial_files,
    write_file,
)
from spawn.adapters.embedded.synced_folders import create_folder, sync_folder
from spawn.domain.errors import StorageFull


class FolderArchive:
    """Archive in a folder; see `Archive`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def url(self) -> str:
        """Address of the folder."""
        return self.folder.absolute().as_uri()

    def exists(self) -> bool:
        """Whether the folder is there."""
        return self.folder.is_dir()

    def contains(self, path: Path) -> bool:
        """Whether a path lies in the folder."""
        return self.folder.resolve() in path.resolve().parents

    def lock(self) -> AbstractContextManager[None]:
        """Create the folder, and hold its lock.

        The folders of sets are made durable: a backup that was killed may have left them in memory.
        """
        create_folder(self.folder)
        sync_folder(self.folder)
        sync_folder(self.folder.parent)
        return lock_folder(self.folder)

    def require_space(self, reserve_bytes: int) -> None:
        """Check the space on the disk of the folder."""
        free_bytes = shutil.disk_usage(self.folder).free
        if free_bytes < reserve_bytes:
            raise StorageFull(
                f"The disk of {self} has {free_bytes} bytes left, below the reserve of"
                f" {reserve_bytes}: free disk space. No backup was added."
            )

    def list_names(self, prefix: str) -> list[str]:
        """Return the names of files, in the folder itself and in those of sets."""
        return sorted(
            name
            for name in self._names()
            if name.startswith(prefix) and not name.endswith(PARTIAL_SUFFIX)
        )

    def _names(self) -> Iterator[str]:
        # A folder that cannot be read must raise: it may have a claim that stops this store.
        for entry in _scan(self.folder):
            if entry.is_dir():
                yield from (f"{entry.name}/{file.name}" for file in _scan(Path(entry.path)))
            else:
                yield entry.name

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.folder / name).read_bytes()

    def hash(self, name: str) -> str:
        """Return the SHA-256 of a file."""
        return hash_file(self.folder / name)

    def fetch(self, name: str, folder: Path) -> Path:  # noqa: ARG002 -- the file is local
        """Return the path of the file itself."""
        path = self.folder / name
        path.stat()
        return path

    def copy(self, name: str, folder: Path) -> Path:
        """Return the path of a copy in the folder."""
        return shutil.copyfile(self.folder / name, folder / Path(name).name)

    def create(self, name: str, content: bytes) -> None:
        """Write a new file, durable."""
        create_file(self.folder / name, content)

    def replace(self, name: str, content: bytes) -> None:
        """Write or replace a file, durable; the lock excludes other writers."""
        path = self.folder / name
        create_folder(path.parent)
        write_file(path, content)

    def name_file(self, stem: str, suffix: str) -> str:
        """Return the name without an addition, because the lock excludes other writers.

        A file that an interrupted backup left is so replaced by the next one.
        """
        return stem + suffix

    def staging_path(self, name: str, local_folder: Path) -> Path:  # noqa: ARG002 -- see `fetch`
        """Return a path beside the file, after an interrupted backup's are removed."""
        path = self.folder / name
        create_folder(path.parent)
        remove_partial_files(path.parent)
        return path.with_name(path.name + PARTIAL_SUFFIX)

    def publish(self, source: Path, name: str, sha256: str) -> None:  # noqa: ARG002 -- see `fetch`
        """Make a staged file durable under its name; its writer has read it back already."""
        publish_file(source, self.folder / name)

    def remove(self, names: Sequence[str]) -> None:
        """Remove files durably, and folders that are empty then."""
        folders = {(self.folder / name).parent for name in names}
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        for folder in folders:
            sync_folder(folder)
            if folder != self.folder:
                with suppress(OSError):  # it has other files
                    folder.rmdir()
        sync_folder(self.folder)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
