"""Answers that are kept encoded, given out before any routing.

A project, or a page of them, that somebody asked for before costs a look at the store's memory; to
find the way to its route costs several times that. What is said here is what the routes would say,
in the plain case alone: whatever is not at hand, asked for in particular, or wrong, is theirs.
"""

from typing import Final

from litestar.types import HTTPScope

from spawn.application.dependencies import Services, require
from spawn.domain.errors import SpawnError
from spawn.entrypoints.http.projects.list_route import page_at_hand
from spawn.entrypoints.http.projects.routes import KIND, PATH, READ_PATH
from spawn.entrypoints.http.protocol.problems import Refusal
from spawn.entrypoints.http.protocol.request import LOCAL, is_canonical_id
from spawn.entrypoints.http.protocol.response import Reply
from spawn.entrypoints.http.state import Surface
from spawn.entrypoints.request_context import context_of

_UNDER: Final = f"{PATH}/"
_ANYTHING: Final = frozenset({None, b"*/*", b"application/json"})


async def answer_at_hand(services: Services, surface: Surface, scope: HTTPScope) -> Reply | None:
    """The answer to a GET, or None: let the route answer."""
    path = scope["path"]
    if not path.startswith(PATH) or context_of(scope).headers.get(b"accept") not in _ANYTHING:
        return None
    try:
        require(LOCAL, "read")
        active = await services.schemas.active()
        if active is None:
            return None
        if path == PATH:
            return await _page(services, surface, scope, active.schema.version)
        if not scope["query_string"] and path.startswith(_UNDER):
            project_id = path[len(_UNDER) :]
            return await _project(services, surface, scope, project_id, active.schema.version)
    except (SpawnError, Refusal):
        return None
    return None


async def _project(
    services: Services, surface: Surface, scope: HTTPScope, project_id: str, generation: int
) -> Reply | None:
    if not is_canonical_id(project_id):
        return None
    head = await services.reads.head(KIND, project_id)
    document = surface.documents.get((project_id, head.version, head.epoch, generation, ()))
    seen = context_of(scope).headers.get(b"if-none-match")
    if document is None or (seen is not None and seen != document.tag.encode()):
        return None
    scope["path_template"] = READ_PATH
    return document.reply() if seen is None else document.unchanged()


async def _page(
    services: Services, surface: Surface, scope: HTTPScope, generation: int
) -> Reply | None:
    kept = await page_at_hand(services, surface, LOCAL, scope["query_string"], generation)
    if kept is None:
        return None
    scope["path_template"] = PATH
    return kept.answer(context_of(scope).headers.get(b"if-none-match"))
