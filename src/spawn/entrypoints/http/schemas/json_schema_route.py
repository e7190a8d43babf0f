"""HTTP route of the JSON Schema of a schema version."""

from typing import Final

from spawn.application.schemas.published_schema import get_published_schema
from spawn.domain.principal import Scope
from spawn.domain.schemas.json_schema import SchemaUse
from spawn.entrypoints.http.product.document_encoding import encode_json_document
from spawn.entrypoints.http.protocol.etags import content_etag, is_not_modified
from spawn.entrypoints.http.protocol.operation import IF_NONE_MATCH, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import read_choice
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.schemas.routes import TAG, read_version_number
from spawn.entrypoints.http.schemas.wire import PATH

_MEDIA_TYPE: Final = "application/schema+json"
_USE: Final = Parameter(
    "use",
    {"type": "string", "enum": list(SchemaUse), "default": SchemaUse.OUTPUT.value},
    "What the schema describes: the body of a creation (`input`), a merge patch (`patch`) or a "
    "resource as served (`output`).",
    examples={"input": {"value": "input"}},
)


@route(
    "GET",
    PATH + "/{schema_id}/versions/{number}/json-schema",
    "getSchemaVersionJsonSchema",
    tag=TAG,
    summary="Get the JSON Schema of a schema version",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    serves_row_scopes=True,
    parameters=(_USE, IF_NONE_MATCH),
    returns=Success(
        {"type": "object"},
        "A JSON Schema 2020-12.",
        media_types=(_MEDIA_TYPE, "application/json"),
        headers=("ETag", "Link"),
    ),
    problems=("not_found",),
)
async def read_json_schema(request: StrictRequest, schema_id: str, number: str) -> Response:
    """Return the JSON Schema of what the schema governs, under one version of it."""
    use = read_choice(request.query, "use", SchemaUse) or SchemaUse.OUTPUT
    version = read_version_number(number)
    path = f"{PATH}/{schema_id}/versions/{version}"
    document = await get_published_schema(
        request.dependencies,
        request.principal,
        schema_id,
        version,
        use,
        url=request.http_state.product.url(f"{path}/json-schema?use={use}"),
    )
    body = encode_json_document(document)
    tag = content_etag(body)
    link = f'<{path}>; rel="describes"'
    headers = ((b"etag", tag.encode()), NO_CACHE, (b"link", link.encode()))
    if is_not_modified(request.header(b"if-none-match"), tag):
        return Response(304, headers=headers)
    return Response(200, body, media_type=request.media_type.encode(), headers=headers)


ROUTES: Final[list[Route]] = [read_json_schema]
