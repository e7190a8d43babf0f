"""Under which version of the schema projects are shown, and the headers that say so."""

import re
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Final

import msgspec

from spawn.application.product.links import CONTEXT
from spawn.application.product.snapshot import schema_path
from spawn.application.projects.versioned_views import Shape, deprecated_since, shape_of
from spawn.domain.errors import InvalidInput
from spawn.domain.schemas.model import Schema
from spawn.domain.schemas.validator import Conformance, compile_schema
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")

# With it, JSON-LD 1.1 reads plain JSON as linked data.
_CONTEXT: Final = (
    f'<{CONTEXT.path}>; rel="http://www.w3.org/ns/json-ld#context"; type="{CONTEXT.media_type}"'
)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How projects are shown: in which shape, which fields (empty: all), with which headers.

    `generation` is the schema version that ruled when the view was made. `marks` tell this view
    from others of the same generation; there are none for the whole project as it is now.
    """

    shape: Shape
    generation: int
    headers: tuple[Header, ...]
    names: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """The schema that answers are under."""
        return self.shape.schema

    @property
    def conformance(self) -> Conformance:
        """That schema, compiled: it knows the names that the request uses."""
        return compile_schema(self.shape.schema)

    @property
    def marks(self) -> tuple[str, ...]:
        """What is said beside version, epoch and generation to name a representation."""
        if self.schema.version == self.generation:
            return self.names
        return (f"schema_version={self.schema.version}", *self.names)


async def ruling_view(request: StrictRequest) -> View:
    """Whole projects under the version that rules."""
    schema = (await request.services.active()).schema
    kept = request.surface.views
    key = (schema.id, schema.version, schema.fingerprint)
    view = kept.get(key)
    if view is None:
        headers = await _headers(request, schema)
        shape = Shape(schema=schema)
        view = kept.put(key, View(shape=shape, generation=schema.version, headers=headers))
    return view


async def asked_view(request: StrictRequest, version: str | None) -> View:
    """Whole projects under the version that a query names, or under the one that rules.

    Raises:
        InvalidInput: it names no version.
        NotFound: the version never had data here.
        SchemaVersionExpired: its shape is no longer served.
    """
    ruling = await ruling_view(request)
    if version is None:
        return ruling
    if not _NUMBER.fullmatch(version):
        detail = "A schema version is a whole number."
        raise InvalidInput.at("/schema_version", "out_of_range", detail)
    if int(version) == ruling.generation:
        return ruling
    shape = await shape_of(request.services, int(version))
    headers = _older(shape, ruling.schema)
    return View(shape=shape, generation=ruling.generation, headers=headers)


async def _headers(request: StrictRequest, schema: Schema) -> tuple[Header, ...]:
    """The Link to the schema; and the notice that some of it will go (RFC 9745, RFC 8594)."""
    url = schema_path(schema)
    leaving = [column for column in schema.columns if column.deprecated]
    since = await deprecated_since(request.services) if leaving else None
    if since is None:
        return (_link(f'<{url}>; rel="describedby", {_CONTEXT}'),)
    sunsets = [c.announced_sunset for c in leaving if c.announced_sunset is not None]
    link = _link(f'<{url}>; rel="describedby", <{url}>; rel="deprecation", {_CONTEXT}')
    return (link, *_notice(since, min(sunsets, default=None)))


def _older(shape: Shape, ruling: Schema) -> tuple[Header, ...]:
    """An older shape is deprecated as such, since its successor came."""
    link = _link(
        f'<{schema_path(shape.schema)}>; rel="describedby",'
        f' <{schema_path(ruling)}>; rel="successor-version"'
    )
    if shape.superseded_at is None:
        return (link,)
    return (link, *_notice(shape.superseded_at, shape.until))


def _notice(since: datetime, until: date | None) -> tuple[Header, ...]:
    deprecation = (b"deprecation", b"@%d" % int(since.timestamp()))
    if until is None:
        return (deprecation,)
    midnight = datetime.combine(until, time(), UTC)
    return (deprecation, (b"sunset", format_datetime(midnight, usegmt=True).encode()))


def _link(text: str) -> Header:
    return (b"link", text.encode())
