"""HTTP routes of the HTML pages: home, problems, API documentation."""

from importlib.resources import files
from typing import Final

from litestar import get

from spawn.application.product.links import link_header
from spawn.application.product.snapshot import take_snapshot
from spawn.domain.errors import NotFound
from spawn.entrypoints.http.html import home
from spawn.entrypoints.http.html.home import LiveStatus, build_home
from spawn.entrypoints.http.html.rendering import page_response
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    SuccessResponse,
    operation_options,
)
from spawn.entrypoints.http.product.routes import DOCUMENTS
from spawn.entrypoints.http.protocol.etags import content_etag, is_not_modified
from spawn.entrypoints.http.protocol.problems import PROBLEMS
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response, json_response

_HTML: Final = ("text/html",)


def _page_operation(
    name: str, summary: str, *problems: str, media_type: str = "text/html"
) -> HandlerOperation:
    schema = {"type": "string"} if media_type.startswith("text/") else {"type": "object"}
    return HandlerOperation(
        id=name,
        tag="product",
        summary=summary,
        responses={
            200: SuccessResponse(description="The page.", schema=schema, media_types=(media_type,))
        },
        problems=problems,
    )


@get("/", opt=operation_options(_page_operation("getHome", "Get the product page")))
async def read_home(request: StrictRequest) -> Response:
    """Return the product page: purpose, data quality, documents and APIs."""
    request.query_parameters()
    request.negotiate_media_type(*_HTML)
    dependencies, http_state = request.dependencies, request.http_state
    snapshot = await take_snapshot(dependencies, request.principal, http_state.product)
    health, checks = await http_state.health.report()
    status = LiveStatus(
        now=dependencies.clock.now(),
        health=health,
        checks=checks,
        position=str(await dependencies.reads.position()),
        measurement=await http_state[DOCUMENTS].measure_projects(dependencies),
    )
    return await page_response(
        home.TEMPLATE,
        build_home(snapshot, status),
        headers=(link_header("/"), (b"cache-control", b"no-cache")),
    )


@get("/problems", opt=operation_options(_page_operation("listProblems", "List problem types")))
async def read_problems(request: StrictRequest) -> Response:
    """List all problem types."""
    request.query_parameters()
    request.negotiate_media_type(*_HTML)
    context = {"problems": sorted(PROBLEMS.items()), "problem_path": _problem_path}
    return await page_response("problems.html", context)


@get(
    "/problems/{code:str}",
    opt=operation_options(_page_operation("getProblem", "Get a problem type", "not_found")),
)
async def read_problem(request: StrictRequest) -> Response:
    """Return what a problem type means and what to do about it."""
    request.query_parameters()
    media_type = request.negotiate_media_type("text/html", "application/json")
    code = str(request.scope["path_params"]["code"]).replace("-", "_")
    problem_type = PROBLEMS.get(code)
    if problem_type is None:
        raise NotFound("There is no such problem type. See /problems for all.")
    if media_type == "application/json":
        return json_response(
            {
                "type": _problem_path(code),
                "code": code,
                "status": problem_type.status,
                "title": problem_type.title,
                "explanation": problem_type.explanation,
            }
        )
    return await page_response("problem.html", {"code": code, "problem": problem_type})


def _problem_path(code: str) -> str:
    return f"/problems/{code.replace('_', '-')}"


_ASSETS: Final = {
    "style.css": b"text/css; charset=utf-8",
    "docs.js": b"text/javascript; charset=utf-8",
    "icon.svg": b"image/svg+xml",
}


@get("/docs", opt=operation_options(_page_operation("getDocs", "Get the API documentation page")))
async def read_docs(request: StrictRequest) -> Response:
    """Return the OpenAPI document as a page; it loads nothing from other hosts."""
    request.query_parameters()
    request.negotiate_media_type(*_HTML)
    return await page_response("docs.html", {})


@get(
    "/docs/{asset:str}",
    opt={},
)
async def read_asset(request: StrictRequest) -> Response:
    """Return a style sheet or script of the pages."""
    request.query_parameters()
    name = str(request.scope["path_params"]["asset"])
    media_type = _ASSETS.get(name)
    if media_type is None:
        raise NotFound("There is no such file.")
    content = (files("spawn.entrypoints.http") / "static" / name).read_bytes()
    tag = content_etag(content)
    headers = ((b"cache-control", b"max-age=3600"), (b"etag", tag.encode()))
    if is_not_modified(request.header(b"if-none-match"), tag):
        return Response(304, headers=headers)
    return Response(200, content, media_type=media_type, headers=headers)


ROUTES: Final = [read_home, read_problems, read_problem, read_docs, read_asset]
