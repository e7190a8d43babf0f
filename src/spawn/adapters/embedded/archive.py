"""Place of backups: files by name, each of which appears whole or not at all."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Archive(Protocol):
    """Durable files by relative names with slashes; every method blocks.

    Each method raises `OSError` if the place cannot be reached, read or written. Its text names
    the place and never a credential. Its string is the place as its user wrote it.
    """

    @property
    def url(self) -> str:
        """Address of the place, without credentials."""
        ...

    def exists(self) -> bool:
        """Whether the place is there, although it may have no files."""
        ...

    def contains(self, path: Path) -> bool:
        """Whether a local path lies in the place."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Exclude other writers, where the place can.

        Raises:
            StorageBusy: another process writes there.
        """
        ...

    def require_space(self, reserve_bytes: int) -> None:
        """Check that the place has space left, where that is known.

        Raises:
            StorageFull: it has less than the reserve.
        """
        ...

    def list_names(self, prefix: str) -> list[str]:
        """Return the sorted names that begin with the prefix; a partial file has none."""
        ...

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is none of the name.
        """
        ...

    def hash(self, name: str) -> str:
        """Return the SHA-256 of a file in hexadecimal digits.

        Raises:
            FileNotFoundError: there is none of the name.
        """
        ...

    def fetch(self, name: str, folder: Path) -> Path:
        """Return a local path with the content of a file, which is in the folder if it is a copy.

        Raises:
            FileNotFoundError: there is none of the name.
        """
        ...

    def copy(self, name: str, folder: Path) -> Path:
        """Return the path of a copy in the folder, which no later change affects.

        Raises:
            FileNotFoundError: there is none of the name.
        """
        ...

    def create(self, name: str, content: bytes) -> None:
        """Write a new file; of several writers of one name exactly one succeeds.

        Raises:
            FileExistsError: there is one of the name, which somebody else wrote.
        """
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Write a file, or replace the one that this object has read or written last.

        Raises:
            StorageBusy: another process has written it meanwhile.
        """
        ...

    def name_file(self, stem: str, suffix: str) -> str:
        """Return a name for `publish` that no other writer of the place uses at the same time."""
        ...

    def staging_path(self, name: str, local_folder: Path) -> Path:
        """Return the path at which the content of `publish` is to be written.

        It lies in the local folder, unless the place itself is one.
        """
        ...

    def publish(self, source: Path, name: str, sha256: str) -> None:
        """Make a staged file durable under its name; the staged path is gone afterwards.

        Raises:
            StorageDamaged: what arrived has another SHA-256 than the given one.
        """
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove files durably, in any order; a missing one is no error."""
        ...
