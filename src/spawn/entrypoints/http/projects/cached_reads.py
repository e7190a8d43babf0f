"""Cached GET responses of projects, served before routing.

A cached project, or page of projects, costs a look at the store's memory; routing the request costs
several times that (ADR 0014). The responses equal those of the routes. Only the plain case is
served here: requests that are not cached, have other options or are invalid go to the routes.
"""

from typing import Final

from litestar.types import HTTPScope

from spawn.application.dependencies import require
from spawn.domain.errors import SpawnError
from spawn.domain.principal import Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.entrypoints.http.projects.list_route import get_cached_page
from spawn.entrypoints.http.projects.representation import REPRESENTATIONS
from spawn.entrypoints.http.projects.response_codec import PATH
from spawn.entrypoints.http.projects.routes import READ_PATH
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.protocol.request import is_canonical_id
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.state import HttpState
from spawn.entrypoints.request_context import get_request_context

_PROJECT_PREFIX: Final = f"{PATH}/"
_JSON_ACCEPT_VALUES: Final = frozenset({None, b"*/*", b"application/json"})


class CachedReads:
    """Looks for the responses to plain requests in the caches of one application."""

    def __init__(self, http_state: HttpState) -> None:
        self._http_state = http_state
        self._dependencies = http_state.dependencies
        self._representations = http_state[REPRESENTATIONS]

    async def find_response(self, scope: HTTPScope) -> Response | None:
        """Return the cached response to a GET; None leaves the request to its route."""
        path = scope["path"]
        context = get_request_context(scope)
        # With a row scope the route asks for each row whether the caller may see it.
        if (
            not path.startswith(PATH)
            or context.headers.get(b"accept") not in _JSON_ACCEPT_VALUES
            or b"if-match" in context.headers
            or context.authentication.principal.row_scope is not None
        ):
            return None
        try:
            require(context.authentication.principal, Scope.PROJECTS_READ)
            active = await self._dependencies.schemas.active()
            if active is None:
                return None
            if path == PATH:
                return await self._find_page(scope, active.schema.version)
            if not scope["query_string"] and path.startswith(_PROJECT_PREFIX):
                project_id = path[len(_PROJECT_PREFIX) :]
                return await self._find_project(scope, project_id, active.schema.version)
        except (SpawnError, RequestProblem):
            return None
        return None

    async def _find_project(
        self, scope: HTTPScope, project_id: str, active_version: int
    ) -> Response | None:
        if not is_canonical_id(project_id):
            return None
        head = await self._dependencies.reads.head(PROJECT_KIND, project_id)
        key = (project_id, head.version, head.epoch, active_version, ())
        document = self._representations.get(key)
        if_none_match = get_request_context(scope).headers.get(b"if-none-match")
        if document is None or (
            if_none_match is not None and if_none_match != document.etag.encode()
        ):
            return None
        scope["path_template"] = READ_PATH
        return document.to_response() if if_none_match is None else document.to_not_modified()

    async def _find_page(self, scope: HTTPScope, active_version: int) -> Response | None:
        context = get_request_context(scope)
        principal, query_string = context.authentication.principal, scope["query_string"]
        page = await get_cached_page(
            self._dependencies, self._http_state, principal, query_string, active_version
        )
        if page is None:
            return None
        scope["path_template"] = PATH
        return page.respond(context.headers.get(b"if-none-match"))
