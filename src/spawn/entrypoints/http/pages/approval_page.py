"""The page of the approvals that wait for the caller, each with what its command changes."""

from typing import Any, Final

import msgspec

from spawn.application.approvals.inbox import WaitingApproval, list_inbox
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Query
from spawn.domain.text import escape_unprintable, shorten
from spawn.entrypoints.http.approvals.wire import ApprovalView
from spawn.entrypoints.http.html.rendering import ABSENT, page_response
from spawn.entrypoints.http.protocol.cursors import cursor_binding, encode_cursor
from spawn.entrypoints.http.protocol.operation import HTML, Success
from spawn.entrypoints.http.protocol.query_params import AFTER, read_after
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response
from spawn.entrypoints.http.protocol.route import Route, route

PATH: Final = "/pages/approvals"
MAX_VALUE_CHARACTERS: Final = 2_000
"""Characters of a value that the page shows; it says so where it leaves some out."""

_PAGE_APPROVALS: Final = 20
_PROJECT_PAGE_SCOPES: Final = frozenset({Scope.FINANCE_READ, Scope.PROJECTS_READ})


class ShownChange(msgspec.Struct, frozen=True, kw_only=True):
    """A field that a command changes, as texts; `path` is the page of its project, if any."""

    subject: str
    path: str | None
    pointer: str
    before: str
    after: str


class ShownApproval(msgspec.Struct, frozen=True, kw_only=True):
    """An approval with its changes, and whether the caller may approve it.

    `is_whole` says whether every changed field is shown, with the whole of its values.
    """

    view: ApprovalView
    changes: tuple[ShownChange, ...]
    is_whole: bool
    may_approve: bool


@route(
    "GET",
    PATH,
    "getApprovalsPage",
    scopes=(Scope.APPROVALS_DECIDE,),
    tag="approvals",
    summary="Get the page of approvals that wait for the caller",
    description=(
        "Commands of others, newest first: maker, what changes, until when, and whether it is "
        "stale, with the command that decides. Own commands are left out."
    ),
    parameters=(AFTER,),
    returns=Success(str, "The page.", media_types=(HTML,)),
    problems=("cursor_invalid",),
)
async def read_approvals_page(request: StrictRequest) -> Response:
    """Return the page of the approvals that wait for the caller."""
    principal, binding = request.principal, cursor_binding(PATH)
    query = Query(limit=_PAGE_APPROVALS, after=read_after(request.query, binding))
    inbox = await list_inbox(request.dependencies, principal, query)
    context = {
        "approvals": [_show_approval(one, principal) for one in inbox.approvals],
        "own": inbox.own,
        "caller": principal.id,
        "next_cursor": None if inbox.next is None else encode_cursor(inbox.next, binding),
    }
    return await page_response("approvals.html", context, headers=(NO_CACHE,))


def _show_approval(waiting: WaitingApproval, principal: Principal) -> ShownApproval:
    view = ApprovalView.of_reviewed(waiting.reviewed)
    has_pages = principal.scopes >= _PROJECT_PAGE_SCOPES
    changes = tuple(
        ShownChange(
            subject=f"{one.kind} {one.id}",
            path=f"/pages/projects/{one.id}" if has_pages and one.kind == PROJECT_KIND else None,
            pointer=one.pointer,
            before=shorten(_show_value(one.before), MAX_VALUE_CHARACTERS),
            after=shorten(_show_value(one.after), MAX_VALUE_CHARACTERS),
        )
        for one in view.changes
    )
    values = (value for one in view.changes for value in (one.before, one.after))
    is_whole = not view.has_more_changes and all(
        len(_show_value(value)) <= MAX_VALUE_CHARACTERS for value in values
    )
    return ShownApproval(
        view=view, changes=changes, is_whole=is_whole, may_approve=waiting.may_approve
    )


def _show_value(value: Any) -> str:
    """Return a value as text: a text as it is, anything else as JSON."""
    if value is None:
        return ABSENT
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return escape_unprintable(text)


ROUTES: Final[list[Route]] = [read_approvals_page]
"""Routes of the page of approvals."""
