"""HTTP routes of the data-product documents, with content negotiation, ETags and links."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.application.product.api_catalog import PROFILE, build_api_catalog
from spawn.application.product.asyncapi import build_asyncapi
from spawn.application.product.dcat import build_catalog
from spawn.application.product.jsonld_context import build_jsonld_context
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
    Endpoint,
    link_header,
)
from spawn.application.product.odcs import build_data_contract
from spawn.application.product.odps import build_data_product
from spawn.application.product.snapshot import (
    Json,
    ProductSnapshot,
    read_physical_types,
    schema_path,
    take_snapshot,
)
from spawn.application.quality.queries import ProjectCounter
from spawn.application.schemas.version_selection import (
    read_schema_kind,
    read_version_selection,
)
from spawn.domain.errors import InvalidInput
from spawn.domain.principal import Scope
from spawn.domain.schemas.validator import compile_schema
from spawn.entrypoints.http.openapi.document import OpenApiBuilder
from spawn.entrypoints.http.product.document_encoding import (
    encode_json_document,
    encode_yaml_document,
)
from spawn.entrypoints.http.protocol.etags import content_etag, is_not_modified
from spawn.entrypoints.http.protocol.operation import (
    IF_NONE_MATCH,
    PUBLIC,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import SCHEMA_ID, SCHEMA_VERSIONS
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.state import HttpState, StateKey

_FORMATS: Final[Mapping[str, str]] = {"yaml": YAML, "json": JSON}
_Encoder = Callable[[object], bytes]


class CachedDocument(msgspec.Struct, frozen=True):
    """An encoded document, its entity tag and its snapshot."""

    snapshot: ProductSnapshot
    body: bytes
    tag: str


PREPARE_DELAY_S: Final = 5.0
"""Time from the start until documents are built that nobody has read yet."""

MAX_DOCUMENTS: Final = 32
"""Cached encodings: every document, of a few schema versions."""


class DocumentCache:
    """Cache of the last encoding of each document and version; another snapshot replaces it."""

    def __init__(self) -> None:
        self._documents: BoundedCache[CachedDocument] = BoundedCache(MAX_DOCUMENTS)
        self._building = asyncio.Lock()

    async def get(
        self, document: "ProductDocument", media_type: str, snapshot: ProductSnapshot
    ) -> CachedDocument:
        """Return the document of a snapshot, encoded anew if the snapshot changed.

        A thread builds it, for all who wait: the OpenAPI document computes its examples, which
        takes half a second.
        """
        versions = tuple((one.schema.id, one.schema.version) for one in snapshot.all_datasets)
        key = (document.endpoint.path, media_type, versions)
        entry = self._documents.get(key)
        if entry is not None and entry.snapshot == snapshot:
            return entry
        async with self._building:
            entry = self._documents.get(key)
            if entry is None or entry.snapshot != snapshot:
                encoder: _Encoder = _ENCODERS.get(media_type, encode_json_document)
                body = await asyncio.to_thread(lambda: encoder(document.build(snapshot)))
                built = CachedDocument(snapshot, body, content_etag(body))
                entry = self._documents.put(key, built)
            return entry


DOCUMENTS: Final = StateKey(DocumentCache)
MEASUREMENTS: Final = StateKey(ProjectCounter)

_ENCODERS: Final[Mapping[str, _Encoder]] = {YAML: encode_yaml_document}


class ProductDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document of the product: its operation, and the function that builds it of a snapshot.

    `is_versioned` if it describes an older schema version on request, `is_of_one_schema` if it
    describes one schema, by default that of projects.
    `with_quality` includes the last quality report in its snapshot, `with_types` the store's types.
    A document without figures of the data is public.
    """

    endpoint: Endpoint
    id: str
    summary: str
    build: Callable[[ProductSnapshot], object]
    media_types: tuple[str, ...] = (JSON,)
    formats: Mapping[str, str] = {}
    with_quality: bool = False
    with_types: bool = False
    is_versioned: bool = False
    is_of_one_schema: bool = False

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters of a request for the document."""
        schema_id = (SCHEMA_ID,) if self.is_of_one_schema else ()
        versions = (SCHEMA_VERSIONS,) if self.is_versioned else ()
        return (*schema_id, *versions, IF_NONE_MATCH)


_PRODUCT_DOCUMENTS: Final = (
    ProductDocument(
        endpoint=CONTRACT,
        id="getContract",
        summary="Get the data contract",
        build=build_data_contract,
        media_types=(YAML, JSON),
        formats=_FORMATS,
        with_types=True,
        is_versioned=True,
        is_of_one_schema=True,
    ),
    ProductDocument(
        endpoint=DATA_PRODUCT,
        id="getDataProduct",
        summary="Get the data-product description",
        build=build_data_product,
        media_types=(YAML, JSON),
        formats=_FORMATS,
    ),
    ProductDocument(
        endpoint=CATALOG,
        id="getCatalog",
        summary="Get the catalogue entry",
        build=build_catalog,
        media_types=(JSON_LD, JSON),
        with_quality=True,
    ),
    ProductDocument(
        endpoint=CONTEXT,
        id="getContext",
        summary="Get the JSON-LD context",
        build=build_jsonld_context,
        media_types=(JSON_LD, JSON),
        is_versioned=True,
        is_of_one_schema=True,
    ),
    ProductDocument(
        endpoint=ASYNCAPI,
        id="getAsyncApi",
        summary="Get the AsyncAPI document",
        build=build_asyncapi,
        is_versioned=True,
    ),
    ProductDocument(
        endpoint=API_CATALOG,
        id="getApiCatalog",
        summary="Get the API catalogue",
        build=lambda snapshot: build_api_catalog(snapshot.product),
        media_types=(LINKSET, JSON),
    ),
)


def _create_route(document: ProductDocument) -> Route:
    """Create the route of one document."""

    @route(
        "GET",
        document.endpoint.path,
        document.id,
        tag="product",
        scopes=(Scope.PROJECTS_READ,) if document.with_quality else PUBLIC,
        serves_row_scopes=True,
        summary=document.summary,
        description=f"{document.endpoint.standard}, generated from the active schema.",
        parameters=document.parameters,
        returns=Success(
            {"type": "object"},
            "The current document.",
            media_types=document.media_types,
            headers=("ETag", "Link"),
        ),
        problems=("not_found", "schema_version_expired") if document.is_versioned else (),
        formats=document.formats,
    )
    async def handler(request: StrictRequest) -> Response:
        return await _respond(request, document)

    return handler


async def _respond(request: StrictRequest, document: ProductDocument) -> Response:
    """Return a document in the requested format, or 304."""
    http_state = request.http_state
    principal = request.principal if document.with_quality else None
    dependencies = request.dependencies
    kind = await read_schema_kind(dependencies, request.query.get("schema_id"))
    text = request.query.get("schema_version")
    versions = await read_version_selection(dependencies, text, kind)
    if document.is_of_one_schema and any(other != kind for other, _ in versions):
        detail = "The document describes one schema: name it by schema_id."
        raise InvalidInput.at("/schema_version", "contradiction", detail)
    snapshot = await take_snapshot(dependencies, principal, http_state.product, versions, kind)
    if document.with_types:
        types = await read_physical_types(dependencies, kind, dict(versions).get(kind))
        snapshot = msgspec.structs.replace(snapshot, physical_types=types)
    cached_document = await http_state[DOCUMENTS].get(document, request.media_type, snapshot)
    return _document_response(request, document.endpoint, cached_document)


def _document_response(
    request: StrictRequest, endpoint: Endpoint, document: CachedDocument
) -> Response:
    schema_link = f'<{schema_path(document.snapshot.schema)}>; rel="describedby"'
    headers = (
        (b"etag", document.tag.encode()),
        NO_CACHE,
        link_header(endpoint.path, *([] if endpoint is API_CATALOG else [schema_link])),
    )
    if is_not_modified(request.header(b"if-none-match"), document.tag):
        return Response(304, headers=headers)
    content_type = request.media_type
    if content_type == LINKSET:
        content_type = f'{LINKSET}; profile="{PROFILE}"'
    return Response(200, document.body, media_type=content_type.encode(), headers=headers)


def create_openapi_document(list_routes: Callable[[], Sequence[Route]]) -> ProductDocument:
    """Return the OpenAPI document of all routes, which exist once it is first built."""

    @cache
    def get_builder() -> OpenApiBuilder:
        return OpenApiBuilder(list_routes())

    def build_openapi(snapshot: ProductSnapshot) -> Json:
        product = snapshot.product
        return get_builder().build(
            compile_schema(snapshot.schema),
            product.contact_object,
            product.base_url,
            others=snapshot.other_schemas,
            is_open=product.is_open,
        )

    return ProductDocument(
        endpoint=OPENAPI,
        id="getOpenApi",
        summary="Get the OpenAPI document",
        build=build_openapi,
        is_versioned=True,
    )


def create_routes(openapi: ProductDocument) -> list[Route]:
    """Return the routes of all documents."""
    return [_create_route(document) for document in (*_PRODUCT_DOCUMENTS, openapi)]


async def prepare_document(http_state: HttpState, document: ProductDocument) -> None:
    """Build a document a little after the start, so that its first reader need not wait.

    The first OpenAPI document of a process computes the examples of the calculators, and takes half
    a second of a processor; a process that just began has other work for it.
    """
    await asyncio.sleep(PREPARE_DELAY_S)
    snapshot = await take_snapshot(http_state.dependencies, None, http_state.product)
    await http_state[DOCUMENTS].get(document, document.media_types[0], snapshot)
