"""The last known good schemas on disk, for a start while the registry is away."""

import os
import tempfile
from datetime import datetime
from pathlib import Path

import msgspec

from spawn.domain.errors import InvalidInput, MalformedBody
from spawn.domain.schemas.document_parser import fingerprint

_MAX_FILE_BYTES = 4 << 20


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document as the registry served it, and when it last vouched for it."""

    document: bytes
    verified_at: datetime
    fingerprint: str


class LastKnownGood:
    """One file per schema and version asked for. Blocking: call it off the event loop.

    A file that was cut short or edited does not match its fingerprint and counts as absent.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, key: str) -> Kept | None:
        """What is kept under the key, verified; None if there is nothing sound."""
        try:
            with self._path(key).open("rb") as file:
                kept = _DECODER.decode(file.read(_MAX_FILE_BYTES))
        except (OSError, msgspec.DecodeError):
            return None
        return kept if _fingerprint(kept.document) == kept.fingerprint else None

    def save(self, key: str, document: bytes, verified_at: datetime) -> None:
        """Keep the document: afterwards the file is the new one or the old one, never half.

        Raises:
            OSError: it could not be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        kept = Kept(document, verified_at, fingerprint(document))
        handle, partial = tempfile.mkstemp(dir=self._directory, prefix=".schema-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(kept))
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(self._path(key))
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"


_DECODER = msgspec.json.Decoder(Kept)


def _fingerprint(document: bytes) -> str | None:
    try:
        return fingerprint(document)
    except (MalformedBody, InvalidInput):
        return None
