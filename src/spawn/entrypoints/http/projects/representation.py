"""Projects on the wire: their JSON, entity tag and headers."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.application.projects.queries import project_fields
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import FieldError
from spawn.domain.projects.project import Project
from spawn.domain.schema_version import Schema
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json
from spawn.entrypoints.http.state import StateKey

MAX_WARNINGS: Final = 20
_NO_CACHE: Final[Header] = (b"cache-control", b"no-cache")


class ProjectRepresentation(msgspec.Struct, frozen=True, gc=False):
    """An encoded project and its entity tag.

    It has only bytes, texts and headers that all representations of a view share, so that tens of
    thousands of them cost the garbage collector nothing; responses are built when sent.
    """

    project_id: str
    body: bytes
    etag: str
    schema_headers: tuple[Header, ...]

    @property
    def headers(self) -> list[Header]:
        """Headers of the entity tag, caching, the schema version and its deprecation."""
        return [(b"etag", self.etag.encode()), _NO_CACHE, *self.schema_headers]

    def to_response(self, status: int = 200, *more_headers: Header) -> Response:
        """Return a response with the whole project and further headers."""
        return Response(status, self.body, headers=[*self.headers, *more_headers])

    def to_not_modified(self) -> Response:
        """Return a 304 response."""
        return Response(304, headers=self.headers)


MAX_REPRESENTATIONS: Final = 20_000
"""Cached representations; about 2 KiB each."""

CACHE_BYTES: Final = 64 * 1024 * 1024
"""Byte limit of the cache; single entries can be 100 times the average."""


def _create_cache() -> BoundedCache[ProjectRepresentation]:
    return BoundedCache(MAX_REPRESENTATIONS, CACHE_BYTES, lambda project: len(project.body))


REPRESENTATIONS: Final = StateKey(_create_cache)


def build_representation(
    aggregate: StoredAggregate[Project],
    schema: Schema,
    etag: str,
    schema_headers: tuple[Header, ...],
    names: tuple[str, ...] = (),
) -> ProjectRepresentation:
    """Encode a project that has the fields of the schema.

    Args:
        aggregate: the project.
        schema: the schema version whose fields the project has.
        etag: the entity tag of the representation.
        schema_headers: headers about the schema version.
        names: the fields to include; empty for all.
    """
    body = encode_json(project_fields(aggregate, schema, names))
    return ProjectRepresentation(aggregate.id, body, etag, schema_headers)


def build_representation_of_document(
    aggregate: StoredAggregate[Project],
    document: bytes,
    etag: str,
    schema_headers: tuple[Header, ...],
) -> ProjectRepresentation:
    """Return what `build_representation` does, from the journal's document of the project.

    Members of hidden columns are in the document only, so the project must have none.
    """
    project_id, _, members = document.partition(b",")
    body = b'%b,"version":%d,%b,"created_at":%b,"updated_at":%b}' % (
        project_id,
        aggregate.version,
        members[:-1],
        encode_json(aggregate.created_at),
        encode_json(aggregate.updated_at),
    )
    return ProjectRepresentation(aggregate.id, body, etag, schema_headers)


def build_warning_headers(warnings: Sequence[FieldError]) -> tuple[Header, ...]:
    """Return the warnings about an accepted body as one structured field (RFC 9651).

    The field is a list of JSON Pointers, each with a code and a sentence:
    `"/sector";code=deprecated;detail="is deprecated and may go"`. Without warnings there is none.
    """
    if not warnings:
        return ()
    members = (
        f"{_quote(warning.pointer)};code={warning.code};detail={_quote(warning.detail)}"
        for warning in warnings[:MAX_WARNINGS]
    )
    return ((b"spawn-warnings", ", ".join(members).encode()),)


def _quote(text: str) -> str:
    """Return a structured-field string: visible ASCII, other characters as question marks."""
    ascii_text = re.sub(r"[^ -~]", "?", text)
    return '"' + ascii_text.replace("\\", r"\\").replace('"', r"\"") + '"'
