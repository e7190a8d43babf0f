"""Where the product's documents are served: negotiated, tagged, linked with each other."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from litestar import get

from spawn.application.dependencies import Services
from spawn.application.product import api_catalog as linkset
from spawn.application.product.asyncapi import asyncapi
from spawn.application.product.dcat import catalog
from spawn.application.product.jsonld_context import json_ld_context
from spawn.application.product.links import (
    API_CATALOG,
    ASYNCAPI,
    CATALOG,
    CONTEXT,
    CONTRACT,
    DATA_PRODUCT,
    JSON,
    JSON_LD,
    LINKSET,
    OPENAPI,
    YAML,
    Place,
    link_header,
)
from spawn.application.product.odcs import data_contract
from spawn.application.product.odps import data_product
from spawn.application.product.snapshot import Json, View, gather, schema_path
from spawn.domain.errors import DeadlineExceeded, InvalidInput
from spawn.domain.quality.rules import Measured
from spawn.entrypoints.http.openapi.document import Description
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, encode
from spawn.entrypoints.http.wire import content_tag, none_match

_FORMATS: Final[Mapping[str, str]] = {"yaml": YAML, "json": JSON}
_FORMAT: Final[Json] = {
    "name": "format",
    "in": "query",
    "description": "The format, where Accept cannot be set: it wins over Accept.",
    "schema": {"type": "string", "enum": list(_FORMATS)},
}
_NO_CACHE: Final[Header] = (b"cache-control", b"no-cache")

Encode = Callable[[object], bytes]


class Printed(msgspec.Struct, frozen=True):
    """A document as sent, with its tag and the view it shows."""

    view: View
    body: bytes
    tag: str


class Press:
    """Keeps each document as it was encoded last; another view (schema, quality) replaces it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Printed] = {}
        self._counted: Measured | None = None
        self.description: Description | None = None

    def printed(
        self, place: Place, media_type: str, view: View, build: Callable[[View], object]
    ) -> Printed:
        """The document of a view."""
        key = (place.path, media_type)
        kept = self._kept.get(key)
        if kept is None or kept.view != view:
            encoder: Encode = _ENCODERS.get(media_type, encode)
            body = encoder(build(view))
            kept = self._kept[key] = Printed(view, body, content_tag(body))
        return kept

    async def counted(self, services: Services) -> Measured | None:
        """How much there is, counted again once anything was written; None if it takes too long."""
        kept = self._counted
        if kept is None or kept.position != await services.reads.position():
            try:
                kept = self._counted = await services.quality.measure(())
            except DeadlineExceeded:
                return None
        return kept


_ENCODERS: Final[Mapping[str, Encode]] = {YAML: msgspec.yaml.encode}
"""YAML in block style and in the document's own order; PyYAML does it."""


def _operation(name: str, place: Place, *more: str, formats: bool = False) -> Operation:
    return Operation(
        id=name,
        tag="product",
        summary=place.title,
        description=f"{place.standard}, generated from the active schema.",
        parameters=("IfNoneMatch", _FORMAT) if formats else ("IfNoneMatch",),
        answers={
            200: Success(
                description="As things are now.",
                schema={"type": "object"},
                media_types=(place.media_type, *more),
                headers=("ETag", "Link"),
            ),
            304: Success(description="Unchanged since that ETag.", headers=("ETag", "Link")),
        },
    )


async def _answer(
    request: StrictRequest,
    place: Place,
    build: Callable[[View], object],
    *media_types: str,
    formats: bool = False,
    measured: bool = False,
) -> Reply:
    """A document in the form asked for, or 304; `measured` if it shows what was measured."""
    given = request.query(*(("format",) if formats else ()))
    chosen = _format(given["format"]) if "format" in given else request.accepts(*media_types)
    surface = request.surface
    view = await gather(request.services, request.principal, surface.product)
    if not measured:
        view = msgspec.structs.replace(view, report=None)
    printed = surface.press.printed(place, chosen, view, build)
    return _tagged(request, place, printed, chosen, view)


def _format(name: str) -> str:
    if name not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise InvalidInput.at("/format", "not_in_enum", f"There are: {known}.")
    return _FORMATS[name]


def _tagged(
    request: StrictRequest, place: Place, printed: Printed, media_type: str, view: View
) -> Reply:
    ruled = f'<{schema_path(view.schema)}>; rel="describedby"'
    headers = (
        (b"etag", printed.tag.encode()),
        _NO_CACHE,
        link_header(place.path, *([] if place is API_CATALOG else [ruled])),
    )
    if none_match(request.field(b"if-none-match"), printed.tag):
        return Reply(304, headers=headers)
    shown = f'{LINKSET}; profile="{linkset.PROFILE}"' if media_type == LINKSET else media_type
    return Reply(200, printed.body, media_type=shown.encode(), headers=headers)


@get(CONTRACT.path, opt=described(_operation("getContract", CONTRACT, JSON, formats=True)))
async def contract(request: StrictRequest) -> Reply:
    """What is promised of the data."""
    return await _answer(request, CONTRACT, data_contract, YAML, JSON, formats=True, measured=True)


@get(
    DATA_PRODUCT.path,
    opt=described(_operation("getDataProduct", DATA_PRODUCT, JSON, formats=True)),
)
async def product(request: StrictRequest) -> Reply:
    """What this product takes in and gives out."""
    return await _answer(request, DATA_PRODUCT, data_product, YAML, JSON, formats=True)


@get(CATALOG.path, opt=described(_operation("getCatalog", CATALOG, JSON)))
async def catalogue(request: StrictRequest) -> Reply:
    """What a catalogue harvests."""
    return await _answer(request, CATALOG, catalog, JSON_LD, JSON, measured=True)


@get(CONTEXT.path, opt=described(_operation("getContext", CONTEXT, JSON)))
async def context(request: StrictRequest) -> Reply:
    """What each field means."""
    return await _answer(request, CONTEXT, json_ld_context, JSON_LD, JSON)


@get(ASYNCAPI.path, opt=described(_operation("getAsyncApi", ASYNCAPI)))
async def events(request: StrictRequest) -> Reply:
    """The event interface."""
    return await _answer(request, ASYNCAPI, asyncapi, JSON)


@get(API_CATALOG.path, opt=described(_operation("getApiCatalog", API_CATALOG, JSON)))
async def apis(request: StrictRequest) -> Reply:
    """The APIs and what describes them."""
    return await _answer(
        request, API_CATALOG, lambda view: linkset.api_catalog(view.product), LINKSET, JSON
    )


@get(OPENAPI.path, opt=described(_operation("getOpenApi", OPENAPI)))
async def openapi(request: StrictRequest) -> Reply:
    """The HTTP interface."""
    press = request.surface.press
    if press.description is None:
        press.description = Description(request.app)
    conformance = await request.services.conformance()
    build = press.description.build
    contact = request.surface.product.contact_object
    return await _answer(request, OPENAPI, lambda _: build(conformance, contact), JSON)


ROUTES: Final = [contract, product, catalogue, context, events, apis, openapi]
