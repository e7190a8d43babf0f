"""HTTP routes of schema discovery: active schema, versions, candidates, refresh."""

import re
from collections.abc import Mapping
from typing import Final

from spawn.application.schemas.consumers import get_readership
from spawn.application.schemas.refresh import refresh_schema
from spawn.application.schemas.versions import (
    get_active_version,
    get_version,
    list_candidates,
    list_registry,
    list_schemas,
    list_versions,
)
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.principal import Scope
from spawn.entrypoints.http.protocol.operation import Cache, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Result, Route, route
from spawn.entrypoints.http.schemas.wire import (
    PATH,
    RefreshView,
    RegistryView,
    SchemaSummaryView,
    SchemaView,
)
from spawn.entrypoints.http.wire import PageView
from spawn.ports.schemas import SchemaRecord

TAG: Final = "governance"
VERSION_SCHEMA: Final = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_VERSION_NUMBER: Final = re.compile(r"0|[1-9]\d{0,8}")
_VERSION_PARAMETER: Final = re.compile(r"[0-9]{1,9}")
_VERSIONS: Final = Success(PageView[SchemaSummaryView], "The current state.")
_VERSION: Final = Success(SchemaView, "The current state.")


def read_version_number(number: str) -> int:
    """Return the version number in a path.

    Raises:
        NotFound: it is no valid version number.
    """
    if not _VERSION_NUMBER.fullmatch(number):
        raise NotFound("There is no such version.")
    return int(number)


def read_version_parameter(parameters: Mapping[str, str], name: str) -> int | None:
    """Return the version number in a query parameter; None if it is absent.

    Raises:
        InvalidInput: it is no version number.
    """
    text = parameters.get(name)
    if text is not None and not _VERSION_PARAMETER.fullmatch(text):
        raise InvalidInput.at(f"/{name}", "out_of_range", "A version is a whole number.")
    return None if text is None else int(text)


def _summarize(records: list[SchemaRecord]) -> tuple[SchemaSummaryView, ...]:
    return tuple(map(SchemaSummaryView.of_record, records))


@route(
    "GET",
    PATH,
    "listSchemas",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    serves_row_scopes=True,
    tag=TAG,
    summary="List schemas",
    returns=_VERSIONS,
    cache=Cache.REVALIDATE,
)
async def read_schemas(request: StrictRequest) -> PageView[SchemaSummaryView]:
    """List the known schemas, each by its active version."""
    records = await list_schemas(request.dependencies, request.principal)
    return PageView(_summarize(records), next=None)


@route(
    "GET",
    "/v1/governance/registry",
    "getSchemaRegistry",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    tag=TAG,
    summary="List the schemas of the ontology server",
    description=(
        "The ontology server is asked now. A schema that governs a kind of aggregate has its "
        "published versions; the others are listed with their latest."
    ),
    returns=Success(RegistryView, "The ontology server's list."),
    problems=("registry_error",),
)
async def read_registry(request: StrictRequest) -> RegistryView:
    """List the schemas of the ontology server, and the kinds that follow them."""
    listed = await list_registry(
        request.dependencies, request.principal, request.http_state.schema_policies
    )
    return RegistryView.of(request.dependencies.registry.status(), items=listed, next=None)


@route(
    "GET",
    PATH + "/{schema_id}",
    "getSchema",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the active schema",
    returns=_VERSION,
    problems=("not_found",),
    cache=Cache.REVALIDATE,
)
async def read_active_schema(request: StrictRequest, schema_id: str) -> Result:
    """Return the active schema version."""
    record = await get_active_version(request.dependencies, request.principal, schema_id)
    link = f'<{PATH}/{schema_id}/versions>; rel="version-history"'
    return Result(await _build_view(request, record), ((b"link", link.encode()),))


@route(
    "GET",
    PATH + "/{schema_id}/versions",
    "listSchemaVersions",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    serves_row_scopes=True,
    tag=TAG,
    summary="List schema versions",
    returns=_VERSIONS,
    problems=("not_found",),
    cache=Cache.REVALIDATE,
)
async def read_schema_versions(
    request: StrictRequest, schema_id: str
) -> PageView[SchemaSummaryView]:
    """List every known version of a schema."""
    records = await list_versions(request.dependencies, request.principal, schema_id)
    return PageView(_summarize(records), next=None)


@route(
    "GET",
    PATH + "/{schema_id}/versions/{number}",
    "getSchemaVersion",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a schema version",
    returns=_VERSION,
    problems=("not_found",),
    cache=Cache.REVALIDATE,
)
async def read_schema_version(request: StrictRequest, schema_id: str, number: str) -> SchemaView:
    """Return one schema version."""
    version = read_version_number(number)
    return await _build_view(
        request, await get_version(request.dependencies, request.principal, schema_id, version)
    )


async def _build_view(request: StrictRequest, record: SchemaRecord) -> SchemaView:
    """Return a version with the consumers that registered for it."""
    readership = await get_readership(request.dependencies, request.principal, record.schema)
    return SchemaView.of_version(record, readership)


@route(
    "GET",
    PATH + "/{schema_id}/candidates",
    "listSchemaCandidates",
    scopes=(Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN),
    tag=TAG,
    summary="List schema candidates",
    returns=_VERSIONS,
    problems=("not_found",),
    cache=Cache.REVALIDATE,
)
async def read_schema_candidates(
    request: StrictRequest, schema_id: str
) -> PageView[SchemaSummaryView]:
    """List candidates, quarantined and rejected versions, with the reason."""
    records = await list_candidates(request.dependencies, request.principal, schema_id)
    return PageView(_summarize(records), next=None)


@route(
    "POST",
    PATH + "/{schema_id}/refresh",
    "refreshSchema",
    scopes=(Scope.SCHEMA_ADMIN,),
    tag=TAG,
    summary="Refresh the schema from the ontology server",
    description="A new version is adopted, or quarantined with the reason.",
    returns=Success(RefreshView, "The refresh's result, and every version that was not adopted."),
    problems=("not_found", "registry_error", "unavailable"),
)
async def post_schema_refresh(request: StrictRequest, schema_id: str) -> RefreshView:
    """Fetch the newest version from the ontology server, and adopt or quarantine it."""
    policy = request.http_state.schema_policies.of_schema(schema_id)
    result = await refresh_schema(request.dependencies, policy, actor=request.principal.id)
    records = await list_candidates(request.dependencies, request.principal, schema_id)
    return RefreshView.of_result(result, items=_summarize(records), next=None)


ROUTES: Final[list[Route]] = [
    read_schemas,
    read_registry,
    read_active_schema,
    read_schema_versions,
    read_schema_version,
    read_schema_candidates,
    post_schema_refresh,
]
