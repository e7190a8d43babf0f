"""Response headers of a schema version, and the version under which a request reads a kind."""

from datetime import UTC, date, datetime, time
from email.utils import format_datetime

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.product.links import CONTEXT
from spawn.application.product.snapshot import document_path, schema_path
from spawn.application.schemas.served_versions import (
    SchemaVersionView,
    find_deprecation,
    read_version_view,
)
from spawn.domain.schema_version import Schema
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header


class ServedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A schema version under which states of a governed kind are served, with its headers.

    `active_version` is the number of the active version.
    """

    view: SchemaVersionView
    active_version: int
    headers: tuple[Header, ...]

    @property
    def schema(self) -> Schema:
        """Schema version of the response."""
        return self.view.schema

    @property
    def etag_parts(self) -> tuple[str, ...]:
        """Parts of an entity tag beside version, epoch and active version; none if it is active."""
        version = self.schema.version
        return () if version == self.active_version else (f"schema_version={version}",)


async def read_served_version(request: StrictRequest, kind: str) -> ServedVersion:
    """Return the version of a kind's schema that `schema_version` names, else the active one.

    Raises:
        InvalidInput: the text is not a version number.
        NotFound: this store never had data under the version.
        SchemaVersionExpired: the version is no longer served.
    """
    dependencies = request.dependencies
    active = (await dependencies.active_schema(kind)).schema
    text = request.query.get("schema_version")
    if text in {None, str(active.version)}:
        headers = await build_active_headers(dependencies, active)
        view = SchemaVersionView(schema=active)
    else:
        view = await read_version_view(dependencies, text, kind)
        headers = build_older_headers(view, active)
    return ServedVersion(view=view, active_version=active.version, headers=headers)


async def build_active_headers(dependencies: Dependencies, schema: Schema) -> tuple[Header, ...]:
    """Build the Link to the schema, and any Deprecation (RFC 9745) and Sunset (RFC 8594)."""
    url, context = schema_path(schema), _context_link(schema)
    deprecation = await find_deprecation(dependencies, schema)
    if deprecation is None:
        return (_link_header(f'<{url}>; rel="describedby", {context}'),)
    link = _link_header(f'<{url}>; rel="describedby", <{url}>; rel="deprecation", {context}')
    return (link, *_deprecation_headers(*deprecation))


def build_older_headers(version_view: SchemaVersionView, active: Schema) -> tuple[Header, ...]:
    """Build the headers of an older version: deprecated since its successor was recorded."""
    link = _link_header(
        f'<{schema_path(version_view.schema)}>; rel="describedby",'
        f' <{schema_path(active)}>; rel="successor-version"'
    )
    if version_view.superseded_at is None:
        return (link,)
    return (link, *_deprecation_headers(version_view.superseded_at, version_view.sunset_on))


def _context_link(schema: Schema) -> str:
    # JSON-LD 1.1 processors read plain JSON as linked data through this link.
    path = document_path(CONTEXT, schema)
    return f'<{path}>; rel="http://www.w3.org/ns/json-ld#context"; type="{CONTEXT.media_type}"'


def _deprecation_headers(since: datetime, sunset: date | None) -> tuple[Header, ...]:
    deprecation = (b"deprecation", b"@%d" % int(since.timestamp()))
    if sunset is None:
        return (deprecation,)
    midnight = datetime.combine(sunset, time(), UTC)
    return (deprecation, (b"sunset", format_datetime(midnight, usegmt=True).encode()))


def _link_header(text: str) -> Header:
    return (b"link", text.encode())
