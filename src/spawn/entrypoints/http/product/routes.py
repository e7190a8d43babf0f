"""HTTP routes of the data-product documents, with content negotiation, ETags and links."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from litestar import get

from spawn.application.dependencies import Dependencies
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
from spawn.domain.errors import DeadlineExceeded, InvalidInput
from spawn.domain.quality.measures import Measurement
from spawn.entrypoints.http.openapi.document import OpenApiBuilder
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    SuccessResponse,
    operation_options,
)
from spawn.entrypoints.http.protocol.etags import content_etag, is_not_modified
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json
from spawn.entrypoints.http.state import StateKey

_FORMATS: Final[Mapping[str, str]] = {"yaml": YAML, "json": JSON}
_FORMAT: Final[Json] = {
    "name": "format",
    "in": "query",
    "description": "Response format; takes precedence over the Accept header.",
    "schema": {"type": "string", "enum": list(_FORMATS)},
}
_NO_CACHE: Final[Header] = (b"cache-control", b"no-cache")

_Encoder = Callable[[object], bytes]


class CachedDocument(msgspec.Struct, frozen=True):
    """An encoded document, its entity tag and its snapshot."""

    snapshot: ProductSnapshot
    body: bytes
    tag: str


class DocumentCache:
    """Cache of the last encoding of each document; another snapshot replaces it."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], CachedDocument] = {}
        self._measurement: Measurement | None = None
        self.openapi_builder: OpenApiBuilder | None = None

    def get(
        self,
        endpoint: Endpoint,
        media_type: str,
        snapshot: ProductSnapshot,
        build: Callable[[ProductSnapshot], object],
    ) -> CachedDocument:
        """Return the document of a snapshot, encoded anew if the snapshot changed."""
        key = (endpoint.path, media_type)
        document = self._documents.get(key)
        if document is None or document.snapshot != snapshot:
            encoder: _Encoder = _ENCODERS.get(media_type, encode_json)
            body = encoder(build(snapshot))
            document = CachedDocument(snapshot, body, content_etag(body))
            self._documents[key] = document
        return document

    async def measure_projects(self, dependencies: Dependencies) -> Measurement | None:
        """Count the projects, anew only after a write; None if the deadline is exceeded."""
        cached = self._measurement
        if cached is None or cached.position != await dependencies.reads.position():
            try:
                cached = self._measurement = await dependencies.quality.measure(())
            except DeadlineExceeded:
                return None
        return cached


DOCUMENTS: Final = StateKey(DocumentCache)

_ENCODERS: Final[Mapping[str, _Encoder]] = {YAML: msgspec.yaml.encode}
"""PyYAML's block style keeps the document's own order."""


def _operation(
    name: str, summary: str, endpoint: Endpoint, *media_types: str, formats: bool = False
) -> HandlerOperation:
    return HandlerOperation(
        id=name,
        tag="product",
        summary=summary,
        description=f"{endpoint.standard}, generated from the active schema.",
        parameters=("IfNoneMatch", _FORMAT) if formats else ("IfNoneMatch",),
        responses={
            200: SuccessResponse(
                description="The current document.",
                schema={"type": "object"},
                media_types=(endpoint.media_type, *media_types),
                headers=("ETag", "Link"),
            ),
            304: SuccessResponse(
                description="Unchanged since that ETag.", headers=("ETag", "Link")
            ),
        },
    )


async def _respond(
    request: StrictRequest,
    endpoint: Endpoint,
    build: Callable[[ProductSnapshot], object],
    *media_types: str,
    formats: bool = False,
    with_quality: bool = False,
    with_types: bool = False,
) -> Response:
    """Return a document in the requested format, or 304.

    `with_quality` includes the last quality report in its snapshot, `with_types` the store's types.
    """
    parameters = request.query_parameters(*(("format",) if formats else ()))
    media_type = (
        _parse_format(parameters["format"])
        if "format" in parameters
        else request.negotiate_media_type(*media_types)
    )
    http_state = request.http_state
    snapshot = await take_snapshot(request.dependencies, request.principal, http_state.product)
    if not with_quality:
        snapshot = msgspec.structs.replace(snapshot, report=None)
    if with_types:
        types = await read_physical_types(request.dependencies)
        snapshot = msgspec.structs.replace(snapshot, physical_types=types)
    document = http_state[DOCUMENTS].get(endpoint, media_type, snapshot, build)
    return _document_response(request, endpoint, document, media_type)


