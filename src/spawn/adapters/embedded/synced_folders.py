"""Folders whose entries survive a power loss."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make a rename or a creation in the folder durable.

    Raises:
        OSError: the disk did not confirm it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_folder(folder: Path) -> None:
    """Create a private folder with its parents, each durable in the one above it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)
