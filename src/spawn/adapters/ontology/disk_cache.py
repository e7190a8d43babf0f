"""Last valid schema documents on disk, for a start without the registry."""

import os
import tempfile
from datetime import datetime
from pathlib import Path

import msgspec

from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.domain.errors import InvalidInput, MalformedBody, StorageDamaged
from spawn.domain.schemas.document_parser import compute_fingerprint

_MAX_FILE_BYTES = 4 << 20
_PURPOSE = b"schema cache"


class DiskCacheEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document as the registry served it, and when the registry last confirmed it."""

    document: bytes
    verified_at: datetime
    fingerprint: str


class DiskCache:
    """One file per requested schema and version. Blocking: call it off the event loop.

    A truncated or edited file does not match its fingerprint and counts as absent, as does one that
    is not encrypted with the key if there is one.
    """

    def __init__(self, directory: Path, key: EncryptionKey | None = None) -> None:
        self._directory = directory
        self._key = key

    def load(self, key: str) -> DiskCacheEntry | None:
        """Return the verified entry of the key; None if it is absent or damaged."""
        try:
            with self._path(key).open("rb") as file:
                content = file.read(_MAX_FILE_BYTES)
            if self._key is not None:
                content = self._key.unseal(content, _PURPOSE, file.name)
            entry = _DECODER.decode(content)
        except (OSError, msgspec.DecodeError, StorageDamaged):
            return None
        return entry if _compute_fingerprint(entry.document) == entry.fingerprint else None

    def save(self, key: str, document: bytes, verified_at: datetime) -> None:
        """Store the document atomically: the file is the new one or the old one.

        Raises:
            OSError: it could not be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        entry = DiskCacheEntry(document, verified_at, compute_fingerprint(document))
        content = msgspec.json.encode(entry)
        if self._key is not None:
            content = self._key.seal(content, _PURPOSE)
        handle, partial = tempfile.mkstemp(dir=self._directory, prefix=".schema-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(self._path(key))
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"


_DECODER = msgspec.json.Decoder(DiskCacheEntry)


def _compute_fingerprint(document: bytes) -> str | None:
    try:
        return compute_fingerprint(document)
    except (MalformedBody, InvalidInput):
        return None
