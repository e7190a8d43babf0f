"""Published schema documents of the local ontology server, in memory or in files."""

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from spawn.adapters.ontology.bundled import SCHEMA_ID, load_bundled_document
from spawn.domain.errors import Conflict, InvalidInput, MalformedBody, NotFound
from spawn.domain.json_tokens import NumberToken, format_token, parse_object
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES
from spawn.domain.schemas.document_parser import is_schema_id, read_schema, to_canonical_json

MAX_SCHEMAS: Final = 100
MAX_VERSIONS: Final = 1_000

_VERSION = re.compile(r"0|[1-9][0-9]{0,8}")
_FILE_NAME = re.compile(r"(0|[1-9][0-9]{0,8})\.json")
_HIGHEST_FILE: Final = "highest"
"""File of the highest number that a schema has used, once a version was deleted."""


class PublishedDocuments:
    """Documents by schema id and version; with a directory each is the file `{id}/{version}.json`.

    A new store starts with the bundled schema as version 1; one whose versions were all deleted
    stays empty. Files are small and local, so
    they are written on the event loop.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._documents: dict[str, dict[int, bytes]] = {}
        self._highest: dict[str, int] = {}
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._load(directory)
        if not self._documents and not self._highest:
            self.put(SCHEMA_ID, 1, _first_document())

    def ids(self) -> list[str]:
        """Return all schema ids, sorted."""
        return sorted(self._documents)

    def versions(self, schema_id: str) -> list[int]:
        """Return the published versions, ascending; raise `NotFound` if there is none."""
        return sorted(self._versions_of(schema_id))

    def document(self, schema_id: str, version: int | None = None) -> bytes:
        """Return one version, by default the latest; raise `NotFound` if there is none."""
        documents = self._versions_of(schema_id)
        document = documents.get(max(documents) if version is None else version)
        if document is None:
            raise NotFound(f"There is no version {version} of {schema_id}.")
        return document

    def title(self, schema_id: str) -> str:
        """Return the name in the latest version; one published in a drill may not even be JSON."""
        try:
            name = parse_object(self.document(schema_id)).get("name")
        except (MalformedBody, InvalidInput):
            return ""
        return name if isinstance(name, str) else ""

    def claimed_version(self, schema_id: str, document: bytes) -> int:
        """Return the version in a document, or the number after the highest one ever used.

        The number of a deleted version is not given again: services know it with its content.
        """
        version = parse_object(document).get("version")
        if isinstance(version, NumberToken) and _VERSION.fullmatch(version):
            return int(version)
        return max(self._highest.get(schema_id, 0), *self._documents.get(schema_id, ()), 0) + 1

    def publish(self, schema_id: str, version: int, document: bytes) -> bool:
        """Publish a valid document; return whether it is new.

        Raises:
            InvalidInput: the schema is invalid, or has another id or version.
            Conflict: the version is published with another content, or a limit is reached.
        """
        schema = _read_for_any_kind(document, version, schema_id)
        if schema.version != version:
            detail = f"is {schema.version}, but the path says {version}: they must agree"
            raise InvalidInput.at("/version", "other_version", detail)
        return self.put(schema_id, version, document)

    def put(self, schema_id: str, version: int, document: bytes) -> bool:
        """Publish a document without validation; return whether it is new."""
        if not is_schema_id(schema_id):
            raise InvalidInput.at(
                "/id",
                "invalid_identifier",
                "is not a schema id: lower-case letters, digits, - and _",
            )
        versions = self._documents.get(schema_id, {})
        if version in versions:
            if not _is_same_document(versions[version], document):
                raise Conflict(
                    f"Version {version} of {schema_id} has another content: use a new number."
                )
            return False
        if len(versions) >= MAX_VERSIONS or (not versions and len(self._documents) >= MAX_SCHEMAS):
            raise Conflict(
                f"At most {MAX_SCHEMAS} schemas of {MAX_VERSIONS} versions are stored: delete one."
            )
        if self._directory is not None:
            _write_file(self._directory / schema_id / f"{version}.json", document)
        self._documents.setdefault(schema_id, {})[version] = document
        return True

    def delete(self, schema_id: str, version: int) -> None:
        """Delete a version; raise `NotFound` if there is none."""
        self.document(schema_id, version)
        self._highest[schema_id] = self.claimed_version(schema_id, b"{}") - 1
        if self._directory is not None:
            folder = self._directory / schema_id
            _write_file(folder / _HIGHEST_FILE, str(self._highest[schema_id]).encode())
            (folder / f"{version}.json").unlink(missing_ok=True)
        documents = self._documents[schema_id]
        del documents[version]
        if not documents:
            del self._documents[schema_id]

    def _versions_of(self, schema_id: str) -> dict[int, bytes]:
        documents = self._documents.get(schema_id)
        if documents is None:
            raise NotFound("There is no such schema.")
        return documents

    def _load(self, directory: Path) -> None:
        for path in sorted(directory.glob("*/*.json")):
            match = _FILE_NAME.fullmatch(path.name)
            if match is not None and is_schema_id(path.parent.name):
                documents = self._documents.setdefault(path.parent.name, {})
                documents[int(match[1])] = path.read_bytes()
        for path in sorted(directory.glob(f"*/{_HIGHEST_FILE}")):
            text = path.read_text(errors="replace").strip()
            if _VERSION.fullmatch(text):
                self._highest[path.parent.name] = int(text)


def _first_document() -> bytes:
    tokens = parse_object(load_bundled_document())
    return format_token({**tokens, "version": NumberToken("1")}).encode()


def _is_same_document(first: bytes, second: bytes) -> bool:
    if first == second:
        return True
    try:
        return to_canonical_json(first) == to_canonical_json(second)
    except (MalformedBody, InvalidInput):
        return False


def _read_for_any_kind(document: bytes, version: int, schema_id: str) -> Schema:
    """Read a document that is a valid schema of some kind; its id tells which is meant.

    Raises:
        InvalidInput: it is none; the errors are those of the kind that is meant, or of projects.
    """
    kinds = sorted(CORE_ATTRIBUTES, key=lambda kind: not schema_id.startswith(kind))
    first_error: InvalidInput | None = None
    for kind in kinds:
        try:
            return read_schema(document, default_version=version, schema_id=schema_id, kind=kind)
        except InvalidInput as error:
            first_error = first_error or error
    raise first_error or InvalidInput.at("", "malformed", "is no schema document")


def _write_file(path: Path, document: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".publish-")
    with os.fdopen(handle, "wb") as file:
        file.write(document)
        file.flush()
        os.fsync(file.fileno())
    Path(partial).replace(path)
