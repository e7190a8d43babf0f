"""Schema discovery: the active schema, every known version, candidates, refresh."""

import re
from typing import Any, Final

import msgspec
from litestar import get, post

from spawn.application.dependencies import Services
from spawn.application.schemas.activation import ADOPTED, Refreshed
from spawn.application.schemas.adoption import refresh_schema
from spawn.domain.errors import NotFound
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header, Reply, encode, json_reply
from spawn.entrypoints.http.schemas.operations import REFRESH
from spawn.entrypoints.http.wire import content_tag, none_match
from spawn.ports.schemas import SchemaRecord, SchemaState

PATH: Final = "/v1/governance/schemas"
_NUMBER: Final = re.compile(r"0|[1-9]\d{0,8}")


def _operation(name: str, summary: str, schema: str, *problems: str) -> Operation:
    return Operation(
        id=name,
        tag="governance",
        summary=summary,
        parameters=("IfNoneMatch",),
        answers={
            200: Success(description="Found.", schema=schema, headers=("ETag",)),
            304: Success(description="Unchanged since that ETag.", headers=("ETag",)),
        },
        problems=problems,
    )


def summary_of(record: SchemaRecord) -> dict[str, Any]:
    """A schema version without its document."""
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


def outcome_of(outcome: Refreshed) -> dict[str, Any]:
    """What came of a look at the registry, or of a decision."""
    version = None if outcome.record is None else summary_of(outcome.record)
    return {"verdict": outcome.verdict, "detail": outcome.detail, "version": version}


def full(record: SchemaRecord) -> dict[str, Any]:
    """A schema version with its columns, and the registry's document as received."""
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
        **summary_of(record),
        "description": record.schema.description,
        "columns": columns,
        "document": msgspec.Raw(record.document),
    }


def _tagged(request: StrictRequest, value: object, *headers: Header) -> Reply:
    """An answer with a tag of its content; 304 if the client has it."""
    body = encode(value)
    tag = content_tag(body)
    fields = [(b"etag", tag.encode()), (b"cache-control", b"no-cache"), *headers]
    if none_match(request.field(b"if-none-match"), tag):
        return Reply(304, headers=fields)
    return Reply(200, body, headers=fields)


def version_number(request: StrictRequest) -> int:
    """The version in the path.

    Raises:
        NotFound: it is no number of a version.
    """
    number: str = request.scope["path_params"]["number"]
    if not _NUMBER.fullmatch(number):
        raise NotFound("There is no such version.")
    return int(number)


async def records_of(services: Services, schema_id: str) -> list[SchemaRecord]:
    """Every known version of a schema, oldest first."""
    found = [r for r in await services.schemas.records() if r.schema.id == schema_id]
    if not found:
        raise NotFound("There is no such schema.")
    return found


@get(PATH, opt=described(_operation("listSchemas", "List schemas", "SchemaList")))
async def list_all(request: StrictRequest) -> Reply:
    """The schemas this service knows, each by its ruling version."""
    request.query()
    request.accepts("application/json")
    ruling: dict[str, SchemaRecord] = {}
    for record in await request.services.schemas.records():
        known = ruling.get(record.schema.id)
        if known is None or record.state is SchemaState.ACTIVE:
            ruling[record.schema.id] = record
    items = [summary_of(record) for record in ruling.values()]
    return _tagged(request, {"items": items, "next": None})


@get(
    PATH + "/{schema_id:str}",
    opt=described(_operation("getSchema", "Read the active schema", "Schema", "not_found")),
)
async def read(request: StrictRequest) -> Reply:
    """The active version."""
    request.query()
    request.accepts("application/json")
    record = await request.services.active()
    if record.schema.id != request.scope["path_params"]["schema_id"]:
        raise NotFound("There is no such schema.")
    versions = f"<{PATH}/{record.schema.id}/versions>"
    return _tagged(request, full(record), (b"link", f'{versions}; rel="version-history"'.encode()))


@get(
    PATH + "/{schema_id:str}/versions",
    opt=described(
        _operation("listSchemaVersions", "List versions of a schema", "SchemaList", "not_found")
    ),
)
async def versions(request: StrictRequest) -> Reply:
    """Every version this service has met."""
    request.query()
    request.accepts("application/json")
    found = await records_of(request.services, request.scope["path_params"]["schema_id"])
    return _tagged(request, {"items": [summary_of(record) for record in found], "next": None})


@get(
    PATH + "/{schema_id:str}/versions/{number:str}",
    opt=described(
        _operation("getSchemaVersion", "Read a version of a schema", "Schema", "not_found")
    ),
)
async def version(request: StrictRequest) -> Reply:
    """One version."""
    request.query()
    request.accepts("application/json")
    number = version_number(request)
    found = await records_of(request.services, request.scope["path_params"]["schema_id"])
    # A refused content may have claimed the number of one that was adopted.
    for record in sorted(found, key=lambda record: record.state not in ADOPTED):
        if record.schema.version == number:
            return _tagged(request, full(record))
    raise NotFound("There is no such version.")


@get(
    PATH + "/{schema_id:str}/candidates",
    opt=described(
        _operation("listSchemaCandidates", "List versions not adopted", "SchemaList", "not_found")
    ),
)
async def candidates(request: StrictRequest) -> Reply:
    """Versions that wait or were refused, with the reason."""
    request.query()
    request.accepts("application/json")
    found = await records_of(request.services, request.scope["path_params"]["schema_id"])
    items = [summary_of(record) for record in found if record.state not in ADOPTED]
    return _tagged(request, {"items": items, "next": None})


@post(
    PATH + "/{schema_id:str}/refresh",
    status_code=200,
    opt=described(REFRESH),
)
async def refresh(request: StrictRequest) -> Reply:
    """Ask the registry itself; what is new is adopted, or waits with the reason."""
    request.query()
    request.accepts("application/json")
    schema_id = request.scope["path_params"]["schema_id"]
    await records_of(request.services, schema_id)
    with request.surface.span("refresh_schema"):
        outcome = await refresh_schema(
            request.services, request.surface.schema_rules, actor=request.principal.id
        )
    found = await records_of(request.services, schema_id)
    items = [summary_of(record) for record in found if record.state not in ADOPTED]
    return json_reply({**outcome_of(outcome), "items": items, "next": None})


ROUTES: Final = [list_all, read, versions, version, candidates, refresh]