def _parse_format(name: str) -> str:
    if name not in _FORMATS:
        formats = ", ".join(_FORMATS)
        raise InvalidInput.at("/format", "not_in_enum", f"The format must be one of: {formats}.")
    return _FORMATS[name]


def _document_response(
    request: StrictRequest,
    endpoint: Endpoint,
    document: CachedDocument,
    media_type: str,
) -> Response:
    schema_link = f'<{schema_path(document.snapshot.schema)}>; rel="describedby"'
    headers = (
        (b"etag", document.tag.encode()),
        _NO_CACHE,
        link_header(endpoint.path, *([] if endpoint is API_CATALOG else [schema_link])),
    )
    if is_not_modified(request.header(b"if-none-match"), document.tag):
        return Response(304, headers=headers)
    content_type = f'{LINKSET}; profile="{PROFILE}"' if media_type == LINKSET else media_type
    return Response(200, document.body, media_type=content_type.encode(), headers=headers)


@get(
    CONTRACT.path,
    opt=operation_options(
        _operation("getContract", "Get the data contract", CONTRACT, JSON, formats=True)
    ),
)
async def read_contract(request: StrictRequest) -> Response:
    """Return the data contract."""
    return await _respond(
        request,
        CONTRACT,
        build_data_contract,
        YAML,
        JSON,
        formats=True,
        with_quality=True,
        with_types=True,
    )


@get(
    DATA_PRODUCT.path,
    opt=operation_options(
        _operation(
            "getDataProduct", "Get the data-product description", DATA_PRODUCT, JSON, formats=True
        )
    ),
)
async def read_data_product(request: StrictRequest) -> Response:
    """Return the data-product description."""
    return await _respond(request, DATA_PRODUCT, build_data_product, YAML, JSON, formats=True)


@get(
    CATALOG.path,
    opt=operation_options(_operation("getCatalog", "Get the catalogue entry", CATALOG, JSON)),
)
async def read_catalog(request: StrictRequest) -> Response:
    """Return the catalogue entry."""
    return await _respond(request, CATALOG, build_catalog, JSON_LD, JSON, with_quality=True)


@get(
    CONTEXT.path,
    opt=operation_options(_operation("getContext", "Get the JSON-LD context", CONTEXT, JSON)),
)
async def read_context(request: StrictRequest) -> Response:
    """Return the JSON-LD context."""
    return await _respond(request, CONTEXT, build_jsonld_context, JSON_LD, JSON)


@get(
    ASYNCAPI.path,
    opt=operation_options(_operation("getAsyncApi", "Get the AsyncAPI document", ASYNCAPI)),
)
async def read_asyncapi(request: StrictRequest) -> Response:
    """Return the AsyncAPI document."""
    return await _respond(request, ASYNCAPI, build_asyncapi, JSON)


@get(
    API_CATALOG.path,
    opt=operation_options(_operation("getApiCatalog", "Get the API catalogue", API_CATALOG, JSON)),
)
async def read_api_catalog(request: StrictRequest) -> Response:
    """Return the API catalogue."""
    return await _respond(
        request, API_CATALOG, lambda snapshot: build_api_catalog(snapshot.product), LINKSET, JSON
    )


@get(
    OPENAPI.path,
    opt=operation_options(_operation("getOpenApi", "Get the OpenAPI document", OPENAPI)),
)
async def read_openapi(request: StrictRequest) -> Response:
    """Return the OpenAPI document."""
    document_cache = request.http_state[DOCUMENTS]
    if document_cache.openapi_builder is None:
        raise RuntimeError("the application must set the builder of its OpenAPI document")
    validator = await request.dependencies.validator()
    build = document_cache.openapi_builder.build
    contact = request.http_state.product.contact_object
    return await _respond(request, OPENAPI, lambda _: build(validator, contact), JSON)


ROUTES: Final = [
    read_contract,
    read_data_product,
    read_catalog,
    read_context,
    read_asyncapi,
    read_api_catalog,
    read_openapi,
]
