"""Pages of projects: read by a typed query, encoded once, and given again while they stand."""

import asyncio
import weakref
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import get

from spawn.application.dependencies import Services
from spawn.application.projects.commands import list_projects
from spawn.domain.change import Stored
from spawn.domain.principal import Principal
from spawn.domain.projects.project import Project
from spawn.domain.query import Page, Query
from spawn.entrypoints.http.openapi.operation import described
from spawn.entrypoints.http.projects import operations
from spawn.entrypoints.http.projects.routes import PATH, document_of
from spawn.entrypoints.http.projects.version_headers import View, asked_view
from spawn.entrypoints.http.protocol.query_params import next_link, read_listing, write_cursor
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import JSON, Header, Reply, encode
from spawn.entrypoints.http.state import Surface
from spawn.entrypoints.http.wire import Document, content_tag, epoch_of, none_match

_AT_ONCE: Final = 50
_KEPT_BYTES: Final = 4096
_VALIDATED: Final = (b"etag", b"link", b"deprecation", b"sunset")


class Asked(msgspec.Struct, frozen=True):
    """What a query string asks for, understood."""

    given: dict[str, str]
    view: View
    query: Query
    binding: bytes


class KeptPage(msgspec.Struct, frozen=True):
    """An encoded page: what was asked, the page that the store gave at a position, the answer.

    The page itself is the store's to keep: it is only known again while that does.
    """

    asked: Asked
    position: str
    page: "weakref.ref[Page[Stored[Project]]]"
    reply: Reply

    @property
    def size_bytes(self) -> int:
        """About what it takes to keep."""
        return len(self.reply.finish["body"]) + _KEPT_BYTES

    def answer(self, seen: bytes | None) -> Reply:
        """The page, or 304 to who has seen it.

        Raises:
            Refusal: 400, what was seen is no list of entity tags.
        """
        if seen is None:
            return self.reply
        headers = self.reply.start["headers"]
        if not none_match(seen.decode("latin-1"), dict(headers)[b"etag"].decode()):
            return self.reply
        return Reply(304, headers=[pair for pair in headers if pair[0] in _VALIDATED])


@get(PATH, opt=described(operations.LIST))
async def list_all(request: StrictRequest) -> Reply:
    """One page of projects."""
    request.accepts("application/json")
    services, surface, principal = request.services, request.surface, request.principal
    generation = (await services.active()).schema.version
    raw = request.scope["query_string"]
    kept = await page_at_hand(services, surface, principal, raw, generation)
    if kept is None:
        asked = await _understood(request)
        key = _key(services, principal, raw, generation)
        kept = surface.pages.put(key, await _read(services, surface, principal, asked, None))
    return kept.answer(request.context.headers.get(b"if-none-match"))


async def page_at_hand(
    services: Services, surface: Surface, principal: Principal, raw: bytes, generation: int
) -> KeptPage | None:
    """The page that a query string asks for, if it was asked before; as it is now."""
    key = _key(services, principal, raw, generation)
    kept: KeptPage | None = surface.pages.get(key)
    if kept is None or kept.position == await services.reads.position():
        return kept
    return surface.pages.put(key, await _read(services, surface, principal, kept.asked, kept))


def _key(services: Services, principal: Principal, raw: bytes, generation: int) -> tuple[Any, ...]:
    """Who asked what, under which schema, on which day: shapes are served until a day."""
    return (principal.row_scope, raw, generation, services.clock.now().date())


async def _understood(request: StrictRequest) -> Asked:
    given = request.any_query()
    view = await asked_view(request, given.get("schema_version"))
    listing = read_listing(given, view.conformance)
    named = msgspec.structs.replace(view, names=listing.fields)
    return Asked(given, named, view.shape.asked(listing.query), listing.binding)


async def _read(
    services: Services,
    surface: Surface,
    principal: Principal,
    asked: Asked,
    before: KeptPage | None,
) -> KeptPage:
    """The page as it is now, encoded anew unless it is the very page that it was before.

    A store gives an unchanged page as the same object again.
    """
    position = await services.reads.position()
    with surface.span("list_projects"):
        page = await list_projects(services, principal, asked.query)
    epoch = epoch_of(position)
    if before is not None and page is before.page() and epoch == epoch_of(before.position):
        return msgspec.structs.replace(before, position=position)
    shown = await _documents(services, surface, page.items, asked.view, epoch)
    cursor = None if page.next is None else write_cursor(page.next, asked.binding)
    bodies = b",".join([document.body for document in shown])
    body = b'{"items":[%b],"next":%b}' % (bodies, encode(cursor))
    headers: list[Header] = [
        (b"etag", _tag(shown, cursor).encode()),
        (b"cache-control", b"no-cache"),
        *asked.view.headers,
    ]
    if cursor is not None:
        headers.append(next_link(PATH, asked.given, cursor))
    reply = Reply(200, body, media_type=JSON, headers=headers)
    return KeptPage(asked, position, weakref.ref(page), reply)


async def _documents(
    services: Services, surface: Surface, items: Sequence[Stored[Project]], view: View, epoch: int
) -> list[Document]:
    """The items encoded; who else waits for the event loop gets a turn after every few."""
    known = surface.documents.get
    generation, marks = view.generation, view.marks
    shown: list[Document] = []
    fresh = 0
    for item in items:
        document = known((item.id, item.version, epoch, generation, marks))
        if document is None:
            document = await document_of(services, surface, item, view, epoch)
            fresh += 1
            if fresh % _AT_ONCE == 0:
                await asyncio.sleep(0)
        shown.append(document)
    return shown


def _tag(shown: Sequence[Document], cursor: str | None) -> str:
    """A strong tag from the tags of the items: what each is, its tag says already."""
    items = "\n".join([f"{document.project_id} {document.tag}" for document in shown])
    return content_tag(f"{items}\n{cursor or ''}".encode())


ROUTES: Final = [list_all]
