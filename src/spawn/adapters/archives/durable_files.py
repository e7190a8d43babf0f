"""Files that appear whole or not at all, and survive a power loss."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from spawn.adapters.embedded.synced_folders import sync_folder
from spawn.domain.errors import StorageBusy

PARTIAL_SUFFIX: Final = ".partial"
"""Ending of a file that is being written; one that is left over is removed by the next backup."""

_LOCK: Final = "archive.lock"
_CHUNK_BYTES: Final = 1024 * 1024


def publish_file(partial: Path, path: Path) -> None:
    """Make a written file durable and give it its name, replacing an earlier one.

    Raises:
        OSError: the disk did not confirm it.
    """
    descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(path)
    sync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a file under another name, make it durable, and give it its name.

    Raises:
        OSError: it could not be written; an earlier file is untouched.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        partial.write_bytes(content)
        publish_file(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def create_file(path: Path, content: bytes) -> None:
    """Write a new file, durable.

    Raises:
        FileExistsError: there is one of the name.
        OSError: it could not be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def remove_partial_files(folder: Path) -> None:
    """Remove what an interrupted write left behind."""
    for path in folder.glob(f"*{PARTIAL_SUFFIX}"):
        path.unlink(missing_ok=True)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of an archive, so that two processes never write it at once.

    Raises:
        StorageBusy: another process holds it.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageBusy(
                f"Another process writes backups to {folder}: give each store a folder of its own."
            ) from None
        yield
    finally:
        os.close(descriptor)
