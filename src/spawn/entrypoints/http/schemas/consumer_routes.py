"""HTTP routes of the registered consumers of schema versions."""

from typing import Final

from spawn.application.dependencies import require
from spawn.application.schemas.consumers import (
    find_last_uses,
    find_sunsets,
    get_consumer,
    list_consumers,
    register_consumer,
    remove_consumer,
)
from spawn.domain.principal import Scope
from spawn.domain.query import Query
from spawn.domain.schemas.evolution.schema_consumer import CONSUMER_KIND, SchemaConsumer
from spawn.entrypoints.http.access.history_routes import VersionRecordView, build_history_page
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.operation import BODY_PROBLEMS, Body, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import AFTER, LIMIT, read_after, read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.schemas.consumer_wire import (
    ConsumerRequestView,
    RegisteredConsumerView,
    read_consumer_request,
)
from spawn.entrypoints.http.schemas.routes import TAG, VERSION_SCHEMA, read_version_parameter
from spawn.entrypoints.http.wire import PageView

CONSUMERS: Final = "/v1/governance/consumers"
_CONSUMER: Final = CONSUMERS + "/{name}"
_SCOPES: Final = (Scope.PROJECTS_READ, Scope.SCHEMA_ADMIN)
_BINDING: Final = cursor_binding(CONSUMERS)
_SCHEMA_ID: Final = Parameter("schema_id", {"type": "string"}, "Only consumers of this schema.")
_WRITE_PROBLEMS: Final = ("forbidden", "conflict", "unavailable", "overloaded", "storage_full")


@route(
    "PUT",
    _CONSUMER,
    "putSchemaConsumer",
    scopes=_SCOPES,
    tag=TAG,
    summary="Register or change a consumer of a schema version",
    description=(
        "A Sunset then names the consumer before it comes. The client that registered it may "
        "change it, and everybody with the scope `schema:admin`."
    ),
    body=Body(
        ConsumerRequestView,
        example={"contact": "mailto:reporting@bank.example", "schema_version": 0},
    ),
    returns=Success(RegisteredConsumerView, "Changed, or unchanged."),
    also=(Success(RegisteredConsumerView, "Registered.", status=201, headers=("Location",)),),
    problems=(*BODY_PROBLEMS, *_WRITE_PROBLEMS),
)
async def put_consumer(request: StrictRequest, name: str) -> Result:
    """Register a consumer, or change its contact or version."""
    view = read_consumer_request(await request.read_json_object())
    saved = await register_consumer(
        request.dependencies,
        request.principal,
        name=name,
        contact=view.contact,
        schema_version=view.schema_version,
        schema_id=view.schema_id,
    )
    body = await _build_view(request, saved.consumer)
    if not saved.is_new:
        return Result(body)
    return Result(body, ((b"location", f"{CONSUMERS}/{name}".encode()),), status=201)


@route(
    "GET",
    CONSUMERS,
    "listSchemaConsumers",
    scopes=_SCOPES,
    tag=TAG,
    summary="List the registered consumers",
    parameters=(
        _SCHEMA_ID,
        Parameter("schema_version", VERSION_SCHEMA, "Only consumers of this version."),
        LIMIT,
        AFTER,
    ),
    returns=Success(PageView[RegisteredConsumerView], "One page, oldest first.", headers=("Link",)),
    problems=("cursor_invalid",),
)
async def get_consumer_page(request: StrictRequest) -> Result:
    """List registered consumers, each with the Sunset that affects it."""
    query = Query(
        kind=CONSUMER_KIND,
        limit=read_limit(request.query.get("limit")),
        after=read_after(request.query, _BINDING),
    )
    version = read_version_parameter(request.query, "schema_version")
    page = await list_consumers(
        request.dependencies,
        request.principal,
        query,
        schema_id=request.query.get("schema_id"),
        version=version,
    )
    consumers = [aggregate.state for aggregate in page.items]
    sunsets = await find_sunsets(request.dependencies, consumers)
    days = await find_last_uses(request.dependencies, consumers)
    items = [
        RegisteredConsumerView.of_registered(
            one, sunsets[one.schema_id, one.schema_version], days.get(one.owner)
        )
        for one in consumers
    ]
    return page_result(request, items, page.next, _BINDING)


@route(
    "GET",
    _CONSUMER,
    "getSchemaConsumer",
    scopes=_SCOPES,
    tag=TAG,
    summary="Get a registered consumer",
    returns=Success(RegisteredConsumerView, "The consumer."),
    problems=("not_found",),
)
async def read_consumer(request: StrictRequest, name: str) -> RegisteredConsumerView:
    """Return a registered consumer."""
    consumer = await get_consumer(request.dependencies, request.principal, name)
    return await _build_view(request, consumer)


@route(
    "GET",
    _CONSUMER + "/history",
    "getSchemaConsumerHistory",
    scopes=_SCOPES,
    tag=TAG,
    summary="Get the history of a consumer",
    description="Who registered, changed or removed the consumer, oldest first.",
    parameters=(LIMIT, AFTER),
    returns=Success(PageView[VersionRecordView], "Versions.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
)
async def read_consumer_history(request: StrictRequest, name: str) -> Result:
    """Return a page of the versions of a consumer, also of one that left."""
    require(request.principal, *_SCOPES)
    return await build_history_page(request, CONSUMER_KIND, name)


@route(
    "DELETE",
    _CONSUMER,
    "deleteSchemaConsumer",
    scopes=_SCOPES,
    tag=TAG,
    summary="Remove a consumer",
    returns=Success(RegisteredConsumerView, "The consumer, no longer registered."),
    problems=("not_found", *_WRITE_PROBLEMS),
)
async def delete_consumer(request: StrictRequest, name: str) -> RegisteredConsumerView:
    """End the registration of a consumer; its history remains."""
    consumer = await remove_consumer(request.dependencies, request.principal, name)
    return await _build_view(request, consumer)


async def _build_view(request: StrictRequest, consumer: SchemaConsumer) -> RegisteredConsumerView:
    (sunset,) = (await find_sunsets(request.dependencies, (consumer,))).values()
    days = await find_last_uses(request.dependencies, [consumer])
    return RegisteredConsumerView.of_registered(consumer, sunset, days.get(consumer.owner))


ROUTES: Final[list[Route]] = [
    put_consumer,
    get_consumer_page,
    read_consumer,
    read_consumer_history,
    delete_consumer,
]
