"""Problems as pages, for people who open the address of a page in a browser."""

from collections.abc import Iterable
from typing import Final

import msgspec
from litestar.types import HTTPScope

from spawn.entrypoints.http.html.rendering import render
from spawn.entrypoints.http.protocol.negotiation import select_media_type
from spawn.entrypoints.http.protocol.operation import HTML, JSON, Operation
from spawn.entrypoints.http.protocol.problems import MEDIA_TYPE, ProblemView
from spawn.entrypoints.http.protocol.response import Response, html_response
from spawn.entrypoints.http.protocol.route_table import RouteTable
from spawn.entrypoints.request_context import get_request_context

TEMPLATE: Final = "problem_occurrence.html"
_MEDIA_TYPES: Final = (MEDIA_TYPE.decode(), JSON, HTML)
_OF_THE_BODY: Final = frozenset({b"content-type", b"content-length"})


class ProblemPages:
    """Renders a problem as a page where the operation returns pages and the client prefers them.

    Browsers prefer HTML; a program that accepts anything gets the problem as JSON.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        pages = [one for one in operations if HTML in one.media_types]
        self._pages = RouteTable((one.method, one.path) for one in pages)

    def present(self, scope: HTTPScope, problem: Response) -> Response:
        """Return the response to a problem: itself, or the page that shows it."""
        accept = get_request_context(scope).headers.get(b"accept", b"").decode("latin-1")
        if select_media_type(accept, _MEDIA_TYPES) != HTML:
            return problem
        if not self._pages.allowed_methods(scope["path"]):
            return problem
        view = msgspec.json.decode(problem.payload, type=ProblemView)
        headers = [one for one in problem.head_message["headers"] if one[0] not in _OF_THE_BODY]
        return html_response(
            render(TEMPLATE, {"problem": view}), status=problem.status, headers=headers
        )
