"""Schema version under which projects are served, and its response headers."""

from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Final

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.application.product.links import CONTEXT
from spawn.application.product.snapshot import schema_path
from spawn.application.schemas.served_versions import (
    SchemaVersionView,
    find_deprecation,
    read_version_view,
)
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.validator import SchemaValidator, compile_schema
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header
from spawn.entrypoints.http.state import StateKey

# JSON-LD 1.1 processors read plain JSON as linked data through this link.
_CONTEXT_LINK: Final = (
    f'<{CONTEXT.path}>; rel="http://www.w3.org/ns/json-ld#context"; type="{CONTEXT.media_type}"'
)


class ProjectView(msgspec.Struct, frozen=True, kw_only=True):
    """Representation of projects: schema version, fields (empty: all) and response headers.

    `active_version` is the active schema version when the view was made.
    """

    version_view: SchemaVersionView
    active_version: int
    headers: tuple[Header, ...]
    field_names: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """Schema version of the response."""
        return self.version_view.schema

    @property
    def validator(self) -> SchemaValidator:
        """Compiled schema; it knows the field names that the request may use."""
        return compile_schema(self.version_view.schema)

    @property
    def etag_parts(self) -> tuple[str, ...]:
        """Parts of the entity tag beside version, epoch and active schema version.

        They distinguish views under one active version; the whole current project has none.
        """
        if self.schema.version == self.active_version:
            return self.field_names
        return (f"schema_version={self.schema.version}", *self.field_names)


MAX_VIEWS: Final = 8
"""Cached views of whole projects, one per schema version."""


def _create_cache() -> BoundedCache[ProjectView]:
    return BoundedCache(MAX_VIEWS)


VIEWS: Final = StateKey(_create_cache)


async def active_view(request: StrictRequest) -> ProjectView:
    """Return the view of whole projects under the active schema version."""
    schema = (await request.dependencies.active_schema()).schema
    cache = request.http_state[VIEWS]
    key = (schema.id, schema.version, schema.fingerprint)
    view = cache.get(key)
    if view is None:
        headers = await _active_version_headers(request, schema)
        version_view = SchemaVersionView(schema=schema)
        view = cache.put(
            key,
            ProjectView(version_view=version_view, active_version=schema.version, headers=headers),
        )
    return view


async def view_for_version(request: StrictRequest, version: str | None) -> ProjectView:
    """Return the view of whole projects under a schema version; None is the active one.

    Raises:
        InvalidInput: the text is not a version number.
        NotFound: this store never had data under the version.
        SchemaVersionExpired: the version is no longer served.
    """
    current = await active_view(request)
    if version is None:
        return current
    if version == str(current.active_version):
        return current
    version_view = await read_version_view(request.dependencies, version)
    headers = _older_version_headers(version_view, current.schema)
    return ProjectView(
        version_view=version_view, active_version=current.active_version, headers=headers
    )


async def _active_version_headers(request: StrictRequest, schema: Schema) -> tuple[Header, ...]:
    """Build the Link to the schema, and any Deprecation (RFC 9745) and Sunset (RFC 8594)."""
    url = schema_path(schema)
    deprecation = await find_deprecation(request.dependencies, schema)
    if deprecation is None:
        return (_link_header(f'<{url}>; rel="describedby", {_CONTEXT_LINK}'),)
    link = _link_header(f'<{url}>; rel="describedby", <{url}>; rel="deprecation", {_CONTEXT_LINK}')
    return (link, *_deprecation_headers(*deprecation))


def _older_version_headers(version_view: SchemaVersionView, active: Schema) -> tuple[Header, ...]:
    """Build the headers of an older version: deprecated since its successor was recorded."""
    link = _link_header(
        f'<{schema_path(version_view.schema)}>; rel="describedby",'
        f' <{schema_path(active)}>; rel="successor-version"'
    )
    if version_view.superseded_at is None:
        return (link,)
    return (link, *_deprecation_headers(version_view.superseded_at, version_view.sunset_on))


def _deprecation_headers(since: datetime, sunset: date | None) -> tuple[Header, ...]:
    deprecation = (b"deprecation", b"@%d" % int(since.timestamp()))
    if sunset is None:
        return (deprecation,)
    midnight = datetime.combine(sunset, time(), UTC)
    return (deprecation, (b"sunset", format_datetime(midnight, usegmt=True).encode()))


def _link_header(text: str) -> Header:
    return (b"link", text.encode())
