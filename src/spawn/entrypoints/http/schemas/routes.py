"""HTTP routes of schema discovery: active schema, versions, candidates, refresh."""

import re
from typing import Any, Final

import msgspec
from litestar import get, post

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.activation import ADOPTED, RefreshResult
from spawn.application.schemas.adoption import refresh_schema
from spawn.domain.errors import NotFound
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    SuccessResponse,
    operation_options,
)
from spawn.entrypoints.http.protocol.etags import content_etag, is_not_modified
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json, json_response
from spawn.entrypoints.http.schemas.operations import REFRESH
from spawn.ports.schemas import SchemaRecord, SchemaState

PATH: Final = "/v1/governance/schemas"
_VERSION_NUMBER: Final = re.compile(r"0|[1-9]\d{0,8}")


def _operation(name: str, summary: str, schema: str, *problems: str) -> HandlerOperation:
    return HandlerOperation(
        id=name,
        tag="governance",
        summary=summary,
        parameters=("IfNoneMatch",),
        responses={
            200: SuccessResponse(
                description="The current state.", schema=schema, headers=("ETag",)
            ),
            304: SuccessResponse(description="Unchanged since that ETag.", headers=("ETag",)),
        },
        problems=problems,
    )


def render_schema_summary(record: SchemaRecord) -> dict[str, Any]:
    """Render a schema version without its document."""
    schema = record.schema
    return {
        "schema_id": schema.id,
        "version": schema.version,
        "name": schema.name,
        "state": record.state,
        "provenance": record.provenance,
        "recorded_at": record.recorded_at,
        "fingerprint": schema.fingerprint,
        "reason": record.reason or None,
        "decision": record.decision,
        "url": f"{PATH}/{schema.id}/versions/{schema.version}",
    }


def render_outcome(outcome: RefreshResult) -> dict[str, Any]:
    """Render the result of a refresh or of a decision."""
    version = None if outcome.record is None else render_schema_summary(outcome.record)
    return {"verdict": outcome.verdict, "detail": outcome.detail, "version": version}


def render_schema(record: SchemaRecord) -> dict[str, Any]:
    """Render a schema version with its columns and the registry's document as received."""
    columns = [
        {
            "name": column.name,
            "type": str(column.type),
            "description": column.description,
            "required": column.required,
            "governed": column in record.schema.governed,
            "semantic": column.semantic,
            "unit": column.unit,
            "aliases": column.aliases,
            "deprecated": column.deprecated,
            "sunset": column.sunset,
        }
        for column in record.schema.columns
    ]
    return {
        **render_schema_summary(record),
        "description": record.schema.description,
        "columns": columns,
        "document": msgspec.Raw(record.document),
    }


def _etag_response(request: StrictRequest, value: object, *headers: Header) -> Response:
    """Return a response tagged by its content, or 304 if the client has it."""
    body = encode_json(value)
    tag = content_etag(body)
    fields = [(b"etag", tag.encode()), (b"cache-control", b"no-cache"), *headers]
    if is_not_modified(request.header(b"if-none-match"), tag):
        return Response(304, headers=fields)
    return Response(200, body, headers=fields)


def read_version_number(request: StrictRequest) -> int:
    """Return the version number in the path.

    Raises:
        NotFound: the path has no valid version number.
    """
    number: str = request.scope["path_params"]["number"]
    if not _VERSION_NUMBER.fullmatch(number):
        raise NotFound("There is no such version.")
    return int(number)


async def find_records(dependencies: Dependencies, schema_id: str) -> list[SchemaRecord]:
    """Return every known version of a schema, oldest first."""
    all_records = await dependencies.schemas.records()
    records = [record for record in all_records if record.schema.id == schema_id]
    if not records:
        raise NotFound("There is no such schema.")
    return records


@get(PATH, opt=operation_options(_operation("listSchemas", "List schemas", "SchemaList")))
async def read_schemas(request: StrictRequest) -> Response:
    """List the known schemas, each by its active version."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    by_id: dict[str, SchemaRecord] = {}
    for record in await request.dependencies.schemas.records():
        if record.schema.id not in by_id or record.state is SchemaState.ACTIVE:
            by_id[record.schema.id] = record
    items = [render_schema_summary(record) for record in by_id.values()]
    return _etag_response(request, {"items": items, "next": None})


@get(
    PATH + "/{schema_id:str}",
    opt=operation_options(_operation("getSchema", "Get the active schema", "Schema", "not_found")),
)
async def read_active_schema(request: StrictRequest) -> Response:
    """Return the active schema version."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    record = await request.dependencies.active_schema()
    if record.schema.id != request.scope["path_params"]["schema_id"]:
        raise NotFound("There is no such schema.")
    versions_link = f'<{PATH}/{record.schema.id}/versions>; rel="version-history"'
    return _etag_response(request, render_schema(record), (b"link", versions_link.encode()))


@get(
    PATH + "/{schema_id:str}/versions",
    opt=operation_options(
        _operation("listSchemaVersions", "List schema versions", "SchemaList", "not_found")
    ),
)
async def read_schema_versions(request: StrictRequest) -> Response:
    """List every known version of a schema."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    records = await find_records(request.dependencies, request.scope["path_params"]["schema_id"])
    return _etag_response(
        request, {"items": [render_schema_summary(record) for record in records], "next": None}
    )


@get(
    PATH + "/{schema_id:str}/versions/{number:str}",
    opt=operation_options(
        _operation("getSchemaVersion", "Get a schema version", "Schema", "not_found")
    ),
)
async def read_schema_version(request: StrictRequest) -> Response:
    """Return one schema version."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    number = read_version_number(request)
    records = await find_records(request.dependencies, request.scope["path_params"]["schema_id"])
    # A rejected document may have the same version number as an adopted one.
    for record in sorted(records, key=lambda record: record.state not in ADOPTED):
        if record.schema.version == number:
            return _etag_response(request, render_schema(record))
    raise NotFound("There is no such version.")


@get(
    PATH + "/{schema_id:str}/candidates",
    opt=operation_options(
        _operation("listSchemaCandidates", "List schema candidates", "SchemaList", "not_found")
    ),
)
async def read_schema_candidates(request: StrictRequest) -> Response:
    """List candidates, quarantined and rejected versions, with the reason."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    records = await find_records(request.dependencies, request.scope["path_params"]["schema_id"])
    items = [render_schema_summary(record) for record in records if record.state not in ADOPTED]
    return _etag_response(request, {"items": items, "next": None})


@post(
    PATH + "/{schema_id:str}/refresh",
    status_code=200,
    opt=operation_options(REFRESH),
)
async def post_schema_refresh(request: StrictRequest) -> Response:
    """Fetch the newest version from the ontology server, and adopt or quarantine it."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    schema_id = request.scope["path_params"]["schema_id"]
    await find_records(request.dependencies, schema_id)
    with request.http_state.span("refresh_schema"):
        outcome = await refresh_schema(
            request.dependencies, request.http_state.schema_policy, actor=request.principal.id
        )
    records = await find_records(request.dependencies, schema_id)
    items = [render_schema_summary(record) for record in records if record.state not in ADOPTED]
    return json_response({**render_outcome(outcome), "items": items, "next": None})


ROUTES: Final = [
    read_schemas,
    read_active_schema,
    read_schema_versions,
    read_schema_version,
    read_schema_candidates,
    post_schema_refresh,
]
