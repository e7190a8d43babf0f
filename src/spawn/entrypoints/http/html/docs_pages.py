"""Pages for people, and the documents that describe the product."""

from html import escape
from importlib.resources import files
from typing import Final

from litestar import get

from spawn.application.product.links import link_header
from spawn.application.product.snapshot import TITLE, gather
from spawn.domain.errors import NotFound
from spawn.entrypoints.http.html import home as front
from spawn.entrypoints.http.html.components import link, page, table
from spawn.entrypoints.http.html.home import Now
from spawn.entrypoints.http.openapi.operation import Operation, Success, described
from spawn.entrypoints.http.protocol.problems import PROBLEMS
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Reply, json_reply
from spawn.entrypoints.http.wire import content_tag, none_match

_HTML: Final = ("text/html",)


def _page(name: str, summary: str, media_type: str = "text/html", **more: str) -> Operation:
    shape = {"type": "string"} if media_type.startswith("text/") else {"type": "object"}
    return Operation(
        id=name,
        tag="product",
        summary=summary,
        answers={200: Success(description="Found.", schema=shape, media_types=(media_type,))},
        problems=tuple(more.values()),
    )


@get("/", opt=described(_page("getHome", "The product's page, for people")))
async def home(request: StrictRequest) -> Reply:
    """What the product is, how its data do, and where everything lies."""
    request.query()
    request.accepts(*_HTML)
    services, surface = request.services, request.surface
    view = await gather(services, request.principal, surface.product)
    grade, checks = await surface.health.report()
    now = Now(
        at=services.clock.now(),
        grade=grade,
        checks=checks,
        position=await services.reads.position(),
        counted=await surface.press.counted(services),
    )
    body = front.home(view, now)
    return page(TITLE, body, headers=(link_header("/"), (b"cache-control", b"no-cache")))


@get("/problems", opt=described(_page("listProblems", "Every problem, explained")))
async def problems(request: StrictRequest) -> Reply:
    """All problem types."""
    request.query()
    request.accepts(*_HTML)
    rows = [
        (link(_address(code), code), str(problem.status), escape(problem.title))
        for code, problem in sorted(PROBLEMS.items())
    ]
    listed = table("By code", ("Code", "Status", "Title"), rows)
    return page("Problems", f"<main><h1>Problems</h1>{listed}</main>")


@get(
    "/problems/{code:str}",
    opt=described(_page("getProblem", "A problem, explained", problem="not_found")),
)
async def problem(request: StrictRequest) -> Reply:
    """What a problem type means and what to do about it."""
    request.query()
    chosen = request.accepts("text/html", "application/json")
    code = str(request.scope["path_params"]["code"]).replace("-", "_")
    found = PROBLEMS.get(code)
    if found is None:
        raise NotFound("There is no such problem type.")
    if chosen == "application/json":
        return json_reply(
            {
                "type": _address(code),
                "code": code,
                "status": found.status,
                "title": found.title,
                "explanation": found.explanation,
            }
        )
    body = (
        f"<main><h1>{escape(found.title)}</h1><p><code>{code}</code>, status {found.status}</p>"
        f"<p>{escape(found.explanation)}</p><p>{link('/problems', 'All problems')}</p></main>"
    )
    return page(found.title, body)


def _address(code: str) -> str:
    return f"/problems/{code.replace('_', '-')}"


_ASSETS: Final = {
    "style.css": b"text/css; charset=utf-8",
    "docs.js": b"text/javascript; charset=utf-8",
}


@get("/docs", opt=described(_page("getDocs", "Documentation of the API, for people")))
async def docs(request: StrictRequest) -> Reply:
    """The OpenAPI document as a page; everything it loads comes from here."""
    request.query()
    request.accepts(*_HTML)
    body = (
        '<main><h1>Spawn API</h1><p><a href="/">The product</a></p>'
        '<p id="state">Loading <a href="/openapi.json">the OpenAPI document</a>…</p>'
        '<div id="api"></div></main><script src="/docs/docs.js"></script>'
    )
    return page("Spawn API", body)


@get(
    "/docs/{asset:str}",
    opt={},
)
async def asset(request: StrictRequest) -> Reply:
    """A style sheet or script of the pages."""
    request.query()
    name = str(request.scope["path_params"]["asset"])
    media_type = _ASSETS.get(name)
    if media_type is None:
        raise NotFound("There is no such file.")
    content = (files("spawn.entrypoints.http") / "static" / name).read_bytes()
    tag = content_tag(content)
    headers = ((b"cache-control", b"max-age=3600"), (b"etag", tag.encode()))
    if none_match(request.field(b"if-none-match"), tag):
        return Reply(304, headers=headers)
    return Reply(200, content, media_type=media_type, headers=headers)


ROUTES: Final = [home, problems, problem, docs, asset]
