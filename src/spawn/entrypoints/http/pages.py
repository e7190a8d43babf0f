"""Pages for people, and the documents that describe the product."""

from html import escape
from importlib.resources import files
from typing import Final

from litestar import get

from spawn import __version__
from spawn.domain.errors import NotFound
from spawn.entrypoints.http.operation import Operation, Success, described
from spawn.entrypoints.http.problems import PROBLEMS
from spawn.entrypoints.http.reply import Reply, html_reply, json_reply
from spawn.entrypoints.http.request import StrictRequest
from spawn.entrypoints.http.wire import content_tag

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


def _html(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><link rel=stylesheet href=/docs/style.css></head>"
        f"<body><main>{body}</main></body></html>"
    )


_LINKS: Final = (
    ("/docs", "Documentation of the API, rendered offline"),
    ("/openapi.json", "OpenAPI 3.1"),
    ("/v1/ops/projects", "Projects"),
    ("/v1/governance/schemas", "Schemas that rule them"),
    ("/v1/events", "Events, from the beginning"),
    ("/v1/ops/import-mappings", "Import mappings"),
    ("/v1/admin/tables", "Tables behind the store"),
    ("/monitoring/health", "Health, check by check"),
    ("/monitoring/metrics", "Metrics for Prometheus"),
    ("/problems", "Every problem the service can answer with"),
)


@get("/", opt=described(_page("getHome", "The front page, for people")))
async def home(request: StrictRequest) -> Reply:
    """What there is, with links."""
    request.query()
    request.accepts(*_HTML)
    record = await request.services.active()
    items = "".join(
        f"<li><a href={path}><code>{path}</code></a> {escape(text)}</li>" for path, text in _LINKS
    )
    schema = record.schema
    versions = f"/v1/governance/schemas/{schema.id}/versions/{schema.version}"
    body = (
        f"<h1>Spawn {__version__}</h1><p>A project-finance data product in a box.</p>"
        f"<p>Projects are governed by <a href={versions}>{escape(schema.id)} version "
        f"{schema.version}</a> ({record.provenance.value}).</p><ul>{items}</ul>"
    )
    return html_reply(_html("Spawn", body))


@get("/problems", opt=described(_page("listProblems", "Every problem, explained")))
async def problems(request: StrictRequest) -> Reply:
    """All problem types."""
    request.query()
    request.accepts(*_HTML)
    rows = "".join(
        f"<tr><td><a href=/problems/{code.replace('_', '-')}><code>{code}</code></a></td>"
        f"<td>{problem.status}</td><td>{escape(problem.title)}</td></tr>"
        for code, problem in sorted(PROBLEMS.items())
    )
    table = f"<table><tr><th>code</th><th>status</th><th>title</th></tr>{rows}</table>"
    return html_reply(_html("Problems", f"<h1>Problems</h1>{table}"))


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
                "type": f"/problems/{code.replace('_', '-')}",
                "code": code,
                "status": found.status,
                "title": found.title,
                "explanation": found.explanation,
            }
        )
    body = (
        f"<h1>{escape(found.title)}</h1><p><code>{code}</code>, status {found.status}</p>"
        f"<p>{escape(found.explanation)}</p><p><a href=/problems>All problems</a></p>"
    )
    return html_reply(_html(found.title, body))


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
        "<h1>Spawn API</h1><p id=state>Loading <a href=/openapi.json>the OpenAPI document</a>…</p>"
        "<div id=api></div><script src=/docs/docs.js></script>"
    )
    return html_reply(_html("Spawn API", body))


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
    headers = ((b"cache-control", b"max-age=3600"), (b"etag", content_tag(content).encode()))
    return Reply(200, content, media_type=media_type, headers=headers)


ROUTES: Final = [home, problems, problem, docs, asset]
