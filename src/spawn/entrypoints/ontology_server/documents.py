"""The schemas that a local ontology server publishes: documents as given, in memory or in files."""

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from spawn.adapters.ontology.bundled import SCHEMA_ID, bundled_document
from spawn.domain.errors import Conflict, InvalidInput, MalformedBody, NotFound
from spawn.domain.json_tokens import Number, read_object, write_token
from spawn.domain.schemas.document_parser import canonical_json, is_schema_id, read_schema

MAX_SCHEMAS: Final = 100
MAX_VERSIONS: Final = 1_000

_FILE = re.compile(r"(0|[1-9][0-9]{0,8})\.json")


class Shelf:
    """Documents by schema id and version; with a directory each is the file `{id}/{version}.json`.

    An empty shelf is seeded with the bundled schema as version 1. Files are small and local, so
    they are written where they are asked for.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._documents: dict[str, dict[int, bytes]] = {}
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._load(directory)
        if not self._documents:
            self.put(SCHEMA_ID, 1, _seed())

    def ids(self) -> list[str]:
        """Every schema id, sorted."""
        return sorted(self._documents)

    def versions(self, schema_id: str) -> list[int]:
        """The published versions, ascending; `NotFound` if there is none."""
        return sorted(self._of(schema_id))

    def document(self, schema_id: str, version: int | None = None) -> bytes:
        """One version as published, the latest if none is named; `NotFound` if there is none."""
        documents = self._of(schema_id)
        found = documents.get(max(documents) if version is None else version)
        if found is None:
            raise NotFound(f"There is no version {version} of {schema_id}.")
        return found

    def next_version(self, schema_id: str) -> int:
        """One more than the latest."""
        return max(self._documents.get(schema_id, {0: b""})) + 1

    def publish(self, schema_id: str, version: int, document: bytes) -> bool:
        """Publish a valid document; whether it is new.

        Raises:
            InvalidInput: it is no acceptable schema, or states another id or version.
            Conflict: the version is published with another content, or the shelf is full.
        """
        schema = read_schema(document, ordinal=version, schema_id=schema_id)
        if schema.version != version:
            detail = f"is {schema.version}, but is to be published as {version}"
            raise InvalidInput.at("/version", "other_version", detail)
        return self.put(schema_id, version, document)

    def put(self, schema_id: str, version: int, document: bytes) -> bool:
        """As `publish`, whatever the document says."""
        if not is_schema_id(schema_id):
            raise InvalidInput.at("/id", "invalid_identifier", "names no schema")
        known = self._documents.get(schema_id, {})
        if version in known:
            if not _same(known[version], document):
                raise Conflict(f"Version {version} of {schema_id} is published already.")
            return False
        if len(known) >= MAX_VERSIONS or (not known and len(self._documents) >= MAX_SCHEMAS):
            raise Conflict("The shelf is full.")
        if self._directory is not None:
            _write(self._directory / schema_id / f"{version}.json", document)
        self._documents.setdefault(schema_id, {})[version] = document
        return True

    def delete(self, schema_id: str, version: int) -> None:
        """Withdraw a version; `NotFound` if there is none."""
        self.document(schema_id, version)
        if self._directory is not None:
            (self._directory / schema_id / f"{version}.json").unlink(missing_ok=True)
        documents = self._documents[schema_id]
        del documents[version]
        if not documents:
            del self._documents[schema_id]

    def _of(self, schema_id: str) -> dict[int, bytes]:
        documents = self._documents.get(schema_id)
        if documents is None:
            raise NotFound("There is no such schema.")
        return documents

    def _load(self, directory: Path) -> None:
        for path in sorted(directory.glob("*/*.json")):
            match = _FILE.fullmatch(path.name)
            if match is not None and is_schema_id(path.parent.name):
                documents = self._documents.setdefault(path.parent.name, {})
                documents[int(match[1])] = path.read_bytes()


def _seed() -> bytes:
    tokens = read_object(bundled_document())
    return write_token({**tokens, "version": Number("1")}).encode()


def _same(known: bytes, document: bytes) -> bool:
    if known == document:
        return True
    try:
        return canonical_json(known) == canonical_json(document)
    except (MalformedBody, InvalidInput):
        return False


def _write(path: Path, document: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".publish-")
    with os.fdopen(handle, "wb") as file:
        file.write(document)
        file.flush()
        os.fsync(file.fileno())
    Path(partial).replace(path)
