"""HTTP routes of the HTML pages: home, problems, API documentation."""

from functools import cache
from importlib.resources import files
from typing import Final

from spawn.application.product.links import link_header
from spawn.application.product.snapshot import take_snapshot
from spawn.domain.errors import NotFound
from spawn.domain.principal import Scope
from spawn.entrypoints.http.html import home
from spawn.entrypoints.http.html.home import LiveStatus, build_home, list_pages
from spawn.entrypoints.http.html.rendering import page_response
from spawn.entrypoints.http.product.routes import MEASUREMENTS
from spawn.entrypoints.http.protocol.etags import content_etag, is_not_modified
from spawn.entrypoints.http.protocol.operation import HTML, JSON, PUBLIC, Success
from spawn.entrypoints.http.protocol.problems import PROBLEMS, problem_path
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import WireStruct
from spawn.entrypoints.request_context import public_path

_PAGE: Final = Success(str, "The page.", media_types=(HTML,))
_SCRIPT: Final = b"text/javascript; charset=utf-8"
_ASSETS: Final = {
    "style.css": ("style.css", b"text/css; charset=utf-8"),
    "docs.js": ("docs.js", _SCRIPT),
    "reference.js": ("openapi-explorer/openapi-explorer.min.js", _SCRIPT),
    "icon.svg": ("icon.svg", b"image/svg+xml"),
}
"""File and media type of each asset, by the last segment of its address."""


class ProblemTypeView(WireStruct, frozen=True):
    """A problem type: what it means and what to do about it."""

    type: str
    code: str
    status: int
    title: str
    explanation: str


@route(
    "GET",
    "/",
    "getHome",
    scopes=(Scope.PROJECTS_READ,),
    tag="product",
    summary="Get the product page",
    returns=_PAGE,
)
async def read_home(request: StrictRequest) -> Response:
    """Return the product page: purpose, data quality, documents and APIs."""
    dependencies, http_state = request.dependencies, request.http_state
    snapshot = await take_snapshot(dependencies, request.principal, http_state.product)
    health, checks = await http_state.health.report()
    status = LiveStatus(
        now=dependencies.clock.now(),
        health=health,
        checks=checks,
        position=str(await dependencies.reads.position()),
        measurement=await http_state[MEASUREMENTS].measure(dependencies),
    )
    context = build_home(snapshot, status, list_pages(request.principal))
    return await page_response(home.TEMPLATE, context, headers=(link_header("/"), NO_CACHE))


@route(
    "GET",
    "/problems",
    "listProblems",
    scopes=PUBLIC,
    tag="product",
    summary="List problem types",
    returns=_PAGE,
)
async def read_problems(request: StrictRequest) -> Response:  # noqa: ARG001 - a handler takes it
    """List all problem types."""
    context = {"problems": sorted(PROBLEMS.items()), "problem_path": problem_path}
    return await page_response("problems.html", context)


@route(
    "GET",
    "/problems/{code}",
    "getProblem",
    scopes=PUBLIC,
    tag="product",
    summary="Get a problem type",
    returns=Success(str, "The page.", media_types=(HTML,), alternatives={JSON: ProblemTypeView}),
    problems=("not_found",),
)
async def read_problem(request: StrictRequest, code: str) -> Response | ProblemTypeView:
    """Return what a problem type means and what to do about it."""
    code = code.replace("-", "_")
    problem_type = PROBLEMS.get(code)
    if problem_type is None:
        raise NotFound("There is no such problem type. See /problems for all.")
    if request.media_type == JSON:
        return ProblemTypeView.of(problem_type, type=public_path(problem_path(code)), code=code)
    return await page_response("problem.html", {"code": code, "problem": problem_type})


@route(
    "GET",
    "/docs",
    "getDocs",
    scopes=PUBLIC,
    tag="product",
    summary="Get the API documentation page",
    returns=_PAGE,
)
async def read_docs(request: StrictRequest) -> Response:  # noqa: ARG001 - a handler takes it
    """Return the API reference: search, samples and requests; it loads nothing from other hosts."""
    return await page_response("docs.html", {}, has_inline_styles=True)


@route(
    "GET",
    "/docs/{asset}",
    "",
    scopes=PUBLIC,
    tag="",
    summary="",
    returns=Success(None, "", media_types=()),
)
async def read_asset(request: StrictRequest, asset: str) -> Response:
    """Return a style sheet or script of the pages."""
    if asset not in _ASSETS:
        raise NotFound("There is no such file.")
    content, tag = _load_asset(asset)
    headers = ((b"cache-control", b"max-age=3600"), (b"etag", tag.encode()))
    if is_not_modified(request.header(b"if-none-match"), tag):
        return Response(304, headers=headers)
    return Response(200, content, media_type=_ASSETS[asset][1], headers=headers)


@cache
def _load_asset(asset: str) -> tuple[bytes, str]:
    """Read an asset; return its content and its entity tag."""
    file, _ = _ASSETS[asset]
    content = files("spawn.entrypoints.http").joinpath("static", *file.split("/")).read_bytes()
    return content, content_etag(content)


ROUTES: Final[list[Route]] = [read_home, read_problems, read_problem, read_docs, read_asset]
