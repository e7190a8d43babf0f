"""HTTP route that lists projects, with a cache of encoded pages."""

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from spawn.application.bounded_cache import BoundedCache
from spawn.application.dependencies import Dependencies
from spawn.application.projects.queries import count_projects, list_projects
from spawn.domain.change import StoredAggregate
from spawn.domain.events.position import Position
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import Project
from spawn.domain.query import Page, Query
from spawn.entrypoints.http.projects.project_view import ProjectView, view_for_version
from spawn.entrypoints.http.projects.representation import (
    CACHE_BYTES,
    REPRESENTATIONS,
    ProjectRepresentation,
)
from spawn.entrypoints.http.projects.response_codec import PATH
from spawn.entrypoints.http.projects.routes import get_project_document
from spawn.entrypoints.http.projects.wire import (
    FIELDS,
    FILTERS,
    SORT,
    ProjectCountView,
)
from spawn.entrypoints.http.protocol.cursors import encode_cursor, next_link
from spawn.entrypoints.http.protocol.etags import content_etag, is_not_modified
from spawn.entrypoints.http.protocol.operation import IF_NONE_MATCH, Cache, Success
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    KNOWN_AS_OF,
    LIMIT,
    SCHEMA_VERSION,
    read_count_parameters,
    read_list_parameters,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import JSON, Header, Response, encode_json
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.state import HttpState, StateKey

MAX_PAGES: Final = 512
"""Cached pages of projects."""

_ITEMS_PER_TURN: Final = 50
_ENTRY_OVERHEAD_BYTES: Final = 4096
_NOT_MODIFIED_HEADERS: Final = (b"etag", b"link", b"deprecation", b"sunset")


class ListRequest(msgspec.Struct, frozen=True):
    """A parsed query string of the list."""

    parameters: Mapping[str, str]
    view: ProjectView
    query: Query
    binding: bytes


class CachedProjectPage(msgspec.Struct, frozen=True):
    """An encoded page: its request, the store's page at a journal position, the response.

    The store's own cache owns the page; the weak reference recognises it only while that lasts.
    """

    list_request: ListRequest
    position: Position
    page: "weakref.ref[Page[StoredAggregate[Project]]]"
    response: Response

    @property
    def size_bytes(self) -> int:
        """Approximate bytes that the entry takes in the cache."""
        return len(self.response.body_message["body"]) + _ENTRY_OVERHEAD_BYTES

    def respond(self, if_none_match: bytes | None) -> Response:
        """Return the page, or 304 if the If-None-Match header names it.

        Raises:
            RequestProblem: 400, if the header is not a list of entity tags.
        """
        if if_none_match is None:
            return self.response
        headers = self.response.head_message["headers"]
        if not is_not_modified(if_none_match.decode("latin-1"), dict(headers)[b"etag"].decode()):
            return self.response
        return Response(304, headers=[pair for pair in headers if pair[0] in _NOT_MODIFIED_HEADERS])


def _create_cache() -> BoundedCache[CachedProjectPage]:
    return BoundedCache(MAX_PAGES, CACHE_BYTES, lambda page: page.size_bytes)


PAGES: Final = StateKey(_create_cache)


@route(
    "GET",
    PATH,
    "listProjects",
    scopes=(Scope.PROJECTS_READ,),
    serves_row_scopes=True,
    tag="operations",
    summary="List projects",
    description=(
        "Filters are `field=value` or `field[operator]=value` on core and governed fields, with "
        "the operators eq, ne, lt, lte, gt, gte, in, like and exists. `in` takes values separated "
        'by commas; a value with a comma is written in quotes: `"Alpha, Beta"`. References '
        "(`external_ref=source:id`), names of sponsors (`sponsors.name`) and fields of your own "
        "(`x_…`) are filters too. `as_of` lists the projects as recorded at an instant. Continue "
        "with `after`; pages stay stable while projects change."
    ),
    parameters=(FILTERS, KNOWN_AS_OF, SORT, FIELDS, LIMIT, AFTER, SCHEMA_VERSION, IF_NONE_MATCH),
    returns=Success("ProjectPage", "One page.", headers=("ETag", "Link", "Deprecation", "Sunset")),
    problems=("not_found", "cursor_invalid", "schema_version_expired", "deadline_exceeded"),
)
async def read_project_page(request: StrictRequest) -> Response:
    """List projects, one page at a time."""
    dependencies, http_state, principal = (
        request.dependencies,
        request.http_state,
        request.principal,
    )
    active_version = (await dependencies.active_schema()).schema.version
    query_string = request.scope["query_string"]
    page = await get_cached_page(dependencies, http_state, principal, query_string, active_version)
    if page is None:
        list_request = await _parse_list_request(request)
        key = _cache_key(dependencies, principal, query_string, active_version)
        page = http_state[PAGES].put(
            key, await _load_page(dependencies, http_state, principal, list_request, None)
        )
    return page.respond(request.context.headers.get(b"if-none-match"))


