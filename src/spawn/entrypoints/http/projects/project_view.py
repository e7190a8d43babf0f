"""Schema version under which projects are served, with its response headers."""

from typing import Final

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.application.schemas.served_versions import SchemaVersionView, read_version_view
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.validator import SchemaValidator, compile_schema
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header
from spawn.entrypoints.http.schemas.version_headers import (
    build_active_headers,
    build_older_headers,
)
from spawn.entrypoints.http.state import StateKey


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
    def filter_validator(self) -> SchemaValidator:
        """Compiled schema of filters, which take every value that the version returns."""
        return compile_schema(self.version_view.value_schema)

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
        headers = await build_active_headers(request.dependencies, schema)
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
    headers = build_older_headers(version_view, current.schema)
    return ProjectView(
        version_view=version_view, active_version=current.active_version, headers=headers
    )
