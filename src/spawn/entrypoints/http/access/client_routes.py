"""Routes of API clients and their keys."""

from typing import Final

from spawn.application.access.api_clients import (
    create_api_client,
    get_api_client,
    list_api_clients,
    revoke_api_client,
    revoke_key,
    rotate_key,
)
from spawn.domain.access.api_client import API_CLIENT_KIND
from spawn.domain.errors import NotFound
from spawn.domain.principal import Scope
from spawn.domain.query import Query
from spawn.entrypoints.http.access.wire import (
    ApiClientRequestView,
    ApiClientView,
    IssuedKeyView,
    KeyRequestView,
    read_client_request,
    read_key_request,
)
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.operation import BODY_PROBLEMS, Body, Cache, Success
from spawn.entrypoints.http.protocol.query_params import AFTER, LIMIT, read_after, read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import PageView

CLIENTS: Final = "/v1/admin/clients"
_CLIENT: Final = CLIENTS + "/{name}"
_TAG: Final = "admin"
_SCOPES: Final = (Scope.ADMIN,)
_BINDING: Final = cursor_binding(CLIENTS)
_WRITE_PROBLEMS: Final = ("conflict", "overloaded", "storage_full")
_ISSUED: Final = Success(
    IssuedKeyView, "The new key, which no other response shows.", status=201, headers=("Location",)
)


@route(
    "POST",
    CLIENTS,
    "createApiClient",
    tag=_TAG,
    scopes=_SCOPES,
    summary="Create an API client with its first key",
    body=Body(
        ApiClientRequestView,
        example={
            "name": "pricing-desk",
            "scopes": ["projects:read", "analysis"],
            "row_scope": {"country_code": ["ESP", "PRT"]},
        },
    ),
    returns=_ISSUED,
    problems=(*BODY_PROBLEMS, *_WRITE_PROBLEMS, "duplicate"),
    cache=Cache.NO_STORE,
)
async def post_client(request: StrictRequest) -> Result:
    """Create a client; the response has its key, of which only the hash is stored."""
    view = read_client_request(await request.read_body())
    rows = "" if view.row_scope is None else f" of rows {view.row_scope}"
    request.context.audit_detail = f"client {view.name} with {', '.join(view.scopes)}{rows}"
    new_key = await create_api_client(
        request.dependencies,
        request.principal,
        view.name,
        frozenset(view.scopes),
        environment=request.http_state.key_environment,
        expires_at=view.expires_at,
        row_scope=view.rows,
    )
    location = (b"location", f"{CLIENTS}/{view.name}".encode())
    return Result(IssuedKeyView.of_issued(new_key, request.dependencies.clock.now()), (location,))


@route(
    "GET",
    CLIENTS,
    "listApiClients",
    tag=_TAG,
    scopes=_SCOPES,
    summary="List API clients",
    parameters=(LIMIT, AFTER),
    returns=Success(PageView[ApiClientView], "One page, oldest first.", headers=("Link",)),
    problems=("cursor_invalid",),
)
async def get_client_page(request: StrictRequest) -> Result:
    """List clients with their keys, which have no secrets."""
    query = Query(
        kind=API_CLIENT_KIND,
        limit=read_limit(request.query.get("limit")),
        after=read_after(request.query, _BINDING),
    )
    page = await list_api_clients(request.dependencies, request.principal, query)
    now = request.dependencies.clock.now()
    items = [ApiClientView.of_client(aggregate.state, now) for aggregate in page.items]
    return page_result(request, items, page.next, _BINDING)


@route(
    "GET",
    _CLIENT,
    "getApiClient",
    tag=_TAG,
    scopes=_SCOPES,
    summary="Get an API client",
    returns=Success(ApiClientView, "The client."),
    problems=("not_found",),
)
async def get_client(request: StrictRequest, name: str) -> ApiClientView:
    """Return a client with its keys."""
    client = await get_api_client(request.dependencies, request.principal, name)
    return ApiClientView.of_client(client, request.dependencies.clock.now())


@route(
    "POST",
    _CLIENT + "/keys",
    "rotateApiKey",
    tag=_TAG,
    scopes=_SCOPES,
    summary="Add a key to an API client",
    description=(
        "The earlier key stays valid, so that the client can change over; then revoke it. A client "
        "has at most two valid keys."
    ),
    body=Body(KeyRequestView, example={"expires_at": "2030-01-01T00:00:00Z"}),
    returns=_ISSUED,
    problems=(*BODY_PROBLEMS, *_WRITE_PROBLEMS, "not_found"),
    cache=Cache.NO_STORE,
)
async def post_key(request: StrictRequest, name: str) -> Result:
    """Add a key to a client."""
    view = read_key_request(await request.read_body())
    new_key = await rotate_key(
        request.dependencies,
        request.principal,
        name,
        environment=request.http_state.key_environment,
        expires_at=view.expires_at,
    )
    location = (b"location", f"{CLIENTS}/{name}".encode())
    return Result(IssuedKeyView.of_issued(new_key, request.dependencies.clock.now()), (location,))


@route(
    "DELETE",
    _CLIENT + "/keys/{number}",
    "revokeApiKey",
    tag=_TAG,
    scopes=_SCOPES,
    summary="Revoke a key of an API client",
    returns=Success(ApiClientView, "The client; the key is no longer valid."),
    problems=(*_WRITE_PROBLEMS, "not_found"),
)
async def delete_key(request: StrictRequest, name: str, number: str) -> ApiClientView:
    """Revoke a key; the next request with it is rejected."""
    if not number.isdecimal() or len(number) > 9:  # noqa: PLR2004 - the pattern of the path
        raise NotFound("The client has no key of this number.")
    dependencies = request.dependencies
    client = await revoke_key(dependencies, request.principal, name, int(number))
    return ApiClientView.of_client(client, dependencies.clock.now())


@route(
    "DELETE",
    _CLIENT,
    "revokeApiClient",
    tag=_TAG,
    scopes=_SCOPES,
    summary="Revoke all keys of an API client",
    returns=Success(ApiClientView, "The client; it has no valid key."),
    problems=(*_WRITE_PROBLEMS, "not_found"),
)
async def delete_client(request: StrictRequest, name: str) -> ApiClientView:
    """Revoke every key of a client; its name stays in use, and in histories."""
    client = await revoke_api_client(request.dependencies, request.principal, name)
    return ApiClientView.of_client(client, request.dependencies.clock.now())


ROUTES: Final[list[Route]] = [
    post_client,
    get_client_page,
    get_client,
    post_key,
    delete_key,
    delete_client,
]
"""Routes of API clients."""