@route(
    "GET",
    PATH + "/count",
    "countProjects",
    scopes=(Scope.PROJECTS_READ,),
    serves_row_scopes=True,
    tag="operations",
    summary="Count projects",
    description="The number of projects under the filters and at the instant of a list.",
    parameters=(FILTERS, KNOWN_AS_OF, SCHEMA_VERSION),
    returns=Success(ProjectCountView, "The number.", example={"count": 4666}),
    problems=("not_found", "schema_version_expired", "deadline_exceeded"),
    cache=Cache.REVALIDATE,
)
async def read_project_count(request: StrictRequest) -> ProjectCountView:
    """Count the projects that match the filters."""
    view = await view_for_version(request, request.query.get("schema_version"))
    query = read_count_parameters(request.query, view.filter_validator)
    query = view.version_view.translate_query(query)
    return ProjectCountView(await count_projects(request.dependencies, request.principal, query))


async def get_cached_page(
    dependencies: Dependencies,
    http_state: HttpState,
    principal: Principal,
    query_string: bytes,
    active_version: int,
) -> CachedProjectPage | None:
    """Return the cached page of a query string, reloaded if the data changed, or None."""
    key = _cache_key(dependencies, principal, query_string, active_version)
    page: CachedProjectPage | None = http_state[PAGES].get(key)
    if page is None or page.position == await dependencies.reads.position():
        return page
    return http_state[PAGES].put(
        key, await _load_page(dependencies, http_state, principal, page.list_request, page)
    )


def _cache_key(
    dependencies: Dependencies, principal: Principal, query_string: bytes, active_version: int
) -> tuple[Any, ...]:
    """Return the cache key, with today's date, on which older schema versions may expire."""
    return (principal.row_scope, query_string, active_version, dependencies.clock.now().date())


async def _parse_list_request(request: StrictRequest) -> ListRequest:
    parameters = request.query
    view = await view_for_version(request, parameters.get("schema_version"))
    listing = read_list_parameters(parameters, view.filter_validator)
    selected = msgspec.structs.replace(view, field_names=listing.fields)
    return ListRequest(
        parameters, selected, view.version_view.translate_query(listing.query), listing.binding
    )


async def _load_page(
    dependencies: Dependencies,
    http_state: HttpState,
    principal: Principal,
    list_request: ListRequest,
    previous: CachedProjectPage | None,
) -> CachedProjectPage:
    """Load the page, and encode it unless it is the previous page.

    A store returns an unchanged page as the same object.
    """
    position = await dependencies.reads.position()
    page = await list_projects(dependencies, principal, list_request.query)
    epoch = position.epoch
    if previous is not None and page is previous.page() and epoch == previous.position.epoch:
        return msgspec.structs.replace(previous, position=position)
    representations = await _encode_items(
        dependencies, http_state, page.items, list_request.view, epoch
    )
    cursor = None if page.next is None else encode_cursor(page.next, list_request.binding)
    bodies = b",".join([document.body for document in representations])
    body = b'{"items":[%b],"next":%b}' % (bodies, encode_json(cursor))
    headers: list[Header] = [
        (b"etag", _page_etag(representations, cursor).encode()),
        (b"cache-control", b"no-cache"),
        *list_request.view.headers,
    ]
    if cursor is not None:
        headers.append(next_link(PATH, list_request.parameters, cursor))
    response = Response(200, body, media_type=JSON, headers=headers)
    return CachedProjectPage(list_request, position, weakref.ref(page), response)


async def _encode_items(
    dependencies: Dependencies,
    http_state: HttpState,
    items: Sequence[StoredAggregate[Project]],
    view: ProjectView,
    epoch: int,
) -> list[ProjectRepresentation]:
    """Encode the items; yield to the event loop after every few that were not cached."""
    get_cached = http_state[REPRESENTATIONS].get
    active_version, etag_parts = view.active_version, view.etag_parts
    representations: list[ProjectRepresentation] = []
    encoded_count = 0
    for item in items:
        document = get_cached((item.id, item.version, epoch, active_version, etag_parts))
        if document is None:
            document = await get_project_document(dependencies, http_state, item, view, epoch)
            encoded_count += 1
            if encoded_count % _ITEMS_PER_TURN == 0:
                await asyncio.sleep(0)
        representations.append(document)
    return representations


def _page_etag(representations: Sequence[ProjectRepresentation], cursor: str | None) -> str:
    """Return a strong tag of the page, made of the tags of its items."""
    items = "\n".join([f"{document.project_id} {document.etag}" for document in representations])
    return content_etag(f"{items}\n{cursor or ''}".encode())


ROUTES: Final[list[Route]] = [read_project_page, read_project_count]
